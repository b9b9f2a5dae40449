"""Account: what has become of every sample, so that none is lost, repeated or left out unnoticed."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from multifeed.errors import BadSamplesError, DeclarationError, MultifeedError, lines
from multifeed.policy import BadSample, BadSlots, listed
from multifeed.receipt import MODULUS, firsts, receipt
from multifeed.recipe import Recipe
from multifeed.slots import IMPURE_REMEDY, Slots


@dataclass
class Counts:
    """How many samples were not handed over as they are, and how many passes were proven whole.

    Args:
        dropped: Slots that were left out of their batches.
        masked: Slots that hold a copy of another sample, of weight 0.
        padded: Rows that were added to fill batches up.
        passes: Whole passes in which every row has been found to be served exactly once.
    """

    dropped: int = 0
    masked: int = 0
    padded: int = 0
    passes: int = 0


class Account:
    """Keeps the accounts of a feed; may be used from many threads at once.

    Args:
        samples: How many samples the dataset has.
        max_bad: The share of them that may be bad, 0 to 1.
    """

    def __init__(self, samples: int, max_bad: float) -> None:
        self._samples, self._max_bad = samples, max_bad
        # A share of 0.29 of 100 samples is 28.999999999999996 to a computer.
        self._allowed = int(max_bad * samples + 1e-9)
        self._bad: dict[int, BadSample] = {}
        self._counts = Counts()
        # By the number of a batch, its slots that could not be used, while somebody wants to know.
        self._left_out: dict[int, list[int]] | None = None
        self._lock = threading.Lock()

    @property
    def bad(self) -> tuple[BadSample, ...]:
        """The samples that could not be used, each once, in the order in which they were found."""
        with self._lock:
            return tuple(self._bad.values())

    def counts(self) -> Counts:
        """Return a copy of what has been counted so far."""
        with self._lock:
            return replace(self._counts)

    @contextmanager
    def left_out(self) -> Iterator[dict[int, list[int]]]:
        """Note as long as this is open which slots of the batches that are handed over are left out.

        Yields:
            These slots, by the number of their batch.
        """
        found: dict[int, list[int]] = {}
        before, self._left_out = self._left_out, found
        try:
            yield found
        finally:
            self._left_out = before

    def note(self, bad: Iterable[BadSample]) -> None:
        """Note samples that cannot be used.

        Raises:
            BadSamplesError: If these are more than are allowed.
        """
        with self._lock:
            for each in bad:
                self._bad.setdefault(each.row, each)
            if len(self._bad) <= self._allowed:
                return
            found = list(self._bad.values())
        raise BadSamplesError(
            lines(
                f"{len(found):,} of {self._samples:,} samples cannot be used, and "
                f"max_bad={self._max_bad:g} allows {self._allowed:,}.",
                *listed(found),
                "Mend these or leave them out (mf.check finds all such rows at once, and "
                "data.select(report.good_rows) leaves them out), or pass a larger max_bad.",
            ),
            found,
        )

    def note_batch(self, number: int, bad: BadSlots) -> None:
        """Note the bad slots of a batch that is about to be handed over, as `note` does."""
        slots = sorted(bad)
        if self._left_out is not None:
            self._left_out[number] = slots
        self.note(bad[slot] for slot in slots)

    def count(self, *, dropped: int = 0, masked: int = 0, padded: int = 0, passes: int = 0) -> None:
        """Add to the counts."""
        with self._lock:
            self._counts.dropped += dropped
            self._counts.masked += masked
            self._counts.padded += padded
            self._counts.passes += passes


class Ledger:
    """Proves of each pass that one run serves as a whole that the rows were written that it has.

    Whoever has done a task gives a receipt for the rows that it has written. Those of all tasks of a
    pass must come to what the rows of its slots come to; and where every row of the dataset has a slot
    of its own, these to what all rows come to.

    Args:
        recipe: The recipe.
        account: Where proven passes are counted.
    """

    def __init__(self, recipe: Recipe, account: Account) -> None:
        self._recipe, self._account = recipe, account
        self._pass, self._next = -1, 0
        self._written = self._wanted = self._firsts = 0

    def add(self, number: int, count: int, rows: np.ndarray, receipts: int) -> None:
        """Add `count` batches from number `number` on.

        Args:
            number: The number of the first.
            count: How many.
            rows: ``int64[n]`` or ``[n, k]``, their rows.
            receipts: What all their tasks have given, in sum.

        Raises:
            MultifeedError: If that ends a pass, and it does not come to what it should.
        """
        recipe = self._recipe
        passes, place = divmod(number, recipe.batches)
        if place == 0:
            self._pass, self._next = passes, 0
            self._written = self._wanted = self._firsts = 0
        if passes != self._pass or place != self._next:
            # This run has begun in the middle of the pass.
            return
        self._next += count
        self._written += receipts
        wanted = receipt(rows)
        self._wanted += recipe.plan.kinds * wanted
        self._firsts += wanted if rows.ndim == 1 else receipt(firsts(rows))
        if self._next < recipe.batches:
            return
        is_other = (self._written - self._wanted) % MODULUS
        if is_other or not self._is_whole(passes):
            raise _wrong_pass(passes, recipe.slots)
        self._account.count(passes=1)

    def _is_whole(self, passes: int) -> bool:
        """Tell whether the rows of all slots are those of the dataset, where each has one."""
        slots, seed = self._recipe.slots, self._recipe.seed
        if slots.proof is None:
            return True
        left_out = slots.order(seed, passes, slots.served, slots.count)
        return (self._firsts + receipt(firsts(left_out)) - slots.proof) % MODULUS == 0


def _wrong_pass(number: int, slots: Slots) -> MultifeedError:
    """Return what is to be raised of a pass that has not served the rows of its slots."""
    if slots.chooser:
        # Every part of multifeed has its own tests; whether that function is pure, nobody has tested.
        return DeclarationError(
            lines(
                f"{slots.chooser} must be a function of row numbers alone, slot by slot: in pass "
                f"{number} it chose other rows for the same slots.",
                IMPURE_REMEDY,
            )
        )
    return MultifeedError(
        lines(
            f"pass {number} over the samples has not served every row exactly once."
            if slots.proof is not None
            else f"pass {number} over the samples has served other rows than those of its slots.",
            "This is an error of multifeed, not of yours: please report it, with the declaration of the "
            "dataset and the loader.",
        )
    )
