"""Write recordings of ball bearings, pictures of their housings, and what is known of each.

Nothing of it was measured: recordings and pictures are simulated. How long a bearing lasts follows
ISO 281: the third power of its load rating by its load, at its speed, and less the hotter its grease is.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

SAMPLES = 512  # of a recording
SIZE = 24  # pixels of a picture, both ways

# Load ratings, in kN, of common deep groove ball bearings.
RATINGS = {"6200": 5.1, "6202": 7.8, "6204": 12.7, "6206": 19.5, "6208": 30.7}
_COLDEST, _WARMEST = 20, 120  # degrees Celsius: black and white of a picture


def write_machines(folder: Path, count: int, seed: int = 0) -> None:
    """Write ``{id}/vibration.npy``, ``{id}/heat.png`` and ``{id}/machine.json`` into `folder`.

    Args:
        folder: Where to write; those of an earlier run are removed.
        count: How many machines.
        seed: Decides how they are.
    """
    shutil.rmtree(folder, ignore_errors=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        here = folder / f"m{number:05d}"
        here.mkdir(parents=True)
        bearing = str(rng.choice(list(RATINGS)))
        shake_g, degrees = 10 ** rng.uniform(-1.0, 0.6), rng.uniform(45, 105)
        load_kn, rpm = (
            RATINGS[bearing] * rng.uniform(0.05, 0.2),
            int(rng.choice([750, 1000, 1500, 3000])),
        )
        np.save(here / "vibration.npy", _record(shake_g, rpm, rng))
        Image.fromarray(_picture(degrees, rng)).save(here / "heat.png")
        # What shakes weighs as much more. The life of grease halves for every 15 degrees above 70.
        equivalent_kn = load_kn * (1 + shake_g)
        turns = (RATINGS[bearing] / equivalent_kn) ** 3 * 1e6 * 0.5 ** (max(0, degrees - 70) / 15)
        about = {
            "bearing": {"type": bearing, "maker": str(rng.choice(["north", "south"]))},
            "load_kn": round(load_kn, 3),
            "rpm": rpm,
            "log10_hours": round(float(np.log10(turns / (60 * rpm))), 4),
        }
        (here / "machine.json").write_text(json.dumps(about), "utf-8")


def _record(shake_g: float, rpm: int, rng: np.random.Generator) -> np.ndarray:
    """Return accelerations at 1 kHz, ``float32[SAMPLES, 1]``, in g: an imbalance, and noise."""
    angle = 2 * np.pi * rpm / 60 / 1_000 * np.arange(SAMPLES) + rng.uniform(0, 2 * np.pi)
    recorded = shake_g * np.sqrt(2) * np.sin(angle) + rng.normal(0, 0.05, SAMPLES)
    return recorded.astype(np.float32)[:, None]


def _picture(degrees: float, rng: np.random.Generator) -> np.ndarray:
    """Return what an infrared camera sees, ``uint8[SIZE, SIZE]``: a hot spot on a cooler housing."""
    y, x = np.mgrid[:SIZE, :SIZE] - rng.uniform(SIZE / 3, SIZE * 2 / 3, (2, 1, 1))
    heat = 25 + (degrees - 25) * np.exp(-(x**2 + y**2) / 60) + rng.normal(0, 1.5, (SIZE, SIZE))
    return np.clip((heat - _COLDEST) / (_WARMEST - _COLDEST) * 255, 0, 255).astype(np.uint8)
