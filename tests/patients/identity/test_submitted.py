"""Submitted identity: the header has priority over the form."""

from datetime import date
from typing import Any

import pytest

from accounts.errors import InvalidInput
from patients.identity.submitted import SubmittedIdentity, checked
from patients.models import Patient, Priority, Study, StudyFlag, Upload
from tests.dicom_factory import generate_uid, grey_pixels, image_bytes, png
from tests.patients.sending import send

Outcome = Upload.Outcome
NOBODY = {
    "PatientID": None,
    "PatientName": None,
    "PatientBirthDate": None,
    "PatientSex": None,
}


@pytest.mark.parametrize(
    ("field", "typed", "expected"),
    [
        ("patient_id", "  77 ", "77"),
        ("birth_date", "1970-12-31", date(1970, 12, 31)),
        ("birth_date", "19701231", date(1970, 12, 31)),
        ("birth_date", "31.12.1970", date(1970, 12, 31)),
        ("birth_date", "", None),
        ("sex", "female", "F"),
        ("sex", "m", "M"),
        ("sex", "unknown", ""),
        ("priority", "STAT", Priority.STAT),
        ("priority", "", None),
        ("priority", Priority.ROUTINE, Priority.ROUTINE),
        ("patient_name", "Doe^John", "Doe^John"),
    ],
)
def test_submitted_values_are_parsed_in_everyday_forms(
    field: str, typed: Any, expected: Any
) -> None:
    assert getattr(checked(SubmittedIdentity(**{field: typed})), field) == expected


@pytest.mark.parametrize(
    ("field", "typed"),
    [
        ("patient_id", "9" * 65),
        ("patient_id", "a\x00b"),
        ("patient_id", "a\\b"),
        ("patient_id", "a\u202eb"),
        ("issuer", "x" * 65),
        ("patient_name", "x" * 65),
        ("patient_name", "a=b=c=d"),
        ("patient_name", "a\nb"),
        ("patient_name", "\udcff"),
        ("birth_date", "31/12/1970"),
        ("birth_date", "1970-02-30"),
        ("birth_date", "3000-01-01"),
        ("birth_date", "0001-01-01"),
        ("sex", "x"),
        ("accession_number", "A" * 17),
        ("priority", "asap"),
        ("priority", "2"),
    ],
)
def test_an_invalid_submitted_value_is_refused_by_field_name(
    field: str, typed: str
) -> None:
    with pytest.raises(InvalidInput) as raised:
        checked(SubmittedIdentity(**{field: typed}))
    assert raised.value.reason_code == "invalid_claims"
    assert list(raised.value.fields) == [field]


def test_submitted_identities_survive_storage() -> None:
    submitted_identity = checked(
        SubmittedIdentity("1", "I", "Doe^J", "1970-12-31", "M", "A1", Priority.ROUTINE)
    )
    assert (
        checked(SubmittedIdentity.from_json(submitted_identity.as_json()))
        == submitted_identity
    )
    assert SubmittedIdentity().as_json() == {}


@pytest.mark.django_db
def test_an_invalid_submitted_identity_refuses_the_file_and_is_kept() -> None:
    result = send(image_bytes(), birth_date="soon", sex="\x00")
    assert (result.outcome, result.reason_code) == (Outcome.REFUSED, "invalid_claims")
    assert result.upload.submitted_identity["birth_date"] == "soon"


@pytest.mark.django_db
def test_a_form_fills_what_the_header_lacks() -> None:
    result = send(
        image_bytes(**NOBODY),
        patient_id="77",
        patient_name="Roe^Jane",
        birth_date="1980-05-06",
        sex="F",
        accession_number="A-1",
    )
    patient = result.patient
    assert (patient.patient_id, patient.issuer) == ("77", "LOCAL")
    assert (patient.family_name, patient.given_name) == ("Roe", "Jane")
    assert (patient.birth_date, patient.sex) == (date(1980, 5, 6), "F")
    assert result.study.accession_number == "A-1"
    assert "00100020" not in result.instance.header, "stored bytes never change"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "submitted_identity",
    [
        {"patient_id": "someone-else"},
        {"patient_name": "Roe^Jane"},
        {"birth_date": "1999-01-01"},
        {"sex": "F"},
        {"issuer": "ELSEWHERE"},
        {"accession_number": "OTHER"},
    ],
)
def test_a_form_that_contradicts_the_header_refuses_the_file(
    submitted_identity: dict[str, str],
) -> None:
    content = image_bytes(IssuerOfPatientID="HERE", AccessionNumber="MINE")
    result = send(content, **submitted_identity)
    assert (result.outcome, result.reason_code) == (
        Outcome.REFUSED,
        "identity_mismatch",
    )
    assert not Patient.objects.exists()


@pytest.mark.django_db
def test_a_form_with_the_same_values_in_another_notation_agrees() -> None:
    result = send(
        image_bytes(),
        patient_id="P-1",
        patient_name="john doe",
        birth_date="31.01.1970",
    )
    assert result.outcome == Outcome.STORED


@pytest.mark.django_db
def test_the_form_is_checked_before_the_duplicate() -> None:
    content = image_bytes()
    send(content)
    again = send(content, patient_id="someone-else")
    assert again.reason_code == "identity_mismatch"


@pytest.mark.django_db
def test_a_form_cannot_claim_a_known_image_without_patient_id() -> None:
    content = image_bytes(PatientID=None)
    send(content)
    assert send(content).outcome == Outcome.DUPLICATE
    claimed = send(content, patient_id="someone")
    assert claimed.reason_code == "identity_mismatch"


@pytest.mark.django_db
def test_a_known_image_agrees_with_a_form_that_leaves_the_issuer_to_the_header() -> (
    None
):
    content = image_bytes(PatientID="P-1", IssuerOfPatientID="ELSEWHERE")
    outcomes = [send(content, patient_id="P-1").outcome for _ in range(2)]
    assert outcomes == [Outcome.STORED, Outcome.DUPLICATE]


@pytest.mark.django_db
def test_patients_are_distinct_by_identifier_and_issuer() -> None:
    here = send(image_bytes())
    there = send(image_bytes(IssuerOfPatientID="ELSEWHERE"))
    default = send(image_bytes(IssuerOfPatientID="LOCAL"))
    assert here.patient != there.patient
    assert here.patient == default.patient
    assert here.patient.issuer == "LOCAL"


@pytest.mark.django_db
def test_without_identifier_each_study_has_an_unidentified_patient() -> None:
    uid = generate_uid()
    first = send(image_bytes(PatientID=None, StudyInstanceUID=uid))
    same = send(image_bytes(PatientID=None, StudyInstanceUID=uid))
    other = send(image_bytes(PatientID=None))
    assert first.patient == same.patient != other.patient
    assert not first.patient.identified
    assert first.patient.family_name == "Doe"


@pytest.mark.django_db
def test_an_image_without_identifier_gets_the_patient_of_its_known_study() -> None:
    uid = generate_uid()
    first = send(image_bytes(StudyInstanceUID=uid))
    second = send(image_bytes(StudyInstanceUID=uid, PatientID=None))
    assert second.outcome == Outcome.STORED
    assert second.patient == first.patient


@pytest.mark.django_db
@pytest.mark.parametrize(
    "changed",
    [
        {"PatientName": "Roe^John"},
        {"PatientBirthDate": "19700201"},
    ],
)
def test_a_known_patient_with_other_demographics_is_flagged(
    changed: dict[str, str],
) -> None:
    send(image_bytes())
    result = send(image_bytes(**changed))
    assert result.outcome == Outcome.STORED
    assert result.study.flags == [StudyFlag.DEMOGRAPHICS_MISMATCH]
    assert Study.objects.get(pk=result.study.pk).flags == result.study.flags
    patient = Patient.objects.get()
    assert (patient.family_name, patient.birth_date) == ("Doe", date(1970, 1, 31))


@pytest.mark.django_db
def test_the_study_of_a_later_image_is_flagged_too() -> None:
    uid = generate_uid()
    send(image_bytes(StudyInstanceUID=uid))
    send(image_bytes(StudyInstanceUID=uid, PatientName="Roe^John"))
    assert Study.objects.get().flags == [StudyFlag.DEMOGRAPHICS_MISMATCH]


@pytest.mark.django_db
def test_missing_demographics_are_added_without_a_flag() -> None:
    nobody = {k: v for k, v in NOBODY.items() if k != "PatientID"}
    send(image_bytes(**nobody))
    result = send(image_bytes())
    assert result.study.flags == []
    patient = Patient.objects.get()
    assert (patient.family_name, patient.name_folded, patient.sex) == (
        "Doe",
        "doe john",
        "M",
    )
    assert patient.birth_date == date(1970, 1, 31)


@pytest.mark.django_db
def test_a_picture_under_two_patients_is_two_flagged_instances() -> None:
    content = png()
    one = send(content, name="a.png", patient_id="1")
    two = send(content, name="a.png", patient_id="2")
    assert one.outcome == two.outcome == Outcome.STORED
    assert one.instance != two.instance
    assert two.instance.picture
    flags = list(Study.objects.values_list("flags", flat=True))
    assert flags == [[StudyFlag.SAME_PIXELS_OTHER_PATIENT]] * 2


@pytest.mark.django_db
def test_a_picture_sent_again_is_a_duplicate_whatever_its_name_and_spelling() -> None:
    content = png()
    send(content, patient_id="1", patient_name="Doe^John")
    again = send(content, patient_id="1", patient_name="DOE^JOHN", sex="M")
    assert again.outcome == Outcome.DUPLICATE


@pytest.mark.django_db
def test_pictures_of_one_accession_number_are_one_study() -> None:
    identity = {"patient_id": "1", "accession_number": "A-1"}
    one = send(png(), **identity)
    two = send(png((grey_pixels(5) >> 4).astype("uint8")), **identity)
    assert one.study == two.study
    assert one.instance.series != two.instance.series


@pytest.mark.django_db
def test_pictures_without_accession_number_are_studies_of_their_own() -> None:
    one = send(png(), patient_id="1")
    two = send(png((grey_pixels(5) >> 4).astype("uint8")), patient_id="1")
    assert one.study != two.study
    assert one.patient == two.patient


@pytest.mark.django_db
def test_a_picture_joins_the_study_of_its_accession_number() -> None:
    image_study = send(image_bytes(AccessionNumber="A-1")).study
    joined = send(png(), patient_id="P-1", accession_number="A-1")
    assert joined.study == image_study
