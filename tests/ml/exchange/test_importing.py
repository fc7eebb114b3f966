"""Imported networks: opened without code, rebuilt exactly, described truthfully."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from ml.errors import ModelError
from ml.exchange.flattening import flatten
from ml.exchange.import_child import IMAGES_NAME, import_network
from ml.exchange.legacy import modernise
from ml.networks.head_layers import head_of_network
from ml.networks.weights_file import open_weights
from tests.ml.exchange import foreign
from tests.ml.image_factory import chest_like
from tests.ml.networks.test_gradcam import assert_equal_to_gradient_tape

pytestmark = pytest.mark.slow

SIZE = foreign.SIZE


def import_request(file: Path, labels: str = "A,B,C", **changes: Any) -> dict[str, Any]:
    return {
        "file": str(file),
        "labels": labels.split(","),
        "task": "softmax",
        "size": None,
        "scaling": "0-255",
        "activation": "",
        **changes,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with sanity images, as an import has one."""
    np.savez(tmp_path / IMAGES_NAME, a=chest_like(90, 80), b=chest_like(64, 64) // 2)
    return tmp_path


def saved(network: keras.Model, folder: Path, name: str = "theirs.keras") -> Path:
    network.save(folder / name)
    return folder / name


def some_images(channels: int) -> np.ndarray:
    images = np.random.default_rng(8).uniform(0, 255, (3, SIZE, SIZE, channels))
    return images.astype(np.float32)


def of_logits(logits: np.ndarray, task: str) -> np.ndarray:
    activated = keras.activations.get(task)(np.asarray(logits))
    return keras.ops.convert_to_numpy(activated)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_network_with_dense_layers_is_rebuilt_with_its_maps(
    folder: Path, suffix: str
) -> None:
    theirs = foreign.flat_cnn()
    file = saved(theirs, folder, f"theirs.{suffix}")
    report = import_network(import_request(file), folder=folder)
    assert (report["size"], report["channels"]) == (SIZE, 3)
    assert report["activation"] == "softmax"
    assert report["last_convolution"] == "last"
    assert report["no_maps"] == ""
    ours = open_weights(folder / "weights.keras")
    images = some_images(3)
    expected = theirs.predict_on_batch(images)
    logits, maps = ours.predict_on_batch(images)
    assert np.abs(of_logits(logits, "softmax") - expected).max() < 1e-5
    assert maps.shape[1:] == (13, 13, 8)
    assert_equal_to_gradient_tape(ours, SIZE, head_of_network(ours))


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
def test_an_activation_written_as_a_function_is_removed(
    folder: Path, name: str
) -> None:
    plain = foreign.flat_cnn()
    plain.layers[-1].activation = keras.activations.linear
    ended = keras.activations.get(name)(plain.outputs[0])
    theirs = keras.Model(plain.inputs, ended)
    report = import_network(
        import_request(saved(theirs, folder), task=name), folder=folder
    )
    assert report["activation"] == name
    logits, _ = open_weights(folder / "weights.keras").predict_on_batch(some_images(3))
    expected = theirs.predict_on_batch(some_images(3))
    assert np.abs(of_logits(logits, name) - expected).max() < 1e-5


def test_a_network_inside_a_network_becomes_one_graph(folder: Path) -> None:
    theirs = foreign.nested()
    file = saved(theirs, folder)
    report = import_network(
        import_request(file, "Pneumonia", task="sigmoid"), folder=folder
    )
    assert report["last_convolution"] == "sum"
    ours = open_weights(folder / "weights.keras")
    assert not [x for x in ours.layers if isinstance(x, keras.Model)]
    images = some_images(1)
    logits, _ = ours.predict_on_batch(images)
    expected = theirs.predict_on_batch(images)
    assert np.abs(of_logits(logits, "sigmoid") - expected).max() < 1e-5
    assert_equal_to_gradient_tape(ours, SIZE, head_of_network(ours))


def test_a_network_of_any_input_size_needs_the_size_option(folder: Path) -> None:
    file = saved(foreign.nested(free_size=True), folder)
    with pytest.raises(ModelError, match="--size PIXELS"):
        import_network(import_request(file, "A", task="sigmoid"), folder=folder)
    report = import_network(
        import_request(file, "A", task="sigmoid", size=48), folder=folder
    )
    assert report["size"] == 48


def test_a_head_with_several_branches_has_scores_but_no_heat_map(folder: Path) -> None:
    theirs = foreign.two_poolings()
    report = import_network(import_request(saved(theirs, folder), "A,B"), folder=folder)
    assert "several inputs" in report["no_maps"]
    ours = open_weights(folder / "weights.keras")
    assert len(ours.outputs) == 1
    images = some_images(1)
    apart = ours.predict_on_batch(images) - theirs.predict_on_batch(images)
    assert np.abs(apart).max() < 1e-4


def test_arithmetic_in_an_h5_file_becomes_a_layer(folder: Path) -> None:
    image = keras.Input((SIZE, SIZE, 1))
    x = keras.layers.Flatten()(image / 127.5 - 1.0)
    theirs = keras.Model(image, keras.layers.Dense(2)(x))
    import_network(
        import_request(saved(theirs, folder, "theirs.h5"), "A,B"), folder=folder
    )
    ours = open_weights(folder / "weights.keras")
    images = some_images(1)
    apart = ours.predict_on_batch(images)[0] - theirs.predict_on_batch(images)
    assert np.abs(apart).max() < 1e-4


@pytest.mark.filterwarnings("ignore")  # TensorFlow warns of its own SavedModel code
def test_a_saved_model_with_augmentation_is_refused_with_advice(folder: Path) -> None:
    foreign.flat_cnn().export(folder / "theirs", verbose=False)
    with pytest.raises(ModelError, match="save the network without it"):
        import_network(
            import_request(folder / "theirs", activation="probabilities"), folder=folder
        )


@pytest.mark.parametrize("scaling", ["normalisation", "division"])
def test_a_keras_2_file_has_the_outputs_of_its_weights(
    folder: Path, scaling: str
) -> None:
    first = {
        "normalisation": foreign.normalisation_layer(),
        "division": foreign.division_by(60.0),
    }[scaling]
    file = folder / "old.h5"
    weights = foreign.write_keras2(file, foreign.keras2_config(first))
    before = file.read_bytes()
    report = import_network(import_request(file, "A,B"), folder=folder)
    assert file.read_bytes() == before
    assert report["last_convolution"] == "act"
    ours = open_weights(folder / "weights.keras")
    image = some_images(1)[:1]
    mean = 120.0 if scaling == "normalisation" else 0.0
    expected = by_hand((image[0, :, :, 0] - mean) / 60.0, weights)
    logits, _ = ours.predict_on_batch(image)
    assert np.abs(logits[0] - expected).max() < 1e-3


def by_hand(image: np.ndarray, weights: dict[str, np.ndarray]) -> np.ndarray:
    """Compute the small Keras 2 network with nothing but NumPy."""
    kernel = weights["sepconv/depthwise_kernel:0"][:, :, 0, 0]
    side = SIZE - 2
    x = sum(
        kernel[i, j] * image[i : i + side, j : j + side]
        for i in range(3)
        for j in range(3)
    )
    x = x[..., None] * weights["sepconv/pointwise_kernel:0"][0, 0, 0]
    x = (x - weights["bn/moving_mean:0"]) / np.sqrt(
        weights["bn/moving_variance:0"] + 0.001
    )
    x = np.maximum(x * weights["bn/gamma:0"] + weights["bn/beta:0"], 0)
    return x.reshape(-1) @ weights["dense/kernel:0"] + weights["dense/bias:0"]


def test_the_error_names_an_unsupported_operation() -> None:
    layer = foreign.division_by(2.0)
    layer["config"]["function"] = "math.tan"
    with pytest.raises(ModelError, match=r"math\.tan"):
        modernise(foreign.keras2_config(layer))


def test_a_lambda_layer_is_refused_in_both_formats(folder: Path) -> None:
    image = keras.Input((8, 8, 1))
    network = keras.Model(image, layers_lambda()(image))
    for name in ("theirs.keras", "theirs.h5"):
        with pytest.raises(ModelError, match="not an allowed layer") as caught:
            import_network(import_request(saved(network, folder, name)), folder=folder)
        assert caught.value.reason_code == "weights_refused"


def layers_lambda() -> keras.layers.Layer:
    return keras.layers.Lambda(lambda x: x + 1)


def test_a_custom_class_is_refused(folder: Path) -> None:
    config = foreign.keras2_config(foreign.normalisation_layer())
    config["config"]["layers"][4]["class_name"] = "TheirAttention"
    foreign.write_keras2(folder / "old.h5", config)
    with pytest.raises(ModelError, match="TheirAttention"):
        import_network(import_request(folder / "old.h5", "A,B"), folder=folder)


def test_weights_without_a_network_are_refused(folder: Path) -> None:
    foreign.flat_cnn().save_weights(folder / "theirs.weights.h5")
    with pytest.raises(ModelError, match="weights without a network"):
        import_network(import_request(folder / "theirs.weights.h5"), folder=folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": "A,B"}, "3 outputs, but 2 labels"),
        ({"size": 64}, "takes 32 pixels"),
        ({"task": "sigmoid"}, "ends with softmax"),
        ({"activation": "logits"}, "not logits"),
    ],
)
def test_the_request_must_match_the_network(
    folder: Path, changes: dict[str, Any], message: str
) -> None:
    file = saved(foreign.flat_cnn(), folder)
    with pytest.raises(ModelError, match=message):
        import_network(import_request(file, **changes), folder=folder)


def test_one_output_needs_exactly_one_label(folder: Path) -> None:
    file = saved(foreign.flat_cnn(outputs=1, activation="sigmoid"), folder)
    with pytest.raises(ModelError, match="give only that one"):
        import_network(
            import_request(file, "Normal,Pneumonia", task="sigmoid"), folder=folder
        )


@pytest.mark.parametrize("shape", [(32, 24, 1), (32, 32, 4)])
def test_inputs_of_another_shape_are_refused(
    folder: Path, shape: tuple[int, int, int]
) -> None:
    network = keras.Sequential(
        [keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    with pytest.raises(ModelError, match="expected"):
        import_network(import_request(saved(network, folder), "A,B"), folder=folder)


def test_layers_of_the_same_name_in_two_networks_are_renamed() -> None:
    def inner(name: str) -> keras.Model:
        image = keras.Input((SIZE, SIZE, 1))
        x = keras.layers.Conv2D(1, 3, padding="same", name="conv")(image)
        return keras.Model(image, x, name=name)

    image = keras.Input((SIZE, SIZE, 1))
    x = keras.layers.Flatten()(inner("second")(inner("first")(image)))
    flat = flatten(keras.Model(image, keras.layers.Dense(2)(x)), size=SIZE, channels=1)
    names = [layer.name for layer in flat.network.layers]
    assert len(set(names)) == len(names)
    assert json.dumps(names).count("conv") == 2
