"""Mixed samples under Keras: labels are vectors, and a model of several inputs learns from them."""

from __future__ import annotations

import keras
import numpy as np

import multifeed as mf


def test_a_model_of_two_inputs_fits_mixed_samples() -> None:
    """What is mixed is still told apart, and what Keras is served is what the loader says."""
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, 96)
    # Bright or dark, and a number that says the same: easily told apart.
    photo = rng.integers(0, 100, (96, 8, 8, 1)) + 150 * kind[:, None, None, None]
    data = mf.Dataset(
        {"photo": photo.astype(np.uint8), "x": kind + rng.normal(0, 0.1, 96), "kind": kind},
        inputs={"photo": mf.Array("photo"), "x": mf.Numeric("x")},
        targets={"kind": mf.Category("kind", vocabulary=[0, 1], one_hot=True)},
    )
    mixes = [mf.MixUp(["photo", "x", "kind"]), mf.CutMix(["photo", "x", "kind"], alpha=0.5)]
    loader = mf.Loader(data, 16, shuffle=True, seed=1, augment=mixes, class_weight={"kind": "balanced"})
    inputs = mf.inputs(data)
    pixels = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs["photo"]))
    joined = keras.layers.Concatenate()([pixels, inputs["x"]])
    outputs = {"kind": keras.layers.Dense(2, "softmax", name="kind")(joined)}
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(0.02), loss="categorical_crossentropy")
    mf.check_model(model, data)
    losses = model.fit(loader, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < 0.8 * losses[0]
    found = mf.Loader(data, 96).batch(0, 0)
    told = model.predict(found[0], verbose=0)["kind"].argmax(1)
    assert (told == kind).mean() > 0.9
