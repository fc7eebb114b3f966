"""Receiver of the archive's signal for a stored image."""

from __future__ import annotations

from typing import Any

from accounts.models import User
from diagnoses.runs import queue_predictions
from patients.models import Instance


def on_instance_stored(
    sender: object,
    *,
    instance: Instance,
    created: bool,
    requested_model: str = "",
    actor: User | None = None,
    **_: Any,
) -> None:
    """Queue predictions in the transaction that stores the image."""
    queue_predictions(
        instance, requested_model=requested_model, actor=actor, created=created
    )
