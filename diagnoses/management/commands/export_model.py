"""`manage.py export_model`: a model as other programs read it."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from diagnoses.management.synthetic_images import made_up_films
from ml.cards.card import get_card
from ml.datasets.manifest import read_manifest
from ml.errors import MlError
from ml.exchange.exporting import FORMATS, export_model
from ml.pixels import read_display


class Command(BaseCommand):
    """Export a model, and compare what was written with the model here."""

    help = (
        "Write a model as TFLite, ONNX, OpenVINO or SavedModel. What was written is "
        "run, and thrown away unless its outputs agree within 0.001."
    )
    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command line."""
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("--model-version", help="default: the newest")
        parser.add_argument("--format", choices=FORMATS, required=True)
        parser.add_argument("--out", type=Path, required=True, metavar="PATH")
        parser.add_argument(
            "--manifest", type=Path, metavar="CSV", help="compare on these films"
        )
        parser.add_argument("--root", type=Path, metavar="DIR")
        parser.add_argument("--split", default="val", help="of the manifest")
        parser.add_argument("--films", type=int, default=8, help="how many of them")

    def handle(self, *args: Any, **options: Any) -> None:
        """Export, and say how far the outputs lie apart."""
        try:
            card = get_card(options["name"], options["model_version"])
            exported = export_model(
                card,
                file_format=options["format"],
                path=options["out"],
                films=_films(options),
                cache_dir=settings.INFERENCE_CACHE_DIR,
            )
        except MlError as error:
            raise CommandError(error.message) from error
        maps = ""
        if exported.maps_apart is not None:
            maps = f", last maps by {exported.maps_apart:.2g} of their largest value"
        kind = "films" if options["manifest"] else "made-up films"
        self.stdout.write(
            f"written: {exported.path}\n"
            f"compared on {exported.films} {kind}: logits differ by at most "
            f"{exported.logits_apart:.2g}{maps}"
        )


def _films(options: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return the films to compare on: of a manifest, spread over it, else made up."""
    if options["manifest"] is None:
        return made_up_films()
    if options["root"] is None:
        raise CommandError("--manifest needs --root.")
    rows = [
        row
        for row in read_manifest(options["manifest"])
        if row.split == options["split"]
    ]
    step = max(1, len(rows) // max(1, options["films"]))
    chosen = rows[::step][: options["films"]]
    try:
        return {
            row.path: read_display((options["root"] / row.path).read_bytes())
            for row in chosen
        }
    except OSError as error:
        said = error.strerror or error
        raise CommandError(f"A film cannot be read: {said}.") from error
