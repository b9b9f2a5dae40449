"""Train on pairs and triplets: do two photographs show the same spot of a surface?

Run it with ``python examples/siamese.py``; ``--short`` is the same in a few seconds. It needs
scikit-image for the photographs, and any Keras backend.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
from evidence import Metric, show_evidence
from keras import layers, ops
from siamese_data import SIZE, write_views

import multifeed as mf

BATCH_SIZE = 64
FEATURES = 32
LIGHT = [mf.RandomColor("photo", brightness=0.2)]


def main() -> None:
    """Write the photographs, train on triplets and then on pairs, and show what was learned."""
    options = parse_options()
    spots, triplet_epochs, pair_epochs = (240, 2, 2) if options.short else (480, 12, 8)
    keras.utils.set_random_seed(0)
    print(f"Writing 8 photographs of each of {spots} spots to {options.out}")
    write_views(options.out / "views", spots)

    data = declare(options.out / "views")
    train, val = data.split(0.8, 0.2, by="spot", seed=0)  # spots that the model has never seen
    train.adapt()
    encoder = build_encoder()

    print("Triplets, with negatives drawn at random")
    triplets = mf.Triplets(train, by="spot")
    with loader_of(triplets, LIGHT) as loader:
        ranker = triplet_model(encoder, triplets)
        mf.check_model(ranker, loader)
        ranker.fit(loader, epochs=triplet_epochs, verbose=2)

    print("Pairs, half of them negative: the nearest of 8 others, by what the encoder has learned")
    pairs = mf.Pairs(train, by="spot", positive=0.5, negatives=nearest(encoder, train), candidates=8)
    model = pair_model(encoder, pairs)
    val_pairs = mf.Pairs(val, by="spot", negatives=nearest(encoder, val), candidates=8)
    with loader_of(pairs, LIGHT) as loader, loader_of(val_pairs) as val_loader:
        mf.check_model(model, loader)
        model.fit(loader, epochs=pair_epochs, verbose=2)
        for name, others in (("drawn at random", mf.Pairs(val, by="spot")), ("hard", val_pairs)):
            print(f"Unseen spots, negatives {name}: {right(model, others):.1%} of the pairs told right.")
        show_evidence(model, loader, val_loader, pairs_told_right())
        mf.show(loader, options.out / "batch.png", samples=4)


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description="Train on pairs of photographs of surfaces.")
    parser.add_argument("--short", action="store_true", help="fewer spots and epochs")
    parser.add_argument("--out", type=Path, default=Path("build/examples/siamese"), help="folder")
    return parser.parse_args()


def declare(folder: Path) -> mf.Dataset:
    """Say what a single photograph is: pairs and triplets are made of these rows."""
    rows = mf.align("view", photo=folder / "{spot}/{view}.jpg")
    return mf.Dataset(
        rows, key="view", inputs={"photo": mf.Image("photo", size=SIZE, color_mode="grayscale")}
    )


def loader_of(samples: mf.Pairs | mf.Triplets, augment: Sequence[mf.RandomColor] = ()) -> mf.Loader:
    """Feed pairs or triplets; with augmentation, each photograph of one has a draw of its own."""
    return mf.Loader(samples, BATCH_SIZE, shuffle=True, seed=7, remainder="drop", augment=augment)


def build_encoder() -> keras.Model:
    """Build the branch that all photographs share: a direction for each."""
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 1), dtype="uint8"),
            layers.Rescaling(1 / 64, offset=-2),
            layers.Conv2D(16, 5, strides=2, padding="same", activation="relu"),
            layers.Conv2D(32, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2D(64, 3, strides=2, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(FEATURES),
            layers.UnitNormalization(),
        ],
        name="encoder",
    )


class TripletLoss(layers.Layer):
    """Adds what a triplet costs: the positive shall be nearer than the negative, by a margin."""

    def call(self, places: list[keras.KerasTensor]) -> keras.KerasTensor:
        """Return how much nearer the positive is, ``[batch]``."""
        anchor, positive, negative = places
        nearer = ops.sum(anchor * (positive - negative), axis=-1)
        self.add_loss(ops.mean(ops.softplus(4 - 10 * nearer)))
        return nearer


def triplet_model(encoder: keras.Model, triplets: mf.Triplets) -> keras.Model:
    """Build the model that brings photographs of one spot together."""
    x = mf.inputs(triplets)
    places = [encoder(x[f"photo_{branch}"]) for branch in triplets.branches]
    model = keras.Model(x, TripletLoss()(places))
    model.compile(keras.optimizers.Adam(0.002))
    return model


def pair_model(encoder: keras.Model, pairs: mf.Pairs) -> keras.Model:
    """Build the model that says how likely two photographs are of one spot."""
    x = mf.inputs(pairs)
    agree = layers.Dot(axes=-1)([encoder(x["photo_a"]), encoder(x["photo_b"])])
    model = keras.Model(x, layers.Dense(1, "sigmoid", kernel_initializer="ones")(8 * agree - 4))
    model.compile(keras.optimizers.Adam(0.001), "binary_crossentropy", metrics=["accuracy"])
    return model


def nearest(encoder: keras.Model, data: mf.Dataset) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return a function that finds a candidate the better a negative, the more alike it looks by now."""
    with mf.Loader(data, batch_size=BATCH_SIZE) as loader:  # without shuffle: row after row
        table = np.concatenate([encoder.predict_on_batch(batch["photo"]) for (batch,) in loader])

    def alike(rows: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        return np.einsum("nf,ncf->nc", table[rows[:, 0]], table[candidates])

    return alike


def pairs_told_right() -> Metric:
    """Return the share of pairs of which the model says rightly whether they are of one spot."""

    def score(true: np.ndarray, predicted: np.ndarray) -> float:
        return float(np.mean((predicted.reshape(-1) > 0.5) == (true > 0.5)))

    return Metric("pairs told right", score, lambda true: np.round(np.mean(true)), "{:.1%}")


def right(model: keras.Model, pairs: mf.Pairs) -> float:
    """Return the share of pairs told right of all that a dataset has, the same ones each time."""
    with mf.Loader(pairs, BATCH_SIZE, remainder="drop") as loader:
        return model.evaluate(loader, verbose=0, return_dict=True)["accuracy"]


if __name__ == "__main__":
    main()
