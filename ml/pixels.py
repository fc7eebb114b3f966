"""Read the pixels of DICOM frames and pictures, as stored and as display values.

`display_frame` returns the 16-bit display values that networks, previews and overlays
use. Depends on NumPy, OpenCV, pydicom and Pillow only.
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
from ml.images.voi_lut import apply_voi_lut

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

# pydicom parses an element at its first access, so a damaged element may raise there.
DICOM_ERRORS = (InvalidDicomError, BytesLengthException, *DECODER_ERRORS)

# Pillow decodes baseline JPEG in DICOM as well as JPEG pictures: decoders may differ by
# one grey level, and an image must be the same input from every source. For JPEG 2000
# and RLE, pylibjpeg (OpenJPEG, a decoder in Rust) is the fastest.
PLUGINS = {
    JPEGBaseline8Bit: "pillow",
    **dict.fromkeys(JPEG2000TransferSyntaxes, "pylibjpeg"),
    RLELossless: "pylibjpeg",
}


def frame_count(dataset: Dataset) -> int:
    """Return NumberOfFrames of the header, at least 1."""
    try:
        return max(1, int(dataset.get("NumberOfFrames") or 1))
    except (TypeError, ValueError):
        return 1


def read_stored_frame(dataset: Dataset, frame: int = 0) -> np.ndarray:
    """Decode one frame to stored values, before any LUT (PS3.5 section 8).

    Args:
        dataset: A dataset as `dcmread` returns it, with its file meta information.
        frame: Index of the frame, from 0.

    Returns:
        (H, W) or (H, W, samples), uint8/16/32 or int8/16/32 as PixelRepresentation
        says; colours as stored, with the colour transform of JPEG 2000 undone.

    Raises:
        ImageError: The frame cannot be decoded.
    """
    decoder = _decoder(dataset)
    try:
        if not 0 <= frame < frame_count(dataset):
            raise ImageError(
                "The image has no frame %(frame)d.", params={"frame": frame + 1}
            )
        _check_codestream(dataset, frame)
        values, _ = decoder.as_array(
            dataset, index=frame, raw=True, decoding_plugin=_plugin(dataset, decoder)
        )
        return _without_unused_bits(dataset, values)
    except DICOM_ERRORS as error:
        raise _unreadable(error) from error


def iter_stored_frames(dataset: Dataset) -> Iterator[np.ndarray]:
    """Decode frame after frame; see `read_stored_frame`."""
    for frame in range(frame_count(dataset)):
        yield read_stored_frame(dataset, frame)


def display_frame(dataset: Dataset, frame: int = 0) -> np.ndarray:
    """Return the display values of a frame: uint16 (H, W), 0 black to 65535 white.

    Applies modality LUT or rescale, then VOI LUT or the first window (LINEAR,
    LINEAR_EXACT, SIGMOID). MONOCHROME1 is inverted, padding is black, colours become
    luminance. Without a window, data of up to eight bits has its full range, deeper
    data the range of the frame.

    Raises:
        ImageError: The pixels cannot be decoded or a LUT is damaged.
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
        return apply_voi_lut(dataset, stored, frame=frame)
    except DICOM_ERRORS as error:
        raise _unreadable(error) from error


def is_colour(dataset: Dataset, frame: int = 0) -> bool:
    """Tell whether a frame shows colour, beyond noise and a small stamp.

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
        # Both chroma channels of a grey pixel are at half range.
        middle = 1 << (bits - 1)
        chroma = np.abs(stored[..., 1:].astype(np.int32) - middle)
        zero = np.zeros_like(chroma[..., :1])
        return channels_differ(np.concatenate([zero, chroma], axis=2), bits=bits)
    return channels_differ(stored[..., :3], bits=bits)


def read_display(data: bytes) -> np.ndarray:
    """Return the display values of the first frame of a DICOM file or picture.

    Raises:
        ImageError: The file is neither, or is damaged.
    """
    if data[PREAMBLE_LENGTH : PREAMBLE_LENGTH + 4] == b"DICM":
        return display_frame(read_dataset(data))
    return picture_display(read_picture(data))


def read_dataset(data: bytes) -> Dataset:
    """Parse a DICOM file from memory.

    Raises:
        ImageError: The data is not a DICOM file or is damaged.
    """
    try:
        return dcmread(io.BytesIO(data))
    except DICOM_ERRORS as error:
        raise ImageError("The file cannot be read as a DICOM file.") from error


def _decoder(dataset: Dataset) -> Decoder:
    """Return the decoder of the transfer syntax, after checking the header."""
    if "PixelData" not in dataset:
        raise ImageError("The object has no pixel data.", reason_code="no_pixels")
    try:
        rows, columns = int(dataset.Rows), int(dataset.Columns)
    except DICOM_ERRORS as error:
        raise ImageError(
            "The header has no number of rows or columns.",
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
    if not syntax:
        return ImageError(
            "The header has no transfer syntax.",
            reason_code="unsupported_transfer_syntax",
        )
    return ImageError(
        "The transfer syntax %(transfer_syntax)s is not supported.",
        params={"transfer_syntax": str(getattr(syntax, "name", syntax))},
        reason_code="unsupported_transfer_syntax",
    )


def _unreadable(error: Exception) -> ImageError:
    if isinstance(error, ImageError):
        return error
    return ImageError("The pixels cannot be decoded. The file may be damaged.")


def _plugin(dataset: Dataset, decoder: Decoder) -> str:
    """Return the preferred plugin if it is installed; "" lets pydicom choose."""
    preferred = PLUGINS.get(dataset.file_meta.TransferSyntaxUID, "")
    return preferred if preferred in decoder.available_plugins else ""


def _check_codestream(dataset: Dataset, frame: int) -> None:
    """Check that a compressed frame has the size that the header states.

    A decoder allocates memory by the codestream: a header of 10 x 10 pixels must not
    hide a codestream of 60,000 x 60,000.
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
        raise ImageError("The compressed image has no valid header.")
    rows, columns = size
    check_pixel_count(rows, columns)
    if size != (int(dataset.Rows), int(dataset.Columns)):
        raise ImageError(
            "The compressed image has %(columns)d x %(rows)d pixels, but the header "
            "says %(header_columns)d x %(header_rows)d.",
            params={
                "columns": columns,
                "rows": rows,
                "header_columns": int(dataset.Columns),
                "header_rows": int(dataset.Rows),
            },
        )


def _without_unused_bits(dataset: Dataset, values: np.ndarray) -> np.ndarray:
    """Clear the bits outside BitsStored of uncompressed pixels (PS3.5 8.1.1)."""
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
    """Tell whether decoded samples are Y, Cb, Cr; JPEG 2000 decodes to RGB."""
    interpretation = str(dataset.get("PhotometricInterpretation", ""))
    return interpretation in ("YBR_FULL", "YBR_FULL_422")


def _rgb_or_luma(dataset: Dataset, stored: np.ndarray) -> tuple[np.ndarray, int]:
    """Return RGB (H, W, 3), or luma (H, W) of Y, Cb, Cr samples, and BitsStored."""
    bits = int(dataset.get("BitsStored", 8))
    if _is_luma_chroma(dataset):
        return stored[..., 0], bits
    return stored[..., :3], bits


def _from_palette(dataset: Dataset, stored: np.ndarray) -> tuple[np.ndarray, int]:
    colours = apply_color_lut(stored, dataset)
    return colours[..., :3], 8 * colours.dtype.itemsize
