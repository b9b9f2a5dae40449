"""Files far away for libraries that must not wait: what they lack is fetched between two tries."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from multifeed.errors import BadValue
from multifeed.files import File, refuse_beyond

T = TypeVar("T")

_BLOCK_BYTES = 2**16
# Of what is lacking, twice as many blocks are fetched each time, up to so many: each try begins anew.
_MOST_BLOCKS = 64


class Seen(File):
    """A file far away, of which only what has come can be read.

    HDF5 has one lock for all threads and holds it while it reads. The thread that talks to servers takes
    it as well, whenever Python's garbage collection finds something of HDF5 there: who waits for that
    thread with the lock would wait for ever.

    Args:
        file: The file, which is left open.
    """

    def __init__(self, file: File) -> None:
        super().__init__(file.size, file.stamp)
        self._stream = file.stream()
        self._blocks: dict[int, bytes] = {}
        self._lacking: int | None = None

    def of(self, ask: Callable[[], T]) -> T:
        """Return what a library says that reads this, asked again until nothing is lacking.

        Args:
            ask: Asks it; nothing but its answer counts.

        Raises:
            BadValue: If what is lacking cannot be had.
        """
        blocks = 1
        try:
            while True:
                self._lacking = None
                try:
                    said = ask()
                except Exception:
                    if self._lacking is None:
                        raise
                else:
                    if self._lacking is None:
                        return said
                self._fetch(self._lacking, blocks)
                blocks = min(2 * blocks, _MOST_BLOCKS)
        finally:
            self._blocks.clear()

    def _fetch(self, number: int, blocks: int) -> None:
        self._stream.seek(number * _BLOCK_BYTES)
        data = self._stream.read(blocks * _BLOCK_BYTES)
        for place in range(0, len(data), _BLOCK_BYTES):
            self._blocks[number + place // _BLOCK_BYTES] = data[place : place + _BLOCK_BYTES]

    def read(self, start: int = 0, count: int | None = None) -> bytes:
        count = max(0, self.size - start) if count is None else count
        refuse_beyond(start, count, self.size)
        first, last = start // _BLOCK_BYTES, -(-(start + count) // _BLOCK_BYTES)
        for number in range(first, last):
            if number not in self._blocks:
                self._lacking = number
                raise BadValue("has not come so far", "")
        data = b"".join(self._blocks[number] for number in range(first, last))
        return data[start - first * _BLOCK_BYTES :][:count]

    def close(self) -> None:
        return
