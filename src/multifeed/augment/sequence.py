"""Sequences and spectrograms: arrays of which the first axis is time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import numpy as np

from multifeed.augment.base import Columnwise, Draws, MakeGenerator, NDArray
from multifeed.errors import DeclarationError, lines
from multifeed.fields.shared import one_of, whole_number
from multifeed.spec import Spec

_AXES = ("steps", "frequencies")


@dataclass(frozen=True)
class _Along(Columnwise):
    """A transform of fields along one of their axes, by some number of steps at most."""

    most: int | float

    kind: ClassVar[str] = "noise"
    axis: ClassVar[int] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        steps = whole_number(self.most)
        is_share = isinstance(self.most, float | np.floating) and 0 < self.most <= 1
        if not is_share and (steps is None or steps < 1):
            raise DeclarationError(
                lines(
                    f"most is a whole number of {_AXES[self.axis]}, at least 1, or a share of all of "
                    f"them as a float, up to 1.0; received {self.most!r}.",
                    "Write e.g. most=8, or most=0.1.",
                )
            )
        object.__setattr__(self, "most", float(self.most) if steps is None else steps)

    def check(self, name: str, spec: Spec) -> None:
        kind = type(self).__name__
        if len(spec.shape) <= self.axis:
            wanted = "arrays, (steps, ...)" if self.axis == 0 else "spectrograms, (time, frequency, ...)"
            raise DeclarationError(f"{kind} acts on {wanted}; field {name!r} is {spec}.")
        if self._limit(spec.shape[self.axis]) > spec.shape[self.axis]:
            raise DeclarationError(
                f"{kind} has most={self.most}; field {name!r} has {spec.shape[self.axis]} "
                f"{_AXES[self.axis]}."
            )

    def _limit(self, size: int) -> int:
        """Return how many steps of an axis are the most."""
        return self.most if isinstance(self.most, int) else int(self.most * size)


@dataclass(frozen=True)
class _Mask(_Along):
    """Overwrites a window of an axis.

    Its length and place are drawn as numbers from 0 to 1, and so relative to each field's own size.
    """

    _: KW_ONLY
    value: float = 0.0

    @property
    def count(self) -> int:
        return 2

    def draw(self, numbers: NDArray) -> Draws:
        length, place = numbers.T
        return {"length": length, "place": place}

    def check(self, name: str, spec: Spec) -> None:
        super().check(name, spec)
        stored = np.asarray(self.value).astype(spec.dtype)
        if not spec.dtype.startswith("float") and stored != self.value:
            raise DeclarationError(
                f"value is a number that {spec} can hold; field {name!r} cannot be masked with "
                f"{self.value!r}."
            )

    def apply_all(
        self,
        values: Mapping[str, NDArray],
        draws: Draws,
        start: int,
        stop: int,
        generator: MakeGenerator,
    ) -> None:
        length, place = draws["length"][start:stop], draws["place"][start:stop]
        for each in values.values():
            size = each.shape[1 + self.axis]
            lengths = np.floor(length * (self._limit(size) + 1))
            starts = np.floor(place * (size - lengths + 1))
            # Time, or frequency, first.
            turned = each if self.axis == 0 else each.swapaxes(1, 2)
            firsts, ends = starts.astype(int).tolist(), (starts + lengths).astype(int).tolist()
            for sample, first, end in zip(turned, firsts, ends, strict=True):
                sample[first:end] = self.value


@dataclass(frozen=True)
class TimeMask(_Mask):
    """Overwrite some consecutive steps (SpecAugment: Park et al., Interspeech 2019).

    How many, and from which one on, is drawn uniformly, from none to `most`. All named fields lose the
    same share of their steps, at the same place. For several masks, declare it several times.

    Args:
        fields: The sequences ``[steps, ...]`` or spectrograms ``[time, frequency, ...]`` of any dtype.
        most: The most steps that are masked: a whole number, or a share of all steps as a float.
        value: What they become; 0 is the mean of normalised values, as in the paper.

    Raises:
        DeclarationError: If `most` is out of range or more than a field has, or a field has no axes.

    Example:
        >>> TimeMask("sound", most=0.1).most
        0.1
    """


@dataclass(frozen=True)
class FrequencyMask(_Mask):
    """Overwrite some consecutive frequencies (SpecAugment: Park et al., Interspeech 2019).

    As `TimeMask`, along the second axis.

    Args:
        fields: The spectrograms ``[time, frequency, ...]`` of any dtype.
        most: The most frequencies that are masked: a whole number, or a share of all as a float.
        value: What they become; 0 is the mean of normalised values, as in the paper.

    Raises:
        DeclarationError: If `most` is out of range or more than a field has, or a field has no second
            axis.

    Example:
        >>> FrequencyMask("sound", most=27).most
        27
    """

    axis: ClassVar[int] = 1


@dataclass(frozen=True)
class RandomShift(_Along):
    """Shift sequences along their first axis, earlier or later by whole steps.

    Each number of steps from -most to most is as likely. With a whole number, all named fields move by
    as many steps; with a share, by the same share of their own.

    Args:
        fields: The sequences ``[steps, ...]`` of any dtype.
        most: The most steps: a whole number, or a share of all steps as a float.
        fill: ``"wrap"``: what leaves at one end comes in at the other. ``"constant"``: 0 comes in.

    Raises:
        DeclarationError: If `most` is out of range or more than a field has, or a field has no axes.

    Example:
        >>> RandomShift("sensor", most=50, fill="constant").fill
        'constant'
    """

    moves_items: ClassVar[bool] = True
    _: KW_ONLY
    fill: str = "wrap"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("fill", self.fill, ("wrap", "constant"))

    @property
    def count(self) -> int:
        return 1

    def draw(self, numbers: NDArray) -> Draws:
        return {"shift": numbers[:, 0]}

    def apply_all(
        self,
        values: Mapping[str, NDArray],
        draws: Draws,
        start: int,
        stop: int,
        generator: MakeGenerator,
    ) -> None:
        for each in values.values():
            limit = self._limit(each.shape[1])
            steps = np.floor(draws["shift"][start:stop] * (2 * limit + 1)).astype(int) - limit
            for sample, step in zip(each, steps.tolist(), strict=True):
                if step:
                    self._shift(sample, step)

    def _shift(self, sample: NDArray, step: int) -> None:
        """Move a sample's values `step` places towards the end, in place."""
        kept = len(sample) - abs(step)
        source = slice(0, kept) if step > 0 else slice(-step, None)
        target = slice(step, None) if step > 0 else slice(0, kept)
        freed = slice(0, step) if step > 0 else slice(kept, None)
        leaving = sample[kept:] if step > 0 else sample[:-step]
        coming = leaving.copy() if self.fill == "wrap" else 0
        # NumPy sees that these overlap, and copies first.
        sample[target] = sample[source]
        sample[freed] = coming
