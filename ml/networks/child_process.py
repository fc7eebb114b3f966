"""Run a module of this library as a child process with its own Keras backend.

A worker or a command that needs Keras once does not import it: the child does, and
frees the memory when it ends.
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


class ChildFailed(Exception):  # noqa: N818 - every caller maps it to a ModelError
    """The child failed; the message is the last line of its error output."""


def run_module(
    module: str, arguments: Sequence[str], *, keras_backend: str, timeout_s: float
) -> None:
    """Run `python -m module` to its end.

    Args:
        module: A module of this library, whose `main` calls `end_with_parent` first.
        arguments: Its command line; `--parent` is added.
        keras_backend: The value of KERAS_BACKEND in the child.
        timeout_s: Seconds after which the child is killed.

    Raises:
        ChildFailed: The child's exit status is not 0, or it took too long.
    """
    environment = os.environ | {
        "KERAS_BACKEND": keras_backend,
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
    }
    environment["PYTHONPATH"] = os.pathsep.join(
        part for part in (str(PROJECT_ROOT), os.environ.get("PYTHONPATH", "")) if part
    )
    try:
        # A module of this library, with arguments built by this library.
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
    """Ask the kernel to kill this process when its parent ends (PR_SET_PDEATHSIG).

    The child uses all cores for seconds. After its worker was killed, it would slow
    down the next one.
    """
    if ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError("prctl(PR_SET_PDEATHSIG) was refused")
    if os.getppid() != parent_pid:
        sys.exit("the parent process has ended")
