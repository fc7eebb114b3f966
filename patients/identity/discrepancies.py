"""Find where the images of a study state another name, birth date or sex.

Everything here runs inside the transaction of the caller.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.db.models import F, Func, JSONField, QuerySet, Value
from django.utils.formats import date_format

from patients.dicom.header import PersonName, parse_date
from patients.identity import names
from patients.identity.flags import flag, unflag
from patients.identity.submitted import Identity
from patients.models import (
    FlagReconciliation,
    IdentityDiscrepancy,
    Instance,
    Patient,
    Sex,
    Study,
    StudyFlag,
    Upload,
)

Attribute = IdentityDiscrepancy.Attribute
_NAME, _BIRTH_DATE, _SEX = "00100010", "00100030", "00100040"


@dataclass(frozen=True)
class Demographics:
    """Name, date of birth and sex, as an image states them."""

    name: PersonName
    birth_date: date | None
    sex: str


@dataclass(frozen=True)
class Difference:
    """A value of an image and that of the record; names in their DICOM form."""

    attribute: IdentityDiscrepancy.Attribute
    received: str
    recorded: str


def value_text(attribute: str, value: str) -> str:
    """Return a kept value as people write it: a name, a date of birth, a sex."""
    if attribute == Attribute.PATIENT_NAME:
        return names.readable(value)
    if attribute == Attribute.BIRTH_DATE:
        return date_format(date.fromisoformat(value), "DATE_FORMAT")
    return value


def differences(received: Demographics, patient: Patient) -> list[Difference]:
    """Return what an image states differently from the record.

    A value that either lacks is no difference.
    """
    name = names.name_of(patient)
    found = []
    if not names.agree(received.name, name):
        found.append(
            Difference(
                Attribute.PATIENT_NAME,
                names.text_of(received.name),
                names.text_of(name),
            )
        )
    if None not in (received.birth_date, patient.birth_date) and (
        received.birth_date != patient.birth_date
    ):
        found.append(
            Difference(
                Attribute.BIRTH_DATE, str(received.birth_date), str(patient.birth_date)
            )
        )
    if received.sex and patient.sex and received.sex != patient.sex:
        found.append(Difference(Attribute.SEX, received.sex, patient.sex))
    return found


def stated(identity: Identity) -> Demographics:
    """Return the demographics of an identity."""
    return Demographics(identity.name, identity.birth_date, identity.sex)


def record(study: Study, identity: Identity) -> None:
    """Keep and flag what an arriving image states differently from the record."""
    _open(study, differences(stated(identity), study.patient))


def recheck(study: Study) -> None:
    """Compare all images of a study with its patient as recorded now.

    Call it after the record or the patient of the study has changed. It sets and
    removes the flags about demographics and about images of other patients.
    """
    found = {
        difference
        for demographics in _received(study)
        for difference in differences(demographics, study.patient)
    }
    study.discrepancies.all().delete()
    unflag(study, StudyFlag.DEMOGRAPHICS_MISMATCH)
    _open(study, sorted(found, key=lambda one: (one.attribute, one.received)))
    _recheck_pixels(study)


def same_pixels_elsewhere(study: Study) -> list[Study]:
    """Return the studies of other patients that have an image of this study."""
    return list(_with_pixels_of(study).exclude(patient=study.patient_id))


def _with_pixels_of(study: Study) -> QuerySet[Study]:
    """Return the studies that have an image of this study, itself among them."""
    hashes = (
        Instance.objects.filter(series__study=study, pixel_sha256__isnull=False)
        .exclude(pixel_sha256="")
        .values("pixel_sha256")
    )
    return (
        Study.objects.filter(series__instances__pixel_sha256__in=hashes)
        .distinct()
        .order_by("pk")
    )


def _open(study: Study, found: Iterable[Difference]) -> None:
    """Keep differences that no person has decided about, and flag the study."""
    decided = {
        tuple(values)
        for listed in FlagReconciliation.objects.filter(
            study=study,
            patient=study.patient_id,
            flag=StudyFlag.DEMOGRAPHICS_MISMATCH,
        ).values_list("values", flat=True)
        for values in listed
    }
    undecided = [
        one
        for one in found
        if (one.attribute.value, one.received, one.recorded) not in decided
    ]
    if not undecided:
        return
    for one in undecided:
        IdentityDiscrepancy.objects.update_or_create(
            study=study,
            attribute=one.attribute,
            received=one.received,
            defaults={"recorded": one.recorded},
        )
    flag([study], StudyFlag.DEMOGRAPHICS_MISMATCH)


def _recheck_pixels(study: Study) -> None:
    """Flag the study again where it shares an image with another patient, or not.

    The studies with which it shared images lose the flag where they share no more.
    """
    kind = StudyFlag.SAME_PIXELS_OTHER_PATIENT
    for one in _with_pixels_of(study).filter(flags__contains=[kind]):
        if not same_pixels_elsewhere(one):
            unflag(one, kind)
    others = same_pixels_elsewhere(study)
    if not others:
        unflag(study, kind)
        return
    decided = FlagReconciliation.objects.filter(
        study=study, patient=study.patient_id, flag=kind
    )
    if not decided.exists():
        flag([study, *others], kind)


def _received(study: Study) -> list[Demographics]:
    """Return what each image states: its header, then the form it was sent with."""
    rows = Instance.objects.filter(series__study=study).values_list(
        "pk", _of_header(_NAME), _of_header(_BIRTH_DATE), _of_header(_SEX)
    )
    forms = dict(
        Upload.objects.filter(
            instance__series__study=study, outcome=Upload.Outcome.STORED
        ).values_list("instance", "submitted_identity")
    )
    return [
        _demographics(_first(name), _first(born), _first(sex), forms.get(key) or {})
        for key, name, born, sex in rows
    ]


def _of_header(tag: str) -> Func:
    """Return the SQL of one element: Django takes digits for the index of a list."""
    return Func(
        F("header"),
        Value(tag),
        function="jsonb_extract_path",
        output_field=JSONField(),
    )


def _first(element: dict[str, Any] | None) -> Any:
    values = (element or {}).get("Value") or [None]
    return values[0]


def _demographics(
    name: dict[str, str] | None, born: str | None, sex: str | None, form: dict[str, str]
) -> Demographics:
    groups = name or {}
    written = "=".join(
        groups.get(group, "") for group in ("Alphabetic", "Ideographic", "Phonetic")
    )
    return Demographics(
        name=names.filled(
            names.parse(written), names.parse(form.get("patient_name", ""))
        ),
        birth_date=parse_date(born or form.get("birth_date", "")),
        sex=_known_sex(sex or form.get("sex", "")),
    )


def _known_sex(text: str) -> str:
    return text.upper() if text.upper() in Sex.values else ""
