"""Search patients and studies by name, identifier or accession number.

An unidentified patient is found by the name that pages show: `Unidentified 3F2A`.

Names match by the beginnings of their words, in any order: `mul jo` finds Johanna
Müller. Each of the searches has an index. The keys are looked up first and put into the
query: among 200,000 patients the planner misjudged their number and read whole tables.
Only if very many rows match, the search stays a subquery.
"""

import re
from collections.abc import Iterable
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.db.models import BooleanField, F, Func, Q, QuerySet, UUIDField, Value

from patients.identity import names
from patients.models import MARK_LENGTH, Patient, Study, unidentified_name

LONGEST_QUERY = 128
MOST_WORDS = 8
# The most keys that are written into the query.
FEW = 1000
SHORTEST_BEGINNING = 3


def patients_found(text: str) -> QuerySet[Patient]:
    """Return the patients that match by name, identifier or accession number."""
    by_accession = Patient.objects.filter(
        pk__in=_by_accession(text).order_by().values("patient")
    )
    searches = (
        patients_named(text),
        _by_identifier(text),
        unidentified_patients(text),
        by_accession,
    )
    return Patient.objects.filter(_among("pk", _found(searches)))


def studies_found(text: str) -> QuerySet[Study]:
    """Return the studies that match by patient or accession number."""
    patients = _found(
        (patients_named(text), _by_identifier(text), unidentified_patients(text))
    )
    of_patients = Study.objects.filter(_among("patient", patients))
    return Study.objects.filter(
        _among("pk", _found((of_patients, _by_accession(text))))
    )


def patients_named(text: str) -> QuerySet[Patient]:
    """Return the patients with words in their name that begin with these words."""
    words = names.fold(text).split()[:MOST_WORDS]
    if not words:
        return Patient.objects.none()
    # Folded words hold letters, digits and marks only: nothing to escape.
    query = " & ".join(f"'{word[: names.LONGEST_WORD]}':*" for word in words)
    tsquery = Func(Value(query), template="%(expressions)s::tsquery")
    return Patient.objects.filter(
        Func(
            _name_words(),
            tsquery,
            template="(%(expressions)s)",
            arg_joiner=" @@ ",
            output_field=BooleanField(),
        )
    )


def unidentified_patients(text: str) -> QuerySet[Patient]:
    """Return the patients without name and identifier by what is shown as their name.

    The words match by their beginnings; the mark is the beginning of the key.
    """
    fixed = names.fold(unidentified_name("")).split()
    words = names.fold(text).split()
    marks = [word for word in words if not _begins_one_of(word, fixed)]
    if not words or len(marks) > 1 or (words == marks and len(marks[0]) != MARK_LENGTH):
        return Patient.objects.none()
    # As in `Patient.display_name`: a title alone is no name.
    shown = ("family_name", "given_name", "ideographic_name", "phonetic_name")
    nameless = Patient.objects.filter(
        patient_id__isnull=True, **dict.fromkeys(shown, "")
    )
    if not marks:
        return nameless
    if not re.fullmatch(rf"[0-9a-f]{{1,{MARK_LENGTH}}}", marks[0]):
        return Patient.objects.none()
    first, last = (UUID(marks[0].ljust(32, digit)) for digit in "0f")
    return nameless.filter(pk__range=(first, last))


def _begins_one_of(word: str, whole: Iterable[str]) -> bool:
    """Return whether a word is the beginning of another, of three letters or more."""
    return len(word) >= SHORTEST_BEGINNING and any(
        one.startswith(word) for one in whole
    )


def _name_words() -> Func:
    """Return the words of a name as in the index `patient_name_words`."""
    words = Func(F("name_folded"), Value(" "), function="string_to_array")
    return Func(
        Func(words, Value(""), function="array_remove"), function="array_to_tsvector"
    )


def _found(searches: Iterable[QuerySet]) -> list[UUID] | QuerySet:
    """Return the keys that the searches find together, or a query if very many."""
    each = [search.order_by().values_list("pk", flat=True) for search in searches]
    few: set[UUID] = set()
    for search in each:
        few.update(search[: FEW + 1])
        if len(few) > FEW:
            return each[0].union(*each[1:])
    return sorted(few)


def _among(column: str, keys: list[UUID] | QuerySet) -> Q | Func:
    """Return a condition for a column to be one of the keys.

    Few keys are one array: an IN with a parameter for each costs more than the rest of
    the search.
    """
    if isinstance(keys, QuerySet):
        return Q(**{f"{column}__in": keys})
    array = Value(keys, output_field=ArrayField(UUIDField()))
    return Func(
        F(column),
        Func(array, function="ANY"),
        template="(%(expressions)s)",
        arg_joiner=" = ",
        output_field=BooleanField(),
    )


def _by_identifier(text: str) -> QuerySet[Patient]:
    return Patient.objects.filter(_begins("patient_id", text))


def _by_accession(text: str) -> QuerySet[Study]:
    return Study.objects.filter(_begins("accession_number", text))


def _begins(column: str, text: str) -> Q:
    """Return a condition for the beginning of a column, as typed or in capitals."""
    text = text.strip().replace("\x00", "")
    if not text:
        return Q(pk__in=())
    begins = Q(**{f"{column}__startswith": text})
    if text.upper() != text:
        begins |= Q(**{f"{column}__startswith": text.upper()})
    return begins
