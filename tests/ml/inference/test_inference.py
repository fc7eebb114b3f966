"""One pass gives scores and grids, the same with every runner and file format."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ml.cards.card import Card
from ml.errors import ModelError
from ml.inference import LoadedModel, ModelOutput, load_model
from tests.ml.image_factory import chest_like

pytestmark = pytest.mark.slow


def numbers(model_output: ModelOutput) -> np.ndarray:
    return np.array([score.probability for score in model_output.scores])


def test_an_output_has_a_score_and_a_grid_for_every_label(
    tiny_card: Card, tiny_keras_model: LoadedModel
) -> None:
    model_output = tiny_keras_model.read(chest_like())
    assert [score.label for score in model_output.scores] == list(tiny_card.label_names)
    assert numbers(model_output).sum() == pytest.approx(1)
    for score in model_output.scores:
        assert score.grid.dtype == np.float16
        assert score.grid.max() in (0, 1)
        assert score.calibrated
        assert score.positive == (score.probability >= score.threshold)
    assert model_output.weights_sha256 == tiny_card.weights_sha256
    assert len(model_output.input_sha256) == 64
    assert model_output.backend == "keras-tensorflow"
    assert "tensorflow" in model_output.library_versions


def test_given_thresholds_override_those_of_the_card(
    tiny_card: Card, tiny_keras_model: LoadedModel
) -> None:
    scores = tiny_keras_model.read(chest_like(), thresholds={"Normal": 0.0}).scores
    assert scores[0].threshold == 0.0
    assert scores[0].positive
    assert scores[1].threshold == tiny_card.thresholds["Bacterial pneumonia"]


def test_a_sigmoid_model_scores_each_label_by_itself(
    tiny_card: Card, tiny_keras_model: LoadedModel
) -> None:
    card = replace(tiny_card, task="sigmoid")
    sigmoid_model = LoadedModel(card, tiny_keras_model.runner, sha256="")
    softmax = numbers(tiny_keras_model.read(chest_like()))
    sigmoid = numbers(sigmoid_model.read(chest_like()))
    assert sigmoid.sum() != pytest.approx(1)
    assert sigmoid.argmax() == softmax.argmax()


def test_an_unknown_runner_is_refused(tiny_card: Card, cache_dir: Path) -> None:
    with pytest.raises(ModelError, match="Known: openvino, onnxruntime, keras"):
        load_model(tiny_card, cache_dir=cache_dir, runner="abacus")


def test_both_runners_give_the_same_output(tiny_card: Card, cache_dir: Path) -> None:
    ours = load_model(tiny_card, cache_dir=cache_dir, threads=1).read(chest_like())
    theirs = load_model(tiny_card, cache_dir=cache_dir, runner="keras").read(
        chest_like()
    )
    assert ours.backend == "openvino"
    assert ours.input_sha256 == theirs.input_sha256
    assert np.abs(numbers(ours) - numbers(theirs)).max() < 1e-5
    for mine, other in zip(ours.scores, theirs.scores, strict=True):
        assert np.abs(mine.grid - other.grid).max() <= 2**-10
        assert mine.scale == pytest.approx(other.scale, rel=1e-4)


def test_the_same_image_has_exactly_the_same_output(
    tiny_card: Card, cache_dir: Path
) -> None:
    model = load_model(tiny_card, cache_dir=cache_dir)
    one, two = model.read(chest_like()), model.read(chest_like())
    assert np.array_equal(numbers(one), numbers(two))
    assert one.input_sha256 == two.input_sha256


READ_IN_A_PROCESS = """
import sys
from pathlib import Path
from ml.inference import load_model
from ml.cards.card import read_card
from tests.ml.image_factory import chest_like
model = load_model(read_card(Path(sys.argv[1])), cache_dir=Path(sys.argv[2]), threads=1)
print([score.probability for score in model.read(chest_like()).scores])
heavy = {"keras", "tensorflow", "jax", "torch"} & set(sys.modules)
print(sorted(heavy))
"""


def started(card: Card, cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            READ_IN_A_PROCESS,
            str(card.weights_file.parent / "card.json"),
            str(cache),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_concurrent_first_exports_write_one_graph(
    tiny_card: Card, tmp_path: Path
) -> None:
    processes = [started(tiny_card, tmp_path) for _ in range(2)]
    outputs = [process.communicate(timeout=180)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs[0] == outputs[1]
    # A graph exported elsewhere never brings Keras into the process that runs it.
    assert outputs[0].splitlines()[1] == "[]"
    graphs = list((tmp_path / "graphs").iterdir())
    assert len(graphs) == 1
    assert graphs[0].name.startswith(str(tiny_card.weights_sha256))


def test_a_failed_export_leaves_no_file_and_gives_the_reason(
    tiny_card: Card, tmp_path: Path
) -> None:
    card = replace(tiny_card, architecture="unheard-of")
    with pytest.raises(ModelError, match="unheard-of") as caught:
        load_model(card, cache_dir=tmp_path)
    assert caught.value.reason_code == "export_failed"
    assert list((tmp_path / "graphs").iterdir()) == []
