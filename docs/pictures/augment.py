"""Draw the picture of docs/guides/augmentation.md: photographs, masks, points and boxes, twice."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data as photographs

import multifeed as mf

HERE = Path(__file__).parent.resolve()

# In the photographs at 320 x 240: the spoon and the handle, the eyes, the top and the bottom.
POINTS = np.array([[[193, 170], [118, 158]], [[124, 90], [226, 108]], [[161, 64], [160, 228]]], float)
BOXES = [[[90.0, 8, 222, 185]], [[20.0, 2, 285, 238]], [[150.0, 62, 172, 230]]]


def main() -> None:
    """Write the picture beside this file."""
    names = ["coffee", "chelsea", "rocket"]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name in names:
            photo = Image.fromarray(getattr(photographs, name)()).resize((320, 240))
            photo.save(f"{name}.jpg", quality=95)
            bright = np.asarray(photo.convert("L")) // 86
            Image.fromarray(bright.astype(np.uint8)).save(f"{name}.png")
        mask = mf.Image("mask", 112, base_size=128, color_mode="grayscale", interpolation="nearest")
        data = mf.Dataset(
            {
                "id": names,
                "photo": [f"{name}.jpg" for name in names],
                "mask": [f"{name}.png" for name in names],
                "points": POINTS,
                "boxes": BOXES,
            },
            key="id",
            inputs={
                "photo": mf.Image("photo", 112, base_size=128),
                "alone": mf.Image("photo", 112, base_size=128),
            },
            targets={
                "mask": mask,
                "points": mf.Points("points", image="photo"),
                "boxes": mf.Boxes("boxes", image="photo", pad_to=1),
            },
        )
        both = ["photo", "mask"]
        augment = [
            mf.RandomAffine(both, rotation=25, shift=0.1, zoom=0.25, flip="horizontal", fill="reflect"),
            mf.RandomCrop(both),
            mf.RandomColor("photo", brightness=0.3, contrast=0.3, saturation=0.5, hue=0.03),
            mf.RandomResizedCrop("alone", scale=(0.3, 1)),
            mf.RandomErasing("alone", probability=1),
        ]
        feed = mf.Feed(data, batch_size=3, augment=augment)
        mf.show(feed, draws=2).quantize(96).save(HERE / "augment.png", optimize=True)


if __name__ == "__main__":
    main()
