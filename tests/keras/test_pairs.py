"""Pairs and triplets in `fit`, `evaluate` and `predict`."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import multifeed as mf


def data_of(**options: Any) -> mf.Dataset:
    """Return 60 points around six places, with a key."""
    random = np.random.default_rng(0)
    people = np.repeat(np.arange(6), 10)
    x = random.normal(size=(6, 4))[people] + 0.1 * random.normal(size=(60, 4))
    rows = {"id": [f"s{number}" for number in range(60)], "x": x, "person": people}
    return mf.Dataset(rows, key="id", inputs={"x": mf.Array("x")}, **options)


def encoder_of() -> keras.Model:
    layers = [keras.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(3)]
    return keras.Sequential(layers)


def siamese(pairs: mf.Pairs) -> keras.Model:
    """Return a model that tells whether two points are of one place."""
    keras.utils.set_random_seed(0)
    inputs, encoder = mf.inputs(pairs), encoder_of()
    apart = keras.layers.Subtract()([encoder(inputs["x_a"]), encoder(inputs["x_b"])])
    same = keras.layers.Dense(1, "sigmoid", name="same")(keras.layers.Multiply()([apart, apart]))
    model = keras.Model(inputs, same)
    model.compile(keras.optimizers.Adam(0.05), "binary_crossentropy", metrics=["accuracy"])
    return model


@pytest.mark.parametrize("processes", [0, 1])
def test_a_siamese_model_learns(processes: int) -> None:
    """`fit`, and the same pairs in every `evaluate`; `predict` in their order."""
    pairs = mf.Pairs(data_of(), by="person")
    model = siamese(pairs)
    mf.check_model(model, pairs)
    with (
        mf.Loader(pairs, 16, shuffle=True, seed=1, processes=processes) as train,
        mf.Loader(pairs, 16) as val,
    ):
        model.fit(train, validation_data=val, epochs=25, verbose=0)
        assert train.epoch == 25
        loss, accuracy = model.evaluate(val, verbose=0)
        assert accuracy > 0.9
        assert model.evaluate(val, verbose=0)[0] == pytest.approx(loss)
        table = mf.predict(model, val, verbose=0)
        rows = np.concatenate([val.rows(0, step) for step in range(len(val))])
    assert table.column_names[:3] == ["id_a", "id_b", "same"]
    assert table["id_b"].to_pylist() == [f"s{row}" for row in rows[:, 1]]
    told = np.array(table["same"].to_pylist()) == "same"
    assert (told == (rows[:, 0] // 10 == rows[:, 1] // 10)).mean() == pytest.approx(accuracy)


@keras.saving.register_keras_serializable("tests")
class TripletLoss(keras.layers.Layer):
    """Adds how much further the positive is than the negative."""

    def call(self, inputs: Any) -> Any:
        anchor, positive, negative = inputs
        near = keras.ops.sum(keras.ops.square(anchor - positive), -1)
        far = keras.ops.sum(keras.ops.square(anchor - negative), -1)
        self.add_loss(keras.ops.mean(keras.ops.relu(near - far + 0.5)))
        return keras.ops.stack([near, far], -1)


def test_triplets_need_no_target() -> None:
    """A layer adds their loss, in `fit` and in `evaluate`."""
    keras.utils.set_random_seed(0)
    triplets = mf.Triplets(data_of(), by="person")
    inputs, encoder = mf.inputs(triplets), encoder_of()
    places = [encoder(inputs[f"x_{branch}"]) for branch in triplets.branches]
    model = keras.Model(inputs, TripletLoss()(places))
    model.compile(keras.optimizers.Adam(0.05))
    mf.check_model(model, triplets)
    with mf.Loader(triplets, 20, shuffle=True) as train, mf.Loader(triplets, 20) as val:
        before = model.evaluate(val, verbose=0)
        model.fit(train, epochs=15, verbose=0)
        assert model.evaluate(val, verbose=0) < 0.3 * before


def test_a_model_that_does_not_fit_is_told() -> None:
    """By the names that a batch has."""
    pairs = mf.Pairs(
        data_of(targets={"person": mf.Category("person", vocabulary=range(6))}), by="person"
    )
    x = keras.Input((4,), name="x")
    model = keras.Model({"x": x}, {"same": keras.layers.Dense(1, name="same")(x)})
    with pytest.raises(mf.ModelError) as caught:
        mf.check_model(model, pairs)
    for name in ("x_a", "x_b", "person_a", "person_b"):
        assert repr(name) in str(caught.value)


def test_targets_of_the_rows_come_along() -> None:
    """In one dict, with heads of their own."""
    data = data_of(targets=mf.Category("person", vocabulary=range(6)))
    pairs = mf.Pairs(data, by="person")
    inputs, encoder = mf.inputs(pairs), encoder_of()
    a, b = encoder(inputs["x_a"]), encoder(inputs["x_b"])
    head = keras.layers.Dense(6, "softmax")
    outputs = {
        "same": keras.layers.Dense(1, "sigmoid")(keras.layers.Subtract()([a, b])),
        "person_a": head(a),
        "person_b": head(b),
    }
    model = keras.Model(inputs, outputs)
    crossentropy = "sparse_categorical_crossentropy"
    loss = {"same": "binary_crossentropy", "person_a": crossentropy, "person_b": crossentropy}
    model.compile("adam", loss)
    mf.check_model(model, pairs)
    with mf.Loader(pairs, 16, remainder="pad", class_weight={"person": "balanced"}) as loader:
        model.fit(loader, verbose=0)
        table = mf.predict(model, loader, verbose=0)
    assert {"same", "person_a", "person_b", "person_a_probability"} <= set(table.column_names)
    assert table.num_rows == 60
