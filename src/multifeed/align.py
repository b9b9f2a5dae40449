"""Join sources by key into a row table: one row per sample."""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc

from multifeed.errors import AlignError, DeclarationError, MultifeedWarning, lines, near, some
from multifeed.listing import Pattern
from multifeed.table import as_table, is_path, is_text

OnMissing = Literal["raise", "drop", "keep"]

# Joins the parts of a composite key. A control character, so that no sensible key contains it.
_SEPARATOR = "\x1f"


@dataclass(frozen=True)
class Lookup:
    """A table that many samples share rows of; made by `lookup`."""

    table: Any
    on: tuple[str, ...]
    prefix: str


def lookup(table: Any, on: str | tuple[str, ...], prefix: str = "") -> Lookup:
    """Declare a many-to-one source of `align`: one row serves every sample that names it.

    Args:
        table: A table file or table, with one row per value of `on`.
        on: The column, or tuple of columns, that both this table and the joined rows have.
        prefix: Put before the names of this table's other columns.

    Example:
        >>> rows = align(
        ...     "id",
        ...     scans={"id": ["s1", "s2", "s3"], "patient": ["a", "a", "b"]},
        ...     patients=lookup({"patient": ["a", "b"], "age": [41, 67]}, on="patient"),
        ... )
        >>> rows["age"].to_pylist()
        [41, 41, 67]
    """
    return Lookup(table, _as_names(on, "on"), prefix)


def align(
    key: str | tuple[str, ...],
    *,
    on_missing: OnMissing = "raise",
    prefix: Mapping[str, str] | None = None,
    **sources: Any,
) -> pa.Table:
    """Join sources by key into one row table, one row per sample.

    Rows stand in the order of the first source (files by path); no source is ever joined by position.

    Args:
        key: The column, or columns, that name a sample. Keys are compared as text: ``"007"`` in a CSV
            stays ``"007"``, integers become decimal text, floats are refused.
        on_missing: What happens to a key that some source lacks: ``"raise"``; ``"drop"`` keeps the
            samples that every source has, with a warning that says how many went; ``"keep"`` keeps
            all, with nulls.
        prefix: For table sources, text to put before the names of their columns (not of the key),
            e.g. ``{"right_eye": "right_"}``.
        **sources: By name, each one of: a path pattern such as ``"scans/{id}.jpg"`` (a column of
            paths under the source's name, and one for each other brace); a table file (``.csv``,
            ``.tsv``, ``.parquet``, ``.arrow``, ``.feather``, ``.jsonl``); anything with
            ``__arrow_c_stream__`` (pyarrow, pandas, polars, DuckDB); a dict of arrays; or a
            `lookup`.

    Returns:
        A `pyarrow.Table`: the key as text, then the columns of each source under their own names.

    Raises:
        AlignError: If a source has a key twice, or lacks keys, or two patterns disagree about a
            brace, or nothing is left.
        DeclarationError: If a source cannot be read, matches nothing, has no key column, or shares a
            column name with another.

    Example:
        >>> rows = align(
        ...     "id",
        ...     left={"id": [2, 1], "width": [20, 10]},
        ...     right={"id": ["1", "2"], "height": [11, 22]},
        ... )
        >>> rows.to_pydict()
        {'id': ['2', '1'], 'width': [20, 10], 'height': [22, 11]}
    """
    names = _as_names(key, "key")
    if on_missing not in get_args(OnMissing):
        raise DeclarationError(
            f"on_missing must be one of {get_args(OnMissing)}; received {on_missing!r}."
        )
    lookups = {name: source for name, source in sources.items() if isinstance(source, Lookup)}
    joined = {name: source for name, source in sources.items() if name not in lookups}
    if not joined:
        raise DeclarationError(
            lines("align needs a source that has the key.", "Pass a path pattern or a table.")
        )
    prefixes = dict(prefix or {})
    for name in prefixes.keys() - joined.keys():
        raise DeclarationError(lines(f"prefix names no source {name!r}.", near(name, joined)))
    # What lookups join on is a key as well: it must survive the reading of a CSV as it stands there.
    text = {*names, *(column for source in lookups.values() for column in source.on)}
    opened = [_open(name, joined[name], names, text, prefixes.get(name, "")) for name in joined]
    rows = _join(opened, names, on_missing)
    for name, source in lookups.items():
        rows = _look_up(rows, name, source, on_missing, text)
    if not rows.num_rows:
        raise AlignError(
            lines(
                "no sample has all of its inputs.",
                "; ".join(f"{source.name!r} has e.g. {source.example}" for source in opened) + ".",
                "Compare how the sources write the key.",
            )
        )
    return rows


class _Source(ABC):
    """One keyed source, opened: its key of each row as one text, and its other columns."""

    def __init__(self, name: str, table: pa.Table, key: tuple[str, ...]) -> None:
        self.name = name
        parts = [_key_text(table.column(column), column, name) for column in key]
        self.keys = _combine(parts)
        self.columns = table.drop_columns(list(key))
        self._refuse_duplicates()

    @property
    def example(self) -> str:
        return repr(_readable(self.keys[0].as_py()))

    @abstractmethod
    def where(self, key: Mapping[str, str]) -> str:
        """Say where a missing key was looked for."""

    @abstractmethod
    def describe_rows(self, rows: list[int]) -> str:
        """Say which entries the given rows are."""

    def _refuse_duplicates(self) -> None:
        counts = pc.value_counts(self.keys)
        repeated = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
        if not len(repeated):
            return
        first = repeated[0]
        rows = pc.indices_nonzero(pc.equal(self.keys, first)).to_pylist()
        raise AlignError(
            lines(
                f"a key names one sample: {self.name!r} has {len(repeated):,} of "
                f"{len(counts):,} keys more than once.",
                f"First: {_readable(first.as_py())!r} ({self.describe_rows(rows[:3])}).",
                "Remove the surplus, add a column to the key, or join a table of fewer rows with "
                "mf.lookup(table, on=...).",
            )
        )


class _Files(_Source):
    def __init__(self, name: str, pattern: Pattern, key: tuple[str, ...]) -> None:
        missing = [column for column in key if column not in pattern.names]
        if missing:
            raise DeclarationError(
                lines(
                    f"the pattern of {name!r} must hold the key: {pattern.text!r} has no "
                    f"{{{missing[0]}}}.",
                    f"Write e.g. {name}='folder/{{{missing[0]}}}.jpg', or end the name of a table "
                    "file in .csv, .tsv, .parquet, .arrow, .feather or .jsonl.",
                )
            )
        table = pattern.table(name) if name not in pattern.names else None
        if table is None:
            raise DeclarationError(
                f"the source {name!r} and the brace {{{name}}} of its pattern need different names."
            )
        if not table.num_rows:
            raise AlignError(
                lines(
                    f"the pattern of {name!r} matches no file: {pattern.text!r}.",
                    pattern.why_empty(),
                )
            )
        self.pattern = pattern
        self.paths = table.column(name)
        super().__init__(name, table, key)

    def where(self, key: Mapping[str, str]) -> str:
        return f"looked for {self.pattern.path_of(key)}"

    def describe_rows(self, rows: list[int]) -> str:
        return ", ".join(self.paths[row].as_py() for row in rows)


class _Table(_Source):
    def __init__(
        self, name: str, source: Any, key: tuple[str, ...], text: set[str], prefix: str
    ) -> None:
        table = as_table(source, f"the source {name!r}", text)
        self.origin = f"in {os.fspath(source)}" if is_path(source) else "in the table"
        for column in key:
            if column not in table.column_names:
                raise DeclarationError(
                    lines(
                        f"the table of {name!r} has no key column {column!r}.",
                        near(column, table.column_names),
                    )
                )
        if not table.num_rows:
            raise AlignError(f"the table of {name!r} has no rows ({self.origin}).")
        super().__init__(name, _prefixed(table, prefix, key), key)

    def where(self, key: Mapping[str, str]) -> str:
        return f"not {self.origin}"

    def describe_rows(self, rows: list[int]) -> str:
        return f"rows {', '.join(str(row) for row in rows)} {self.origin}"


def _open(name: str, source: Any, key: tuple[str, ...], text: set[str], prefix: str) -> _Files | _Table:
    if is_path(source) and set(os.fspath(source)) & set("{*"):
        return _Files(name, Pattern(source), key)
    return _Table(name, source, key, text, prefix)


def _join(sources: Sequence[_Files | _Table], key: tuple[str, ...], on_missing: OnMissing) -> pa.Table:
    universe = sources[0].keys
    if any(not source.keys.equals(universe) for source in sources[1:]):
        universe = pc.unique(pa.concat_arrays([source.keys for source in sources]))
    indices = [pc.index_in(universe, value_set=source.keys) for source in sources]
    if on_missing != "keep" and any(index.null_count for index in indices):
        if on_missing == "raise":
            _raise_missing(universe, sources, indices, key)
        complete = pc.is_valid(indices[0])
        for index in indices[1:]:
            complete = pc.and_(complete, pc.is_valid(index))
        _warn_dropped(universe, sources, indices, complete)
        universe = universe.filter(complete)
        indices = [index.filter(complete) for index in indices]
    columns = dict(zip(key, _split(universe, len(key)), strict=True))
    owner = dict.fromkeys(key, "the key")
    fields = {name: pa.field(name, pa.string()) for name in key}
    for source, index in zip(sources, indices, strict=True):
        for field in source.columns.schema:
            values = source.columns.column(field.name).take(index)
            if field.name not in columns:
                columns[field.name], fields[field.name] = values, field
                owner[field.name] = source.name
            elif _both_braces(field.name, source, owner[field.name], sources):
                columns[field.name] = _agreed(
                    field.name,
                    columns[field.name],
                    values,
                    universe,
                    owner[field.name],
                    source.name,
                )
            else:
                _raise_clash(field.name, owner[field.name], source.name)
    return pa.table(list(columns.values()), schema=pa.schema(list(fields.values())))


def _both_braces(column: str, source: _Source, owner: str, sources: Sequence[_Files | _Table]) -> bool:
    other = next((each for each in sources if each.name == owner), None)
    return all(isinstance(each, _Files) and column in each.pattern.names for each in (source, other))


def _agreed(
    column: str, first: Any, second: Any, keys: pa.Array, first_name: str, second_name: str
) -> Any:
    """Return a brace that two patterns share, once it is seen that they say the same of each key."""
    different = pc.indices_nonzero(pc.fill_null(pc.not_equal(first, second), False))
    if len(different):
        row = different[0].as_py()
        raise AlignError(
            lines(
                f"patterns that share {{{column}}} must agree: {first_name!r} and {second_name!r} "
                f"differ for {len(different):,} of {len(keys):,} keys.",
                f"First: {_readable(keys[row].as_py())!r} is {first[row].as_py()!r} in "
                f"{first_name!r} and {second[row].as_py()!r} in {second_name!r}.",
                "Move the files, or give the braces different names.",
            )
        )
    return pc.coalesce(first, second)


def _look_up(
    rows: pa.Table, name: str, source: Lookup, on_missing: OnMissing, text: set[str]
) -> pa.Table:
    for column in source.on:
        if column not in rows.column_names:
            raise DeclarationError(
                lines(
                    f"the lookup {name!r} joins on {column!r}, which no source before it has.",
                    near(column, rows.column_names),
                )
            )
    table = _Table(name, source.table, source.on, text, source.prefix)
    wanted = _combine([_key_text(rows.column(column), column, "the rows") for column in source.on])
    index = pc.index_in(wanted, value_set=table.keys)
    if index.null_count and on_missing != "keep":
        lacking = pc.unique(wanted.filter(pc.is_null(index)))
        shown = some([_readable(value) for value in lacking.to_pylist()])
        found = (
            f"the lookup {name!r} lacks {len(lacking):,} values of {_readable_names(source.on)} "
            f"that {index.null_count:,} of {len(wanted):,} samples name"
        )
        if on_missing == "raise":
            raise AlignError(
                lines(
                    f"every sample needs all of its inputs: {found}.",
                    f"First missing: {shown} ({table.where({})}).",
                    'Pass on_missing="drop" to train on the complete samples, or "keep" to fill the '
                    "gaps.",
                )
            )
        warnings.warn(f"{found}: {shown}. These samples are dropped.", MultifeedWarning, stacklevel=3)
        complete = pc.is_valid(index)
        rows, index = rows.filter(complete), index.filter(complete)
    for field in table.columns.schema:
        if field.name in rows.column_names:
            _raise_clash(field.name, "the joined rows", name)
        rows = rows.append_column(field, table.columns.column(field.name).take(index))
    return rows


def _raise_missing(
    universe: pa.Array,
    sources: Sequence[_Files | _Table],
    indices: Sequence[pa.Array],
    key: tuple[str, ...],
) -> None:
    counts = []
    firsts = []
    for source, index in zip(sources, indices, strict=True):
        if not index.null_count:
            continue
        counts.append(f"{source.name!r} lacks {index.null_count:,} of {len(universe):,} keys")
        for combined in universe.filter(pc.is_null(index)).slice(0, 2).to_pylist():
            values = dict(zip(key, combined.split(_SEPARATOR), strict=True))
            firsts.append(f"{_readable(combined)!r} ({source.where(values)})")
    raise AlignError(
        lines(
            f"every sample needs all of its inputs: {', '.join(counts)}.",
            f"First missing: {', '.join(firsts)}.",
            'Pass on_missing="drop" to train on the complete samples, or "keep" to fill the gaps.',
        )
    )


def _warn_dropped(
    universe: pa.Array,
    sources: Sequence[_Files | _Table],
    indices: Sequence[pa.Array],
    complete: pa.Array,
) -> None:
    dropped = universe.filter(pc.invert(complete))
    counts = ", ".join(
        f"{source.name!r} lacks {index.null_count:,}"
        for source, index in zip(sources, indices, strict=True)
        if index.null_count
    )
    shown = some([_readable(value) for value in dropped.slice(0, 100).to_pylist()][:3])
    more = f" and {len(dropped) - 3:,} more" if len(dropped) > 3 else ""
    warnings.warn(
        f"align dropped {len(dropped):,} of {len(universe):,} samples ({counts}): {shown}{more}.",
        MultifeedWarning,
        stacklevel=4,
    )


def _raise_clash(column: str, first: str, second: str) -> None:
    raise DeclarationError(
        lines(
            f"columns keep their names, and two sources have a column {column!r}: {first!r} and "
            f"{second!r}.",
            f'Pass prefix={{"{second}": "{second}_"}} to align, or prefix= to mf.lookup.',
        )
    )


def _prefixed(table: pa.Table, prefix: str, key: tuple[str, ...]) -> pa.Table:
    if not prefix:
        return table
    return table.rename_columns([name if name in key else prefix + name for name in table.column_names])


def _key_text(column: pa.ChunkedArray, name: str, source: str) -> pa.Array:
    """Return a key column as text, or say why it cannot be a key."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if not (is_text(kind) or pa.types.is_integer(kind)):
        remedy = "Keys are text or integers."
        if pa.types.is_floating(kind):
            remedy = "A float has no one text; make them integers, e.g. frame.astype({...: 'Int64'})."
        raise AlignError(
            lines(f"the key {name!r} of {source!r} cannot be compared as text: it is {kind}.", remedy)
        )
    if column.null_count:
        row = pc.indices_nonzero(pc.is_null(column))[0].as_py()
        raise AlignError(
            lines(
                f"every row needs a key: {name!r} of {source!r} is null in {column.null_count:,} of "
                f"{len(column):,} rows.",
                f"First: row {row}.",
                "Fill the key in, or remove the rows.",
            )
        )
    return column.cast(pa.string()).combine_chunks()


def _combine(parts: list[pa.Array]) -> pa.Array:
    if len(parts) == 1:
        return parts[0]
    return pc.binary_join_element_wise(*parts, _SEPARATOR)


def _split(keys: pa.Array, count: int) -> list[pa.Array]:
    if count == 1:
        return [keys]
    parts = pc.split_pattern(keys, _SEPARATOR)
    return [pc.list_element(parts, number) for number in range(count)]


def _readable(key: str) -> str:
    return key.replace(_SEPARATOR, "/")


def _readable_names(names: tuple[str, ...]) -> str:
    return "/".join(repr(name) for name in names)


def _as_names(value: str | tuple[str, ...], what: str) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else tuple(value)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise DeclarationError(
            f"{what} must be a column's name or a tuple of names; received {value!r}."
        )
    return names
