"""Inference of one image with all heat maps, compared with other ways.

Each way is a process of its own (`ways/child.py`). The processes start one after the
other (cold start) and then run in turns, so that other load affects all of them. Our
way and the usual way start from display values and return heat maps; the bare passes
start from the prepared input and return logits and maps. Ratios to bare passes
therefore compare our whole call with a part of the other way.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np
from django.conf import settings
from django.utils.translation import gettext

from chestx_site.benchmarks.figures import BenchmarkError, Figures
from diagnoses.messages import error_text
from ml.cards.card import Card, get_card
from ml.datasets.manifest import read_manifest, with_split
from ml.errors import MlError
from ml.labels import known_labels
from patients.phantom.drawing import BITS, draw_chest

IMAGE_SHAPE = (2500, 2000)
_IMAGES = 3
_ROUNDS = 10
_BATCHES = (1, 8, 32)
_BATCH_TURNS = 3
_REAL_IMAGES = 200
_PRECISIONS = ("float32", "bfloat16")
# Ways that export or compile once and reuse it.
_KEEPING = ("ours", "openvino_pass", "onnx_pass")


@dataclass(frozen=True)
class Compared:
    """A way and its name in the table."""

    name: str
    module: str
    precision: str = "float32"
    runner: str = "openvino"


# A precision that the card does not offer runs in float32.
WAYS = (
    Compared("ours float32", "ours"),
    Compared("ours bfloat16", "ours", "bfloat16"),
    Compared("ours int8", "ours", "int8"),
    Compared("ours onnxruntime", "ours", runner="onnxruntime"),
    Compared("OpenVINO float32", "openvino_pass"),
    Compared("OpenVINO bfloat16", "openvino_pass", "bfloat16"),
    Compared("onnxruntime", "onnx_pass"),
    Compared("TensorFlow compiled", "tensorflow_pass"),
    Compared("predict + GradientTape", "keras_tape"),
)


class WayProcess:
    """A running process of a way."""

    def __init__(self, way: Compared, *, card: Card, images: Path) -> None:
        """Start the process and wait for its first result.

        Raises:
            BenchmarkError: It ends before.
        """
        self.way = way
        command = [
            sys.executable,
            "-m",
            "chestx_site.benchmarks.ways.child",
            way.module,
            f"--card={card.card_file}",
            f"--images={images}",
            f"--cache={settings.INFERENCE_CACHE_DIR}",
            f"--threads={settings.INFERENCE_NUM_THREADS}",
            f"--precision={way.precision}",
            f"--runner={way.runner}",
            f"--parent={os.getpid()}",
        ]
        environment = os.environ | {
            "KERAS_BACKEND": "tensorflow",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        self._log = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115 - as the process
        began = time.perf_counter()
        # Our own module, with arguments of our own making.
        self._process = subprocess.Popen(  # noqa: S603
            command,
            cwd=settings.BASE_DIR,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        try:
            self.first = np.array(self._answer()["first"])
        except BaseException:
            self.end()
            raise
        self.cold_start_s = time.perf_counter() - began

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    def ask(self, what: str, **values: Any) -> Any:
        """Send the process a request; see `ways/child.py`.

        Raises:
            BenchmarkError: It has ended.
        """
        if self._process.stdin is None or self._process.poll() is not None:
            message = gettext("%(way)s has ended.")
            raise BenchmarkError(message % {"way": self.way.name})
        self._process.stdin.write(json.dumps({"ask": what, **values}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def _answer(self) -> Any:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            self._process.wait()
            self._log.seek(0)
            lines = self._log.read().strip().splitlines()
            message = gettext(
                "%(way)s does not answer. It needs all of requirements-test.txt. The "
                "end of its log: %(log)s"
            )
            log = lines[-1] if lines else gettext("no output")
            raise BenchmarkError(message % {"way": self.way.name, "log": log})
        return json.loads(line)


def measure(say: Callable[[str], None]) -> Figures:
    """Measure all ways on drawn images with the default model.

    Raises:
        BenchmarkError: A way does not run, or the model is missing.
    """
    try:
        card = get_card(settings.DEFAULT_MODEL)
    except MlError as error:
        raise BenchmarkError(error_text(error)) from error
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        images = Path(folder) / "images.npy"
        np.save(images, drawn_images())
        processes = {
            way.name: stack.enter_context(_started(way, card, images, say))
            for way in WAYS
        }
        say(gettext("Inference: measuring in turns"))
        latencies = _latencies(list(processes.values()))
        # Before the batches: memory for 32 large images is not part of the way.
        memory = {name: each.ask("memory")["most"] for name, each in processes.items()}
        throughput = _throughput(list(processes.values()))
        table = {
            name: _figures(latencies[name], throughput[name])
            | {
                "cold_start_s": round(process.cold_start_s, 2),
                "memory_mb": memory[name],
            }
            for name, process in processes.items()
        }
        say(gettext("Inference: comparing bfloat16 with float32"))
        agreement = _agreement(card, processes)
    return {
        **ratios({name: float(row["median_ms"]) for name, row in table.items()}),
        "ways": table,
        "agreement": agreement,
        "gpu": "not measured here: no accelerator",
        "image": "x".join(map(str, IMAGE_SHAPE)),
        "input_size": card.input_size,
        "grids_ours": len(card.labels),
        "grids_usual": 1,
        "model": card.name,
        "version": card.version,
    }


def _started(
    way: Compared, card: Card, images: Path, say: Callable[[str], None]
) -> WayProcess:
    say(gettext("Inference: starting %(way)s") % {"way": way.name})
    if way.module in _KEEPING:
        # The first start fills the cache; the measured cold start uses it.
        WayProcess(way, card=card, images=images).end()
    return WayProcess(way, card=card, images=images)


def drawn_images() -> np.ndarray:
    """Return drawn images of a usual size, uint16 (images, 2500, 2000)."""
    height, width = IMAGE_SHAPE
    return np.stack(
        [
            cv2.resize(draw_chest(seed) << (16 - BITS), (width, height))
            for seed in range(_IMAGES)
        ]
    )


def ratios(median_ms: dict[str, float]) -> Figures:
    """Return how many times faster our whole call is than other ways.

    Ours is the fastest runner and precision that the card offers, which is what
    `choose_runner` chooses.

    Args:
        median_ms: The median latency of every way of `WAYS`.
    """
    ours = {
        name.removeprefix("ours "): value
        for name, value in median_ms.items()
        if name.startswith("ours ")
    }
    best = min(ours, key=lambda name: ours[name])
    usual = median_ms["predict + GradientTape"]
    plain = {name: median_ms[name] for name in ("OpenVINO float32", "onnxruntime")}
    fastest = min(plain, key=lambda name: plain[name])
    return {
        "ratio": round(usual / ours[best], 2),
        **{f"ratio_{name}": round(usual / value, 2) for name, value in ours.items()},
        "best": best,
        "tensorflow_ratio": round(median_ms["TensorFlow compiled"] / ours[best], 2),
        "plain_ratio": round(plain[fastest] / ours[best], 2),
        "fastest_plain": fastest,
        "over_bare_pass": round(ours["float32"] / plain["OpenVINO float32"], 2),
    }


def _latencies(processes: Sequence[WayProcess]) -> dict[str, list[float]]:
    latencies: dict[str, list[float]] = {each.way.name: [] for each in processes}
    for process in processes:
        process.ask("one", rounds=1)
    for _ in range(_ROUNDS):
        for process in processes:
            latencies[process.way.name] += process.ask("one", rounds=2)
    return latencies


def _throughput(processes: Sequence[WayProcess]) -> dict[str, dict[str, float]]:
    """Return images per second by batch size, the median of a few turns."""
    rates: dict[str, dict[str, float]] = {each.way.name: {} for each in processes}
    for size in _BATCHES:
        taken: dict[str, list[float]] = {each.way.name: [] for each in processes}
        for process in processes:
            process.ask("many", size=size, rounds=1)
        for _ in range(_BATCH_TURNS):
            for process in processes:
                taken[process.way.name] += process.ask("many", size=size, rounds=2)
        for name, times in taken.items():
            rates[name][str(size)] = round(size * 1000.0 / statistics.median(times), 1)
    return rates


def _figures(latencies: list[float], throughput: dict[str, float]) -> Figures:
    return {
        "median_ms": round(statistics.median(latencies), 2),
        "p95_ms": round(float(np.percentile(latencies, 95)), 2),
        **{f"images_per_s_batch_{size}": value for size, value in throughput.items()},
    }


def _agreement(card: Card, processes: dict[str, WayProcess]) -> Figures:
    """Compare bfloat16 with float32, and float32 with the usual way."""
    paths = real_images(card)
    ours = {p: processes[f"ours {p}"] for p in _PRECISIONS}
    usual = processes["predict + GradientTape"]
    difference = np.abs(ours["float32"].first - usual.first).max()
    figures: Figures = {"probability_difference_to_usual": float(f"{difference:.2g}")}
    if not paths:
        return figures | {"real_images": 0, "why": "CHESTX_DATA has no manifest"}
    exact, rounded = (
        np.array(ours[p].ask("probabilities", paths=paths)) for p in _PRECISIONS
    )
    limits = np.array([card.thresholds[name] for name in card.label_names])
    same = ((exact >= limits) == (rounded >= limits)).all(axis=1)
    return figures | {
        "real_images": len(paths),
        "largest_probability_difference": round(
            float(np.abs(exact - rounded).max()), 5
        ),
        "same_positives_share": round(float(same.mean()), 4),
        "images_with_other_positives": int((~same).sum()),
        "same_top_label_share": round(
            float((exact.argmax(axis=1) == rounded.argmax(axis=1)).mean()), 4
        ),
    }


def real_images(card: Card) -> list[str]:
    """Return paths of an even sample of the val images with known labels."""
    root = Path(settings.CHESTX_DATA)
    manifest = root / "manifest.csv"
    if not manifest.is_file():
        return []
    rows = [
        row
        for row in with_split(read_manifest(manifest), "val")
        if known_labels(row.labels, card.label_names)
    ]
    step = max(1, len(rows) // _REAL_IMAGES)
    return [str(root / row.path) for row in rows[::step]]
