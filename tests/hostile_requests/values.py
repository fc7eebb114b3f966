"""Hostile values, and the parameters, headers and cookies that the code reads."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

from django.core.handlers.wsgi import WSGIRequest
from django.http import QueryDict
from hypothesis import strategies

MARK = "x-hostile-mark"
ELSEWHERE = "evil.example"
# Each stands for a kind of value that somebody's parser did not expect.
VALUES = (
    "",
    "\x00",
    "x\x00y",
    "\ud800",
    "\udfff\ud800x",
    "\U0001f642",
    "\u202eabc\ufeff",
    "é" * 300,
    "9" * 5000,
    "9" * 20,
    "99999999999",
    "-1",
    "0",
    "1e400",
    "NaN",
    "Infinity",
    "-Infinity",
    "0x10",
    "\u0663",
    "²",
    "True",
    "null",
    "'; DROP TABLE x; --",
    "%",
    "%00",
    "%ZZ",
    "\\",
    "(a",
    "[a-",
    "(a+)+$" + "a" * 40,
    "../../etc/passwd",
    "[]",
    "{}",
    "[" * 5000,
    "{" + '"a":{' * 2000,
    "2026-02-30",
    "0000-00-00",
    "9999999-01-01",
    "2026-01-01T00:00:00+99:99",
    "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00+23:59",
    "00000000-0000-0000-0000-000000000000",
    "{00000000-0000-0000-0000-000000000000}",
    "x" * 10_000,
    f'"><{MARK}>',
    f"'-<{MARK}>-{{{{7*7}}}}",
    f"x\r\nX-Hostile: 1\r\n\r\n<{MARK}>",
    f"//{ELSEWHERE}/",
    f"https://{ELSEWHERE}/",
    f"javascript:<{MARK}>",
    "/sign-in/",
    "/sign-in/?next=/sign-in/",
    "WyJuIiwgIngiLCAieSJd",
)
# For combinations: any text, with the characters above more often than by chance.
TEXTS = strategies.one_of(
    strategies.sampled_from(VALUES),
    strategies.text(max_size=40),
    strategies.text(
        strategies.sampled_from(
            "\x00\x1f\x7f\ud800\udfff'\"<>&%\\/[]{}()0९é\U0001f642"
        ),
        max_size=20,
    ),
    strategies.integers().map(str),
    strategies.floats().map(str),
    strategies.datetimes().map(str),
)
JSON_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    10**40,
    -1,
    1e300,
    "x",
    "\x00",
    "\ud800",
    f"<{MARK}>",
    [],
    {},
    [[[[["x"]]]]],
    {"a": {"a": {"a": "x"}}},
    {"\x00": "\ud800"},
    ["x"] * 500,
)
BODIES: tuple[bytes, ...] = (
    b"",
    b"\x00",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"{",
    b"nul",
    b"NaN",
    b"Infinity",
    b"1e999",
    b"9" * 5000,
    b'"x"',
    b"[" * 5000 + b"]" * 5000,
    b'{"a":' * 5000 + b"1" + b"}" * 5000,
    b'{"a": "\\ud800"}',
    b'{"a": "\\u0000"}',
    b'{"a": 1, "a": 2}',
    b"a=%00&b=%ED%A0%80&=&&a",
    b"a=1&" * 2000,
    b"--x\r\n",
    b"--x\r\nContent-Disposition: form-data; name=\x00\r\n\r\n\x00\r\n--x--\r\n",
    b'--x\r\nContent-Disposition: form-data; name="a"; filename="\x00/../<b>"\r\n'
    b"Content-Type: \x00/\xff; charset=utf-7\r\n\r\ny\r\n--x--\r\n",
    b'--x\r\nContent-Disposition: form-data; name="a"\r\n'
    b"Content-Transfer-Encoding: base64\r\n\r\n%\r\n--x--\r\n",
    b"--x\r\n" + b"a: b\r\n" * 2000 + b"\r\n--x--\r\n",
)
CONTENT_TYPES = (
    "",
    "x",
    "/",
    "application/json",
    "application/json; charset=utf-7",
    "application/json; charset=utf-16",
    "application/json; charset=xyz",
    "application/json; charset=\x00",
    "application/json; charset=hex",
    "application/json; charset=é",
    "application/x-www-form-urlencoded",
    "application/x-www-form-urlencoded; charset=utf-7",
    "application/x-www-form-urlencoded; charset=xyz",
    "application/x-www-form-urlencoded; charset=rot13",
    "application/x-www-form-urlencoded; charset=undefined",
    "application/x-www-form-urlencoded; charset=utf-16",
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=x",
    "multipart/form-data; boundary=x; charset=xyz",
    "multipart/form-data; boundary=x; charset=idna",
    "multipart/form-data; boundary=é\x00",
    "multipart/form-data; boundary=" + "x" * 300,
    "multipart/related; boundary=x",
    "application/dicom",
    "text/xml",
    "application/json, text/html",
)
CONTENT_LENGTHS = ("", "0", "1", "-1", "9" * 20, "9" * 5000, "x", "0x10", "²", "1.5")
METHODS = (
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "PROPFIND",
    "",
    "G\x00T",
)


def encoded(value: str) -> str:
    """Return a value as an address has it."""
    return quote(value.encode("utf-8", "surrogatepass"), safe="")


def as_header(value: str) -> str:
    """Return a value as WSGI gives the bytes of a header (PEP 3333)."""
    return value.encode("utf-8", "surrogatepass").decode("latin-1")


def json_bodies(names: set[str]) -> Iterator[bytes]:
    """Return objects with each hostile value under all names, and deep ones."""
    for value in JSON_VALUES:
        yield json.dumps(dict.fromkeys(sorted(names) or ["a"], value)).encode()


class Reads:
    """Names of the parameters and headers that were read during requests."""

    def __init__(self) -> None:
        self.parameters: defaultdict[str, set[str]] = defaultdict(set)
        self.headers: set[str] = set()
        self.cookies: set[str] = set()
        self._route = ""

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record what requests read."""
        with (
            patch.object(QueryDict, "__getitem__", self._of(QueryDict.__getitem__)),
            patch.object(QueryDict, "__contains__", self._of(dict.__contains__)),
            patch.object(QueryDict, "getlist", self._of(QueryDict.getlist)),
            patch.object(WSGIRequest, "__init__", self._with_headers()),
        ):
            yield

    def of(self, route: str) -> set[str]:
        """Count what follows for a route, and return its names so far."""
        self._route = route
        return self.parameters[route]

    def _of(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def reading(query: QueryDict, key: object, *rest: Any, **more: Any) -> Any:
            if isinstance(key, str) and self._route:
                self.parameters[self._route].add(key)
            return method(query, key, *rest, **more)

        return reading

    def _with_headers(self) -> Callable[..., None]:
        original = WSGIRequest.__init__

        def init(request: WSGIRequest, environ: dict[str, Any]) -> None:
            original(request, _Recording(environ, self.headers))
            request.COOKIES = _Recording(request.COOKIES, self.cookies)

        return init


class _Recording(dict[str, Any]):
    """A dictionary that adds the keys that are asked for to a set."""

    def __init__(self, content: dict[str, Any], asked: set[str]) -> None:
        super().__init__(content)
        self._asked = asked

    def __getitem__(self, key: str) -> Any:
        self._asked.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self._asked.add(str(key))
        return super().__contains__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value, and record its name."""
        self._asked.add(key)
        return super().get(key, default)
