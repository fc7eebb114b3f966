"""Metrics of a card quoted in texts: placeholders such as {val.balanced_accuracy}.

A placeholder names a measurement by its key and a metric of it:

    {val_kermany.balanced_accuracy}            a metric of all images
    {val_kermany.pair.auc}                     of the pair that was told apart
    {val.Tuberculosis.auc}                     of a label
    {val.Tuberculosis.auc.baseline}            the border-and-histogram baseline's
    {val_kermany.balanced_accuracy|interval}   with its 95 % interval
    {val_kermany.images}                       the number of images
    {training_data.images}                     the number of training images
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ml.cards.contents import TrainingSource
from ml.cards.measurements import BaselineValue, Estimate, Measurement, Metric
from ml.errors import ModelError

NOT_MEASURED = "not measured yet"
_PLACEHOLDER = re.compile(r"\{([^{}|]+)(\|interval)?\}")
_TRAINING_IMAGES = "training_data.images"


def with_metrics(
    text: str,
    measurements: Sequence[Measurement],
    training_data: Sequence[TrainingSource] = (),
) -> str:
    """Return a text with its placeholders filled from a card.

    Where nothing is measured yet, the text says so.

    Raises:
        ModelError: A measurement lacks the metric that the text quotes.
    """

    def filled(match: re.Match[str]) -> str:
        path, interval = match[1], bool(match[2])
        if path == _TRAINING_IMAGES:
            return f"{sum(source.images or 0 for source in training_data):,}"
        key, _, rest = path.partition(".")
        measurement = next((each for each in measurements if each.key == key), None)
        if measurement is None:
            if measurements:
                raise _missing(path)
            return NOT_MEASURED
        if rest == "images":
            return f"{measurement.images:,}"
        value = _quoted_value(measurement, rest.split("."))
        if value is None or value.value is None:
            raise _missing(path)
        return quoted(value, interval=interval)

    return _PLACEHOLDER.sub(filled, text)


def quoted(
    value: Estimate | Metric | BaselineValue, *, interval: bool, digits: int = 2
) -> str:
    """Write a value, with its interval if asked for and if it has one."""
    if value.value is None:
        return "–"
    written = f"{value.value:.{digits}f}"
    if not interval or value.low is None or value.high is None:
        return written
    return f"{written} ({value.low:.{digits}f} to {value.high:.{digits}f})"


def _missing(path: str) -> ModelError:
    return ModelError(
        "A text quotes %(metric)s, which the card does not have.",
        params={"metric": path},
    )


def _quoted_value(
    measurement: Measurement, path: list[str]
) -> Metric | BaselineValue | None:
    """Return what [pair or label,] metric [, "baseline"] names."""
    of_baseline = path[-1] == "baseline"
    *part, name = path[:-1] if of_baseline else path
    if not part:
        metric = measurement.metric(name)
    elif part == ["pair"]:
        metric = measurement.pair.metric(name) if measurement.pair else None
    else:
        label = measurement.label(part[0])
        metric = label.metric(name) if label else None
    return metric.baseline if metric and of_baseline else metric
