"""`check`: read everything once and collect what is found; no sample makes it raise."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from multifeed.dataset import Dataset
from multifeed.errors import BadValue, DeclarationError, lines
from multifeed.family import learned_by
from multifeed.fields.base import Columnar, Derived, Field, Learned, Link, PerSample, Remark
from multifeed.fields.category import Category
from multifeed.fields.rows import NDArray
from multifeed.fields.shared import at_least_one, first_line
from multifeed.health.columns import absent, class_counts, examine, names_of, nulls
from multifeed.health.reading import (
    DIGEST_BYTES,
    Bound,
    Faults,
    Seen,
    bind,
    hash_files,
    read_columns,
    read_files,
)
from multifeed.health.report import Findings, Report
from multifeed.health.text import printable
from multifeed.health.twins import (
    Others,
    other_sides,
    same_bytes,
    same_bytes_in,
    same_groups,
    same_keys,
)
from multifeed.health.values import Tally
from multifeed.workers.cpus import usable_cpus

# Told a field and how many of its samples are to be read, returns what is told how many have been.
Bars = Callable[[str, int], Callable[[int], None]]


def check(
    data: Dataset,
    *,
    by: str | None = None,
    against: Dataset | Sequence[Dataset] | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Report:
    """Read everything once, and report what is wrong or odd, before anything is trained.

    *Bad* is what would raise in training: missing and damaged files, nulls and NaNs that nothing fills,
    labels that the vocabulary lacks. *Odd* is what should be looked at: sizes and colour modes unlike
    those of nearly all other files, repeated files and keys, blank images, outliers, constant columns,
    classes of one sample; and where the dataset is part of a split, files, keys and groups that another
    part has as well.

    Fields that have yet to learn are checked as far as that goes without.

    Args:
        data: The dataset.
        by: A column of groups (patients, sites), none of which should be on both sides of a split.
        against: One or more other datasets to compare with, as with the other parts of the split. Of
            both, files are read only if they have the size of one in `data`.
        workers: Threads that read files; by default one for each CPU this process may use.
        progress: Show progress bars on stderr, if that is a terminal.

    Returns:
        The report: print it, or see `Report`.

    Raises:
        DeclarationError: If an argument is wrong. No sample makes it raise.

    Example:
        >>> import multifeed as mf
        >>> data = mf.Dataset({"age": [40, None, 60]}, inputs=mf.Numeric("age"))
        >>> report = check(data)
        >>> report.bad_rows
        array([1])
        >>> len(data.select(report.good_rows))
        2
    """
    if not isinstance(data, Dataset):
        raise DeclarationError(
            lines(
                f"mf.check takes a dataset; received {type(data).__name__}.",
                "Of a loader or feed, pass its .data.",
            )
        )
    others = other_sides(data, against)
    threads = at_least_one("workers", workers) or usable_cpus()
    with _bars(progress) as bars:
        checked = _Check(data, others, threads, bars)
        checked.table(by)
        for name, field in data.all_fields().items():
            if not isinstance(field, Link):
                checked.field(name, field)
    return checked.report()


class _Check:
    """One check of a dataset, field by field."""

    def __init__(self, data: Dataset, others: Others, threads: int, bars: Bars) -> None:
        self._data, self._others = data, others
        self._threads, self._bars = threads, bars
        self._findings = Findings()
        self._found: dict[str, dict[str, dict[str, int]]] = {}
        self._classes: dict[str, dict[Any, int]] = {}
        self._unlearned: list[str] = []

    def report(self) -> Report:
        """Return what has been found."""
        names = tuple(self._data.all_fields())
        return Report(
            self._findings.table(self._data),
            samples=len(self._data),
            fields=names,
            found=self._found,
            classes=self._classes,
            unlearned=tuple(self._unlearned),
        )

    def table(self, by: str | None) -> None:
        """Look at keys and groups."""
        for remark in same_keys(self._data, self._others):
            self._findings.add("/".join(self._data.key), remark)
        for remark in same_groups(self._data, by, self._others):
            self._findings.add(str(by), remark)

    def field(self, name: str, field: Field) -> None:
        """Look at the columns of a field, then read its rows."""
        rows, learned = self._data.source, _learned(self._data, name, field)
        left_out = self._columns(name, field, learned)
        if field.learns and name not in (self._data.family.learned or {}):
            self._unlearned.append(name)
            return
        bound, remarks = bind(rows, field, learned, left_out)
        self._add(name, remarks)
        if bound is None:
            return
        derived = self._derived(name, bound.rows)
        if isinstance(bound.reader, Columnar):
            self._read(name, bound, read_columns(bound.reader, derived, len(bound.rows)))
        elif isinstance(bound.reader, PerSample):
            seen = read_files(bound.reader, derived, self._threads, len(bound.rows))
            self._read(name, bound, seen)

    def _columns(self, name: str, field: Field, learned: Learned | None) -> NDArray:
        """Report what the columns of a field show, and return ``bool[n]``: True where that is enough."""
        rows = self._data.source
        left_out = np.zeros(len(rows), bool)
        try:
            for column in names_of(field, rows.columns):
                is_null = nulls(rows, column)
                left_out |= is_null
                if is_null.any():
                    remark = absent(field, column, np.flatnonzero(is_null), "null", "null")
                    self._add(name, [remark])
            remarks = list(examine(field, rows, learned))
            if isinstance(field, Category):
                self._classes[name] = class_counts(field, rows)
        except Exception as error:
            # Text that is no text, for one; it would end a training as well.
            says = f"raises {type(error).__name__}: {first_line(error)}"
            remarks = [Remark("exception", None, says, is_bad=True)]
        self._add(name, remarks)
        for remark in remarks:
            if remark.is_bad:
                left_out[slice(None) if remark.rows is None else remark.rows] = True
        return left_out

    def _read(self, name: str, bound: Bound, runs: Generator[Seen]) -> None:
        """Read a field's rows, and report what that shows."""
        reading = _Reading(name, bound, len(self._data))
        advance = self._bars(name, len(bound.rows))
        with closing(runs):
            for seen in runs:
                reading.add(seen)
                advance(seen.stop - seen.start)
        for other, faults in reading.faults.items():
            self._add(other, faults.remarks(), bound)
        self._add(name, reading.remarks(), bound)
        if reading.tallies:
            self._found[name] = {aspect: each.counts() for aspect, each in reading.tallies.items()}
        digests = reading.digests.arrow()
        self._add(name, same_bytes(self._data, digests), bound)
        for other_data, title in self._others if reading.digests.sizes else ():
            theirs = self._hash(name, other_data, title, reading.digests.sizes)
            self._add(name, same_bytes_in(other_data, digests, title, theirs.arrow()), bound)

    def _hash(self, name: str, data: Dataset, title: str, sizes: set[int]) -> _Digests:
        """Return the digests of the files of another side that have the size of one of this."""
        digests = _Digests(len(data))
        field = data.all_fields().get(name)
        if field is None or isinstance(field, Link):
            return digests
        left_out = np.zeros(len(data), bool)
        # What is wrong with the other side is found when that is checked.
        with suppress(Exception):
            for column in names_of(field, data.source.columns):
                left_out |= nulls(data.source, column)
            bound, _ = bind(data.source, field, _learned(data, name, field), left_out)
            if bound is not None and isinstance(bound.reader, PerSample):
                advance = self._bars(f"{name} in {title}", len(bound.rows))
                with closing(hash_files(bound.reader, sizes, self._threads, len(bound.rows))) as runs:
                    for seen in runs:
                        digests.add(bound, seen)
                        advance(seen.stop - seen.start)
        return digests

    def _derived(self, of: str, kept: NDArray) -> dict[str, Derived]:
        """Return the readers, of the rows at `kept`, of the fields that are made from field `of`."""
        found = {}
        for name, field in self._data.fields.items():
            if not isinstance(field, Link) or field.of != of:
                continue
            rows, learned = self._data.source, _learned(self._data, name, field)
            if len(kept) < len(rows):
                rows = rows.take(kept)
            try:
                reader = rows.bind(field, learned)
            except BadValue:
                # Of columns that it reads itself; what is made of the rest is not looked at then.
                left_out = np.ones(len(self._data), bool)
                left_out[kept] = False
                self._add(name, bind(self._data.source, field, learned, left_out)[1])
                continue
            if isinstance(reader, Derived):
                found[name] = reader
        return found

    def _add(self, name: str, remarks: Iterable[Remark], bound: Bound | None = None) -> None:
        for remark in remarks:
            self._findings.add(name, remark, None if bound is None else bound.file)


class _Reading:
    """What reading the rows of a field shows, run after run.

    Args:
        name: The field.
        bound: Its reader.
        count: How many rows the dataset has.
    """

    def __init__(self, name: str, bound: Bound, count: int) -> None:
        self._name, self._bound, self._count = name, bound, count
        # By field: this one, and those that are made from it.
        self.faults: dict[str, Faults] = {}
        self.digests = _Digests(count)
        self.tallies: dict[str, Tally] = {}
        self._blank: list[int] = []
        self._not_finite: dict[int, int] = {}

    def add(self, seen: Seen) -> None:
        """Note what was found in a run of rows."""
        rows = self._bound.rows
        for name, place, error, file in seen.faults:
            self.faults.setdefault(name or self._name, Faults()).add(int(rows[place]), error, file)
        for place, described in seen.described.items():
            for aspect, value in described.items():
                self.tallies.setdefault(aspect, Tally(self._count)).add(int(rows[place]), value)
        self.digests.add(self._bound, seen)
        self._blank += seen.blank
        self._not_finite |= seen.not_finite

    def remarks(self) -> Iterator[Remark]:
        """Yield what is to be said of the values and of the files as they were found."""
        rows = self._bound.rows
        yield Remark("blank", rows[self._blank], "all of its pixels are alike")
        says = [f"holds {count:,} NaN or infinite numbers" for count in self._not_finite.values()]
        yield Remark("not finite", rows[list(self._not_finite)], says)
        for aspect, tally in self.tallies.items():
            yield from tally.strangers(f"unusual {aspect}")


class _Digests:
    """The digests of a field's files, and their sizes in bytes."""

    def __init__(self, count: int) -> None:
        self._digests = np.zeros((count, DIGEST_BYTES), np.uint8)
        self._is_known = np.zeros(count, bool)
        self.sizes: set[int] = set()

    def add(self, bound: Bound, seen: Seen) -> None:
        """Note what was found in a run of rows."""
        self.sizes |= seen.sizes
        for place, digest in seen.digests.items():
            row = bound.rows[place]
            self._digests[row] = np.frombuffer(digest, np.uint8)
            self._is_known[row] = True

    def arrow(self) -> pa.Array:
        """Return the digest of each row, null where there is none."""
        kind = pa.binary(DIGEST_BYTES)
        whole = pa.Array.from_buffers(kind, len(self._digests), [None, pa.py_buffer(self._digests)])
        return pc.if_else(pa.array(self._is_known), whole, pa.scalar(None, kind))


def _learned(data: Dataset, name: str, field: Field) -> Learned | None:
    return learned_by(data.family.learned, name, field)


@contextmanager
def _bars(wanted: bool) -> Iterator[Bars]:
    """Show progress bars while the context is open, if stderr is a terminal."""
    if not wanted or sys.stderr is None or not sys.stderr.isatty():
        yield lambda name, count: lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("checking {task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:

        def start(name: str, count: int) -> Callable[[int], None]:
            return partial(progress.advance, progress.add_task(printable(name), total=count))

        yield start
