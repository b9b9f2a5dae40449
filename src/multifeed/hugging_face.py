"""Datasets of Hugging Face as Arrow tables: rows in their order, and types that others have too."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa


def is_dataset(source: object) -> bool:
    """Tell whether something is a `datasets.Dataset`, whose package need not be imported for that."""
    kind = type(source)
    return kind.__name__ == "Dataset" and kind.__module__.partition(".")[0] == "datasets"


def as_arrow(dataset: Any) -> pa.Table:
    """Return a dataset as a table, which stays mapped to its files unless its rows have been moved."""
    table = dataset.with_format("arrow")[:]
    for number, field in enumerate(table.schema):
        # Of their arrays; the first axis may be of any length.
        shape: tuple[int | None, ...] = getattr(field.type, "shape", (None,))
        column = table.column(number)
        if None not in shape and not column.null_count:
            tensors = [_tensors(chunk.storage, shape) for chunk in column.chunks]
            table = table.set_column(number, field.name, pa.chunked_array(tensors))
    return table


def _tensors(lists: pa.Array, shape: tuple[Any, ...]) -> pa.Array:
    """Return lists of lists, which all have one shape, as tensors, without a copy."""
    for _ in shape:
        lists = lists.flatten()
    fixed = pa.FixedSizeListArray.from_arrays(lists, math.prod(shape))
    return pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(lists.type, shape), fixed)


def with_contents(table: pa.Table) -> pa.Table:
    """Return a table with the contents of files, or else their names, where a column has both.

    An image or a sound is kept as ``{bytes, path}``, of which `path` is a mere label as soon as there
    are bytes; in the files of such datasets as well.
    """
    for number, field in enumerate(table.schema):
        names = {each.name for each in field.type} if pa.types.is_struct(field.type) else set()
        if names != {"bytes", "path"}:
            continue
        column = table.column(number)
        for name in ("bytes", "path"):
            place = field.type.get_field_index(name)
            kind = field.type.field(place).type
            values = pa.chunked_array([chunk.flatten()[place] for chunk in column.chunks], kind)
            # Some by content and some by name: left as it is, which fields refuse.
            if values.null_count == column.null_count:
                table = table.set_column(number, field.with_type(kind), values)
                break
    return table
