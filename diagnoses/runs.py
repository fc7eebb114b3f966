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
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial, reduce
from operator import or_
from typing import TYPE_CHECKING, Any
from uuid import UUID

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


@dataclass(frozen=True)
class WithoutResult:
    """The end of a run that scored nothing: rejected or failed, and why."""

    status: Status
    reason_code: str
    params: Mapping[str, object] | None = None


Ending = RunResult | WithoutResult


def rejected(rejection: MlError) -> WithoutResult:
    """Return the ending of a run whose image is rejected."""
    return WithoutResult(Status.REJECTED, rejection.reason_code, rejection.params)


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
        chosen = [
            verdict
            for verdict in verdicts
            if created or not (verdict.shadow or _is_known(instance, verdict))
        ]
        written = _write(instance, chosen, actor=actor, priority=study.priority)
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
    return (
        _latest_run(instance, frame=frame).get(version.pk if version else None, 0) + 1
    )


def _latest_run(instance: Instance, *, frame: int = 0) -> dict[UUID | None, int]:
    """Return the number of the latest run of each version."""
    runs = Prediction.objects.filter(instance=instance, frame=frame).order_by()
    return dict(runs.values_list("model_version").annotate(Max("run")))


def _write(
    instance: Instance,
    verdicts: Iterable[Verdict],
    *,
    actor: User | None,
    priority: int,
) -> list[Prediction]:
    """Write a row for each verdict, and send a hint for each pass of a network."""
    runs = _latest_run(instance)
    rows = []
    for verdict in verdicts:
        version, rejection = verdict.model_version, verdict.rejection
        ended: dict[str, Any] = {}
        if rejection:
            ended = _values_without_result(rejected(rejection))
            ended["finished_at"] = Now()
        rows.append(
            Prediction(
                instance=instance,
                model_version=version,
                run=runs.get(version.pk if version else None, 0) + 1,
                shadow=verdict.shadow,
                requested_by=actor,
                priority=priority,
                hinted_at=Now(),
                **ended,
            )
        )
    Prediction.objects.bulk_create(rows)
    for row in rows:
        if row.status == Status.REJECTED:
            prediction_finished.send(sender=Prediction, prediction=row)
    queued = [row for row in rows if row.status == Status.QUEUED]
    networks = {row.model_version.weights_sha256 for row in queued if row.model_version}
    if networks:
        transaction.on_commit(partial(send_hints, len(networks)), robust=True)
    return rows


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


def end_together(endings: Mapping[Claimed, Ending]) -> set[Claimed]:
    """End runs on one image in one transaction, each if its claim still holds its row.

    Args:
        endings: The result of each run, or why there is none.

    Returns:
        The claims whose runs are ended; another worker holds the rows of the others,
        and what they found was discarded.
    """
    with transaction.atomic():
        held_rows = _lock_held(endings)
        ended = {claimed: endings[claimed] for claimed in held_rows}
        results = {c: end for c, end in ended.items() if isinstance(end, RunResult)}
        # First: the database refuses findings of a finished run.
        _save_findings({held_rows[claimed]: run for claimed, run in results.items()})
        for claimed, ending in ended.items():
            Prediction.objects.filter(pk=claimed.prediction_id).update(
                finished_at=Now(), lease_expires_at=None, **_values(claimed, ending)
            )
        _tell_finished(held_rows.values())
    late = endings.keys() - held_rows.keys()
    return set(held_rows) | {claimed for claimed in late if _is_finished_by(claimed)}


def complete_prediction(claimed: Claimed, *, run: RunResult) -> bool:
    """Save the result of a run in one transaction, if the claim still holds the row.

    Returns:
        Whether the result is saved; False if another worker holds the row and the
        result was discarded.
    """
    return bool(end_together({claimed: run}))


def reject(claimed: Claimed, *, rejection: MlError) -> bool:
    """End a run because the image is rejected; False if the claim lost the row."""
    return bool(end_together({claimed: rejected(rejection)}))


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
    ending = WithoutResult(Status.FAILED, reason_code, params)
    return bool(end_together({claimed: ending}))


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


def _lock_held(claims: Collection[Claimed]) -> dict[Claimed, Prediction]:
    """Lock the study, and those rows of one image that their claims still hold."""
    keys = [claimed.prediction_id for claimed in claims]
    study_id = (
        Prediction.objects.filter(pk__in=keys)
        .values_list("instance__series__study", flat=True)
        .first()
    )
    rows: dict[UUID, Prediction] = {}
    if study_id is not None:  # else erased in the meantime
        lock_study(study_id)
        mine = reduce(or_, map(held, claims)).select_related("instance__series")
        locked = mine.defer("instance__header").order_by("pk")
        rows = {
            row.pk: row for row in locked.select_for_update(of=("self",), no_key=True)
        }
    for claimed in claims:
        if claimed.prediction_id not in rows:
            logger.warning(
                "The result of prediction %s, attempt %d, came late and was thrown "
                "away",
                claimed.prediction_id,
                claimed.attempt,
            )
    return {c: rows[c.prediction_id] for c in claims if c.prediction_id in rows}


def _tell_finished(rows: Iterable[Prediction]) -> None:
    """Tell the worklist and others of finished rows of one image, save shadow runs."""
    shown = [row for row in rows if not row.shadow]
    if not shown:
        return
    refresh_entry(shown[0].instance.series.study_id)
    if not prediction_finished.has_listeners(Prediction):
        return
    finished = Prediction.objects.select_related("instance__series")
    for row in finished.defer("instance__header").filter(pk__in=[r.pk for r in shown]):
        prediction_finished.send(sender=Prediction, prediction=row)


def _is_finished_by(claimed: Claimed) -> bool:
    """Return whether this attempt finished the row: a commit whose answer was lost."""
    return Prediction.objects.filter(
        pk=claimed.prediction_id,
        attempt=claimed.attempt,
        status__in=Prediction.FINISHED,
    ).exists()


def _save_findings(runs: Mapping[Prediction, RunResult]) -> None:
    findings, heat_maps = [], []
    for prediction, run in runs.items():
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


def _values(claimed: Claimed, ending: Ending) -> dict[str, object]:
    """Return the values of a row that has this ending."""
    if isinstance(ending, WithoutResult):
        return _values_without_result(ending)
    run = ending
    return {
        "status": Status.SUCCEEDED,
        "milliseconds": run.model_output.milliseconds,
        "input_sha256": run.model_output.input_sha256,
        "pixel_sha256": run.pixel_sha256,
        "geometry": run.model_output.geometry.to_json(),
        "provenance": _provenance(claimed, run),
    }


def _values_without_result(ending: WithoutResult) -> dict[str, object]:
    reason = stored_reason(ending.reason_code, ending.params)
    return {"status": ending.status, **reason}


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
