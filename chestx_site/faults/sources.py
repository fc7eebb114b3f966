"""Senders of images over REST, pages and a folder; they retry after errors."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from chestx_site.faults.stack import FaultStack
from chestx_site.testbed.clients import AnswerError, BrowserSession, RestClient
from chestx_site.testbed.site import SiteError

# Retry while a server restarts; after this time it counts as down.
PATIENCE_S = 60.0
_PAUSE_S = 0.5


class SendingError(Exception):
    """An image is refused; a retry does not help."""


@dataclass
class Sent:
    """Numbers of images sent and of retries, and the failures."""

    images: int = 0
    tried_again: int = 0
    failures: list[str] = field(default_factory=list)


class Source(Protocol):
    """A way to send files, one or a few at a time."""

    name: str
    images_at_once: int

    def send(self, images: list[Path]) -> None:
        """Send images.

        Raises:
            SendingError: The images are refused.
            AnswerError: The site answers with an error; 503 is worth a retry.
            OSError, HTTPException: There is no answer; retry.
        """
        ...


class RestSource:
    """POST /api/v1/uploads/ with a token."""

    name = "rest"
    images_at_once = 1

    def __init__(self, stack: FaultStack) -> None:
        self._client = RestClient(stack.site)

    def send(self, images: list[Path]) -> None:
        """Post the images in one request."""
        files = self._client.upload((path.name, path.read_bytes()) for path in images)
        if not all(file["outcome"] in {"stored", "duplicate"} for file in files):
            raise SendingError(str(files))


class WebSource:
    """The form of the upload page, in a session of a browser."""

    name = "web"
    images_at_once = 1

    def __init__(self, stack: FaultStack) -> None:
        self._browser = BrowserSession(stack.site, username="technologist")

    def send(self, images: list[Path]) -> None:
        """Send the images one by one, as the page's script does."""
        for image in images:
            row = self._browser.upload(image.name, image.read_bytes()).lower()
            if not ("stored" in row or "duplicate" in row or "/studies/" in row):
                raise SendingError(row)


class FolderSource:
    """`manage.py import_studies` on a folder with some of the images."""

    name = "folder"

    def __init__(self, stack: FaultStack, *, folder: Path, images_at_once: int) -> None:
        self.images_at_once = images_at_once
        self._site = stack.site
        self._folder = folder

    def send(self, images: list[Path]) -> None:
        """Move the images into a folder and import it."""
        part = self._folder / images[0].stem
        part.mkdir(exist_ok=True)
        for image in images:
            if image.exists():
                image.rename(part / image.name)
        try:
            self._site.manage("import_studies", str(part), "--user", "technologist")
        except SiteError as error:
            raise ConnectionError(str(error)) from error


def send_all(
    source: Source, images: list[Path], *, span_s: float, going_on: Callable[[], bool]
) -> Sent:
    """Send images evenly over a span of time; retry each until it is stored."""
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
        except (OSError, http.client.HTTPException, AnswerError) as fault:
            refused = isinstance(fault, AnswerError) and not fault.is_temporary
            if refused or time.monotonic() > give_up_at:
                sent.failures.append(f"{source.name}: {fault}")
                return
            sent.tried_again += 1
            time.sleep(_PAUSE_S)
        else:
            sent.images += len(images)
            return
