"""How often a card's sets are right, and what no lungs reach, on the model's page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diagnoses.pages.card_figures import coverage_groups, figure_groups
from ml.registry import parse_card
from tests.diagnoses.fakes import LABELS, card_json


def interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


def test_coverage_is_told_by_source_and_class_and_few_films_claim_nothing() -> None:
    told = {"n": 60, "claimed": True, "coverage": interval(0.9)}
    told["left_open"] = interval(0.2)
    raw: dict[str, Any] = card_json()
    raw["metrics"]["val"] = {
        "command": "python manage.py evaluate_model tiny --split val --json",
        "uncertainty": {
            **told,
            "stated_coverage": 0.9,
            "risk_coverage": [[0.5, 0.02], [1.0, 0.12]],
            "by_source": {"kermany": told, "nih": {"n": 7, "claimed": False}},
            "by_class": {LABELS[0]: {"with": told, "without": told}},
        },
    }
    [group] = coverage_groups(parse_card(raw, folder=Path()))
    figures = {figure.name: figure.value for figure in group.figures}
    assert figures["Truth not ruled out"] == "0.90"
    assert figures["Errors among the surest 50%"] == "0.02"
    rows = {row.name: [cell.value for cell in row.cells] for row in group.labels}
    assert rows["kermany"] == ["60", "0.90", "0.20"]
    assert rows["nih"] == ["7", "too few", "–"]
    assert f"{LABELS[0]}, without" in rows
    assert coverage_groups(parse_card(card_json(), folder=Path())) == []


def test_what_no_lungs_reach_stands_beside_the_figure() -> None:
    beside = {
        "baseline": interval(0.78),
        "lead": interval(0.05),
        "verdict": "source not separable from disease",
    }
    command = (
        "python manage.py evaluate_model tiny --dataset nih tb --change crop-tenth"
    )
    measured = {
        "command": command,
        "pair": {"pair": ["A+B", "C"], "n": 9, "auc": interval(0.83)},
        "baseline": {"figures": {}, "pair": {"auc": beside}},
    }
    whole = {"accuracy": interval(0.8), "baseline": {"figures": {"accuracy": beside}}}
    groups = figure_groups({"val_a_pair": measured, "val": whole}, label_names=LABELS)
    assert groups[0].title == (
        "Validation films of nih and tb, the outer tenth cropped and histograms "
        "equalised"
    )
    words = ("A or B against C: AUC", "Accuracy")
    for group, word in zip(groups, words, strict=True):
        figures = {figure.name: figure.value for figure in group.figures}
        assert figures[f"{word}, without lungs"] == "0.78"
        assert figures[f"{word}, lead over that"] == "0.05"
        verdict = "Source not separable from disease"
        assert [figures[n] for n in figures if n.endswith(verdict)] == [
            word.rpartition(": ")[2]
        ]
