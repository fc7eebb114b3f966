"""Results on patients left out are read from reports and kept on a card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ml.cards.from_report import SHORTENED
from ml.cards.measurements import Estimate
from ml.cards.trials import add_trial_results
from ml.errors import ModelError
from tests.ml.cards.test_schema import current

REPORT: dict[str, Any] = {
    "task": "pneumonia: Pneumonia",
    "method": "plain",
    "source": "nih",
    "metric": "auc",
    "value": 0.7,
    "interval": [0.6, 0.8],
    "baseline": 0.55,
    "baseline_interval": [0.45, 0.65],
    "images": 120,
    "patients": 100,
    "lead": 0.15,
    "lead_interval": [0.05, 0.25],
    "left_out": ["nih", "nih-emphysema"],
    "folds": 0,
    "shortened": True,
    "shortened_how": "160 pixels, 4 epochs.",
    "command": ["python", "cross_validate"],
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    written = tmp_path / "card.json"
    written.write_text(json.dumps(current()), encoding="utf-8")
    return written


def test_a_result_without_a_source_stands_apart_from_that_of_folds(path: Path) -> None:
    folds = {**REPORT, "left_out": [], "folds": 5, "baseline": None}
    folds["shortened_how"] = ""
    contents = add_trial_results(path, [REPORT, folds]).contents
    [crossed] = contents.cross_source
    assert crossed.value == Estimate(0.7, 0.6, 0.8)
    assert crossed.baseline == Estimate(0.55, 0.45, 0.65)
    assert crossed.lead == Estimate(0.15, 0.05, 0.25)
    assert crossed.shortened == "160 pixels, 4 epochs."
    [validated] = contents.cross_validation
    assert (validated.folds, validated.baseline) == (5, None)
    assert validated.shortened == SHORTENED


def test_a_newer_result_of_the_same_patients_replaces_the_older(path: Path) -> None:
    others = [{**REPORT, "left_out": ["kermany"]}, {**REPORT, "method": "group-dro"}]
    add_trial_results(path, [REPORT, *others])
    contents = add_trial_results(path, [{**REPORT, "value": 0.75}]).contents
    assert [each.value.value for each in contents.cross_source] == [0.75, 0.7, 0.7]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"left_out": None}, "neither what was left out nor folds"),
        ({"images": None}, "does not fit at images: required"),
        ({"command": "text"}, "does not fit at command: array"),
    ],
)
def test_a_report_of_another_form_is_refused(
    path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError) as caught:
        add_trial_results(path, [{**REPORT, **changes}])
    assert message in caught.value.message
