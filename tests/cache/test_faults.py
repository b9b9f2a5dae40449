"""What goes wrong while a cache is written or read: nothing is torn, hung, stale or left behind."""

from __future__ import annotations

import errno
import logging
import os
import random
import resource
import signal
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import multifeed as mf
from multifeed.cache import shards

build = sys.modules["multifeed.cache.build"]

COUNT = 40
# Each process runs this first; a shard has four rows.
HEAD = """
import os, sys, time
import multifeed as mf
build, rows = sys.modules["multifeed.cache.build"], sys.modules["multifeed.cache.rows"]
build._SHARD_BYTES = 4 * 32 * 32 * 3
files = [f"photos/p{number:02}.jpg" for number in range(40)]
data = mf.Dataset({"photo": files}, inputs={"photo": mf.Image("photo", 32)})
"""


@pytest.fixture
def folder(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with 40 photographs, whose shards have four rows each."""
    (tmp_path / "photos").mkdir()
    for number in range(COUNT):
        side = ("left", "right")[number % 2]
        content = (photos / side / f"p{number // 2:02}.jpg").read_bytes()
        (tmp_path / f"photos/p{number:02}.jpg").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build, "_SHARD_BYTES", 4 * 32 * 32 * 3)
    return tmp_path


def declared(**image: object) -> mf.Dataset:
    """Return the dataset of those photographs."""
    files = [f"photos/p{number:02}.jpg" for number in range(COUNT)]
    return mf.Dataset({"photo": files}, inputs={"photo": mf.Image("photo", 32, **image)})


def pixels(data: mf.Dataset) -> np.ndarray:
    """Return the images of all samples."""
    return np.stack([data[row][0]["photo"] for row in range(len(data))])


def redone(data: mf.Dataset) -> int:
    """Return how many samples of an epoch are decoded from their source."""
    with mf.Feed(data, 8) as feed:
        for step in range(len(feed)):
            # Not one batch of the next epoch.
            feed.take(0, step, wraps=False)
        return feed.report().fields["photo"].redone


def shards_in(folder: Path) -> list[Path]:
    """Return the shards of all caches in a folder."""
    return sorted(folder.glob("cache/*/*.arrow"))


def start(code: str) -> subprocess.Popen[str]:
    """Run a program that has declared the dataset."""
    return subprocess.Popen(
        [sys.executable, "-c", HEAD + textwrap.dedent(code)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(process: subprocess.Popen[str], timeout_s: float = 60) -> str:
    """Return what a program has printed, which must have gone well."""
    out, err = process.communicate(timeout=timeout_s)
    assert process.returncode == 0, err
    return out


def assert_intact(folder: Path) -> None:
    """Raise unless the cache is whole, right, and all that is there."""
    data = declared()
    cached = mf.cache(data, "cache")
    assert redone(cached) == 0
    np.testing.assert_array_equal(pixels(cached), pixels(data))
    assert len(shards_in(folder)) == COUNT // 4
    assert not list(folder.glob("cache/*/.*"))


def test_killed_at_any_moment_it_resumes(folder: Path, full_length: bool) -> None:
    """kill -9 while it decodes and writes: what is there is right, and only the rest is written."""
    random.seed(1)
    for turn in range(30 if full_length else 5):
        process = start(
            """
            keep = build._keep
            def slowly(*args):
                time.sleep(0.004)
                return keep(*args)
            build._keep = slowly
            print("begins", flush=True)
            mf.cache(data, "cache", workers=2)
            """
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(random.uniform(0, 0.15))
        process.kill()
        process.wait()
        process.communicate()
        before = {path: path.stat().st_ino for path in shards_in(folder)}
        for path in before:
            content = path.read_bytes()
            assert shards.xxhash.xxh3_64(content).hexdigest() in path.name
        if turn % 2:
            assert_intact(folder)
            assert all(path.stat().st_ino == inode for path, inode in before.items())
            for path in shards_in(folder)[turn:]:
                path.unlink()
    assert_intact(folder)


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_killed_at_each_step_of_a_shard_it_resumes(folder: Path, step: str) -> None:
    """Before, in and after writing, syncing and renaming the third shard."""
    process = start(
        f"""
        import pathlib, signal
        shards = sys.modules["multifeed.cache.shards"]
        count = 0
        def die_at(owner, name):
            act = getattr(owner, name)
            def dying(*args, **options):
                global count
                count += name != "write" or len(args[1]) > 9_000
                if count == 3:
                    os.kill(os.getpid(), signal.SIGKILL)
                return act(*args, **options)
            setattr(owner, name, dying)
        steps = dict(write=shards._Whole, fsync=os, replace=pathlib.Path)
        die_at(steps["{step}"], "{step}")
        mf.cache(data, "cache")
        """
    )
    assert process.wait(60) == -signal.SIGKILL
    process.communicate()
    assert len(shards_in(folder)) == 2
    assert len(list(folder.glob("cache/*/.writing-*"))) == 1
    assert_intact(folder)


def test_four_processes_build_one_cache(folder: Path) -> None:
    """One writes, the others wait; all read the same; no row is decoded twice."""
    code = """
        decoded = open(f"decoded-{os.getpid()}", "a")
        keep = build._keep
        def counted(reader, row, *rest):
            print(row, file=decoded, flush=True)
            return keep(reader, row, *rest)
        build._keep = counted
        cached = mf.cache(data, "cache")
        same = all((cached[row][0]["photo"] == data[row][0]["photo"]).all() for row in range(40))
        print(same and cached.source._store.is_whole)
        """
    processes = [start(code) for _ in range(4)]
    assert {ended(process).strip() for process in processes} == {"True"}
    rows = [int(row) for path in folder.glob("decoded-*") for row in path.read_text().split()]
    assert sorted(rows) == list(range(COUNT))
    assert_intact(folder)


def test_a_writer_that_dies_lets_the_next_one_write(folder: Path) -> None:
    """A process that waits goes on where the killed one was."""
    first = start(
        """
        keep = build._keep
        def slowly(reader, row, *rest):
            if row == 20:
                print("here", flush=True)
                time.sleep(60)
            return keep(reader, row, *rest)
        build._keep = slowly
        mf.cache(data, "cache", workers=1)
        """
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "here\n"
    second = start("print(mf.cache(data, 'cache').source._store.is_whole)")
    time.sleep(1.0)
    assert second.poll() is None
    first.kill()
    first.communicate()
    assert ended(second).strip() == "True"
    assert_intact(folder)


def test_threads_of_one_process_build_one_cache(folder: Path) -> None:
    """As processes do."""
    data, found = declared(), []
    threads = [threading.Thread(target=lambda: found.append(mf.cache(data, "cache"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4
    for cached in found:
        np.testing.assert_array_equal(pixels(cached), pixels(data))
    assert_intact(folder)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_ends_the_writing_and_nothing_else(
    folder: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One warning; what was written is used, the rest decoded; nothing is left; later it goes on."""
    write, count = shards._Whole.write, 0

    def fail(self: object, data: bytes) -> None:
        nonlocal count
        count += len(data) > 9_000
        if count > 3:
            raise OSError(number, os.strerror(number))
        write(self, data)

    data = declared()
    with monkeypatch.context() as patched:
        patched.setattr(shards._Whole, "write", fail)
        with pytest.warns(mf.MultifeedWarning) as caught:
            cached = mf.cache(data, "cache")
    (warning,) = caught
    reason = "it cannot be written" if number == errno.EIO else "the disk is full"
    (identity,) = folder.glob("cache/*/")
    assert str(warning.message) == (
        f"the cache in {identity} is not complete: {reason} ({os.strerror(number)}).\n"
        "  What is there is used, and the other samples are decoded from their source."
    )
    assert warning.filename == __file__
    assert f"12 of 40 cached in {identity} (raw)" in repr(cached)
    np.testing.assert_array_equal(pixels(cached), pixels(data))
    assert redone(cached) == 28
    assert not list(folder.glob("cache/*/.*"))
    assert_intact(folder)


@pytest.mark.parametrize("action", ["SIG_IGN", "SIG_DFL"])
def test_a_limit_of_file_sizes_is_a_full_disk(folder: Path, action: str) -> None:
    """EFBIG, by RLIMIT_FSIZE, whose signal Python ignores, and which else would end the process."""
    process = start(
        f"""
        import resource, signal, warnings
        signal.signal(signal.SIGXFSZ, signal.{action})
        build._SHARD_BYTES = 20 * 32 * 32 * 3
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            cached = mf.cache(data, "cache")
        print(len(caught), "File too large" in str(caught[0].message), cached[39][0]["photo"].shape)
        """
    )
    assert ended(process).strip() == "1 True (32, 32, 3)"
    assert not shards_in(folder)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root mounts")
def test_a_small_file_system_is_a_full_disk(folder: Path) -> None:
    """A tmpfs of 64 KB fills up in the middle of a shard."""
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], check=False)
    if mounted.returncode:
        pytest.skip("may not mount")
    try:
        data = declared()
        with pytest.warns(mf.MultifeedWarning, match="the disk is full"):
            cached = mf.cache(data, disk)
        np.testing.assert_array_equal(pixels(cached), pixels(data))
        assert 0 < len(list(disk.glob("*/*.arrow"))) < 10
        assert not list(disk.glob("*/.*"))
        del cached
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.parametrize("step", ["mkdir", "lock"])
def test_a_folder_that_cannot_be_written_is_no_error(
    folder: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole cache is read from it; without one, samples are decoded and one warning says so."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    mf.cache(declared(), "cache")
    monkeypatch.setattr(*{"mkdir": (Path, "mkdir"), "lock": (build.FileLock, "acquire")}[step], refuse)
    assert redone(mf.cache(declared(), "cache")) == 0
    with pytest.warns(mf.MultifeedWarning, match="it cannot be written .Permission denied."):
        cached = mf.cache(declared(antialias=True), "cache")
    np.testing.assert_array_equal(pixels(cached), pixels(declared(antialias=True)))


def test_a_file_in_the_place_of_the_folder_is_told(folder: Path) -> None:
    """It is not overwritten."""
    Path("cache").write_text("mine")
    with pytest.raises(mf.DeclarationError) as caught:
        mf.cache(declared(), "cache")
    assert str(caught.value) == (
        f"a cache is a folder, and there is a file in its place: '{folder}/cache'.\n"
        "  Remove it, or pass the name of another folder."
    )
    assert Path("cache").read_text() == "mine"


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "longer", "other"])
def test_a_damaged_shard_is_noticed(folder: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    """Its samples are decoded again, counted and told of; the next mf.cache writes it anew."""
    data = declared()
    mf.cache(data, "cache")
    path, other = shards_in(folder)[3:5]
    content = path.read_bytes()
    place = len(content) // 2
    changed = {
        "flip": content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :],
        "cut": content[:-1],
        "empty": b"",
        "longer": content + b"\0",
        "other": other.read_bytes(),
    }
    path.write_bytes(changed[damage])
    cached = mf.cache(data, "cache")
    with caplog.at_level(logging.WARNING, "multifeed"):
        assert redone(cached) == 4
        np.testing.assert_array_equal(pixels(cached), pixels(data))
    assert [record.message for record in caplog.records] == [
        f"{path} is damaged (its bytes do not fit the checksum in its name): its samples are decoded "
        "from their source; mf.cache will write it again."
    ]
    assert not path.exists()
    assert_intact(folder)
    assert path.read_bytes() == content


def test_every_byte_of_a_shard_counts(folder: Path) -> None:
    """A bit flipped anywhere, the metadata included, is noticed when the shard is touched."""
    data = declared()
    whole = pixels(data)
    store = mf.cache(data, "cache").source._store
    path = shards_in(folder)[0]
    content = path.read_bytes()
    for place in [*range(0, len(content), 997), len(content) - 1]:
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        copy = shards.Store(store.folder, store.count, store.per_shard, store.kept)
        assert copy.column(0, "photo") is None
    path.write_bytes(content)
    np.testing.assert_array_equal(pixels(mf.cache(data, "cache")), whole)


def test_a_removed_shard_is_no_error(folder: Path) -> None:
    """Whoever tidies up meanwhile costs speed alone."""
    data = declared()
    cached = mf.cache(data, "cache")
    for path in shards_in(folder)[2:]:
        path.unlink()
    assert redone(cached) == 32
    np.testing.assert_array_equal(pixels(cached), pixels(data))


def test_few_descriptors_are_enough(folder: Path) -> None:
    """Under RLIMIT_NOFILE=64, forty shards are written, and read by threads."""
    process = start(
        """
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        build._SHARD_BYTES = 1
        cached = mf.cache(data, "cache")
        before = len(os.listdir("/proc/self/fd"))
        with mf.Feed(cached, 8, shuffle=True, workers=4) as feed:
            for _ in range(3):
                for _ in feed:
                    pass
            print(feed.report().fields["photo"].redone, cached.source._store.shards)
        assert len(os.listdir("/proc/self/fd")) <= before
        """
    )
    assert ended(process).strip() == "0 40"


def test_without_any_descriptor_the_shards_are_not_given_up(folder: Path) -> None:
    """What cannot be opened now is tried again, and never taken for damaged."""
    data = declared()
    cached = mf.cache(data, "cache")
    store = cached.source._store
    store.names  # noqa: B018 - they are looked for
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    handles = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 8, limits[1]))
        while True:
            handles.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        assert store.column(0, "photo") is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for handle in handles:
            os.close(handle)
    assert len(shards_in(folder)) == 10
    assert redone(cached) == 0


def test_stale_samples_are_told_of_once_there_are_many(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file touched, replaced, or a link turned elsewhere; ten of forty are worth a warning."""
    data = declared()
    Path("photos/p30.jpg").unlink()
    Path("photos/p30.jpg").symlink_to("p29.jpg")
    cached = mf.cache(data, "cache")
    Path("photos/p30.jpg").unlink()
    Path("photos/p30.jpg").symlink_to("p28.jpg")
    for number in range(8):
        os.utime(f"photos/p{number:02}.jpg", ns=(1, 1))
    Path("photos/p08.jpg").write_bytes(Path("photos/p09.jpg").read_bytes())
    with caplog.at_level(logging.WARNING, "multifeed"):
        for _ in range(2):
            assert redone(cached) == 10
    np.testing.assert_array_equal(pixels(cached), pixels(data))
    assert [record.message for record in caplog.records] == [
        f"10 samples have other files than when {cached.source._store.folder} was written, and are "
        "decoded anew each time; remove that folder and call mf.cache again."
    ]


def test_a_file_that_changes_while_it_is_cached_is_stale(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its state is taken before it is read."""
    data, keep = declared(), build._keep

    def changing(reader: mf.fields.base.PerSample, row: int, *rest: object) -> bool:
        load = reader.load

        def load_and_change(row: int) -> object:
            loaded = load(row)
            if row == 7:
                Path("photos/p07.jpg").write_bytes(Path("photos/p08.jpg").read_bytes())
            return loaded

        monkeypatch.setattr(reader, "load", load_and_change)
        found: bool = keep(reader, row, *rest)
        monkeypatch.setattr(reader, "load", load)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(build, "_keep", changing)
        cached = mf.cache(data, "cache", workers=1)
    assert redone(cached) == 1
    np.testing.assert_array_equal(pixels(cached), pixels(data))


def test_a_row_of_several_files_is_stale_once_one_of_them_changes(folder: Path) -> None:
    """Whichever it is, and though another one is newer."""
    rows = {"one": ["a", "b"], "other": ["c", "d"]}
    for name in "abcd":
        Path(name).write_bytes(b"xx")
    fn, spec = (lambda *files: list(b"".join(files))), mf.Spec((4,), "int32")
    field = mf.Function(["one", "other"], fn, spec, files=["one", "other"])
    cached = mf.cache(mf.Dataset(rows, inputs=field), "cache")
    for name in "ad":
        Path(name).write_bytes(b"xy")
        os.utime(name, ns=(1, 1))
    for read in (cached.__getitem__, lambda row: mf.Feed(cached, batch_size=1).batch(0, row)):
        assert bytes(np.uint8(read(0)[0]).ravel()) == b"xyxx"
        assert bytes(np.uint8(read(1)[0]).ravel()) == b"xxxy"


def test_several_files_of_one_name_in_two_folders_are_told_apart(folder: Path) -> None:
    """Names are relative to a folder, which is a part of what a cache is good for."""
    for number, name in enumerate(("here", "there")):
        (folder / name).mkdir()
        (folder / name / "a").write_bytes(bytes([number]))
    fn, spec = (lambda one, other: one[0] + other[0]), mf.Spec((), "int32")
    field = mf.Function(["one", "other"], fn, spec, files=["one", "other"])
    rows = {"one": ["a"], "other": ["a"]}
    found = [mf.cache(mf.Dataset(rows, inputs=field, root=name), "cache") for name in ("here", "there")]
    assert [cached[0][0] for cached in found] == [0, 2]


def test_parts_of_a_file_are_kept_until_it_changes(folder: Path) -> None:
    """Members of an archive are as good as files of their own."""
    with tarfile.open("photos.tar", "w") as archive:
        for number in range(4):
            archive.add(f"photos/p{number:02}.jpg")
    data = mf.Dataset(mf.tar("photos.tar"), inputs={"photo": mf.Image("jpg", 32)})
    cached = mf.cache(data, "cache")
    assert redone(cached) == 0
    np.testing.assert_array_equal(pixels(cached), pixels(data))
    os.utime("photos.tar", ns=(1, 1))
    with pytest.raises(mf.SampleError, match="has changed since its parts were listed"):
        cached[0]


def test_max_bytes_is_a_bound(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No more bytes are on the disk; the rest is decoded; more room later continues."""
    data = declared()
    size = 0
    for max_bytes in (1, 20_000, 45_000, 45_001, 10**9):
        caplog.clear()
        with caplog.at_level(logging.INFO, "multifeed"):
            for _ in range(2):
                cached = mf.cache(data, "cache", max_bytes=max_bytes)
        found = shards_in(folder)
        assert sum(path.stat().st_size for path in found) <= max_bytes
        assert len(found) >= size
        size = len(found)
        assert redone(cached) == COUNT - 4 * size
        if max_bytes < 10**9:
            assert [record.message for record in caplog.records] == 2 * [
                f"{4 * size} of 40 samples are cached in {cached.source._store.folder}, which takes "
                f"max_bytes={max_bytes:,}; the others are decoded each epoch."
            ]
    assert size == 10


def test_an_interrupt_leaves_a_cache_to_go_on_with(folder: Path) -> None:
    """Ctrl-C in the middle: soon over, nothing half-written, and the next call goes on."""
    process = start(
        """
        keep = build._keep
        def slowly(reader, row, *rest):
            if row == 10:
                print("here", flush=True)
            time.sleep(0.05)
            return keep(reader, row, *rest)
        build._keep = slowly
        try:
            mf.cache(data, "cache", workers=1)
        except KeyboardInterrupt:
            print("interrupted")
        """
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGINT)
    assert ended(process, 10).strip() == "interrupted"
    assert not list(folder.glob("cache/*/.*"))
    assert_intact(folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layout": "png"}, "layout must be one of 'raw', 'zstd', 'jpeg'; received 'png'."),
        ({"max_bytes": 0}, "max_bytes must be a whole number of at least 1; received 0."),
        ({"workers": 0}, "workers must be a whole number of at least 1; received 0."),
        ({"version": 3}, "version is a text; received 3."),
    ],
)
def test_misuse_is_told(folder: Path, arguments: dict[str, object], message: str) -> None:
    """Before anything is written."""
    with pytest.raises(mf.DeclarationError) as caught:
        mf.cache(declared(), "cache", **arguments)
    assert str(caught.value) == message
    with pytest.raises(mf.DeclarationError, match="mf.cache takes a dataset; received list."):
        mf.cache([], "cache")
    with pytest.raises(mf.DeclarationError, match="a cache is a folder, by its name; received 3."):
        mf.cache(declared(), 3)
    assert not Path("cache").exists()
