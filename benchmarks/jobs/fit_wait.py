"""How long `fit` waits for a loader that can supply half as much again as the model takes.

A step lasts 10 ms: asleep, as a processor waits for an accelerator, or busy in Python. Reading a sample
is time asleep, as from a disk, so all that is left to wait for is the loader itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from job import WORKERS, Batch, Epoch, Job, Limit, Setup

from .glue import ready_batches
from .loader_cost import write

BATCH_SIZE = 16
_STEP_S = 0.010
_SUPPLY = 1.5  # times what the model takes
_STARTING = 20  # steps that come before all runs evenly
_BACKENDS = ("jax", "tensorflow", "torch")


def multifeed(
    backend: str, folder: Path, samples: int, *, processes: int = 0, busy: bool = False
) -> Epoch:
    """Set up `fit` over a loader whose samples take time asleep."""
    os.environ["KERAS_BACKEND"] = backend
    import multifeed as mf

    from .costless import idle_data

    sample_s = WORKERS * _STEP_S / _SUPPLY / BATCH_SIZE
    data = idle_data(samples, sample_s - _oversleep_s(sample_s))

    def feeder() -> Any:
        return mf.Loader(data, BATCH_SIZE, shuffle=True, workers=WORKERS, processes=processes)

    return _fitted(feeder, samples, busy)


def ready_list(backend: str, folder: Path, samples: int, *, busy: bool = False) -> Epoch:
    """Set up `fit` over a list of batches that are ready: nobody waits."""
    os.environ["KERAS_BACKEND"] = backend
    batches = [({"row": np.ones((BATCH_SIZE, 1), np.float32)}, np.zeros((BATCH_SIZE, 1), np.float32))]
    return _fitted(lambda: ready_batches(batches, samples // BATCH_SIZE), samples, busy)


def _fitted(feeder: Any, samples: int, busy: bool) -> Epoch:
    import keras

    inputs = {"row": keras.Input((1,), name="row")}
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs["row"]))
    model.compile("sgd", "mse")

    class Step(keras.callbacks.Callback):  # type: ignore[misc]
        """Lets every step last longer, and notes when the first and the last even one ended."""

        def __init__(self, fed: Any) -> None:
            super().__init__()
            self.fed = fed

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            end = time.perf_counter() + _STEP_S
            if not busy:
                time.sleep(_STEP_S)
            while time.perf_counter() < end:
                pass
            if batch + 1 == min(_STARTING, samples // BATCH_SIZE - 1):
                self.start, self.before = time.perf_counter(), self.waited_s()
            self.end, self.after = time.perf_counter(), self.waited_s()

        def waited_s(self) -> float:
            return float(self.fed.report().waited_s) if hasattr(self.fed, "report") else 0.0

    def epoch(number: int) -> Iterator[Batch]:
        fed = feeder()
        step = Step(fed)
        model.fit(fed, epochs=1, verbose=0, callbacks=[step])
        if hasattr(fed, "close"):
            fed.close()
        yield (range(samples),)
        seconds = step.end - step.start
        return {
            "even_seconds": seconds,
            "waiting_percent": 100 * (step.after - step.before) / seconds,
        }

    return epoch


def _oversleep_s(wanted_s: float, times: int = 200) -> float:
    """Return by how much a sleep is longer here than it was asked to be."""
    start = time.perf_counter()
    for _ in range(times):
        time.sleep(wanted_s)
    return (time.perf_counter() - start) / times - wanted_s


def _job(backend: str) -> Job:
    contestants: dict[str, Setup] = {}
    limits = []
    for kind, busy in {"": False, "_busy": True}.items():
        name = f"ready_list{kind}"
        contestants |= {
            f"multifeed{kind}": partial(multifeed, backend, busy=busy),
            f"multifeed_process{kind}": partial(multifeed, backend, processes=1, busy=busy),
            name: partial(ready_list, backend, busy=busy),
        }
        step = "a busy step" if busy else "a step asleep"
        for ours, how in {f"multifeed{kind}": "", f"multifeed_process{kind}": ", `processes=1`"}.items():
            limits.append(
                Limit(
                    figure=f"`fit` on {backend}, {step}{how}: time ÷ that with a list of ready batches",
                    of=ours,
                    over=(name,),
                    takes_longer=True,
                    most=None if busy else 1.03,
                )
            )
            # TensorFlow's own thread asks, fills its queue, and waits so that the model need not.
            bounded = not busy and backend != "tensorflow"
            limits.append(
                Limit(
                    figure=f"`fit` on {backend}, {step}{how}: waiting as `report` tells it",
                    of=ours,
                    value="waiting_percent",
                    unit="%",
                    most=3 if bounded else None,
                )
            )
    return Job(
        about=f"`fit` on {backend} with steps of 10 ms, asleep or busy in Python, over samples that two "
        "threads can supply 1.5 times as fast; batches of 16. Seconds are those after the 20th step",
        samples=400 * BATCH_SIZE,
        quick=40 * BATCH_SIZE,
        prepare=write,
        data="nothing",
        contestants=contestants,
        limits=limits,
        batch_size=BATCH_SIZE,
        clock="even_seconds",
    )


JOBS = {f"fit_wait_{backend}": _job(backend) for backend in _BACKENDS}
