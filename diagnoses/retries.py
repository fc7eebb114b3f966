"""Asking again for what failed: one event with the new run, or neither."""

from functools import partial

from django.db import transaction
from django.db.models.functions import Now
from django.http import HttpRequest

from accounts import audit
from accounts.audit import AuditAction
from accounts.errors import Conflict
from accounts.models import User
from diagnoses.hints import send_hints
from diagnoses.models import Prediction
from diagnoses.runs import next_run
from diagnoses.worklist import lock_study, refresh_entry


def retry_prediction(prediction: Prediction, *, actor: User | None) -> Prediction:
    """Ask for another run of a failed prediction: a new row with run + 1.

    Raises:
        Conflict: It has not failed, or another run is there already.
    """
    with transaction.atomic():
        study = lock_study(prediction.instance.series.study_id)
        same_film = Prediction.objects.filter(
            instance=prediction.instance,
            frame=prediction.frame,
            model_version=prediction.model_version,
            shadow=prediction.shadow,
        )
        latest = same_film.order_by("-run").first()
        if latest is None or latest.pk != prediction.pk:
            raise Conflict(
                "This film has been run again already.", reason_code="already_retried"
            )
        if not latest.retriable:
            raise Conflict(
                f"Only a failed prediction can be run again; this one is "
                f"{latest.status}.",
                reason_code="not_failed",
            )
        again = Prediction.objects.create(
            instance=prediction.instance,
            frame=prediction.frame,
            model_version=prediction.model_version,
            shadow=latest.shadow,
            run=next_run(
                prediction.instance, prediction.model_version, frame=prediction.frame
            ),
            requested_by=actor,
            priority=study.priority,
            hinted_at=Now(),
        )
        refresh_entry(study.pk)
        transaction.on_commit(partial(send_hints, 1), robust=True)
    again.refresh_from_db()
    return again


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
