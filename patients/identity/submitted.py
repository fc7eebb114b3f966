"""Whose image it is: the header's word, and a form's only where the header is silent.

Stored bytes never change: what a form filled in lives in the record.
"""

import unicodedata
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

from django.conf import settings
from django.utils import timezone

from accounts.errors import InvalidInput
from patients.dicom.header import Header, PersonName
from patients.identity import names
from patients.models import Patient, Priority, Sex, Study

LONGEST_IDENTIFIER = 64
LONGEST_ACCESSION_NUMBER = 16
EARLIEST_BIRTH_YEAR = 1850
_DATE_FORMATS = ("%Y-%m-%d", "%Y%m%d", "%d.%m.%Y")
_SEXES = {
    "": "",
    "m": Sex.MALE,
    "male": Sex.MALE,
    "f": Sex.FEMALE,
    "female": Sex.FEMALE,
    "o": Sex.OTHER,
    "other": Sex.OTHER,
    "u": "",
    "unknown": "",
}


@dataclass(frozen=True)
class SubmittedIdentity:
    """What a form or a manifest says about a file, as typed there."""

    patient_id: str = ""
    issuer: str = ""
    patient_name: str = ""
    birth_date: date | str | None = None
    sex: str = ""
    accession_number: str = ""
    priority: Priority | str | None = None

    def as_json(self) -> dict[str, str]:
        """Return the fields that are not empty, for `Upload.submitted_identity`."""
        said: dict[str, Any] = asdict(self)
        if isinstance(self.priority, int):
            said["priority"] = Priority(self.priority).name.lower()
        return {
            field: storable(str(value))
            for field, value in said.items()
            if value or value == 0
        }

    @classmethod
    def from_json(cls, said: dict[str, str]) -> "SubmittedIdentity":
        """Return the claims that `as_json` wrote, unknown fields left out."""
        return cls(
            **{name: said[name] for name in cls.__dataclass_fields__ if name in said}
        )


@dataclass(frozen=True)
class Identity:
    """Whom an image is recorded under, header and claims taken together."""

    patient_id: str | None
    issuer: str
    name: PersonName
    birth_date: date | None
    sex: str
    accession_number: str
    accession_issuer: str

    @property
    def key(self) -> tuple[str | None, str]:
        """What makes a patient; without a patient_id: nobody who is known."""
        return self.patient_id, self.issuer


def checked(submitted_identity: SubmittedIdentity) -> SubmittedIdentity:
    """Return claims in the record's own terms.

    Raises:
        InvalidInput: invalid_claims, naming each field that is not acceptable.
    """
    wrong: dict[str, list[str]] = {}
    clean: dict[str, Any] = {}
    for field, check in _CHECKS.items():
        try:
            clean[field] = check(getattr(submitted_identity, field))
        except ValueError as error:
            wrong[field] = [str(error)]
    if wrong:
        raise InvalidInput(
            " ".join(f"{field}: {said[0]}" for field, said in wrong.items()),
            reason_code="invalid_claims",
            fields=wrong,
        )
    return SubmittedIdentity(**clean)


def identify(header: Header, submitted_identity: SubmittedIdentity) -> Identity:
    """Return whose image it is: the header's word, its gaps filled from the claims.

    Args:
        header: What the file says.
        submitted_identity: What the form says, as `checked` returned it.

    Raises:
        InvalidInput: identity_mismatch where the two disagree; invalid_header where
            an identifier is too long to be kept whole.
    """
    said = header.patient
    _refuse_long_identifiers(header)
    claimed_name = names.parse(submitted_identity.patient_name)
    pairs = {
        "patient_id": (said.patient_id or "", submitted_identity.patient_id),
        "issuer": (said.issuer, submitted_identity.issuer),
        "birth_date": (said.birth_date, submitted_identity.birth_date),
        "sex": (said.sex, submitted_identity.sex),
        "accession_number": (
            header.accession_number,
            submitted_identity.accession_number,
        ),
    }
    differing = [field for field, (a, b) in pairs.items() if a and b and a != b]
    if not names.agree(said.name, claimed_name):
        differing.append("patient_name")
    if differing:
        raise mismatch("the file's header", differing)
    filled: dict[str, Any] = {field: a or b for field, (a, b) in pairs.items()}
    issuer = filled["issuer"] or settings.DEFAULT_ISSUER
    return Identity(
        patient_id=filled["patient_id"] or None,
        issuer=issuer,
        name=names.filled(said.name, claimed_name),
        birth_date=filled["birth_date"],
        sex=filled["sex"] or "",
        accession_number=filled["accession_number"],
        accession_issuer=(header.accession_issuer or issuer)
        if filled["accession_number"]
        else "",
    )


def refuse_other_patient(
    submitted_identity: SubmittedIdentity, study: Study, *, whose: Identity
) -> None:
    """Refuse a form that names another patient than the one a known image belongs to.

    Args:
        submitted_identity: What the form says.
        study: Of the known image.
        whose: Header and form taken together, which agree: who issued the identifier
            may stand in the header alone.

    Raises:
        InvalidInput: identity_mismatch.
    """
    if not submitted_identity.patient_id:
        return
    patient = study.patient
    known = (
        (patient.patient_id, patient.issuer),
        (study.received_patient_id, study.received_issuer),
    )
    if whose.key not in known:
        raise mismatch(
            "the record of this image, which is already stored,", ["patient_id"]
        )


def mismatch(against: str, fields: list[str]) -> InvalidInput:
    """Return the refusal of a form that says something else than what is known."""
    named = ", ".join(field.replace("_", " ") for field in fields)
    return InvalidInput(
        f"The form and {against} disagree about: {named}. Nothing was stored. Send the "
        "file without these fields, or with the right ones.",
        reason_code="identity_mismatch",
        fields={field: ["disagrees with the file"] for field in fields},
    )


def demographics_differ(identity: Identity, patient: Patient) -> bool:
    """Say whether name or birth date are others than the record has."""
    other_birth_date = (
        identity.birth_date is not None
        and patient.birth_date is not None
        and identity.birth_date != patient.birth_date
    )
    return other_birth_date or not names.agree(identity.name, names.name_of(patient))


def storable(text: str) -> str:
    """Return the text as PostgreSQL takes it: without NUL and unpaired surrogates."""
    return "".join(
        "�" if c == "\x00" or unicodedata.category(c) == "Cs" else c for c in text
    )


def _refuse_long_identifiers(header: Header) -> None:
    """Names may be cut; a cut identifier is another patient's."""
    identifiers = {
        "Patient ID": header.patient.patient_id or "",
        "Issuer of Patient ID": header.patient.issuer,
        "Accession Number": header.accession_number,
        "Issuer of Accession Number": header.accession_issuer,
    }
    for name, value in identifiers.items():
        if len(value) > LONGEST_IDENTIFIER:
            raise InvalidInput(
                f"{name} in the header is longer than {LONGEST_IDENTIFIER} characters.",
                reason_code="invalid_header",
            )


def _identifier(text: str, limit: int = LONGEST_IDENTIFIER) -> str:
    text = text.strip()
    if len(text) > limit:
        raise ValueError(f"has more than {limit} characters.")
    if not text.isprintable() or "\\" in text:
        raise ValueError("has characters that an identifier cannot have.")
    return text


def _accession_number(text: str) -> str:
    return _identifier(text, LONGEST_ACCESSION_NUMBER)


def _person_name(text: str) -> str:
    text = text.strip()
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in text) or "\\" in text:
        raise ValueError("has characters that a name cannot have.")
    groups = text.split("=")
    if len(groups) > 3 or any(len(group) > names.LONGEST_GROUP for group in groups):
        raise ValueError(f"has more than {names.LONGEST_GROUP} characters.")
    return text


def _birth_date(value: date | str | None) -> date | None:
    if value is None or isinstance(value, date):
        return value
    text = value.strip()
    if not text:
        return None
    day = _parsed_date(text)
    if day.year < EARLIEST_BIRTH_YEAR or day > timezone.localdate():
        raise ValueError("is not a day on which a living patient was born.")
    return day


def _parsed_date(text: str) -> date:
    for pattern in _DATE_FORMATS:
        try:
            return datetime.strptime(text, pattern).date()  # noqa: DTZ007 (a day, no moment)
        except ValueError:
            continue
    raise ValueError("is not a date like 1970-12-31.")


def _sex(text: str) -> str:
    try:
        return _SEXES[text.strip().casefold()]
    except KeyError:
        raise ValueError("is not one of M, F, O.") from None


def _priority(value: Priority | str | None) -> Priority | None:
    if value is None or isinstance(value, Priority):
        return value
    text = str(value).strip()
    if not text:
        return None
    try:
        return Priority[text.upper()]
    except KeyError:
        raise ValueError("is not one of routine, urgent, stat.") from None


_CHECKS = {
    "patient_id": _identifier,
    "issuer": _identifier,
    "patient_name": _person_name,
    "birth_date": _birth_date,
    "sex": _sex,
    "accession_number": _accession_number,
    "priority": _priority,
}
