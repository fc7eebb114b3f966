"""Refusals of callers who are not signed in: counted, so that nobody fills the trail.

The first refusal of an address is an event at once. Further ones in the minute after it
are counted in `RefusalCount`, outside the trail, and become one event with their number
when the minute is over: with the next refusal of any address, or by the sweeper.
"""

from collections.abc import Mapping
from datetime import timedelta

from django.db import DatabaseError, InterfaceError, connection, transaction
from django.db.models.functions import Now
from django.http import HttpRequest

from accounts import audit
from accounts.audit import Outcome, client_address, network_of
from accounts.models import RefusalCount

COUNTED_FOR = timedelta(minutes=1)

_COUNT = """
INSERT INTO accounts_refusalcount
    (address, action, actor_name, source, reason, since, further)
VALUES (%s, %s, %s, %s, %s, now(), 0)
ON CONFLICT (address, action, actor_name, source, reason)
    DO UPDATE SET further = accounts_refusalcount.further + 1
RETURNING further
"""


def record_or_count(
    request: HttpRequest | None,
    *,
    action: str,
    source: str,
    detail: Mapping[str, object],
    reason: str = "",
    actor_name: str = "",
) -> None:
    """Write the event of a refusal, or count it if its minute has an event already.

    Args:
        request: The refused request.
        action: What was refused, an `AuditAction`.
        source: Where the request came from, an `AuditSource`.
        detail: Facts for the event.
        reason: Why, if refusals for this reason are counted apart.
        actor_name: The name of the user who was named; "" for an unknown one. Each
            name is counted apart.

    Raises:
        AuditUnavailable: Neither can be written: do not answer.
    """
    flush()
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                _COUNT,
                [
                    _counted_address(request),
                    action,
                    actor_name,
                    source,
                    reason,
                ],
            )
            (further,) = cursor.fetchone() or (0,)
            if further == 0:
                audit.record(
                    action=action,
                    actor=None,
                    actor_name=actor_name,
                    request=request,
                    source=source,
                    outcome=Outcome.REFUSED,
                    detail=detail,
                )
    except (DatabaseError, InterfaceError) as error:
        raise audit.unavailable() from error


def flush() -> int:
    """Write one event for each count whose minute is over; return how many.

    Raises:
        AuditUnavailable: An event cannot be written: the counts stay.
    """
    written = 0
    try:
        with transaction.atomic():
            over = RefusalCount.objects.filter(since__lt=Now() - COUNTED_FOR)
            rows = list(over.select_for_update(skip_locked=True))
            for row in rows:
                if row.further:
                    _write(row)
                    written += 1
            if rows:
                RefusalCount.objects.filter(pk__in=[row.pk for row in rows]).delete()
    except (DatabaseError, InterfaceError) as error:
        raise audit.unavailable() from error
    return written


def _write(row: RefusalCount) -> None:
    detail = {"further": row.further, "since": row.since.isoformat()}
    if row.reason:
        detail["reason"] = row.reason
    if "/" in row.address:
        detail["network"] = row.address
    audit.record(
        action=row.action,
        actor=None,
        actor_name=row.actor_name,
        source=row.source,
        address=row.address.partition("/")[0] or None,
        outcome=Outcome.REFUSED,
        detail=detail,
    )


def _counted_address(request: HttpRequest | None) -> str:
    """Return the address, of IPv6 its network; "" if it is unknown."""
    address = client_address(request) if request is not None else None
    if address is None:
        return ""
    network = network_of(address)
    return address if network.num_addresses == 1 else str(network)
