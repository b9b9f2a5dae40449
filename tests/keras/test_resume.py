"""ResumeTraining: whatever stops fit, run again it ends as if nothing had happened, bit by bit."""

from __future__ import annotations

import json
import random
import re
import resource
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from resume_job import BATCH, dataset, state_of, train

import multifeed as mf
from multifeed.generations import Generations

pytestmark = pytest.mark.xdist_group("resume")

JOB = Path(__file__).with_name("resume_job.py")
BACKEND = keras.config.backend()
STEPS = 7
INTEGER = "int64" if BACKEND == "tensorflow" else "int32"


def run(folder: Path, log: Path, **options: Any) -> int:
    """Run the job in a process of its own; return how it ended."""
    ended = subprocess.run(
        [sys.executable, str(JOB), str(folder), str(log), json.dumps(options)],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr[-4000:]
    return ended.returncode


def told(log: Path) -> dict[str, Any]:
    """Return what a log tells of every step and epoch; what it tells twice, it must tell alike."""
    found: dict[str, Any] = {}
    for line in log.read_text().splitlines():
        what, *rest = json.loads(line)
        assert found.setdefault(what, rest) == rest, what
    return found


def assert_same(one: keras.Model, other: keras.Model) -> None:
    """Raise unless all variables of two models and their optimizers have the same bytes."""
    for left, right in zip(state_of(one), state_of(other), strict=True):
        np.testing.assert_array_equal(left, right, strict=True)


class Stop(keras.callbacks.Callback):
    """Ends fit with an exception after so many steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.steps -= 1
        if self.steps == 0:
            raise KeyboardInterrupt


def stopped(folder: Path, log: Path, steps: int, *, more: Any = (), **options: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(str(folder), log, more=[*more, Stop(steps)], **options)


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let JAX keep what it has compiled: the same model is built again and again."""
    if BACKEND != "jax":
        yield
        return
    import jax

    options = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("compiled")),
        "jax_persistent_cache_min_compile_time_secs": 0,
    }
    before = {name: getattr(jax.config, name) for name in options}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in options.items():
            jax.config.update(name, value)
            # For the processes that are killed.
            patch.setenv(name.upper(), str(value))
        yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, dict[str, Any]]:
    """What two epochs come to that nobody interrupts: the model, and what was logged."""
    folder = tmp_path_factory.mktemp("plain")
    model = train(str(folder / "run"), folder / "log", epochs=2)
    return model, told(folder / "log")


Plain = tuple[keras.Model, dict[str, Any]]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_again_and_again_training_ends_as_if_nothing_had_happened(
    plain: Plain, tmp_path: Path, full_length: bool
) -> None:
    """kill -9 at steps, in a save and in validation, on threads and processes: all logs and bytes equal.

    Once complete it trains no more, and goes on with a larger number of epochs.
    """
    draw = random.Random(BACKEND)
    kills = [("step", draw.randint(2, 4)), ("save", 1)]
    if full_length:
        # One step is left at least: none is a generation at the end of an epoch.
        kills += [("step", 1), ("validation", 1), ("step", 1), ("validation", 1)]
    engines = [{"processes": 1, "workers": 2}, {"processes": 0, "workers": 3}]
    folder, log = tmp_path / "run", tmp_path / "log"
    for number, kill in enumerate(kills):
        engine = engines[number % len(engines)]
        assert run(folder, log, epochs=1, kill=kill, loader=engine) == -signal.SIGKILL, kill
    done = train(str(folder), log, epochs=1)
    assert set(told(log)) == {f"step {number}" for number in range(1, STEPS + 1)} | {"epoch 0"}
    again = train(str(folder), tmp_path / "no log", epochs=1)
    assert not (tmp_path / "no log").exists()
    assert_same(again, done)
    assert_same(train(str(folder), log, epochs=2), plain[0])
    assert told(log) == plain[1]


def test_stopped_at_every_step_it_goes_on_at_the_next_batch(
    plain: Plain, tmp_path: Path, full_length: bool
) -> None:
    """One generation a step, the same model built anew each time: all logs and bytes are equal.

    The callback stands last, where others have begun the epoch before it.
    """
    log, folder = tmp_path / "log", tmp_path / "run"
    # What is trained last before a stop has no generation yet, and is trained once more.
    for steps in [2] * (2 * STEPS - 2) if full_length else [2, STEPS]:
        stopped(folder, log, steps, epochs=2, last=True)
    assert_same(train(str(folder), log, epochs=2, last=True), plain[0])
    assert told(log) == plain[1]


@pytest.mark.parametrize("save_every", [3, "epoch"])
def test_steps_since_the_last_generation_are_trained_again_to_the_same_result(
    plain: Plain, tmp_path: Path, save_every: int | str
) -> None:
    """Stopped in the middle of the second epoch, and in the validation at its end."""

    class StopInValidation(keras.callbacks.Callback):
        def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
            if f"step {2 * STEPS}" in told(log):
                raise KeyboardInterrupt

    log, folder = tmp_path / "log", tmp_path / "run"
    stopped(folder, log, STEPS + 5, epochs=2, save_every=save_every)
    with pytest.raises(KeyboardInterrupt):
        train(str(folder), log, epochs=2, save_every=save_every, more=[StopInValidation()])
    assert "epoch 1" not in told(log)
    assert_same(train(str(folder), log, epochs=2, save_every=save_every), plain[0])
    assert told(log) == plain[1]


def goes_on(folder: Path, steps: int, make: Callable[[], dict[str, Any]]) -> None:
    """Raise unless a job that is stopped after some steps ends as one that is not."""
    models = []
    for name in ("plain", "again"):
        if name == "again":
            stopped(folder / name, folder / "log", steps, **make())
            assert (folder / name).exists()
        models.append(train(str(folder / name), folder / "log", **make()))
    # Both have written one log, in which nothing contradicts.
    told(folder / "log")
    assert_same(*models)


@pytest.mark.skipif(BACKEND == "torch", reason="Keras has no steps_per_execution on PyTorch")
def test_several_steps_per_execution_go_on(tmp_path: Path) -> None:
    """Where Keras trains three batches at a time, of an epoch of seven."""
    goes_on(tmp_path, 2, lambda: {"epochs": 1, "steps_per_execution": 3})


def test_epochs_of_another_length_go_on(tmp_path: Path) -> None:
    """With steps_per_epoch of the loader, where epochs go on along one stream of passes."""
    goes_on(tmp_path, 5, lambda: {"epochs": 3, "loader": {"steps_per_epoch": 3}})


def test_the_state_of_loss_scaling_and_moving_averages_goes_on(tmp_path: Path) -> None:
    """An optimizer around another one, which scales the loss up after a number of steps."""

    def options() -> dict[str, Any]:
        inner = keras.optimizers.SGD(0.01, momentum=0.9, use_ema=True)
        outer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=8.0, dynamic_growth_steps=3)
        return {"optimizer": outer, "epochs": 1}

    goes_on(tmp_path, 5, options)


class EvaluateInside(keras.callbacks.Callback):
    """Evaluates on the training data itself, at the begin of an epoch."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.model.evaluate(mf.Loader(dataset()[0], BATCH), verbose=0)


def test_what_callbacks_do_at_the_begin_of_an_epoch_has_its_effect_once(tmp_path: Path) -> None:
    """A nested evaluate in the epoch that is resumed leaves its metrics as they were saved."""
    goes_on(tmp_path, 4, lambda: {"epochs": 1, "more": [EvaluateInside()]})


def numbers() -> mf.Dataset:
    rows = {"x": np.arange(24.0).reshape(12, 2) / 24, "y": np.arange(12.0), "id": np.arange(12)}
    return mf.Dataset(rows, inputs=mf.Array("x"), targets=mf.Numeric("y"), key="id")


def small(folder: Path, *, units: int = 4, model: Any = None, **options: Any) -> Any:
    """Train a small model of one layer; return it."""
    if model is None:
        layers = [keras.layers.Dense(units), keras.layers.Dense(1)]
        model = keras.Sequential([keras.Input((2,)), *layers])
        model.compile(options.pop("optimizer", "sgd"), "mse")
    callbacks = [*options.pop("callbacks", []), mf.ResumeTraining(folder, save_every=1)]
    x = options.pop("x", None) or mf.Loader(numbers(), 2, seed=options.pop("seed", 0))
    model.fit(x, verbose=0, callbacks=callbacks, **options)
    return model


def refused(folder: Path, *message: str, **options: Any) -> None:
    """Raise unless fit is refused with this message, line by line."""
    with pytest.raises(mf.StateError) as caught:
        small(folder, **options)
    assert str(caught.value).split("\n  ") == [line.format(folder=folder) for line in message]


def test_another_run_is_refused(tmp_path: Path) -> None:
    """Another model, optimizer, order or backend, each with the first thing that differs."""
    other = "Build and compile the model as then, or pass another folder."
    small(tmp_path, epochs=1)
    refused(
        tmp_path,
        "the run in '{folder}' is of another model: 4 variables then, 4 now.",
        "The first that differs: sequential/dense/kernel float32[2, 4] then, sequential/dense/kernel "
        "float32[2, 5] now.",
        other,
        units=5,
    )
    refused(
        tmp_path,
        "the run in '{folder}' is of another optimizer: 2 variables then, 10 now.",
        f"The first that differs: sgd/iteration {INTEGER}[] then, adam/iteration {INTEGER}[] now.",
        other,
        optimizer="adam",
    )
    refused(
        tmp_path,
        "a state counts batches in the order of then; this feed has another one: then seed=0, now 9.",
        "Make the feed as it was then, or begin an epoch anew: set epoch, load no state.",
        seed=9,
    )
    refused(
        tmp_path,
        "the run in '{folder}' is one of the backend none; this is " + BACKEND + ".",
        'Set KERAS_BACKEND to "none", or pass another folder.',
        **edited(tmp_path, backend="none"),
    )
    refused(
        tmp_path,
        "this version of multifeed resumes from generations of format 1; that in '{folder}' is of "
        "format 2.",
        "Resume with the version that saved it, or pass another folder.",
        **edited(tmp_path, format=2),
    )


def edited(folder: Path, **note: Any) -> dict[str, Any]:
    """Add a generation with another note."""
    generations = Generations(folder)
    found = generations.newest()
    assert found is not None
    generations.save({**found[0], **note}, found[1])
    return {}


def test_another_first_epoch_is_refused(tmp_path: Path) -> None:
    """A run that goes on in epoch 0 cannot begin with another one."""
    with pytest.raises(KeyboardInterrupt):
        small(tmp_path, callbacks=[Stop(3)])
    refused(
        tmp_path,
        "the run in '{folder}' goes on with epoch 0, and fit begins with epoch 1.",
        "Leave initial_epoch out, or pass another folder.",
        initial_epoch=1,
        epochs=3,
    )


def test_a_fit_that_no_loader_feeds_is_refused(tmp_path: Path) -> None:
    """Arrays, epochs of Keras' own length, and a call outside of fit."""
    folder = tmp_path / "run"
    model = small(tmp_path / "other", epochs=1)
    with pytest.raises(mf.StateError) as caught:
        model.fit(np.zeros((2, 2)), np.zeros((2, 1)), verbose=0, callbacks=[mf.ResumeTraining(folder)])
    assert str(caught.value).split("\n  ") == [
        "ResumeTraining resumes a fit on an mf.Loader, which can begin at any batch; this one is fed by "
        "a ndarray.",
        "Pass an mf.Loader to fit.",
    ]
    refused(
        folder,
        "ResumeTraining counts epochs as the loader does; fit was given steps_per_epoch=2.",
        "Pass it to the loader: mf.Loader(..., steps_per_epoch=...).",
        steps_per_epoch=2,
    )
    for call in (lambda each: each.on_train_begin(), lambda each: each.on_epoch_begin(0)):
        with pytest.raises(mf.StateError) as caught:
            call(mf.ResumeTraining(folder))
        assert str(caught.value).split("\n  ") == [
            "ResumeTraining is a callback of fit, and was called by somebody else.",
            "In a loop of your own, save model, optimizer and loader.state_dict().",
        ]
    assert not folder.exists()


def test_a_folder_that_cannot_be_made_is_refused_before_training(tmp_path: Path) -> None:
    """It is not found out at the first generation."""
    (tmp_path / "file").write_text("")
    refused(
        tmp_path / "file",
        "generations are saved in a folder; '{folder}' cannot be one: [Errno 17] File exists: "
        "'{folder}'.",
        "Pass another name.",
    )


@pytest.mark.parametrize("save_every", [0, -1, 1.5, "step", None, True])
def test_an_interval_that_is_none_is_refused(save_every: Any) -> None:
    """It is a number of batches, or the word for an epoch."""
    message = f'save_every is a number of batches, at least 1, or "epoch"; received {save_every!r}.'
    with pytest.raises(mf.DeclarationError, match=re.escape(message)):
        mf.ResumeTraining("run", save_every=save_every)


class Halt(keras.callbacks.Callback):
    """Stops training, as EarlyStopping does, at an epoch's end or in the middle."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place, self.epochs = place, []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epochs.append(epoch)
        self.model.stop_training |= self.place == "end"

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.model.stop_training |= self.place == "middle" and batch == 3


@pytest.mark.parametrize(("place", "then"), [("end", [1, 2]), ("middle", [0, 1, 2])])
def test_what_was_stopped_early_is_complete_for_as_many_epochs(
    tmp_path: Path, place: str, then: list[int]
) -> None:
    """Run again, nothing is trained; with more epochs it goes on where it was."""
    done = small(tmp_path, epochs=2, callbacks=[Halt(place)])
    for epochs in (1, 2):
        seen, loader = Halt("never"), mf.Loader(numbers(), 2)
        assert_same(small(tmp_path, epochs=epochs, callbacks=[seen], x=loader), done)
        assert seen.epochs == []
        assert loader.state_dict()["step"] == 0
    seen = Halt("never")
    model = small(tmp_path, epochs=3, callbacks=[seen])
    assert seen.epochs == then
    assert int(model.optimizer.iterations) == 18


def test_two_fits_of_one_script_go_on_one_after_the_other(tmp_path: Path) -> None:
    """Each has a folder of its own; the loader stands where it would after both."""

    def script(folder: Path, *more: Any) -> tuple[Any, int]:
        keras.utils.set_random_seed(3)
        loader = mf.Loader(numbers(), 2, shuffle=True)
        model = small(folder / "first", x=loader, epochs=2)
        small(folder / "second", x=loader, model=model, callbacks=list(more))
        return model, loader.epoch

    plain, epoch = script(tmp_path / "plain")
    with pytest.raises(KeyboardInterrupt):
        script(tmp_path, Stop(4))
    again, epoch_again = script(tmp_path)
    assert_same(plain, again)
    assert epoch == epoch_again == 3


def test_without_room_training_goes_on_with_a_warning(tmp_path: Path) -> None:
    """A generation that cannot be written is said once, and the older one stays."""
    small(tmp_path, epochs=1)
    before = sorted(path.name for path in tmp_path.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limits[1]))
        with pytest.warns(mf.MultifeedWarning) as caught:
            model = small(tmp_path, epochs=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    told_us = next(str(each.message) for each in caught if each.category is mf.MultifeedWarning)
    first, last = told_us.split("\n  ")
    assert first == f"the state of training cannot be saved in '{tmp_path}': [Errno 27] File too large."
    assert last == "Training goes on. Killed now, it would be resumed from an older generation."
    assert int(model.optimizer.iterations) == 12
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_fit_after_a_loaded_state_trains_the_rest_of_the_epoch_and_then_whole_ones() -> None:
    """Without the callback too, and without a warning; validation and evaluate are served whole."""
    loader = mf.Loader(numbers(), 2)
    loader.load_state_dict(loader.state_dict((4, 2)))
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.evaluate(loader, verbose=0)
        model.fit(loader, validation_data=mf.Loader(numbers(), 2), epochs=2, verbose=0)
    assert int(model.optimizer.iterations) == 4 + 6
    assert loader.epoch == 6
