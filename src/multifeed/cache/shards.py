"""Shards: Arrow IPC files of some rows each, whose names carry a checksum of all their bytes.

A shard appears under its name by a rename, when it is whole and on the disk; nothing else says which
shards there are, so nothing can contradict them. What is read is mapped into memory, and its checksum is
compared when it is first touched.
"""

from __future__ import annotations

import ctypes
import errno
import json
import logging
import mmap
import os
import re
import secrets
import signal
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import xxhash

if TYPE_CHECKING:
    from multifeed.cache.bucket import Bucket

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

from multifeed.cache.layouts import Packing
from multifeed.fields.base import Told
from multifeed.fields.frame import Frame
from multifeed.fields.rows import NDArray
from multifeed.fields.zarr import DESCRIPTIONS
from multifeed.remote.uri import shown
from multifeed.spec import Spec

_log = logging.getLogger("multifeed")

# Of the files; another one makes another identity.
FORMAT = 2
# Where the schema's metadata tell, as JSON, what the columns hold.
METADATA = b"multifeed"
# What the names of columns begin with that say something of a field's value, or of a row.
FILE, SIZE, MTIME, LENGTH, FRAME = (
    f"multifeed:{each}:" for each in ("file", "size", "mtime_ns", "length", "frame")
)
ROW, KEY = "multifeed:row", "multifeed:key"
# What these are.
_KINDS = {
    FILE: pa.binary(),
    SIZE: pa.int64(),
    MTIME: pa.int64(),
    LENGTH: pa.int64(),
    FRAME: pa.list_(pa.float64(), 8),
}
_NAME = re.compile(r"(\d{5,})-([0-9a-f]{16})\.arrow")
_TEMPORARY = ".writing-"
# What no path has.
_BETWEEN = b"\0"
# An Arrow list of one size has at most so many items.
MOST_ITEMS = 2**31 - 1
# Stale rows, in shares of all, and damaged shards are told of once: this many are few.
_FEW_STALE, _FEW_STALE_SHARE = 10, 0.01
# After a page came from a disk, so many reads ask for their rows first, which takes about a microsecond
# a row.
_ASKS = 64


@dataclass(frozen=True)
class Kept:
    """What is kept of one field.

    Args:
        name: The column of the shards.
        spec: What one row of it is.
        packing: How that is packed; None if it lies as it is.
    """

    name: str
    spec: Spec
    packing: Packing | None


@dataclass
class Values:
    """A field's values of the rows of one shard, and what was found with them.

    Args:
        kept: What is kept of the field.
        raw: ``[rows, *spec.shape]``, where values lie as they are.
        packed: The packed values by row; None for a row that has none.
        valid: ``bool[rows]``, False for a row that is missing or could not be read.
        told: What the reader told of each row.
        files: The files that each row was read from, as `as_one` returns them; None where there is none.
        sizes: ``int64[rows]``, the bytes of those files before they were read.
        mtimes: ``int64[rows]``, when they had been changed last; see `size_and_time`.
    """

    kept: Kept
    raw: NDArray | None
    packed: list[Any]
    valid: NDArray
    told: list[Told]
    files: list[bytes | None]
    sizes: NDArray
    mtimes: NDArray

    @classmethod
    def room(cls, kept: Kept, rows: int, memory: NDArray | None) -> Values:
        """Return room for the values of some rows, in `memory` if that is given; none is valid yet."""
        return cls(
            kept, None if memory is None else memory[:rows], [None] * rows, np.zeros(rows, bool),
            [None] * rows, [None] * rows, np.zeros(rows, np.int64), np.zeros(rows, np.int64),
        )  # fmt: skip

    def columns(self) -> dict[str, pa.Array]:
        """Return the Arrow columns."""
        name, is_null = self.kept.name, ~self.valid
        found = {name: self._values(is_null)}
        has_file = np.array([file is not None for file in self.files], bool)
        if has_file.any():
            found[FILE + name] = pa.array(self.files, pa.binary())
            found[SIZE + name] = pa.array(self.sizes, mask=~has_file)
            found[MTIME + name] = pa.array(self.mtimes, mask=~has_file)
        if any(isinstance(each, int) for each in self.told):
            lengths = [each if isinstance(each, int) else None for each in self.told]
            found[LENGTH + name] = pa.array(lengths, pa.int64())
        if any(isinstance(each, Frame) for each in self.told):
            found[FRAME + name] = _frames(self.told)
        return found

    def _values(self, is_null: NDArray) -> pa.Array:
        if self.raw is None:
            return pa.array(self.packed, pa.large_binary())
        spec = self.kept.spec
        kind = _tensor(spec)
        items = pa.array(self.raw.reshape(-1).view(_lies(spec)))
        mask = pa.array(is_null) if is_null.any() else None
        lists = pa.FixedSizeListArray.from_arrays(items, type=kind.storage_type, mask=mask)
        return pa.ExtensionArray.from_storage(kind, lists)


def schema_of(batch: pa.RecordBatch, kept: Sequence[Kept], about: Mapping[str, Any]) -> pa.Schema:
    """Return the schema of a shard, which says what its columns hold."""
    fields = {
        each.name: {
            "shape": list(each.spec.shape),
            "dtype": each.spec.dtype,
            "packing": None if each.packing is None else type(each.packing).__name__.lower(),
        }
        for each in kept
    }
    told = {"format": FORMAT, **about, "fields": fields}
    return batch.schema.with_metadata({METADATA: json.dumps(told)})


class _Hashing:
    """A file that is written to, and its checksum."""

    # For PyArrow.
    closed = False

    def __init__(self, file: Any) -> None:
        self._file = file
        self.hash = xxhash.xxh3_64()

    def write(self, data: Any) -> int:
        self.hash.update(data)
        self._file.write(data)
        return len(data)

    def flush(self) -> None: ...

    def close(self) -> None: ...


def write_shard(folder: Path, number: int, batch: pa.RecordBatch) -> int:
    """Write a shard, whole or not at all, and return its size in bytes.

    Raises:
        OSError: If it cannot be written; nothing is left of it then.
    """
    temporary = folder / f"{_TEMPORARY}{number:05}-{secrets.token_hex(4)}"
    try:
        with temporary.open("xb", buffering=0) as raw, _without_signal():
            hashing = _Hashing(_Whole(raw))
            with pa.ipc.new_file(pa.PythonFile(hashing, "w"), batch.schema) as sink:
                sink.write_batch(batch)
            size = raw.tell()
            # Before the rename, which may otherwise reach the disk first.
            os.fsync(raw.fileno())
        temporary.replace(folder / f"{number:05}-{hashing.hash.hexdigest()}.arrow")
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    return size


@contextmanager
def _without_signal() -> Iterator[None]:
    """Let a write beyond RLIMIT_FSIZE fail like any other, whatever the process does on its signal."""
    if not hasattr(signal, "SIGXFSZ") or not hasattr(signal, "sigtimedwait"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGXFSZ})
    try:
        yield
    finally:
        # One that has come would be delivered as soon as it is no longer blocked.
        signal.sigtimedwait({signal.SIGXFSZ}, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def shard_bytes(batch: pa.RecordBatch) -> int:
    """Return the size in bytes that a shard will have."""
    counting = pa.MockOutputStream()
    with pa.ipc.new_file(counting, batch.schema) as sink:
        sink.write_batch(batch)
    return int(counting.size())


class _Whole:
    """Writes all that it is given: a raw file may take less at a time, as before a disk is full."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, data: Any) -> None:
        rest = memoryview(data).cast("B")
        while len(rest):
            written = self._file.write(rest)
            rest = rest[written:]


def sweep(folder: Path) -> None:
    """Remove what writers that were killed have left; only the one writer may do so."""
    for path in folder.glob(f"{_TEMPORARY}*"):
        with suppress(OSError):
            path.unlink()


def found_in(folder: Path) -> dict[str, int]:
    """Return the bytes of each file in a folder, by its name."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        # A shard that a file system lost the end of has other bytes than its name says.
        return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
    return {}


def shards_among(files: Mapping[str, int]) -> dict[int, tuple[str, int]]:
    """Return by number the name of each shard, and its size in bytes."""
    matches = ((_NAME.fullmatch(name), size) for name, size in sorted(files.items()))
    return {int(match[1]): (match[0], size) for match, size in matches if match}


class Column:
    """A field's values in an open shard.

    Args:
        batch: The rows of the shard, whose buffers have been validated.
        kept: What is kept of the field.

    Raises:
        KeyError: If a column is not there.
        ValueError: If one is of another type.
    """

    def __init__(self, batch: pa.RecordBatch, kept: Kept) -> None:
        name, spec = kept.name, kept.spec
        kinds = {prefix + name: kind for prefix, kind in _KINDS.items()}
        kinds[name] = _tensor(spec) if kept.packing is None else pa.large_binary()
        for field in batch.schema:
            if field.type != kinds.get(field.name, field.type):
                raise ValueError(f"column {field.name!r} is {field.type}")
        column = batch.column(name)
        self._packing = kept.packing
        self.valid = _valid(column)
        # Where values lie as they are: ``[rows, *spec.shape]``, in the mapped file.
        self.values: Any = None
        if kept.packing is None:
            items = column.storage.values
            count = max(1, int(np.prod(spec.shape, dtype=np.int64)))
            found = np.frombuffer(items.buffers()[1], _lies(spec), len(column) * count)
            self.values = found.view(spec.dtype).reshape(len(column), *spec.shape)
        else:
            self._packed = column
        names = set(batch.schema.names)
        self.has_files = FILE + name in names
        if self.has_files:
            self.sizes = _view(batch.column(SIZE + name))
            self.mtimes = _view(batch.column(MTIME + name))
            _, offsets, data = batch.column(FILE + name).buffers()
            self.starts = memoryview(offsets).cast("B").cast("i")
            self.files = memoryview(data if data is not None else b"")
        self.lengths = _numbers(batch.column(LENGTH + name)) if LENGTH + name in names else None
        self._frames: NDArray | None = None
        if FRAME + name in names:
            frames = batch.column(FRAME + name)
            self._has_frame = _valid(frames)
            self._frames = np.frombuffer(frames.values.buffers()[1], np.float64).reshape(-1, 8)

    def has(self, place: int) -> bool:
        """Tell whether a row has a value."""
        return self.valid is None or bool(self.valid[place])

    def file(self, place: int) -> bytes:
        """Return the files that a row was read from, as `as_one` returns them; empty if from none."""
        return bytes(self.files[self.starts[place] : self.starts[place + 1]])

    def is_fresh(self, place: int) -> bool:
        """Tell whether the files of a row are as they were when the row was read from them."""
        files = self.file(place) if self.has_files else b""
        if not files:
            return True
        try:
            size, time = size_and_time(files)
        except (OSError, ValueError):
            return False
        return size == self.sizes[place] and time == self.mtimes[place]

    def read(self, place: int, out: NDArray) -> None:
        """Write the value of a row."""
        if self.values is not None:
            out[...] = self.values[place]
        elif self._packing is not None:
            self._packing.unpack(np.frombuffer(self._packed[place].as_buffer(), np.uint8), out)

    def told(self, place: int) -> Told:
        """Return what the field's reader told of a row."""
        if self._frames is not None and (self._has_frame is None or self._has_frame[place]):
            height, width, *matrix = self._frames[place].tolist()
            return Frame((int(height), int(width)), np.array(matrix).reshape(2, 3))
        if self.lengths is None or self.lengths[place] < 0:
            return None
        return int(self.lengths[place])


class Store:
    """The shards of one cache, opened when they are first touched.

    It may be pickled: what goes along is where the shards are, and what they hold.

    Args:
        folder: Where they are.
        count: How many rows there are in all.
        per_shard: How many of them a shard has; the last may have fewer.
        kept: What they hold, by the digest of the field.
        bucket: Where they are if that is far away; what is in `folder` then are copies.
    """

    def __init__(
        self,
        folder: Path,
        count: int,
        per_shard: int,
        kept: Mapping[bytes, Kept],
        bucket: Bucket | None = None,
    ) -> None:
        self.folder, self.count, self.per_shard, self.kept = folder, count, per_shard, dict(kept)
        self.bucket = bucket
        self._begin()

    def _begin(self) -> None:
        self.shards = -(-self.count // self.per_shard)
        self._names: dict[int, tuple[str, int]] | None = None
        # By field and number: the columns; False for a shard that is not there or damaged, None if it
        # has yet to be touched.
        self._opened: dict[str, list[Column | bool | None]] = {
            each.name: [None] * self.shards for each in self.kept.values()
        }
        self._locks = [threading.Lock() for _ in range(self.shards)]
        # Of copies, the bytes of those that are open, in the order in which they were opened.
        self._open_copies: dict[int, int] = {}
        self._closing = threading.Lock()
        # How often pages have come from a disk, and for how many more reads they are asked for first.
        self._faults, self._asks = _disk_faults(), 0
        self._stale = 0
        self._has_warned = False

    def __getstate__(self) -> tuple[Any, ...]:
        # A bucket is listed once, and not by each worker process.
        names = None if self.bucket is None else self._names
        return self.folder, self.count, self.per_shard, self.kept, self.bucket, names

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.folder, self.count, self.per_shard, self.kept, self.bucket, names = state
        self._begin()
        self._names = names

    def renewed(self) -> Store:
        """Return the same store, as it is by now."""
        return Store(self.folder, self.count, self.per_shard, self.kept, self.bucket)

    @property
    def place(self) -> str:
        """Where they are, as messages have it."""
        return str(self.folder) if self.bucket is None else shown(self.bucket.uri)

    @property
    def names(self) -> dict[int, tuple[str, int]]:
        """The shards that there were when they were first looked for: name and bytes, by number."""
        if self._names is None:
            files = found_in(self.folder) if self.bucket is None else self.bucket.names()
            found = shards_among(files)
            self._names = {number: found[number] for number in found if number < self.shards}
        return self._names

    @property
    def rows(self) -> int:
        """How many rows the shards have that are there."""
        return sum(min(self.per_shard, self.count - number * self.per_shard) for number in self.names)

    @property
    def is_whole(self) -> bool:
        """Whether all shards are there."""
        return len(self.names) == self.shards

    def column(self, number: int, name: str) -> Column | None:
        """Return a field's values in a shard; None if it is not there or damaged."""
        found = self._opened[name][number]
        if found is None:
            # Others may go on with other shards while this one is verified.
            with self._locks[number]:
                if self._opened[name][number] is None:
                    opened = self._open(number)
                    for each, columns in self._opened.items():
                        columns[number] = opened[each] if isinstance(opened, dict) else opened
                found = self._opened[name][number]
            self._close_copies(number)
        return found if isinstance(found, Column) else None

    def _close_copies(self, number: int) -> None:
        """Close the copies that were opened first, if there are too many beside that of a shard.

        Whoever reads one goes on; touched again, it is opened anew.
        """
        if self.bucket is None:
            return
        with self._closing:
            self._open_copies[number] = self.names.get(number, ("", 0))[1]
            while (
                sum(self._open_copies.values()) > self.bucket.most_bytes and len(self._open_copies) > 1
            ):
                first = next(iter(self._open_copies))
                del self._open_copies[first]
                for columns in self._opened.values():
                    columns[first] = None

    def _bytes_open(self) -> int:
        return sum(self._open_copies.values())

    def columns(self, numbers: Sequence[int], name: str) -> list[Column | None]:
        """Return a field's values in some shards, as `column`."""
        opened = {number: self._opened[name][number] for number in set(numbers)}
        for number, found in opened.items():
            if found is None:
                opened[number] = self.column(number, name)
        return [opened[number] or None for number in numbers]  # type: ignore[misc]

    def expect(self, rows: Sequence[NDArray]) -> None:
        """Note that rows of the mapped files will be read now: if need be, ask the disk for them.

        All at once, and each as a whole. Else the kernel reads them page by page as they are touched,
        one after the other: where the files are larger than its cache, at a thirtieth of the speed.
        """
        faults = _disk_faults()
        if faults != self._faults:
            self._faults, self._asks = faults, _ASKS
        elif self._asks:
            self._asks -= 1
        if self._asks:
            _will_need(rows)

    def note_stale(self) -> None:
        """Count a row whose source has changed, and say so once there are many."""
        # Threads may count past a number that is asked for, not below it.
        self._stale += 1
        few = max(_FEW_STALE, int(_FEW_STALE_SHARE * self.count))
        if self._stale >= few and not self._has_warned:
            self._has_warned = True
            _log.warning(
                "%d samples have other files than when %s was written, and are decoded anew each time; "
                "remove that folder and call mf.cache again.",
                self._stale,
                self.place,
            )

    def _open(self, number: int) -> dict[str, Column] | bool | None:
        name, _ = self.names.get(number, ("", 0))
        if not name:
            return False
        path = self.folder / name
        try:
            content = self._content(name)
        except FileNotFoundError:
            return False
        except OSError as error:
            if self.bucket is not None:
                _log.warning("a shard of a cache is not used: %s", error)
            # That there is no descriptor left may pass; that it may not be read does not.
            return None if error.errno in (errno.EMFILE, errno.ENFILE) else False
        if content is None:
            return self._drop(path)
        try:
            with pa.ipc.open_file(content) as shard:
                batch = shard.get_batch(0)
            # That the bytes fit their checksum does not say who has written them.
            batch.validate(full=True)
            rows = min(self.per_shard, self.count - number * self.per_shard)
            if batch.num_rows != rows:
                raise ValueError(f"it has {batch.num_rows} rows, where {rows} are due")
            return {kept.name: Column(batch, kept) for kept in self.kept.values()}
        except (pa.ArrowException, OSError, KeyError, ValueError, TypeError):
            # Somebody has given another file its name.
            return self._drop(path)

    def _content(self, name: str) -> pa.Buffer | None:
        """Return the bytes of a shard; None if they are not what its name says.

        Raises:
            OSError: If it cannot be read.
        """
        match = _NAME.fullmatch(name)
        if self.bucket is not None:
            # A copy may have been damaged, or removed by another process: then it is made once more.
            with suppress(FileNotFoundError):
                path = self.bucket.copy(name)
                content = _mapped(path)
                if match is not None and xxhash.xxh3_64(content).hexdigest() == match[2]:
                    return content
                path.unlink()
            self.bucket.copy(name)
        content = _mapped(self.folder / name)
        is_whole = match is not None and xxhash.xxh3_64(content).hexdigest() == match[2]
        return content if is_whole else None

    def _drop(self, path: Path) -> bool:
        """Remove a damaged shard, so that it will be written again, and return that there is none."""
        # In a folder that may only be read, it stays.
        with suppress(OSError):
            path.unlink()
        _log.warning(
            "%s is damaged (its bytes do not fit the checksum in its name): its samples are decoded "
            "from their source; %s",
            path if self.bucket is None else f"{shown(self.bucket.uri)}/{path.name}",
            "mf.cache will write it again." if self.bucket is None else "remove it there.",
        )
        return False


def _disk_faults() -> int:
    """Return how often this process has touched a page that had to be read from a disk."""
    return 0 if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_majflt


def _will_need(rows: Sequence[NDArray]) -> None:
    advise = _madvise()
    for row in rows if advise is not None else ():
        address = row.__array_interface__["data"][0]
        start = address // mmap.PAGESIZE * mmap.PAGESIZE
        advise(start, address + row.nbytes - start, mmap.MADV_WILLNEED)


@cache
def _madvise() -> Any:
    """Return the C library's `madvise`; `mmap` has it for its own maps only. None if there is none."""
    if not hasattr(mmap, "MADV_WILLNEED"):
        return None
    found = ctypes.CDLL(None).madvise
    found.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return found


def fresh(rows: Sequence[tuple[Column, int]]) -> list[bool]:
    """Return which rows, each a place in a column, have files as they were: many at once.

    Two threads that ask one file after the other would hand the interpreter's lock to and fro at each.
    """
    if not all(column.has_files for column, _ in rows):
        return [column.is_fresh(place) for column, place in rows]
    try:
        files = [
            str(column.files[column.starts[place] : column.starts[place + 1]], "utf-8")
            for column, place in rows
        ]
        found = _files().get_file_info(files)
    except (OSError, ValueError):
        # One of them may not be looked at, or has a name that Arrow cannot have.
        return [column.is_fresh(place) for column, place in rows]
    return [
        column.is_fresh(place)
        if info.size is None
        else info.size == column.sizes[place] and info.mtime_ns == column.mtimes[place]
        for (column, place), file, info in zip(rows, files, found, strict=True)
    ]


def as_one(files: Iterable[str]) -> bytes:
    """Return paths as one; that of a single file is its own."""
    return _BETWEEN.join(map(os.fsencode, files))


def size_and_time(files: bytes) -> tuple[int, int]:
    """Return the bytes of files, and their time of change in nanoseconds; of several, the sums.

    Args:
        files: Paths, as `as_one` returns them. Of a folder, the files in it count, and the latest time;
            of that of a Zarr array, its description: it may have a million chunks, and each window of it
            would look at all of them.

    Raises:
        OSError: If one is not there.
    """
    if _BETWEEN not in files:
        return _size_and_time(files)
    sizes, times = zip(*map(_size_and_time, files.split(_BETWEEN)), strict=True)
    # The sum of five times is more than an integer of 64 bits.
    return sum(sizes), sum(times) % 2**62


def _size_and_time(file: bytes) -> tuple[int, int]:
    status = os.stat(file)
    if not stat.S_ISDIR(status.st_mode):
        return status.st_size, status.st_mtime_ns
    for name in DESCRIPTIONS:
        with suppress(FileNotFoundError):
            told = os.stat(os.path.join(os.fsdecode(file), name))
            return told.st_size, told.st_mtime_ns
    size, time = 0, status.st_mtime_ns
    with os.scandir(file) as entries:
        # A file that is renamed, or gone, changes the folder itself. Folders in it are no part of it:
        # a name that leads to the root, which nobody has refused yet, would be one of all files.
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                inner = entry.stat()
                size, time = size + inner.st_size, max(time, inner.st_mtime_ns)
    return size, time


@cache
def _files() -> Any:
    from pyarrow import fs

    return fs.LocalFileSystem()


def _mapped(path: Path) -> pa.Buffer:
    """Return the content of a file; it stays mapped as long as it is used."""
    try:
        # Closed again, it needs no descriptor, of which a process may have few.
        with pa.memory_map(os.fspath(path)) as file:
            return file.read_buffer()
    except UnicodeEncodeError:
        # Arrow has no names that are not UTF-8.
        with path.open("rb") as file:
            is_empty = not os.fstat(file.fileno()).st_size
            mapped = b"" if is_empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return pa.py_buffer(mapped)


def _tensor(spec: Spec) -> pa.DataType:
    """Return the type of a column whose values lie as they are."""
    return pa.fixed_shape_tensor(pa.from_numpy_dtype(_lies(spec)), spec.shape or (1,))


def _lies(spec: Spec) -> np.dtype[Any]:
    """Return the dtype that values have in a shard: Arrow packs booleans to bits."""
    return np.dtype(np.uint8 if spec.dtype == "bool" else spec.dtype)


def _valid(array: pa.Array) -> NDArray | None:
    """Return ``bool[n]``, False where there is a null; None if there is none."""
    return np.asarray(array.is_valid()) if array.null_count else None


def _numbers(array: pa.Array) -> NDArray:
    """Return integers, ``int64[n]``; -1 for a null."""
    return np.asarray(array.fill_null(-1) if array.null_count else array)


def _view(array: pa.Array) -> memoryview[int]:
    """Return integers as a view, from which one is had in half the time of an array's."""
    return memoryview(np.ascontiguousarray(_numbers(array)).data).cast("B").cast("q")


def _frames(told: Sequence[Told]) -> pa.Array:
    """Return frames as lists: height, width, and the matrix row by row."""
    table = np.zeros((len(told), 8))
    mask = np.ones(len(told), bool)
    for place, each in enumerate(told):
        if isinstance(each, Frame):
            table[place, :2], table[place, 2:] = each.size, np.asarray(each.matrix).ravel()
            mask[place] = False
    return pa.FixedSizeListArray.from_arrays(pa.array(table.ravel()), 8, mask=pa.array(mask))
