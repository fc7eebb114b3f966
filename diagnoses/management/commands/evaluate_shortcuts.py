"""`manage.py evaluate_shortcuts`: measure how a model depends on shortcuts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from diagnoses.management.measuring import Done, MeasuringCommand, Report, with_interval
from ml.datasets.manifest import ManifestRow, with_split
from ml.evaluation.shortcuts.measures import measure_shortcuts
from ml.evaluation.wording import metric_names
from ml.inference import LoadedModel


class Command(MeasuringCommand):
    """Measure how a model depends on the source of an image."""

    name = "evaluate_shortcuts"
    description = _(
        "Measure shortcuts: whether the features reveal the source of an image, how "
        "changes of the borders affect the figures, and the heat outside the lungs."
    )

    def measured(
        self,
        model: LoadedModel,
        rows: list[ManifestRow],
        options: dict[str, Any],
        done: Done,
    ) -> Report:
        """Fit the classifiers of the source to train, and measure on val."""
        return measure_shortcuts(
            model,
            with_split(rows, "train"),
            with_split(rows, "val"),
            options["root"],
            settings.INFERENCE_CACHE_DIR,
            progress=done,
        )

    def summary(self, report: Report) -> str:
        """Return the figures for people."""
        lines = [gettext("%(model)s %(version)s: %(images)s val images") % report]
        for pair in report.get("sources", {"pairs": []})["pairs"]:
            first, second = pair["sources"]
            auc = with_interval(pair["auc"])
            text = gettext("%(label)s, %(first)s or %(second)s: AUC %(auc)s")
            values = {"label": pair["label"], "first": first, "second": second}
            lines.append(text % {**values, "auc": auc})
        for part, changes in report["changes"].items():
            for change, figures in changes.items():
                if change != "images":
                    metrics = ", ".join(_metric_texts(figures))
                    lines.append(f"{part}, {change}: {metrics}")
        for label, figures in (
            report.get("heat_outside_lungs", {}).get("labels", {}).items()
        ):
            text = gettext(
                "%(label)s: heat outside the lungs %(outside)s, if spread evenly "
                "%(even)s"
            )
            outside = {
                "outside": with_interval(figures["outside"]),
                "even": with_interval(figures["outside_if_even"]),
            }
            lines.append(text % {"label": label, **outside})
        return "\n".join(lines)


def _metric_texts(figures: Mapping[str, Any]) -> Iterator[str]:
    names = metric_names(gettext)
    for key, value in figures.items():
        name = names[key.removesuffix("_change")]
        if key.endswith("_change"):
            name = gettext("difference in %(metric)s") % {"metric": name}
        yield f"{name} {with_interval(value)}"
