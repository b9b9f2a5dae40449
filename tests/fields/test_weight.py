"""Sample weights: finite, not negative, one for each target."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

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
