"""What leaves ChestX has the identity of the record, and is recognised again."""

from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from django.core.files.storage import default_storage
from django.urls import reverse
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from accounts.errors import InvalidInput
from accounts.models import AuditEvent, Role, User
from patients.identity.assignments import assign_study
from patients.identity.corrections import correct_patient
from patients.models import Instance, Upload
from patients.output import header_of, open_dicom
from patients.storage import object_key
from tests.clients import program
from tests.dicom_factory import image, image_bytes, written
from tests.factories import UserFactory
from tests.patients.sending import send

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin() -> User:
    return UserFactory(role=Role.ADMIN)


def stored(content: bytes) -> Instance:
    instance = send(content).instance
    assert instance is not None
    return instance


def correct(instance: Instance, admin: User, **changes: Any) -> Instance:
    patient = instance.series.study.patient
    correct_patient(patient, changes, actor=admin, reason="typo")
    return Instance.objects.get(pk=instance.pk)


def sent_out(instance: Instance) -> bytes:
    with open_dicom(instance) as file:
        return file.read()


def read(content: bytes) -> Dataset:
    return pydicom.dcmread(BytesIO(content))


def test_bytes_leave_unchanged_where_the_identity_is_that_of_the_record() -> None:
    content = image_bytes()
    instance = stored(content)
    assert sent_out(instance) == content
    assert header_of(instance) == instance.header


def test_the_corrected_identity_is_in_the_header_and_the_file(admin: User) -> None:
    instance = correct(stored(image_bytes()), admin, family_name="Roe", sex="F")
    header = header_of(instance)
    assert header["00100010"]["Value"] == [{"Alphabetic": "Roe^John"}]
    assert header["00100040"]["Value"] == ["F"]
    dataset = read(sent_out(instance))
    assert (str(dataset.PatientName), dataset.PatientSex) == ("Roe^John", "F")
    assert dataset.PatientBirthDate == "19700131"


def test_pixels_and_other_elements_leave_unchanged(admin: User) -> None:
    content = image_bytes(StudyDescription="Thorax")
    before = read(content)
    after = read(sent_out(correct(stored(content), admin, family_name="Roe")))
    for dataset in (before, after):
        del dataset.PatientName
    assert before == after


def test_an_assigned_study_leaves_with_the_new_patient(admin: User) -> None:
    result = send(image_bytes(PatientID=None, PatientName="Nemo"))
    assign_study(result.study, patient_id="P-9", reason="called", actor=admin)
    instance = Instance.objects.get()
    assert read(sent_out(instance)).PatientID == "P-9"
    assert header_of(instance)["00100020"]["Value"] == ["P-9"]


def test_other_names_and_identifiers_of_the_former_identity_do_not_leave(
    admin: User,
) -> None:
    other = Dataset()
    other.PatientID = "OLD-7"
    content = image_bytes(
        PatientAge="054Y",
        OtherPatientNames="Former^Name",
        OtherPatientIDsSequence=[other],
    )
    instance = correct(stored(content), admin, family_name="Roe")
    dataset = read(sent_out(instance))
    for keyword in ("PatientAge", "OtherPatientNames", "OtherPatientIDsSequence"):
        assert keyword not in dataset
    assert "Former" not in str(header_of(instance))
    assert "OLD-7" not in str(header_of(instance))


def test_the_name_in_items_of_sequences_is_that_of_the_record(admin: User) -> None:
    item = Dataset()
    item.PatientName = "Doe^John"
    content = image_bytes(ReferencedPatientSequence=[item])
    instance = correct(stored(content), admin, family_name="Roe")
    nested = read(sent_out(instance)).ReferencedPatientSequence[0]
    assert str(nested.PatientName) == "Roe^John"
    assert "Doe" not in str(header_of(instance))


def test_a_name_outside_the_character_set_is_written_in_utf_8(admin: User) -> None:
    dataset = image(SpecificCharacterSet="ISO_IR 100", StudyDescription="Röntgen")
    instance = correct(stored(written(dataset)), admin, ideographic_name="山田 太郎")
    out = read(sent_out(instance))
    assert out.SpecificCharacterSet == "ISO_IR 192"
    assert out.PatientName.ideographic == "山田 太郎"
    assert out.StudyDescription == "Röntgen"


def test_bytes_that_left_with_a_corrected_identity_are_a_duplicate(
    admin: User,
) -> None:
    instance = correct(stored(image_bytes()), admin, family_name="Roe")
    back = send(sent_out(instance))
    assert (back.outcome, back.reason_code) == (Upload.Outcome.DUPLICATE, "")


def test_bytes_that_left_before_a_second_correction_are_a_duplicate(
    admin: User,
) -> None:
    instance = correct(stored(image_bytes()), admin, family_name="Roe")
    out = sent_out(instance)
    correct(instance, admin, family_name="Poe", patient_id="P-77")
    assert send(out).outcome == Upload.Outcome.DUPLICATE


def test_bytes_that_left_after_an_assignment_are_a_duplicate(admin: User) -> None:
    study = send(image_bytes(PatientID=None)).study
    assign_study(study, patient_id="P-9", reason="called", actor=admin)
    assert send(sent_out(Instance.objects.get())).outcome == Upload.Outcome.DUPLICATE


def test_another_change_of_the_header_is_still_a_conflict(admin: User) -> None:
    uid = generate_uid()
    instance = correct(stored(image_bytes(SOPInstanceUID=uid)), admin, sex="F")
    dataset = read(sent_out(instance))
    dataset.PatientName = "Somebody^Else"
    back = send(written(dataset))
    assert back.reason_code == "conflict_header"


def test_rest_gives_header_and_file_with_the_identity_of_the_record(
    admin: User,
) -> None:
    instance = correct(stored(image_bytes()), admin, family_name="Roe")
    client = program()
    url = reverse("instance-detail", args=[instance.pk])
    header = client.get(url).json()["header"]
    assert header["00100010"]["Value"] == [{"Alphabetic": "Roe^John"}]
    answer = client.get(f"{url}file/", headers={"Accept": "application/dicom"})
    assert answer.headers["Content-Type"] == "application/dicom"
    assert str(read(b"".join(answer.streaming_content)).PatientName) == "Roe^John"
    event = AuditEvent.objects.get(action="export")
    assert event.object_uuid == instance.pk


def test_an_object_whose_file_is_damaged_is_refused_and_not_sent(
    admin: User,
) -> None:
    instance = correct(stored(image_bytes()), admin, family_name="Roe")
    path = Path(default_storage.path(object_key(instance.object_sha256)))
    path.write_bytes(b"damaged")
    with pytest.raises(InvalidInput) as raised:
        open_dicom(instance)
    assert raised.value.reason_code == "unwritable_header"


def test_a_corrected_family_name_leaves_the_other_groups_as_they_came(
    admin: User,
) -> None:
    name = {"PatientName": "Doe^J=山田^太郎", "SpecificCharacterSet": "ISO_IR 192"}
    instance = correct(stored(image_bytes(**name)), admin, family_name="Roe")
    assert str(read(sent_out(instance)).PatientName) == "Roe^J=山田^太郎"
