"""Display values of DICOM frames, against values calculated by hand from PS3.3."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG2MPML,
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from ml.errors import ImageError
from ml.pixels import (
    MAX_PIXELS_PER_FRAME,
    display_frame,
    is_colour,
    iter_stored_frames,
    picture_display,
    read_display,
    read_picture,
    read_stored_frame,
)
from ml.preprocessing import preprocess
from tests.ml.image_factory import chest_like, compressed, dataset_of, encoded, file_of

LOSSLESS = (JPEG2000Lossless, JPEGLSLossless, RLELossless)


def row(*values: int, dtype: str = "uint16") -> np.ndarray:
    return np.array([values], dtype)


def shown(dataset: Dataset) -> list[int]:
    return display_frame(dataset)[0].tolist()


def test_the_full_window_of_16_bits_changes_nothing() -> None:
    image = chest_like()
    dataset = dataset_of(image, WindowCenter=32768, WindowWidth=65536)
    assert np.array_equal(display_frame(dataset), image)


def test_the_full_window_of_8_bits_is_257_times_the_value() -> None:
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    dataset = dataset_of(image, bits=8, WindowCenter=128, WindowWidth=256)
    assert np.array_equal(display_frame(dataset), image.astype(np.uint16) * 257)


def test_a_linear_window_has_the_half_and_one_of_the_standard() -> None:
    # C.11.2.1.2.1: centre 2048, width 4096 maps 0 to black and 4095 to white.
    dataset = dataset_of(
        row(0, 2047, 2048, 4095), bits=12, WindowCenter=2048, WindowWidth=4096
    )
    half = 65535 / 4095
    assert shown(dataset) == [0, round(2047 * half), round(2048 * half), 65535]


def test_a_linear_exact_window_has_no_half() -> None:
    dataset = dataset_of(
        row(0, 500, 1000, 2000),
        bits=12,
        WindowCenter=1000,
        WindowWidth=2000,
        VOILUTFunction="LINEAR_EXACT",
    )
    assert shown(dataset) == [0, 16384, 32768, 65535]


def test_a_sigmoid_window_is_half_at_its_centre() -> None:
    dataset = dataset_of(
        row(0, 1000, 1500),
        bits=12,
        WindowCenter=1000,
        WindowWidth=2000,
        VOILUTFunction="SIGMOID",
    )
    expected = [65535 / (1 + np.exp(-4 * (x - 1000) / 2000)) for x in (0, 1000, 1500)]
    assert shown(dataset) == [round(x) for x in expected]


def test_a_window_of_width_one_is_a_step() -> None:
    dataset = dataset_of(row(9, 10, 11), bits=12, WindowCenter=10, WindowWidth=1)
    assert shown(dataset) == [0, 65535, 65535]


def test_the_first_of_several_windows_is_used() -> None:
    one = dataset_of(row(0, 40, 90), bits=12, WindowCenter=50, WindowWidth=100)
    two = dataset_of(
        row(0, 40, 90), bits=12, WindowCenter=[50, 900], WindowWidth=[100, 9]
    )
    assert shown(one) == shown(two)


def test_a_window_is_applied_after_the_rescale() -> None:
    dataset = dataset_of(
        row(0, 1024, 2048),
        bits=12,
        RescaleSlope=1,
        RescaleIntercept=-1024,
        WindowCenter=0.5,
        WindowWidth=2049,
    )
    assert shown(dataset) == [0, 32768, 65535]


def test_monochrome1_is_the_inverse() -> None:
    window = {"WindowCenter": 512, "WindowWidth": 1024}
    plain = display_frame(dataset_of(row(0, 100, 1023), bits=10, **window))
    inverse = display_frame(
        dataset_of(row(0, 100, 1023), bits=10, interpretation="MONOCHROME1", **window)
    )
    assert np.abs(plain.astype(int) + inverse - 65535).max() <= 1


def test_deep_data_without_a_window_are_spread_over_their_values() -> None:
    assert shown(dataset_of(row(100, 150, 200), bits=12)) == [0, 32768, 65535]


def test_eight_bits_without_a_window_keep_their_range() -> None:
    assert shown(dataset_of(row(100, 200, dtype="uint8"), bits=8)) == [25700, 51400]


def test_signed_data_are_spread_from_their_lowest_value() -> None:
    dataset = dataset_of(row(-1000, 0, 1000, dtype="int16"), bits=12)
    assert shown(dataset) == [0, 32768, 65535]


@pytest.mark.parametrize("interpretation", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_outside_the_range(interpretation: str) -> None:
    dataset = dataset_of(
        row(4095, 100, 200, 4094),
        bits=12,
        interpretation=interpretation,
        PixelPaddingValue=4095,
        PixelPaddingRangeLimit=4094,
    )
    inner = [65535, 0] if interpretation == "MONOCHROME1" else [0, 65535]
    assert shown(dataset) == [0, *inner, 0]


def test_a_negative_padding_value_matches_signed_pixels() -> None:
    dataset = dataset_of(row(-2000, 0, 10, dtype="int16"))
    dataset.add_new("PixelPaddingValue", "SS", -2000)
    assert shown(dataset) == [0, 0, 65535]


def test_a_voi_lut_takes_precedence_over_a_window() -> None:
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [4, 10, 8], [0, 255, 51, 255]
    dataset = dataset_of(row(0, 11, 12, 99), bits=12, WindowCenter=1, WindowWidth=2)
    dataset.VOILUTSequence = [table]
    assert shown(dataset) == [0, 65535, 13107, 65535]


def test_a_modality_lut_is_applied_before_the_window() -> None:
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [3, 0, 16], [0, 500, 1000]
    dataset = dataset_of(row(0, 1, 2), bits=12, WindowCenter=500.5, WindowWidth=1001)
    dataset.ModalityLUTSequence = [table]
    assert shown(dataset) == [0, 32768, 65535]


def test_a_lut_without_data_is_an_error() -> None:
    dataset = dataset_of(row(0, 1), bits=12)
    dataset.VOILUTSequence = [Dataset()]
    with pytest.raises(ImageError, match="lookup table"):
        display_frame(dataset)


def test_bits_outside_the_stored_ones_are_cleared() -> None:
    clean = row(0, 2000, 4095)
    with_overlay = clean | np.uint16(0xF000)
    assert np.array_equal(
        display_frame(dataset_of(with_overlay, bits=12)),
        display_frame(dataset_of(clean, bits=12)),
    )


def test_signed_bits_are_extended_from_the_stored_ones() -> None:
    dataset = dataset_of(row(0x0FFF, 0x0001, dtype="int16"), bits=12)
    assert read_stored_frame(dataset).tolist() == [[-1, 1]]


def test_32_bit_data_are_shown_without_a_table_of_all_values() -> None:
    dataset = dataset_of(row(0, 2_000_000_000, 4_000_000_000, dtype="uint32"), bits=32)
    assert shown(dataset) == [0, 32768, 65535]


def test_colour_becomes_luminance() -> None:
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 255
    dataset = dataset_of(red, bits=8, interpretation="RGB")
    assert shown(dataset) == [round(0.299 * 65535)] * 2
    assert is_colour(dataset)


def test_equal_channels_are_not_colour() -> None:
    grey = np.repeat(chest_like()[..., None] // 257, 3, axis=2).astype(np.uint8)
    dataset = dataset_of(grey, bits=8, interpretation="RGB")
    assert not is_colour(dataset)
    assert np.array_equal(display_frame(dataset), grey[..., 0].astype(np.uint16) * 257)


def test_luma_is_used_as_stored() -> None:
    pixels = np.full((2, 2, 3), 128, np.uint8)
    pixels[..., 0] = 77
    dataset = dataset_of(pixels, bits=8, interpretation="YBR_FULL")
    assert shown(dataset) == [77 * 257] * 2
    assert not is_colour(dataset)
    pixels[..., 2] = 220
    assert is_colour(dataset_of(pixels, bits=8, interpretation="YBR_FULL"))


def test_palette_colours_are_looked_up() -> None:
    dataset = dataset_of(
        row(0, 1, dtype="uint8"), bits=8, interpretation="PALETTE COLOR"
    )
    for colour in ("Red", "Green", "Blue"):
        name = f"{colour}PaletteColorLookupTable"
        setattr(dataset, f"{name}Descriptor", [2, 0, 16])
        setattr(dataset, f"{name}Data", np.array([0, 40000], "<u2").tobytes())
    assert shown(dataset) == [0, 40000]


def test_every_frame_is_read_with_its_own_window() -> None:
    dataset = dataset_of(np.stack([row(0, 50), row(0, 50)]), bits=12)
    groups = []
    for width in (51, 101):
        window = Dataset()
        window.WindowCenter, window.WindowWidth = width / 2, width
        group = Dataset()
        group.FrameVOILUTSequence = [window]
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    assert display_frame(dataset, 0).tolist() == [[0, 65535]]
    assert display_frame(dataset, 1).tolist() == [[0, 32768]]
    assert len(list(iter_stored_frames(dataset))) == 2
    with pytest.raises(ImageError, match="no frame 3"):
        read_stored_frame(dataset, 2)


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda uid: uid.name)
@pytest.mark.parametrize("interpretation", ["MONOCHROME1", "MONOCHROME2"])
def test_lossless_forms_are_the_same_input(syntax: UID, interpretation: str) -> None:
    plain = dataset_of(
        chest_like() >> 4,
        bits=12,
        interpretation=interpretation,
        WindowCenter=1900,
        WindowWidth=3100,
    )
    expected = display_frame(plain)
    pixels = read_display(file_of(compressed(plain, syntax)))
    assert np.array_equal(pixels, expected)
    inputs = [preprocess(image, size=64)[0] for image in (pixels, expected)]
    assert np.array_equal(*inputs)


def test_the_inverse_image_in_monochrome1_is_the_same_input() -> None:
    image = chest_like() >> 4
    plain = dataset_of(image, bits=12)
    inverse = dataset_of(
        image.max() - image + image.min(), bits=12, interpretation="MONOCHROME1"
    )
    assert np.array_equal(display_frame(plain), display_frame(inverse))


def test_a_16_bit_png_of_the_display_values_is_the_same_input() -> None:
    display = display_frame(dataset_of(chest_like() >> 6, bits=10))
    picture = read_picture(encoded(display, ".png"))
    assert np.array_equal(picture_display(picture), display)


def test_a_jpeg_is_the_same_in_dicom_and_as_a_picture() -> None:
    data = encoded((chest_like() // 257).astype(np.uint8), ".jpg", 1, 90)
    dataset = dataset_of(np.zeros((220, 180), np.uint8), bits=8)
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.PixelData = encapsulate([data])
    dataset["PixelData"].is_undefined_length = True
    assert np.array_equal(display_frame(dataset), read_display(data))


def test_an_object_without_pixels_is_reported() -> None:
    dataset = dataset_of(row(1, 2))
    del dataset.PixelData
    with pytest.raises(ImageError) as caught:
        display_frame(dataset)
    assert caught.value.reason_code == "no_pixels"
    assert caught.value.permanent
    assert caught.value.shown


def test_an_object_without_rows_is_reported() -> None:
    dataset = dataset_of(row(1, 2))
    del dataset.Rows
    with pytest.raises(ImageError) as caught:
        display_frame(dataset)
    assert caught.value.reason_code == "no_pixels"


def test_pixels_are_counted_before_decoding() -> None:
    dataset = dataset_of(row(1, 2))
    dataset.Rows = dataset.Columns = 60000
    assert dataset.Rows * dataset.Columns > MAX_PIXELS_PER_FRAME
    with pytest.raises(ImageError) as caught:
        display_frame(dataset)
    assert caught.value.reason_code == "too_many_pixels"


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_a_codestream_of_another_size_is_refused(syntax: UID) -> None:
    dataset = compressed(dataset_of(chest_like() >> 4, bits=12), syntax)
    dataset.Rows = 10
    with pytest.raises(ImageError, match="header says"):
        display_frame(dataset)


def test_an_unknown_transfer_syntax_is_reported() -> None:
    dataset = dataset_of(row(1, 2))
    for syntax in (MPEG2MPML, UID("1.2.3.4")):
        dataset.file_meta.TransferSyntaxUID = syntax
        with pytest.raises(ImageError) as caught:
            display_frame(dataset)
        assert caught.value.reason_code == "unsupported_transfer_syntax"


def test_pixels_that_are_too_short_are_an_error() -> None:
    dataset = dataset_of(chest_like())
    dataset.PixelData = dataset.PixelData[:1000]
    with pytest.raises(ImageError) as caught:
        display_frame(dataset)
    assert caught.value.reason_code == "unreadable_pixels"


def test_a_damaged_codestream_is_an_error() -> None:
    dataset = compressed(dataset_of(chest_like() >> 4, bits=12), JPEG2000Lossless)
    dataset.PixelData = encapsulate([b"\xff\xd8 not a codestream"])
    with pytest.raises(ImageError):
        display_frame(dataset)


def test_a_file_that_is_neither_dicom_nor_picture_is_an_error() -> None:
    for data in (b"", b"hello", b"\0" * 128 + b"DICM" + b"noise" * 50):
        with pytest.raises(ImageError):
            read_display(data)


def test_opencv_reads_what_these_tests_write() -> None:
    """The pictures above are made by another library than the one that reads them."""
    data = np.frombuffer(encoded(chest_like(), ".png"), np.uint8)
    assert np.array_equal(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), chest_like())


@pytest.mark.parametrize("interpretation", ["YBR_FULL_422", "YBR_FULL"])
def test_a_colour_jpeg_is_the_same_in_dicom_and_as_a_picture(
    interpretation: str,
) -> None:
    colours = np.zeros((64, 64, 3), np.uint8)
    colours[:32, :, 0], colours[32:, :, 1] = 250, 180
    data = encoded(colours, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 95)
    dataset = dataset_of(colours, bits=8, interpretation=interpretation)
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.PixelData = encapsulate([data])
    dataset["PixelData"].is_undefined_length = True
    apart = display_frame(dataset).astype(int) - read_display(data)
    # Luma is rounded in the file, and the picture's red, green and blue again.
    assert np.abs(apart).max() <= 2 * 257
    assert is_colour(dataset)
