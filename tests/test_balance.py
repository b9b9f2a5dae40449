"""Balance: in every epoch each class, and each row, comes as often as its share says."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import multifeed as mf

KINDS = ["a"] * 70 + ["b"] * 25 + ["c"] * 5


def data_of(kinds: list[Any] = KINDS, **columns: Any) -> mf.Dataset:
    """Return samples that carry their row number, of these kinds."""
    rows = {"row": np.arange(len(kinds)), "kind": kinds, **columns}
    return mf.Dataset(
        rows, inputs=mf.Array("row"), targets=mf.Category("kind", vocabulary=sorted(set(kinds)))
    )


def served(feed: mf.Feed, epoch: int) -> np.ndarray:
    """Return the rows of an epoch."""
    return np.concatenate([feed.rows(epoch, step) for step in range(len(feed))])


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=6),
    shares=st.lists(st.integers(0, 9), min_size=6, max_size=6),
    seed=st.integers(-(2**70), 2**70),
    epoch=st.integers(0, 10**9),
)
def test_each_comes_as_often_as_its_share_says(
    sizes: list[int], shares: list[int], seed: int, epoch: int
) -> None:
    """Classes and rows, in any epoch, rounded down or up; what is whole is exact."""
    shares = shares[: len(sizes)]
    if not any(shares):
        shares[-1] = 1
    kinds = np.repeat(np.arange(len(sizes)), sizes)
    kinds = kinds[np.random.default_rng(0).permutation(len(kinds))]
    data = data_of(kinds.tolist())
    feed = mf.Feed(data, 7, shuffle=True, seed=seed, balance={"kind": dict(enumerate(shares))})
    rows = served(feed, epoch)
    assert len(rows) == len(data)
    counts = np.bincount(rows, minlength=len(data))
    for kind, (size, share) in enumerate(zip(sizes, shares, strict=True)):
        quota = len(data) * share / sum(shares)
        own = counts[kinds == kind]
        assert np.floor(quota - 1e-6) <= own.sum() <= np.ceil(quota + 1e-6)
        assert own.min() >= np.floor(quota / size - 1e-6)
        assert own.max() <= np.ceil(quota / size + 1e-6)


@settings(deadline=None)
@given(weights=st.lists(st.integers(0, 50), min_size=1, max_size=60), epoch=st.integers(0, 10**6))
def test_samples_come_in_proportion_to_their_weights(weights: list[int], epoch: int) -> None:
    """Each as often as its weight says, rounded down or up; those of weight 0 never."""
    if not any(weights):
        weights[0] = 1
    data = data_of(["a"] * len(weights), weight=np.array(weights, np.float64))
    rows = served(mf.Feed(data, 7, shuffle=True, sampling="weight"), epoch)
    counts = np.bincount(rows, minlength=len(data))
    quotas = np.array(weights) * len(weights) / sum(weights)
    assert (counts >= np.floor(quotas - 1e-6)).all()
    assert (counts <= np.ceil(quotas + 1e-6)).all()


def test_a_balanced_epoch_has_as_many_of_each_class() -> None:
    """Three classes of 70, 25 and 5 samples; a rare one comes six or seven times, evenly."""
    feed = mf.Feed(data_of(), 10, shuffle=True, balance="kind")
    for epoch in range(5):
        counts = np.bincount(served(feed, epoch), minlength=100)
        assert {counts[:70].sum(), counts[70:95].sum(), counts[95:].sum()} <= {33, 34}
        assert set(counts[95:]) <= {6, 7}
        assert set(counts[:70]) <= {0, 1}


def test_no_sample_of_a_frequent_class_is_left_out_for_ever() -> None:
    """Over the epochs all come equally often to within two, and none waits thrice its turn."""
    data = data_of(["a"] * 180 + ["b"] * 20)
    feed = mf.Feed(data, 50, shuffle=True, seed=3, balance="kind")
    comes = np.stack([np.bincount(served(feed, epoch), minlength=200) for epoch in range(180)])
    assert abs(comes.sum(0)[:180] - 100).max() <= 2
    assert abs(comes.sum(0)[180:] - 900).max() <= 2
    turn = 180 / 100
    for row in range(180):
        epochs = np.flatnonzero(comes[:, row])
        assert np.diff(epochs, prepend=-1, append=180).max() <= np.ceil(3 * turn)


def test_the_seed_and_the_epoch_are_the_order() -> None:
    """Two feeds of one seed serve the same; other seeds and epochs have other orders and draws."""
    feeds = [mf.Feed(data_of(), 10, shuffle=True, seed=seed, balance="kind") for seed in (1, 1, 2)]
    same, again, other = (served(feed, 4) for feed in feeds)
    np.testing.assert_array_equal(same, again)
    assert (np.sort(same) != np.sort(other)).any()
    assert (np.sort(same) != np.sort(served(feeds[0], 5))).any()


@pytest.mark.parametrize("options", [{"balance": "kind"}, {"sampling": "weight"}])
@pytest.mark.parametrize("engine", [{}, {"workers": 2}, {"processes": 1}])
@pytest.mark.parametrize("remainder", ["keep", "drop", "pad"])
def test_every_engine_serves_the_rows(
    options: dict[str, str], engine: dict[str, int], remainder: str
) -> None:
    """In memory, on threads and in processes; each pass is proven."""
    preprocess = (lambda values: values) if engine else None
    data = mf.Dataset(
        {"row": np.arange(100)[:, None], "kind": KINDS, "weight": np.arange(100.0)},
        inputs=mf.Array("row", preprocess=preprocess),
        targets=mf.Category("kind", vocabulary=["a", "b", "c"]),
    )
    with mf.Feed(data, 8, shuffle=True, remainder=remainder, **options, **engine) as feed:
        for epoch in range(2):
            for step, (rows, *_) in enumerate(feed):
                wanted = feed.rows(epoch, step)
                assert rows[: len(wanted), 0].tolist() == wanted.tolist()
            assert step == len(feed) - 1
        report = feed.report()
        assert report.passes == 2
        assert report.samples == 2 * (96 if remainder == "drop" else 100)


def test_a_state_goes_on_and_belongs_to_its_balance() -> None:
    """At every step; other shares, and other classes of the same keys, are other orders."""
    rows = {"id": np.arange(20), "x": np.arange(20.0), "kind": ["a"] * 15 + ["b"] * 5}

    def feed_of(balance: Any = "kind", **columns: Any) -> mf.Feed:
        data = mf.Dataset(rows | columns, key="id", inputs=mf.Numeric("x"))
        return mf.Feed(data, 6, shuffle=True, balance=balance)

    whole = [batch[0] for batch in feed_of()]
    for step in range(len(whole)):
        state = json.loads(json.dumps(feed_of().state_dict((0, step))))
        again = feed_of()
        again.load_state_dict(state)
        for batch, wanted in zip(again, whole[step:], strict=True):
            np.testing.assert_array_equal(batch[0], wanted)
    state = feed_of().state_dict((0, 1))
    with pytest.raises(mf.StateError, match="then balance='kind', now "):
        feed_of({"kind": {"a": 1, "b": 2}}).load_state_dict(state)
    with pytest.raises(mf.StateError, match="then rows drawn='#.*', now '#"):
        feed_of(kind=["a"] * 5 + ["b"] * 15).load_state_dict(state)


def test_the_report_states_the_accounting() -> None:
    """How often an epoch has the samples of each class."""
    assert mf.Feed(data_of(), 10, shuffle=True, balance="kind").report().accounting == (
        "an epoch draws 100 samples by 'kind':",
        "  'c': 5 samples, each 6 to 7 times, 6.67 on average",
        "  'b': 25 samples, each 1 to 2 times, 1.33 on average",
        "  'a': 70 samples, each 0 to 1 times, 0.476 on average",
    )
    shares = {"kind": {"a": 0, "b": 3, "c": 1}}
    report = mf.Feed(data_of(), 10, shuffle=True, balance=shares).report()
    assert report.accounting == (
        "an epoch draws 100 samples by 'kind':",
        "  'c': 5 samples, each 5 times",
        "  'b': 25 samples, each 3 times",
        "  'a': 70 samples, never",
    )
    assert "  'c': 5 samples, each 5 times\n" in f"{report}\n"
    data = data_of(weight=np.repeat([0.0, 1.0, 3.0], [20, 40, 40]))
    assert mf.Feed(data, 10, shuffle=True, sampling="weight").report().accounting == (
        "an epoch draws 100 samples by 'weight': each 0.625 to 1.88 times on average, 20 never",
    )
    many = data_of([str(number) for number in range(14)])
    assert mf.Feed(many, 2, shuffle=True, balance="kind").report().accounting[-1] == "  and 4 more"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"balance": "kind"},
            "balance= draws the samples of each epoch anew, so they are shuffled; received "
            "shuffle=False.\n"
            "  Pass shuffle=True. To evaluate, leave balance= out: each sample then comes once.",
        ),
        (
            {"sampling": "weight", "shuffle": "block"},
            "sampling= draws the samples of each epoch anew, so they are shuffled; received "
            "shuffle='block'.\n  Pass shuffle=True. To evaluate, leave sampling= out: each sample then "
            "comes once.",
        ),
        (
            {"balance": "kind", "sampling": "weight", "shuffle": True},
            "balance= and sampling= both say how often a sample comes: pass one of them.",
        ),
        (
            {"balance": "kid", "shuffle": True},
            "the row table has no column 'kid'.\n  Did you mean 'kind'?",
        ),
        (
            {"balance": ["kind"], "shuffle": True},
            "balance is a column whose values come equally often, or a dict of one column with the "
            "share of each value.\n  Received: ['kind'].\n"
            '  Write balance="kind", or balance={"kind": {"a": 3, "b": 1}}.',
        ),
        (
            {"balance": {"kind": {"a": 1, "x": 1}}, "shuffle": True},
            "balance of 'kind' names a value that no sample has: 'x'.\n  There are: 'a', 'b', 'c'.",
        ),
        (
            {"balance": {"kind": {"a": 1}}, "shuffle": True},
            "balance of 'kind' says for each value how often it comes; it lacks 'b', 'c'.\n"
            "  A value with the share 0 never comes.",
        ),
        (
            {"balance": {"kind": {"a": -1, "b": 1, "c": 1}}, "shuffle": True},
            "the share of a value is a finite number of 0 or more; balance of 'kind' has -1 for 'a'.",
        ),
        (
            {"balance": {"kind": {"a": 0, "b": 0, "c": 0}}, "shuffle": True},
            "a value has a share above 0; balance of 'kind' has none.",
        ),
        (
            {"balance": "gap", "shuffle": True},
            "every sample needs a value to balance by: 'gap' is null in 1 rows, first in row 3.\n"
            "  Fill it in, or leave these rows out with data.select.",
        ),
        (
            {"sampling": "zero", "shuffle": True},
            "samples are drawn in proportion to 'zero', which is 0 in every row.",
        ),
        (
            {"sampling": {"kind": {"a": 1}}, "shuffle": True},
            "sampling is a column of weights; received {'kind': {'a': 1}}.\n"
            "  For shares of classes, pass balance={column: {label: share}}.",
        ),
    ],
)
def test_what_cannot_be_is_told(options: dict[str, Any], message: str) -> None:
    """At declaration, with what came and what to do."""
    gap = ["x"] * 3 + [None] + ["x"] * 96
    data = data_of(weight=np.ones(100), zero=np.zeros(100), gap=gap)
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Feed(data, 10, **options)
    assert str(caught.value) == message


def test_a_weight_that_is_none_names_its_row() -> None:
    """As a sample weight that cannot be used."""
    data = data_of(weight=np.r_[np.ones(99), -1.0])
    with pytest.raises(mf.SampleError) as caught:
        mf.Feed(data, 10, shuffle=True, sampling="weight")
    assert str(caught.value) == (
        "'weight' of row 99 cannot be used: it is negative: -1.0.\n  Row: 99.\n  A weight is 0 or more."
    )
