"""Measure the coverage of label sets and bands on new patients.

By class and by source, with intervals over patients. Groups with fewer than
LEAST_GROUP images get no claim.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ml.evaluation.bootstrap import rounded, with_interval
from ml.evaluation.summary import LEAST_GROUP, ScoredImages
from ml.uncertainty import not_ruled_out

CURVE_POINTS = 20


def check_uncertainty(scored: ScoredImages) -> dict[str, Any]:
    """Return the coverage of a card's uncertainty on these images, by class and source.

    Of a softmax model the sets of images, of a sigmoid one the answers label by label:
    each known label of an image counts as one.
    """
    uncertainty = scored.card.uncertainty or {}
    covered, left_open = not_ruled_out(
        scored.scores,
        scored.positive,
        names=scored.card.label_names,
        uncertainty=uncertainty,
    )
    counts = _countable(scored, uncertainty)

    def measured(among: np.ndarray) -> dict[str, Any]:
        return _coverage_metrics(scored, covered, left_open, counts & among)

    everywhere = np.ones_like(counts)
    return {
        "stated_coverage": uncertainty["coverage"],
        "counted": "images" if counts.shape[1] == 1 else "known labels of images",
        **measured(everywhere),
        "by_class": _by_class(scored, measured, counts.shape[1]),
        "by_source": {
            name: measured(np.array([[row.dataset == name] for row in scored.rows]))
            for name in sorted({row.dataset for row in scored.rows if row.dataset})
        },
        "risk_coverage": risk_coverage(scored),
    }


def _countable(scored: ScoredImages, uncertainty: Mapping[str, Any]) -> np.ndarray:
    """Return bool like the answers: those that have a set or a band."""
    if uncertainty["method"] == "conformal":
        return np.ones((len(scored.rows), 1), bool)
    banded = [name in uncertainty["bands"] for name in scored.card.label_names]
    return scored.known & np.array(banded)


def _by_class(
    scored: ScoredImages, measured: Callable[[np.ndarray], dict[str, Any]], columns: int
) -> dict[str, Any]:
    by_class: dict[str, Any] = {}
    for i, name in enumerate(scored.card.label_names):
        has_it = scored.positive[:, [i]]
        if columns == 1:
            if has_it.any():
                by_class[name] = measured(has_it)
            continue
        column = np.zeros((1, columns), bool)
        column[0, i] = True
        by_class[name] = {
            "with": measured(column & has_it),
            "without": measured(column & ~has_it),
        }
    return by_class


def _coverage_metrics(
    scored: ScoredImages, covered: np.ndarray, left_open: np.ndarray, among: np.ndarray
) -> dict[str, Any]:
    """Return coverage and share left open of the answers where `among` is true."""
    number = int(among.sum())
    if number < LEAST_GROUP:
        return {"n": number, "claimed": False}
    each = among.sum(axis=1).astype(float)

    def share_of(what: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        hits = (what & among).sum(axis=1).astype(float)
        return lambda weights: (weights @ hits) / (weights @ each)

    return {
        "n": number,
        "claimed": True,
        "coverage": with_interval(share_of(covered), scored.counts),
        "left_open": with_interval(share_of(left_open), scored.counts),
    }


def risk_coverage(scored: ScoredImages) -> list[list[float | None]]:
    """Return [share answered, share of those wrong], the surest answers first."""
    if scored.card.task == "softmax":
        sure = scored.sureness
        wrong = ~(scored.called & scored.positive).any(axis=1)
    else:
        sure = scored.sureness[scored.known]
        wrong = (scored.called != scored.positive)[scored.known]
    order = np.argsort(-sure, kind="stable")
    risks = wrong[order].cumsum() / np.arange(1, len(order) + 1)
    points = []
    for number in range(1, CURVE_POINTS + 1):
        last = max(1, round(len(order) * number / CURVE_POINTS))
        points.append([rounded(number / CURVE_POINTS), rounded(risks[last - 1])])
    return points
