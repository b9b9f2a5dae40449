"""A folder for each class, with photographs of it: what is the picture of?

Run it with ``python examples/class_folders.py``; ``--short`` is the same in a few seconds. It needs
scikit-image for the photographs, and any Keras backend.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import keras
import numpy as np
from evidence import accuracy, show_evidence
from PIL import Image
from skimage import data as photographs

import multifeed as mf

# The classes, and the photograph of scikit-image that each is cut from.
KINDS = {
    "brick": "brick",
    "coin": "coins",
    "fur": "chelsea",
    "galaxy": "hubble_deep_field",
    "grass": "grass",
    "gravel": "gravel",
    "print": "page",
    "tissue": "immunohistochemistry",
}
REGIONS = 4  # of each photograph, side by side
PIXELS = 72  # of a picture, both ways


def main() -> None:
    """Write the folders, declare them, train, and show what was learned."""
    options = parse_options()
    count, epochs = (1280, 6) if options.short else (5120, 15)
    keras.utils.set_random_seed(0)
    print(f"Writing {count:,} pictures to {options.out}")
    write_tree(options.out / "photos", count)

    data = declare(options.out / "photos")
    train, val = data.split(0.75, 0.25, by="region", seed=0)
    train.adapt()
    print(f"\n{data}\n{len(train):,} to train on, {len(val):,} to validate on")
    print(f"Classes: {', '.join(train.labels('kind'))}\n")

    model = mf.baseline_model(train)
    mf.check_model(model, train)
    loader = mf.Loader(train, batch_size=32, shuffle=True, seed=7, augment=augmentation())
    val_loader = mf.Loader(val, batch_size=32, shuffle=True)
    model.fit(loader, validation_data=val_loader, epochs=epochs, verbose=2)
    show_evidence(model, loader, val_loader, accuracy(), target="kind")
    mf.show(loader, options.out / "batch.png", samples=6)
    print(f"The first samples, as the model saw them: {options.out / 'batch.png'}")


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description="Train on a tree of class folders.")
    parser.add_argument("--short", action="store_true", help="fewer pictures and epochs")
    parser.add_argument(
        "--out", type=Path, default=Path("build/examples/class_folders"), help="folder to write to"
    )
    return parser.parse_args()


def declare(photos: Path) -> mf.Dataset:
    """Read the class, the region and a number off the path of each picture.

    The names of files repeat from class to class, so all three together are the key.
    """
    key = ("kind", "region", "number")
    return mf.Dataset(
        mf.align(key, photo=photos / "{kind}/{region}_{number}.jpg"),
        key=key,
        inputs={"photo": mf.Image("photo", size=48, color_mode="grayscale")},
        targets={"kind": mf.Category("kind")},
    )


def augmentation() -> list[mf.RandomAffine | mf.RandomColor]:
    """Return what changes the pictures at random."""
    return [
        mf.RandomAffine("photo", rotation=10, zoom=0.1, flip="horizontal", fill="reflect"),
        mf.RandomColor("photo", brightness=0.3, contrast=0.3),
    ]


def write_tree(folder: Path, count: int, seed: int = 0) -> None:
    """Write ``{kind}/{region}_{number}.jpg`` into `folder`, in place of what was there.

    Pictures of one region overlap; those of two share no pixel.
    """
    rng = np.random.default_rng(seed)
    shutil.rmtree(folder, ignore_errors=True)
    for kind, name in KINDS.items():
        (folder / kind).mkdir(parents=True)
        photo = getattr(photographs, name)()
        width = photo.shape[1] // REGIONS
        for number in range(count // len(KINDS)):
            region = number % REGIONS
            top = rng.integers(photo.shape[0] - PIXELS + 1)
            left = region * width + rng.integers(width - PIXELS + 1)
            patch = photo[top : top + PIXELS, left : left + PIXELS]
            file = folder / kind / f"r{region}_{number // REGIONS:04d}.jpg"
            Image.fromarray(patch).save(file, quality=92)


if __name__ == "__main__":
    main()
