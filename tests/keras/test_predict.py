"""predict: a table of keys and of what the model says, in the words and units of the dataset."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pyarrow as pa
import pytest

import multifeed as mf

COUNT = 11
ROWS: dict[str, Any] = {
    "id": [f"k{number:02}" for number in range(COUNT)],
    "n": np.arange(COUNT),
    "m": np.arange(COUNT) * 2.0 + 100,
    "kind": [("no", "yes", "maybe")[number % 3] for number in range(COUNT)],
    "code": np.arange(COUNT) % 3 * 10,
    "sick": [number % 2 == 1 for number in range(COUNT)],
}
LABELS = ["no", "yes", "maybe"]


def declare(targets: Any = None, rows: Any = ROWS, key: Any = "id") -> mf.Dataset:
    return mf.Dataset(rows, key=key, inputs={"n": mf.Numeric("n")}, targets=targets)


def fixed(values: Any, name: str = "out") -> keras.layers.Layer:
    """Return a layer that gives row n of `values` for the input n."""
    table = np.asarray(values, np.float32)
    flat = table.reshape(len(table), -1)
    look_up = keras.layers.Embedding(*flat.shape, weights=[flat])
    reshape = keras.layers.Reshape(table.shape[1:], name=name)
    return lambda n: reshape(look_up(keras.layers.Reshape(())(n)))


def model_of(outputs: Any) -> keras.Model:
    """Return a model of the input n with outputs of fixed values: one array, or a dict or list."""
    n = keras.Input((1,), name="n")
    if isinstance(outputs, dict):
        made: Any = {name: fixed(values, name)(n) for name, values in outputs.items()}
    elif isinstance(outputs, list):
        made = [fixed(values, f"out{place}")(n) for place, values in enumerate(outputs)]
    else:
        made = fixed(outputs)(n)
    return keras.Model({"n": n}, made, name="model")


def predicted(outputs: Any, data: mf.Dataset, batch_size: int = 4, **options: Any) -> pa.Table:
    """Return the table of a model of fixed outputs over a dataset."""
    targets = options.pop("targets", None)
    with mf.Loader(data, batch_size, **options) as loader:
        table = mf.predict(model_of(outputs), loader, targets=targets, verbose=0)
        assert loader.epoch == 0
    return table


def softmax(seed: int, classes: int) -> np.ndarray:
    scores = np.exp(np.random.default_rng(seed).normal(size=(COUNT, classes)))
    return np.asarray(scores / scores.sum(1, keepdims=True), np.float32)


KIND = mf.Category("kind", vocabulary=LABELS)


class TestRows:
    """One row for each sample that is served, under its key."""

    def test_rows_stand_in_the_order_of_the_loader(self) -> None:
        """Shuffled too: each row has its own key and its own output; the epoch stays."""
        data = declare({"out": mf.Numeric("m")})
        values = np.arange(COUNT)[:, None] + 0.5
        with mf.Loader(data, 4, shuffle=True, seed=3) as loader:
            loader.epoch = 5
            table = mf.predict(model_of({"out": values}), loader, verbose=0)
            rows = np.concatenate([loader.rows(5, step) for step in range(3)])
            assert loader.epoch == 5
        assert rows.tolist() != list(range(COUNT))
        assert table.to_pydict() == {
            "id": [ROWS["id"][row] for row in rows],
            "out": [row + 0.5 for row in rows],
        }

    @pytest.mark.parametrize(
        ("key", "names"),
        [("id", ["id"]), (("code", "id"), ["code", "id"]), ("n", ["n"]), (None, ["row"])],
    )
    def test_keys_have_the_columns_and_types_of_the_dataset(self, key: Any, names: list[str]) -> None:
        """A composite key is several columns; without a key it is the row number."""
        table = predicted(np.zeros((COUNT, 1)), declare(mf.Numeric("m"), key=key))
        assert table.column_names == [*names, "m"]
        columns = ROWS | {"row": np.arange(COUNT)}
        for name in names:
            assert table[name].to_pylist() == list(columns[name])
        parts = declare(mf.Numeric("m"), key=key).split(0.5, 0.5)
        again = predicted(np.arange(COUNT)[:, None], mf.concat(parts), 3)
        assert again[names[-1]].to_pylist() == (
            list(range(COUNT))
            if key is None
            else [columns[names[-1]][int(n)] for n in again["m"].to_pylist()]
        )

    def test_rows_that_pad_batches_are_left_out(self) -> None:
        """Those that remainder="pad" adds, also in the middle of a stream of passes."""
        data = declare(mf.Numeric("m"))
        values = np.arange(COUNT)[:, None]
        table = predicted(values, data, remainder="pad")
        assert table["m"].to_pylist() == list(range(COUNT))
        table = predicted(values, data, remainder="pad", steps_per_epoch=5)
        assert table["m"].to_pylist() == [*range(COUNT), *range(8)]

    @pytest.mark.parametrize(
        ("options", "count"), [({"remainder": "drop"}, 8), ({"steps_per_epoch": 1}, 4)]
    )
    def test_samples_that_are_left_out_are_told(self, options: dict[str, Any], count: int) -> None:
        """A warning with their number; the rest is predicted."""
        with pytest.warns(mf.MultifeedWarning) as caught:
            table = predicted(np.arange(COUNT)[:, None], declare(mf.Numeric("m")), **options)
        ours = [each for each in caught if each.category is mf.MultifeedWarning]
        assert [str(each.message) for each in ours] == [
            f"an epoch of this loader leaves out {COUNT - count} of 11 samples, and so does the table.\n"
            '  Pass a loader with remainder="keep" and without steps_per_epoch to predict them all.'
        ]
        assert ours[0].filename == __file__
        assert table["m"].to_pylist() == list(range(count))


class TestCategories:
    """Labels, and the probabilities or scores of all of them."""

    @pytest.mark.parametrize("one_hot", [False, True])
    def test_probabilities(self, one_hot: bool) -> None:
        """The label in its own words, its probability, and those of all labels."""
        field = mf.Category("kind", vocabulary=LABELS, one_hot=one_hot)
        values = softmax(1, 3)
        table = predicted({"kind": values}, declare({"kind": field}))
        assert table.schema == pa.schema(
            {
                "id": pa.string(),
                "kind": pa.string(),
                "kind_probability": pa.float32(),
                "kind_probabilities": pa.struct(dict.fromkeys(LABELS, pa.float32())),
            }
        )
        assert table["kind"].to_pylist() == [LABELS[best] for best in values.argmax(1)]
        assert table["kind_probability"].to_pylist() == values.max(1).tolist()
        assert table["kind_probabilities"].to_pylist() == [
            dict(zip(LABELS, row, strict=True)) for row in values.tolist()
        ]

    def test_labels_keep_their_type(self) -> None:
        """Integers and booleans stay what they are; fields of a struct are texts."""
        data = declare({"code": mf.Category("code"), "sick": mf.Category("sick")})
        data.adapt()
        table = predicted({"code": softmax(2, 3), "sick": softmax(3, 2)}, data)
        assert table["code"].type == pa.int64()
        assert set(table["code"].to_pylist()) <= {0, 10, 20}
        assert list(table["code_probabilities"][0].as_py()) == ["0", "10", "20"]
        assert table["sick"].type == pa.bool_()
        assert list(table["sick_probabilities"][0].as_py()) == ["False", "True"]

    def test_a_class_out_of_vocabulary_has_no_label(self) -> None:
        """Null, and "unknown" among the probabilities, whatever the labels are called."""
        values = softmax(4, 4)
        field = mf.Category("kind", vocabulary=LABELS, oov=True)
        table = predicted(values, declare(field))
        assert table["kind"].to_pylist() == [[None, *LABELS][best] for best in values.argmax(1)]
        assert None in table["kind"].to_pylist()
        assert list(table["kind_probabilities"][0].as_py()) == ["unknown", *LABELS]
        named = mf.Category("kind", vocabulary=["unknown", "yes", "no"], oov=True)
        table = predicted(values, declare(named))
        assert list(table["kind_probabilities"][0].as_py()) == ["unknown_1", "unknown", "yes", "no"]

    @pytest.mark.parametrize("shape", [(COUNT, 1), (COUNT,)])
    def test_one_probability_for_two_classes_is_that_of_the_second(self, shape: Any) -> None:
        """As a sigmoid returns it."""
        values = np.linspace(0, 1, COUNT, dtype=np.float32)
        table = predicted(values.reshape(shape), declare(mf.Category("sick", vocabulary=[False, True])))
        assert table["sick"].to_pylist() == [value > 0.5 for value in values.tolist()]
        np.testing.assert_array_equal(table["sick_probability"], np.maximum(values, 1 - values))
        both = [{"False": float(1 - value), "True": float(value)} for value in values]
        assert table["sick_probabilities"].to_pylist() == both

    def test_what_is_no_probability_is_a_score(self) -> None:
        """Values below 0, above 1 or of another sum, in a single sample, make scores of all."""
        for change in (-0.1, 1.1, 0.002):
            values = softmax(5, 3)
            values[7, 1] = values[7, 1] + change if change == 0.002 else change
            table = predicted(values, declare(KIND))
            assert table.column_names == ["id", "kind", "kind_score", "kind_scores"]
            assert table["kind"].to_pylist() == [LABELS[best] for best in values.argmax(1)]
            assert table["kind_score"].to_pylist() == values.max(1).tolist()

    def test_one_score_for_two_classes_is_compared_with_0(self) -> None:
        """It is the logit of the second class: the scores are 0 and it."""
        values = np.linspace(-3, 3, COUNT)[:, None]
        table = predicted(values, declare(mf.Category("sick", vocabulary=[False, True])))
        assert table["sick"].to_pylist() == (values[:, 0] > 0).tolist()
        assert table["sick_score"][10].as_py() == 3.0
        assert table["sick_scores"][0].as_py() == {"False": 0.0, "True": -3.0}

    def test_a_sample_without_an_answer_has_no_label(self) -> None:
        """NaN makes its label null, and no scores of the others' probabilities."""
        values = softmax(6, 3)
        values[2] = np.nan
        table = predicted(values, declare(KIND))
        assert table["kind"].null_count == 1
        assert table["kind"][2].as_py() is None
        assert np.isnan(table["kind_probability"][2].as_py())

    def test_scores_without_a_class_have_numbers(self) -> None:
        """A model may return more scores than there are labels."""
        values = softmax(7, 5)
        table = predicted(values, declare(KIND))
        assert list(table["kind_probabilities"][0].as_py()) == [*LABELS, "3", "4"]
        assert table["kind"].to_pylist() == [[*LABELS, None, None][best] for best in values.argmax(1)]

    def test_labels_must_be_known(self) -> None:
        """The error is that of reading the dataset."""
        with pytest.raises(mf.NotAdaptedError) as caught:
            predicted(softmax(8, 3), declare(mf.Category("kind")))
        assert str(caught.value) == (
            "'kind' has to learn from the training rows before it can be read (it is a Category).\n"
            "  Call train.adapt() on the training part of the split, or data.adapt() if there is none."
        )


class TestNumbers:
    """Numbers in their own units, arrays as tensors."""

    def test_normalised_numbers_are_turned_back(self) -> None:
        """One column for one, a struct for several."""
        data = declare(
            {"m": mf.Numeric("m", normalize=True), "both": mf.Numeric(["n", "m"], normalize=True)}
        )
        data.adapt()
        values = np.random.default_rng(0).normal(size=(COUNT, 2)).astype(np.float32)
        table = predicted({"m": values[:, :1], "both": values}, data)
        m = values * np.std(ROWS["m"]) + np.mean(ROWS["m"])
        n = values * np.std(ROWS["n"]) + np.mean(ROWS["n"])
        assert table["m"].type == pa.float32()
        np.testing.assert_allclose(table["m"], m[:, 0], rtol=1e-5)
        assert table["both"].type == pa.struct({"n": pa.float32(), "m": pa.float32()})
        found = table["both"].combine_chunks()
        np.testing.assert_allclose(found.field("n"), n[:, 0], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(found.field("m"), m[:, 1], rtol=1e-5)

    def test_columns_of_one_name_are_told_apart(self) -> None:
        """In a struct, and where a target is called as a part of the key is."""
        values = np.arange(2 * COUNT).reshape(COUNT, 2)
        table = predicted(values, declare(mf.Numeric(["m", "m"])))
        assert list(table["numeric"][3].as_py()) == ["m", "m_1"]
        table = predicted({"id": values[:, :1]}, declare({"id": mf.Numeric("m")}))
        assert table.column_names == ["id", "id_1"]

    def test_arrays_are_tensors_and_a_scale_is_undone(self) -> None:
        """An autoencoder's output comes back in the range of its input."""
        rows = {"n": np.arange(COUNT), "photo": np.zeros((COUNT, 2, 3, 1), np.uint8)}
        inputs = {"n": mf.Numeric("n"), "photo": mf.Array("photo")}
        target = mf.Same("photo", dtype="float32", scale=1 / 255)
        data = mf.Dataset(rows, inputs=inputs, targets={"again": target, "plain": mf.Array("photo")})
        values = np.random.default_rng(0).random((COUNT, 2, 3, 1), np.float32)
        n, photo = keras.Input((1,), name="n"), keras.Input((2, 3, 1), name="photo")
        outputs = {"again": fixed(values, "again")(n), "plain": fixed(values, "plain")(n)}
        model = keras.Model({"n": n, "photo": photo}, outputs)
        table = mf.predict(model, mf.Loader(data, 4), verbose=0)
        assert table["plain"].type == pa.fixed_shape_tensor(pa.float32(), (2, 3, 1))
        np.testing.assert_array_equal(table["plain"].combine_chunks().to_numpy_ndarray(), values)
        again = table["again"].combine_chunks().to_numpy_ndarray()
        np.testing.assert_allclose(again, values * 255, rtol=1e-6)

    def test_scalar_arrays_are_numbers(self) -> None:
        """An output of one number a sample is a column of numbers."""
        table = predicted(np.arange(COUNT)[:, None], declare({"code": mf.Array("code")}))
        assert table["code"].to_pylist() == list(range(COUNT))


class TestPairing:
    """Which output is which target: as Keras pairs them in fit."""

    def test_by_position(self) -> None:
        """Tuples of targets and lists of outputs."""
        data = declare((mf.Numeric("m"), KIND))
        table = predicted([np.arange(COUNT)[:, None], softmax(1, 3)], data)
        assert table.column_names == ["id", "m", "kind", "kind_probability", "kind_probabilities"]

    def test_by_name(self) -> None:
        """Dicts, and dicts of targets for a list of outputs by the names of their layers."""
        data = declare({"out1": KIND, "out0": mf.Numeric("m")})
        outputs = [np.arange(COUNT)[:, None], softmax(1, 3)]
        table = predicted(outputs, data)
        assert table.column_names == ["id", "out1", "out1_probability", "out1_probabilities", "out0"]
        assert table == predicted({"out0": outputs[0], "out1": outputs[1]}, data)

    def test_one_output_is_the_one_target(self) -> None:
        """Whatever either is called."""
        assert predicted(np.zeros((COUNT, 1)), declare({"m": mf.Numeric("m")})).column_names == [
            "id",
            "m",
        ]
        assert predicted({"x": np.zeros((COUNT, 1))}, declare(mf.Numeric("m"))).column_names == [
            "id",
            "m",
        ]

    def test_outputs_that_are_no_target_come_as_they_are(self) -> None:
        """Under their own names; targets without an output are left out."""
        data = declare({"kind": KIND, "m": mf.Numeric("m")})
        table = predicted({"kind": softmax(1, 3), "features": np.ones((COUNT, 4))}, data)
        assert table.column_names == ["id", "kind", "kind_probability", "kind_probabilities", "features"]
        assert table["features"].type == pa.fixed_shape_tensor(pa.float32(), (4,))

    def test_without_targets_all_come_as_they_are(self) -> None:
        """A test set without labels; with those of the training set they are decoded."""
        test = declare(rows={name: ROWS[name] for name in ("id", "n")})
        outputs = {"kind": softmax(1, 3), "m": np.zeros((COUNT, 1))}
        table = predicted(outputs, test)
        assert table.column_names == ["id", "kind", "m"]
        assert table["kind"].type == pa.fixed_shape_tensor(pa.float32(), (3,))
        train = declare({"kind": mf.Category("kind"), "m": mf.Numeric("m", normalize=True)})
        train.adapt()
        table = predicted(outputs, test, targets=train)
        assert table["m"].to_pylist() == pytest.approx([110.0] * COUNT)
        assert set(table["kind"].to_pylist()) <= set(LABELS)

    def test_a_model_that_declares_nothing(self) -> None:
        """A subclassed model's outputs have no names but those of its dict."""

        class Bare(keras.Model):
            def __init__(self, structure: str) -> None:
                super().__init__()
                self.structure = structure

            def call(self, inputs: Any) -> Any:
                n = inputs["n"]
                return {"one": n, "pair": [n, n + 1.0], "dict": {"m": n, "other": n + 1.0}}[
                    self.structure
                ]

        unlabelled, labelled = declare(), declare({"m": mf.Numeric("m")})

        def names(structure: str, data: mf.Dataset) -> list[str]:
            return mf.predict(Bare(structure), mf.Loader(data, 4), verbose=0).column_names[1:]

        assert names("one", unlabelled) == ["output"]
        assert names("one", labelled) == ["m"]
        assert names("pair", unlabelled) == ["output", "output_1"]
        both = declare((mf.Category("sick", vocabulary=[False, True]), mf.Numeric("m")))
        assert names("pair", both) == ["sick", "sick_score", "sick_scores", "m"]
        assert names("dict", labelled) == ["m", "other"]

    def test_nested_outputs_come_flat(self) -> None:
        """Where no target is known; they cannot be targets."""
        n = keras.Input((1,), name="n")
        values = np.zeros((COUNT, 1))
        model = keras.Model(
            {"n": n}, {"p": [fixed(values, "a")(n), fixed(values, "b")(n)]}, name="model"
        )
        table = mf.predict(model, mf.Loader(declare(), 4), verbose=0)
        assert table.column_names == ["id", "p_0", "p_1"]
        with pytest.raises(mf.ModelError) as caught:
            mf.predict(model, mf.Loader(declare(mf.Numeric("m")), 4), verbose=0)
        assert str(caught.value) == (
            "model 'model' does not fit the dataset in 1 thing:\n"
            "  the model's outputs are nested; those of a dataset have one level. Give the model a dict "
            "of outputs, without lists or dicts in it."
        )

    @pytest.mark.parametrize(
        ("targets", "outputs", "problems"),
        [
            (
                KIND,
                np.zeros((COUNT, 2)),
                ["target 'kind' has 3 classes; the model's output has 2 scores a sample."],
            ),
            (
                KIND,
                np.zeros((COUNT, 2, 3)),
                ["target 'kind' is one class a sample; the model returns (2, 3)."],
            ),
            (
                mf.Numeric(["n", "m"]),
                np.zeros((COUNT, 3)),
                ["target 'numeric' yields shape (2,) a sample; the model returns (3,)."],
            ),
            (
                (KIND, mf.Numeric("m")),
                [np.zeros((COUNT, 3))] * 3,
                [
                    "the model has 3 outputs ('out0', 'out1', 'out2'), the dataset 2 targets ('kind', "
                    "'m'), matched by position."
                ],
            ),
            (
                (KIND, mf.Numeric("m")),
                {"m": np.zeros((COUNT, 1)), "kind": np.zeros((COUNT, 3))},
                [
                    "the model returns a dict of outputs ('m', 'kind'), the dataset has targets in a "
                    "tuple; declare targets={...} by name."
                ],
            ),
            (
                {"kind": KIND, "m": mf.Numeric("m")},
                [np.zeros((COUNT, 1))] * 2,
                [
                    "target 'kind' of the dataset () int32 is none of the model's outputs; it has "
                    "'out0', 'out1'.",
                    "target 'm' of the dataset (1,) float32 is none of the model's outputs; it has "
                    "'out0', 'out1'.",
                    "output 'out0' of the model (1,) float32 is none of the dataset's targets; declare "
                    "it in targets={...}.",
                    "output 'out1' of the model (1,) float32 is none of the dataset's targets; declare "
                    "it in targets={...}.",
                ],
            ),
        ],
    )
    def test_outputs_that_cannot_be_the_targets_are_told(
        self, targets: Any, outputs: Any, problems: list[str]
    ) -> None:
        """In the words of check_model."""
        with pytest.raises(mf.ModelError) as caught:
            predicted(outputs, declare(targets))
        things = "1 thing" if len(problems) == 1 else f"{len(problems)} things"
        head = f"model 'model' does not fit the dataset in {things}:"
        assert str(caught.value) == "\n  ".join([head, *problems])


def test_models_that_were_trained_predict_their_targets() -> None:
    """Compiled, fitted and with float16 outputs: the same table."""
    data = declare({"m": mf.Numeric("m", normalize=True), "kind": KIND})
    data.adapt()
    inputs = mf.inputs(data)
    outputs = {
        "m": keras.layers.Dense(1, name="m", dtype="mixed_float16")(inputs["n"]),
        "kind": keras.layers.Dense(3, "softmax", name="kind", dtype="mixed_bfloat16")(inputs["n"]),
    }
    model = keras.Model(inputs, outputs)
    mf.check_model(model, data)
    model.compile("sgd", {"m": "mse", "kind": "sparse_categorical_crossentropy"})
    with mf.Loader(data, 4, shuffle=True) as loader:
        model.fit(loader, epochs=1, verbose=0)
        table = mf.predict(model, loader, verbose=0)
        assert loader.epoch == 1
        assert table["id"].to_pylist() == [key for step in range(3) for key in loader.keys(1, step)]
    assert table["m"].type == table["kind_probability"].type == pa.float32()


def test_an_output_must_have_a_row_for_each_sample() -> None:
    """A model that returns something else is told."""

    class Short(keras.Model):
        def call(self, inputs: Any) -> Any:
            return {"m": inputs["n"], "one": inputs["n"][:1]}

    model = Short(name="short")
    with pytest.raises(mf.ModelError) as caught:
        mf.predict(model, mf.Loader(declare(), 4), verbose=0)
    assert str(caught.value) == (
        "an output has one row a sample, which are 11 in this epoch.\n"
        "  Received from model 'short': 'm' has 11, 'one' has 3."
    )


def test_a_bad_sample_is_told_as_it_is() -> None:
    """TensorFlow's own exception in its place is taken away."""
    data = declare(rows=ROWS | {"file": ["nowhere.jpg"] * COUNT})
    data = mf.Dataset(data.rows, key="id", inputs={"n": mf.Numeric("n"), "x": mf.Image("file", size=4)})
    with pytest.raises(mf.SampleError, match="^'x' of sample 'k0[0-3]' cannot be used"):
        mf.predict(model_of(np.zeros((COUNT, 1))), mf.Loader(data, 4), verbose=0)


def test_arguments_are_checked() -> None:
    """A loader, and a dataset with targets."""
    data = declare()
    model = model_of(np.zeros((COUNT, 1)))
    with pytest.raises(mf.DeclarationError) as caught:
        mf.predict(model, data)  # type: ignore[arg-type]
    assert str(caught.value) == (
        "predictions are made on a mf.Loader; received Dataset.\n  Pass mf.Loader(data, batch_size=...)."
    )
    with pytest.raises(mf.DeclarationError) as caught:
        mf.predict(model, mf.Loader(data, 4), targets=data)
    assert str(caught.value) == (
        "targets= is the dataset whose targets the model predicts; this one has no targets.\n"
        "  Pass the dataset that the model was trained on, or leave targets out: the outputs then come "
        "as they are."
    )


def test_a_loader_that_augments_is_refused() -> None:
    """A prediction under a sample's key is of that sample."""
    data = mf.Dataset({"x": np.ones((4, 3), np.float32)}, inputs={"x": mf.Array("x")})
    x = mf.inputs(data)
    model = keras.Model(x, keras.layers.Dense(1)(x["x"]))
    with pytest.raises(mf.DeclarationError) as caught:
        mf.predict(model, mf.Loader(data, 2, augment=mf.Noise("x", sigma=1)))
    assert str(caught.value) == (
        "predictions are of the samples as they are; this loader changes them at random.\n"
        "  Pass a loader without augment=."
    )
