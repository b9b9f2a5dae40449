"""Grain in `fit`: what is trained on is what a loader feeds."""

from __future__ import annotations

from typing import Any

import grain
import keras
import numpy as np

import multifeed as mf


def fitted(data: mf.Dataset, batches: Any) -> list[float]:
    """Return the losses of three epochs of a model of a photograph and a number."""
    keras.utils.set_random_seed(0)
    x = mf.inputs(data)
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(x["photo"]))
    output = keras.layers.Dense(2, "softmax")(keras.layers.Concatenate()([flat, x["age"]]))
    model = keras.Model(x, output)
    model.compile("sgd", "sparse_categorical_crossentropy")
    losses: list[float] = model.fit(batches, epochs=3, shuffle=False, verbose=0).history["loss"]
    return losses


def test_losses_through_grain_are_those_through_the_loader() -> None:
    """A pipeline of Grain over a dataset, in the same order, trains as the loader does."""
    pixels = np.random.default_rng(0).integers(0, 256, (22, 4, 4, 3), np.uint8)
    data = mf.Dataset(
        {"pixels": pixels, "age": np.arange(22.0), "kind": np.arange(22) % 2},
        inputs={"photo": mf.Array("pixels"), "age": mf.Numeric("age", normalize=True)},
        targets=mf.Category("kind", vocabulary=[0, 1]),
    )
    data.adapt()
    pipeline = grain.MapDataset.source(mf.to_grain(data)).batch(4)
    with mf.Loader(data, 4) as loader:
        losses = fitted(data, loader)
    assert fitted(data, pipeline) == losses
    assert len(set(losses)) == 3
