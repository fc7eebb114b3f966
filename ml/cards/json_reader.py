"""Read JSON into frozen dataclasses, and describe them as JSON Schema.

The fields of a dataclass are the schema of an object: a field with a default may be
left out. Keys without a field are ignored when an object is read, so that a card may
carry more than this version knows; the JSON Schema names every key.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Hashable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, cast

T = TypeVar("T")
Reader = Callable[[Any], Any]

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_JSON_NAMES = {str: "string", int: "integer", float: "number", bool: "boolean"}


class JsonMismatchError(ValueError):
    """A value that does not fit: `place` in the document and what is `expected`."""

    def __init__(self, expected: str, place: str = "") -> None:
        super().__init__(f"{place}: {expected}")
        self.place = place
        self.expected = expected

    def inside(self, outer: str) -> JsonMismatchError:
        """Return the same, seen from the value that holds it."""
        joint = "" if not self.place or self.place.startswith("[") else "."
        return JsonMismatchError(self.expected, f"{outer}{joint}{self.place}")


def read_json(kind: type[T], value: object) -> T:
    """Build a dataclass from its JSON.

    Args:
        kind: A dataclass of `str`, `int`, `float`, `bool`, `Any`, `Literal`, other
            dataclasses, tuples of these, mappings from `str`, and `| None` of any.
        value: What `json.loads` returned.

    Raises:
        JsonMismatchError: A field is missing or of another type.
    """
    return cast(T, _reader(cast(Hashable, kind))(value))


def as_json(value: Any) -> Any:
    """Return a dataclass as JSON; fields that have their default are left out."""
    if is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: as_json(content)
            for field in fields(value)
            if (content := getattr(value, field.name)) != field.default
        }
    if isinstance(value, Mapping):
        return {key: as_json(content) for key, content in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(content) for content in value]
    return value


def json_schema(kind: type) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a dataclass."""
    definitions: dict[str, Any] = {}
    reference = _schema(kind, definitions)
    return {"$schema": DRAFT, **reference, "$defs": dict(sorted(definitions.items()))}


@cache
def _reader(kind: Any) -> Reader:
    """Return what reads values of a type; made once for each type."""
    if kind is Any:
        return lambda value: value
    if is_dataclass(kind):
        return _object_reader(cast(type, kind))
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        [inner] = [part for part in arguments if part is not types.NoneType]
        read = _reader(inner)
        return lambda value: None if value is None else read(value)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return _array_reader(_reader(arguments[0]))
        return _fixed_array_reader([_reader(argument) for argument in arguments])
    if origin is Literal:
        return _literal_reader(arguments)
    if origin is not None:
        return _mapping_reader(_reader(arguments[1]))
    return _plain_reader(kind)


def _plain_reader(kind: type) -> Reader:
    expected = _JSON_NAMES[kind]

    def read(value: Any) -> Any:
        # A bool is an int of Python, never a number of JSON.
        if isinstance(value, bool):
            fits = kind is bool
        else:
            fits = isinstance(value, int | float if kind is float else kind)
        if not fits:
            raise JsonMismatchError(expected)
        return float(value) if kind is float else value

    return read


def _literal_reader(allowed: tuple[Any, ...]) -> Reader:
    def read(value: Any) -> Any:
        if value not in allowed:
            raise JsonMismatchError(" | ".join(str(each) for each in allowed))
        return value

    return read


def _array_reader(one: Reader) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise JsonMismatchError("array")
        items = []
        for number, each in enumerate(value):
            try:
                items.append(one(each))
            except JsonMismatchError as mismatch:
                raise mismatch.inside(f"[{number}]") from None
        return tuple(items)

    return read


def _fixed_array_reader(readers: list[Reader]) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, list | tuple) or len(value) != len(readers):
            raise JsonMismatchError(f"array[{len(readers)}]")
        return tuple(one(each) for one, each in zip(readers, value, strict=True))

    return read


def _mapping_reader(one: Reader) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise JsonMismatchError("object")
        members = {}
        for key, each in value.items():
            try:
                members[key] = one(each)
            except JsonMismatchError as mismatch:
                raise mismatch.inside(key) from None
        return members

    return read


def _object_reader(kind: type) -> Reader:
    known = [
        (field.name, _reader(hint), _required(field))
        for field, hint in _fields_of(kind)
    ]

    def read(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise JsonMismatchError("object")
        arguments = {}
        for name, one, required in known:
            if name in value:
                try:
                    arguments[name] = one(value[name])
                except JsonMismatchError as mismatch:
                    raise mismatch.inside(name) from None
            elif required:
                raise JsonMismatchError("required", name)
        return kind(**arguments)

    return read


def _fields_of(kind: type) -> list[tuple[Field[Any], Any]]:
    hints = typing.get_type_hints(kind)
    return [(field, hints[field.name]) for field in fields(kind)]


def _required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _schema(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if kind is Any:
        return {}
    if is_dataclass(kind):
        return _object_schema(cast(type, kind), definitions)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        [inner] = [part for part in arguments if part is not types.NoneType]
        return {"anyOf": [_schema(inner, definitions), {"type": "null"}]}
    if origin is tuple:
        return _array_schema(arguments, definitions)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is not None:
        values = _schema(arguments[1], definitions)
        return {"type": "object", "additionalProperties": values or True}
    return {"type": _JSON_NAMES[kind]}


def _array_schema(
    arguments: tuple[Any, ...], definitions: dict[str, Any]
) -> dict[str, Any]:
    if arguments[-1] is Ellipsis:
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    return {
        "type": "array",
        "prefixItems": [_schema(argument, definitions) for argument in arguments],
        "minItems": len(arguments),
        "maxItems": len(arguments),
    }


def _object_schema(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    name = kind.__name__
    if name not in definitions:
        definitions[name] = {}
        definitions[name] = {
            "description": (kind.__doc__ or "").partition("\n")[0],
            "type": "object",
            "properties": {
                field.name: _schema(hint, definitions)
                for field, hint in _fields_of(kind)
            },
            "required": [field.name for field in fields(kind) if _required(field)],
            "additionalProperties": False,
        }
    return {"$ref": f"#/$defs/{name}"}
