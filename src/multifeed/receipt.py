"""Receipts: what rows that were written come to, so that nobody can lose or repeat one unnoticed."""

from __future__ import annotations

import numpy as np

# Receipts are added up modulo this, so that a sum of several still fits into 64 bits with a sign.
MODULUS = 2**62
# An odd number without a pattern: that of SplitMix64.
_FACTOR = 0x9E3779B97F4A7C15


def receipt(rows: np.ndarray) -> int:
    """Return what rows, ``int64[n]`` or ``[n, k]``, come to in any order: 0 to 2^62 - 1.

    Of different rows it is the same once in 2^62 times, unless sum and sum of squares are the same.
    """
    rows = rows.ravel()
    # NumPy's sums are modulo 2^64, of which the modulus is a divisor.
    return _receipt(len(rows), int(rows.sum()), int(rows.dot(rows)))


def firsts(rows: np.ndarray) -> np.ndarray:
    """Return the first row of each slot, ``int64[n]``, of ``int64[n]`` or ``[n, k]``."""
    return rows if rows.ndim == 1 else rows[:, 0]


def receipt_of_all(count: int) -> int:
    """Return what the rows 0 to `count` - 1 come to."""
    return _receipt(count, count * (count - 1) // 2, (count - 1) * count * (2 * count - 1) // 6)


def _receipt(count: int, total: int, squares: int) -> int:
    """Return what follows from the sums of rows and of their squares."""
    # Row 0 shall count as well: of the rows plus 1.
    return total + count + _FACTOR * (squares + 2 * total + count) & MODULUS - 1
