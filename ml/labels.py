"""Labels of all models: SNOMED CT codes, synonyms, and general and specific labels."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Label:
    """A label of a model: its name, its display text, its SNOMED CT code."""

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

# Every label of the chest data sets; pre-training uses all of them.
CHEST_LABELS = (
    *NIH15_LABELS,
    *(label for label in CHESTX6_LABELS if label.name not in ("Normal", "Emphysema")),
)

# Labels of data sets, with the name that models use.
SYNONYMS = {"No Finding": "Normal"}

# The general label of each specific one, as in SNOMED CT: 53084003 and 75570004 are
# kinds of 233604007. 'Pneumonia|Bacterial pneumonia' is bacterial.
PARENTS = {
    "Bacterial pneumonia": "Pneumonia",
    "Viral pneumonia": "Pneumonia",
}

NEGATIVE_LABELS = frozenset({"Normal", "No Finding"})
# Labels that are never marked as a positive finding, since they mean that nothing was
# found. 'No tumour' has no meaning for a chest image, so it is not in NEGATIVE_LABELS.
NOTHING_FOUND_LABELS = NEGATIVE_LABELS | {"No tumour"}


@dataclass(frozen=True)
class Resolution:
    """The one label of an image for a softmax model, or the reason why it has none.

    `reason` is empty, "unknown" (the model has none of the image's labels) or
    "ambiguous" (several remain, or only a general one that the model splits).
    """

    label: str | None
    reason: str = ""


def counts_for(label: str) -> tuple[str, ...]:
    """Return the labels that a finding counts for: its own, then the general one."""
    return (label, PARENTS[label]) if label in PARENTS else (label,)


def is_flagged(label: str, *, positive: bool, claimed_labels: Collection[str]) -> bool:
    """Return whether a finding is a flag.

    It is above its threshold, does not mean that nothing was found, and the card claims
    an accuracy for its label (`ml.cards.claims`).
    """
    return positive and label in claimed_labels and label not in NOTHING_FOUND_LABELS


def known_labels(labels: Iterable[str], names: Sequence[str]) -> list[str]:
    """Return an image's labels that a model has, under its names and in its order."""
    translated = {_name_in_model(label, names) for label in labels}
    return [name for name in names if name in translated]


def resolve(labels: Sequence[str], names: Sequence[str]) -> Resolution:
    """Choose the most specific of an image's labels that a softmax model has."""
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


def _name_in_model(label: str, names: Sequence[str]) -> str:
    return label if label in names else SYNONYMS.get(label, label)
