"""Recipe: all that makes the batch of a position. Pure, and the same in every thread and process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from multifeed.batch import Buffers, Plan, chunks, cut
from multifeed.branches import TuplePlan
from multifeed.meter import Meter
from multifeed.policy import BadSlots, Policy
from multifeed.receipt import receipt
from multifeed.slots import Slots
from multifeed.spot import Spot
from multifeed.structure import flat

if TYPE_CHECKING:
    from multifeed.remote.ahead import Claim

Array = np.ndarray[Any, Any]

# Slots whose rows are computed at once: large enough that a batch of 32 costs 0.6 µs, and 128 KB.
_ORDER_BLOCK = 16_384
# Requests to storage far away that are made before they are needed: at 50 ms each, two cores decode some
# two hundred images meanwhile.
REQUESTS = 256
# Bytes below which gathering from memory is not worth a second task: another thread has the next batch.
_COLUMN_PIECE = 2**26


@dataclass(frozen=True)
class Recipe:
    """What makes the batches of a feed.

    Args:
        plan: What each field does.
        policy: What becomes of samples that cannot be used.
        slots: What a pass over the samples goes through.
        seed: The feed's seed.
        batch_size: Samples a batch.
        steps_per_epoch: Batches an epoch, where that is not one pass over the samples.
        pads: Whether a smaller batch is filled up.
    """

    plan: Plan | TuplePlan
    policy: Policy
    slots: Slots
    seed: int
    batch_size: int
    steps_per_epoch: int | None
    pads: bool

    @property
    def batches(self) -> int:
        """Batches in one pass over the samples."""
        return -(-self.slots.served // self.batch_size)

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return self.steps_per_epoch or self.batches

    @property
    def sizes(self) -> frozenset[int] | None:
        """How many rows batches have; None where that depends on which samples are dropped."""
        if self.pads:
            return frozenset([self.batch_size])
        return None if self.policy.on_error == "drop" else self.slots.sizes(self.batch_size)

    @property
    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """The shape of each name in a batch; None for an axis that differs from batch to batch."""
        sizes = self.sizes or ()
        count = next(iter(sizes)) if len(sizes) == 1 else None
        shapes = {name: (count, *spec.shape) for name, spec in self.plan.specs.items()}
        if self.slots.cuts:
            lengths = np.unique(self.slots.lengths(self.seed, 0, np.arange(self.batches))).tolist()
            length = lengths[0] if len(lengths) == 1 else None
            shapes |= {name: (count, length, *shapes[name][2:]) for name in self.slots.cuts}
        return shapes

    def batch_number(self, epoch: int, step: int) -> int:
        """Return the number of a batch in the stream of all passes."""
        return epoch * self.steps + step

    def samples_in(self, number: int, count: int) -> int:
        """Return how many samples `count` batches from number `number` on have."""
        passes, place = divmod(number, self.batches)
        last_pass, last_place = divmod(number + count, self.batches)
        before, after = self._samples_before(passes, place), self._samples_before(last_pass, last_place)
        return (last_pass - passes) * self.slots.samples + after - before

    def _samples_before(self, passes: int, place: int) -> int:
        """Return how many samples the batches of a pass have that stand before one of them."""
        if self.slots.is_dense:
            return place * self.batch_size
        return int(self.slots.counts(self.seed, passes, np.arange(place), self.batch_size).sum())

    def run(self, place: int, count: int = 1) -> tuple[int, int]:
        """Return the slots (start, stop) of some consecutive batches of a pass."""
        start = place * self.batch_size
        return start, min(start + count * self.batch_size, self.slots.served)

    def begins(self, passes: int, place: int, end: int) -> list[int]:
        """Return where each of some batches of a pass begins among their rows, and the end."""
        counts = self.slots.counts(self.seed, passes, np.arange(place, end), self.batch_size)
        return [0, *np.cumsum(counts).tolist()]

    def rows(self, number: int) -> Array:
        """Return the rows of a batch, ``int64[n]``, or ``[n, k]`` where a sample is of k rows."""
        passes, place = divmod(number, self.batches)
        return self.slots.order(self.seed, passes, *self.run(place))

    def shot(self, number: int, count: int = 1, *, draw: int = 0) -> Any:
        """Return the draws of some consecutive batches of a pass, as its plan has them."""
        passes, place = divmod(number, self.batches)
        return self.plan.shoot(self.seed, passes, *self.run(place, count), draw=draw)

    def are_of_one_pass(self, number: int, other: int) -> bool:
        """Tell whether two batches are of one pass over the samples."""
        return number // self.batches == other // self.batches

    def begin(self, number: int, rows: Array) -> Claim | None:
        """Ask storage far away for what a batch of these rows is made from; None if that is near."""
        return self.plan.begin(rows, partial(self.shot, number))

    def padded(self, count: int) -> int:
        """Return how many rows the batches of `count` samples have."""
        return count + (-count % self.batch_size if self.pads else 0)

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

    def packed(self, number: int, buffers: Buffers) -> tuple[Any, ...]:
        """Return what has been written of a batch in its structure; in buckets, cut to their length."""
        if not self.slots.cuts:
            return self.plan.structure.pack(buffers)
        passes, place = divmod(number, self.batches)
        length = int(self.slots.lengths(self.seed, passes, np.array([place]))[0])
        cuts = {"post": slice(length), "pre": slice(-length, None)}
        cut_off = {name: buffers[name][:, cuts[end]] for name, end in self.slots.cuts.items()}
        return self.plan.structure.pack(buffers | cut_off)

    @property
    def _weights(self) -> list[str]:
        weights = self.plan.structure.weights
        return [] if weights is None else flat(weights)

    def mend(self, buffers: Buffers, count: int, bad: BadSlots, spare: Callable[[], Buffers]) -> int:
        """Leave the bad slots of a batch out, or mask them; return how many samples it then has.

        A batch has at least one row: where all slots are bad, that is a spare one, of weight 0 if there
        are weights.

        Args:
            buffers: Where it has been written.
            count: How many slots it has.
            bad: The bad slots.
            spare: Returns one row, of a sample that can be used.
        """
        good = np.setdiff1d(np.arange(count), list(bad))
        shares = len(good) / count
        if not len(good):
            row = spare()
            for name, buffer in buffers.items():
                buffer[:1] = row[name]
            good = np.zeros(1, np.int64)
        if self.policy.on_error == "drop":
            first = min(bad)
            moved = good[good > first]
            for buffer in buffers.values():
                buffer[first : first + len(moved)] = buffer[moved]
            count = len(good)
        else:
            slots = np.array(sorted(bad))
            sources = good[np.searchsorted(good, slots) % len(good)]
            for buffer in buffers.values():
                buffer[slots] = buffer[sources]
        for name in self._weights:
            if not shares:
                buffers[name][:count] = 0.0
            elif self.policy.on_error == "mask":
                # So that the mean over the batch is that over its good samples.
                buffers[name][:count] /= shares
                buffers[name][slots] = 0.0
        return count


class RowsInBlocks:
    """The rows of batches, computed in blocks; for one reader, not for several threads at once."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._pass = self._first = -1
        # The rows of some consecutive batches, and where each batch begins among them.
        self._rows, self._begins = np.empty(0, np.int64), [0]

    def __call__(self, number: int, count: int = 1) -> Array:
        """Return the rows of up to `count` consecutive batches of one pass, ``int64[n]``."""
        recipe = self._recipe
        passes, place = divmod(number, recipe.batches)
        last = min(place + count, recipe.batches)
        if passes != self._pass or place < self._first or last >= self._first + len(self._begins):
            end = min(max(last, place + _ORDER_BLOCK // recipe.batch_size), recipe.batches)
            self._rows = recipe.slots.order(recipe.seed, passes, *recipe.run(place, end - place))
            self._begins = recipe.begins(passes, place, end)
            self._pass, self._first = passes, place
        return self._rows[self._begins[place - self._first] : self._begins[last - self._first]]


class Ahead:
    """Batches, and those after them, that storage far away is asked for before they are made.

    Where all lies near, it does nothing. It is for one reader, not for several threads at once.

    Args:
        recipe: The recipe.
        numbers: The numbers of the batches, in the order in which they are made.
    """

    def __init__(self, recipe: Recipe, numbers: Iterator[int]) -> None:
        self._recipe, self._numbers = recipe, numbers
        self._rows = RowsInBlocks(recipe)
        self._begun: deque[tuple[int, Array, Claim | None]] = deque()
        self._next: int | None = None
        self._is_stopped = False

    def stop(self) -> None:
        """Give up what has been asked for; from any thread."""
        self._is_stopped = True
        self._begun.clear()

    def __iter__(self) -> Iterator[tuple[int, Array, Claim | None]]:
        """Yield the number of each batch, its rows, and what was asked for it."""
        while self._look() or self._begun:
            try:
                yield self._begun.popleft()
            except IndexError:
                # It has been stopped meanwhile.
                return

    def _look(self) -> bool:
        """Ask for further batches, until enough is under way; return False if there are no more."""
        while not self._is_stopped:
            if self._next is None:
                self._next = next(self._numbers, None)
            number = self._next
            if number is None:
                return False
            if self._begun and not self._recipe.are_of_one_pass(number, self._begun[-1][0]):
                # Nobody may want the next epoch: its first batch begins it.
                return True
            self._next = None
            rows = self._rows(number)
            claim = self._recipe.begin(number, rows)
            self._begun.append((number, rows, claim))
            # Many are under way at a time even where batches are small.
            if claim is None or self._asked() >= REQUESTS:
                return True
        self._begun.clear()
        return False

    def _asked(self) -> int:
        return sum(len(claim or ()) for _, _, claim in self._begun.copy())


class Making:
    """One batch under way, cut into tasks that may be done in any order, on any thread.

    Args:
        recipe: The recipe.
        number: The number of the batch.
        rows: Its rows, or the first of them.
        buffers: Where it is written: memory of whole batches, even where the last is smaller.
        pieces: How many tasks of reading it is cut into at most.
        draw: Which draw of augmentation: 0 for that of the batch.
        claim: What storage far away has been asked for it, which lasts as long as this.
    """

    def __init__(
        self,
        recipe: Recipe,
        number: int,
        rows: Array,
        buffers: Buffers,
        pieces: int,
        *,
        draw: int = 0,
        claim: Claim | None = None,
    ) -> None:
        self._plan, self._policy, self._rows = recipe.plan, recipe.policy, rows
        self._shot = recipe.shot(number, draw=draw)
        self._claim = claim
        self._buffers = cut(buffers, len(rows))
        self._columns, self._samples = _cut_up(recipe, len(rows), pieces)

    def rows_of(self, task: int) -> Array:
        """Return the rows that a task reads one at a time."""
        number = task - len(self._columns)
        return self._rows[slice(*self._samples[number])] if number >= 0 else self._rows[:0]

    def do(self, task: int, meter: Meter, spot: Spot) -> tuple[int, BadSlots]:
        """Do one task.

        Returns:
            The receipt of its rows, and those slots of the batch whose samples cannot be used.

        Raises:
            SampleError: If a sample cannot be used, and that is not to be borne.
        """
        columns = len(self._columns)
        given = self._rows, self._buffers
        if task < columns:
            start, stop = self._columns[task]
            fill = partial(self._plan.fill_columns, *given, meter=meter, shot=self._shot)
        else:
            start, stop = self._samples[task - columns]
            fill = partial(self._plan.fill_samples, *given, meter=meter, shot=self._shot, spot=spot)
        return receipt(self._rows[start:stop]), self._policy.fill(fill, self._rows, start, stop)


def tasks_of(recipe: Recipe, count: int, pieces: int) -> int:
    """Return how many tasks `Making` cuts a batch of `count` rows into."""
    return sum(map(len, _cut_up(recipe, count, pieces)))


def _cut_up(
    recipe: Recipe, count: int, pieces: int
) -> tuple[Sequence[tuple[int, int]], Sequence[tuple[int, int]]]:
    """Return the runs of slots of gathering from memory, and of reading samples."""
    plan = recipe.plan
    gathered = count * plan.gathered_row_bytes
    columns = chunks(count, max(1, min(pieces, gathered // _COLUMN_PIECE))) if gathered else []
    return columns, chunks(count, pieces) if plan.reads_samples else []
