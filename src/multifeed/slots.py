"""Slots: what a pass over the samples goes through, and which rows stand where in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from multifeed.order import Order
from multifeed.receipt import receipt, receipt_of_all

Array = np.ndarray[Any, Any]

# For functions of the user that choose rows.
IMPURE_REMEDY = (
    "Look up what it needs in a table that stays as it is; draw nothing at random, count no calls, and "
    "compare no slots."
)


@dataclass(frozen=True)
class Slots:
    """The slots of a pass, and the rows in them.

    Args:
        order: Which rows stand in which slots.
        samples: How many samples a pass serves.
        served: How many slots it goes through, from 0 on: as many, unless some are empty.
        count: How many slots there are: what lies behind those served is left out.
        proof: What the first rows of all slots come to, as a `receipt`; None where rows are drawn, so
            that some come several times and others not at all.
        told: Arrays that decide the order, besides the dataset and the options, by what they are.
        accounting: How often rows come, or how long batches are, as lines of a report.
        cuts: The names of a batch whose padding is cut off, with the end that it stands at.
        most: For each field that they are of, how many items each row has at most, ``int64[n]``.
        chooser: What a message calls the function of the user that takes part in the order, if any.
    """

    order: Order
    samples: int
    served: int
    count: int
    proof: int | None
    told: Mapping[str, Array] = field(default_factory=dict)
    accounting: tuple[str, ...] = ()
    cuts: Mapping[str, str] = field(default_factory=dict)
    most: Mapping[str, Array] = field(default_factory=dict)
    chooser: str = ""

    @property
    def is_dense(self) -> bool:
        """Whether each of its slots holds a sample."""
        return self.samples == self.served

    def sizes(self, batch_size: int) -> frozenset[int]:
        """Return how many slots batches have, the last one included."""
        full, rest = divmod(self.served, batch_size)
        return frozenset(each for each, is_there in ((batch_size, full), (rest, rest)) if is_there)

    def counts(self, seed: int, epoch: int, steps: Array, batch_size: int) -> Array:
        """Return how many samples the batches of some steps of a pass have, ``int64[n]``."""
        found: Array = np.minimum(self.served - steps * batch_size, batch_size)
        return found

    def lengths(self, seed: int, epoch: int, steps: Array) -> Array:
        """Return how long the batches of some steps of a pass are, ``int64[n]``, where they are cut."""
        raise NotImplementedError

    @classmethod
    def of(
        cls, order: Order, count: int, batch_size: int, *, drops: bool, anchors: Array | None = None
    ) -> Slots:
        """Return slots that hold a sample each.

        Args:
            order: Which rows stand in which of them.
            count: How many there are.
            batch_size: Samples a batch.
            drops: Whether a smaller last batch is left out.
            anchors: ``int64[count]``, the rows that come first in them; all of a dataset by default.
        """
        served = count - (count % batch_size if drops else 0)
        proof = receipt_of_all(count) if anchors is None else receipt(anchors)
        return cls(order, served, served, count, proof)
