"""Shards in a bucket: what there is is listed, and what is read is copied here, up to some bytes."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from multifeed.errors import BadValue
from multifeed.files import whole_file
from multifeed.remote.uri import Request, joined, parts_of, shown

# Of a shard, so many bytes are asked for at once.
_AT_ONCE = 2**26
COPYING = ".copying-"


@dataclass(frozen=True)
class Bucket:
    """Where the shards of a cache lie far away, and where copies of them lie here.

    Args:
        uri: The folder far away.
        copies: The folder here; several processes may share it.
        most_bytes: What the copies may take together.
    """

    uri: str
    copies: Path
    most_bytes: int

    def names(self) -> dict[str, int]:
        """Return the bytes of each file there, by its name.

        Raises:
            OSError: If they cannot be listed.
        """
        from multifeed.remote.fetch import listed

        try:
            top = len(parts_of(self.uri).path.rstrip("/")) + 1
            return {each.path[top:]: each.size for each in listed(self.uri)}
        except BadValue as error:
            raise OSError(f"{shown(self.uri)} {error.reason}. {error.remedy}") from error

    def send(self, name: str) -> None:
        """Copy a file to there, from its place here.

        Its name has a checksum of its bytes: whoever sends it once more changes nothing.

        Raises:
            OSError: If it cannot be written.
        """
        from multifeed.remote.fetch import put

        try:
            put(joined(self.uri, name), (self.copies / name).read_bytes())
        except BadValue as error:
            raise OSError(f"{shown(self.uri)} {error.reason}. {error.remedy}") from error
        self.make_room(0)

    def copy(self, name: str) -> Path:
        """Return a file's copy here, made now if there is none.

        Raises:
            OSError: If it cannot be read, or there is no room for it here.
        """
        from multifeed.remote.file import RemoteFile

        path = self.copies / name
        with suppress(OSError):
            # Those that nobody has opened for the longest time go first.
            os.utime(path)
            return path
        self.copies.mkdir(parents=True, exist_ok=True)
        temporary = self.copies / f"{COPYING}{secrets.token_hex(8)}"
        try:
            with RemoteFile(Request(joined(self.uri, name))) as file:
                self.make_room(file.size)
                with whole_file(path, temporary) as into:
                    for start in range(0, file.size, _AT_ONCE):
                        into.write(file.read(start, min(_AT_ONCE, file.size - start)))
        except BadValue as error:
            raise OSError(f"{shown(self.uri)}/{name} {error.reason}. {error.remedy}") from error
        return path

    def make_room(self, size: int) -> None:
        """Remove copies until there is room for so many bytes more."""
        found = []
        with os.scandir(self.copies) as entries:
            for entry in entries:
                # Another process may have removed it meanwhile.
                with suppress(OSError):
                    status = entry.stat()
                    found.append((status.st_mtime_ns, status.st_size, entry.path))
        total = sum(each for _, each, _ in found)
        for _, freed, path in sorted(found):
            if total + size <= self.most_bytes:
                return
            # Whoever has mapped it goes on reading it; Windows refuses.
            with suppress(OSError):
                Path(path).unlink()
                total -= freed
