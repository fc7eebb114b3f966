"""The card of an imported model, of which nothing was measured here."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from ml.cards.card import IMPORTED
from ml.cards.contents import SCHEMA_VERSION
from ml.exchange.import_request import ImportRequest
from ml.labels import CHESTX6_LABELS, Label
from ml.preprocessing import OUR_SCALING, PREPROCESSING_VERSION

PLAIN_THRESHOLD = 0.5
INTENDED_USE = (
    "Decision support, not for diagnosis. Imported from a file: ask those who trained "
    "it what it may be used for, and measure it on labelled images of this site."
)
NOT_OFFERED = (
    "Not offered to readers until a person activates it, with a measurement on "
    "labelled images of this site or a written reason."
)
NOT_MEASURED = (
    "Everything: no metric of this model was measured by this project.",
    "Whether the images of this site resemble its training images.",
    "Calibration: its scores are not probabilities.",
)
OUR_METHOD = "as every model of this project"
WHOLE_IMAGE = "the whole image squashed to a square by area interpolation; values as "


def card_of_import(
    request: ImportRequest,
    report: Mapping[str, Any],
    *,
    weights_name: str,
    weights_sha256: str,
    source_sha256: str,
) -> dict[str, Any]:
    """Return the JSON of an imported model's card.

    Args:
        request: What the user gave.
        found: What the network's file says; see `ml.exchange.import_child`.
        weights_name: Name of the weights file.
        weights_sha256: Its hash.
        source_sha256: The hash of the user's own file or folder.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "name": request.name,
        "version": request.version,
        "architecture": IMPORTED,
        "last_convolution": report["last_convolution"],
        "heat_maps": not report["no_maps"],
        "task": request.task,
        "labels": [_label(name) for name in request.labels],
        "accepts": {
            "modalities": list(request.modalities),
            "body_parts": list(request.body_parts),
            "views": ["AP", "PA"],
            "ages": "not known",
        },
        "input": _input(request, report),
        "weights": {
            "file": weights_name,
            "sha256": weights_sha256,
            "format": report["format"],
            "precision": "float32",
        },
        "imported": {
            "file": request.file.name,
            "source_sha256": source_sha256,
            "on": dt.datetime.now(dt.UTC).date().isoformat(),
            "activation": report["activation"],
            "parameters": report["parameters"],
            "no_heat_maps_because": report["no_maps"],
        },
        **_nothing_measured(request, report),
    }


def _input(request: ImportRequest, report: Mapping[str, Any]) -> dict[str, Any]:
    ours = request.scaling == OUR_SCALING
    return {
        "size": report["size"],
        "channels": report["channels"],
        "normalisation": {
            "scaling": request.scaling,
            "preprocessing_version": PREPROCESSING_VERSION,
            "method": OUR_METHOD if ours else WHOLE_IMAGE + request.scaling,
        },
    }


def _nothing_measured(
    request: ImportRequest, report: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "calibration": {"calibrated": False},
        "thresholds": {
            "values": dict.fromkeys(request.labels, PLAIN_THRESHOLD),
            "method": f"{PLAIN_THRESHOLD} for every label; not fitted",
        },
        "training_data": [],
        "measurements": [],
        "intended_use": INTENDED_USE,
        "limits": _limits(request, report),
        "not_measured": list(NOT_MEASURED),
    }


def _label(name: str) -> dict[str, str]:
    known = {label.name: label for label in CHESTX6_LABELS}
    label = known.get(name, Label(name, name, ""))
    return {"name": label.name, "display": label.display, "snomed": label.snomed}


def _limits(request: ImportRequest, report: Mapping[str, Any]) -> list[str]:
    limits = [
        f"Imported from {request.file.name}; it was not measured here.",
        NOT_OFFERED,
        "It has no gate of its own: only the rules for headers and the checks of the "
        "pixels apply.",
    ]
    if report["no_maps"]:
        limits.append(f"It has no heat maps. {report['no_maps']}")
    return limits
