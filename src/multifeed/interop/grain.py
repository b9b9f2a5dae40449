"""Grain: a dataset as a random access source of its pipelines, and such a source as a dataset."""

from __future__ import annotations

import operator
import sys
from collections.abc import Mapping, Sequence
from typing import Any, SupportsIndex

import numpy as np

from multifeed.batch import allocate
from multifeed.dataset import Dataset
from multifeed.errors import DeclarationError, lines
from multifeed.interop.by_number import from_torch


def to_grain(data: Dataset) -> GrainSource:
    """Return a dataset as a source of Grain: a ``grain.sources.RandomAccessDataSource`` of its samples.

    ``grain.MapDataset.source(mf.to_grain(data)).shuffle(seed=1).batch(32)`` goes into `fit`, or into a
    loop in JAX. Order, batches, workers and the state of training are Grain's from there on.

    Args:
        data: The samples, with what they have learned by now: a later `adapt` changes no source.

    Returns:
        A source whose element ``i`` is ``data[i]``. It can be pickled, so Grain may read it in worker
        processes, if all functions of yours can be; each has a copy of the row table.

    Raises:
        DeclarationError: If it is no dataset.
        NotAdaptedError: If a field has to learn first.
        SampleError: If a value in memory cannot be used.

    Example:
        >>> import multifeed as mf
        >>> data = mf.Dataset({"x": [0.0, 1.0, 2.0]}, inputs=mf.Numeric("x"))
        >>> source = to_grain(data)
        >>> len(source), source[2]
        (3, (array([2.], dtype=float32),))
    """
    if not isinstance(data, Dataset):
        raise DeclarationError(
            lines(
                f"mf.to_grain takes a Dataset; received {type(data).__name__}.",
                "Batches, order and augmentation of a pipeline of Grain are Grain's.",
            )
        )
    return GrainSource(data)


def from_grain(
    source: Any,
    *,
    targets: str | int | Sequence[str | int] | None = None,
    columns: Mapping[str, Any] | None = None,
) -> Dataset:
    """Return the elements of a random access source of Grain, or of a ``grain.MapDataset``, as samples.

    ``source[0]`` is read here, and says what all elements are, in the way of `from_torch`: a tuple of
    two is ``(inputs, targets)``, of a dict all parts are inputs unless `targets` names some. Grain
    demands that elements depend on their number alone and may be read by several threads at once, so
    they are.

    Args:
        source: The source, or a pipeline that has a length and elements by number. Shuffles, batches and
            repetitions are a loader's: leave them out.
        targets: The key or place of the part that is the target; several of them in a list.
        columns: Columns of as many rows, by name: for ``split(by=)``, ``stratify=``, ``balance=``.

    Raises:
        DeclarationError: If it has no elements by number, or repeats without end; else as `from_torch`.

    Example:
        >>> import multifeed as mf
        >>> squares = [({"x": [float(n), 1.0]}, n * n) for n in range(4)]
        >>> from_grain(squares)[3]
        ({'x': array([3., 1.], dtype=float32)}, np.int32(9))
    """
    kind = type(source).__name__
    if not (hasattr(source, "__len__") and hasattr(source, "__getitem__")):
        raise DeclarationError(
            lines(
                f"a source has len(source) and source[i]; a {kind} has not.",
                "Pass the MapDataset before to_iter_dataset(); or feed a stream with mf.from_generator.",
            )
        )
    if len(source) == sys.maxsize:
        raise DeclarationError(
            lines(
                f"a dataset has an end; this {kind} repeats for ever.",
                "Leave repeat() out: epochs are the loader's.",
            )
        )
    return from_torch(source, targets=targets, columns=columns, threadsafe=True)


class GrainSource:
    """What `to_grain` returns.

    Args:
        data: The samples.
    """

    def __init__(self, data: Dataset) -> None:
        self._plan, self._count = data.plan(), len(data)
        # Grain compares it where it goes on from a checkpoint.
        self._text = f"{type(self).__name__} of {data!r}"

    def __len__(self) -> int:
        """Return the number of samples."""
        return self._count

    def __getitem__(self, index: SupportsIndex) -> tuple[Any, ...]:
        """Return one sample, in the structure of a batch but without its first axis."""
        row = operator.index(index)
        if not 0 <= row < self._count:
            raise IndexError(f"sample {row} of a source of {self._count:,}")
        buffers = allocate(1, self._plan.specs)
        self._plan.fill(np.array([row]), buffers)
        return self._plan.structure.pack({name: buffer[0] for name, buffer in buffers.items()})

    def __repr__(self) -> str:
        return self._text
