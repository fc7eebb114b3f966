"""The head of a network, from its last maps to its logits, with the exact gradient.

The Grad-CAM weight of a feature is the gradient of a label's logit, averaged over the
positions of the maps. This gradient passes only through the head: poolings, flattening,
dense layers and the layers between them, whose backward pass is done here in NumPy.
Poolings at the beginning of the head need no backward pass: a pooling passes the whole
gradient on to the positions of its window, so the sum over all positions is the same
before and behind it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ml.errors import ModelError


class Step:
    """One layer of a head, run forward for one image and backward for every label."""

    kind = ""
    # Whether the gradient is the same for every input.
    linear = True

    def settings(self) -> dict[str, Any]:
        """Return the step's constructor arguments that fit into JSON."""
        return {}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the step's weights."""
        return {}

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Map the step's input, float32 without a batch axis, to its output."""
        raise NotImplementedError

    def backward(self, gradient: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Map gradients by the output, (labels, *output), to those by the input `x`."""
        raise NotImplementedError


class Pooling(Step):
    """Maximum or mean over windows; channels last."""

    kind = "pooling"

    def __init__(
        self,
        how: str,
        window: Sequence[int],
        strides: Sequence[int],
        padding: str = "valid",
    ) -> None:
        self.how, self.padding = how, padding
        self.window, self.strides = tuple(window), tuple(strides)

    def settings(self) -> dict[str, Any]:
        """Return the arguments that make the step again."""
        return {
            "how": self.how,
            "window": self.window,
            "strides": self.strides,
            "padding": self.padding,
        }

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Pool maps (rows, columns, features)."""
        if self.padding == "same":
            # NaN, so that neither the maximum nor the mean counts the padding.
            x = np.pad(
                x,
                (*map(self._added, x.shape[:2], (0, 1)), (0, 0)),
                constant_values=np.nan,
            )
        windows = sliding_window_view(x, self.window, axis=(0, 1))
        windows = windows[:: self.strides[0], :: self.strides[1]]
        reduce = np.nanmax if self.how == "max" else np.nanmean
        return reduce(windows, axis=(-2, -1)).astype(np.float32)

    def _added(self, length: int, axis: int) -> tuple[int, int]:
        stride, window = self.strides[axis], self.window[axis]
        total = max((math.ceil(length / stride) - 1) * stride + window - length, 0)
        return total // 2, total - total // 2


class GlobalPooling(Step):
    """Maximum or mean over all positions."""

    kind = "global_pooling"

    def __init__(self, how: str) -> None:
        self.how = how

    def settings(self) -> dict[str, Any]:
        """Return the arguments that make the step again."""
        return {"how": self.how}

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Pool maps (rows, columns, features) to (features,)."""
        return x.max(axis=(0, 1)) if self.how == "max" else x.mean(axis=(0, 1))


class Flatten(Step):
    """Flattening of maps to a vector."""

    kind = "flatten"

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Flatten an array of any shape."""
        return x.reshape(-1)

    def backward(self, gradient: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Give gradients (labels, values) the shape of the input."""
        return gradient.reshape(len(gradient), *x.shape)


class Dense(Step):
    """Dense layer; `kernel` is float32 (inputs, outputs), `bias` (outputs,)."""

    kind = "dense"

    def __init__(self, kernel: np.ndarray, bias: np.ndarray) -> None:
        self.kernel = np.ascontiguousarray(kernel, np.float32)
        self.bias = np.asarray(bias, np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the weights."""
        return {"kernel": self.kernel, "bias": self.bias}

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Map (inputs,) to (outputs,)."""
        return x @ self.kernel + self.bias

    def backward(self, gradient: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Map gradients (labels, outputs) to (labels, inputs)."""
        return gradient @ self.kernel.T


class Scale(Step):
    """Factor and offset per feature: batch normalisation at inference."""

    kind = "scale"

    def __init__(self, factor: np.ndarray, offset: np.ndarray) -> None:
        self.factor = np.asarray(factor, np.float32)
        self.offset = np.asarray(offset, np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return factor and offset."""
        return {"factor": self.factor, "offset": self.offset}

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Scale the last axis."""
        return x * self.factor + self.offset

    def backward(self, gradient: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Scale the gradients."""
        return gradient * self.factor


class Activation(Step):
    """Activation function, under its Keras name; see `ACTIVATIONS`."""

    kind = "activation"
    linear = False

    def __init__(
        self, name: str, slope: float = 0.0, limit: float | None = None
    ) -> None:
        if name not in ACTIVATIONS:
            raise ModelError(
                "The activation %(activation)s is not supported in a head.",
                params={"activation": name},
            )
        self.name, self.slope, self.limit = name, slope, limit

    def settings(self) -> dict[str, Any]:
        """Return the arguments that make the step again."""
        return {"name": self.name, "slope": self.slope, "limit": self.limit}

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Apply the function."""
        if self.name == "relu":
            y = np.where(x > 0, x, self.slope * x)
            return y if self.limit is None else np.minimum(y, self.limit)
        return ACTIVATIONS[self.name][0](x)

    def backward(self, gradient: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Multiply by the function's derivative at `x`."""
        if self.name != "relu":
            return gradient * ACTIVATIONS[self.name][1](x)
        derivative = np.where(x > 0, 1.0, self.slope)
        if self.limit is not None:
            derivative = np.where(x < self.limit, derivative, 0.0)
        return gradient * derivative.astype(np.float32)


def _logistic(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def _elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0.0)))


def _elu_slope(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, 1.0, np.exp(np.minimum(x, 0.0)))


def _silu_slope(x: np.ndarray) -> np.ndarray:
    return _logistic(x) * (1.0 + x * (1.0 - _logistic(x)))


# Each function with its derivative; `Activation` implements relu with its parameters.
ACTIVATIONS: dict[str, Any] = {
    "relu": None,
    "elu": (_elu, _elu_slope),
    "sigmoid": (_logistic, lambda x: _logistic(x) * (1.0 - _logistic(x))),
    "tanh": (np.tanh, lambda x: 1.0 - np.tanh(x) ** 2),
    "silu": (lambda x: x * _logistic(x), _silu_slope),
    "softplus": (lambda x: np.logaddexp(0.0, x), _logistic),
}
POOLINGS = (Pooling, GlobalPooling)
STEPS = {s.kind: s for s in (*POOLINGS, Flatten, Dense, Scale, Activation)}


class Head:
    """The layers from the last maps to the logits.

    Args:
        steps: In their order; poolings only at the beginning.

    Raises:
        ModelError: A pooling comes after another kind of step.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        is_pooling = [isinstance(step, POOLINGS) for step in steps]
        poolings = is_pooling.index(False) if False in is_pooling else len(is_pooling)
        if any(is_pooling[poolings:]):
            raise ModelError("Pooling in a head must come before all other layers.")
        self.steps = tuple(steps)
        self._poolings = self.steps[:poolings]
        self._rest = self.steps[poolings:]
        self._linear = all(step.linear for step in steps)
        # Gradients that are the same for every image, by the shape of the maps.
        self._cache: dict[tuple[int, ...], np.ndarray] = {}

    def of_columns(self, begin: int, end: int) -> Head:
        """Return the head of a part of the logits, without the others' weights.

        Raises:
            ModelError: The last layer is not a dense layer with these outputs.
        """
        last = self.steps[-1] if self.steps else None
        if not isinstance(last, Dense) or len(last.bias) < end:
            raise ModelError(
                "The network does not end with a dense layer of %(outputs)d outputs.",
                params={"outputs": end},
            )
        own = Dense(last.kernel[:, begin:end], last.bias[begin:end])
        return Head([*self.steps[:-1], own])

    def logits(self, maps: np.ndarray) -> np.ndarray:
        """Map (rows, columns, features) to float32 (labels,)."""
        x = maps.astype(np.float32)
        for step in self.steps:
            x = step.forward(x)
        return x

    def weights(self, maps: np.ndarray) -> np.ndarray:
        """Return the mean gradient of every label's logit over the positions.

        Args:
            maps: float (rows, columns, features), the last maps of one image.

        Returns:
            float32 (features, labels).
        """
        if self._linear and maps.shape in self._cache:
            return self._cache[maps.shape]
        inputs = self._inputs(maps.astype(np.float32))
        weights = self._summed_gradient(inputs) / (maps.shape[0] * maps.shape[1])
        if self._linear:
            self._cache[maps.shape] = weights
        return weights

    def _inputs(self, x: np.ndarray) -> list[np.ndarray]:
        """Return the inputs of each step behind the poolings, then the logits."""
        for step in self._poolings:
            x = step.forward(x)
        inputs = [x]
        for step in self._rest:
            inputs.append(step.forward(inputs[-1]))
        return inputs

    def _summed_gradient(self, inputs: list[np.ndarray]) -> np.ndarray:
        """Run backward to the pooled maps and sum over their positions."""
        labels = inputs[-1].size
        gradient = np.eye(labels, dtype=np.float32).reshape(labels, *inputs[-1].shape)
        features = inputs[0].shape[-1]
        dense = self._dense_behind_flatten()
        first = 0 if dense is None else 2
        for number in range(len(self._rest) - 1, first - 1, -1):
            gradient = self._rest[number].backward(gradient, inputs[number])
        if dense is not None:
            # Summed over positions before the product, which is far less to multiply.
            kernels = dense.kernel.reshape(-1, features, dense.kernel.shape[1])
            key = (*inputs[0].shape, -1)
            if key not in self._cache:
                self._cache[key] = kernels.sum(axis=0)
            return self._cache[key] @ gradient.T
        return gradient.reshape(labels, -1, features).sum(axis=1).T

    def _dense_behind_flatten(self) -> Dense | None:
        """Return the dense layer directly behind a first `Flatten`, else None."""
        if len(self._rest) < 2 or not isinstance(self._rest[0], Flatten):
            return None
        second = self._rest[1]
        return second if isinstance(second, Dense) else None

    def save(self, path: Path) -> None:
        """Write the head as one `.npz` file."""
        described = [{"kind": s.kind, **s.settings()} for s in self.steps]
        arrays = {
            f"{number}.{name}": array
            for number, step in enumerate(self.steps)
            for name, array in step.arrays().items()
        }
        steps = np.array(json.dumps(described))
        np.savez(path, allow_pickle=False, steps=steps, **arrays)


def load_head(path: Path) -> Head:
    """Load a head that `Head.save` wrote.

    Raises:
        ModelError: The file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            described = json.loads(str(stored["steps"]))
            return Head(
                [_step(number, d, stored) for number, d in enumerate(described)]
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            "The head file %(file)s cannot be read.", params={"file": path.name}
        ) from error


def _step(
    number: int, described: Mapping[str, Any], stored: Mapping[str, np.ndarray]
) -> Step:
    settings: dict[str, Any] = {k: v for k, v in described.items() if k != "kind"}
    prefix = f"{number}."
    for name in stored:
        if name.startswith(prefix):
            settings[name.removeprefix(prefix)] = stored[name]
    return STEPS[described["kind"]](**settings)
