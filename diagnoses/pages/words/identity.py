"""The lines that identify a patient and a study, and the warnings about them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from diagnoses.pages.words.times import long_age, short_age, study_moment
from patients.identity import names
from patients.identity.discrepancies import value_text
from patients.identity.names import readable
from patients.identity.submitted import Mismatch, Person
from patients.models import IdentityDiscrepancy, Patient, Series, Study, StudyFlag

FLAG_LABELS = {
    StudyFlag.DEMOGRAPHICS_MISMATCH: _("name, birth date or sex differs"),
    StudyFlag.ACCESSION_SHARED: _("accession number shared"),
    StudyFlag.CHARACTER_SET_UNCERTAIN: _("characters of the name uncertain"),
    StudyFlag.IDENTITY_TO_CONFIRM: _("patient to confirm"),
    StudyFlag.SAME_PIXELS_OTHER_PATIENT: _("same image under another patient"),
}
FLAG_SENTENCES = {
    StudyFlag.DEMOGRAPHICS_MISMATCH: _(
        "The name, birth date or sex sent with this study differs from the record. "
        "Check which patient it belongs to."
    ),
    StudyFlag.ACCESSION_SHARED: _(
        "Another study of this patient has the same accession number."
    ),
    StudyFlag.CHARACTER_SET_UNCERTAIN: _(
        "The name has no valid character set. Check how the patient writes it."
    ),
    StudyFlag.IDENTITY_TO_CONFIRM: _(
        "The sender named a patient that only others may see. An administrator "
        "confirms to whom the study belongs."
    ),
    StudyFlag.SAME_PIXELS_OTHER_PATIENT: _(
        "The same image is also stored under another patient. "
        "Check which patient it belongs to."
    ),
}
_BOTH_NAMES = _("Name sent: %(received)s; on record: %(recorded)s")
_NO_NAME = _("no name")
_CHEST = _("Chest")
_BODY_PARTS = {"CHEST": _CHEST, "THORAX": _CHEST}


def identifier_text(patient: Patient) -> str:
    """Return the hospital's identifier of a patient, or that there is none."""
    if not patient.identified:
        return gettext("No patient ID")
    return gettext("MRN %(identifier)s") % {"identifier": patient.patient_id}


def patient_line(patient: Patient, *, on: date | None = None) -> str:
    """Return one line that identifies a patient: `MRN 004417 · M 67`."""
    age = ""
    if patient.birth_date:
        age = short_age(patient.birth_date, on=on or timezone.localdate())
    sex_and_age = " ".join(part for part in (patient.sex, age) if part)
    parts = (identifier_text(patient), sex_and_age)
    return " · ".join(part for part in parts if part)


def patient_facts(
    patient: Patient, *, on: date | None = None, with_issuer: bool = True
) -> list[str]:
    """Return all facts about a patient, for the head of a page.

    Args:
        patient: The patient.
        on: The day for which the age is given; today by default.
        with_issuer: Whether to name who issued the identifier.
    """
    facts = [identifier_text(patient)]
    if patient.identified and with_issuer:
        facts.append(gettext("issued by %(issuer)s") % {"issuer": patient.issuer})
    shown = patient.display_name
    facts += [
        name
        for name in (patient.ideographic_name, patient.phonetic_name)
        if name and name != shown
    ]
    if patient.sex:
        facts.append(str(patient.get_sex_display()))
    if patient.birth_date:
        facts.append(long_age(patient.birth_date, on=on or timezone.localdate()))
        born = date_format(patient.birth_date, "DATE_FORMAT")
        facts.append(gettext("born %(date)s") % {"date": born})
    return [fact for fact in facts if fact]


def study_title(study: Study, series: Iterable[Series]) -> str:
    """Return a study's description, or what its series show: `Chest AP + LL`."""
    if study.description:
        return study.description
    listed = list(series)
    parts = [one.body_part_examined for one in listed if one.body_part_examined]
    views = dict.fromkeys(one.view_position for one in listed if one.view_position)
    if parts:
        part = _BODY_PARTS.get(parts[0].upper(), parts[0].capitalize())
        return f"{part} {' + '.join(views)}".strip()
    modality = next((one.modality for one in listed if one.modality), "")
    # Other (PS3.3 C.7.3.1.1.1): the modality of a stored PNG or JPEG.
    if modality == "OT":
        return gettext("Image")
    if modality:
        return gettext("%(modality)s study") % {"modality": modality}
    return gettext("Study")


def study_text(study: Study, series: Iterable[Series]) -> str:
    """Return the title of a study and when it was made."""
    return f"{study_title(study, series)} · {study_moment(study)}"


def accession_text(study: Study) -> str:
    """Return the accession number, or that there is none."""
    if not study.accession_number:
        return gettext("No accession number")
    return gettext("Acc. %(number)s") % {"number": study.accession_number}


@dataclass(frozen=True)
class FlagWarning:
    """What a person must check, and both values where they differ."""

    sentence: str
    values: Sequence[str]


def flag_labels(study: Study, *, without: StudyFlag | None = None) -> list[str]:
    """Return the flags of a study in a few words each, with both values, for a row."""
    return [
        text
        for flag in map(StudyFlag, study.flags)
        if flag != without
        for text in _values(study, flag) or [str(FLAG_LABELS[flag])]
    ]


def demographic_lines(study: Study) -> list[str]:
    """Return what a study states differently from the record, with both names."""
    flag = StudyFlag.DEMOGRAPHICS_MISMATCH
    if flag not in study.flags:
        return []
    received = names.parse(study.received_name)
    lines = _values(study, flag) or [str(FLAG_LABELS[flag])]
    named = IdentityDiscrepancy.Attribute.PATIENT_NAME
    if any(one.attribute == named for one in study.discrepancies.all()):
        return lines
    # Another birth date or sex under one name: the names say whose record it is.
    both = _BOTH_NAMES % {
        "received": readable(names.text_of(received)) or _NO_NAME,
        "recorded": study.patient.display_name,
    }
    return [both, *lines]


def mismatch_lines(mismatch: Mismatch) -> list[str]:
    """Return both persons of a file that was not stored, one on each line."""
    lines = [gettext("Sent: %(person)s") % {"person": _person_text(mismatch.sent)}]
    if mismatch.known is not None:
        known = (
            gettext("In the file: %(person)s")
            if mismatch.known_from_file
            else gettext("On record: %(person)s")
        )
        lines.append(known % {"person": _person_text(mismatch.known)})
    return lines


def _person_text(person: Person) -> str:
    born = date_format(person.birth_date, "DATE_FORMAT") if person.birth_date else ""
    identifier = person.patient_id and gettext("MRN %(identifier)s") % {
        "identifier": person.patient_id
    }
    facts = (
        readable(names.text_of(person.name)) or str(_NO_NAME),
        identifier,
        born and gettext("born %(date)s") % {"date": born},
        person.sex,
    )
    return " · ".join(fact for fact in facts if fact)


def flag_warnings(study: Study) -> list[FlagWarning]:
    """Return a warning for each flag of a study, for its page."""
    return [
        FlagWarning(str(FLAG_SENTENCES[flag]), _values(study, flag))
        for flag in map(StudyFlag, study.flags)
    ]


def _values(study: Study, flag: StudyFlag) -> list[str]:
    return [_both_values(one) for one in _discrepancies(study, flag)]


def _discrepancies(study: Study, flag: StudyFlag) -> list[IdentityDiscrepancy]:
    if flag != StudyFlag.DEMOGRAPHICS_MISMATCH:
        return []
    return list(study.discrepancies.all())


def _both_values(one: IdentityDiscrepancy) -> str:
    words = gettext("%(attribute)s sent: %(received)s; on record: %(recorded)s")
    return words % {
        "attribute": one.get_attribute_display(),
        "received": value_text(one.attribute, one.received),
        "recorded": value_text(one.attribute, one.recorded),
    }
