"""Limits on failed sign-ins: by user name and address, and by address alone.

A try is counted before its password is checked, so that many at once gain nothing. It
is forgotten when the user signs in, else slowly. Over the limit every further failure
doubles the wait, up to the longest one; tries during the wait are neither checked nor
counted. A person who knows the password gets in from another address at any time.
"""

import math
import unicodedata
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.translation import ngettext

from accounts.audit import client_address, network_of
from accounts.errors import TooManyTries
from accounts.models import FailedSignIns, User

FIRST_WAIT = timedelta(minutes=1)
# One failure of a name is forgotten in this time, and one of an address.
FORGET_NAME, FORGET_ADDRESS = timedelta(hours=1), timedelta(minutes=1)
_KEPT = timedelta(days=2)


def name_digest(username: str) -> str:
    """Return the keyed hash of a user name: nobody can tell the name without the key.

    People type passwords into the field of the user name.
    """
    name = unicodedata.normalize("NFKC", username)
    return salted_hmac("accounts.name", name, algorithm="sha256").hexdigest()


def begin_try(request: HttpRequest | None, username: str) -> None:
    """Count a try of a password, before the password is checked.

    Raises:
        TooManyTries: The name or the address has to wait; nothing is counted.
    """
    now = timezone.now()
    with transaction.atomic():
        rows = _locked_rows(request, username)
        _refuse_waiting(rows, now)
        for row in rows:
            _count(row, now)
            row.save()


def forget(request: HttpRequest | None, username: str) -> None:
    """Forget the failures of a user who has given the right password.

    Of the address, only this try: an attacker with an account of their own gains none.
    """
    with transaction.atomic():
        for row in _locked_rows(request, username):
            if row.name_digest:
                row.delete()
            else:
                row.failures = max(0, row.failures - 1)
                row.save(update_fields=["failures"])


def _locked_rows(request: HttpRequest | None, username: str) -> list[FailedSignIns]:
    """Return the rows of the address and of the name, locked in this order."""
    address = client_address(request) if request is not None else None
    if address is not None:
        address = str(network_of(address).network_address)
    rows = []
    for digest in ("", name_digest(username)):
        if not digest and address is None:
            continue
        row, created = FailedSignIns.objects.select_for_update().get_or_create(
            name_digest=digest,
            address=address,
            defaults={"user": User.objects.filter(username=username).first()}
            if digest
            else {},
        )
        if created:
            FailedSignIns.objects.filter(last_at__lt=timezone.now() - _KEPT).delete()
        rows.append(row)
    return rows


def _refuse_waiting(rows: Iterable[FailedSignIns], now: datetime) -> None:
    waits = [row.locked_until - now for row in rows if row.locked_until is not None]
    longest = max(waits, default=timedelta(0))
    if longest <= timedelta(0):
        return
    seconds = math.ceil(longest.total_seconds())
    minutes = math.ceil(seconds / 60)
    raise TooManyTries(
        ngettext(
            "Too many failed sign-ins. Try again in %(minutes)d minute.",
            "Too many failed sign-ins. Try again in %(minutes)d minutes.",
            minutes,
        ),
        params={"minutes": minutes},
        retry_after=seconds,
    )


def _count(row: FailedSignIns, now: datetime) -> None:
    """Add a failure, and set the wait that begins if it is one too many."""
    limit, forget_in = (
        (settings.SIGN_IN_FAILURES, FORGET_NAME)
        if row.name_digest
        else (settings.SIGN_IN_FAILURES_OF_AN_ADDRESS, FORGET_ADDRESS)
    )
    forgotten = (now - row.last_at) / forget_in
    row.failures = max(0.0, row.failures - forgotten) + 1
    row.last_at, row.locked_until = now, None
    if (over := round(row.failures) - limit) >= 0:
        longest = timedelta(minutes=settings.SIGN_IN_COOLOFF_MINUTES)
        row.locked_until = now + min(longest, FIRST_WAIT * 2 ** min(over, 20))
