"""Compute and store the worklist row of a study.

An image is one received instance. The row tells what the models in use found: those
with an active version. The run of the active version counts; if there is none, the
latest run of another version of the model, so that a new version hides no finding.
Runs in shadow have no influence.

A model flags a label if a finding is above its threshold and the card claims an
accuracy for it. A finding also counts for the general label of its own. The label that
most models flagged is shown, then the one with the highest probability.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from diagnoses.latest_runs import default_rank
from diagnoses.models import Finding, ModelVersion, Prediction, WorklistEntry
from ml.labels import counts_for, is_flagged
from ml.views import is_lateral
from patients.models import Instance, Origin, Study

Status = Prediction.Status
# Ordered from worst to best.
SEVERITY = (Status.FAILED, Status.REJECTED, Status.QUEUED, Status.SUCCEEDED)
WAITING = (Status.QUEUED, Status.RUNNING)
UNREAD = (Status.REJECTED, Status.FAILED)
_WRITTEN = (
    "department",
    "priority",
    "received_at",
    "status",
    "images",
    "images_waiting",
    "images_unread",
    "flagged",
    "label",
    "models_flagging",
    "models_reading",
    "highest",
    "prediction",
    "finding",
    "image_number",
    "models_in_use",
)


@dataclass(frozen=True)
class ModelsInUse:
    """The active version of each model, and a hash that changes with them.

    The hash also changes with the labels that their cards claim.
    """

    versions: Mapping[str, UUID]
    key: str


@dataclass(frozen=True)
class _Run:
    """The values of a prediction that the row needs."""

    prediction_id: UUID
    image_number: int
    status: Status
    model: str | None
    version_id: UUID | None
    claimed_labels: Collection[str]
    reason_code: str


@dataclass
class _Label:
    """The models that have a label and analysed the study, and those that flagged it.

    `strongest` is the flagged finding with the highest probability.
    """

    reading: set[str] = field(default_factory=set)
    flagging: set[str] = field(default_factory=set)
    strongest: Finding | None = None


def models_in_use() -> ModelsInUse:
    """Return the models in use."""
    active = ModelVersion.objects.filter(state=ModelVersion.State.ACTIVE)
    rows = sorted(active.values_list("name", "pk", "claimed_labels"))
    return ModelsInUse(
        {name: pk for name, pk, _claimed in rows},
        hashlib.sha256(repr(rows).encode()).hexdigest()[:16],
    )


def refresh_entry(study_id: UUID) -> None:
    """Write the worklist row of a study; a study without images has none.

    Locks the study: if two images finish at once, the second sees both. Code that also
    locks predictions locks the study first.
    """
    with transaction.atomic():
        study = lock_study(study_id)
        images = dict(
            Instance.objects.filter(series__study=study, origin=Origin.RECEIVED)
            .order_by("series__series_number", "instance_number", "received_at", "pk")
            .values_list("pk", "view_position")
        )
        if not images:
            WorklistEntry.objects.filter(study=study).delete()
            return
        entry = _entry(study, images)
        WorklistEntry.objects.bulk_create(
            [entry],
            update_conflicts=True,
            unique_fields=("study",),
            update_fields=_WRITTEN,
        )


def result_of_image(instance: Instance, *, study: Study) -> WorklistEntry:
    """Return the row, not stored, that a study would have with this image only."""
    return _entry(study, {instance.pk: instance.view_position})


def lock_study(study_id: UUID) -> Study:
    """Lock a study to change its predictions; needs a transaction."""
    return Study.objects.select_for_update(no_key=True).get(pk=study_id)


def rebuild_worklist(*, most: int | None = None) -> int:
    """Write the rows that were written while other models were in use.

    Activating, retiring or rolling back a version outdates the rows, and so does
    another set of claimed labels. Findings keep the threshold that they were compared
    with, so a new operating point outdates none.

    Args:
        most: The largest number of rows to write; without it, all.

    Returns:
        The number of rows written.
    """
    key = models_in_use().key
    # Two ranges of the index: a condition with <> could not use it.
    outdated = WorklistEntry.objects.order_by().filter(
        Q(models_in_use__lt=key) | Q(models_in_use__gt=key)
    )
    studies = list(outdated.values_list("study_id", flat=True)[:most])
    for study_id in studies:
        # A study that is erased meanwhile has no row to write.
        with suppress(Study.DoesNotExist):
            refresh_entry(study_id)
    return len(studies)


def _entry(study: Study, images: Mapping[UUID, str]) -> WorklistEntry:
    in_use = models_in_use()
    runs = _runs_of(images, in_use)
    statuses = [_image_status(runs.get(image, []), in_use) for image in images]
    entry = WorklistEntry(
        study=study,
        department_id=study.department_id,
        priority=study.priority,
        received_at=study.received_at,
        status=min(statuses, key=SEVERITY.index),
        images=len(images),
        images_waiting=statuses.count(Status.QUEUED),
        images_unread=sum(status in UNREAD for status in statuses),
        models_in_use=in_use.key,
    )
    _tell_result(
        entry,
        [
            run
            for image, view in images.items()
            if not is_lateral(view)
            for run in runs.get(image, [])
            if run.model in in_use.versions and run.status == Status.SUCCEEDED
        ],
    )
    return entry


def _tell_result(entry: WorklistEntry, runs: Collection[_Run]) -> None:
    """Set what the models found; `runs` are those that succeeded."""
    by_key = {run.prediction_id: run for run in runs}
    findings = list(
        Finding.objects.filter(prediction_id__in=by_key).only(
            "prediction_id", "label", "probability", "positive"
        )
    )
    labels: dict[str, _Label] = defaultdict(_Label)
    for finding in findings:
        _count(finding, by_key[finding.prediction_id], labels)
    if any(each.flagging for each in labels.values()):
        name, flagged = max(labels.items(), key=_prominence)
        shown = flagged.strongest
        entry.flagged, entry.label = True, name
        entry.models_flagging = len(flagged.flagging)
        entry.models_reading = len(flagged.reading)
    else:
        shown = _highest_claimed(findings, by_key)
        entry.label = shown.label if shown else ""
        entry.models_reading = len({run.model for run in runs})
    if shown is not None:
        run = by_key[shown.prediction_id]
        entry.finding, entry.highest = shown, shown.probability
        entry.prediction_id, entry.image_number = run.prediction_id, run.image_number


def _count(finding: Finding, run: _Run, labels: Mapping[str, _Label]) -> None:
    """Count a finding for its own label and for the general one."""
    flags = is_flagged(
        finding.label, positive=finding.positive, claimed_labels=run.claimed_labels
    )
    for name in counts_for(finding.label):
        label = labels[name]
        label.reading.add(str(run.model))
        if not flags:
            continue
        label.flagging.add(str(run.model))
        strongest = label.strongest
        if strongest is None or finding.probability > strongest.probability:
            label.strongest = finding


def _prominence(item: tuple[str, _Label]) -> tuple[int, float, int, bool]:
    """Return the key by which the label to show is the greatest.

    Among equals the label that most models have is shown, since it tells that the
    others did not flag it; if that is equal too, the specific label.
    """
    name, label = item
    highest = label.strongest.probability if label.strongest else 0.0
    specific = len(counts_for(name)) > 1
    return len(label.flagging), highest, len(label.reading), specific


def _highest_claimed(
    findings: Iterable[Finding], runs: Mapping[UUID, _Run]
) -> Finding | None:
    """Return the finding with the highest probability among the claimed labels."""
    claimed = (
        finding
        for finding in findings
        if finding.label in runs[finding.prediction_id].claimed_labels
    )
    return max(claimed, key=lambda finding: finding.probability, default=None)


def rejection_reasons(study_ids: Collection[UUID]) -> dict[UUID, str]:
    """Return the reason codes of studies without a score, by study.

    Of several rejected images the first received one counts, and of its runs that of
    the default model. A study without rejected images has no reason.
    """
    images = dict(
        Instance.objects.filter(series__study__in=study_ids, origin=Origin.RECEIVED)
        .order_by("received_at", "pk")
        .values_list("pk", "series__study")
    )
    in_use = models_in_use()
    runs = _runs_of(images, in_use)
    reasons: dict[UUID, str] = {}
    for image, study in images.items():
        deciding = _deciding(runs.get(image, []), in_use)
        if deciding and _image_status(deciding, in_use) == Status.REJECTED:
            first = min(deciding, key=lambda run: default_rank(run.model or ""))
            reasons.setdefault(study, first.reason_code)
    return reasons


def _runs_of(images: Iterable[UUID], in_use: ModelsInUse) -> dict[UUID, list[_Run]]:
    """Return the run of each model that counts on each image, in one narrow query."""
    numbers = {image: number for number, image in enumerate(images, start=1)}
    counting: dict[UUID, dict[str | None, _Run]] = {}
    rows = (
        Prediction.objects.filter(instance_id__in=list(numbers), shadow=False)
        .order_by("queued_at", "run")
        .values_list(
            "instance_id",
            "pk",
            "status",
            "model_version__name",
            "model_version",
            "model_version__claimed_labels",
            "reason_code",
        )
    )
    for image, key, status, name, version, claimed, reason_code in rows:
        by_model = counting.setdefault(image, {})
        active = in_use.versions.get(name)
        known = by_model.get(name)
        if known and version != active and known.version_id == active:
            continue
        by_model[name] = _Run(
            prediction_id=key,
            image_number=numbers[image],
            status=Status(status),
            model=name,
            version_id=version,
            claimed_labels=claimed or (),
            reason_code=reason_code,
        )
    for by_model in counting.values():
        if len(by_model) > 1:
            by_model.pop(None, None)
    return {image: list(by_model.values()) for image, by_model in counting.items()}


def _deciding(runs: list[_Run], in_use: ModelsInUse) -> list[_Run]:
    """Return the runs that decide the status: of the models in use, if any."""
    return [run for run in runs if run.model in in_use.versions] or runs


def _image_status(runs: list[_Run], in_use: ModelsInUse) -> Status:
    """Return the status of one image; an image without runs is unread.

    It waits while one model waits; then one failed run is told, since a person may
    repeat it. It is rejected only if no model analysed it.
    """
    statuses = {run.status for run in _deciding(runs, in_use)}
    if statuses.intersection(WAITING):
        return Status.QUEUED
    for status in (Status.FAILED, Status.SUCCEEDED):
        if status in statuses:
            return status
    return Status.REJECTED
