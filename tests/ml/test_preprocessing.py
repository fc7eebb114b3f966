"""One geometry for every image: stable, reversible, the same in training."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ml.overlay import HeatScale, heat_layer
from ml.preprocessing import (
    Geometry,
    crop,
    equalise,
    find_geometry,
    normalise,
    percentiles,
    preprocess,
    reduce,
    soften,
    squash,
)
from tests.ml.image_factory import chest_like, encoded


def test_uniform_borders_are_trimmed() -> None:
    bare = find_geometry(chest_like(400, 400), size=64)
    framed = find_geometry(chest_like(400, 400, border=100), size=64)
    assert abs(framed.top - 100 - bare.top) <= 6
    assert abs(framed.left - 100 - bare.left) <= 6
    assert abs(framed.height - bare.height) <= 12
    assert (framed.source_height, framed.source_width) == (600, 600)


def test_no_side_is_trimmed_beyond_the_limit() -> None:
    image = np.zeros((300, 300), np.uint16)
    image[140:160, 140:160] = 65535
    geometry = find_geometry(image, size=64)
    assert geometry.top <= 0.35 * 300
    assert geometry.height >= 0.3 * 300


@pytest.mark.parametrize("value", [0, 20000, 65535])
def test_an_image_without_contrast_gives_finite_values(value: int) -> None:
    image, geometry = preprocess(np.full((50, 70), value, np.uint16), size=32)
    assert np.isfinite(image).all()
    assert geometry.height > 0
    assert geometry.width > 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (3, 7), (700, 20)])
def test_odd_shapes_are_read(shape: tuple[int, int]) -> None:
    image, _ = preprocess(np.arange(np.prod(shape), dtype="u2").reshape(shape), size=32)
    assert image.shape == (32, 32, 1)
    assert np.isfinite(image).all()


def test_any_aspect_ratio_becomes_a_square_of_float32() -> None:
    image, geometry = preprocess(chest_like(300, 200), size=96, channels=3)
    assert image.shape == (96, 96, 3)
    assert image.dtype == np.float32
    assert geometry.height > geometry.width


def test_8_bits_and_jpeg_are_nearly_the_same_input() -> None:
    image = chest_like(900, 800)
    plain, geometry = preprocess(image, size=96)
    eight = ((image.astype(int) + 128) // 257).astype(np.uint8)
    data = np.frombuffer(encoded(eight, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 90), "u1")
    for copy in (eight, cv2.imdecode(data, cv2.IMREAD_UNCHANGED)):
        again, other = preprocess(copy.astype(np.uint16) * 257, size=96)
        assert other == geometry
        assert np.abs(again - plain).mean() < 0.02


def test_a_brighter_copy_of_an_image_is_nearly_the_same_input() -> None:
    image = chest_like(500, 500)
    plain, _ = preprocess(image, size=96)
    brighter, _ = preprocess((image * 0.7 + 15000).astype(np.uint16), size=96)
    assert np.abs(plain - brighter).mean() < 0.02


def test_equalisation_is_monotonic() -> None:
    values = np.sort(np.random.default_rng(0).gamma(2.0, size=400)).reshape(20, 20)
    equal = equalise(values)
    assert (np.diff(equal.ravel()) >= 0).all()
    assert equal.min() >= 0
    assert equal.max() <= 1


def test_a_geometry_survives_json() -> None:
    geometry = find_geometry(chest_like(), size=64)
    assert Geometry.from_json(geometry.to_json()) == geometry


def test_the_corners_of_the_square_map_to_the_box() -> None:
    geometry = Geometry(400, 300, top=40, left=30, height=200, width=100, size=50)
    assert geometry.to_source(0, 0) == (30, 40)
    assert geometry.to_source(50, 50) == (130, 240)
    assert geometry.to_source(25, 25) == (80, 140)


def test_a_hot_cell_is_drawn_at_its_place_in_the_image() -> None:
    """A cell of the grid goes back through crop and squash to its place."""
    image = chest_like(500, 300, border=80)
    geometry = find_geometry(image, size=64)
    grid = np.zeros((8, 8), np.float16)
    grid[2, 5] = 1.0
    x, y = geometry.to_source((5 + 0.5) * 8, (2 + 0.5) * 8)
    layer = heat_layer(grid, scale=HeatScale(1.0), geometry_json=geometry.to_json())
    assert layer.shape == (*image.shape, 4)
    hot_rows, hot_columns = np.nonzero(layer[..., 3] > 200)
    assert abs(hot_rows.mean() - y) < 3
    assert abs(hot_columns.mean() - x) < 3
    outside = layer[..., 3].copy()
    outside[
        geometry.top : geometry.top + geometry.height,
        geometry.left : geometry.left + geometry.width,
    ] = 0
    assert not outside.any()


def test_an_image_of_the_size_of_training_images_is_not_reduced() -> None:
    image = chest_like(959, 1500)
    same, factor = reduce(image)
    assert same is image
    assert factor == 1


@pytest.mark.parametrize("shape", [(1,), (2,), (9,), (128, 128), (25600,)])
def test_percentiles_equal_those_of_numpy_exactly(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    percents = (0.5, 10.0, 50.0, 90.0, 99.5)
    for _ in range(20):
        values = rng.integers(0, 65535, shape).astype(np.float32)
        expected = np.percentile(values, percents, axis=0)
        assert np.array_equal(percentiles(values, percents), expected)


def test_a_large_image_is_halved_and_its_box_is_in_its_own_pixels() -> None:
    image = chest_like(1001, 1250, border=100)
    small, factor = reduce(image)
    assert (small.shape, factor) == ((600, 725), 2)
    square, geometry = preprocess(image, size=160)
    whole = find_geometry(image, size=160)
    assert (geometry.source_height, geometry.source_width) == image.shape
    for name in ("top", "left", "height", "width"):
        assert abs(getattr(geometry, name) - getattr(whole, name)) <= 3 * factor
    again = soften(squash(crop(image, whole), size=160))
    assert np.abs(square[..., 0] - normalise(equalise(again))[..., 0]).mean() < 0.1
