"""Encoders: how a baseline model makes a vector of each input, chosen by what its field yields."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from keras import layers, ops

from multifeed.dataset import Dataset
from multifeed.errors import BadValue, DeclarationError, lines
from multifeed.fields.base import Field
from multifeed.fields.category import Category
from multifeed.fields.mask import Mask
from multifeed.fields.numeric import Numeric
from multifeed.fields.points import Points
from multifeed.fields.present import Present
from multifeed.fields.same import Same
from multifeed.fields.text import Text
from multifeed.spec import Spec
from multifeed.structure import unpack

# Numbers of the vector that stands for an input.
WIDTH = 64
# Of inputs until they are normalised, and of outputs: under mixed precision they would have 16 bits, of
# which numbers have 3 digits and may end at 65,504.
PRECISE = "float32"

# Of the vectors that stand for a class or a word.
_EMBEDDING = 32
# Numbers in one axis from which on neighbours are taken to be related, as in a recording.
_LONG = 1_024
# How long the axes of a series, an image and a volume are at most when convolutions end, and how many
# channels the first one and the last one have.
_COARSE = {1: 32, 2: 8, 3: 4}
_FIRST = {1: 16, 2: 16, 3: 8}
_LAST = 64
# Channels of the map that keeps where something is.
_THIN = 4
# Moving averages shall be those of the data after some twenty steps, which may be all of an epoch.
_MOMENTUM = 0.9


def encode(data: Dataset, tensors: dict[str, Any]) -> list[Any]:
    """Return the vectors of the inputs, ``float32[batch, 64]`` each; a mask goes into that of its field.

    Args:
        data: The dataset, adapted.
        tensors: The model's inputs by name; an axis that varies is None.

    Raises:
        NotAdaptedError: If a vocabulary has yet to be learned.
        DeclarationError: If an input has more than 4 axes.
    """
    specs = unpack(data.structure.inputs, data.spec[0])
    masks = {
        field.of: name
        for name in tensors
        if isinstance(field := data.fields[name], Mask)
        and field.of in tensors
        and _takes_mask(data, field.of, specs[field.of])
    }
    return [
        _vector(data, name, specs[name], tensor, tensors.get(masks.get(name, "")))
        for name, tensor in tensors.items()
        if name not in masks.values()
    ]


def _vector(data: Dataset, name: str, spec: Spec, x: Any, mask: Any) -> Any:
    """Return the vector of one input: the table of encoders."""
    field = data.fields[origin(data, name)]
    if isinstance(field, Category) and not field.one_hot:
        return _of_class(x, len(data.labels(origin(data, name))) + field.oov)
    if isinstance(field, Text) and _is_words(field):
        size = len(data.vocabulary(origin(data, name)))
        return _of_words(x, mask, size, field.pad, field.length)
    if _is_series(data, name, spec):
        items, length = _normalised(data, name, _with_last_axis(x)), spec.shape[0]
        return _of_grid(items, [length]) if mask is None else _of_items(items, mask, length)
    if len(spec.shape) < 2 or isinstance(field, Points):
        return _of_numbers(data, name, x)
    if len(spec.shape) <= 4:
        return _of_grid(_normalised(data, name, x), spec.shape[:-1])
    raise DeclarationError(
        lines(
            f"mf.baseline_model encodes samples of up to 4 axes; input {name!r} yields {spec}.",
            "Merge axes with preprocess=, or build the model yourself with mf.inputs(data).",
        )
    )


def origin(data: Dataset, name: str) -> str:
    """Return the name of a field, or of the one whose values it repeats as they are."""
    field = data.fields[name]
    if isinstance(field, Same) and field.dtype is None and field.scale is None:
        return field.of
    return name


def moments(data: Dataset, name: str) -> tuple[list[float], list[float]] | None:
    """Return the means and deviations of the columns of a `Numeric` that yields them as they are."""
    field = data.fields[name]
    if not isinstance(field, Numeric) or field.normalize:
        return None
    try:
        learned = field.learn(data.source)
    except BadValue:
        # Who reads it is told so, with field and row.
        return None
    return learned["mean"], learned["deviation"]


def _takes_mask(data: Dataset, name: str, spec: Spec) -> bool:
    return _is_words(data.fields[name]) or _is_series(data, name, spec)


def _is_words(field: Field) -> bool:
    # What preprocess makes of ids may be anything.
    return isinstance(field, Text) and field.preprocess is None


def _is_series(data: Dataset, name: str, spec: Spec) -> bool:
    """Tell whether a field yields items in one order: numbers, or vectors."""
    field = data.fields[origin(data, name)]
    if len(spec.shape) == 2:
        return not isinstance(field, Points)
    return len(spec.shape) == 1 and (field.pads is not None or spec.shape[0] > _LONG)


# Normalising ---------------------------------------------------------------------------------------


def _normalised(data: Dataset, name: str, x: Any) -> Any:
    """Return an input in floats around 0."""
    field = data.fields[origin(data, name)]
    if x.dtype == "uint8":
        return layers.Rescaling(1 / 127.5, offset=-1.0)(x)
    if x.dtype == "bool":
        return layers.Rescaling(2.0, offset=-1.0)(x)
    if isinstance(field, Present | Category) or (isinstance(field, Numeric) and field.normalize):
        return x
    known = moments(data, origin(data, name))
    if known is not None:
        mean, deviation = known
        return layers.Normalization(mean=mean, variance=np.square(deviation).tolist(), dtype=PRECISE)(x)
    return layers.BatchNormalization(momentum=_MOMENTUM, dtype=PRECISE)(x)


def _with_last_axis(x: Any) -> Any:
    return x if len(x.shape) == 3 else layers.Reshape((-1, 1), dtype=PRECISE)(x)


# Encoders ------------------------------------------------------------------------------------------


def _of_class(x: Any, classes: int) -> Any:
    return _dense(layers.Embedding(classes, _EMBEDDING)(x))


def _of_words(x: Any, mask: Any, size: int, pad: int, length: int) -> Any:
    if mask is None:
        mask = ops.not_equal(x, pad)
    embedded = layers.Embedding(size, _EMBEDDING)(x)
    return _dense(_averaged(embedded, _weights(mask), length))


def _of_numbers(data: Dataset, name: str, x: Any) -> Any:
    if len(x.shape) == 1:
        x = layers.Reshape((1,), dtype=PRECISE)(x)
    x = _normalised(data, name, x)
    if len(x.shape) > 2:
        x = layers.Flatten()(x)
    return _dense(x)


def _of_items(x: Any, mask: Any, length: int) -> Any:
    """Return what the items of a series are on average that a mask leaves, however long its padding is.

    Args:
        x: ``float32[batch, length, channels]``.
        mask: ``bool[batch, length]``.
        length: The number of items at most.
    """
    weights, channels = _weights(mask), _FIRST[1]
    x = layers.Multiply()([x, weights])
    while length > _COARSE[1]:
        stride = _stride(length, 1)
        # Of the "same" padding, it depends on the length what a window is centred on.
        x = layers.ZeroPadding1D(stride, data_format="channels_last")(x)
        x = _of_rank("Conv", 1)(channels, 2 * stride + 1, stride, activation="relu")(x)
        weights = _of_rank("MaxPooling", 1)(1, stride)(weights)
        x = layers.Multiply()([x, weights])
        length = -(-length // stride)
        channels = min(2 * channels, _LAST)
    return _dense(_averaged(_convolved(x, _LAST, 3, 1), weights, length))


def _of_grid(x: Any, sizes: Sequence[int]) -> Any:
    """Return what is on a grid of one, two or three axes, and, where its size is fixed, where.

    Args:
        x: ``float32[batch, *sizes, channels]``.
        sizes: The lengths of the axes at most.
    """
    rank, channels = len(sizes), _FIRST[len(sizes)]
    while max(sizes) > _COARSE[rank]:
        strides = [_stride(size, rank) for size in sizes]
        x = _convolved(x, channels, 2 * strides[0] + 1 if rank == 1 else 3, strides)
        sizes = [-(-size // stride) for size, stride in zip(sizes, strides, strict=True)]
        channels = min(2 * channels, _LAST)
    x = _convolved(x, _LAST, 3, 1)
    what = _of_rank("GlobalAveragePooling", rank)()(x)
    if None in x.shape[1:]:
        return _dense(what)
    where = layers.Flatten()(_of_rank("Conv", rank)(_THIN, 1)(x))
    return _dense(layers.Concatenate()([what, where]))


def _dense(x: Any) -> Any:
    return layers.Dense(WIDTH, "relu")(x)


def _stride(size: int, rank: int) -> int:
    if size <= _COARSE[rank]:
        return 1
    # A recording has thousands of values, and is seldom about its fastest changes.
    return 4 if rank == 1 and size >= 4 * _COARSE[rank] else 2


def _convolved(x: Any, channels: int, kernel: Any, strides: Any) -> Any:
    convolution = _of_rank("Conv", len(x.shape) - 2)
    return convolution(channels, kernel, strides, padding="same", activation="relu")(x)


def _of_rank(name: str, rank: int) -> Any:
    """Return a layer's class for a number of axes; channels come last, whatever Keras is set to."""
    return partial(getattr(layers, f"{name}{rank}D"), data_format="channels_last")


def _weights(mask: Any) -> Any:
    """Return a mask, ``bool[batch, length]``, as weights, ``float32[batch, length, 1]``."""
    return layers.Reshape((-1, 1))(layers.Rescaling(1.0)(mask))


def _averaged(x: Any, weights: Any, length: int) -> Any:
    """Return the mean of ``float32[batch, length, n]`` over what has a weight, and how much that is.

    It is 0 where nothing has a weight.
    """
    total = ops.sum(weights, axis=1)
    mean = ops.sum(layers.Multiply()([x, weights]), axis=1) / ops.maximum(total, 1.0)
    return layers.Concatenate()([mean, layers.Rescaling(1 / length)(total)])
