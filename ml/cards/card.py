"""Cards: what models there are, what they read and how well.

A model is a folder `<name>/<version>/` with card.json, its weights and curves.svg.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml.cards.ensemble_spec import Member, ensemble_sha256, members_of
from ml.errors import ModelError
from ml.labels import Label

WEIGHTS_DIR = Path(__file__).resolve().parents[1] / "weights"
TASKS = ("softmax", "sigmoid")
DEVICES = ("cpu", "gpu")
# The architecture of a network that came in a file and is run as it is.
IMPORTED = "imported"
# What a weights file holds where it is not `.keras`: an OpenVINO graph, packed.
GRAPH_FORMAT = "openvino"
# Where weights would be, had the model any: the folder is what counts.
NO_WEIGHTS_NAME = "weights.keras"


@dataclass(frozen=True)
class Card:
    """One version of a model as its card.json says it; `raw` is the whole JSON."""

    name: str
    version: str
    architecture: str
    task: str
    labels: tuple[Label, ...]
    thresholds: Mapping[str, float]
    calibration: Mapping[str, Any]
    modalities: tuple[str, ...]
    body_parts: tuple[str, ...]
    views: tuple[str, ...]
    ages: str
    input_size: int
    input_channels: int
    normalisation: Mapping[str, Any]
    weights_file: Path
    weights_sha256: str | None
    metrics: Mapping[str, Any]
    training_data: tuple[Mapping[str, Any], ...]
    intended_use: str
    limits: tuple[str, ...]
    not_measured: tuple[str, ...]
    raw: Mapping[str, Any]

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the labels, in the order of the network's outputs."""
        return tuple(label.name for label in self.labels)

    @property
    def calibrated(self) -> bool:
        """Whether scores were calibrated on images that training did not see."""
        return bool(self.calibration.get("calibrated", False))

    @property
    def imported(self) -> bool:
        """Whether the model came in a file from elsewhere."""
        return self.raw.get("imported") is not None

    @property
    def heat_maps(self) -> bool:
        """Whether the model can say where a score comes from."""
        return bool(self.raw.get("heat_maps", True))

    @property
    def scaling(self) -> str:
        """How display values become the network's input; see `ml.preprocessing`."""
        return str(self.normalisation.get("scaling", "ours"))

    @property
    def weights_format(self) -> str:
        """Return what the weights file holds: "keras" or "openvino"."""
        return str((self.raw.get("weights") or {}).get("format", "keras"))

    @property
    def no_weights_reason(self) -> str:
        """Why the model came without weights, "" where the card does not say."""
        return str(self.raw.get("no_weights_reason") or "")

    @property
    def members(self) -> tuple[Member, ...]:
        """The models whose mean this one is; none for a network of its own."""
        return members_of(self.raw)

    @property
    def runs_on(self) -> tuple[str, ...]:
        """Which kinds of worker may run it: cpu, gpu."""
        return tuple(self.raw.get("runs_on") or DEVICES)

    @property
    def age_range(self) -> tuple[float, float] | None:
        """Youngest and oldest age in years that the card allows; None: not checked."""
        found = self.raw["accepts"].get("age_years")
        return (float(found[0]), float(found[1])) if found else None

    @property
    def gate(self) -> Mapping[str, Any] | None:
        """What the card says of its gate in feature space; None: it has none."""
        return self.raw.get("gate")

    @property
    def gate_file(self) -> Path | None:
        """Where the gate's statistics are: beside the weights."""
        if self.gate is None:
            return None
        return self.weights_file.with_name(Path(self.gate["file"]).name)

    @property
    def shortcuts(self) -> Mapping[str, Any] | None:
        """What the model could read off an image's source; None: not measured."""
        return self.raw.get("shortcuts")

    @property
    def heat_map_measures(self) -> Mapping[str, Any] | None:
        """Whether the model's heat maps say something; None: not measured."""
        return self.raw.get("heat_map_measures")


def list_cards(*, weights_dir: Path | None = None) -> list[Card]:
    """Return every card, by name and then version, oldest first.

    Raises:
        ModelError: A card cannot be read.
    """
    folder = weights_dir or WEIGHTS_DIR
    # A folder with a dot is one that is being written, or was left by a crash.
    paths = [
        path
        for path in folder.glob("*/*/card.json")
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    cards = [read_card(path) for path in paths]
    return sorted(cards, key=lambda card: (card.name, _version_key(card.version)))


def get_card(
    name: str, version: str | None = None, *, weights_dir: Path | None = None
) -> Card:
    """Return one card, without a version the newest that has weights.

    Raises:
        ModelError: There is no such model.
    """
    cards = list_cards(weights_dir=weights_dir)
    found = [c for c in cards if c.name == name and version in (None, c.version)]
    if not found:
        known = ", ".join(sorted({card.name for card in cards})) or "none"
        wanted = name if version is None else f"{name} {version}"
        raise ModelError(
            f"There is no model {wanted}; known: {known}.", reason_code="no_model"
        )
    return _newest(found)


def _newest(cards: list[Card]) -> Card:
    """Return the last of cards, oldest first: of those that can run, if any can."""
    usable = [card for card in cards if card.weights_sha256]
    return (usable or cards)[-1]


def default_card(*, weights_dir: Path | None = None) -> Card:
    """Return the newest card of the model that reads chest images by default.

    Raises:
        ModelError: No model reads chest images.
    """
    cards = list_cards(weights_dir=weights_dir)
    chest = [card for card in cards if "CHEST" in card.body_parts]
    chosen = [card for card in chest if card.raw.get("default")] or chest
    if not chosen:
        raise ModelError(
            "No model for chest images is installed.", reason_code="no_model"
        )
    return _newest(chosen)


def read_card(path: Path) -> Card:
    """Read a card.json.

    Raises:
        ModelError: It is missing, not JSON, or lacks something.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        card = _card(raw, path.parent)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"The card {path} cannot be read.") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"The card {path} is incomplete: {error}.") from error
    _check(card, path)
    return card


def parse_card(raw: Mapping[str, Any], *, folder: Path) -> Card:
    """Build a card from its JSON, kept elsewhere than in a file.

    Args:
        raw: What a card.json says.
        folder: Where its weights file lies.

    Raises:
        ModelError: It lacks something.
    """
    try:
        card = _card(dict(raw), folder)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"The card is incomplete: {error}.") from error
    _check(card, folder)
    return card


def _card(raw: dict[str, Any], folder: Path) -> Card:
    # An ensemble has no file; nor has a model whose weights were not shipped.
    absent = raw["weights"] is None
    weights = {"file": NO_WEIGHTS_NAME} if absent else raw["weights"]
    sha256 = ensemble_sha256(raw) if members_of(raw) else weights.get("sha256")
    return Card(
        name=raw["name"],
        version=raw["version"],
        architecture=raw["architecture"],
        task=raw["task"],
        labels=tuple(
            Label(item["name"], item["display"], item["snomed"])
            for item in raw["labels"]
        ),
        thresholds={k: float(v) for k, v in raw["thresholds"]["values"].items()},
        calibration=raw["calibration"],
        modalities=tuple(raw["accepts"]["modalities"]),
        body_parts=tuple(raw["accepts"]["body_parts"]),
        views=tuple(raw["accepts"]["views"]),
        ages=raw["accepts"]["ages"],
        input_size=int(raw["input"]["size"]),
        input_channels=int(raw["input"]["channels"]),
        normalisation=raw["input"]["normalisation"],
        # Only a name: a card must not point out of its folder.
        weights_file=folder / Path(weights["file"]).name,
        weights_sha256=sha256,
        metrics=raw["metrics"],
        training_data=tuple(raw["training_data"]),
        intended_use=raw["intended_use"],
        limits=tuple(raw["limits"]),
        not_measured=tuple(raw["not_measured"]),
        raw=raw,
    )


def _check(card: Card, path: Path) -> None:
    names = set(card.label_names)
    if not names or len(names) != len(card.labels):
        raise ModelError(f"The card {path} names no label, or one twice.")
    if card.task not in TASKS:
        raise ModelError(f"The card {path} has the unknown task {card.task!r}.")
    if set(card.thresholds) != names:
        raise ModelError(f"The card {path} does not have one threshold a label.")
    if not all(0.0 <= value <= 1.0 for value in card.thresholds.values()):
        raise ModelError(f"The card {path} has a threshold outside 0 to 1.")


def _version_key(version: str) -> tuple[tuple[int, str], ...]:
    parts = version.split(".")
    return tuple((int(p), "") if p.isdigit() else (-1, p) for p in parts)
