"""The table of promises: every fault has its line, and every test that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/reliability.md"
ROW = re.compile(r"^\| (\d+) \|(.*)\|$", re.MULTILINE)
LINK = re.compile(r"\[`(test_\w+)`\]\(([^)]+)\)")


def rows() -> dict[int, list[str]]:
    """Return the cells of each fault: what it is, what is promised, how long that takes, the tests."""
    return {
        int(number): [cell.strip() for cell in cells.split("|")]
        for number, cells in ROW.findall(PAGE.read_text())
    }


def test_every_fault_has_its_line() -> None:
    """Faults 1 to 37, in order, each with a promise."""
    assert list(rows()) == list(range(1, 38))
    for fault, promised, _, _ in rows().values():
        assert len(fault) > 10
        assert len(promised) > 5


def test_every_test_that_is_named_is_there() -> None:
    """Each fault has a test, and each link is to a file that has one of that name."""
    for number, (*_, tests) in rows().items():
        links = LINK.findall(tests)
        assert links, number
        for name, target in links:
            file = (PAGE.parent / target).resolve()
            assert re.search(rf"^ *def {name}\(", file.read_text(), re.MULTILINE), (name, target)


def test_every_test_of_a_fault_says_which() -> None:
    """A test in this folder that a line names begins with the number of that line."""
    for number, (*_, tests) in rows().items():
        for name, target in LINK.findall(tests):
            if "/faults/" not in target:
                continue
            text = (PAGE.parent / target).resolve().read_text()
            said = text.partition(f"def {name}(")[2].partition('"""')[2]
            assert re.match(rf"Rows? (\d+ and )*{number}( and \d+)*: ", said), name
