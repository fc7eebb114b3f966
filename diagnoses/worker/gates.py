"""The one exception to a model's gate: images that the demo command drew and marked."""

from __future__ import annotations

from ml.model_output import ModelOutput

NOT_APPLIED_SYNTHETIC = "gate not applied: synthetic"


def gate_note(model_output: ModelOutput, *, synthetic: bool) -> str:
    """Return what is said beside scores that the gate would have refused, or "".

    Args:
        model_output: What the model said.
        synthetic: `Instance.synthetic`, which only the demo command sets. What a
            header says of itself does not count.
    """
    refused = model_output.gate is not None and model_output.gate.refused
    return NOT_APPLIED_SYNTHETIC if synthetic and refused else ""
