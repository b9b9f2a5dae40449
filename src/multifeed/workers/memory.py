"""Memory that processes share, and objects that are handed over through it. Knows nothing of data.

The memory has descriptors and no names: it is gone with the last process that holds one, however that
process ends, and nothing is ever left in a file system. What is in it already is handed over as a place,
so a table that lies there costs one copy in all, however many processes read it.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import sys
import tempfile
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import FunctionType
from typing import Any

import cloudpickle
import numpy as np

from multifeed.errors import DeclarationError, MultifeedError, lines

Array = np.ndarray[Any, Any]

# Bytes of a file that are compared with what is mapped of it, in each of three places.
_PAGE = 4_096
# Bytes that the table of buffers has for each.
_TABLE_ROW = 3 * 8
# Of fewer bytes, a copy costs less than to look for the file that they lie in; and each file takes a
# descriptor in each process.
_SMALL = 2**16
_MOST_MAPPED = 64
# Arrays begin at such places: the width of a vector register and of a cache line.
_ALIGNMENT = 64
# Mapped at once, pages cost a fifth of what they cost when they are touched one by one.
_MAPPED_AT_ONCE = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0) if sys.platform != "win32" else 0


class SharedFile:
    """A file without a name that grows, mapped piece by piece; it lives as long as its pieces do.

    Descriptors are what a process has few of: growing takes one, so it should be done seldom.
    """

    def __init__(self) -> None:
        self.handle = _nameless()
        self.size = 0
        self._pieces: list[_Piece] = []
        weakref.finalize(self, os.close, self.handle)
        _files.add(self)

    def grow(self, size: int) -> Array:
        """Return more of it, ``uint8[size]``, zeros, which lives for as long as somebody looks at it.

        Raises:
            MultifeedError: If there is not enough memory.
        """
        length = _whole_pages(size)
        try:
            # Reserved now: where there is none left, a later touch would kill the process.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self.handle, self.size, length)
            else:
                os.truncate(self.handle, self.size + length)
            mapped = _Mapped(self.handle, length, flags=_MAPPED_AT_ONCE, offset=self.size)
        except OSError as error:
            raise MultifeedError(
                lines(
                    f"batches of worker processes need {length / 2**20:,.0f} MiB more of shared "
                    f"memory, beside {self.size / 2**20:,.0f} MiB: {error.strerror}.",
                    "Pass a smaller batch_size, prefetch or prefetch_bytes, or processes=0.",
                )
            ) from error
        mapped.file = self
        memory = np.frombuffer(mapped, np.uint8)
        self._pieces.append(_Piece(address_of(memory), length, self.size, weakref.ref(mapped)))
        self.size += length
        return memory[:size]

    def find(self, address: int) -> int | None:
        """Return where in the file an address of this process lies; None if it does not."""
        for piece in self._pieces:
            # Where a piece has been given back, something else may lie by now.
            if 0 <= address - piece.address < piece.size and piece.mapped() is not None:
                return piece.place + address - piece.address
        return None

    def place_of(self, address: int) -> int:
        """Return where in the file an address of this process lies, which does lie in it."""
        found = self.find(address)
        if found is None:
            raise LookupError(f"address {address} is not in this file")
        return found

    def at(self, place: int, size: int) -> Array:
        """Return the bytes from a place on, ``uint8[size]``, of a piece that somebody looks at."""
        for piece in self._pieces:
            mapped = piece.mapped()
            if 0 <= place - piece.place < piece.size and mapped is not None:
                return np.frombuffer(mapped, np.uint8, size, place - piece.place)
        raise LookupError(f"nothing is mapped at {place}")


class _Mapped(mmap.mmap):
    """A piece of a shared file, which keeps its file."""

    file: SharedFile


@dataclass(frozen=True)
class _Piece:
    address: int
    size: int
    place: int
    mapped: weakref.ref[_Mapped]


class SharedView:
    """A shared file as another process maps it: all of it, and again when it has grown."""

    def __init__(self, handle: int, *, writes: bool) -> None:
        self._handle, self._access = handle, mmap.ACCESS_WRITE if writes else mmap.ACCESS_READ
        self._mapped = np.empty(0, np.uint8)

    def at(self, place: int, size: int) -> Array:
        """Return the bytes from a place on, ``uint8[size]``."""
        mapped = self._mapped
        if place + size > len(mapped):
            whole = os.fstat(self._handle).st_size
            mapped = np.frombuffer(mmap.mmap(self._handle, whole, access=self._access), np.uint8)
            self._mapped = mapped
        return mapped[place : place + size]


@dataclass(frozen=True)
class Packed:
    """An object, packed into shared memory.

    Args:
        parts: Where things stand in the first file: how many bytes the pickle has, which comes first;
            where the table of its buffers begins; and how many there are. Of each, the table has the
            number of its file, its place there, and its size.
        files: The files.
        memory: What keeps the first file.
        opened: Mapped files of others that it looks at, which are unpacked by their descriptors.
    """

    parts: tuple[int, int, int]
    files: Sequence[SharedFile | _FileOfOthers]
    memory: Array
    opened: Sequence[_Opened]

    @property
    def handles(self) -> list[int]:
        """The descriptors that another process needs, besides those of `files`."""
        return [each.handle for each in self.opened]

    def unpack(self) -> Any:
        """Return the object here, standing on the same memory as it will elsewhere."""
        return unpacked([each.at for each in self.files], self.parts)


def packed(value: Any) -> Packed:
    """Pack an object for other processes; functions and classes of scripts and notebooks go along.

    Memmaps are opened again where it is unpacked. Arrays and Arrow columns are read-only there.

    Raises:
        DeclarationError: If something in it cannot be handed over.
    """
    found: list[memoryview] = []
    stream = io.BytesIO()

    def keep(buffer: pickle.PickleBuffer) -> None:
        found.append(buffer.raw())

    pickler = _Pickler(stream, protocol=5, buffer_callback=keep)
    try:
        pickler.dump(value)
    except Exception as error:
        raise DeclarationError(
            lines(
                "worker processes get a copy of what they need, and something cannot be copied: "
                f"{type(error).__name__}: {error}.",
                "Open files, locks and connections inside of your function, when it is called; or pass "
                "processes=0.",
            )
        ) from error
    return _laid_out(stream.getbuffer(), found, list(pickler.opened.values()))


def unpacked(views: Sequence[Callable[[int, int], Array]], parts: Sequence[int]) -> Any:
    """Return a packed object.

    Args:
        views: For each of its files, a function of a place and a size that returns the bytes there.
        parts: As in `Packed`.
    """
    size, start, count = parts
    table = views[0](start, count * _TABLE_ROW).view(np.int64).reshape(count, 3)
    pieces = [_read_only(views[number](place, length)) for number, place, length in table.tolist()]
    # It was written by this package's own process, a moment ago.
    return pickle.loads(views[0](0, size).data, buffers=pieces)


def _read_only(memory: Array) -> memoryview:
    return memory.data.toreadonly()


def _laid_out(stream: memoryview, found: Sequence[memoryview], opened: Sequence[_Opened]) -> Packed:
    """Copy a pickle, and those of its buffers that are not shared yet, to a file of their own."""
    file = SharedFile()
    files: list[SharedFile | _FileOfOthers] = [file]
    maps = _Maps()
    places: list[tuple[int, int, int]] = []
    known: dict[tuple[int, int], tuple[int, int, int]] = {}
    copied: list[tuple[int, memoryview]] = []
    end = _aligned(len(stream))
    for buffer in found:
        here = (address_of(np.frombuffer(buffer, np.uint8)) if len(buffer) else 0, len(buffer))
        if here not in known:
            shared = _shared_already(here[0], files) or maps.place_of(buffer, here[0], files)
            if shared is None:
                shared = 0, end
                copied.append((end, buffer))
                end += _aligned(len(buffer))
            known[here] = *shared, len(buffer)
        places.append(known[here])
    memory = file.grow(end + _TABLE_ROW * len(places))
    memory[: len(stream)] = stream
    for start, buffer in copied:
        memory[start : start + len(buffer)] = buffer
    if places:
        memory[end:] = np.array(places, np.int64).reshape(-1).view(np.uint8)
    return Packed((len(stream), end, len(places)), files, memory, opened)


def _shared_already(address: int, files: list[SharedFile | _FileOfOthers]) -> tuple[int, int] | None:
    """Return where an address lies in shared memory: the number of its file, which joins `files`."""
    for file in list(_files):
        start = file.find(address)
        if start is not None:
            if file not in files:
                files.append(file)
            return files.index(file), start
    return None


class _FileOfOthers:
    """A file that a library has mapped, such as an Arrow file: what lies in it needs no copy."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self._mapped = np.empty(0, np.uint8)
        weakref.finalize(self, os.close, handle)

    def at(self, place: int, size: int) -> Array:
        """Return the bytes from a place on, ``uint8[size]``."""
        if not len(self._mapped):
            self._mapped = np.frombuffer(mmap.mmap(self.handle, 0, access=mmap.ACCESS_READ), np.uint8)
        return self._mapped[place : place + size]


class _Maps:
    """The files that are mapped into this process to be read, by their addresses; only Linux tells.

    It is asked while what lies in them is in use, so that nothing else can have come to their addresses.
    """

    def __init__(self) -> None:
        self._opened: dict[str, _FileOfOthers] = {}

    @cached_property
    def _ranges(self) -> list[tuple[int, int, int, str]]:
        """The first and last address of each map, where in the file it begins, and the file's path."""
        try:
            with Path("/proc/self/maps").open(errors="surrogateescape") as file:
                found = [line.rstrip("\n").split(maxsplit=5) for line in file]
        except OSError:
            return []
        # What is written to may differ from the file.
        return [
            (int(start, 16), int(end, 16), int(offset, 16), path[0])
            for (start, end), (access, offset, _, inode, *path) in (
                (each[0].split("-"), each[1:]) for each in found
            )
            if path and inode != "0" and access.startswith("r-")
        ]

    def place_of(
        self, buffer: memoryview, address: int, files: list[SharedFile | _FileOfOthers]
    ) -> tuple[int, int] | None:
        """Return where a buffer lies in a mapped file: the number of the file, which joins `files`."""
        if len(buffer) < _SMALL:
            return None
        for start, end, offset, path in self._ranges:
            if start <= address and address + len(buffer) <= end:
                file = self._open(path)
                place = offset + address - start
                if file is None or not _has(file.handle, place, np.frombuffer(buffer, np.uint8)):
                    return None
                if file not in files:
                    files.append(file)
                return files.index(file), place
        return None

    def _open(self, path: str) -> _FileOfOthers | None:
        if path not in self._opened and len(self._opened) < _MOST_MAPPED:
            with suppress(OSError):
                self._opened[path] = _FileOfOthers(os.open(path, os.O_RDONLY))
        return self._opened.get(path)


def address_of(memory: Array) -> int:
    """Return where an array begins in this process's memory."""
    address: int = memory.__array_interface__["data"][0]
    return address


class _Opened:
    """A file that somebody has mapped, opened again: whatever becomes of its name, it stays the same."""

    def __init__(self, path: str) -> None:
        self.handle = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self.handle)


class _Pickler(cloudpickle.CloudPickler):  # type: ignore[misc]
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.opened: dict[str, _Opened] = {}

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            mapped = self._mapped(value)
            if mapped is not None:
                return mapped
        elif isinstance(value, FunctionType | type):
            _by_value_if_unknown(value.__module__)
        return super().reducer_override(value)

    def _mapped(self, values: Array) -> Any:
        """Return how an array that looks at a mapped file is opened again; None if it looks at none."""
        root: Any = values
        while isinstance(root, np.ndarray) and not (
            isinstance(root, np.memmap) and isinstance(root.base, mmap.mmap)
        ):
            root = root.base
        # Of a copy-on-write map, the file does not have what was written.
        if not isinstance(root, np.memmap) or root.filename is None or root.mode == "c":
            return None
        path = os.fspath(root.filename)
        if path not in self.opened:
            try:
                opened = _Opened(path)
            except OSError:
                return None
            # By now, another file may have its name.
            if not _is_of(opened.handle, root):
                return None
            self.opened[path] = opened
        start = address_of(values) - address_of(root) + root.offset
        placed = (self.opened[path].handle, start, values.dtype, values.shape, values.strides)
        return _open_again, placed


def _is_of(handle: int, mapped: np.memmap[Any, Any]) -> bool:
    """Tell whether a file has what is mapped: at its beginning, in its middle and at its end."""
    content = np.ndarray(mapped.nbytes, np.uint8, mapped.base, mapped.offset - _map_start(mapped))
    return _has(handle, mapped.offset, content)


def _has(handle: int, place: int, content: Array) -> bool:
    """Tell whether a file has bytes, ``uint8[n]``, at a place."""
    for start in (0, len(content) // 2, max(0, len(content) - _PAGE)):
        piece = content[start : start + _PAGE]
        if os.pread(handle, len(piece), place + start) != piece.tobytes():
            return False
    return True


def _map_start(mapped: np.memmap[Any, Any]) -> int:
    """Return where in its file a memmap's map begins."""
    return mapped.offset - mapped.offset % mmap.ALLOCATIONGRANULARITY


def _open_again(
    handle: int, start: int, dtype: np.dtype[Any], shape: tuple[int, ...], strides: tuple[int, ...]
) -> Array:
    mapped = mmap.mmap(handle, 0, access=mmap.ACCESS_READ)
    return np.ndarray(shape, dtype, mapped, start, strides)


@cache
def _by_value_if_unknown(module: str | None) -> None:
    """Let what a module defines go along as it is, where another process would not find that module."""
    found = sys.modules.get(module or "")
    if found is None or module in ("__main__", "builtins"):
        return
    # What stands in `sys.modules` says nothing: it must be found again.
    top = str(module).partition(".")[0]
    finders = [each.find_spec for each in sys.meta_path if hasattr(each, "find_spec")]
    if not any(find(top, None) for find in finders):
        cloudpickle.register_pickle_by_value(found)


def _nameless() -> int:
    """Return the descriptor of a new file that has no name."""
    if hasattr(os, "memfd_create"):
        try:
            return os.memfd_create("multifeed")
        except OSError as error:
            raise no_room(error) from error
    if os.name != "posix":
        raise DeclarationError(
            lines(
                "worker processes share memory by its descriptors, which this system cannot hand over.",
                "Pass processes=0: threads read files and decode images on all cores.",
            )
        )
    # Its name is gone before anybody can see it.
    with tempfile.TemporaryFile(prefix="multifeed") as file:
        return os.dup(file.fileno())


def no_room(error: OSError) -> MultifeedError:
    """Return what to say where the system has no descriptor, or no process, left."""
    return MultifeedError(
        lines(
            f"worker processes need descriptors and memory, of which this process may have no more: "
            f"{error.strerror}.",
            "Close loaders that are not used, raise the limit of open files (ulimit -n), or pass "
            "processes=0.",
        )
    )


def _whole_pages(size: int) -> int:
    return -(-size // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


_files: weakref.WeakSet[SharedFile] = weakref.WeakSet()
