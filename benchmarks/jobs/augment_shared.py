"""What the contestants of the augmentation jobs share: images, ranges, and draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from data import SIDES, photograph
from job import BATCH_SIZE, Batch

SIZE = (224, 224)
BASE_SIZE = (256, 256)
# Half ranges: degrees; shares of the height and width; the rest around a factor of 1.
ROTATION, SHIFT, ZOOM, BRIGHTNESS = 20.0, 0.2, 0.2, 0.2
# In the first samples the right image is the left one, which shows whether both change alike.
TWINS = 8
# The number of the epoch that is not timed.
CHECK = -1 % 2**31

# The parameters of all slots of an epoch by name, rows first, as `Feed.draws` has them.
Draws = Mapping[str, np.ndarray]
# Round number -> the order of the rows, and the draws of the slots.
Draw = Callable[[int], tuple[np.ndarray, Draws]]
# Round number -> multifeed's feed of it.
MakeFeed = Callable[[int], Any]


def write(folder: Path, samples: int) -> None:
    """Write both images of each sample, as left.npy and right.npy and, larger, *_base.npy."""
    for side, name in enumerate(SIDES):
        for suffix, size in (("", SIZE), ("_base", BASE_SIZE)):
            array = np.lib.format.open_memmap(
                folder / f"{name}{suffix}.npy", mode="w+", dtype=np.uint8, shape=(samples, *size, 3)
            )
            for row in range(samples):
                array[row] = photograph(row, 0 if row < TWINS else side).resize(size[::-1])
            array.flush()


def read(folder: Path, suffix: str = "", mode: Literal["r", "c"] = "r") -> list[np.ndarray]:
    """Open both arrays, memory-mapped."""
    return [np.load(folder / f"{name}{suffix}.npy", mmap_mode=mode) for name in SIDES]


def affine_feed(folder: Path, samples: int) -> MakeFeed:
    """Return what makes a feed of images that are moved, mirrored and brightened."""
    import multifeed as mf

    affine = mf.RandomAffine(SIDES, rotation=ROTATION, shift=SHIFT, zoom=ZOOM, flip="horizontal")
    color = mf.RandomColor(SIDES, brightness=BRIGHTNESS)
    return _make_feed(read(folder), mf.Array, samples, [affine, color])


def crop_feed(folder: Path, samples: int) -> MakeFeed:
    """Return what makes a feed of images that are cut out of larger ones and mirrored."""
    import multifeed as mf

    output = mf.Spec((*SIZE, 3), "uint8")

    class Larger(mf.Array):
        """An array that is larger than what becomes of it: `base_size` of mf.Image, without files."""

        def spec_of(self, columns: Any, learned: Any) -> mf.Spec:
            return output

        def base(self, source: Any, learned: Any) -> Any:
            return replace(super().base(source, learned), spec=output, final=output)

    augment = [mf.RandomCrop(SIDES), mf.RandomFlip(SIDES)]
    return _make_feed(read(folder, "_base"), Larger, samples, augment)


def resized_crop_feed(folder: Path, samples: int) -> MakeFeed:
    """Return what makes a feed of windows that are enlarged and mirrored."""
    import multifeed as mf

    augment = [mf.RandomResizedCrop(SIDES, scale=(0.5, 1)), mf.RandomFlip(SIDES)]
    return _make_feed(read(folder), mf.Array, samples, augment)


def _make_feed(
    arrays: Sequence[np.ndarray], field: Callable[[str], Any], samples: int, augment: Sequence[Any]
) -> MakeFeed:
    """Return a function of a round's number that makes its feed."""
    import multifeed as mf

    columns = dict(zip(SIDES, arrays, strict=True)) | {"row": np.arange(samples)}
    inputs = {side: field(side) for side in SIDES} | {"row": mf.Numeric("row")}
    data = mf.Dataset(columns, inputs=inputs)
    return lambda number: mf.Feed(data, BATCH_SIZE, shuffle=True, seed=number, augment=augment)


def served(feed: Any) -> Iterator[Batch]:
    """Yield the batches of a feed, which is closed at the end."""
    with feed:
        for (batch,) in feed:
            yield batch["left"], batch["right"], batch["row"]


def drawn(samples: int) -> Draw:
    """Return the order and the draws of a round, from NumPy's generator."""

    def draw(number: int) -> tuple[np.ndarray, Draws]:
        random = np.random.default_rng(number)
        order = random.permutation(samples)
        zoom = random.uniform(1 - ZOOM, 1 + ZOOM, samples)
        return order, {
            "rotation": random.uniform(-ROTATION, ROTATION, samples),
            "shift": random.uniform(-SHIFT, SHIFT, (samples, 2)),
            "zoom": np.stack([zoom, zoom], 1),
            "flip": (random.random((samples, 2)) < 0.5) & [False, True],
            "brightness": random.uniform(1 - BRIGHTNESS, 1 + BRIGHTNESS, samples),
            "place": random.random((samples, 2)),
        }

    return draw


def as_multifeed(draw: Draw, feed: MakeFeed) -> Draw:
    """Return what draws as multifeed does in the epoch that is not timed, so pixels can be compared."""

    def compared(number: int) -> tuple[np.ndarray, Draws]:
        if number != CHECK:
            return draw(number)
        with feed(number) as ours:
            steps = range(len(ours))
            order = np.concatenate([ours.rows(0, step) for step in steps])
            every = [ours.draws(0, step) for step in steps]
        # No two transforms of a job name a draw alike.
        merged = [{name: each[name] for each in step for name in each} for step in every]
        return order, {name: np.concatenate([step[name] for step in merged]) for name in merged[0]}

    return compared


def rows(batch: Batch) -> list[Any]:
    """Return the row numbers; raise unless both images of a sample were changed alike."""
    numbers = np.asarray(batch[2]).reshape(-1)
    left, right = (np.asarray(array) for array in batch[:2])
    for array in (left, right):
        if array.shape != (len(numbers), *SIZE, 3) or array.dtype != np.uint8:
            raise ValueError(f"A batch has images {array.dtype}{array.shape}.")
    twins = numbers < TWINS
    if (left[twins] != right[twins]).any():
        raise ValueError("The two images of a sample were not changed alike.")
    return [numbers]


def images(batch: Batch) -> tuple[Any, ...]:
    """Return both images."""
    return batch[:2]
