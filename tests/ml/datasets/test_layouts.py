"""Published layouts of data sets: rows, patients, splits, refusals."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml.datasets.manifest import ManifestRow, hold_out, select_images, with_split
from ml.datasets.read import LAYOUTS, read_dataset
from ml.errors import TrainingError
from tests.ml.image_factory import dataset_of, encoded, file_of, write_manifest

IMAGE = encoded(np.full((8, 8), 90, np.uint8), ".png")
NIH_COLUMNS = [
    "Image Index",
    "Finding Labels",
    "Follow-up #",
    "Patient ID",
    "Patient Age",
    "Patient Gender",
    "View Position",
    # As in the published file, where a comma inside the brackets parts the columns.
    "OriginalImage[Width",
    "Height]",
    "OriginalImagePixelSpacing[x",
    "y]",
    "",
]
NIH_IMAGES = [
    ("00000001_000.png", "Cardiomegaly|Emphysema", "1", "058Y", "M", "PA"),
    ("00000001_001.png", "No Finding", "1", "058Y", "M", "AP"),
    ("00000002_000.png", "No Finding", "2", "81", "F", "PA"),
    ("00000013_000.png", "Hernia", "13", "414", "F", "PA"),
]


def write(path: Path, content: bytes = IMAGE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def write_nih(root: Path, *, sex_column: str = "Patient Gender") -> Path:
    """Write four images in two of the twelve parts, with the table and the lists."""
    columns = [sex_column if c == "Patient Gender" else c for c in NIH_COLUMNS]
    with (root / "Data_Entry_2017.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(columns)
        for name, labels, patient, age, sex, view in NIH_IMAGES:
            size = [2682, 2749, 0.143, 0.143, ""]
            writer.writerow([name, labels, 0, patient, age, sex, view, *size])
    for number, (name, *_) in enumerate(NIH_IMAGES):
        write(root / f"images_00{1 + number // 2}" / "images" / name)
    (root / "train_val_list.txt").write_text("00000001_000.png\n00000001_001.png\n")
    (root / "test_list.txt").write_text("00000002_000.png\n00000013_000.png\n")
    return root


def by_path(rows: list[ManifestRow]) -> dict[str, ManifestRow]:
    return {row.path: row for row in rows}


def test_chest_xray14_is_read_with_its_lists(tmp_path: Path) -> None:
    rows = read_dataset(write_nih(tmp_path))
    assert [row.path for row in rows] == [
        f"images_00{1 + n // 2}/images/{image[0]}" for n, image in enumerate(NIH_IMAGES)
    ]
    first, second, third, last = rows
    assert first.labels == ("Cardiomegaly", "Emphysema")
    assert (first.patient, first.view, first.sex) == ("nih-1", "PA", "M")
    assert (first.dataset, first.age_years) == ("nih", 58.0)
    assert second.view == "AP"
    assert (third.sex, third.age_years) == ("F", 81.0)
    assert last.age_years is None
    assert first.split == second.split
    assert first.split in ("train", "val")
    assert (third.split, last.split) == ("test", "test")


def test_the_newer_table_and_one_folder_of_images_are_read(tmp_path: Path) -> None:
    write_nih(tmp_path, sex_column="Patient Sex")
    (tmp_path / "Data_Entry_2017.csv").rename(tmp_path / "Data_Entry_2017_v2020.csv")
    for image in tmp_path.glob("images_*/images/*.png"):
        write(tmp_path / "images" / image.name)
        image.unlink()
    rows = read_dataset(tmp_path)
    assert {row.path.split("/")[0] for row in rows} == {"images"}
    assert {row.sex for row in rows} == {"M", "F"}


def test_missing_parts_of_chest_xray14_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_nih(tmp_path)
    for image in (tmp_path / "images_002" / "images").iterdir():
        image.unlink()
    with caplog.at_level(logging.WARNING):
        assert len(read_dataset(tmp_path)) == 2
    assert "2 of 4 images" in caplog.text
    for image in (tmp_path / "images_001" / "images").iterdir():
        image.unlink()
    with pytest.raises(TrainingError, match="None of the images"):
        read_dataset(tmp_path)


def test_an_image_in_no_official_list_is_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_nih(tmp_path)
    (tmp_path / "test_list.txt").unlink()
    with caplog.at_level(logging.WARNING):
        rows = read_dataset(tmp_path)
    assert {row.patient for row in rows} == {"nih-1"}
    assert "Skipped 2 images of Data_Entry_2017.csv" in caplog.text
    assert "in no official list" in caplog.text


def test_the_official_test_list_without_that_of_training_is_refused(
    tmp_path: Path,
) -> None:
    (write_nih(tmp_path) / "train_val_list.txt").unlink()
    with pytest.raises(TrainingError, match="list of training images"):
        read_dataset(tmp_path)


def test_a_patient_in_both_official_lists_is_refused_by_name(tmp_path: Path) -> None:
    write_nih(tmp_path)
    (tmp_path / "train_val_list.txt").write_text("00000001_000.png\n")
    (tmp_path / "test_list.txt").write_text("00000001_001.png\n")
    with pytest.raises(TrainingError, match=r"^1 patients .*: nih-1\.") as caught:
        read_dataset(tmp_path)
    assert caught.value.reason_code == "patients_shared"
    (tmp_path / "test_list.txt").write_text("00000001_000.png\n")
    with pytest.raises(TrainingError, match="both lists"):
        read_dataset(tmp_path)


def write_kermany(root: Path) -> Path:
    for split, kind, name in (
        ("train", "NORMAL", "IM-0115-0001"),
        ("train", "NORMAL", "NORMAL2-IM-0385-0001"),
        ("train", "PNEUMONIA", "person123_bacteria_4"),
        ("train", "PNEUMONIA", "person123_bacteria_5"),
        ("train", "PNEUMONIA", "person100_virus_184"),
        ("val", "PNEUMONIA", "person1946_bacteria_4874"),
        ("test", "PNEUMONIA", "person100_bacteria_475"),
        ("test", "NORMAL", "IM-0001-0001"),
    ):
        write(root / split / kind / f"{name}.jpeg")
    # What the archive carries beside its images.
    write(root / "__MACOSX" / "train" / "._IM-0115-0001.jpeg")
    write(root / "train" / "NORMAL" / ".DS_Store", b"x")
    return root


def test_kermany_folders_give_patient_and_label(tmp_path: Path) -> None:
    rows = by_path(read_dataset(write_kermany(tmp_path)))
    assert len(rows) == 8
    bacterial = rows["train/PNEUMONIA/person123_bacteria_4.jpeg"]
    assert bacterial.labels == ("Pneumonia", "Bacterial pneumonia")
    assert (bacterial.dataset, bacterial.view) == ("kermany", "AP")
    again = rows["train/PNEUMONIA/person123_bacteria_5.jpeg"]
    assert again.patient == bacterial.patient == "kermany-person123-bacteria"
    viral = rows["train/PNEUMONIA/person100_virus_184.jpeg"]
    assert viral.labels == ("Pneumonia", "Viral pneumonia")
    assert {row.patient for row in rows.values() if row.labels == ("Normal",)} == {
        "kermany-IM-0115",
        "kermany-NORMAL2-IM-0385",
        "kermany-IM-0001",
    }
    assert {path: row.split for path, row in rows.items()} == {
        path: path.split("/")[0] for path in rows
    }


def test_generic_file_names_are_not_taken_for_kermany(tmp_path: Path) -> None:
    for kind in ("glioma", "notumor"):
        write(tmp_path / "train" / kind / "IM-0001-0001.jpeg")
    rows = read_dataset(tmp_path)
    assert {row.dataset for row in rows} == {"brain-mri"}
    assert len({row.patient for row in rows}) == 2


def test_the_top_folder_of_the_archive_is_searched(tmp_path: Path) -> None:
    write_kermany(tmp_path / "chest_xray")
    assert all(row.path.startswith("chest_xray/") for row in read_dataset(tmp_path))


def test_names_of_the_original_publication_are_read(tmp_path: Path) -> None:
    for kind, name in (
        ("PNEUMONIA", "BACTERIA-1008087-0001"),
        ("PNEUMONIA", "VIRUS-1008087-0001"),
        ("NORMAL", "NORMAL-1003233-0002"),
    ):
        write(tmp_path / "train" / kind / f"{name}.jpeg")
    rows = {row.patient: row.labels for row in read_dataset(tmp_path)}
    assert rows == {
        "kermany-bacteria-1008087": ("Pneumonia", "Bacterial pneumonia"),
        "kermany-virus-1008087": ("Pneumonia", "Viral pneumonia"),
        "kermany-normal-1003233": ("Normal",),
    }


def test_patients_in_two_splits_are_refused_by_name(tmp_path: Path) -> None:
    for number in range(7):
        for split, image in (("train", 1), ("test", 2)):
            name = f"person{number}_bacteria_{image}.jpeg"
            write(tmp_path / split / "PNEUMONIA" / name)
    with pytest.raises(TrainingError, match=r"^7 patients") as caught:
        read_dataset(tmp_path)
    assert caught.value.message.count("kermany-person") == 5
    assert caught.value.reason_code == "patients_shared"


@pytest.mark.parametrize(
    ("folders", "dataset", "labels"),
    [
        (
            ("train/Covid-19", "train/Emphysema", "val/Pneumonia-Viral"),
            "",
            {("COVID-19",), ("Emphysema",), ("Pneumonia", "Viral pneumonia")},
        ),
        (("Normal", "Tuberculosis"), "tb", {("Normal",), ("Tuberculosis",)}),
        (
            ("Training/glioma", "Training/notumor", "Testing/pituitary"),
            "brain-mri",
            {("Glioma",), ("No tumour",), ("Pituitary tumour",)},
        ),
        (
            ("Training/meningioma_tumor", "Testing/no_tumor"),
            "brain-mri",
            {("Meningioma",), ("No tumour",)},
        ),
        (("Fractures", "Normal"), "", {("Fractures",), ("Normal",)}),
    ],
)
def test_folder_names_become_model_labels(
    tmp_path: Path, folders: tuple[str, ...], dataset: str, labels: set[tuple[str]]
) -> None:
    for folder in folders:
        write(tmp_path / folder / "1.jpg")
    rows = read_dataset(tmp_path)
    assert {row.labels for row in rows} == labels
    assert {row.dataset for row in rows} == {dataset or tmp_path.name}
    # Nobody says who they are: each image is a patient of its own.
    assert len({row.patient for row in rows}) == len(folders)
    wanted = {"Testing": "test", "val": "val"}
    for row in rows:
        top = row.path.split("/")[0]
        assert row.split in {wanted.get(top, "train"), "val"} - {"test"} or (
            row.split == wanted[top]
        )


def test_without_a_val_split_the_same_patients_are_always_held_out(
    tmp_path: Path,
) -> None:
    for number in range(150):
        for image in range(2):
            name = f"person{number}_virus_{2 * number + image}.jpeg"
            write(tmp_path / "train" / "PNEUMONIA" / name)
    rows = read_dataset(tmp_path)
    val = {row.patient for row in with_split(rows, "val")}
    train = {row.patient for row in with_split(rows, "train")}
    assert 5 <= len(val) <= 27
    assert len(val | train) == 150
    assert not val & train
    # Drawn independently of those that a run holds out for calibration.
    images = select_images(with_split(rows, "train"), ["Viral pneumonia"]).images
    _, aside = hold_out(images, percent=8)
    assert 2 <= len({image.row.patient for image in aside}) <= 25
    write(tmp_path / "train" / "PNEUMONIA" / "person900_virus_1.jpeg")
    more = read_dataset(tmp_path)
    assert {row.patient for row in with_split(more, "val")} >= val


def dicom_file(path: Path, **attributes: Any) -> str:
    """Write a small DX image; return its SOP Instance UID."""
    ds = dataset_of(np.zeros((4, 4), np.uint16), **attributes)
    write(path, file_of(ds))
    return str(ds.SOPInstanceUID)


def test_dicom_files_are_labelled_by_path(tmp_path: Path) -> None:
    dicom_file(
        tmp_path / "a" / "1.dcm",
        PatientID="P1",
        PatientSex="F",
        PatientAge="018M",
        ViewPosition="AP",
    )
    dicom_file(
        tmp_path / "2",
        PatientID="P2",
        PatientSex="M",
        PatientBirthDate="19500301",
        StudyDate="20200301",
    )
    table = write_manifest(
        tmp_path / "labels.csv",
        [
            {"Path": "a/1.dcm", "Labels": "Effusion|Edema", "Split": "train"},
            {"Path": "2", "Labels": "No Finding", "Split": "val"},
        ],
    )
    for rows in (
        read_dataset(tmp_path),
        read_dataset(tmp_path, layout="dicom", labels_csv=table),
        read_dataset(table),
    ):
        first, second = rows
        assert first.labels == ("Effusion", "Edema")
        assert (first.patient, first.view, first.sex) == ("P1", "AP", "F")
        assert (first.age_years, first.split) == (1.5, "train")
        assert second.age_years == pytest.approx(70, abs=0.02)
        assert (second.view, second.split, second.path) == ("PA", "val", "2")


def test_dicom_files_are_labelled_by_uid(tmp_path: Path) -> None:
    # Without an identifier the images of a study are of one patient.
    study = {"StudyInstanceUID": "1.2.3"}
    uids = [dicom_file(tmp_path / f"{n}.dcm", **study) for n in range(2)]
    dicom_file(tmp_path / "unlabelled.dcm")
    elsewhere = tmp_path.parent / f"{tmp_path.name}.csv"
    write_manifest(
        elsewhere, [{"SOPInstanceUID": uid, "label": "Normal"} for uid in uids]
    )
    rows = read_dataset(tmp_path, labels_csv=elsewhere)
    assert [row.path for row in rows] == ["0.dcm", "1.dcm"]
    assert {row.patient for row in rows} == {"1.2.3"}
    assert len({row.split for row in rows}) == 1


def test_a_dicom_table_that_does_not_match_is_refused(tmp_path: Path) -> None:
    uid = dicom_file(tmp_path / "1.dcm", PatientID="P1")
    table = tmp_path / "labels.csv"

    def refused(rows: list[dict[str, str]], match: str) -> None:
        write_manifest(table, rows)
        with pytest.raises(TrainingError, match=match):
            read_dataset(tmp_path, layout="dicom")

    refused([{"SOPInstanceUID": uid}], "has no table")
    refused(
        [{"SOPInstanceUID": n, "labels": "Normal"} for n in (uid, "1.9", "1.8")],
        r"2 images .*1\.9, 1\.8",
    )
    refused([{"path": "1.dcm", "labels": "Normal"}] * 2, r"twice: 1\.dcm")
    dicom_file(tmp_path.parent / "elsewhere.dcm", PatientID="P2")
    refused(
        [{"path": str(tmp_path.parent / "elsewhere.dcm"), "labels": "Normal"}],
        "is not in",
    )
    write(tmp_path / "2.dcm", b"no DICOM")
    refused(
        [{"path": path, "labels": "Normal"} for path in ("1.dcm", "2.dcm")],
        r"2\.dcm cannot be read",
    )


def test_a_manifest_is_found_in_its_folder(tmp_path: Path) -> None:
    images = [{"path": "a.png", "labels": "Normal", "split": "val"}]
    path = write_manifest(tmp_path / "manifest.csv", images)
    # Spreadsheets put a mark before the first column's name.
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    for rows in (read_dataset(tmp_path), read_dataset(path)):
        assert [(row.path, row.split) for row in rows] == [("a.png", "val")]


def test_folders_without_a_known_layout_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no known layout"):
        read_dataset(tmp_path)
    with pytest.raises(TrainingError, match=", ".join(LAYOUTS)):
        read_dataset(tmp_path, layout="other")
    with pytest.raises(TrainingError, match="folder names are the labels"):
        read_dataset(tmp_path, layout="folders", labels_csv=tmp_path / "x.csv")
    with pytest.raises(TrainingError, match="is not a folder"):
        read_dataset(tmp_path / "none")


def test_renamed_official_lists_are_read(tmp_path: Path) -> None:
    root = write_nih(tmp_path)
    for name in ("train_val_list", "test_list"):
        (root / f"{name}.txt").rename(root / f"{name}_NIH.txt")
    assert [row.split for row in read_dataset(root)].count("test") == 2


def test_images_with_a_suffix_in_capitals_are_found(tmp_path: Path) -> None:
    root = write_nih(tmp_path)
    for image in root.rglob("*.png"):
        image.rename(image.with_suffix(".PNG"))
    assert len(read_dataset(root)) == len(NIH_IMAGES)


@pytest.mark.parametrize("labels", ["Emphysema", "Cardiomegaly|Emphysema"])
def test_an_image_named_twice_needs_the_same_labels(
    tmp_path: Path, labels: str
) -> None:
    root = write_nih(tmp_path)
    table = root / "Data_Entry_2017.csv"
    again = f"00000001_000.png,{labels},0,1,058Y,M,PA,2682,2749,0.143,0.143,\n"
    table.write_text(table.read_text() + again)
    if labels == NIH_IMAGES[0][1]:
        assert len(read_dataset(root)) == len(NIH_IMAGES)
        return
    with pytest.raises(TrainingError, match=r"00000001_000\.png twice"):
        read_dataset(root)


def test_masks_beside_images_are_not_read_as_images(tmp_path: Path) -> None:
    for name in ("COVID", "Normal"):
        write(tmp_path / name / "images" / "1.png")
        write(tmp_path / name / "masks" / "1.png")
    rows = read_dataset(tmp_path)
    assert [row.path for row in rows] == ["COVID/images/1.png", "Normal/images/1.png"]


@pytest.mark.parametrize("folder", ["lung masks", "masks", "ManualMask", "mask"])
def test_a_folder_of_masks_is_no_class(tmp_path: Path, folder: str) -> None:
    for name in ("COVID", "Normal", folder):
        write(tmp_path / name / "1.png")
    assert {row.path for row in read_dataset(tmp_path)} == {
        "COVID/1.png",
        "Normal/1.png",
    }


def test_a_file_of_a_mask_beside_its_image_is_no_image(tmp_path: Path) -> None:
    for name in ("CHNCXR_0001_0.png", "CHNCXR_0001_0_mask.png"):
        write(tmp_path / "Normal" / name)
        write(tmp_path / "Tuberculosis" / name)
    assert len(read_dataset(tmp_path)) == 2


def test_a_folder_of_images_is_found_in_capitals(tmp_path: Path) -> None:
    for name in ("COVID", "Normal"):
        write(tmp_path / name / "Images" / "1.PNG")
    assert len(read_dataset(tmp_path)) == 2


def test_chest_xray14_without_official_lists_is_read_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_nih(tmp_path)
    for name in ("train_val_list.txt", "test_list.txt"):
        (root / name).rename(root / f"my_{name}")
    with caplog.at_level(logging.WARNING):
        assert len(read_dataset(root)) == len(NIH_IMAGES)
    assert "No official list of images was found" in caplog.text


def test_names_in_the_official_lists_are_compared_without_case(tmp_path: Path) -> None:
    root = write_nih(tmp_path)
    for name in ("train_val_list.txt", "test_list.txt"):
        (root / name).write_text((root / name).read_text().upper())
    splits = [row.split for row in read_dataset(root)]
    assert splits.count("test") == 2
    assert len(splits) == len(NIH_IMAGES)


def test_an_image_named_twice_in_a_manifest_needs_the_same_labels(
    tmp_path: Path,
) -> None:
    manifest = tmp_path / "manifest.csv"
    write(tmp_path / "1.png")
    manifest.write_text("path,labels\n1.png,A|B\n1.png,B|A\n")
    assert len(read_dataset(tmp_path)) == 1
    manifest.write_text("path,labels\n1.png,A\n1.png,B\n")
    with pytest.raises(TrainingError, match=r"1\.png is listed twice"):
        read_dataset(tmp_path)
