"""The patient of an image: submitted identity, names, assignment to a patient."""
