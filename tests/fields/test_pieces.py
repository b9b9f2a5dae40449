"""Large columns in pieces: gathered from where they lie, they give what one copied array gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import multifeed as mf
from multifeed.errors import SampleError
from multifeed.fields import pieces

COUNTS = (3, 1, 0, 7, 2)
ROWS = sum(COUNTS)


def chunked(kind: str) -> pa.ChunkedArray:
    """Return a column of several chunks, each of which is a slice with rows before and behind it."""
    random = np.random.default_rng(0)
    chunks = []
    for count in COUNTS:
        values = random.integers(0, 99, (count + 2, 4)).astype(np.float32)
        if kind == "tensors":
            chunk = pa.FixedShapeTensorArray.from_numpy_ndarray(values.reshape(-1, 2, 2))
        elif kind == "fixed":
            chunk = pa.array([None if row == 1 else each.tolist() for row, each in enumerate(values)],
                             pa.list_(pa.float32(), 4))  # fmt: skip
        else:
            chunk = pa.array([each[: row % 5].tolist() for row, each in enumerate(values)])
            chunk = chunk.cast(pa.list_(pa.float32()))
        chunks.append(chunk.slice(1, count))
    return pa.chunked_array(chunks)


FIELDS = {
    "tensors": mf.Array("x"),
    "fixed": mf.Array("x", missing="zero"),
    "lists": mf.Array("x", pad_to=3, padding="pre"),
    "scaled": mf.Array("x", pad_to=5, scale=0.5),
    "function": mf.Array("x", preprocess=np.square),
}
KINDS = {"scaled": "lists", "function": "tensors"}


def batches(name: str, part: str) -> list[Any]:
    """Return all batches of a part of the column, shuffled."""
    data = mf.Dataset({"x": chunked(KINDS.get(name, name)), "n": list(range(ROWS))}, inputs=FIELDS[name])
    data = {"all": data, "some": data.select([9, 0, 3, 3, 12]), "split": data.split(0.5, 0.5)[1]}[part]
    feed = mf.Feed(data, 4, shuffle=True, seed=1)
    return [feed.batch(0, step)[0] for step in range(len(feed))]


@pytest.mark.parametrize("part", ["all", "some", "split"])
@pytest.mark.parametrize("name", FIELDS)
def test_pieces_give_what_one_array_gives(name: str, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nulls, padding, scale and functions, of all rows and of some."""
    whole = batches(name, part)
    made: list[pieces.Pieces] = []
    init = pieces.Pieces.__init__
    monkeypatch.setattr(
        pieces.Pieces, "__init__", lambda self, *a: (made.append(self), init(self, *a))[1]
    )
    monkeypatch.setattr(pieces, "_LARGE_BYTES", 0)
    found = batches(name, part)
    assert made
    for one, other in zip(whole, found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_wrong_in_a_piece_is_told_with_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the declaration and in a batch; and rows that are left out do no harm."""
    monkeypatch.setattr(pieces, "_LARGE_BYTES", 0)
    x = pa.chunked_array([[[1, 2]], [[3, 4], [5]], [[6, 300]]])
    data = mf.Dataset({"x": x}, inputs=mf.Array("x", (2,), dtype="uint8"))
    with pytest.raises(SampleError) as error:
        data.select([3, 2])[0]
    assert (error.value.row, error.value.reason[:13]) == (1, "has 1 values ")
    assert data.select([1, 0])[0][0].tolist() == [3, 4]
    with pytest.raises(SampleError) as error:
        data.select([0, 1, 3])[2]
    assert (error.value.row, error.value.reason) == (2, "holds 300, which uint8 cannot hold")
