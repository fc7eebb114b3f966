"""Coverage, baseline, gate, shortcuts and heat maps of a card on the model's page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diagnoses.pages.model.evidence import (
    gate_groups,
    heat_map_groups,
    not_separable_statement,
    shortcut_groups,
)
from diagnoses.pages.model.metrics import coverage_groups, measurement_groups
from ml.cards.card import Card, parse_card
from tests.diagnoses.fakes import LABELS, card_json


def interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


def test_coverage_is_shown_by_source_and_class_with_enough_images() -> None:
    checked = {"n": 60, "claimed": True, "coverage": interval(0.9)}
    checked["left_open"] = interval(0.2)
    raw: dict[str, Any] = card_json()
    raw["metrics"]["val"] = {
        "command": "python manage.py evaluate_model tiny --split val --json",
        "uncertainty": {
            **checked,
            "stated_coverage": 0.9,
            "risk_coverage": [[0.5, 0.02], [1.0, 0.12]],
            "by_source": {"kermany": checked, "nih": {"n": 7, "claimed": False}},
            "by_class": {LABELS[0]: {"with": checked, "without": checked}},
        },
    }
    [group] = coverage_groups(parse_card(raw, folder=Path()))
    metrics = {metric.name: metric.value for metric in group.metrics}
    assert metrics["True label not ruled out"] == "0.90"
    assert metrics["Errors among the surest 50%"] == "0.02"
    rows = {row.name: [cell.value for cell in row.cells] for row in group.rows}
    assert rows["kermany"] == ["60", "0.90", "0.20"]
    assert rows["nih"] == ["7", "too few", "–"]
    assert f"{LABELS[0]}, images without it" in rows
    assert coverage_groups(parse_card(card_json(), folder=Path())) == []


def test_the_baseline_is_shown_beside_the_metric() -> None:
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
    groups = measurement_groups(
        card_with(metrics={"val_a_pair": measured, "val": whole})
    )
    assert groups[0].title == (
        "Validation images of nih and tb, the outer tenth cropped and histograms "
        "equalised"
    )
    words = ("A or B against C: AUC", "Accuracy")
    for group, word in zip(groups, words, strict=True):
        metrics = {metric.name: metric.value for metric in group.metrics}
        assert metrics[f"{word}, border-and-histogram baseline"] == "0.78"
        assert metrics[f"{word}, lead over the baseline"] == "0.05"
        assert metrics["Source not separable from disease"] == word


def share(refused: float) -> dict[str, Any]:
    return {"n": 50, "refused": 1, "share": refused, "low": 0.0, "high": 0.99}


def card_with(**changes: Any) -> Card:
    return parse_card({**card_json(), **changes}, folder=Path())


def test_gate_refusals_are_shown_by_source_and_kind() -> None:
    kinds = {"noise": share(1.0), "half an image": share(0.5)}
    for kind in kinds.values():
        kind["reasons"] = {}
    tried = {
        "command": "python manage.py evaluate_gate tiny --json",
        "real": {
            "refused": share(0.01),
            "by_source": {"kermany": share(0.02)},
            "by_view": {"AP": share(0.02)},
            "by_age": {},
            "reasons": {},
        },
        "must_be_refused": {
            "n": 50,
            "refused": share(0.9),
            "auroc": 0.991,
            "by_kind": kinds,
        },
    }
    images, wrong = gate_groups(
        card_with(gate={"file": "g", "sha256": "0", "threshold": 1.0, "val": tried})
    )
    assert images.metrics[0].value == "1.0%"
    assert [row.name for row in images.rows] == ["kermany"]
    assert [cell.value for cell in wrong.rows[1].cells] == ["50", "50%", "0%–99%"]
    assert wrong.command.endswith("tiny --json")
    assert gate_groups(card_with()) == []


def test_shortcuts_are_shown_by_change_source_and_heat() -> None:
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
    compared = {
        "model": interval(0.9),
        "baseline": interval(0.9),
        "lead": interval(0.0),
        "verdict": "source not separable from disease",
    }
    card = card_with(
        shortcuts={
            "command": "python manage.py evaluate_shortcuts tiny --json",
            "changes": {"all": changes},
            "sources": {"pairs": [pair]},
            "heat_outside_lungs": {"labels": {LABELS[0]: heat}},
            "baseline": {"all": {"figures": {"mean_auc": compared}}},
        }
    )
    changed, sources, outside = shortcut_groups(card)
    assert outside.command == "python manage.py evaluate_shortcuts tiny --json"
    assert not_separable_statement(card) == (
        "Source not separable from disease: the border-and-histogram baseline does as "
        "well on all images (mean auc)."
    )
    assert not_separable_statement(card_with()) == ""
    assert changed.columns == ["Mean AUC", "Mean AUC, change"]
    assert [row.name for row in changed.rows] == ["As they are", "Corners masked"]
    assert changed.rows[1].cells[1].value == "-0.10 (-0.20 to +0.00)"
    assert sources.rows[0].name == "Normal: kermany or nih"
    assert [cell.value for cell in outside.rows[0].cells] == ["9", "0.40", "0.60"]


def test_heat_maps_are_shown_beside_chance_with_the_randomisation_check() -> None:
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
    cells = [cell.value for cell in pointing.rows[0].cells]
    assert cells == ["7", "0.20 (0.10–0.30)", "0.10", "0.30"]
    metrics = {metric.name: metric.value for metric in curves.metrics}
    assert metrics["Weight randomisation check"] == "NOT passed"
