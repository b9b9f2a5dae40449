"""Rows of several tables as the rows of one dataset. Each table is read as it would be on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from multifeed.errors import BadValue
from multifeed.fields.base import (
    Base,
    Columnar,
    Derived,
    Field,
    Gathered,
    Made,
    PerSample,
    Reader,
    RowError,
    Told,
)
from multifeed.fields.frame import Frame
from multifeed.fields.gather import OneByOne
from multifeed.fields.rows import NDArray, Rows, Source
from multifeed.remote.uri import Request
from multifeed.table import Columns


class Chain(Rows):
    """Rows of several tables, in any order.

    Args:
        parts: The rows of each table; every one of them is used.
        part_of: ``intp[n]``, the part that each row is in.
    """

    def __init__(self, parts: Sequence[Rows], part_of: NDArray) -> None:
        self.columns = parts[0].columns
        self._parts = parts
        self._part_of = part_of
        # The row of its part that each row is: they stand in the order of that part.
        self._row_in = np.empty(len(part_of), np.int64)
        self._rows_of = [np.flatnonzero(part_of == number) for number in range(len(parts))]
        for rows in self._rows_of:
            self._row_in[rows] = np.arange(len(rows))

    @classmethod
    def of(cls, parts: Sequence[Rows]) -> Chain:
        """Return the rows of the parts one after the other."""
        return cls(parts, np.repeat(np.arange(len(parts)), [len(part) for part in parts]))

    def __len__(self) -> int:
        return len(self._part_of)

    def values(self, name: str) -> Any:
        found = [part.values(name) for part in self._parts]
        if all(isinstance(each, np.ndarray) for each in found):
            return np.concatenate(found)[self._order]
        return _joined([part.arrow(name) for part in self._parts]).take(pa.array(self._order))

    def pick(self, name: str, rows: NDArray) -> pa.Array:
        places, pieces = [], []
        for number, here in self._cut(rows):
            places.append(here)
            pieces.append(self._parts[number].pick(name, self._row_in[rows[here]]))
        return _joined(pieces).take(pa.array(np.argsort(np.concatenate(places))))

    def take(self, rows: NDArray) -> Rows:
        kept = [(part, here) for part, here in self._cut(rows)]
        parts = [self._parts[part].take(self._row_in[rows[here]]) for part, here in kept]
        part_of = np.empty(len(rows), np.intp)
        for number, (_, here) in enumerate(kept):
            part_of[here] = number
        return Chain(parts, part_of)

    def like(self, columns: Columns) -> Source:
        # The types of `columns` are those of the first part as well.
        return self._parts[0].like(columns)

    def table(self) -> Any:
        tables = [part.table() for part in self._parts]
        if all(isinstance(table, pa.Table) for table in tables):
            joined = pa.concat_tables(map(_without_folders, tables), promote_options="permissive")
            return joined.take(pa.array(self._order))
        return {name: self.values(name) for name in self.columns.names}

    def bind(self, field: Field, learned: Mapping[str, Any] | None) -> Reader:
        readers = self._each(lambda part: part.bind(field, learned))
        if not isinstance(readers[0], Derived):
            return self._chained(readers)
        # What reads no columns does the same in every part.
        return _ChainedDerived(self, readers) if field.reads else readers[0]

    def base(self, field: Field, learned: Mapping[str, Any] | None) -> Base:
        bases = self._each(lambda part: part.base(field, learned))
        first: Base = bases[0]
        return replace(first, reader=self._chained([base.reader for base in bases]))

    def _each(self, bind: Callable[[Rows], Any]) -> list[Any]:
        """Return what each part binds."""
        bound = []
        for number, part in enumerate(self._parts):
            try:
                bound.append(bind(part))
            except BadValue as error:
                raise self._of_chain(error, number) from error
        return bound

    def _chained(self, readers: list[Any]) -> Columnar | PerSample:
        columnar = [reader for reader in readers if isinstance(reader, Columnar)]
        if len(columnar) == len(readers):
            return _ChainedColumns(self, columnar)
        return _ChainedSamples(
            self,
            [OneByOne(each) if isinstance(each, Columnar) else each for each in readers],
        )

    def original(self) -> Rows:
        return Chain([part.original() for part in self._parts], self._part_of)

    @property
    def note(self) -> str:
        return ", ".join(dict.fromkeys(part.note for part in self._parts if part.note))

    def pieces(self) -> list[tuple[Source, NDArray]]:
        return [
            (source, rows[places])
            for part, rows in zip(self._parts, self._rows_of, strict=True)
            for source, places in part.pieces()
        ]

    @property
    def _order(self) -> NDArray:
        """Where each row stands if the parts stand one after the other."""
        starts = np.cumsum([0, *(len(part) for part in self._parts)])
        order: NDArray = starts[self._part_of] + self._row_in
        return order

    def _cut(self, rows: NDArray) -> list[tuple[int, NDArray]]:
        """Return each part that some rows are in, and the places of those among them."""
        part_of = self._part_of[rows]
        return [(int(part), np.flatnonzero(part_of == part)) for part in np.unique(part_of)]

    def _of_chain(self, error: BadValue, part: int) -> BadValue:
        """Return what is wrong with a row of a part as a fact about a row of the chain."""
        row = None if error.row is None else int(self._rows_of[part][error.row])
        return BadValue(error.reason, error.remedy, row=row)


class _ChainedColumns(Columnar):
    def __init__(self, chain: Chain, readers: Sequence[Columnar]) -> None:
        self.spec = readers[0].spec
        self._chain, self._readers = chain, readers

    def gather(self, rows: NDArray, out: NDArray) -> Gathered | None:
        told: list[tuple[NDArray, Gathered]] = []
        for number, here in self._chain._cut(rows):
            piece = np.empty((len(here), *self.spec.shape), self.spec.dtype)
            try:
                found = self._readers[number].gather(self._chain._row_in[rows[here]], piece)
            except BadValue as error:
                raise self._chain._of_chain(error, number) from error
            except RowError as error:
                row = int(self._chain._rows_of[number][error.row])
                raise RowError(row, error.file) from error.__cause__
            out[here] = piece
            if found is not None:
                told.append((here, found))
        return _together(len(rows), out, told) if told else None


class _ChainedSamples(PerSample):
    def __init__(self, chain: Chain, readers: Sequence[PerSample]) -> None:
        self.spec = readers[0].spec
        self._readers = readers
        self._chain = chain

    def requests(self, rows: NDArray) -> Iterable[Request]:
        for number, here in self._chain._cut(rows):
            yield from self._readers[number].requests(self._chain._row_in[rows[here]])

    @property
    def waits(self) -> bool:
        return any(reader.waits for reader in self._readers)

    def load(self, row: int) -> Any:
        reader, there = self._at(row)
        return reader.load(there)

    def decode(self, row: int, loaded: Any, out: NDArray) -> Told:
        reader, there = self._at(row)
        return reader.decode(there, loaded, out)

    def describe(self, row: int, loaded: Any) -> dict[str, Any]:
        reader, there = self._at(row)
        return reader.describe(there, loaded)

    def fill(self, row: int) -> NDArray | None:
        reader, there = self._at(row)
        return reader.fill(there)

    def file(self, row: int) -> str | None:
        reader, there = self._at(row)
        return reader.file(there)

    def files(self, row: int) -> tuple[str, ...]:
        reader, there = self._at(row)
        return reader.files(there)

    def _at(self, row: int) -> tuple[PerSample, int]:
        chain = self._chain
        return self._readers[chain._part_of[row]], int(chain._row_in[row])


class _ChainedDerived(Derived):
    def __init__(self, chain: Chain, readers: Sequence[Derived]) -> None:
        super().__init__(readers[0].of)
        self.spec = readers[0].spec
        self._chain, self._readers = chain, readers

    def derive(self, made: Made, out: NDArray) -> NDArray | None:
        marks = None
        for number, here in self._chain._cut(made.rows):
            piece = np.empty((len(here), *self.spec.shape), self.spec.dtype)
            part = made.at(here)
            part = replace(part, rows=self._chain._row_in[part.rows])
            try:
                found = self._readers[number].derive(part, piece)
            except BadValue as error:
                row = None if error.row is None else int(here[error.row])
                raise BadValue(error.reason, error.remedy, row=row) from error
            out[here] = piece
            if found is not None:
                if marks is None:
                    marks = np.zeros((len(made.rows), *found.shape[1:]), bool)
                marks[here] = found
        return marks


def _together(count: int, values: NDArray, told: Sequence[tuple[NDArray, Gathered]]) -> Gathered:
    """Return what is told of all `count` rows, given what is told of those at some places."""
    lengths: NDArray | None = None
    frames: list[Frame | None] | None = None
    if any(found.lengths is not None for _, found in told):
        lengths = np.zeros(count, np.int64)
    if any(found.frames is not None for _, found in told):
        # The images of other parts lie as they were found.
        frames = [Frame.whole((values.shape[1], values.shape[2]))] * count
    for here, found in told:
        if lengths is not None and found.lengths is not None:
            lengths[here] = found.lengths
        if frames is not None and found.frames is not None:
            for place, frame in zip(here.tolist(), found.frames, strict=True):
                frames[place] = frame
    return Gathered(lengths, frames, sum(found.redone for _, found in told))


def _joined(pieces: Sequence[pa.Array]) -> pa.Array:
    """Return Arrow arrays one after the other, of types that are alike (int32 and int64)."""
    plain = [p.dictionary_decode() if pa.types.is_dictionary(p.type) else p for p in pieces]
    tables = [pa.table({"column": piece}) for piece in plain]
    joined = pa.concat_tables(tables, promote_options="permissive").column("column")
    return joined.combine_chunks()


def _without_folders(table: pa.Table) -> pa.Table:
    """Forget where file names start: that is one folder a column, and a chain may have several."""
    return table.cast(pa.schema([field.remove_metadata() for field in table.schema]))
