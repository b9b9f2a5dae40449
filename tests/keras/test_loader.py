"""Loader under Keras: fit, evaluate and predict serve every sample once, in the order of `rows`."""

from __future__ import annotations

import contextlib
import gc
import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest

import multifeed as mf
from multifeed.workers.threads import IDLE_S


class Recorder(mf.Loader):
    """A loader that notes the rows of every batch that Keras is served between begin and end."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.served: list[list[int]] = []

    def __getitem__(self, index: int) -> Any:
        batch = super().__getitem__(index)
        inputs = batch[0]
        numbers = inputs["n"] if isinstance(inputs, dict) else inputs
        if isinstance(numbers, tuple):
            numbers = numbers[0]
        self.served.append(numbers[:, 0].astype(int).tolist())
        return batch

    def on_epoch_begin(self) -> None:
        super().on_epoch_begin()
        self.served.clear()


def table(count: int) -> dict[str, Any]:
    numbers = np.arange(count)
    return {"n": numbers, "m": numbers * 2.0, "kind": numbers % 3, "w": np.where(numbers % 2, 0.5, 2.0)}


def two_by_two(count: int, **options: Any) -> mf.Dataset:
    """Two inputs and two targets, as dicts."""
    return mf.Dataset(
        table(count),
        inputs={"n": mf.Numeric("n"), "m": mf.Numeric("m")},
        targets={"kind": mf.Category("kind", vocabulary=[0, 1, 2]), "double": mf.Numeric("m")},
        **options,
    )


def two_by_two_model(data: mf.Dataset) -> keras.Model:
    """A model for `two_by_two`, compiled."""
    inputs = mf.inputs(data)
    joined = keras.layers.Concatenate()(list(inputs.values()))
    outputs = {
        "kind": keras.layers.Dense(3, "softmax", kernel_initializer="zeros", name="kind")(joined),
        "double": keras.layers.Dense(1, name="double")(joined),
    }
    model = keras.Model(inputs, outputs)
    model.compile("sgd", {"kind": "sparse_categorical_crossentropy", "double": "mse"},
                  metrics={"kind": ["accuracy"]})  # fmt: skip
    model.optimizer.learning_rate = 1e-6
    return model


class Watch(keras.callbacks.Callback):
    """Notes what the loader had served at each epoch's end."""

    def __init__(self, loader: Recorder) -> None:
        super().__init__()
        self.loader = loader
        self.epochs: list[list[list[int]]] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epochs.append([list(rows) for rows in self.loader.served])


def expected(loader: mf.Loader, epoch: int) -> list[list[int]]:
    return [loader.rows(epoch, step).tolist() for step in range(len(loader))]


@pytest.mark.parametrize("count", [3, 4, 11])
def test_fit_serves_the_order_of_rows_whatever_keras_shuffles(count: int) -> None:
    """Epoch by epoch, from epoch 0, fit sees loader.rows; epochs of one step are not lost to peeks."""
    data = two_by_two(count)
    loader = Recorder(data, 4, shuffle=True, seed=3)
    watch = Watch(loader)
    model = two_by_two_model(data)
    mf.check_model(model, data)
    model.fit(loader, epochs=3, callbacks=[watch], verbose=0)
    assert watch.epochs == [expected(loader, epoch) for epoch in range(3)]
    assert loader.epoch == 3


def test_a_second_fit_goes_on_with_the_next_epoch() -> None:
    """Two fits one after the other serve what one longer fit serves; recompiling changes nothing."""
    data = two_by_two(11)
    loader = Recorder(data, 4, shuffle=True, seed=3)
    watch = Watch(loader)
    two_by_two_model(data).fit(loader, epochs=2, callbacks=[watch], verbose=0)
    two_by_two_model(data).fit(loader, epochs=2, callbacks=[watch], verbose=0)
    assert watch.epochs == [expected(loader, epoch) for epoch in range(4)]


def test_validation_evaluate_and_predict_leave_the_training_epoch_alone() -> None:
    """Only fit advances the epoch; validation_data is served whole each time."""
    data = two_by_two(11)
    loader, validation = Recorder(data, 4, shuffle=True), Recorder(data, 3)
    watch = Watch(validation)
    model = two_by_two_model(data)
    model.fit(loader, validation_data=validation, epochs=2, callbacks=[watch], verbose=0)
    assert watch.epochs == [expected(validation, 0)] * 2
    model.evaluate(loader, verbose=0)
    assert loader.served == expected(loader, 2)
    model.predict(loader, verbose=0)
    assert loader.served == expected(loader, 2)
    assert loader.epoch == 2


def test_predictions_stand_in_the_order_of_keys() -> None:
    """predict on an unshuffled loader gives row i for row i, the smaller last batch included."""
    data = mf.Dataset(table(11), inputs=mf.Numeric("n"))
    inputs = mf.inputs(data)
    model = keras.Model(inputs, keras.layers.Rescaling(3.0)(inputs))
    predictions = model.predict(mf.Loader(data, 4), verbose=0)
    np.testing.assert_allclose(predictions[:, 0], 3.0 * np.arange(11))


class EvaluateInside(keras.callbacks.Callback):
    """Evaluates the training loader itself after the second batch."""

    def __init__(self, loader: mf.Loader) -> None:
        super().__init__()
        self.loader = loader

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch == 1:
            self.model.evaluate(self.loader, verbose=0)


def test_an_evaluate_inside_fit_is_a_pass_of_its_own() -> None:
    """The loss of the inner evaluate is that of the whole epoch, and fit loses no batch to it."""
    data = two_by_two(40)
    plain, nested = mf.Loader(data, 4, shuffle=True, seed=1), mf.Loader(data, 4, shuffle=True, seed=1)
    losses = []
    for loader, callbacks in ((plain, []), (nested, [EvaluateInside(nested)])):
        keras.utils.set_random_seed(0)
        model = two_by_two_model(data)
        history = model.fit(loader, epochs=1, callbacks=callbacks, verbose=0, shuffle=False)
        losses.append(model.get_weights())
        assert history.epoch == [0]
        assert loader.epoch == 1
    # On one order of batches, the weights after fit are the same with and without the evaluate.
    for one, other in zip(*losses, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


class StopAt(keras.callbacks.Callback):
    """Stops training in the middle of an epoch."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch == 2:
            self.model.stop_training = True


class Interrupt(keras.callbacks.Callback):
    """Raises in the middle of an epoch, as Ctrl-C does."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("stopper", [StopAt, Interrupt])
def test_after_a_stop_in_mid_epoch_the_next_fit_serves_that_epoch_whole(
    stopper: type[keras.callbacks.Callback],
) -> None:
    """A fit that was stopped in epoch 0 is followed by one that serves all of epoch 0."""
    data = two_by_two(60)
    loader = Recorder(data, 4, shuffle=True, seed=3)
    model = two_by_two_model(data)
    with contextlib.suppress(KeyboardInterrupt):
        model.fit(loader, epochs=1, callbacks=[stopper()], verbose=0)
    epoch = loader.epoch
    assert epoch == 0
    watch = Watch(loader)
    model.fit(loader, epochs=2, callbacks=[watch], verbose=0)
    assert [sorted(itertools.chain(*each)) for each in watch.epochs] == [list(range(60))] * 2
    assert loader.epoch == epoch + 2


def test_early_stopping_and_the_best_weights() -> None:
    """EarlyStopping ends fit at an epoch's end; the loader stands at the next epoch."""
    data = two_by_two(12)
    loader = mf.Loader(data, 4, shuffle=True)
    stop = keras.callbacks.EarlyStopping("loss", patience=0, min_delta=1e9, restore_best_weights=True)
    history = two_by_two_model(data).fit(loader, epochs=9, callbacks=[stop], verbose=0)
    assert loader.epoch == len(history.epoch) == 2


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_fewer_steps_an_epoch_than_keras_is_told_still_serve_each_sample_once() -> None:
    """fit(steps_per_epoch=2) of 5: epochs of 2, 2, 1 steps make up one of ours."""
    data = two_by_two(20)
    loader = Recorder(data, 4, shuffle=True, seed=3)
    seen: list[int] = []

    class Seen(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            seen.append(loader.epoch)

    two_by_two_model(data).fit(loader, epochs=6, steps_per_epoch=2, callbacks=[Seen()], verbose=0)
    assert loader.epoch == 2


def test_an_index_by_hand_is_a_batch_of_the_present_epoch() -> None:
    """loader[i] outside of Keras is batch (epoch, i), and moves nothing."""
    loader = mf.Loader(two_by_two(11), 4, shuffle=True)
    loader.epoch = 5
    np.testing.assert_array_equal(loader[2][0]["n"], loader.batch(5, 2)[0]["n"])
    assert loader.epoch == 5
    with pytest.raises(IndexError, match="^step 3 of an epoch of 3 steps$"):
        loader[3]


@pytest.mark.parametrize("structure", ["dict", "tuple", "single"])
def test_the_structure_that_goes_in_comes_out(structure: str) -> None:
    """dict, tuple and single inputs and targets train, evaluate and predict."""
    fields = {"n": mf.Numeric("n"), "m": mf.Numeric("m")}
    targets = {"double": mf.Numeric("m"), "half": mf.Numeric("w")}
    shape = {
        "dict": (fields, targets),
        "tuple": (tuple(fields.values()), tuple(targets.values())),
        "single": (fields["n"], targets["double"]),
    }[structure]
    data = mf.Dataset(table(11), inputs=shape[0], targets=shape[1])
    inputs = mf.inputs(data)
    flat = (
        list(inputs.values())
        if structure == "dict"
        else list(inputs)
        if structure == "tuple"
        else [inputs]
    )
    joined = keras.layers.Concatenate()(flat) if len(flat) > 1 else flat[0]
    outputs: Any = {name: keras.layers.Dense(1, name=name)(joined) for name in targets}
    if structure == "tuple":
        outputs = tuple(outputs.values())
    elif structure == "single":
        outputs = outputs["double"]
    model = keras.Model(inputs, outputs)
    mf.check_model(model, data)
    losses = {"dict": {"double": "mse", "half": "mse"}, "tuple": ["mse", "mse"], "single": "mse"}
    model.compile("sgd", losses[structure])
    model.optimizer.learning_rate = 1e-6
    loader = mf.Loader(data, 4)
    model.fit(loader, epochs=1, verbose=0)
    model.evaluate(loader, verbose=0)
    predictions = model.predict(loader, verbose=0)
    for values in {"dict": dict.values, "tuple": list, "single": lambda one: [one]}[structure](
        predictions
    ):
        assert len(values) == 11


@pytest.mark.parametrize("weights", ["w", {"double": "w"}])
def test_sample_weights_weigh_the_loss(weights: Any) -> None:
    """The loss with weights is the weighted one; a target without a column has weight 1."""
    data = two_by_two(12, sample_weight=weights)
    model = two_by_two_model(data)
    logs = model.evaluate(mf.Loader(data, 12), verbose=0, return_dict=True)
    inputs, targets, _ = mf.Loader(data, 12).batch(0, 0)
    predicted = model.predict_on_batch(inputs)
    weight = table(12)["w"]
    error = (predicted["double"][:, 0] - targets["double"][:, 0]) ** 2
    kind = -np.log(predicted["kind"][np.arange(12), targets["kind"]])
    kind_weight = weight if weights == "w" else np.ones(12)
    total = (error * weight).mean() + (kind * kind_weight).mean()
    np.testing.assert_allclose(logs["loss"], total, rtol=1e-4)


def test_the_error_reaches_the_user_with_its_text() -> None:
    """A broken file in fit: the text names the sample on every backend; last_error is the original."""
    data = mf.Dataset(
        {"id": ["a", "b"], "file": ["/nowhere/a.jpg", "/nowhere/b.jpg"], "y": [0.0, 1.0]},
        key="id", inputs={"file": mf.Image("file", size=4)}, targets=mf.Numeric("y"),
    )  # fmt: skip
    inputs = mf.inputs(data)
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(
        keras.layers.Rescaling(1 / 255)(inputs["file"]))))  # fmt: skip
    model.compile("sgd", "mse")
    loader = mf.Loader(data, 1)
    with pytest.raises(Exception, match="'file' of sample 'a' cannot be used: the file does not exist"):
        model.fit(loader, verbose=0)
    assert isinstance(loader.last_error, mf.SampleError)
    assert loader.last_error.key == "a"


@pytest.mark.parametrize("engine", ["columns", "threads", "processes"])
def test_no_batch_changes_while_the_backend_may_still_read_it(engine: str) -> None:
    """Each image carries its number; over 600 recycled batches the model finds no other in it.

    JAX dispatches asynchronously and aliases host memory: were a buffer recycled too early, an image
    would show a later batch's number.
    """
    numbers = np.arange(64 * 20) % 251
    images = np.broadcast_to(numbers[:, None, None, None], (len(numbers), 64, 64, 3)).astype(np.uint8)
    data = mf.Dataset(
        {"image": images, "number": numbers.astype(np.float32)},
        inputs={"image": mf.Array("image", preprocess=None if engine == "columns" else np.copy)},
        targets=mf.Numeric("number"),
    )
    inputs = mf.inputs(data)
    values = keras.layers.Rescaling(1.0)(inputs["image"])
    highest = keras.layers.GlobalMaxPooling2D()(values)
    lowest = keras.layers.Rescaling(-1.0)(
        keras.layers.GlobalMaxPooling2D()(keras.layers.Rescaling(-1.0)(values))
    )
    # (n, 6): the highest and lowest value of each channel, all equal to the number.
    model = keras.Model(inputs, keras.layers.Concatenate()([highest, lowest]))
    model.compile("sgd", "mae")
    processes = 2 if engine == "processes" else 0
    with mf.Loader(data, 64, shuffle=True, seed=1, processes=processes) as loader:
        history = model.fit(loader, epochs=30, verbose=0)
        assert max(history.history["loss"]) == 0.0
        assert loader.feed._pool.leased < 100


def test_a_tensor_made_of_a_batch_keeps_its_bytes() -> None:
    """What a backend made of a batch, aliased or copied, is unchanged 200 batches later."""
    data = mf.Dataset({"x": np.arange(6400).reshape(640, 10)}, inputs=mf.Array("x"))
    loader = mf.Loader(data, 16, shuffle=True)
    tensor = keras.ops.convert_to_tensor(next(iter(loader))[0])
    for _ in range(5):
        for _ in loader:
            pass
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(tensor), loader.batch(0, 0)[0])


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """After each test, no thread of ours is left: at once, or, where the host keeps the loader, soon.

    TensorFlow keeps every dataset that it has seen; there, threads end after IDLE_S without work.
    """
    yield
    gc.collect()
    limit = time.monotonic() + (IDLE_S + 5 if keras.backend.backend() == "tensorflow" else 5)
    while any(t.name.startswith("multifeed") for t in threading.enumerate()):
        assert time.monotonic() < limit, "threads are left"
        gc.collect()
        time.sleep(0.05)


def test_epochs_of_another_length_are_epochs_for_keras() -> None:
    """Loader(steps_per_epoch=2) of 3: fit sees epochs of two steps along one stream."""
    data = two_by_two(11)
    loader = Recorder(data, 4, shuffle=True, seed=3, steps_per_epoch=2)
    watch = Watch(loader)
    two_by_two_model(data).fit(loader, epochs=3, callbacks=[watch], verbose=0)
    plain = mf.Loader(data, 4, shuffle=True, seed=3)
    stream = [plain.rows(epoch, step).tolist() for epoch in range(2) for step in range(3)]
    assert watch.epochs == [stream[0:2], stream[2:4], stream[4:6]]
    assert loader.epoch == 3


class Renamed(mf.Loader):
    """A subclass that calls its first parameter otherwise, and asks through a closure."""

    def __getitem__(loader, index: int) -> Any:  # noqa: N805
        return (lambda: mf.Loader.__getitem__(loader, index))()


class Wrapper(keras.utils.PyDataset):
    """A dataset around a loader, which passes begin and end on."""

    def __init__(self, loader: mf.Loader) -> None:
        super().__init__()
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __getitem__(self, index: int) -> Any:
        return self.loader[index]

    def on_epoch_begin(self) -> None:
        self.loader.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self.loader.on_epoch_end()


def test_subclasses_and_wrappers_advance_the_epoch() -> None:
    """Whatever stands between Keras and the loader, it serves epoch after epoch."""
    data = two_by_two(11)
    model = two_by_two_model(data)
    renamed = Renamed(data, 4, shuffle=True)
    model.fit(renamed, epochs=3, verbose=0)
    assert renamed.epoch == 3
    inner = Recorder(data, 4, shuffle=True, seed=2)
    watch = Watch(inner)
    model.fit(Wrapper(inner), epochs=3, callbacks=[watch], verbose=0)
    assert watch.epochs == [expected(inner, epoch) for epoch in range(3)]


class CloseInside(keras.callbacks.Callback):
    """Closes the loader after each batch."""

    def __init__(self, loader: mf.Loader) -> None:
        super().__init__()
        self.loader = loader

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.loader.close()


@pytest.mark.parametrize("processes", [0, 1, 2])
def test_files_reach_fit_in_order(pairs: mf.Dataset, processes: int) -> None:
    """Read on threads or in processes: fit sees loader.rows, also when a callback closes the loader."""
    inputs = mf.inputs(pairs)
    flat = [
        keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs[side]))
        for side in ("left", "right")
    ]
    joined = keras.layers.Concatenate()([*flat, inputs["age"]])
    outputs = {"kind": keras.layers.Dense(3, name="kind")(joined),
               "number": keras.layers.Dense(1, name="number")(joined)}  # fmt: skip
    model = keras.Model(inputs, outputs)
    mf.check_model(model, pairs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", {"kind": loss, "number": "mse"})
    served: list[list[int]] = []

    class Numbers(mf.Loader):
        def __getitem__(self, index: int) -> Any:
            batch = super().__getitem__(index)
            served.append(batch[1]["number"].tolist())
            return batch

        def on_epoch_begin(self) -> None:
            super().on_epoch_begin()
            served.clear()

    for callbacks in (lambda loader: [], lambda loader: [CloseInside(loader)]):
        with Numbers(pairs, 4, shuffle=True, seed=1, workers=2, processes=processes) as loader:
            model.fit(loader, epochs=1, callbacks=callbacks(loader), verbose=0)
            assert served == expected(loader, 0)


def test_class_weights_weigh_the_loss_of_each_target() -> None:
    """For two outputs as dicts, which Keras cannot do itself; the loss is that of the weights."""
    data = two_by_two(12)
    model = two_by_two_model(data)
    with mf.Loader(data, 12, class_weight={"kind": {0: 3.0, 1: 0.0}}) as loader:
        _, targets, weights = loader.batch(0, 0)
        found = model.evaluate(loader, verbose=0, return_dict=True)
    assert weights["kind"].tolist() == [{0: 3.0, 1: 0.0, 2: 1.0}[kind] for kind in targets["kind"]]
    # The first head starts at zero: every class has a probability of 1/3.
    np.testing.assert_allclose(found["kind_loss"], np.log(3) * weights["kind"].mean(), rtol=1e-5)
    with mf.Loader(data, 5, shuffle=True, class_weight={"kind": "balanced"}) as loader:
        model.fit(loader, epochs=2, verbose=0)


def test_padded_batches_train_and_predict() -> None:
    """All batches have one length; padding weighs nothing in the sums that the loss is made of."""
    data = two_by_two(10)
    model = two_by_two_model(data)
    with mf.Loader(data, 4, remainder="pad") as loader:
        lengths = [len(inputs["n"]) for inputs, _, _ in loader]
        losses = model.fit(loader, verbose=0).history
        predicted = model.predict(loader, verbose=0)
    assert lengths == [4, 4, 4]
    assert len(predicted["double"]) == 12
    # Two of twelve rows weigh nothing, but count in the divisor.
    np.testing.assert_allclose(losses["kind_loss"][0], np.log(3) * 10 / 12, rtol=1e-4)


@pytest.mark.parametrize("wait_s", [0.02, 0.0])
def test_fit_says_once_what_it_waits_for(caplog: pytest.LogCaptureFixture, wait_s: float) -> None:
    """One sentence after the first epoch if the model waited; none if it did not."""

    def slow(values: np.ndarray) -> np.ndarray:
        time.sleep(wait_s)
        return values

    data = mf.Dataset(
        {"n": np.arange(64.0)}, inputs=mf.Array("n", (1,), preprocess=slow), targets=mf.Numeric("n")
    )
    x = mf.inputs(data)
    model = keras.Model(x, keras.layers.Dense(1)(x))
    model.compile("sgd", "mse")
    with mf.Loader(data, 4, workers=1) as loader:
        model.fit(loader, epochs=3, verbose=0)
        model.evaluate(loader, verbose=0)
        model.predict(loader, verbose=0)
    said = [record.getMessage() for record in caplog.records if record.name == "multifeed"]
    assert len(said) == (1 if wait_s else 0)
    for sentence in said:
        who = "TensorFlow's prefetching" if keras.config.backend() == "tensorflow" else "the model"
        assert sentence.startswith(f"{who} waited ")
        assert "; decoding 'n' takes most of the loader's work (" in sentence


@pytest.mark.parametrize("shape", [(8, 8, 3), (8, 3), (3,), (1,)])
@pytest.mark.parametrize("how", ["column", "class_weight", "pad"])
def test_weights_are_of_samples_whatever_a_target_is(shape: tuple[int, ...], how: str) -> None:
    """Also where the loss has a value for each pixel, and as many columns as the batch has samples."""
    count = 8 if how != "pad" else 5
    x = np.random.default_rng(0).random((count, *shape), np.float32)
    kind = np.arange(count) % 2
    data = mf.Dataset(
        {"x": x, "w": np.arange(count, dtype="float32"), "kind": kind},
        inputs=mf.Array("x"),
        targets={"copy": mf.Same("x", scale=1.0), "kind": mf.Category("kind", vocabulary=[0, 1])},
        sample_weight={"copy": "w"} if how == "column" else None,
    )
    inputs = mf.inputs(data)
    flat = keras.layers.Flatten()(inputs)
    model = keras.Model(inputs, {
        "copy": keras.layers.Rescaling(0.0, name="copy")(inputs),
        "kind": keras.layers.Dense(2, "softmax", kernel_initializer="zeros", name="kind")(flat),
    })  # fmt: skip
    model.compile("sgd", {"copy": "mse", "kind": "sparse_categorical_crossentropy"})
    options: dict[str, Any] = {
        "column": {},
        "class_weight": {"class_weight": {"kind": {0: 3.0, 1: 1.0}}},
        "pad": {"remainder": "pad"},
    }[how]
    with mf.Loader(data, 8, **options) as loader:
        found = model.evaluate(loader, verbose=0, return_dict=True)
    error = (x.reshape(count, -1) ** 2).mean(1)
    weights = {"column": np.arange(8.0), "class_weight": np.ones(8), "pad": np.ones(5)}[how]
    np.testing.assert_allclose(found["copy_loss"], (error * weights).sum() / 8, rtol=1e-4)
    by_class = np.where(kind == 0, 3.0, 1.0) if how == "class_weight" else np.ones(count)
    np.testing.assert_allclose(found["kind_loss"], np.log(2) * by_class.sum() / 8, rtol=1e-4)


def test_large_columns_are_gathered_where_that_suits_the_backend() -> None:
    """On JAX in the thread that asks, on the others ahead of it; the batches are the same."""
    pixels = np.random.default_rng(0).integers(0, 255, (64, 128, 128, 3), np.uint8)
    data = mf.Dataset({"x": pixels, "y": np.arange(64.0)}, inputs=mf.Array("x"), targets=mf.Numeric("y"))
    with mf.Loader(data, 32, shuffle=True, seed=3) as loader:
        seen = {thread.name for thread in threading.enumerate()}
        for step, (x, _) in enumerate(loader):
            seen |= {thread.name for thread in threading.enumerate()}
            assert (x == loader.batch(0, step)[0]).all()
    assert ("multifeed" in seen) == (keras.config.backend() != "jax")
