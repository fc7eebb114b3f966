"""Set the thresholds of a version; they apply to new images.

A finding stores the threshold that it was compared with. A new operating point is a
new row: none is ever changed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from django.db import transaction
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts import audit
from accounts.audit import AuditAction, changes_between
from accounts.errors import InvalidInput
from diagnoses.governance.transitions import Decision, checked_reason
from diagnoses.governance.versions import card_of, thresholds_of
from diagnoses.messages import FIELD_PROBLEM, one_of
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
    """Set the threshold of one label for new images.

    Raises:
        InvalidInput: The card has no such label, the value is not between 0 and 1, or
            no reason is given.
    """
    [point] = _set(model_version, {label: value}, method=BY_HAND, decision=decision)
    return point


def choose_named_set(
    model_version: ModelVersion, *, name: str, decision: Decision
) -> list[OperatingPoint]:
    """Set the thresholds of all labels to a named set of the card.

    Raises:
        InvalidInput: The card has no such set, or no reason is given.
    """
    offered = named_sets(model_version)
    if name not in offered:
        known = ", ".join(offered) or "–"
        raise InvalidInput(
            _("The card of %(version)s has no such set. It has: %(known)s."),
            params={"version": str(model_version), "known": known},
            reason_code="unknown_set",
            fields={"set": [one_of(offered)]},
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
        former = {
            label: threshold.value
            for label, threshold in thresholds_of(model_version).items()
        }
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
            changes=changes_between(former, values),
        )
    return points


def _check(label: str, value: float, known: tuple[str, ...]) -> None:
    if label not in known:
        problem = one_of(known)
        raise InvalidInput(
            FIELD_PROBLEM,
            params={"field": "label", "problem": problem},
            reason_code="unknown_label",
            fields={"label": [problem]},
        )
    if not (math.isfinite(value) and 0.0 <= value <= 1.0):
        problem = gettext("A number from 0 to 1.")
        raise InvalidInput(
            FIELD_PROBLEM,
            params={"field": "value", "problem": problem},
            reason_code="invalid_threshold",
            fields={"value": [problem]},
        )
