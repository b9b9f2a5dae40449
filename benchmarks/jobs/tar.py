"""The same JPEGs in tar shards and as loose files, read by multifeed, and in shards by WebDataset."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from data import read_samples, write_samples
from job import BATCH_SIZE, WORKERS, Batch, Epoch, Job, Limit

from . import cold
from .cold_peers import SIZE

_SHARD_ROWS = 250
_SHUFFLE_ROWS = 1_000


def write_shards(folder: Path, samples: int) -> None:
    """Write the samples of the cold job, and the same once more as shards."""
    write_samples(folder, samples)
    (folder / "shards").mkdir()
    left, right, _ = read_samples(folder)
    for start in range(0, samples, _SHARD_ROWS):
        with tarfile.open(folder / f"shards/{start // _SHARD_ROWS:03d}.tar", "w") as archive:
            for row in range(start, min(start + _SHARD_ROWS, samples)):
                content = {
                    "left.jpg": Path(left[row]).read_bytes(),
                    "right.jpg": Path(right[row]).read_bytes(),
                    "cls": str(row).encode(),
                }
                for ending, data in content.items():
                    member = tarfile.TarInfo(f"{row:06d}.{ending}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))


def _feed(rows: Any, left: str, right: str) -> Epoch:
    import multifeed as mf

    inputs = {
        "left": mf.Image(left, size=SIZE),
        "right": mf.Image(right, size=SIZE),
        "row": mf.Numeric("cls"),
    }
    data = mf.Dataset(rows, inputs=inputs)

    def epoch(number: int) -> Iterator[Batch]:
        with mf.Feed(data, BATCH_SIZE, shuffle=True, seed=number, workers=WORKERS) as feed:
            for (batch,) in feed:
                yield batch["left"], batch["right"], batch["row"]

    return epoch


def multifeed(folder: Path, samples: int) -> Epoch:
    """Set up a feed over the shards, in any order of rows."""
    import multifeed as mf

    return _feed(mf.tar(f"{folder}/shards/*.tar", index=folder / "index"), "left.jpg", "right.jpg")


def multifeed_files(folder: Path, samples: int) -> Epoch:
    """Set up a feed over the loose files."""
    left, right, _ = read_samples(folder)
    return _feed({"left": left, "right": right, "cls": np.arange(samples)}, "left", "right")


def webdataset(folder: Path, samples: int) -> Epoch:
    """Set up WebDataset in two processes: shards in random order, rows within a buffer."""
    import cv2
    import webdataset as wds

    cv2.setNumThreads(1)
    shards = sorted(map(str, (folder / "shards").iterdir()))

    def image(data: bytes) -> np.ndarray:
        return cv2.resize(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB), SIZE)

    def epoch(number: int) -> Iterator[Batch]:
        dataset = wds.WebDataset(shards, shardshuffle=len(shards), seed=number, detshuffle=True)
        dataset = dataset.shuffle(_SHUFFLE_ROWS, seed=number)
        dataset = dataset.to_tuple("left.jpg", "right.jpg", "cls").map_tuple(image, image, int)
        yield from wds.WebLoader(dataset.batched(BATCH_SIZE), batch_size=None, num_workers=WORKERS)

    return epoch


def rows(batch: Batch) -> list[Any]:
    """Return the row numbers."""
    return [np.asarray(batch[2]).ravel()]


JOB = Job(
    about="two JPEGs of 500x375 per sample in tar shards of 250 samples, decoded every epoch to "
    "224x224, shuffled, batches of 64",
    samples=2_000,
    quick=64,
    prepare=write_shards,
    contestants={
        "multifeed": multifeed,
        "multifeed_files": multifeed_files,
        "webdataset": webdataset,
    },
    limits=[
        Limit(figure="tar shards ÷ loose files", over=("multifeed_files",), least=0.95),
        Limit(figure="tar shards ÷ WebDataset", over=("webdataset",), least=1.5),
    ],
    rows=rows,
    images=cold.images,
    reference="multifeed_files",
)
