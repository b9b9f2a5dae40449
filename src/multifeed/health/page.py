"""A report as HTML. Every text is escaped: names of files and labels are somebody else's words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multifeed.health.report import Group, Report

# Findings of one kind and field that stand on the page.
_LISTED = 200

_STYLE = """
.multifeed-check { font: 14px/1.5 system-ui, sans-serif; max-width: 75rem; }
.multifeed-check table { border-collapse: collapse; width: 100%; margin: 0.5rem 0 1.5rem; }
.multifeed-check th, .multifeed-check td {
  text-align: left; vertical-align: top; padding: 0.25rem 0.75rem 0.25rem 0;
  border-bottom: 1px solid #8884; overflow-wrap: break-word;
}
.multifeed-check th, .multifeed-check .word { white-space: nowrap; }
.multifeed-check .long { overflow-wrap: anywhere; min-width: 12rem; }
.multifeed-check .number { text-align: right; white-space: nowrap; }
.multifeed-check .bad { color: #c0392b; font-weight: 600; }
.multifeed-check .odd { color: #a86700; font-weight: 600; }
.multifeed-check details table { margin: 0.25rem 0; }
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


def as_page(report: Report) -> str:
    """Return a report as a page that needs no other file and runs no script."""
    return _PAGE.format(body=as_fragment(report))


def as_fragment(report: Report) -> str:
    """Return a report as a piece of a page, such as the output of a notebook's cell."""
    parts = [f"<p><strong>{escape(report.headline())}</strong></p>", f"<p>{escape(report.unread())}</p>"]
    if len(report):
        heads = ("", "kind", "field", "samples", "findings")
        parts.append(_table(heads, [_group(each) for each in report.groups()]))
    for title, lines in (("As found", report.as_found()), ("What to do", report.to_do())):
        if lines:
            cells = [_row([_cell(subject), _cell(says)]) for subject, says in lines]
            parts.append(_table((title, ""), cells))
    return f'<div class="multifeed-check"><style>{_STYLE}</style>{"".join(parts)}</div>'


def _group(group: Group) -> str:
    """Return the line of one kind of finding in one field; its findings unfold."""
    rows = [
        _row(
            [
                _cell("all" if each["row"] is None else f"{each['row']:,}", "number"),
                _cell(each["key"] or ""),
                _cell(each["detail"], "long"),
                _cell(each["file"] or "", "long" if each["file"] else ""),
            ]
        )
        for each in group.findings.slice(0, _LISTED).to_pylist()
    ]
    hidden = len(group.findings) - _LISTED
    more = f"<p>… and {hidden:,} more in report.findings</p>" if hidden > 0 else ""
    first = group.quotes(1)[0]
    listed = _table(("row", "key", "what", "file"), rows)
    return _row(
        [
            _cell(group.severity, f"word {group.severity}"),
            _cell(group.kind, "word"),
            _cell(group.field, "word"),
            _cell("all" if group.samples is None else f"{group.samples:,}", "number"),
            f'<td class="long"><details><summary>{escape(first)}</summary>{listed}{more}</details></td>',
        ]
    )


def _table(headings: Sequence[str], rows: Iterable[str]) -> str:
    head = "".join(f"<th>{escape(each)}</th>" for each in headings)
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _row(cells: Iterable[str]) -> str:
    return f"<tr>{''.join(cells)}</tr>"


def _cell(text: Any, style: str = "") -> str:
    attribute = f' class="{style}"' if style else ""
    return f"<td{attribute}>{escape(str(text))}</td>"
