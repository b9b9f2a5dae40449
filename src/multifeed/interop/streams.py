"""One stream of batches: what gives it, how it begins anew, and its batches cut to other sizes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np

from multifeed.errors import DeclarationError, StreamError, lines
from multifeed.fields.shared import first_line
from multifeed.spec import Spec
from multifeed.structure import Names, Structure

Array = np.ndarray[Any, Any]
T = TypeVar("T")

# How the parts of a batch are called, in this order.
PARTS = ("inputs", "targets", "sample weights")


class Stream:
    """What gives batches under a name, and what one sample of them looks like.

    Args:
        name: Its name.
        source: What gives the batches: an iterator, which begins once; or a function that returns one, a
            sequence, or anything else that can be iterated again and again.

    Raises:
        DeclarationError: If nothing of that can be done with the source.
    """

    def __init__(self, name: str, source: Any) -> None:
        self.name, self.source = name, source
        self._structure: Structure | None = None
        self._specs: dict[str, Spec] = {}
        self._has_begun = False
        is_iterable = hasattr(source, "__iter__") or self._is_indexed or self._is_function
        # The rows of these would be taken for batches.
        is_data = isinstance(source, str | bytes | Mapping) or hasattr(source, "__array__")
        if is_data or not is_iterable:
            raise DeclarationError(
                lines(
                    "a stream gives batches: it is a generator, a function that returns one, a "
                    "keras.utils.Sequence, or another iterable.",
                    f"Received: a {type(source).__name__} for {name!r}.",
                    "Arrays and tables need no stream: mf.Dataset takes them.",
                )
            )

    @property
    def _is_function(self) -> bool:
        # A class such as `list` has the methods of its objects.
        return callable(self.source) and (
            isinstance(self.source, type) or not hasattr(self.source, "__iter__")
        )

    @property
    def _is_indexed(self) -> bool:
        has_index = hasattr(self.source, "__getitem__") and hasattr(self.source, "__len__")
        return has_index and not self._is_function

    @property
    def _is_walked(self) -> bool:
        """Whether it is taken batch by batch, by number.

        `flow_from_directory` returns what can be iterated as well, but has no end then.
        """
        return self._is_indexed and (not hasattr(self.source, "__iter__") or self._is_iterator)

    @property
    def begins_again(self) -> bool:
        """Whether it can be gone through more than once."""
        return self._is_function or self._is_walked or not self._is_iterator

    @property
    def _is_iterator(self) -> bool:
        # To call iter() for this would start the worker processes of a DataLoader.
        return hasattr(self.source, "__next__")

    def begin(self) -> Generator[Any, None, None]:
        """Return an iterator of its batches, from the first one on.

        Raises:
            StreamError: If it begins once only, and has begun.
        """
        if self._has_begun and not self.begins_again:
            raise StreamError(
                lines(
                    f"a {type(self.source).__name__} can be gone through once: {self.name!r} has been "
                    "begun before.",
                    "Pass the function that returns it in place of what it returns, so that each pass "
                    "has a new one; or steps_per_epoch=, with which epochs go on where the last one "
                    "ended.",
                ),
                stream=self.name,
            )
        self._has_begun = True
        source = self.source
        if self._is_function:
            source = source()
            if not hasattr(source, "__iter__"):
                raise DeclarationError(
                    f"the function of a stream returns an iterable of batches; that of {self.name!r} "
                    f"returned a {type(source).__name__}."
                )
        return self._walk() if self._is_walked else _passed(source)

    def _walk(self) -> Generator[Any, None, None]:
        _call(self.source, "on_epoch_begin")
        for number in range(len(self.source)):
            yield self.source[number]
        _call(self.source, "on_epoch_end")

    def samples(self) -> int | None:
        """Return how many samples a pass has, by its first and last batches; None if nobody knows."""
        if not self._is_indexed:
            return None
        count = len(self.source)
        if not count:
            return 0
        first, last = self._rows_of(0), self._rows_of(count - 1)
        return (count - 1) * first + last

    def _rows_of(self, number: int) -> int:
        return _rows(self.arrays(self.guarded(lambda: self.source[number], number), number))

    def arrays(self, batch: Any, number: int) -> dict[str, Array]:
        """Return the arrays of a batch by name, ``[n, ...]`` each.

        Args:
            batch: What the stream gave.
            number: Which batch of its pass this is, as errors call it.

        Raises:
            StreamError: If it is no batch, or unlike those before it.
        """
        parts = _parts(batch)
        if not 1 <= len(parts) <= len(PARTS):
            raise self._odd(number, f"it is a tuple of {len(parts)}")
        structure = Structure(*(_names(role, part) for role, part in zip(PARTS, parts, strict=False)),
                              *(None,) * (len(PARTS) - len(parts)))  # fmt: skip
        values = structure.unpack(parts)
        arrays = {name: self._array(number, name, value) for name, value in values.items()}
        counts = {len(array) for array in arrays.values()}
        if len(counts) > 1:
            told = ", ".join(f"{len(array)} of {name}" for name, array in arrays.items())
            raise self._odd(number, f"it has {told}", "All parts of a batch are of the same samples.")
        specs = {name: Spec(array.shape[1:], array.dtype.name) for name, array in arrays.items()}
        if self._structure is None:
            self._structure, self._specs = structure, specs
        for name in {**self._specs, **specs}:
            before, now = self._specs.get(name), specs.get(name)
            if before != now:
                raise self._odd(
                    number,
                    f"its {name} are {now or 'not there'}, where those of the first batch are "
                    f"{before or 'not there'}",
                    "Batches are cut to another size, so all have one shape and dtype a sample: pad "
                    "sequences to one length, and convert.",
                )
        return arrays

    def _array(self, number: int, name: str, value: Any) -> Array:
        try:
            array = np.asarray(value)
        except (ValueError, TypeError, RuntimeError) as error:
            raise self._odd(
                number, f"its {name} are no array ({first_line(error).rstrip('.')})"
            ) from error
        if array.dtype.kind not in "biufc" or not array.ndim:
            raise self._odd(number, f"its {name} are {Spec.of(array)}")
        return array

    def _odd(self, number: int, fact: str, remedy: str = "") -> StreamError:
        return StreamError(
            lines(
                "a batch is (inputs,), (inputs, targets) or (inputs, targets, sample_weights): arrays "
                "of numbers, with one row a sample.",
                f"Batch {number} of the stream {self.name!r}: {fact}.",
                remedy,
            ),
            stream=self.name,
            batch=number,
        )

    def guarded(self, act: Callable[[], T], batch: int, samples: int = 0) -> T:
        """Run code of the stream's own, and say where in it that raised.

        Args:
            act: What to run.
            batch: The batch that it is asked for.
            samples: How many samples the batches before it have, in this pass.
        """
        try:
            return act()
        except (DeclarationError, StreamError):
            raise
        except Exception as error:
            raise StreamError(
                lines(
                    f"the stream {self.name!r} raised {type(error).__name__} in batch {batch}: "
                    f"{first_line(error).rstrip('.')}.",
                    f"Before that it gave {samples:,} samples in this pass.",
                ),
                stream=self.name,
                batch=batch,
            ) from error

    def packed(self, arrays: Mapping[str, Array]) -> tuple[Any, ...]:
        """Return the arrays of a batch in the structure in which the stream gives them."""
        assert self._structure is not None, "known since its first batch"
        return self._structure.pack(arrays)

    def empty(self, rows: int) -> dict[str, Array]:
        """Return memory for so many samples."""
        return {name: np.empty((rows, *spec.shape), spec.dtype) for name, spec in self._specs.items()}

    def close(self) -> None:
        """Close a generator."""
        close(self.source)


class Cursor:
    """A place in a stream, from which samples are taken in any number.

    Args:
        stream: The stream.
        repeats: Whether it begins anew where it ends.
    """

    def __init__(self, stream: Stream, *, repeats: bool = False) -> None:
        self.stream = stream
        self._repeats = repeats
        # After how many of the samples that were taken last a pass ended.
        self.ends: list[int] = []
        # How many samples the pass had that ended last.
        self.ended = 0
        self._begin()

    def _begin(self) -> None:
        # Of this pass: the batches that were given, and the samples in them.
        self.batches = self.samples = 0
        # The batch at hand, and how many of its samples have been taken.
        self._batch: dict[str, Array] = {}
        self._taken = 0
        self._iterator = self._guarded(self.stream.begin)

    @property
    def _left(self) -> int:
        return _rows(self._batch) - self._taken if self._batch else 0

    def take(self, count: int) -> dict[str, Array]:
        """Return the next samples, ``[n, ...]`` by name, in memory of their own; fewer at the end.

        A stream may use its memory again: it is asked for more when all it gave has been copied.

        Raises:
            StreamError: If it raises, or gives what is no batch or unlike those before it.
        """
        self.ends = []
        taken: dict[str, Array] = {}
        done = 0
        while done < count and self._has_more(done):
            taken = taken or self.stream.empty(count)
            rows = min(count - done, self._left)
            for name, values in self._batch.items():
                taken[name][done : done + rows] = values[self._taken : self._taken + rows]
            self._taken += rows
            done += rows
        return {name: values[:done] for name, values in taken.items()}

    def _has_more(self, done: int) -> bool:
        """Tell whether there are samples at hand, after asking the stream for some if need be."""
        while not self._left:
            batch = self._guarded(lambda: next(self._iterator, self))
            if batch is not self:
                self._batch, self._taken = self.stream.arrays(batch, self.batches), 0
                self.batches += 1
                self.samples += self._left
                continue
            self.ends.append(done)
            self.ended = self.samples
            if not self._repeats or not self.samples:
                return False
            self._refuse_end()
            self._begin()
        return True

    def _refuse_end(self) -> None:
        if not self.stream.begins_again:
            raise StreamError(
                lines(
                    "with steps_per_epoch= a stream goes on for ever, or begins anew; "
                    f"{self.stream.name!r} ended after {self.samples:,} samples.",
                    f"A {type(self.stream.source).__name__} can be gone through once: pass the function "
                    "that returns it, which is called again at each end.",
                ),
                stream=self.stream.name,
                batch=self.batches,
            )

    def _guarded(self, act: Callable[[], T]) -> T:
        return self.stream.guarded(act, self.batches, self.samples)

    def close(self) -> None:
        """Close the generator of this pass; nothing if it is at work just now."""
        # Nothing global is used: a pass that is left open ends when the interpreter has cleared that.
        try:
            self._iterator.close()
        except ValueError:
            return


def close(source: Any) -> None:
    """Close a generator, or whatever else can be closed like one; nothing if it is at work just now."""
    if isinstance(source, Iterator):
        with suppress(ValueError):
            _call(source, "close")


def _passed(source: Any) -> Generator[Any, None, None]:
    """Iterate once, with the hooks that Keras calls around a pass."""
    _call(source, "on_epoch_begin")
    # A generator is closed with this one.
    yield from source
    _call(source, "on_epoch_end")


def _call(source: Any, method: str) -> None:
    found = getattr(source, method, None)
    if callable(found):
        found()


def _parts(batch: Any) -> tuple[Any, ...]:
    """Return the inputs, targets and weights of a batch, as far as there are any."""
    parts = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
    while parts and parts[-1] is None:
        parts = parts[:-1]
    return parts


def _names(role: str, part: Any) -> Names:
    if isinstance(part, Mapping):
        return {label: f"{role} {label!r}" for label in part}
    if isinstance(part, tuple | list):
        return tuple(f"{role} {number}" for number in range(len(part)))
    return role


def _rows(arrays: Mapping[str, Array]) -> int:
    return len(next(iter(arrays.values())))
