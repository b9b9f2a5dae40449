"""What the examples show of a model they have trained: what it has learned, and from which input.

An input is withheld by giving each sample that of another one, which leaves the values as likely as they
were and only breaks what ties them to the target. (Breiman, Random Forests, 2001, section 10, has it as
the noising of a variable.)
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

import multifeed as mf


@dataclass(frozen=True)
class Metric:
    """A figure of what a model predicts for one target.

    Args:
        name: What it is called, with its unit.
        score: ``(true, predicted)`` of all samples → the figure.
        guess: All true values of the training part → what somebody predicts who looks at no input,
            for one sample.
        shown: How the figure is written.
    """

    name: str
    score: Callable[[np.ndarray, np.ndarray], float]
    guess: Callable[[np.ndarray], np.ndarray]
    shown: str = "{:.3f}"


def accuracy() -> Metric:
    """Return the share of classes that are right; predictions are probabilities, one for each class."""

    def score(true: np.ndarray, predicted: np.ndarray) -> float:
        return float(np.mean(_classes(true) == predicted.argmax(axis=-1)))

    def guess(true: np.ndarray) -> np.ndarray:
        counts = np.bincount(_classes(true), minlength=true.shape[-1] if true.ndim > 1 else 0)
        return np.eye(len(counts))[counts.argmax()]

    return Metric("accuracy", score, guess, "{:.1%}")


def mean_error(unit: str = "", scale: float = 1.0) -> Metric:
    """Return the mean absolute error, times `scale`; the guess is the median."""

    def score(true: np.ndarray, predicted: np.ndarray) -> float:
        # A target of shape () is learned by an output of shape (1,): NumPy would compare all with all.
        return scale * float(np.mean(np.abs(true.astype(np.float32) - predicted.reshape(true.shape))))

    return Metric("mean error", score, lambda true: np.median(true, axis=0), f"{{:.3g}} {unit}".rstrip())


def show_evidence(
    model: keras.Model,
    train: mf.Loader,
    val: mf.Loader,
    metric: Metric,
    *,
    target: str | None = None,
    withhold: Sequence[str | tuple[str, ...]] | None = None,
) -> None:
    """Print a metric of a guess, of the model, and of it with inputs withheld; speed and memory.

    Args:
        model: The model, trained.
        train: Gives the training part; its speed is told.
        val: Gives the validation part. With ``shuffle=True``, as inputs move within a batch. Samples
            of weight 0 do not count.
        metric: What to tell.
        target: Which target, where there are several.
        withhold: The inputs to withhold one after another, a tuple for several at once; all by default.
    """
    train_true = np.concatenate([_one(batch[1], target)[_counts(batch, target)] for batch in train])
    counts = np.concatenate([_counts(batch, target) for batch in _batches(val)])
    true = np.concatenate([_one(batch[1], target) for batch in _batches(val)])[counts]

    def predict(*withheld: str) -> np.ndarray:
        given = (
            {**inputs, **{each: _moved(inputs[each]) for each in withheld}} if withheld else inputs
            for inputs, *_ in _batches(val)
        )
        return np.concatenate([_one(_predict(model, each), target) for each in given])[counts]

    guessed = metric.guess(train_true)
    lines = {
        "a guess": metric.score(true, np.broadcast_to(guessed, (len(true), *np.shape(guessed)))),
        "all inputs": metric.score(true, predict()),
    }
    names = inputs if isinstance(inputs := val.batch(0, 0)[0], dict) else ()
    for each in names if withhold is None else withhold:
        withheld = (each,) if isinstance(each, str) else each
        lines[f"without {' and '.join(withheld)}"] = metric.score(true, predict(*withheld))
    print(f"\nOn {len(true):,} validation samples, {metric.name}{f' of {target}' if target else ''}:")
    for name, figure in lines.items():
        print(f"  {name:32}{metric.shown.format(figure):>12}")
    print(
        f"The loader alone gives {samples_per_s(train):,.0f} samples/s; peak memory of the whole "
        f"program {peak_memory() / 2**20:,.0f} MiB."
    )


def samples_per_s(loader: mf.Loader, seconds: float = 2.0) -> float:
    """Measure how fast a loader gives batches to someone who only takes them."""
    loader.close()
    begin, epochs = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        for _batch in loader:
            pass
        epochs += 1
    loader.close()
    taken = sum(len(loader.rows(0, step)) for step in range(len(loader)))
    return epochs * taken / (time.perf_counter() - begin)


def peak_memory() -> int:
    """Return the most bytes of memory that this process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _batches(loader: mf.Loader) -> Iterator[tuple[Any, ...]]:
    """Yield the batches of the first epoch, each time the same; none of them is kept."""
    for step in range(len(loader)):
        yield loader.batch(0, step)


def _predict(model: keras.Model, inputs: Any) -> Any:
    return model.predict_on_batch(inputs)


def _one(structure: Any, name: str | None) -> np.ndarray:
    return np.asarray(structure[name] if isinstance(structure, dict) and name else structure)


def _counts(batch: tuple[Any, ...], target: str | None) -> np.ndarray:
    """Tell which samples of a batch have a weight, unlike those that fill it up or lack the target."""
    if len(batch) < 3:
        return np.ones(len(_one(batch[1], target)), bool)
    weights = _one(batch[2], target)
    return weights.reshape(len(weights), -1).any(axis=1)


def _moved(values: np.ndarray) -> np.ndarray:
    """Give each sample of a batch the value of another one."""
    return np.roll(values, max(1, len(values) // 2), axis=0)


def _classes(true: np.ndarray) -> np.ndarray:
    return true.argmax(axis=-1) if true.ndim > 1 else true
