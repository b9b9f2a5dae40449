"""What a transform must do.

A transform is a declaration, as a field is: which fields it acts on, and between which bounds. All of
its fields share its draw. `Transform.draw` turns the random numbers of many slots into parameters at
once; what acts on a sample is then deterministic.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from multifeed.errors import DeclarationError, lines
from multifeed.fields.shared import column_names
from multifeed.spec import Spec

NDArray = np.ndarray[Any, Any]

# (height, width) in pixels; of volumes (depth, height, width) in voxels.
Size = tuple[int, ...]

# The parameters of many slots, by name: each ``[slots, ...]``.
Draws = Mapping[str, NDArray]


class MakeGenerator(Protocol):
    """Where a transform has its random numbers from besides its draw: slots' own, the same each time."""

    def __call__(self) -> np.random.Generator:
        """Return the generator of the one slot, or of the first of several."""

    def words(self, count: int, stream: int) -> NDArray:
        """Return `count` random words of each slot, ``uint64[slots, count]``.

        Args:
            count: How many.
            stream: 0 or more; each gives other words, as the fields of a transform need them.
        """


@dataclass(frozen=True)
class Transform(ABC):
    """A random change of one or more fields, declared.

    Args:
        fields: The name of a field, or of several that share each draw.
    """

    fields: str | Sequence[str]

    # What `Same(before=...)` calls it: "geometry", "color", "noise" or "mix".
    kind: ClassVar[str]
    # Whether it makes colours that an image did not have, which would be other labels in a label map.
    makes_colors: ClassVar[bool] = False
    # Whether it moves the items of a sequence away from where its mask says that they are.
    moves_items: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", column_names(self.fields))

    @property
    @abstractmethod
    def count(self) -> int:
        """How many random numbers a slot needs."""

    @abstractmethod
    def draw(self, numbers: NDArray) -> Draws:
        """Turn random numbers, ``float64[slots, count]`` from 0 to 1, into parameters by name."""

    @abstractmethod
    def check(self, name: str, spec: Spec) -> None:
        """Raise `DeclarationError` unless it can act on field `name`, whose values are `spec`."""


class Pointwise(Transform):
    """A transform that changes the values of a sample in place, after all geometry."""

    @property
    def compares(self) -> bool:
        """Whether what becomes of one of its fields depends on the values of the others."""
        return False

    @abstractmethod
    def apply(
        self, values: Mapping[str, NDArray], draws: Draws, place: int, generator: MakeGenerator
    ) -> None:
        """Change one sample's values in place; must be safe to call from several threads.

        Args:
            values: The values of each of its fields that the sample has, ``[*spec.shape]``.
            draws: The parameters of all slots of the batch.
            place: Which of them is this sample's.
            generator: Makes a generator of random numbers that are this slot's own, the same ones each
                time, for noise in every pixel.
        """


class Columnwise(Pointwise):
    """A transform that changes the values of many samples at once.

    So fields that are gathered from memory stay as fast as they are.
    """

    @abstractmethod
    def apply_all(
        self,
        values: Mapping[str, NDArray],
        draws: Draws,
        start: int,
        stop: int,
        generator: MakeGenerator,
    ) -> None:
        """Change the values of some samples in place; must be safe to call from several threads.

        Args:
            values: The values of each of its fields that the samples have, ``[n, *spec.shape]``.
            draws: The parameters of all slots of the batch.
            start: Which of them is the first sample's.
            stop: The one after the last sample's: `start` + n.
            generator: Random numbers of these slots.
        """

    def apply(
        self, values: Mapping[str, NDArray], draws: Draws, place: int, generator: MakeGenerator
    ) -> None:
        ones = {name: each[None] for name, each in values.items()}
        self.apply_all(ones, draws, place, place + 1, generator)


def span(
    what: str, value: object, *, least: float | None = None, centre: float = 0.0
) -> tuple[float, float]:
    """Return the bounds that a declaration gives: a pair, or one number to either side of `centre`.

    Raises:
        DeclarationError: If they are no finite numbers, the wrong way round, or below `least`.
    """
    pair: tuple[Any, ...] = ()
    if isinstance(value, Sequence) and not isinstance(value, str):
        pair = tuple(value)
    elif isinstance(value, int | float | np.number) and value >= 0:
        pair = (centre - float(value), centre + float(value))
    is_pair = len(pair) == 2 and all(isinstance(number, int | float | np.number) for number in pair)
    if not is_pair or not np.isfinite(pair).all():
        raise DeclarationError(
            f"{what} is a number of 0 or more, or a pair (least, most); received {value!r}."
        )
    low, high = float(pair[0]), float(pair[1])
    if low > high:
        raise DeclarationError(
            lines(f"{what} is a pair (least, most); received {value!r}.", f"Write ({high:g}, {low:g}).")
        )
    if least is not None and low < least:
        raise DeclarationError(
            f"{what} is at least {least:g}; received {value!r}, which reaches {low:g}."
        )
    return low, high


def settle(values: NDArray, out: NDArray) -> None:
    """Write floats; where `out` holds whole numbers, rounded, and cut off at the least and the most.

    Args:
        values: ``float32`` or ``float64``; changed.
        out: Of the same shape.
    """
    if out.dtype.kind in "biu":
        np.rint(values, out=values)
    if out.dtype.kind in "iu":
        limits = np.iinfo(out.dtype)
        most = values.dtype.type(limits.max)
        if int(most) > limits.max:
            # No float32 is the most that 32 bits hold.
            most = np.nextafter(most, values.dtype.type(0))
        np.clip(values, limits.min, most, out=values)
    out[...] = values
