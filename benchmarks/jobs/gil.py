"""A user's function in pure Python, which holds the interpreter: only processes can share it out."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from itertools import pairwise
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np
from job import BATCH_SIZE, WORKERS, Batch, Epoch, Job, Limit

WIDTH = 16
_TURNS = 25_000  # about 1 ms


def write(folder: Path, samples: int) -> None:
    """Write rows of numbers, the first of which is the row's."""
    values = np.random.default_rng(0).integers(0, 2**15, (samples, WIDTH), np.int32)
    values[:, 0] = np.arange(samples)
    np.save(folder / "values.npy", values)


def slow(values: np.ndarray) -> np.ndarray:
    """Return the values, the last replaced by what some thousand steps in Python make of it."""
    number = int(values[-1])
    for _ in range(_TURNS):
        number = (number * 75 + 74) % 65537
    changed = values.copy()
    changed[-1] = number
    return changed


def multifeed(folder: Path, samples: int) -> Epoch:
    """Set up a loader that calls the function in two processes of one thread each."""
    import multifeed as mf

    field = mf.Array("values", preprocess=slow)
    data = mf.Dataset({"values": np.load(folder / "values.npy")}, inputs={"values": field})

    def epoch(number: int) -> Iterator[Batch]:
        with mf.Loader(data, BATCH_SIZE, processes=WORKERS, workers=1) as loader:
            for (batch,) in loader:
                yield (batch["values"],)

    return epoch


def two_processes(folder: Path, samples: int) -> Epoch:
    """Set up the limit: two bare processes, each of which computes one half into shared memory."""
    path = folder / "values.npy"
    spawn = multiprocessing.get_context("spawn")

    def epoch(number: int) -> Iterator[Batch]:
        shared = SharedMemory(create=True, size=samples * WIDTH * 4)
        try:
            bounds = np.linspace(0, samples, WORKERS + 1).astype(int)
            halves = [
                spawn.Process(target=_fill, args=(path, shared.name, start, stop))
                for start, stop in pairwise(bounds)
            ]
            for half in halves:
                half.start()
            for half in halves:
                half.join()
            # A copy, since a view must not outlive the memory.
            yield (np.ndarray((samples, WIDTH), np.int32, shared.buf).copy(),)
        finally:
            shared.close()
            shared.unlink()

    return epoch


def _fill(path: Path, name: str, start: int, stop: int) -> None:
    values = np.load(path)
    shared = SharedMemory(name)
    filled: Any = np.ndarray(values.shape, np.int32, shared.buf)
    for row in range(start, stop):
        filled[row] = slow(values[row])
    del filled
    shared.close()


def rows(batch: Batch) -> list[Any]:
    """Return the row numbers."""
    return [np.asarray(batch[0])[:, 0]]


JOB = Job(
    about="16 numbers per sample, and a function of about 1 ms in pure Python as `preprocess`, in two "
    "processes; their start is timed too, on both sides",
    samples=20_000,
    quick=256,
    prepare=write,
    contestants={"multifeed": multifeed, "two_processes": two_processes},
    limits=[
        Limit(
            figure="a function that holds the GIL, `processes=2` ÷ two bare processes",
            over=("two_processes",),
            least=0.93,
        )
    ],
    rows=rows,
    environment={"KERAS_BACKEND": "numpy"},
)
