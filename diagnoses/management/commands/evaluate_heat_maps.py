"""`manage.py evaluate_heat_maps`: whether a model's heat maps say something."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext_lazy as _

from diagnoses.management.measuring import Done, MeasuringCommand, Report, with_interval
from ml.datasets.manifest import ManifestRow
from ml.evaluation.heat_maps.measures import measure_heat_maps
from ml.inference import LoadedModel


class Command(MeasuringCommand):
    """Measure heat maps against boxes, against the score and against chance."""

    description = _(
        "Play the pointing game with the boxes of a manifest, take away and bring back "
        "what heat maps name, and destroy the network's weights to see them change."
    )

    def measured(
        self, model: LoadedModel, rows: list[ManifestRow], root: Path, done: Done
    ) -> Report:
        """Measure on val; boxes are used of every split."""
        return measure_heat_maps(
            model, rows, root, settings.INFERENCE_CACHE_DIR, progress=done
        )

    def summary(self, report: Report) -> str:
        """Return the figures for people."""
        lines = [f"{report['model']} {report['version']}: {report['cells']} cells"]
        for part, figures in (report["pointing_game"] or {}).items():
            values = ", ".join(
                f"{name} {with_interval(figures[name])}"
                for name in ("hit", "random", "centre")
            )
            lines.append(f"pointing game, {part}: {values}")
        for curve in ("insertion", "deletion"):
            figures = report["insertion_deletion"][curve]
            values = ", ".join(
                f"{name} {with_interval(f)}" for name, f in figures.items()
            )
            lines.append(f"{curve}: {values}")
        for stage in report["randomisation"]["stages"]:
            share = stage["share_of_layers"]
            alike = with_interval(stage["rank_correlation"])
            lines.append(f"head and {share:.0%} of the layers destroyed: {alike}")
        return "\n".join(lines)
