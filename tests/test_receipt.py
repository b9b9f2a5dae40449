"""Receipts: what rows come to, in any order and cut into any pieces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multifeed.receipt import MODULUS, receipt, receipt_of_all


@given(st.integers(1, 400), st.integers(0, 2**32), st.integers(1, 40))
def test_pieces_in_any_order_come_to_the_whole(count: int, seed: int, size: int) -> None:
    """Of every row once, whatever the order and the pieces."""
    rows = np.random.default_rng(seed).permutation(count)
    pieces = [receipt(rows[start : start + size]) for start in range(0, count, size)]
    assert sum(pieces) % MODULUS == receipt_of_all(count) == receipt(np.arange(count))


@given(st.integers(3, 400), st.data())
def test_a_row_that_is_lost_or_comes_twice_shows(count: int, data: st.DataObject) -> None:
    """One row in the place of another one, or none."""
    lost, instead = data.draw(st.lists(st.integers(0, count - 1), min_size=2, max_size=2, unique=True))
    rows = np.arange(count)
    assert receipt(np.delete(rows, lost)) != receipt_of_all(count)
    rows[lost] = instead
    assert receipt(rows) != receipt_of_all(count)


@pytest.mark.parametrize("count", [1, 10**6, 2**40])
def test_many_rows_do_not_overflow(count: int) -> None:
    """The closed form is in whole numbers of any size; the last rows alone agree with NumPy's."""
    tail = np.arange(max(0, count - 1_000), count)
    assert (receipt_of_all(count) - receipt_of_all(max(0, count - 1_000))) % MODULUS == receipt(tail)
