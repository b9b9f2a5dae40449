"""The report of a check: its findings as a table, and what to do about them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from multifeed.errors import DeclarationError, lines, near
from multifeed.fields.rows import NDArray
from multifeed.health.page import Line, as_fragment, as_page, as_text

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


class Finding(NamedTuple):
    """What is said of one row, or of a field as a whole where `row` is None."""

    severity: str
    kind: str
    field: str
    row: int | None
    detail: str
    file: str | None = None


def as_table(findings: Iterable[Finding], fields: Sequence[str], keys: Mapping[int, str]) -> pa.Table:
    """Return findings as a table: bad before odd, by kind, by field, by row.

    Args:
        findings: The findings, in any order.
        fields: The names of the fields, in order; what is said of other columns comes first.
        keys: The key of each row that has one.
    """
    kind_at = {kind: place for place, kind in enumerate(ADVICE)}
    field_at = {field: place for place, field in enumerate(fields)}

    def order(each: Finding) -> tuple[Any, ...]:
        at = kind_at.get(each.kind, len(ADVICE)), each.kind, field_at.get(each.field, -1), each.field
        return each.severity, *at, -1 if each.row is None else each.row

    columns: dict[str, list[Any]] = {name: [] for name in _SCHEMA.names}
    for each in sorted(findings, key=order):
        key = None if each.row is None else keys.get(each.row)
        for name, value in (each._asdict() | {"key": key}).items():
            columns[name].append(_valid(value) if isinstance(value, str) else value)
    return pa.table(columns, schema=_SCHEMA)


@dataclass(frozen=True, eq=False, repr=False)
class DataReport:
    """What `check` found. Print it, or act on it.

    Args:
        findings: The findings as a `pyarrow.Table`, with a severity (``"bad"`` would raise in training,
            ``"odd"`` should be looked at), kind, field (or column), key, row, file, and detail; row is
            null where a finding is about all rows.
        samples: How many samples were checked.
        fields: The names of the fields.
        found: By field of files and by what is said of these (``"size"``, ``"mode"``, …): how many files
            have each value, most frequent first.
        classes: By `Category` field: how many samples have each label, most frequent first.
        unlearned: Fields whose rows were not read, because they have yet to learn.

    Example:
        >>> import multifeed as mf
        >>> data = mf.Dataset({"x": [1.0, 2.0]}, inputs=mf.Numeric("x"))
        >>> print(mf.check(data))
        Checked 2 samples of 1 field: nothing found.
    """

    findings: pa.Table
    samples: int
    fields: tuple[str, ...]
    found: Mapping[str, Mapping[str, Mapping[str, int]]]
    classes: Mapping[str, Mapping[Any, int]]
    unlearned: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of findings."""
        return int(self.findings.num_rows)

    @property
    def bad_rows(self) -> NDArray:
        """The rows that would raise in training, ``int64[n]``, ascending."""
        bad = self._where("severity", "bad")["row"]
        return np.arange(self.samples) if bad.null_count else _distinct(bad)

    @property
    def good_rows(self) -> NDArray:
        """All other rows, ``int64[n]``, ascending: ``data.select(report.good_rows)``."""
        return np.setdiff1d(np.arange(self.samples), self.bad_rows)

    def rows(self, kind: str) -> NDArray:
        """Return the rows with findings of a kind, ``int64[n]``, ascending.

        Args:
            kind: As in the findings, such as ``"duplicate file"``.

        Raises:
            DeclarationError: If there is no such kind.
        """
        kinds = {*ADVICE, *self.findings["kind"].to_pylist()}
        if kind not in kinds and not kind.startswith("unusual "):
            raise DeclarationError(lines(f"there is no kind of finding {kind!r}.", near(kind, kinds)))
        return _distinct(self._where("kind", kind)["row"])

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the report as a page that needs no other file, and write it if there is a path."""
        page = as_page(self._repr_html_())
        if path is not None:
            Path(path).write_text(page, encoding="utf-8")
        return page

    def __str__(self) -> str:
        return as_text(self._says(), self._tables())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return as_fragment(self._says(), self._tables())

    def _where(self, column: str, value: str) -> pa.Table:
        return self.findings.filter(pc.equal(self.findings[column], value))

    def _says(self) -> list[str]:
        """Return what was checked and found, and what could not be checked, in a sentence each."""
        samples, fields = _counted(self.samples, "sample"), _counted(len(self.fields), "field")
        bad, odd = self.bad_rows, self._where("severity", "odd")["row"]
        also = len(np.setdiff1d(_distinct(odd), bad))
        told = [
            f"{len(bad):,} bad (would raise in training)" if len(bad) else "none bad",
            f"{also:,} {'more ' if len(bad) else ''}odd (look at them)" if also else "",
            f"{_counted(odd.null_count, 'remark')} on whole columns" if odd.null_count else "",
        ]
        what = ", ".join(filter(None, told)) if len(self) else "nothing found"
        says = [f"Checked {samples} of {fields}: {what}."]
        if self.unlearned:
            names = ", ".join(self.unlearned)
            says.append(
                f"Checked in part, because they have yet to learn: {names}. Check again after adapt()."
            )
        return says

    def _tables(self) -> list[list[Line]]:
        """Return the findings by kind and field, what was found of files, and what to do."""
        titles = ("", "kind", "field", "samples", "the first of them")
        tables = [(titles, self._groups()), (("As found", ""), self._found())]
        tables.append((("What to do", ""), self._to_do()))
        return [[Line(heads), *rows] for heads, rows in tables if rows]

    def _groups(self) -> list[Line]:
        group = ["severity", "kind", "field"]
        # Without threads, groups come in the order in which they stand in the table.
        counts = self.findings.group_by(group, use_threads=False).aggregate(
            [([], "count_all"), ("row", "count"), ("row", "count_distinct")]
        )
        found, start = [], 0
        for each in counts.to_pylist():
            count = each["count_all"]
            samples = f"{each['row_count_distinct']:,}" if each["row_count"] == count else "all"
            cells = (*(each[name] for name in group), f"{samples:>7}")
            found.append(Line(cells, self.findings.slice(start, count)))
            start += count
        return found

    def _found(self) -> list[Line]:
        found = []
        for field, aspects in self.found.items():
            found += [Line((f"{field}, {what}", _frequent(each))) for what, each in aspects.items()]
        for field, counts in self.classes.items():
            labels = {repr(label): count for label, count in counts.items()}
            found.append(Line((f"{field}, labels", _frequent(labels))))
        return found

    def _to_do(self) -> list[Line]:
        if not len(self):
            return []
        todo = []
        bad, good = len(self.bad_rows), len(self.good_rows)
        if bad:
            leave = f"correct them, or train on the other {good:,}: data.select(report.good_rows)"
            advice = leave if good else "no good one is left: correct what stands above"
            todo.append(Line((_counted(bad, "bad sample"), advice)))
        for kind in self.findings["kind"].unique().to_pylist():
            advice = ADVICE.get(kind, _UNUSUAL if kind.startswith("unusual ") else "look at them")
            todo.append(Line((kind, advice)))
        advice = "report.findings, report.rows(kind), report.to_html(path)"
        return [*todo, Line(("all findings", advice))]


def _distinct(rows: pa.ChunkedArray) -> NDArray:
    """Return row numbers once each, ascending, without nulls."""
    numbers: NDArray = np.unique(rows.drop_null().to_numpy())
    return numbers


def _counted(count: int, noun: str) -> str:
    """Return "1 sample" or "2 samples"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _frequent(counts: Mapping[str, int]) -> str:
    """Return the most frequent values and how often each occurs."""
    listed = ", ".join(f"{value} ({count:,})" for value, count in list(counts.items())[:_VALUES])
    hidden = len(counts) - _VALUES
    return f"{listed} and {hidden:,} more" if hidden > 0 else listed


def _valid(text: str) -> str:
    """Return text that UTF-8 can hold: names of files need not be such."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
