"""Manifests, splits by patient, and the image cache."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from ml.datasets.image_cache import pack_images
from ml.datasets.manifest import (
    hold_out,
    read_manifest,
    refuse_shared_patients,
    select_images,
    with_split,
)
from ml.errors import TrainingError
from ml.preprocessing import crop, find_geometry
from tests.ml.image_factory import chest_like, encoded, write_images, write_manifest

NAMES = ["Normal", "Bacterial pneumonia"]


def test_optional_columns_of_a_manifest_may_be_absent(tmp_path: Path) -> None:
    path = write_manifest(
        tmp_path / "m.csv",
        [{"path": "a.png", "labels": "Pneumonia|Bacterial pneumonia"}],
    )
    [row] = read_manifest(path)
    assert row.labels == ("Pneumonia", "Bacterial pneumonia")
    assert row.patient == "a.png"
    assert (row.sex, row.age_years) == ("", None)


def test_sex_and_age_are_read_from_a_manifest(tmp_path: Path) -> None:
    images = [("F", "33"), ("male", "018M"), ("unknown", "414"), ("O", "old")]
    rows = [
        {"path": f"{i}.png", "labels": "Normal", "sex": sex, "age_years": age}
        for i, (sex, age) in enumerate(images)
    ]
    read = read_manifest(write_manifest(tmp_path / "m.csv", rows))
    assert [(row.sex, row.age_years) for row in read] == [
        ("F", 33.0),
        ("M", 1.5),
        ("", None),
        ("O", None),
    ]


def test_a_manifest_without_labels_is_refused(tmp_path: Path) -> None:
    path = write_manifest(tmp_path / "m.csv", [{"path": "a.png"}])
    with pytest.raises(TrainingError, match="labels"):
        read_manifest(path)
    with pytest.raises(TrainingError, match="cannot be read"):
        read_manifest(tmp_path / "none.csv")


def test_a_patient_in_two_splits_is_refused(tmp_path: Path) -> None:
    rows = [
        {"path": f"{split}.png", "labels": "Normal", "split": split, "patient_id": "P1"}
        for split in ("train", "val")
    ]
    path = write_manifest(tmp_path / "m.csv", rows)
    with pytest.raises(TrainingError, match="P1") as caught:
        refuse_shared_patients(read_manifest(path))
    assert caught.value.reason_code == "patients_shared"


def test_images_without_one_label_are_listed(tmp_path: Path) -> None:
    labels = ["No Finding", "Glioma", "Pneumonia", "Normal|Bacterial pneumonia"]
    rows = [{"path": f"{i}.png", "labels": each} for i, each in enumerate(labels)]
    selection = select_images(
        read_manifest(write_manifest(tmp_path / "m.csv", rows)), NAMES
    )
    assert [image.row.path for image in selection.images] == ["0.png"]
    assert selection.unknown == ("1.png",)
    assert selection.ambiguous == ("2.png", "3.png")


def test_held_out_patients_do_not_depend_on_the_order_of_images(tmp_path: Path) -> None:
    path = write_images(tmp_path, NAMES, each=20, splits={"train": 1})
    images = select_images(with_split(read_manifest(path), "train"), NAMES).images
    stay, aside = hold_out(images, percent=30)
    assert stay
    assert aside
    assert not {f.row.patient for f in stay} & {f.row.patient for f in aside}
    _, again = hold_out(images[::-1], percent=30)
    assert {f.row.path for f in again} == {f.row.path for f in aside}


def test_the_cache_is_written_once_and_contains_the_images(tmp_path: Path) -> None:
    path = write_images(tmp_path, NAMES, each=3, splits={"train": 1})
    paths = [row.path for row in read_manifest(path)]
    cache = tmp_path / "cache"
    first = pack_images(paths, root=tmp_path, cache_dir=cache)
    files = {file: file.stat().st_mtime_ns for file in cache.iterdir()}
    again = pack_images(paths, root=tmp_path, cache_dir=cache)
    assert {file: file.stat().st_mtime_ns for file in cache.iterdir()} == files
    assert len(first) == len(paths)
    assert all(
        np.array_equal(first.image(i), again.image(i)) and first.image(i).std() > 0
        for i in range(len(paths))
    )


def test_a_changed_image_of_the_same_size_is_cached_again(tmp_path: Path) -> None:
    def cached(image: np.ndarray) -> np.ndarray:
        cv2.imwrite(str(tmp_path / "image.bmp"), image)
        packed = pack_images(["image.bmp"], root=tmp_path, cache_dir=tmp_path / "cache")
        return packed.image(0)

    image = (chest_like(64, 64) // 257).astype(np.uint8)
    before, size = cached(image), (tmp_path / "image.bmp").stat().st_size
    inverted = cached(255 - image)
    assert (tmp_path / "image.bmp").stat().st_size == size
    assert not np.array_equal(before, inverted)


def test_an_image_of_16_bits_keeps_them(tmp_path: Path) -> None:
    deep = chest_like(71, 63)
    images = {"shallow.png": (deep // 257).astype(np.uint8), "deep.png": deep}
    # The odd number of bytes of the first must not shift the values of the second.
    for name, image in images.items():
        (tmp_path / name).write_bytes(encoded(image, ".png"))
    packed = pack_images(list(images), root=tmp_path, cache_dir=tmp_path / "cache")
    assert [packed.image(i).dtype for i in range(2)] == [np.uint8, np.uint16]
    box = find_geometry(deep, size=384)
    assert np.array_equal(packed.image(1), crop(deep, box))
    assert np.array_equal(packed.deep_image(1), packed.image(1))
    assert np.array_equal(packed.deep_image(0), packed.image(0).astype(np.uint16) * 257)


def test_the_error_names_a_missing_image(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"none\.png"):
        pack_images(["none.png"], root=tmp_path, cache_dir=tmp_path / "cache")


def test_the_error_names_an_unreadable_image(tmp_path: Path) -> None:
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    with pytest.raises(TrainingError, match=r"^torn\.png: "):
        pack_images(["torn.png"], root=tmp_path, cache_dir=tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.json"))
