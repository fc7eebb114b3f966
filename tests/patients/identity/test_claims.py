"""A form against the record: refused, or kept as a claim to confirm."""

from io import BytesIO

import pytest
from pydicom.uid import generate_uid

from accounts.models import Department, Role, User
from patients.identity.assignments import assign_study, undo_assignment
from patients.ingest import IngestResult
from patients.models import Patient, Study, StudyFlag, Upload
from tests.dicom_factory import grey_pixels, image_bytes, png
from tests.factories import DepartmentFactory, UserFactory
from tests.patients.sending import send

pytestmark = pytest.mark.django_db
CONFIRM = StudyFlag.IDENTITY_TO_CONFIRM


def technologist(department: Department) -> User:
    user: User = UserFactory(role=Role.TECHNOLOGIST, primary_department=department)
    user.departments.add(department)
    return user


@pytest.fixture
def insider() -> User:
    """Return a sender who has sent an image of the patient P-1: Doe^John."""
    user = technologist(DepartmentFactory(code="radiology"))
    send(image_bytes(), actor=user)
    return user


@pytest.fixture
def outsider(insider: User) -> User:
    return technologist(DepartmentFactory(code="elsewhere"))


def picture(seed: int = 1) -> bytes:
    return png((grey_pixels(seed) >> 4).astype("uint8"))


@pytest.mark.parametrize(
    ("field", "value"),
    [("patient_name", "Roe^John"), ("birth_date", "1971-01-31"), ("sex", "F")],
)
def test_a_form_that_disagrees_with_a_patient_of_the_sender_is_refused(
    insider: User, field: str, value: str
) -> None:
    result = send(picture(), actor=insider, patient_id="P-1", **{field: value})
    assert result.outcome == Upload.Outcome.REFUSED
    assert result.reason_code == "identity_mismatch"
    assert Study.objects.count() == 1


def test_a_form_that_agrees_is_stored_under_the_patient(insider: User) -> None:
    form = {"patient_name": "John Doe", "birth_date": "1970-01-31", "sex": "M"}
    result = send(picture(), actor=insider, patient_id="P-1", **form)
    assert result.patient.patient_id == "P-1"


def test_a_disagreeing_form_is_refused_for_a_duplicate_too(insider: User) -> None:
    send(picture(), actor=insider, patient_id="P-1")
    again = send(picture(), actor=insider, patient_id="P-1", sex="F")
    assert again.reason_code == "identity_mismatch"


def test_a_header_that_disagrees_is_stored_and_flagged(insider: User) -> None:
    content = image_bytes(PatientSex="F", pixels=grey_pixels(1))
    result = send(content, actor=insider, sex="F")
    assert result.study.flags == [StudyFlag.DEMOGRAPHICS_MISMATCH]


@pytest.mark.parametrize("form", [{}, {"sex": "F"}, {"patient_name": "Doe^John"}])
def test_a_form_with_a_patient_of_others_is_an_unidentified_patient(
    outsider: User, form: dict[str, str]
) -> None:
    result = send(picture(), actor=outsider, patient_id="P-1", **form)
    assert result.outcome == Upload.Outcome.STORED
    study = Study.objects.get(pk=result.study.pk)
    assert not study.patient.identified
    assert study.flags == [CONFIRM]
    assert study.received_patient_id == "P-1"
    assert study.patient.sex == form.get("sex", "")


def test_a_claim_fills_nothing_of_the_patient_of_others(outsider: User) -> None:
    Patient.objects.filter(patient_id="P-1").update(sex="", birth_date=None)
    send(picture(), actor=outsider, patient_id="P-1", sex="F")
    assert Patient.objects.get(patient_id="P-1").sex == ""


def test_an_accession_number_of_others_is_not_told(
    insider: User, outsider: User
) -> None:
    send(picture(1), actor=insider, patient_id="P-1", accession_number="A-1")
    claim = {"patient_id": "P-1", "accession_number": "A-1"}
    result = send(picture(2), actor=outsider, **claim)
    assert (result.outcome, result.reason_code) == (Upload.Outcome.STORED, "")
    assert not result.patient.identified


def test_a_claimed_picture_sent_again_is_a_duplicate(outsider: User) -> None:
    first = send(picture(), actor=outsider, patient_id="P-1")
    again = send(picture(), actor=outsider, patient_id="P-1")
    assert again.outcome == Upload.Outcome.DUPLICATE
    assert again.instance == first.instance


def test_an_object_without_identifier_is_claimed_by_a_form_too(outsider: User) -> None:
    content = image_bytes(PatientID=None, pixels=grey_pixels(1))
    result = send(content, actor=outsider, patient_id="P-1")
    assert not result.patient.identified
    assert result.study.received_patient_id == "P-1"


def test_a_header_with_a_patient_of_others_is_an_unidentified_patient(
    outsider: User,
) -> None:
    content = image_bytes(AccessionNumber="A-1", pixels=grey_pixels(1))
    study = Study.objects.get(pk=send(content, actor=outsider).study.pk)
    assert not study.patient.identified
    assert study.flags == [CONFIRM]
    assert (study.received_patient_id, study.accession_number) == ("P-1", "A-1")


def test_the_images_of_a_claimed_study_stay_together(outsider: User) -> None:
    uid = generate_uid()
    first, second = (
        send(
            image_bytes(StudyInstanceUID=uid, pixels=grey_pixels(seed)), actor=outsider
        )
        for seed in (1, 2)
    )
    assert second.outcome == Upload.Outcome.STORED
    assert second.study == first.study


def test_a_claim_does_not_join_a_study_of_another_patient(outsider: User) -> None:
    uid = generate_uid()
    send(image_bytes(StudyInstanceUID=uid, PatientID="P-2"), actor=outsider)
    content = image_bytes(StudyInstanceUID=uid, pixels=grey_pixels(1))
    assert send(content, actor=outsider).reason_code == "conflict_patient"


def test_a_header_of_a_known_patient_of_the_sender_needs_no_confirmation(
    insider: User,
) -> None:
    content = image_bytes(pixels=grey_pixels(1))
    assert send(content, actor=insider).patient.patient_id == "P-1"


def test_an_assignment_confirms_a_claim_and_its_undo_opens_it_again(
    outsider: User,
) -> None:
    admin = UserFactory(role=Role.ADMIN)
    study = send(picture(), actor=outsider, patient_id="P-1").study
    move = assign_study(study, patient_id="P-1", reason="called", actor=admin)
    assert CONFIRM not in Study.objects.get(pk=study.pk).flags
    undo_assignment(move, actor=admin)
    assert CONFIRM in Study.objects.get(pk=study.pk).flags


def test_administrators_and_programs_see_every_patient(insider: User) -> None:
    for seed, actor in enumerate((UserFactory(role=Role.ADMIN), None), start=1):
        result: IngestResult = send(picture(seed), actor=actor, patient_id="P-1")
        assert result.patient.patient_id == "P-1"


def test_a_name_without_a_character_set_is_stored_and_flagged() -> None:
    content = image_bytes(PatientName="Muller^J").replace(
        b"Muller^J", "Müler^J".encode()
    )
    result = send(BytesIO(content).getvalue())
    assert result.patient.family_name == "Müler"
    assert result.study.flags == [StudyFlag.CHARACTER_SET_UNCERTAIN]


def test_a_name_in_ideographs_alone_is_shown() -> None:
    content = image_bytes(
        SpecificCharacterSet="ISO_IR 192", PatientName="=洪^吉洞", PatientID="IDEO"
    )
    assert send(content).patient.display_name == "洪 吉洞"


@pytest.mark.parametrize("same_object", [True, False])
def test_a_form_without_an_identifier_is_compared_with_the_patient_of_the_study(
    insider: User, same_object: bool
) -> None:
    """The header states no patient; the study was assigned to one meanwhile."""
    uid = generate_uid()
    content = image_bytes(
        StudyInstanceUID=uid, PatientID=None, PatientName=None, pixels=grey_pixels(1)
    )
    study = send(content, actor=insider).study
    admin = UserFactory(role=Role.ADMIN)
    assign_study(study, patient_id="P-1", reason="called", actor=admin)
    other = image_bytes(
        StudyInstanceUID=uid, PatientID=None, PatientName=None, pixels=grey_pixels(2)
    )
    again = send(
        content if same_object else other, actor=insider, patient_name="Roe^Jane"
    )
    assert again.reason_code == "identity_mismatch"


def test_an_unconfirmed_claim_takes_no_image_of_the_patient_by_accession_number(
    insider: User, outsider: User
) -> None:
    content = image_bytes(PatientID=None, AccessionNumber="A-1", pixels=grey_pixels(1))
    claimed = send(content, actor=outsider, patient_id="P-1").study
    form = {"patient_id": "P-1", "accession_number": "A-1"}
    own = send(picture(2), actor=insider, **form)
    modality = send(
        image_bytes(AccessionNumber="A-1", pixels=grey_pixels(3)), actor=insider
    )
    for result in (own, modality):
        assert (result.reason_code, result.patient.patient_id) == ("", "P-1")
        assert result.study != claimed
