"""One phantom in every form that a file can have is one display image.

Every case stores the same grey phantom, 0 to 1, in another way. What is shown must be
that phantom, to a grey level of eight bits.
"""

from __future__ import annotations

import io
import shutil
import subprocess
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import config, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from ml.pixels import is_colour, read_dataset, read_display

ROWS, COLUMNS = 32, 40
NATIVE = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
COMPRESSED = (RLELossless, JPEGLSLossless, JPEG2000Lossless)


def phantom() -> np.ndarray:
    """Return the grey phantom, float64 (H, W), 0 black to 1 white: ramp and disc."""
    rows, columns = np.mgrid[0:ROWS, 0:COLUMNS]
    ramp = columns / (COLUMNS - 1)
    disc = (rows - ROWS / 2) ** 2 + (columns - COLUMNS / 2) ** 2 < 36
    return np.where(disc, 1.0 - ramp, ramp)


@dataclass(frozen=True)
class Form:
    """How the phantom is stored.

    Attributes:
        bits: Bits Stored.
        high_bit: High Bit.
        signed: Whether Pixel Representation is 1.
        inverse: MONOCHROME1, with the presentation LUT shape that belongs to it.
        lut: What turns stored values into the phantom.
        syntax: Transfer syntax.
    """

    bits: int
    high_bit: int
    signed: bool
    inverse: bool
    lut: str
    syntax: UID = field(default=ExplicitVRLittleEndian)

    def __str__(self) -> str:
        sign = "signed" if self.signed else "unsigned"
        polarity = "inverse" if self.inverse else "plain"
        depth = f"{self.bits}-of-bit-{self.high_bit}"
        return f"{depth}-{sign}-{polarity}-{self.lut}-{self.syntax.keyword}"


LUTS = (
    "rescale-and-window",
    "linear-exact",
    "sigmoid",
    "no-window",
    "modality-lut-of-words",
    "modality-lut-of-bytes",
    "voi-lut-of-words",
    "voi-lut-of-bytes",
    "voi-lut-declared-16-filled-12",
    "voi-lut-as-numbers",
    "presentation-lut",
)
DEPTHS = ((8, 7), (10, 9), (12, 11), (12, 15), (16, 15))
FORMS = [
    Form(bits, high, signed, inverse, lut, syntax)
    for (bits, high), signed, inverse, lut, syntax in product(
        DEPTHS, (False, True), (False, True), LUTS, NATIVE
    )
] + [
    Form(bits, high, signed, inverse, "rescale-and-window", syntax)
    for (bits, high), signed, inverse, syntax in product(
        DEPTHS, (False, True), (False, True), COMPRESSED
    )
]


def words(values: np.ndarray, syntax: UID) -> bytes:
    return values.astype("<u2" if syntax.is_little_endian else ">u2").tobytes()


def lut_item(
    form: Form, first: int, entries: np.ndarray, bits: int, data: bytes | list[int]
) -> Dataset:
    item = Dataset()
    # The first value is written unsigned, as many devices do for signed pixels.
    item.add_new("LUTDescriptor", "US", [len(entries) % 65536, first % 65536, bits])
    item.add_new("LUTData", "US" if isinstance(data, list) else "OW", data)
    return item


def add_lut(dataset: Dataset, form: Form, lowest: int) -> None:
    """Add what turns stored values, from `lowest` on, into the phantom."""
    count = 1 << form.bits
    ramp = np.arange(count) / (count - 1)
    if form.lut in ("rescale-and-window", "linear-exact", "sigmoid"):
        # Rescaled to 100 … 100 + count / 4.
        dataset.RescaleSlope, dataset.RescaleIntercept = "0.25", str(100 - lowest / 4)
        width = (count - 1) / 4
        if form.lut == "rescale-and-window":
            dataset.WindowCenter = str(100 + width / 2 + 0.5)
            dataset.WindowWidth = f"{width + 1:.12g}"
        else:
            dataset.WindowCenter, dataset.WindowWidth = str(100 + width / 2), str(width)
            dataset.VOILUTFunction = form.lut.upper().replace("-", "_")
    elif form.lut in ("modality-lut-of-words", "voi-lut-of-words"):
        entries = np.rint(ramp * 4095)
        item = lut_item(form, lowest, entries, 12, words(entries, form.syntax))
        setattr(dataset, _sequence(form.lut), [item])
    elif form.lut in ("modality-lut-of-bytes", "voi-lut-of-bytes"):
        entries = np.rint(ramp * 255).astype(np.uint16)
        packed = entries[::2] | entries[1::2] << 8
        item = lut_item(form, lowest, entries, 8, words(packed, form.syntax))
        setattr(dataset, _sequence(form.lut), [item])
    elif form.lut == "voi-lut-declared-16-filled-12":
        entries = np.rint(ramp * 4095)
        item = lut_item(form, lowest, entries, 16, words(entries, form.syntax))
        dataset.VOILUTSequence = [item]
    elif form.lut == "voi-lut-as-numbers":
        # Longer lists do not fit a US element of Explicit VR.
        entries = np.rint(ramp[: 1 << min(form.bits, 12)] * 65535)
        numbers = [int(value) for value in entries]
        dataset.VOILUTSequence = [lut_item(form, lowest, entries, 16, numbers)]
    elif form.lut == "presentation-lut":
        dataset.WindowCenter = str(lowest + count / 2)
        dataset.WindowWidth = str(count)
        entries = np.rint(np.linspace(0, 1023, 256))
        dataset.PresentationLUTSequence = [
            lut_item(form, 0, entries, 10, words(entries, form.syntax))
        ]


def _sequence(lut: str) -> str:
    return "ModalityLUTSequence" if lut.startswith("modality") else "VOILUTSequence"


def inverted(form: Form) -> bool:
    """Say whether stored values count from white.

    A presentation LUT gives P-values: it holds for the values as they are.
    """
    return form.inverse and form.lut != "presentation-lut"


def dataset_of(form: Form) -> Dataset:
    count = 1 << form.bits
    lowest = -count // 2 if form.signed else 0
    grey = 1.0 - phantom() if inverted(form) else phantom()
    level = np.rint(grey * (count - 1)).astype(np.int64) + lowest
    if form.lut == "voi-lut-as-numbers" and form.bits > 12:
        level = np.rint(grey * 4095).astype(np.int64) + lowest
    cell = np.uint8 if form.high_bit < 8 else np.uint16
    shift = form.high_bit + 1 - form.bits
    stored = ((level & (count - 1)) << shift).astype(cell)
    dataset = Dataset()
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = "2.25.1"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = ROWS, COLUMNS, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    if form.inverse:
        dataset.PhotometricInterpretation = "MONOCHROME1"
        if form.lut != "presentation-lut":
            dataset.PresentationLUTShape = "INVERSE"
    dataset.BitsAllocated = 8 * stored.dtype.itemsize
    dataset.BitsStored, dataset.HighBit = form.bits, form.high_bit
    dataset.PixelRepresentation = int(form.signed)
    add_lut(dataset, form, lowest)
    dataset.file_meta = FileMetaDataset()
    _add_pixels(dataset, stored, form.syntax)
    return dataset


def _add_pixels(dataset: Dataset, stored: np.ndarray, syntax: UID) -> None:
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    vr = "OB" if stored.dtype.itemsize == 1 else "OW"
    if syntax in NATIVE:
        order = "<" if syntax.is_little_endian else ">"
        data = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
        dataset.add_new("PixelData", vr, data)
        dataset.file_meta.TransferSyntaxUID = syntax
        return
    dataset.add_new("PixelData", vr, stored.tobytes())
    bits = dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation
    # Whole cells are encoded, as devices do that take no care of the unused bits.
    dataset.BitsStored = dataset.BitsAllocated
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsAllocated - 1, 0
    dataset.compress(syntax, generate_instance_uid=False)
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits


def written(dataset: Dataset) -> bytes:
    file = io.BytesIO()
    mode = config.settings.writing_validation_mode
    config.settings.writing_validation_mode = config.IGNORE
    try:
        dcmwrite(file, dataset, enforce_file_format=True)
    finally:
        config.settings.writing_validation_mode = mode
    return file.getvalue()


def shown(data: bytes) -> np.ndarray:
    """Return what is shown, float64 (H, W), 0 to 1."""
    return read_display(data) / 65535


def expected(form: Form) -> np.ndarray:
    if form.lut == "sigmoid":
        value = 1 / (1 + np.exp(-4 * (phantom() - 0.5)))
        return value
    return phantom()


def is_quick(form: Form) -> bool:
    """Tell whether quick runs try a form: every kind of table once."""
    return (form.bits, form.high_bit, form.signed) == (12, 11, True) and (
        form.syntax in (ExplicitVRLittleEndian, *COMPRESSED)
    )


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(form, marks=() if is_quick(form) else pytest.mark.slow)
        for form in FORMS
    ],
    ids=[str(form) for form in FORMS],
)
def test_every_form_of_the_phantom_has_the_same_display(form: Form) -> None:
    """To one grey level of 255 (two where entries of a table are bytes)."""
    difference = np.abs(shown(written(dataset_of(form))) - expected(form))

    assert difference.max() <= 1.5 / 255


# What dcmtk does otherwise, and why ours is right.
DCMTK_DIFFERS = {
    "linear-exact": "dcmtk 3.6.7 knows LINEAR and SIGMOID only",
    "presentation-lut": "dcmtk reads a Presentation LUT from a presentation state only",
}
DCMTK_OPTIONS = {
    "no-window": ("+Wm",),
    "modality-lut-of-words": ("+Wm",),
    "modality-lut-of-bytes": ("+Wm",),
    "sigmoid": ("+Wi", "1", "+Wfs"),
    "rescale-and-window": ("+Wi", "1"),
}
DCMTK_FORMS = [
    form
    for form in FORMS
    if form.syntax in (ExplicitVRLittleEndian, ExplicitVRBigEndian, JPEGLSLossless)
    and form.lut not in DCMTK_DIFFERS
]


@pytest.mark.slow
@pytest.mark.parametrize("form", DCMTK_FORMS, ids=str)
def test_dcmtk_renders_the_same_display(form: Form, tmp_path: Path) -> None:
    """Within one grey level of 255, or one rescaled value: dcmtk rounds these."""
    name = "dcml2pnm" if form.syntax == JPEGLSLossless else "dcm2pnm"
    program = shutil.which(name)
    if program is None:
        pytest.skip("dcmtk is not installed: apt-get install dcmtk")
    source, target = tmp_path / "image.dcm", tmp_path / "image.pgm"
    source.write_bytes(written(dataset_of(form)))
    options = DCMTK_OPTIONS.get(form.lut, ("+Wl", "1", "+Mv"))

    subprocess.run(
        [program, "--no-overlays", *options, "+op", str(source), str(target)],
        check=True,
        capture_output=True,
    )

    theirs = np.asarray(Image.open(target)).astype(float)
    rescaled = form.lut in ("rescale-and-window", "sigmoid")
    rounding = 255 / ((1 << form.bits) * 0.25) if rescaled else 0.0
    difference = np.abs(theirs - shown(source.read_bytes()) * 255)
    assert difference.max() <= 1.5 + rounding


def colour_dataset(photometric: str, samples: np.ndarray, syntax: UID) -> Dataset:
    """Return a header for (H, W, 3) samples of eight bits, without pixels."""
    dataset = Dataset()
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = "2.25.1"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = ROWS, COLUMNS, 3
    dataset.PhotometricInterpretation = photometric
    dataset.PlanarConfiguration = 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelRepresentation = 0
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.add_new("PixelData", "OB", samples.tobytes())
    return dataset


def grey_rgb() -> np.ndarray:
    return np.dstack([np.rint(phantom() * 255).astype(np.uint8)] * 3)


def native_colours(photometric: str, planar: int) -> bytes:
    samples = grey_rgb()
    if photometric == "YBR_FULL":
        samples[..., 1:] = 128
    dataset = colour_dataset(photometric, samples, ExplicitVRLittleEndian)
    if planar:
        dataset.PlanarConfiguration = 1
        dataset.PixelData = np.moveaxis(samples, 2, 0).tobytes()
    return written(dataset)


def jpeg_colours(photometric: str, stream: str) -> bytes:
    """Return a JPEG whose header says a colour space, and whose stream has another."""
    file = io.BytesIO()
    if stream == "RGB":
        Image.fromarray(grey_rgb()).save(file, "JPEG", quality=100, keep_rgb=True)
    else:
        Image.fromarray(grey_rgb()).save(file, "JPEG", quality=100, subsampling=0)
    dataset = colour_dataset(photometric, grey_rgb(), JPEGBaseline8Bit)
    dataset.PixelData = encapsulate([file.getvalue()])
    dataset["PixelData"].is_undefined_length = True
    return written(dataset)


def jpeg_2000_colours(photometric: str) -> bytes:
    dataset = colour_dataset("RGB", grey_rgb(), ExplicitVRLittleEndian)
    dataset.PhotometricInterpretation = "YBR_RCT"
    dataset.compress(JPEG2000Lossless, grey_rgb(), generate_instance_uid=False)
    dataset.PhotometricInterpretation = photometric
    return written(dataset)


def palette(bits: int, packing: str, syntax: UID) -> bytes:
    """Return PALETTE COLOR with a palette of greys."""
    samples = np.rint(phantom() * 255).astype(np.uint8)
    dataset = colour_dataset("PALETTE COLOR", samples, syntax)
    dataset.SamplesPerPixel = 1
    del dataset.PlanarConfiguration
    entries = np.arange(256) * (1 if bits == 8 else 257)
    if packing == "bytes":
        entries = entries[::2] | entries[1::2] << 8
    for colour in ("Red", "Green", "Blue"):
        name = f"{colour}PaletteColorLookupTable"
        dataset.add_new(f"{name}Descriptor", "US", [256, 0, bits])
        dataset.add_new(f"{name}Data", "OW", words(entries, syntax))
    return written(dataset)


COLOURS = {
    "rgb": native_colours("RGB", 0),
    "rgb-planes": native_colours("RGB", 1),
    "ybr-full": native_colours("YBR_FULL", 0),
    "ybr-full-planes": native_colours("YBR_FULL", 1),
    **{
        f"jpeg-of-{stream}-labelled-{label}": jpeg_colours(label, stream)
        for stream in ("RGB", "YCbCr")
        for label in ("RGB", "YBR_FULL", "YBR_FULL_422")
    },
    **{
        f"jpeg-2000-labelled-{label}": jpeg_2000_colours(label)
        for label in ("RGB", "YBR_RCT", "YBR_FULL")
    },
    **{
        f"palette-{bits}-{packing}-{syntax.keyword}": palette(bits, packing, syntax)
        for bits, packing in ((8, "bytes"), (8, "words"), (16, "words"))
        for syntax in (ExplicitVRLittleEndian, ExplicitVRBigEndian)
    },
}


@pytest.mark.parametrize("name", COLOURS)
def test_every_colour_space_has_the_grey_display(name: str) -> None:
    """To two grey levels: JPEG is lossy."""
    assert np.abs(shown(COLOURS[name]) - phantom()).max() <= 2.5 / 255
    assert not is_colour(read_dataset(COLOURS[name]))
