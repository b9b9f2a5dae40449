"""A report as text."""

from __future__ import annotations

import io
import shutil
import sys
from textwrap import fill
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from multifeed.health.report import Report

# Findings of one kind and field that are quoted.
_QUOTED = 2
# Columns of text, where there is no terminal to tell; and what may be made of a terminal.
_WIDTH, _LEAST_WIDTH, _MOST_WIDTH = 100, 60, 160


def as_text(report: Report) -> str:
    """Return a report as lines of text that fit the terminal, if stdout is one."""
    width = _width()
    said = [fill(printable(each), width) for each in (report.headline(), report.unread()) if each]
    parts = ["\n".join(said)]
    if len(report):
        table = _table("", "kind", "field", "samples", "the first of them")
        table.columns[3].justify = "right"
        for group in report.groups():
            samples = "all" if group.samples is None else f"{group.samples:,}"
            quotes = group.quotes(_QUOTED)
            _add(table, group.severity, group.kind, group.field, samples, "\n".join(quotes))
        parts.append(_rendered(table, width))
    for title, lines in (("As found", report.as_found()), ("What to do", report.to_do())):
        if lines:
            table = _table(title, "")
            for subject, says in lines:
                _add(table, subject, says)
            parts.append(_rendered(table, width))
    return "\n\n".join(parts)


def printable(text: str) -> str:
    """Return text without what a terminal would take for a command, or for the end of a line."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def counted(count: int, noun: str) -> str:
    """Return "1 sample" or "2 samples"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _table(*headings: str) -> Table:
    # Only now: importing multifeed does not load what prints reports.
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings[:-1]:
        table.add_column(heading, no_wrap=len(heading) < 8, overflow="fold")
    table.add_column(headings[-1], overflow="fold", ratio=1)
    return table


def _add(table: Table, *cells: str) -> None:
    from rich.text import Text

    # A `Text` is taken as it is, where brackets in a string would be markup.
    table.add_row(*(Text("\n".join(map(printable, cell.split("\n")))) for cell in cells))


def _width() -> int:
    if sys.stdout is None or not sys.stdout.isatty():
        return _WIDTH
    return min(max(shutil.get_terminal_size((_WIDTH, 24)).columns, _LEAST_WIDTH), _MOST_WIDTH)


def _rendered(table: Table, width: int) -> str:
    from rich.console import Console

    file = io.StringIO()
    console = Console(
        file=file, width=width, color_system=None, force_terminal=False, force_jupyter=False,
        legacy_windows=False, highlight=False, emoji=False,
    )  # fmt: skip
    console.print(table)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())
