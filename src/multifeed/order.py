"""Which rows stand in which slots of an epoch.

An order is a function ``rows(seed, epoch, start, stop)`` that answers for the slots ``start`` to
``stop`` (excluded) with an ``int64`` array of row numbers: ``[stop - start]`` where a sample is one
row, ``[stop - start, k]`` where it is made of ``k`` rows. It is pure: no state, no memory that grows
with the data, the same answer on every machine. Nothing here reads data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

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

# Blocks of `blocked` whose rows are mixed with each other.
WINDOW = 8

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

    def rows(seed: int, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        keys = _round_keys(seed, epoch, _rounds(count))
        return _permuted(np.arange(start, stop, dtype=np.uint64), keys, count).view(np.int64)

    return rows


def blocked(count: int, block: int, window: int = WINDOW) -> Order:
    """Return an order of ``count`` rows that keeps to a few blocks of neighbouring rows at a time.

    The blocks of ``block`` rows are visited in another permutation for each seed and epoch; the rows of
    ``window`` blocks that are visited one after the other are permuted among each other. Every row comes
    exactly once, and a run of slots inside a window reads no more than ``window`` blocks. What is given
    up: rows further apart than a block are never mixed but by the order of the blocks, so that the rows
    of one block, which may be alike, come close to each other in every epoch.

    Computed as `shuffled` is. The last block may be short; it is visited like any other, and the slots
    after its window are counted as if it were not.

    Example:
        >>> rows = blocked(10, block=2, window=2)
        >>> sorted(rows(0, 0, 0, 10).tolist())
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
        >>> sorted(rows(0, 0, 0, 4).tolist())  # those of two blocks
        [0, 1, 4, 5]
    """
    blocks = -(-count // block)
    lacking = blocks * block - count
    span = window * block

    def rows(seed: int, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        keys = _round_keys(seed, epoch, 2 * _ROUNDS_SMALL)
        visiting, mixing = keys[: _rounds(blocks)], keys[_ROUNDS_SMALL:]
        short = int(_unpermuted(np.array([blocks - 1], np.uint64), visiting, blocks)[0])
        short_window = short // window
        slots = np.arange(start, stop, dtype=np.int64)
        # Were all blocks full, slot i would be in window i // span.
        after = min((short_window + 1) * span, blocks * block) - lacking
        number = np.where(slots < after, slots, slots + lacking) // span
        begins = number * span - np.where(number > short_window, lacking, 0)
        sizes = np.minimum(span, blocks * block - number * span)
        sizes -= np.where(number == short_window, lacking, 0)
        mixed = slots - begins
        # All windows have one size, but for the last and that of the short block.
        for size in np.unique(sizes).tolist():
            here = np.flatnonzero(sizes == size)
            own = [_mixed(key, number[here]) for key in mixing[: _rounds(size)]]
            mixed[here] = _permuted(mixed[here].view(np.uint64), own, size).view(np.int64)
        # Places behind the short block, as if it were full.
        short_stop = (short - short_window * window + 1) * block - lacking
        mixed[(number == short_window) & (mixed >= short_stop)] += lacking
        visit, place = np.divmod(mixed, block)
        visit += number * window
        found = _permuted(visit.view(np.uint64), visiting, blocks).view(np.int64)
        found *= block
        found += place
        return found

    return rows


def drawn(rows: NDArray[np.int64], edges: NDArray[np.float64]) -> Order:
    """Return an order in which each row comes in proportion to its share, as evenly as can be.

    The shares lie side by side on a line as long as the epoch. Its slots are points on it, one apart
    from each other, and a slot holds the row on whose share it lies ("systematic sampling"): a share of
    2.3 has two or three of them, one of 0.2 none or one, whatever the epoch. From each epoch to the next
    all points move on by the golden ratio, the number that is furthest from all fractions: over the
    epochs a share is hit as often as it is long, and never waits for more than thrice the inverse of its
    length. Which point is which slot is shuffled.

    Args:
        rows: ``int64[m]``, the rows, in the order in which their shares lie on the line.
        edges: ``float64[m]``, where the share of each ends. The last is the number of slots.

    Example:
        >>> rows = drawn(np.array([0, 1]), np.array([3.0, 4.0]))
        >>> sorted(rows(0, 0, 0, 4).tolist())
        [0, 0, 0, 1]
    """
    count = round(float(edges[-1])) if len(edges) else 0
    shuffle = shuffled(count)

    def order(seed: int, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        # In the middle between two multiples of 2^-20, so that the rounding of edges decides nothing.
        part = (_round_keys(seed, 0, 1)[0] + epoch * _GOLDEN & _MASK) >> 44
        points = shuffle(seed, epoch, start, stop) + (part + 0.5) / (1 << 20)
        found: NDArray[np.int64] = rows[np.searchsorted(edges, points, side="right")]
        return found

    return order


def permuted(
    places: NDArray[np.int64], count: int, seed: int, epoch: int, stream: int
) -> NDArray[np.int64]:
    """Return where a permutation of ``range(count)`` sends places; another for each stream.

    Args:
        places: ``int64[n]``, 0 … count - 1.
        count: Of how many.
        seed: Any integer.
        epoch: 0 or more.
        stream: 0 or more.
    """
    keys = _round_keys(mixed_seed(seed, stream), epoch, _rounds(count))
    return _permuted(places.view(np.uint64), keys, count).view(np.int64)


def mixed_seed(seed: int, stream: int) -> int:
    """Return a seed of its own for each stream, 0 or more; for stream 0 the seed itself."""
    return _mix(_mix(seed & _MASK) ^ stream * _MIX_1 & _MASK) if stream else seed


# A key for all cells, or one for each.
_Key = int | NDArray[np.uint64]


def _rounds(count: int) -> int:
    return _ROUNDS_SMALL if count < _SMALL else _ROUNDS_LARGE


def _grid(count: int) -> tuple[int, int]:
    """Return the (height, width) of the grid for ``range(count)``."""
    height = math.isqrt(count - 1) + 1 if count > 1 else 1
    return height, -(-count // height) if count else 1


def _permuted(numbers: NDArray[np.uint64], keys: Sequence[_Key], count: int) -> NDArray[np.uint64]:
    """Return where the permutation of ``range(count)`` sends numbers."""
    cells = _permute(numbers, keys, *_grid(count))
    outside = np.flatnonzero(cells >= count)
    while outside.size:
        own = [key if isinstance(key, int) else key[outside] for key in keys]
        cells[outside] = _permute(cells[outside], own, *_grid(count))
        outside = outside[cells[outside] >= count]
    return cells


def _unpermuted(numbers: NDArray[np.uint64], keys: Sequence[int], count: int) -> NDArray[np.uint64]:
    """Return which numbers the permutation of ``range(count)`` sends here."""
    cells = _unpermute(numbers, keys, *_grid(count))
    outside = np.flatnonzero(cells >= count)
    while outside.size:
        cells[outside] = _unpermute(cells[outside], keys, *_grid(count))
        outside = outside[cells[outside] >= count]
    return cells


def _permute(
    cells: NDArray[np.uint64], keys: Sequence[_Key], height: int, width: int
) -> NDArray[np.uint64]:
    """Send every cell of the ``height`` x ``width`` grid through the network once."""
    left, right = np.divmod(cells, np.uint64(width))
    for number, key in enumerate(keys):
        target, source, size = (right, left, width) if number % 2 else (left, right, height)
        target += _hashed(source, key, size)
        # Both terms are below size. Where target - size wraps around, it is the larger of the two.
        np.minimum(target, target - np.uint64(size), out=target)
    left *= np.uint64(width)
    left += right
    return left


def _unpermute(
    cells: NDArray[np.uint64], keys: Sequence[int], height: int, width: int
) -> NDArray[np.uint64]:
    """Send every cell of the ``height`` x ``width`` grid back through the network once."""
    left, right = np.divmod(cells, np.uint64(width))
    for number, key in reversed(list(enumerate(keys))):
        target, source, size = (right, left, width) if number % 2 else (left, right, height)
        target -= _hashed(source, key, size)
        # Where the difference wraps around, adding size wraps it back.
        np.minimum(target, target + np.uint64(size), out=target)
    return left * np.uint64(width) + right


def _hashed(source: NDArray[np.uint64], key: _Key, size: int) -> NDArray[np.uint64]:
    """Return a hash of ``source`` below ``size``."""
    hashed: NDArray[np.uint64] = source ^ (np.uint64(key) if isinstance(key, int) else key)
    hashed *= np.uint64(_MIX_1)
    hashed ^= hashed >> np.uint64(29)
    hashed *= np.uint64(_MIX_2)
    hashed >>= np.uint64(32)
    # The high 32 bits as a fraction of 2**32, times size: below size, and without a division.
    hashed *= np.uint64(size)
    hashed >>= np.uint64(32)
    return hashed


def _round_keys(seed: int, epoch: int, rounds: int) -> list[int]:
    """Derive one 64-bit key a round: SplitMix64 started at a mixture of seed and epoch."""
    state = _mix(_mix(seed & _MASK) + epoch & _MASK)
    return [_mix(state + number * _GOLDEN & _MASK) for number in range(1, rounds + 1)]


def _mix(value: int) -> int:
    value = (value + _GOLDEN) & _MASK
    value = ((value ^ value >> 30) * _MIX_1) & _MASK
    value = ((value ^ value >> 27) * _MIX_2) & _MASK
    return value ^ value >> 31


def _mixed(key: int, numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return a key of its own for each number: `_mix` of the key and the number."""
    values = numbers.astype(np.uint64) + np.uint64(key)
    values += np.uint64(_GOLDEN)
    values ^= values >> np.uint64(30)
    values *= np.uint64(_MIX_1)
    values ^= values >> np.uint64(27)
    values *= np.uint64(_MIX_2)
    values ^= values >> np.uint64(31)
    return values


def whole_seed(seed: object) -> int:
    """Return a seed as Python's own integer.

    Raises:
        DeclarationError: If it is no integer.
    """
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool):
        raise DeclarationError(f"seed must be a whole number; received {seed!r}.")
    return int(seed)
