"""Which rows stand in which slots of an epoch.

An order is a function ``rows(seed, epoch, start, stop)`` that answers for the slots ``start`` to
``stop`` (excluded) with an ``int64`` array of row numbers: ``[stop - start]`` where a sample is one
row, ``[stop - start, k]`` where it is made of ``k`` rows. It is pure: no state, no memory that grows
with the data, the same answer on every machine. Nothing here reads data.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from multifeed.errors import DeclarationError

Order = Callable[[int, int, int, int], NDArray[np.int64]]

# Rounds of the network. In tiny epochs each round decides among few cells, so more are needed: with
# eight, where a row lands is still measurably uneven for five to ten rows (chi-square over 100,000
# seeds); with twelve it is not. In large ones six are two more than Luby and Rackoff's proof asks for.
# A slot then costs 10 ns in blocks of 16,384.
_ROUNDS_SMALL, _ROUNDS_LARGE = 12, 6
_SMALL = 4_096

_MASK = (1 << 64) - 1
# Odd multipliers of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators,
# 2014) and of its finalizer as improved by Stafford ("variant 13").
_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB


def sequential(count: int) -> Order:
    """Return the order in which slot ``i`` holds row ``i``, in every epoch."""

    def rows(seed: int, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        return np.arange(start, stop, dtype=np.int64)

    return rows


def shuffled(count: int) -> Order:
    """Return an order that is another permutation of ``count`` rows for each seed and epoch.

    The permutation is computed, not stored: a Feistel network over a grid of ``a * b >= count``
    cells (the "generalized Feistel cipher" of Black and Rogaway, Ciphers with arbitrary finite
    domains, 2002). A row number is split into (left, right) = (x // b, x % b); each round adds a keyed
    hash of one half to the other, modulo that half's size, which is invertible whatever the hash. So
    the network permutes the grid, and a cell outside ``count`` is sent through again until it falls
    inside ("cycle walking"), which permutes ``range(count)``. With a and b near the square root,
    fewer than one cell in sqrt(count) lies outside.

    Example:
        >>> rows = shuffled(5)
        >>> sorted(rows(0, 0, 0, 5).tolist())
        [0, 1, 2, 3, 4]
    """
    rounds = _ROUNDS_SMALL if count < _SMALL else _ROUNDS_LARGE
    height = math.isqrt(count - 1) + 1 if count > 1 else 1
    width = -(-count // height) if count else 1

    def rows(seed: int, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        keys = _round_keys(seed, epoch, rounds)
        cells = _permute(np.arange(start, stop, dtype=np.uint64), keys, height, width)
        outside = np.flatnonzero(cells >= count)
        while outside.size:
            cells[outside] = _permute(cells[outside], keys, height, width)
            outside = outside[cells[outside] >= count]
        return cells.view(np.int64)

    return rows


def _permute(cells: NDArray[np.uint64], keys: list[int], height: int, width: int) -> NDArray[np.uint64]:
    """Send every cell of the ``height`` x ``width`` grid through the network once."""
    left, right = np.divmod(cells, np.uint64(width))
    for number, key in enumerate(keys):
        if number % 2:
            _add_hash(right, left, key, width)
        else:
            _add_hash(left, right, key, height)
    left *= np.uint64(width)
    left += right
    return left


def _add_hash(target: NDArray[np.uint64], source: NDArray[np.uint64], key: int, size: int) -> None:
    """Add a hash of ``source`` below ``size`` to ``target``, modulo ``size``, in place."""
    hashed = source ^ np.uint64(key)
    hashed *= np.uint64(_MIX_1)
    hashed ^= hashed >> np.uint64(29)
    hashed *= np.uint64(_MIX_2)
    hashed >>= np.uint64(32)
    # The high 32 bits as a fraction of 2**32, times size: below size, and without a division.
    hashed *= np.uint64(size)
    hashed >>= np.uint64(32)
    target += hashed
    # Both terms are below size. Where target - size wraps around, it is the larger of the two.
    np.minimum(target, target - np.uint64(size), out=target)


def _round_keys(seed: int, epoch: int, rounds: int) -> list[int]:
    """Derive one 64-bit key a round: SplitMix64 started at a mixture of seed and epoch."""
    state = _mix(_mix(seed & _MASK) + epoch & _MASK)
    return [_mix(state + number * _GOLDEN & _MASK) for number in range(1, rounds + 1)]


def _mix(value: int) -> int:
    value = (value + _GOLDEN) & _MASK
    value = ((value ^ value >> 30) * _MIX_1) & _MASK
    value = ((value ^ value >> 27) * _MIX_2) & _MASK
    return value ^ value >> 31


def whole_seed(seed: object) -> int:
    """Return a seed as Python's own integer.

    Raises:
        DeclarationError: If it is no integer.
    """
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool):
        raise DeclarationError(f"seed must be a whole number; received {seed!r}.")
    return int(seed)
