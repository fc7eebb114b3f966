"""The filters above the worklist, and how many studies each one shows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, time

from django.db.models import Q
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from diagnoses.models import Prediction
from diagnoses.models import WorklistEntryQuerySet as Entries
from patients.models import Priority

MOST_COUNTED = 1000
_Status = Prediction.Status


@dataclass(frozen=True)
class Filter:
    """A chip above the list. `of_results`: only for users who see model results."""

    key: str
    word: Promise | str
    sign: str
    condition: Callable[[], Q]
    of_results: bool = False


@dataclass(frozen=True)
class BoundedCount:
    """A count that stops at MOST_COUNTED: `38`, `999+`."""

    number: int

    def __str__(self) -> str:
        if self.number >= MOST_COUNTED:
            return f"{MOST_COUNTED - 1}+"
        return str(self.number)


def _start_of_today() -> datetime:
    """Return midnight of the present day in TIME_ZONE."""
    return timezone.make_aware(datetime.combine(timezone.localdate(), time()))


FILTERS = (
    Filter("", _("All"), "", Q),
    Filter("waiting", _("Waiting"), "circle", lambda: Q(images_waiting__gt=0)),
    Filter("stat", _("Stat"), "triangle", lambda: Q(priority=Priority.STAT)),
    Filter("urgent", _("Urgent"), "diamond", lambda: Q(priority=Priority.URGENT)),
    Filter(
        "flagged",
        _("Flagged by model"),
        "filled-square",
        lambda: Q(flagged=True),
        of_results=True,
    ),
    Filter(
        "unread",
        _("Not analysed"),
        "barred-circle",
        lambda: Q(status__in=(_Status.REJECTED, _Status.FAILED)),
    ),
    Filter("today", _("Today"), "", lambda: Q(received_at__gte=_start_of_today())),
)


def filter_of(key: str) -> Filter:
    """Return the filter of a key; an unknown key shows all."""
    return next((one for one in FILTERS if one.key == key), FILTERS[0])


def bounded_count(parts: Sequence[Entries]) -> BoundedCount:
    """Count the entries of these parts, at most MOST_COUNTED of them."""
    counted = 0
    for part in parts:
        # In an order that an index has: without one, the table itself would be read.
        newest = part.order_by("-received_at", "-study_id")
        counted += newest[: MOST_COUNTED - counted].count()
        if counted >= MOST_COUNTED:
            break
    return BoundedCount(counted)
