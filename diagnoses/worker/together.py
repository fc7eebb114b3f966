"""Read claimed rows of one image whose models share a network, in one pass.

The image is decoded and preprocessed once, the network runs once, and one transaction
ends all rows, each by its own fence. What cannot be read so costs only time:
`diagnoses.worker.read` then reads the remaining rows one by one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from diagnoses.governance.versions import Threshold, thresholds_of
from diagnoses.leases import Claimed, on_fresh_connection
from diagnoses.runs import Ending, end_together, rejected
from diagnoses.worker.read import (
    LEFT_TO_SINGLE_READ,
    LoadedModels,
    claimed_rows,
    display_again,
    model_of,
    run_of,
)
from ml import inference
from ml.errors import ImageAttributeError, ImageRejected
from ml.inference import LoadedModel

logger = logging.getLogger(__name__)


def read_together(claims: Sequence[Claimed], *, models: LoadedModels) -> list[Claimed]:
    """Read claimed rows of one image in one pass, and save their results.

    The caller keeps the leases until it has also read the remaining rows.

    Returns:
        The claims that are left to read one by one.

    Raises:
        OperationalError, InterfaceError: The database stayed away; leases expire.
    """
    try:
        endings = on_fresh_connection(partial(_endings, claims, models))
    except LEFT_TO_SINGLE_READ as error:
        logger.warning("An image is read row by row: %s", type(error).__name__)
        return list(claims)
    if endings:
        on_fresh_connection(partial(end_together, endings))
    return [claimed for claimed in claims if claimed not in endings]


def _endings(claims: Sequence[Claimed], models: LoadedModels) -> dict[Claimed, Ending]:
    """Return the endings of the runs that one pass can score."""
    rows = claimed_rows(claims)
    first = next(iter(rows.values()), None)
    if first is None:
        return {}  # erased in the meantime
    try:
        display = display_again(first.instance, first.frame)
    except (ImageRejected, ImageAttributeError) as rejection:
        return dict.fromkeys(rows, rejected(rejection))
    heads: dict[Claimed, LoadedModel] = {}
    thresholds: list[dict[str, Threshold]] = []
    for claimed, row in rows.items():
        version = model_of(row)
        model = models.get(version)
        if isinstance(model, LoadedModel):
            heads[claimed] = model
            thresholds.append(thresholds_of(version))
    outputs = inference.read_together(
        list(heads.values()),
        display,
        thresholds=[{n: t.value for n, t in each.items()} for each in thresholds],
        apply_gate=not first.instance.synthetic,
    )
    return {
        claimed: rejected(output)
        if isinstance(output, ImageRejected)
        else run_of(first.instance, output, own)
        for claimed, output, own in zip(heads, outputs, thresholds, strict=True)
    }
