"""Grad-CAM (Selvaraju et al. 2017) for every label, without a backward pass in Keras.

The gradient of a label's logit with respect to the last maps depends only on the head
behind them (`ml.networks.heads`). For global average pooling and a dense layer it is
the dense weight divided by the number of positions, the same for every image. For
heads with more layers the exact gradient is computed in NumPy. The gradient is that of
the logit, since the gradient of a softmax output vanishes near 0 and 1.
"""

from __future__ import annotations

import numpy as np

from ml.networks.heads import Head


def no_grids(labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the empty grids and scales of a model without heat maps."""
    return np.zeros((labels, 0, 0), np.float16), np.zeros(labels, np.float32)


def grids(maps: np.ndarray, head: Head) -> tuple[np.ndarray, np.ndarray]:
    """Compute the Grad-CAM grid of every label.

    Args:
        maps: float (rows, columns, features), the last convolution's maps.
        head: The layers from the maps to the logits.

    Returns:
        float16 (labels, rows, columns) scaled to at most 1, and float32 (labels,), the
        largest value of each grid before scaling. Grid times scale is what a cell adds
        to the logit: behind global average pooling and one dense layer, all cells (also
        the negative ones, which are left out here) and the bias add up to the logit;
        behind other heads it is the first-order estimate. A label without any positive
        value has a grid of zeros and the scale 0.
    """
    rows, columns, features = maps.shape
    weights = head.weights(maps)
    raw = maps.reshape(-1, features).astype(np.float32) @ weights
    raw = np.maximum(raw, 0.0).T.reshape(-1, rows, columns)
    scales = raw.max(axis=(1, 2))
    safe = np.where(scales > 0, scales, 1.0)
    return (raw / safe[:, None, None]).astype(np.float16), scales.astype(np.float32)
