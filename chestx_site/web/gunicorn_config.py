"""How gunicorn serves the site; GUNICORN_CMD_ARGS in the environment wins over it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from chestx_site.supervision.processes import die_with_parent

bind = f"127.0.0.1:{os.environ.get('PORT', '8000')}"
# Threads, since an upload mostly waits: for the network, the disk, the decoder.
worker_class = "gthread"
workers = 2
threads = 4
preload_app = True
# A 2 GB file may take its time to arrive; threads keep the worker's own pulse going.
timeout = 60
graceful_timeout = 3
# The pulse of a worker is a file: on a busy disk it would miss beats.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
control_socket_disable = True
accesslog = None
# Otherwise the line of a request would name what was searched for.
errorlog = "-"
loglevel = "warning"


def post_fork(server: Any, worker: Any) -> None:
    """Let no worker serve on when the main process was killed."""
    die_with_parent(worker.ppid)
