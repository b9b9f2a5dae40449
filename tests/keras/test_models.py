"""inputs and check_model: what a model must take, and every mismatch at once."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
import pytest

import multifeed as mf
from multifeed.keras.check import _FLOAT_ONLY
from multifeed.structure import flat as names_of

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
        "  input 'age' of the dataset (1,) float32 is none of the model's inputs; it has 'scan', "
        "'years'.\n"
        "  input 'years' of the model (1,) float32 is none of the dataset's inputs; declare it in "
        "inputs={...}.\n"
        "  input 'scan' yields shape (8, 8, 3) a sample; the model takes (16, 16, 3).\n"
        "  target 'score' of the dataset (1,) float32 is none of the model's outputs; it has 'kind', "
        "'grade'.\n"
        "  output 'grade' of the model (1,) float32 is none of the dataset's targets; declare it in "
        "targets={...}.\n"
        "  target 'kind' has 3 classes; the model's output has 2 scores a sample."
    )


def test_integers_straight_into_a_kernel_are_told(data: mf.Dataset) -> None:
    """uint8 into Conv2D is an error on TensorFlow: said before, on every backend."""
    only = mf.Dataset(data.rows, inputs={"scan": mf.Array("scan")})
    inputs = {"scan": keras.Input((8, 8, 3), dtype="uint8", name="scan")}
    layer = keras.layers.Conv2D(2, 3, name="first")
    model = keras.Model(inputs, layer(inputs["scan"]), name="raw")
    with pytest.raises(mf.ModelError) as caught:
        mf.check_model(model, only)
    assert str(caught.value) == (
        "model 'raw' does not fit the dataset in 1 thing:\n"
        "  input 'scan' reaches layer 'first' as uint8, an error on TensorFlow; put "
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
        "  the model has 1 input ('one'), the dataset 2 inputs ('age', 'score'), matched by "
        "position.\n"
        "  the model has 1 output ('out'), the dataset 2 targets ('score_1', 'age_1'), matched by "
        "position."
    )


def test_a_model_without_declared_inputs_is_told(data: mf.Dataset) -> None:
    """A subclassed model has nothing to compare, before and after it was called."""

    class Bare(keras.Model):
        def call(self, inputs: object) -> object:
            return inputs

    model = Bare(name="bare")
    for _ in range(2):
        with pytest.raises(mf.ModelError) as caught:
            mf.check_model(model, data)
        assert str(caught.value) == (
            "'bare' declares no inputs, so they cannot be compared.\n"
            "  Build it functionally: keras.Model(inputs, outputs) with inputs = mf.inputs(data)."
        )
        model(np.zeros((2, 1), np.float32))


# Two inputs and two targets whose names are not in alphabetical order, and what each part of a batch
# and of a model can look like.
ROWS = {name: np.full(4, value, np.float32) for name, value in zip("bazy", (2, 3, 5, 7), strict=True)}
KINDS = ("one", "tuple of 1", "tuple", "dict of 1", "dict", "dict turned")


def part(kind: str, first: str, second: str, make: Any) -> Any:
    """Make one part of a batch or a model; dicts have the names of what is in them."""
    if kind.startswith("dict"):
        chosen = {"dict of 1": (first,), "dict": (first, second), "dict turned": (second, first)}[kind]
        return {name: make(name) for name in chosen}
    if kind == "one":
        return make(first)
    return tuple(make(name) for name in ((first, second) if kind == "tuple" else (first,)))


DICT_OF_INPUTS = (
    "  the model takes a dict of inputs ('b', 'a'), the dataset has {}; declare inputs={{...}} by name."
)
DICT_OF_OUTPUTS = (
    "  the model returns a dict of outputs ('z', 'y'), the dataset has {}; declare targets={{...}} by "
    "name."
)
ONE_OUTPUT = (
    "  the model returns one output without a dict, the dataset's targets are a dict; return "
    '{"z": ...} from the model, or declare the target without a dict.'
)


def is_right(model: keras.Model, data: mf.Dataset) -> bool:
    """Whether Keras trains the model on the dataset and pairs all as it looks: the loss is 0 then."""
    model.compile(loss="mse", optimizer="sgd")
    with mf.Loader(data, 2) as loader, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model.fit(loader, verbose=0)
            return bool(np.ravel(model.evaluate(loader, verbose=0))[0] == 0)
        except (ValueError, TypeError, KeyError):
            return False


def told(model: keras.Model, data: mf.Dataset) -> str:
    """Return what check_model says after its first line."""
    try:
        mf.check_model(model, data)
    except mf.ModelError as error:
        return str(error).partition("\n")[2]
    return ""


@pytest.mark.parametrize("has", ["one", "tuple of 1", "tuple", "dict of 1", "dict"])
@pytest.mark.parametrize("yields", KINDS)
def test_structures_of_inputs_are_compared_as_keras_pairs_them(has: str, yields: str) -> None:
    """What passes trains on the right inputs; what Keras refuses does not pass."""
    made = part(has, "b", "a", lambda name: keras.Input((1,), name=name))
    flat = [made] if has == "one" else list(made.values() if isinstance(made, dict) else made)
    # b is 2, a is 3, and z is 5 if each comes where it belongs.
    value = flat[0] * 2.5 if len(flat) == 1 else flat[0] * 7.0 - flat[1] * 3.0
    model = keras.Model(made, keras.layers.Rescaling(1.0, name="z")(value))
    data = mf.Dataset(ROWS, inputs=part(yields, "b", "a", mf.Numeric), targets=mf.Numeric("z"))
    said = told(model, data)
    if not said:
        assert is_right(model, data)
    elif len(names_of(data.structure.inputs)) <= len(flat):
        # More inputs than the model has are told in any case; Keras leaves some of them unused.
        assert not is_right(model, data)
    if has == "dict" and yields in ("one", "tuple of 1", "tuple"):
        assert said == DICT_OF_INPUTS.format("one input" if yields == "one" else "inputs in a tuple")


@pytest.mark.parametrize("has", ["one", "tuple of 1", "tuple", "dict of 1", "dict"])
@pytest.mark.parametrize("yields", KINDS)
def test_structures_of_targets_are_compared_as_keras_pairs_them(has: str, yields: str) -> None:
    """What passes trains on the right targets; what Keras refuses or swaps does not pass."""
    x = keras.Input((1,), name="b")
    outputs = part(
        has, "z", "y", lambda name: keras.layers.Rescaling(2.5 if name == "z" else 3.5, name=name)(x)
    )
    model = keras.Model(x, list(outputs) if isinstance(outputs, tuple) else outputs)
    data = mf.Dataset(ROWS, inputs=mf.Numeric("b"), targets=part(yields, "z", "y", mf.Numeric))
    said = told(model, data)
    assert (not said) == is_right(model, data)
    if has == "dict" and yields in ("one", "tuple of 1", "tuple"):
        assert said == DICT_OF_OUTPUTS.format("one target" if yields == "one" else "targets in a tuple")
    if has in ("one", "tuple of 1") and yields == "dict of 1":
        assert said == ONE_OUTPUT


def test_nested_parts_are_told() -> None:
    """A dataset's structure has one level; lists in a dict are told in words."""
    a, b = keras.Input((1,), name="a"), keras.Input((1,), name="b")
    out = Dense(1, name="z")(keras.layers.Concatenate()([a, b]))
    model = keras.Model({"p": [a, b]}, {"q": [out]})
    data = mf.Dataset(ROWS, inputs={"a": mf.Numeric("a"), "b": mf.Numeric("b")}, targets=mf.Numeric("z"))
    nested = "  the model's {0} are nested; those of a dataset have one level. Give the model a dict of "
    nested += "{0}, without lists or dicts in it."
    assert told(model, data) == f"{nested.format('inputs')}\n{nested.format('outputs')}"


def test_sequential_models_are_checked() -> None:
    """They have no output_names: their last layer names the output."""
    data = mf.Dataset(ROWS, inputs=mf.Numeric("b"), targets=mf.Numeric("z"))
    model = keras.Sequential([keras.Input((1,), name="b"), keras.layers.Rescaling(2.5, name="z")])
    assert told(model, data) == ""
    assert is_right(model, data)
    wrong = keras.Sequential([keras.Input((2,), name="b"), Dense(3)])
    assert told(wrong, data) == (
        "  input 'b' yields shape (1,) a sample; the model takes (2,).\n"
        "  target 'z' yields shape (1,) a sample; the model returns (3,)."
    )
    by_name = mf.Dataset(ROWS, inputs={"b": mf.Numeric("b")}, targets={"z": mf.Numeric("z")})
    assert told(model, by_name) == ONE_OUTPUT


@pytest.mark.parametrize(
    ("shape", "wanted", "is_fit"),
    [((), (1,), True), ((1,), (), True), ((8, 8), (8, 8, 1), True), ((8,), (8, 2), False)],
)
def test_a_last_axis_of_one_comes_and_goes(shape: Any, wanted: Any, is_fit: bool) -> None:
    """Keras adds or drops it for an input."""
    rows = {"x": np.ones((4, *shape), np.float32), "z": np.zeros(4, np.float32)}
    data = mf.Dataset(rows, inputs=mf.Array("x"), targets=mf.Numeric("z"))
    x = keras.Input(wanted, name="x")
    model = keras.Model(x, keras.layers.Reshape((1,))(keras.ops.sum(keras.layers.Flatten()(x), 1)) * 0.0)
    assert (told(model, data) == "") == is_fit == is_right(model, data)


@pytest.mark.parametrize(
    ("shape", "outputs", "dtype", "is_fit"),
    [
        ((4, 4, 1), (4, 4, 3), "uint8", True),
        ((4, 4), (4, 4, 3), "int32", True),
        ((4, 4, 1), (4, 2, 3), "uint8", False),
        ((4, 4, 1), (4, 4, 3), "float32", False),
        ((), (3,), "int32", True),
    ],
)
def test_class_numbers_may_meet_scores_of_each_class(
    shape: Any, outputs: Any, dtype: str, is_fit: bool
) -> None:
    """A map of labels is trained by a sparse loss, which wants one score a class for each number."""
    rows = {"x": np.ones((4, *outputs), np.float32), "map": np.ones((4, *shape), dtype)}
    data = mf.Dataset(rows, inputs=mf.Array("x"), targets=mf.Array("map"))
    x = mf.inputs(data)
    model = keras.Model(x, keras.layers.Softmax()(x))
    assert (told(model, data) == "") == is_fit
    if is_fit:
        model.compile(loss="sparse_categorical_crossentropy")
        model.fit(mf.Loader(data, 2), verbose=0)


def float_only() -> list[Any]:
    """One layer of each class that TensorFlow cannot compute on integers, and its input's shape."""
    made = []
    for cls in _FLOAT_ONLY:
        name = cls.__name__
        rank = next((rank for rank in (1, 2, 3) if f"{rank}D" in name), 2)
        shape = (4,) * (rank + name.startswith("ConvLSTM")) + (3,)
        kernel = {"kernel_size": 2} if "Conv" in name else {}
        filters = {"filters": 2} if "Conv" in name and "Depthwise" not in name else {}
        rate = {"rate": 0.5} if "Dropout" in name else {"stddev": 0.5} if "Noise" in name else {}
        size = (
            {"output_size": 2} if "Adaptive" in name else {"pool_size": 2} if "Pooling" in name else {}
        )
        made.append(pytest.param(cls, shape, {**kernel, **filters, **rate, **size}, id=name))
    return made


@pytest.mark.parametrize(("cls", "shape", "options"), float_only())
def test_layers_that_fail_on_integers_are_told(cls: Any, shape: Any, options: Any) -> None:
    """On every backend, and each of them does fail on TensorFlow."""
    data = mf.Dataset({"x": np.ones((4, *shape), np.uint8)}, inputs=mf.Array("x"))
    x = keras.Input(shape, dtype="uint8", name="x")
    layer = cls(**options, name="first")
    assert told(keras.Model(x, layer(x)), data) == (
        "  input 'x' reaches layer 'first' as uint8, an error on TensorFlow; put "
        "keras.layers.Rescaling(1 / 255) or a cast before it."
    )
    if keras.backend.backend() == "tensorflow":
        with pytest.raises(Exception, match="Exception encountered when calling"):
            cls(**options)(np.ones((2, *shape), np.uint8), training=True)


def test_a_wrapped_layer_is_found() -> None:
    """TimeDistributed(Conv2D) fails as Conv2D does."""
    data = mf.Dataset({"x": np.ones((4, 2, 4, 4, 3), np.uint8)}, inputs=mf.Array("x"))
    x = keras.Input((2, 4, 4, 3), dtype="uint8", name="x")
    outputs = keras.layers.TimeDistributed(keras.layers.Conv2D(2, 3), name="each")(x)
    assert told(keras.Model(x, outputs), data) == (
        "  input 'x' reaches layer 'each' as uint8, an error on TensorFlow; put "
        "keras.layers.Rescaling(1 / 255) or a cast before it."
    )


def test_integers_into_a_dense_layer_are_fine() -> None:
    """Dense casts for itself on every backend."""
    rows = {"x": np.zeros((4, 3), np.uint8), "z": np.zeros(4, np.float32)}
    data = mf.Dataset(rows, inputs=mf.Array("x"), targets=mf.Numeric("z"))
    x = mf.inputs(data)
    model = keras.Model(x, Dense(1, name="z")(x))
    assert told(model, data) == ""
    assert is_right(model, data)


def test_classes_that_another_part_has_learned_are_not_counted() -> None:
    """The whole dataset does not know the classes that a part learned; their shape is known."""
    rows = {"age": np.arange(12), "kind": list("abc" * 4)}
    whole = mf.Dataset(rows, inputs=mf.Numeric("age"), targets=mf.Category("kind"))
    train, _ = whole.split(0.5, 0.5, stratify="kind")
    train.adapt()
    x = keras.Input((1,), name="age")
    model = keras.Model(x, Dense(2, name="kind")(x))
    assert told(model, whole) == ""
    assert told(model, train) == (
        "  target 'kind' has 3 classes; the model's output has 2 scores a sample."
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


@pytest.mark.parametrize("function", ["inputs", "check_model"])
def test_what_is_no_dataset_is_told(function: str) -> None:
    """Nor a loader, which has one."""
    rows = {"x": [1.0]}
    arguments = (rows,) if function == "inputs" else (keras.Sequential(), rows)
    with pytest.raises(mf.DeclarationError) as caught:
        getattr(mf, function)(*arguments)
    assert str(caught.value) == f"mf.{function} takes a dataset; received dict."
    loader = mf.Loader(mf.Dataset(rows, inputs=mf.Numeric("x")), 1)
    assert mf.inputs(loader).shape == (None, 1)
