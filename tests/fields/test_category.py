"""`mf.Category`: labels as numbers, in an order that can be foretold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import multifeed as mf


def dataset(values: Any, **options: Any) -> mf.Dataset:
    """Return an adapted dataset of one Category, called y, over a column called kind."""
    data = mf.Dataset(
        {"id": [f"p{row}" for row in range(len(values))], "kind": values},
        inputs={"y": mf.Category("kind", **options)},
        key="id",
    )
    data.adapt()
    return data


def codes(data: mf.Dataset) -> list[Any]:
    """Return the values of all rows."""
    return [data[row][0]["y"].tolist() for row in range(len(data))]


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (["b", "a", "c", "a"], ("a", "b", "c")),
        (["10", "9", "-1", "9"], ("-1", "9", "10")),
        (["010", "9", "10"], ("010", "10", "9")),  # not all of them numbers as one writes them
        (["1.0", "1", "10"], ("1", "1.0", "10")),
        ([10, 9, -1], (-1, 9, 10)),
        (np.array([10, 9, 10], np.uint8), (9, 10)),
        (np.array([3, 1], ">i4"), (1, 3)),
        ([True, False, True], (False, True)),
        (np.array([True, True]), (True,)),
        (np.array(["z", "é"]), ("z", "é")),
        (pa.array(["b", "a"]).dictionary_encode(), ("a", "b")),
        (pa.array([2**40, -3]), (-3, 2**40)),
        (pa.array([2**63 + 1, 5], pa.uint64()), (5, 2**63 + 1)),
    ],
)
def test_labels_are_learned_in_order(values: Any, labels: tuple[Any, ...]) -> None:
    """Text sorts as text, integers and text of integers as numbers."""
    data = dataset(values)
    assert data.labels("y") == labels
    listed = values.tolist() if isinstance(values, np.ndarray) else pa.array(values).to_pylist()
    assert codes(data) == [labels.index(label) for label in listed]
    assert data[0][0]["y"].dtype == np.int32
    assert data.spec == ({"y": mf.Spec((), "int32")},)


@pytest.mark.parametrize(
    "rows",
    [
        pd.DataFrame({"kind": pd.Categorical(["b", "a", "b"])}),
        pd.DataFrame({"kind": ["b", "a", "b"]}),
        pl.DataFrame({"kind": pl.Series(["b", "a", "b"], dtype=pl.Categorical)}),
        pl.DataFrame({"kind": ["b", "a", "b"]}),
    ],
    ids=["pandas-categorical", "pandas", "polars-categorical", "polars"],
)
def test_tables_of_any_library_are_read(rows: Any) -> None:
    """Categoricals are their labels."""
    data = mf.Dataset(rows, inputs={"y": mf.Category("kind")}).select([2, 1])
    data.adapt()
    assert data.labels("y") == ("a", "b")
    assert codes(data) == [1, 0]


def test_a_given_vocabulary_needs_no_adapting() -> None:
    """Its order is that of the numbers."""
    for labels in (["b", "a"], ("b", "a"), np.array(["b", "a"])):
        field = mf.Category("kind", vocabulary=labels)
        data = mf.Dataset({"kind": ["a", "b"]}, inputs={"y": field})
        assert codes(data) == [1, 0]
        assert data.labels("y") == ("b", "a")


def test_a_vocabulary_may_be_wider_than_the_column() -> None:
    """Labels that an int8 cannot hold are no error where the column has none of them."""
    values = np.array([3, 1], np.int8)
    assert codes(dataset(values, vocabulary=[1000, 1, 3, -1])) == [2, 1]
    assert codes(dataset(pa.array([3, None], pa.int8()), vocabulary=[1, 3, 500], missing=500)) == [1, 2]


def test_a_vocabulary_is_what_it_was_when_declared() -> None:
    """A list that the caller changes later changes nothing."""
    labels = ["a", "b"]
    data = dataset(["a", "b"], vocabulary=labels)
    labels.reverse()
    assert codes(data) == [0, 1]


def test_one_hot_vectors() -> None:
    """A 1 at the class, and the number of classes as their length."""
    data = dataset(["b", "a", "c"], one_hot=True)
    assert data.spec == ({"y": mf.Spec((3,), "float32")},)
    assert codes(data) == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    assert data[0][0]["y"].dtype == np.float32


def test_the_shape_of_one_hot_is_not_known_before_adapting() -> None:
    """It depends on what is learned, and the error says so."""
    data = mf.Dataset({"kind": ["a"]}, inputs={"y": mf.Category("kind", one_hot=True)})
    with pytest.raises(mf.NotAdaptedError) as caught:
        data.spec  # noqa: B018
    assert str(caught.value) == (
        "'y' has to learn from the training rows before it can be read (it is a Category).\n"
        "  Call train.adapt() on the training part of the split, or data.adapt() if there is none."
    )


def test_what_is_out_of_vocabulary_gets_0() -> None:
    """With `oov`, the labels count from 1."""
    assert codes(dataset(["b", "x", "a"], vocabulary=["a", "b"], oov=True)) == [2, 0, 1]
    data = dataset(["b", "x"], vocabulary=["a", "b"], oov=True, one_hot=True)
    assert codes(data) == [[0, 0, 1], [1, 0, 0]]
    assert codes(dataset(["b", None], vocabulary=["b"], oov=True, missing="x")) == [1, 0]


def test_an_unseen_label_is_told() -> None:
    """With the first sample that has it, and how many more there are."""
    with pytest.raises(mf.SampleError) as caught:
        dataset(["a", "x", "b"], vocabulary=["a", "b"])[0]
    assert str(caught.value) == (
        "'y' of sample 'p1' cannot be used: it is 'x', which the vocabulary of 2 labels does not have.\n"
        "  Row: 1.\n"
        "  Split so that every label is in the training part, pass vocabulary=[...] with all labels, or "
        "declare the field with oov=True."
    )
    with pytest.raises(mf.SampleError) as caught:
        dataset([7, 8, 1, 9, 8], vocabulary=[1])[0]
    assert str(caught.value).splitlines()[0] == (
        "'y' of sample 'p0' cannot be used: it is 7, which the vocabulary of 1 labels does not have "
        "(7, 8, 9 in 4 rows)."
    )


def test_a_label_of_validation_alone_is_told_by_adapt() -> None:
    """Not after the first epoch."""
    data = mf.Dataset({"kind": ["a"] * 9 + ["x"]}, inputs={"y": mf.Category("kind")})
    train, test = data.split(0.5, 0.5, seed=2)
    assert "x" in test.rows["kind"].to_pylist()
    with pytest.raises(mf.SampleError) as caught:
        train.adapt()
    row = test.rows["kind"].to_pylist().index("x")
    assert str(caught.value).splitlines()[0] == (
        f"'y' of row {row} cannot be used: it is 'x', which the vocabulary of 1 labels does not have "
        "(in part 2 of 2 of the split)."
    )


def test_null_is_refused_unless_a_label_stands_for_it() -> None:
    """`missing` is a label, which is learned even if no training row lacks one."""
    with pytest.raises(mf.SampleError) as caught:
        dataset(["a", None, None])
    assert str(caught.value) == (
        "'y' of sample 'p1' cannot be used: it is missing: column 'kind' is null (2 such rows).\n"
        "  Row: 1.\n"
        "  Fill it in, or declare the field with missing=<a label>."
    )
    data = dataset(["a", None, "z"], missing="?")
    assert data.labels("y") == ("?", "a", "z")
    assert codes(data) == [1, 0, 2]
    assert dataset(["a", "z"], missing="?").labels("y") == ("?", "a", "z")
    assert codes(dataset([3, None], missing=1)) == [1, 0]


def test_a_column_without_labels_teaches_nothing() -> None:
    """Nulls are no labels."""
    with pytest.raises(mf.SampleError) as caught:
        dataset(pa.array([None, None], pa.string()))
    assert str(caught.value) == (
        "'y' cannot be used: it has no label in the training rows of column 'kind'.\n"
        "  Leave the column out, or adapt on rows that have it."
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"column": ["a", "b"]}, "mf.Category reads one column, by name; received ['a', 'b']."),
        ({"vocabulary": []}, "a vocabulary names each label once; received no label."),
        ({"vocabulary": ["a", "b", "a"]}, "a vocabulary names each label once; received 'a', 'b', 'a'."),
        (
            {"vocabulary": "abc"},
            "a vocabulary is a list of labels, in the order of their numbers; received 'abc'.",
        ),
        (
            {"vocabulary": {"a"}},
            "a vocabulary is a list of labels, in the order of their numbers; received {'a'}.",
        ),
        (
            {"vocabulary": ["a"], "missing": "?"},
            "missing is a label of the vocabulary; '?' is none of its labels.",
        ),
    ],
)
def test_a_wrong_declaration_is_told_at_once(options: dict[str, Any], message: str) -> None:
    """Options are checked before there is a dataset."""
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Category(**{"column": "kind"} | options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (
            [1.0, 2.0],
            {},
            "a Category column holds text, integers or booleans; 'kind' holds double.\n"
            "  Cast it to integers or text, or declare it as mf.Numeric.",
        ),
        (
            np.zeros((2, 3), int),
            {},
            "a Category column holds text, integers or booleans; 'kind' holds arrays of shape (3,).\n"
            "  Cast it to integers or text, or declare it as mf.Numeric.",
        ),
        (
            [1, 2],
            {"vocabulary": ["1", "2"]},
            "the labels of 'kind' are int; received the label '1'.",
        ),
        (
            ["1", "2"],
            {"vocabulary": [1, 2]},
            "the labels of 'kind' are str; received the label 1.",
        ),
        ([1, 0], {"vocabulary": [True, 0]}, "the labels of 'kind' are int; received the label True."),
        (["a"], {"missing": 0}, "the labels of 'kind' are str; received the label 0."),
    ],
)
def test_a_column_that_holds_no_labels_is_told(
    values: Any, options: dict[str, Any], message: str
) -> None:
    """The types of the column and of the labels are compared when the dataset is declared."""
    with pytest.raises(mf.DeclarationError) as caught:
        dataset(values, **options)
    assert str(caught.value) == f"field 'y': {message}"


@pytest.mark.parametrize("vocabulary", [None, ["a"]])
def test_labels_that_are_no_utf8_name_their_row(vocabulary: list[str] | None) -> None:
    """Learned or given, the error says which row, not only that some byte is wrong."""
    column = pa.array([b"a", b"a", b"\xff"]).view(pa.binary()).cast(pa.binary())
    text = pa.StringArray.from_buffers(3, column.buffers()[1], column.buffers()[2])
    data = mf.Dataset({"x": text}, inputs={"x": mf.Category("x", vocabulary=vocabulary)})
    with pytest.raises(mf.SampleError) as caught:
        data.adapt() if vocabulary is None else data.plan()
    assert caught.value.row == 2
    assert "is no text in UTF-8" in str(caught.value)
