"""What a job is: its data, its contestants, and how their batches are read and judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# The arrays of one batch (NumPy, PyTorch or TensorFlow, as the contestant makes them), rows first.
Batch = tuple[Any, ...]

# Round number -> the batches of one epoch. Everything that a fresh loader costs happens inside the
# iterator: it is built at the first `next` and closed before the iterator ends. A generator may return
# figures of its own, by name, which become part of what was measured in the round.
Epoch = Callable[[int], Iterator[Batch]]

# Imports what a contestant needs and opens the data. Runs once, outside the clock.
Setup = Callable[[Path, int], Epoch]

# Writes the data for that many rows into a folder, once.
Prepare = Callable[[Path, int], None]

OURS = "multifeed"  # the contestant that all others are compared with
BATCH_SIZE = 64
WORKERS = 2  # the jobs are defined for two cores; run.py pins the processes to as many


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A figure that multifeed shall reach, or that is only reported if it has no bound.

    Attributes:
        figure: What it is called in the summary.
        of: The contestant that it is about.
        over: The contestants that it is measured against; the one that does best counts.
        value: What of a round is the figure by itself, such as "first_batch_seconds", where it is no
            ratio; `most` then bounds it.
        unit: The unit of that value.
        takes_longer: Whether the figure is how many times as long as they multifeed takes, and not how
            many times as fast it is.
        least: How many times as fast as they multifeed shall at least be.
        most: How many times as long as they multifeed shall take at most, or the value's upper bound.
    """

    figure: str
    of: str = OURS
    over: tuple[str, ...] = ()
    value: str = ""
    unit: str = ""
    takes_longer: bool = False
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """One comparison: the same rows, fed by several contestants.

    Attributes:
        about: One line for the table's head.
        samples: Rows of the data, where the command line does not say otherwise.
        quick: The same for `--quick`.
        prepare: Writes the data.
        data: What the data are called: jobs that name the same ones share them. Default: as the job.
        contestants: Name -> setup, in the order of the table.
        limits: What multifeed shall reach.
        batch_size: Rows in a batch.
        row_bytes: Bytes of a row, where MB/s shall stand beside rows/s.
        before: Called with folder and rows before each epoch, outside the clock.
        clock: What of a round is compared: "seconds", or "first_batch_seconds".
        rows: Batch -> the row numbers that it holds, once per array that carries them.
        images: Batch -> its uint8 image arrays; none are compared where this is None.
        reference: The contestant to whose pixels the others' are compared.
        uncompared: Those whose pixels are others, since they draw random numbers of their own.
        environment: Variables that are set for all contestants.
    """

    about: str
    samples: int
    quick: int
    prepare: Prepare
    data: str = ""
    contestants: Mapping[str, Setup]
    limits: Sequence[Limit] = ()
    batch_size: int = BATCH_SIZE
    row_bytes: int = 0
    before: Prepare | None = None
    clock: str = "seconds"
    rows: Callable[[Batch], list[Any]] | None = None
    images: Callable[[Batch], tuple[Any, ...]] | None = None
    reference: str = ""
    uncompared: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Weighing:
    """How much memory a plain loop over a loader takes, epoch by epoch, in a fresh process.

    Attributes:
        about: One line for the table's head.
        samples: Rows per epoch, where the command line does not say otherwise.
        quick: The same for `--quick`.
        prepare: Writes the data.
        data: What the data are called: jobs that name the same ones share them. Default: as the job.
        load: Imports all that is needed, libraries that are imported late included.
        open: Opens the data; returns a loader, and the bytes of its row table.
        epochs: How often the loop runs.
        first: The epoch, counted from 1, from which on memory shall no longer grow.
        most: How many times the bytes of pool and row table the loop shall take at most.
        most_growth: What part of that memory it shall grow by at most, from `first` to the last epoch.
    """

    about: str
    samples: int
    quick: int
    prepare: Prepare
    data: str = ""
    load: Callable[[], None]
    open: Callable[[Path, int], tuple[Any, int]]
    epochs: int = 20
    first: int = 3
    most: float = 1.2
    most_growth: float = 0.01
