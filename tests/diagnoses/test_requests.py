"""A request by web or REST: every file of it gets an answer and an Upload."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import InterfaceError, OperationalError
from django.http import HttpResponseBase
from django.test import Client
from pydicom.uid import generate_uid
from pytest_django import Settings

from accounts.models import AuditEvent, Role
from patients.models import Instance, Patient, Upload
from patients.signals import instance_stored
from tests.clients import person, program
from tests.dicom_factory import image_bytes, png

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.slow,
    pytest.mark.usefixtures("chest_model"),
]
REST, WEB = "/api/v1/uploads/", "/upload/"
FORM = "multipart/form-data; boundary=BB"


def image() -> bytes:
    uids = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    return image_bytes(**{uid: generate_uid() for uid in uids})


def part(disposition: bytes, content: bytes, *, headers: bytes = b"") -> bytes:
    line = b"--BB\r\nContent-Disposition: form-data; " + disposition + b"\r\n"
    return line + headers + b"\r\n" + content + b"\r\n"


def file(name: str = "a.dcm", content: bytes | None = None) -> bytes:
    disposition = f'name="file"; filename="{name}"'.encode()
    return part(disposition, image() if content is None else content)


def field(name: str, value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return part(f'name="{name}"'.encode(), data)


CLOSING = b"--BB--\r\n"


@pytest.fixture(params=[REST, WEB])
def url(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def client(url: str) -> Client:
    return program() if url == REST else person(Role.TECHNOLOGIST)


def post(client: Client, url: str, *parts: bytes, **extra: str) -> HttpResponseBase:
    return client.generic("POST", url, b"".join(parts), content_type=FORM, **extra)


def rows() -> list[tuple[str, str, str]]:
    """Return name, outcome and reason code of all uploads, in the order sent."""
    uploads = Upload.objects.order_by("created_at")
    return list(uploads.values_list("original_name", "outcome", "reason_code"))


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('filename="röntgen.dcm"'.encode("latin-1"), "röntgen.dcm"),
        (b"filename*=UTF-8''r%C3%B6ntgen.dcm", "röntgen.dcm"),
        (b"filename=\"x.dcm\"; filename*=UTF-8''r%C3%B6.dcm", "rö.dcm"),
        (b'filename=""', "unnamed"),
        (b'filename="../../etc/passwd"', "passwd"),
        (rb'filename="C:\scans\a.dcm"', "a.dcm"),
        (rb'filename="a\"b.dcm"', 'a"b.dcm'),
        (b'filename="100%25.dcm"', "100%25.dcm"),
        (b'filename="a\x00b.dcm"', "ab.dcm"),
        (b'filename="..."', "unnamed"),
        (b'filename="' + b"x" * 300 + b'.dcm"', "x" * 251 + ".dcm"),
    ],
)
def test_a_file_with_any_name_has_a_row_beside_its_sibling(
    client: Client, url: str, disposition: bytes, name: str
) -> None:
    odd = part(b'name="file"; ' + disposition, image())
    answer = post(client, url, odd, file("second.dcm"), CLOSING)
    assert answer.status_code in (200, 202)
    assert rows() == [(name, "stored", ""), ("second.dcm", "stored", "")]


def test_the_part_of_a_browser_for_no_file_is_nothing(client: Client, url: str) -> None:
    header = b"Content-Type: application/octet-stream\r\n"
    nothing = part(b'name="file"; filename=""', b"", headers=header)
    answer = post(client, url, nothing, field("patient_id", "1"), CLOSING)
    text = answer.content.decode()
    assert "No file was sent" in text
    assert rows() == []


def test_a_file_in_base64_is_stored(client: Client, url: str) -> None:
    content = image()
    header = b"Content-Transfer-Encoding: base64\r\n"
    coded = part(
        b'name="file"; filename="a.dcm"', base64.encodebytes(content), headers=header
    )
    post(client, url, coded, CLOSING)
    assert rows() == [("a.dcm", "stored", "")]


def test_a_body_without_its_closing_boundary_is_400_and_each_file_has_a_row(
    client: Client, url: str
) -> None:
    answer = post(client, url, file("a.dcm"), file("b.dcm")[:-100])
    assert answer.status_code == 400
    assert rows() == [
        ("a.dcm", "refused", "incomplete_request"),
        ("b.dcm", "refused", "incomplete_request"),
    ]
    assert [bool(u.sha256) for u in Upload.objects.order_by("created_at")] == [
        True,
        False,
    ]
    assert not Instance.objects.exists()


def test_a_body_that_ends_before_its_first_file_has_a_nameless_row(
    client: Client, url: str
) -> None:
    assert post(client, url, field("patient_id", "1")).status_code == 400
    assert rows() == [("", "refused", "incomplete_request")]


def test_a_content_length_that_cuts_the_body_is_400(client: Client, url: str) -> None:
    answer = post(client, url, file(), CLOSING, CONTENT_LENGTH="700")
    assert answer.status_code == 400
    assert rows() == [("a.dcm", "refused", "incomplete_request")]


@pytest.mark.parametrize("length", ["-5", "many"])
def test_a_content_length_that_is_no_length_stores_nothing(
    client: Client, url: str, length: str
) -> None:
    answer = post(client, url, file(), CLOSING, CONTENT_LENGTH=length)
    assert answer.status_code == 400 or b"No file was sent" in answer.content
    assert not Instance.objects.exists()


def test_a_part_without_a_name_is_400_and_no_file_is_stored(
    client: Client, url: str
) -> None:
    nameless = part(b'filename="b.dcm"', image())
    answer = post(client, url, file("a.dcm"), nameless, CLOSING)
    assert answer.status_code == 400
    assert rows() == [
        ("a.dcm", "refused", "malformed_request"),
        ("b.dcm", "refused", "malformed_request"),
    ]


@pytest.mark.parametrize("name", ["patient_id", "patient_name", "model"])
def test_a_field_that_is_not_utf_8_is_400_and_named(
    client: Client, url: str, name: str
) -> None:
    wrong = field(name, "Müller".encode("latin-1"))
    answer = post(client, url, wrong, file("a.png", png()), CLOSING)
    assert answer.status_code == 400
    assert rows() == [("a.png", "refused", "invalid_fields")]
    assert not Patient.objects.exists()
    if url == REST:
        assert list(answer.json()["fields"]) == [name]
        assert answer.json()["reason_code"] == "invalid_fields"


def test_a_field_of_a_stated_character_set_is_read_in_it(
    client: Client, url: str
) -> None:
    header = b"Content-Type: text/plain; charset=iso-8859-1\r\n"
    name = part(b'name="patient_name"', "Müller".encode("latin-1"), headers=header)
    post(client, url, name, field("patient_id", "7"), file("a.png", png()), CLOSING)
    assert Patient.objects.get().family_name == "Müller"


def test_a_chunked_request_is_411_with_a_nameless_row(client: Client, url: str) -> None:
    answer = client.generic("POST", url, b"", content_type=FORM)
    assert answer.status_code == 411
    assert rows() == [("", "refused", "length_required")]


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", 'multipart/form-data; boundary="é"']
)
def test_a_form_without_a_boundary_is_400(
    client: Client, url: str, content_type: str
) -> None:
    answer = client.generic("POST", url, b"x", content_type=content_type)
    assert answer.status_code == 400
    assert rows() == [("", "refused", "malformed_request")]


def test_too_many_files_are_413_with_a_nameless_row(
    client: Client, url: str, settings: Settings
) -> None:
    settings.DATA_UPLOAD_MAX_NUMBER_FILES = 1
    assert post(client, url, file(), file(), CLOSING).status_code == 413
    assert rows() == [("", "refused", "too_many_files")]


def test_too_many_parts_without_a_file_are_413(
    client: Client, url: str, settings: Settings
) -> None:
    settings.DATA_UPLOAD_MAX_NUMBER_FILES = 1
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 2
    nothing = part(b'name="file"; filename=""', b"")
    assert post(client, url, *[nothing] * 4, CLOSING).status_code == 413


def test_a_form_that_is_refused_as_a_whole_has_a_row_for_each_file(
    client: Client, url: str
) -> None:
    post(client, url, field("model", "nobody"), file("a"), file("b"), CLOSING)
    assert rows() == [
        ("a", "refused", "unknown_model"),
        ("b", "refused", "unknown_model"),
    ]
    assert AuditEvent.objects.filter(action="upload", outcome="refused").count() == 2


@pytest.mark.parametrize(
    "parts", [(field("model", "nobody"), file("a"), CLOSING), (file("a"),)]
)
def test_the_answer_to_a_refused_request_has_each_file(parts: tuple[bytes]) -> None:
    body = post(program(), REST, *parts).json()
    [sent] = body["files"]
    assert (sent["name"], sent["outcome"]) == ("a", "refused")
    assert sent["reason_code"] == body["reason_code"]
    assert sent["reason"] == body["detail"]


def test_a_file_under_another_name_is_not_lost(client: Client, url: str) -> None:
    other = part(b'name="files"; filename="b.dcm"', image())
    post(client, url, file("a.dcm"), other, CLOSING)
    assert rows() == [
        ("a.dcm", "refused", "unknown_fields"),
        ("b.dcm", "refused", "unknown_fields"),
    ]


def test_a_text_in_the_place_of_a_file_is_not_lost(client: Client, url: str) -> None:
    post(client, url, file("a.dcm"), field("file", "text"), CLOSING)
    assert [(name, outcome) for name, outcome, _ in rows()] == [("a.dcm", "refused")]


def test_a_full_disk_is_503_and_leaves_no_row(
    client: Client, url: str, settings: Settings, tmp_path: Path
) -> None:
    taken = tmp_path / "a file"
    taken.write_bytes(b"")
    settings.INCOMING_DIR = str(taken)  # no folder: nothing can be written there
    answer = post(client, url, file(), CLOSING)
    assert answer.status_code == 503
    assert rows() == []


def test_a_storage_that_takes_nothing_is_503_and_leaves_no_row(
    client: Client, url: str, settings: Settings, tmp_path: Path
) -> None:
    taken = tmp_path / "a file"
    taken.write_bytes(b"")
    storage = settings.STORAGES["default"]
    options = {**storage["OPTIONS"], "location": str(taken)}
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {**storage, "OPTIONS": options},
    }
    answer = post(client, url, file(), CLOSING)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert rows() == []


def test_a_film_sent_as_a_field_is_413_with_what_to_do(
    client: Client, url: str, settings: Settings
) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    answer = post(client, url, field("patient_id", "1"), field("file", image()))
    assert answer.status_code == 413
    assert b"A file needs a file name" in answer.content
    assert rows() == [("", "refused", "too_large")]


@contextmanager
def second_image_meets(fault: type[Exception]) -> Iterator[None]:
    """Let the second image meet a fault that nobody foresaw."""
    seen = []

    def fail(sender: object, instance: Instance, **_: object) -> None:
        seen.append(instance)
        if len(seen) == 2:
            raise fault(f"no such value: {instance.series.study.patient}")

    instance_stored.connect(fail, dispatch_uid="tests.broken")
    try:
        yield
    finally:
        instance_stored.disconnect(dispatch_uid="tests.broken")


def test_an_unforeseen_fault_of_one_file_is_its_refusal_and_its_siblings_are_stored(
    client: Client, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR), second_image_meets(LookupError):
        answer = post(client, url, file("a"), file("b"), file("c"), CLOSING)
    assert answer.status_code in (200, 202)
    assert rows() == [
        ("a", "stored", ""),
        ("b", "refused", "internal_error"),
        ("c", "stored", ""),
    ]
    error_id = Upload.objects.get(outcome="refused").reason_params["error_id"]
    assert error_id in answer.content.decode()
    assert error_id in caplog.text
    assert "LookupError" in caplog.text
    assert "Doe" not in caplog.text
    assert AuditEvent.objects.filter(action="upload", outcome="refused").count() == 1
    assert Instance.objects.count() == 2


def test_an_unforeseen_fault_of_the_only_file_is_its_refusal() -> None:
    client = program()
    with second_image_meets(LookupError):
        post(client, REST, file("a"), CLOSING)
        answer = post(client, REST, file("b"), CLOSING)
    assert answer.status_code == 422
    assert answer.json()["files"][0]["reason_code"] == "internal_error"


def test_a_malformed_body_before_the_sender_is_known_is_400() -> None:
    """The token against forgery is in the body, so nobody is known to have sent it."""
    client = person(Role.TECHNOLOGIST)
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = client.cookies
    strict.cookies["csrftoken"] = "a" * 32
    answer = post(strict, REST, file())
    assert answer.status_code == 400
    assert answer.json()["reason_code"] == "incomplete_request"
    assert rows() == []


def test_no_part_of_a_refused_body_stays_on_disk(
    settings: Settings, tmp_path: Path
) -> None:
    settings.INCOMING_DIR = str(tmp_path)
    post(program(), REST, file("a.dcm"), file("b.dcm")[:-100])
    assert list(tmp_path.iterdir()) == []


def test_a_browser_session_may_send_the_token_in_the_body() -> None:
    client = person(Role.TECHNOLOGIST)
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = client.cookies
    strict.cookies["csrftoken"] = "a" * 32
    token = field("csrfmiddlewaretoken", "a" * 32)
    for url in (REST, WEB):
        answer = post(strict, url, token, file(f"{url[1:4]}.dcm"), CLOSING)
        assert answer.status_code in (200, 202)
    assert rows() == [("api.dcm", "stored", ""), ("upl.dcm", "stored", "")]


@pytest.mark.parametrize("fault", [OperationalError, InterfaceError])
def test_a_lost_database_is_503_with_the_results_so_far(fault: type[Exception]) -> None:
    with second_image_meets(fault):
        answer = post(program(), REST, file("a"), file("b"), file("c"), CLOSING)
    assert answer.status_code == 503
    assert answer.json()["reason_code"] == "database_unavailable"
    assert [sent["name"] for sent in answer.json()["files"]] == ["a"]
    assert rows() == [("a", "stored", "")]


@pytest.mark.parametrize(
    "field", ["patient_id", "patient_name", "birth_date", "sex", "model"]
)
@pytest.mark.parametrize("values", [("A1", "B2"), ("A1", "A1"), ("", "B2")])
def test_a_field_with_two_values_refuses_the_request(
    field: str, values: tuple[str, str]
) -> None:
    form = {"file": SimpleUploadedFile("x.png", png()), field: list(values)}
    answer = program().post("/api/v1/uploads/", form)
    assert answer.status_code == 400
    assert answer.json()["reason_code"] == "invalid_fields"
    assert list(answer.json()["fields"]) == [field]
    assert not Instance.objects.exists()


def test_a_field_with_two_values_on_the_page_stores_nothing() -> None:
    form = {"file": SimpleUploadedFile("x.png", png()), "patient_id": ["A1", "B2"]}
    page = person(Role.TECHNOLOGIST).post("/upload/", form).content.decode()
    assert "patient_id" in page
    assert not Instance.objects.exists()
