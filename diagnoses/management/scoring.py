"""Models and images of the commands that measure models."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext
from rich.console import Console
from rich.progress import Progress

import ml.cards.card
from ml.cards.card import Card, get_card
from ml.datasets.manifest import ManifestRow
from ml.errors import ModelError
from ml.evaluation.scoring import (
    Change,
    refuse_nothing,
    score_images,
    unchanged,
)
from ml.evaluation.summary import ScoredImages
from ml.inference import LoadedModel, load_model
from ml.training.packaging import CARD_NAME


def card_named(text: str) -> Card:
    """Return the card of NAME, the newest version, or of NAME/VERSION.

    Raises:
        ModelError: There is no such model.
    """
    name, _, version = text.partition("/")
    return get_card(name, version or None)


def shipped_card_path(card: Card) -> Path:
    """Return the file of a card of the tree of shipped models."""
    return ml.cards.card.WEIGHTS_DIR / card.name / card.version / CARD_NAME


def load_network(card: Card) -> LoadedModel:
    """Load the network of a card.

    Raises:
        ModelError: The card is an ensemble, or the network cannot be loaded.
    """
    model = load_model(
        card,
        cache_dir=settings.INFERENCE_CACHE_DIR,
        threads=settings.INFERENCE_NUM_THREADS,
    )
    if not isinstance(model, LoadedModel):
        raise ModelError(
            "%(name)s is an ensemble; this command needs a single network.",
            params={"name": card.name},
        )
    return model


def add_choice_options(parser: ArgumentParser) -> None:
    """Declare --split and --dataset; see `chosen_rows`."""
    parser.add_argument("--split", help=gettext("only rows of this split"))
    parser.add_argument(
        "--dataset",
        action="extend",
        nargs="+",
        metavar="NAME",
        help=gettext("only rows of these data sets, joined by commas or repeated"),
    )


def chosen_rows(
    rows: Sequence[ManifestRow],
    *,
    split: str | None,
    datasets: Sequence[str] | None,
) -> list[ManifestRow]:
    """Return the rows of a split and of data sets; all rows by default.

    Args:
        rows: The rows of a manifest.
        split: The split to keep.
        datasets: The data sets to keep; one entry may join several by commas.
    """
    wanted = {name for each in datasets or () for name in each.split(",") if name}
    return [
        row
        for row in rows
        if (not split or row.split == split) and (not wanted or row.dataset in wanted)
    ]


def read_images(
    card: Card,
    rows: Sequence[ManifestRow],
    *,
    root: Path,
    change: Change = unchanged,
    thresholds: Mapping[str, float] | None = None,
) -> tuple[ScoredImages, str]:
    """Read images with a model under a progress bar; return them and its weights' hash.

    Raises:
        ModelError: The model cannot be loaded, or there is no image to measure.
    """
    model = load_model(
        card,
        cache_dir=settings.INFERENCE_CACHE_DIR,
        threads=settings.INFERENCE_NUM_THREADS,
    )
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(card.name, total=len(rows))
        scored = score_images(
            model,
            rows,
            root=root,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            change=change,
            thresholds=thresholds,
        )
    refuse_nothing(scored, root=root)
    return scored, model.weights_sha256
