"""`predict`: what a model says of every sample, as a table in the words of the dataset."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pyarrow as pa

from multifeed.dataset import Dataset
from multifeed.errors import (
    DeclarationError,
    ModelError,
    MultifeedError,
    MultifeedWarning,
    lines,
)
from multifeed.fields.category import Category
from multifeed.fields.numeric import Numeric
from multifeed.keras.check import target_mismatch
from multifeed.keras.loader import Loader
from multifeed.keras.sides import Side, misfit, model_outputs, paired, specs_of
from multifeed.receipt import firsts
from multifeed.spec import Spec
from multifeed.structure import flat
from multifeed.tuples import Tuples

Array = np.ndarray[Any, Any]
Columns = list[tuple[str, pa.Array]]

# How far the probabilities of a sample may be from adding up to 1; bfloat16 has but two digits.
_SUM_TOLERANCE = {"bfloat16": 1e-2}
_USUAL_SUM_TOLERANCE = 1e-3
# What rounding may leave of a probability below 0 or above 1.
_ROUNDING = 1e-6


def predict(
    model: keras.Model, loader: Loader, *, targets: Dataset | Tuples | None = None, verbose: Any = "auto"
) -> pa.Table:
    """Predict every sample of an epoch; the outputs become labels and numbers in their own units.

    There is one row for each sample that the loader serves in its present epoch, in that order, under
    the sample's key; the epoch does not advance. The outputs of the whole epoch are held in memory. Of
    a loader that drops or masks samples which cannot be used, these are left out of the table.

    Columns: first those of the key (`row`, the row number, if there is no key; of `Pairs` and `Triplets`
    those of each of their rows: ``id_a``, ``id_b``); then for each output,
    which belongs to a target by name or by position as in `check_model`:

    - A `Category`: its name has the label, ``<name>_probability`` the label's probability,
      ``<name>_probabilities`` a struct of all by label (``"unknown"`` with ``oov=True``; the label is
      null then). One number for two classes is the probability of the second. Where the values of all
      samples together are no probabilities — below 0, above 1, or not adding up to 1 — the model returns
      scores (logits): the columns are ``<name>_score`` and ``<name>_scores``, the label is that of the
      highest score, and one number s for two classes stands for the scores 0 and s. Few samples may look
      like probabilities by chance: end the model in a softmax or sigmoid to be certain. A sample whose
      values are NaN has no label.
    - A `Numeric`: numbers in the units of its columns; a struct of them if it reads several.
    - Any other: what `Dataset.restore` makes of it, as numbers or fixed-shape tensors.

    Outputs that are no target come as they are, under the model's own names.

    Args:
        model: Any Keras model that takes the loader's inputs, compiled or not.
        loader: What to predict on. With ``remainder="pad"``, added rows are left out.
        targets: The dataset whose targets the model predicts, where the loader's has none, as a test
            set without labels: e.g. the training set.
        verbose: As for ``model.predict``.

    Raises:
        ModelError: If the outputs cannot be those of the targets.
        DeclarationError: If `targets` has no targets, or `loader` is no `Loader`.
        NotAdaptedError: If a target has not learned what it needs to name the outputs.

    Warns:
        MultifeedWarning: If the epoch leaves samples out (``remainder="drop"``, ``steps_per_epoch``), or
            some cannot be used (``on_error``).

    Example:
        >>> import keras, multifeed as mf
        >>> data = mf.Dataset({"id": ["a", "b"], "x": [-1.0, 3.0], "sick": ["no", "yes"]}, key="id",
        ...     inputs=mf.Numeric("x"), targets=mf.Category("sick", vocabulary=["no", "yes"]))
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Activation("sigmoid")])
        >>> table = predict(model, mf.Loader(data, batch_size=2), verbose=0)
        >>> table.column_names
        ['id', 'sick', 'sick_probability', 'sick_probabilities']
        >>> table["sick"].to_pylist()
        ['no', 'yes']
    """
    if not isinstance(loader, Loader):
        raise DeclarationError(
            lines(
                f"predictions are made on a mf.Loader; received {type(loader).__name__}.",
                "Pass mf.Loader(data, batch_size=...).",
            )
        )
    if loader.feed.augments:
        raise DeclarationError(
            lines(
                "predictions are of the samples as they are; this loader changes them at random.",
                "Pass a loader without augment=.",
            )
        )
    if targets is not None and targets.structure.targets is None:
        raise DeclarationError(
            lines(
                "targets= is the dataset whose targets the model predicts; this one has no targets.",
                "Pass the dataset that the model was trained on, or leave targets out: the outputs then "
                "come as they are.",
            )
        )
    known = targets
    if targets is None and loader.data.structure.targets is not None:
        known = loader.data
    epoch, steps = loader.epoch, range(len(loader))
    served = [loader.feed.slots(epoch, step) for step in steps]
    _warn_of_samples_left_out(firsts(np.concatenate(served)), len(loader.data))
    with loader.feed.left_out() as left_out:
        side = _predicted(model, loader, verbose)
    good = [
        ~np.isin(np.arange(len(slots)), left_out.get((epoch, step), []))
        for step, slots in zip(steps, served, strict=True)
    ]
    rows = np.concatenate(served)[np.concatenate(good)]
    _warn_of_bad_samples(len(np.unique(firsts(np.concatenate(served)))) - len(np.unique(firsts(rows))))
    places = _places(model, side, good, loader)
    arrays = {label: values[places] for label, values in side.tensors.items()}
    names = {} if known is None else _names(model, known, side._replace(tensors=arrays))
    columns = _key_columns(loader.data, rows)
    # In the order in which the targets were declared; Keras sorts a dict's outputs by name.
    order = [] if known is None else flat(known.structure.targets or ())
    for label in sorted(
        arrays, key=lambda label: order.index(names[label]) if label in names else len(order)
    ):
        if known is not None and label in names:
            columns += _decoded(known, names[label], arrays[label])
        else:
            columns.append((label, _column(arrays[label])))
    return pa.table([column for _, column in columns], _distinct([name for name, _ in columns]))


def _warn_of_samples_left_out(rows: Array, count: int) -> None:
    found = len(np.unique(rows))
    if found < count:
        warnings.warn(
            lines(
                f"an epoch of this loader leaves out {count - found:,} of {count:,} samples, and so "
                "does the table.",
                'Pass a loader with remainder="keep" and without steps_per_epoch to predict them all.',
            ),
            MultifeedWarning,
            stacklevel=3,
        )


def _warn_of_bad_samples(count: int) -> None:
    if count:
        warnings.warn(
            lines(
                f"{count:,} samples cannot be used, and are left out of the table.",
                "loader.report().bad says which, and why.",
            ),
            MultifeedWarning,
            stacklevel=3,
        )


def _predicted(model: keras.Model, loader: Loader, verbose: Any) -> Side:
    """Return what a model predicts by the names of its outputs."""
    try:
        predicted = model.predict(loader, verbose=verbose)
    except Exception as error:
        # TensorFlow puts an exception of its own in its place.
        original = loader.last_error
        if isinstance(original, MultifeedError) and original is not error:
            raise original from error
        raise
    paths, values = zip(*keras.tree.flatten_with_path(predicted), strict=True)
    declared = list(model_outputs(model).tensors) if getattr(model, "outputs", None) else []
    if isinstance(predicted, dict):
        tensors = {"_".join(map(str, path)): each for path, each in zip(paths, values, strict=True)}
        # Keras has put them in alphabetical order.
        if set(declared) == set(tensors):
            tensors = {label: tensors[label] for label in declared}
        return Side("output", tensors, predicted)
    # Of a shared layer that returns several outputs there is but one name.
    if len(declared) != len(values):
        declared = [f"output_{number}" if number else "output" for number in range(len(values))]
    return Side("output", dict(zip(declared, values, strict=True)), predicted)


def _places(model: keras.Model, side: Side, good: Sequence[Array], loader: Loader) -> Array:
    """Return where the good samples stand in the outputs, ``int64[n]``.

    Args:
        model: The model.
        side: Its outputs.
        good: For each batch, ``bool[n]``: which of its samples can be used.
        loader: What was predicted on.
    """
    # A batch is never empty: where no sample is left, it holds a copy.
    drops = loader.feed.drops
    lengths = [max(1, int(each.sum())) if drops else len(each) for each in good]
    kept = [np.arange(each.sum()) if drops else np.flatnonzero(each) for each in good]
    counts = {label: len(values) for label, values in side.tensors.items()}
    (count,) = set(counts.values()) if len(set(counts.values())) == 1 else (-1,)
    if count == loader.batch_size * len(lengths):
        # Rows that pad batches are left out.
        lengths = [loader.batch_size] * len(lengths)
    if count == sum(lengths):
        starts = np.cumsum([0, *lengths[:-1]])
        return np.concatenate([start + each for start, each in zip(starts, kept, strict=True)])
    listed = ", ".join(f"{label!r} has {count:,}" for label, count in counts.items())
    raise ModelError(
        lines(
            f"an output has one row a sample, which are {sum(lengths):,} in this epoch.",
            f"Received from model {model.name!r}: {listed}.",
        )
    )


def _as_numbers(values: Array) -> Array:
    """Return values in a dtype that Arrow knows and one can count with."""
    is_short = values.dtype.name in ("float16", "bfloat16")
    return values.astype(np.float32) if is_short else values


def _names(model: keras.Model, targets: Dataset | Tuples, side: Side) -> dict[str, str]:
    """Return the target that each output is, by the output's name.

    Raises:
        ModelError: If it cannot be told, or an output has not the shape of its target.
    """
    names = targets.structure.targets
    if names is None:
        return {}
    specs = specs_of(names, targets.spec[1])
    problems: list[str] = []
    if len(specs) == len(side.tensors) == 1:
        pairs = list(zip(specs, side.tensors, strict=True))
    else:
        pairs, problems = paired("target", names, specs, side)
        if pairs and isinstance(names, dict):
            # The names tell: a model may return less than the dataset has, and more.
            problems = []
    for name, label in [] if problems else pairs:
        problems += _mismatch(targets, name, specs[name], side.tensors[label])
    if problems:
        raise misfit(model, problems)
    return {label: name for name, label in pairs}


def _mismatch(targets: Dataset | Tuples, name: str, spec: Spec, values: Array) -> list[str]:
    problems = target_mismatch(targets, name, spec, values)
    if not problems and isinstance(targets.fields[name], Category) and values.ndim > 2:
        problems = [f"target {name!r} is one class a sample; the model returns {values.shape[1:]}."]
    return problems


def _key_columns(data: Dataset | Tuples, rows: Array) -> Columns:
    if isinstance(data, Tuples):
        return [
            (f"{name}_{branch}", values)
            for branch, own in zip(data.branches, rows.T, strict=True)
            for name, values in _key_columns(data.data, own)
        ]
    if not data.key:
        return [("row", pa.array(rows))]
    return [(name, data.source.pick(name, rows)) for name in data.key]


def _decoded(targets: Dataset | Tuples, name: str, values: Array) -> Columns:
    """Return an output as columns in the words and units of its target."""
    field = targets.fields[name]
    if isinstance(field, Category):
        return _classes(name, targets.labels(name), values, oov=field.oov)
    if isinstance(field, Numeric):
        columns = targets.source.columns
        reads = columns.all_matching(field.reads)
        restored = targets.restore(name, _as_numbers(values).reshape(len(values), len(reads)))
        numbers = [pa.array(column) for column in restored.T]
        if len(reads) == 1:
            return [(name, numbers[0])]
        return [(name, pa.StructArray.from_arrays(numbers, _distinct(reads)))]
    return [(name, _column(targets.restore(name, _as_numbers(values))))]


def _classes(name: str, labels: Sequence[Any], values: Array, *, oov: bool) -> Columns:
    """Return the label of each sample, its probability or score, and those of all labels."""
    scores = values.reshape(len(values), -1).astype(np.float32, copy=False)
    is_pair = scores.shape[1] == 1 and len(labels) + oov == 2
    tolerance = _SUM_TOLERANCE.get(values.dtype.name, _USUAL_SUM_TOLERANCE)
    are_probabilities = _are_probabilities(scores, np.inf if is_pair else tolerance)
    if is_pair:
        first = 1 - scores if are_probabilities else np.zeros_like(scores)
        scores = np.concatenate([first, scores], 1)
    # More scores than there are classes are allowed, and have no label.
    surplus = range(len(labels) + oov, scores.shape[1])
    fields = _distinct([*map(str, labels), *(["unknown"] if oov else []), *map(str, surplus)])
    if oov:
        fields.insert(0, fields.pop(len(labels)))
    by_class = pa.array([*([None] if oov else []), *labels, *(None for _ in surplus)])
    best = scores.argmax(1)
    choice = pa.array(best, mask=np.isnan(scores).any(1))
    word, words = ("probability", "probabilities") if are_probabilities else ("score", "scores")
    every = [pa.array(column) for column in np.ascontiguousarray(scores.T)]
    return [
        (name, by_class.take(choice)),
        (f"{name}_{word}", pa.array(np.take_along_axis(scores, best[:, None], 1)[:, 0])),
        (f"{name}_{words}", pa.StructArray.from_arrays(every, fields)),
    ]


def _are_probabilities(scores: Array, tolerance: float) -> bool:
    """Tell whether all samples' scores are from 0 to 1 and add up to 1, within a tolerance."""
    # What a model returns shall not change its name because of a sample that has no answer.
    scores = scores[~np.isnan(scores).any(1)]
    inside = (scores >= -_ROUNDING) & (scores <= 1 + _ROUNDING)
    totals = scores.sum(1, dtype=np.float64)
    return bool(inside.all() and (np.abs(totals - 1) <= tolerance).all())


def _column(values: Array) -> pa.Array:
    """Return numbers, or arrays as fixed-shape tensors."""
    values = _as_numbers(values)
    if values.shape[1:] == (1,):
        values = values[:, 0]
    if values.dtype.kind not in "biuf":
        return pa.array(values.tolist())
    if values.ndim == 1:
        return pa.array(np.ascontiguousarray(values))
    # Arrow packs booleans eight to a byte, which tensors are not.
    values = values.view(np.uint8) if values.dtype.kind == "b" else values
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(values))


def _distinct(names: Sequence[str]) -> list[str]:
    """Return names of which none comes twice: name, name_1, …"""
    found: dict[str, None] = {}
    for name in names:
        chosen, number = name, 0
        while chosen in found:
            number += 1
            chosen = f"{name}_{number}"
        found[chosen] = None
    return list(found)
