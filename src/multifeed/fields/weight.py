"""Sample weights from a column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from multifeed.errors import BadValue
from multifeed.fields.base import Columnar, Field, Learned, Source
from multifeed.fields.numeric import Matrix, Numeric
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
        Numeric(self.column).check(columns)

    def spec(self, columns: Columns, learned: Learned | None) -> Spec:
        return Spec((), "float32")

    def bind(self, source: Source, learned: Learned | None) -> Columnar:
        rows = np.arange(len(source))
        values = np.empty((len(source), 1), np.float32)
        Numeric(self.column).bind(source, None).gather(rows, values)
        negative = np.flatnonzero(values[:, 0] < 0)
        if negative.size:
            raise BadValue(
                f"is negative: {values[negative[0], 0]}",
                "A weight is 0 or more.",
                row=int(negative[0]),
            )
        return Matrix(values[:, 0])


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

    def gather(self, rows: np.ndarray, out: np.ndarray) -> None:
        out.fill(1.0)
