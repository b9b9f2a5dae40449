"""Writing a cache, beside the epoch over the same files that it takes the place of."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from data import write_samples
from job import BATCH_SIZE, WORKERS, Batch, Epoch, Job, Limit

from . import warm

_BUILT = "built"  # a cache that is removed before each round


def multifeed(folder: Path, samples: int) -> Epoch:
    """Set up the data set; the whole of `cache` is timed."""
    import multifeed as mf

    data = warm.photographs(folder)

    def epoch(number: int) -> Iterator[Batch]:
        yield (range(len(mf.cache(data, folder / _BUILT))),)

    return epoch


def cold_epoch(folder: Path, samples: int) -> Epoch:
    """Set up a feed that decodes the same files, and keeps nothing."""
    import multifeed as mf

    data = warm.photographs(folder)

    def epoch(number: int) -> Iterator[Batch]:
        with mf.Feed(data, BATCH_SIZE, shuffle=True, seed=number, workers=WORKERS) as feed:
            for (batch,) in feed:
                yield batch["left"], batch["right"], batch["row"]

    return epoch


def remove(folder: Path, samples: int) -> None:
    """Remove what the last round has built."""
    shutil.rmtree(folder / _BUILT, ignore_errors=True)


JOB = Job(
    about="two JPEGs of 500x375 and the row number per sample, decoded to 224x224 and written into an "
    "empty folder, beside a shuffled epoch over the same files",
    samples=2_000,
    quick=64,
    prepare=write_samples,
    data="cold",
    contestants={"multifeed": multifeed, "cold_epoch": cold_epoch},
    limits=[
        Limit(
            figure="building a cache: time ÷ that of a cold epoch",
            over=("cold_epoch",),
            takes_longer=True,
            most=1.2,
        )
    ],
    before=remove,
)
