"""Heads: how a baseline model tells each target, and by which loss, chosen by what its field yields."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from keras import layers

from multifeed.dataset import Dataset
from multifeed.errors import DeclarationError, lines
from multifeed.fields.category import Category
from multifeed.fields.mask import Mask
from multifeed.fields.points import Places
from multifeed.fields.present import Present
from multifeed.fields.text import Text
from multifeed.keras.encoders import PRECISE, moments, origin
from multifeed.spec import Spec

# Numbers of one target at most: each has weights of its own.
_MOST = 4_096


class Head(NamedTuple):
    """How a target is told.

    Args:
        layers: What follows the vector of a sample, one after the other.
        loss: The loss.
        metric: The metric.
        weight: What the loss is multiplied with in the sum of all.
    """

    layers: list[Any]
    loss: str
    metric: str
    weight: float = 1.0

    def __call__(self, x: Any) -> Any:
        """Return the output."""
        for layer in self.layers:
            x = layer(x)
        return x


def head_of(data: Dataset, name: str, spec: Spec) -> Head:
    """Return the head of a target: the table of heads.

    Raises:
        NotAdaptedError: If the labels have yet to be learned.
        DeclarationError: If a target is text, or of more numbers than 4,096.
    """
    source = origin(data, name)
    field = data.fields[source]
    if isinstance(field, Category):
        kind = "categorical" if field.one_hot else "sparse_categorical"
        classes = len(data.labels(source)) + field.oov
        return Head(
            [layers.Dense(classes, "softmax", dtype=PRECISE)], f"{kind}_crossentropy", "accuracy"
        )
    if isinstance(field, Text) or math.prod(spec.shape) > _MOST:
        raise DeclarationError(
            lines(
                f"mf.baseline_model predicts classes, and up to {_MOST:,} numbers; target {name!r} "
                f"({type(field).__name__}) yields {spec}.",
                "Leave the target out, or build the model yourself with mf.inputs(data).",
            )
        )
    if isinstance(field, Mask | Present):
        return Head(_shaped(spec, "sigmoid"), "binary_crossentropy", "binary_accuracy")
    return _of_numbers(data, source, spec)


def _of_numbers(data: Dataset, name: str, spec: Spec) -> Head:
    """Return a head of numbers; of those whose size is known it learns deviations from the mean."""
    shaped, known = _shaped(spec), _size_of(data, name, spec)
    if known is None:
        return Head(shaped, "mse", "mae")
    mean, deviation = known
    variance = np.square(deviation)
    scaled = layers.Normalization(mean=mean, variance=variance.tolist(), invert=True, dtype=PRECISE)
    # As if the target were normalised: none outweighs the others by its unit.
    return Head([*shaped, scaled], "mse", "mae", float(1 / variance.mean()))


def _shaped(spec: Spec, activation: str | None = None) -> list[Any]:
    dense = layers.Dense(math.prod(spec.shape), activation, dtype=PRECISE)
    return [dense] if len(spec.shape) < 2 else [dense, layers.Reshape(spec.shape, dtype=PRECISE)]


def _size_of(data: Dataset, name: str, spec: Spec) -> tuple[list[float], list[float]] | None:
    """Return the mean and deviation of a target's last axis, as far as the declaration tells them."""
    field = data.fields[name]
    if isinstance(field, Places):
        image = field.other.canvas or field.other.spec_of(data.source.columns, None).shape[:2]
        height, width = (1, 1) if field.relative else image
        sides = [width, height] * (field.width // 2)
        return [side / 2 for side in sides], [side / 4 for side in sides]
    if spec.dtype == "uint8":
        count = spec.shape[-1] if spec.shape else 1
        return [127.5] * count, [127.5] * count
    return moments(data, name)
