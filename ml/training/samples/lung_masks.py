"""Lung masks of the images of a training run, computed once and cached."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from ml.datasets.image_cache import PackedImages
from ml.images.lungs import find_lungs

# Side of a kept mask: a lung's place is known to a few hundredths of the image.
MASK_SIZE = 64
# Goes up with every change to `ml.images.lungs` that moves its outlines.
OUTLINE_VERSION = 1


def lung_masks(images: PackedImages, *, cache_dir: Path) -> np.ndarray:
    """Return the lung masks of packed images, from the cache if they are there.

    Returns:
        bool (images, MASK_SIZE, MASK_SIZE), each over its whole image; nothing is set
        where the lungs of an image could not be found.
    """
    kept = cache_dir / f"lungs-{OUTLINE_VERSION}-{images.key}.npy"
    if kept.exists():
        return np.load(kept).astype(bool)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        each = list(pool.map(lambda i: _mask(images.deep_image(i)), range(len(images))))
    masks = np.stack(each) if each else np.zeros((0, MASK_SIZE, MASK_SIZE), bool)
    temporary = kept.with_suffix(f".{os.getpid()}.npy")
    np.save(temporary, masks)
    temporary.replace(kept)
    return masks


def _mask(image: np.ndarray) -> np.ndarray:
    lungs = find_lungs(image)
    if not lungs.estimated:
        return np.zeros((MASK_SIZE, MASK_SIZE), bool)
    small = cv2.resize(
        lungs.mask.astype(np.float32),
        (MASK_SIZE, MASK_SIZE),
        interpolation=cv2.INTER_AREA,
    )
    return small >= 0.5
