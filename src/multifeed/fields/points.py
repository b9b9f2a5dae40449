"""Points and boxes that follow their image: resized, cropped and warped as it is.

Places are in pixels from the upper left corner of the image, as Keras and COCO give boxes: an image of
width w reaches from x = 0 to x = w, and the centre of its first pixel is at 0.5.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from dataclasses import field as dataclass_field
from typing import Any, ClassVar

import numpy as np

from multifeed.errors import BadValue, DeclarationError, lines
from multifeed.fields.base import Derived, Field, Learned, Link, Made
from multifeed.fields.coordinates import Coordinates, fixed_count, read
from multifeed.fields.frame import Frame
from multifeed.fields.rows import NDArray, Source
from multifeed.fields.shared import (
    at_least_one,
    column_names,
    is_raise,
    missing_value,
    one_of,
    whole_number,
)
from multifeed.spec import Spec
from multifeed.table import Columns

FORMATS = ("xyxy", "xywh", "center_xywh")


@dataclass(frozen=True)
class Places(Link):
    """What points and boxes have in common."""

    of: str = dataclass_field(init=False, repr=False)
    column: str | Sequence[str]
    image: str
    _: KW_ONLY
    pad_to: int | None = None
    relative: bool = False
    missing: str = "raise"

    # How many numbers an item has, and how errors call several.
    width: ClassVar[int]
    plural: ClassVar[str]

    def __post_init__(self) -> None:
        if not isinstance(self.image, str) or not self.image:
            raise DeclarationError(
                f"mf.{type(self).__name__} takes the name of the field that is their image, image=...; "
                f"received {self.image!r}."
            )
        object.__setattr__(self, "of", self.image)
        if not isinstance(self.column, str):
            object.__setattr__(self, "column", column_names(self.column))
        object.__setattr__(self, "pad_to", at_least_one("pad_to", self.pad_to))
        one_of("missing", self.missing, ("raise", "zero"))

    @property
    def reads(self) -> tuple[str, ...]:
        return column_names(self.column)

    @property
    def name(self) -> str:
        return self.reads[0] if len(self.reads) == 1 else self.plural

    @property
    def marks(self) -> bool:
        return True

    def linked(self, other: Field) -> Any:
        if isinstance(other, Link):
            raise DeclarationError(
                lines(
                    f"{self.plural} follow an image; {self.of!r} is made from another field.",
                    f"Name the field that it is made from: image={other.of!r}.",
                )
            )
        return super().linked(other)

    def check(self, columns: Columns) -> None:
        found = self.other.spec_of(columns, None)
        if self.other.canvas is None and len(found.shape) not in (2, 3):
            raise DeclarationError(
                lines(
                    f"{self.plural} follow an image, (height, width) or (height, width, channels); "
                    f"{self.of!r} is {found}.",
                    'Name the field of their image, as in image="photo".',
                )
            )

    def spec_of(self, columns: Columns, learned: Learned | None) -> Spec:
        count = fixed_count(columns, self._names(columns), self.width, self.plural)
        if self.pad_to is None and count is None:
            raise DeclarationError(
                lines(
                    f"samples of unequal length cannot share a batch: {self.column!r} holds any number "
                    f"of {self.plural}.",
                    f"Pass pad_to=<most {self.plural} of a sample>: shorter samples are filled with 0, "
                    "longer ones cut.",
                )
            )
        return Spec((self.pad_to or count or 0, self.width), "float32")

    def bind(self, source: Source, learned: Learned | None) -> Derived:
        spec = self.spec_of(source.columns, learned)
        found = read(source, self._names(source.columns), self.width)
        if is_raise(self.missing) and found.is_null.any():
            error = missing_value(found.is_null)
            raise BadValue(
                error.reason,
                "Fill it in, leave the row out with data.select, or declare the field with "
                'missing="zero".',
                row=error.row,
            )
        self.refuse(found)
        return _Follower(self, spec, found)

    def absent(self, source: Source) -> NDArray:
        own = read(source, self._names(source.columns), self.width).is_null
        # Without its image a place is nowhere.
        return np.concatenate([own[:, None], self.other.absent(source)], axis=1)

    def shares(self, values: NDArray, size: tuple[int, int]) -> NDArray:
        """Return places as shares of an image of a size: points (x, y), boxes by their corners."""
        corners = self.corners(np.asarray(values, np.float64))
        return corners if self.relative else corners / np.tile(size[::-1], self.width // 2)

    def refuse(self, found: Coordinates) -> None:
        """Raise `BadValue` if a row has an item that is none."""

    @abstractmethod
    def corners(self, values: NDArray) -> NDArray:
        """Return items, ``[..., width]``, as places (x, y) or (x_min, y_min, x_max, y_max)."""

    @abstractmethod
    def follow(
        self, items: NDArray, exists: NDArray, matrices: NDArray, sizes: NDArray
    ) -> tuple[NDArray, NDArray]:
        """Return where items are in what is made of their images, and which of them are in it.

        Args:
            items: ``float64[n, length, width]``, in the image as it was found.
            exists: ``bool[n, length]``, False where there is none.
            matrices: ``float64[n, 2, 3]``, of the `Frame` of each.
            sizes: ``float64[2]``, (width, height) of what is made.
        """

    def _names(self, columns: Columns) -> list[str]:
        return columns.all_matching(self.reads)


@dataclass(frozen=True)
class Points(Places):
    """Key points of an image, which follow it: ``float32[number of points, 2]``, x and y.

    Given in pixels of the image as it was found (upright, after EXIF), they are yielded in pixels of
    the image's `size`, through its resizing, cropping and padding and all geometry of augmentation.
    Coordinates count from the upper left corner, so that the centre of the first pixel is (0.5, 0.5):
    add 0.5 to those that number the pixels from 0.

    Every point keeps its place among the points. One that has left the image keeps its coordinates,
    which then lie outside; ``mf.Mask`` of the points is True for those inside. A point that has no
    coordinates (null, NaN), the padding, and the points of an image that is missing are 0 and masked.

    Args:
        column: One column of lists of [x, y], of flat lists, or of arrays of shape (n, 2) or (2 n,);
            or several columns of one number each, or a pattern, in the order x, y, x, y, …
        image: The name of the field that is their image.
        pad_to: Number of points: of fewer, the rest is 0; of more, the rest is cut. Needed where the
            column does not tell it.
        relative: Yield shares of the width and height, from 0 to 1, instead of pixels.
        flip_pairs: Pairs of points, by number, that change places where the image is mirrored, such as
            a left and a right eye. Without it, a left eye stays the same point when it becomes what
            looks like a right one.
        missing: ``"raise"``, or ``"zero"`` for no points, where the column is null.

    Raises:
        DeclarationError: If the image is no image of the dataset, or the column holds no points.

    Example:
        >>> import numpy as np, multifeed as mf
        >>> data = mf.Dataset(
        ...     {"photo": np.zeros((1, 4, 8), np.uint8), "eyes": [[[2, 1], [6, 9]]]},
        ...     inputs=mf.Array("photo"),
        ...     targets={"eyes": Points("eyes", image="photo", pad_to=3), "seen": mf.Mask("eyes")},
        ... )
        >>> data[0][1]["eyes"].tolist(), data[0][1]["seen"].tolist()
        ([[2.0, 1.0], [6.0, 9.0], [0.0, 0.0]], [True, False, False])
    """

    _: KW_ONLY
    flip_pairs: Sequence[tuple[int, int]] = ()

    width: ClassVar[int] = 2
    plural: ClassVar[str] = "points"

    def __post_init__(self) -> None:
        super().__post_init__()
        pairs = tuple(tuple(map(whole_number, pair)) for pair in self.flip_pairs)
        numbers = [number for pair in pairs for number in pair]
        fits = all(len(pair) == 2 for pair in pairs) and len(set(numbers)) == len(numbers)
        if not fits or not all(number is not None and number >= 0 for number in numbers):
            raise DeclarationError(
                "flip_pairs are pairs of numbers of points, from 0 on and each in one pair, e.g. "
                f"[(0, 1)]; received {self.flip_pairs!r}."
            )
        object.__setattr__(self, "flip_pairs", pairs)

    def spec_of(self, columns: Columns, learned: Learned | None) -> Spec:
        found = super().spec_of(columns, learned)
        most = max((number for pair in self.flip_pairs for number in pair), default=0)
        if most >= found.shape[0]:
            raise DeclarationError(
                f"flip_pairs has point {most}; a sample has the points 0 to {found.shape[0] - 1}."
            )
        return found

    def corners(self, values: NDArray) -> NDArray:
        return values

    def follow(
        self, items: NDArray, exists: NDArray, matrices: NDArray, sizes: NDArray
    ) -> tuple[NDArray, NDArray]:
        exists = exists & np.isfinite(items).all(axis=2)
        moved = _moved(items, matrices)
        if self.flip_pairs:
            one, other = np.transpose(self.flip_pairs)
            order = np.arange(items.shape[1])
            order[one], order[other] = other, one
            mirrored = np.linalg.det(matrices[:, :, :2]) < 0
            moved[mirrored], exists[mirrored] = moved[mirrored][:, order], exists[mirrored][:, order]
        moved[~exists] = 0
        is_inside = ((moved >= 0) & (moved < sizes)).all(axis=2)
        return moved, exists & is_inside


@dataclass(frozen=True)
class Boxes(Places):
    """Bounding boxes of an image, which follow it: ``float32[number of boxes, 4]``.

    Given in pixels of the image as it was found (upright, after EXIF), they are yielded in pixels of
    the image's `size`, through its resizing, cropping and padding and all geometry of augmentation.
    Coordinates count from the upper left corner, from 0 to the width and height, as those of Keras and
    COCO. Where the image turns, a box becomes the upright one around its turned corners.

    Boxes are clipped to the image. One that is left without area, or with less than `min_visible` of
    it, is dropped: it becomes 0. Every box keeps its place, so that other columns, such as their
    classes, stay with them; ``mf.Mask`` of the boxes is True for those that are not dropped and no
    padding.

    Args:
        column: One column of lists of boxes, of flat lists, or of arrays of shape (n, 4) or (4 n,); or
            several columns of one number each, or a pattern.
        image: The name of the field that is their image.
        format: What the four numbers of a box are, in the column and in the batch, by Keras' names:
            ``"xyxy"`` (left, top, right, bottom), ``"xywh"`` (left, top, width, height; COCO's) or
            ``"center_xywh"`` (x and y of the centre, width, height).
        pad_to: Number of boxes: of fewer, the rest is 0; of more, the rest is cut. Needed where the
            column does not tell it.
        relative: Yield shares of the image's width and height, from 0 to 1, instead of pixels.
        min_visible: The share of a box's area, from 0 to 1, that must remain after clipping.
        missing: ``"raise"``, or ``"zero"`` for no boxes, where the column is null.

    Raises:
        DeclarationError: If the image is no image of the dataset, or the column holds no boxes.

    Example:
        >>> import numpy as np, multifeed as mf
        >>> data = mf.Dataset(
        ...     {"photo": np.zeros((1, 4, 8), np.uint8), "boxes": [[[2, 1, 20, 3], [9, 0, 12, 4]]]},
        ...     inputs=mf.Array("photo"),
        ...     targets={"boxes": Boxes("boxes", image="photo", pad_to=3), "kept": mf.Mask("boxes")},
        ... )
        >>> data[0][1]["boxes"][:2].tolist(), data[0][1]["kept"].tolist()
        ([[2.0, 1.0, 8.0, 3.0], [0.0, 0.0, 0.0, 0.0]], [True, False, False])
    """

    _: KW_ONLY
    format: str = "xyxy"
    min_visible: float = 0.0

    width: ClassVar[int] = 4
    plural: ClassVar[str] = "boxes"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("format", self.format, FORMATS)
        share: object = self.min_visible
        if not isinstance(share, int | float | np.number) or not 0 <= share <= 1:
            raise DeclarationError(f"min_visible is a share from 0 to 1; received {share!r}.")

    def corners(self, values: NDArray) -> NDArray:
        if self.format == "xyxy":
            return values
        place, size = values[..., :2], values[..., 2:]
        first = place - size / 2 if self.format == "center_xywh" else place
        return np.concatenate([first, first + size], axis=-1)

    def refuse(self, found: Coordinates) -> None:
        rows, boxes = found.all()
        corners = self.corners(boxes)
        is_finite = np.all(np.isfinite(corners), axis=1)
        is_ordered = np.all(corners[:, 2:] >= corners[:, :2], axis=1)
        wrong = np.flatnonzero(~(is_finite & is_ordered))
        if not wrong.size:
            return
        first = wrong[0]
        listed = ", ".join(f"{number:g}" for number in boxes[first].tolist())
        if not is_finite[first]:
            raise BadValue(
                f"has the box ({listed}), which is not of finite numbers",
                "Correct the row.",
                row=int(rows[first]),
            )
        raise BadValue(
            f"has the box ({listed}), which as {self.format!r} ends before it begins",
            f"Correct the row, or pass the format= that boxes have: {', '.join(map(repr, FORMATS))}.",
            row=int(rows[first]),
        )

    def follow(
        self, items: NDArray, exists: NDArray, matrices: NDArray, sizes: NDArray
    ) -> tuple[NDArray, NDArray]:
        boxes = self.corners(items)
        # All four corners: a turned box has others at its left and top.
        corners = boxes[:, :, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(len(boxes), -1, 2)
        moved = _moved(corners, matrices).reshape(len(boxes), -1, 4, 2)
        least, most = moved.min(axis=2), moved.max(axis=2)
        low, high = np.clip(least, 0, sizes), np.clip(most, 0, sizes)
        whole, left = (most - least).prod(axis=2), (high - low).prod(axis=2)
        kept = exists & (left > 0) & (left >= self.min_visible * whole)
        if self.format == "xyxy":
            pair = low, high
        else:
            pair = (low + high) / 2 if self.format == "center_xywh" else low, high - low
        return np.where(kept[:, :, None], np.concatenate(pair, axis=2), 0), kept


class _Follower(Derived):
    def __init__(self, field: Places, spec: Spec, found: Coordinates) -> None:
        super().__init__(field.of)
        self.spec = spec
        self._field, self._found = field, found

    def derive(self, made: Made, out: NDArray) -> NDArray:
        items, exists = self._found.of(made.rows, self.spec.shape[0])
        canvas = self._field.other.canvas or made.values.shape[1:3]
        # Images that lie in memory are taken as they are.
        frames = made.frames or [Frame.whole((canvas[0], canvas[1]))] * len(made.rows)
        exists &= np.array([frame is not None for frame in frames], bool)[:, None]
        nowhere = np.zeros((2, 3))
        matrices = np.array([nowhere if frame is None else frame.matrix for frame in frames])
        sizes = np.array([canvas[1], canvas[0]], np.float64)
        places, marks = self._field.follow(items, exists, matrices.reshape(-1, 2, 3), sizes)
        if self._field.relative:
            places /= np.tile(sizes, self._field.width // 2)
        out[...] = places
        return marks


def _moved(places: NDArray, matrices: NDArray) -> NDArray:
    """Return places, ``float64[n, k, 2]``, moved by the matrix of each row, ``float64[n, 2, 3]``."""
    moved: NDArray = places @ matrices[:, :, :2].swapaxes(1, 2) + matrices[:, None, :, 2]
    return moved
