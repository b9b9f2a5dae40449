"""`inputs` and `check_model`: what a model must take and return to be trained on a dataset."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras

from multifeed.dataset import Dataset
from multifeed.errors import ModelError, NotAdaptedError
from multifeed.fields.category import Category
from multifeed.spec import Spec, fits
from multifeed.structure import Names, pack

# Layers that fail on TensorFlow where integers reach them; a test calls each of them. Dense, recurrent
# and most normalization layers cast for themselves; Activation depends on its function.
_FLOAT_ONLY = tuple(
    getattr(keras.layers, name)
    for name in (
        *(f"Conv{rank}D" for rank in (1, 2, 3)),
        *(f"Conv{rank}DTranspose" for rank in (1, 2, 3)),
        *(f"ConvLSTM{rank}D" for rank in (1, 2, 3)),
        *(f"DepthwiseConv{rank}D" for rank in (1, 2)),
        *(f"SeparableConv{rank}D" for rank in (1, 2)),
        *(f"AveragePooling{rank}D" for rank in (1, 2, 3)),
        *(f"AdaptiveAveragePooling{rank}D" for rank in (1, 2, 3)),
        "MaxPooling3D",
        *("Dropout", "AlphaDropout", "GaussianDropout", "GaussianNoise"),
        *(f"SpatialDropout{rank}D" for rank in (1, 2, 3)),
        *("ELU", "PReLU", "Softmax", "UnitNormalization"),
    )
    # Older versions of Keras lack the adaptive ones.
    if hasattr(keras.layers, name)
)


class _Side(NamedTuple):
    """One side of the model: its tensors by name, and their structure."""

    noun: str
    tensors: dict[str, Any]
    structure: Any

    @property
    def shown(self) -> str:
        return ", ".join(map(repr, self.tensors))


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
            "Build it functionally: keras.Model(inputs, outputs) with inputs = mf.inputs(data)."
        )
    problems = _input_problems(model, data) + _target_problems(model, data)
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
    side = _model_inputs(model)
    pairs, problems = _paired("input", names, specs, side)
    for name, label in pairs:
        problems += _input_mismatch(name, specs[name], label, side.tensors[label], model)
    return problems


def _target_problems(model: keras.Model, data: Dataset) -> list[str]:
    names = data.structure.targets
    if names is None:
        return []
    specs = _specs(names, data.spec[1])
    side = _model_outputs(model)
    pairs, problems = _paired("target", names, specs, side)
    for name, label in pairs:
        problems += _target_mismatch(data, name, specs[name], side.tensors[label])
    return problems


def _model_inputs(model: keras.Model) -> _Side:
    """Return the model's input tensors by the name under which a dict of inputs reaches them."""
    structure = getattr(model, "_inputs_struct", model.inputs)
    if isinstance(structure, dict):
        return _Side("input", dict(structure), structure)
    return _Side("input", {tensor.name: tensor for tensor in model.inputs}, structure)


def _model_outputs(model: keras.Model) -> _Side:
    """Return the model's output tensors by the name under which a dict of targets reaches them."""
    structure = getattr(model, "_outputs_struct", model.outputs)
    if isinstance(structure, dict):
        return _Side("output", dict(structure), structure)
    # A functional model's `output_names` are the names of these layers; a sequential one has none.
    tensors = {tensor._keras_history.operation.name: tensor for tensor in model.outputs}
    return _Side("output", tensors, structure)


def _paired(
    noun: str, names: Names, specs: dict[str, Spec], side: _Side
) -> tuple[list[tuple[str, str]], list[str]]:
    """Pair the dataset's names with the model's as Keras does, and tell what finds no partner."""
    mismatch = _structure_mismatch(noun, names, side)
    if mismatch is not None:
        # Keras would pair otherwise than it looks, or not at all: names and shapes say nothing then.
        return [], [mismatch]
    wanted = side.tensors
    if isinstance(names, dict):
        problems = [
            f"{noun} {name!r} of the dataset {spec} is none of the model's {side.noun}s; it has "
            f"{side.shown}."
            for name, spec in specs.items()
            if name not in wanted
        ]
        problems += [
            f"{side.noun} {name!r} of the model {_shown(tensor)} is none of the dataset's {noun}s; "
            f"declare it in {noun}s={{...}}."
            for name, tensor in wanted.items()
            if name not in specs
        ]
        return [(name, name) for name in specs if name in wanted], problems
    pairs = list(zip(specs, wanted, strict=False))
    if len(specs) == len(wanted):
        return pairs, []
    return pairs, [
        f"the model has {_counted(wanted, side.noun)} ({side.shown}), the dataset "
        f"{_counted(specs, noun)} ({', '.join(map(repr, specs))}), matched by position."
    ]


def _structure_mismatch(noun: str, names: Names, side: _Side) -> str | None:
    """Compare the structures as Keras does: it takes one value for a list of one, a list for a tuple."""
    verb = "takes" if side.noun == "input" else "returns"
    whole = side.structure
    top = whole.values() if isinstance(whole, dict) else whole if isinstance(whole, list | tuple) else ()
    if any(not isinstance(each, keras.KerasTensor) for each in top):
        return (
            f"the model's {side.noun}s are nested; those of a dataset have one level. Give the model a "
            f"dict of {side.noun}s, without lists or dicts in it."
        )
    # Keras puts the dict's keys in alphabetical order and goes by position, or refuses.
    if isinstance(whole, dict) and len(whole) > 1 and not isinstance(names, dict):
        declared = f"one {noun}" if isinstance(names, str) else f"{noun}s in a tuple"
        return (
            f"the model {verb} a dict of {side.noun}s ({side.shown}), the dataset has {declared}; "
            f"declare {noun}s={{...}} by name."
        )
    # Keras finds a dict of inputs by name in a list, but targets only where there are several outputs.
    is_one_output = side.noun == "output" and not isinstance(whole, dict) and len(side.tensors) == 1
    if is_one_output and isinstance(names, dict):
        return (
            "the model returns one output without a dict, the dataset's targets are a dict; return "
            f'{{"{next(iter(names))}": ...}} from the model, or declare the target without a dict.'
        )
    return None


def _counted(names: dict[str, Any], noun: str) -> str:
    return f"1 {noun}" if len(names) == 1 else f"{len(names)} {noun}s"


def _input_mismatch(name: str, spec: Spec, label: str, tensor: Any, model: keras.Model) -> list[str]:
    problems = []
    as_named = f"input {name!r}" if name == label else f"input {name!r} (the model's {label!r})"
    if not _fits_input(spec.shape, tuple(tensor.shape[1:])):
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


def _fits_input(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    """Compare as Keras does, which adds or drops a last axis of one."""
    added = wanted[-1:] == (1,) and fits(shape, wanted[:-1])
    dropped = shape[-1:] == (1,) and fits(shape[:-1], wanted)
    return fits(shape, wanted) or added or dropped


def _integer_consumers(as_named: str, tensor: Any, model: keras.Model) -> list[str]:
    """Find the layers straight after an input that TensorFlow cannot compute on integers."""
    return [
        f"{as_named} reaches layer {layer.name!r} as {tensor.dtype}, an error on TensorFlow; "
        "put keras.layers.Rescaling(1 / 255) or a cast before it."
        for layer in model.layers
        if isinstance(_unwrapped(layer), _FLOAT_ONLY) and _consumes(layer, tensor)
    ]


def _unwrapped(layer: keras.Layer) -> keras.Layer:
    """Return the layer in a TimeDistributed, a SpectralNormalization or another wrapper."""
    while isinstance(layer, keras.layers.Wrapper):
        layer = layer.layer
    return layer


def _consumes(layer: keras.Layer, tensor: Any) -> bool:
    return any(
        used is tensor for node in layer._inbound_nodes for used in getattr(node, "input_tensors", ())
    )


def _target_mismatch(data: Dataset, name: str, spec: Spec, tensor: Any) -> list[str]:
    shape = tuple(tensor.shape[1:])
    field = data.fields[name]
    if isinstance(field, Category) and not field.one_hot:
        # Class numbers: one score a class for a sparse loss, or one for two classes.
        try:
            classes = len(data.labels(name)) + field.oov
        except NotAdaptedError:
            # Their shape is known all the same; a part of the split may have learned how many there are.
            return []
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
