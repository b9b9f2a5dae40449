"""Numbers from columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from multifeed.errors import BadValue, DeclarationError, NotAdaptedError, lines
from multifeed.fields.base import Array, Columnar, Field, Learned, Source, column_names, is_raise
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
        column_names(self.columns)
        words = ("raise", "zero", "mean") if self.normalize else ("raise", "zero")
        if self.missing not in words and not isinstance(self.missing, int | float):
            raise DeclarationError(
                'missing of a Numeric must be "raise", "zero", a number, or "mean" with '
                f"normalize=True; received {self.missing!r}."
            )

    @property
    def reads(self) -> tuple[str, ...]:
        return column_names(self.columns)

    @property
    def learns(self) -> bool:
        return self.normalize

    def check(self, columns: Columns) -> None:
        for name in self._names(columns):
            _check_number(name, columns)

    def spec(self, columns: Columns, learned: Learned | None) -> Spec:
        return Spec((len(self._names(columns)),), "float32")

    def learn(self, source: Source) -> Learned | None:
        if not self.normalize:
            return None
        means, deviations = [], []
        for name in self._names(source.columns):
            values = _float64(source, name)
            finite = values[np.isfinite(values)]
            if not finite.size:
                raise BadValue(
                    f"column {name!r} has no number in the training rows",
                    "Leave the column out, or adapt on rows that have it.",
                )
            means.append(float(finite.mean()))
            deviations.append(float(finite.std()) or 1.0)
        return {"mean": means, "deviation": deviations}

    def bind(self, source: Source, learned: Learned | None) -> Columnar:
        names = self._names(source.columns)
        if self.normalize and learned is None:
            raise NotAdaptedError(
                lines(
                    "normalize=True needs the means of the training rows, which nobody has learned.",
                    "Call train.adapt() on the training part first.",
                )
            )
        matrix = np.empty((len(source), len(names)), np.float32)
        for place, name in enumerate(names):
            values = _float64(source, name)
            mean = learned["mean"][place] if learned else 0.0
            bad = ~np.isfinite(values)
            if bad.any():
                values = np.where(bad, self._fill(name, values, bad, mean), values)
            if self.normalize and learned is not None:
                values = (values - mean) / learned["deviation"][place]
            matrix[:, place] = values
        return Matrix(matrix)

    def restore(self, values: Array, learned: Learned | None) -> Array:
        """Turn normalised values, ``float[..., k]``, back into the columns' own units."""
        if not self.normalize or learned is None:
            return values
        deviations = np.asarray(learned["deviation"], np.float32)
        return values * deviations + np.asarray(learned["mean"], np.float32)

    def _names(self, columns: Columns) -> list[str]:
        return [name for pattern in self.reads for name in columns.matching(pattern)]

    def _fill(self, name: str, values: Array, bad: Array, mean: float) -> float:
        if is_raise(self.missing):
            row = int(np.flatnonzero(bad)[0])
            count = int(bad.sum())
            also = f" ({count:,} such rows)" if count > 1 else ""
            word = "missing" if np.isnan(values[row]) else "infinite"
            raise BadValue(
                f"is {word}: column {name!r} holds no finite number{also}",
                'Fill it in, or declare the field with missing="zero", "mean" or a number.',
                row=row,
            )
        if self.missing == "mean":
            return mean
        return 0.0 if self.missing == "zero" else float(self.missing)


class Matrix(Columnar):
    """Gathers rows of an array in memory, ``dtype[n, *shape]``."""

    def __init__(self, values: Array) -> None:
        self._values = values
        self.spec = Spec(values.shape[1:], values.dtype.name)

    def gather(self, rows: Array, out: Array) -> None:
        # mode="clip": the rows are known to be valid, and with "raise" NumPy gathers into a copy of
        # `out` first.
        self._values.take(rows, axis=0, out=out, mode="clip")


def _check_number(name: str, columns: Columns) -> None:
    column = columns[name]
    if isinstance(column, np.ndarray):
        if column.ndim != 1:
            raise DeclarationError(
                lines(
                    f"a Numeric column has one number a sample; {name!r} has shape "
                    f"{column.shape[1:]} a sample.",
                    f"Declare it as mf.Array({name!r}).",
                )
            )
        valid = column.dtype.kind in "biuf"
        kind = str(column.dtype)
    else:
        kind = str(column.type)
        valid = is_number(column.type)
    if not valid:
        raise DeclarationError(
            lines(
                f"a Numeric column holds numbers; {name!r} holds {kind}.",
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


def _float64(source: Source, name: str) -> Array:
    """Return the dataset's rows of a column; null is NaN."""
    column = source.columns[name]
    if isinstance(column, np.ndarray):
        taken = column if source.index is None else column[source.index]
        return np.asarray(taken, np.float64)
    array = source.arrow(name)
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())
    values: Array = array.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return values
