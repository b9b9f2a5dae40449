"""What is odd: names, shapes, dtypes, rows and folders that a cache meets sooner or later."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import zarr
from PIL import Image as PILImage

import multifeed as mf
from multifeed.folder import PartName

LAYOUTS = ["raw", "zstd", "jpeg"]


def noise(number: int, *shape: int) -> np.ndarray:
    """Return random pixels."""
    return np.random.default_rng(number).integers(0, 256, shape, np.uint8)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with three pictures."""
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        PILImage.fromarray(noise(number, 20, 24, 3)).save(f"p{number}.png")
    return tmp_path


def declared(field: Any, values: Any, **options: Any) -> mf.Dataset:
    """Return samples of one field over one column."""
    return mf.Dataset({"x": values}, inputs=field, **options)


def assert_cached(data: mf.Dataset, directory: Any = "cache", layout: str = "raw") -> mf.Dataset:
    """Raise unless all samples are read from a cache, with their bytes; return the cached dataset."""
    cached = mf.cache(data, directory, layout=layout)
    with mf.Feed(data, 2) as plain, mf.Feed(cached, 2) as feed:
        for step in range(len(feed)):
            one, other = (each.take(0, step, wraps=False)[0] for each in (plain, feed))
            assert (one.dtype, one.shape) == (other.dtype, other.shape)
            assert one.tobytes() == other.tobytes()
        (spent,) = feed.report().fields.values()
        assert (spent.redone, spent.samples) == (0, len(data))
    return cached


IMAGE = mf.Image("x", 8, color_mode="rgba")
FILES = [f"p{number}.png" for number in range(3)]


def test_names_in_any_script() -> None:
    """Umlauts, other scripts and blanks, in files and folders."""
    os.mkdir("Ordner ü 日本")
    names = ["Ordner ü 日本/ä ö.png", "Ordner ü 日本/日本.png", "p0.png"]
    for name in names[:2]:
        Path(name).write_bytes(Path("p1.png").read_bytes())
    assert_cached(declared(IMAGE, names), "Ordner ü 日本/cache")


def test_folders_that_are_not_utf_8() -> None:
    """Of the pictures, and of the cache: Arrow cannot name them, which costs speed alone."""
    odd = os.fsdecode(b"folder\xff")
    try:
        os.mkdir(odd)
    except OSError:
        pytest.skip("the file system knows no such names")
    Path(odd, "p.png").write_bytes(Path("p0.png").read_bytes())
    data = declared(IMAGE, ["p.png"] * 3, root=odd)
    assert_cached(data)
    assert_cached(data, Path(odd, "cache"))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "dtype",
    [
        "bool",
        "int8",
        "uint8",
        "int16",
        "uint16",
        "int32",
        "int64",
        "uint64",
        "float16",
        "float32",
        "float64",
    ],
)
def test_every_dtype(dtype: str, layout: str) -> None:
    """Whatever an array is declared as, in every layout; JPEG leaves what is no picture alone."""
    for number in range(3):
        np.save(f"a{number}.npy", (noise(number, 4, 5, 3) > 100))
    field = mf.Array("x", (4, 5, 3), dtype=dtype, interpolation="nearest")
    assert_cached(declared(field, [f"a{number}.npy" for number in range(3)]), layout=layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_shapes_without_axes_and_without_values(layout: str) -> None:
    """Scalars are kept; what has no bytes need not be."""
    for number in range(3):
        np.save(f"s{number}.npy", np.float32(number))
    assert_cached(declared(mf.Array("x", ()), [f"s{number}.npy" for number in range(3)]), layout=layout)
    data = declared(mf.Array("x", preprocess=lambda sample: sample[:0]), np.ones((3, 4)))
    assert mf.cache(data, "cache", layout=layout) is data


def test_lists_without_items() -> None:
    """Their lengths are kept, so their masks are right."""
    lists = pa.array([[], [], [4, 9]])
    data = mf.Dataset(
        {"x": lists}, inputs={"x": mf.Array("x", pad_to=3, preprocess=np.sqrt), "mask": mf.Mask("x")}
    )
    cached = mf.cache(data, "cache")
    masks = [cached[row][0]["mask"].tolist() for row in range(3)]
    assert masks == [[False] * 3, [False] * 3, [True, True, False]]


def test_rows_larger_than_a_shard() -> None:
    """Each has a shard of its own."""
    for number in range(3):
        np.save(f"h{number}.npy", np.full((40, 1000, 1000), number, np.uint8))
    data = declared(mf.Array("x", (40, 1000, 1000), dtype="uint8"), [f"h{n}.npy" for n in range(3)])
    cached = mf.cache(data, "cache")
    assert len(list(Path("cache").glob("*/*.arrow"))) == 3
    assert (cached[2][0] == 2).all()


def test_one_file_for_many_rows() -> None:
    """A photograph that several samples share is each sample's own."""
    assert_cached(declared(IMAGE, ["p0.png", "p1.png"] * 20))


def test_parts_of_a_file() -> None:
    """A part is as old as the file that it is in."""
    content = [Path(f"p{number}.png").read_bytes() for number in range(2)]
    shard = Path("shard.tar")
    shard.write_bytes(b"".join(content))
    second = str(PartName("shard.tar", "1.png", len(content[0]), len(content[1])))
    data = declared(IMAGE, [str(PartName("shard.tar", "0.png", 0, len(content[0]))), second])
    cached = assert_cached(data)
    before = cached[1][0]
    shard.write_bytes(content[0] + content[1] + b"more")
    os.utime(shard, ns=(0, 0))
    with mf.Feed(cached, 2) as feed:
        ((images,),) = feed
        assert (images[1] == before).all()
        assert feed.report().fields["x"].redone == 2


def test_the_root_of_the_file_system_is_not_walked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger's name of a folder is looked at before it is refused, and no deeper than it says."""
    (folder / "rows.csv").write_text("x\n" + "../" * 40 + "\n")
    looked_at: list[object] = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: looked_at.append(path) or scan(path))
    mf.cache(mf.Dataset("rows.csv", inputs=IMAGE), "cache")
    assert len([path for path in looked_at if not str(path).startswith(str(folder / "cache"))]) == 1


def test_arrays_of_one_zarr_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is created anew is stale; nobody looks at all of a store for each of its arrays."""
    store = zarr.create_group("a.zarr")
    for number in range(6):
        store.create_array(f"x/{number}", shape=(8,), chunks=(1,), dtype="f4")[:] = number
    data = declared(mf.Array("x", (8,)), [f"a.zarr::x/{number}" for number in range(6)])
    looked_at: list[str] = []
    scan = os.scandir
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", lambda path: looked_at.append(os.fsdecode(path)) or scan(path))
        cached = assert_cached(data)
    assert not [path for path in looked_at if "a.zarr" in path]
    store.create_array("x/2", shape=(8,), chunks=(1,), dtype="f4", overwrite=True)[:] = 9
    os.utime("a.zarr/x/2/zarr.json", ns=(0, 0))
    assert [cached[row][0][0] for row in range(6)] == [0, 1, 9, 3, 4, 5]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_but_missing_samples(layout: str) -> None:
    """A part may have no picture at all."""
    names = pa.array([None, None, "p0.png"], pa.string())
    data = declared(mf.Image("x", 8, missing=7), names).select([0, 1])
    assert_cached(data, layout=layout)


def test_nothing_but_bad_samples(caplog: pytest.LogCaptureFixture) -> None:
    """The cache is whole and empty, says so once, and every sample raises as it does without."""
    Path("bad.png").write_text("none")
    data = declared(IMAGE, ["bad.png"] * 3)
    cached = mf.cache(data, "cache")
    (record,) = caplog.records
    assert record.message == (
        f"3 samples could not be decoded and are not in {cached.source._store.folder}; "
        "mf.check(data) says why."
    )
    with pytest.raises(mf.SampleError, match="File: bad.png .row 1."):
        cached[1]


def test_a_folder_behind_a_link() -> None:
    """Links to folders are folders; one that leads nowhere is in the way."""
    os.mkdir("real")
    os.symlink("real", "link")
    assert_cached(declared(IMAGE, FILES), "link")
    assert len(list(Path("real").glob("*/*.arrow"))) == 1
    os.symlink("nowhere", "dangling")
    with pytest.raises(mf.DeclarationError, match="there is a file in its place"):
        mf.cache(declared(IMAGE, FILES), "dangling/cache")


def test_what_lies_beside_the_shards_does_not_matter() -> None:
    """Other files, folders with the names of shards, and a second shard of a number."""
    data = declared(IMAGE, FILES)
    (path,) = assert_cached(data).source._store.folder.glob("*.arrow")
    (path.parent / "00000-0123456789abcdef.arrow").mkdir()
    (path.parent / "99999-0123456789abcdef.arrow").write_text("none")
    (path.parent / "notes.txt").write_text("mine")
    assert_cached(data)
    (path.parent / "00000-0123456789abcdef.arrow").rmdir()
    (path.parent / "00000-0123456789abcdef.arrow").write_text("none")
    for _ in range(2):
        cached = mf.cache(data, "cache")
        for row in range(3):
            np.testing.assert_array_equal(cached[row][0], data[row][0])
    assert_cached(data)


def test_fields_that_are_called_like_our_own_columns() -> None:
    """They are read as what they are."""
    names = ("multifeed:key", "multifeed:row", "x.y")
    inputs = {name: mf.Image("x", 8 + number) for number, name in enumerate(names)}
    data = mf.Dataset({"x": FILES, "id": list("abc")}, inputs=inputs, key="id")
    cached = mf.cache(data, "cache")
    for name in names:
        np.testing.assert_array_equal(cached[1][0][name], data[1][0][name])


def test_readers_go_to_another_process() -> None:
    """Gathering and single reads work after pickling, in another working directory."""
    cached = assert_cached(declared(IMAGE, FILES))
    raw = cached.plan()._columnar["x"]
    packed = mf.cache(declared(IMAGE, FILES), "cache", layout="zstd").plan()._per_sample["x"]
    os.chdir("/")
    values = np.zeros((2, 8, 8, 4), np.uint8)
    pickle.loads(pickle.dumps(raw)).gather(np.array([2, 0]), values)
    copy = pickle.loads(pickle.dumps(packed))
    for place, row in enumerate((2, 0)):
        out = np.zeros((8, 8, 4), np.uint8)
        copy.decode(row, copy.load(row), out)
        np.testing.assert_array_equal(out, values[place])
    assert values.any()


def test_tables_of_names_and_of_contents_side_by_side() -> None:
    """Joined, one part has files that may change, the other bytes that count for the identity."""
    names = declared(IMAGE, FILES)
    contents = declared(IMAGE, [Path(name).read_bytes() for name in FILES])
    for parts in ([names, contents], [contents, names]):
        assert_cached(mf.concat(parts))
    assert_cached(mf.concat([mf.cache(names, "cache"), contents]))
    os.mkdir("other")
    for number in range(3):
        PILImage.fromarray(noise(number + 10, 20, 24, 3)).save(f"other/p{number}.png")
        state = os.stat(f"p{number}.png")
        os.utime(f"other/p{number}.png", ns=(state.st_atime_ns, state.st_mtime_ns))
    assert_cached(mf.concat([contents, declared(IMAGE, FILES, root="other")]))


def test_the_working_directory_may_change(folder: Path) -> None:
    """Once bound, the rows of a cache are found; relative names are those of the files cached."""
    cached = mf.cache(declared(IMAGE, FILES, root="."), "cache")
    first = cached[0][0]
    os.chdir("/")
    np.testing.assert_array_equal(cached[0][0], first)
    assert cached.source._store.folder.is_absolute()
