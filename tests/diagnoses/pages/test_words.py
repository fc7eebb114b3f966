"""How times, ages, scores and labels are written."""

from __future__ import annotations

from datetime import date, time, timedelta
from uuid import uuid4

import pytest
from django.test import override_settings
from django.utils import timezone

from diagnoses.pages.words.findings import FindingLine
from diagnoses.pages.words.times import long_age, short_age, study_moment
from patients.models import Study

TODAY = date(2026, 11, 21)


def test_near_days_have_names() -> None:
    today = timezone.localdate()
    assert study_moment(Study(study_date=today)) == "today"
    assert study_moment(Study(study_date=today - timedelta(days=1))) == "yesterday"
    assert study_moment(Study(study_date=date(2020, 10, 3))) == "3 Oct 2020"
    assert study_moment(Study()) == "no date"


@pytest.mark.parametrize(
    ("born", "words"),
    [
        (date(1957, 11, 21), "69"),
        (date(1957, 11, 22), "68"),
        (date(2025, 2, 1), "21 months"),
        (date(2026, 10, 21), "1 month"),
        (date(2027, 1, 1), ""),
    ],
)
def test_ages_are_in_years_and_in_months_for_infants(born: date, words: str) -> None:
    assert short_age(born, on=TODAY) == words
    years = f"{words} years" if words.isdigit() else words
    assert long_age(born, on=TODAY) == years


@override_settings(TIME_ZONE="Europe/Berlin")
def test_a_study_time_is_converted_only_where_its_time_zone_is_known() -> None:
    study = Study(study_date=date(2020, 11, 21), study_time=time(9, 42))
    with timezone.override("Europe/Berlin"):
        assert study_moment(study) == "21 Nov 2020 09:42"
        study.timezone_offset = "-0500"
        assert study_moment(study) == "21 Nov 2020 15:42"
        study.timezone_offset = "nonsense"
        assert study_moment(study) == "21 Nov 2020 09:42"


def line(probability: float, threshold: float) -> FindingLine:
    positive = probability >= threshold
    return FindingLine(
        uuid4(), "Label", probability, threshold, positive, False, True, positive
    )


@pytest.mark.parametrize(
    ("probability", "threshold", "shown"),
    [
        (0.914, 0.55, ("0.91", "0.55")),
        (0.546, 0.55, ("0.546", "0.550")),
        (0.0496, 0.05, ("0.0496", "0.0500")),
        (0.5, 0.5, ("0.50", "0.50")),
    ],
)
def test_rounding_never_hides_the_side_of_the_threshold(
    probability: float, threshold: float, shown: tuple[str, str]
) -> None:
    finding = line(probability, threshold)

    assert (finding.score, finding.threshold_text) == shown
