"""`Loader`: a feed in the shape of a `keras.utils.PyDataset`."""

from __future__ import annotations

import logging
import sys
import weakref
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

import keras
import numpy as np

from multifeed.augment.base import Transform
from multifeed.balance import Balance
from multifeed.buckets import BucketBy
from multifeed.dataset import Dataset
from multifeed.feed import Feed
from multifeed.keras.caller import adapter_that_asks, purpose_of_pass
from multifeed.report import FeedReport
from multifeed.runs import Batch
from multifeed.tuples import Tuples
from multifeed.weights import ClassWeights

# Seconds of waiting in an epoch below which nobody needs advice.
_WORTH_A_WORD_S = 1.0

_log = logging.getLogger("multifeed")


class Loader(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of a dataset for `fit`, `evaluate` and `predict`, on every Keras backend.

    It is a `Feed` in the shape of a `keras.utils.PyDataset`; all arguments are those of `Feed`, but
    `processes` is by default what serves `fit` best.

    In `fit`, batches are served in the order of `rows`, whatever Keras' own ``shuffle=True`` (its
    default, which permutes indices) asks for: between the begin and the end of an epoch, the k-th new
    index gets step k. The epoch advances when all of its steps were handed out to `fit`, or in a pass
    over the loader by hand; `evaluate` and `predict` serve the epoch at which the loader stands, and
    leave it there. A subclass, or a dataset that wraps a loader, must pass `on_epoch_begin` and
    `on_epoch_end` on.

    If the model waits for data, one sentence says so after the first epoch of a `fit`, and what would
    help; it goes to the logger ``"multifeed"``. `report` tells more.

    `last_error` is the exception that a batch raised last, until the next pass begins: TensorFlow
    replaces it by one of its own.

    Example:
        >>> import multifeed as mf
        >>> data = mf.Dataset({"x": [0.0, 1.0, 2.0]}, inputs=mf.Numeric("x"))
        >>> with Loader(data, batch_size=2) as loader:
        ...     [batch[0].ravel().tolist() for batch in loader]
        [[0.0, 1.0], [2.0]]
    """

    def __init__(
        self,
        data: Dataset | Tuples,
        batch_size: int,
        *,
        shuffle: bool | str = False,
        seed: int = 0,
        balance: Balance | None = None,
        sampling: str | None = None,
        bucket_by: BucketBy | None = None,
        buckets: int | Sequence[int] | None = None,
        remainder: str = "keep",
        class_weight: ClassWeights | None = None,
        augment: Transform | Sequence[Transform] = (),
        steps_per_epoch: int | None = None,
        on_error: str = "raise",
        max_bad: float = 0.01,
        workers: int | None = None,
        processes: int | None = None,
        prefetch: int | None = None,
        prefetch_bytes: int = 256 * 2**20,
        timeout_s: float | None = 300.0,
    ) -> None:
        # Keras' own workers stay at 1: with more, it would put its own queue and threads around us.
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=1)
        self.feed = Feed(
            data,
            batch_size,
            shuffle=shuffle,
            seed=seed,
            balance=balance,
            sampling=sampling,
            bucket_by=bucket_by,
            buckets=buckets,
            remainder=remainder,
            class_weight=class_weight,
            augment=augment,
            steps_per_epoch=steps_per_epoch,
            on_error=on_error,
            max_bad=max_bad,
            workers=workers,
            processes=processes,
            prefetch=prefetch,
            prefetch_bytes=prefetch_bytes,
            timeout_s=timeout_s,
        )
        # JAX dispatches a step and asks for the next batch at once: its caller's thread has the time.
        self.feed.gathers_ahead = keras.config.backend() != "jax"
        self.last_error: BaseException | None = None
        # Keras makes an adapter for each call of fit, evaluate and predict. Each has its own pass, so
        # an evaluate inside fit, or the prefetch thread of a fit that was stopped, disturbs nobody.
        self._passes: weakref.WeakKeyDictionary[Any, _Pass] = weakref.WeakKeyDictionary()
        self._advised: weakref.WeakSet[Any] = weakref.WeakSet()

    @property
    def data(self) -> Dataset | Tuples:
        """The samples."""
        return self.feed.data

    @property
    def batch_size(self) -> int:
        """Samples a batch."""
        return self.feed.batch_size

    @property
    def epoch(self) -> int:
        """The epoch that the next pass serves. It may be set."""
        return self.feed.epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self.feed.epoch = epoch

    def batch(self, epoch: int, step: int) -> Batch:
        """Return one batch, computed here and now; see `Feed.batch`."""
        return self.feed.batch(epoch, step)

    def rows(self, epoch: int, step: int) -> np.ndarray:
        """Return the row numbers that make a batch; see `Feed.rows`."""
        return self.feed.rows(epoch, step)

    def keys(self, epoch: int, step: int) -> list[Any]:
        """Return the keys of the samples that make a batch; see `Feed.keys`."""
        return self.feed.keys(epoch, step)

    def draws(self, epoch: int, step: int) -> list[dict[str, np.ndarray]]:
        """Return the parameters that each transform of a batch was given; see `Feed.draws`."""
        return self.feed.draws(epoch, step)

    def redraw(self, epoch: int, step: int, draw: int, *, count: int | None = None) -> Batch:
        """Return a batch's samples under another draw of augmentation; see `Feed.redraw`."""
        return self.feed.redraw(epoch, step, draw, count=count)

    def report(self) -> FeedReport:
        """Return how fast this loader has been so far, who waited, and what took the time."""
        return self.feed.report()

    def state_dict(self, position: tuple[int, int] | None = None) -> dict[str, Any]:
        """Return a state from which a pass by hand goes on; see `Feed.state_dict`.

        In `fit`, which takes batches before it trains on them, `ResumeTraining` does this and more.
        """
        return self.feed.state_dict(position)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken, in a pass by hand or the next `fit`; see `Feed`."""
        self.feed.load_state_dict(state)

    def __repr__(self) -> str:
        return repr(self.feed).replace("Feed", type(self).__name__, 1)

    def close(self) -> None:
        """Stop the threads and drop what was built ahead. Using the loader again starts it anew."""
        self.feed.close()

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self.feed)

    def __iter__(self) -> Iterator[Batch]:
        """Serve one epoch, or after `load_state_dict` the rest of one; the next pass serves the next."""
        return iter(self.feed)

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def num_batches(self) -> int:
        """How many batches Keras shall ask for in a pass."""
        current = self._pass_of(adapter_that_asks())
        # Once a pass has begun, the question is about the next one.
        return len(self) if current is None or current.has_begun else current.steps

    def __getitem__(self, index: int) -> Batch:
        """Serve Keras, or return batch `index` of the present epoch to anyone else."""
        asker = adapter_that_asks()
        current = self._pass_of(asker)
        try:
            if current is None and asker is not None and self.feed.varying:
                # TensorFlow looks at [0] and [1] before it begins, to learn which axes vary.
                return self.feed.unlike(index)
            if current is None:
                return self.feed.batch(self.epoch, index)
            return self.feed.take(*current.position(index), wraps=current.is_fit)
        except BaseException as error:
            self.last_error = error
            raise

    def on_epoch_begin(self) -> None:
        """Open a pass, or go on with one that `fit(steps_per_epoch=…)` has not ended."""
        asker = adapter_that_asks()
        if asker is None:
            return
        # It holds the traceback, and that the model.
        self.last_error = None
        current = self._pass_of(asker)
        if current is None or current.is_peek:
            purpose = purpose_of_pass()
            epoch, step = self.feed.begin() if purpose == "fit" else (self.epoch, 0)
            self._passes[asker] = current = _Pass(epoch, step, len(self), purpose, self.report())
            if step:
                self._shorten(asker, current.steps)

    def on_epoch_end(self) -> None:
        """Close the pass if all of its steps were handed out; after `fit`, the next epoch follows."""
        asker = adapter_that_asks()
        current = self._pass_of(asker)
        if current is None:
            return
        if current.is_peek or current.is_complete:
            del self._passes[asker]
            if current.steps < len(self):
                self._shorten(asker, len(self))
        if current.is_fit and current.is_complete:
            self.feed.finish(current.epoch)
            self._advise(asker, self.report() - current.before)

    def _shorten(self, asker: Any, steps: int) -> None:
        """Let Keras end the epoch after so many steps, and later ones when it asks again.

        It reads the number once, before the first epoch. One that finds no more data warns, and on
        TensorFlow counts an iteration of the optimizer in which nothing was trained.
        """
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            iterator = frame.f_locals.get("self")
            if getattr(iterator, "data_adapter", None) is asker:
                iterator._num_batches = steps  # type: ignore[union-attr]
                return
            frame = frame.f_back

    def _advise(self, asker: Any, report: FeedReport) -> None:
        """Say once in each `fit`, after its first epoch, what holds the model up if it waits."""
        if asker in self._advised:
            return
        self._advised.add(asker)
        if report.waited_s < _WORTH_A_WORD_S:
            return
        # TensorFlow's own thread asks, and fills its queue while the model works.
        is_tensorflow = keras.config.backend() == "tensorflow"
        advice = report.advice("TensorFlow's prefetching" if is_tensorflow else "the model")
        if advice:
            _log.warning("%s", advice)

    def _pass_of(self, asker: Any) -> _Pass | None:
        return None if asker is None else self._passes.get(asker)


class _Pass:
    """One pass of Keras over an epoch, or the rest of one: which index was given which step."""

    def __init__(self, epoch: int, first: int, steps: int, purpose: str, before: FeedReport) -> None:
        self.epoch = epoch
        self.steps = steps - first
        self.before = before
        self.is_fit = purpose == "fit"
        self.is_peek = purpose == "peek"
        self._step_of = np.full(steps, -1, np.int64)
        self._first = self._given = first

    @property
    def has_begun(self) -> bool:
        return self._given > self._first

    @property
    def is_complete(self) -> bool:
        return self._given == len(self._step_of)

    def position(self, index: int) -> tuple[int, int]:
        """Return the (epoch, step) of an index: the next step, or the one it was given before.

        An index that comes twice is asked by somebody who lost its batch; it is computed again, so
        whoever asks for every index once gets every step once.
        """
        if self._step_of[index] < 0:
            self._step_of[index] = self._given
            self._given += 1
        return self.epoch, int(self._step_of[index])
