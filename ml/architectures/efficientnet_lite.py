"""EfficientNet-Lite 0 to 2 (Liu 2020), flat: no squeeze-and-excitation, ReLU6.

EfficientNet (Tan and Le 2019, table 1) with the changes of the Lite variants: stem and
top are not scaled, nor is the number of blocks of the first and last stage. The last
strided stage keeps its stride of 1 here, so the maps have twice the rows and columns of
the original: finer heat maps, from the same weights.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from ml.architectures.layers import normalisation, pooled_head

if TYPE_CHECKING:
    import keras

# Blocks, kernel, stride, expansion, channels of the stages.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM_CHANNELS = 32
TOP_CHANNELS = 1280
# Width and depth, by variant.
SCALES = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2)}
DROPOUT = 0.2
EPSILON = 1e-3
_LAST_STRIDED_STAGE = 5


def _build(
    variant: int,
    classes: int,
    channels: int,
    dtype: str,
    size: int | None,
    *,
    last_stride: int = 1,
) -> keras.Model:
    """Build a variant for any input size that is a multiple of 16.

    With a `last_stride` of 2, the maps are as small as those of the original.
    """
    import keras

    width, depth = SCALES[variant]
    image = keras.Input((size, size, channels), name="image")
    x = _convolution(image, STEM_CHANNELS, 3, 2, "stem", dtype)
    x = _relu6(x, "stem", dtype)
    before = STEM_CHANNELS
    for stage, (blocks, kernel, stride, expansion, wanted) in enumerate(STAGES):
        filters = _scaled(wanted, width)
        if stage not in (0, len(STAGES) - 1):
            blocks = math.ceil(blocks * depth)
        if stage == _LAST_STRIDED_STAGE:
            stride = last_stride
        for block in range(blocks):
            x = _inverted_bottleneck(
                x,
                before=before,
                filters=filters,
                kernel=kernel,
                stride=stride if block == 0 else 1,
                expansion=expansion,
                label=f"stage{stage + 1}_block{block + 1}",
                dtype=dtype,
            )
            before = filters
    x = _convolution(x, TOP_CHANNELS, 1, 1, "top", dtype)
    x = _relu6(x, "top", dtype)
    outputs = pooled_head(x, classes=classes, dropout=DROPOUT)
    return keras.Model(image, outputs, name=f"efficientnet-lite{variant}")


build_efficientnet_lite0 = partial(_build, 0)
build_efficientnet_lite1 = partial(_build, 1)
build_efficientnet_lite2 = partial(_build, 2)


def _scaled(channels: int, width: float) -> int:
    """Return a number of channels times the width, a multiple of 8."""
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def _inverted_bottleneck(
    x: keras.KerasTensor,
    *,
    before: int,
    filters: int,
    kernel: int,
    stride: int,
    expansion: int,
    label: str,
    dtype: str,
) -> keras.KerasTensor:
    import keras

    shortcut = x
    if expansion > 1:
        x = _convolution(x, before * expansion, 1, 1, f"{label}_expand", dtype)
        x = _relu6(x, f"{label}_expand", dtype)
    x = _padded(x, kernel, stride, f"{label}_depthwise", dtype)
    x = keras.layers.DepthwiseConv2D(
        kernel,
        strides=stride,
        use_bias=False,
        depthwise_initializer="he_normal",
        name=f"{label}_depthwise_conv",
        dtype=dtype,
    )(x)
    x = normalisation(x, f"{label}_depthwise", dtype, epsilon=EPSILON)
    x = _relu6(x, f"{label}_depthwise", dtype)
    x = _convolution(x, filters, 1, 1, f"{label}_project", dtype)
    if stride == 1 and before == filters:
        x = keras.layers.Add(name=f"{label}_add", dtype=dtype)([shortcut, x])
    return x


def _convolution(
    x: keras.KerasTensor, filters: int, kernel: int, stride: int, label: str, dtype: str
) -> keras.KerasTensor:
    import keras

    x = _padded(x, kernel, stride, label, dtype)
    x = keras.layers.Conv2D(
        filters,
        kernel,
        strides=stride,
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{label}_conv",
        dtype=dtype,
    )(x)
    return normalisation(x, label, dtype, epsilon=EPSILON)


def _padded(
    x: keras.KerasTensor, kernel: int, stride: int, label: str, dtype: str
) -> keras.KerasTensor:
    """Pad as the original does an even size: at the end, where that is not half."""
    import keras

    total = kernel - stride
    if total <= 0:
        return x
    sides = (total // 2, total - total // 2)
    return keras.layers.ZeroPadding2D((sides, sides), name=f"{label}_pad", dtype=dtype)(
        x
    )


def _relu6(x: keras.KerasTensor, label: str, dtype: str) -> keras.KerasTensor:
    import keras

    return keras.layers.ReLU(6, name=f"{label}_relu", dtype=dtype)(x)
