"""Examples: each runs as its page says, in its short form, and learns from each of its inputs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


@pytest.mark.timeout(300)
def test_stereo_needs_both_images(tmp_path: Path) -> None:
    """With both images the class is right far more often than by guessing or with one withheld."""
    ended = subprocess.run(
        [sys.executable, str(EXAMPLES / "stereo.py"), "--short", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    accuracy = {
        name: float(percent)
        for name, percent in re.findall(r"^  (\w[\w ,]+?) {2,}([\d.]+)%", ended.stdout, re.MULTILINE)
    }
    assert accuracy["both images"] > accuracy["right image withheld"] + 15
    assert accuracy["both images"] > accuracy["majority class, mean disparity"] + 15
    assert (tmp_path / "batch.png").stat().st_size > 10_000
