"""By which thresholds a version judges from now on; what was judged stays as it was.

A finding copies the threshold that it was judged by. A new operating point is a new
row: none is ever changed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from django.db import transaction

from accounts import audit
from accounts.audit import AuditAction
from accounts.errors import InvalidInput
from diagnoses.governance.transitions import Decision, checked_reason
from diagnoses.governance.versions import card_of
from diagnoses.models import ModelVersion, OperatingPoint

BY_HAND = "set by hand"


def named_sets(model_version: ModelVersion) -> dict[str, dict[str, float]]:
    """Return the sets of thresholds that the card offers, by their names."""
    offered = model_version.card.get("operating_points") or {}
    return {
        name: {label: float(value) for label, value in values.items()}
        for name, values in offered.items()
        if isinstance(values, Mapping)
    }


def set_operating_point(
    model_version: ModelVersion, *, label: str, value: float, decision: Decision
) -> OperatingPoint:
    """Judge a label by another threshold from the next image on.

    Raises:
        InvalidInput: The card has no such label, the value is not between 0 and 1, or
            no reason is given.
    """
    [point] = _set(model_version, {label: value}, method=BY_HAND, decision=decision)
    return point


def choose_named_set(
    model_version: ModelVersion, *, name: str, decision: Decision
) -> list[OperatingPoint]:
    """Judge all labels by a set of thresholds that the card offers.

    Raises:
        InvalidInput: The card has no such set, or no reason is given.
    """
    offered = named_sets(model_version)
    if name not in offered:
        known = ", ".join(offered) or "none"
        raise InvalidInput(
            f"The card of {model_version} has no such set; it has: {known}.",
            reason_code="unknown_set",
            fields={"set": [f"One of: {known}."]},
        )
    return _set(model_version, offered[name], method=f"card: {name}", decision=decision)


def _set(
    model_version: ModelVersion,
    values: Mapping[str, float],
    *,
    method: str,
    decision: Decision,
) -> list[OperatingPoint]:
    reason = checked_reason(decision.reason)
    known = card_of(model_version).label_names
    for label, value in values.items():
        _check(label, value, known)
    with transaction.atomic():
        points = [
            OperatingPoint.objects.create(
                model_version=model_version,
                label=label,
                value=value,
                method=method,
                reason=reason,
                set_by=decision.actor,
            )
            for label, value in values.items()
        ]
        audit.record(
            action=AuditAction.CHANGE,
            actor=decision.actor,
            request=decision.request,
            source=decision.source,
            object_kind="operating_point",
            object_uuid=model_version.pk,
            detail={
                "model": str(model_version),
                "thresholds": dict(values),
                "method": method,
                "reason": reason,
            },
        )
    return points


def _check(label: str, value: float, known: tuple[str, ...]) -> None:
    if label not in known:
        said = f"One of: {', '.join(known)}."
        raise InvalidInput(
            f"label: {said}", reason_code="unknown_label", fields={"label": [said]}
        )
    if not (math.isfinite(value) and 0.0 <= value <= 1.0):
        said = "A number from 0 to 1."
        raise InvalidInput(
            f"value: {said}", reason_code="invalid_threshold", fields={"value": [said]}
        )
