"""What fields are bound to: a row table's columns, and which of their rows the dataset is made of."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from multifeed.errors import BadValue
from multifeed.folder import Folder
from multifeed.remote.uri import Request
from multifeed.table import Columns

if TYPE_CHECKING:
    from multifeed.fields.base import Base, Field, Reader

NDArray = np.ndarray[Any, Any]


class Rows(ABC):
    """The rows of a dataset, in its order."""

    # What stands in them; its types are asked, never its values, which may be in another order.
    columns: Columns

    @abstractmethod
    def __len__(self) -> int:
        """Return how many rows there are."""

    @abstractmethod
    def values(self, name: str) -> Any:
        """Return a column as one NumPy or Arrow array."""

    @abstractmethod
    def pick(self, name: str, rows: NDArray) -> pa.Array:
        """Return a scalar column's values at some rows, ``int64[n]``."""

    @abstractmethod
    def take(self, rows: NDArray) -> Rows:
        """Return some rows, ``int64[n]``, as rows of their own."""

    @abstractmethod
    def like(self, columns: Columns) -> Source:
        """Return all rows of another table, whose file names are held to the rules of these."""

    @abstractmethod
    def table(self) -> Any:
        """Return them as a row table."""

    @abstractmethod
    def bind(self, field: Field, learned: Mapping[str, Any] | None) -> Reader:
        """Return the field's reader of these rows."""

    @abstractmethod
    def base(self, field: Field, learned: Mapping[str, Any] | None) -> Base:
        """Return what augmentation of the field starts from in these rows."""

    @abstractmethod
    def pieces(self) -> list[tuple[Source, NDArray]]:
        """Return the rows table by table, each with ``int64[n]``, where its rows stand in these."""

    def nulls(self, name: str) -> NDArray:
        """Return ``bool[n]``, True where a column is null; the values themselves are not copied."""
        found = np.zeros(len(self), bool)
        for source, places in self.pieces():
            if not isinstance(source.columns[name], np.ndarray):
                is_null = source.cells(name).is_null()
                found[places] = False if is_null is None else is_null
        return found

    def original(self) -> Rows:
        """Return the same rows, read from their sources: without a cache."""
        return self

    @property
    def note(self) -> str:
        """What is to be said of where values are read from; empty if that is their source."""
        return ""

    def arrow(self, name: str) -> pa.Array:
        """Return a scalar column as one Arrow array."""
        values = self.values(name)
        return as_arrow(values) if isinstance(values, np.ndarray) else values


def _working_directory() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:
        # Somebody has deleted it: no relative name is to be had.
        return None


@dataclass(frozen=True)
class Source(Rows):
    """Rows of one table.

    Args:
        columns: The row table's columns.
        index: ``int64[n]``, the row of `columns` that each row of the dataset is; None for all.
        root: Where relative file names start, or None for the folder of their table file.
        allow_outside: Whether file names may leave that folder.
        home: Where all other relative names start: the working directory at the declaration.
    """

    columns: Columns
    index: NDArray | None
    root: str | None = None
    allow_outside: bool = False
    # Whatever becomes of the working directory later, here or in worker processes.
    home: str | None = dataclass_field(default_factory=_working_directory)

    def __len__(self) -> int:
        return self.columns.count if self.index is None else len(self.index)

    def values(self, name: str) -> Any:
        column = self.columns[name]
        if isinstance(column, np.ndarray):
            return column if self.index is None else column[self.index]
        taken = column if self.index is None else column.take(pa.array(self.index))
        # `combine_chunks` copies even a single chunk: a memory-mapped column would be read whole.
        return taken.chunk(0) if taken.num_chunks == 1 else taken.combine_chunks()

    def pick(self, name: str, rows: NDArray) -> pa.Array:
        places = rows if self.index is None else self.index[rows]
        column = self.columns[name]
        if isinstance(column, np.ndarray):
            return as_arrow(column[places])
        return column.take(pa.array(places)).combine_chunks()

    def take(self, rows: NDArray) -> Source:
        index = rows if self.index is None else self.index[rows]
        return replace(self, index=index)

    def like(self, columns: Columns) -> Source:
        return replace(self, columns=columns, index=None)

    def table(self) -> Any:
        return self.columns.take(self.index)

    def bind(self, field: Field, learned: Mapping[str, Any] | None) -> Reader:
        return field.bind(self, learned)

    def base(self, field: Field, learned: Mapping[str, Any] | None) -> Base:
        return field.base(self, learned)

    def pieces(self) -> list[tuple[Source, NDArray]]:
        return [(self, np.arange(len(self)))]

    def cells(self, name: str) -> Cells:
        """Return an Arrow column's rows, to be fetched one by one."""
        return Cells(self.columns[name], self.index)

    def folder(self, name: str) -> Folder:
        """Return where the file names in a column start, and whether they must stay there."""
        origin = self.columns.folder(name)
        start = self.root if self.root is not None else origin
        confined = start is not None and not self.allow_outside
        return Folder(start, confined, self.home)


class Requests:
    """What the names in a column ask storage far away for, file by file.

    A column is taken for one of names near by if the first of them is.

    Args:
        cells: The names.
        folder: Where they start.
        name_of: Returns the name of the file that a cell stands for; None if that is not read whole.
    """

    def __init__(
        self, cells: Cells, folder: Folder | None, name_of: Callable[[str], str | None] = str
    ) -> None:
        self._cells, self._folder, self._name_of = cells, folder, name_of
        self._is_near = folder is None
        # Whether the first of them is far away.
        self.is_far = False
        if folder is not None:
            with suppress(BadValue, UnicodeDecodeError):
                first = cells.first()
                self.is_far = self._request(first) is not None
                self._is_near = first is not None and not self.is_far

    def heads(self, rows: NDArray) -> list[Request]:
        """Return those of the beginnings of the files that some rows, ``int64[n]``, name."""
        return [request.head for request in self(rows) if request.count is None]

    def __call__(self, rows: NDArray) -> list[Request]:
        """Return those of some rows, ``int64[n]``."""
        found: list[Request] = []
        if self._is_near:
            return found
        for row in rows.tolist():
            # What is wrong with a name is said when it is read.
            with suppress(BadValue):
                request = self._request(self._cells[row])
                if request is not None:
                    found.append(request)
        return found

    def _request(self, cell: str | None) -> Request | None:
        name = None if cell is None else self._name_of(cell)
        return None if name is None or self._folder is None else self._folder.request(name)


def as_arrow(values: NDArray) -> pa.Array:
    """Return an array, ``[n]``, as an Arrow array, without a copy where that is possible."""
    # Arrow takes numbers in the machine's own byte order alone.
    return pa.array(values.astype(values.dtype.newbyteorder("="), copy=False))


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

    def coded(self) -> tuple[list[Any], NDArray] | None:
        """Return the values that occur, and which of them each row has, ``int32[n]``.

        None if most rows have one of their own, or one is no text in UTF-8.
        """
        column = self._column if self._index is None else self._column.take(pa.array(self._index))
        found = column.dictionary_encode().unify_dictionaries()
        values = found.chunk(0).dictionary if found.num_chunks else pa.array([])
        if len(values) > len(column) // 4:
            return None
        # The indices of a column that came so may be too small for one more.
        indices = [chunk.indices.cast(pa.int32()) for chunk in found.chunks]
        codes = [np.asarray(each.fill_null(len(values))) for each in indices]
        try:
            return [*values.to_pylist(), None], np.concatenate(codes)
        except UnicodeDecodeError:
            return None

    def first(self) -> Any:
        """Return the first value of the column; None if there is none in its first chunk."""
        chunk = self._column.chunk(0) if self._column.num_chunks else []
        return next((value for value in (each.as_py() for each in chunk[:1_000]) if value), None)

    def is_null(self) -> NDArray | None:
        """Return ``bool[n]``, True where a row has no value; None if all have one."""
        if not self._column.null_count:
            return None
        is_null: NDArray = pc.is_null(self._column).to_numpy()
        return is_null if self._index is None else is_null[self._index]


def refusals(read: Callable[[NDArray], object], rows: NDArray) -> Iterator[tuple[int, BadValue]]:
    """Yield each row for whose sake `read` raises, by halving the rows until one is left."""
    waiting = [rows] if len(rows) else []
    while waiting:
        some = waiting.pop()
        try:
            read(some)
        except BadValue as error:
            if len(some) == 1:
                yield int(some[0]), error
            else:
                middle = len(some) // 2
                waiting += [some[middle:], some[:middle]]
