"""Tokens: scopes, lifetime, storage as a digest."""

import json
from datetime import timedelta

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIRequestFactory

from accounts.access import Action, actions_of
from accounts.errors import InvalidInput
from accounts.models import AuditEvent, Role, Token
from accounts.tokens import ScopedTokenAuthentication, issue_token
from tests.factories import PASSWORD, UserFactory

pytestmark = pytest.mark.django_db
URL = "/api/v1/auth/token/"


def _ask(username: str, password: str = PASSWORD) -> tuple[int, dict[str, str]]:
    answer = Client().post(
        URL,
        json.dumps({"username": username, "password": password}),
        content_type="application/json",
    )
    return answer.status_code, answer.json()


def _with(text: str) -> Client:
    return Client(headers={"Authorization": f"Token {text}"})


@pytest.mark.parametrize("role", Role)
def test_a_token_has_the_scopes_of_its_role(role: Role) -> None:
    user = UserFactory(role=role)
    status, body = _ask(user.username)
    assert status == 200
    token = Token.objects.get(user=user)
    assert set(token.scopes) == set(actions_of(user))
    assert parse_datetime(body["expiry"]) == token.expiry


def test_only_a_digest_of_a_token_is_kept() -> None:
    _, body = _ask(UserFactory().username)
    kept = Token.objects.values().get()
    assert body["token"] not in str(kept)
    assert len(kept["digest"]) == 128


def test_an_expired_token_is_refused() -> None:
    _, text = issue_token(UserFactory())
    assert _with(text).get("/api/v1/patients/").status_code == 200
    Token.objects.update(expiry=timezone.now() - timedelta(seconds=1))
    assert _with(text).get("/api/v1/patients/").status_code == 401


def test_a_new_token_deletes_the_expired_tokens_of_its_user() -> None:
    user, other = UserFactory(), UserFactory()
    for owner in (user, user, other):
        issue_token(owner)
    Token.objects.update(expiry=timezone.now() - timedelta(seconds=1))
    issue_token(user)
    assert Token.objects.filter(user=user).count() == 1
    assert Token.objects.filter(user=other).count() == 1


def test_a_request_costs_the_same_however_many_tokens_a_user_has(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    user = UserFactory(role=Role.DATA_SCIENTIST)
    texts = [issue_token(user)[1] for _ in range(5)]
    request = APIRequestFactory().get(
        "/", headers={"Authorization": f"Token {texts[0]}"}
    )
    with django_assert_num_queries(1):
        assert ScopedTokenAuthentication().authenticate(request)[0] == user


def test_the_token_of_a_deactivated_user_is_refused() -> None:
    user = UserFactory()
    _, text = issue_token(user)
    user.is_active = False
    user.save()
    assert _with(text).get("/api/v1/patients/").status_code == 401


def test_a_token_is_limited_to_its_scopes() -> None:
    _, text = issue_token(UserFactory(), scopes=[Action.READ_MODELS])
    assert _with(text).get("/api/v1/models/").status_code == 200
    assert _with(text).get("/api/v1/patients/").status_code == 403


def test_a_token_is_limited_to_the_present_role() -> None:
    user = UserFactory(role=Role.RADIOLOGIST)
    _, text = issue_token(user)
    user.role = Role.DATA_SCIENTIST
    user.save()
    assert _with(text).get("/api/v1/patients/").status_code == 403


def test_a_token_with_scopes_beyond_the_role_is_refused() -> None:
    with pytest.raises(InvalidInput, match="administer"):
        issue_token(UserFactory(), scopes=[Action.ADMINISTER])


def test_token_requests_are_audited_also_failed_ones() -> None:
    user = UserFactory()
    assert _ask(user.username, "wrong")[0] == 401
    assert _ask(user.username)[0] == 200
    events = AuditEvent.objects.filter(action="sign_in").order_by("at")
    assert [(e.source, e.outcome) for e in events] == [
        ("rest", "refused"),
        ("rest", "success"),
    ]


def test_the_lock_out_applies_to_token_requests() -> None:
    user = UserFactory()
    for _ in range(settings.SIGN_IN_FAILURES):
        _ask(user.username, "wrong")
    status, body = _ask(user.username)
    assert status == 429
    assert body["reason_code"] == "locked_out"


@pytest.mark.parametrize(
    "sent", ['{"username": "x"}', "[]", "not JSON", '{"username": 1}']
)
def test_a_token_request_without_name_or_password_names_the_missing_field(
    sent: str,
) -> None:
    answer = Client().post(URL, sent, content_type="application/json")
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
