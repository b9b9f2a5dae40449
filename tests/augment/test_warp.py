"""Warping: three paths that agree, for every dtype, number of channels, fill and interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import pytest
from scipy import ndimage
from skimage import data as photographs

from multifeed.augment.geometry import affine, mirrors, relative, turn, windows
from multifeed.augment.warp import DTYPES, Warp

PHOTO = np.ascontiguousarray(photographs.astronaut()[40:200, 100:300])
SCIPY = {"nearest": "nearest", "constant": "grid-constant", "reflect": "reflect", "wrap": "grid-wrap"}


def warped(warp: Warp, image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return one image warped by a matrix in relative places, ``float64[3, 3]``."""
    out = np.full((*warp.size, image.shape[2]), 77).astype(image.dtype)
    warp.apply(image, warp.moves(warp.pixels(matrix[None]))[0], out)
    return out


def generally(warp: Warp, image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return the same by the general path, whatever the matrix: it is turned by next to nothing."""
    out = np.empty((*warp.size, image.shape[2]), image.dtype)
    pixels = warp.pixels(matrix[None])[0]
    pixels[0, 1] += 1e-9
    warp.apply(image, warp.moves(pixels[None])[0], out)
    return out


def as_scipy(image: np.ndarray, pixels: np.ndarray, size: tuple[int, int], **options: Any) -> np.ndarray:
    """Return what scipy makes of an image and a matrix of pixels, ``float64``."""
    (xx, xy, x), (yx, yy, y) = pixels
    channels = [
        ndimage.affine_transform(
            channel, np.array([[yy, yx], [xy, xx]]), (y, x), size, order=1, **options
        )
        for channel in np.moveaxis(image.astype(np.float64), 2, 0)
    ]
    return np.stack(channels, 2)


def some_matrices(count: int, size: tuple[int, int]) -> np.ndarray:
    """Return matrices that turn, shift, zoom and mirror, relative to a size."""
    rng = np.random.default_rng(4)
    matrix = turn(rng.uniform(-3, 3, count)) @ affine(
        x=rng.uniform(-30, 30, count), y=rng.uniform(-30, 30, count), xx=rng.uniform(0.7, 1.4, count)
    )
    return relative(matrix, size) @ mirrors(rng.random((count, 2)) < 0.5)


def numbers(dtype: str, shape: Sequence[int]) -> np.ndarray:
    """Return smooth values that use much of a dtype's range."""
    rows, columns, channels = np.ogrid[: shape[0], : shape[1], : shape[2]]
    waves = 0.5 + 0.4 * np.sin(rows / 9 + channels) * np.cos(columns / 11 - channels)
    kind = np.dtype(dtype)
    if dtype == "bool":
        return waves > 0.5
    if kind.kind == "f":
        return ((waves - 0.5) * 1_000).astype(dtype)
    limits = np.iinfo(kind)
    return np.rint(limits.min + waves * (float(limits.max) - limits.min)).astype(dtype)


@pytest.mark.parametrize("fill", list(SCIPY))
def test_fills_are_those_of_scipy(fill: str) -> None:
    """In float, 40 random matrices: the mean differs by less than 0.05 of 255, the worst pixel by 1.

    scipy's "grid-constant" and "grid-wrap" are meant: its "wrap" has a period of one pixel less, its
    "constant" does not interpolate at the edge.
    """
    size = PHOTO.shape[:2]
    warp = Warp(size, size, "bilinear", fill, 90.0)
    image = PHOTO.astype(np.float32)
    for matrix in some_matrices(40, size):
        pixels = warp.pixels(matrix[None])[0]
        expected = as_scipy(image, pixels, size, mode=SCIPY[fill], cval=90.0)
        difference = np.abs(warped(warp, image, matrix) - expected)
        assert difference.mean() < 0.05
        assert difference.max() < 1
        levels = np.abs(warped(warp, PHOTO, matrix) - np.rint(expected))
        assert (levels <= 1).mean() > 0.999


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 12])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_every_dtype_and_number_of_channels(dtype: str, channels: int, interpolation: str) -> None:
    """All paths are scipy, to a thousandth of the range or one step, at 99 % of the pixels."""
    image = numbers(dtype, (60, 80, channels))
    warp = Warp((60, 80), (50, 70), interpolation, "reflect")
    spread = float(image.max()) - float(image.min())
    cases = {
        "general": some_matrices(3, (60, 80))[0],
        "zoomed": windows(np.array(0.1), np.array(0.2), 0.7, 0.75)
        @ mirrors(np.array([[True, True]]))[0],
        "shrunk": affine(xx=3.0, yy=3.0, xy=0.1),
    }
    for what, matrix in cases.items():
        pixels = warp.pixels(matrix[None])[0]
        found = warped(warp, image, matrix).astype(np.float64)
        if interpolation == "nearest":
            assert np.isin(found, image.astype(np.float64)).all(), what
            continue
        if what == "shrunk":
            assert found.mean() == pytest.approx(image.astype(np.float64).mean(), abs=0.1 * spread)
            continue
        expected = as_scipy(image, pixels, warp.size, mode="reflect")
        if dtype == "bool":
            expected = np.where(np.abs(expected - 0.5) < 0.05, found, expected > 0.5)
        allowed = max(spread / 1_000, 1.01 if dtype != "bool" else 0)
        # At the edge, a window is resized without a look at what is around it.
        close = np.abs(found - expected)[2:-2, 2:-2] <= allowed
        assert close.mean() > 0.99, what


@pytest.mark.parametrize("dtype", [*DTYPES, "int64"])
@pytest.mark.parametrize("channels", [1, 3, 7])
def test_crops_and_flips_are_slices(dtype: str, channels: int) -> None:
    """Whole pixels are copied to the bit, mirrored or not, of any dtype and either interpolation."""
    image = np.random.default_rng(1).integers(0, 255, (9, 11, channels)).astype(dtype)
    for interpolation in ("bilinear", "nearest"):
        warp = Warp((9, 11), (4, 6), interpolation)
        for vertical in (False, True):
            for horizontal in (False, True):
                matrix = windows(np.array(3 / 9), np.array(2 / 11), 4 / 9, 6 / 11)
                matrix = matrix @ mirrors(np.array([[vertical, horizontal]]))[0]
                expected = image[3:7, 2:8][:: -1 if vertical else 1, :: -1 if horizontal else 1]
                np.testing.assert_array_equal(warped(warp, image, matrix), expected)


def test_resizing_and_the_general_path_agree() -> None:
    """In 200 windows of a photograph, pixels differ by 1 level, at the very edge 1 % of all by more."""
    rng = np.random.default_rng(0)
    size = PHOTO.shape[:2]
    warp = Warp(size, (96, 112))
    differences = []
    for height, width, down, right in rng.uniform([0.3, 0.3, 0, 0], [1, 1, 1, 1], (200, 4)):
        matrix = windows(np.array(down * (1 - height)), np.array(right * (1 - width)), height, width)
        one, other = warped(warp, PHOTO, matrix), generally(warp, PHOTO, matrix)
        differences.append(np.abs(one.astype(int) - other))
    found = np.array(differences)
    assert found[:, 2:-2, 2:-2].max() <= 1
    assert (found <= 1).mean() > 0.99


def test_windows_become_whole_by_less_than_half_a_pixel() -> None:
    """Edges of 1,000 windows move by half a pixel of the base image at most, and stay inside."""
    rng = np.random.default_rng(0)
    height, width = rng.uniform(0.01, 1, (2, 1_000))
    top, left = rng.random(1_000) * (1 - height), rng.random(1_000) * (1 - width)
    flip = mirrors(rng.random((1_000, 2)) < 0.5)
    relative_places = windows(top, left, height, width) @ flip
    warp = Warp((160, 200), (96, 112))
    moved = warp.pixels(relative_places)
    still = Warp((160, 200), (96, 112), "nearest").pixels(relative_places)
    corners = np.array([[-0.5, -0.5, 1], [111.5, 95.5, 1]]).T
    shifts = np.abs(moved @ corners - still @ corners)
    # A window of less than a pixel becomes one.
    assert shifts.max() <= 0.5 + 1e-9
    assert (moved @ corners).min() >= -0.5 - 1e-9
    assert ((moved @ corners).max(axis=(0, 2)) <= np.array([199.5, 159.5]) + 1e-9).all()


@pytest.mark.parametrize("factor", [3, 4, 7.5])
@pytest.mark.parametrize("angle", [0.0, 0.4])
def test_nothing_is_skipped_when_an_image_shrinks(factor: float, angle: float) -> None:
    """Stripes one pixel wide become grey, along either axis and when only one of them shrinks."""
    for axis in (0, 1):
        image = np.zeros((240, 240, 3), np.uint8)
        image[::2] = 255
        image = image if axis == 0 else np.ascontiguousarray(image.transpose(1, 0, 2))
        for both in (True, False):
            across, down = (factor, factor) if both else ((1.0, factor) if axis == 0 else (factor, 1.0))
            size = (int(200 / down), int(200 / across))
            matrix = turn(np.array(angle if both else 0.0)) @ affine(xx=0.6, yy=0.6, xy=1e-4)
            found = warped(Warp((240, 240), size, fill="reflect"), image, matrix)
            assert np.abs(found[2:-2, 2:-2] - 127.5).max() <= 30, (axis, both)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fill", list(SCIPY))
def test_label_maps_stay_label_maps(channels: int, fill: str) -> None:
    """Grown, shrunk, turned: no label that was not there, but for the fill value."""
    labels = np.random.default_rng(0).choice([0, 7, 40, 255], (50, 60, channels)).astype(np.uint8)
    allowed = [0, 7, 40, 255, 99] if fill == "constant" else [0, 7, 40, 255]
    for zoom in (0.2, 0.5, 1.0, 2.0, 5.5):
        for angle in (0.0, 0.3):
            warp = Warp((50, 60), (40, 48), "nearest", fill, 99)
            found = warped(warp, labels, turn(np.array(angle)) @ affine(xx=zoom, yy=zoom))
            assert np.isin(found, allowed).all()
            assert (99 in found) == (fill == "constant" and (zoom > 1 or bool(angle and zoom == 1)))


def test_labels_are_taken_from_the_pixel_under_each_centre() -> None:
    """A window that is not whole is sampled where it is: masks stay with images of more pixels."""
    labels = np.arange(64, dtype=np.uint8).reshape(1, 64, 1).repeat(4, 0)
    warp = Warp((4, 64), (4, 32), "nearest")
    found = warped(warp, labels, windows(np.array(0.0), np.array(0.37 / 64), 1.0, 20.0 / 64))
    centres = 0.37 + (np.arange(32) + 0.5) * 20 / 32
    np.testing.assert_array_equal(found[0, :, 0], np.floor(centres))


def test_images_that_are_not_contiguous(tmp_path: Any) -> None:
    """A memmap's window, mirror image and channels in another order are warped as copies of them."""
    np.save(tmp_path / "photo.npy", PHOTO)
    stored = np.load(tmp_path / "photo.npy", mmap_mode="r")
    views = stored[10:150, 20:180], stored[::-1], stored[..., ::-1], stored[..., :1], stored[::2]
    for image in views:
        warp = Warp(image.shape[:2], (64, 72))
        matrices = [
            some_matrices(1, image.shape[:2])[0],
            np.eye(3),
            windows(np.array(0.1), np.array(0.2), 0.5, 0.5),
        ]
        for matrix in matrices:
            np.testing.assert_array_equal(
                warped(warp, image, matrix), warped(warp, np.ascontiguousarray(image), matrix)
            )


@pytest.mark.parametrize("channels", [1, 3, 4, 6])
def test_only_its_own_place_in_the_batch_is_written(channels: int) -> None:
    """Every path writes all of a slot, none of its neighbours, and nothing into the base image."""
    image = np.ascontiguousarray(PHOTO[..., np.arange(channels) % 3])
    before = image.copy()
    size = PHOTO.shape[:2]
    window = windows(np.array(0.25), np.array(0.25), 0.5, 0.5)
    flip = mirrors(np.array([[True, True]]))[0]
    for matrix in (some_matrices(1, size)[0], window, window @ flip, np.eye(3), flip):
        for target in (size, (80, 100), (31, 33)):
            batch = np.full((3, *target, channels), 123, np.uint8)
            warp = Warp(size, target)
            warp.apply(image, warp.moves(warp.pixels(matrix[None]))[0], batch[1])
            assert (batch[[0, 2]] == 123).all()
            again = np.zeros((1, *target, channels), np.uint8)
            warp.apply(image, warp.moves(warp.pixels(matrix[None]))[0], again[0])
            np.testing.assert_array_equal(batch[1], again[0])
            np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_shortcuts_give_what_opencv_gives_directly(channels: int) -> None:
    """A fourth channel and a border: the bytes, but for 1 level at less than 0.1 % of pixels."""
    size = PHOTO.shape[:2]
    image = np.ascontiguousarray(PHOTO[..., np.arange(channels) % 3])
    borders = {"nearest": cv2.BORDER_REPLICATE, "reflect": cv2.BORDER_REFLECT, "wrap": cv2.BORDER_WRAP}
    for fill, border in borders.items():
        warp = Warp(size, size, fill=fill)
        far = affine(x=3.7, y=-2.2, xy=0.1)
        inside = turn(np.array(0.2)) @ affine(xx=0.4, yy=0.4)
        for matrix in (*some_matrices(20, size), far, inside):
            pixels = warp.pixels(matrix[None])[0]
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            direct = cv2.warpAffine(image, pixels, size[::-1], flags=flags, borderMode=border)
            difference = np.abs(warped(warp, image, matrix) - direct.reshape(image.shape).astype(int))
            assert difference.max() <= 1
            assert (difference > 0).mean() < (0.001 if matrix is not inside else 1e-9)
