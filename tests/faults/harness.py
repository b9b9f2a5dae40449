"""Runs programs that something happens to, and looks for what they leave behind.

A test writes a program; `run` runs it as a process group of its own, with a time limit, in a folder of
its own. The program says ``injected("...")`` where the fault is put in: a run that injected nothing is
no test, and fails. The oracle, whatever the fault was:

- the program ended within its time limit, and its exit status is the one that the test expects;
- within `GONE_S` no process of it is left, and nothing that it made in ``/dev/shm`` or in the folder of
  temporary files: other programs, which run meanwhile, are not looked at;
- inside of it, around whatever ran within ``nothing_left()``: no child, no thread, no descriptor, and no
  memory more than before.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

# Seconds after the end of a program in which all that belonged to it must be gone.
GONE_S = 2.0
# Where shared memory has its files.
SHARED = "/dev/shm"
# Bytes by which memory may differ after many cycles: what allocators keep, and no more with more cycles.
SLACK_BYTES = 48 * 2**20
_MARK, _LOG = "MULTIFEED_FAULT_TEST", "MULTIFEED_FAULT_LOG"


@dataclass(frozen=True)
class Ended:
    """A program that has ended.

    Args:
        code: Its exit status; negative for a signal.
        out: What it printed.
        err: What it, and its workers, printed as errors.
        told: What it told by ``tell``.
        gone_s: Seconds after its end until all its processes were gone.
    """

    code: int
    out: str
    err: str
    told: list[Any]
    gone_s: float


class Program:
    """A program under way, whose working directory is its own.

    Args:
        script: Its text, which may use what is in this module: ``from harness import injected, tell``.
        limit_s: Seconds that it may take.
        env: More of its environment.
        under: A command that runs it, with its arguments.
    """

    def __init__(
        self,
        script: str,
        *,
        limit_s: float = 60,
        env: dict[str, str] | None = None,
        under: Sequence[str] = (),
    ) -> None:
        self._limit = time.monotonic() + limit_s
        self._mark = uuid.uuid4().hex
        self._folder = tempfile.TemporaryDirectory(prefix="multifeed-fault-")
        folder = Path(self._folder.name)
        self._log, self._temporary = folder / "log", folder / "temporary"
        self._temporary.mkdir()
        (folder / "work").mkdir()
        self._log.touch()
        self._shared = set(shared_files(self._mark))
        (folder / "program.py").write_text(textwrap.dedent(script))
        path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        own = {
            "PYTHONPATH": path,
            "TMPDIR": str(self._temporary),
            _MARK: self._mark,
            _LOG: str(self._log),
            "KERAS_BACKEND": os.environ.get("KERAS_BACKEND", "jax"),
        }
        self._running = subprocess.Popen(
            [*under, sys.executable, str(folder / "program.py")],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            cwd=folder / "work", env={**os.environ, **own, **(env or {})},
        )  # fmt: skip

    def injected(self) -> list[str]:
        """Return which faults it has said to be put in."""
        return [entry["injected"] for entry in self._entries() if "injected" in entry]

    def inject(self, what: str, act: Callable[[], None]) -> None:
        """Put a fault in from outside."""
        act()
        _append(self._log, {"injected": what})

    def wait_for(self, value: Any) -> None:
        """Wait until it has told something."""
        while value not in self._told():
            assert self._running.poll() is None, self._running.communicate()[1]
            assert time.monotonic() < self._limit, f"it never told {value!r}"
            time.sleep(0.005)

    def signal(self, number: int, *, group: bool = False) -> None:
        """Send it a signal; with `group`, to its workers as well, as a terminal does."""
        send = os.killpg if group else os.kill
        send(self._running.pid, number)

    def end(self) -> Ended:
        """Wait for its end, and look for what it has left behind."""
        try:
            out, err = self._communicate()
            gone_s = self._wait_until_gone()
            injected, told = self.injected(), self._told()
            assert injected, f"nothing was injected: this tests nothing\n{out}{err}"
            # PyTorch has its own folder there.
            left = [name for name in _listed(str(self._temporary)) if "torchinductor" not in name]
            assert left == [], f"temporary files are left: {left}"
            return Ended(self._running.returncode, out, err, told, gone_s)
        finally:
            for process in self._alive():
                with contextlib.suppress(psutil.Error):
                    process.kill()
            self._folder.cleanup()

    def _communicate(self) -> tuple[str, str]:
        try:
            return self._running.communicate(timeout=max(0.1, self._limit - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(self._running.pid, signal.SIGKILL)
            out, err = self._running.communicate()
            raise AssertionError(f"it did not end in time\n{out}{err}") from None

    def _wait_until_gone(self) -> float:
        """Return after how many seconds nothing was left."""
        began = time.monotonic()
        while True:
            alive = self._alive()
            shared = [name for name in shared_files(self._mark) if name not in self._shared]
            passed = time.monotonic() - began
            if not alive and not shared:
                return passed
            assert passed < GONE_S, f"left behind: {alive} {shared}"
            time.sleep(0.01)

    def _alive(self) -> list[psutil.Process]:
        """Return all processes that it has started, and that have not ended."""
        found = []
        for process in psutil.process_iter():
            # Others' processes come and go, and are none of ours to look at.
            with contextlib.suppress(psutil.Error):
                is_dead = process.status() == psutil.STATUS_ZOMBIE
                if not is_dead and process.environ().get(_MARK) == self._mark:
                    found.append(process)
        return found

    def _told(self) -> list[Any]:
        return [entry["told"] for entry in self._entries() if "told" in entry]

    def _entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()]


def run(script: str, **options: Any) -> Ended:
    """Run a `Program` to its end, which must be a good one."""
    ended = Program(script, **options).end()
    assert ended.code == 0, ended.err
    return ended


# What programs use ---------------------------------------------------------------------------------


def injected(what: str) -> None:
    """Say that a fault has been put in; also from worker processes."""
    _append(Path(os.environ[_LOG]), {"injected": what})


def tell(value: Any) -> None:
    """Tell the test something, which JSON can hold."""
    _append(Path(os.environ[_LOG]), {"told": value})


@contextlib.contextmanager
def nothing_left(
    *, memory: bool = True, of: Sequence[str] = ("children", "threads", "descriptors")
) -> Iterator[None]:
    """Raise if children, threads, descriptors or memory are more afterwards than before.

    Args:
        memory: Whether memory is looked at: not where batches are made for the first time.
        of: Which of the others are.
    """
    before, bytes_before = _held(), _memory()
    yield
    limit = time.monotonic() + GONE_S
    # Threads and processes may take a moment to end.
    while (more := _more(before, _held(), of)) and time.monotonic() < limit:
        time.sleep(0.01)
    assert not more, f"more than before: {more}"
    grown = _memory() - bytes_before
    assert not memory or grown < SLACK_BYTES, f"{grown / 2**20:.0f} MiB more memory than before"


def shared_files(program: str = os.environ.get(_MARK, "")) -> list[str]:
    """Return the files in ``/dev/shm`` that are a program's, by its mark, or nobody's.

    What others hold is none of its doing: database servers, say, have files there, too.
    """
    names = set(_listed(SHARED))
    for process in psutil.process_iter() if names else ():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(_MARK) != program:
                held = [*process.memory_maps(), *process.open_files()]
                names -= {Path(each.path).name for each in held if each.path.startswith(f"{SHARED}/")}
    return sorted(names)


def _held() -> dict[str, int]:
    gc.collect()
    this = psutil.Process()
    children = [each for each in this.children() if each.status() != psutil.STATUS_ZOMBIE]
    return {
        "children": len(children),
        "threads": this.num_threads(),
        "descriptors": this.num_fds(),
    }


def _more(before: dict[str, int], after: dict[str, int], of: Sequence[str]) -> dict[str, int]:
    return {what: after[what] - before[what] for what in of if after[what] > before[what]}


def _memory() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def _listed(folder: str) -> list[str]:
    return sorted(os.listdir(folder)) if Path(folder).is_dir() else []


def _append(log: Path, entry: dict[str, Any]) -> None:
    # One write to a file that is open for appending is never mixed with another process's.
    handle = os.open(log, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(handle, json.dumps(entry).encode() + b"\n")
    finally:
        os.close(handle)
