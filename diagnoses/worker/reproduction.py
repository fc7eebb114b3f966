"""A result made again from what was stored, and compared with what was stored."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from accounts.errors import Conflict
from diagnoses.models import Prediction
from diagnoses.worker.read import LoadedModels, read_instance
from ml.errors import MlError
from ml.inference import ModelOutput

# What other cores or another patch release of a library may move a float32 result by.
TOLERANCE = 1e-4


class Verdict(StrEnum):
    """What making a result again showed."""

    AGREE = "agree"
    DIFFER = "differ"
    NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True)
class Reproduction:
    """The verdict, by how much a probability differs at most, and a sentence."""

    verdict: Verdict
    greatest_difference: float | None
    explanation: str


def reproduce(
    prediction: Prediction, *, models: LoadedModels | None = None
) -> Reproduction:
    """Run a succeeded prediction again from what was stored. Writes nothing.

    Args:
        prediction: The run to make again.
        models: The models to run it with; by default loaded here.

    Where image or model cannot be read any more, nothing can be compared.

    Raises:
        Conflict: It has no result to compare with.
    """
    model_version = prediction.model_version
    if prediction.status != Prediction.Status.SUCCEEDED or model_version is None:
        raise Conflict(
            f"This prediction is {prediction.status}: it has no result to make again.",
            reason_code="no_result",
        )
    try:
        run = read_instance(
            prediction.instance,
            frame=prediction.frame,
            model_version=model_version,
            models=models or LoadedModels(),
            # Whether the image may be scored was decided then.
            apply_gate=False,
        )
    except MlError as error:
        return Reproduction(Verdict.NOT_COMPARABLE, None, error.message)
    except OSError as error:
        explanation = f"the stored file cannot be read: {error.strerror or error}"
        return Reproduction(Verdict.NOT_COMPARABLE, None, explanation)
    other = _other_conditions(prediction, run.model_output)
    if other:
        return Reproduction(Verdict.NOT_COMPARABLE, None, other)
    return _compare(prediction, run.model_output)


def _other_conditions(prediction: Prediction, model_output: ModelOutput) -> str:
    """Say what is not here any more that the result was made with, or ""."""
    now = {
        "preprocessing_version": model_output.preprocessing_version,
        "backend": model_output.backend,
        "precision": model_output.precision,
        "weights_sha256": model_output.weights_sha256,
    }
    differing = [
        f"{name} was {prediction.provenance.get(name)} and is {value}"
        for name, value in now.items()
        if prediction.provenance.get(name) != value
    ]
    return "; ".join(differing)


def _compare(prediction: Prediction, model_output: ModelOutput) -> Reproduction:
    stored = dict(prediction.findings.values_list("label", "probability"))
    again = {score.label: score.probability for score in model_output.scores}
    if stored.keys() != again.keys():
        return Reproduction(
            Verdict.NOT_COMPARABLE, None, "the model has other labels now"
        )
    difference = max(abs(stored[label] - again[label]) for label in stored)
    same_input = prediction.input_sha256 == model_output.input_sha256
    seen = "the same input" if same_input else "another input"
    agrees = same_input and difference <= TOLERANCE
    verdict = Verdict.AGREE if agrees else Verdict.DIFFER
    explanation = f"{seen}; probabilities differ by at most {difference:.2g}"
    return Reproduction(verdict, difference, explanation)
