"""Which labels of an image are known, and which are not."""

from __future__ import annotations

import numpy as np
import pytest

from ml.datasets.ground_truth import sigmoid_ground_truth
from ml.datasets.manifest import ManifestRow

NIH = ("No Finding", "Effusion", "Pneumonia")


def image(labels: str, dataset: str = "", path: str = "a.png") -> ManifestRow:
    return ManifestRow(
        path=path,
        dataset=dataset,
        split="val",
        patient=path,
        view="",
        licence="",
        labels=tuple(labels.split("|")),
    )


@pytest.mark.parametrize(
    ("labels", "dataset", "names", "answers"),
    [
        # ChestX-ray14: what is not named is not there.
        ("Effusion", "nih", NIH, (False, True, False)),
        ("Hernia", "nih-emphysema", NIH, (False, False, False)),
        ("No Finding", "nih", NIH, (True, False, False)),
        ("Normal", "kermany", NIH, (True, False, False)),
        # The children's images: pneumonia or not, and nothing else.
        ("Pneumonia|Viral pneumonia", "kermany", NIH, (False, None, True)),
        ("Bacterial pneumonia", "kermany", ("Pneumonia",), (True,)),
        ("Normal", "kermany", ("Tuberculosis",), (False,)),
        ("Tuberculosis", "tb", ("Tuberculosis", "COVID-19"), (True, None)),
        # Which kind is open only where no kind is named.
        ("Pneumonia", "kermany", ("Bacterial pneumonia", "Pneumonia"), (None, True)),
        (
            "Pneumonia|Viral pneumonia",
            "kermany",
            ("Bacterial pneumonia", "Viral pneumonia"),
            (False, True),
        ),
        # A source that nobody described is taken at its word.
        ("Effusion", "our hospital", NIH, (False, True, False)),
    ],
)
def test_ground_truth_has_positive_negative_and_unknown_labels(
    labels: str,
    dataset: str,
    names: tuple[str, ...],
    answers: tuple[bool | None, ...],
) -> None:
    ground_truth = sigmoid_ground_truth([image(labels, dataset)], names)
    known = np.array([each is not None for each in answers])
    assert ground_truth.known[0].tolist() == known.tolist()
    assert ground_truth.positive[0].tolist() == [each is True for each in answers]


@pytest.mark.parametrize(
    ("labels", "dataset", "names"),
    [
        ("Pneumonia|Bacterial pneumonia", "kermany", ("Tuberculosis",)),
        ("Pneumonia", "nih", ("Tuberculosis",)),
        ("Glioma", "brain-mri", NIH),
        ("", "", NIH),
    ],
)
def test_an_image_without_known_labels_is_left_out(
    labels: str, dataset: str, names: tuple[str, ...]
) -> None:
    ground_truth = sigmoid_ground_truth([image(labels, dataset)], names)
    assert ground_truth.unknown == ("a.png",)
    assert ground_truth.positive.shape == ground_truth.known.shape == (0, len(names))
