"""No input in an address, form or file name leads to an internal error."""

from urllib.parse import quote

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts.models import Role
from diagnoses.api.serializers import UploadRequestSerializer
from tests.clients import person, program
from tests.dicom_factory import png
from tests.factories import UserFactory
from tests.routes import Record, make_record

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

VALUES = (
    "\x00",
    "x\x00y",
    "\ud800",
    "\U0001f642",
    "9" * 5000,
    "-1",
    "1e400",
    "NaN",
    "0x10",
    "'; DROP TABLE x; --",
    "%",
    "../../etc/passwd",
    "[]",
    "{}",
    "2026-02-30",
    "9999999-01-01",
    "00000000-0000-0000-0000-000000000000",
)
LISTS = {
    "patients": ("search", "name", "patient_id", "birth_date", "sex"),
    "studies": ("search", "patient", "patient_id", "study_date", "priority", "flag"),
    "series": ("study", "patient", "modality"),
    "instances": ("study", "sop_instance_uid", "synthetic", "received_after"),
    "uploads": ("outcome", "created_after", "study", "sha256"),
    "predictions": ("status", "model", "positive", "study", "priority", "queued_after"),
    "models": ("name", "version", "state"),
}
EVERY_LIST = ("ordering", "cursor", "page_size", "format")


def _encoded(value: str) -> str:
    return quote(value.encode("utf-8", "surrogatepass"), safe="")


@pytest.fixture
def record() -> Record:
    return make_record(UserFactory(role=Role.ADMIN))


def _check(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code < 500, path
    if answer.status_code >= 400 and path.startswith("/api/"):
        assert answer.headers["Content-Type"] == "application/problem+json", path


@pytest.mark.parametrize("name", LISTS)
def test_hostile_queries_of_lists_cause_no_server_error(
    record: Record, name: str
) -> None:
    client = program(user=record.user)
    for parameter in (*LISTS[name], *EVERY_LIST):
        for value in VALUES:
            _check(client, f"/api/v1/{name}/?{parameter}={_encoded(value)}")


@pytest.mark.parametrize("name", LISTS)
def test_hostile_keys_cause_no_server_error(record: Record, name: str) -> None:
    client = program(user=record.user)
    for value in VALUES:
        _check(client, f"/api/v1/{name}/{_encoded(value)}/")
        _check(client, f"/api/v1/predictions/{_encoded(value)}/heatmap/")


def test_hostile_queries_of_heat_maps_cause_no_server_error(record: Record) -> None:
    client = program(user=record.user)
    for parameter in ("label", "size"):
        for value in VALUES:
            path = f"/api/v1/predictions/{record.prediction.pk}/heatmap/"
            _check(client, f"{path}?{parameter}={_encoded(value)}")


def test_hostile_queries_of_pages_cause_no_server_error(record: Record) -> None:
    client = person(user=record.user)
    pages = {
        "/": ("q", "show", "sort", "after"),
        "/worklist/changes/": ("q", "show", "sort", "after", "since"),
        f"/patients/{record.study.patient_id}/": ("after",),
        f"/studies/{record.study.pk}/": ("image", "frame", "finding"),
        f"/studies/{record.study.pk}/results/": ("image", "frame", "finding"),
        f"/images/{record.instance.pk}/0.png": ("size",),
        f"/findings/{record.finding.pk}/layer.png": ("size",),
        "/models/": ("page",),
        "/sign-in/": ("next",),
    }
    for path, parameters in pages.items():
        for parameter in parameters:
            for value in VALUES:
                _check(client, f"{path}?{parameter}={_encoded(value)}")


def test_hostile_queries_of_the_admin_cause_no_server_error(record: Record) -> None:
    client = person(user=record.user)
    for model in ("patients/study", "diagnoses/prediction", "accounts/auditevent"):
        for parameter in ("q", "o", "p", "e", "id__exact", "status__exact"):
            for value in VALUES:
                _check(client, f"/admin/{model}/?{parameter}={_encoded(value)}")
        for value in VALUES:
            _check(client, f"/admin/{model}/{_encoded(value)}/change/")


@pytest.mark.parametrize("name", sorted({*UploadRequestSerializer().fields} - {"file"}))
def test_hostile_upload_fields_cause_no_server_error(name: str) -> None:
    client = program()
    for value in VALUES:
        # The test's client cannot write an unpaired surrogate.
        sent = value.encode("utf-8", "replace").decode()
        parts = {"file": SimpleUploadedFile("p.png", png()), name: sent}
        answer = client.post("/api/v1/uploads/", parts)
        assert answer.status_code < 500, (name, value)
        if answer.status_code >= 400:
            assert answer.json()["fields"].keys() == {name}, (name, value)


def test_hostile_file_names_cause_no_server_error() -> None:
    client = program()
    for value in VALUES:
        part = SimpleUploadedFile("x", png())
        part.name = value.encode("utf-8", "replace").decode() or "x"
        assert client.post("/api/v1/uploads/", {"file": part}).status_code < 500


def test_hostile_sign_ins_cause_no_server_error() -> None:
    client = Client()
    for value in VALUES:
        sent = value.encode("utf-8", "surrogatepass").decode("latin-1")
        answer = client.post("/sign-in/", {"username": sent, "password": sent})
        assert answer.status_code < 500
        answer = client.post(
            "/api/v1/auth/token/", {"username": sent, "password": sent}
        )
        assert 400 <= answer.status_code < 500
