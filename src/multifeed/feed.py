"""Feed: position -> batch. Puts order, plan, buffers and workers together; knows nothing of Keras."""

from __future__ import annotations

import operator
import os
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from copy import copy
from functools import partial
from itertools import count
from time import perf_counter
from typing import Any

import numpy as np

from multifeed.augment.base import Transform
from multifeed.augment.pipeline import Shot
from multifeed.batch import Buffers, Plan, allocate, chunks, cut
from multifeed.buffers import Pool
from multifeed.dataset import Dataset
from multifeed.errors import DeclarationError, lines
from multifeed.fields.shared import at_least, at_least_one
from multifeed.meter import Meter
from multifeed.order import Order, blocked, sequential, shuffled, whole_seed
from multifeed.report import FeedReport
from multifeed.structure import Structure, flat
from multifeed.weights import ClassWeights
from multifeed.workers.cpus import usable_cpus
from multifeed.workers.threads import Job, OrderedThreads

Array = np.ndarray[Any, Any]
Batch = tuple[Any, ...]

# Slots whose rows are computed at once: large enough that a batch of 32 costs 0.6 µs, and 128 KB.
_ORDER_BLOCK = 16_384
# Rows gathered at once where batches are small, and the bytes that this may take.
_GATHER_ROWS = 1_024
_GATHER_BYTES = 4 * 2**20
# Bytes of recycled memory that are kept at least: JAX runs some 35 batches ahead, and what it gives back
# in one go will be asked for again.
_KEEP_BYTES = 2**30
# Bytes of the samples of one block, where blocks are shuffled.
_BLOCK_BYTES = 64 * 2**20
# Tasks that a batch is cut into for each worker. Small ones keep all workers busy to a batch's end,
# and `close`, which lets running tasks end, short; a task costs about 10 µs.
_PIECES = 8
# Runs that are kept at a time: one for the pass under way, one for a pass inside it.
_MAX_RUNS = 2


class Feed:
    """Batches of a dataset by position (epoch, step), and in order with prefetch.

    A batch is a pure function of (seed, epoch, step). Threads and prefetch change when it is computed,
    never what it is.

    Args:
        data: The samples, with what they have learned by now: a later `adapt` changes no feed.
        batch_size: Samples a batch, at least 1.
        shuffle: Serve every epoch in another order, fixed by `seed`: with True, one in which any row may
            come anywhere. ``"block"`` is for data larger than memory: rows are cut, as they stand, into
            blocks of 64 MiB of samples; the blocks come in random order, and the rows of 8 blocks are
            mixed with each other. Files or a cache are then read nearly in sequence; given up is that
            rows further apart meet in a batch, so that rows that are alike and stand together (a table
            sorted by class) come close to each other in every epoch.
        seed: Any integer.
        remainder: ``"keep"`` a smaller last batch, ``"drop"`` it, or ``"pad"`` it to `batch_size` with
            copies of its first row, of sample weight 0 (all targets then have sample weights). A weight
            of 0 still counts in a loss's divisor and in unweighted metrics; `rows` and `keys` leave the
            copies out.
        class_weight: For each target that is a `Category`: the weight of each label (1 for those left
            out), or ``"balanced"``; see `Dataset.weighted`.
        augment: Transforms, in the order in which they apply: each names its fields, which share its
            draw. Their random numbers are a function of seed, pass over the samples, slot and transform
            alone.
        steps_per_epoch: Batches an epoch, where that shall not be one pass over the samples. Epochs then
            follow each other along one continuing stream of passes: what one epoch leaves of a pass,
            the next one serves.
        workers: Threads that read files; by default one for each CPU this process may use. Fields that
            are gathered from memory need none and start none.
        prefetch: Batches that are built ahead; by default as many as keep all workers busy.
        prefetch_bytes: Upper bound of the bytes that are built but not yet delivered; one batch is
            always allowed.

    Raises:
        DeclarationError: If an argument is out of its range, or no batch would be left.
        NotAdaptedError: If a field has to learn first.
        SampleError: If a value in memory cannot be used.

    Example:
        >>> import multifeed as mf
        >>> data = mf.Dataset({"x": [0.0, 1.0, 2.0]}, inputs=mf.Numeric("x"))
        >>> feed = Feed(data, batch_size=2)
        >>> [batch[0].ravel().tolist() for batch in feed]
        [[0.0, 1.0], [2.0]]
        >>> feed.epoch
        1
    """

    def __init__(
        self,
        data: Dataset,
        batch_size: int,
        *,
        shuffle: bool | str = False,
        seed: int = 0,
        remainder: str = "keep",
        class_weight: ClassWeights | None = None,
        augment: Transform | Sequence[Transform] = (),
        steps_per_epoch: int | None = None,
        workers: int | None = None,
        prefetch: int | None = None,
        prefetch_bytes: int = 256 * 2**20,
    ) -> None:
        batch_size = at_least("batch_size", batch_size, 1)
        if not isinstance(shuffle, bool) and shuffle != "block":
            raise DeclarationError(f'shuffle is True, False or "block"; received {shuffle!r}.')
        seed = whole_seed(seed)
        steps_per_epoch = at_least_one("steps_per_epoch", steps_per_epoch)
        workers = at_least_one("workers", workers)
        prefetch = at_least_one("prefetch", prefetch)
        prefetch_bytes = at_least("prefetch_bytes", prefetch_bytes, 1)
        if remainder not in ("keep", "drop", "pad"):
            raise DeclarationError(f'remainder must be "keep", "drop" or "pad"; received {remainder!r}.')
        if remainder == "drop" and len(data) < batch_size:
            raise DeclarationError(
                lines(
                    f"an epoch has at least one batch: {len(data):,} samples are fewer than "
                    f"batch_size={batch_size:,}, and remainder='drop' drops them.",
                    "Pass a smaller batch_size, or remainder='keep'.",
                )
            )
        self.data = data
        self.batch_size = batch_size
        self.seed = seed
        self.workers = workers or usable_cpus()
        pads = remainder == "pad" and len(data) % batch_size > 0
        if class_weight is not None or (pads and data.structure.targets is not None):
            plan = data.weighted(class_weight).plan(augment)
        else:
            plan = data.plan(augment)
        batch_bytes = max(1, plan.row_bytes * batch_size)
        self.prefetch = max(
            1, min(prefetch or _enough(self.workers, batch_size), prefetch_bytes // batch_bytes)
        )
        samples = len(data)
        if remainder == "drop":
            samples -= samples % batch_size
        self._recipe = _Recipe(
            plan=plan,
            pool=Pool(plan.specs, max(_KEEP_BYTES, (self.prefetch + 4) * batch_bytes)),
            order=_order(shuffle, data, plan),
            seed=seed,
            samples=samples,
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch,
            pads=pads,
        )
        self._epoch = 0
        self._runs: dict[tuple[int, int], _Run] = {}
        # Re-entrant: the collector may end an abandoned pass of this feed inside of it.
        self._lock = threading.RLock()
        self._borrowed: set[_Run] = set()
        self._process = os.getpid()
        self._tally = _Tally()

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return self._recipe.steps

    @property
    def structure(self) -> Structure:
        """What stands where in its batches; with weights, if it has them and its data have not."""
        return self._recipe.plan.structure

    @property
    def augments(self) -> bool:
        """Whether its samples are changed at random."""
        return self._recipe.plan.augmentation is not None

    @property
    def epoch(self) -> int:
        """The epoch that the next pass serves. It may be set."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._epoch = at_least("epoch", epoch, 0)

    def __repr__(self) -> str:
        each = f"{len(self):,} batches of {self.batch_size:,} an epoch"
        return f"{type(self).__name__} of {len(self.data):,} samples: {each}, epoch {self.epoch} next"

    def batch(self, epoch: int, step: int) -> Batch:
        """Return one batch, computed here and now; no state changes.

        Args:
            epoch: 0 or more.
            step: 0 … ``len(feed) - 1``.
        """
        rows = self.rows(epoch, step)
        recipe = self._recipe
        buffers = allocate(recipe.padded(len(rows)), recipe.plan.specs)
        recipe.plan.fill(rows, cut(buffers, len(rows)), recipe.shot(recipe.batch_number(epoch, step)))
        return recipe.plan.structure.pack(recipe.pad(buffers, len(rows)))

    def rows(self, epoch: int, step: int) -> Array:
        """Return the row numbers, ``int64[n]`` into ``data.rows``, that make a batch, in its order.

        Copies that pad a batch are not among them.
        """
        epoch, step = self._checked(epoch, step)
        number, place = divmod(self._recipe.batch_number(epoch, step), self._recipe.batches)
        return self._recipe.order(self.seed, number, *self._recipe.slots(place))

    def keys(self, epoch: int, step: int) -> list[Any]:
        """Return the keys of the samples that make a batch, in its order; row numbers if none."""
        return self.data.keys(self.rows(epoch, step))

    def __iter__(self) -> Iterator[Batch]:
        """Serve one epoch; the next pass serves the next one."""
        epoch, served, steps, run = self._epoch, 0, len(self), None
        tally = self._tally.open(self._recipe, epoch)
        try:
            while served < steps:
                if run is None or not run.is_usable:
                    run = self._borrow(epoch, served, wraps=True)
                asked = perf_counter()
                try:
                    ready = [run.get()]
                except _ClosedError:
                    continue
                tally.ended = ended = perf_counter()
                tally.waited_s += ended - asked
                tally.served = served = served + 1
                # Popped, so that this frame does not keep the batch while the next one is built.
                yield ready.pop()
        finally:
            self._tally.close(tally)
            if run is not None:
                self._give_back(run, epoch, served, keep=served == steps)
            if served == steps:
                self.finish(epoch)

    def take(self, epoch: int, step: int, *, wraps: bool = True) -> Batch:
        """Return one batch, and expect that the next ones will be asked for.

        It is the same batch as `batch` returns, only sooner: what follows it is built meanwhile.
        Asked for positions that do not follow each other, it starts anew at each.

        Args:
            epoch: 0 or more.
            step: 0 … ``len(feed) - 1``.
            wraps: Whether the next epoch is expected after this one.
        """
        epoch, step = self._checked(epoch, step)
        while True:
            run = self._borrow(epoch, step, wraps)
            served = False
            asked = perf_counter()
            try:
                batch = run.get()
                served = True
                self._tally.add_one(self._recipe, epoch, step, asked)
                return batch
            except _ClosedError:
                # By another thread, or by a callback. Using the feed again starts it anew.
                continue
            finally:
                self._give_back(run, epoch, step + 1, keep=served and (wraps or step + 1 < len(self)))

    def finish(self, epoch: int) -> None:
        """Note that all of an epoch was served: the next pass serves the next one."""
        if self._epoch == epoch:
            self._epoch = epoch + 1

    def redraw(self, epoch: int, step: int, draw: int, *, count: int | None = None) -> Batch:
        """Return a batch's samples under another draw of augmentation; draw 0 is the batch itself.

        Args:
            epoch: 0 or more.
            step: 0 … ``len(feed) - 1``.
            draw: 0 or more.
            count: How many samples, from the first on; all by default. Padding is left out.
        """
        at_least("draw", draw, 0)
        rows = self.rows(epoch, step)[:count]
        recipe = self._recipe
        buffers = allocate(len(rows), recipe.plan.specs)
        shot = recipe.shot(recipe.batch_number(*self._checked(epoch, step)), draw=draw)
        recipe.plan.fill(rows, buffers, shot)
        return recipe.plan.structure.pack(buffers)

    def draws(self, epoch: int, step: int) -> list[dict[str, Array]]:
        """Return the parameters that each transform of a batch was given, ``[n, ...]`` by name.

        Of a mix, ``"lambda"``, the rows of the partners as ``"partner"``, and the ``"box"`` (top, left,
        bottom, right) in shares of the height and width.
        """
        shot = self._recipe.shot(self._recipe.batch_number(*self._checked(epoch, step)))
        return [] if shot is None else [dict(each) for each in shot.draws]

    def report(self) -> FeedReport:
        """Return how fast this feed has been so far, who waited, and what took the time."""
        recipe = self._recipe
        batches, samples, waited_s, worked_s = self._tally.read()
        return FeedReport(
            batches=batches,
            samples=samples,
            waited_s=waited_s,
            worked_s=worked_s,
            workers=self.workers if recipe.plan.reads_samples else 0,
            processors=usable_cpus(),
            fields=recipe.meter.read(),
        )

    def close(self) -> None:
        """Stop the threads and drop what was built ahead. Using the feed again starts it anew."""
        with self._lock:
            runs = [*self._runs.values(), *self._borrowed]
            self._runs.clear()
            self._borrowed.clear()
        for run in runs:
            run.close()

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _checked(self, epoch: int, step: int) -> tuple[int, int]:
        """Return a position as Python's own integers, or say that there is none such."""
        epoch, place = at_least("epoch", epoch, 0), operator.index(step)
        if not 0 <= place < len(self):
            raise IndexError(f"step {place} of an epoch of {len(self):,} steps")
        return epoch, place

    def _borrow(self, epoch: int, step: int, wraps: bool) -> _Run:
        """Return the run that stands at a position, which nobody else uses until it is given back."""
        if self._process != os.getpid():
            self._after_fork()
        surplus = None
        with self._lock:
            run = self._runs.pop((epoch, step), None)
            if run is None and len(self._runs) >= _MAX_RUNS:
                # The first is the one that was used least recently, since `_give_back` appends.
                # If it is asked for again, it starts anew.
                surplus = self._runs.pop(next(iter(self._runs)))
        if surplus is not None:
            surplus.stop()
        # Outside of the lock: what it allocates may wake the collector, and that any finaliser.
        run = run or self._start(epoch, step, wraps)
        self._borrowed.add(run)
        return run

    def _give_back(self, run: _Run, epoch: int, step: int, *, keep: bool) -> None:
        """Keep a run that stands at a position for whoever asks next, or close it."""
        position = (epoch, step) if step < len(self) else (epoch + 1, 0)
        with self._lock:
            # One that `close` has ended meanwhile is no longer among the borrowed.
            keep = keep and run in self._borrowed
            self._borrowed.discard(run)
            surplus = self._runs.pop(position, None) if keep else run
            if keep:
                self._runs[position] = run
        if surplus is not None:
            surplus.stop()

    def _start(self, epoch: int, step: int, wraps: bool) -> _Run:
        start = self._recipe.batch_number(epoch, step)
        if self._recipe.plan.reads_samples:
            numbers = count(start) if wraps else iter(range(start, start + len(self) - step))
            return _ThreadRun(self._recipe, numbers, self.workers, self.prefetch)
        return _ColumnRun(self._recipe, start)

    def _after_fork(self) -> None:
        """Forget the parent's runs: a forked child has their locks, but none of their threads."""
        self._lock = threading.RLock()
        self._runs, self._borrowed = {}, set()
        self._process = os.getpid()


class _Recipe:
    """All that makes batches of positions; shared by the runs, and free of the feed itself."""

    def __init__(
        self,
        *,
        plan: Plan,
        pool: Pool,
        order: Order,
        seed: int,
        samples: int,
        batch_size: int,
        steps_per_epoch: int | None,
        pads: bool,
    ) -> None:
        self.plan = plan
        self.pool = pool
        self.order = order
        self.meter = Meter()
        self.seed = seed
        self.samples = samples
        self.batch_size = batch_size
        # Batches in one pass over the samples, and in an epoch.
        self.batches = -(-samples // batch_size)
        self.steps = steps_per_epoch or self.batches
        self._pads = pads
        weights = plan.structure.weights
        self._weights = () if weights is None else flat(weights)

    def batch_number(self, epoch: int, step: int) -> int:
        """Return the number of a batch in the stream of all passes."""
        return epoch * self.steps + step

    def samples_in(self, number: int, count: int) -> int:
        """Return how many samples `count` batches from number `number` on have."""
        passes, place = divmod(number, self.batches)
        last_pass, last_place = divmod(number + count, self.batches)
        return (last_pass - passes) * self.samples + (last_place - place) * self.batch_size

    def slots(self, place: int, count: int = 1) -> tuple[int, int]:
        """Return the slots (start, stop) of some consecutive batches of a pass."""
        start = place * self.batch_size
        return start, min(start + count * self.batch_size, self.samples)

    def shot(self, number: int, count: int = 1, *, draw: int = 0) -> Shot | None:
        """Return the draws of some consecutive batches of a pass, if anything is drawn."""
        if self.plan.augmentation is None:
            return None
        passes, place = divmod(number, self.batches)
        return self.plan.augmentation.shoot(self.seed, passes, *self.slots(place, count), draw=draw)

    def padded(self, count: int) -> int:
        """Return how many rows the batches of `count` samples have."""
        return count + (-count % self.batch_size if self._pads else 0)

    def pad(self, buffers: Buffers, count: int) -> Buffers:
        """Return the rows of `count` samples, and after them those that fill the last batch up."""
        stop = self.padded(count)
        if stop > count:
            first = stop - self.batch_size
            for buffer in buffers.values():
                buffer[count:stop] = buffer[first]
            for name in self._weights:
                buffers[name][count:stop] = 0.0
        return cut(buffers, stop)

    def lease(self, batches: int = 1) -> Buffers:
        """Return memory for whole batches, even where the last will be smaller: it fits all."""
        return self.pool.lease(batches * self.batch_size)


class _Tally:
    """Counts what was handed over, and who waited for how long."""

    def __init__(self) -> None:
        self.batches = self.samples = 0
        self.waited_s = self.worked_s = 0.0
        # The batch that would go on with the pass of the last one, and when that was handed over.
        self._next, self._ended = -1, 0.0
        self._open: list[_Passing] = []

    def open(self, recipe: _Recipe, epoch: int) -> _Passing:
        """Return where a pass by hand counts, until it is closed."""
        passing = _Passing(recipe, epoch)
        self._open.append(passing)
        return passing

    def close(self, passing: _Passing) -> None:
        """Add what a pass has counted."""
        self._open.remove(passing)
        recipe, waited_s = passing.recipe, passing.waited_s
        worked_s = passing.ended - passing.began - waited_s
        self.add(recipe, passing.epoch, 0, passing.served, waited_s, worked_s)

    def read(self) -> tuple[int, int, float, float]:
        """Return batches, samples, and seconds waited and worked, those of open passes included."""
        whole = copy(self)
        whole._open = list(self._open)
        for passing in list(whole._open):
            whole.close(passing)
        return whole.batches, whole.samples, whole.waited_s, whole.worked_s

    def add(
        self, recipe: _Recipe, epoch: int, step: int, count: int, waited_s: float, worked_s: float
    ) -> None:
        """Add `count` batches from a position on."""
        self.batches += count
        self.samples += recipe.samples_in(recipe.batch_number(epoch, step), count)
        self.waited_s += waited_s
        self.worked_s += worked_s

    def add_one(self, recipe: _Recipe, epoch: int, step: int, asked: float) -> None:
        """Add a batch that has been handed over just now, and was asked for at a time."""
        now = perf_counter()
        number = recipe.batch_number(epoch, step)
        # Between two epochs there is validation, say: not this consumer's work.
        worked_s = asked - self._ended if step and number == self._next else 0.0
        self._next, self._ended = number + 1, now
        self.add(recipe, epoch, step, 1, now - asked, worked_s)


class _Passing:
    """What one pass by hand has counted so far."""

    __slots__ = ("began", "ended", "epoch", "recipe", "served", "waited_s")

    def __init__(self, recipe: _Recipe, epoch: int) -> None:
        self.recipe, self.epoch, self.served, self.waited_s = recipe, epoch, 0, 0.0
        self.began = self.ended = perf_counter()


class _Rows:
    """The rows of slots, computed in blocks; for one run, not for several threads at once."""

    def __init__(self, recipe: _Recipe) -> None:
        self._recipe = recipe
        self._pass = self._start = -1
        self._block = np.empty(0, np.int64)

    def __call__(self, number: int, start: int, stop: int) -> Array:
        offset = start - self._start
        if number != self._pass or offset < 0 or stop > self._start + len(self._block):
            recipe = self._recipe
            end = min(max(stop, start + _ORDER_BLOCK), recipe.samples)
            self._block = recipe.order(recipe.seed, number, start, end)
            self._pass, self._start, offset = number, start, 0
        return self._block[offset : offset + stop - start]


class _ClosedError(Exception):
    """A run was closed while somebody waited for its next batch."""


class _Run(ABC):
    """Batches in order from a position on."""

    @property
    @abstractmethod
    def is_usable(self) -> bool:
        """Whether it can still serve: it was not closed, and this is the process that began it."""

    @abstractmethod
    def get(self) -> Batch:
        """Return the next batch."""

    @abstractmethod
    def stop(self) -> None:
        """Let its threads end and its memory go; does not wait."""

    def close(self) -> None:
        """Stop, and wait until its threads have ended."""
        self.stop()


class _ColumnRun(_Run):
    """Batches of fields that are all in memory: gathered here, many at once where they are small."""

    is_usable = True

    def __init__(self, recipe: _Recipe, start: int) -> None:
        self._recipe = recipe
        self._number = start
        self._rows = _Rows(recipe)
        row_bytes = max(1, recipe.plan.row_bytes)
        rows_at_once = min(_GATHER_ROWS, _GATHER_BYTES // row_bytes)
        self._batches_at_once = max(1, min(rows_at_once // recipe.batch_size, recipe.batches))
        self._ready: deque[Batch] = deque()

    def get(self) -> Batch:
        if not self._ready:
            if not self.is_usable:
                raise _ClosedError
            self._gather()
        return self._ready.popleft()

    def stop(self) -> None:
        self.is_usable = False
        self._ready.clear()

    def _gather(self) -> None:
        recipe = self._recipe
        number, place = divmod(self._number, recipe.batches)
        rows = self._rows(number, *recipe.slots(place, self._batches_at_once))
        shot = recipe.shot(self._number, self._batches_at_once)
        buffers = recipe.lease(self._batches_at_once)
        size = recipe.batch_size
        is_full = len(rows) == self._batches_at_once * size
        used = buffers if is_full else cut(buffers, len(rows))
        recipe.plan.fill_columns(rows, used, recipe.meter, shot)
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


class _ThreadRun(_Run):
    """Batches with fields that are read a sample at a time: built ahead on threads."""

    def __init__(self, recipe: _Recipe, numbers: Iterator[int], workers: int, ahead: int) -> None:
        self._recipe = recipe
        self._process: int | None = os.getpid()
        jobs = _batch_jobs(recipe, numbers, pieces=_PIECES * workers)
        self._threads = OrderedThreads(jobs, threads=workers, ahead=ahead, name="multifeed")

    @property
    def is_usable(self) -> bool:
        return self._process == os.getpid()

    def get(self) -> Batch:
        try:
            buffers, count = self._threads.get()
        except StopIteration:
            # Of as many batches as are asked for there is no end but this.
            raise _ClosedError from None
        return self._recipe.plan.structure.pack(self._recipe.pad(buffers, count))

    def stop(self) -> None:
        self._process = None
        self._threads.stop()

    def close(self) -> None:
        self._process = None
        self._threads.close()


def _batch_jobs(
    recipe: _Recipe, numbers: Iterator[int], pieces: int
) -> Iterator[Job[tuple[Buffers, int]]]:
    """Yield each batch as a job: one task for the columns, and one for each chunk of samples."""
    rows_of = _Rows(recipe)
    plan = recipe.plan
    for each in numbers:
        number, place = divmod(each, recipe.batches)
        rows = rows_of(number, *recipe.slots(place))
        buffers = recipe.lease()
        used = cut(buffers, len(rows))
        shot = recipe.shot(each)
        tasks = [partial(plan.fill_columns, rows, used, recipe.meter, shot)]
        tasks += [
            partial(plan.fill_samples, rows, used, start, stop, recipe.meter, shot)
            for start, stop in chunks(len(rows), pieces)
        ]
        yield Job((buffers, len(rows)), tasks)
        # This frame must not keep a batch that has been handed over.
        del buffers, used, tasks


def _order(shuffle: bool | str, data: Dataset, plan: Plan) -> Order:
    if shuffle == "block":
        # Of the fields alone: neither a cache nor weights may make another order.
        row_bytes = sum(plan.specs[name].nbytes for name in data.fields)
        return blocked(len(data), max(1, _BLOCK_BYTES // max(1, row_bytes)))
    return shuffled(len(data)) if shuffle else sequential(len(data))


def _enough(workers: int, batch_size: int) -> int:
    """Return how many batches keep all workers busy while the first is waited for."""
    return max(4, -(-4 * workers // batch_size))
