"""Augmentation of a dataset: which transforms act on which field, and one slot's way through them."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from multifeed.augment.base import Draws, NDArray, Pointwise, Size, Transform
from multifeed.augment.draws import generator, uniforms
from multifeed.augment.geometry import Geometry, RandomAffine
from multifeed.augment.warp import Warp
from multifeed.errors import DeclarationError, lines, near
from multifeed.fields.base import Base, Columnar, Derived, Field, PerSample
from multifeed.fields.gather import OneByOne
from multifeed.fields.resize import resize
from multifeed.spec import Spec


@dataclass(frozen=True)
class Shot:
    """The draws of some consecutive slots.

    Args:
        seed: The feed's seed.
        epoch: The pass over the samples that they are of.
        start: The first slot.
        draw: 0 for the draw that the batch has.
        draws: The parameters of each transform, in order.
        matrices: For each field that is warped, ``float64[slots, 2, 3]``.
    """

    seed: int
    epoch: int
    start: int
    draw: int
    draws: Sequence[Draws]
    matrices: Mapping[str, NDArray]

    def generator(self, number: int, place: int) -> np.random.Generator:
        """Return the generator of a transform for the slot at a place."""
        return generator(self.seed, self.epoch, number, self.start + place, draw=self.draw)


class TransformError(Exception):
    """A transform failed; the cause says how.

    Args:
        transform: What it is called.
        field: The field that it acted on.
    """

    def __init__(self, transform: str, field: str) -> None:
        super().__init__(transform, field)
        self.transform, self.field = transform, field


@dataclass(frozen=True)
class Clean:
    """A copy of a field that is taken before some kinds of transforms.

    Args:
        name: The name of the copy.
        reader: Makes the copy of the field's values.
        before: Those kinds.
    """

    name: str
    reader: Derived
    before: Sequence[str]


class Pipeline:
    """One field's way from its base to its place in the batch.

    Args:
        name: The field.
        base: What the transforms start from.
        warp: How the base is warped; None if no geometry acts on the field.
    """

    def __init__(self, name: str, base: Base, warp: Warp | None) -> None:
        self.name = name
        self.base = base
        reader = base.reader
        self.reader: PerSample = OneByOne(reader) if isinstance(reader, Columnar) else reader
        self._warp = warp
        self.scratch = Scratch()

    def start(
        self, row: int, loaded: Any, shot: Shot, place: int, out: NDArray
    ) -> tuple[NDArray, int | None]:
        """Return the values of a sample after its geometry, in `out` or in memory of this thread.

        Also how many of its items are no padding, where the field pads.
        """
        spec, base_spec = self.base.spec, self.reader.spec
        values = out if self.base.finish is None else self.scratch.array("values", spec)
        if self._warp is None and base_spec == spec:
            return values, self.reader.decode(row, loaded, values)
        base = self.scratch.array("base", base_spec)
        length = self.reader.decode(row, loaded, base)
        if self._warp is None:
            resize(base, values, self.base.interpolation)
        else:
            # Label maps may have no axis of channels.
            pixels = base.reshape(*base.shape[:2], -1)
            target = values.reshape(*values.shape[:2], -1)
            self._warp.apply(pixels, shot.matrices[self.name][place], target)
        return values, length

    def finish(self, values: NDArray, out: NDArray) -> None:
        """Write transformed values to their place in the batch."""
        if self.base.finish is not None:
            self.base.finish(values, out)


class Scratch(threading.local):
    """Memory that a thread uses again for every sample."""

    def __init__(self) -> None:
        self._arrays: dict[str, NDArray] = {}

    def array(self, use: str, spec: Spec) -> NDArray:
        """Return the array of a use, with whatever it holds."""
        if use not in self._arrays:
            self._arrays[use] = np.empty(spec.shape, spec.dtype)
        return self._arrays[use]


class Augmentation:
    """Transforms, bound to the fields of a dataset.

    Args:
        transforms: The transforms in the order in which they apply.
        bases: What the transforms start from, for each field that one acts on.
        copies: The copies of such fields that are taken before some kinds of transforms.
    """

    def __init__(
        self,
        transforms: Sequence[Transform],
        bases: Mapping[str, Base],
        copies: Mapping[str, Sequence[Clean]],
    ) -> None:
        self.transforms = tuple(transforms)
        self._geometry = {name: self._of(name, Geometry) for name in bases}
        self.pointwise: list[tuple[int, Pointwise]] = [
            (number, each) for number, each in enumerate(transforms) if isinstance(each, Pointwise)
        ]
        self._check_order(bases)
        self._warps = {
            name: _warp_of(name, base, [each for _, each in self._geometry[name]])
            for name, base in bases.items()
            if self._geometry[name]
        }
        self._check_aspects()
        self.pipelines = {
            name: Pipeline(name, base, self._warps.get(name)) for name, base in bases.items()
        }
        self._copies = {name: tuple(copies.get(name, ())) for name in bases}
        self.specs: dict[str, Spec] = {name: base.final for name, base in bases.items()}
        # The fields that `finish` and the pipelines write.
        self.written = [*bases, *(copy.name for each in self._copies.values() for copy in each)]

    def makes(self, name: str) -> bool:
        """Tell whether a copy of a field is made here, on the way."""
        return name in self.written

    def fill(self, name: str, value: NDArray, out: Mapping[str, NDArray]) -> None:
        """Write what stands for a missing sample of a field, which is not augmented, and its copies."""
        out[name][...] = value
        for copy in self._copies[name]:
            copy.reader.derive(out[name][None], None, out[copy.name][None])

    def finish(
        self, values: dict[str, NDArray], shot: Shot, place: int, out: Mapping[str, NDArray]
    ) -> None:
        """Apply all that comes after geometry, and write the results to their places.

        Args:
            values: One sample's values by field; they are changed.
            shot: The draws.
            place: Which slot of them is the sample's.
            out: The places, by name, copies included.
        """
        for name, given in values.items():
            for copy in self._copies[name]:
                self._copy(copy, name, given, shot, place, out[copy.name])
        self._transform(values, shot, place, ())
        for name, given in values.items():
            self.pipelines[name].finish(given, out[name])

    def _copy(
        self, copy: Clean, name: str, values: NDArray, shot: Shot, place: int, out: NDArray
    ) -> None:
        """Write a copy of a field that lacks some kinds of transforms."""
        pipeline = self.pipelines[name]
        clean = pipeline.scratch.array("clean", pipeline.base.spec)
        clean[...] = values
        self._transform({name: clean}, shot, place, copy.before)
        if pipeline.base.finish is not None:
            final = pipeline.scratch.array("final", pipeline.base.final)
            pipeline.finish(clean, final)
            clean = final
        copy.reader.derive(clean[None], None, out[None])

    def _transform(
        self, values: Mapping[str, NDArray], shot: Shot, place: int, without: Sequence[str]
    ) -> None:
        """Apply the transforms that come after geometry, but for those of some kinds."""
        for number, each in self.pointwise:
            if each.kind in without:
                continue
            some = {name: values[name] for name in each.fields if name in values}
            if not some:
                continue
            try:
                each.apply(some, shot.draws[number], place, partial(shot.generator, number, place))
            except Exception as error:
                raise TransformError(type(each).__name__, next(iter(some))) from error

    def shoot(self, seed: int, epoch: int, start: int, stop: int, *, draw: int = 0) -> Shot:
        """Return the draws of the slots `start` to `stop`."""
        draws = [
            each.draw(uniforms(seed, epoch, number, start, stop, each.count, draw=draw))
            for number, each in enumerate(self.transforms)
        ]
        matrices = {name: self._matrices(name, draws) for name in self._warps}
        return Shot(seed, epoch, start, draw, draws, matrices)

    def _matrices(self, name: str, draws: Sequence[Draws]) -> NDArray:
        """Return the composed matrix of each slot, ``float64[slots, 2, 3]``, in pixels."""
        warp = self._warps[name]
        frame = warp.base
        total = np.eye(3)
        for number, each in self._geometry[name]:
            after = warp.size if each.crops else frame
            total = total @ each.matrices(draws[number], frame, after)
            frame = after
        return warp.pixels(total)

    def _of(self, name: str, kind: type[Any]) -> list[tuple[int, Any]]:
        return [
            (number, each)
            for number, each in enumerate(self.transforms)
            if isinstance(each, kind) and name in each.fields
        ]

    def _check_order(self, bases: Mapping[str, Base]) -> None:
        """Raise if geometry comes after something that cannot be exchanged with it."""
        for name in bases:
            for number, each in self._geometry[name]:
                for earlier, other in self.pointwise:
                    if earlier < number and name in other.fields and other.kind != "color":
                        raise DeclarationError(
                            lines(
                                "all geometry of a field is one interpolation from its base image, which comes "
                                f"first; for {name!r}, {type(each).__name__} stands after "
                                f"{type(other).__name__}.",
                                f"Put {type(each).__name__} before it.",
                            )
                        )

    def _check_aspects(self) -> None:
        """Raise if fields that share geometry cannot stay together."""
        for each in self.transforms:
            if isinstance(each, Geometry):
                first, *others = each.fields
                for name in others:
                    self._check_pair(each, first, name)

    def _check_pair(self, transform: Geometry, first: str, other: str) -> None:
        (rows, columns), (height, width) = (self._frame(name, transform) for name in (first, other))
        kind = type(transform).__name__
        # Sizes are whole pixels: one pixel more or less is no other aspect ratio.
        if transform.turns and abs(height * columns - width * rows) > max(height, width):
            raise DeclarationError(
                lines(
                    f"images that turn together have one aspect ratio: {first!r} is {rows} x {columns} and "
                    f"{other!r} {height} x {width}.",
                    f"Declare them with sizes of one aspect ratio, or give {other!r} a {kind} of its own.",
                )
            )
        if transform.cuts:
            one = np.divide(self._warps[first].size, (rows, columns))
            two = np.divide(self._warps[other].size, (height, width))
            if np.abs(one - two).max() > 0.02:
                raise DeclarationError(
                    lines(
                        f"images that are cut together show the same part: {first!r} keeps {_shares(one)} of "
                        f"its height and width, {other!r} {_shares(two)}.",
                        "Declare each base_size in proportion to its size.",
                    )
                )

    def _frame(self, name: str, transform: Geometry) -> Size:
        """Return the size of the image that a transform acts on."""
        warp = self._warps[name]
        before = [each for _, each in self._geometry[name]]
        before = before[: before.index(transform)]
        return warp.size if any(each.crops for each in before) else warp.base


def _shares(shares: NDArray) -> str:
    return " and ".join(f"{each:.0%}" for each in shares)


def _warp_of(name: str, base: Base, transforms: Sequence[Geometry]) -> Warp:
    """Return how a field is warped by its geometry."""
    before, after = base.reader.spec.shape[:2], base.spec.shape[:2]
    filling = [each for each in transforms if isinstance(each, RandomAffine)]
    fills = {(each.fill, each.fill_value) for each in filling} or {("nearest", 0.0)}
    if len(fills) > 1:
        raise DeclarationError(
            f"all geometry of a field is one interpolation, with one fill; those of {name!r} have "
            f"{', '.join(repr(fill) for fill, _ in sorted(fills))}."
        )
    for each in transforms:
        if each.cuts and (before[0] <= after[0] or before[1] <= after[1]):
            larger = tuple(math.ceil(side * 8 / 7) for side in after)
            raise DeclarationError(
                lines(
                    f"{type(each).__name__} cuts an image of `size` out of a larger base image; that of "
                    f"{name!r} is {after[0]} x {after[1]} of {before[0]} x {before[1]}.",
                    f"Declare it with a larger base_size, e.g. base_size={larger}.",
                )
            )
    (fill, fill_value), *_ = fills
    return Warp((before[0], before[1]), (after[0], after[1]), base.interpolation, fill, fill_value)


def checked(transforms: Any, fields: Mapping[str, Field]) -> tuple[Transform, ...]:
    """Return declared transforms, having seen that each names fields that exist."""
    each: Any
    given = (transforms,) if isinstance(transforms, Transform) else tuple(transforms)
    for each in given:
        if not isinstance(each, Transform):
            raise DeclarationError(
                lines(
                    f"augment holds transforms; received {each!r}.",
                    'Write e.g. augment=[mf.RandomFlip("photo")]; a function of yours goes into '
                    "mf.RandomFunction(fields, function).",
                )
            )
        for name in each.fields:
            if name not in fields:
                raise DeclarationError(
                    lines(
                        f"{type(each).__name__} names no field of the dataset: {name!r}.",
                        near(name, fields),
                    )
                )
    return given
