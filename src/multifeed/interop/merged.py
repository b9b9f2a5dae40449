"""Streams of batches, merged by position into batches of named inputs and targets."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from multifeed.errors import DeclarationError, StreamError, aligned, lines, near
from multifeed.fields.shared import at_least, at_least_one
from multifeed.interop.streams import Array, Cursor, Stream, close
from multifeed.spec import Spec

Batch = tuple[Any, ...]


class Merged:
    """Several streams as one: the k-th samples of all of them make one sample.

    Iterating serves an epoch. Where `steps_per_epoch` is None that is a pass, for which all streams
    begin anew; else it is as many batches, from where the last epoch ended.

    Args:
        streams: What gives batches, by name; see `from_generator`, as for the other arguments.
        batch_size: Samples a batch.
        targets: The stream, or streams, whose targets are used.
        steps_per_epoch: Batches an epoch; None for one pass.
    """

    def __init__(
        self,
        streams: Mapping[str, Any],
        batch_size: int,
        *,
        targets: str | Sequence[str] | None = None,
        steps_per_epoch: int | None = None,
    ) -> None:
        if not isinstance(streams, Mapping) or not streams:
            raise DeclarationError(
                lines(
                    f"streams are a dict, by name; received {streams!r}.",
                    'Write e.g. mf.from_generator({"images": images, "numbers": numbers}, 32).',
                )
            )
        self.batch_size = at_least("batch_size", batch_size, 1)
        self.steps_per_epoch = at_least_one("steps_per_epoch", steps_per_epoch)
        self._streams = [Stream(_checked(name), source) for name, source in streams.items()]
        self._targets = targets if targets is None or isinstance(targets, str) else tuple(targets)
        named = (targets,) if isinstance(targets, str) else self._targets or ()
        for name in named:
            if name not in streams:
                raise DeclarationError(
                    lines(f"targets names streams; {name!r} is none.", near(name, streams))
                )
        # Those that are nothing else, if they do not give inputs beside.
        self._named = set(named)
        # Where epochs go on from, if they are no passes.
        self._cursors: list[Cursor] = []
        self._given = 0
        # Batches and samples of a pass, as soon as that is known.
        self._pass: tuple[int, int] | None = None
        # Whether somebody has been told, and counts on it.
        self._is_promised = False
        self._specs: list[tuple[str, str, Spec]] = []
        weakref.finalize(self, _close, [stream.source for stream in self._streams])

    def steps(self) -> int:
        """Return how many batches an epoch has.

        Raises:
            DeclarationError: If nobody can know.
            StreamError: If streams that tell how many samples they have tell different numbers.
        """
        if self.steps_per_epoch is not None:
            return self.steps_per_epoch
        if self._pass is None:
            self._pass = self._told()
        self._is_promised = True
        return self._pass[0]

    def _told(self) -> tuple[int, int]:
        """Return how many batches and samples a pass has, as those streams tell that have a length."""
        told = [(stream.samples(), stream.name) for stream in self._streams]
        known = sorted((count, name) for count, name in told if count is not None)
        if not known:
            raise DeclarationError(
                lines(
                    "fit must know how many batches an epoch has, and no stream tells its length.",
                    "Pass steps_per_epoch= to from_generator; or go through them once before, so that "
                    "they are counted: for batch in streams: pass.",
                )
            )
        if known[0][0] != known[-1][0]:
            raise self._uneven(known[0][1], known[0][0], {name: f"{count:,}" for count, name in known})
        if not known[0][0]:
            raise _no_samples(self._streams[0])
        return -(-known[0][0] // self.batch_size), known[0][0]

    def __iter__(self) -> Iterator[Batch]:
        if self.steps_per_epoch is None:
            return self._one_pass()
        return self._go_on(self.steps_per_epoch)

    def _go_on(self, steps: int) -> Iterator[Batch]:
        self._cursors = self._cursors or [Cursor(each, repeats=True) for each in self._streams]
        for _ in range(steps):
            try:
                batch = self._next(self._cursors, self._given)
            except BaseException:
                # Some have gone on and others not: from here on they would not be aligned.
                self._drop_cursors()
                raise
            if not batch:
                raise _no_samples(self._streams[0])
            self._given += self.batch_size
            yield batch

    def _one_pass(self) -> Iterator[Batch]:
        cursors: list[Cursor] = []
        given = steps = 0
        try:
            cursors += (Cursor(each) for each in self._streams)
            while batch := self._next(cursors, given):
                yield batch
                steps += 1
                given = min(given + self.batch_size, cursors[0].samples)
            self._count(steps, given)
        finally:
            for cursor in cursors:
                cursor.close()

    def _count(self, steps: int, samples: int) -> None:
        """Note how long a pass was, which must be as long as somebody was told."""
        if not samples:
            raise _no_samples(self._streams[0])
        expected = self._pass or (steps, samples)
        if self._is_promised and (steps, samples) != expected:
            raise StreamError(
                lines(
                    f"each pass has as many samples; this one had {samples:,}, where {expected[1]:,} "
                    "were told by the first and last batches of the streams, or counted before.",
                    "Pass steps_per_epoch=: epochs then have so many steps, however long a pass is.",
                ),
                stream=self._streams[0].name,
                batch=steps,
            )
        self._pass = (steps, samples)

    def _next(self, cursors: Sequence[Cursor], given: int) -> Batch:
        """Return the next batch; an empty tuple where all streams end.

        Args:
            cursors: A place in each stream.
            given: How many samples have been given before.
        """
        taken = {each.stream.name: each.take(self.batch_size) for each in cursors}
        self._check_ends(cursors, taken)
        if not all(taken.values()):
            return ()
        parts = {each.stream.name: each.stream.packed(taken[each.stream.name]) for each in cursors}
        inputs = self._inputs(parts)
        batch = (inputs, *self._rest(parts, given))
        self._specs = self._specs or _specs_of(batch)
        return batch

    def _check_ends(self, cursors: Sequence[Cursor], taken: Mapping[str, Mapping[str, Array]]) -> None:
        """Raise unless all streams end with the same sample, as far as they end."""
        is_endless = self.steps_per_epoch is not None
        ending = [each for each in cursors if each.stream.begins_again or not is_endless]
        ends = {tuple(each.ends) for each in ending}
        if len(ends) < 2:
            return
        first = min(ending, key=lambda each: [*each.ends, math.inf])
        counts = {
            each.stream.name: f"{each.ended:,}" if each.ends else f"{each.samples:,} or more"
            for each in cursors
        }
        raise self._uneven(first.stream.name, first.ended, counts)

    def _uneven(self, name: str, samples: int, counts: Mapping[str, str]) -> StreamError:
        told = ", ".join(f"{each!r} {count}" for each, count in counts.items())
        endless = (
            "pass steps_per_epoch="
            if self.steps_per_epoch is None
            else "pass it as a generator, which does not begin anew"
        )
        return StreamError(
            lines(
                f"streams that are merged have as many samples each: {name!r} ends after {samples:,}.",
                f"Samples in this pass: {told}.",
                "They belong together by position alone: look which sample is missing before you cut "
                f"the others. If one has no end, {endless}.",
            ),
            stream=name,
        )

    def _inputs(self, parts: Mapping[str, Batch]) -> dict[str, Array]:
        inputs: dict[str, Array] = {}
        for name, part in parts.items():
            if name in self._named and len(part) == 1:
                continue
            _add(inputs, name, part[0])
        if not inputs:
            raise DeclarationError(
                lines(
                    "a model has at least one input; targets names all the streams.",
                    "Leave one out of targets=, or merge a stream of inputs too.",
                )
            )
        return inputs

    def _rest(self, parts: Mapping[str, Batch], given: int) -> tuple[Any, ...]:
        """Return the targets, and the sample weights if there are any; nothing if there are none."""
        if self._targets is None:
            return self._agreed({name: part for name, part in parts.items() if len(part) > 1}, given)
        if isinstance(self._targets, str):
            return _told_targets(parts[self._targets])
        targets: dict[str, Array] = {}
        weights: dict[str, Array] = {}
        for name in self._targets:
            target, *weight = _told_targets(parts[name])
            _add(targets, name, target)
            if weight:
                weights |= _weights_of(name, _named(name, target), weight[0])
        if not weights:
            return (targets,)
        rows = len(next(iter(weights.values())))
        return targets, {label: weights.get(label, np.ones(rows, np.float32)) for label in targets}

    def _agreed(self, givers: Mapping[str, Batch], given: int) -> tuple[Any, ...]:
        """Return the targets and weights that several streams give, which are the same in all."""
        (first, part), *others = givers.items() or [("", ((),))]
        for name, other in others:
            place = _first_unlike(part[1:], other[1:])
            if place is not None:
                has_weights = (len(part) == 3) != (len(other) == 3)
                raise StreamError(
                    lines(
                        f"streams that all give targets give the same; {first!r} and {name!r} differ in "
                        f"sample {given + place:,}.",
                        "One of them gives sample weights, too."
                        if has_weights
                        else "They are not aligned, or do not name their classes in the same order.",
                        f"If they need not be the same, say whose to use: targets={first!r}.",
                    ),
                    stream=name,
                )
        return part[1:]

    def _drop_cursors(self) -> None:
        for cursor in self._cursors:
            cursor.close()
        self._cursors = []

    def close(self) -> None:
        """Close all generators. Streams that begin again can be used afterwards."""
        self._drop_cursors()
        for stream in self._streams:
            stream.close()

    def __repr__(self) -> str:
        steps = self.steps_per_epoch or (self._pass or (None,))[0]
        epochs = "as long as a pass" if steps is None else f"of {steps:,} steps"
        table = [(role, name, repr(spec)) for role, name, spec in self._specs] or [
            ("stream", each.name, f"{type(each.source).__name__}, known after its first batch")
            for each in self._streams
        ]
        return "\n".join(
            [
                f"{len(self._streams)} streams in batches of {self.batch_size}, epochs {epochs}",
                *aligned(table),
                "aligned by position alone: a stream promises no exactly-once, random access or resume",
            ]
        )


def _no_samples(stream: Stream) -> StreamError:
    return StreamError(
        "an epoch has at least one batch; the streams end before their first sample.",
        stream=stream.name,
        batch=0,
    )


def _checked(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise DeclarationError(f"the name of a stream is a text that is not empty; received {name!r}.")
    return name


def _named(name: str, part: Any) -> dict[str, Array]:
    """Return the arrays of a part by name: the stream's, those of a dict, or numbered ones."""
    if isinstance(part, Mapping):
        return {str(label): values for label, values in part.items()}
    if isinstance(part, tuple):
        return {f"{name}_{number}": values for number, values in enumerate(part)}
    return {name: part}


def _weights_of(name: str, targets: Mapping[str, Array], part: Any) -> dict[str, Array]:
    """Return the weights of a stream's targets; those that are one array are of each target."""
    if not isinstance(part, Mapping | tuple):
        return dict.fromkeys(targets, part)
    weights = _named(name, part)
    for label in weights:
        if label not in targets:
            raise StreamError(
                lines(
                    f"sample weights are of targets; the stream {name!r} gives some of {label!r}.",
                    near(label, targets),
                ),
                stream=name,
            )
    return weights


def _add(known: dict[str, Array], name: str, part: Any) -> None:
    """Add the arrays of a part, none of whose names may be known."""
    for label, values in _named(name, part).items():
        if label in known:
            raise DeclarationError(
                lines(
                    f"the streams give {label!r} twice, the second time in {name!r}.",
                    "Give one of them another name: in its dict, or as a stream.",
                )
            )
        known[label] = values


def _told_targets(part: Batch) -> Batch:
    """Return the targets and weights of a stream that is named in targets=."""
    return part[1:] if len(part) > 1 else part


def _leaves(part: Any) -> dict[Any, Array]:
    if isinstance(part, Mapping | tuple):
        pairs = part.items() if isinstance(part, Mapping) else enumerate(part)
        return {(label, *inner): leaf for label, each in pairs for inner, leaf in _leaves(each).items()}
    return {(): part}


def _first_unlike(part: Any, other: Any) -> int | None:
    """Return the first row in which two structures of arrays differ; None if they are the same."""
    ours, theirs = _leaves(part), _leaves(other)
    if ours.keys() != theirs.keys():
        return 0
    unlike = [
        0 if one.shape != two.shape else int(np.argmax(differs))
        for one, two in ((ours[label], theirs[label]) for label in ours)
        if (differs := _differs(one, two)).any()
    ]
    return min(unlike, default=None)


def _differs(one: Array, two: Array) -> Array:
    """Return ``bool[n]``, True where rows differ; NaN is NaN."""
    if one.shape != two.shape:
        return np.ones(1, bool)
    differ = (one != two) & ~((one != one) & (two != two))
    differs: Array = differ.reshape(len(one), -1).any(axis=1)
    return differs


def _specs_of(batch: Batch) -> list[tuple[str, str, Spec]]:
    """Return the role, name and spec of each array of a batch."""
    return [
        (role, " ".join(map(str, label)), Spec(leaf.shape[1:], leaf.dtype.name))
        for role, part in zip(("input", "target", "weight"), batch, strict=False)
        for label, leaf in _leaves(part).items()
    ]


def _close(sources: Sequence[Any]) -> None:
    for source in sources:
        with suppress(Exception):
            close(source)
