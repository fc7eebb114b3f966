"""Runners for GPU workers, on a CPU: backends, batches, precision."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml.cards.card import Card
from ml.errors import ImageRejected, ModelError
from ml.inference import LoadedModel, load_model
from ml.model_output import ModelOutput
from ml.runners.keras_runner import KerasRunner
from tests.ml.image_factory import chest_like

pytestmark = pytest.mark.slow


def numbers(model_output: ModelOutput | ImageRejected) -> np.ndarray:
    assert isinstance(model_output, ModelOutput)
    return np.array([score.probability for score in model_output.scores])


def test_an_image_has_the_same_output_in_a_batch_as_alone(
    tiny_keras_model: LoadedModel,
) -> None:
    images = [chest_like(seed=seed) for seed in range(3)]
    together = tiny_keras_model.read_many(images)
    for image, model_output in zip(images, together, strict=True):
        alone = tiny_keras_model.read(image)
        assert np.abs(numbers(model_output) - numbers(alone)).max() < 1e-5
        assert isinstance(model_output, ModelOutput)
        assert model_output.input_sha256 == alone.input_sha256
        assert np.abs(model_output.scores[0].grid - alone.scores[0].grid).max() <= 2**-9
    assert tiny_keras_model.read_many([]) == []


def test_batches_are_padded_so_that_few_sizes_are_compiled(
    tiny_keras_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = tiny_keras_model.runner
    assert isinstance(runner, KerasRunner)
    sizes: list[int] = []
    run = runner._network.predict_on_batch

    def counted(images: np.ndarray) -> Any:
        sizes.append(len(images))
        return run(images)

    monkeypatch.setattr(runner._network, "predict_on_batch", counted)
    for count in (1, 3, 4):
        assert len(tiny_keras_model.read_many([chest_like()] * count)) == count
    assert sizes == [1, 4, 4]


def test_mixed_precision_is_recorded_and_nearly_the_same(
    tiny_card: Card, tiny_keras_model: LoadedModel, cache_dir: Path
) -> None:
    rounded = load_model(
        tiny_card, cache_dir=cache_dir, runner="keras", precision="bfloat16"
    )
    one, two = tiny_keras_model.read(chest_like()), rounded.read(chest_like())
    assert (one.precision, two.precision) == ("float32", "bfloat16")
    assert 0 < np.abs(numbers(one) - numbers(two)).max() < 0.05


def test_an_unknown_precision_is_refused(tiny_card: Card, cache_dir: Path) -> None:
    with pytest.raises(ModelError, match="Known: float32, bfloat16, int8"):
        load_model(tiny_card, cache_dir=cache_dir, precision="int4")


def test_openvino_records_the_precision_it_ran_in(
    tiny_card: Card, cache_dir: Path
) -> None:
    exact = load_model(tiny_card, cache_dir=cache_dir, threads=1).read(chest_like())
    model = load_model(tiny_card, cache_dir=cache_dir, threads=1, precision="bfloat16")
    model_output = model.read(chest_like())
    able = "avx512_bf16" in Path("/proc/cpuinfo").read_text("utf-8")
    assert model_output.precision == ("bfloat16" if able else "float32")
    assert np.abs(numbers(model_output) - numbers(exact)).max() < 0.05
    many = model.read_many([chest_like(), chest_like(seed=1)])
    assert np.array_equal(numbers(many[0]), numbers(model_output))


READ_UNDER_JAX = """
import json, sys
from pathlib import Path
from ml.inference import load_model
from ml.cards.card import read_card
from tests.ml.image_factory import chest_like
model = load_model(read_card(Path(sys.argv[1])), cache_dir=Path("."), runner="keras")
outputs = model.read_many([chest_like(seed=seed) for seed in range(3)])
print(json.dumps({
    "backend": outputs[0].backend,
    "probabilities": [[s.probability for s in each.scores] for each in outputs],
    "tensorflow": "tensorflow" in sys.modules,
}))
"""


def test_jax_gives_the_output_of_tensorflow(tiny_card: Card, cache_dir: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            READ_UNDER_JAX,
            str(tiny_card.weights_file.with_name("card.json")),
        ],
        env=os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["backend"] == "keras-jax"
    assert not report["tensorflow"]
    here = load_model(tiny_card, cache_dir=cache_dir, runner="keras").read_many(
        [chest_like(seed=seed) for seed in range(3)]
    )
    expected = np.stack([numbers(model_output) for model_output in here])
    assert np.abs(np.array(report["probabilities"]) - expected).max() < 1e-4
