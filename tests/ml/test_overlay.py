"""Pictures drawn from images and grids."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ml.errors import ImageError
from ml.overlay import display_png, heat_layer, overlay_png
from ml.preprocessing import find_geometry
from tests.ml.image_factory import chest_like

IMAGE = chest_like()
GEOMETRY = find_geometry(IMAGE, size=64).to_json()


def decoded(data: bytes) -> np.ndarray:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    return pixels


def test_a_16_bit_png_holds_the_display_values() -> None:
    assert np.array_equal(decoded(display_png(IMAGE, bits=16)), IMAGE)


def test_an_8_bit_png_is_rounded() -> None:
    shown = decoded(display_png(IMAGE))
    assert np.abs(shown * 257.0 - IMAGE).max() <= 129


def test_size_bounds_the_longest_side_and_never_enlarges() -> None:
    assert max(decoded(display_png(IMAGE, size=100)).shape) == 100
    assert decoded(display_png(IMAGE, size=9999)).shape == IMAGE.shape


def test_without_a_grid_the_image_is_unchanged() -> None:
    picture = decoded(overlay_png(IMAGE, np.zeros((5, 5)), geometry_json=GEOMETRY))
    assert np.array_equal(picture[..., 0], decoded(display_png(IMAGE)))


def test_opacity_sets_how_much_of_the_image_is_hidden() -> None:
    grid = np.ones((5, 5), np.float16)
    image = decoded(display_png(IMAGE)).astype(int)[..., None]
    apart = [
        np.abs(
            decoded(overlay_png(IMAGE, grid, geometry_json=GEOMETRY, opacity=o)) - image
        ).mean()
        for o in (0.0, 0.5, 1.0)
    ]
    assert apart[0] == 0
    assert apart[1] < apart[2]


def test_nan_in_a_grid_is_transparent() -> None:
    layer = heat_layer(np.full((5, 5), np.nan), geometry_json=GEOMETRY)
    assert not layer[..., 3].any()


def test_a_grid_of_another_image_is_refused() -> None:
    with pytest.raises(ImageError):
        overlay_png(IMAGE[:-1], np.zeros((5, 5)), geometry_json=GEOMETRY)


@pytest.mark.parametrize("size", [None, 64, 7])
def test_layer_and_overlay_have_the_same_shape(size: int | None) -> None:
    grid = np.ones((5, 5))
    layer = heat_layer(grid, geometry_json=GEOMETRY, size=size)
    picture = decoded(overlay_png(IMAGE, grid, geometry_json=GEOMETRY, size=size))
    assert layer.shape[:2] == picture.shape[:2]
