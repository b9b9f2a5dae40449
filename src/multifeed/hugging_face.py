"""Datasets of Hugging Face: what they are, and their types as those that others have too."""

from __future__ import annotations

import math

import pyarrow as pa
import pyarrow.compute as pc


def is_dataset(source: object) -> bool:
    """Tell whether something is a `datasets.Dataset`, whose package need not be imported for that."""
    kind = type(source)
    return kind.__name__ == "Dataset" and kind.__module__.partition(".")[0] == "datasets"


def with_plain_types(table: pa.Table) -> pa.Table:
    """Return a table, from a file or from memory, with columns of types that fields know."""
    for number, field in enumerate(table.schema):
        column = table.column(number)
        # Theirs tell the shape of each row; the first axis may be of any length.
        shape = (
            () if isinstance(field.type, pa.FixedShapeTensorType) else getattr(field.type, "shape", ())
        )
        if shape and None not in shape and not column.null_count:
            column = pa.chunked_array(
                [_tensors(field.name, chunk.storage, shape) for chunk in column.chunks]
            )
        elif pa.types.is_struct(field.type) and {each.name for each in field.type} == {"bytes", "path"}:
            column = _contents(column)
        if column.type != field.type:
            table = table.set_column(number, field.with_type(column.type), column)
    return table


def _tensors(name: str, lists: pa.Array, shape: tuple[int, ...]) -> pa.Array:
    """Return lists of lists, which all have one shape, as tensors, without a copy."""
    for size in shape:
        # A file can say that they have it; of others, what one lacks would be taken from the next.
        if not pc.all(pc.equal(pc.list_value_length(lists), size)).as_py():
            raise ValueError(f"column {name!r} has an array of another shape than {shape}")
        lists = lists.flatten()
    fixed = pa.FixedSizeListArray.from_arrays(lists, math.prod(shape))
    return pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(lists.type, shape), fixed)


def _contents(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the contents of files, or else their names, of a column ``{bytes, path}`` of both.

    That is how an image or a sound is kept; its path is a mere label as soon as there are bytes.
    """
    for name in ("bytes", "path"):
        place = column.type.get_field_index(name)
        kind = column.type.field(place).type
        values = pa.chunked_array([chunk.flatten()[place] for chunk in column.chunks], kind)
        if values.null_count == column.null_count:
            return values
    # Some by content and some by name: left as it is, which fields refuse.
    return column
