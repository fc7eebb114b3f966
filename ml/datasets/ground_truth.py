"""What a manifest says of each film, for a model: positive, negative, or not known.

Softmax models: of a film's labels the most specific one that the model knows is the
truth; films without a single one are left out and listed.

Sigmoid models know each label by itself:

- A label that the film carries is positive, and so is the more general one of it
  (Bacterial pneumonia implies Pneumonia).
- Normal and No Finding are one label under two names. A film that carries it and no
  finding is a negative of every finding; a film with any finding is a negative of it.
- A label that the film does not carry is negative only where its source looked for it:
  `EXAMINED_FOR` says so for the sources that are known. ChestX-ray14 films (nih,
  nih-emphysema) have all fourteen labels looked for: a missing one is a negative. Of
  the children's pneumonia films (kermany) nobody said anything but normal, bacterial
  or viral: their tuberculosis, effusion and all else stay unknown, although their
  source makes tuberculosis unlikely. A truth that follows from the source alone would
  teach and reward telling the source.
- A source that is not named there is taken at its word: where a film carries one of
  the model's findings, those it does not carry are negative.
- A film that says only Pneumonia leaves open which kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ml.datasets.manifest import ManifestRow, select_films
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
# What the films of a source were looked at for, whether a label says so or not.
EXAMINED_FOR: dict[str, frozenset[str]] = {
    "nih": CHEST_XRAY14,
    "nih-emphysema": CHEST_XRAY14,
    "kermany": frozenset({"Pneumonia", "Bacterial pneumonia", "Viral pneumonia"}),
    "tb": frozenset({"Tuberculosis"}),
    "hannover": frozenset({"COVID-19"}),
}
CHEST_FINDINGS = frozenset().union(*EXAMINED_FOR.values())


@dataclass(frozen=True)
class Truth:
    """What the manifest says: bool (films, labels), and where that is known."""

    rows: tuple[ManifestRow, ...]
    positive: np.ndarray
    known: np.ndarray
    unknown: tuple[str, ...]
    ambiguous: tuple[str, ...]


def films_of(truth: Truth, chosen: np.ndarray) -> Truth:
    """Return the films at int indices `chosen`, and nothing of those left out."""
    return Truth(
        rows=tuple(truth.rows[i] for i in chosen),
        positive=truth.positive[chosen],
        known=truth.known[chosen],
        unknown=(),
        ambiguous=(),
    )


def truth_of(card: Card, rows: Sequence[ManifestRow]) -> Truth:
    """Decide the truth of each film for a model, and which films it leaves out."""
    if card.task == "softmax":
        return softmax_truth(rows, card.label_names)
    return sigmoid_truth(rows, card.label_names)


def softmax_truth(rows: Sequence[ManifestRow], names: Sequence[str]) -> Truth:
    """Give each film its most specific label; every entry is known."""
    selection = select_films(rows, names)
    chosen = [film.class_index for film in selection.films]
    positive = np.eye(len(names), dtype=bool)[np.array(chosen, int)]
    return Truth(
        rows=tuple(film.row for film in selection.films),
        positive=positive,
        known=np.ones_like(positive),
        unknown=selection.unknown,
        ambiguous=selection.ambiguous,
    )


def sigmoid_truth(rows: Sequence[ManifestRow], names: Sequence[str]) -> Truth:
    """Say of each film and label whether it is there, or that nobody knows.

    Films of which no label is known are left out, as `unknown`.
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
    return Truth(
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
    """Return the findings among a film's labels, with the more general ones implied."""
    carried = set(labels) - NEGATIVE_LABELS
    return frozenset(carried | {PARENTS[name] for name in carried if name in PARENTS})


def _answer(row: ManifestRow, name: str, names: Sequence[str]) -> bool | None:
    """Return whether a film has a label; None: nobody knows."""
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
    """Say whether a film has the more general label of `name`, and no kind of it."""
    general = PARENTS.get(name)
    kinds = {kind for kind, above in PARENTS.items() if above == general}
    return general in findings and not kinds & findings
