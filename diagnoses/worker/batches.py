"""Several claimed images in one pass: what a GPU worker does.

Images of one model go through it together. An image that is not like the others (it
cannot be read, it may not be scored) or whatever goes wrong with a batch costs only
time: what is not finished here is read by itself afterwards, by
`diagnoses.worker.read`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from accounts.errors import ChestXError
from diagnoses.governance.versions import thresholds_of
from diagnoses.leases import Claimed, on_fresh_connection
from diagnoses.models import ModelVersion, Prediction
from diagnoses.runs import complete_prediction, reject
from diagnoses.worker.read import LoadedModels, checked_display, run_of
from ml.errors import ImageRejected, MlError
from patients.models import Instance

logger = logging.getLogger(__name__)

# What reading the image by itself will meet again, and end as it should.
LEFT_TO_SINGLE_READ = (MlError, ChestXError, OSError, MemoryError)


@dataclass(frozen=True)
class Waiting:
    """An image that is decoded and may be scored."""

    claimed: Claimed
    instance: Instance
    model_version: ModelVersion
    display: np.ndarray


def read_batch(
    submitted_identity: Sequence[Claimed], *, models: LoadedModels
) -> list[Claimed]:
    """Read claimed images together, model by model, and save each image's end.

    The caller keeps their leases, until it has read those that are left, too.

    Returns:
        Those that are to be read one by one.

    Raises:
        OperationalError, InterfaceError: The database stayed away; leases expire.
    """
    done: set[Claimed] = set()
    for group in _groups(submitted_identity):
        try:
            done |= _read_group(group, models)
        except LEFT_TO_SINGLE_READ as error:
            logger.warning("A batch is read image by image: %s", type(error).__name__)
    return [claimed for claimed in submitted_identity if claimed not in done]


def _groups(submitted_identity: Sequence[Claimed]) -> list[list[Waiting]]:
    """Return the images that can be read, by model and by whether the gate applies."""
    groups: dict[tuple[object, bool], list[Waiting]] = {}
    for claimed in submitted_identity:
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
