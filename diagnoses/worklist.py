"""Compute and store the worklist row of a study.

An image is one received instance. Its status is that of the latest run of the default
model, or, without such a run, the worst of the others. `queued` includes running: the
row is not written when a worker starts. Shadow runs have no influence.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.db import transaction

from diagnoses.latest_runs import default_names
from diagnoses.models import Finding, Prediction, WorklistEntry
from ml.labels import NOTHING_FOUND_LABELS
from ml.views import is_lateral
from patients.models import Instance, Origin, Study

Status = Prediction.Status
# Ordered from worst to best.
SEVERITY = (
    Status.FAILED,
    Status.REJECTED,
    Status.RUNNING,
    Status.QUEUED,
    Status.SUCCEEDED,
)
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
    "prediction",
    "finding",
    "flagged",
)


@dataclass(frozen=True)
class _Run:
    """The values of a prediction that the row needs."""

    prediction_id: UUID
    status: Status
    model: str | None
    reason_code: str


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


def lock_study(study_id: UUID) -> Study:
    """Lock a study to change its predictions; needs a transaction."""
    return Study.objects.select_for_update(no_key=True).get(pk=study_id)


def rebuild_worklist() -> int:
    """Write the rows that show another model than the present default model.

    Returns:
        The number of rows written: studies with a run of the default model that their
        row does not show, and studies whose row shows another model.
    """
    shown_model = "prediction__model_version__name"
    succeeded = Prediction.objects.filter(status=Status.SUCCEEDED, shadow=False)
    of_default = succeeded.filter(model_version__name=settings.DEFAULT_MODEL)
    of_defaults = succeeded.filter(model_version__name__in=default_names())
    rows = WorklistEntry.objects.order_by()
    with_model = rows.filter(prediction__isnull=False)
    wrong = (
        with_model.exclude(**{f"{shown_model}__in": default_names()}),
        with_model.exclude(**{shown_model: settings.DEFAULT_MODEL}).filter(
            study__series__instances__predictions__in=of_default
        ),
        rows.filter(
            prediction__isnull=True,
            study__series__instances__predictions__in=of_defaults,
        ),
    )
    studies: set[UUID] = set()
    for outdated in wrong:
        studies |= set(outdated.values_list("study_id", flat=True))
    for study_id in studies:
        refresh_entry(study_id)
    return len(studies)


def _entry(study: Study, images: dict[UUID, str]) -> WorklistEntry:
    runs = _runs_of(images)
    statuses = [_image_status(runs.get(image, [])) for image in images]
    finding = _leading_finding(
        run.prediction_id
        for image, view in images.items()
        if not is_lateral(view)
        for run in _of_default(runs.get(image, []))
        if run.status == Status.SUCCEEDED
    )
    worst = min(statuses, key=SEVERITY.index)
    return WorklistEntry(
        study=study,
        department_id=study.department_id,
        priority=study.priority,
        received_at=study.received_at,
        status=Status.QUEUED if worst == Status.RUNNING else worst,
        images=len(images),
        images_waiting=sum(status in WAITING for status in statuses),
        images_unread=sum(status in UNREAD for status in statuses),
        prediction_id=finding.prediction_id if finding else None,
        finding=finding,
        flagged=bool(finding and _is_alarming(finding)),
    )


def rejection_reasons(study_ids: Collection[UUID]) -> dict[UUID, str]:
    """Return the reason codes of studies without a score, by study.

    Of several rejected images the first received one counts. A study without rejected
    images has no reason.
    """
    images = dict(
        Instance.objects.filter(series__study__in=study_ids, origin=Origin.RECEIVED)
        .order_by("received_at", "pk")
        .values_list("pk", "series__study")
    )
    runs = _runs_of(images)
    reasons: dict[UUID, str] = {}
    for image, study in images.items():
        decided = _deciding(runs.get(image, []))
        if decided and _image_status(decided) == Status.REJECTED:
            reasons.setdefault(study, decided[0].reason_code)
    return reasons


def _runs_of(images: Iterable[UUID]) -> dict[UUID, list[_Run]]:
    """Return the latest run of each model on each image, in one narrow query."""
    latest: dict[UUID, dict[str | None, _Run]] = {}
    rows = (
        Prediction.objects.filter(instance_id__in=list(images), shadow=False)
        .order_by("queued_at", "run")
        .values_list(
            "instance_id", "pk", "status", "model_version__name", "reason_code"
        )
    )
    for image, prediction_id, status, name, reason_code in rows:
        run = _Run(prediction_id, Status(status), name, reason_code)
        latest.setdefault(image, {})[name] = run
    for by_model in latest.values():
        if len(by_model) > 1:
            by_model.pop(None, None)
    return {image: list(by_model.values()) for image, by_model in latest.items()}


def _of_default(runs: list[_Run]) -> list[_Run]:
    """Return the run of the first default model that did not reject the image."""
    names = default_names()
    known = sorted(
        (run for run in runs if run.model in names),
        key=lambda run: (run.status == Status.REJECTED, names.index(str(run.model))),
    )
    return known[:1]


def _deciding(runs: list[_Run]) -> list[_Run]:
    """Return the runs that decide the status: of the default model, if any."""
    return _of_default(runs) or runs


def _image_status(runs: list[_Run]) -> Status:
    """Return the status of one image; an image without runs is unread."""
    statuses = [run.status for run in _deciding(runs)]
    return min(statuses, key=SEVERITY.index, default=Status.REJECTED)


def _leading_finding(prediction_ids: Iterable[UUID]) -> Finding | None:
    """Return the strongest positive finding other than Normal, else the highest."""
    findings = list(
        Finding.objects.filter(prediction_id__in=list(prediction_ids)).only(
            "prediction_id", "label", "probability", "positive"
        )
    )
    return max(
        findings,
        key=lambda finding: (_is_alarming(finding), finding.probability),
        default=None,
    )


def _is_alarming(finding: Finding) -> bool:
    return finding.positive and finding.label not in NOTHING_FOUND_LABELS
