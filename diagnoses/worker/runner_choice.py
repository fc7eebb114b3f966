"""Which runner and precision a network runs with on this machine.

`choose_runners` measures once and keeps all medians in a file of INFERENCE_CACHE_DIR,
beside the graphs that they are of: they belong to one machine, not to the database of
the site, where workers on several kinds of processors may share rows. A file of another
processor or of other libraries does not count.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from django.utils.translation import gettext

from diagnoses.governance.installation import local_weights
from diagnoses.governance.versions import (
    active_models,
    card_of,
    members_of,
    shadow_models,
)
from diagnoses.models import ModelVersion
from ml.cards.card import Card
from ml.errors import ModelError
from ml.inference import LoadedModel, load_model
from ml.networks.onnx_graph import NOT_TRANSLATED

FILE_NAME = "runners.json"
AUTO = "auto"
# The runners and precisions that may be chosen; the first is that of no choice.
OPTIONS = (
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
    ("openvino", "int8"),
    ("onnxruntime", "float32"),
)
ROUNDS = 9
IMAGE_SHAPE = (1024, 1024)

Medians = Mapping[str, float]


def threads_per_worker() -> int:
    """Return the number of threads of one pass: cores per worker process."""
    if settings.INFERENCE_NUM_THREADS:
        return int(settings.INFERENCE_NUM_THREADS)
    cores = len(os.sched_getaffinity(0))
    return max(1, cores // max(1, settings.INFERENCE_CONCURRENCY))


def runner_for(card: Card) -> tuple[str, str]:
    """Return the runner and the precision for a network.

    INFERENCE_RUNNER and INFERENCE_PRECISION win; what they leave open is the fastest
    that was measured here, else OpenVINO in float32.
    """
    wanted = (settings.INFERENCE_RUNNER, settings.INFERENCE_PRECISION)
    medians = _kept().get(str(card.weights_sha256), {})
    fitting = [
        option
        for option in OPTIONS
        if _key(option) in medians
        and all(want in (AUTO, has) for want, has in zip(wanted, option, strict=True))
        and _is_offered(card, option[1])
    ]
    if fitting:
        return min(fitting, key=lambda option: medians[_key(option)])
    runner, precision = (
        first if want == AUTO else want
        for want, first in zip(wanted, OPTIONS[0], strict=True)
    )
    return runner, precision


def is_chosen() -> bool:
    """Return whether every network in use was measured on this machine."""
    kept = _kept()
    return all(v.weights_sha256 in kept for v in _networks_in_use())


def choose_runners(say: Callable[[str], None]) -> None:
    """Measure one image with each network in use, and keep the medians.

    Workers that start afterwards use them. All options of a network take turns, so
    that other load affects all of them.

    Raises:
        ModelError: The weights of a model are missing or differ.
    """
    kept = dict(_kept())
    image = np.random.default_rng(1).integers(0, 1 << 16, IMAGE_SHAPE, np.uint16)
    for model_version in _networks_in_use():
        card = card_of(model_version)
        loaded = _loaded(card, local_weights(model_version))
        taken: dict[str, list[float]] = {key: [] for key in loaded}
        for number in range(ROUNDS + 1):
            for key, model in loaded.items():
                began = time.perf_counter()
                model.read(image, apply_gate=False)
                # The first round allocates memory.
                if number:
                    taken[key].append((time.perf_counter() - began) * 1000.0)
        medians = {key: statistics.median(times) for key, times in taken.items()}
        kept[model_version.weights_sha256] = medians
        say(f"{model_version}: {', '.join(_described(medians))}")
    _keep(kept)


def _described(medians: Medians) -> list[str]:
    message = gettext("%(option)s %(value).1f ms")
    return [
        message % {"option": key, "value": median}
        for key, median in sorted(medians.items(), key=lambda each: each[1])
    ]


def _networks_in_use() -> list[ModelVersion]:
    """Return the model versions with weights of their own, one for each file."""
    by_weights: dict[str, ModelVersion] = {}
    for model_version in (*active_models(), *shadow_models()):
        members = card_of(model_version).members
        for each in members_of(model_version) if members else [model_version]:
            by_weights.setdefault(each.weights_sha256, each)
    return list(by_weights.values())


def _loaded(card: Card, weights: Path) -> dict[str, LoadedModel]:
    """Load a network with every option that it and the processor offer."""
    loaded: dict[str, LoadedModel] = {}
    for runner, precision in OPTIONS:
        if not _is_offered(card, precision):
            continue
        try:
            model = load_model(
                card,
                weights_path=weights,
                cache_dir=settings.INFERENCE_CACHE_DIR,
                threads=threads_per_worker(),
                runner=runner,
                precision=precision,
            )
        except ModelError as error:
            if error.reason_code != NOT_TRANSLATED:
                raise
            continue
        if isinstance(model, LoadedModel) and model.runner.precision == precision:
            loaded[_key((runner, precision))] = model
    return loaded


def _is_offered(card: Card, precision: str) -> bool:
    if precision == "float32":
        return True
    return bool(card.precisions and card.precisions.offers(precision))


def _key(option: tuple[str, str]) -> str:
    return " ".join(option)


def _file() -> Path:
    return Path(settings.INFERENCE_CACHE_DIR) / FILE_NAME


def _conditions() -> dict[str, Any]:
    """Return what a measurement is of, beside the network."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    names = {line.partition(":")[2].strip() for line in lines if "model name" in line}
    return {
        "processor": sorted(names),
        "threads": threads_per_worker(),
        "libraries": {name: version(name) for name in ("openvino", "onnxruntime")},
    }


def _kept() -> Mapping[str, Medians]:
    """Return the medians by weights and option; none of other conditions."""
    try:
        kept = json.loads(_file().read_text("utf-8"))
    except FileNotFoundError:
        return {}
    medians: Mapping[str, Medians] = kept["median_ms"]
    return medians if kept["conditions"] == _conditions() else {}


def _keep(medians: Mapping[str, Medians]) -> None:
    file = _file()
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    content = {"conditions": _conditions(), "median_ms": medians}
    unfinished.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    unfinished.replace(file)
