"""Images to fit a gate on: train images as they are, varied, and made wrong.

Nothing here tries a gate: `ml.evaluation.gate.trial` turns and cuts other images by
code of its own. Every change is made to display values, uint16 (H, W), before
preprocessing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ml.datasets.manifest import ManifestRow
from ml.errors import MlError
from ml.gate.out_of_distribution import CLASSES, Seen, seen_of
from ml.inference import LoadedModel
from ml.pixels import read_display

FULL = 65535
Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Samples:
    """The input of the gate for images, with the class and source of each."""

    seen: Seen
    classes: np.ndarray
    sources: np.ndarray

    @property
    def upright(self) -> np.ndarray:
        """Bool (images,): the correct images."""
        return self.classes == 0

    def weights(self) -> np.ndarray:
        """Return float weights (images,): rare sources count more."""
        weights = np.zeros(len(self.sources))
        for source in np.unique(self.sources):
            mine = self.sources == source
            weights[mine] = mine.sum() ** -0.5
        return weights / weights.sum()


def choose(rows: Sequence[ManifestRow], *, each: int, seed: int) -> list[ManifestRow]:
    """Choose at most `each` images of every source."""
    by_source: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in rows:
        by_source[row.dataset].append(row)
    rng = np.random.default_rng(seed)
    chosen: list[ManifestRow] = []
    for _, images in sorted(by_source.items()):
        order = rng.permutation(len(images))[:each]
        chosen.extend(images[i] for i in sorted(order))
    return chosen


def look_at(
    model: LoadedModel,
    rows: Iterable[ManifestRow],
    *,
    root: Path,
    wrong_each: int,
    seed: int,
) -> Samples:
    """Run a model on images: each as it is, every second varied, all made wrong.

    Many images once are worth more than few of them often.

    Raises:
        MlError: No image could be read.
        OSError: An image is not there.
    """
    rng = np.random.default_rng(seed)
    seen: list[Seen] = []
    classes: list[int] = []
    sources: list[str] = []
    for number, row in enumerate(rows):
        display = read_display((root / row.path).read_bytes())
        others = rng.choice(len(WRONG), min(wrong_each, len(WRONG)), replace=False)
        shown = [(0, display)]
        if number % 2:
            shown.append((0, vary(display, rng)))
        for place in others:
            name, change = WRONG[place]
            shown.append((CLASSES.index(name), change(vary(display, rng), rng)))
        for kind, image in shown:
            seen.append(look(model, image))
            classes.append(kind)
            sources.append(row.dataset)
    if not seen:
        raise MlError("A gate needs images to fit to.", reason_code="no_images")
    return Samples(
        Seen(
            np.concatenate([one.features for one in seen]),
            np.concatenate([one.thumbnails for one in seen]),
        ),
        np.array(classes),
        np.array(sources),
    )


def look(model: LoadedModel, display: np.ndarray) -> Seen:
    """Return the input of the gate for one image."""
    image, _ = model.prepared(np.ascontiguousarray(display))
    _, maps = model.runner.run(image)
    return seen_of(maps, image)


def vary(display: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shift, rotate and expose an image a little, as another device might."""
    height, width = display.shape
    turn, grow = rng.uniform(-6.0, 6.0), rng.uniform(0.95, 1.12)
    middle = (width / 2, height / 2)
    matrix = cv2.getRotationMatrix2D(middle, turn, grow).astype(np.float64)
    matrix[:, 2] += rng.uniform(-0.03, 0.03, 2) * (width, height)
    moved = cv2.warpAffine(
        display, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE
    )
    curve = (np.arange(256) / 255.0) ** np.exp(rng.uniform(-0.35, 0.35))
    risen = np.interp(moved, np.linspace(0, FULL, 256), curve * FULL)
    blurred = cv2.GaussianBlur(risen, (0, 0), rng.uniform(0.2, 1.2))
    return np.clip(blurred, 0, FULL).astype(np.uint16)


def _inverted(display: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return FULL - display


def _quarter_turn(display: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.rot90(display, int(rng.choice((1, 3))))


def _half_turn(display: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.rot90(display, 2)


def _upside_down(display: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.flipud(display)


def _cut_across(display: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _cut(display, rng)


def _cut_along(display: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _cut(display.T, rng).T


def _cut(display: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Keep about half of the rows, the upper or the lower ones."""
    kept = max(8, int(len(display) * rng.uniform(0.42, 0.58)))
    return display[:kept] if rng.random() < 0.5 else display[-kept:]


def _shuffled(display: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shuffle the tiles of an image: its parts, but no chest."""
    across = int(rng.integers(2, 5))
    height, width = (length // across for length in display.shape)
    tiles = [
        display[r * height : (r + 1) * height, c * width : (c + 1) * width]
        for r in range(across)
        for c in range(across)
    ]
    order = rng.permutation(len(tiles))
    rows = np.split(order, across)
    return np.vstack([np.hstack([tiles[i] for i in row]) for row in rows])


def _phases_drawn(display: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Randomise the phases of an image: same spectrum, other content."""
    spectrum = np.fft.rfft2(display.astype(np.float64))
    drawn = np.fft.rfft2(rng.normal(size=display.shape))
    again = np.fft.irfft2(np.abs(spectrum) * np.exp(1j * np.angle(drawn)))
    low, high = np.percentile(again, (1, 99))
    scaled = (again - low) / max(high - low, 1e-6)
    return (np.clip(scaled, 0.0, 1.0) * FULL).astype(np.uint16)


WRONG: tuple[tuple[str, Change], ...] = (
    ("inverted", _inverted),
    ("rotated", _quarter_turn),
    ("rotated", _half_turn),
    ("rotated", _upside_down),
    ("cropped", _cut_across),
    ("cropped", _cut_along),
    ("unlike_training_images", _shuffled),
    ("unlike_training_images", _phases_drawn),
)
