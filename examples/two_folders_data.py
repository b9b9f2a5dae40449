"""Write pairs of photographs of one view, taken before and after: in half of them something differs.

The views are cut from photographs that scikit-image brings. What differs is drawn: a disc of another
photograph, with a soft edge, in either of the two pictures.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data as photographs

VIEW = 64  # pixels, both ways
PLACES = 4  # of each photograph, side by side

_SOURCES = ("astronaut", "chelsea", "coffee", "immunohistochemistry", "rocket")
_RADIUS = (9, 15)  # pixels
_DIFFERS = 30  # levels of 255, on the mean of the disc


def write_pairs(folder: Path, count: int, seed: int = 0) -> None:
    """Write ``before/{id}.jpg``, ``after/{id}.png`` and ``pairs.csv`` into `folder`.

    The second camera has more pixels, no colours, and another exposure each time.

    Args:
        folder: Where to write; what an earlier run has left is replaced.
        count: Number of pairs.
        seed: Decides which views are cut, and what differs.
    """
    rng = np.random.default_rng(seed)
    photos = [getattr(photographs, name)() for name in _SOURCES]
    for name in ("before", "after"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(parents=True)
    rows = []
    for number in range(count):
        source, place = number % len(photos), number // len(photos) % PLACES
        before, after = _views(photos, source, place, is_changed := bool(rng.integers(2)), rng)
        key = f"v{number:05d}"
        Image.fromarray(before).save(folder / f"before/{key}.jpg", quality=92)
        exposed = after * rng.uniform(0.8, 1.2) + rng.normal(0, 3, after.shape)
        second = Image.fromarray(np.clip(exposed, 0, 255).astype(np.uint8)).convert("L")
        second.resize((VIEW * 3 // 2, VIEW * 3 // 2)).save(folder / f"after/{key}.png")
        rows.append((key, f"{_SOURCES[source]} {place}", "changed" if is_changed else "same"))
    # Not in the order of the file names: what belongs together is found by key, not by position.
    rng.shuffle(rows)
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "place", "change"), *rows])


def _views(
    photos: Sequence[np.ndarray], source: int, place: int, is_changed: bool, rng: np.random.Generator
) -> list[np.ndarray]:
    """Return a view of a place, twice; one of them with a disc of another photograph if changed."""
    width = photos[source].shape[1] // PLACES
    view = _cut(photos[source][:, place * width : (place + 1) * width], rng)
    views = [view, view]
    while is_changed:
        other = _cut(photos[(source + rng.integers(1, len(photos))) % len(photos)], rng)
        share = _disc(rng)[..., None]
        if (share * np.abs(other.mean(-1) - view.mean(-1))[..., None]).sum() > _DIFFERS * share.sum():
            # In either: what looks pasted tells nothing of which picture has it.
            views[rng.integers(2)] = (view + share * (other.astype(float) - view)).astype(np.uint8)
            break
    return views


def _cut(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    top, left = (rng.integers(0, side - VIEW + 1) for side in photo.shape[:2])
    return photo[top : top + VIEW, left : left + VIEW]


def _disc(rng: np.random.Generator) -> np.ndarray:
    """Return a disc somewhere in the view, 1 inside and 0 outside, with an edge of 4 pixels."""
    radius = rng.uniform(*_RADIUS)
    y, x = rng.uniform(radius, VIEW - radius, 2)
    rows, columns = np.ogrid[:VIEW, :VIEW]
    return np.clip((radius - np.hypot(rows - y, columns - x)) / 4 + 0.5, 0, 1)
