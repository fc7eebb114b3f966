"""Models over REST: activation, shadow, rollback, operating points."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import HttpResponseBase
from django.test import Client

from accounts.models import AuditEvent, Role
from diagnoses.models import ModelVersion
from ml.cards.upgrade import upgraded
from tests.clients import html, person, program
from tests.default_model import DEFAULT_MODEL
from tests.diagnoses.fakes import card_json, default_model
from tests.factories import ModelVersionFactory

pytestmark = pytest.mark.django_db
NAME = DEFAULT_MODEL


def version(number: str, *, weights: bool = True, **more: Any) -> ModelVersion:
    made: ModelVersion = ModelVersionFactory(
        name=NAME,
        version=number,
        state="installed",
        card=card_json(NAME) | {"version": number} | more,
        weights_sha256="1" * 64 if weights else "",
    )
    return made


def decide(client: Client, decision: str, **given: str) -> HttpResponseBase:
    return client.post(
        f"/api/v1/models/{NAME}/{decision}/",
        {"reason": "tests", **given},
        content_type="application/json",
    )


def test_an_administrator_decides_and_rolls_back_over_rest() -> None:
    version("1"), version("2")
    chief = program(Role.ADMIN)
    refused = decide(chief, "activate", version="1")
    assert refused.status_code == 409
    assert refused.json()["reason_code"] == "no_acceptance"
    for number in ("1", "2"):
        answer = decide(
            chief, "activate", version=number, without_acceptance="measured elsewhere"
        )
        assert (answer.status_code, answer.json()["state"]) == (200, "active")
    elsewhere = decide(chief, "rollback", to="9")
    assert elsewhere.json()["reason_code"] == "decided_meanwhile"
    back = decide(chief, "rollback", to="1").json()
    assert (back["version"], back["state_changes"][0]["rollback"]) == ("1", True)
    assert back["state_changes"][0]["changed_by"] == chief.user.username
    assert default_model().version == "1"
    assert decide(chief, "rollback").status_code == 409
    assert decide(chief, "shadow", version="2").json()["state"] == "shadow"
    retired = decide(chief, "retire").json()
    assert (retired["version"], retired["state"]) == ("1", "retired"), "the active one"
    assert AuditEvent.objects.filter(
        object_kind="model_version", source="rest"
    ).exists()


def test_a_decision_over_rest_needs_a_reason() -> None:
    version("1")
    answer = decide(program(Role.ADMIN), "shadow", reason=" ")
    assert answer.status_code == 400
    assert "reason" in answer.json()["fields"]


@pytest.mark.slow
@pytest.mark.parametrize("role", [Role.RADIOLOGIST, Role.DATA_SCIENTIST, Role.AUDITOR])
def test_only_administrators_decide(role: Role) -> None:
    version("1")
    for decision in ("activate", "shadow", "retire", "rollback"):
        assert decide(program(role), decision).status_code == 403
        answer = person(role).post(
            f"/models/{NAME}/decide/", {"decision": decision, "reason": "tests"}
        )
        assert answer.status_code == 403
    answer = person(role).post(f"/models/{NAME}/thresholds/", {"reason": "tests"})
    assert answer.status_code == 403


def test_one_version_can_be_requested_by_number() -> None:
    version("1"), version("2")
    client = program(Role.CLINICIAN)
    path = f"/api/v1/models/{NAME}/"
    assert client.get(path).json()["version"] == "2"
    assert client.get(f"{path}?version=1").json()["version"] == "1"
    assert client.get(f"{path}?version=9").status_code == 404


def test_metrics_of_a_card_are_under_the_former_key_too() -> None:
    accuracy = {"value": 0.5, "low": 0.4, "high": 0.6}
    measured = {
        "key": "val",
        "split": "val",
        "datasets": ["nih"],
        "images": 9,
        "patients": 8,
        "command": ["python", "manage.py", "evaluate_model"],
        "metrics": [{"name": "accuracy", **accuracy}],
    }
    card = upgraded(card_json(NAME)) | {"measurements": [measured]}
    ModelVersionFactory(name=NAME, version="1", card=card)
    client = program(Role.CLINICIAN)

    [listed] = client.get("/api/v1/models/").json()["results"]
    one = client.get(f"/api/v1/models/{NAME}/").json()

    for answer in (listed, one):
        assert answer["card"]["measurements"] == [measured]
        assert answer["card"]["metrics"]["val"]["n"] == 9
        assert answer["card"]["metrics"]["val"]["accuracy"] == accuracy


def test_a_model_without_weights_is_listed_but_not_selectable() -> None:
    version("1", weights=False, no_weights_reason="no data of this kind")
    [listed] = program(Role.CLINICIAN).get("/api/v1/models/").json()["results"]
    assert (listed["has_weights"], listed["weights_sha256"]) == (False, None)
    client = person(Role.ADMIN)
    assert "No weights shipped: no data" in html(client, "/models/")
    page = html(client, f"/models/{NAME}/")
    assert "No weights shipped" in page
    assert 'name="decision"' not in page
    assert f'value="{NAME}"' not in html(client, "/upload/")


def test_decisions_on_the_page_appear_in_its_history() -> None:
    version("1"), version("2")
    client = person(Role.ADMIN)
    for number in ("1", "2"):
        page = client.post(
            f"/models/{NAME}/decide/",
            {
                "decision": "activate",
                "version": number,
                "reason": f"because {number}",
                "without_acceptance": "measured elsewhere",
            },
            follow=True,
        ).content.decode()
        assert "This applies to new images." in page
        assert f"because {number}" in page
        assert "measured elsewhere" in page
    assert "Roll back to 1" in page
    back = {"decision": "rollback", "version": "2", "reason": "worse"}
    page = client.post(f"/models/{NAME}/decide/", back, follow=True).content.decode()
    assert f"{NAME} 1 is now Active" in page
    assert default_model().version == "1"
    back["decision"] = "no such thing"
    page = client.post(f"/models/{NAME}/decide/", back, follow=True).content.decode()
    assert "no such decision" in page


def test_thresholds_can_be_set_on_the_page() -> None:
    made = version("1", operating_points={"original": {"Normal": 0.4}})
    client = person(Role.ADMIN)
    assert "original" in html(client, f"/models/{NAME}/")
    path = f"/models/{NAME}/thresholds/"
    by_hand = {"version": "1", "label": "Normal", "value": "0.37", "reason": "decided"}
    page = client.post(path, by_hand, follow=True).content.decode()
    assert "0.37" in page
    assert "decided" in page
    client.post(path, {"version": "1", "set": "original", "reason": "as published"})
    assert made.operating_points.filter(value=0.4).exists()
    page = client.post(path, {**by_hand, "value": "much"}, follow=True).content.decode()
    assert "a number from 0 to 1" in page
