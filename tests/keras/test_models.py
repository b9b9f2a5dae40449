"""inputs and check_model: what a model must take, and every mismatch at once."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import multifeed as mf

Dense = keras.layers.Dense


@pytest.fixture
def data() -> mf.Dataset:
    """Two inputs and two targets, none of them in a file."""
    count = 6
    return mf.Dataset(
        {
            "scan": np.zeros((count, 8, 8, 3), np.uint8),
            "age": np.arange(count),
            "kind": list("abcabc"),
            "score": np.arange(count) / 7,
        },
        inputs={"scan": mf.Array("scan"), "age": mf.Numeric("age")},
        targets={
            "kind": mf.Category("kind", vocabulary=["a", "b", "c"]),
            "score": mf.Numeric("score"),
        },
    )


def test_inputs_have_name_shape_and_dtype_of_the_fields(data: mf.Dataset) -> None:
    """One keras.Input for each input, in the structure of the inputs."""
    made = mf.inputs(data)
    assert {name: (tensor.name, tensor.shape, tensor.dtype) for name, tensor in made.items()} == {
        "scan": ("scan", (None, 8, 8, 3), "uint8"),
        "age": ("age", (None, 1), "float32"),
    }


def test_inputs_of_a_tuple_and_of_one(data: mf.Dataset) -> None:
    """A tuple of fields gives a tuple, one field gives one tensor, named by their columns."""
    both = mf.Dataset(data.rows, inputs=(mf.Numeric("age"), mf.Numeric("age")))
    assert [tensor.name for tensor in mf.inputs(both)] == ["age", "age_1"]
    assert mf.inputs(mf.Dataset(data.rows, inputs=mf.Numeric("score"))).name == "score"


def good_model(data: mf.Dataset) -> keras.Model:
    inputs = mf.inputs(data)
    scan = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs["scan"]))
    joined = keras.layers.Concatenate()([scan, inputs["age"]])
    return keras.Model(
        inputs, {"kind": Dense(3, name="kind")(joined), "score": Dense(1, name="score")(joined)}
    )


def test_a_model_that_fits_passes(data: mf.Dataset) -> None:
    """No error, with dict outputs and with a list of named outputs."""
    model = good_model(data)
    mf.check_model(model, data)
    as_list = keras.Model(model.input, [model.output["kind"], model.output["score"]])
    mf.check_model(as_list, data)


def test_every_mismatch_is_told_at_once(data: mf.Dataset) -> None:
    """Missing, extra and misshaped inputs and outputs, and a dtype that loses, in one error."""
    inputs = {
        "scan": keras.Input((16, 16, 3), name="scan"),
        "years": keras.Input((1,), name="years"),
    }
    joined = keras.layers.Concatenate()([keras.layers.Flatten()(inputs["scan"]), inputs["years"]])
    outputs = {"kind": Dense(2, name="kind")(joined), "grade": Dense(1, name="grade")(joined)}
    with pytest.raises(mf.ModelError) as caught:
        mf.check_model(keras.Model(inputs, outputs, name="wrong"), data)
    assert str(caught.value) == (
        "model 'wrong' does not fit the dataset in 6 things:\n"
        "  input 'age' of the dataset (1,) float32 is none of the model's; it has 'scan', 'years'.\n"
        "  input 'years' of the model (1,) float32 is none of the dataset's; declare it in "
        "inputs={...}.\n"
        "  input 'scan' yields shape (8, 8, 3) a sample; the model takes (16, 16, 3).\n"
        "  target 'score' of the dataset (1,) float32 is none of the model's outputs; it has 'kind', "
        "'grade'.\n"
        "  output 'grade' of the model (1,) float32 has no target; declare it in targets={...}.\n"
        "  target 'kind' has 3 classes; the model's output has 2 scores a sample."
    )


def test_integers_straight_into_a_kernel_are_told(data: mf.Dataset) -> None:
    """uint8 into Conv2D is a TypeError on TensorFlow: said before, on every backend."""
    only = mf.Dataset(data.rows, inputs={"scan": mf.Array("scan")})
    inputs = {"scan": keras.Input((8, 8, 3), dtype="uint8", name="scan")}
    layer = keras.layers.Conv2D(2, 3, name="first")
    # Building it is an error on TensorFlow already, so the tensor is cast and the cast taken out of it.
    try:
        model = keras.Model(inputs, layer(inputs["scan"]), name="raw")
    except (TypeError, ValueError):
        pytest.skip("this backend refuses to build the model")
    with pytest.raises(mf.ModelError) as caught:
        mf.check_model(model, only)
    assert str(caught.value) == (
        "model 'raw' does not fit the dataset in 1 thing:\n"
        "  input 'scan' reaches layer 'first' as uint8, a TypeError on TensorFlow; put "
        "keras.layers.Rescaling(1 / 255) or a cast before it."
    )


def test_floats_into_an_integer_input_are_told(data: mf.Dataset) -> None:
    """Keras would cut the fractions off without a word."""
    only = mf.Dataset(data.rows, inputs={"age": mf.Numeric("age")})
    inputs = {"age": keras.Input((1,), dtype="int32", name="age")}
    model = keras.Model(inputs, keras.layers.Embedding(9, 2)(inputs["age"]), name="cut")
    with pytest.raises(mf.ModelError) as caught:
        mf.check_model(model, only)
    assert str(caught.value) == (
        "model 'cut' does not fit the dataset in 1 thing:\n"
        "  input 'age' yields float32; the model takes int32 and would cut the fractions off."
    )


def test_positions_are_counted_where_there_are_no_names(data: mf.Dataset) -> None:
    """Tuples are matched by position; another number of inputs or outputs is told."""
    three = mf.Dataset(
        data.rows,
        inputs=(mf.Numeric("age"), mf.Numeric("score")),
        targets=(mf.Numeric("score"), mf.Numeric("age")),
    )
    one = keras.Input((1,), name="one")
    model = keras.Model([one], [Dense(1, name="out")(one)], name="small")
    with pytest.raises(mf.ModelError) as caught:
        mf.check_model(model, three)
    assert str(caught.value) == (
        "model 'small' does not fit the dataset in 2 things:\n"
        "  the model has 1 inputs ('one'), the dataset 2 ('age', 'score'), matched by position.\n"
        "  the model has 1 outputs ('out'), the dataset 2 targets ('score_1', 'age_1'), matched by "
        "position."
    )


def test_a_model_without_declared_inputs_is_told(data: mf.Dataset) -> None:
    """A subclassed model that was never called has nothing to compare."""

    class Bare(keras.Model):
        def call(self, inputs: object) -> object:
            return inputs

    with pytest.raises(mf.ModelError) as caught:
        mf.check_model(Bare(name="bare"), data)
    assert str(caught.value) == (
        "'bare' declares no inputs, so they cannot be compared.\n"
        "  Build it with mf.inputs(data), or call it on a batch: model(loader.batch(0, 0)[0])."
    )


def test_unlearned_shapes_are_told(data: mf.Dataset) -> None:
    """The width of a learned one-hot vector is not known before adapt."""
    rows = data.rows
    unlearned = mf.Dataset(rows, inputs={"kind": mf.Category("kind", one_hot=True)})
    with pytest.raises(mf.NotAdaptedError) as caught:
        mf.inputs(unlearned)
    assert str(caught.value) == (
        "'kind' has to learn from the training rows before it can be read (it is a Category).\n"
        "  Call train.adapt() on the training part of the split, or data.adapt() if there is none."
    )
    unlearned.adapt()
    assert mf.inputs(unlearned)["kind"].shape == (None, 3)
