"""`mf.Numeric`: the numbers themselves, what stands for those that are missing, and normalisation."""

from __future__ import annotations

import decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import multifeed as mf

NAN = float("nan")


def dataset(columns: dict[str, Any], field: mf.Numeric, **options: Any) -> mf.Dataset:
    """Return a dataset of one field, called x."""
    return mf.Dataset(columns, inputs={"x": field}, **options)


def read(columns: dict[str, Any], field: mf.Numeric) -> np.ndarray:
    """Return the values of all rows."""
    data = dataset(columns, field)
    data.adapt()
    return np.stack([data[row][0]["x"] for row in range(len(data))])


def test_one_column_is_a_vector_of_one() -> None:
    """A sample is float32[k], also where k is 1."""
    found = read({"a": [1, 2, 3]}, mf.Numeric("a"))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[1], [2], [3]])


def test_columns_stand_in_the_order_of_the_declaration() -> None:
    """A pattern stands for its columns in table order."""
    columns = {"b2": [1.5], "a": [2], "b1": np.array([3.0]), "c": [4]}
    np.testing.assert_array_equal(read(columns, mf.Numeric(["c", "b*", "a"])), [[4, 1.5, 3, 2]])


@pytest.mark.parametrize("make", [list, tuple, np.array, pd.Index, iter])
def test_columns_may_come_in_any_ordered_form(make: Any) -> None:
    """As lists, or as the columns of a data frame."""
    columns = {"a": [1], "b": [2]}
    np.testing.assert_array_equal(read(columns, mf.Numeric(make(["b", "a"]))), [[2, 1]])
    data = mf.Dataset(columns, inputs=mf.Array(make(["b", "a"])))
    np.testing.assert_array_equal(data[0][0], [2, 1])


@pytest.mark.parametrize(
    "values",
    [
        [True, False],
        np.array([True, False]),
        pa.array([1, 0], pa.uint64()),
        pa.array([1, 0], pa.float16()),
        [decimal.Decimal("1.00"), decimal.Decimal("0.00")],
        np.array([1, 0], ">i2"),
        np.array([1, 0], np.longdouble),
    ],
)
def test_every_type_of_number_is_read(values: Any) -> None:
    """Booleans are 0 and 1; width and byte order do not matter."""
    np.testing.assert_array_equal(read({"a": values}, mf.Numeric("a")), [[1], [0]])


def test_large_integers_are_rounded() -> None:
    """As floats do it, and as NumPy columns are."""
    for values in ([2**60 + 1], np.array([2**60 + 1])):
        assert read({"a": values}, mf.Numeric("a"))[0, 0] == np.float32(2**60)


@pytest.mark.parametrize("make", [pa.array, np.array])
@pytest.mark.parametrize(
    ("missing", "normalize", "filled"),
    [("zero", False, 0), (7, False, 7), (np.float32(2.5), False, 2.5), ("mean", True, 2), (4, True, 4)],
)
def test_missing_fills_what_is_no_finite_number(
    make: Any, missing: Any, normalize: bool, filled: float
) -> None:
    """NaN, infinity and null are filled, in the column's own units."""
    values = make([1.0, NAN, float("inf"), 3.0])
    found = read({"a": values}, mf.Numeric("a", normalize=normalize, missing=missing))
    expected = np.array([1, filled, filled, 3.0])
    if normalize:
        expected = expected - 2  # the finite values have mean 2 and deviation 1
    np.testing.assert_array_equal(found[:, 0], expected)


def test_null_is_missing() -> None:
    """A null of Arrow is filled like NaN."""
    found = read({"a": [1, None, 3]}, mf.Numeric("a", missing="zero"))
    np.testing.assert_array_equal(found[:, 0], [1, 0, 3])


@pytest.mark.parametrize(
    ("values", "word", "also"),
    [
        (np.array([1, NAN, 3]), "missing", ""),
        ([1, None, None], "missing", " (2 such rows)"),
        ([1, -float("inf"), NAN], "infinite", " (2 such rows)"),
    ],
)
def test_a_missing_number_is_refused_by_default(values: Any, word: str, also: str) -> None:
    """The error names field, column, key and row, and counts the rows."""
    columns = {"id": ["p1", "p2", "p3"], "age": values}
    data = dataset(columns, mf.Numeric("age"), key="id")
    with pytest.raises(mf.SampleError) as caught:
        data[0]
    assert str(caught.value) == (
        f"'x' of sample 'p2' cannot be used: it is {word}: column 'age' holds no finite number{also}.\n"
        "  Row: 1.\n"
        '  Fill it in, or declare the field with missing="zero" or a number.'
    )
    assert (caught.value.field, caught.value.key, caught.value.row) == ("x", "p2", 1)


def test_the_mean_is_offered_where_there_is_one() -> None:
    """A normalised field could fill the mean, and the error says so."""
    data = dataset({"age": [1.0, NAN]}, mf.Numeric("age", normalize=True))
    with pytest.raises(mf.SampleError) as caught:
        data.adapt()
    assert str(caught.value) == (
        "'x' of row 1 cannot be used: it is missing: column 'age' holds no finite number.\n"
        "  Row: 1.\n"
        '  Fill it in, or declare the field with missing="zero", "mean" or a number.'
    )


def test_a_number_beyond_float32_is_refused() -> None:
    """It would silently become infinite."""
    data = dataset({"a": [1.0, 2.0], "b": [1.0, 1e300]}, mf.Numeric(["a", "b"]))
    with pytest.raises(mf.SampleError) as caught:
        data[0]
    assert str(caught.value) == (
        "'x' of row 1 cannot be used: it holds 1e+300, which float32 cannot hold (column 'b').\n"
        "  Row: 1.\n"
        "  Rescale the column."
    )


def test_normalized_columns_have_mean_0_and_deviation_1() -> None:
    """Each column on its own, over the rows that were adapted on alone."""
    values = np.random.default_rng(0).normal([3, -20], [2, 0.1], (500, 2))
    columns = {"a": values[:, 0], "b": values[:, 1]}
    data = dataset(columns, mf.Numeric(["a", "b"], normalize=True))
    train, test = data.split(0.8, 0.2, seed=1)
    train.adapt()
    found = np.stack([train[row][0]["x"] for row in range(len(train))])
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(0), 1, atol=1e-5)
    other = np.stack([test[row][0]["x"] for row in range(len(test))])
    assert (abs(other.mean(0)) > 1e-4).all()


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e8 + 0.1, 0.0])
def test_a_constant_column_is_only_centred(value: float) -> None:
    """Whatever rounding leaves of its deviation, which is 1e-17 for a column of 0.1."""
    found = read({"a": np.full(1000, value)}, mf.Numeric("a", normalize=True))
    assert not found.any()


def test_predictions_are_turned_back() -> None:
    """`restore` undoes the normalisation, for any number of samples."""
    columns = {"a": [1.0, 2.0, 6.0], "b": [-100.0, 0.0, 50.0]}
    data = dataset(columns, mf.Numeric(["a", "b"], normalize=True))
    data.adapt()
    samples = np.stack([data[row][0]["x"] for row in range(3)])
    restored = data.restore("x", samples)
    assert restored.dtype == np.float32
    np.testing.assert_allclose(restored, np.transpose(list(columns.values())), rtol=1e-6, atol=1e-5)
    plain = dataset(columns, mf.Numeric("a"))
    np.testing.assert_array_equal(plain.restore("x", samples), samples)


def test_a_field_that_was_never_adapted_is_told() -> None:
    """`normalize=True` needs the training rows."""
    data = dataset({"a": [1.0]}, mf.Numeric("a", normalize=True))
    assert data.spec == ({"x": mf.Spec((1,), "float32")},)
    with pytest.raises(mf.NotAdaptedError) as caught:
        data[0]
    assert str(caught.value) == (
        "'x' has to learn from the training rows before it can be read (it is a Numeric).\n"
        "  Call train.adapt() on the training part of the split, or data.adapt() if there is none."
    )


def test_a_column_without_a_number_teaches_nothing() -> None:
    """There is no mean of nothing."""
    data = dataset({"a": [NAN, NAN]}, mf.Numeric("a", normalize=True, missing="mean"))
    with pytest.raises(mf.SampleError) as caught:
        data.adapt()
    assert str(caught.value) == (
        "'x' cannot be used: it has no number in the training rows of column 'a'.\n"
        "  Leave the column out, or adapt on rows that have it."
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"columns": []},
            "a field reads one or more columns by name; received [].",
        ),
        (
            {"columns": {"a"}},
            "a field reads one or more columns by name; received {'a'}.",
        ),
        (
            {"columns": 3},
            "a field reads one or more columns by name; received 3.",
        ),
        (
            {"columns": "a", "missing": "mean"},
            'missing of a Numeric must be "raise", "zero", a finite number, or "mean" with '
            "normalize=True; received 'mean'.",
        ),
        (
            {"columns": "a", "missing": NAN},
            'missing of a Numeric must be "raise", "zero", a finite number, or "mean" with '
            "normalize=True; received nan.",
        ),
        (
            {"columns": "a", "missing": None},
            'missing of a Numeric must be "raise", "zero", a finite number, or "mean" with '
            "normalize=True; received None.",
        ),
    ],
)
def test_a_wrong_declaration_is_told_at_once(options: dict[str, Any], message: str) -> None:
    """Options are checked before there is a dataset."""
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Numeric(**options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (
            mf.Numeric("agge"),
            "field 'x': the row table has no column 'agge'.\n  Did you mean 'age'?",
        ),
        (
            mf.Numeric("z*"),
            "field 'x': no column matches 'z*'.\n  There are: 'name', 'age', 'scan'.",
        ),
        (
            mf.Numeric(["age", "name"]),
            "field 'x': a Numeric column holds numbers; 'name' holds string.\n"
            "  Declare text and codes as mf.Category, or convert the column.",
        ),
        (
            mf.Numeric("scan"),
            "field 'x': a Numeric column has one number a sample; 'scan' has shape (3,) a sample.\n"
            "  Declare it as mf.Array('scan').",
        ),
    ],
)
def test_a_column_that_holds_no_numbers_is_told(field: mf.Numeric, message: str) -> None:
    """The types of the columns are checked when the dataset is declared."""
    columns = {"name": ["a", "b"], "age": [1, 2], "scan": np.zeros((2, 3))}
    with pytest.raises(mf.DeclarationError) as caught:
        dataset(columns, field)
    assert str(caught.value) == message
