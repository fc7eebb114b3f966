"""Pictures drawn from images and grids."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ml.errors import ImageError
from ml.overlay import HeatScale, display_png, heat_layer, heat_scale, overlay_png
from ml.preprocessing import find_geometry
from tests.ml.image_factory import chest_like

IMAGE = chest_like()
GEOMETRY = find_geometry(IMAGE, size=64).to_json()
ONE = HeatScale(1.0)


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
    picture = decoded(
        overlay_png(IMAGE, np.zeros((5, 5)), scale=ONE, geometry_json=GEOMETRY)
    )
    assert np.array_equal(picture[..., 0], decoded(display_png(IMAGE)))


def test_opacity_sets_how_much_of_the_image_is_hidden() -> None:
    grid = np.ones((5, 5), np.float16)
    image = decoded(display_png(IMAGE)).astype(int)[..., None]
    apart = [
        np.abs(
            decoded(
                overlay_png(IMAGE, grid, scale=ONE, geometry_json=GEOMETRY, opacity=o)
            )
            - image
        ).mean()
        for o in (0.0, 0.5, 1.0)
    ]
    assert apart[0] == 0
    assert apart[1] < apart[2]


def test_nan_in_a_grid_is_transparent() -> None:
    layer = heat_layer(np.full((5, 5), np.nan), scale=ONE, geometry_json=GEOMETRY)
    assert not layer[..., 3].any()


def test_a_grid_of_another_image_is_refused() -> None:
    with pytest.raises(ImageError):
        overlay_png(IMAGE[:-1], np.zeros((5, 5)), scale=ONE, geometry_json=GEOMETRY)


@pytest.mark.parametrize("size", [None, 64, 7])
def test_layer_and_overlay_have_the_same_shape(size: int | None) -> None:
    grid = np.ones((5, 5))
    layer = heat_layer(grid, scale=ONE, geometry_json=GEOMETRY, size=size)
    picture = decoded(
        overlay_png(IMAGE, grid, scale=ONE, geometry_json=GEOMETRY, size=size)
    )
    assert layer.shape[:2] == picture.shape[:2]


BOX = {"source_height": 40, "source_width": 60, "top": 4, "left": 10}
BOX |= {"height": 30, "width": 40, "size": 64}


def test_all_findings_of_a_run_share_the_scale_of_the_strongest() -> None:
    scale = heat_scale([(0.9, 2.0), (0.3, 0.5)])
    strong, weak = (
        heat_layer(np.full((2, 2), value), scale=scale, geometry_json=BOX)[20, 30]
        for value in (2.0, 0.5)
    )
    assert strong[3] == 255
    assert 0 < weak[3] < 100


@pytest.mark.parametrize("value", [0.0, 0.049, 0.19, -3.0])
def test_a_contribution_below_the_floor_is_transparent(value: float) -> None:
    strongest = 2.0 if value > 0.05 else 0.3
    grid = np.full((2, 2), value)
    layer = heat_layer(grid, scale=HeatScale(strongest), geometry_json=BOX)
    assert not layer.any()


def test_contributions_that_are_all_below_the_least_floor_paint_nothing() -> None:
    grid = np.full((2, 2), 0.04)
    assert not heat_layer(grid, scale=HeatScale(0.04), geometry_json=BOX).any()


def test_a_finding_that_is_shown_as_zero_has_no_part_in_the_scale() -> None:
    assert heat_scale([(0.004, 9.0), (0.6, 1.0)]).strongest == 1.0
    assert heat_scale([(0.004, 9.0)]).strongest == 0.0


def test_flat_cells_keep_the_values_of_the_grid() -> None:
    grid = np.array([[1.0, 0.5], [0.5, 1.0]])
    layer = heat_layer(grid, scale=ONE, geometry_json=BOX, cells=True)
    colours = np.unique(layer[4:34, 10:50].reshape(-1, 4), axis=0)
    assert len(colours) == 2
    smooth = heat_layer(grid, scale=ONE, geometry_json=BOX)
    assert len(np.unique(smooth[4:34, 10:50].reshape(-1, 4), axis=0)) > 10


@pytest.mark.parametrize("size", [None, 17, 23, 51])
@pytest.mark.parametrize("cells", [True, False])
def test_nothing_is_painted_beyond_the_edge_of_the_box(
    size: int | None, cells: bool
) -> None:
    layer = heat_layer(
        np.ones((5, 5)), scale=ONE, geometry_json=BOX, size=size, cells=cells
    )
    rows, columns = np.nonzero(layer[..., 3])
    share = layer.shape[0] / 40
    assert rows.min() >= 4 * share
    assert rows.max() + 1 <= 34 * share
    share = layer.shape[1] / 60
    assert columns.min() >= 10 * share
    assert columns.max() + 1 <= 50 * share
    assert (layer[rows.min(), columns.min(), 3]) == 255, "the edge is not faded"
