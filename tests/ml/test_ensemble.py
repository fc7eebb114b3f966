"""Ensembles: the mean of exactly their members."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml.cards.card import Card, get_card, parse_card, read_card
from ml.cards.ensemble_spec import ensemble_sha256
from ml.datasets.manifest import read_manifest
from ml.ensemble import EnsembleModel, mean_grid
from ml.errors import ImageRejected, ModelError
from ml.evaluation.ensemble_card import (
    build_ensemble_card,
    measured_card,
    shared_labels,
    write_card,
)
from ml.inference import load_model
from ml.model_output import ModelOutput, scores_of
from ml.preprocessing import Geometry
from tests.ml.conftest import TINY_LABELS, card_json, install, tiny_network
from tests.ml.image_factory import chest_like, write_images

HERE = Geometry(200, 200, 0, 0, 200, 200, 64)


def a_card(name: str, labels: list[str], **changes: Any) -> Card:
    raw = card_json(
        name=name,
        labels=[{"name": n, "display": n, "snomed": "1"} for n in labels],
        thresholds={"values": dict.fromkeys(labels, 0.5)},
        weights={"file": "weights.keras", "sha256": f"{name:0<64}"},
        **changes,
    )
    return parse_card(raw, folder=Path())


class FakeModel:
    """A member that says what it is told to."""

    def __init__(
        self,
        card: Card,
        probabilities: list[float],
        *,
        grid: np.ndarray | None = None,
        geometry: Geometry = HERE,
        refuses: bool = False,
    ) -> None:
        self.card = card
        self.weights_sha256 = str(card.weights_sha256)
        self._told = np.array(probabilities)
        self._grid = np.ones((2, 2), np.float16) if grid is None else grid
        self._geometry = geometry
        self._refuses = refuses

    def read(
        self,
        display: np.ndarray,
        *,
        thresholds: Mapping[str, float] | None = None,
        apply_gate: bool = True,
    ) -> ModelOutput:
        if self._refuses and apply_gate:
            raise ImageRejected("Not a chest.", reason_code="unlike_training_images")
        scores, label_set = scores_of(
            self.card,
            self._told,
            thresholds={},
            grids=np.stack([self._grid] * len(self._told)),
            scales=np.ones(len(self._told)),
        )
        return ModelOutput(
            model=self.card.name,
            version=self.card.version,
            weights_sha256=self.weights_sha256,
            preprocessing_version="3",
            backend="openvino",
            precision="float32",
            library_versions={"openvino": "1"},
            input_sha256=self.card.name,
            geometry=self._geometry,
            scores=scores,
            label_set=label_set,
            milliseconds=1.0,
        )


SIX = a_card("six", ["Normal", "Bacterial pneumonia", "Viral pneumonia", "Emphysema"])
NIH = a_card("nih", ["No Finding", "Pneumonia", "Emphysema", "Hernia"], task="sigmoid")
ONE = a_card("one", ["Pneumonia"], task="sigmoid")


def ensemble(*members: FakeModel, **changes: Any) -> EnsembleModel:
    raw = build_ensemble_card([member.card for member in members]) | changes
    return EnsembleModel(parse_card(raw, folder=Path()), members)


def probabilities_of(model_output: ModelOutput) -> dict[str, float]:
    return {score.label: score.probability for score in model_output.scores}


def test_members_share_labels_by_name_by_synonym_and_by_specific_labels() -> None:
    assert shared_labels([SIX, NIH, ONE]) == {
        "Emphysema": {"six": ["Emphysema"], "nih": ["Emphysema"]},
        "Normal": {"six": ["Normal"], "nih": ["No Finding"]},
        "Pneumonia": {
            "six": ["Bacterial pneumonia", "Viral pneumonia"],
            "nih": ["Pneumonia"],
            "one": ["Pneumonia"],
        },
    }


def test_a_probability_is_the_mean_of_the_members_with_the_label() -> None:
    model = ensemble(
        FakeModel(SIX, [0.2, 0.3, 0.4, 0.1]),
        FakeModel(NIH, [0.6, 0.5, 0.2, 0.9]),
        FakeModel(ONE, [0.9]),
    )
    model_output = model.read(np.zeros((8, 8), np.uint16))
    assert probabilities_of(model_output) == pytest.approx(
        {"Emphysema": 0.15, "Normal": 0.4, "Pneumonia": (0.7 + 0.5 + 0.9) / 3}
    )
    assert (model_output.model, model_output.version) == ("chest-ensemble", "1.0.0")
    assert model_output.weights_sha256 == model.card.weights_sha256
    assert model_output.library_versions == {"openvino": "1"}
    by_label = {score.label: score for score in model_output.scores}
    assert by_label["Pneumonia"].positive
    assert not by_label["Pneumonia"].calibrated


def test_given_thresholds_override_those_of_the_card() -> None:
    model = ensemble(FakeModel(NIH, [0.6, 0.5, 0.2, 0.9]), FakeModel(ONE, [0.9]))
    image = np.zeros((8, 8), np.uint16)
    assert model.read(image).scores[0].positive
    assert not model.read(image, thresholds={"Pneumonia": 0.8}).scores[0].positive


def test_heat_maps_are_averaged_only_over_the_same_crop() -> None:
    upper = np.array([[1, 1], [0, 0]], np.float16)
    left = np.array([[1, 0], [1, 0]], np.float16)
    members = [FakeModel(NIH, [0.1] * 4, grid=upper), FakeModel(ONE, [0.1], grid=left)]
    grid = ensemble(*members).read(np.zeros((8, 8), np.uint16)).scores[0].grid
    assert grid.tolist() == [[1, 0.5], [0.5, 0]]
    elsewhere = FakeModel(ONE, [0.1], grid=left, geometry=replace(HERE, top=9))
    output = ensemble(members[0], elsewhere).read(np.zeros((8, 8), np.uint16))
    assert output.scores[0].grid.tolist() == upper.tolist()


def test_grids_of_different_sizes_are_resized_to_the_finest() -> None:
    grid, scale = mean_grid([np.ones((2, 2)), np.zeros((5, 4))])
    assert grid.shape == (5, 4)
    assert scale == pytest.approx(0.5)
    assert grid.max() == 1
    empty, scale = mean_grid([])
    assert (empty.tolist(), scale) == ([[0.0]], 0.0)


def test_no_member_scores_an_image_refused_by_the_gate() -> None:
    gate = {"file": "gate.npz", "sha256": "0" * 64, "threshold": 1.0}
    gated = replace(ONE, raw={**ONE.raw, "gate": gate})
    model = ensemble(
        FakeModel(NIH, [0.1] * 4, refuses=True), FakeModel(gated, [0.1], refuses=True)
    )
    image = np.zeros((8, 8), np.uint16)
    with pytest.raises(ImageRejected):
        model.read(image)
    assert model.read(image, apply_gate=False).scores
    # A member whose card has no gate is never asked to refuse.
    assert ensemble(
        FakeModel(NIH, [0.1] * 4, refuses=True), FakeModel(ONE, [0.1])
    ).read(image)


@pytest.mark.parametrize("change", ["version", "weights_sha256"])
def test_a_member_that_differs_from_the_ensemble_card_is_refused(change: str) -> None:
    raw = build_ensemble_card([NIH, ONE])
    raw["members"][1][change] = "another"
    members = [FakeModel(NIH, [0.1] * 4), FakeModel(ONE, [0.1])]
    with pytest.raises(ModelError) as caught:
        EnsembleModel(parse_card(raw, folder=Path()), members)
    assert caught.value.reason_code == "member_differs"


def test_a_missing_member_is_refused() -> None:
    raw = build_ensemble_card([NIH, ONE])
    with pytest.raises(ModelError) as caught:
        EnsembleModel(parse_card(raw, folder=Path()), [FakeModel(NIH, [0.1] * 4)])
    assert caught.value.reason_code == "member_missing"


def test_the_identity_depends_only_on_what_decides_a_score() -> None:
    raw = build_ensemble_card([NIH, ONE])
    before = ensemble_sha256(raw)
    assert before == parse_card(raw, folder=Path()).weights_sha256
    assert (
        ensemble_sha256(raw | {"limits": ["new words"], "measurements": []}) == before
    )
    other = json.loads(json.dumps(raw))
    other["members"][0]["weights_sha256"] = "0" * 64
    assert ensemble_sha256(other) != before
    other = json.loads(json.dumps(raw))
    other["combination"]["labels"]["Pneumonia"] = {"one": ["Pneumonia"]}
    assert ensemble_sha256(other) != before


def test_only_calibrated_models_with_weights_can_be_members() -> None:
    scores = replace(ONE, calibration={"calibrated": False})
    with pytest.raises(ModelError, match="not calibrated"):
        build_ensemble_card([NIH, scores])
    with pytest.raises(ModelError, match="no weights"):
        build_ensemble_card([NIH, replace(ONE, weights_sha256=None)])
    with pytest.raises(ModelError, match="is an ensemble itself"):
        build_ensemble_card(
            [NIH, parse_card(build_ensemble_card([NIH, ONE]), folder=Path())]
        )
    with pytest.raises(ModelError, match="each once"):
        build_ensemble_card([ONE, ONE])
    with pytest.raises(ModelError, match="body_parts"):
        build_ensemble_card([NIH, replace(ONE, body_parts=("HEAD",))])
    with pytest.raises(ModelError, match="know one label"):
        build_ensemble_card([NIH, a_card("tb", ["Tuberculosis"], task="sigmoid")])


def test_the_card_has_the_limits_of_its_members() -> None:
    card = replace(ONE, limits=("Children only.",), ages="children")
    raw = build_ensemble_card([NIH, card])
    assert "Children only." in raw["limits"]
    assert raw["accepts"]["ages"] == "any; children"
    assert raw["weights"] is None


@pytest.mark.slow
def test_an_ensemble_on_disk_gives_the_mean_of_its_members(
    tmp_path: Path, cache_dir: Path
) -> None:
    cards = [
        install(tmp_path, tiny_network(seed=seed), name=f"tiny-{seed}")
        for seed in (3, 4)
    ]
    members = [load_model(c, cache_dir=cache_dir, runner="keras") for c in cards]
    images = tmp_path / "images"
    images.mkdir()
    rows = read_manifest(
        write_images(images, list(TINY_LABELS), each=4, splits={"train": 16, "val": 1})
    )
    raw = measured_card(
        build_ensemble_card(cards),
        members,
        rows=rows,
        root=images,
        command=["that", "one"],
    )
    [measured] = raw["measurements"]
    assert measured["command"] == ["that", "one"]
    assert (measured["key"], measured["images"]) == ("val", 12)
    assert "kept out of learning" in raw["calibration"]["checked_on"]
    path = write_card(raw, weights_dir=tmp_path)
    with pytest.raises(ModelError, match="another version"):
        write_card(raw, weights_dir=tmp_path)

    model = load_model(read_card(path), cache_dir=cache_dir, runner="keras")
    image = chest_like()
    single = [probabilities_of(member.read(image)) for member in members]
    assert probabilities_of(model.read(image)) == pytest.approx(
        {
            name: np.mean([each[name] for each in single])
            for name in model.card.label_names
            if name in TINY_LABELS
        }
        | {
            "Pneumonia": np.mean(
                [e["Bacterial pneumonia"] + e["Viral pneumonia"] for e in single]
            )
        }
    )
    assert get_card("chest-ensemble", weights_dir=tmp_path).members
    (tmp_path / "tiny-3" / "1.0.0" / "weights.keras").write_bytes(b"another file")
    with pytest.raises(ModelError) as caught:
        load_model(read_card(path), cache_dir=cache_dir, runner="keras")
    assert caught.value.reason_code == "weights_differ"
