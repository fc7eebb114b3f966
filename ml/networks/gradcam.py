"""Grad-CAM without a backward pass (Selvaraju et al. 2017), for every label at once.

The gradient of a label's logit by the last convolution's maps depends only on the
head behind them (`ml.networks.heads`). For global average pooling and a dense layer it
is the dense weight divided by the number of positions, the same for every image; where
the head has more layers, its exact gradient is worked out in NumPy. Always the logit:
the gradient of a softmax's own output vanishes where it is sure.
"""

from __future__ import annotations

import numpy as np

from ml.networks.heads import Head


def no_grids(labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the empty grids of a model that cannot say where a score comes from."""
    return np.zeros((labels, 0, 0), np.float16), np.zeros(labels, np.float32)


def grids(maps: np.ndarray, head: Head) -> tuple[np.ndarray, np.ndarray]:
    """Return the Grad-CAM grid of every label.

    Args:
        maps: float (rows, columns, features), the last convolution's maps.
        head: What stands between the maps and the logits.

    Returns:
        float16 (labels, rows, columns) scaled to at most 1, and float32 (labels,),
        the largest value of each before scaling. A label that nothing speaks for has
        a grid of zeros and the scale 0.
    """
    rows, columns, features = maps.shape
    weights = head.weights(maps)
    raw = maps.reshape(-1, features).astype(np.float32) @ weights
    raw = np.maximum(raw, 0.0).T.reshape(-1, rows, columns)
    scales = raw.max(axis=(1, 2))
    safe = np.where(scales > 0, scales, 1.0)
    return (raw / safe[:, None, None]).astype(np.float16), scales.astype(np.float32)
