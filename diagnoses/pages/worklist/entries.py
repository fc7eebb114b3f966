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
from patients.search import studies_among, studies_found

ROWS_A_PAGE = 50
# The entries that one page of a search looks at, if very many studies match.
ENTRIES_LOOKED_AT = 1000
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
    """The keys of one page, the cursor of the next, and a mark of the rows' state.

    `partial`: very many studies match a search, and only ENTRIES_LOOKED_AT of them were
    looked at; the next page goes on behind them.
    """

    keys: tuple[UUID, ...]
    next_cursor: str
    state: str
    partial: bool = False


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
    parts: Sequence[Entries],
    *,
    sort: Sort,
    after: Position | None,
    reader: Reader,
    list_name: str,
) -> Page:
    """Return the keys of one page of entries, with a cursor for the reader.

    The entries are given in the parts of `visible_parts`.
    """
    limit = ROWS_A_PAGE + 1
    parts = [part.only(*_STATE_FIELDS) for part in parts]
    if sort == Sort.NEWEST:
        rows = _NEWEST_FIRST.rows_of_parts(parts, after, limit=limit)
    else:
        rows = _by_priority(parts, after, limit=limit)
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


def found_page(
    parts: Sequence[Entries],
    text: str,
    *,
    after: Position | None,
    reader: Reader,
    list_name: str,
) -> Page:
    """Return one page of the entries that match a search, the newest first."""
    found = studies_found(text)
    if not found.more:
        matching_parts = [part.filter(found.of("study")) for part in parts]
        return page(
            matching_parts,
            sort=Sort.NEWEST,
            after=after,
            reader=reader,
            list_name=list_name,
        )
    looked_at = _NEWEST_FIRST.rows_of_parts(
        [part.only(*_STATE_FIELDS) for part in parts], after, limit=ENTRIES_LOOKED_AT
    )
    matching = studies_among((row.study_id for row in looked_at), text)
    rows = [row for row in looked_at if row.study_id in matching]
    shown = rows[:ROWS_A_PAGE]
    last = shown[-1:] if len(rows) > ROWS_A_PAGE else looked_at[-1:]
    more = len(rows) > ROWS_A_PAGE or len(looked_at) == ENTRIES_LOOKED_AT
    next_cursor = ""
    if more:
        next_cursor = _NEWEST_FIRST.cursor(last[0], reader=reader, list_name=list_name)
    return Page(
        keys=tuple(row.study_id for row in shown),
        next_cursor=next_cursor,
        state=_state_of(rows[: ROWS_A_PAGE + 1]),
        partial=len(rows) <= ROWS_A_PAGE and more,
    )


def _by_priority(
    parts: Sequence[Entries], after: Position | None, *, limit: int
) -> list[WorklistEntry]:
    """Read the priorities from the highest down: each one is a range of the index."""
    begin = None
    highest = max(Priority.values)
    if after is not None:
        highest, *rest = after.values
        begin = Position(tuple(rest))
    rows: list[WorklistEntry] = []
    for priority in range(highest, min(Priority.values) - 1, -1):
        of_priority = [part.filter(priority=priority) for part in parts]
        rows += _LONGEST_WAITING_FIRST.rows_of_parts(
            of_priority, begin, limit=limit - len(rows)
        )
        if len(rows) == limit:
            break
        begin = None
    return rows


def _state_of(rows: Sequence[WorklistEntry]) -> str:
    """Return a mark that changes with the rows and reveals nothing about them."""
    states = [[getattr(row, name) for name in _STATE_FIELDS] for row in rows]
    return hashlib.sha256(repr(states).encode()).hexdigest()[:16]
