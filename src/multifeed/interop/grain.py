"""Grain: a dataset as a random access source of its pipelines."""

from __future__ import annotations

import operator
from typing import Any, SupportsIndex

import numpy as np

from multifeed.batch import allocate
from multifeed.dataset import Dataset
from multifeed.errors import DeclarationError, lines


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
