"""Tables from wherever they come: files, Arrow objects, dicts of arrays; and columns by name."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from multifeed.errors import DeclarationError, lines, near, some

# Where the file names in a column start from, kept in the Arrow field's metadata: it survives the
# joins and selections that a table goes through.
FOLDER = b"multifeed.folder"

# A `pyarrow.ChunkedArray` or a NumPy array, rows first. PyArrow has no types to say so with.
Column: TypeAlias = Any


class Columns:
    """Named columns of one length: Arrow columns, and N-D NumPy arrays as they are.

    Args:
        arrow: The Arrow columns.
        arrays: The NumPy columns; their first axis is the rows.
    """

    def __init__(self, arrow: pa.Table, arrays: Mapping[str, np.ndarray] | None = None) -> None:
        self._arrow = arrow
        self._arrays = dict(arrays or {})
        lengths = dict.fromkeys(arrow.column_names, arrow.num_rows)
        self.count = one_length(lengths | {name: len(a) for name, a in self._arrays.items()})

    @property
    def names(self) -> list[str]:
        """Names of all columns."""
        return [*self._arrow.column_names, *self._arrays]

    def __contains__(self, name: str) -> bool:
        return name in self._arrays or name in self._arrow.column_names

    def __getitem__(self, name: str) -> Column:
        if name in self._arrays:
            return self._arrays[name]
        if name in self._arrow.column_names:
            return self._arrow.column(name)
        raise DeclarationError(lines(f"the row table has no column {name!r}.", near(name, self.names)))

    def folder(self, name: str) -> str | None:
        """Return the folder of the table file that the column came from, if it came from one."""
        if name in self._arrays:
            return None
        metadata = self._arrow.schema.field(name).metadata or {}
        return os.fsdecode(metadata[FOLDER]) if FOLDER in metadata else None

    def matching(self, pattern: str) -> list[str]:
        """Return the columns that a name or a pattern such as ``"pixel*"`` stands for."""
        if pattern in self or not set(pattern) & set("*?["):
            self[pattern]
            return [pattern]
        found = [name for name in self.names if fnmatchcase(name, pattern)]
        if not found:
            raise DeclarationError(
                lines(f"no column matches {pattern!r}.", f"There are: {some(self.names, 8)}.")
            )
        return found

    def take(self, index: np.ndarray) -> pa.Table | dict[str, Any]:
        """Return the rows at `index`, in the form that the columns came in."""
        table = self._arrow.take(pa.array(index))
        if not self._arrays:
            return table
        taken = {name: array[index] for name, array in self._arrays.items()}
        return {name: table.column(name) for name in table.column_names} | taken


def one_length(lengths: Mapping[str, int]) -> int:
    """Return the length that all columns share; columns of several lengths are an error."""
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name!r} has {count:,}" for name, count in lengths.items())
        raise DeclarationError(
            lines(
                "the columns of a row table must have one length.",
                f"Received: {listed}.",
                "Give every column one value a sample, or join by key with mf.align.",
            )
        )
    return next(iter(lengths.values()), 0)


def is_path(source: object) -> bool:
    """Tell whether a source is given as the name of a file."""
    return isinstance(source, str | os.PathLike)


def as_columns(source: Any, what: str, text: Collection[str] = ()) -> Columns:
    """Turn whatever counts as a row table into columns.

    Args:
        source: A table file's path, anything with ``__arrow_c_stream__``, or a mapping of names to
            arrays or lists.
        what: How errors call it.
        text: Columns of a CSV that are read as text whatever they look like.
    """
    if isinstance(source, Mapping):
        return _from_mapping(source)
    return Columns(as_table(source, what, text))


def as_table(source: Any, what: str, text: Collection[str] = ()) -> pa.Table:
    """Turn whatever counts as a table into a `pyarrow.Table`; `text` columns of a CSV stay text."""
    if is_path(source):
        return read_table(source, text)
    if isinstance(source, pa.Table):
        return source
    if isinstance(source, Mapping):
        columns = _from_mapping(source)
        return pa.table({name: _as_arrow(columns[name]) for name in columns.names})
    if hasattr(source, "__arrow_c_stream__"):
        return pa.table(source)
    raise DeclarationError(
        lines(
            f"{what} must be a table.",
            f"Received: {type(source).__name__}.",
            "Pass a table file (.csv, .tsv, .parquet, .arrow, .feather, .jsonl), a pyarrow, pandas or "
            "polars table, or a dict of arrays.",
        )
    )


def read_table(path: str | os.PathLike[str], text: Collection[str] = ()) -> pa.Table:
    """Read a table file; its text columns remember the file's folder.

    Args:
        path: A ``.csv``, ``.tsv``, ``.parquet``, ``.arrow``, ``.feather`` or ``.jsonl`` file.
        text: Columns of a CSV that are read as text whatever they look like.

    Raises:
        DeclarationError: If the file is missing, is not a regular file, has another suffix, or cannot
            be parsed.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DeclarationError(
            lines(
                f"a table file ends in one of {', '.join(_READERS)}.",
                f"Received: {os.fspath(path)!r}.",
                "Convert the file, or pass the table itself (pyarrow, pandas, polars).",
            )
        )
    if not path.is_file():
        state = "is not a regular file" if path.exists() else "does not exist"
        raise DeclarationError(
            lines(
                f"the table file {os.fspath(path)!r} {state}.",
                f"Relative paths start from {os.getcwd()!r}.",
            )
        )
    try:
        table = reader(path, text)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DeclarationError(
            lines(f"the table file {os.fspath(path)!r} cannot be read.", f"The parser says: {error}.")
        ) from error
    return _with_folder(table, os.path.dirname(os.path.abspath(path)))


def _with_folder(table: pa.Table, folder: str) -> pa.Table:
    fields = [
        field.with_metadata({**(field.metadata or {}), FOLDER: os.fsencode(folder)})
        if is_text(field.type)
        else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields))


def is_text(kind: pa.DataType) -> bool:
    """Tell whether a column of this Arrow type holds text."""
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _read_csv(path: Path, text: Collection[str], delimiter: str = ",") -> pa.Table:
    from pyarrow import csv

    parse = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)

    def read(**options: Any) -> pa.Table:
        return csv.read_csv(path, parse_options=parse, convert_options=csv.ConvertOptions(**options))

    table = read(column_types=dict.fromkeys(text, pa.string()))
    # Arrow reads "007" as the number 7. A column that holds such text is an identifier or a code.
    integers = [field.name for field in table.schema if pa.types.is_integer(field.type)]
    if integers:
        raw = read(column_types=dict.fromkeys(integers, pa.string()), include_columns=integers)
        for name in integers:
            if pc.any(pc.match_substring_regex(raw[name], r"^\s*[+-]?0\d")).as_py():
                table = table.set_column(table.column_names.index(name), name, raw[name])
    return table


def _read_tsv(path: Path, text: Collection[str]) -> pa.Table:
    return _read_csv(path, text, delimiter="\t")


def _read_parquet(path: Path, text: Collection[str]) -> pa.Table:
    from pyarrow import parquet

    return parquet.read_table(path)


def _read_arrow(path: Path, text: Collection[str]) -> pa.Table:
    from pyarrow import ipc

    with pa.memory_map(os.fspath(path)) as source:
        if source.read(6) == b"ARROW1":
            source.seek(0)
            return ipc.open_file(source).read_all()
        source.seek(0)
        return ipc.open_stream(source).read_all()


def _read_json_lines(path: Path, text: Collection[str]) -> pa.Table:
    from pyarrow import json

    return json.read_json(path)


_READERS = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".parquet": _read_parquet,
    ".arrow": _read_arrow,
    ".feather": _read_arrow,
    ".jsonl": _read_json_lines,
}


def _from_mapping(source: Mapping[str, Any]) -> Columns:
    arrow: dict[str, pa.ChunkedArray] = {}
    arrays: dict[str, np.ndarray] = {}
    for name, values in source.items():
        if isinstance(values, np.ndarray) and values.ndim == 0:
            raise DeclarationError(
                lines(
                    f"column {name!r} must have one value a sample.",
                    f"Received: the single value {values!r}.",
                )
            )
        if isinstance(values, np.ndarray) and values.dtype.kind in "biufc":
            arrays[name] = values
        else:
            arrow[name] = _arrow_column(name, values)
    one_length({name: len(column) for name, column in {**arrow, **arrays}.items()})
    return Columns(pa.table(arrow), arrays)


def _arrow_column(name: str, values: Any) -> pa.ChunkedArray:
    if isinstance(values, pa.ChunkedArray):
        return values
    try:
        return pa.chunked_array([values if isinstance(values, pa.Array) else pa.array(values)])
    except (pa.ArrowException, TypeError) as error:
        raise DeclarationError(
            lines(
                f"column {name!r} cannot be used as it is: {error}.",
                "Pass a NumPy array, or a list whose values are all of one kind.",
            )
        ) from error


def _as_arrow(column: Column) -> pa.Array | pa.ChunkedArray:
    """Return a column as Arrow; rows of an N-D array become fixed-shape tensors, without a copy."""
    if not isinstance(column, np.ndarray):
        return column
    if column.ndim == 1:
        return pa.array(column)
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(column))
