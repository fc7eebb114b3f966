"""The folder source: a whole folder, resumable, with a manifest of patients."""

import bz2
import gzip
import lzma
import os
import tarfile
import zipfile
from collections.abc import Callable
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import IO, Any

import pytest
from django.core.management import CommandError, call_command

from accounts.errors import InvalidInput, Unavailable
from accounts.models import Role
from patients import importing
from patients.importing import read_manifest
from patients.models import Instance, Patient, Study, Upload
from patients.resolutions import discard, keep_stored
from patients.signals import instance_stored
from tests.dicom_factory import grey_pixels, image_bytes, png
from tests.factories import DepartmentFactory, UserFactory

Outcome = Upload.Outcome


def import_studies(folder: Path, capsys: pytest.CaptureFixture, **options: Any) -> str:
    """Run the command; a CommandError's sentence is the last line."""
    try:
        call_command("import_studies", str(folder), **options)
    except CommandError as error:
        return f"{capsys.readouterr().out}{error}"
    return capsys.readouterr().out


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder of two images, one of them a level deeper."""
    images = tmp_path / "images"
    (images / "deep").mkdir(parents=True)
    (images / "a.dcm").write_bytes(image_bytes())
    (images / "deep" / "b.dcm").write_bytes(image_bytes(pixels=grey_pixels(1)))
    return images


@pytest.mark.django_db
def test_what_is_passed_over_has_a_line_and_is_no_failure(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    for name in ("._a.dcm", ".DS_Store", "DICOMDIR", "Thumbs.db"):
        (folder / name).write_bytes(b"x")
    output = import_studies(folder, capsys)
    assert "DICOMDIR: passed over: the directory of DICOM media" in output
    assert "._a.dcm: passed over: a file of the operating system" in output
    assert "2 stored" in output
    assert "not accepted" not in output
    assert Upload.objects.count() == 2


@pytest.mark.django_db
def test_a_file_that_cannot_be_read_fails_the_import(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    (folder / "link.dcm").symlink_to("nowhere")
    output = import_studies(folder, capsys)
    assert "link.dcm: The file cannot be read: No such file" in output
    assert "1 not imported now" in output
    assert output.endswith("1 of 3 files were not accepted.")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("write", "name"),
    [
        (lambda out: zipfile.ZipFile(out, "w").close(), "ZIP"),
        (lambda out: tarfile.open(fileobj=out, mode="w").close(), "tar"),
        (lambda out: out.write(gzip.compress(image_bytes())), "gzip"),
        (lambda out: out.write(bz2.compress(image_bytes())), "bzip2"),
        (lambda out: out.write(lzma.compress(image_bytes())), "xz"),
        (lambda out: out.write(b"7z\xbc\xaf\x27\x1c\0\4"), "7z"),
        (lambda out: out.write(b"Rar!\x1a\x07\1\0"), "RAR"),
        (lambda out: out.write(b"\x28\xb5\x2f\xfd"), "Zstandard"),
        (lambda out: out.write(bytes(32769) + b"CD001\1\0"), "ISO"),
    ],
)
def test_an_archive_is_refused_by_name_with_what_to_do(
    folder: Path,
    capsys: pytest.CaptureFixture,
    write: Callable[[IO[bytes]], object],
    name: str,
) -> None:
    with (folder / "disc.dcm").open("wb") as out:
        write(out)
        if name == "tar":
            out.seek(0)
            with tarfile.open(fileobj=out, mode="w") as tar:
                tar.add(folder / "a.dcm")
    output = import_studies(folder, capsys)
    assert f"disc.dcm: The file is an archive ({name}). Unpack it" in output
    assert output.endswith("1 of 3 files were not accepted.")
    refused = Upload.objects.get(outcome=Outcome.REFUSED)
    assert refused.reason_message == "not_an_image.archive"


@pytest.mark.django_db
def test_a_folder_is_imported_and_summarised(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    output = import_studies(folder, capsys)
    assert "2 files" in output
    assert "2 stored" in output
    assert Instance.objects.count() == 2
    assert set(Upload.objects.values_list("source", flat=True)) == {"folder"}
    assert set(Upload.objects.values_list("user", flat=True)) == {None}


@pytest.mark.django_db
def test_a_second_import_continues_the_first(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    import_studies(folder, capsys)
    (folder / "c.dcm").write_bytes(image_bytes(pixels=grey_pixels(2)))
    output = import_studies(folder, capsys)
    assert "1 stored" in output
    assert "2 imported by an earlier run" in output
    assert Upload.objects.count() == 3


@pytest.mark.django_db
def test_a_file_with_another_submitted_identity_is_imported_again(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "a.png").write_bytes(png())
    manifest = tmp_path / "manifest.csv"
    for patient_id in ("1", "2"):
        manifest.write_text(f"path,patient_id\na.png,{patient_id}\n")
        import_studies(tmp_path, capsys, patient_from=manifest)
    assert set(Patient.objects.values_list("patient_id", flat=True)) == {"1", "2"}


@pytest.mark.django_db
def test_a_manifest_gives_the_patients_of_images(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.png").write_bytes(png())
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(
        "\ufeffpath,view,patient_id,patient_name,birth_date,sex,priority\n"
        "images/a.png,PA,77,Müller^Jörg,1980-05-06,M,stat\n"
        "images/missing.png,PA,78,,,,\n",
        encoding="utf-8",
    )
    output = import_studies(images, capsys, patient_from=manifest)
    assert "1 of 1 files are in" in output
    patient = Patient.objects.get()
    assert (patient.patient_id, patient.family_name) == ("77", "Müller")
    assert Study.objects.get().get_priority_display() == "stat"


@pytest.mark.django_db
def test_rejected_files_are_named_and_the_import_fails(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    (folder / "notes.txt").write_text("no image")
    (folder / "cut.dcm").write_bytes(image_bytes()[:500])
    output = import_studies(folder, capsys)
    assert "notes.txt: " in output
    assert "cut.dcm: " in output
    assert "2 stored" in output
    assert "2 refused" in output
    assert output.endswith("2 of 4 files were not accepted.")


@pytest.mark.django_db(transaction=True)
def test_an_unforeseen_fault_is_the_refusal_of_one_file(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    def fail(sender: object, instance: Instance, **_: object) -> None:
        if Instance.objects.count() > 1:
            raise LookupError("a fault of ChestX")

    instance_stored.connect(fail, dispatch_uid="tests.fail")
    try:
        output = import_studies(folder, capsys)
    finally:
        instance_stored.disconnect(dispatch_uid="tests.fail")
    assert "1 stored" in output
    error_id = Upload.objects.get(outcome="refused").reason_params["error_id"]
    assert "deep/b.dcm: An internal error occurred" in output
    assert error_id in output


@pytest.mark.django_db
def test_an_undecodable_file_name_is_shown_with_replacement_characters(
    tmp_path: Path,
) -> None:
    (tmp_path / os.fsdecode(b"n\xffte.txt")).write_text("no image")
    out = TextIOWrapper(BytesIO(), encoding="utf-8")
    with pytest.raises(CommandError, match="1 of 1 files"):
        call_command("import_studies", str(tmp_path), stdout=out)
    out.seek(0)
    assert "n\ufffdte.txt: " in out.read()
    assert Upload.objects.get().original_name == "n\ufffdte.txt"


@pytest.fixture
def conflict(tmp_path: Path) -> Path:
    """Give a folder with two objects of one SOP Instance UID."""
    uids = {"SOPInstanceUID": "1.2.3.4", "StudyInstanceUID": "1.2.3.5"}
    (tmp_path / "a.dcm").write_bytes(image_bytes(**uids))
    (tmp_path / "b.dcm").write_bytes(image_bytes(**uids, Modality="CT"))
    return tmp_path


@pytest.mark.django_db
def test_a_second_import_retries_refused_files(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "c.txt").write_text("no image")
    for _ in range(2):
        assert "1 refused" in import_studies(tmp_path, capsys)
    assert Upload.objects.filter(outcome=Outcome.REFUSED).count() == 2


@pytest.mark.django_db
def test_an_earlier_conflict_stays_a_conflict_without_a_new_row(
    conflict: Path, capsys: pytest.CaptureFixture
) -> None:
    assert "1 in conflict with the record" in import_studies(conflict, capsys)
    again = import_studies(conflict, capsys)
    assert "1 imported by an earlier run" in again
    assert "1 in conflict with the record" in again
    assert "b.dcm: An image with the same SOP Instance UID" in again
    assert "An administrator has not decided yet." in again
    assert again.endswith("1 of 2 files were not accepted.")
    assert Upload.objects.filter(outcome=Outcome.CONFLICT).count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("decide", [keep_stored, discard])
def test_a_conflict_that_was_decided_is_no_failure(
    conflict: Path, capsys: pytest.CaptureFixture, decide: Callable[..., None]
) -> None:
    import_studies(conflict, capsys)
    decide(
        Upload.objects.get(outcome=Outcome.CONFLICT),
        actor=UserFactory(role=Role.ADMIN),
    )
    again = import_studies(conflict, capsys)
    assert "1 in conflict at an earlier run; an administrator has decided" in again
    assert "not accepted" not in again
    assert Upload.objects.count() == 2


@pytest.mark.django_db
def test_an_import_has_a_user_and_a_department(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    user = UserFactory(role=Role.TECHNOLOGIST)
    DepartmentFactory(code="emergency")
    import_studies(folder, capsys, user=user.username, department="emergency")
    assert set(Study.objects.values_list("department__code", flat=True)) == {
        "emergency"
    }
    assert set(Upload.objects.values_list("user", flat=True)) == {user.pk}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"user": "nobody"}, "There is no user named nobody."),
        ({"department": "moon"}, "There is no department moon."),
        ({"patient_from": Path("missing.csv")}, "There is no file missing.csv."),
    ],
)
def test_wrong_arguments_end_with_a_message(
    folder: Path, capsys: pytest.CaptureFixture, options: dict[str, Any], sentence: str
) -> None:
    assert sentence in import_studies(folder, capsys, **options)
    assert not Upload.objects.exists()


@pytest.mark.django_db
def test_an_import_needs_the_right_to_upload(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    user = UserFactory(role=Role.CLINICIAN)
    output = import_studies(folder, capsys, user=user.username)
    assert output == f"{user.username} may not upload (Clinician)."


@pytest.mark.django_db
def test_an_import_retries_temporary_faults_a_few_times(
    folder: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []

    def busy(content: object, *, name: str, **_: Any) -> None:
        tries.append(name)
        raise Unavailable("The decoder is busy.", retry_after=0)

    monkeypatch.setattr(importing, "ingest_instance", busy)
    output = import_studies(folder, capsys)
    assert "2 not imported now: run the command again" in output
    assert tries == ["a.dcm"] * 3 + ["b.dcm"] * 3


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("file,patient_id\na,1\n", "has no column named 'path'"),
        ("path,birth_date\na,soon\n", "line 2: Date of birth: Enter a date"),
        ("path\na.dcm\na.dcm\n", "line 3: "),
        ("path,sex,sex\na.dcm,F,M\n", "two columns named 'sex'"),
        ("path\n\x00\n", "is not a CSV"),
        ("", "has no column named 'path'"),
    ],
)
def test_an_invalid_manifest_is_refused_with_its_line_number(
    tmp_path: Path, content: str, sentence: str
) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(content)
    with pytest.raises(InvalidInput, match=sentence) as raised:
        read_manifest(manifest, folder=tmp_path)
    assert raised.value.reason_code == "invalid_manifest"


def test_a_manifest_in_another_encoding_is_refused(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_bytes("path,patient_name\na,Müller\n".encode("latin-1"))
    with pytest.raises(InvalidInput, match="UTF-8"):
        read_manifest(manifest, folder=tmp_path)
