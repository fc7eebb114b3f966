"""Decode pixels in a child process with a memory and a time limit.

A hostile file can make a decoder hang, use all memory or crash. Each process therefore
has one long-lived child (`patients.decoder.child`). It is started when first needed,
never inherited by a fork, and replaced when it dies. Web and ingest decode only here.
"""

import atexit
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from accounts.errors import InvalidInput, Unavailable
from patients import messages
from patients.decoder.process import (
    DecoderDiedError,
    DecoderHungError,
    DecoderProcess,
)
from patients.decoder.refusals import pixel_refusal

logger = logging.getLogger(__name__)
_RETRY_AFTER_S = 10
# Share of the time limit: hashing many frames ends before the child would be killed.
_HASHING_SHARE = 0.6
# Pictures are decoded and encoded, which takes three times as long.
_ENCODING_TIMES = 3


@dataclass(frozen=True)
class PixelFacts:
    """Facts about the decoded pixels of an object.

    pixel_sha256 (stored values, shape, dtype) is None where hashing all frames takes
    longer than its budget; `colour` says whether channels really differ.
    """

    pixel_sha256: str | None
    colour: bool | None
    rows: int
    columns: int
    frames: int


@dataclass(frozen=True)
class EncodedPicture:
    """A PNG, JPEG, TIFF or BMP as it is seen, upright, without loss.

    Attributes:
        samples: 1 (grey) or 3 (RGB).
        bits: Bits of a sample.
        lossy: Whether its format loses information.
        native_bytes: Size of its pixels, uncompressed.
        shown_range: The values that are black and white; None for colours.
        transfer_syntax_uid: JPEG-LS Lossless, or Explicit VR Little Endian where that
            is smaller.
        data: The pixels in this transfer syntax: the one frame, colours by pixel.
    """

    rows: int
    columns: int
    samples: int
    bits: int
    lossy: bool
    native_bytes: int
    shown_range: tuple[int, int] | None
    transfer_syntax_uid: str
    data: bytes


def warm_up() -> None:
    """Start the child, so that the first upload does not wait for it."""
    _with_child(lambda decoder: decoder.start())


def pixel_facts(path: Path) -> PixelFacts:
    """Decode every frame of a DICOM file and hash it.

    Raises:
        InvalidInput: unreadable_pixels, too_many_pixels, no_pixels,
            unsupported_transfer_syntax or decoder_killed (it took too long, too much
            memory, or crashed).
        Unavailable: decoder_busy, with Retry-After.
    """
    budget_s = settings.DECODE_TIMEOUT_S * _HASHING_SHARE
    head, _ = _decode("facts", path, budget_s=budget_s)
    return PixelFacts(**head)


def display(path: Path, frame: int = 0) -> np.ndarray:
    """Decode one frame to display values: uint16 (rows, columns), 0 black, 65535 white.

    Raises: as `pixel_facts`.
    """
    return _pixels(*_decode("display", path, frame=frame))


def annotations(path: Path, frame: int = 0) -> np.ndarray:
    """Return where the overlay planes of one frame draw: bool (rows, columns).

    Raises: as `pixel_facts`; invalid_attribute where a plane is described wrongly.
    """
    return _pixels(*_decode("annotations", path, frame=frame))


def greatest_difference(path_a: Path, path_b: Path) -> float:
    """Return the greatest difference of two objects in grey levels of 255.

    Display values are compared frame by frame; a different shape counts as 255.

    Raises: as `pixel_facts`.
    """
    head, _ = _decode("difference", path_a, other=str(Path(path_b).resolve()))
    return float(head["difference"])


def encode_picture(path: Path) -> EncodedPicture:
    """Decode a PNG, JPEG, TIFF or BMP file and encode its pixels without loss.

    Raises: as `pixel_facts`.
    """
    head, payload = _decode("picture", path, timeout_s=2 * settings.DECODE_TIMEOUT_S)
    if head["shown_range"] is not None:
        head["shown_range"] = tuple(head["shown_range"])
    return EncodedPicture(**head, data=bytes(payload))


def inflate(path: Path, to: Path, *, start: int) -> None:
    """Inflate the dataset of a deflated DICOM file (PS3.5 A.5) into another file.

    Args:
        path: The deflated file.
        to: An empty file.
        start: Where the dataset begins.

    Raises:
        InvalidInput: truncated_file, damaged_file, too_large (more than its header
            announces) or decoder_killed.
        Unavailable: decoder_busy.
    """
    _decode("inflate", path, to=str(Path(to).resolve()), start=start)


def _pixels(head: dict[str, Any], payload: bytearray) -> np.ndarray:
    return np.frombuffer(payload, head["dtype"]).reshape(head["shape"])


def _decode(
    operation: str, path: Path, *, timeout_s: float | None = None, **arguments: Any
) -> tuple[dict[str, Any], bytearray]:
    """Run one operation in the child and raise its refusals here."""
    limit_s = timeout_s or settings.DECODE_TIMEOUT_S
    request = {
        "operation": operation,
        "path": str(Path(path).resolve()),
        **arguments,
    }
    head, payload = _with_child(lambda decoder: decoder.ask(request, timeout_s=limit_s))
    if head.get("out_of_memory"):
        raise InvalidInput(messages.DECODING_TOO_LARGE)
    if "reason_code" in head:
        logger.info("image not decoded: %s %s", head["text"], head["params"])
        raise pixel_refusal(head["reason_code"], head["params"])
    return head, payload


def _with_child(
    action: Callable[[DecoderProcess], Any], *, limit_s: float | None = None
) -> Any:
    """Run an action with the child locked; replace a child that dies."""
    slot = _slot
    if not slot.lock.acquire(timeout=settings.DECODE_TIMEOUT_S / 2):
        raise Unavailable(
            _("Other images are being decoded. Send the file again in a few seconds."),
            reason_code="decoder_busy",
            retry_after=_RETRY_AFTER_S,
        )
    try:
        return _try_twice(slot.decoder(), action)
    except DecoderHungError as error:
        raise InvalidInput(
            messages.DECODING_TOO_SLOW,
            params={"limit_s": limit_s or settings.DECODE_TIMEOUT_S},
        ) from error
    except DecoderDiedError as error:
        raise InvalidInput(messages.DECODER_CRASHED) from error
    finally:
        slot.lock.release()


def _try_twice(decoder: DecoderProcess, action: Callable[[DecoderProcess], Any]) -> Any:
    """Run an action, and once more if the child dies: the cause may be another."""
    try:
        return action(decoder)
    except DecoderDiedError:
        return action(decoder)


class _Slot:
    """The child of this process and its lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._decoder: DecoderProcess | None = None

    def decoder(self) -> DecoderProcess:
        """Return the child of this process; the caller holds the lock."""
        if self._decoder is None or self._decoder.owner_pid != os.getpid():
            self._decoder = DecoderProcess(
                memory_bytes=settings.DECODE_MEMORY_BYTES, folder=settings.BASE_DIR
            )
        return self._decoder

    def stop(self) -> None:
        """Stop the child of this process, if there is one."""
        if self._decoder is not None and self._decoder.owner_pid == os.getpid():
            self._decoder.stop()

    def forget(self) -> None:
        """Drop the child of the parent process after a fork."""
        if self._decoder is not None:
            self._decoder.abandon()


def _after_fork() -> None:
    global _slot
    _slot.forget()
    _slot = _Slot()


def _at_exit() -> None:
    _slot.stop()


_slot = _Slot()
os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
