"""What a loader costs by itself: until its first batch, and for each batch of costless samples."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from job import BATCH_SIZE, WORKERS, Batch, Epoch, Job, Limit

_ENVIRONMENT = {"KERAS_BACKEND": "numpy"}  # no model is trained here: the lightest one will do
_EPOCHS = 4  # of which the first begins with the start of the workers
_STARTING = 10  # batches that come before the loader runs evenly


def write(folder: Path, samples: int) -> None:
    """Write nothing: the samples are made of their row numbers."""


def first_batch(folder: Path, samples: int, *, processes: int = 0) -> Epoch:
    """Set up the data; building the loader is timed, to its first batch."""
    from .costless import idle_data

    data = idle_data(samples)

    def epoch(number: int) -> Iterator[Batch]:
        with _loader(data, processes) as loader:
            for inputs, _ in islice(loader, 1):
                yield (inputs,)

    return epoch


def overhead(folder: Path, samples: int, *, processes: int = 0) -> Epoch:
    """Set up a plain loop over a loader; what is told leaves its start out."""
    from .costless import idle_data

    data = idle_data(samples)

    def epoch(number: int) -> Iterator[Batch]:
        with _loader(data, processes) as loader:
            batches = iter(loader)
            for inputs, _ in islice(batches, _STARTING):
                yield (inputs,)
            start = time.perf_counter()
            for inputs, _ in batches:
                yield (inputs,)
            seconds = time.perf_counter() - start
        return {"us_per_batch": 1e6 * seconds / max(len(loader) - _STARTING, 1)}

    return epoch


def _loader(data: Any, processes: int) -> Any:
    import multifeed as mf

    return mf.Loader(data, BATCH_SIZE, shuffle=True, workers=WORKERS, processes=processes)


def transport(folder: Path, samples: int) -> Epoch:
    """Set up a plain loop over batches of two images that a process writes: what that costs here."""
    import multifeed as mf

    from .costless import images_data

    data = images_data(samples)

    def epoch(number: int) -> Iterator[Batch]:
        options = {"shuffle": True, "workers": 1, "processes": 1}
        with mf.Loader(data, BATCH_SIZE, **options) as loader:
            batches = iter(loader)
            for inputs, _ in islice(batches, _STARTING):
                yield (inputs["left"],)
            start, count = time.thread_time(), 0
            for inputs, _ in batches:
                count += 1
                yield (inputs["left"],)
            spent = (time.thread_time() - start) / max(count, 1)
        return {"us_per_batch": 1e6 * spent, "of_memcpy": spent / _memcpy_s(inputs)}

    return epoch


def _memcpy_s(arrays: Mapping[str, np.ndarray]) -> float:
    """Return the seconds that one copy of arrays takes, into memory that has been touched before."""
    targets = [array.copy() for array in arrays.values()]
    times = []
    for _ in range(9):
        start = time.thread_time()
        for array, target in zip(arrays.values(), targets, strict=True):
            np.copyto(target, array)
        times.append(time.thread_time() - start)
    return median(times)


def boundary(folder: Path, samples: int, *, processes: int = 0) -> Epoch:
    """Set up passes over samples that take a millisecond: how late the first batch of each comes."""
    from .costless import idle_data

    data = idle_data(samples, 0.001)

    def epoch(number: int) -> Iterator[Batch]:
        gaps, within = [], []
        with _loader(data, processes) as loader:
            for _ in range(_EPOCHS):
                asked = time.perf_counter()
                for step, (inputs, _) in enumerate(loader):
                    got = time.perf_counter()
                    (within if step else gaps).append(got - asked)
                    asked = got
                    # The epoch that is looked at for its rows is the first alone.
                    if not gaps[1:]:
                        yield (inputs,)
        return {"gap_batches": max(gaps[1:]) / median(within) - 1}

    return epoch


STARTUP = Job(
    about="seconds from making a `Loader` to its first batch, of samples that cost nothing",
    samples=10_000,
    quick=1_000,
    prepare=write,
    data="nothing",
    contestants={
        "multifeed": partial(first_batch, processes=WORKERS),
        "multifeed_threads": first_batch,
    },
    limits=[
        Limit(figure="start-up with `processes=2`", value="first_batch_seconds", unit="s"),
        Limit(
            figure="start-up with threads",
            of="multifeed_threads",
            value="first_batch_seconds",
            unit="s",
        ),
    ],
    clock="first_batch_seconds",
    environment=_ENVIRONMENT,
)
OVERHEAD = Job(
    about="one number per sample that nobody computes or writes, batches of 64, by a plain loop over a "
    "`Loader`",
    samples=640_000,
    quick=6_400,
    prepare=write,
    data="nothing",
    contestants={
        "multifeed": overhead,
        "multifeed_process": partial(overhead, processes=1),
    },
    limits=[
        Limit(figure="the loader's own time per batch", value="us_per_batch", unit="µs", most=100),
        Limit(
            figure="the loader's own time per batch, `processes=1`",
            of="multifeed_process",
            value="us_per_batch",
            unit="µs",
            most=100,
        ),
    ],
    environment=_ENVIRONMENT,
)
TRANSPORT = Job(
    about="batches of 19 MB (two images of 224x224x3, 64 rows) that nobody computes, from a worker "
    "process: processor time of the loop's own thread",
    samples=64_000,
    quick=1_280,
    prepare=write,
    data="nothing",
    contestants={"multifeed": transport},
    limits=[
        Limit(
            figure="a batch of 19 MB from a worker process ÷ one `memcpy` of it, processor time",
            value="of_memcpy",
            most=0.10,
        ),
        Limit(figure="the same by itself", value="us_per_batch", unit="µs"),
    ],
    environment=_ENVIRONMENT,
)
BOUNDARY = Job(
    about="samples that take a millisecond asleep, batches of 64, four epochs by one loader: by how "
    "much, in batches, the first batch of the second to fourth is waited for longer than others are",
    samples=2_000,
    quick=256,
    prepare=write,
    data="nothing",
    contestants={"multifeed": boundary, "multifeed_process": partial(boundary, processes=1)},
    limits=[
        Limit(figure="epoch boundary: gap in batches", value="gap_batches", most=1),
        Limit(
            figure="epoch boundary: gap in batches, `processes=1`",
            of="multifeed_process",
            value="gap_batches",
            most=1,
        ),
    ],
    environment=_ENVIRONMENT,
)
