"""The memory of a plain loop over a `Loader`, on images from files and on a table of numbers."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from data import NUMBERS, write_samples
from job import BATCH_SIZE, WORKERS, Weighing

from . import cold, numbers


def load() -> None:
    """Import all that the loops use."""
    os.environ["KERAS_BACKEND"] = "numpy"  # no model is trained here: the lightest one will do
    for module in ("multifeed.keras", "pyarrow.csv", "pyarrow.compute", "pyarrow.feather"):
        importlib.import_module(module)


def images(folder: Path, samples: int) -> tuple[Any, int]:
    """Open a loader over two folders of photographs and a CSV file."""
    import multifeed as mf

    rows = mf.align(
        "id",
        left=f"{folder}/left/{{id}}.jpg",
        right=f"{folder}/right/{{id}}.jpg",
        table=f"{folder}/table.csv",
    )
    inputs = {
        "left": mf.Image("left", size=cold.SIZE),
        "right": mf.Image("right", size=cold.SIZE),
        "numbers": mf.Numeric(NUMBERS),
    }
    data = mf.Dataset(rows, key="id", inputs=inputs)
    return mf.Loader(data, BATCH_SIZE, shuffle=True, workers=WORKERS), rows.nbytes


def write_table(folder: Path, samples: int) -> None:
    """Write an Arrow file of 30 columns of numbers."""
    import pyarrow as pa
    import pyarrow.feather

    matrix = np.random.default_rng(0).normal(size=(len(numbers.COLUMNS), samples)).astype(np.float32)
    table = pa.table(dict(zip(numbers.COLUMNS, matrix, strict=True)))
    pa.feather.write_feather(table, folder / "table.arrow", compression="uncompressed")


def table(folder: Path, samples: int) -> tuple[Any, int]:
    """Open a loader over a table that lies in memory, not in a mapped file."""
    import pyarrow.feather

    import multifeed as mf

    rows = pyarrow.feather.read_table(folder / "table.arrow", memory_map=False)
    data = mf.Dataset(rows, inputs={"numbers": mf.Numeric(numbers.COLUMNS)})
    loader = mf.Loader(data, numbers.BATCH_SIZE, shuffle=True, workers=WORKERS)
    return loader, rows.nbytes


IMAGES = Weighing(
    about="two JPEGs of 500x375 and 16 numbers per sample, decoded to 224x224, batches of 64",
    samples=640,
    quick=64,
    prepare=write_samples,
    load=load,
    open=images,
)
NUMBERS_ONLY = Weighing(
    about="30 float32 columns of an Arrow table, batches of 32",
    samples=1_000_000,
    quick=10_000,
    prepare=write_table,
    load=load,
    open=table,
)
