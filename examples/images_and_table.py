"""Photographs and a table with their names, measurements and a target: how large is the coin?

Run it with ``python examples/images_and_table.py``; ``--short`` is the same in a few seconds. It needs
scikit-image for the photograph of the coins, and any Keras backend.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from pathlib import Path

import keras
import numpy as np
from evidence import mean_error, show_evidence
from PIL import Image, ImageDraw
from skimage import data as photographs

import multifeed as mf

PIXELS = 64  # of a photograph, both ways

# The coins in the photograph: the middle (x, y) and the radius in pixels.
COINS = (
    (44, 55, 22), (100, 56, 19), (155, 51, 22), (215, 48, 23), (276, 52, 20), (335, 43, 30),
    (45, 124, 20), (102, 126, 18), (154, 127, 20), (205, 124, 20), (271, 119, 25), (337, 124, 19),
    (44, 197, 19), (102, 196, 21), (154, 198, 19), (212, 192, 23), (274, 194, 22), (347, 186, 32),
    (46, 260, 28), (113, 266, 21), (172, 263, 28), (240, 263, 23), (302, 264, 27), (357, 268, 22),
)  # fmt: skip


def main() -> None:
    """Write the files, declare them, train, and show what was learned."""
    options = parse_options()
    count, epochs = (1600, 8) if options.short else (6400, 15)
    keras.utils.set_random_seed(0)
    print(f"Writing {count:,} photographs and a table to {options.out}")
    write_coins(options.out, count)

    data = declare(options.out / "coins.csv")
    train, val = data.split(0.75, 0.25, by="coin", seed=0)
    train.adapt()
    print(f"\n{data}\n{len(train):,} to train on, {len(val):,} to validate on\n")

    model = mf.baseline_model(train)
    mf.check_model(model, train)
    loader = mf.Loader(train, batch_size=64, shuffle=True, seed=7, augment=augmentation())
    val_loader = mf.Loader(val, batch_size=64, shuffle=True)
    model.fit(loader, validation_data=val_loader, epochs=epochs, verbose=2)

    # The target is normalised: 1 is one deviation of the training part.
    error = mean_error("mm", scale=train.rows["diameter_mm"].to_numpy().std())
    show_evidence(model, loader, val_loader, error, target="diameter_mm")
    mf.show(loader, options.out / "batch.png", samples=4)
    print(f"The first samples, as the model saw them: {options.out / 'batch.png'}")


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description="Train on photographs and a table.")
    parser.add_argument("--short", action="store_true", help="fewer photographs and epochs")
    parser.add_argument(
        "--out", type=Path, default=Path("build/examples/images_and_table"), help="folder to write to"
    )
    return parser.parse_args()


def declare(table: Path) -> mf.Dataset:
    """Say what the model gets of each line of the table, and of the photograph that it names."""
    return mf.Dataset(
        table,
        key="photo",
        inputs={
            "photo": mf.Image("photo", size=48, color_mode="grayscale"),
            "camera": mf.Numeric(["distance_mm", "focal_mm"], normalize=True),
        },
        targets={"diameter_mm": mf.Numeric("diameter_mm", normalize=True)},
    )


def augmentation() -> list[mf.RandomAffine | mf.RandomColor]:
    """Return what changes the photographs; nothing that changes the size of a coin."""
    return [
        mf.RandomAffine("photo", rotation=180),
        mf.RandomColor("photo", brightness=0.1, contrast=0.1),
    ]


def write_coins(folder: Path, count: int, seed: int = 0) -> None:
    """Write ``coins.csv`` and the photographs that it names into `folder`.

    The coins are those of one photograph that scikit-image brings. Distance, focal length and diameter
    are drawn, and each coin is shown as large as a camera would see it.
    """
    rng = np.random.default_rng(seed)
    coins = cut_coins()
    shutil.rmtree(folder / "photos", ignore_errors=True)
    (folder / "photos").mkdir(parents=True)
    with (folder / "coins.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("photo", "coin", "distance_mm", "focal_mm", "diameter_mm"))
        for number in range(count):
            coin = number % len(coins)
            distance, focal, diameter = rng.uniform((200, 24, 16), (400, 36, 32)).tolist()
            seen = diameter * focal / distance * 10  # pixels, of 0.1 mm on the sensor
            name = f"photos/{number:05d}.jpg"
            photograph(coins[coin], seen, rng).save(folder / name, quality=92)
            row = (name, f"c{coin:02d}", round(distance), round(focal, 1), round(diameter, 2))
            table.writerow(row)


def cut_coins() -> list[Image.Image]:
    """Return the coins of the photograph, each cut out along its edge, as squares."""
    picture = Image.fromarray(photographs.coins())
    return [picture.crop((x - r, y - r, x + r, y + r)) for x, y, r in COINS]


def photograph(coin: Image.Image, diameter: float, rng: np.random.Generator) -> Image.Image:
    """Return a photograph of a coin of so many pixels, near the middle of a dark table."""
    picture = Image.new("L", (PIXELS, PIXELS), int(rng.integers(10, 50)))
    corner = (PIXELS - diameter) / 2 + rng.uniform(-2, 2, 2)
    # Drawn in four times the size, for an edge that is not jagged.
    disc = Image.new("L", (4 * PIXELS, 4 * PIXELS))
    ImageDraw.Draw(disc).ellipse([*(4 * corner), *(4 * (corner + diameter))], 255)
    side = int(np.ceil(diameter)) + 1
    layer = Image.new("L", picture.size)
    layer.paste(coin.resize((side, side)), tuple(np.round(corner).astype(int).tolist()))
    return Image.composite(layer, picture, disc.resize(picture.size))


if __name__ == "__main__":
    main()
