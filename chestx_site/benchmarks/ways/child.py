"""Process of one way: `python -m …child WAY …`, with requests on standard input.

It prints a line of JSON after its first image, then answers each request, a line of
JSON: {"ask": "one" | "many" | "probabilities" | "memory", …}.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from chestx_site.benchmarks.ways import Setting, Way
from chestx_site.supervision.processes import die_with_parent
from ml.cards.card import Card, read_card
from ml.pixels import read_display
from ml.preprocessing import preprocess


def main() -> None:
    """Load the way, read an image, then answer requests until the input ends."""
    arguments = _arguments()
    die_with_parent(arguments.parent)
    card = read_card(arguments.card)
    module = importlib.import_module(f"chestx_site.benchmarks.ways.{arguments.way}")
    way: Way = module.load(
        Setting(
            card,
            arguments.cache,
            arguments.threads,
            arguments.precision,
            arguments.runner,
        )
    )
    images = _as_taken(way, card, np.load(arguments.images, mmap_mode="r"))
    _say({"first": way.one(images[0]).tolist()})
    requests: dict[str, Callable[[dict[str, Any]], Any]] = {
        "one": lambda line: _times(way.one, images, line["rounds"]),
        "many": lambda line: _times(
            way.many,
            [np.stack([images[i % len(images)] for i in range(line["size"])])],
            line["rounds"],
        ),
        "probabilities": lambda line: [
            way.one(
                _as_taken(way, card, read_display(Path(path).read_bytes())[None])[0]
            )
            .astype(float)
            .tolist()
            for path in line["paths"]
        ],
        "memory": lambda line: _memory(),
    }
    for text in sys.stdin:
        line = json.loads(text)
        _say(requests[line["ask"]](line))


def _arguments() -> Namespace:
    parser = ArgumentParser(description=main.__doc__)
    parser.add_argument("way")
    parser.add_argument("--card", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--precision", required=True)
    parser.add_argument("--runner", required=True)
    parser.add_argument("--parent", type=int, required=True)
    return parser.parse_args()


def _as_taken(way: Way, card: Card, displays: np.ndarray) -> list[np.ndarray]:
    """Return images as the way needs them: display values or prepared input."""
    if way.whole:
        return [np.asarray(display) for display in displays]
    size, channels = card.input_size, card.input_channels
    return [preprocess(d, size=size, channels=channels)[0] for d in displays]


def _times(run: Callable[[Any], Any], inputs: list[Any], rounds: int) -> list[float]:
    """Return milliseconds of each call."""
    taken: list[float] = []
    for _ in range(rounds):
        for each in inputs:
            began = time.perf_counter()
            run(each)
            taken.append((time.perf_counter() - began) * 1000.0)
    return taken


def _memory() -> dict[str, float]:
    """Return the current and the largest memory in megabytes, proc(5)."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {
        name: round(int(fields[key].split()[0]) / 1024, 1)
        for name, key in (("now", "VmRSS"), ("most", "VmHWM"))
    }


def _say(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
