"""Which models an ensemble's card names, what it takes of each, and who it is.

A card with `members` has no weights file. What it is, is decided by the part of the
card that decides a score: the members with the hashes of their weights, and which of
their labels make which of its own. That part's hash stands where other models have the
hash of their weights; words and figures of the card may change without it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DECIDING = ("name", "version", "architecture", "task", "members", "combination")


@dataclass(frozen=True)
class Member:
    """One model of an ensemble: exactly this version with exactly these weights."""

    name: str
    version: str
    weights_sha256: str


def members_of(raw: Mapping[str, Any]) -> tuple[Member, ...]:
    """Return the members that a card names; none where it is no ensemble's.

    Raises:
        KeyError: A member lacks its name, version or hash.
    """
    return tuple(
        Member(item["name"], item["version"], item["weights_sha256"])
        for item in raw.get("members") or ()
    )


def ensemble_sha256(raw: Mapping[str, Any]) -> str:
    """Return the identity of an ensemble, in hexadecimal.

    The sha256 of canonical JSON (keys sorted, no spaces) of what decides a score,
    over the hashes of the members' weights.

    Raises:
        KeyError: The card lacks something of it.
    """
    deciding = {name: raw[name] for name in DECIDING}
    deciding["labels"] = [label["name"] for label in raw["labels"]]
    canonical = json.dumps(
        deciding, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def sources_of(raw: Mapping[str, Any]) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return, for each label of an ensemble, the labels of each member that make it.

    Several labels of one member are summed: Bacterial and Viral pneumonia of a softmax
    model are Pneumonia.

    Raises:
        KeyError: A label has no sources.
    """
    told = raw["combination"]["labels"]
    return {
        label["name"]: {
            member: tuple(names) for member, names in told[label["name"]].items()
        }
        for label in raw["labels"]
    }
