"""Tables from wherever they come: files, Arrow objects, dicts of arrays; and columns by name."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
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
        arrays: The NumPy columns, whose first axis is the rows; None where a table came.
        names: All names in order, where a mapping came.
    """

    def __init__(
        self,
        arrow: pa.Table,
        arrays: Mapping[str, np.ndarray] | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        self._arrow = arrow
        self._is_mapping = arrays is not None
        self._arrays = dict(arrays or {})
        self.names = list(names or [*arrow.column_names, *self._arrays])
        # The table that they are of, as the user gave it.
        self.given: pa.Table | None = None
        lengths = dict.fromkeys(arrow.column_names, arrow.num_rows)
        self.count = one_length(lengths | {name: len(a) for name, a in self._arrays.items()})

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> Column:
        if name in self._arrays:
            return self._arrays[name]
        if name in self.names:
            return self._arrow.column(name)
        raise DeclarationError(lines(f"the row table has no column {name!r}.", near(name, self.names)))

    def all_matching(self, patterns: Iterable[str]) -> list[str]:
        """Return the columns that names and patterns stand for, in their order."""
        return [name for pattern in patterns for name in self.matching(pattern)]

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

    def move(self, mover: Callable[[pa.Table], pa.Table]) -> None:
        """Let the Arrow columns stand elsewhere, for everybody who looks at this table.

        Args:
            mover: Function of a table that returns an equal one.
        """
        self._arrow, self.given = mover(self._arrow), None

    def take(self, index: np.ndarray | None) -> pa.Table | dict[str, Any]:
        """Return the rows at `index`, all by default, in the form that the columns came in."""
        if index is None:
            if not self._is_mapping:
                return self._arrow if self.given is None else self.given
            return {name: self[name] for name in self.names}
        table = self._arrow.take(pa.array(index))
        if not self._is_mapping:
            return table
        return {
            name: self._arrays[name][index] if name in self._arrays else table.column(name)
            for name in self.names
        }


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


def is_table_file(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file's name ends as that of a table file does."""
    return Path(path).suffix.lower() in _READERS


def as_columns(source: Any, what: str, text: Collection[str] = ()) -> Columns:
    """Turn whatever counts as a row table into columns.

    Args:
        source: A table file's path, anything with ``__arrow_c_stream__``, or a mapping of names to
            arrays or lists.
        what: How errors call it.
        text: Columns of a CSV or JSON file that are read as text whatever they look like.
    """
    if isinstance(source, Mapping):
        return _from_mapping(source, what)
    return Columns(as_table(source, what, text))


def as_table(source: Any, what: str, text: Collection[str] = ()) -> pa.Table:
    """Turn whatever counts as a row table into a `pyarrow.Table`; see `as_columns`."""
    if is_path(source):
        return read_table(source, text)
    if isinstance(source, Mapping):
        columns = _from_mapping(source, what)
        return pa.table({name: _as_arrow(name, columns[name]) for name in source})
    if not hasattr(source, "__arrow_c_stream__"):
        raise DeclarationError(
            lines(
                f"{what} must be a table.",
                f"Received: {type(source).__name__}.",
                "Pass a table file (.csv, .tsv, .parquet, .arrow, .feather, .jsonl), a pyarrow, pandas "
                "or polars table, or a dict of arrays.",
            )
        )
    try:
        return _settled(pa.table(source))
    except _CONVERSION_ERRORS as error:
        raise DeclarationError(
            lines(
                f"{what} cannot be used as a table: {_reason(error)}.",
                "Give its columns different names, and each column values of one kind.",
            )
        ) from error


def read_table(path: str | os.PathLike[str], text: Collection[str] = ()) -> pa.Table:
    """Read a table file; its text columns remember the file's folder.

    Args:
        path: A ``.csv``, ``.tsv``, ``.parquet``, ``.arrow``, ``.feather`` or ``.jsonl`` file.
        text: Columns of a CSV or JSON file that are read as text whatever they look like.

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
        # Where a damaged file says that its texts begin and end is not to be believed.
        table.validate(full=True)
        table = _settled(table)
    except (*_CONVERSION_ERRORS, OSError) as error:
        raise DeclarationError(
            lines(
                f"the table file {os.fspath(path)!r} cannot be read.",
                f"The parser says: {_reason(error)}.",
            )
        ) from error
    return _with_folder(table, os.path.dirname(os.path.abspath(path)))


def is_text(kind: pa.DataType) -> bool:
    """Tell whether a column of this Arrow type holds text."""
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def kind_of(column: Column) -> str:
    """Return in a word what a column holds: columns of one kind can stand below each other."""
    if isinstance(column, np.ndarray):
        return "booleans" if column.dtype.kind == "b" else "numbers"
    kind = column.type
    while pa.types.is_dictionary(kind):
        kind = kind.value_type
    if is_text(kind):
        return "text"
    if pa.types.is_boolean(kind):
        return "booleans"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "numbers"
    return "bytes" if is_bytes(kind) else "lists" if pa.types.is_nested(kind) else str(kind)


def is_bytes(kind: pa.DataType) -> bool:
    """Tell whether a column of this Arrow type holds bytes."""
    types = pa.types
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_binary_view(kind)
        or types.is_fixed_size_binary(kind)
    )


# What PyArrow raises where values do not make a table; UnicodeDecodeError is a ValueError.
_CONVERSION_ERRORS = (pa.ArrowException, ValueError, TypeError, RuntimeError, OverflowError)


def _reason(error: BaseException) -> str:
    # PyArrow tells which column it was in a second argument.
    said = error.args if isinstance(error, pa.ArrowException) else (error,)
    return "; ".join(str(each).rstrip(".") for each in said)


# Arrow cannot take rows from more text than this where its positions have 32 bits.
_TAKE_BYTES = 2**31 - 1


def _settled(table: pa.Table) -> pa.Table:
    """Return a table in which a name means one column, and that rows can be taken from."""
    names = _distinct(table.column_names)
    # pandas writes an index without a name out as a column: positions, which say nothing of a sample.
    table = table.drop_columns([name for name in names if re.fullmatch(r"__index_level_\d+__", name)])
    fields = [
        field.with_type(_takeable(field.type, _bytes_at_most(column) > _TAKE_BYTES))
        for field, column in zip(table.schema, table.columns, strict=True)
    ]
    return table.cast(pa.schema(fields, table.schema.metadata))


def _bytes_at_most(column: pa.ChunkedArray) -> int:
    # `nbytes` would be exact, but older PyArrow has none for views.
    return sum(chunk.get_total_buffer_size() for chunk in column.chunks)


def _distinct(names: list[str]) -> list[str]:
    twice = [name for name in names if names.count(name) > 1] if len(set(names)) < len(names) else []
    if twice:
        raise ValueError(f"it has {names.count(twice[0])} columns {twice[0]!r}")
    return names


def _takeable(kind: pa.DataType, is_huge: bool) -> pa.DataType:
    """Return the nearest type that has a `take`; Arrow has none for views, nor for what is huge."""
    if pa.types.is_string_view(kind) or (is_huge and pa.types.is_string(kind)):
        return pa.large_string()
    if pa.types.is_binary_view(kind) or (is_huge and pa.types.is_binary(kind)):
        return pa.large_binary()
    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _takeable(kind.value_type, False), kind.ordered)
    if pa.types.is_struct(kind):
        fields = [kind.field(number) for number in range(kind.num_fields)]
        return pa.struct([field.with_type(_takeable(field.type, is_huge)) for field in fields])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        item = kind.value_field.with_type(_takeable(kind.value_type, is_huge))
        if pa.types.is_fixed_size_list(kind):
            return pa.list_(item, kind.list_size)
        return (pa.large_list if is_huge or pa.types.is_large_list(kind) else pa.list_)(item)
    return kind


def _with_folder(table: pa.Table, folder: str) -> pa.Table:
    """Let the columns that hold text or bytes remember a folder, and no column claim another one."""
    fields = []
    for field in table.schema:
        metadata = {key: value for key, value in (field.metadata or {}).items() if key != FOLDER}
        kind = field.type
        while hasattr(kind, "value_type"):  # lists and dictionaries of texts
            kind = kind.value_type
        # What has bytes for a row may be given a file's name for another, see `prepare`.
        if is_text(kind) or is_bytes(kind):
            metadata[FOLDER] = os.fsencode(folder)
        fields.append(field.with_metadata(metadata or None))
    return table.cast(pa.schema(fields, table.schema.metadata))


# A row must fit into one block. Bigger blocks keep fewer cores busy.
_BLOCK_BYTES = 2**24

# "007" is a code, not the number 7. Nor is a number what has too many digits for an int64: Arrow
# makes a float of it, which loses the last ones.
_CODE = r"^\s*[+-]?0\d"
_CODE_AMONG_FLOATS = r"^\s*[+-]?(0\d|\d{19,}\s*$)"


def _read_csv(path: Path, text: Collection[str], delimiter: str = ",") -> pa.Table:
    from pyarrow import csv

    def options(kinds: Collection[str], only: Collection[str] = ()) -> dict[str, Any]:
        return {
            "read_options": csv.ReadOptions(block_size=_BLOCK_BYTES),
            "parse_options": csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            "convert_options": csv.ConvertOptions(
                column_types=dict.fromkeys(kinds, pa.string()), include_columns=only
            ),
        }

    table = csv.read_csv(path, **options(text))
    _distinct(table.column_names)
    signs = {
        field.name: _CODE if pa.types.is_integer(field.type) else _CODE_AMONG_FLOATS
        for field in table.schema
        if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
    }
    if signs:
        with csv.open_csv(path, **options(signs, list(signs))) as batches:
            codes = _columns_with_codes(batches, signs)
        if codes:
            table = csv.read_csv(path, **options({*text, *codes}))
    return _with_nulls(table)


def _columns_with_codes(batches: Iterable[pa.RecordBatch], signs: Mapping[str, str]) -> set[str]:
    """Return the columns of text in which a cell has its sign (a regular expression) of a code."""
    codes: set[str] = set()
    for batch in batches:
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if pc.any(pc.match_substring_regex(column, signs[name])).as_py():
                codes.add(name)
    return codes


def _with_nulls(table: pa.Table) -> pa.Table:
    """Make the empty cells of a CSV's text columns null, which those of other columns are already."""
    for number, field in enumerate(table.schema):
        column = table.column(number)
        # Arrow's way to say that a text column is not UTF-8.
        if pa.types.is_binary(field.type):
            raise ValueError(f"column {field.name!r} holds text that is not UTF-8")
        if is_text(field.type):
            filled = pc.if_else(pc.equal(column, ""), pa.scalar(None, field.type), column)
            table = table.set_column(number, field, filled)
    return table


def _read_tsv(path: Path, text: Collection[str]) -> pa.Table:
    return _read_csv(path, text, delimiter="\t")


def _read_parquet(path: Path, text: Collection[str]) -> pa.Table:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        return file.read()


def _read_arrow(path: Path, text: Collection[str]) -> pa.Table:
    from pyarrow import ipc

    with pa.memory_map(os.fspath(path)) as source:
        is_file = source.read(6) == b"ARROW1"
        source.seek(0)
        return (ipc.open_file if is_file else ipc.open_stream)(source).read_all()


def _read_json_lines(path: Path, text: Collection[str]) -> pa.Table:
    from pyarrow import json

    def read(kinds: Collection[str]) -> pa.Table:
        schema = pa.schema([(name, pa.string()) for name in kinds])
        return json.read_json(
            path,
            read_options=json.ReadOptions(block_size=_BLOCK_BYTES),
            parse_options=json.ParseOptions(explicit_schema=schema),
        )

    _refuse_deadly(path)
    table = read(())
    # Arrow makes times of texts such as "2024-01-01".
    times = [name for name in table.column_names if name in text and _is_time(table.field(name).type)]
    return read(times).select(table.column_names) if times else table


# Arrow goes down into values by recursion: those of one line of `[[[[…` are more than its stack holds,
# which kills the process. Of Parquet and its own files it refuses what is deeper than 100 and 64 itself.
_DEEPEST = 100
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_TEXT_IN_JSON = re.compile(rb'"(?:[^"\\]|\\.)*+"')
# A null in place of the first object kills it as well.
_NULL_ROW = re.compile(rb"\n\s*(?:\xef\xbb\xbf\s*)?null")


def _refuse_deadly(path: Path) -> None:
    """Raise if a JSON file has something that Arrow dies of."""
    with path.open("rb") as file:
        # Arrow refuses a line that is longer than a block.
        while text := file.read(_BLOCK_BYTES) + file.readline(_BLOCK_BYTES):
            # Only if brackets are left may it be for those that stand in texts, which is slow to tell.
            if _has_deeper(text) and _has_deeper(_TEXT_IN_JSON.sub(b"", text)):
                raise ValueError(f"its values are nested deeper than {_DEEPEST}, or never closed")
            if _NULL_ROW.search(b"\n" + text):
                raise ValueError("a line is null, where each is an object")


def _has_deeper(text: bytes) -> bool:
    """Tell whether brackets are left once the innermost ones have been removed often enough."""
    brackets = text.translate(None, _NO_BRACKETS)
    for _ in range(_DEEPEST):
        rest = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if len(rest) == len(brackets):
            break
        brackets = rest
    return bool(brackets)


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_temporal(kind))


_READERS = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".parquet": _read_parquet,
    ".arrow": _read_arrow,
    ".feather": _read_arrow,
    ".jsonl": _read_json_lines,
}


def _from_mapping(source: Mapping[str, Any], what: str) -> Columns:
    arrow: dict[str, pa.ChunkedArray] = {}
    arrays: dict[str, np.ndarray] = {}
    for name, values in source.items():
        if not isinstance(name, str):
            raise DeclarationError(f"{what} must have text as names of columns; received {name!r}.")
        column = _column(name, values)
        if isinstance(column, np.ndarray):
            arrays[name] = column
        else:
            arrow[name] = column
    one_length({name: len(column) for name, column in {**arrow, **arrays}.items()})
    return Columns(_settled(pa.table(arrow)), arrays, list(source))


def _column(name: str, values: Any) -> Column:
    """Return arrays of numbers as they are, and all else as Arrow."""
    try:
        # Tensors of torch, JAX and TensorFlow. PyArrow would go through them value by value.
        if hasattr(values, "__dlpack__") and not isinstance(values, np.ndarray | pa.Array):
            values = np.asarray(values)
        if isinstance(values, str | bytes) or getattr(values, "ndim", 1) == 0:
            raise ValueError(f"it is the single value {values!r}")
    except _CONVERSION_ERRORS as error:
        raise _unusable(name, error) from error
    return values if _holds_numbers(values) else _as_arrow(name, values)


def _holds_numbers(values: Any) -> bool:
    """Tell whether values are an array of numbers, each of which counts."""
    is_array = isinstance(values, np.ndarray) and not isinstance(values, np.ma.MaskedArray)
    return is_array and values.dtype.kind in "biufc"


def _as_arrow(name: str, values: Any) -> pa.ChunkedArray:
    """Return values as Arrow; rows of an N-D array become fixed-shape tensors, without a copy."""
    if isinstance(values, pa.ChunkedArray):
        return values
    try:
        if hasattr(values, "__arrow_c_stream__"):
            return pa.chunked_array(values)
        if _holds_numbers(values):
            values = values.astype(values.dtype.newbyteorder("="), copy=False)
        if _holds_numbers(values) and values.ndim > 1:
            array = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(values))
        else:
            array = pa.array(_without_paths(values))
    except _CONVERSION_ERRORS as error:
        raise _unusable(name, error) from error
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])


def _without_paths(values: Any) -> Any:
    """Return values with the names of `pathlib.Path` objects, which Arrow does not know."""
    if isinstance(values, list | tuple) and any(isinstance(each, os.PathLike) for each in values):
        return [os.fspath(each) if isinstance(each, os.PathLike) else each for each in values]
    return values


def _unusable(name: str, error: BaseException) -> DeclarationError:
    return DeclarationError(
        lines(
            f"column {name!r} cannot be used as it is: {_reason(error)}.",
            "Pass a NumPy array, or a list with one value a sample, all of one kind.",
        )
    )
