"""What of a folder is imported, and what is said about the rest."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from patients.folders import contents as folders
from patients.folders.contents import look_below
from tests.dicom_factory import image_bytes


def media_directory() -> bytes:
    """Return a DICOMDIR that lists nothing."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.FileSetID = "DISC"
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def below(folder: Path) -> dict[str, str]:
    """Return what is said about each name that is no image."""
    contents = look_below(folder)
    said = [*contents.passed_over, *contents.unreadable]
    return {str(path.relative_to(folder)): str(reason) for path, reason in said}


def test_images_are_found_at_every_level_in_order(tmp_path: Path) -> None:
    for name in ("b.dcm", "a/c.png", "a/no extension"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(image_bytes())
    names = [str(path.relative_to(tmp_path)) for path in look_below(tmp_path).files]
    assert names == ["a/c.png", "a/no extension", "b.dcm"]
    assert below(tmp_path) == {}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("._film.dcm", folders.SYSTEM_FILE),
        (".DS_Store", folders.SYSTEM_FILE),
        ("Thumbs.db", folders.SYSTEM_FILE),
        ("desktop.ini", folders.SYSTEM_FILE),
        (".film.dcm", folders.HIDDEN),
        ("DICOMDIR", folders.MEDIA_DIRECTORY),
        ("dicomdir", folders.MEDIA_DIRECTORY),
        ("DICOMDIR;1", folders.MEDIA_DIRECTORY),
    ],
)
def test_a_file_that_is_no_image_by_its_name_is_passed_over_with_a_line(
    tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / name).write_bytes(b"x")
    assert look_below(tmp_path).files == []
    assert below(tmp_path) == {f"deep/{name}": str(reason)}


def test_a_media_directory_is_known_by_its_sop_class(tmp_path: Path) -> None:
    (tmp_path / "index.dcm").write_bytes(media_directory())
    assert below(tmp_path) == {"index.dcm": str(folders.MEDIA_DIRECTORY)}


def test_an_image_is_imported_though_its_name_is_that_of_a_media_directory(
    tmp_path: Path,
) -> None:
    (tmp_path / "DICOMDIR").write_bytes(image_bytes())
    assert look_below(tmp_path).files == [tmp_path / "DICOMDIR"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [(".git", folders.HIDDEN_FOLDER), ("__MACOSX", folders.SYSTEM_FOLDER)],
)
def test_a_folder_that_is_not_entered_has_a_line(
    tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "a.dcm").write_bytes(image_bytes())
    assert look_below(tmp_path).files == []
    assert below(tmp_path) == {name: str(reason)}


def test_links_to_files_are_followed_and_links_to_folders_are_not(
    tmp_path: Path,
) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "folder"
    elsewhere.mkdir()
    folder.mkdir()
    (elsewhere / "a.dcm").write_bytes(image_bytes())
    (folder / "link.dcm").symlink_to(elsewhere / "a.dcm")
    (folder / "loop").symlink_to(folder)
    assert look_below(folder).files == [folder / "link.dcm"]
    assert below(folder) == {"loop": str(folders.LINKED_FOLDER)}


@pytest.mark.parametrize(
    ("target", "detail"),
    [("nowhere", "No such file or directory"), ("link", "Too many levels of symbolic")],
)
def test_a_link_that_leads_nowhere_cannot_be_read(
    tmp_path: Path, target: str, detail: str
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / target)
    assert look_below(tmp_path).files == []
    assert f"The file cannot be read: {detail}" in below(tmp_path)["link"]


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert below(tmp_path) == {"pipe": str(folders.NO_FILE)}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_and_a_folder_without_permission_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(image_bytes())
    (tmp_path / "a.dcm").chmod(0)
    (tmp_path / "closed").mkdir(mode=0)
    assert set(below(tmp_path)) == {"a.dcm", "closed"}


def test_the_manifest_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path\n")
    contents = look_below(tmp_path, manifest=tmp_path / "manifest.csv")
    assert contents.files == []
    assert contents.passed_over == []
