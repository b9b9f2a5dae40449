"""Files as a whole: regular ones are read, only from where they may lie; new ones are there or not."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import BinaryIO

from multifeed.errors import BadValue

REPLACE = "Replace the file, or leave the row out with data.select."

# A file of more bytes is refused before it is read: a file with holes takes no room on a disk, and all
# of it in memory. An image of that many bytes has too many pixels anyhow.
MAX_FILE_BYTES = 2**31

# No system opens a longer name, and to follow one folder by folder takes a time that is its square.
_LONGEST_NAME = 32_767 if os.name == "nt" else 4_096

# Without O_NONBLOCK, opening a FIFO waits for a writer that may never come; without O_NOCTTY, a
# terminal may become that of the process. Windows knows neither, but would translate line ends.
_FLAGS = (
    os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
)


@dataclass(frozen=True)
class Folder:
    """Where file names start.

    Args:
        start: Folder that relative names start from; None for the working directory.
        confined: Whether names must stay under it, symbolic links followed.
        base: Where `start`, and names without one, start from; None for the working directory.
    """

    start: str | None
    confined: bool
    base: str | None = None

    def path(self, name: str) -> str:
        """Return the path of a file name."""
        return name if self.start is None else os.path.join(self.start, name)

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            BadValue: If the name leaves the folder, or is not that of a readable regular file with
                content.
        """
        path = self.path(name)
        if self.base is not None:
            path = os.path.join(self.base, path)
        if not self.confined:
            return read_file(path)
        # Before it is opened, which can have effects, as with a device; and as it was opened.
        self._refuse_outside(path)
        return read_file(path, self._top)

    @cached_property
    def _top(self) -> str:
        return os.path.realpath(self.start or ".")

    def _refuse_outside(self, path: str) -> None:
        if "\0" in path or len(path) > _LONGEST_NAME:
            return  # No file has such a name: opening it says so.
        try:
            found = _real_path(path)
        except OSError as error:
            # A link has been exchanged while it was followed.
            raise BadValue(f"cannot be opened ({error.strerror})", REPLACE) from error
        _refuse_unless_under(self._top, found)


def read_file(path: str, top: str | None = None) -> bytes:
    """Return the content of a regular file; never blocks on a pipe or a device.

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
        raise BadValue(f"cannot be opened ({reason})", REPLACE) from error
    try:
        if top is not None:
            _refuse_unless_under(top, _place_of(handle, path))
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise BadValue(
                f"is not a regular file but {_kind(status.st_mode)}",
                "Only regular files are read; leave the row out with data.select.",
            )
        if not status.st_size:
            raise BadValue("is empty (0 bytes)", REPLACE)
        if status.st_size > MAX_FILE_BYTES:
            raise BadValue(
                f"has {status.st_size:,} bytes, where at most {MAX_FILE_BYTES:,} are read", REPLACE
            )
        return _read_all(handle, status.st_size)
    except OSError as error:
        raise BadValue(f"cannot be read ({error.strerror})", REPLACE) from error
    except MemoryError as error:
        raise BadValue(f"does not fit into memory ({status.st_size:,} bytes)", REPLACE) from error
    finally:
        os.close(handle)


def _read_all(handle: int, size: int) -> bytes:
    data = os.read(handle, size)
    if len(data) == size:
        return data
    # One read returns at most 2 GiB on Linux, and less where the file shrank meanwhile.
    pieces = [data]
    while pieces[-1] and sum(map(len, pieces)) < size:
        pieces.append(os.read(handle, size - sum(map(len, pieces))))
    return b"".join(pieces)


def _refuse_unless_under(top: str, path: str) -> None:
    if not path.startswith(os.path.join(top, "")):
        raise BadValue(
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


def _real_path(path: str) -> str:
    """Return a path with its links followed, as `os.path.realpath` at a tenth of its price."""
    folder, name = os.path.split(path)
    if name in ("", os.curdir, os.pardir) or os.path.islink(path):
        return os.path.realpath(path)
    return os.path.join(_real_folder(folder), name)


# Where a folder has become a link to elsewhere since, that shows when the file is open.
@lru_cache(maxsize=4096)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)


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
