"""Mask: which items of a padded field are its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from multifeed.errors import DeclarationError, lines
from multifeed.fields.base import Derived, Field, Learned, Link
from multifeed.fields.rows import NDArray, Source
from multifeed.spec import Spec
from multifeed.table import Columns


@dataclass(frozen=True)
class Mask(Link):
    """The padding mask of a padded field, ``bool[length]``: True where an item is the sample's own.

    It goes to attention layers as ``attention_mask``, to others as ``mask``. A sample that is missing,
    and was filled, has no item of its own.

    Args:
        of: The name of the padded field: a `Text`, or an `Array` with ``pad_to=``.

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
        if other.pads is None:
            raise DeclarationError(
                lines(
                    f"a mask says what is padding, and {self.of!r} ({type(other).__name__}) does not "
                    "pad.",
                    "Name a Text, or an Array with pad_to=<length>.",
                )
            )
        return super().linked(other)

    def check(self, columns: Columns) -> None:
        found = self.other.spec(columns, None)
        if found.shape[:1] != self._spec.shape:
            raise DeclarationError(
                lines(
                    f"a mask has one value for each item of {self.of!r}, which pads to "
                    f"{self._spec.shape[0]} items and then becomes {found} by preprocess.",
                    "Leave the first axis as it is in preprocess, or leave the mask out.",
                )
            )

    def spec(self, columns: Columns, learned: Learned | None) -> Spec:
        return self._spec

    def bind(self, source: Source, learned: Learned | None) -> Derived:
        return _Mask(self.of, self._spec, at_end=self._padding[1] == "post")

    @property
    def _padding(self) -> tuple[int, str]:
        # `linked` refuses a field that does not pad.
        return self.other.pads or (0, "post")

    @property
    def _spec(self) -> Spec:
        return Spec((self._padding[0],), "bool")


class _Mask(Derived):
    def __init__(self, of: str, spec: Spec, *, at_end: bool) -> None:
        super().__init__(of)
        self.spec = spec
        self._places = np.arange(spec.shape[0])
        if not at_end:
            self._places = self._places[::-1]

    def derive(self, values: NDArray, lengths: NDArray | None, out: NDArray) -> None:
        # A field that pads tells its lengths.
        np.less(self._places, np.asarray(lengths)[:, None], out=out)
