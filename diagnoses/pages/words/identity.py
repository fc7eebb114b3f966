"""Who and what: the lines that name a patient, a study and what to be careful about."""

from collections.abc import Iterable
from datetime import date

from django.utils import timezone

from diagnoses.pages.words.times import age_words, study_moment
from patients.models import Patient, Series, Study, StudyFlag

FLAG_WORDS = {
    StudyFlag.DEMOGRAPHICS_MISMATCH: "name differs",
    StudyFlag.ACCESSION_SHARED: "accession number shared",
    StudyFlag.SAME_PIXELS_OTHER_PATIENT: "same picture elsewhere",
}
FLAG_SENTENCES = {
    StudyFlag.DEMOGRAPHICS_MISMATCH: (
        "The name or birth date that came with this study differs from the record. "
        "Make sure whose image it is."
    ),
    StudyFlag.ACCESSION_SHARED: (
        "Another study of this patient has the same accession number."
    ),
    StudyFlag.SAME_PIXELS_OTHER_PATIENT: (
        "The very same picture stands under another patient, too. "
        "Make sure whose image it is."
    ),
}
_WORDS_OF_PARTS = {"CHEST": "Chest", "THORAX": "Chest"}


def identifier(patient: Patient) -> str:
    """Write the hospital's identifier, or that there is none."""
    return f"MRN {patient.patient_id}" if patient.identified else "No identifier"


def patient_line(patient: Patient, *, on: date | None = None) -> str:
    """Write what identifies a patient in one small line: `MRN 004417 · M 67`."""
    return " · ".join(
        part for part in (identifier(patient), _sex_age(patient, on)) if part
    )


def _sex_age(patient: Patient, on: date | None) -> str:
    age = ""
    if patient.birth_date:
        age = age_words(patient.birth_date, on=on or timezone.localdate())
    return " ".join(part for part in (patient.sex, age) if part)


def patient_facts(patient: Patient, *, on: date | None = None) -> list[str]:
    """Return all facts about a person, for the head of a page."""
    facts = [identifier(patient)]
    if patient.identified:
        facts.append(f"issued by {patient.issuer}")
    age = (
        age_words(patient.birth_date, on=on or timezone.localdate())
        if patient.birth_date
        else ""
    )
    if patient.sex:
        facts.append(str(patient.get_sex_display()))
    if age:
        facts.append(age if "month" in age else f"{age} years")
    if patient.birth_date:
        born = patient.birth_date
        facts.append(f"born {born.day} {born:%b %Y}")
    return facts


def study_title(study: Study, series: Iterable[Series]) -> str:
    """Name a study: its description, or what its series show: `Chest AP + LL`."""
    if study.description:
        return study.description
    listed = list(series)
    parts = [one.body_part_examined for one in listed if one.body_part_examined]
    views = dict.fromkeys(one.view_position for one in listed if one.view_position)
    part = _WORDS_OF_PARTS.get(parts[0].upper(), parts[0].capitalize()) if parts else ""
    if part:
        return f"{part} {' + '.join(views)}".strip()
    modality = next((one.modality for one in listed if one.modality), "")
    # Other (PS3.3 C.7.3.1.1.1): what a PNG or JPEG becomes here.
    if modality == "OT":
        return "Picture"
    return f"{modality} study" if modality else "Study"


def study_words(study: Study, series: Iterable[Series]) -> str:
    """Name a study and say when it was made."""
    moment = study_moment(study, today=timezone.localdate())
    return f"{study_title(study, series)} · {moment}"


def accession_words(study: Study) -> str:
    """Write the accession number, or that there is none."""
    if study.accession_number:
        return f"Acc {study.accession_number}"
    return "No accession number"


def flag_words(study: Study) -> list[str]:
    """Return the flags of a study in a few words each, for a row."""
    return [FLAG_WORDS[StudyFlag(flag)] for flag in study.flags]


def flag_sentences(study: Study) -> list[str]:
    """Return the flags of a study as sentences, for its page."""
    return [FLAG_SENTENCES[StudyFlag(flag)] for flag in study.flags]
