"""The name of the default model, as the shipped cards say it."""

from __future__ import annotations

from ml.cards.card import default_card

DEFAULT_MODEL = default_card().name
