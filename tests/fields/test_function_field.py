"""`mf.Function`: a function of the user's own, of values or of files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import multifeed as mf

ROWS = {"id": ["a", "b", "c"], "height": [1.8, None, 1.6], "weight": [81, 70, 64]}


def bmi(height: float, weight: int) -> list[float]:
    """Return a list of one number."""
    return [weight / height**2]


def declared(rows: Any, field: mf.Function, **options: Any) -> mf.Dataset:
    """Return a dataset of one function, called x."""
    return mf.Dataset(rows, inputs={"x": field}, key="id", **options)


def values(data: mf.Dataset) -> list[Any]:
    """Return the values of all rows."""
    return [data[row][0]["x"].tolist() for row in range(len(data))]


def test_what_it_returns_is_found_by_calling_it() -> None:
    """Once, for the first row that has all values; floats become float32, int64 int32."""
    called: list[Any] = []

    def counted(height: float, weight: int) -> np.ndarray:
        called.append((height, weight))
        return np.array([[weight, 2]])

    rows = {"id": ["a", "b", "c"], "height": [None, 1.5, 1.6], "weight": [81, 70, 64]}
    data = declared(rows, mf.Function(["height", "weight"], counted, missing="zero"))
    assert called == [(1.5, 70)]
    assert data.spec == ({"x": mf.Spec((1, 2), "int32")},)
    assert values(data) == [[[0, 0]], [[70, 2]], [[64, 2]]]
    assert declared(ROWS, mf.Function("weight", float)).spec == ({"x": mf.Spec((), "float32")},)
    assert declared(ROWS, mf.Function("weight", str, mf.Spec((), "int8"))).spec[0]["x"].dtype == "int8"


@pytest.mark.parametrize(
    ("column", "seen"),
    [
        (pa.array([1, 2, 3], pa.int8()), 2),
        (pa.array(["x", "y", "z"]).dictionary_encode(), "y"),
        (pa.array([b"x", b"y", b"z"]), b"y"),
        (pa.array([[1], [2, 3], []]), [2, 3]),
        (pa.array([{"a": 1}, {"a": 2}, {"a": 3}]), {"a": 2}),
        (pa.array([True, False, True]), False),
        (np.arange(3, dtype=np.uint8), 1),
        (np.array([1j, 2j, 3j]), 2j),
    ],
)
def test_values_are_those_of_python(column: Any, seen: Any) -> None:
    """Numbers, texts, bytes, lists and dicts, as the cell holds them."""
    found: list[Any] = []

    def keep(value: Any) -> int:
        found.append(value)
        return 0

    data = declared({"id": list("abc"), "v": column}, mf.Function("v", keep, mf.Spec((), "int32")))
    data.select([2, 1])[1]
    assert found == [seen]
    assert type(found[0]) is type(seen)


def test_rows_of_an_array_are_copies() -> None:
    """What the function does to its argument stays there."""

    def spoil(row: np.ndarray) -> np.ndarray:
        row += 1
        return row

    array = np.arange(6.0).reshape(3, 2)
    data = declared({"id": list("abc"), "v": array}, mf.Function("v", spoil))
    assert values(data) == values(data) == [[1, 2], [3, 4], [5, 6]]
    assert array[0, 0] == 0


def test_a_pattern_gives_an_argument_for_each_column() -> None:
    """In the order of the table."""
    rows = {"id": ["a"], "lead2": [1], "lead1": [2], "other": [3]}
    data = declared(rows, mf.Function(["lead*", "other"], lambda *leads: leads))
    assert values(data) == [[1, 2, 3]]
    assert data.fields["x"].reads == ("lead2", "lead1", "other")


def test_a_null_raises_fills_or_is_passed() -> None:
    """As `missing` says."""
    with pytest.raises(mf.SampleError) as caught:
        declared(ROWS, mf.Function(["height", "weight"], bmi)).plan()
    assert (caught.value.key, caught.value.row) == ("b", 1)
    filled = declared(ROWS, mf.Function(["height", "weight"], bmi, missing=-1))
    assert values(filled) == [[25.0], [-1.0], [25.0]]

    def careful(height: float | None, weight: int) -> float:
        return -2 if height is None else weight

    passed = mf.Function(["height", "weight"], careful, mf.Spec((), "int32"), missing="pass")
    assert values(declared(ROWS, passed)) == [81, -2, 64]
    nothing = {"id": ["a"], "v": pa.nulls(1, pa.float64())}
    found = declared(nothing, mf.Function("v", lambda value: value is None, missing="pass"))
    assert values(found) == [True]


def test_files_are_given_as_bytes(tmp_path: Path) -> None:
    """Of the columns that `files` names; the others are as they are."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.raw").write_bytes(name.encode() * 3)
    rows = {"id": ["a", "b", "c"], "raw": ["a.raw", "b.raw", None], "gain": [1, 2, 3]}

    def signal(raw: bytes | None, gain: int) -> np.ndarray:
        return gain * np.frombuffer(raw or bytes(3), np.uint8)

    spec = mf.Spec((3,), "int32")
    field = mf.Function(["raw", "gain"], signal, spec, files="raw", missing="pass")
    data = declared(rows, field, root=tmp_path)
    assert values(data) == [[97] * 3, [196] * 3, [0] * 3]
    (tmp_path / "b.raw").unlink()
    with pytest.raises(mf.SampleError) as caught:
        data[1]
    assert str(caught.value) == (
        "'x' of sample 'b' cannot be used: the file does not exist.\n"
        f"  File: {tmp_path}/b.raw (row 1).\n"
        "  Replace the file, or leave the row out with data.select."
    )


def test_files_may_be_named_by_a_pattern(tmp_path: Path) -> None:
    """As the columns may."""
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(name.encode() * 2)
    rows = {"lead1": ["one"], "lead2": ["two"], "x": [3]}
    field = mf.Function(
        ["lead*", "x"], lambda one, two, x: [one[0], two[0], x], mf.Spec((3,), "int32"), files="lead*"
    )
    data = mf.Dataset(rows, inputs={"x": field}, root=tmp_path)
    assert data[0][0]["x"].tolist() == [*b"ot", 3]


def test_of_an_exception_of_several_lines_the_first_one_is_told() -> None:
    """The original has the rest; a message stays one of four lines."""

    def fails(weight: int) -> float:
        raise ValueError(f"first {weight}\nsecond\nthird")

    with pytest.raises(mf.DeclarationError) as caught:
        declared(ROWS, mf.Function("weight", fails))
    assert str(caught.value).splitlines()[0] == (
        "field 'x': fails raised ValueError for row 0: first 81."
    )
    with pytest.raises(mf.SampleError) as told:
        declared(ROWS, mf.Function("weight", fails, mf.Spec((), "int8")))[2]
    assert str(told.value) == (
        "reading 'x' of sample 'c' raised ValueError: first 64.\n"
        "  Row: 2.\n"
        "  The exception above is the original. If it came from a function of yours, that must accept "
        "every sample."
    )


def test_of_several_files_the_error_names_the_one(tmp_path: Path) -> None:
    """And a name that leads out of the folder is refused, as everywhere."""
    (tmp_path / "a").write_bytes(b"a")
    rows = {"id": ["k"], "one": ["a"], "two": ["../b"]}
    field = mf.Function(["one", "two"], lambda *files: 0, mf.Spec((), "int32"), files=["one", "two"])
    with pytest.raises(mf.SampleError) as caught:
        declared(rows, field, root=tmp_path)[0]
    assert str(caught.value).splitlines()[0] == (
        f"'x' of sample 'k' cannot be used: it names '{tmp_path}/../b', which leads out of the folder "
        f"of its table, '{tmp_path}'."
    )


def test_what_it_raises_is_told_with_the_sample() -> None:
    """The user's own exception is the cause."""

    def fails(weight: int) -> float:
        return 1 / (weight - 64)

    with pytest.raises(mf.SampleError) as caught:
        declared(ROWS, mf.Function("weight", fails))[2]
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert str(caught.value).splitlines()[0] == (
        "reading 'x' of sample 'c' raised ZeroDivisionError: division by zero."
    )


def test_another_shape_or_value_is_told_with_the_sample() -> None:
    """One shape for all; values that the dtype can hold."""
    ragged = mf.Function("weight", lambda weight: [0] * (weight % 4))
    with pytest.raises(mf.SampleError) as caught:
        declared(ROWS, ragged)[1]
    assert str(caught.value) == (
        "'x' of sample 'b' cannot be used: it becomes (2,) int64 by <lambda>, where the declaration "
        "says (1,) int32.\n"
        "  Row: 1.\n"
        "  Let the function return one shape for every sample, or correct spec=."
    )
    large = mf.Function("weight", lambda weight: weight * 2, mf.Spec((), "uint8"))
    assert values(declared(ROWS, large)) == [162, 140, 128]
    with pytest.raises(mf.SampleError) as caught:
        declared(ROWS, mf.Function("weight", lambda weight: weight * 4, mf.Spec((), "uint8")))[0]
    assert str(caught.value).splitlines()[0] == (
        "'x' of sample 'a' cannot be used: it holds 324, which uint8 cannot hold."
    )


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        (("weight", 3), {}, "fn is a function of the columns' values; received 3."),
        (("weight", float, (3,)), {}, "spec is what the function returns; received (3,).\n"
         '  Write e.g. spec=mf.Spec((128, 3), "float32").'),
        (("weight", float), {"files": "weight"},
         "a function of files needs spec=: declaring reads no file.\n"
         '  Write e.g. spec=mf.Spec((128, 3), "float32").'),
        (("weight", float, mf.Spec((), "int8")), {"files": "wieght"},
         "field 'x': the row table has no column 'wieght'.\n  Did you mean 'weight' or 'height'?"),
        (("weight", float, mf.Spec((), "int8")), {"files": "height"},
         "field 'x': files names columns of the function; 'height' is none.\n  Did you mean 'weight'?"),
        (("weight", float, mf.Spec((), "int8")), {"files": "weight"},
         "field 'x': files are columns of file names; 'weight' holds int64."),
        (("weight", lambda weight: 1 / 0), {},
         "field 'x': <lambda> raised ZeroDivisionError for row 0: division by zero.\n"
         "  Without spec= it is called at declaration, to find what it returns."),
        (("weight", str), {}, "field 'x': str must return numbers; for row 0 it returned dtype <U2."),
        (("none", float), {},
         "field 'x': no row has a value in all of 'none', so what float returns is not known.\n"
         "  Pass spec=."),
        ((["height", "wieght"], bmi), {}, "field 'x': the row table has no column 'wieght'.\n"
         "  Did you mean 'weight' or 'height'?"),
    ],
)  # fmt: skip
def test_declarations_that_cannot_work(
    arguments: tuple[Any, ...], options: dict[str, Any], said: str
) -> None:
    """Are refused with what to do."""
    rows = {**ROWS, "none": pa.nulls(3, pa.float64())}
    with pytest.raises(mf.DeclarationError) as caught:
        declared(rows, mf.Function(*arguments, **options))
    assert str(caught.value) == said


def test_labels_made_by_a_function_are_not_blended() -> None:
    """`interpolation` is what geometry of augmentation uses between pixels."""
    labels = mf.Function("v", np.asarray, interpolation="nearest")
    rows = {"id": ["a", "b"], "v": np.random.default_rng(0).integers(0, 2, (2, 9, 9), np.uint8) * 7}
    data = declared(rows, labels)
    warp = mf.RandomAffine("x", rotation=40)
    with mf.Feed(data, 2, augment=[warp]) as feed:
        ((batch,),) = feed
    assert set(np.unique(batch["x"])) == {0, 7}
