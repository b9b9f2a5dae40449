"""The Keras host: `Loader`, `inputs`, `check_model`. The only module that imports Keras."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from multifeed.dataset import Dataset
from multifeed.errors import ModelError
from multifeed.feed import Batch, Feed
from multifeed.fields.category import Category
from multifeed.spec import Spec, fits
from multifeed.structure import Names, pack


class Loader(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of a dataset for `fit`, `evaluate` and `predict`, on every Keras backend.

    It is a `Feed` in the shape of a `keras.utils.PyDataset`; all arguments are those of `Feed`.

    In `fit`, batches are served in the order of `rows`, whatever Keras' own ``shuffle=True`` (its
    default, which permutes indices) asks for: between the begin and the end of an epoch, the k-th new
    index gets step k. The epoch advances when all of its steps were handed out to `fit`, or in a pass
    over the loader by hand; `evaluate` and `predict` serve the epoch at which the loader stands, and
    leave it there.

    Example:
        >>> import multifeed as mf
        >>> data = mf.Dataset({"x": [0.0, 1.0, 2.0]}, inputs=mf.Numeric("x"))
        >>> with Loader(data, batch_size=2) as loader:
        ...     [batch[0].ravel().tolist() for batch in loader]
        [[0.0, 1.0], [2.0]]
    """

    def __init__(
        self,
        data: Dataset,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        remainder: str = "keep",
        steps_per_epoch: int | None = None,
        workers: int | None = None,
        prefetch: int | None = None,
        prefetch_bytes: int = 256 * 2**20,
    ) -> None:
        # Keras' own workers stay at 1: with more, it would put its own queue and threads around us.
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=1)
        self.feed = Feed(
            data,
            batch_size,
            shuffle=shuffle,
            seed=seed,
            remainder=remainder,
            steps_per_epoch=steps_per_epoch,
            workers=workers,
            prefetch=prefetch,
            prefetch_bytes=prefetch_bytes,
        )
        self.last_error: BaseException | None = None
        # Keras makes an adapter for each call of fit, evaluate and predict. Each has its own pass, so
        # an evaluate inside fit, or the prefetch thread of a fit that was stopped, disturbs nobody.
        self._passes: weakref.WeakKeyDictionary[Any, _Pass] = weakref.WeakKeyDictionary()

    @property
    def data(self) -> Dataset:
        """The samples."""
        return self.feed.data

    @property
    def batch_size(self) -> int:
        """Samples a batch."""
        return self.feed.batch_size

    @property
    def epoch(self) -> int:
        """The epoch that the next pass serves. It may be set."""
        return self.feed.epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self.feed.epoch = epoch

    @property
    def waited_s(self) -> float:
        """Seconds that whoever asked has waited for batches, so far."""
        return self.feed.waited_s

    def batch(self, epoch: int, step: int) -> Batch:
        """Return one batch, computed here and now; see `Feed.batch`."""
        return self.feed.batch(epoch, step)

    def rows(self, epoch: int, step: int) -> np.ndarray:
        """Return the row numbers that make a batch; see `Feed.rows`."""
        return self.feed.rows(epoch, step)

    def keys(self, epoch: int, step: int) -> list[Any]:
        """Return the keys of the samples that make a batch; see `Feed.keys`."""
        return self.feed.keys(epoch, step)

    def close(self) -> None:
        """Stop the threads and drop what was built ahead. Using the loader again starts it anew."""
        self.feed.close()

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self.feed)

    def __iter__(self) -> Iterator[Batch]:
        """Serve one epoch; the next pass serves the next one."""
        return iter(self.feed)

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getitem__(self, index: int) -> Batch:
        """Serve Keras, or return batch `index` of the present epoch to anyone else."""
        current = self._pass_of(self._asker())
        try:
            if current is None:
                # TensorFlow looks at [0] and [1] before it begins.
                return self.feed.batch(self.epoch, index)
            return self.feed.take(*current.position(index), wraps=current.is_fit)
        except BaseException as error:
            self.last_error = error
            raise

    def on_epoch_begin(self) -> None:
        """Open a pass, or go on with one that `fit(steps_per_epoch=…)` has not ended."""
        asker = self._asker()
        if asker is None:
            return
        current = self._pass_of(asker)
        if current is None or current.is_peek:
            self._passes[asker] = _Pass(self.epoch, len(self), _purpose())

    def on_epoch_end(self) -> None:
        """Close the pass if all of its steps were handed out; after `fit`, the next epoch follows."""
        asker = self._asker()
        current = self._pass_of(asker)
        if current is None:
            return
        if current.is_peek or current.is_complete:
            del self._passes[asker]
        if current.is_fit and current.is_complete:
            self.feed.finish(current.epoch)

    def _pass_of(self, asker: Any) -> _Pass | None:
        return None if asker is None else self._passes.get(asker)

    def _asker(self) -> Any:
        """Return the Keras adapter that calls us, or None if someone else does.

        Keras passes no hint of who asks. The adapter's methods hold it in their frame as `self`.
        """
        frame = sys._getframe(2)
        # A subclass that overrides our methods stands between.
        while frame.f_back is not None and frame.f_locals.get("self") is self:
            frame = frame.f_back
        asker = frame.f_locals.get("self")
        return asker if getattr(asker, "py_dataset", None) is self else None


class _Pass:
    """One pass of Keras over an epoch: which index was given which step."""

    def __init__(self, epoch: int, steps: int, purpose: str) -> None:
        self.epoch = epoch
        self.is_fit = purpose == "fit"
        self.is_peek = purpose == "peek"
        self._step_of = np.full(steps, -1, np.int64)
        self._given = 0

    @property
    def is_complete(self) -> bool:
        return self._given == len(self._step_of)

    def position(self, index: int) -> tuple[int, int]:
        """Return the (epoch, step) of an index: the next step, or the one it was given before.

        An index that comes twice is asked by somebody who lost its batch; it is computed again, so
        whoever asks for every index once gets every step once.
        """
        if self._step_of[index] < 0:
            self._step_of[index] = self._given
            self._given += 1
        return self.epoch, int(self._step_of[index])


def _purpose() -> str:
    """Say what a pass that begins now is for: ``"fit"``, ``"evaluate"``, ``"predict"`` or ``"peek"``.

    JAX and PyTorch take one batch to build the model with, between a begin and an end. In an epoch of
    one step nothing else tells that from a pass.
    """
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_name
        if name in ("fit", "evaluate", "predict"):
            return name
        if name == "_symbolic_build":
            return "peek"
        frame = frame.f_back  # type: ignore[assignment]
    return "fit"


def inputs(data: Dataset) -> Any:
    """Make the `keras.Input` of every input of a dataset, in the structure of its inputs.

    Args:
        data: A dataset whose shapes are known (adapt it first, where one-hot categories are learned).

    Returns:
        One `keras.KerasTensor`, or a tuple or dict of them, with the name, shape and dtype of the field.

    Example:
        >>> import multifeed as mf
        >>> data = mf.Dataset({"x": [0.0, 1.0]}, inputs={"x": mf.Numeric("x")})
        >>> inputs(data)["x"].shape
        (None, 1)
    """
    specs = _specs(data.structure.inputs, data.spec[0])
    made = {
        name: keras.Input(shape=spec.shape, dtype=spec.dtype, name=name) for name, spec in specs.items()
    }
    return pack(data.structure.inputs, made)


def check_model(model: keras.Model, data: Dataset) -> None:
    """Say whether a model takes and returns what a dataset yields; reads no file.

    Args:
        model: A model whose inputs are declared (functional or sequential with an `Input`).
        data: The dataset it is to be trained on.

    Raises:
        ModelError: With every mismatch of name, structure, shape and dtype at once.

    Example:
        >>> import keras, multifeed as mf
        >>> data = mf.Dataset({"x": [0.0, 1.0]}, inputs=mf.Numeric("x"))
        >>> x = inputs(data)
        >>> check_model(keras.Model(x, keras.layers.Dense(1)(x)), data)
    """
    if not getattr(model, "inputs", None):
        raise ModelError(
            f"{model.name!r} declares no inputs, so they cannot be compared.\n  "
            "Build it with mf.inputs(data), or call it on a batch: model(loader.batch(0, 0)[0])."
        )
    problems = _input_problems(model, data)
    if data.structure.targets is not None:
        problems += _output_problems(model, data)
    if problems:
        count = "1 thing" if len(problems) == 1 else f"{len(problems)} things"
        raise ModelError(
            "\n  ".join([f"model {model.name!r} does not fit the dataset in {count}:", *problems])
        )


def _specs(names: Names, specs: Any) -> dict[str, Spec]:
    """Return the specs of one part of a batch by field name."""
    if isinstance(names, str):
        return {names: specs}
    if isinstance(names, dict):
        return {name: specs[label] for label, name in names.items()}
    return dict(zip(names, specs, strict=True))


def _input_problems(model: keras.Model, data: Dataset) -> list[str]:
    names = data.structure.inputs
    specs = _specs(names, data.spec[0])
    wanted = _model_inputs(model)
    problems = []
    if isinstance(names, dict):
        pairs = [(name, name) for name in specs if name in wanted]
        problems += [
            f"input {name!r} of the dataset {specs[name]} is none of the model's; it has "
            f"{', '.join(map(repr, wanted))}."
            for name in specs
            if name not in wanted
        ]
        problems += [
            f"input {name!r} of the model {_shown(tensor)} is none of the dataset's; declare it in "
            "inputs={...}."
            for name, tensor in wanted.items()
            if name not in specs
        ]
    else:
        pairs = list(zip(specs, wanted, strict=False))
        if len(specs) != len(wanted):
            problems.append(
                f"the model has {len(wanted)} inputs ({', '.join(map(repr, wanted))}), the dataset "
                f"{len(specs)} ({', '.join(map(repr, specs))}), matched by position."
            )
    for name, label in pairs:
        problems += _input_mismatch(name, specs[name], label, wanted[label], model)
    return problems


def _model_inputs(model: keras.Model) -> dict[str, Any]:
    """Return the model's input tensors by the name under which a dict of inputs reaches them."""
    structure = getattr(model, "_inputs_struct", None)
    if isinstance(structure, dict):
        return dict(structure)
    return {tensor.name: tensor for tensor in model.inputs}


def _input_mismatch(name: str, spec: Spec, label: str, tensor: Any, model: keras.Model) -> list[str]:
    problems = []
    as_named = f"input {name!r}" if name == label else f"input {name!r} (the model's {label!r})"
    if not fits(spec.shape, tuple(tensor.shape[1:])):
        problems.append(
            f"{as_named} yields shape {spec.shape} a sample; the model takes {tuple(tensor.shape[1:])}."
        )
    has_float, wants_float = (d.startswith(("float", "bfloat")) for d in (spec.dtype, tensor.dtype))
    if has_float and not wants_float:
        problems.append(
            f"{as_named} yields {spec.dtype}; the model takes {tensor.dtype} and would cut the "
            "fractions off."
        )
    if not wants_float:
        problems += _integer_consumers(as_named, tensor, model)
    return problems


def _integer_consumers(as_named: str, tensor: Any, model: keras.Model) -> list[str]:
    """Find layers with a kernel straight on integers: TensorFlow cannot multiply them."""
    problems = []
    for layer in model.layers:
        if not hasattr(layer, "kernel") or isinstance(layer, keras.layers.Embedding):
            continue
        if any(
            used is tensor
            for node in layer._inbound_nodes
            for used in getattr(node, "input_tensors", ())
        ):
            problems.append(
                f"{as_named} reaches layer {layer.name!r} as {tensor.dtype}, a TypeError on TensorFlow; "
                "put keras.layers.Rescaling(1 / 255) or a cast before it."
            )
    return problems


def _output_problems(model: keras.Model, data: Dataset) -> list[str]:
    names = data.structure.targets
    if names is None:
        return []
    specs = _specs(names, data.spec[1])
    outputs = _model_outputs(model)
    if isinstance(names, dict):
        problems = [
            f"target {name!r} of the dataset {spec} is none of the model's outputs; it has "
            f"{', '.join(map(repr, outputs))}."
            for name, spec in specs.items()
            if name not in outputs
        ]
        problems += [
            f"output {name!r} of the model {_shown(tensor)} has no target; declare it in "
            "targets={...}."
            for name, tensor in outputs.items()
            if name not in specs
        ]
        pairs = [(name, name) for name in specs if name in outputs]
    else:
        problems = []
        pairs = list(zip(specs, outputs, strict=False))
        if len(specs) != len(outputs):
            problems.append(
                f"the model has {len(outputs)} outputs ({', '.join(map(repr, outputs))}), the dataset "
                f"{len(specs)} targets ({', '.join(map(repr, specs))}), matched by position."
            )
    for name, label in pairs:
        problems += _target_mismatch(data, name, specs[name], outputs[label])
    return problems


def _model_outputs(model: keras.Model) -> dict[str, Any]:
    structure = getattr(model, "_outputs_struct", None)
    if isinstance(structure, dict):
        return dict(structure)
    return dict(zip(model.output_names, model.outputs, strict=True))


def _target_mismatch(data: Dataset, name: str, spec: Spec, tensor: Any) -> list[str]:
    shape = tuple(tensor.shape[1:])
    field = data.fields[name]
    if isinstance(field, Category) and not field.one_hot:
        # Class numbers: one score a class for a sparse loss, or one for two classes.
        classes = len(data.labels(name)) + field.oov
        least = 1 if classes == 2 else classes
        if len(shape) == 1 and shape[0] is not None and shape[0] < least:
            return [
                f"target {name!r} has {classes} classes; the model's output has {shape[0]} scores a "
                "sample."
            ]
        return []
    if fits(spec.shape, shape) or (spec.shape == () and shape == (1,)):
        return []
    return [f"target {name!r} yields shape {spec.shape} a sample; the model returns {shape}."]


def _shown(tensor: Any) -> str:
    return f"{tuple(tensor.shape[1:])} {tensor.dtype}"
