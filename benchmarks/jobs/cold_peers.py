"""The peers of the cold job, each as its own documentation recommends, tuned for two cores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from data import read_samples
from job import BATCH_SIZE, WORKERS, Batch, Epoch

SIZE = (224, 224)


class Pairs:
    """A map-style data set, as PyTorch and Grain want it, that decodes with OpenCV."""

    def __init__(self, folder: Path) -> None:
        import cv2

        cv2.setNumThreads(1)  # the loaders bring their own threads and processes
        self.left, self.right, self.numbers = read_samples(folder)

    def __len__(self) -> int:
        return len(self.left)

    def __getitem__(self, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._image(self.left[row]), self._image(self.right[row]), self.numbers[row]

    @staticmethod
    def _image(path: str) -> np.ndarray:
        import cv2

        decoded = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR_RGB)
        return cv2.resize(decoded, SIZE)


def torch_opencv(folder: Path, samples: int) -> Epoch:
    """Set up a DataLoader with two worker processes."""
    import torch

    pairs = Pairs(folder)

    def epoch(number: int) -> Iterator[Batch]:
        torch.manual_seed(number)
        yield from torch.utils.data.DataLoader(
            pairs, batch_size=BATCH_SIZE, shuffle=True, num_workers=WORKERS
        )

    return epoch


def grain_opencv(folder: Path, samples: int) -> Epoch:
    """Set up a Grain pipeline that reads and decodes in threads."""
    import grain

    pairs = Pairs(folder)
    options = grain.ReadOptions(num_threads=WORKERS, prefetch_buffer_size=2 * BATCH_SIZE)

    def epoch(number: int) -> Iterator[Batch]:
        dataset = grain.MapDataset.source(pairs).shuffle(seed=number)
        yield from dataset.to_iter_dataset(options).batch(BATCH_SIZE)

    return epoch


def tfdata(folder: Path, samples: int) -> Epoch:
    """Set up a tf.data pipeline: fast decoding, every degree of parallelism tuned by itself."""
    import tensorflow as tf

    columns = read_samples(folder)

    def image(path: Any) -> Any:
        decoded = tf.io.decode_jpeg(tf.io.read_file(path), channels=3, dct_method="INTEGER_FAST")
        return tf.cast(tf.image.resize(decoded, SIZE), tf.uint8)

    def sample(left: Any, right: Any, numbers: Any) -> Any:
        return image(left), image(right), numbers

    def epoch(number: int) -> Iterator[Batch]:
        dataset = tf.data.Dataset.from_tensor_slices(columns).shuffle(samples, seed=number)
        dataset = dataset.map(sample, num_parallel_calls=tf.data.AUTOTUNE)
        dataset = dataset.batch(BATCH_SIZE, num_parallel_calls=tf.data.AUTOTUNE)
        yield from dataset.prefetch(tf.data.AUTOTUNE)

    return epoch


def pydataset(folder: Path, samples: int) -> Epoch:
    """Set up the PyDataset of the tutorials at its best: two threads, the same picture."""
    return _pydataset(folder, workers=WORKERS, interpolation="bilinear")


def pydataset_default(folder: Path, samples: int) -> Epoch:
    """Set up the PyDataset of the tutorials to the letter: all of Keras' defaults.

    One thread, and "nearest" as the interpolation, which is quick and skips pixels.
    """
    return _pydataset(folder, workers=1, interpolation="nearest")


def _pydataset(folder: Path, workers: int, interpolation: str) -> Epoch:
    os.environ["KERAS_BACKEND"] = "numpy"  # no model is trained here: the lightest one will do
    import keras

    # What `fit` itself iterates a PyDataset with; there is no public name for it.
    from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

    left, right, numbers = read_samples(folder)

    def image(path: str) -> Any:
        loaded = keras.utils.load_img(path, target_size=SIZE, interpolation=interpolation)
        return keras.utils.img_to_array(loaded)

    class Photographs(keras.utils.PyDataset):  # type: ignore[misc]
        """Paths in, a batch of arrays out."""

        def __init__(self, seed: int) -> None:
            super().__init__(workers=workers)
            self.order = np.random.default_rng(seed).permutation(len(left))

        def __len__(self) -> int:
            return -(-len(left) // BATCH_SIZE)

        def __getitem__(self, step: int) -> Any:
            rows = self.order[step * BATCH_SIZE : (step + 1) * BATCH_SIZE]
            inputs = tuple(np.array([image(paths[row]) for row in rows]) for paths in (left, right))
            return inputs, numbers[rows]

    def epoch(number: int) -> Iterator[Batch]:
        for images, values in PyDatasetAdapter(Photographs(number)).get_numpy_iterator():
            yield *images, values

    return epoch
