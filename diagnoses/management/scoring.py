"""Models and images of the commands that measure models."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext
from rich.console import Console
from rich.progress import Progress

from ml.cards.card import Card, get_card, list_cards
from ml.cards.claims import weakness_of
from ml.datasets.manifest import ManifestRow
from ml.ensemble import EnsembleModel
from ml.errors import ModelError
from ml.evaluation.scoring import (
    Change,
    refuse_nothing,
    score_images,
    unchanged,
)
from ml.evaluation.summary import ScoredImages
from ml.inference import LoadedModel, load_model


def card_named(text: str, *, weights_dir: Path | None = None) -> Card:
    """Return the card of NAME, the newest version, or of NAME/VERSION.

    Raises:
        ModelError: There is no such model.
    """
    name, _, version = text.partition("/")
    return get_card(name, version or None, weights_dir=weights_dir)


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


def chest_cards(names: Sequence[str], *, weights_dir: Path) -> list[Card]:
    """Return the cards of chest models: those named, else those that the demo uses.

    Raises:
        ModelError: There is no such model, or none at all.
    """
    if names:
        return [card_named(text, weights_dir=weights_dir) for text in names]
    newest = {card.name: card for card in list_cards(weights_dir=weights_dir)}
    cards = [
        card
        for card in newest.values()
        if card.weights_sha256
        and "CHEST" in card.body_parts
        and not card.imported
        and weakness_of(card) is None
    ]
    if not cards:
        raise ModelError(
            "No model for chest images is installed.", reason_code="no_model"
        )
    return cards


def load_models(
    cards: Sequence[Card], *, cache_dir: Path
) -> list[LoadedModel | EnsembleModel]:
    """Load the models of cards.

    Raises:
        ModelError: One cannot be loaded.
    """
    threads = settings.INFERENCE_NUM_THREADS
    return [load_model(card, cache_dir=cache_dir, threads=threads) for card in cards]


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
