"""Resizing: what is plain below 2x, what is not skipped from there on, what labels keep."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import pytest
from PIL import Image as PILImage
from skimage import data as photographs
from sklearn.datasets import load_sample_images

from multifeed.fields.resize import resize


@cache
def photos() -> list[np.ndarray]:
    """Return five photographs, cut to 375 x 450 pixels at least."""
    pictures = [photographs.astronaut(), photographs.coffee(), photographs.rocket()]
    return [np.ascontiguousarray(p[:400, :500]) for p in pictures + load_sample_images().images]


def resized(
    image: np.ndarray, size: tuple[int, int], interpolation: str = "bilinear", **options: bool
) -> np.ndarray:
    """Return an image in another size, written over garbage."""
    out = np.full((*size, image.shape[2]), 0xA5, np.uint8)
    resize(image, out, interpolation, **options)
    return out


def by_pillow(image: np.ndarray, size: tuple[int, int], filter: PILImage.Resampling) -> np.ndarray:
    """Return an image in another size, as Pillow makes it."""
    return np.asarray(PILImage.fromarray(image).resize(size[::-1], filter))


def decibels(one: np.ndarray, other: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio of two images."""
    return float(10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2)))


@pytest.mark.parametrize(
    "size", [(300, 260), (224, 280), (260, 256), (201, 251), (400, 500), (600, 700)]
)
def test_below_2x_is_plain_bilinear(size: tuple[int, int]) -> None:
    """Where both axes shrink to more than half, or grow, it is OpenCV's bilinear, bit by bit."""
    for photo in photos():
        np.testing.assert_array_equal(resized(photo, size), cv2.resize(photo, size[::-1]))


@pytest.mark.parametrize(
    ("size", "least"),
    [
        ((224, 280), 35),  # 1.8x: plain
        ((224, 224), 39),  # 1.8x and 2.2x
        ((200, 250), 36),  # 2x
        ((150, 150), 39),  # 2.7x and 3.3x
        ((90, 250), 37),  # 4.4x and 2x
        ((100, 400), 38),  # 4x and 1.25x
        ((33, 33), 35),  # 12x and 15x
    ],
)
def test_what_shrinks_stays_near_antialiasing(size: tuple[int, int], least: float) -> None:
    """The mean distance from Pillow's antialiased bilinear over five photographs, in decibels."""
    distances = [
        decibels(resized(photo, size), by_pillow(photo, size, PILImage.Resampling.BILINEAR))
        for photo in photos()
    ]
    assert np.mean(distances) > least, distances


@pytest.mark.parametrize("size", [(224, 280), (150, 150), (100, 400), (33, 33), (399, 40)])
def test_antialias_is_nearer_to_antialiasing_than_plain_bilinear(size: tuple[int, int]) -> None:
    """The area filter is 30 dB from Pillow's at worst, and nearer to it than `cv2.resize` alone."""
    for photo in photos():
        expected = by_pillow(photo, size, PILImage.Resampling.BILINEAR)
        found = decibels(resized(photo, size, antialias=True), expected)
        assert found > decibels(cv2.resize(photo, size[::-1]), expected)
        assert found > 30


def test_antialias_changes_nothing_where_an_image_grows() -> None:
    """There is nothing to average."""
    photo = photos()[0]
    for size in ((400, 500), (600, 500), (401, 900)):
        np.testing.assert_array_equal(resized(photo, size, antialias=True), resized(photo, size))


SHRINKS = [
    ((64, 64), (32, 32)),  # 2x both
    ((70, 75), (32, 32)),
    ((64, 40), (32, 32)),  # 2x one, less the other
    ((40, 97), (32, 32)),  # 3x one, less the other
    ((127, 33), (32, 32)),  # 3.97x
    ((129, 33), (32, 32)),  # 4.03x
    ((95, 64), (32, 32)),  # 2.97x and 2x
    ((64, 20), (32, 32)),  # 2x one, the other grows
    ((10, 300), (40, 30)),  # 10x one, the other grows
    ((330, 200), (32, 32)),
]


@pytest.mark.parametrize(("shape", "size"), SHRINKS)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("antialias", [False, True])
def test_from_2x_on_no_pixel_is_skipped(
    shape: tuple[int, int], size: tuple[int, int], channels: int, antialias: bool
) -> None:
    """A single bright row, or column, shows in the result wherever it lies."""
    for axis in (0, 1):
        if shape[axis] < 2 * size[axis]:
            continue
        for place in range(shape[axis]):
            image = np.zeros((*shape, channels), np.uint8)
            image[(slice(None),) * axis + (place,)] = 255
            assert resized(image, size, antialias=antialias).any(), (axis, place)


@pytest.mark.parametrize(("shape", "size"), SHRINKS)
def test_a_checkerboard_becomes_grey(shape: tuple[int, int], size: tuple[int, int]) -> None:
    """A pattern of single pixels keeps its mean, instead of becoming black or white."""
    rows, columns = np.indices(shape)
    board = (255 * ((rows + columns) % 2)).astype(np.uint8)[:, :, None]
    assert resized(board, size).mean() == pytest.approx(127.5, abs=4)


def test_a_factor_of_two_is_exact() -> None:
    """At 2x the result is the mean of the four pixels; along one axis, that of Pillow's filter."""
    photo = photos()[0]
    quarters = photo.reshape(200, 2, 250, 2, 3).mean((1, 3))
    assert abs(resized(photo, (200, 250)) - quarters).max() <= 0.5
    for size in ((400, 250), (200, 500)):
        expected = by_pillow(photo, size, PILImage.Resampling.BILINEAR)
        inner = np.s_[2:-2, 2:-2]
        assert abs(resized(photo, size)[inner].astype(int) - expected[inner]).max() <= 2


@pytest.mark.parametrize("size", [(17, 31), (64, 64), (90, 20), (200, 200), (1, 1), (40, 60)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_nearest_invents_no_value(size: tuple[int, int], channels: int) -> None:
    """Labels stay labels, and are those that Pillow takes."""
    values = np.array([0, 7, 100, 255], np.uint8)
    labels = np.random.default_rng(0).choice(values, (40, 60, channels))
    found = resized(labels, size, "nearest")
    assert set(np.unique(found)) <= set(values)
    plain = labels[:, :, 0] if channels == 1 else labels
    expected = by_pillow(plain, size, PILImage.Resampling.NEAREST)
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_window_of_a_larger_array_is_written_in_place(
    interpolation: str, antialias: bool, channels: int
) -> None:
    """The result goes where it was asked for, and nothing beside it changes."""
    image = np.random.default_rng(0).integers(0, 256, (50, 30, channels), np.uint8)
    for size in ((20, 10), (50, 30), (60, 10), (24, 29)):
        larger = np.full((80, 50, channels), 0xA5, np.uint8)
        window = larger[5 : 5 + size[0], 7 : 7 + size[1]]
        resize(image, window, interpolation, antialias=antialias)
        np.testing.assert_array_equal(window, resized(image, size, interpolation, antialias=antialias))
        window[...] = 0xA5
        assert (larger == 0xA5).all()


def test_the_source_may_be_a_view_and_is_not_changed() -> None:
    """A crop of a read-only photograph is resized as its copy is."""
    photo = photos()[0].copy()
    photo.flags.writeable = False
    view = photo[13:380, 50:450]
    for size in ((100, 100), (183, 300), (367, 400), (300, 390)):
        np.testing.assert_array_equal(resized(view, size), resized(view.copy(), size))
    np.testing.assert_array_equal(photo, photos()[0])


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int32", "float16", "float32"])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_any_number_of_channels_of_any_dtype(dtype: str, interpolation: str) -> None:
    """Twelve channels are resized as each is alone, whatever OpenCV knows of their dtype."""
    values = np.random.default_rng(0).integers(0, 100, (30, 40, 12)).astype(dtype)
    for size in ((20, 25), (45, 41), (7, 40)):
        together = np.empty((*size, 12), dtype)
        resize(values, together, interpolation)
        for channel in range(12):
            alone = np.empty((*size, 1), dtype)
            resize(np.ascontiguousarray(values[:, :, channel : channel + 1]), alone, interpolation)
            assert (together[:, :, channel] == alone[:, :, 0]).all()
