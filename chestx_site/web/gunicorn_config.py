"""gunicorn settings; GUNICORN_CMD_ARGS in the environment overrides them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from chestx_site.supervision.processes import die_with_parent

bind = f"127.0.0.1:{os.environ.get('PORT', '8000')}"
# Threads: uploads mostly wait for the network, the disk and the decoder.
worker_class = "gthread"
workers = 2
threads = 4
preload_app = True
# Large uploads take minutes; threads keep the worker's heartbeat going meanwhile.
timeout = 60
graceful_timeout = 3
# The heartbeat is a file: on a busy disk it would come late.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
control_socket_disable = True
accesslog = None
# Access logs would contain search terms, which may be patient names.
errorlog = "-"
loglevel = "warning"


def post_fork(server: Any, worker: Any) -> None:
    """End each worker when the main process dies."""
    die_with_parent(worker.ppid)
