"""Train on recordings, pictures and metadata files: how long will the bearing last?

Run it with ``python examples/sensors.py``; ``--short`` is the same in a few seconds. It needs any Keras
backend, and simulates its machines.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import numpy as np
from evidence import mean_error, show_evidence
from keras import layers, ops
from sensors_data import SAMPLES, SIZE, write_machines

import multifeed as mf

BATCH_SIZE = 32


def main() -> None:
    """Write the files, train, and show what was learned from each input."""
    options = parse_options()
    count, epochs = (1600, 10) if options.short else (6400, 24)
    keras.utils.set_random_seed(0)
    print(f"Writing {count:,} machines to {options.out}")
    write_machines(options.out / "machines", count)

    data = declare(options.out / "machines")
    train, val = data.split(0.8, 0.2, seed=0)
    train.adapt()  # the bearings that there are, and how loads and speeds are spread
    print(f"\n{data}\n")
    loader = mf.Loader(train, BATCH_SIZE, shuffle=True, seed=7, augment=mf.RandomShift("vibration", 64))
    val_loader = mf.Loader(val, BATCH_SIZE, shuffle=True)

    model = build_model(train)
    mf.check_model(model, train)
    model.fit(loader, validation_data=val_loader, epochs=epochs, verbose=2)
    show_evidence(model, loader, val_loader, mean_error("of log10(hours)", one_unit(train)))


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description="Train on recordings with metadata files.")
    parser.add_argument("--short", action="store_true", help="fewer machines and epochs")
    parser.add_argument("--out", type=Path, default=Path("build/examples/sensors"), help="folder")
    return parser.parse_args()


def declare(folder: Path) -> mf.Dataset:
    """Join recordings, pictures and metadata files by the folder that they lie in."""
    rows = mf.align(
        "id",
        vibration=folder / "{id}/vibration.npy",
        heat=folder / "{id}/heat.png",
        about=mf.metadata(folder / "{id}/machine.json"),
    )
    return mf.Dataset(
        rows,
        key="id",
        inputs={
            "vibration": mf.Array("vibration", (SAMPLES, 1)),
            "heat": mf.Image("heat", size=SIZE, color_mode="grayscale"),
            "bearing": mf.Category("bearing.type"),  # a number, for an embedding
            "setting": mf.Numeric(["load_kn", "rpm"], normalize=True),
        },
        targets=mf.Numeric("log10_hours", normalize=True),
    )


def build_model(data: mf.Dataset) -> keras.Model:
    """Build a branch for each kind of input."""
    x = mf.inputs(data)
    # How strong a recording is counts by its logarithm, whatever its phase.
    waves = layers.Conv1D(8, 16, strides=8)(x["vibration"])
    waves = ops.log(1e-3 + layers.GlobalAveragePooling1D()(ops.square(waves)))
    heat = layers.Rescaling(1 / 127.5, offset=-1)(x["heat"])
    heat = layers.Conv2D(8, 3, strides=2, activation="relu")(heat)
    heat = layers.GlobalMaxPooling2D()(layers.Conv2D(16, 3, strides=2, activation="relu")(heat))
    bearing = layers.Flatten()(layers.Embedding(len(data.labels("bearing")), 4)(x["bearing"]))
    joined = layers.Concatenate()([waves, heat, bearing, x["setting"]])
    for units in (64, 32):
        joined = layers.Dense(units, activation="relu")(joined)
    model = keras.Model(x, layers.Dense(1)(joined))
    model.compile(keras.optimizers.Adam(0.003), "mse")
    return model


def one_unit(data: mf.Dataset) -> float:
    """Return how much a normalised target of 1 is more than one of 0, in the column's own unit."""
    return float(np.ptp(data.restore("log10_hours", np.array([[0.0], [1.0]]))))


if __name__ == "__main__":
    main()
