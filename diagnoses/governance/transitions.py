"""Transitions of a model version between its states, each with a reason.

installed → shadow (reads every eligible image, hidden from readers) → active →
retired; any state may follow any other. At most one version of a model is active. A
decision is one transaction: the state, a row of its history, an audit event. It
applies to new images; queued images are still read as they were queued. The worklist
shows what the models in use found: the sweeper writes its rows again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts import audit
from accounts.audit import AuditAction, Change
from accounts.errors import Conflict, InvalidInput
from accounts.models import User
from diagnoses.governance.versions import card_of, retired_sentence
from diagnoses.messages import FIELD_PROBLEM
from diagnoses.models import ModelVersion, SiteAcceptance, StateChange
from ml.cards.claims import weakness_of

State = ModelVersion.State
DEMO_REASON = "demo"
# How the reasons of a new release begin: see `diagnoses.governance.retirement`.
RETIRED_REASON = "retired with its card"
SUCCESSOR_REASON = "takes the place of"
LONGEST_REASON = 256


@dataclass(frozen=True)
class Decision:
    """A person's decision about a model version, with its reason.

    Attributes:
        actor: The user; None for a program. The source has checked the permission.
        reason: Stored with the decision.
        source: An `AuditSource`.
        request: The HTTP request, for the audit trail.
    """

    actor: User | None
    reason: str
    source: str
    request: HttpRequest | None = None


def activate(
    model_version: ModelVersion, *, decision: Decision, without_acceptance: str = ""
) -> StateChange:
    """Activate a version; it replaces the active version of the model.

    Args:
        model_version: The version to activate.
        decision: Who decides, and why.
        without_acceptance: Reason for activating without local validation.

    Raises:
        InvalidInput: No reason is given.
        Conflict: It is active already, has no weights, has left the code, or has
            neither a local validation (`accept_model`) nor a reason for activating
            without one.
    """
    _refuse_retired(model_version)
    acceptance = latest_acceptance(model_version)
    doing_without = ""
    if acceptance is None and model_version.has_weights:
        if not without_acceptance.strip():
            raise Conflict(
                _(
                    "%(version)s has no local validation. Run `manage.py "
                    "accept_model`, or give a reason for activating without it."
                ),
                params={"version": str(model_version)},
                reason_code="no_acceptance",
                fields={
                    "without_acceptance": [
                        gettext(
                            "Give a reason for activating without local validation."
                        )
                    ]
                },
            )
        doing_without = checked_reason(without_acceptance, field="without_acceptance")
    with transaction.atomic():
        return _activate(
            model_version,
            decision,
            acceptance=acceptance,
            without_acceptance=doing_without,
        )


def run_in_shadow(model_version: ModelVersion, *, decision: Decision) -> StateChange:
    """Let a version read every eligible image; readers do not see its results.

    Raises:
        InvalidInput: No reason is given.
        Conflict: It is in shadow already, has no weights, or has left the code.
    """
    with transaction.atomic():
        return _change(model_version, State.SHADOW, decision)


def retire(model_version: ModelVersion, *, decision: Decision) -> StateChange:
    """Retire a version: it reads no new images, queued images are still read.

    Raises:
        InvalidInput: No reason is given.
        Conflict: It is retired already, or has no weights.
    """
    with transaction.atomic():
        return _change(model_version, State.RETIRED, decision)


def roll_back(name: str, *, decision: Decision, to: str = "") -> StateChange:
    """Go back to the version of a model that was active before the present one.

    It was accepted when it was activated, so only a reason is needed.

    Args:
        name: The model.
        decision: Who decides, and why.
        to: The version number that the user expects; "" for any.

    Raises:
        InvalidInput: No reason is given.
        Conflict: No version was active before, or it is not the expected one because
            another user rolled back in the meantime.
    """
    with transaction.atomic():
        _lock_versions(name)
        before = version_before(name)
        if before is None:
            raise Conflict(
                _("No version of %(name)s was active before the current one."),
                params={"name": name},
                reason_code="nothing_to_roll_back_to",
            )
        if to not in ("", before.version):
            raise Conflict(
                _(
                    "The previous version is now %(previous)s, not %(expected)s. "
                    "Another user has changed the model. Reload the page."
                ),
                params={"previous": str(before), "expected": f"{name} {to}"},
                reason_code="decided_meanwhile",
            )
        return _activate(before, decision, rollback=True)


def version_before(name: str) -> ModelVersion | None:
    """Return the version that a rollback goes back to, or None.

    A version that was rolled back does not count: rolling back twice goes back two
    versions.
    """
    path: list[UUID] = []
    activations = StateChange.objects.filter(
        model_version__name=name, to_state=State.ACTIVE
    ).order_by("changed_at")
    for key, rollback in activations.values_list("model_version", "rollback"):
        if rollback and path[-2:-1] == [key]:
            path.pop()
        elif path[-1:] != [key]:
            path.append(key)
    return ModelVersion.objects.get(pk=path[-2]) if len(path) > 1 else None


def latest_acceptance(model_version: ModelVersion) -> SiteAcceptance | None:
    """Return the latest local validation of a version, or None."""
    return model_version.acceptances.order_by("-measured_at").first()


def activate_for_demo(*, only: str = "") -> list[ModelVersion]:
    """Activate the newest version of each model that nobody has decided about.

    Versions that left the code are left out, and imported models, of which nothing was
    measured. So are models whose card shows them to be no better than chance or than a
    baseline that sees no lungs; those that a demo activated before are retired.

    Args:
        only: The one model to activate; without it, all.
    """
    activated = []
    decision = Decision(None, DEMO_REASON, audit.AuditSource.COMMAND)
    ours = ModelVersion.objects.exclude(weights_sha256="").exclude(
        card__has_any_keys=["imported", "retired"]
    )
    if only:
        ours = ours.filter(name=only)
    for (name,) in sorted(set(ours.values_list("name"))):
        versions = list(ModelVersion.objects.filter(name=name))
        decided = any(map(decided_by_a_person, versions))
        newest = max(ours.filter(name=name), key=lambda version: version.installed_at)
        if decided:
            continue
        if weakness_of(card_of(newest)):
            for version in versions:
                if version.state == State.ACTIVE:
                    retire(version, decision=decision)
        elif newest.state != State.ACTIVE:
            activate(newest, decision=decision, without_acceptance=DEMO_REASON)
            activated.append(newest)
    return activated


def decided_by_a_person(model_version: ModelVersion) -> bool:
    """Return whether a person, not a demo or a new release, set the present state."""
    if model_version.state == State.INSTALLED:
        return False
    reason = model_version.state_reason
    automatic = reason == DEMO_REASON or (
        model_version.state_changed_by_id is None
        and reason.startswith((RETIRED_REASON, SUCCESSOR_REASON))
    )
    return not automatic


def checked_reason(text: str, *, field: str = "reason") -> str:
    """Return the reason as it is stored.

    Raises:
        InvalidInput: It is empty, too long, or holds NUL.
    """
    reason = text.strip()
    if not reason:
        problem = gettext("Give a reason. It is stored with the decision.")
    elif len(reason) > LONGEST_REASON or "\x00" in reason:
        problem = gettext("At most %(limit)d characters of plain text.") % {
            "limit": LONGEST_REASON
        }
    else:
        return reason
    raise InvalidInput(
        FIELD_PROBLEM,
        params={"field": field, "problem": problem},
        reason_code="reason_missing",
        fields={field: [problem]},
    )


def _activate(
    model_version: ModelVersion,
    decision: Decision,
    *,
    acceptance: SiteAcceptance | None = None,
    without_acceptance: str = "",
    rollback: bool = False,
) -> StateChange:
    _lock_versions(model_version.name)
    active = ModelVersion.objects.filter(name=model_version.name, state=State.ACTIVE)
    for other in active.exclude(pk=model_version.pk):
        _change(other, State.RETIRED, decision)
    return _change(
        model_version,
        State.ACTIVE,
        decision,
        acceptance=acceptance,
        without_acceptance=without_acceptance,
        rollback=rollback,
    )


def _refuse_retired(model_version: ModelVersion) -> None:
    if sentence := retired_sentence(model_version):
        raise Conflict(sentence, reason_code="retired_model")


def _lock_versions(name: str) -> None:
    """Lock the versions of a model; read their states only after this."""
    versions = ModelVersion.objects.filter(name=name).order_by("pk")
    list(versions.select_for_update())


def _change(
    model_version: ModelVersion, state: State, decision: Decision, **columns: Any
) -> StateChange:
    """Write the state, its history and the audit event; needs a transaction.

    Raises:
        InvalidInput: No reason is given.
        Conflict: The version is in this state already, has no weights, or has left
            the code and would read new images.
        AuditUnavailable: The event could not be written; nothing changes.
    """
    reason = checked_reason(decision.reason)
    locked = ModelVersion.objects.select_for_update().get(pk=model_version.pk)
    if state in (State.ACTIVE, State.SHADOW):
        _refuse_retired(locked)
    if not locked.has_weights:
        raise Conflict(
            _("%(version)s has no weights, so it cannot be run."),
            params={"version": str(locked)},
            reason_code="no_weights",
        )
    if locked.state == state:
        raise Conflict(
            _("%(version)s already has the state “%(state)s”."),
            params={"version": str(locked), "state": state.label},
            reason_code="already_so",
        )
    change = StateChange.objects.create(
        model_version=model_version,
        from_state=locked.state,
        to_state=state,
        reason=reason,
        changed_by=decision.actor,
        **columns,
    )
    model_version.state = state
    model_version.state_changed_by = decision.actor
    model_version.state_changed_at = Now()
    model_version.state_reason = reason
    model_version.save(
        update_fields=("state", "state_changed_by", "state_changed_at", "state_reason")
    )
    model_version.refresh_from_db(fields=("state_changed_at",))
    _record(change, decision)
    return change


def _record(change: StateChange, decision: Decision) -> None:
    audit.record(
        action=AuditAction.CHANGE,
        actor=decision.actor,
        request=decision.request,
        source=decision.source,
        object_kind="model_version",
        object_uuid=change.model_version_id,
        detail={
            "model": str(change.model_version),
            "from": change.from_state,
            "state": change.to_state,
            "reason": change.reason,
            "rollback": change.rollback,
            "acceptance": str(change.acceptance_id or ""),
            "without_acceptance": change.without_acceptance,
        },
        changes=[Change("state", change.from_state, change.to_state)],
    )
