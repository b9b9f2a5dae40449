"""A table of numbers in memory, in small batches: what a loader costs when there is no work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from job import WORKERS, Batch, Epoch, Job, Limit

COLUMNS = [f"c{column:02d}" for column in range(30)]
BATCH_SIZE = 32


def write(folder: Path, samples: int) -> None:
    """Write the matrix and the target; the first column and the target are the row number."""
    matrix = np.random.default_rng(0).normal(size=(samples, len(COLUMNS))).astype(np.float32)
    matrix[:, 0] = np.arange(samples)
    np.save(folder / "matrix.npy", matrix)
    np.save(folder / "target.npy", matrix[:, 0])


def read(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the matrix and the target."""
    return np.load(folder / "matrix.npy"), np.load(folder / "target.npy")


def multifeed(folder: Path, samples: int) -> Epoch:
    """Set up a feed over a dict of columns."""
    import multifeed as mf

    matrix, target = read(folder)
    table = dict(zip(COLUMNS, np.ascontiguousarray(matrix.T), strict=True)) | {"target": target}
    data = mf.Dataset(
        table, inputs={"numbers": mf.Numeric(COLUMNS)}, targets={"target": mf.Numeric("target")}
    )

    def epoch(number: int) -> Iterator[Batch]:
        with mf.Feed(data, BATCH_SIZE, shuffle=True, seed=number, workers=WORKERS) as feed:
            for inputs, targets in feed:
                yield inputs["numbers"], targets["target"]

    return epoch


def numpy_take(folder: Path, samples: int) -> Epoch:
    """Set up the limit: the rows of a ready matrix, without anything that makes it a loader."""
    matrix, target = read(folder)

    def epoch(number: int) -> Iterator[Batch]:
        order = np.random.default_rng(number).permutation(samples)
        for start in range(0, samples, BATCH_SIZE):
            rows = order[start : start + BATCH_SIZE]
            yield matrix.take(rows, axis=0), target.take(rows)

    return epoch


def torch_batchsampler(folder: Path, samples: int) -> Epoch:
    """Set up a DataLoader that fetches a batch with one call."""
    import torch
    from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

    tensors = TensorDataset(*map(torch.from_numpy, read(folder)))

    def epoch(number: int) -> Iterator[Batch]:
        torch.manual_seed(number)
        sampler = BatchSampler(RandomSampler(tensors), BATCH_SIZE, drop_last=False)
        yield from DataLoader(tensors, sampler=sampler, batch_size=None)

    return epoch


def torch_tensordataset(folder: Path, samples: int) -> Epoch:
    """Set up the usual DataLoader: one call per row."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    tensors = TensorDataset(*map(torch.from_numpy, read(folder)))

    def epoch(number: int) -> Iterator[Batch]:
        torch.manual_seed(number)
        yield from DataLoader(tensors, batch_size=BATCH_SIZE, shuffle=True)

    return epoch


def tfdata_slices(folder: Path, samples: int) -> Epoch:
    """Set up a tf.data pipeline over slices of the arrays."""
    import tensorflow as tf

    slices = tf.data.Dataset.from_tensor_slices(read(folder))

    def epoch(number: int) -> Iterator[Batch]:
        dataset = slices.shuffle(samples, seed=number).batch(BATCH_SIZE)
        yield from dataset.prefetch(tf.data.AUTOTUNE)

    return epoch


def rows(batch: Batch) -> list[Any]:
    """Return the row numbers, of the matrix and of the target."""
    return [np.asarray(batch[0])[:, 0], np.asarray(batch[1]).reshape(-1)]


JOB = Job(
    about="30 float32 columns and a target in memory, shuffled, batches of 32",
    samples=1_000_000,
    quick=2_000,
    prepare=write,
    contestants={
        "multifeed": multifeed,
        "numpy_take": numpy_take,
        "torch_batchsampler": torch_batchsampler,
        "torch_tensordataset": torch_tensordataset,
        "tfdata_slices": tfdata_slices,
    },
    limits=[
        Limit(figure="numbers only, batch 32 ÷ NumPy `take`", over=("numpy_take",), least=0.6),
        Limit(
            figure="numbers only, batch 32 ÷ best peer",
            over=("torch_batchsampler", "torch_tensordataset", "tfdata_slices"),
            least=2.5,
        ),
    ],
    batch_size=BATCH_SIZE,
    rows=rows,
)
