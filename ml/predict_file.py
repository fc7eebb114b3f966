"""Score one file from disk, without a database."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from ml.cards.card import member_cards
from ml.cards.claims import claimed_labels
from ml.ensemble import ReadsImages
from ml.errors import ImageError, ImageRejected, MlError, ModelError
from ml.gate.header import ImageFacts, check_header, check_image, facts_of_dataset
from ml.images.pictures import channels_differ
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
    """Result of one file: succeeded, rejected or failed.

    `error` says why a file was not scored, in English; the caller translates it.
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


def read_file(model: ReadsImages, path: Path) -> FileResult:
    """Score a DICOM file or picture; errors are reported in the result."""
    began = time.perf_counter()
    card = model.card
    outcome = FileResult(
        path=path,
        model=card.name,
        version=card.version,
        claimed_labels=claimed_labels(card, members=member_cards(card)),
    )
    try:
        outcome.display, age_years = _checked_display(model, path.read_bytes())
        outcome.model_output = at_age(model.read(outcome.display), age_years)
        outcome.status = "succeeded"
    except ImageRejected as error:
        outcome.status, outcome.error = "rejected", error
    except MlError as error:
        outcome.error = error
    except OSError as error:
        outcome.error = ImageError(
            "The file cannot be read: %(error)s.",
            params={"error": error.strerror or str(error)},
            reason_code="unreadable_file",
        )
    outcome.milliseconds = (time.perf_counter() - began) * 1000.0
    return outcome


def write_overlay(outcome: FileResult, folder: Path, *, size: int = 1024) -> Path:
    """Write the image with the heat map of its highest score; return the PNG's path.

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
    target = _free_name(folder, f"{outcome.path.stem}.{label}")
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


def _checked_display(
    model: ReadsImages, data: bytes
) -> tuple[np.ndarray, float | None]:
    """Return the display values of a file that the model may score, and the age.

    Raises:
        ImageRejected: The model may not score the image.
        ImageError: The file cannot be read.
    """
    if data[PREAMBLE_LENGTH : PREAMBLE_LENGTH + 4] == b"DICM":
        dataset = read_dataset(data)
        facts = _facts(dataset)
        _raise(check_header(model.card, facts))
        display, colour = display_frame(dataset), is_colour(dataset)
    else:
        picture = read_picture(data)
        colour = picture.pixels.ndim == 3 and channels_differ(
            picture.pixels, bits=picture.bits
        )
        facts = replace(PICTURE_FACTS, colour=colour)
        _raise(check_header(model.card, facts))
        display = picture_display(picture)
    _raise(check_image(display, colour=colour))
    return display, facts.age_years


def _facts(dataset: Dataset) -> ImageFacts:
    try:
        return facts_of_dataset(dataset)
    except DICOM_ERRORS as error:
        raise ImageError(
            "The header is damaged.", reason_code="invalid_header"
        ) from error


def _raise(rejection: ImageRejected | None) -> None:
    if rejection is not None:
        raise rejection


def _free_name(folder: Path, stem: str) -> Path:
    """Return a file name that does not exist yet."""
    target = folder / f"{stem}.png"
    number = 2
    while target.exists():
        target = folder / f"{stem}-{number}.png"
        number += 1
    return target
