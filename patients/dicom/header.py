"""A DICOM header as a frozen dataclass (PS3.3), read from untrusted files."""

import re
from dataclasses import astuple, dataclass
from datetime import date, time
from typing import IO, Any

from django.conf import settings
from pydicom import config, valuerep
from pydicom.datadict import dictionary_description, dictionary_has_tag
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

from accounts.errors import InvalidInput
from ml.errors import ImageError
from ml.pixels import check_pixel_count
from patients import messages
from patients.decoder.refusals import pixel_refusal
from patients.dicom import tags
from patients.dicom.file import open_dicom
from patients.dicom.json_model import header_json
from patients.dicom.sop_classes import is_storage_class
from patients.dicom.structure import PIXEL_DATA_TAGS
from patients.dicom.text import one_line
from patients.dicom.values import Elements, read_elements
from patients.dicom.views import body_part, view_position

LONGEST_IDENTIFIER = 64
_UID_NAMES = {
    "sop_class_uid": "SOP Class UID",
    "sop_instance_uid": "SOP Instance UID",
    "study_instance_uid": "Study Instance UID",
    "series_instance_uid": "Series Instance UID",
}
_UID = re.compile(r"[0-9]+(\.[0-9]+)*\Z")
_OFFSET = re.compile(r"[+-]\d{4}\Z")
_LARGEST_INTEGER = 2**31 - 1
_MOST_BITS = 64
# Compression that is always lossy; JPEG 2000 states in the header whether it was.
_LOSSY_SYNTAXES = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless})
_LOSSY_FAMILIES = ("1.2.840.10008.1.2.4.10",)  # MPEG-2, MPEG-4, HEVC


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
        return any(astuple(self))


@dataclass(frozen=True)
class PatientIdentity:
    """The patient in a header or a form.

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
    """Millimetres between rows and columns, and the attribute they are from.

    `kind` is a value of `patients.models.PixelSpacingKind`.
    """

    row_mm: float
    column_mm: float
    kind: str


@dataclass(frozen=True)
class Header:
    """The attributes of a DICOM object that the archive stores.

    Texts are clean: no NUL, no unpaired surrogate, no longer than the columns they
    go to. `rows` … `bits_stored` are None where the object has no pixels. `json` is
    the DICOM JSON model (PS3.18 F) with binary values by length, at most
    HEADER_JSON_LIMIT_BYTES. `name_is_certain` is False where the character set of the
    patient's name is not declared, or does not define its bytes.
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
    name_is_certain: bool = True


def read_header(file: IO[bytes]) -> Header:
    """Read the header of a DICOM file (call `check_whole` before).

    Raises:
        InvalidInput: not_dicom, missing_uids, unsupported_sop_class, no_pixels,
            too_many_pixels, invalid_header, truncated_file or damaged_file.
    """
    with open_dicom(file) as dicom:
        return _header(read_elements(dicom), dicom.transfer_syntax_uid)


def parse_name(text: str) -> PersonName:
    """Split a PN value into its parts (PS3.5 6.2.1)."""
    name = valuerep.PersonName(text, validation_mode=config.IGNORE)
    return PersonName(
        family=one_line(name.family_name, 128),
        given=one_line(name.given_name, 128),
        middle=one_line(name.middle_name, 128),
        prefix=one_line(name.name_prefix, 64),
        suffix=one_line(name.name_suffix, 64),
        ideographic=one_line(name.ideographic.replace("^", " "), 324),
        phonetic=one_line(name.phonetic.replace("^", " "), 324),
    )


def parse_date(text: str) -> date | None:
    """Return a DA value as a date, None where it is not one.

    `1970-01-31` is accepted too.
    """
    try:
        day = valuerep.DA(text.strip().replace("-", "."))
    except ValueError:
        return None
    return date(day.year, day.month, day.day) if day else None


def parse_time(text: str) -> time | None:
    """Return a TM value as a time, None where it is not one.

    `10:15:30` is accepted too. A leap second becomes the second before.
    """
    digits = text.strip().replace(":", "")
    if digits[4:6] == "60":  # pydicom would warn of it
        digits = f"{digits[:4]}59{digits[6:]}"
    try:
        moment = valuerep.TM(digits)
    except ValueError:
        return None
    if moment is None:
        return None
    return time(moment.hour, moment.minute, moment.second, moment.microsecond)


def _header(elements: Elements, transfer_syntax_uid: str) -> Header:
    _refuse_contradictions(elements)
    has_pixels = any(tag in elements for tag in PIXEL_DATA_TAGS)
    uids = _uids(elements)
    if not is_storage_class(uids["sop_class_uid"]):
        raise InvalidInput(messages.UNSUPPORTED_SOP_CLASS)
    return Header(
        sop_class_uid=uids["sop_class_uid"],
        sop_instance_uid=uids["sop_instance_uid"],
        study_instance_uid=uids["study_instance_uid"],
        series_instance_uid=uids["series_instance_uid"],
        **_shape(elements, has_pixels=has_pixels),
        **_study(elements),
        **_series(elements),
        transfer_syntax_uid=one_line(transfer_syntax_uid, 64),
        patient=_patient(elements),
        name_is_certain=elements.is_certain(tags.PATIENT_NAME),
        instance_number=_integer(elements, tags.INSTANCE_NUMBER),
        pixel_spacing=_pixel_spacing(elements),
        lossy=_is_lossy(elements, transfer_syntax_uid),
        has_pixels=has_pixels,
        json=header_json(elements, limit_bytes=settings.HEADER_JSON_LIMIT_BYTES),
    )


def _refuse_contradictions(elements: Elements) -> None:
    """Refuse an element that stands there twice: readers disagree which one counts."""
    contradictions = elements.contradictions()
    if contradictions:
        listed = ", ".join(
            dictionary_description(tag)
            if dictionary_has_tag(tag)
            else f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
            for tag in contradictions
        )
        raise InvalidInput(messages.REPEATED_ATTRIBUTE, params={"attributes": listed})


def _uids(elements: Elements) -> dict[str, str]:
    uids = {
        "sop_class_uid": elements.text(tags.SOP_CLASS_UID),
        "sop_instance_uid": elements.text(tags.SOP_INSTANCE_UID),
        "study_instance_uid": elements.text(tags.STUDY_INSTANCE_UID),
        "series_instance_uid": elements.text(tags.SERIES_INSTANCE_UID),
    }
    missing = [_UID_NAMES[key] for key, uid in uids.items() if not uid]
    if missing:
        raise InvalidInput(
            messages.MISSING_UIDS, params={"attributes": ", ".join(missing)}
        )
    for key, uid in uids.items():
        if len(uid) > 64 or not _UID.match(uid):
            raise InvalidInput(
                messages.INVALID_UID, params={"attribute": _UID_NAMES[key]}
            )
    return uids


def _shape(elements: Elements, *, has_pixels: bool) -> dict[str, Any]:
    if not has_pixels:
        return {
            "rows": None,
            "columns": None,
            "frames": None,
            "bits_stored": None,
            "photometric_interpretation": "",
        }
    rows, columns = elements.integer(tags.ROWS), elements.integer(tags.COLUMNS)
    try:
        check_pixel_count(rows or 0, columns or 0)
    except ImageError as error:
        raise pixel_refusal(error.reason_code, error.params) from error
    frames = elements.integer(tags.NUMBER_OF_FRAMES) or 1
    bits = elements.integer(tags.BITS_STORED)
    if not 1 <= frames <= _LARGEST_INTEGER or not 0 <= (bits or 0) <= _MOST_BITS:
        raise InvalidInput(messages.IMPOSSIBLE_IMAGE)
    return {
        "rows": rows,
        "columns": columns,
        "frames": frames,
        "bits_stored": bits,
        "photometric_interpretation": _line(elements, tags.PHOTOMETRIC, 16),
    }


def _study(elements: Elements) -> dict[str, Any]:
    offset = elements.text(tags.TIMEZONE_OFFSET)
    return {
        "accession_number": _identifier(elements, tags.ACCESSION_NUMBER),
        "accession_issuer": _accession_issuer(elements),
        "study_date": parse_date(elements.text(tags.STUDY_DATE)),
        "study_time": parse_time(elements.text(tags.STUDY_TIME)),
        "timezone_offset": offset if _OFFSET.match(offset) else "",
        "study_description": _line(elements, tags.STUDY_DESCRIPTION, 256),
        "referring_physician": _line(elements, tags.REFERRING_PHYSICIAN, 324),
    }


def _series(elements: Elements) -> dict[str, Any]:
    laterality = _line(elements, tags.IMAGE_LATERALITY, 16)
    return {
        "series_description": _line(elements, tags.SERIES_DESCRIPTION, 256),
        "series_number": _integer(elements, tags.SERIES_NUMBER),
        "modality": _line(elements, tags.MODALITY, 16).upper(),
        "body_part_examined": body_part(elements),
        "view_position": view_position(elements),
        "laterality": laterality or _line(elements, tags.LATERALITY, 16),
    }


def _patient(elements: Elements) -> PatientIdentity:
    sex = elements.text(tags.PATIENT_SEX).upper()
    return PatientIdentity(
        patient_id=_identifier(elements, tags.PATIENT_ID) or None,
        issuer=_identifier(elements, tags.ISSUER_OF_PATIENT_ID),
        name=parse_name(elements.text(tags.PATIENT_NAME)),
        birth_date=parse_date(elements.text(tags.PATIENT_BIRTH_DATE)),
        sex=sex if sex in ("M", "F", "O") else "",
    )


def _identifier(elements: Elements, tag: int) -> str:
    """Return a complete identifier as it stands: another form is another patient's.

    Raises:
        InvalidInput: It has several values, does not decode, or is too long.
    """
    text = elements.text(tag)
    name = dictionary_description(tag)
    if len(elements.texts(tag)) > 1:
        raise InvalidInput(messages.SEVERAL_IDENTIFIERS, params={"attribute": name})
    if not (elements.is_certain(tag) and text.isprintable()):
        raise InvalidInput(messages.UNREADABLE_IDENTIFIER, params={"attribute": name})
    if len(text) > LONGEST_IDENTIFIER:
        raise InvalidInput(
            messages.LONG_IDENTIFIER,
            params={
                "attribute": dictionary_description(tag),
                "limit": LONGEST_IDENTIFIER,
            },
        )
    return text


def _accession_issuer(elements: Elements) -> str:
    for item in elements.items(tags.ISSUER_OF_ACCESSION_NUMBER):
        for tag in (tags.LOCAL_NAMESPACE_ENTITY_ID, tags.UNIVERSAL_ENTITY_ID):
            if item.text(tag):
                return _identifier(item, tag)
    return ""


def _pixel_spacing(elements: Elements) -> PixelSpacing | None:
    """Return the most meaningful spacing (PS3.3 10.7.1).

    Pixel Spacing equal to Imager Pixel Spacing was not calibrated: it is valid at the
    detector (10.7.1.3).
    """
    patient = _spacing(elements, tags.PIXEL_SPACING)
    imager = _spacing(elements, tags.IMAGER_PIXEL_SPACING)
    nominal = _spacing(elements, tags.NOMINAL_SCANNED_PIXEL_SPACING)
    if patient and patient != imager:
        return PixelSpacing(*patient, "patient")
    if imager:
        return PixelSpacing(*imager, "imager")
    return PixelSpacing(*nominal, "nominal") if nominal else None


def _spacing(elements: Elements, tag: int) -> tuple[float, float] | None:
    values = elements.numbers(tag)[:2]
    if len(values) == 2 and all(0 < value < float("inf") for value in values):
        return float(values[0]), float(values[1])
    return None


def _is_lossy(elements: Elements, transfer_syntax_uid: str) -> bool:
    return (
        elements.text(tags.LOSSY_IMAGE_COMPRESSION) == "01"
        or transfer_syntax_uid in _LOSSY_SYNTAXES
        or transfer_syntax_uid.startswith(_LOSSY_FAMILIES)
    )


def _line(elements: Elements, tag: int, limit: int) -> str:
    return one_line(elements.text(tag), limit)


def _integer(elements: Elements, tag: int) -> int | None:
    value = elements.integer(tag)
    if value is None or abs(value) > _LARGEST_INTEGER:
        return None
    return value
