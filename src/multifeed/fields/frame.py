"""Frames: how an image as it was found lies in what is made of it. Knows nothing of fields.

All places are in pixels from the upper left corner of their image: the first pixel reaches from 0 to 1
and its centre is at 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from multifeed.fields.rows import NDArray

# (top, left, height, width) in pixels.
Window = tuple[float, float, float, float]


@dataclass(frozen=True)
class Frame:
    """How an image as it was found lies in what is made of it.

    Args:
        size: (height, width) of the image as it was found, upright, in pixels.
        matrix: ``float64[2, 3]``, takes a place (x, y, 1) in it to one in what is made of it.
    """

    size: tuple[int, int]
    matrix: NDArray

    @classmethod
    def whole(cls, size: tuple[int, int]) -> Frame:
        """Return the frame of an image that is taken as it is."""
        return cls(size, np.eye(2, 3))

    def then(self, matrix: NDArray) -> Frame:
        """Return the frame once another matrix, ``float64[2, 3]``, has moved what was made."""
        moved = matrix[:, :2] @ self.matrix
        moved[:, 2] += matrix[:, 2]
        return Frame(self.size, moved)


def between(window: Window, other: Window) -> NDArray:
    """Return the matrix, ``float64[2, 3]``, that takes a window of an image to one of another."""
    top, left, height, width = window
    to_top, to_left, to_height, to_width = other
    by_rows, by_columns = to_height / height, to_width / width
    return np.array(
        [[by_columns, 0.0, to_left - left * by_columns], [0.0, by_rows, to_top - top * by_rows]]
    )


def resizing(size: tuple[int, int], other: tuple[int, int]) -> NDArray:
    """Return the matrix, ``float64[2, 3]``, of an image that is resized from a size to another."""
    return between((0, 0, *size), (0, 0, *other))
