"""Labels: their codes, which is more specific than which, and how an image gets one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Label:
    """A label of a model: its name, how it is shown, its SNOMED CT code."""

    name: str
    display: str
    snomed: str


CHESTX6_LABELS = (
    Label("Normal", "Normal", "17621005"),
    Label("Bacterial pneumonia", "Bacterial pneumonia", "53084003"),
    Label("Viral pneumonia", "Viral pneumonia", "75570004"),
    Label("COVID-19", "COVID-19", "840539006"),
    Label("Tuberculosis", "Tuberculosis", "154283005"),
    Label("Emphysema", "Emphysema", "87433001"),
)

NIH15_LABELS = (
    Label("Atelectasis", "Atelectasis", "46621007"),
    Label("Cardiomegaly", "Cardiomegaly", "8186001"),
    Label("Consolidation", "Consolidation", "95436008"),
    Label("Edema", "Pulmonary oedema", "19242006"),
    Label("Effusion", "Pleural effusion", "60046008"),
    Label("Emphysema", "Emphysema", "87433001"),
    Label("Fibrosis", "Pulmonary fibrosis", "51615001"),
    Label("Hernia", "Diaphragmatic hernia", "39839004"),
    Label("Infiltration", "Infiltration", "409609008"),
    Label("Mass", "Lung mass", "309529002"),
    Label("No Finding", "No finding", "17621005"),
    Label("Nodule", "Lung nodule", "427359005"),
    Label("Pleural_Thickening", "Pleural thickening", "196075003"),
    Label("Pneumonia", "Pneumonia", "233604007"),
    Label("Pneumothorax", "Pneumothorax", "36118008"),
)

PNEUMONIA_LABELS = (Label("Pneumonia", "Pneumonia", "233604007"),)
TUBERCULOSIS_LABELS = (Label("Tuberculosis", "Tuberculosis", "154283005"),)

BRAIN_TUMOUR_LABELS = (
    Label("Glioma", "Glioma", "393564001"),
    Label("Meningioma", "Meningioma", "302820008"),
    Label("Pituitary tumour", "Pituitary tumour", "127024001"),
    Label("No tumour", "No tumour", "17621005"),
)

# Every label that some chest image here carries: what a pre-training learns.
CHEST_LABELS = (
    *NIH15_LABELS,
    *(label for label in CHESTX6_LABELS if label.name not in ("Normal", "Emphysema")),
)

# What data sets call something that a model calls otherwise.
SYNONYMS = {"No Finding": "Normal"}

# The more general label of each: 'Pneumonia|Bacterial pneumonia' is bacterial.
PARENTS = {
    "Bacterial pneumonia": "Pneumonia",
    "Viral pneumonia": "Pneumonia",
}

NEGATIVE_LABELS = frozenset({"Normal", "No Finding"})
# Never marked as positive, however high: they say that nothing was found. Of an image
# of the chest 'No tumour' would say nothing, so it is none of the labels above.
NOTHING_FOUND_LABELS = NEGATIVE_LABELS | {"No tumour"}


@dataclass(frozen=True)
class Resolution:
    """The one label of an image under a softmax model, or why it has none.

    `reason` is empty, "unknown" (none of the image's labels is the model's) or
    "ambiguous" (several remain, or only one that is more general than the model's).
    """

    label: str | None
    reason: str = ""


def known_labels(labels: Iterable[str], names: Sequence[str]) -> list[str]:
    """Return an image's labels that a model knows, in the model's words and order."""
    given = {_in_words_of(names, label) for label in labels}
    return [name for name in names if name in given]


def resolve(labels: Sequence[str], names: Sequence[str]) -> Resolution:
    """Choose the most specific of an image's labels that a softmax model knows."""
    known = known_labels(labels, names)
    general = {PARENTS[name] for name in known if name in PARENTS}
    specific = [name for name in known if name not in general]
    if len(specific) == 1:
        return Resolution(specific[0])
    if specific:
        return Resolution(None, "ambiguous")
    parents = {PARENTS[name] for name in names if name in PARENTS}
    too_general = any(label in parents for label in labels)
    return Resolution(None, "ambiguous" if too_general else "unknown")


def _in_words_of(names: Sequence[str], label: str) -> str:
    return label if label in names else SYNONYMS.get(label, label)
