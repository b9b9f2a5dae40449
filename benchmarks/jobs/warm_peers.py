"""The peers of the warm job, each as its own documentation recommends, tuned for two cores.

Each holds the same decoded pixels in its own format, which it writes once, before any clock runs.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from data import SIDES, read_samples, write_once
from job import BATCH_SIZE, WORKERS, Batch, Epoch

from . import cold

SHAPE = (*cold.SIZE, 3)
COLUMNS = (*SIDES, "row")
_SHARD_ROWS = 64  # rows of a tar file, some 19 MB: as many shards as workers can share evenly
_SHUFFLE_ROWS = 1_000  # the buffer that WebDataset's documentation shuffles in


def read(folder: Path, samples: int) -> list[np.ndarray]:
    """Open the decoded images of both sides and the row numbers, memory-mapped."""
    write_once(folder / "decoded", _decode, samples)
    # Copy on write: PyTorch warns of arrays that it could not write to.
    return [np.load(folder / "decoded" / f"{name}.npy", mmap_mode="c") for name in COLUMNS]


def _decode(part: Path, samples: int) -> None:
    """Write left.npy, right.npy and row.npy, decoded and resized as multifeed does it."""
    open_memmap = np.lib.format.open_memmap
    sides = [open_memmap(part / f"{side}.npy", "w+", np.uint8, (samples, *SHAPE)) for side in SIDES]
    for left, right, numbers in cold.bare_loop(*read_samples(part.parent))(0):
        rows = numbers[:, 0].astype(np.int64)
        for side, images in zip(sides, (left, right), strict=True):
            side[rows] = images
    for side in sides:
        side.flush()
    np.save(part / "row.npy", np.arange(samples))


def _converted(folder: Path, samples: int, name: str, write: Callable[[Path, Rows], None]) -> Path:
    """Return the folder of a peer's own format; what is not there yet is written."""
    rows = Rows(read(folder, samples))
    write_once(folder / name, lambda part, _: write(part, rows), samples)
    return folder / name


class Rows:
    """A map-style data set over the arrays, by row or by several rows at once."""

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        self.arrays = arrays

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, rows: Any) -> tuple[Any, ...]:
        return tuple(array[rows] for array in self.arrays)


def tfdata_cache(folder: Path, samples: int) -> Epoch:
    """Set up a tf.data pipeline whose cache holds all rows in memory."""
    import tensorflow as tf

    arrays = Rows(read(folder, samples))
    images = tf.TensorSpec(SHAPE, tf.uint8)
    # The cache is the data of this contestant, so it outlives the rounds, as the files do for the
    # others; the first, untimed epoch fills it.
    cached = tf.data.Dataset.from_generator(
        lambda: (arrays[row] for row in range(samples)),
        output_signature=(images, images, tf.TensorSpec((), tf.int64)),
    ).cache()

    def epoch(number: int) -> Iterator[Batch]:
        dataset = cached.shuffle(samples, seed=number)
        dataset = dataset.batch(BATCH_SIZE, num_parallel_calls=tf.data.AUTOTUNE)
        yield from dataset.prefetch(tf.data.AUTOTUNE)

    return epoch


def torch_memmap(folder: Path, samples: int, *, workers: int = 0) -> Epoch:
    """Set up a DataLoader that fetches a batch with one call to the memmaps."""
    import torch
    from torch.utils.data import BatchSampler, DataLoader, RandomSampler

    rows = Rows(read(folder, samples))

    def epoch(number: int) -> Iterator[Batch]:
        torch.manual_seed(number)
        sampler = BatchSampler(RandomSampler(rows), BATCH_SIZE, drop_last=False)
        yield from DataLoader(rows, sampler=sampler, batch_size=None, num_workers=workers)

    return epoch


def torch_memmap_rows(folder: Path, samples: int) -> Epoch:
    """Set up the usual DataLoader: one call per row."""
    import torch

    rows = Rows(read(folder, samples))

    def epoch(number: int) -> Iterator[Batch]:
        torch.manual_seed(number)
        yield from torch.utils.data.DataLoader(rows, batch_size=BATCH_SIZE, shuffle=True)

    return epoch


def torch_memmap_workers(folder: Path, samples: int) -> Epoch:
    """Set up the same with two worker processes."""
    return torch_memmap(folder, samples, workers=WORKERS)


def grain_memmap(folder: Path, samples: int, *, workers: int = 1) -> Epoch:
    """Set up a Grain pipeline that shuffles and batches row numbers, and then gathers."""
    import grain

    rows = Rows(read(folder, samples))
    options = grain.ReadOptions(num_threads=workers, prefetch_buffer_size=2 * workers)

    def epoch(number: int) -> Iterator[Batch]:
        dataset = grain.MapDataset.range(samples).shuffle(seed=number)
        yield from dataset.batch(BATCH_SIZE).map(rows.__getitem__).to_iter_dataset(options)

    return epoch


def litdata(folder: Path, samples: int, *, workers: int = 0) -> Epoch:
    """Set up LitData's stream over chunks of 64 MB."""
    import litdata as ld

    def write(part: Path, rows: Rows) -> None:
        sample = partial(_tensors, folder, samples)
        ld.optimize(sample, list(range(samples)), str(part), chunk_bytes="64MB", num_workers=1)

    chunks = _converted(folder, samples, "litdata", write)

    def epoch(number: int) -> Iterator[Batch]:
        dataset = ld.StreamingDataset(str(chunks), shuffle=True, drop_last=False, seed=number)
        for batch in ld.StreamingDataLoader(dataset, batch_size=BATCH_SIZE, num_workers=workers):
            yield tuple(batch[name] for name in COLUMNS)

    return epoch


def _tensors(folder: Path, samples: int, row: int) -> dict[str, Any]:
    """Return a row as LitData stores it; a process of its own asks for it, so it is found by name."""
    import torch

    left, right, number = Rows(read(folder, samples))[row]
    return {"left": torch.from_numpy(left), "right": torch.from_numpy(right), "row": int(number)}


def mosaicml_streaming(folder: Path, samples: int, *, workers: int = 0) -> Epoch:
    """Set up MosaicML's stream over shards of 64 MB."""
    from streaming import MDSWriter, StreamingDataset
    from torch.utils.data import DataLoader

    shape = ",".join(map(str, SHAPE))
    columns = dict.fromkeys(SIDES, f"ndarray:uint8:{shape}") | {"row": "int"}

    def write(part: Path, rows: Rows) -> None:
        with MDSWriter(out=str(part), columns=columns) as writer:
            for row in range(samples):
                left, right, number = rows[row]
                writer.write({"left": np.array(left), "right": np.array(right), "row": int(number)})

    shards = _converted(folder, samples, "mosaicml", write)
    dataset = StreamingDataset(local=str(shards), shuffle=True, batch_size=BATCH_SIZE)

    def epoch(number: int) -> Iterator[Batch]:
        for batch in DataLoader(dataset, batch_size=BATCH_SIZE, num_workers=workers):
            yield tuple(batch[name] for name in COLUMNS)

    return epoch


def webdataset(folder: Path, samples: int, *, workers: int = 0) -> Epoch:
    """Set up WebDataset over uncompressed tar files, their order and a buffer of rows shuffled."""
    import webdataset as wds

    def write(part: Path, rows: Rows) -> None:
        with wds.ShardWriter(f"{part}/%06d.tar", maxcount=_SHARD_ROWS, verbose=0) as writer:
            for row in range(samples):
                left, right, number = rows[row]
                key = {"__key__": f"{row:06d}"}
                writer.write(key | {"images.ten": [left, right], "row.cls": int(number)})

    shards = sorted(map(str, _converted(folder, samples, "webdataset", write).iterdir()))

    def epoch(number: int) -> Iterator[Batch]:
        dataset = wds.WebDataset(shards, shardshuffle=len(shards), seed=number, detshuffle=True)
        dataset = dataset.shuffle(_SHUFFLE_ROWS, seed=number).decode()
        dataset = dataset.to_tuple("images.ten", "row.cls").map(_flat).batched(BATCH_SIZE)
        yield from wds.WebLoader(dataset, batch_size=None, num_workers=workers)

    return epoch


def _flat(sample: tuple[list[np.ndarray], int]) -> tuple[Any, ...]:
    (left, right), row = sample
    return left, right, row


def hf_datasets(folder: Path, samples: int) -> Epoch:
    """Set up a data set of Hugging Face over Arrow files, read by batches as NumPy arrays."""
    import datasets as hf

    features = hf.Features({side: hf.Array3D(SHAPE, "uint8") for side in SIDES})
    features["row"] = hf.Value("int64")

    def write(part: Path, rows: Rows) -> None:
        def samples_of() -> Iterator[dict[str, Any]]:
            for row in range(samples):
                yield dict(zip(COLUMNS, rows[row], strict=True))

        cache = part / "cache"
        made = hf.Dataset.from_generator(samples_of, features, cache_dir=str(cache))
        made.save_to_disk(str(part / "saved"))
        del made
        shutil.rmtree(cache)

    dataset = hf.load_from_disk(str(_converted(folder, samples, "huggingface", write) / "saved"))
    # Told nothing, it makes 64-bit numbers of all integers.
    images = dataset.select_columns(list(SIDES)).with_format("numpy", dtype=np.uint8)
    numbers = dataset.select_columns(["row"]).with_format("numpy")

    def epoch(number: int) -> Iterator[Batch]:
        batches = (each.shuffle(seed=number).iter(BATCH_SIZE) for each in (images, numbers))
        for batch, row in zip(*batches, strict=True):
            yield *(batch[side] for side in SIDES), row["row"]

    return epoch


def hf_datasets_arrow(folder: Path, samples: int) -> Epoch:
    """Set up one whose images are lists of bytes, of which arrays are made by hand."""
    import datasets as hf
    import pyarrow as pa

    def write(part: Path, rows: Rows) -> None:
        *images, numbers = rows.arrays
        pixels = [pa.array(side.reshape(-1)) for side in images]
        lists = [pa.FixedSizeListArray.from_arrays(each, int(np.prod(SHAPE))) for each in pixels]
        hf.Dataset(pa.table([*lists, numbers], COLUMNS)).save_to_disk(str(part))

    dataset = hf.load_from_disk(str(_converted(folder, samples, "huggingface_flat", write)))
    dataset = dataset.with_format("arrow")

    def epoch(number: int) -> Iterator[Batch]:
        for table in dataset.shuffle(seed=number).iter(BATCH_SIZE):
            columns = (table[side].combine_chunks().flatten() for side in SIDES)
            images = (column.to_numpy().reshape(-1, *SHAPE) for column in columns)
            yield *images, table["row"].to_numpy()

    return epoch


def ffcv_raw(folder: Path, samples: int, *, workers: int = WORKERS) -> Epoch:
    """Set up FFCV over raw pixels."""
    return _ffcv(folder, samples, "raw", workers=workers)


def ffcv_jpeg(folder: Path, samples: int, *, workers: int = WORKERS) -> Epoch:
    """Set up FFCV over JPEGs of the size of the batch, which it decodes every epoch."""
    return _ffcv(folder, samples, "jpg", workers=workers)


def _ffcv(folder: Path, samples: int, mode: str, *, workers: int = WORKERS) -> Epoch:
    from ffcv.fields import IntField, RGBImageField
    from ffcv.fields.basics import IntDecoder
    from ffcv.fields.rgb_image import SimpleRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import ToTensor
    from ffcv.writer import DatasetWriter

    def write(part: Path, rows: Rows) -> None:
        fields = {side: RGBImageField(write_mode=mode) for side in SIDES} | {"row": IntField()}
        writer = DatasetWriter(str(part / "data.beton"), fields, num_workers=WORKERS)
        writer.from_indexed_dataset(rows)

    file = _converted(folder, samples, f"ffcv_{mode}", write) / "data.beton"
    pipelines: dict[str, Any] = {side: [SimpleRGBImageDecoder(), ToTensor()] for side in SIDES}
    # It compiles its pipeline for each loader, which takes seconds; so, other than all the others'
    # loaders, this one lives over the rounds. A pass over it starts its threads and ends them.
    loader = Loader(
        str(file),
        batch_size=BATCH_SIZE,
        num_workers=workers,
        order=OrderOption.RANDOM,
        os_cache=True,
        drop_last=False,
        pipelines=pipelines | {"row": [IntDecoder(), ToTensor()]},
    )

    def epoch(number: int) -> Iterator[Batch]:
        yield from loader

    return epoch
