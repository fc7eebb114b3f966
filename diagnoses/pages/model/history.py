"""What was decided about a version and measured with it here, as its page shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from accounts.models import User
from diagnoses.governance.operating_points import named_sets
from diagnoses.governance.transitions import version_before
from diagnoses.models import ModelVersion, SiteAcceptance, StateChange
from diagnoses.pages.model.card import threshold_words
from diagnoses.pages.model.figures import FigureGroup, figure_group
from diagnoses.pages.words.signs import MODEL_STATES, Sign
from diagnoses.pages.words.times import moment_words

_State = ModelVersion.State
MOST_SHOWN = 20


@dataclass(frozen=True)
class AcceptanceView:
    """One measurement on the images of this site."""

    group: FigureGroup
    when: str
    manifest_sha256: str


@dataclass(frozen=True)
class ChangeView:
    """One decision: the state, who and when, why, and what it rests on."""

    state: Sign
    said: str
    reason: str
    rests_on: str


@dataclass(frozen=True)
class ThresholdChange:
    """One operating point that was set after the card's."""

    label: str
    value: str
    said: str
    reason: str


@dataclass(frozen=True)
class Choice:
    """One thing that an administrator may do with the version."""

    name: str
    word: str
    needs_acceptance: bool = False


def history_of(version: ModelVersion) -> list[ChangeView]:
    """Return the decisions about a version, the latest first."""
    changes = version.state_changes.select_related("changed_by", "acceptance")
    return [_change(change) for change in changes[:MOST_SHOWN]]


def acceptances_of(version: ModelVersion) -> list[AcceptanceView]:
    """Return what a version measured here, the latest first."""
    labels = [label["name"] for label in version.card.get("labels", ())]
    found = version.acceptances.select_related("measured_by")[:MOST_SHOWN]
    return [
        AcceptanceView(
            group=figure_group(
                "Images of this site", acceptance.figures, label_names=labels
            ),
            when=_who_and_when(acceptance.measured_by, acceptance.measured_at),
            manifest_sha256=acceptance.manifest_sha256,
        )
        for acceptance in found
    ]


def threshold_changes_of(version: ModelVersion) -> list[ThresholdChange]:
    """Return the thresholds that people set, the latest first."""
    points = (
        version.operating_points.exclude(reason="")
        .select_related("set_by")
        .order_by("-effective_from")[:MOST_SHOWN]
    )
    return [
        ThresholdChange(
            label=point.label,
            value=threshold_words(point.value),
            said=f"{point.method}, {_who_and_when(point.set_by, point.effective_from)}",
            reason=point.reason,
        )
        for point in points
    ]


def choices_of(
    version: ModelVersion, *, acceptances: Sequence[AcceptanceView]
) -> dict[str, Any]:
    """Return what an administrator may do: transitions, the way back, thresholds."""
    if not version.has_weights:
        return {}
    transitions = [
        Choice("activate", "Activate", needs_acceptance=not acceptances),
        Choice("shadow", "Run in shadow"),
        Choice("retire", "Retire"),
    ]
    own = {
        _State.ACTIVE: "activate",
        _State.SHADOW: "shadow",
        _State.RETIRED: "retire",
    }.get(_State(version.state))
    return {
        "transitions": [choice for choice in transitions if choice.name != own],
        "without_acceptance": not acceptances and version.state != _State.ACTIVE,
        "back_to": version_before(version.name),
        "sets": list(named_sets(version)),
        "labels": [label["name"] for label in version.card.get("labels", ())],
    }


def _change(change: StateChange) -> ChangeView:
    rolled = "rolled back, " if change.rollback else ""
    return ChangeView(
        state=MODEL_STATES[_State(change.to_state)],
        said=rolled + _who_and_when(change.changed_by, change.changed_at),
        reason=change.reason,
        rests_on=_rests_on(change.acceptance, change.without_acceptance),
    )


def _rests_on(acceptance: SiteAcceptance | None, without: str) -> str:
    if acceptance is not None:
        return f"Measured here on {acceptance}."
    return f"Not measured here: {without}" if without else ""


def _who_and_when(user: User | None, moment: Any) -> str:
    who = user.get_username() if user else "a command"
    return f"by {who}, {moment_words(moment)}"
