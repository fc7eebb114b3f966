"""ResNet-50 (He et al. 2016), flat, for any input size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml.architectures.layers import convolution, pooled_head

if TYPE_CHECKING:
    import keras

# (number of blocks, channels inside a block) of the four stages of ResNet-50,
# He et al. 2016, table 1.
RESNET50_STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))
EXPANSION = 4
# As in Goyal et al. 2017: each block starts as the identity, which trains faster.
LAST_SCALE = "zeros"


def build_resnet50(
    classes: int, channels: int, dtype: str, size: int | None
) -> keras.Model:
    """Build a ResNet-50 (stride in the 3x3 convolution) for any input size."""
    return _residual_network(
        "resnet50", RESNET50_STAGES, 64, classes, channels, dtype, size
    )


def build_tiny(
    classes: int, channels: int, dtype: str, size: int | None
) -> keras.Model:
    """Build a residual network of a few thousand weights, for fast tests."""
    return _residual_network(
        "tiny", ((1, 4), (1, 8)), 8, classes, channels, dtype, size
    )


def _residual_network(
    name: str,
    stages: tuple[tuple[int, int], ...],
    stem: int,
    classes: int,
    channels: int,
    dtype: str,
    size: int | None,
) -> keras.Model:
    import keras

    layers = keras.layers
    image = keras.Input((size, size, channels), name="image")
    x = convolution(image, stem, 7, 2, "stem", dtype)
    x = layers.ReLU(name="stem_relu", dtype=dtype)(x)
    x = layers.ZeroPadding2D(1, name="stem_pool_pad", dtype=dtype)(x)
    x = layers.MaxPooling2D(3, 2, name="stem_pool", dtype=dtype)(x)
    for stage, (blocks, width) in enumerate(stages, start=1):
        for block in range(1, blocks + 1):
            stride = 2 if block == 1 and stage > 1 else 1
            label = f"stage{stage}_block{block}"
            x = _bottleneck(x, width, stride, block == 1, label, dtype)
    return keras.Model(image, pooled_head(x, classes=classes), name=name)


def _bottleneck(
    x: keras.KerasTensor,
    width: int,
    stride: int,
    project: bool,
    label: str,
    dtype: str,
) -> keras.KerasTensor:
    import keras

    layers = keras.layers
    shortcut = x
    if project:
        label_shortcut = f"{label}_shortcut"
        shortcut = convolution(x, width * EXPANSION, 1, stride, label_shortcut, dtype)
    y = convolution(x, width, 1, 1, f"{label}_reduce", dtype)
    y = layers.ReLU(name=f"{label}_reduce_relu", dtype=dtype)(y)
    y = convolution(y, width, 3, stride, f"{label}_spatial", dtype)
    y = layers.ReLU(name=f"{label}_spatial_relu", dtype=dtype)(y)
    y = convolution(
        y, width * EXPANSION, 1, 1, f"{label}_expand", dtype, scale=LAST_SCALE
    )
    y = layers.Add(name=f"{label}_add", dtype=dtype)([shortcut, y])
    return layers.ReLU(name=f"{label}_relu", dtype=dtype)(y)
