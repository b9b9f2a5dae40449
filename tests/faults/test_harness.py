"""The oracle of the fault tests sees what it is there to see."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import Program, run

HEAD = "from harness import injected, nothing_left, tell\n"


def test_a_program_that_injects_nothing_fails() -> None:
    """A test whose fault never came would pass for ever."""
    with pytest.raises(AssertionError, match="nothing was injected"):
        run("pass")


def test_a_program_that_hangs_fails() -> None:
    """Within its time limit, and it is killed."""
    with pytest.raises(AssertionError, match="it did not end in time"):
        run(HEAD + "import time\ninjected('sleep')\ntime.sleep(60)", limit_s=1)


@pytest.mark.parametrize(
    ("leak", "said"),
    [
        (
            "import subprocess, sys\n"
            "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'],\n"
            "                 start_new_session=True, stdout=-3, stderr=-3)",
            "left behind: .*Process",
        ),
        ("import tempfile\ntempfile.mkstemp()", "temporary files are left: "),
    ],
)
def test_what_a_program_leaves_behind_is_seen(leak: str, said: str) -> None:
    """Processes, though they have left its group, and temporary files."""
    with pytest.raises(AssertionError, match=said):
        run(f"{HEAD}injected('a leak')\n{leak}")


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="shared memory has no folder here")
def test_shared_memory_that_nobody_holds_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another process has open, or mapped, is that one's; the rest is left behind."""
    # Other tests, that run at the same time, would find it in its true place.
    monkeypatch.setattr("harness.SHARED", str(tmp_path))
    path = tmp_path / "shared"
    script = HEAD + "injected('a file')"
    try:
        program = Program(script)
        with path.open("x"):
            assert program.end().code == 0
        path.unlink()
        program = Program(script)
        path.touch()
        with pytest.raises(AssertionError, match=f"left behind: .*{path.name}"):
            program.end()
    finally:
        path.unlink()


@pytest.mark.parametrize(
    ("leak", "said"),
    [
        ("open('/dev/null')", "'descriptors'"),
        ("threading.Thread(target=time.sleep, args=(9,), daemon=True).start()", "'threads'"),
        ("b'1' * 2**27", "MiB more memory than before"),
        ("subprocess.Popen(['sleep', '9'], stdout=-3, stderr=-3)", "'children'"),
    ],
)
def test_what_accumulates_in_a_program_is_seen(leak: str, said: str) -> None:
    """Descriptors, threads, memory and children."""
    script = f"""
import atexit, subprocess, threading, time
from harness import injected, nothing_left
injected("a leak")
with nothing_left():
    kept = {leak}
    if hasattr(kept, "kill"):
        atexit.register(kept.kill)
"""
    ended = Program(script, limit_s=20).end()
    assert ended.code == 1
    assert said in ended.err
