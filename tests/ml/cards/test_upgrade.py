"""Cards of schema version 1 are read as those of the present schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ml.cards import upgrade
from ml.cards.card import Card, parse_card
from ml.cards.measurements import Estimate, Metric
from ml.cards.upgrade import upgraded
from tests.ml.conftest import card_json

EVALUATION = (
    'python manage.py evaluate_model tiny --manifest "$CHESTX_DATA/manifest.csv" '
    "--split val --dataset nih kermany --change crop-tenth --json"
)


def interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.125, "high": value + 0.125}


def beside(model: float, verdict: str = "") -> dict[str, Any]:
    return {
        "model": interval(model),
        "baseline": interval(0.75),
        "lead": {**interval(0.25), "p": 0.002},
        "verdict": verdict,
    }


def old_card(**changes: Any) -> Card:
    return parse_card(card_json(**changes), folder=Path())


def measured(**report: Any) -> Card:
    return old_card(metrics={"val_nih": {"n": 9, "patients": 8, **report}})


def test_the_data_set_is_read_from_the_command_of_an_old_card() -> None:
    [measurement] = measured(command=EVALUATION, accuracy=interval(0.5)).measurements
    assert measurement.key == "val_nih"
    assert measurement.split == "val"
    assert measurement.datasets == ("nih", "kermany")
    assert measurement.change == "crop-tenth"
    assert (measurement.images, measurement.patients) == (9, 8)
    assert measurement.command[:4] == ("python", "manage.py", "evaluate_model", "tiny")
    assert "$CHESTX_DATA/manifest.csv" in measurement.command
    assert measurement.metrics == (Metric("accuracy", 0.5, 0.375, 0.625),)


@pytest.mark.parametrize(
    ("key", "datasets", "change"),
    [
        ("val", (), None),
        ("val_kermany_crop_equalise", ("kermany",), "crop-equalise"),
        ("val_kermany_bacterial_viral", ("kermany",), None),
    ],
)
def test_without_a_command_the_data_set_is_read_from_the_key(
    key: str, datasets: tuple[str, ...], change: str | None
) -> None:
    [measurement] = old_card(metrics={key: {"n": 2}, "val_ece": 0.5}).measurements
    assert (measurement.datasets, measurement.change) == (datasets, change)


def test_the_baseline_is_kept_with_its_metric() -> None:
    verdict = "source not separable from disease"
    card = measured(
        accuracy=interval(0.5),
        labels={"Normal": {"auc": 0.5, "positives": 3, "intervals": {"auc": [0, 1]}}},
        pair={"pair": ["A", "B"], "n": 5, "auc": interval(0.5)},
        baseline={
            "sees": "borders",
            "learned_from": 20,
            "figures": {"accuracy": beside(0.5, verdict)},
            "labels": {"Normal": {"auc": beside(0.5)}},
            "pair": {"pair": ["A", "B"], "auc": beside(0.5, verdict)},
        },
    )
    [measurement] = card.measurements
    accuracy, label = measurement.metric("accuracy"), measurement.label("Normal")
    assert accuracy is not None
    assert accuracy.baseline is not None
    assert accuracy.baseline.value == 0.75
    assert accuracy.baseline.lead == Estimate(0.25, 0.125, 0.375, p=0.002)
    assert not accuracy.baseline.separable
    assert measurement.not_separable == ("accuracy",)
    assert label is not None
    auc = label.metric("auc")
    assert auc is not None
    assert (auc.low, auc.high) == (0, 1)
    assert auc.baseline is not None
    assert auc.baseline.separable
    assert measurement.pair is not None
    assert (measurement.pair.sides, measurement.pair.images) == (("A", "B"), 5)
    pair_auc = measurement.pair.metric("auc")
    assert pair_auc is not None
    assert pair_auc.baseline is not None
    assert not pair_auc.baseline.separable


def test_groups_coverage_and_confusion_are_kept() -> None:
    group = {"n": 5, "patients": 4, "claimed": False, "accuracy": interval(0.5)}
    counted = {"n": 9, "claimed": True, "coverage": interval(0.5)}
    card = measured(
        groups={"view": {"AP": group}},
        uncertainty={
            "stated_coverage": 0.9,
            **counted,
            "left_open": interval(0.5),
            "by_source": {"nih": {"n": 3, "claimed": False}},
            "by_class": {"Normal": {"with": counted, "without": counted}},
            "risk_coverage": [[0.5, 0.25], [1.0, None]],
        },
        confusion={
            "labels": ["A", "B"],
            "rows_are": "truth",
            "matrix": [[1, 2], [3, 4]],
        },
    )
    [measurement] = card.measurements
    [kept] = measurement.groups
    assert (kept.by, kept.name, kept.images, kept.claimed) == ("view", "AP", 5, False)
    coverage = measurement.coverage
    assert coverage is not None
    assert [(each.by, each.name, each.kind) for each in coverage.groups] == [
        ("source", "nih", ""),
        ("class", "Normal", "with"),
        ("class", "Normal", "without"),
    ]
    assert coverage.risk_coverage == ((0.5, 0.25), (1.0, None))
    assert measurement.datasets == ("nih",)
    assert measurement.confusion is not None
    assert measurement.confusion.matrix == ((1, 2), (3, 4))


@pytest.mark.parametrize("word", ["films", "images"])
def test_old_and_new_keys_for_images_are_read(word: str) -> None:
    heat = {word: 9, "outside": interval(0.5), "outside_if_even": interval(0.5)}
    orders = {order: interval(0.5) for order in ("heat", "random", "centre")}
    card = old_card(
        training={f"{word}_seen": 300, "command": "python manage.py train_model tiny"},
        shortcuts={
            "command": "python manage.py evaluate_shortcuts tiny --json",
            word: 80,
            "changes": {
                "all": {
                    word: 80,
                    "lungs-only": {
                        "mean_auc": interval(0.5),
                        "mean_auc_change": {**interval(-0.25), "p": 0.5},
                    },
                    "none": {"mean_auc": interval(0.75)},
                }
            },
            "baseline": {"all": {"figures": {"mean_auc": beside(0.75, "no")}}},
            "heat_outside_lungs": {"labels": {"Normal": heat}},
            "before": {
                "training": {f"{word}_seen": 200},
                "weights_sha256": "0",
                "changes": {},
            },
        },
        heat_map_measures={
            "command": "python manage.py evaluate_heat_maps tiny --json",
            "pointing_game": {
                "all": {
                    f"{word}_and_labels": 7,
                    "hit": interval(0.5),
                    "random": interval(0.5),
                    "centre": interval(0.5),
                }
            },
            "insertion_deletion": {word: 60, "insertion": orders, "deletion": orders},
            "randomisation": {
                "stages": [{"rank_correlation": interval(0.5)}],
                "passed": False,
            },
        },
    )
    assert card.training is not None
    assert card.training.images_seen == 300
    assert card.training.command == ("python", "manage.py", "train_model", "tiny")
    shortcuts = card.shortcuts
    assert shortcuts is not None
    assert shortcuts.images == 80
    unchanged, lungs_only = shortcuts.changes
    assert (unchanged.change, unchanged.images) == (None, 80)
    assert lungs_only.change == "lungs-only"
    [metric] = lungs_only.metrics
    assert (metric.name, metric.value) == ("mean_auc", 0.5)
    assert metric.difference == Estimate(-0.25, -0.375, -0.125, p=0.5)
    assert shortcuts.baseline[0].not_separable == ("mean_auc",)
    assert shortcuts.heat_outside_lungs is not None
    assert shortcuts.heat_outside_lungs.labels["Normal"].images == 9
    assert shortcuts.before is not None
    assert shortcuts.before.training.images_seen == 200
    heat_maps = card.heat_map_measures
    assert heat_maps is not None
    assert heat_maps.images == 60
    assert heat_maps.pointing_game is not None
    assert heat_maps.pointing_game["all"].images_and_labels == 7


def test_the_gate_names_the_sources_of_its_trial() -> None:
    share = {"n": 50, "refused": 1, "share": 0.02, "low": 0.0, "high": 0.1}
    noise = {**share, "reasons": {"unlike_training_films": 1}}
    real = {"refused": share, "by_source": {"nih": share}, "by_view": {}, "by_age": {}}
    card = old_card(
        gate={
            "file": "gate.npz",
            "sha256": "0",
            "threshold": 1.0,
            "val": {
                "command": "python manage.py evaluate_gate tiny --json",
                "real": {**real, "reasons": {}},
                "must_be_refused": {
                    "n": 50,
                    "refused": share,
                    "auroc": 0.5,
                    "by_kind": {"noise": noise},
                },
            },
        }
    )
    assert card.gate is not None
    trial = card.gate.val
    assert trial is not None
    assert (trial.datasets, trial.images, trial.split) == (("nih",), 50, "val")
    assert trial.must_be_refused.by_kind["noise"].reasons == {
        "unlike_training_images": 1
    }


def test_a_card_of_the_present_schema_is_unchanged() -> None:
    raw = old_card().raw
    assert upgraded(raw) == raw


def test_a_command_with_an_open_quote_is_split_at_spaces() -> None:
    words = upgrade._words({"command": "evaluate_model 'x --split test"})
    assert words == ["evaluate_model", "'x", "--split", "test"]
