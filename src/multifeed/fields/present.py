"""Present: whether a field's value was there, or was filled by its `missing`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from multifeed.errors import DeclarationError, lines
from multifeed.fields.base import Columnar, Field, Learned, Link
from multifeed.fields.gather import Matrix
from multifeed.fields.rows import NDArray, Source
from multifeed.fields.shared import is_raise
from multifeed.spec import Spec
from multifeed.table import Columns


@dataclass(frozen=True)
class Present(Link):
    """Whether another field had a value, ``float32[1]``: 1 where it did, 0 where `missing` filled it.

    A model cannot tell a filled value from a real one by itself. It is float32 and has an axis, as
    `Numeric` has, so that ``keras.layers.Concatenate`` takes it beside other inputs. A `Numeric` of k
    columns, which are filled one by one, has ``float32[k]``: one number for each column.

    What is missing is known from the columns alone: it is null, or, of `Numeric`, NaN or infinite. A
    file that is named and cannot be read is an error, with or without `missing`. `Points` and `Boxes`
    are present if their image is as well.

    Where the field is mixed (`MixUp`, `CutMix`), this is mixed with it: the share of it that was there.

    Args:
        of: The name of the other field, which is declared with ``missing=``.

    Raises:
        DeclarationError: If there is no such field, or it has nothing to fill.

    Example:
        >>> import multifeed as mf
        >>> data = mf.Dataset(
        ...     {"scan": [[7.0, 8.0], None]},
        ...     inputs={"scan": mf.Array("scan", (2,), missing="zero"), "has_scan": Present("scan")},
        ... )
        >>> [sample[0]["has_scan"].tolist() for sample in data]
        [[1.0], [0.0]]
    """

    def linked(self, other: Field) -> Present:
        if is_raise(getattr(other, "missing", "raise")):
            raise DeclarationError(
                lines(
                    f"mf.Present says which samples were filled by missing=, and {self.of!r} "
                    f"({type(other).__name__}) fills none.",
                    f"Declare {self.of!r} with missing=, or leave this out: it would always be 1."
                    if hasattr(other, "missing")
                    else "Name a field that has missing=.",
                )
            )
        return super().linked(other)

    @property
    def reads(self) -> tuple[str, ...]:
        return self.other.reads

    def check(self, columns: Columns) -> None:
        pass

    def spec_of(self, columns: Columns, learned: Learned | None) -> Spec:
        count = len(columns.all_matching(self.reads)) if self.other.fills_each else 1
        return Spec((count,), "float32")

    def bind(self, source: Source, learned: Learned | None) -> Columnar:
        absent = self.other.absent(source)
        each = absent if self.other.fills_each else absent.any(axis=1, keepdims=True)
        return Matrix(np.where(each, np.float32(0), np.float32(1)))

    def caption(self, value: NDArray, learned: Learned | None) -> str:
        share = float(value.mean())
        words = {0.0: "missing", 1.0: "present"}
        return words.get(share, f"{share:.0%} present")
