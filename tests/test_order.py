"""Order: which rows stand in which slots."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multifeed.order import Order, sequential, shuffled

SEEDS = st.integers(-(2**70), 2**70)


@given(count=st.integers(1, 3_000), seed=SEEDS, epoch=st.integers(0, 10**9))
def test_every_row_stands_in_exactly_one_slot(count: int, seed: int, epoch: int) -> None:
    """A shuffled epoch is a permutation of all rows."""
    rows = shuffled(count)(seed, epoch, 0, count)
    assert rows.dtype == np.int64
    np.testing.assert_array_equal(np.sort(rows), np.arange(count))


@given(data=st.data(), count=st.integers(1, 10_000), seed=SEEDS)
def test_a_slot_holds_the_same_row_whatever_is_asked_with_it(
    data: st.DataObject, count: int, seed: int
) -> None:
    """Any run of slots is the same run of the whole epoch."""
    start = data.draw(st.integers(0, count))
    stop = data.draw(st.integers(start, count))
    whole = shuffled(count)(seed, 3, 0, count)
    np.testing.assert_array_equal(shuffled(count)(seed, 3, start, stop), whole[start:stop])


@pytest.mark.parametrize(
    ("count", "seed", "epoch", "golden"),
    [
        (10, 0, 0, [7, 5, 0, 9, 3, 8, 1, 2]),
        (1_000_000, 7, 3, [343273, 855030, 818667, 948228, 567575, 578006, 412412, 965926]),
    ],
)
def test_the_order_is_the_same_on_every_machine_and_in_every_version(
    count: int, seed: int, epoch: int, golden: list[int]
) -> None:
    """The first eight rows are those of the release that froze them."""
    assert shuffled(count)(seed, epoch, 0, 8).tolist() == golden


def test_seeds_and_epochs_give_orders_of_their_own() -> None:
    """Two seeds differ, two epochs differ, and (seed, epoch) is not mixed up with (epoch, seed)."""
    rows = shuffled(1_000)
    orders = {tuple(rows(seed, epoch, 0, 1_000)) for seed in range(20) for epoch in range(20)}
    assert len(orders) == 400


def test_a_billion_rows_cost_no_memory() -> None:
    """At 10^9 rows a batch takes memory for the batch alone."""
    tracemalloc.start()
    rows = shuffled(10**9)(1, 2, 999_999_000, 10**9)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(set(rows.tolist())) == 1_000
    assert rows.min() >= 0
    assert rows.max() < 10**9
    assert peak < 200_000


def chi_square(seen: np.ndarray) -> float:
    """Return how many standard deviations the chi-square statistic lies above its mean."""
    expected = seen.mean()
    statistic = ((seen - expected) ** 2 / expected).sum()
    freedom = seen.size - 1
    return float((statistic - freedom) / np.sqrt(2 * freedom))


@pytest.mark.parametrize("count", [2, 3, 5, 7, 10, 25])
def test_over_seeds_every_row_is_as_likely_in_every_slot(count: int) -> None:
    """Chi-square of the (slot, row) table, and of the pairs of rows in the first two slots."""
    table = np.zeros((count, count))
    pairs = np.zeros((count, count))
    rows: Order = shuffled(count)
    for seed in range(10_000):
        order = rows(seed, 0, 0, count)
        table[np.arange(count), order] += 1
        pairs[order[0], order[1]] += 1
    assert chi_square(table) < 5
    assert chi_square(pairs[~np.eye(count, dtype=bool)]) < 5


def test_in_large_epochs_neighbours_are_independent() -> None:
    """Where a row of a long epoch lands says nothing about where the next one lands."""
    count, bins = 5_000, 10
    places = np.zeros((bins, bins))
    neighbours = np.zeros((bins, bins))
    for seed in range(300):
        order = shuffled(count)(seed, seed % 7, 0, count) * bins // count
        np.add.at(places, (np.arange(count) * bins // count, order), 1)
        np.add.at(neighbours, (order[:-1], order[1:]), 1)
    assert chi_square(places) < 5
    assert chi_square(neighbours) < 5


def test_sequential_is_the_rows_as_they_stand() -> None:
    """Without shuffling, slot i holds row i, whatever seed and epoch."""
    assert sequential(10)(3, 4, 2, 6).tolist() == [2, 3, 4, 5]
