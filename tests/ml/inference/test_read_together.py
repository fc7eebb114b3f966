"""Heads of one network read an image in one pass, each as if it were alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from ml.cards.card import Card, parse_card
from ml.errors import ImageRejected, ModelError
from ml.gate.out_of_distribution import GateResult
from ml.inference import LoadedModel, read_together, read_with_all
from ml.model_output import ModelOutput
from ml.networks.heads import Dense, GlobalPooling, Head
from ml.runners.sharing import shared
from tests.ml.conftest import card_json
from tests.ml.image_factory import chest_like

RNG = np.random.default_rng(7)
MAPS = RNG.normal(size=(4, 5, 6)).astype(np.float32)
WHOLE = Head([GlobalPooling("mean"), Dense(RNG.normal(size=(6, 4)), np.arange(4.0))])
SHA256 = "a" * 64


class CountingRunner:
    """A network with the same maps for every image, which counts its passes."""

    backend, precision = "fake", "float32"
    library_versions: Mapping[str, str] = {"fake": "1"}
    head: Head | None = WHOLE

    def __init__(self) -> None:
        self.passes = 0

    def run(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Count a pass."""
        self.passes += 1
        return WHOLE.logits(MAPS), MAPS

    def run_many(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Count a pass, too."""
        logits, maps = self.run(images[0])
        return np.stack([logits] * len(images)), np.stack([maps] * len(images))


class CountingGate:
    """A gate that gives every image one score, and counts its judgements."""

    def __init__(self, score: float) -> None:
        self.score, self.judged = score, 0

    def judge(self, maps: np.ndarray, image: np.ndarray) -> GateResult:
        """Count a judgement."""
        self.judged += 1
        return GateResult(self.score, threshold=1.0, reason_code="inverted")


def head_card(name: str, begin: int, *labels: str, task: str = "sigmoid") -> Card:
    """Return the card of a head with these labels from column `begin` on."""
    raw = card_json(
        name=name,
        task=task,
        labels=[{"name": n, "display": n, "snomed": "1"} for n in labels],
        thresholds={"values": dict.fromkeys(labels, 0.5)},
        calibration={"calibrated": False},
        weights={"file": "../../net/1.0.0/weights.keras", "sha256": SHA256},
        backbone={
            "name": "net",
            "version": "1.0.0",
            "columns": [begin, begin + len(labels)],
        },
    )
    return parse_card(raw, folder=Path())


THREE = head_card("net-three", 0, "A", "B", "C", task="softmax")
ONE = head_card("net-one", 3, "Pneumonia")


def heads_on(
    runner: CountingRunner, gate: CountingGate | None = None
) -> list[LoadedModel]:
    return [
        LoadedModel(card, runner, sha256=SHA256, gate=gate) for card in (THREE, ONE)
    ]


def numbers(output: ModelOutput | ImageRejected) -> list[float]:
    assert isinstance(output, ModelOutput)
    return [score.probability for score in output.scores]


def test_all_heads_read_in_one_pass() -> None:
    runner = CountingRunner()
    three, one = read_together(
        heads_on(runner), chest_like(), thresholds=[None, {"Pneumonia": 0.0}]
    )
    assert runner.passes == 1
    logits = WHOLE.logits(MAPS)
    exponents = np.exp(logits[:3])
    assert numbers(three) == pytest.approx(exponents / exponents.sum(), rel=1e-5)
    assert numbers(one) == pytest.approx([1 / (1 + np.exp(-logits[3]))], rel=1e-5)
    assert isinstance(one, ModelOutput)
    assert one.scores[0].positive


class Refusing:
    """A model that is no network, and rejects every image."""

    card, weights_sha256 = ONE, ""

    def read(
        self,
        display: np.ndarray,
        *,
        thresholds: Mapping[str, float] | None = None,
        apply_gate: bool = True,
    ) -> ModelOutput:
        """Reject the image."""
        raise ImageRejected("no", reason_code="inverted")


def test_models_of_any_kind_are_read_in_one_pass_for_each_network() -> None:
    first, second = CountingRunner(), CountingRunner()
    three, one = heads_on(first)
    single = LoadedModel(ONE, second, sha256="b" * 64)
    outputs = read_with_all([three, single, Refusing(), one], chest_like())
    assert (first.passes, second.passes) == (1, 1)
    assert isinstance(outputs[2], ImageRejected)
    assert numbers(outputs[1]) == numbers(outputs[3])


def test_a_head_alone_has_the_same_output() -> None:
    heads = heads_on(CountingRunner())
    together = read_together(heads, chest_like(), thresholds=[None, None])
    for head, output in zip(heads, together, strict=True):
        alone = head.read(chest_like())
        [of_many] = head.read_many([chest_like()])
        assert numbers(alone) == numbers(output) == numbers(of_many)
        assert isinstance(output, ModelOutput)
        assert (output.model, output.input_sha256) == (
            head.card.name,
            alone.input_sha256,
        )
        for mine, other in zip(output.scores, alone.scores, strict=True):
            assert mine.scale == other.scale
            assert np.array_equal(mine.grid, other.grid)


def test_the_grid_of_a_head_has_the_contributions_to_its_logit() -> None:
    _, one = read_together(
        heads_on(CountingRunner()), chest_like(), thresholds=[None, None]
    )
    assert isinstance(one, ModelOutput)
    [dense] = [step for step in WHOLE.steps if isinstance(step, Dense)]
    expected = np.maximum(MAPS @ dense.kernel[:, 3] / (4 * 5), 0)
    assert one.scores[0].contributions == pytest.approx(expected, abs=1e-3)


def test_a_head_runs_with_its_own_columns_only() -> None:
    _, one = heads_on(CountingRunner())
    image = np.zeros((64, 64, 1), np.float32)
    assert one.runner.run(image)[0] == pytest.approx(WHOLE.logits(MAPS)[3:])
    assert one.runner.run_many(image[None])[0].shape == (1, 1)
    assert one.runner.head is not None
    assert one.runner.head.weights(MAPS).shape == (6, 1)


def test_a_shared_gate_judges_once_and_rejects_for_every_head() -> None:
    gate = CountingGate(score=2.0)
    heads = heads_on(CountingRunner(), gate)
    rejections = read_together(heads, chest_like(), thresholds=[None, None])
    assert gate.judged == 1
    assert [type(each) for each in rejections] == [ImageRejected, ImageRejected]
    with pytest.raises(ImageRejected):
        heads[0].read(chest_like())


def test_a_gate_that_is_not_applied_stays_in_the_output() -> None:
    heads = heads_on(CountingRunner(), CountingGate(score=2.0))
    outputs = read_together(
        heads, chest_like(), thresholds=[None, None], apply_gate=False
    )
    for output in outputs:
        assert isinstance(output, ModelOutput)
        assert output.gate is not None
        assert (output.gate.refused, output.gate.applied) == (True, False)


def test_models_with_other_weights_cannot_share_a_pass() -> None:
    runner = CountingRunner()
    three, one = heads_on(runner)
    one.weights_sha256 = "b" * 64
    with pytest.raises(ModelError, match="net-three and net-one do not share"):
        read_together([three, one], chest_like(), thresholds=[None, None])
    assert runner.passes == 0
    assert read_together([], chest_like(), thresholds=[]) == []


def test_columns_that_the_network_does_not_have_are_refused() -> None:
    with pytest.raises(ModelError, match="dense layer of 6 outputs"):
        LoadedModel(head_card("net-two", 4, "D", "E"), CountingRunner(), sha256=SHA256)


def test_what_is_shared_is_kept_while_it_is_in_use() -> None:
    first = shared("kept", CountingRunner)
    assert shared("kept", CountingRunner) is first
    del first
    assert shared("kept", CountingRunner).passes == 0
