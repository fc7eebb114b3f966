"""How often a card's sets are right, and what no lungs reach, on the model's page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diagnoses.pages.model.evidence import (
    gate_groups,
    heat_map_groups,
    shortcut_groups,
)
from diagnoses.pages.model.figures import coverage_groups, figure_groups
from ml.cards.card import Card, parse_card
from tests.diagnoses.fakes import LABELS, card_json


def interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


def test_coverage_is_told_by_source_and_class_and_few_images_claim_nothing() -> None:
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
        "Validation images of nih and tb, the outer tenth cropped and histograms "
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


def share(refused: float) -> dict[str, float]:
    return {"n": 50, "refused": 1, "share": refused, "low": 0.0, "high": 0.99}


def card_with(**found: Any) -> Card:
    return parse_card({**card_json(), **found}, folder=Path())


def test_what_the_gate_refuses_is_told_by_source_and_kind() -> None:
    kinds = {"noise": share(1.0), "half an image": share(0.5)}
    tried = {
        "command": "python manage.py evaluate_gate tiny --json",
        "real": {
            "refused": share(0.01),
            "by_source": {"kermany": share(0.02)},
            "by_view": {"AP": share(0.02)},
            "by_age": {},
        },
        "must_be_refused": {"refused": share(0.9), "auroc": 0.991, "by_kind": kinds},
    }
    images, wrong = gate_groups(card_with(gate={"val": tried}))
    assert images.figures[0].value == "1.0%"
    assert [row.name for row in images.labels] == ["kermany"]
    assert [cell.value for cell in wrong.labels[1].cells] == ["50", "50%", "0%–99%"]
    assert wrong.command.endswith("tiny --json")
    assert gate_groups(card_with()) == []


def test_shortcuts_are_told_by_change_source_and_heat() -> None:
    changes = {
        "images": 80,
        "none": {"mean_auc": interval(0.9)},
        "corners-masked": {
            "mean_auc": interval(0.8),
            "mean_auc_change": interval(-0.1),
        },
    }
    pair = {"label": "Normal", "sources": ["kermany", "nih"], "auc": interval(0.99)}
    heat = {"images": 9, "outside": interval(0.4), "outside_if_even": interval(0.6)}
    changed, sources, outside = shortcut_groups(
        card_with(
            shortcuts={
                "command": "python manage.py evaluate_shortcuts tiny --json",
                "changes": {"all": changes},
                "sources": {"pairs": [pair]},
                "heat_outside_lungs": {"labels": {LABELS[0]: heat}},
            }
        )
    )
    assert changed.columns == ["Mean AUC", "Mean AUC, change"]
    assert [row.name for row in changed.labels] == ["As they are", "Corners masked"]
    assert changed.labels[1].cells[1].value == "-0.10 (-0.20 to +0.00)"
    assert sources.labels[0].name == "Normal: kermany or nih"
    assert [cell.value for cell in outside.labels[0].cells] == ["9", "0.40", "0.60"]


def test_heat_maps_are_told_beside_chance_and_a_missed_check_is_said() -> None:
    hits = {"hit": interval(0.2), "random": interval(0.1), "centre": interval(0.3)}
    orders = {order: interval(0.5) for order in ("heat", "random", "centre")}
    pointing, curves = heat_map_groups(
        card_with(
            heat_map_measures={
                "command": "python manage.py evaluate_heat_maps tiny --json",
                "pointing_game": {"all": {"images_and_labels": 7, **hits}},
                "insertion_deletion": {
                    "images": 60,
                    "insertion": orders,
                    "deletion": orders,
                },
                "randomisation": {
                    "stages": [{"rank_correlation": interval(0.8)}],
                    "passed": False,
                },
            }
        )
    )
    cells = [cell.value for cell in pointing.labels[0].cells]
    assert cells == ["7", "0.20 (0.10–0.30)", "0.10", "0.30"]
    told = {figure.name: figure.value for figure in curves.figures}
    assert told["Weight randomisation check"] == "NOT passed"
