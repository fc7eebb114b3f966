"""Read a claimed image with its model, and save the result.

A worker decodes pixels in its own process: a file that hangs or kills it costs one
lease, and after INFERENCE_MAX_LOST_WORKERS lost leases the image fails.
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from threading import RLock, Thread
from uuid import UUID

import numpy as np
from billiard.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import connection

from accounts.errors import ChestXError
from diagnoses.eligibility import facts_of
from diagnoses.governance.installation import local_weights
from diagnoses.governance.versions import (
    Threshold,
    active_models,
    card_of,
    members_of,
    shadow_models,
    thresholds_of,
)
from diagnoses.hints import send_hints
from diagnoses.leases import (
    DATABASE_GONE,
    Claimed,
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
from diagnoses.worker.runner_choice import runner_for, threads_per_worker
from ml.ensemble import EnsembleModel
from ml.errors import ImageAttributeError, ImageRejected, MlError
from ml.gate.header import check_image
from ml.inference import LoadedModel, load_model
from ml.model_output import ModelOutput, at_age
from ml.pixels import display_frame, is_colour, read_dataset
from patients.models import Instance
from patients.storage import local_path

logger = logging.getLogger(__name__)

End = Callable[[], bool]
Model = LoadedModel | EnsembleModel
Loader = Callable[[ModelVersion], Model]
# Errors that occur again when a row is read alone, and are handled there.
LEFT_TO_SINGLE_READ = (MlError, ChestXError, OSError, MemoryError)
# The image that this process read last.
_last_image: dict[tuple[UUID, str, int], np.ndarray] = {}
# The sweeper sends what is missing.
_MOST_HINTS = 100
_EMPTY_IMAGE = np.zeros((64, 64), np.uint16)
# Stored in provenance["gate"]["note"].
GATE_NOT_APPLIED = "gate not applied: synthetic"


def worker_name() -> str:
    """Return the name of this process, stored with the rows that it claims."""
    return f"{socket.gethostname()}:{os.getpid()}"


def load(model_version: ModelVersion) -> Model:
    """Load a model with its installed weights.

    Raises:
        ModelError: The weights are missing or their hash differs.
    """
    card = card_of(model_version)
    runner, precision = runner_for(card)
    return load_model(
        card,
        weights_path=local_weights(model_version),
        cache_dir=settings.INFERENCE_CACHE_DIR,
        threads=threads_per_worker(),
        runner=runner,
        precision=precision,
    )


class LoadedModels:
    """The models of this process, by version; each is loaded once, on first use.

    An ensemble shares its members with the other models of the process. If two threads
    need one model, the second waits until the first has loaded it.
    """

    def __init__(self, loader: Loader = load) -> None:
        self._loader = loader
        self._loaded: dict[str, Model] = {}
        self._loading: defaultdict[str, RLock] = defaultdict(RLock)
        self._cold: frozenset[UUID] = frozenset()

    @property
    def cold(self) -> frozenset[UUID]:
        """The versions that the warm-up has yet to load: their rows can wait."""
        return self._cold

    def get(self, model_version: ModelVersion) -> Model:
        """Return a model; load it on first use.

        Raises:
            ModelError: The weights are missing or their hash differs.
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
        """Load the default model and its network's others; then the rest in a thread.

        Meanwhile the versions of the rest are `cold`, so that no image waits behind
        one for them. A model that fails to load here is loaded with its first image.

        Returns:
            The started thread; the default model is ready.
        """
        in_use: list[ModelVersion] = []
        try:
            in_use = [*active_models(), *shadow_models()]
        except DATABASE_GONE as error:
            logger.warning("No model is warm: %s", error)
        network = in_use[0].weights_sha256 if in_use else ""
        others = [model for model in in_use if model.weights_sha256 != network]
        self._cold = frozenset(model.pk for model in others)
        for model_version in in_use:
            if model_version.weights_sha256 == network:
                self._warm(model_version)
        thread = Thread(
            target=self._warm_others, args=(others,), name="warm-up", daemon=True
        )
        thread.start()
        return thread

    def _warm(self, model_version: ModelVersion) -> None:
        try:
            self.get(model_version).read(_EMPTY_IMAGE, apply_gate=False)
        except (*DATABASE_GONE, MlError, OSError) as error:
            logger.warning("%s is not warm: %s", model_version, error)

    def _warm_others(self, model_versions: Sequence[ModelVersion]) -> None:
        try:
            for model_version in model_versions:
                self._warm(model_version)
                self._cold -= {model_version.pk}
                send_hints(_waiting(model_version))
        finally:
            self._cold = frozenset()
            # The connection of this thread.
            connection.close()


def _waiting(model_version: ModelVersion) -> int:
    """Return how many rows wait for a model; 0 if the database cannot tell."""
    waiting = Prediction.objects.filter(
        model_version=model_version, status=Prediction.Status.QUEUED
    )
    try:
        return waiting[:_MOST_HINTS].count()
    except DATABASE_GONE:
        return 0  # the sweeper repeats their hints


def claim_next(worker: str, *, models: LoadedModels) -> list[Claimed]:
    """Claim the next image on a CPU, or the next batch on a GPU.

    Rows of models that are not loaded yet are left waiting.
    """
    return on_fresh_connection(
        partial(
            claim,
            worker,
            count=settings.INFERENCE_BATCH_SIZE,
            device=settings.INFERENCE_DEVICE,
            without=models.cold,
        )
    )


def read_claimed(claimed: Claimed, *, models: LoadedModels) -> bool:
    """Read one claimed image and save the result; the caller keeps the lease.

    Returns:
        Whether the result was saved; False if another worker held the row by then.

    Raises:
        OperationalError, InterfaceError: The database stayed away; the lease expires.
    """
    return on_fresh_connection(_ending(claimed, models))


def _ending(claimed: Claimed, models: LoadedModels) -> End:
    """Read the image and return the function that saves the result."""
    try:
        run = on_fresh_connection(partial(_read, claimed, models))
    except (ImageRejected, ImageAttributeError) as rejection:
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
        # Counted like a killed process, so that it is not repeated for ever.
        logger.warning(
            "Prediction %s took too much memory or time", claimed.prediction_id
        )
        return partial(count_lost_worker, claimed)
    return partial(complete_prediction, claimed, run=run)


def _read(claimed: Claimed, models: LoadedModels) -> RunResult:
    [prediction] = claimed_rows([claimed]).values()
    return read_instance(
        prediction.instance,
        frame=prediction.frame,
        model_version=model_of(prediction),
        models=models,
        decode=display_again,
    )


def claimed_rows(claims: Collection[Claimed]) -> dict[Claimed, Prediction]:
    """Return claimed rows with image, without its header, and model; none if erased."""
    rows = Prediction.objects.select_related("instance", "model_version")
    found = rows.defer("instance__header").in_bulk([c.prediction_id for c in claims])
    return {c: found[c.prediction_id] for c in claims if c.prediction_id in found}


def model_of(prediction: Prediction) -> ModelVersion:
    """Return the model version of a claimed row; only rejected rows have none."""
    if prediction.model_version is None:
        raise ValueError("a claimed prediction names its model")
    return prediction.model_version


def read_instance(
    instance: Instance,
    *,
    frame: int,
    model_version: ModelVersion,
    models: LoadedModels,
    apply_gate: bool = True,
    decode: Callable[[Instance, int], np.ndarray] | None = None,
) -> RunResult:
    """Decode one frame of a stored image and score it with a model.

    Drawings of the demo are scored even if the gate rejects them, and the provenance
    says so: the gate was not fitted to drawings.

    Raises:
        ImageRejected: The image may not be scored.
        ImageError: The pixels cannot be read, or the stored bytes are damaged.
        ModelError: The model cannot be loaded.
        OSError: The storage cannot be read.
    """
    model = models.get(model_version)
    display = (decode or checked_display)(instance, frame)
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
    """Return the output of a model for the patient of a stored image, with its inputs.

    Only the demo command sets `Instance.synthetic`, so only its drawings are scored
    although the gate rejects them. Header values have no influence.
    """
    refused = model_output.gate is not None and model_output.gate.refused
    if any(score.ages for score in model_output.scores):
        model_output = at_age(model_output, facts_of(instance).age_years)
    return RunResult(
        model_output=model_output,
        thresholds=thresholds,
        gate_note=GATE_NOT_APPLIED if instance.synthetic and refused else "",
        object_sha256=instance.object_sha256,
        pixel_sha256=instance.pixel_sha256 or "",
    )


def checked_display(instance: Instance, frame: int) -> np.ndarray:
    """Return the display values of an image that may be scored, uint16 (H, W).

    Raises:
        ImageRejected: The image may not be scored.
        ImageError: The pixels cannot be read, or the stored bytes are damaged.
        OSError: The storage cannot be read.
    """
    display, colour = _pixels(instance, frame)
    if rejection := check_image(display, colour=colour):
        raise rejection
    return display


def display_again(instance: Instance, frame: int) -> np.ndarray:
    """Return the same as `checked_display`, decoded once for runs that follow.

    A worker often reads an image for several networks, one run after the other.
    """
    key = instance.pk, instance.object_sha256, frame
    if key not in _last_image:
        # First: two large images would need twice the memory.
        _last_image.clear()
        display = checked_display(instance, frame)
        display.setflags(write=False)
        _last_image[key] = display
    return _last_image[key]


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
