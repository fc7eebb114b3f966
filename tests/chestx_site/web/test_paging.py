"""Cursor paging: every row once, in order, for every ordering and for nulls."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from accounts.models import Role
from patients.models import Study
from tests.clients import program
from tests.factories import PatientFactory, StudyFactory, UserFactory

pytestmark = pytest.mark.django_db
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
URL = "/api/v1/studies/"


def _studies(number: int) -> list[Study]:
    patient = PatientFactory()
    return [
        StudyFactory(
            patient=patient,
            priority=index % 3,
            study_date=None if index % 4 == 0 else date(2026, 1, 1 + index % 5),
            # Several share a moment: the key has to decide.
            received_at=BEGAN + timedelta(minutes=index // 3),
        )
        for index in range(number)
    ]


def _pages(client: Client, url: str, *, way: str = "next") -> Iterator[dict[str, Any]]:
    while url:
        page = client.get(url).json()
        yield page
        url = page[way]


def _ids(pages: list[dict[str, Any]]) -> list[str]:
    return [row["id"] for page in pages for row in page["results"]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "ordering",
    [
        "received_at",
        "-received_at",
        "study_date",
        "-study_date",
        "priority,-study_date",
        "-priority,received_at",
    ],
)
def test_every_row_is_listed_once_in_both_directions_under_any_ordering(
    ordering: str,
) -> None:
    made = {str(study.pk) for study in _studies(23)}
    client = program()
    pages = list(_pages(client, f"{URL}?ordering={ordering}&page_size=4"))
    forwards = _ids(pages)
    assert len(forwards) == 23
    assert set(forwards) == made
    assert pages[0]["previous"] is None
    last = (
        f"{URL}?ordering={ordering}&page_size=4&" + pages[-1]["previous"].split("?")[1]
    )
    backwards = list(_pages(client, last, way="previous"))
    assert _ids(backwards[::-1]) == forwards[: len(_ids(backwards))]
    assert backwards[-1]["previous"] is None


def test_rows_have_the_requested_order_with_nulls_last() -> None:
    _studies(12)
    pages = _pages(program(), f"{URL}?ordering=-study_date&page_size=5")
    dates = [row["study_date"] for page in pages for row in page["results"]]
    known = [day for day in dates if day]
    assert known == sorted(known, reverse=True)
    assert dates[len(known) :] == [None] * 3


def test_rows_added_between_pages_neither_hide_nor_repeat_others() -> None:
    made = {str(study.pk) for study in _studies(9)}
    client = program()
    first = client.get(f"{URL}?page_size=4").json()
    StudyFactory(received_at=BEGAN + timedelta(days=1))
    rest = _ids(list(_pages(client, first["next"])))
    assert {row["id"] for row in first["results"]} | set(rest) == made
    assert len(rest) == 5


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("page_size=0", "page_size"),
        ("page_size=201", "page_size"),
        ("page_size=ten", "page_size"),
        ("page_size=%D9%A3", "page_size"),
        ("cursor=nonsense", "cursor"),
        ("cursor=WyJuIl0=", "cursor"),
        ("cursor=WyJuIiwgIngiLCAieSJd", "cursor"),
        ("ordering=patient__name_folded", "ordering"),
        ("received_after=yesterday", "received_after"),
        ("priority=soon", "priority"),
    ],
)
def test_the_error_names_an_unreadable_parameter(query: str, field: str) -> None:
    answer = program().get(f"{URL}?{query}")
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert field in answer.json()["fields"]


def test_only_rows_of_the_users_departments_are_listed() -> None:
    StudyFactory()
    elsewhere = StudyFactory(department__code="emergency")
    stranger = program(user=UserFactory(departments=[elsewhere.department]))
    assert _ids([stranger.get(URL).json()]) == [str(elsewhere.pk)]
    assert len(program(Role.ADMIN).get(URL).json()["results"]) == 2
