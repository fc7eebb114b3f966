"""Score one file from disk, without a database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from ml.cards.card import member_cards
from ml.cards.claims import claimed_labels
from ml.ensemble import EnsembleModel
from ml.errors import ImageError, ImageRejected, MlError, ModelError
from ml.gate.header import ImageFacts, check_header, check_image, facts_of_dataset
from ml.images.pictures import channels_differ
from ml.inference import LoadedModel, read_with_all
from ml.labels import is_flagged
from ml.model_output import ModelOutput, Score, at_age
from ml.overlay import heat_scale, overlay_png
from ml.pixels import (
    DICOM_ERRORS,
    PREAMBLE_LENGTH,
    display_frame,
    is_colour,
    picture_display,
    read_dataset,
    read_picture,
)

Model = LoadedModel | EnsembleModel

PICTURE_FACTS = ImageFacts(
    modality="",
    body_part_examined="",
    view_position="",
    descriptions=(),
    photometric_interpretation="",
    frames=1,
    picture=True,
)


@dataclass
class FileResult:
    """Result of one file with one model: succeeded, rejected or failed.

    `error` says why a file was not scored, in English; the caller translates it.
    `milliseconds` is the time of the whole file, whatever the number of models.
    """

    path: Path
    model: str
    version: str
    status: str = "failed"
    error: MlError | None = None
    model_output: ModelOutput | None = None
    display: np.ndarray | None = field(default=None, repr=False)
    milliseconds: float = 0.0
    claimed_labels: tuple[str, ...] = ()

    def is_flagged(self, score: Score) -> bool:
        """Return whether a score is a flag."""
        return is_flagged(
            score.label, positive=score.positive, claimed_labels=self.claimed_labels
        )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that `predict --json` prints."""
        output = self.model_output
        scores = output.scores if output else ()
        return {
            "path": str(self.path),
            "model": self.model,
            "version": self.version,
            "status": self.status,
            "reason_code": self.error.reason_code if self.error else "",
            "reason": self.error.message if self.error else "",
            "findings": [
                {
                    "label": score.label,
                    "probability": round(score.probability, 6),
                    "calibrated": score.calibrated,
                    "threshold": score.threshold,
                    "threshold_source": "card",
                    "positive": score.positive,
                    "accuracy_claimed": score.label in self.claimed_labels,
                    "flagged": self.is_flagged(score),
                    "certainty": score.certainty
                    if score.label in self.claimed_labels
                    else "",
                }
                for score in scores
            ],
            "label_set": list(output.label_set) if output else [],
            "not_scored": dict(output.not_scored) if output else {},
            "age_unknown": list(output.age_unknown) if output else [],
            "milliseconds": round(self.milliseconds, 1),
        }


def read_file(models: Sequence[Model], path: Path) -> list[FileResult]:
    """Score a DICOM file or picture with a model, or with heads of one network.

    Errors are reported in the results, one for each model; heads share one pass.
    """
    began = time.perf_counter()
    outcomes = [
        FileResult(
            path=path,
            model=model.card.name,
            version=model.card.version,
            claimed_labels=claimed_labels(model.card, members=member_cards(model.card)),
        )
        for model in models
    ]
    try:
        _read_into(outcomes, models, path.read_bytes())
    except MlError as error:
        _fail(outcomes, error)
    except OSError as error:
        unreadable = ImageError(
            "The file cannot be read: %(error)s.",
            params={"error": error.strerror or str(error)},
            reason_code="unreadable_file",
        )
        _fail(outcomes, unreadable)
    milliseconds = (time.perf_counter() - began) * 1000.0
    for outcome in outcomes:
        outcome.milliseconds = milliseconds
    return outcomes


def _fail(outcomes: Iterable[FileResult], error: MlError) -> None:
    for outcome in outcomes:
        if outcome.error is None:
            outcome.error = error
            outcome.status = (
                "rejected" if isinstance(error, ImageRejected) else "failed"
            )


def _read_into(
    outcomes: Sequence[FileResult], models: Sequence[Model], data: bytes
) -> None:
    """Score a file with the models that its header allows; fill their results."""
    opened = _opened(data)
    reading: list[tuple[FileResult, Model]] = []
    for outcome, model in zip(outcomes, models, strict=True):
        if rejection := check_header(model.card, opened.facts):
            _fail([outcome], rejection)
        else:
            reading.append((outcome, model))
    if not reading:
        return
    display, colour = opened.pixels()
    if rejection := check_image(display, colour=colour):
        raise rejection
    outputs = read_with_all([model for _, model in reading], display)
    for (outcome, _), output in zip(reading, outputs, strict=True):
        outcome.display = display
        if isinstance(output, ImageRejected):
            _fail([outcome], output)
        else:
            outcome.model_output = at_age(output, opened.facts.age_years)
            outcome.status = "succeeded"


def write_overlay(
    outcome: FileResult,
    folder: Path,
    *,
    size: int = 1024,
    names_model: bool = False,
) -> Path:
    """Write the image with the heat map of its highest score; return the PNG's path.

    `names_model` puts the name of the model into that of the file.

    Raises:
        ValueError: The file was not scored.
        ModelError: The model has no heat maps.
    """
    if outcome.model_output is None or outcome.display is None:
        raise ValueError("only a scored image has a heat map")
    best = max(outcome.model_output.scores, key=lambda score: score.probability)
    if not best.grid.size:
        raise ModelError(
            "The model %(model)s has no heat maps.",
            params={"model": outcome.model_output.model},
        )
    folder.mkdir(parents=True, exist_ok=True)
    label = best.label.lower().replace(" ", "-")
    part = f"{outcome.model}.{label}" if names_model else label
    target = _free_name(folder, f"{outcome.path.stem}.{part}")
    scores = outcome.model_output.scores
    png = overlay_png(
        outcome.display,
        best.contributions,
        scale=heat_scale((score.probability, score.scale) for score in scores),
        geometry_json=outcome.model_output.geometry.to_json(),
        size=size,
    )
    target.write_bytes(png)
    return target


@dataclass(frozen=True)
class _Opened:
    """A file whose header is read: its facts, and what decodes its pixels.

    `pixels` returns the display values, uint16 (H, W), and whether they show colour.
    """

    facts: ImageFacts
    pixels: Callable[[], tuple[np.ndarray, bool]]


def _opened(data: bytes) -> _Opened:
    """Open a DICOM file or a picture.

    Raises:
        ImageError: The file cannot be read.
    """
    if data[PREAMBLE_LENGTH : PREAMBLE_LENGTH + 4] == b"DICM":
        dataset = read_dataset(data)
        return _Opened(
            _facts(dataset), lambda: (display_frame(dataset), is_colour(dataset))
        )
    picture = read_picture(data)
    colour = picture.pixels.ndim == 3 and channels_differ(
        picture.pixels, bits=picture.bits
    )
    return _Opened(
        replace(PICTURE_FACTS, colour=colour),
        lambda: (picture_display(picture), colour),
    )


def _facts(dataset: Dataset) -> ImageFacts:
    try:
        return facts_of_dataset(dataset)
    except DICOM_ERRORS as error:
        raise ImageError(
            "The header is damaged.", reason_code="invalid_header"
        ) from error


def _free_name(folder: Path, stem: str) -> Path:
    """Return a file name that does not exist yet."""
    target = folder / f"{stem}.png"
    number = 2
    while target.exists():
        target = folder / f"{stem}-{number}.png"
        number += 1
    return target
