"""The structure of a DICOM file (PS3.5 section 7), without its values.

`walk` is a loop with a stack of its own, so that no depth of nesting can exhaust the
interpreter's, and everything that reads a dataset (the check, the header, the hashes)
goes through it.
"""

import re
import struct
from collections.abc import Iterator
from enum import Enum
from functools import lru_cache
from typing import NamedTuple, NoReturn

from pydicom.datadict import dictionary_VR

from accounts.errors import InvalidInput
from patients import messages
from patients.dicom.file import LONG_VRS, DicomBytes

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXEL_DATA = 0x7FE00010
PIXEL_DATA_TAGS = frozenset({0x7FE00008, 0x7FE00009, PIXEL_DATA})
# Real objects stay far below: an enhanced CT of 2,000 frames has 100,000 elements,
# structured reports nest about 12 deep.
MAX_ELEMENTS = 300_000
MAX_DEPTH = 48
_ONLY_NULS = re.compile(rb"\0*\Z")
_ONLY_WHITE_SPACE = re.compile(rb"[\0 \r\n\t]*\Z")


class PartKind(Enum):
    """Kinds of parts that `walk` yields."""

    ELEMENT = "element"
    SEQUENCE = "sequence"
    ITEM = "item"
    ITEM_END = "item end"
    SEQUENCE_END = "sequence end"
    FRAGMENTS = "fragments"
    FRAGMENT = "fragment"
    FRAGMENTS_END = "fragments end"


class Part(NamedTuple):
    """One part of a dataset.

    `vr` is what the file says, b"" in Implicit VR; `start` and `length` mark the value
    (of an element, a fragment or a sequence; the latter may be UNDEFINED); `depth`
    counts the sequences around it.
    """

    kind: PartKind
    tag: int
    vr: bytes
    start: int
    length: int
    depth: int


def walk(dicom: DicomBytes) -> Iterator[Part]:
    """Yield the parts of a dataset in the order of the file.

    Raises:
        InvalidInput: truncated_file, damaged_file, or invalid_header (nested deeper, or
            more elements, than real objects have).
    """
    return _Walk(dicom).parts()


@lru_cache(maxsize=4096)
def public_vr(tag: int) -> str:
    """Return the dictionary's VR (PS3.6), "" for private and unknown elements."""
    if tag >> 16 & 1:
        return ""
    try:
        return dictionary_VR(tag)
    except KeyError:
        return ""


class _Level:
    """A dataset (of the file or an item) or a sequence that is being walked."""

    __slots__ = ("end", "implicit", "is_sequence", "limit", "tag")

    def __init__(
        self,
        *,
        tag: int,
        end: int | None,
        limit: int,
        is_sequence: bool,
        implicit: bool,
    ) -> None:
        self.tag = tag
        self.end = end  # None: until its delimiter
        self.limit = limit  # where the innermost explicit length around it ends
        self.is_sequence = is_sequence
        self.implicit = implicit


class _Walk:
    """A walk over one dataset."""

    def __init__(self, dicom: DicomBytes) -> None:
        self.data = dicom.data
        self.pos = dicom.start
        self.size = len(dicom.data)
        order = "<" if dicom.little_endian else ">"
        self.tag_and_length = struct.Struct(f"{order}HHL")
        self.short = struct.Struct(f"{order}H")
        self.long = struct.Struct(f"{order}L")
        self.elements = 0
        self.pixels_seen = False
        self.levels = [
            _Level(
                tag=0,
                end=self.size,
                limit=self.size,
                is_sequence=False,
                implicit=self._looks_implicit(dicom.start, dicom.implicit),
            )
        ]

    def parts(self) -> Iterator[Part]:
        while self.levels:
            level = self.levels[-1]
            if level.end is not None and self.pos >= level.end:
                yield from self._leave()
            elif level.is_sequence:
                yield from self._item(level)
            elif len(self.levels) == 1 and self._only_padding_left():
                return
            else:
                yield from self._element(level)

    @property
    def depth(self) -> int:
        return len(self.levels) // 2

    def _leave(self) -> Iterator[Part]:
        level = self.levels.pop()
        if not self.levels:
            return
        kind = PartKind.SEQUENCE_END if level.is_sequence else PartKind.ITEM_END
        yield Part(kind, level.tag, b"", self.pos, 0, self.depth)

    def _item(self, level: _Level) -> Iterator[Part]:
        """Enter the next item of a sequence, or leave it at its delimiter."""
        tag, length = self._tag_and_length(level)
        if tag == SEQUENCE_END:
            yield from self._leave()
            return
        if tag != ITEM:
            raise InvalidInput(messages.DAMAGED_SEQUENCE)
        self._count()
        end = None if length == UNDEFINED else self._inside(level, length)
        self.levels.append(
            _Level(
                tag=level.tag,
                end=end,
                limit=level.limit if end is None else end,
                is_sequence=False,
                implicit=level.implicit or self._looks_implicit(self.pos, False),
            )
        )
        yield Part(PartKind.ITEM, level.tag, b"", self.pos, length, self.depth)

    def _element(self, level: _Level) -> Iterator[Part]:
        tag, vr, length = self._element_header(level)
        if tag == ITEM_END:
            if level.end is not None:
                raise InvalidInput(messages.DAMAGED_ITEM_END)
            yield from self._leave()
            return
        if tag >> 16 == 0xFFFE:
            raise InvalidInput(messages.DAMAGED_DELIMITER)
        self._count()
        self.pixels_seen |= tag in PIXEL_DATA_TAGS
        if length == UNDEFINED:
            yield from self._undefined_length(level, tag, vr)
            return
        end = self._inside(level, length)
        if self._is_sequence(tag, vr, length):
            yield self._enter_sequence(level, tag, vr, end)
            return
        start, self.pos = self.pos, end
        yield Part(PartKind.ELEMENT, tag, vr, start, length, self.depth)

    def _undefined_length(self, level: _Level, tag: int, vr: bytes) -> Iterator[Part]:
        if tag != PIXEL_DATA and vr in (b"", b"SQ", b"UN"):
            yield self._enter_sequence(level, tag, vr, None)
            return
        # Encapsulated pixels: fragments up to a delimiter (PS3.5 A.4).
        yield Part(PartKind.FRAGMENTS, tag, vr, self.pos, UNDEFINED, self.depth)
        while True:
            item, length = self._tag_and_length(level)
            if item == SEQUENCE_END:
                break
            if item != ITEM or length == UNDEFINED:
                raise InvalidInput(messages.DAMAGED_FRAGMENTS)
            self._count()
            end = self._inside(level, length)
            yield Part(PartKind.FRAGMENT, tag, vr, self.pos, length, self.depth)
            self.pos = end
        yield Part(PartKind.FRAGMENTS_END, tag, vr, self.pos, 0, self.depth)

    def _count(self) -> None:
        """Count elements, items and fragments, and refuse too many."""
        self.elements += 1
        if self.elements > MAX_ELEMENTS:
            raise InvalidInput(
                messages.TOO_MANY_ELEMENTS, params={"limit": MAX_ELEMENTS}
            )

    def _enter_sequence(
        self, level: _Level, tag: int, vr: bytes, end: int | None
    ) -> Part:
        if self.depth >= MAX_DEPTH:
            raise InvalidInput(messages.TOO_DEEP, params={"limit": MAX_DEPTH})
        length = UNDEFINED if end is None else end - self.pos
        part = Part(PartKind.SEQUENCE, tag, vr, self.pos, length, self.depth)
        self.levels.append(
            _Level(
                tag=tag,
                end=end,
                limit=level.limit if end is None else end,
                is_sequence=True,
                # A sequence of VR UN is in Implicit VR (PS3.5 6.2.2).
                implicit=level.implicit or vr == b"UN",
            )
        )
        return part

    def _is_sequence(self, tag: int, vr: bytes, length: int) -> bool:
        if vr == b"SQ":
            return True
        if vr not in (b"", b"UN") or public_vr(tag) != "SQ":
            return False
        return length == 0 or self.data[self.pos : self.pos + 4] == b"\xfe\xff\x00\xe0"

    def _element_header(self, level: _Level) -> tuple[int, bytes, int]:
        """Read tag, VR and length; the position is then at the value (PS3.5 7.1)."""
        tag, length = self._tag_and_length(level)
        if level.implicit or tag >> 16 == 0xFFFE:
            return tag, b"", length
        vr = self.data[self.pos - 4 : self.pos - 2]
        if not b"AA" <= vr <= b"ZZ":
            # Some writers fall back to Implicit VR for single elements.
            return tag, b"", length
        if vr not in LONG_VRS:
            return tag, vr, self.short.unpack_from(self.data, self.pos - 2)[0]
        if self.pos + 4 > level.limit:
            self._beyond(level)
        length = self.long.unpack_from(self.data, self.pos)[0]
        self.pos += 4
        return tag, vr, length

    def _tag_and_length(self, level: _Level) -> tuple[int, int]:
        if self.pos + 8 > level.limit:
            self._beyond(level)
        group, element, length = self.tag_and_length.unpack_from(self.data, self.pos)
        self.pos += 8
        return group << 16 | element, length

    def _inside(self, level: _Level, length: int) -> int:
        """Return the end of a value; refuse one that exceeds what contains it."""
        end = self.pos + length
        if end > level.limit:
            self._beyond(level)
        return end

    def _beyond(self, level: _Level) -> NoReturn:
        if level.limit >= self.size:
            raise InvalidInput(messages.TRUNCATED)
        raise InvalidInput(messages.DAMAGED_LENGTH)

    def _looks_implicit(self, pos: int, declared: bool) -> bool:
        """Detect the encoding by the first VR, since some writers declare another."""
        vr = self.data[pos + 4 : pos + 6]
        if len(vr) < 2:
            return declared
        return not (0x40 < vr[0] < 0x5B and 0x40 < vr[1] < 0x5B)

    def _only_padding_left(self) -> bool:
        """Return whether only padding follows: some writers fill up a block.

        No element begins with NULs alone; white space could be the start of one that
        was cut off, unless the pixels have been seen.
        """
        if self.elements == 0 or self.data[self.pos] not in b"\0 \r\n\t":
            return False
        padding = _ONLY_WHITE_SPACE if self.pixels_seen else _ONLY_NULS
        return padding.match(self.data, self.pos) is not None
