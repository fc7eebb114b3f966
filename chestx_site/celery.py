"""The Celery application: who carries the hints, and how its processes end.

Messages are hints that there is work; the rows of Prediction are the work. All
policy is in chestx_site/celeryconfig.py.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.signals import worker_init, worker_process_init

from chestx_site.supervision.processes import die_with_parent

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chestx_site.settings")

app = Celery("chestx")
# A name, not a module: read at first use, when Django's settings are there.
app.config_from_object("chestx_site.celeryconfig")
app.autodiscover_tasks()

_main_pids: list[int] = []


@worker_init.connect
def _remember_main_process(**_: Any) -> None:
    """Note the main process; its pool children inherit the note by their fork."""
    _main_pids[:] = [os.getpid()]


@worker_process_init.connect
def _end_with_main_process(**_: Any) -> None:
    """Let no pool child work on when the main process was killed."""
    die_with_parent(_main_pids[0])
