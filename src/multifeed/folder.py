"""Folders: where file names start, whether they must stay there, and what they are names of."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

from multifeed.errors import BadValue
from multifeed.files import REPLACE, File, Part, count_read, leads_out, open_file, refuse_unless_under
from multifeed.remote.uri import Request, is_under, is_uri, joined, localized, parts_of, shown

# No system opens a longer name, and to follow one folder by folder takes a time that is its square.
_LONGEST_NAME = 32_767 if os.name == "nt" else 4_096

# How a part of a file is written: shards/00.tar::cat.jpg@1536+93211~0a1b2c3d
_PART = re.compile(
    r"(?s)(?P<file>.+)::(?P<member>.*)@(?P<start>\d{1,18})\+(?P<size>\d{1,18})(~(?P<stamp>[0-9a-f]{8}))?"
)


class PartName(NamedTuple):
    """The name of a part of a file: some of its consecutive bytes, such as a member of an archive.

    As text it is ``file::member@start+size~stamp``, so that a column of names can hold it.

    Args:
        file: The name of the file.
        member: What the part is called in it, of which its suffix counts alone; as text without colons.
        start: Its first byte.
        size: Its bytes.
        stamp: The `File.stamp` of the file when this was written; empty if that is not known.
    """

    file: str
    member: str
    start: int
    size: int
    stamp: str = ""

    def __str__(self) -> str:
        """Return it as text."""
        # A member called `a::b` would end the name of the file too late.
        member = self.member.replace(":", "_")
        stamp = f"~{self.stamp}" if self.stamp else ""
        return f"{self.file}::{member}@{self.start}+{self.size}{stamp}"


def part_of(name: str) -> PartName | None:
    """Return what a name says of a part of a file; None if it is the name of a file."""
    found = _PART.fullmatch(name) if "::" in name else None
    if found is None:
        return None
    start, size = int(found["start"]), int(found["size"])
    return PartName(found["file"], found["member"], start, size, found["stamp"] or "")


def file_of(name: str) -> str:
    """Return the file that a name is of, or is of a part of."""
    part = part_of(name)
    return name if part is None else part.file


def split_member(name: str) -> tuple[str, str]:
    """Return the file of a name such as ``file.npz::member``, and the member, empty if there is none."""
    if part_of(name) is not None:
        return name, ""
    file, separator, member = name.rpartition("::")
    return (file, member) if separator else (name, "")


def suffix_of(name: str) -> str:
    """Return the suffix of a file's name, or of what a part of one is called, such as ``".npy"``."""
    part = part_of(name)
    return os.path.splitext((name if part is None else part.member).rstrip("/"))[1].lower()


@dataclass(frozen=True)
class Folder:
    """Where file names start.

    Args:
        start: Folder, or URI, that relative names start from; None for the working directory.
        confined: Whether names must stay under it, symbolic links followed.
        base: Where `start`, and names without one, start from; None for the working directory.
    """

    start: str | None
    confined: bool
    base: str | None = None

    def path(self, name: str) -> str:
        """Return the path of a file name, as messages have it; of a URI without what may be secret."""
        far = self._far(name)
        if far is not None:
            return shown(far)
        name = localized(name)
        return name if self.start is None else os.path.join(self.start, name)

    @cached_property
    def is_far(self) -> bool:
        """Whether relative names are of files far away."""
        return self.start is not None and is_uri(self.start)

    def _far(self, name: str) -> str | None:
        """Return the URI of a name; None if it is that of a file of this machine."""
        if "://" in name and is_uri(name):
            return None if name[:7].lower() == "file://" else name
        if self.start is None or not self.is_far or os.path.isabs(name):
            return None
        return joined(self.start, name)

    def request(self, name: str) -> Request | None:
        """Return what storage far away is asked for by a name; None for a file of this machine.

        Raises:
            BadValue: If the name leads out of the folder.
        """
        part = part_of(name)
        uri = self._far(name if part is None else part.file)
        if uri is None:
            return None
        self._refuse_outside_of_uri(uri)
        follows = not self.confined
        if part is None:
            return Request(uri, follows=follows)
        return Request(uri, part.start, part.size, follows, part.stamp)

    def _refuse_outside_of_uri(self, uri: str) -> None:
        if self.confined and not (self.is_far and is_under(self.start or "", uri)):
            raise leads_out(shown(self.start or "") if self.is_far else self._top)

    def open(self, name: str) -> File:
        """Open a file, or a part of one; the caller closes it.

        Raises:
            BadValue: If the name leads out of the folder, or is not that of a readable regular file with
                content.
        """
        request = self.request(name)
        if request is None:
            return self._open(name)
        from multifeed.remote.file import RemoteFile

        return RemoteFile(request)

    def read(self, name: str) -> bytes:
        """Return the content of a file, or of a part of one.

        Raises:
            BadValue: As `open`.
        """
        request = self.request(name)
        if request is None:
            with self.open(name) as file:
                return file.read()
        from multifeed.remote import ahead

        data = ahead.read(request)
        count_read(len(data))
        return data

    def names(self, name: str) -> list[str]:
        """Return the sorted names of the files in a folder, as they are to be given to `open`.

        Raises:
            BadValue: If the name leads out of the folder, or is not that of a readable folder.
        """
        uri = self._far(name)
        if uri is not None:
            from multifeed.remote.fetch import listed

            self._refuse_outside_of_uri(uri)
            top = len(parts_of(uri.rstrip("/") + "/").path)
            paths = sorted(each.path[top:] for each in listed(uri))
            return [f"{name.rstrip('/')}/{path}" for path in paths if "/" not in path]
        path = self._local(name)
        try:
            with os.scandir(path) as entries:
                found = sorted(entry.name for entry in entries if not entry.is_dir())
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise BadValue(f"cannot be listed ({reason})", REPLACE) from error
        return [os.path.join(name, each) for each in found]

    def stamp(self, name: str) -> tuple[int, ...] | None:
        """Return what tells whether a file is still the same one; None if it is not there.

        Of a file far away nothing is asked: one that is open tells if it has changed when it is read.

        Raises:
            BadValue: If the name leads out of the folder.
        """
        request = self.request(name)
        if request is not None:
            from multifeed.remote.file import changes_of

            return (changes_of(request),)
        try:
            status = os.stat(self._local(file_of(name)))
        except (OSError, ValueError):
            return None
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns

    def _open(self, name: str) -> File:
        part = part_of(name)
        if part is None:
            return self._open_whole(name)
        whole = self._open_whole(part.file)
        try:
            return Part(whole, part.start, part.size, part.stamp)
        except BaseException:
            whole.close()
            raise

    def _open_whole(self, name: str) -> File:
        # A name that leads out is refused before it is opened, which can have effects, as with a device;
        # and as it was opened.
        return open_file(self._local(name), self._top if self.confined else None)

    def _local(self, name: str) -> str:
        """Return the path of a file or folder of this machine.

        Raises:
            BadValue: If it leads out of the folder.
        """
        path = localized(name)
        if self.start is not None:
            path = os.path.join(self.start, path)
        if self.base is not None:
            path = os.path.join(self.base, path)
        if self.confined:
            self._refuse_outside(path)
        return path

    @cached_property
    def _top(self) -> str:
        return os.path.realpath(self.start or ".")

    def _refuse_outside(self, path: str) -> None:
        if self.is_far:
            raise leads_out(shown(self.start or ""))
        if "\0" in path or len(path) > _LONGEST_NAME:
            return  # No file has such a name: opening it says so.
        try:
            found = _real_path(path)
        except OSError as error:
            # A link has been exchanged while it was followed.
            raise BadValue(f"cannot be opened ({error.strerror})", REPLACE) from error
        refuse_unless_under(self._top, found)


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
