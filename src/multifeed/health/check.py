"""`check`: read everything once and collect what is found; no sample makes it raise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa

from multifeed.dataset import Dataset
from multifeed.errors import BadValue, DeclarationError, lines
from multifeed.family import learned_by
from multifeed.fields.base import Derived, Field, Learned, Link, Remark, Tally
from multifeed.fields.examine import absent
from multifeed.fields.present import Present
from multifeed.fields.rows import NDArray, Rows
from multifeed.fields.shared import at_least_one
from multifeed.health.page import printable
from multifeed.health.reading import Advance, Reading, fault
from multifeed.health.report import DataReport, Finding, as_table
from multifeed.health.twins import (
    Others,
    keys_of,
    other_sides,
    same_bytes,
    same_bytes_in,
    same_groups,
    same_keys,
)
from multifeed.progress import bars_on_terminal
from multifeed.workers.cpus import threads_for

if TYPE_CHECKING:
    from rich.progress import Progress


def check(
    data: Dataset,
    *,
    by: str | None = None,
    against: Dataset | Sequence[Dataset] | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> DataReport:
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
        workers: Threads that read files; by default one for each CPU this process may use, and 32 where
            parts of files far away are read.
        progress: Show on stderr how far it is, if that is a terminal.

    Returns:
        The report: print it, or see `DataReport`.

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
    workers = at_least_one("workers", workers)
    with bars_on_terminal(progress) as bars:
        checked = _Check(data, other_sides(data, against), workers, bars)
        checked.table(by)
        for name, field in data.all_fields().items():
            if not isinstance(field, Link):
                checked.field(name, field)
    return checked.report()


class _Check:
    """One check of a dataset, field by field."""

    def __init__(self, data: Dataset, others: Others, workers: int | None, bars: Progress) -> None:
        self._data, self._others = data, others
        self._workers, self._bars = workers, bars
        self._findings: list[Finding] = []
        self._found: dict[str, dict[str, dict[str, int]]] = {}
        self._classes: dict[str, Any] = {}
        self._unlearned: list[str] = []

    def report(self) -> DataReport:
        """Return what has been found."""
        fields = tuple(self._data.all_fields())
        rows = np.unique([each.row for each in self._findings if each.row is not None]).astype(np.int64)
        keys = keys_of(self._data, rows) if self._data.key and len(rows) else ()
        return DataReport(
            as_table(self._findings, fields, dict(zip(rows.tolist(), keys, strict=False))),
            samples=len(self._data),
            fields=fields,
            found=self._found,
            classes=self._classes,
            unlearned=tuple(self._unlearned),
        )

    def table(self, by: str | None) -> None:
        """Look at keys and groups."""
        self._add("/".join(self._data.key), same_keys(self._data, self._others))
        if by is not None:
            self._add(by, same_groups(self._data, by, self._others))

    def field(self, name: str, field: Field) -> None:
        """Look at the columns of a field, then read its rows."""
        data = self._data
        learned = learned_by(data.family.learned, name, field)
        good = self._columns(name, field, learned)
        if field.learns and name not in (data.family.learned or {}):
            self._unlearned.append(name)
            return
        reading = Reading(name, field, data.source.original(), learned, good)
        derived = self._derived(name, reading.rows)
        reading.read(derived, self._threads(reading), self._advance(name, len(reading)))
        self._findings += reading.findings
        self._add(name, reading.strangers(), reading.file)
        if tallies := reading.tallies():
            self._found[name] = tallies
        if not reading.sizes:
            return
        digests = pa.array(reading.digests, pa.binary())
        self._add(name, [same_bytes(data, digests)], reading.file)
        for other, title in self._others:
            theirs = pa.array(self._hash(name, other, title, reading.sizes), pa.binary())
            self._add(name, [same_bytes_in(other, digests, title, theirs)], reading.file)

    def _threads(self, reading: Reading) -> int:
        return self._workers or threads_for(waits=reading.waits)

    def _columns(self, name: str, field: Field, learned: Learned | None) -> NDArray:
        """Report what the columns of a field show, and return the rows in which that is not bad."""
        rows = self._data.source.original()
        is_good = np.ones(len(rows), bool)
        remarks: list[Remark] = []
        try:
            for column, is_null in _nulls(field, rows).items():
                is_good &= ~is_null
                remarks += absent(field, column, is_null, "null", "null")
            for said in field.examine(rows, learned):
                if isinstance(said, Tally):
                    self._classes[name] = dict(said.counts)
                else:
                    remarks.append(said)
        except Exception as error:
            # Text that is no text, for one; it would end a training as well.
            self._findings.append(fault(name, None, error))
            is_good[:] = False
        self._add(name, remarks)
        for remark in remarks:
            if remark.is_bad:
                is_good[slice(None) if remark.rows is None else remark.rows] = False
        return np.flatnonzero(is_good)

    def _derived(self, of: str, kept: NDArray) -> dict[str, Derived]:
        """Return the readers, of the rows at `kept`, of the fields that are made from field `of`."""
        rows = self._data.source.original()
        rows = rows if len(kept) == len(rows) else rows.take(kept)
        found = {}
        for name, field in self._data.fields.items():
            # Whether a value is there was seen when the columns of its field were looked at.
            if isinstance(field, Link) and field.of == of and not isinstance(field, Present):
                learned = learned_by(self._data.family.learned, name, field)
                try:
                    found[name] = cast(Derived, rows.bind(field, learned))
                except Exception as error:
                    # Of columns that it reads itself; what is made of the rest is not looked at then.
                    place = error.row if isinstance(error, BadValue) else None
                    row = None if place is None else int(kept[place])
                    self._findings.append(fault(name, row, error))
        return found

    def _hash(self, name: str, data: Dataset, title: str, sizes: set[int]) -> list[bytes | None]:
        """Return, by row, the digests of another side's files that have the size of one of this."""
        field = data.all_fields().get(name)
        # What is wrong with the other side is found when that is checked.
        with suppress(Exception):
            if field is not None:
                rows = data.source.original()
                is_null = np.any([*_nulls(field, rows).values()], axis=0)
                learned = learned_by(data.family.learned, name, field)
                reading = Reading(name, field, rows, learned, np.flatnonzero(~is_null))
                reading.hash(
                    sizes, self._threads(reading), self._advance(f"{name} in {title}", len(reading))
                )
                return reading.digests
        return []

    def _add(
        self, name: str, remarks: Iterable[Remark], file: Callable[[int], str | None] | None = None
    ) -> None:
        """Add what is said of a field; `file` is a function of a row that returns its file."""
        for remark in remarks:
            rows = [None] if remark.rows is None else remark.rows.tolist()
            says = repeat(remark.detail) if isinstance(remark.detail, str) else remark.detail
            for row, detail in zip(rows, says, strict=False):
                path = None if file is None or row is None else file(row)
                severity = "bad" if remark.is_bad else "odd"
                self._findings.append(Finding(severity, remark.kind, name, row, detail, path))

    def _advance(self, name: str, count: int) -> Advance:
        """Return what is told how many more rows have been read."""
        task = self._bars.add_task(f"checking {printable(name)}", total=count)
        return partial(self._bars.advance, task)


def _nulls(field: Field, rows: Rows) -> dict[str, NDArray]:
    """Return ``bool[n]``, True where it is null, for each column that a field reads."""
    names = rows.columns.all_matching(field.reads)
    return {name: rows.nulls(name) for name in names}
