"""Arrays in HDF5, Zarr, MATLAB and CSV files, whole and in parts, against the formats' libraries."""

from __future__ import annotations

import ast
import errno
import gc
import io
import os
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cloudpickle
import h5py
import numcodecs
import numpy as np
import pyarrow as pa
import pytest
import scipy.io
import zarr
from zarr import codecs

import multifeed as mf
from multifeed.batch import allocate
from multifeed.errors import BadValue
from multifeed.fields import npy as npy_files
from multifeed.fields.handles import Handles
from multifeed.folder import Folder, PartName
from multifeed.meter import Meter
from multifeed.spot import Spot

SHAPE = (23, 4, 3)
VALUES = np.random.default_rng(0).integers(-50, 50, SHAPE)
PARTS = [(0, 6), (5, 11), (20, 23), (7, 7)]


def values(dtype: str) -> np.ndarray:
    """Return the same numbers in any dtype."""
    return np.abs(VALUES).astype(dtype) if dtype.startswith("u") else VALUES.astype(dtype)


def check(name: str | Path, expected: np.ndarray, **options: Any) -> None:
    """Raise unless an array is read as it is, whole and in parts."""
    options["dtype"] = expected.dtype.newbyteorder("=").name
    whole = mf.Dataset({"x": [str(name)]}, inputs=mf.Array("x", expected.shape, **options))
    np.testing.assert_array_equal(whole[0][0], expected)
    starts, stops = zip(*PARTS, strict=True)
    rows = {"x": [str(name)] * len(PARTS), "start": starts, "stop": stops}
    field = mf.Array("x", (None, *expected.shape[1:]), pad_to=6, **options)
    parts = mf.Dataset(rows, inputs=field)
    for row, (start, stop) in enumerate(PARTS):
        found = parts[row][0]
        np.testing.assert_array_equal(found[: stop - start], expected[start:stop])
        assert not found[stop - start :].any()


def reason(rows: dict[str, Any], field: mf.Array) -> str:
    """Return why the last row cannot be used."""
    data = mf.Dataset(rows, inputs=field)
    with pytest.raises(mf.SampleError) as caught:
        data[-1]
    return caught.value.reason


def refused(name: str | Path, **options: Any) -> str:
    """Return why a file cannot be used."""
    return reason({"x": [str(name)]}, mf.Array("x", (2,), **options))


# HDF5 ----------------------------------------------------------------------------------------------

LAYOUTS: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "chunks": {"chunks": (5, 3, 2)},
    "growing": {"chunks": (5, 3, 2), "maxshape": (None, 4, 3)},
    "growing twice": {"chunks": (5, 3, 2), "maxshape": (None, None, 3)},
    "one chunk": {"chunks": SHAPE},
    "gzip": {"chunks": (5, 3, 2), "compression": "gzip", "shuffle": True},
    "checksums": {"chunks": (5, 3, 2), "fletcher32": True},
    "all": {"chunks": (5, 3, 2), "compression": "gzip", "shuffle": True, "fletcher32": True},
    "lzf": {"chunks": (5, 3, 2), "compression": "lzf", "shuffle": True},
}


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("block", [0, 512])
@pytest.mark.parametrize("dtype", ["f4", ">f8", "i2", "u1"])
def test_hdf5_is_read_as_h5py_reads_it(tmp_path: Path, libver: str, block: int, dtype: str) -> None:
    """However the numbers are laid out, packed and indexed."""
    expected = values(dtype)
    with h5py.File(tmp_path / "a.h5", "w", libver=libver, userblock_size=block) as file:
        for name, options in LAYOUTS.items():
            file.create_dataset(f"group/{name}", data=expected, **options)
    for name in LAYOUTS:
        check(f"{tmp_path}/a.h5::group/{name}", expected)


def test_what_was_never_written_to_hdf5_is_its_fill_value(tmp_path: Path) -> None:
    """Of a whole array, and of chunks among others."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("none", SHAPE, "f4", fillvalue=7)
        some = file.create_dataset("some", SHAPE, "f4", chunks=(5, 4, 3), fillvalue=7)
        some[5:10] = VALUES[5:10]
    expected = np.full(SHAPE, 7, np.float32)
    check(f"{tmp_path}/a.h5::none", expected)
    expected[5:10] = VALUES[5:10]
    check(f"{tmp_path}/a.h5::some", expected)


def test_small_things_in_hdf5(tmp_path: Path) -> None:
    """Single numbers, booleans, enumerations, and what stands in the description itself."""
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_layout(h5py.h5d.COMPACT)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["number"] = 5.5
        file["flags"] = np.array([True, False])
        file["sorts"] = np.array([1, 2], h5py.enum_dtype({"a": 1, "b": 2}, "i1"))
        space = h5py.h5s.create_simple((2,))
        h5py.h5d.create(file.id, b"compact", h5py.h5t.NATIVE_DOUBLE, space, plan)
        file["compact"][...] = [3, 4]
    rows = {"x": [f"{tmp_path}/a.h5"]}
    assert mf.Dataset(rows, inputs=mf.Array("x", (), member="number"))[0][0] == 5.5
    for name, found in (("flags", [1, 0]), ("sorts", [1, 2]), ("compact", [3, 4])):
        data = mf.Dataset(rows, inputs=mf.Array("x", (2,), member=name))
        assert data[0][0].tolist() == found


def test_hdf5_tells_what_there_is(tmp_path: Path) -> None:
    """A path that leads nowhere, or to a group, and no path at all."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["group/x"] = [1.0, 2.0]
    name = tmp_path / "a.h5"
    assert refused(name) == "is an HDF5 file, and no array of it is named; there is 'group'"
    assert refused(name, member="group") == "has no array 'group'; there is 'x'"
    assert refused(f"{name}::group/y") == "has no array 'group/y'; there is 'x'"
    assert refused(f"{name}::group/x/y") == "has no array 'group/x/y'"
    with_path = mf.Array("x", (2,), member="nowhere")
    assert mf.Dataset({"x": [f"{name}::group/x"]}, inputs=with_path)[0][0].tolist() == [1, 2]


def test_a_chunk_of_hdf5_without_its_checksum_is_told(tmp_path: Path) -> None:
    """A byte that flips in a chunk is no other number."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        array = file.create_dataset("x", data=np.ones(64), chunks=(64,), fletcher32=True)
        place = array.id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[place + 9] ^= 1
    path.write_bytes(content)
    said = reason({"x": [f"{path}::x"]}, mf.Array("x", (64,)))
    assert said == "is damaged: a chunk does not have its checksum"


# Zarr ----------------------------------------------------------------------------------------------

PACKERS: dict[int, list[Any]] = {
    2: [
        None, numcodecs.Blosc(), numcodecs.Blosc("zlib", shuffle=2), numcodecs.Zlib(), numcodecs.GZip(),
        numcodecs.Zstd(), numcodecs.LZ4(),
    ],
    3: [
        None, codecs.BloscCodec(), codecs.GzipCodec(), codecs.ZstdCodec(),
        (codecs.ZstdCodec(), codecs.Crc32cCodec()),
    ],
}  # fmt: skip


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("dtype", ["f4", ">f8", "i2"])
@pytest.mark.parametrize("suffix", [".zarr", ".zip"])
def test_zarr_is_read_as_zarr_reads_it(tmp_path: Path, version: int, dtype: str, suffix: str) -> None:
    """Both versions, every codec, orders of axes and shards, in folders and archives."""
    expected = values(dtype)
    turned = {"order": "F"} if version == 2 else {"filters": [codecs.TransposeCodec(order=(2, 0, 1))]}
    ways = {
        "x": {"chunks": (5, 3, 2)},
        "one": {"chunks": SHAPE},
        "turned": {"chunks": (5, 3, 2), **turned},
    }
    if version == 3:
        ways["shards"] = {"chunks": (5, 2, 3), "shards": (10, 4, 3)}
    for number, packer in enumerate(PACKERS[version]):
        path = tmp_path / f"{number}{suffix}"
        store = path if suffix == ".zarr" else zarr.storage.ZipStore(path, mode="w")
        group = zarr.create_group(store, zarr_format=version)
        for name, options in ways.items():
            array = group.create_array(
                name, shape=SHAPE, dtype=expected.dtype, compressors=packer, **options
            )
            array[...] = expected
        if suffix == ".zip":
            store.close()
        for name in ways:
            check(f"{path}::{name}", expected)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("fill", [7, np.nan, -np.inf])
def test_what_was_never_written_to_zarr_is_its_fill_value(
    tmp_path: Path, version: int, fill: float
) -> None:
    """Also where JSON has no number for it."""
    path = tmp_path / "a.zarr"
    array = zarr.create_array(
        path, shape=SHAPE, chunks=(5, 4, 3), dtype="f4", fill_value=fill, zarr_format=version
    )
    array[5:10] = VALUES[5:10]
    expected = np.full(SHAPE, fill, np.float32)
    expected[5:10] = VALUES[5:10]
    np.testing.assert_array_equal(
        mf.Dataset({"x": [str(path)]}, inputs=mf.Array("x", SHAPE))[0][0], expected
    )


def test_zarr_tells_what_is_not_there(tmp_path: Path) -> None:
    """A group, and a path that leads nowhere."""
    zarr.create_group(tmp_path / "a.zarr").create_array("x", shape=(2,), dtype="f4")
    assert refused(tmp_path / "a.zarr") == "is a group, and no array of it is named"
    assert refused(tmp_path / "a.zarr", member="y") == "has no array 'y'"
    assert refused(tmp_path / "b.zarr") == "has no array by itself, and none of it is named"


# MATLAB --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"])
def test_mat_is_read_as_scipy_reads_it(tmp_path: Path, pack: bool, dtype: str) -> None:
    """Beside variables of other kinds, packed or not."""
    expected = values(dtype)
    others = {"a": "text", "s": {"b": 1}, "a_long_name_of_a_variable": np.arange(3)}
    scipy.io.savemat(tmp_path / "a.mat", {**others, "x": expected}, do_compression=pack)
    check(f"{tmp_path}/a.mat::x", expected)
    said = refused(tmp_path / "a.mat")
    assert said.startswith("is a .mat file, and no variable of it is named; it has 'a', 's', 'a_long")


def test_mat_of_version_7_3_is_hdf5_in_the_order_of_matlab(tmp_path: Path) -> None:
    """Its axes are told the other way round there; its texts are no numbers."""
    path = tmp_path / "a.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, sort, dtype in (("x", "double", "f8"), ("t", "char", "u2")):
            array = file.create_dataset(name, data=values(dtype).T, chunks=(3, 2, 5), compression="gzip")
            array.attrs["MATLAB_class"] = np.bytes_(sort)
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file")
    check(f"{path}::x", values("f8"))
    assert refused(f"{path}::t") == "holds no numbers at 't'"


def test_other_mat_files_are_told(tmp_path: Path) -> None:
    """Version 4 has no mark of its own."""
    scipy.io.savemat(tmp_path / "a.mat", {"x": np.ones(2)}, format="4")
    assert refused(tmp_path / "a.mat", member="x") == "is not a .mat file of version 5 or 7.3"


# Lines of numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".tsv", "\t"), (".CSV", ",")])
def test_lines_are_rows(tmp_path: Path, suffix: str, delimiter: str) -> None:
    """With a header or without one, of any kind of number and line end."""
    expected = values("f8")[:, :, 0]
    path = tmp_path / f"a{suffix}"
    for header in ("", delimiter.join("abcd"), delimiter.join(["", *"bcd"])):
        np.savetxt(path, expected, delimiter=delimiter, header=header, comments="")
        check(path, expected)
    path.write_bytes(delimiter.join("ab").encode() + b"\r\n" + delimiter.join(["1", "2.5"]).encode())
    found = mf.Dataset({"x": [str(path)]}, inputs=mf.Array("x", (1, 2)))[0][0]
    assert found.tolist() == [[1, 2.5]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("1,\n3,4\n", "has empty cells in column 2, where each cell is a number"),
        ("1,2\n3,\n", "has empty cells in column 2, where each cell is a number"),
        ("1,2\n3,x\n", "has string in column 2, where each cell is a number"),
        ("1,2\n3\n", "is not a readable file of numbers ("),
    ],
)
def test_lines_of_something_else_are_told(tmp_path: Path, content: str, said: str) -> None:
    """Cells without a number, and lines of other lengths."""
    (tmp_path / "a.csv").write_text(content)
    assert refused(tmp_path / "a.csv").startswith(said)


# All of them ---------------------------------------------------------------------------------------


def hdf5(path: Path) -> str:
    with h5py.File(path / "a.h5", "w") as file:
        file["x"] = values("f4")
    return "a.h5"


def npy(path: Path) -> str:
    np.save(path / "a.npy", values("f4"))
    return "a.npy"


def mat(path: Path) -> str:
    scipy.io.savemat(path / "a.mat", {"x": values("f4")})
    return "a.mat"


def archive(path: Path) -> str:
    with zarr.storage.ZipStore(path / "a.zip", mode="w") as store:
        zarr.create_group(store).create_array("x", shape=SHAPE, dtype="f4")[...] = values("f4")
    return "a.zip"


def npz(path: Path) -> str:
    np.savez(path / "a.npz", x=values("f4"))
    return "a.npz"


every = pytest.mark.parametrize("make", [npy, npz, hdf5, mat, archive], ids=lambda make: make.__name__)


@every
def test_a_part_of_an_archive_is_read_like_a_file(tmp_path: Path, make: Callable[[Path], str]) -> None:
    """The name of the member says what it is, and a path inside may follow."""
    name = make(tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / "all.tar").write_bytes(b"before" + content + b"behind")
    part = PartName(f"{tmp_path}/all.tar", name, 6, len(content))
    if name == "a.npy":
        check(str(part), values("f4"))
    else:
        check(f"{part}::x", values("f4"))
        check(str(part), values("f4"), member="x")


@every
def test_a_file_that_is_replaced_is_read_anew(tmp_path: Path, make: Callable[[Path], str]) -> None:
    """By every thread, though files stay open."""
    name = make(tmp_path)
    rows = {"x": [str(tmp_path / name)], "start": [1], "stop": [3]}
    member = None if name == "a.npy" else "x"
    data = mf.Dataset(rows, inputs=mf.Array("x", (2, 4, 3), member=member))
    np.testing.assert_array_equal(data[0][0], VALUES[1:3])
    other = tmp_path / "other"
    other.mkdir()
    kept = VALUES.copy()
    try:
        VALUES[...] += 1
        make(other)
        (other / name).replace(tmp_path / name)
        found: list[np.ndarray] = []
        threads = [threading.Thread(target=lambda: found.append(data[0][0])) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for each in (*found, data[0][0]):
            np.testing.assert_array_equal(each, kept[1:3] + 1)
    finally:
        VALUES[...] = kept


@every
def test_an_open_file_does_not_travel(tmp_path: Path, make: Callable[[Path], str]) -> None:
    """A copy of a reader, as worker processes get it, opens files itself."""
    name = make(tmp_path)
    rows = {"x": [str(tmp_path / name)] * 2, "start": [1, 4], "stop": [3, 6]}
    member = None if name == "a.npy" else "x"
    data = mf.Dataset(rows, inputs=mf.Array("x", (2, 4, 3), member=member))
    np.testing.assert_array_equal(data[1][0], VALUES[4:6])
    copy = cloudpickle.loads(cloudpickle.dumps(data.plan()._per_sample["x"]))
    found = np.empty((2, 4, 3), np.float32)
    copy.decode(0, copy.load(0), found)
    np.testing.assert_array_equal(found, VALUES[1:3])


def test_files_are_closed_with_the_thread_that_reads_them(tmp_path: Path) -> None:
    """Nobody waits for the garbage collector: an epoch later the process may have too many open."""
    for make in (hdf5, mat, archive):
        cell = str(tmp_path / make(tmp_path))
        data = mf.Dataset({"x": [cell]}, inputs=mf.Array("x", SHAPE, member="x"))
        before = len(os.listdir("/proc/self/fd"))
        gc.disable()
        try:
            thread = threading.Thread(target=data.__getitem__, args=(0,))
            thread.start()
            thread.join()
            assert len(os.listdir("/proc/self/fd")) == before
        finally:
            gc.enable()


def test_a_limit_of_open_files_closes_others_first(tmp_path: Path) -> None:
    """Row 12: those that are kept open make room; with none left, it is told."""
    is_open: list[str] = []

    def opened(folder: Folder, name: str) -> Any:
        if len(is_open) >= most:
            raise BadValue("cannot be opened", "") from OSError(errno.EMFILE, "too many")
        is_open.append(name)
        return SimpleNamespace(close=lambda: is_open.remove(name))

    handles, folder = Handles(opened), Folder(str(tmp_path), True)
    most = 2
    for name in "abcabc":
        handles.get(folder, name)
        assert name in is_open
    most = 0
    with pytest.raises(BadValue, match="cannot be opened"):
        handles.get(folder, "d")
    assert not is_open


@every
@pytest.mark.parametrize(("start", "stop"), [(20, 24), (-1, 3), (5, 4), (24, None), (2**62, 2**62 + 4)])
def test_rows_that_are_not_there_are_told(
    tmp_path: Path, make: Callable[[Path], str], start: int, stop: int | None
) -> None:
    """Beyond the end, before the beginning, or the wrong way round."""
    name = make(tmp_path)
    rows = {"x": [str(tmp_path / name)], "start": [start], "stop": pa.array([stop], pa.int64())}
    member = None if name == "a.npy" else "x"
    said = reason(rows, mf.Array("x", (None, 4, 3), pad_to=4, member=member))
    last = 23 if stop is None else stop
    assert said == f"has an array of shape {SHAPE}, and no rows {start:,} to {last:,}"


@every
def test_rows_of_another_number_are_told(tmp_path: Path, make: Callable[[Path], str]) -> None:
    """Where the declaration says how many there are."""
    name = make(tmp_path)
    member = None if name == "a.npy" else "x"
    rows = {"x": [str(tmp_path / name)], "start": [1], "stop": [4]}
    assert reason(rows, mf.Array("x", (2, 4, 3), member=member)) == (
        "holds an array of shape (3, 4, 3) in rows 1 to 4 where the declaration says (2, 4, 3)"
    )


def test_no_more_is_read_than_the_rows(tmp_path: Path) -> None:
    """Of a file with holes, for which there would be no memory."""
    shape = (2**34, 4)
    header = np.lib.format.header_data_from_array_1_0(np.zeros(0, np.float32)) | {"shape": shape}
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array_header_2_0(file, header)
        file.truncate(file.tell() + 16 * 2**34)
    rows = {"x": [f"{tmp_path}/a.npy"], "start": [2**33], "stop": [2**33 + 2]}
    assert mf.Dataset(rows, inputs=mf.Array("x", (2, 4)))[0][0].tolist() == [[0] * 4] * 2


def test_start_and_stop_are_optional() -> None:
    """By default there need be no such column, and null is the beginning and the end."""
    series = pa.array([[1, 2, 3], [4, 5, 6]])
    field = mf.Array("x", pad_to=3)
    for columns, expected in (
        ({}, [1, 2, 3]),
        ({"start": [1, 1]}, [2, 3, 0]),
        ({"stop": [1, 1]}, [1, 0, 0]),
        ({"start": [None, 1], "stop": [2, None]}, [1, 2, 0]),
    ):
        assert mf.Dataset({"x": series, **columns}, inputs=field)[0][0].tolist() == expected
    rows = {"x": series, "start": [1, 1], "from": np.array([2, 2])}
    assert mf.Dataset(rows, inputs=mf.Array("x", pad_to=3, start=None))[0][0].tolist() == [1, 2, 3]
    assert mf.Dataset(rows, inputs=mf.Array("x", pad_to=3, start="from"))[0][0].tolist() == [3, 0, 0]
    # What has no rows to cut takes no notice.
    assert mf.Dataset({"y": [5, 6], "start": [1, 1]}, inputs=mf.Array("y"))[0][0] == 5


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (
            {"x": ["a.npy"], "start": ["1"]}, {"shape": (2,)},
            "start is a column of whole numbers; 'start' holds string.\n"
            "  Pass start=None if that column is about something else.",
        ),
        (
            {"x": ["a.npy"], "stop": [0.5]}, {"shape": (2,)},
            "stop is a column of whole numbers; 'stop' holds double.\n"
            "  Pass stop=None if that column is about something else.",
        ),
        (
            {"x": ["a.npy"]}, {"shape": (2,), "start": "begin"},
            "the row table has no column 'begin'.\n  There are: 'x'.",
        ),
        (
            {"x": [1], "begin": [1]}, {"start": "begin"},
            "start and stop cut arrays in files and lists of any length; 'x' holds neither.\n"
            "  Pass start=None and stop=None, or make windows of it with mf.windows.",
        ),
        ({"x": [1]}, {"member": "y"}, "member is a path inside files; 'x' holds no file names."),
    ],
)  # fmt: skip
def test_a_declaration_that_cannot_be_is_told(
    columns: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    """Which column is no number, is not there, or is not what it would be for."""
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Dataset(columns, inputs=mf.Array("x", **options))
    assert str(caught.value) == f"field 'x': {message}"


@pytest.mark.parametrize("option", ["member", "start", "stop"])
def test_an_option_is_a_name(option: str) -> None:
    """Not a number."""
    what = "a path inside files" if option == "member" else "the name of a column"
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Array("x", **{option: 5})
    assert str(caught.value) == f"{option} is {what}, or None; received 5."


def test_a_package_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that brings it, before anything is read."""
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Dataset({"x": ["a.h5::x"]}, inputs=mf.Array("x", (2,)))[0]
    assert str(caught.value) == (
        "mf.Array is run by the package h5py, which is not installed.\n"
        '  Run pip install "multifeed[hdf5]".'
    )


def test_two_colons_may_stand_in_the_name_of_a_file(tmp_path: Path) -> None:
    """What is before them is a file only if it ends as a file of arrays does."""
    for name in ("of ::.npy", "a.b::c.npy"):
        np.save(tmp_path / name, np.arange(3.0))
        data = mf.Dataset({"x": [name]}, inputs=mf.Array("x", (3,)), root=tmp_path)
        assert data[0][0].tolist() == [0, 1, 2]


@every
def test_what_is_read_is_counted(tmp_path: Path, make: Callable[[Path], str]) -> None:
    """In the report of a feed; of a file of which all is read, its size, each time."""
    name = make(tmp_path)
    member = None if make is npy else "x"
    data = mf.Dataset({"x": [name] * 4}, inputs=mf.Array("x", SHAPE, member=member), root=tmp_path)
    with mf.Feed(data, 2, workers=1) as feed:
        list(feed)
        read = feed.report().fields["x"]
    # Of what is packed, a part of the numbers' bytes.
    assert read.loaded_bytes > read.samples * VALUES.size / 2


@pytest.mark.parametrize("order", ["<", ">"])
def test_objects_in_mat_are_passed_over(tmp_path: Path, order: str) -> None:
    """MATLAB tells no shape of them, and keeps what they consist of in an array without a name."""

    def part(kind: int, data: bytes) -> bytes:
        return struct.pack(f"{order}II", kind, len(data)) + data + bytes(-len(data) % 8)

    def text(content: str) -> bytes:
        return part(1, content.encode())

    flags, shape = struct.pack(f"{order}II", 17, 0), struct.pack(f"{order}ii", 2, 2)
    head = part(6, struct.pack(f"{order}II", 13, 0)) + part(5, shape)
    four = part(6, struct.pack(f"{order}4I", 1, 2, 3, 4))
    places = part(14, head + text("") + four)
    opaque = part(14, part(6, flags) + text("clock") + text("MCOS") + text("datetime") + places)
    wanted = part(14, head + text("x") + four)
    hidden = part(14, head + text("") + four)
    start = b"MATLAB 5.0 MAT-file".ljust(116) + bytes(8) + struct.pack(f"{order}HH", 0x100, 0x4D49)
    (tmp_path / "a.mat").write_bytes(start + opaque + wanted + hidden)
    assert scipy.io.loadmat(tmp_path / "a.mat")["x"].tolist() == [[1, 3], [2, 4]]
    found = mf.Dataset({"x": ["a.mat::x"]}, inputs=mf.Array("x", (2, 2)), root=tmp_path)[0][0]
    assert found.tolist() == [[1, 3], [2, 4]]
    assert refused(f"{tmp_path}/a.mat::clock") == "holds an object at 'clock', not numbers"
    assert refused(tmp_path / "a.mat").endswith("no variable of it is named; it has 'clock', 'x'")


@pytest.mark.parametrize("dtype", ["<f4", ">i2", "|b1", "|u1", "<f8", ">u8", "<f2"])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (1, 2), (3, 0, 2), (2, 3, 4, 5)])
def test_headers_of_npy_are_read_as_numpy_reads_them(shape: tuple[int, ...], dtype: str) -> None:
    """In either order of the axes."""
    for order in ("C", "F"):
        stream = io.BytesIO()
        np.save(stream, np.ones(shape, dtype, order=order))  # type: ignore[call-overload]
        assert npy_files._usual_header(stream.getvalue()) == npy_files._other_header(stream.getvalue())
        np.testing.assert_array_equal(npy_files.parse_npy(stream.getvalue()), np.ones(shape, dtype))


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f3', 'fortran_order': False, 'shape': (2,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (02,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'shape': (3,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2), }",
    ],
)
def test_headers_of_npy_that_numpy_refuses_are_refused(header: str) -> None:
    """Whatever they look like."""
    data = b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header.encode() + b"\n"
    with pytest.raises(BadValue):
        npy_files.parse_npy(data + bytes(8))


def test_a_compiler_that_loses_count_makes_no_file_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    """What NumPy writes needs none; what others write has it asked again."""
    calls, literal_eval = [0], ast.literal_eval

    def loses_count(source: str) -> Any:
        calls[0] += 1
        if calls[0] % 3:
            raise SystemError("AST constructor recursion depth mismatch (before=63, after=59)")
        return literal_eval(source)

    monkeypatch.setattr(ast, "literal_eval", loses_count)
    stream = io.BytesIO()
    np.save(stream, np.ones(2, "<f4"))
    assert npy_files.parse_npy(stream.getvalue()).tolist() == [1, 1]
    assert calls == [0]
    header = b"{'shape':(2,),'fortran_order':False,'descr':'<f4'}\n"
    other = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(8)
    assert npy_files.parse_npy(other).tolist() == [0, 0]
    assert calls == [3]


def test_a_row_that_is_read_with_others_says_where_it_is(tmp_path: Path) -> None:
    """By file: what ends a process is opening a damaged one, and no row of another must be blamed."""
    values = np.arange(60, dtype=np.float32).reshape(20, 3)
    names = [str(tmp_path / f"{number}.npy") for number in range(3)]
    for name in names:
        np.save(name, values)
    start = np.arange(12)
    rows = {"x": names * 4, "start": start, "stop": start + 2}
    plan = mf.Dataset(rows, inputs=mf.Array("x", (2, 3), missing="zero")).plan()
    told: dict[int, list[int]] = {0: [], 1: []}

    class Kept:
        def __setitem__(self, index: int, value: int) -> None:
            told[index].append(value)

    buffers = allocate(12, plan.specs)
    plan.fill_samples(np.arange(12), buffers, 0, 12, Meter(plan.specs), None, Spot(Kept()))
    assert (buffers["x"] == [values[each : each + 2] for each in start]).all()
    assert told == {0: [0, 0, 1, 2], 1: [0]}


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint8(), pa.uint64()])
def test_names_may_be_as_many_as_their_codes_allow(tmp_path: Path, kind: pa.DataType) -> None:
    """Of a column that came with codes, rows are still read at once."""
    names = [str(tmp_path / f"{number}.npy") for number in range(128)]
    np.save(names[5], np.arange(10, dtype=np.float32))
    codes = pa.array([5] * 1_024, kind)
    rows = pa.table({"x": pa.DictionaryArray.from_arrays(codes, names), "start": [3] * 1_024})
    rows = rows.append_column("stop", pa.array([5] * 1_024))
    reader = mf.Dataset(rows, inputs=mf.Array("x", (2,))).source.cells("x")
    found = reader.coded()
    assert found is not None
    assert found[0][5] == names[5]
    assert (found[1] == 5).all()
