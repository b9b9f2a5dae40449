"""Spot: where a thread is with its work, for whoever watches it, and after it has ended its process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn, Protocol

from multifeed.errors import BadValue

# Stands for a row where none is read on its own.
NO_ROW = -1


class Place(Protocol):
    """Two whole numbers: a list, or memory that processes share."""

    def __setitem__(self, index: int, value: int, /) -> None:
        """Write one of them."""


class Spot:
    """Where a thread is: the row that it reads, and the number of the field.

    Whoever reads writes the row to ``place[0]``, each time before it does, and the field to
    ``place[1]``; a row that is `fatal` it must `refuse`. That is not a method, since samples of a
    microsecond would take half as long again.

    Args:
        place: Where it says so: two whole numbers.
        fatal: By row, how the last worker process ended that has read it: such rows are read no more.
    """

    __slots__ = ("fatal", "place")

    def __init__(self, place: Place | None = None, fatal: Mapping[int, str] | None = None) -> None:
        self.place: Place = [NO_ROW, 0] if place is None else place
        self.fatal = {} if fatal is None else fatal

    def refuse(self, row: int) -> NoReturn:
        """Say that a row is not read, since that has ended worker processes."""
        raise BadValue(
            f"has ended two worker processes, the last one {self.fatal[row]}",
            "Read data[row] in a process that may end to see why; or leave the row out: "
            'data.select, or on_error="drop" or "mask".',
        )
