"""Several heads on one network: their columns, ground truth, recipes and names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from ml.datasets.ground_truth import (
    GroundTruth,
    images_of,
    sigmoid_ground_truth,
    softmax_ground_truth,
)
from ml.datasets.manifest import ManifestRow
from ml.training.recipes import RECIPES, Head, Recipe


def recipe_of_head(recipe: Recipe, head: Head) -> Recipe:
    """Return a head as a recipe of its own, under the name of its model."""
    if not recipe.shared_by:
        return recipe
    return replace(
        recipe,
        name=f"{recipe.name}-{head.name}",
        labels=head.labels,
        task=head.task,
        datasets=head.datasets or recipe.datasets,
        measured_dataset=head.measured_dataset,
        shared_by=(),
    )


def recipe_of_model(name: str) -> Recipe | None:
    """Return the recipe of a model, be it a head; None if it is not trained here."""
    for recipe in RECIPES.values():
        for head in recipe.heads:
            own = recipe_of_head(recipe, head)
            if own.name == name:
                return own
    return None


def columns_of(recipe: Recipe) -> Iterator[tuple[Head, slice]]:
    """Yield each head with its columns among the logits of the network."""
    begin = 0
    for head in recipe.heads:
        end = begin + len(head.labels)
        yield head, slice(begin, end)
        begin = end


def ground_truth_of_heads(recipe: Recipe, rows: Sequence[ManifestRow]) -> GroundTruth:
    """Return the ground truth of all heads side by side.

    An image is included if a head knows a label of it; the labels of the others are
    unknown. Of a softmax head, all or none of an image's labels are known.
    """
    rows = _of_sources(rows, recipe.datasets)
    by_head = [(_of_head(head, rows), columns) for head, columns in columns_of(recipe)]
    paths = {row.path for truth, _ in by_head for row in truth.rows}
    included = [row for row in rows if row.path in paths]
    number = {row.path: i for i, row in enumerate(included)}
    positive = np.zeros((len(included), len(recipe.labels)), bool)
    known = np.zeros_like(positive)
    for truth, columns in by_head:
        places = np.array([number[row.path] for row in truth.rows], int)
        positive[places, columns] = truth.positive
        known[places, columns] = truth.known
    excluded = {path for truth, _ in by_head for path in truth.unknown}
    ambiguous = {path for truth, _ in by_head for path in truth.ambiguous}
    return GroundTruth(
        rows=tuple(included),
        positive=positive,
        known=known,
        unknown=tuple(sorted(excluded - paths)),
        ambiguous=tuple(sorted(ambiguous - paths)),
    )


def of_head(
    ground_truth: GroundTruth, columns: slice
) -> tuple[np.ndarray, GroundTruth]:
    """Return the images with a known label of a head, and their ground truth for it.

    Returns:
        int64 indices of the images, and the ground truth with the head's labels only.
    """
    chosen = np.flatnonzero(ground_truth.known[:, columns].any(axis=1))
    of_all = images_of(ground_truth, chosen)
    return chosen, GroundTruth(
        rows=of_all.rows,
        positive=of_all.positive[:, columns],
        known=of_all.known[:, columns],
        unknown=(),
        ambiguous=(),
    )


def _of_head(head: Head, rows: Sequence[ManifestRow]) -> GroundTruth:
    tell = softmax_ground_truth if head.task == "softmax" else sigmoid_ground_truth
    return tell(_of_sources(rows, head.datasets), head.label_names)


def _of_sources(
    rows: Sequence[ManifestRow], datasets: Sequence[str]
) -> Sequence[ManifestRow]:
    """Return the rows of these sources; all without any, or where none is of ours."""
    ours = [row for row in rows if row.dataset in ("", *datasets)]
    return ours if datasets and ours else rows
