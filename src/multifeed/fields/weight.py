"""Sample weights: from a column, 1 for all, and by class."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass

import numpy as np

from multifeed.errors import BadValue
from multifeed.fields.base import Columnar, Field, Learned, Remark
from multifeed.fields.category import Category
from multifeed.fields.examine import odd_numbers
from multifeed.fields.gather import Matrix
from multifeed.fields.numeric import check_numbers, keep_as_float32, not_finite, numbers
from multifeed.fields.rows import NDArray, Rows, Source
from multifeed.spec import Spec
from multifeed.table import Columns


@dataclass(frozen=True)
class WeightField(Field):
    """The weight of each sample in the loss of one target.

    Args:
        axes: How many axes of length 1 it has, so that Keras multiplies it with a loss that has a value
            for each pixel or step: ``float32[1, ...]``.
    """

    _: KW_ONLY
    axes: int = 0

    def check(self, columns: Columns) -> None:
        pass

    def spec_of(self, columns: Columns, learned: Learned | None) -> Spec:
        return Spec((1,) * self.axes, "float32")

    @abstractmethod
    def bind(self, source: Source, learned: Learned | None) -> Columnar: ...


@dataclass(frozen=True)
class Weight(WeightField):
    """A weight from a column; finite and not negative."""

    column: str

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    def check(self, columns: Columns) -> None:
        check_numbers(self.column, columns, "a column of sample weights")

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
        return Matrix(weights.reshape(-1, *(1,) * self.axes))

    def examine(self, rows: Rows, learned: Learned | None) -> Iterator[Remark]:
        yield from odd_numbers(self, rows, self.column, numbers(rows, self.column))


@dataclass(frozen=True)
class Ones(WeightField):
    """The weight 1 for every sample: for targets that a dict of weights leaves out."""

    @property
    def reads(self) -> tuple[str, ...]:
        return ()

    def bind(self, source: Source, learned: Learned | None) -> Columnar:
        return _Constant(self.axes)


class _Constant(Columnar):
    def __init__(self, axes: int) -> None:
        self.spec = Spec((1,) * axes, "float32")

    def gather(self, rows: NDArray, out: NDArray) -> None:
        out.fill(1.0)


@dataclass(frozen=True)
class ClassWeight(WeightField):
    """Another weight, times that of the class which a sample has in a target.

    Args:
        times: The other weight.
        category: The target; its vocabulary is known.
        by_class: The weight of each class number.
    """

    times: WeightField
    category: Category
    by_class: tuple[float, ...]

    @property
    def reads(self) -> tuple[str, ...]:
        return (*self.times.reads, *self.category.reads)

    def check(self, columns: Columns) -> None:
        self.times.check(columns)

    def bind(self, source: Source, learned: Learned | None) -> Columnar:
        weights = np.empty(len(source), np.float32)
        self.times.bind(source, None).gather(np.arange(len(source)), weights)
        weights *= np.asarray(self.by_class, np.float32)[self.category.codes(source)]
        return Matrix(weights)
