"""Search patients and studies by parts of names and identifiers, or by date of birth.

Each word of the search must occur in what a patient or study is found by (its
`SearchText`): a word of three or more letters anywhere, a shorter one where a word
begins. An index of n-grams serves both. It cannot stop early, so a search that matches
very many rows is recognised on a sample first, and is not made.
"""

import re
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from functools import reduce
from operator import and_, or_
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.db import connection, transaction
from django.db.models import (
    BooleanField,
    F,
    Func,
    Q,
    QuerySet,
    TextField,
    UUIDField,
    Value,
)
from django.utils.translation import gettext_lazy as _

from accounts.errors import InvalidInput
from patients.identity import names
from patients.models import Patient, SearchText, unidentified_name
from patients.models.search_text import NGrams

LONGEST_QUERY = 128
MOST_WORDS = 8
# The most studies or patients that a search finds.
MOST_FOUND = 2000
# A patient has several rows, one for each study.
_MOST_ROWS = 4 * MOST_FOUND
_SAMPLE = 1000
# Fewer of the sample say nothing.
_FEWEST_OF_SAMPLE = 10
_MOST_LOOKUPS = 32
_SHORTEST_PART = 3
# Ideographs and kana: one of them is already a part of a word.
_FIRST_WIDE = "\u2e80"
_ASCII_LOWER = str.maketrans({chr(c): chr(c + 32) for c in range(65, 91)})
_SEPARATORS = re.compile(r"[\s,;]+")
_YEAR_FIRST = re.compile(r"(\d{4})([-./]?)(\d{2})\2(\d{2})", re.ASCII)
_YEAR_LAST = re.compile(r"(\d{1,2})([-./])(\d{1,2})\2(\d{4})", re.ASCII)


@dataclass(frozen=True)
class Search:
    """What is searched.

    Attributes:
        words: For each word the ways in which it may be written, and for each way the
            parts that a text must have. A part that begins a word has a space before.
    """

    words: tuple[tuple[tuple[str, ...], ...], ...]

    @classmethod
    def of(cls, text: str) -> "Search":
        """Read what a person typed."""
        words = [word for word in _SEPARATORS.split(text) if word]
        return cls(tuple(_ways(word) for word in _as_stored(words)[:MOST_WORDS]))

    def matches(self, text: str) -> bool:
        """Return whether a text has every word in one of its ways."""
        return bool(self.words) and all(
            any(all(part in text for part in way) for way in word)
            for word in self.words
        )

    def rows(self) -> QuerySet[SearchText]:
        """Return the rows that match, by the index."""
        if not self.words:
            return SearchText.objects.none()
        matching = _any(_has_grams(grams) for grams in self._grams())
        for word in self.words:
            matching &= _any(_every(map(_has, way)) for way in word)
        return SearchText.objects.filter(matching)

    def _grams(self) -> list[frozenset[str]]:
        """Return sets of n-grams: a text that matches has one of the sets.

        Each is a single look-up. A word with so many ways that they would become very
        many is left to the comparison of the texts that are found.
        """
        sets = [frozenset[str]()]
        for word in sorted(self.words, key=len):
            ways = [
                frozenset(gram for part in way for gram in _grams(part)) for way in word
            ]
            if len(sets) * len(ways) <= _MOST_LOOKUPS:
                sets = [one | way for one in sets for way in ways]
        return sets


@dataclass(frozen=True)
class Found:
    """The keys that a search found.

    Attributes:
        keys: At most MOST_FOUND; without order.
        more: Whether more match. `keys` are then some of them, or none.
    """

    keys: Collection[UUID]
    more: bool

    def of(self, column: str) -> Func:
        """Return a condition for a column to be one of the keys.

        The keys are one array: an IN with a parameter for each costs more than the rest
        of the search. The array is a subquery, so that the planner does not count it:
        with thousands of keys it would read the list in its order to the first few.
        """
        array = Value(sorted(self.keys), output_field=ArrayField(UUIDField()))
        return Func(
            F(column),
            Func(array, template="ANY((SELECT %(expressions)s)::uuid[])"),
            template="(%(expressions)s)",
            arg_joiner=" = ",
            output_field=BooleanField(),
        )

    def all_of(self, column: str) -> Func:
        """Return the condition `of`, if it stands for all that match.

        Raises:
            InvalidInput: More match.
        """
        if self.more:
            raise InvalidInput(
                _("More than %(most)d rows match. Search for more or longer words."),
                params={"most": MOST_FOUND},
                reason_code="too_many_matches",
            )
        return self.of(column)


def patients_found(text: str) -> Found:
    """Find patients by name, identifier, date of birth or accession number."""
    return _found(Search.of(text), "patient_id", _MOST_ROWS)


def studies_found(text: str) -> Found:
    """Find studies by name, identifier, date of birth or accession number."""
    return _found(Search.of(text), "study_id", 2 * MOST_FOUND)


def patients_named(text: str) -> Found:
    """Find patients by the words of their name only."""
    search = Search.of(text)
    found = _found(search, "patient_id", _MOST_ROWS)
    names_found = Patient.objects.filter(found.of("pk")).values_list(
        "pk", "name_folded"
    )
    of_name = {key for key, name in names_found if search.matches(f" {name}")}
    return Found(of_name, more=found.more)


def studies_among(studies: Iterable[UUID], text: str) -> set[UUID]:
    """Return those of some studies that match."""
    search = Search.of(text)
    given = Found(set(studies), more=False).of("study_id")
    rows = SearchText.objects.filter(given).values_list("study_id", "text")
    return {study for study, text in rows if study and search.matches(text)}


def _found(search: Search, column: str, most_rows: int) -> Found:
    """Find the keys of the rows that match, if they are not very many."""
    if not search.words:
        return Found((), more=False)
    if _estimate(search) > 2 * most_rows:
        return Found((), more=True)
    rows = _first(search.rows().values_list(column, flat=True), most_rows + 1)
    # A row of a patient has no study.
    keys = {key for key in rows if key is not None}
    if len(rows) > most_rows or len(keys) > MOST_FOUND:
        return Found((), more=True)
    return Found(keys, more=False)


def _estimate(search: Search) -> float:
    """Estimate how many rows match, from a sample; 0 if only few of it match.

    The keys of the rows are random, so the first ones are a fair sample.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT reltuples FROM pg_class WHERE oid = %s::regclass",
            [SearchText._meta.db_table],
        )
        (rows,) = cursor.fetchone()
    sample = SearchText.objects.order_by("pk").values_list("text", flat=True)[:_SAMPLE]
    matching = sum(map(search.matches, sample))
    return rows * matching / _SAMPLE if matching >= _FEWEST_OF_SAMPLE else 0


def _first(keys: QuerySet[SearchText, UUID | None], number: int) -> list[UUID | None]:
    """Return the first keys of a query, planned as if all of them were wanted.

    Otherwise the planner reads the table for them, row by row. A bitmap in less memory
    would forget which rows of a block it holds.
    """
    sql, parameters = keys.order_by().query.sql_with_params()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL work_mem = '64MB'; SET LOCAL enable_seqscan = off")
        cursor.execute(
            f"WITH found AS MATERIALIZED ({sql}) SELECT * FROM found LIMIT %s",  # noqa: S608 - of the ORM
            [*parameters, number],
        )
        return [key for (key,) in cursor.fetchall()]


def _as_stored(words: list[str]) -> list[str]:
    """Return the words, that for an unidentified person as it is stored."""
    shown = names.fold(unidentified_name(""))
    return ["unidentified" if names.fold(word) == shown else word for word in words]


def _ways(word: str) -> tuple[tuple[str, ...], ...]:
    """Return the parts of a word, in each way in which it may be written."""
    # No value in the record has NUL, and PostgreSQL refuses it.
    word = word.replace("\x00", "\ufffd")
    ways = [[word.translate(_ASCII_LOWER)]]
    # A word with digits is no name: the parts of MRN-1 would be found apart.
    if not any(character.isdigit() for character in word):
        ways += [names.fold(spelling).split() for spelling in names.spellings(word)]
    ways += [[born.isoformat()] for born in dates_written(word)]
    parts = (tuple(_part(part) for part in way[:MOST_WORDS]) for way in ways if way)
    return tuple(dict.fromkeys(parts))


def _part(part: str) -> str:
    """Return a part of a word; a short one must begin a word."""
    if len(part) < _SHORTEST_PART and part < _FIRST_WIDE:
        return f" {part}"
    return part[: names.LONGEST_WORD]


def dates_written(word: str) -> list[date]:
    """Return the dates that a word can stand for.

    `1961-04-05` and `19610405` are one date. `05.04.1961` has the day first, and
    `4/5/1961` may have either first.
    """
    if match := _YEAR_FIRST.fullmatch(word):
        year, _separator, month, day = match.groups()
        return _possible((year, month, day))
    if match := _YEAR_LAST.fullmatch(word):
        first, separator, second, year = match.groups()
        day_first, month_first = (year, second, first), (year, first, second)
        if separator == "/":
            return _possible(day_first, month_first)
        return _possible(day_first)
    return []


def _possible(*written: tuple[str, str, str]) -> list[date]:
    """Return the dates among (year, month, day), without repeats."""
    dates = set()
    for year, month, day in written:
        with suppress(ValueError):  # the 31st of April, a month 13: no date
            dates.add(date(int(year), int(month), int(day)))
    return sorted(dates)


def _has(part: str) -> Q:
    return Q(text__contains=part)


def _has_grams(grams: Iterable[str]) -> Q:
    """Return the condition for a text to have all of these n-grams."""
    return Q(
        Func(
            NGrams("text"),
            Value(sorted(grams), output_field=ArrayField(TextField())),
            template="(%(expressions)s)",
            arg_joiner=" @> ",
            output_field=BooleanField(),
        )
    )


def _grams(part: str) -> list[str]:
    """Return the n-grams of a part by which it is looked up, as `NGrams` has them."""
    if wide := [character for character in part if character >= _FIRST_WIDE]:
        return wide
    length = 5 if len(part) >= 5 else 3
    return [
        part[start : start + length] for start in range(max(1, len(part) - length + 1))
    ]


def _every(conditions: Iterable[Q]) -> Q:
    return reduce(and_, conditions)


def _any(conditions: Iterable[Q]) -> Q:
    return reduce(or_, conditions)
