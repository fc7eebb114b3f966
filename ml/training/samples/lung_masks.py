"""Where the lungs of the films of a training run lie, found once and kept."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from ml.datasets.image_cache import PackedFilms
from ml.images.lungs import find_lungs

# Side of a kept mask: a lung's place is known to a few hundredths of the film.
MASK_SIZE = 64
# Goes up with every change to `ml.images.lungs` that moves its outlines.
OUTLINE_VERSION = 1


def lung_masks(films: PackedFilms, *, cache_dir: Path) -> np.ndarray:
    """Find the lungs of packed films, or take what an earlier run found.

    Returns:
        bool (films, MASK_SIZE, MASK_SIZE), each over its whole film; nothing is set
        where the lungs of a film could not be found.
    """
    kept = cache_dir / f"lungs-{OUTLINE_VERSION}-{films.key}.npy"
    if kept.exists():
        return np.load(kept).astype(bool)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        masks = list(pool.map(lambda i: _mask(films.deep_film(i)), range(len(films))))
    found = np.stack(masks) if masks else np.zeros((0, MASK_SIZE, MASK_SIZE), bool)
    temporary = kept.with_suffix(f".{os.getpid()}.npy")
    np.save(temporary, found)
    temporary.replace(kept)
    return found


def _mask(film: np.ndarray) -> np.ndarray:
    lungs = find_lungs(film)
    if not lungs.estimated:
        return np.zeros((MASK_SIZE, MASK_SIZE), bool)
    small = cv2.resize(
        lungs.mask.astype(np.float32),
        (MASK_SIZE, MASK_SIZE),
        interpolation=cv2.INTER_AREA,
    )
    return small >= 0.5
