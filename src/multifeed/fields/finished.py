"""What becomes of the base of a field where nothing augments it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from multifeed.fields.base import Base, PerSample, Told
from multifeed.fields.frame import Frame, resizing
from multifeed.fields.resize import resize
from multifeed.fields.rows import NDArray
from multifeed.fields.scratch import Scratch
from multifeed.remote.uri import Request


class Finished(PerSample):
    """Makes what a field yields of its base, as it does where it is augmented.

    Args:
        reader: Reads the base.
        base: What becomes of it.
    """

    def __init__(self, reader: PerSample, base: Base) -> None:
        self.spec = base.final
        self._reader, self._base = reader, base
        self._scratch = Scratch()

    def requests(self, rows: NDArray) -> Iterable[Request]:
        return self._reader.requests(rows)

    @property
    def waits(self) -> bool:
        return self._reader.waits

    def expect(self, rows: NDArray) -> None:
        self._reader.expect(rows)

    def load(self, row: int) -> Any:
        return self._reader.load(row)

    def decode(self, row: int, loaded: Any, out: NDArray) -> Told:
        filled = self._reader.fill(row)
        if filled is not None:
            out[...] = filled
            return 0
        base, found = self._base, self._reader.spec
        is_resized = found != base.spec
        values = out if base.finish is None else self._array("values", base.spec.shape, base.spec.dtype)
        start = self._array("base", found.shape, found.dtype) if is_resized else values
        told = self._reader.decode(row, loaded, start)
        if is_resized:
            resize(start, values, base.interpolation, antialias=base.antialias)
            if isinstance(told, Frame):
                sizes = (found.shape[0], found.shape[1]), (base.spec.shape[0], base.spec.shape[1])
                told = told.then(resizing(*sizes))
        if base.finish is not None:
            base.finish(values, out)
        return told

    def fill(self, row: int) -> NDArray | None:
        return self._reader.fill(row)

    def file(self, row: int) -> str | None:
        return self._reader.file(row)

    def files(self, row: int) -> tuple[str, ...]:
        return self._reader.files(row)

    def describe(self, row: int, loaded: Any) -> dict[str, Any]:
        return self._reader.describe(row, loaded)

    def _array(self, use: str, shape: tuple[int, ...], dtype: str) -> NDArray:
        return self._scratch.array(use, shape, dtype)
