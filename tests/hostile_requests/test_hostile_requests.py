"""No request leads to an internal error, to a hang, or to its own markup in a page.

Routes come from the URL configuration. The names of parameters, fields and headers are
those that the code reads: a first walk over all routes records them. Each route then
gets hostile values in every place of a request, as a visitor and as each role. The
values and their places are drawn with a fixed seed, so that a failure repeats.
"""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from django.contrib import admin
from django.core import signals
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import close_old_connections, transaction
from django.http import HttpResponse
from django.middleware.csrf import CSRF_SECRET_LENGTH
from django.test import Client
from hypothesis import HealthCheck, given, settings, strategies

from accounts.models import Role, User
from chestx_site.wsgi import application
from diagnoses.api.serializers import UploadRequestSerializer
from tests.clients import person, program
from tests.dicom_factory import png
from tests.factories import UserFactory
from tests.hostile_requests.values import (
    BODIES,
    CONTENT_LENGTHS,
    CONTENT_TYPES,
    ELSEWHERE,
    MARK,
    METHODS,
    TEXTS,
    VALUES,
    Reads,
    as_header,
    encoded,
    json_bodies,
)
from tests.routes import Route, make_record, routes

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.slow,
    # A date without a time zone is taken in TIME_ZONE, with this warning.
    pytest.mark.filterwarnings("ignore:DateTimeField .* received a naive datetime"),
]

# Requests to each route, and how many of them each further role sends.
MOST_A_ROUTE, MOST_A_ROUTE_OF_OTHERS = 50, 8
PARTS = 8
# What frameworks read where the recording does not see it, and what proxies send.
HEADERS = frozenset(
    [
        "HTTP_ACCEPT",
        "HTTP_ACCEPT_ENCODING",
        "HTTP_ACCEPT_LANGUAGE",
        "HTTP_AUTHORIZATION",
        "HTTP_COOKIE",
        "HTTP_HOST",
        "HTTP_HX_CURRENT_URL",
        "HTTP_HX_REQUEST",
        "HTTP_HX_TARGET",
        "HTTP_HX_TRIGGER",
        "HTTP_IF_MODIFIED_SINCE",
        "HTTP_IF_NONE_MATCH",
        "HTTP_ORIGIN",
        "HTTP_RANGE",
        "HTTP_REFERER",
        "HTTP_USER_AGENT",
        "HTTP_X_CSRFTOKEN",
        "HTTP_X_FORWARDED_FOR",
        "HTTP_X_FORWARDED_HOST",
        "HTTP_X_FORWARDED_PROTO",
        "HTTP_X_HTTP_METHOD_OVERRIDE",
        "HTTP_X_REQUESTED_WITH",
        "REMOTE_ADDR",
    ]
)
COOKIES = frozenset({"csrftoken", "messages", "sessionid", "theme", "x"})
PREFIXES = ("", "Token ", "Bearer ", "Basic ", "text/html;q=", "bytes=", 'W/"')
LOOKUPS = [
    "exact",
    "iexact",
    "contains",
    "in",
    "gt",
    "range",
    "regex",
    "iregex",
    "year",
    "date",
    "time",
    "isnull",
    "startswith",
    "contained_by",
    "has_key",
    "len",
    "overlap",
    "search",
    "x",
]
# Names whose value decides early whether the others are read.
DECIDE_EARLY = frozenset(
    {"format", "version", "cursor", "after", "page", "p", "o", "e"}
)


@dataclass(frozen=True)
class Attack:
    """One request."""

    path: str
    method: str = "GET"
    query: str = ""
    body: bytes | Mapping[str, Any] = b""
    content_type: str = "application/x-www-form-urlencoded"
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        shown = (self.query, self.body, self.content_type, self.headers, self.cookies)
        return f"{self.method} {self.path[:150]} " + " ".join(
            repr(part)[:150] for part in shown if part
        )

    def send(self, client: Client) -> None:
        """Send the request."""
        for name, value in self.cookies.items():
            client.cookies[name] = value
        options: dict[str, Any] = {"QUERY_STRING": self.query, **self.headers}
        if isinstance(self.body, bytes):
            # Without a body, the client leaves the type out.
            options.setdefault("CONTENT_TYPE", self.content_type)
        if isinstance(self.body, bytes):
            client.generic(
                self.method, self.path, self.body, self.content_type, **options
            )
        else:
            client.post(self.path, self.body, **options)


def _query(names: Mapping[str, str]) -> str:
    return "&".join(f"{name}={encoded(value)}" for name, value in names.items())


def _of_parameters(route: Route, names: list[str]) -> Iterator[Attack]:
    for value in VALUES:
        yield Attack(route.path, query=_query(dict.fromkeys(names, value)))
        for name in names:
            sent = {name: value}
            yield Attack(route.path, query=_query(sent))
            body = urlencode(
                {other: "x" for other in names}
                | {name: value.encode("utf-8", "surrogatepass")}
            )
            yield Attack(route.path, "POST", body=body.encode())
            plain = value.encode("utf-8", "replace").decode()
            yield Attack(route.path, "POST", body={name: plain})
            if route.name == "upload-list" or name == "file":
                part = SimpleUploadedFile("x", png())
                part._name = plain
                yield Attack(route.path, "POST", body={"file": part, name: plain})


def _of_bodies(route: Route, names: set[str]) -> Iterator[Attack]:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        for body in json_bodies(names):
            yield Attack(route.path, method, "", body, "application/json")
        for body in BODIES:
            for content_type in CONTENT_TYPES:
                yield Attack(route.path, method, "", body, content_type)
        for length in CONTENT_LENGTHS:
            for content_type in CONTENT_TYPES:
                headers = {"CONTENT_LENGTH": length}
                yield Attack(route.path, method, "", b"{}", content_type, headers)


def _of_headers(route: Route, names: set[str]) -> Iterator[Attack]:
    for value in map(as_header, VALUES):
        for name in sorted(names | HEADERS):
            for prefix in PREFIXES if name.startswith("HTTP_A") else ("",):
                yield Attack(route.path, headers={name: prefix + value})
        for name in sorted(COOKIES):
            yield Attack(route.path, cookies={name: value})
    for method in METHODS:
        yield Attack(route.path, method)


def _of_paths(route: Route) -> Iterator[Attack]:
    for value in VALUES:
        for name in route.parameters:
            yield Attack(route.path_with({name: encoded(value)}))
        yield Attack(route.path + encoded(value))
        yield Attack("/" + encoded(value) + route.path)


def _of_admin_lists(route: Route) -> Iterator[Attack]:
    """Yield every lookup of every field, and every action with hostile values."""
    for model, page in admin.site._registry.items():
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
        if route.name != name:
            continue
        row = model._base_manager.first()
        key = str(row.pk) if row else ""
        fields = [*page.search_fields, *(f.name for f in model._meta.get_fields())]
        for value in VALUES:
            for column in fields:
                for lookup in LOOKUPS:
                    path = str(column).lstrip("=^")
                    yield Attack(route.path, query=_query({f"{path}__{lookup}": value}))
            for action in ["delete_selected", value, *(a or "" for a in page.actions)]:
                posted = {
                    "action": action,
                    "_selected_action": key,
                    "index": "0",
                    "select_across": value,
                    "reason": value,
                    "without_acceptance": value,
                }
                body = urlencode(
                    {
                        k: str(v).encode("utf-8", "surrogatepass")
                        for k, v in posted.items()
                    }
                )
                yield Attack(route.path, "POST", body=body.encode())
                yield Attack(
                    route.path,
                    "POST",
                    body=body.replace(key, encoded(value)).encode() if key else b"",
                )


@dataclass
class Site:
    """The routes of the site, and what the code reads of a request."""

    user: User
    routes: list[Route]
    reads: Reads

    def attacks(self, route: Route, *, most: int, seed: object) -> list[Attack]:
        """Return attacks on a route: from each kind about as many."""
        names = sorted(self.reads.parameters[route.pattern])
        kinds = [
            list(attacks)
            for attacks in (
                _of_parameters(route, names),
                _of_bodies(route, set(names)),
                _of_headers(
                    route, {h for h in self.reads.headers if h.startswith("HTTP_")}
                ),
                _of_paths(route),
                _of_admin_lists(route),
            )
        ]
        drawn = random.Random(f"{seed} {route.name} {route.pattern}")
        kinds = [attacks for attacks in kinds if attacks]
        share = -(-most // len(kinds))
        return [
            attack
            for attacks in kinds
            for attack in drawn.sample(attacks, min(share, len(attacks)))
        ]


@dataclass(frozen=True)
class Answer:
    """What a web server gets from the application."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class WsgiClient(Client):
    """A client of the application that gunicorn runs, with everything before Django."""

    answer: Answer

    def request(self, **request: Any) -> Any:
        """Send a request; the answer is in `answer`."""
        started: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]]) -> None:
            started.append((int(status.split()[0]), dict(headers)))

        environ = self._base_environ(**request)
        # The two handlers would close the connection of the test's transaction.
        signals.request_started.disconnect(close_old_connections)
        signals.request_finished.disconnect(close_old_connections)
        try:
            chunks = application(environ, start)
            content = b"".join(chunks)
            chunks.close()
        finally:
            signals.request_started.connect(close_old_connections)
            signals.request_finished.connect(close_old_connections)
        ((status, headers),) = started
        self.answer = Answer(status, headers, content)
        return HttpResponse()


class Attacker:
    """A client whose requests change nothing: neither the database nor its cookies."""

    def __init__(self, user: User | None) -> None:
        secret = "a" * CSRF_SECRET_LENGTH
        self._client = WsgiClient(headers={"X-CSRFToken": secret})
        self._cookies = {"csrftoken": secret}
        if user is not None:
            session = person(user=user).cookies["sessionid"].value
            self._cookies["sessionid"] = session

    def fault_of(self, attack: Attack) -> str:
        """Send an attack; return what is wrong with the answer, or ""."""
        with self.rolled_back():
            try:
                attack.send(self._client)
            except Exception as error:  # noqa: BLE001 - a web server answers 500 then
                return f"{type(error).__name__}: {error}: {attack}"
        faults = _faults(self._client.answer)
        return "; ".join(f"{fault}: {attack}" for fault in faults)

    @contextmanager
    def rolled_back(self) -> Iterator[Client]:
        """Give the client for requests that are rolled back."""
        self._client.cookies = SimpleCookie(self._cookies)
        with transaction.atomic():
            yield self._client
            transaction.set_rollback(True)


def _faults(answer: Answer) -> Iterator[str]:
    if answer.status >= 500:
        yield str(answer.status)
    html = "html" in answer.headers.get("Content-Type", "html")
    if html and f"<{MARK}".encode() in answer.content:
        yield "markup of the request in the page"
    if "X-Hostile" in answer.headers:
        yield "a header of the request in the answer"
    onward = answer.headers.get("Location", "")
    if urlsplit(onward).netloc.endswith(ELSEWHERE) or onward.startswith("javascript:"):
        yield "a redirect to another site"


_READS = Reads()


@pytest.fixture
def site() -> Site:
    """Return the site; what its code reads is recorded once a process."""
    user = UserFactory(role=Role.ADMIN)
    walked = routes(make_record(user))
    if not _READS.parameters:
        _record_reads(walked, user)
    assert sum(map(len, _READS.parameters.values())) > 500
    return Site(user, walked, _READS)


def _record_reads(walked: list[Route], user: User) -> None:
    attacker = Attacker(user)
    with _READS.recording():
        for route in walked:
            names = _READS.of(route.pattern)
            for _ in range(2):
                sent = {
                    name: "x"
                    for name in names
                    if name not in DECIDE_EARLY and not name.startswith("_")
                }
                for send in ("get", "post"):
                    with attacker.rolled_back() as client:
                        getattr(client, send)(route.path, sent)


@pytest.mark.parametrize("part", range(PARTS))
def test_an_administrators_hostile_requests_cause_no_error(
    site: Site, part: int
) -> None:
    attacker = Attacker(site.user)
    faults = [
        fault
        for route in site.routes[part::PARTS]
        for attack in site.attacks(route, most=MOST_A_ROUTE, seed=part)
        if (fault := attacker.fault_of(attack))
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("role", [None, *(r for r in Role if r != Role.ADMIN)])
def test_hostile_requests_of_visitors_and_other_roles_cause_no_error(
    site: Site, role: Role | None
) -> None:
    attacker = Attacker(None if role is None else UserFactory(role=role))
    faults = [
        fault
        for route in site.routes
        for attack in site.attacks(route, most=MOST_A_ROUTE_OF_OTHERS, seed=role)
        if (fault := attacker.fault_of(attack))
    ]
    assert not faults, "\n".join(faults)


KNOWN = (
    Attack("/api/v1/auth/token/", "POST", "", b"[" * 5000, "application/json"),
    Attack(
        "/api/v1/auth/token/",
        "POST",
        "",
        b'{"username":' + b'{"a":' * 5000 + b"1" + b"}" * 5001,
        "application/json",
    ),
    Attack("/api/v1/studies/", headers={"HTTP_AUTHORIZATION": "Token \xff\xe9"}),
    Attack("/api/v1/studies/", headers={"HTTP_AUTHORIZATION": "Token " + "g" * 64}),
    Attack("/api/v1/studies/", query="cursor=" + encoded("\x00")),
    Attack("/api/v1/studies/", query="cursor=%ED%A0%80"),
    Attack("/?after=x", query="after=Infinity"),
    Attack("/sign-in/", query="next=/sign-in/"),
    Attack("/sign-in/", "POST", headers={"CONTENT_LENGTH": "0"}),
    Attack("/sign-in/", "POST", headers={"CONTENT_LENGTH": "9" * 20}),
    Attack(
        "/api/v1/uploads/",
        "POST",
        content_type="multipart/form-data; boundary=x",
        headers={"CONTENT_LENGTH": "0"},
    ),
    Attack(
        "/api/v1/uploads/",
        "POST",
        content_type="multipart/form-data; boundary=x",
        headers={"CONTENT_LENGTH": "9" * 20},
    ),
    *(
        Attack("/sign-in/", "POST", "", b"username=x", f"{kind}; {parameter}")
        for kind in ("application/x-www-form-urlencoded", "application/json")
        for parameter in (
            "charset=xyz",
            "charset=utf-7",
            "charset=idna",
            "charset=rot13",
            "charset=undefined",
            "charset=\x00",
            "charset*=xyz''a",
        )
    ),
    Attack("/api/v1/docs/", "OPTIONS"),
    Attack("/api/v1/schema/", "OPTIONS"),
    Attack("/api/v1/schema/", query="version=%00"),
    Attack("/api/v1/schema/", query="lang=%00"),
    Attack("/api/v1/schema/", query="version=xyz"),
    Attack("/admin/patients/upload/", query="outcome__regex=(a"),
    Attack("/admin/patients/patient/", query="birth_date__year=99999999999"),
    Attack("/admin/patients/patient/", query="created_at__gte=0001-01-01"),
    Attack("/admin/patients/instance/", query="received_at__gte=9999-12-31"),
    Attack("/admin/patients/patient/add/", query="_to_field="),
    Attack("/admin/patients/study/", query="p=9" + "9" * 5000),
    Attack("/admin/patients/study/", query="o=9" + "9" * 5000),
)


@pytest.mark.parametrize("attack", KNOWN, ids=range(len(KNOWN)))
def test_what_once_failed_is_answered(attack: Attack) -> None:
    for user in (None, UserFactory(role=Role.ADMIN)):
        assert not Attacker(user).fault_of(attack)


def test_generated_values_in_any_parameter_cause_no_error(site: Site) -> None:
    attacker = Attacker(site.user)
    read = [r for r in site.routes if site.reads.parameters[r.pattern]]

    @settings(
        max_examples=300,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=strategies.data())
    def send(data: strategies.DataObject) -> None:
        route = data.draw(strategies.sampled_from(read))
        names = sorted(site.reads.parameters[route.pattern])
        sent = data.draw(
            strategies.dictionaries(
                strategies.sampled_from(names), TEXTS, min_size=1, max_size=4
            )
        )
        body = urlencode(
            {k: v.encode("utf-8", "surrogatepass") for k, v in sent.items()}
        ).encode()
        for attack in (
            Attack(route.path, query=_query(sent)),
            Attack(route.path, "POST", body=body),
        ):
            assert not attacker.fault_of(attack)

    send()


@pytest.mark.parametrize("name", sorted({*UploadRequestSerializer().fields} - {"file"}))
def test_the_refusal_of_an_upload_names_the_hostile_field(name: str) -> None:
    client = program()
    for value in VALUES:
        # The test's client cannot write an unpaired surrogate.
        sent = value.encode("utf-8", "replace").decode()
        parts = {"file": SimpleUploadedFile("p.png", png()), name: sent}
        answer = client.post("/api/v1/uploads/", parts)
        assert answer.status_code < 500, (name, value)
        if answer.status_code >= 400:
            assert answer.json()["fields"].keys() == {name}, (name, value)
