"""Modules of this library run as programs of their own, under another Keras backend.

A worker or a command that needs Keras once does not take it in for good: the child
brings it, and takes it along when it ends.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
_PR_SET_PDEATHSIG = 1


class ChildFailed(Exception):  # noqa: N818 - an outcome that every caller maps
    """The child did not do what it was asked; the message is its last word."""


def run_module(
    module: str, arguments: Sequence[str], *, keras_backend: str, timeout_s: float
) -> None:
    """Run `python -m module` to its end.

    Args:
        module: A module of this library, whose `main` calls `end_with_parent` first.
        arguments: Its command line; `--parent` is added.
        keras_backend: What KERAS_BACKEND is there.
        timeout_s: Seconds after which it is ended.

    Raises:
        ChildFailed: It ended with another status than 0, or took too long.
    """
    environment = os.environ | {
        "KERAS_BACKEND": keras_backend,
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
    }
    environment["PYTHONPATH"] = os.pathsep.join(
        part for part in (str(PROJECT_ROOT), os.environ.get("PYTHONPATH", "")) if part
    )
    try:
        # Our own module, with arguments of our own making.
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", module, *arguments, f"--parent={os.getpid()}"],
            env=environment,
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ChildFailed("it took too long") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise ChildFailed(lines[-1])


def end_with_parent(parent_pid: int) -> None:
    """Ask the kernel to end this process with the one that wants its work.

    What it does takes seconds and both cores; for a worker that was killed it would
    hold up the next.
    """
    if ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError("prctl(PR_SET_PDEATHSIG) was refused")
    if os.getppid() != parent_pid:
        sys.exit("the process that wanted this work has ended")
