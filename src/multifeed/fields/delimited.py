"""Arrays of numbers in ``.csv`` and ``.tsv`` files: lines are rows, cells are columns."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from multifeed.errors import BadValue
from multifeed.fields.rows import NDArray
from multifeed.fields.shared import first_line
from multifeed.files import REPLACE

# So much of the first line is looked at. Each column costs memory and time of its own.
_MOST_LINE_BYTES = 2**20
_MOST_COLUMNS = 2**14


def parse_delimited(data: bytes, delimiter: str) -> NDArray:
    """Return the numbers of a file as an array, ``[rows, columns]``.

    A first line with text in a cell is a header, and left out.

    Raises:
        BadValue: If a cell is empty or no number, or the lines have different numbers of cells.
    """
    from pyarrow import csv

    first = data[:_MOST_LINE_BYTES].partition(b"\n")[0].decode("utf-8-sig", "replace")
    cells = first.rstrip("\r").split(delimiter)
    if len(cells) > _MOST_COLUMNS:
        raise BadValue(f"has more than {_MOST_COLUMNS:,} cells in a line", "Save it as a .npy file.")
    try:
        table = csv.read_csv(
            pa.BufferReader(data),
            csv.ReadOptions(
                use_threads=False,
                column_names=[str(number) for number in range(len(cells))],
                skip_rows=1 if any(map(_is_text, cells)) else 0,
                block_size=max(len(data), 1),
            ),
            csv.ParseOptions(delimiter=delimiter, quote_char=False),
            csv.ConvertOptions(null_values=[""]),
        )
    except (pa.ArrowException, ValueError) as error:
        raise BadValue(f"is not a readable file of numbers ({first_line(error)})", REPLACE) from error
    columns = [_numbers(number, column) for number, column in enumerate(table.columns, 1)]
    return np.stack(columns, axis=1) if columns else np.empty((0, 0))


def _is_text(cell: str) -> bool:
    try:
        # An empty one makes no header: it may be a number that is missing.
        float(cell.strip() or 0)
    except ValueError:
        return True
    return False


def _numbers(number: int, column: pa.ChunkedArray) -> NDArray:
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)) or column.null_count:
        what = "empty cells" if column.null_count else str(kind)
        raise BadValue(
            f"has {what} in column {number}, where each cell is a number",
            "Correct the file, or read it with preprocess= of another field.",
        )
    values: NDArray = column.to_numpy()
    return values
