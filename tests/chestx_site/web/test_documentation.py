"""The page that documents the REST interface."""

from __future__ import annotations

import pytest
from drf_spectacular.generators import SchemaGenerator

from chestx_site.web.documentation import fields_of, operations_of
from tests.clients import html, person

pytestmark = pytest.mark.django_db


def test_the_page_names_every_operation_and_every_schema() -> None:
    document = SchemaGenerator().get_schema(request=None, public=True)
    page = html(person(), "/api/v1/docs/")
    for path, methods in document["paths"].items():
        assert page.count(f"<code>{path}</code>") == len(methods), path
    for name in document["components"]["schemas"]:
        assert f'id="schema-{name}"' in page


def test_a_field_has_its_type_its_values_and_whether_it_is_required() -> None:
    fields = fields_of(
        {
            "required": ["study"],
            "properties": {
                "study": {"type": "string", "format": "uuid"},
                "findings": {
                    "type": "array",
                    "items": {"$ref": "#/components/schemas/Finding"},
                },
                "status": {
                    "type": "string",
                    "enum": ["a", "b"],
                    "description": "What.\n\n* `a` - A\n* `b` - B",
                },
            },
        }
    )
    study, findings, status = fields
    assert (study.type.words, study.required) == ("uuid", True)
    assert (findings.type.words, findings.type.schema) == ("Finding[]", "Finding")
    assert (list(status.values), status.description) == (["a", "b"], "What.")


def test_an_operation_has_its_answers() -> None:
    document = SchemaGenerator().get_schema(request=None, public=True)
    uploads = [
        operation
        for tag, operation in operations_of(document)
        if tag == "uploads" and operation.method == "POST"
    ]
    assert [answer.status for answer in uploads[0].answers][:2] == ["202", "400"]
    assert uploads[0].sent[0].media_type == "multipart/form-data"
