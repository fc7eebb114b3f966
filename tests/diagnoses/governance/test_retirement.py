"""Versions that left the code are retired where they are installed."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.core.management import call_command
from pytest_django.fixtures import Settings

from accounts.errors import Conflict
from accounts.models import AuditEvent, Role
from diagnoses.governance.installation import sync_models, weights_key
from diagnoses.governance.operating_points import set_operating_point
from diagnoses.governance.retirement import retire_former_versions
from diagnoses.governance.transitions import (
    Decision,
    activate,
    activate_for_demo,
    retire,
    roll_back,
    run_in_shadow,
)
from diagnoses.governance.versions import active_models
from diagnoses.models import ModelVersion
from ml.cards.card import get_card
from ml.cards.contents import Successor
from ml.cards.retirement import retire_card
from tests.clients import html, person
from tests.default_model import DEFAULT_MODEL
from tests.diagnoses.fakes import card_json
from tests.diagnoses.governance.test_installation import Library, library
from tests.factories import ModelVersionFactory, UserFactory

__all__ = ["library"]
pytestmark = pytest.mark.django_db
Leaves = Callable[..., None]


@pytest.fixture
def leaves(library: Library) -> Leaves:
    """Return a function that takes a version out of the code."""

    def leave(name: str, version: str, *, for_: str) -> None:
        retire_card(
            get_card(name, version, weights_dir=library.folder),
            on="2026-12-01",
            in_favour_of=[Successor(*for_.split())],
            weights_dir=library.folder,
        )

    return leave


def version_of(name: str, version: str = "1") -> ModelVersion:
    return ModelVersion.objects.get(name=name, version=version)


def states() -> dict[str, str]:
    return {str(each): each.state for each in ModelVersion.objects.all()}


def by_person(reason: str = "validated here") -> Decision:
    return Decision(UserFactory(), reason, "command")


def test_an_installed_version_is_retired_with_reason_and_audit_event(
    library: Library, leaves: Leaves
) -> None:
    library.add("1", b"old", name="old-net")
    library.add("1", b"new", name="new-net")
    sync_models()
    activate_for_demo()
    leaves("old-net", "1", for_="new-net 1")
    assert sync_models() == []
    assert retire_former_versions() == ["retired old-net 1 in favour of new-net 1"]
    assert states() == {"old-net 1": "retired", "new-net 1": "active"}
    old = version_of("old-net")
    assert old.state_reason == "retired with its card, in favour of new-net 1"
    assert old.card["retired"]["on"] == "2026-12-01"
    event = AuditEvent.objects.filter(object_uuid=old.pk).latest("at")
    assert (event.detail["from"], event.detail["state"]) == ("active", "retired")
    assert retire_former_versions() == []
    assert activate_for_demo() == []


def test_a_new_database_does_not_learn_of_retired_versions(
    library: Library, leaves: Leaves
) -> None:
    library.add("1", b"old", name="old-net")
    library.add("1", b"new", name="new-net")
    leaves("old-net", "1", for_="new-net 1")
    sync_models()
    assert retire_former_versions() == []
    assert states() == {"new-net 1": "installed"}


def test_the_demo_goes_on_with_the_next_version(
    library: Library, leaves: Leaves
) -> None:
    library.add("1", b"network")
    call_command("sync_models", "--activate-for-demo", stdout=StringIO())
    for former, number in (("1", "2"), ("2", "3")):
        library.add(number, f"network {number}".encode())
        leaves(DEFAULT_MODEL, former, for_=f"{DEFAULT_MODEL} {number}")
        call_command("sync_models", "--activate-for-demo", stdout=StringIO())
        assert [str(each) for each in active_models()] == [f"{DEFAULT_MODEL} {number}"]


def test_where_the_default_model_is_retired_the_new_default_is_active(
    library: Library, leaves: Leaves, settings: Settings
) -> None:
    library.add("1", b"old", name="old-net")
    sync_models()
    activate(version_of("old-net"), decision=by_person(), without_acceptance="measured")
    library.add("1", b"new")
    leaves("old-net", "1", for_=f"{DEFAULT_MODEL} 1")
    output = StringIO()
    call_command("sync_models", stdout=output)
    assert [str(each) for each in active_models()] == [f"{DEFAULT_MODEL} 1"]
    [change] = version_of(DEFAULT_MODEL).state_changes.all()
    assert change.reason == change.without_acceptance == "takes the place of old-net 1"
    told = output.getvalue()
    assert "old-net 1 was Active by a decision made here (validated here)" in told
    assert f"activated {DEFAULT_MODEL} 1" in told


def test_a_decision_about_the_new_default_is_kept(
    library: Library, leaves: Leaves
) -> None:
    library.add("1", b"old", name="old-net")
    library.add("1", b"new")
    sync_models()
    activate(version_of("old-net"), decision=by_person(), without_acceptance="x")
    retire(version_of(DEFAULT_MODEL), decision=by_person("too many false alarms"))
    leaves("old-net", "1", for_=f"{DEFAULT_MODEL} 1")
    retire_former_versions()
    assert states() == {"old-net 1": "retired", f"{DEFAULT_MODEL} 1": "retired"}
    assert version_of(DEFAULT_MODEL).state_reason == "too many false alarms"


def test_a_model_that_is_no_default_waits_for_a_decision(
    library: Library, leaves: Leaves
) -> None:
    library.add("1", b"old", name="old-net")
    library.add("1", b"new", name="new-net")
    sync_models()
    activate(version_of("old-net"), decision=by_person(), without_acceptance="x")
    leaves("old-net", "1", for_="new-net 1")
    retire_former_versions()
    assert states() == {"old-net 1": "retired", "new-net 1": "installed"}


def test_thresholds_that_end_with_a_version_are_told(
    library: Library, leaves: Leaves
) -> None:
    library.add("1", b"old", name="old-net")
    library.add("1", b"new", name="new-net")
    sync_models()
    for value in (0.4, 0.25):
        set_operating_point(
            version_of("old-net"),
            label="Tuberculosis",
            value=value,
            decision=by_person("screening"),
        )
    leaves("old-net", "1", for_="new-net 1")
    told = retire_former_versions()
    assert any("old-net 1 end with it: Tuberculosis 0.25." in each for each in told)


def test_a_decision_to_retire_stays_a_persons(library: Library, leaves: Leaves) -> None:
    library.add("1", b"network")
    sync_models()
    retire(version_of(DEFAULT_MODEL), decision=by_person("not for us"))
    library.add("2", b"better network")
    leaves(DEFAULT_MODEL, "1", for_=f"{DEFAULT_MODEL} 2")
    sync_models()
    assert retire_former_versions() == []
    assert version_of(DEFAULT_MODEL).state_reason == "not for us"
    assert activate_for_demo() == []


def test_a_version_with_other_weights_is_not_the_retired_one(
    library: Library, leaves: Leaves
) -> None:
    library.add("1", b"old", name="old-net")
    leaves("old-net", "1", for_="new-net 1")
    theirs = ModelVersionFactory(
        name="old-net", version="1", card=card_json("old-net"), state="active"
    )
    assert retire_former_versions() == []
    theirs.refresh_from_db()
    assert (theirs.state, "retired" in theirs.card) == ("active", False)


def test_settings_that_name_a_retired_model_are_told(
    library: Library, leaves: Leaves, settings: Settings
) -> None:
    library.add("1", b"old", name="old-net")
    leaves("old-net", "1", for_="new-net 1")
    settings.DEFAULT_MODEL = "old-net"
    [told] = retire_former_versions()
    assert "old-net as a default model; it is retired in favour of new-net 1" in told


def test_a_retired_version_cannot_be_activated_and_the_page_says_why(
    library: Library, leaves: Leaves
) -> None:
    library.add("1", b"network")
    library.add("2", b"better network")
    sync_models()
    for number in ("1", "2"):
        activate(
            version_of(DEFAULT_MODEL, number),
            decision=by_person(),
            without_acceptance="x",
        )
    leaves(DEFAULT_MODEL, "1", for_=f"{DEFAULT_MODEL} 2")
    retire_former_versions()
    former = version_of(DEFAULT_MODEL)
    why = f"{DEFAULT_MODEL} 1 was retired on 2026-12-01 in favour of {DEFAULT_MODEL} 2"
    for attempt in (
        lambda: activate(former, decision=by_person(), without_acceptance="x"),
        lambda: activate(former, decision=by_person()),
        lambda: run_in_shadow(former, decision=by_person()),
        lambda: roll_back(DEFAULT_MODEL, decision=by_person()),
    ):
        with pytest.raises(Conflict, match=why) as caught:
            attempt()
        assert caught.value.reason_code == "retired_model"
    assert states()[f"{DEFAULT_MODEL} 2"] == "active"

    client = person(Role.ADMIN)
    page = html(client, f"/models/{DEFAULT_MODEL}/?version=1")
    assert why in page
    assert f'href="/models/{DEFAULT_MODEL}/?version=2">{DEFAULT_MODEL} 2</a>' in page
    assert 'name="decision"' not in page
    page = html(client, f"/models/{DEFAULT_MODEL}/?version=2")
    assert 'value="retire"' in page
    assert "Roll back" not in page


def test_models_that_left_the_code_are_listed_last(
    library: Library, leaves: Leaves
) -> None:
    library.add("1", b"old", name="a-net")
    library.add("1", b"new", name="b-net")
    sync_models()
    leaves("a-net", "1", for_="b-net 1")
    retire_former_versions()
    page = html(person(Role.RADIOLOGIST), "/models/")
    assert page.index("/models/b-net/") < page.index("/models/a-net/")
    assert "a-net 1 was retired on 2026-12-01 in favour of b-net 1." in page


def test_the_storage_keeps_the_weights_of_a_retired_version(
    library: Library, leaves: Leaves, tmp_path: Path
) -> None:
    library.add("1", b"old", name="old-net")
    sync_models()
    leaves("old-net", "1", for_="new-net 1")
    retire_former_versions()
    sha256 = version_of("old-net").weights_sha256
    assert not list(tmp_path.rglob("weights.keras"))
    with default_storage.open(weights_key(sha256)) as stored:
        assert stored.read() == b"old"
