"""The default model is chosen on held-out train patients, with the runner-up named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ml.cards.card import Card, parse_card
from ml.datasets.manifest import ManifestRow, drawn_percent
from ml.errors import ModelError
from ml.evaluation.default_choice import choose_default
from tests.ml.conftest import TINY_LABELS, card_json
from tests.ml.image_factory import encoded

HELD_OUT = [name for name in map(str, range(1500)) if drawn_percent(name) < 8]


class Reader:
    """A model that reads the class from the image, and errs on dark images."""

    weights_sha256 = ""

    def __init__(self, name: str, *, darkest: int, labels: Sequence[str] = ()) -> None:
        raw = card_json(name=name)
        if labels:
            raw["labels"] = [{"name": n, "display": n, "snomed": "1"} for n in labels]
            raw["thresholds"] = {"values": dict.fromkeys(labels, 0.5)}
        raw["default"] = name == "former"
        self.card: Card = parse_card(raw, folder=Path())
        self._darkest = darkest
        self.images = 0

    def read(self, display: np.ndarray, **_options: Any) -> Any:
        self.images += 1
        column, grey = (int(value) // 257 for value in display[0, :2])
        column = column if grey >= self._darkest else (column + 1) % 3
        return SimpleNamespace(
            scores=[SimpleNamespace(probability=float(i == column)) for i in range(3)]
        )

    def read_many(self, displays: Any, **options: Any) -> list[Any]:
        return [self.read(display, **options) for display in displays]


@pytest.fixture
def rows(tmp_path: Path) -> list[ManifestRow]:
    """Return images of held-out patients, and as many that no candidate may read."""
    made = []
    for number, patient in enumerate(HELD_OUT):
        column = number % 3
        pixels = np.tile(np.array([column, number], "u1"), (16, 8))
        path = f"{number}.png"
        (tmp_path / path).write_bytes(encoded(pixels, ".png"))
        made.append(
            ManifestRow(
                path, "kermany", "train", patient, "AP", "", (TINY_LABELS[column],)
            )
        )
    learned = [
        replace(row, path="none.png", patient=f"learned {i}")
        for i, row in enumerate(made)
        if drawn_percent(f"learned {i}") >= 8
    ]
    val = [replace(row, path="none.png", split="val") for row in made]
    other = [replace(row, path="none.png", dataset="nih") for row in made]
    return [*made, *learned, *val, *other]


def chosen(models: list[Reader], rows: list[ManifestRow], root: Path) -> Any:
    return choose_default(
        models, rows, root=root, dataset="kermany", command=("choose",)
    )


def test_the_better_one_on_held_out_train_images_is_chosen(
    rows: list[ManifestRow], tmp_path: Path
) -> None:
    former, better = Reader("former", darkest=60), Reader("better", darkest=10)
    choice = chosen([former, better], rows, tmp_path)
    assert choice.winner is better.card
    assert (former.images, better.images) == (len(HELD_OUT), len(HELD_OUT))
    chosen_by = choice.chosen_by
    assert chosen_by.images == chosen_by.patients == len(HELD_OUT)
    assert chosen_by.runner_up == "former 1.0.0"
    assert chosen_by.difference.value == pytest.approx(
        choice.values["better 1.0.0"] - choice.values["former 1.0.0"], abs=1e-3
    )
    assert 0.0 < chosen_by.difference.low < chosen_by.difference.high


def test_the_cards_say_who_is_the_default_and_why(
    rows: list[ManifestRow], tmp_path: Path
) -> None:
    former, better = Reader("former", darkest=60), Reader("better", darkest=10)
    choice = chosen([former, better], rows, tmp_path)
    winner = parse_card(choice.raw_of(better.card), folder=tmp_path).contents
    loser = parse_card(choice.raw_of(former.card), folder=tmp_path).contents
    assert (winner.default, winner.chosen_by) == (True, choice.chosen_by)
    assert (loser.default, loser.chosen_by) == (False, None)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ([], "at least two"),
        ([Reader("other", darkest=0, labels=("Normal", "Mass"))], "different labels"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    rows: list[ManifestRow], tmp_path: Path, others: list[Reader], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        chosen([Reader("former", darkest=0), *others], rows, tmp_path)
