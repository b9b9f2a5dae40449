"""Shared memory: what is packed comes out equal, is copied once, and leaves nothing behind."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather

from multifeed.errors import DeclarationError
from multifeed.workers.memory import SharedFile, SharedView, address_of, packed


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_file_grows_and_another_view_sees_it() -> None:
    """Pieces keep their place; a view maps what came since; nothing is left when all is dropped."""
    before = descriptors()
    file = SharedFile()
    view = SharedView(file.handle, writes=True)
    pieces = [file.grow(size) for size in (10, 5_000, 4_096)]
    for number, piece in enumerate(pieces, 1):
        assert not piece.any()
        piece[:] = number
        place = file.place_of(address_of(piece))
        seen = view.at(place, len(piece))
        np.testing.assert_array_equal(seen, piece)
        seen[0] = 77
        assert piece[0] == 77
    assert file.find(address_of(np.zeros(1))) is None
    del piece, seen
    pieces.clear()
    gc.collect()
    # Where a piece was, something else may lie by now.
    assert all(each.mapped() is None for each in file._pieces)
    del file, view
    gc.collect()
    assert descriptors() == before


@pytest.mark.parametrize(
    "value",
    [
        None,
        np.arange(12).reshape(3, 4),
        np.arange(12).reshape(3, 4).T[::2],
        np.zeros((0, 3)),
        np.array(["a", None], object),
        pa.chunked_array([pa.array(["x", None]), pa.array([], pa.string()), pa.array(["y"])]),
        pa.table({"a": [1, 2, None], "b": [[1], [], None]}).slice(1),
        {"several": [np.ones(3, np.uint8), np.ones(3, np.uint8)], "text": "ü"},
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_packed_comes_out_equal(value: Any) -> None:
    """Arrays, empty ones and views; Arrow columns of several chunks; anything else."""
    found = packed(value).unpack()
    if isinstance(value, np.ndarray):
        assert found.dtype == value.dtype
        np.testing.assert_array_equal(found, value)
    elif isinstance(value, dict):
        assert found["text"] == value["text"]
        np.testing.assert_array_equal(found["several"], value["several"])
    else:
        assert found == value


def test_memory_is_packed_once() -> None:
    """An array that comes twice, or lies in shared memory already, is not copied again."""
    array = np.arange(100_000.0)
    first = packed([array, array])
    assert array.nbytes < first.memory.nbytes < array.nbytes + 1_000
    shared = first.unpack()[1]
    second = packed({"again": shared})
    assert second.memory.nbytes < 1_000
    assert len(second.files) == 2
    del first
    gc.collect()
    np.testing.assert_array_equal(second.unpack()["again"], array)
    assert address_of(second.unpack()["again"]) == address_of(shared)


def test_what_is_unpacked_cannot_be_written() -> None:
    """It is everybody's."""
    found = packed(np.zeros(5)).unpack()
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 1


def test_memmaps_are_opened_again(tmp_path: Path) -> None:
    """Any view of one, in any order; not one that was written privately, nor one of a deleted file."""
    path = tmp_path / "x.npy"
    np.save(path, np.arange(60_000.0).reshape(300, 200))
    mapped = np.load(path, mmap_mode="r")
    for view in (mapped, mapped[7:90, ::-3], np.asarray(mapped)[5], mapped.T):
        pack = packed(view)
        assert pack.memory.nbytes < 2_000
        np.testing.assert_array_equal(pack.unpack(), view)
    private = np.load(path, mmap_mode="c")
    private[0] = -1
    path.unlink()
    for view in (mapped, private):
        pack = packed(view)
        assert pack.memory.nbytes > view.nbytes
        np.testing.assert_array_equal(pack.unpack(), view)


@pytest.mark.skipif(sys.platform != "linux", reason="what is mapped where is told by Linux")
def test_files_that_a_library_has_mapped_are_not_copied(tmp_path: Path) -> None:
    """What is large in an Arrow file is handed over as its place; not if another file has its name."""
    path = tmp_path / "rows.arrow"
    table = pa.table({"x": np.arange(2**17), "text": ["x" * 9] * 2**17})
    feather.write_feather(table, path, compression="uncompressed")
    mapped = feather.read_table(path, memory_map=True)
    values = mapped["x"].chunk(0).to_numpy()
    for value in (mapped, values[7:]):
        kept = packed(value)
        assert (len(kept.files), len(kept.memory) < 2**16) == (2, True)
        # What was unpacked lies in the file too.
        again = packed(kept.unpack())
        assert len(again.memory) < 2**16
        found = again.unpack()
        assert found.equals(value) if isinstance(value, pa.Table) else (found == value).all()
    path.unlink()
    feather.write_feather(pa.table({"x": np.zeros(2**18), "y": np.zeros(2**18)}), path)
    kept = packed(mapped)
    assert (len(kept.files), len(kept.memory) > table.nbytes) == (1, True)
    assert kept.unpack().equals(mapped)


def test_what_cannot_be_copied_is_told(tmp_path: Path) -> None:
    """An open file is an error that says so."""
    with (tmp_path / "x").open("w") as file, pytest.raises(DeclarationError, match="cannot be copied"):
        packed(file)
