"""Operating points: a threshold a label, chosen for a stated purpose.

They are fitted on patients that training did not see; the plain ones are those that
published systems use without fitting.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

SENSITIVITIES = (0.95, 0.98)
PLAIN = (0.4, 0.5)
# Beyond it, few or far too easily separated images would set limits nobody understands.
THRESHOLD_RANGE = (0.02, 0.9)
# With fewer images of a kind, a fitted threshold would be chance.
LEAST_IMAGES = 8
DIGITS = 4
# How many times as many normals a favoured label may flag as another one.
RATIOS = (1, 2, 4, 8, 16, 32)


def operating_points(
    probability: np.ndarray,
    positive: np.ndarray,
    known: np.ndarray,
    *,
    names: Sequence[str],
    task: str,
) -> dict[str, dict[str, float]]:
    """Return the thresholds of every operating point.

    Args:
        probability: float (images, labels), calibrated.
        positive: bool (images, labels).
        known: bool (images, labels), where the truth is known.
        names: The labels in the order of the columns.
        task: "softmax" or "sigmoid".

    Returns:
        {"youden": {label: threshold}, "sensitivity_95": …, "sensitivity_98": …,
        "plain_0.4": …, "plain_0.5": …}. A label with fewer than LEAST_IMAGES images of
        a kind keeps its plain threshold: 0.5, or for sigmoid models twice
        its mean score where that is lower: a rare label seldom comes to 0.5.
    """
    points: dict[str, dict[str, float]] = {"youden": {}}
    points |= {_sensitivity_name(share): {} for share in SENSITIVITIES}
    points |= {f"plain_{value:g}": dict.fromkeys(names, value) for value in PLAIN}
    for i, name in enumerate(names):
        scores, ground_truth = probability[known[:, i], i], positive[known[:, i], i]
        kinds = (int(ground_truth.sum()), int((~ground_truth).sum()))
        if min(kinds) < LEAST_IMAGES:
            share = float(scores.mean()) if len(scores) else 0.5
            plain = 0.5 if task == "softmax" else _within_range(min(0.5, 2.0 * share))
            fitted = dict.fromkeys(
                ("youden", *map(_sensitivity_name, SENSITIVITIES)), plain
            )
        else:
            fitted = {"youden": _within_range(youden_threshold(scores, ground_truth))}
            for share in SENSITIVITIES:
                cut = threshold_for_sensitivity(scores, ground_truth, share)
                fitted[_sensitivity_name(share)] = _within_range(cut)
        for point, value in fitted.items():
            points[point][name] = value
    return points


def youden_threshold(scores: np.ndarray, positive: np.ndarray) -> float:
    """Return the threshold with the largest sensitivity + specificity - 1.

    Where several share it, as between well separated groups, the middle of the
    longest stretch between two neighbouring scores that has it; 0.5 where a group is
    empty.
    """
    if positive.all() or not positive.any():
        return 0.5
    ends = np.unique(np.concatenate([[0.0], scores, [1.0]]))
    cuts = (ends[:-1] + ends[1:]) / 2
    # Of each group, the share whose score is below a cut.
    missed, spared = (
        np.searchsorted(np.sort(scores[group]), cuts) / group.sum()
        for group in (positive, ~positive)
    )
    youden = spared - missed
    best = np.flatnonzero(np.isclose(youden, youden.max()))
    widest = best[np.argmax((ends[1:] - ends[:-1])[best])]
    return float(cuts[widest])


def threshold_for_sensitivity(
    scores: np.ndarray, positive: np.ndarray, sensitivity: float
) -> float:
    """Return the highest threshold that still calls this share of the positives.

    Args:
        scores: float (images,).
        positive: bool (images,), at least one of them true.
        sensitivity: Share of the positives to call, 0 to 1.
    """
    wanted = np.sort(scores[positive])[::-1]
    needed = int(np.ceil(sensitivity * len(wanted) - 1e-9))
    return float(wanted[max(0, needed - 1)])


def normals_thresholds(
    scores: np.ndarray,
    *,
    share: float,
    floors: np.ndarray,
    favoured: np.ndarray,
    ratio: int = 1,
) -> np.ndarray:
    """Return thresholds by which any label at all flags this share of normals at most.

    Every label may flag the same number of normals, a favoured one `ratio` times as
    many: the largest numbers that keep all labels together within the share.

    Args:
        scores: float (images, labels) of images without a finding.
        share: Share of the images that may be flagged for any label, 0 to 1.
        floors: float (labels,), below which no threshold goes.
        favoured: bool (labels,).
        ratio: At least 1.

    Returns:
        float (labels,); 1 for a label that may flag no image whose scores reach it.
    """
    images = len(scores)
    allowed = int(share * images + 1e-9)
    highest = np.sort(scores, axis=0)[::-1]

    def cuts(flags: int) -> np.ndarray:
        each = np.where(favoured, flags, flags // ratio)
        # The first image that may not be flagged; rounded up, so that it is not.
        spared = highest[np.minimum(each, images - 1), np.arange(scores.shape[1])]
        above = (np.floor(spared * 10**DIGITS) + 1) / 10**DIGITS
        return np.clip(above, floors, 1.0)

    most = bisect_right(
        range(1, allowed + 1),
        allowed,
        key=lambda flags: int((scores >= cuts(flags)).any(axis=1).sum()),
    )
    return cuts(most)


def normals_name(share: float) -> str:
    """Return the name of the operating point at a share of flagged normals."""
    return f"normals_{100 * share:g}"


def _sensitivity_name(share: float) -> str:
    return f"sensitivity_{round(100 * share)}"


def _within_range(threshold: float) -> float:
    low, high = THRESHOLD_RANGE
    # Rounded down: the image that set it must still be called.
    return float(np.floor(np.clip(threshold, low, high) * 10**DIGITS) / 10**DIGITS)
