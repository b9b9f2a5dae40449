"""Buffers: memory comes back when the last array that looks at it is gone, and not before."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from multifeed.buffers import ALIGNMENT, Pool, aligned, arenas
from multifeed.spec import Spec

SPEC = Spec((5, 3), "float32")


def pool_of(keep_bytes: int = 2**20, **specs: Spec) -> Pool:
    return Pool(specs or {"x": SPEC}, keep_bytes)


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("count", [1, 3, 64])
def test_arrays_are_aligned_writable_and_apart(count: int) -> None:
    """Every array starts at a multiple of 64 bytes, and has memory of its own."""
    specs = {"a": Spec((), "int32"), "b": Spec((7,), "uint8"), "c": SPEC, "d": Spec((0,), "float32")}
    arrays = pool_of(**specs).lease(count)
    for number, (name, spec) in enumerate(specs.items()):
        assert address(arrays[name]) % ALIGNMENT == 0
        assert Spec.of(arrays[name][0]) == spec
        arrays[name][...] = number
    for number, name in enumerate(specs):
        assert (arrays[name] == number).all()


def test_memory_is_used_again_when_nobody_looks_at_it() -> None:
    """Dropping the arrays gives their memory to the next lease of their size."""
    pool = pool_of()
    first = pool.lease(8)["x"]
    place = address(first)
    del first
    assert address(pool.lease(8)["x"]) == place


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
    pool = pool_of()
    array = pool.lease(8)["x"]
    place = address(array)
    view = look(array)
    del array
    gc.collect()
    assert address(pool.lease(8)["x"]) != place
    assert pool.leased == 1
    del view
    gc.collect()
    assert pool.leased == 0


def test_labels_that_are_collected_keep_no_images() -> None:
    """Small fields stand on a lease of their own."""
    pool = pool_of(left=Spec((64,), "uint8"), right=Spec((64,), "uint8"), label=Spec((), "uint8"))
    kept = [pool.lease(8)["label"] for _ in range(5)]
    assert pool.leased == len(kept)
    assert pool.free_bytes == 8 * 128


def test_no_more_is_kept_than_was_asked_for() -> None:
    """A burst of leases does not stay in memory for ever."""
    size = 8 * SPEC.nbytes
    pool = pool_of(keep_bytes=2 * size + 1)
    arrays = [pool.lease(8)["x"] for _ in range(10)]
    assert len({address(array) for array in arrays}) == 10
    del arrays
    assert 2 * size <= pool.free_bytes <= 2 * size + 2 * ALIGNMENT


def test_a_shape_without_elements_is_leased_too() -> None:
    """Zero bytes an array."""
    assert pool_of(x=Spec((0,), "float32")).lease(4)["x"].shape == (4, 0)


def test_memory_for_one_arena_is_never_that_of_another() -> None:
    """Though both have one size: with worker processes, each lies in a file of its own."""
    specs = {"large": Spec((96,), "uint8"), **{name: Spec((3,), "uint8") for name in "abc"}}
    owner: dict[int, int] = {}

    def allocator(number: int):
        def allocate(size: int) -> np.ndarray:
            memory = aligned(size)
            owner[address(memory)] = number
            return memory

        return allocate

    pool = Pool(specs, 2**20, allocate=[allocator(0), allocator(1)])
    count = 2
    assert len({each.size for each in arenas(specs, count)}) == 1
    assert len(arenas(specs, count)) == 2
    for _ in range(5):
        first, second = pool.lease(count), pool.lease(count)
        for leased in (first, second):
            assert owner[address(leased["large"])] == 0
            assert owner[address(leased["a"])] == 1
        del first, second, leased
