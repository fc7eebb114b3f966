"""Person names: parsed, folded, compared."""

import pytest

from patients.dicom.header import PersonName
from patients.identity.names import agree, fold, folded, parse, readable, text_of


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("Doe^John^A^Dr^Jr", PersonName("Doe", "John", "A", "Dr", "Jr")),
        ("Doe, John", PersonName("Doe", "John")),
        ("Maria Anna Huber", PersonName("Maria Anna Huber")),
        ("  Doe ^ John  ", PersonName("Doe", "John")),
        ("", PersonName()),
        (
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
            PersonName(
                "Yamada", "Tarou", ideographic="山田 太郎", phonetic="やまだ たろう"
            ),
        ),
    ],
)
def test_names_are_parsed_in_dicom_and_everyday_form(
    typed: str, name: PersonName
) -> None:
    assert parse(typed) == name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MÜLLER", "muller"),
        ("Straße", "strasse"),
        ("O'Neil-Smith", "o neil smith"),
        ("Ångström", "angstrom"),
        ("ﬁ", "fi"),
        ("山田", "山田"),
        ("कमला", "कमला"),
        ("' | & ! :* \\", ""),
    ],
)
def test_folding_removes_accents_case_and_punctuation(text: str, expected: str) -> None:
    assert fold(text) == expected


def test_the_folded_name_has_every_part_and_fits_its_column() -> None:
    name = PersonName("Müller", "Jörg", "X", ideographic="山田^太郎")
    assert folded(name) == "muller jorg x 山田 太郎 mueller joerg"
    # One character that decomposes into eighteen.
    longest = PersonName(*["\ufdfa" * 324] * 7)
    assert len(folded(longest)) <= 1024
    assert folded(longest) == folded(longest).strip()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Doe^John", "DOE^JOHN", True),
        ("Doe^John", "Doe", True),
        ("Doe^John", "John Doe", True),
        ("Doe^John", "", True),
        ("Doe^John^^Dr", "Doe^John^^Prof", True),
        ("Müller^Jörg", "Muller^Jorg", True),
        ("Doe^John", "Doe^Jane", False),
        ("Doe^John", "Roe^John", False),
        ("Doe^John^A", "Doe^John^B", False),
        ("Doe^John", "John^Doe", False),
        ("Doe^Anna Maria", "Doe^Anna^Maria", True),
        ("=山田^太郎", "=山田^花子", False),
        ("Yamada^Tarou=山田^太郎", "Yamada^Tarou=山田^花子", False),
        ("Yamada^Tarou==やまだ^たろう", "Yamada^Tarou==やまだ^はなこ", False),
        ("Yamada^Tarou=山田^太郎", "Yamada^Tarou", True),
    ],
)
def test_names_agree_where_neither_contradicts_the_other(
    one: str, other: str, same: bool
) -> None:
    assert agree(parse(one), parse(other)) is same
    assert agree(parse(other), parse(one)) is same


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Doe^John", "Doe, John"),
        ("Doe^John^A", "Doe, John A"),
        ("Doe", "Doe"),
        ("=山田 太郎", "山田 太郎"),
        ("Yamada^Tarou=山田^太郎", "Yamada, Tarou 山田 太郎"),
    ],
)
def test_a_name_in_dicom_form_is_readable(text: str, shown: str) -> None:
    assert readable(text) == shown


def test_a_name_is_written_in_dicom_form_without_empty_ends() -> None:
    assert text_of(PersonName("Doe", "John")) == "Doe^John"
    assert text_of(PersonName(ideographic="山田 太郎")) == "=山田 太郎"
    assert text_of(PersonName()) == ""
