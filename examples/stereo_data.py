"""Write a stereo photograph out as a few thousand pairs of JPEG patches and a table.

The photographs and the disparity (by how many pixels a point has moved to the left in the right
photograph) are scikit-image's `stereo_motorcycle`, from the Middlebury 2014 stereo dataset.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from PIL import Image
from skimage.data import stereo_motorcycle

PATCH = 48  # pixels, both ways
RANGE = 18  # pixels: the disparity that remains is at least 0 and less than this
CLASSES = 6
REGIONS = 8

_HALF = PATCH // 2
_CORE = 4  # pixels on each side of the centre over which the disparity must be known and even
_EVEN = 1.5  # pixels


@dataclass(frozen=True)
class Pair:
    """Two patches, ``uint8[PATCH, PATCH, 3]`` each, and what the table says of them."""

    left: np.ndarray
    right: np.ndarray
    x: int
    y: int
    region: str
    disparity: float

    @property
    def described(self) -> tuple[int, int, str, str, float]:
        """The pair's row of the table, without the key."""
        return self.x, self.y, self.region, self.disparity_class, round(self.disparity, 4)

    @property
    def disparity_class(self) -> str:
        """The range that the disparity lies in, all ranges of one width."""
        step = RANGE // CLASSES
        low = int(self.disparity // step) * step
        return f"{low:02d}-{low + step:02d} px"


def write_patches(folder: Path, count: int, seed: int = 0) -> None:
    """Write ``left/{id}.jpg``, ``right/{id}.jpg`` and ``patches.csv`` into `folder`.

    Args:
        folder: Where to write; patches of an earlier run are replaced.
        count: Number of pairs.
        seed: Decides which patches are cut.
    """
    for side in ("left", "right"):
        (folder / side).mkdir(parents=True, exist_ok=True)
        for old in (folder / side).glob("*.jpg"):
            old.unlink()
    progress = keras.utils.Progbar(count, unit_name="pair")
    rows = []
    for number, pair in enumerate(cut_pairs(count, np.random.default_rng(seed)), 1):
        key = f"{number:05d}"
        Image.fromarray(pair.left).save(folder / "left" / f"{key}.jpg", quality=92)
        Image.fromarray(pair.right).save(folder / "right" / f"{key}.jpg", quality=92)
        rows.append((key, *pair.described))
        progress.update(number)
    # Not in the order of the file names: what belongs together is found by key, not by position.
    rows.sort(key=lambda row: row[-1])
    with (folder / "patches.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "x", "y", "region", "disparity_class", "disparity"))
        writer.writerows(rows)


def cut_pairs(count: int, rng: np.random.Generator) -> Iterator[Pair]:
    """Yield `count` pairs, in turn from each region.

    The regions are bands of rows and no patch crosses a border. Points move only sideways between
    the photographs, so that two regions share no pixel in either of them.
    """
    left, right, disparity = stereo_motorcycle()
    height, width = disparity.shape
    band = height // REGIONS
    nearest = int(disparity[np.isfinite(disparity)].max()) + 1
    made = 0
    while made < count:
        region = made % REGIONS
        y = int(rng.integers(region * band + _HALF, (region + 1) * band - _HALF + 1))
        # Far enough from the sides for any offset: refusing some would tell of the disparity.
        x = int(rng.integers(_HALF + nearest, width - _HALF - RANGE + 1))
        full = _disparity_at(disparity, x, y)
        if full is None:
            continue
        # The right patch is cut so far to the left that what remains is uniform in [0, RANGE). It
        # follows neither from one of the images nor from the position, only from both images.
        offset = int(full) - int(rng.integers(RANGE))
        yield Pair(
            left=_cut(left, x, y),
            right=_cut(right, x - offset, y),
            x=x,
            y=y,
            region=f"band {region}",
            disparity=full - offset,
        )
        made += 1


def _disparity_at(disparity: np.ndarray, x: int, y: int) -> float | None:
    """Return the disparity around a point, or None where it is unknown or the depth jumps."""
    core = disparity[y - _CORE : y + _CORE + 1, x - _CORE : x + _CORE + 1]
    if not np.isfinite(core).all() or np.ptp(core) > _EVEN:
        return None
    return float(core[_CORE, _CORE])


def _cut(image: np.ndarray, x: int, y: int) -> np.ndarray:
    return image[y - _HALF : y + _HALF, x - _HALF : x + _HALF]
