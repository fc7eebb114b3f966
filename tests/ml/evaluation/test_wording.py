"""Texts of evaluations pass through the function that the caller gives."""

from __future__ import annotations

from typing import Any

import pytest

from ml.evaluation.comparison import comparison_lines
from tests.brackets import CLOSE, OPEN, outside_brackets

pytestmark = pytest.mark.slow

METRIC = {
    "first": 0.5,
    "second": 0.25,
    "difference": {"value": 0.25, "low": 0.125, "high": 0.375, "p": 0.002},
}
REPORT: dict[str, Any] = {
    "first": {"model": "one", "version": "1"},
    "second": {"model": "two", "version": "1"},
    "n": 9,
    "figures": {"mean_auc": METRIC},
    "labels": {"Normal": {"n": 9, "positives": 3, "auc": METRIC}},
    "mcnemar": {"only_first_right": 2, "only_second_right": 1, "p": 1.0},
}


def test_lines_of_a_comparison_are_translated() -> None:
    lines = comparison_lines(REPORT, translate=lambda text: f"{OPEN}{text}{CLOSE}")
    assert len(lines) == 4
    assert [outside_brackets(line).strip() for line in lines] == [""] * 4


def test_lines_of_a_comparison_are_english_without_a_translation() -> None:
    assert comparison_lines(REPORT) == [
        "one against two: 9 images",
        "mean AUC: 0.5 and 0.25, difference 0.25 (0.125 to 0.375), p 0.002",
        "Normal, AUC: 0.5 and 0.25, difference 0.25 (0.125 to 0.375), p 0.002",
        "only one right: 2, only two right: 1, McNemar p 1.0000",
    ]
