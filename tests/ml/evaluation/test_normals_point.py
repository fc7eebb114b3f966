"""Thresholds of models together: they flag the stated share of normals, not more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ml.cards.card import Card, parse_card
from ml.datasets.manifest import ManifestRow, drawn_percent
from ml.errors import ModelError
from ml.evaluation.normals_point import fit_normals_point
from ml.training.operating_points import normals_name, normals_thresholds
from tests.ml.conftest import card_json
from tests.ml.image_factory import encoded

NORMALS = 200


def flagged(scores: np.ndarray, thresholds: np.ndarray) -> float:
    return float((scores >= thresholds).any(axis=1).mean())


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
@pytest.mark.parametrize("ratio", [1, 8])
def test_all_labels_together_flag_nearly_the_share_each_by_its_ratio(
    share: float, ratio: int
) -> None:
    scores = np.random.default_rng(3).uniform(0.0, 1.0, (500, 6))
    favoured = np.arange(6) == 0
    thresholds = normals_thresholds(
        scores, share=share, floors=np.zeros(6), favoured=favoured, ratio=ratio
    )
    assert share - 0.02 < flagged(scores, thresholds) <= share
    each = (scores >= thresholds).sum(axis=0)
    # Rounded up, a threshold may spare one image more.
    assert np.abs(each[1:] - each[0] // ratio).max() <= 1


def test_a_threshold_never_falls_below_its_floor() -> None:
    scores = np.random.default_rng(3).uniform(0.0, 0.01, (500, 2))
    thresholds = normals_thresholds(
        scores, share=0.1, floors=np.array([0.02, 0.0]), favoured=np.zeros(2, bool)
    )
    assert thresholds[0] == 0.02
    assert 0.09 < flagged(scores, thresholds) <= 0.1


def test_images_with_equal_scores_are_spared_together() -> None:
    scores = np.full((100, 1), 0.4)
    thresholds = normals_thresholds(
        scores, share=0.1, floors=np.zeros(1), favoured=np.zeros(1, bool)
    )
    assert flagged(scores, thresholds) == 0.0


def test_the_name_tells_the_share() -> None:
    assert [normals_name(share) for share in (0.1, 0.05, 0.125)] == [
        "normals_10",
        "normals_5",
        "normals_12.5",
    ]


@dataclass
class Reader:
    """A model whose score of each label is written in the grey values of an image."""

    card: Card
    column: int
    weights_sha256: str = ""

    def read(self, display: np.ndarray, **_options: Any) -> Any:
        value = float(display[0, self.column]) / 65535.0
        scores = [SimpleNamespace(probability=value) for _ in self.card.labels]
        return SimpleNamespace(scores=scores)

    def read_many(self, displays: Any, **options: Any) -> list[Any]:
        return [self.read(display, **options) for display in displays]


def reader(
    name: str,
    label: str,
    column: int,
    *,
    claimed: bool = True,
    ages: list[list[int]] | None = None,
) -> Reader:
    auc = {"name": "auc", "value": 0.9, "low": 0.8 if claimed else 0.4, "high": 1.0}
    raw = card_json(name=name)
    raw.pop("metrics")
    raw |= {
        "schema_version": 2,
        "task": "sigmoid",
        "labels": [
            {"name": label, "display": label, "snomed": "1", "age_years": ages or []}
        ],
        "thresholds": {"values": {label: 0.5}},
        "operating_points": {"youden": {label: 0.5}},
        "measurements": [
            {
                "key": "val",
                "split": "val",
                "datasets": ["nih"],
                "images": 100,
                "patients": 100,
                "command": [],
                "metrics": [],
                "labels": [{"label": label, "metrics": [auc]}],
            }
        ],
    }
    return Reader(parse_card(raw, folder=Path("a/b/c")), column)


def write_images(folder: Path) -> list[ManifestRow]:
    """Write normals, and held-out images with pneumonia whose scores are 0.9."""
    rng = np.random.default_rng(5)
    rows = []
    ill = [name for name in map(str, range(200)) if drawn_percent(name) < 8]
    for number in range(NORMALS + len(ill)):
        normal = number < NORMALS
        patient = f"n{number}" if normal else ill[number - NORMALS]
        scores = rng.uniform(0.0, 1.0, 2) if normal else np.array([0.9, 0.1])
        pixels = np.tile((255 * scores).astype("u1"), (16, 8))
        path = f"{number}.png"
        (folder / path).write_bytes(encoded(pixels, ".png"))
        dataset, labels = ("rsna-normal", "Normal") if normal else ("nih", "Pneumonia")
        rows.append(
            ManifestRow(path, dataset, "train", patient, "PA", "research", (labels,))
        )
    return rows


def fitted(models: list[Reader], folder: Path) -> list[Any]:
    return fit_normals_point(
        models,
        write_images(folder),
        root=folder,
        share=0.1,
        normals="rsna-normal",
        command=("fit",),
    )


def test_the_cards_name_what_the_thresholds_of_all_models_cost(tmp_path: Path) -> None:
    models = [reader("one", "Pneumonia", 0), reader("two", "Effusion", 1)]
    one, two = fitted(models, tmp_path)
    card = parse_card(one.raw, folder=tmp_path)
    assert card.thresholds == card.operating_points["normals_10"]
    assert card.operating_points["youden"] == {"Pneumonia": 0.5}
    assert card.contents.thresholds.normals == one.normals
    assert 0.08 < one.normals.flagged <= 0.1
    assert one.normals.flagged == two.normals.flagged
    assert one.normals.flagged_by_this_model < one.normals.flagged
    assert (one.normals.images, one.normals.licence) == (NORMALS, "research")
    assert "never trained on" in card.contents.thresholds.method
    [kept] = one.normals.sensitivity
    assert (kept.label, kept.before) == ("Pneumonia", 1.0)
    assert kept.positives > 5


def test_pneumonia_may_flag_more_normals_to_keep_its_sensitivity(
    tmp_path: Path,
) -> None:
    """A score of 0.9 is kept: without favour 5 % of the normals would set 0.95."""
    models = [reader("one", "Pneumonia", 0), reader("two", "Effusion", 1)]
    one, two = fitted(models, tmp_path)
    values: Mapping[str, float] = {**one.values, **two.values}
    assert values["Pneumonia"] < 0.93 < values["Effusion"]


def test_a_label_without_a_claim_keeps_its_point_and_flags_nothing(
    tmp_path: Path,
) -> None:
    models = [reader("one", "Pneumonia", 0), reader("two", "Mass", 1, claimed=False)]
    one, two = fitted(models, tmp_path)
    assert two.values == {"Mass": 0.5}
    assert two.normals.flagged_by_this_model == 0.0
    assert one.normals.flagged == one.normals.flagged_by_this_model


def test_without_normals_nothing_is_fitted(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no image of hospital"):
        fit_normals_point(
            [reader("one", "Pneumonia", 0)],
            [],
            root=tmp_path,
            share=0.1,
            normals="hospital",
            command=(),
        )


def test_a_label_of_children_is_not_lowered_by_normal_adults(tmp_path: Path) -> None:
    rows = write_images(tmp_path)
    models = [
        reader("of-children", "Cough", 1, ages=[[1, 5]]),
        reader("of-adults", "Mass", 1, ages=[[18, 120]]),
    ]
    for share, lowered in ((0.9, True), (0.1, False)):
        children, adults = fit_normals_point(
            models, rows, root=tmp_path, share=share, normals="rsna-normal", command=[]
        )
        assert (adults.values["Mass"] < 0.5) == lowered
        assert children.values["Cough"] >= 0.5
