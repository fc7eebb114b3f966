"""The reader of the pages."""

from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import Role
from tests.clients import person


@pytest.fixture
def client(db: None) -> Client:
    """Return the session of a radiologist."""
    return person(Role.RADIOLOGIST)
