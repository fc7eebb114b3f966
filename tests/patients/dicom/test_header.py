"""Reading DICOM headers; hostile ones are refused or made harmless."""

from __future__ import annotations

import json
import struct
from copy import deepcopy
from datetime import date, time
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from hypothesis import given
from hypothesis import strategies as st
from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    BasicTextSRStorage,
    ComputedRadiographyImageStorage,
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    JPEGBaseline8Bit,
    MediaStorageDirectoryStorage,
    SecondaryCaptureImageStorage,
)

from accounts.errors import InvalidInput
from patients.dicom import json_model
from patients.dicom.header import (
    Header,
    PersonName,
    parse_date,
    parse_time,
    read_header,
)
from tests.dicom_factory import image, image_bytes, jpeg_image, written


def header(**attributes: Any) -> Header:
    return read_header(BytesIO(image_bytes(**attributes)))


def header_of(dataset: Dataset) -> Header:
    return read_header(BytesIO(written(dataset)))


def reason(content: bytes) -> str:
    with pytest.raises(InvalidInput) as refused:
        read_header(BytesIO(content))
    return refused.value.reason_code


def raw(tag: int, vr: str, value: Any) -> DataElement:
    """Return an element that the library would not write by itself."""
    return DataElement(tag, vr, value, validation_mode=config.IGNORE)


def with_raw(tag: int, vr: str, value: Any, **attributes: Any) -> FileDataset:
    dataset = image(**attributes)
    dataset[tag] = raw(tag, vr, value)
    return dataset


def test_identity_and_study_are_read() -> None:
    read = header(
        IssuerOfPatientID="HOSPITAL",
        PatientName="Doe^John^Quincy^Dr^Jr",
        AccessionNumber="A-17",
        TimezoneOffsetFromUTC="+0130",
        StudyDescription="  Chest   PA ",
        ReferringPhysicianName="Grey^Meredith",
    )
    assert read.patient.patient_id == "P-1"
    assert read.patient.issuer == "HOSPITAL"
    assert read.patient.name == PersonName("Doe", "John", "Quincy", "Dr", "Jr")
    assert read.patient.birth_date == date(1970, 1, 31)
    assert read.patient.sex == "M"
    assert (read.study_date, read.study_time) == (date(2024, 2, 29), time(10, 15))
    assert read.timezone_offset == "+0130"
    assert (read.accession_number, read.study_description) == ("A-17", "Chest PA")
    assert read.referring_physician == "Grey^Meredith"
    assert (read.rows, read.columns, read.frames, read.bits_stored) == (64, 48, 1, 12)
    assert read.has_pixels
    assert not read.lossy


def test_absent_and_empty_values_are_none() -> None:
    read = header_of(
        with_raw(0x00100030, "DA", "19701345", PatientID="  ", PatientSex="X")
    )
    assert read.patient.patient_id is None
    assert read.patient.birth_date is None
    assert read.patient.sex == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20240229", date(2024, 2, 29)),
        ("2024.02.29", date(2024, 2, 29)),
        ("20230229", None),
        ("00000000", None),
        ("2024", None),
        ("yesterday", None),
        ("٢٠٢٤٠٢٢٩", date(2024, 2, 29)),
    ],
)
def test_dates_are_parsed_or_none(text: str, expected: date | None) -> None:
    assert parse_date(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("101530.25", time(10, 15, 30, 250_000)),
        ("10", time(10)),
        ("1015", time(10, 15)),
        ("10:15:30", time(10, 15, 30)),
        ("235960", time(23, 59, 59)),
        ("250000", None),
        ("1", None),
        ("", None),
    ],
)
def test_times_are_parsed_or_none(text: str, expected: time | None) -> None:
    assert parse_time(text) == expected


def test_names_in_three_scripts_are_read() -> None:
    """PS3.5 H.3.2, an example of the standard."""
    name = (
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B="
        b"\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"
    )
    dataset = image(SpecificCharacterSet=["", "ISO 2022 IR 87"])
    content = written(dataset)
    at = content.index(b"\x10\0\x10\0PN")
    old = b"\x10\0\x10\0PN" + struct.pack("<H", 8) + b"Doe^John"
    name += b" " * (len(name) % 2)
    new = b"\x10\0\x10\0PN" + struct.pack("<H", len(name)) + name
    assert content[at:].startswith(old)
    read = read_header(BytesIO(content.replace(old, new)))
    assert read.patient.name == PersonName(
        "Yamada", "Tarou", ideographic="山田 太郎", phonetic="やまだ たろう"
    )


@pytest.mark.parametrize(
    ("character_set", "value", "expected"),
    [
        ("ISO_IR 100", "Müller".encode("latin_1"), "Müller"),
        ("ISO_IR 192", "Müller".encode(), "Müller"),
        ("GB18030", "王".encode("gb18030"), "王"),
        ("ISO_IR 192", b"M\xfcller", "M�ller"),
        ("NO SUCH SET", b"M\xfcller", "Müller"),
        ("", b"A\x1b$Zq", "A�$Zq"),
        ("ISO_IR 6", b"A\0B", "A�B"),
    ],
)
def test_valid_and_broken_character_sets_are_decoded(
    character_set: str, value: bytes, expected: str
) -> None:
    value += b" " * (len(value) % 2)
    content = image_bytes(PatientName="Doe^John")
    element = b"\x10\0\x10\0PN" + struct.pack("<H", len(value)) + value
    content = content.replace(b"\x10\0\x10\0PN\x08\0Doe^John", element)
    term = character_set.encode() + b" " * (len(character_set) % 2)
    charset = b"\x08\0\x05\0CS" + struct.pack("<H", len(term)) + term
    at = content.index(b"\x08\0\x16\0UI")
    read = read_header(BytesIO(content[:at] + charset + content[at:]))
    assert read.patient.name.family == expected


def test_postgresql_accepts_the_header_json() -> None:
    dataset = image(
        WindowCenter="2048", SpecificCharacterSet="ISO_IR 192", PatientComments="a\0b"
    )
    dataset.add(raw(0x00281053, "DS", "NaN"))
    dataset.add(raw(0x00281052, "DS", "1e999"))
    dataset.add_new(0x00189073, "FD", float("inf"))
    dataset.add_new(0x00720076, "FL", [1.5, float("nan")])
    dataset.InstanceNumber = 999999
    read = read_header(BytesIO(written(dataset).replace(b"999999", b"twelve")))
    text = json.dumps(read.json, allow_nan=False)
    assert "\\u0000" not in text
    assert read.json["00281053"] == {"vr": "DS", "Value": ["NaN"]}
    assert read.json["00281052"] == {"vr": "DS", "Value": ["1e999"]}
    assert read.json["00189073"] == {"vr": "FD", "Value": ["inf"]}
    assert read.json["00720076"] == {"vr": "FL", "Value": [1.5, "nan"]}
    assert read.json["00200013"] == {"vr": "IS", "Value": ["twelve"]}
    assert read.json["00281050"] == {"vr": "DS", "Value": [2048.0]}
    assert read.json["00100010"]["Value"] == [{"Alphabetic": "Doe^John"}]
    assert read.json["7FE00010"] == {"vr": "OW", "length": 64 * 48 * 2}
    assert read.instance_number is None


def test_the_header_json_contains_sequences() -> None:
    dataset, item = image(), Dataset()
    item.CodeMeaning, item.CodeValue = "Chest", "T-D3000"
    dataset.AnatomicRegionSequence = Sequence([item])
    assert header_of(dataset).json["00082218"] == {
        "vr": "SQ",
        "Value": [
            {
                "00080100": {"vr": "SH", "Value": ["T-D3000"]},
                "00080104": {"vr": "LO", "Value": ["Chest"]},
            }
        ],
    }


def test_the_header_json_has_a_size_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_model, "_MAX_ELEMENTS", 200)
    dataset = image()
    block = dataset.private_block(0x0029, "HOSTILE", create=True)
    for number in range(100):
        block.add_new(number, "UT", "x" * 60_000)
    item = Dataset()
    item.CodeValue = "1"
    dataset.ContentSequence = Sequence([deepcopy(item) for _ in range(300)])
    read = header_of(dataset)
    assert len(json.dumps(read.json)) <= settings.HEADER_JSON_LIMIT_BYTES
    assert read.json["00100020"] == {"vr": "LO", "Value": ["P-1"]}
    assert {"vr": "UT", "length": 60_000} in read.json.values()
    assert read.json["0040A730"] == {"vr": "SQ", "items": 300}


@pytest.mark.slow
@given(name=st.text(max_size=40), data=st.binary(max_size=60))
def test_any_text_can_be_read_from_a_header(name: str, data: bytes) -> None:
    """Whatever stands in a name or in any bytes: a header, or a refusal."""
    value = (name.encode("utf-8", "surrogatepass") + data)[:200]
    value += b" " * (len(value) % 2)
    element = b"\x10\0\x10\0PN" + struct.pack("<H", len(value)) + value
    content = IMAGE.replace(b"\x10\0\x10\0PN\x08\0Doe^John", element)
    read = read_header(BytesIO(content))
    text = json.dumps(read.json, allow_nan=False)
    assert "\\u0000" not in text
    assert not any("\ud800" <= c <= "\udfff" for c in json.loads(text) and text)
    for part in (read.patient.name.family, read.patient.name.ideographic):
        part.encode("utf-8")
        assert "\0" not in part


IMAGE = image_bytes(SpecificCharacterSet="ISO_IR 192")


@pytest.mark.parametrize(
    "keyword",
    ["SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID"],
)
def test_missing_uids_are_refused(keyword: str) -> None:
    content = written_without(keyword)
    assert reason(content) == "missing_uids"


def written_without(keyword: str) -> bytes:
    """Write an image whose file meta still names what the dataset lacks."""
    dataset = image()
    whole = written(dataset)
    element = dataset[keyword]
    value = element.value.encode() + b"\0" * (len(element.value) % 2)
    tag = struct.pack("<HH", element.tag.group, element.tag.element)
    encoded = tag + b"UI" + struct.pack("<H", len(value)) + value
    assert encoded in whole
    return whole.replace(encoded, tag + b"UI\0\0")


def test_an_invalid_uid_is_refused() -> None:
    dataset = image()
    dataset[0x0020000D] = raw(0x0020000D, "UI", "1.2.<script>")
    assert reason(written(dataset)) == "invalid_header"


@pytest.mark.parametrize(
    "sop_class",
    [
        BasicTextSRStorage,
        EncapsulatedPDFStorage,
        GrayscaleSoftcopyPresentationStateStorage,
        ComputedRadiographyImageStorage,
    ],
)
def test_objects_without_pixels_are_read(sop_class: str) -> None:
    dataset = image(SOPClassUID=sop_class, Modality="SR")
    del dataset.PixelData
    read = header_of(dataset)
    assert not read.has_pixels
    assert (read.rows, read.columns, read.frames, read.bits_stored) == (None,) * 4


def test_objects_of_unsupported_classes_are_refused() -> None:
    dataset = image(SOPClassUID=MediaStorageDirectoryStorage)
    assert reason(written(dataset)) == "unsupported_sop_class"


def test_sizes_are_checked_before_anything_is_decoded() -> None:
    """The size is the header's: nothing has that many pixels behind it."""
    huge = image(SOPClassUID=SecondaryCaptureImageStorage, Rows=60_000, Columns=60_000)
    assert reason(written(huge)) == "too_many_pixels"
    assert reason(image_bytes(Rows=0)) == "no_pixels"
    assert reason(written(with_raw(0x00280008, "IS", "-1"))) == "invalid_header"


def test_impossible_bit_depths_are_refused() -> None:
    dataset = with_raw(0x00280101, "SS", -12)
    assert reason(written(dataset)) == "invalid_header"


def test_a_long_identifier_is_refused_and_not_truncated() -> None:
    dataset = with_raw(0x00100020, "LO", "7" * 65)
    assert reason(written(dataset)) == "invalid_header"
    dataset = with_raw(0x00081030, "LO", "d" * 400)
    assert header_of(dataset).study_description == "d" * 256


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"PixelSpacing": [0.2, 0.3]}, (0.2, 0.3, "patient")),
        (
            {"PixelSpacing": [0.2, 0.3], "ImagerPixelSpacing": [0.25, 0.35]},
            (0.2, 0.3, "patient"),
        ),
        (
            {"PixelSpacing": [0.2, 0.2], "ImagerPixelSpacing": [0.2, 0.2]},
            (0.2, 0.2, "imager"),
        ),
        ({"NominalScannedPixelSpacing": [0.1, 0.1]}, (0.1, 0.1, "nominal")),
        ({"PixelSpacing": [0, 0]}, None),
        ({"PixelSpacing": [0.2, -1]}, None),
        ({}, None),
    ],
)
def test_pixel_spacing_has_the_kind_of_its_source(
    attributes: dict[str, Any], expected: tuple[float, float, str] | None
) -> None:
    spacing = header(**attributes).pixel_spacing
    values = spacing and (spacing.row_mm, spacing.column_mm, spacing.kind)
    assert values == expected


@pytest.mark.parametrize(
    ("attributes", "view"),
    [
        ({"ViewPosition": "AP"}, "AP"),
        ({"ViewPosition": "", "SeriesDescription": "Chest p.a."}, "PA"),
        ({"ViewPosition": None, "SeriesDescription": "THORAX PA"}, "PA"),
        ({"ViewPosition": None, "SeriesDescription": "view: PA"}, "PA"),
        ({"ViewPosition": None, "SeriesDescription": "CHEST LATERAL"}, "LATERAL"),
        ({"ViewPosition": None, "SeriesDescription": "Left lateral"}, "LL"),
        ({"ViewPosition": None, "SeriesDescription": "CHEST PA + LAT"}, ""),
        ({"ViewPosition": None, "SeriesDescription": "SPAPA"}, ""),
        ({"ViewPosition": None, "ProtocolName": "Chest_AP"}, "AP"),
    ],
)
def test_views_are_read_from_any_of_their_attributes(
    attributes: dict[str, Any], view: str
) -> None:
    assert header(**attributes).view_position == view


def test_coded_views_and_regions_are_read() -> None:
    dataset = image(ViewPosition=None, BodyPartExamined=None)
    view, region = Dataset(), Dataset()
    view.CodeMeaning, region.CodeMeaning = "postero-anterior", "Chest"
    dataset.ViewCodeSequence = Sequence([view])
    dataset.AnatomicRegionSequence = Sequence([region])
    read = header_of(dataset)
    assert (read.view_position, read.body_part_examined) == ("PA", "CHEST")


def test_the_issuer_of_the_accession_number_is_read() -> None:
    dataset, issuer = image(AccessionNumber="A1"), Dataset()
    issuer.LocalNamespaceEntityID = "RIS"
    dataset.IssuerOfAccessionNumberSequence = Sequence([issuer])
    assert header_of(dataset).accession_issuer == "RIS"


def test_lossy_compression_is_recognised_by_syntax_or_header() -> None:
    assert header(LossyImageCompression="01").lossy
    eight = image(BitsAllocated=8, BitsStored=8, HighBit=7)
    eight.PixelData = eight.PixelData[: 64 * 48]
    read = read_header(BytesIO(jpeg_image(eight)))
    assert read.transfer_syntax_uid == JPEGBaseline8Bit
    assert read.lossy


def twice(element: bytes, other: bytes) -> bytes:
    """Return an image in which another element follows this one."""
    content = image_bytes()
    assert element in content
    return content.replace(element, element + other)


PATIENT_ID = b"\x10\0\x20\0LO\x04\0P-1 "
ROWS = b"\x28\0\x10\0US\x02\0\x40\0"


@pytest.mark.parametrize(
    ("element", "other", "attribute"),
    [
        (PATIENT_ID, b"\x10\0\x20\0LO\x04\0P-2 ", "Patient ID"),
        (ROWS, b"\x28\0\x10\0US\x02\0\x20\0", "Rows"),
    ],
)
def test_two_elements_with_one_tag_and_other_values_are_refused(
    element: bytes, other: bytes, attribute: str
) -> None:
    with pytest.raises(InvalidInput, match=attribute):
        read_header(BytesIO(twice(element, other)))


def test_two_equal_elements_with_one_tag_are_one() -> None:
    content = twice(PATIENT_ID, PATIENT_ID)
    assert read_header(BytesIO(content)).patient.patient_id == "P-1"


def with_bytes(tag: bytes, vr: bytes, value: bytes, charset: bytes = b"") -> bytes:
    """Return an image whose element has these bytes, with this character set."""
    value += b" " * (len(value) % 2)
    content = image_bytes(PatientID=None, PatientName=None)
    at = content.index(b"\x10\0\x30\0DA")
    content = (
        content[:at] + tag + vr + struct.pack("<H", len(value)) + value + content[at:]
    )
    if charset:
        charset += b" " * (len(charset) % 2)
        at = content.index(b"\x08\0\x16\0UI")
        head = b"\x08\0\x05\0CS" + struct.pack("<H", len(charset)) + charset
        content = content[:at] + head + content[at:]
    return content


def id_of(value: bytes, charset: bytes = b"") -> str | None:
    content = with_bytes(b"\x10\0\x20\0", b"LO", value, charset)
    return read_header(BytesIO(content)).patient.patient_id


@pytest.mark.parametrize(
    ("value", "charset", "expected"),
    [
        (b"  A  B ", b"", "A  B"),
        (b"a-1\0", b"", "a-1"),
        (b"\xc4-1", b"ISO_IR 100", "Ä-1"),
        ("Ä-1".encode(), b"ISO_IR 192", "Ä-1"),
        ("\uff21".encode(), b"ISO_IR 192", "\uff21"),
        (b"\x83\x5c-1", b"ISO_IR 13", None),
    ],
)
def test_an_identifier_is_its_decoded_text_without_blanks_at_its_ends(
    value: bytes, charset: bytes, expected: str | None
) -> None:
    if expected is None:
        # In Shift JIS, the second byte of a character may be a backslash.
        assert id_of(value, charset) == value.decode("shift_jis").strip()
    else:
        assert id_of(value, charset) == expected


@pytest.mark.parametrize(
    ("value", "charset"),
    [
        (b"\xc4-1", b""),
        ("Ä-1".encode(), b""),
        (b"\xff\xfe-1", b"ISO_IR 192"),
        (b"\xc4-1", b"ISO_IR 9999"),
        (b"A\t1", b""),
        (b"A\r\n1", b""),
        (b"P-1\\P-2", b""),
    ],
)
def test_an_identifier_that_does_not_decode_or_has_two_values_is_refused(
    value: bytes, charset: bytes
) -> None:
    with pytest.raises(InvalidInput, match="Patient ID"):
        id_of(value, charset)


@pytest.mark.parametrize("keyword", ["AccessionNumber", "IssuerOfPatientID"])
def test_other_identifiers_with_two_values_are_refused(keyword: str) -> None:
    with pytest.raises(InvalidInput, match="several values"):
        read_header(BytesIO(image_bytes(**{keyword: ["A", "B"]})))


@pytest.mark.parametrize(
    ("value", "charset", "family", "certain"),
    [
        (b"Doe^J", b"", "Doe", True),
        ("Müller^J".encode(), b"", "Müller", False),
        (b"M\xfcller^J", b"ISO_IR 100", "Müller", True),
        (b"M\xfcller^J", b"", "Müller", False),
        (b"M\xfcller^J", b"ISO_IR 192", "M\ufffdller", False),
        (b"M\xfcller^J", b"NONSENSE", "Müller", False),
    ],
)
def test_a_name_is_kept_and_marked_where_its_characters_are_a_guess(
    value: bytes, charset: bytes, family: str, certain: bool
) -> None:
    header = read_header(BytesIO(with_bytes(b"\x10\0\x10\0", b"PN", value, charset)))
    assert header.patient.name.family == family
    assert header.name_is_certain is certain


def test_a_large_private_value_is_kept_by_its_length_only() -> None:
    dataset = image()
    block = dataset.private_block(0x0029, "BIG", create=True)
    block.add_new(1, "OB", bytes(5_000_000))
    read = header_of(dataset)
    assert read.json["00291001"] == {"vr": "OB", "length": 5_000_000}


def test_real_headers_are_read(chestx_data: Path) -> None:
    """What the samples' own headers say, as a person read it out of them."""
    folder = chestx_data / "samples" / "dicom"
    with (folder / "cr_chest_pa_monochrome1_16bit_jpeg2000.dcm").open("rb") as file:
        philips = read_header(file)
    assert philips.patient.patient_id == "9RG1"
    assert philips.patient.name == PersonName("CompressedSamples", "RG1")
    assert philips.patient.birth_date == date(1940, 3, 5)
    assert (philips.rows, philips.columns) == (1955, 1841)
    assert philips.photometric_interpretation == "MONOCHROME1"
    assert (philips.modality, philips.view_position) == ("CR", "PA")
    assert philips.pixel_spacing is None  # it says 0.000
    assert philips.lossy
    with (folder / "sc_rgb_2frame.dcm").open("rb") as file:
        frames = read_header(file)
    assert (frames.frames, frames.photometric_interpretation) == (2, "RGB")
    assert frames.body_part_examined == ""
