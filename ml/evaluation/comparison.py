"""Compare two models on the same images: differences, intervals and tests.

Differences of metrics come from resampling patients, both models on the same resamples.
McNemar's test counts the images that one calls rightly and the other wrongly; it takes
images for independent, so that with several images a patient its p is somewhat small.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import binomtest

from ml.errors import ModelError
from ml.evaluation.bootstrap import Measure, draws_of, interval_of, rounded, value_of
from ml.evaluation.summary import ScoredImages, label_measure, measure_of
from ml.evaluation.wording import Translate, in_english, metric_names

Difference = dict[str, float | None]
METRICS = ("accuracy", "balanced_accuracy", "mean_auc")


def paired_difference(one: Measure, other: Measure, counts: np.ndarray) -> Difference:
    """Return {value, low, high, p} of the first metric minus the second.

    p is two-sided: twice the smaller share of resamples on either side of no
    difference.
    """
    images = counts.shape[1]
    draws = draws_of(one, counts) - draws_of(other, counts)
    value = value_of(one, images=images) - value_of(other, images=images)
    finite = draws[np.isfinite(draws)]
    if not len(finite) or not np.isfinite(value):
        return {"value": rounded(value), "low": None, "high": None, "p": None}
    side = min((finite <= 0).sum(), (finite >= 0).sum())
    p = min(1.0, 2.0 * (side + 1) / (len(finite) + 1))
    return {"value": rounded(value), **interval_of(finite), "p": rounded(p)}


def mcnemar(one_right: np.ndarray, other_right: np.ndarray) -> dict[str, Any]:
    """Return the exact McNemar test of two bool (images,) arrays."""
    only_one = int((one_right & ~other_right).sum())
    only_other = int((other_right & ~one_right).sum())
    decided = only_one + only_other
    p = float(binomtest(only_one, decided).pvalue) if decided else 1.0
    return {"only_first_right": only_one, "only_second_right": only_other, "p": p}


def compare_scored(first: ScoredImages, second: ScoredImages) -> dict[str, Any]:
    """Compare two models on the images and labels that both know.

    Args:
        first: The images as one model read them.
        second: As the other did; in any order, other images among them.

    Raises:
        ModelError: They have no image or no label in common.
    """
    first, second = _same_images(first, second)
    names = [n for n in first.card.label_names if n in second.card.label_names]
    if not first.rows or not names:
        raise ModelError(
            "%(first)s and %(second)s have no image or no label in common.",
            params={"first": first.card.name, "second": second.card.name},
            reason_code="nothing_measured",
        )
    report = {
        "first": {"model": first.card.name, "version": first.card.version},
        "second": {"model": second.card.name, "version": second.card.version},
        "n": len(first.rows),
        "patients": len(set(first.patients)),
        "labels": {name: _label(first, second, name) for name in names},
    }
    if first.card.label_names == second.card.label_names and (
        first.card.task == second.card.task
    ):
        report["figures"] = {
            name: _difference(
                measure_of(first, name), measure_of(second, name), first.counts
            )
            for name in METRICS
        }
        if first.card.task == "softmax":
            report["mcnemar"] = mcnemar(*(_right(each) for each in (first, second)))
    return report


def _right(scored: ScoredImages) -> np.ndarray:
    return (scored.called & scored.positive).any(axis=1)


def _same_images(
    first: ScoredImages, second: ScoredImages
) -> tuple[ScoredImages, ScoredImages]:
    paths = {row.path for row in first.rows} & {row.path for row in second.rows}
    kept = [
        each.chosen(np.array([row.path in paths for row in each.rows], bool))
        for each in (first, second)
    ]
    if [row.path for row in kept[0].rows] != [row.path for row in kept[1].rows]:
        raise ModelError("The two models read the images in another order.")
    return kept[0], kept[1]


def _label(first: ScoredImages, second: ScoredImages, name: str) -> dict[str, Any]:
    """Compare one label, on the images where both know it."""
    i, j = (list(each.card.label_names).index(name) for each in (first, second))
    known = first.known[:, i] & second.known[:, j]
    a, b = first.chosen(known), second.chosen(known)
    positive = a.positive[:, i]
    if not np.array_equal(positive, b.positive[:, j]):
        raise ModelError(
            "The two models have different ground truth for %(label)s.",
            params={"label": name},
        )
    label_report = {"n": int(known.sum()), "positives": int(positive.sum())}
    if positive.all() or not positive.any():
        return label_report
    return {
        **label_report,
        "auc": _difference(
            label_measure(a, i, "auc"), label_measure(b, j, "auc"), a.counts
        ),
        "mcnemar": mcnemar(a.called[:, i] == positive, b.called[:, j] == positive),
    }


def _difference(one: Measure, other: Measure, counts: np.ndarray) -> dict[str, Any]:
    images = counts.shape[1]
    return {
        "first": rounded(value_of(one, images=images)),
        "second": rounded(value_of(other, images=images)),
        "difference": paired_difference(one, other, counts),
    }


def comparison_lines(
    report: dict[str, Any], *, translate: Translate = in_english
) -> list[str]:
    """Return the comparison as lines for people.

    Args:
        report: What `compare_scored` reports.
        translate: Returns a text in the language of the reader.
    """
    names = metric_names(translate)
    models = {key: report[key]["model"] for key in ("first", "second")}
    heading = translate("%(first)s against %(second)s: %(n)d images")
    lines = [heading % {**models, "n": report["n"]}]
    for name in METRICS:
        if name in report.get("figures", {}):
            lines.append(_line(names[name], report["figures"][name], translate))
    for label, label_report in report["labels"].items():
        if "auc" in label_report:
            title = translate("%(label)s, AUC") % {"label": label}
            lines.append(_line(title, label_report["auc"], translate))
    if "mcnemar" in report:
        text = translate(
            "only %(first)s right: %(only_first_right)d, only %(second)s right: "
            "%(only_second_right)d, McNemar p %(p).4f"
        )
        lines.append(text % {**models, **report["mcnemar"]})
    return lines


def _line(title: str, values: dict[str, Any], translate: Translate) -> str:
    text = translate(
        "%(title)s: %(first)s and %(second)s, difference %(value)s (%(low)s to "
        "%(high)s), p %(p)s"
    )
    return text % {"title": title, **values, **values["difference"]}
