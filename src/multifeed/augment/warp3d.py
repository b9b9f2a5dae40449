"""Warping of volumes: from a base volume into a batch by one matrix, on the cheapest path that will do.

Whole voxels, mirrored or turned by quarters, are copied. All else is interpolated from a part of the
base volume, as far as it is shown, which gets a border of one voxel: places are folded into that by the
rule of the fill, so that nothing further knows of edges. OpenCV knows no volumes. But between two slices
a volume is two images; and slices stand below each other in memory, so that a part of a slice of the
output, whose places lie in several slices, is one remapping of a tall image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from multifeed.augment.base import NDArray, Size, settle
from multifeed.errors import DeclarationError
from multifeed.fields.scratch import Scratch

# Numbers of channels that OpenCV remaps without rounding places to 1/32 of a pixel.
_CHANNELS = (1, 3, 4)
# OpenCV remaps images of fewer than 32,767 pixels along an axis, and float32 tells places in one of half
# as many to 1/1024 of a pixel.
_MOST_ROWS = 16_384
# With both slices of a place and a border, three slices must be fewer than OpenCV's.
MAX_SIDE = 10_000
# Voxels along a side of what is worked out at once, so that its places stay in the processor's caches.
_TILE = 128
# Places that differ by less than this share of a voxel are one.
_EXACT = 1e-6


@dataclass(frozen=True)
class Warp3D:
    """How one field's base volumes become its outputs.

    Args:
        base: Size of the base volumes.
        size: Size of the outputs.
        interpolation: ``"bilinear"``, which is linear along all three axes, or ``"nearest"``.
        fill: What stands where the base volume does not reach; see `RandomAffine3D`.
        fill_value: A number for all channels.

    Raises:
        DeclarationError: If slices are too large.
    """

    base: Size
    size: Size
    interpolation: str = "bilinear"
    fill: str = "nearest"
    fill_value: float = 0.0

    def __post_init__(self) -> None:
        if max(*self.base[1:], *self.size[1:]) > MAX_SIDE:
            raise DeclarationError(
                f"volumes that are moved are at most {MAX_SIDE:,} voxels high and wide; received "
                f"{self.base} for the base volume, and {self.size} for what becomes of it."
            )

    def pixels(self, matrices: NDArray) -> NDArray:
        """Return matrices from a voxel of the output to one of the base volume, ``[slots, 3, 4]``.

        Args:
            matrices: ``float64[slots, 4, 4]`` in relative places.
        """
        base, size = np.array(self.base), np.array(self.size)
        # The centre of voxel i of n is at (i + 0.5) / n - 0.5.
        here, there = np.diag([*1 / size, 1.0]), np.diag([*base, 1.0])
        here[:3, 3], there[:3, 3] = 0.5 / size - 0.5, 0.5 * base - 0.5
        voxels: NDArray = (there @ matrices @ here)[:, :3]
        # Where nothing is interpolated, matrices are whole but for the last bits of their numbers.
        whole = np.rint(voxels)
        is_whole = np.abs(voxels - whole) * np.append(size, 1) < _EXACT
        voxels[is_whole] = whole[is_whole]
        return voxels

    def moves(self, pixels: NDArray) -> list[NDArray]:
        """Return what is done for some slots: their matrices, ``float64[3, 4]``.

        Args:
            pixels: ``float64[slots, 3, 4]``, as `pixels` returns them.
        """
        return list(pixels)

    def apply(self, volume: NDArray, matrix: NDArray, out: NDArray) -> None:
        """Warp one base volume, ``[depth, height, width, channels]``, into `out`.

        Args:
            volume: The base volume, of one of `warp.DTYPES`.
            matrix: One of `moves`.
            out: ``[*size, channels]`` of the same dtype.
        """
        copied = self._copied(volume, matrix)
        if copied is not None:
            out[...] = copied
        elif self.interpolation == "nearest":
            part, matrix = self._part(volume, matrix)
            _take_nearest(self._bordered(part, volume.dtype.name), matrix, self.fill, out)
        elif out.shape[3] in _CHANNELS:
            self._interpolate(volume, matrix, out)
        else:
            for channel in range(out.shape[3]):
                one = slice(channel, channel + 1)
                self._interpolate(volume[..., one], matrix, out[..., one])

    def _copied(self, volume: NDArray, matrix: NDArray) -> NDArray | None:
        """Return a view of whole voxels, mirrored or turned, if that is all that is shown."""
        linear, first = matrix[:, :3].astype(int), matrix[:, 3].astype(int)
        steps = np.abs(linear)
        if (linear != matrix[:, :3]).any() or (first != matrix[:, 3]).any():
            return None
        if (steps.sum(0) != 1).any() or (steps.sum(1) != 1).any():
            return None
        last = first + linear @ (np.array(self.size) - 1)
        if min(first.min(), last.min()) < 0 or (np.maximum(first, last) >= self.base).any():
            return None
        window = tuple(
            slice(start, stop + 1) if start <= stop else slice(start, stop - 1 if stop else None, -1)
            for start, stop in zip(first.tolist(), last.tolist(), strict=True)
        )
        # The axis of the base volume that each axis of the output runs along.
        return volume[window].transpose(*steps.argmax(0).tolist(), 3)

    def _part(self, volume: NDArray, matrix: NDArray) -> tuple[NDArray, NDArray]:
        """Return the part of a volume that is shown, and the matrix for it."""
        linear, first = matrix[:, :3], matrix[:, 3]
        far = np.array(self.size) - 1
        # With a voxel more on each side, since places are rounded; or as many as become one.
        margin = np.ceil(np.maximum(np.linalg.norm(linear, axis=1), 1)).astype(int)
        low = np.floor(first + np.minimum(linear, 0) @ far).astype(int) - margin
        high = np.ceil(first + np.maximum(linear, 0) @ far).astype(int) + 1 + margin
        base = np.array(self.base)
        if self.fill in ("reflect", "wrap"):
            # What is beyond one edge may come from the other.
            outside = (low < 0) | (high > base)
            low, high = np.where(outside, 0, low), np.where(outside, base, high)
        low = np.clip(low, 0, base - 1)
        high = np.clip(high, low + 1, base)
        moved = matrix.copy()
        moved[:, 3] -= low
        window = tuple(map(slice, low.tolist(), high.tolist()))
        return volume[window], moved

    def _bordered(self, part: NDArray, dtype: str) -> NDArray:
        """Return a copy of a part with a border of one voxel, in memory of this thread."""
        depth, height, width, channels = part.shape
        whole = _own.array("bordered", (depth + 2, height + 2, width + 2, channels), dtype)
        whole[1:-1, 1:-1, 1:-1] = part
        # Each axis with the borders of those before it.
        for axis in range(3):
            along = np.moveaxis(whole, axis, 0)
            if self.fill == "constant":
                along[0] = along[-1] = self.fill_value
            elif self.fill == "wrap":
                along[0], along[-1] = along[-2], along[1]
            else:
                along[0], along[-1] = along[1], along[-2]
        return whole

    def _interpolate(self, volume: NDArray, matrix: NDArray, out: NDArray) -> None:
        """Warp a volume of a number of channels that OpenCV knows."""
        part, matrix = _reduced(*self._part(volume, matrix))
        bordered = self._bordered(part, "float32")
        if bordered.shape[3] == 1:
            # OpenCV gives an image of a single channel no axis of channels.
            bordered = bordered[..., 0]
        if (matrix[0, 1:3] == 0).all() and (matrix[1:, 0] == 0).all():
            _by_slices(bordered, matrix, self.fill, out)
        else:
            _across_slices(bordered, matrix, self.fill, out)


_own = Scratch()


def _by_slices(bordered: NDArray, matrix: NDArray, fill: str, out: NDArray) -> None:
    """Interpolate where depth is not mixed with height and width: slices are images of their own.

    Args:
        bordered: ``float32[depth + 2, height + 2, width + 2]``, or with channels as a last axis.
        matrix: ``float64[3, 4]`` for the volume without its border.
        fill: One of `FILLS`.
        out: ``[*size, channels]``.
    """
    depth, rows, columns, _ = out.shape
    levels = matrix[0, 3] + matrix[0, 0] * np.arange(depth) + 1
    _fold(levels, bordered.shape[0] - 2, fill)
    y, x = _own_arrays((rows, columns), "y", "x")
    for axis, places in ((1, y), (2, x)):
        grid = _Grid.of(matrix[axis], bordered.shape[axis] - 2, fill, (0, 0), places)
        grid.write(0, places)
    shape = (rows, columns, *bordered.shape[3:])
    blended = _own.array("blended", bordered.shape[1:], "float32")
    values = _own.array("one", shape, "float32")
    for number, level in enumerate(levels.tolist()):
        above = min(int(level), bordered.shape[0] - 2)
        share = level - above
        image = bordered[above]
        if share:
            cv2.addWeighted(image, 1 - share, bordered[above + 1], share, 0, dst=blended)
            image = blended
        cv2.remap(image, x, y, cv2.INTER_LINEAR, dst=values, borderMode=cv2.BORDER_REPLICATE)
        settle(values.reshape(out.shape[1:]), out[number])


def _across_slices(bordered: NDArray, matrix: NDArray, fill: str, out: NDArray) -> None:
    """Interpolate anything; arguments are those of `_by_slices`."""
    depth, height, width = (side - 2 for side in bordered.shape[:3])
    # Slices below each other, as they lie in memory.
    tall = bordered.reshape(-1, *bordered.shape[2:])
    rows = height + 2
    for window in _tiles(matrix, rows, out):
        shape = window[0].stop - window[0].start, window[1].stop - window[1].start
        z, y, x, above = _own_arrays(shape, "z", "y", "x", "above")
        one, other = _own_arrays((*shape, *bordered.shape[3:]), "one", "other")
        corner = window[0].start, window[1].start
        grids = _grids(matrix, (depth, height, width), fill, corner, (z, y, x))
        for number in range(out.shape[0]):
            for grid, places in zip(grids, (z, y, x), strict=True):
                grid.write(number, places)
            np.minimum(np.floor(z, out=above), depth, out=above)
            z -= above
            first, last = int(above.min()), int(above.max())
            above -= first
            above *= rows
            y += above
            for values, start in ((one, first), (other, first + 1)):
                stack = tall[start * rows : (start + last - first + 1) * rows]
                cv2.remap(stack, x, y, cv2.INTER_LINEAR, dst=values, borderMode=cv2.BORDER_REPLICATE)
            other -= one
            other *= z if other.ndim == 2 else z[..., None]
            one += other
            target = out[number][window]
            settle(one.reshape(target.shape), target)


def _take_nearest(bordered: NDArray, matrix: NDArray, fill: str, out: NDArray) -> None:
    """Take the nearest voxel of each place; arguments are those of `_by_slices`, of any dtype."""
    depth, height, width = (side - 2 for side in bordered.shape[:3])
    voxels = bordered.reshape(-1, bordered.shape[3])
    z, y, x = _own_arrays(out.shape[1:3], "z", "y", "x", dtype="float64")
    grids = _grids(matrix, (depth, height, width), fill, (0, 0), (z, y, x))
    for number in range(out.shape[0]):
        for grid, places in zip(grids, (z, y, x), strict=True):
            grid.write(number, places)
            places += 0.5
            np.floor(places, out=places)
            # Half a voxel beyond the border is still of the border.
            np.minimum(places, grid.side + 1, out=places)
        z *= height + 2
        z += y
        z *= width + 2
        z += x
        voxels.take(z.astype(np.intp), axis=0, out=out[number], mode="clip")


@dataclass(frozen=True)
class _Grid:
    """Where the voxels of a part of each slice come from along one axis, border included.

    Args:
        first: ``float[rows, columns]``, the places of the first slice.
        step: How far the next slice is.
        side: Voxels along that axis, without the border.
        fill: One of `FILLS`.
        low: The least of `first`.
        high: The most of them.
    """

    first: NDArray
    step: float
    side: int
    fill: str
    low: float
    high: float

    @classmethod
    def of(cls, row: NDArray, side: int, fill: str, corner: tuple[int, int], like: NDArray) -> _Grid:
        """Return the grid of a row of a matrix, ``float64[4]``.

        Args:
            row: The row.
            side: Voxels along its axis.
            fill: One of `FILLS`.
            corner: (row, column) of the part's first voxel.
            like: An array of the part's shape, and of the dtype for places.
        """
        down = row[3] + row[1] * (corner[0] + np.arange(like.shape[0])) + 1
        across = row[2] * (corner[1] + np.arange(like.shape[1]))
        first = (down[:, None] + across).astype(like.dtype)
        return cls(first, float(row[0]), side, fill, float(first.min()), float(first.max()))

    def write(self, number: int, out: NDArray) -> None:
        """Write the places of a slice."""
        far = self.step * number
        np.add(self.first, far, out=out)
        if self.low + far < 1 or self.high + far > self.side:
            _fold(out, self.side, self.fill)


def _grids(
    matrix: NDArray,
    sides: tuple[int, ...],
    fill: str,
    corner: tuple[int, int],
    like: tuple[NDArray, ...],
) -> list[_Grid]:
    """Return the grids of all three axes; see `_Grid.of`."""
    rows = zip(matrix, sides, like, strict=True)
    return [_Grid.of(row, side, fill, corner, places) for row, side, places in rows]


def _fold(places: NDArray, side: int, fill: str) -> None:
    """Bring places along an axis to where their values are, from 0 to side + 1, in place.

    The volume's own voxels are at 1 to `side`, those of the border at 0 and at side + 1.
    """
    if fill == "reflect":
        # Mirrored at the edges, which are at 0.5 and side + 0.5.
        places -= 0.5
        _wrap(places, 2 * side)
        np.subtract(side + 0.5, np.abs(places - side), out=places)
    elif fill == "wrap":
        places -= 1
        _wrap(places, side)
        places += 1
    else:
        np.clip(places, 0, side + 1, out=places)


def _wrap(places: NDArray, period: int) -> None:
    """Bring places to between 0 and a period, in place; NumPy's remainder takes five times as long."""
    turns = places / period
    np.floor(turns, out=turns)
    turns *= period
    places -= turns


def _tiles(matrix: NDArray, rows: int, out: NDArray) -> Iterator[tuple[slice, slice]]:
    """Yield windows of a slice of the output whose places lie in few slices of the base volume.

    Args:
        matrix: ``float64[3, 4]``.
        rows: Rows of a slice of the base volume.
        out: ``[*size, channels]``.
    """
    # Slices from one voxel of the output to the next one below and beside it.
    steps = float(np.abs(matrix[0, 1:3]).sum())
    slices = max(_MOST_ROWS // rows - 2, 1)
    side = max(min(_TILE, int(slices / max(steps, slices / _TILE))), 1)
    for top in range(0, out.shape[1], side):
        for left in range(0, out.shape[2], side):
            yield (
                slice(top, min(top + side, out.shape[1])),
                slice(left, min(left + side, out.shape[2])),
            )


def _reduced(volume: NDArray, matrix: NDArray) -> tuple[NDArray, NDArray]:
    """Return a volume small enough that no voxel is skipped, and the matrix for it."""
    # How far a step in the output leads along each axis of the volume.
    by = np.maximum((np.linalg.norm(matrix[:, :3], axis=1) + _EXACT).astype(int), 1)
    times = abs(np.linalg.det(matrix[:, :3])) + _EXACT
    if by.prod() > times:
        # Long voxels that are turned: what a step passes by, others of their slice come to.
        by[:] = max(int(np.cbrt(times)), 1)
    if (by == 1).all():
        return volume, matrix
    sides = np.array(volume.shape[:3])
    less = np.maximum(sides // by, 1)
    small = volume.astype(np.float32)
    for axis, side in enumerate(less.tolist()):
        small = _averaged(small, axis, side)
    scale = less / sides
    shrunk = matrix * scale[:, None]
    # The centre of the first voxel moves.
    shrunk[:, 3] += 0.5 * scale - 0.5
    return small, shrunk


def _averaged(volume: NDArray, axis: int, side: int) -> NDArray:
    """Return a volume of another length along an axis, averaged over what becomes one voxel."""
    shape = *volume.shape[:axis], side, *volume.shape[axis + 1 :]
    if shape == volume.shape:
        return volume
    if axis == 2:
        # All rows of all slices at once.
        image = volume.reshape(-1, *volume.shape[2:])
        small = cv2.resize(image, (side, len(image)), interpolation=cv2.INTER_AREA)
        return small.reshape(shape)
    images = volume.reshape(math.prod(volume.shape[:axis]), volume.shape[axis], -1)
    size = images.shape[2], side
    stacked = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in images]
    return np.stack(stacked).reshape(shape)


def _own_arrays(shape: tuple[int, ...], *uses: str, dtype: str = "float32") -> list[NDArray]:
    """Return arrays of one shape for some uses, in memory of this thread."""
    return [_own.array(use, shape, dtype) for use in uses]
