"""`concat`: several tables, read as each would be on its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image as PILImage

import multifeed as mf


def site(folder: Path, name: str, values: list[int]) -> Path:
    """Write a table of photographs with file names relative to it; a value is a photograph's grey."""
    (folder / name).mkdir()
    rows = ["id,photo,age,sick"]
    for value in values:
        PILImage.new("L", (3, 2), value).save(folder / name / f"{value}.png")
        rows.append(f"{name}{value},{value}.png,{value},{['no', 'yes'][value % 2]}")
    (folder / name / "table.csv").write_text("\n".join(rows))
    return folder / name / "table.csv"


INPUTS: dict[str, Any] = {
    "photo": mf.Image("photo", (2, 3), color_mode="grayscale"),
    "age": mf.Numeric("age", normalize=True),
}
TARGETS = {"sick": mf.Category("sick")}


def declare(table: Any, **options: Any) -> mf.Dataset:
    return mf.Dataset(table, key="id", inputs=INPUTS, targets=TARGETS, **options)


@pytest.fixture
def both(tmp_path: Path) -> tuple[mf.Dataset, mf.Dataset, mf.Dataset]:
    """Two sites whose file names are the same, and both of them together."""
    rome = declare(site(tmp_path, "rome", [10, 11, 12, 13]))
    bonn = declare(site(tmp_path, "bonn", [11, 20, 21]))
    return rome, bonn, mf.concat([rome, bonn])


def test_samples_stand_one_after_the_other(both: tuple[mf.Dataset, ...]) -> None:
    """Each file name starts in the folder of its own table; keys and rows follow."""
    _, _, data = both
    data.adapt()
    assert len(data) == 7
    assert data.keys(np.arange(7)) == [
        "rome10", "rome11", "rome12", "rome13", "bonn11", "bonn20", "bonn21",
    ]  # fmt: skip
    assert [int(data[row][0]["photo"][0, 0, 0]) for row in range(7)] == [10, 11, 12, 13, 11, 20, 21]
    assert data.rows["age"].to_pylist() == [10, 11, 12, 13, 11, 20, 21]


def test_what_is_learned_is_learned_from_all(both: tuple[mf.Dataset, ...]) -> None:
    """Means and vocabularies are those of one table with the rows of both."""
    rome, _, data = both
    data.adapt()
    ages = np.array([10, 11, 12, 13, 11, 20, 21], float)
    found = np.array([data[row][0]["age"][0] for row in range(7)])
    np.testing.assert_allclose(found, (ages - ages.mean()) / ages.std(), rtol=1e-6)
    assert data.labels("sick") == ("no", "yes")
    with pytest.raises(mf.NotAdaptedError):
        rome[0]


def test_any_rows_of_it_in_any_order_are_the_same_samples(both: tuple[mf.Dataset, ...]) -> None:
    """select, split, shuffling and a part of a part give each key its own bytes."""
    _, _, data = both
    data.adapt()
    photo = {key: int(key[4:]) for key in data.keys(np.arange(7))}
    parts = [data.select([6, 0, 4, 0]), *data.split(0.6, 0.4, stratify="sick"), data.select([4, 5, 6])]
    parts += [part.select(np.arange(len(part))[::-1]) for part in parts]
    for part in parts:
        with mf.Feed(part, 2, shuffle=True, seed=4, workers=2) as feed:
            for step, (inputs, targets) in enumerate(feed):
                keys = feed.keys(0, step)
                assert inputs["photo"][:, 0, 0, 0].tolist() == [photo[key] for key in keys]
                assert targets["sick"].tolist() == [photo[key] % 2 for key in keys]


def test_groups_of_both_tables_are_split_together(both: tuple[mf.Dataset, ...]) -> None:
    """A group with rows in two tables is on one side."""
    _, _, data = both
    for train, val in data.folds(3, by="age"):
        assert not set(train.rows["age"].to_pylist()) & set(val.rows["age"].to_pylist())


def test_an_error_names_the_row_of_the_whole(both: tuple[mf.Dataset, ...], tmp_path: Path) -> None:
    """Key, row and file of a sample of the second table."""
    _, _, data = both
    data.adapt()
    (tmp_path / "bonn" / "20.png").write_bytes(b"none")
    with pytest.raises(mf.SampleError) as caught:
        data[5]
    assert (caught.value.key, caught.value.row) == ("bonn20", 5)
    assert caught.value.file == str(tmp_path / "bonn" / "20.png")


def test_a_bad_number_names_the_row_of_the_whole() -> None:
    """Values in memory are looked at before the first batch."""
    inputs = {"x": mf.Numeric("x")}
    good = mf.Dataset({"x": [1.0, 2.0]}, inputs=inputs)
    bad = mf.Dataset({"x": [3.0, np.nan]}, inputs=inputs)
    with pytest.raises(mf.SampleError) as caught:
        mf.concat([good, bad]).select([3, 0]).plan()
    assert caught.value.row == 0


def test_arrays_lists_and_masks_are_chained() -> None:
    """Gathers of N-D arrays and of ragged lists, with the lengths that masks are made of."""
    inputs = {"x": mf.Array("x"), "s": mf.Array("s", pad_to=2), "m": mf.Mask("s")}
    one = mf.Dataset({"x": np.zeros((2, 2)), "s": [[1], [2, 3, 4]]}, inputs=inputs)
    none = pa.array([[]], pa.list_(pa.int64()))
    two = mf.Dataset({"x": np.ones((1, 2)), "s": none}, inputs=inputs)
    (batch,) = mf.Feed(mf.concat([one, two]).select([2, 0, 1]), 3).batch(0, 0)
    assert batch["x"][:, 0].tolist() == [1, 0, 0]
    assert batch["s"].tolist() == [[0, 0], [1, 0], [2, 3]]
    assert batch["m"].tolist() == [[False, False], [True, False], [True, True]]


def test_files_and_memory_make_one_field(tmp_path: Path) -> None:
    """One table has arrays, the other names of files with arrays."""
    np.save(tmp_path / "a.npy", np.full(2, 7, np.float32))
    inputs = {"x": mf.Array("x", (2,), dtype="float32")}
    files = mf.Dataset({"x": [str(tmp_path / "a.npy")]}, inputs=inputs)
    memory = mf.Dataset({"x": np.ones((2, 2), np.float32)}, inputs=inputs)
    data = mf.concat([memory, files])
    assert [data[row][0]["x"].tolist() for row in range(3)] == [[1, 1], [1, 1], [7, 7]]


def test_chains_of_chains_and_of_one() -> None:
    """The same samples, however they were put together."""
    inputs = {"x": mf.Numeric("x")}
    parts = [mf.Dataset({"x": [float(value)]}, inputs=inputs) for value in range(4)]
    data = mf.concat([mf.concat(parts[:2]), mf.concat(parts[2:3]), parts[3]])
    (batch,) = mf.Feed(data.select([3, 1, 0, 2]), 4).batch(0, 0)
    assert batch["x"].ravel().tolist() == [3.0, 1.0, 0.0, 2.0]


def test_parts_of_one_split_keep_what_they_learned() -> None:
    """Joined again, they need no other adapt."""
    data = mf.Dataset({"x": list(range(10))}, inputs=mf.Numeric("x", normalize=True))
    train, val, rest = data.split(0.5, 0.3, 0.2)
    train.adapt()
    joined = mf.concat([train, rest])
    assert joined[0][0] == train[0][0]
    assert mf.concat([val, joined])[0][0] == val[0][0]


def test_a_concatenation_is_weighed_as_a_whole() -> None:
    """Balanced weights count the samples of all tables."""
    fields = {"inputs": mf.Numeric("x"), "targets": mf.Category("y", vocabulary=["a", "b"])}
    one = mf.Dataset({"x": [1, 2], "y": ["a", "a"]}, **fields)
    two = mf.Dataset({"x": [3, 4], "y": ["b", "a"]}, **fields)
    (_, _, weights) = mf.Feed(mf.concat([one, two]), 4, class_weight={"y": "balanced"}).batch(0, 0)
    np.testing.assert_allclose(weights, [2 / 3, 2 / 3, 2, 2 / 3], rtol=1e-6)


def test_integers_of_two_widths_are_one_column() -> None:
    """Keys and groups of int32 and int64 tables go together."""
    inputs = mf.Numeric("x")
    one = mf.Dataset(pa.table({"x": pa.array([1], pa.int32())}), key="x", inputs=inputs)
    two = mf.Dataset(pa.table({"x": pa.array([2], pa.int64())}), key="x", inputs=inputs)
    assert mf.concat([one, two]).keys(np.array([1, 0])) == ["2", "1"]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            mf.Dataset({"y": [1.0]}, inputs={"x": mf.Numeric("y")}),
            "datasets that are joined are declared alike; the field 'x' of number 2 differs from that "
            "of number 1.\n"
            "  Number 1: Numeric(columns='x', normalize=False, missing='raise').\n"
            "  Number 2: Numeric(columns='y', normalize=False, missing='raise').",
        ),
        (
            mf.Dataset({"x": [1.0]}, inputs=mf.Numeric("x")),
            "datasets that are joined are declared alike; the structure of number 2 differs from that "
            "of number 1.\n"
            "  Number 1: Structure(inputs={'x': 'x'}, targets=None, weights=None).\n"
            "  Number 2: Structure(inputs='x', targets=None, weights=None).",
        ),
        (
            mf.Dataset({"x": [1.0], "id": ["a"]}, key="id", inputs={"x": mf.Numeric("x")}),
            "datasets that are joined are declared alike; the key of number 2 differs from that of "
            "number 1.\n"
            "  Number 1: ().\n"
            "  Number 2: ('id',).",
        ),
    ],
)
def test_datasets_that_differ_are_told_apart(other: Any, message: str) -> None:
    """The error says what differs, and how."""
    with pytest.raises(mf.DeclarationError) as caught:
        mf.concat([mf.Dataset({"x": [1.0]}, inputs={"x": mf.Numeric("x")}), other])
    assert str(caught.value) == message


@pytest.mark.parametrize("given", ["table.csv", [], mf.Dataset({"x": [1]}, inputs=mf.Numeric("x"))])
def test_what_is_no_list_of_datasets_is_told(given: Any) -> None:
    """A single dataset too, before any of its samples is read."""
    with pytest.raises(mf.DeclarationError, match="mf.concat joins a list of datasets; received"):
        mf.concat(given)


def test_arrays_of_two_shapes_are_told_apart() -> None:
    """Equal declarations may still yield unequal specs."""
    inputs = {"x": mf.Array("x")}
    one = mf.Dataset({"x": np.zeros((1, 2))}, inputs=inputs)
    two = mf.Dataset({"x": np.zeros((1, 3))}, inputs=inputs)
    with pytest.raises(mf.DeclarationError, match="the spec of 'x' of number 2 differs"):
        mf.concat([one, two])


def test_columns_of_two_kinds_are_told_apart() -> None:
    """At once, not when the first label or key is read."""
    inputs = {"n": mf.Numeric("n")}
    rows = [{"n": [1, 2], "k": ["a", "b"]}, {"n": [1, 2], "k": [1, 2]}]
    keyed = [mf.Dataset(each, key="k", inputs=inputs) for each in rows]
    with pytest.raises(mf.DeclarationError, match="kind of column 'k'"):
        mf.concat(keyed)


def test_categoricals_and_texts_are_one_column() -> None:
    """pandas makes one of the one table, and the other of the other."""
    inputs = {"x": mf.Category("x")}
    one = mf.Dataset({"x": pa.array(["a", "b"]).dictionary_encode()}, inputs=inputs)
    two = mf.Dataset({"x": ["c"]}, inputs=inputs)
    data = mf.concat([one, two])
    data.adapt()
    assert data.labels("x") == ("a", "b", "c")
    assert [int(data[row][0]["x"]) for row in range(3)] == [0, 1, 2]


def test_declarations_with_arrays_and_nan_are_compared() -> None:
    """Two that are written alike are alike."""

    def declared(missing: Any) -> mf.Dataset:
        return mf.Dataset({"x": np.ones((2, 2))}, inputs={"x": mf.Array("x", missing=missing)})

    assert len(mf.concat([declared(np.zeros(2)), declared(np.zeros(2))])) == 4
    assert len(mf.concat([declared(float("nan")), declared(float("nan"))])) == 4
    with pytest.raises(mf.DeclarationError, match="field 'x'"):
        mf.concat([declared(np.zeros(2)), declared(np.ones(2))])
