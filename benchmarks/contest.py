"""Running a job: a process per contestant, rounds in rotating order; a fresh process to weigh."""

from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import psutil
from job import Job

_SCRIPT = Path(__file__).with_name("contestant.py")
_SCALES = Path(__file__).with_name("weigh.py")
_MIB = 2**20


class ContestantError(Exception):
    """A contestant could not be set up, broke, or did not feed every row once."""


class Contestant:
    """A handle on the process of one contestant, which idles until it is asked."""

    def __init__(
        self, job: str, name: str, folder: Path, samples: int, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
        command = [sys.executable, str(_SCRIPT), job, name, str(folder), str(samples)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            stderr=self._log,
            env=_environment() | dict(environment),
        )
        self._requests = cast(IO[bytes], self._process.stdin)
        self._answers = cast(IO[bytes], self._process.stdout)

    def receive(self) -> Any:
        """Return the next answer. Raises ContestantError if it is none."""
        try:
            succeeded, value = pickle.load(self._answers)
        except EOFError:
            self._log.seek(0)
            tail = self._log.read()[-2000:].decode(errors="replace")
            raise ContestantError(f"the process ended:\n{tail}") from None
        if not succeeded:
            raise ContestantError(value)
        return value

    def ask(self, request: str | int) -> Any:
        """Send a request and return its answer."""
        self._requests.write(f"{request}\n".encode())
        self._requests.flush()
        return self.receive()

    def check(self) -> dict[str, Any]:
        """Run the untimed first epoch and weigh the process while it runs."""
        idle = _owned_bytes(self._process.pid)
        with _watched_peak(self._process.pid) as peak:
            images = self.ask("check")
        return {"images": images, "idle_mib": idle / _MIB, "peak_mib": max(peak) / _MIB}

    def close(self) -> None:
        """End the process, by force if it does not go by itself."""
        self._requests.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()
        self._log.close()


@contextmanager
def _watched_peak(pid: int, interval_s: float = 0.005) -> Iterator[list[int]]:
    """Sample the memory of a process; only while no clock runs, for looking costs CPU too."""
    samples = [_owned_bytes(pid)]
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(interval_s):
            samples.append(_owned_bytes(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()


def _owned_bytes(pid: int) -> int:
    """Return what a process and its children hold in memory, shared pages counted once.

    Pages of mapped files are left out: they belong to the page cache, which gives them back.
    """
    total = 0
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for member in family:
        try:
            lines = Path(f"/proc/{member.pid}/smaps_rollup").read_text().splitlines()
        except OSError:  # it has just ended
            continue
        owned = (line.split() for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
        total += sum(int(words[1]) * 1024 for words in owned)
    return total


def run(
    job: Job, job_name: str, names: list[str], folder: Path, samples: int, rounds: int
) -> dict[str, Any]:
    """Run a job and return what was measured, by contestant."""
    results: dict[str, Any] = {}
    with ExitStack() as stack:
        racers = []
        for name in names:
            racer = Contestant(job_name, name, folder, samples, job.environment)
            stack.callback(racer.close)
            try:
                racer.receive()
                results[name] = racer.check() | {"rounds": []}
                racers.append(racer)
            except ContestantError as error:
                results[name] = {"failed": str(error)}
            _say(f"{job_name}: {name} {results[name].get('failed', 'is ready')}")
        for number in range(rounds):
            # Whoever comes first or after a certain other has no lasting advantage.
            turn = number % max(len(racers), 1)
            for racer in racers[turn:] + racers[:turn]:
                measured = racer.ask(number)
                results[racer.name]["rounds"].append(measured)
                _say(f"{job_name}: round {number + 1}, {racer.name} {measured[job.clock]:.3f} s")
    _compare_images(results, job.reference, job.uncompared)
    return results


def weigh(job_name: str, folder: Path, samples: int, rounds: int) -> dict[str, Any]:
    """Run a loop in a fresh process for each round; return what each held, in bytes."""
    command = [sys.executable, str(_SCALES), job_name, str(folder), str(samples)]
    results: dict[str, Any] = {"rounds": []}
    for number in range(rounds):
        ended = subprocess.run(command, capture_output=True, env=_environment(), check=False)
        if ended.returncode:
            *_, last = ended.stderr.decode(errors="replace").strip().splitlines() or ["no reason"]
            _say(f"{job_name}: {last}")
            return {"rounds": [], "failed": last}
        measured = json.loads(ended.stdout)
        results["rounds"].append(measured)
        _say(f"{job_name}: round {number + 1}, {measured['seconds']:.1f} s")
    return results


def _environment() -> dict[str, str]:
    return os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"}


def _compare_images(results: dict[str, Any], reference: str, uncompared: Sequence[str]) -> None:
    """Replace the images that the contestants sent by their PSNR against the reference's."""
    images = {name: result.pop("images", None) for name, result in results.items()}
    expected = images.get(reference)
    for name, shown in images.items():
        if shown and expected and name != reference and name not in uncompared:
            results[name]["psnr_db"] = _psnr(shown, expected)


def _psnr(shown: dict[int, np.ndarray], expected: dict[int, np.ndarray]) -> float:
    errors = [np.square(shown[row] - expected[row].astype(np.float64)) for row in expected]
    # 99 dB stands for identical pixels: JSON knows no infinity.
    return min(99.0, 10 * math.log10(255**2 / max(float(np.mean(errors)), 1e-9)))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
