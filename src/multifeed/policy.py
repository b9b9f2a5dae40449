"""What becomes of samples that cannot be used: they end the run, or are left out, or are masked."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from multifeed.errors import SampleError, lines

ON_ERROR = ("raise", "drop", "mask")
# What the machine lacks is no fault of a sample, and the next one would meet the same. So it is with
# storage far away that does not answer: which samples are left out must not depend on that.
_OF_THE_MACHINE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EHOSTUNREACH)


@dataclass(frozen=True)
class BadSample:
    """A sample that could not be used.

    Args:
        row: Its row in `Dataset.rows`.
        key: Its key, or None where the dataset has none.
        field: The field that could not be made; the first of them if there are several.
        file: The file that was read for it, or None.
        reason: What is wrong, in few words.
    """

    row: int
    key: str | None
    field: str | None
    file: str | None
    reason: str

    @classmethod
    def of(cls, error: SampleError, row: int) -> BadSample:
        """Return what an error says of a sample, which is `row` unless it says another one."""
        # Of a mix, it may be the partner that cannot be used.
        number = row if error.row is None else error.row
        # It may be somebody else's text, of any length.
        reason = lines(" ".join((error.reason or str(error)).split()))
        return cls(number, error.key, error.field, error.file, reason)

    def __str__(self) -> str:
        name = f"row {self.row}" if self.key is None else f"sample {self.key!r} (row {self.row})"
        subject = name if self.field is None else f"{self.field!r} of {name}"
        return lines(f"{subject}: {f'{self.file} ' if self.file else ''}{self.reason}")


# Slot of a batch, and what is wrong with its sample.
BadSlots = dict[int, BadSample]


class BadSlotsError(Exception):
    """A task is done but for some slots: how a worker process tells of them.

    Args:
        bad: What is wrong with which slots of the batch.
        receipt: What the task returns.
    """

    def __init__(self, bad: BadSlots, receipt: int) -> None:
        super().__init__(bad, receipt)
        self.bad, self.receipt = bad, receipt


@dataclass(frozen=True)
class Policy:
    """What becomes of samples that cannot be used.

    Args:
        on_error: ``"raise"``, ``"drop"`` or ``"mask"``.
        known: By row, those that are known from the start, since their values lie in memory; another
            row has been put in the place of each.
    """

    on_error: str = "raise"
    known: Mapping[int, BadSample] = field(default_factory=dict)

    def bears(self, error: SampleError) -> bool:
        """Tell whether the batch goes on without the sample."""
        return self.on_error != "raise" and not any(map(_is_of_the_machine, _causes(error)))

    def fill(
        self, fill: Callable[[int, int], None], rows: np.ndarray, start: int, stop: int
    ) -> BadSlots:
        """Fill the slots `start` to `stop`; return those whose samples cannot be used.

        Args:
            fill: Fills the slots from one to another, which is excluded.
            rows: ``int64[n]`` or ``[n, k]``, the rows of all slots.
            start: The first slot.
            stop: The slot after the last.

        Raises:
            SampleError: If a sample cannot be used, and that is not to be borne.
        """
        try:
            fill(start, stop)
            return {}
        except SampleError as error:
            if not self.bears(error):
                raise
            if stop - start == 1:
                return {start: BadSample.of(error, int(rows[start].flat[0]))}
        # One by one: what is wrong with one sample must not cost others.
        bad: BadSlots = {}
        for slot in range(start, stop):
            bad |= self.fill(fill, rows, slot, slot + 1)
        return bad

    def known_in(self, rows: np.ndarray) -> BadSlots:
        """Return those slots of which a row, of ``int64[n]`` or ``[n, k]``, is known to be bad."""
        known = self.known
        if not known:
            return {}
        each = enumerate(rows.reshape(len(rows), -1).tolist())
        return {slot: known[row] for slot, of_slot in each for row in of_slot[::-1] if row in known}


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield what an error was raised from, and so on; of a circle each once."""
    seen = {id(error)}
    cause = error.__cause__
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__


def _is_of_the_machine(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or (
        isinstance(error, OSError) and error.errno in _OF_THE_MACHINE
    )


def listed(samples: Iterable[BadSample], limit: int = 10) -> list[str]:
    """Return a line for each of the first samples, and one that says how many more there are."""
    found = list(samples)
    more = [f"and {len(found) - limit:,} more"] if len(found) > limit else []
    return [*map(str, found[:limit]), *more]
