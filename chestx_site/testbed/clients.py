"""HTTP clients of a site: REST with a token, pages with a session."""

from __future__ import annotations

import http
import http.cookiejar
import json
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext

from chestx_site.demo import HOST
from chestx_site.testbed.site import Site, SiteError

FINISHED = frozenset({"succeeded", "rejected", "failed"})
ANSWER_TIMEOUT_S = 60.0
_SHOWN_BODY = 500


class AnswerError(SiteError):
    """The site answers with an error.

    Attributes:
        status: The HTTP status.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status

    @property
    def is_temporary(self) -> bool:
        """Whether a retry may work (503)."""
        return self.status == http.HTTPStatus.SERVICE_UNAVAILABLE


@dataclass(frozen=True)
class Answer:
    """A successful answer.

    Attributes:
        url: Its address, after redirects.
        body: Its content.
    """

    url: str
    body: bytes


class Client:
    """A client with cookies. It opens a connection for each request."""

    def __init__(self, site: Site) -> None:
        self.cookies = http.cookiejar.CookieJar()
        self._address = f"http://{HOST}:{site.port}"
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(self.cookies)
        )

    def request(
        self,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a GET, or a POST with a body.

        Raises:
            AnswerError: The answer is an error.
            OSError, HTTPException: There is no answer.
        """
        request = urllib.request.Request(  # noqa: S310 - our own address
            self._address + path,
            data=body,
            headers={"Referer": self._address + path, **(headers or {})},
        )
        try:
            with self._opener.open(request, timeout=ANSWER_TIMEOUT_S) as answer:
                return Answer(answer.url, bytes(answer.read()))
        except urllib.error.HTTPError as error:
            with error:
                text = error.read().decode(errors="replace")[:_SHOWN_BODY]
            raise AnswerError(
                f"{path}: {error.code} {text}", status=error.code
            ) from error


class RestClient(Client):
    """The REST interface with a token."""

    def __init__(self, site: Site, *, username: str = "integration") -> None:
        """Get a token for a demo user.

        Raises:
            AnswerError: The site refuses the user.
            OSError, HTTPException: There is no answer.
        """
        super().__init__(site)
        credentials = {"username": username, "password": site.password}
        answer = self.request(
            "/api/v1/auth/token/",
            body=json.dumps(credentials).encode(),
            headers={"Content-Type": "application/json"},
        )
        token = json.loads(answer.body)["token"]
        self._headers = {"Authorization": f"Token {token}"}

    def get(self, path: str) -> Any:
        """Return the JSON at a path."""
        return json.loads(self.request(path, headers=self._headers).body)

    def upload(
        self, files: Iterable[tuple[str, bytes]], **fields: str
    ) -> list[dict[str, Any]]:
        """Upload files by name and content, and return the outcome of each."""
        body, content_type = multipart_form(files, fields)
        answer = self.request(
            "/api/v1/uploads/",
            body=body,
            headers={**self._headers, "Content-Type": content_type},
        )
        return list(json.loads(answer.body)["files"])

    def is_idle(self) -> bool:
        """Return whether there are images and all of them are read."""
        newest = self.get("/api/v1/predictions/")["results"]
        return bool(newest) and all(row["status"] in FINISHED for row in newest)


class BrowserSession(Client):
    """A signed-in session of the pages."""

    def __init__(self, site: Site, *, username: str = "radiologist") -> None:
        """Sign in a demo user.

        Raises:
            AnswerError: The site refuses the user.
            OSError, HTTPException: There is no answer.
        """
        super().__init__(site)
        self.request("/sign-in/")
        fields = {
            "username": username,
            "password": site.password,
            "csrfmiddlewaretoken": self._csrf_token(),
        }
        self.request("/sign-in/", body=urllib.parse.urlencode(fields).encode())

    def get(self, path: str) -> bytes:
        """Return a page.

        Raises:
            AnswerError: The answer is an error or the sign-in page.
        """
        answer = self.request(path)
        if "/sign-in/" in answer.url:
            message = gettext("%(address)s needs sign-in") % {"address": path}
            raise AnswerError(message, status=http.HTTPStatus.UNAUTHORIZED)
        return answer.body

    def upload(self, name: str, content: bytes) -> str:
        """Upload a file as the script of the page does, and return its row."""
        body, content_type = multipart_form([(name, content)], {})
        answer = self.request(
            "/upload/",
            body=body,
            headers={
                "Content-Type": content_type,
                "X-CSRFToken": self._csrf_token(),
                "X-One-File": "1",
            },
        )
        return answer.body.decode()

    def _csrf_token(self) -> str:
        tokens = (cookie.value for cookie in self.cookies if cookie.name == "csrftoken")
        return next(tokens, None) or ""


def multipart_form(
    files: Iterable[tuple[str, bytes]], fields: Mapping[str, str]
) -> tuple[bytes, str]:
    """Return a form with files as `file` (RFC 7578), and its content type."""
    boundary = uuid.uuid4().hex
    parts = [
        f"--{boundary}\r\nContent-Disposition: form-data; "
        f'name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields.items()
    ]
    for name, content in files:
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; '
            f'filename="{name}"\r\nContent-Type: application/octet-stream\r\n\r\n'
        )
        parts += [head.encode(), content, b"\r\n"]
    parts.append(f"--{boundary}--\r\n".encode())
    return b"".join(parts), f"multipart/form-data; boundary={boundary}"
