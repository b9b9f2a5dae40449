"""What the way into `fit` costs: a loader of batches that cost nothing, beside a list of ready ones.

The model does next to nothing, so what is left is Keras and what feeds it. What goes in is checked:
the model's loss is exactly 0 as long as all of a batch's arrays hold the same rows, unchanged.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from data import SIDES
from job import BATCH_SIZE, WORKERS, Batch, Epoch, Job, Limit, Setup

from . import memmap, numbers

SHAPE = memmap.SHAPE
# Passes over the rows in one `fit`, so that it is long beside its own start.
_PASSES = {"jax": 128, "tensorflow": 32, "torch": 16}
_READY = 8  # batches of images that a list holds; they come again and again

# Keras copies a batch for PyTorch. Whether the C library keeps the memory of these copies, or asks the
# kernel for it again each time, hangs on what else lies in the heap, and differs from process to process
# by a third of the whole step. So it is told to keep it, for every contestant.
_ENVIRONMENT = {"torch": {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**32)}}

# What `fit` is given, made anew each round, and closed where it can be.
Feeder = Callable[[], Any]


def stamped(backend: str, folder: Path, samples: int, *, threads: bool = False) -> Epoch:
    """Set up `fit` over images of which only one pixel is written, into the loader's own buffers."""
    _choose(backend)
    import multifeed as mf

    steps = _steps(backend, samples)
    fields = {side: _stamp("row", threads) for side in SIDES}
    rows = _table(steps * BATCH_SIZE)
    data = mf.Dataset(rows, inputs=fields, targets=mf.Numeric("target"))
    return _loaded_images(data, steps)


def warm(backend: str, folder: Path, samples: int) -> Epoch:
    """Set up `fit` over the memmaps of the memmap job: every byte of every batch is written."""
    _choose(backend)
    import multifeed as mf

    columns = dict(zip(SIDES, memmap.read(folder), strict=True)) | _table(samples)
    fields = {side: mf.Array(side) for side in SIDES}
    data = mf.Dataset(columns, inputs=fields, targets=mf.Numeric("target"))
    return _loaded_images(data, _steps(backend, samples))


def ready_images(backend: str, folder: Path, samples: int) -> Epoch:
    """Set up `fit` over a list of batches that are ready and aligned."""
    _choose(backend)
    batches = []
    for wanted in _table(_READY * BATCH_SIZE)["target"].reshape(_READY, BATCH_SIZE, 1):
        inputs = {side: _aligned((BATCH_SIZE, *SHAPE), np.uint8) for side in SIDES}
        for array in inputs.values():
            array[:, 0, 0, 2] = wanted[:, 0]
        batches.append((inputs, _copied(wanted)))
    steps = _steps(backend, samples)
    return fitted(_image_model(), lambda: ready_batches(batches, steps), steps * BATCH_SIZE)


def table(backend: str, folder: Path, samples: int) -> Epoch:
    """Set up `fit` over a loader of a table of numbers."""
    _choose(backend)
    import multifeed as mf

    matrix, target = _whole_numbers(folder)
    columns = dict(zip(numbers.COLUMNS, np.ascontiguousarray(matrix.T), strict=True))
    data = mf.Dataset(
        columns | {"target": target}, inputs=mf.Numeric(numbers.COLUMNS), targets=mf.Numeric("target")
    )
    loader = partial(mf.Loader, data, numbers.BATCH_SIZE, shuffle=True, workers=WORKERS)
    return fitted(_number_model(), loader, samples)


def ready_table(backend: str, folder: Path, samples: int) -> Epoch:
    """Set up `fit` over a list of all batches of that table."""
    _choose(backend)
    matrix, target = _whole_numbers(folder)
    batches = []
    for start in range(0, samples, numbers.BATCH_SIZE):
        rows = slice(start, start + numbers.BATCH_SIZE)
        batches.append((_copied(matrix[rows]), _copied(target[rows, None])))
    return fitted(_number_model(), lambda: ready_batches(batches, len(batches)), samples)


def fitted(model: Any, feeder: Feeder, rows: int) -> Epoch:
    """Return the epoch that is one call of `fit`."""

    def epoch(number: int) -> Iterator[Batch]:
        fed = feeder()
        history = model.fit(fed, epochs=1, verbose=0).history
        if hasattr(fed, "close"):
            fed.close()
        if history["loss"] != [0.0]:
            raise ValueError(f"a batch was not what it should be: the loss is {history['loss']}")
        yield (range(rows),)

    return epoch


def _choose(backend: str) -> None:
    os.environ["KERAS_BACKEND"] = backend


def _steps(backend: str, samples: int) -> int:
    return -(-samples // BATCH_SIZE) * _PASSES[backend]


def _loaded_images(data: Any, steps: int) -> Epoch:
    import multifeed as mf

    options = {"shuffle": True, "remainder": "drop", "steps_per_epoch": steps, "workers": WORKERS}
    loader = partial(mf.Loader, data, BATCH_SIZE, **options)
    return fitted(_image_model(), loader, steps * BATCH_SIZE)


def _table(samples: int) -> dict[str, np.ndarray]:
    row = np.arange(samples)
    # The last byte of the row number is in the first pixel of either image.
    return {"row": row.astype(np.float32), "target": (row % 256).astype(np.float32)}


def _stamp(column: str, threads: bool) -> Any:
    """Return a field that writes the row number's last byte into a pixel, and leaves the others.

    It is an ordinary field, so leases, order, runs and threads are those of any other; only reading
    costs nothing.
    """
    import multifeed as mf
    from multifeed.fields.base import Columnar, Field, PerSample

    spec_of_one = mf.Spec(SHAPE, "uint8")

    class Rows(Columnar):
        spec = spec_of_one

        def gather(self, rows: np.ndarray, out: np.ndarray) -> None:
            out[:, 0, 0, 2] = rows  # an array is cut down to its last byte

    class Row(PerSample):
        spec = spec_of_one

        def load(self, row: int) -> int:
            return row

        def decode(self, row: int, loaded: int, out: np.ndarray) -> None:
            out[0, 0, 2] = loaded % 256

    class Stamp(Field):
        reads = (column,)

        def check(self, columns: Any) -> None:
            pass

        def spec_of(self, columns: Any, learned: Any) -> Any:
            return spec_of_one

        def bind(self, source: Any, learned: Any) -> Any:
            return Row() if threads else Rows()

    return Stamp()


def _image_model() -> Any:
    """Return a model that looks at one number of each image: (left + right) / 2."""
    import keras

    inputs = {side: keras.Input(SHAPE, dtype="uint8", name=side) for side in SIDES}
    pixels = [keras.ops.cast(image[:, 0, 0, 2:], "float32") for image in inputs.values()]
    return _linear(inputs, keras.ops.concatenate(pixels, axis=1), weight=0.5)


def _number_model() -> Any:
    import keras

    values = keras.Input((len(numbers.COLUMNS),))
    return _linear(values, values, weight=1.0)


def _linear(inputs: Any, values: Any, weight: float) -> Any:
    """Return a compiled model that has nothing to learn: as long as the loss is 0, it stays so."""
    import keras

    start = keras.initializers.Constant(weight)
    outputs = keras.layers.Dense(1, use_bias=False, kernel_initializer=start)(values)
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse")
    return model


def _whole_numbers(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the table of the numbers job in small whole numbers, whose sum is exact."""
    matrix, _ = numbers.read(folder)
    matrix = np.trunc(matrix) % 8
    return matrix, matrix.sum(axis=1)


def ready_batches(batches: Sequence[Any], steps: int) -> Any:
    import keras

    class Ready(keras.utils.PyDataset):  # type: ignore[misc]
        """Batches that lie in a list."""

        def __len__(self) -> int:
            return steps

        def __getitem__(self, step: int) -> Any:
            return batches[step % len(batches)]

    return Ready()


def _aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return zeros that begin at a multiple of 64 bytes: JAX takes them as they are."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)


def _copied(array: np.ndarray) -> np.ndarray:
    copy = _aligned(array.shape, array.dtype)
    copy[...] = array
    return copy


def _images_job(backend: str) -> Job:
    contestants: dict[str, Setup] = {
        "multifeed": partial(stamped, backend),
        "ready_list": partial(ready_images, backend),
        "multifeed_threads": partial(stamped, backend, threads=True),
        "multifeed_warm": partial(warm, backend),
    }
    return Job(
        about=f"`fit` on {backend}, on a model that looks at one pixel of each of two images of "
        "224x224x3, of which only that one is written; batches of 64",
        samples=2_000,
        quick=128,
        prepare=memmap.write,
        data="memmap",
        contestants=contestants,
        environment=_ENVIRONMENT.get(backend, {}),
        limits=[
            Limit(
                figure=f"`fit` glue on {backend}: time per batch ÷ that of a list of ready batches",
                over=("ready_list",),
                takes_longer=True,
                most=1.05,
            ),
            Limit(
                figure=f"`fit` glue on {backend}, read by threads",
                of="multifeed_threads",
                over=("ready_list",),
                takes_longer=True,
            ),
            Limit(
                figure=f"`fit` on {backend}, images gathered from memmaps",
                of="multifeed_warm",
                over=("ready_list",),
                takes_longer=True,
            ),
        ],
    )


def _table_job(backend: str) -> Job:
    return Job(
        about=f"`fit` on {backend}, on a model that adds 30 float32 columns up; batches of 32",
        samples=100_000,
        quick=2_000,
        prepare=numbers.write,
        data="numbers",
        contestants={
            "multifeed": partial(table, backend),
            "ready_list": partial(ready_table, backend),
        },
        limits=[
            Limit(
                figure=f"`fit` glue on {backend}, 30 numbers in batches of 32",
                over=("ready_list",),
                takes_longer=True,
            )
        ],
        batch_size=numbers.BATCH_SIZE,
        environment=_ENVIRONMENT.get(backend, {}),
    )


JOBS = {f"glue_{backend}": _images_job(backend) for backend in _PASSES} | {
    f"glue_{backend}_numbers": _table_job(backend) for backend in _PASSES
}
