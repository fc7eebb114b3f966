"""Command line options that name a data set."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.utils.translation import gettext

from ml.datasets.manifest import ManifestRow
from ml.datasets.read import AUTO, LAYOUTS, read_dataset


def add_dataset_options(parser: ArgumentParser) -> None:
    """Declare --root, --layout, --labels and --manifest."""
    parser.add_argument(
        "--root",
        type=Path,
        required=True,
        metavar="DIR",
        help=gettext("folder of the data set"),
    )
    parser.add_argument(
        "--layout",
        choices=(AUTO, *LAYOUTS),
        default=AUTO,
        help=gettext("layout of the data set; default: detected from the folder"),
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="CSV",
        help=gettext("table of labels, if it is not in its usual place in the folder"),
    )
    parser.add_argument(
        "--manifest",
        type=Path,
        metavar="CSV",
        help=gettext("the same as --layout manifest --labels CSV"),
    )


def rows_of(options: dict[str, Any]) -> list[ManifestRow]:
    """Read the data set that the options name.

    Raises:
        TrainingError: It cannot be read, or a patient stands in two splits.
    """
    if options["manifest"]:
        return read_dataset(
            options["root"], layout="manifest", labels_csv=options["manifest"]
        )
    return read_dataset(
        options["root"], layout=options["layout"], labels_csv=options["labels"]
    )
