"""Branches: samples of several rows, each of which is read as if it were alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from multifeed.batch import Buffers, Plan
from multifeed.meter import Meter
from multifeed.order import mixed_seed
from multifeed.spec import Spec
from multifeed.spot import Spot
from multifeed.structure import Structure

if TYPE_CHECKING:
    from multifeed.remote.ahead import Claim

Array = np.ndarray[Any, Any]

# The target that tells whether two rows are of one group.
SAME = "same"
ALIKE_SPEC = Spec((), "int32")


class TuplePlan:
    """Samples of several rows compiled for reading: a `Plan` that is applied to each branch of them.

    Args:
        plan: Reads one row.
        branches: What the names in a batch end in, by which row it is.
        structure: Where each name stands in a batch.
        codes: ``int64[n]``, the group of each row, if a batch tells whether the first two are of one.
        ones: The names of weights that are 1.
    """

    def __init__(
        self,
        plan: Plan,
        branches: Sequence[str],
        structure: Structure,
        codes: Array | None,
        ones: Sequence[str],
    ) -> None:
        self._plan, self.structure, self._codes, self._ones = plan, structure, codes, ones
        self._names = [{name: f"{name}_{branch}" for name in plan.specs} for branch in branches]
        self.specs = {names[name]: plan.specs[name] for names in self._names for name in names}
        own = {SAME: ALIKE_SPEC} if codes is not None else {}
        self._own = own | dict.fromkeys(ones, Spec((), "float32"))
        self.specs |= self._own

    @property
    def read(self) -> dict[str, Spec]:
        """What is read of each row, by field: what costs are counted by."""
        return self._plan.read

    @property
    def augments(self) -> bool:
        """Whether anything is drawn."""
        return self._plan.augments

    @property
    def reads_samples(self) -> bool:
        """Whether any field reads one row at a time."""
        return self._plan.reads_samples

    @property
    def waits(self) -> bool:
        """Whether any field waits for storage far away."""
        return self._plan.waits

    @property
    def kinds(self) -> int:
        """How many kinds of tasks each slot is part of."""
        is_gathered = bool(self._own) or self._plan.kinds > self._plan.reads_samples
        return is_gathered + self.reads_samples

    @property
    def row_bytes(self) -> int:
        """Bytes of one slot of the batch, all branches together."""
        return sum(spec.nbytes for spec in self.specs.values())

    @property
    def gathered_row_bytes(self) -> int:
        """Bytes of those parts of one slot that are gathered from memory."""
        own = sum(spec.nbytes for spec in self._own.values())
        return len(self._names) * self._plan.gathered_row_bytes + own

    def tell(self, row: int, field: int) -> str:
        """Say in words what a `Spot` tells."""
        return self._plan.tell(row, field)

    def shoot(self, seed: int, epoch: int, start: int, stop: int, *, draw: int = 0) -> Any:
        """Return the draws of some slots, branch by branch: each draws with a seed of its own."""
        if not self.augments:
            return None
        return [
            self._plan.shoot(mixed_seed(seed, branch), epoch, start, stop, draw=draw)
            for branch in range(len(self._names))
        ]

    def draws(self, shot: Any) -> list[dict[str, Array]]:
        """Return the parameters of each transform, ``[n, k, ...]`` by name."""
        branches = zip(*(self._plan.draws(each) for each in shot), strict=True)
        return [
            {name: np.stack([each[name] for each in drawn], axis=1) for name in drawn[0]}
            for drawn in branches
        ]

    def begin(self, rows: Array, shot_of: Callable[[], Any]) -> Claim | None:
        """Ask storage far away for all that these slots, ``int64[n, k]``, are made from.

        See `Plan.begin`. Partners of mixtures are asked for when they are read.
        """
        return self._plan.begin(rows.ravel(), lambda: None)

    def fill_columns(
        self, rows: Array, out: Buffers, start: int, stop: int, meter: Meter, shot: Any = None
    ) -> None:
        """Write what is gathered from memory for the slots `start` to `stop`, branch by branch."""
        for branch, buffers in enumerate(self._buffers(out)):
            mine = None if shot is None else shot[branch]
            self._plan.fill_columns(rows[:, branch], buffers, start, stop, meter, mine)
        if self._codes is not None:
            codes = self._codes[rows[start:stop, :2]]
            np.equal(codes[:, 0], codes[:, 1], out=out[SAME][start:stop], casting="unsafe")
        for name in self._ones:
            out[name][start:stop] = 1.0

    def fill_samples(
        self,
        rows: Array,
        out: Buffers,
        start: int,
        stop: int,
        meter: Meter,
        shot: Any,
        spot: Spot,
    ) -> None:
        """Write what is read one row at a time for the slots `start` to `stop`, branch by branch."""
        for branch, buffers in enumerate(self._buffers(out)):
            mine = None if shot is None else shot[branch]
            self._plan.fill_samples(rows[:, branch], buffers, start, stop, meter, mine, spot)

    def _buffers(self, out: Buffers) -> list[Buffers]:
        """Return the buffers of each branch, by the names that the plan of one row has for them."""
        return [{name: out[label] for name, label in names.items()} for names in self._names]
