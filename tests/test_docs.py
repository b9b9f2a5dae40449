"""Documentation: every Python block of README and docs runs, page by page, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```python( setup)?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    """All blocks of a page run top to bottom as one program; those marked `setup` run first."""
    blocks = BLOCK.findall(page.read_text())
    if not blocks:
        pytest.skip("no code on this page")
    ordered = sorted(blocks, key=lambda block: not block[0])
    script = tmp_path / "page.py"
    script.write_text("\n".join(code for _, code in ordered))
    folder = tmp_path / "empty"
    folder.mkdir()
    ended = subprocess.run(
        [sys.executable, str(script)],
        cwd=folder, capture_output=True, text=True, timeout=110, check=False,
        env={**os.environ, "KERAS_BACKEND": os.environ.get("KERAS_BACKEND", "jax")},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-4000:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """Every relative link names a file or folder that exists."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
