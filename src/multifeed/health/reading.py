"""Every row of a field read once, by threads, whatever it may raise."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from multifeed.batch import ask_ahead
from multifeed.errors import BadValue
from multifeed.fields.base import Columnar, Derived, Field, Learned, Made, PerSample, Reader, Remark
from multifeed.fields.gather import OneByOne
from multifeed.fields.rows import NDArray, Rows, refusals
from multifeed.fields.shared import first_line
from multifeed.files import Whole
from multifeed.folder import part_of
from multifeed.health.report import Finding
from multifeed.remote.uri import is_uri
from multifeed.workers.threads import Job, OrderedThreads

# Rows that a thread reads at a time, one after the other; Ctrl-C waits for no more than these.
_RUN = 16
# Rows, and bytes, that a thread gathers from memory at once.
_BLOCK_ROWS, _BLOCK_BYTES = 4_096, 16 * 2**20
# Of BLAKE2b. Among a thousand million files, two are alike by chance with a probability of 10^-21.
_DIGEST_BYTES = 16
# Told how many more rows have been read.
Advance = Callable[[int], None]
# What can be said about a sample as it was found: pairs such as ("size", "60 x 80").
Description = tuple[tuple[str, str], ...]
# Values at the start of a sample that are compared before all of them are.
_PEEK = 64
# At most this share of the files is "few", where nearly all others are alike.
_FEW_SHARE = 0.1


def fault(field: str, row: int | None, error: Exception, file: str | None = None) -> Finding:
    """Return what is to be said of what a row raised."""
    if not isinstance(error, BadValue):
        says = f"raises {type(error).__name__}: {first_line(error)}"
        return Finding("bad", "exception", field, row, says, file)
    if isinstance(error.__cause__, FileNotFoundError):
        kind = "missing file"
    else:
        kind = "unusable value" if file is None else "unreadable file"
    return Finding("bad", kind, field, row, error.reason, file)


class Reading:
    """Reads the rows of one field, and keeps what that shows.

    Threads fill it at once. Each writes what belongs to its own rows, or appends.

    Args:
        name: The field's name.
        field: The field.
        rows: All rows of the dataset.
        learned: What the field has learned.
        good: ``int64[n]``, ascending: the rows that are not known to be bad.
    """

    def __init__(
        self, name: str, field: Field, rows: Rows, learned: Learned | None, good: NDArray
    ) -> None:
        self._name = name
        self.findings: list[Finding] = []
        # The sizes of the files in bytes, and by row what their bytes come down to.
        self.sizes: set[int] = set()
        self.digests: list[bytes | None] = [None] * len(rows)
        # By row, what is said of it; rows of which the same is said share it.
        self._described: list[Description] = [()] * len(rows)
        self._alike: dict[Description, Description] = {}
        self._reader, self._rows = self._bind(field, rows, learned, good)

    @property
    def rows(self) -> NDArray:
        """The rows that the field accepts, ``int64[n]``; what is derived must be bound to them."""
        return self._rows

    @property
    def waits(self) -> bool:
        """Whether reading waits for storage far away."""
        return isinstance(self._reader, PerSample) and self._reader.waits

    def __len__(self) -> int:
        """Return how many rows the field accepts."""
        return len(self._rows)

    def _bind(
        self, field: Field, rows: Rows, learned: Learned | None, good: NDArray
    ) -> tuple[Reader | None, NDArray]:
        """Return the reader of those rows that the field accepts, and these rows."""

        def attempt(some: NDArray) -> Reader:
            return (rows if len(some) == len(rows) else rows.take(some)).bind(field, learned)

        try:
            if len(good):
                with suppress(BadValue):
                    return attempt(good), good
            refused = dict(refusals(attempt, good))
            self.findings += [fault(self._name, row, error) for row, error in refused.items()]
            good = np.setdiff1d(good, [*refused])
            return attempt(good) if len(good) else None, good
        except Exception as error:
            # It is not for a row's sake that the field cannot be read.
            self.findings.append(fault(self._name, None, error))
            return None, good[:0]

    def read(self, derived: Mapping[str, Derived], threads: int, advance: Advance) -> None:
        """Read, hash, decode and describe all rows.

        Args:
            derived: By name, the readers of the fields that are made from this one.
            threads: How many threads read.
            advance: Told how many more rows have been read.
        """
        if isinstance(self._reader, PerSample):
            self._in_threads(partial(self._samples, self._reader, derived), _RUN, threads, advance)
        elif isinstance(self._reader, Columnar):
            look = partial(self._block, self._reader, derived)
            fitting = max(1, _BLOCK_BYTES // max(1, self._reader.spec.nbytes))
            self._in_threads(look, min(_BLOCK_ROWS, fitting), threads, advance)

    def hash(self, sizes: Collection[int], threads: int, advance: Advance) -> None:
        """Hash the files that have one of some sizes in bytes, and leave all others unread."""
        if isinstance(self._reader, PerSample):
            self._in_threads(partial(self._hash, self._reader, sizes), _RUN, threads, advance)

    def file(self, row: int) -> str | None:
        """Return the file of a row of the dataset, which is one of those read."""
        if not isinstance(self._reader, PerSample):
            return None
        return self._reader.file(int(np.searchsorted(self._rows, row)))

    def tallies(self) -> dict[str, dict[str, int]]:
        """Return how many rows have each value, by what is described; most frequent first."""
        counters: dict[str, Counter[str]] = {}
        for description in self._described:
            for aspect, value in description:
                counters.setdefault(aspect, Counter())[value] += 1
        return {aspect: dict(counter.most_common()) for aspect, counter in counters.items()}

    def strangers(self) -> Iterator[Remark]:
        """Yield which rows are described unlike nearly all others."""
        for aspect, counts in self.tallies().items():
            (usual, most), total = next(iter(counts.items())), sum(counts.values())
            if most < 2 or not 0 < total - most <= max(1, _FEW_SHARE * total):
                continue
            values = np.array([dict(said).get(aspect, usual) for said in self._described], object)
            rows = np.flatnonzero(values != usual)
            rest = f"where {most:,} of {total:,} are {usual}"
            yield Remark(f"unusual {aspect}", rows, [f"is {value}, {rest}" for value in values[rows]])

    def _in_threads(
        self,
        look: Callable[[int, int], None],
        at_once: int,
        threads: int,
        advance: Advance,
    ) -> None:
        """Call ``look(start, stop)`` for every run of places in the reader."""

        def job(start: int) -> Job[tuple[int, object]]:
            stop = min(start + at_once, len(self._rows))
            # What is asked for ahead lasts as long as the job.
            readers = [self._reader] if isinstance(self._reader, PerSample) else []
            claim = ask_ahead(readers, np.arange(start, stop))
            return Job((stop - start, claim), [partial(look, start, stop)])

        jobs = map(job, range(0, len(self._rows), at_once))
        engine = OrderedThreads(jobs, threads=threads, ahead=4 * threads, name="multifeed-check")
        try:
            with suppress(StopIteration):
                while True:
                    advance(engine.get()[0])
        finally:
            # It does not wait for what the threads are reading: that may be on a slow network.
            engine.stop()

    def _block(self, reader: Columnar, derived: Mapping[str, Derived], start: int, stop: int) -> None:
        values = np.empty((stop - start, *reader.spec.shape), reader.spec.dtype)
        try:
            rows = np.arange(start, stop)
            made = Made.gathered(rows, values, reader.gather(rows, values))
            for each in derived.values():
                _derive(each, made)
        except Exception:
            self._samples(OneByOne(reader), derived, start, stop)
        else:
            self._judge(start, values)

    def _samples(self, reader: PerSample, derived: Mapping[str, Derived], start: int, stop: int) -> None:
        values = np.empty((1, *reader.spec.shape), reader.spec.dtype)
        for place in range(start, stop):
            row, file = int(self._rows[place]), None
            try:
                file = reader.file(place)
                loaded = reader.load(place)
                content = _content(loaded)
                if content is not None:
                    self.digests[row] = _digest(content)
                    with suppress(OSError):  # It may be gone by now.
                        self.sizes.add(_size(file, content))
                told = reader.decode(place, loaded, values.reshape(reader.spec.shape))
            except Exception as error:
                self.findings.append(fault(self._name, row, error, file))
                continue
            self._judge(place, values, file)
            # What cannot be described can be trained on all the same.
            with suppress(Exception):
                described = reader.describe(place, loaded).items()
                said = tuple((aspect, _shown(value)) for aspect, value in described)
                self._described[row] = self._alike.setdefault(said, said)
            for name, each in derived.items():
                try:
                    _derive(each, Made.told(np.array([place]), values, [told]))
                except Exception as error:
                    self.findings.append(fault(name, row, error))

    def _hash(self, reader: PerSample, sizes: Collection[int], start: int, stop: int) -> None:
        for place in range(start, stop):
            # What cannot be read is found when its own dataset is checked.
            with suppress(Exception):
                file = reader.file(place)
                if file is None or is_uri(file) or _file_size(file) in sizes:
                    content = _content(reader.load(place))
                    if content is not None and _size(file, content) in sizes:
                        self.digests[int(self._rows[place])] = _digest(content)

    def _judge(self, place: int, values: NDArray, file: str | None = None) -> None:
        """Look at the values of the samples, ``[n, ...]``, at the places from `place` on."""

        def add(kind: str, number: int, says: str) -> None:
            row = int(self._rows[place + number])
            self.findings.append(Finding("odd", kind, self._name, row, says, file))

        for number in np.flatnonzero(blank(values)).tolist():
            add("blank", number, "all of its pixels are alike")
        if values.dtype.kind == "f":
            counts = (~np.isfinite(values)).reshape(len(values), -1).sum(axis=1)
            for number in np.flatnonzero(counts).tolist():
                add("not finite", number, f"holds {counts[number]:,} NaN or infinite numbers")


def _derive(reader: Derived, made: Made) -> None:
    """Make the values that another field makes of these; that can fail as well."""
    reader.derive(made, np.empty((len(made.rows), *reader.spec.shape), reader.spec.dtype))


def _content(loaded: Any) -> bytes | None:
    """Return the content of the file that was loaded, if all of it was."""
    if isinstance(loaded, Whole):
        return loaded.read()
    return loaded if isinstance(loaded, bytes) else None


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()


def _size(file: str | None, loaded: bytes) -> int:
    """Return the size of a file; what was loaded of it may be one member of an archive."""
    return len(loaded) if file is None or is_uri(file) else _file_size(file)


def _file_size(file: str) -> int:
    """Return the size of a file, or of a part of one, without reading it."""
    part = part_of(file)
    return os.path.getsize(file) if part is None else part.size


def _shown(value: Any) -> str:
    """Return what is said of a sample as text: (60, 80) is "60 x 80"."""
    return " x ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def blank(values: NDArray) -> NDArray:
    """Return ``bool[n]``, True where all pixels of a sample, ``[n, height, width, ...]``, are alike.

    The last of three or more axes is a pixel's channels if it is no longer than 4. Samples of fewer than
    two axes are never blank: that a list holds one number alone is nothing unusual.
    """
    if values.ndim < 3 or not values.size:
        return np.zeros(len(values), bool)
    channels = values.shape[-1] if values.ndim > 3 and values.shape[-1] <= 4 else 1
    pixels = values.reshape(len(values), -1, channels)
    if pixels.shape[1] < 2:
        return np.zeros(len(values), bool)
    # Few samples are blank, and those that are not show it soon.
    found: NDArray = (pixels[:, :_PEEK] == pixels[:, :1]).all(axis=(1, 2))
    for place in np.flatnonzero(found):
        found[place] = (pixels[place] == pixels[place, :1]).all()
    return found
