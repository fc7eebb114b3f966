"""Plot training curves as SVG; the style and the SVG writer that all plots share.

Plots have a white ground, so they read the same on light and dark pages.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

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
GRID, FAINT, INK = "#d8dce2", "#9aa3ad", "#1d2430"
SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def curves_svg(
    history: Sequence[Mapping[str, Any]], *, keys: Mapping[str, str], title: str
) -> str:
    """Plot metrics between 0 and 1 over the epochs.

    Args:
        history: One entry an epoch.
        keys: The metrics to plot, with what each is called.
        title: What stands above.
    """
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    axes = figure.add_subplot()
    style_axes(axes, title=title, x="epoch", y="")
    axes.set_xlim(0.5, max(1, len(history)) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for (key, name), colour in zip(keys.items(), COLOURS, strict=False):
        measured = [
            number
            for number, entry in enumerate(history, 1)
            if entry.get(key) is not None
        ]
        values = [float(history[number - 1][key]) for number in measured]
        # A line of one point would not be seen.
        marker = "o" if len(measured) == 1 else ""
        axes.plot(measured, values, color=colour, label=name, marker=marker)
    _mark_sizes(axes, history)
    axes.legend(loc="lower right", labelcolor="linecolor", framealpha=0.8)
    return svg_of(figure)


def _mark_sizes(axes: Axes, history: Sequence[Mapping[str, Any]]) -> None:
    """Mark the epochs from which images are larger."""
    size = None
    for number, entry in enumerate(history, 1):
        if entry["size"] != size:
            size = entry["size"]
            axes.axvline(number, color=FAINT, linestyle=":", linewidth=1)
            axes.annotate(
                f"{size} px, from epoch {entry['epoch']}",
                (number, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(3, 3),
                textcoords="offset points",
                fontsize="small",
                color=COLOURS[-1],
            )


def style_axes(axes: Axes, *, title: str, x: str, y: str) -> None:
    """Style the axes of a plot of shares: title, names, grid, range 0 to 1."""
    axes.set_title(title, loc="left", color=INK, pad=20)
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.set_ylim(-0.01, 1.01)
    axes.set_yticks(SHARES)
    axes.grid(axis="y", color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0, labelcolor=INK)


def svg_of(figure: Figure) -> str:
    """Return a figure as an SVG element: the same text for the same figure."""
    written = io.StringIO()
    # Text stays text; identifiers are the same in every run.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "chestx"}):
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    text = written.getvalue()
    # Without the XML prolog, so that it can stand inside an HTML page, too.
    return text[text.index("<svg") :]
