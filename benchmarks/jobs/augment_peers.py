"""The peers of the job `augment`, each as its own documentation recommends, tuned for two cores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from job import BATCH_SIZE, WORKERS, Batch, Epoch

from .augment_shared import (
    BRIGHTNESS,
    ROTATION,
    SHIFT,
    SIZE,
    ZOOM,
    affine_feed,
    as_multifeed,
    drawn,
    read,
)


def image_data_generator(folder: Path, samples: int) -> Epoch:
    """Set up Keras' old generator, its parameters drawn once for both images of a sample."""
    make = _generator_class()
    arrays = read(folder)
    draw = as_multifeed(drawn(samples), affine_feed(folder, samples))
    generator = make(data_format="channels_last")

    def epoch(number: int) -> Iterator[Batch]:
        order, draws = draw(number)
        for first in range(0, samples, BATCH_SIZE):
            rows = order[first : first + BATCH_SIZE]
            batch = [np.empty((len(rows), *SIZE, 3), np.uint8) for _ in arrays]
            for place, row in enumerate(rows):
                parameters = _parameters(draws, first + place)
                for array, target in zip(arrays, batch, strict=True):
                    # Its iterators give it floats as well; what comes back is whole numbers.
                    image = array[row].astype(np.float32)
                    target[place] = generator.apply_transform(image, parameters)
            yield *batch, rows

    return epoch


def image_data_generator_flow(folder: Path, samples: int) -> Epoch:
    """Set up two of its iterators of the same seed, as the documentation does for image and mask."""
    make = _generator_class()
    numbers = np.arange(samples)
    arrays = read(folder)

    def epoch(number: int) -> Iterator[Batch]:
        flows = []
        for array in arrays:
            generator = make(
                rotation_range=ROTATION,
                width_shift_range=SHIFT,
                height_shift_range=SHIFT,
                zoom_range=ZOOM,
                horizontal_flip=True,
                brightness_range=(1 - BRIGHTNESS, 1 + BRIGHTNESS),
                data_format="channels_last",
            )
            # NumPy's seeds have 32 bits, and each batch adds one.
            flows.append(generator.flow(array, numbers, batch_size=BATCH_SIZE, seed=number % 2**30))
        for _ in range(len(flows[0])):
            (left, rows), (right, _) = (next(flow) for flow in flows)
            yield left.astype(np.uint8), right.astype(np.uint8), rows

    return epoch


def _generator_class() -> Any:
    os.environ["KERAS_BACKEND"] = "numpy"  # no model is trained here: the lightest one will do
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    return ImageDataGenerator


def _parameters(draws: Any, slot: int) -> dict[str, Any]:
    """Return the draws of a slot as `apply_transform` takes them; its x and y are exchanged."""
    down, right = draws["shift"][slot] * SIZE
    by_rows, by_columns = draws["zoom"][slot]
    return {
        "theta": draws["rotation"][slot],
        "tx": -right,
        "ty": -down,
        "zx": 1 / by_columns,
        "zy": 1 / by_rows,
        "flip_horizontal": draws["flip"][slot, 1],
        "brightness": draws["brightness"][slot],
    }


class Pairs:
    """A map-style data set that augments with albumentations."""

    def __init__(self, folder: Path) -> None:
        import albumentations as al
        import cv2

        cv2.setNumThreads(1)  # the loader brings its own processes
        self.left, self.right = (np.asarray(array) for array in read(folder))
        self.transform = al.Compose(
            [
                al.Affine(
                    rotate=(-ROTATION, ROTATION),
                    translate_percent=(-SHIFT, SHIFT),
                    scale=(1 - ZOOM, 1 + ZOOM),
                    keep_ratio=True,
                    border_mode=cv2.BORDER_REPLICATE,
                    p=1,
                ),
                al.HorizontalFlip(p=0.5),
                # With nothing but brightness to change, it passes over the rest.
                al.ColorJitter(brightness=BRIGHTNESS, contrast=0, saturation=0, hue=0, p=1),
            ],
            additional_targets={"right": "image"},
        )

    def __len__(self) -> int:
        return len(self.left)

    def __getitem__(self, row: int) -> tuple[np.ndarray, np.ndarray, int]:
        changed = self.transform(image=self.left[row], right=self.right[row])
        return changed["image"], changed["right"], row


def albumentations_torch(folder: Path, samples: int) -> Epoch:
    """Set up a DataLoader with two worker processes."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    import torch

    pairs = Pairs(folder)

    def seed(worker: int) -> None:
        pairs.transform.set_random_seed(torch.initial_seed() % 2**32)

    def epoch(number: int) -> Iterator[Batch]:
        torch.manual_seed(number)
        yield from torch.utils.data.DataLoader(
            pairs, batch_size=BATCH_SIZE, shuffle=True, num_workers=WORKERS, worker_init_fn=seed
        )

    return epoch


def tfdata_keras_layers(folder: Path, samples: int) -> Epoch:
    """Set up tf.data and Keras' layers over whole batches; both images are one of six channels."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras
    import tensorflow as tf

    left, right = (tf.constant(np.asarray(array)) for array in read(folder))
    layers = keras.layers.Pipeline(
        [
            keras.layers.RandomFlip("horizontal"),
            keras.layers.RandomRotation(ROTATION / 360, fill_mode="nearest"),
            keras.layers.RandomTranslation(SHIFT, SHIFT, fill_mode="nearest"),
            keras.layers.RandomZoom(ZOOM, fill_mode="nearest"),
            keras.layers.RandomBrightness(BRIGHTNESS),
        ]
    )

    def gathered(rows: Any) -> Any:
        return tf.concat([tf.gather(left, rows), tf.gather(right, rows)], -1), rows

    def changed(images: Any, rows: Any) -> Any:
        pixels = tf.cast(tf.round(layers(images, training=True)), tf.uint8)
        return pixels[..., :3], pixels[..., 3:], rows

    def epoch(number: int) -> Iterator[Batch]:
        dataset = tf.data.Dataset.range(samples).shuffle(samples, seed=number).batch(BATCH_SIZE)
        dataset = dataset.map(gathered, num_parallel_calls=tf.data.AUTOTUNE)
        dataset = dataset.map(changed, num_parallel_calls=tf.data.AUTOTUNE)
        yield from dataset.prefetch(tf.data.AUTOTUNE)

    return epoch
