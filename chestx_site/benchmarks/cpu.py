"""CPU time of each part of a running ChestX."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
# Words in the command lines of the parts; the first match counts.
_PARTS = (
    ("decode_child", "decoder"),
    ("gunicorn", "web"),
    ("celery", "worker"),
    ("sweeper", "sweeper"),
    ("postgres", "database"),
    ("valkey", "broker"),
)
# Fields of /proc/PID/stat after the name: user and system time of the process and of
# its ended children (proc(5), fields 14 to 17).
_TIMES = slice(11, 15)


def cpu_seconds(var_dir: Path) -> dict[str, float]:
    """Return the CPU seconds of each part of the site in this folder."""
    used: dict[str, float] = defaultdict(float)
    mark = os.fsencode(var_dir)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            if mark not in (process / "environ").read_bytes() + command:
                continue
            fields = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended, or belongs to another user
        used[_part_of(command.decode(errors="replace"))] += (
            sum(map(int, fields[_TIMES])) / _TICKS_A_SECOND
        )
    return used


def used_per_image(
    before: Mapping[str, float], after: Mapping[str, float], images: int
) -> dict[str, float]:
    """Return the CPU seconds per image of each part, the largest first."""
    used = {part: (after[part] - before.get(part, 0)) / images for part in after}
    return {
        part: round(seconds, 4)
        for part, seconds in sorted(used.items(), key=lambda item: -item[1])
        if seconds >= 0.0001
    }


def _part_of(command: str) -> str:
    return next((part for mark, part in _PARTS if mark in command), "others")
