"""Windows: many short samples of long series."""

from __future__ import annotations

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from multifeed.batch import bad_sample
from multifeed.errors import BadValue, DeclarationError, MultifeedWarning, lines, near, some
from multifeed.fields.arrayfiles import FORMATS, count_rows, named
from multifeed.fields.layouts import is_series
from multifeed.fields.rows import NDArray, Source
from multifeed.fields.shared import at_least, at_least_one, holds_text, one_of
from multifeed.files import of_table
from multifeed.folder import suffix_of
from multifeed.listing import Pattern
from multifeed.table import Columns, as_table, is_path
from multifeed.workers.cpus import usable_cpus

# The column of paths, where a pattern came.
_FILE = "file"
_MADE = ("window", "start", "stop")


def windows(
    rows: Any,
    length: int,
    stride: int | None = None,
    *,
    column: str | None = None,
    member: str | None = None,
    key: str | None = None,
    remainder: str = "drop",
    root: str | os.PathLike[str] | None = None,
    allow_outside: bool = False,
    workers: int | None = None,
) -> pa.Table:
    """Make a row table of windows over series of unequal length: one row per window.

    An `Array` of the column of series then reads its window, and no more of the series. Of series in
    files, only the headers are read here, on threads; series in memory are shared by their windows, not
    copied. All windows of a series have the other values of its row, so that ``data.split(by=...)``
    keeps them together.

    Args:
        rows: One row per series: a row table, as a `Dataset` takes it; or a path pattern such as
            ``"signals/{id}.npy"``, whose paths become the column ``"file"``.
        length: Rows of a series in a window.
        stride: Rows between the beginnings of two windows; by default they lie end to end.
        column: The column of series: names of files as `Array` reads them, or lists. By default the
            only one.
        member: As for `Array`: the path inside each file.
        key: A column that names a series; by default it is called by its row number.
        remainder: What becomes of the last rows of a series, if they fill no window: ``"drop"`` leaves
            them out, ``"pad"`` makes a shorter window of them, which ``pad_to=length`` fills up, and
            ``"shift"`` makes one of full length that ends where the series does.
        root: As for `Dataset`: where relative file names start.
        allow_outside: As for `Dataset`.
        workers: Threads that read headers; by default four for each CPU this process may use.

    Returns:
        The columns of `rows`, and ``"window"``, text, a key of its own for each window such as
        ``"p7@256"``; ``"start"`` and ``"stop"``, int64, the rows of the series that it consists of.

    Raises:
        DeclarationError: If an argument is wrong, a column is called as one of the new ones, or there
            is no window.
        SampleError: If a series cannot be read.

    Warns:
        MultifeedWarning: If series are too short to have a window.

    Example:
        >>> import multifeed as mf
        >>> rows = windows({"id": ["a", "b"], "signal": [[1, 2, 3, 4, 5], [6, 7, 8]]}, 2, 2, key="id")
        >>> rows.select(["window", "start", "stop"]).to_pylist()[1:]
        [{'window': 'a@2', 'start': 2, 'stop': 4}, {'window': 'b@0', 'start': 0, 'stop': 2}]
        >>> data = mf.Dataset(rows, key="window", inputs=mf.Array("signal", (2,)))
        >>> data[1]
        (array([3, 4], dtype=int32),)
    """
    length = at_least("length", length, 1)
    stride = length if stride is None else at_least("stride", stride, 1)
    one_of("remainder", remainder, ("drop", "pad", "shift"))
    threads = at_least_one("workers", workers) or 4 * usable_cpus()
    table = _table(rows)
    for name in _MADE:
        if name in table.column_names:
            raise DeclarationError(
                lines(
                    f"windows have the columns {some(_MADE)}, and the rows have a column {name!r}.",
                    "Rename that one.",
                )
            )
    source = Source(Columns(table), None, None if root is None else os.path.abspath(root), allow_outside)
    column = _column(table, column, key)
    keys = _keys(table, key)
    lengths = _lengths(source, column, member, threads)
    series, starts, stops = _places(lengths, length, stride, remainder)
    _tell_short(lengths, series, length)
    return _joined(table, column, keys, series, starts, stops)


def _table(rows: Any) -> pa.Table:
    if is_path(rows) and set(os.fspath(rows)) & set("{*"):
        pattern = Pattern(rows)
        table = pattern.table(_FILE)
        if not table.num_rows:
            raise DeclarationError(
                lines(f"the pattern {pattern.text!r} matches no {pattern.wanted}.", pattern.why_empty())
            )
        return table
    table = as_table(rows, "rows")
    if not table.num_rows:
        raise DeclarationError("windows are made of one series at least; this row table has 0 rows.")
    return table


def _column(table: pa.Table, column: str | None, key: str | None) -> str:
    """Return the column of series."""
    names: list[str] = table.column_names
    for name in (column, key):
        if name is not None and name not in names:
            raise DeclarationError(lines(f"the row table has no column {name!r}.", near(name, names)))
    if column is not None:
        return column
    found = [name for name in names if _is_lists(table.schema.field(name).type)]
    found = found or [name for name in names if name != key and _names_arrays(table.column(name))]
    if len(found) != 1:
        held = f"there are {some(found, 8)}" if found else "there is none"
        raise DeclarationError(
            lines(f"windows are made of one column of series; {held}.", "Pass column=<its name>.")
        )
    return found[0]


def _is_lists(kind: pa.DataType) -> bool:
    return (
        is_series(kind) or isinstance(kind, pa.FixedShapeTensorType) or pa.types.is_fixed_size_list(kind)
    )


def _names_arrays(column: pa.ChunkedArray) -> bool:
    """Tell whether the first value of a column is the name of a file of arrays."""
    first = column[0].as_py() if holds_text(column.type) else None
    if first is None:
        return False
    name, path, _ = named(first, None)
    return bool(path) or suffix_of(name) in FORMATS


def _keys(table: pa.Table, key: str | None) -> pa.Array:
    """Return what the series are called."""
    if key is None:
        return pa.array(np.arange(table.num_rows)).cast(pa.string())
    keys = table.column(key).cast(pa.string()).combine_chunks()
    if keys.null_count or len(keys.unique()) < len(keys):
        raise DeclarationError(f"key={key!r} names each series; it is empty in a row, or occurs twice.")
    return keys


def _lengths(source: Source, column: str, member: str | None, threads: int) -> NDArray:
    """Return how many rows each series has, ``int64[n]``."""
    values = source.arrow(column)
    if values.null_count:
        row = int(np.flatnonzero(source.nulls(column))[0])
        missing = BadValue("is missing: the column is null", "Fill it in, or leave the row out.")
        raise bad_sample(missing, column, row, None, None)
    if not holds_text(values.type):
        lists = _as_lists(values, column)
        lists = lists.dictionary.take(lists.indices) if pa.types.is_dictionary(lists.type) else lists
        found: NDArray = pc.list_value_length(lists).to_numpy().astype(np.int64)
        return found
    folder, encoded = source.folder(column), values.dictionary_encode()
    rows = np.unique(encoded.indices.to_numpy(), return_index=True)[1]

    def count(first: tuple[int, str]) -> int:
        row, cell = first
        try:
            return count_rows(folder, cell, member)
        except BadValue as error:
            file = folder.path(named(cell, None)[0])
            told = BadValue(error.reason, of_table(error.remedy))
            raise bad_sample(told, column, int(row), file, None) from error

    with ThreadPoolExecutor(threads) as pool:
        cells = encoded.dictionary.to_pylist()
        counts = list(pool.map(count, zip(rows, cells, strict=True)))
    each: NDArray = np.array(counts, np.int64)[encoded.indices.to_numpy()]
    return each


def _places(
    lengths: NDArray, length: int, stride: int, remainder: str
) -> tuple[NDArray, NDArray, NDArray]:
    """Return the series of each window, where it starts, and where it stops, ``int64[n]`` each."""
    beyond = np.maximum(lengths - length, 0)
    if remainder == "drop":
        counts = beyond // stride + 1
    else:
        # One more where rows are left; none begins behind the end, as a stride above the length lets it.
        counts = np.minimum(-(-beyond // stride), (lengths - 1) // stride) + 1
    counts[lengths < (1 if remainder == "pad" else length)] = 0
    series = np.repeat(np.arange(len(lengths)), counts)
    number = np.arange(len(series)) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = number * stride
    if remainder == "shift":
        starts = np.minimum(starts, beyond[series])
    return series, starts, np.minimum(starts + length, lengths[series])


def _tell_short(lengths: NDArray, series: NDArray, length: int) -> None:
    """Raise if there is no window, and warn of series that have none."""
    without = len(lengths) - len(np.unique(series))
    rule = (
        f"{without:,} of {len(lengths):,} series have no window: they are shorter than {length:,} rows"
    )
    if not len(series):
        raise DeclarationError(
            lines(
                f"{rule}; the longest has {lengths.max():,}.",
                'Pass a shorter length, or remainder="pad".',
            )
        )
    if without:
        warnings.warn(f'{rule}. remainder="pad" keeps them.', MultifeedWarning, stacklevel=3)


def _joined(
    table: pa.Table, column: str, keys: pa.Array, series: NDArray, starts: NDArray, stops: NDArray
) -> pa.Table:
    """Return the rows of the windows."""
    kind = pa.int32() if table.num_rows < 2**31 else pa.int64()
    index, first = pa.array(series, kind), pa.array(starts)
    columns, fields = [], []
    for field, values in zip(table.schema, table.columns, strict=True):
        if is_series(field.type) or (field.name == column and not holds_text(field.type)):
            lists = _as_lists(values.combine_chunks(), field.name)
            shared = (
                lists.take(index)
                if pa.types.is_dictionary(lists.type)
                else pa.DictionaryArray.from_arrays(index, lists)
            )
            columns.append(shared)
            fields.append(field.with_type(shared.type))
        else:
            columns.append(values.take(index))
            fields.append(field)
    window = pc.binary_join_element_wise(keys.take(index), first.cast(pa.string()), "@")
    joined = pa.table(columns, schema=pa.schema(fields, table.schema.metadata))
    for name, values in zip(_MADE, (window, first, pa.array(stops)), strict=True):
        joined = joined.append_column(name, values)
    return joined


def _as_lists(values: Any, column: str) -> Any:
    """Return series in memory as lists of any length, without a copy; they have no nulls."""
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    kind = array.type
    if is_series(kind):
        return array
    shape = [getattr(kind, "list_size", 0)]
    if isinstance(kind, pa.FixedShapeTensorType) and kind.permutation in (
        None,
        [*range(len(kind.shape))],
    ):
        shape, array = kind.shape, array.storage
    elif not pa.types.is_fixed_size_list(kind):
        raise DeclarationError(
            lines(
                f"windows are made of files or lists; {column!r} holds {kind}.",
                "Pass column=<the name of another one>.",
            )
        )
    items = array.flatten()
    for size in reversed(shape[1:]):
        items = pa.FixedSizeListArray.from_arrays(items, size)
    offsets = np.arange(len(array) + 1, dtype=np.int64) * shape[0]
    return pa.LargeListArray.from_arrays(pa.array(offsets), items)
