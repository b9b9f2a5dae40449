"""Large columns in pieces, such as the batches of an Arrow file, gathered from where they lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from multifeed.errors import BadValue
from multifeed.fields.base import Columnar, Gathered, PerSample
from multifeed.fields.rows import NDArray, Source
from multifeed.table import Columns

Bound = tuple[Columnar | PerSample, NDArray | None]

# Columns of fewer bytes are copied into one array, from which gathering is faster.
_LARGE_BYTES = 2**26


def bind_pieces(bind: Callable[[Source], Bound], source: Source, names: Sequence[str]) -> Bound:
    """Return what a bind of a source returns, without a copy of a column that is large.

    Args:
        bind: Returns the reader of a source's rows, and ``bool[n]``, True where they are null.
        source: The rows.
        names: The columns that are read.
    """
    column = source.columns[names[0]]
    is_one = len(names) == 1 and isinstance(column, pa.ChunkedArray)
    if not is_one or column.nbytes < _LARGE_BYTES or (column.num_chunks == 1 and source.index is None):
        return bind(source)
    readers: list[Columnar] = []
    nulls: list[NDArray] = []
    for chunk in column.chunks:
        piece = Columns(pa.table({names[0]: chunk}))
        try:
            reader, is_null = bind(replace(source, columns=piece, index=None))
        except BadValue:
            # It is in a row that may be none of ours: only ours are copied, and looked at.
            return bind(source)
        if not isinstance(reader, Columnar):
            return bind(source)
        readers.append(reader)
        nulls.append(np.zeros(len(chunk), bool) if is_null is None else is_null)
    is_null = np.concatenate(nulls)
    pieces = Pieces(readers, [len(chunk) for chunk in column.chunks], source.index)
    return pieces, is_null if source.index is None else is_null[source.index]


class Pieces(Columnar):
    """Gathers rows of several readers that stand below each other.

    Args:
        pieces: The readers.
        counts: How many rows each has.
        index: ``int64[m]``, which of all these rows are the dataset's; None for all.
    """

    def __init__(self, pieces: list[Columnar], counts: list[int], index: NDArray | None) -> None:
        self.spec = pieces[0].spec
        self._pieces, self._index = pieces, index
        self._starts = np.cumsum([0, *counts[:-1]])

    def gather(self, rows: NDArray, out: NDArray) -> Gathered | None:
        places = rows if self._index is None else self._index[rows]
        owners = np.searchsorted(self._starts, places, side="right") - 1
        lengths: NDArray | None = None
        for owner in np.unique(owners):
            mine = np.flatnonzero(owners == owner)
            inner = places[mine] - self._starts[owner]
            taken = np.empty((len(mine), *out.shape[1:]), out.dtype)
            try:
                found = self._pieces[owner].gather(inner, taken)
            except BadValue as error:
                row = int(rows[mine[np.argmax(inner == error.row)]])
                raise BadValue(error.reason, error.remedy, row=row) from error
            out[mine] = taken
            if found is not None and found.lengths is not None:
                lengths = np.zeros(len(rows), np.int64) if lengths is None else lengths
                lengths[mine] = found.lengths
        return None if lengths is None else Gathered(lengths)

    def view(self, row: int) -> NDArray | None:
        place = row if self._index is None else int(self._index[row])
        owner = int(np.searchsorted(self._starts, place, side="right")) - 1
        return self._pieces[owner].view(place - int(self._starts[owner]))
