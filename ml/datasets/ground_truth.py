"""Ground truth of each image for a model: positive, negative or unknown per label.

Softmax models: the ground truth is the most specific of the image's labels that the
model has. Images without exactly one are excluded and listed.

Sigmoid models treat each label separately:

- A label of the image is positive, and so is its general label (Bacterial pneumonia
  implies Pneumonia).
- Normal and No Finding are the same label. An image with it and without findings is
  negative for every finding; an image with any finding is negative for it.
- A label that the image lacks is negative only if its source was examined for it, see
  `EXAMINED_FOR`. ChestX-ray14 images (nih, nih-emphysema) were examined for all
  fourteen labels, so a missing one is negative. The children's pneumonia images
  (kermany) were labelled only as normal, bacterial or viral, so tuberculosis, effusion
  and all other labels are unknown, even if the source makes tuberculosis unlikely.
  Ground truth that follows from the source alone would teach and reward recognising
  the source.
- For a source that is not listed there, an image with one of the model's findings is
  negative for those that it lacks.
- An image with Pneumonia alone is unknown for the kinds of pneumonia.
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
# The findings that the images of a source were examined for, present or not.
EXAMINED_FOR: dict[str, frozenset[str]] = {
    "nih": CHEST_XRAY14,
    "nih-emphysema": CHEST_XRAY14,
    "kermany": frozenset({"Pneumonia", "Bacterial pneumonia", "Viral pneumonia"}),
    "tb": frozenset({"Tuberculosis"}),
    "sakha-tb": frozenset({"Tuberculosis"}),
    "hannover": frozenset({"COVID-19"}),
}
CHEST_FINDINGS = frozenset().union(*EXAMINED_FOR.values())


@dataclass(frozen=True)
class GroundTruth:
    """Ground truth of images: bool (images, labels) `positive`, and where `known`."""

    rows: tuple[ManifestRow, ...]
    positive: np.ndarray
    known: np.ndarray
    unknown: tuple[str, ...]
    ambiguous: tuple[str, ...]


def images_of(ground_truth: GroundTruth, chosen: np.ndarray) -> GroundTruth:
    """Return the ground truth of the images at int indices `chosen`."""
    return GroundTruth(
        rows=tuple(ground_truth.rows[i] for i in chosen),
        positive=ground_truth.positive[chosen],
        known=ground_truth.known[chosen],
        unknown=(),
        ambiguous=(),
    )


def ground_truth_of(card: Card, rows: Sequence[ManifestRow]) -> GroundTruth:
    """Return the ground truth of each image for a model, and the excluded images."""
    if card.task == "softmax":
        return softmax_ground_truth(rows, card.label_names)
    return sigmoid_ground_truth(rows, card.label_names)


def softmax_ground_truth(
    rows: Sequence[ManifestRow], names: Sequence[str]
) -> GroundTruth:
    """Return the ground truth for a softmax model, where every entry is known."""
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
    """Return the ground truth for a sigmoid model, for each label separately.

    Images without any known label are excluded, as `unknown`.
    """
    included: list[ManifestRow] = []
    table: list[list[bool | None]] = []
    unknown: list[str] = []
    for row in rows:
        values = [_has_label(row, name, names) for name in names]
        if all(value is None for value in values):
            unknown.append(row.path)
        else:
            included.append(row)
            table.append(values)
    shape = (len(included), len(names))
    positive = [[value is True for value in values] for values in table]
    known = [[value is not None for value in values] for values in table]
    return GroundTruth(
        rows=tuple(included),
        positive=np.array(positive, bool).reshape(shape),
        known=np.array(known, bool).reshape(shape),
        unknown=tuple(unknown),
        ambiguous=(),
    )


def findings_of(labels: Sequence[str]) -> frozenset[str]:
    """Return the findings among the labels of an image, and the general ones."""
    findings = set(labels) - NEGATIVE_LABELS
    return frozenset(findings | {PARENTS[name] for name in findings if name in PARENTS})


def _has_label(row: ManifestRow, name: str, names: Sequence[str]) -> bool | None:
    """Return whether an image has a label; None if unknown."""
    findings = findings_of(row.labels)
    normal = not findings and bool(NEGATIVE_LABELS & set(row.labels))
    if name in NEGATIVE_LABELS:
        # A finding in another part of the body does not make the chest abnormal.
        is_known = normal or findings & (CHEST_FINDINGS | set(names))
        return normal if is_known else None
    if name in findings or normal:
        return name in findings
    if _kind_is_open(name, findings):
        return None
    if row.dataset in EXAMINED_FOR:
        return False if name in EXAMINED_FOR[row.dataset] and findings else None
    return False if findings & set(names) else None


def _kind_is_open(name: str, findings: frozenset[str]) -> bool:
    """Tell whether an image has the general label of `name`, but no specific one."""
    general = PARENTS.get(name)
    kinds = {kind for kind, above in PARENTS.items() if above == general}
    return general in findings and not kinds & findings
