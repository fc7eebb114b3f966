"""One image through every source, and real images as users send them."""

import hashlib
from pathlib import Path
from typing import Any

import pydicom
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.test import Client
from pydicom.uid import JPEG2000Lossless, RLELossless

from accounts.models import Role
from patients import storage
from patients.models import Instance, Upload
from tests.clients import person, program
from tests.dicom_factory import encoded, grey_pixels, image, image_bytes, png, written
from tests.patients.sending import send

pytestmark = pytest.mark.django_db
Outcome = Upload.Outcome


def post(client: Client, url: str, *files: tuple[str, bytes], **fields: str) -> Any:
    parts = [SimpleUploadedFile(name, content) for name, content in files]
    return client.post(url, {"file": parts, **fields})


def test_one_image_by_web_rest_and_folder_is_one_instance(
    tmp_path: Path,
) -> None:
    dataset = image()
    content = written(dataset)
    web = post(person(Role.TECHNOLOGIST), "/upload/", ("a.dcm", content))
    assert web.status_code == 200
    rest = post(program(), "/api/v1/uploads/", ("b.dcm", content))
    assert rest.status_code == 202
    (tmp_path / "c.dcm").write_bytes(content)
    call_command("import_studies", str(tmp_path))
    compressed = encoded(dataset, JPEG2000Lossless)
    again = post(program(), "/api/v1/uploads/", ("d.dcm", compressed))
    assert again.status_code == 202

    instance = Instance.objects.get()
    uploads = instance.uploads.order_by("created_at")
    assert [upload.source for upload in uploads] == ["web", "rest", "folder", "rest"]
    assert [upload.outcome for upload in uploads] == ["stored", *["duplicate"] * 3]
    assert again.json()["files"][0]["instance"] == str(instance.pk)


def test_an_upload_by_form_is_stored_byte_for_byte() -> None:
    pixels = grey_pixels(3, rows=1200, columns=900)  # over 2 MB: Django's own limit
    content = image_bytes(pixels=pixels)
    post(program(), "/api/v1/uploads/", ("a.dcm", content))
    with storage.open_object(Instance.objects.get()) as stored:
        digest = hashlib.sha256(stored.read()).hexdigest()
    assert digest == hashlib.sha256(content).hexdigest()
    assert Upload.objects.get().sha256 == digest


def test_one_file_over_the_limit_does_not_stop_its_siblings(settings: Any) -> None:
    settings.MAX_FILE_BYTES = 50_000
    big = image_bytes(pixels=grey_pixels(rows=300, columns=300))
    answer = post(
        program(), "/api/v1/uploads/", ("big.dcm", big), ("small.dcm", image_bytes())
    )
    assert answer.status_code == 202
    outcomes = [(f["outcome"], f["reason_code"]) for f in answer.json()["files"]]
    assert outcomes == [("refused", "file_too_large"), ("stored", "")]


def test_the_same_image_twice_in_one_request_is_one_instance() -> None:
    content = image_bytes()
    answer = post(program(), "/api/v1/uploads/", ("a.dcm", content), ("b.dcm", content))
    outcomes = [f["outcome"] for f in answer.json()["files"]]
    assert outcomes == ["stored", "duplicate"]


def test_a_conflict_is_409_and_names_visible_objects_only() -> None:
    client = program()
    post(client, "/api/v1/uploads/", ("a.dcm", image_bytes(SOPInstanceUID="1.2.3")))
    other = image_bytes(SOPInstanceUID="1.2.3", Modality="CT")
    answer = post(client, "/api/v1/uploads/", ("b.dcm", other))
    assert answer.status_code == 409
    assert answer.json()["files"][0]["reason_code"] == "conflict_header"


def test_a_picture_from_two_sources_is_one_instance() -> None:
    identity = {"patient_id": "77", "accession_number": "A-1"}
    post(program(), "/api/v1/uploads/", ("a.png", png()), **identity)
    result = send(png(), name="other.png", source=Upload.Source.FOLDER, **identity)
    assert result.outcome == Outcome.DUPLICATE


@pytest.mark.slow
def test_real_images_are_stored_and_recognised_again(chestx_data: Path) -> None:
    for path in sorted((chestx_data / "samples" / "dicom").iterdir()):
        conflict = path.name in ("dx_udacity_test4.dcm", "dx_udacity_test5.dcm")
        content = path.read_bytes()
        first, second = (send(content, name=path.name) for _ in range(2))
        if conflict:
            codes = (first.reason_code, second.reason_code)
            assert codes == ("conflict_header", "conflict_header"), path.name
        else:
            outcomes = (first.outcome, second.outcome)
            assert outcomes == (Outcome.STORED, Outcome.DUPLICATE), path.name


@pytest.mark.slow
def test_a_real_image_in_other_lossless_forms_is_the_same(chestx_data: Path) -> None:
    samples = chestx_data / "samples" / "dicom"
    for name in (
        "cr_chest_pa_fuji_monochrome1_10bit.dcm",
        "cr_chest_pa_monochrome1_16bit_jpeg2000.dcm",
        "dx_udacity_test1.dcm",
    ):
        send((samples / name).read_bytes())
        dataset = pydicom.dcmread(samples / name)
        if dataset.file_meta.TransferSyntaxUID.is_compressed:
            dataset.decompress(generate_instance_uid=False)
        for content in (written(dataset), encoded(dataset, RLELossless)):
            assert send(content).outcome == Outcome.DUPLICATE, name
