"""What is typed for one patient is not sent unnoticed with the images of the next."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.models import Role
from patients.models import Study
from tests import dicom_factory
from tests.browser.conftest import drop
from tests.browser.sessions import give_session
from tests.clients import person
from tests.diagnoses.fakes import installed_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

# --stat of the light theme.
RED = "rgb(179, 38, 30)"


@pytest.fixture
def page(browser: Browser, live_server: LiveServer) -> Generator[Page, None, None]:
    installed_model()
    context = browser.new_context(base_url=live_server.url, color_scheme="light")
    opened = context.new_page()
    give_session(opened, person(Role.TECHNOLOGIST), live_server.url)
    opened.goto("/upload/")
    yield opened
    # A page that stays open goes on asking the server.
    context.close()


def _nameless() -> bytes:
    return dicom_factory.image_bytes(PatientID=None, PatientName=None)


def _drop(page: Page, name: str, content: bytes) -> None:
    drop(page.locator("[data-drop]"), (name, content))


def test_entries_are_asked_about_before_they_are_sent_with_other_files(
    page: Page,
) -> None:
    page.get_by_label("Patient ID", exact=True).fill("MRN-1")
    page.get_by_label("Patient name").fill("Osei, Ama")
    _drop(page, "first.dcm", _nameless())
    expect(page.get_by_text("1 of 1 done")).to_be_visible()

    page.get_by_label("Patient ID", exact=True).fill("MRN-2")
    _drop(page, "second.dcm", _nameless())

    expect(page.get_by_text("Patient name Osei, Ama")).to_be_visible()
    assert Study.objects.count() == 1
    page.get_by_role("group").get_by_role("button", name="Next patient").click()
    expect(page.get_by_label("Patient ID", exact=True)).to_have_value("")
    page.get_by_label("Patient ID", exact=True).fill("MRN-2")
    page.get_by_label("Patient name").fill("Roe, John")
    page.get_by_role("button", name="Send 1 file").click()

    expect(page.get_by_text("2 of 2 done")).to_be_visible()
    stored = {s.patient.patient_id: s.patient.display_name for s in Study.objects.all()}
    assert stored == {"MRN-1": "OSEI, Ama", "MRN-2": "ROE, John"}


def test_next_patient_clears_every_entry(page: Page) -> None:
    for label, value in (
        ("Patient ID", "MRN-1"),
        ("Patient name", "Osei, Ama"),
        ("Date of birth", "1961-04-05"),
        ("Accession number", "A-1"),
    ):
        page.get_by_label(label, exact=True).fill(value)
    page.get_by_label("Sex").select_option("F")
    page.get_by_label("Stat").check(force=True)

    page.locator("[data-next-patient]").click()

    values = page.locator(".upload-fields input:not([type=radio])").evaluate_all(
        "all => all.map(one => one.value)"
    )
    assert set(values) == {""}
    expect(page.get_by_label("Sex")).to_have_value("")
    expect(page.get_by_label("Routine")).to_be_checked()


def test_a_wrong_entry_has_its_error_beside_it_and_stays(page: Page) -> None:
    page.get_by_label("Patient ID", exact=True).fill("MRN\\1")
    _drop(page, "image.dcm", _nameless())

    expect(page.locator('[data-errors-of="patient_id"]')).not_to_be_empty()
    expect(page.get_by_label("Patient ID", exact=True)).to_have_value("MRN\\1")
    expect(page.get_by_label("Patient ID", exact=True)).to_have_attribute(
        "aria-invalid", "true"
    )


def test_a_file_of_another_patient_names_both_in_red(page: Page) -> None:
    _drop(page, "known.dcm", dicom_factory.image_bytes(PatientID="MRN-1"))
    expect(page.get_by_text("1 of 1 done")).to_be_visible()
    other = dicom_factory.image_bytes(PatientID="MRN-1", PatientName="Roe^Jane")
    _drop(page, "other.dcm", other)

    mismatch = page.get_by_role("row").filter(has_text="other.dcm").locator(".mismatch")
    expect(mismatch).to_contain_text("Roe, Jane")
    expect(mismatch).to_contain_text("Doe, John")
    expect(mismatch).to_have_css("color", RED)
