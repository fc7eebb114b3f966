"""Everything that a card.json holds: its schema, version 2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ml.cards.ensemble_spec import Member
from ml.cards.measurements import (
    BaselineComparison,
    ChangedImages,
    Gate,
    HeatMapMeasures,
    HeatOutsideLungs,
    Measurement,
    SourceTest,
)

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class LabelEntry:
    """A label: its name, how it is shown, and its SNOMED CT code."""

    name: str
    display: str
    snomed: str


@dataclass(frozen=True)
class Accepts:
    """Which images a model reads; `age_years` is checked, `ages` is for people."""

    modalities: tuple[str, ...]
    body_parts: tuple[str, ...]
    views: tuple[str, ...]
    ages: str
    age_years: tuple[float, float] | None = None


@dataclass(frozen=True)
class Input:
    """What the network takes."""

    size: int
    channels: int
    normalisation: Mapping[str, Any]


@dataclass(frozen=True)
class Weights:
    """The weights file beside the card."""

    file: str
    sha256: str | None = None
    precision: str = ""
    format: str = "keras"


@dataclass(frozen=True)
class Thresholds:
    """A threshold for each label, and where they come from."""

    values: Mapping[str, float]
    method: str = ""


@dataclass(frozen=True)
class Calibration:
    """How scores became probabilities, and on which images."""

    calibrated: bool = False
    method: str = ""
    temperature: float | None = None
    intercepts: Mapping[str, float] | None = None
    platt: Mapping[str, tuple[float, float]] | None = None
    images: int | None = None
    patients: int | None = None
    fitted_on: str = ""
    checked_on: str = ""
    sizes_tried: Mapping[str, float] | None = None
    expected_calibration_error: Mapping[str, float] | None = None
    expected_calibration_error_on_the_others: float | None = None
    too_few: tuple[str, ...] = ()


@dataclass(frozen=True)
class CalibratedOn:
    """How many images label sets or bands were fitted on."""

    images: int
    patients: int
    images_with: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Uncertainty:
    """What the model does not tell, at a stated coverage: label sets or bands."""

    method: str
    coverage: float
    stricter_coverage: float | None = None
    calibrated_on: CalibratedOn | None = None
    quantile: float | None = None
    quantiles: Mapping[str, float] | None = None
    stricter_quantile: float | None = None
    stricter_quantiles: Mapping[str, float] | None = None
    bands: Mapping[str, tuple[float, float]] | None = None
    stricter_bands: Mapping[str, tuple[float, float]] | None = None
    too_few: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainingSource:
    """The training images of a label from one data set."""

    label: str = ""
    dataset: str = ""
    images: int | None = None
    patients: int | None = None
    licence: str = ""
    ages: str = ""
    place: str = ""
    cite: str = ""


@dataclass(frozen=True)
class Training:
    """How the network was trained, and the command that did it."""

    command: tuple[str, ...] = ()
    begins_from: str = ""
    share_of_start: float | None = None
    phases: str = ""
    epochs: int | None = None
    epochs_by_size: Mapping[str, int] | None = None
    precision: tuple[str, ...] = ()
    images_seen: int | None = None
    minutes: float | None = None
    machine: str = ""
    class_shares: Mapping[str, float] | None = None
    balance: float | None = None
    held_out_images: int | None = None
    skipped_unknown: int | None = None
    skipped_ambiguous: int | None = None
    seed: int | None = None
    peak_learning_rate: float | None = None
    weight_decay: float | None = None
    label_smoothing: float | None = None
    augmentation: Mapping[str, Any] | None = None
    distillation: Mapping[str, Any] | None = None
    dropout: float | None = None
    focal_gamma: float | None = None
    class_weights: bool | None = None
    patience: int | None = None
    params: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class ShortcutsBefore:
    """The same of a model trained without what works against shortcuts."""

    training: Training
    weights_sha256: str
    changes: tuple[ChangedImages, ...]
    sources: SourceTest | None = None


@dataclass(frozen=True)
class Shortcuts:
    """How far a model may rest on what is not in the lungs."""

    split: str
    datasets: tuple[str, ...]
    images: int | None
    patients: int | None
    command: tuple[str, ...]
    changes: tuple[ChangedImages, ...]
    failed: tuple[str, ...] = ()
    baseline: tuple[BaselineComparison, ...] = ()
    sources: SourceTest | None = None
    heat_outside_lungs: HeatOutsideLungs | None = None
    before: ShortcutsBefore | None = None


@dataclass(frozen=True)
class Combination:
    """How an ensemble makes its scores of those of its members."""

    labels: Mapping[str, Mapping[str, tuple[str, ...]]]
    rule: str = ""


@dataclass(frozen=True)
class Imported:
    """The file that a model was imported from."""

    file: str = ""
    source_sha256: str = ""
    on: str = ""
    activation: str | None = None
    parameters: int | None = None
    no_heat_maps_because: str | None = None
    checked: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class CardContents:
    """The card of a model."""

    schema_version: Literal[2]
    name: str
    version: str
    architecture: str
    task: Literal["softmax", "sigmoid"]
    labels: tuple[LabelEntry, ...]
    accepts: Accepts
    input: Input
    weights: Weights | None
    thresholds: Thresholds
    calibration: Calibration
    training_data: tuple[TrainingSource, ...]
    measurements: tuple[Measurement, ...]
    intended_use: str
    limits: tuple[str, ...]
    not_measured: tuple[str, ...]
    default: bool = False
    last_convolution: str | None = None
    heat_maps: bool = True
    runs_on: tuple[Literal["cpu", "gpu"], ...] = ("cpu", "gpu")
    operating_points: Mapping[str, Mapping[str, float]] | None = None
    uncertainty: Uncertainty | None = None
    training: Training | None = None
    val_use: str = ""
    gate: Gate | None = None
    shortcuts: Shortcuts | None = None
    heat_map_measures: HeatMapMeasures | None = None
    members: tuple[Member, ...] = ()
    combination: Combination | None = None
    no_weights_reason: str | None = None
    imported: Imported | None = None
