"""The decisions about a version and its measurements on this site, for its page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from diagnoses.governance.operating_points import named_sets
from diagnoses.governance.transitions import version_before
from diagnoses.governance.versions import card_of, retired_of
from diagnoses.labels import label_name
from diagnoses.models import ModelVersion, SiteAcceptance, StateChange
from diagnoses.pages.model.card import threshold_words
from diagnoses.pages.model.metrics import MetricGroup, measurement_group
from diagnoses.pages.words.signs import MODEL_STATES, Sign
from diagnoses.pages.words.times import moment_words
from ml.cards.from_report import measurement_of_report

_State = ModelVersion.State
MOST_SHOWN = 20


@dataclass(frozen=True)
class AcceptanceView:
    """One measurement on the images of this site."""

    group: MetricGroup
    when: str
    manifest_sha256: str


@dataclass(frozen=True)
class ChangeView:
    """One decision: the state, who and when, why, and what it rests on."""

    state: Sign
    who_and_when: str
    reason: str
    rests_on: str


@dataclass(frozen=True)
class ThresholdChange:
    """One operating point that was set in place of the card's."""

    label: str
    value: str
    who_and_when: str
    reason: str


@dataclass(frozen=True)
class Choice:
    """One thing that an administrator may do with the version."""

    name: str
    word: str | Promise
    needs_acceptance: bool = False


def history_of(version: ModelVersion) -> list[ChangeView]:
    """Return the decisions about a version, the latest first."""
    changes = version.state_changes.select_related("changed_by", "acceptance")
    return [_change(change) for change in changes[:MOST_SHOWN]]


def acceptances_of(version: ModelVersion) -> list[AcceptanceView]:
    """Return the measurements of a version on this site, the latest first."""
    label_names = card_of(version).label_names
    acceptances = version.acceptances.select_related("measured_by")[:MOST_SHOWN]
    return [
        AcceptanceView(
            group=measurement_group(
                gettext("Images of this site"),
                measurement_of_report(acceptance.figures, key="site", command=()),
                label_names=label_names,
            ),
            when=_who_and_when(acceptance.measured_by, acceptance.measured_at),
            manifest_sha256=acceptance.manifest_sha256,
        )
        for acceptance in acceptances
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
            who_and_when=gettext("%(method)s, %(who_and_when)s")
            % {
                "method": point.method,
                "who_and_when": _who_and_when(point.set_by, point.effective_from),
            },
            reason=point.reason,
        )
        for point in points
    ]


def choices_of(
    version: ModelVersion, *, acceptances: Sequence[AcceptanceView]
) -> dict[str, Any]:
    """Return what an administrator may do: transitions, rollback, thresholds.

    Nothing may be decided about a version that cannot run or has left the code.
    """
    if not version.has_weights or retired_of(version):
        return {}
    transitions = [
        Choice("activate", _("Activate"), needs_acceptance=not acceptances),
        Choice("shadow", _("Run in shadow")),
        Choice("retire", _("Retire")),
    ]
    before = version_before(version.name)
    own = {
        _State.ACTIVE: "activate",
        _State.SHADOW: "shadow",
        _State.RETIRED: "retire",
    }.get(_State(version.state))
    return {
        "transitions": [choice for choice in transitions if choice.name != own],
        "without_acceptance": not acceptances and version.state != _State.ACTIVE,
        "back_to": before if before and retired_of(before) is None else None,
        "sets": list(named_sets(version)),
        "labels": [
            (label.name, label_name(label.name, display=label.display))
            for label in card_of(version).labels
        ],
    }


def _change(change: StateChange) -> ChangeView:
    who_and_when = _who_and_when(change.changed_by, change.changed_at)
    if change.rollback:
        who_and_when = gettext("rolled back, %(who_and_when)s") % {
            "who_and_when": who_and_when
        }
    return ChangeView(
        state=MODEL_STATES[_State(change.to_state)],
        who_and_when=who_and_when,
        reason=change.reason,
        rests_on=_rests_on(change.acceptance, change.without_acceptance),
    )


def _rests_on(acceptance: SiteAcceptance | None, without: str) -> str:
    if acceptance is not None:
        text = gettext("Measured here on %(images)d images of %(patients)d patients.")
        return text % {
            "images": acceptance.images,
            "patients": acceptance.patients,
        }
    if without:
        return gettext("Not measured here: %(reason)s") % {"reason": without}
    return ""


def _who_and_when(user: User | None, moment: Any) -> str:
    return gettext("by %(who)s, %(moment)s") % {
        "who": user.get_username() if user else gettext("a command"),
        "moment": moment_words(moment),
    }
