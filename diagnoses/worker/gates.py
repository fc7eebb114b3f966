"""The one exception to a model's gate: films that the demo command drew and marked."""

from __future__ import annotations

from ml.model_output import Reading

NOT_APPLIED_SYNTHETIC = "gate not applied: synthetic"


def gate_note(reading: Reading, *, synthetic: bool) -> str:
    """Return what is said beside scores that the gate would have refused, or "".

    Args:
        reading: What the model said.
        synthetic: `Instance.synthetic`, which only the demo command sets. What a
            header says of itself does not count.
    """
    refused = reading.gate is not None and reading.gate.refused
    return NOT_APPLIED_SYNTHETIC if synthetic and refused else ""
