"""A script that trains, as a user writes it, and can kill itself: see `test_resume.py`.

    python resume_job.py FOLDER LOG OPTIONS

Every line of the log tells one step or epoch, in hexadecimal: what is equal there is equal to the bit.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

import multifeed as mf

# Batches of one size, so that models are compiled once.
ROWS, BATCH = 54, 6


def dataset() -> tuple[mf.Dataset, mf.Dataset]:
    values = np.random.default_rng(0).normal(size=(ROWS, 5)).astype("float32")
    rows = {"id": np.arange(ROWS), "x": values, "sum": values.sum(1)}
    data = mf.Dataset(rows, key="id", inputs=mf.Array("x"), targets=mf.Numeric("sum"))
    train, validation = data.split(42 / 54, 12 / 54, seed=1)
    return train, validation


def make_model(data: mf.Dataset, **compile_options: Any) -> keras.Model:
    """Return a model with all that has a state: weights, moments, averages, seeds, metrics."""
    layers = [
        keras.layers.Dense(8, "relu"),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(1),
    ]
    model = keras.Sequential([mf.inputs(data), *layers])
    options = {"optimizer": keras.optimizers.Adam(0.01), "loss": "mse", "metrics": ["mae"]}
    model.compile(**{**options, **compile_options})
    return model


class Log(keras.callbacks.Callback):
    """Writes what every step and epoch came to, and random numbers that the user's code draws."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self.path = Path(path)

    def write(self, what: str, number: int, logs: dict[str, float], *more: str) -> None:
        told = {name: float(value).hex() for name, value in sorted(logs.items())}
        with self.path.open("a") as file:
            file.write(json.dumps([f"{what} {number}", told, *more]) + "\n")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        drawn = [random.random().hex(), float(np.random.random()).hex()]
        drawn.append(float(keras.random.uniform(())).hex())
        if keras.config.backend() == "torch":
            import torch

            drawn.append(float(torch.rand(())).hex())
        self.write("step", int(self.model.optimizer.iterations), logs, *drawn)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.write("epoch", epoch, logs)


class Kill(keras.callbacks.Callback):
    """Kills this process: at a step or a batch of validation of its own count, or while it saves."""

    def __init__(self, place: str, count: int, folder: str) -> None:
        super().__init__()
        self.place, self.count, self.folder = place, count, Path(folder)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.look("step")
        if self.place == "save" and self.count == 0:
            threading.Thread(target=self.watch, daemon=True).start()

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self.look("validation")

    def look(self, place: str) -> None:
        self.count -= place == self.place or self.place == "save"
        if self.count == 0 and place == self.place:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        while not any(not name.endswith(".npz") for name in os.listdir(self.folder)):
            time.sleep(0)
        os.kill(os.getpid(), signal.SIGKILL)


def train(
    folder: str,
    log: str | os.PathLike[str],
    *,
    epochs: int,
    save_every: int | str = 1,
    loader: Any = (),
    kill: Any = None,
    more: list[Any] | None = None,
    last: bool = False,
    **compile_options: Any,
) -> keras.Model:
    """Train as a script does from its first line on; return the model."""
    keras.utils.set_random_seed(1)
    data, validation = dataset()
    model = make_model(data, **compile_options)
    resume = mf.ResumeTraining(folder, save_every=save_every)
    # An effect of an epoch's begin that must not be had twice: it multiplies what there is.
    slower = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9)
    own = [slower, *(more or []), Log(log), *([Kill(*kill, folder)] if kill else [])]
    with mf.Loader(data, BATCH, shuffle=True, seed=3, **dict(loader)) as training:
        model.fit(
            training,
            validation_data=mf.Loader(validation, BATCH, processes=0),
            epochs=epochs,
            verbose=0,
            callbacks=[*own, resume] if last else [resume, *own],
        )
    return model


def state_of(model: keras.Model) -> list[np.ndarray]:
    variables = (*model.variables, *model.optimizer.variables)
    return [keras.ops.convert_to_numpy(each.value) for each in variables]


if __name__ == "__main__":
    train(sys.argv[1], sys.argv[2], **json.loads(sys.argv[3]))
