"""Mask: which items of a padded field are its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from multifeed.errors import DeclarationError, lines
from multifeed.fields.base import Derived, Field, Learned, Link, Made
from multifeed.fields.rows import NDArray, Source
from multifeed.spec import Spec
from multifeed.table import Columns


@dataclass(frozen=True)
class Mask(Link):
    """The padding mask of a padded field, ``bool[length]``: True where an item is the sample's own.

    It goes to attention layers as ``attention_mask``, to others as ``mask``. A sample that is missing,
    and was filled, has no item of its own. Of `Points` and `Boxes`, those that have left the image are
    masked as well.

    Args:
        of: The name of the padded field: a `Text`, or an `Array` with ``pad_to=``; or `Points` or
            `Boxes`.

    Raises:
        DeclarationError: If there is no such field, or it does not pad.

    Example:
        >>> import multifeed as mf
        >>> data = mf.Dataset(
        ...     {"steps": [[7, 8], [9]]},
        ...     inputs={"steps": mf.Array("steps", pad_to=3), "mask": Mask("steps")},
        ... )
        >>> data[1]
        ({'steps': array([9, 0, 0], dtype=int32), 'mask': array([ True, False, False])},)
    """

    def linked(self, other: Field) -> Mask:
        if not other.marks:
            raise DeclarationError(
                lines(
                    f"a mask says what is padding, and {self.of!r} ({type(other).__name__}) does not "
                    "pad.",
                    "Name a Text, an Array with pad_to=<length>, Points or Boxes.",
                )
            )
        return super().linked(other)

    def check(self, columns: Columns) -> None:
        found = self.other.spec_of(columns, None)
        if self.other.pads is not None and found.shape[:1] != self._padding[:1]:
            raise DeclarationError(
                lines(
                    f"a mask has one value for each item of {self.of!r}, which pads to "
                    f"{self._padding[0]} items and then becomes {found} by preprocess.",
                    "Leave the first axis as it is in preprocess, or leave the mask out.",
                )
            )

    def spec_of(self, columns: Columns, learned: Learned | None) -> Spec:
        if self.other.pads is not None:
            return Spec(self._padding[:1], "bool")
        return Spec(self.other.spec_of(columns, learned).shape[:1], "bool")

    def bind(self, source: Source, learned: Learned | None) -> Derived:
        spec = self.spec_of(source.columns, learned)
        return _Mask(self.of, spec, at_end=self._padding[1] == "post")

    @property
    def _padding(self) -> tuple[int, str]:
        return self.other.pads or (0, "post")


class _Mask(Derived):
    def __init__(self, of: str, spec: Spec, *, at_end: bool) -> None:
        super().__init__(of)
        self.spec = spec
        self._places = np.arange(spec.shape[0])
        if not at_end:
            self._places = self._places[::-1]

    def derive(self, made: Made, out: NDArray) -> None:
        if made.marks is not None:
            out[...] = made.marks
        else:
            # A field that pads tells its lengths.
            np.less(self._places, np.asarray(made.lengths)[:, None], out=out)
