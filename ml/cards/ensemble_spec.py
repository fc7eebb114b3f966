"""The members of an ensemble, and what identifies an ensemble.

A card with `members` has no weights file. Its identity is the hash of the part of the
card that decides a score: the members with the hashes of their weights, and which of
their labels make which of its own. That hash stands where other models have the hash of
their weights; texts and metrics of the card may change without it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DECIDING_KEYS = (
    "name",
    "version",
    "architecture",
    "task",
    "members",
    "combination",
)


@dataclass(frozen=True)
class Member:
    """One model of an ensemble: exactly this version with exactly these weights."""

    name: str
    version: str
    weights_sha256: str


def ensemble_sha256(raw: Mapping[str, Any]) -> str:
    """Return the identity of an ensemble, in hexadecimal.

    The sha256 of canonical JSON (keys sorted, no spaces) of what decides a score,
    including the hashes of the members' weights.

    Raises:
        KeyError: The card lacks a part of it.
    """
    deciding = {key: raw[key] for key in DECIDING_KEYS}
    deciding["labels"] = [label["name"] for label in raw["labels"]]
    canonical = json.dumps(
        deciding, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    return hashlib.sha256(canonical.encode()).hexdigest()
