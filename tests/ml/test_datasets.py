"""Manifests, splits by patient, and the cache of films."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ml.datasets import (
    hold_out,
    pack_films,
    read_manifest,
    refuse_shared_patients,
    select_films,
    with_split,
)
from ml.errors import TrainingError
from ml.sequences import evenly_drawn
from tests.ml.films import write_films, write_manifest

NAMES = ["Normal", "Bacterial pneumonia"]


def test_a_manifest_is_read_with_what_it_has(tmp_path: Path) -> None:
    path = write_manifest(
        tmp_path / "m.csv",
        [{"path": "a.png", "labels": "Pneumonia|Bacterial pneumonia"}],
    )
    [row] = read_manifest(path)
    assert row.labels == ("Pneumonia", "Bacterial pneumonia")
    assert row.patient == "a.png"


def test_a_manifest_without_labels_is_refused(tmp_path: Path) -> None:
    path = write_manifest(tmp_path / "m.csv", [{"path": "a.png"}])
    with pytest.raises(TrainingError, match="labels"):
        read_manifest(path)
    with pytest.raises(TrainingError, match="cannot be read"):
        read_manifest(tmp_path / "none.csv")


def test_a_patient_on_both_sides_is_refused(tmp_path: Path) -> None:
    rows = [
        {"path": f"{split}.png", "labels": "Normal", "split": split, "patient_id": "P1"}
        for split in ("train", "val")
    ]
    path = write_manifest(tmp_path / "m.csv", rows)
    with pytest.raises(TrainingError, match="P1") as caught:
        refuse_shared_patients(read_manifest(path))
    assert caught.value.reason_code == "patients_shared"


def test_films_without_one_label_are_listed(tmp_path: Path) -> None:
    labels = ["No Finding", "Glioma", "Pneumonia", "Normal|Bacterial pneumonia"]
    rows = [{"path": f"{i}.png", "labels": each} for i, each in enumerate(labels)]
    selection = select_films(
        read_manifest(write_manifest(tmp_path / "m.csv", rows)), NAMES
    )
    assert [film.row.path for film in selection.films] == ["0.png"]
    assert selection.unknown == ("1.png",)
    assert selection.ambiguous == ("2.png", "3.png")


def test_held_out_patients_are_whole_and_the_same_in_any_order(tmp_path: Path) -> None:
    path = write_films(tmp_path, NAMES, each=20, splits={"train": 1})
    films = select_films(with_split(read_manifest(path), "train"), NAMES).films
    stay, aside = hold_out(films, percent=30)
    assert stay
    assert aside
    assert not {f.row.patient for f in stay} & {f.row.patient for f in aside}
    _, again = hold_out(films[::-1], percent=30)
    assert {f.row.path for f in again} == {f.row.path for f in aside}


def test_the_cache_is_made_once_and_holds_the_films(tmp_path: Path) -> None:
    path = write_films(tmp_path, NAMES, each=3, splits={"train": 1})
    paths = [row.path for row in read_manifest(path)]
    cache = tmp_path / "cache"
    first = pack_films(paths, root=tmp_path, cache_dir=cache)
    files = {file: file.stat().st_mtime_ns for file in cache.iterdir()}
    again = pack_films(paths, root=tmp_path, cache_dir=cache)
    assert {file: file.stat().st_mtime_ns for file in cache.iterdir()} == files
    assert len(first) == len(paths)
    assert all(
        np.array_equal(first.film(i), again.film(i)) and first.film(i).std() > 0
        for i in range(len(paths))
    )


def test_a_missing_film_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"none\.png"):
        pack_films(["none.png"], root=tmp_path, cache_dir=tmp_path / "cache")


def test_films_are_drawn_by_share_and_none_twice_before_all_once() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    drawn = evenly_drawn(
        labels, shares=[0.5, 0.5], count=40, rng=np.random.default_rng(0)
    )
    assert (labels[drawn] == 0).sum() == 20
    assert len(set(drawn[labels[drawn] == 0])) == 20
    assert (
        np.bincount(drawn[labels[drawn] == 1], minlength=100)[90:].tolist() == [2] * 10
    )
