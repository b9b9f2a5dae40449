"""A CT of 128 x 128 x 64 voxels a sample: NIfTI files, and patches of larger ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from job import WORKERS, Batch, Epoch, Job, Limit

SHAPE = (128, 128, 64)
LARGE = (512, 512, 64)
PATCH = (96, 96, 48)
BATCH_SIZE = 4


def write(shape: tuple[int, int, int], suffix: str, folder: Path, samples: int) -> None:
    """Write ID.nii or ID.nii.gz, stored as a scanner does: towards the left and the back."""
    import nibabel

    affine = np.diag([-0.8, -0.8, 2.5, 1.0])
    grid = np.meshgrid(*(np.linspace(-1, 1, count, dtype=np.float32) for count in shape), indexing="ij")
    body = np.where(sum(axis**2 for axis in grid) < 0.8, 40.0, -1000.0)
    for row in range(samples):
        noise = np.random.default_rng(row).normal(0, 12, shape)
        # The first voxel tells the row: those of its corner are alike, for whatever is cut out.
        voxels = (body + noise).astype(np.int16)
        voxels[-2:, -2:, :2] = row
        nibabel.save(nibabel.Nifti1Image(voxels, affine), folder / f"{row:06d}{suffix}")


def paths_of(suffix: str, folder: Path, samples: int) -> list[str]:
    """Return the files."""
    return [str(folder / f"{row:06d}{suffix}") for row in range(samples)]


def multifeed(suffix: str, options: dict[str, Any], folder: Path, samples: int) -> Epoch:
    """Set up a feed over files of volumes."""
    import multifeed as mf

    rows: dict[str, Any] = {"scan": paths_of(suffix, folder, samples)}
    if "patch" in options:
        rows |= {f"patch_{axis}": [0] * samples for axis in range(3)}
    data = mf.Dataset(rows, inputs={"scan": mf.Volume("scan", **options)})

    def epoch(number: int) -> Iterator[Batch]:
        with mf.Feed(data, BATCH_SIZE, shuffle=True, seed=number, workers=WORKERS) as feed:
            for (batch,) in feed:
                yield (batch["scan"],)

    return epoch


def two_threads(
    suffix: str,
    load: Callable[[str], np.ndarray],
    shape: tuple[int, int, int],
    folder: Path,
    samples: int,
) -> Epoch:
    """Set up the limit: nibabel in two threads, with nothing of a loader around it."""
    paths = paths_of(suffix, folder, samples)

    def fill(batch: np.ndarray, slot: int, path: str) -> None:
        batch[slot, ..., 0] = load(path)

    def epoch(number: int) -> Iterator[Batch]:
        order = np.random.default_rng(number).permutation(samples)
        buffers = [np.empty((BATCH_SIZE, *shape, 1), np.float32) for _ in range(3)]
        with ThreadPoolExecutor(WORKERS) as pool:
            batches = [order[start : start + BATCH_SIZE] for start in range(0, samples, BATCH_SIZE)]

            def submit(step: int) -> list[Any]:
                rows, buffer = batches[step], buffers[step % 3]
                return [pool.submit(fill, buffer, slot, paths[row]) for slot, row in enumerate(rows)]

            pending = [submit(step) for step in range(min(2, len(batches)))]
            for step, rows in enumerate(batches):
                for each in pending.pop(0):
                    each.result()
                if step + 2 < len(batches):
                    pending.append(submit(step + 2))
                yield (buffers[step % 3][: len(rows)],)

    return epoch


def whole(path: str) -> np.ndarray:
    """Read a volume, turn it and return its voxels."""
    import nibabel

    return nibabel.as_closest_canonical(nibabel.load(path)).get_fdata(
        dtype=np.float32, caching="unchanged"
    )


def patch(path: str) -> np.ndarray:
    """Read a corner of a volume, as nibabel slices files, and turn it."""
    import nibabel

    first, second, third = PATCH
    part = nibabel.load(path).dataobj[-first:, -second:, :third]
    return part[::-1, ::-1]


def rows(batch: Batch) -> list[Any]:
    """Return the row numbers: the first voxel of each volume."""
    return [np.asarray(batch[0])[:, 0, 0, 0, 0]]


def job(
    about: str,
    suffix: str,
    stored: tuple[int, int, int],
    read: Callable[[str], np.ndarray],
    options: dict[str, Any],
    figure: str,
    samples: int,
) -> Job:
    """Return a job of one kind of file."""
    shape = options.get("patch", stored)
    return Job(
        about=about,
        samples=samples,
        quick=4,
        prepare=partial(write, stored, suffix),
        contestants={
            "multifeed": partial(multifeed, suffix, options),
            "two_threads": partial(two_threads, suffix, read, shape),
        },
        limits=[Limit(figure=figure, over=("two_threads",), least=0.9)],
        batch_size=BATCH_SIZE,
        rows=rows,
        reference="two_threads",
    )


PLAIN = job(
    "a .nii of 128x128x64 int16 a sample, turned to RAS, batches of 4",
    ".nii",
    SHAPE,
    whole,
    {"size": SHAPE},
    "volume ÷ nibabel in two threads",
    160,
)
PACKED = job(
    "a .nii.gz of 128x128x64 int16 a sample, turned to RAS, batches of 4",
    ".nii.gz",
    SHAPE,
    whole,
    {"size": SHAPE},
    "packed volume ÷ nibabel in two threads",
    160,
)
PATCHES = job(
    "96x96x48 voxels of a .nii of 512x512x64 int16 a sample, turned to RAS, batches of 4",
    ".nii",
    LARGE,
    patch,
    {"patch": PATCH},
    "patch of a volume ÷ nibabel in two threads",
    48,
)
