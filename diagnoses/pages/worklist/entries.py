"""Pages of worklist entries, which cost the same at any number of studies.

A page is read by its keys, straight from an index, and only then are its rows fetched.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from django.utils.translation import gettext_lazy as _

from accounts.errors import InvalidInput
from accounts.keyset import CursorError, Ordering, Position, Reader
from diagnoses.models import WorklistEntry
from diagnoses.models import WorklistEntryQuerySet as Entries
from patients.models import Priority

ROWS_A_PAGE = 50
_STATE_FIELDS = (
    "priority",
    "received_at",
    "study_id",
    "status",
    "images_waiting",
    "images_unread",
    "finding_id",
    "flagged",
    "label",
    "models_flagging",
    "models_reading",
)


class Sort(StrEnum):
    """The orders in which studies are listed."""

    PRIORITY = "priority"
    NEWEST = "newest"


_NEWEST_FIRST = Ordering.of(WorklistEntry, ("-received_at", "-pk"))
_LONGEST_WAITING_FIRST = Ordering.of(WorklistEntry, ("received_at", "pk"))
_ORDERINGS = {
    Sort.PRIORITY: Ordering.of(WorklistEntry, ("-priority", "received_at", "pk")),
    Sort.NEWEST: _NEWEST_FIRST,
}


@dataclass(frozen=True)
class Page:
    """The keys of one page, the cursor of the next, and a mark of the rows' state."""

    keys: tuple[UUID, ...]
    next_cursor: str
    state: str


def position_of(
    cursor: str, *, sort: Sort, reader: Reader, list_name: str
) -> Position | None:
    """Read where a page begins; "" is the first page.

    Raises:
        InvalidInput: It is no cursor of this sort, list and user.
    """
    if not cursor:
        return None
    try:
        return _ORDERINGS[sort].position(cursor, reader=reader, list_name=list_name)
    except CursorError as error:
        raise InvalidInput(
            _("This page of the list does not exist. Start at the first page."),
            reason_code="invalid_cursor",
        ) from error


def page(
    entries: Entries,
    *,
    sort: Sort,
    after: Position | None,
    reader: Reader,
    list_name: str,
) -> Page:
    """Return the keys of one page of entries, with a cursor for the reader."""
    limit = ROWS_A_PAGE + 1
    entries = entries.only(*_STATE_FIELDS)
    if sort == Sort.NEWEST:
        rows = _NEWEST_FIRST.rows(entries, after, limit=limit)
    else:
        rows = _by_priority(entries, after, limit=limit)
    shown = rows[:ROWS_A_PAGE]
    more = len(rows) > ROWS_A_PAGE
    next_cursor = ""
    if more:
        next_cursor = _ORDERINGS[sort].cursor(
            shown[-1], reader=reader, list_name=list_name
        )
    return Page(
        keys=tuple(row.study_id for row in shown),
        next_cursor=next_cursor,
        state=_state_of(rows),
    )


def _by_priority(
    entries: Entries, after: Position | None, *, limit: int
) -> list[WorklistEntry]:
    """Read the priorities from the highest down: each one is a range of the index."""
    begin = None
    highest = max(Priority.values)
    if after is not None:
        highest, *rest = after.values
        begin = Position(tuple(rest))
    rows: list[WorklistEntry] = []
    for priority in range(highest, min(Priority.values) - 1, -1):
        rows += _LONGEST_WAITING_FIRST.rows(
            entries.filter(priority=priority), begin, limit=limit - len(rows)
        )
        if len(rows) == limit:
            break
        begin = None
    return rows


def _state_of(rows: Sequence[WorklistEntry]) -> str:
    """Return a mark that changes with the rows and reveals nothing about them."""
    states = [[getattr(row, name) for name in _STATE_FIELDS] for row in rows]
    return hashlib.sha256(repr(states).encode()).hexdigest()[:16]
