"""Shape and dtype of what a field yields: the only place where shapes are compared."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spec:
    """Shape and dtype of one sample's value, without the batch axis.

    Args:
        shape: Sizes of the axes, e.g. ``(224, 224, 3)``; ``()`` for a scalar.
        dtype: NumPy name of the dtype, e.g. ``"uint8"``.

    Example:
        >>> Spec((224, 224, 3), "uint8")
        (224, 224, 3) uint8
        >>> Spec((2,), "float32").nbytes
        8
    """

    shape: tuple[int, ...]
    dtype: str

    @classmethod
    def of(cls, array: np.ndarray) -> Spec:
        """Return the spec of an array that holds one sample."""
        return cls(array.shape, array.dtype.name)

    @property
    def nbytes(self) -> int:
        """Bytes of one sample."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def __repr__(self) -> str:
        return f"{self.shape} {self.dtype}"


def fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    """Tell whether a shape is one that `wanted` allows; None allows any size."""
    return len(shape) == len(wanted) and all(
        want is None or size == want for size, want in zip(shape, wanted, strict=True)
    )
