"""Signed-in test clients: people by session, programs by token."""

from django.test import Client

from accounts.models import Role, User
from accounts.tokens import issue_token
from tests.factories import UserFactory

MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"


class UserClient(Client):
    """A client that knows its user."""

    user: User


def person(role: Role = Role.RADIOLOGIST, *, user: User | None = None) -> UserClient:
    """Return a client with the session of a user of this role."""
    client = UserClient()
    user = user or UserFactory(role=role)
    # Quicker than the form; the tests of sign-in use the form.
    client.force_login(user, backend=MODEL_BACKEND)
    client.user = user
    return client


def program(role: Role = Role.INTEGRATION, *, user: User | None = None) -> UserClient:
    """Return a client with the token of a user of this role."""
    user = user or UserFactory(role=role)
    _, text = issue_token(user)
    client = UserClient(headers={"Authorization": f"Token {text}"})
    client.user = user
    return client


def html(client: Client, address: str) -> str:
    """Return the page at an address, which must be there."""
    answer = client.get(address)
    assert answer.status_code == 200, answer.content[:300]
    return answer.content.decode()
