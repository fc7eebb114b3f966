"""Clients that are signed in, as a person by the page or as a program by a token."""

from django.test import Client

from accounts.models import Role, User
from accounts.tokens import issue_token
from tests.factories import PASSWORD, UserFactory


def person(role: Role = Role.RADIOLOGIST, *, user: User | None = None) -> Client:
    """Return a browser in which somebody of this role is signed in."""
    client = Client()
    user = user or UserFactory(role=role)
    assert client.post(
        "/sign-in/", {"username": user.username, "password": PASSWORD}
    ).headers["Location"]
    client.user = user
    return client


def program(role: Role = Role.INTEGRATION, *, user: User | None = None) -> Client:
    """Return a REST client with a token of somebody of this role."""
    user = user or UserFactory(role=role)
    _, text = issue_token(user)
    client = Client(headers={"Authorization": f"Token {text}"})
    client.user = user
    return client
