"""Runs: batches in order from a position on, built here, on threads or in worker processes."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from multifeed.account import Account, Ledger
from multifeed.batch import Buffers, allocate, cut
from multifeed.buffers import Pool, arenas
from multifeed.errors import SampleError, WorkerError, lines
from multifeed.meter import Meter
from multifeed.policy import BadSlots, BadSlotsError
from multifeed.receipt import receipt
from multifeed.recipe import REQUESTS, Ahead, Making, Recipe, RowsInBlocks, tasks_of
from multifeed.spot import NO_ROW, Spot
from multifeed.workers.memory import SharedFile, SharedView, address_of
from multifeed.workers.threads import LOOK_S, Job, OrderedThreads

if TYPE_CHECKING:
    from multifeed.remote.ahead import Claim
    from multifeed.workers.crew import Crew, Ticket
    from multifeed.workers.worker import Do

Batch = tuple[Any, ...]
Spare = Callable[[int], Buffers]

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
# Batches, the next one included, that a worker process may ask storage far away for.
_LOOK_AHEAD = 16
# What a whole number on the board can hold.
_MOST_NUMBER = 2**62
# Shared memory is handed out in pages, and grows by no more than this at a time.
_PAGE = 4_096
_MOST_GROWTH = 2**28


_log = logging.getLogger("multifeed")


class ClosedError(Exception):
    """A run was closed while somebody waited for its next batch."""


class Run(ABC):
    """Batches in order from a position on.

    Args:
        recipe: What makes them.
        account: Where is noted what becomes of their samples.
    """

    def __init__(self, recipe: Recipe, account: Account) -> None:
        self._recipe, self._account = recipe, account
        self._ledger = Ledger(recipe, account)
        self._spares = Spares(recipe)

    @property
    @abstractmethod
    def is_usable(self) -> bool:
        """Whether it can still serve: it was not closed, and this is the process that began it."""

    @abstractmethod
    def get(self) -> Batch:
        """Return the next batch.

        Raises:
            ClosedError: If it was closed, or has no more.
            BadSamplesError: If more samples cannot be used than may be.
        """

    @abstractmethod
    def stop(self) -> None:
        """Let its threads end and its memory go; does not wait."""

    def close(self) -> None:
        """Stop, and wait until its threads have ended."""
        self.stop()

    def _handed_over(self, made: Made) -> Batch:
        """Return a batch as it is handed over, having noted what has become of its samples."""
        self._ledger.add(made.number, 1, made.rows, made.receipts)
        return made.packed(self._recipe, self._spare, self._account)

    def _spare(self, number: int) -> Buffers:
        """Return what a batch holds of which no sample can be used."""
        return self._spares.after(number, self._made_apart)

    def _made_apart(self, number: int) -> Made:
        """Return a batch out of order, in memory of its own."""
        return make_fresh(self._recipe, number)


class Made:
    """A batch that has been written, or is being.

    Args:
        number: Its number.
        rows: Its rows, ``int64[n]``.
        buffers: Where it is written: memory of whole batches, even where it is smaller.
    """

    def __init__(self, number: int, rows: np.ndarray, buffers: Buffers) -> None:
        self.number, self.rows, self.buffers = number, rows, buffers
        self.receipts = 0
        # By task, the slots whose samples it could not use.
        self.bad: dict[int, BadSlots] = {}
        # What each thread that is about it is at, by task: the two numbers of a `Spot`, and the thread.
        self.places: dict[int, tuple[list[int], int]] = {}
        self._adding = threading.Lock()

    def do(
        self, making: Making, task: int, meter: Meter, fatal: Mapping[int, str] | None = None
    ) -> None:
        """Do a task of it, without the rows that are `fatal`, as a `Spot` has them."""
        place = [NO_ROW, 0]
        self.places[task] = place, threading.get_ident()
        try:
            done, bad = making.do(task, meter, Spot(place, fatal))
        finally:
            del self.places[task]
        with self._adding:
            self.receipts += done
            if bad:
                self.bad[task] = bad

    def packed(self, recipe: Recipe, spare: Spare, account: Account | None = None) -> Batch:
        """Return it in the structure of a batch, with its bad samples left out or masked.

        Args:
            recipe: The recipe.
            spare: Returns one row by the number of a batch: what that holds if no sample is left.
            account: Where these are noted, if anywhere.

        Raises:
            BadSamplesError: If they are more than may be.
        """
        count = self.mend(recipe, spare, account)
        padded = recipe.padded(count)
        if account is not None and padded > count:
            account.count(padded=padded - count)
        return recipe.packed(self.number, recipe.pad(self.buffers, count))

    def left_out(self, recipe: Recipe) -> BadSlots:
        """Return the slots whose samples cannot be used."""
        bad: BadSlots = {}
        # Of two tasks that cannot use a sample the first is believed, whichever was quicker.
        for task in sorted(self.bad, reverse=True):
            bad |= self.bad[task]
        return bad | recipe.policy.known_in(self.rows)

    def mend(self, recipe: Recipe, spare: Spare, account: Account | None = None) -> int:
        """Leave its bad samples out, or mask them; return how many samples it then has."""
        count, policy = len(self.rows), recipe.policy
        if not self.bad and not policy.known:
            return count
        bad = self.left_out(recipe)
        if not bad:
            return count
        if account is not None:
            account.note_batch(self.number, bad)
        left = recipe.mend(self.buffers, count, bad, partial(spare, self.number))
        if account is not None:
            is_masked = policy.on_error == "mask"
            # Where nothing was left, there is one copy.
            extra = left - (count - len(bad)) if not is_masked else 0
            account.count(**{"masked" if is_masked else "dropped": len(bad)}, padded=extra)
        return left


def make(
    recipe: Recipe,
    number: int,
    rows: np.ndarray,
    buffers: Buffers,
    meter: Meter,
    *,
    draw: int = 0,
    fatal: Mapping[int, str] | None = None,
) -> Made:
    """Return a batch that is made here and now.

    Args:
        recipe: The recipe.
        number: Its number.
        rows: Its rows, or the first of them.
        buffers: Where it is written.
        meter: Where what it costs is added.
        draw: Which draw of augmentation: 0 for that of the batch.
        fatal: By row that has ended worker processes, how the last one did: such are not read.
    """
    made = Made(number, rows, buffers)
    claim = recipe.begin(number, rows)
    making = Making(recipe, number, rows, buffers, pieces=1, draw=draw, claim=claim)
    for task in range(tasks_of(recipe, len(rows), pieces=1)):
        made.do(making, task, meter, fatal)
    return made


def make_fresh(
    recipe: Recipe,
    number: int,
    *,
    count: int | None = None,
    draw: int = 0,
    fatal: Mapping[int, str] | None = None,
) -> Made:
    """Return a batch, or the first `count` slots of it, made here and now in memory of its own."""
    rows = recipe.rows(number)[:count]
    buffers = allocate(recipe.padded(len(rows)), recipe.plan.specs)
    return make(recipe, number, rows, buffers, Meter(recipe.plan.read), draw=draw, fatal=fatal)


class Spares:
    """Finds what a batch holds of which no sample can be used: the next one of the pass that can.

    That depends on the position alone, not on what has been found bad before: a sample may be so under
    one draw and not under another one.

    Args:
        recipe: The recipe.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        # Of which pass, from which batch on, up to which one all are known to be without a sample.
        self._pass, self._first, self._stop = -1, 0, 0

    def after(self, number: int, make: Callable[[int], Made]) -> Buffers:
        """Return one row, of the first sample after a batch that can be used.

        Args:
            number: The number of the batch.
            make: Returns a batch of any number.

        Raises:
            SampleError: If there is none.
        """
        recipe = self._recipe
        passes, place = divmod(number, recipe.batches)
        if passes != self._pass or not self._first <= place < self._stop:
            self._pass, self._first, self._stop = passes, place, place + 1
        while self._stop < place + recipe.batches:
            # After the last one of the pass comes its first.
            made = make(passes * recipe.batches + self._stop % recipe.batches)
            good = np.setdiff1d(np.arange(len(made.rows)), list(made.left_out(recipe)))
            if len(good):
                return {name: buffer[good[:1]] for name, buffer in made.buffers.items()}
            self._stop += 1
        raise SampleError("no sample of this dataset can be used; loader.report().bad says why.")


class ColumnRun(Run):
    """Batches of fields that are all in memory: gathered here, many at once where they are small."""

    is_usable = True

    def __init__(
        self, recipe: Recipe, pool: Pool, meter: Meter, start: int, *, account: Account
    ) -> None:
        super().__init__(recipe, account)
        self._pool, self._meter = pool, meter
        self._number = start
        self._rows = RowsInBlocks(recipe)
        row_bytes = max(1, recipe.plan.row_bytes)
        rows_at_once = min(_GATHER_ROWS, _GATHER_BYTES // row_bytes)
        at_once = max(1, min(rows_at_once // recipe.batch_size, recipe.batches))
        # Where batches are cut, each has a length of its own.
        self._batches_at_once = 1 if recipe.slots.cuts else at_once
        # A number stands for the batch that is to be cut out of the block: samples cannot be used.
        self._ready: deque[Batch | int] = deque()
        self._block: _Block | None = None

    def get(self) -> Batch:
        if not self._ready:
            if not self.is_usable:
                raise ClosedError
            self._gather()
        try:
            ready = self._ready.popleft()
        except IndexError:
            # Another thread has closed it meanwhile.
            raise ClosedError from None
        batch = self._cut_out(ready) if isinstance(ready, int) else ready
        if not self._ready and self.is_usable:
            self._count()
        return batch

    def stop(self) -> None:
        self.is_usable = False
        self._ready.clear()

    def _gather(self) -> None:
        recipe, size = self._recipe, self._recipe.batch_size
        first = self._number
        rows = self._rows(first, self._batches_at_once)
        shot = recipe.shot(first, self._batches_at_once)
        # Memory for whole batches, even where the last will be smaller: it fits all.
        buffers = self._pool.lease(self._batches_at_once * size)
        is_full = len(rows) == self._batches_at_once * size
        used = buffers if is_full else cut(buffers, len(rows))
        fill = partial(recipe.plan.fill_columns, rows, used, meter=self._meter, shot=shot)
        bad = recipe.policy.fill(fill, rows, 0, len(rows))
        count = -(-len(rows) // size)
        self._number += count
        if bad or recipe.policy.known:
            self._block = _Block(first, count, rows, buffers, bad)
            self._ready.extend(range(count))
            return
        self._block = _Block(first, count, rows)
        if not is_full:
            buffers = recipe.pad(buffers, len(rows))
        if self._batches_at_once == 1:
            self._ready.append(recipe.packed(first, buffers))
            return
        starts = range(0, len(rows), size)
        views = {
            name: [buffer[start : start + size] for start in starts] for name, buffer in buffers.items()
        }
        self._ready.extend(recipe.plan.structure.pack_many(views))

    def _cut_out(self, place: int) -> Batch:
        """Return one of the batches that were gathered together."""
        block, size = cast(_Block, self._block), self._recipe.batch_size
        start, stop = place * size, (place + 1) * size
        here = {name: buffer[start:stop] for name, buffer in block.buffers.items()}
        made = Made(block.first + place, block.rows[start:stop], here)
        made.bad[0] = {slot - start: each for slot, each in block.bad.items() if start <= slot < stop}
        return made.packed(self._recipe, self._spare, self._account)

    def _count(self) -> None:
        """Count the batches that were gathered together, which have been handed over by now."""
        block, self._block = cast(_Block, self._block), None
        self._ledger.add(block.first, block.count, block.rows, receipt(block.rows))
        if not block.buffers:
            padded = self._recipe.padded(len(block.rows)) - len(block.rows)
            self._account.count(padded=padded)


@dataclass(frozen=True)
class _Block:
    """Batches that were gathered together.

    Args:
        first: The number of the first.
        count: How many.
        rows: ``int64[n]``, their rows.
        buffers: Where they have been written, if they are yet to be cut out of it.
        bad: The slots whose samples cannot be used.
    """

    first: int
    count: int
    rows: np.ndarray
    buffers: Buffers = field(default_factory=dict)
    bad: BadSlots = field(default_factory=dict)


class ThreadRun(Run):
    """Batches that are built ahead on threads."""

    def __init__(
        self,
        recipe: Recipe,
        pool: Pool,
        meter: Meter,
        numbers: Iterator[int],
        *,
        account: Account,
        workers: int,
        pieces: Pieces,
        ahead: int,
        timeout_s: float | None,
    ) -> None:
        super().__init__(recipe, account)
        self._process: int | None = os.getpid()
        self._timeout_s = timeout_s
        self._watch = None if timeout_s is None else _Watch(recipe, timeout_s)
        self._coming = Ahead(recipe, numbers)
        jobs = _batch_jobs(recipe, pool, meter, self._coming, pieces)
        self._threads = OrderedThreads(jobs, threads=workers, ahead=ahead, name="multifeed")

    @property
    def is_usable(self) -> bool:
        return self._process == os.getpid()

    def get(self) -> Batch:
        try:
            made = self._threads.get() if self._watch is None else self._threads.get(self._watch.look)
        except StopIteration:
            # Of as many batches as are asked for there is no end but this.
            raise ClosedError from None
        return self._handed_over(made)

    def stop(self) -> None:
        self._process = None
        self._coming.stop()
        self._threads.stop()

    def close(self) -> None:
        self._process = None
        self._coming.stop()
        # A thread that is stuck would be waited for in vain, and so it may be though nobody has looked.
        is_stuck = self._watch is not None and self._watch.has_found
        self._threads.close(0.0 if is_stuck else self._timeout_s)


def _batch_jobs(
    recipe: Recipe, pool: Pool, meter: Meter, coming: Ahead, pieces_of: Pieces
) -> Iterator[Job[Made]]:
    """Yield each batch as a job."""
    for number, rows, claim in coming:
        buffers = pool.lease(recipe.batch_size)
        pieces = pieces_of(len(rows))
        made = Made(number, rows, buffers)
        making = Making(recipe, number, rows, buffers, pieces, claim=claim)
        count = tasks_of(recipe, len(rows), pieces)
        tasks = [partial(made.do, making, task, meter) for task in range(count)]
        yield Job(made, tasks)
        # This frame must not keep a batch that has been handed over.
        del buffers, made, making, tasks, claim


class _Watch:
    """Looks whether the threads that make a batch get anywhere, while it is waited for.

    Args:
        recipe: The recipe.
        timeout_s: Seconds without a change that are too long.
    """

    def __init__(self, recipe: Recipe, timeout_s: float) -> None:
        self._plan, self._timeout_s = recipe.plan, timeout_s
        self.has_found = False
        self._number, self._looked = -1, 0.0
        # By task, where it was last seen, and for how long it has been there.
        self._seen: dict[int, tuple[list[int], float]] = {}

    def look(self, made: Made) -> None:
        """Raise an error if a thread has been at one row for too long."""
        now = time.monotonic()
        if made.number != self._number:
            self._number, self._seen, self._looked = made.number, {}, now
        # If this process was stopped meanwhile, so were its threads.
        passed_s = min(now - self._looked, 2 * LOOK_S)
        self._looked = now
        seen = {}
        for task, (place, thread) in made.places.copy().items():
            before, still_s = self._seen.get(task, (None, 0.0))
            still_s = still_s + passed_s if before == place else 0.0
            seen[task] = list(place), still_s
            if still_s >= self._timeout_s:
                self.has_found = True
                raise self._stuck(place[0], place[1], thread)
        self._seen = seen

    def _stuck(self, row: int, field: int, thread: int) -> WorkerError:
        what = "gathering a batch" if row == NO_ROW else self._plan.tell(row, field)
        frame = sys._current_frames().get(thread)
        stack = traceback.extract_stack(frame) if frame is not None else []
        _log.error(
            "%s has taken longer than timeout_s=%g. The thread is at:\n%s",
            what,
            self._timeout_s,
            "".join(traceback.format_list(stack)),
        )
        where = (
            f"It is at {stack[-1].filename}:{stack[-1].lineno}, in {stack[-1].name}." if stack else ""
        )
        return WorkerError(
            lines(
                f"{what} has taken longer than timeout_s={self._timeout_s:g}.",
                where,
                "A thread cannot be ended: pass processes=1, and a worker that is stuck is replaced; or "
                "a larger timeout_s, or None to wait for ever.",
            )
        )


class ProcessRun(Run):
    """Batches that worker processes build ahead, in memory that they share."""

    def __init__(
        self,
        recipe: Recipe,
        pool: Pool,
        meter: Meter,
        numbers: Iterator[int],
        *,
        account: Account,
        crew: Crew,
        memory: Sequence[SharedFile],
        pieces: Pieces,
        ahead: int,
    ) -> None:
        super().__init__(recipe, account)
        self._pool, self._meter = pool, meter
        # Those that are handed in next: a worker is told how many it may look ahead to.
        self._numbers, self._coming = numbers, deque(islice(numbers, _LOOK_AHEAD))
        self._crew, self._memory = crew, memory
        self._pieces, self._ahead = pieces, ahead
        self._process: int | None = os.getpid()
        self._rows = RowsInBlocks(recipe)
        layouts = arenas(recipe.plan.specs, recipe.batch_size)
        self._firsts = [each.places[0][0] for each in layouts]
        self._pending: deque[tuple[Ticket, Made]] = deque()

    @property
    def is_usable(self) -> bool:
        return self._process == os.getpid()

    def get(self) -> Batch:
        from multifeed.workers import crew

        if not self.is_usable:
            raise ClosedError
        try:
            self._hand_in()
            # If another thread stops this run meanwhile, this one is to know what it waits for.
            pending = self._pending
            if not pending:
                return self._make_here()
            made = self._waited_for(*pending[0])
            pending.popleft()
            self._hand_in()
            return self._handed_over(made)
        except crew.ClosedError:
            # By another run, whose workers kept dying.
            self.stop()
            raise ClosedError from None

    def stop(self) -> None:
        self._process = None
        pending, self._pending = self._pending, deque()
        for ticket, _ in list(pending):
            self._crew.drop(ticket)

    def _hand_in(self) -> None:
        """Hand batches in until as many are under way as may be."""
        while self._coming and self.is_usable and len(self._pending) < self._ahead:
            number = self._coming[0]
            if number > _MOST_NUMBER:
                return
            if not self._submit(number, self._rows(number)):
                return
            self._step()

    def _step(self) -> None:
        """Go on to the next batch that is to be handed in."""
        self._coming.popleft()
        self._coming.extend(islice(self._numbers, 1))

    def _submit(self, number: int, rows: np.ndarray) -> bool:
        """Hand a batch in, as the last one that is pending; return False if there is no room for it."""
        buffers = self._pool.lease(self._recipe.batch_size)
        files = zip(self._memory, self._firsts, strict=True)
        places = [file.place_of(address_of(buffers[name])) for file, name in files]
        pieces = self._pieces(len(rows))
        tasks = tasks_of(self._recipe, len(rows), pieces)
        made = Made(number, rows, buffers)
        note = partial(self._note, made)
        # Of several processes none knows what the others ask for.
        is_next = self._crew.processes == 1 and self._coming and self._coming[0] == number
        last = self._coming[-1] if is_next else number - (self._crew.processes > 1)
        return self._crew.submit([number, pieces, last, *places], tasks, buffers, note) is not None

    def _note(self, made: Made, ticket: Ticket) -> None:
        self._pending.append((ticket, made))

    def _waited_for(self, ticket: Ticket, made: Made) -> Made:
        """Return a batch that was handed in, once it has been made."""
        made.receipts, errors = self._crew.wait(ticket)
        # Of a job that was dropped, workers pass over what they have not begun.
        if not self.is_usable:
            raise ClosedError
        for task, error in errors.items():
            if not isinstance(error, BadSlotsError):
                raise error
            made.receipts += error.receipt
            made.bad[task] = error.bad
        return made

    def _made_apart(self, number: int) -> Made:
        # By the workers: a sample may end or hold up whoever reads it.
        rows = self._recipe.rows(number)
        if not self._submit(number, rows):
            return make_fresh(self._recipe, number, fatal=self._crew.fatal())
        pending = self._pending
        made = self._waited_for(*pending[-1])
        pending.pop()
        return made

    def _make_here(self) -> Batch:
        """Return the next batch, made in this thread: other runs have all the room there is."""
        if not self._coming or not self.is_usable:
            raise ClosedError
        number = self._coming[0]
        buffers = self._pool.lease(self._recipe.batch_size)
        rows, fatal = self._rows(number), self._crew.fatal()
        made = make(self._recipe, number, rows, buffers, self._meter, fatal=fatal)
        self._step()
        return self._handed_over(made)


@dataclass(frozen=True)
class BatchProgram:
    """What worker processes do: the tasks of batches.

    Args:
        recipe: The recipe.
    """

    recipe: Recipe

    def open(self, memory: Sequence[SharedView], notes: memoryview) -> Do:
        """Return the function that does a task; see `workers.worker.Program`."""
        import cv2

        # The process is ours, and its threads are all the cores that it shall use.
        cv2.setNumThreads(1)
        return _Maker(self, memory, Meter(self.recipe.plan.read, notes))


class _Maker:
    """Does the tasks of batches in a worker process."""

    def __init__(self, program: BatchProgram, memory: Sequence[SharedView], meter: Meter) -> None:
        recipe = program.recipe
        self._recipe = recipe
        self._memory, self._meter = memory, meter
        self._arenas = arenas(recipe.plan.specs, recipe.batch_size)
        self._rows = RowsInBlocks(recipe)
        self._known: dict[tuple[int, ...], Making] = {}
        # What storage far away has been asked for batches that have yet to come.
        self._claims: dict[int, Claim | None] = {}
        self._preparing = threading.Lock()

    def __call__(
        self, payload: Sequence[int], task: int, about: memoryview, aside: Mapping[int, str]
    ) -> int:
        with self._preparing:
            making = self._known.get(tuple(payload)) or self._prepare(tuple(payload))
        number, _, last, *_ = payload
        # Other processes do other tasks of this batch.
        claim = self._recipe.begin(number, making.rows_of(task)) if last < number else None
        done, bad = making.do(task, self._meter, Spot(about, aside))
        del claim
        if bad:
            raise BadSlotsError(bad, done)
        return done

    def _prepare(self, payload: tuple[int, ...]) -> Making:
        number, pieces, last, *places = payload
        buffers: Buffers = {}
        for arena, file, place in zip(self._arenas, self._memory, places, strict=False):
            buffers |= arena.arrays(file.at(place, arena.size))
        claim = self._claim(number, last)
        making = Making(self._recipe, number, self._rows(number), buffers, pieces, claim=claim)
        if len(self._known) >= _KNOWN_BATCHES:
            del self._known[next(iter(self._known))]
        self._known[payload] = making
        return making

    def _claim(self, number: int, last: int) -> Claim | None:
        """Ask storage far away for a batch, and for some of those up to the `last` one."""
        claims = {each: claim for each, claim in self._claims.items() if number <= each <= last}
        for each in range(number, last + 1):
            if not self._recipe.are_of_one_pass(number, each):
                break
            if each not in claims:
                claims[each] = self._recipe.begin(each, self._rows(each))
            if claims[each] is None or sum(len(claim or ()) for claim in claims.values()) > REQUESTS:
                break
        self._claims = claims
        return claims.pop(number, None)


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
