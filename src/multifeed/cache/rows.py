"""Rows of which some fields are read from a cache: the same bytes as from their sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast, overload

import numpy as np
import pyarrow as pa

from multifeed.cache.digest import UnknownCodeError, digest
from multifeed.cache.shards import Column, Kept, Store, fresh
from multifeed.fields.base import (
    Base,
    Columnar,
    Field,
    Gathered,
    Learned,
    Link,
    PerSample,
    Reader,
    RowError,
    Told,
)
from multifeed.fields.finished import Finished
from multifeed.fields.frame import Frame
from multifeed.fields.gather import OneByOne
from multifeed.fields.rows import NDArray, Rows, Source
from multifeed.fields.scratch import Scratch
from multifeed.meter import Redone
from multifeed.remote.uri import Request
from multifeed.table import Columns

# Rows of more bytes are copied one by one, each as one piece of memory; of less, many at once.
_LARGE_BYTES = 2_048


def digest_field(field: Field, learned: Learned | None, version: str | None) -> bytes:
    """Return the digest of all that decides what is kept of a field, but for its columns' values.

    Raises:
        UnknownCodeError: If it cannot be told what a function of the field does.
    """
    # A class of one's own may have more than `decoding` tells.
    own = None if type(field).__module__.startswith("multifeed.") else vars(field)
    return digest((type(field), list(field.decoding.items()), learned, own), version)


class Cached(Rows):
    """Rows of which some fields are read from a cache, and all else from where it was.

    Args:
        inner: The rows as they are without.
        store: The cache.
        index: ``int64[n]``, which of the rows of the cache these are; None for all.
        version: What stands for the code of functions; None if that is looked at.
        title: How the cache is called in the `repr` of a dataset.
    """

    def __init__(
        self, inner: Rows, store: Store, index: NDArray | None, version: str | None, title: str
    ) -> None:
        self.columns = inner.columns
        self._inner, self._store, self._index = inner, store, index
        self._version, self._title = version, title

    def __len__(self) -> int:
        return len(self._inner)

    def values(self, name: str) -> Any:
        return self._inner.values(name)

    def pick(self, name: str, rows: NDArray) -> pa.Array:
        return self._inner.pick(name, rows)

    def take(self, rows: NDArray) -> Rows:
        index = rows if self._index is None else self._index[rows]
        return Cached(self._inner.take(rows), self._store, index, self._version, self._title)

    def like(self, columns: Columns) -> Source:
        return self._inner.like(columns)

    def table(self) -> Any:
        return self._inner.table()

    def pieces(self) -> list[tuple[Source, NDArray]]:
        return self._inner.pieces()

    def original(self) -> Rows:
        return self._inner.original()

    @property
    def note(self) -> str:
        return self._title

    def bind(self, field: Field, learned: Mapping[str, Any] | None) -> Reader:
        kept = self._kept(field, learned)
        if kept is None:
            return self._inner.bind(field, learned)
        base = self._inner.base(field, learned)
        rows = self._rows(field, kept, base)
        if base.finish is not None or base.reader.spec != base.spec:
            return Finished(rows, base)
        # Where some rows must be decoded, threads had better share them.
        is_gathered = kept.packing is None and self._store.is_whole
        return CachedColumn(rows) if is_gathered else rows

    def base(self, field: Field, learned: Mapping[str, Any] | None) -> Base:
        base = self._inner.base(field, learned)
        kept = self._kept(field, learned)
        return base if kept is None else replace(base, reader=self._rows(field, kept, base))

    def _kept(self, field: Field, learned: Learned | None) -> Kept | None:
        """Return what is kept of a field; None if it is not cached, or was in another way."""
        if isinstance(field, Link):
            return None
        try:
            return self._store.kept.get(digest_field(field, learned, self._version))
        except UnknownCodeError:
            return None

    def _rows(self, field: Field, kept: Kept, base: Base) -> CachedRows:
        reader = base.reader
        original = OneByOne(reader) if isinstance(reader, Columnar) else reader
        return CachedRows(self._store, kept, self._index, original, pads=field.pads is not None)


class CachedRows(PerSample):
    """Reads rows from the shards, and those that are not there, or stale, from their source.

    Args:
        store: The shards.
        kept: What they keep of the field.
        index: ``int64[n]``, which of their rows are the dataset's; None for all.
        original: Reads the rows from their source.
        pads: Whether the field pads.
    """

    def __init__(
        self, store: Store, kept: Kept, index: NDArray | None, original: PerSample, *, pads: bool
    ) -> None:
        self.spec = kept.spec
        self.store, self.kept, self.index, self.pads = store, kept, index, pads
        self.original = original
        self._scratch = Scratch()

    def expect(self, rows: NDArray) -> None:
        if self.kept.packing is not None or self.spec.nbytes < _LARGE_BYTES:
            return
        places = rows if self.index is None else self.index[rows]
        shards, inside = np.divmod(places, self.store.per_shard)
        columns = self.store.columns(shards.tolist(), self.kept.name)
        each = zip(columns, inside.tolist(), strict=True)
        self.store.expect([column.values[place] for column, place in each if column is not None])

    def requests(self, rows: NDArray) -> Iterable[Request]:
        if not list(self.original.requests(rows)):
            return ()
        # Whether what is kept is still fresh is found when it is read.
        is_kept = [self._place(row)[0] is not None for row in rows.tolist()]
        return self.original.requests(rows[~np.array(is_kept, bool)])

    def load(self, row: int) -> Any:
        if self.original.fill(row) is not None:
            return self.original.load(row)
        return self._hit(row) or Redone(self.original.load(row))

    def decode(self, row: int, loaded: Any, out: NDArray) -> Told:
        if isinstance(loaded, _Hit):
            loaded.column.read(loaded.place, out)
            return loaded.column.told(loaded.place)
        if not isinstance(loaded, Redone):
            return self.original.decode(row, loaded, out)
        packing = self.kept.packing
        if packing is None or not packing.is_lossy:
            return self.original.decode(row, loaded.loaded, out)
        # Whether a row was cached must make no difference.
        values = self._scratch.array("values", self.spec.shape, self.spec.dtype)
        told = self.original.decode(row, loaded.loaded, values)
        packing.unpack(packing.pack(values), out)
        return told

    def view(self, row: int, loaded: Any) -> tuple[NDArray, Told] | None:
        if not isinstance(loaded, _Hit) or loaded.column.values is None:
            return None
        return loaded.column.values[loaded.place], loaded.column.told(loaded.place)

    def fill(self, row: int) -> NDArray | None:
        return self.original.fill(row)

    def file(self, row: int) -> str | None:
        return self.original.file(row)

    def describe(self, row: int, loaded: Any) -> dict[str, Any]:
        if isinstance(loaded, _Hit):
            return {}
        return self.original.describe(row, loaded.loaded if isinstance(loaded, Redone) else loaded)

    def _hit(self, row: int) -> _Hit | None:
        """Return where a row is, if it is there and its file as it was."""
        column, place = self._place(row)
        if column is None:
            return None
        if column.is_fresh(place):
            return _Hit(column, place)
        self.store.note_stale()
        return None

    def _place(self, row: int) -> tuple[Column | None, int]:
        """Return the shard and the place of a row; None if it is not kept."""
        number, place = divmod(row if self.index is None else int(self.index[row]), self.store.per_shard)
        column = self.store.column(number, self.kept.name)
        return (column if column is not None and column.has(place) else None), place


class _Hit:
    """Where a row's value is."""

    __slots__ = ("column", "place")

    def __init__(self, column: Column, place: int) -> None:
        self.column, self.place = column, place


class CachedColumn(Columnar):
    """Gathers many rows from the shards; it decodes the few that are not there, or stale.

    Args:
        rows: Reads one of them.
    """

    def __init__(self, rows: CachedRows) -> None:
        self.spec = rows.spec
        self._rows = rows

    def gather(self, rows: NDArray, out: NDArray) -> Gathered | None:
        places = rows if self._rows.index is None else self._rows.index[rows]
        shards, inside = np.divmod(places, self._rows.store.per_shard)
        redo = self._copy_many(shards, inside, out)
        if redo is None:
            redo = self._copy_each(shards, inside, out)
        told: dict[int, Told] = {}
        redone = 0
        for slot in redo:
            row = int(rows[slot])
            redone += self._rows.fill(row) is None
            told[slot] = self._redo(row, out[slot : slot + 1].reshape(self.spec.shape))
        has_frames = len(self.spec.shape) > 1
        if not (redone or has_frames or self._rows.pads):
            return None
        found = _Told(self._rows, shards, inside, told)
        lengths = (
            np.array([found.length(slot) for slot in range(len(rows))], np.int64)
            if self._rows.pads
            else None
        )
        return Gathered(lengths, found if has_frames else None, redone)

    def _copy_many(self, shards: NDArray, inside: NDArray, out: NDArray) -> list[int] | None:
        """Write small rows shard by shard; return the slots that remain, or None if all do."""
        if self.spec.nbytes >= _LARGE_BYTES:
            return None
        redo: list[int] = []
        for number in np.unique(shards).tolist():
            slots = np.flatnonzero(shards == number)
            column = self._column(number)
            if column is None or column.values is None:
                redo += slots.tolist()
                continue
            if column.has_files:
                return None
            places = inside[slots]
            out[slots] = column.values[places]
            if column.valid is not None:
                redo += slots[~column.valid[places]].tolist()
        return redo

    def _copy_each(self, shards: NDArray, inside: NDArray, out: NDArray) -> list[int]:
        """Write rows one by one; return the slots that remain."""
        store, places = self._rows.store, inside.tolist()
        columns = store.columns(shards.tolist(), self._rows.kept.name)
        there = [
            slot
            for slot, column in enumerate(columns)
            if column is not None and (column.valid is None or column.has(places[slot]))
        ]
        found = [(cast(Column, columns[slot]), places[slot]) for slot in there]
        are_fresh = fresh(found)
        if len(there) == len(columns) and all(are_fresh):
            each = [column.values[place : place + 1] for column, place in found]
            store.expect(each)
            # In one call, which copies each row as one piece: at the speed of memory.
            np.concatenate(each, out=out)
            return []
        kept = set()
        for slot, (column, place), is_fresh in zip(there, found, are_fresh, strict=True):
            if is_fresh:
                out[slot] = column.values[place]
                kept.add(slot)
            else:
                store.note_stale()
        return [slot for slot in range(len(columns)) if slot not in kept]

    def _column(self, number: int) -> Column | None:
        return self._rows.store.column(number, self._rows.kept.name)

    def _redo(self, row: int, out: NDArray) -> Told:
        """Write a row that is missing, or from its source."""
        original = self._rows.original
        try:
            return original.decode(row, original.load(row), out)
        except Exception as error:
            raise RowError(row, original.file(row)) from error


class _Told(Sequence[Frame | None]):
    """The frames of some rows, made when they are asked for: few fields are made from images.

    Args:
        rows: Reads the rows.
        shards: ``int64[n]``, the shard of each row.
        inside: ``int64[n]``, its place in that.
        redone: What was told, by slot, of those that were not read from the shards.
    """

    def __init__(
        self, rows: CachedRows, shards: NDArray, inside: NDArray, redone: Mapping[int, Told]
    ) -> None:
        self._rows, self._shards, self._inside, self._redone = rows, shards, inside, redone

    def __len__(self) -> int:
        return len(self._shards)

    @overload
    def __getitem__(self, slot: int) -> Frame | None: ...

    @overload
    def __getitem__(self, slot: slice) -> Sequence[Frame | None]: ...

    def __getitem__(self, slot: int | slice) -> Frame | Sequence[Frame | None] | None:
        if isinstance(slot, slice):
            return [self[each] for each in range(*slot.indices(len(self)))]
        if not 0 <= slot < len(self):
            raise IndexError(slot)
        told = self._told(int(slot))
        if told is None:
            shape = self._rows.spec.shape
            return Frame.whole((shape[0], shape[1]))
        return told if isinstance(told, Frame) else None

    def length(self, slot: int) -> int:
        """Return how many items of a row are no padding."""
        told = self._told(slot)
        return told if isinstance(told, int) else 0

    def _told(self, slot: int) -> Told:
        if slot in self._redone:
            return self._redone[slot]
        column = self._rows.store.column(int(self._shards[slot]), self._rows.kept.name)
        # One that has been read from is never closed.
        return None if column is None else column.told(int(self._inside[slot]))
