"""Train a model of two outputs on rare classes: which flaw has the surface, and how large is it?

Run it with ``python examples/outputs.py``; ``--short`` is the same in a few seconds. It needs
scikit-image for the photographs, and any Keras backend.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import keras
import numpy as np
from evidence import Metric, show_evidence
from keras import layers
from outputs_data import KINDS, SIZE, write_surfaces

import multifeed as mf

BATCH_SIZE = 64
# Four ways to feed the same rows. Rare classes come more often, or weigh more; never both.
FEEDINGS: dict[str, dict[str, Any]] = {
    "each row once": {},
    "class_weight": {"class_weight": {"flaw": "balanced"}},
    "sampling": {"sampling": "interest"},
    "balance": {"balance": {"flaw": {"none": 2, "hole": 1, "scratch": 1}}},
}


def main() -> None:
    """Write the files, train in several ways, and compare."""
    options = parse_options()
    count, epochs = (2560, 4) if options.short else (7680, 8)
    print(f"Writing {count:,} photographs to {options.out}")
    write_surfaces(options.out, count)

    data = declare(options.out)
    train, val = data.split(0.75, 0.25, stratify="flaw", seed=0)
    train.adapt()

    told = {}
    for name in ["each row once", "balance"] if options.short else FEEDINGS:
        keras.utils.set_random_seed(0)
        loader = mf.Loader(
            train,
            BATCH_SIZE,
            shuffle=True,
            seed=7,
            remainder="drop",
            augment=mf.RandomFlip("photograph", mode="horizontal_and_vertical"),
            **FEEDINGS[name],
        )
        model = build_model(train)
        mf.check_model(model, train)
        print(f"\nTraining, with {name}")
        model.fit(loader, epochs=epochs, verbose=2)
        print("\n".join(loader.report().accounting))
        told[name] = recalls(model, val)

    print(f"\nShare that is found of {len(val):,} validation samples, by the flaw that they have:")
    print(f"  {'':16}" + "".join(f"{kind:>12}" for kind in KINDS))
    for name, shares in told.items():
        print(f"  {name:16}" + "".join(f"{share:>12.0%}" for share in shares))
    print("\nThe other output of the last model:")
    val_loader = mf.Loader(val, BATCH_SIZE, shuffle=True)
    show_evidence(model, loader, val_loader, size_error(train), target="size_mm")


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description="Train two outputs on rare classes.")
    parser.add_argument("--short", action="store_true", help="fewer photographs, epochs and ways")
    parser.add_argument("--out", type=Path, default=Path("build/examples/outputs"), help="folder")
    return parser.parse_args()


def declare(folder: Path) -> mf.Dataset:
    """Join photographs and table; where there is no flaw, its size does not count."""
    rows = mf.align("id", photograph=folder / "photographs/{id}.png", table=folder / "surfaces.csv")
    has_size = rows["size_mm"].is_valid()
    return mf.Dataset(
        rows.append_column("has_size", has_size),
        key="id",
        inputs={
            "photograph": mf.Image("photograph", size=SIZE, color_mode="grayscale"),
            "distance": mf.Numeric("distance_m", normalize=True),
        },
        targets={
            "flaw": mf.Category("flaw", vocabulary=list(KINDS)),
            "size_mm": mf.Numeric("size_mm", missing="mean", normalize=True),
        },
        sample_weight={"size_mm": "has_size"},
    )


def build_model(data: mf.Dataset) -> keras.Model:
    """Build a model of two outputs, of which the flaw counts twice as much as its size."""
    x = mf.inputs(data)
    seen = layers.Rescaling(1 / 127.5, offset=-1)(x["photograph"])
    for filters in (16, 32, 32):
        seen = layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(seen)
    seen = layers.Dense(32, activation="relu")(layers.Flatten()(seen))
    joined = layers.Dense(32, activation="relu")(layers.Concatenate()([seen, x["distance"]]))
    outputs = {
        "flaw": layers.Dense(len(KINDS), activation="softmax", name="flaw")(seen),
        "size_mm": layers.Dense(1, name="size_mm")(joined),
    }
    model = keras.Model(x, outputs)
    model.compile(
        keras.optimizers.Adam(0.002),
        loss={"flaw": "sparse_categorical_crossentropy", "size_mm": "mse"},
        loss_weights={"flaw": 2.0, "size_mm": 1.0},
    )
    return model


def recalls(model: keras.Model, data: mf.Dataset) -> list[float]:
    """Return which share of each kind of flaw a model finds."""
    with mf.Loader(data, BATCH_SIZE) as loader:
        found = model.predict(loader, verbose=0)["flaw"].argmax(axis=-1)
    true = np.asarray(data.rows["flaw"])
    return [float(np.mean(found[true == kind] == number)) for number, kind in enumerate(KINDS)]


def size_error(data: mf.Dataset) -> Metric:
    """Return the mean error of sizes; the model predicts normalised ones, the dataset knows the unit."""

    def score(true: np.ndarray, predicted: np.ndarray) -> float:
        true, predicted = (data.restore("size_mm", each) for each in (true, predicted))
        return float(np.mean(np.abs(true - predicted)))

    return Metric("mean error", score, lambda true: np.median(true, axis=0), "{:.1f} mm")


if __name__ == "__main__":
    main()
