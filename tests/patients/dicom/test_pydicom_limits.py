"""Why parts of the header are not read by pydicom: what it does, and what we need."""

import json
import math
import warnings
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.dataelem import RawDataElement
from pydicom.errors import BytesLengthException
from pydicom.tag import Tag
from pydicom.valuerep import TM
from pydicom.values import convert_text, convert_value

from patients.dicom.file import open_dicom
from patients.dicom.header import parse_time, read_header
from patients.dicom.text import clean, decode_text, encodings_of
from patients.dicom.values import Elements, read_elements
from tests.dicom_factory import image, image_bytes, written

RESCALE_SLOPE, ROWS, COMMENTS = 0x00281053, 0x00280010, 0x00104000


def with_value(tag: int, vr: bytes, value: bytes) -> bytes:
    """Return an image file with an element that pydicom would not write."""
    content = image_bytes(Rows=None) if tag == ROWS else image_bytes()
    with open_dicom(BytesIO(content)) as dicom:
        start = dicom.start
    element = tag.to_bytes(4, "little")
    element = element[2:] + element[:2] + vr + len(value).to_bytes(2, "little") + value
    return content[:start] + element + content[start:]


def elements_of(content: bytes) -> Elements:
    with open_dicom(BytesIO(content)) as dicom:
        return read_elements(dicom)


def raw(tag: int, vr: str, value: bytes) -> RawDataElement:
    return RawDataElement(Tag(tag), vr, len(value), value, 0, False, True)


def test_pydicom_guesses_another_vr_for_a_value_that_does_not_fit() -> None:
    assert convert_value("DS", raw(RESCALE_SLOPE, "DS", b"0,25")) == "0,25"
    slope = elements_of(with_value(RESCALE_SLOPE, b"DS", b"0,25"))
    assert math.isnan(slope.numbers(RESCALE_SLOPE)[0])
    assert slope.number(RESCALE_SLOPE) is None


def test_pydicom_raises_for_a_number_that_is_cut_off() -> None:
    with pytest.raises(BytesLengthException):
        convert_value("US", raw(ROWS, "US", b"AB\0"))
    assert elements_of(with_value(ROWS, b"US", b"AB\0")).numbers(ROWS) == [0x4241]


def test_pydicom_fails_the_whole_json_for_one_bad_value() -> None:
    content = with_value(RESCALE_SLOPE, b"DS", b"0,25")
    with pytest.raises(ValueError, match="convert"):
        dcmread(BytesIO(content)).to_json_dict()
    model = read_header(BytesIO(content)).json
    assert model["00281053"] == {"vr": "DS", "Value": ["0,25"]}
    assert model["00100020"]["Value"] == ["P-1"]


def test_pydicom_keeps_nan_in_its_json() -> None:
    dataset = image()
    dataset.add_new(0x00189313, "FD", [math.nan, 1.0, 2.0])
    of_pydicom = {k: v for k, v in dataset.to_json_dict().items() if k == "00189313"}
    with pytest.raises(ValueError, match="not JSON compliant"):
        json.dumps(of_pydicom, allow_nan=False)
    model = read_header(BytesIO(written(dataset))).json
    json.dumps(model, allow_nan=False)


def test_pydicom_raises_for_a_character_set_with_a_nul() -> None:
    with pytest.raises(ValueError, match="null character"):
        convert_encodings(["\0"])
    assert encodings_of(b"a\0b") == ["latin_1"]


@pytest.mark.parametrize("codec", ["hex", "zlib", "punycode", "unicode_escape"])
def test_pydicom_takes_any_python_codec_for_a_character_set(codec: str) -> None:
    assert convert_encodings([codec]) == [codec]
    assert encodings_of(codec.encode()) == ["latin_1"]


def test_pydicom_raises_for_an_escape_sequence_in_such_a_character_set() -> None:
    with pytest.raises(LookupError):
        decode_bytes(b"a\x1b$)C\xfb\xf3", ["hex"], set())
    assert decode_text(b"a\x1b$)C\xfb\xf3", encodings_of(b"hex")) == "a洪"


def test_pydicom_warns_once_for_each_value_it_cannot_decode() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            decode_bytes(b"\xff", ["utf_8"], set())
    assert len(caught) == 3
    assert decode_text(b"\xff", ["utf_8"]) == "\ufffd"


def test_pydicom_does_not_decode_an_undeclared_escape_sequence() -> None:
    name = b"\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7"
    with pytest.warns(UserWarning, match="unknown escape"):
        assert decode_bytes(name, ["iso8859"], set()).startswith("\x1b$)C")
    assert decode_text(name, [], person_name=True) == "洪^吉洞"


def test_pydicom_leaves_the_escape_sequence_of_simplified_chinese_in_the_text() -> None:
    name, encodings = b"\x1b$)A\xcd\xf5", ["iso8859", "iso_ir_58"]
    assert decode_bytes(name, encodings, set()) == "\x1b$)A王"
    assert decode_text(name, encodings) == "王"


def test_pydicom_keeps_a_nul_that_postgresql_refuses() -> None:
    assert "\0" in convert_text(b"a\0b", ["utf_8"])
    content = with_value(COMMENTS, b"LT", b"a\0b ")
    assert elements_of(content).text(COMMENTS) == clean("a\0b") == "a\ufffdb"


def test_pydicom_warns_of_a_leap_second() -> None:
    with pytest.warns(UserWarning, match="60"):
        TM("235960")
    assert str(parse_time("235960")) == "23:59:59"


def test_after_a_delimiter_the_first_character_set_holds_again() -> None:
    """PS3.5 6.1.2.5.3; pydicom does the same."""
    name = b"\x1b-L\xb8\xd2\xd0\xdd^M\xfcller"
    encodings = encodings_of(b"ISO 2022 IR 100\\ISO 2022 IR 144")
    expected = "Иван^Müller"
    assert decode_bytes(name, encodings, {ord("^")}) == expected
    assert decode_text(name, encodings, person_name=True) == expected
