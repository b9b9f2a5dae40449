"""What a field must do.

A `Field` is a declaration: frozen, cheap, without data. `bind` turns it, once per dataset, into a
reader in which everything is decided, and which then only executes: a `Columnar` reader gathers many
rows with one NumPy call, a `PerSample` reader writes one row at a time and may be called from many
threads at once. Both write into memory that exists already.

A new kind of field is one new file with a subclass of `Field` that passes `tests/conformance/`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from multifeed.errors import BadValue
from multifeed.files import Folder
from multifeed.spec import Spec
from multifeed.table import Columns

NDArray = np.ndarray[Any, Any]
Learned = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """What a field is bound to: the columns, and which of their rows the dataset is made of.

    Args:
        columns: The row table's columns.
        index: ``int64[n]``, the row of `columns` that each row of the dataset is; None for all.
        root: Where relative file names start, or None for the folder of their table file.
        allow_outside: Whether file names may leave that folder.
    """

    columns: Columns
    index: NDArray | None
    root: str | None = None
    allow_outside: bool = False

    def __len__(self) -> int:
        return self.columns.count if self.index is None else len(self.index)

    def arrow(self, name: str) -> pa.Array:
        """Return the dataset's rows of a column as one Arrow array."""
        column = self.columns[name]
        if isinstance(column, np.ndarray):
            # Arrow takes numbers in the machine's own byte order alone.
            native = column.astype(column.dtype.newbyteorder("="), copy=False)
            column = pa.chunked_array([pa.array(native)])
        taken = column if self.index is None else column.take(pa.array(self.index))
        # `combine_chunks` copies even a single chunk: a memory-mapped column would be read whole.
        return taken.chunk(0) if taken.num_chunks == 1 else taken.combine_chunks()

    def cells(self, name: str) -> Cells:
        """Return the dataset's rows of an Arrow column to be fetched one by one."""
        return Cells(self.columns[name], self.index)

    def folder(self, name: str) -> Folder:
        """Return where the file names in a column start, and whether they must stay there."""
        origin = self.columns.folder(name)
        start = self.root if self.root is not None else origin
        confined = start is not None and not self.allow_outside
        return Folder(start, confined=confined)


class Cells:
    """The values of an Arrow column, fetched one by one: a column of files' contents may be huge.

    Args:
        column: The column.
        index: ``int64[n]``, the row of `column` that each row of the dataset is; None for all.
    """

    def __init__(self, column: pa.ChunkedArray, index: NDArray | None) -> None:
        self._column, self._index = column, index

    def __getitem__(self, row: int) -> Any:
        """Return the value in row `row` of the dataset.

        Raises:
            BadValue: If it should be text and is not.
        """
        place = row if self._index is None else int(self._index[row])
        try:
            return self._column[place].as_py()
        except UnicodeDecodeError as error:
            raise BadValue(
                f"is no text in UTF-8 ({error.reason} {error.object[error.start : error.end]!r} after "
                f"{error.start} bytes)",
                "Write the table again with UTF-8 text.",
            ) from error

    def is_null(self) -> NDArray | None:
        """Return ``bool[n]``, True where a row has no value; None if all have one."""
        if not self._column.null_count:
            return None
        is_null: NDArray = pc.is_null(self._column).to_numpy()
        return is_null if self._index is None else is_null[self._index]


class Columnar(ABC):
    """Reads many rows at once from memory. `spec` says what one row of it looks like."""

    spec: Spec

    @abstractmethod
    def gather(self, rows: NDArray, out: NDArray) -> None:
        """Write the rows of the dataset at `rows`, ``int64[n]``, to `out`, ``[n, *spec.shape]``.

        Must be deterministic and safe to call from several threads.

        Raises:
            BadValue: If a row cannot be used; its `row` says which.
        """


class PerSample(ABC):
    """Reads one row at a time, usually from a file. `spec` says what it looks like."""

    spec: Spec

    @abstractmethod
    def read(self, row: int, out: NDArray) -> None:
        """Write row `row` of the dataset to `out`, ``[*spec.shape]``, every element of it.

        Must be deterministic and safe to call from several threads.

        Raises:
            BadValue: If the row cannot be used. Any other exception is reported as the user's own.
        """

    def file(self, row: int) -> str | None:
        """Return the file that row `row` is read from, if it is read from one."""
        return None


Reader = Columnar | PerSample


class Field(ABC):
    """A declared input or target: which columns it reads and what it yields."""

    @property
    @abstractmethod
    def reads(self) -> tuple[str, ...]:
        """Names of the columns it reads, or patterns such as ``"pixel*"``."""

    @property
    def learns(self) -> bool:
        """Whether `adapt` must have seen the training rows before it can be read."""
        return False

    @property
    def name(self) -> str:
        """The name it gets where no dict key gives one."""
        return self.reads[0] if len(self.reads) == 1 else type(self).__name__.lower()

    @abstractmethod
    def check(self, columns: Columns) -> None:
        """Raise `DeclarationError` if these columns cannot be read; looks at types, not at values."""

    @abstractmethod
    def spec(self, columns: Columns, learned: Learned | None) -> Spec:
        """Return what one sample looks like, without reading values.

        Raises:
            NotAdaptedError: If that depends on what `adapt` has yet to learn.
        """

    @abstractmethod
    def bind(self, source: Source, learned: Learned | None) -> Reader:
        """Return the reader for a dataset's rows.

        Args:
            source: The columns and the rows.
            learned: What `learn` returned, where the field `learns`.

        Raises:
            BadValue: If a row in memory cannot be used.
        """

    def learn(self, source: Source) -> Learned | None:
        """Return what the training rows teach, as a dict that JSON can hold; asked if it `learns`.

        Raises:
            BadValue: If they teach nothing.
        """
        return None

    def restore(self, values: NDArray, learned: Learned | None) -> NDArray:
        """Turn values as the model predicts them back into the column's own units."""
        return values
