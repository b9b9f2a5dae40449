"""Train on pairs of photographs and a table: how far has each point moved between the two?

Run it with ``python examples/stereo.py``; ``--short`` is the same in a few seconds. It needs
scikit-image for the photographs, and any Keras backend.
"""

from __future__ import annotations

import argparse
import os
import time
from importlib.util import find_spec
from pathlib import Path

if "KERAS_BACKEND" not in os.environ:
    # Keras would take TensorFlow, installed or not.
    _INSTALLED = [name for name in ("tensorflow", "jax", "torch") if find_spec(name)]
    os.environ["KERAS_BACKEND"] = _INSTALLED[0] if _INSTALLED else "tensorflow"

import keras
import numpy as np
from keras import layers, ops
from PIL import Image, ImageDraw
from stereo_data import CLASSES, PATCH, RANGE, write_patches

import multifeed as mf

BATCH_SIZE = 64


def main() -> None:
    options = parse_options()
    count, epochs = (1600, 4) if options.short else (4000, 8)
    keras.utils.set_random_seed(0)
    folder = options.out / "patches"

    print(f"Keras {keras.__version__} on {keras.backend.backend()}")
    print(f"\nWriting {count:,} pairs of patches to {folder}")
    write_patches(folder, count)

    data = declare(folder)
    train, val = data.split(0.75, 0.25, by="region", seed=1)
    train.adapt()
    print(f"\n{data}")

    scores = {"guess: commonest class, mean disparity": guess(train, val)}
    print("\nTraining with the left image alone")
    model, _ = train_model(train, val, epochs, right=False)
    scores["left image, position"] = score(model, val)
    print("\nTraining with both images")
    model, feeding = train_model(train, val, epochs)
    scores["left and right image, position"] = score(model, val)

    sheet = options.out / "batch.png"
    save_contact_sheet(train, sheet)
    print_scores(scores, train, val)
    print(f"\n{feeding}\n{speed(train)}\nOne batch, as the model sees it: {sheet}")


def parse_options() -> argparse.Namespace:
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


def build_model(data: mf.Dataset, right: bool = True) -> keras.Model:
    """Two images through one encoder, compared at every shift that may be left, and a table.

    Args:
        data: Decides the inputs.
        right: Whether the model sees the right image, or zeros in its place.
    """
    inputs = mf.inputs(data)
    encoder = build_encoder()
    rescale = layers.Rescaling(1 / 127.5, offset=-1)
    left_features = encoder(rescale(inputs["left"]))
    right_image = rescale(inputs["right"])
    right_features = encoder(right_image if right else ops.zeros_like(right_image))

    # The encoder halves the resolution, so that a shift by one column is two pixels.
    match = correlate(left_features, right_features, shifts=RANGE // 2)
    match = layers.Conv2D(32, 3, strides=2, activation="relu")(match)
    match = layers.Conv2D(32, 3, strides=2, activation="relu")(match)
    scene = layers.Conv2D(16, 3, strides=2, activation="relu")(left_features)
    joined = layers.Concatenate()(
        [layers.Flatten()(match), layers.GlobalAveragePooling2D()(scene), inputs["position"]]
    )
    joined = layers.Dense(64, activation="relu")(layers.Dropout(0.2)(joined))
    outputs = {
        "disparity_class": layers.Dense(CLASSES, activation="softmax", name="disparity_class")(joined),
        "disparity": layers.Dense(1, name="disparity")(joined),
    }
    model = keras.Model(inputs, outputs)
    model.compile(
        optimizer="adam",
        loss={"disparity_class": "sparse_categorical_crossentropy", "disparity": "mse"},
        metrics={"disparity_class": ["accuracy"]},
    )
    return model


def build_encoder() -> keras.Model:
    """Features of unit length: their product is the cosine of the angle between them."""
    return keras.Sequential(
        [
            layers.Conv2D(8, 5, strides=2, padding="same", activation="relu"),
            layers.Conv2D(8, 3, padding="same"),
            layers.UnitNormalization(),
        ],
        name="encoder",
    )


def correlate(left, right, shifts: int):
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
        ops.sum(window * right[:, :, shifts - shift : columns - shift], axis=-1)
        for shift in range(shifts + 1)
    ]
    return ops.stack(agreement, axis=-1)
