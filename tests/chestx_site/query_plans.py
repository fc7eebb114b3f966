"""The plans of the queries that a request makes, and every list that can be asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import islice
from typing import Any
from urllib.parse import urlencode

import django_filters
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.urls import reverse

from chestx_site.api import router
from diagnoses.models import Prediction
from diagnoses.pages.worklist.filters import FILTERS
from patients.models import Study

# A table with more rows is large, and a plan may neither read all of it nor remove more
# rows than this by a filter.
LARGE = 10_000
MOST_REMOVED = 1_000
# Filters that do not name their field.
_PATHS = {
    (Study, "modality"): "series__modality",
    (Prediction, "positive"): "findings__label",
    (Prediction, "flagged"): "findings__label",
}
_REMOVED = (
    "Rows Removed by Filter",
    "Rows Removed by Join Filter",
    "Rows Removed by Index Recheck",
)


@dataclass
class Plans:
    """Explains every query that runs meanwhile.

    Attributes:
        sizes: Rows of the large tables.
        faults: What is wrong, by the address of the request.
    """

    sizes: dict[str, int]
    faults: dict[str, list[str]] = field(default_factory=dict)
    address: str = ""

    @classmethod
    def of_database(cls) -> Plans:
        """Read the sizes of the tables; ANALYZE must have counted them."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT relname, reltuples::bigint FROM pg_class "
                "WHERE relkind = 'r' AND reltuples > %s",
                [LARGE],
            )
            return cls(dict(cursor.fetchall()))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Explain the queries of this connection, with its settings at the time."""
        with connection.execute_wrapper(self._explain):
            yield

    def _explain(
        self,
        execute: Callable[..., Any],
        sql: str,
        params: Any,
        many: bool,
        context: Any,
    ) -> Any:
        if sql.lstrip(" (").startswith(("SELECT", "WITH")):
            with context["connection"].connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params)
                [(plan,)] = cursor.fetchall()
            plan = json.loads(plan) if isinstance(plan, str) else plan
            for fault in self._faults(plan[0]["Plan"]):
                self.faults.setdefault(self.address, []).append(f"{fault}\n      {sql}")
        return execute(sql, params, many, context)

    def _faults(self, node: dict[str, Any]) -> Iterator[str]:
        table, loops = node.get("Relation Name", ""), node["Actual Loops"]
        removed = sum(node.get(name, 0) for name in _REMOVED) * loops
        read = node["Actual Rows"] * loops + removed
        where = f"{node['Node Type']} of {table or 'rows'}"
        if table in self.sizes and read >= self.sizes[table] * 0.9:
            yield f"{where} reads all {read:,.0f} rows"
        elif node["Node Type"] == "Seq Scan" and table in self.sizes:
            yield f"{where} reads {read:,.0f} rows"
        if removed > MOST_REMOVED:
            yield f"{where} removes {removed:,.0f} rows"
        for inner in node.get("Plans", ()):
            yield from self._faults(inner)


def ask(client: Client, addresses: list[str], plans: Plans) -> None:
    """Request each address and judge the plans of its queries."""
    for address in addresses:
        plans.address = address
        with plans.watching():
            answer = client.get(address)
        assert answer.status_code in (200, 302, 400), (address, answer.status_code)


def worklist_addresses(searches: list[str]) -> list[str]:
    """Return the worklist with each filter, order and search."""
    parameters = [
        {"show": one.key, "sort": sort} for one in FILTERS for sort in ("", "newest")
    ]
    parameters += [{"q": text} for text in searches]
    return ["/?" + urlencode(one) for one in parameters]


def rest_addresses(searches: list[str]) -> list[str]:
    """Return each REST list with each filter and each order."""
    addresses = []
    for prefix, viewset, _name in router.registry:
        lists: list[dict[str, object]] = [{}]
        terms = getattr(viewset, "ordering_fields", ())
        lists += [{"ordering": f"{way}{term}"} for term in terms for way in ("", "-")]
        chosen = getattr(viewset, "filterset_class", None)
        for name, one in (chosen.base_filters if chosen else {}).items():
            lists += [{name: value} for value in _values(viewset, name, one, searches)]
        addresses += [f"/api/v1/{prefix}/?{urlencode(one)}" for one in lists]
    return addresses


def _values(viewset: Any, name: str, one: Any, searches: list[str]) -> list[object]:
    """Return values of a filter: of its choices, else of the table, and one of none."""
    if one.method and name in ("search", "name"):
        return list(searches)
    if "choices" in one.extra:
        choices = one.extra["choices"]
        return [value for value, _ in (choices() if callable(choices) else choices)]
    if isinstance(one, django_filters.BooleanFilter):
        return ["true", "false"]
    model = viewset.filterset_class._meta.model
    path = _PATHS.get((model, name), one.field_name)
    rows = model._base_manager.exclude(**{path: None}).values_list(path, flat=True)
    some = list(islice(dict.fromkeys(rows.order_by()[:300]), 3))
    values = [v.isoformat() if hasattr(v, "isoformat") else v for v in some]
    if isinstance(one, django_filters.CharFilter):
        values.append("none-of-them")
    return values


def admin_addresses(client: Client, searches: list[str]) -> list[str]:
    """Return each list of the admin with each filter, order and search."""
    addresses = []
    for model, page in admin.site._registry.items():
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
        answer = client.get(reverse(name))
        if answer.status_code != HTTPStatus.OK:
            continue
        shown = answer.context_data["cl"]
        queries = [
            choice["query_string"]
            for chosen in shown.filter_specs
            for choice in chosen.choices(shown)
        ]
        queries += [
            f"?o={way}{number}"
            for number, column in enumerate(shown.list_display)
            if shown.get_ordering_field(column)
            and column in (page.get_sortable_by(answer.wsgi_request))
            for way in ("", "-")
        ]
        if page.search_fields:
            queries += ["?" + urlencode({"q": text}) for text in searches]
        queries += ["", "?p=5"]
        addresses += [reverse(name) + query for query in dict.fromkeys(queries)]
    return addresses
