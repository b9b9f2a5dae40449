"""Voxels in files: how a volume lies in its file, and reading some of it. Knows nothing of formats."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from multifeed.errors import BadValue
from multifeed.fields.rows import NDArray
from multifeed.files import REPLACE, File

# Of the three axes as they are stored: the first voxel, and the one after the last.
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Stored:
    """What the header of a volume says.

    Args:
        shape: Voxels along its three axes.
        channels: Numbers a voxel.
        dtype: Of those numbers as they are stored.
        affine: ``float64[4, 4]``, takes a voxel's indices to millimetres towards the right, the front
            and the top of the body (RAS); None if the file does not say it.
        slope: Multiplied with what is stored.
        intercept: Added to that.
    """

    shape: tuple[int, int, int]
    channels: int
    dtype: np.dtype[Any]
    affine: NDArray | None = None
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def whole(self) -> Box:
        """All of it."""
        first, second, third = self.shape
        return (0, first), (0, second), (0, third)

    @property
    def spacing(self) -> tuple[float, float, float] | None:
        """From one voxel to the next along its axes, in mm; None if the file does not say it."""
        if self.affine is None:
            return None
        first, second, third = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0)).tolist()
        return first, second, third

    def refuse_more(self, most_bytes: int, box: Box) -> None:
        """Raise if a box of it has more bytes."""
        voxels = math.prod(stop - start for start, stop in box)
        claim = voxels * self.channels * self.dtype.itemsize
        if claim > most_bytes:
            shape = " x ".join(map(str, (*self.shape, self.channels)))
            raise BadValue(
                f"claims too many voxels ({shape} of {self.dtype}, {claim:,} bytes to be read where "
                f"{most_bytes:,} are the limit)",
                "Cut the volume into smaller ones, leave the row out with data.select, or pass a larger "
                "max_bytes.",
            )


def checked_affine(affine: NDArray) -> NDArray:
    """Return an affine, ``float64[4, 4]``, that can place a volume.

    Raises:
        BadValue: If it cannot: it has a NaN, or axes of no length or direction.
    """
    found = np.asarray(affine, np.float64)
    lengths = np.sqrt((found[:3, :3] ** 2).sum(axis=0))
    # Millimetres. What is beyond them is no body, and its products would overflow.
    is_sound = np.isfinite(found).all() and (lengths > 1e-6).all() and (lengths < 1e6).all()
    if not is_sound or abs(np.linalg.det(found[:3, :3] / lengths)) < 1e-3:
        raise BadValue(
            "has a damaged header: its voxels have no size, or its axes no direction of their own",
            REPLACE,
        )
    return found


class Voxels(ABC):
    """A volume that has been loaded, wholly or the box of it that is needed."""

    stored: Stored

    @abstractmethod
    def read(self, box: Box) -> NDArray:
        """Return a box as it is stored, ``[a, b, c, channels]``; it may be read-only."""


@dataclass(frozen=True)
class Lying:
    """A volume whose numbers lie in a file one after the other.

    Args:
        stored: What its header says.
        start: The byte where they begin.
        order: Its axes from the fastest to the slowest; 3 is that of channels.
    """

    stored: Stored
    start: int
    order: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Its length along all four axes."""
        return (*self.stored.shape, self.stored.channels)

    @property
    def nbytes(self) -> int:
        """How many bytes its numbers take."""
        return math.prod(self.shape) * self.stored.dtype.itemsize

    def view(self, data: bytes) -> NDArray:
        """Return all of it, ``[a, b, c, channels]``, without a copy; it is read-only.

        Args:
            data: The bytes of the file, unpacked.

        Raises:
            BadValue: If they are too few.
        """
        self._refuse_short(len(data))
        flat = np.frombuffer(data, self.stored.dtype, math.prod(self.shape), self.start)
        return self._arranged(flat, self.order, [self.shape[axis] for axis in self.order])

    def read(self, file: File, box: Box) -> Piece:
        """Read a box of it, and no more than whole rows of that.

        Raises:
            BadValue: If the file lacks any of the volume, be it in the box or not.
        """
        self._refuse_short(file.size)
        strides, stride = {}, self.stored.dtype.itemsize
        for axis in self.order:
            strides[axis] = stride
            stride *= self.shape[axis]
        ranges = {**dict(enumerate(box)), 3: (0, self.stored.channels)}
        # Of an axis that is nothing but 1 long, nothing need be known.
        axes = [axis for axis in self.order if self.shape[axis] > 1] or [self.order[0]]
        # A row is read as a whole: that is quicker than to ask for pieces of it.
        row = next(place for place, axis in enumerate(axes) if axis != 3 or len(axes) == 1)
        ranges[axes[row]] = 0, self.shape[axes[row]]
        run = 0
        while run < len(axes) - 1 and ranges[axes[run]] == (0, self.shape[axes[run]]):
            run += 1
        start, stop = ranges[axes[run]]
        first = self.start + start * strides[axes[run]]
        count = (stop - start) * strides[axes[run]]
        outer = axes[run + 1 :][::-1]
        pieces = file.read_many(
            [
                (first + sum(at * strides[axis] for axis, at in zip(outer, ats, strict=True)), count)
                for ats in product(*(range(*ranges[axis]) for axis in outer))
            ]
        )
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        lengths = [ranges[axis][1] - ranges[axis][0] for axis in self.order]
        found = self._arranged(np.frombuffer(data, self.stored.dtype), self.order, lengths)
        return Piece(self.stored, (ranges[0], ranges[1], ranges[2]), found)

    def _refuse_short(self, size: int) -> None:
        """Raise if a file of a size, in bytes, is too short."""
        if size < self.start + self.nbytes:
            raise BadValue(
                f"is damaged: {max(0, size - self.start):,} bytes of data do not make "
                f"{self.stored.dtype} of shape {self.shape}",
                REPLACE,
            )

    @staticmethod
    def _arranged(flat: NDArray, order: tuple[int, ...], lengths: Sequence[int]) -> NDArray:
        """Return numbers that lie in an order of axes, ``[a, b, c, channels]``."""
        lies = flat.reshape(lengths[::-1])
        places = [len(order) - 1 - order.index(axis) for axis in range(4)]
        return lies.transpose(places)


class Whole(Voxels):
    """A volume of which all numbers are there.

    Args:
        stored: What its header says.
        values: ``[a, b, c, channels]``.
    """

    def __init__(self, stored: Stored, values: NDArray) -> None:
        self.stored, self._values = stored, values

    def read(self, box: Box) -> NDArray:
        return self._values[tuple(slice(*each) for each in box)]


class Piece(Voxels):
    """A volume of which a box is there, in which lies what is needed.

    Args:
        stored: What its header says.
        box: That box.
        values: ``[a, b, c, channels]``, the box.
    """

    def __init__(self, stored: Stored, box: Box, values: NDArray) -> None:
        self.stored, self._box, self._values = stored, box, values

    def read(self, box: Box) -> NDArray:
        cut = (
            slice(start - first, stop - first)
            for (start, stop), (first, _) in zip(box, self._box, strict=True)
        )
        return self._values[tuple(cut)]
