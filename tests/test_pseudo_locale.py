"""Every text that a person may read goes through gettext: no page shows any other.

Each translation is wrapped in brackets, as a made-up language would have it. What
stands outside of brackets on a page must be data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib import admin
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.http import HttpResponse
from django.template.loader import render_to_string
from django.test import Client, RequestFactory, override_settings
from pytest_django.plugin import DjangoDbBlocker

from accounts.models import AuditEvent, Role
from diagnoses.models import ModelVersion, Prediction
from tests import dicom_factory
from tests.brackets import OPEN, bracketed, outside_brackets
from tests.clients import person
from tests.default_model import DEFAULT_MODEL
from tests.diagnoses.fakes import card_json
from tests.diagnoses.pages.page_rows import (
    failed,
    read,
    rejected,
    study_with_image,
    waiting,
)
from tests.factories import (
    FindingFactory,
    InstanceFactory,
    ModelVersionFactory,
    PredictionFactory,
    UserFactory,
)
from tests.routes import Record, make_record, routes

pytestmark = [pytest.mark.django_db, pytest.mark.slow]
# A card is written by the author of its model, in one language.
CARD_TEXT = "Cardtext"

# What may stand outside of brackets, and why.
DATA = {
    r"ChestX": "the name of the product",
    r"Chestx_Site": "the name of a Python package",
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}": "keys",
    r"\b[0-9a-f]{6,128}…?": "hashes",
    r"\b[MFO] ?(?=\b|\d)": "Patient's Sex (0010,0040)",
    r"WANDERWEG|Wanderweg|FAMILY\d+|Family\d+|Given": "names of patients",
    r"(MRN|ACC)-[\w-]*|LOCAL": "identifiers and who issued them",
    r"user-\d+|Doe, Sam": "names of users",
    r"\bradiology\b|Radiology": "a department, as an administrator named it",
    rf"{DEFAULT_MODEL}|shadow-model": "names of models",
    rf"{CARD_TEXT}\.?( More\.)?": "texts of a model's card",
    r"wanderweg-image\.dcm|[\w-]+\.(dcm|png|txt)": "names of files",
    r"\b(AP|PA|LL|CR|DX|CHEST|DICOM|MONOCHROME[12])\b": "defined terms of DICOM",
    r"\b[ALPRHF]\b": "Patient Orientation (0020,0020)",
    r"\b\d+ ?(ms|s|B|kB|MB)\b": "units",
    r"\bq=[\w-]+": "a search",
    r"nobody-of-this-name": "a search",
    r"https?://\S+|\b127\.0\.0\.1\b": "addresses",
    r"\b[a-z]+(_[a-z0-9]+)+\b": "codes for programs",
    r"The worker was lost five times\.": "a sentence that a former version stored",
    r"^\s*(chest|fake)\s*$": "body parts and the architecture, as a card names them",
    r"\b(CPU|GPU)\b": "abbreviations that are the same in all languages",
    r"\bSNOMED CT\b": "the name of a standard",
    r"\b(tests|x)\b": "a reason, a method and a user name, as somebody typed them",
    r"^\s*[\[{].*[\]}]\s*$": "values in JSON",
    r"\d\d:\d\d:\d\d[.\d]*\+00:00": "times",
}
# On the pages of the admin: what is shown as it is stored.
ADMIN_DATA = {
    r"Normal|Bacterial pneumonia|Tuberculosis": "labels, as a model names them",
    r"^\s*[a-z_]+(, [a-z_]+)+\s*$": "scopes of a token",
    r"\b(True|False|None)\b": "alternative texts that Django does not translate",
    r"\brotated\b": "a reason code",
    r"\bmd5\b|\b\w\w\*+": "the hash of a password",
}

_READ_OUT = ("title", "placeholder", "aria-label", "alt", "data-name", "label")
_BUTTONS = {"submit", "button", "reset"}
_NOT_READ = {"script", "style", "template"}
# Commands, keys on a keyboard, values of the record, the name of the product.
_DATA_ELEMENTS = {"code", "kbd", "pre", "time"}
_DATA_CLASSES = {"brand", "hash", "readonly-data", "department"}
_VOID = {"meta", "link", "img", "input", "br", "hr", "rect", "stop", "path", "col"}


class VisibleTexts(HTMLParser):
    """The texts of a page that a person sees or hears."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.texts: list[str] = []
        self._hidden: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.texts += [values[name] for name in _READ_OUT if values.get(name)]
        if tag == "input" and values.get("type") in _BUTTONS:
            self.texts.append(values.get("value", ""))
        if tag in _VOID:
            return
        classes = set(values.get("class", "").split())
        data = (
            tag in _NOT_READ | _DATA_ELEMENTS
            or bool(classes & _DATA_CLASSES)
            or values.get("id") == "site-name"
        )
        if self._hidden or data:
            self._hidden.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._hidden and tag not in _VOID:
            self._hidden.pop()

    def handle_data(self, data: str) -> None:
        if not self._hidden and data.strip():
            self.texts.append(data)


def untranslated(page: str, *, admin_site: bool = False) -> list[str]:
    """Return the texts of a page that have words outside of brackets and data."""
    data = DATA | ADMIN_DATA if admin_site else DATA
    parser = VisibleTexts()
    parser.feed(page)
    return [
        " ".join(text.split())
        for text in parser.texts
        if re.search(r"[^\W\d_]", _without_data(text, data))
    ]


def _without_data(text: str, data: Iterable[str]) -> str:
    """Return what is left of a text outside of brackets, without data."""
    text = outside_brackets(text)
    for pattern in data:
        text = re.sub(pattern, " ", text, flags=re.DOTALL)
    return text


@pytest.fixture(scope="module")
def brackets() -> Generator[None, None, None]:
    """Put every translation into brackets."""
    with bracketed():
        yield


class Site:
    """A filled record, and the pages that people of each role see of it."""

    def __init__(self) -> None:
        card = card_json(ages=f"{CARD_TEXT}. More.") | {
            "intended_use": CARD_TEXT,
            "limits": [CARD_TEXT],
            "not_measured": [CARD_TEXT],
        }
        ModelVersionFactory(name=DEFAULT_MODEL, card=card)
        shadow = card | {"name": "shadow-model"}
        self.shadow = ModelVersionFactory(
            name="shadow-model", card=shadow, state=ModelVersion.State.SHADOW
        )
        self.people = {role: person(role) for role in Role}
        self.empty = self.page("/", Role.RADIOLOGIST)
        self.record: Record = make_record(UserFactory(role=Role.ADMIN))
        self.images = {
            "analysed": study_with_image(
                flags=["demographics_mismatch"], image={"view_position": "PA"}
            ),
            "waiting": study_with_image(),
            "failed": study_with_image(),
            "rejected": study_with_image(),
            "no model": study_with_image(),
            "in shadow": study_with_image(),
        }
        read(self.images["analysed"], Tuberculosis=0.9)
        InstanceFactory(series=self.images["analysed"].series, view_position="LL")
        waiting(self.images["waiting"])
        failed(self.images["failed"])
        rejected(self.images["rejected"], "rotated", "")
        for state in ("analysed", "in shadow"):
            run = PredictionFactory(
                instance=self.images[state],
                model_version=self.shadow,
                succeeded=True,
                shadow=True,
            )
            FindingFactory(prediction=run, label="Tuberculosis", probability=0.2)

    def page(self, address: str, role: Role = Role.RADIOLOGIST, **post: Any) -> str:
        """Return a page as somebody of a role sees it."""
        client = self.people[role]
        client.raise_request_exception = False
        if post:
            return _html(client.post(address, post, follow=True))
        return _html(client.get(address, follow=True))

    def study(self, state: str) -> str:
        """Return the address of a study in a state."""
        return f"/studies/{self.images[state].series.study_id}/"


def _html(answer: HttpResponse) -> str:
    content = b"".join(answer) if answer.streaming else answer.content
    return content.decode()


def _sent(*contents: bytes, **fields: str) -> Callable[[Site], str]:
    """Return a page that shows the last of these files, sent one after the other."""

    def send(site: Site) -> str:
        pages = [
            site.page(
                "/upload/",
                Role.TECHNOLOGIST,
                file=SimpleUploadedFile("image.dcm", content),
                **fields,
            )
            for content in contents
        ]
        return pages[-1]

    return send


def _too_large(site: Site) -> str:
    with override_settings(MAX_REQUEST_BYTES=10):
        return _sent(b"larger than that")(site)


def _retried(site: Site) -> str:
    run = Prediction.objects.get(
        instance=site.images["failed"], status=Prediction.Status.FAILED
    )
    return site.page(f"/predictions/{run.pk}/retry/", confirm="")


def _page(address: str, role: Role = Role.RADIOLOGIST) -> Callable[[Site], str]:
    return lambda site: site.page(address, role)


def _study(state: str, role: Role = Role.RADIOLOGIST) -> Callable[[Site], str]:
    return lambda site: site.page(site.study(state), role)


def _signed_out(**post: str) -> Callable[[Site], str]:
    def ask(site: Site) -> str:
        client = Client()
        address = "/sign-in/"
        return _html(client.post(address, post) if post else client.get(address))

    return ask


def _error(status: str) -> Callable[[Site], str]:
    request = RequestFactory().get("/")
    return lambda site: render_to_string(f"{status}.html", request=request)


def _event(site: Site) -> str:
    event = AuditEvent.objects.order_by("at").first()
    assert event is not None
    return site.page(f"/admin/accounts/auditevent/{event.pk}/change/", Role.AUDITOR)


def _admin_page(name: str) -> Callable[[Site], str]:
    def ask(site: Site) -> str:
        path = next(
            route.path for route in routes(site.record) if route.name == f"admin:{name}"
        )
        return site.page(path, Role.ADMIN)

    return ask


IMAGE = dicom_factory.image_bytes(PatientID="MRN-1", PatientName="Family1^Given")
MODEL = f"/models/{DEFAULT_MODEL}/"
VERSIONS = f"first={DEFAULT_MODEL}@1&second=shadow-model@1"
ADMIN_KINDS = ("changelist", "add", "change", "delete", "history")
PAGES: dict[str, Callable[[Site], str]] = {
    "sign-in": _signed_out(),
    "sign-in: refused": _signed_out(username="x", password="y"),
    "password": _page("/password/"),
    "password: refused": lambda site: site.page("/password/", old_password="x"),
    "worklist: empty": lambda site: site.empty,
    "worklist: newest": _page("/?sort=newest"),
    "worklist: search": _page("/?q=MRN-"),
    "worklist: no match": _page("/?q=nobody-of-this-name"),
    "worklist: empty filter": _page("/?show=stat"),
    **{f"worklist: {role.value}": _page("/", role) for role in Role},
    "patient": lambda site: site.page(f"/patients/{site.record.study.patient_id}/"),
    **{f"study: {role.value}": _study("analysed", role) for role in Role},
    "study: waiting": _study("waiting"),
    "study: failed": _study("failed"),
    "study: rejected": _study("rejected"),
    "study: no model": _study("no model"),
    "study: in shadow": _study("in shadow", Role.ADMIN),
    "study: retried": _retried,
    "upload": _page("/upload/", Role.TECHNOLOGIST),
    "upload: stored": _sent(IMAGE),
    "upload: duplicate": _sent(IMAGE, IMAGE),
    "upload: conflict": _sent(IMAGE, patient_id="MRN-2"),
    "upload: refused": _sent(b"no image"),
    "upload: no file": _sent(b"", sex="F"),
    "models": _page("/models/"),
    "model": _page(MODEL, Role.DATA_SCIENTIST),
    "model: admin": _page(MODEL, Role.ADMIN),
    "compare": _page("/models/compare/", Role.ADMIN),
    "compare: two versions": _page(f"/models/compare/?{VERSIONS}", Role.ADMIN),
    **{
        f"error {status}": _error(status)
        for status in ("400", "403", "403_csrf", "404", "500", "503")
    },
    "error 403 of a view": _page("/upload/", Role.CLINICIAN),
    "error 404 of a view": lambda site: site.page(f"/studies/{site.shadow.pk}/"),
    "error 413 of a view": _too_large,
    "admin: index": _page("/admin/", Role.ADMIN),
    **{
        f"admin: {name}": _admin_page(name)
        for name in (
            *(
                f"{model._meta.app_label}_{model._meta.model_name}_{kind}"
                for model in admin.site._registry
                for kind in ADMIN_KINDS
            ),
            "patients_study_assign",
        )
    },
    "auditor: index": _page("/admin/", Role.AUDITOR),
    "auditor: events": _page("/admin/accounts/auditevent/", Role.AUDITOR),
    "auditor: event": _event,
}


@pytest.fixture(scope="module")
def site(
    brackets: None, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Generator[Site, None, None]:
    """Return the record that all pages show; it is made once, and undone."""
    with django_db_blocker.unblock(), transaction.atomic():
        yield Site()
        transaction.set_rollback(True)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name.startswith("admin") else name
        for name in PAGES
    ],
)
def test_a_page_has_translated_texts_and_data_only(site: Site, name: str) -> None:
    page = PAGES[name](site)

    assert OPEN in page
    on_the_admin_site = name.startswith(("admin", "auditor"))
    assert untranslated(page, admin_site=on_the_admin_site) == []


def test_untranslated_words_are_found_anywhere_in_a_page() -> None:
    page = """<title>One · ChestX</title><p>Two <b>⟦not ⟦this⟧ one⟧</b> 12 ms</p>
    <input type="submit" value="Three"><input placeholder="Four" value="not this">
    <img alt="Five"><a title="Six" aria-label="Seven">⟦not this⟧</a><kbd>k</kbd>
    <script>not this</script><p class="brand">Chest<span>X</span></p>"""

    texts = untranslated(page)

    assert texts == ["One · ChestX", "Two", "Three", "Four", "Five", "Six", "Seven"]
