"""What a manifest says of each image, for a model: positive, negative, or not known.

Softmax models: of an image's labels the most specific one that the model knows is the
truth; images without a single one are left out and listed.

Sigmoid models know each label by itself:

- A label that the image carries is positive, and so is the more general one of it
  (Bacterial pneumonia implies Pneumonia).
- Normal and No Finding are one label under two names. An image that carries it and no
  finding is a negative of every finding; an image with any finding is a negative of it.
- A label that the image does not carry is negative only where its source looked for it:
  `EXAMINED_FOR` says so for the sources that are known. ChestX-ray14 images (nih,
  nih-emphysema) have all fourteen labels looked for: a missing one is a negative. Of
  the children's pneumonia images (kermany) nobody said anything but normal, bacterial
  or viral: their tuberculosis, effusion and all else stay unknown, although their
  source makes tuberculosis unlikely. A truth that follows from the source alone would
  teach and reward telling the source.
- A source that is not named there is taken at its word: where an image carries one of
  the model's findings, those it does not carry are negative.
- An image that says only Pneumonia leaves open which kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ml.datasets.manifest import ManifestRow, select_images
from ml.labels import NEGATIVE_LABELS, PARENTS

if TYPE_CHECKING:
    from ml.cards.card import Card

CHEST_XRAY14 = frozenset(
    {
        "Atelectasis",
        "Cardiomegaly",
        "Consolidation",
        "Edema",
        "Effusion",
        "Emphysema",
        "Fibrosis",
        "Hernia",
        "Infiltration",
        "Mass",
        "Nodule",
        "Pleural_Thickening",
        "Pneumonia",
        "Pneumothorax",
    }
)
# What the images of a source were looked at for, whether a label says so or not.
EXAMINED_FOR: dict[str, frozenset[str]] = {
    "nih": CHEST_XRAY14,
    "nih-emphysema": CHEST_XRAY14,
    "kermany": frozenset({"Pneumonia", "Bacterial pneumonia", "Viral pneumonia"}),
    "tb": frozenset({"Tuberculosis"}),
    "hannover": frozenset({"COVID-19"}),
}
CHEST_FINDINGS = frozenset().union(*EXAMINED_FOR.values())


@dataclass(frozen=True)
class GroundTruth:
    """What the manifest says: bool (images, labels), and where that is known."""

    rows: tuple[ManifestRow, ...]
    positive: np.ndarray
    known: np.ndarray
    unknown: tuple[str, ...]
    ambiguous: tuple[str, ...]


def images_of(ground_truth: GroundTruth, chosen: np.ndarray) -> GroundTruth:
    """Return the images at int indices `chosen`, and nothing of those left out."""
    return GroundTruth(
        rows=tuple(ground_truth.rows[i] for i in chosen),
        positive=ground_truth.positive[chosen],
        known=ground_truth.known[chosen],
        unknown=(),
        ambiguous=(),
    )


def ground_truth_of(card: Card, rows: Sequence[ManifestRow]) -> GroundTruth:
    """Decide the truth of each image for a model, and which images it leaves out."""
    if card.task == "softmax":
        return softmax_ground_truth(rows, card.label_names)
    return sigmoid_ground_truth(rows, card.label_names)


def softmax_ground_truth(
    rows: Sequence[ManifestRow], names: Sequence[str]
) -> GroundTruth:
    """Give each image its most specific label; every entry is known."""
    selection = select_images(rows, names)
    chosen = [image.class_index for image in selection.images]
    positive = np.eye(len(names), dtype=bool)[np.array(chosen, int)]
    return GroundTruth(
        rows=tuple(image.row for image in selection.images),
        positive=positive,
        known=np.ones_like(positive),
        unknown=selection.unknown,
        ambiguous=selection.ambiguous,
    )


def sigmoid_ground_truth(
    rows: Sequence[ManifestRow], names: Sequence[str]
) -> GroundTruth:
    """Say of each image and label whether it is there, or that nobody knows.

    Images of which no label is known are left out, as `unknown`.
    """
    kept: list[ManifestRow] = []
    answers: list[list[bool | None]] = []
    unknown: list[str] = []
    for row in rows:
        answer = [_answer(row, name, names) for name in names]
        if all(each is None for each in answer):
            unknown.append(row.path)
        else:
            kept.append(row)
            answers.append(answer)
    shape = (len(kept), len(names))
    return GroundTruth(
        rows=tuple(kept),
        positive=np.array(
            [[each is True for each in a] for a in answers], bool
        ).reshape(shape),
        known=np.array(
            [[each is not None for each in a] for a in answers], bool
        ).reshape(shape),
        unknown=tuple(unknown),
        ambiguous=(),
    )


def findings_of(labels: Sequence[str]) -> frozenset[str]:
    """Return the findings among the labels of an image, and those they imply."""
    carried = set(labels) - NEGATIVE_LABELS
    return frozenset(carried | {PARENTS[name] for name in carried if name in PARENTS})


def _answer(row: ManifestRow, name: str, names: Sequence[str]) -> bool | None:
    """Return whether an image has a label; None: nobody knows."""
    findings = findings_of(row.labels)
    normal = not findings and bool(NEGATIVE_LABELS & set(row.labels))
    if name in NEGATIVE_LABELS:
        # A finding elsewhere than in the chest says nothing of the chest.
        told = normal or findings & (CHEST_FINDINGS | set(names))
        return normal if told else None
    if name in findings or normal:
        return name in findings
    if _kind_is_open(name, findings):
        return None
    if row.dataset in EXAMINED_FOR:
        return False if name in EXAMINED_FOR[row.dataset] and findings else None
    return False if findings & set(names) else None


def _kind_is_open(name: str, findings: frozenset[str]) -> bool:
    """Say whether an image has the more general label of `name`, and no kind of it."""
    general = PARENTS.get(name)
    kinds = {kind for kind, above in PARENTS.items() if above == general}
    return general in findings and not kinds & findings
