"""Small networks as other people save them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

layers = keras.layers
SIZE = 32


def flat_cnn(
    *, outputs: int = 3, activation: str | None = "softmax", augmented: bool = True
) -> keras.Model:
    """Build a plain CNN that scales inside and has dense layers behind flat maps."""
    keras.utils.set_random_seed(1)
    augmentation = [layers.RandomFlip("horizontal")] if augmented else []
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            *augmentation,
            layers.Rescaling(1 / 255),
            layers.Conv2D(6, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Dropout(0.2),
            layers.Conv2D(8, 3, activation="relu", name="last"),
            layers.MaxPooling2D(2),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(12, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(outputs, activation=activation),
        ]
    )


def nested(*, free_size: bool = False) -> keras.Model:
    """Build a network with a whole other one as a layer, as transfer learning does."""
    keras.utils.set_random_seed(2)
    side = None if free_size else SIZE
    inner_image = keras.Input((side, side, 1))
    x = layers.SeparableConv2D(6, 3, strides=2, use_bias=False)(inner_image)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU()(x)
    y = layers.Conv2D(6, 3, padding="same", activation="relu")(x)
    inner = keras.Model(inner_image, layers.Add(name="sum")([x, y]), name="backbone")
    inner.trainable = False
    image = keras.Input((side, side, 1))
    scaling = layers.Normalization(axis=-1)
    scaling.adapt(np.random.default_rng(0).uniform(0, 255, (4, SIZE, SIZE, 1)))
    x = inner(scaling(image), training=False)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(1, activation="sigmoid")(x))


def two_poolings() -> keras.Model:
    """Build a network whose head joins two ways: no gradient of ours is known."""
    keras.utils.set_random_seed(3)
    image = keras.Input((SIZE, SIZE, 1))
    maps = layers.Conv2D(5, 3, activation="relu")(image)
    both = layers.Concatenate()(
        [layers.GlobalAveragePooling2D()(maps), layers.GlobalMaxPooling2D()(maps)]
    )
    return keras.Model(image, layers.Dense(2)(both))


def _layer(kind: str, name: str, before: str | None, **config: Any) -> dict[str, Any]:
    options = config.pop("options", {})
    nodes = [[[before, 0, 0, options]]] if before else []
    return {
        "class_name": kind,
        "name": name,
        "config": {"name": name, "trainable": True, "dtype": "float32", **config},
        "inbound_nodes": nodes,
    }


def keras2_config(scaling: dict[str, Any]) -> dict[str, Any]:
    """Return what Keras 2.11 wrote into `.h5` files of a network like Xception."""
    size = [None, SIZE, SIZE, 1]
    normal = {"axis": [3], "momentum": 0.99, "epsilon": 0.001, "renorm": False}
    separable = {
        "filters": 4,
        "kernel_size": [3, 3],
        "groups": 1,
        "use_bias": False,
        "depth_multiplier": 1,
        "kernel_initializer": {"class_name": "GlorotUniform", "config": {"seed": None}},
        "kernel_regularizer": None,
        "kernel_constraint": None,
    }
    chain = [
        _layer("InputLayer", "input_1", None, batch_input_shape=size, ragged=False),
        scaling,
        _layer("SeparableConv2D", "sepconv", scaling["name"], **separable),
        _layer("BatchNormalization", "bn", "sepconv", **normal),
        _layer("Activation", "act", "bn", activation="relu"),
        _layer("Flatten", "flatten", "act", data_format="channels_last"),
        _layer("Dense", "dense", "flatten", units=2, activation="softmax"),
    ]
    for layer in chain:
        if layer["class_name"] == "InputLayer":
            del layer["config"]["trainable"]
    return {
        "class_name": "Functional",
        "config": {
            "name": "model",
            "trainable": True,
            "layers": chain,
            "input_layers": [["input_1", 0, 0]],
            "output_layers": [["dense", 0, 0]],
        },
    }


def normalisation_layer() -> dict[str, Any]:
    """Return a Normalization layer that was adapted, as Keras 2 described it."""
    return _layer(
        "Normalization", "scale", "input_1", axis=[-1], mean=None, variance=None
    )


def division_by(number: float) -> dict[str, Any]:
    """Return what Keras 2 wrote for `x / number` in a functional network."""
    layer = _layer(
        "TFOpLambda",
        "tf.math.truediv",
        "input_1",
        function="math.truediv",
        options={"y": number, "name": None},
    )
    layer["inbound_nodes"] = layer["inbound_nodes"][0]
    return layer


def write_keras2(path: Path, config: dict[str, Any]) -> dict[str, np.ndarray]:
    """Write a configuration as Keras 2 did, with random weights; return those."""
    rng = np.random.default_rng(5)
    side = SIZE - 2
    weights = {
        "scale/mean:0": np.array([120.0]),
        "scale/variance:0": np.array([3600.0]),
        "scale/count:0": np.array(0),
        "sepconv/depthwise_kernel:0": rng.normal(size=(3, 3, 1, 1)),
        "sepconv/pointwise_kernel:0": rng.normal(size=(1, 1, 1, 4)),
        "bn/gamma:0": rng.uniform(0.5, 1.5, 4),
        "bn/beta:0": rng.normal(size=4),
        "bn/moving_mean:0": rng.normal(size=4),
        "bn/moving_variance:0": rng.uniform(0.5, 1.5, 4),
        "dense/kernel:0": rng.normal(scale=0.02, size=(side * side * 4, 2)),
        "dense/bias:0": rng.normal(size=2),
    }
    names = [layer["name"] for layer in config["config"]["layers"]]
    with h5py.File(path, "w") as stored:
        stored.attrs["keras_version"] = "2.11.0"
        stored.attrs["backend"] = "tensorflow"
        stored.attrs["model_config"] = json.dumps(config)
        groups = stored.create_group("model_weights")
        groups.attrs["layer_names"] = [name.encode() for name in names]
        groups.attrs["keras_version"] = b"2.11.0"
        for name in names:
            own = [key for key in weights if key.startswith(f"{name}/")]
            group = groups.create_group(name)
            group.attrs["weight_names"] = [key.encode() for key in own]
            for key in own:
                kind = "i8" if "count" in key else "f4"
                group.create_dataset(key, data=weights[key].astype(kind))
    return weights
