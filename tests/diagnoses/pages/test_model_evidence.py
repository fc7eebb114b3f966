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
from diagnoses.pages.model.metrics import coverage_groups
from diagnoses.pages.model.practice import measurement_groups, practice_groups
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
    hits = {
        "hit": interval(0.2),
        "random": interval(0.1),
        "centre": interval(0.3),
        "lead_over_centre": interval(-0.1),
    }
    orders = {order: interval(0.5) for order in ("heat", "random", "centre")}
    pointing, curves = heat_map_groups(
        card_with(
            heat_map_measures={
                "command": "python manage.py evaluate_heat_maps tiny --json",
                "pointing_game": {"all": {"images_and_labels": 7, "empty": 2, **hits}},
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
    assert cells[:4] == ["7, 2 maps empty", "0.20 (0.10–0.30)", "0.10", "0.30"]
    assert cells[4] == "-0.10 (-0.20 to +0.00)"
    metrics = {metric.name: metric.value for metric in curves.metrics}
    assert metrics["Weight randomisation check"] == "NOT passed"


def test_groups_of_patients_are_shown_and_what_is_not_known_is_said() -> None:
    old = {"n": 90, "patients": 80, "claimed": True, "accuracy": interval(0.8)}
    young = {**old, "n": 12, "claimed": False}
    measured = {
        "n": 102,
        "patients": 92,
        "command": "python manage.py evaluate_model tiny --json",
        "accuracy": interval(0.7),
        "groups": {"age_years": {"18–39": old, "06–17": young}},
        "not_known": {"sex": 102, "view": 0},
    }
    images, people = measurement_groups(card_with(metrics={"val": measured}))
    metrics = {metric.name: metric.value for metric in images.metrics}
    assert metrics["Sex not known"] == "102 images"
    assert "View not known" not in metrics
    rows = {row.name: [cell.value for cell in row.cells] for row in people.rows}
    assert rows["age in years 18–39"] == ["90", "0.80 (0.70–0.90)", "–", "–"]
    assert rows["age in years 06–17"][1:] == ["too few"] * 3


def test_what_to_expect_in_practice_is_shown() -> None:
    values = {"prevalence": 0.05, "ppv": interval(0.3), "npv": interval(0.8)}
    share = {"flagged": interval(0.2), "labels": {LABELS[1]: interval(0.2)}}
    trial = {
        "task": "pneumonia: Pneumonia",
        "source": "nih",
        "metric": "auc",
        "value": interval(0.7),
        "baseline": interval(0.5),
        "lead": interval(0.2),
        "images": 120,
        "patients": 100,
        "command": ["python", "cross_validate"],
        "shortened": "160 pixels, 4 epochs.",
    }
    card = card_with(
        metrics={"val": {"n": 9, "predictive_values": {LABELS[1]: [values]}}},
        flagged_normals={
            "split": "val",
            "datasets": ["rsna-normal"],
            "images": 258,
            "patients": 258,
            "command": ["python", "flagged"],
            "default": "strict",
            "points": {
                "strict": share,
                "loose": {"flagged": interval(0.0), "labels": {}},
            },
            "together": {
                "models": ["tiny/1", "other/1"],
                "flagged": interval(0.3),
                "images": 258,
                "patients": 258,
                "command": ["python", "flagged"],
            },
        },
        cross_source=[{**trial, "left_out": ["nih", "nih-emphysema"]}],
        cross_validation=[{**trial, "folds": 5}],
    )
    marks, normals, crossed, folds = practice_groups(card)
    assert marks.rows[0].name == f"{LABELS[1]}, where 5% have it"
    assert [cell.value for cell in marks.rows[0].cells] == [
        "0.30 (0.20–0.40)",
        "0.80 (0.70–0.90)",
    ]
    assert normals.metrics[0].value == "258 images of rsna-normal, for research only"
    assert normals.metrics[1].name.startswith("Flagged by any of tiny/1 or other/1")
    assert normals.metrics[1].value == "0.30"
    rows = {row.name: [cell.value for cell in row.cells] for row in normals.rows}
    assert rows["strict, in use by default"][1] == f"{LABELS[1]} 0.20"
    assert rows["loose"][1] == "none is claimed"
    shown = {metric.name: metric.value for metric in crossed.metrics}
    assert shown["AUC"] == "0.70"
    assert shown["AUC, border-and-histogram baseline"] == "0.50"
    assert shown["AUC, lead over the baseline"] == "0.20"
    assert crossed.title.endswith("nih, pneumonia: Pneumonia")
    assert shown["Left out of training"] == "nih and nih-emphysema"
    assert shown["Shortened training"] == "160 pixels, 4 epochs."
    assert {metric.name: metric.value for metric in folds.metrics}["Folds"] == "5"
    assert practice_groups(card_with()) == []
