"""How certain a score is: sets of labels that are not ruled out, and words for it.

Softmax models: split conformal sets (least ambiguous sets, Sadinle et al. 2019), with a
quantile a class where enough images have it, so that hard classes are covered, too. A
label is in the set while its probability is at least 1 - quantile.

Sigmoid models: a band a label. Below it the label is ruled out, above it it is there,
in between the score is uncertain. Its ends are the conformal quantiles of images
with and without the label, so both kinds are covered.

Coverage is the share of images whose truth is not ruled out. A second, stricter
coverage tells 'confident' from 'borderline'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

CONFIDENT, BORDERLINE, NOT_SURE = "confident", "borderline", "not sure"
DIGITS = 6


@dataclass(frozen=True)
class Certainty:
    """How sure a reading is: a word a label, and the labels not ruled out."""

    words: tuple[str, ...]
    label_set: tuple[str, ...]


def certainty_of(
    probability: np.ndarray,
    called: np.ndarray,
    *,
    names: Sequence[str],
    uncertainty: Mapping[str, Any] | None,
) -> Certainty:
    """Return the words and the set of one image.

    'not sure': the truth may be either, or the call by the threshold says other than
    the set; 'borderline': so at the stricter coverage; 'confident': at neither. ""
    where the card claims nothing for a label.

    Args:
        probability: float (labels,).
        called: bool (labels,), what the thresholds say.
        names: The labels in the order of the columns.
        uncertainty: The card's object of that name.
    """
    if not uncertainty:
        return Certainty(("",) * len(names), ())
    plain = _answers(probability, names, uncertainty, prefix="")
    strict = _answers(probability, names, uncertainty, prefix="stricter_")
    words = tuple(
        _word(one, other, call=bool(call))
        for one, other, call in zip(plain, strict, called, strict=True)
    )
    label_set = tuple(
        name
        for name, answer, call in zip(names, plain, called, strict=True)
        if answer in {"yes", "open"} or (answer == "" and call)
    )
    return Certainty(words, label_set)


def _word(plain: str, strict: str, *, call: bool) -> str:
    by_threshold = "yes" if call else "no"
    if not plain:
        return ""
    if plain != by_threshold:
        return NOT_SURE
    return CONFIDENT if strict == by_threshold else BORDERLINE


def _answers(
    probability: np.ndarray,
    names: Sequence[str],
    uncertainty: Mapping[str, Any],
    *,
    prefix: str,
) -> list[str]:
    """Return yes, no, open or "" (no claim) for each label."""
    if uncertainty["method"] == "conformal":
        inside = conformal_sets(probability[None], names, uncertainty, prefix=prefix)[0]
        alone = int(inside.sum()) == 1
        return [("yes" if alone else "open") if one else "no" for one in inside]
    bands = uncertainty[f"{prefix}bands"]
    return [
        _side(float(value), bands.get(name))
        for value, name in zip(probability, names, strict=True)
    ]


def _side(value: float, band: Sequence[float] | None) -> str:
    if band is None:
        return ""
    low, high = band
    if low < high and low <= value <= high:
        return "open"
    return "yes" if value >= high else "no"


def conformal_sets(
    probability: np.ndarray,
    names: Sequence[str],
    uncertainty: Mapping[str, Any],
    *,
    prefix: str = "",
) -> np.ndarray:
    """Return bool (images, labels): which labels are not ruled out; never none.

    Where nothing is left, the likeliest label stays: that can only cover more.
    """
    every = float(uncertainty[f"{prefix}quantile"])
    by_class = uncertainty.get(f"{prefix}quantiles", {})
    limits = np.array([1.0 - float(by_class.get(name, every)) for name in names])
    # Rounding of the card's numbers must not put an image out of its own set.
    inside = probability >= limits - 10.0**-DIGITS
    likeliest = np.eye(len(names), dtype=bool)[probability.argmax(axis=1)]
    return inside | (likeliest & ~inside.any(axis=1, keepdims=True))


def not_ruled_out(
    probability: np.ndarray,
    positive: np.ndarray,
    *,
    names: Sequence[str],
    uncertainty: Mapping[str, Any],
) -> tuple[np.ndarray, np.ndarray]:
    """Return which labels cover the truth, and which are left open.

    Args:
        probability: float (images, labels).
        positive: bool (images, labels).
        names: The labels in the order of the columns.
        uncertainty: The card's object of that name.

    Returns:
        bool (images, 1) of a softmax model, (images, labels) of a sigmoid one; labels
        without a band are neither.
    """
    if uncertainty["method"] == "conformal":
        inside = conformal_sets(probability, names, uncertainty)
        covered = (inside & positive).any(axis=1, keepdims=True)
        return covered, inside.sum(axis=1, keepdims=True) > 1
    covered = np.zeros(probability.shape, bool)
    left_open = np.zeros(probability.shape, bool)
    for i, name in enumerate(names):
        band = uncertainty["bands"].get(name)
        sides = np.array([_side(float(value), band) for value in probability[:, i]])
        wrong = np.where(positive[:, i], "no", "yes")
        covered[:, i] = (sides != wrong) & (sides != "")
        left_open[:, i] = sides == "open"
    return covered, left_open
