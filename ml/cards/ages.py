"""At which ages a label was measured, and why it is not scored at another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

# Ranges in whole years, both ends included; none: any age.
Ages = tuple[tuple[float, float], ...]
ADULT_YEARS = 18.0
ADULTS = (ADULT_YEARS, 120.0)
# Data sets that are not named here have patients of any age, or it is not known.
AGES_OF_DATASETS: Mapping[str, tuple[float, float]] = {
    "kermany": (1.0, 5.0),
    "nih": ADULTS,
    "nih-emphysema": ADULTS,
    "rsna-normal": ADULTS,
    "hannover": ADULTS,
    "tb": ADULTS,
    "sakha-tb": ADULTS,
}


def ages_of(datasets: Iterable[str]) -> Ages:
    """Return the ages of the patients of data sets; none if one of them has any."""
    ranges = [AGES_OF_DATASETS.get(name) for name in datasets]
    known = sorted({ages for ages in ranges if ages is not None})
    return tuple(known) if all(ranges) else ()


def is_measured_at(ages: Ages, age_years: float) -> bool:
    """Tell whether a label with these ages was measured at an age."""
    # A person of 17 is 17 until the next birthday.
    return not ages or any(low <= age_years < high + 1 for low, high in ages)


def reason_not_measured(ages: Ages, age_years: float) -> str:
    """Return the code of why a label is not scored at an age outside of its ages."""
    if age_years >= ADULT_YEARS and all(high < ADULT_YEARS for _, high in ages):
        return "not_measured_in_adults"
    if age_years < ADULT_YEARS and all(low >= ADULT_YEARS for low, _ in ages):
        return "not_measured_in_children"
    return "not_measured_at_this_age"


def ages_text(ages: Sequence[tuple[float, float]]) -> str:
    """Return ages as numbers: "1–5, 18–120"."""
    return ", ".join(f"{low:g}–{high:g}" for low, high in ages)
