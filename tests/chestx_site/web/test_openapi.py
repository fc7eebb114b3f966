"""The OpenAPI document is complete and is built without a warning."""

import re

import pytest
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

from accounts.models import Role
from tests.factories import UserFactory
from tests.routes import make_record, routes

pytestmark = [pytest.mark.django_db, pytest.mark.slow]


@pytest.fixture(scope="module")
def document() -> dict:
    GENERATOR_STATS.reset()
    return SchemaGenerator().get_schema(request=None, public=True)


def test_the_schema_is_valid_and_generated_without_warnings(document: dict) -> None:
    validate_schema(document)
    assert not GENERATOR_STATS._warn_cache
    assert not GENERATOR_STATS._error_cache


def test_every_route_is_described(document: dict) -> None:
    described = {re.sub(r"{\w+}", "<>", path) for path in document["paths"]}
    record = make_record(UserFactory(role=Role.ADMIN))
    there = {
        "/" + re.sub(r"<\w+>", "<>", route.pattern)
        for route in routes(record)
        if route.path.startswith("/api/v1/") and route.name not in ("schema", "docs")
    }
    assert there == described


def test_lists_are_paged_and_uploads_are_multipart(document: dict) -> None:
    studies = document["paths"]["/api/v1/studies/"]["get"]
    names = {parameter["name"] for parameter in studies["parameters"]}
    assert {"cursor", "page_size", "ordering", "search", "priority"} <= names
    upload = document["paths"]["/api/v1/uploads/"]["post"]
    assert list(upload["requestBody"]["content"]) == ["multipart/form-data"]
    assert {"202", "400", "409", "413", "422"} <= set(upload["responses"])
    heatmap = document["paths"]["/api/v1/predictions/{id}/heatmap/"]["get"]
    assert list(heatmap["responses"]["200"]["content"]) == ["image/png"]


def test_only_signing_in_needs_no_authentication(document: dict) -> None:
    open_paths = {
        path
        for path, methods in document["paths"].items()
        for operation in methods.values()
        if {} in operation.get("security", [{}]) or not operation.get("security")
    }
    assert open_paths == {"/api/v1/auth/token/"}
