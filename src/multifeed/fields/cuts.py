"""Where the voxels of a sample lie in a volume: turned, resampled, and cut out of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from multifeed.errors import BadValue
from multifeed.fields.nifti import orientation_of
from multifeed.fields.resample import Span
from multifeed.fields.rows import NDArray
from multifeed.fields.voxels import Box, Stored

Size = tuple[int, int, int]

# Voxels by which an axis may be longer or shorter than it is wanted.
_NOTHING = 0.01


@dataclass(frozen=True)
class Axis:
    """One of the three axes of an oriented volume.

    Args:
        stored: The stored axis that it is.
        is_back: Whether it runs the other way.
        found: Voxels of that axis.
        count: Voxels once it is resampled.
        step: From one of those to the next, in voxels as they are found.
    """

    stored: int
    is_back: bool
    found: int
    count: int
    step: float

    def spaced(self, own: float, wanted: float) -> Axis:
        """Return it resampled, given the size of its voxels, and that which is wanted, in mm."""
        step = wanted / own
        # Sizes are rounded in headers; what that comes to over a whole volume is not worth the blur.
        if abs(step - 1) * self.found < _NOTHING:
            return self
        count = max(1, math.floor(self.found / step + 0.5))
        return replace(self, count=count, step=step)


def axes_of(
    stored: Stored, orientation: str | None, spacing: tuple[float, float, float] | None
) -> list[Axis]:
    """Return the three axes that a volume has, oriented and resampled.

    Args:
        stored: What its header says.
        orientation: Where the axes lead to, such as ``"RAS"``; None to leave them as they are.
        spacing: Size of a voxel along them in mm; None to leave it as it is.

    Raises:
        BadValue: If it does not say what its voxels' size is, and should.
    """
    turned = [(0, False), (1, False), (2, False)]
    if orientation is not None and stored.affine is not None:
        turned = orientation_of(stored.affine, orientation)
    axes = [Axis(axis, back, stored.shape[axis], stored.shape[axis], 1.0) for axis, back in turned]
    if spacing is None:
        return axes
    own = stored.spacing
    if own is None:
        raise BadValue(
            "is an array, which does not say what the size of its voxels is, where spacing= wants one",
            "Leave spacing out for arrays that have it already, or save NIfTI files.",
        )
    return [axis.spaced(own[axis.stored], wanted) for axis, wanted in zip(axes, spacing, strict=True)]


@dataclass(frozen=True)
class Cut:
    """What of a volume becomes a sample.

    Args:
        axes: The axes of the volume.
        spans: Which of their voxels are wanted.
        starts: Where these begin in the sample, along the three axes.
    """

    axes: Sequence[Axis]
    spans: Sequence[Span]
    starts: Sequence[int]

    @property
    def places(self) -> tuple[slice, ...]:
        """Where the voxels stand in the sample."""
        return tuple(
            slice(start, start + span.stop - span.start)
            for start, span in zip(self.starts, self.spans, strict=True)
        )

    def box(self, interpolation: str) -> Box:
        """Return the box of the volume, as it is stored, that is needed."""
        box = [(0, 0)] * 3
        for axis, span in zip(self.axes, self.spans, strict=True):
            first, last = span.source(interpolation)
            # An axis that runs back begins with the last voxel that is stored.
            ends = (axis.found - last, axis.found - first) if axis.is_back else (first, last)
            box[axis.stored] = ends
        first_axis, second_axis, third_axis = box
        return first_axis, second_axis, third_axis

    def orient(self, values: NDArray) -> NDArray:
        """Return that box, ``[a, b, c, channels]`` as it is stored, with its axes turned: a view."""
        turned = values.transpose(*(axis.stored for axis in self.axes), 3)
        return turned[tuple(slice(None, None, -1 if axis.is_back else 1) for axis in self.axes)]


def resized(axes: Sequence[Axis], size: Size) -> Cut:
    """Return all of a volume, brought to a size."""
    spans = [Span.whole(axis.found, wanted) for axis, wanted in zip(axes, size, strict=True)]
    return Cut(axes, spans, (0, 0, 0))


def cut_out(axes: Sequence[Axis], size: Size, corner: Sequence[int] | None) -> Cut:
    """Return what a box of a size has of a volume.

    Args:
        axes: The axes of the volume.
        size: Voxels of the box.
        corner: Its first voxel; None for a box around the middle of the volume.

    Raises:
        BadValue: If it has nothing of it.
    """
    if corner is None:
        corner = [(axis.count - wanted) // 2 for axis, wanted in zip(axes, size, strict=True)]
    inside = [
        (max(start, 0), min(start + wanted, axis.count))
        for axis, start, wanted in zip(axes, corner, size, strict=True)
    ]
    if any(start >= stop for start, stop in inside):
        counts = tuple(axis.count for axis in axes)
        raise BadValue(
            f"has {counts} voxels, outside of which lies the patch at {tuple(corner)}",
            "Correct the row: patches are counted in voxels of the volume, oriented and resampled.",
        )
    spans = [
        Span(axis.found, axis.count, axis.step, *ends) for axis, ends in zip(axes, inside, strict=True)
    ]
    starts = [span.start - start for span, start in zip(spans, corner, strict=True)]
    return Cut(axes, spans, starts)
