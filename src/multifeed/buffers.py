"""Recycled, aligned memory for batches.

Fresh memory is what a warm loader waits for: the kernel has to map and clear each page. So the memory
of a batch is used again, but only once nobody looks at it any more. Every array that is handed out
stands on a *lease*; the arrays, their views, and the tensors that alias them keep the lease alive, and
when it goes its memory returns to the pool.
"""

from __future__ import annotations

import ctypes
import weakref
from collections import defaultdict, deque
from typing import Any, cast

import numpy as np

from multifeed.spec import Spec

# JAX takes host memory as it is, without a copy, if it is aligned to 64 bytes.
ALIGNMENT = 64

Array = np.ndarray[Any, Any]


class Pool:
    """Hands out arrays whose memory comes back when the last array that looks at it is gone.

    It grows on demand and never blocks: how much is out is for the caller to bound.

    Args:
        keep: How many returned pieces of one size are kept for later; more are freed.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        # Both are touched by weakref callbacks, which run wherever the garbage collector does: only
        # single, atomic operations are used on them, and no lock.
        self._free: defaultdict[int, deque[Array]] = defaultdict(deque)
        self._leases: dict[int, _Lease] = {}

    @property
    def leased(self) -> int:
        """How many arrays are out."""
        return len(self._leases)

    def lease(self, count: int, spec: Spec) -> Array:
        """Return an array ``[count, *spec.shape]`` of `spec.dtype`, aligned, with arbitrary content."""
        size = count * spec.nbytes
        if size == 0:
            return np.empty((count, *spec.shape), spec.dtype)
        try:
            memory = self._free[size].pop()
        except IndexError:
            memory = _aligned(size)
        # NumPy keeps the object that `frombuffer` stands on as the base of every later view.
        holder = (ctypes.c_char * size).from_buffer(memory)  # type: ignore[arg-type]
        lease = _Lease(holder, self._take_back)
        lease.memory = memory
        self._leases[id(lease)] = lease
        array = np.frombuffer(holder, spec.dtype)  # type: ignore[call-overload]
        return cast(Array, array.reshape(count, *spec.shape))

    def _take_back(self, lease: _Lease) -> None:
        self._leases.pop(id(lease), None)
        free = self._free[lease.memory.size]
        if len(free) < self._keep:
            free.append(lease.memory)


class _Lease(weakref.ref):  # type: ignore[type-arg]
    """A weak reference to what arrays stand on, which knows the memory beneath."""

    __slots__ = ("memory",)
    memory: Array


def _aligned(size: int) -> Array:
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size]
