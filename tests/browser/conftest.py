"""A browser before a running demo: everything is real, from the click to the worker."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from patients.phantom.dataset import write_phantom
from tests.chestx_site.programs import PASSWORD, RunningDemo, short_folder

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# A browser of a hospital's machine: no window, nothing sent to anybody.
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESKTOP = {"width": 1360, "height": 860}
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="session")
def browser() -> Generator[Browser, None, None]:
    """Return the system's browser, or skip: ChestX installs none."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("no browser here: apt-get install chromium to run this test")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield started
        started.close()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that `make screenshots` uses."""
    parser.addoption("--screenshots", type=Path, help="keep a picture of every page")


@pytest.fixture(scope="session")
def screenshots(request: pytest.FixtureRequest) -> Path | None:
    """Return the folder where pictures of the pages are kept, if they are."""
    folder: Path | None = request.config.getoption("--screenshots", default=None)
    return folder


@pytest.fixture(scope="session")
def demo(browser: Browser) -> Generator[RunningDemo, None, None]:
    """Return a demo that runs for all tests of this folder."""
    with short_folder() as folder:
        running = RunningDemo(folder / "var")
        try:
            running.wait_until_ready()
            running.wait_until_read()
            yield running
        finally:
            running.end()


@pytest.fixture
def visit(
    browser: Browser, demo: RunningDemo
) -> Generator[Callable[..., Page], None, None]:
    """Return a function that signs somebody in: `visit("radiologist", PHONE)`.

    At the end, nothing may have been refused by the security policy or have failed
    in a script.
    """
    pages: list[Page] = []
    complaints: list[str] = []

    def sign_in(user: str, size: dict[str, int] = DESKTOP, **options: Any) -> Page:
        context = browser.new_context(
            viewport=size, base_url=f"http://127.0.0.1:{demo.port}", **options
        )
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                complaints.append(message.text)
                if "Content Security Policy" in message.text
                else None
            ),
        )
        page.goto("/sign-in/")
        page.get_by_label("User name").fill(user)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(lambda url: "/sign-in/" not in url)
        pages.append(page)
        return page

    yield sign_in
    for page in pages:
        page.context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a drawn chest as a DICOM file."""
    folder = tmp_path_factory.mktemp("phantom")
    return write_phantom(folder / "phantom.dcm", 4711)


def drop(target: Locator, *files: tuple[str, bytes]) -> None:
    """Let somebody drop files, each (name, bytes), onto an element of the page."""
    transfer = target.page.evaluate_handle(
        """files => {
            const transfer = new DataTransfer();
            for (const [name, content] of files) {
                const bytes = Uint8Array.from(atob(content), c => c.charCodeAt(0));
                transfer.items.add(new File([bytes], name));
            }
            return transfer;
        }""",
        [[name, base64.b64encode(content).decode()] for name, content in files],
    )
    target.dispatch_event("drop", {"dataTransfer": transfer})
