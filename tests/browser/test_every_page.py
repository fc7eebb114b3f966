"""axe-core finds nothing on any page of any role, in both themes, wide and narrow."""

from __future__ import annotations

import re
from collections.abc import Generator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page
from pytest_django.live_server_helper import LiveServer

from tests.browser.conftest import PHONE
from tests.browser.every_page import FilledSite, people
from tests.browser.sessions import give_session

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SIZES = {"wide": {"width": 1280, "height": 800}, "phone": PHONE}
THEMES = ("light", "dark")
ALL: dict[str, object] = {"resultTypes": ["violations"]}
# What does not depend on colours is the same in both themes.
COLOURS = {**ALL, "runOnly": ["color-contrast", "link-in-text-block"]}
WHO = (
    "signed out",
    "radiologist",
    "clinician",
    "technologist",
    "data_scientist",
    "auditor",
    "integration",
    "without department",
    "admin",
)


@pytest.fixture
def page(browser: Browser) -> Generator[Page, None, None]:
    """Return a page into which axe-core may be put, past the security policy."""
    context = browser.new_context(bypass_csp=True, reduced_motion="reduce")
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("who", WHO)
def test_axe_finds_nothing_on_any_page(
    live_server: LiveServer, page: Page, screenshots: Path | None, who: str
) -> None:
    site = FilledSite.make()
    client = people(site.record)[who]
    give_session(page, client, live_server.url)
    found: dict[str, list[str]] = {}
    for name, address in site.addresses(client):
        page.set_viewport_size(SIZES["wide"])
        page.goto(f"{live_server.url}{address}")
        for theme in THEMES:
            page.evaluate(
                "theme => { document.documentElement.dataset.theme = theme; }", theme
            )
            for size, viewport in SIZES.items():
                page.set_viewport_size(viewport)
                for problem in _axe(page, ALL if theme == "light" else COLOURS):
                    found.setdefault(problem, []).append(f"{name}-{theme}-{size}")
                _keep(page, screenshots, f"{who}/{name}-{theme}-{size}")
        if screenshots:
            page.emulate_media(media="print")
            page.set_viewport_size({"width": 794, "height": 1123})
            _keep(page, screenshots, f"{who}/{name}-print")
            page.emulate_media(media="screen")
    report = [f"{problem} on {places}" for problem, places in found.items()]
    assert not found, "\n".join(report)


def _axe(page: Page, options: dict[str, object]) -> list[str]:
    """Return what axe-core complains about, with the element and its measure."""
    violations = Axe().run(page, options=options).response["violations"]
    return [
        f"{violation['id']} {node['target']} {node['failureSummary']} {node['html']}"
        for violation in violations
        for node in violation["nodes"]
    ]


def _keep(page: Page, folder: Path | None, name: str) -> None:
    if folder is None:
        return
    who, _, rest = name.partition("/")
    place = folder / who / (re.sub(r"[^\w-]+", "_", rest).strip("_") + ".png")
    place.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=place, full_page=True)
