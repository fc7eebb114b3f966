"""Rows of the worklist and of a patient's history: one study each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Prefetch
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from accounts.access import Action, may
from accounts.models import User
from diagnoses.models import Prediction, WorklistEntry
from diagnoses.pages.words.findings import FindingLine, finding_line
from diagnoses.pages.words.identity import (
    accession_text,
    flag_labels,
    patient_line,
    study_text,
)
from diagnoses.pages.words.signs import PRIORITIES, Sign, status_sign
from diagnoses.worklist import rejection_reasons
from patients.models import Priority, Series

_Status = Prediction.Status
_NO_FINDING = {
    _Status.QUEUED: _("waiting for the model"),
    _Status.RUNNING: _("waiting for the model"),
    _Status.REJECTED: _("stored and shown, not scored"),
    _Status.FAILED: _("the model could not analyse it"),
    _Status.SUCCEEDED: _("no frontal image that a model in use analysed"),
}


@dataclass(frozen=True)
class Row:
    """The texts of one row. `no_finding` says why there is no result to show."""

    url: str
    study_key: UUID
    patient_key: UUID
    priority: Sign
    patient: str
    patient_line: str
    flags: Sequence[str]
    study: str
    study_line: str
    finding: FindingLine | None
    result: str
    no_finding: Promise | str
    image: str
    status: Sign
    received_at: datetime
    synthetic: bool


def rows_of(study_ids: Sequence[UUID], *, user: User) -> list[Row]:
    """Return the rows of these studies in this order; few queries for any number."""
    entries = (
        WorklistEntry.objects.visible_to(user)
        .filter(study_id__in=study_ids)
        .order_by()
        .select_related(
            "study__patient",
            "finding",
            "prediction__instance",
            "prediction__model_version",
        )
        .defer(
            "prediction__model_version__card",
            "prediction__geometry",
            "prediction__provenance",
            "prediction__instance__header",
        )
        .prefetch_related(
            Prefetch("study__series", Series.objects.order_by("series_number", "id")),
            "study__discrepancies",
        )
    )
    by_key = {entry.study_id: entry for entry in entries}
    rejected = [e.study_id for e in by_key.values() if e.status == _Status.REJECTED]
    reasons = rejection_reasons(rejected) if rejected else {}
    shows_results = may(user, Action.READ_RESULTS)
    return [
        _row(by_key[key], reasons=reasons, shows_results=shows_results)
        for key in study_ids
        if key in by_key
    ]


def _row(
    entry: WorklistEntry,
    *,
    reasons: Mapping[UUID, str],
    shows_results: bool,
) -> Row:
    study = entry.study
    reason = reasons.get(entry.study_id, "")
    return Row(
        url=reverse("study", args=[study.pk]),
        study_key=study.pk,
        patient_key=study.patient_id,
        priority=PRIORITIES[Priority(entry.priority)],
        patient=study.patient.display_name,
        patient_line=patient_line(study.patient, on=study.study_date),
        flags=flag_labels(study),
        study=study_text(study, study.series.all()),
        study_line=_study_line(entry),
        finding=_finding_line(entry) if shows_results else None,
        result=entry.result_sentence if shows_results else "",
        no_finding=(
            _NO_FINDING[_Status(entry.status)]
            if shows_results
            else _("your role does not show results")
        ),
        image=_image_text(entry) if shows_results else "",
        status=status_sign(entry.status, reason_code=reason),
        received_at=entry.received_at,
        synthetic=bool(entry.prediction and entry.prediction.instance.synthetic),
    )


def _study_line(entry: WorklistEntry) -> str:
    parts = [accession_text(entry.study)]
    if entry.images > 1:
        images = ngettext("%(count)d image", "%(count)d images", entry.images)
        parts.append(images % {"count": entry.images})
        if entry.images_unread:
            unread = ngettext(
                "%(count)d not scored", "%(count)d not scored", entry.images_unread
            )
            parts.append(unread % {"count": entry.images_unread})
    return " · ".join(parts)


def _finding_line(entry: WorklistEntry) -> FindingLine | None:
    if entry.finding is None or entry.prediction is None:
        return None
    version = entry.prediction.model_version
    return finding_line(
        entry.finding, claimed_labels=version.claimed_labels if version else ()
    )


def _image_text(entry: WorklistEntry) -> str:
    """Return which image the finding is on, if a study has several.

    It is the image that opens with the study, by its number there.
    """
    if entry.images <= 1 or entry.prediction is None:
        return ""
    return gettext("on image %(number)d") % {"number": entry.image_number}
