"""Every row of a field read once, whatever it may raise; files by threads."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from multifeed.errors import BadValue
from multifeed.fields.base import Columnar, Derived, Field, Made, PerSample, Reader, Remark
from multifeed.fields.rows import NDArray, Rows
from multifeed.fields.shared import first_line
from multifeed.health.values import blank, not_finite
from multifeed.workers.threads import Job, OrderedThreads

# Rows that a thread reads at a time: Ctrl-C waits for no more than these.
_RUN = 16
# Rows, and bytes, that are gathered from memory at a time.
_BLOCK_ROWS, _BLOCK_BYTES = 65_536, 16 * 2**20
# Of BLAKE2b. Among a thousand million files, two are alike by chance with a probability of 10^-21.
DIGEST_BYTES = 16

Derivations = Mapping[str, Derived]


@dataclass(frozen=True)
class Bound:
    """A field's reader of those rows of a dataset that are worth reading.

    Args:
        reader: The reader, of the rows at `rows`.
        rows: ``int64[n]``, ascending.
    """

    reader: Reader
    rows: NDArray

    def file(self, row: int) -> str | None:
        """Return the file of a row of the dataset, if it is read from one."""
        place = int(np.searchsorted(self.rows, row))
        if not isinstance(self.reader, PerSample) or place == len(self.rows) or self.rows[place] != row:
            return None
        return self.reader.file(place)


def bind(
    rows: Rows, field: Field, learned: Mapping[str, Any] | None, left_out: NDArray
) -> tuple[Bound | None, list[Remark]]:
    """Bind a field to the rows that it accepts, and say which it does not accept.

    Args:
        rows: All rows of the dataset.
        field: The field.
        learned: What it has learned.
        left_out: ``bool[n]``, True where a row is known to be bad.

    Returns:
        The reader, None if it accepts no row; and what is to be said of the others.
    """

    def attempt(some: NDArray) -> Reader:
        return (rows if len(some) == len(rows) else rows.take(some)).bind(field, learned)

    kept = np.flatnonzero(~left_out)
    faults = Faults()
    try:
        if len(kept):
            with suppress(BadValue):
                return Bound(attempt(kept), kept), []
        for row, error in _refused(attempt, kept):
            faults.add(row, error)
        kept = np.setdiff1d(kept, faults.rows)
        return Bound(attempt(kept), kept) if len(kept) else None, faults.remarks()
    except Exception as error:
        # It is not for a row's sake that the field cannot be read.
        kind, detail = _explain(error, None)
        return None, [*faults.remarks(), Remark(kind, None, detail, is_bad=True)]


def _refused(
    read: Callable[[NDArray], object], rows: NDArray, errors: type[Exception] = BadValue
) -> Iterator[tuple[int, Exception]]:
    """Yield each row for whose sake `read` raises, by halving the rows until one is left."""
    waiting = [rows] if len(rows) else []
    while waiting:
        some = waiting.pop()
        try:
            read(some)
        except errors as error:
            if len(some) == 1:
                yield int(some[0]), error
            else:
                middle = len(some) // 2
                waiting += [some[middle:], some[:middle]]


class Faults:
    """Rows that cannot be read, and why."""

    def __init__(self) -> None:
        self._by_kind: dict[str, tuple[list[int], list[str]]] = {}

    @property
    def rows(self) -> list[int]:
        """The rows, in no order."""
        return [row for rows, _ in self._by_kind.values() for row in rows]

    def add(self, row: int, error: Exception, file: str | None = None) -> None:
        """Note what was raised for a row."""
        kind, detail = _explain(error, file)
        rows, details = self._by_kind.setdefault(kind, ([], []))
        rows.append(row)
        details.append(detail)

    def remarks(self) -> list[Remark]:
        """Return what is to be said of them."""
        return [
            Remark(kind, np.array(rows, np.int64), details, is_bad=True)
            for kind, (rows, details) in self._by_kind.items()
        ]


def _explain(error: Exception, file: str | None) -> tuple[str, str]:
    """Return of which kind a fault is, and what is said of it."""
    if not isinstance(error, BadValue):
        return "exception", f"raises {type(error).__name__}: {first_line(error)}"
    if isinstance(error.__cause__, FileNotFoundError):
        return "missing file", error.reason
    return "unreadable file" if file is not None else "unusable value", error.reason


@dataclass
class Seen:
    """What was found in the rows of a reader at the places from `start` on.

    Args:
        start: The first place.
        stop: Behind the last place.
    """

    start: int
    stop: int
    # By name of the field: the place, the error, and the file if one was read.
    faults: list[tuple[str | None, int, Exception, str | None]] = field(default_factory=list)
    digests: dict[int, bytes] = field(default_factory=dict)
    sizes: set[int] = field(default_factory=set)
    described: dict[int, dict[str, Any]] = field(default_factory=dict)
    blank: list[int] = field(default_factory=list)
    # How many numbers of a sample are NaN or infinite, where some are.
    not_finite: dict[int, int] = field(default_factory=dict)

    def judge(self, place: int, values: NDArray) -> None:
        """Look at the values of the samples, ``[n, ...]``, at the places from `place` on."""
        self.blank += (place + np.flatnonzero(blank(values))).tolist()
        counts = not_finite(values)
        for number in np.flatnonzero(counts):
            self.not_finite[place + int(number)] = int(counts[number])


def read_files(reader: PerSample, derived: Derivations, threads: int, count: int) -> Generator[Seen]:
    """Read, hash and decode `count` rows, in threads; close the iterator to stop them."""
    return _in_threads(partial(_read, reader, derived), count, threads)


def hash_files(reader: PerSample, sizes: Collection[int], threads: int, count: int) -> Generator[Seen]:
    """Hash those of `count` rows that have one of some sizes in bytes, in threads."""
    return _in_threads(partial(_hash, reader, sizes), count, threads)


def _in_threads(look: Callable[[Seen], None], count: int, threads: int) -> Generator[Seen]:
    runs = (Seen(start, min(start + _RUN, count)) for start in range(0, count, _RUN))
    jobs = (Job(seen, [partial(look, seen)]) for seen in runs)
    engine = OrderedThreads(jobs, threads=threads, ahead=4 * threads, name="multifeed-check")
    try:
        while True:
            try:
                seen = engine.get()
            except StopIteration:
                return
            yield seen
    finally:
        # It does not wait for what the threads are reading: that may be on a slow network.
        engine.stop()


def _read(reader: PerSample, derived: Derivations, seen: Seen) -> None:
    """Read, hash, decode and describe the rows of a run."""
    values = np.empty((1, *reader.spec.shape), reader.spec.dtype)
    for place in range(seen.start, seen.stop):
        file = None
        try:
            file = reader.file(place)
            loaded = reader.load(place)
            if isinstance(loaded, bytes):
                seen.digests[place] = hashlib.blake2b(loaded, digest_size=DIGEST_BYTES).digest()
                with suppress(OSError):  # It may be gone by now.
                    seen.sizes.add(_size(file, loaded))
            told = reader.decode(place, loaded, values.reshape(reader.spec.shape))
        except Exception as error:
            seen.faults.append((None, place, error, file))
            continue
        seen.judge(place, values)
        # What cannot be described can be trained on all the same.
        with suppress(Exception):
            seen.described[place] = reader.describe(place, loaded)
        _derive(derived, Made.told(np.array([place]), values, [told]), seen)


def _derive(derived: Derivations, made: Made, seen: Seen) -> None:
    """Make the values that other fields make of these; those can fail as well."""
    for name, reader in derived.items():
        out = np.empty((len(made.rows), *reader.spec.shape), reader.spec.dtype)

        def attempt(some: NDArray, reader: Derived = reader, out: NDArray = out) -> None:
            reader.derive(made.at(some), out[: len(some)])

        for number, error in _refused(attempt, np.arange(len(made.rows)), Exception):
            seen.faults.append((name, int(made.rows[number]), error, None))


def _hash(reader: PerSample, sizes: Collection[int], seen: Seen) -> None:
    """Hash those rows of a run that have one of some sizes."""
    for place in range(seen.start, seen.stop):
        # What cannot be read is found when its own dataset is checked.
        with suppress(Exception):
            file = reader.file(place)
            if file is not None and os.stat(file).st_size not in sizes:
                continue
            loaded = reader.load(place)
            if isinstance(loaded, bytes) and _size(file, loaded) in sizes:
                seen.digests[place] = hashlib.blake2b(loaded, digest_size=DIGEST_BYTES).digest()


def _size(file: str | None, loaded: bytes) -> int:
    """Return the size of a file; what was loaded of it may be one member of an archive."""
    return len(loaded) if file is None else os.stat(file).st_size


def read_columns(reader: Columnar, derived: Derivations, count: int) -> Generator[Seen]:
    """Gather `count` rows, a block at a time."""
    block = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // max(1, reader.spec.nbytes)))
    out = np.empty((min(block, count), *reader.spec.shape), reader.spec.dtype)
    for start in range(0, count, block):
        seen = Seen(start, min(start + block, count))
        rows = np.arange(seen.start, seen.stop)
        try:
            lengths = reader.gather(rows, out[: len(rows)])
        except Exception:
            _one_by_one(reader, derived, seen)
        else:
            values = out[: len(rows)]
            seen.judge(start, values)
            _derive(derived, Made(rows, values, lengths), seen)
        yield seen


def _one_by_one(reader: Columnar, derived: Derivations, seen: Seen) -> None:
    """Gather the rows of a block of which some cannot be used."""
    values = np.empty((1, *reader.spec.shape), reader.spec.dtype)
    for place in range(seen.start, seen.stop):
        try:
            lengths = reader.gather(np.array([place]), values)
        except Exception as error:
            seen.faults.append((None, place, error, None))
        else:
            seen.judge(place, values)
            _derive(derived, Made(np.array([place]), values, lengths), seen)
