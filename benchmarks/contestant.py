"""One contestant in a process of its own: `contest.py` starts it and asks it for rounds.

Usage: contestant.py JOB CONTESTANT FOLDER SAMPLES

Answers are pickles of (succeeded, value): one when everything is set up, then one per request. A
request is a line on standard input: "check", or the number of the round to time.
"""

from __future__ import annotations

import gc
import os
import pickle
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from job import Epoch, Job
from jobs import JOBS

_COMPARED = 8  # samples whose pixels are sent back


def main() -> None:
    """Set one contestant up and answer requests until standard input ends."""
    job_name, contestant, folder, samples = sys.argv[1:]
    job = JOBS[job_name]
    # What a library prints must not end up among the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def work() -> Iterator[Any]:
        epoch = job.contestants[contestant](Path(folder), int(samples))
        yield None
        for request in sys.stdin:
            if job.before is not None:
                job.before(Path(folder), int(samples))
            if request == "check\n":
                yield checked_epoch(job, epoch, int(samples))
            else:
                yield timed_round(epoch, int(request))

    def answer(succeeded: bool, value: Any) -> None:
        pickle.dump((succeeded, value), answers)
        answers.flush()

    try:
        for value in work():
            answer(True, value)
    except Exception as error:
        answer(False, f"{type(error).__name__}: {error}")
        raise


def timed_round(epoch: Epoch, number: int) -> dict[str, float]:
    """Run one epoch; a fresh loader is built and closed while the clock runs."""
    told: dict[str, float] = {}

    def listening() -> Iterator[Any]:
        told.update((yield from epoch(number)) or {})

    gc.collect()
    cpu, start = _cpu_seconds(), time.perf_counter()
    batches = listening()
    rows = len(next(batches)[0])
    first_batch = time.perf_counter()
    for batch in batches:
        rows += len(batch[0])
    del batches
    end = time.perf_counter()
    return {
        "seconds": end - start,
        "first_batch_seconds": first_batch - start,
        "cpu_seconds": _cpu_seconds() - cpu,
        "rows": rows,
        **told,
    }


def _cpu_seconds() -> float:
    """User and system time of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def checked_epoch(job: Job, epoch: Epoch, samples: int) -> dict[int, Any]:
    """Run the first epoch, which warms everything up, and see whether it is one.

    Returns:
        Row number -> its image arrays, for a few rows; empty for a job without images.

    Raises:
        ValueError: A row is missing, comes twice, or is mixed up with another.
    """
    seen, shown = [], {}
    for batch in epoch(-1 % 2**31):
        if job.rows is None:
            continue
        first, *others = (np.array(numbers, dtype=np.int64) for numbers in job.rows(batch))
        if any((first != other).any() for other in others):
            raise ValueError("The arrays of a batch belong to different rows.")
        seen.append(first)
        if job.images is not None:
            for slot in np.flatnonzero(first < _COMPARED):
                images = [np.array(array[slot]) for array in job.images(batch)]
                shown[int(first[slot])] = np.stack(images)
    if job.rows is not None and not np.array_equal(np.sort(np.concatenate(seen)), range(samples)):
        raise ValueError("The epoch does not hold every row exactly once.")
    return shown


if __name__ == "__main__":
    main()
