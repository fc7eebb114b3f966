"""A frozen trunk: the first four stages of EfficientNet-Lite0, from ImageNet.

Its outputs for a few variations of each image are computed once and kept in a cache.
Trials train the later stages on them. The trunk of a trained model would not do: it has
seen the sources that a trial leaves out.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ml.architectures.efficientnet_lite import build_efficientnet_lite0
from ml.datasets.manifest import ManifestRow, PackedImages
from ml.training.run import pack_rows
from ml.training.samples.augmentation import Augmentation, vary
from ml.training.samples.lung_masks import lung_masks
from ml.training.samples.sequences import plain_inputs
from ml.training.start.initial_weights import initialise

if TYPE_CHECKING:
    import keras

LAST_LAYER = "stage4_block3_add"
BATCH = 32
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Shortened:
    """Settings of a shortened training.

    Attributes:
        size: Side of the images.
        variations: Of each image, computed once; beside the plain image.
        epochs: Passes over the images that are learned from.
        init: Initial weights of the network.
        seed: Decides variations, order and the weights of the head.
    """

    size: int = 160
    variations: int = 3
    epochs: int = 6
    init: str = "efficientnet-lite0"
    seed: int = 20260


@dataclass(frozen=True)
class SplitNetwork:
    """A network in two parts; `start` are the first weights of the later part.

    `branch` has the outputs logits (batch, labels) and pooled features.
    """

    trunk: keras.Model
    branch: keras.Model
    start: list[np.ndarray]


def split_network(classes: int, settings: Shortened) -> SplitNetwork:
    """Build the network and cut it behind the trunk."""
    import keras

    keras.utils.set_random_seed(settings.seed)
    # The stride of the original: the maps of the models would double the time.
    network = build_efficientnet_lite0(classes, 1, "float32", None, last_stride=2)
    initialise(network, settings.init)
    cut = network.get_layer(LAST_LAYER).output
    trunk = keras.Model(network.inputs, cut)
    branch = keras.Model(cut, [network.outputs[0], network.get_layer("pool").output])
    return SplitNetwork(trunk, branch, branch.get_weights())


def trunk_features(
    trunk: keras.Model,
    rows: Sequence[ManifestRow],
    *,
    root: Path,
    cache_dir: Path,
    settings: Shortened,
    augmentation: Augmentation,
    progress: Progress = lambda done, total: None,
) -> np.ndarray:
    """Return the outputs of the trunk, from the cache if they are there.

    Returns:
        float16 (images, 1 + variations, rows, columns, channels), memory-mapped; of
        each image the plain one is the first.
    """
    images = pack_rows(rows, root, cache_dir)
    kept_for = asdict(replace(settings, epochs=0))
    about = json.dumps([kept_for, asdict(augmentation), images.key])
    digest = hashlib.sha256(about.encode()).hexdigest()[:24]
    kept = cache_dir / "trials" / f"trunk-{digest}.npy"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        lungs = None
        if augmentation.looks_for_lungs:
            lungs = lung_masks(images, cache_dir=cache_dir)
        _write(kept, trunk, images, lungs, settings, augmentation, progress)
    return np.load(kept, mmap_mode="r")


def _write(
    kept: Path,
    trunk: keras.Model,
    images: PackedImages,
    lungs: np.ndarray | None,
    settings: Shortened,
    augmentation: Augmentation,
    progress: Progress,
) -> None:
    temporary = kept.with_suffix(f".{os.getpid()}.tmp")
    count, rounds = len(images), 1 + settings.variations
    square = (1, settings.size, settings.size, 1)
    shape = trunk.compute_output_shape(square)[1:]
    whole = np.lib.format.open_memmap(
        temporary, mode="w+", dtype=np.float16, shape=(count, rounds, *shape)
    )
    for begin in range(0, count, BATCH):
        chosen = range(begin, min(begin + BATCH, count))
        for number in range(rounds):
            inputs = (
                _varied(images, chosen, number, lungs, settings, augmentation)
                if number
                else plain_inputs(images, chosen, size=settings.size)
            )
            whole[chosen.start : chosen.stop, number] = trunk.predict_on_batch(inputs)
        progress(chosen.stop, count)
    whole.flush()
    temporary.replace(kept)


def _varied(
    images: PackedImages,
    chosen: range,
    number: int,
    lungs: np.ndarray | None,
    settings: Shortened,
    augmentation: Augmentation,
) -> np.ndarray:
    return np.stack(
        [
            vary(
                images.deep_image(i),
                size=settings.size,
                rng=np.random.default_rng((settings.seed, number, i)),
                strength=augmentation,
                lungs=None if lungs is None else lungs[i],
            )
            for i in chosen
        ]
    )
