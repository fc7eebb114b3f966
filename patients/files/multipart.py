"""Read a multipart/form-data body (RFC 7578) part by part; nothing is left out.

Django's parser drops a part whose header it cannot read, takes a body that was cut off
for a whole one, replaces bytes of a field that do not decode, and ends a part at a
boundary inside its content. Here each part is a file or a field, or the body is
malformed.
"""

import binascii
import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message as Header
from email.utils import collapse_rfc2231_value

# Names of files may be long, and RFC 2231 makes them three times as long.
MAX_HEADER_BYTES = 16 * 1024
# What RFC 2046, 5.1.1 lets stand before the first and after the last part.
MAX_OUTSIDE_BYTES = 64 * 1024
_LINE_END = re.compile(rb"[ \t]{0,128}\r\n")
_BLANKS = re.compile(rb"[ \t]{0,128}\r?")
_FILE_TYPES = ("image/", "application/dicom", "application/octet-stream")
_PLAIN_ENCODINGS = frozenset({"", "7bit", "8bit", "binary"})
_QUOTED_LINE_BYTES = 64 * 1024


class MalformedBodyError(ValueError):
    """The body is not a form; the sentence says where."""


class IncompleteBodyError(MalformedBodyError):
    """The body ends before its closing boundary."""


@dataclass(frozen=True)
class Part:
    """The header of a part.

    Attributes:
        name: Of the form field; "" if the part has none.
        file_name: As sent, with folders; None for a field.
        content_type: Without parameters, in lower case; "" if it is not stated.
        charset: Stated for this part; "" if it is not.
        transfer_encoding: In lower case; "" if it is not stated.
    """

    name: str
    file_name: str | None
    content_type: str = ""
    charset: str = ""
    transfer_encoding: str = ""

    @property
    def is_file(self) -> bool:
        """Whether it is a file: it has a file name, or the type of an image."""
        return self.file_name is not None or self.content_type.startswith(_FILE_TYPES)


@dataclass
class MultipartReader:
    """The parts of a body, in the order sent: iterate, and read each part at once.

    Args:
        read: Reads up to so many bytes; b"" at the end.
        boundary: Of the header Content-Type.
        chunk_size: How many bytes to read at once.
    """

    read: Callable[[int], bytes]
    boundary: bytes
    chunk_size: int
    _buffer: bytes = field(default=b"\r\n", init=False)
    _ended: bool = field(default=False, init=False)
    _closed: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._delimiter = b"\r\n--" + self.boundary

    def __iter__(self) -> Iterator[tuple[Part, Iterator[bytes]]]:
        """Yield each part with its decoded content, in chunks.

        Raises:
            IncompleteBodyError: There is no closing boundary.
            MalformedBodyError: A part has no readable header or content, or lies
                outside of the boundaries.
        """
        _refuse_parts_in(self._to_delimiter())
        while not self._closed:
            part = _part_of(self._header())
            content = self._content()
            yield part, _decoded(content, part.transfer_encoding)
            for _rest in content:
                pass
        _refuse_parts_in(self._to_end())

    def _fill(self) -> bool:
        """Read on; return whether there was more."""
        if not self._ended:
            more = self.read(self.chunk_size)
            self._ended = not more
            self._buffer += more
        return not self._ended

    def _header(self) -> bytes:
        """Read the lines of a header, and leave the line end before the content."""
        while not (self._buffer.startswith(b"\r\n") or b"\r\n\r\n" in self._buffer):
            if len(self._buffer) > MAX_HEADER_BYTES:
                break
            if not self._fill():
                raise IncompleteBodyError("the body ends inside the header of a part")
        if self._buffer.startswith(b"\r\n"):
            return b""
        end = self._buffer.find(b"\r\n\r\n")
        header = self._buffer[: max(end, 0)]
        if not 0 <= end <= MAX_HEADER_BYTES or self._delimiter in header:
            raise MalformedBodyError("the header of a part has no end")
        self._buffer = self._buffer[end + 2 :]
        return header

    def _content(self) -> Iterator[bytes]:
        """Yield the content of a part, which begins after a line end."""
        while len(self._buffer) < len(self._delimiter) and self._fill():
            pass
        if not self._buffer.startswith(self._delimiter):
            self._buffer = self._buffer[2:]
        return self._to_delimiter()

    def _to_delimiter(self) -> Iterator[bytes]:
        """Yield what stands before the next delimiter, and read over it."""
        kept, searched = len(self._delimiter) - 1, 0
        while True:
            at = self._buffer.find(self._delimiter, searched)
            if at < 0:
                if len(self._buffer) > kept:
                    yield self._buffer[:-kept]
                    self._buffer, searched = self._buffer[-kept:], 0
                if not self._fill():
                    raise IncompleteBodyError("the body has no closing boundary")
                continue
            end = self._end_of_delimiter(at)
            if end is not None:
                if at:
                    yield self._buffer[:at]
                self._buffer = self._buffer[end:]
                return
            # A line of the content that begins like the boundary.
            searched = at + 2

    def _end_of_delimiter(self, at: int) -> int | None:
        """Return where the delimiter at this place ends; None if it is content."""
        tail = at + len(self._delimiter)
        while True:
            if self._buffer.startswith(b"--", tail):
                self._closed = True
                return tail + 2
            if line_end := _LINE_END.match(self._buffer, tail):
                return line_end.end()
            blanks = _BLANKS.match(self._buffer, tail)
            undecided = blanks is not None and blanks.end() == len(self._buffer)
            undecided |= len(self._buffer) == tail + 1 and self._buffer.endswith(b"-")
            if not (undecided and self._fill()):
                return None

    def _to_end(self) -> Iterator[bytes]:
        while self._buffer:
            yield self._buffer
            self._buffer = b""
            self._fill()


def decoded_text(data: bytes, charset: str) -> str:
    """Return the text of a field.

    Args:
        data: The content of the part.
        charset: Stated for the part; "" means UTF-8 (RFC 7578, 5.1.2).

    Raises:
        ValueError: The bytes are not text in this character set, or it is unknown.
    """
    try:
        return data.decode(charset or "utf-8")
    except LookupError:
        raise ValueError(f"unknown character set {charset}") from None


def _refuse_parts_in(outside: Iterator[bytes]) -> None:
    """Read over text outside of the parts, but not over a part.

    Raises:
        MalformedBodyError: It looks like a part, or is too long for a remark.
    """
    text = b""
    for chunk in outside:
        text += chunk
        if len(text) > MAX_OUTSIDE_BYTES:
            raise MalformedBodyError("there is content outside of the parts")
    if b"content-disposition" in text.lower():
        raise MalformedBodyError("there is a part outside of the boundaries")


def _part_of(header: bytes) -> Part:
    lines = _header_lines(header)
    disposition = _parameters(lines.get("content-disposition", ""))
    content_type = lines.get("content-type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type.startswith("multipart/"):
        raise MalformedBodyError("a part contains parts of its own")
    return Part(
        name=disposition.get("name", "").strip(),
        file_name=disposition.get("filename"),
        content_type=media_type,
        charset=_parameters(content_type).get("charset", ""),
        transfer_encoding=lines.get("content-transfer-encoding", "").strip().lower(),
    )


def _header_lines(header: bytes) -> dict[str, str]:
    """Return the lines of a header by name; folded lines are joined."""
    lines: dict[str, str] = {}
    for line in re.sub(rb"\r\n(?=[ \t])", b"", header).split(b"\r\n"):
        name, colon, value = _text_of(line).partition(":")
        name = name.strip().lower()
        if colon and lines.setdefault(name, value.strip()) != value.strip():
            raise MalformedBodyError("a part has two different headers of one name")
    return lines


def _text_of(line: bytes) -> str:
    """Decode a line of a header: UTF-8 (RFC 7578, 5.1), else what old clients send."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _parameters(value: str) -> dict[str, str]:
    """Return the parameters of a header, names in lower case.

    Where a name is there twice, the extended form (RFC 2231, RFC 5987) comes last and
    counts.

    Raises:
        MalformedBodyError: Two different values of `name`: which field is it?
    """
    header = Header()
    header["content-type"] = value
    try:
        parameters = (header.get_params() or [])[1:]
    except TypeError:
        # RFC 2231: one value whole and in pieces, which the library cannot sort.
        raise MalformedBodyError("a part has two names") from None
    found: dict[str, str] = {}
    for name, parameter in parameters:
        text = _parameter_text(parameter)
        key = name.lower()
        if key == "name" and found.get(key, text) != text:
            raise MalformedBodyError("a part has two names")
        if text or key not in found:
            found[key] = text
    return found


def _parameter_text(value: str | tuple[str | None, str | None, str]) -> str:
    if isinstance(value, str):
        return value
    charset = value[0] or "utf-8"
    try:
        codecs.lookup(charset)
        return collapse_rfc2231_value((charset, value[1], value[2]))
    except (LookupError, ValueError):
        return value[2]


def _decoded(content: Iterator[bytes], transfer_encoding: str) -> Iterator[bytes]:
    """Undo a Content-Transfer-Encoding (RFC 2045, 6; deprecated by RFC 7578, 4.7)."""
    if transfer_encoding in _PLAIN_ENCODINGS:
        return content
    if transfer_encoding == "base64":
        return _from_base64(content)
    if transfer_encoding == "quoted-printable":
        return _from_quoted_printable(content)
    raise MalformedBodyError("the Content-Transfer-Encoding of a part is unknown")


def _from_base64(content: Iterator[bytes]) -> Iterator[bytes]:
    left = b""
    padded = False
    for chunk in content:
        left += b"".join(chunk.split())
        whole = len(left) // 4 * 4
        if whole and padded:
            raise MalformedBodyError("a part goes on after the end of its base64")
        padded = padded or left[:whole].endswith(b"=")
        try:
            yield binascii.a2b_base64(left[:whole], strict_mode=True)
        except binascii.Error:
            raise MalformedBodyError("a part is not valid base64") from None
        left = left[whole:]
    if left:
        raise MalformedBodyError("the base64 of a part is cut off")


def _from_quoted_printable(content: Iterator[bytes]) -> Iterator[bytes]:
    left = b""
    for chunk in content:
        lines, end, left = (left + chunk).rpartition(b"\n")
        if len(left) > _QUOTED_LINE_BYTES:
            raise MalformedBodyError("a part is not quoted-printable")
        yield binascii.a2b_qp(lines + end)
    yield binascii.a2b_qp(left)
