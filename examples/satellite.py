"""Train on tiles of large scenes, the light of the day and a table: how wet is the soil?

Run it with ``python examples/satellite.py``; ``--short`` is the same in a few seconds. It needs rasterio
(``pip install "multifeed[geo]"``), psutil, and any Keras backend.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

# GDAL keeps blocks that it has read, in up to 5 % of the machine's memory. Here, in 16 MB.
os.environ.setdefault("GDAL_CACHEMAX", "16")

import keras
import numpy as np
import psutil
from evidence import mean_error, show_evidence
from keras import layers, ops
from satellite_data import BANDS, TILE, write_scene, write_scenes

import multifeed as mf

# Both sizes of scenes below make whole batches, which saves JAX from compiling a smaller one.
BATCH_SIZE = 24


def main() -> None:
    """Write the files, show the loader's memory, train, and show what was learned."""
    options = parse_options()
    count, pixels, epochs = (32, 3 * TILE, 12) if options.short else (32, 9 * TILE, 12)
    keras.utils.set_random_seed(0)
    show_memory(options.out / "large.tif", (4, 8, 16) if options.short else (4, 8, 16, 32))

    print(f"\nWriting {count} scenes of {pixels:,} x {pixels:,} pixels to {options.out}")
    write_scenes(options.out, count, pixels)
    data = declare(options.out)
    train, val = data.split(0.75, 0.25, by="id", seed=0)
    train.adapt()
    print(f"\n{data}\n{len(train):,} tiles to train on, {len(val):,} to validate on\n")

    model = build_model(train)
    mf.check_model(model, train)
    augment = mf.RandomFlip("bands", mode="horizontal_and_vertical")
    loader = mf.Loader(train, batch_size=BATCH_SIZE, shuffle=True, seed=7, augment=augment)
    val_loader = mf.Loader(val, batch_size=BATCH_SIZE, shuffle=True)
    model.fit(loader, validation_data=val_loader, epochs=epochs, verbose=2)
    show_evidence(model, loader, val_loader, mean_error("l/m³", scale=1_000), target="moisture")


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description="Train on tiles of large scenes.")
    parser.add_argument("--short", action="store_true", help="smaller scenes")
    parser.add_argument(
        "--out", type=Path, default=Path("build/examples/satellite"), help="folder to write to"
    )
    return parser.parse_args()


def declare(folder: Path) -> mf.Dataset:
    """Cut the scenes into tiles, join what was measured, and say what the model gets of them."""
    scenes = mf.align("id", scene=folder / "scenes/{id}.tif", light=folder / "light.csv")
    tiles = mf.tiles(scenes, TILE, column="scene", key="id")
    rows = mf.align("tile", tiles=tiles, ground=folder / "ground.csv")
    return mf.Dataset(
        rows,
        key="tile",
        inputs={
            "bands": mf.Raster("scene", scale=1 / 10_000),
            "light": mf.Numeric("nm_*"),
        },
        targets={"moisture": mf.Numeric("moisture")},
    )


def build_model(data: mf.Dataset) -> keras.Model:
    """Build a model that sees the logarithms of both: what is divided by the light is a difference."""
    x = mf.inputs(data)
    # Of reflectances around 0.1, and of light around 0.5, so that both logarithms are around 0.
    bands = ops.log(ops.maximum(10 * x["bands"], 0.01))
    bands = layers.Conv2D(16, 8, strides=8, activation="relu")(bands)
    bands = layers.Conv2D(16, 1, activation="relu")(bands)
    light = layers.Dense(16, activation="relu")(ops.log(ops.maximum(2 * x["light"], 0.01)))
    joined = layers.Concatenate()([layers.GlobalAveragePooling2D()(bands), light])
    for units in (64, 32):
        joined = layers.Dense(units, activation="relu")(joined)
    model = keras.Model(x, {"moisture": layers.Dense(1)(joined)})
    model.compile(keras.optimizers.Adam(0.003), "mse")
    return model


def show_memory(file: Path, sizes: tuple[int, ...], epochs: int = 3) -> None:
    """Print the memory of this program while scenes of several sizes are read, each in several epochs.

    Args:
        file: Where to write the scenes, one after another.
        sizes: Height and width of each, in tiles.
        epochs: How often each is read.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    before = resident_memory() / 2**20
    print(f"Memory of the program: {before:,.0f} MiB at first. The most in each epoch of tiles:")
    for size in sizes:
        file.unlink(missing_ok=True)
        write_scene(file, size * TILE, np.ones(len(BANDS)), np.random.default_rng(0))
        data = mf.Dataset(mf.tiles(file, TILE), key="tile", inputs=mf.Raster("scene", scale=1 / 10_000))
        with mf.Loader(data, batch_size=BATCH_SIZE, shuffle=True, prefetch_bytes=32 * 2**20) as loader:
            peaks = [max(resident_memory() for _batch in loader) for _ in range(epochs)]
        shown = ", ".join(f"{peak / 2**20:,.0f}" for peak in peaks)
        print(f"  a scene of {file.stat().st_size / 1e6:5,.0f} MB, {len(data):5,} tiles: {shown} MiB")
    file.unlink()


def resident_memory() -> int:
    """Return the bytes of memory that this process holds now."""
    return psutil.Process().memory_info().rss


if __name__ == "__main__":
    main()
