"""`from_generator`: merged streams in the shape of a `keras.utils.PyDataset`."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from multifeed.errors import StateError, StreamError, lines
from multifeed.interop.merged import Batch, Merged
from multifeed.keras.caller import adapter_that_asks, purpose_of_pass


def from_generator(
    streams: Mapping[str, Any],
    batch_size: int,
    *,
    targets: str | Sequence[str] | None = None,
    steps_per_epoch: int | None = None,
) -> StreamLoader:
    """Merge streams of batches into batches of named inputs and targets, for `fit` and the like.

    For generators that exist already. The k-th samples of all streams make one sample: they are aligned
    by position alone, and nothing can check it. A stream promises neither each sample exactly once, nor
    a batch by its number, nor to go on where training was killed; `Loader` does. What is checked: that
    all end after the same sample, that each keeps its shapes and dtypes, and that targets that several
    give are the same.

    A stream gives batches of any size: ``inputs``, ``(inputs, targets)`` or ``(inputs, targets,
    sample_weights)``, the inputs one array, a dict or a tuple of arrays. Their samples are passed on in
    their order, each once, in batches of `batch_size`. Inputs have the names of their streams; those of
    a dict keep their own, those of a tuple are numbered: ``"views_0"``.

    Args:
        streams: What gives batches, by name: a function that returns a generator, a
            `keras.utils.PyDataset` or Sequence, what `flow_from_directory` returns, any other iterable;
            or a generator, which can be gone through once.
        batch_size: Samples a batch, at least 1.
        targets: The stream whose targets are used: what it gives as such, or else all that it gives,
            which then is no input. Several make a dict by name. None for those of all streams that give
            any, which must be the same.
        steps_per_epoch: Batches an epoch, for streams without an end or a length. An epoch then begins
            where the last one ended, and streams that end begin anew. None for epochs of one pass: all
            streams begin anew with each, the last batch may be smaller.

    Returns:
        A `keras.utils.PyDataset` that can also be iterated, an epoch each time.

    Raises:
        DeclarationError: If something is no stream, `targets` names none, or two give the same name.
        StreamError: Later: if a stream raises, ends before another, or gives what is no batch or unlike
            those before it; the error names it and its batch.

    Example:
        >>> import numpy as np
        >>> def photos():
        ...     yield np.zeros((3, 8, 8, 1), np.uint8)
        ...     yield np.ones((2, 8, 8, 1), np.uint8)
        >>> def ages():
        ...     yield np.array([[31.0], [45.0]]), np.array([0, 1])
        ...     yield np.array([[22.0], [19.0], [64.0]]), np.array([0, 0, 1])
        >>> streams = from_generator({"photo": photos, "age": ages}, batch_size=4)
        >>> [(inputs["age"].ravel().tolist(), kind.tolist()) for inputs, kind in streams]
        [([31.0, 45.0, 22.0, 19.0], [0, 1, 0, 0]), ([64.0], [1])]
    """
    return StreamLoader(Merged(streams, batch_size, targets=targets, steps_per_epoch=steps_per_epoch))


class StreamLoader(keras.utils.PyDataset):  # type: ignore[misc]
    """What `from_generator` returns: batches in the order in which the streams give them.

    Each `fit`, `evaluate` and `predict` has its own pass over streams that begin anew. A batch that
    Keras takes to build the model with is the first one of its epoch as well. A `fit` that is stopped
    within an epoch may have taken more batches than it trained on; these are lost where
    `steps_per_epoch` lets the next one go on.

    `last_error` is the exception that a batch raised last: TensorFlow replaces it by one of its own.
    """

    def __init__(self, merged: Merged) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=1)
        self._merged = merged
        self.last_error: BaseException | None = None
        # TensorFlow asks from threads of its own.
        self._lock = threading.Lock()
        self._passes: weakref.WeakKeyDictionary[Any, _Pass] = weakref.WeakKeyDictionary()

    @property
    def batch_size(self) -> int:
        """Samples a batch."""
        return self._merged.batch_size

    @property
    def num_batches(self) -> int:
        """How many batches an epoch has.

        Raises:
            DeclarationError: If no stream tells its length and `steps_per_epoch` is None.
            StreamError: If streams tell different lengths.
        """
        return self._merged.steps()

    def __iter__(self) -> Iterator[Batch]:
        """Serve one epoch."""
        return iter(self._merged)

    def __getitem__(self, index: int) -> Batch:
        """Serve Keras the next batch, whatever its index."""
        asker = adapter_that_asks()
        if asker is None:
            raise StateError(
                lines(
                    f"a stream has no batch by number; batch {index} was asked for.",
                    "Iterate: for batch in streams. A batch by its position is what mf.Loader has.",
                )
            )
        try:
            with self._lock:
                return self._pass_of(asker, index).take(index)
        except BaseException as error:
            self.last_error = error
            raise

    def on_epoch_begin(self) -> None:
        """Open a pass, or go on with the one that Keras has looked into."""
        asker = adapter_that_asks()
        if asker is not None and purpose_of_pass() != "peek":
            with self._lock:
                self._pass_of(asker).open()

    def on_epoch_end(self) -> None:
        """Close the pass if all of its batches were handed out."""
        asker = adapter_that_asks()
        with self._lock:
            current = self._passes.get(asker) if asker is not None else None
            if current is not None and current.is_complete:
                del self._passes[asker]

    def _pass_of(self, asker: Any, index: int | None = None) -> _Pass:
        current = self._passes.get(asker)
        if current is None or (index is not None and current.is_left(index)):
            is_open = current is not None
            self._passes[asker] = current = _Pass(iter(self._merged), self.num_batches)
            if is_open:
                current.open()
        return current

    def close(self) -> None:
        """Close all generators. Streams that begin anew can be used afterwards."""
        with self._lock:
            self._passes.clear()
            self._merged.close()

    def __enter__(self) -> StreamLoader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__} of {self._merged!r}"


class _Pass:
    """One pass of Keras over an epoch: which index was given which batch.

    Before it is open, Keras looks at batches to build the model; they are kept, since a stream has them
    once.
    """

    def __init__(self, batches: Iterator[Batch], steps: int) -> None:
        self._batches, self._steps = batches, steps
        self._looked: dict[int, Batch] = {}
        self._kept: list[Batch] = []
        self._given: set[int] = set()
        self._is_open = False
        self._last: Batch = ()

    def open(self) -> None:
        """Begin, or go on if `fit(steps_per_epoch=…)` has not come to the end."""
        if not self._is_open:
            self._is_open = True
            self._kept = list(self._looked.values())
            self._looked = {}

    @property
    def is_complete(self) -> bool:
        """Whether all batches have been handed out."""
        return len(self._given) == self._steps

    def is_left(self, index: int) -> bool:
        """Tell whether an index is asked for that was given a batch: Keras has begun once more."""
        return self._is_open and not self.is_complete and index in self._given

    def take(self, index: int) -> Batch:
        """Return the next batch; one that Keras looks at more than once is the same."""
        if not self._is_open:
            if index not in self._looked:
                self._looked[index] = self._next()
            return self._looked[index]
        if self.is_complete:
            # TensorFlow may ask ahead for an epoch that never comes.
            return self._last
        self._given.add(index)
        self._last = self._kept.pop(0) if self._kept else self._next()
        if self.is_complete:
            # The end is part of the pass: hooks are called, and what is left over is an error.
            for _ in self._batches:
                pass
        return self._last

    def _next(self) -> Batch:
        batch = next(self._batches, None)
        if batch is None:
            raise StreamError(
                "a pass over the streams was asked for more batches after its end or its error."
            )
        return batch
