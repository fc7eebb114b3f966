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
COLUMNS = {
    "family": "family_name",
    "given": "given_name",
    "middle": "middle_name",
    "prefix": "name_prefix",
    "suffix": "name_suffix",
    "ideographic": "ideographic_name",
    "phonetic": "phonetic_name",
}
# Titles change and do not distinguish persons.
_COMPARED = ("family", "given", "middle", "ideographic", "phonetic")


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


def folded(name: PersonName) -> str:
    """Return the search column of a name: its folded words, family name first."""
    words = (word for part in astuple(name) for word in fold(part).split())
    return " ".join(word[:LONGEST_WORD] for word in words)[:LONGEST_FOLDED].strip()


def agree(one: PersonName, other: PersonName) -> bool:
    """Return whether two names can belong to the same person.

    A missing part is no disagreement. If both have the same words, as `Doe^John` and
    `John Doe` of a form, the order does not count.
    """
    words = _alphabetic_words(one)
    if words and words == _alphabetic_words(other):
        return True
    pairs = ((fold(getattr(one, p)), fold(getattr(other, p))) for p in _COMPARED)
    return all(a == b for a, b in pairs if a and b)


def name_of(patient: Patient) -> PersonName:
    """Return a patient's name in its parts."""
    return PersonName(
        **{part: getattr(patient, column) for part, column in COLUMNS.items()}
    )


def columns_of(name: PersonName) -> dict[str, str]:
    """Return the columns of `Patient` that hold a name, the folded one among them."""
    columns = {column: getattr(name, part) for part, column in COLUMNS.items()}
    return {**columns, "name_folded": folded(name)}


def _alphabetic_words(name: PersonName) -> list[str]:
    return sorted(
        word
        for part in (name.family, name.given, name.middle)
        for word in fold(part).split()
    )


def _of_a_word(character: str) -> bool:
    """Return whether a character is a letter, a digit or a vowel sign."""
    return unicodedata.category(character)[0] in "LNM"
