"""`mf.windows`: where windows lie, what they share, and that each reads no more than itself."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest

import multifeed as mf

LENGTHS = [10, 3, 0, 7, 4]
IDS = list("abcde")


def series() -> list[np.ndarray]:
    """Return series of unequal length, of which each row tells its place."""
    return [100 * number + np.arange(length) for number, length in enumerate(LENGTHS)]


def made(remainder: str, length: int, stride: int) -> list[tuple[int, int, int]]:
    """Return the windows, one by one: the series of each, and its first and last + 1 row."""
    found = []
    for number, count in enumerate(LENGTHS):
        if remainder != "pad" and count < length:
            continue
        start = 0
        while start < count:
            if start + length > count:
                if remainder == "pad":
                    found.append((number, start, count))
                elif remainder == "shift":
                    found.append((number, count - length, count))
                break
            found.append((number, start, start + length))
            if start + length == count and remainder != "drop":
                break
            start += stride
    return found


@pytest.mark.parametrize("remainder", ["drop", "pad", "shift"])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 10])
@pytest.mark.parametrize("stride", [1, 2, 3, 4, 12])
def test_windows_lie_where_a_plain_loop_puts_them(remainder: str, length: int, stride: int) -> None:
    """For all ways with the rest, overlapping, end to end and with gaps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mf.MultifeedWarning)
        rows = mf.windows({"id": IDS, "x": series()}, length, stride, key="id", remainder=remainder)
    expected = made(remainder, length, stride)
    found = zip(rows["id"].to_pylist(), rows["start"].to_pylist(), rows["stop"].to_pylist(), strict=True)
    assert [(IDS.index(name), start, stop) for name, start, stop in found] == expected
    assert rows["window"].to_pylist() == [f"{IDS[number]}@{start}" for number, start, _ in expected]
    data = mf.Dataset(rows, key="window", inputs=mf.Array("x", pad_to=length))
    for row, (number, start, stop) in enumerate(expected):
        values = data[row][0]
        np.testing.assert_array_equal(values[: stop - start], series()[number][start:stop])
        assert not values[stop - start :].any()


def test_files_and_lists_give_the_same_windows(tmp_path: Path) -> None:
    """Of every format; only headers are read for it; names start in the folder of their table."""
    arrays = [np.stack([each, -each], axis=1).astype(np.float32) for each in series() if len(each)]
    with h5py.File(tmp_path / "all.h5", "w") as file:
        for number, array in enumerate(arrays):
            np.save(tmp_path / f"s{number}.npy", array)
            np.savetxt(tmp_path / f"s{number}.csv", array, delimiter=",")
            file[f"s{number}"] = array
    count = len(arrays)
    names = {
        "npy": [f"s{number}.npy" for number in range(count)],
        "csv": [f"s{number}.csv" for number in range(count)],
        "h5": [f"all.h5::s{number}" for number in range(count)],
    }
    expected = mf.windows({"x": arrays}, 3, 2)
    whole = [mf.Dataset(expected, inputs=mf.Array("x", (3, 2)))[row][0] for row in range(len(expected))]
    for column in names.values():
        rows = mf.windows({"x": column}, 3, 2, root=tmp_path, workers=2)
        assert rows.drop_columns("x") == expected.drop_columns("x")
        data = mf.Dataset(rows, inputs=mf.Array("x", (3, 2)), root=tmp_path)
        np.testing.assert_array_equal([data[row][0] for row in range(len(rows))], whole)
    pattern = mf.windows(f"{tmp_path}/s{{number}}.npy", 3, 2, key="number")
    assert pattern.column_names == ["file", "number", "window", "start", "stop"]
    assert pattern["window"][1].as_py() == "0@2"
    (tmp_path / "rows.csv").write_text("x\ns0.npy\n")
    assert len(mf.windows(tmp_path / "rows.csv", 3, 2)) == 4


def test_arrays_of_one_length_are_series_too() -> None:
    """N-D arrays, fixed lists and tensors."""
    values = np.arange(24.0, dtype=np.float32).reshape(2, 6, 2)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(values[:, :, 0].reshape(-1)), 6)
    for column, expected in ((values, values), (flat, values[:, :, 0])):
        rows = mf.windows({"x": column}, 4, 2)
        data = mf.Dataset(rows, inputs=mf.Array("x", expected[0, :4].shape))
        assert len(data) == 4
        np.testing.assert_array_equal(data[3][0], expected[1, 2:6])


def test_windows_share_their_series() -> None:
    """A million windows of a long series take no copies of it, nor do windows of windows' neighbours."""
    values = np.arange(1_000_000, dtype=np.float32)
    rows = mf.windows({"x": [values], "labels": [values.astype(np.int32) % 7]}, 1_000, 1, column="x")
    assert len(rows) == 999_001
    assert rows.nbytes < 100 * len(rows)
    inputs = {"x": mf.Array("x", (1_000,)), "y": mf.Array("labels", (1_000,))}
    data = mf.Dataset(rows, key="window", inputs=inputs)
    found = data.select([999_000, 5])
    np.testing.assert_array_equal(found[0][0]["x"], values[-1_000:])
    np.testing.assert_array_equal(found[1][0]["y"], np.arange(5, 1_005) % 7)


def test_windows_are_split_by_their_series() -> None:
    """All of one are on one side, and processes and threads read the same."""
    rows = mf.windows({"id": list("abcdefgh"), "x": [np.arange(20)] * 8}, 4, 2, key="id")
    data = mf.Dataset(rows, key="window", inputs=mf.Array("x", (4,)))
    train, val = data.split(0.5, 0.5, by="id")
    assert not {*train.rows["id"].to_pylist()} & {*val.rows["id"].to_pylist()}
    plain = [batch[0].copy() for batch in mf.Feed(train, 8, shuffle=True, seed=1)]
    with mf.Feed(train, 8, shuffle=True, seed=1, processes=1) as feed:
        for batch, expected in zip(feed, plain, strict=True):
            np.testing.assert_array_equal(batch[0], expected)


def test_series_that_are_too_short_are_told() -> None:
    """Some with a warning, all with an error."""
    with pytest.warns(mf.MultifeedWarning) as caught:
        mf.windows({"x": series()}, 5)
    assert str(caught[0].message) == (
        '3 of 5 series have no window: they are shorter than 5 rows. remainder="pad" keeps them.'
    )
    with pytest.raises(mf.DeclarationError) as raised:
        mf.windows({"x": series()}, 11)
    assert str(raised.value) == (
        "5 of 5 series have no window: they are shorter than 11 rows; the longest has 10.\n"
        '  Pass a shorter length, or remainder="pad".'
    )


def test_a_series_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """With its row and file."""
    np.save(tmp_path / "a.npy", np.zeros(4))
    np.save(tmp_path / "b.npy", np.float32(4))
    with pytest.raises(mf.SampleError) as caught:
        mf.windows({"x": [f"{tmp_path}/a.npy", f"{tmp_path}/c.npy"]}, 2)
    assert str(caught.value) == (
        "'x' of row 1 cannot be used: the file does not exist.\n"
        f"  File: {tmp_path}/c.npy (row 1).\n"
        "  Replace the file, or leave its row out of the table."
    )
    with pytest.raises(mf.SampleError, match="holds a single number, which has no rows"):
        mf.windows({"x": [f"{tmp_path}/b.npy"]}, 2)
    with pytest.raises(mf.SampleError, match="is missing: the column is null"):
        mf.windows({"x": pa.array([[1, 2], None])}, 2)


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ({"x": [[1, 2]]}, {"length": 0}, "length must be a whole number of at least 1; received 0."),
        ({"x": [[1, 2]]}, {"stride": 0}, "stride must be a whole number of at least 1; received 0."),
        (
            {"x": [[1, 2]]}, {"remainder": "keep"},
            "remainder must be one of 'drop', 'pad', 'shift'; received 'keep'.",
        ),
        (
            {"x": [[1, 2]], "start": [0]}, {},
            "windows have the columns 'window', 'start', 'stop', and the rows have a column 'start'.\n"
            "  Rename that one.",
        ),
        (
            {"x": [[1, 2]], "y": [[1, 2]]}, {},
            "windows are made of one column of series; there are 'x', 'y'.\n  Pass column=<its name>.",
        ),
        (
            {"x": [1], "y": ["text"]}, {},
            "windows are made of one column of series; there is none.\n  Pass column=<its name>.",
        ),
        ({"x": [[1, 2]]}, {"column": "y"}, "the row table has no column 'y'.\n  There are: 'x'."),
        (
            {"x": [1]}, {"column": "x"},
            "windows are made of files or lists; 'x' holds int64.\n"
            "  Pass column=<the name of another one>.",
        ),
        (
            {"x": [[1], [2]], "id": [1, 1]}, {"key": "id", "length": 1},
            "key='id' names each series; it is empty in a row, or occurs twice.",
        ),
        ({"x": []}, {}, "windows are made of one series at least; this row table has 0 rows."),
    ],
)  # fmt: skip
def test_what_cannot_be_cut_is_told(rows: dict[str, Any], options: dict[str, Any], message: str) -> None:
    """Which argument or column is wrong."""
    with pytest.raises(mf.DeclarationError) as caught:
        mf.windows(rows, **{"length": 2} | options)
    assert str(caught.value) == message


def test_a_cache_of_windows_is_of_these_windows(tmp_path: Path) -> None:
    """Other windows of the same series are another cache; the series is not written out for each."""
    field = mf.Array("x", (4,), preprocess=np.negative)
    for stride in (2, 3):
        rows = mf.windows({"x": [np.arange(20)]}, 4, stride)
        data = mf.Dataset(rows, key="window", inputs=field)
        cached = mf.cache(data, tmp_path / "cache", progress=False)
        np.testing.assert_array_equal(cached[2][0], -np.arange(2 * stride, 2 * stride + 4))
    assert len([each for each in (tmp_path / "cache").iterdir() if each.is_dir()]) == 2


@pytest.mark.parametrize("stored", ["float32", "float64", "int16", ">f4"])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_windows_of_files_are_those_of_the_arrays(tmp_path: Path, stored: str, scale: float) -> None:
    """Whether they are read straight to their place, by way of others, or one by one."""
    values = [np.random.default_rng(number).integers(0, 99, (30, 3)).astype(stored) for number in (1, 2)]
    np.save(tmp_path / "0.npy", values[0])
    with h5py.File(tmp_path / "1.h5", "w") as file:
        file["x"] = values[1]
    rows = mf.windows({"x": [f"{tmp_path}/0.npy", f"{tmp_path}/1.h5::x"]}, 8, 3)
    field = mf.Array("x", (8, 3), dtype="float32", scale=None if scale == 1 else scale)
    data = mf.Dataset(rows, inputs=field)
    series, starts = (data.rows[name].to_pylist() for name in ("x", "start"))
    with mf.Feed(data, 5, shuffle=True, seed=3) as feed:
        for step, (batch,) in enumerate(feed):
            for row, got in zip(feed.rows(0, step).tolist(), batch, strict=True):
                window = values[series[row].endswith("x")][starts[row] : starts[row] + 8]
                np.testing.assert_array_equal(got, window.astype(np.float32) * np.float32(scale))
        read = feed.report().fields["x"]
    # And what the files say of themselves.
    assert 0 < read.loaded_bytes - read.samples * 24 * np.dtype(stored).itemsize < 50_000


def test_a_window_that_cannot_be_read_is_told_among_others(tmp_path: Path) -> None:
    """Also where all of a batch are read at once, and the file was cut off in the meantime."""
    np.save(tmp_path / "0.npy", np.zeros((40, 3), np.float32))
    rows = mf.windows({"x": [f"{tmp_path}/0.npy"]}, 8, 8)
    data = mf.Dataset(rows, key="window", inputs=mf.Array("x", (8, 3)))
    with mf.Feed(data, 5) as feed:
        feed.batch(0, 0)
        os.truncate(tmp_path / "0.npy", 128 + 3 * 8 * 12 + 7)
        with pytest.raises(mf.SampleError, match=r"'x' of sample '0@") as caught:
            feed.batch(0, 0)
    assert caught.value.file == f"{tmp_path}/0.npy"
