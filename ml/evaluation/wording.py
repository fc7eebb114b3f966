"""Names of metrics in English, translated by the caller.

This library does not use gettext: who calls it passes a function. makemessages collects
the literal arguments of functions that are called `translate` or `in_english`.
"""

from __future__ import annotations

from collections.abc import Callable

Translate = Callable[[str], str]


def in_english(text: str) -> str:
    """Return the text as it is; what is stored in English is translated when shown."""
    return text


def metric_names(translate: Translate = in_english) -> dict[str, str]:
    """Return the names of metrics for people, by the names that reports give them."""
    return {
        "accuracy": translate("accuracy"),
        "balanced_accuracy": translate("balanced accuracy"),
        "accuracy_at_80": translate("accuracy of the surest 80 %"),
        "mean_auc": translate("mean AUC"),
        "mean_auc_claimed": translate("mean AUC of labels with enough images"),
        "auc": translate("AUC"),
        "average_precision": translate("average precision"),
        "sensitivity": translate("sensitivity"),
        "specificity": translate("specificity"),
        "f1": translate("F1"),
        "expected_calibration_error": translate("expected calibration error (ECE)"),
        "brier": translate("Brier score"),
    }


def group_names(translate: Translate = in_english) -> dict[str, str]:
    """Return by what reports group images, for people."""
    return {
        "dataset": translate("By data set"),
        "view": translate("By view"),
        "sex": translate("By sex"),
        "age_years": translate("By age"),
    }
