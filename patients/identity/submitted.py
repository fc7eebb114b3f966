"""The identity of an image: from its header, and from a form where the header has gaps.

Stored bytes never change: what a form adds is kept in the record.
"""

import math
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext

from accounts.access import writable
from accounts.errors import InvalidInput
from accounts.messages import Message
from accounts.models import Department, User
from patients import messages
from patients.dicom.header import LONGEST_IDENTIFIER, Header, PersonName
from patients.identity import names
from patients.models import Patient, Priority, Sex, Study

LONGEST_ACCESSION_NUMBER = 16
MOST_NAME_GROUPS = 3
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
    """What a form or a manifest states about a file, as typed there."""

    patient_id: str = ""
    issuer: str = ""
    patient_name: str = ""
    birth_date: date | str | None = None
    sex: str = ""
    accession_number: str = ""
    priority: Priority | str | None = None

    @property
    def checked_priority(self) -> Priority | None:
        """The priority of an identity that `checked` returned."""
        return self.priority if isinstance(self.priority, Priority) else None

    def as_json(self) -> dict[str, str]:
        """Return the fields that are not empty, for `Upload.submitted_identity`."""
        values: dict[str, Any] = asdict(self)
        if isinstance(self.priority, int):
            values["priority"] = Priority(self.priority).name.lower()
        return {
            field: storable(str(value))
            for field, value in values.items()
            if value or value == 0
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "SubmittedIdentity":
        """Return what `as_json` wrote, without unknown fields."""
        return cls(
            **{
                name: values[name]
                for name in cls.__dataclass_fields__
                if name in values
            }
        )


@dataclass(frozen=True)
class Identity:
    """The patient and accession number of an image, from header and form together.

    Attributes:
        claimed: (patient_id, issuer) of a header or form whose sender may not see that
            patient; patient_id is None then.
    """

    patient_id: str | None
    issuer: str
    name: PersonName
    birth_date: date | None
    sex: str
    accession_number: str
    accession_issuer: str
    claimed: tuple[str, str] | None = None

    @property
    def received_key(self) -> tuple[str | None, str]:
        """The identifier that was sent, also where it is only claimed."""
        return self.claimed or self.key

    @property
    def key(self) -> tuple[str | None, str]:
        """The identifier of a patient; without a patient_id nobody is identified."""
        return self.patient_id, self.issuer


@dataclass(frozen=True)
class Person:
    """Who a form, a file or the record says it is."""

    name: PersonName
    patient_id: str = ""
    birth_date: date | None = None
    sex: str = ""
    patient_key: UUID | None = None

    @classmethod
    def of_patient(cls, patient: Patient) -> "Person":
        """Return who the record says it is."""
        return cls(
            names.name_of(patient),
            patient.patient_id or "",
            patient.birth_date,
            patient.sex,
            patient.pk,
        )


@dataclass(frozen=True)
class Mismatch:
    """Two persons where one was expected; never kept, only shown to the sender.

    Attributes:
        sent: Of the form, or of the file where it contradicts the record.
        known: Of the file or the record; None if the sender may not see that patient.
        known_from_file: Whether `known` is what the file says.
    """

    sent: Person
    known: Person | None
    known_from_file: bool = False


class IdentityMismatch(InvalidInput):
    """The form names another person than the file or the record."""

    def __init__(
        self, message: Message, fields: list[str], *, mismatch: Mismatch
    ) -> None:
        problem = (
            gettext("Differs from the file.")
            if mismatch.known_from_file
            else gettext("Differs from the record.")
        )
        super().__init__(
            message,
            params={"fields": messages.FieldNames(fields)},
            fields={field: [problem] for field in fields},
        )
        self.mismatch = mismatch


def checked(submitted_identity: SubmittedIdentity) -> SubmittedIdentity:
    """Return the submitted identity in the types of the record.

    Raises:
        InvalidInput: invalid_claims, naming each field that is not acceptable.
    """
    problems = messages.FieldProblems()
    fields: dict[str, list[str]] = {}
    clean: dict[str, Any] = {}
    for field, check in _CHECKS.items():
        try:
            clean[field] = check(getattr(submitted_identity, field))
        except InvalidInput as error:
            problems.append(
                {"field": field, "code": error.message_code, "params": error.params}
            )
            fields[field] = [error.message]
    if problems:
        raise InvalidInput(
            messages.INVALID_FIELDS, params={"problems": problems}, fields=fields
        )
    return SubmittedIdentity(**clean)


def identify(header: Header, submitted_identity: SubmittedIdentity) -> Identity:
    """Return the identity in the header, its gaps filled from the form.

    Args:
        header: Of the file.
        submitted_identity: Of the form, as `checked` returned it.

    Raises:
        InvalidInput: identity_mismatch where the two disagree; invalid_header where
            an identifier is too long to be kept whole.
    """
    patient = header.patient
    _refuse_long_identifiers(header)
    submitted_name = names.parse(submitted_identity.patient_name)
    pairs = {
        "patient_id": (patient.patient_id or "", submitted_identity.patient_id),
        "issuer": (patient.issuer, submitted_identity.issuer),
        "birth_date": (patient.birth_date, submitted_identity.birth_date),
        "sex": (patient.sex, submitted_identity.sex),
        "accession_number": (
            header.accession_number,
            submitted_identity.accession_number,
        ),
    }
    differing = [field for field, (a, b) in pairs.items() if a and b and a != b]
    if not names.agree(patient.name, submitted_name):
        differing.append("patient_name")
    if differing:
        in_file = Person(
            patient.name, patient.patient_id or "", patient.birth_date, patient.sex
        )
        raise IdentityMismatch(
            messages.DIFFERS_FROM_HEADER,
            differing,
            mismatch=Mismatch(_entered(submitted_identity), in_file, True),
        )
    filled: dict[str, Any] = {field: a or b for field, (a, b) in pairs.items()}
    issuer = filled["issuer"] or settings.DEFAULT_ISSUER
    return Identity(
        patient_id=filled["patient_id"] or None,
        issuer=issuer,
        name=names.filled(patient.name, submitted_name),
        birth_date=filled["birth_date"],
        sex=filled["sex"] or "",
        accession_number=filled["accession_number"],
        accession_issuer=(header.accession_issuer or issuer)
        if filled["accession_number"]
        else "",
    )


def without_hidden_patient(
    submitted_identity: SubmittedIdentity, actor: User | None, *, department: Department
) -> SubmittedIdentity:
    """Return what a form states, without a patient whom the sender may not see.

    Nothing of such a patient is told to the sender, or used.

    Args:
        submitted_identity: As `checked` returned it.
        actor: The sender; None for a program of ChestX, which sees everyone.
        department: Of the sender's new studies.
    """
    key = (
        submitted_identity.patient_id,
        submitted_identity.issuer or settings.DEFAULT_ISSUER,
    )
    if not _is_hidden(key, actor, department=department):
        return submitted_identity
    return replace(submitted_identity, patient_id="", issuer="", accession_number="")


def identify_claimed(
    header: Header,
    submitted: SubmittedIdentity,
    actor: User | None,
    *,
    department: Department,
) -> Identity:
    """Return the identity of an image, with a claim that only others may confirm.

    Args:
        header: Of the file.
        submitted: Of the form, as `checked` returned it.
        actor: The sender; None for a program of ChestX, which sees everyone.
        department: Of the sender's new studies.

    Raises:
        InvalidInput: As `identify`.
    """
    identity = identify(header, submitted)
    if not _is_hidden(identity.key, actor, department=department):
        return identity
    issuer = settings.DEFAULT_ISSUER
    return replace(
        identity,
        patient_id=None,
        issuer=issuer,
        accession_number=header.accession_number,
        accession_issuer=(header.accession_issuer or issuer)
        if header.accession_number
        else "",
        claimed=(identity.patient_id or "", identity.issuer),
    )


def _is_hidden(
    key: tuple[str | None, str], actor: User | None, *, department: Department
) -> bool:
    """Return whether it identifies a patient whom the sender may not see."""
    patient_id, issuer = key
    if actor is None or not patient_id:
        return False
    named = Patient.objects.filter(patient_id=patient_id, issuer=issuer)
    return named.exists() and not writable(named, actor, department=department).exists()


def refuse_disagreeing_form(
    submitted_identity: SubmittedIdentity, header: Header, patient: Patient
) -> None:
    """Refuse a form that disagrees with the record of a patient.

    Only what the header lacks counts; a header that disagrees is stored and flagged.

    Args:
        submitted_identity: As `checked` returned it.
        header: Of the file.
        patient: Whom the sender may see.

    Raises:
        InvalidInput: identity_mismatch, naming the fields.
    """
    stated = header.patient
    differing = []
    if stated.name == PersonName() and not names.agree(
        names.parse(submitted_identity.patient_name), names.name_of(patient)
    ):
        differing.append("patient_name")
    for field in ("birth_date", "sex"):
        submitted, recorded = (
            getattr(one, field) for one in (submitted_identity, patient)
        )
        if getattr(stated, field) or not (submitted and recorded):
            continue
        if submitted != recorded:
            differing.append(field)
    if differing:
        raise IdentityMismatch(
            messages.DIFFERS_FROM_PATIENT,
            differing,
            mismatch=Mismatch(_entered(submitted_identity), Person.of_patient(patient)),
        )


def refuse_other_patient(
    submitted_identity: SubmittedIdentity,
    study: Study,
    *,
    identity: Identity,
    visible: bool,
) -> None:
    """Refuse a form that names another patient than the one of a stored image.

    Args:
        submitted_identity: Of the form.
        study: Of the stored image.
        identity: From header and form, which agree; the issuer may be in the header
            alone.
        visible: Whether the sender may see the stored image.

    Raises:
        InvalidInput: identity_mismatch.
    """
    if not submitted_identity.patient_id or identity.claimed:
        return
    patient = study.patient
    known = (
        (patient.patient_id, patient.issuer),
        (study.received_patient_id, study.received_issuer),
    )
    if identity.key not in known:
        stored = Person.of_patient(patient) if visible else None
        raise IdentityMismatch(
            messages.DIFFERS_FROM_RECORD,
            ["patient_id"],
            mismatch=Mismatch(_entered(submitted_identity), stored),
        )


def storable(text: str) -> str:
    """Return a text that PostgreSQL takes: without NUL and unpaired surrogates."""
    return "".join(
        "�" if c == "\x00" or unicodedata.category(c) == "Cs" else c for c in text
    )


def storable_json(value: Any) -> Any:
    """Return parameters of a message as JSON that PostgreSQL takes."""
    if isinstance(value, Mapping):
        return {
            storable(str(key)): storable_json(entry) for key, entry in value.items()
        }
    if isinstance(value, list | tuple):
        return [storable_json(entry) for entry in value]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return storable(str(value))


def _entered(submitted_identity: SubmittedIdentity) -> Person:
    """Return who a form says it is; its values are checked."""
    born = submitted_identity.birth_date
    return Person(
        names.parse(submitted_identity.patient_name),
        submitted_identity.patient_id,
        born if isinstance(born, date) else None,
        submitted_identity.sex,
    )


def _refuse_long_identifiers(header: Header) -> None:
    """Refuse identifiers that do not fit: a cut one could be another patient's."""
    identifiers = {
        "Patient ID": header.patient.patient_id or "",
        "Issuer of Patient ID": header.patient.issuer,
        "Accession Number": header.accession_number,
        "Issuer of Accession Number": header.accession_issuer,
    }
    for name, value in identifiers.items():
        if len(value) > LONGEST_IDENTIFIER:
            raise InvalidInput(
                messages.LONG_IDENTIFIER,
                params={"attribute": name, "limit": LONGEST_IDENTIFIER},
            )


def _identifier(text: str, limit: int = LONGEST_IDENTIFIER) -> str:
    text = text.strip()
    if len(text) > limit:
        raise InvalidInput(messages.FIELD_TOO_LONG, params={"limit": limit})
    if not text.isprintable() or "\\" in text:
        raise InvalidInput(messages.FIELD_CHARACTERS)
    return text


def _accession_number(text: str) -> str:
    return _identifier(text, LONGEST_ACCESSION_NUMBER)


def _person_name(text: str) -> str:
    text = text.strip()
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in text) or "\\" in text:
        raise InvalidInput(messages.FIELD_CHARACTERS)
    groups = text.split("=")
    if len(groups) > MOST_NAME_GROUPS or any(
        len(group) > names.LONGEST_GROUP for group in groups
    ):
        raise InvalidInput(
            messages.FIELD_TOO_LONG, params={"limit": names.LONGEST_GROUP}
        )
    return text


def _birth_date(value: date | str | None) -> date | None:
    if value is None or isinstance(value, date):
        return value
    text = value.strip()
    if not text:
        return None
    day = _parsed_date(text)
    if day.year < EARLIEST_BIRTH_YEAR or day > timezone.localdate():
        raise InvalidInput(
            messages.IMPLAUSIBLE_BIRTH_DATE, params={"year": EARLIEST_BIRTH_YEAR}
        )
    return day


def _parsed_date(text: str) -> date:
    for pattern in _DATE_FORMATS:
        try:
            return datetime.strptime(text, pattern).date()  # noqa: DTZ007 (a day, no moment)
        except ValueError:
            continue
    raise InvalidInput(messages.NOT_A_DATE)


def _sex(text: str) -> str:
    try:
        return _SEXES[text.strip().casefold()]
    except KeyError:
        raise InvalidInput(messages.UNKNOWN_SEX) from None


def _priority(value: Priority | str | None) -> Priority | None:
    if value is None or isinstance(value, Priority):
        return value
    text = str(value).strip()
    if not text:
        return None
    try:
        return Priority[text.upper()]
    except KeyError:
        raise InvalidInput(messages.UNKNOWN_PRIORITY) from None


_CHECKS = {
    "patient_id": _identifier,
    "issuer": _identifier,
    "patient_name": _person_name,
    "birth_date": _birth_date,
    "sex": _sex,
    "accession_number": _accession_number,
    "priority": _priority,
}
