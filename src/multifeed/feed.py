"""Feed: position -> batch. Puts order, plan, buffers and workers together; knows nothing of Keras."""

from __future__ import annotations

import operator
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass
from functools import partial
from itertools import count
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from multifeed.account import Account
from multifeed.augment.base import Transform
from multifeed.balance import Balance, balanced, in_proportion
from multifeed.batch import Plan, cut
from multifeed.buckets import BucketBy, Buckets, bucketed
from multifeed.buffers import Pool, arenas
from multifeed.dataset import Dataset
from multifeed.errors import BadSamplesError, DeclarationError, lines
from multifeed.fields.shared import at_least, at_least_one, is_number, one_of
from multifeed.meter import Meter, Spent
from multifeed.order import Order, blocked, sequential, shuffled, whole_seed
from multifeed.policy import ON_ERROR, BadSample, Policy
from multifeed.recipe import Recipe
from multifeed.report import FeedReport
from multifeed.runs import (
    Batch,
    BatchProgram,
    ClosedError,
    ColumnRun,
    Made,
    Pieces,
    ProcessRun,
    Run,
    Slabs,
    Spare,
    Spares,
    ThreadRun,
    make_fresh,
)
from multifeed.slots import Slots
from multifeed.spec import Spec
from multifeed.state import Identity, declared
from multifeed.structure import Structure
from multifeed.tuples import Tuples
from multifeed.weights import ClassWeights
from multifeed.workers.cpus import threads_for, usable_cpus
from multifeed.workers.memory import Packed, SharedFile, packed

if TYPE_CHECKING:
    from multifeed.workers import crew as crews
    from multifeed.workers.crew import Crew

Array = np.ndarray[Any, Any]

# Bytes of recycled memory that are kept at least: JAX runs some 35 batches ahead, and what it gives back
# in one go will be asked for again.
_KEEP_BYTES = 2**30
# Of these, what a feed that is closed leaves for the next one of its samples: the validation that comes
# after each epoch, or the next fold, need not wait for fresh pages.
_LEAVE_BYTES = 2**28
# Batches that memory is reserved for at first; there is more where more are wanted.
_MOST_AHEAD = 16
# What shared memory is kept for later: all of it, since it is given back as a whole.
_KEEP_ALL = 2**62
# Bytes of a batch from which on gathering it from memory is worth a thread.
_WORTH_A_THREAD = 2**20
# Samples, read one by one, from which on an epoch is long beside the start of a process; and bytes
# of arrays in memory of which a copy does no harm.
_WORTH_A_PROCESS = 10_000
_WORTH_A_COPY = 2**28
# Bytes of the samples of one block, where blocks are shuffled.
_BLOCK_BYTES = 64 * 2**20
# Runs that are kept at a time: one for the pass under way, one for a pass inside it.
_MAX_RUNS = 2


class Feed:
    """Batches of a dataset by position (epoch, step), and in order with prefetch.

    A batch is a pure function of (seed, epoch, step). Threads and prefetch change when it is computed,
    never what it is.

    Args:
        data: The samples, with what they have learned by now: a later `adapt` changes no feed. A
            `Dataset`, or `Pairs` or `Triplets` of its rows.
        batch_size: Samples a batch, at least 1.
        shuffle: Serve every epoch in another order, fixed by `seed`: with True, one in which any row may
            come anywhere. ``"block"`` is for data larger than memory: rows are cut, as they stand, into
            blocks of 64 MiB of samples; the blocks come in random order, and the rows of 8 blocks are
            mixed with each other. Files or a cache are then read nearly in sequence; given up is that
            rows further apart meet in a batch, so that rows that are alike and stand together (a table
            sorted by class) come close to each other in every epoch.
        seed: Any integer.
        balance: A column whose values shall come equally often, or a dict of one column with the share
            of each of its values: ``{"kind": {"a": 3, "b": 1}}``. An epoch has as many samples as ever;
            those of rare classes come several times in it, those of frequent ones in one of several
            epochs. Each comes as often as its share says, rounded down or up, in every epoch, and over
            the epochs takes its turn. The report tells how often. It takes ``shuffle=True``.
        sampling: A column of weights: each sample comes in proportion to its own, in the same way.
        bucket_by: A padded field: samples of similar length share their batches, which are cut to the
            boundary of their bucket. Of several fields, named in a list and all cut, the longest counts.
            Lengths are read once, here; or a dict names a column that has them: ``{"notes": "n_words"}``
            (the name of the column alone does where one field pads). Each sample comes once an epoch;
            each bucket may have a smaller last batch.
        buckets: How long the samples of each bucket are at most, from short to long; or how many buckets
            there are, of as many samples each (4 by default).
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
        on_error: What becomes of a sample that cannot be used, since a file is missing or broken, a
            value in memory is none, or a function raises. ``"raise"`` ends the run with an error that
            names it. ``"drop"`` leaves it out of its batch, which is then smaller (never empty: if no
            sample is left, there is one copy of the next one that can be used, of weight 0 if there
            are weights). ``"mask"`` keeps shapes: its place holds a copy of another sample of the
            batch, of sample weight 0, and the other weights are multiplied by batch ÷ good, so that the
            loss is that of the good samples (all targets then have sample weights; metrics take them
            into account if they are compiled as ``weighted_metrics``).
        max_bad: The share of the dataset's samples, 0 to 1, that may be dropped or masked; one more, and
            the run ends with `BadSamplesError`, which lists them.
        workers: Threads that read files; by default one for each CPU this process may use, and 32
            where parts of files far away are read. Fields that are gathered from memory need none and
            start none.
        processes: Worker processes, of `workers` threads each; 0 for threads in this process, which
            cannot run functions of yours in Python at the same time. None for what serves `fit` best:
            one process for 10,000 samples or more that are read one by one, if all can be handed over.
        prefetch: Batches that are built ahead; by default as many as keep all workers busy.
        prefetch_bytes: Upper bound of the bytes that are built but not yet delivered; one batch is
            always allowed.
        timeout_s: Seconds that one row may take to read, while its batch is waited for. A worker process
            that takes longer is killed and replaced, and its work is done again; the second time that
            happens with the same row, that cannot be used. A thread cannot be ended: that is a
            `WorkerError`. The log says where it was. None to wait for ever.

    Raises:
        DeclarationError: If an argument is out of its range, or no batch would be left.
        NotAdaptedError: If a field has to learn first.
        SampleError: If a value in memory cannot be used.
        BadSamplesError: If that are more than `max_bad` allows.

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
        data: Dataset | Tuples,
        batch_size: int,
        *,
        shuffle: bool | str = False,
        seed: int = 0,
        balance: Balance | None = None,
        sampling: str | None = None,
        bucket_by: BucketBy | None = None,
        buckets: int | Sequence[int] | None = None,
        remainder: str = "keep",
        class_weight: ClassWeights | None = None,
        augment: Transform | Sequence[Transform] = (),
        steps_per_epoch: int | None = None,
        on_error: str = "raise",
        max_bad: float = 0.01,
        workers: int | None = None,
        processes: int | None = 0,
        prefetch: int | None = None,
        prefetch_bytes: int = 256 * 2**20,
        timeout_s: float | None = 300.0,
    ) -> None:
        batch_size = at_least("batch_size", batch_size, 1)
        if not isinstance(shuffle, bool) and shuffle != "block":
            raise DeclarationError(f'shuffle is True, False or "block"; received {shuffle!r}.')
        seed = whole_seed(seed)
        steps_per_epoch = at_least_one("steps_per_epoch", steps_per_epoch)
        workers = at_least_one("workers", workers)
        processes = None if processes is None else at_least("processes", processes, 0)
        prefetch = at_least_one("prefetch", prefetch)
        prefetch_bytes = at_least("prefetch_bytes", prefetch_bytes, 1)
        one_of("remainder", remainder, ("keep", "drop", "pad"))
        one_of("on_error", on_error, ON_ERROR)
        if not is_number(max_bad) or not 0 <= max_bad <= 1:
            raise DeclarationError(f"max_bad is a share of the samples, 0 to 1; received {max_bad!r}.")
        if timeout_s is not None and not (is_number(timeout_s) and timeout_s > 0):
            raise DeclarationError(f"timeout_s is a number of seconds, or None; received {timeout_s!r}.")
        # Whose rows they are made of.
        self._dataset = data.data if isinstance(data, Tuples) else data
        self._account = Account(len(self._dataset), max_bad)
        policy = Policy(on_error, {} if on_error == "raise" else self._refused())
        asked = _Asked(shuffle, balance, sampling, bucket_by, buckets)
        slots = _slots(data, asked, batch_size, policy, drops=remainder == "drop")
        if not slots.served:
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
        # One that samples are dropped from is smaller, too.
        is_uneven = slots.samples % batch_size > 0 or not slots.is_dense
        pads = remainder == "pad" and (is_uneven or on_error == "drop")

        def recipe() -> Recipe:
            good = data.replaced(policy.known) if policy.known else data
            has_targets = data.structure.targets is not None
            is_weighted = class_weight is not None or ((pads or on_error == "mask") and has_targets)
            if is_weighted:
                among = np.setdiff1d(np.arange(len(self._dataset)), list(policy.known))
                good = good.weighted(class_weight, among=among)
            plan = good.plan(augment)
            if isinstance(plan, Plan) and slots.cuts:
                _check_cuts(plan, slots.cuts)
                plan = plan.limited(slots.most)
            return Recipe(plan, policy, slots, seed, batch_size, steps_per_epoch, pads)

        self._shared: _Shared | None = None
        if processes is None:
            self._recipe = recipe()
            if _is_worth_a_process(self._recipe):
                # What cannot be handed over stays with threads.
                with suppress(DeclarationError):
                    self._shared = _Shared(self._dataset, recipe)
        elif processes:
            self._shared = _Shared(self._dataset, recipe)
        else:
            self._recipe = recipe()
        self.processes = 0 if self._shared is None else processes or 1
        if self._shared is not None:
            self._recipe = self._shared.recipe
        # Of each process, where there are any.
        threads = threads_for(waits=self._recipe.plan.waits)
        self.workers = workers or max(1, threads // max(1, self.processes))
        workers_in_all = self.workers * max(1, self.processes)
        specs = self._recipe.plan.specs
        batch_bytes = max(1, self._recipe.plan.row_bytes * batch_size)
        self.prefetch = max(
            1, min(prefetch or _enough(workers_in_all, batch_size), prefetch_bytes // batch_bytes)
        )
        if self._shared is not None:
            # Made when it is needed, and given back by `close`: some hosts keep loaders for ever.
            self._pool: Pool | None = None
        else:
            keep_bytes = max(_KEEP_BYTES, (self.prefetch + 4) * batch_bytes)
            self._pool = Pool(specs, keep_bytes, self._dataset.family.free)
        # Whether large fields that lie in memory are gathered ahead, on threads. A host that works on
        # while it asks for the next batch has no use for it.
        self.gathers_ahead = True
        self._timeout_s = None if timeout_s is None else float(timeout_s)
        self._crew_tally: crews.Tally | None = None
        read = self._recipe.plan.read
        self._meters = [Meter(read)]
        self._pieces = Pieces(self._meters, workers_in_all)
        self._crew: Crew | None = None
        self._identity = Identity(
            self._dataset,
            read,
            order={
                "batch_size": batch_size,
                "shuffle": shuffle,
                "seed": seed,
                "drawn": declared(data.options) if isinstance(data, Tuples) else None,
                "balance": declared(balance) if isinstance(balance, Mapping) else balance,
                "sampling": sampling,
                "bucket_by": None if bucket_by is None else declared(bucket_by),
                **slots.told,
                "remainder": remainder,
                "steps_per_epoch": steps_per_epoch,
            },
            class_weight=class_weight,
            augment=[augment] if isinstance(augment, Transform) else augment,
        )
        # Where the next pass begins, and what follows the last batch that a pass by hand has delivered.
        self._epoch = self._first_step = 0
        self._reached = (0, 0)
        self._runs: dict[tuple[int, int], Run] = {}
        # Re-entrant: the collector may end an abandoned pass of this feed inside of it.
        self._lock = threading.RLock()
        self._borrowed: set[Run] = set()
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
    def specs(self) -> Mapping[str, Spec]:
        """What one row of each name in a batch is."""
        return self._recipe.plan.specs

    @property
    def sizes(self) -> frozenset[int] | None:
        """How many rows batches have; None where that depends on which samples are dropped."""
        return self._recipe.sizes

    @property
    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """The shape of each name in a batch; None for an axis that differs from batch to batch."""
        return self._recipe.shapes

    @property
    def augments(self) -> bool:
        """Whether its samples are changed at random."""
        return self._recipe.plan.augments

    @property
    def varying(self) -> frozenset[str]:
        """The names whose first axis is longer in some batches than in others."""
        slots = self._recipe.slots
        several = isinstance(slots, Buckets) and len(slots.boundaries) > 1
        return frozenset(slots.cuts if several else ())

    def unlike(self, index: int) -> Batch:
        """Return one of two batches that differ in length if any do, by 0 or 1."""
        recipe = self._recipe
        lengths = recipe.slots.lengths(self.seed, 0, np.arange(recipe.batches))
        others = np.flatnonzero(lengths != lengths[0])
        number = int(others[0]) if index and others.size else 0
        return make_fresh(recipe, number, fatal=self._fatal()).packed(recipe, self._spare())

    @property
    def drops(self) -> bool:
        """Whether samples that cannot be used are left out of their batches."""
        return self._recipe.policy.on_error == "drop"

    @property
    def epoch(self) -> int:
        """The epoch that the next pass serves. It may be set."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._epoch, self._first_step = at_least("epoch", epoch, 0), 0
        self._reached = (self._epoch, 0)

    @property
    def position(self) -> tuple[int, int]:
        """The (epoch, step) at which the next pass begins."""
        return self._epoch, self._first_step

    def __repr__(self) -> str:
        each = f"{len(self):,} batches of {self.batch_size:,} an epoch"
        return f"{type(self).__name__} of {len(self.data):,} samples: {each}, epoch {self.epoch} next"

    def batch(self, epoch: int, step: int) -> Batch:
        """Return one batch, computed here and now; no state changes.

        Args:
            epoch: 0 or more.
            step: 0 … ``len(feed) - 1``.
        """
        return self._made(epoch, step).packed(self._recipe, self._spare())

    def rows(self, epoch: int, step: int) -> Array:
        """Return the row numbers, ``int64[n]`` into ``data.rows``, that make a batch, in its order.

        Of samples that are made of k rows, as `Pairs` are, ``int64[n, k]``.

        Copies that pad a batch are not among them, nor are samples that are dropped from it: with
        ``on_error="drop"`` the batch is read to see which these are. Those that are masked are.
        """
        rows = self.slots(epoch, step)
        if not self.drops:
            return rows
        return np.delete(rows, self._left_out(epoch, step), axis=0)

    def slots(self, epoch: int, step: int) -> Array:
        """Return the rows of all slots of a batch, as `rows`, whether they can be used or not."""
        return self._recipe.rows(self._recipe.batch_number(*self._checked(epoch, step)))

    def keys(self, epoch: int, step: int) -> list[Any]:
        """Return the keys of the samples that make a batch, in its order; row numbers if none.

        Of samples that are made of several rows, tuples of their keys.
        """
        return self.data.keys(self.rows(epoch, step))

    def __iter__(self) -> Iterator[Batch]:
        """Serve one epoch, or after `load_state_dict` the rest of one; the next pass serves the next."""
        epoch, served = self.begin()
        steps, run = len(self), None
        tally = self._tally.open(self._recipe, epoch, served)
        try:
            while served < steps:
                if run is None or not run.is_usable:
                    run = self._borrow(epoch, served, wraps=True)
                asked = perf_counter()
                try:
                    ready = [run.get()]
                except ClosedError:
                    continue
                tally.ended = ended = perf_counter()
                tally.waited_s += ended - asked
                tally.served = served = served + 1
                self._reached = (epoch, served)
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
            except ClosedError:
                # By another thread, or by a callback. Using the feed again starts it anew.
                continue
            finally:
                self._give_back(run, epoch, step + 1, keep=served and (wraps or step + 1 < len(self)))

    def delivered(self, epoch: int, step: int) -> None:
        """Note that a pass by hand has delivered a batch that was taken; the last one ends the epoch."""
        self._reached = (epoch, step + 1)
        if step + 1 == len(self):
            self.finish(epoch)

    def leave(self, epoch: int, step: int) -> None:
        """Drop what was built ahead for a pass that would have taken this batch next."""
        position = (epoch, step) if step < len(self) else (epoch + 1, 0)
        with self._lock:
            run = self._runs.pop(position, None)
        if run is not None:
            run.stop()

    def begin(self) -> tuple[int, int]:
        """Return the position (epoch, step) at which a pass that begins now does so."""
        step, self._first_step = self._first_step, 0
        return self._epoch, step

    def finish(self, epoch: int) -> None:
        """Note that all of an epoch was served: the next pass serves the next one."""
        if self._epoch == epoch:
            self.epoch = epoch + 1

    def state_dict(self, position: tuple[int, int] | None = None) -> dict[str, Any]:
        """Return a state from which a feed of the same data goes on, in this process or another one.

        It has less than 10 KB, JSON can hold it, and nothing is done over again to go on from it. The
        first call reads the keys of all samples, a second or so for ten million; the others cost
        microseconds.

        With the position it holds what that depends on, so that `load_state_dict` can refuse what
        belongs to other data: the keys in their order (without a key: the values of columns, file names
        without their folders, but of N-D arrays and memmaps only the shape); what is declared, functions
        by name alone; what was learned; and the order. Not part of it are paths, times and formats of
        files, `workers`, `processes`, `prefetch` and caches: these may be others.

        Args:
            position: The (epoch, step) to go on at. By default that is the batch after the last one
                that a pass by hand has delivered.

        Raises:
            IndexError: If there is no such position.

        Example:
            >>> import multifeed as mf
            >>> data = mf.Dataset({"x": [0.0, 1.0, 2.0, 3.0]}, inputs=mf.Numeric("x"))
            >>> feed = Feed(data, batch_size=1)
            >>> for (x,) in feed:
            ...     if x.item() == 1.0:
            ...         state = feed.state_dict()
            >>> again = Feed(data, batch_size=1, workers=2)
            >>> again.load_state_dict(state)
            >>> [x.item() for (x,) in again], [x.item() for (x,) in again]
            ([2.0, 3.0], [0.0, 1.0, 2.0, 3.0])
        """
        epoch, step = self._reached if position is None else self._checked(*position)
        return self._identity.state(*divmod(self._recipe.batch_number(epoch, step), len(self)))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken: the next pass serves the rest of that epoch.

        Args:
            state: What `state_dict` has returned, or JSON made of it.

        Raises:
            StateError: If it is none, is damaged, is of another version, or belongs to other data or
                another order of them.
        """
        self._epoch, self._first_step = self._reached = self._identity.position(state, len(self))

    def redraw(self, epoch: int, step: int, draw: int, *, count: int | None = None) -> Batch:
        """Return a batch's samples under another draw of augmentation; draw 0 is the batch itself.

        Args:
            epoch: 0 or more.
            step: 0 … ``len(feed) - 1``.
            draw: 0 or more.
            count: How many samples, from the first on; all by default. Padding is left out.
        """
        at_least("draw", draw, 0)
        recipe = self._recipe
        # What stands in the place of a bad sample may be anything of the batch.
        is_cut = recipe.policy.on_error == "raise"
        made = self._made(epoch, step, draw=draw, count=count if is_cut else None)
        left = made.mend(recipe, self._spare(draw))
        kept = cut(made.buffers, left if count is None else min(left, count))
        return recipe.packed(made.number, kept)

    def draws(self, epoch: int, step: int) -> list[dict[str, Array]]:
        """Return the parameters that each transform of a batch was given, ``[n, ...]`` by name.

        They are those of `rows`: with ``on_error="drop"`` the batch is read to see which these are.
        Of a mix, ``"lambda"``, the rows of the partners as ``"partner"``, and the ``"box"`` (top, left,
        bottom, right) in shares of the height and width.
        """
        shot = self._recipe.shot(self._recipe.batch_number(*self._checked(epoch, step)))
        if shot is None:
            return []
        left_out = self._left_out(epoch, step) if self.drops else []
        return [
            {name: np.delete(values, left_out, axis=0) for name, values in each.items()}
            for each in self._recipe.plan.draws(shot)
        ]

    def report(self) -> FeedReport:
        """Return how fast this feed has been so far, who waited, and what took the time."""
        recipe = self._recipe
        batches, samples, waited_s, worked_s = self._tally.read()
        counts = self._account.counts()
        return FeedReport(
            batches=batches,
            samples=samples - counts.dropped - counts.masked,
            dropped=counts.dropped,
            masked=counts.masked,
            padded=counts.padded,
            passes=counts.passes,
            recomputed=0 if self._crew_tally is None else self._crew_tally.recomputed,
            restarts=0 if self._crew_tally is None else self._crew_tally.restarts,
            bad=self._account.bad,
            rows=len(self._dataset),
            accounting=recipe.slots.accounting,
            waited_s=waited_s,
            worked_s=worked_s,
            workers=self.workers * max(1, self.processes) if recipe.plan.reads_samples else 0,
            processors=usable_cpus(),
            fields=_sum([meter.read() for meter in self._meters]),
        )

    @contextmanager
    def left_out(self) -> Iterator[dict[tuple[int, int], list[int]]]:
        """Note as long as this is open which slots of what it serves are left out of it, or masked.

        Yields:
            Filled at its end: these slots, by the (epoch, step) of their batch.
        """
        found: dict[tuple[int, int], list[int]] = {}
        with self._account.left_out() as by_number:
            yield found
        found |= {divmod(number, len(self)): slots for number, slots in by_number.items()}

    def close(self) -> None:
        """Stop the threads and drop what was built ahead. Using the feed again starts it anew."""
        if self._process != os.getpid():
            self._after_fork()
        with self._lock:
            runs = [*self._runs.values(), *self._borrowed]
            self._runs.clear()
            self._borrowed.clear()
            crew, self._crew = self._crew, None
        for run in runs:
            run.close()
        if crew is not None:
            crew.close()
            self._settle()
        if self._shared is not None:
            self._pool, self._shared.memory = None, []
        elif self._pool is not None:
            self._pool.trim(_LEAVE_BYTES)

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _made(self, epoch: int, step: int, *, draw: int = 0, count: int | None = None) -> Made:
        """Return a batch that is made here and now, as `make_fresh`."""
        number = self._recipe.batch_number(*self._checked(epoch, step))
        return make_fresh(self._recipe, number, draw=draw, count=count, fatal=self._fatal())

    def _spare(self, draw: int = 0) -> Spare:
        """Return what finds a sample for a batch that is made here and now, and has none."""
        make = partial(make_fresh, self._recipe, draw=draw, fatal=self._fatal())
        return partial(Spares(self._recipe).after, make=make)

    def _left_out(self, epoch: int, step: int) -> list[int]:
        """Return the slots of a batch whose samples cannot be used; it is made to see that."""
        return list(self._made(epoch, step).left_out(self._recipe))

    def _fatal(self) -> dict[int, str]:
        """Return the rows that may end this process as well, with how they have ended workers."""
        return {} if self._crew_tally is None else self._crew_tally.fatal()

    def _refused(self) -> dict[int, BadSample]:
        """Return those samples whose values in memory cannot be used, by row; files are not read."""
        found = {row: BadSample.of(error, row) for row, error in self._dataset.refused().items()}
        if found:
            self._account.note(found.values())
            if len(found) == len(self._dataset):
                raise BadSamplesError("no sample of this dataset can be used.", [*found.values()])
        return found

    def _checked(self, epoch: int, step: int) -> tuple[int, int]:
        """Return a position as Python's own integers, or say that there is none such."""
        epoch, place = at_least("epoch", epoch, 0), operator.index(step)
        if not 0 <= place < len(self):
            raise IndexError(f"step {place} of an epoch of {len(self):,} steps")
        return epoch, place

    def _borrow(self, epoch: int, step: int, wraps: bool) -> Run:
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

    def _give_back(self, run: Run, epoch: int, step: int, *, keep: bool) -> None:
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

    def _start(self, epoch: int, step: int, wraps: bool) -> Run:
        recipe, pool, meter = self._recipe, self._pool_at_hand(), self._meters[0]
        start = recipe.batch_number(epoch, step)
        numbers = count(start) if wraps else iter(range(start, start + len(self) - step))
        if self._shared is not None:
            return ProcessRun(
                recipe,
                pool,
                meter,
                numbers,
                account=self._account,
                crew=self._crew_at_work(self._shared),
                memory=self._shared.memory,
                pieces=self._pieces,
                ahead=self.prefetch,
            )
        gathered = recipe.plan.gathered_row_bytes * recipe.batch_size
        if recipe.plan.reads_samples or (self.gathers_ahead and gathered >= _WORTH_A_THREAD):
            return ThreadRun(
                recipe,
                pool,
                meter,
                numbers,
                account=self._account,
                workers=self.workers,
                pieces=self._pieces,
                ahead=self.prefetch,
                timeout_s=self._timeout_s,
            )
        return ColumnRun(recipe, pool, meter, start, account=self._account)

    def _pool_at_hand(self) -> Pool:
        with self._lock:
            if self._pool is None:
                shared = cast(_Shared, self._shared)
                self._pool = shared.pool(self.batch_size, self.prefetch)
            return self._pool

    def _settle(self) -> None:
        """Take over what worker processes that have ended have counted, and let their memory go."""
        with self._lock:
            first, *others = self._meters
            for meter in others:
                first.add_all(meter.read())
            # In place: whoever cuts batches looks at this list.
            del self._meters[1:]

    def _crew_at_work(self, shared: _Shared) -> Crew:
        """Return the worker processes; new ones if there are none yet, or they were closed."""
        # Not on systems that have no use for it.
        from multifeed.workers.crew import Crew, Tally

        with self._lock:
            if self._crew is None or self._crew.is_closed:
                self._settle()
                plan = shared.recipe.plan
                names = plan.read
                self._crew_tally = self._crew_tally or Tally()
                self._crew = Crew(
                    shared.program,
                    shared.memory,
                    processes=self.processes,
                    threads=self.workers,
                    # Of gathering, and of reading.
                    tasks=2 * self._pieces.most,
                    notes=Meter.SIZE * len(names),
                    name_of=plan.tell,
                    epoch_jobs=len(self),
                    timeout_s=self._timeout_s,
                    tally=self._crew_tally,
                )
                self._meters += [Meter(names, notes) for notes in self._crew.notes()]
            return self._crew

    def _after_fork(self) -> None:
        """Forget the parent's runs: a forked child has their locks, but none of their threads."""
        self._lock = threading.RLock()
        self._runs, self._borrowed = {}, set()
        self._process = os.getpid()
        if self._crew is not None:
            self._crew.forget()
            self._crew = None
            self._settle()
        if self._shared is not None:
            # The parent's workers go on writing to the memory that it has.
            self._pool = None


class _Shared:
    """What the worker processes of a feed share with it.

    Args:
        data: The samples. Their table is moved to shared memory, where all look at one copy.
        make: Function that returns the feed's recipe.
    """

    def __init__(self, data: Dataset, make: Callable[[], Recipe]) -> None:
        data.move_rows(lambda table: packed(table).unpack())
        self.program: Packed = packed(BatchProgram(make()))
        # Here, too, its arrays are those in shared memory: what the others were made of can go.
        self.recipe: Recipe = self.program.unpack().recipe
        self.memory: list[SharedFile] = []

    def pool(self, batch_size: int, ahead: int) -> Pool:
        """Return the pool of batches that the worker processes write, in new shared memory.

        A file for each of the arenas: whoever keeps the labels of an epoch must not keep its images.
        """
        specs = self.recipe.plan.specs
        layouts = arenas(specs, batch_size)
        self.memory = [SharedFile() for _ in layouts]
        count = min(ahead, _MOST_AHEAD) + 2
        allocate = [
            Slabs(file, count * arena.size) for file, arena in zip(self.memory, layouts, strict=True)
        ]
        return Pool(specs, _KEEP_ALL, allocate=allocate)


class _Tally:
    """Counts what was handed over, and who waited for how long."""

    def __init__(self) -> None:
        self.batches = self.samples = 0
        self.waited_s = self.worked_s = 0.0
        # The batch that would go on with the pass of the last one, and when that was handed over.
        self._next, self._ended = -1, 0.0
        self._open: list[_Passing] = []

    def open(self, recipe: Recipe, epoch: int, step: int) -> _Passing:
        """Return where a pass by hand from a position on counts, until it is closed."""
        passing = _Passing(recipe, epoch, step)
        self._open.append(passing)
        return passing

    def close(self, passing: _Passing) -> None:
        """Add what a pass has counted."""
        self._open.remove(passing)
        recipe, waited_s = passing.recipe, passing.waited_s
        worked_s = passing.ended - passing.began - waited_s
        count = passing.served - passing.step
        self.add(recipe, passing.epoch, passing.step, count, waited_s, worked_s)

    def read(self) -> tuple[int, int, float, float]:
        """Return batches, samples, and seconds waited and worked, those of open passes included."""
        whole = copy(self)
        whole._open = list(self._open)
        for passing in list(whole._open):
            whole.close(passing)
        return whole.batches, whole.samples, whole.waited_s, whole.worked_s

    def add(
        self, recipe: Recipe, epoch: int, step: int, count: int, waited_s: float, worked_s: float
    ) -> None:
        """Add `count` batches from a position on."""
        self.batches += count
        self.samples += recipe.samples_in(recipe.batch_number(epoch, step), count)
        self.waited_s += waited_s
        self.worked_s += worked_s

    def add_one(self, recipe: Recipe, epoch: int, step: int, asked: float) -> None:
        """Add a batch that has been handed over just now, and was asked for at a time."""
        now = perf_counter()
        number = recipe.batch_number(epoch, step)
        # Between two epochs there is validation, say: not this consumer's work.
        worked_s = asked - self._ended if step and number == self._next else 0.0
        self._next, self._ended = number + 1, now
        self.add(recipe, epoch, step, 1, now - asked, worked_s)


class _Passing:
    """What one pass by hand has counted so far."""

    __slots__ = ("began", "ended", "epoch", "recipe", "served", "step", "waited_s")

    def __init__(self, recipe: Recipe, epoch: int, step: int) -> None:
        self.recipe, self.epoch, self.step, self.served, self.waited_s = recipe, epoch, step, step, 0.0
        self.began = self.ended = perf_counter()


def _is_worth_a_process(recipe: Recipe) -> bool:
    """Tell whether a process of its own for reading these samples serves a training process best.

    Measured in `fit`: a step that keeps Python busy takes 1.4 to 1.5 times as long beside threads, and
    1.02 times beside a process, which takes a third of a second to start.
    """
    plan = recipe.plan
    in_memory = recipe.slots.samples * plan.gathered_row_bytes
    is_long = recipe.slots.samples >= _WORTH_A_PROCESS
    return os.name == "posix" and plan.reads_samples and is_long and in_memory <= _WORTH_A_COPY


def _sum(read: Sequence[Mapping[str, Spent]]) -> dict[str, Spent]:
    """Return what each field has cost, everywhere together."""
    total = dict(read[0])
    for more in read[1:]:
        total = {name: spent + more[name] for name, spent in total.items()}
    return total


@dataclass(frozen=True)
class _Asked:
    """The options that say which samples an epoch has, and in which order, as those of `Feed`."""

    shuffle: bool | str
    balance: Balance | None
    sampling: str | None
    bucket_by: BucketBy | None
    buckets: int | Sequence[int] | None

    @property
    def special(self) -> list[str]:
        """Those that ask for something other than each sample once, in any batch."""
        names = ("balance", "sampling", "bucket_by")
        return [name for name in names if getattr(self, name) is not None]


def _slots(
    data: Dataset | Tuples, asked: _Asked, batch_size: int, policy: Policy, *, drops: bool
) -> Slots:
    """Return what a pass goes through, having seen that the options go together."""
    if isinstance(data, Tuples):
        _check_tuples(data, asked)
        return data.slots(batch_size, shuffles=bool(asked.shuffle), drops=drops)
    _check_asked(asked)
    if asked.balance is not None:
        return balanced(data, asked.balance, batch_size, drops=drops)
    if asked.sampling is not None:
        return in_proportion(data, asked.sampling, batch_size, drops=drops)
    if asked.bucket_by is not None:
        return bucketed(
            data.replaced(policy.known) if policy.known else data,
            asked.bucket_by,
            asked.buckets,
            batch_size,
            shuffles=bool(asked.shuffle),
            drops=drops,
            on_error=policy.on_error,
        )
    return Slots.of(_order(asked.shuffle, data), len(data), batch_size, drops=drops)


def _check_asked(asked: _Asked) -> None:
    """Raise unless the options go together."""
    special = asked.special
    if special == ["balance", "sampling"]:
        raise DeclarationError(
            "balance= and sampling= both say how often a sample comes: pass one of them."
        )
    if len(special) > 1:
        raise DeclarationError(
            lines(
                f"buckets have each sample once an epoch, {special[0]}= has some more often.",
                'Pass one of them; class_weight={...: "balanced"} goes with bucket_by=.',
            )
        )
    if asked.buckets is not None and asked.bucket_by is None:
        raise DeclarationError(
            lines(
                f"buckets= are of lengths, and nothing says whose; received buckets={asked.buckets!r}.",
                "Pass bucket_by=, the name of a padded field.",
            )
        )
    if special == ["bucket_by"]:
        if asked.shuffle == "block":
            raise DeclarationError(
                lines(
                    "a bucket has rows from anywhere, so they are never read in blocks; received "
                    "shuffle='block'.",
                    "Pass shuffle=True; mf.cache makes rows quick to read in any order.",
                )
            )
    elif special and asked.shuffle is not True:
        raise DeclarationError(
            lines(
                f"{special[0]}= draws the samples of each epoch anew, so they are shuffled; received "
                f"shuffle={asked.shuffle!r}.",
                f"Pass shuffle=True. To evaluate, leave {special[0]}= out: each sample then comes once.",
            )
        )


def _check_cuts(plan: Plan, cuts: Mapping[str, str]) -> None:
    """Raise if fields that are cut are mixed."""
    for mixing in () if plan.augmentation is None else plan.augmentation.mixings:
        for name in mixing.specs:
            if name in cuts:
                raise DeclarationError(
                    lines(
                        f"a batch of a bucket is as long as its samples; {name!r} is mixed with others, "
                        "which may be longer.",
                        "Leave bucket_by= out, or do not mix it.",
                    )
                )


def _check_tuples(data: Tuples, asked: _Asked) -> None:
    """Raise if samples of several rows cannot be ordered so."""
    kind = type(data).__name__
    if "bucket_by" in asked.special:
        raise DeclarationError(
            lines(
                f"a bucket is of samples of one length; {kind} have one for each of their rows.",
                "Leave bucket_by= out.",
            )
        )
    if asked.special:
        name = asked.special[0]
        raise DeclarationError(
            lines(
                f"{kind} say themselves which rows are drawn; {name}= says another thing.",
                f"Leave {name}= out."
                + (" The share of positive pairs is positive=." if kind == "Pairs" else ""),
            )
        )
    if asked.shuffle == "block":
        raise DeclarationError(
            lines(
                f"{kind} have partners anywhere in the dataset, so their rows are never read in blocks.",
                "Pass shuffle=True; mf.cache makes rows quick to read in any order.",
            )
        )


def _order(shuffle: bool | str, data: Dataset) -> Order:
    if shuffle == "block":
        # Of the fields alone: neither a cache nor weights may make another order.
        specs = data.structure.unpack(data.spec)
        row_bytes = sum(specs[name].nbytes for name in data.fields)
        return blocked(len(data), max(1, _BLOCK_BYTES // max(1, row_bytes)))
    return shuffled(len(data)) if shuffle else sequential(len(data))


def _enough(workers: int, batch_size: int) -> int:
    """Return how many batches keep all workers busy while the first is waited for."""
    # Three batches: with four of 19 MB, warps take a tenth longer, since more of them leave the caches.
    return max(3, -(-4 * workers // batch_size))
