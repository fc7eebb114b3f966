"""Retire the versions that left the code, wherever they are installed.

The code keeps the card of a retired version and not its weights. Rows, results and the
weights in the storage stay: results can be shown and reproduced. A database that does
not know a retired version does not learn of it.
"""

from __future__ import annotations

from django.db import transaction
from django.utils.translation import gettext

from accounts.audit import AuditSource
from diagnoses.governance.transitions import (
    RETIRED_REASON,
    SUCCESSOR_REASON,
    Decision,
    activate,
    decided_by_a_person,
    retire,
)
from diagnoses.labels import label_name
from diagnoses.latest_runs import default_names
from diagnoses.models import ModelVersion
from ml.cards.card import Card, list_cards, list_retired_cards
from ml.cards.contents import Retired

State = ModelVersion.State


def retire_former_versions() -> list[str]:
    """Retire installed versions whose card is among the retired ones.

    If one was active and a default model takes its place, that becomes active, unless
    a person has decided about it. Running it again changes nothing.

    Returns:
        What changed, and what a person chose here that could not be kept, in sentences.
    """
    told: list[str] = []
    for card in list_retired_cards():
        # A version with other weights is another network, and not ours to retire.
        installed = ModelVersion.objects.filter(
            name=card.name,
            version=card.version,
            weights_sha256__in=("", card.weights_sha256 or ""),
        ).first()
        if installed and card.retired:
            with transaction.atomic():
                told += _retire(installed, card, card.retired)
    return [*told, *_defaults_without_a_model()]


def _retire(model_version: ModelVersion, card: Card, retired: Retired) -> list[str]:
    if model_version.card.get("retired") != card.raw["retired"]:
        model_version.card = {**model_version.card, "retired": card.raw["retired"]}
        model_version.save(update_fields=("card",))
    if model_version.state == State.RETIRED or not model_version.has_weights:
        return []
    told = [
        gettext("retired %(version)s in favour of %(successors)s")
        % {"version": model_version, "successors": retired.successors}
    ]
    told += _choices_not_kept(model_version)
    was_active = model_version.state == State.ACTIVE
    reason = f"{RETIRED_REASON}, in favour of {retired.successors}"
    retire(model_version, decision=_decision(reason))
    if was_active:
        told += _activate_default(model_version, retired)
    return told


def _decision(reason: str) -> Decision:
    return Decision(None, reason, AuditSource.COMMAND)


def _choices_not_kept(model_version: ModelVersion) -> list[str]:
    """Say which decisions of people about a version end with it."""
    told = []
    if decided_by_a_person(model_version):
        told.append(
            gettext(
                "%(version)s was %(state)s by a decision made here (%(reason)s); that "
                "cannot be kept."
            )
            % {
                "version": model_version,
                "state": model_version.get_state_display(),
                "reason": model_version.state_reason,
            }
        )
    # Only people give a reason.
    points = model_version.operating_points.exclude(reason="").order_by(
        "label", "-effective_from"
    )
    thresholds = [
        f"{label_name(point.label)} {point.value:.4g}"
        for point in points.distinct("label")
    ]
    if thresholds:
        told.append(
            gettext(
                "The thresholds set here for %(version)s end with it: %(thresholds)s. "
                "Scores of another version differ; set thresholds for it anew."
            )
            % {"version": model_version, "thresholds": ", ".join(thresholds)}
        )
    return told


def _activate_default(model_version: ModelVersion, retired: Retired) -> list[str]:
    """Activate the default model that takes the place of a version that was active."""
    told = []
    for successor in retired.in_favour_of:
        installed = (
            ModelVersion.objects.filter(
                name=successor.name, version=successor.version, state=State.INSTALLED
            )
            .exclude(weights_sha256="")
            .first()
        )
        if (
            installed is None
            or successor.name not in default_names()
            or ModelVersion.objects.filter(
                name=successor.name, state=State.ACTIVE
            ).exists()
        ):
            continue
        reason = f"{SUCCESSOR_REASON} {model_version}"
        activate(installed, decision=_decision(reason), without_acceptance=reason)
        told.append(gettext("activated %(version)s") % {"version": installed})
    return told


def _defaults_without_a_model() -> list[str]:
    """Say which default models, as the settings name them, have left the code."""
    shipped = {card.name for card in list_cards()}
    retired = {card.name: card.retired for card in list_retired_cards()}
    return [
        gettext(
            "The settings name %(name)s as a default model; it is retired in favour "
            "of %(successors)s."
        )
        % {"name": name, "successors": successors.successors}
        for name in default_names()
        if name not in shipped and (successors := retired.get(name))
    ]
