"""Which classes a model file may name: what networks for images are made of.

A configuration names a class by words that Keras looks up. They are looked up here in
the same way, and the class that is found has to be on the list, whatever it is called.
Left out are layers that run code of their own (Lambda, TFSMLayer, TorchModuleWrapper,
JaxLayer, FlaxLayer), that read files (StringLookup, TextVectorization and similar), and
operations that take a function (they are in other modules than those below).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from types import FunctionType, ModuleType
from typing import Any

_LAYERS = frozenset(
    [
        "Activation",
        "ActivityRegularization",
        "AdaptiveAveragePooling2D",
        "AdaptiveMaxPooling2D",
        "Add",
        "AdditiveAttention",
        "AlphaDropout",
        "Attention",
        "AugMix",
        "AutoContrast",
        "Average",
        "AveragePooling1D",
        "AveragePooling2D",
        "AveragePooling3D",
        "BatchNormalization",
        "CenterCrop",
        "Concatenate",
        "ContrastLimitedAdaptiveHistogramEqualization",
        "Conv1D",
        "Conv1DTranspose",
        "Conv2D",
        "Conv2DTranspose",
        "Conv3D",
        "Conv3DTranspose",
        "Cropping1D",
        "Cropping2D",
        "Cropping3D",
        "CutMix",
        "Dense",
        "DepthwiseConv1D",
        "DepthwiseConv2D",
        "Dot",
        "Dropout",
        "ELU",
        "EinsumDense",
        "Embedding",
        "Equalization",
        "Flatten",
        "GaussianDropout",
        "GaussianNoise",
        "GlobalAveragePooling1D",
        "GlobalAveragePooling2D",
        "GlobalAveragePooling3D",
        "GlobalMaxPooling1D",
        "GlobalMaxPooling2D",
        "GlobalMaxPooling3D",
        "GroupNormalization",
        "GroupQueryAttention",
        "Identity",
        "InputLayer",
        "LayerNormalization",
        "LeakyReLU",
        "MaxPooling1D",
        "MaxPooling2D",
        "MaxPooling3D",
        "Maximum",
        "Minimum",
        "MixUp",
        "MultiHeadAttention",
        "Multiply",
        "Normalization",
        "PReLU",
        "Permute",
        "Pipeline",
        "RMSNormalization",
        "RandAugment",
        "RandomBrightness",
        "RandomColorDegeneration",
        "RandomColorJitter",
        "RandomContrast",
        "RandomCrop",
        "RandomElasticTransform",
        "RandomErasing",
        "RandomFlip",
        "RandomGaussianBlur",
        "RandomGrayscale",
        "RandomHue",
        "RandomInvert",
        "RandomPerspective",
        "RandomPosterization",
        "RandomRotation",
        "RandomSaturation",
        "RandomSharpness",
        "RandomShear",
        "RandomTranslation",
        "RandomZoom",
        "ReLU",
        "RepeatVector",
        "Rescaling",
        "Reshape",
        "Resizing",
        "SeparableConv1D",
        "SeparableConv2D",
        "Softmax",
        "Solarization",
        "SpatialDropout1D",
        "SpatialDropout2D",
        "SpatialDropout3D",
        "SpectralNormalization",
        "Subtract",
        "UnitNormalization",
        "UpSampling1D",
        "UpSampling2D",
        "UpSampling3D",
        "ZeroPadding1D",
        "ZeroPadding2D",
        "ZeroPadding3D",
    ]
)
# Where Keras has its class Functional, which it does not export.
_NETWORKS = "keras.src.models"
# Operations on arrays, such as `x / 127.5` in a functional network.
_OPERATION_MODULES = frozenset(
    {"keras.src.ops.numpy", "keras.src.ops.nn", "keras.src.ops.image"}
)
# Values that Keras writes in the form of objects; they name no class.
_VALUES = frozenset(
    {"__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__"}
)
_FUNCTION = "function"
_FUNCTION_MODULES = ("activations", "losses", "metrics")
_NO_FUNCTIONS_OF_A_NETWORK = frozenset({"deserialize", "get", "serialize"})


def is_allowed(part: Mapping[str, Any]) -> bool:
    """Return whether a network may have the object that Keras would make.

    Args:
        part: A part of a configuration with "class_name", as parsed from JSON.
    """
    name, module = part.get("class_name"), part.get("module")
    if not isinstance(name, str) or not isinstance(module, str | None):
        return False
    if name in _VALUES:
        return True
    if name == _FUNCTION:
        return _is_function_of_a_network(part.get("config"), module)
    # Keras registers a name only for its own Functional class.
    if part.get("registered_name") not in (None, name):
        return False
    found = _class(name, module) if module else _class_of_former_file(name)
    return isinstance(found, type) and _is_allowed_class(found)


def _class(name: str, module: str) -> object:
    """Return what a module of Keras has under a name; load no further module."""
    if module.split(".")[0] != "keras":
        return None
    return vars(sys.modules.get(module, ModuleType(module))).get(name)


def _class_of_former_file(name: str) -> object:
    """Return a class by its name alone, as `.h5` files of Keras 2 write it."""
    import keras

    namespaces = (
        keras.layers,
        keras,
        keras.initializers,
        keras.regularizers,
        keras.constraints,
        sys.modules[_NETWORKS],
    )
    return next(
        (vars(space)[name] for space in namespaces if name in vars(space)), None
    )


def _is_function_of_a_network(name: object, module: str | None) -> bool:
    import keras

    if not isinstance(name, str) or name in _NO_FUNCTIONS_OF_A_NETWORK:
        return False
    for space in _FUNCTION_MODULES:
        if module in (None, "builtins", f"keras.{space}") and isinstance(
            vars(getattr(keras, space)).get(name), FunctionType
        ):
            return True
    return False


def _is_allowed_class(found: type) -> bool:
    import keras

    if found in _layers_and_networks():
        return True
    if found.__module__ in _OPERATION_MODULES:
        return issubclass(found, keras.Operation)
    return found.__module__.startswith("keras.src.") and issubclass(found, _settings())


@cache
def _layers_and_networks() -> frozenset[type]:
    """Return the classes of layers, and of networks that consist of layers."""
    import keras

    functional = sys.modules[_NETWORKS].Functional
    return frozenset(
        {getattr(keras.layers, name) for name in _LAYERS}
        | {keras.Model, keras.Sequential, functional}
    )


@cache
def _settings() -> tuple[type, ...]:
    """Return the bases of what sets up a layer, and of what trained it."""
    import keras

    return (
        keras.initializers.Initializer,
        keras.regularizers.Regularizer,
        keras.constraints.Constraint,
        keras.dtype_policies.DTypePolicy,
        keras.optimizers.Optimizer,
        keras.optimizers.schedules.LearningRateSchedule,
        keras.losses.Loss,
        keras.metrics.Metric,
    )
