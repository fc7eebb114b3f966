"""Who is learned from and who is measured in a trial."""

from __future__ import annotations

import numpy as np
import pytest

from ml.datasets.manifest import ManifestRow
from ml.errors import TrainingError
from ml.evaluation.trials.folds import (
    leave_sources_out,
    left_out_with,
    near_duplicates,
    split_by_patient,
)


def row(
    dataset: str, patient: int, split: str = "train", image: int = 0
) -> ManifestRow:
    name = f"{dataset}-{patient:03d}"
    return ManifestRow(f"{name}-{image}", dataset, split, name, "", "", ("Normal",))


def test_each_patient_is_measured_once_with_the_neighbours() -> None:
    rows = [
        row("one", patient, image=image) for patient in range(10) for image in (0, 1)
    ]
    splits = split_by_patient(rows, folds=5)
    measured = [[r.patient for r in split.test] for split in splits]
    assert measured[0] == ["one-000", "one-000", "one-001", "one-001"]
    assert sorted(p for fold in measured for p in fold) == sorted(
        r.patient for r in rows
    )
    for split in splits:
        assert not {r.patient for r in split.train} & {r.patient for r in split.test}


def test_sources_are_cut_at_the_same_places() -> None:
    rows = [row(name, patient) for name in ("one", "two") for patient in range(10)]
    first = split_by_patient(rows, folds=5)[0]
    assert [r.path for r in first.test] == [
        *("one-000-0", "one-001-0"),
        *("two-000-0", "two-001-0"),
    ]


def test_too_few_patients_are_an_error() -> None:
    with pytest.raises(TrainingError, match="too few patients for 5 folds"):
        split_by_patient([row("one", 1), row("one", 2)], folds=5)


def test_sources_with_patients_in_common_are_left_out_together() -> None:
    together = ("nih", "nih-emphysema", "rsna-normal")
    assert left_out_with(["nih"]) == left_out_with(["rsna-normal"]) == together
    assert left_out_with(["sakha-tb"]) == ("sakha-tb",)
    assert left_out_with([]) == ()


def test_a_source_that_is_left_out_is_measured_and_not_learned_from() -> None:
    rows = [
        row(name, patient, split)
        for name in ("nih", "nih-emphysema", "kermany", "tb")
        for patient, split in enumerate(("train", "val"))
    ]
    sources = ("nih", "nih-emphysema", "kermany")
    split = leave_sources_out(rows, learned=sources, measured=("nih",))
    assert [r.path for r in split.train] == ["kermany-000-0"]
    assert [r.path for r in split.test] == ["nih-000-0", "nih-001-0"]
    with pytest.raises(TrainingError, match="Without nih, nih-emphysema"):
        leave_sources_out(rows, learned=("nih-emphysema",), measured=("nih",))


def test_images_that_look_alike_are_found() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.choice(np.array([-1, 1], np.int8), size=(3, 256))
    other = hashes[1].copy()
    other[:25] *= -1
    assert near_duplicates(hashes, other[None]).tolist() == [False, True, False]
    other[25] *= -1
    assert not near_duplicates(hashes, other[None]).any()
