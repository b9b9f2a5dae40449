"""Encoded samples in a column: names of files, or what such files hold as bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np

from multifeed.errors import BadValue, DeclarationError, lines
from multifeed.fields.base import Field
from multifeed.fields.rows import Requests, Source
from multifeed.fields.shared import holds_text
from multifeed.files import File, Whole
from multifeed.table import Columns, is_bytes

# A larger file is read where it lies, as far as it is needed.
_WHOLE_BYTES = 64 * 2**20

# The content of a file, or the file.
Loaded = bytes | File


def check_contents(field: Field, column: str, columns: Columns, what: str) -> None:
    """Raise unless a column holds text or bytes; `what` is how the error calls the encoded samples."""
    values = columns[column]
    is_array = isinstance(values, np.ndarray)
    kind = values.dtype if is_array else values.type
    if is_array or not (holds_text(kind) or is_bytes(kind)):
        name = type(field).__name__
        raise DeclarationError(
            lines(
                f"mf.{name} reads a column of file names or encoded {what}; {column!r} holds {kind}.",
                f"Declare arrays that are decoded already as mf.Array({column!r}).",
            )
        )


class Contents:
    """The files of a column's rows, or their contents.

    Args:
        source: The rows.
        column: A column of text or bytes.
    """

    def __init__(self, source: Source, column: str) -> None:
        is_named = holds_text(source.columns[column].type)
        self._cells = source.cells(column)
        self._folder = source.folder(column) if is_named else None
        # What storage far away is asked for.
        self.requests = Requests(self._cells, self._folder)

    def file(self, row: int) -> str | None:
        """Return the file of a row, if it has one."""
        if self._folder is None:
            return None
        try:
            return self._folder.path(self._cells[row])
        except BadValue:
            return None

    def load(self, row: int, *, is_part: bool, by_path: bool = False) -> Loaded:
        """Return what a row is made from: the content of its file; of a large one, the open file.

        Args:
            row: The row.
            is_part: Whether only a part of the file is needed, so that even a small one is left where
                it lies.
            by_path: Whether a file of this machine is decoded faster where it lies.

        Raises:
            BadValue: If the file cannot be read.
        """
        value = self._cells[row]
        if self._folder is None:
            data: bytes = value
            return data
        if not is_part and self._folder.request(value) is not None:
            # However large: it may have been asked for ahead.
            return self._folder.read(value)
        file = self._folder.open(value)
        if is_part or file.size > _WHOLE_BYTES:
            return file
        if by_path and file.path is not None:
            return Whole(file)
        with file:
            return file.read()


@contextmanager
def opened(loaded: Loaded) -> Iterator[BinaryIO]:
    """Open what was loaded as a file object, and close it in the end."""
    if isinstance(loaded, bytes):
        yield io.BytesIO(loaded)
    else:
        with loaded, loaded.stream() as stream:
            yield stream
