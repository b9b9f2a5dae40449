"""A model that is told what was missing."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

import multifeed as mf


def test_a_model_learns_to_trust_what_is_there() -> None:
    """`inputs`, `check_model`, `fit` and `predict` take it as any other input of numbers."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=64)
    is_there = rng.random(64) < 0.5
    data = mf.Dataset(
        {
            "x": [
                float(value) if there else None for value, there in zip(values, is_there, strict=True)
            ],
            "y": is_there.astype(np.float32),
        },
        inputs={"x": mf.Numeric("x", missing="zero"), "has_x": mf.Present("x")},
        targets={"y": mf.Array("y")},
    )
    inputs = mf.inputs(data)
    assert inputs["has_x"].shape == (None, 1)
    joined = layers.Concatenate()([inputs["x"], inputs["has_x"]])
    model = keras.Model(inputs, {"y": layers.Dense(1, activation="sigmoid")(joined)})
    model.compile(keras.optimizers.Adam(0.3), "binary_crossentropy")
    mf.check_model(model, data)
    model.fit(mf.Loader(data, 16, shuffle=True), epochs=15, verbose=0)
    predicted = model.predict(mf.Loader(data, 16), verbose=0)["y"].ravel()
    assert ((predicted > 0.5) == is_there).all()
