"""Fetching: files far away, as a whole or in part, tried again and gone on with where that helps."""

from __future__ import annotations

import asyncio
import atexit
import errno
import os
import random
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from multifeed.errors import BadValue
from multifeed.files import LIST_AGAIN, MAX_FILE_BYTES, REPLACE, stamp_of
from multifeed.remote.stores import Answer, Listed, Passing, Store, close_session, store_of
from multifeed.remote.uri import Request, parts_of

T = TypeVar("T")

# Seconds without a byte after which a request is given up, and tried again.
IDLE_S = 15.0
# Seconds that a file may take, all tries together; and bytes for which there is one more.
TOTAL_S = 60.0
BYTES_A_SECOND = 2**18
# Seconds until the second try; each later one waits up to twice as long as the one before, but not
# longer than this. By chance, so that many that failed together do not come back together.
_FIRST_WAIT_S, _MOST_WAIT_S = 0.1, 5.0
# What a server may ask for at most.
_MOST_AFTER_S = 30.0

# The program's own random numbers are not touched.
_chance = random.Random()


class _Io:
    """The thread of this process that talks to servers; there is one, whatever number of files."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="far-away", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        with suppress(Exception):
            self.loop.run_until_complete(close_session())
        self.loop.close()

    def stop(self) -> None:
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(1.0)


_started: list[_Io] = []
_starting = threading.Lock()


def io() -> asyncio.AbstractEventLoop:
    """Return the loop of this process in which requests run."""
    if not _started or _started[-1].process != os.getpid():
        with _starting:
            if not _started or _started[-1].process != os.getpid():
                _started[:] = [_Io()]
    return _started[-1].loop


@atexit.register
def _stop() -> None:
    if _started and _started[-1].process == os.getpid():
        _started.pop().stop()


def run(act: Coroutine[Any, Any, T]) -> T:
    """Run something in that loop, and wait for it."""
    return _waited_for(asyncio.run_coroutine_threadsafe(act, io()))


def _waited_for(future: Future[T]) -> T:
    try:
        return future.result()
    except BaseException:
        # Ctrl-C: nobody wants it any more.
        future.cancel()
        raise


Admit = Callable[[int], Coroutine[Any, Any, None]]


class Got:
    """What has come of a request so far."""

    def __init__(self, start: int, stop: int | None) -> None:
        self.start, self.stop = start, stop
        self.size: int | None = None
        self.stamp: str | None = None
        self.has_parts = True
        self.bytes = 0
        self._chunks: list[Any] = []
        self._skip = 0

    @property
    def data(self) -> bytes:
        """All bytes."""
        if len(self._chunks) != 1 or not isinstance(self._chunks[0], bytes):
            # Several may ask.
            self._chunks = [b"".join(self._chunks)]
        data: bytes = self._chunks[0]
        return data

    @property
    def version(self) -> str:
        """What `File.stamp` is of it; empty if the server does not tell."""
        return "" if self.stamp is None else stamp_of(f"{self.size} {self.stamp}")

    @property
    def at(self) -> int:
        """The first byte that is lacking."""
        return self.start + self.bytes

    def begin(self, answer: Answer) -> None:
        """Note what an answer says of the file; forget what came of another version of it."""
        if self.bytes and (answer.stamp != self.stamp or answer.start != self.at):
            self.bytes, self._chunks = 0, []
        self.size, self.stamp, self.has_parts = answer.size, answer.stamp, answer.has_parts
        # A server that knows no parts sends all.
        self._skip = self.at - answer.start
        self._refuse_beyond(self.expected or 0)

    @property
    def expected(self) -> int | None:
        """How many bytes there will be; None if that is not known."""
        if self.size is None:
            return None
        return max(0, min(self.size if self.stop is None else self.stop, self.size) - self.start)

    def add(self, chunk: Any) -> bool:
        """Add some bytes; return whether that is all."""
        if self._skip:
            skipped = min(self._skip, len(chunk))
            self._skip -= skipped
            chunk = memoryview(chunk)[skipped:]
        most = self.expected if self.size is not None else self.stop and self.stop - self.start
        if most is not None:
            chunk = memoryview(chunk)[: most - self.bytes] if len(chunk) > most - self.bytes else chunk
        if len(chunk):
            self._chunks.append(chunk)
            self.bytes += len(chunk)
        self._refuse_beyond(self.bytes)
        return most is not None and self.bytes >= most

    @staticmethod
    def _refuse_beyond(count: int) -> None:
        if count > MAX_FILE_BYTES:
            raise BadValue(
                f"has {count:,} bytes or more, where at most {MAX_FILE_BYTES:,} are read", REPLACE
            )


async def fetch(store: Store, request: Request, admit: Admit | None = None) -> Got:
    """Return what is asked for; tried again as long as it may go better.

    Args:
        store: The store of the file.
        request: The file, or a part of it.
        admit: Waits until there is room for so many bytes.

    Raises:
        BadValue: If it cannot be had.
    """
    stop = None if request.count is None else request.start + request.count
    got = Got(request.start, stop)

    async def once(limit: asyncio.Timeout) -> None:
        path = parts_of(request.uri).path
        async with store.get(path, got.at, stop, follows=request.follows) as answer:
            got.begin(answer)
            if admit is not None:
                limit.reschedule(None)
                await admit(got.expected or 0)
            limit.reschedule(_now() + IDLE_S)
            async for chunk in answer.chunks:
                if got.add(chunk):
                    return
                limit.reschedule(_now() + IDLE_S)
                _refuse_slow(got, begun)
        if got.expected not in (None, got.bytes):
            raise Passing("broke off")

    begun = _now()
    await _again(once, lambda: got.bytes)
    if got.size == 0 or not got.bytes:
        raise BadValue("is empty (0 bytes)", REPLACE)
    return got


async def _again(act: Callable[[asyncio.Timeout], Coroutine[Any, Any, T]], bytes_so_far: Any = int) -> T:
    """Do something, and once more after a while if it failed in a way that may pass.

    Args:
        act: What is to be done; told the time limit of this try, which it may move.
        bytes_so_far: Returns how many bytes have come.
    """
    begun, tries = _now(), 0
    while True:
        try:
            async with asyncio.timeout(IDLE_S) as limit:
                return await act(limit)
        except TimeoutError:
            failed = Passing(f"sends nothing for {IDLE_S:g} seconds")
        except Passing as error:
            failed = error
        tries += 1
        longest = min(_MOST_WAIT_S, _FIRST_WAIT_S * 2**tries)
        wait = max(_chance.uniform(longest / 2, longest), min(failed.after_s, _MOST_AFTER_S))
        passed = _now() - begun
        if passed + wait > _allowed_s(bytes_so_far()):
            # No fault of the sample: see `policy`.
            raise BadValue(
                f"{failed.reason} ({tries:,} tries in {passed:.0f} s)", failed.remedy
            ) from OSError(errno.EHOSTUNREACH, failed.reason)
        await asyncio.sleep(wait)


def _allowed_s(count: int) -> float:
    return TOTAL_S + count / BYTES_A_SECOND


def _refuse_slow(got: Got, begun: float) -> None:
    """Raise if a server keeps a file coming for ever, byte by byte."""
    passed = _now() - begun
    if passed > _allowed_s(got.bytes):
        raise BadValue(
            f"comes too slowly ({got.bytes:,} bytes in {passed:.0f} s)",
            "Copy it to a server that is nearer, or to this machine.",
        )


def _now() -> float:
    return asyncio.get_running_loop().time()


def all_of(got: Got, request: Request) -> bytes:
    """Return what has come, which must be all that was asked for.

    Raises:
        BadValue: If the file ended before, or is not what it was when its parts were listed.
    """
    if request.stamp and got.version and request.stamp != got.version:
        raise BadValue("has changed since its parts were listed", LIST_AGAIN)
    if request.count is not None and got.bytes < request.count:
        raise BadValue(
            f"ends after {got.at:,} bytes, where a part of it reaches to {got.start + request.count:,}",
            LIST_AGAIN,
        )
    return got.data


def listed(uri: str) -> list[Listed]:
    """Return all files under a folder far away, at any depth.

    Raises:
        BadValue: If it cannot be listed.
    """
    _, root, path = parts_of(uri)
    return run(_listed(store_of(root), path))


async def _listed(store: Store, path: str) -> list[Listed]:
    async def once(limit: asyncio.Timeout) -> list[Listed]:
        # A million names take a minute.
        limit.reschedule(None)
        return await store.list(path)

    return await _again(once)


def put(uri: str, data: Any) -> None:
    """Write a file far away, whole or not at all.

    Raises:
        BadValue: If it cannot be written.
    """
    _, root, path = parts_of(uri)
    run(_put(store_of(root), path, data))


async def _put(store: Store, path: str, data: Any) -> None:
    async def once(limit: asyncio.Timeout) -> None:
        limit.reschedule(_now() + TOTAL_S + len(data) / BYTES_A_SECOND)
        await store.put(path, data)

    await _again(once, lambda: len(data))
