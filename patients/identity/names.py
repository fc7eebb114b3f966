"""Names of persons: their DICOM parts, typed forms, and search.

PS3.5 6.2: `Family^Given^Middle^Prefix^Suffix`, up to three groups split by `=`:
alphabetic, ideographic, phonetic.
"""

import unicodedata
from dataclasses import astuple, fields

from patients.dicom.header import PersonName, parse_name
from patients.models import Patient

LONGEST_GROUP = 64
LONGEST_FOLDED = 1024
# PostgreSQL's lexemes hold 2046 bytes; one letter may decompose into many.
LONGEST_WORD = 128
# Letters that are also written as two: Müller, Mueller.
_TWO_LETTERS = {"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa", "æ": "ae"}
_IN_TWO_LETTERS = str.maketrans(
    _TWO_LETTERS | {letter.upper(): two for letter, two in _TWO_LETTERS.items()}
)
# Also as a letter and a combining mark.
WRITTEN_WITH_TWO_LETTERS = tuple(
    sorted(
        unicodedata.normalize(form, letter)
        for form in ("NFC", "NFD")
        for letter in map(chr, _IN_TWO_LETTERS)
    )
)
COLUMNS = {
    "family": "family_name",
    "given": "given_name",
    "middle": "middle_name",
    "prefix": "name_prefix",
    "suffix": "name_suffix",
    "ideographic": "ideographic_name",
    "phonetic": "phonetic_name",
}


def parse(text: str) -> PersonName:
    """Parse a name in DICOM form, or as people type it: `Family, Given`.

    A name without `^` and comma is one family name: `Maria Anna Huber` does not show
    where the given name begins.
    """
    alphabetic, group, rest = text.partition("=")
    if "^" not in alphabetic and "," in alphabetic:
        alphabetic = alphabetic.replace(",", "^", 1)
    return parse_name(f"{alphabetic}{group}{rest}")


def filled(name: PersonName, other: PersonName) -> PersonName:
    """Return a name with its empty parts filled from another."""
    return PersonName(
        **{
            field.name: getattr(name, field.name) or getattr(other, field.name)
            for field in fields(name)
        }
    )


def fold(text: str) -> str:
    """Fold one part of a name: NFKD without accents, casefold, words only.

    `Müller` and `MULLER` fold to the same; so do `Søren` and `SØREN`, but not
    `Soren`, since ø does not decompose. `O'Neil-Smith` are three words.
    """
    decomposed = unicodedata.normalize("NFKD", text).casefold()
    decomposed = unicodedata.normalize("NFKD", decomposed)
    bare = (c for c in decomposed if not unicodedata.combining(c))
    return " ".join("".join(c if _of_a_word(c) else " " for c in bare).split())


def spellings(text: str) -> list[str]:
    """Return a text as it is, and with `ue` for `ü` and the like if that differs."""
    composed = unicodedata.normalize("NFC", text)
    return list(dict.fromkeys((composed, composed.translate(_IN_TWO_LETTERS))))


def folded(name: PersonName) -> str:
    """Return the search column of a name: its folded words, family name first.

    A word with `ü` and the like follows once more with two letters: `Müller` is found
    as `muller` and as `mueller`.
    """
    whole = " ".join(part for part in astuple(name) if part)
    words = (word for text in spellings(whole) for word in fold(text).split())
    distinct = dict.fromkeys(word[:LONGEST_WORD] for word in words)
    return " ".join(distinct)[:LONGEST_FOLDED].strip()


def agree(one: PersonName, other: PersonName) -> bool:
    """Return whether two names can belong to the same person.

    A missing part is no disagreement, in any of the three groups. The order of words
    does not count where one name has a family name only, as `John Doe` typed in a form
    has; `Doe^John` and `John^Doe` disagree.
    """
    pairs = (
        (fold(getattr(one, part)), fold(getattr(other, part)))
        for part in ("ideographic", "phonetic")
    )
    if any(a != b for a, b in pairs if a and b):
        return False
    return _alphabetic_agree(one, other)


def text_of(name: PersonName) -> str:
    """Return a name in its DICOM form (PS3.5 6.2.1), without its empty ends."""
    parts = (name.family, name.given, name.middle, name.prefix, name.suffix)
    groups = ("^".join(parts).rstrip("^"), name.ideographic, name.phonetic)
    return "=".join(groups).rstrip("=")


def readable(text: str) -> str:
    """Return a name in its DICOM form as people write it: `Family, Given Middle`."""
    alphabetic, *groups = text.split("=")
    family, _, given = alphabetic.partition("^")
    written = ", ".join(" ".join(part.split("^")).strip() for part in (family, given))
    others = " ".join(group.replace("^", " ") for group in groups if group)
    return " ".join(part for part in (written.strip(", "), others) if part)


def name_of(patient: Patient) -> PersonName:
    """Return a patient's name in its parts."""
    return PersonName(
        **{part: getattr(patient, column) for part, column in COLUMNS.items()}
    )


def columns_of(name: PersonName) -> dict[str, str]:
    """Return the columns of `Patient` that hold a name, the folded one among them."""
    columns = {column: getattr(name, part) for part, column in COLUMNS.items()}
    return {**columns, "name_folded": folded(name)}


def _alphabetic_agree(one: PersonName, other: PersonName) -> bool:
    """Compare family, given and middle name; titles do not distinguish persons."""
    if _is_unsplit(one) or _is_unsplit(other):
        words = [_alphabetic_words(name) for name in (one, other)]
        if words[0] == words[1]:
            return True
    elif fold(f"{one.given} {one.middle}") == fold(f"{other.given} {other.middle}"):
        return not _differ(one.family, other.family)
    return not any(
        _differ(getattr(one, part), getattr(other, part))
        for part in ("family", "given", "middle")
    )


def _is_unsplit(name: PersonName) -> bool:
    return not (name.given or name.middle)


def _differ(one: str, other: str) -> bool:
    folded_one, folded_other = fold(one), fold(other)
    return bool(folded_one and folded_other and folded_one != folded_other)


def _alphabetic_words(name: PersonName) -> list[str]:
    return sorted(
        word
        for part in (name.family, name.given, name.middle)
        for word in fold(part).split()
    )


def _of_a_word(character: str) -> bool:
    """Return whether a character is a letter, a digit or a vowel sign."""
    return unicodedata.category(character)[0] in "LNM"
