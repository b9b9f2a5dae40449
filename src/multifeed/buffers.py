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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from multifeed.errors import MultifeedError, lines
from multifeed.spec import Spec

# JAX takes host memory as it is, without a copy, if it is aligned to 64 bytes.
ALIGNMENT = 64
# A field with a smaller share of a batch's bytes shares its lease with others such, not with large ones.
_SMALL = 1 / 16

Array = np.ndarray[Any, Any]
# Memory that nobody looks at, by which of the arenas it is for, and size: where worker processes write,
# each arena has a shared file of its own.
Free = dict[tuple[int, int], deque[Array]]


@dataclass(frozen=True)
class Arena:
    """Where some fields of a batch stand in one piece of memory.

    Args:
        size: Bytes of the piece.
        places: Name, shape and dtype of each field, and where it begins.
    """

    size: int
    places: tuple[tuple[str, tuple[int, ...], np.dtype[Any], int], ...]

    @classmethod
    def of(cls, specs: Mapping[str, Spec], count: int) -> Arena:
        """Return the arena of fields, for `count` rows."""
        places, offset = [], 0
        for name, spec in specs.items():
            places.append((name, (count, *spec.shape), np.dtype(spec.dtype), offset))
            offset += -(-count * spec.nbytes // ALIGNMENT) * ALIGNMENT
        return cls(max(offset, ALIGNMENT), tuple(places))

    def arrays(self, memory: Any) -> dict[str, Array]:
        """Return the fields' arrays on a piece of memory."""
        return {
            name: np.ndarray(shape, dtype, memory, offset) for name, shape, dtype, offset in self.places
        }


def arenas(specs: Mapping[str, Spec], count: int) -> list[Arena]:
    """Return which fields of a batch of `count` rows stand together, and where.

    Large fields share one lease, small ones another: a lease costs as much as all else that is done for
    a batch, but whoever collects the labels of an epoch must not keep its images.
    """
    total = sum(count * spec.nbytes for spec in specs.values())
    large = {n: s for n, s in specs.items() if count * s.nbytes > _SMALL * total}
    small = {name: spec for name, spec in specs.items() if name not in large}
    return [Arena.of(some, count) for some in (large, small) if some]


def aligned(size: int) -> Array:
    """Return fresh memory, ``uint8[size]``, aligned."""
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size]


class Pool:
    """Hands out the arrays of batches; memory comes back when the last array that looks at it is gone.

    It grows on demand and never blocks: how much is out is for the caller to bound.

    Args:
        specs: What one row of each field is.
        keep_bytes: How much memory that came back is kept for later, about; more is freed.
        free: Where that is kept; another pool may have left some there. By default, nobody has.
        allocate: For each of the `arenas`, a function of a size that returns memory, aligned.
    """

    def __init__(
        self,
        specs: Mapping[str, Spec],
        keep_bytes: int,
        free: Free | None = None,
        allocate: Sequence[Callable[[int], Array]] = (aligned, aligned),
    ) -> None:
        self._specs = dict(specs)
        self._free = {} if free is None else free
        self._keep_bytes = keep_bytes
        self._allocate = allocate
        self._shelves: dict[int, list[_Shelf]] = {}
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
        shelves = [shelf for some in self._shelves.values() for shelf in some]
        return sum(len(shelf.free) * shelf.arena.size for shelf in shelves)

    def lease(self, count: int) -> dict[str, Array]:
        """Return an array ``[count, *shape]`` for each field, aligned, with arbitrary content."""
        shelves = self._shelves.get(count)
        if shelves is None:
            total = sum(count * spec.nbytes for spec in self._specs.values())
            keep = max(1, self._keep_bytes // max(total, 1))
            shelves = self._shelves[count] = [
                _Shelf(each, keep, self._free.setdefault((number, each.size), deque()), allocate)
                for number, (each, allocate) in enumerate(
                    zip(arenas(self._specs, count), self._allocate, strict=False)
                )
            ]
        arrays: dict[str, Array] = {}
        for shelf in shelves:
            try:
                memory = shelf.free.pop()
            except IndexError:
                memory = self._fresh(shelf)
            # NumPy keeps the object that an array stands on as the base of every later view.
            holder = shelf.kind.from_buffer(memory)
            lease = _Lease(holder, self._take_back)
            lease.memory, lease.shelf = memory, shelf
            self._leases[id(lease)] = lease
            arrays |= shelf.arena.arrays(holder)
        return arrays

    def trim(self, keep_bytes: int) -> None:
        """Free memory that came back, but for about so many bytes."""
        for shelf in [shelf for some in self._shelves.values() for shelf in some]:
            while self.free_bytes > keep_bytes:
                try:
                    shelf.free.pop()
                except IndexError:
                    break

    def _fresh(self, shelf: _Shelf) -> Array:
        try:
            return shelf.allocate(shelf.arena.size)
        except MemoryError as error:
            held = sum(lease.shelf.arena.size for lease in list(self._leases.values()))
            raise MultifeedError(
                lines(
                    f"a batch takes {shelf.arena.size / 2**20:,.1f} MiB more memory than there is; "
                    f"{held / 2**20:,.1f} MiB are batches that are under way, built ahead, or in use.",
                    "Pass a smaller batch_size or prefetch_bytes, or keep fewer batches.",
                )
            ) from error

    def _take_back(self, lease: _Lease) -> None:
        self._leases.pop(id(lease), None)
        shelf = lease.shelf
        if len(shelf.free) < shelf.keep:
            shelf.free.append(lease.memory)


class _Shelf:
    """The free pieces of memory of an arena."""

    def __init__(
        self, arena: Arena, keep: int, free: deque[Array], allocate: Callable[[int], Array]
    ) -> None:
        self.arena, self.keep, self.free = arena, keep, free
        self.allocate = allocate
        self.kind: Any = ctypes.c_char * arena.size


class _Lease(weakref.ref):  # type: ignore[type-arg]
    """A weak reference to what arrays stand on, which knows the memory beneath."""

    __slots__ = ("memory", "shelf")
    shelf: _Shelf
    memory: Array
