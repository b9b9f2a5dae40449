"""Rows to one batch, written into buffers that exist already."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from multifeed.errors import BadValue, MultifeedError, SampleError, lines
from multifeed.fields.base import Columnar, PerSample, Reader
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
    """

    def __init__(
        self,
        readers: Mapping[str, Reader],
        structure: Structure,
        name_row: Callable[[int], str | None],
    ) -> None:
        self.structure = structure
        self.specs: dict[str, Spec] = {name: reader.spec for name, reader in readers.items()}
        self._columnar = {n: r for n, r in readers.items() if isinstance(r, Columnar)}
        self._per_sample = {n: r for n, r in readers.items() if isinstance(r, PerSample)}
        self._name_row = name_row

    @property
    def reads_samples(self) -> bool:
        """Whether any field reads one row at a time, so that threads are worth their while."""
        return bool(self._per_sample)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of the batch, all fields together."""
        return sum(spec.nbytes for spec in self.specs.values())

    def fill(self, rows: Array, out: Buffers) -> None:
        """Write everything that the rows, ``int64[n]``, have into buffers of n rows."""
        self.fill_columns(rows, out)
        self.fill_samples(rows, out, 0, len(rows))

    def fill_columns(self, rows: Array, out: Buffers) -> None:
        """Write the fields that are gathered from memory, all rows at once."""
        for name, reader in self._columnar.items():
            try:
                reader.gather(rows, out[name])
            except BadValue as error:
                row = error.row if error.row is not None else int(rows[0])
                raise bad_sample(error, name, row, None, self._name_row(row)) from error

    def fill_samples(self, rows: Array, out: Buffers, start: int, stop: int) -> None:
        """Write the fields that are read one row at a time, for the slots `start` to `stop`."""
        for name, reader in self._per_sample.items():
            buffer = out[name]
            for slot in range(start, stop):
                row = int(rows[slot])
                try:
                    # `slot : slot + 1` keeps a view where a scalar field would give a number.
                    reader.read(row, buffer[slot : slot + 1].reshape(buffer.shape[1:]))
                except Exception as error:
                    raise self._explain(error, name, reader, row) from error

    def _explain(self, error: Exception, name: str, reader: PerSample, row: int) -> Exception:
        if isinstance(error, MultifeedError):
            return error
        file, key = reader.file(row), self._name_row(row)
        if isinstance(error, BadValue):
            return bad_sample(error, name, row, file, key)
        return SampleError(
            lines(
                f"reading {name!r} of {_sample(key, row)} raised {type(error).__name__}: {error}.",
                f"File: {file} (row {row})." if file else f"Row: {row}.",
                "The exception above is the original. If it came from your preprocess=, that function "
                "must accept every sample.",
            ),
            field=name,
            key=key,
            row=row,
            file=file,
        )


def bad_sample(error: BadValue, field: str, row: int, file: str | None, key: str | None) -> SampleError:
    """Tell a small fact about a value in the user's words: field, key, row and file."""
    subject = "the file" if file else "it"
    return SampleError(
        lines(
            f"{field!r} of {_sample(key, row)} cannot be used: {subject} {error.reason}.",
            f"File: {file} (row {row})." if file else f"Row: {row}.",
            error.remedy,
        ),
        field=field,
        key=key,
        row=row,
        file=file,
    )


def _sample(key: str | None, row: int) -> str:
    return f"sample {key!r}" if key is not None else f"row {row}"


def allocate(count: int, specs: Mapping[str, Spec]) -> Buffers:
    """Return fresh buffers of `count` rows."""
    return {name: np.empty((count, *spec.shape), spec.dtype) for name, spec in specs.items()}


def chunks(count: int, pieces: int) -> Sequence[tuple[int, int]]:
    """Cut `count` slots into at most `pieces` runs (start, stop) of nearly one length."""
    size = -(-count // pieces)
    return [(start, min(start + size, count)) for start in range(0, count, size)]
