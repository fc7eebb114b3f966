"""Cursor paging over any ordering, and the ordering itself.

A cursor holds the values of the last row that was shown, so that rows which come
in meanwhile neither repeat nor hide others, and page 1,000 costs what page 1 does.
REST framework's own cursor counts offsets among equal values and loses rows whose
value is null; this one orders by every field, then by the key, nulls last.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db import models
from django.db.models import F, Q
from rest_framework.filters import OrderingFilter
from rest_framework.pagination import BasePagination
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from accounts.errors import InvalidInput

if TYPE_CHECKING:
    # The generic views read these classes from the settings while they are imported.
    from rest_framework.request import Request
    from rest_framework.views import APIView

DEFAULT_PAGE_SIZE = 50
LARGEST_PAGE_SIZE = 200
# By its text: int() takes other scripts' digits, and stumbles over thousands of them.
_PAGE_SIZES = {str(size): size for size in range(1, LARGEST_PAGE_SIZE + 1)}


class KnownOrderingFilter(OrderingFilter):
    """`ordering=-received_at,priority`; a field that is not offered is refused."""

    def remove_invalid_fields(
        self, queryset: Any, fields: Sequence[str], view: APIView, request: Request
    ) -> list[str]:
        """Return the fields as they are.

        Raises:
            InvalidInput: One of them is not offered for ordering.
        """
        offered = {
            name
            for name, _ in self.get_valid_fields(queryset, view, {"request": request})
        }
        for field in fields:
            if field.removeprefix("-") not in offered:
                said = f"'{field}' is not one of: {', '.join(sorted(offered))}."
                raise InvalidInput(said, fields={"ordering": [said]})
        return list(fields)


@dataclass(frozen=True)
class Column:
    """One field of the ordering, by its lookup path from the model."""

    path: str
    descending: bool
    field: models.Field

    @property
    def nullable(self) -> bool:
        """Whether rows may lack a value; those come last either way."""
        return self.field.null

    def expression(self, *, reverse: bool) -> Any:
        """Return the ORDER BY term; nulls are only spoken of where there can be any."""
        descending = self.descending != reverse
        term = F(self.path)
        nulls = {}
        if self.nullable:
            nulls = {"nulls_first": True} if reverse else {"nulls_last": True}
        return term.desc(**nulls) if descending else term.asc(**nulls)

    def after(self, value: Any, *, reverse: bool) -> Q:
        """Return which rows come strictly after a row with this value."""
        greater = self.descending == reverse
        if value is None:
            # Nulls stand last: nothing comes after them, everything before.
            return Q(**{f"{self.path}__isnull": False}) if reverse else Q(pk__in=())
        beyond = Q(**{f"{self.path}__{'gt' if greater else 'lt'}": value})
        if self.nullable and not reverse:
            beyond |= Q(**{f"{self.path}__isnull": True})
        return beyond

    def same(self, value: Any) -> Q:
        """Return which rows have this value."""
        if value is None:
            return Q(**{f"{self.path}__isnull": True})
        return Q(**{self.path: value})

    def not_before(self, value: Any, *, reverse: bool) -> Q:
        """Return what an index can start from; it follows from the others."""
        if value is None or self.nullable:
            return Q()
        greater = self.descending == reverse
        return Q(**{f"{self.path}__{'gte' if greater else 'lte'}": value})

    def of(self, row: models.Model) -> str | None:
        """Return the row's value as text that `read` takes back."""
        value: Any = row
        for part in self.path.split("__"):
            value = getattr(value, part) if value is not None else None
        return (
            None
            if value is None
            else self.field.value_to_string(_Holder(self.field, value))
        )

    def read(self, text: str | None) -> Any:
        """Return the value that `of` wrote.

        Raises:
            ValidationError: The text is not a value of this field.
        """
        return None if text is None else self.field.to_python(text)


class _Holder:
    """`Field.value_to_string` asks an object for its field: one that has the value."""

    def __init__(self, field: models.Field, value: Any) -> None:
        setattr(self, field.attname, value)


class CursorPagination(BasePagination):
    """`?cursor=…&page_size=…` → {results, next, previous}."""

    def paginate_queryset(
        self, queryset: models.QuerySet, request: Request, view: APIView | None = None
    ) -> list[Any]:
        """Return the rows of the page that the request asks for.

        Raises:
            InvalidInput: The cursor or the page size is not one.
        """
        self._url = request.build_absolute_uri()
        size = _page_size(request.query_params.get("page_size"))
        columns = _columns(queryset)
        reverse, values = _read_cursor(request.query_params.get("cursor"), columns)
        if values is not None:
            queryset = queryset.filter(_beyond(columns, values, reverse=reverse))
        rows = list(
            queryset.order_by(*(c.expression(reverse=reverse) for c in columns))[
                : size + 1
            ]
        )
        more, rows = len(rows) > size, rows[:size]
        if reverse:
            rows.reverse()
        has_next = more if not reverse else True
        has_previous = (values is not None) if not reverse else more
        self._next = self._link(columns, rows[-1], "n") if rows and has_next else None
        self._previous = (
            self._link(columns, rows[0], "p") if rows and has_previous else None
        )
        return rows

    def _link(self, columns: Sequence[Column], row: models.Model, way: str) -> str:
        text = json.dumps([way, *(column.of(row) for column in columns)])
        cursor = base64.urlsafe_b64encode(text.encode()).decode()
        return replace_query_param(self._url, "cursor", cursor)

    def get_paginated_response(self, data: Any) -> Response:
        """Return the page with the way to its neighbours."""
        return Response(
            {"results": data, "next": self._next, "previous": self._previous}
        )

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Describe the page for the OpenAPI document."""
        link = {"type": "string", "format": "uri", "nullable": True}
        return {
            "type": "object",
            "required": ["results", "next", "previous"],
            "properties": {"results": schema, "next": link, "previous": link},
        }

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        """Describe the parameters for the OpenAPI document."""
        return [
            {
                "name": "cursor",
                "in": "query",
                "required": False,
                "description": "From `next` or `previous` of a page.",
                "schema": {"type": "string"},
            },
            {
                "name": "page_size",
                "in": "query",
                "required": False,
                "description": "Rows of a page.",
                "schema": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": LARGEST_PAGE_SIZE,
                    "default": DEFAULT_PAGE_SIZE,
                },
            },
        ]


def _page_size(asked: str | None) -> int:
    if asked is None:
        return DEFAULT_PAGE_SIZE
    if asked in _PAGE_SIZES:
        return _PAGE_SIZES[asked]
    said = f"A whole number from 1 to {LARGEST_PAGE_SIZE}."
    raise InvalidInput(f"page_size: {said}", fields={"page_size": [said]})


def _columns(queryset: models.QuerySet) -> list[Column]:
    """Return the ordering of the queryset, ended by the key so that it is total."""
    paths = [
        path for path in (queryset.query.order_by or queryset.model._meta.ordering)
    ]
    columns = [_column(queryset.model, path) for path in paths]
    if not any(column.path in ("pk", "id") for column in columns):
        descending = bool(columns) and columns[-1].descending
        columns.append(Column("pk", descending, queryset.model._meta.pk))
    return columns


def _column(model: type[models.Model], path: str) -> Column:
    bare = path.removeprefix("-")
    field: models.Field | None = None
    nullable = False
    for part in bare.split("__"):
        field = model._meta.pk if part == "pk" else model._meta.get_field(part)
        if field.is_relation:
            nullable = nullable or field.null
            model = field.related_model
    if field is None or field.is_relation or (nullable and not field.null):
        raise FieldDoesNotExist(f"{path} cannot be paged by")
    return Column(bare, path.startswith("-"), field)


def _read_cursor(
    cursor: str | None, columns: Sequence[Column]
) -> tuple[bool, list[Any] | None]:
    if cursor is None:
        return False, None
    said = "Not a cursor of this list and ordering; start without one."
    refused = InvalidInput(f"cursor: {said}", fields={"cursor": [said]})
    try:
        way, *texts = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii")))
        if way not in ("n", "p") or len(texts) != len(columns):
            raise refused
        values = [c.read(t) for c, t in zip(columns, texts, strict=True)]
    except (binascii.Error, ValueError, TypeError, ValidationError) as error:
        raise refused from error
    return way == "p", values


def _beyond(columns: Sequence[Column], values: Sequence[Any], *, reverse: bool) -> Q:
    """Return the rows after the one with these values (a row comparison)."""
    found, same = Q(pk__in=()), Q()
    for column, value in zip(columns, values, strict=True):
        found |= same & column.after(value, reverse=reverse)
        same &= column.same(value)
    return columns[0].not_before(values[0], reverse=reverse) & found
