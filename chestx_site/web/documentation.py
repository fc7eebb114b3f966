"""The page that documents the REST interface, made from its OpenAPI schema.

It needs no scripts and no inline styles, unlike Swagger UI and Redoc, so it stands
under the same Content-Security-Policy as every other page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.text import slugify
from drf_spectacular.generators import SchemaGenerator
from rest_framework.permissions import IsAuthenticated
from rest_framework.renderers import TemplateHTMLRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

_COMPONENT = "#/components/schemas/"
_LISTED_VALUES = "\n\n* `"


@dataclass(frozen=True)
class TypeText:
    """A type in words; `schema` is the described schema that it consists of, if any."""

    words: str
    schema: str = ""


@dataclass(frozen=True)
class Field:
    """A parameter, or a field of a body."""

    name: str
    type: TypeText
    required: bool
    place: str = ""
    description: str = ""
    values: Sequence[str] = ()


@dataclass(frozen=True)
class Body:
    """What is sent or answered: its media type and its schema."""

    media_type: str
    type: TypeText


@dataclass(frozen=True)
class Answer:
    """A status with its body, if it has one."""

    status: str
    description: str
    body: Body | None


@dataclass(frozen=True)
class Operation:
    """A method on a path."""

    key: str
    method: str
    path: str
    description: str
    parameters: Sequence[Field]
    sent: Sequence[Body]
    answers: Sequence[Answer]


class DocumentationView(APIView):
    """Documentation of the REST interface for people."""

    # OPTIONS would ask the renderer for a template that there is not.
    http_method_names = ("get", "head")
    renderer_classes = (TemplateHTMLRenderer,)
    permission_classes = (IsAuthenticated,)
    schema = None

    def get(self, request: Request) -> Response:
        """Show every operation and every schema."""
        document = SchemaGenerator().get_schema(request=request, public=True)
        groups: dict[str, list[Operation]] = {}
        for tag, operation in operations_of(document):
            groups.setdefault(tag, []).append(operation)
        schemas = {
            name: fields_of(schema)
            for name, schema in document["components"]["schemas"].items()
        }
        return Response(
            {
                "groups": groups,
                "schemas": schemas,
                "site": request.build_absolute_uri("/").rstrip("/"),
            },
            template_name="api/page.html",
        )


def operations_of(document: Mapping[str, Any]) -> Iterator[tuple[str, Operation]]:
    """Yield the tag and the description of each operation of an OpenAPI document."""
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            yield (
                described["tags"][0],
                Operation(
                    key=slugify(described["operationId"]),
                    method=method.upper(),
                    path=path,
                    description=described.get("description", ""),
                    parameters=[
                        _field(one["name"], one, one["schema"], place=one["in"])
                        for one in described.get("parameters", ())
                    ],
                    sent=_bodies(described.get("requestBody", {})),
                    answers=[
                        _answer(status, answer)
                        for status, answer in described["responses"].items()
                    ],
                ),
            )


def fields_of(schema: Mapping[str, Any]) -> list[Field]:
    """Return the fields of an object, or the values of an enumeration as one field."""
    if "enum" in schema:
        return [_field("", schema, schema)]
    required = schema.get("required", ())
    return [
        _field(name, {**described, "required": name in required}, described)
        for name, described in schema.get("properties", {}).items()
    ]


def _field(
    name: str, described: Mapping[str, Any], schema: Mapping[str, Any], place: str = ""
) -> Field:
    # drf-spectacular lists the values of a choice in its description, too.
    description, _, _ = described.get("description", "").partition(_LISTED_VALUES)
    return Field(
        name=name,
        type=_type(schema),
        required=bool(described.get("required")),
        place=place,
        description="" if description.startswith("* `") else description,
        values=[str(value) for value in schema.get("enum", ())],
    )


def _bodies(described: Mapping[str, Any]) -> list[Body]:
    return [
        Body(media_type, _type(content.get("schema", {})))
        for media_type, content in described.get("content", {}).items()
    ]


def _answer(status: str, described: Mapping[str, Any]) -> Answer:
    bodies = _bodies(described)
    return Answer(
        status, described.get("description", ""), bodies[0] if bodies else None
    )


def _type(schema: Mapping[str, Any]) -> TypeText:
    """Return the type of a value; a list has the type of its entries and `[]`."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_COMPONENT)
        return TypeText(name, name)
    for combined in ("allOf", "oneOf", "anyOf"):
        if combined in schema:
            return _type(schema[combined][0])
    if schema.get("type") == "array":
        entries = _type(schema["items"])
        return TypeText(f"{entries.words}[]", entries.schema)
    return TypeText(schema.get("format") or schema.get("type", "any"))
