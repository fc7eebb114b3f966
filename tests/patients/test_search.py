"""Search by name, identifier or accession number, always by an index."""

from uuid import UUID

import pytest
from django.db import connection

from patients.models import Patient, Study
from patients.search import patients_found, patients_named, studies_found
from tests.factories import PatientFactory, StudyFactory

pytestmark = pytest.mark.django_db


def matching_patients(text: str) -> set[Patient]:
    return set(patients_found(text))


def test_a_name_is_found_by_prefixes_of_its_words_in_any_order() -> None:
    wanted = PatientFactory(family_name="Müller-Lüdenscheidt", given_name="Johanna")
    PatientFactory(family_name="Miller", given_name="Johanna")
    for text in ("müll", "MULLER", "lüd", "jo mul", "Müller-Lüd", "Johanna Muller"):
        assert matching_patients(text) == {wanted}, text
    assert matching_patients("uller") == set(), "the middle of a word is no beginning"


def test_an_identifier_is_found_by_its_prefix() -> None:
    wanted = PatientFactory(patient_id="AB-1234")
    PatientFactory(patient_id="XAB-1234")
    assert matching_patients("AB-12") == {wanted}
    assert matching_patients("ab-12") == {wanted}


def test_an_accession_number_finds_its_study_and_its_patient() -> None:
    study = StudyFactory(accession_number="ACC77")
    StudyFactory(patient=study.patient)
    StudyFactory(accession_number="ACC99")
    assert matching_patients("ACC7") == {study.patient}
    assert set(Study.objects.filter(pk__in=studies_found("ACC7"))) == {study}


def test_a_patient_is_found_with_every_study() -> None:
    patient = PatientFactory(family_name="Okafor")
    studies = {StudyFactory(patient=patient), StudyFactory(patient=patient)}
    StudyFactory()
    assert set(Study.objects.filter(pk__in=studies_found("okaf"))) == studies


@pytest.mark.parametrize(
    "text", ["", "   ", "' OR 1=1 --", "%", "_", "\\", "'", ":*", "a'b", "&|!", "\x00"]
)
def test_hostile_search_texts_match_no_patient(text: str) -> None:
    PatientFactory(family_name="Doe", given_name="John", patient_id="77")
    assert matching_patients(text) == set()
    assert not Study.objects.filter(pk__in=studies_found(text)).exists()


def test_name_search_uses_the_index() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    plan = patients_named("mul jo").order_by().explain()
    assert "patient_name_words" in plan


def unidentified(**columns: object) -> Patient:
    nobody = {"family_name": "", "given_name": "", "name_folded": ""}
    return PatientFactory(patient_id=None, **{**nobody, **columns})


@pytest.mark.parametrize("columns", [{}, {"name_prefix": "Dr", "name_folded": "dr"}])
def test_an_unidentified_patient_is_found_by_the_name_shown(
    columns: dict[str, str],
) -> None:
    wanted = unidentified(id=UUID("3f2a0000-0000-4000-8000-000000000000"), **columns)
    other = unidentified(id=UUID("3f2b0000-0000-4000-8000-000000000000"))
    PatientFactory(id=UUID("3f2a1111-0000-4000-8000-000000000000"))
    assert wanted.display_name == "Unidentified 3F2A"
    for text in ("Unidentified 3F2A", "3f2a", "unid 3f2a", "3F2A unidentified"):
        assert matching_patients(text) == {wanted}, text
    assert matching_patients("unidentified 3f") == {wanted, other}
    assert matching_patients("Unidentified") == {wanted, other}
    for text in ("un", "3f", "unidentified 3f2a 3f2a", "unidentified xyz", "3f2a00"):
        assert matching_patients(text) == set(), text


def test_the_studies_of_an_unidentified_patient_are_found_by_the_name_shown() -> None:
    study = StudyFactory(patient=unidentified())
    assert set(studies_found(study.patient.display_name)) == {study}
