"""A DICOM header as a frozen dataclass (PS3.3, PS3.5), read from files nobody vouches for."""

from dataclasses import dataclass
from datetime import date, time
from typing import Any, BinaryIO

from accounts.errors import InvalidInput


@dataclass(frozen=True)
class PersonName:
    """The parts of a name (PN, PS3.5 6.2); empty where not given."""

    family: str = ""
    given: str = ""
    middle: str = ""
    prefix: str = ""
    suffix: str = ""
    ideographic: str = ""
    phonetic: str = ""

    def __bool__(self) -> bool:
        """Whether any part is given."""
        return any(
            (self.family, self.given, self.middle, self.prefix, self.suffix)
            + (self.ideographic, self.phonetic)
        )


@dataclass(frozen=True)
class PatientIdentity:
    """Who the header (or a form) says the patient is.

    patient_id is None where not given, issuer "" (the setting DEFAULT_ISSUER then
    holds), birth_date None where absent or no date, sex one of "", M, F, O.
    """

    patient_id: str | None = None
    issuer: str = ""
    name: PersonName = PersonName()
    birth_date: date | None = None
    sex: str = ""


@dataclass(frozen=True)
class PixelSpacing:
    """Millimetres between rows and between columns, and which attribute said so.

    `kind` is a value of `patients.models.PixelSpacingKind`.
    """

    row_mm: float
    column_mm: float
    kind: str


@dataclass(frozen=True)
class Header:
    """What the archive keeps of a DICOM object besides its bytes.

    Texts are clean: no NUL, no unpaired surrogate, no longer than the columns they
    go to. `rows` … `bits_stored` are None where the object has no pixels. `json` is
    the DICOM JSON model (PS3.18 F) with binary values by length, at most
    HEADER_JSON_LIMIT_BYTES.
    """

    sop_instance_uid: str
    sop_class_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    patient: PatientIdentity
    accession_number: str
    accession_issuer: str
    study_date: date | None
    study_time: time | None
    timezone_offset: str
    study_description: str
    referring_physician: str
    series_description: str
    series_number: int | None
    instance_number: int | None
    modality: str
    body_part_examined: str
    view_position: str
    laterality: str
    rows: int | None
    columns: int | None
    frames: int | None
    bits_stored: int | None
    photometric_interpretation: str
    pixel_spacing: PixelSpacing | None
    lossy: bool
    has_pixels: bool
    json: dict[str, Any]


def read_header(file: BinaryIO) -> Header:
    """Read the header of a DICOM file (with its preamble; `check_whole` came before).

    Study and Series Instance UID may be "" (a film without them is placed by its
    accession number, or stands alone); SOP Class and SOP Instance UID may not.

    Raises:
        InvalidInput: not_dicom, missing_uids, no_pixels, invalid_header,
            too_many_pixels or unsupported_sop_class.
    """
    raise InvalidInput("being written", reason_code="not_dicom")
