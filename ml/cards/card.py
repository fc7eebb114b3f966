"""Cards: which models there are, what they read and how well.

A model is a folder `<name>/<version>/` with card.json, its weights and curves.svg. The
models of a backbone share one such folder, which has weights and curves but no card. Of
a retired version only the card is left, in `retired/<name>/<version>/`.
`ml.cards.contents` has the schema of card.json, and `card.schema.json` the same as JSON
Schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ml.cards.ages import Ages
from ml.cards.contents import (
    Backbone,
    CardContents,
    Precisions,
    Retired,
    Shortcuts,
    Training,
    TrainingSource,
)
from ml.cards.ensemble_spec import Member, ensemble_sha256
from ml.cards.json_reader import JsonMismatchError, read_json
from ml.cards.measurements import Gate, HeatMapMeasures, Measurement
from ml.cards.upgrade import upgraded
from ml.errors import ModelError
from ml.labels import Label

WEIGHTS_DIR = Path(__file__).resolve().parents[1] / "weights"
TASKS = ("softmax", "sigmoid")
# The architecture of a network that came in a file and is run as it is.
IMPORTED = "imported"
# What a weights file holds where it is not `.keras`: an OpenVINO graph, packed.
GRAPH_FORMAT = "openvino"
CARD_NAME = "card.json"
# Where weights would be, had the model any: the folder is what counts.
NO_WEIGHTS_NAME = "weights.keras"
RETIRED_FOLDER = "retired"


@dataclass(frozen=True)
class Card:
    """One version of a model as its card.json says it.

    `raw` is the whole JSON in the present schema, `contents` the same with types.
    """

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
    training_data: tuple[TrainingSource, ...]
    intended_use: str
    limits: tuple[str, ...]
    not_measured: tuple[str, ...]
    raw: Mapping[str, Any]

    @cached_property
    def contents(self) -> CardContents:
        """Everything that the card says."""
        return read_json(CardContents, self.raw)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the labels, in the order of the network's outputs."""
        return tuple(label.name for label in self.labels)

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """What was measured of the model's scores, by set of images."""
        return self.contents.measurements

    def measurement(self, key: str) -> Measurement | None:
        """Return one measurement by its key."""
        return next((each for each in self.measurements if each.key == key), None)

    @property
    def training(self) -> Training | None:
        """How the network was trained; None: not here, or not known."""
        return self.contents.training

    @property
    def calibrated(self) -> bool:
        """Whether scores were calibrated on images that training did not see."""
        return bool(self.calibration.get("calibrated", False))

    @property
    def uncertainty(self) -> Mapping[str, Any] | None:
        """The label sets or bands of `ml.uncertainty`; None: it has none."""
        return self.raw.get("uncertainty")

    @property
    def operating_points(self) -> Mapping[str, Mapping[str, float]]:
        """The named sets of thresholds that the card offers."""
        return self.raw.get("operating_points") or {}

    @property
    def imported(self) -> bool:
        """Whether the model came in a file from elsewhere."""
        return self.raw.get("imported") is not None

    @property
    def heat_maps(self) -> bool:
        """Whether the model has heat maps."""
        return bool(self.raw.get("heat_maps", True))

    @property
    def scaling(self) -> str:
        """How display values become the network's input; see `ml.preprocessing`."""
        return str(self.normalisation.get("scaling", "ours"))

    @property
    def weights_format(self) -> str:
        """What the weights file holds: "keras" or "openvino"."""
        return str((self.raw.get("weights") or {}).get("format", "keras"))

    @property
    def no_weights_reason(self) -> str:
        """Why the model came without weights, "" where the card does not say."""
        return str(self.raw.get("no_weights_reason") or "")

    @property
    def backbone(self) -> Backbone | None:
        """The network of which this model is a head; None: it has its own."""
        return self.contents.backbone

    @property
    def card_file(self) -> Path:
        """Where its card.json is, for a card that was read from a file."""
        if self.backbone is None:
            return self.weights_file.with_name(CARD_NAME)
        return self.weights_file.parents[2] / self.name / self.version / CARD_NAME

    @property
    def network_outputs(self) -> int | None:
        """Logits of the network in the weights file; None: a head does not know."""
        return None if self.backbone else len(self.labels)

    @property
    def members(self) -> tuple[Member, ...]:
        """The models whose mean this one is; none for a network of its own."""
        return self.contents.members

    @property
    def label_sources(self) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
        """For each label of an ensemble, the labels of each member that make it.

        Several labels of one member are summed: Bacterial and Viral pneumonia of a
        softmax model are Pneumonia.
        """
        combination = self.contents.combination
        return combination.labels if combination else {}

    @property
    def runs_on(self) -> tuple[str, ...]:
        """Which kinds of worker may run it: cpu, gpu."""
        return self.contents.runs_on

    @property
    def age_range(self) -> tuple[float, float] | None:
        """Youngest and oldest age in years that the card allows; None: not checked."""
        return self.contents.accepts.age_years

    @cached_property
    def label_ages(self) -> Mapping[str, Ages]:
        """The ages at which labels were measured, for the labels that have such."""
        entries = self.contents.labels
        return {entry.name: entry.age_years for entry in entries if entry.age_years}

    @property
    def gate(self) -> Gate | None:
        """The gate in feature space; None: it has none."""
        return self.contents.gate

    @property
    def gate_file(self) -> Path | None:
        """Where the gate's statistics are: beside the weights."""
        if self.gate is None:
            return None
        return self.weights_file.with_name(Path(self.gate.file).name)

    @property
    def retired(self) -> Retired | None:
        """When it was retired and in favour of what; None: it is not."""
        return self.contents.retired

    @property
    def precisions(self) -> Precisions | None:
        """Which precisions beside float32 are offered; None: not measured."""
        return self.contents.precisions

    @property
    def shortcuts(self) -> Shortcuts | None:
        """How far the model may rest on an image's source; None: not measured."""
        return self.contents.shortcuts

    @property
    def heat_map_measures(self) -> HeatMapMeasures | None:
        """What the model's heat maps are worth; None: not measured."""
        return self.contents.heat_map_measures


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


def list_retired_cards(*, weights_dir: Path | None = None) -> list[Card]:
    """Return the card of every retired version, by name and then version.

    Raises:
        ModelError: A card cannot be read.
    """
    return list_cards(weights_dir=(weights_dir or WEIGHTS_DIR) / RETIRED_FOLDER)


def get_card(
    name: str, version: str | None = None, *, weights_dir: Path | None = None
) -> Card:
    """Return one card, without a version the newest that has weights.

    Raises:
        ModelError: There is no such model, or it is retired.
    """
    cards = list_cards(weights_dir=weights_dir)
    matching = [c for c in cards if c.name == name and version in (None, c.version)]
    if not matching:
        _refuse_retired(name, version, weights_dir=weights_dir)
        raise ModelError(
            "There is no model %(model)s; known: %(known)s.",
            params={
                "model": name if version is None else f"{name} {version}",
                "known": ", ".join(sorted({card.name for card in cards})) or "-",
            },
            reason_code="no_model",
        )
    return _newest(matching)


def _refuse_retired(
    name: str, version: str | None, *, weights_dir: Path | None
) -> None:
    for card in reversed(list_retired_cards(weights_dir=weights_dir)):
        if card.name == name and version in (None, card.version) and card.retired:
            raise ModelError(
                "%(model)s was retired on %(on)s in favour of %(successors)s.",
                params={
                    "model": f"{card.name} {card.version}",
                    "on": card.retired.on,
                    "successors": card.retired.successors,
                },
                reason_code="no_model",
            )


def heads_of(
    name: str, version: str | None = None, *, weights_dir: Path | None = None
) -> list[Card]:
    """Return the cards of the models that share a backbone, in their columns' order.

    Without a version those of the newest backbone of that name; none, where no card
    names it.
    """
    heads = [
        (card.backbone, card)
        for card in list_cards(weights_dir=weights_dir)
        if card.backbone and card.backbone.name == name
    ]
    versions = [backbone.version for backbone, _ in heads]
    chosen = version or max(versions, key=_version_key, default="")
    ours = [(backbone, card) for backbone, card in heads if backbone.version == chosen]
    return [card for _, card in sorted(ours, key=lambda head: head[0].columns)]


def cards_sharing(card: Card) -> list[Card]:
    """Return the cards that share a card's backbone, itself among them; else itself."""
    if card.backbone is None:
        return [card]
    folder = card.weights_file.parents[2]
    return heads_of(card.backbone.name, card.backbone.version, weights_dir=folder)


def _newest(cards: list[Card]) -> Card:
    """Return the last of cards, oldest first: of those that can run, if any can."""
    usable = [card for card in cards if card.weights_sha256]
    return (usable or cards)[-1]


def member_cards(card: Card) -> list[Card]:
    """Return the cards of an ensemble's members, which lie beside its own.

    Raises:
        ModelError: A member is missing.
    """
    if not card.members:
        return []
    folder = card.weights_file.parents[2]
    return [
        get_card(member.name, member.version, weights_dir=folder)
        for member in card.members
    ]


def default_card(*, weights_dir: Path | None = None) -> Card:
    """Return the newest card of the model that reads chest images by default.

    Raises:
        ModelError: No model reads chest images.
    """
    cards = list_cards(weights_dir=weights_dir)
    chest = [card for card in cards if "CHEST" in card.body_parts]
    chosen = [card for card in chest if card.contents.default] or chest
    if not chosen:
        raise ModelError(
            "No model for chest images is installed.", reason_code="no_model"
        )
    return _newest(chosen)


def read_card(path: Path) -> Card:
    """Read a card.json and check it.

    Raises:
        ModelError: It is missing, not JSON, or does not fit the schema.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(
            "The card %(card)s cannot be read.", params={"card": path}
        ) from error
    card = _checked(raw, folder=path.parent, named=str(path))
    if card.backbone is None:
        return card
    # By the backbone's name, so that a card points to no other place.
    shared = path.parents[2] / card.backbone.name / card.backbone.version
    return replace(card, weights_file=shared / card.weights_file.name)


def parse_card(raw: Mapping[str, Any], *, folder: Path) -> Card:
    """Build a card from its JSON, kept elsewhere than in a file.

    Args:
        raw: What a card.json says, in any version of its schema.
        folder: Where its weights file lies, be it its own or a backbone's.

    Raises:
        ModelError: It does not fit the schema.
    """
    named = f"{raw.get('name', '?')} {raw.get('version', '?')}"
    return _checked(raw, folder=folder, named=named)


def write_card(path: Path, raw: Mapping[str, Any]) -> None:
    """Check a card and write it as a whole or not at all.

    Raises:
        ModelError: It does not fit the schema.
    """
    parse_card(raw, folder=path.parent)
    temporary = path.with_name(f".{path.name}.tmp")
    text = json.dumps(dict(raw), indent=2, ensure_ascii=False) + "\n"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _checked(raw: Any, *, folder: Path, named: str) -> Card:
    """Bring a card's JSON to the present schema, check it and build the card."""
    try:
        card = _card(upgraded(raw), folder)
    except JsonMismatchError as mismatch:
        raise ModelError(
            "The card %(card)s does not fit its schema at %(place)s: %(expected)s.",
            params={
                "card": named,
                "place": mismatch.place or "/",
                "expected": mismatch.expected,
            },
        ) from mismatch
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            "The card %(card)s is incomplete: %(detail)s.",
            params={"card": named, "detail": error},
        ) from error
    _check(card, named)
    return card


def _card(raw: dict[str, Any], folder: Path) -> Card:
    contents = read_json(CardContents, raw)
    weights = contents.weights
    # An ensemble has no file; nor has a model whose weights were not shipped.
    sha256 = weights.sha256 if weights else None
    return Card(
        name=contents.name,
        version=contents.version,
        architecture=contents.architecture,
        task=contents.task,
        labels=tuple(
            Label(label.name, label.display, label.snomed) for label in contents.labels
        ),
        thresholds=contents.thresholds.values,
        calibration=raw["calibration"],
        modalities=contents.accepts.modalities,
        body_parts=contents.accepts.body_parts,
        views=contents.accepts.views,
        ages=contents.accepts.ages,
        input_size=contents.input.size,
        input_channels=contents.input.channels,
        normalisation=contents.input.normalisation,
        # Only a name: a card must not point out of its folder.
        weights_file=folder / Path(weights.file if weights else NO_WEIGHTS_NAME).name,
        weights_sha256=ensemble_sha256(raw) if contents.members else sha256,
        training_data=contents.training_data,
        intended_use=contents.intended_use,
        limits=contents.limits,
        not_measured=contents.not_measured,
        raw=raw,
    )


def _check(card: Card, named: str) -> None:
    names = set(card.label_names)
    if not names or len(names) != len(card.labels):
        raise ModelError(
            "The card %(card)s has no label, or one twice.", params={"card": named}
        )
    if set(card.thresholds) != names:
        raise ModelError(
            "The card %(card)s does not have one threshold for each label.",
            params={"card": named},
        )
    if not all(0.0 <= value <= 1.0 for value in card.thresholds.values()):
        raise ModelError(
            "The card %(card)s has a threshold outside 0 to 1.",
            params={"card": named},
        )
    if card.backbone and not _is_head(card.backbone, labels=len(card.labels)):
        raise ModelError(
            "The card %(card)s does not name a backbone with one column for each "
            "label.",
            params={"card": named},
        )


def _is_head(backbone: Backbone, *, labels: int) -> bool:
    begin, end = backbone.columns
    names = (backbone.name, backbone.version)
    plain = all(part == Path(part).name and part[:1] not in ("", ".") for part in names)
    return plain and begin >= 0 and end - begin == labels


def _version_key(version: str) -> tuple[tuple[int, str], ...]:
    parts = version.split(".")
    return tuple((int(p), "") if p.isdigit() else (-1, p) for p in parts)
