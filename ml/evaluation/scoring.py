"""How well a model reads the images of a manifest, with intervals over patients.

Softmax models choose the label with the highest probability; of an image's labels the
most specific one that the model knows is the truth, and images without a single one
are left out and listed. Sigmoid models call each label by its threshold;
`ml.datasets.ground_truth` says which labels of an image are known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ml import metrics
from ml.cards.card import Card
from ml.datasets.ground_truth import ground_truth_of
from ml.datasets.manifest import ManifestRow
from ml.ensemble import ReadsImages
from ml.errors import MlError, ModelError
from ml.evaluation.bootstrap import Measure, with_interval
from ml.evaluation.coverage import check_uncertainty
from ml.evaluation.summary import ScoredImages, summarise
from ml.model_output import ModelOutput
from ml.pixels import read_display

Progress = Callable[[int, int], None]
Change = Callable[[np.ndarray], np.ndarray]
# Scores of a model, float (labels,), by an image's path and the change made to it.
KnownScores = dict[tuple[str, Change], np.ndarray]


def unchanged(display: np.ndarray) -> np.ndarray:
    """Return an image as it is: the change that is none."""
    return display


def score_images(
    model: ReadsImages,
    rows: Sequence[ManifestRow],
    *,
    root: Path,
    progress: Progress = lambda done, total: None,
    change: Change = unchanged,
    thresholds: Mapping[str, float] | None = None,
    known: KnownScores | None = None,
) -> ScoredImages:
    """Read every image of a manifest that has a ground truth for the model.

    Args:
        model: A loaded model or ensemble.
        rows: The images, with their labels.
        root: The folder that the paths of the rows start from.
        progress: Called with how many images are done, of how many.
        change: What is done to display values before, to see what a metric depends on.
        thresholds: Label to threshold; the card's where one is missing.
        known: Scores of the model; what is missing is read and put there.
    """
    ground_truth = ground_truth_of(model.card, rows)
    scores, failed = read_scores(
        model,
        ground_truth.rows,
        root=root,
        progress=progress,
        change=change,
        known=known,
    )
    read = np.array([row.path not in failed for row in ground_truth.rows], bool)
    return ScoredImages(
        card=model.card,
        rows=tuple(row for row, ok in zip(ground_truth.rows, read, strict=True) if ok),
        scores=scores[read],
        positive=ground_truth.positive[read],
        known=ground_truth.known[read],
        left_out={
            "n": int(read.sum()),
            "skipped": len(rows) - int(read.sum()),
            "skipped_unknown": len(ground_truth.unknown),
            "skipped_ambiguous": list(ground_truth.ambiguous),
            "failed": [{"path": p, "reason": r} for p, r in failed.items()],
        },
        thresholds={**model.card.thresholds, **(thresholds or {})},
    )


def thresholds_of(card: Card, name: str) -> Mapping[str, float]:
    """Return the thresholds of an operating point of a card.

    Raises:
        ModelError: The card has no operating point of that name.
    """
    points = card.operating_points
    if name not in points:
        raise ModelError(
            "%(model)s %(version)s has no operating point %(name)s; known: %(known)s.",
            params={
                "model": card.name,
                "version": card.version,
                "name": name,
                "known": ", ".join(sorted(points)) or "-",
            },
        )
    return {label: float(value) for label, value in points[name].items()}


def refuse_nothing(scored: ScoredImages, *, root: Path) -> None:
    """Raise an error with the reason where no image was measured.

    Raises:
        ModelError: No image was measured.
    """
    if scored.rows:
        return
    failed = scored.left_out["failed"]
    if failed:
        raise ModelError(
            "Nothing was measured: none of %(count)d images could be read under "
            "%(folder)s. The first: %(path)s: %(reason)s",
            params={
                "count": len(failed),
                "folder": root,
                "path": failed[0]["path"],
                "reason": failed[0]["reason"],
            },
            reason_code="nothing_measured",
        )
    if scored.left_out["skipped"]:
        raise ModelError(
            "Nothing was measured: none of %(count)d images has a label that %(model)s "
            "knows (%(labels)s).",
            params={
                "count": scored.left_out["skipped"],
                "model": scored.card.name,
                "labels": ", ".join(scored.card.label_names),
            },
            reason_code="nothing_measured",
        )
    raise ModelError(
        "Nothing was measured: no row of the manifest has this split and these data "
        "sets.",
        reason_code="nothing_measured",
    )


def report_of(
    scored: ScoredImages, *, weights_sha256: str, threshold_source: str = "card"
) -> dict[str, Any]:
    """Return the metrics as a JSON object; values that are not defined are null."""
    card = scored.card
    report = {
        "model": card.name,
        "version": card.version,
        "weights_sha256": weights_sha256,
        "threshold_source": threshold_source,
        # By what a label counts as called in accuracy, sensitivity, precision and F1.
        "called_by": "highest" if card.task == "softmax" else "threshold",
        **scored.left_out,
        **summarise(scored),
    }
    if card.uncertainty and scored.rows:
        report["uncertainty"] = check_uncertainty(scored)
    return report


def read_scores(
    model: ReadsImages,
    rows: Sequence[ManifestRow],
    *,
    root: Path,
    progress: Progress = lambda done, total: None,
    change: Change = unchanged,
    known: KnownScores | None = None,
) -> tuple[np.ndarray, dict[str, str]]:
    """Read every image, whatever its labels; see `score_images` for the arguments.

    Returns:
        Probabilities, float (images, labels), 0 for images that failed, and by the
        path of each of these the reason.
    """
    scores = np.zeros((len(rows), len(model.card.labels)))
    failed: dict[str, str] = {}
    known = {} if known is None else known
    for number, row in enumerate(rows):
        try:
            if (row.path, change) not in known:
                display = change(read_display((root / row.path).read_bytes()))
                # Every image counts: `evaluate_gate` reports what the gate refuses.
                model_output = model.read(display, apply_gate=False)
                known[row.path, change] = probabilities_of(model_output)
            scores[number] = known[row.path, change]
        except MlError as error:
            failed[row.path] = error.message
        except OSError as error:
            failed[row.path] = f"The file cannot be read: {error.strerror}."
        progress(number + 1, len(rows))
    return scores, failed


def probabilities_of(model_output: ModelOutput) -> np.ndarray:
    """Return the probabilities of an image, float (labels,)."""
    return np.array([score.probability for score in model_output.scores])


def pair_metrics(scored: ScoredImages, first: str, second: str) -> dict[str, Any]:
    """Measure how well a softmax model separates two labels among their images.

    Either side may be several labels joined by +, whose probabilities are summed. The
    score is p(first) / (p(first) + p(second)); the call is the larger of the two.
    """
    inside = pair_images(scored, first, second)
    return {
        "pair": [first, second],
        "n": len(inside.rows),
        **{
            name: with_interval(
                pair_measure(inside, first, second, name), inside.counts
            )
            for name in ("auc", "balanced_accuracy")
        },
    }


def pair_images(scored: ScoredImages, first: str, second: str) -> ScoredImages:
    """Return the images of two sides."""
    sides = _columns(scored, first) + _columns(scored, second)
    return scored.chosen(np.logical_or.reduce(scored.positive[:, sides], axis=1))


def pair_measure(inside: ScoredImages, first: str, second: str, metric: str) -> Measure:
    """Return "auc" or "balanced_accuracy" of a pair as a function of weights."""
    a, b = _columns(inside, first), _columns(inside, second)
    ours, theirs = inside.scores[:, a].sum(axis=1), inside.scores[:, b].sum(axis=1)
    share = ours / np.maximum(ours + theirs, 1e-12)
    ground_truth = np.logical_or.reduce(inside.positive[:, a], axis=1)
    if metric == "auc":
        return lambda weights: metrics.auc(share, ground_truth, weights)
    return lambda weights: metrics.balanced_accuracy(
        ground_truth, share >= 0.5, weights
    )


def _columns(scored: ScoredImages, side: str) -> list[int]:
    """Return the columns of the labels of one side of a pair."""
    names = list(scored.card.label_names)
    return [names.index(name) for name in side.split("+")]
