"""Documentation: every Python block of README and docs runs, page by page, in an empty folder."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import multifeed as mf

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
PRINTED = re.compile(r"^```text printed\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCK = re.compile(r"^```python ?(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


class Insist(ast.NodeTransformer):
    """Makes every `try` of a page fail where nothing was raised: a page that shows an error means it."""

    def visit_Try(self, node: ast.Try) -> ast.Try:
        if not node.orelse and not any(isinstance(each, ast.Return) for each in ast.walk(node)):
            node.orelse = ast.parse("raise AssertionError('nothing was raised')").body
        return node


@each_page
def test_every_block_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    """All blocks of a page run top to bottom as one program, and print what it says that they print.

    Blocks marked `setup` run first. In `text printed`, a line with an ellipsis stands for any lines.
    """
    blocks = [(mark, code) for mark, code in BLOCK.findall(page.read_text()) if mark != "before"]
    if not blocks:
        pytest.skip("no code on this page")
    ordered = sorted(blocks, key=lambda block: not block[0])
    script = tmp_path / "page.py"
    program = ast.parse("\n".join(code for _, code in ordered))
    script.write_text(ast.unparse(Insist().visit(program)))
    folder = tmp_path / "empty"
    folder.mkdir()
    ended = subprocess.run(
        [sys.executable, str(script)],
        cwd=folder, capture_output=True, text=True, timeout=110, check=False,
        env={**os.environ, "KERAS_BACKEND": os.environ.get("KERAS_BACKEND", "jax")},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-4000:]
    for printed in PRINTED.findall(page.read_text()):
        for part in printed.split("…\n"):
            assert part in ended.stdout, ended.stdout


@each_page
def test_every_block_is_marked_as_one_that_runs_or_not(page: Path) -> None:
    """A Python block has no mark, is `setup`, or `before`: code to leave behind, which compiles."""
    text = page.read_text()
    blocks = BLOCK.findall(text)
    assert len(blocks) == len(re.findall(r"^\s*(?:```|~~~)\s*py", text, re.MULTILINE))
    for mark, code in blocks:
        assert mark in ("", "setup", "before")
        compile(code, str(page), "exec")


@each_page
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """Every relative link names a file or folder that exists."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_reference_has_every_public_name() -> None:
    """What `mf.__all__` names stands in the reference; besides, there is only what it returns."""
    reference = (ROOT / "docs/reference.md").read_text()
    documented = re.findall(r"^\.\. auto(?:class|function|exception):: (\S+)$", reference, re.MULTILINE)
    public = [name for name in documented if not name.startswith("multifeed.")]
    assert sorted(public) == sorted(mf.__all__)
