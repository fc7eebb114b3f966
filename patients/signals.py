"""The signal of the archive."""

from django.dispatch import Signal

# Sent by `ingest_instance` INSIDE its transaction, for a stored instance (created=True)
# and for a duplicate (created=False). An error of a receiver rolls everything back.
# Arguments: instance, created, requested_model (a model's name or ""),
# actor (User or None).
instance_stored = Signal()
