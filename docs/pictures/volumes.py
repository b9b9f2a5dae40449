"""Draw the volumes of docs/guides/augmentation.md: slices of a scan and of its labels, three times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

import multifeed as mf

HERE = Path(__file__).parent.resolve()
SIDE = 96
# Half axes, centre, value and label of what lies in each other: (depth, height, width), from -1 to 1.
BODIES = [
    ((0.80, 0.90, 0.68), (0.0, 0.0, 0.0), 230, 1),
    ((0.74, 0.84, 0.62), (0.0, 0.0, 0.0), 110, 0),
    ((0.36, 0.40, 0.16), (0.1, -0.1, -0.24), 30, 2),
    ((0.36, 0.30, 0.13), (0.1, -0.1, 0.26), 30, 2),
    ((0.16, 0.18, 0.18), (-0.4, 0.4, 0.0), 180, 3),
]
COLOURS = np.array([[20, 20, 30], [90, 120, 200], [230, 170, 60], [210, 70, 90]], np.uint8)


def phantom() -> tuple[np.ndarray, np.ndarray]:
    """Return a scan, and labels of half its size, both ``uint8[depth, height, width, 1]``."""
    places = np.stack(np.meshgrid(*[np.linspace(-1, 1, SIDE)] * 3, indexing="ij"), 3)
    scan, labels = np.zeros((2, SIDE, SIDE, SIDE), np.uint8)
    for axes, centre, value, label in BODIES:
        inside = (((places - centre) / axes) ** 2).sum(3) < 1
        scan[inside], labels[inside] = value, label
    grain = np.random.default_rng(0).normal(0, 8, scan.shape)
    scan = (scan + grain).clip(0, 255).astype(np.uint8)
    return scan[..., None], labels[::2, ::2, ::2, None]


def slices(volume: np.ndarray, scale: int) -> np.ndarray:
    """Return the middle slices across each axis, side by side."""
    middle = [volume.take(volume.shape[axis] // 2, axis) for axis in range(3)]
    return np.concatenate([each.repeat(scale, 0).repeat(scale, 1) for each in middle], 1)


def main() -> None:
    """Write the picture beside this file."""
    scan, labels = phantom()
    both = ["scan", "labels"]
    data = mf.Dataset(
        {"scan": scan[None].repeat(3, 0), "labels": labels[None].repeat(3, 0)},
        inputs=mf.Array("scan"),
        targets=mf.Array("labels", interpolation="nearest"),
    )
    augment = [
        mf.RandomAffine3D(both, rotation=25, shift=0.1, zoom=0.2, fill="constant"),
        mf.RandomFlip3D(both, along=("height", "width")),
        mf.RandomColor("scan", brightness=0.3),
    ]
    scans, targets = mf.Feed(data, 3, seed=1, augment=augment).batch(0, 0)
    rows = [(scan, labels), *zip(scans, targets, strict=True)]
    pictures = [
        np.concatenate([slices(one, 1).repeat(3, 2), COLOURS[slices(other, 2)[..., 0]]], 1)
        for one, other in rows
    ]
    Image.fromarray(np.concatenate(pictures)).quantize(128).save(HERE / "volumes.png", optimize=True)


if __name__ == "__main__":
    main()
