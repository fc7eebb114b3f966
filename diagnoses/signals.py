"""Signals about predictions."""

from django.dispatch import Signal

# Sent by `diagnoses.runs` INSIDE the transaction that finishes a prediction.
# Arguments: prediction. Receivers write outbox rows; an error rolls everything back.
prediction_finished = Signal()
