"""Account: a pass that does not serve every row exactly once is an error, whatever was at fault."""

from __future__ import annotations

import numpy as np
import pytest

import multifeed as mf
from multifeed.account import Account, Ledger
from multifeed.policy import BadSample
from multifeed.receipt import receipt
from multifeed.runs import Made


def feed_of(count: int = 20, **options: object) -> mf.Feed:
    return mf.Feed(mf.Dataset({"x": np.arange(float(count))}, inputs=mf.Numeric("x")), 6, **options)


@pytest.mark.parametrize("remainder", ["keep", "drop", "pad"])
@pytest.mark.parametrize("shuffle", [False, True, "block"])
@pytest.mark.parametrize("processes", [0, 1])
def test_whole_passes_are_proven(remainder: str, shuffle: object, processes: int) -> None:
    """Each that one run serves from its first batch to its last; none that was begun in the middle."""
    with feed_of(shuffle=shuffle, remainder=remainder, processes=processes) as feed:
        for _ in range(3):
            list(feed)
        assert feed.report().passes == 3
        feed.take(7, 1)
        for step in range(2, len(feed)):
            feed.take(7, step)
        assert feed.report().passes == 3
        for step in range(len(feed)):
            feed.take(8, step)
        assert feed.report().passes == 4


def test_passes_of_a_continuing_stream_are_proven() -> None:
    """With steps_per_epoch: wherever epochs begin and end."""
    with feed_of(steps_per_epoch=3) as feed:
        for _ in range(8):
            list(feed)
        assert feed.report().passes == 8 * 3 // 4


@pytest.mark.parametrize("fault", ["lost", "twice", "another"])
def test_a_row_that_is_lost_or_comes_twice_is_an_error(fault: str) -> None:
    """Told at the end of the pass, as an error of multifeed."""
    recipe = feed_of(shuffle=True)._recipe
    ledger = Ledger(recipe, Account(20, 0.0))
    receipts = [receipt(recipe.rows(number)) for number in range(recipe.batches)]
    if fault == "lost":
        receipts[1] = receipt(recipe.rows(1)[1:])
    elif fault == "twice":
        receipts[1] += receipt(recipe.rows(1)[:1])
    else:
        receipts[1] = receipts[2]
    for number, each in enumerate(receipts[:-1]):
        ledger.add(number, 1, recipe.rows(number), each)
    last = len(receipts) - 1
    with pytest.raises(mf.MultifeedError) as caught:
        ledger.add(last, 1, recipe.rows(last), receipts[-1])
    assert str(caught.value) == (
        "pass 0 over the samples has not served every row exactly once.\n"
        "  This is an error of multifeed, not of yours: please report it, with the declaration of the "
        "dataset and the loader."
    )


@pytest.mark.parametrize("options", [{}, {"workers": 2}, {"processes": 1}])
def test_an_order_that_repeats_a_row_is_found(options: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """End to end: in the engine as it is, with an order that is wrong."""
    from multifeed import feed as room

    def wrong(count: int):
        # In worker processes as well: what is defined here is copied to them.
        return lambda seed, epoch, start, stop: np.arange(start, stop) // 2 * 2

    monkeypatch.setattr(room, "sequential", wrong)
    preprocess = (lambda values: values) if options else None
    data = mf.Dataset({"x": np.arange(20.0)[:, None]}, inputs=mf.Array("x", preprocess=preprocess))
    feed = mf.Feed(data, 6, **options)
    with feed, pytest.raises(mf.MultifeedError, match="has not served every row exactly once"):
        list(feed)


@pytest.mark.parametrize("options", [{}, {"workers": 2}, {"processes": 1}])
def test_what_was_not_handed_over_is_not_counted(options: dict) -> None:
    """Neither padding nor a pass, of an epoch that is left after its first batch."""
    preprocess = (lambda values: values) if options else None
    rows = {"x": np.arange(20.0)[:, None]}
    data = mf.Dataset(rows, inputs=mf.Array("x", preprocess=preprocess), targets=mf.Array("x"))
    with mf.Feed(data, 6, remainder="pad", **options) as feed:
        for _ in range(3):
            next(iter(feed))
        assert (feed.report().padded, feed.report().passes) == (0, 0)
        list(feed)
        assert (feed.report().padded, feed.report().passes) == (4, 1)


def test_of_two_reasons_the_first_task_is_believed() -> None:
    """Whichever was quicker: the report is the same on every engine."""
    recipe = feed_of()._recipe
    for order in ((0, 1), (1, 0)):
        made = Made(0, np.arange(6), {})
        for task in order:
            made.bad[task] = {2: BadSample(2, None, f"field {task}", None, "odd")}
        assert made.left_out(recipe)[2].field == "field 0"
