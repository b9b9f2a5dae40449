"""Train a variational autoencoder that removes noise: what was written, and which digit shall it be?

Run it with ``python examples/denoising_vae.py``; ``--short`` is the same in a few seconds. It needs
scikit-learn for the digits, and any Keras backend.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from pathlib import Path

import keras
import numpy as np
from evidence import Metric, show_evidence
from keras import layers, ops
from PIL import Image
from sklearn.datasets import load_digits

import multifeed as mf

PIXELS = 16  # of an image, both ways
BATCH_SIZE = 64
CODE = 8  # numbers that the model keeps of an image
NOISE = 100  # standard deviation, in levels of 255: of many a stroke, little is left to see


def main() -> None:
    """Write the files, declare them, train, and show what was learned."""
    options = parse_options()
    epochs = 8 if options.short else 60
    keras.utils.set_random_seed(0)
    print(f"Writing handwritten digits to {options.out}")
    write_digits(options.out)

    data = declare(options.out)
    train, val = data.split(0.8, 0.2, stratify="digit", seed=0)
    train.adapt()
    print(f"\n{data}\n{len(train):,} to train on, {len(val):,} to validate on\n")

    model, decoder = build_model(train)
    mf.check_model(model, train)
    moves = mf.RandomAffine("image", rotation=10, shift=0.06, zoom=0.1)
    noise = mf.RandomNoise("image", sigma=NOISE)
    loader = mf.Loader(train, batch_size=BATCH_SIZE, shuffle=True, seed=7, augment=[moves, noise])
    # The noise of validation is drawn as well: a function of the position, the same in each run.
    val_loader = mf.Loader(val, batch_size=BATCH_SIZE, shuffle=True, augment=noise)
    model.fit(loader, validation_data=val_loader, epochs=epochs, verbose=2)

    show_evidence(model, loader, val_loader, reconstruction_error(), target="restored")
    write_picture(options.out / "restored.png", model, decoder, val_loader)
    print(f"Noisy, restored, clean, and digits that nobody wrote: {options.out / 'restored.png'}")


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description="Train a variational autoencoder on noisy digits.")
    parser.add_argument("--short", action="store_true", help="fewer epochs")
    parser.add_argument(
        "--out", type=Path, default=Path("build/examples/denoising_vae"), help="folder to write to"
    )
    return parser.parse_args()


def declare(folder: Path) -> mf.Dataset:
    """Say what the model gets of each image and its label; the target is the image once more."""
    rows = mf.align("id", image=folder / "images/{id}.png", table=folder / "digits.csv")
    return mf.Dataset(
        rows,
        key="id",
        inputs={
            "image": mf.Image("image", size=PIXELS, color_mode="grayscale"),
            "digit": mf.Category("digit", one_hot=True),
        },
        targets={
            "restored": mf.Same("image", dtype="float32", scale=1 / 255, before=("color", "noise")),
        },
    )


@keras.saving.register_keras_serializable("multifeed_examples")
class Draw(layers.Layer):
    """Draws a code around its mean in training, and adds to the loss how much it tells of the image."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        self.seed = keras.random.SeedGenerator(0)

    def call(self, mean: object, spread: object, training: bool = False) -> object:
        """Return a code for each sample; `spread` is the logarithm of the variance."""
        told = -0.5 * ops.sum(1 + spread - ops.square(mean) - ops.exp(spread), axis=-1)
        self.add_loss(ops.mean(told) / PIXELS**2)
        if not training:
            return mean
        noise = keras.random.normal(ops.shape(mean), seed=self.seed)
        return mean + ops.exp(0.5 * spread) * noise


def build_model(data: mf.Dataset) -> tuple[keras.Model, keras.Model]:
    """Build the autoencoder, and return it and its decoder: both know which digit it is."""
    x = mf.inputs(data)
    seen = layers.Flatten()(layers.Rescaling(1 / 255)(x["image"]))
    seen = layers.Concatenate()([seen, x["digit"]])
    seen = layers.Dense(256, activation="relu")(seen)
    seen = layers.Dense(128, activation="relu")(seen)
    code = Draw()(layers.Dense(CODE)(seen), layers.Dense(CODE, kernel_initializer="zeros")(seen))

    given = keras.Input((CODE,)), keras.Input(x["digit"].shape[1:])
    drawn = layers.Concatenate()(list(given))
    drawn = layers.Dense(128, activation="relu")(drawn)
    drawn = layers.Dense(256, activation="relu")(drawn)
    drawn = layers.Dense(PIXELS**2, activation="sigmoid")(drawn)
    decoder = keras.Model(given, layers.Reshape((PIXELS, PIXELS, 1))(drawn), name="decoder")

    model = keras.Model(x, {"restored": decoder([code, x["digit"]])})
    model.compile(keras.optimizers.Adam(0.002), "binary_crossentropy")
    return model, decoder


def reconstruction_error() -> Metric:
    """Return the root of the mean squared difference in levels of 255; the guess is the mean image."""

    def score(true: np.ndarray, predicted: np.ndarray) -> float:
        return 255 * float(np.sqrt(np.mean(np.square(true - predicted))))

    return Metric("reconstruction error", score, lambda true: true.mean(axis=0), "{:.1f}")


def write_picture(file: Path, model: keras.Model, decoder: keras.Model, loader: mf.Loader) -> None:
    """Write samples as they were given, restored and clean, and one new image of each digit."""
    inputs, targets = loader.batch(0, 0)
    restored = model.predict_on_batch(inputs)["restored"]
    codes = np.random.default_rng(0).normal(size=(10, CODE)).astype(np.float32)
    made = decoder.predict_on_batch([codes, np.eye(10, dtype=np.float32)])
    lines = [inputs["image"][:10] / 255, restored[:10], targets["restored"][:10], made]
    sheet = np.concatenate([np.concatenate(list(line), axis=1) for line in lines])[..., 0]
    picture = Image.fromarray((255 * sheet).astype(np.uint8))
    picture.resize((4 * picture.width, 4 * picture.height), Image.Resampling.NEAREST).save(file)


def write_digits(folder: Path) -> None:
    """Write ``images/{id}.png`` and ``digits.csv``: the 1,797 digits that scikit-learn brings."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "images").mkdir(parents=True)
    digits = load_digits()
    rows = []
    for number, (pixels, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
        image = Image.fromarray((pixels * 15.9).astype(np.uint8)).resize((PIXELS, PIXELS))
        image.save(folder / "images" / f"{number:04d}.png")
        rows.append((f"{number:04d}", digit))
    with (folder / "digits.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("id", "digit"))
        table.writerows(rows)


if __name__ == "__main__":
    main()
