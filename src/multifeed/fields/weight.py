"""Sample weights: from a column, 1 for all, and by class."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from multifeed.errors import BadValue, DeclarationError, lines, near
from multifeed.fields.base import Columnar, Field, Learned
from multifeed.fields.category import Category
from multifeed.fields.gather import Matrix
from multifeed.fields.numeric import check_numbers, keep_as_float32, not_finite, numbers
from multifeed.fields.rows import NDArray, Source
from multifeed.spec import Spec
from multifeed.table import Columns


class WeightField(Field):
    """The weight of each sample in the loss of one target, ``float32[]``."""

    def check(self, columns: Columns) -> None:
        pass

    def spec(self, columns: Columns, learned: Learned | None) -> Spec:
        return Spec((), "float32")

    @abstractmethod
    def bind(self, source: Source, learned: Learned | None) -> Columnar: ...


@dataclass(frozen=True)
class Weight(WeightField):
    """The weight of each sample in the loss, ``float32[]``; finite and not negative."""

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
        return Matrix(weights)


@dataclass(frozen=True)
class Ones(WeightField):
    """The weight 1 for every sample: for targets that a dict of weights leaves out."""

    @property
    def reads(self) -> tuple[str, ...]:
        return ()

    def bind(self, source: Source, learned: Learned | None) -> Columnar:
        return _Constant()


class _Constant(Columnar):
    spec = Spec((), "float32")

    def gather(self, rows: NDArray, out: NDArray) -> None:
        out.fill(1.0)


@dataclass(frozen=True)
class ClassWeight(WeightField):
    """Another weight, times that of the class which a sample has in a target; ``float32[]``.

    Args:
        times: The other weight.
        category: The target; its vocabulary is known.
        by_class: The weight of each class number.
    """

    times: WeightField
    category: Category
    by_class: tuple[float, ...]

    @classmethod
    def of(
        cls,
        name: str,
        times: WeightField,
        category: Category,
        weights: Mapping[Any, float] | str,
        counts: NDArray,
    ) -> ClassWeight:
        """Return the weights of target `name` as they are declared: by label, or ``"balanced"``.

        Args:
            name: The target.
            times: The sample weights that are multiplied with them.
            category: The target's field, with its vocabulary.
            weights: The weight of each label; those left out have 1. Or ``"balanced"``.
            counts: ``int64[classes]``, how many samples each class has.

        Raises:
            DeclarationError: If a label is unknown.
        """
        if isinstance(weights, str):
            # As sklearn.utils.class_weight has it; a class without samples is not one to be weighed.
            share = counts.sum() / ((counts > 0).sum() * np.maximum(counts, 1))
            return cls(times, category, tuple(share.tolist()))
        labels = category.labels(None)
        for label in weights:
            if label not in labels:
                raise DeclarationError(
                    lines(
                        f"class_weight of {name!r} names a label that it does not have: {label!r}.",
                        near(str(label), map(str, labels)),
                    )
                )
        unseen = [1.0] if category.oov else []
        return cls(times, category, (*unseen, *(float(weights.get(label, 1.0)) for label in labels)))

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


def check_class_weight(class_weight: object, targets: Mapping[str, Field]) -> None:
    """Raise unless it says a weight for labels, by target."""
    if class_weight is None:
        return
    if not isinstance(class_weight, Mapping):
        raise DeclarationError(
            lines(
                f"class_weight is a dict by target; received {class_weight!r}.",
                f'Write class_weight={{{next(iter(targets))!r}: "balanced"}}, or a weight by label.',
            )
        )
    for name, weights in class_weight.items():
        if name not in targets:
            raise DeclarationError(
                lines(
                    f"class_weight is a dict by target, and there is no target {name!r}.",
                    near(str(name), targets),
                )
            )
        if not isinstance(targets[name], Category):
            raise DeclarationError(
                f"class weights are by label, and target {name!r} is a "
                f"{type(targets[name]).__name__}, not a Category."
            )
        numbers = list(weights.values()) if isinstance(weights, Mapping) else []
        if weights != "balanced" and not (numbers and all(map(_is_weight, numbers))):
            raise DeclarationError(
                lines(
                    f'class_weight of {name!r} is "balanced", or a dict of finite weights of 0 or more '
                    "by label.",
                    f"Received: {weights!r}.",
                )
            )


def _is_weight(value: object) -> bool:
    return isinstance(value, int | float | np.number) and bool(np.isfinite(value)) and bool(value >= 0)
