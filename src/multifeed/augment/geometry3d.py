"""Geometry of volumes: transforms that are one affine matrix of three axes per slot.

A matrix takes a place (depth, height, width, 1) in the output to the place that it comes from. Both are
relative to their volume's size, from -0.5 to 0.5 along each axis, as those of images are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np

from multifeed.augment.base import Draws, NDArray, Size, span
from multifeed.augment.draws import between
from multifeed.augment.geometry import Geometry, check_filling, check_held, magnification, room
from multifeed.errors import DeclarationError, lines
from multifeed.fields.shared import is_number
from multifeed.spec import Spec

AXES = ("depth", "height", "width")
# The plane in which a volume turns about each axis: down, and to the right.
_PLANES = ((1, 2), (0, 2), (0, 1))


@dataclass(frozen=True)
class Geometry3D(Geometry):
    """A transform that moves voxels."""

    axes: ClassVar[int] = 3

    def _check_shape(self, name: str, spec: Spec) -> None:
        if len(spec.shape) == 4:
            return
        remedy = "Name the fields that are volumes."
        if len(spec.shape) == 3:
            remedy = (
                f"A volume of one channel is declared with it, shape={(*spec.shape, 1)}; images are "
                "moved by mf.RandomAffine and others without 3D."
            )
        raise DeclarationError(
            lines(
                f"{type(self).__name__} moves the voxels of volumes, (depth, height, width, channels); "
                f"field {name!r} is {spec}.",
                remedy,
            )
        )


@dataclass(frozen=True)
class RandomAffine3D(Geometry3D):
    """Rotate, shift, zoom and flip volumes at random, all in one interpolation.

    The volume is rotated about its centre, about the depth, then the height, then the width; then it is
    shifted, zoomed and flipped. All named fields share each draw, in coordinates relative to their own
    sizes; in the planes in which they rotate, their sizes must have one aspect ratio.

    Between voxels it is interpolated linearly, in float32 whatever the dtype; of fields with
    ``interpolation="nearest"`` the nearest voxel is taken.

    Args:
        fields: The volume, or the volumes that move together: ``[depth, height, width, channels]``.
        rotation: Degrees: a number r for -r to r, or a pair (least, most); or three of these, about the
            axes of depth, height and width. ``(15, 0, 0)`` turns each slice by the same angle. Slices
            across the axis are seen to turn counter-clockwise.
        shift: Fraction of depth, height and width by which the volume moves: a number s for -s to s on
            all axes, or three.
        zoom: A number z for a magnification from 1 - z to 1 + z, or a pair (least, most). All axes are
            zoomed alike.
        flip: Axes along which it is mirrored, each with probability 0.5: ``"depth"``, ``"height"``,
            ``"width"`` or several of them; None for never.
        spacing: The lengths of a voxel's edges, along depth, height and width, in any unit: only their
            ratio counts. So that volumes of slices 3 mm apart rotate without distortion:
            ``(3, 1, 1)``.
        fill: What stands where the volume does not reach: ``"nearest"`` (its edge), ``"constant"``
            (`fill_value`), ``"reflect"`` (mirrored, dcba|abcd|dcba) or ``"wrap"`` (repeated).
        fill_value: A number for all channels.

    Raises:
        DeclarationError: If a range is the wrong way round, or an option is unknown.

    Example:
        >>> RandomAffine3D(["scan", "labels"], rotation=(15, 5, 5), zoom=0.1, flip="width").rotation
        ((-15.0, 15.0), (-5.0, 5.0), (-5.0, 5.0))
    """

    _: KW_ONLY
    rotation: Any = 0.0
    shift: float | Sequence[float] = 0.0
    zoom: float | Sequence[float] = 0.0
    flip: str | Sequence[str] | None = None
    spacing: Sequence[float] = (1.0, 1.0, 1.0)
    fill: str = "nearest"
    fill_value: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "rotation", _rotation(self.rotation))
        object.__setattr__(self, "shift", _shift(self.shift))
        object.__setattr__(self, "zoom", magnification(self.zoom))
        if self.flip is not None:
            object.__setattr__(self, "flip", _axes("flip", self.flip))
        object.__setattr__(self, "spacing", _spacing(self.spacing))
        check_filling(self.fill, self.fill_value)

    def check(self, name: str, spec: Spec) -> None:
        super().check(name, spec)
        check_held(self.filling, name, spec)

    @property
    def turns(self) -> Sequence[tuple[int, int]]:
        return [plane for plane, angles in zip(_PLANES, self.rotation, strict=True) if any(angles)]

    @property
    def filling(self) -> tuple[str, float]:
        return self.fill, self.fill_value

    @property
    def count(self) -> int:
        return 10

    def draw(self, numbers: NDArray) -> Draws:
        rotation, shift = numbers[:, :3], numbers[:, 3:6]
        angles = [
            between(numbers, *bounds) for numbers, bounds in zip(rotation.T, self.rotation, strict=True)
        ]
        return {
            "rotation": np.stack(angles, 1),
            "shift": between(shift, -1.0, 1.0) * self.shift,
            "zoom": between(numbers[:, 6], *self.zoom),  # type: ignore[misc]
            "flip": (numbers[:, 7:] < 0.5) & _among(self.flip or ()),
        }

    def matrices(self, draws: Draws, before: Size, after: Size) -> NDArray:
        # In units of length, in which a rotation keeps its angles.
        lengths = np.multiply(before, self.spacing)
        matrix = np.eye(4)
        for axis, angle in enumerate(np.deg2rad(draws["rotation"]).T):
            matrix = matrix @ _turn(axis, np.cos(angle), np.sin(angle))
        matrix = matrix @ _stretch(1.0, -draws["shift"] * lengths)
        matrix = matrix @ _stretch(1 / draws["zoom"][:, None])
        scale = np.append(lengths, 1.0)
        matrix = matrix * scale / scale[:, None]
        moved: NDArray = matrix @ _stretch(1.0 - 2.0 * draws["flip"])
        return moved


@dataclass(frozen=True)
class RandomFlip3D(Geometry3D):
    """Mirror volumes at random, along each axis with probability 0.5. No voxel is interpolated.

    Args:
        fields: The volume, or the volumes that are mirrored together.
        along: ``"depth"``, ``"height"``, ``"width"`` or several of them.

    Raises:
        DeclarationError: If an axis is unknown.

    Example:
        >>> RandomFlip3D("scan", along=("height", "width")).along
        ('height', 'width')
    """

    _: KW_ONLY
    along: str | Sequence[str] = "width"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "along", _axes("along", self.along))

    @property
    def count(self) -> int:
        return 3

    def draw(self, numbers: NDArray) -> Draws:
        return {"flip": (numbers < 0.5) & _among(self.along)}

    def matrices(self, draws: Draws, before: Size, after: Size) -> NDArray:
        return _stretch(1.0 - 2.0 * draws["flip"])


@dataclass(frozen=True)
class RandomTurn3D(Geometry3D):
    """Turn volumes at random by 0, 90, 180 or 270 degrees, each as likely. No voxel is interpolated.

    Args:
        fields: The volume, or the volumes that are turned together. The two axes of each plane in which
            they turn are of one length.
        about: The axes about which they turn, one after the other: ``"depth"``, ``"height"``,
            ``"width"`` or several of them. Slices across the axis are seen to turn counter-clockwise.

    Raises:
        DeclarationError: If an axis is unknown.

    Example:
        >>> RandomTurn3D(["scan", "labels"]).about
        ('depth',)
    """

    _: KW_ONLY
    about: str | Sequence[str] = "depth"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "about", _axes("about", self.about))

    @property
    def swaps(self) -> Sequence[tuple[int, int]]:
        return [plane for plane, axis in zip(_PLANES, AXES, strict=True) if axis in self.about]

    @property
    def count(self) -> int:
        return 3

    def draw(self, numbers: NDArray) -> Draws:
        return {"turns": np.floor(4 * numbers).astype(np.int64) * _among(self.about)}

    def matrices(self, draws: Draws, before: Size, after: Size) -> NDArray:
        # Exactly 0, 1 and -1, which cosines of multiples of 90 degrees are not.
        cosines, sines = np.array([1, 0, -1, 0]), np.array([0, 1, 0, -1])
        matrix = np.eye(4)
        for axis, turns in enumerate(draws["turns"].T):
            matrix = matrix @ _turn(axis, cosines[turns], sines[turns])
        return matrix


@dataclass(frozen=True)
class _Cut3D(Geometry3D):
    """What cuts a window out of the base volume, at its scale."""

    @property
    def cuts(self) -> bool:
        return True

    @property
    def crops(self) -> bool:
        return True


@dataclass(frozen=True)
class RandomCrop3D(_Cut3D):
    """Cut a window of the field's `size` out of its base volume, at a random place.

    Declare the volumes with a larger ``base_size``. No voxel is interpolated. Fields that share a crop
    show the same part; their sizes must be the same fraction of their base sizes.

    Args:
        fields: The volume, or the volumes that are cut together.

    Example:
        >>> RandomCrop3D("scan").crops
        True
    """

    @property
    def count(self) -> int:
        return 3

    def draw(self, numbers: NDArray) -> Draws:
        return {"place": numbers}

    def matrices(self, draws: Draws, before: Size, after: Size) -> NDArray:
        # Rounded, as `RandomCrop` is.
        return _cut(np.rint(draws["place"] * room(before, after)), before, after)


@dataclass(frozen=True)
class CenterCrop3D(_Cut3D):
    """Cut a window of the field's `size` out of the middle of its base volume. Nothing is random.

    Args:
        fields: The volume or volumes; declare them with a larger ``base_size``.

    Example:
        >>> CenterCrop3D("scan").count
        0
    """

    @property
    def count(self) -> int:
        return 0

    def draw(self, numbers: NDArray) -> Draws:
        return {"place": np.full((len(numbers), 3), 0.5)}

    def matrices(self, draws: Draws, before: Size, after: Size) -> NDArray:
        return _cut(np.floor(draws["place"] * room(before, after)), before, after)


def _stretch(factors: NDArray | float, offsets: NDArray | float = 0.0) -> NDArray:
    """Return the matrices that take each place to factor · place + offset, axis by axis.

    Args:
        factors: ``float64[slots, 3]``, or one for all.
        offsets: The same.
    """
    matrix = np.zeros((*np.broadcast_shapes(np.shape(factors), np.shape(offsets))[:-1], 4, 4))
    for axis in range(3):
        matrix[..., axis, axis] = np.broadcast_to(factors, (*matrix.shape[:-2], 3))[..., axis]
    matrix[..., :3, 3] = offsets
    matrix[..., 3, 3] = 1.0
    return matrix


def _turn(axis: int, cosines: NDArray, sines: NDArray) -> NDArray:
    """Return the rotations about an axis; what its slices show turns counter-clockwise."""
    down, right = _PLANES[axis]
    matrix = np.tile(np.eye(4), (len(cosines), 1, 1))
    matrix[:, down, down] = matrix[:, right, right] = cosines
    matrix[:, down, right], matrix[:, right, down] = sines, -sines
    return matrix


def _cut(corners: NDArray, before: Size, after: Size) -> NDArray:
    """Return the matrices that show a window of size `after`, given its first corner in voxels."""
    shares = np.divide(after, before)
    return _stretch(np.tile(shares, (len(corners), 1)), corners / before + shares / 2 - 0.5)


def _among(axes: Sequence[str]) -> NDArray:
    """Return whether each axis is one of some, ``bool[3]``."""
    return np.array([axis in axes for axis in AXES])


def _axes(what: str, value: str | Sequence[str]) -> tuple[str, ...]:
    """Return names of axes as a tuple."""
    given = (value,) if isinstance(value, str) else tuple(value)
    if not given or any(axis not in AXES for axis in given):
        raise DeclarationError(
            f"{what} names one or more of {', '.join(map(repr, AXES))}; received {value!r}."
        )
    return given


def _rotation(value: Any) -> tuple[tuple[float, float], ...]:
    """Return the bounds of the angle about each axis."""
    is_three = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 3
    return tuple(span("rotation", each) for each in (value if is_three else (value,) * 3))


def _shift(value: Any) -> tuple[float, ...]:
    """Return the most by which a volume moves, as fractions of depth, height and width."""
    given = _three(value)
    # A shift of ten volumes shows nothing of it; whoever writes it means voxels.
    if not given or not all(0 <= each < 10 for each in given):
        raise DeclarationError(
            lines(
                "shift is the fraction of depth, height and width by which the volume moves at most, or "
                f"three of them; received {value!r}.",
                "Write e.g. shift=0.1.",
            )
        )
    return given


def _spacing(value: Any) -> tuple[float, ...]:
    """Return the lengths of a voxel's edges."""
    given = _three(value) if isinstance(value, Sequence) else ()
    if not given or not all(0 < each < np.inf for each in given):
        raise DeclarationError(
            "spacing is three lengths above 0, of a voxel's edges along depth, height and width; "
            f"received {value!r}."
        )
    return given


def _three(value: Any) -> tuple[float, ...]:
    """Return three numbers, given these or one for all; () if it is neither."""
    given = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,) * 3
    fine = len(given) == 3 and all(is_number(each) for each in given)
    return tuple(float(each) for each in given) if fine else ()
