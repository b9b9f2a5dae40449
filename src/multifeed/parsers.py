"""Table files, each by itself, to Arrow: CSV, Parquet, Arrow IPC, JSON Lines."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from multifeed.documents import DEEPEST, is_deep_json


def distinct(names: list[str]) -> list[str]:
    """Return names of columns, of which no two are the same; else raise a `ValueError`."""
    twice = [name for name in names if names.count(name) > 1] if len(set(names)) < len(names) else []
    if twice:
        raise ValueError(f"it has {names.count(twice[0])} columns {twice[0]!r}")
    return names


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
    distinct(table.column_names)
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
        if pa.types.is_string(field.type):
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


# A null in place of the first object kills it as well.
_NULL_ROW = re.compile(rb"\n\s*(?:\xef\xbb\xbf\s*)?null")


def _refuse_deadly(path: Path) -> None:
    """Raise if a JSON file has something that Arrow dies of.

    It goes down into values by recursion: those of one line of `[[[[…` are more than its stack holds. Of
    Parquet and its own files it refuses what is deeper than 100 and 64 itself.
    """
    with path.open("rb") as file:
        # Arrow refuses a line that is longer than a block.
        while text := file.read(_BLOCK_BYTES) + file.readline(_BLOCK_BYTES):
            if is_deep_json(text):
                raise ValueError(f"its values are nested deeper than {DEEPEST}, or never closed")
            if _NULL_ROW.search(b"\n" + text):
                raise ValueError("a line is null, where each is an object")


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_temporal(kind))


READERS = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".parquet": _read_parquet,
    ".arrow": _read_arrow,
    ".feather": _read_arrow,
    ".jsonl": _read_json_lines,
}
