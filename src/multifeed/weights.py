"""Sample weights of targets: which field makes those of which target, and what they are called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from multifeed.errors import DeclarationError, lines, near
from multifeed.fields.base import Field
from multifeed.fields.category import Category
from multifeed.fields.rows import NDArray
from multifeed.fields.weight import ClassWeight, Ones, Weight, WeightField
from multifeed.structure import WEIGHT, Names, flat, pack

# By target: the weight of each label, or "balanced".
ClassWeights = Mapping[str, Mapping[Any, float] | str]

# The field of each target's weights, by target and in the order of the targets.
Weights = dict[str, WeightField]


def weight_name(target: str) -> str:
    """Return what the weights of a target are called."""
    return f"{WEIGHT}{target}"


def structure_of(weights: Weights, targets: Names | None) -> Names | None:
    """Return the names of the weights in the structure of the targets."""
    if targets is None or not weights:
        return None
    names: Names = pack(targets, {target: weight_name(target) for target in weights})
    return names


def axes_of(sample_axes: int) -> int:
    """Return how many axes a weight has, given those of the target's samples.

    Keras multiplies weights with a loss that has one value for each pixel or step, and would take
    ``[n]`` for one weight a column. With an axis of length 1 for each axis of the target they are
    weights of samples.
    """
    return sample_axes if sample_axes > 1 else 0


def declared(
    sample_weight: str | Mapping[str, str] | None, targets: Names | None, axes: Mapping[str, int]
) -> Weights:
    """Return the weights of each target as `sample_weight` declares them; none if it is None.

    Args:
        sample_weight: A column for all targets, or a dict of columns by target.
        targets: The names of the targets.
        axes: How many axes a weight of each target has.

    Raises:
        DeclarationError: If there are no targets, or it names none of them.
    """
    if sample_weight is None:
        return {}
    if targets is None:
        raise DeclarationError(
            lines("sample_weight weighs the loss of targets, and there are none.", "Pass targets=.")
        )
    names = flat(targets)
    given = sample_weight.values() if isinstance(sample_weight, Mapping) else (sample_weight,)
    if not all(isinstance(column, str) for column in given):
        raise DeclarationError(
            lines(
                "sample_weight is the name of a column, or a dict of such names by target.",
                f"Received: {sample_weight!r}.",
            )
        )
    if isinstance(sample_weight, str):
        return {name: Weight(sample_weight, axes=axes[name]) for name in names}
    for name in sample_weight:
        if name not in names:
            raise DeclarationError(lines(f"sample_weight names no target {name!r}.", near(name, names)))
    return {
        name: Weight(sample_weight[name], axes=axes[name])
        if name in sample_weight
        else Ones(axes=axes[name])
        for name in names
    }


def by_class(
    class_weight: ClassWeights | None,
    weights: Weights,
    fields: Mapping[str, Field],
    known: Callable[[str], Category],
    count: Callable[[str, Category], NDArray],
) -> Weights:
    """Return weights, times those of classes.

    Args:
        class_weight: As it is declared.
        weights: The weights of each target.
        fields: The fields of the targets.
        known: Function of a target that returns its `Category` with its vocabulary.
        count: Function of a target and that, which returns how many samples each class has.

    Raises:
        DeclarationError: If a target, label or weight cannot be.
    """
    _check(class_weight, fields)
    weighed = dict(weights)
    for name, by_label in (class_weight or {}).items():
        category = known(name)
        if isinstance(by_label, str):
            shares = _balanced(count(name, category))
        else:
            shares = _by_label(name, category, by_label)
        weighed[name] = ClassWeight(weights[name], category, tuple(shares))
    return weighed


def _balanced(counts: NDArray) -> list[float]:
    # As sklearn.utils.class_weight has it; a class without samples is not one to be weighed.
    share: NDArray = counts.sum() / ((counts > 0).sum() * np.maximum(counts, 1))
    return [float(each) for each in share]


def _by_label(name: str, category: Category, by_label: Mapping[Any, float]) -> list[float]:
    labels = category.labels(None)
    for label in by_label:
        if label not in labels:
            raise DeclarationError(
                lines(
                    f"class_weight of {name!r} names a label that it does not have: {label!r}.",
                    near(str(label), map(str, labels)),
                )
            )
    unseen = [1.0] if category.oov else []
    return [*unseen, *(float(by_label.get(label, 1.0)) for label in labels)]


def _check(class_weight: object, targets: Mapping[str, Field]) -> None:
    """Raise unless it says a weight for labels, by target."""
    if class_weight is None:
        return
    if not isinstance(class_weight, Mapping):
        raise DeclarationError(
            lines(
                f"class_weight is a dict by target; received {class_weight!r}.",
                f'Write class_weight={{{next(iter(targets))!r}: "balanced"}}, or a weight by label.',
            )
        )
    for name, weights in class_weight.items():
        if name not in targets:
            raise DeclarationError(
                lines(
                    f"class_weight is a dict by target, and there is no target {name!r}.",
                    near(str(name), targets),
                )
            )
        if not isinstance(targets[name], Category):
            raise DeclarationError(
                f"class weights are by label, and target {name!r} is a "
                f"{type(targets[name]).__name__}, not a Category."
            )
        numbers = list(weights.values()) if isinstance(weights, Mapping) else []
        is_balanced = isinstance(weights, str) and weights == "balanced"
        if not is_balanced and not (numbers and all(map(_is_weight, numbers))):
            raise DeclarationError(
                lines(
                    f'class_weight of {name!r} is "balanced", or a dict of finite weights of 0 or more '
                    "by label.",
                    f"Received: {weights!r}.",
                )
            )


def _is_weight(value: object) -> bool:
    return isinstance(value, int | float | np.number) and bool(np.isfinite(value)) and bool(value >= 0)
