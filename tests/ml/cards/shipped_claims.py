"""What the shipped cards claim, kept in a file so that a change of it is read.

`python -m tests.ml.cards.shipped_claims` writes the file anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ml.cards.card import list_cards
from ml.cards.claims import claimed_labels, weakness_of

FILE = Path(__file__).with_suffix(".json")


def shipped_claims() -> dict[str, Any]:
    """Return for the newest version of each model: labels claimed, at chance or not."""
    cards = {card.name: card for card in list_cards()}
    return {
        name: {
            "claimed_labels": list(
                claimed_labels(card, members=[cards[m.name] for m in card.members])
            ),
            "weak": weakness_of(card) is not None,
        }
        for name, card in cards.items()
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(shipped_claims(), indent=2) + "\n", encoding="utf-8")
