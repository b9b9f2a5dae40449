"""Buffers: memory comes back when the last array that looks at it is gone, and not before."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from multifeed.buffers import ALIGNMENT, Pool
from multifeed.spec import Spec

SPEC = Spec((5, 3), "float32")


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("spec", [Spec((), "int32"), Spec((7,), "uint8"), SPEC])
def test_arrays_are_aligned_and_writable(spec: Spec) -> None:
    """Every lease starts at a multiple of 64 bytes and has the shape and dtype that were asked for."""
    pool = Pool(keep=4)
    arrays = [pool.lease(count, spec) for count in (1, 3, 64)]
    for array in arrays:
        assert address(array) % ALIGNMENT == 0
        assert Spec.of(array[0]) == spec
        array[...] = 1


def test_memory_is_used_again_when_nobody_looks_at_it() -> None:
    """Dropping the array gives its memory to the next lease of its size."""
    pool = Pool(keep=4)
    first = pool.lease(8, SPEC)
    place = address(first)
    del first
    assert address(pool.lease(8, SPEC)) == place


@pytest.mark.parametrize(
    "look",
    [
        lambda array: array[2:5],
        lambda array: array.reshape(-1)[7:],
        lambda array: array.view(np.uint8).T,
        lambda array: memoryview(array),
        lambda array: np.asarray(memoryview(array)),
    ],
)
def test_memory_stays_while_a_view_looks_at_it(look) -> None:
    """A view, or a view of a view, keeps the memory from being leased again."""
    pool = Pool(keep=4)
    array = pool.lease(8, SPEC)
    place = address(array)
    view = look(array)
    del array
    gc.collect()
    assert address(pool.lease(8, SPEC)) != place
    assert pool.leased == 1
    del view
    gc.collect()
    assert pool.leased == 0


def test_no_more_is_kept_than_was_asked_for() -> None:
    """A burst of leases does not stay in memory for ever."""
    pool = Pool(keep=2)
    arrays = [pool.lease(8, SPEC) for _ in range(10)]
    places = {address(array) for array in arrays}
    assert len(places) == 10
    del arrays
    assert sum(len(free) for free in pool._free.values()) == 2


def test_a_shape_without_elements_needs_no_memory() -> None:
    """Zero bytes are no lease."""
    pool = Pool(keep=2)
    assert pool.lease(4, Spec((0,), "float32")).shape == (4, 0)
    assert pool.leased == 0
