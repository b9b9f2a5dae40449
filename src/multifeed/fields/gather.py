"""Readers of what lies in memory: many rows with one NumPy call."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from multifeed.fields.base import Columnar, Gathered, PerSample, Told
from multifeed.fields.rows import NDArray
from multifeed.fields.shared import store
from multifeed.spec import Spec


class Matrix(Columnar):
    """Gathers rows of an array, ``dtype[n, *shape]`` in C order, as they are."""

    def __init__(self, values: NDArray) -> None:
        self._values = values
        self.spec = Spec(values.shape[1:], values.dtype.name)

    def gather(self, rows: NDArray, out: NDArray) -> None:
        # mode="clip": the rows are known to be valid, and with "raise" NumPy gathers into a copy of
        # `out` first.
        self._values.take(rows, axis=0, out=out, mode="clip")


@dataclass(frozen=True)
class Padding:
    """How the first axis of a sample is brought to one length, as `keras.utils.pad_sequences` does.

    Args:
        length: That length.
        padding: The end at which shorter samples are filled with 0, ``"post"`` or ``"pre"``.
        truncating: The end at which longer ones are cut, ``"post"`` or ``"pre"``.
    """

    length: int
    padding: str
    truncating: str

    def apply(self, values: NDArray) -> NDArray:
        """Pad or cut axis 1 of ``[n, any length, ...]``."""
        found = values.shape[1]
        if found >= self.length:
            start = 0 if self.truncating == "post" else found - self.length
            return values[:, start : start + self.length]
        padded = np.zeros((len(values), self.length, *values.shape[2:]), values.dtype)
        start = 0 if self.padding == "post" else self.length - found
        padded[:, start : start + found] = values
        return padded


class Gather(Columnar):
    """Gathers rows of an array, converting them where that is asked for.

    Args:
        values: The array or memmap, ``[n, ...]``, in any order and dtype.
        index: ``int64[m]``, which of its rows are the dataset's; None for all.
        spec: What a row becomes.
        scale: Multiplied with every value, or None.
        padding: How rows are padded and cut, or None.
    """

    def __init__(
        self,
        values: NDArray,
        index: NDArray | None,
        spec: Spec,
        scale: float | None = None,
        padding: Padding | None = None,
    ) -> None:
        self.spec = spec
        # Of a memmap, every view would be one too, which costs a microsecond each.
        self._values, self._index = np.asarray(values), index
        self._scale, self._padding = scale, padding
        flags = values.flags
        # Of an array in any other state, `take` copies the whole before it looks at the rows.
        takes = flags.c_contiguous and flags.aligned and values.dtype.isnative
        same = values.dtype.name == spec.dtype and scale is None
        self._plain = takes and same and (padding is None or values.shape[1] == padding.length)

    def gather(self, rows: NDArray, out: NDArray) -> Gathered | None:
        places = rows if self._index is None else self._index[rows]
        if self._plain:
            # mode="clip": see Matrix.
            target = out.reshape(len(rows), *self._values.shape[1:])
            self._values.take(places, axis=0, out=target, mode="clip")
        else:
            taken = self._values[places]
            if self._padding is not None:
                taken = self._padding.apply(taken)
            store(taken.reshape(out.shape), out, scale=self._scale, rows=rows)
        if self._padding is None:
            return None
        return Gathered(np.full(len(rows), min(self._values.shape[1], self._padding.length)))

    def view(self, row: int) -> NDArray | None:
        if not self._plain or self._padding is not None:
            return None
        place = row if self._index is None else self._index[row]
        values: NDArray = self._values[place].reshape(self.spec.shape)
        return values


class GatherLists(Columnar):
    """Gathers lists of any length, padded and cut to one.

    Args:
        values: The items of all lists, one list after the other.
        starts: ``int64[n]``, where each list begins.
        lengths: ``int[n]``, how many items it has.
        spec: What a row becomes.
        scale: Multiplied with every value, or None.
        padding: How lists are padded and cut.
    """

    def __init__(
        self,
        values: NDArray,
        starts: NDArray,
        lengths: NDArray,
        spec: Spec,
        scale: float | None,
        padding: Padding,
    ) -> None:
        self.spec = spec
        # Where all lists are empty, there must still be something that the padding can point at.
        self._values = values if len(values) else np.zeros((1, *values.shape[1:]), values.dtype)
        self._starts, self._lengths = starts, lengths
        self._scale, self._padding = scale, padding

    def gather(self, rows: NDArray, out: NDArray) -> Gathered:
        width = self._padding.length
        lengths, starts = self._lengths[rows], self._starts[rows]
        kept = np.minimum(lengths, width)
        if self._padding.truncating == "pre":
            starts = starts + lengths - kept
        # Which of its list's kept items stands at each place of a row.
        number = np.broadcast_to(np.arange(width), (len(rows), width))
        if self._padding.padding == "pre":
            number = number - (width - kept)[:, None]
        valid = (number >= 0) & (number < kept[:, None])
        taken = self._values[np.where(valid, starts[:, None] + number, 0)]
        taken[~valid] = 0
        store(taken, out, scale=self._scale, rows=rows)
        return Gathered(kept)


class FilledRows(Columnar):
    """Gathers with another reader, and fills the rows that are null."""

    def __init__(self, inner: Columnar, is_null: NDArray, fill: NDArray) -> None:
        self.spec = inner.spec
        self._inner, self._is_null, self._fill = inner, is_null, fill

    def gather(self, rows: NDArray, out: NDArray) -> Gathered | None:
        found = self._inner.gather(rows, out)
        is_null = self._is_null[rows]
        out[is_null] = self._fill
        if found is None or found.lengths is None:
            return found
        return replace(found, lengths=np.where(is_null, 0, found.lengths))


class OneByOne(PerSample):
    """Reads the rows of another reader one at a time, for a user's function of one sample."""

    def __init__(self, inner: Columnar) -> None:
        self.spec = inner.spec
        self._inner = inner

    def load(self, row: int) -> None:
        return None

    def decode(self, row: int, loaded: None, out: NDArray) -> Told:
        found = self._inner.gather(np.array([row]), out[None])
        return None if found is None else found.told(0)

    def view(self, row: int, loaded: None) -> tuple[NDArray, Told] | None:
        values = self._inner.view(row)
        return None if values is None else (values, None)
