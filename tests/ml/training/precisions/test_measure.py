"""A precision is offered where it changes little; the card says how much."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from ml.cards.card import Card, read_card
from ml.datasets.manifest import ManifestRow
from ml.errors import ModelError
from ml.inference import load_model
from ml.training.precisions import measure
from ml.training.precisions.measure import (
    GRAPH_INT8_NAME,
    Outputs,
    compare,
    measure_precisions,
    split_rows,
)
from ml.training.precisions.quantise import silent_nncf
from tests.ml.image_factory import chest_like


def outputs(*probabilities: float, refused: bool = False) -> Outputs:
    return Outputs(np.array([probabilities]), np.array([refused]))


@pytest.mark.parametrize(
    ("probability", "offered", "flags"),
    [(0.419, True, 0), (0.43, False, 0), (0.39, False, 1)],
)
def test_a_precision_is_offered_only_where_it_changes_little(
    plain_card: Card, probability: float, offered: bool, flags: int
) -> None:
    one = outputs(0.45 if flags else 0.4, 0.1, 0.1)
    check = compare(plain_card, one, outputs(probability, 0.1, 0.1, refused=True))
    assert (check.offered, check.flags_changed) == (offered, flags)
    assert check.refusals_changed == 1


def rows(count: int) -> list[ManifestRow]:
    return [
        ManifestRow(f"{n}.png", "tiny", "train", f"p{n // 2}", "", "", ("Normal",))
        for n in range(count)
    ]


def test_ranges_and_comparison_are_of_different_patients() -> None:
    calibration, compared = split_rows(rows(100))
    assert len(calibration) + len(compared) == 100
    assert not {r.patient for r in calibration} & {r.patient for r in compared}


@pytest.mark.slow
def test_nncf_cannot_report_its_use() -> None:
    nncf = silent_nncf()
    assert type(nncf.telemetry.telemetry).__name__ != "NNCFTelemetry"


@pytest.fixture
def tiny_folder(tiny_card: Card, tmp_path: Path) -> Path:
    folder = tmp_path / "weights" / "tiny" / "1.0.0"
    shutil.copytree(tiny_card.weights_file.parent, folder)
    for row in rows(24):
        seed = int(row.path.removesuffix(".png"))
        cv2.imwrite(str(tmp_path / row.path), chest_like(seed=seed))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1.0, 0.0])
def test_the_int8_graph_is_kept_only_where_it_is_offered(
    tiny_folder: Path,
    tmp_path: Path,
    cache_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: float,
) -> None:
    monkeypatch.setattr(measure, "LARGEST_DIFFERENCE", limit)
    [entry] = measure_precisions(
        [tiny_folder], rows(24), root=tmp_path, cache_dir=cache_dir, command=["python"]
    )
    packed = tiny_folder / GRAPH_INT8_NAME
    card = read_card(tiny_folder / "card.json")
    assert card.precisions == entry
    assert entry.int8 is not None
    assert entry.int8.largest_difference > 0
    assert packed.exists() == entry.int8.offered == bool(limit)
    read = load_model(card, cache_dir=cache_dir, precision="int8").read(chest_like())
    assert read.precision == ("int8" if limit else "float32")
    assert all(score.grid.shape == (8, 8) for score in read.scores)
    if limit:
        # The unpacked graph is kept; a new cache needs the file of the card.
        packed.write_bytes(b"another")
        with pytest.raises(ModelError, match="INT8 graph"):
            load_model(card, cache_dir=tmp_path / "new", precision="int8")
