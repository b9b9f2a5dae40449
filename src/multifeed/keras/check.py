"""`inputs` and `check_model`: what a model must take and return to be trained on a dataset."""

from __future__ import annotations

from typing import Any

import keras

from multifeed.dataset import Dataset
from multifeed.errors import ModelError
from multifeed.fields.category import Category
from multifeed.spec import Spec, fits
from multifeed.structure import Names, pack


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
