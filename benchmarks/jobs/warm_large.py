"""A cache that is larger than the page cache: what a disk gives, and in which order it is asked."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from data import SIDES, photograph, write_once
from job import BATCH_SIZE, WORKERS, Batch, Epoch, Job, Limit

from . import cold
from .confined import can_confine, confine, evict

SHAPE = (*cold.SIZE, 3)
_DISTINCT = 250  # photographs of each side; the others are links to them
_LIMIT_BYTES = 768 * 2**20
_READ_BYTES = 2**20


def write(folder: Path, samples: int) -> None:
    """Write left/ID.jpg, right/ID.jpg and table.csv; from the 251st row on, they are links."""
    for side, name in enumerate(SIDES):
        (folder / name).mkdir()
        for row in range(samples):
            path = folder / name / f"{row:06d}.jpg"
            if row < _DISTINCT:
                photograph(row, side).save(path, quality=95)
            else:
                path.hardlink_to(folder / name / f"{row % _DISTINCT:06d}.jpg")
    lines = ["id,row", *(f"{row:06d},{row}" for row in range(samples))]
    (folder / "table.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def multifeed(folder: Path, samples: int, *, shuffle: Any = True) -> Epoch:
    """Set up a feed over the cache."""
    import multifeed as mf

    data = mf.cache(_photographs(folder), folder / "multifeed")
    confine(_LIMIT_BYTES)

    def epoch(number: int) -> Iterator[Batch]:
        with mf.Feed(data, BATCH_SIZE, shuffle=shuffle, seed=number, workers=WORKERS) as feed:
            for (batch,) in feed:
                yield batch["left"], batch["right"], batch["row"]

    return epoch


def _photographs(folder: Path) -> Any:
    import multifeed as mf

    rows = mf.align(
        "id",
        left=f"{folder}/left/{{id}}.jpg",
        right=f"{folder}/right/{{id}}.jpg",
        table=f"{folder}/table.csv",
    )
    images = {side: mf.Image(side, size=cold.SIZE) for side in SIDES}
    return mf.Dataset(rows, key="id", inputs=images | {"row": mf.Numeric("row")})


def sequential_read(folder: Path, samples: int) -> Epoch:
    """Set up the floor: the bytes of the same files, in file order, into one buffer."""
    import multifeed as mf

    mf.cache(_photographs(folder), folder / "multifeed")
    return _read_all(folder / "multifeed", samples)


def _read_all(folder: Path, samples: int) -> Epoch:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    buffer = memoryview(bytearray(_READ_BYTES))
    confine(_LIMIT_BYTES)

    def epoch(number: int) -> Iterator[Batch]:
        for path in files:
            with path.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass
        yield (np.arange(samples),)

    return epoch


def tfdata_files(folder: Path, samples: int) -> Epoch:
    """Set up a tf.data pipeline over files of raw pixels, one for each image, in shuffled order."""
    import tensorflow as tf

    write_once(folder / "raw", _write_raw, samples)
    columns = [[f"{folder}/raw/{side}/{row:06d}" for row in range(samples)] for side in SIDES]

    def image(path: Any) -> Any:
        return tf.reshape(tf.io.decode_raw(tf.io.read_file(path), tf.uint8), SHAPE)

    def sample(left: Any, right: Any, row: Any) -> Any:
        return image(left), image(right), row

    confine(_LIMIT_BYTES)

    def epoch(number: int) -> Iterator[Batch]:
        dataset = tf.data.Dataset.from_tensor_slices((*columns, np.arange(samples)))
        dataset = dataset.shuffle(samples, seed=number)
        dataset = dataset.map(sample, num_parallel_calls=tf.data.AUTOTUNE)
        dataset = dataset.batch(BATCH_SIZE, num_parallel_calls=tf.data.AUTOTUNE)
        yield from dataset.prefetch(tf.data.AUTOTUNE)

    return epoch


def _write_raw(part: Path, samples: int) -> None:
    """Write left/ID and right/ID, decoded and resized as multifeed does it."""
    distinct = min(samples, _DISTINCT)
    sides = [[f"{part.parent}/{side}/{row:06d}.jpg" for row in range(distinct)] for side in SIDES]
    numbers = np.arange(distinct, dtype=np.float32)[:, None]
    for side in SIDES:
        (part / side).mkdir()
    for left, right, batch in cold.bare_loop(*sides, numbers)(0):
        for side, images in zip(SIDES, (left, right), strict=True):
            for number, pixels in zip(batch[:, 0], images, strict=True):
                for row in range(int(number), samples, _DISTINCT):
                    pixels.tofile(part / side / f"{row:06d}")


def rows(batch: Batch) -> list[Any]:
    """Return the row numbers, which come last."""
    return [np.asarray(batch[-1]).reshape(-1)]


_BOUND = (
    f"the page cache held to {_LIMIT_BYTES / 2**20:,.0f} MiB by a memory cgroup"
    if can_confine()
    else "nothing bounds the page cache during a round, as no memory cgroup can be made here"
)
JOB = Job(
    about="two decoded images of 224x224x3 per sample on disk, 2.1 GB, shuffled, batches of 64; all "
    f"files are dropped from the page cache before each round, and {_BOUND}",
    samples=7_000,
    quick=64,
    prepare=write,
    contestants={
        "multifeed": multifeed,
        "multifeed_block": partial(multifeed, shuffle="block"),
        "sequential_read": sequential_read,
        "tfdata_files": tfdata_files,
    },
    limits=[
        Limit(figure="larger than the page cache ÷ reading in file order", over=("sequential_read",)),
        Limit(
            figure='larger than the page cache, shuffle="block" ÷ reading in file order',
            of="multifeed_block",
            over=("sequential_read",),
        ),
        Limit(
            figure='larger than the page cache, shuffle="block" ÷ shuffle=True',
            of="multifeed_block",
            over=("multifeed",),
        ),
        Limit(figure="larger than the page cache ÷ tf.data", over=("tfdata_files",)),
        Limit(
            figure='larger than the page cache, shuffle="block" ÷ tf.data',
            of="multifeed_block",
            over=("tfdata_files",),
        ),
    ],
    row_bytes=len(SIDES) * int(np.prod(SHAPE)),
    before=evict,
    rows=rows,
)
