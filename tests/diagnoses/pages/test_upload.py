"""The upload page: one answer for each file, updated when its result arrives."""

from __future__ import annotations

import re

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client, override_settings

from accounts.errors import Unavailable
from accounts.models import AuditEvent, Role
from diagnoses.leases import claim
from diagnoses.models import ModelVersion
from diagnoses.pages.upload import views as uploads
from diagnoses.worker.read import LoadedModels, read_claimed
from patients.models import Instance, Priority, Study, Upload
from tests import dicom_factory
from tests.clients import MODEL_BACKEND, html, person
from tests.factories import DepartmentFactory, UploadFactory, UserFactory

pytestmark = pytest.mark.django_db
ONE_FILE = {"X-One-File": "1"}


@pytest.fixture
def client(chest_model: ModelVersion) -> Client:
    return person(Role.TECHNOLOGIST)


def image_file(name: str = "image.dcm", **attributes: object) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, dicom_factory.image_bytes(**attributes))


def test_a_stored_image_has_a_row_with_a_link_that_polls(
    client: Client,
) -> None:
    answer = client.post("/upload/", {"file": image_file()}, headers=ONE_FILE)
    row = answer.content.decode()

    instance = Instance.objects.get()
    assert row.strip().startswith('<tr data-outcome="stored"')
    assert "DOE, John" in row
    assert f"/studies/{instance.series.study_id}/?image={instance.pk}" in row
    assert "Waiting" in row
    upload = Upload.objects.get()
    assert (upload.source, upload.user) == ("web", client.user)
    assert f'hx-get="/uploads/{upload.pk}/result/?times=1"' in row


def test_the_upload_row_becomes_the_finding_and_is_then_audited(
    client: Client, models: LoadedModels
) -> None:
    client.post("/upload/", {"file": image_file()}, headers=ONE_FILE)
    address = f"/uploads/{Upload.objects.get().pk}/result/"
    views = AuditEvent.objects.filter(action="view")
    seen = views.count()

    waiting = html(client, address)
    assert "delay:1s" in waiting
    assert "DOE" not in waiting
    assert "image=" not in waiting
    assert views.count() == seen

    read_claimed(claim("worker-1")[0], models=models)
    done = html(client, address)

    assert "Analysed" in done
    assert "<b>Bacterial pneumonia flagged by 1 of 1 · highest 0.70</b>" in done
    assert "hx-get" not in done
    assert views.count() == seen + 1


def test_a_duplicate_is_reported_as_already_stored(client: Client) -> None:
    content = dicom_factory.image_bytes()
    for name in ("image.dcm", "image (1).dcm"):
        answer = client.post(
            "/upload/", {"file": SimpleUploadedFile(name, content)}, headers=ONE_FILE
        )

    assert 'data-outcome="duplicate"' in answer.content.decode()
    assert "Already stored" in answer.content.decode()
    assert Instance.objects.count() == 1


def test_a_refused_file_has_a_reason_and_its_siblings_are_stored(
    client: Client,
) -> None:
    files = [
        image_file("whole.dcm"),
        SimpleUploadedFile("cut.png", b"\x89PNG"),
        image_file(),
    ]

    page = client.post("/upload/", {"file": files}).content.decode()

    assert re.findall(r'<tr data-outcome="(\w+)"', page) == [
        "stored",
        "refused",
        "stored",
    ]
    assert "3 of 3 done" in page
    assert "1 refused" in page
    refused = Upload.objects.get(outcome="refused")
    assert refused.reason_text
    assert refused.reason_text in page.replace("&#x27;", "'")
    assert Instance.objects.count() == 2


def test_a_form_that_disagrees_with_the_header_is_told_once_what_to_do(
    client: Client,
) -> None:
    form = {"file": image_file(PatientID="MRN-1"), "patient_id": "MRN-2"}

    row = client.post("/upload/", form, headers=ONE_FILE).content.decode()

    assert "The form and the header of the file disagree: Patient ID." in row
    assert row.count("send the file again") == 1
    assert row.lower().count(" again") == 1


def test_the_form_adds_missing_header_values(client: Client) -> None:
    client.post(
        "/upload/",
        {
            "file": image_file(PatientID=None, PatientName=None),
            "patient_id": "MRN-9",
            "patient_name": "Osei, Ama",
            "accession_number": "A-1",
            "priority": "stat",
        },
    )

    study = Study.objects.get()
    assert study.patient.patient_id == "MRN-9"
    assert study.patient.display_name == "OSEI, Ama"
    assert (study.accession_number, study.priority) == ("A-1", Priority.STAT)


def test_a_temporary_fault_is_503_so_that_the_script_retries(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*args: object, **kwargs: object) -> None:
        raise Unavailable("The decoder is busy.", retry_after=7)

    monkeypatch.setattr(uploads, "take_files", busy)
    answer = client.post("/upload/", {"file": image_file()}, headers=ONE_FILE)

    assert (answer.status_code, answer["Retry-After"]) == (503, "7")


@override_settings(MAX_REQUEST_BYTES=1000)
def test_a_request_over_the_limit_is_413_and_leaves_a_nameless_upload(
    client: Client,
) -> None:
    assert client.post("/upload/", {"file": image_file()}).status_code == 413
    upload = Upload.objects.get()
    assert (upload.original_name, upload.outcome) == ("", "refused")


def test_a_missing_file_and_an_unknown_model_are_errors_on_the_page(
    client: Client,
) -> None:
    assert "No file was sent" in client.post("/upload/").content.decode()
    unknown = {"file": image_file(), "model": "nobody"}
    page = client.post("/upload/", unknown).content.decode()
    assert "There is no active model of this name." in page
    assert not Instance.objects.exists()


def test_a_form_without_the_csrf_token_is_refused() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(UserFactory(role=Role.TECHNOLOGIST), backend=MODEL_BACKEND)

    assert client.post("/upload/", {"file": image_file()}).status_code == 403
    assert not Upload.objects.exists()


def test_roles_that_may_not_upload_get_no_form_and_no_result() -> None:
    clinician = person(Role.CLINICIAN)
    assert clinician.get("/upload/").status_code == 403
    assert clinician.post("/upload/", {"file": image_file()}).status_code == 403
    upload = UploadFactory()
    assert clinician.get(f"/uploads/{upload.pk}/result/").status_code == 403


def test_the_result_of_an_upload_of_another_department_is_404(
    client: Client,
) -> None:
    upload = UploadFactory(
        department__code="elsewhere",
        instance__series__study__department__code="elsewhere",
    )
    assert client.get(f"/uploads/{upload.pk}/result/").status_code == 404


def test_a_form_that_disagrees_with_the_record_names_both_persons_and_is_audited(
    client: Client,
) -> None:
    client.post("/upload/", {"file": image_file(PatientID="MRN-1")})
    patient = Study.objects.get().patient
    form = {
        "file": image_file(PatientID="MRN-1", PatientName=None),
        "patient_name": "Osei, Ama",
    }

    row = client.post("/upload/", form, headers=ONE_FILE).content.decode()

    assert "Osei, Ama" in row
    assert "On record: Doe, John · MRN MRN-1" in row
    event = AuditEvent.objects.order_by("-at").first()
    assert patient.pk in event.subjects.values_list("patient_uuid", flat=True)


def test_a_form_that_disagrees_with_the_file_names_both_persons(
    client: Client,
) -> None:
    form = {
        "file": image_file(PatientID="MRN-1"),
        "patient_id": "MRN-2",
        "patient_name": "Osei, Ama",
    }

    row = client.post("/upload/", form, headers=ONE_FILE).content.decode()

    assert "Sent: Osei, Ama · MRN MRN-2" in row
    assert "In the file: Doe, John · MRN MRN-1" in row


@pytest.mark.parametrize(
    "other",
    [
        {"PatientName": "Roe^Jane"},
        {"PatientSex": "F", "PatientBirthDate": "19700101"},
    ],
)
def test_an_image_that_differs_from_the_record_names_both_persons(
    client: Client, other: dict[str, str]
) -> None:
    known = {"PatientSex": "M", "PatientBirthDate": "19610405"}
    client.post("/upload/", {"file": image_file(**known)})

    row = client.post("/upload/", {"file": image_file(**{**known, **other})})

    text = row.content.decode()
    assert 'class="mismatch"' in text
    assert "Name sent: " in text
    assert "on record: D" in text


def test_what_is_known_of_a_hidden_patient_is_not_named(client: Client) -> None:
    elsewhere = DepartmentFactory(code="elsewhere")
    other = person(
        user=UserFactory(role=Role.TECHNOLOGIST, primary_department=elsewhere)
    )
    image = dicom_factory.image_bytes(PatientID=None, PatientName=None)
    sent = {"patient_id": "MRN-1", "patient_name": "Hidden, Person"}
    other.post("/upload/", {"file": SimpleUploadedFile("a.dcm", image), **sent})

    form = {"file": SimpleUploadedFile("b.dcm", image), "patient_id": "MRN-2"}
    page = client.post("/upload/", form).content.decode()

    assert "Hidden" not in page


def test_a_wrong_field_keeps_what_was_typed_and_has_its_error_beside_it(
    client: Client,
) -> None:
    form = {"file": image_file(), "patient_id": "MRN\\1", "patient_name": "Osei, Ama"}

    page = client.post("/upload/", form).content.decode()

    assert 'value="MRN\\1"' in page
    assert 'value="Osei, Ama"' in page
    beside = re.search(r'data-errors-of="patient_id"[^>]*>([^<]*)<', page)
    assert beside is not None
    assert beside[1].strip()
    other = re.search(r'data-errors-of="patient_name"[^>]*>([^<]*)<', page)
    assert other is not None
    assert not other[1].strip()


def test_what_was_typed_is_gone_after_everything_was_stored(client: Client) -> None:
    form = {
        "file": image_file(PatientID=None, PatientName=None),
        "patient_id": "MRN-9",
        "patient_name": "Osei, Ama",
        "priority": "stat",
    }

    page = client.post("/upload/", form).content.decode()

    assert 'value="MRN-9"' not in page
    assert 'value="Osei, Ama"' not in page
    assert re.search(r'value="routine" checked', page)


def test_the_fields_have_the_limits_of_the_server(client: Client) -> None:
    def refused(name: str, length: int) -> bool:
        form = {"file": image_file(PatientID=None), name: "1" * length}
        page = client.post("/upload/", form).content.decode()
        return f'data-error-of="{name}"' in page

    page = html(client, "/upload/").split('class="upload-fields"')[1]
    limits = dict(re.findall(r'name="(\w+)" value=""\s+maxlength="(\d+)"', page))
    assert set(limits) == {"patient_id", "patient_name", "accession_number"}
    # A name has three groups, each with a limit of its own.
    del limits["patient_name"]
    for name, limit in limits.items():
        assert not refused(name, int(limit))
        assert refused(name, int(limit) + 1)


@pytest.mark.parametrize("address", ["/", "/upload/"])
def test_a_user_without_department_is_warned(address: str) -> None:
    lost = UserFactory(role=Role.TECHNOLOGIST)
    lost.departments.clear()

    assert "You belong to no department" in html(person(user=lost), address)
    other = html(person(Role.TECHNOLOGIST), address)
    assert "You belong to no department" not in other
