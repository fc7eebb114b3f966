"""Run a prediction again from its stored image and weights, and compare."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.errors import Conflict
from diagnoses.governance.versions import card_of
from diagnoses.messages import error_text
from diagnoses.models import Prediction
from diagnoses.worker.read import LoadedModels, read_instance
from ml.cards.contents import LARGEST_DIFFERENCE
from ml.errors import MlError
from ml.inference import ModelOutput

# What another runner, other cores or another patch release of a library may move a
# float32 result by.
TOLERANCE = 1e-4


class Verdict(StrEnum):
    """The result of a reproduction."""

    AGREE = "agree"
    DIFFER = "differ"
    NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True)
class Reproduction:
    """The verdict, the greatest difference of a probability, and a sentence."""

    verdict: Verdict
    greatest_difference: float | None
    explanation: str


def reproduce(
    prediction: Prediction, *, models: LoadedModels | None = None
) -> Reproduction:
    """Run a succeeded prediction again from its stored image. Writes nothing.

    If the image or the model can no longer be read, the verdict is NOT_COMPARABLE.

    Args:
        prediction: The run to reproduce.
        models: The models to run it with; by default loaded here.

    Raises:
        Conflict: The prediction has no result to compare with.
    """
    model_version = prediction.model_version
    if prediction.status != Prediction.Status.SUCCEEDED or model_version is None:
        raise Conflict(
            _("This prediction has the status “%(status)s”: there is no result."),
            params={"status": prediction.get_status_display()},
            reason_code="no_result",
        )
    try:
        run = read_instance(
            prediction.instance,
            frame=prediction.frame,
            model_version=model_version,
            models=models or LoadedModels(),
            # The first run decided whether the image may be scored.
            apply_gate=False,
        )
    except MlError as error:
        return Reproduction(Verdict.NOT_COMPARABLE, None, error_text(error))
    except OSError as error:
        explanation = gettext("The stored file cannot be read: %(error)s")
        return Reproduction(
            Verdict.NOT_COMPARABLE,
            None,
            explanation % {"error": error.strerror or error},
        )
    other = _other_conditions(prediction, run.model_output)
    if other:
        return Reproduction(Verdict.NOT_COMPARABLE, None, other)
    tolerance = _tolerance(prediction, run.model_output)
    if tolerance is None:
        return Reproduction(
            Verdict.NOT_COMPARABLE,
            None,
            gettext(
                "The precision was %(before)s and is %(now)s; the card does not say "
                "how much that changes."
            )
            % {
                "before": prediction.provenance.get("precision"),
                "now": run.model_output.precision,
            },
        )
    return _compare(prediction, run.model_output, tolerance=tolerance)


def _tolerance(prediction: Prediction, model_output: ModelOutput) -> float | None:
    """Return how far a probability may differ; None: the card does not say it.

    Two precisions differ each from float32 by what the card allows: the limit of what
    is offered, more where more was measured.
    """
    precisions = {prediction.provenance.get("precision"), model_output.precision}
    if len(precisions) == 1:
        return TOLERANCE
    model_version = prediction.model_version
    measured = card_of(model_version).precisions if model_version else None
    checks = [measured and measured.check(p) for p in precisions - {"float32"}]
    known = [check for check in checks if check]
    if len(known) < len(checks):
        return None
    return sum(max(LARGEST_DIFFERENCE, check.largest_difference) for check in known)


def _other_conditions(prediction: Prediction, model_output: ModelOutput) -> str:
    """Describe which conditions of the first run are different now, or ""."""
    now = {
        "preprocessing_version": model_output.preprocessing_version,
        "weights_sha256": model_output.weights_sha256,
    }
    differing = [
        gettext("%(name)s was %(before)s and is %(now)s")
        % {"name": name, "before": prediction.provenance.get(name), "now": value}
        for name, value in now.items()
        if prediction.provenance.get(name) != value
    ]
    return "; ".join(differing)


def _compare(
    prediction: Prediction, model_output: ModelOutput, *, tolerance: float
) -> Reproduction:
    stored = dict(prediction.findings.values_list("label", "probability"))
    again = {score.label: score.probability for score in model_output.scores}
    if stored.keys() != again.keys():
        return Reproduction(
            Verdict.NOT_COMPARABLE, None, gettext("The model scores other labels now.")
        )
    difference = max(abs(stored[label] - again[label]) for label in stored)
    same_input = prediction.input_sha256 == model_output.input_sha256
    agrees = same_input and difference <= tolerance
    verdict = Verdict.AGREE if agrees else Verdict.DIFFER
    explanation = (
        gettext("The input is the same; probabilities differ by at most %(value)s.")
        if same_input
        else gettext("The input differs; probabilities differ by at most %(value)s.")
    )
    return Reproduction(
        verdict, difference, explanation % {"value": f"{difference:.2g}"}
    )
