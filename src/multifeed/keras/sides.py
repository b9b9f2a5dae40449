"""The two sides of a model, its inputs and its outputs, and what in a dataset belongs to them."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np

from multifeed.errors import ModelError, lines
from multifeed.spec import Spec
from multifeed.structure import Names


class Side(NamedTuple):
    """One side of the model: its tensors, or arrays of their values, by name, and their structure."""

    noun: str
    tensors: dict[str, Any]
    structure: Any

    @property
    def shown(self) -> str:
        """The names, as errors list them."""
        return ", ".join(map(repr, self.tensors))


def specs_of(names: Names, specs: Any) -> dict[str, Spec]:
    """Return the specs of one part of a batch by field name."""
    if isinstance(names, str):
        return {names: specs}
    if isinstance(names, dict):
        return {name: specs[label] for label, name in names.items()}
    return dict(zip(names, specs, strict=True))


def model_inputs(model: keras.Model) -> Side:
    """Return the model's input tensors by the name under which a dict of inputs reaches them."""
    structure = getattr(model, "_inputs_struct", model.inputs)
    if isinstance(structure, dict):
        return Side("input", dict(structure), structure)
    return Side("input", {tensor.name: tensor for tensor in model.inputs}, structure)


def model_outputs(model: keras.Model) -> Side:
    """Return the model's output tensors by the name under which a dict of targets reaches them."""
    structure = getattr(model, "_outputs_struct", model.outputs)
    if isinstance(structure, dict):
        return Side("output", dict(structure), structure)
    # A functional model's `output_names` are the names of these layers; a sequential one has none.
    tensors = {tensor._keras_history.operation.name: tensor for tensor in model.outputs}
    return Side("output", tensors, structure)


def paired(
    noun: str, names: Names, specs: dict[str, Spec], side: Side
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


def misfit(model: keras.Model, problems: list[str]) -> ModelError:
    """Return the error that tells all that keeps a model and a dataset apart."""
    count = "1 thing" if len(problems) == 1 else f"{len(problems)} things"
    return ModelError(lines(f"model {model.name!r} does not fit the dataset in {count}:", *problems))


def _structure_mismatch(noun: str, names: Names, side: Side) -> str | None:
    """Compare the structures as Keras does: it takes one value for a list of one, a list for a tuple."""
    verb = "takes" if side.noun == "input" else "returns"
    whole = side.structure
    top = whole.values() if isinstance(whole, dict) else whole if isinstance(whole, list | tuple) else ()
    if any(not isinstance(each, keras.KerasTensor | np.ndarray) for each in top):
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


def _shown(tensor: Any) -> str:
    return f"{tuple(tensor.shape[1:])} {tensor.dtype}"
