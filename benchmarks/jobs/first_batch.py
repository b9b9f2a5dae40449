"""From a large table in memory to the first shuffled batch of images."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from data import NUMBERS, read_samples, write_samples
from job import BATCH_SIZE, WORKERS, Batch, Epoch, Job, Limit

from . import cold

_FILES = 2_000  # of each side; the table names them again and again


def write(folder: Path, samples: int) -> None:
    """Write a few thousand pairs of photographs for the table to name."""
    write_samples(folder, min(samples, _FILES))


def multifeed(folder: Path, samples: int) -> Epoch:
    """Set up the table; all that is declared over it is timed."""
    import pyarrow as pa

    import multifeed as mf

    left, right, numbers = read_samples(folder)
    repeated = pa.array(np.arange(samples) % len(left))
    table = pa.table({"left": left, "right": right, **dict(zip(NUMBERS, numbers.T, strict=True))})
    table = table.take(repeated).set_column(2, NUMBERS[0], pa.array(np.arange(samples, dtype="f4")))

    def epoch(number: int) -> Iterator[Batch]:
        inputs = {
            "left": mf.Image("left", size=cold.SIZE),
            "right": mf.Image("right", size=cold.SIZE),
            "numbers": mf.Numeric(NUMBERS),
        }
        data = mf.Dataset(table, inputs=inputs)
        with mf.Feed(data, BATCH_SIZE, shuffle=True, seed=number, workers=WORKERS) as feed:
            for (batch,) in islice(feed, 1):
                yield batch["left"], batch["right"], batch["numbers"]

    return epoch


def two_threads(folder: Path, samples: int) -> Epoch:
    """Set up the floor: one batch decoded by the bare loop, from a list of paths."""
    left, right, numbers = (column[:BATCH_SIZE] for column in read_samples(folder))
    loop = cold.bare_loop(left, right, numbers)
    return lambda number: islice(loop(number), 1)


JOB = Job(
    about="an Arrow table of that many rows in memory (two paths, 16 numbers); seconds to declare "
    "the data set, make the loader and receive its first batch, shuffled",
    samples=1_300_000,
    quick=5_000,
    prepare=write,
    contestants={"multifeed": multifeed, "two_threads": two_threads},
    limits=[
        Limit(figure="first batch at 1,300,000 rows", value="first_batch_seconds", unit="s", most=1.0)
    ],
    clock="first_batch_seconds",
)
