"""How times, ages, scores and labels are written."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from uuid import uuid4

import pytest
from django.test import override_settings
from django.utils import timezone

from diagnoses.pages.words.findings import FindingLine, display_of
from diagnoses.pages.words.times import (
    age_words,
    day_words,
    study_moment,
    waiting_words,
)
from patients.models import Study

TODAY = date(2026, 11, 21)


@pytest.mark.parametrize(
    ("passed", "words"),
    [
        (timedelta(seconds=20), "under 1 min"),
        (timedelta(minutes=6), "6 min"),
        (timedelta(hours=1, minutes=17), "1 h 17 min"),
        (timedelta(hours=2, minutes=4), "2 h 04 min"),
        (timedelta(hours=11, minutes=40), "11 h"),
        (timedelta(days=3), "3 days"),
        (timedelta(seconds=-5), "under 1 min"),
    ],
)
def test_waiting_is_written_for_a_glance(passed: timedelta, words: str) -> None:
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert waiting_words(now - passed, now=now) == words


def test_days_have_names_while_they_are_near() -> None:
    assert day_words(TODAY, today=TODAY) == "today"
    assert day_words(TODAY - timedelta(days=1), today=TODAY) == "yesterday"
    assert day_words(date(2026, 10, 3), today=TODAY) == "3 Oct 2026"


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
def test_ages_are_years_and_of_the_smallest_months(born: date, words: str) -> None:
    assert age_words(born, on=TODAY) == words


@override_settings(TIME_ZONE="Europe/Berlin")
def test_a_study_is_shown_in_the_time_zone_only_where_its_own_is_known() -> None:
    study = Study(study_date=TODAY, study_time=time(9, 42))
    with timezone.override("Europe/Berlin"):
        assert study_moment(study, today=TODAY) == "today 09:42"
        study.timezone_offset = "-0500"
        assert study_moment(study, today=TODAY) == "today 15:42"
        study.timezone_offset = "nonsense"
        assert study_moment(study, today=TODAY) == "today 09:42"
    assert study_moment(Study(), today=TODAY) == "no date"


def line(probability: float, threshold: float) -> FindingLine:
    positive = probability >= threshold
    return FindingLine(
        uuid4(), "Label", probability, threshold, positive, False, positive
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


def test_labels_are_words() -> None:
    assert display_of("Pleural_Thickening") == "Pleural thickening"
    assert display_of("COVID-19") == "COVID-19"
    assert display_of("Bacterial pneumonia") == "Bacterial pneumonia"
