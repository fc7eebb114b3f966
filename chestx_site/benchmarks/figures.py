"""Figures of benchmarks, their goals and the machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from chestx_site.testbed.site import SiteError

Figures = dict[str, Any]


class BenchmarkError(SiteError):
    """A measurement failed; the message says why."""


@dataclass(frozen=True)
class Goal:
    """The goal of a figure.

    Attributes:
        benchmark: Its benchmark, as in `manage.py bench NAME`.
        figure: The key of the figure.
        title: Its name in the table.
        unit: The unit.
        limit: The goal.
        at_least: Whether more is better.
    """

    benchmark: str
    figure: str
    title: Promise | str
    unit: str
    limit: float
    at_least: bool

    def met(self, value: float) -> bool:
        """Return whether a measured value meets the goal."""
        return value >= self.limit if self.at_least else value <= self.limit


GOALS = (
    Goal(
        "inference",
        "ratio",
        _("image with heat maps, usual way over ours"),
        "x",
        60,
        True,
    ),
    Goal(
        "inference",
        "tensorflow_ratio",
        _("TensorFlow compiled pass over ours"),
        "x",
        1.5,
        True,
    ),
    Goal(
        "inference",
        "plain_ratio",
        _("faster bare pass of onnxruntime and OpenVINO over ours"),
        "x",
        1.2,
        True,
    ),
    Goal(
        "inference",
        "over_bare_pass",
        _("ours over OpenVINO's bare pass"),
        "x",
        1.3,
        False,
    ),
    Goal("start", "max_s", _("'ready' to the first image, worst"), "s", 3, False),
    Goal("upload", "p95_s", _("drawn image to stored result, p95"), "s", 0.25, False),
    Goal(
        "throughput", "images_per_s", _("images sent, read and stored"), "/s", 15, True
    ),
    Goal("pages", "p95_s", _("slowest page or list, p95"), "s", 0.15, False),
)


@dataclass(frozen=True)
class Machine:
    """The machine and the commit of the figures."""

    cpu: str
    cores: int
    memory_gb: float
    python: str
    system: str
    load_before: tuple[float, float, float]
    commit: str
    measured_at: str


def this_machine(folder: Path) -> Machine:
    """Describe this machine, its load and the commit."""
    return Machine(
        cpu=_cpu_name(),
        cores=len(os.sched_getaffinity(0)),
        memory_gb=round(
            os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1
        ),
        python=platform.python_version(),
        system=platform.system(),
        load_before=os.getloadavg(),
        commit=_commit(folder),
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def spread(values: Sequence[float], *, unit: str) -> Figures:
    """Return median, 95th percentile, maximum and number of times."""
    return {
        f"median_{unit}": round(float(np.median(values)), 4),
        f"p95_{unit}": round(float(np.percentile(values, 95)), 4),
        f"max_{unit}": round(float(np.max(values)), 4),
        "n": len(values),
    }


def keep(path: Path, figures: Mapping[str, Figures], machine: Machine) -> None:
    """Write figures and keep those of other benchmarks in the file."""
    kept = json.loads(path.read_text("utf-8")) if path.exists() else {}
    for name, benchmark_figures in figures.items():
        kept[name] = {**benchmark_figures, "machine": asdict(machine)}
    path.parent.mkdir(exist_ok=True)
    text = json.dumps(dict(sorted(kept.items())), indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def table(figures: Mapping[str, Figures], machine: Machine) -> Iterator[str]:
    """Yield the lines of a table: the goals first, then all figures.

    Figures and ways have the names that they have in the JSON.
    """
    yield from _machine_lines(machine)
    yield ""
    for goal in GOALS:
        if goal.benchmark in figures:
            value = figures[goal.benchmark][goal.figure]
            yield (
                f"  {goal.benchmark:<11}{goal.title!s:<42}{value:>9.3g} {goal.unit:<3}"
                f"{_verdict(goal, value)}"
            )
    for name, benchmark_figures in figures.items():
        yield ""
        yield name
        tables = ("ways", "kinds")
        others = {k: v for k, v in benchmark_figures.items() if k not in tables}
        for key, value in _flat(others):
            yield f"  {key:<42}{value}"
        for key in tables:
            yield from _rows(benchmark_figures.get(key, {}))


def _machine_lines(machine: Machine) -> Iterator[str]:
    yield gettext("%(cpu)s, %(cores)d cores, %(memory)s GB") % {
        "cpu": machine.cpu or gettext("unknown"),
        "cores": machine.cores,
        "memory": f"{machine.memory_gb:g}",
    }
    yield gettext("load before: %(load)s; Python %(python)s; commit %(commit)s") % {
        "load": ", ".join(f"{value:.1f}" for value in machine.load_before),
        "python": machine.python,
        "commit": machine.commit or gettext("unknown"),
    }


def _verdict(goal: Goal, value: float) -> str:
    """Return the goal and whether a value meets it; a table of whole phrases."""
    phrases = {
        (True, True): gettext("at least %(limit)s: met"),
        (True, False): gettext("at least %(limit)s: MISSED"),
        (False, True): gettext("at most %(limit)s: met"),
        (False, False): gettext("at most %(limit)s: MISSED"),
    }
    return phrases[goal.at_least, goal.met(value)] % {"limit": f"{goal.limit:g}"}


def _rows(rows: Mapping[str, Figures]) -> Iterator[str]:
    """Yield a heading and a line for each way or kind."""
    columns = list(next(iter(rows.values()), {}))
    width = max((len(name) for name in rows), default=0) + 2
    if columns:
        yield "  " + " " * width + "".join(f"{c:>24}" for c in columns)
    for name, row in rows.items():
        yield f"  {name:<{width}}" + "".join(f"{row[column]:>24}" for column in columns)


def _flat(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in figures.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _commit(folder: Path) -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607 - whichever git is there
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()
