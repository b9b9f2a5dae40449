"""Augmentation of a dataset: which transforms act on which field, and one slot's way through them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from multifeed.augment.base import Columnwise, Draws, NDArray, Pointwise, Size, Transform
from multifeed.augment.draws import generator, uniforms, words
from multifeed.augment.geometry import Geometry
from multifeed.augment.mix import Mix, Mixing
from multifeed.augment.warp import Warp
from multifeed.augment.warp3d import Warp3D
from multifeed.errors import DeclarationError, lines, near
from multifeed.fields.base import Base, Columnar, Derived, Field, Made, PerSample, Told
from multifeed.fields.frame import Frame, resizing
from multifeed.fields.gather import OneByOne
from multifeed.fields.resize import resize
from multifeed.fields.scratch import Scratch
from multifeed.spec import Spec

# What the axes of images and of volumes are called, by how many there are.
_AXES = {2: ("height", "width"), 3: ("depth", "height", "width")}
_NOUNS = {2: "image", 3: "volume"}


@dataclass(frozen=True)
class Shot:
    """The draws of some consecutive slots.

    Args:
        seed: The feed's seed.
        epoch: The pass over the samples that they are of.
        start: The first slot.
        draw: 0 for the draw that the batch has.
        draws: The parameters of each transform, in order.
        moves: For each field that is warped, what its warp does for each slot.
        domain: Whose draws they are: 0 for the samples of the batch, 1 + the number of a mix for the
            partners that it mixes them with.
        partners: The draws of those partners, by the number of the mix.
    """

    seed: int
    epoch: int
    start: int
    draw: int
    draws: Sequence[Draws]
    moves: Mapping[str, Sequence[Any]]
    domain: int = 0
    partners: Mapping[int, Shot] = field(default_factory=dict)

    def generator(self, number: int, place: int) -> np.random.Generator:
        """Return the generator of a transform for the slot at a place."""
        stream = _stream(number, self.domain)
        return generator(self.seed, self.epoch, stream, self.start + place, draw=self.draw)

    def words(self, number: int, start: int, stop: int, count: int, stream: int) -> NDArray:
        """Return random words of a transform for the slots from place `start` to `stop`."""
        transform = _stream(number, self.domain)
        first, last = self.start + start, self.start + stop
        # The first two streams are those of `uniforms` and of `generator`.
        return words(
            self.seed, self.epoch, transform, first, last, count, draw=self.draw, stream=stream + 2
        )


@dataclass(frozen=True)
class Numbers:
    """Random numbers of some slots for one transform: a `MakeGenerator`.

    Args:
        shot: The shot.
        number: Which transform.
        start: The place of the first slot.
        stop: The place after the last.
    """

    shot: Shot
    number: int
    start: int
    stop: int

    def __call__(self) -> np.random.Generator:
        return self.shot.generator(self.number, self.start)

    def words(self, count: int, stream: int) -> NDArray:
        return self.shot.words(self.number, self.start, self.stop, count, stream)


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

    def __init__(self, name: str, base: Base, warp: Warp | Warp3D | None) -> None:
        self.name = name
        self.base = base
        reader = base.reader
        self.reader: PerSample = OneByOne(reader) if isinstance(reader, Columnar) else reader
        self._warp = warp
        self.scratch = Scratch()

    def start(self, row: int, loaded: Any, shot: Shot, place: int, out: NDArray) -> tuple[NDArray, Told]:
        """Return the values of a sample after its geometry, in `out` or in memory of this thread.

        Also what its reader told of it: how many of its items are no padding, or the frame of its base.
        """
        spec, base_spec = self.base.spec, self.reader.spec
        values = (
            out if self.base.finish is None else self.scratch.array("values", spec.shape, spec.dtype)
        )
        if self._warp is None and base_spec == spec:
            return values, self.reader.decode(row, loaded, values)
        seen = self.reader.view(row, loaded)
        if seen is None:
            base = self.scratch.array("base", base_spec.shape, base_spec.dtype)
            told = self.reader.decode(row, loaded, base)
        else:
            base, told = seen
        if self._warp is None:
            resize(base, values, self.base.interpolation, antialias=self.base.antialias)
        else:
            # Label maps may have no axis of channels.
            pixels = base.reshape(*self._warp.base, -1)
            target = values.reshape(*self._warp.size, -1)
            self._warp.apply(pixels, shot.moves[self.name][place], target)
        return values, told

    def frame(self, told: Told, shot: Shot, place: int) -> Told:
        """Return how the image of a sample lies in what its geometry has made of it.

        Args:
            told: What the reader of its base told.
            shot: The draws.
            place: Which slot of them is the sample's.
        """
        if isinstance(self._warp, Warp3D):
            # Frames are of images.
            return told
        base, size = self.reader.spec.shape[:2], self.base.spec.shape[:2]
        if self._warp is not None and told is None:
            told = Frame.whole((base[0], base[1]))
        if not isinstance(told, Frame):
            return told
        if self._warp is not None:
            return told.then(self._warp.shown(shot.moves[self.name][place].matrix))
        return told if base == size else told.then(resizing((base[0], base[1]), (size[0], size[1])))

    def finish(self, values: NDArray, out: NDArray) -> None:
        """Write transformed values to their place in the batch."""
        if self.base.finish is not None:
            self.base.finish(values, out)


class Augmentation:
    """Transforms, bound to the fields of a dataset.

    Args:
        transforms: The transforms in the order in which they apply.
        bases: What the transforms start from, for each field that one acts on.
        copies: The copies of such fields that are taken before some kinds of transforms.
        mixings: The mixes among the transforms, bound.
        unmixed: The copies, of other fields, that are taken before these are mixed.
        columns: Fields without a base, since all transforms of theirs act on many rows at once.
    """

    def __init__(
        self,
        transforms: Sequence[Transform],
        bases: Mapping[str, Base],
        copies: Mapping[str, Sequence[Clean]],
        mixings: Sequence[Mixing] = (),
        unmixed: Collection[str] = (),
        columns: Collection[str] = (),
    ) -> None:
        self.transforms = tuple(transforms)
        self.mixings = tuple(mixings)
        self.unmixed = unmixed
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
        self._seen = {name: self._together([name]) for name in bases}
        self._columnwise: dict[str, list[tuple[int, Columnwise]]] = {
            name: self._of(name, Columnwise) for name in columns
        }
        self.specs: dict[str, Spec] = {name: base.final for name, base in bases.items()}
        # The fields that `finish` and the pipelines write.
        self.written = [*bases, *(copy.name for each in self._copies.values() for copy in each)]
        self._drawn_by: list[Transform | Mixing] = list(self.transforms)
        for mixing in self.mixings:
            self._drawn_by[mixing.number] = mixing
        # What is made of a partner: what the mix names, and what is transformed together with that.
        self.companions = {each.number: self._together(each.specs) for each in self.mixings}
        self._mixed = {each.number: self._mixed_by(each) for each in self.mixings}
        self._scratch = Scratch()

    def makes(self, name: str) -> bool:
        """Tell whether a copy of a field is made here, on the way."""
        return name in self.written

    def fill(self, name: str, value: NDArray, out: Mapping[str, NDArray]) -> None:
        """Write what stands for a missing sample of a field, which is not augmented, and its copies."""
        out[name][...] = value
        for copy in self._copies[name]:
            copy.reader.derive(_one(out[name]), out[copy.name][None])

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
        for name in values:
            for copy in self._copies[name]:
                self._copy(copy, name, values, shot, place, out[copy.name])
        self._transform(values, shot, place, ())
        for name, given in values.items():
            self.pipelines[name].finish(given, out[name])

    def _copy(
        self,
        copy: Clean,
        name: str,
        values: Mapping[str, NDArray],
        shot: Shot,
        place: int,
        out: NDArray,
    ) -> None:
        """Write a copy of a field that lacks some kinds of transforms."""
        pipeline = self.pipelines[name]
        # A function that looks at several fields sees them all without these kinds.
        seen = [other for other in self._seen[name] if other in values]
        several = {other: self._clean(other, values[other]) for other in seen}
        self._transform(several, shot, place, copy.before)
        clean = several[name]
        if pipeline.base.finish is not None:
            spec = pipeline.base.final
            final = pipeline.scratch.array("final", spec.shape, spec.dtype)
            pipeline.finish(clean, final)
            clean = final
        copy.reader.derive(_one(clean), out[None])

    def _clean(self, name: str, values: NDArray) -> NDArray:
        """Return a copy of a field's values, in memory of this thread."""
        pipeline = self.pipelines[name]
        clean = pipeline.scratch.array("clean", pipeline.base.spec.shape, pipeline.base.spec.dtype)
        clean[...] = values
        return clean

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
                each.apply(some, shot.draws[number], place, Numbers(shot, number, place, place + 1))
            except (Exception, SystemExit) as error:
                # Most do not say which of their fields it was.
                name = getattr(error, "field", None) or next(iter(some))
                raise TransformError(type(each).__name__, name) from error

    def apply_columns(self, name: str, values: NDArray, shot: Shot, start: int = 0) -> None:
        """Apply the transforms of one of the `columns` to the rows of slots from `start` on."""
        stop = start + len(values)
        for number, each in self._columnwise.get(name, ()):
            numbers = Numbers(shot, number, start, stop)
            each.apply_all({name: values}, shot.draws[number], start, stop, numbers)

    def shoot(self, seed: int, epoch: int, start: int, stop: int, *, draw: int = 0) -> Shot:
        """Return the draws of the slots `start` to `stop`, and of their partners."""
        shoot = partial(self._shoot, seed, epoch, start, stop, draw)
        partners = {
            each.number: shoot(1 + each.number)
            for each in self.mixings
            if self.companions[each.number] or not self._columnwise.keys().isdisjoint(each.specs)
        }
        return replace(shoot(0), partners=partners)

    def _shoot(self, seed: int, epoch: int, start: int, stop: int, draw: int, domain: int) -> Shot:
        draws: list[Draws] = []
        for number, each in enumerate(self._drawn_by):
            # A partner is not mixed itself.
            count = 0 if domain and isinstance(each, Mixing) else self.transforms[number].count
            stream = _stream(number, domain)
            numbers = uniforms(seed, epoch, stream, start, stop, count, draw=draw)
            draws.append({} if domain and isinstance(each, Mixing) else each.draw(numbers))
        # Fields that move together, from and to one size, have one matrix.
        known: dict[Any, Sequence[Any]] = {}
        moves = {}
        for name, warp in self._warps.items():
            together = (warp, *(number for number, _ in self._geometry[name]))
            if together not in known:
                known[together] = warp.moves(self._matrices(name, draws, stop - start))
            moves[name] = known[together]
        return Shot(seed, epoch, start, draw, draws, moves, domain)

    def partner(self, mixing: Mixing) -> dict[str, NDArray]:
        """Return this thread's memory for the `companions` of a mix, and for their copies, by name."""
        return {
            name: self._scratch.array(name, spec.shape, spec.dtype)
            for each in self.companions[mixing.number]
            for name, spec in self._specs_of(each)
        }

    def matters(self, mixing: Mixing, shot: Shot, place: int) -> bool:
        """Tell whether a slot's partner makes a difference to what is written here."""
        draws = shot.draws[mixing.number]
        return any(mixing.matters(spec, draws, place) for _, spec in self._mixed[mixing.number])

    def mix(
        self,
        mixing: Mixing,
        partner: Mapping[str, NDArray],
        shot: Shot,
        place: int,
        out: Mapping[str, NDArray],
    ) -> None:
        """Mix a sample, in its places, with its partner, in the memory of `partner`."""
        draws = shot.draws[mixing.number]
        for name, spec in self._mixed[mixing.number]:
            mixing.mix(spec, out[name][None], partner[name][None], draws, slice(place, place + 1))

    def _together(self, names: Collection[str]) -> list[str]:
        """Return some fields, and those that a function may look at along with them."""
        found: set[str] = set()
        more = {name for name in names if name in self.pipelines}
        while more - found:
            found |= more
            comparing = [each.fields for _, each in self.pointwise if each.compares]
            shared = [fields for fields in comparing if found & set(fields)]
            more = {name for fields in shared for name in fields}
        return [name for name in self.pipelines if name in found]

    def _mixed_by(self, mixing: Mixing) -> list[tuple[str, Spec]]:
        """Return the fields that a mix acts on here, and their copies."""
        unmixed = {copy.name for each in self._copies.values() for copy in each if "mix" in copy.before}
        return [
            (name, spec)
            for each in self.companions[mixing.number]
            if each in mixing.specs
            for name, spec in self._specs_of(each)
            if name not in unmixed
        ]

    def _specs_of(self, name: str) -> list[tuple[str, Spec]]:
        copies = [(copy.name, copy.reader.spec) for copy in self._copies[name]]
        return [(name, self.specs[name]), *copies]

    def _matrices(self, name: str, draws: Sequence[Draws], slots: int) -> NDArray:
        """Return the composed matrix of each slot, ``float64[slots, axes, axes + 1]``, in pixels."""
        warp = self._warps[name]
        frame = warp.base
        total = np.tile(np.eye(len(frame) + 1), (slots, 1, 1))
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
                                "all geometry of a field is one interpolation from its base image, "
                                f"which comes first; for {name!r}, {type(each).__name__} stands after "
                                f"{type(other).__name__}.",
                                f"Put {type(each).__name__} before it.",
                            )
                        )

    def _check_aspects(self) -> None:
        """Raise if fields that share geometry cannot stay together."""
        for number, each in enumerate(self.transforms):
            if isinstance(each, Geometry):
                first, *others = each.fields
                for name in each.fields:
                    self._check_swaps(number, each, name)
                for name in others:
                    self._check_pair(number, each, first, name)

    def _check_swaps(self, number: int, transform: Geometry, name: str) -> None:
        size = self._frame(name, number)
        for one, other in transform.swaps:
            if size[one] != size[other]:
                first, second = (_AXES[len(size)][axis] for axis in (one, other))
                raise DeclarationError(
                    lines(
                        f"a quarter turn puts {first} in the place of {second}, so they are of one "
                        f"length; {name!r} is {_by(size)}.",
                        f"Leave the axis across them out of {type(transform).__name__}, or declare "
                        "another size.",
                    )
                )

    def _check_pair(self, number: int, transform: Geometry, first: str, other: str) -> None:
        here, there = (self._frame(name, number) for name in (first, other))
        kind, noun = type(transform).__name__, _NOUNS[len(here)]
        for one, two in transform.turns:
            # Sizes are whole pixels: one pixel more or less of the smaller is no other aspect ratio.
            unlike = abs(there[one] * here[two] - there[two] * here[one])
            if unlike > max(there[one], there[two], here[one], here[two]):
                raise DeclarationError(
                    lines(
                        f"{noun}s that turn together have one aspect ratio: {first!r} is {_by(here)} "
                        f"and {other!r} {_by(there)}.",
                        "Declare them with sizes of one aspect ratio, or "
                        f"give {other!r} a {kind} of its own.",
                    )
                )
        if transform.cuts:
            shown = np.divide(self._warps[first].size, here)
            other_shown = np.divide(self._warps[other].size, there)
            # Sizes are whole pixels: a pixel of the smaller one more or less is the same share.
            if np.abs(shown - other_shown).max() > 1 / min(*here, *there):
                raise DeclarationError(
                    lines(
                        f"{noun}s that are cut together show the same part: {first!r} keeps "
                        f"{_shares(shown)} of its {_listed(_AXES[len(here)])}, {other!r} "
                        f"{_shares(other_shown)}.",
                        "Declare each base_size in proportion to its size.",
                    )
                )

    def _frame(self, name: str, number: int) -> Size:
        """Return the size of the image that a transform of a number acts on."""
        warp = self._warps[name]
        before = [each for earlier, each in self._geometry[name] if earlier < number]
        return warp.size if any(each.crops for each in before) else warp.base


def _one(values: NDArray) -> Made:
    """Return one sample's values to a copy, which does not ask for their row."""
    return Made(np.zeros(1, np.int64), values[None])


def _stream(number: int, domain: int) -> int:
    """Return the number under which a transform draws: another one for each mix's partners."""
    # Lists of 65,536 transforms are not to be feared.
    return number + (domain << 16)


def _shares(shares: NDArray) -> str:
    return _listed([f"{each:.0%}" for each in shares])


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _by(size: Size) -> str:
    return " x ".join(map(str, size))


def _warp_of(name: str, base: Base, transforms: Sequence[Geometry]) -> Warp | Warp3D:
    """Return how a field is warped by its geometry."""
    axes = 3 if len(base.spec.shape) == 4 else 2
    before, after = base.reader.spec.shape[:axes], base.spec.shape[:axes]
    fills = {each.filling for each in transforms if each.filling} or {("nearest", 0.0)}
    if len(fills) > 1:
        raise DeclarationError(
            f"all geometry of a field is one interpolation, with one fill; those of {name!r} have "
            f"{', '.join(repr(fill) for fill, _ in sorted(fills))}."
        )
    for number, each in enumerate(transforms):
        if each.cuts and any(other.crops for other in transforms[:number]):
            raise DeclarationError(
                lines(
                    f"{type(each).__name__} has nothing left to cut: what stands before it for {name!r} "
                    f"has brought the {_NOUNS[axes]} to its `size` already.",
                    f"Put {type(each).__name__} first, or leave it out.",
                )
            )
        is_larger = before != after and all(np.greater_equal(before, after))
        if each.cuts and not is_larger:
            larger = tuple(math.ceil(side * 8 / 7) for side in after)
            noun = _NOUNS[axes]
            raise DeclarationError(
                lines(
                    f"{type(each).__name__} cuts {noun}s of `size` out of a larger base {noun}; that of "
                    f"{name!r} is {_by(after)} of {_by(before)}.",
                    f"Declare it with a larger base_size, e.g. base_size={larger}.",
                )
            )
    (fill, fill_value), *_ = fills
    if axes == 3:
        return Warp3D(before, after, base.interpolation, fill, fill_value)
    return Warp(before, after, base.interpolation, fill, fill_value, base.antialias)


def by_columns(
    transforms: Sequence[Transform], bases: Mapping[str, Base], copied: Collection[str]
) -> list[str]:
    """Return the fields of which many rows can be read and transformed at once.

    Args:
        transforms: All transforms.
        bases: What they start from.
        copied: Fields of which there is a copy without some of them.
    """
    fast = Columnwise, Mix
    slow = {name for each in transforms if not isinstance(each, fast) for name in each.fields}
    return [
        name
        for name, base in bases.items()
        if isinstance(base.reader, Columnar)
        and base.finish is None
        and base.reader.spec == base.spec
        and name not in slow.union(copied)
    ]


def _flat(transforms: Iterable[Any]) -> Iterator[Any]:
    """Yield transforms, also those of lists in the list, as from_image_data_generator returns one."""
    for each in transforms:
        if isinstance(each, list | tuple):
            yield from _flat(each)
        else:
            yield each


def checked(transforms: Any, fields: Mapping[str, Field]) -> tuple[Transform, ...]:
    """Return declared transforms, having seen that each names fields that exist."""
    each: Any
    is_list = isinstance(transforms, Iterable) and not isinstance(transforms, Transform | str)
    given = tuple(_flat(transforms)) if is_list else (transforms,)
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
