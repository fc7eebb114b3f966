"""What a worker does with a claimed image: read the pixels, ask the model, end it.

The one process that decodes pixels by itself: a file that hangs or kills it costs one
lease, and after INFERENCE_MAX_LOST_WORKERS of them the image fails.
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from threading import RLock, Thread

import numpy as np
from billiard.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import connection

from accounts.errors import ChestXError
from diagnoses.governance.installation import local_weights
from diagnoses.governance.versions import (
    Threshold,
    active_models,
    card_of,
    members_of,
    shadow_models,
    thresholds_of,
)
from diagnoses.leases import (
    DATABASE_GONE,
    Claimed,
    Heartbeat,
    claim,
    on_fresh_connection,
)
from diagnoses.models import ModelVersion, Prediction
from diagnoses.runs import (
    RunResult,
    complete_prediction,
    count_lost_worker,
    fail,
    put_back,
    reject,
)
from ml.ensemble import EnsembleModel
from ml.errors import ImageRejected, MlError
from ml.gate.header import check_image
from ml.inference import LoadedModel, load_model
from ml.model_output import ModelOutput
from ml.pixels import display_frame, is_colour, read_dataset
from patients.models import Instance
from patients.storage import local_path

logger = logging.getLogger(__name__)

Ending = Callable[[], bool]
Model = LoadedModel | EnsembleModel
Loader = Callable[[ModelVersion], Model]
_EMPTY_IMAGE = np.zeros((64, 64), np.uint16)
# Stored in provenance["gate"]["note"].
GATE_NOT_APPLIED = "gate not applied: synthetic"


def worker_name() -> str:
    """Return the name of this process: kept with the rows that it claims."""
    return f"{socket.gethostname()}:{os.getpid()}"


def threads_per_worker() -> int:
    """Return how many threads one pass may use: the cores shared by the processes."""
    if settings.INFERENCE_NUM_THREADS:
        return int(settings.INFERENCE_NUM_THREADS)
    cores = len(os.sched_getaffinity(0))
    return max(1, cores // max(1, settings.INFERENCE_CONCURRENCY))


def load(model_version: ModelVersion) -> Model:
    """Load a model with the weights that it was installed with.

    Raises:
        ModelError: The weights are missing or have another hash.
    """
    return load_model(
        card_of(model_version),
        weights_path=local_weights(model_version),
        cache_dir=settings.INFERENCE_CACHE_DIR,
        threads=threads_per_worker(),
        runner=settings.INFERENCE_RUNNER,
        precision=settings.INFERENCE_PRECISION,
    )


class LoadedModels:
    """The models of this process, by version: loaded once, when first asked for.

    An ensemble is made of the members that this process has anyway. Two threads may
    ask for one model: the second waits until the first has loaded it.
    """

    def __init__(self, loader: Loader = load) -> None:
        self._loader = loader
        self._loaded: dict[str, Model] = {}
        self._loading: defaultdict[str, RLock] = defaultdict(RLock)

    def get(self, model_version: ModelVersion) -> Model:
        """Return a model, loading it first if it is new to this process.

        Raises:
            ModelError: The weights are missing or have another hash.
        """
        key = str(model_version.pk)
        with self._loading[key]:
            if key not in self._loaded:
                self._loaded[key] = self._load(model_version)
            return self._loaded[key]

    def _load(self, model_version: ModelVersion) -> Model:
        card = card_of(model_version)
        if not card.members:
            return self._loader(model_version)
        return EnsembleModel(card, [self.get(m) for m in members_of(model_version)])

    def warm_up(self) -> Thread:
        """Load the default model, then from a thread of its own every other in use.

        What fails here is only slower later: images load what they need.

        Returns:
            The thread, started; the first model is ready.
        """
        in_use: list[ModelVersion] = []
        try:
            in_use = [*active_models(), *shadow_models()]
            self._warm(in_use[:1])
        except (*DATABASE_GONE, MlError, OSError) as error:
            logger.warning("No model is warm: %s", error)
        others = Thread(
            target=self._warm_others, args=(in_use[1:],), name="warm-up", daemon=True
        )
        others.start()
        return others

    def _warm(self, model_versions: Sequence[ModelVersion]) -> None:
        for model_version in model_versions:
            self.get(model_version).read(_EMPTY_IMAGE, apply_gate=False)

    def _warm_others(self, model_versions: Sequence[ModelVersion]) -> None:
        try:
            for model_version in model_versions:
                try:
                    self._warm([model_version])
                except (*DATABASE_GONE, MlError, OSError) as error:
                    logger.warning("%s is not warm: %s", model_version, error)
        finally:
            # This thread's own.
            connection.close()


def claim_next(worker: str) -> list[Claimed]:
    """Claim the next image on a CPU, the next batch on a GPU, or nothing."""
    return on_fresh_connection(
        partial(
            claim,
            worker,
            count=settings.INFERENCE_BATCH_SIZE,
            device=settings.INFERENCE_DEVICE,
        )
    )


def read_claimed(claimed: Claimed, *, models: LoadedModels) -> bool:
    """Read one claimed image and save its end, while a heartbeat renews the lease.

    Returns:
        Whether the end was saved; False: the row was somebody else's by then.

    Raises:
        OperationalError, InterfaceError: The database stayed away; the lease expires.
    """
    with Heartbeat(claimed):
        return on_fresh_connection(_ending(claimed, models))


def _ending(claimed: Claimed, models: LoadedModels) -> Ending:
    """Read the image and decide how its run ends; nothing is written yet."""
    try:
        run = on_fresh_connection(partial(_read, claimed, models))
    except ImageRejected as rejection:
        return partial(reject, claimed, rejection=rejection)
    except (MlError, ChestXError) as error:
        put_or_fail = fail if error.permanent else put_back
        logger.warning(
            "Prediction %s: %s: %s",
            claimed.prediction_id,
            error.reason_code,
            error.message,
        )
        return partial(
            put_or_fail, claimed, reason_code=error.reason_code, params=error.params
        )
    except FileNotFoundError:
        return partial(fail, claimed, reason_code="object_missing")
    except OSError:
        logger.warning("Prediction %s waits", claimed.prediction_id, exc_info=True)
        return partial(put_back, claimed, reason_code="storage_unavailable")
    except (MemoryError, SoftTimeLimitExceeded):
        # As if the process had been killed for it: counted, and not for ever.
        logger.warning(
            "Prediction %s took too much memory or time", claimed.prediction_id
        )
        return partial(count_lost_worker, claimed)
    return partial(complete_prediction, claimed, run=run)


def _read(claimed: Claimed, models: LoadedModels) -> RunResult:
    prediction = Prediction.objects.select_related("instance", "model_version").get(
        pk=claimed.prediction_id
    )
    model_version = prediction.model_version
    if model_version is None:
        raise ValueError("a claimed prediction names its model")
    return read_instance(
        prediction.instance,
        frame=prediction.frame,
        model_version=model_version,
        models=models,
    )


def read_instance(
    instance: Instance,
    *,
    frame: int,
    model_version: ModelVersion,
    models: LoadedModels,
    apply_gate: bool = True,
) -> RunResult:
    """Decode one frame of a stored image and let a model read it.

    What the demo drew and marked itself is scored whatever the gate says, and told so:
    a drawing is none of the images that the gate was fitted to.

    Raises:
        ImageRejected: The picture may not be scored.
        ImageError: The pixels cannot be read, or the stored bytes are damaged.
        ModelError: The model cannot be loaded.
        OSError: The storage cannot be read.
    """
    model = models.get(model_version)
    display = checked_display(instance, frame)
    thresholds = thresholds_of(model_version)
    values = {label: threshold.value for label, threshold in thresholds.items()}
    model_output = model.read(
        display,
        thresholds=values,
        apply_gate=apply_gate and not instance.synthetic,
    )
    return run_of(instance, model_output, thresholds)


def run_of(
    instance: Instance, model_output: ModelOutput, thresholds: Mapping[str, Threshold]
) -> RunResult:
    """Return what a model gave for a stored image, with what it was given.

    Only the demo command sets `Instance.synthetic`, so only its drawings are scored
    though the gate refuses them; what a header says of itself does not count.
    """
    refused = model_output.gate is not None and model_output.gate.refused
    return RunResult(
        model_output=model_output,
        thresholds=thresholds,
        gate_note=GATE_NOT_APPLIED if instance.synthetic and refused else "",
        object_sha256=instance.object_sha256,
        pixel_sha256=instance.pixel_sha256 or "",
    )


def checked_display(instance: Instance, frame: int) -> np.ndarray:
    """Return what an image shows, uint16 (H, W), once it may be scored by that.

    Raises:
        ImageRejected: The picture may not be scored.
        ImageError: The pixels cannot be read, or the stored bytes are damaged.
        OSError: The storage cannot be read.
    """
    display, colour = _pixels(instance, frame)
    if rejection := check_image(display, colour=colour):
        raise rejection
    return display


def _pixels(instance: Instance, frame: int) -> tuple[np.ndarray, bool]:
    """Return the display values, uint16 (H, W), and whether they are in colour."""
    with local_path(instance) as path:
        stored = path.read_bytes()
    if hashlib.sha256(stored).hexdigest() != instance.object_sha256:
        raise MlError(
            "The stored file is damaged: its sha256 is not the one it came with.",
            reason_code="object_damaged",
        )
    dataset = read_dataset(stored)
    colour = instance.colour
    if colour is None:
        colour = is_colour(dataset, frame)
    return display_frame(dataset, frame), colour
