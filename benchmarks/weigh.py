"""The memory of a plain loop over a loader, in a process of its own; `contest.py` starts it.

Usage: weigh.py JOB FOLDER SAMPLES

Prints JSON: the memory after all imports, the peak of each epoch, the bytes of pool and row table.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from job import Weighing
from jobs import JOBS


def main() -> None:
    """Import, look, loop, look again after each epoch."""
    name, folder, samples = sys.argv[1:]
    job = JOBS[name]
    # What a library prints must not end up in the answer.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    json.dump(weighed(job, Path(folder), int(samples)), answer)
    answer.close()


def weighed(job: Weighing, folder: Path, samples: int) -> dict[str, Any]:
    """Run all epochs and return what they held, in bytes."""
    job.load()
    gc.collect()
    baseline = psutil.Process().memory_info().rss
    start = time.perf_counter()
    _forget_peak()
    loader, table_bytes = job.open(folder, samples)
    peaks, pool_bytes = [], 0
    for _ in range(job.epochs):
        rows = 0
        for inputs, *_ in loader:
            arrays = list(inputs.values())
            rows += len(arrays[0])
            # What is built ahead, the batch that is looked at, and the one that takes its place.
            in_flight = loader.feed.prefetch + 2
            pool_bytes = max(pool_bytes, in_flight * sum(array.nbytes for array in arrays))
        if rows != samples:
            raise ValueError(f"an epoch of {rows} rows instead of {samples}")
        del inputs, arrays
        peaks.append(_peak_bytes())
        _forget_peak()
    seconds = time.perf_counter() - start
    loader.close()
    return {
        "seconds": seconds,
        "baseline": baseline,
        "peaks": peaks,
        "pool": pool_bytes,
        "table": table_bytes,
    }


def _forget_peak() -> None:
    # Where the kernel forbids it, the peak of all epochs so far is reported: no less than the truth.
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmHWM")


if __name__ == "__main__":
    main()
