"""The signals of the archive. Errors of a receiver roll everything back."""

from django.dispatch import Signal

# Sent by `ingest_instance` INSIDE its transaction, for a stored instance (created=True)
# and for a duplicate (created=False).
# Arguments: instance, created, requested_model (a model's name or ""),
# actor (User or None).
instance_stored = Signal()

# Sent INSIDE the transaction in which a person changes the record: a correction, an
# assignment, a decision about a flag, or the undoing of one.
# Arguments: patient, study (None where all studies of the patient are meant).
record_changed = Signal()
