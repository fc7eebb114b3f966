"""Texts of a DICOM header in any character set (PS3.5 6.1), made safe to store.

Nothing here fails: what a character set cannot say becomes U+FFFD.
"""

import codecs
import re

from pydicom.charset import CODES_TO_ENCODINGS, python_encoding

REPLACEMENT = "�"
_ESCAPE = 0x1B
_FALLBACK = "latin_1"
# These codecs want to see the escape sequence themselves.
_STATEFUL = frozenset({"iso2022_jp", "iso2022_jp_2"})
# C0 and C1 controls (but tab, line feed, form feed, return) and unpaired surrogates.
_UNSAFE = re.compile("[\0-\x08\x0b\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def encodings_of(specific_character_set: bytes) -> list[str]:
    """Return Python's names for the values of (0008,0005); unknown ones are guessed."""
    terms = specific_character_set.decode("ascii", "replace").split("\\")
    return [_encoding(term.strip(" \0")) for term in terms]


def decode_text(value: bytes, encodings: list[str]) -> str:
    """Decode a text with ISO 2022 code extensions (PS3.5 6.1.2.5); not yet cleaned."""
    first = encodings[0] if encodings else _FALLBACK
    if _ESCAPE not in value:
        return _decode(value, first)
    head, *rest = value.split(b"\x1b")
    return _decode(head, first) + "".join(_after_escape(part, first) for part in rest)


def clean(text: str) -> str:
    """Replace what PostgreSQL and JSON refuse, or what no text should hold."""
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
        return codecs.lookup(term).name if term else _FALLBACK
    except (LookupError, ValueError):
        return _FALLBACK


def _decode(value: bytes, encoding: str) -> str:
    try:
        return value.decode(encoding, "replace")
    except (LookupError, ValueError):
        return value.decode(_FALLBACK)


def _after_escape(part: bytes, first: str) -> str:
    """Decode what follows one escape character, its sequence at the front."""
    for length in (3, 2):
        sequence = b"\x1b" + part[:length]
        encoding = CODES_TO_ENCODINGS.get(sequence)
        if encoding:
            rest = sequence + part[length:] if encoding in _STATEFUL else part[length:]
            return _decode(rest, encoding)
    return REPLACEMENT + _decode(part, first)
