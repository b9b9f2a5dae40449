"""Ahead: files far away that are asked for before they are read, so that nobody waits for one alone."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Iterable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from queue import Empty, SimpleQueue

from multifeed.remote.fetch import Got, all_of, fetch, io, run
from multifeed.remote.stores import MOST_REQUESTS, store_of
from multifeed.remote.uri import Request, parts_of

# Bytes that are there, or on their way, and that nobody has read yet.
MOST_BYTES = 2**28
# Seconds between two looks at whether there is room.
_LOOK_S = 0.05


class _Entry:
    """One request that is made ahead.

    Args:
        request: The request.
    """

    __slots__ = ("bytes", "claims", "future", "is_wanted", "request", "taken", "task", "wanted")

    def __init__(self, request: Request) -> None:
        self.request = request
        # How many claims there are on it, and how many of those have taken what came.
        self.claims = self.taken = 0
        self.begin_anew()

    def begin_anew(self) -> None:
        """Be as if it had not been asked for yet."""
        self.future: Future[Got] = Future()
        self.task: asyncio.Task[None] | None = None
        self.bytes = 0
        # Somebody waits for it: room or not. The event belongs to the loop.
        self.is_wanted, self.wanted = False, asyncio.Event()


class Claim:
    """Requests that were begun for somebody; what nobody else wants is given up when this is dropped.

    Args:
        ahead: What makes them.
        entries: The requests.
    """

    def __init__(self, ahead: Ahead, entries: list[_Entry]) -> None:
        self._ahead, self._entries = ahead, entries

    def __len__(self) -> int:
        return len(self._entries)

    def __del__(self) -> None:
        self._ahead.give_up(self._entries)


class Ahead:
    """Requests under way in this process, some of them at a time, and what they have brought.

    What has come is held until each claim on it has taken it, or was dropped; if there is no room, it is
    asked for again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[Request, _Entry] = {}
        self._waiting: deque[_Entry] = deque()
        self._running = 0
        self._held = 0
        # A claim may be dropped anywhere, even by whoever holds the lock.
        self._dropped: SimpleQueue[list[_Entry]] = SimpleQueue()
        self._loop = io()

    def begin(self, requests: Iterable[Request]) -> Claim:
        """Begin requests, in their order, as there is room for them."""
        entries: list[_Entry] = []
        with self._lock:
            for request in requests:
                entry = self._entries.get(request)
                if entry is None:
                    entry = self._entries[request] = _Entry(request)
                    self._waiting.append(entry)
                entry.claims += 1
                entries.append(entry)
        self._loop.call_soon_threadsafe(self._start)
        return Claim(self, entries)

    def take(self, request: Request) -> Got | None:
        """Return what a request has brought, waiting for it; None if it was not begun.

        Raises:
            BadValue: If it cannot be had.
        """
        with self._lock:
            entry = self._entries.get(request)
            if entry is None:
                return None
            entry.taken += 1
            future, wanted = entry.future, entry.wanted
        if not future.done() and not entry.is_wanted:
            entry.is_wanted = True
            self._loop.call_soon_threadsafe(self._hurry, entry, wanted)
        try:
            return future.result()
        except CancelledError:
            return None
        finally:
            with self._lock:
                if entry.taken >= entry.claims:
                    self._forget(entry)
                elif self._held > MOST_BYTES and entry.future is future:
                    self._postpone(entry)

    def give_up(self, entries: list[_Entry]) -> None:
        """Take claims back; takes no lock."""
        self._dropped.put(entries)
        # At the end of the interpreter there may be no loop.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._sweep)

    def _sweep(self) -> None:
        with suppress(Empty):
            while True:
                entries = self._dropped.get_nowait()
                with self._lock:
                    for entry in entries:
                        entry.claims -= 1
                        entry.taken = max(0, entry.taken - 1)
                        if not entry.claims:
                            self._forget(entry)
        self._start()

    def _forget(self, entry: _Entry) -> None:
        """Let an entry go, and stop it if it is under way; the lock is held."""
        if self._entries.get(entry.request) is not entry:
            return
        del self._entries[entry.request]
        if entry.future.done() or entry.task is None:
            self._held -= entry.bytes
            entry.bytes = 0
        else:
            self._loop.call_soon_threadsafe(entry.task.cancel)
        self._loop.call_soon_threadsafe(self._start)

    def _postpone(self, entry: _Entry) -> None:
        """Let what has come go, to be asked for again for those who have yet to take it."""
        self._held -= entry.bytes
        entry.begin_anew()
        self._waiting.append(entry)

    def _start(self) -> None:
        """Begin as many requests as there is room for; in the loop."""
        with self._lock:
            while self._waiting and self._running < MOST_REQUESTS and self._held < MOST_BYTES:
                self._run(self._waiting.popleft())

    def _hurry(self, entry: _Entry, wanted: asyncio.Event) -> None:
        """Begin a request that somebody waits for, room or not; in the loop."""
        wanted.set()
        with self._lock:
            self._run(entry)

    def _run(self, entry: _Entry) -> None:
        # It may have been given up since, or begun by whoever could not wait.
        if self._entries.get(entry.request) is entry and entry.task is None:
            self._running += 1
            entry.task = self._loop.create_task(self._fetch(entry))

    async def _fetch(self, entry: _Entry) -> None:
        future = entry.future

        async def admit(count: int) -> None:
            """Wait until there is room, unless somebody waits for this very file."""
            while self._held and self._held + count > MOST_BYTES and not entry.is_wanted:
                with suppress(TimeoutError):
                    await asyncio.wait_for(entry.wanted.wait(), _LOOK_S)
            self._hold(entry, count)

        try:
            request = entry.request
            got = await fetch(store_of(parts_of(request.uri).root), request, admit)
            self._hold(entry, got.bytes)
            self._running -= 1
            future.set_result(got)
        except asyncio.CancelledError:
            self._running -= 1
            self._hold(entry, 0)
            future.cancel()
        except BaseException as error:
            self._running -= 1
            self._hold(entry, 0)
            future.set_exception(error)
        with self._lock:
            if self._entries.get(entry.request) is not entry and entry.future is future:
                self._held -= entry.bytes
                entry.bytes = 0
        self._start()

    def _hold(self, entry: _Entry, count: int) -> None:
        with self._lock:
            self._held += count - entry.bytes
            entry.bytes = count


_ahead: list[tuple[int, Ahead]] = []
_making = threading.Lock()


def _of_this_process() -> Ahead:
    if not _ahead or _ahead[0][0] != os.getpid():
        with _making:
            if not _ahead or _ahead[0][0] != os.getpid():
                _ahead[:] = [(os.getpid(), Ahead())]
    return _ahead[0][1]


def begin(requests: Iterable[Request]) -> Claim | None:
    """Begin requests, each of which `read` then waits for; None if there are none.

    They are given up when what is returned is dropped.
    """
    wanted = list(requests)
    if not wanted:
        return None
    for root in {parts_of(request.uri).root for request in wanted}:
        # If a package is lacking, that is to be said here, and not by the loop.
        store_of(root)
    return _of_this_process().begin(wanted)


def read(request: Request) -> bytes:
    """Return what a request brings, which may have been begun.

    Raises:
        BadValue: If it cannot be had.
    """
    return all_of(take(request), request)


def take(request: Request) -> Got:
    """Return what has come of a request, which may have been begun: less, where the file ends before.

    Raises:
        BadValue: If it cannot be had.
    """
    got = _of_this_process().take(request)
    if got is None:
        got = run(fetch(store_of(parts_of(request.uri).root), request))
    return got
