"""Sample weights from a column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from multifeed.errors import BadValue
from multifeed.fields.base import Columnar, Field, Learned, NDArray, Source
from multifeed.fields.gather import Matrix
from multifeed.fields.numeric import check_numbers, keep_as_float32, not_finite, numbers
from multifeed.spec import Spec
from multifeed.table import Columns


@dataclass(frozen=True)
class Weight(Field):
    """The weight of each sample in the loss, ``float32[]``; finite and not negative."""

    column: str

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    def check(self, columns: Columns) -> None:
        check_numbers(self.column, columns, "a column of sample weights")

    def spec(self, columns: Columns, learned: Learned | None) -> Spec:
        return Spec((), "float32")

    def bind(self, source: Source, learned: Learned | None) -> Columnar:
        values = numbers(source, self.column)
        bad = ~np.isfinite(values)
        if bad.any():
            raise not_finite(self.column, values, bad, "give the sample the weight 0")
        negative = np.flatnonzero(values < 0)
        if negative.size:
            row = int(negative[0])
            raise BadValue(f"is negative: {values[row]}", "A weight is 0 or more.", row=row)
        weights = np.empty(len(values), np.float32)
        keep_as_float32(values, weights, self.column)
        return Matrix(weights)


@dataclass(frozen=True)
class Ones(Field):
    """The weight 1 for every sample: for targets that a dict of weights leaves out."""

    @property
    def reads(self) -> tuple[str, ...]:
        return ()

    def check(self, columns: Columns) -> None:
        pass

    def spec(self, columns: Columns, learned: Learned | None) -> Spec:
        return Spec((), "float32")

    def bind(self, source: Source, learned: Learned | None) -> Columnar:
        return _Constant()


class _Constant(Columnar):
    spec = Spec((), "float32")

    def gather(self, rows: NDArray, out: NDArray) -> None:
        out.fill(1.0)
