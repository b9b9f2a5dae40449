"""Numbers from columns."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from multifeed.errors import BadValue, DeclarationError, lines
from multifeed.fields.base import Columnar, Field, Learned, Remark
from multifeed.fields.examine import odd_numbers
from multifeed.fields.gather import Matrix
from multifeed.fields.rows import NDArray, Rows, Source
from multifeed.fields.shared import column_names, is_raise, store, such_rows
from multifeed.spec import Spec
from multifeed.table import Columns


@dataclass(frozen=True)
class Numeric(Field):
    """Numbers from one or more columns, as one float32 vector a sample.

    Args:
        columns: A column, a list of columns, or a pattern such as ``"band*"`` (in table order).
        normalize: Subtract each column's mean and divide by its (population) standard deviation, both
            learned by `Dataset.adapt`. A constant column is only centred.
        missing: What stands for a value that is null, NaN or infinite: ``"raise"`` refuses it,
            ``"zero"`` or a number (in the column's own units) fills it, ``"mean"`` fills the learned
            mean (with ``normalize=True``).

    A sample is ``float32[k]``, k the number of columns; ``(1,)`` for a single one.

    Raises:
        DeclarationError: If a column does not exist or does not hold numbers.

    Example:
        >>> import multifeed as mf
        >>> data = mf.Dataset({"age": [40, 60], "bmi": [21.5, 30.0]}, inputs=Numeric(["age", "bmi"]))
        >>> data[1]
        (array([60., 30.], dtype=float32),)
    """

    columns: str | Sequence[str]
    _: KW_ONLY
    normalize: bool = False
    missing: Any = "raise"

    def __post_init__(self) -> None:
        if not isinstance(self.columns, str):
            object.__setattr__(self, "columns", column_names(self.columns))
        words = ("raise", "zero", "mean") if self.normalize else ("raise", "zero")
        is_word = isinstance(self.missing, str) and self.missing in words
        fills = isinstance(self.missing, int | float | np.number) and np.isfinite(self.missing)
        if not is_word and not fills:
            raise DeclarationError(
                'missing of a Numeric must be "raise", "zero", a finite number, or "mean" with '
                f"normalize=True; received {self.missing!r}."
            )

    @property
    def reads(self) -> tuple[str, ...]:
        return column_names(self.columns)

    @property
    def learns(self) -> bool:
        return self.normalize

    @property
    def fills_each(self) -> bool:
        return True

    def absent(self, source: Source) -> NDArray:
        found = [~np.isfinite(numbers(source, name)) for name in self._names(source.columns)]
        return np.stack(found, axis=1)

    def check(self, columns: Columns) -> None:
        for name in self._names(columns):
            check_numbers(name, columns, "a Numeric column")

    def spec_of(self, columns: Columns, learned: Learned | None) -> Spec:
        return Spec((len(self._names(columns)),), "float32")

    def learn(self, rows: Rows) -> Learned:
        means, deviations = [], []
        for name in self._names(rows.columns):
            values = numbers(rows, name)
            finite = values[np.isfinite(values)]
            if not finite.size:
                raise BadValue(
                    f"has no number in the training rows of column {name!r}",
                    "Leave the column out, or adapt on rows that have it.",
                )
            mean, deviation = _moments(finite)
            if not (math.isfinite(mean) and 0 < deviation < math.inf):
                raise BadValue(
                    f"has numbers in column {name!r} whose spread, {deviation}, cannot be divided by",
                    "Rescale the column.",
                )
            means.append(mean)
            deviations.append(deviation)
        return {"mean": means, "deviation": deviations}

    def accepts(self, learned: Any, columns: Columns) -> bool:
        count = len(self._names(columns))
        if not isinstance(learned, dict) or set(learned) != {"mean", "deviation"}:
            return False
        moments = [learned["mean"], learned["deviation"]]
        if not all(isinstance(each, list) and len(each) == count for each in moments):
            return False
        numbers = [number for each in moments for number in each]
        # An integer of JSON may be too large for `math.isfinite`.
        is_finite = all(type(n) in (int, float) and abs(n) <= sys.float_info.max for n in numbers)
        return is_finite and all(number > 0 for number in learned["deviation"])

    def bind(self, source: Source, learned: Learned | None) -> Columnar:
        names = self._names(source.columns)
        matrix = np.empty((len(source), len(names)), np.float32)
        for place, name in enumerate(names):
            values = numbers(source, name)
            moments = self._moments_of(place, learned)
            bad = ~np.isfinite(values)
            if bad.any():
                values = np.where(bad, self._fill(name, values, bad, moments), values)
            if moments is not None:
                mean, deviation = moments
                values = (values - mean) / deviation
            keep_as_float32(values, matrix[:, place], name)
        return Matrix(matrix)

    def restore(self, values: NDArray, learned: Learned | None) -> NDArray:
        """Turn normalised values, ``float[..., k]``, back into the columns' own units."""
        if not self.normalize or learned is None:
            return values
        restored: NDArray = values * np.asarray(learned["deviation"]) + np.asarray(learned["mean"])
        return restored.astype(values.dtype, copy=False)

    def examine(self, rows: Rows, learned: Learned | None) -> Iterator[Remark]:
        for name in self._names(rows.columns):
            yield from odd_numbers(self, rows, name, numbers(rows, name))

    def _names(self, columns: Columns) -> list[str]:
        return columns.all_matching(self.reads)

    def _moments_of(self, place: int, learned: Learned | None) -> tuple[float, float] | None:
        """Return the learned mean and deviation of a column, if it is normalised."""
        if not self.normalize or learned is None:
            return None
        return learned["mean"][place], learned["deviation"][place]

    def _fill(
        self, name: str, values: NDArray, bad: NDArray, moments: tuple[float, float] | None
    ) -> float:
        """Return what fills the rows that have no finite number."""
        if is_raise(self.missing):
            also = ', "mean"' if self.normalize else ""
            raise not_finite(
                name, values, bad, f'declare the field with missing="zero"{also} or a number'
            )
        if self.missing == "mean" and moments is not None:
            return moments[0]
        return 0.0 if self.missing == "zero" else float(self.missing)


def _moments(values: NDArray) -> tuple[float, float]:
    """Return the mean, and the deviation to divide by: 1 where all values are one."""
    if values.min() == values.max():
        # Rounding may leave a deviation of 1e-17, which would blow up what rounding left of the mean.
        return float(values[0]), 1.0
    # In units of the largest, whose square may be more than a float holds, or less.
    scale = float(np.abs(values).max())
    mean, deviation = float((values / scale).mean()), float((values / scale).std())
    return mean * scale, deviation * scale


def not_finite(name: str, values: NDArray, bad: NDArray, otherwise: str) -> BadValue:
    """Return the fact that a column has rows without a finite number where nothing says what then."""
    row = int(np.flatnonzero(bad)[0])
    word = "missing" if np.isnan(values[row]) else "infinite"
    return BadValue(
        f"is {word}: column {name!r} holds no finite number{such_rows(int(bad.sum()))}",
        f"Fill it in, or {otherwise}.",
        row=row,
    )


def keep_as_float32(values: NDArray, out: NDArray, name: str) -> None:
    """Write the numbers of a column, ``float64[n]``, to `out`, ``float32[n]``."""
    try:
        store(values, out, rows=np.arange(len(values)), remedy="Rescale the column.")
    except BadValue as error:
        raise BadValue(f"{error.reason} (column {name!r})", error.remedy, row=error.row) from error


def check_numbers(name: str, columns: Columns, what: str) -> None:
    """Raise unless a column holds one number a sample; `what` is how the error calls it."""
    column = columns[name]
    if isinstance(column, np.ndarray):
        if column.ndim != 1:
            raise DeclarationError(
                lines(
                    f"{what} has one number a sample; {name!r} has shape {column.shape[1:]} a sample.",
                    f"Declare it as mf.Array({name!r}).",
                )
            )
        valid, kind = column.dtype.kind in "biuf", str(column.dtype)
    else:
        valid, kind = is_number(column.type), str(column.type)
    if not valid:
        raise DeclarationError(
            lines(
                f"{what} holds numbers; {name!r} holds {kind}.",
                "Declare text and codes as mf.Category, or convert the column.",
            )
        )


def is_number(kind: pa.DataType) -> bool:
    """Tell whether a column of this Arrow type holds numbers or booleans."""
    types = pa.types
    return bool(
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or types.is_boolean(kind)
    )


def numbers(rows: Rows, name: str) -> NDArray:
    """Return the dataset's rows of a column as ``float64[n]``; null is NaN."""
    array = rows.values(name)
    if isinstance(array, np.ndarray):
        return np.asarray(array, np.float64)
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())
    # Not `safe`: integers above 2^53 are rounded, as floats do.
    values: NDArray = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values
