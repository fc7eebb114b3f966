"""Uploads over REST: outcome and answer for each file."""

import uuid
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponseBase
from django.test import Client, override_settings
from django.urls import reverse
from pydicom.uid import generate_uid

from accounts.errors import AuditUnavailable, Unavailable
from accounts.models import AuditEvent, Role
from diagnoses import uploads
from diagnoses.api.serializers import UploadRequestSerializer
from diagnoses.models import ModelVersion
from patients.identity.submitted import SubmittedIdentity
from patients.models import Instance, Patient, Upload
from tests.clients import person, program
from tests.dicom_factory import grey_pixels, image_bytes, png
from tests.factories import DepartmentFactory, UserFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("chest_model")]
URL = "/api/v1/uploads/"


def _image(**attributes: Any) -> bytes:
    own = {
        "SOPInstanceUID": generate_uid(),
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
    }
    return image_bytes(**{**own, **attributes})


def _send(
    client: Client, *files: bytes | tuple[str, bytes], **fields: str
) -> HttpResponseBase:
    named = [f if isinstance(f, tuple) else ("image.dcm", f) for f in files]
    parts = [SimpleUploadedFile(name, content) for name, content in named]
    return client.post(URL, {"file": parts, **fields})


def test_a_stored_image_returns_its_ids_and_its_queued_run(
    chest_model: ModelVersion,
) -> None:
    client = program()
    answer = _send(client, _image())
    assert answer.status_code == 202
    assert answer.headers["Content-Type"] == "application/json"
    (file,) = answer.json()["files"]
    instance = Instance.objects.select_related("series__study").get()
    (run,) = instance.predictions.all()
    path = reverse("prediction-detail", args=[run.pk])
    assert file == {
        "name": "image.dcm",
        "outcome": "stored",
        "reason_code": "",
        "reason": "",
        "patient": str(instance.series.study.patient_id),
        "study": str(instance.series.study_id),
        "instance": str(instance.pk),
        "flags": [],
        "discrepancies": [],
        "predictions": [{"id": str(run.pk), "url": f"http://testserver{path}"}],
    }
    assert client.get(file["predictions"][0]["url"]).json()["status"] == "queued"


def test_an_image_sent_again_is_a_duplicate_with_the_same_ids() -> None:
    client, image = program(), _image()
    first, second = (_send(client, image).json()["files"][0] for _ in range(2))
    assert second["outcome"] == "duplicate"
    for key in ("patient", "study", "instance", "predictions"):
        assert second[key] == first[key]
    assert Upload.objects.filter(instance=first["instance"]).count() == 2


def test_results_have_the_order_of_the_files_and_a_refused_file_stops_no_other() -> (
    None
):
    answer = _send(
        program(),
        ("empty.png", b""),
        ("good.dcm", _image()),
        ("cut.dcm", _image()[:1500]),
        ("picture.png", png()),
        patient_id="",
    )
    assert answer.status_code == 202
    files = answer.json()["files"]
    assert [(file["name"], file["outcome"]) for file in files] == [
        ("empty.png", "refused"),
        ("good.dcm", "stored"),
        ("cut.dcm", "refused"),
        ("picture.png", "stored"),
    ]
    assert files[0]["reason_code"] == "empty_file"
    assert files[2]["reason"]
    assert files[2]["instance"] is None
    assert files[2]["predictions"] == []
    assert Upload.objects.count() == 4


def test_refused_files_alone_are_problem_details_that_name_each() -> None:
    answer = _send(program(), ("a.png", b""), ("b.dcm", b"hello"))
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == 422
    assert body["reason_code"] == "empty_file"
    assert [file["name"] for file in body["files"]] == ["a.png", "b.dcm"]
    assert all(file["reason"] for file in body["files"])
    assert "a.png" in body["detail"]
    assert Upload.objects.filter(outcome="refused", source="rest").count() == 2


def test_another_object_under_a_known_uid_is_409() -> None:
    client, uid = program(), generate_uid()
    _send(client, _image(SOPInstanceUID=uid))
    answer = _send(client, _image(SOPInstanceUID=uid, PatientID="SOMEONE-ELSE"))
    assert answer.status_code == 409
    body = answer.json()
    assert body["files"][0]["outcome"] == "conflict"
    assert body["files"][0]["reason_code"] == "conflict_header"
    assert body["files"][0]["predictions"] == []


def test_a_form_that_names_another_patient_than_the_header_is_refused() -> None:
    answer = _send(program(), _image(PatientID="ONE"), patient_id="TWO")
    assert answer.status_code == 422
    assert answer.json()["files"][0]["reason_code"] == "identity_mismatch"
    assert not Patient.objects.exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("birth_date", "the day before yesterday"),
        ("sex", "X-ray"),
        ("priority", "soon"),
        ("patient_id", "x" * 65),
    ],
)
def test_the_error_names_an_invalid_field(field: str, value: str) -> None:
    answer = _send(program(), ("p.png", png()), **{field: value})
    assert answer.status_code == 400
    assert list(answer.json()["fields"]) == [field]
    assert not Instance.objects.exists()
    assert Upload.objects.get().outcome == "refused"


def test_the_form_has_every_field_of_the_submitted_identity() -> None:
    fields = set(UploadRequestSerializer().fields)
    assert fields == {"file", "model", *SubmittedIdentity.__dataclass_fields__}


@pytest.mark.parametrize("field", ["patientid", "files"])
def test_an_unknown_field_is_refused(field: str) -> None:
    answer = _send(program(), _image(), **{field: "MRN-1"})
    assert answer.status_code == 400
    assert list(answer.json()["fields"]) == [field]
    assert not Instance.objects.exists()


@pytest.mark.parametrize("field", ["patient_id", "birth_date", "priority", "model"])
def test_the_error_names_a_file_sent_in_a_text_field(field: str) -> None:
    parts = {"file": SimpleUploadedFile("image.dcm", _image())}
    answer = program().post(URL, {**parts, field: SimpleUploadedFile("x.txt", b"P-1")})
    assert answer.status_code == 400
    assert list(answer.json()["fields"]) == [field]
    assert not Instance.objects.exists()


def test_a_text_in_the_file_field_is_refused() -> None:
    image = SimpleUploadedFile("image.dcm", _image())
    answer = program().post(URL, {"file": ["text", image]})
    assert answer.status_code == 400
    assert answer.json()["reason_code"] == "no_file"


def test_a_file_without_a_usable_name_is_stored_beside_its_siblings() -> None:
    def part(name: str, content: bytes) -> bytes:
        disposition = f'Content-Disposition: form-data; name="file"; filename="{name}"'
        return b"--b\r\n" + disposition.encode() + b"\r\n\r\n" + content + b"\r\n"

    body = part("..", _image()) + part("a.dcm", _image()) + b"--b--\r\n"
    answer = program().generic(
        "POST", URL, body, content_type="multipart/form-data; boundary=b"
    )
    assert answer.status_code == 202
    named = [(file["name"], file["outcome"]) for file in answer.json()["files"]]
    assert named == [("unnamed", "stored"), ("a.dcm", "stored")]


def test_the_error_names_an_unknown_model() -> None:
    answer = _send(program(), _image(), model="no-such-model")
    assert answer.status_code == 400
    assert answer.json()["reason_code"] == "unknown_model"
    assert "model" in answer.json()["fields"]
    assert not Instance.objects.exists()


@pytest.mark.parametrize("form", [{"patient_id": "1"}, {"file": "text"}])
def test_no_file_and_a_file_sent_as_text_are_400(form: dict[str, str]) -> None:
    answer = program().post(URL, form)
    assert (answer.status_code, answer.json()["reason_code"]) == (400, "no_file")


def test_an_upload_as_json_is_415() -> None:
    answer = program().post(URL, {}, content_type="application/json")
    assert answer.status_code == 415


def test_the_fields_give_a_picture_its_identity() -> None:
    answer = _send(
        program(),
        ("p.png", png()),
        patient_id="MRN-9",
        patient_name="Doe^Jane",
        birth_date="1970-01-31",
        sex="F",
        accession_number="ACC-9",
        priority="stat",
    )
    assert answer.status_code == 202
    patient = Patient.objects.get(pk=answer.json()["files"][0]["patient"])
    assert (patient.patient_id, patient.family_name) == ("MRN-9", "Doe")
    assert patient.studies.get().get_priority_display() == "stat"


@override_settings(MAX_FILE_BYTES=20_000)
def test_a_file_over_the_limit_is_refused_while_its_sibling_is_stored() -> None:
    client = program()
    large = ("large.dcm", b"\0" * 30_000)
    small = ("small.png", png())
    answer = _send(client, large, small)
    assert [file["outcome"] for file in answer.json()["files"]] == ["refused", "stored"]
    alone = _send(client, large)
    assert alone.status_code == 413
    assert alone.json()["files"][0]["reason_code"] == "file_too_large"


@override_settings(DATA_UPLOAD_MAX_NUMBER_FILES=2)
def test_too_many_files_are_413() -> None:
    answer = _send(program(), _image(), _image(), _image())
    assert answer.status_code == 413
    assert answer.json()["reason_code"] == "too_many_files"
    assert not Instance.objects.exists()


def test_a_chunked_request_is_411() -> None:
    answer = program().generic(
        "POST",
        URL,
        b"",
        content_type="multipart/form-data; boundary=x",
        headers={"Transfer-Encoding": "chunked"},
    )
    assert answer.status_code == 411
    assert answer.json()["reason_code"] == "length_required"


@override_settings(MAX_REQUEST_BYTES=1000)
def test_a_request_over_the_limit_is_413_and_leaves_a_nameless_upload() -> None:
    answer = _send(program(), _image())
    assert answer.status_code == 413
    assert answer.json()["reason_code"] == "request_too_large"
    assert Upload.objects.get().original_name == ""


@pytest.mark.parametrize("role", [Role.CLINICIAN, Role.AUDITOR, Role.DATA_SCIENTIST])
def test_roles_that_may_not_upload_are_refused(role: Role) -> None:
    assert _send(program(role), _image()).status_code == 403
    assert not Upload.objects.exists()


@pytest.mark.parametrize(
    "role", [Role.TECHNOLOGIST, Role.RADIOLOGIST, Role.INTEGRATION, Role.ADMIN]
)
def test_an_upload_is_audited_with_its_patient(role: Role) -> None:
    client = program(role)
    answer = _send(client, _image())
    assert answer.status_code == 202
    event = AuditEvent.objects.get(action="upload")
    assert (event.actor_uuid, event.source) == (client.user.pk, "rest")
    subjects = event.subjects.values_list("patient_uuid", flat=True)
    assert [str(key) for key in subjects] == [answer.json()["files"][0]["patient"]]


def test_a_duplicate_of_another_department_returns_no_ids() -> None:
    image = _image()
    _send(program(), image)
    emergency = DepartmentFactory(code="emergency")
    stranger = UserFactory(
        role=Role.TECHNOLOGIST, departments=[emergency], primary_department=emergency
    )
    client = program(user=stranger)
    (file,) = _send(client, image).json()["files"]
    assert file["outcome"] == "duplicate"
    assert file["instance"] is file["patient"] is None
    assert file["predictions"] == []
    (row,) = client.get(URL).json()["results"]
    one = client.get(f"{URL}{row['id']}/").json()
    assert row == one
    assert (row["outcome"], row["original_name"]) == ("duplicate", "image.dcm")
    assert row["instance"] is row["study"] is row["patient"] is None
    known = f"{URL}?instance={Instance.objects.get().pk}"
    assert client.get(known).json()["results"] == []


def test_a_browser_session_needs_the_csrf_token() -> None:
    client = person(Role.TECHNOLOGIST)
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = client.cookies
    answer = _send(strict, _image())
    assert answer.status_code == 403
    assert not Instance.objects.exists()


def test_a_temporary_fault_is_503_with_the_results_so_far(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = uploads.ingest_instance

    def faulty(file: Any, **arguments: Any) -> Any:
        if arguments["name"] == "second.dcm":
            raise Unavailable("The decoder is busy.", retry_after=7)
        return real(file, **arguments)

    monkeypatch.setattr(uploads, "ingest_instance", faulty)
    answer = _send(program(), ("first.dcm", _image()), ("second.dcm", _image()))
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "7"
    assert [file["outcome"] for file in answer.json()["files"]] == ["stored"]


def test_an_upload_that_cannot_be_audited_is_not_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = program()

    def broken(**arguments: object) -> None:
        raise AuditUnavailable("The audit trail is broken.")

    monkeypatch.setattr("accounts.audit.record", broken)
    assert _send(client, _image()).status_code == 503
    assert not Instance.objects.exists()


def test_uploads_are_visible_to_permitted_users_only() -> None:
    client = program()
    _send(client, _image(), ("bad.png", b""))
    listed = client.get(f"{URL}?outcome=refused").json()["results"]
    assert [row["original_name"] for row in listed] == ["bad.png"]
    one = client.get(f"{URL}{listed[0]['id']}/").json()
    assert one["reason_code"] == "empty_file"
    assert "submitted_identity" not in one
    assert one["door"] == one["source"] == "rest"
    assert client.get(f"{URL}?door=web").json()["results"] == []
    elsewhere = UserFactory(departments=[DepartmentFactory(code="emergency")])
    stranger = program(user=elsewhere)
    assert stranger.get(URL).json()["results"] == []
    assert stranger.get(f"{URL}{listed[0]['id']}/").status_code == 404
    assert stranger.get(f"{URL}{uuid.uuid4()}/").status_code == 404


def test_an_image_that_differs_from_the_record_is_answered_with_both_values() -> None:
    client = program()
    _send(client, image_bytes(PatientSex="M"))
    answer = _send(client, image_bytes(PatientSex="F", pixels=grey_pixels(1)))
    (file,) = answer.json()["files"]
    assert file["flags"] == ["demographics_mismatch"]
    differs = {"attribute": "sex", "received": "F", "recorded": "M"}
    assert file["discrepancies"] == [differs]
    study = client.get(reverse("study-detail", args=[file["study"]])).json()
    assert study["discrepancies"] == [differs]
