"""Write photographs of many spots of three surfaces, each seen several times.

The surfaces are scikit-image's photographs of brick, grass and gravel. A spot is seen eight times:
shifted, turned and scaled a little, in another light, with noise.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from skimage import data

SIZE = 32  # pixels of a photograph, both ways
VIEWS = 8

_SURFACES = ("brick", "grass", "gravel")
_GRID, _FIRST, _STEP = 13, 32, 37  # spots along each side of a surface; pixels


def write_views(folder: Path, spots: int, seed: int = 0) -> None:
    """Write ``{spot}/{spot}_{number}.jpg`` into `folder`.

    Args:
        folder: Where to write; photographs of an earlier run are removed.
        spots: How many spots, at most 507.
        seed: Decides how they are seen.
    """
    shutil.rmtree(folder, ignore_errors=True)
    rng = np.random.default_rng(seed)
    photographs = [getattr(data, name)() for name in _SURFACES]
    for spot in range(spots):
        surface, place = spot % len(_SURFACES), spot // len(_SURFACES)
        centre = _FIRST + _STEP * np.array(divmod(place, _GRID))
        name = f"{_SURFACES[surface]}{place:03d}"
        (folder / name).mkdir(parents=True)
        for number in range(VIEWS):
            seen = _see(photographs[surface], centre, rng)
            Image.fromarray(seen).save(folder / name / f"{name}_{number}.jpg", quality=90)


def _see(photograph: np.ndarray, centre: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return how a spot looks this time, ``uint8[SIZE, SIZE]``."""
    matrix = cv2.getRotationMatrix2D((0, 0), rng.uniform(-10, 10), rng.uniform(0.95, 1.05))
    matrix[:, 2] = SIZE / 2 - matrix[:, :2] @ (centre[::-1] + rng.uniform(-2, 2, 2))
    seen = cv2.warpAffine(photograph, matrix, (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT).astype(float)
    light = rng.uniform(0.8, 1.2) + rng.uniform(-0.2, 0.2) * np.linspace(-1, 1, SIZE)
    return np.clip(seen * light + rng.normal(0, 8, seen.shape), 0, 255).astype(np.uint8)
