"""`baseline_model`: a plain model of several branches, to see whether the data can be learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from multifeed.branches import SAME
from multifeed.dataset import Dataset
from multifeed.errors import DeclarationError, lines
from multifeed.fields.shared import one_of
from multifeed.keras.check import dataset_of, inputs
from multifeed.keras.encoders import PRECISE, WIDTH, encode
from multifeed.keras.heads import Head, head_of
from multifeed.keras.loader import Loader
from multifeed.structure import pack, unpack
from multifeed.tuples import Pairs, Tuples

# Numbers of the vector that all inputs of a sample become.
_JOINED = 128
_HEADS = 4


def baseline_model(data: Dataset | Tuples | Loader, fusion: str = "concat") -> keras.Model:
    """Build a plain model of a dataset: compiled, with a branch for each input, a head for each target.

    Each input becomes a vector, by an encoder that its field's kind and shape choose; the vectors are
    fused, and each target is told from the result. Rescaling and normalisation are inside. It is there
    to see in five minutes whether the data can be learned, and to be beaten.

    Args:
        data: The dataset to train on, adapted if it learns, or `Pairs` of its rows. Of a `Loader` with
            ``bucket_by=``, pass the loader.
        fusion: ``"concat"``: the vectors are put side by side into a dense layer; ``"attention"``: each
            is a token, which attends to the others.

    Returns:
        A functional model of layers that Keras has; it fits `check_model`, and any loader of the data.

    Raises:
        NotAdaptedError: If labels or words have yet to be learned.
        DeclarationError: If `fusion` is unknown, there is no target, or no encoder or head for a field.

    Example:
        >>> import multifeed as mf
        >>> rows = {"age": [40.0, 60.0], "site": ["bonn", "rome"], "sick": [0, 1]}
        >>> data = mf.Dataset(
        ...     rows,
        ...     inputs={"age": mf.Numeric("age"), "site": mf.Category("site")},
        ...     targets=mf.Category("sick"),
        ... )
        >>> data.adapt()
        >>> model = baseline_model(data)
        >>> history = model.fit(mf.Loader(data, batch_size=2), verbose=0)
        >>> model.output_shape
        (None, 2)
    """
    one_of("fusion", fusion, tuple(_FUSIONS))
    samples, _ = dataset_of("baseline_model", data)
    names, targets = samples.structure.inputs, samples.structure.targets
    if targets is None or not isinstance(samples, Dataset | Pairs):
        raise _nothing_to_predict(samples)
    model_inputs = inputs(data)
    tensors = unpack(names, model_inputs)
    if isinstance(samples, Pairs):
        outputs, heads = _of_pairs(samples, tensors, fusion)
    else:
        outputs, heads = _of_rows(samples, tensors, fusion)
    named = {name: layers.Identity(name=name, dtype=PRECISE)(output) for name, output in outputs.items()}
    model = keras.Model(model_inputs, _packed(targets, named), name="baseline")
    model.compile(
        "adam",
        loss=_packed(targets, {name: head.loss for name, head in heads.items()}),
        loss_weights=_packed(targets, {name: head.weight for name, head in heads.items()}),
        metrics=_packed(targets, {name: [head.metric] for name, head in heads.items()}),
    )
    return model


def _nothing_to_predict(samples: Dataset | Tuples) -> DeclarationError:
    if isinstance(samples, Dataset):
        return DeclarationError(
            lines(
                "mf.baseline_model predicts targets, and this dataset has none.",
                "Declare targets=, or build the model yourself with mf.inputs(data).",
            )
        )
    return DeclarationError(
        lines(
            f"mf.baseline_model predicts targets, and {type(samples).__name__} are trained by a loss of "
            "distances instead.",
            "Pass mf.Pairs of the same rows, or build the model yourself with mf.inputs(data).",
        )
    )


def _packed(names: Any, values: dict[str, Any]) -> Any:
    """Return values in a structure, as `keras.Model.compile` takes them: a list for a tuple."""
    packed = pack(names, values)
    return list(packed) if isinstance(names, tuple) else packed


# Samples -------------------------------------------------------------------------------------------


def _of_rows(
    data: Dataset, tensors: dict[str, Any], fusion: str
) -> tuple[dict[str, Any], dict[str, Head]]:
    """Return the outputs for samples of one row, and their heads, by name."""
    joined = _fused(data, tensors, fusion)
    heads = _heads_of(data)
    return {name: head(joined) for name, head in heads.items()}, heads


def _of_pairs(
    pairs: Pairs, tensors: dict[str, Any], fusion: str
) -> tuple[dict[str, Any], dict[str, Head]]:
    """Return the outputs for samples of two rows: one model sees both, one after the other."""
    data = pairs.data
    row_inputs = inputs(data)
    joined = _fused(data, unpack(data.structure.inputs, row_inputs), fusion)
    row_heads = _heads_of(data)
    told = [head(joined) for head in row_heads.values()]
    row_model = keras.Model(row_inputs, [joined, *told], name="row")
    vectors, outputs, heads = [], {}, {SAME: _head_of_same()}
    for branch in pairs.branches:
        mine = {name: tensors[f"{name}_{branch}"] for name in unpack(data.structure.inputs, row_inputs)}
        vector, *told = row_model(pack(data.structure.inputs, mine))
        vectors.append(vector)
        for (name, head), output in zip(row_heads.items(), told, strict=True):
            outputs[f"{name}_{branch}"], heads[f"{name}_{branch}"] = output, head
    apart = ops.absolute(layers.Subtract()(vectors))
    compared = layers.Concatenate()([apart, layers.Multiply()(vectors)])
    return {SAME: heads[SAME](compared), **outputs}, heads


def _head_of_same() -> Head:
    hidden, told = layers.Dense(WIDTH, "relu"), layers.Dense(1, "sigmoid", dtype=PRECISE)
    return Head([hidden, told], "binary_crossentropy", "accuracy")


def _heads_of(data: Dataset) -> dict[str, Head]:
    names = data.structure.targets
    if names is None:
        return {}
    return {name: head_of(data, name, spec) for name, spec in unpack(names, data.spec[1]).items()}


# Fusion --------------------------------------------------------------------------------------------


def _fused(data: Dataset, tensors: dict[str, Any], fusion: str) -> Any:
    return layers.Dense(_JOINED, "relu")(_FUSIONS[fusion](encode(data, tensors)))


def _concatenated(vectors: Sequence[Any]) -> Any:
    return layers.Concatenate()(vectors) if len(vectors) > 1 else vectors[0]


def _attended(vectors: Sequence[Any]) -> Any:
    # The bias of each layer is what is learned about which input it is.
    tokens = ops.stack([layers.Dense(WIDTH)(vector) for vector in vectors], axis=1)
    heard = layers.MultiHeadAttention(_HEADS, WIDTH // _HEADS)(tokens, tokens)
    return ops.mean(layers.LayerNormalization()(layers.Add()([tokens, heard])), axis=1)


_FUSIONS = {"concat": _concatenated, "attention": _attended}
