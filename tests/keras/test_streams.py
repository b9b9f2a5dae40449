"""Streams in `fit`: every sample once an epoch, on every backend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
from keras.src.legacy.preprocessing.image import ImageDataGenerator

import multifeed as mf

SAMPLES = 14


def images(count: int = SAMPLES) -> Iterator[Any]:
    """Yield 0, 1, 2, … as tiny images, in batches of 4."""
    values = np.arange(count, dtype="float32")
    for start in range(0, count, 4):
        yield np.broadcast_to(
            values[start : start + 4, None, None, None], (*values[start : start + 4].shape, 2, 2, 1)
        )


def numbers(count: int = SAMPLES) -> Iterator[Any]:
    """Yield the same numbers as they are, in batches of 3."""
    for start in range(0, count, 3):
        yield np.arange(start, min(start + 3, count), dtype="float32")[:, None]


class Labels(keras.utils.PyDataset):
    """Inputs and targets by index: the same numbers, and twice them."""

    def __len__(self) -> int:
        return -(-SAMPLES // 5)

    def __getitem__(self, index: int) -> Any:
        values = np.arange(SAMPLES, dtype="float32")[index * 5 :][:5, None]
        return values, values * 2


class Remember(keras.layers.Layer):
    """Passes on the mean of an image beside a number, and remembers whether the two were the same."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = self.add_weight(shape=(SAMPLES,), initializer="zeros", trainable=False)
        self.apart = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, image: Any, number: Any, twice: Any) -> Any:
        mean = keras.ops.mean(image, axis=(1, 2))
        which = keras.ops.one_hot(keras.ops.cast(number[:, 0], "int32"), SAMPLES)
        self.seen.assign_add(keras.ops.sum(which, axis=0))
        self.apart.assign_add(
            keras.ops.sum(keras.ops.abs(mean - number) + keras.ops.abs(twice - number))
        )
        return mean + number


def build() -> tuple[keras.Model, Remember]:
    """Return a compiled model of an image and two numbers, and the layer that remembers them."""
    image = keras.Input((2, 2, 1), name="images")
    number, other = keras.Input((1,), name="numbers"), keras.Input((1,), name="labels")
    remember = Remember()
    output = keras.layers.Dense(1)(remember(image, number, other))
    model = keras.Model({"images": image, "numbers": number, "labels": other}, output)
    model.compile("sgd", "mse")
    model.optimizer.learning_rate = 1e-4
    return model, remember


def told(variable: Any) -> list[float]:
    return keras.ops.convert_to_numpy(variable).astype(float).tolist()


@pytest.mark.parametrize("steps_per_epoch", [None, 7])
def test_fit_has_each_sample_once_an_epoch(steps_per_epoch: int | None) -> None:
    """Over epochs with validation, of streams of other batch sizes, nothing is lost or comes twice."""
    streams = {"images": images, "numbers": numbers, "labels": Labels()}
    model, remember = build()
    with mf.from_generator(streams, 4, steps_per_epoch=steps_per_epoch) as training:
        model.fit(training, validation_data=mf.from_generator(streams, 6), epochs=4, verbose=0)
        passes = 8 if steps_per_epoch is None else 12
        # What builds the model on TensorFlow is no pass, and validation is one of its own.
        assert told(remember.seen) == [float(passes)] * SAMPLES
        assert told(remember.apart) == 0.0
        # Evaluated from the beginning, or from where the last epoch ended: all 14 in either case.
        assert np.isfinite(model.evaluate(training, verbose=0))
        assert len(model.predict(training, verbose=0)) in (SAMPLES, 4 * 7)


def test_losses_are_those_of_the_same_batches_as_arrays() -> None:
    """Streams train as the arrays do from which they are cut."""
    values = np.arange(SAMPLES, dtype="float32")[:, None]
    arrays = {"images": np.concatenate(list(images())), "numbers": values, "labels": values}
    losses = []
    for takes_streams in (True, False):
        keras.utils.set_random_seed(0)
        model, _ = build()
        data: Any = (arrays, values * 2)
        if takes_streams:
            data = (mf.from_generator({"images": images, "numbers": numbers, "labels": Labels()}, 4),)
        fitted = model.fit(
            *data, batch_size=None if takes_streams else 4, shuffle=False, epochs=3, verbose=0
        )
        losses.append(fitted.history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_flow_iterators_go_along_with_a_generator() -> None:
    """What an ImageDataGenerator flows has an end here, and its own labels are the targets."""
    pixels = np.concatenate(list(images()))
    flow = ImageDataGenerator().flow(pixels, np.arange(SAMPLES), batch_size=4, shuffle=False)
    merged = mf.from_generator({"images": flow, "numbers": numbers}, 5)
    assert merged.num_batches == 3
    for _ in range(2):
        found = [(x["numbers"][:, 0].tolist(), y.tolist()) for x, y in merged]
        assert [number for part, _ in found for number in part] == list(range(SAMPLES))
        assert all(part == labels for part, labels in found)


def test_a_stream_that_raises_in_fit_is_named() -> None:
    """The text reaches the user on every backend, and `last_error` is the exception."""

    def fails() -> Iterator[Any]:
        yield from numbers(9)
        raise OSError("the disk is gone")

    model, _ = build()
    streams = mf.from_generator(
        {"images": images, "numbers": fails, "labels": Labels()}, 4, steps_per_epoch=4
    )
    message = "the stream 'numbers' raised OSError in batch 3: the disk is gone"
    with pytest.raises(Exception, match=message):
        model.fit(streams, verbose=0)
    assert isinstance(streams.last_error, mf.StreamError)
    # Keras shortens tracebacks, and takes away the cause as well.
    assert isinstance(streams.last_error.__context__, OSError)


def test_what_is_left_over_after_an_epoch_is_an_error() -> None:
    """A sequence whose middle batches are larger than its first has told too few samples."""

    class Bulging(Labels):
        def __getitem__(self, index: int) -> Any:
            values = np.zeros((8 if index == 1 else 4, 1), "float32")
            return values, values

    only = keras.Input((1,), name="only")
    model = keras.Model({"only": only}, keras.layers.Dense(1)(only))
    model.compile("sgd", "mse")
    streams = mf.from_generator({"only": Bulging()}, 4)
    assert streams.num_batches == 3
    with pytest.raises(Exception, match="this one had 16, where 12 were told by the first and last"):
        model.fit(streams, verbose=0)


def test_a_stream_has_no_batch_by_number_and_no_length_of_its_own() -> None:
    """Both are errors with the remedy, the second when fit asks."""
    model, _ = build()
    streams = mf.from_generator(
        {"images": images, "numbers": numbers, "labels": numbers}, 4, targets="labels"
    )
    with pytest.raises(
        mf.StateError,
        match="^a stream has no batch by number; batch 2 was asked for.\n"
        "  Iterate: for batch in streams. A batch by its position is what mf.Loader has.$",
    ):
        streams[2]
    with pytest.raises(mf.DeclarationError, match="^fit must know how many batches an epoch has"):
        model.fit(streams, verbose=0)
    assert repr(streams).startswith(
        "StreamLoader of 3 streams in batches of 4, epochs as long as a pass\n"
    )


def test_a_fit_that_is_stopped_leaves_the_next_one_a_whole_pass() -> None:
    """Streams that begin anew do so for each fit; one of some steps a time goes on."""

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.model.stop_training = batch == 1

    model, remember = build()
    streams = mf.from_generator({"images": images, "numbers": numbers, "labels": Labels()}, 4)
    model.fit(streams, callbacks=[Stop()], verbose=0)
    before = np.array(told(remember.seen))
    assert before.tolist() == [1.0] * 8 + [0.0] * 6
    model.fit(streams, steps_per_epoch=2, epochs=2, verbose=0)
    assert (np.array(told(remember.seen)) - before).tolist() == [1.0] * SAMPLES
