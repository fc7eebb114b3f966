"""Read the pixels of DICOM frames and pictures, as stored and as display values.

`display_frame` returns the 16-bit display values that networks, previews and overlays
use. Depends on NumPy, OpenCV, pydicom and Pillow only.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from copy import copy
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_fragments, get_frame
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels import get_decoder
from pydicom.pixels.decoders.base import Decoder
from pydicom.uid import (
    ExplicitVRBigEndian,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from ml.errors import ImageAttributeError, ImageError
from ml.images.attributes import integer
from ml.images.codestreams import (
    Codestream,
    read_jpeg2000_header,
    read_jpeg_header,
)
from ml.images.jpeg_extended import decode_jpeg_extended
from ml.images.lookup_tables import palette_colours
from ml.images.overlay_planes import overlay_mask
from ml.images.pictures import (
    DECODER_ERRORS,
    MAX_PIXELS_PER_FRAME,
    Picture,
    channels_differ,
    check_pixel_count,
    display_range,
    luminance,
    picture_display,
    read_picture,
    to_uint16,
)
from ml.images.voi_lut import apply_voi_lut, is_signed

__all__ = [
    "MAX_PIXELS_PER_FRAME",
    "Picture",
    "channels_differ",
    "check_pixel_count",
    "display_frame",
    "display_range",
    "frame_count",
    "is_colour",
    "iter_stored_frames",
    "overlay_mask",
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
    """Return how many frames the header announces, at least 1.

    Raises:
        ImageAttributeError: Number of Frames is not a number.
    """
    return max(1, integer(dataset, "NumberOfFrames") or 1)


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
        codestream = _codestream(dataset, frame)
        if _is_jpeg_extended(dataset, codestream):
            values = decode_jpeg_extended(_encoded_frame(dataset, frame))
        else:
            values = _decoded(dataset, frame, decoder, codestream)
        return _meaningful_bits(dataset, values, codestream)
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
            colours, bits = _rgb_or_luma(dataset, stored, frame)
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
    bits = integer(dataset, "BitsStored") or 8
    if _is_luma_chroma(dataset, frame):
        # Chroma is the distance from grey: both are half range for a grey pixel.
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


def _decoded(
    dataset: Dataset, frame: int, decoder: Decoder, codestream: Codestream | None
) -> np.ndarray:
    """Decode a frame, its colours as they are stored."""
    source = dataset
    if codestream is not None and frame_count(dataset) == 1:
        # One frame needs no offset table, and some devices write a wrong one.
        source = copy(dataset)
        source.PixelData = encapsulate([_encoded_frame(dataset, frame)])
        source.pop("ExtendedOffsetTable", None)
        source.pop("ExtendedOffsetTableLengths", None)
        source.file_meta = dataset.file_meta
    options: Any = {
        "decoding_plugin": _plugin(dataset, decoder),
        "photometric_interpretation": _photometric(dataset, codestream),
        # `_meaningful_bits` knows High Bit and the stream's precision, pydicom not.
        "correct_unused_bits": False,
        "apply_j2k_sign_correction": False,
        "apply_jls_sign_correction": False,
    }
    values, _ = decoder.as_array(source, index=frame, raw=True, **options)
    return values


def _encoded_frame(dataset: Dataset, frame: int) -> bytes:
    """Return the bytes of a compressed frame (PS3.5 A.4)."""
    frames = frame_count(dataset)
    if frames > 1:
        return get_frame(dataset.PixelData, frame, number_of_frames=frames)
    return b"".join(generate_fragments(_after_offset_table(dataset.PixelData)))


def _after_offset_table(data: bytes) -> bytes:
    """Return the items behind the basic offset table, which is the first item."""
    length = int.from_bytes(data[4:8], "little")
    return data[8 + length :]


def _codestream(dataset: Dataset, frame: int) -> Codestream | None:
    """Return the header of a compressed frame; None where it has none of its own.

    A decoder allocates what the codestream declares: a header of 10 x 10 pixels must
    not hide one of 60,000 x 60,000.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in JPEG2000TransferSyntaxes:
        read_header = read_jpeg2000_header
    elif syntax in JPEGTransferSyntaxes or syntax in JPEGLSTransferSyntaxes:
        read_header = read_jpeg_header
    else:
        return None
    codestream = read_header(_encoded_frame(dataset, frame))
    if codestream is None:
        raise ImageError("The compressed image does not begin as its kind should.")
    check_pixel_count(codestream.rows, codestream.columns)
    rows, columns = integer(dataset, "Rows"), integer(dataset, "Columns")
    if (codestream.rows, codestream.columns) != (rows, columns):
        raise ImageError(
            "The compressed image has %(columns)d x %(rows)d pixels, the header says "
            "%(header_columns)s x %(header_rows)s.",
            params={
                "columns": codestream.columns,
                "rows": codestream.rows,
                "header_columns": str(columns),
                "header_rows": str(rows),
            },
        )
    return codestream


def _is_jpeg_extended(dataset: Dataset, codestream: Codestream | None) -> bool:
    """Say whether a frame is JPEG of 12 bits, which pydicom's decoders refuse."""
    syntax = dataset.file_meta.TransferSyntaxUID
    lossy_jpeg = syntax in (JPEGBaseline8Bit, JPEGExtended12Bit)
    return lossy_jpeg and codestream is not None and codestream.precision == 12


def _meaningful_bits(
    dataset: Dataset, values: np.ndarray, codestream: Codestream | None
) -> np.ndarray:
    """Keep the stored bits, and extend their sign (PS3.5 8.1.1).

    The bits of a cell above High Bit, and below the stored ones, mean nothing: they
    are padding, an overlay, or a sign that a device did not extend. A stream with no
    more bits than are stored has none of these.
    """
    cell = 8 * values.dtype.itemsize
    stored = integer(dataset, "BitsStored") or cell
    high_bit = integer(dataset, "HighBit")
    width, lowest = cell, 0
    if codestream is not None:
        width = min(cell, codestream.precision)
    if width > stored:
        high = stored - 1 if high_bit is None else high_bit
        if not stored - 1 <= high < width:
            raise ImageAttributeError(
                "The value of %(attribute)s has no meaning for an image.",
                params={"attribute": "HighBit"},
            )
        lowest = high + 1 - stored
    else:
        stored = width
    signed = is_signed(dataset)
    if codestream is not None and codestream.signed:
        signed = True
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    unsigned = values.view(f"u{values.dtype.itemsize}")
    if not signed:
        mask = unsigned.dtype.type((1 << stored) - 1)
        return (unsigned >> unsigned.dtype.type(lowest)) & mask
    extended = values.view(f"i{values.dtype.itemsize}")
    return (extended << (cell - lowest - stored)) >> (cell - stored)


def _photometric(dataset: Dataset, codestream: Codestream | None) -> str:
    """Return the colour space of decoded samples.

    The codestream decides where it declares one. JPEG 2000's own transforms are
    undone by the decoder.
    """
    interpretation = str(dataset.get("PhotometricInterpretation", ""))
    if codestream is None or not codestream.colour_space:
        return interpretation
    declared = codestream.colour_space
    if interpretation.startswith("YBR_FULL") and declared == "YBR_FULL":
        return interpretation
    if interpretation in ("YBR_ICT", "YBR_RCT"):
        return interpretation
    return declared


def _is_luma_chroma(dataset: Dataset, frame: int) -> bool:
    """Say whether decoded samples are Y, Cb, Cr."""
    interpretation = _photometric(dataset, _codestream(dataset, frame))
    return interpretation in ("YBR_FULL", "YBR_FULL_422")


def _rgb_or_luma(
    dataset: Dataset, stored: np.ndarray, frame: int
) -> tuple[np.ndarray, int]:
    """Return RGB (H, W, 3), or luma (H, W) where it is stored by itself, and bits."""
    bits = integer(dataset, "BitsStored") or 8
    if _is_luma_chroma(dataset, frame):
        return stored[..., 0], bits
    return stored[..., :3], bits


def _from_palette(dataset: Dataset, stored: np.ndarray) -> tuple[np.ndarray, int]:
    big_endian = dataset.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    return palette_colours(dataset, stored, little_endian=not big_endian)
