"""Memory that a thread uses again for every sample."""

from __future__ import annotations

import math
import threading

import numpy as np

from multifeed.fields.rows import NDArray

# A larger array gets memory of its own, which is given back after each use.
_KEPT_BYTES = 64 * 2**20


class Scratch(threading.local):
    """Arrays for passing use, one for each use and thread."""

    def __init__(self) -> None:
        self._memory: dict[str, NDArray] = {}

    def array(self, use: str, shape: tuple[int, ...], dtype: str = "uint8") -> NDArray:
        """Return the array of a use, holding anything; the next call for this use takes it back."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        memory = self._memory.get(use)
        if memory is None or memory.size < size:
            memory = np.empty(size, np.uint8)
            if size <= _KEPT_BYTES:
                self._memory[use] = memory
        return memory[:size].view(dtype).reshape(shape)

    def __reduce__(self) -> tuple[type[Scratch], tuple[()]]:
        """Tell that a copy, in another process, has memory of its own."""
        return Scratch, ()
