"""Row 27 of the table of faults: files of arrays that lead to other files, or hold what is no number.

Oracle: the other files hold numbers, and the library of the format reads them, which shows that the
fault is real; here each is an error that says why, and nothing else is opened.
"""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import google_crc32c
import h5py
import numpy as np
import pytest
import scipy.io
import zarr
from numcodecs import LZ4

import multifeed as mf

SECRET = np.arange(1.0, 5.0)
ELSEWHERE = "secret.h5"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory in which a file has numbers that no other file may lead to."""
    monkeypatch.chdir(tmp_path)
    SECRET.tofile("secret.bin")
    with h5py.File(ELSEWHERE, "w") as file:
        file["x"] = SECRET
    return tmp_path


def read(name: str) -> np.ndarray:
    """Return the array that a name leads to."""
    return mf.Dataset({"x": [name]}, inputs=mf.Array("x", (4,)))[0][0]


def refused(name: str) -> str:
    """Return why it cannot be used."""
    with pytest.raises(mf.SampleError) as caught:
        read(name)
    return caught.value.reason


def external_link(file: h5py.File) -> None:
    file["x"] = h5py.ExternalLink(ELSEWHERE, "/x")


def link_to_that(file: h5py.File) -> None:
    file["y"] = h5py.ExternalLink(ELSEWHERE, "/")
    file["x"] = h5py.SoftLink("/y/x")


def external_storage(file: h5py.File) -> None:
    file.create_dataset("x", (4,), "f8", external=[("secret.bin", 0, 32)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f8")
    layout[:] = h5py.VirtualSource(ELSEWHERE, "x", (4,))
    file.create_virtual_dataset("x", layout)


LEADING = {
    external_link: "has a link at 'x', and links are not followed: one can lead to any file",
    link_to_that: "has a link at 'x', and links are not followed: one can lead to any file",
    external_storage: "has the numbers of 'x' in other files, which are not opened",
    virtual: "has the numbers of 'x' in other files, which are not opened",
}


@pytest.mark.parametrize("make", LEADING, ids=lambda make: make.__name__)
def test_hdf5_leads_to_no_other_file(make: Callable[[h5py.File], None]) -> None:
    """Row 27: external links, storage and sources, which h5py follows, are refused."""
    with h5py.File("array.h5", "w") as file:
        make(file)
    with h5py.File("array.h5") as file:
        np.testing.assert_array_equal(file["x"][...], SECRET)
    assert refused("array.h5::x") == LEADING[make]


def test_a_circle_of_links_is_gone_round_as_often_as_a_path_says() -> None:
    """Row 27: a group that holds itself is no trap."""
    with h5py.File("array.h5", "w") as file:
        file["x"] = SECRET
        file["round"] = file["/"]
    np.testing.assert_array_equal(read("array.h5::" + "round/" * 50 + "x"), SECRET)
    assert refused("array.h5::round/round") == "has no array 'round/round'; there is 'round', 'x'"


def text(file: h5py.File) -> None:
    file["x"] = "text"


def texts(file: h5py.File) -> None:
    file["x"] = np.array([b"a", b"b", b"c", b"d"])


def references(file: h5py.File) -> None:
    file["y"] = 1
    file.create_dataset("x", data=[file["y"].ref] * 4, dtype=h5py.ref_dtype)


def ragged(file: h5py.File) -> None:
    file.create_dataset("x", (4,), h5py.vlen_dtype("f8"))


def records(file: h5py.File) -> None:
    file["x"] = np.zeros(4, [("a", "f8")])


def complexes(file: h5py.File) -> None:
    file["x"] = np.zeros(4, complex)


def opaque(file: h5py.File) -> None:
    file["x"] = np.zeros(4, "V8")


def arrays(file: h5py.File) -> None:
    file.create_dataset("x", (4,), np.dtype(("f8", (3,))))


def nothing(file: h5py.File) -> None:
    file["x"] = h5py.Empty("f8")


def odd_floats(file: h5py.File) -> None:
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_fields(31, 20, 11, 0, 20)
    h5py.h5d.create(file.id, b"x", kind, h5py.h5s.create_simple((4,)))


@pytest.mark.parametrize(
    "make",
    [text, texts, references, ragged, records, complexes, opaque, arrays, nothing, odd_floats],
    ids=lambda make: make.__name__,
)
def test_what_hdf5_holds_is_numbers_or_refused(make: Callable[[h5py.File], None]) -> None:
    """Row 27: objects, references, records and what NumPy has no type for."""
    with h5py.File("array.h5", "w") as file:
        make(file)
    assert refused("array.h5::x") == "holds no numbers at 'x'"


@pytest.mark.parametrize(
    ("options", "name"),
    [({}, "'scaleoffset'"), ({"number": 32_015}, "32015")],
)
def test_filters_that_are_not_known_are_not_looked_for(options: dict[str, object], name: str) -> None:
    """Row 27: HDF5 would load a plug-in, and has filters of its own that are not strict."""
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk((4,))
    if "number" in options:
        plan.set_filter(options["number"], h5py.h5z.FLAG_OPTIONAL)
    else:
        plan.set_scaleoffset(h5py.h5z.SO_INT, 2)
    with h5py.File("array.h5", "w") as file:
        space = h5py.h5s.create_simple((4,))
        h5py.h5d.create(file.id, b"x", h5py.h5t.STD_I32LE, space, plan)
    assert refused("array.h5::x") == f"is packed in a way that is not read ({name})"


def zarr_array(name: str = "store.zarr", **options: object) -> Path:
    """Write an array of version 2, and return the folder of its store."""
    store = zarr.create_group(name, zarr_format=2, overwrite=True)
    store.create_array("x", shape=(4,), chunks=(2,), dtype="f8", **options)[...] = SECRET
    return Path(name)


def change(**told: object) -> None:
    """Let the description of the array tell something else."""
    path = zarr_array() / "x/.zarray"
    path.write_text(json.dumps(json.loads(path.read_text()) | told))


def test_a_zarr_store_keeps_to_its_own_names() -> None:
    """Row 27: paths that lead out of it are refused, and no description can name a file."""
    zarr_array()
    zarr_array("other.zarr")
    np.testing.assert_array_equal(read("store.zarr::x"), SECRET)
    assert refused("store.zarr::../other.zarr/x") == "is a store, which '../other.zarr/x' leads out of"
    change(dimension_separator="/../../other.zarr/x/")
    np.testing.assert_array_equal(read("store.zarr::x"), SECRET)


def test_a_chunk_that_is_a_link_out_of_the_folder_is_refused(folder: Path) -> None:
    """Row 27: as any file that a table names."""
    inside = folder / "inside"
    inside.mkdir()
    chunk = zarr_array("inside/store.zarr", compressors=None) / "x/1"
    chunk.unlink()
    chunk.symlink_to("../../../secret.bin")
    (inside / "rows.csv").write_text("x\nstore.zarr::x\n")
    data = mf.Dataset("inside/rows.csv", inputs=mf.Array("x", (4,)))
    with pytest.raises(mf.SampleError) as caught:
        data[0]
    assert caught.value.reason == (
        f"has a file 'x/1' that leads out of the folder of its table, {str(inside)!r}"
    )


class Payload:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("ran",)


def test_no_codec_of_objects_is_made() -> None:
    """Row 27: a description that asks for pickles, or for any other codec, is refused before a chunk."""
    for told in ({"filters": [{"id": "pickle"}]}, {"compressor": {"id": "pickle"}}):
        change(**told)
        for chunk in ("0", "1"):
            Path("store.zarr/x", chunk).write_bytes(pickle.dumps(Payload()))
        assert refused("store.zarr::x") == "is stored by a codec 'pickle', which is not read"
    change(dtype="|O", filters=[{"id": "pickle"}])
    assert refused("store.zarr::x") == "holds |O, not numbers"
    change(filters=[{"id": "zlib"}, {"id": "zlib"}], compressor=None)
    assert refused("store.zarr::x") == "is packed more than once, which is not read"
    assert not Path("ran").exists()


def test_a_chunk_that_unpacks_to_less_than_it_claims_is_refused() -> None:
    """Row 23: what it lacks would be what the memory held before."""
    chunk = zarr_array(compressors=LZ4()) / "x/1"
    short = LZ4().encode(b"short")
    chunk.write_bytes((16).to_bytes(4, "little") + short[4:])
    assert refused("store.zarr::x").startswith("is damaged (")


def test_a_chunk_of_a_shard_is_no_larger_than_any_packing_makes_it() -> None:
    """Row 27: the index of a shard can claim all of a large file for each chunk."""
    store = zarr.create_group("store.zarr")
    store.create_array("x", shape=(4,), shards=(4,), chunks=(2,), dtype="f8")[...] = SECRET
    shard = Path("store.zarr/x/c/0")
    index = struct.pack("<4Q", 0, 100_000, 0, 100_000)
    checksum = google_crc32c.value(index).to_bytes(4, "little")
    shard.write_bytes(bytes(100_000) + index + checksum)
    assert refused("store.zarr::x") == "is damaged: 100,000 bytes are stored of a chunk of 16"


@pytest.mark.parametrize(
    ("value", "held"),
    [
        ("text", "text"),
        ({"a": 1}, "a struct"),
        (np.array([1, "a"], object), "a cell array"),
        (np.zeros(4, complex), "complex numbers"),
        (scipy.sparse.eye(4).tocsc(), "a sparse array"),
    ],
    ids=str,
)
def test_what_matlab_holds_is_numbers_or_refused(value: object, held: str) -> None:
    """Row 27: objects, structs, cells and texts are not made."""
    scipy.io.savemat("array.mat", {"x": value})
    assert refused("array.mat::x") == f"holds {held} at 'x', not numbers"
