"""Plots of a measurement as SVG: ROC, precision and recall, reliability, confusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from sklearn.calibration import calibration_curve
from sklearn.metrics import precision_recall_curve, roc_curve

from ml.evaluation.summary import ScoredImages
from ml.evaluation.wording import Translate, in_english
from ml.metrics import CALIBRATION_BINS, confusion, expected_calibration_error
from ml.training.curves import COLOURS, FAINT, INK, SHARES, style_axes, svg_of

# More points would only make the file larger.
MOST_POINTS = 400


@dataclass(frozen=True)
class Line:
    """One line of a plot: float x and y in 0..1, and what it is called."""

    name: str
    x: np.ndarray
    y: np.ndarray
    marked: bool = False


def square_plot(
    lines: Sequence[Line], *, title: str, x: str, y: str, diagonal: bool = False
) -> str:
    """Plot lines over two axes between 0 and 1.

    Args:
        lines: What to plot; their names stand in the legend.
        title: What stands above.
        x: What the horizontal axis is.
        y: What the vertical axis is.
        diagonal: Whether to draw where x and y are equal.
    """
    figure = Figure(figsize=(6.8, max(4.4, 0.6 + 0.24 * len(lines))))
    # In inches from the left and from the top, so that every plot is as large.
    width, height = figure.get_size_inches()
    axes = figure.add_axes((0.6 / width, 1 - 3.9 / height, 3.3 / width, 3.3 / height))
    style_axes(axes, title=title, x=x, y=y)
    axes.set_xlim(-0.01, 1.01)
    axes.set_xticks(SHARES)
    if diagonal:
        axes.plot((0, 1), (0, 1), color=FAINT, linestyle=":", linewidth=1)
    for number, line in enumerate(lines):
        axes.plot(
            line.x,
            line.y,
            label=line.name,
            color=COLOURS[number % len(COLOURS)],
            # The same colour again is told apart by its dashes.
            linestyle="--" if number >= len(COLOURS) else "-",
            marker="o" if line.marked else "",
            markersize=4,
        )
    if lines:
        axes.legend(
            loc="upper left",
            bbox_to_anchor=(1.03, 1.03),
            frameon=False,
            fontsize="small",
        )
    return svg_of(figure)


def confusion_plot(
    names: Sequence[str], matrix: np.ndarray, *, translate: Translate = in_english
) -> str:
    """Plot a table of counts: rows are the truth, columns what the model calls.

    Args:
        names: The classes.
        matrix: int (classes, classes).
        translate: Returns a text in the language of the reader.
    """
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = 0.6 * len(names)
    figure = Figure(figsize=(side + 2.8, side + 2.4))
    width, height = figure.get_size_inches()
    axes = figure.add_axes((2.0 / width, 0.3 / height, side / width, side / height))
    # An empty cell is a little darker than the ground.
    axes.pcolormesh(
        0.06 + 0.94 * shares,
        cmap="Blues",
        vmin=0.0,
        vmax=1.0,
        edgecolors="#ffffff",
        linewidth=2,
    )
    axes.invert_yaxis()
    for (row, column), count in np.ndenumerate(matrix):
        ink = "#ffffff" if shares[row, column] > 0.55 else INK
        place = (column + 0.5, row + 0.5)
        axes.annotate(str(count), place, color=ink, ha="center", va="center")
    middles = np.arange(len(names)) + 0.5
    axes.set_xticks(middles, names, rotation=40, ha="left", rotation_mode="anchor")
    axes.set_yticks(middles, names)
    axes.tick_params(length=0, labeltop=True, labelbottom=False, labelcolor=INK)
    axes.spines[:].set_visible(False)
    figure.text(
        0.1 / width,
        1 - 0.3 / height,
        translate("Rows: the truth. Columns: the model."),
        color=INK,
        fontsize="large",
    )
    return svg_of(figure)


def roc_line(name: str, scores: np.ndarray, positive: np.ndarray) -> Line:
    """Return sensitivity over 1 - specificity at every threshold."""
    false_positive_rate, sensitivity, _ = roc_curve(positive, scores)
    return _thinned(Line(name, false_positive_rate, sensitivity))


def precision_recall_line(name: str, scores: np.ndarray, positive: np.ndarray) -> Line:
    """Return precision over recall at every threshold."""
    precision, recall, _ = precision_recall_curve(positive, scores)
    return _thinned(Line(name, recall, precision))


def reliability_line(name: str, probability: np.ndarray, right: np.ndarray) -> Line:
    """Return the share that is right over the mean probability of each bin."""
    share, mean = calibration_curve(right, probability, n_bins=CALIBRATION_BINS)
    error = expected_calibration_error(probability, right)
    return Line(f"{name}: ECE {error:.3f}", mean, share, marked=True)


def plots_of(
    scored: ScoredImages,
    *,
    risk: Sequence[Sequence[float | None]],
    translate: Translate = in_english,
) -> dict[str, str]:
    """Return the SVG of every plot of a measurement by its name.

    Args:
        scored: The images, at least one.
        risk: [coverage, risk], as `ml.evaluation.coverage.risk_coverage` gives it.
        translate: Returns a text in the language of the reader.
    """
    labels = [
        (name, scored.scores[known, i], scored.positive[known, i])
        for i, name in enumerate(scored.card.label_names)
        if (known := scored.known[:, i]).any()
        and scored.positive[known, i].any()
        and not scored.positive[known, i].all()
    ]
    coverage, wrong = np.array(risk, float).T
    plots = {
        "roc": square_plot(
            [roc_line(*label) for label in labels],
            title=translate("ROC"),
            x=translate("1 - specificity"),
            y=translate("sensitivity"),
            diagonal=True,
        ),
        "precision-recall": square_plot(
            [precision_recall_line(*label) for label in labels],
            title=translate("Precision and recall"),
            x=translate("recall"),
            y=translate("precision"),
        ),
        "reliability": square_plot(
            [
                reliability_line(*label)
                for label in _calibrated(scored, labels, translate)
            ],
            title=translate("Reliability"),
            x=translate("probability"),
            y=translate("observed share"),
            diagonal=True,
        ),
        "risk-coverage": square_plot(
            [Line(translate("risk"), coverage, wrong)],
            title=translate("Risk and coverage"),
            x=translate("share answered, most certain first"),
            y=translate("share wrong"),
        ),
    }
    return plots | _confusion_plots(scored, translate)


def _calibrated(
    scored: ScoredImages,
    labels: list[tuple[str, np.ndarray, np.ndarray]],
    translate: Translate,
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Return whose probabilities are checked: the class chosen, or every label."""
    if scored.card.task != "softmax":
        return labels
    right = (scored.called & scored.positive).any(axis=1)
    return [(translate("class chosen"), scored.scores.max(axis=1), right)]


def _confusion_plots(scored: ScoredImages, translate: Translate) -> dict[str, str]:
    names = scored.card.label_names
    if scored.card.task == "softmax":
        table = confusion(
            scored.positive.argmax(axis=1),
            scored.called.argmax(axis=1),
            classes=len(names),
        )
        return {"confusion": confusion_plot(names, table, translate=translate)}
    if len(names) > 1:
        return {}
    known = scored.known[:, 0]
    table = confusion(
        scored.positive[known, 0].astype(int),
        scored.called[known, 0].astype(int),
        classes=2,
    )
    sides = (translate("no %(label)s") % {"label": names[0]}, names[0])
    return {"confusion": confusion_plot(sides, table, translate=translate)}


def _thinned(line: Line) -> Line:
    """Return a line with at most MOST_POINTS points, its ends among them."""
    if len(line.x) <= MOST_POINTS:
        return line
    kept = np.linspace(0, len(line.x) - 1, MOST_POINTS).round().astype(int)
    return Line(line.name, line.x[kept], line.y[kept], marked=line.marked)
