"""Volumes in memory, turned, moved, zoomed and mirrored at random: multifeed and its limits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from data import photograph
from job import WORKERS, Batch, Epoch, Job, Limit

from .augment_shared import Draw, as_multifeed

SIDE = 128
BATCH_SIZE = 4
_SIZE = (SIDE, SIDE, SIDE)

# A volume, the matrix from a voxel of the output to one of it, ``float64[3, 4]``, and the output.
Change = Callable[[np.ndarray, np.ndarray, np.ndarray], None]


def write(folder: Path, samples: int) -> None:
    """Write volume.npy: photographs that move from slice to slice."""
    array = np.lib.format.open_memmap(
        folder / "volume.npy", mode="w+", dtype=np.uint8, shape=(samples, *_SIZE, 1)
    )
    for row in range(samples):
        image = np.asarray(photograph(row, 0).convert("L").resize((SIDE, SIDE)))
        for level in range(SIDE):
            array[row, level, :, :, 0] = np.roll(image, level, axis=1)
    array.flush()


def _affine() -> Any:
    import multifeed as mf

    return mf.RandomAffine3D("volume", rotation=15, shift=0.1, zoom=0.1, flip="width")


def _feed(folder: Path, samples: int, augment: Any) -> Callable[[int], Any]:
    """Return a function of a round's number that makes its feed."""
    import cv2

    import multifeed as mf

    # As docs/guides/augmentation.md says, and as all contestants do.
    cv2.setNumThreads(1)
    columns = {"volume": np.load(folder / "volume.npy", mmap_mode="r"), "row": np.arange(samples)}
    data = mf.Dataset(columns, inputs={"volume": mf.Array("volume"), "row": mf.Numeric("row")})
    return lambda number: mf.Feed(data, BATCH_SIZE, shuffle=True, seed=number, augment=augment)


def _served(feed: Callable[[int], Any]) -> Epoch:
    def epoch(number: int) -> Iterator[Batch]:
        with feed(number) as batches:
            for (batch,) in batches:
                yield batch["volume"], batch["row"]

    return epoch


def multifeed(folder: Path, samples: int) -> Epoch:
    """Set up a feed over a memmap."""
    return _served(_feed(folder, samples, _affine()))


def multifeed_in_plane(folder: Path, samples: int) -> Epoch:
    """Set up a feed that turns volumes about their depth alone."""
    import multifeed as mf

    return _served(_feed(folder, samples, mf.RandomAffine3D("volume", rotation=(15, 0, 0), zoom=0.1)))


def multifeed_copied(folder: Path, samples: int) -> Epoch:
    """Set up a feed of quarter turns about the depth and flips, of which no voxel is interpolated."""
    import multifeed as mf

    return _served(_feed(folder, samples, [mf.RandomTurn3D("volume"), mf.RandomFlip3D("volume")]))


def two_threads(folder: Path, samples: int) -> Epoch:
    """Set up the limit: the same warp by two threads into reused buffers, without a loader."""
    import cv2

    from multifeed.augment.warp3d import Warp3D

    cv2.setNumThreads(1)
    return _bare_loop(folder, samples, Warp3D(_SIZE, _SIZE).apply)


def two_threads_scipy(folder: Path, samples: int) -> Epoch:
    """Set up what a loop of one's own would call."""
    from scipy import ndimage

    def change(volume: np.ndarray, matrix: np.ndarray, out: np.ndarray) -> None:
        ndimage.affine_transform(
            volume[..., 0], matrix[:, :3], matrix[:, 3], output=out[..., 0], order=1, mode="nearest"
        )

    return _bare_loop(folder, samples, change)


def _bare_loop(folder: Path, samples: int, change: Change) -> Epoch:
    from multifeed.augment.warp3d import Warp3D

    affine, warp = _affine(), Warp3D(_SIZE, _SIZE)
    volumes = np.asarray(np.load(folder / "volume.npy", mmap_mode="r"))

    def drawn(number: int) -> tuple[np.ndarray, Any]:
        random = np.random.default_rng(number)
        return random.permutation(samples), affine.draw(random.random((samples, affine.count)))

    draw: Draw = as_multifeed(drawn, _feed(folder, samples, affine))

    def epoch(number: int) -> Iterator[Batch]:
        order, draws = draw(number)
        matrices = warp.pixels(affine.matrices(draws, _SIZE, _SIZE))
        # One batch is filled while the other is looked at, so no thread waits at a batch's end.
        buffers = [np.empty((BATCH_SIZE, *_SIZE, 1), np.uint8) for _ in range(2)]
        pending: deque[tuple[Batch, list[Future[None]]]] = deque()
        with ThreadPoolExecutor(WORKERS) as pool:
            for step, first in enumerate(range(0, samples, BATCH_SIZE)):
                rows = order[first : first + BATCH_SIZE]
                batch = buffers[step % 2][: len(rows)]
                futures = [
                    pool.submit(change, volumes[row], matrices[first + place], batch[place])
                    for place, row in enumerate(rows)
                ]
                pending.append(((batch, rows), futures))
                if len(pending) == 2:
                    yield _finished(*pending.popleft())
            while pending:
                yield _finished(*pending.popleft())

    return epoch


def _finished(batch: Batch, futures: list[Future[None]]) -> Batch:
    for future in futures:
        future.result()
    return batch


def rows(batch: Batch) -> list[Any]:
    """Return the row numbers."""
    return [np.asarray(batch[1]).reshape(-1)]


def images(batch: Batch) -> tuple[Any, ...]:
    """Return the volumes."""
    return batch[:1]


JOB = Job(
    about="a volume of 128x128x128 uint8 per sample in a .npy memmap in the page cache; turned about "
    "all axes, shifted, zoomed and mirrored; shuffled, batches of 4",
    samples=100,
    quick=8,
    batch_size=BATCH_SIZE,
    prepare=write,
    contestants={
        "multifeed": multifeed,
        "two_threads": two_threads,
        "two_threads_scipy": two_threads_scipy,
        "multifeed_in_plane": multifeed_in_plane,
        "multifeed_copied": multifeed_copied,
    },
    limits=[
        Limit(figure="volumes ÷ two-thread loop", over=("two_threads",), least=0.9),
        Limit(figure="volumes ÷ two threads of SciPy", over=("two_threads_scipy",), least=0.9),
        Limit(
            figure="volumes turned in the plane ÷ two threads of SciPy",
            of="multifeed_in_plane",
            over=("two_threads_scipy",),
        ),
    ],
    rows=rows,
    images=images,
    reference="two_threads_scipy",
    uncompared=("multifeed_in_plane", "multifeed_copied"),
)
