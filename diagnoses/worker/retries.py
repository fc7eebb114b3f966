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
from diagnoses.models import ModelVersion, Prediction
from diagnoses.runs import next_run, queue_predictions
from diagnoses.worklist import lock_study, refresh_entry

State = ModelVersion.State


def retry_prediction(prediction: Prediction, *, actor: User | None) -> Prediction:
    """Ask for another run of a failed prediction: a new row with run + 1.

    A version that was taken out of use meanwhile reads nothing more: the one in use
    reads the image in its place.

    Raises:
        Conflict: It has not failed, another run is there already, or no version of
            the model is in use.
    """
    with transaction.atomic():
        study = lock_study(prediction.instance.series.study_id)
        same_image = Prediction.objects.filter(
            instance=prediction.instance,
            frame=prediction.frame,
            model_version=prediction.model_version,
            shadow=prediction.shadow,
        )
        latest = same_image.order_by("-run").first()
        if latest is None or latest.pk != prediction.pk:
            raise Conflict(
                "This image has been run again already.", reason_code="already_retried"
            )
        if not latest.retriable:
            raise Conflict(
                f"Only a failed prediction can be run again; this one is "
                f"{latest.status}.",
                reason_code="not_failed",
            )
        if not _may_still_read(latest):
            return _read_by_successor(latest, actor=actor)
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


def _may_still_read(prediction: Prediction) -> bool:
    state = prediction.model_version.state
    return state == State.ACTIVE or (prediction.shadow and state == State.SHADOW)


def _read_by_successor(prediction: Prediction, *, actor: User | None) -> Prediction:
    version = prediction.model_version
    in_use = ModelVersion.objects.filter(name=version.name, state=State.ACTIVE)
    if prediction.shadow or not in_use.exists():
        raise Conflict(
            f"{version} reads no images any more, and no other version does in its "
            "place.",
            reason_code="retired_model",
        )
    written = queue_predictions(
        prediction.instance, requested_model=version.name, actor=actor, created=False
    )
    if not written:
        raise Conflict(
            f"The version of {version.name} that is in use has this image already.",
            reason_code="already_retried",
        )
    return written[0]


def retry_for(
    actor: User,
    prediction: Prediction,
    *,
    source: str,
    request: HttpRequest | None = None,
) -> Prediction:
    """Queue another run of a failed one on behalf of a person, and record that.

    Args:
        actor: Who asks; the caller has checked that they may.
        prediction: What failed.
        source: An `AuditSource`.
        request: The HTTP request, for the trail.

    Raises:
        Conflict: It cannot be run again; see `retry_prediction`.
        AuditUnavailable: The event could not be written; nothing was queued.
    """
    with transaction.atomic():
        again = retry_prediction(prediction, actor=actor)
        audit.record(
            action=AuditAction.RETRY,
            actor=actor,
            request=request,
            source=source,
            object_kind="prediction",
            object_uuid=again.pk,
            patients=[prediction.instance.series.study.patient_id],
            detail={"failed": str(prediction.pk)},
        )
    return again
