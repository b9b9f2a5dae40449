"""The sources of `align`, opened: files that a pattern matches, and tables. Each has a key a row."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from multifeed.errors import AlignError, DeclarationError, lines, near
from multifeed.listing import Pattern
from multifeed.remote.uri import localized, shown
from multifeed.table import FILES, as_table, files_of, is_path, is_text

# Joins the parts of a composite key. A control character, so that no sensible key contains it.
SEPARATOR = "\x1f"


class Source(ABC):
    """One keyed source, opened: its key of each row as one text, and its other columns.

    Args:
        name: Its name in the call of `align`.
        table: Its rows.
        key: The columns of `table` that are the key.
        prefix: Put before the names of the other columns.
        paths: The column of paths if a path pattern made the table; the others are then its braces.
    """

    def __init__(
        self, name: str, table: pa.Table, key: tuple[str, ...], prefix: str, paths: str | None = None
    ) -> None:
        self.name = name
        self.key = key
        others = table.drop_columns(list(key))
        self.columns = others.rename_columns(
            [column if column == paths else prefix + column for column in others.column_names]
        )
        self.braces = set(self.columns.column_names) - {paths} if paths else set()
        # A key may be a file name as well: its column keeps the folder that it starts from.
        self.key_fields = [
            pa.field(column, pa.string(), metadata=table.schema.field(column).metadata) for column in key
        ]
        parts = [as_text(table.column(column), column, repr(name)) for column in key]
        for column, part in zip(key, parts, strict=True):
            _refuse_empty(part, column, name)
        self.keys = combine(parts)

    @abstractmethod
    def where(self, key: Mapping[str, str]) -> str:
        """Say where a key that it lacks was looked for."""

    @abstractmethod
    def describe(self, row: int) -> str:
        """Say which entry a row is."""

    def example(self) -> str:
        """Quote one of its keys."""
        return f"{self.name!r} has e.g. {readable(self.keys[0].as_py())!r}"

    def first_missing(self, keys: pa.Array) -> str:
        """Quote the first of the keys that it lacks, and say where they were looked for."""
        return ", ".join(
            f"{readable(key)!r} ({self.where(key_values(self.key, key))})"
            for key in keys.slice(0, 2).to_pylist()
        )

    def refuse_duplicates(self, rule: str, remedy: str) -> None:
        """Raise if two rows have one key."""
        if len(pc.unique(self.keys)) == len(self.keys):
            return
        counts = pc.value_counts(self.keys)
        repeated = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
        rows = pc.indices_nonzero(pc.equal(self.keys, repeated[0])).to_pylist()
        shown = ", ".join(self.describe(row) for row in rows[:3])
        more = f" and {len(rows) - 3:,} more" if len(rows) > 3 else ""
        raise AlignError(
            lines(
                f"{rule}: {self.name!r} has {len(repeated):,} of {len(counts):,} keys more than once.",
                f"First: {readable(repeated[0].as_py())!r} ({shown}{more}).",
                remedy,
            )
        )


class Files(Source):
    """The files that a path pattern matches."""

    def __init__(self, name: str, pattern: Pattern, key: tuple[str, ...], prefix: str) -> None:
        for column in key:
            if column not in pattern.names:
                raise DeclarationError(
                    lines(
                        f"the pattern of {name!r} must hold the key: {pattern.text!r} has no "
                        f"{{{column}}}.",
                        f"Write e.g. {name}={_example('folder', key)!r}.",
                    )
                )
        if name in pattern.names:
            raise DeclarationError(
                f"the source {name!r} and the brace {{{name}}} of its pattern need different names."
            )
        table = pattern.table(name)
        if not table.num_rows:
            raise AlignError(
                lines(
                    f"the pattern of {name!r} matches no {pattern.wanted}: {pattern.text!r}.",
                    pattern.why_empty(),
                )
            )
        self._pattern = pattern
        super().__init__(name, table, key, prefix, paths=name)

    def where(self, key: Mapping[str, str]) -> str:  # noqa: D102 - see Source
        return f"looked for {self._pattern.path_of(key)}"

    def describe(self, row: int) -> str:  # noqa: D102 - see Source
        return str(self.columns.column(self.name)[row])


class Table(Source):
    """A table, from a file or from memory."""

    def __init__(
        self, name: str, source: Any, key: tuple[str, ...], prefix: str, text: set[str]
    ) -> None:
        table = as_table(source, f"the source {name!r}", text)
        self._origin = f"in {shown(os.fspath(source))}" if is_path(source) else "in the table"
        # What `metadata` returns knows where its rows come from.
        files = (table.schema.metadata or {}).get(FILES)
        self._pattern = None if files is None else Pattern(os.fsdecode(files))
        if self._pattern is not None:
            self._origin = f"in {shown(self._pattern.text)}"
        for column in key:
            if column not in table.column_names:
                raise DeclarationError(
                    lines(
                        f"the table of {name!r} has no key column {column!r}.",
                        near(column, table.column_names),
                    )
                )
        if not table.num_rows:
            raise AlignError(f"the table of {name!r} has no rows ({self._origin}).")
        super().__init__(name, table, key, prefix)

    def where(self, key: Mapping[str, str]) -> str:  # noqa: D102 - see Source
        if self._pattern is not None and set(self.key) <= set(self._pattern.names):
            return f"looked for {self._pattern.path_of(key)}"
        return f"not {self._origin}"

    def describe(self, row: int) -> str:  # noqa: D102 - see Source
        return f"row {row} {self._origin}"


def _example(folder: str | os.PathLike[str], key: tuple[str, ...]) -> str:
    return os.path.join(folder, "_".join(f"{{{column}}}" for column in key) + ".jpg")


def open_source(name: str, source: Any, key: tuple[str, ...], prefix: str, text: set[str]) -> Source:
    """Open whatever may be given to `align` under a name; `text` columns of a CSV stay text."""
    if is_path(source):
        source = localized(os.fspath(source))
    if is_path(source) and set(source) & set("{*"):
        return Files(name, Pattern(source), key, prefix)
    if is_path(source) and os.path.isdir(source) and not files_of(source):
        raise DeclarationError(
            lines(
                f"the source {name!r} is a folder: {os.fspath(source)!r}.",
                "Without Parquet or Arrow files it is no table: write a pattern that says where the key "
                "stands, e.g. "
                f"{name}={_example(source, key)!r}.",
            )
        )
    return Table(name, source, key, prefix, text)


def as_text(column: pa.ChunkedArray, name: str, owner: str) -> pa.Array:
    """Return a key column as text, or say why it cannot be compared as text."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
        column = column.cast(kind)
    if not (is_text(kind) or pa.types.is_integer(kind)):
        remedy = "Keys are text or integers."
        if pa.types.is_floating(kind):
            remedy = "A float has no one text; make them integers, e.g. frame.astype({...: 'Int64'})."
        raise AlignError(
            lines(f"the key {name!r} of {owner} cannot be compared as text: it is {kind}.", remedy)
        )
    return column.cast(pa.string()).combine_chunks()


def _refuse_empty(keys: pa.Array, column: str, name: str) -> None:
    empty = pc.indices_nonzero(pc.fill_null(pc.equal(keys, ""), True))
    if len(empty):
        raise AlignError(
            lines(
                f"every row needs a key: {column!r} of {name!r} is empty in {len(empty):,} of "
                f"{len(keys):,} rows.",
                f"First: row {empty[0]}.",
                "Fill the key in, or remove the rows.",
            )
        )


def combine(parts: list[pa.Array]) -> pa.Array:
    """Join the parts of composite keys, each into one text."""
    if len(parts) == 1:
        return parts[0]
    for part in parts:
        if pc.any(pc.match_substring(part, SEPARATOR)).as_py():
            raise AlignError("the parts of a composite key cannot hold the control character U+001F.")
    return pc.binary_join_element_wise(*parts, SEPARATOR)


def key_values(names: tuple[str, ...], key: str | None) -> dict[str, str]:
    """Return the parts of a key by the names of their columns."""
    if key is None:  # a row that is joined by lookup may name nothing
        return {}
    return dict(zip(names, key.split(SEPARATOR, len(names) - 1), strict=True))


def readable(key: str | None) -> str | None:
    """Return a key as messages write it."""
    return key and key.replace(SEPARATOR, "/")
