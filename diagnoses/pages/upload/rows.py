"""The result of a file as a row of the upload page, with advice if it was refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlencode
from uuid import UUID

from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts.access import Action, may
from accounts.models import User
from diagnoses.latest_runs import latest_runs
from diagnoses.models import Prediction, WorklistEntry
from diagnoses.pages.polling import Watch
from diagnoses.pages.words.identity import (
    demographic_lines,
    flag_labels,
    mismatch_lines,
    study_text,
)
from diagnoses.pages.words.signs import OUTCOMES, Sign, status_sign
from diagnoses.uploads import TakenFile
from diagnoses.worklist import result_of_image
from patients.models import Instance, Patient, Study, StudyFlag, Upload

_RECORD_DECIDED = _(
    "An administrator decides which record is correct. Nothing was overwritten."
)
_COPY_DECIDED = _(
    "An administrator decides which copy is kept. Nothing was overwritten."
)
# What happens next with a conflict. The reasons of refusals say what to do themselves.
_ADVICE = {
    "conflict_patient": _RECORD_DECIDED,
    "conflict_study": _RECORD_DECIDED,
    "conflict_accession": _RECORD_DECIDED,
    "conflict_header": _COPY_DECIDED,
    "conflict_pixels": _COPY_DECIDED,
}
_STORED = OUTCOMES[Upload.Outcome.STORED]


@dataclass(frozen=True)
class FileResult:
    """One row: the file, where it is stored, and its result.

    `mismatches`: what differs from the known patient, with both persons.
    `field_errors`: the errors of the form, by the names of its fields.
    """

    name: str
    outcome: str
    status: Sign
    key: UUID | None = None
    size: int | None = None
    patient: str = ""
    study: str = ""
    url: str = ""
    duplicate: bool = False
    flags: Sequence[str] = ()
    result: str = ""
    flagged: bool = False
    mismatches: Sequence[str] = ()
    field_errors: Mapping[str, Sequence[str]] = field(default_factory=dict)
    sentence: str = ""
    advice: Promise | str = ""
    watch: Watch | None = None
    patient_key: UUID | None = None


def result_of(taken: TakenFile, *, user: User) -> FileResult:
    """Return the row of a file that was just sent."""
    result = taken.result
    shown = result.instance if taken.visible and taken.kept else None
    row = file_result(result.upload, name=result.name, instance=shown, user=user)
    row = replace(row, field_errors=result.field_errors)
    if result.mismatch is None:
        return row
    known = result.mismatch.known
    return replace(
        row,
        mismatches=mismatch_lines(result.mismatch),
        patient_key=known.patient_key if known else None,
    )


def refused_row(
    name: str,
    sentence: str,
    *,
    field_errors: Mapping[str, Sequence[str]] | None = None,
) -> FileResult:
    """Return the row of a file that was not examined."""
    return FileResult(
        name=name,
        outcome=Upload.Outcome.REFUSED,
        status=OUTCOMES[Upload.Outcome.REFUSED],
        sentence=sentence,
        field_errors=field_errors or {},
    )


def file_result(
    upload: Upload,
    *,
    name: str,
    instance: Instance | None,
    user: User,
    times: int = 0,
) -> FileResult:
    """Return the row of a file, with the model result if the user may see the image.

    Args:
        upload: Its row in the database.
        name: As the sender named it.
        instance: The image, if the user may see it.
        user: Decides what is shown.
        times: The number of polls for the result so far.
    """
    if instance is None:
        return _without_image(upload, name=name)
    study: Study = instance.series.study
    patient: Patient = study.patient
    run = _leading_run(instance)
    entry = result_of_image(instance, study=study)
    shows_results = may(user, Action.READ_RESULTS)
    return FileResult(
        name=name,
        key=upload.pk,
        size=upload.size_bytes,
        outcome=upload.outcome,
        status=_status(entry, run) if shows_results else _STORED,
        patient=patient.display_name,
        patient_key=patient.pk,
        study=study_text(study, [instance.series]),
        url=f"{reverse('study', args=[study.pk])}?{urlencode({'image': instance.pk})}",
        duplicate=upload.outcome == Upload.Outcome.DUPLICATE,
        flags=flag_labels(study, without=StudyFlag.DEMOGRAPHICS_MISMATCH),
        mismatches=demographic_lines(study),
        result=entry.result_sentence if shows_results else "",
        flagged=shows_results and entry.flagged,
        sentence=run.reason_text if run is not None and run.finished else "",
        watch=_watch(upload, times=times) if entry.images_waiting else None,
    )


def _without_image(upload: Upload, *, name: str) -> FileResult:
    return FileResult(
        name=name,
        key=upload.pk,
        size=upload.size_bytes,
        outcome=upload.outcome,
        status=OUTCOMES[Upload.Outcome(upload.outcome)],
        sentence=upload.reason_text,
        advice=_ADVICE.get(upload.reason_code, ""),
    )


def _leading_run(instance: Instance) -> Prediction | None:
    runs = latest_runs([instance.pk])[instance.pk]
    return runs[0] if runs else None


def _status(entry: WorklistEntry, run: Prediction | None) -> Sign:
    if run is None:
        return _STORED
    return status_sign(entry.status, reason_code=run.reason_code)


def _watch(upload: Upload, *, times: int) -> Watch:
    query = urlencode({"times": times + 1})
    return Watch(f"{reverse('upload-result', args=[upload.pk])}?{query}", times)
