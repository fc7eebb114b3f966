"""Heat maps are held against boxes, scores and destroyed weights; metrics by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from ml.cards.card import Card
from ml.datasets.boxes import Box, box_mask, boxes_of, labels_of_box
from ml.datasets.manifest import ManifestRow, read_manifest
from ml.errors import ModelError, TrainingError
from ml.evaluation.heat_maps.explained import Explained, heat_of, signed_heat
from ml.evaluation.heat_maps.insertion_deletion import curves_of, order_metrics
from ml.evaluation.heat_maps.measures import measure_heat_maps, split_parts
from ml.evaluation.heat_maps.pointing import point, pointing_metrics
from ml.evaluation.heat_maps.randomisation import (
    RandomisedRunner,
    rank_correlation,
    shuffled_head,
)
from ml.inference import LoadedModel, load_model
from ml.networks.heads import Dense, GlobalPooling, Head
from ml.preprocessing import Geometry
from tests.ml.image_factory import chest_like, encoded, write_manifest

pytestmark = pytest.mark.slow


CELLS = 8


class UpperLeftRunner:
    """A network that sees brightness, and calls it by the quarter it lies in.

    Its one feature is the brightness of each of 8 by 8 cells; the second label is the
    mean of the upper left quarter, as its heat says.
    """

    backend = "made up"
    precision = "float32"
    library_versions: Mapping[str, str] = MappingProxyType({})
    head: Head | None = Head(
        [GlobalPooling("average"), Dense(np.array([[0.0, 1.0, 0.0]]), np.zeros(3))]
    )

    def run(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        side = image.shape[0] // CELLS
        cells = image[..., 0].reshape(CELLS, side, CELLS, side).mean(axis=(1, 3))
        corner = np.zeros((CELLS, CELLS), np.float32)
        corner[:4, :4] = np.maximum(cells[:4, :4], 0.0)
        score = 20.0 * corner.mean()
        return np.array([0.0, score, 0.0], np.float32), corner[..., None]

    def run_many(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outputs = [self.run(image) for image in images]
        return np.stack([o[0] for o in outputs]), np.stack([o[1] for o in outputs])


@pytest.fixture
def model(plain_card: Card) -> LoadedModel:
    return LoadedModel(plain_card, UpperLeftRunner(), sha256="d" * 64)


def bright_at(rows: slice, columns: slice) -> np.ndarray:
    image = chest_like(128, 128) // 4
    image[rows, columns] = 60000
    return image


def manifest(root: Path, boxes: list[list[list[object]]]) -> list[ManifestRow]:
    """Write images bright in one corner, with boxes in pixels half as large."""
    rows = []
    for number, own in enumerate(boxes):
        image = bright_at(slice(20, 50), slice(20, 50))
        (root / f"{number}.png").write_bytes(
            encoded((image // 257).astype(np.uint8), ".png")
        )
        rows.append(
            {
                "path": f"{number}.png",
                "split": "val",
                "labels": "Pneumonia|Bacterial pneumonia",
                "boxes": json.dumps(own) if own else "",
                "original_width": "256",
                "original_height": "256",
            }
        )
    return read_manifest(write_manifest(root / "manifest.csv", rows))


def test_boxes_are_read_and_scaled_to_the_stored_image() -> None:
    (box,) = boxes_of('[["Effusion", 50, 100, 25.0, 50]]')
    assert box == Box("Effusion", 50.0, 100.0, 25.0, 50.0)
    assert boxes_of("") == ()
    mask = box_mask([box], original=(100, 200), shape=(20, 20))
    assert mask.sum() == 5 * 5
    assert mask[10:15, 10:15].all()


@pytest.mark.parametrize(
    "text", ["[[", '[["A", 1, 2, 3]]', '[["A", 1, 2, 3, "x"]]', "4"]
)
def test_unreadable_boxes_are_refused(text: str) -> None:
    with pytest.raises(TrainingError, match="boxes"):
        boxes_of(text)


def test_a_box_applies_to_its_label_and_to_more_specific_ones() -> None:
    kinds = ("Normal", "Bacterial pneumonia", "Viral pneumonia")
    assert labels_of_box("Pneumonia", kinds) == kinds[1:]
    assert labels_of_box("Infiltrate", ("Infiltration",)) == ("Infiltration",)
    assert labels_of_box("Effusion", kinds) == ()


def test_a_box_of_an_opacity_applies_to_every_disease_that_it_may_be() -> None:
    names = ("Consolidation", "Effusion", "Infiltration", "Pneumonia")
    expected = ("Consolidation", "Infiltration", "Pneumonia")
    assert labels_of_box("Lung Opacity", names) == expected
    assert labels_of_box("Lung opacity", ("Normal", "Viral pneumonia")) == (
        "Viral pneumonia",
    )


def test_the_pointing_game_counts_hottest_points_inside_boxes(
    model: LoadedModel, tmp_path: Path
) -> None:
    rows = manifest(
        tmp_path,
        [
            [["Pneumonia", 30, 30, 80, 80]],
            [["Pneumonia", 150, 150, 80, 80], ["Effusion", 30, 30, 80, 80]],
            [["Effusion", 30, 30, 80, 80]],
            [],
        ],
    )
    played = point(model, rows, tmp_path)
    assert [each.row.path for each in played] == ["0.png", "1.png"]
    assert [each.hit for each in played] == [1.0, 0.0]
    assert all(0.02 < each.random < 0.5 for each in played)
    assert played[0].heat > 0.8
    assert played[1].heat < 0.1
    measured = pointing_metrics(played)
    assert measured["hit"]["value"] == 0.5
    assert measured["centre"]["value"] == 0.0
    assert (measured["images_and_labels"], measured["patients"]) == (2, 2)


def test_an_empty_map_is_a_miss_and_is_counted(
    model: LoadedModel, tmp_path: Path
) -> None:
    (row,) = manifest(tmp_path, [[["Pneumonia", 30, 30, 80, 80]]])
    (tmp_path / row.path).write_bytes(encoded(np.zeros((64, 64), "u1"), ".png"))
    played = point(model, [row], tmp_path)
    measured = pointing_metrics(played)
    assert (measured["empty"], measured["hit"]["value"]) == (1, 0.0)


def test_images_of_held_out_patients_are_not_among_those_learned_from() -> None:
    rows = [
        ManifestRow(f"{n}.png", "a", "train" if n < 90 else "val", f"p{n}", "", "", ())
        for n in range(100)
    ]
    parts = split_parts(rows, name="tiny")
    assert len(parts["all"]) == 100
    assert len(parts["val"]) == 10
    assert 0 < len(parts["held-out"]) < 25
    assert len(parts["held-out"]) + len(parts["train"]) == 90
    assert not {r.path for r in parts["held-out"]} & {r.path for r in parts["train"]}


def test_a_box_without_the_original_image_size_is_left_out(
    model: LoadedModel, tmp_path: Path
) -> None:
    (row,) = manifest(tmp_path, [[["Pneumonia", 30, 30, 80, 80]]])
    unknown = ManifestRow(**{**vars(row), "original_width": None})
    assert point(model, [unknown], tmp_path) == []


def test_insertion_and_deletion_follow_a_faithful_heat_map(
    model: LoadedModel,
) -> None:
    square = np.random.default_rng(0).normal(0, 0.1, (64, 64, 1)).astype(np.float32)
    square[8:24, 8:24] = 2.0
    _, heat = heat_of(model.runner, square)
    whole = Geometry(64, 64, 0, 0, 64, 64, 64)
    seen = Explained(square, whole, np.zeros(3), heat)
    curves = [
        curves_of(model, seen, label=1, patient=str(seed), seed=seed)
        for seed in range(4)
    ]
    for measured, sign in (
        (order_metrics(curves, pick=lambda c: c.insertion), 1),
        (order_metrics(curves, pick=lambda c: c.deletion), -1),
    ):
        for baseline in ("random", "centre"):
            apart = measured[f"heat_minus_{baseline}"]
            assert sign * apart["value"] > 0.02, (baseline, sign)


def test_rank_correlation_is_spearmans() -> None:
    rising = np.arange(9.0).reshape(3, 3)
    assert rank_correlation(rising, rising**3) == pytest.approx(1.0)
    assert rank_correlation(rising, -rising) == pytest.approx(-1.0)
    # Worked out by hand: ranks 1.5, 1.5, 3, 4 against 1, 2, 3, 4.
    assert rank_correlation(
        np.array([[0, 0], [1, 2]]), np.array([[0, 1], [2, 3]])
    ) == pytest.approx(4.5 / np.sqrt(4.5 * 5.0))
    assert np.isnan(rank_correlation(rising, np.zeros((3, 3))))


def test_a_shuffled_head_has_the_same_values_in_another_order() -> None:
    kernel = np.arange(12.0).reshape(4, 3)
    head = Head([GlobalPooling("average"), Dense(kernel, np.zeros(3))])
    dense = shuffled_head(head, rng=np.random.default_rng(0)).steps[1]
    assert sorted(dense.arrays()["kernel"].ravel()) == list(range(12))
    assert (dense.arrays()["kernel"] != kernel).any()


def test_randomised_layers_change_the_output(tiny_card: Card, cache_dir: Path) -> None:
    model = load_model(tiny_card, cache_dir=cache_dir, threads=1)
    assert isinstance(model, LoadedModel)
    square = np.random.default_rng(1).normal(0, 1, (64, 64, 1)).astype(np.float32)
    logits, maps = model.runner.run(square)
    runners = [
        RandomisedRunner(model, cache_dir=cache_dir, share=share, seed=3)
        for share in (0.0, 0.5, 1.0)
    ]
    only_head, half, everything = (runner.run(square)[1] for runner in runners)
    assert np.allclose(only_head, maps, atol=1e-4)
    for changed in (half, everything):
        assert np.isfinite(changed).all()
        assert not np.allclose(changed, maps, atol=1e-2)
    assert not np.allclose(half, everything, atol=1e-2)
    assert not np.allclose(
        signed_heat(runners[0], square), signed_heat(model.runner, square), atol=1e-4
    )
    assert np.allclose(model.runner.run(square)[0], logits)


def test_all_heat_map_measures_run_on_a_tiny_network(
    tiny_card: Card, cache_dir: Path, tmp_path: Path
) -> None:
    rows = manifest(tmp_path, [[["Pneumonia", 30, 30, 80, 80]], [], []])
    model = load_model(tiny_card, cache_dir=cache_dir, threads=1)
    steps: list[tuple[int, int]] = []
    report = measure_heat_maps(
        model,
        rows,
        tmp_path,
        cache_dir,
        images=2,
        progress=lambda done, total: steps.append((done, total)),
    )
    assert steps[-1] == (8, 8)
    for part in ("all", "val", "unseen"):
        assert report["pointing_game"][part]["images_and_labels"] == 1
    assert "train" not in report["pointing_game"]
    assert report["insertion_deletion"]["images"] == 2
    shares = [stage["share_of_layers"] for stage in report["randomisation"]["stages"]]
    assert shares == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert json.loads(json.dumps(report)) == report


def test_a_model_without_heat_maps_is_refused(plain_card: Card, tmp_path: Path) -> None:
    card = replace(plain_card, raw={**plain_card.raw, "heat_maps": False})
    model = LoadedModel(card, UpperLeftRunner(), sha256="c" * 64)
    with pytest.raises(ModelError, match="no heat maps"):
        measure_heat_maps(model, [], tmp_path, tmp_path)
