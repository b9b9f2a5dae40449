"""Examples: each runs as its page says, in its short form, and learns from each of its inputs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent.parent / "examples"
SCRIPTS = sorted(each.stem for each in FOLDER.glob("*.py") if "def main()" in each.read_text("utf-8"))
BACKENDS = ("jax", "tensorflow", "torch")


def run(script: str, out: Path) -> str:
    """Run an example in its short form; return what it printed."""
    ended = subprocess.run(
        [sys.executable, str(FOLDER / f"{script}.py"), "--short", "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    return ended.stdout


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("script", SCRIPTS)
def test_each_input_teaches_the_model_something(script: str, tmp_path: Path) -> None:
    """It is better than a guess, and worse wherever an input is withheld.

    Each example runs on one of the backends, or at full length on all.
    """
    backend = BACKENDS[SCRIPTS.index(script) % len(BACKENDS)]
    if not os.environ.get("MULTIFEED_SLOW") and os.environ.get("KERAS_BACKEND") != backend:
        pytest.skip(f"is run with {backend}")
    figures = re.findall(
        r"^  (a guess|all inputs|without .+?) {2,}([\d.]+)(%?)", run(script, tmp_path), re.M
    )
    assert len(figures) >= 3
    # Shares are better the higher they are, errors the lower.
    better = {name: float(figure) if percent else -float(figure) for name, figure, percent in figures}
    best = better.pop("all inputs")
    for name, figure in better.items():
        assert best - figure > (2.0 if best > 0 else 0.05 * abs(best)), name
