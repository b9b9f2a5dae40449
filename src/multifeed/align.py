"""Join sources by key into a row table: one row per sample."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from multifeed.errors import AlignError, DeclarationError, MultifeedWarning, lines, near, some
from multifeed.sources import SEPARATOR, Source, as_text, combine, open_source, readable
from multifeed.table import FOLDER

OnMissing = Literal["raise", "drop", "keep"]


@dataclass(frozen=True)
class Lookup:
    """A source that many samples share rows of; made by `lookup`."""

    table: Any
    on: tuple[str, ...]
    prefix: str


def lookup(table: Any, on: str | tuple[str, ...], prefix: str = "") -> Lookup:
    """Declare a many-to-one source of `align`: one row serves every sample that names it.

    Args:
        table: A table file, a table or a path pattern, with one row per value of `on`.
        on: The column, or tuple of columns, that both this source and the joined rows have. It is
            compared as text, as keys are.
        prefix: Put before the names of this source's other columns.

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
        prefix: By source, text to put before the names of its columns (not of the key, nor of a
            pattern's column of paths), e.g. ``{"right_eye": "right_"}``.
        **sources: By name, each one of: a path pattern such as ``"scans/{id}.jpg"`` (a column of
            paths under the source's name, and one for each other brace); a table file (``.csv``,
            ``.tsv``, ``.parquet``, ``.arrow``, ``.feather``, ``.jsonl``) or a folder of Parquet or Arrow
            files; what `metadata` and `sql` return, and anything else with ``__arrow_c_stream__``
            (pyarrow, pandas, polars, DuckDB); a dataset of Hugging Face; a dict of arrays; or a
            `lookup`. Lookups come last, in their order; one may join on a column of another.

    Returns:
        A `pyarrow.Table` of the key, as text, and the columns of each source under their own names.

    Raises:
        AlignError: If a source is empty, has a row without a key or a key twice, or lacks keys; if
            two patterns disagree about a brace; or if no sample is left.
        DeclarationError: If a source cannot be read, has no key column, or shares a column name with
            another.

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
    lookups = {name: source for name, source in sources.items() if isinstance(source, Lookup)}
    joined = {name: source for name, source in sources.items() if name not in lookups}
    prefixes = dict(prefix or {})
    _check_options(on_missing, prefixes, joined)
    # What lookups join on is a key as well: it must survive the reading of a CSV as it stands there.
    text = {*names, *(column for source in lookups.values() for column in source.on)}
    opened = [open_source(name, joined[name], names, prefixes.get(name, ""), text) for name in joined]
    dropped: list[str] = []
    rows = _join(opened, on_missing, dropped)
    for name, source in lookups.items():
        opened.append(open_source(name, source.table, source.on, source.prefix, text))
        _look_up(rows, opened[-1], on_missing, dropped)
    if not len(rows.keys):
        raise AlignError(
            lines(
                "no sample has all of its inputs.",
                "; ".join(source.example() for source in opened) + ".",
                "Compare how the sources write the key.",
            )
        )
    for notice in dropped:
        warnings.warn(notice, MultifeedWarning, stacklevel=2)
    return rows.table()


def _check_options(on_missing: str, prefixes: Mapping[str, str], joined: Mapping[str, Any]) -> None:
    if on_missing not in get_args(OnMissing):
        raise DeclarationError(
            f"on_missing must be one of {some(get_args(OnMissing))}; received {on_missing!r}."
        )
    if not joined:
        raise DeclarationError(
            lines("align needs a source that has the key.", "Pass a path pattern or a table.")
        )
    for name in prefixes:
        if name not in joined:
            raise DeclarationError(
                lines(
                    f"prefix names no source {name!r}.",
                    near(name, joined),
                    "A lookup takes its own: mf.lookup(table, on=..., prefix=...).",
                )
            )


class _Rows:
    """The row table as far as it is joined, and which sources each column is from."""

    def __init__(self, keys: pa.Array, fields: Sequence[pa.Field]) -> None:
        self.keys = keys
        self.fields = {field.name: field for field in fields}
        self.columns = {
            field.name: pa.chunked_array([part])
            for field, part in zip(fields, _split(keys, len(fields)), strict=True)
        }
        self._sources: dict[str, list[Source]] = {}

    def table(self) -> pa.Table:
        """Return the columns so far as a table."""
        return pa.table(list(self.columns.values()), schema=pa.schema(list(self.fields.values())))

    def filter(self, mask: pa.Array) -> None:
        """Keep the rows where the mask is true."""
        self.keys = self.keys.filter(mask)
        self.columns = {name: column.filter(mask) for name, column in self.columns.items()}

    def add(self, source: Source, index: pa.Array) -> None:
        """Append the columns of a source, given its row for each row here (null: it has none)."""
        # Columns whose rows need not move are not copied: one of them may be larger than memory.
        is_in_order = index.equals(_count_up(len(source.keys)))
        for field, column in zip(source.columns.schema, source.columns.columns, strict=True):
            values = column if is_in_order else column.take(index)
            sources = self._sources.setdefault(field.name, [])
            if field.name not in self.columns:
                self.columns[field.name] = values
                # What a source never lacks can be null in the joined rows.
                self.fields[field.name] = field.with_nullable(True)
            elif sources and all(field.name in each.braces for each in (*sources, source)):
                self._agree(field.name, values, source)
            else:
                _raise_clash(field.name, sources[0] if sources else None, source)
            sources.append(source)

    def _agree(self, brace: str, values: pa.ChunkedArray, source: Source) -> None:
        """Merge a brace that patterns share, once it is seen that they say the same of each key."""
        known = self.columns[brace]
        different = pc.indices_nonzero(pc.fill_null(pc.not_equal(known, values), False))
        if len(different):
            row = different[0].as_py()
            key = readable(self.keys[row].as_py())
            others = " or ".join(repr(each.name) for each in self._sources[brace])
            raise AlignError(
                lines(
                    f"patterns that share {{{brace}}} must agree: {source.name!r} disagrees on "
                    f"{len(different):,} of {len(self.keys):,} keys.",
                    f"First: {key!r} is {known[row].as_py()!r} in {others} and "
                    f"{values[row].as_py()!r} in {source.name!r}.",
                    "Move the files, or give the braces different names.",
                )
            )
        self.columns[brace] = pc.coalesce(known, values)


def _join(sources: Sequence[Source], on_missing: OnMissing, dropped: list[str]) -> _Rows:
    """Join sources by key; say in `dropped` which samples went."""
    for source in sources:
        source.refuse_duplicates(
            "a key names one sample",
            "Remove the surplus, or make the key finer (it may be a tuple of columns); what many "
            "samples share is joined with mf.lookup(table, on=...).",
        )
    keys, indices = _match([source.keys for source in sources])
    fields = zip(*(source.key_fields for source in sources), strict=True)
    rows = _Rows(keys, [_key_field(each) for each in fields])
    lacking = [pair for pair in zip(sources, indices, strict=True) if pair[1].null_count]
    if lacking and on_missing != "keep":
        complete = reduce(pc.and_, (pc.is_valid(index) for _, index in lacking))
        counts = [f"{s.name!r} lacks {index.null_count:,} of {len(keys):,} keys" for s, index in lacking]
        firsts = [source.first_missing(keys.filter(pc.is_null(index))) for source, index in lacking]
        _miss(on_missing, ", ".join(counts), ", ".join(firsts), complete, dropped)
        rows.filter(complete)
        indices = [index.filter(complete) for index in indices]
    for source, index in zip(sources, indices, strict=True):
        rows.add(source, index)
    return rows


def _look_up(rows: _Rows, source: Source, on_missing: OnMissing, dropped: list[str]) -> None:
    """Add the columns of a source of which many rows may share a row."""
    source.refuse_duplicates(
        f"a lookup has one row for each {_quoted(source.key)}",
        "Remove the surplus, or add a column to on=.",
    )
    for column in source.key:
        if column not in rows.columns:
            raise DeclarationError(
                lines(
                    f"the lookup {source.name!r} joins on {column!r}, which no source before it has.",
                    near(column, rows.columns),
                )
            )
    wanted = combine([as_text(rows.columns[name], name, "the rows") for name in source.key])
    index = pc.index_in(wanted, value_set=source.keys)
    if index.null_count and on_missing != "keep":
        complete = pc.is_valid(index)
        unknown = pc.unique(wanted.filter(pc.is_null(index)))
        values = "value" if len(unknown) == 1 else "values"
        counts = (
            f"the lookup {source.name!r} lacks {len(unknown):,} {values} of {_quoted(source.key)} that "
            f"{index.null_count:,} of {len(wanted):,} samples name"
        )
        _miss(on_missing, counts, source.first_missing(unknown), complete, dropped)
        rows.filter(complete)
        index = index.filter(complete)
    rows.add(source, index)


def _match(sources: Sequence[pa.Array]) -> tuple[pa.Array, list[pa.Array]]:
    """Return every key once, and for each source its row of each key (null: it has none).

    Keys stand in the order of the first source; then come those that it lacks, source by source.
    """
    keys = sources[0]
    indices: list[pa.Array] = []
    for rows in sources:
        # Hashing costs a second per ten million keys; listings of twin folders need none.
        index = _count_up(len(keys)) if rows.equals(keys) else pc.index_in(keys, value_set=rows)
        is_new = np.ones(len(rows), bool)
        is_new[index.drop_null().to_numpy()] = False
        new = pa.array(np.flatnonzero(is_new), pa.int32())
        if len(new):
            keys = pa.concat_arrays([keys, rows.take(new)])
            indices = [pa.concat_arrays([each, pa.nulls(len(new), pa.int32())]) for each in indices]
            index = pa.concat_arrays([index, new])
        indices.append(index)
    return keys, indices


def _miss(
    on_missing: OnMissing, counts: str, firsts: str, complete: pa.Array, dropped: list[str]
) -> None:
    """Raise because samples lack inputs, or note that they are dropped."""
    if on_missing == "raise":
        raise AlignError(
            lines(
                f"every sample needs all of its inputs: {counts}.",
                f"First missing: {firsts}.",
                'Pass on_missing="drop" to train on the complete samples, or "keep" to fill the gaps.',
            )
        )
    gone = pc.sum(pc.invert(complete)).as_py()
    dropped.append(
        lines(
            f"align dropped {gone:,} of {len(complete):,} samples: {counts}.",
            f"First missing: {firsts}.",
        )
    )


def _raise_clash(column: str, first: Source | None, second: Source) -> None:
    # A pattern's column of paths has the source's own name, which no prefix changes.
    renamed = first if first and column == second.name and column not in second.braces else second
    raise DeclarationError(
        lines(
            f"columns keep their names, and {column!r} is in {second.name!r} and in "
            f"{repr(first.name) if first else 'the key'}.",
            f"Rename it, or pass prefix={{{renamed.name!r}: '{renamed.name}_'}} to align "
            f"(to mf.lookup: prefix='{renamed.name}_').",
        )
    )


def _count_up(count: int) -> pa.Array:
    return pa.array(np.arange(count, dtype=np.int32))


def _key_field(fields: Sequence[pa.Field]) -> pa.Field:
    """Return the field of a key column, given that of each source: file names start in one folder."""
    return next((field for field in fields if FOLDER in (field.metadata or {})), fields[0])


def _split(keys: pa.Array, count: int) -> list[pa.Array]:
    """Take the texts apart that `combine` made."""
    if count == 1:
        return [keys]
    parts = pc.split_pattern(keys, SEPARATOR)
    return [pc.list_element(parts, number) for number in range(count)]


def _quoted(names: tuple[str, ...]) -> str:
    return "/".join(repr(name) for name in names)


def _as_names(value: str | tuple[str, ...], what: str) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Sequence) else ()
    is_name = [isinstance(name, str) and bool(name) for name in names]
    if not names or not all(is_name) or len(set(names)) < len(names):
        raise DeclarationError(
            f"{what} must be a column's name or a tuple of different names; received {value!r}."
        )
    return names
