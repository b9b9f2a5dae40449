"""`inputs` and `check_model`: what a model must take and return to be trained on a dataset."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import keras

from multifeed.dataset import Dataset
from multifeed.errors import DeclarationError, ModelError, NotAdaptedError
from multifeed.feed import Feed
from multifeed.fields.category import Category
from multifeed.keras.loader import Loader
from multifeed.keras.sides import misfit, model_inputs, model_outputs, paired, specs_of
from multifeed.spec import Spec, fits
from multifeed.structure import pack
from multifeed.tuples import Tuples

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


def inputs(data: Dataset | Tuples | Loader) -> Any:
    """Make the `keras.Input` of every input of a dataset, in the structure of its inputs.

    Args:
        data: A dataset whose shapes are known (adapt it first, where one-hot categories are learned), or
            `Pairs` or `Triplets` of its rows. Of a `Loader` with ``bucket_by=``, pass the loader: its
            batches have several lengths, so that axis is None.

    Returns:
        One `keras.KerasTensor`, or a tuple or dict of them, with the name, shape and dtype of the field.

    Example:
        >>> import multifeed as mf
        >>> data = mf.Dataset({"x": [0.0, 1.0]}, inputs={"x": mf.Numeric("x")})
        >>> inputs(data)["x"].shape
        (None, 1)
    """
    data, varying = dataset_of("inputs", data)
    specs = specs_of(data.structure.inputs, data.spec[0])
    made = {
        name: keras.Input(
            shape=(None, *spec.shape[1:]) if name in varying else spec.shape,
            dtype=spec.dtype,
            name=name,
        )
        for name, spec in specs.items()
    }
    return pack(data.structure.inputs, made)


def dataset_of(function: str, data: Any) -> tuple[Dataset | Tuples, Collection[str]]:
    """Return the samples, and the names that come in several lengths where a loader says so."""
    feed = getattr(data, "feed", data)
    if isinstance(feed, Feed):
        return feed.data, feed.varying
    if not isinstance(data, Dataset | Tuples):
        raise DeclarationError(f"mf.{function} takes a dataset; received {type(data).__name__}.")
    return data, ()


def check_model(model: keras.Model, data: Dataset | Tuples | Loader) -> None:
    """Say whether a model takes and returns what a dataset yields; reads no file.

    Args:
        model: A model whose inputs are declared (functional or sequential with an `Input`).
        data: The dataset it is to be trained on, `Pairs` or `Triplets` of it, or a `Loader` of these.

    Raises:
        ModelError: With every mismatch of name, structure, shape and dtype at once.

    Example:
        >>> import keras, multifeed as mf
        >>> data = mf.Dataset({"x": [0.0, 1.0]}, inputs=mf.Numeric("x"))
        >>> x = inputs(data)
        >>> check_model(keras.Model(x, keras.layers.Dense(1)(x)), data)
    """
    data, varying = dataset_of("check_model", data)
    if not getattr(model, "inputs", None):
        raise ModelError(
            f"{model.name!r} declares no inputs, so they cannot be compared.\n  "
            "Build it functionally: keras.Model(inputs, outputs) with inputs = mf.inputs(data)."
        )
    problems = _input_problems(model, data, varying) + _target_problems(model, data, varying)
    if problems:
        raise misfit(model, problems)


def _input_problems(model: keras.Model, data: Dataset | Tuples, varying: Collection[str]) -> list[str]:
    names = data.structure.inputs
    specs = specs_of(names, data.spec[0])
    side = model_inputs(model)
    pairs, problems = paired("input", names, specs, side)
    for name, label in pairs:
        problems += _input_mismatch(name, specs[name], label, side.tensors[label], model)
        if name in varying:
            problems += _fixed("input", name, specs[name], side.tensors[label])
    return problems


def _fixed(noun: str, name: str, spec: Spec, tensor: Any) -> list[str]:
    """Tell that a model has one length for what comes in several."""
    shape = tuple(tensor.shape[1:])
    if not shape or shape[0] is None:
        return []
    return [
        f"{noun} {name!r} comes in several lengths, up to {spec.shape[0]:,}; the model has {shape}. "
        "Build it from mf.inputs(loader)."
    ]


def _target_problems(model: keras.Model, data: Dataset | Tuples, varying: Collection[str]) -> list[str]:
    names = data.structure.targets
    if names is None:
        return []
    specs = specs_of(names, data.spec[1])
    side = model_outputs(model)
    pairs, problems = paired("target", names, specs, side)
    for name, label in pairs:
        problems += target_mismatch(data, name, specs[name], side.tensors[label])
        if name in varying:
            problems += _fixed("target", name, specs[name], side.tensors[label])
    return problems


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


def target_mismatch(data: Dataset | Tuples, name: str, spec: Spec, tensor: Any) -> list[str]:
    """Tell why a model's output, or an array of its values, cannot be that of a target."""
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
    if fits(spec.shape, shape) or (spec.shape == () and shape == (1,)) or _are_scores(spec, shape):
        return []
    return [f"target {name!r} yields shape {spec.shape} a sample; the model returns {shape}."]


def _are_scores(spec: Spec, shape: tuple[int | None, ...]) -> bool:
    """Tell whether an output may be the scores of classes, one set for each class number of a target.

    As a label map is trained by a sparse loss. Keras drops a last axis of one of the target.
    """
    places = spec.shape[:-1] if spec.shape[-1:] == (1,) else spec.shape
    return spec.dtype.startswith(("int", "uint")) and len(shape) > 0 and fits(places, shape[:-1])
