"""The configuration of gunicorn, and a note of every module that a worker loaded."""

import os
import sys
from pathlib import Path
from typing import Any

from chestx_site.web.gunicorn_config import *  # noqa: F403 - gunicorn reads names of a module


def post_request(worker: Any, request: Any, environ: Any, response: Any) -> None:
    """Write the names of the modules that this process has loaded by now."""
    note = Path(os.environ["LOADED_MODULES_FILE"])
    unfinished = note.with_suffix(f".{os.getpid()}")
    unfinished.write_text("\n".join(sorted(sys.modules)))
    unfinished.replace(note)
