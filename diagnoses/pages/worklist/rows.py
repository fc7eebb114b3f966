"""A row of the worklist and of a patient's history: a study in two lines and a bar."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Prefetch
from django.urls import reverse
from django.utils import timezone

from accounts.access import Action, may
from accounts.models import User
from diagnoses.models import Prediction, WorklistEntry
from diagnoses.pages.words.findings import FindingLine, finding_line
from diagnoses.pages.words.identity import (
    accession_words,
    flag_words,
    patient_line,
    study_words,
)
from diagnoses.pages.words.signs import PRIORITIES, Sign, status_sign
from diagnoses.pages.words.times import waiting_words
from diagnoses.worklist import rejection_reasons
from patients.models import Priority, Series

_Status = Prediction.Status
_INSTEAD = {
    _Status.QUEUED: "waiting for the model",
    _Status.RUNNING: "waiting for the model",
    _Status.REJECTED: "kept and shown, no score given",
    _Status.FAILED: "the model could not read it",
    _Status.SUCCEEDED: "no frontal image of the default model",
}


@dataclass(frozen=True)
class Row:
    """What one row says. `instead` stands where there is no finding to show."""

    url: str
    patient_key: UUID
    priority: Sign
    patient: str
    patient_line: str
    flags: Sequence[str]
    study: str
    study_line: str
    finding: FindingLine | None
    instead: str
    image: str
    status: Sign
    received_at: datetime
    waiting: str
    synthetic: bool


def rows_of(study_ids: Sequence[UUID], *, user: User) -> list[Row]:
    """Return the rows of these studies, in this order: a few queries for any number."""
    entries = (
        WorklistEntry.objects.visible_to(user)
        .filter(study_id__in=study_ids)
        .order_by()
        .select_related("study__patient", "finding", "prediction__instance__series")
        .defer(
            "prediction__geometry",
            "prediction__provenance",
            "prediction__instance__header",
        )
        .prefetch_related(
            Prefetch(
                "study__series",
                Series.objects.order_by("series_number", "id"),
                to_attr="listed_series",
            )
        )
    )
    by_key = {entry.study_id: entry for entry in entries}
    rejected = [e.study_id for e in by_key.values() if e.status == _Status.REJECTED]
    reasons = rejection_reasons(rejected) if rejected else {}
    shows_results = may(user, Action.READ_RESULTS)
    now = timezone.now()
    return [
        _row(by_key[key], reasons=reasons, shows_results=shows_results, now=now)
        for key in study_ids
        if key in by_key
    ]


def _row(
    entry: WorklistEntry,
    *,
    reasons: Mapping[UUID, str],
    shows_results: bool,
    now: datetime,
) -> Row:
    study = entry.study
    shown = entry.finding if shows_results else None
    reason = reasons.get(entry.study_id, "")
    return Row(
        url=reverse("study", args=[study.pk]),
        patient_key=study.patient_id,
        priority=PRIORITIES[Priority(entry.priority)],
        patient=study.patient.display_name,
        patient_line=patient_line(study.patient, on=study.study_date),
        flags=flag_words(study),
        study=study_words(study, study.listed_series),
        study_line=_study_line(entry),
        finding=finding_line(shown) if shown else None,
        instead=(
            _INSTEAD[_Status(entry.status)]
            if shows_results
            else "results are not shown to your role"
        ),
        image=_image_words(entry) if shown else "",
        status=status_sign(entry.status, reason_code=reason),
        received_at=entry.received_at,
        waiting=waiting_words(entry.received_at, now=now),
        synthetic=bool(entry.prediction and entry.prediction.instance.synthetic),
    )


def _study_line(entry: WorklistEntry) -> str:
    parts = [accession_words(entry.study)]
    if entry.images > 1:
        parts.append(f"{entry.images} images")
        if entry.images_unread:
            parts.append(f"{entry.images_unread} not scored")
    return " · ".join(parts)


def _image_words(entry: WorklistEntry) -> str:
    """Say which image the finding speaks of, where a study has several."""
    if entry.images <= 1 or entry.prediction is None:
        return ""
    instance = entry.prediction.instance
    view = instance.view_position or instance.series.view_position
    return f"on {view}" if view else f"on image {instance.instance_number or 1}"
