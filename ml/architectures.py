"""Network graphs: flat, every layer named, logits and the last maps as outputs.

Keras is imported inside the functions: whatever only reads a card, draws a heat map
or runs an exported graph must not pay for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml.errors import ModelError

if TYPE_CHECKING:
    import keras

# (number of blocks, channels inside a block) of the four stages of ResNet-50,
# He et al. 2016, table 1.
RESNET50_STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))
EXPANSION = 4
# As in Goyal et al. 2017: each block begins as the identity, which trains faster.
LAST_SCALE = "zeros"


def build(
    architecture: str, *, classes: int, channels: int = 1, dtype: str = "float32"
) -> keras.Model:
    """Build a network with random weights and the outputs (logits, maps).

    Args:
        architecture: A name in `ARCHITECTURES`.
        classes: Number of labels.
        channels: Channels of the input.
        dtype: A Keras dtype policy; logits and maps are float32 whatever it is.

    Returns:
        A model from (batch, height, width, channels) to logits (batch, classes) and
        the last convolution's maps (batch, rows, columns, features), of any size.
    """
    if architecture not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise ModelError(f"No architecture is called {architecture!r}; known: {known}.")
    return ARCHITECTURES[architecture](classes, channels, dtype)


def build_resnet50(classes: int, channels: int, dtype: str) -> keras.Model:
    """Build a ResNet-50 (stride in the 3x3 convolution) for any input size."""
    return _residual_network("resnet50", RESNET50_STAGES, 64, classes, channels, dtype)


def build_tiny(classes: int, channels: int, dtype: str) -> keras.Model:
    """Build a residual network of a few thousand weights, for fast tests."""
    return _residual_network("tiny", ((1, 4), (1, 8)), 8, classes, channels, dtype)


def _residual_network(
    name: str,
    stages: tuple[tuple[int, int], ...],
    stem: int,
    classes: int,
    channels: int,
    dtype: str,
) -> keras.Model:
    import keras

    layers = keras.layers
    film = keras.Input((None, None, channels), name="film")
    x = _convolution(film, stem, 7, 2, "stem", dtype)
    x = layers.ReLU(name="stem_relu", dtype=dtype)(x)
    x = layers.ZeroPadding2D(1, name="stem_pool_pad", dtype=dtype)(x)
    x = layers.MaxPooling2D(3, 2, name="stem_pool", dtype=dtype)(x)
    for stage, (blocks, width) in enumerate(stages, start=1):
        for block in range(1, blocks + 1):
            stride = 2 if block == 1 and stage > 1 else 1
            label = f"stage{stage}_block{block}"
            x = _bottleneck(x, width, stride, block == 1, label, dtype)
    maps = layers.Activation("linear", name="maps", dtype="float32")(x)
    pooled = layers.GlobalAveragePooling2D(name="pool", dtype="float32")(maps)
    logits = layers.Dense(classes, name="logits", dtype="float32")(pooled)
    return keras.Model(film, [logits, maps], name=name)


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
        shortcut = _convolution(x, width * EXPANSION, 1, stride, label_shortcut, dtype)
    y = _convolution(x, width, 1, 1, f"{label}_reduce", dtype)
    y = layers.ReLU(name=f"{label}_reduce_relu", dtype=dtype)(y)
    y = _convolution(y, width, 3, stride, f"{label}_spatial", dtype)
    y = layers.ReLU(name=f"{label}_spatial_relu", dtype=dtype)(y)
    y = _convolution(y, width * EXPANSION, 1, 1, f"{label}_expand", dtype, LAST_SCALE)
    y = layers.Add(name=f"{label}_add", dtype=dtype)([shortcut, y])
    return layers.ReLU(name=f"{label}_relu", dtype=dtype)(y)


def _convolution(
    x: keras.KerasTensor,
    filters: int,
    kernel: int,
    stride: int,
    label: str,
    dtype: str,
    scale: str = "ones",
) -> keras.KerasTensor:
    import keras

    layers = keras.layers
    if kernel > 1:
        # Padded by hand: "same" with a stride pads by size, and shifts the picture.
        x = layers.ZeroPadding2D(kernel // 2, name=f"{label}_pad", dtype=dtype)(x)
    x = layers.Conv2D(
        filters,
        kernel,
        strides=stride,
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{label}_conv",
        dtype=dtype,
    )(x)
    # Statistics of a normalisation do not fit into float16 and stay float32.
    norm_dtype = "float32" if dtype == "float16" else dtype
    return layers.BatchNormalization(
        momentum=0.95,
        epsilon=1e-5,
        gamma_initializer=scale,
        name=f"{label}_norm",
        dtype=norm_dtype,
    )(x)


ARCHITECTURES = {"resnet50": build_resnet50, "tiny": build_tiny}
