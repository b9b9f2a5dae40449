"""Decoded images in memory-mapped arrays that lie in the page cache: a gather, nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from data import SIDES, photograph
from job import BATCH_SIZE, WORKERS, Batch, Epoch, Job, Limit

SHAPE = (224, 224, 3)


def write(folder: Path, samples: int) -> None:
    """Write left.npy and right.npy; the first pixel of each image spells its row."""
    for side, name in enumerate(SIDES):
        array = np.lib.format.open_memmap(
            folder / f"{name}.npy", mode="w+", dtype=np.uint8, shape=(samples, *SHAPE)
        )
        for row in range(samples):
            array[row] = photograph(row, side).resize(SHAPE[:2])
            array[row, 0, 0] = list(row.to_bytes(3, "big"))
        array.flush()


def read(folder: Path, mode: Literal["r", "c"] = "r") -> tuple[np.ndarray, np.ndarray]:
    """Open both arrays, memory-mapped."""
    left, right = (np.load(folder / f"{name}.npy", mmap_mode=mode) for name in SIDES)
    return left, right


def multifeed(folder: Path, samples: int) -> Epoch:
    """Set up a feed over two memmaps."""
    import multifeed as mf

    left, right = read(folder)
    inputs = {"left": mf.Array("left"), "right": mf.Array("right")}
    data = mf.Dataset({"left": left, "right": right}, inputs=inputs)

    def epoch(number: int) -> Iterator[Batch]:
        with mf.Feed(data, BATCH_SIZE, shuffle=True, seed=number, workers=WORKERS) as feed:
            for (batch,) in feed:
                yield batch["left"], batch["right"]

    return epoch


def memcpy(folder: Path, samples: int) -> Epoch:
    """Set up the limit: the same bytes, in file order, into one buffer per field."""
    arrays = read(folder)

    def epoch(number: int) -> Iterator[Batch]:
        buffers = [np.empty((BATCH_SIZE, *SHAPE), np.uint8) for _ in arrays]
        for start in range(0, samples, BATCH_SIZE):
            batch = tuple(buffer[: samples - start] for buffer in buffers)
            for array, target in zip(arrays, batch, strict=True):
                np.copyto(target, array[start : start + BATCH_SIZE])
            yield batch

    return epoch


def take_recycled(folder: Path, samples: int) -> Epoch:
    """Set up a shuffled gather into one buffer per field."""
    arrays = read(folder)

    def epoch(number: int) -> Iterator[Batch]:
        order = np.random.default_rng(number).permutation(samples)
        buffers = [np.empty((BATCH_SIZE, *SHAPE), np.uint8) for _ in arrays]
        for start in range(0, samples, BATCH_SIZE):
            rows = order[start : start + BATCH_SIZE]
            batch = tuple(buffer[: len(rows)] for buffer in buffers)
            for array, target in zip(arrays, batch, strict=True):
                # "clip" is the mode in which `take` writes straight into `out`.
                np.take(array, rows, axis=0, out=target, mode="clip")
            yield batch

    return epoch


class Rows:
    """A map-style data set over the two arrays."""

    def __init__(self, folder: Path) -> None:
        # Copy on write: PyTorch warns of arrays that it could not write to.
        self.left, self.right = read(folder, mode="c")

    def __len__(self) -> int:
        return len(self.left)

    def __getitem__(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        return self.left[row], self.right[row]


def torch_memmap(folder: Path, samples: int) -> Epoch:
    """Set up a DataLoader over the memmaps."""
    import torch

    arrays = Rows(folder)

    def epoch(number: int) -> Iterator[Batch]:
        torch.manual_seed(number)
        # No workers: with two, every batch crosses a process border, and that takes longer here.
        yield from torch.utils.data.DataLoader(arrays, batch_size=BATCH_SIZE, shuffle=True)

    return epoch


def tfdata_cache(folder: Path, samples: int) -> Epoch:
    """Set up a tf.data pipeline whose cache holds all rows in memory."""
    import tensorflow as tf

    arrays = Rows(folder)
    spec = (tf.TensorSpec(SHAPE, tf.uint8), tf.TensorSpec(SHAPE, tf.uint8))
    # The cache is the data of this contestant, so it outlives the rounds, as the files do for the
    # others; the first, untimed epoch fills it.
    cached = tf.data.Dataset.from_generator(
        lambda: (arrays[row] for row in range(samples)), output_signature=spec
    ).cache()

    def epoch(number: int) -> Iterator[Batch]:
        dataset = cached.shuffle(samples, seed=number)
        dataset = dataset.batch(BATCH_SIZE, num_parallel_calls=tf.data.AUTOTUNE)
        yield from dataset.prefetch(tf.data.AUTOTUNE)

    return epoch


def rows(batch: Batch) -> list[Any]:
    """Return the row numbers that the first pixels spell, for both images."""
    return [np.asarray(images)[:, 0, 0] @ np.array([65536, 256, 1]) for images in batch]


JOB = Job(
    about="two decoded images of 224x224x3 per sample in .npy memmaps in the page cache, "
    "shuffled, batches of 64",
    samples=2_000,
    quick=128,
    prepare=write,
    contestants={
        "multifeed": multifeed,
        "memcpy": memcpy,
        "take_recycled": take_recycled,
        "torch_memmap": torch_memmap,
        "tfdata_cache": tfdata_cache,
    },
    limits=[Limit(figure="decoded memmap ÷ `memcpy`", over=("memcpy",), least=0.8)],
    rows=rows,
)
