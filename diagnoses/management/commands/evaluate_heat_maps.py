"""`manage.py evaluate_heat_maps`: measure the heat maps of a model."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from diagnoses.management.measuring import Done, MeasuringCommand, Report, with_interval
from ml.cards.json_reader import read_json
from ml.cards.measurements import Estimate
from ml.datasets.manifest import ManifestRow
from ml.evaluation.goals import HIT_TARGET, LEAD_TARGET
from ml.evaluation.heat_maps.measures import ALL, SPLITS, measure_heat_maps
from ml.inference import LoadedModel


class Command(MeasuringCommand):
    """Measure heat maps against boxes, against the score and against chance."""

    name = "evaluate_heat_maps"
    description = _(
        "Measure heat maps: pointing game with the boxes of a data set, deletion and "
        "insertion, and randomisation of the network's weights."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command line."""
        super().add_arguments(parser)
        parser.add_argument(
            "--split",
            choices=SPLITS,
            default=ALL,
            help=gettext(
                "whose boxes and images; held-out: train patients that were held out "
                "from learning; all: boxes of every split, and val for the rest"
            ),
        )

    def measured(
        self,
        model: LoadedModel,
        rows: list[ManifestRow],
        options: dict[str, Any],
        done: Done,
    ) -> Report:
        """Measure on the images of a split."""
        return measure_heat_maps(
            model,
            rows,
            options["root"],
            settings.INFERENCE_CACHE_DIR,
            split=options["split"],
            progress=done,
        )

    def summary(self, report: Report) -> str:
        """Return the figures for people."""
        lines = [gettext("%(model)s %(version)s: %(cells)s cells") % report]
        for part, figures in (report["pointing_game"] or {}).items():
            text = gettext(
                "pointing game, %(part)s, %(number)d images and labels, %(empty)d "
                "empty maps: hit %(hit)s, at random %(random)s, centre %(centre)s, "
                "lead over the centre %(lead_over_centre)s; goal %(goal)s"
            )
            names = ("hit", "random", "centre", "lead_over_centre")
            values = {name: with_interval(figures[name]) for name in names}
            numbers = {
                "number": figures["images_and_labels"],
                "empty": figures["empty"],
                "goal": _goal_result(figures),
            }
            lines.append(text % {"part": part, **numbers, **values})
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
        lines.append(
            gettext("weight randomisation check: passed")
            if report["randomisation"]["passed"]
            else gettext("weight randomisation check: NOT passed")
        )
        return "\n".join(lines)


def _goal_result(figures: Report) -> str:
    """Say whether the lead is above 0, and the hit rate twice that of the centre."""
    hit, centre, lead = (
        read_json(Estimate, figures[name])
        for name in ("hit", "centre", "lead_over_centre")
    )
    if LEAD_TARGET.is_reached(lead) and HIT_TARGET.is_reached(hit, centre):
        return gettext("reached")
    return gettext("missed")
