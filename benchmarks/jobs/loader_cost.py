"""What a loader costs by itself: until its first batch, and for each batch of costless samples."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from job import BATCH_SIZE, WORKERS, Batch, Epoch, Job, Limit

_ENVIRONMENT = {"KERAS_BACKEND": "numpy"}  # no model is trained here: the lightest one will do
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

    options = {"processes": processes} if processes else {}
    return mf.Loader(data, BATCH_SIZE, shuffle=True, workers=WORKERS, **options)


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
