"""Random numbers by position: those of a slot are a function of (seed, epoch, slot, transform) alone.

Philox is a counter-based generator (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
SC 2011): its n-th block of four 64-bit words is a function of a key and of n. The key is made of seed,
epoch and transform, the counter of the slot. So the numbers of many slots come from one call, those of
any slot can be had without the slots before it, and both are the same.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

NDArray = np.ndarray[Any, Any]

# 64-bit words that one counter gives.
_WORDS = 4


@lru_cache(maxsize=256)
def _key(seed: int, epoch: int, transform: int, draw: int) -> NDArray:
    # SeedSequence takes integers that are not negative, and as many words as each has: two for the seed
    # always, so that no two positions give one list.
    low, high = seed % 2**32, seed // 2**32 % 2**32
    entropy = [low, high, epoch, transform, draw]
    return np.random.SeedSequence(entropy).generate_state(2, np.uint64)


def uniforms(
    seed: int, epoch: int, transform: int, start: int, stop: int, count: int, *, draw: int = 0
) -> NDArray:
    """Return uniform numbers of the slots `start` to `stop`, ``float64[stop - start, count]``.

    They are at least 0 and below 1, and independent of each other, and of those for any other slot,
    epoch, transform, draw or seed.

    Args:
        seed: Any integer; those that differ by a multiple of 2^64 are one.
        epoch: 0 or more.
        transform: The number of the transform in its list.
        start: The first slot.
        stop: The slot after the last.
        count: How many numbers a slot gets.
        draw: 0 for the draw that a batch has; any other gives other numbers.
    """
    numbers = words(seed, epoch, transform, start, stop, count, draw=draw)
    # The 53 upper bits, as NumPy makes doubles: every multiple of 2^-53 below 1 is as likely.
    uniform: NDArray = (numbers >> np.uint64(11)) * 2.0**-53
    return uniform


def words(
    seed: int,
    epoch: int,
    transform: int,
    start: int,
    stop: int,
    count: int,
    *,
    draw: int = 0,
    stream: int = 0,
) -> NDArray:
    """Return random words of the slots `start` to `stop`, ``uint64[stop - start, count]``.

    Args:
        seed: As for `uniforms`, as all else.
        epoch: 0 or more.
        transform: The number of the transform in its list.
        start: The first slot.
        stop: The slot after the last.
        count: How many words a slot gets.
        draw: 0 for the draw that a batch has.
        stream: 0 for the words that `uniforms` is made of; from 2 on others, 1 is for `generator`.
    """
    blocks = -(-count // _WORDS)
    if not blocks or stop == start:
        return np.empty((stop - start, count), np.uint64)
    # The slot counts in the lowest of the counter's words, the stream in the highest.
    counter = start * blocks + (stream << 192)
    philox = np.random.Philox(counter=counter, key=_key(seed, epoch, transform, draw))
    numbers = philox.random_raw((stop - start) * blocks * _WORDS)
    return numbers.reshape(stop - start, blocks * _WORDS)[:, :count]


def generator(seed: int, epoch: int, transform: int, slot: int, *, draw: int = 0) -> np.random.Generator:
    """Return a generator for one slot, for as many numbers as anybody wants.

    Its numbers are independent of those of `uniforms` and of other slots' generators.
    """
    # `uniforms` counts in the lowest word of the counter; here the slot stands in the third, which
    # leaves 2^128 blocks to each.
    counter = np.array([0, 0, slot, 1], np.uint64)
    return np.random.Generator(np.random.Philox(counter=counter, key=_key(seed, epoch, transform, draw)))


def between(numbers: NDArray, low: float, high: float) -> NDArray:
    """Return uniform numbers from `low` to `high`, given some from 0 to 1."""
    return low + (high - low) * numbers
