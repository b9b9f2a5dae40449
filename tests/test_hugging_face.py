"""Datasets of Hugging Face: their rows in their order, images and arrays as fields read them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image as PILImage
from pyarrow import parquet

import multifeed as mf
from multifeed.errors import DeclarationError
from multifeed.table import as_table

datasets.disable_progress_bars()

FEATURES = datasets.Features(
    {
        "id": datasets.Value("string"),
        "n": datasets.Value("int64"),
        "image": datasets.Image(),
        "kind": datasets.ClassLabel(names=["x", "y"]),
        "grid": datasets.Array2D((2, 2), "float32"),
        "series": datasets.Sequence(datasets.Value("float32")),
    }
)


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def image(value: int) -> Any:
    return PILImage.fromarray(np.full((4, 4, 3), value, np.uint8))


def given(count: int = 4) -> datasets.Dataset:
    """Return a dataset whose values tell their row."""
    rows = range(count)
    columns = {
        "id": [f"k{row}" for row in rows],
        "n": list(rows),
        "image": [image(row) for row in rows],
        "kind": [row % 2 for row in rows],
        "grid": [np.full((2, 2), row).tolist() for row in rows],
        "series": [[float(row)] * row for row in rows],
    }
    return datasets.Dataset.from_dict(columns, features=FEATURES)


def rows_of(source: Any) -> list[int]:
    """Return which rows a source has, by each kind of value, which must all say the same."""
    inputs = {
        "n": mf.Numeric("n"),
        "image": mf.Image("image", 4),
        "grid": mf.Array("grid"),
        "series": mf.Array("series", pad_to=4),
    }
    data = mf.Dataset(source, key="id", inputs=inputs, targets=mf.Category("kind", vocabulary=[0, 1]))
    (inputs, kinds) = mf.Feed(data, batch_size=len(data)).batch(0, 0)
    rows = [int(row) for row in inputs["n"][:, 0]]
    assert data.keys(np.arange(len(data))) == [f"k{row}" for row in rows]
    assert inputs["image"][:, 0, 0, 0].tolist() == rows
    assert inputs["grid"].tolist() == [[[row, row], [row, row]] for row in rows]
    assert [
        np.count_nonzero(each == row) for each, row in zip(inputs["series"], rows, strict=True) if row
    ] == [row for row in rows if row]
    assert kinds.tolist() == [row % 2 for row in rows]
    return rows


CHANGES: dict[str, tuple[Callable[[datasets.Dataset], Any], list[int]]] = {
    "as it is": (lambda given: given, [0, 1, 2, 3]),
    "shuffled": (lambda given: given.shuffle(seed=3), [3, 2, 1, 0]),
    "selected": (lambda given: given.select([3, 1]), [3, 1]),
    "a range": (lambda given: given.select(range(1, 3)), [1, 2]),
    "filtered": (lambda given: given.filter(lambda row: row["n"] > 1), [2, 3]),
    "sorted": (lambda given: given.sort("n", reverse=True), [3, 2, 1, 0]),
    "split": (lambda given: given.train_test_split(0.5, shuffle=False)["test"], [2, 3]),
    "formatted": (lambda given: given.with_format("numpy", columns=["n"]), [0, 1, 2, 3]),
    "transformed": (
        lambda given: given.with_transform(lambda rows: {"n": [9] * len(rows["n"])}),
        [0, 1, 2, 3],
    ),
    "joined": (
        lambda given: datasets.concatenate_datasets([given.select([2]), given.select([0])]),
        [2, 0],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_rows_are_those_of_the_dataset(change: str) -> None:
    """Whatever has been done with it: a mapping of rows counts, formats and transforms do not."""
    make, rows = CHANGES[change]
    assert rows_of(make(given())) == rows


def test_what_it_saves_is_read_as_a_folder_and_as_a_file() -> None:
    """Its own files: Arrow streams, memory-mapped; and Parquet, as on the hub."""
    given().save_to_disk("saved", num_shards=2)
    assert rows_of("saved") == [0, 1, 2, 3]
    assert rows_of(datasets.load_from_disk("saved").select([2, 0])) == [2, 0]
    assert rows_of(next(Path("saved").glob("*-00001-*.arrow"))) == [2, 3]
    given().to_parquet("rows.parquet")
    # Its arrays are lists of lists there, for whoever has not its package.
    table = parquet.read_table("rows.parquet").drop_columns(["grid"])
    parquet.write_table(table, "plain.parquet")
    data = mf.Dataset("plain.parquet", inputs=mf.Image("image", 4))
    assert (data[3][0] == 3).all()


def test_it_is_a_source_of_align() -> None:
    """Joined by key, shuffled or not."""
    rows = mf.align(
        "id", files={"id": ["k2", "k0"], "m": [1, 2]}, hub=given().select([2, 0, 1]), on_missing="keep"
    )
    assert rows["n"].to_pylist() == [2, 0, 1]
    assert rows["m"].to_pylist() == [1, 2, None]


def test_images_that_are_names_are_read_from_their_files() -> None:
    """A dataset of a folder of images keeps names alone, absolute ones."""
    image(7).save("a.png")
    dataset = datasets.Dataset.from_dict({"image": ["a.png", None]}).cast_column(
        "image", datasets.Image()
    )
    data = mf.Dataset(dataset, inputs=mf.Image("image", 4, missing="zero"))
    assert (data[0][0] == 7).all()
    assert (data[1][0] == 0).all()


def test_contents_and_names_in_one_column_are_refused() -> None:
    """Of a column that has the content of some files and the names of others, neither is a column."""
    rows = pa.table({"image": [{"bytes": b"x", "path": None}, {"bytes": None, "path": "a.png"}]})
    with pytest.raises(DeclarationError, match="an Image column holds file names or encoded images"):
        mf.Dataset(rows, inputs=mf.Image("image", 4))
    # Nulls are nulls.
    both = pa.table({"image": [{"bytes": b"x", "path": "a"}, None]})
    assert as_table(both, "rows")["image"].to_pylist() == [b"x", None]


def test_arrays_of_another_shape_than_they_claim_are_refused() -> None:
    """One of two values and one of six would make two of four, with numbers of each other."""
    kind = datasets.Array2D((2, 2), "int32")()
    storage = pa.array([[[1], [2]], [[3, 4, 5], [6, 7, 8]]], kind.storage_type)
    rows = pa.table({"grid": pa.ExtensionArray.from_storage(kind, storage)})
    with pytest.raises(DeclarationError, match="column 'grid' has an array of another shape than"):
        mf.Dataset(rows, inputs=mf.Array("grid"))


def test_a_table_stays_mapped_to_its_files() -> None:
    """Nothing is copied of a dataset whose rows have not been moved."""
    given(256).save_to_disk("saved")
    before = pa.total_allocated_bytes()
    table = as_table(datasets.load_from_disk("saved"), "rows")
    assert pa.total_allocated_bytes() - before < table.nbytes / 10


def refused(call: Callable[[], Any]) -> str:
    """Return the message with which something is refused."""
    with pytest.raises(DeclarationError) as error:
        call()
    return str(error.value)


def test_what_is_no_single_table_says_what_to_pass() -> None:
    """A dict of datasets, and a stream."""
    parts = datasets.DatasetDict(train=given(), test=given())
    assert refused(lambda: mf.Dataset(parts, inputs=mf.Numeric("n"))) == (
        "rows must be one table.\n"
        "  Received: a DatasetDict of 'train', 'test'.\n"
        "  Pass one of them, or several datasets to mf.concat."
    )
    assert refused(lambda: mf.align("id", hub=given().to_iterable_dataset())) == (
        "the source 'hub' must be a table.\n"
        "  Received: IterableDataset.\n"
        "  Load it without streaming=True: rows are read by number, again in each epoch."
    )
