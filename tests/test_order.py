"""Order: which rows stand in which slots."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multifeed.order import Order, blocked, sequential, shuffled

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


def blocks_of(rows: np.ndarray, block: int) -> int:
    """Return how many blocks some rows are in."""
    return len(np.unique(rows // block))


def test_every_small_block_shuffle_is_a_permutation_that_keeps_to_its_window() -> None:
    """All counts up to 40, blocks up to 12 and windows up to 4: each row once, few blocks at a time."""
    for count in range(1, 41):
        for block in range(1, 13):
            for window in range(1, 5):
                order = blocked(count, block, window)
                whole = order(count, block, 0, count)
                assert whole.dtype == np.int64
                np.testing.assert_array_equal(np.sort(whole), np.arange(count))
                visited = list(dict.fromkeys((whole // block).tolist()))
                start = 0
                for first in range(0, -(-count // block), window):
                    here = np.isin(whole // block, visited[first : first + window])
                    size = int(here.sum())
                    assert here[start : start + size].all()
                    start += size


@given(
    data=st.data(), count=st.integers(1, 5_000), block=st.integers(1, 700), window=st.integers(1, 9),
    seed=SEEDS, epoch=st.integers(0, 10**9),
)  # fmt: skip
def test_a_slot_of_a_block_shuffle_holds_the_same_row_whatever_is_asked_with_it(
    data: st.DataObject, count: int, block: int, window: int, seed: int, epoch: int
) -> None:
    """Any run of slots is the same run of the whole epoch, which is a permutation."""
    order = blocked(count, block, window)
    start = data.draw(st.integers(0, count))
    stop = data.draw(st.integers(start, count))
    whole = order(seed, epoch, 0, count)
    np.testing.assert_array_equal(np.sort(whole), np.arange(count))
    np.testing.assert_array_equal(order(seed, epoch, start, stop), whole[start:stop])


def test_block_shuffles_of_seeds_and_epochs_are_orders_of_their_own() -> None:
    """Two seeds differ, two epochs differ: in which blocks meet, and in the order within them."""
    order = blocked(1_000, 25, 4)
    epochs = [order(seed, epoch, 0, 1_000) for seed in range(10) for epoch in range(10)]
    assert len({tuple(rows) for rows in epochs}) == 100
    assert len({frozenset((rows[:100] // 25).tolist()) for rows in epochs}) > 90


def test_the_block_shuffle_is_the_same_on_every_machine_and_in_every_version() -> None:
    """The first eight rows are those of the release that froze them."""
    assert blocked(1_000_000, 223)(7, 3, 0, 8).tolist() == [
        712836,
        536760,
        167627,
        114641,
        824486,
        712750,
        114639,
        536552,
    ]


def test_a_short_block_is_visited_like_any_other() -> None:
    """Over seeds, each block, the short one too, is as likely in each window; so is each of its rows."""
    table = np.zeros((7, 3))
    first = np.zeros(20)
    for seed in range(3_000):
        rows = blocked(20, 3, 3)(seed, 0, 0, 20)
        visited = list(dict.fromkeys((rows // 3).tolist()))
        for place, block in enumerate(visited):
            table[block, place // 3] += 1
        first[rows[0]] += 1
    # Two windows have three blocks each, the last has one.
    np.testing.assert_allclose(table / 3_000, np.tile([3 / 7, 3 / 7, 1 / 7], (7, 1)), atol=0.04)
    assert first.min() > 60


def test_a_billion_rows_in_blocks_cost_no_memory() -> None:
    """At 10^9 rows a batch takes memory for the batch alone."""
    tracemalloc.start()
    rows = blocked(10**9, 100)(1, 2, 999_999_000, 10**9)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(set(rows.tolist())) == 1_000
    assert blocks_of(rows[:700], 100) <= 16
    assert peak < 400_000
