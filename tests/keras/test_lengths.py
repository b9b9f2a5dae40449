"""Batches of several lengths in `fit`, `evaluate` and `predict`."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import multifeed as mf


def data_of(**options: Any) -> mf.Dataset:
    """Return 80 sequences of 1 to 16 numbers, and their sums."""
    random = np.random.default_rng(0)
    lengths = random.integers(1, 17, 80)
    items = [random.uniform(0, 1, length).astype(np.float32) for length in lengths]
    rows = {"items": items, "sum": [float(each.sum()) for each in items]}
    inputs = {"items": mf.Array("items", pad_to=16, **options), "mask": mf.Mask("items")}
    return mf.Dataset(rows, inputs=inputs, targets=mf.Numeric("sum"))


def model_of(loader: mf.Loader) -> keras.Model:
    """Return a model that adds its inputs up."""
    x = mf.inputs(loader)
    total = keras.ops.sum(keras.ops.where(x["mask"], x["items"], 0.0), 1, keepdims=True)
    model = keras.Model(x, keras.layers.Dense(1)(total))
    model.compile(keras.optimizers.Adam(0.1), "mse")
    return model


@pytest.mark.parametrize("processes", [0, 1])
def test_a_model_sees_few_lengths(processes: int) -> None:
    """`fit`, `evaluate` and `predict` on all backends by batches of three shapes."""
    keras.utils.set_random_seed(0)
    data = data_of()
    options: dict[str, Any] = {"bucket_by": "items", "buckets": [4, 8, 16], "processes": processes}
    with (
        mf.Loader(data, 8, shuffle=True, seed=1, remainder="pad", **options) as train,
        mf.Loader(data, 8, **options) as val,
    ):
        model = model_of(train)
        mf.check_model(model, train)
        model.fit(train, validation_data=val, epochs=12, verbose=0)
        assert train.epoch == 12
        assert {inputs["items"].shape for inputs, *_ in train} == {(8, 4), (8, 8), (8, 16)}
        assert model.evaluate(val, verbose=0) < 0.2
        table = mf.predict(model, val, verbose=0)
        rows = np.concatenate([val.rows(0, step) for step in range(len(val))])
    assert table["row"].to_pylist() == rows.tolist()
    sums = np.array(data.rows["sum"])[rows]
    np.testing.assert_allclose(table["sum"].to_numpy(), sums, atol=1)


def test_axes_of_several_lengths_are_none() -> None:
    """Of the loader's inputs, and not of the dataset's; a model of one length is told."""
    data = data_of()
    loader = mf.Loader(data, 8, bucket_by="items", buckets=[4, 16])
    assert mf.inputs(loader)["items"].shape == (None, None)
    assert mf.inputs(data)["items"].shape == (None, 16)
    # One bucket has one length.
    assert mf.inputs(mf.Loader(data, 8, bucket_by="items", buckets=[16]))["items"].shape == (None, 16)
    x = mf.inputs(data)
    model = keras.Model(x, keras.layers.Dense(1)(x["items"]))
    mf.check_model(model, data)
    with pytest.raises(mf.ModelError) as caught:
        mf.check_model(model, loader)
    assert str(caught.value) == (
        f"model {model.name!r} does not fit the dataset in 2 things:\n"
        "  input 'items' comes in several lengths, up to 16; the model has (16,). Build it from "
        "mf.inputs(loader).\n"
        "  input 'mask' comes in several lengths, up to 16; the model has (16,). Build it from "
        "mf.inputs(loader)."
    )


def test_padding_at_the_beginning_is_cut_there() -> None:
    """The sums stay what they are."""
    keras.utils.set_random_seed(0)
    with mf.Loader(data_of(padding="pre"), 8, shuffle=True, bucket_by="items") as loader:
        model = model_of(loader)
        model.fit(loader, epochs=12, verbose=0)
        assert model.evaluate(loader, verbose=0) < 0.2
