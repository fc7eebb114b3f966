"""Several claimed films in one pass: what a GPU worker does.

Films of one model go through it together. A film that is not like the others (it
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
from ml.errors import FilmRejected, MlError
from patients.models import Instance

logger = logging.getLogger(__name__)

# What reading the film by itself will meet again, and end as it should.
LEFT_TO_SINGLE_READING = (MlError, ChestXError, OSError, MemoryError)


@dataclass(frozen=True)
class Waiting:
    """A film that is decoded and may be scored."""

    claimed: Claimed
    instance: Instance
    model_version: ModelVersion
    display: np.ndarray


def read_batch(claims: Sequence[Claimed], *, models: LoadedModels) -> list[Claimed]:
    """Read claimed films together, model by model, and save each film's end.

    The caller keeps their leases, until it has read those that are left, too.

    Returns:
        Those that are to be read one by one.

    Raises:
        OperationalError, InterfaceError: The database stayed away; leases expire.
    """
    done: set[Claimed] = set()
    for group in _groups(claims):
        try:
            done |= _read_group(group, models)
        except LEFT_TO_SINGLE_READING as error:
            logger.warning("A batch is read film by film: %s", type(error).__name__)
    return [claimed for claimed in claims if claimed not in done]


def _groups(claims: Sequence[Claimed]) -> list[list[Waiting]]:
    """Return the films that can be read, by model and by whether the gate applies."""
    groups: dict[tuple[object, bool], list[Waiting]] = {}
    for claimed in claims:
        try:
            film = on_fresh_connection(partial(_waiting, claimed))
        except LEFT_TO_SINGLE_READING:
            continue
        if film is not None:
            key = film.model_version.pk, film.instance.synthetic
            groups.setdefault(key, []).append(film)
    return list(groups.values())


def _waiting(claimed: Claimed) -> Waiting | None:
    prediction = Prediction.objects.select_related("instance", "model_version").get(
        pk=claimed.prediction_id
    )
    if prediction.model_version is None:
        return None
    display = checked_display(prediction.instance, prediction.frame)
    return Waiting(claimed, prediction.instance, prediction.model_version, display)


def _read_group(films: Sequence[Waiting], models: LoadedModels) -> set[Claimed]:
    first = films[0]
    thresholds = on_fresh_connection(partial(thresholds_of, first.model_version))
    readings = models.get(first.model_version).read_many(
        [film.display for film in films],
        thresholds={label: each.value for label, each in thresholds.items()},
        apply_gate=not first.instance.synthetic,
    )
    for film, reading in zip(films, readings, strict=True):
        if isinstance(reading, FilmRejected):
            end = partial(reject, film.claimed, rejection=reading)
        else:
            run = run_of(film.instance, reading, thresholds)
            end = partial(complete_prediction, film.claimed, run=run)
        on_fresh_connection(end)
    return {film.claimed for film in films}
