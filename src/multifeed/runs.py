"""Runs: batches in order from a position on, built here, on threads or in worker processes."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from multifeed.batch import Buffers, cut
from multifeed.buffers import Pool, arenas
from multifeed.meter import Meter
from multifeed.recipe import Making, Recipe, RowsInBlocks, tasks_of
from multifeed.workers.memory import SharedFile, SharedView, address_of
from multifeed.workers.threads import Job, OrderedThreads

if TYPE_CHECKING:
    from multifeed.workers.crew import Crew, Ticket

Batch = tuple[Any, ...]

# Rows gathered at once where batches are small, and the bytes that this may take.
_GATHER_ROWS = 1_024
_GATHER_BYTES = 4 * 2**20
# Tasks that a batch is cut into for each worker at most, and in all. Small ones keep all workers busy to
# a batch's end, and `close`, which lets running tasks end, short; but a task costs about 20 µs.
_PIECES = 8
_MOST_PIECES = 128
# So each shall take this long at least.
_TASK_S = 0.0005
# Batches after which it is looked how long they take by now.
_LOOK_BATCHES = 8
# Batches that a worker process has lately been asked for: their rows and draws are worked out once.
_KNOWN_BATCHES = 8
# What a whole number on the board can hold.
_MOST_NUMBER = 2**62
# Shared memory is handed out in pages, and grows by no more than this at a time.
_PAGE = 4_096
_MOST_GROWTH = 2**28


class ClosedError(Exception):
    """A run was closed while somebody waited for its next batch."""


class Run(ABC):
    """Batches in order from a position on."""

    @property
    @abstractmethod
    def is_usable(self) -> bool:
        """Whether it can still serve: it was not closed, and this is the process that began it."""

    @abstractmethod
    def get(self) -> Batch:
        """Return the next batch.

        Raises:
            ClosedError: If it was closed, or has no more.
        """

    @abstractmethod
    def stop(self) -> None:
        """Let its threads end and its memory go; does not wait."""

    def close(self) -> None:
        """Stop, and wait until its threads have ended."""
        self.stop()


class ColumnRun(Run):
    """Batches of fields that are all in memory: gathered here, many at once where they are small."""

    is_usable = True

    def __init__(self, recipe: Recipe, pool: Pool, meter: Meter, start: int) -> None:
        self._recipe, self._pool, self._meter = recipe, pool, meter
        self._number = start
        self._rows = RowsInBlocks(recipe)
        row_bytes = max(1, recipe.plan.row_bytes)
        rows_at_once = min(_GATHER_ROWS, _GATHER_BYTES // row_bytes)
        self._batches_at_once = max(1, min(rows_at_once // recipe.batch_size, recipe.batches))
        self._ready: deque[Batch] = deque()

    def get(self) -> Batch:
        if not self._ready:
            if not self.is_usable:
                raise ClosedError
            self._gather()
        return self._ready.popleft()

    def stop(self) -> None:
        self.is_usable = False
        self._ready.clear()

    def _gather(self) -> None:
        recipe, size = self._recipe, self._recipe.batch_size
        rows = self._rows(self._number, self._batches_at_once)
        shot = recipe.shot(self._number, self._batches_at_once)
        # Memory for whole batches, even where the last will be smaller: it fits all.
        buffers = self._pool.lease(self._batches_at_once * size)
        is_full = len(rows) == self._batches_at_once * size
        used = buffers if is_full else cut(buffers, len(rows))
        recipe.plan.fill_columns(rows, used, 0, len(rows), self._meter, shot)
        self._number += -(-len(rows) // size)
        if not is_full:
            buffers = recipe.pad(buffers, len(rows))
        if self._batches_at_once == 1:
            self._ready.append(recipe.plan.structure.pack(buffers))
            return
        starts = range(0, len(rows), size)
        views = {
            name: [buffer[start : start + size] for start in starts] for name, buffer in buffers.items()
        }
        self._ready.extend(recipe.plan.structure.pack_many(views))


class ThreadRun(Run):
    """Batches that are built ahead on threads."""

    def __init__(
        self,
        recipe: Recipe,
        pool: Pool,
        meter: Meter,
        numbers: Iterator[int],
        *,
        workers: int,
        pieces: Pieces,
        ahead: int,
    ) -> None:
        self._recipe = recipe
        self._process: int | None = os.getpid()
        jobs = _batch_jobs(recipe, pool, meter, numbers, pieces)
        self._threads = OrderedThreads(jobs, threads=workers, ahead=ahead, name="multifeed")

    @property
    def is_usable(self) -> bool:
        return self._process == os.getpid()

    def get(self) -> Batch:
        try:
            buffers, count = self._threads.get()
        except StopIteration:
            # Of as many batches as are asked for there is no end but this.
            raise ClosedError from None
        return self._recipe.plan.structure.pack(self._recipe.pad(buffers, count))

    def stop(self) -> None:
        self._process = None
        self._threads.stop()

    def close(self) -> None:
        self._process = None
        self._threads.close()


def _batch_jobs(
    recipe: Recipe, pool: Pool, meter: Meter, numbers: Iterator[int], pieces_of: Pieces
) -> Iterator[Job[tuple[Buffers, int]]]:
    """Yield each batch as a job."""
    rows_of = RowsInBlocks(recipe)
    for number in numbers:
        rows = rows_of(number)
        buffers = pool.lease(recipe.batch_size)
        pieces = pieces_of(len(rows))
        making = Making(recipe, number, rows, buffers, pieces)
        count = tasks_of(recipe, len(rows), pieces)
        tasks = [partial(making.do, task, meter) for task in range(count)]
        yield Job((buffers, len(rows)), tasks)
        # This frame must not keep a batch that has been handed over.
        del buffers, making, tasks


class ProcessRun(Run):
    """Batches that worker processes build ahead, in memory that they share."""

    def __init__(
        self,
        recipe: Recipe,
        pool: Pool,
        meter: Meter,
        numbers: Iterator[int],
        *,
        crew: Crew,
        memory: Sequence[SharedFile],
        pieces: Pieces,
        ahead: int,
    ) -> None:
        self._recipe, self._pool, self._meter = recipe, pool, meter
        self._numbers, self._next = numbers, next(numbers, None)
        self._crew, self._memory = crew, memory
        self._pieces, self._ahead = pieces, ahead
        self._process: int | None = os.getpid()
        self._rows = RowsInBlocks(recipe)
        layouts = arenas(recipe.plan.specs, recipe.batch_size)
        self._firsts = [each.places[0][0] for each in layouts]
        self._pending: deque[tuple[Ticket, Buffers, int]] = deque()

    @property
    def is_usable(self) -> bool:
        return self._process == os.getpid()

    def get(self) -> Batch:
        from multifeed.workers import crew

        if not self.is_usable:
            raise ClosedError
        try:
            self._hand_in()
            if not self._pending:
                return self._make_here()
            ticket, buffers, count = self._pending[0]
            self._crew.wait(ticket)
            self._pending.popleft()
            self._hand_in()
        except crew.ClosedError:
            raise ClosedError from None
        return self._recipe.plan.structure.pack(self._recipe.pad(buffers, count))

    def stop(self) -> None:
        self._process = None
        while self._pending:
            self._crew.drop(self._pending.popleft()[0])

    def _hand_in(self) -> None:
        """Hand batches in until as many are under way as may be."""
        while self._next is not None and len(self._pending) < self._ahead:
            number = self._next
            if number > _MOST_NUMBER:
                return
            count = len(self._rows(number))
            buffers = self._pool.lease(self._recipe.batch_size)
            files = zip(self._memory, self._firsts, strict=True)
            places = [file.place_of(address_of(buffers[name])) for file, name in files]
            pieces = self._pieces(count)
            tasks = tasks_of(self._recipe, count, pieces)
            if (
                self._crew.submit([number, pieces, *places], tasks, buffers, self._noter(buffers, count))
                is None
            ):
                return
            self._next = next(self._numbers, None)

    def _noter(self, buffers: Buffers, count: int) -> Callable[[Ticket], None]:
        return lambda ticket: self._pending.append((ticket, buffers, count))

    def _make_here(self) -> Batch:
        """Return the next batch, made in this thread: other runs have all the room there is."""
        number = self._next
        if number is None:
            raise ClosedError
        rows = self._rows(number)
        buffers = self._pool.lease(self._recipe.batch_size)
        making = Making(self._recipe, number, rows, buffers, pieces=1)
        for task in range(tasks_of(self._recipe, len(rows), pieces=1)):
            making.do(task, self._meter)
        self._next = next(self._numbers, None)
        return self._recipe.plan.structure.pack(self._recipe.pad(buffers, len(rows)))


@dataclass(frozen=True)
class BatchProgram:
    """What worker processes do: the tasks of batches.

    Args:
        recipe: The recipe.
    """

    recipe: Recipe

    def open(
        self, memory: Sequence[SharedView], notes: memoryview
    ) -> Callable[[Sequence[int], int], None]:
        """Return the function that does a task; see `workers.worker.Program`."""
        import cv2

        # The process is ours, and its threads are all the cores that it shall use.
        cv2.setNumThreads(1)
        return _Maker(self, memory, Meter(self.recipe.plan.specs, notes))


class _Maker:
    """Does the tasks of batches in a worker process."""

    def __init__(self, program: BatchProgram, memory: Sequence[SharedView], meter: Meter) -> None:
        recipe = program.recipe
        self._recipe = recipe
        self._memory, self._meter = memory, meter
        self._arenas = arenas(recipe.plan.specs, recipe.batch_size)
        self._rows = RowsInBlocks(recipe)
        self._known: dict[tuple[int, ...], Making] = {}
        self._preparing = threading.Lock()

    def __call__(self, payload: Sequence[int], task: int) -> None:
        with self._preparing:
            making = self._known.get(tuple(payload)) or self._prepare(tuple(payload))
        making.do(task, self._meter)

    def _prepare(self, payload: tuple[int, ...]) -> Making:
        number, pieces, *places = payload
        buffers: Buffers = {}
        for arena, file, place in zip(self._arenas, self._memory, places, strict=False):
            buffers |= arena.arrays(file.at(place, arena.size))
        making = Making(self._recipe, number, self._rows(number), buffers, pieces)
        if len(self._known) >= _KNOWN_BATCHES:
            del self._known[next(iter(self._known))]
        self._known[payload] = making
        return making


class Pieces:
    """Into how many tasks of reading batches are cut: many, as long as each is worth its while.

    Args:
        meters: What tells how long rows take; meters may be added.
        workers: How many workers there are in all.
    """

    def __init__(self, meters: Sequence[Meter], workers: int) -> None:
        self.most = min(_PIECES * workers, _MOST_PIECES)
        self._meters = meters
        self._batches, self._row_s = 0, _TASK_S

    def __call__(self, count: int) -> int:
        """Return into how many a batch of `count` rows is cut."""
        if self._batches % _LOOK_BATCHES == 0:
            told = [meter.seconds_per_row() for meter in self._meters]
            rows = sum(each for _, each in told)
            if rows:
                self._row_s = sum(seconds * each for seconds, each in told) / rows
        self._batches += 1
        return max(1, min(self.most, int(count * self._row_s / _TASK_S)))


class Slabs:
    """Pieces of a shared file, which grows by ever larger ones: each growth takes a descriptor.

    Args:
        file: The file.
        first_bytes: By how much it grows first.
    """

    def __init__(self, file: SharedFile, first_bytes: int) -> None:
        self._file, self._bytes = file, first_bytes
        self._slab = np.empty(0, np.uint8)

    def __call__(self, size: int) -> np.ndarray:
        """Return memory, ``uint8[size]``, that begins at a page."""
        size = -(-size // _PAGE) * _PAGE
        if len(self._slab) < size:
            self._slab = self._file.grow(max(size, self._bytes))
            self._bytes = min(self._file.size, _MOST_GROWTH)
        piece, self._slab = self._slab[:size], self._slab[size:]
        return piece
