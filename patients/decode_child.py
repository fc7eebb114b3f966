"""The child that decodes: `python -m patients.decode_child`, started by `patients.decode`."""
