"""Splits: no group on both sides, class shares right to within one sample."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import multifeed as mf
from multifeed.split import split_rows

FRACTIONS = st.sampled_from([(0.8, 0.2), (0.5, 0.5), (0.7, 0.2, 0.1), (0.25, 0.25, 0.25, 0.25), (1.0,)])


@given(
    fractions=FRACTIONS,
    classes=st.lists(st.integers(0, 4), min_size=1, max_size=300),
    seed=st.integers(0, 10**6),
)
def test_each_part_has_its_share_of_each_class_to_within_one(
    fractions: tuple[float, ...], classes: list[int], seed: int
) -> None:
    """Every row is in one part, and every class and the whole are within one row of the ideal."""
    codes = np.unique(classes, return_inverse=True)[1]
    parts = split_rows(np.array(fractions), None, codes, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(classes)))
    for fraction, part in zip(fractions, parts, strict=True):
        for label in range(codes.max() + 1):
            ideal = fraction * (codes == label).sum()
            assert abs((codes[part] == label).sum() - ideal) < 1
        assert abs(len(part) - fraction * len(classes)) <= len(fractions)


@given(
    fractions=FRACTIONS,
    groups=st.lists(st.integers(0, 30), min_size=2, max_size=300),
    seed=st.integers(0, 10**6),
)
def test_no_group_is_in_two_parts(fractions: tuple[float, ...], groups: list[int], seed: int) -> None:
    """Every row is in one part, and all rows of a group in the same."""
    codes = np.unique(groups, return_inverse=True)[1]
    parts = split_rows(np.array(fractions), codes, np.zeros(len(codes), int), seed)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(groups)))
    seen = [set(codes[part]) for part in parts]
    assert sum(map(len, seen)) == len(set().union(*seen))


def test_groups_of_one_class_each_still_share_the_classes_out() -> None:
    """Patients of 1 to 5 scans and one diagnosis each: shares are right to within one patient."""
    random = np.random.default_rng(0)
    sizes = random.integers(1, 6, 400)
    patients = np.repeat(np.arange(400), sizes)
    diagnosis = random.integers(0, 3, 400)[patients]
    train, test = split_rows(np.array([0.8, 0.2]), patients, diagnosis, 1)
    for label in range(3):
        ideal = 0.2 * (diagnosis == label).sum()
        assert abs((diagnosis[test] == label).sum() - ideal) <= 5
    assert not set(patients[train]) & set(patients[test])


@pytest.fixture
def people() -> mf.Dataset:
    """60 scans of 20 people, with a rare class."""
    rows = {
        "scan": [f"s{number}" for number in range(60)],
        "person": [f"n{number // 3}" for number in range(60)],
        "sick": [int(number % 10 == 0) for number in range(60)],
        "x": np.arange(60.0),
    }
    return mf.Dataset(rows, key="scan", inputs={"x": mf.Numeric("x", normalize=True)},
                      targets={"sick": mf.Category("sick")})  # fmt: skip


def test_a_split_is_fixed_by_its_seed(people: mf.Dataset) -> None:
    """The same seed gives the same rows; two seeds give different ones."""
    first, again, other = (people.split(0.5, 0.5, seed=seed)[0] for seed in (1, 1, 2))
    assert first.rows["scan"].equals(again.rows["scan"])
    assert not first.rows["scan"].equals(other.rows["scan"])


def test_parts_keep_the_order_of_the_rows(people: mf.Dataset) -> None:
    """Within a part, rows stand as they stood."""
    for part in people.split(0.7, 0.3, by="person", stratify="sick"):
        assert (np.diff(part.rows["x"]) > 0).all()


def test_bad_fractions_are_told(people: mf.Dataset) -> None:
    """Fractions that do not add up are an error with the numbers that came."""
    with pytest.raises(mf.DeclarationError) as caught:
        people.split(0.8, 0.1)
    assert str(caught.value) == (
        "the fractions of a split are above 0 and add up to 1; received (0.8, 0.1).\n"
        "  Write data.split(0.8, 0.1, 0.1)."
    )


def test_an_empty_part_is_told(people: mf.Dataset) -> None:
    """A part without samples is an error that names it."""
    with pytest.raises(mf.DeclarationError) as caught:
        people.select(range(3)).split(0.9, 0.1, by="person")
    assert str(caught.value) == (
        "each part of a split has a sample; part 2 of 2 (0.1 of 3 samples) would be empty.\n"
        "  Pass larger fractions, or a column with more groups than 'person'."
    )


def test_an_unknown_column_is_told(people: mf.Dataset) -> None:
    """The near names are offered."""
    with pytest.raises(mf.DeclarationError) as caught:
        people.split(0.5, 0.5, by="persn")
    assert str(caught.value) == ("the row table has no column 'persn'.\n  Did you mean 'person'?")


@pytest.mark.parametrize("by", [None, "person"])
def test_folds_hold_every_sample_out_once(people: mf.Dataset, by: str | None) -> None:
    """Each sample validates in one fold and trains in the others; no group is on both sides."""
    held_out = []
    for train, val in people.folds(4, by=by, stratify="sick", seed=2):
        scans = [list(part.rows["scan"].to_pylist()) for part in (train, val)]
        assert sorted(scans[0] + scans[1]) == sorted(people.rows["scan"])
        held_out += scans[1]
        if by:
            assert not set(train.rows[by].to_pylist()) & set(val.rows[by].to_pylist())
    assert sorted(held_out) == sorted(people.rows["scan"])


def test_folds_learn_apart(people: mf.Dataset) -> None:
    """Each fold learns from its own training part, also where the whole was adapted before."""
    people.adapt()
    means = set()
    for train, val in people.folds(3, seed=1):
        with pytest.raises(mf.NotAdaptedError):
            val.plan()
        train.adapt()
        means.add(float(val.restore("x", np.zeros((1, 1), np.float32))[0, 0]))
    assert len(means) == 3


def test_too_few_folds_are_told(people: mf.Dataset) -> None:
    """One fold is no cross-validation; more folds than groups leave a part empty."""
    with pytest.raises(mf.DeclarationError) as caught:
        people.folds(1)
    assert str(caught.value) == "cross-validation has 2 or more folds; received 1."
    with pytest.raises(mf.DeclarationError) as caught:
        people.folds(30, by="person")
    assert str(caught.value).startswith("each part of a split has a sample; part ")


def test_a_seed_is_an_integer_of_python_or_numpy(people: mf.Dataset) -> None:
    """NumPy's integers count; anything else is told at once."""
    one, other = (people.split(0.5, 0.5, seed=seed)[0] for seed in (3, np.int64(3)))
    assert one.rows["scan"].equals(other.rows["scan"])
    for seed in (None, 1.5, "a"):
        with pytest.raises(mf.DeclarationError) as caught:
            people.split(0.5, 0.5, seed=seed)
        assert str(caught.value) == f"seed must be a whole number; received {seed!r}."
