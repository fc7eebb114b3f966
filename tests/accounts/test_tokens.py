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
def test_a_token_carries_what_its_role_may_do(role: Role) -> None:
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


def test_an_expired_token_opens_nothing() -> None:
    _, text = issue_token(UserFactory())
    assert _with(text).get("/api/v1/patients/").status_code == 200
    Token.objects.update(expiry=timezone.now() - timedelta(seconds=1))
    assert _with(text).get("/api/v1/patients/").status_code == 401


def test_asking_for_a_token_forgets_the_expired_ones_of_the_same_user() -> None:
    user, other = UserFactory(), UserFactory()
    for owner in (user, user, other):
        issue_token(owner)
    Token.objects.update(expiry=timezone.now() - timedelta(seconds=1))
    issue_token(user)
    assert Token.objects.filter(user=user).count() == 1
    assert Token.objects.filter(user=other).count() == 1


def test_many_tokens_of_a_user_cost_a_request_nothing(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    user = UserFactory(role=Role.DATA_SCIENTIST)
    texts = [issue_token(user)[1] for _ in range(5)]
    request = APIRequestFactory().get(
        "/", headers={"Authorization": f"Token {texts[0]}"}
    )
    with django_assert_num_queries(1):
        assert ScopedTokenAuthentication().authenticate(request)[0] == user


def test_a_token_of_somebody_who_was_deactivated_opens_nothing() -> None:
    user = UserFactory()
    _, text = issue_token(user)
    user.is_active = False
    user.save()
    assert _with(text).get("/api/v1/patients/").status_code == 401


def test_a_token_opens_no_more_than_its_scopes() -> None:
    _, text = issue_token(UserFactory(), scopes=[Action.READ_MODELS])
    assert _with(text).get("/api/v1/models/").status_code == 200
    assert _with(text).get("/api/v1/patients/").status_code == 403


def test_a_token_opens_no_more_than_the_role_after_a_change_of_role() -> None:
    user = UserFactory(role=Role.RADIOLOGIST)
    _, text = issue_token(user)
    user.role = Role.DATA_SCIENTIST
    user.save()
    assert _with(text).get("/api/v1/patients/").status_code == 403


def test_nobody_gets_a_token_for_what_the_role_may_not() -> None:
    with pytest.raises(InvalidInput, match="administer"):
        issue_token(UserFactory(), scopes=[Action.ADMINISTER])


def test_asking_for_a_token_is_recorded_and_so_is_failing() -> None:
    user = UserFactory()
    assert _ask(user.username, "wrong")[0] == 401
    assert _ask(user.username)[0] == 200
    events = AuditEvent.objects.filter(action="sign_in").order_by("at")
    assert [(e.source, e.outcome) for e in events] == [
        ("rest", "refused"),
        ("rest", "success"),
    ]


def test_the_lock_out_holds_for_tokens_too() -> None:
    user = UserFactory()
    for _ in range(settings.AXES_FAILURE_LIMIT):
        _ask(user.username, "wrong")
    status, body = _ask(user.username)
    assert status == 429
    assert body["reason_code"] == "locked_out"


@pytest.mark.parametrize(
    "sent", ['{"username": "x"}', "[]", "not JSON", '{"username": 1}']
)
def test_a_request_without_name_or_password_names_what_is_missing(sent: str) -> None:
    answer = Client().post(URL, sent, content_type="application/json")
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
