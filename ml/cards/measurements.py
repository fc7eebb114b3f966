"""What was measured of a model: each entry names its images, command and metrics.

Intervals are 95 % intervals by bootstrap over patients, those of shares Wilson's.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# The verdict where the baseline reads as well as the model.
NOT_SEPARABLE = "source not separable from disease"
# The method of a trial that does nothing against telling sources apart.
PLAIN = "plain"


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; null where it is not defined."""

    value: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None


@dataclass(frozen=True)
class BaselineValue:
    """The same metric of the border-and-histogram baseline, and the model's lead.

    `separable` is false where the interval of the lead touches 0: source cannot be
    told from disease.
    """

    value: float | None
    lead: Estimate
    low: float | None = None
    high: float | None = None
    separable: bool = True


@dataclass(frozen=True)
class Metric:
    """A metric with its interval.

    `difference` is what a change of the images makes: the value less that of the same
    images as they are.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    baseline: BaselineValue | None = None
    difference: Estimate | None = None


@dataclass(frozen=True)
class LabelMetrics:
    """The metrics of one label; `claimed`: enough images have it and do not."""

    label: str
    metrics: tuple[Metric, ...] = ()
    positives: int | None = None
    negatives: int | None = None
    threshold: float | None = None
    claimed: bool = True

    def metric(self, name: str) -> Metric | None:
        """Return a metric by its name."""
        return _named(self.metrics, name)


@dataclass(frozen=True)
class Group:
    """The metrics of some of the images: those of a data set, a view, a sex, an age."""

    by: str
    name: str
    metrics: tuple[Metric, ...]
    images: int
    patients: int | None = None
    claimed: bool = True


@dataclass(frozen=True)
class PredictiveValues:
    """What a mark of a label is worth at a prevalence, by Bayes' rule.

    `ppv` is the share of the marked who have the label, `npv` that of the others who
    do not; both from sensitivity and specificity at the default thresholds.
    """

    label: str
    prevalence: float
    ppv: Estimate
    npv: Estimate


@dataclass(frozen=True)
class Confusion:
    """True labels (rows) against given labels: one matrix, or one for each label."""

    labels: tuple[str, ...]
    matrix: tuple[tuple[int, ...], ...] | None = None
    matrices: tuple[tuple[tuple[int, ...], ...], ...] | None = None


@dataclass(frozen=True)
class CoverageOfGroup:
    """How often the true label is not ruled out, of a class or of a source.

    `kind` is "with" or "without" the label where the model answers each label by
    itself.
    """

    by: str
    name: str
    n: int
    claimed: bool
    kind: str = ""
    coverage: Estimate | None = None
    left_open: Estimate | None = None


@dataclass(frozen=True)
class Coverage:
    """What the label sets or bands of a model are worth.

    `risk_coverage` has pairs of the share answered and the share of those wrong, the
    surest answers first.
    """

    stated_coverage: float
    n: int
    claimed: bool
    counted: str = "images"
    coverage: Estimate | None = None
    left_open: Estimate | None = None
    groups: tuple[CoverageOfGroup, ...] = ()
    risk_coverage: tuple[tuple[float, float | None], ...] = ()


@dataclass(frozen=True)
class Pair:
    """How two sides are told apart among their own images; + joins labels of a side."""

    sides: tuple[str, str]
    metrics: tuple[Metric, ...] = ()
    images: int | None = None

    def metric(self, name: str) -> Metric | None:
        """Return a metric by its name."""
        return _named(self.metrics, name)


@dataclass(frozen=True)
class Baseline:
    """What the border-and-histogram baseline sees, and how many images it learned."""

    sees: str = ""
    learned_from: int | None = None


@dataclass(frozen=True)
class Measurement:
    """The metrics of a model on one set of images.

    `datasets` names the sources; none: every image of the split that was there.
    `change` is what was done to the images before, one of
    `ml.evaluation.shortcuts.changes`. `not_known` has the number of images whose view,
    sex or age the data do not say. `command` measures the same again.
    """

    key: str
    split: str
    datasets: tuple[str, ...]
    images: int | None
    patients: int | None
    command: tuple[str, ...]
    metrics: tuple[Metric, ...]
    change: str | None = None
    labels: tuple[LabelMetrics, ...] = ()
    too_few: tuple[str, ...] = ()
    confusion: Confusion | None = None
    groups: tuple[Group, ...] = ()
    not_known: Mapping[str, int] | None = None
    predictive_values: tuple[PredictiveValues, ...] = ()
    coverage: Coverage | None = None
    pair: Pair | None = None
    baseline: Baseline | None = None

    def metric(self, name: str) -> Metric | None:
        """Return a metric of all images by its name."""
        return _named(self.metrics, name)

    def label(self, name: str) -> LabelMetrics | None:
        """Return the metrics of a label."""
        return next((each for each in self.labels if each.label == name), None)

    @property
    def not_separable(self) -> tuple[str, ...]:
        """Metrics and labels by which the baseline reads as well as the model."""
        return _not_separable(self.metrics, self.labels)


@dataclass(frozen=True)
class Share:
    """How many of some images a gate refuses."""

    n: int
    refused: int
    share: float | None
    low: float
    high: float


@dataclass(frozen=True)
class RefusedKind:
    """How many images of a kind that must be refused are refused, and why."""

    n: int
    refused: int
    share: float | None
    low: float
    high: float
    reasons: Mapping[str, int]
    let_in: tuple[str, ...] = ()


@dataclass(frozen=True)
class RealImages:
    """What a gate does to images that the model should read."""

    refused: Share
    by_source: Mapping[str, Share]
    by_view: Mapping[str, Share]
    by_age: Mapping[str, Share]
    reasons: Mapping[str, int]


@dataclass(frozen=True)
class MustBeRefused:
    """What a gate does to images that the model must not read."""

    n: int
    refused: Share
    auroc: float | None
    by_kind: Mapping[str, RefusedKind]


@dataclass(frozen=True)
class GateTrial:
    """What a gate refuses of real images, and of what must be refused."""

    split: str
    datasets: tuple[str, ...]
    images: int
    command: tuple[str, ...]
    real: RealImages
    must_be_refused: MustBeRefused
    patients: int | None = None
    samples: Share | None = None
    model: str = ""
    version: str = ""
    weights_sha256: str = ""
    threshold: float | None = None


@dataclass(frozen=True)
class GateFit:
    """What a gate refused of the images that its limits were fitted to."""

    held_out_refused: float
    held_out_made_wrong_refused: Mapping[str, float]


@dataclass(frozen=True)
class Gate:
    """The gate in feature space: its file, how it was fitted, what it refuses."""

    file: str
    sha256: str
    threshold: float
    method: str = ""
    fitted_on: str = ""
    figures: GateFit | None = None
    val: GateTrial | None = None


@dataclass(frozen=True)
class ChangedImages:
    """The metrics on some images under one change; `part`: "all" or a data set."""

    part: str
    images: int
    metrics: tuple[Metric, ...]
    change: str | None = None


@dataclass(frozen=True)
class BaselineComparison:
    """The model beside the baseline on the same images; `part`: "all" or a data set."""

    part: str
    metrics: tuple[Metric, ...]
    labels: tuple[LabelMetrics, ...] = ()
    sees: str = ""
    learned_from: int | None = None

    @property
    def not_separable(self) -> tuple[str, ...]:
        """Metrics and labels by which the baseline reads as well as the model."""
        return _not_separable(self.metrics, self.labels)


@dataclass(frozen=True)
class SourcePair:
    """How well the network's features tell two sources apart within one class."""

    label: str
    sources: tuple[str, str]
    auc: Estimate
    auc_cross_validated_on_train: Estimate | None = None
    images: Mapping[str, int] | None = None
    patients: Mapping[str, int] | None = None


@dataclass(frozen=True)
class UnmeasuredPair:
    """Two sources of a class with too few patients to tell them apart."""

    label: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class SourceTest:
    """Which sources the network's features tell apart."""

    pairs: tuple[SourcePair, ...] = ()
    too_few: tuple[UnmeasuredPair, ...] = ()


@dataclass(frozen=True)
class HeatOfLabel:
    """The share of a label's heat outside the lungs, on images with the label."""

    images: int
    outside: Estimate
    outside_if_even: Estimate
    patients: int | None = None


@dataclass(frozen=True)
class HeatOutsideLungs:
    """Where the heat of each label lies."""

    labels: Mapping[str, HeatOfLabel]
    images_without_lungs_found: int | None = None


@dataclass(frozen=True)
class PointingGame:
    """How often the hottest cell lies in a box that a reader drew, beside chance.

    `empty` is how many maps had no evidence at all; each counts as a miss.
    """

    images_and_labels: int
    hit: Estimate
    random: Estimate
    centre: Estimate
    patients: int | None = None
    empty: int | None = None
    lead_over_random: Estimate | None = None
    lead_over_centre: Estimate | None = None
    heat_inside: Estimate | None = None


@dataclass(frozen=True)
class InsertionDeletion:
    """Areas under the score's curve by the order in which cells come or go."""

    images: int
    insertion: Mapping[str, Estimate]
    deletion: Mapping[str, Estimate]
    patients: int | None = None
    blur_share: float | None = None


@dataclass(frozen=True)
class RandomisationStage:
    """How alike heat maps stay with a share of the layers destroyed."""

    rank_correlation: Estimate
    share_of_layers: float | None = None
    images: int | None = None
    flat_maps: int | None = None


@dataclass(frozen=True)
class Randomisation:
    """Whether heat maps depend on what was learned."""

    stages: tuple[RandomisationStage, ...]
    passed: bool
    draws: int | None = None
    largest_allowed: float | None = None


@dataclass(frozen=True)
class HeatMapMeasures:
    """How well heat maps point and explain, and whether they depend on training."""

    split: str
    datasets: tuple[str, ...]
    images: int
    patients: int | None
    command: tuple[str, ...]
    insertion_deletion: InsertionDeletion
    randomisation: Randomisation
    pointing_game: Mapping[str, PointingGame] | None = None
    cells: tuple[int, ...] = ()


@dataclass(frozen=True)
class FlaggedShare:
    """How many images are flagged: for any claimed label, and for each of them."""

    flagged: Estimate
    labels: Mapping[str, Estimate]


@dataclass(frozen=True)
class FlaggedTogether:
    """How many images any of several models flags for any claimed label."""

    models: tuple[str, ...]
    flagged: Estimate
    images: int
    patients: int
    command: tuple[str, ...]


@dataclass(frozen=True)
class FlaggedNormals:
    """How often images that readers called normal are flagged, by operating point.

    `default` names the operating point whose thresholds are the card's; "" where they
    are none of them.
    """

    split: str
    datasets: tuple[str, ...]
    images: int
    patients: int
    command: tuple[str, ...]
    points: Mapping[str, FlaggedShare]
    default: str = ""
    together: FlaggedTogether | None = None


@dataclass(frozen=True)
class TrialResult:
    """A metric on patients of a source, or of folds, that a training left out.

    `task` names the head and its label, `source` the data set that was measured,
    `method` how the training worked against telling sources apart. The networks were
    trained for the trial and are not the model itself; `shortened` says how their
    training was shorter, "" where it was not.
    """

    task: str
    source: str
    metric: str
    value: Estimate
    images: int
    patients: int
    command: tuple[str, ...]
    method: str = PLAIN
    baseline: Estimate | None = None
    lead: Estimate | None = None
    left_out: tuple[str, ...] = ()
    folds: int = 0
    shortened: str = ""


def command_text(command: Sequence[str]) -> str:
    """Write a command for a shell; settings such as $CHESTX_DATA stay readable."""
    return " ".join(
        f'"{word}"' if word.startswith("$") else shlex.quote(word) for word in command
    )


def _named(metrics: tuple[Metric, ...], name: str) -> Metric | None:
    return next((metric for metric in metrics if metric.name == name), None)


def _not_separable(
    metrics: tuple[Metric, ...], labels: tuple[LabelMetrics, ...]
) -> tuple[str, ...]:
    return (
        *(m.name for m in metrics if m.baseline and not m.baseline.separable),
        *(
            each.label
            for each in labels
            if any(m.baseline and not m.baseline.separable for m in each.metrics)
        ),
    )
