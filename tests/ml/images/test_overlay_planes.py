"""Overlay planes: where they draw, and what is refused."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from ml.errors import ImageAttributeError
from ml.pixels import display_frame, overlay_mask
from tests.dicom_factory import image

ROWS, COLUMNS = 64, 48


def drawn(seed: int = 0, *, rows: int = ROWS, columns: int = COLUMNS) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.random((rows, columns)) < 0.2


def packed(mask: np.ndarray) -> bytes:
    data = np.packbits(mask.reshape(-1), bitorder="little").tobytes()
    return data + b"\0" * (len(data) % 2)


def with_plane(
    mask: np.ndarray, dataset: Dataset | None = None, group: int = 0x6000, **values: Any
) -> Dataset:
    """Return an image with one more overlay plane."""
    dataset = dataset if dataset is not None else image()
    elements = {
        0x10: ("US", mask.shape[-2]),
        0x11: ("US", mask.shape[-1]),
        0x40: ("CS", "G"),
        0x50: ("SS", values.get("origin", [1, 1])),
        0x100: ("US", 1),
        0x102: ("US", 0),
        0x3000: ("OW", values.get("data", packed(mask))),
    }
    if mask.ndim == 3:
        elements |= {0x15: ("IS", len(mask)), 0x51: ("US", values.get("first", 1))}
    for element, (vr, value) in elements.items():
        dataset.add_new((group, element), vr, value)
    return dataset


def test_a_plane_draws_where_its_bits_are_set() -> None:
    assert (overlay_mask(with_plane(drawn())) == drawn()).all()


def test_an_image_without_planes_has_no_annotations() -> None:
    assert not overlay_mask(image()).any()


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_planes_are_read_in_every_byte_order(syntax: UID) -> None:
    dataset = with_plane(drawn())
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        for tag in ((0x6000, 0x3000), (0x7FE0, 0x0010)):
            words = np.frombuffer(dataset[tag].value, "<u2")
            dataset[tag].value = words.astype(">u2").tobytes()
    file = BytesIO()
    dcmwrite(file, dataset, enforce_file_format=True)
    read = dcmread(BytesIO(file.getvalue()))
    assert (overlay_mask(read) == drawn()).all()


def test_several_planes_are_drawn_together() -> None:
    dataset = with_plane(drawn(1), with_plane(drawn(0)), group=0x601E)
    assert (overlay_mask(dataset) == (drawn(0) | drawn(1))).all()


@pytest.mark.parametrize("origin", [[11, 6], [-9, -4], [60, 40], [1000, 1]])
def test_a_plane_is_cut_at_the_edges_of_the_image(origin: list[int]) -> None:
    plane = drawn(rows=20, columns=30)
    whole = np.zeros((3000, 3000), bool)
    top, left = origin[0] + 999, origin[1] + 999
    whole[top : top + 20, left : left + 30] = plane
    expected = whole[1000 : 1000 + ROWS, 1000 : 1000 + COLUMNS]
    assert (overlay_mask(with_plane(plane, origin=origin)) == expected).all()


def test_each_frame_has_its_plane() -> None:
    planes = np.stack([drawn(n, rows=9, columns=7) for n in range(3)])
    dataset = with_plane(planes, first=2)
    assert not overlay_mask(dataset, 0).any()
    for frame in range(3):
        assert (overlay_mask(dataset, frame + 1)[:9, :7] == planes[frame]).all()


@pytest.mark.parametrize(
    ("element", "vr", "value"),
    [
        (0x10, "US", 0),
        (0x11, "US", 65_535),
        (0x50, "SS", [1]),
        (0x3000, "OW", b"\0\0"),
    ],
)
def test_a_plane_that_is_described_wrongly_is_refused(
    element: int, vr: str, value: Any
) -> None:
    dataset = with_plane(drawn())
    dataset.add_new((0x6000, element), vr, value)
    with pytest.raises(ImageAttributeError):
        overlay_mask(dataset)


def test_a_plane_never_reaches_the_picture() -> None:
    plain = image()
    assert (display_frame(with_plane(drawn(), image())) == display_frame(plain)).all()
