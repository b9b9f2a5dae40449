"""What a job is: its data, its contestants, and how their batches are read and judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The arrays of one batch (NumPy, PyTorch or TensorFlow, as the contestant makes them), rows first.
Batch = tuple[Any, ...]

# Round number -> the batches of one epoch. Everything that a fresh loader costs happens inside the
# iterator: it is built at the first `next` and closed before the iterator ends.
Epoch = Callable[[int], Iterator[Batch]]

# Imports what a contestant needs and opens the data. Runs once, outside the clock.
Setup = Callable[[Path, int], Epoch]

BATCH_SIZE = 64
WORKERS = 2  # the jobs are defined for two cores; run.py pins the processes to as many


@dataclass(frozen=True)
class Job:
    """One comparison: the same rows, fed by several contestants.

    Attributes:
        about: One line for the table's head.
        samples: Rows per epoch, where the command line does not say otherwise.
        prepare: Writes the data for that many rows into a folder, once.
        contestants: Name -> setup, in the order of the table.
        limits: Name -> how many times as fast as this contestant multifeed shall at least be.
        limit_s: Seconds that multifeed shall stay under, for a job that is about an absolute time.
        clock: What of a round is compared: "seconds", or "first_batch_seconds".
        rows: Batch -> the row numbers that it holds, once per array that carries them.
        images: Batch -> its uint8 image arrays; none are compared where this is None.
        reference: The contestant to whose pixels the others' are compared.
    """

    about: str
    samples: int
    prepare: Callable[[Path, int], None]
    contestants: Mapping[str, Setup]
    limits: Mapping[str, float]
    limit_s: float | None = None
    clock: str = "seconds"
    rows: Callable[[Batch], list[Any]] | None = None
    images: Callable[[Batch], tuple[Any, ...]] | None = None
    reference: str = ""
