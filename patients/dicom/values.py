"""The values of a DICOM header, converted one at a time and only when needed.

A tree of elements over `patients.dicom.structure.walk`: a value is converted only when
it is read, and no value raises. Binary numbers and tags are converted by pydicom.
`pydicom.values.convert_value` is not used: where a value does not fit its VR, it tries
other VRs and returns what the first of them makes of it. See
tests/patients/dicom/test_pydicom_limits.py.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR
from pydicom.values import convert_numbers, convert_tag, converters

from patients.dicom.file import DicomBytes
from patients.dicom.structure import (
    PIXEL_DATA_TAGS,
    UNDEFINED,
    Part,
    PartKind,
    public_vr,
    walk,
)
from patients.dicom.text import (
    REPLACEMENT,
    clean,
    decode_text,
    encodings_of,
    is_known,
    is_utf_8,
)

SPECIFIC_CHARACTER_SET = 0x00080005
BINARY_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
TEXT_VRS = frozenset(
    {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM"}
    | {"UC", "UI", "UR", "UT"}
)
# These have one value, with or without backslashes (PS3.5 6.4).
_SINGLE_TEXT_VRS = frozenset({"LT", "ST", "UR", "UT"})
# The `struct` format of one number of each binary VR, as pydicom has it.
_NUMBER_FORMATS: dict[str, str] = {
    vr: converter[1]
    for vr, converter in converters.items()
    if isinstance(converter, tuple) and converter[0] is convert_numbers
}
_AMBIGUOUS = {"OB or OW": "OW", "US or OW": "OW", "US or SS or OW": "OW"}
# Longer numbers are no IS or DS (PS3.5 table 6.2-1 allows 12 and 16).
_LONGEST_NUMBER = 32
PIXEL_REPRESENTATION = 0x00280103

Number = int | float


@dataclass
class Element:
    """One element: its VR (of the dictionary if the file has none) and its value.

    `items` are those of a sequence; `length` counts the bytes of any other value.
    """

    tag: int
    vr: str
    length: int
    start: int = 0
    items: list["Elements"] = field(default_factory=list)


class Elements:
    """The elements of a dataset: of the file, or of an item of a sequence."""

    def __init__(self, dicom: DicomBytes, parent: "Elements | None" = None) -> None:
        self._dicom = dicom
        self._parent = parent
        self._by_tag: dict[int, Element] = {}
        self._repeated: list[Element] = []

    def __contains__(self, tag: int) -> bool:
        return tag in self._by_tag

    def __iter__(self) -> Iterator[Element]:
        """Iterate over the elements by ascending tag."""
        return iter(sorted(self._by_tag.values(), key=lambda e: e.tag))

    def add(self, element: Element) -> None:
        """Add an element; of two with the same tag the first is kept."""
        if self._by_tag.setdefault(element.tag, element) is not element:
            self._repeated.append(element)

    def contradictions(self) -> list[int]:
        """Return the public tags that stand here more than once with other values.

        An element occurs at most once in a dataset (PS3.5 7.1).
        """
        return sorted(
            {
                element.tag
                for element in self._repeated
                if not element.tag >> 16 & 1
                and self._bytes(element) != self._bytes(self._by_tag[element.tag])
            }
        )

    def raw(self, tag: int) -> bytes:
        """Return the bytes of a value, b"" if there is none."""
        element = self._by_tag.get(tag)
        if element is None or element.vr == "SQ":
            return b""
        return self._bytes(element)

    def declares_character_set(self) -> bool:
        """Return whether Specific Character Set (0008,0005) has a known value."""
        return any(
            is_known(term) for term in self.raw(SPECIFIC_CHARACTER_SET).split(b"\\")
        )

    def is_certain(self, tag: int) -> bool:
        """Return whether the characters of a text are known without a guess.

        ASCII is, and what the declared character set defines.
        """
        raw = self.raw(tag)
        if raw.isascii() and b"\x1b" not in raw:
            return True
        escaped = b"\x1b" in raw
        return (escaped or self.declares_character_set()) and (
            REPLACEMENT not in self.text(tag)
        )

    def _bytes(self, element: Element) -> bytes:
        return self._dicom.data[element.start : element.start + element.length]

    def texts(self, tag: int) -> list[str]:
        """Return the values of a text element, cleaned; [] where there are none."""
        element = self._by_tag.get(tag)
        if element is None or element.vr not in TEXT_VRS | {"UN"}:
            return []
        raw, encodings = self.raw(tag), self._encodings()
        if element.vr not in CUSTOMIZABLE_CHARSET_VR:
            encodings = []
        elif not encodings and is_utf_8(raw):
            encodings = ["utf_8"]  # written by systems that declare nothing
        value = decode_text(raw, encodings, person_name=element.vr == "PN")
        value = clean(value.rstrip("\0 ").replace("\r\n", "\n"))
        if not value:
            return []
        if element.vr in _SINGLE_TEXT_VRS:
            return [value]
        return [part.strip(" ") for part in value.split("\\")]

    def text(self, tag: int) -> str:
        """Return a text; several values are joined by backslashes."""
        return "\\".join(self.texts(tag)).strip()

    def numbers(self, tag: int) -> list[Number]:
        """Return the values of a number element, NaN for text that is no number."""
        element = self._by_tag.get(tag)
        if element is None:
            return []
        if element.vr in ("DS", "IS"):
            return [to_number(text, element.vr) for text in self.texts(tag)]
        number_format = _NUMBER_FORMATS.get(self._settled(element.vr))
        if number_format is None:
            return []
        raw = self.raw(tag)
        # An incomplete last number is left out; pydicom would raise.
        whole = len(raw) - len(raw) % struct.calcsize(f"={number_format}")
        numbers = convert_numbers(raw[:whole], self._dicom.little_endian, number_format)
        if isinstance(numbers, str):
            return []  # pydicom's empty value
        return [numbers] if isinstance(numbers, int | float) else list(numbers)

    def number(self, tag: int) -> Number | None:
        """Return the first value of a number element if it is finite."""
        values = self.numbers(tag)
        return values[0] if values and math.isfinite(values[0]) else None

    def integer(self, tag: int) -> int | None:
        """Return the first value of a number element if it is whole."""
        value = self.number(tag)
        return int(value) if value is not None and value == int(value) else None

    def tags(self, tag: int) -> list[str]:
        """Return the values of an AT element as hexadecimal (PS3.18 F.2.2)."""
        raw = self.raw(tag)
        return [
            f"{convert_tag(raw, self._dicom.little_endian, start):08X}"
            for start in range(0, len(raw) // 4 * 4, 4)
        ]

    def items(self, tag: int) -> list["Elements"]:
        """Return the items of a sequence, [] where there are none."""
        element = self._by_tag.get(tag)
        return element.items if element else []

    def vr(self, element: Element) -> str:
        """Return the VR of a value where the dictionary leaves a choice."""
        return self._settled(element.vr)

    def _settled(self, vr: str) -> str:
        if vr == "US or SS":
            return "SS" if self.integer(PIXEL_REPRESENTATION) == 1 else "US"
        return _AMBIGUOUS.get(vr, vr)

    def _encodings(self) -> list[str]:
        declared = self.raw(SPECIFIC_CHARACTER_SET)
        if declared.strip(b" \0"):
            return encodings_of(declared)
        return self._parent._encodings() if self._parent else []


def read_elements(dicom: DicomBytes) -> Elements:
    """Build the tree of a dataset, up to the end of the file.

    Raises:
        InvalidInput: As `patients.dicom.structure.walk`.
    """
    top = Elements(dicom)
    datasets, sequences = [top], []
    for part in walk(dicom):
        if part.kind is PartKind.ELEMENT or part.kind is PartKind.FRAGMENTS:
            datasets[-1].add(_element(part))
        elif part.kind is PartKind.SEQUENCE:
            sequences.append(Element(part.tag, "SQ", part.length, part.start))
            datasets[-1].add(sequences[-1])
        elif part.kind is PartKind.ITEM:
            datasets.append(Elements(dicom, datasets[-1]))
            sequences[-1].items.append(datasets[-1])
        elif part.kind is PartKind.ITEM_END:
            datasets.pop()
        elif part.kind is PartKind.SEQUENCE_END:
            sequences.pop()
    return top


def to_number(text: str, vr: str) -> Number:
    """Convert one value of VR IS or DS, to NaN where it is no number."""
    text = text.strip()
    if len(text) > _LONGEST_NUMBER:
        return math.nan
    try:
        return int(text) if vr == "IS" else float(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return math.nan


def _element(part: Part) -> Element:
    stated = part.vr.decode("ascii", "replace")
    known = stated in TEXT_VRS | BINARY_VRS | {"AT"} or stated in _NUMBER_FORMATS
    vr = stated if known and stated != "UN" else public_vr(part.tag) or "UN"
    if part.tag in PIXEL_DATA_TAGS and part.length == UNDEFINED:
        return Element(part.tag, "OB", 0, part.start)
    return Element(
        part.tag, vr, 0 if part.length == UNDEFINED else part.length, part.start
    )
