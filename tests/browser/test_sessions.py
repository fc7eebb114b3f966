"""A page is covered when the session ends, and says when it is not up to date."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from django.contrib.sessions.models import Session
from django.urls import reverse
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.models import Role
from diagnoses.worklist import refresh_entry
from tests.browser.sessions import give_session
from tests.clients import UserClient, person
from tests.diagnoses.pages.page_rows import read, study_with_image
from tests.factories import UserFactory

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture
def reader(live_server: LiveServer) -> UserClient:
    return person(user=UserFactory(role=Role.RADIOLOGIST))


@pytest.fixture
def page(
    browser: Browser, live_server: LiveServer, reader: UserClient
) -> Generator[Page, None, None]:
    context = browser.new_context(base_url=live_server.url)
    opened = context.new_page()
    give_session(opened, reader, live_server.url)
    yield opened
    # A page that stays open goes on asking the server.
    context.close()


def _look(page: Page) -> None:
    """Let the page look at once, as when somebody comes back to its window."""
    page.evaluate("window.dispatchEvent(new Event('focus'))")


def _patient_of(page: Page) -> str:
    image = study_with_image()
    read(image, Tuberculosis=0.9)
    page.goto(reverse("study", args=[image.series.study_id]))
    return image.series.study.patient.display_name


def test_a_page_is_covered_when_the_session_ends_until_the_same_user_signs_in(
    page: Page, live_server: LiveServer, reader: UserClient
) -> None:
    name = _patient_of(page)
    expect(page.get_by_role("heading", name=name)).to_be_visible()

    Session.objects.all().delete()
    _look(page)

    expect(page.get_by_role("alertdialog")).to_be_visible()
    expect(page.get_by_text(name).first).to_be_hidden()
    assert name not in page.title()

    give_session(page, person(user=reader.user), live_server.url)
    _look(page)

    expect(page.get_by_role("alertdialog")).to_be_hidden()
    expect(page.get_by_role("heading", name=name)).to_be_visible()


def test_a_covered_page_is_not_shown_to_another_user(
    page: Page, live_server: LiveServer
) -> None:
    name = _patient_of(page)
    Session.objects.all().delete()
    _look(page)
    expect(page.get_by_role("alertdialog")).to_be_visible()

    give_session(page, person(Role.DATA_SCIENTIST), live_server.url)
    _look(page)

    expect(
        page.get_by_role("heading", name="The request was not completed")
    ).to_be_visible()
    expect(page.get_by_text(name)).to_have_count(0)


def test_a_page_says_since_when_it_is_not_up_to_date(page: Page) -> None:
    page.goto("/")
    stale = page.locator("[data-stale]")
    expect(stale).to_be_hidden()

    page.context.set_offline(True)
    _look(page)
    expect(stale).to_contain_text("Not up to date since")
    expect(stale).to_contain_text("no connection")

    page.context.set_offline(False)
    _look(page)
    expect(stale).to_be_hidden()

    page.route("**/session/", lambda route: route.fulfill(status=503))
    _look(page)
    expect(stale).to_contain_text("does not answer")


def test_a_refreshed_worklist_keeps_the_focus_and_the_place(page: Page) -> None:
    images = [study_with_image(minutes_ago=minute) for minute in range(30)]
    for image in images:
        refresh_entry(image.series.study_id)
    page.goto("/?sort=newest")
    row = page.locator(f"#study-{images[20].series.study_id}")
    row.focus()
    top = page.evaluate("document.scrollingElement.scrollTop")
    assert top > 0

    newest = study_with_image(minutes_ago=-1)
    refresh_entry(newest.series.study_id)

    expect(page.locator(f"#study-{newest.series.study_id}")).to_be_attached(
        timeout=15_000
    )
    expect(row).to_be_focused()
    assert page.evaluate("document.scrollingElement.scrollTop") == top
