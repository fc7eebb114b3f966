"""Lines of plots against values worked out by hand; the SVG is the same every time."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from ml.evaluation.plots import (
    MOST_POINTS,
    confusion_plot,
    precision_recall_line,
    reliability_line,
    roc_line,
    square_plot,
)
from ml.training.curves import curves_svg

pytestmark = pytest.mark.slow


SCORES = np.array([0.9, 0.8, 0.7, 0.1])
POSITIVE = np.array([True, False, True, False])
HISTORY: list[dict[str, Any]] = [
    {"epoch": 1, "size": 64, "val": 0.4},
    {"epoch": 2, "size": 64},
    {"epoch": 3, "size": 96, "val": 0.8},
]


def test_the_roc_starts_with_no_positive_image_and_ends_with_all() -> None:
    line = roc_line("a", SCORES, POSITIVE)
    points = list(zip(line.x, line.y, strict=True))
    assert points == [(0, 0), (0, 0.5), (0.5, 0.5), (0.5, 1), (1, 1)]


def test_precision_falls_with_each_false_positive() -> None:
    line = precision_recall_line("a", SCORES, POSITIVE)
    assert line.y[line.x == 1.0] == pytest.approx([0.5, 2 / 3])
    assert line.y[line.x == 0.5] == pytest.approx([0.5, 1.0])


def test_reliability_has_a_point_for_each_bin_with_images() -> None:
    line = reliability_line("a", np.array([0.02, 0.04, 0.95]), np.array([0, 1, 1]) > 0)
    assert line.x == pytest.approx([0.03, 0.95])
    assert line.y == pytest.approx([0.5, 1.0])
    assert line.name == "a: ECE 0.330"


def test_long_lines_are_thinned_and_keep_their_ends() -> None:
    rng = np.random.default_rng(0)
    line = roc_line("a", rng.random(5000), rng.random(5000) < 0.5)
    assert len(line.x) == MOST_POINTS
    assert (line.x[0], line.y[0], line.x[-1], line.y[-1]) == (0, 0, 1, 1)


def test_plots_are_deterministic_svgs_with_text_elements() -> None:
    def drawn() -> list[str]:
        return [
            square_plot([roc_line("a < b", SCORES, POSITIVE)], title="t", x="x", y="y"),
            confusion_plot(("yes", "no"), np.array([[3, 1], [0, 4]])),
            curves_svg(HISTORY, keys={"val": "val & more"}, title="Training"),
        ]

    words = [("a < b", "t", "x", "y"), ("yes", "no", "3"), ("val & more", "Training")]
    for first, again, expected in zip(drawn(), drawn(), words, strict=True):
        assert first == again
        root = ElementTree.fromstring(first)  # noqa: S314 - our own
        assert set(expected) <= {text.strip() for text in root.itertext()}
