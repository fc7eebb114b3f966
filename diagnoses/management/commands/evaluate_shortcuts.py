"""`manage.py evaluate_shortcuts`: what a model reads off what is not in the lungs."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext_lazy as _

from diagnoses.management.measuring import Done, MeasuringCommand, Report, with_interval
from ml.datasets.manifest import ManifestRow, with_split
from ml.evaluation.shortcuts.measures import measure_shortcuts
from ml.inference import LoadedModel


class Command(MeasuringCommand):
    """Measure how a model depends on the source of an image."""

    description = _(
        "Measure whether a model's features tell the source of an image, what changes "
        "to its borders do to its figures, and how much heat lies outside the lungs."
    )

    def measured(
        self, model: LoadedModel, rows: list[ManifestRow], root: Path, done: Done
    ) -> Report:
        """Fit the classifiers of the source to train, and measure on val."""
        return measure_shortcuts(
            model,
            with_split(rows, "train"),
            with_split(rows, "val"),
            root,
            settings.INFERENCE_CACHE_DIR,
            progress=done,
        )

    def summary(self, report: Report) -> str:
        """Return the figures for people."""
        lines = [
            f"{report['model']} {report['version']}: {report['images']} images of val"
        ]
        for pair in report.get("sources", {"pairs": []})["pairs"]:
            first, second = pair["sources"]
            auc = with_interval(pair["auc"])
            lines.append(f"{pair['label']}, {first} or {second}: AUC {auc}")
        for part, changes in report["changes"].items():
            for change, figures in changes.items():
                if change != "images":
                    values = ", ".join(
                        f"{k} {with_interval(v)}" for k, v in figures.items()
                    )
                    lines.append(f"{part}, {change}: {values}")
        for label, figures in (
            report.get("heat_outside_lungs", {}).get("labels", {}).items()
        ):
            lines.append(
                f"{label}: heat outside the lungs {with_interval(figures['outside'])}, "
                f"spread evenly {with_interval(figures['outside_if_even'])}"
            )
        return "\n".join(lines)
