"""Warping: from a base image into a batch by one matrix, on the cheapest path that will do."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np

from multifeed.augment.base import NDArray, Size
from multifeed.fields.resize import resize

_BORDERS = {
    "nearest": cv2.BORDER_REPLICATE,
    "constant": cv2.BORDER_CONSTANT,
    "reflect": cv2.BORDER_REFLECT,
    "wrap": cv2.BORDER_WRAP,
}
# OpenCV warps up to this many channels at a time.
_CHANNELS = 4
# Places that differ by less than this share of a pixel are one.
_EXACT = 1e-6


@dataclass(frozen=True)
class Warp:
    """How one field's base images become its outputs.

    Args:
        base: Size of the base images.
        size: Size of the outputs.
        interpolation: ``"bilinear"`` or ``"nearest"``.
        fill: What stands where the base image does not reach; see `RandomAffine`.
        fill_value: A number for all channels.
    """

    base: Size
    size: Size
    interpolation: str = "bilinear"
    fill: str = "nearest"
    fill_value: float = 0.0

    def pixels(self, matrices: NDArray) -> NDArray:
        """Return matrices from a pixel of the output to one of the base image, ``[slots, 2, 3]``.

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
        return pixels

    def apply(self, image: NDArray, matrix: NDArray, out: NDArray) -> None:
        """Warp one base image, ``[height, width, channels]``, into `out`.

        Args:
            image: The base image.
            matrix: ``float64[2, 3]``, one of `pixels`.
            out: ``[rows, columns, channels]`` of the same dtype.
        """
        window = self._window(matrix)
        if window is None:
            self._warp(image, matrix, out)
            return
        top, left, height, width = window
        part = image[top : top + height, left : left + width]
        upside_down, mirrored = matrix[1, 1] < 0, matrix[0, 0] < 0
        if (height, width) == self.size:
            _flip(part, out, upside_down, mirrored)
        else:
            resize(part, out, self.interpolation)
            if upside_down or mirrored:
                _flip(out.copy(), out, upside_down, mirrored)

    def _window(self, matrix: NDArray) -> tuple[int, int, int, int] | None:
        """Return the whole pixels (top, left, height, width) that are shown, if that is all there is."""
        (xx, xy, x), (yx, yy, y) = matrix.tolist()
        rows, columns = self.size
        if abs(xy) * rows > _EXACT or abs(yx) * columns > _EXACT:
            return None
        # From the outer edge of the first pixel to that of the last, whichever of them is left.
        left, right = sorted((x - 0.5 * xx, x + (columns - 0.5) * xx))
        top, bottom = sorted((y - 0.5 * yy, y + (rows - 0.5) * yy))
        left, right, top, bottom = (edge + 0.5 for edge in (left, right, top, bottom))
        height, width = self.base
        if left < -_EXACT or top < -_EXACT or right > width + _EXACT or bottom > height + _EXACT:
            return None
        first_row, first_column = min(round(top), height - 1), min(round(left), width - 1)
        return (
            first_row, first_column, max(round(bottom) - first_row, 1), max(round(right) - first_column, 1),
        )  # fmt: skip

    def _warp(self, image: NDArray, matrix: NDArray, out: NDArray) -> None:
        image, matrix = _reduced(image, matrix)
        flags = cv2.WARP_INVERSE_MAP
        flags |= cv2.INTER_NEAREST if self.interpolation == "nearest" else cv2.INTER_LINEAR
        warp = partial(
            cv2.warpAffine,
            M=matrix,
            dsize=(self.size[1], self.size[0]),
            flags=flags,
            borderMode=_BORDERS[self.fill],
            borderValue=(self.fill_value,) * _CHANNELS,
        )
        channels = out.shape[2]
        if channels == 3 and out.dtype == np.uint8 and self.interpolation != "nearest":
            # The same bytes, in two thirds of the time: four channels fill a vector register.
            cv2.cvtColor(warp(cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)), cv2.COLOR_RGBA2RGB, dst=out)
            return
        for first in range(0, channels, _CHANNELS):
            some = slice(first, first + _CHANNELS)
            part = image if channels <= _CHANNELS else np.ascontiguousarray(image[:, :, some])
            warped = warp(part)
            out[:, :, some] = warped if warped.ndim == 3 else warped[:, :, None]


def _reduced(image: NDArray, matrix: NDArray) -> tuple[NDArray, NDArray]:
    """Return an image small enough that no pixel is skipped, and the matrix for it."""
    factor = int(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if factor < 2:
        return image, matrix
    height, width = (max(side // factor, 1) for side in image.shape[:2])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    small = small if small.ndim == 3 else small[:, :, None]
    by_columns, by_rows = width / image.shape[1], height / image.shape[0]
    scale = np.array([[by_columns], [by_rows]])
    shrunk = matrix * scale
    # The centre of the first pixel moves.
    shrunk[:, 2] += 0.5 * scale[:, 0] - 0.5
    return small, shrunk


def _flip(image: NDArray, out: NDArray, upside_down: bool, mirrored: bool) -> None:
    if not upside_down and not mirrored:
        out[...] = image
        return
    code = -1 if upside_down and mirrored else 0 if upside_down else 1
    target: Any = out[:, :, 0] if out.shape[2] == 1 else out
    cv2.flip(image, code, dst=target)
