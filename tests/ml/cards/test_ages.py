"""The ages at which a label was measured, and what a model does at others."""

from __future__ import annotations

import pytest

from ml.cards.ages import (
    ADULTS,
    Ages,
    ages_of,
    ages_text,
    is_measured_at,
    reason_not_measured,
)

CHILDREN = (1.0, 5.0)


@pytest.mark.parametrize(
    ("datasets", "ages"),
    [
        (["kermany"], (CHILDREN,)),
        (["nih", "kermany", "tb"], (CHILDREN, ADULTS)),
        (["kermany", "hospital"], ()),
        ([], ()),
    ],
)
def test_a_label_has_the_ages_of_its_sources(datasets: list[str], ages: Ages) -> None:
    assert ages_of(datasets) == ages


@pytest.mark.parametrize(
    ("ages", "age_years", "measured"),
    [
        ((CHILDREN,), 0.9, False),
        ((CHILDREN,), 1.0, True),
        ((CHILDREN,), 5.9, True),
        ((CHILDREN,), 6.0, False),
        ((CHILDREN, ADULTS), 12.0, False),
        ((CHILDREN, ADULTS), 40.0, True),
        ((), 12.0, True),
    ],
)
def test_a_label_is_measured_within_its_ranges_until_the_next_birthday(
    ages: Ages, age_years: float, measured: bool
) -> None:
    assert is_measured_at(ages, age_years) == measured


@pytest.mark.parametrize(
    ("ages", "age_years", "code"),
    [
        ((CHILDREN,), 40.0, "not_measured_in_adults"),
        ((CHILDREN,), 12.0, "not_measured_at_this_age"),
        ((ADULTS,), 4.0, "not_measured_in_children"),
        ((CHILDREN, ADULTS), 12.0, "not_measured_at_this_age"),
    ],
)
def test_the_reason_names_adults_and_children_where_that_is_all(
    ages: Ages, age_years: float, code: str
) -> None:
    assert reason_not_measured(ages, age_years) == code


def test_ages_are_shown_as_ranges() -> None:
    assert ages_text((CHILDREN, ADULTS)) == "1–5, 18–120"
