"""Everything that a card.json holds: its schema, version 2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ml.cards.ensemble_spec import Member
from ml.cards.measurements import (
    BaselineComparison,
    ChangedImages,
    Estimate,
    FlaggedNormals,
    Gate,
    HeatMapMeasures,
    HeatOutsideLungs,
    Measurement,
    SourceTest,
    TrialResult,
)

SCHEMA_VERSION = 2
# Of a probability, in a precision that is offered beside float32.
LARGEST_DIFFERENCE = 0.02


@dataclass(frozen=True)
class LabelEntry:
    """A label: its name, how it is shown, and its SNOMED CT code.

    `age_years`: the ages at which it was measured, as ranges of whole years with both
    ends; it is not scored at others. No range: any age.
    """

    name: str
    display: str
    snomed: str
    age_years: tuple[tuple[float, float], ...] = ()


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
class Backbone:
    """A network that several models share, each with columns of its logits.

    `columns` are the first of the model's own and the first behind them. Weights and
    gate lie in the folder of the backbone, `../../<name>/<version>/`.
    """

    name: str
    version: str
    columns: tuple[int, int]


@dataclass(frozen=True)
class Weights:
    """The weights file, beside the card or in the folder of the backbone."""

    file: str
    sha256: str | None = None
    precision: str = ""
    format: str = "keras"


@dataclass(frozen=True)
class PrecisionCheck:
    """A precision beside float32, on the same images held out from learning.

    `flags_changed` counts labels of an image that are flagged in one of the two only,
    farther than LARGEST_DIFFERENCE from the threshold. `file`
    and `sha256` are those of its graph, where it needs one of its own.
    """

    largest_difference: float
    flags_changed: int
    refusals_changed: int
    offered: bool
    file: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Precisions:
    """Which precisions a model is offered in; null: not measured."""

    images: int
    patients: int
    command: tuple[str, ...]
    bfloat16: PrecisionCheck | None = None
    int8: PrecisionCheck | None = None

    def check(self, precision: str) -> PrecisionCheck | None:
        """Return what was measured of a precision."""
        return {"bfloat16": self.bfloat16, "int8": self.int8}.get(precision)

    def offers(self, precision: str) -> bool | None:
        """Return whether a precision is offered; None: it was not measured."""
        check = self.check(precision)
        return check.offered if check else None


@dataclass(frozen=True)
class KeptSensitivity:
    """The share of a label's held-out training images that its threshold calls.

    `before`: the share that the threshold of the point "youden" calls.
    """

    label: str
    positives: int
    value: float
    before: float


@dataclass(frozen=True)
class NormalsPoint:
    """How many normals the thresholds flag, fitted for several models together.

    `flagged` is the share of the images that any of `models` flags for any label that
    it claims, `flagged_by_this_model` that of this model alone. `pneumonia` is the
    share of held-out training images with pneumonia that any of them flags as such,
    by data set.
    """

    share: float
    flagged: float
    flagged_by_this_model: float
    dataset: str
    licence: str
    images: int
    patients: int
    models: tuple[str, ...]
    sensitivity: tuple[KeptSensitivity, ...]
    pneumonia: Mapping[str, float]
    command: tuple[str, ...]


@dataclass(frozen=True)
class Thresholds:
    """A threshold for each label, and where they come from."""

    values: Mapping[str, float]
    method: str = ""
    normals: NormalsPoint | None = None


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
    trunk_rate: float | None = None
    average_decay: float | None = None
    frozen: tuple[str, ...] = ()
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
class Successor:
    """A version of a model that takes the place of a retired one."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True)
class Retired:
    """When a version was retired (YYYY-MM-DD), and what takes its place."""

    on: str
    in_favour_of: tuple[Successor, ...]

    @property
    def successors(self) -> str:
        """What takes its place, in words."""
        return ", ".join(map(str, self.in_favour_of))


@dataclass(frozen=True)
class ChosenBy:
    """Why the model is the default: its metric beside that of the runner-up.

    Measured on train patients of `dataset` that no candidate learned from;
    `difference` is the model's metric less the runner-up's on the same patients.
    """

    metric: str
    dataset: str
    images: int
    patients: int
    value: Estimate
    runner_up: str
    runner_up_value: float
    difference: Estimate
    command: tuple[str, ...]


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
    chosen_by: ChosenBy | None = None
    backbone: Backbone | None = None
    last_convolution: str | None = None
    heat_maps: bool = True
    runs_on: tuple[Literal["cpu", "gpu"], ...] = ("cpu", "gpu")
    operating_points: Mapping[str, Mapping[str, float]] | None = None
    uncertainty: Uncertainty | None = None
    training: Training | None = None
    val_use: str = ""
    gate: Gate | None = None
    precisions: Precisions | None = None
    shortcuts: Shortcuts | None = None
    heat_map_measures: HeatMapMeasures | None = None
    flagged_normals: FlaggedNormals | None = None
    cross_source: tuple[TrialResult, ...] = ()
    cross_validation: tuple[TrialResult, ...] = ()
    members: tuple[Member, ...] = ()
    combination: Combination | None = None
    no_weights_reason: str | None = None
    imported: Imported | None = None
    retired: Retired | None = None
