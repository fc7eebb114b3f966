"""Retire a version: its card stays, its weights leave the tree."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from ml.cards.card import RETIRED_FOLDER, Card, list_cards, write_card
from ml.cards.contents import Retired, Successor
from ml.cards.json_reader import as_json
from ml.errors import ModelError


def retire_card(
    card: Card, *, on: str, in_favour_of: Sequence[Successor], weights_dir: Path
) -> Path:
    """Keep the card of a version under `retired/`, and delete its other files.

    A weights file that another card names as well stays.

    Args:
        card: A card in this folder.
        on: The day, as YYYY-MM-DD.
        in_favour_of: What takes its place.
        weights_dir: The folder of models.

    Returns:
        Where the card is now.

    Raises:
        ModelError: It is a member of an ensemble that is not retired.
    """
    others = [
        other
        for other in list_cards(weights_dir=weights_dir)
        if (other.name, other.version) != (card.name, card.version)
    ]
    _refuse_member(card, others)
    path = weights_dir / RETIRED_FOLDER / card.name / card.version / "card.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    retired = Retired(on=on, in_favour_of=tuple(in_favour_of))
    write_card(path, {**card.raw, "retired": as_json(retired)})
    folders = {(weights_dir / card.name / card.version).resolve()}
    weights = card.weights_file.resolve()
    shared = any(other.weights_file.resolve() == weights for other in others)
    if not shared and weights.is_relative_to(weights_dir.resolve()):
        folders.add(weights.parent)
    for folder in filter(Path.exists, folders):
        shutil.rmtree(folder)
        if not any(folder.parent.iterdir()):
            folder.parent.rmdir()
    return path


def _refuse_member(card: Card, others: Sequence[Card]) -> None:
    for other in others:
        if any((m.name, m.version) == (card.name, card.version) for m in other.members):
            raise ModelError(
                "%(member)s is a member of %(ensemble)s. Retire that first.",
                params={
                    "member": f"{card.name} {card.version}",
                    "ensemble": f"{other.name} {other.version}",
                },
                reason_code="model_unusable",
            )
