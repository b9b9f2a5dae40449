"""Where the time goes: seconds and bytes of each field, counted while batches are made."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any


class Redone:
    """What was loaded of a sample that a cache should have had, and had not.

    Args:
        loaded: What was loaded from its source.
    """

    __slots__ = ("loaded",)

    def __init__(self, loaded: Any) -> None:
        self.loaded = loaded


@dataclass
class Spent:
    """What one field has cost so far, all threads together.

    Args:
        load_s: Seconds spent reading files.
        decode_s: Seconds spent turning what was read into arrays.
        copy_s: Seconds spent copying what lies in memory.
        loaded_bytes: Bytes that were read from files, and of samples that lie in memory as they are
            stored; not what a library reads of a part of a file that it opens by itself.
        samples: How many samples of it were made.
        redone: How many of them a cache should have had, and were decoded from their source.
    """

    load_s: float = 0.0
    decode_s: float = 0.0
    copy_s: float = 0.0
    loaded_bytes: int = 0
    samples: int = 0
    redone: int = 0

    @property
    def total_s(self) -> float:
        """Seconds in all."""
        return self.load_s + self.decode_s + self.copy_s

    def count(self, loaded: Any, read: int, begin: float, between: float, end: float) -> None:
        """Count one sample that was loaded from `begin` to `between`, and decoded until `end`.

        Args:
            loaded: What was loaded.
            read: The bytes of files that were read for it.
            begin: When it began, in seconds.
            between: When it was loaded.
            end: When it was decoded.
        """
        self.samples += 1
        self.load_s += between - begin
        self.decode_s += end - between
        if isinstance(loaded, Redone):
            self.redone += 1
            loaded = loaded.loaded
        # What lies in memory was not read; and what a library reads by itself, nobody has counted.
        own = len(loaded) if isinstance(loaded, bytes) else getattr(loaded, "nbytes", 0)
        self.loaded_bytes += own or read

    def count_all(self, samples: int, loaded_bytes: int, seconds: float) -> None:
        """Count samples that were read at once, straight to where they belong."""
        self.samples += samples
        self.loaded_bytes += loaded_bytes
        self.load_s += seconds

    def __add__(self, more: Spent) -> Spent:
        """Return both together."""
        return Spent(
            self.load_s + more.load_s,
            self.decode_s + more.decode_s,
            self.copy_s + more.copy_s,
            self.loaded_bytes + more.loaded_bytes,
            self.samples + more.samples,
            self.redone + more.redone,
        )

    def __sub__(self, before: Spent) -> Spent:
        """Return what has been spent since `before`."""
        return Spent(
            self.load_s - before.load_s,
            self.decode_s - before.decode_s,
            self.copy_s - before.copy_s,
            self.loaded_bytes - before.loaded_bytes,
            self.samples - before.samples,
            self.redone - before.redone,
        )


class Meter:
    """Adds up what each field costs; may be used from many threads at once.

    Args:
        names: The fields.
        memory: Where the sums are kept: doubles, `SIZE` for each field; memory of its own by default.
            Of memory that processes share, each needs its own part.
    """

    SIZE = len(fields(Spent))

    def __init__(self, names: Iterable[str], memory: memoryview | None = None) -> None:
        self._places = {name: number * self.SIZE for number, name in enumerate(names)}
        self._lock = threading.Lock()
        own = bytearray(8 * self.SIZE * len(self._places))
        self._sums: Any = memoryview(own).cast("d") if memory is None else memory

    def add(self, name: str, samples: int = 0, *, copy_s: float, redone: int = 0) -> None:
        """Add what copying a field has cost."""
        place = self._places[name]
        with self._lock:
            self._sums[place + _COPY_S] += copy_s
            self._sums[place + _SAMPLES] += samples
            self._sums[place + _REDONE] += redone

    def add_all(self, spent: Mapping[str, Spent]) -> None:
        """Add what several fields have cost."""
        for name, each in spent.items():
            place = self._places[name]
            sums = (
                each.load_s,
                each.decode_s,
                each.copy_s,
                each.loaded_bytes,
                each.samples,
                each.redone,
            )
            with self._lock:
                for number, value in enumerate(sums, place):
                    self._sums[number] += value

    def seconds_per_row(self) -> tuple[float, float]:
        """Return how long a row has taken to load and decode, all fields together, and of how many."""
        seconds, rows = 0.0, 0.0
        for place in self._places.values():
            load_s, decode_s = self._sums[place + _LOAD_S], self._sums[place + _DECODE_S]
            seconds += load_s + decode_s
            if load_s or decode_s:
                rows = max(rows, self._sums[place + _SAMPLES])
        return seconds / rows if rows else 0.0, rows

    def read(self) -> dict[str, Spent]:
        """Return what has been counted so far, by field."""
        return {name: self._read(place) for name, place in self._places.items()}

    def _read(self, place: int) -> Spent:
        load_s, decode_s, copy_s, *counts = self._sums[place : place + self.SIZE]
        return Spent(load_s, decode_s, copy_s, *map(int, counts))


# Where they stand among the sums of a field.
_NAMES = [each.name for each in fields(Spent)]
_LOAD_S, _DECODE_S, _COPY_S = map(_NAMES.index, ("load_s", "decode_s", "copy_s"))
_SAMPLES, _REDONE = map(_NAMES.index, ("samples", "redone"))
