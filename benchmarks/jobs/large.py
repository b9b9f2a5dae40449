"""Photographs of 12 megapixels, decoded every epoch to 224x224: where scaled decoding tells."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from data import LARGE, large_photograph
from job import WORKERS, Batch, Epoch, Job, Limit

SIZE = (224, 224)
BATCH_SIZE = 8
_FULL = ("torch_opencv", "torch_pillow", "grain_opencv", "tfdata")


def write(folder: Path, samples: int) -> None:
    """Write photo/ID.jpg, 3 to 5 MB each, and table.csv: id and row."""

    def write_one(row: int) -> None:
        large_photograph(row).save(folder / "photo" / f"{row:06d}.jpg", quality=92)

    (folder / "photo").mkdir()
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(write_one, range(samples)))
    lines = ["id,row", *(f"{row:06d},{row}" for row in range(samples))]
    (folder / "table.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def read(folder: Path, samples: int) -> tuple[list[str], np.ndarray]:
    """Return the paths and the row numbers (float32)."""
    paths = [str(folder / "photo" / f"{row:06d}.jpg") for row in range(samples)]
    return paths, np.arange(samples, dtype=np.float32)


def multifeed(folder: Path, samples: int) -> Epoch:
    """Set up a feed over a path pattern and a CSV file."""
    import multifeed as mf

    rows = mf.align("id", photo=f"{folder}/photo/{{id}}.jpg", table=f"{folder}/table.csv")
    inputs = {"photo": mf.Image("photo", size=SIZE), "row": mf.Numeric("row")}
    data = mf.Dataset(rows, key="id", inputs=inputs)

    def epoch(number: int) -> Iterator[Batch]:
        with mf.Feed(data, BATCH_SIZE, shuffle=True, seed=number, workers=WORKERS) as feed:
            for (batch,) in feed:
                yield batch["photo"], batch["row"]

    return epoch


def two_threads(folder: Path, samples: int, *, eighths: int = 1) -> Epoch:
    """Set up the limit: what multifeed does to a file, with nothing of a loader around it.

    With 8 eighths the file is decoded whole, as quickly as that can be done: no loader that does so can
    be faster, and what it takes beside the other is all that scaled decoding can gain.
    """
    import cv2
    import simplejpeg

    cv2.setNumThreads(1)
    paths, numbers = read(folder, samples)
    height, width = LARGE[1] * eighths // 8, LARGE[0] * eighths // 8
    own = threading.local()

    def start_thread() -> None:
        own.decoded = np.empty((height, width, 3), np.uint8)

    def fill(images: np.ndarray, slot: int, path: str) -> None:
        decoded = simplejpeg.decode_jpeg(
            Path(path).read_bytes(),
            fastdct=True,
            fastupsample=True,
            min_height=height,
            min_width=width,
            min_factor=1 if eighths == 8 else 2,
            buffer=own.decoded,
        )
        if eighths == 8:
            decoded = cv2.resize(decoded, (500, 375), interpolation=cv2.INTER_AREA)
        cv2.resize(cv2.GaussianBlur(decoded, (3, 1), 0), SIZE, dst=images[slot])

    def epoch(number: int) -> Iterator[Batch]:
        order = np.random.default_rng(number).permutation(samples)
        images = np.empty((samples, *SIZE, 3), np.uint8)
        with ThreadPoolExecutor(WORKERS, initializer=start_thread) as pool:
            done = [pool.submit(fill, images, slot, paths[row]) for slot, row in enumerate(order)]
            for start in range(0, samples, BATCH_SIZE):
                for one in done[start : start + BATCH_SIZE]:
                    one.result()
                slots = slice(start, start + BATCH_SIZE)
                yield images[slots], numbers[order[slots]]

    return epoch


class Photographs:
    """A map-style data set, as PyTorch and Grain want it.

    Args:
        folder: Where the photographs are.
        samples: How many.
        image: Path -> the decoded and resized image.
    """

    def __init__(self, folder: Path, samples: int, image: Callable[[str], np.ndarray]) -> None:
        self.paths, self.numbers = read(folder, samples)
        self.image = image

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[np.ndarray, np.float32]:
        return self.image(self.paths[row]), self.numbers[row]


def opencv(path: str) -> np.ndarray:
    """Decode whole; average, so that no pixel is skipped."""
    import cv2

    decoded = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR_RGB)
    return cv2.resize(decoded, SIZE, interpolation=cv2.INTER_AREA)


def opencv_reduced(path: str) -> np.ndarray:
    """Decode at an eighth, which OpenCV can do too if it is told."""
    import cv2

    decoded = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_REDUCED_COLOR_8)
    small = cv2.resize(decoded, SIZE, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_BGR2RGB)


def pillow(path: str) -> np.ndarray:
    """Decode whole, resize with Pillow's antialiased filter: the reference for the pixels."""
    return _pillow(path, draft=False)


def pillow_draft(path: str) -> np.ndarray:
    """Decode at an eighth: Pillow's `draft`."""
    return _pillow(path, draft=True)


def _pillow(path: str, draft: bool) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(Path(path).read_bytes())) as image:
        if draft:
            image.draft("RGB", SIZE)
        return np.array(image.convert("RGB").resize(SIZE, Image.Resampling.BILINEAR))


def torch(image: Callable[[str], np.ndarray], folder: Path, samples: int) -> Epoch:
    """Set up a DataLoader with two worker processes."""
    import cv2
    import torch

    cv2.setNumThreads(1)
    photographs = Photographs(folder, samples, image)

    def epoch(number: int) -> Iterator[Batch]:
        torch.manual_seed(number)
        yield from torch.utils.data.DataLoader(
            photographs, batch_size=BATCH_SIZE, shuffle=True, num_workers=WORKERS
        )

    return epoch


def grain(image: Callable[[str], np.ndarray], folder: Path, samples: int) -> Epoch:
    """Set up a Grain pipeline that reads and decodes in threads."""
    import cv2
    import grain

    cv2.setNumThreads(1)
    photographs = Photographs(folder, samples, image)
    options = grain.ReadOptions(num_threads=WORKERS, prefetch_buffer_size=2 * BATCH_SIZE)

    def epoch(number: int) -> Iterator[Batch]:
        dataset = grain.MapDataset.source(photographs).shuffle(seed=number)
        yield from dataset.to_iter_dataset(options).batch(BATCH_SIZE)

    return epoch


def tfdata(folder: Path, samples: int, *, method: str = "area", ratio: int = 1) -> Epoch:
    """Set up a tf.data pipeline: fast decoding, every degree of parallelism tuned by itself.

    The method "area" is the quickest of those by which every pixel counts; "bilinear" skips most.
    """
    import tensorflow as tf

    columns = read(folder, samples)

    def sample(path: Any, row: Any) -> Any:
        jpeg = tf.io.read_file(path)
        decoded = tf.io.decode_jpeg(jpeg, channels=3, ratio=ratio, dct_method="INTEGER_FAST")
        return tf.cast(tf.image.resize(decoded, SIZE, method), tf.uint8), row

    def epoch(number: int) -> Iterator[Batch]:
        dataset = tf.data.Dataset.from_tensor_slices(columns).shuffle(samples, seed=number)
        dataset = dataset.map(sample, num_parallel_calls=tf.data.AUTOTUNE)
        dataset = dataset.batch(BATCH_SIZE, num_parallel_calls=tf.data.AUTOTUNE)
        yield from dataset.prefetch(tf.data.AUTOTUNE)

    return epoch


def rows(batch: Batch) -> list[Any]:
    """Return the row numbers."""
    return [np.asarray(batch[1]).reshape(-1)]


def images(batch: Batch) -> tuple[Any, ...]:
    """Return the image."""
    return batch[:1]


JOB = Job(
    about="a JPEG of 4000x3000, 3 to 5 MB, per sample, decoded every epoch to 224x224, shuffled, "
    "batches of 8; `_draft`, `_ratio` and `_reduced` decode at an eighth, as multifeed does by itself",
    samples=96,
    quick=4,
    prepare=write,
    contestants={
        "multifeed": multifeed,
        "two_threads": two_threads,
        "two_threads_whole": partial(two_threads, eighths=8),
        "torch_opencv": partial(torch, opencv),
        "torch_pillow": partial(torch, pillow),
        "grain_opencv": partial(grain, opencv),
        "tfdata": tfdata,
        "tfdata_plain": partial(tfdata, method="bilinear"),
        "torch_pillow_draft": partial(torch, pillow_draft),
        "grain_opencv_reduced": partial(grain, opencv_reduced),
        "tfdata_ratio": partial(tfdata, ratio=8),
    },
    limits=[
        Limit(
            figure="12-megapixel photographs ÷ best peer without scaled decoding",
            over=_FULL,
            least=2.5,
        ),
        Limit(
            figure="12-megapixel photographs ÷ best of PyTorch and Grain without scaled decoding",
            over=_FULL[:-1],
        ),
        Limit(
            figure="12-megapixel photographs ÷ best peer with scaled decoding",
            over=("torch_pillow_draft", "grain_opencv_reduced", "tfdata_ratio"),
        ),
    ],
    batch_size=BATCH_SIZE,
    rows=rows,
    images=images,
    reference="torch_pillow",
)
