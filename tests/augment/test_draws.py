"""Random numbers by position: uniform, independent, and the same wherever they are asked for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from multifeed.augment.draws import between, generator, uniforms

# As first computed; whoever changes them changes everybody's training.
GOLDEN = [
    [
        "0x1.fc3914f52e980p-4",
        "0x1.9fc43b4e20d62p-2",
        "0x1.24b2e41177aa5p-1",
        "0x1.54ee83b93de5ep-2",
        "0x1.dbf7b9bcaaa0dp-1",
    ],
    [
        "0x1.3d697caa8d0fcp-3",
        "0x1.e772afd96d6dep-2",
        "0x1.ab4183c1e1bd8p-2",
        "0x1.a1850d6ae4db6p-1",
        "0x1.5560cc88906b0p-2",
    ],
]
GOLDEN_GENERATOR = [3480432385, 823820612, 1476073067, 1380007858]
# Of 1,000 such tests, one fails by chance; the numbers are fixed, so these do not.
ALPHA = 1e-3


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return the p-value of there being no correlation between two streams of numbers."""
    return float(stats.pearsonr(one.ravel(), other.ravel()).pvalue)


def test_golden_values() -> None:
    """The numbers of a position are the same on every machine and in every version."""
    found = uniforms(7, 3, 2, 5, 7, 5)
    assert found.shape == (2, 5)
    assert [[number.hex() for number in slot] for slot in found.tolist()] == GOLDEN
    assert generator(7, 3, 2, 5).integers(0, 2**32, 4).tolist() == GOLDEN_GENERATOR


@pytest.mark.parametrize("seed", [0, 12345])
def test_they_are_uniform(seed: int) -> None:
    """Kolmogorov-Smirnov over all, chi-square over 64 bins of each number of a slot."""
    numbers = uniforms(seed, 0, 0, 0, 20_000, 7)
    assert 0 <= numbers.min() < 1e-4 < 1 - 1e-4 < numbers.max() < 1
    assert stats.kstest(numbers.ravel(), "uniform").pvalue > ALPHA
    for column in numbers.T:
        counts = np.bincount((column * 64).astype(int), minlength=64)
        assert stats.chisquare(counts).pvalue > ALPHA


@pytest.mark.parametrize("seed", [1, -99])
def test_numbers_of_other_positions_are_independent(seed: int) -> None:
    """Pairs of neighbouring seeds, epochs, transforms, draws, slots and numbers fill a square evenly."""
    here = uniforms(seed, 4, 1, 0, 20_000, 4)
    others = {
        "seed": uniforms(seed + 1, 4, 1, 0, 20_000, 4),
        "epoch": uniforms(seed, 5, 1, 0, 20_000, 4),
        "transform": uniforms(seed, 4, 2, 0, 20_000, 4),
        "draw": uniforms(seed, 4, 1, 0, 20_000, 4, draw=1),
        "slot": uniforms(seed, 4, 1, 1, 20_001, 4),
        "number": np.roll(here, 1, axis=1),
        "epoch and transform exchanged": uniforms(seed, 1, 4, 0, 20_000, 4),
    }
    for what, other in others.items():
        assert not (here == other).any(), what
        assert correlation(here, other) > ALPHA, what
        pairs, _, _ = np.histogram2d(here.ravel(), other.ravel(), bins=16, range=[[0, 1], [0, 1]])
        assert stats.chisquare(pairs.ravel()).pvalue > ALPHA, what


@pytest.mark.parametrize("count", [1, 2, 4, 5, 9])
def test_a_slot_has_its_numbers_whatever_it_is_asked_with(count: int) -> None:
    """All at once, in runs of any length from any start, and one by one."""
    whole = uniforms(3, 1, 2, 0, 101, count)
    for size in (1, 7, 32, 100):
        pieces = [
            uniforms(3, 1, 2, start, min(start + size, 101), count) for start in range(0, 101, size)
        ]
        np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_no_numbers_for_no_slots_or_none_wanted() -> None:
    """An empty run and a transform without randomness are no special case to the caller."""
    assert uniforms(0, 0, 0, 4, 4, 3).shape == (0, 3)
    assert uniforms(0, 0, 0, 4, 9, 0).shape == (5, 0)


def test_generators_of_slots_are_independent_of_each_other_and_of_uniforms() -> None:
    """Pairwise, the first 4,000 numbers of each; and a generator begins anew at each call."""
    streams = {
        "slot 0": generator(5, 0, 0, 0).random(4_000),
        "slot 1": generator(5, 0, 0, 1).random(4_000),
        "epoch 1": generator(5, 1, 0, 0).random(4_000),
        "transform 1": generator(5, 0, 1, 0).random(4_000),
        "draw 1": generator(5, 0, 0, 0, draw=1).random(4_000),
        "seed 6": generator(6, 0, 0, 0).random(4_000),
        "uniforms": uniforms(5, 0, 0, 0, 1_000, 4).ravel(),
    }
    names = list(streams)
    for place, name in enumerate(names):
        assert stats.kstest(streams[name], "uniform").pvalue > ALPHA
        for other in names[place + 1 :]:
            assert not np.isin(streams[name], streams[other]).any(), (name, other)
            assert correlation(streams[name], streams[other]) > ALPHA, (name, other)
    np.testing.assert_array_equal(generator(5, 0, 0, 0).random(4_000), streams["slot 0"])


def test_any_whole_number_is_a_seed() -> None:
    """Negative and large seeds give numbers of their own."""
    seeds = [0, 1, -1, 2**32, 2**32 + 1, 2**63, 10**30]
    firsts = {uniforms(seed, 0, 0, 0, 1, 1).item() for seed in seeds}
    assert len(firsts) == len(seeds)


def test_global_random_state_is_left_alone() -> None:
    """Neither is it used, nor is it moved."""
    np.random.seed(1)
    expected = np.random.random(3)
    np.random.seed(1)
    before = uniforms(0, 0, 0, 0, 4, 4), generator(0, 0, 0, 0).random(4)
    np.testing.assert_array_equal(np.random.random(3), expected)
    after = uniforms(0, 0, 0, 0, 4, 4), generator(0, 0, 0, 0).random(4)
    np.testing.assert_array_equal(before[0], after[0])
    np.testing.assert_array_equal(before[1], after[1])


def test_between_reaches_its_bounds() -> None:
    """0 gives the lower one, and equal bounds give that value."""
    assert between(np.array([0.0, 0.5]), -2, 4).tolist() == [-2.0, 1.0]
    assert between(np.array([0.0, 0.7]), 3, 3).tolist() == [3.0, 3.0]
