"""The Celery application.

Messages only say that there is work; the work itself is in the rows of Prediction.
chestx_site/celeryconfig.py has all settings of the queue.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.signals import worker_init, worker_process_init

from chestx_site.supervision.processes import die_with_parent

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chestx_site.settings")
# Before NumPy is imported: the products of a head are small, and threads that share
# one wait for each other longer than it takes.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

app = Celery("chestx")
# A name, not a module: Celery imports it on first use, when settings are ready.
app.config_from_object("chestx_site.celeryconfig")
app.autodiscover_tasks()

_main_pids: list[int] = []


@worker_init.connect
def _remember_main_process(**_: Any) -> None:
    """Remember the pid of the main process for the forked pool children."""
    _main_pids[:] = [os.getpid()]


@worker_process_init.connect
def _end_with_main_process(**_: Any) -> None:
    """End each pool child when the main process dies."""
    die_with_parent(_main_pids[0])
