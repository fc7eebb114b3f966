"""Read several claimed images in one pass, on a GPU worker.

Images of one model go through it together. An image that cannot be read or scored, or
an error of a batch, costs only time: `diagnoses.worker.read` then reads the remaining
images one by one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from diagnoses.governance.versions import thresholds_of
from diagnoses.leases import Claimed, on_fresh_connection
from diagnoses.models import ModelVersion, Prediction
from diagnoses.runs import complete_prediction, reject
from diagnoses.worker.read import (
    LEFT_TO_SINGLE_READ,
    LoadedModels,
    checked_display,
    run_of,
)
from ml.errors import ImageRejected
from patients.models import Instance

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Waiting:
    """A decoded image that may be scored."""

    claimed: Claimed
    instance: Instance
    model_version: ModelVersion
    display: np.ndarray


def read_batch(claims: Sequence[Claimed], *, models: LoadedModels) -> list[Claimed]:
    """Read claimed images together, model by model, and save each result.

    The caller keeps the leases until it has also read the remaining images.

    Returns:
        The claims that are left to read one by one.

    Raises:
        OperationalError, InterfaceError: The database stayed away; leases expire.
    """
    done: set[Claimed] = set()
    for group in _groups(claims):
        try:
            done |= _read_group(group, models)
        except LEFT_TO_SINGLE_READ as error:
            logger.warning("A batch is read image by image: %s", type(error).__name__)
    return [claimed for claimed in claims if claimed not in done]


def _groups(claims: Sequence[Claimed]) -> list[list[Waiting]]:
    """Group the readable images by model and by whether the gate applies."""
    groups: dict[tuple[object, bool], list[Waiting]] = {}
    for claimed in claims:
        try:
            image = on_fresh_connection(partial(_waiting, claimed))
        except LEFT_TO_SINGLE_READ:
            continue
        if image is not None:
            key = image.model_version.pk, image.instance.synthetic
            groups.setdefault(key, []).append(image)
    return list(groups.values())


def _waiting(claimed: Claimed) -> Waiting | None:
    prediction = Prediction.objects.select_related("instance", "model_version").get(
        pk=claimed.prediction_id
    )
    if prediction.model_version is None:
        return None
    display = checked_display(prediction.instance, prediction.frame)
    return Waiting(claimed, prediction.instance, prediction.model_version, display)


def _read_group(images: Sequence[Waiting], models: LoadedModels) -> set[Claimed]:
    first = images[0]
    thresholds = on_fresh_connection(partial(thresholds_of, first.model_version))
    results = models.get(first.model_version).read_many(
        [image.display for image in images],
        thresholds={label: each.value for label, each in thresholds.items()},
        apply_gate=not first.instance.synthetic,
    )
    for image, model_output in zip(images, results, strict=True):
        if isinstance(model_output, ImageRejected):
            end = partial(reject, image.claimed, rejection=model_output)
        else:
            run = run_of(image.instance, model_output, thresholds)
            end = partial(complete_prediction, image.claimed, run=run)
        on_fresh_connection(end)
    return {image.claimed for image in images}
