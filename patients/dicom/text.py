"""Texts of a DICOM header in any character set (PS3.5 6.1), made safe to store.

Nothing here fails: bytes that a character set does not define become U+FFFD.

The tables are pydicom's. Its functions (`decode_bytes`, `convert_encodings`) are not
used: some header bytes make them raise, they issue a warning for every such value,
they do not decode escape sequences that the header does not declare, and they accept
any Python codec as a character set. See tests/patients/dicom/test_pydicom_limits.py.
"""

import codecs
import re

from pydicom.charset import CODES_TO_ENCODINGS, python_encoding
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

REPLACEMENT = "�"
_FALLBACK = "latin_1"
# Characters after which the first character set holds again (PS3.5 6.1.2.5.3).
_TEXT_DELIMITERS = frozenset(TEXT_VR_DELIMS) | frozenset(b"\\")
_NAME_DELIMITERS = _TEXT_DELIMITERS | frozenset(PN_DELIMS) | frozenset(b"=")
# Codecs by their Python names that some writers state. Not every codec: some are not
# for text, and "punycode" takes quadratic time.
_CODECS = frozenset(
    codecs.lookup(name).name
    for name in (
        *python_encoding.values(),
        *("ascii", "big5", "cp932", "cp949", "euc_jp"),
        *(f"cp{number}" for number in range(1250, 1259)),
    )
)
# These codecs want to see the escape sequence themselves.
_STATEFUL = frozenset({"iso2022_jp", "iso2022_jp_2"})
# C0 and C1 controls (but tab, line feed, form feed, return) and unpaired surrogates.
_UNSAFE = re.compile("[\0-\x08\x0b\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def encodings_of(specific_character_set: bytes) -> list[str]:
    """Return the codecs of the values of (0008,0005), Latin-1 for unknown ones."""
    terms = specific_character_set.decode("ascii", "replace").split("\\")
    return [_encoding(term.strip(" \0")) for term in terms]


def is_known(term: bytes) -> bool:
    """Return whether a value of (0008,0005) names a character set that is known."""
    text = term.decode("ascii", "replace").strip(" \0")
    return bool(text) and (
        _encoding(text) != _FALLBACK or python_encoding.get(text) == _FALLBACK
    )


def is_utf_8(value: bytes) -> bool:
    """Return whether bytes are valid UTF-8 and not ASCII alone."""
    if value.isascii():
        return False
    try:
        value.decode("utf_8")
    except UnicodeDecodeError:
        return False
    return True


def decode_text(
    value: bytes, encodings: list[str], *, person_name: bool = False
) -> str:
    """Decode a text with ISO 2022 code extensions (PS3.5 6.1.2.5), without cleaning it.

    Args:
        value: As in the file.
        encodings: From `encodings_of`.
        person_name: Whether it is of VR PN, which has delimiters of its own.
    """
    first = encodings[0] if encodings else _FALLBACK
    delimiters = _NAME_DELIMITERS if person_name else _TEXT_DELIMITERS
    head, *rest = value.split(b"\x1b")
    return _decode(head, first) + "".join(
        _after_escape(part, first, delimiters) for part in rest
    )


def clean(text: str) -> str:
    """Replace control characters and surrogates, which PostgreSQL refuses."""
    return _UNSAFE.sub(REPLACEMENT, text)


def one_line(text: str, limit: int) -> str:
    """Clean a text, fold its white space, and cut it to `limit` characters."""
    return " ".join(clean(text).split())[:limit].rstrip()


def _encoding(term: str) -> str:
    known = python_encoding.get(term) or python_encoding.get(term.replace("_", " "))
    if known:
        return known
    if "192" in term or "UTF" in term.upper():
        return "utf_8"
    try:
        codec = codecs.lookup(term).name
    except (LookupError, ValueError):
        return _FALLBACK
    return codec if codec in _CODECS else _FALLBACK


def _decode(value: bytes, encoding: str) -> str:
    try:
        return value.decode(encoding, "replace")
    except (LookupError, ValueError):
        return value.decode(_FALLBACK)


def _after_escape(part: bytes, first: str, delimiters: frozenset[int]) -> str:
    """Decode what follows one escape character, up to the next one."""
    for length in (3, 2):
        sequence, text = b"\x1b" + part[:length], part[length:]
        encoding = CODES_TO_ENCODINGS.get(sequence)
        if encoding in _STATEFUL:
            return _decode(sequence + text, encoding)
        if encoding:
            end = next((i for i, c in enumerate(text) if c in delimiters), len(text))
            return _decode(text[:end], encoding) + _decode(text[end:], first)
    return REPLACEMENT + _decode(part, first)
