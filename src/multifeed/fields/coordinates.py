"""Columns of places: any number of points or boxes a row, however they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from multifeed.errors import BadValue, DeclarationError, lines
from multifeed.fields.numeric import is_number
from multifeed.fields.rows import NDArray, Source
from multifeed.table import Columns


@dataclass(frozen=True)
class Coordinates:
    """The items of all rows, one row after the other.

    Args:
        values: ``[m, width]``, the numbers of each item; NaN where there is none.
        starts: ``int64[n]``, where the items of each row begin.
        counts: ``int64[n]``, how many it has.
        is_null: ``bool[n]``, True where a row has no value at all.
    """

    values: NDArray
    starts: NDArray
    counts: NDArray
    is_null: NDArray

    def of(self, rows: NDArray, length: int) -> tuple[NDArray, NDArray]:
        """Return rows' items, ``float64[n, length, width]``, and which exist, ``bool[n, length]``."""
        number = np.arange(length)
        exists = number < self.counts[rows][:, None]
        places = np.where(exists, self.starts[rows][:, None] + number, 0)
        values = self.values if len(self.values) else np.zeros((1, *self.values.shape[1:]))
        return values[places].astype(np.float64), exists

    def all(self) -> tuple[NDArray, NDArray]:
        """Return each existing item's row, ``int64[m]``, and numbers, ``float64[m, width]``."""
        rows = np.repeat(np.arange(len(self.counts)), self.counts)
        ends = np.cumsum(self.counts)
        # Rows that are null may have items, which are none.
        places = np.arange(len(rows)) + np.repeat(self.starts - (ends - self.counts), self.counts)
        return rows, self.values[places].astype(np.float64)


def fixed_count(columns: Columns, names: Sequence[str], width: int, kind: str) -> int | None:
    """Return how many items each row has, as the types of its columns tell; None if they do not.

    Args:
        columns: The columns.
        names: Those that hold the items: one of arrays or lists, or several of numbers.
        width: How many numbers an item has.
        kind: How errors call the field.

    Raises:
        DeclarationError: If they cannot hold items of that width.
    """
    if len(names) > 1:
        for name in names:
            found = _kind_of(columns[name])
            if not isinstance(found, pa.DataType) or not is_number(found):
                raise DeclarationError(
                    f"several columns make the {kind} of a sample if each holds one number; {name!r} "
                    f"holds {found}."
                )
        return _counted((len(names),), width, kind, f"{names[0]!r} … {names[-1]!r}")
    (name,) = names
    column = columns[name]
    if isinstance(column, np.ndarray):
        if column.dtype.kind not in "iuf":
            raise _unsuited(kind, width, name, column.dtype)
        return _counted(column.shape[1:], width, kind, repr(name))
    shape: list[int] = []
    found = column.type
    if isinstance(found, pa.FixedShapeTensorType):
        if found.permutation not in (None, list(range(len(found.shape)))):
            raise _unsuited(kind, width, name, found)
        return _counted(tuple(found.shape), width, kind, repr(name))
    levels: list[int | None] = []
    while _is_list(found):
        levels.append(found.list_size if pa.types.is_fixed_size_list(found) else None)
        found = found.value_type
    if not is_number(found) or not 1 <= len(levels) <= 2:
        raise _unsuited(kind, width, name, column.type)
    shape = [width if each is None else each for each in levels[1:]]
    if levels[0] is None:
        _counted((1, *shape) if shape else (width,), width, kind, repr(name))
        return None
    return _counted((levels[0], *shape), width, kind, repr(name))


def read(source: Source, names: Sequence[str], width: int) -> Coordinates:
    """Return the items that columns hold, `fixed_count` having seen that they can.

    Raises:
        BadValue: If a row has numbers that make no whole items.
    """
    if len(names) > 1:
        stacked = np.stack([_numbers(source.arrow(name)) for name in names], axis=1)
        return _equal(stacked, np.isnan(stacked).all(axis=1), width)
    column = source.columns[names[0]]
    if isinstance(column, np.ndarray):
        values = source.values(names[0])
        return _equal(values, np.zeros(len(values), bool), width)
    array = source.arrow(names[0])
    return _lists(array.storage if isinstance(array, pa.ExtensionArray) else array, width)


def _equal(values: NDArray, is_null: NDArray, width: int) -> Coordinates:
    """Return the items of rows that have as many each, ``[n, ...]``."""
    items = values.reshape(-1, width)
    count = len(items) // max(1, len(values))
    counts = np.where(is_null, 0, count)
    return Coordinates(items, np.arange(len(values)) * count, counts, is_null)


def _lists(array: pa.Array, width: int) -> Coordinates:
    """Return the items of a column of lists of numbers, or of lists of lists of numbers."""
    is_null = np.asarray(pc.is_null(array))
    counts = _lengths(array)
    starts = np.cumsum(counts) - counts
    items = array.flatten()
    if not _is_list(items.type):
        wrong = np.flatnonzero(counts % width)
        if wrong.size:
            row = int(wrong[0])
            raise BadValue(
                f"has {counts[row]:,} numbers, which make no whole number of items of {width}",
                "Correct the row.",
                row=row,
            )
        return Coordinates(_numbers(items).reshape(-1, width), starts // width, counts // width, is_null)
    inner = _lengths(items)
    absent = np.asarray(pc.is_null(items))
    wrong = np.flatnonzero((inner != width) & ~absent)
    if wrong.size:
        raise BadValue(
            f"has an item of {inner[wrong[0]]:,} numbers where each has {width}",
            "Correct the row.",
            row=int(np.searchsorted(starts + counts, wrong[0], side="right")),
        )
    values = np.full((len(items), width), np.nan)
    values[~absent] = _numbers(items.flatten()).reshape(-1, width)
    return Coordinates(values, starts, counts, is_null)


def _lengths(array: pa.Array) -> NDArray:
    lengths = pc.fill_null(pc.list_value_length(array), 0)
    return np.asarray(lengths).astype(np.int64)


def _numbers(array: pa.Array) -> NDArray:
    """Return numbers as ``float64[n]``, NaN for a null."""
    numbers: NDArray = array.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return numbers


def _is_list(kind: pa.DataType) -> bool:
    types = pa.types
    is_list: bool = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return is_list


def _kind_of(column: Any) -> object:
    if not isinstance(column, np.ndarray):
        return column.type
    return pa.from_numpy_dtype(column.dtype) if column.ndim == 1 else f"arrays of {column.shape[1:]}"


def _counted(shape: tuple[int, ...], width: int, kind: str, what: str) -> int:
    """Return how many items there are in a sample of a shape."""
    if len(shape) == 2 and shape[1] == width and shape[0]:
        return shape[0]
    if len(shape) == 1 and shape[0] and not shape[0] % width:
        return shape[0] // width
    raise DeclarationError(
        lines(
            f"{kind} have {width} numbers each; a sample of {what} has shape {shape}.",
            f"Store them as (any number, {width}), or flat.",
        )
    )


def _unsuited(kind: str, width: int, name: str, found: object) -> DeclarationError:
    return DeclarationError(
        lines(
            f"{kind} are lists of {width} numbers each, arrays of shape (any number, {width}), or "
            f"columns of one number each; {name!r} holds {found}.",
            "Convert the column.",
        )
    )
