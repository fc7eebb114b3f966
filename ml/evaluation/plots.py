"""Plots of a measurement as SVG of our own, in the style of the training curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np

from ml.evaluation.summary import ScoredImages
from ml.metrics import expected_calibration_error

SIDE, MARGIN, LEGEND = 320, 48, 220
COLOURS = (
    "#2463a8",
    "#b3541e",
    "#2e7d4f",
    "#7a4fa3",
    "#8a6d00",
    "#a3345f",
    "#1f7f86",
    "#5b6470",
)
CELL = 56
BINS = 10
Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """One line of a plot: x and y in 0..1, and what it is called."""

    name: str
    points: Points
    marked: bool = False


def square_plot(
    lines: Sequence[Line], *, title: str, x: str, y: str, diagonal: bool = False
) -> str:
    """Draw lines between 0 and 1 over an axis between 0 and 1.

    Args:
        lines: What to draw; names stand in the legend.
        title: What stands above.
        x: What the horizontal axis is.
        y: What the vertical axis is.
        diagonal: Whether to draw where x and y are equal.
    """
    height = max(SIDE + 2 * MARGIN, 2 * MARGIN + 18 * len(lines))
    parts = [_open(SIDE + 2 * MARGIN + LEGEND, height, title)]
    for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        along, up = _x(share), _y(share)
        parts.append(
            f'<line x1="{MARGIN}" y1="{up}" x2="{MARGIN + SIDE}" y2="{up}" '
            f'stroke="#d8dce2"/><text x="14" y="{up + 4}">{share:.1f}</text>'
            f'<text x="{along}" y="{MARGIN + SIDE + 16}" text-anchor="middle">'
            f"{share:.1f}</text>"
        )
    if diagonal:
        parts.append(
            f'<line x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}" '
            'stroke="#9aa3ad" stroke-dasharray="3 3"/>'
        )
    for number, line in enumerate(lines):
        parts += _drawn(line, number)
    parts.append(
        f'<text x="{MARGIN + SIDE / 2}" y="{MARGIN + SIDE + 36}" '
        f'text-anchor="middle">{escape(x)}</text>'
        f'<text x="{MARGIN}" y="{MARGIN - 10}">{escape(y)}</text></svg>\n'
    )
    return "\n".join(parts)


def _drawn(line: Line, number: int) -> list[str]:
    colour = COLOURS[number % len(COLOURS)]
    # The same colour again is told apart by its dashes.
    dashes = ' stroke-dasharray="6 4"' if number >= len(COLOURS) else ""
    placed = [(_x(x), _y(y)) for x, y in line.points]
    at = " ".join(f"{x},{y}" for x, y in placed)
    top = MARGIN + 18 * number
    left = MARGIN + SIDE + 20
    parts = [
        f'<polyline points="{at}" fill="none" stroke="{colour}" stroke-width="2"'
        f"{dashes}/>",
        f'<line x1="{left}" y1="{top}" x2="{left + 18}" y2="{top}" '
        f'stroke="{colour}" stroke-width="2"{dashes}/>'
        f'<text x="{left + 24}" y="{top + 4}">{escape(line.name)}</text>',
    ]
    if line.marked:
        parts += [
            f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in placed
        ]
    return parts


def confusion_plot(names: Sequence[str], matrix: Sequence[Sequence[int]]) -> str:
    """Draw a table of counts: rows are the truth, columns what the model says."""
    table = np.asarray(matrix, float)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    left, top = 170, 120
    width, height = left + CELL * len(names) + 80, top + CELL * len(names) + 24
    parts = [_open(width, height, "Rows: the truth. Columns: what the model says.")]
    for row, name in enumerate(names):
        y = top + CELL * row
        parts.append(
            f'<text x="{left - 8}" y="{y + CELL / 2 + 4}" text-anchor="end">'
            f"{escape(name)}</text>"
        )
        turned = f"{left + CELL * row + CELL / 2},{top - 8}"
        parts.append(
            f'<text transform="translate({turned}) rotate(-40)">{escape(name)}</text>'
        )
        for column in range(len(names)):
            share = shares[row, column]
            x = left + CELL * column
            ink = "#ffffff" if share > 0.55 else "#1d2430"
            parts.append(
                f'<rect x="{x}" y="{y}" width="{CELL - 2}" height="{CELL - 2}" '
                f'fill="#2463a8" fill-opacity="{0.06 + 0.94 * share:.2f}"/>'
                f'<text x="{x + CELL / 2 - 1}" y="{y + CELL / 2 + 4}" fill="{ink}" '
                f'text-anchor="middle">{int(table[row, column])}</text>'
            )
    return "\n".join([*parts, "</svg>\n"])


def roc_points(scores: np.ndarray, positive: np.ndarray) -> Points:
    """Return (1 - specificity, sensitivity) at every threshold, from none to all."""
    called, hits = _by_falling_score(scores, positive)
    misses = called - hits
    found = hits / max(1, int(positive.sum()))
    false = misses / max(1, int((~positive).sum()))
    return _thinned([(0.0, 0.0), *zip(false.tolist(), found.tolist(), strict=True)])


def precision_recall_points(scores: np.ndarray, positive: np.ndarray) -> Points:
    """Return (recall, precision) at every threshold, the highest first."""
    called, hits = _by_falling_score(scores, positive)
    recall = hits / max(1, int(positive.sum()))
    return _thinned(list(zip(recall.tolist(), (hits / called).tolist(), strict=True)))


def reliability_points(probability: np.ndarray, right: np.ndarray) -> Points:
    """Return (mean probability, share that is so) of each bin that has images."""
    place = np.minimum((probability * BINS).astype(int), BINS - 1)
    return [
        (float(probability[place == b].mean()), float(right[place == b].mean()))
        for b in range(BINS)
        if (place == b).any()
    ]


def plots_of(
    scored: ScoredImages, *, risk: Sequence[Sequence[float | None]]
) -> dict[str, str]:
    """Return the SVG of every plot of a measurement by its name.

    Args:
        scored: The images, at least one.
        risk: [coverage, risk], as `ml.evaluation.coverage.risk_coverage` gives it.
    """
    labels = [
        (name, scored.scores[known, i], scored.positive[known, i])
        for i, name in enumerate(scored.card.label_names)
        if (known := scored.known[:, i]).any()
        and scored.positive[known, i].any()
        and not scored.positive[known, i].all()
    ]
    plots = {
        "roc": square_plot(
            [Line(n, roc_points(s, p)) for n, s, p in labels],
            title="ROC",
            x="1 - specificity",
            y="sensitivity",
            diagonal=True,
        ),
        "precision-recall": square_plot(
            [Line(n, precision_recall_points(s, p)) for n, s, p in labels],
            title="Precision and recall",
            x="recall",
            y="precision",
        ),
        "reliability": square_plot(
            _reliability_lines(scored, labels),
            title="Reliability",
            x="probability",
            y="share that is so",
            diagonal=True,
        ),
        "risk-coverage": square_plot(
            [Line("risk", [(float(c or 0), float(r or 0)) for c, r in risk])],
            title="Risk and coverage",
            x="share answered, the surest first",
            y="share of those wrong",
        ),
    }
    return plots | _confusion_plots(scored)


def _reliability_lines(
    scored: ScoredImages, labels: list[tuple[str, np.ndarray, np.ndarray]]
) -> list[Line]:
    if scored.card.task == "softmax":
        surest = scored.scores.max(axis=1)
        right = (scored.called & scored.positive).any(axis=1)
        labels = [("class chosen", surest, right)]
    return [
        Line(
            f"{name}: ECE {expected_calibration_error(found, has_it):.3f}",
            reliability_points(found, has_it),
            marked=True,
        )
        for name, found, has_it in labels
    ]


def _confusion_plots(scored: ScoredImages) -> dict[str, str]:
    names = scored.card.label_names
    if scored.card.task == "softmax":
        chosen = scored.called.argmax(axis=1)
        table = np.zeros((len(names), len(names)), int)
        np.add.at(table, (scored.positive.argmax(axis=1), chosen), 1)
        return {"confusion": confusion_plot(names, table.tolist())}
    if len(names) > 1:
        return {}
    known = scored.known[:, 0]
    table = np.zeros((2, 2), int)
    ground_truth = scored.positive[known, 0].astype(int)
    np.add.at(table, (ground_truth, scored.called[known, 0].astype(int)), 1)
    return {
        "confusion": confusion_plot((f"no {names[0]}", names[0]), table.tolist()),
    }


def _by_falling_score(
    scores: np.ndarray, positive: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return counts of positives and true positives at each distinct score."""
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.r_[np.diff(-scores[order]) > 0, True])
    return last + 1.0, positive[order].cumsum()[last].astype(float)


def _thinned(points: Points, *, most: int = 400) -> Points:
    """Return at most so many of the points, the ends among them."""
    if len(points) <= most:
        return points
    kept = np.unique(np.linspace(0, len(points) - 1, most).round().astype(int))
    return [points[i] for i in kept]


def _open(width: float, height: float, title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="12">\n'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n'
        f'<text x="{MARGIN}" y="20" font-size="14">{escape(title)}</text>'
    )


def _x(value: float) -> float:
    return round(MARGIN + SIDE * value, 1)


def _y(value: float) -> float:
    return round(MARGIN + SIDE * (1.0 - value), 1)
