"""`ResumeTraining`: `fit` goes on where it was killed."""

from __future__ import annotations

import os
import random
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import keras
import numpy as np

from multifeed.errors import DeclarationError, MultifeedWarning, StateError, lines
from multifeed.fields.shared import whole_number
from multifeed.generations import Generations
from multifeed.keras.loader import Loader

Array = np.ndarray[Any, Any]

# Of what a generation holds.
_FORMAT = 1
# Keras numbers the names that it makes up, and goes on counting where a model is built once more.
_NUMBER = re.compile(r"_\d+(?=[_/]|$)")


class ResumeTraining(keras.callbacks.Callback):  # type: ignore[misc]
    """Let an unchanged script go on training where it was killed, at the very next batch.

    Run again, `fit` begins with the newest generation in the folder: a file that holds all variables of
    the model, its layers' and Keras' random states among them, of the optimizer (its learning rate, too)
    and of the metrics of the epoch under way, the random states of Python, NumPy and PyTorch, and the
    state of the loader. Losses, metrics and weights are then those of a run that nobody has
    interrupted; bit by bit on a CPU, as far as two uninterrupted runs are equal there. `workers`,
    `processes`, `prefetch`, caches and the folder of the data may be others than before.

    Each generation is taken between two batches of one epoch. Killed in the validation at its end, the
    steps since the last one are trained again, to the same result, and the validation is done whole.
    What was trained to the end is not trained again: the weights are loaded, and `fit` returns. With a
    larger ``epochs=`` it goes on.

    In an epoch that is resumed, callbacks count batches from 0, and what happens at the begin of an
    epoch happens once more. Other callbacks start anew: what `EarlyStopping`, `ReduceLROnPlateau` and
    `ModelCheckpoint` have seen is forgotten, and `History` begins with the epoch that is resumed.

    Args:
        directory: A folder for this one call of `fit`, and for one process at a time.
        save_every: Batches after which a generation is saved, or ``"epoch"``, once at the begin of each
            epoch but the first; and in any case one at the end of training. Training stands still while
            some three times the bytes of the weights (with Adam) are written and brought to the disk.
            Two generations are kept.

    Raises:
        DeclarationError: If `save_every` is none of these.
        StateError: When `fit` begins, if what is in the folder is of another model, optimizer, backend
            or dataset, or is damaged as a whole; or if `fit` is not fed by a `Loader`.

    Warns:
        MultifeedWarning: If a generation is damaged, and the one before it is used; if one cannot be
            written, and training goes on without.

    Example:
        >>> import tempfile
        >>> import multifeed as mf
        >>> data = mf.Dataset({"x": [0.0, 1.0], "y": [1.0, 3.0]}, inputs=mf.Numeric("x"),
        ...     targets=mf.Numeric("y"))
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> folder = tempfile.mkdtemp()
        >>> for epochs in (2, 2, 3):
        ...     fitted = model.fit(mf.Loader(data, 1), epochs=epochs, verbose=0,
        ...         callbacks=[ResumeTraining(folder, save_every=1)])
        ...     fitted.epoch
        [0, 1]
        []
        [2]
    """

    def __init__(self, directory: str | os.PathLike[str], *, save_every: int | str = 1_000) -> None:
        super().__init__()
        steps = None if save_every == "epoch" else whole_number(save_every)
        if save_every != "epoch" and (steps is None or steps < 1):
            raise DeclarationError(
                f'save_every is a number of batches, at least 1, or "epoch"; received {save_every!r}.'
            )
        self._generations = Generations(directory)
        self._save_every = steps
        self._fit: _Fit | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Take up the newest generation, if there is one."""
        self._fit = fit = _Fit.under_way()
        folder = self._generations.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StateError(
                lines(
                    f"generations are saved in a folder; '{folder}' cannot be one: {error}.",
                    "Pass another name.",
                )
            ) from error
        fit.resumed = found = self._generations.newest()
        if found is not None:
            note, arrays = found
            if keras.config.backend() == "tensorflow":
                # The others have built metrics and optimizer by now.
                self.model._symbolic_build(data_batch=fit.loader.batch(0, 0))
            self._check(note)
            fit.loader.load_state_dict(note["loader"])
            self._restore(note, arrays)
            # After some epochs that nobody trains, as in `BackupAndRestore`.
            epochs = self.params["epochs"]
            is_complete = epochs <= (note["stopped_at"] or 0)
            self.model._initial_epoch = first = epochs if is_complete else note["epoch"]
            fit.passing, fit.step = fit.loader.epoch, note["step"]
            if first >= epochs:
                # What comes after serves whole epochs, as after any fit.
                fit.loader.epoch = fit.passing
        fit.saved = fit.trained

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Note which epoch it is, and where in it the first one begins."""
        fit = self._running()
        self.model._initial_epoch = None
        fit.epoch, fit.first = epoch, 0
        if fit.resumed is None:
            return
        note, _ = fit.resumed
        if epoch != note["epoch"]:
            raise StateError(
                lines(
                    f"the run in '{self._generations.folder}' goes on with epoch {note['epoch']}, and "
                    f"fit begins with epoch {epoch}.",
                    "Leave initial_epoch out, or pass another folder.",
                )
            )
        fit.first = note["step"]

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Save what the batches before this one have made, if it is time."""
        # Not at a batch's end: JAX would then wait for each one, and after the last one of an epoch
        # there is the validation still to come.
        fit = self._running()
        fit.step, fit.passing, fit.has_trained = fit.first + batch, fit.loader.epoch, True
        if fit.resumed is not None:
            note, arrays = fit.resumed
            fit.resumed = None
            if note["has_begun"]:
                # Once more, now that callbacks have begun an epoch that they had begun before.
                self._restore(note, arrays)
        elif self._is_due(fit):
            fit.saved = fit.trained
            self._save(fit, fit.epoch, fit.passing, fit.step)

    def on_train_end(self, logs: Any = None) -> None:
        """Save what training has come to."""
        fit, self._fit = self._running(), None
        self.model._initial_epoch = None
        if not fit.has_trained:
            return
        step = fit.step + self.model.steps_per_execution
        if step < len(fit.loader):
            self._save(fit, fit.epoch, fit.passing, step)
        else:
            self._save(fit, fit.epoch + 1, fit.passing + 1, 0, has_begun=False)

    def _running(self) -> _Fit:
        if self._fit is None:
            raise _outside()
        return self._fit

    def _is_due(self, fit: _Fit) -> bool:
        if self._save_every is None:
            return fit.step == 0 and fit.trained > fit.saved
        return fit.trained - fit.saved >= self._save_every

    def _save(self, fit: _Fit, epoch: int, passing: int, step: int, *, has_begun: bool = True) -> None:
        """Save a generation that goes on at a step of `fit`'s epoch, and of the loader's.

        `has_begun` tells whether it has what callbacks do when that epoch begins.
        """
        model = self.model
        stopped_at = self.params["epochs"] if model.stop_training else None
        words, arrays = _random_state()
        described = {}
        for part, variables in _parts(model, step).items():
            described[part] = [_described(each) for each in variables]
            for number, each in enumerate(variables):
                arrays[f"{part}/{number}"] = keras.ops.convert_to_numpy(each.value)
        note = {
            "format": _FORMAT,
            "backend": keras.config.backend(),
            "epoch": epoch,
            "step": step,
            "has_begun": has_begun,
            "stopped_at": stopped_at,
            "loader": fit.loader.state_dict((passing, step)),
            "random": words,
            "variables": described,
        }
        try:
            self._generations.save(note, arrays)
        except OSError as error:
            warnings.warn(
                lines(
                    f"the state of training cannot be saved in '{self._generations.folder}': {error}.",
                    "Training goes on. Killed now, it would be resumed from an older generation.",
                ),
                MultifeedWarning,
                stacklevel=2,
            )

    def _check(self, note: Mapping[str, Any]) -> None:
        """Raise unless a generation is one of this model."""
        folder, backend = self._generations.folder, keras.config.backend()
        if note["format"] != _FORMAT:
            raise StateError(
                lines(
                    f"this version of multifeed resumes from generations of format {_FORMAT}; that in "
                    f"'{folder}' is of format {note['format']!r}.",
                    "Resume with the version that saved it, or pass another folder.",
                )
            )
        if note["backend"] != backend:
            raise StateError(
                lines(
                    f"the run in '{folder}' is one of the backend {note['backend']}; this is {backend}.",
                    f'Set KERAS_BACKEND to "{note["backend"]}", or pass another folder.',
                )
            )
        for part, variables in _parts(self.model, note["step"]).items():
            then, now = note["variables"].get(part, []), [_described(each) for each in variables]
            if len(then) != len(now) or not all(map(_is_same, then, now)):
                raise _other_variables(str(folder), part, then, now)

    def _restore(self, note: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        """Set all variables and random states to those of a generation."""
        for part, variables in _parts(self.model, note["step"]).items():
            for number, each in enumerate(variables):
                value = arrays[f"{part}/{number}"]
                # What NumPy has no name for, such as bfloat16, is read as bytes.
                each.assign(value.view(each.dtype) if value.dtype.kind == "V" else value)
        _set_random_state(note["random"], arrays)


@dataclass
class _Fit:
    """A call of `fit` that is under way.

    Args:
        loader: What feeds it.
    """

    loader: Loader
    # The generation that it goes on from, until its first batch.
    resumed: tuple[dict[str, Any], dict[str, Array]] | None = None
    # The epoch as Keras counts, the same one as the loader counts, its first step here, and the present.
    epoch: int = 0
    passing: int = 0
    first: int = 0
    step: int = 0
    # `trained` at the last generation.
    saved: int = 0
    has_trained: bool = False

    @classmethod
    def under_way(cls) -> _Fit:
        """Return the call of `fit` that calls us."""
        # Callbacks are not told what the model is trained on.
        frame: FrameType | None = sys._getframe(2)
        while frame is not None and "epoch_iterator" not in frame.f_locals:
            frame = frame.f_back
        if frame is None:
            raise _outside()
        iterator = frame.f_locals["epoch_iterator"]
        loader = getattr(iterator.data_adapter, "py_dataset", None)
        if not isinstance(loader, Loader):
            raise StateError(
                lines(
                    "ResumeTraining resumes a fit on an mf.Loader, which can begin at any batch; this "
                    f"one is fed by a {type(loader or frame.f_locals.get('x')).__name__}.",
                    "Pass an mf.Loader to fit.",
                )
            )
        if iterator.steps_per_epoch:
            raise StateError(
                lines(
                    "ResumeTraining counts epochs as the loader does; fit was given "
                    f"steps_per_epoch={iterator.steps_per_epoch}.",
                    "Pass it to the loader: mf.Loader(..., steps_per_epoch=...).",
                )
            )
        # The loader has an order of its own. So Python's random numbers are left to the user, and are
        # the same ones in an epoch that is resumed.
        iterator.data_adapter.shuffle = False
        return cls(loader, passing=loader.epoch)

    @property
    def trained(self) -> int:
        """The number of the present batch, counted from the loader's first epoch on."""
        return self.passing * len(self.loader) + self.step


def _outside() -> StateError:
    return StateError(
        lines(
            "ResumeTraining is a callback of fit, and was called by somebody else.",
            "In a loop of your own, save model, optimizer and loader.state_dict().",
        )
    )


def _parts(model: keras.Model, step: int) -> dict[str, Sequence[Any]]:
    """Return all variables that training changes; at the begin of an epoch, metrics have no state."""
    optimizer = () if model.optimizer is None else model.optimizer.variables
    parts = {"weights": model.variables, "optimizer": optimizer}
    return {**parts, "metrics": model.metrics_variables} if step else parts


def _described(variable: Any) -> str:
    shape = ", ".join(map(str, variable.shape))
    return f"{_NUMBER.sub('', variable.path)} {variable.dtype}[{shape}]"


def _is_same(then: str, now: str) -> bool:
    """Tell whether two variables are one; TensorFlow adds scopes to names, or not, as it builds them."""
    return then.endswith(f"/{now}") or now.endswith(f"/{then}") or then == now


def _other_variables(folder: str, part: str, then: Sequence[str], now: Sequence[str]) -> StateError:
    whose = {"weights": "another model", "optimizer": "another optimizer", "metrics": "other metrics"}
    longest = max(len(then), len(now))
    pairs = zip(*(([*each, *["none"] * longest])[:longest] for each in (then, now)), strict=True)
    was, is_now = next(pair for pair in pairs if not _is_same(*pair))
    return StateError(
        lines(
            f"the run in '{folder}' is of {whose[part]}: {len(then)} variables then, {len(now)} now.",
            f"The first that differs: {was} then, {is_now} now.",
            "Build and compile the model as then, or pass another folder.",
        )
    )


# Random states --------------------------------------------------------------------------------------

_GLOBAL = "global_seed_generator"


def _random_state() -> tuple[dict[str, Any], dict[str, Array]]:
    """Return what `keras.utils.set_random_seed` sets, as what JSON can hold and arrays."""
    version, numbers, gauss = random.getstate()
    words: dict[str, Any] = {"python": [version, gauss]}
    arrays: dict[str, Array] = {"random/python": np.array(numbers, np.uint64)}
    found: Any = np.random.get_state(legacy=False)
    if found["bit_generator"] == "MT19937":
        words["numpy"] = [found["state"]["pos"], found["has_gauss"], found["gauss"]]
        arrays["random/numpy"] = found["state"]["key"]
    if keras.config.backend() == "torch":
        import torch

        arrays["random/torch"] = torch.get_rng_state().numpy()
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            for number, state in enumerate(torch.cuda.get_rng_state_all()):
                arrays[f"random/cuda{number}"] = state.numpy()
    seeds = keras.src.backend.common.global_state.get_global_attribute(_GLOBAL)
    if seeds is not None:
        arrays["random/keras"] = keras.ops.convert_to_numpy(seeds.state.value)
    return words, arrays


def _set_random_state(words: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    if "random/keras" in arrays:
        # First: to be made, it takes one of Python's numbers.
        keras.src.random.seed_generator.global_seed_generator().state.assign(arrays["random/keras"])
    version, gauss = words["python"]
    random.setstate((version, tuple(arrays["random/python"].tolist()), gauss))
    if "numpy" in words:
        place, has_gauss, gauss = words["numpy"]
        np.random.set_state(("MT19937", arrays["random/numpy"], place, has_gauss, gauss))
    if "random/torch" in arrays:
        import torch

        torch.set_rng_state(torch.from_numpy(arrays["random/torch"]))
        cuda = [name for name in arrays if name.startswith("random/cuda")]
        if torch.cuda.is_available() and len(cuda) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([torch.from_numpy(arrays[name]) for name in cuda])
