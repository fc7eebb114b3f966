"""Finding patients and studies by name, identifier or accession number.

Every way in has an index, and the ways are put together as UNION: an OR over two
tables would read both from end to end. Names are found by the beginnings of their
words, in any order: `mul jo` finds Johanna Müller.
"""

from django.db.models import BooleanField, F, Func, Q, QuerySet, Value

from patients import names
from patients.models import Patient, Study

MOST_WORDS = 8


def patients_found(text: str) -> QuerySet[Patient]:
    """Return the patients whose name, identifier or a study's accession number fits."""
    return Patient.objects.filter(pk__in=_patient_keys(text))


def studies_found(text: str) -> QuerySet[Study]:
    """Return the studies that fit: by their patient, or by their accession number.

    For use in `__in` only, as all unions.
    """
    of_patients = Study.objects.filter(
        patient__in=_by_name(text).union(_by_identifier(text))
    )
    return _keys(of_patients).union(_keys(_by_accession(text)))


def patients_named(text: str) -> QuerySet[Patient]:
    """Return the patients with words in their name that begin as these do."""
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


def _name_words() -> Func:
    """Return the words of a name as the index `patient_name_words` has them."""
    words = Func(F("name_folded"), Value(" "), function="string_to_array")
    return Func(
        Func(words, Value(""), function="array_remove"), function="array_to_tsvector"
    )


def _patient_keys(text: str) -> QuerySet[Patient]:
    with_accession = Patient.objects.filter(
        pk__in=_by_accession(text).order_by().values("patient")
    )
    return _by_name(text).union(_by_identifier(text), _keys(with_accession))


def _by_name(text: str) -> QuerySet[Patient]:
    return _keys(patients_named(text))


def _by_identifier(text: str) -> QuerySet[Patient]:
    return _keys(Patient.objects.filter(_begins("patient_id", text)))


def _by_accession(text: str) -> QuerySet[Study]:
    return Study.objects.filter(_begins("accession_number", text))


def _begins(column: str, text: str) -> Q:
    """The beginning as typed, or in capitals, as most identifiers are."""
    text = text.strip().replace("\x00", "")
    if not text:
        return Q(pk__in=())
    begins = Q(**{f"{column}__startswith": text})
    if text.upper() != text:
        begins |= Q(**{f"{column}__startswith": text.upper()})
    return begins


def _keys(rows: QuerySet) -> QuerySet:
    return rows.order_by().values("pk")
