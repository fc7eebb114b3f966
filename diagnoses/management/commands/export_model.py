"""`manage.py export_model`: write a model in the format of another program."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext

from diagnoses.management.synthetic_images import synthetic_images
from diagnoses.messages import error_text
from ml.cards.card import get_card
from ml.datasets.manifest import read_manifest
from ml.errors import MlError
from ml.exchange.exporting import FORMATS, export_model
from ml.pixels import read_display


class Command(BaseCommand):
    """Export a model and compare the export with the model."""

    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command line."""
        parser.description = gettext(
            "Write a model as TFLite, ONNX, OpenVINO or SavedModel. The export is "
            "run, and deleted unless its outputs agree with the model within 0.001."
        )
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("--model-version", help=gettext("default: the newest"))
        parser.add_argument("--format", choices=FORMATS, required=True)
        parser.add_argument("--out", type=Path, required=True, metavar="PATH")
        parser.add_argument(
            "--manifest",
            type=Path,
            metavar="CSV",
            help=gettext("compare on these images"),
        )
        parser.add_argument("--root", type=Path, metavar="DIR")
        parser.add_argument(
            "--split",
            default="val",
            help=gettext("split of the manifest; default: val"),
        )
        parser.add_argument(
            "--images",
            type=int,
            default=8,
            help=gettext("number of images; default: 8"),
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Export, and print how much the outputs differ."""
        try:
            card = get_card(options["name"], options["model_version"])
            exported = export_model(
                card,
                file_format=options["format"],
                path=options["out"],
                images=_images(options),
                cache_dir=settings.INFERENCE_CACHE_DIR,
            )
        except MlError as error:
            raise CommandError(error_text(error)) from error
        self.stdout.write(gettext("written: %(path)s") % {"path": exported.path})
        compared = (
            gettext(
                "Compared on %(images)d images: logits differ by at most %(value)s."
            )
            if options["manifest"]
            else gettext(
                "Compared on %(images)d synthetic images: logits differ by at most "
                "%(value)s."
            )
        )
        logits = {"images": exported.images, "value": f"{exported.logits_apart:.2g}"}
        self.stdout.write(compared % logits)
        if exported.maps_apart is not None:
            maps = gettext("The last maps differ by %(value)s of their largest value.")
            self.stdout.write(maps % {"value": f"{exported.maps_apart:.2g}"})


def _images(options: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return the images to compare on: spread over the manifest, else synthetic."""
    if options["manifest"] is None:
        return synthetic_images()
    if options["root"] is None:
        raise CommandError(gettext("--manifest needs --root."))
    rows = [
        row
        for row in read_manifest(options["manifest"])
        if row.split == options["split"]
    ]
    step = max(1, len(rows) // max(1, options["images"]))
    chosen = rows[::step][: options["images"]]
    try:
        return {
            row.path: read_display((options["root"] / row.path).read_bytes())
            for row in chosen
        }
    except OSError as error:
        message = gettext("An image cannot be read: %(error)s.")
        values = {"error": error.strerror or error}
        raise CommandError(message % values) from error
