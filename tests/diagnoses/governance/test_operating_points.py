"""Operating points apply to new images; earlier results keep theirs."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from accounts.errors import InvalidInput
from accounts.models import AuditEvent, Role
from diagnoses.governance.operating_points import choose_named_set, set_operating_point
from diagnoses.governance.transitions import Decision
from diagnoses.governance.versions import thresholds_of
from diagnoses.leases import claim
from diagnoses.models import Finding, ModelVersion
from diagnoses.runs import queue_predictions
from diagnoses.worker.read import LoadedModels, read_claimed
from tests.clients import program
from tests.diagnoses.fakes import LABELS, stored_image
from tests.factories import UserFactory

LABEL = "Bacterial pneumonia"
SETS = {
    "youden": dict.fromkeys(LABELS, 0.3),
    "original": dict.fromkeys(LABELS, 0.4),
}


@pytest.fixture
def model(chest_model: ModelVersion) -> ModelVersion:
    chest_model.card = chest_model.card | {"operating_points": SETS}
    chest_model.save(update_fields=["card"])
    return chest_model


def read_one(models: LoadedModels) -> Finding:
    queue_predictions(stored_image())
    [claimed] = claim("worker-1")
    assert read_claimed(claimed, models=models)
    return Finding.objects.get(prediction=claimed.prediction_id, label=LABEL)


def test_a_new_threshold_applies_to_new_results_only(
    model: ModelVersion, models: LoadedModels
) -> None:
    before = read_one(models)
    assert (before.probability, before.threshold, before.positive) == (0.7, 0.6, True)
    person = UserFactory()
    decision = Decision(person, "too many false alarms", "web")
    point = set_operating_point(model, label=LABEL, value=0.8, decision=decision)
    after = read_one(models)
    assert (after.threshold, after.positive) == (0.8, False)
    assert after.operating_point == point
    again = Finding.objects.get(pk=before.pk)
    assert (again.threshold, again.positive) == (0.6, True)
    assert again.operating_point != point
    assert (point.set_by, point.reason) == (person, "too many false alarms")
    event = AuditEvent.objects.get(object_kind="operating_point")
    assert event.detail["thresholds"] == {LABEL: 0.8}
    assert event.actor_uuid == person.pk


def test_a_named_set_of_the_card_sets_every_threshold(model: ModelVersion) -> None:
    decision = Decision(None, "as the paper has it", "command")
    points = choose_named_set(model, name="original", decision=decision)
    assert {point.method for point in points} == {"card: original"}
    in_force = {name: point.value for name, point in thresholds_of(model).items()}
    assert in_force == SETS["original"]
    with pytest.raises(InvalidInput, match="youden, original"):
        choose_named_set(model, name="no-such-set", decision=decision)


@pytest.mark.parametrize(
    ("label", "value", "reason"),
    [
        ("Broken rib", 0.5, "tests"),
        (LABEL, 1.5, "tests"),
        (LABEL, float("nan"), "tests"),
        (LABEL, 0.5, " "),
    ],
)
def test_invalid_thresholds_are_refused(
    model: ModelVersion, label: str, value: float, reason: str
) -> None:
    before = model.operating_points.count()
    with pytest.raises(InvalidInput):
        set_operating_point(
            model, label=label, value=value, decision=Decision(None, reason, "web")
        )
    assert model.operating_points.count() == before


def test_a_threshold_can_be_set_by_command(model: ModelVersion) -> None:
    UserFactory(username="chief", role=Role.ADMIN)
    by = ("--user", "chief", "--reason", "decided")
    call_command("set_operating_point", model.name, LABEL, "0.75", *by)
    assert thresholds_of(model)[LABEL].value == 0.75
    call_command("set_operating_point", model.name, "--set", "youden", *by)
    assert thresholds_of(model)[LABEL].value == 0.3
    call_command("set_operating_point", model.name, LABEL, "0.5", *by, "--version", "1")
    assert thresholds_of(model)[LABEL].value == 0.5
    for wrong in ((), (LABEL,), (LABEL, "0.5", "--set", "youden")):
        with pytest.raises(CommandError, match="LABEL"):
            call_command("set_operating_point", model.name, *wrong, *by)
    with pytest.raises(CommandError, match="One of"):
        call_command("set_operating_point", model.name, "Broken rib", "0.5", *by)


def test_a_threshold_can_be_set_over_rest(model: ModelVersion) -> None:
    path = f"/api/v1/models/{model.name}/operating-points/"
    chief = program(Role.ADMIN)
    given = {"label": LABEL, "value": 0.65, "reason": "decided"}
    answer = chief.post(path, given, content_type="application/json")
    assert answer.status_code == 201
    assert answer.json()[0]["set_by"] == chief.user.username
    shown = chief.get(f"/api/v1/models/{model.name}/").json()
    assert shown["thresholds"][LABEL] == 0.65
    by_set = {"set": "youden", "reason": "decided"}
    assert chief.post(path, by_set, content_type="application/json").status_code == 201
    listed = chief.get(path).json()
    assert len(listed) == model.operating_points.count()
    for wrong in ({**given, **by_set}, {"reason": "x"}, {**given, "value": 2}):
        answer = chief.post(path, wrong, content_type="application/json")
        assert answer.status_code == 400
    for role in (Role.RADIOLOGIST, Role.DATA_SCIENTIST):
        answer = program(role).post(path, given, content_type="application/json")
        assert answer.status_code == 403
