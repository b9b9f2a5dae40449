"""Images decoded once, from a cache on disk and in the page cache: a gather beside what peers offer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from data import NUMBERS, SIDES, write_samples
from job import BATCH_SIZE, WORKERS, Batch, Epoch, Job, Limit

from . import cold, warm_peers
from .warm_peers import SHAPE, read


def photographs(folder: Path) -> Any:
    """Return the data set over two path patterns and a CSV file: two images, and the row number."""
    import multifeed as mf

    rows = mf.align(
        "id",
        left=f"{folder}/left/{{id}}.jpg",
        right=f"{folder}/right/{{id}}.jpg",
        table=f"{folder}/table.csv",
    )
    images = {side: mf.Image(side, size=cold.SIZE) for side in SIDES}
    return mf.Dataset(rows, key="id", inputs=images | {"row": mf.Numeric(NUMBERS[0])})


def multifeed(folder: Path, samples: int) -> Epoch:
    """Set up a feed over the cache."""
    import multifeed as mf

    data = mf.cache(photographs(folder), folder / "multifeed")

    def epoch(number: int) -> Iterator[Batch]:
        with mf.Feed(data, BATCH_SIZE, shuffle=True, seed=number, workers=WORKERS) as feed:
            for (batch,) in feed:
                yield batch["left"], batch["right"], batch["row"]

    return epoch


def memcpy(folder: Path, samples: int) -> Epoch:
    """Set up the limit: the same bytes, in file order, into one buffer per field, in one thread."""
    arrays = read(folder, samples)

    def epoch(number: int) -> Iterator[Batch]:
        buffers = [np.empty((BATCH_SIZE, *array.shape[1:]), array.dtype) for array in arrays]
        for start in range(0, samples, BATCH_SIZE):
            batch = tuple(buffer[: samples - start] for buffer in buffers)
            for array, target in zip(arrays, batch, strict=True):
                np.copyto(target, array[start : start + BATCH_SIZE])
            yield batch

    return epoch


def numpy_take_recycled(folder: Path, samples: int) -> Epoch:
    """Set up a shuffled gather into one buffer per field, in one thread."""
    arrays = read(folder, samples)

    def epoch(number: int) -> Iterator[Batch]:
        order = np.random.default_rng(number).permutation(samples)
        buffers = [np.empty((BATCH_SIZE, *array.shape[1:]), array.dtype) for array in arrays]
        for start in range(0, samples, BATCH_SIZE):
            rows = order[start : start + BATCH_SIZE]
            batch = tuple(buffer[: len(rows)] for buffer in buffers)
            for array, target in zip(arrays, batch, strict=True):
                # "clip" is the mode in which `take` writes straight into `out`.
                np.take(array, rows, axis=0, out=target, mode="clip")
            yield batch

    return epoch


def rows(batch: Batch) -> list[Any]:
    """Return the row numbers."""
    return [np.asarray(batch[2]).reshape(-1)]


def images(batch: Batch) -> tuple[Any, ...]:
    """Return both images."""
    return batch[:2]


JOB = Job(
    about=f"two images of {'x'.join(map(str, SHAPE))} and the row number per sample, decoded once, on "
    "disk and in the page cache, each contestant's in its own format; shuffled, batches of 64",
    samples=2_000,
    quick=64,
    prepare=write_samples,
    data="cold",
    contestants={
        "multifeed": multifeed,
        "memcpy": memcpy,
        "numpy_take_recycled": numpy_take_recycled,
        "tfdata_cache": warm_peers.tfdata_cache,
        "torch_memmap": warm_peers.torch_memmap,
        "torch_memmap_workers": warm_peers.torch_memmap_workers,
        "torch_memmap_rows": warm_peers.torch_memmap_rows,
        "grain_memmap": warm_peers.grain_memmap,
        "litdata": warm_peers.litdata,
        "mosaicml_streaming": warm_peers.mosaicml_streaming,
        "webdataset": warm_peers.webdataset,
        "hf_datasets": warm_peers.hf_datasets,
        "hf_datasets_arrow": warm_peers.hf_datasets_arrow,
        "ffcv_raw": warm_peers.ffcv_raw,
        "ffcv_jpeg": warm_peers.ffcv_jpeg,
    },
    limits=[
        Limit(figure="warm ÷ `memcpy` in one thread", over=("memcpy",), least=0.85),
        Limit(figure="warm ÷ tf.data `.cache()` in memory", over=("tfdata_cache",), least=1.3),
        Limit(
            figure="warm ÷ PyTorch on a memmap, best of 0 and 2 workers",
            over=("torch_memmap", "torch_memmap_workers", "torch_memmap_rows"),
            least=2,
        ),
        Limit(figure="warm ÷ Grain on a memmap", over=("grain_memmap",)),
        Limit(
            figure="warm ÷ best of LitData, MosaicML Streaming, WebDataset, Hugging Face datasets",
            over=("litdata", "mosaicml_streaming", "webdataset", "hf_datasets"),
            least=2,
        ),
        Limit(figure="warm ÷ Hugging Face datasets, arrays made by hand", over=("hf_datasets_arrow",)),
        Limit(figure="warm ÷ FFCV, raw", over=("ffcv_raw",), least=1.0),
        Limit(figure="warm ÷ FFCV, JPEG", over=("ffcv_jpeg",), least=1.0),
    ],
    rows=rows,
    images=images,
    reference="numpy_take_recycled",
)
