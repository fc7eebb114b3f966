"""The moving average of a network's weights."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from ml.training.weight_average import WeightAverage

pytestmark = pytest.mark.slow


def _network(value: float) -> keras.Model:
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    for variable in network.variables:
        variable.assign(np.full(variable.shape, value))
    return network


def _set(network: keras.Model, value: float) -> None:
    for variable in network.variables:
        variable.assign(np.full(variable.shape, value))


def test_the_average_follows_the_weights_by_its_decay() -> None:
    network = _network(0.0)
    average = WeightAverage(network, decay=0.5)
    average.load(average.arrays, batches=1000)
    _set(network, 1.0)
    average.update()
    average.update()
    assert np.allclose(average.arrays[0], 0.75)


def test_the_first_batches_count_alike() -> None:
    network = _network(0.0)
    average = WeightAverage(network, decay=0.999)
    _set(network, 1.0)
    average.update()
    assert np.allclose(average.arrays[0], 1 - 2 / 11)


def test_the_network_has_its_own_weights_again_afterwards() -> None:
    network = _network(1.0)
    average = WeightAverage(network, decay=0.9)
    _set(network, 3.0)
    with average.in_place():
        assert float(network.variables[0].numpy()[0, 0]) == 1.0
    assert float(network.variables[0].numpy()[0, 0]) == 3.0
