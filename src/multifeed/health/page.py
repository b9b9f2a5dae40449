"""Tables of findings as text, and as HTML. Names of files and labels are somebody else's words."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from html import escape
from textwrap import fill, wrap
from typing import Any, NamedTuple

import pyarrow as pa

# Findings of one kind and field that are quoted in text, and that stand on a page.
_QUOTED, _LISTED = 2, 200
# Columns of text, where there is no terminal to tell; and what may be made of a terminal.
_WIDTH, _LEAST_WIDTH, _MOST_WIDTH = 100, 60, 160
# Columns that the last cell of a line has at least, however long the others are.
_LEAST_CELL = 40

_STYLE = """
.multifeed-check { font: 14px/1.5 system-ui, sans-serif; max-width: 75rem; }
.multifeed-check table { border-collapse: collapse; width: 100%; margin: 0.25rem 0 1rem; }
.multifeed-check th, .multifeed-check td { text-align: left; vertical-align: top;
  padding: 0.25rem 0.75rem 0.25rem 0; border-bottom: 1px solid #8884; overflow-wrap: break-word; }
.multifeed-check td:last-child { overflow-wrap: anywhere; min-width: 12rem; }
.multifeed-check summary { cursor: pointer; }
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>multifeed: check of a dataset</title>
</head>
<body>
{body}
</body>
</html>
"""


class Line(NamedTuple):
    """A line of a table.

    Args:
        cells: What stands in it.
        findings: Part of a table of findings, which are quoted in one cell more.
    """

    cells: tuple[str, ...]
    findings: pa.Table | None = None


def as_text(says: Iterable[str], tables: Iterable[Sequence[Line]]) -> str:
    """Return sentences, and tables of which the first line is their heads, to fit the terminal."""
    width = _WIDTH
    if sys.stdout is not None and sys.stdout.isatty():
        width = min(max(shutil.get_terminal_size((_WIDTH, 24)).columns, _LEAST_WIDTH), _MOST_WIDTH)
    head = "\n".join(fill(printable(each), width) for each in says)
    return "\n\n".join([head, *(_table(lines, width) for lines in tables)])


def as_fragment(says: Iterable[str], tables: Iterable[Sequence[Line]]) -> str:
    """Return the same as a piece of a page, such as the output of a notebook's cell."""
    first, *others = [escape(each) for each in says]
    parts = [f"<p><strong>{first}</strong></p>", *(f"<p>{each}</p>" for each in others)]
    parts += [_html_table(heads.cells, map(_html_cells, rest)) for heads, *rest in tables]
    return f'<div class="multifeed-check"><style>{_STYLE}</style>{"".join(parts)}</div>'


def as_page(fragment: str) -> str:
    """Return a piece of a page as a page that needs no other file and runs no script."""
    return _PAGE.format(body=fragment)


def printable(text: str) -> str:
    """Return text without what a terminal would take for a command, or for the end of a line."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def _table(lines: Iterable[Line], width: int) -> str:
    """Return a table as text, its last cells folded."""
    rows: list[list[str]] = []
    for cells, findings in lines:
        quotes = [] if findings is None else _quotes(findings, _QUOTED)
        whole = [printable(each) for each in (*cells, *quotes[:1])]
        # What else is quoted stands below, beside empty cells.
        rows += [whole, *([""] * len(cells) + [printable(each)] for each in quotes[1:])]
    widths = [max(map(len, column)) + 2 for column in zip(*(row[:-1] for row in rows), strict=True)]
    indent = sum(widths)
    width = max(width, indent + _LEAST_CELL)
    text = []
    for *others, last in rows:
        start = "".join(cell.ljust(size) for cell, size in zip(others, widths, strict=True))
        folded = wrap(last, width - indent, break_on_hyphens=False) or [""]
        text += [start + folded[0], *(" " * indent + each for each in folded[1:])]
    return "\n".join(each.rstrip() for each in text)


def _quotes(findings: pa.Table, most: int) -> list[str]:
    """Return the first of some findings, in a sentence each."""
    return [_quote(**each) for each in findings.slice(0, most).to_pylist()]


def _quote(*, row: int | None, key: str | None, detail: str, file: str | None, **_: Any) -> str:
    name = "" if row is None else f"row {row}: " if key is None else f"{key!r}: "
    return f"{name}{detail}" + (f" ({file})" if file else "")


def _html_cells(line: Line) -> list[str]:
    cells = [escape(each) for each in line.cells]
    return cells if line.findings is None else [*cells, _unfolding(line.findings)]


def _unfolding(findings: pa.Table) -> str:
    """Return the first of some findings, which unfolds all that fit on a page."""
    heads = ("row", "key", "detail", "file")
    listed = findings.select(heads).slice(0, _LISTED).to_pylist()
    rows = [["" if cell is None else escape(str(cell)) for cell in each.values()] for each in listed]
    hidden = len(findings) - _LISTED
    more = f"<p>… and {hidden:,} more in report.findings</p>" if hidden > 0 else ""
    first = escape(_quotes(findings, 1)[0])
    return f"<details><summary>{first}</summary>{_html_table(heads, rows)}{more}</details>"


def _html_table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = ["".join(f"<th>{escape(each)}</th>" for each in heads)]
    lines += ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
