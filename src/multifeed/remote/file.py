"""A file far away of which parts are read: many at once, and what a library seeks in larger pieces."""

from __future__ import annotations

import asyncio
import bisect
import io
import itertools
import threading
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from weakref import WeakValueDictionary

from multifeed.errors import BadValue
from multifeed.files import BUFFER_BYTES, File, Stream, count_read, refuse_beyond
from multifeed.remote import ahead
from multifeed.remote.fetch import Got, all_of, fetch, run
from multifeed.remote.stores import store_of
from multifeed.remote.uri import Request, parts_of

# Parts that are nearer to each other are one request: what lies between comes faster than another one.
_NEAR_BYTES = 2**16
# What is near is joined up to so many bytes, and larger parts come one by one.
_JOINED_BYTES = 2**22
# Requests of one read under way.
_MOST_AT_ONCE = 32
# What libraries read is kept in blocks, up to so many bytes of all files.
_BLOCK_BYTES, _KEPT_BYTES = 2**16, 2**26
# Reading on, twice as many are asked for each time, up to so many; and what is larger is not kept.
_MOST_BYTES = 2**20


class _Known:
    """What is known of a file as long as anybody has it open.

    Args:
        request: The file, or some bytes of one.
    """

    _numbers = itertools.count()

    def __init__(self, request: Request) -> None:
        # Its name among blocks.
        self.number = next(self._numbers)
        self.head, self.stamp = b"", request.stamp
        if request.count is not None:
            self.size = request.count
            return
        # The answer tells the size as well. It may have been asked for ahead, or by another thread.
        claim = ahead.begin([request.head])
        try:
            got = ahead.take(request.head)
        finally:
            # What is raised is kept by the request, and would keep this: nobody would give it up.
            del claim
        if got.size is None or (not got.has_parts and got.size != got.bytes):
            # It does not say how much there is; or each part would be all that comes before it, too.
            got = run(fetch(store_of(parts_of(request.uri).root), request))
        self.head, self.stamp = got.data, got.version
        count_read(len(self.head))
        self.size = got.size if got.has_parts and got.size is not None else got.bytes


# By what was asked for. Threads that read one file, each with a library of its own, share it.
_open: WeakValueDictionary[Request, _Known] = WeakValueDictionary()
# How often each file was found to be another one than it was when it was opened.
_changes: Counter[Request] = Counter()


def changes_of(request: Request) -> int:
    """Return what is another number once a file was found to have changed while it was open."""
    return _changes[request]


def _known_of(request: Request) -> _Known:
    known = _open.get(request)
    if known is None:
        made = _Known(request)
        known = _open.setdefault(request, made)
    return known


class _Kept:
    """Blocks of files that were read lately."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks: OrderedDict[tuple[int, int], bytes] = OrderedDict()

    def get(self, block: tuple[int, int]) -> bytes | None:
        """Return a block of a file, each by its number, if it is kept."""
        with self._lock:
            found = self._blocks.get(block)
            if found is not None:
                self._blocks.move_to_end(block)
            return found

    def put(self, block: tuple[int, int], data: bytes) -> None:
        """Keep a block, in the place of older ones."""
        with self._lock:
            self._blocks[block] = data
            while len(self._blocks) > _KEPT_BYTES // _BLOCK_BYTES:
                self._blocks.popitem(last=False)


_kept = _Kept()


class RemoteFile(File):
    """A file far away, or some bytes of one, open: each part that is read is a request.

    Args:
        request: The file.

    Raises:
        BadValue: If it cannot be read, or is empty.
    """

    def __init__(self, request: Request) -> None:
        self._request, self._store = request, store_of(parts_of(request.uri).root)
        self._known = _known_of(request)
        super().__init__(self._known.size, self._known.stamp)

    def read(self, start: int = 0, count: int | None = None) -> bytes:
        count = max(0, self.size - start) if count is None else count
        return self.read_many([(start, count)])[0]

    def read_many(self, places: Sequence[tuple[int, int]]) -> list[bytes]:
        for start, count in places:
            refuse_beyond(start, count, self.size)
        far = [place for place in places if place[1] and sum(place) > len(self._known.head)]
        runs = _joined(far)
        found = run(self._fetched(runs)) if runs else []
        count_read(sum(map(len, found)))
        begins = [begin for begin, _ in runs]

        def cut(start: int, count: int) -> bytes:
            if not count or start + count <= len(self._known.head):
                return self._known.head[start : start + count]
            # Of the runs that begin no later, it is in the last one: see `_joined`.
            number = bisect.bisect_right(begins, start) - 1
            return found[number][start - begins[number] :][:count]

        return [cut(*place) for place in places]

    async def _fetched(self, places: Sequence[tuple[int, int]]) -> list[bytes]:
        room = asyncio.Semaphore(_MOST_AT_ONCE)

        async def one(start: int, count: int) -> bytes:
            part = replace(self._request, start=self._request.start + start, count=count, stamp="")
            async with room:
                got = await fetch(self._store, part)
            self._refuse_changed(got)
            return all_of(got, part)

        parts = [asyncio.ensure_future(one(start, count)) for start, count in places]
        try:
            return await asyncio.gather(*parts)
        finally:
            # Where one of them cannot be had, nobody wants the others.
            for part in parts:
                part.cancel()

    def _refuse_changed(self, got: Got) -> None:
        # Not every answer of a server tells.
        is_other = bool(self.stamp and got.version) and self.stamp != got.version
        is_longer = self._request.count is None and got.size not in (None, self.size)
        if is_other or is_longer:
            # Whoever opens it from now on has the new one; and whoever has it open opens it again.
            if _open.get(self._request) is self._known:
                _open.pop(self._request, None)
                _changes[self._request] += 1
            raise BadValue("has changed while it was read", "Read it again once it is whole.")
        self.stamp = self.stamp or got.version

    @property
    def is_far(self) -> bool:
        return True

    def stream(self) -> io.BufferedReader:
        return io.BufferedReader(Stream(_Blocks(self, self._known.number)), BUFFER_BYTES)

    def close(self) -> None:
        return


class _Blocks(File):
    """A file of which what was read lately is kept, and what follows is read with it.

    Libraries go to and fro between tables and what these lead to, a few bytes at a time, and read on
    from there.

    Args:
        file: The file, which is left open.
        number: Its name among the blocks that are kept.
    """

    def __init__(self, file: File, number: int) -> None:
        super().__init__(file.size, file.stamp)
        self._file, self._number = file, number
        # The block behind the last ones that were asked for, and how many these were.
        self._next, self._ran = -1, 0

    def read(self, start: int = 0, count: int | None = None) -> bytes:
        count = max(0, self.size - start) if count is None else count
        refuse_beyond(start, count, self.size)
        if count > _MOST_BYTES:
            return self._file.read(start, count)
        first, last = start // _BLOCK_BYTES, -(-(start + count) // _BLOCK_BYTES)
        blocks = {each: _kept.get((self._number, each)) for each in range(first, last)}
        lacking = [each for each, block in blocks.items() if block is None]
        if lacking:
            blocks |= self._fetched(lacking[0], lacking[-1] + 1)
        data = b"".join(blocks[each] or b"" for each in range(first, last))
        return data[start - first * _BLOCK_BYTES :][:count]

    def _fetched(self, begin: int, end: int) -> dict[int, bytes]:
        """Return the blocks from `begin` to `end`, and more where the last ones ended at `begin`."""
        ran = 2 * self._ran if begin == self._next else 0
        self._ran = max(end - begin, min(ran, _MOST_BYTES // _BLOCK_BYTES))
        self._next = begin + self._ran
        start = begin * _BLOCK_BYTES
        data = self._file.read(start, min(self._next * _BLOCK_BYTES, self.size) - start)
        found = {}
        for place in range(0, len(data), _BLOCK_BYTES):
            number = begin + place // _BLOCK_BYTES
            found[number] = data[place : place + _BLOCK_BYTES]
            _kept.put((self._number, number), found[number])
        return found

    def close(self) -> None:
        return


def _joined(places: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return parts of which those that are near each other are one, in order.

    Each is in the last one that begins no later than itself: it was joined to the last one so far, lies
    in that, or is the next.
    """
    joined: list[tuple[int, int]] = []
    for start, count in sorted(places):
        if joined:
            begin, size = joined[-1]
            end = max(begin + size, start + count)
            if start <= begin + size + _NEAR_BYTES and end - begin <= _JOINED_BYTES:
                joined[-1] = begin, end - begin
                continue
            if start + count <= begin + size:
                continue
        joined.append((start, count))
    return joined
