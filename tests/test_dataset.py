"""Dataset: declaration, samples, selection, and what its parts learn together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import multifeed as mf

ROWS = {
    "id": ["a", "b", "c", "d"],
    "person": ["p", "p", "q", "r"],
    "x": [1.0, 2.0, 3.0, 4.0],
    "kind": ["cat", "dog", "cat", "dog"],
}


def declare(rows: Any = ROWS, **options: Any) -> mf.Dataset:
    return mf.Dataset(
        rows,
        key="id",
        inputs={"x": mf.Numeric("x", normalize=True)},
        targets={"kind": mf.Category("kind")},
        **options,
    )


@pytest.mark.parametrize(
    "rows", [ROWS, pa.table(ROWS), pd.DataFrame(ROWS), pl.DataFrame(ROWS)], ids=type
)
def test_rows_come_from_any_table(rows: Any) -> None:
    """dict, pyarrow, pandas and polars tables give the same samples, and `rows` is what was given."""
    data = declare(rows)
    data.adapt()
    assert data.rows is rows
    assert [int(data[row][1]["kind"]) for row in range(4)] == [0, 1, 0, 1]
    np.testing.assert_allclose(data[3][0]["x"], [1.5 / np.sqrt(1.25)], rtol=1e-6)


def test_a_table_file_is_read(tmp_path: Path) -> None:
    """The name of a file is as good as its table; keys stay text."""
    (tmp_path / "rows.csv").write_text("id,x\n007,1\n008,2\n")
    data = mf.Dataset(tmp_path / "rows.csv", key="id", inputs=mf.Numeric("x"))
    assert data.keys(np.arange(2)) == ["007", "008"]
    assert data.rows["id"].to_pylist() == ["007", "008"]


def test_samples_have_the_structure_of_the_declaration() -> None:
    """Single, tuple and dict; targets and weights only if declared."""
    x, n = mf.Numeric("x"), mf.Category("kind", vocabulary=["cat", "dog"])
    (single,) = mf.Dataset(ROWS, inputs=x)[0]
    assert single.tolist() == [1.0]
    (pair, target, weight) = mf.Dataset(ROWS, inputs=(x, x), targets=n, sample_weight="x")[1]
    assert [each.tolist() for each in pair] == [[2.0], [2.0]]
    assert (int(target), float(weight)) == (1, 2.0)
    inputs, targets, weights = mf.Dataset(
        ROWS, inputs={"a": x}, targets={"b": n, "c": x}, sample_weight={"c": "x"}
    )[2]
    assert (list(inputs), list(targets), list(weights)) == (["a"], ["b", "c"], ["b", "c"])
    assert (float(weights["b"]), float(weights["c"])) == (1.0, 3.0)


def test_negative_indices_count_from_the_end() -> None:
    """data[-1] is the last sample; beyond the ends is an IndexError."""
    data = mf.Dataset(ROWS, inputs=mf.Numeric("x"))
    assert data[-1][0].tolist() == [4.0]
    for index in (4, -5):
        with pytest.raises(IndexError, match=f"^sample {index} of a dataset of 4$"):
            data[index]


def test_spec_says_what_a_sample_is() -> None:
    """Spec and sample agree in structure, shape and dtype."""
    data = mf.Dataset(ROWS, inputs={"x": mf.Numeric(["x", "x"])}, targets=mf.Array("x"))
    assert data.spec[0] == {"x": mf.Spec((2,), "float32")}
    assert mf.Spec.of(data[0][0]["x"]) == data.spec[0]["x"]


def test_repr_prints_the_declaration() -> None:
    """Role, name, kind, columns and shape of every field; unlearned shapes say so."""
    data = mf.Dataset(
        ROWS,
        key="id",
        inputs={"x": mf.Numeric("x"), "file": mf.Image("id", size=(8, 6))},
        targets=mf.Category("kind", one_hot=True),
        sample_weight="x",
    )
    assert repr(data) == (
        "Dataset of 4 samples, key 'id'\n"
        "        name                field     columns  sample\n"
        "input   x                   Numeric   x        (1,) float32\n"
        "input   file                Image     id       (8, 6, 3) uint8\n"
        "target  kind                Category  kind     known after adapt()\n"
        "weight  sample_weight:kind  Weight    x        () float32"
    )


def test_a_million_rows_are_declared_without_reading_a_file() -> None:
    """Files that do not exist are no error at declaration, but only when they are read."""
    count = 1_000_000
    names = pa.array(np.arange(count)).cast(pa.string())
    rows = pa.table({"id": names, "file": names, "x": np.arange(count)})
    data = mf.Dataset(rows, key="id", inputs={"file": mf.Image("file", size=8), "x": mf.Numeric("x")})
    assert len(data) == count
    with pytest.raises(mf.SampleError, match="does not exist"):
        data[count - 1]


class TestSelect:
    """select: rows by number, mask or slice."""

    @pytest.mark.parametrize(
        ("rows", "keys"),
        [
            ([2, 0, 2], ["c", "a", "c"]),
            (np.array([False, True, True, False]), ["b", "c"]),
            (slice(1, None), ["b", "c", "d"]),
            (range(2), ["a", "b"]),
        ],
    )
    def test_rows_are_selected(self, rows: Any, keys: list[str]) -> None:
        """In the order asked for; the row table goes along; selections nest."""
        part = declare().select(rows)
        assert part.keys(np.arange(len(part))) == keys
        assert part.rows["id"].to_pylist() == keys
        assert part.select([1]).keys(np.arange(1)) == keys[1:2]

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ([4], "a dataset of 4 samples has rows 0 to 3; received row 4."),
            ([-1], "a dataset of 4 samples has rows 0 to 3; received row -1."),
            (slice(0, 0), "a dataset has at least one sample; no row was selected."),
            ([], "a dataset has at least one sample; no row was selected."),
            (
                [0.5],
                "rows are selected by row numbers, a slice, or a boolean mask of 4 values; received "
                "float64 of shape (1,).",
            ),
            (
                [True],
                "rows are selected by row numbers, a slice, or a boolean mask of 4 values; received "
                "bool of shape (1,).",
            ),
        ],
    )
    def test_rows_that_are_not_there_are_told(self, rows: Any, message: str) -> None:
        """With the number that came and those that exist."""
        with pytest.raises(mf.DeclarationError) as caught:
            declare().select(rows)
        assert str(caught.value) == message

    def test_arrays_and_memmaps_are_not_copied(self, tmp_path: Path) -> None:
        """A part reads the rows of a memmap where they lie."""
        np.save(tmp_path / "x.npy", np.arange(12).reshape(6, 2))
        stored = np.load(tmp_path / "x.npy", mmap_mode="r")
        part = mf.Dataset({"x": stored}, inputs=mf.Array("x")).select([5, 1])
        assert part[0][0].tolist() == [10, 11]
        assert part.source.columns["x"] is stored


class TestAdapt:
    """adapt: one learned state for all parts of a split."""

    def test_parts_share_what_the_training_part_teaches(self) -> None:
        """Means and vocabulary come from the first part alone, and both parts use them."""
        data = declare()
        train, val = data.select([0, 1]), None
        train, val = data.split(0.5, 0.5, seed=1)
        train.adapt()
        mean = np.mean(
            train.rows["x"].to_pylist() if isinstance(train.rows, pa.Table) else train.rows["x"]
        )
        assert train.restore("x", np.zeros((1, 1), np.float32))[0, 0] == pytest.approx(mean)
        assert val.restore("x", np.zeros((1, 1), np.float32))[0, 0] == pytest.approx(mean)

    def test_restore_turns_predictions_back(self) -> None:
        """What normalize did is undone."""
        data = declare()
        data.adapt()
        values = np.stack([data[row][0]["x"] for row in range(4)])
        np.testing.assert_allclose(data.restore("x", values)[:, 0], ROWS["x"], rtol=1e-6)

    def test_what_has_not_learned_cannot_restore(self) -> None:
        """A split learns for its parts, not for the dataset that it was made of: no silent zeros."""
        data = mf.Dataset(
            ROWS, inputs={"x": mf.Numeric("x", normalize=True)}, targets={"copy": mf.Same("x")}
        )
        data.split(0.5, 0.5)[0].adapt()
        for name, kind in (("x", "Numeric"), ("copy", "Same")):
            with pytest.raises(mf.NotAdaptedError) as caught:
                data.restore(name, np.zeros((1, 1)))
            assert str(caught.value) == (
                f"{name!r} has to learn from the training rows before it can be read (it is a {kind}).\n"
                "  Call train.adapt() on the training part of the split, "
                "or data.adapt() if there is none."
            )

    def test_labels_are_the_learned_vocabulary(self) -> None:
        """In the order of the class numbers."""
        data = declare()
        data.adapt()
        assert data.labels("kind") == ("cat", "dog")

    def test_a_second_adapt_is_told(self) -> None:
        """By whichever part; again=True replaces what was learned."""
        train, val = declare().split(0.5, 0.5, stratify="kind")
        train.adapt()
        with pytest.raises(mf.StateError) as caught:
            val.adapt()
        assert str(caught.value) == (
            "part 1 of 2 has been learned from, and all parts of a split share what is learned.\n"
            "  Split anew for each fold, or pass again=True to replace what was learned."
        )
        before = train.restore("x", np.zeros((1, 1)))
        val.adapt(again=True)
        assert train.restore("x", np.zeros((1, 1))) != before

    def test_splits_learn_apart(self) -> None:
        """Two splits of one dataset (folds) have each a state of their own."""
        data = declare()
        first, _ = data.split(0.5, 0.5, stratify="kind", seed=0)
        second, _ = data.split(0.5, 0.5, stratify="kind", seed=1)
        first.adapt()
        second.adapt()
        with pytest.raises(mf.NotAdaptedError):
            data.plan()

    def test_parts_of_a_part_learn_with_the_split(self) -> None:
        """train, then the rest split again into two: all three share one state."""
        train, rest = declare(
            {**{name: values * 4 for name, values in ROWS.items()}, "id": [str(i) for i in range(16)]}
        ).split(0.5, 0.5, stratify="kind")
        val, test = rest.split(0.5, 0.5, stratify="kind")
        train.adapt()
        assert val.labels("kind") == test.labels("kind") == ("cat", "dog")

    def test_parts_of_an_adapted_dataset_keep_what_it_learned(self) -> None:
        """Splitting after adapt forgets nothing."""
        data = declare()
        data.adapt()
        train, _ = data.split(0.5, 0.5)
        assert train.labels("kind") == ("cat", "dog")

    def test_a_label_that_only_the_other_part_has_is_told_at_once(self) -> None:
        """adapt checks the sibling parts: it names the part, the sample and the label."""
        rows = {**ROWS, "kind": ["cat", "dog", "cat", "fox"]}
        train, val = declare(rows).split(0.75, 0.25, by="person", seed=3)
        train, val = (train, val) if "d" in val.keys(np.arange(len(val))) else (val, train)
        with pytest.raises(mf.SampleError) as caught:
            train.adapt()
        number = 2 if val.family.title(val) == "part 2 of 2" else 1
        row = val.keys(np.arange(len(val))).index("d")
        assert str(caught.value) == (
            "'kind' of sample 'd' cannot be used: it is 'fox', which the vocabulary of 2 labels does "
            f"not have (in part {number} of 2 of the split).\n"
            f"  Row: {row}.\n"
            "  Split so that every label is in the training part, pass vocabulary=[...] with all "
            "labels, or declare the field with oov=True."
        )

    def test_reading_before_adapt_is_told(self) -> None:
        """A sample, and a feed, need what adapt learns."""
        for use in (lambda data: data[0], lambda data: mf.Feed(data, 2)):
            with pytest.raises(mf.NotAdaptedError) as caught:
                use(declare())
            assert str(caught.value) == (
                "'x' has to learn from the training rows before it can be read (it is a Numeric).\n"
                "  Call train.adapt() on the training part of the split, or data.adapt() if there is "
                "none."
            )


X = mf.Numeric("x")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"rows": {"x": []}, "inputs": X},
            "a dataset has at least one sample; this row table has 0 rows.",
        ),
        (
            {"rows": {"x": np.arange(3), "y": np.arange(4)}, "inputs": X},
            "the columns of a row table must have one length.\n"
            "  Received: 'x' has 3, 'y' has 4.\n"
            "  Give every column one value a sample, or join by key with mf.align.",
        ),
        (
            {"rows": 3, "inputs": X},
            "rows must be a table.\n"
            "  Received: int.\n"
            "  Pass a table file (.csv, .tsv, .parquet, .arrow, .feather, .jsonl), a pyarrow, pandas or "
            "polars table, or a dict of arrays.",
        ),
        (
            {"inputs": {"x": mf.Numeric("y")}},
            "field 'x': the row table has no column 'y'.\n  There are: 'id', 'kind', 'person', 'x'.",
        ),
        (
            {"inputs": X, "key": "idd"},
            "the row table has no key column 'idd'.\n  Did you mean 'id'?",
        ),
        (
            {"inputs": {"x": X}, "targets": {"x": X}},
            "names are unique over inputs and targets; 'x' is used twice.\n"
            "  Rename one of the two in its dict.",
        ),
        (
            {"inputs": "x"},
            "inputs must be a field, a tuple of fields, or a dict of fields by name.\n"
            "  Received: 'x'.\n"
            '  Write e.g. inputs={"image": mf.Image("file", size=224)}.',
        ),
        (
            {"inputs": {"x": "x"}},
            "inputs holds fields; received 'x'.\n"
            "  Wrap the column's name: mf.Numeric, mf.Category, mf.Image, mf.Text or mf.Array.",
        ),
        (
            {"inputs": X, "sample_weight": "x"},
            "sample_weight weighs the loss of targets, and there are none.\n  Pass targets=.",
        ),
        (
            {"inputs": X, "targets": X, "sample_weight": 3},
            "sample_weight is the name of a column, or a dict of such names by target.\n  Received: 3.",
        ),
        (
            {"inputs": X, "key": "x"},
            "a key is text or an integer; the key column 'x' holds double.\n"
            "  Name another column, or convert it.",
        ),
        (
            {"inputs": X, "targets": {"y": X}, "sample_weight": {"z": "x"}},
            "sample_weight names no target 'z'.\n  There are: 'y'.",
        ),
    ],
)
def test_bad_declarations_are_told(arguments: dict[str, Any], message: str) -> None:
    """Each is an error at once, with what came and what to do."""
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Dataset(**{"rows": ROWS, **arguments})
    assert str(caught.value) == message


def test_names_come_from_columns_and_are_made_unique() -> None:
    """Fields without a dict key are called by their column, repeated ones by number."""
    data = mf.Dataset(ROWS, inputs=(X, X, mf.Numeric(["x", "x"])), targets=X)
    assert list(data.fields) == ["x", "x_1", "numeric", "x_2"]


def test_keys_are_text_or_row_numbers() -> None:
    """Without a key, rows are named by their number; a composite key is joined."""
    assert mf.Dataset(ROWS, inputs=X).keys(np.array([2, 0])) == [2, 0]
    both = mf.Dataset(ROWS, inputs=X, key=("person", "id"))
    assert both.keys(np.array([3])) == ["r/d"]


def test_the_folder_of_a_table_file_is_where_its_names_start(photos: Path) -> None:
    """Relative names in a CSV start from the CSV's folder, from root= if given; `..` is refused."""
    (photos / "list.csv").write_text("file\nleft/p00.jpg\n")
    (photos / "right" / "list.csv").write_text("file\n../left/p00.jpg\n")
    image = mf.Image("file", size=8)
    here = mf.Dataset(photos / "list.csv", inputs=image)[0][0]
    outside = mf.Dataset(photos / "right" / "list.csv", inputs=image)
    with pytest.raises(mf.SampleError, match="leads out of the folder of its table"):
        outside[0]
    allowed = mf.Dataset(photos / "right" / "list.csv", inputs=image, allow_outside=True)
    np.testing.assert_array_equal(allowed[0][0], here)
    moved = mf.Dataset({"file": ["p00.jpg"]}, inputs=image, root=photos / "left")
    np.testing.assert_array_equal(moved[0][0], here)


def test_columns_stand_in_the_order_of_the_mapping() -> None:
    """Lists and arrays mixed in a dict keep their order: a pattern reads them as they stand."""
    rows = {"p0": [1, 2], "p1": np.array([3, 4]), "p2": [5, 6]}
    data = mf.Dataset(rows, inputs=mf.Array("p*"))
    assert data[0][0].tolist() == [1, 3, 5]
    assert list(data.select([1]).rows) == ["p0", "p1", "p2"]


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda: declare(ROWS)[0:2],
            "a sample is one row, by its number; received slice(0, 2, None).\n"
            "  Several rows are a dataset of their own: data.select(rows).",
        ),
        (
            lambda: mf.Dataset({"id": ["a", None], "x": [1, 2]}, key="id", inputs=mf.Numeric("x")),
            "every sample needs a key; the key column 'id' is null in 1 rows.\n"
            "  Fill it in, leave these rows out of the table, or name another column.",
        ),
        (
            lambda: mf.Dataset({"photo": [None, None]}, inputs={"photo": mf.Image("photo", 4)}),
            "field 'photo': column 'photo' has no value in any of its rows.\n"
            "  Correct the table, or leave the field out.",
        ),
        (
            lambda: mf.Dataset({"x": [1, 2]}, inputs=mf.Numeric("x")).labels("x"),
            "'x' is no Category of this dataset.\n  There are none.",
        ),
        (
            lambda: mf.Dataset({"x": [1, 2]}, inputs=mf.Numeric("x")).vocabulary("x"),
            "'x' is no Text of this dataset.\n  There are none.",
        ),
        (
            lambda: mf.Feed(mf.Dataset({"x": [1, 2]}, inputs=mf.Numeric("x")), 2, shuffle="yes"),
            "shuffle is True, False or \"block\"; received 'yes'.",
        ),
    ],
)
def test_misuse_is_told(act: Any, message: str) -> None:
    """What a newcomer tries first, and what to write instead."""
    with pytest.raises(mf.DeclarationError) as caught:
        act()
    assert str(caught.value) == message


def test_paths_are_names(tmp_path: Path) -> None:
    """Lists of pathlib.Path are columns of file names."""
    np.save(tmp_path / "x.npy", np.ones(2, np.float32))
    data = mf.Dataset({"x": [tmp_path / "x.npy"]}, inputs=mf.Array("x", (2,)))
    assert data[0][0].tolist() == [1.0, 1.0]


def test_the_words_of_a_text_are_listed() -> None:
    """In the order of their ids, once they are learned."""
    data = mf.Dataset({"note": ["b a", "a"]}, inputs={"note": mf.Text("note", 4)})
    with pytest.raises(mf.NotAdaptedError):
        data.vocabulary("note")
    data.adapt()
    assert data.vocabulary("note") == ("[PAD]", "[UNK]", "a", "b")


def test_a_selection_that_leaves_bad_rows_out_can_be_adapted() -> None:
    """Although the dataset that it was made of, which has them, is still there."""
    data = mf.Dataset({"x": [1.0, float("nan"), 3.0]}, inputs=mf.Numeric("x", normalize=True))
    good = data.select([0, 2])
    good.adapt()
    assert good[0][0].tolist() == [-1.0]
    with pytest.raises(mf.SampleError):
        data[1]
