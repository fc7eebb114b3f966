"""`manage.py import_model`: a network that somebody else trained becomes a model."""

from __future__ import annotations

import re
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext

from diagnoses.management.synthetic_images import made_up_images
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
        """Let --version be the model's, and -1-1 be a value."""
        parser = super().create_parser(*args, conflict_handler="resolve", **options)
        # What this matches is no option; argparse has no public way to say so.
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
        """Import, and say what the sanity images showed."""
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
        self.stdout.write(said(imported))


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def _images(folder: Path | None) -> dict[str, np.ndarray]:
    """Read the sanity set; files that are no images are an error, not left out."""
    if folder is None:
        return made_up_images()
    try:
        paths = sorted(path for path in folder.iterdir() if path.is_file())
        return {path.name: read_display(path.read_bytes()) for path in paths}
    except OSError as error:
        raise CommandError(f"{folder} cannot be read: {error.strerror}.") from error


def said(imported: Imported) -> str:
    """Return what came of it for people."""
    checked = imported.checked
    lines = [
        f"written: {imported.folder}",
        f"{checked['images']} images read: scores from {checked['lowest']} to "
        f"{checked['highest']}; {checked['labels_with_heat_maps']} labels with heat "
        "maps",
    ]
    if "differs_from_the_file_by" in checked:
        apart = checked["differs_from_the_file_by"]
        lines.append(f"differs from the file by at most {apart:.2g}")
    lines.append(
        "Nothing was measured. Install it with sync_models; it is offered to readers "
        "only once a person activates it."
    )
    return "\n".join(lines)
