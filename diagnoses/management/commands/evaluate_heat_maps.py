"""`manage.py evaluate_heat_maps`: measure the heat maps of a model."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from diagnoses.management.measuring import Done, MeasuringCommand, Report, with_interval
from ml.datasets.manifest import ManifestRow
from ml.evaluation.heat_maps.measures import measure_heat_maps
from ml.inference import LoadedModel


class Command(MeasuringCommand):
    """Measure heat maps against boxes, against the score and against chance."""

    name = "evaluate_heat_maps"
    description = _(
        "Measure heat maps: pointing game with the boxes of a data set, deletion and "
        "insertion, and randomisation of the network's weights."
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
        lines = [gettext("%(model)s %(version)s: %(cells)s cells") % report]
        for part, figures in (report["pointing_game"] or {}).items():
            text = gettext(
                "pointing game, %(part)s: hit %(hit)s, at random %(random)s, centre "
                "%(centre)s"
            )
            names = ("hit", "random", "centre")
            values = {name: with_interval(figures[name]) for name in names}
            lines.append(text % {"part": part, **values})
        by_order = {
            "heat": gettext("by heat %(value)s"),
            "random": gettext("at random %(value)s"),
            "centre": gettext("from the centre %(value)s"),
            "heat_minus_random": gettext("by heat less at random %(value)s"),
            "heat_minus_centre": gettext("by heat less from the centre %(value)s"),
        }
        curves = {
            "insertion": gettext("insertion: %(values)s"),
            "deletion": gettext("deletion: %(values)s"),
        }
        for curve, text in curves.items():
            shown = ", ".join(
                by_order[order] % {"value": with_interval(figure)}
                for order, figure in report["insertion_deletion"][curve].items()
            )
            lines.append(text % {"values": shown})
        for stage in report["randomisation"]["stages"]:
            text = gettext("head and %(share)s of the layers randomised: %(value)s")
            similarity = {
                "share": f"{stage['share_of_layers']:.0%}",
                "value": with_interval(stage["rank_correlation"]),
            }
            lines.append(text % similarity)
        return "\n".join(lines)
