"""Resampling volumes, axis by axis. Knows nothing of fields."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from multifeed.fields.rows import NDArray
from multifeed.fields.scratch import Scratch

# Voxels along the slowest two axes that are turned at a time: what they touch stays in the cache.
_BLOCK = 32


@dataclass(frozen=True)
class Span:
    """Some voxels of an axis that is resampled; the new axis and the old one have the same middle.

    Args:
        found: Voxels of the old axis.
        count: Voxels of the new axis.
        step: From one voxel of the new axis to the next, in voxels of the old one.
        start: The first voxel of the new axis that is wanted.
        stop: The one after the last.
    """

    found: int
    count: int
    step: float
    start: int
    stop: int

    @classmethod
    def whole(cls, found: int, count: int) -> Span:
        """Return all voxels of an axis that is resampled to a number of voxels."""
        return cls(found, count, found / count, 0, count)

    @property
    def is_resampled(self) -> bool:
        """Whether the axes differ."""
        return self.step != 1

    def source(self, interpolation: str) -> tuple[int, int]:
        """Return the first voxel of the old axis that is needed, and the one after the last."""
        if not self.is_resampled:
            return self.start, self.stop
        if interpolation == "nearest":
            return self._nearest(self.start), self._nearest(self.stop - 1) + 1
        (first, _), (last, weights) = self._mixed(self.start), self._mixed(self.stop - 1)
        return first, last + len(weights)

    def nearest(self) -> NDArray:
        """Return the voxel of the old axis under each centre, ``int64[stop - start]``."""
        places = [self._nearest(place) for place in range(self.start, self.stop)]
        return np.array(places, np.int64)

    def mixed(self) -> Iterator[tuple[int, list[float]]]:
        """Yield for each voxel what it is mixed of: the first voxel of the old axis, and the weights."""
        return map(self._mixed, range(self.start, self.stop))

    def _nearest(self, place: int) -> int:
        return min(max(math.floor(self._at(place + 0.5)), 0), self.found - 1)

    def _mixed(self, place: int) -> tuple[int, list[float]]:
        if self.step < 1:
            centre = min(max(self._at(place + 0.5) - 0.5, 0.0), self.found - 1.0)
            first = min(int(centre), max(self.found - 2, 0))
            return first, [1 - (centre - first), centre - first][: self.found]
        low, high = max(self._at(place), 0.0), min(self._at(place + 1), float(self.found))
        first, last = math.floor(low), math.ceil(high)
        edges = np.clip(np.arange(first, last + 1), low, high)
        return first, (np.diff(edges) / (high - low)).tolist()

    def _at(self, place: float) -> float:
        """Return where a place of the new axis is on the old one, both counted from their beginnings."""
        # Rounded, for edges that fall onto edges shall do so.
        return round((place - self.count / 2) * self.step + self.found / 2, 6)


def resample(values: NDArray, spans: Sequence[Span], out: NDArray, interpolation: str) -> None:
    """Resample a volume.

    ``"nearest"`` takes the voxel under each centre. ``"bilinear"`` interpolates along an axis that
    grows, between the nearest two voxels, and averages along one that shrinks, over what each new voxel
    covers.

    Args:
        values: ``[a, b, c, channels]``, those voxels that the spans need as their source; any numbers,
            in any order in memory.
        spans: What is wanted of the three axes.
        out: ``[a, b, c, channels]``, where it is written.
        interpolation: ``"bilinear"`` or ``"nearest"``.
    """
    is_nearest = interpolation == "nearest"
    for channel in range(out.shape[3]):
        some, target = values[..., channel], out[..., channel]
        if not any(span.is_resampled for span in spans):
            copy(some, target)
        elif is_nearest:
            copy(_picked(some, spans), target)
        else:
            _mix(some, spans, target)


def copy(values: NDArray, out: NDArray) -> None:
    """Copy ``[a, b, c]`` to an array of the same shape that may lie in another order in memory.

    Raises:
        FloatingPointError: If a number is too large for the dtype of `out`.
    """
    with np.errstate(over="raise", invalid="ignore"):
        if _slowest_first(values) == _slowest_first(out):
            np.copyto(out, values, casting="unsafe")
            return
        for at in range(0, out.shape[0], _BLOCK):
            for beside in range(0, out.shape[1], _BLOCK):
                part = slice(at, at + _BLOCK), slice(beside, beside + _BLOCK)
                np.copyto(out[part], values[part], casting="unsafe")


def _picked(values: NDArray, spans: Sequence[Span]) -> NDArray:
    """Return the nearest voxels."""
    order = _slowest_first(values)
    # As they lie, so that rows are copied; the slowest axis first, so that whole slices are left out.
    work = values.transpose(order)
    for place, axis in enumerate(order):
        span = spans[axis]
        if span.is_resampled:
            work = work.take(span.nearest() - span.source("nearest")[0], place)
    return work.transpose([order.index(axis) for axis in range(3)])


def _mix(values: NDArray, spans: Sequence[Span], out: NDArray) -> None:
    """Write the mixtures of voxels."""
    order = _slowest_first(values)
    fastest = order[2]
    # OpenCV knows no integers of 8 or 64 bits, nor other byte orders; as float32 all goes one way.
    work = _own.array("plain", tuple(values.shape[axis] for axis in order), "float32")
    copy(values.transpose(order), work)
    # Those that shrink most first: what comes after has less to do.
    for axis in sorted(order[:2], key=lambda axis: -spans[axis].step):
        work = _mixed_along(order.index(axis), work, spans[axis])
    if spans[fastest].is_resampled:
        # Rows are mixed as wholes, so the fastest axis must become the slowest.
        rest = [axis for axis in range(3) if axis != fastest]
        turned = work.transpose([order.index(axis) for axis in (fastest, *rest)])
        order = [fastest, *rest]
        work = _own.array("turned", turned.shape, "float32")
        copy(turned, work)
        work = _mixed_along(0, work, spans[fastest])
    if out.dtype.kind in "iu":
        np.rint(work, out=work)
    copy(work.transpose([order.index(axis) for axis in range(3)]), out)


def _mixed_along(axis: int, values: NDArray, span: Span) -> NDArray:
    """Return ``float32[a, b, c]`` with the first or second axis resampled, in memory of this thread."""
    if not span.is_resampled:
        return values
    shape = [*values.shape]
    shape[axis] = span.stop - span.start
    mixed = _own.array(f"mixed along {axis}", tuple(shape), "float32")
    rows, targets = (each if axis == 0 else each.swapaxes(0, 1) for each in (values, mixed))
    begin, _ = span.source("bilinear")
    for target, (first, weights) in zip(targets, _mixtures(span), strict=True):
        first -= begin
        if len(weights) == 1:
            np.multiply(rows[first], np.float32(weights[0]), out=target)
            continue
        cv2.addWeighted(rows[first], weights[0], rows[first + 1], weights[1], 0, dst=target)
        for further, weight in enumerate(weights[2:], first + 2):
            cv2.scaleAdd(rows[further], weight, target, dst=target)
    return mixed


# The volumes of a dataset often have one size, and their weights are worked out in Python.
@lru_cache(maxsize=64)
def _mixtures(span: Span) -> tuple[tuple[int, list[float]], ...]:
    return tuple(span.mixed())


def _slowest_first(values: NDArray) -> list[int]:
    """Return the axes in the order in which they lie in memory."""
    return sorted(range(values.ndim), key=lambda axis: -abs(values.strides[axis]))


_own = Scratch()
