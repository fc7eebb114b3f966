"""`manage.py import_model`: make a model of a network trained elsewhere."""

from __future__ import annotations

import re
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext

from diagnoses.management.synthetic_images import synthetic_images
from diagnoses.messages import error_text
from ml.cards.card import TASKS, WEIGHTS_DIR
from ml.errors import MlError
from ml.exchange.import_request import ImportRequest
from ml.exchange.importing import (
    SCALING_NAMES,
    Imported,
    import_model,
    named,
)
from ml.pixels import read_display

BODY_PARTS = {"MR": "BRAIN"}


class Command(BaseCommand):
    """Import a Keras file or a SavedModel folder."""

    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it

    def create_parser(self, *args: Any, **options: Any) -> CommandParser:
        """Let --version be the model's, and -1-1 a value."""
        parser = super().create_parser(*args, conflict_handler="resolve", **options)
        # These are values, not options; argparse has no public setting for it.
        parser._negative_number_matcher = re.compile(r"^-\d")
        return parser

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command line."""
        parser.description = gettext(
            "Import a .keras or .h5 file, or a SavedModel folder, as a model that "
            "sync_models installs and a person may activate. Nothing about it is "
            "measured."
        )
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument(
            "--labels",
            required=True,
            metavar="A,B",
            help=gettext("names of the outputs, in order"),
        )
        parser.add_argument(
            "--name", default="", help=gettext("default: the name of the file")
        )
        parser.add_argument("--version", default="1.0.0", dest="model_version")
        parser.add_argument("--task", choices=TASKS, default="softmax")
        parser.add_argument(
            "--size",
            type=int,
            help=gettext("input size, if the network accepts any size"),
        )
        parser.add_argument("--modality", default="CR,DX,RG", metavar="CR,DX")
        parser.add_argument(
            "--body-part", help=gettext("default: CHEST; for MR: BRAIN")
        )
        parser.add_argument(
            "--scaling",
            choices=SCALING_NAMES,
            default="0-255",
            help=gettext(
                "range of the input values in training; ours: the preprocessing of "
                "this project. Default: 0-255, for networks that scale inside"
            ),
        )
        parser.add_argument(
            "--activation",
            choices=("logits", "probabilities"),
            default="",
            help=gettext("kind of the outputs; default: as the network declares"),
        )
        parser.add_argument(
            "--sanity",
            type=Path,
            metavar="DIR",
            help=gettext("folder of a few images; default: phantoms"),
        )
        parser.add_argument("--out", type=Path, default=WEIGHTS_DIR, metavar="DIR")

    def handle(self, *args: Any, **options: Any) -> None:
        """Import, and print the results of the sanity images."""
        modalities = _parts(options["modality"].upper())
        part = options["body_part"] or BODY_PARTS.get(modalities[0], "CHEST")
        request = ImportRequest(
            file=options["file"],
            labels=_parts(options["labels"]),
            name="",
            version=options["model_version"],
            task=options["task"],
            size=options["size"],
            scaling=options["scaling"],
            activation=options["activation"],
            modalities=modalities,
            body_parts=_parts(part.upper()),
        )
        try:
            imported = import_model(
                named(request, options["name"]),
                images=_images(options["sanity"]),
                weights_dir=options["out"],
                cache_dir=settings.INFERENCE_CACHE_DIR,
            )
        except MlError as error:
            raise CommandError(error_text(error)) from error
        self.stdout.write(summary(imported))


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def _images(folder: Path | None) -> dict[str, np.ndarray]:
    """Read the sanity images; every file must be an image."""
    if folder is None:
        return synthetic_images()
    try:
        paths = sorted(path for path in folder.iterdir() if path.is_file())
        return {path.name: read_display(path.read_bytes()) for path in paths}
    except OSError as error:
        message = gettext("The folder %(path)s cannot be read: %(error)s.")
        values = {"path": folder, "error": error.strerror}
        raise CommandError(message % values) from error


def summary(imported: Imported) -> str:
    """Return the results for people."""
    checked = imported.checked
    lines = [
        gettext("written: %(path)s") % {"path": imported.folder},
        gettext(
            "%(images)s images read: scores from %(lowest)s to %(highest)s; "
            "%(labels_with_heat_maps)s labels with heat maps"
        )
        % checked,
    ]
    if "differs_from_the_file_by" in checked:
        difference = f"{checked['differs_from_the_file_by']:.2g}"
        text = gettext("The outputs differ from the file's by at most %(value)s.")
        lines.append(text % {"value": difference})
    lines.append(
        gettext(
            "Nothing was measured. Install the model with sync_models; readers get it "
            "only after a person activates it."
        )
    )
    return "\n".join(lines)
