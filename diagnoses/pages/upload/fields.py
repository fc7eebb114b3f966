"""The fields of the upload form: what was typed, limits of the server, errors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from django.utils import timezone
from django.utils.translation import gettext

from patients.dicom.header import LONGEST_IDENTIFIER
from patients.identity.names import LONGEST_GROUP
from patients.identity.submitted import (
    EARLIEST_BIRTH_YEAR,
    LONGEST_ACCESSION_NUMBER,
    MOST_NAME_GROUPS,
    SubmittedIdentity,
)
from patients.messages import field_label
from patients.models import Sex

# A name has up to three groups: alphabetic, ideographic and phonetic (PS3.5 6.2.1).
_GROUP_PATTERN = f"[^=]{{0,{LONGEST_GROUP}}}"
_NAME_PATTERN = f"{_GROUP_PATTERN}(={_GROUP_PATTERN}){{0,{MOST_NAME_GROUPS - 1}}}"


@dataclass(frozen=True)
class FormField:
    """One field of the form, as the page shows it."""

    name: str
    label: str
    value: str = ""
    kind: str = "text"
    max_length: int | None = None
    earliest: str = ""
    latest: str = ""
    pattern: str = ""
    hint: str = ""
    placeholder: str = ""
    choices: Sequence[tuple[str, object]] = ()
    errors: Sequence[str] = field(default=())


def identity_fields(
    typed: SubmittedIdentity, errors: Mapping[str, Sequence[str]]
) -> list[FormField]:
    """Return the fields that identify the patient and the study.

    Args:
        typed: What the sender typed; shown again after an error.
        errors: By the name of the field.
    """

    def made(name: str, value: object, **limits: object) -> FormField:
        return FormField(
            name,
            field_label(name),
            str(value or ""),
            errors=errors.get(name, ()),
            **limits,  # type: ignore[arg-type]
        )

    return [
        made("patient_id", typed.patient_id, max_length=LONGEST_IDENTIFIER),
        made(
            "patient_name",
            typed.patient_name,
            max_length=MOST_NAME_GROUPS * (LONGEST_GROUP + 1) - 1,
            pattern=_NAME_PATTERN,
            hint=gettext("At most %(limit)d characters.") % {"limit": LONGEST_GROUP},
            placeholder=gettext("Family, Given"),
        ),
        made(
            "birth_date",
            typed.birth_date,
            kind="date",
            earliest=date(EARLIEST_BIRTH_YEAR, 1, 1).isoformat(),
            latest=timezone.localdate().isoformat(),
        ),
        made("sex", typed.sex, kind="select", choices=(("", ""), *Sex.choices)),
        made(
            "accession_number",
            typed.accession_number,
            max_length=LONGEST_ACCESSION_NUMBER,
        ),
    ]


def model_field(
    models: Sequence[str], chosen: str, errors: Mapping[str, Sequence[str]]
) -> FormField:
    """Return the field that chooses which model reads the images."""
    return FormField(
        "model",
        gettext("Models"),
        chosen,
        kind="select",
        choices=(
            ("", gettext("All that fit the image")),
            *((name, name) for name in models),
        ),
        errors=errors.get("model", ()),
    )
