"""Senders of images through three sources; they retry as a person or program would."""

from __future__ import annotations

import http.client
import http.cookiejar
import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from chestx_site.demo import HOST
from chestx_site.embedded.places import EmbeddedServiceError
from chestx_site.faults.stack import FaultStack

# A server that restarts is asked again; longer than this, it is down for good.
PATIENCE_S = 60.0
_PAUSE_S = 0.5
_ANSWER_TIMEOUT_S = 30.0


class SendingError(Exception):
    """An image was not taken, and will not be."""


@dataclass
class Sent:
    """What became of sending: how many images, and what had to be tried again."""

    images: int = 0
    tried_again: int = 0
    failures: list[str] = field(default_factory=list)


class Source(Protocol):
    """A way in: takes files, one or a few at a time."""

    name: str
    images_at_once: int

    def send(self, images: list[Path]) -> None:
        """Send images.

        Raises:
            SendingError: They were refused.
            OSError, HTTPException: Nobody answered, or 503: worth another try.
        """
        ...


class RestSource:
    """POST /api/v1/uploads/ with a token."""

    name = "rest"
    images_at_once = 1

    def __init__(self, stack: FaultStack) -> None:
        self._base = f"http://{HOST}:{stack.port}"
        credentials = {"username": "integration", "password": stack.password}
        request = urllib.request.Request(  # noqa: S310 - our own address
            f"{self._base}/api/v1/auth/token/",
            data=json.dumps(credentials).encode(),
            headers={"Content-Type": "application/json"},
        )
        self._token = json.loads(_answer(urllib.request.build_opener(), request))[
            "token"
        ]

    def send(self, images: list[Path]) -> None:
        """Post the images in one request."""
        body, content_type = _multipart(images)
        request = urllib.request.Request(  # noqa: S310 - our own address
            f"{self._base}/api/v1/uploads/",
            data=body,
            headers={
                "Content-Type": content_type,
                "Authorization": f"Token {self._token}",
            },
        )
        answer = json.loads(_answer(urllib.request.build_opener(), request))
        taken = {"stored", "duplicate"}
        if not all(image["outcome"] in taken for image in answer["files"]):
            raise SendingError(str(answer))


class WebSource:
    """The form of the upload page, in a session of a browser."""

    name = "web"
    images_at_once = 1

    def __init__(self, stack: FaultStack) -> None:
        self._base = f"http://{HOST}:{stack.port}"
        self._cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(self._cookies)
        )
        _answer(self._opener, self._request("/sign-in/"))
        signing_in = urllib.parse.urlencode(
            {
                "username": "technologist",
                "password": stack.password,
                "csrfmiddlewaretoken": self._csrf_token(),
            }
        ).encode()
        _answer(self._opener, self._request("/sign-in/", data=signing_in))

    def send(self, images: list[Path]) -> None:
        """Send one image as the page's script does."""
        body, content_type = _multipart(images)
        request = self._request("/upload/", data=body)
        request.add_header("Content-Type", content_type)
        request.add_header("X-CSRFToken", self._csrf_token())
        request.add_header("X-One-File", "1")
        row = _answer(self._opener, request).decode().lower()
        if not ("stored" in row or "duplicate" in row or "/studies/" in row):
            raise SendingError(row)

    def _request(
        self, path: str, *, data: bytes | None = None
    ) -> urllib.request.Request:
        return urllib.request.Request(  # noqa: S310 - our own address
            self._base + path, data=data, headers={"Referer": self._base + path}
        )

    def _csrf_token(self) -> str:
        found = [c.value for c in self._cookies if c.name == "csrftoken" and c.value]
        return found[0] if found else ""


class FolderSource:
    """`manage.py import_studies` on a folder that holds a part of the images."""

    name = "folder"

    def __init__(self, stack: FaultStack, *, folder: Path, images_at_once: int) -> None:
        self.images_at_once = images_at_once
        self._stack = stack
        self._folder = folder

    def send(self, images: list[Path]) -> None:
        """Move the images into a folder and import it; repeat until it finishes."""
        part = self._folder / images[0].stem
        part.mkdir(exist_ok=True)
        for image in images:
            if image.exists():
                image.rename(part / image.name)
        try:
            self._stack.manage("import_studies", str(part), "--user", "technologist")
        except EmbeddedServiceError as error:
            raise ConnectionError(str(error)) from error


def send_all(
    source: Source, images: list[Path], *, span_s: float, going_on: Callable[[], bool]
) -> Sent:
    """Send images evenly over a span of time, each again until it is taken."""
    sent = Sent()
    began = time.monotonic()
    batches = [
        images[i : i + source.images_at_once]
        for i in range(0, len(images), source.images_at_once)
    ]
    for number, batch in enumerate(batches):
        due = began + span_s * number / len(batches)
        time.sleep(max(0.0, due - time.monotonic()))
        if not going_on():
            break
        _send_patiently(source, batch, sent)
    return sent


def _send_patiently(source: Source, images: list[Path], sent: Sent) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        try:
            source.send(images)
        except SendingError as refusal:
            sent.failures.append(f"{source.name}: {refusal}")
            return
        except (OSError, http.client.HTTPException) as fault:
            if time.monotonic() > give_up_at:
                sent.failures.append(f"{source.name}: {fault}")
                return
            sent.tried_again += 1
            time.sleep(_PAUSE_S)
        else:
            sent.images += len(images)
            return


def _answer(
    opener: urllib.request.OpenerDirector, request: urllib.request.Request
) -> bytes:
    """Return the body of an answer; 503 and silence are worth another try.

    Raises:
        SendingError: The answer is another error.
        OSError, HTTPException: 503, or nobody answers.
    """
    try:
        with opener.open(request, timeout=_ANSWER_TIMEOUT_S) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            said = error.read().decode(errors="replace")[:500]
        if error.code == http.HTTPStatus.SERVICE_UNAVAILABLE:
            raise ConnectionError(said) from error
        raise SendingError(f"{error.code} {said}") from error


def _multipart(images: list[Path]) -> tuple[bytes, str]:
    """Return a form with the images as `file` (RFC 7578), and its content type."""
    boundary = uuid.uuid4().hex
    parts = []
    for image in images:
        head = (
            f"--{boundary}\r\nContent-Disposition: form-data; "
            f'name="file"; filename="{image.name}"\r\n'
            "Content-Type: application/dicom\r\n\r\n"
        )
        parts += [head.encode(), image.read_bytes(), b"\r\n"]
    parts.append(f"--{boundary}--\r\n".encode())
    return b"".join(parts), f"multipart/form-data; boundary={boundary}"
