"""The report of a check: as a table of findings, as text, and as a page."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from multifeed.errors import DeclarationError, lines, near
from multifeed.fields.base import Remark
from multifeed.fields.rows import NDArray
from multifeed.health.page import as_fragment, as_page
from multifeed.health.text import as_text, counted, printable

if TYPE_CHECKING:
    from multifeed.dataset import Dataset

# What to do about each kind of finding, in the order in which they are reported.
ADVICE = {
    "missing file": "see whether root= or the table names the right folder",
    "unreadable file": "fetch or export the file again",
    "unusable value": "correct the value, or the declaration of the field",
    "exception": "let your function accept every sample; data[row] shows where it fails",
    "null": 'fill the cells in, or declare the field with missing="zero" or a value',
    "not finite": "NaN spreads through a model: fill the numbers in before building the dataset, or "
    "declare missing=",
    "unseen label": "adapt on rows that have the label, or declare the Category with oov=True",
    "filled": "see whether so many filled values are what you want",
    "on both sides": "what a model was trained on it knows: split with by=<the group>, and keep one of "
    "several equal files",
    "duplicate file": "keep one of them, or see whether names were mixed up",
    "duplicate key": "see whether rows were joined or appended twice",
    "blank": "see whether the file was exported whole",
    "outlier": "see whether it is a typing error or another unit",
    "long tail": "a logarithm or a bound before building the dataset may help",
    "constant column": "it teaches nothing: leave it out",
    "rare class": "it cannot be in both parts of a split: merge it, or add samples",
    "empty class": "leave the label out of the vocabulary, or stratify= the split",
    "empty text": "see whether it stands for a missing value",
}
_UNUSUAL = "see whether these files belong here; they are converted by the field's rules"

# Values that are listed of what was found of files, and of classes.
_VALUES = 5

_SCHEMA = pa.schema(
    [
        ("severity", pa.string()),
        ("kind", pa.string()),
        ("field", pa.string()),
        ("key", pa.string()),
        ("row", pa.int64()),
        ("file", pa.string()),
        ("detail", pa.string()),
    ]
)


class Findings:
    """Collects what is found, in any order."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str, str], list[_Found]] = {}

    def add(self, field: str, remark: Remark, file: Callable[[int], str | None] | None = None) -> None:
        """Add what is said of a field; `file` is a function of a row that returns its file."""
        if remark.rows is None or len(remark.rows):
            group = ("bad" if remark.is_bad else "odd", remark.kind, field)
            self._groups.setdefault(group, []).append(_Found(remark, file))

    def table(self, data: Dataset) -> pa.Table:
        """Return the findings as a table: bad before odd, by kind, by field, by row."""
        fields = [*data.all_fields()]
        kinds = [*ADVICE]

        def order(group: tuple[str, str, str]) -> tuple[Any, ...]:
            severity, kind, field = group
            place = kinds.index(kind) if kind in kinds else len(kinds)
            return severity, place, kind, fields.index(field) if field in fields else -1, field

        pieces = [_table(group, self._groups[group], data) for group in sorted(self._groups, key=order)]
        return pa.concat_tables([_SCHEMA.empty_table(), *pieces])


@dataclass(frozen=True)
class _Found:
    remark: Remark
    file: Callable[[int], str | None] | None


def _table(group: tuple[str, str, str], found: Sequence[_Found], data: Dataset) -> pa.Table:
    """Return the findings of one kind and field, by row."""
    severity, kind, field = group
    rows: list[int | None] = []
    files: list[str | None] = []
    details: list[str] = []
    for each in found:
        these = [None] if each.remark.rows is None else each.remark.rows.tolist()
        says = each.remark.detail
        rows += these
        files += [None if row is None or each.file is None else each.file(row) for row in these]
        details += [says] * len(these) if isinstance(says, str) else says
    order = sorted(range(len(rows)), key=lambda place: -1 if (row := rows[place]) is None else row)
    rows = [rows[place] for place in order]
    count = len(rows)
    return pa.table(
        {
            "severity": [severity] * count,
            "kind": [kind] * count,
            "field": [_valid(field)] * count,
            "key": _keys(data, rows),
            "row": rows,
            "file": [None if (file := files[place]) is None else _valid(file) for place in order],
            "detail": [_valid(details[place]) for place in order],
        },
        schema=_SCHEMA,
    )


def _keys(data: Dataset, rows: Sequence[int | None]) -> list[str | None]:
    """Return the key of each row, None where there is none."""
    if not data.key:
        return [None] * len(rows)
    numbers = np.array([row for row in rows if row is not None], np.int64)
    keys = iter(data.keys(numbers) if len(numbers) else ())
    return [None if row is None else next(keys) for row in rows]


def _valid(text: str) -> str:
    """Return text that UTF-8 can hold: names of files need not be such."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@dataclass(frozen=True)
class Group:
    """The findings of one kind in one field.

    Args:
        severity: ``"bad"`` or ``"odd"``.
        kind: What they are.
        field: The field, or the column.
        samples: In how many samples they are; None if they are about all.
        findings: All of them, as a part of `Report.findings`.
    """

    severity: str
    kind: str
    field: str
    samples: int | None
    findings: pa.Table

    def quotes(self, limit: int) -> list[str]:
        """Return the first findings, as text for one line each."""
        return [_quote(each) for each in self.findings.slice(0, limit).to_pylist()]


def _quote(finding: Mapping[str, Any]) -> str:
    key, row, file = finding["key"], finding["row"], finding["file"]
    name = "" if row is None else f"{key!r}: " if key is not None else f"row {row}: "
    return printable(name + finding["detail"] + (f" ({file})" if file else ""))


class Report:
    """What `check` found. Print it, or act on it.

    Args:
        findings: See `Report.findings`.
        samples: How many samples were checked.
        fields: The names of the fields.
        found: By field of files and by what is said of these (``"size"``, ``"mode"``, …): how many files
            have each value, most frequent first.
        classes: By `Category` field: how many samples have each label, most frequent first.
        unlearned: Fields whose rows were not read, because they have yet to learn.

    Attributes:
        findings: The findings as a `pyarrow.Table`, with a severity (``"bad"`` would raise in training,
            ``"odd"`` should be looked at), kind, field (or column), key, row, file, and detail; row is
            null where a finding is about all rows.
        found: As above.
        classes: As above.

    Example:
        >>> import multifeed as mf
        >>> data = mf.Dataset({"x": [1.0, 2.0]}, inputs=mf.Numeric("x"))
        >>> print(mf.check(data))
        Checked 2 samples of 1 field: nothing found.
    """

    def __init__(
        self,
        findings: pa.Table,
        *,
        samples: int,
        fields: Sequence[str],
        found: Mapping[str, Mapping[str, Mapping[str, int]]],
        classes: Mapping[str, Mapping[Any, int]],
        unlearned: Sequence[str],
    ) -> None:
        self.findings = findings
        self.found = found
        self.classes = classes
        self.unlearned = tuple(unlearned)
        self._samples, self._fields = samples, tuple(fields)

    def __len__(self) -> int:
        """Return the number of findings."""
        return int(self.findings.num_rows)

    @property
    def bad_rows(self) -> NDArray:
        """The rows that would raise in training, ``int64[n]``, ascending."""
        bad = self.findings.filter(pc.equal(self.findings["severity"], "bad"))["row"]
        if bad.null_count:
            return np.arange(self._samples)
        return _distinct(bad)

    @property
    def good_rows(self) -> NDArray:
        """All other rows, ``int64[n]``, ascending: ``data.select(report.good_rows)``."""
        return np.setdiff1d(np.arange(self._samples), self.bad_rows)

    def rows(self, kind: str) -> NDArray:
        """Return the rows with findings of a kind, ``int64[n]``, ascending.

        Args:
            kind: As in the findings, such as ``"duplicate file"``.

        Raises:
            DeclarationError: If there is no such kind.
        """
        found = self.findings["kind"].unique().to_pylist()
        if kind not in found and kind not in ADVICE and not kind.startswith("unusual "):
            raise DeclarationError(
                lines(f"there is no kind of finding {kind!r}.", near(kind, {*ADVICE, *found}))
            )
        return _distinct(self.findings.filter(pc.equal(self.findings["kind"], kind))["row"].drop_null())

    def groups(self) -> list[Group]:
        """Return the findings by severity, kind and field."""
        names = [self.findings[name].to_pylist() for name in ("severity", "kind", "field")]
        labels = list(zip(*names, strict=True))
        starts = [i for i, label in enumerate(labels) if not i or label != labels[i - 1]]
        groups = []
        for start, stop in pairwise([*starts, len(labels)]):
            part = self.findings.slice(start, stop - start)
            samples = None if part["row"].null_count else len(_distinct(part["row"]))
            severity, kind, field = labels[start]
            groups.append(Group(severity, kind, field, samples, part))
        return groups

    def headline(self) -> str:
        """Return what was checked and found, in one sentence."""
        checked = f"Checked {counted(self._samples, 'sample')} of {counted(len(self._fields), 'field')}"
        if not len(self):
            return f"{checked}: nothing found."
        bad = self.bad_rows
        odd = self.findings.filter(pc.equal(self.findings["severity"], "odd"))["row"]
        also = len(np.setdiff1d(_distinct(odd.drop_null()), bad))
        told = [
            f"{len(bad):,} bad (would raise in training)" if len(bad) else "none bad",
            f"{also:,} {'more ' if len(bad) else ''}odd (look at them)" if also else "",
            f"{counted(odd.null_count, 'remark')} on whole columns" if odd.null_count else "",
        ]
        return f"{checked}: {', '.join(each for each in told if each)}."

    def unread(self) -> str:
        """Return which fields could not be read, if there are some."""
        if not self.unlearned:
            return ""
        names = ", ".join(self.unlearned)
        return f"Checked in part, because they have yet to learn: {names}. Check again after adapt()."

    def as_found(self) -> list[tuple[str, str]]:
        """Return what was found of files and classes, by field: the most frequent values."""
        files = [
            (f"{field}, {aspect}", _frequent(counts))
            for field, aspects in self.found.items()
            for aspect, counts in aspects.items()
        ]
        classes = {
            field: {repr(label): count for label, count in counts.items()}
            for field, counts in self.classes.items()
        }
        return files + [(f"{field}, labels", _frequent(counts)) for field, counts in classes.items()]

    def to_do(self) -> list[tuple[str, str]]:
        """Return what to do: subject and advice."""
        if not len(self):
            return []
        todo: dict[str, list[str]] = {}
        bad, good = len(self.bad_rows), len(self.good_rows)
        if bad:
            leave = f"correct them, or train on the other {good:,}: data.select(report.good_rows)"
            advice = leave if good else "no good one is left: correct what stands above"
            todo[advice] = [counted(bad, "bad sample")]
        for kind in dict.fromkeys(self.findings["kind"].to_pylist()):
            advice = ADVICE.get(kind, _UNUSUAL if kind.startswith("unusual ") else "look at them")
            todo.setdefault(advice, []).append(kind)
        todo["report.findings, report.rows(kind), report.to_html(path)"] = ["all findings"]
        return [(",\n".join(kinds), advice) for advice, kinds in todo.items()]

    def __str__(self) -> str:
        return as_text(self)

    __repr__ = __str__

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the report as a page that needs no other file, and write it if there is a path."""
        page = as_page(self)
        if path is not None:
            Path(path).write_text(page, encoding="utf-8")
        return page

    def _repr_html_(self) -> str:
        return as_fragment(self)


def _distinct(rows: pa.ChunkedArray) -> NDArray:
    """Return row numbers once each, ascending."""
    numbers: NDArray = np.unique(rows.to_numpy())
    return numbers


def _frequent(counts: Mapping[str, int]) -> str:
    """Return the most frequent values and how often each occurs."""
    listed = ", ".join(f"{value} ({count:,})" for value, count in list(counts.items())[:_VALUES])
    hidden = len(counts) - _VALUES
    return f"{listed} and {hidden:,} more" if hidden > 0 else listed
