"""Write scans of livers as NIfTI files, their label volumes, and a table.

There is no patient behind them. The tissue and two kinds of lesions are simulated: a carcinoma is
brighter than the liver soon after a contrast agent was given, and darker minutes later; of a
haemangioma, which fills slowly, it is the other way round. So nobody can tell them apart who does not
know the delay.
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import nibabel
import numpy as np

KINDS = ("liver", "carcinoma", "haemangioma")  # what the labels 0, 1 and 2 mean
EXTENT = np.array([96.0, 96.0, 64.0])  # mm: right, front, top

_LESIONS = 12
_LIVER = 100.0  # Hounsfield units
_CONTRAST = 45.0
_NOISE = 10.0


def write_scans(folder: Path, count: int, seed: int = 0) -> None:
    """Write ``scans/{id}.nii``, ``labels/{id}.nii`` and ``patients.csv`` into `folder`.

    No two scans need to have one size of voxels, nor to be stored in the same directions.

    Args:
        folder: Where to write; what was there before is removed.
        count: Number of scans.
        seed: Decides where the lesions are, and how they were scanned.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for kind in ("scans", "labels"):
        (folder / kind).mkdir(parents=True)
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        name = f"p{number:03d}"
        is_early = bool(rng.integers(2))
        delay_s = rng.uniform(25, 45) if is_early else rng.uniform(150, 300)
        spacing = rng.uniform((1.6, 1.6, 2.0), (2.4, 2.4, 3.2))
        labels = _labels(spacing, rng)
        signs = np.array([0, 1, -1]) * (1 if is_early else -1)
        scan = _LIVER + _CONTRAST * signs[labels] + rng.normal(0, _NOISE, labels.shape)
        mirrored = rng.integers(2, size=3).astype(bool)
        _write(folder / "scans" / f"{name}.nii", scan.astype(np.int16), spacing, mirrored)
        _write(folder / "labels" / f"{name}.nii", labels, spacing, mirrored)
        rows.append((name, round(delay_s)))
    rng.shuffle(rows)
    with (folder / "patients.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("id", "delay_s"))
        table.writerows(rows)


def _labels(spacing: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a volume of balls of both kinds, ``uint8[right, front, top]``."""
    counts = np.round(EXTENT / spacing).astype(int)
    places = np.stack(np.meshgrid(*(np.arange(n) for n in counts), indexing="ij"), axis=-1) * spacing
    labels = np.zeros(counts, np.uint8)
    for lesion in range(_LESIONS):
        middle, radius = rng.uniform(0, EXTENT), rng.uniform(7, 13)
        labels[((places - middle) ** 2).sum(axis=-1) < radius**2] = 1 + lesion % 2
    return labels


def _write(file: Path, voxels: np.ndarray, spacing: np.ndarray, mirrored: np.ndarray) -> None:
    """Write a volume, stored towards the left, the back or the bottom where it is mirrored."""
    axes = tuple(np.flatnonzero(mirrored))
    affine = np.diag([*np.where(mirrored, -spacing, spacing), 1.0])
    affine[:3, 3] = np.where(mirrored, spacing * (np.array(voxels.shape) - 1), 0.0)
    nibabel.save(nibabel.Nifti1Image(np.flip(voxels, axes), affine), file)
