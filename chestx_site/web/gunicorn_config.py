"""gunicorn settings; GUNICORN_CMD_ARGS in the environment overrides them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from chestx_site.supervision.processes import die_with_parent

bind = f"127.0.0.1:{os.environ.get('PORT', '8000')}"
worker_class = "chestx_site.web.gunicorn_worker.BufferingWorker"
workers = 2
# Of the pages; uploads have their own.
threads = 8
worker_connections = 400
preload_app = True
# The main loop of a worker sends the heartbeat, however long a request takes.
timeout = 60
graceful_timeout = 3
# The heartbeat is a file: on a busy disk it would come late.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
control_socket_disable = True
# No header changes SCRIPT_NAME or PATH_INFO, and none the scheme: Django reads
# X-Forwarded-Proto itself where PROXY_COUNT says so.
forwarder_headers = ""
forwarded_allow_ips = ""
# Would write answers past the buffer of the client's connection.
sendfile = False
accesslog = None
# Access logs would contain search terms, which may be patient names.
errorlog = "-"
loglevel = "warning"


def post_fork(server: Any, worker: Any) -> None:
    """End each worker when the main process dies."""
    die_with_parent(worker.ppid)
