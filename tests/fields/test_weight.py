"""Sample weights: finite, not negative, one for each target."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_sample_weight

import multifeed as mf


def dataset(weights: Any, **options: Any) -> mf.Dataset:
    """Return a dataset with a column of weights."""
    columns = {"id": ["p1", "p2", "p3"], "x": [1, 2, 3], "w": weights}
    options = {"targets": mf.Numeric("x"), "sample_weight": "w"} | options
    return mf.Dataset(columns, inputs=mf.Numeric("x"), key="id", **options)


def test_weights_are_floats_beside_the_targets() -> None:
    """Each sample has its own, float32, without an axis."""
    data = dataset([1, 0, 2.5])
    assert data.spec[2] == mf.Spec((), "float32")
    assert [float(data[row][2]) for row in range(3)] == [1, 0, 2.5]


def test_targets_without_a_column_weigh_1() -> None:
    """A dict of columns may leave targets out."""
    targets = {"a": mf.Numeric("x"), "b": mf.Numeric("x")}
    data = dataset([3, 4, 5], targets=targets, sample_weight={"b": "w"})
    assert data[1][2] == {"a": 1, "b": 4}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            [1, None, 1],
            "it is missing: column 'w' holds no finite number.\n"
            "  Row: 1.\n"
            "  Fill it in, or give the sample the weight 0.",
        ),
        (
            np.array([1, np.inf, np.nan]),
            "it is infinite: column 'w' holds no finite number (2 such rows).\n"
            "  Row: 1.\n"
            "  Fill it in, or give the sample the weight 0.",
        ),
        (
            [1, -0.5, 1],
            "it is negative: -0.5.\n  Row: 1.\n  A weight is 0 or more.",
        ),
        (
            [1, 1e39, 1],
            "it holds 1e+39, which float32 cannot hold (column 'w').\n  Row: 1.\n  Rescale the column.",
        ),
    ],
)
def test_a_weight_that_is_none_is_told(weights: Any, message: str) -> None:
    """The error names the target, the key and the row."""
    with pytest.raises(mf.SampleError) as caught:
        dataset(weights)[0]
    assert str(caught.value) == f"'sample_weight:x_1' of sample 'p2' cannot be used: {message}"


def test_a_column_that_holds_no_numbers_is_told() -> None:
    """Text weighs nothing."""
    with pytest.raises(mf.DeclarationError) as caught:
        dataset(["a", "b", "c"])
    assert str(caught.value) == (
        "field 'sample_weight:x_1': a column of sample weights holds numbers; 'w' holds string.\n"
        "  Declare text and codes as mf.Category, or convert the column."
    )


class TestClassWeight:
    ROWS: ClassVar = {
        "x": [1.0, 2.0, 3.0, 4.0],
        "sick": ["no", "yes", "no", "no"],
        "stage": [1, 2, 1, 3],
        "w": [1.0, 2.0, 3.0, 4.0],
    }

    def declare(self, **options: Any) -> mf.Dataset:
        targets = {
            "sick": mf.Category("sick"),
            "stage": mf.Category("stage", one_hot=True),
            "x": mf.Numeric("x"),
        }
        data = mf.Dataset(self.ROWS, inputs={"age": mf.Numeric("x")}, targets=targets, **options)
        data.adapt()
        return data

    def weights(self, data: mf.Dataset, class_weight: Any) -> dict[str, list[float]]:
        batch = mf.Feed(data, 4, class_weight=class_weight).batch(0, 0)
        return {name: weights.tolist() for name, weights in batch[2].items()}

    def test_each_target_has_its_own(self) -> None:
        """By label, for class numbers and one-hot alike; the others, and other labels, weigh 1."""
        found = self.weights(self.declare(), {"sick": {"yes": 5}, "stage": {1: 0.5, 3: 2.0}})
        assert found == {
            "sick": [1.0, 5.0, 1.0, 1.0], "stage": [0.5, 1.0, 0.5, 2.0], "x": [1.0, 1.0, 1.0, 1.0],
        }  # fmt: skip

    def test_balanced_is_what_scikit_learn_computes(self) -> None:
        """For labels of any share."""
        labels = np.random.default_rng(0).choice(["a", "b", "c"], 100, p=[0.7, 0.2, 0.1])
        data = mf.Dataset(
            {"y": labels.tolist()}, inputs=mf.Category("y", vocabulary=["a", "b", "c", "d"]),
            targets={"y2": mf.Category("y", vocabulary=["a", "b", "c", "d"])},
        )  # fmt: skip
        found = mf.Feed(data, 100, class_weight={"y2": "balanced"}).batch(0, 0)[2]["y2"]
        np.testing.assert_allclose(found, compute_sample_weight("balanced", labels), rtol=1e-6)

    def test_sample_weights_are_multiplied(self) -> None:
        """A column for all targets, and one for some."""
        by_class = {"sick": {"yes": 5.0}}
        found = self.weights(self.declare(sample_weight="w"), by_class)
        assert found["sick"] == [1.0, 10.0, 3.0, 4.0]
        assert found["stage"] == [1.0, 2.0, 3.0, 4.0]
        found = self.weights(self.declare(sample_weight={"stage": "w"}), by_class)
        assert found["sick"] == [1.0, 5.0, 1.0, 1.0]
        assert found["stage"] == [1.0, 2.0, 3.0, 4.0]

    def test_labels_out_of_the_vocabulary_are_a_class(self) -> None:
        """They weigh 1 by label, and their share when balanced."""
        data = mf.Dataset(
            {"y": ["a", "z", "y", "a"]}, inputs=mf.Category("y", vocabulary=["a"], oov=True),
            targets={"t": mf.Category("y", vocabulary=["a"], oov=True)},
        )  # fmt: skip
        assert self.weights(data, {"t": {"a": 3.0}}) == {"t": [3.0, 1.0, 1.0, 3.0]}
        assert self.weights(data, {"t": "balanced"}) == {"t": [1.0, 1.0, 1.0, 1.0]}

    def test_the_dataset_stays_as_it_was(self) -> None:
        """Weights belong to the loader: another one has none."""
        data = self.declare()
        mf.Feed(data, 2, class_weight={"sick": "balanced"})
        assert len(mf.Feed(data, 2).batch(0, 0)) == 2

    @pytest.mark.parametrize(
        ("class_weight", "message"),
        [
            (
                "balanced",
                "class_weight is a dict by target; received 'balanced'.\n"
                "  Write class_weight={'sick': \"balanced\"}, or a weight by label.",
            ),
            (
                {0: 1.0, 1: 5.0},
                "class_weight is a dict by target, and there is no target 0.\n"
                "  There are: 'sick', 'stage', 'x'.",
            ),
            (
                {"x": "balanced"},
                "class weights are by label, and target 'x' is a Numeric, not a Category.",
            ),
            (
                {"sick": {"yess": 2.0}},
                "class_weight of 'sick' names a label that it does not have: 'yess'.\n"
                "  Did you mean 'yes'?",
            ),
            (
                {"sick": {"yes": -1.0}},
                "class_weight of 'sick' is \"balanced\", or a dict of finite weights of 0 or more by "
                "label.\n"
                "  Received: {'yes': -1.0}.",
            ),
            (
                {"sick": "equal"},
                "class_weight of 'sick' is \"balanced\", or a dict of finite weights of 0 or more by "
                "label.\n"
                "  Received: 'equal'.",
            ),
        ],
    )
    def test_what_is_no_class_weight_is_told(self, class_weight: Any, message: str) -> None:
        """Keras' own form, unknown targets and labels, and weights that are none."""
        with pytest.raises(mf.DeclarationError) as caught:
            mf.Feed(self.declare(), 2, class_weight=class_weight)
        assert str(caught.value) == message

    def test_without_targets_there_is_nothing_to_weigh(self) -> None:
        with pytest.raises(mf.DeclarationError) as caught:
            mf.Feed(mf.Dataset(self.ROWS, inputs=mf.Numeric("x")), 2, class_weight={"x": "balanced"})
        assert str(caught.value) == (
            "class weights weigh the loss of targets, and there are none.\n  Pass targets=."
        )

    def test_labels_must_be_known(self) -> None:
        """Before adapt, that is told."""
        data = mf.Dataset(self.ROWS, inputs=mf.Numeric("x"), targets={"sick": mf.Category("sick")})
        with pytest.raises(mf.NotAdaptedError):
            mf.Feed(data, 2, class_weight={"sick": "balanced"})
