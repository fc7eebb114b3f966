"""Which of several models is the default: chosen on held-out train images, never val.

Candidates have the same labels. The one with the highest balanced accuracy on train
patients that every candidate held out from learning is chosen. Its calibration was
fitted to half of these patients, as that of every candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ml.cards.card import Card
from ml.cards.contents import ChosenBy
from ml.cards.json_reader import as_json
from ml.cards.measurements import Estimate
from ml.datasets.manifest import ManifestRow, with_split
from ml.ensemble import ReadsImages
from ml.errors import ModelError
from ml.evaluation.bootstrap import value_of, with_interval
from ml.evaluation.comparison import paired_difference
from ml.evaluation.scoring import refuse_nothing, score_images
from ml.evaluation.summary import ScoredImages, measure_of
from ml.training.gate.fit import held_out_rows

Progress = Callable[[int, int], None]
METRIC = "balanced_accuracy"


@dataclass(frozen=True)
class Choice:
    """The chosen model, how it was chosen, and the metric of each candidate."""

    winner: Card
    chosen_by: ChosenBy
    values: dict[str, float]

    def raw_of(self, card: Card) -> dict[str, Any]:
        """Return the JSON of a candidate's card after the choice."""
        raw = {key: value for key, value in card.raw.items() if key != "chosen_by"}
        if card is not self.winner:
            return raw | {"default": False}
        return raw | {"default": True, "chosen_by": as_json(self.chosen_by)}


def choose_default(
    models: Sequence[ReadsImages],
    rows: Sequence[ManifestRow],
    *,
    root: Path,
    dataset: str,
    command: Sequence[str],
    progress: Progress = lambda done, total: None,
) -> Choice:
    """Choose the default among models with the same labels.

    Args:
        models: Loaded candidates, at least two.
        rows: The manifest; its split train is used.
        root: The folder that the paths of the rows start from.
        dataset: The data set to measure on: within one source, the source does not
            tell the label.
        command: The command that chooses again, as arguments.
        progress: Called with how many images of a candidate are read, of how many.

    Raises:
        ModelError: There are fewer than two candidates, their labels differ, or there
            is no held-out image of the data set.
    """
    _check(models)
    held_out = [row for row in with_split(rows, "train") if row.dataset == dataset]
    for model in models:
        _, held_out = held_out_rows(held_out, name=model.card.name)
    scored = [
        score_images(model, held_out, root=root, progress=progress) for model in models
    ]
    for each in scored:
        refuse_nothing(each, root=root)
    scored = _on_the_same(scored)
    values = [value_of(measure_of(s, METRIC), images=len(s.rows)) for s in scored]
    best, second = sorted(range(len(models)), key=lambda i: -values[i])[:2]
    winner, runner_up = scored[best], scored[second]
    difference = paired_difference(
        measure_of(winner, METRIC), measure_of(runner_up, METRIC), winner.counts
    )
    chosen_by = ChosenBy(
        metric=METRIC,
        dataset=dataset,
        images=len(winner.rows),
        patients=len(set(winner.patients)),
        value=_estimate(with_interval(measure_of(winner, METRIC), winner.counts)),
        runner_up=_name(runner_up.card),
        runner_up_value=round(values[second], 4),
        difference=_estimate(difference),
        command=tuple(command),
    )
    by_name = {_name(m.card): v for m, v in zip(models, values, strict=True)}
    return Choice(winner.card, chosen_by, by_name)


def _check(models: Sequence[ReadsImages]) -> None:
    if len({_name(model.card) for model in models}) < 2:
        raise ModelError("Name at least two models to choose from.")
    first = set(models[0].card.label_names)
    for model in models:
        if set(model.card.label_names) != first:
            raise ModelError(
                "%(model)s and %(other)s have different labels.",
                params={"model": models[0].card.name, "other": model.card.name},
            )


def _on_the_same(scored: Sequence[ScoredImages]) -> list[ScoredImages]:
    """Keep the images that every candidate read."""
    paths = set.intersection(*({row.path for row in each.rows} for each in scored))
    return [
        each.chosen(np.array([row.path in paths for row in each.rows], bool))
        for each in scored
    ]


def _estimate(figure: dict[str, float | None]) -> Estimate:
    return Estimate(figure["value"], figure["low"], figure["high"], figure.get("p"))


def _name(card: Card) -> str:
    return f"{card.name} {card.version}"
