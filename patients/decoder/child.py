"""The decoder child, `python -m patients.decoder.child`; see `patients.decode`.

It imports no Django, so it starts quickly and knows no secret. It answers one request
at a time: a line of JSON on standard input, answered by a line of JSON on standard
output and the number of bytes that this line states.
"""

import ctypes
import hashlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import cv2
import jpeg_ls
import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGLSLossless

from ml.errors import ImageError
from ml.pixels import (
    display_frame,
    display_range,
    frame_count,
    is_colour,
    iter_stored_frames,
    overlay_mask,
    read_dataset,
    read_picture,
)
from patients.decoder.inflating import inflate

_PR_SET_PDEATHSIG = 1
_FLOAT_PIXELS = {"FloatPixelData": "<f4", "DoubleFloatPixelData": "<f8"}

# Interleave mode of JPEG-LS (ISO/IEC 14495-1, C.2.3), as Planar Configuration 0.
_BY_PIXEL = 2

Answer = tuple[dict[str, Any], bytes | bytearray | memoryview]


def facts(path: str, *, budget_s: float) -> Answer:
    """Decode every frame and hash stored values, shape and dtype."""
    dataset, end = _read(path), time.monotonic() + budget_s
    for name, dtype in _FLOAT_PIXELS.items():
        if name in dataset:
            return _float_facts(dataset, dataset[name].value, dtype), b""
    frames, digest, shape = frame_count(dataset), hashlib.sha256(), ()
    hashed: str | None = None
    for number, frame in enumerate(iter_stored_frames(dataset)):
        values = np.ascontiguousarray(frame, dtype=frame.dtype.newbyteorder("<"))
        if number == 0:
            shape = values.shape
            digest.update(f"{values.dtype.str}{(frames, *shape)}".encode())
        digest.update(values.data)
        if number == frames - 1:
            hashed = digest.hexdigest()
        elif time.monotonic() > end:
            break
        del frame, values  # before the next one, which needs the memory
    colour = is_colour(dataset)
    return _facts(hashed, shape[:2], frames, colour=colour), b""


def display(path: str, *, frame: int) -> Answer:
    """Decode one frame to display values."""
    return _array(display_frame(_read(path), frame))


def annotations(path: str, *, frame: int) -> Answer:
    """Return where the overlay planes of one frame draw."""
    return _array(overlay_mask(_read(path), frame))


def difference(path: str, *, other: str) -> Answer:
    """Return the greatest difference of display values, in grey levels of 255."""
    one, two = _read(path), _read(other)
    if frame_count(one) != frame_count(two):
        return {"difference": 255.0}, b""
    greatest = 0
    for number in range(frame_count(one)):
        a, b = display_frame(one, number), display_frame(two, number)
        if a.shape != b.shape:
            return {"difference": 255.0}, b""
        greatest = max(greatest, int(cv2.absdiff(a, b).max()))
    return {"difference": greatest / 257.0}, b""


def picture(path: str) -> Answer:
    """Decode a PNG, JPEG, TIFF or BMP, and encode it without loss if it shrinks.

    A small file may have 400 MB of pixels: those never leave this process.
    """
    decoded = read_picture(Path(path).read_bytes())
    pixels = decoded.pixels
    rows, columns = pixels.shape[:2]
    samples = 3 if pixels.ndim == 3 else 1
    head = {
        "rows": rows,
        "columns": columns,
        "samples": samples,
        "bits": decoded.bits,
        "lossy": decoded.lossy,
        "native_bytes": pixels.nbytes,
        "shown_range": None,
    }
    if samples == 1:
        head["shown_range"] = display_range(pixels, bits=decoded.bits)
    native = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).tobytes()
    del decoded, pixels  # the encoder needs the memory
    syntax, data = _smallest(native, head)
    head["transfer_syntax_uid"] = syntax
    return head, data


def _smallest(native: bytes, head: dict[str, Any]) -> tuple[UID, bytes | bytearray]:
    """Return pixels without loss as JPEG-LS (ISO/IEC 14495-1), or native if smaller."""
    try:
        encoded = jpeg_ls.encode_buffer(
            native,
            rows=head["rows"],
            columns=head["columns"],
            samples_per_pixel=head["samples"],
            bits_stored=head["bits"],
            interleave_mode=_BY_PIXEL if head["samples"] > 1 else None,
        )
    except RuntimeError as error:
        # The encoder has room for twice the pixels: noise of a few pixels is larger.
        if "destination buffer is too small" not in str(error):
            raise
        return ExplicitVRLittleEndian, native
    if len(encoded) >= len(native):
        return ExplicitVRLittleEndian, native
    return JPEGLSLossless, encoded


def inflate_dataset(path: str, *, to: str, start: int) -> Answer:
    """Inflate the dataset of a deflated DICOM file into another file."""
    with Path(path).open("rb") as deflated, Path(to).open("wb") as out:
        deflated.seek(start)
        inflate(deflated, out)
    return {}, b""


_OPERATIONS: dict[str, Callable[..., Answer]] = {
    "facts": facts,
    "display": display,
    "annotations": annotations,
    "difference": difference,
    "picture": picture,
    "inflate": inflate_dataset,
}


def main(parent_pid: int, memory_bytes: int) -> None:
    """Answer requests until the parent closes the pipe or ends."""
    _end_with(parent_pid)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    cv2.setNumThreads(1)
    answers = _own_stdout()
    _answer(answers, {"ready": True}, b"")
    for line in sys.stdin.buffer:
        request = json.loads(line)
        operation = _OPERATIONS[request.pop("operation")]
        try:
            head, payload = operation(request.pop("path"), **request)
        except ImageError as error:
            head = {
                "reason_code": error.reason_code,
                "text": error.text,
                "params": error.params,
            }
            payload = b""
        except MemoryError:
            head, payload = {"out_of_memory": True}, b""
        _answer(answers, head, payload)


def _end_with(parent_pid: int) -> None:
    """Ask the kernel to end this process with the thread that started it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) was refused")
    if os.getppid() != parent_pid:
        sys.exit("the parent process has ended")


def _own_stdout() -> IO[bytes]:
    """Return the standard output and redirect what decoders print to it."""
    own = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return own


def _answer(
    out: IO[bytes], head: dict[str, Any], payload: bytes | bytearray | memoryview
) -> None:
    line = json.dumps({**head, "payload_bytes": len(payload)}, default=str)
    out.write(line.encode() + b"\n")
    out.write(payload)
    out.flush()


def _read(path: str) -> Dataset:
    return read_dataset(Path(path).read_bytes())


def _array(values: np.ndarray) -> Answer:
    values = np.ascontiguousarray(values)
    head = {"shape": values.shape, "dtype": values.dtype.str}
    return head, values.reshape(-1).view(np.uint8).data


def _float_facts(dataset: Dataset, value: bytes, dtype: str) -> dict[str, Any]:
    shape, frames = (int(dataset.Rows), int(dataset.Columns)), frame_count(dataset)
    digest = hashlib.sha256(f"{dtype}{(frames, *shape)}".encode() + value)
    return _facts(digest.hexdigest(), shape, frames, colour=False)


def _facts(
    hashed: str | None, shape: tuple[int, ...], frames: int, *, colour: bool
) -> dict[str, Any]:
    rows, columns = shape
    return {
        "pixel_sha256": hashed,
        "colour": colour,
        "rows": rows,
        "columns": columns,
        "frames": frames,
    }


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
