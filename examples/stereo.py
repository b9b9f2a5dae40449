"""Train on pairs of photographs and a table: how far has each point moved between the two?

Run it with ``python examples/stereo.py``; ``--short`` is the same in a few seconds. It needs
scikit-image for the photographs, and any Keras backend.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

# Keras' own default is TensorFlow, whether it is installed or not.
if "KERAS_BACKEND" not in os.environ and not find_spec("tensorflow"):
    os.environ["KERAS_BACKEND"] = "jax" if find_spec("jax") else "torch"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from keras import layers, ops
from stereo_data import PATCH, RANGE, write_patches

import multifeed as mf

# Both counts of pairs below make whole batches, which saves JAX from compiling a smaller one.
BATCH_SIZE = 64


def main() -> None:
    """Write the data, train with and without the right image, and compare."""
    options = parse_options()
    count, epochs = (1536, 4) if options.short else (4096, 8)
    keras.utils.set_random_seed(0)
    patches = options.out / "patches"

    print(f"Writing {count:,} pairs of patches to {patches}")
    write_patches(patches, count)

    data = declare(patches)
    train, val = data.split(0.75, 0.25, by="region", seed=0)
    train.adapt()
    print(f"\n{data}\n{len(train):,} to train on, {len(val):,} to validate on\n")

    print(f"Training on both images, with Keras {keras.__version__} on {keras.backend.backend()}")
    both, feeding = train_model(train, val, epochs, withhold_right=False)
    print("\nTraining the same model with the right image withheld")
    left_only, _ = train_model(train, val, epochs, withhold_right=True)

    print_scores(
        {
            "a guess": score_guess(train, val),
            "without right": score_model(left_only, val),
            "all inputs": score_model(both, val),
        },
        regions(val),
    )
    print(f"\nThe loader alone gives {samples_per_s(train):,.0f} samples/s, of two images each.")
    print(f"Training took {feeding.total_s:.1f} s. What the loader did meanwhile:\n{feeding.report}")
    sheet = options.out / "batch.png"
    mf.show(mf.Loader(train, batch_size=BATCH_SIZE, shuffle=True, seed=7), sheet)
    print(f"The first batch, as the model saw it: {sheet}")


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description="Train on stereo pairs with multifeed.")
    parser.add_argument("--short", action="store_true", help="fewer patches and epochs")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder to write to")
    return parser.parse_args()


def declare(folder: Path) -> mf.Dataset:
    """Join the two folders and the table by key, and say what the model gets of them."""
    rows = mf.align(
        "id",
        left=folder / "left/{id}.jpg",
        right=folder / "right/{id}.jpg",
        table=folder / "patches.csv",
    )
    return mf.Dataset(
        rows,
        key="id",
        inputs={
            "left": mf.Image("left", size=(PATCH, PATCH)),
            "right": mf.Image("right", size=(PATCH, PATCH)),
            "position": mf.Numeric(["x", "y"], normalize=True),
        },
        targets={
            "disparity_class": mf.Category("disparity_class"),
            "disparity": mf.Numeric("disparity", normalize=True),
        },
    )


def build_model(data: mf.Dataset, *, withhold_right: bool) -> keras.Model:
    """Build a model that compares two images, features against features, and knows the position.

    Args:
        data: What the inputs are made for.
        withhold_right: Show the model a black image in place of the right one.
    """
    inputs = mf.inputs(data)
    encoder = build_encoder()
    left = encoder(inputs["left"])
    right = encoder(ops.zeros_like(inputs["right"]) if withhold_right else inputs["right"])

    # A column of features is two pixels wide.
    match = correlate(left, right, shifts=RANGE // 2)
    match = layers.Conv2D(32, 3, strides=2, activation="relu")(match)
    match = layers.Conv2D(32, 3, strides=2, activation="relu")(match)
    scene = layers.Conv2D(16, 3, strides=2, activation="relu")(left)
    joined = layers.Concatenate()(
        [layers.Flatten()(match), layers.GlobalAveragePooling2D()(scene), inputs["position"]]
    )
    joined = layers.Dense(64, activation="relu")(layers.Dropout(0.2)(joined))
    classes = len(data.labels("disparity_class"))
    outputs = {
        "disparity_class": layers.Dense(classes, activation="softmax")(joined),
        "disparity": layers.Dense(1)(joined),
    }
    model = keras.Model(inputs, outputs)
    model.compile(
        optimizer="adam",
        loss={"disparity_class": "sparse_categorical_crossentropy", "disparity": "mse"},
        metrics={"disparity_class": ["accuracy"]},
    )
    return model


def build_encoder() -> keras.Model:
    """Build the branch that both images share: features of one scale, at half the resolution."""
    return keras.Sequential(
        [
            layers.Rescaling(1 / 127.5, offset=-1),
            layers.Conv2D(8, 5, strides=2, padding="same", activation="relu"),
            layers.Conv2D(8, 3, padding="same"),
            layers.LayerNormalization(),
        ],
        name="encoder",
    )


def correlate(left: keras.KerasTensor, right: keras.KerasTensor, shifts: int) -> keras.KerasTensor:
    """Return how well `left` agrees with `right` moved by 0, 1, ... `shifts` columns.

    Args:
        left: Features, ``[batch, rows, columns, channels]``.
        right: Features of the same shape.
        shifts: Largest number of columns.

    Returns:
        ``[batch, rows, columns - shifts, shifts + 1]``: the columns that every shift covers.
    """
    columns = left.shape[2]
    window = left[:, :, shifts:]
    agreement = [
        ops.mean(window * right[:, :, shifts - shift : columns - shift], axis=-1)
        for shift in range(shifts + 1)
    ]
    return ops.stack(agreement, axis=-1)


@dataclass(frozen=True)
class Feeding:
    """How long a training took, and what the loader tells of it.

    JAX goes on computing while Keras waits: with it, not all of the wait is lost.
    """

    total_s: float
    report: object


def train_model(
    train: mf.Dataset, val: mf.Dataset, epochs: int, *, withhold_right: bool
) -> tuple[keras.Model, Feeding]:
    """Train a new model, checked against the dataset before the first epoch."""
    model = build_model(train, withhold_right=withhold_right)
    mf.check_model(model, train)
    with (
        mf.Loader(train, batch_size=BATCH_SIZE, shuffle=True, seed=7) as loader,
        mf.Loader(val, batch_size=BATCH_SIZE) as val_loader,
    ):
        begin = time.perf_counter()
        model.fit(loader, validation_data=val_loader, epochs=epochs)
        total_s = time.perf_counter() - begin
        return model, Feeding(total_s, loader.report())


@dataclass(frozen=True)
class Score:
    """Share of the classes that are right, and mean absolute error of the disparity in pixels."""

    accuracy: float
    error_px: float


def score_model(model: keras.Model, data: mf.Dataset) -> Score:
    """Score what a model predicts for a dataset."""
    with mf.Loader(data, batch_size=BATCH_SIZE) as loader:
        predicted = model.predict(loader, verbose=0)
    labels = np.asarray(data.labels("disparity_class"))
    classes = labels[predicted["disparity_class"].argmax(axis=-1)]
    # The model predicts normalised disparities; the dataset knows the way back to pixels.
    return score(classes, data.restore("disparity", predicted["disparity"])[:, 0], data)


def score_guess(train: mf.Dataset, data: mf.Dataset) -> Score:
    """Score the guess that looks at no input: the commonest class and the mean disparity."""
    classes, counts = np.unique(train.rows["disparity_class"], return_counts=True)
    return score(classes[counts.argmax()], np.mean(train.rows["disparity"]), data)


def score(classes: np.ndarray, disparities: np.ndarray, data: mf.Dataset) -> Score:
    """Compare class labels and disparities in pixels with those in the table."""
    return Score(
        accuracy=float(np.mean(classes == np.asarray(data.rows["disparity_class"]))),
        error_px=float(np.mean(np.abs(disparities - np.asarray(data.rows["disparity"])))),
    )


def print_scores(scores: dict[str, Score], seen_on: str) -> None:
    """Print one line for each score."""
    print(f"\nOn the validation patches ({seen_on}; no pixel of them was trained on):")
    print(f"  {'':32}{'class accuracy':>16}{'disparity error':>17}")
    for name, each in scores.items():
        print(f"  {name:32}{each.accuracy:>16.1%}{each.error_px:>14.2f} px")


def regions(data: mf.Dataset) -> str:
    """Name the parts of the scene that a dataset was cut from."""
    return ", ".join(np.unique(data.rows["region"]))


def samples_per_s(data: mf.Dataset, epochs: int = 3) -> float:
    """Measure how fast a fresh loader gives batches to someone who only takes them."""
    with mf.Loader(data, batch_size=BATCH_SIZE, shuffle=True, seed=7) as loader:
        begin = time.perf_counter()
        for _ in range(epochs):
            for _batch in loader:
                pass
        return epochs * len(data) / (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
