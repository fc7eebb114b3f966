"""Writing needs the right to read what is written to."""

from collections.abc import Callable

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from pydicom.uid import generate_uid

from accounts import access
from accounts.access import Action
from accounts.errors import NotAllowed, NotFound
from accounts.models import Role, User
from accounts.tokens import issue_token
from diagnoses.models import ModelVersion, Prediction
from diagnoses.worker.retries import retry_for
from patients import resolutions
from patients.identity.assignments import assign_study, undo_assignment
from patients.identity.corrections import correct_patient, undo_correction
from patients.ingest import IngestResult
from patients.models import (
    FlagReconciliation,
    Instance,
    Patient,
    PatientAssignment,
    PatientCorrection,
    Priority,
    Study,
    StudyFlag,
    Upload,
)
from tests.clients import UserClient
from tests.diagnoses.fakes import installed_model
from tests.dicom_factory import grey_pixels, image_bytes
from tests.factories import DepartmentFactory, PredictionFactory, UserFactory
from tests.patients.sending import send

pytestmark = pytest.mark.django_db
SOP_UID, STUDY_UID, SERIES_UID = generate_uid(), generate_uid(), generate_uid()
THE_IMAGE = image_bytes(
    SOPInstanceUID=SOP_UID,
    StudyInstanceUID=STUDY_UID,
    SeriesInstanceUID=SERIES_UID,
    AccessionNumber="A-1",
)


def sender_of(code: str) -> User:
    department = DepartmentFactory(code=code)
    user: User = UserFactory(
        role=Role.TECHNOLOGIST,
        primary_department=department,
        departments=[department],
    )
    return user


@pytest.fixture
def stored() -> IngestResult:
    """Return an image of the patient P-1, in radiology."""
    return send(THE_IMAGE, actor=sender_of("radiology"))


@pytest.fixture
def outsider() -> User:
    return sender_of("elsewhere")


def test_a_copy_from_elsewhere_does_not_raise_the_priority(
    stored: IngestResult, outsider: User
) -> None:
    copy = send(THE_IMAGE, actor=outsider, priority="stat")
    assert copy.outcome == Upload.Outcome.DUPLICATE
    assert Study.objects.get().priority == Priority.ROUTINE


def test_a_copy_from_elsewhere_queues_no_model(
    stored: IngestResult, outsider: User
) -> None:
    installed_model(name="second-model")
    copy = send(THE_IMAGE, actor=outsider, requested_model="second-model")
    assert copy.outcome == Upload.Outcome.DUPLICATE
    assert not Prediction.objects.filter(model_version__name="second-model").exists()


def test_a_copy_from_ones_own_department_does_both(stored: IngestResult) -> None:
    installed_model(name="second-model")
    colleague = UserFactory(
        role=Role.TECHNOLOGIST, departments=[stored.study.department]
    )
    send(THE_IMAGE, actor=colleague, priority="stat", requested_model="second-model")
    assert Study.objects.get().priority == Priority.STAT
    assert Prediction.objects.filter(model_version__name="second-model").exists()


@pytest.mark.parametrize("patient_id", ["P-1", "P-2", ""])
def test_a_copy_from_elsewhere_is_not_compared_with_a_form(
    stored: IngestResult, outsider: User, patient_id: str
) -> None:
    """Otherwise the answer would tell whose image it is."""
    uids = {"SOPInstanceUID": generate_uid(), "StudyInstanceUID": generate_uid()}
    content = image_bytes(**uids, PatientID=None, pixels=grey_pixels(5))
    send(content, actor=stored.upload.user, patient_id="P-1")
    copy = send(content, actor=outsider, patient_id=patient_id)
    assert (copy.outcome, copy.reason_code) == (Upload.Outcome.DUPLICATE, "")
    assert (copy.patient, copy.study, copy.instance) == (None, None, None)


@pytest.mark.parametrize("patient_id", ["P-1", "P-2", None])
def test_an_image_from_elsewhere_does_not_join_a_study(
    stored: IngestResult, outsider: User, patient_id: str | None
) -> None:
    content = image_bytes(
        StudyInstanceUID=STUDY_UID, PatientID=patient_id, pixels=grey_pixels(1)
    )
    result = send(content, actor=outsider, priority="stat")
    assert (result.outcome, result.reason_code) == ("conflict", "conflict_study")
    assert result.study is None
    assert Instance.objects.get().series.study.priority == Priority.ROUTINE


@pytest.mark.parametrize("patient_id", ["P-1", "P-2", None])
def test_an_image_from_elsewhere_does_not_join_a_series(
    stored: IngestResult, outsider: User, patient_id: str | None
) -> None:
    content = image_bytes(
        SeriesInstanceUID=SERIES_UID, PatientID=patient_id, pixels=grey_pixels(1)
    )
    result = send(content, actor=outsider)
    assert (result.outcome, result.reason_code) == ("conflict", "conflict_study")
    assert Instance.objects.count() == 1


def test_an_administrator_adds_the_image_from_elsewhere(
    stored: IngestResult, outsider: User
) -> None:
    content = image_bytes(StudyInstanceUID=STUDY_UID, pixels=grey_pixels(1))
    upload = send(content, actor=outsider).upload
    resolutions.send_again(upload, actor=UserFactory(role=Role.ADMIN))
    assert Instance.objects.filter(series__study=stored.study).count() == 2


def test_a_patient_of_others_gains_no_study_and_no_value(
    stored: IngestResult, outsider: User
) -> None:
    Patient.objects.update(sex="")
    send(image_bytes(PatientSex="F", pixels=grey_pixels(1)), actor=outsider)
    patient = Patient.objects.get(patient_id="P-1")
    assert (patient.sex, patient.studies.count()) == ("", 1)
    assert not Patient.objects.visible_to(outsider).filter(patient_id="P-1").exists()


def test_a_token_that_may_only_upload_writes_where_its_owner_reads_and_learns_nothing(
    stored: IngestResult, chest_model: ModelVersion
) -> None:
    user = UserFactory(role=Role.TECHNOLOGIST, departments=[stored.study.department])
    _, text = issue_token(user, scopes=[Action.UPLOAD])
    client = UserClient(headers={"Authorization": f"Token {text}"})
    content = image_bytes(
        StudyInstanceUID=STUDY_UID, PatientSex="F", pixels=grey_pixels(1)
    )
    answer = client.post(
        "/api/v1/uploads/", {"file": SimpleUploadedFile("image.dcm", content)}
    )
    assert answer.status_code == 202
    [file] = answer.json()["files"]
    assert file["outcome"] == "stored"
    assert (file["patient"], file["study"], file["instance"]) == (None, None, None)
    assert (file["flags"], file["discrepancies"], file["predictions"]) == ([], [], [])
    assert stored.study.series.count() == 2


def decisions() -> dict[str, Callable[[User, Study], object]]:
    """Return each decision about a study or patient, to be tried by a user."""
    return {
        "retry": lambda user, study: retry_for(
            user,
            PredictionFactory(instance__series__study=study, failed=True),
            source="rest",
        ),
        "reconcile": lambda user, study: resolutions.reconcile(
            study,
            StudyFlag.ACCESSION_SHARED,
            choice=FlagReconciliation.Choice.NO_ERROR,
            reason="called",
            actor=user,
        ),
        "assign": lambda user, study: assign_study(
            study, patient_id="P-9", reason="called", actor=user
        ),
        "undo_assignment": lambda user, study: undo_assignment(
            _assignment(study), actor=user
        ),
        "correct": lambda user, study: correct_patient(
            study.patient, {"sex": "F"}, reason="called", actor=user
        ),
        "undo_correction": lambda user, study: undo_correction(
            _correction(study), actor=user
        ),
        "keep_stored": lambda user, study: resolutions.keep_stored(
            _conflict(study), actor=user
        ),
        "discard": lambda user, study: resolutions.discard(
            _conflict(study), actor=user
        ),
        "send_again": lambda user, study: resolutions.send_again(
            _conflict(study), actor=user
        ),
    }


def _assignment(study: Study) -> PatientAssignment:
    chief = UserFactory(role=Role.ADMIN)
    return assign_study(study, patient_id="P-9", reason="called", actor=chief)


def _correction(study: Study) -> PatientCorrection:
    chief = UserFactory(role=Role.ADMIN)
    return correct_patient(study.patient, {"sex": "F"}, reason="called", actor=chief)


def _conflict(study: Study) -> Upload:
    other = image_bytes(
        SOPInstanceUID=SOP_UID, StudyInstanceUID=STUDY_UID, BodyPartExamined="HAND"
    )
    owner = UserFactory(role=Role.TECHNOLOGIST, departments=[study.department])
    return send(other, actor=owner).upload


@pytest.mark.parametrize("name", decisions())
def test_nobody_decides_about_what_they_may_not_read(
    stored: IngestResult, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a user whose role may decide, but who works in another department."""
    every = {**access.ALLOWED, Role.RADIOLOGIST: frozenset(Action)}
    monkeypatch.setattr(access, "ALLOWED", every)
    elsewhere = UserFactory(
        role=Role.RADIOLOGIST, departments=[DepartmentFactory(code="elsewhere")]
    )
    with pytest.raises(NotFound):
        decisions()[name](elsewhere, stored.study)


@pytest.mark.parametrize("name", decisions())
def test_nobody_decides_without_the_permission(stored: IngestResult, name: str) -> None:
    clinician = UserFactory(role=Role.CLINICIAN, departments=[stored.study.department])
    with pytest.raises(NotAllowed):
        decisions()[name](clinician, stored.study)
