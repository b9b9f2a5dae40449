"""Parts of files far away: how often fields, and libraries below them, ask for some."""

from __future__ import annotations

import asyncio
import gc
import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from servers import Web

import multifeed as mf
from multifeed.errors import BadValue
from multifeed.files import File
from multifeed.folder import Folder
from multifeed.remote.fetch import run
from multifeed.remote.file import RemoteFile
from multifeed.workers.cpus import usable_cpus

BLOCK = 2**16
# Writes a file to a folder, and returns a row of a part of it, and its field.
Make = Callable[[Path], tuple[dict[str, Any], Any]]

rng = np.random.default_rng(0)


def opened(web: Web, count: int) -> tuple[File, bytes]:
    """Return a file far away of random bytes, open, and these; its beginning has come."""
    data = web.files["/big"] = rng.bytes(count)
    file = Folder(web.url, True).open("big")
    web.asked.clear()
    return file, data


def asked_of(web: Web) -> list[tuple[int, int]]:
    """Return what was asked for since: the first block of each request, and how many."""
    spans = [tuple(map(int, span.removeprefix("bytes=").split("-"))) for _, span in web.asked]
    web.asked.clear()
    return [(start // BLOCK, -(-(stop + 1 - start) // BLOCK)) for start, stop in spans]


def test_many_parts_are_under_way_at_once(web: Web) -> None:
    """Those that are near each other as one request, and what has come already as none."""
    file, data = opened(web, 100 * BLOCK)
    places = [(number * 8 * BLOCK, 1_000) for number in range(1, 12)]
    near = [(3, 50), (50 * BLOCK + 10, 20), (50 * BLOCK + 5_000, 100), (50 * BLOCK + 5_050, 10), (0, 0)]
    web.least = len(places) + 1
    found = file.read_many([*near, *places])
    assert found == [data[start : start + count] for start, count in [*near, *places]]
    assert web.opened.is_set()
    assert len(web.asked) == len(places) + 1
    with pytest.raises(BadValue, match="ends after"):
        file.read_many([(0, 5), (100 * BLOCK - 5, 6)])


def test_parts_of_a_member_are_counted_from_its_beginning(web: Web) -> None:
    """However many are read at once, here and far away."""
    data = web.files["/big"] = rng.bytes(10 * BLOCK)
    with Folder(web.url, True).open(f"big::x@1000+{8 * BLOCK}") as part:
        assert part.read_many([(5, 10), (7 * BLOCK, 3)]) == [
            data[1005:1015],
            data[1000 + 7 * BLOCK : 1003 + 7 * BLOCK],
        ]


def test_what_a_library_reads_on_comes_in_larger_pieces(web: Web) -> None:
    """Twice as much each time, up to 16 blocks; nothing is asked for again when it goes back."""
    file, data = opened(web, 70 * BLOCK)
    with file.stream() as stream:
        assert b"".join(iter(lambda: stream.read(3_000), b"")) == data
        assert asked_of(web) == [(1, 2), (3, 4), (7, 8), (15, 16), (31, 16), (47, 16), (63, 7)]
        stream.seek(5 * BLOCK)
        stream.read(10)
    with file.stream() as stream:
        stream.seek(40 * BLOCK)
        assert stream.read(20) == data[40 * BLOCK :][:20]
        assert asked_of(web) == []


def test_threads_that_have_one_file_open_share_what_is_known_of_it(web: Web) -> None:
    """Its beginning, and what libraries have read; a file that nobody has open is asked for anew."""
    web.files["/big"] = rng.bytes(5 * BLOCK)

    def opened_and_read(_: int) -> File:
        file = Folder(web.url, True).open("big")
        with file.stream() as stream:
            stream.read(10)
        return file

    web.least, files = 8, []
    web.opened.set()
    with ThreadPoolExecutor(8) as threads:
        files += threads.map(opened_and_read, range(8))
    assert asked_of(web) == [(0, 1)]
    files.clear()
    gc.collect()
    opened_and_read(0)
    assert asked_of(web) == [(0, 1)]


def test_a_file_that_has_changed_is_opened_anew(web: Web) -> None:
    """Whoever has it open is told; whoever opens it then has the new one."""
    file, _ = opened(web, 5 * BLOCK)
    data = web.files["/big"] = rng.bytes(5 * BLOCK)
    with pytest.raises(BadValue, match="has changed while it was read"):
        file.read(3 * BLOCK, 10)
    with Folder(web.url, True).open("big") as again:
        assert again.read() == data


def test_a_file_that_is_kept_open_is_opened_anew_once_it_is_seen_to_have_changed(
    web: Web, tmp_path: Path
) -> None:
    """One sample is told so; read again, it is that of the new file."""
    rows, field = npy(tmp_path)
    data = mf.Dataset(rows, inputs=field, root=web.url)
    web.files["/x.npy"] = (tmp_path / "x.npy").read_bytes()
    data[0]
    npy(tmp_path)
    web.files["/x.npy"] = (tmp_path / "x.npy").read_bytes()
    with pytest.raises(mf.SampleError, match="has changed while it was read"):
        data[0]
    near = mf.Dataset(rows, inputs=field, root=tmp_path)
    for _ in range(2):
        assert (data[0][0] == near[0][0]).all()


def test_a_server_that_sends_parts_need_not_say_of_how_much(web: Web) -> None:
    """The file is then asked for as a whole: it does not end where the first part does."""
    data = web.files["/big"] = rng.bytes(3 * BLOCK)
    web.faults["/big"] = ["sizeless"]
    with Folder(web.url, True).open("big") as file:
        assert file.read() == data


def test_an_answer_may_lack_what_tells_of_a_change(web: Web) -> None:
    """It is no change; another size is one."""
    file, data = opened(web, 3 * BLOCK)
    web.headers["/big"] = {"ETag": ""}
    assert file.read(2 * BLOCK, 10) == data[2 * BLOCK :][:10]
    for more in (BLOCK, 2 * BLOCK):
        file, data = opened(web, 3 * BLOCK)
        web.files["/big"] = data + bytes(more)
        with pytest.raises(BadValue, match="has changed while it was read"):
            file.read(2 * BLOCK, 10)


def test_where_one_part_cannot_be_had_the_others_are_given_up(web: Web) -> None:
    """Nobody wants them any more."""
    file, _ = opened(web, 300 * BLOCK)
    web.faults["/big"] = [403]
    with pytest.raises(BadValue, match="HTTP 403"):
        file.read_many([(number * 3 * BLOCK, 10) for number in range(1, 100)])

    async def wanted() -> list[asyncio.Task[Any]]:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        return [task for task in others if "one" in repr(task.get_coro()) and not task.cancelling()]

    assert run(wanted()) == []


def npy(folder: Path) -> tuple[dict[str, Any], mf.Array]:
    """Return rows of an array file, and their field."""
    np.save(folder / "x.npy", rng.random((10_000, 16), np.float32))
    return {"x": ["x.npy"], "start": [6_000], "stop": [6_100]}, mf.Array("x", (100, 16))


def hdf5(folder: Path) -> tuple[dict[str, Any], mf.Array]:
    """Return rows that lie in four chunks of an HDF5 file, whose table of them is scattered in it."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "x.h5", "w") as file:
        file.create_dataset("x", data=rng.random((10_000, 16)), chunks=(50, 16), compression="gzip")
    return {"x": ["x.h5::x"], "start": [6_025], "stop": [6_200]}, mf.Array("x", (175, 16))


def nifti(folder: Path) -> tuple[dict[str, Any], mf.Volume]:
    """Return a patch of 24 slices."""
    nibabel = pytest.importorskip("nibabel")
    voxels = rng.integers(0, 99, (64, 64, 64), np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), folder / "x.nii")
    return {"x": ["x.nii"], "i": [9], "j": [9], "k": [30]}, mf.Volume(
        "x", patch=24, patch_at=("i", "j", "k")
    )


def raster(folder: Path) -> tuple[dict[str, Any], mf.Raster]:
    """Return a window that lies in four blocks."""
    rasterio = pytest.importorskip("rasterio")
    form = {"height": 1024, "width": 1024, "count": 2, "dtype": "uint16", "tiled": True}
    form |= {"blockxsize": 128, "blockysize": 128, "compress": "deflate", "driver": "GTiff"}
    with rasterio.open(folder / "x.tif", "w", transform=(2, 0, 0, 0, -2, 0), **form) as file:
        file.write(rng.integers(0, 2**16, (2, 1024, 1024), np.uint16))
    place = {"row_off": [700], "col_off": [700], "height": [128], "width": [128]}
    return {"x": ["x.tif"], **place}, mf.Raster("x", size=128)


def audio(folder: Path) -> tuple[dict[str, Any], mf.Audio]:
    """Return two seconds of a minute."""
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(folder / "x.flac", rng.random(60 * 16_000) - 0.5, 16_000)
    return {"x": ["x.flac"], "start": [30.0], "stop": [32.0]}, mf.Audio("x", 16_000, 32_000)


def video(folder: Path) -> tuple[dict[str, Any], mf.Video]:
    """Return two seconds of ten, of a file whose tables stand at its end."""
    av = pytest.importorskip("av")
    with av.open(str(folder / "x.mp4"), "w") as file:
        stream = file.add_stream("mpeg4", rate=10, options={"qscale": "1"})
        stream.width, stream.height, stream.gop_size = 160, 120, 10
        for _ in range(100):
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 255, (120, 160, 3), np.uint8), "rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return {"x": ["x.mp4"], "start": [5.0], "stop": [7.0]}, mf.Video("x", 4, 32)


# How many requests one sample costs, the first one of its file: opening it included.
COSTS = {npy: 2, hdf5: 7, nifti: 2, raster: 3, audio: 4, video: 5}


@pytest.mark.parametrize("make", COSTS, ids=lambda make: make.__name__)
def test_a_part_costs_few_requests(web: Web, tmp_path: Path, make: Make) -> None:
    """And gives what it gives from a disk."""
    rows, field = make(tmp_path)
    for path in tmp_path.iterdir():
        web.files[f"/{path.name}"] = path.read_bytes()
    near = mf.Dataset(rows, inputs={"x": field}, root=tmp_path)[0]
    far = mf.Dataset(rows, inputs={"x": field}, root=web.url)
    web.asked.clear()
    assert (far[0][0]["x"] == near[0]["x"]).all()
    assert len(web.asked) <= COSTS[make]
    feed = mf.Feed(far, 1)
    assert feed.workers == max(32, usable_cpus())
    assert (feed.batch(0, 0)[0]["x"][0] == near[0]["x"]).all()
    feed.close()
    assert mf.Feed(far, 1, workers=3).workers == 3


def test_files_that_are_read_whole_need_no_more_threads(web: Web) -> None:
    """They are asked for ahead."""
    stream = io.BytesIO()
    np.save(stream, np.zeros(3, np.float32))
    web.files["/x.npy"] = stream.getvalue()
    feed = mf.Feed(mf.Dataset({"x": ["x.npy"]}, inputs=mf.Array("x", (3,)), root=web.url), 1)
    assert feed.workers == usable_cpus()


def test_a_store_of_many_files_is_read_from_the_web(web: Web, tmp_path: Path) -> None:
    """Its chunks at once; those that are not there hold the fill value, in either version."""
    zarr = pytest.importorskip("zarr")
    for version in (2, 3):
        name = f"v{version}.zarr"
        array = zarr.create_array(
            str(tmp_path / name),
            shape=(40, 4),
            chunks=(10, 4),
            dtype="f4",
            fill_value=7,
            zarr_format=version,
        )
        array[:30] = rng.random((30, 4), np.float32)
        for path in (tmp_path / name).rglob("*"):
            if path.is_file():
                web.files[f"/{path.relative_to(tmp_path)}"] = path.read_bytes()
        data = mf.Dataset({"x": [name]}, inputs=mf.Array("x", (40, 4)), root=web.url)
        near = mf.Dataset({"x": [name]}, inputs=mf.Array("x", (40, 4)), root=tmp_path)
        assert (data[0][0] == near[0][0]).all()
        assert (data[0][0][30:] == 7).all()


def test_a_shard_is_asked_for_once(web: Web, tmp_path: Path) -> None:
    """For its beginning, for the table of its chunks, and for those: not once more for each of them."""
    zarr = pytest.importorskip("zarr")
    array = zarr.create_array(
        str(tmp_path / "x.zarr"), shape=(64, 4_000), chunks=(4, 4_000), shards=(32, 4_000), dtype="f4"
    )
    array[:40] = values = rng.random((40, 4_000), np.float32)
    for path in (tmp_path / "x.zarr").rglob("*"):
        if path.is_file():
            web.files[f"/{path.relative_to(tmp_path)}"] = path.read_bytes()
    rows = {"x": ["x.zarr"], "start": [2], "stop": [42]}
    data = mf.Dataset(rows, inputs=mf.Array("x", (40, 4_000)), root=web.url)
    found = data[0][0]
    assert (found[:38] == values[2:]).all()
    assert not found[38:].any()
    assert len(web.asked) <= 1 + 2 * 3


def test_hdf5_does_not_wait_with_its_lock(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever else needs it while the network is waited for gets it: garbage collection, for one."""
    objects = pytest.importorskip("h5py._objects")
    rows, field = hdf5(tmp_path)
    web.files["/x.h5"] = (tmp_path / "x.h5").read_bytes()
    original, was_free = RemoteFile.read_many, []

    def read_many(file: RemoteFile, places: Any) -> list[bytes]:
        def take() -> None:
            with objects.phil:
                was_free.append(True)

        other = threading.Thread(target=take, daemon=True)
        other.start()
        other.join(10.0)
        assert not other.is_alive()
        return original(file, places)

    monkeypatch.setattr(RemoteFile, "read_many", read_many)
    assert mf.Dataset(rows, inputs=field, root=web.url)[0][0].shape == (175, 16)
    assert len(was_free) > 3
