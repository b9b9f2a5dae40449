"""Photographs and tables for the jobs, written once into a cache folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 500, 375
LARGE = (4000, 3000)
SIDES = ("left", "right")
NUMBERS = [f"n{column:02d}" for column in range(16)]
_FROM_SKIMAGE = [
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
]
_FROM_SKLEARN = ["china.jpg", "flower.jpg"]


def write_once(folder: Path, write: Callable[[Path, int], None], samples: int) -> None:
    """Call `write(folder, samples)` unless an earlier call did so to the end."""
    if folder.exists():
        return
    # A run that was interrupted leaves only this one behind, and never a half data set.
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    write(part, samples)
    part.rename(folder)


@cache
def _originals() -> list[Image.Image]:
    import skimage.data
    import sklearn.datasets

    skimage_folder = Path(skimage.data.__file__).parent
    sklearn_folder = Path(sklearn.datasets.__file__).parent / "images"
    paths = [skimage_folder / name for name in _FROM_SKIMAGE]
    paths += [sklearn_folder / name for name in _FROM_SKLEARN]
    return [Image.open(path).convert("RGB") for path in paths]


def photograph(number: int, side: int) -> Image.Image:
    """Return a crop of 500x375: the same for the same arguments, another for any others."""
    random = np.random.default_rng([number, side])
    original = _originals()[number % len(_originals())]
    height = min(original.height, original.width * HEIGHT / WIDTH) * random.uniform(0.6, 1.0)
    width = height * WIDTH / HEIGHT
    x = random.uniform(0, original.width - width)
    y = random.uniform(0, original.height - height)
    size, box = (WIDTH, HEIGHT), (x, y, x + width, y + height)
    crop = np.asarray(original.resize(size, Image.Resampling.LANCZOS, box), dtype=np.float32)
    if random.random() < 0.5:
        crop = crop[:, ::-1]
    # The originals were compressed or scaled before; a little grain gives the crops the 95 KB that
    # a photograph of this size straight from a camera has at quality 95.
    grain = random.normal(0.0, random.uniform(0.0, 6.0), (HEIGHT, WIDTH, 1))
    return Image.fromarray((crop + grain).clip(0, 255).astype(np.uint8))


def large_photograph(number: int) -> Image.Image:
    """Return a photograph of 4000x3000: the same for the same argument, another for any other.

    Four crops side by side, enlarged, with the grain that a sensor adds: at quality 92 it has the 3 to
    5 MB that a camera writes.
    """
    random = np.random.default_rng([number, len(SIDES)])
    whole = Image.new("RGB", LARGE)
    width, height = LARGE[0] // 2, LARGE[1] // 2
    for part in range(4):
        crop = photograph(4 * number + part, len(SIDES)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        whole.paste(crop, (part % 2 * width, part // 2 * height))
    grain = random.normal(0.0, random.uniform(4.0, 7.0), (LARGE[1], LARGE[0], 1)).astype(np.float32)
    return Image.fromarray((np.asarray(whole) + grain).clip(0, 255).astype(np.uint8))


def write_samples(folder: Path, samples: int) -> None:
    """Write left/ID.jpg, right/ID.jpg and table.csv: id and 16 numbers, the first being the row."""

    def write(row: int) -> None:
        for side, name in enumerate(SIDES):
            photograph(row, side).save(folder / name / f"{row:06d}.jpg", quality=95)

    _originals()
    for name in SIDES:
        (folder / name).mkdir()
    with ThreadPoolExecutor() as pool:
        list(pool.map(write, range(samples)))
    values = np.random.default_rng(0).normal(size=(samples, len(NUMBERS) - 1))
    lines = [",".join(["id", *NUMBERS])]
    for row in range(samples):
        lines.append(",".join([f"{row:06d}", str(row), *(f"{value:.6f}" for value in values[row])]))
    (folder / "table.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_samples(folder: Path) -> tuple[list[str], list[str], np.ndarray]:
    """Return the left paths, the right paths and the numbers (float32, rows x 16) of a folder."""
    import pyarrow as pa
    import pyarrow.csv

    as_text = pa.csv.ConvertOptions(column_types={"id": pa.string()})
    table = pa.csv.read_csv(folder / "table.csv", convert_options=as_text)
    keys = table["id"].to_pylist()
    left, right = ([str(folder / side / f"{key}.jpg") for key in keys] for side in SIDES)
    numbers = np.stack([table[name].to_numpy() for name in NUMBERS], axis=1)
    return left, right, numbers.astype(np.float32)
