"""Where the time goes: seconds and bytes of each field, counted while batches are made."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
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
        loaded_bytes: Bytes that were read from files.
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

    def count(self, loaded: Any, begin: float, between: float, end: float) -> None:
        """Count one sample that was loaded from `begin` to `between`, and decoded until `end`."""
        self.samples += 1
        self.load_s += between - begin
        self.decode_s += end - between
        if isinstance(loaded, Redone):
            self.redone += 1
            loaded = loaded.loaded
        if isinstance(loaded, bytes):
            self.loaded_bytes += len(loaded)

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
    """Adds up what each field costs; may be used from many threads at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fields: dict[str, Spent] = {}

    def add(self, name: str, samples: int = 0, *, copy_s: float, redone: int = 0) -> None:
        """Add what copying a field has cost."""
        with self._lock:
            spent = self._fields.setdefault(name, Spent())
            spent.samples += samples
            spent.copy_s += copy_s
            spent.redone += redone

    def add_all(self, spent: Mapping[str, Spent]) -> None:
        """Add what several fields have cost."""
        with self._lock:
            for name, each in spent.items():
                self._fields[name] = self._fields.get(name, Spent()) + each

    def read(self) -> dict[str, Spent]:
        """Return a copy of what has been counted so far, by field."""
        with self._lock:
            return {name: replace(spent) for name, spent in self._fields.items()}
