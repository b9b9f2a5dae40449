"""The keys of samples: which columns may be one, and what a row is called."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from multifeed.errors import DeclarationError, lines
from multifeed.fields.rows import NDArray, Rows
from multifeed.fields.shared import holds_text


class Keys:
    """Names rows, for predictions and for errors; it does not keep the dataset alive.

    Args:
        rows: The rows of the dataset.
        columns: The columns that make the key, at least one.
    """

    def __init__(self, rows: Rows, columns: tuple[str, ...]) -> None:
        self._rows, self._columns = rows, columns

    def many(self, rows: NDArray) -> list[str]:
        """Return the keys of rows, ``int64[n]``; the parts of a composite key are joined by "/"."""
        parts = [_texts(self._rows.pick(name, rows).cast(pa.string())) for name in self._columns]
        return ["/".join(key) for key in zip(*parts, strict=True)]

    def one(self, row: int) -> str:
        """Return the key of a row."""
        return self.many(np.array([row]))[0]


def _texts(column: pa.Array) -> list[str]:
    try:
        return [str(each) for each in column.to_pylist()]
    except UnicodeDecodeError:
        # A key is told in errors: it must not raise one of its own.
        found = column.cast(pa.binary()).to_pylist()
        return [str(each, "utf-8", "backslashreplace") for each in found]


def check_key(name: str, column: Any) -> None:
    """Raise unless a column holds what a key may be."""
    if isinstance(column, np.ndarray):
        kind, valid = column.dtype, column.ndim == 1 and column.dtype.kind in "iu"
    else:
        kind = column.type
        valid = holds_text(kind) or pa.types.is_integer(kind)
    missing = 0 if isinstance(column, np.ndarray) else column.null_count
    if valid and missing:
        raise DeclarationError(
            lines(
                f"every sample needs a key; the key column {name!r} is null in {missing:,} rows.",
                "Fill it in, leave these rows out of the table, or name another column.",
            )
        )
    if not valid:
        raise DeclarationError(
            lines(
                f"a key is text or an integer; the key column {name!r} holds {kind}.",
                "Name another column, or convert it.",
            )
        )
