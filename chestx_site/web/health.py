"""Health checks: `/healthz` (process alive) and `/readyz` (services reachable).

Both answer without sign-in and show no patient data.
"""

from __future__ import annotations

import tempfile

from django.core.files.storage import FileSystemStorage, default_storage
from django.db import InterfaceError, OperationalError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from kombu.exceptions import OperationalError as BrokerError

from chestx_site.celery import app
from diagnoses.leases import is_a_worker_busy

OK = "ok"
DEGRADED = "degraded"
UNAVAILABLE = "unavailable"
_WORKER_ANSWER_TIMEOUT_S = 0.5


@never_cache
@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """Answer that this process is alive, without checking any service."""
    return JsonResponse({"status": OK})


@never_cache
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """Answer whether ChestX can store and read images.

    503 if uploads would be lost (database, storage). Without the broker or workers,
    uploads are stored and wait: the status is `degraded` with 200.
    """
    database = _database_answers()
    needed = {
        "database": OK if database else UNAVAILABLE,
        "storage": OK if _storage_takes_files() else UNAVAILABLE,
    }
    broker = _broker_answers()
    helpful = {
        "broker": OK if broker else DEGRADED,
        "worker": OK if broker and _a_worker_runs(database) else DEGRADED,
    }
    if UNAVAILABLE in needed.values():
        status, code = UNAVAILABLE, 503
    elif DEGRADED in helpful.values():
        status, code = DEGRADED, 200
    else:
        status, code = OK, 200
    return JsonResponse({"status": status} | needed | helpful, status=code)


def _database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except (OperationalError, InterfaceError):
        connection.close()
        return False
    return True


def _storage_takes_files() -> bool:
    try:
        if isinstance(default_storage, FileSystemStorage):
            # A file without a name: it never stays behind.
            with tempfile.TemporaryFile(dir=default_storage.location) as probe:
                probe.write(b"readyz")
        else:
            default_storage.exists("readyz")
    except OSError:
        return False
    return True


def _broker_answers() -> bool:
    try:
        with app.connection_for_write() as broker:
            broker.default_channel.client.ping()
    except (BrokerError, *app.connection_for_write().connection_errors):
        return False
    return True


def _a_worker_runs(database: bool) -> bool:
    """Return whether a worker analyses images, or answers if none does."""
    return (database and is_a_worker_busy()) or _worker_answers()


def _worker_answers() -> bool:
    """Return whether any worker answers."""
    inspection = app.control.inspect(limit=1, timeout=_WORKER_ANSWER_TIMEOUT_S)
    try:
        return bool(inspection.ping())
    except (BrokerError, *app.connection_for_write().connection_errors):
        return False
