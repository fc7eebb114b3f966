"""The out-of-distribution gate: fitting, card, rejections."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ml.cards.card import Card, read_card
from ml.datasets.manifest import ManifestRow
from ml.errors import ImageRejected, ModelError
from ml.gate.out_of_distribution import MEASURES, GateResult, load_gate
from ml.inference import LoadedModel, load_model
from ml.training.gate import fit as gate_fitting
from ml.training.gate.fit import fit_gate, held_out_rows, quantile
from tests.ml.image_factory import chest_like, encoded

pytestmark = pytest.mark.slow


IMAGES = 48


def gated_image(seed: int) -> np.ndarray:
    """Return an image that has an upper and a lower end, and two sides that differ."""
    image = chest_like(96, 96, seed=seed).astype(np.float64)
    image[:24] += 9000.0
    image[60:, 50:] += 14000.0
    return np.clip(image, 0, 65535).astype(np.uint16)


def rows_in(root: Path, *, first: int, count: int, split: str) -> list[ManifestRow]:
    """Write images of two sources and return their rows."""
    rows = []
    for seed in range(first, first + count):
        path = f"{seed}.png"
        pixels = (gated_image(seed) // 257).astype(np.uint8)
        (root / path).write_bytes(encoded(pixels, ".png"))
        rows.append(
            ManifestRow(
                path=path,
                dataset=f"source {seed % 2}",
                split=split,
                patient=f"patient {seed}",
                view="PA" if seed % 3 else "",
                licence="",
                labels=("Normal",),
                age_years=float(seed % 90),
            )
        )
    return rows


@pytest.fixture(scope="module")
def gated_card(
    tiny_weights_dir: Path,
    cache_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Card:
    """Return the tiny model with a gate of its own."""
    folder = tmp_path_factory.mktemp("gated") / "1.0.0"
    shutil.copytree(tiny_weights_dir / "tiny" / "1.0.0", folder)
    root = tmp_path_factory.mktemp("images")
    train = rows_in(root, first=0, count=IMAGES, split="train")
    aside = rows_in(root, first=IMAGES, count=IMAGES // 2, split="train")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate_fitting, "PROBE_STEPS", 600)
        patch.setattr(gate_fitting, "WRONG_A_IMAGE", 6)
        entry = fit_gate(folder, train, aside, root, cache_dir)
    card = read_card(folder / "card.json")
    assert card.raw["gate"] == entry
    return card


@pytest.fixture(scope="module")
def gated_model(gated_card: Card, cache_dir: Path) -> LoadedModel:
    """Return that model, loaded."""
    model = load_model(gated_card, cache_dir=cache_dir)
    assert isinstance(model, LoadedModel)
    return model


def refusals(model: LoadedModel, images: list[np.ndarray]) -> list[str]:
    """Return the reason of each image that is refused."""
    reasons = []
    for image in images:
        try:
            model.read(image)
        except ImageRejected as rejection:
            reasons.append(rejection.reason_code)
    return reasons


def new_images(count: int = 20) -> list[np.ndarray]:
    """Return images that no gate was fitted to."""
    return [gated_image(seed) for seed in range(900, 900 + count)]


def test_images_like_the_fitted_ones_are_accepted(
    gated_model: LoadedModel,
) -> None:
    assert len(refusals(gated_model, new_images())) <= 1


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda image: 65535 - image, "inverted"),
        (lambda image: np.rot90(image, 2), "rotated"),
        (lambda image: np.rot90(image), "rotated"),
    ],
)
def test_inverted_and_rotated_images_are_rejected_with_their_reason(
    gated_model: LoadedModel, change: object, code: str
) -> None:
    assert callable(change)
    images = [np.ascontiguousarray(change(image)) for image in new_images()]
    reasons = refusals(gated_model, images)
    assert len(reasons) >= 18
    assert reasons.count(code) >= 16


def test_noise_is_rejected(gated_model: LoadedModel) -> None:
    rng = np.random.default_rng(3)
    noise = [rng.integers(0, 65535, (80, 80)).astype(np.uint16) for _ in range(10)]
    assert len(refusals(gated_model, noise)) == 10


def test_a_rejection_has_its_message_and_no_scores(
    gated_model: LoadedModel,
) -> None:
    with pytest.raises(ImageRejected) as caught:
        gated_model.read(65535 - gated_image(950))
    assert caught.value.reason_code == "inverted"
    assert "inverted" in caught.value.message
    assert caught.value.permanent


def test_without_the_gate_the_image_is_scored_and_the_rejection_recorded(
    gated_model: LoadedModel,
) -> None:
    model_output = gated_model.read(65535 - gated_image(950), apply_gate=False)
    assert model_output.gate is not None
    assert model_output.gate.refused
    assert not model_output.gate.applied
    assert model_output.gate.to_json()["reason_code"]
    assert len(model_output.scores) == 3


def test_the_gate_changes_no_score(gated_model: LoadedModel, tiny_card: Card) -> None:
    image = gated_image(951)
    plain = LoadedModel(tiny_card, gated_model.runner, sha256="")
    without, with_gate = plain.read(image), gated_model.read(image)
    assert without.gate is None
    assert with_gate.gate is not None
    assert with_gate.gate.applied
    assert [score.probability for score in without.scores] == [
        score.probability for score in with_gate.scores
    ]


def test_the_card_describes_how_the_gate_was_fitted(gated_card: Card) -> None:
    gate = gated_card.gate
    assert gate is not None
    assert gate.method == "mahalanobis"
    assert gate.threshold >= 1.0
    assert f"{IMAGES} train images of 2 sources" in gate.fitted_on
    assert f"{IMAGES // 2} train patients held out" in gate.fitted_on
    assert gate.figures is not None
    assert gate.figures.held_out_refused <= 0.05
    assert gated_card.gate_file is not None
    assert gated_card.gate_file.stat().st_size < 1_000_000


@pytest.mark.parametrize("harm", ["missing", "another", "other statistics"])
def test_a_gate_that_does_not_match_the_card_is_refused(
    gated_card: Card, tmp_path: Path, harm: str
) -> None:
    folder = tmp_path / "harmed"
    shutil.copytree(gated_card.weights_file.parent, folder)
    card = read_card(folder / "card.json")
    assert card.gate_file is not None
    if harm == "missing":
        card.gate_file.unlink()
    elif harm == "another":
        card.gate_file.write_bytes(card.gate_file.read_bytes() + b"\0")
    else:
        raw = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        raw["gate"]["sha256"] = "0" * 64
        (folder / "card.json").write_text(json.dumps(raw), encoding="utf-8")
        card = read_card(folder / "card.json")
    with pytest.raises(ModelError):
        load_gate(card)


def test_a_refitted_gate_replaces_the_previous_one(
    gated_card: Card, cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "again"
    shutil.copytree(gated_card.weights_file.parent, folder)
    monkeypatch.setattr(gate_fitting, "PROBE_STEPS", 5)
    rows = rows_in(tmp_path, first=0, count=8, split="train")
    entry = fit_gate(folder, rows[:4], rows[4:], tmp_path, cache_dir)
    again = load_gate(read_card(folder / "card.json"))
    assert again is not None
    assert again.threshold == entry["threshold"]
    assert gated_card.gate is not None
    assert entry["sha256"] != gated_card.gate.sha256


def test_patients_are_held_out_as_the_recipe_did(tmp_path: Path) -> None:
    rows = rows_in(tmp_path, first=0, count=60, split="train")
    stay, aside = held_out_rows(rows, name="no recipe")
    assert {row.patient for row in stay}.isdisjoint(row.patient for row in aside)
    assert len(stay) + len(aside) == 60
    assert 0 < len(aside) < 15


def test_a_quantile_counts_weights() -> None:
    values = np.array([1.0, 2.0, 3.0])
    assert quantile(values, 0.5, np.array([1.0, 1.0, 1.0])) == 2.0
    assert quantile(values, 0.5, np.array([1.0, 1.0, 8.0])) == 3.0
    assert quantile(values, 1.0, np.array([1.0, 1.0, 8.0])) == 3.0


def test_every_measure_of_the_probe_has_its_own_message() -> None:
    rejections = [GateResult(2.0, 1.0, code).rejection() for code in MEASURES[3:]]
    assert [rejection.reason_code for rejection in rejections] == list(MEASURES[3:])
    assert len({rejection.message for rejection in rejections}) == len(MEASURES[3:])
