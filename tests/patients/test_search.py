"""Search by parts of names and identifiers, or by date of birth, by an index."""

from datetime import date

import pytest
from django.db import connection

from accounts.errors import InvalidInput
from accounts.models import Role
from patients import search
from patients.identity import assignments, corrections
from patients.models import Patient, SearchText, Study
from patients.models.search_text import NGrams
from patients.search import (
    Search,
    dates_written,
    patients_found,
    patients_named,
    studies_among,
    studies_found,
)
from tests.factories import PatientFactory, StudyFactory, UserFactory

pytestmark = pytest.mark.django_db


def person(family: str, given: str = "", **values: object) -> Patient:
    """Return a patient whose folded name is made as the archive makes it."""
    patient = PatientFactory(family_name="", given_name="", **values)
    changes = {"family_name": family, "given_name": given}
    corrections.correct_patient(
        patient, changes, actor=UserFactory(role=Role.ADMIN), reason="tests"
    )
    return patient


def found(text: str) -> set[Patient]:
    return set(Patient.objects.filter(patients_found(text).all_of("pk")))


def found_studies(text: str) -> set[Study]:
    return set(Study.objects.filter(studies_found(text).all_of("pk")))


@pytest.mark.parametrize(
    "text",
    [
        "müller johanna",
        "MUELLER, J",
        "mueller^johanna",
        "Johanna Müller",
        "muller",
        "müll",
        "uller",
        "ohan",
        "lüden",
        "Müller-Lüdenscheidt",
        "j mu",
    ],
)
def test_a_name_is_found_as_people_type_it(text: str) -> None:
    wanted = person("Müller-Lüdenscheidt", "Johanna")
    person("Miller", "Hannah")
    assert found(text) == {wanted}


def test_two_letters_are_found_by_the_letter_that_they_stand_for() -> None:
    spelled_out, plain = person("Mueller"), person("Müller")
    assert found("müller") == {spelled_out, plain}
    assert found("mueller") == {spelled_out, plain}
    assert found("muller") == {plain}


def test_one_or_two_letters_are_beginnings_of_words() -> None:
    wanted = person("Doe", "Anna")
    assert found("an") == {wanted}
    assert found("nn") == set()
    assert found("d a") == {wanted}


def test_one_ideograph_is_a_part_of_a_name() -> None:
    wanted = person("王小明")
    person("李小红")
    assert found("明") == {wanted}
    assert found("小明") == {wanted}


@pytest.mark.parametrize("text", ["AB-1234", "ab-12", "1234", "b-1", "AB", "ab-1234 5"])
def test_an_identifier_is_found_by_its_parts(text: str) -> None:
    wanted = PatientFactory(patient_id="AB-1234 56")
    PatientFactory(patient_id="CD-9876")
    assert found(text) == {wanted}


def test_an_accession_number_finds_its_study_and_its_patient() -> None:
    study = StudyFactory(accession_number="ACC77")
    StudyFactory(patient=study.patient)
    StudyFactory(accession_number="ACC99")
    for text in ("ACC77", "cc77", "acc7"):
        assert found(text) == {study.patient}, text
        assert found_studies(text) == {study}, text


@pytest.mark.parametrize("text", ["1961-04-05", "19610405", "05.04.1961", "4/5/1961"])
def test_a_date_of_birth_is_found_in_each_way_of_writing(text: str) -> None:
    wanted = PatientFactory(birth_date=date(1961, 4, 5))
    PatientFactory(birth_date=date(1962, 4, 5))
    assert found(text) == {wanted}


def test_a_date_with_slashes_may_have_day_or_month_first() -> None:
    assert dates_written("4/5/1961") == [date(1961, 4, 5), date(1961, 5, 4)]
    assert dates_written("31/12/1961") == [date(1961, 12, 31)]
    assert dates_written("31.04.1961") == []
    assert dates_written("0000-01-01") == []


def test_every_word_must_match_and_may_match_anything() -> None:
    wanted = StudyFactory(
        patient=person("Okafor", birth_date=date(1961, 4, 5), patient_id="MRN-1"),
        accession_number="ACC77",
    )
    StudyFactory(patient=wanted.patient, accession_number="ACC99")
    StudyFactory(patient=person("Okafor"), accession_number="ACC77")
    assert found_studies("okaf 05.04.1961 acc77") == {wanted}
    assert found_studies("acc77 mrn-1") == {wanted}


def test_an_unidentified_person_is_found_by_the_name_shown() -> None:
    nobody = PatientFactory(
        patient_id=None, family_name="", given_name="", name_folded=""
    )
    assert found(nobody.display_name) == {nobody}


@pytest.mark.parametrize(
    "text",
    ["", "   ", "' OR 1=1 --", "%", "_", "\\", "'", ":*", "a'b", "&|!", "\x00", "%oe%"],
)
def test_special_characters_are_text(text: str) -> None:
    StudyFactory(patient=person("Doe", "John", patient_id="77"))
    assert found(text) == set()
    assert found_studies(text) == set()


def test_the_name_filter_finds_by_names_only() -> None:
    wanted = person("Park", patient_id="MRN-1")
    PatientFactory(patient_id="PARK-1")
    assert set(Patient.objects.filter(patients_named("par").of("pk"))) == {wanted}


def test_a_correction_an_assignment_and_an_accession_number_are_found_at_once() -> None:
    study = StudyFactory(patient=person("Roe"))
    actor = UserFactory(role=Role.ADMIN)
    corrections.correct_patient(
        study.patient, {"family_name": "Corrected"}, actor=actor, reason="tests"
    )
    assert found_studies("roe") == set()
    assert found_studies("correct") == {study}

    other = person("Other", patient_id="OTHER-1")
    assignments.assign_study(study, patient_id="OTHER-1", reason="tests", actor=actor)
    assert found_studies("correct") == set()
    assert found_studies("other") == {study}
    assert SearchText.objects.get(study=study).patient == other

    Study.objects.filter(pk=study.pk).update(accession_number="LATER-7")
    assert found_studies("later") == {study}


def test_a_search_that_matches_very_many_rows_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    person("Doe"), person("Doe")
    monkeypatch.setattr(search, "MOST_FOUND", 1)
    assert patients_found("doe").more
    with pytest.raises(InvalidInput) as raised:
        patients_found("doe").all_of("pk")
    assert raised.value.reason_code == "too_many_matches"


def test_some_studies_are_compared_as_the_index_would() -> None:
    wanted, other = StudyFactory(patient=person("Doe")), StudyFactory()
    assert studies_among([wanted.pk, other.pk], "doe") == {wanted.pk}


@pytest.mark.parametrize("text", ["muller", "ab-1234", "mu", "m", "王", "1961-04-05"])
def test_the_database_and_the_search_cut_the_same_ngrams(text: str) -> None:
    row = SearchText.objects.filter(patient=PatientFactory())
    row.update(text=f" {text} x")
    [grams] = row.annotate(grams=NGrams("text")).values_list("grams", flat=True)
    for wanted in Search.of(text)._grams():
        assert wanted <= set(grams)


def test_the_search_uses_its_index() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    plan = Search.of("müller johanna").rows().explain()
    assert "search_text_ngrams" in plan
