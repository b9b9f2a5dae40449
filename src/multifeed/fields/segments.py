"""Segments: which part of a recording a sample is, told by two columns that a table may have."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from multifeed.errors import BadValue, DeclarationError, lines
from multifeed.fields.numeric import numbers
from multifeed.fields.rows import NDArray, Rows
from multifeed.table import Columns

CORRECT = "Correct the row's start and stop, or leave the row out with data.select."


def optional(default: str, name: str | None, columns: Columns) -> bool:
    """Tell whether a column that has its default name is not there, and so is not meant."""
    return name == default and default not in columns


def check_bounds(names: Iterable[str], columns: Columns) -> None:
    """Raise unless columns hold one number a sample."""
    for name in names:
        kind = _kind(columns[name])
        if kind is None:
            column = columns[name]
            held = column.dtype if isinstance(column, np.ndarray) else column.type
            raise DeclarationError(
                lines(
                    f"the columns start and stop hold numbers; {name!r} holds {held}.",
                    "Pass start=None and stop=None if it does not say which part of a file is meant.",
                )
            )


def are_whole(names: Iterable[str], columns: Columns) -> bool:
    """Tell whether columns hold integers.

    Raises:
        DeclarationError: If some do, and some do not.
    """
    kinds = {name: _kind(columns[name]) for name in names}
    if len(set(kinds.values())) > 1:
        held = " and ".join(f"{name!r} holds {kind}" for name, kind in kinds.items())
        raise DeclarationError(
            lines(
                f"integers count frames and floats are seconds; {held}.",
                'Pass unit="frames" or unit="seconds".',
            )
        )
    return "integers" in kinds.values()


def _kind(column: object) -> str | None:
    """Return what numbers a column holds; None if it does not hold one a sample."""
    if isinstance(column, np.ndarray):
        kinds = {"i": "integers", "u": "integers", "f": "floats"}
        return kinds.get(column.dtype.kind) if column.ndim == 1 else None
    kind = column.type  # type: ignore[attr-defined]
    if pa.types.is_integer(kind):
        return "integers"
    return "floats" if pa.types.is_floating(kind) or pa.types.is_decimal(kind) else None


@dataclass(frozen=True)
class Bounds:
    """Where samples start and stop in their recordings.

    Args:
        starts: ``float64[n]``, NaN where a row has none; None if no row has one.
        stops: The same of the stops.
    """

    starts: NDArray | None
    stops: NDArray | None

    @classmethod
    def of(cls, rows: Rows, start: str | None, stop: str | None) -> Bounds:
        """Return those that columns tell."""
        starts, stops = (None if name is None else numbers(rows, name) for name in (start, stop))
        return cls(starts, stops)

    def __bool__(self) -> bool:
        return self.starts is not None or self.stops is not None

    def at(self, row: int) -> tuple[float, float | None]:
        """Return where a row starts and stops: from the beginning on, or to the end, if it has none.

        Raises:
            BadValue: If it starts before the beginning, or does not stop after it starts.
        """
        start = 0.0 if self.starts is None else float(self.starts[row])
        stop = math.nan if self.stops is None else float(self.stops[row])
        start = 0.0 if math.isnan(start) else start
        if not 0 <= start < math.inf or stop <= start or stop == math.inf:
            shown = "the end" if math.isnan(stop) else f"{stop:,.12g}"
            raise BadValue(f"is to be read from {start:,.12g} to {shown}", CORRECT)
        return start, None if math.isnan(stop) else stop
