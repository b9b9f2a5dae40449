"""Rows to one batch, written into buffers that exist already."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from multifeed.augment.pipeline import Augmentation, Shot, TransformError
from multifeed.errors import BadValue, MultifeedError, SampleError, lines
from multifeed.fields.base import Columnar, Derived, PerSample, Reader
from multifeed.meter import Meter
from multifeed.spec import Spec
from multifeed.structure import Structure

Array = np.ndarray[Any, Any]
Buffers = dict[str, Array]


class Plan:
    """A dataset compiled for reading: what each field does, decided once.

    Args:
        readers: A bound reader for each field, by name.
        structure: Where each name stands in a batch.
        name_row: Function of a row that returns its key, or None.
        numbered: Whether errors tell the number of a row.
        augmentation: Transforms, and the fields that they act on; these have no reader.
    """

    def __init__(
        self,
        readers: Mapping[str, Reader],
        structure: Structure,
        name_row: Callable[[int], str | None],
        *,
        numbered: bool = True,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.structure = structure
        self.augmentation = augmentation
        self.specs: dict[str, Spec] = {name: reader.spec for name, reader in readers.items()}
        if augmentation is not None:
            self.specs |= augmentation.specs
        self._columnar = {n: r for n, r in readers.items() if isinstance(r, Columnar)}
        self._per_sample = {n: r for n, r in readers.items() if isinstance(r, PerSample)}
        self._derived: dict[str, list[tuple[str, Derived]]] = {}
        for name, reader in readers.items():
            if isinstance(reader, Derived) and not (augmentation and augmentation.makes(name)):
                self._derived.setdefault(reader.of, []).append((name, reader))
        self._name_row = name_row
        self._numbered = numbered

    @property
    def reads_samples(self) -> bool:
        """Whether any field reads one row at a time, so that threads are worth their while."""
        return bool(self._per_sample) or self.augmentation is not None

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of the batch, all fields together."""
        return sum(spec.nbytes for spec in self.specs.values())

    def fill(self, rows: Array, out: Buffers, shot: Shot | None = None) -> None:
        """Write everything that the rows, ``int64[n]``, have into buffers of n rows.

        Args:
            rows: The rows.
            out: The buffers.
            shot: The draws of their slots, where fields are augmented.
        """
        meter = Meter()
        self.fill_columns(rows, out, meter)
        self.fill_samples(rows, out, 0, len(rows), meter, shot)

    def fill_columns(self, rows: Array, out: Buffers, meter: Meter) -> None:
        """Write the fields that are gathered from memory, all rows at once."""
        for name, reader in self._columnar.items():
            begin = perf_counter()
            try:
                lengths = reader.gather(rows, out[name])
            except BadValue as error:
                raise self._explain_row(error, name, rows) from error
            meter.add(name, len(rows), copy_s=perf_counter() - begin)
            if name in self._derived:
                self._derive(name, rows, lengths, out, 0, len(rows), meter)

    def fill_samples(
        self,
        rows: Array,
        out: Buffers,
        start: int,
        stop: int,
        meter: Meter,
        shot: Shot | None = None,
    ) -> None:
        """Write the fields that are read one row at a time, for the slots `start` to `stop`."""
        if self.augmentation is not None and shot is not None:
            self._fill_augmented(self.augmentation, rows, out, start, stop, meter, shot)
        for name, reader in self._per_sample.items():
            buffer = out[name]
            lengths = np.zeros(stop - start, np.int64)
            load_s = decode_s = 0.0
            loaded_bytes = 0
            for slot in range(start, stop):
                row = int(rows[slot])
                try:
                    begin = perf_counter()
                    loaded = reader.load(row)
                    between = perf_counter()
                    lengths[slot - start] = reader.decode(row, loaded, _slot_of(buffer, slot)) or 0
                    decode_s += perf_counter() - between
                    load_s += between - begin
                except Exception as error:
                    raise self._explain(error, name, reader, row) from error
                if isinstance(loaded, bytes):
                    loaded_bytes += len(loaded)
            meter.add(name, stop - start, load_s=load_s, decode_s=decode_s, loaded_bytes=loaded_bytes)
            if name in self._derived:
                self._derive(name, rows, lengths, out, start, stop, meter)

    def _fill_augmented(
        self,
        augmentation: Augmentation,
        rows: Array,
        out: Buffers,
        start: int,
        stop: int,
        meter: Meter,
        shot: Shot,
    ) -> None:
        """Write the fields that are augmented: all of a slot's together, since transforms may see several."""
        lengths = {name: np.zeros(stop - start, np.int64) for name in augmentation.pipelines}
        for slot in range(start, stop):
            row = int(rows[slot])
            places = {name: _slot_of(out[name], slot) for name in augmentation.written}
            values: dict[str, Array] = {}
            for name, pipeline in augmentation.pipelines.items():
                begin = perf_counter()
                try:
                    filled = pipeline.reader.fill(row)
                    if filled is not None:
                        augmentation.fill(name, filled, places)
                        continue
                    loaded = pipeline.reader.load(row)
                    between = perf_counter()
                    values[name], length = pipeline.start(row, loaded, shot, slot, places[name])
                    lengths[name][slot - start] = length or 0
                except Exception as error:
                    raise self._explain(error, name, pipeline.reader, row) from error
                meter.add(
                    name,
                    1,
                    load_s=between - begin,
                    decode_s=perf_counter() - between,
                    loaded_bytes=len(loaded) if isinstance(loaded, bytes) else 0,
                )
            try:
                augmentation.finish(values, shot, slot, places)
            except TransformError as error:
                raise self._explain_transform(error, row) from error.__cause__
        for name in augmentation.pipelines:
            if name in self._derived:
                self._derive(name, rows, lengths[name], out, start, stop, meter)

    def _derive(
        self,
        of: str,
        rows: Array,
        lengths: Array | None,
        out: Buffers,
        start: int,
        stop: int,
        meter: Meter,
    ) -> None:
        """Write the fields that are made from field `of`, for the slots `start` to `stop`."""
        for name, reader in self._derived[of]:
            begin = perf_counter()
            try:
                reader.derive(out[of][start:stop], lengths, out[name][start:stop])
            except BadValue as error:
                raise self._explain_row(error, name, rows[start:stop], counts=True) from error
            meter.add(name, stop - start, copy_s=perf_counter() - begin)

    def _explain_row(
        self, error: BadValue, name: str, rows: Array, *, counts: bool = False
    ) -> SampleError:
        """Tell what is wrong with one of `rows`; `counts` if the error counts from the first of them."""
        row = int(rows[0]) if error.row is None else int(rows[error.row]) if counts else error.row
        return bad_sample(error, name, row if self._numbered else None, None, self._name_row(row))

    def _explain_transform(self, error: TransformError, row: int) -> Exception:
        cause, key = error.__cause__, self._name_row(row)
        if isinstance(cause, MultifeedError):
            return cause
        if isinstance(cause, BadValue):
            return bad_sample(cause, error.field, row, None, key)
        return SampleError(
            lines(
                f"{error.transform} of {error.field!r} raised {type(cause).__name__} for "
                f"{_sample(key, row)}: {cause}.",
                _place(None, row),
                "The exception above is the original. If it came from a function of yours, that must accept "
                "every sample.",
            ),
            field=error.field,
            key=key,
            row=row,
        )

    def _explain(self, error: Exception, name: str, reader: PerSample, row: int) -> Exception:
        if isinstance(error, MultifeedError):
            return error
        file, key = reader.file(row), self._name_row(row)
        number = row if self._numbered else None
        if isinstance(error, BadValue):
            return bad_sample(error, name, number, file, key)
        return SampleError(
            lines(
                f"reading {name!r} of {_sample(key, number)} raised {type(error).__name__}: {error}.",
                _place(file, number),
                "The exception above is the original. If it came from your preprocess=, that function "
                "must accept every sample.",
            ),
            field=name,
            key=key,
            row=number,
            file=file,
        )


def bad_sample(
    error: BadValue, field: str, row: int | None, file: str | None, key: str | None
) -> SampleError:
    """Tell a small fact about a value in the user's words: field, key, row (if it has one) and file."""
    subject = "the file" if file else "it"
    return SampleError(
        lines(
            f"{field!r} of {_sample(key, row)} cannot be used: {subject} {error.reason}.",
            _place(file, row),
            error.remedy,
        ),
        field=field,
        key=key,
        row=row,
        file=file,
    )


def _slot_of(buffer: Array, slot: int) -> Array:
    """Return a slot's place in a buffer: a view, also where a scalar field would give a number."""
    return buffer[slot : slot + 1].reshape(buffer.shape[1:])


def _sample(key: str | None, row: int | None) -> str:
    if key is not None:
        return f"sample {key!r}"
    return "the sample" if row is None else f"row {row}"


def _place(file: str | None, row: int | None) -> str:
    """Return the line that tells where a value stands; empty if there is nothing to tell."""
    if row is None:
        return f"File: {file}." if file else ""
    return f"File: {file} (row {row})." if file else f"Row: {row}."


def allocate(count: int, specs: Mapping[str, Spec]) -> Buffers:
    """Return fresh buffers of `count` rows."""
    return {name: np.empty((count, *spec.shape), spec.dtype) for name, spec in specs.items()}


def cut(buffers: Buffers, count: int) -> Buffers:
    """Return the first `count` rows of buffers."""
    return {name: buffer[:count] for name, buffer in buffers.items()}


def chunks(count: int, pieces: int) -> Sequence[tuple[int, int]]:
    """Cut `count` slots into at most `pieces` runs (start, stop) of nearly one length."""
    size = -(-count // pieces)
    return [(start, min(start + size, count)) for start in range(0, count, size)]
