"""What fields share when `mf.check` has them look at their columns; see `Field.examine`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from multifeed.fields.base import Field, Remark
from multifeed.fields.rows import NDArray, Rows
from multifeed.fields.shared import is_raise

# More numbers than this outside of the fences, and a column has a long tail rather than outliers.
_FEW, _FEW_SHARE = 10, 0.01


def absent(field: Field, name: str, is_absent: NDArray, word: str, kind: str) -> Iterator[Remark]:
    """Yield the remark that rows of a column have no value: they are refused, or filled.

    Args:
        field: The field that reads the column.
        name: The column.
        is_absent: ``bool[n]``, True where a row has none.
        word: What stands there instead, such as "null".
        kind: What the remark is called where that is refused.
    """
    found = np.flatnonzero(is_absent)
    missing = getattr(field, "missing", "raise")
    if not len(found):
        return
    if is_raise(missing):
        yield Remark(kind, found, f"column {name!r} is {word}", is_bad=True)
    else:
        yield Remark("filled", found, f"column {name!r} is {word}, and filled by missing={missing!r}")


def odd_numbers(field: Field, rows: Rows, name: str, values: NDArray) -> Iterator[Remark]:
    """Yield what is to be said of a column of numbers, ``float64[n]``, that should be finite."""
    yield from absent(field, name, np.isnan(values) & ~rows.nulls(name), "NaN", "not finite")
    yield from absent(field, name, np.isinf(values), "infinite", "not finite")
    yield from outliers(name, values)


def outliers(name: str, values: NDArray) -> Iterator[Remark]:
    """Yield what is to be said of the finite ones among a column's numbers, ``float64[n]``.

    An outlier lies more than 3 interquartile ranges beyond the quartiles: outside of the *outer fences*
    of Tukey (Exploratory Data Analysis, 1977, chapter 2), where 2 of a million normal numbers lie.
    Where the quartiles are equal, there are no fences.
    """
    rows = np.flatnonzero(np.isfinite(values))
    finite = values[rows]
    if len(finite) < 2:
        return
    if finite.min() == finite.max():
        yield Remark("constant column", None, f"column {name!r} holds {finite[0]:.6g} in every row")
        return
    # Halved, since the range of numbers near the largest float is beyond it.
    low, high = np.quantile(finite, [0.25, 0.75])
    reach = 3 * (high / 2 - low / 2)
    with np.errstate(over="ignore"):
        low, high = low - 2 * reach, high + 2 * reach
    far = (finite < low) | (finite > high)
    count = int(far.sum())
    if not reach or not count:
        return
    within = f"{low:.4g} … {high:.4g}"
    if count > max(_FEW, _FEW_SHARE * len(finite)):
        share = f"{count:,} of {len(finite):,} numbers of column {name!r}"
        yield Remark("long tail", None, f"{share} lie outside of {within}")
    else:
        details = [f"column {name!r} is {value:.6g}, outside of {within}" for value in finite[far]]
        yield Remark("outlier", rows[far], details)
