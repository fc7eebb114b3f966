"""The session of a test client, given to a browser."""

from __future__ import annotations

from django.conf import settings
from django.test import Client
from playwright.sync_api import Page


def give_session(page: Page, client: Client, url: str) -> None:
    """Sign the browser in as the user of a test client, if it has one."""
    session = client.cookies.get(settings.SESSION_COOKIE_NAME)
    if session is not None:
        page.context.add_cookies(
            [{"name": session.key, "value": session.value, "url": url}]
        )
