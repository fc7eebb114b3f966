"""Read cards of schema version 1, which databases and former folders of models hold.

Version 1 said "film" for image in its keys, kept the reports of evaluations as they
were printed, and named data sets and changes only in the text of a command.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from ml.cards.contents import SCHEMA_VERSION, Training
from ml.cards.from_report import (
    gate_trial_of_report,
    heat_maps_of_report,
    measurement_of_report,
    shortcuts_before,
    shortcuts_of_report,
)
from ml.cards.json_reader import as_json, read_json

RENAMED_KEYS = {
    "films": "images",
    "films_seen": "images_seen",
    "films_with": "images_with",
    "films_and_labels": "images_and_labels",
    "films_without_lungs_found": "images_without_lungs_found",
    "held_out_films": "held_out_images",
    "half a film": "half an image",
    "unlike_training_films": "unlike_training_images",
}
# How keys of measurements named a change before commands had an option for it.
_CHANGE_SUFFIXES = {"_crop_equalise": "crop-equalise", "_crop_tenth": "crop-tenth"}


def upgraded(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a card in the present schema, whatever version it has.

    Raises:
        JsonMismatchError, KeyError, TypeError, ValueError, AttributeError: A part of
            it has another form.
    """
    if raw.get("schema_version", 1) != 1:
        return dict(raw)
    card = _renamed(raw)
    metrics = card.pop("metrics")
    upgraded_card: dict[str, Any] = {"schema_version": SCHEMA_VERSION, **card}
    upgraded_card["measurements"] = [
        as_json(_measurement(key, report))
        for key, report in metrics.items()
        if isinstance(report, Mapping)
    ]
    if card.get("training"):
        upgraded_card["training"] = _training(card["training"])
    if (card.get("gate") or {}).get("val"):
        upgraded_card["gate"] = {
            **card["gate"],
            "val": _gate_trial(card["gate"]["val"]),
        }
    if card.get("shortcuts"):
        upgraded_card["shortcuts"] = _shortcuts(card["shortcuts"])
    if card.get("heat_map_measures"):
        upgraded_card["heat_map_measures"] = as_json(
            heat_maps_of_report(
                card["heat_map_measures"],
                command=_words(card["heat_map_measures"]),
            )
        )
    return upgraded_card


def _renamed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            RENAMED_KEYS.get(key, key): _renamed(inner) for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_renamed(inner) for inner in value]
    return value


def _words(report: Mapping[str, Any]) -> list[str]:
    """Return the command of a report as a list of arguments."""
    command = report.get("command") or ""
    if not isinstance(command, str):
        return list(command)
    try:
        return shlex.split(command)
    except ValueError:
        # A quote is not closed: the words are for people, who can read them so.
        return command.split()


def _measurement(key: str, report: Mapping[str, Any]) -> Any:
    words = _words(report)
    split, datasets, change = _images_of_key(key)
    datasets = _option(words, "--dataset") or datasets
    if not datasets:
        checked = (report.get("uncertainty") or {}).get("by_source") or {}
        datasets = list(checked)
    changes = _option(words, "--change")
    return measurement_of_report(
        report,
        key=key,
        split=split,
        datasets=datasets,
        change=changes[0] if changes else change,
        command=words,
    )


def _images_of_key(key: str) -> tuple[str, list[str], str | None]:
    """Return split, data sets and change as the key names them, without a command."""
    change = None
    for suffix, name in _CHANGE_SUFFIXES.items():
        if key.endswith(suffix):
            key, change = key.removesuffix(suffix), name
    split, _, rest = key.partition("_")
    return split, [rest.split("_")[0]] if rest else [], change


def _option(words: Sequence[str], option: str) -> list[str]:
    """Return the values of an option of a command."""
    if option not in words:
        return []
    behind = words[words.index(option) + 1 :]
    return list(takewhile(lambda word: not word.startswith("--"), behind))


def _training(training: Mapping[str, Any]) -> dict[str, Any]:
    return {**training, "command": _words(training)}


def _gate_trial(report: Mapping[str, Any]) -> Any:
    return as_json(gate_trial_of_report(report, command=_words(report)))


def _shortcuts(report: Mapping[str, Any]) -> dict[str, Any]:
    shortcuts: dict[str, Any] = as_json(
        shortcuts_of_report(report, command=_words(report))
    )
    before = report.get("before")
    if before:
        shortcuts["before"] = as_json(
            shortcuts_before(
                before,
                training=read_json(Training, _training(before.get("training") or {})),
                weights_sha256=before["weights_sha256"],
            )
        )
    return shortcuts
