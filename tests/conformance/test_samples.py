"""Every field reads a sample that comes alone as it reads the row of a dataset."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fields_table import COUNT, EXAMPLES, Example

import multifeed as mf

every = pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)


def samples_of(data: mf.Dataset) -> list[dict[str, Any]]:
    """Return the rows of a dataset, with the values as its columns have them."""
    columns = data.rows
    return [{name: columns[name][row] for name in columns} for row in range(len(data))]


def as_python(sample: dict[str, Any]) -> dict[str, Any]:
    """Return a sample as it would come from a request: without NumPy and Arrow."""
    return {
        name: value.as_py() if isinstance(value, pa.Scalar) else np.asarray(value).tolist()
        if isinstance(value, np.ndarray | np.generic) else value
        for name, value in sample.items()
    }  # fmt: skip


def batch_of(data: mf.Dataset, rows: list[int]) -> np.ndarray:
    """Return what a feed yields for rows."""
    with mf.Feed(data.select(rows), batch_size=len(rows)) as feed:
        (inputs,) = next(iter(feed))
    return inputs["x"]


def assert_same_bytes(one: np.ndarray, other: np.ndarray) -> None:
    """Raise unless two arrays have one dtype, shape and content, NaN included."""
    assert (one.dtype, one.shape) == (other.dtype, other.shape)
    assert one.tobytes() == other.tobytes()


@every
def test_a_sample_becomes_the_bytes_of_its_row(example: Example, tmp_path: Path) -> None:
    """One at a time: with the values as the table has them, and as Python has them."""
    data = example.dataset(tmp_path)
    for row, sample in enumerate(samples_of(data)):
        wanted = batch_of(data, [row])
        for _ in range(2):
            assert_same_bytes(mf.prepare(data, sample)["x"], wanted)
        assert_same_bytes(mf.prepare(data, as_python(sample))["x"], wanted)


@every
def test_several_samples_become_the_bytes_of_their_rows(example: Example, tmp_path: Path) -> None:
    """A list gives one batch, in its order."""
    data = example.dataset(tmp_path)
    samples = samples_of(data)
    rows = [4, 1, 1, 6]
    wanted = batch_of(data, rows)
    assert_same_bytes(mf.prepare(data, [samples[row] for row in rows])["x"], wanted)


@every
def test_the_rows_of_the_dataset_make_no_difference(example: Example, tmp_path: Path) -> None:
    """A part of the rows, another table and a chain of tables tell the types as well."""
    data = example.dataset(tmp_path)
    sample = samples_of(data)[COUNT - 1]
    wanted = batch_of(data, [COUNT - 1])
    part = data.select([2, 0])
    assert_same_bytes(mf.prepare(part, sample)["x"], wanted)
    assert_same_bytes(mf.prepare(mf.concat([part, data.select([1])]), sample)["x"], wanted)


FILLED = [
    each
    for each in EXAMPLES
    if hasattr(each.field, "missing") and len(each.field.reads) == 1 and "*" not in each.field.reads[0]
]


@pytest.mark.parametrize("example", FILLED, ids=lambda example: example.name)
def test_none_is_a_null(example: Example, tmp_path: Path) -> None:
    """It is filled as a null in the column is, also where the dataset has none and cannot have one."""
    missing = "zero"
    if isinstance(example.field, mf.Category):
        missing = example.dataset(tmp_path).labels("x")[0]
    field = dataclasses.replace(example.field, missing=missing)
    data = example.dataset(tmp_path, field=field)
    sample = samples_of(data)[0]
    wanted = batch_of(data, [0])
    wanted[...] = 0
    if isinstance(example.field, mf.Category) and example.field.one_hot:
        wanted[0, int(example.field.oov)] = 1
    elif isinstance(example.field, mf.Category):
        wanted[...] = int(example.field.oov)
    name = next(name for name in sample if name != "id")
    assert_same_bytes(mf.prepare(data, {name: None})["x"], wanted)
    both = mf.prepare(data, [{name: None}, sample])["x"]
    assert_same_bytes(both, np.concatenate([wanted, batch_of(data, [0])]))


@pytest.mark.parametrize("example", FILLED, ids=lambda example: example.name)
def test_none_is_refused_by_default(example: Example, tmp_path: Path) -> None:
    """As a null in the column is; the error speaks of the sample and not of a row."""
    data = example.dataset(tmp_path)
    name = next(name for name in samples_of(data)[0] if name != "id")
    with pytest.raises(
        mf.SampleError, match="^'x' of the sample cannot be used: it is missing"
    ) as caught:
        mf.prepare(data, {name: None})
    assert (caught.value.field, caught.value.row) == ("x", None)
