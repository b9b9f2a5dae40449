"""Account: what has become of every sample, so that none is lost, repeated or left out unnoticed."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from multifeed.errors import BadSamplesError, MultifeedError, lines
from multifeed.policy import BadSample, BadSlots, listed
from multifeed.receipt import MODULUS, receipt, receipt_of_all
from multifeed.recipe import Recipe


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
    """Proves of each pass that one run serves as a whole that every row was written exactly once.

    Whoever has done a task gives a receipt for the rows that it has written. Those of all tasks of a
    pass must come to what all rows come to.

    Args:
        recipe: The recipe.
        account: Where proven passes are counted.
    """

    def __init__(self, recipe: Recipe, account: Account) -> None:
        self._recipe, self._account = recipe, account
        self._pass, self._next, self._sum = -1, 0, 0

    def add(self, number: int, count: int, receipts: int) -> None:
        """Add the receipts of all tasks of `count` batches from number `number` on.

        Raises:
            MultifeedError: If that ends a pass, and it does not come to what it should.
        """
        passes, place = divmod(number, self._recipe.batches)
        if place == 0:
            self._pass, self._next, self._sum = passes, 0, 0
        if passes != self._pass or place != self._next:
            # This run has begun in the middle of the pass.
            return
        self._next += count
        self._sum += receipts
        if self._next < self._recipe.batches:
            return
        recipe, count = self._recipe, self._recipe.count
        left_out = recipe.order(recipe.seed, passes, recipe.samples, count)
        wanted = recipe.plan.kinds * (receipt_of_all(count) - receipt(left_out))
        if (self._sum - wanted) % MODULUS:
            raise MultifeedError(
                lines(
                    f"pass {passes} over the samples has not served every row exactly once.",
                    "This is an error of multifeed, not of yours: please report it, with the "
                    "declaration of the dataset and the loader.",
                )
            )
        self._account.count(passes=1)
