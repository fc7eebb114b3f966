"""Correcting a patient: old values stay, studies are compared anew, undo."""

from typing import Any

import pytest

from accounts.errors import Conflict, InvalidInput
from accounts.models import AuditChange, AuditEvent, Role, User
from patients.identity.corrections import correct_patient, undo_correction
from patients.models import Patient, PatientCorrection, Study, StudyFlag
from patients.signals import record_changed
from tests.dicom_factory import image_bytes
from tests.factories import PatientFactory, UserFactory
from tests.patients.sending import send

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin() -> User:
    return UserFactory(role=Role.ADMIN)


def corrected(patient: Patient, admin: User, **changes: Any) -> PatientCorrection:
    return correct_patient(patient, changes, actor=admin, reason="passport seen")


def test_a_correction_keeps_old_and_new_values_who_and_why(admin: User) -> None:
    patient = send(image_bytes()).patient
    correction = corrected(patient, admin, family_name="Roe")
    patient.refresh_from_db()
    assert (patient.family_name, patient.name_folded) == ("Roe", "roe john")
    assert correction.changed == ["family_name"]
    assert correction.before["family_name"] == "Doe"
    assert correction.after["family_name"] == "Roe"
    assert (correction.corrected_by, correction.reason) == (admin, "passport seen")


def test_old_and_new_values_stand_beside_the_event_and_not_in_it(admin: User) -> None:
    patient = send(image_bytes()).patient
    correction = corrected(patient, admin, family_name="Roe")
    event = AuditEvent.objects.get(action="change", object_kind="patient")
    assert event.detail == {
        "correction": str(correction.pk),
        "changed": ["family_name"],
        "undone": False,
    }
    change = event.changes.get()
    assert (change.field, change.old, change.new) == ("family_name", "Doe", "Roe")
    assert change.patient_uuid == patient.pk
    undo_correction(correction, actor=admin)
    undone = AuditChange.objects.latest("pk")
    assert (undone.old, undone.new) == ("Roe", "Doe")


def test_a_corrected_patient_is_compared_anew_with_the_images(admin: User) -> None:
    study = send(image_bytes()).study
    correction = corrected(study.patient, admin, sex="F")
    study.refresh_from_db()
    assert study.flags == [StudyFlag.DEMOGRAPHICS_MISMATCH]
    undo_correction(correction, actor=admin)
    study.refresh_from_db()
    assert study.flags == []


def test_an_undone_correction_gives_the_former_values_back(admin: User) -> None:
    patient = send(image_bytes()).patient
    correction = corrected(patient, admin, birth_date=None, given_name="Jane")
    undo_correction(correction, actor=admin)
    patient.refresh_from_db()
    assert str(patient.birth_date) == "1970-01-31"
    assert patient.given_name == "John"
    assert correction.undone_by == admin


def test_only_the_newest_correction_is_undone(admin: User) -> None:
    patient = send(image_bytes()).patient
    first = corrected(patient, admin, family_name="Roe")
    second = corrected(patient, admin, family_name="Poe")
    with pytest.raises(Conflict):
        undo_correction(first, actor=admin)
    undo_correction(second, actor=admin)
    undo_correction(first, actor=admin)
    patient.refresh_from_db()
    assert patient.family_name == "Doe"


def test_a_correction_is_not_undone_twice(admin: User) -> None:
    correction = corrected(send(image_bytes()).patient, admin, family_name="Roe")
    undo_correction(correction, actor=admin)
    with pytest.raises(Conflict):
        undo_correction(correction, actor=admin)


def test_the_identifier_of_another_patient_is_refused(admin: User) -> None:
    patient = send(image_bytes()).patient
    other = PatientFactory(issuer=patient.issuer)
    with pytest.raises(Conflict, match="Assign the studies"):
        corrected(patient, admin, patient_id=other.patient_id)
    patient.refresh_from_db()
    assert patient.patient_id == "P-1"


@pytest.mark.parametrize("changes", [{}, {"family_name": "Doe"}, {"patient_id": None}])
def test_a_correction_without_change_or_identifier_is_refused(
    admin: User, changes: dict[str, Any]
) -> None:
    patient = send(image_bytes()).patient
    with pytest.raises(InvalidInput):
        corrected(patient, admin, **changes)


def test_a_correction_without_reason_is_refused(admin: User) -> None:
    patient = send(image_bytes()).patient
    with pytest.raises(InvalidInput, match="Enter a reason"):
        correct_patient(patient, {"sex": "F"}, actor=admin, reason="  ")


def test_a_receiver_that_fails_rolls_a_correction_back(admin: User) -> None:
    patient = send(image_bytes()).patient

    def fail(sender: object, **_: object) -> None:
        raise RuntimeError("a receiver broke")

    record_changed.connect(fail, dispatch_uid="tests.fail")
    try:
        with pytest.raises(RuntimeError):
            corrected(patient, admin, family_name="Roe")
    finally:
        record_changed.disconnect(dispatch_uid="tests.fail")
    assert Patient.objects.get(pk=patient.pk).family_name == "Doe"
    assert not PatientCorrection.objects.exists()


def test_a_study_keeps_the_identity_that_it_came_with(admin: User) -> None:
    study = send(image_bytes(PatientName="Yamada^Tarou=Y^T")).study
    corrected(study.patient, admin, family_name="Roe")
    study = Study.objects.get(pk=study.pk)
    assert study.received_name == "Yamada^Tarou=Y T"
    assert str(study.received_birth_date) == "1970-01-31"
    assert study.received_sex == "M"
