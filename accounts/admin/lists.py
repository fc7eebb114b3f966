"""Lists of the admin over very large tables: filters, counts and searches by index."""

from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

# A list shows so many rows, and counts no further.
MOST_LISTED = 1000
_MOST_VALUES = 50


class BoundedPaginator(Paginator):
    """Pages of the first MOST_LISTED rows: a full count would read the whole table."""

    @cached_property
    def count(self) -> int:
        """The number of rows, at most MOST_LISTED."""
        rows = self.object_list
        if isinstance(rows, QuerySet):
            # In the order of the list: without one, the table itself would be read.
            return rows[:MOST_LISTED].count()
        return len(rows)


class StoredValuesFilter(admin.AllValuesFieldListFilter):
    """A filter by the values that occur, each found by one step in an index."""

    def __init__(
        self,
        field: Any,
        request: HttpRequest,
        params: dict[str, Any],
        model: type[Model],
        model_admin: admin.ModelAdmin,
        field_path: str,
    ) -> None:
        super().__init__(field, request, params, model, model_admin, field_path)
        # Django's are a query for all rows; its pages only iterate over them.
        self.lookup_choices = cast(
            "QuerySet[Any, Any]", _values(model._base_manager.all(), field_path)
        )


def _values(rows: QuerySet[Any], name: str) -> list[Any]:
    """Return the first distinct values of a column."""
    found: list[Any] = []
    left = rows.order_by(name).values_list(name, flat=True)
    while len(found) < _MOST_VALUES:
        value = (
            left.first()
            if not found
            else left.filter(**{f"{name}__gt": found[-1]}).first()
        )
        if value is None:
            break
        found.append(value)
    return found


def found_rows(
    rows: QuerySet[Any],
    term: str,
    *,
    keys: Sequence[str],
    lookups: Sequence[str],
    ordering: Sequence[Any],
) -> QuerySet[Any]:
    """Return the rows that a term finds, at most MOST_LISTED for each lookup.

    Each lookup is a query of its own: joined by OR, no index would serve them.

    Args:
        rows: Of the list.
        term: As typed.
        keys: Lookups of keys, for a term that is a UUID.
        lookups: Those of other terms. A name alone finds parts of its values: for
            small tables only.
        ordering: Of the list: which of very many rows are found.
    """
    key = _key_in(term)
    if key is not None:
        conditions = {name: Q(**{name: key}) for name in keys}
    else:
        text = term.strip()
        conditions = {
            name: Q(**{_lookup(name): text}) for name in lookups if name not in keys
        }
    found: set[Any] = set()
    for name, condition in conditions.items():
        # Beginnings are found in their own order.
        beginning = name.removesuffix("__startswith")
        order = ordering if beginning == name else (beginning,)
        matching = rows.model._base_manager.filter(condition).order_by(*order)
        found.update(matching.values_list("pk", flat=True)[:MOST_LISTED])
    return rows.filter(pk__in=found)


def _lookup(name: str) -> str:
    explicit = name.endswith(("__startswith", "__exact"))
    return name if explicit else f"{name}__icontains"


def _key_in(term: str) -> UUID | None:
    try:
        return UUID(term.strip())
    except ValueError:
        return None
