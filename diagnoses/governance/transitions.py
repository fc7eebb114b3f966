"""Who may use a version of a model: one function a transition, each for a reason.

installed → shadow (reads every image that fits, unseen by readers) → active → retired;
any state may follow any other. Of one name at most one version is active. A decision
is one transaction: the state, a row of its history, an audit event. It takes effect
on the next image; what waits in the queue is still read as it was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now
from django.http import HttpRequest

from accounts import audit
from accounts.audit import AuditAction
from accounts.errors import Conflict, InvalidInput
from accounts.models import User
from diagnoses.models import ModelVersion, SiteAcceptance, StateChange

State = ModelVersion.State
DEMO_REASON = "demo"
LONGEST_REASON = 256


@dataclass(frozen=True)
class Decision:
    """Who decides, why, and by which source.

    Attributes:
        actor: Who; None for a program. The source has checked that they may.
        reason: Why, in words that are kept.
        source: An `AuditSource`.
        request: The HTTP request, for the trail.
    """

    actor: User | None
    reason: str
    source: str
    request: HttpRequest | None = None


def activate(
    model_version: ModelVersion, *, decision: Decision, without_acceptance: str = ""
) -> StateChange:
    """Let a version read the images that fit; it replaces the version before.

    Args:
        model_version: Which one.
        decision: Who decides, and why.
        without_acceptance: Why it may be used although it was not measured here.

    Raises:
        InvalidInput: No reason is given.
        Conflict: It is active already, has no weights, or was neither measured here
            (`accept_model`) nor is there a reason to do without.
    """
    acceptance = latest_acceptance(model_version)
    doing_without = ""
    if acceptance is None and model_version.has_weights:
        if not without_acceptance.strip():
            raise Conflict(
                f"{model_version} was not measured on images of this site. Run "
                "`manage.py accept_model`, or give a reason for doing without.",
                reason_code="no_acceptance",
                fields={"without_acceptance": ["Say why it may do without."]},
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
    """Let a version read every image that fits, unseen by readers.

    Raises:
        InvalidInput: No reason is given.
        Conflict: It is in shadow already, or has no weights.
    """
    with transaction.atomic():
        return _change(model_version, State.SHADOW, decision)


def retire(model_version: ModelVersion, *, decision: Decision) -> StateChange:
    """Let a version read no further images; what waits for it is still read.

    Raises:
        InvalidInput: No reason is given.
        Conflict: It is retired already, or has no weights.
    """
    with transaction.atomic():
        return _change(model_version, State.RETIRED, decision)


def roll_back(name: str, *, decision: Decision, to: str = "") -> StateChange:
    """Go back to the version of a model that was active before the present one.

    It was accepted when it was activated: nothing but a reason is asked for.

    Args:
        name: The model.
        decision: Who decides, and why.
        to: The version that whoever decides expects; "" leaves it open.

    Raises:
        InvalidInput: No reason is given.
        Conflict: No version was active before, or another than is expected: somebody
            rolled back meanwhile.
    """
    with transaction.atomic():
        _lock_versions(name)
        before = version_before(name)
        if before is None:
            raise Conflict(
                f"No version of {name} was active before the present one.",
                reason_code="nothing_to_roll_back_to",
            )
        if to not in ("", before.version):
            raise Conflict(
                f"Going back would lead to {before} by now, not to {name} {to}: "
                "somebody decided meanwhile. Look at the model again.",
                reason_code="decided_meanwhile",
            )
        return _activate(before, decision, rollback=True)


def version_before(name: str) -> ModelVersion | None:
    """Return the version that a rollback would go back to.

    Whoever was rolled back is forgotten: rolling back twice goes back two versions.
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
    """Return what the version measured here last, if it ever did."""
    return model_version.acceptances.order_by("-measured_at").first()


def activate_for_demo(*, only: str = "") -> list[ModelVersion]:
    """Activate the newest version of each model, except where a person decided.

    What was imported waits for a person: nothing of it was measured.

    Args:
        only: The one model to activate; without it, all.
    """
    activated = []
    decision = Decision(None, DEMO_REASON, audit.AuditSource.COMMAND)
    ours = ModelVersion.objects.exclude(weights_sha256="").exclude(
        card__has_key="imported"
    )
    if only:
        ours = ours.filter(name=only)
    for (name,) in sorted(set(ours.values_list("name"))):
        versions = list(ModelVersion.objects.filter(name=name))
        decided = any(
            version.state != State.INSTALLED and version.state_reason != DEMO_REASON
            for version in versions
        )
        newest = max(ours.filter(name=name), key=lambda version: version.installed_at)
        if not decided and newest.state != State.ACTIVE:
            activate(newest, decision=decision, without_acceptance=DEMO_REASON)
            activated.append(newest)
    return activated


def checked_reason(text: str, *, field: str = "reason") -> str:
    """Return a written reason as it is kept.

    Raises:
        InvalidInput: It is empty, too long, or holds NUL.
    """
    reason = text.strip()
    if not reason:
        said = "Say why: the reason is kept."
    elif len(reason) > LONGEST_REASON or "\x00" in reason:
        said = f"At most {LONGEST_REASON} characters of plain text."
    else:
        return reason
    raise InvalidInput(
        f"{field}: {said}", reason_code="reason_missing", fields={field: [said]}
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


def _lock_versions(name: str) -> None:
    """Let decisions about one model through one by one: look at it only after this."""
    versions = ModelVersion.objects.filter(name=name).order_by("pk")
    list(versions.select_for_update())


def _change(
    model_version: ModelVersion, state: State, decision: Decision, **said: object
) -> StateChange:
    """Write the state, its history and the event; must be in a transaction.

    Raises:
        InvalidInput: No reason is given.
        Conflict: The version is in this state already, or has no weights.
        AuditUnavailable: The event could not be written; nothing changes.
    """
    reason = checked_reason(decision.reason)
    locked = ModelVersion.objects.select_for_update().get(pk=model_version.pk)
    if not locked.has_weights:
        raise Conflict(
            f"{locked} came without weights: nothing can run it.",
            reason_code="no_weights",
        )
    if locked.state == state:
        raise Conflict(f"{locked} is {state} already.", reason_code="already_so")
    change = StateChange.objects.create(
        model_version=model_version,
        from_state=locked.state,
        to_state=state,
        reason=reason,
        changed_by=decision.actor,
        **said,
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
    )
