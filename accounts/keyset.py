"""Keyset paging: a cursor holds the values of the last row that was shown.

Rows that arrive meanwhile neither repeat nor hide others, and page 1,000 costs as much
as page 1. REST framework's own cursor counts offsets among equal values and loses rows
without a value; this one orders by every field, then by the key, nulls last.

Cursors stand in addresses, which proxies and browsers keep, and a value may be a name
or a date. So they are encrypted, and belong to one user and one list.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self, TypeVar, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db.models import F, Field, Model, Q, QuerySet
from django.db.models.expressions import OrderBy
from django.utils.crypto import salted_hmac
from django.utils.timezone import is_naive

_Model = TypeVar("_Model", bound=Model)
_FORWARDS, _BACKWARDS = "n", "p"
# A shorter ciphertext has no text behind its tag; AES-SIV reports that in its own way.
_TAG_BYTES = 16


Reader = AbstractBaseUser | AnonymousUser


class CursorError(ValueError):
    """The text is no cursor of this ordering, list and user."""


def _cipher() -> AESSIV:
    """Return AES-SIV (RFC 5297) with a key made of SECRET_KEY.

    It needs no nonce, so that cursors stay short and equal for equal rows.
    """
    return AESSIV(salted_hmac(__name__, b"cursor", algorithm="sha512").digest())


@dataclass(frozen=True)
class Column:
    """One field of an ordering, by its lookup path from the model."""

    path: str
    descending: bool
    field: Field[Any, Any]

    @classmethod
    def of(cls, model: type[Model], term: str) -> Self:
        """Return the column of an ordering term such as `-study__received_at`.

        Raises:
            FieldDoesNotExist: There is no such field, or its rows cannot be paged.
        """
        path = term.removeprefix("-")
        *relations, last = path.split("__")
        for name in relations:
            relation = _field(model, name)
            if not relation.is_relation or relation.null:
                raise FieldDoesNotExist(f"{term} cannot be paged by")
            model = cast(type[Model], relation.related_model)
        field = _field(model, last)
        if field.is_relation and not field.primary_key:
            raise FieldDoesNotExist(f"{term} cannot be paged by")
        return cls(path, term.startswith("-"), field)

    @property
    def nullable(self) -> bool:
        """Whether rows may lack a value; those come last in either direction."""
        return self.field.null

    @property
    def distinguishes(self) -> bool:
        """Whether no two rows have the same value, so that no key need follow."""
        return self.path in ("pk", self.field.name) and self.field.unique

    def order(self, *, backwards: bool) -> OrderBy:
        """Return the ORDER BY term; it names nulls only if there can be any."""
        nulls: dict[str, bool] = {}
        if self.nullable:
            nulls = {"nulls_first": True} if backwards else {"nulls_last": True}
        term = F(self.path)
        if self.descending != backwards:
            return term.desc(**nulls)
        return term.asc(**nulls)

    def order_of_known(self, *, backwards: bool) -> OrderBy:
        """Return the ORDER BY term for rows with a value, as an index has it."""
        term = F(self.path)
        return term.desc() if self.descending != backwards else term.asc()

    def beyond(self, value: Any, *, backwards: bool) -> Q:
        """Return the condition for rows strictly after a row with this value."""
        if value is None:
            # Nulls are last: nothing comes after them, everything before them.
            return Q(**{f"{self.path}__isnull": False}) if backwards else Q(pk__in=())
        greater = self.descending == backwards
        beyond = Q(**{f"{self.path}__{'gt' if greater else 'lt'}": value})
        if self.nullable and not backwards:
            beyond |= Q(**{f"{self.path}__isnull": True})
        return beyond

    def same(self, value: Any) -> Q:
        """Return the condition for rows with this value."""
        if value is None:
            return Q(**{f"{self.path}__isnull": True})
        return Q(**{self.path: value})

    def not_before(self, value: Any, *, backwards: bool) -> Q:
        """Return a condition that follows from the others, where an index can start."""
        if value is None or self.nullable:
            return Q()
        greater = self.descending == backwards
        return Q(**{f"{self.path}__{'gte' if greater else 'lte'}": value})

    def write(self, row: Model) -> str | None:
        """Return the row's value as text that `read` takes back."""
        value: Any = row
        for part in self.path.split("__"):
            value = getattr(value, part) if value is not None else None
        if value is None:
            return None
        return self.field.value_to_string(cast(Model, _Holder(self.field, value)))

    def read(self, text: Any) -> Any:
        """Return the value that `write` wrote.

        Raises:
            ValidationError: The text is not a value of this field.
            CursorError: It is one that no row can have.
        """
        if text is None and self.nullable:
            return None
        if not isinstance(text, str):
            raise CursorError
        value = self.field.to_python(text)
        if value is None or (isinstance(value, datetime) and is_naive(value)):
            raise CursorError
        return value


class _Holder:
    """An object with one value, as `Field.value_to_string` expects it."""

    def __init__(self, field: Field[Any, Any], value: Any) -> None:
        setattr(self, field.attname, value)


def _field(model: type[Model], name: str) -> Field[Any, Any]:
    field = model._meta.pk if name == "pk" else model._meta.get_field(name)
    if not isinstance(field, Field):
        raise FieldDoesNotExist(f"{name} of {model.__name__} cannot be paged by")
    return field


@dataclass(frozen=True)
class Position:
    """The row that a page begins after, by its values, and the direction.

    Attributes:
        values: One value for each column of the ordering.
        backwards: Whether the page ends before the row instead.
    """

    values: tuple[Any, ...]
    backwards: bool = False


@dataclass(frozen=True)
class Ordering:
    """A total order of a model's rows: its last column is the key.

    Attributes:
        model: The label of the model, "patients.Study".
    """

    model: str
    columns: tuple[Column, ...]

    @classmethod
    def of(cls, model: type[Model], terms: Sequence[str]) -> Self:
        """Return the ordering by these terms, ended by the key where it is missing.

        Raises:
            FieldDoesNotExist: A term is no field that rows can be paged by.
        """
        columns = [Column.of(model, term) for term in terms]
        if not any(column.distinguishes for column in columns):
            descending = bool(columns) and columns[-1].descending
            columns.append(Column.of(model, "-pk" if descending else "pk"))
        return cls(model._meta.label, tuple(columns))

    def cursor(
        self, row: Model, *, reader: Reader, list_name: str, backwards: bool = False
    ) -> str:
        """Return the cursor of the page that begins after (or ends before) a row.

        Args:
            row: The row.
            reader: The user who may go on reading with the cursor.
            list_name: The list that it belongs to; another list refuses it.
            backwards: Whether the page ends before the row.
        """
        way = _BACKWARDS if backwards else _FORWARDS
        text = json.dumps(
            [way, *(column.write(row) for column in self.columns)],
            ensure_ascii=False,
            separators=(",", ":"),
        )
        sealed = _cipher().encrypt(text.encode(), self._bound_to(reader, list_name))
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def position(self, cursor: str, *, reader: Reader, list_name: str) -> Position:
        """Read a cursor.

        Raises:
            CursorError: It was not made for this ordering, list and user.
        """
        try:
            padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
            sealed = base64.b64decode(padded, altchars=b"-_", validate=True)
            if len(sealed) <= _TAG_BYTES:
                raise CursorError
            text = _cipher().decrypt(sealed, self._bound_to(reader, list_name))
            way, *texts = json.loads(text)
            pairs = zip(self.columns, texts, strict=True)
            values = tuple(column.read(value) for column, value in pairs)
        except (binascii.Error, InvalidTag, ValueError, ValidationError) as error:
            raise CursorError from error
        return Position(values, backwards=way == _BACKWARDS)

    def _bound_to(self, reader: Reader, list_name: str) -> list[bytes]:
        """Return what a cursor is bound to, the associated data of AES-SIV."""
        terms = [("-" if c.descending else "") + c.path for c in self.columns]
        bound = [str(reader.pk), list_name, self.model, *terms]
        return [part.encode("utf-8", "surrogatepass") for part in bound]

    def rows(
        self, queryset: QuerySet[_Model], position: Position | None, *, limit: int
    ) -> list[_Model]:
        """Return the first rows after a position, or the last ones before it."""
        return self.rows_of_parts([queryset], position, limit=limit)

    def rows_of_parts(
        self,
        parts: Sequence[QuerySet[_Model]],
        position: Position | None,
        *,
        limit: int,
    ) -> list[_Model]:
        """Return what `rows` does, of several querysets without rows in common.

        Each is read in the order of its own index, and no further than `limit`.
        """
        if not parts:
            return []
        backwards = position is not None and position.backwards
        if position is not None:
            parts = [part.filter(self._beyond(position)) for part in parts]
        rows: list[_Model] = []
        for known in self._with_and_without_value(backwards=backwards):
            left = limit - len(rows)
            if not left:
                break
            terms = [column.order(backwards=backwards) for column in self.columns]
            if self.columns[0].nullable:
                terms[0] = self.columns[0].order_of_known(backwards=backwards)
            first, *others = (
                part.filter(known).order_by(*terms)[:left] for part in parts
            )
            if others:
                first = first.union(*others, all=True).order_by(*terms)[:left]
            rows += first
        return rows[::-1] if backwards else rows

    def _with_and_without_value(self, *, backwards: bool) -> list[Q]:
        """Return the conditions for the rows with, then without the first value.

        Together in one order, nulls last, an index serves one direction only.
        """
        first = self.columns[0]
        if not first.nullable:
            return [Q()]
        without = [Q(**{f"{first.path}__isnull": null}) for null in (False, True)]
        return without[::-1] if backwards else without

    def _beyond(self, position: Position) -> Q:
        """Return the condition for the rows after a position (a row comparison)."""
        backwards = position.backwards
        beyond, same = Q(pk__in=()), Q()
        for column, value in zip(self.columns, position.values, strict=True):
            beyond |= same & column.beyond(value, backwards=backwards)
            same &= column.same(value)
        first = self.columns[0]
        return first.not_before(position.values[0], backwards=backwards) & beyond
