"""Queue, finish, put back and fail predictions.

Rows are queued in the transaction that stores the image: they are the outbox. A worker
(`diagnoses.worker.read`) claims a row (`diagnoses.leases`) and ends it here, in one
transaction, only where it still holds the row: status is running AND the attempt is
its own. Otherwise the result is discarded. Every function here may run twice.

Code that changes the predictions of a study locks the study first, which prevents
deadlocks.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from django.conf import settings
from django.db import transaction
from django.db.models import F, Max, Q, QuerySet
from django.db.models.functions import Now

from accounts.models import User
from diagnoses.eligibility import Verdict, judge
from diagnoses.governance.versions import Threshold
from diagnoses.heat_maps import LOGIT
from diagnoses.hints import send_hints
from diagnoses.leases import Claimed
from diagnoses.messages import stored_reason
from diagnoses.models import Finding, HeatMap, ModelVersion, Prediction
from diagnoses.signals import prediction_finished
from diagnoses.worklist import lock_study, refresh_entry
from ml.errors import MlError
from patients.models import Instance, Origin, Study

if TYPE_CHECKING:
    from ml.inference import ModelOutput
    from ml.model_output import Score

logger = logging.getLogger(__name__)

Status = Prediction.Status
OPEN = (Status.QUEUED, Status.RUNNING)
# After temporary faults: 1, 2, 4, … seconds, at most this, between two attempts.
LONGEST_PAUSE_S = 300.0
# About an hour of attempts; then the run fails.
MOST_ATTEMPTS = 20


@dataclass(frozen=True)
class RunResult:
    """The output of one run of a model, with its inputs.

    Attributes:
        model_output: Scores and heat maps.
        thresholds: The thresholds in force, by label.
        object_sha256: Of the stored bytes that were read.
        pixel_sha256: Of the stored pixel values; "" if they were not hashed.
        gate_note: A note if the gate was not applied, else "".
    """

    model_output: ModelOutput
    thresholds: Mapping[str, Threshold] = field(default_factory=dict)
    object_sha256: str = ""
    pixel_sha256: str = ""
    gate_note: str = ""


def queue_predictions(
    instance: Instance,
    *,
    requested_model: str = "",
    actor: User | None = None,
    created: bool = True,
) -> list[Prediction]:
    """Queue an image for every eligible active model, or for the requested one.

    Runs inside the transaction that stores the image; the workers get a hint after its
    commit. A duplicate (`created` false) is queued only for a requested model that
    has not read it. If no model is eligible, one rejected row has the reason. Models
    in shadow also read every eligible new image.

    Returns:
        The rows that were written, queued or rejected.

    Raises:
        InvalidInput: No active model has the requested name.
    """
    if instance.origin == Origin.OURS:
        return []
    with transaction.atomic():
        study = lock_study(instance.series.study_id)
        verdicts: list[Verdict] = []
        if created or requested_model:
            verdicts = judge(instance, requested=requested_model)
        written = [
            _write(instance, verdict, actor=actor, priority=study.priority)
            for verdict in verdicts
            if created or not (verdict.shadow or _is_known(instance, verdict))
        ]
        _follow_priority(study)
        refresh_entry(study.pk)
    return written


def _is_known(instance: Instance, verdict: Verdict) -> bool:
    return Prediction.objects.filter(
        instance=instance, frame=0, model_version=verdict.model_version, shadow=False
    ).exists()


def next_run(
    instance: Instance, version: ModelVersion | None, *, frame: int = 0
) -> int:
    """Return the number of the next run; shadow runs count, too."""
    last = Prediction.objects.filter(
        instance=instance, frame=frame, model_version=version
    ).aggregate(run=Max("run"))["run"]
    return (last or 0) + 1


def _write(
    instance: Instance, verdict: Verdict, *, actor: User | None, priority: int
) -> Prediction:
    ended: dict[str, Any] = {}
    if verdict.rejection:
        ended = {
            "status": Status.REJECTED,
            "finished_at": Now(),
            **stored_reason(verdict.rejection.reason_code, verdict.rejection.params),
        }
    prediction = Prediction(
        instance=instance,
        model_version=verdict.model_version,
        run=next_run(instance, verdict.model_version),
        shadow=verdict.shadow,
        requested_by=actor,
        priority=priority,
        hinted_at=Now(),
        **ended,
    )
    prediction.save(force_insert=True)
    if verdict.rejection:
        prediction_finished.send(sender=Prediction, prediction=prediction)
    else:
        transaction.on_commit(partial(send_hints, 1), robust=True)
    return prediction


def set_priority(study: Study, *, priority: int) -> None:
    """Change the priority of a study and of its queued images."""
    with transaction.atomic():
        locked = lock_study(study.pk)
        locked.priority = priority
        locked.save(update_fields=("priority",))
        _follow_priority(locked)
        refresh_entry(locked.pk)
    study.priority = priority


def _follow_priority(study: Study) -> None:
    Prediction.objects.filter(
        ~Q(priority=study.priority),
        instance__series__study=study,
        status=Status.QUEUED,
    ).update(priority=study.priority)


def held(claimed: Claimed) -> QuerySet[Prediction]:
    """Return the row if the claim still holds it: this is the fence."""
    return Prediction.objects.filter(
        pk=claimed.prediction_id, status=Status.RUNNING, attempt=claimed.attempt
    )


def complete_prediction(claimed: Claimed, *, run: RunResult) -> bool:
    """Save the result of a run in one transaction, if the claim still holds the row.

    Returns:
        Whether the result is saved; False if another worker holds the row and the
        result was discarded.
    """
    model_output = run.model_output
    with transaction.atomic():
        held_row = _lock_held(claimed)
        if held_row is None:
            return _is_finished_by(claimed)
        # First: the database refuses findings of a finished run.
        _save_findings(held_row, run)
        _finish(
            held_row,
            status=Status.SUCCEEDED,
            milliseconds=model_output.milliseconds,
            input_sha256=model_output.input_sha256,
            pixel_sha256=run.pixel_sha256,
            geometry=model_output.geometry.to_json(),
            provenance=_provenance(claimed, run),
        )
    return True


def reject(claimed: Claimed, *, rejection: MlError) -> bool:
    """End a run because the image is rejected; False if the claim lost the row."""
    return _end_without_result(
        claimed, Status.REJECTED, rejection.reason_code, rejection.params
    )


def fail(
    claimed: Claimed,
    *,
    reason_code: str,
    params: Mapping[str, object] | None = None,
) -> bool:
    """End a run because of a permanent fault; False if the claim lost the row.

    Args:
        claimed: The row.
        reason_code: What happened; `diagnoses.messages` has the sentence.
        params: Values of the sentence's placeholders.
    """
    return _end_without_result(claimed, Status.FAILED, reason_code, params)


def put_back(
    claimed: Claimed,
    *,
    reason_code: str,
    params: Mapping[str, object] | None = None,
) -> bool:
    """Queue a row again after a temporary fault; fail it after MOST_ATTEMPTS."""
    if claimed.attempt >= MOST_ATTEMPTS:
        return fail(claimed, reason_code=reason_code, params=params)
    pause_s = min(LONGEST_PAUSE_S, 2.0 ** (claimed.attempt - 1))
    return bool(
        held(claimed).update(
            status=Status.QUEUED,
            lease_expires_at=None,
            worker="",
            # The sweeper hints as soon as `not_before` has come.
            hinted_at=None,
            not_before=Now() + timedelta(seconds=pause_s),
        )
    )


def count_lost_worker(claimed: Claimed) -> bool:
    """Queue a row again whose worker was lost; fail it after too many lost workers.

    The attempt stays the same: the next claim raises it, so a late result of the lost
    worker is discarded.

    Returns:
        Whether the row changed; False: it was no longer held by this claim.
    """
    given_back = (
        held(claimed)
        .filter(lost_workers__lt=settings.INFERENCE_MAX_LOST_WORKERS - 1)
        .update(
            status=Status.QUEUED,
            lease_expires_at=None,
            lost_workers=F("lost_workers") + 1,
            worker="",
            hinted_at=None,
        )
    )
    return bool(given_back) or fail(
        claimed,
        reason_code="worker_lost",
        params={"workers": settings.INFERENCE_MAX_LOST_WORKERS},
    )


def _end_without_result(
    claimed: Claimed,
    status: Status,
    reason_code: str,
    params: Mapping[str, object] | None,
) -> bool:
    with transaction.atomic():
        held_row = _lock_held(claimed)
        if held_row is None:
            return _is_finished_by(claimed)
        _finish(held_row, status=status, **stored_reason(reason_code, params))
    return True


def _lock_held(claimed: Claimed) -> Prediction | None:
    """Lock a row and its study if the claim still holds it; else return None."""
    study_id = (
        Prediction.objects.filter(pk=claimed.prediction_id)
        .values_list("instance__series__study", flat=True)
        .first()
    )
    if study_id is None:
        return None  # erased in the meantime
    lock_study(study_id)
    row = (
        held(claimed)
        .select_related("instance__series")
        .select_for_update(of=("self",), no_key=True)
        .first()
    )
    if row is None:
        logger.warning(
            "The result of prediction %s, attempt %d, came late and was thrown away",
            claimed.prediction_id,
            claimed.attempt,
        )
    return row


def _finish(held_row: Prediction, **values: object) -> None:
    """Finish a locked row; unless it is a shadow run, tell the worklist and others."""
    row = Prediction.objects.filter(pk=held_row.pk)
    row.update(finished_at=Now(), lease_expires_at=None, **values)
    if held_row.shadow:
        return
    refresh_entry(held_row.instance.series.study_id)
    finished = row.select_related("instance__series").get()
    prediction_finished.send(sender=Prediction, prediction=finished)


def _is_finished_by(claimed: Claimed) -> bool:
    """Return whether this attempt finished the row: a commit whose answer was lost."""
    return Prediction.objects.filter(
        pk=claimed.prediction_id,
        attempt=claimed.attempt,
        status__in=Prediction.FINISHED,
    ).exists()


def _save_findings(prediction: Prediction, run: RunResult) -> None:
    findings, heat_maps = [], []
    for position, score in enumerate(run.model_output.scores):
        threshold = run.thresholds.get(score.label)
        finding = Finding(
            prediction=prediction,
            position=position,
            label=score.label,
            probability=score.probability,
            calibrated=score.calibrated,
            threshold=score.threshold,
            threshold_source=(
                threshold.source if threshold else Finding.ThresholdSource.CARD
            ),
            operating_point_id=threshold.operating_point_id if threshold else None,
            positive=score.positive,
        )
        findings.append(finding)
        if score.grid.size:
            heat_maps.append(_heat_map(finding, score))
    Finding.objects.bulk_create(findings)
    HeatMap.objects.bulk_create(heat_maps)


def _heat_map(finding: Finding, score: Score) -> HeatMap:
    rows, columns = score.grid.shape
    return HeatMap(
        finding=finding,
        rows=rows,
        columns=columns,
        scale=score.scale,
        values=np.ascontiguousarray(score.grid, dtype="<f2").tobytes(),
    )


def _provenance(claimed: Claimed, run: RunResult) -> dict[str, object]:
    model_output = run.model_output
    return {
        "model": model_output.model,
        "version": model_output.version,
        "weights_sha256": model_output.weights_sha256,
        "preprocessing_version": model_output.preprocessing_version,
        "backend": model_output.backend,
        "precision": model_output.precision,
        "heat_map_unit": LOGIT,
        "library_versions": dict(model_output.library_versions),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "software_version": settings.SOFTWARE_VERSION,
        "gate": {**model_output.gate.to_json(), "note": run.gate_note}
        if model_output.gate
        else None,
        "label_set": list(model_output.label_set),
        "not_scored": dict(model_output.not_scored),
        "age_unknown": list(model_output.age_unknown),
        "certainty": {
            score.label: score.certainty
            for score in model_output.scores
            if score.certainty
        },
        "object_sha256": run.object_sha256,
        # Must equal the attempt of the row; otherwise the fence failed.
        "attempt": claimed.attempt,
    }
