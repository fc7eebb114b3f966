"""What refused uploads and quarantine say about a patient who is erased."""

from __future__ import annotations

import pytest
from django.core.files.storage import default_storage
from pytest_django import Settings

from patients.dicom.header import PersonName
from patients.identity.traces import Person, erase_conflicts_with, erase_traces
from patients.models import Instance, Patient, Study, Upload
from patients.storage import quarantine_key
from tests.dicom_factory import grey_pixels, image_bytes, png
from tests.owner import erasure
from tests.patients.sending import send

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
DOE = {
    "PatientID": "MRN-4711",
    "PatientName": "Doe^John",
    "PatientBirthDate": "19700101",
}
ROE = {
    "PatientID": "MRN-0815",
    "PatientName": "Roe^Jane",
    "PatientBirthDate": "19800202",
}


@pytest.fixture
def doe() -> Person:
    """Give a patient of the archive."""
    result = send(image_bytes(**DOE))
    assert result.patient is not None
    return Person.of(result.patient)


def erased(person: Person) -> None:
    with erasure():
        erase_traces(person, objects=set())


def refused(name: str = "a.dcm", **form: str) -> Upload:
    upload = send(b"no image", name=name, **form).upload
    assert upload.outcome == Upload.Outcome.REFUSED
    return upload


def everything_said() -> str:
    """Return what all refused uploads say, as text."""
    columns = ("original_name", "submitted_identity", "reason_params", "reason")
    return repr(list(Upload.objects.filter(instance=None).values_list(*columns)))


@pytest.mark.parametrize(
    "form",
    [
        {"patient_id": "MRN-4711"},
        {"patient_id": "MRN-4711", "issuer": "CHESTX"},
        {"patient_name": "Doe, John", "birth_date": "1970-01-01"},
        {"patient_name": "DOE^JOHN"},
    ],
)
def test_the_form_of_a_refused_file_is_cleared(
    form: dict[str, str], settings: Settings, doe: Person
) -> None:
    settings.DEFAULT_ISSUER = "CHESTX"
    person = Person(frozenset({("MRN-4711", "CHESTX")}), frozenset(), doe.name, None)
    upload = refused(**form, priority="stat")
    erased(person)
    upload.refresh_from_db()
    assert upload.submitted_identity == {"priority": "stat"}
    assert (upload.outcome, upload.reason_code) == ("refused", "not_an_image")


@pytest.mark.parametrize(
    "form",
    [
        {"patient_id": "MRN-4712", "patient_name": "Doe^John"},
        {"patient_id": "MRN-4711", "issuer": "ANOTHER HOSPITAL"},
        {"patient_name": "Doe^John", "birth_date": "1970-01-02"},
        {"patient_name": "Doe^Johanna"},
        {"patient_name": "Doe"},
    ],
)
def test_the_form_of_another_patient_stays(form: dict[str, str], doe: Person) -> None:
    upload = refused(**form)
    before = upload.submitted_identity
    erased(doe)
    upload.refresh_from_db()
    assert upload.submitted_identity == before != {}


@pytest.mark.parametrize(
    "name",
    [
        "DOE_John_chest.dcm",
        "john doe.png",
        "DoeJohn.dcm",
        "MRN-4711.dcm",
        "scan mrn_4711 (1).dcm",
    ],
)
def test_a_file_name_that_names_the_patient_is_removed(name: str, doe: Person) -> None:
    upload = refused(name)
    erased(doe)
    upload.refresh_from_db()
    assert upload.original_name == ""


@pytest.mark.parametrize("name", ["image.dcm", "doe.dcm", "MRN-47110.dcm", "4711.dcm"])
def test_a_file_name_that_does_not_name_the_patient_stays(
    name: str, doe: Person
) -> None:
    upload = refused(name)
    erased(doe)
    upload.refresh_from_db()
    assert upload.original_name == name


def test_the_values_of_a_reason_are_removed(doe: Person) -> None:
    upload = refused()
    pairs = [{"field": "patient_name", "form": "Doe^John", "header": "Roe^Jane"}]
    params = {
        "limit": 3,
        "differences": pairs,
        "dates": ["1970-01-01"],
        "id": "MRN-4711",
    }
    Upload.objects.filter(pk=upload.pk).update(reason_params=params)
    erased(doe)
    upload.refresh_from_db()
    assert upload.reason_params == {
        "limit": 3,
        "differences": [{"field": "patient_name", "form": "", "header": "Roe^Jane"}],
        "dates": [""],
        "id": "",
    }


def test_a_refused_mismatch_of_form_and_header_names_nobody(doe: Person) -> None:
    send(image_bytes(**ROE), name="doe john.dcm", patient_id="MRN-4711")
    erased(doe)
    assert "4711" not in everything_said()
    assert "doe" not in everything_said()


def test_a_file_in_quarantine_that_is_the_patients_is_deleted(doe: Person) -> None:
    uids = {"StudyInstanceUID": "1.2.3"}
    send(image_bytes(**ROE, **uids))
    conflict = send(image_bytes(**DOE, **uids, pixels=grey_pixels(1)))
    assert conflict.reason_code == "conflict_patient"
    with erasure():
        traces = erase_traces(doe, objects=set())
    assert not Upload.objects.filter(pk=conflict.upload.pk).exists()
    assert traces.quarantined == {conflict.upload.sha256}


def test_a_picture_in_quarantine_is_known_by_its_form(doe: Person) -> None:
    send(image_bytes(**ROE, AccessionNumber="A-1"))
    form = {"patient_id": "MRN-4711", "accession_number": "A-1"}
    conflict = send(png(), name="a.png", **form)
    assert conflict.reason_code == "conflict_accession"
    erased(doe)
    assert not Upload.objects.filter(pk=conflict.upload.pk).exists()


def test_a_file_of_another_patient_in_quarantine_stays_with_its_form(
    doe: Person,
) -> None:
    send(image_bytes(**DOE, AccessionNumber="A-1"))
    form = {"patient_id": "MRN-0815", "accession_number": "A-1"}
    conflict = send(png(), name="a.png", **form).upload
    with erasure():
        erase_conflicts_with(Instance.objects.all(), doe)
        erase_traces(doe, objects=set())
    conflict.refresh_from_db()
    assert conflict.conflicts_with is None
    assert conflict.submitted_identity == form
    assert default_storage.exists(quarantine_key(conflict.sha256))


@pytest.mark.parametrize("patient_id", ["MRN-4711", "MRN-0815"])
def test_another_copy_of_a_deleted_object_is_deleted(
    doe: Person, patient_id: str
) -> None:
    uids = {"SOPInstanceUID": "1.2.3.4", "StudyInstanceUID": "1.2.3.5"}
    send(image_bytes(**DOE, **uids))
    conflict = send(
        image_bytes(**{**DOE, "PatientID": patient_id}, **uids, Modality="CT")
    )
    with erasure():
        erase_conflicts_with(Instance.objects.all(), doe)
    assert not Upload.objects.filter(pk=conflict.upload.pk).exists()


def test_a_refused_copy_of_a_deleted_file_says_nothing(doe: Person) -> None:
    upload = refused(patient_name="Somebody^Else")
    with erasure():
        erase_traces(doe, objects={upload.sha256})
    upload.refresh_from_db()
    assert upload.submitted_identity == {}


def test_an_identifier_that_a_study_came_with_is_the_patients_unless_anothers() -> None:
    first, second = send(image_bytes(**DOE)).study, send(image_bytes(**ROE)).study
    key = {"received_patient_id": "OLD-1234", "received_issuer": first.patient.issuer}
    Study.objects.filter(pk=first.pk).update(**key)
    taken = {**key, "received_patient_id": "MRN-4711"}
    Study.objects.filter(pk=second.pk).update(**taken)
    issuer = first.patient.issuer
    assert Person.of(first.patient).keys == {("MRN-4711", issuer), ("OLD-1234", issuer)}
    assert Person.of(second.patient).keys == {("MRN-0815", issuer)}


def test_an_unidentified_patient_is_known_by_nothing() -> None:
    upload = refused("image 1.dcm", patient_name="Doe^John")
    person = Person.of(Patient.objects.create(issuer="CHESTX"))
    assert person.keys == frozenset()
    assert person.name == PersonName()
    erased(person)
    upload.refresh_from_db()
    assert upload.submitted_identity == {"patient_name": "Doe^John"}
