"""What a transform must do.

A transform is a declaration, as a field is: which fields it acts on, and between which bounds. All of
its fields share its draw. `Transform.draw` turns the random numbers of many slots into parameters at
once; what acts on a sample is then deterministic.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from multifeed.errors import DeclarationError, lines
from multifeed.fields.shared import column_names
from multifeed.spec import Spec

NDArray = np.ndarray[Any, Any]

# (height, width) in pixels.
Size = tuple[int, int]

MakeGenerator = Callable[[], np.random.Generator]

# The parameters of many slots, by name: each ``[slots, ...]``.
Draws = Mapping[str, NDArray]


@dataclass(frozen=True)
class Transform(ABC):
    """A random change of one or more fields, declared.

    Args:
        fields: The name of a field, or of several that share each draw.
    """

    fields: str | Sequence[str]

    # What `Same(before=...)` calls it: "geometry", "color", "noise" or "mix".
    kind: ClassVar[str]

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
