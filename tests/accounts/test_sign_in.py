"""Sign-in, sign-out, lock-out and their audit events."""

import hashlib

import pytest
from django.test import Client, override_settings
from django.urls import reverse

from accounts import audit
from accounts.errors import AuditUnavailable
from accounts.models import AuditEvent, Role, Token, User
from accounts.sign_in import lock_out
from accounts.tokens import issue_token
from tests.clients import person
from tests.factories import PASSWORD, UserFactory

pytestmark = pytest.mark.django_db


def _try(client: Client, username: str, password: str) -> int:
    answer = client.post("/sign-in/", {"username": username, "password": password})
    return answer.status_code


def test_signing_in_and_signing_out_are_each_audited() -> None:
    client, user = Client(), UserFactory()
    assert _try(client, user.username, PASSWORD) == 302
    client.post("/sign-out/")
    events = AuditEvent.objects.order_by("at").values_list(
        "action", "actor_uuid", "actor_name", "source", "outcome", "address"
    )
    who = (user.pk, user.username, "web", "success", "127.0.0.1")
    assert list(events) == [("sign_in", *who), ("sign_out", *who)]


def test_a_failed_sign_in_is_audited_under_the_name_of_the_user() -> None:
    UserFactory(username="known")
    assert _try(Client(), "known", "wrong") == 200
    event = AuditEvent.objects.get(action="sign_in", outcome="refused")
    assert (event.actor_name, event.actor_uuid) == ("known", None)


def test_an_unknown_name_is_audited_as_a_keyed_hash() -> None:
    """It may be a password that was typed into the wrong field."""
    name = "my-Password-4711"
    assert _try(Client(), name, "wrong") == 200
    event = AuditEvent.objects.get(action="sign_in", outcome="refused")
    assert event.actor_name == ""
    digest = event.detail["name_digest"]
    assert digest == lock_out.name_digest(name)
    assert digest != hashlib.sha256(name.encode()).hexdigest()
    with override_settings(SECRET_KEY="another key"):
        assert digest != lock_out.name_digest(name)


def test_signing_out_works_while_the_trail_cannot_be_written(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    client = person()
    request.getfixturevalue("broken_trail")
    assert client.post("/sign-out/").status_code == 302
    assert "_auth_user_id" not in client.session
    assert str(client.user.pk) in caplog.text


def test_a_sign_in_that_cannot_be_audited_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user, client = UserFactory(), Client(raise_request_exception=False)

    def broken(**arguments: object) -> None:
        raise AuditUnavailable("The audit trail is broken.")

    monkeypatch.setattr(audit, "record", broken)
    assert _try(client, user.username, PASSWORD) == 503
    monkeypatch.undo()
    assert client.get("/").headers["Location"] == "/sign-in/"


def test_signing_in_leads_to_the_requested_page() -> None:
    client, user = Client(), UserFactory()
    to_sign_in = client.get("/models/?page=1").headers["Location"]
    assert to_sign_in == "/sign-in/?next=%2Fmodels%2F%3Fpage%3D1"
    answer = client.post(
        to_sign_in,
        {"username": user.username, "password": PASSWORD, "next": "/models/?page=1"},
    )
    assert answer.headers["Location"] == "/models/?page=1"


def test_each_role_starts_on_a_page_that_it_may_see() -> None:
    for role in Role:
        client = person(role)
        landed = client.get("/sign-in/", follow=True)
        assert landed.status_code == 200, role
        assert landed.request["PATH_INFO"] != "/sign-in/"


def test_signing_in_never_redirects_to_another_site() -> None:
    answer = Client().post(
        "/sign-in/?next=https://example.org/",
        {"username": UserFactory().username, "password": PASSWORD},
    )
    assert answer.headers["Location"] == reverse("worklist")


def test_a_part_of_a_page_is_not_sent_to_somebody_signed_out() -> None:
    answer = Client().get("/", headers={"HX-Request": "true"})
    assert answer.status_code == 401
    assert answer.content == b""


def test_a_wrong_old_password_changes_nothing_and_is_audited() -> None:
    client = person(Role.CLINICIAN)
    new = "another-Password-of-tests-0815"
    answer = client.post(
        "/password/",
        {"old_password": "wrong", "new_password1": new, "new_password2": new},
    )
    assert answer.status_code == 200
    client.user.refresh_from_db()
    assert client.user.check_password(PASSWORD)
    event = AuditEvent.objects.get(action="change_password")
    assert event.outcome == "refused"


def test_changing_the_password_revokes_tokens_and_is_audited() -> None:
    client = person(Role.CLINICIAN)
    issue_token(client.user)
    new = "another-Password-of-tests-0815"
    answer = client.post(
        "/password/",
        {"old_password": PASSWORD, "new_password1": new, "new_password2": new},
    )
    assert answer.status_code == 302
    assert _try(Client(), client.user.username, new) == 302
    assert not Token.objects.exists()
    event = AuditEvent.objects.get(action="change_password")
    assert event.outcome == "success"


def test_a_page_can_ask_who_is_signed_in() -> None:
    client = person(Role.CLINICIAN)
    assert client.get("/session/").json() == {"user": str(client.user.pk)}
    answer = Client().get("/session/", headers={"HX-Request": "true"})
    assert answer.status_code == 401


def test_a_refused_sign_in_keeps_the_user_name_with_the_error_beside_it() -> None:
    longest = User._meta.get_field("username").max_length
    page = Client().get("/sign-in/").content.decode()
    assert f'maxlength="{longest}"' in page

    too_long = "x" * (longest + 1)
    answer = Client().post("/sign-in/", {"username": too_long, "password": "x"})
    text = answer.content.decode()
    assert f'value="{too_long}"' in text
    assert text.index(f'value="{too_long}"') < text.index('class="errors"')
    assert text.index('class="errors"') < text.index('name="password"')
