"""Transitions of a model version: shadow, active, retired, rolled back."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connections, transaction

from accounts.errors import Conflict, InvalidInput
from accounts.models import AuditEvent, Role
from diagnoses.governance.transitions import (
    Decision,
    activate,
    retire,
    roll_back,
    run_in_shadow,
    version_before,
)
from diagnoses.governance.versions import active_models, shadow_models
from diagnoses.models import ModelVersion, SiteAcceptance, StateChange
from diagnoses.runs import queue_predictions
from tests.default_model import DEFAULT_MODEL
from tests.diagnoses.fakes import card_json, default_model, image_row
from tests.factories import ModelVersionFactory, UserFactory
from tests.owner import by_owner

pytestmark = pytest.mark.django_db
NAME = DEFAULT_MODEL
BECAUSE = Decision(None, "tests", "command")


def version(
    number: str, *, state: str = "installed", weights: bool = True
) -> ModelVersion:
    made: ModelVersion = ModelVersionFactory(
        name=NAME,
        version=number,
        state=state,
        card=card_json(NAME) | {"version": number},
        weights_sha256="1" * 64 if weights else "",
    )
    return made


def activated(number: str) -> ModelVersion:
    made = version(number)
    activate(made, decision=BECAUSE, without_acceptance="tests")
    return made


def active_number() -> str | None:
    active = default_model()
    return active.version if active else None


def test_activating_retires_the_previous_version_and_keeps_who_and_why() -> None:
    first, second, person = activated("1"), version("2"), UserFactory()
    decision = Decision(person, "  reads better  ", "web")
    activate(second, decision=decision, without_acceptance="measured elsewhere")
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.state, second.state) == ("retired", "active")
    assert (second.state_changed_by, second.state_reason) == (person, "reads better")
    change = second.state_changes.get()
    assert (change.from_state, change.to_state) == ("installed", "active")
    assert (change.changed_by, change.reason) == (person, "reads better")
    assert change.without_acceptance == "measured elsewhere"
    events = AuditEvent.objects.filter(object_kind="model_version", source="web")
    assert {event.object_uuid for event in events} == {first.pk, second.pk}
    for event in events:
        assert event.actor_uuid == person.pk
        assert event.detail["reason"] == "reads better"


def test_each_decision_leads_to_its_state() -> None:
    made = version("1")
    run_in_shadow(made, decision=BECAUSE)
    assert (shadow_models(), active_models()) == ([made], [])
    activate(made, decision=BECAUSE, without_acceptance="tests")
    assert (shadow_models(), active_models()) == ([], [made])
    retire(made, decision=BECAUSE)
    assert (shadow_models(), active_models()) == ([], [])
    changes = [(c.from_state, c.to_state) for c in made.state_changes.all()][::-1]
    assert changes == [
        ("installed", "shadow"),
        ("shadow", "active"),
        ("active", "retired"),
    ]


@pytest.mark.parametrize("reason", ["", "   ", "a" * 257, "nul\x00"])
def test_every_decision_needs_a_reason(reason: str) -> None:
    made = activated("1")
    spoiled = Decision(UserFactory(), reason, "web")
    for decide in (run_in_shadow, retire):
        with pytest.raises(InvalidInput) as caught:
            decide(made, decision=spoiled)
        assert "reason" in caught.value.fields
    activated("2")
    with pytest.raises(InvalidInput):
        roll_back(NAME, decision=spoiled)
    with pytest.raises(InvalidInput):
        activate(made, decision=spoiled, without_acceptance="tests")
    assert active_number() == "2"


def test_activation_needs_a_measurement_or_a_reason_for_none() -> None:
    made = version("1")
    with pytest.raises(Conflict, match="accept_model") as caught:
        activate(made, decision=BECAUSE)
    assert caught.value.reason_code == "no_acceptance"
    assert active_number() is None
    acceptance = SiteAcceptance.objects.create(
        model_version=made, figures={}, images=9, patients=3, manifest_sha256="a" * 64
    )
    activate(made, decision=BECAUSE)
    assert made.state_changes.get().acceptance == acceptance
    other = version("2")
    with pytest.raises(Conflict):
        activate(other, decision=BECAUSE)


def test_a_version_without_weights_cannot_be_decided_on() -> None:
    made = version("1", weights=False)
    for decide in (activate, run_in_shadow, retire):
        with pytest.raises(Conflict) as caught:
            decide(made, decision=BECAUSE)
        assert caught.value.reason_code == "no_weights"


def test_the_same_decision_twice_is_a_conflict() -> None:
    made = activated("1")
    with pytest.raises(Conflict, match="already has the state “Active”"):
        activate(made, decision=BECAUSE, without_acceptance="tests")


def test_a_rollback_is_one_action_and_applies_to_new_images() -> None:
    first, second = activated("1"), activated("2")
    assert queue_predictions(image_row())[0].model_version == second
    change = roll_back(NAME, decision=BECAUSE)
    assert (change.model_version, change.rollback) == (first, True)
    assert queue_predictions(image_row())[0].model_version == first
    second.refresh_from_db()
    assert second.state == "retired"


def test_rolling_back_twice_goes_back_two_versions() -> None:
    activated("1"), activated("2"), activated("3")
    roll_back(NAME, decision=BECAUSE)
    assert active_number() == "2"
    roll_back(NAME, decision=BECAUSE)
    assert active_number() == "1"
    with pytest.raises(Conflict) as caught:
        roll_back(NAME, decision=BECAUSE)
    assert caught.value.reason_code == "nothing_to_roll_back_to"
    assert active_number() == "1"


def test_a_second_click_does_not_roll_back_a_second_time() -> None:
    activated("1"), activated("2"), activated("3")
    roll_back(NAME, decision=BECAUSE, to="2")
    with pytest.raises(Conflict) as caught:
        roll_back(NAME, decision=BECAUSE, to="2")
    assert caught.value.reason_code == "decided_meanwhile"
    assert active_number() == "2"


def test_a_rollback_undoes_only_the_latest_activation() -> None:
    first = activated("1")
    activated("2")
    activate(first, decision=BECAUSE, without_acceptance="tests")
    activated("3")
    roll_back(NAME, decision=BECAUSE)
    assert active_number() == "1"
    assert version_before(NAME).version == "2"


def test_a_rolled_back_version_can_be_activated_and_rolled_back_again() -> None:
    activated("1")
    second = activated("2")
    roll_back(NAME, decision=BECAUSE)
    activate(second, decision=BECAUSE, without_acceptance="mended")
    assert version_before(NAME).version == "1"
    activated("3")
    assert version_before(NAME).version == "2"


def test_a_rollback_after_retirement_restores_the_version_before() -> None:
    activated("1")
    second = activated("2")
    retire(second, decision=BECAUSE)
    roll_back(NAME, decision=BECAUSE)
    assert active_number() == "1"


@pytest.mark.django_db(transaction=True)
def test_concurrent_activations_leave_one_active_version() -> None:
    activated("1")
    pair, barrier = [version("2"), version("3")], threading.Barrier(2)

    def activate_now(chosen: ModelVersion) -> None:
        barrier.wait()
        try:
            activate(chosen, decision=BECAUSE, without_acceptance="tests")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(activate_now, pair))
    states = ModelVersion.objects.order_by("state").values_list("state", flat=True)
    assert list(states) == ["active", "retired", "retired"]


@pytest.mark.parametrize("model", [StateChange, SiteAcceptance])
def test_stored_decisions_and_measurements_cannot_be_changed(model: type) -> None:
    made = activated("1")
    SiteAcceptance.objects.create(
        model_version=made, figures={}, images=9, patients=3, manifest_sha256="a" * 64
    )
    row = model.objects.get()
    for change in (row.save, row.delete):
        refused = pytest.raises(DatabaseError, match="is refused")
        with refused, transaction.atomic(), by_owner():
            change()


def test_a_decision_that_cannot_be_audited_is_refused(broken_trail: None) -> None:
    made = version("1")
    UserFactory(username="chief", role=Role.ADMIN)
    with pytest.raises(CommandError, match="audit trail"):
        call_command(
            "activate_model",
            *(NAME, "1", "--user", "chief", "--reason", "validated"),
            *("--without-acceptance", "tests"),
        )
    made.refresh_from_db()
    assert made.state == "installed"
    assert not StateChange.objects.exists()


def test_decisions_can_be_made_by_command() -> None:
    version("1"), version("2")
    UserFactory(username="chief", role=Role.ADMIN)
    UserFactory(username="reader", role=Role.RADIOLOGIST)
    output = StringIO()

    def decide(*words: str, user: str = "chief") -> None:
        arguments = (NAME, *words, "--user", user, "--reason", "validated")
        call_command("activate_model", *arguments, stdout=output)

    with pytest.raises(CommandError, match="accept_model"):
        decide("1")
    decide("1", "--without-acceptance", "measured elsewhere")
    decide("2", "--shadow")
    assert (active_number(), [m.version for m in shadow_models()]) == ("1", ["2"])
    decide("2", "--without-acceptance", "measured elsewhere")
    assert active_number() == "2"
    decide("--rollback")
    assert active_number() == "1"
    with pytest.raises(CommandError, match="active before"):
        decide("1", "--rollback")
    decide("--retire")
    assert active_number() is None
    assert output.getvalue().splitlines()[-1] == f"{NAME} 1: Retired"
    for user, complaint in (("reader", "Only an administrator"), ("x", "no such user")):
        with pytest.raises(CommandError, match=complaint):
            decide("2", "--shadow", user=user)
    with pytest.raises(CommandError, match="no such installed version"):
        decide("9")
