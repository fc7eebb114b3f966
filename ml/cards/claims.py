"""What a card claims: labels with a known accuracy, and a model good enough to use.

The rules use the card's own measurements on images as they are; measurements of changed
images do not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ml.cards.card import Card
from ml.cards.measurements import LabelMetrics, Measurement, Metric

# The area under the curve of a model that guesses.
CHANCE = 0.5
# Data sets of images that were cropped to the lungs before they were published.
CROPPED_DATASETS = frozenset({"nih-emphysema"})


def claimed_labels(card: Card, *, members: Sequence[Card] = ()) -> tuple[str, ...]:
    """Return the labels for which a card claims an accuracy, in the card's order.

    A label is claimed if a measurement within one source, on enough images, finds its
    area under the curve above chance with its interval, and above that of the
    border-and-histogram baseline. One such source is enough; the card's limits name
    those where the baseline reads as well. Where no source was compared with the
    baseline, none of the label's measurements may find the baseline as good.
    Measurements over several sources claim nothing: there the source may tell the
    label, and a network sees more of it than the baseline.

    A label of an ensemble is claimed if the ensemble reads it better than chance and a
    member claims a label that makes it.

    Args:
        card: The card.
        members: The cards of an ensemble's members.
    """
    if card.members:
        by_member = {member.name: claimed_labels(member) for member in members}
        return tuple(
            name
            for name in card.label_names
            if _is_claimed_by_a_member(card, name, by_member)
            and any(_is_above_chance(label) for _, label in _measured(card, name))
        )
    return tuple(name for name in card.label_names if _is_claimed(card, name))


@dataclass(frozen=True)
class Weakness:
    """Why a demo does not use a model: its mean area under the curve in a measurement.

    `beside_baseline`: the border-and-histogram baseline reads the images as well;
    otherwise the model does no better than chance.
    """

    measurement: Measurement
    metric: Metric
    beside_baseline: bool


def weakness_of(card: Card) -> Weakness | None:
    """Return why a model is not good enough for a demo, or None.

    Its mean area under the curve must exceed chance, and that of the
    border-and-histogram baseline where it was compared, each with its interval. One
    such measurement is enough. Those on whole images of one source decide; without
    them those on whole images, then the others. A card without measurements shows
    nothing.
    """
    measured = _deciding(
        (measurement, metric)
        for measurement in card.measurements
        if measurement.change is None and (metric := measurement.metric("mean_auc"))
    )
    if measured and not any(_exceeds_chance(metric) for _, metric in measured):
        return Weakness(*measured[0], beside_baseline=False)
    compared = [each for each in measured if each[1].baseline]
    if compared and not any(m.baseline and m.baseline.separable for _, m in compared):
        return Weakness(*compared[0], beside_baseline=True)
    return None


def _deciding(
    measured: Iterable[tuple[Measurement, Metric]],
) -> list[tuple[Measurement, Metric]]:
    every = list(measured)
    whole = [m for m in every if not CROPPED_DATASETS.intersection(m[0].datasets)]
    within = [m for m in whole if len(m[0].datasets) == 1]
    return within or whole or every


def _is_claimed(card: Card, name: str) -> bool:
    measured = _measured(card, name)
    leads = {
        _is_separable(label)
        for measurement, label in measured
        if len(measurement.datasets) == 1 and _is_above_chance(label)
    }
    as_good = any(_is_separable(label) is False for _, label in measured)
    return True in leads or (None in leads and not as_good)


def _is_claimed_by_a_member(
    card: Card, name: str, by_member: Mapping[str, Sequence[str]]
) -> bool:
    sources = card.label_sources.get(name, {})
    return any(
        source in by_member.get(member, ())
        for member, labels in sources.items()
        for source in labels
    )


def _measured(card: Card, name: str) -> list[tuple[Measurement, LabelMetrics]]:
    """Return the measurements of a label on enough unchanged images."""
    return [
        (measurement, label)
        for measurement in card.measurements
        if measurement.change is None
        and (label := measurement.label(name)) is not None
        and label.claimed
    ]


def _is_separable(label: LabelMetrics) -> bool | None:
    """Return whether the model leads the baseline; None if it was not compared."""
    compared = [metric.baseline for metric in label.metrics if metric.baseline]
    return all(each.separable for each in compared) if compared else None


def _is_above_chance(label: LabelMetrics) -> bool:
    return _exceeds_chance(label.metric("auc"))


def _exceeds_chance(metric: Metric | None) -> bool:
    return metric is not None and metric.low is not None and metric.low > CHANCE
