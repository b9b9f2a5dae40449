"""Windows of one long series in a file, shuffled: multifeed and the bare library in two threads."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from job import BATCH_SIZE, WORKERS, Batch, Epoch, Job, Limit

LENGTH, STRIDE, CHANNELS = 256, 64, 64
_CHUNK = 8  # rows that a thread of the bare loop takes at once

# What is asked for the rows of a window.
Rows = Callable[[int, int], np.ndarray]


def series(samples: int) -> np.ndarray:
    """Return the series; the first channel of a row spells which row it is."""
    values = np.random.default_rng(0).normal(size=(samples * STRIDE + LENGTH - STRIDE, CHANNELS))
    values = np.round(values, 2).astype(np.float32)
    values[:, 0] = np.arange(len(values))
    return values


def write_npy(folder: Path, samples: int) -> None:
    """Write it as a .npy file."""
    np.save(folder / "series.npy", series(samples))


def write_hdf5(folder: Path, samples: int, **options: Any) -> None:
    """Write it as an HDF5 file."""
    import h5py

    with h5py.File(folder / "series.h5", "w") as file:
        file.create_dataset("x", data=series(samples), **options)


def write_zarr(folder: Path, samples: int) -> None:
    """Write it as a Zarr store of the usual codec."""
    import zarr

    values = series(samples)
    stored = zarr.create_group(folder / "series.zarr", overwrite=True).create_array(
        "x", shape=values.shape, chunks=(1_024, CHANNELS), dtype="float32"
    )
    stored[...] = values


def multifeed(name: str, folder: Path, samples: int) -> Epoch:
    """Set up a feed of windows."""
    import multifeed as mf

    rows = mf.windows({"x": [f"{folder}/{name}"]}, LENGTH, STRIDE)
    data = mf.Dataset(rows, key="window", inputs=mf.Array("x", (LENGTH, CHANNELS)))

    def epoch(number: int) -> Iterator[Batch]:
        with mf.Feed(data, BATCH_SIZE, shuffle=True, seed=number, workers=WORKERS) as feed:
            yield from feed

    return epoch


def open_npy(folder: Path) -> Rows:
    """Open the file as a memmap."""
    values = np.asarray(np.load(folder / "series.npy", mmap_mode="r"))
    return lambda start, stop: values[start:stop]


def open_npy_to_read(folder: Path) -> Rows:
    """Open the file to read from it, as one does that may be cut off meanwhile: a memmap of it kills."""
    name, row_bytes = folder / "series.npy", 4 * CHANNELS
    with name.open("rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        begin = file.tell()

    def read(start: int, stop: int) -> np.ndarray:
        count, offset = (stop - start) * CHANNELS, begin + start * row_bytes
        return np.fromfile(name, np.float32, count, offset=offset).reshape(-1, CHANNELS)

    return read


def open_hdf5(folder: Path) -> Rows:
    """Open the file with h5py."""
    import h5py

    values = h5py.File(folder / "series.h5", "r")["x"]
    return lambda start, stop: values[start:stop]


def open_zarr(folder: Path) -> Rows:
    """Open the store with zarr."""
    import zarr

    values = zarr.open_group(folder / "series.zarr", mode="r")["x"]
    return lambda start, stop: values[start:stop]


def two_threads(opened: Callable[[Path], Rows], folder: Path, samples: int) -> Epoch:
    """Set up the limit: the library's own call, with nothing of a loader around it."""
    own = threading.local()

    def start_thread() -> None:
        own.rows = opened(folder)

    def fill(batch: np.ndarray, rows: np.ndarray, slots: slice) -> None:
        for slot, row in enumerate(rows[slots].tolist(), start=slots.start):
            batch[slot] = own.rows(row * STRIDE, row * STRIDE + LENGTH)

    def epoch(number: int) -> Iterator[Batch]:
        order = np.random.default_rng(number).permutation(samples)
        buffers = [np.empty((BATCH_SIZE, LENGTH, CHANNELS), np.float32) for _ in range(2)]
        pending: deque[tuple[np.ndarray, list[Future[None]]]] = deque()

        def finished() -> Batch:
            batch, chunks = pending.popleft()
            for chunk in chunks:
                chunk.result()
            return (batch,)

        with ThreadPoolExecutor(WORKERS, initializer=start_thread) as pool:
            for step, start in enumerate(range(0, samples, BATCH_SIZE)):
                rows = order[start : start + BATCH_SIZE]
                batch = buffers[step % 2][: len(rows)]
                chunks = [slice(at, min(at + _CHUNK, len(rows))) for at in range(0, len(rows), _CHUNK)]
                pending.append((batch, [pool.submit(fill, batch, rows, each) for each in chunks]))
                if len(pending) == 2:
                    yield finished()
            while pending:
                yield finished()

    return epoch


def rows(batch: Batch) -> list[Any]:
    """Return the row numbers, which the first values spell."""
    return [np.asarray(batch[0])[:, 0, 0] / STRIDE]


def job(
    kind: str,
    name: str,
    write: Callable[..., None],
    opened: Callable[[Path], Rows],
    read: Callable[[Path], Rows] | None = None,
) -> Job:
    """Return the job of a format; `read` opens a file in another way, to be compared as well."""
    contestants = {"multifeed": partial(multifeed, name), "two_threads": partial(two_threads, opened)}
    limits = [Limit(figure=f"windows in {kind} ÷ bare calls", over=("two_threads",), least=0.9)]
    if read is not None:
        contestants["two_threads_read"] = partial(two_threads, read)
        figure = f"windows in {kind} ÷ bare calls that read"
        limits.append(Limit(figure=figure, over=("two_threads_read",), least=0.9))
    return Job(
        about=f"windows of {LENGTH} x {CHANNELS} numbers of a series in {kind}, shuffled, batches of 64",
        samples=4_000,
        quick=128,
        prepare=write,
        contestants=contestants,
        limits=limits,
        rows=rows,
    )


PACKED = {"chunks": (1_024, CHANNELS), "compression": "gzip", "shuffle": True}

JOBS = {
    "windows_npy": job("a .npy file", "series.npy", write_npy, open_npy, open_npy_to_read),
    "windows_hdf5": job("HDF5", "series.h5::x", write_hdf5, open_hdf5),
    "windows_hdf5_gzip": job(
        "HDF5, packed by gzip", "series.h5::x", partial(write_hdf5, **PACKED), open_hdf5
    ),
    "windows_zarr": job("Zarr", "series.zarr::x", write_zarr, open_zarr),
}
