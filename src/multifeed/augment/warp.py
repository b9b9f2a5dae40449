"""Warping: from a base image into a batch by one matrix, on the cheapest path that will do.

There are three: a window of whole pixels is copied (and mirrored), one of another size is resized, and
only what is left is interpolated place by place. They agree. To be whole, a window is moved by half a
pixel of the base image at most on each side. What is resized is then within 1 level of 255 of the
general path (measured on photographs that are reduced to more than half; below that, either averages in
its own way), but for the outermost pixels, which resizing does not mix with what is around the window.
A window of an image that is not interpolated is never moved.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from multifeed.augment.base import NDArray, Size
from multifeed.fields.resize import CHANNELS, KNOWN, STAND_INS, parts, resize, settle
from multifeed.fields.scratch import Scratch

_BORDERS = {
    "nearest": cv2.BORDER_REPLICATE,
    "constant": cv2.BORDER_CONSTANT,
    "reflect": cv2.BORDER_REFLECT,
    "wrap": cv2.BORDER_WRAP,
}
DTYPES = tuple(kind.name for kind in (*KNOWN, *STAND_INS))
# An image with a border has up to so many times its area; beyond that, making it takes too long.
_MOST_BORDER = 5
# Pixels of the output by which the edges of a window may be moved to whole pixels of the base image.
_MOST_MOVE = 0.5
# Places that differ by less than this share of a pixel are one.
_EXACT = 1e-6


class Move(NamedTuple):
    """What a warp does for one slot, worked out for many at a time.

    Args:
        matrix: ``float64[2, 3]``, one of `Warp.pixels`.
        window: The whole pixels (top, left, height, width) that are shown, if that is all there is.
        margins: How wide a border the base image needs (top, bottom, left, right); None where it is
            reduced first.
        inside: ``float64[2, 3]``, the matrix for the image with that border.
    """

    matrix: NDArray
    window: tuple[int, int, int, int] | None
    margins: tuple[int, int, int, int] | None
    inside: NDArray


@dataclass(frozen=True)
class Warp:
    """How one field's base images become its outputs.

    Args:
        base: Size of the base images.
        size: Size of the outputs.
        interpolation: ``"bilinear"`` or ``"nearest"``.
        fill: What stands where the base image does not reach; see `RandomAffine`.
        fill_value: A number for all channels.
        antialias: Whether pixels are averaged wherever an axis shrinks, if the image is only resized.
    """

    base: Size
    size: Size
    interpolation: str = "bilinear"
    fill: str = "nearest"
    fill_value: float = 0.0
    antialias: bool = False

    def pixels(self, matrices: NDArray) -> NDArray:
        """Return matrices from a pixel of the output to one of the base image, ``[slots, 2, 3]``.

        They are what is done, to the last bit: windows that become whole pixels are so here.

        Args:
            matrices: ``float64[slots, 3, 3]`` in relative places.
        """
        (height, width), (rows, columns) = self.base, self.size
        # The centre of pixel i of n is at (i + 0.5) / n - 0.5.
        here = np.array(
            [[1 / columns, 0, 0.5 / columns - 0.5], [0, 1 / rows, 0.5 / rows - 0.5], [0, 0, 1]]
        )
        there = np.array([[width, 0, 0.5 * width - 0.5], [0, height, 0.5 * height - 0.5], [0, 0, 1]])
        pixels: NDArray = (there @ matrices @ here)[:, :2]
        across, down = pixels[:, 0, [0, 2]], pixels[:, 1, [1, 2]]
        x, keeps_columns = _whole(across, columns, width)
        y, keeps_rows = _whole(down, rows, height)
        upright = np.abs(pixels[:, [0, 1], [1, 0]]).max(1) * max(self.size) < _EXACT
        kept = upright & keeps_columns & keeps_rows
        if self.interpolation == "nearest":
            # Sampled at its very places, such an image stays with others of more pixels; a window that
            # is whole but for the last bits of its numbers can still be copied.
            moved = np.maximum(np.abs(x - across).max(1), np.abs(y - down).max(1))
            kept &= moved * max(self.size) < _EXACT
        pixels[kept] = 0.0
        pixels[kept, 0, 0], pixels[kept, 0, 2] = x[kept].T
        pixels[kept, 1, 1], pixels[kept, 1, 2] = y[kept].T
        return pixels

    def moves(self, pixels: NDArray) -> list[Move]:
        """Return what is done for some slots.

        Args:
            pixels: ``float64[slots, 2, 3]``, as `pixels` returns them.
        """
        are_windows, windows = self._windows(pixels)
        shrinks = np.hypot(pixels[:, :, 0], pixels[:, :, 1]).max(1) >= 2
        is_nearest = self.interpolation == "nearest"
        margins = np.zeros((len(pixels), 4), np.int64)
        if not is_nearest:
            margins = self._margins(pixels, self.base)
        inside = pixels.copy()
        inside[:, :, 2] += margins[:, [2, 0]]
        listed = zip(
            pixels,
            are_windows.tolist(),
            windows.tolist(),
            (shrinks & (not is_nearest)).tolist(),
            margins.tolist(),
            inside,
            strict=True,
        )
        return [
            Move(
                matrix,
                tuple(window) if is_window else None,
                None if is_shrunk else tuple(margin),
                placed,
            )
            for matrix, is_window, window, is_shrunk, margin, placed in listed
        ]

    def apply(self, image: NDArray, move: Move, out: NDArray) -> None:
        """Warp one base image, ``[height, width, channels]``, into `out`.

        Args:
            image: The base image, of one of `DTYPES`.
            move: One of `moves`.
            out: ``[rows, columns, channels]`` of the same dtype.
        """
        window = move.window
        if window is not None:
            self._show(image, move.matrix, window, out)
        elif out.dtype in STAND_INS:
            self._apply_stand_in(image, move, out)
        elif out.shape[2] > CHANNELS:
            self._apply_in_parts(image, move, out)
        else:
            self._warp(image, move, out)

    def _show(
        self, image: NDArray, matrix: NDArray, window: tuple[int, int, int, int], out: NDArray
    ) -> None:
        """Copy or resize a window, mirrored or not."""
        upside_down, mirrored = matrix[1, 1] < 0, matrix[0, 0] < 0
        if (window[2], window[3]) == self.size:
            _flip(_part(image, window), out, upside_down, mirrored)
        else:
            resize(_part(image, window), out, self.interpolation, antialias=self.antialias)
            if upside_down or mirrored:
                _flip(out.copy(), out, upside_down, mirrored)

    def _apply_in_parts(self, image: NDArray, move: Move, out: NDArray) -> None:
        """Warp some channels after the others."""
        for some, part in parts(image):
            warped = np.empty((*self.size, part.shape[2]), out.dtype)
            self.apply(part, move, warped)
            out[:, :, some] = warped

    def _apply_stand_in(self, image: NDArray, move: Move, out: NDArray) -> None:
        """Warp by way of a dtype that OpenCV knows."""
        warped = np.empty(out.shape, STAND_INS[out.dtype])
        self.apply(image.astype(warped.dtype), move, warped)
        settle(warped, out)

    def shown(self, matrix: NDArray) -> NDArray:
        """Return where `apply` puts a place of the base image, ``float64[2, 3]``.

        Places are in pixels from the upper left corner, as in `Frame`, not from the centre of the first.

        Args:
            matrix: ``float64[2, 3]``, one of `pixels`.
        """
        inverse: NDArray = np.linalg.inv(matrix[:, :2])
        # From corner to corner is half a pixel more at either end than from centre to centre.
        there = 0.5 - inverse @ (matrix[:, 2] + 0.5)
        return np.column_stack([inverse, there])

    def _windows(self, pixels: NDArray) -> tuple[NDArray, NDArray]:
        """Return which slots show just a window of whole pixels, and its (top, left, height, width)."""
        sizes = np.array(self.size)
        # By rows, then by columns, as sizes are.
        steps = pixels[:, [1, 0], [1, 0]]
        starts = pixels[:, [1, 0], [2, 2]]
        # From the outer edge of the first pixel to that of the last, whichever of them comes first.
        one, other = starts - 0.5 * steps + 0.5, starts + (sizes - 0.5) * steps + 0.5
        edges = np.concatenate([np.minimum(one, other), np.maximum(one, other)], 1)
        whole = np.rint(edges)
        fits = (np.abs(edges - whole) < _EXACT).all(1)
        fits &= (whole[:, :2] >= 0).all(1) & (whole[:, 2:] <= self.base).all(1)
        fits &= (pixels[:, 0, 1] == 0) & (pixels[:, 1, 0] == 0)
        whole[:, 2:] -= whole[:, :2]
        return fits, whole.astype(np.int64)

    def _warp(self, image: NDArray, move: Move, out: NDArray) -> None:
        margins, matrix = move.margins, move.inside
        if margins is None:
            image, matrix = _reduced(image, move.matrix)
            height, width = image.shape[:2]
            top, below, left, after = self._margins(matrix[None], (height, width))[0].tolist()
            margins = top, below, left, after
            matrix = matrix + [[0, 0, left], [0, 0, top]]
        is_nearest = self.interpolation == "nearest"
        # Four channels fill a vector register: half to two thirds of the time that three take.
        widens = out.shape[2] == 3 and out.dtype == np.uint8 and not is_nearest
        if widens:
            image = self._widened(image, margins)
        elif any(margins):
            image = cv2.copyMakeBorder(image, *margins, _BORDERS[self.fill])
        warped = cv2.warpAffine(
            image,
            matrix,
            (self.size[1], self.size[0]),
            dst=_own.array("warped", (*self.size, 4)) if widens else _as_opencv(out),
            flags=cv2.WARP_INVERSE_MAP | (cv2.INTER_NEAREST if is_nearest else cv2.INTER_LINEAR),
            borderMode=_BORDERS[self.fill],
            borderValue=(self.fill_value,) * CHANNELS,
        )
        if widens:
            cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB, dst=out)

    def _widened(self, image: NDArray, margins: tuple[int, int, int, int]) -> NDArray:
        """Return an image of three channels with four, and a border, in memory of this thread."""
        top, below, left, after = margins
        height, width = image.shape[:2]
        whole = _own.array("widened", (height + top + below, width + left + after, 4))
        inner = whole[top : top + height, left : left + width]
        cv2.cvtColor(image, cv2.COLOR_RGB2RGBA, dst=inner)
        if any(margins):
            cv2.copyMakeBorder(inner, *margins, _BORDERS[self.fill], dst=whole)
        return whole

    def _margins(self, pixels: NDArray, size: Size) -> NDArray:
        """Return how wide borders are needed that outputs stay inside, ``int64[slots, 4]``.

        At the top, bottom, left and right. OpenCV computes what is beyond an image place by place, which
        takes half as long again. With a border, all is inside, and values differ by 1 level at 2 of
        10,000 pixels: that is how float32 places are rounded.
        """
        if self.fill == "constant":
            return np.zeros((len(pixels), 4), np.int64)
        (height, width), far = size, np.array([self.size[1] - 1, self.size[0] - 1])
        linear, first = pixels[:, :, :2], pixels[:, :, 2]
        # (x, y). A pixel more than is needed, since places are rounded.
        before = 1 - np.floor(first + np.minimum(linear, 0) @ far)
        behind = np.ceil(first + np.maximum(linear, 0) @ far) + 2 - [width, height]
        (left, top), (after, below) = np.maximum(before, 0).T, np.maximum(behind, 0).T
        area = (height + top + below) * (width + left + after)
        kept = area <= _MOST_BORDER * height * width
        margins: NDArray = np.where(kept, [top, below, left, after], 0).T.astype(np.int64)
        return margins


_own = Scratch()


def _whole(places: NDArray, count: int, available: int) -> tuple[NDArray, NDArray]:
    """Return one axis of windows with their edges moved to whole pixels, where they are inside.

    Args:
        places: ``float64[n, 2]``, pixels of the base image from one pixel of the output to the next,
            and where the first of these is.
        count: Pixels of the output.
        available: Pixels of the base image.

    Returns:
        ``float64[n, 2]``, the same of the moved windows; and ``bool[n]``, whether they are inside.
    """
    step, start = places.T
    first, last = start - 0.5 * step + 0.5, start + (count - 0.5) * step + 0.5
    low, high = np.minimum(first, last), np.maximum(first, last)
    is_inside = (low > -_EXACT) & (high < available + _EXACT)
    low = np.clip(np.rint(low), 0, available - 1)
    high = np.maximum(np.rint(high), low + 1)
    # Of an image that is enlarged, half a pixel is several of the output: a mask would not follow.
    shift = np.maximum(np.abs(low - np.minimum(first, last)), np.abs(high - np.maximum(first, last)))
    is_inside &= shift * count <= _MOST_MOVE * (high - low)
    sign = np.where(step < 0, -1.0, 1.0)
    moved = sign * (high - low) / count
    begin = np.where(step < 0, high, low)
    return np.stack([moved, begin + 0.5 * moved - 0.5], 1), is_inside


def _reduced(image: NDArray, matrix: NDArray) -> tuple[NDArray, NDArray]:
    """Return an image small enough that no pixel is skipped, and the matrix for it."""
    # How far a step in the output leads along the width and the height of the image.
    (xx, xy, _), (yx, yy, _) = matrix.tolist()
    by_columns, by_rows = max(int(math.hypot(xx, xy)), 1), max(int(math.hypot(yx, yy)), 1)
    if by_columns * by_rows == 1:
        return image, matrix
    height, width = max(image.shape[0] // by_rows, 1), max(image.shape[1] // by_columns, 1)
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    scale = np.array([[width / image.shape[1]], [height / image.shape[0]]])
    shrunk = matrix * scale
    # The centre of the first pixel moves.
    shrunk[:, 2] += 0.5 * scale[:, 0] - 0.5
    return small if small.ndim == 3 else small[:, :, None], shrunk


def _part(image: NDArray, window: tuple[int, int, int, int]) -> NDArray:
    top, left, height, width = window
    return image[top : top + height, left : left + width]


def _flip(image: NDArray, out: NDArray, upside_down: bool, mirrored: bool) -> None:
    if not mirrored:
        out[...] = image[::-1] if upside_down else image
    elif out.dtype in KNOWN:
        # Five times as fast as NumPy, which goes through a mirrored row a value at a time.
        cv2.flip(image, -1 if upside_down else 1, dst=_as_opencv(out))
    else:
        out[...] = image[::-1, ::-1] if upside_down else image[:, ::-1]


def _as_opencv(image: NDArray) -> NDArray:
    """Return an image as OpenCV knows it, which gives one of a single channel no axis of channels."""
    return image[:, :, 0] if image.shape[2] == 1 else image
