"""Two JPEGs and 16 numbers per sample, decoded every epoch: multifeed and its limit."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from data import HEIGHT, NUMBERS, WIDTH, read_samples, write_samples
from job import BATCH_SIZE, WORKERS, Batch, Epoch, Job, Limit

from . import cold_peers

SIZE = cold_peers.SIZE
_CHUNK = 8  # rows that a thread of the bare loop takes at once


def multifeed(folder: Path, samples: int) -> Epoch:
    """Set up a feed over two path patterns and a CSV file."""
    import multifeed as mf

    rows = mf.align(
        "id",
        left=f"{folder}/left/{{id}}.jpg",
        right=f"{folder}/right/{{id}}.jpg",
        table=f"{folder}/table.csv",
    )
    inputs = {
        "left": mf.Image("left", size=SIZE),
        "right": mf.Image("right", size=SIZE),
        "numbers": mf.Numeric(NUMBERS),
    }
    data = mf.Dataset(rows, key="id", inputs=inputs)

    def epoch(number: int) -> Iterator[Batch]:
        with mf.Feed(data, BATCH_SIZE, shuffle=True, seed=number, workers=WORKERS) as feed:
            for (batch,) in feed:
                yield batch["left"], batch["right"], batch["numbers"]

    return epoch


def two_threads(folder: Path, samples: int) -> Epoch:
    """Set up the limit: the same pixels."""
    return bare_loop(*read_samples(folder))


def two_threads_plain(folder: Path, samples: int) -> Epoch:
    """Set up the same loop with the resizing of the peers, which skips pixels."""
    return bare_loop(*read_samples(folder), smooth=False)


def bare_loop(left: list[str], right: list[str], numbers: np.ndarray, *, smooth: bool = True) -> Epoch:
    """Set up the limit: decode and resize as multifeed does, with nothing of a loader around it."""
    import cv2
    import simplejpeg

    cv2.setNumThreads(1)
    files = [Path(path) for path in left], [Path(path) for path in right]
    own = threading.local()

    def start_thread() -> None:
        own.decoded = np.empty((HEIGHT, WIDTH, 3), np.uint8)

    def fill(batch: Batch, rows: np.ndarray, slots: slice) -> None:
        for slot, row in enumerate(rows[slots], start=slots.start):
            for side, paths in enumerate(files):
                jpeg = paths[row].read_bytes()
                decoded = simplejpeg.decode_jpeg(
                    jpeg, fastdct=True, fastupsample=True, buffer=own.decoded
                )
                if smooth:  # the width shrinks by more than 2
                    decoded = cv2.GaussianBlur(decoded, (3, 1), 0)
                cv2.resize(decoded, SIZE, dst=batch[side][slot])
        batch[2][slots] = numbers[rows[slots]]

    def epoch(number: int) -> Iterator[Batch]:
        order = np.random.default_rng(number).permutation(len(left))
        # One batch is filled while the other is looked at, so no thread waits at a batch's end.
        buffers = [_new_batch(numbers.shape[1]) for _ in range(2)]
        pending: deque[tuple[Batch, list[Future[None]]]] = deque()
        with ThreadPoolExecutor(WORKERS, initializer=start_thread) as pool:
            for step, start in enumerate(range(0, len(order), BATCH_SIZE)):
                rows = order[start : start + BATCH_SIZE]
                batch = tuple(array[: len(rows)] for array in buffers[step % 2])
                chunks = [slice(at, at + _CHUNK) for at in range(0, len(rows), _CHUNK)]
                pending.append((batch, [pool.submit(fill, batch, rows, c) for c in chunks]))
                if len(pending) == 2:
                    yield _finished(*pending.popleft())
            while pending:
                yield _finished(*pending.popleft())

    return epoch


def _new_batch(columns: int) -> Batch:
    images = (np.empty((BATCH_SIZE, *SIZE, 3), np.uint8) for _ in range(2))
    return (*images, np.empty((BATCH_SIZE, columns), np.float32))


def _finished(batch: Batch, chunks: list[Future[None]]) -> Batch:
    for chunk in chunks:
        chunk.result()
    return batch


def rows(batch: Batch) -> list[Any]:
    """Return the row numbers: the first of the 16 numbers."""
    return [np.asarray(batch[2])[:, 0]]


def images(batch: Batch) -> tuple[Any, ...]:
    """Return both images."""
    return batch[:2]


JOB = Job(
    about="two JPEGs of 500x375 and 16 numbers per sample, decoded every epoch to 224x224, "
    "shuffled, batches of 64",
    samples=2_000,
    quick=64,
    prepare=write_samples,
    contestants={
        "multifeed": multifeed,
        "two_threads": two_threads,
        "two_threads_plain": two_threads_plain,
        "tfdata": cold_peers.tfdata,
        "torch_opencv": cold_peers.torch_opencv,
        "grain_opencv": cold_peers.grain_opencv,
        "pydataset": cold_peers.pydataset,
        "pydataset_default": cold_peers.pydataset_default,
    },
    limits=[
        Limit(figure="cold ÷ two-thread loop", over=("two_threads",), least=0.95),
        Limit(
            figure="cold ÷ best of tf.data, PyTorch, Grain",
            over=("tfdata", "torch_opencv", "grain_opencv"),
            least=1.08,
        ),
        Limit(figure="cold ÷ tutorial `PyDataset`", over=("pydataset", "pydataset_default"), least=2.5),
    ],
    rows=rows,
    images=images,
    reference="two_threads",
)
