"""How well a model reads the films of a manifest, with intervals over patients.

Softmax models choose the label with the highest probability; of a film's labels the
most specific one that the model knows is the truth, and films without a single one
are left out and listed. Sigmoid models call each label by its threshold; Normal and
No Finding are known negatives of every label, and a film that has one of the model's
labels is a negative of those it does not have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ml.datasets import ManifestRow, select_films
from ml.errors import MlError
from ml.inference import LoadedModel
from ml.labels import NEGATIVE_LABELS, known_labels
from ml.metrics import (
    accuracy,
    auc,
    balanced_accuracy,
    bootstrap_interval,
    confusion,
    mean_auc,
    precision_recall_f1,
)
from ml.pixels import read_display
from ml.registry import Card

DIGITS = 4
Progress = Callable[[int, int], None]
Change = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Truth:
    """What the manifest says: bool (films, labels), and where that is known."""

    rows: tuple[ManifestRow, ...]
    positive: np.ndarray
    known: np.ndarray
    unknown: tuple[str, ...]
    ambiguous: tuple[str, ...]


@dataclass(frozen=True)
class ScoredFilms:
    """Probabilities of the films that could be read, with their truth.

    `scores`, `positive` and `known` are (films, labels).
    """

    card: Card
    rows: tuple[ManifestRow, ...]
    scores: np.ndarray
    positive: np.ndarray
    known: np.ndarray
    left_out: dict[str, Any]

    @property
    def patients(self) -> list[str]:
        """The patient of each film."""
        return [row.patient for row in self.rows]


def evaluate(
    model: LoadedModel,
    rows: Sequence[ManifestRow],
    *,
    root: Path,
    progress: Progress = lambda done, total: None,
    change: Change = lambda display: display,
) -> dict[str, Any]:
    """Read every film of a manifest and measure; see `score_films` and `report_of`."""
    scored = score_films(model, rows, root=root, progress=progress, change=change)
    return report_of(scored, weights_sha256=model.weights_sha256)


def score_films(
    model: LoadedModel,
    rows: Sequence[ManifestRow],
    *,
    root: Path,
    progress: Progress = lambda done, total: None,
    change: Change = lambda display: display,
) -> ScoredFilms:
    """Read every film of a manifest whose truth the model knows.

    Args:
        model: A loaded model.
        rows: The films, with their labels.
        root: The folder that the paths of the rows start from.
        progress: Called with how many films are done, of how many.
        change: What is done to display values before, to see what a figure rests on.
    """
    truth = truth_of(model.card, rows)
    scores, failed = _read_all(model, truth.rows, root, progress, change)
    read = np.array([row.path not in failed for row in truth.rows], bool)
    return ScoredFilms(
        card=model.card,
        rows=tuple(row for row, ok in zip(truth.rows, read, strict=True) if ok),
        scores=scores[read],
        positive=truth.positive[read],
        known=truth.known[read],
        left_out={
            "n": int(read.sum()),
            "skipped": len(rows) - int(read.sum()),
            "skipped_unknown": len(truth.unknown),
            "skipped_ambiguous": list(truth.ambiguous),
            "failed": [{"path": p, "reason": r} for p, r in failed.items()],
        },
    )


def report_of(scored: ScoredFilms, *, weights_sha256: str) -> dict[str, Any]:
    """Return the figures as a JSON object; values that are not defined are null."""
    card = scored.card
    return {
        "model": card.name,
        "version": card.version,
        "weights_sha256": weights_sha256,
        "threshold_source": "card",
        **scored.left_out,
        **summarise(scored),
    }


def truth_of(card: Card, rows: Sequence[ManifestRow]) -> Truth:
    """Decide the truth of each film for a model, and which films it leaves out."""
    if card.task == "softmax":
        selection = select_films(rows, card.label_names)
        chosen = [film.class_index for film in selection.films]
        positive = np.eye(len(card.labels), dtype=bool)[np.array(chosen, int)]
        return Truth(
            rows=tuple(film.row for film in selection.films),
            positive=positive,
            known=np.ones_like(positive),
            unknown=selection.unknown,
            ambiguous=selection.ambiguous,
        )
    return _multi_label_truth(card, rows)


def _multi_label_truth(card: Card, rows: Sequence[ManifestRow]) -> Truth:
    kept: list[ManifestRow] = []
    positive: list[list[bool]] = []
    unknown: list[str] = []
    for row in rows:
        found = set(known_labels(row.labels, card.label_names))
        if not found and not NEGATIVE_LABELS & set(row.labels):
            unknown.append(row.path)
            continue
        kept.append(row)
        positive.append([name in found for name in card.label_names])
    table = np.array(positive, bool).reshape(-1, len(card.labels))
    return Truth(tuple(kept), table, np.ones_like(table), tuple(unknown), ())


def _read_all(
    model: LoadedModel,
    rows: Sequence[ManifestRow],
    root: Path,
    progress: Progress,
    change: Change,
) -> tuple[np.ndarray, dict[str, str]]:
    """Return float (films, labels) and the reason of each film that failed."""
    scores = np.zeros((len(rows), len(model.card.labels)))
    failed: dict[str, str] = {}
    for number, row in enumerate(rows):
        try:
            reading = model.read(change(read_display((root / row.path).read_bytes())))
            scores[number] = [score.probability for score in reading.scores]
        except MlError as error:
            failed[row.path] = error.message
        except OSError as error:
            failed[row.path] = f"The file cannot be read: {error.strerror}."
        progress(number + 1, len(rows))
    return scores, failed


def summarise(scored: ScoredFilms) -> dict[str, Any]:
    """Turn scores and truth into figures with intervals."""
    card, scores = scored.card, scored.scores
    positive, known, patients = scored.positive, scored.known, scored.patients
    called = _called(card, scores)

    def interval(name: str) -> dict[str, float | None]:
        def value(films: np.ndarray) -> float:
            return _figure(
                name, card, scores[films], called[films], positive[films], known[films]
            )

        return figure_with_interval(value, patients)

    return {
        "accuracy": interval("accuracy"),
        "balanced_accuracy": interval("balanced_accuracy"),
        "mean_auc": interval("mean_auc"),
        "labels": _per_label(card, scores, called, positive, known),
        "confusion": _confusion(card, called, positive),
        "patients": len(set(patients)),
    }


def pair_figures(scored: ScoredFilms, first: str, second: str) -> dict[str, Any]:
    """Measure how two labels of a softmax model are told apart among their own films.

    The score is p(first) / (p(first) + p(second)); the call is the larger of the two.
    """
    names = list(scored.card.label_names)
    a, b = names.index(first), names.index(second)
    inside = scored.positive[:, a] | scored.positive[:, b]
    pair, truth = scored.scores[inside][:, [a, b]], scored.positive[inside, a]
    share = pair[:, 0] / np.maximum(pair.sum(axis=1), 1e-12)
    patients = [p for p, ok in zip(scored.patients, inside, strict=True) if ok]
    return {
        "pair": [first, second],
        "n": int(inside.sum()),
        "auc": figure_with_interval(lambda f: auc(share[f], truth[f]), patients),
        "balanced_accuracy": figure_with_interval(
            lambda f: balanced_accuracy(truth[f], share[f] >= 0.5), patients
        ),
    }


def figure_with_interval(
    value: Callable[[np.ndarray], float], patients: Sequence[str]
) -> dict[str, float | None]:
    """Return {value, low, high} of a figure of film indices, over patients."""
    if not patients:
        return {"value": None, "low": None, "high": None}
    low, high = bootstrap_interval(value, patients)
    return {
        "value": _rounded(value(np.arange(len(patients)))),
        "low": _rounded(low),
        "high": _rounded(high),
    }


def _called(card: Card, scores: np.ndarray) -> np.ndarray:
    """Return bool (films, labels): what the model says, by argmax or thresholds."""
    if card.task == "softmax":
        return np.eye(len(card.labels), dtype=bool)[scores.argmax(axis=1)]
    limits = np.array([card.thresholds[name] for name in card.label_names])
    return scores >= limits


def _figure(
    name: str,
    card: Card,
    scores: np.ndarray,
    called: np.ndarray,
    positive: np.ndarray,
    known: np.ndarray,
) -> float:
    if name == "mean_auc":
        return mean_auc(scores, positive, known)
    if card.task == "softmax":
        measure = accuracy if name == "accuracy" else balanced_accuracy
        return measure(positive.argmax(axis=1), called.argmax(axis=1))
    per_label = []
    for i in range(scores.shape[1]):
        truth, said = positive[known[:, i], i], called[known[:, i], i]
        if name == "accuracy" and len(truth):
            per_label.append(accuracy(truth, said))
        elif name == "balanced_accuracy" and truth.any() and not truth.all():
            per_label.append(balanced_accuracy(truth, said))
    return float(np.mean(per_label)) if per_label else math.nan


def _per_label(
    card: Card,
    scores: np.ndarray,
    called: np.ndarray,
    positive: np.ndarray,
    known: np.ndarray,
) -> dict[str, dict[str, float | int | None]]:
    labels: dict[str, dict[str, float | int | None]] = {}
    for i, name in enumerate(card.label_names):
        rows = known[:, i]
        precision, recall, f1 = precision_recall_f1(called[rows, i], positive[rows, i])
        labels[name] = {
            "precision": _rounded(precision),
            "recall": _rounded(recall),
            "f1": _rounded(f1),
            "auc": _rounded(auc(scores[rows, i], positive[rows, i])),
            "positives": int(positive[rows, i].sum()),
        }
    return labels


def _confusion(
    card: Card, called: np.ndarray, positive: np.ndarray
) -> Mapping[str, Any]:
    """Return rows of truth by columns of choice; for sigmoid models a table a label."""
    names = list(card.label_names)
    if card.task == "softmax":
        truth, chosen = positive.argmax(axis=1), called.argmax(axis=1)
        table = confusion(truth, chosen, classes=len(names))
        return {"labels": names, "rows_are": "truth", "matrix": table.tolist()}
    tables = [
        confusion(
            positive[:, i].astype(int), called[:, i].astype(int), classes=2
        ).tolist()
        for i in range(len(names))
    ]
    return {"labels": names, "rows_are": "truth", "matrices": tables}


def _rounded(value: float) -> float | None:
    return round(float(value), DIGITS) if math.isfinite(value) else None
