"""Asking again for what failed: one event with the new run, or neither."""

from django.db import transaction
from django.http import HttpRequest

from accounts import audit
from accounts.audit import AuditAction
from accounts.models import User
from diagnoses.models import Prediction
from diagnoses.runs import retry_prediction


def retry_for(
    actor: User,
    prediction: Prediction,
    *,
    door: str,
    request: HttpRequest | None = None,
) -> Prediction:
    """Queue another run of a failed one on behalf of a person, and record that.

    Args:
        actor: Who asks; the caller has checked that they may.
        prediction: What failed.
        door: An `AuditDoor`.
        request: The HTTP request, for the trail.

    Raises:
        Conflict: It has not failed, or another run is there already.
        AuditUnavailable: The event could not be written; nothing was queued.
    """
    with transaction.atomic():
        again = retry_prediction(prediction, actor=actor)
        audit.record(
            action=AuditAction.RETRY,
            actor=actor,
            request=request,
            door=door,
            object_kind="prediction",
            object_uuid=again.pk,
            patients=[prediction.instance.series.study.patient_id],
            detail={"failed": str(prediction.pk)},
        )
    return again
