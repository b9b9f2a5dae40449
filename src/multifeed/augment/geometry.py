"""Geometry: transforms that are one affine matrix per slot; here those of images.

A matrix takes a place in the output to the place that it comes from. Both are relative to their image's
size, from the upper left corner (-0.5, -0.5) to the lower right (0.5, 0.5), as (x, y, 1). So one matrix
holds for an image and a mask of another size; matrices of several transforms are multiplied.

Those of volumes are in `geometry3d`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np

from multifeed.augment.base import Draws, NDArray, Size, Transform, span
from multifeed.augment.draws import between
from multifeed.augment.warp import DTYPES
from multifeed.errors import DeclarationError, lines
from multifeed.fields.shared import one_of
from multifeed.spec import Spec

FILLS = ("nearest", "constant", "reflect", "wrap")
FLIPS = ("horizontal", "vertical", "horizontal_and_vertical")


@dataclass(frozen=True)
class Geometry(Transform):
    """A transform that moves pixels; several of a field become one interpolation."""

    kind: ClassVar[str] = "geometry"
    # Along how many axes: 2 of images, 3 of volumes.
    axes: ClassVar[int] = 2

    @property
    def crops(self) -> bool:
        """Whether what comes after it has the field's `size`, and not that of the base image."""
        return False

    @property
    def cuts(self) -> bool:
        """Whether that is at the scale of the base image: a window is cut out of it."""
        return False

    @property
    def turns(self) -> Sequence[tuple[int, int]]:
        """The pairs of axes that it mixes: in these, fields which share it have one aspect ratio."""
        return ()

    @property
    def swaps(self) -> Sequence[tuple[int, int]]:
        """The pairs of axes that it exchanges, which must be of one length."""
        return ()

    @property
    def filling(self) -> tuple[str, float] | None:
        """What it puts where the image does not reach, one of `FILLS` and a value; None for any."""
        return None

    @abstractmethod
    def matrices(self, draws: Draws, before: Size, after: Size) -> NDArray:
        """Return the matrix of each slot, ``float64[slots, axes + 1, axes + 1]``.

        Args:
            draws: The parameters of the slots.
            before: Size of the image that it acts on.
            after: Size of what comes out.
        """

    def check(self, name: str, spec: Spec) -> None:
        self._check_shape(name, spec)
        if spec.dtype not in DTYPES:
            raise DeclarationError(
                lines(
                    f"{type(self).__name__} moves pixels of {', '.join(DTYPES)}; field "
                    f"{name!r} is {spec}.",
                    'Declare it with another dtype, e.g. dtype="int32".',
                )
            )

    def _check_shape(self, name: str, spec: Spec) -> None:
        if len(spec.shape) not in (2, 3):
            volumes = (
                "Volumes are moved by mf.RandomAffine3D, mf.RandomFlip3D, mf.RandomTurn3D, "
                "mf.RandomCrop3D and mf.CenterCrop3D."
            )
            raise DeclarationError(
                lines(
                    f"{type(self).__name__} moves the pixels of images, (height, width) or (height, "
                    f"width, channels); field {name!r} is {spec}.",
                    volumes if len(spec.shape) == 4 else "Name the fields that are images.",
                )
            )


@dataclass(frozen=True)
class RandomAffine(Geometry):
    """Rotate, shift, shear, zoom and flip at random, all in one interpolation.

    The image is rotated, then shifted, sheared, zoomed and flipped, each about its centre, as Keras'
    ``ImageDataGenerator`` does. All named fields share each draw, in coordinates relative to their own
    sizes; with `rotation` or `shear` their sizes must have one aspect ratio.

    Args:
        fields: The image, or the images that move together.
        rotation: Degrees, counter-clockwise: a number r for -r to r, or a pair (least, most).
        shift: Fraction of height and width by which the image moves: a number s for -s to s on both
            axes, or a pair (of height, of width).
        shear: Degrees: a number, or a pair (least, most).
        zoom: A number z for a magnification from 1 - z to 1 + z, or a pair (least, most) of
            magnifications: 2 shows a quarter of the image. Both axes are zoomed alike.
        flip: Mirror with probability 0.5 ``"horizontal"`` (left becomes right), ``"vertical"`` or
            ``"horizontal_and_vertical"``; None for never.
        fill: What stands where the image does not reach: ``"nearest"`` (its edge), ``"constant"``
            (`fill_value`), ``"reflect"`` (mirrored, dcba|abcd|dcba) or ``"wrap"`` (repeated).
        fill_value: A number for all channels.

    Raises:
        DeclarationError: If a range is the wrong way round, or an option is unknown.

    Example:
        >>> RandomAffine(["left", "right"], rotation=20, shift=0.1, flip="horizontal").fields
        ('left', 'right')
    """

    _: KW_ONLY
    rotation: float | Sequence[float] = 0.0
    shift: float | Sequence[float] = 0.0
    shear: float | Sequence[float] = 0.0
    zoom: float | Sequence[float] = 0.0
    flip: str | None = None
    fill: str = "nearest"
    fill_value: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for what in ("rotation", "shear"):
            object.__setattr__(self, what, span(what, getattr(self, what)))
        object.__setattr__(self, "zoom", magnification(self.zoom))
        object.__setattr__(self, "shift", _shift(self.shift))
        if self.flip is not None:
            one_of("flip", self.flip, FLIPS)
        check_filling(self.fill, self.fill_value)

    def check(self, name: str, spec: Spec) -> None:
        super().check(name, spec)
        check_held(self.filling, name, spec)

    @property
    def turns(self) -> Sequence[tuple[int, int]]:
        return () if (self.rotation, self.shear) == ((0.0, 0.0), (0.0, 0.0)) else ((0, 1),)

    @property
    def filling(self) -> tuple[str, float]:
        return self.fill, self.fill_value

    @property
    def count(self) -> int:
        return 7

    def draw(self, numbers: NDArray) -> Draws:
        rotation, shear, up, left, zoom, first, second = numbers.T
        by_height, by_width = self.shift  # type: ignore[misc]
        both = between(zoom, *self.zoom)  # type: ignore[misc]
        return {
            "rotation": between(rotation, *self.rotation),  # type: ignore[misc]
            "shear": between(shear, *self.shear),  # type: ignore[misc]
            "shift": np.stack(
                [between(up, -by_height, by_height), between(left, -by_width, by_width)], 1
            ),
            "zoom": np.stack([both, both], 1),
            "flip": flips(self.flip, first, second),
        }

    def matrices(self, draws: Draws, before: Size, after: Size) -> NDArray:
        # In units of pixels, in which a rotation keeps its angles.
        height, width = before
        rotation, shear = np.deg2rad(draws["rotation"]), np.deg2rad(draws["shear"])
        down, right = draws["shift"].T
        by_rows, by_columns = draws["zoom"].T
        matrix = turn(rotation)
        matrix = matrix @ affine(x=-right * width, y=-down * height)
        matrix = matrix @ affine(xy=-np.sin(shear), yy=np.cos(shear))
        matrix = matrix @ affine(xx=1 / by_columns, yy=1 / by_rows)
        return relative(matrix, before) @ mirrors(draws["flip"])


@dataclass(frozen=True)
class RandomFlip(Geometry):
    """Mirror at random, each way with probability 0.5.

    Args:
        fields: The image, or the images that are mirrored together.
        mode: ``"horizontal"`` (left becomes right), ``"vertical"`` or ``"horizontal_and_vertical"``.

    Example:
        >>> RandomFlip("photo").mode
        'horizontal'
    """

    _: KW_ONLY
    mode: str = "horizontal"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("mode", self.mode, FLIPS)

    @property
    def count(self) -> int:
        return 2

    def draw(self, numbers: NDArray) -> Draws:
        return {"flip": flips(self.mode, *numbers.T)}

    def matrices(self, draws: Draws, before: Size, after: Size) -> NDArray:
        return mirrors(draws["flip"])


@dataclass(frozen=True)
class _Cut(Geometry):
    """What cuts a window out of the base image, at its scale."""

    @property
    def cuts(self) -> bool:
        return True

    @property
    def crops(self) -> bool:
        return True


@dataclass(frozen=True)
class RandomCrop(_Cut):
    """Cut a window of the field's `size` out of its base image, at a random place.

    Declare the images with a larger ``base_size``. No pixel is interpolated. Fields that share a crop
    show the same part; their sizes must be the same fraction of their base sizes.

    Args:
        fields: The image, or the images that are cut together.

    Example:
        >>> RandomCrop("photo").crops
        True
    """

    @property
    def count(self) -> int:
        return 2

    def draw(self, numbers: NDArray) -> Draws:
        return {"place": numbers}

    def matrices(self, draws: Draws, before: Size, after: Size) -> NDArray:
        # Whole pixels. Rounded, and not to places that are all as likely (the outermost two are half as
        # likely as the others): so the windows of a large and a small image differ by less than a pixel
        # of the small one.
        return cut(np.rint(draws["place"] * room(before, after)), before, after)


@dataclass(frozen=True)
class CenterCrop(_Cut):
    """Cut a window of the field's `size` out of the middle of its base image. Nothing is random.

    Args:
        fields: The image or images; declare them with a larger ``base_size``.

    Example:
        >>> CenterCrop("photo").count
        0
    """

    @property
    def count(self) -> int:
        return 0

    def draw(self, numbers: NDArray) -> Draws:
        return {"place": np.full((len(numbers), 2), 0.5)}

    def matrices(self, draws: Draws, before: Size, after: Size) -> NDArray:
        return cut(np.floor(draws["place"] * room(before, after)), before, after)


@dataclass(frozen=True)
class RandomResizedCrop(Geometry):
    """Cut a window of random size and shape out of the image, and resize it to the field's `size`.

    As in "Going deeper with convolutions" (Szegedy et al., CVPR 2015), from where the default of
    `ratio` is; windows that would not fit are made as high or as wide as the image.

    Args:
        fields: The image, or the images of which the same part is cut.
        scale: (least, most) share of the image's area.
        ratio: (least, most) width ÷ height of the window, where that of the whole image is 1; drawn so
            that r and 1 / r are as likely.

    Raises:
        DeclarationError: If a pair is the wrong way round or outside of its range.

    Example:
        >>> RandomResizedCrop("photo", scale=(0.5, 1)).scale
        (0.5, 1.0)
    """

    _: KW_ONLY
    scale: Sequence[float] = (0.08, 1.0)
    ratio: Sequence[float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        super().__post_init__()
        for what in ("scale", "ratio"):
            value = getattr(self, what)
            if not isinstance(value, Sequence) or isinstance(value, str):
                raise DeclarationError(
                    lines(
                        f"{what} is a pair (least, most); received {value!r}.",
                        "Write e.g. scale=(0.5, 1)."
                        if what == "scale"
                        else "Write e.g. ratio=(3/4, 4/3).",
                    )
                )
            object.__setattr__(self, what, span(what, value, least=1e-6))
        if self.scale[1] > 1:
            raise DeclarationError(
                f"scale is a share of the image's area, up to 1; received {self.scale}."
            )

    @property
    def crops(self) -> bool:
        return True

    @property
    def count(self) -> int:
        return 4

    def draw(self, numbers: NDArray) -> Draws:
        area, shape, down, right = numbers.T
        areas = between(area, *self.scale)
        ratios = np.exp(between(shape, *np.log(self.ratio)))
        height = np.minimum(np.sqrt(areas / ratios), 1.0)
        width = np.minimum(np.sqrt(areas * ratios), 1.0)
        return {
            "window": np.stack([down * (1 - height), right * (1 - width), height, width], 1),
        }

    def matrices(self, draws: Draws, before: Size, after: Size) -> NDArray:
        return windows(*draws["window"].T)


def magnification(zoom: object) -> tuple[float, float]:
    """Return the bounds of a magnification: a pair, or one number to either side of 1."""
    least, most = span("zoom", zoom, centre=1.0)
    if least <= 0:
        raise DeclarationError(
            lines(
                f"zoom is a magnification above 0; it reaches {least:g}.",
                "Write a pair such as zoom=(1, 1.5).",
            )
        )
    return least, most


def check_filling(fill: object, fill_value: object) -> None:
    """Raise unless a fill is one of `FILLS`, and its value a number."""
    one_of("fill", fill, FILLS)
    if not isinstance(fill_value, int | float | np.number) or not np.isfinite(fill_value):
        raise DeclarationError(f"fill_value is one number; received {fill_value!r}.")


def check_held(filling: tuple[str, float], name: str, spec: Spec) -> None:
    """Raise if a field cannot hold the value that it shall be filled with."""
    fill, value = filling
    if fill != "constant" or np.dtype(spec.dtype).kind not in "biu":
        return
    kind = np.iinfo(spec.dtype if spec.dtype != "bool" else "uint8")
    high = 1 if spec.dtype == "bool" else kind.max
    if not kind.min <= value <= high or value % 1:
        raise DeclarationError(
            lines(
                f"fill_value is a value that pixels can have; {name!r} is {spec}, whole numbers "
                f"from {kind.min} to {high}, and fill_value is {value!r}.",
                "Pass one that suits all fields of the transform.",
            )
        )


def _shift(value: object) -> tuple[float, float]:
    """Return the most by which an image moves, as fractions of height and width."""
    is_pair = isinstance(value, Sequence) and not isinstance(value, str)
    numbers: Any = value if is_pair else (value, value)
    # A shift of ten frames shows nothing of the image; whoever writes it means pixels.
    fine = all(isinstance(each, int | float | np.number) and 0 <= each < 10 for each in numbers)
    if len(numbers) != 2 or not fine:
        raise DeclarationError(
            lines(
                "shift is the fraction of height and width by which the image moves at most, or a pair "
                f"(of height, of width); received {value!r}.",
                "Write e.g. shift=0.1.",
            )
        )
    return float(numbers[0]), float(numbers[1])


def flips(mode: str | None, first: NDArray, second: NDArray) -> NDArray:
    """Return whether each slot is mirrored, ``bool[slots, 2]``: upside down, and left to right."""
    vertical = (first < 0.5) & (mode in ("vertical", "horizontal_and_vertical"))
    horizontal = (second < 0.5) & (mode in ("horizontal", "horizontal_and_vertical"))
    return np.stack([vertical, horizontal], 1)


def affine(
    xx: NDArray | float = 1.0,
    xy: NDArray | float = 0.0,
    x: NDArray | float = 0.0,
    yx: NDArray | float = 0.0,
    yy: NDArray | float = 1.0,
    y: NDArray | float = 0.0,
) -> NDArray:
    """Return matrices that take (x, y, 1) to (xx·x + xy·y + x, yx·x + yy·y + y, 1)."""
    entries = (xx, xy, x, yx, yy, y)
    matrix = np.zeros((*np.broadcast_shapes(*map(np.shape, entries)), 3, 3))
    for place, entry in enumerate(entries):
        matrix[..., place // 3, place % 3] = entry
    matrix[..., 2, 2] = 1.0
    return matrix


def turn(angle: NDArray) -> NDArray:
    """Return the rotations by angles in radians; what is shown turns counter-clockwise."""
    cos, sin = np.cos(angle), np.sin(angle)
    return affine(xx=cos, xy=-sin, yx=sin, yy=cos)


def mirrors(flip: NDArray) -> NDArray:
    """Return the matrices that mirror, given ``bool[slots, 2]``."""
    vertical, horizontal = (1.0 - 2.0 * flip).T
    return affine(xx=horizontal, yy=vertical)


def windows(top: NDArray, left: NDArray, height: NDArray | float, width: NDArray | float) -> NDArray:
    """Return the matrices that show a window; all in shares of the image's height and width."""
    return affine(xx=width, x=left + width / 2 - 0.5, yy=height, y=top + height / 2 - 0.5)


def cut(corners: NDArray, before: Size, after: Size) -> NDArray:
    """Return the matrices that show a window of size `after`, given its upper left corner in pixels."""
    top, left = corners.T
    return windows(top / before[0], left / before[1], after[0] / before[0], after[1] / before[1])


def room(before: Size, after: Size) -> NDArray:
    """Return how many places a window has beside the first, along each axis."""
    return np.subtract(before, after)


def relative(matrix: NDArray, size: Size) -> NDArray:
    """Return matrices in pixels from an image's centre as ones that are relative to its size."""
    height, width = size
    scale = np.array([width, height, 1.0])
    scaled: NDArray = matrix * scale / scale[:, None]
    return scaled
