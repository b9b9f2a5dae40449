"""Write photographs of surfaces, a few of them with a flaw, and a table.

The surfaces are scikit-image's photographs of brick, grass and gravel; the flaws are drawn on them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.csv
from PIL import Image
from skimage import data

SIZE = 32  # pixels of a photograph, both ways
KINDS = {"none": 0.9, "hole": 0.06, "scratch": 0.04}

_MM_PER_PIXEL_AT_1_M = 2.0


def write_surfaces(folder: Path, count: int, seed: int = 0) -> None:
    """Write ``photographs/{id}.png`` and ``surfaces.csv`` into `folder`.

    Args:
        folder: Where to write; photographs of an earlier run are removed.
        count: How many; the shares of `KINDS` have a flaw of that kind.
        seed: Decides where they are cut, and the flaws.
    """
    shutil.rmtree(folder / "photographs", ignore_errors=True)
    (folder / "photographs").mkdir(parents=True)
    rng = np.random.default_rng(seed)
    surfaces = {name: getattr(data, name)() for name in ("brick", "grass", "gravel")}
    kinds = np.repeat(list(KINDS), np.ceil(np.array(list(KINDS.values())) * count).astype(int))[:count]
    rows = []
    for number, kind in enumerate(rng.permutation(kinds).tolist()):
        surface = list(surfaces)[number % len(surfaces)]
        y, x = rng.integers(512 - SIZE, size=2)
        photograph = surfaces[surface][y : y + SIZE, x : x + SIZE].copy()
        length_px, distance_m = rng.uniform(8, 20), rng.uniform(0.5, 2.0)
        if kind != "none":
            _draw_flaw(photograph, kind, length_px, rng)
        size_mm = length_px * distance_m * _MM_PER_PIXEL_AT_1_M if kind != "none" else None
        Image.fromarray(photograph).save(folder / f"photographs/{number:05d}.png")
        rows.append(
            {
                "id": f"{number:05d}",
                "distance_m": round(distance_m, 3),
                "flaw": kind,
                "size_mm": size_mm,
                # A photograph with a flaw is a find; of the others, those of brick matter most here.
                "interest": 4.0 if size_mm else 2.0 if surface == "brick" else 1.0,
            }
        )
    pa.csv.write_csv(pa.Table.from_pylist(rows), folder / "surfaces.csv")


def _draw_flaw(photograph: np.ndarray, kind: str, length_px: float, rng: np.random.Generator) -> None:
    """Draw a dark hole, or a bright scratch, as long as that, somewhere in the middle."""
    centre, angle = SIZE / 2 + rng.uniform(-4, 4, 2), rng.uniform(0, 180)
    width = 0.6 * length_px if kind == "hole" else 1.0
    drawn = np.zeros((SIZE, SIZE), np.uint8)
    cv2.ellipse(drawn, (tuple(centre), (length_px, width), angle), 255, -1)
    share = cv2.GaussianBlur(drawn, (3, 3), 0) / 255 * 0.8
    photograph[:] = photograph * (1 - share) + share * (0 if kind == "hole" else 255)
