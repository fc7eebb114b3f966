"""The main path in a browser: sign in, drop an image, see its findings."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import PHONE, drop
from tests.default_model import DEFAULT_MODEL

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
Visit = Callable[..., Page]
# On a machine that is busy with other tests, too.
PATIENCE_MS = 60_000
REAL_IMAGE = "cr_chest_pa_monochrome1_16bit_jpeg2000.dcm"


def row_of(page: Page, name: str) -> Locator:
    return page.get_by_role("row").filter(has_text=name)


def upload(page: Page, *files: tuple[str, bytes]) -> None:
    page.goto("/upload/")
    drop(page.locator("[data-drop]"), *files)


def overlay_of(page: Page) -> Locator:
    return page.locator("[data-layer]")


def drawn_pixels(picture: Locator) -> int:
    """Return how many columns a picture has once it is loaded; 0 where it is broken."""
    return int(
        picture.evaluate("image => image.decode().then(() => image.naturalWidth)")
    )


def test_a_dropped_image_shows_its_finding_and_overlay(
    visit: Visit, chestx_data: Path
) -> None:
    page = visit("radiologist")
    image = chestx_data / "samples" / "dicom" / REAL_IMAGE
    upload(page, (image.name, image.read_bytes()))

    row = row_of(page, image.name)
    expect(row.get_by_text("Analysed")).to_be_visible(timeout=PATIENCE_MS)
    row.get_by_role("link").first.click()

    expect(page.get_by_text(f"Findings by {DEFAULT_MODEL}")).to_be_visible()
    # The default model stands first, whatever other models read the image, too.
    first = page.locator(".findings").first
    expect(first.locator("a")).to_have_count(6)
    first.locator("a", has_text="Tuberculosis").click()
    expect(page.locator("[data-legend]")).to_contain_text("Tuberculosis")
    assert drawn_pixels(page.locator("img.image")) > 1000
    assert drawn_pixels(overlay_of(page)) > 100
    expect(page.get_by_text("Decision support, not for diagnosis")).to_be_visible()


def test_the_overlay_covers_the_image_and_can_be_hidden_and_faded(
    visit: Visit, phantom: Path
) -> None:
    page = visit("radiologist")
    upload(page, ("overlay.dcm", phantom.read_bytes()))
    row = row_of(page, "overlay.dcm")
    expect(row.get_by_text("Analysed")).to_be_visible(timeout=PATIENCE_MS)
    row.get_by_role("link").first.click()
    page.locator(".findings a").first.click()
    expect(overlay_of(page)).to_be_visible()

    page.get_by_label("Opacity of the heat map").fill("25")
    expect(overlay_of(page)).to_have_css("opacity", "0.25")
    shown = page.locator("img.image").bounding_box()
    assert shown == overlay_of(page).bounding_box()

    page.keyboard.press("o")
    expect(overlay_of(page)).to_be_hidden()
    page.get_by_role("button", name="Heat map").click()
    expect(overlay_of(page)).to_be_visible()

    page.get_by_role("button", name="1:1").click()
    columns = int(page.locator("img.image").get_attribute("width") or 0)
    page.wait_for_function(
        "n => document.querySelector('img.image').clientWidth === n", arg=columns
    )
    assert overlay_of(page).bounding_box()["width"] == columns


def test_each_uploaded_file_has_its_own_result(visit: Visit, phantom: Path) -> None:
    page = visit("technologist")
    image = phantom.read_bytes()
    upload(
        page,
        ("whole.dcm", image),
        ("again.dcm", image),
        ("cut.dcm", image[: len(image) // 2]),
        ("<i>text.txt", b"no image at all"),
    )

    expect(page.get_by_text("4 of 4 done")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.get_by_text("2 refused")).to_be_visible()
    expect(row_of(page, "cut.dcm").get_by_text("Refused")).to_be_visible()
    expect(row_of(page, "<i>text.txt").get_by_text("Refused")).to_be_visible()
    outcomes = page.locator("tr[data-outcome]").evaluate_all(
        "rows => rows.map(row => row.dataset.outcome).sort()"
    )
    assert outcomes.count("refused") == 2
    assert "duplicate" in outcomes


def test_an_upload_is_retried_while_the_server_is_busy(
    visit: Visit, phantom: Path
) -> None:
    page = visit("technologist")
    requests: list[str] = []

    def busy_once(route: object) -> None:
        requests.append("request")
        if len(requests) == 1:
            route.fulfill(status=503, headers={"Retry-After": "1"}, body="busy")
        else:
            route.continue_()

    page.route(
        "**/upload/",
        lambda route: (
            busy_once(route) if route.request.method == "POST" else route.continue_()
        ),
    )
    upload(page, ("busy.dcm", phantom.read_bytes()))

    expect(page.get_by_text("The server is busy")).to_be_visible()
    expect(page.get_by_text("1 of 1 done")).to_be_visible(timeout=PATIENCE_MS)
    assert len(requests) == 2


def test_the_worklist_shows_new_studies_without_a_reload(
    visit: Visit, phantom: Path
) -> None:
    reader = visit("radiologist")
    reader.goto("/?sort=newest")
    sender = visit("technologist")
    upload(sender, ("arrives.dcm", phantom.read_bytes()))
    expect(row_of(sender, "arrives.dcm").get_by_text("Analysed")).to_be_visible(
        timeout=PATIENCE_MS
    )
    address = (
        row_of(sender, "arrives.dcm").get_by_role("link").first.get_attribute("href")
    )
    study = str(address).split("?")[0]

    expect(reader.locator(f'a.row-link[href="{study}"]')).to_be_visible(
        timeout=PATIENCE_MS
    )


def test_one_key_focuses_the_search_field(visit: Visit) -> None:
    page = visit("radiologist")
    page.keyboard.press("/")
    page.keyboard.type("nobody of this name")
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", name="No matching studies")).to_be_visible()


def test_the_theme_is_kept_and_applied_before_the_first_paint(visit: Visit) -> None:
    page = visit("radiologist", color_scheme="light")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("details.menu summary").click()
    page.get_by_label("Dark").check(force=True)
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark != light

    page.goto("/models/")

    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


def test_pages_fit_a_phone_and_have_large_touch_targets(
    visit: Visit, phantom: Path
) -> None:
    page = visit("radiologist", PHONE)
    upload(page, ("phone.dcm", phantom.read_bytes()))
    row = page.locator("tr", has_text="phone.dcm")
    expect(row.get_by_text("Analysed")).to_be_visible(timeout=PATIENCE_MS)
    study = str(row.get_by_role("link").first.get_attribute("href"))

    for address in (
        "/",
        "/?q=nobody",
        "/upload/",
        "/models/",
        f"/models/{DEFAULT_MODEL}/",
        study,
    ):
        page.goto(address)
        page.wait_for_load_state("networkidle")
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"], address
        small = page.locator(
            "button:visible, .chip:visible, summary:visible"
        ).evaluate_all(
            """all => all.filter(e => e.getBoundingClientRect().height < 43.5)
                         .map(e => e.textContent.trim())"""
        )
        assert small == [], address


def test_without_scripts_the_form_shows_a_result_for_each_file(
    visit: Visit, phantom: Path
) -> None:
    page = visit("technologist", java_script_enabled=False)
    page.goto("/upload/")
    page.locator('input[name="file"]').set_input_files(
        [
            {"name": "plain.dcm", "mimeType": "", "buffer": phantom.read_bytes()},
            {"name": "none.txt", "mimeType": "", "buffer": b"no image"},
        ]
    )
    page.get_by_role("button", name="Send").click()

    expect(page.get_by_text("2 of 2 done")).to_be_visible(timeout=PATIENCE_MS)
    expect(row_of(page, "none.txt").get_by_text("Refused")).to_be_visible()


def test_a_data_scientist_sees_models_but_no_patients(visit: Visit) -> None:
    page = visit("data_scientist")

    page.goto(f"/models/{DEFAULT_MODEL}/")

    expect(page.get_by_role("heading", name="Limits", exact=True)).to_be_visible()
    expect(
        page.get_by_role("navigation", name="Main").get_by_role("link")
    ).to_have_count(1)
    page.goto("/")
    expect(page).to_have_url(re.compile("/models/$"))
