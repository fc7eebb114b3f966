"""The shipped gates on real images; skipped without them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml.cards.card import Card, default_card
from ml.datasets.manifest import read_manifest, with_split
from ml.evaluation.gate.trial import reads, try_gate
from ml.inference import LoadedModel, load_model

pytestmark = pytest.mark.slow
SEEN_A_SOURCE = 12


@pytest.fixture(scope="module")
def card() -> Card:
    """Return the newest card of the default model, if it has a gate."""
    newest = default_card()
    if newest.gate is None:
        pytest.skip(f"{newest.name} {newest.version} has no gate: run fit_gate")
    return newest


@pytest.fixture(scope="module")
def model(card: Card, cache_dir: Path) -> LoadedModel:
    """Return that model, loaded."""
    loaded = load_model(card, cache_dir=cache_dir)
    assert isinstance(loaded, LoadedModel)
    return loaded


def test_the_gate_is_small_and_names_its_training_data(card: Card) -> None:
    assert card.gate is not None
    assert card.gate_file is not None
    assert card.gate_file.stat().st_size < 1_000_000
    assert "train" in card.gate.fitted_on


def test_real_images_pass_and_other_images_do_not(
    model: LoadedModel, chestx_data: Path
) -> None:
    rows = with_split(read_manifest(chestx_data / "manifest.csv"), "val")
    own = [row for row in rows if reads(model.card, row)]
    some = [
        row
        for source in sorted({row.dataset for row in own})
        for row in [r for r in own if r.dataset == source][:SEEN_A_SOURCE]
    ]
    others = [row for row in rows if not reads(model.card, row)]
    report = try_gate(
        model,
        [*some, *others],
        root=chestx_data,
        samples=chestx_data / "samples",
    )
    assert report["samples"]["n"] >= 20
    assert report["samples"]["refused"] == 0
    assert report["real"]["refused"]["share"] <= 0.05
    wrong = report["must_be_refused"]
    assert wrong["n"] >= 300
    assert wrong["auroc"] >= 0.98
