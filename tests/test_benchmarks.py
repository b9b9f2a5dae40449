"""Benchmarks: the command runs, checks what it feeds, and writes its result. Nothing here is timed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("psutil")

ROOT = Path(__file__).parent.parent


def test_a_tiny_run_writes_its_summary_and_tables(tmp_path: Path) -> None:
    """One job of each kind, on tiny data, ends up in the JSON file and in the page beside it."""
    result = tmp_path / "result.json"
    command = [
        sys.executable, "benchmarks/run.py", "numbers", "memory_images", "--quick",
        "--only", "multifeed,numpy_take", "--data", str(tmp_path / "data"), "--json", str(result),
    ]  # fmt: skip
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-4000:]
    jobs = json.loads(result.read_text())["jobs"]
    assert jobs["numbers"]["ratios"]["numpy_take"]["median"] > 0
    assert len(jobs["memory_images"]["rounds"]) == 1
    page = result.with_suffix(".md").read_text()
    assert page.index("| figure | at least | reached | met |") < page.index("## numbers")
    assert "## memory_images" in page
