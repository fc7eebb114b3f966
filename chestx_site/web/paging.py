"""Paging and ordering of the REST lists."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from django.db.models import Model, QuerySet
from django.utils.translation import gettext
from rest_framework.filters import OrderingFilter
from rest_framework.pagination import BasePagination
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from accounts.errors import InvalidInput
from accounts.keyset import CursorError, Ordering, Position

if TYPE_CHECKING:
    # The generic views read these classes from the settings while they are imported.
    from rest_framework.request import Request
    from rest_framework.views import APIView

_Model = TypeVar("_Model", bound=Model)
DEFAULT_PAGE_SIZE = 50
LARGEST_PAGE_SIZE = 200
# By its text: int() takes other scripts' digits, and stumbles over thousands of them.
_PAGE_SIZES = {str(size): size for size in range(1, LARGEST_PAGE_SIZE + 1)}


class KnownOrderingFilter(OrderingFilter):
    """`ordering=-received_at,priority`; a field that is not offered is refused."""

    def remove_invalid_fields(
        self,
        queryset: QuerySet[_Model],
        fields: Iterable[str],
        view: APIView,
        request: Request,
    ) -> list[str]:
        """Return the fields as they are.

        Raises:
            InvalidInput: One of them is not offered for ordering.
        """
        valid = self.get_valid_fields(queryset, view, {"request": request})
        offered = {name for name, _ in valid}
        fields = list(fields)
        for field in fields:
            if field.removeprefix("-") not in offered:
                sentence = gettext("“%(field)s” is not one of: %(offered)s.") % {
                    "field": field,
                    "offered": ", ".join(sorted(offered)),
                }
                raise InvalidInput(sentence, fields={"ordering": [sentence]})
        return fields


class CursorPagination(BasePagination):
    """`?cursor=…&page_size=…` → {results, next, previous}."""

    def paginate_queryset(
        self,
        queryset: Any,
        request: Request,
        view: APIView | None = None,
    ) -> list[Any]:
        """Return the rows of the requested page.

        Raises:
            InvalidInput: The cursor or the page size is not one.
        """
        size = _page_size(request.query_params.get("page_size"))
        ordering = _ordering(queryset)
        position = _position(ordering, request)
        rows = ordering.rows(queryset, position, limit=size + 1)
        more = len(rows) > size
        backwards = position is not None and position.backwards
        # The row beyond the page is the farthest one in the direction of reading.
        rows = rows[-size:] if backwards else rows[:size]
        has_next = more or backwards
        has_previous = more if backwards else position is not None
        self._next = self._previous = None
        if rows and has_next:
            self._next = self._link(request, ordering, rows[-1])
        if rows and has_previous:
            self._previous = self._link(request, ordering, rows[0], backwards=True)
        return rows

    def _link(
        self,
        request: Request,
        ordering: Ordering,
        row: Model,
        *,
        backwards: bool = False,
    ) -> str:
        cursor = ordering.cursor(
            row, reader=request.user, list_name=request.path, backwards=backwards
        )
        return replace_query_param(request.build_absolute_uri(), "cursor", cursor)

    def get_paginated_response(self, data: Any) -> Response:
        """Return the page with the links to its neighbours."""
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


def _page_size(text: str | None) -> int:
    if text is None:
        return DEFAULT_PAGE_SIZE
    if text in _PAGE_SIZES:
        return _PAGE_SIZES[text]
    sentence = gettext("page_size must be a whole number from 1 to %(largest)d.") % {
        "largest": LARGEST_PAGE_SIZE
    }
    raise InvalidInput(sentence, fields={"page_size": [sentence]})


def _ordering(queryset: QuerySet[_Model]) -> Ordering:
    terms = queryset.query.order_by or queryset.model._meta.ordering or ()
    return Ordering.of(queryset.model, cast("tuple[str, ...]", tuple(terms)))


def _position(ordering: Ordering, request: Request) -> Position | None:
    cursor = request.query_params.get("cursor")
    if cursor is None:
        return None
    try:
        return ordering.position(cursor, reader=request.user, list_name=request.path)
    except CursorError as error:
        sentence = gettext(
            "The cursor does not belong to this list and ordering. "
            "Start again without a cursor."
        )
        raise InvalidInput(sentence, fields={"cursor": [sentence]}) from error
