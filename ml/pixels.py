"""Pixels: the one reader of DICOM frames and pictures, and what they show.

`display_frame` gives everything that follows (networks, previews, overlays) the same
16-bit display values. NumPy, OpenCV, pydicom and Pillow only.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels import apply_color_lut, get_decoder
from pydicom.pixels.decoders.base import Decoder
from pydicom.uid import (
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from ml.errors import ImageError
from ml.images.codestreams import jpeg2000_size, jpeg_size
from ml.images.pictures import (
    DECODER_ERRORS,
    MAX_PIXELS_PER_FRAME,
    Picture,
    channels_differ,
    check_pixel_count,
    luminance,
    picture_display,
    read_picture,
    to_uint16,
)
from ml.images.voi_lut import display_curve

__all__ = [
    "MAX_PIXELS_PER_FRAME",
    "Picture",
    "channels_differ",
    "check_pixel_count",
    "display_frame",
    "frame_count",
    "is_colour",
    "iter_stored_frames",
    "picture_display",
    "read_dataset",
    "read_display",
    "read_picture",
    "read_stored_frame",
]

PREAMBLE_LENGTH = 128

# Elements are parsed when they are first asked for, so that a damaged one may show
# itself at any of them.
DICOM_ERRORS = (InvalidDicomError, BytesLengthException, *DECODER_ERRORS)

# Pillow reads JPEG pictures, so it reads baseline JPEG in DICOM too: decoders may
# differ by a grey level, and an image is the same input through every source. OpenJPEG
# and the RLE decoder in Rust are the fastest of theirs, and lossless is lossless.
PLUGINS = {
    JPEGBaseline8Bit: "pillow",
    **dict.fromkeys(JPEG2000TransferSyntaxes, "pylibjpeg"),
    RLELossless: "pylibjpeg",
}


def frame_count(dataset: Dataset) -> int:
    """Return how many frames the header announces, at least 1."""
    try:
        return max(1, int(dataset.get("NumberOfFrames") or 1))
    except (TypeError, ValueError):
        return 1


def read_stored_frame(dataset: Dataset, frame: int = 0) -> np.ndarray:
    """Decode one frame to stored values, before any LUT (PS3.5 section 8).

    Args:
        dataset: A dataset as `dcmread` returns it, with its file meta information.
        frame: Which frame, from 0.

    Returns:
        (H, W) or (H, W, samples), uint8/16/32 or int8/16/32 as PixelRepresentation
        says; colours as they are stored, but JPEG 2000's own transforms undone.

    Raises:
        ImageError: With what is wrong.
    """
    decoder = _decoder(dataset)
    try:
        if not 0 <= frame < frame_count(dataset):
            raise ImageError(f"The image has no frame {frame + 1}.")
        _check_codestream(dataset, frame)
        values, _ = decoder.as_array(
            dataset, index=frame, raw=True, decoding_plugin=_plugin(dataset, decoder)
        )
        return _without_stray_bits(dataset, values)
    except DICOM_ERRORS as error:
        raise _unreadable(error) from error


def iter_stored_frames(dataset: Dataset) -> Iterator[np.ndarray]:
    """Decode frame after frame; see `read_stored_frame`."""
    for frame in range(frame_count(dataset)):
        yield read_stored_frame(dataset, frame)


def display_frame(dataset: Dataset, frame: int = 0) -> np.ndarray:
    """Return what a frame shows: uint16 (H, W), 0 black to 65535 white.

    Modality LUT or rescale, VOI LUT or the first window (LINEAR, LINEAR_EXACT,
    SIGMOID), MONOCHROME1 inverted, padding black, colours as luminance. Without a
    window, eight bits show their full range and deeper data the frame's own.

    Raises:
        ImageError: The pixels cannot be decoded or a table is damaged.
    """
    stored = read_stored_frame(dataset, frame)
    try:
        if stored.ndim == 3:
            colours, bits = _rgb_or_luma(dataset, stored)
            if colours.ndim == 2:
                return to_uint16(colours, bits=bits)
            return luminance(colours, bits=bits)
        if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
            colours, bits = _from_palette(dataset, stored)
            return luminance(colours, bits=bits)
        return display_curve(dataset, stored, frame=frame)
    except DICOM_ERRORS as error:
        raise _unreadable(error) from error


def is_colour(dataset: Dataset, frame: int = 0) -> bool:
    """Say whether a frame shows colour: more than equal channels and a small stamp.

    Raises:
        ImageError: The pixels cannot be decoded.
    """
    try:
        return _shows_colour(dataset, frame)
    except DICOM_ERRORS as error:
        raise _unreadable(error) from error


def _shows_colour(dataset: Dataset, frame: int) -> bool:
    interpretation = str(dataset.get("PhotometricInterpretation", ""))
    if interpretation.startswith("MONOCHROME"):
        return False
    stored = read_stored_frame(dataset, frame)
    if interpretation == "PALETTE COLOR":
        colours, bits = _from_palette(dataset, stored)
        return channels_differ(colours, bits=bits)
    if stored.ndim != 3:
        return False
    bits = int(dataset.get("BitsStored", 8))
    if _is_luma_chroma(dataset):
        # Chroma is the distance from grey: both are half range for a grey pixel.
        middle = 1 << (bits - 1)
        chroma = np.abs(stored[..., 1:].astype(np.int32) - middle)
        zero = np.zeros_like(chroma[..., :1])
        return channels_differ(np.concatenate([zero, chroma], axis=2), bits=bits)
    return channels_differ(stored[..., :3], bits=bits)


def read_display(data: bytes) -> np.ndarray:
    """Return the display values of a file, DICOM or picture; its first frame.

    Raises:
        ImageError: It is neither, or is damaged.
    """
    if data[PREAMBLE_LENGTH : PREAMBLE_LENGTH + 4] == b"DICM":
        return display_frame(read_dataset(data))
    return picture_display(read_picture(data))


def read_dataset(data: bytes) -> Dataset:
    """Parse a DICOM file from memory.

    Raises:
        ImageError: It is not a DICOM file or is damaged.
    """
    try:
        return dcmread(io.BytesIO(data))
    except DICOM_ERRORS as error:
        raise ImageError("The file cannot be read as a DICOM file.") from error


def _decoder(dataset: Dataset) -> Decoder:
    """Find the decoder, having checked that there is something to decode."""
    if "PixelData" not in dataset:
        raise ImageError("The object has no pixels.", reason_code="no_pixels")
    try:
        rows, columns = int(dataset.Rows), int(dataset.Columns)
    except DICOM_ERRORS as error:
        raise ImageError(
            "The header does not say how many rows and columns the image has.",
            reason_code="no_pixels",
        ) from error
    check_pixel_count(rows, columns)
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    try:
        decoder = get_decoder(str(syntax))
    except (NotImplementedError, AttributeError, ValueError, TypeError) as error:
        raise _unsupported(syntax) from error
    if not decoder.is_available:
        raise _unsupported(syntax)
    return decoder


def _unsupported(syntax: object) -> ImageError:
    name = getattr(syntax, "name", syntax) or "not named in the header"
    return ImageError(
        f"The transfer syntax ({name}) is not supported.",
        reason_code="unsupported_transfer_syntax",
    )


def _unreadable(error: Exception) -> ImageError:
    if isinstance(error, ImageError):
        return error
    return ImageError("The pixels cannot be decoded; the file may be damaged.")


def _plugin(dataset: Dataset, decoder: Decoder) -> str:
    """Choose the decoder where several are there; "" leaves it to pydicom."""
    wanted = PLUGINS.get(dataset.file_meta.TransferSyntaxUID, "")
    return wanted if wanted in decoder.available_plugins else ""


def _check_codestream(dataset: Dataset, frame: int) -> None:
    """Compare the size that a compressed frame states with the header's.

    A decoder allocates what the codestream says: a header of 10 x 10 pixels must not
    hide one of 60,000 x 60,000.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in JPEG2000TransferSyntaxes:
        read_size = jpeg2000_size
    elif syntax in JPEGTransferSyntaxes or syntax in JPEGLSTransferSyntaxes:
        read_size = jpeg_size
    else:
        return
    data = get_frame(dataset.PixelData, frame, number_of_frames=frame_count(dataset))
    size = read_size(data)
    if size is None:
        raise ImageError("The compressed image does not begin as its kind should.")
    check_pixel_count(*size)
    if size != (int(dataset.Rows), int(dataset.Columns)):
        raise ImageError(
            f"The compressed image has {size[1]} x {size[0]} pixels, the header says "
            f"{dataset.Columns} x {dataset.Rows}."
        )


def _without_stray_bits(dataset: Dataset, values: np.ndarray) -> np.ndarray:
    """Clear what uncompressed pixels carry outside the stored bits (PS3.5 8.1.1)."""
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        return values
    allocated, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    high = int(dataset.get("HighBit", stored - 1))
    if not 0 < stored < allocated or high >= allocated or high < stored - 1:
        return values
    if values.dtype.kind == "i":
        return (values << (allocated - 1 - high)) >> (allocated - stored)
    mask = values.dtype.type((1 << stored) - 1)
    return (values >> (high + 1 - stored)) & mask


def _is_luma_chroma(dataset: Dataset) -> bool:
    """Say whether decoded samples are Y, Cb, Cr; JPEG 2000 has undone its own."""
    interpretation = str(dataset.get("PhotometricInterpretation", ""))
    return interpretation in ("YBR_FULL", "YBR_FULL_422")


def _rgb_or_luma(dataset: Dataset, stored: np.ndarray) -> tuple[np.ndarray, int]:
    """Return RGB (H, W, 3), or luma (H, W) where it is stored by itself, and bits."""
    bits = int(dataset.get("BitsStored", 8))
    if _is_luma_chroma(dataset):
        return stored[..., 0], bits
    return stored[..., :3], bits


def _from_palette(dataset: Dataset, stored: np.ndarray) -> tuple[np.ndarray, int]:
    colours = apply_color_lut(stored, dataset)
    return colours[..., :3], 8 * colours.dtype.itemsize
