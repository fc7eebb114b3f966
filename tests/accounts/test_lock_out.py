"""Failed sign-ins slow an attacker down, and lock no one out for ever."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts.models import AuditEvent, FailedSignIns, Role
from accounts.sign_in import lock_out
from tests.clients import person
from tests.factories import PASSWORD, UserFactory

pytestmark = pytest.mark.django_db
HERE, ELSEWHERE = "192.0.2.1", "198.51.100.7"


class Clock:
    """The time of the lock-out; it moves only when a test says so."""

    def __init__(self) -> None:
        self.now = timezone.now()

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **time: float) -> None:
        self.now += timedelta(**time)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lock_out.timezone, "now", clock)
    return clock


@pytest.fixture(autouse=True)
def _few_failures(settings: Settings) -> None:
    settings.SIGN_IN_FAILURES = 3
    settings.SIGN_IN_FAILURES_OF_AN_ADDRESS = 20
    settings.SIGN_IN_COOLOFF_MINUTES = 15


def by_page(user: str, password: str, *, address: str = HERE) -> tuple[int, int]:
    """Sign in on the page; return the status and Retry-After."""
    answer = Client(REMOTE_ADDR=address).post(
        "/sign-in/", {"username": user, "password": password}
    )
    return answer.status_code, int(answer.headers.get("Retry-After", 0))


def by_token(user: str, password: str, *, address: str = HERE) -> tuple[int, int]:
    """Ask for a token; return the status and Retry-After."""
    answer = Client(REMOTE_ADDR=address).post(
        "/api/v1/auth/token/", {"username": user, "password": password}
    )
    return answer.status_code, int(answer.headers.get("Retry-After", 0))


WAYS = pytest.mark.parametrize(
    ("way", "refused", "signed_in"), [(by_page, 200, 302), (by_token, 401, 200)]
)


@WAYS
def test_failures_lock_the_name_for_the_address(way, refused, signed_in, clock) -> None:  # type: ignore[no-untyped-def]
    user = UserFactory().username
    for _ in range(3):
        assert way(user, "wrong")[0] == refused
    assert way(user, PASSWORD) == (429, 60)
    assert by_page(user, PASSWORD) == (429, 60)
    assert by_token(user, PASSWORD) == (429, 60)
    clock.forward(seconds=61)
    assert way(user, PASSWORD)[0] == signed_in


@WAYS
def test_who_knows_the_password_gets_in_from_elsewhere(  # type: ignore[no-untyped-def]
    way, refused, signed_in
) -> None:
    user = UserFactory().username
    for _ in range(9):
        way(user, "wrong")
    assert way(user, PASSWORD)[0] == 429
    assert way(user, PASSWORD, address=ELSEWHERE)[0] == signed_in


def test_tries_during_the_wait_do_not_extend_it(clock: Clock) -> None:
    user = UserFactory().username
    for _ in range(3):
        by_page(user, "wrong")
    for left_s in (60, 40, 20):
        assert by_page(user, "wrong") == (429, left_s)
        clock.forward(seconds=20)
    assert by_page(user, PASSWORD)[0] == 302


def test_the_wait_grows_with_every_failure_up_to_the_longest(clock: Clock) -> None:
    user, waits = UserFactory().username, []
    for _ in range(2):
        by_page(user, "wrong")
    for _ in range(6):
        assert by_page(user, "wrong")[0] == 200
        waits.append(by_page(user, "wrong")[1])
        clock.forward(seconds=waits[-1])
    assert waits == [60, 120, 240, 480, 900, 900]


def test_failures_are_forgotten_with_time_and_on_success(clock: Clock) -> None:
    user = UserFactory().username
    for _ in range(6):
        assert by_page(user, "wrong")[0] == 200
        assert by_page(user, "wrong")[0] == 200
        clock.forward(hours=3)
    for _ in range(4):
        assert by_page(user, "wrong")[0] == 200
        assert by_page(user, PASSWORD)[0] == 302


def test_one_password_for_many_names_is_slowed_by_address(clock: Clock) -> None:
    UserFactory(username="victim")
    names = [f"user-{number}" for number in range(20)]
    assert {by_page(name, "Winter-2026")[0] for name in names} == {200}
    assert by_page("victim", "Winter-2026")[0] == 429
    assert by_token("nobody", "Winter-2026")[0] == 429
    assert by_page("victim", PASSWORD, address=ELSEWHERE)[0] == 302
    clock.forward(minutes=1)
    assert by_page("victim", PASSWORD)[0] == 302


def test_an_own_account_does_not_reset_the_count_of_an_address() -> None:
    own = UserFactory().username
    for number in range(20):
        by_page(f"user-{number}", "Winter-2026")
        by_page(own, PASSWORD)
    assert by_page("another", "Winter-2026")[0] == 429


def test_the_addresses_of_one_ipv6_line_count_together() -> None:
    for number in range(20):
        by_page(f"user-{number}", "wrong", address=f"2001:db8:1:1::{number}")
    assert by_page("another", "wrong", address="2001:db8:1:1::ffff")[0] == 429
    assert by_page("another", "wrong", address="2001:db8:1:2::1")[0] == 200


def test_tries_of_the_old_password_are_limited_too(clock: Clock) -> None:
    client = person(Role.CLINICIAN)
    new = "correct-horse-battery-staple-9"
    form = {"new_password1": new, "new_password2": new}
    for _ in range(3):
        assert (
            client.post("/password/", form | {"old_password": "x"}).status_code == 200
        )
    for old in ("x", PASSWORD):
        answer = client.post("/password/", form | {"old_password": old})
        assert answer.status_code == 429
    clock.forward(minutes=1)
    answer = client.post("/password/", form | {"old_password": PASSWORD})
    assert answer.status_code == 302


def test_a_locked_out_try_is_audited() -> None:
    user = UserFactory().username
    for _ in range(4):
        by_page(user, "wrong")
    locked = AuditEvent.objects.get(detail__locked_out=True)
    assert (locked.actor_name, locked.outcome) == (user, "refused")


def test_an_admin_ends_a_lock_out() -> None:
    user = UserFactory()
    for _ in range(4):
        by_page(user.username, "wrong")
    row = FailedSignIns.objects.get(user=user)
    admin = person(Role.ADMIN)
    page = f"/admin/accounts/failedsignins/{row.pk}"
    assert user.username in admin.get(f"{page}/change/").content.decode()
    assert admin.post(f"{page}/delete/", {"post": "yes"}).status_code == 302
    assert by_page(user.username, PASSWORD)[0] == 302


def test_old_rows_are_removed(clock: Clock) -> None:
    by_page("first", "wrong")
    clock.forward(days=3)
    by_page("second", "wrong")
    assert not FailedSignIns.objects.filter(name_digest=lock_out.name_digest("first"))


def test_a_name_is_kept_as_a_keyed_hash_only() -> None:
    by_page("my-Password-4711", "wrong")
    row = FailedSignIns.objects.get(
        name_digest=lock_out.name_digest("my-Password-4711")
    )
    assert "my-Password" not in str(row)
    assert row.user is None
