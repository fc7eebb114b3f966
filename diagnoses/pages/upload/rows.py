"""What became of a file, as a row of the upload page; what to do when refused."""

from dataclasses import dataclass
from urllib.parse import urlencode
from uuid import UUID

from django.urls import reverse

from accounts.access import Action, may
from accounts.models import User
from diagnoses.latest_runs import latest_runs
from diagnoses.models import Prediction
from diagnoses.pages.polling import Watch
from diagnoses.pages.words.findings import FindingLine, finding_line, in_reading_order
from diagnoses.pages.words.identity import study_words
from diagnoses.pages.words.signs import OUTCOMES, Sign, status_sign
from diagnoses.uploads import TakenFile
from patients.models import Instance, Patient, Study, Upload

_RECORD_DECIDED = (
    "An administrator decides which record is right; nothing was overwritten."
)
_COPY_DECIDED = "An administrator decides which copy stands; nothing was overwritten."
# What the reason, a sentence of its own, leaves open: what happens to the file now.
_ADVICE = {
    "identity_mismatch": "Clear the form, or check whose image it is; send it again.",
    "conflict_patient": _RECORD_DECIDED,
    "conflict_study": _RECORD_DECIDED,
    "conflict_accession": _RECORD_DECIDED,
    "conflict_header": _COPY_DECIDED,
    "conflict_pixels": _COPY_DECIDED,
}


@dataclass(frozen=True)
class FileResult:
    """One row: the file, where it went, what became of it."""

    name: str
    outcome: str
    status: Sign
    size: int | None = None
    patient: str = ""
    study: str = ""
    url: str = ""
    duplicate: bool = False
    finding: FindingLine | None = None
    sentence: str = ""
    advice: str = ""
    watch: Watch | None = None
    patient_key: UUID | None = None


def result_of(taken: TakenFile, *, user: User) -> FileResult:
    """Return the row of a file that was just sent."""
    said = taken.result
    shown = said.instance if taken.visible and taken.kept else None
    return file_result(
        said.upload, name=said.name, reason=said.reason, instance=shown, user=user
    )


def refused_row(name: str, sentence: str) -> FileResult:
    """Return the row of a file that nothing was even tried with."""
    return FileResult(
        name=name,
        outcome=Upload.Outcome.REFUSED,
        status=OUTCOMES[Upload.Outcome.REFUSED],
        sentence=sentence,
    )


def file_result(
    upload: Upload,
    *,
    name: str,
    reason: str,
    instance: Instance | None,
    user: User,
    times: int = 0,
) -> FileResult:
    """Return the row of a file; of an image that the user may see, with what was said.

    Args:
        upload: Its row in the record.
        name: As the sender named it.
        reason: Why it was not kept, in a sentence.
        instance: The image, where the user may see it.
        user: Who looks.
        times: How often was asked before whether the result is there.
    """
    if instance is None:
        return _without_image(upload, name=name, reason=reason)
    study: Study = instance.series.study
    patient: Patient = study.patient
    run = _leading_run(instance)
    return FileResult(
        name=name,
        size=upload.size_bytes,
        outcome=upload.outcome,
        status=_status(run, user),
        patient=patient.display_name,
        patient_key=patient.pk,
        study=study_words(study, [instance.series]),
        url=f"{reverse('study', args=[study.pk])}?{urlencode({'image': instance.pk})}",
        duplicate=upload.outcome == Upload.Outcome.DUPLICATE,
        finding=_leading_finding(run, user),
        sentence=run.reason_text if run is not None and run.finished else "",
        watch=_watch(upload, run, times=times),
    )


def _without_image(upload: Upload, *, name: str, reason: str) -> FileResult:
    return FileResult(
        name=name,
        size=upload.size_bytes,
        outcome=upload.outcome,
        status=OUTCOMES[Upload.Outcome(upload.outcome)],
        sentence=reason,
        advice=_ADVICE.get(upload.reason_code, ""),
    )


def _leading_run(instance: Instance) -> Prediction | None:
    runs = latest_runs([instance.pk])[instance.pk]
    return runs[0] if runs else None


def _status(run: Prediction | None, user: User) -> Sign:
    if run is None or not may(user, Action.READ_RESULTS):
        return OUTCOMES[Upload.Outcome.STORED]
    return status_sign(run.status, reason_code=run.reason_code)


def _leading_finding(run: Prediction | None, user: User) -> FindingLine | None:
    if run is None or not may(user, Action.READ_RESULTS):
        return None
    listed = in_reading_order(run.findings.all())
    return finding_line(listed[0]) if listed else None


def _watch(upload: Upload, run: Prediction | None, *, times: int) -> Watch | None:
    if run is None or run.finished:
        return None
    asked = urlencode({"times": times + 1})
    return Watch(f"{reverse('upload-result', args=[upload.pk])}?{asked}", times)
