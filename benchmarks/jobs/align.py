"""Joining two folder trees and a Parquet table by key."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from data import SIDES
from job import Batch, Epoch, Job

_PER_FOLDER = 1_000


def write(folder: Path, samples: int) -> None:
    """Write left/SHARD/ID.jpg and right/SHARD/ID.jpg, all empty, and table.parquet."""
    import pyarrow as pa
    import pyarrow.parquet

    ids = [f"{row:07d}" for row in range(samples)]
    for side in SIDES:
        for start in range(0, samples, _PER_FOLDER):
            shard = folder / side / f"{start // _PER_FOLDER:04d}"
            shard.mkdir(parents=True)
            for key in ids[start : start + _PER_FOLDER]:
                os.close(os.open(f"{shard}/{key}.jpg", os.O_CREAT | os.O_WRONLY))
    # The table is in another order than the listings, so nothing can be joined by position.
    order = np.random.default_rng(0).permutation(samples)
    table = pa.table({"id": ids, "age": np.arange(samples, dtype=np.float32)}).take(order)
    pa.parquet.write_table(table, folder / "table.parquet")


def multifeed(folder: Path, samples: int) -> Epoch:
    """Set up nothing: the whole of `align` is timed."""
    import multifeed as mf

    def epoch(number: int) -> Iterator[Batch]:
        rows = mf.align(
            "id",
            left=f"{folder}/left/{{shard}}/{{id}}.jpg",
            right=f"{folder}/right/{{shard}}/{{id}}.jpg",
            table=f"{folder}/table.parquet",
        )
        yield (rows,)

    return epoch


def scandir(folder: Path, samples: int) -> Epoch:
    """Set up the floor: the names in both trees, neither kept nor compared."""

    def names(shard: str) -> list[str]:
        with os.scandir(shard) as entries:
            return [entry.name for entry in entries]

    def epoch(number: int) -> Iterator[Batch]:
        with os.scandir(folder / "left") as entries:
            shards = [entry.name for entry in entries]
        for shard in shards:
            yield names(f"{folder}/left/{shard}"), names(f"{folder}/right/{shard}")

    return epoch


JOB = Job(
    about="seconds to join that many keys over two folder trees and a Parquet table",
    samples=1_000_000,
    quick=2_000,
    prepare=write,
    contestants={"multifeed": multifeed, "scandir": scandir},
)
