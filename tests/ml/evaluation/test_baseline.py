"""The border-and-histogram baseline and the paired difference to a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ml.cards.card import Card
from ml.cards.measurements import NOT_SEPARABLE
from ml.datasets.manifest import ManifestRow
from ml.errors import ModelError
from ml.evaluation.baseline import (
    fit_logistic,
    image_features,
    measure_baseline,
)
from ml.evaluation.bootstrap import Measure, patient_counts
from ml.evaluation.comparison import compare_scored, mcnemar, paired_difference
from ml.evaluation.scoring import pair_metrics
from ml.evaluation.summary import ScoredImages
from ml.labels import Label

pytestmark = pytest.mark.slow


NAMES = ("Normal", "Pneumonia")


def card(task: str = "softmax", names: tuple[str, ...] = NAMES) -> Card:
    """Return a card of which only task, labels and thresholds are read."""
    values: dict[str, Any] = dict.fromkeys(Card.__dataclass_fields__)
    return Card(
        **values
        | {
            "name": "made-up",
            "version": "1",
            "architecture": "none",
            "task": task,
            "labels": tuple(Label(name, name, "1") for name in names),
            "thresholds": dict.fromkeys(names, 0.5),
            "raw": {},
            "limits": (),
        }
    )


def rows_of(split: str, count: int) -> list[ManifestRow]:
    return [
        ManifestRow(
            path=f"{split}-{i}.png",
            dataset="drawn",
            split=split,
            patient=f"{split}-{i}",
            view="",
            licence="",
            labels=(NAMES[i % 2],),
        )
        for i in range(count)
    ]


def write(root: Path, rows: list[ManifestRow], *, border: bool, seed: int) -> None:
    """Write images of noise; pneumonia has a white border, if asked for."""
    rng = np.random.default_rng(seed)
    for row in rows:
        image = rng.integers(60, 180, (48, 48), np.uint8)
        if border and row.labels == ("Pneumonia",):
            image = cv2.copyMakeBorder(
                image[6:-6, 6:-6], 6, 6, 6, 6, cv2.BORDER_CONSTANT, value=255
            )
        cv2.imwrite(str(root / row.path), image, [cv2.IMWRITE_PNG_COMPRESSION, 0])


def scored_of(rows: list[ManifestRow], scores: np.ndarray) -> ScoredImages:
    positive = np.array([[n in row.labels for n in NAMES] for row in rows])
    return ScoredImages(
        card=card(),
        rows=tuple(rows),
        scores=scores,
        positive=positive,
        known=np.ones_like(positive),
        left_out={"n": len(rows)},
        thresholds=dict.fromkeys(NAMES, 0.5),
    )


def perfect(rows: list[ManifestRow]) -> np.ndarray:
    return np.array([[0.9, 0.1] if "Normal" in r.labels else [0.1, 0.9] for r in rows])


@pytest.mark.parametrize("border", [True, False])
def test_the_lead_over_the_baseline_is_measured(tmp_path: Path, border: bool) -> None:
    train, val = rows_of("train", 80), rows_of("val", 60)
    write(tmp_path, train, border=border, seed=1)
    write(tmp_path, val, border=border, seed=2)
    report, other = measure_baseline(scored_of(val, perfect(val)), train, root=tmp_path)
    balanced = report["figures"]["balanced_accuracy"]
    assert other.scores.shape == (60, 2)
    if border:
        assert balanced["baseline"]["value"] == 1.0
        assert balanced["verdict"] == NOT_SEPARABLE
        assert "balanced_accuracy" in report["not_separable"]
    else:
        assert balanced["baseline"]["value"] < 0.8
        assert balanced["lead"]["low"] > 0
        assert report["not_separable"] == []


def test_the_middle_of_an_image_changes_only_its_histogram_features() -> None:
    image = np.full((64, 64), 20000, np.uint16)
    changed = image.copy()
    changed[20:44, 20:44] = 50000
    apart = image_features(image, file_bytes=9) != image_features(changed, file_bytes=9)
    border = 32 * 32 - 26 * 26
    assert not apart[:border].any()
    assert apart[border : border + 32].any()
    assert not apart[border + 32 :].any()


def test_the_baseline_is_not_trained_on_measured_patients(tmp_path: Path) -> None:
    rows = rows_of("val", 4)
    with pytest.raises(ModelError, match="4 patients"):
        measure_baseline(scored_of(rows, perfect(rows)), rows, root=tmp_path)


def test_the_regression_separates_linear_classes() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 2))
    classes = (features[:, 0] > 0).astype(int)
    model = fit_logistic(features, classes, penalty=1e-3)
    assert (model.predict(features) == classes).mean() > 0.97


def test_differences_are_paired_by_patient() -> None:
    right = np.tile([1.0, 0.0], 30)
    counts = patient_counts([str(i) for i in range(60)])

    def share(flags: np.ndarray) -> Measure:
        return lambda w: w @ flags / w.sum(axis=1)

    same = paired_difference(share(right), share(right), counts)
    assert (same["value"], same["low"], same["high"]) == (0.0, 0.0, 0.0)
    assert same["p"] == 1.0
    better = paired_difference(share(np.ones(60)), share(right), counts)
    assert better["value"] == 0.5
    assert better["low"] is not None
    assert better["low"] > 0.3
    assert better["p"] is not None
    assert better["p"] < 0.01


def test_mcnemar_counts_images_that_only_one_model_got_right() -> None:
    one = np.array([True] * 10 + [False] * 2)
    other = np.array([False] * 8 + [True] * 4)
    comparison = mcnemar(one, other)
    assert (comparison["only_first_right"], comparison["only_second_right"]) == (8, 2)
    assert comparison["p"] == pytest.approx(0.109375)


def test_two_models_are_compared_on_the_images_that_both_read() -> None:
    rows = rows_of("val", 40)
    first = scored_of(rows, perfect(rows))
    noisy = first.scores.copy()
    noisy[::4] = noisy[::4, ::-1]
    second = replace(first.chosen(np.arange(40) < 30), scores=noisy[:30])
    report = compare_scored(first, second)
    assert report["n"] == 30
    assert report["figures"]["accuracy"]["first"] == 1.0
    assert report["figures"]["accuracy"]["difference"]["low"] > 0
    assert report["mcnemar"]["only_first_right"] == 8
    assert report["labels"]["Pneumonia"]["auc"]["second"] < 1.0
    elsewhere = replace(second, card=card(names=("Glioma", "Meningioma")))
    with pytest.raises(ModelError, match="in common"):
        compare_scored(first, elsewhere)


def test_a_side_of_a_pair_may_be_several_labels() -> None:
    rows = rows_of("val", 40)
    scored = scored_of(rows, perfect(rows))
    metrics = pair_metrics(scored, "Pneumonia", "Normal")
    assert metrics["auc"]["value"] == 1.0
    everything = pair_metrics(scored, "Pneumonia+Normal", "Normal")
    assert everything["auc"]["value"] is None
