"""Run failed predictions again."""

from functools import partial

from django.db import transaction
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts import audit
from accounts.access import Action, require
from accounts.audit import AuditAction
from accounts.errors import Conflict
from accounts.models import User
from diagnoses.hints import send_hints
from diagnoses.models import ModelVersion, Prediction
from diagnoses.runs import next_run, queue_predictions
from diagnoses.worklist import lock_study, refresh_entry

State = ModelVersion.State


def retry_prediction(prediction: Prediction, *, actor: User | None) -> Prediction:
    """Queue another run of a failed prediction: a new row with run + 1.

    If the version has been retired meanwhile, the active version of the model reads
    the image instead.

    Raises:
        Conflict: It has not failed, there is a later run, or no version of the model
            is active.
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
                _("This image has already been run again."),
                reason_code="already_retried",
            )
        if not latest.retriable:
            raise Conflict(
                _(
                    "Only a failed prediction can be run again. This one has the "
                    "status “%(status)s”."
                ),
                params={"status": latest.get_status_display()},
                reason_code="not_failed",
            )
        version = latest.model_version
        if version is None:
            raise ValueError("a failed prediction names its model")
        if not _may_still_read(version, shadow=latest.shadow):
            return _read_by_successor(latest, version, actor=actor)
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


def _may_still_read(version: ModelVersion, *, shadow: bool) -> bool:
    return version.state == State.ACTIVE or (shadow and version.state == State.SHADOW)


def _read_by_successor(
    prediction: Prediction, version: ModelVersion, *, actor: User | None
) -> Prediction:
    in_use = ModelVersion.objects.filter(name=version.name, state=State.ACTIVE)
    if prediction.shadow or not in_use.exists():
        raise Conflict(
            _("%(version)s is retired, and no version of the model is active."),
            params={"version": str(version)},
            reason_code="retired_model",
        )
    written = queue_predictions(
        prediction.instance, requested_model=version.name, actor=actor, created=False
    )
    if not written:
        raise Conflict(
            _("The active version of %(name)s has already read this image."),
            params={"name": version.name},
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
    """Queue another run on behalf of a user, with an audit event.

    Args:
        actor: The user.
        prediction: The failed run.
        source: An `AuditSource`.
        request: The HTTP request, for the audit trail.

    Raises:
        NotAllowed: The user may not run predictions again.
        NotFound: The user may not see the prediction.
        Conflict: It cannot be run again; see `retry_prediction`.
        AuditUnavailable: The event could not be written; nothing was queued.
    """
    require(actor, Action.RETRY_PREDICTION, prediction)
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
