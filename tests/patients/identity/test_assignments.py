"""Assigning a study to a patient, and undoing it."""

import pytest
from pydicom.uid import generate_uid

from accounts.errors import Conflict, InvalidInput
from accounts.models import AuditEvent, Role, User
from patients.identity.assignments import assign_study, undo_assignment
from patients.models import Patient, Study, StudyFlag, Upload
from tests.dicom_factory import grey_pixels, image_bytes
from tests.factories import PatientFactory, UserFactory
from tests.patients.sending import send

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin() -> User:
    return UserFactory(role=Role.ADMIN)


def unidentified(uid: str) -> Study:
    study = send(image_bytes(StudyInstanceUID=uid, PatientID=None)).study
    assert study is not None
    return study


def test_an_assignment_moves_the_study_and_keeps_who_and_when(admin: User) -> None:
    study = unidentified(generate_uid())
    former = study.patient
    known = PatientFactory(
        patient_id="P-9", family_name="Doe", given_name="John", birth_date=None
    )
    assignment = assign_study(study, patient_id="P-9", reason="typo", actor=admin)
    study.refresh_from_db()
    assert study.patient == known
    assert (assignment.from_patient, assignment.to_patient) == (former, known)
    assert assignment.assigned_by == admin
    assert assignment.assigned_at is not None
    assert study.received_patient_id is None
    event = AuditEvent.objects.get(action="assign_patient")
    assert {s.patient_uuid for s in event.subjects.all()} == {former.pk, known.pk}


def test_an_assignment_to_an_unknown_identifier_creates_the_patient(
    admin: User,
) -> None:
    study = unidentified(generate_uid())
    assign_study(study, patient_id="P-9", issuer="CLINIC", reason="typo", actor=admin)
    patient = Patient.objects.get(patient_id="P-9", issuer="CLINIC")
    assert (patient.family_name, patient.name_folded) == ("Doe", "doe john")


def test_later_images_of_an_assigned_study_follow_the_assignment(admin: User) -> None:
    uid = generate_uid()
    assign_study(unidentified(uid), patient_id="P-9", reason="typo", actor=admin)
    without = send(image_bytes(StudyInstanceUID=uid, PatientID=None))
    as_assigned = send(image_bytes(StudyInstanceUID=uid, PatientID="P-9"))
    assert without.patient.patient_id == as_assigned.patient.patient_id == "P-9"
    other = send(image_bytes(StudyInstanceUID=uid, PatientID="P-10"))
    assert other.reason_code == "conflict_patient"


def test_an_assignment_moves_one_study_of_the_former_identity(admin: User) -> None:
    uid = generate_uid()
    study = send(image_bytes(StudyInstanceUID=uid, PatientID="WRONG")).study
    assign_study(study, patient_id="RIGHT", reason="typo", actor=admin)
    later = send(image_bytes(StudyInstanceUID=uid, PatientID="WRONG"))
    assert later.outcome == Upload.Outcome.STORED
    assert later.patient.patient_id == "RIGHT"
    elsewhere = send(image_bytes(PatientID="WRONG"))
    assert elsewhere.patient.patient_id == "WRONG"


def test_an_image_under_the_former_identity_does_not_change_the_new_patient(
    admin: User,
) -> None:
    uid, nameless = generate_uid(), {"PatientName": None, "PatientBirthDate": None}
    study = send(image_bytes(StudyInstanceUID=uid, PatientID="P-1", **nameless)).study
    send(image_bytes(PatientID="P-2", **nameless))
    assign_study(study, patient_id="P-2", reason="typo", actor=admin)
    later = send(image_bytes(StudyInstanceUID=uid, PatientID="P-1", PatientName="D^J"))
    assert (later.outcome, later.patient.patient_id) == (Upload.Outcome.STORED, "P-2")
    later.patient.refresh_from_db()
    assert (later.patient.family_name, later.patient.birth_date) == ("", None)


def test_a_duplicate_is_recognised_under_either_identity(admin: User) -> None:
    content = image_bytes(PatientID=None)
    study = send(content, patient_id="WRONG").study
    assign_study(study, patient_id="RIGHT", reason="typo", actor=admin)
    for identifier in ("WRONG", "RIGHT"):
        again = send(content, patient_id=identifier)
        assert again.outcome == Upload.Outcome.DUPLICATE
        assert again.patient.patient_id == "RIGHT"
    assert send(content, patient_id="THIRD").reason_code == "identity_mismatch"


def test_undoing_an_assignment_restores_the_study(admin: User) -> None:
    uid = generate_uid()
    study = unidentified(uid)
    former = study.patient
    assignment = assign_study(study, patient_id="P-9", reason="typo", actor=admin)
    undo_assignment(assignment, actor=admin)
    study.refresh_from_db()
    assert study.patient == former
    assert assignment.undone_by == admin
    assert assignment.undone_at is not None
    later = send(image_bytes(StudyInstanceUID=uid, PatientID="P-9"))
    assert later.reason_code == "conflict_patient"


def test_only_the_newest_assignment_can_be_undone_and_only_once(admin: User) -> None:
    study = unidentified(generate_uid())
    first = assign_study(study, patient_id="P-8", reason="typo", actor=admin)
    second = assign_study(study, patient_id="P-9", reason="typo", actor=admin)
    with pytest.raises(Conflict):
        undo_assignment(first, actor=admin)
    undo_assignment(second, actor=admin)
    with pytest.raises(Conflict):
        undo_assignment(second, actor=admin)
    undo_assignment(first, actor=admin)
    study.refresh_from_db()
    assert not study.patient.identified


def test_an_assignment_to_a_patient_of_another_name_is_flagged(admin: User) -> None:
    PatientFactory(patient_id="P-9", family_name="Roe", given_name="Jane")
    study = unidentified(generate_uid())
    assign_study(study, patient_id="P-9", reason="typo", actor=admin)
    study.refresh_from_db()
    assert study.flags == [StudyFlag.DEMOGRAPHICS_MISMATCH]


@pytest.mark.parametrize("identifier", ["", "  ", "9" * 65, "a\x00"])
def test_an_assignment_without_a_usable_identifier_is_refused(
    admin: User, identifier: str
) -> None:
    study = unidentified(generate_uid())
    with pytest.raises(InvalidInput):
        assign_study(study, patient_id=identifier, reason="typo", actor=admin)


def test_an_assignment_to_the_same_patient_is_refused(admin: User) -> None:
    study = send(image_bytes()).study
    with pytest.raises(InvalidInput) as raised:
        assign_study(study, patient_id="P-1", reason="typo", actor=admin)
    assert raised.value.reason_code == "same_patient"
    assert not study.assignments.exists()


def test_a_further_study_with_the_received_identity_follows_the_assignment(
    admin: User,
) -> None:
    same = {"PatientID": "WRONG", "AccessionNumber": "A-1"}
    study = send(image_bytes(**same)).study
    move = assign_study(study, patient_id="RIGHT", reason="typo", actor=admin)
    further = send(image_bytes(pixels=grey_pixels(1), **same))
    assert further.reason_code == ""
    assert further.patient.patient_id == "RIGHT"
    undo_assignment(move, actor=admin)
    assert Study.objects.get(pk=further.study.pk).patient.patient_id == "WRONG"


def test_an_undo_leaves_studies_that_came_for_the_assigned_patient(
    admin: User,
) -> None:
    study = send(image_bytes(PatientID="WRONG")).study
    move = assign_study(study, patient_id="RIGHT", reason="typo", actor=admin)
    own = send(image_bytes(PatientID="RIGHT", pixels=grey_pixels(1)))
    undo_assignment(move, actor=admin)
    assert Study.objects.get(pk=own.study.pk).patient.patient_id == "RIGHT"


def test_an_image_without_identifier_fills_nothing_of_the_assigned_patient(
    admin: User,
) -> None:
    uid = generate_uid()
    study = send(
        image_bytes(StudyInstanceUID=uid, PatientID=None, PatientSex=None)
    ).study
    assign_study(study, patient_id="P-9", reason="called", actor=admin)
    send(image_bytes(StudyInstanceUID=uid, PatientID=None, pixels=grey_pixels(1)))
    assert Patient.objects.get(patient_id="P-9").sex == ""


def test_an_assignment_needs_a_reason(admin: User) -> None:
    study = unidentified(generate_uid())
    with pytest.raises(InvalidInput, match="Enter a reason"):
        assign_study(study, patient_id="P-9", reason=" ", actor=admin)
