"""Tables from wherever they come: files, Arrow objects, dicts of arrays; and columns by name."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from multifeed.errors import BadValue, DeclarationError, lines, near, some
from multifeed.hugging_face import is_dataset, with_plain_types
from multifeed.parsers import READERS, distinct
from multifeed.remote.uri import Request, is_uri, localized, parent, parts_of, shown

# Where the file names in a column start from, kept in the Arrow field's metadata: it survives the
# joins and selections that a table goes through.
FOLDER = b"multifeed.folder"

# A table far away is copied in pieces of so many bytes.
_COPY_BYTES = 2**26

# The pattern of the files that the rows of a table were read from, in the metadata of its schema.
FILES = b"multifeed.files"

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
    return Path(path).suffix.lower() in READERS


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
    if is_dataset(source):
        # Its rows in their order; mapped to its files unless they have been moved.
        source = source.with_format("arrow")[:]
    if not hasattr(source, "__arrow_c_stream__"):
        raise DeclarationError(
            lines(f"{what} must be a table.", f"Received: {type(source).__name__}.", _instead(source))
        )
    try:
        return settled(pa.table(source))
    except _CONVERSION_ERRORS as error:
        raise DeclarationError(
            lines(
                f"{what} cannot be used as a table: {_reason(error)}.",
                "Give its columns different names, and each column values of one kind.",
            )
        ) from error


def _instead(source: object) -> str:
    """Say what to pass in place of what is no table."""
    kind = type(source).__name__
    if kind == "LazyFrame":
        return "Pass what its collect() returns."
    if kind in ("IterableDataset", "IterableDatasetDict"):
        return "Load it without streaming=True: rows are read by number, again in each epoch."
    return (
        "Pass a table file (.csv, .tsv, .parquet, .arrow, .feather, .jsonl), a pyarrow, pandas "
        "or polars table, or a dict of arrays."
    )


def read_table(path: str | os.PathLike[str], text: Collection[str] = ()) -> pa.Table:
    """Read a table file, or a folder of them; its text columns remember the file's folder.

    Args:
        path: A ``.csv``, ``.tsv``, ``.parquet``, ``.arrow``, ``.feather`` or ``.jsonl`` file; or a
            folder with Parquet or Arrow files, also in folders such as ``year=2024``: see `files_of`;
            or the URI of a file.
        text: Columns of a CSV or JSON file, and of the names of folders, that are read as text whatever
            they look like.

    Raises:
        DeclarationError: If the file is missing, is not a regular file, has another suffix, or cannot
            be parsed; or the files of a folder are of several kinds, or have columns of several types.
    """
    name = localized(os.fspath(path))
    if is_uri(name):
        return with_folder(_read_far(name, text), parent(name))
    path = Path(name)
    if path.is_dir():
        return with_folder(_read_folder(path, text), os.path.abspath(path))
    return with_folder(_read_file(path, text), os.path.dirname(os.path.abspath(path)))


def _read_far(uri: str, text: Collection[str]) -> pa.Table:
    """Read a table file far away, by way of a copy that is there no longer than that."""
    from multifeed.remote.file import RemoteFile

    suffix = _suffix(parts_of(shown(uri)).path, shown(uri))
    try:
        with tempfile.TemporaryDirectory("-multifeed", ignore_cleanup_errors=True) as folder:
            copy = Path(folder) / f"table{suffix}"
            with RemoteFile(Request(uri)) as file, copy.open("wb") as into:
                for start in range(0, file.size, _COPY_BYTES):
                    into.write(file.read(start, min(_COPY_BYTES, file.size - start)))
            return _read_file(copy, text, shown(uri))
    except BadValue as error:
        raise DeclarationError(
            lines(f"the table file {shown(uri)!r} {error.reason}.", error.remedy)
        ) from error


def _suffix(path: str, name: str) -> str:
    """Return how the path of a table file ends, which errors call `name`."""
    suffix = Path(path).suffix.lower()
    if suffix not in READERS:
        raise DeclarationError(
            lines(
                f"a table file ends in one of {', '.join(READERS)}.",
                f"Received: {name!r}.",
                "Convert the file, or pass the table itself (pyarrow, pandas, polars).",
            )
        )
    return suffix


def _read_file(path: Path, text: Collection[str], name: str = "") -> pa.Table:
    """Read a table file, which errors call `name` if that is given."""
    name = name or os.fspath(path)
    reader = READERS[_suffix(os.fspath(path), name)]
    if not path.is_file():
        state = "is not a regular file" if path.exists() else "does not exist"
        raise DeclarationError(
            lines(
                f"the table file {name!r} {state}.",
                f"Relative paths start from {os.getcwd()!r}.",
            )
        )
    try:
        table = reader(path, text)
        # Where a damaged file says that its texts begin and end is not to be believed.
        table.validate(full=True)
        return settled(table)
    except (*_CONVERSION_ERRORS, OSError) as error:
        raise DeclarationError(
            lines(
                f"the table file {name!r} cannot be read.",
                f"The parser says: {_reason(error)}.",
            )
        ) from error


# Of other kinds, each file by itself would have other types.
_IN_FOLDERS = (".parquet", ".arrow", ".feather")

# What stands for a null in the name of a folder such as `year=2024`, as Hive and Spark write them.
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_WHOLE_NUMBER = r"^(0|-?[1-9][0-9]{0,17})$"


def files_of(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the table files of a folder, at any depth, sorted by path.

    Names that begin with a dot or an underscore are passed over, as Spark does.
    """
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name[0] not in "._"]
        for name in names:
            if name[0] not in "._" and Path(name).suffix.lower() in _IN_FOLDERS:
                found.append(Path(place, name))
    return sorted(found, key=lambda path: path.as_posix())


def _read_folder(folder: Path, text: Collection[str]) -> pa.Table:
    files = files_of(folder)
    kinds = sorted({path.suffix.lower() for path in files})
    if len(kinds) != 1:
        raise DeclarationError(
            lines(
                f"a folder that is a table has table files of one kind; {os.fspath(folder)!r} has "
                f"{' and '.join(kinds) if kinds else 'none'}.",
                f"They end in {', '.join(_IN_FOLDERS)}.",
            )
        )
    told = _partitions([path.relative_to(folder) for path in files], text)
    tables: list[pa.Table] = []
    schema = pa.schema([])
    for row, path in enumerate(files):
        table = _read_file(path, text)
        for name, values in told.items():
            if name not in table.column_names:
                table = table.append_column(name, pa.repeat(values[row], len(table)))
        try:
            schema = pa.unify_schemas([schema, table.schema])
        except pa.ArrowException as error:
            raise DeclarationError(
                lines(
                    f"the files of a table have columns of the same types: {os.fspath(path)!r} has "
                    f"others than the files before it ({_reason(error)}).",
                    "Write it anew with the types of the others.",
                )
            ) from error
        tables.append(table)
    return settled(pa.concat_tables(tables, promote_options="default"))


def _partitions(paths: Sequence[Path], text: Collection[str]) -> dict[str, pa.Array]:
    """Return what the names of folders such as ``year=2024`` say, a value for each path."""
    found: list[dict[str, str]] = []
    for path in paths:
        pairs = [part.partition("=") for part in path.parent.parts if "=" in part]
        found.append({unquote(name): unquote(value) for name, _, value in pairs})
    told = {}
    for name in dict.fromkeys(name for each in found for name in each):
        values = pa.array([None if each.get(name) == _NO_VALUE else each.get(name) for each in found])
        is_number = pc.all(pc.match_substring_regex(values, _WHOLE_NUMBER)).as_py()
        told[name] = values.cast(pa.int64()) if is_number and name not in text else values
    return told


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


def settled(table: pa.Table) -> pa.Table:
    """Return a table in which a name means one column, and that rows can be taken from."""
    names = distinct(table.column_names)
    # pandas writes an index without a name out as a column: positions, which say nothing of a sample.
    table = table.drop_columns([name for name in names if re.fullmatch(r"__index_level_\d+__", name)])
    fields = [
        field.with_type(_takeable(field.type, _bytes_at_most(column) > _TAKE_BYTES))
        for field, column in zip(table.schema, table.columns, strict=True)
    ]
    return with_plain_types(table.cast(pa.schema(fields, table.schema.metadata)))


def _bytes_at_most(column: pa.ChunkedArray) -> int:
    # `nbytes` would be exact, but older PyArrow has none for views.
    return sum(chunk.get_total_buffer_size() for chunk in column.chunks)


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


def with_folder(table: pa.Table, folder: str) -> pa.Table:
    """Let the columns that hold text or bytes remember a folder, and no column claim another one."""
    fields = []
    for field in table.schema:
        metadata = {key: value for key, value in (field.metadata or {}).items() if key != FOLDER}
        kind = field.type
        # Lists and dictionaries of texts; types that others have registered may call anything so.
        while not isinstance(kind, pa.BaseExtensionType) and hasattr(kind, "value_type"):
            kind = kind.value_type
        # What has bytes for a row may be given a file's name for another, see `prepare`.
        if is_text(kind) or is_bytes(kind):
            metadata[FOLDER] = os.fsencode(folder)
        fields.append(field.with_metadata(metadata or None))
    # Nor does a table file say which files it was read from.
    known = {key: value for key, value in (table.schema.metadata or {}).items() if key != FILES}
    return table.cast(pa.schema(fields, known))


def _from_mapping(source: Mapping[str, Any], what: str) -> Columns:
    if type(source).__name__ == "DatasetDict":
        raise DeclarationError(
            lines(
                f"{what} must be one table.",
                f"Received: a DatasetDict of {some([*source])}.",
                "Pass one of them, or several datasets to mf.concat.",
            )
        )
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
    return Columns(settled(pa.table(arrow)), arrays, list(source))


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
            array = pa.array(_without_paths(_nested(values)))
    except _CONVERSION_ERRORS as error:
        raise _unusable(name, error) from error
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])


def _nested(values: Any) -> Any:
    """Return a list of arrays that differ in the length of their first axis as Arrow lists of lists.

    PyArrow knows arrays of one axis alone. All else is returned as it is.
    """
    if not isinstance(values, list | tuple) or not values:
        return values
    if not all(_holds_numbers(each) and each.ndim > 1 for each in values):
        return values
    inner = {(each.shape[1:], each.dtype) for each in values}
    if len(inner) > 1 or 0 in values[0].shape[1:]:
        return values
    items = pa.array(np.concatenate([each.reshape(-1) for each in values]))
    for size in reversed(values[0].shape[1:]):
        items = pa.FixedSizeListArray.from_arrays(items, size)
    offsets = np.cumsum([0, *map(len, values)], dtype=np.int64)
    return pa.LargeListArray.from_arrays(pa.array(offsets), items)


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
