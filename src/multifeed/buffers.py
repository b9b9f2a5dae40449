"""Recycled, aligned memory for batches.

Fresh memory is what a warm loader waits for: the kernel has to map and clear each page. So the memory
of a batch is used again, but only once nobody looks at it any more. The arrays of a batch stand on a
few *leases*; the arrays, their views, and the tensors that alias them keep a lease alive, and when it
goes its memory returns to the pool.
"""

from __future__ import annotations

import ctypes
import weakref
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from multifeed.spec import Spec

# JAX takes host memory as it is, without a copy, if it is aligned to 64 bytes.
ALIGNMENT = 64
# A field with a smaller share of a batch's bytes shares its lease with others such, not with large ones.
_SMALL = 1 / 16

Array = np.ndarray[Any, Any]


class Pool:
    """Hands out the arrays of batches; memory comes back when the last array that looks at it is gone.

    Large fields of a batch share one lease, small ones another: a lease costs as much as all else that
    is done for a batch, but whoever collects the labels of an epoch must not keep its images.

    It grows on demand and never blocks: how much is out is for the caller to bound.

    Args:
        specs: What one row of each field is.
        keep_bytes: How much memory that came back is kept for later, about; more is freed.
    """

    def __init__(self, specs: Mapping[str, Spec], keep_bytes: int) -> None:
        self._specs = dict(specs)
        self._keep_bytes = keep_bytes
        self._layouts: dict[int, list[_Arena]] = {}
        # Touched by weakref callbacks, which run wherever the garbage collector does: only single,
        # atomic operations are used on it, and no lock.
        self._leases: dict[int, _Lease] = {}

    @property
    def leased(self) -> int:
        """How many leases are out."""
        return len(self._leases)

    @property
    def free_bytes(self) -> int:
        """How much memory is kept for later."""
        arenas = [arena for layout in self._layouts.values() for arena in layout]
        return sum(len(arena.free) * arena.size for arena in arenas)

    def lease(self, count: int) -> dict[str, Array]:
        """Return an array ``[count, *shape]`` for each field, aligned, with arbitrary content."""
        layout = self._layouts.get(count)
        if layout is None:
            layout = self._layouts[count] = self._laid_out(count)
        arrays: dict[str, Array] = {}
        for arena in layout:
            try:
                memory = arena.free.pop()
            except IndexError:
                memory = _aligned(arena.size)
            # NumPy keeps the object that an array stands on as the base of every later view.
            holder = arena.kind.from_buffer(memory)
            lease = _Lease(holder, self._take_back)
            lease.memory, lease.arena = memory, arena
            self._leases[id(lease)] = lease
            for name, shape, dtype, offset in arena.places:
                arrays[name] = np.ndarray(shape, dtype, holder, offset)
        return arrays

    def _laid_out(self, count: int) -> list[_Arena]:
        """Return which fields share a lease, and where they stand in it."""
        total = sum(count * spec.nbytes for spec in self._specs.values())
        large = {n: s for n, s in self._specs.items() if count * s.nbytes > _SMALL * total}
        small = {name: spec for name, spec in self._specs.items() if name not in large}
        keep = max(1, self._keep_bytes // max(total, 1))
        return [_Arena(specs, count, keep) for specs in (large, small) if specs]

    def _take_back(self, lease: _Lease) -> None:
        self._leases.pop(id(lease), None)
        arena = lease.arena
        if len(arena.free) < arena.keep:
            arena.free.append(lease.memory)


class _Arena:
    """Where some fields of a batch stand in one piece of memory, and the pieces that are free."""

    def __init__(self, specs: Mapping[str, Spec], count: int, keep: int) -> None:
        self.keep = keep
        self.free: deque[Array] = deque()
        self.places: list[tuple[str, tuple[int, ...], np.dtype[Any], int]] = []
        offset = 0
        for name, spec in specs.items():
            self.places.append((name, (count, *spec.shape), np.dtype(spec.dtype), offset))
            offset += -(-count * spec.nbytes // ALIGNMENT) * ALIGNMENT
        self.size = max(offset, ALIGNMENT)
        self.kind: Any = ctypes.c_char * self.size


class _Lease(weakref.ref):  # type: ignore[type-arg]
    """A weak reference to what arrays stand on, which knows the memory beneath."""

    __slots__ = ("arena", "memory")
    arena: _Arena
    memory: Array


def _aligned(size: int) -> Array:
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size]
