"""Files: regular ones are read, as a whole or in part; new ones are there whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import stat
import threading
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Self

from multifeed.errors import BadValue

REPLACE = "Replace the file, or leave the row out with data.select."
_REPLACE_IN_TABLE = "Replace the file, or leave its row out of the table."
LIST_AGAIN = "List its parts again, as mf.tar and mf.tfrecord do."
MORE = "The file may be a good one: let the process open more (ulimit -n), or pass fewer workers."

# A file of more bytes is refused before it is read: a file with holes takes no room on a disk, and all
# of it in memory. An image of that many bytes has too many pixels anyhow.
MAX_FILE_BYTES = 2**31

# What a library that reads in small pieces gets at once.
BUFFER_BYTES = 2**16

_SEEKING = threading.Lock()

# Without O_NONBLOCK, opening a FIFO waits for a writer that may never come; without O_NOCTTY, a
# terminal may become that of the process. Windows knows neither, but would translate line ends.
_FLAGS = (
    os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
)


class _Tally(threading.local):
    """What a thread has read."""

    bytes = 0


_tally = _Tally()


def bytes_read() -> int:
    """Return how many bytes of files this thread has read so far."""
    return _tally.bytes


def count_read(count: int) -> None:
    """Count bytes of a file that came to this thread."""
    _tally.bytes += count


class File(ABC):
    """A file, open, of which any part can be read; several threads may do so at once.

    Args:
        size: Its bytes.
        stamp: What becomes another text when the file is changed; empty if that is not known.
    """

    def __init__(self, size: int, stamp: str = "") -> None:
        self.size, self.stamp = size, stamp

    @abstractmethod
    def read(self, start: int = 0, count: int | None = None) -> bytes:
        """Return exactly `count` bytes from byte `start` on, by default all to the end.

        Raises:
            BadValue: If there are not so many, they are more than `MAX_FILE_BYTES`, or they cannot be
                read.
        """

    def read_many(self, places: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return several parts, each as `read` does; of a file far away, they come at once.

        Args:
            places: Where each begins, and its bytes.

        Raises:
            BadValue: As `read`.
        """
        return [self.read(start, count) for start, count in places]

    @abstractmethod
    def close(self) -> None:
        """Let it go."""

    @property
    def is_far(self) -> bool:
        """Whether reading it waits for a network."""
        return False

    @property
    def path(self) -> str | None:
        """A path under which libraries can open this very file while it is open here.

        None if there is none: it is a part of another file, or far away.
        """
        return None

    @property
    def descriptor(self) -> int | None:
        """That of the system, valid while this is open; None where the file itself has none."""
        return None

    def read_into(self, start: int, out: memoryview) -> None:
        """Read what stands from byte `start` on until `out`, of bytes, is full.

        Raises:
            BadValue: As `read`.
        """
        out[:] = self.read(start, len(out))

    def stream(self) -> io.BufferedReader:
        """Return it as a file object that can be read and sought in; closing that leaves this open."""
        return io.BufferedReader(Stream(self), BUFFER_BYTES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Stream(io.RawIOBase):
    """A file as an unbuffered file object; closing that leaves the file open.

    Args:
        file: The file.
    """

    def __init__(self, file: File) -> None:
        self._file, self._at = file, 0

    def readable(self) -> bool:  # noqa: D102 - see RawIOBase
        return True

    def seekable(self) -> bool:  # noqa: D102 - see RawIOBase
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:  # noqa: D102 - see RawIOBase
        start = (0, self._at, self._file.size)[whence]
        if start + offset < 0:
            raise OSError(errno.EINVAL, "a place before the beginning of a file")
        self._at = start + offset
        return self._at

    def tell(self) -> int:  # noqa: D102 - see RawIOBase
        return self._at

    def readinto(self, buffer: Any) -> int:  # noqa: D102 - see RawIOBase
        count = min(len(buffer), self._file.size - self._at)
        if count <= 0:
            # Behind the end there is nothing, as in any file object, which is no error.
            return 0
        buffer[:count] = self._file.read(self._at, count)
        self._at += count
        return count


class _LocalFile(File):
    def __init__(self, handle: int, status: os.stat_result, path: str) -> None:
        super().__init__(status.st_size, stamp_of(f"{status.st_size} {status.st_mtime_ns}"))
        self._handle, self._path = handle, path

    def read(self, start: int = 0, count: int | None = None) -> bytes:
        count = max(0, self.size - start) if count is None else count
        refuse_beyond(start, count, self.size)
        try:
            data = _read_all(self._handle, start, count)
        except OSError as error:
            raise BadValue(f"cannot be read ({error.strerror})", REPLACE) from error
        except MemoryError as error:
            raise BadValue(f"does not fit into memory ({count:,} bytes)", REPLACE) from error
        if len(data) < count:
            raise BadValue(f"has shrunk while it was read, to {start + len(data):,} bytes", REPLACE)
        count_read(count)
        return data

    def read_into(self, start: int, out: memoryview) -> None:
        # More than one call can read, not there, or not to be read: what `read` says of that.
        if _read_into(self._handle, start, out) < len(out):
            super().read_into(start, out)
        else:
            count_read(len(out))

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = -1

    @property
    def path(self) -> str | None:
        # What has been looked at is opened again, whatever its name leads to by now.
        here = f"/proc/self/fd/{self._handle}"
        return here if os.path.exists(here) else self._path

    @property
    def descriptor(self) -> int | None:
        return self._handle

    def __del__(self) -> None:
        self.close()


class Part(File):
    """Some consecutive bytes of another file, as a file.

    Args:
        whole: The other file, which is closed with this one.
        start: Where it begins in that.
        size: Its bytes.
        stamp: The other file's stamp when its parts were listed; empty if that is not known.

    Raises:
        BadValue: If the other file is not what it was, or ends before it.
    """

    def __init__(self, whole: File, start: int, size: int, stamp: str = "") -> None:
        super().__init__(size, whole.stamp)
        self._whole, self._start = whole, start
        if stamp and whole.stamp and stamp != whole.stamp:
            raise BadValue("has changed since its parts were listed", LIST_AGAIN)
        if start + size > whole.size:
            raise BadValue(
                f"ends after {whole.size:,} bytes, where a part of it reaches to {start + size:,}",
                LIST_AGAIN,
            )

    def read(self, start: int = 0, count: int | None = None) -> bytes:  # noqa: D102 - see File
        count = max(0, self.size - start) if count is None else count
        refuse_beyond(start, count, self.size)
        return self._whole.read(self._start + start, count)

    def read_into(self, start: int, out: memoryview) -> None:  # noqa: D102 - see File
        refuse_beyond(start, len(out), self.size)
        self._whole.read_into(self._start + start, out)

    def read_many(self, places: Sequence[tuple[int, int]]) -> list[bytes]:  # noqa: D102 - see File
        for start, count in places:
            refuse_beyond(start, count, self.size)
        return self._whole.read_many([(self._start + start, count) for start, count in places])

    @property
    def is_far(self) -> bool:  # noqa: D102 - see File
        return self._whole.is_far

    def close(self) -> None:  # noqa: D102 - see File
        self._whole.close()


class Whole(Part):
    """All of a file, left where it lies until it is decoded: what else would be its content.

    Args:
        file: The file, which is closed with this.
    """

    def __init__(self, file: File) -> None:
        super().__init__(file, 0, file.size)
        self.nbytes = file.size

    @property
    def path(self) -> str | None:  # noqa: D102 - see File
        return self._whole.path

    @property
    def descriptor(self) -> int | None:  # noqa: D102 - see File
        return self._whole.descriptor


def stamp_of(told: str) -> str:
    """Return a `File.stamp`, given all that tells one version of a file from another."""
    return f"{zlib.crc32(told.encode()):08x}"


def refuse_beyond(start: int, count: int, size: int) -> None:
    """Raise unless a file of `size` bytes has `count` bytes from `start` on, which are not too many."""
    if start < 0 or count < 0 or start + count > size:
        raise BadValue(
            f"ends after {size:,} bytes, where {count:,} are to be read from byte {start:,} on", REPLACE
        )
    if count > MAX_FILE_BYTES:
        raise BadValue(f"has {count:,} bytes, where at most {MAX_FILE_BYTES:,} are read", REPLACE)


def of_table(remedy: str) -> str:
    """Return a remedy as it is where there is a table, and no dataset yet."""
    return _REPLACE_IN_TABLE if "data.select" in remedy else remedy


def read_file(path: str, top: str | None = None) -> bytes:
    """Return the content of a regular file; see `open_file`."""
    with open_file(path, top) as file:
        return file.read()


def is_limit_of_files(error: BaseException | None) -> bool:
    """Tell whether a file could not be opened because the process, or the system, has too many open."""
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)


def open_file(path: str, top: str | None = None) -> File:
    """Open a regular file; never blocks on a pipe or a device.

    Args:
        path: The file.
        top: The folder that it must lie under, whatever its name leads to a moment later; None for any.

    Raises:
        BadValue: If it is not a readable regular file with content, or lies elsewhere.
    """
    try:
        handle = os.open(path, _FLAGS)
    except FileNotFoundError as error:
        raise BadValue("does not exist", REPLACE) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        remedy = MORE if is_limit_of_files(error) else REPLACE
        raise BadValue(f"cannot be opened ({reason})", remedy) from error
    try:
        if top is not None:
            refuse_unless_under(top, _place_of(handle, path))
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise BadValue(
                f"is not a regular file but {_kind(status.st_mode)}",
                "Only regular files are read; leave the row out with data.select.",
            )
        if not status.st_size:
            raise BadValue("is empty (0 bytes)", REPLACE)
    except BaseException as error:
        os.close(handle)
        if isinstance(error, OSError):
            raise BadValue(f"cannot be read ({error.strerror})", REPLACE) from error
        raise
    return _LocalFile(handle, status, path)


def _read_all(handle: int, start: int, count: int) -> bytes:
    data = _read_at(handle, start, count)
    # One read returns at most 2 GiB on Linux, and less where the file shrank meanwhile.
    while len(data) < count and (more := _read_at(handle, start + len(data), count - len(data))):
        data += more
    return data


def _read_at(handle: int, start: int, count: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(handle, count, start)
    with _SEEKING:  # Windows: a place and a read are two calls
        os.lseek(handle, start, os.SEEK_SET)
        return os.read(handle, count)


def _read_into(handle: int, start: int, out: memoryview) -> int:
    """Fill `out` as far as one call does; return how many bytes that are."""
    # Neither Windows nor an old macOS has it.
    if not hasattr(os, "preadv"):
        return 0
    try:
        return os.preadv(handle, [out], start)
    except OSError:
        return 0


def refuse_unless_under(top: str, path: str) -> None:
    """Raise if a path leads out of the folder of its table; links have been followed."""
    if not path.startswith(os.path.join(top, "")):
        raise leads_out(top)


def leads_out(top: str) -> BadValue:
    """Return the fact that a name leads out of the folder of its table."""
    return BadValue(
        f"leads out of the folder of its table, {top!r}",
        "File names from a table file stay under its folder: pass root= to mf.Dataset to move "
        "that folder, or allow_outside=True if you trust the table.",
    )


def _place_of(handle: int, path: str) -> str:
    """Return where an open file lies, though links may have been exchanged before it was opened."""
    try:
        return os.readlink(f"/proc/self/fd/{handle}")
    except OSError:
        # Only Linux tells. Elsewhere the name is followed once more, which closes the gap but for a
        # link that is exchanged twice.
        return os.path.realpath(path)


def _kind(mode: int) -> str:
    names = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return names.get(stat.S_IFMT(mode), "something else")


@contextmanager
def whole_file(target: Path, temporary: Path) -> Iterator[BinaryIO]:
    """Open a file to be written, which is there once all of it has reached the disk, or not at all.

    Args:
        target: The file; one that is there is replaced.
        temporary: What it is called meanwhile, in the same folder.

    Raises:
        OSError: If it cannot be written; what there was stays.
    """
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            # Before the rename, which may otherwise reach the disk first.
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Let the names of a folder reach the disk."""
    # Windows cannot open folders.
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
