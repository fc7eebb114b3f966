"""The worklist as keyset pages: the same cost at a thousand studies and at any number.

A page is read by its keys, straight from an index, and only then are its rows fetched.
Counts stop at a thousand.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from django.db.models import Q

from accounts.errors import InvalidInput
from diagnoses.models import Prediction, WorklistEntry
from diagnoses.models import WorklistEntryQuerySet as Entries
from diagnoses.pages.words.times import start_of_today
from patients.models import Priority

ROWS_A_PAGE = 50
MOST_COUNTED = 1000

_Status = Prediction.Status


class Sort(StrEnum):
    """In which order studies are listed."""

    PRIORITY = "priority"
    NEWEST = "newest"


@dataclass(frozen=True)
class Filter:
    """A chip above the list. `of_results`: only for those who see what models said."""

    key: str
    word: str
    sign: str
    condition: Callable[[], Q]
    of_results: bool = False


FILTERS = (
    Filter("", "All", "", Q),
    Filter("waiting", "Waiting", "○", lambda: Q(images_waiting__gt=0)),
    Filter("stat", "Stat", "▲", lambda: Q(priority=Priority.STAT)),
    Filter("urgent", "Urgent", "◆", lambda: Q(priority=Priority.URGENT)),
    Filter(
        "flagged", "Flagged by model", "■", lambda: Q(flagged=True), of_results=True
    ),
    Filter(
        "unread",
        "Could not be read",
        "⊘",
        lambda: Q(status__in=(_Status.REJECTED, _Status.FAILED)),
    ),
    Filter("today", "Today", "", lambda: Q(received_at__gte=start_of_today())),
)


@dataclass(frozen=True)
class Key:
    """Where a row stands; the last one of a page is where the next page begins."""

    priority: int
    received_at: datetime
    study_id: UUID

    def written(self) -> str:
        """Return the key for a URL."""
        return f"{self.priority}~{self.received_at.isoformat()}~{self.study_id}"

    @classmethod
    def read(cls, text: str) -> "Key":
        """Read what `written` returned.

        Raises:
            InvalidInput: It is something else.
        """
        try:
            priority, moment, study_id = text.split("~")
            received_at = datetime.fromisoformat(moment)
            if received_at.tzinfo is None:
                raise ValueError("a moment without an offset")
            return cls(Priority(int(priority)), received_at, UUID(study_id))
        except ValueError as error:
            raise InvalidInput(
                "This page of the list does not exist. Begin at the first one.",
                reason_code="invalid_cursor",
            ) from error


@dataclass(frozen=True)
class Page:
    """The keys of one page, where the next one begins, and a mark of what they said."""

    keys: tuple[UUID, ...]
    after: Key | None
    state: str


def page(entries: Entries, *, sort: Sort, after: Key | None) -> Page:
    """Return the keys of one page of entries, newest first within what sorts before."""
    wanted = ROWS_A_PAGE + 1
    if sort == Sort.NEWEST:
        rows = _rows(entries, after=after, wanted=wanted)
    else:
        rows = _by_priority(entries, after=after, wanted=wanted)
    shown = rows[:ROWS_A_PAGE]
    more = len(rows) > ROWS_A_PAGE
    return Page(
        keys=tuple(row[2] for row in shown),
        after=Key(*shown[-1][:3]) if more else None,
        state=_state_of(rows),
    )


def _by_priority(entries: Entries, *, after: Key | None, wanted: int) -> list[tuple]:
    """Walk the priorities from the top: each is one range of the index."""
    highest = after.priority if after else max(Priority.values)
    rows: list[tuple] = []
    for priority in range(highest, min(Priority.values) - 1, -1):
        begin = after if after and priority == after.priority else None
        rows += _rows(
            entries.filter(priority=priority), after=begin, wanted=wanted - len(rows)
        )
        if len(rows) == wanted:
            break
    return rows


def _rows(entries: Entries, *, after: Key | None, wanted: int) -> list[tuple]:
    if after is not None:
        entries = entries.filter(
            Q(received_at__lt=after.received_at)
            | Q(received_at=after.received_at, study_id__lt=after.study_id),
            # What the index can begin at; the line above settles the ties.
            received_at__lte=after.received_at,
        )
    return list(
        entries.order_by("-received_at", "-study_id").values_list(
            "priority",
            "received_at",
            "study_id",
            "status",
            "images_waiting",
            "images_unread",
            "finding_id",
        )[:wanted]
    )


def _state_of(rows: Sequence[tuple]) -> str:
    """Return a mark that changes when anything in the rows does, and tells no more."""
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:16]


def bounded_count(entries: Entries) -> str:
    """Count, but no further than a thousand: `38`, `999+`."""
    counted = entries.order_by()[:MOST_COUNTED].count()
    return f"{MOST_COUNTED - 1}+" if counted == MOST_COUNTED else str(counted)


def filter_of(key: str) -> Filter:
    """Return the filter of a key; an unknown one shows all."""
    return next((one for one in FILTERS if one.key == key), FILTERS[0])


def visible_entries(user: object) -> Entries:
    """Return the lines of the studies that the user may see."""
    return WorklistEntry.objects.visible_to(user)
