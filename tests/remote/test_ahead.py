"""Requests ahead: many are under way, each is made once, and what nobody wants any more is given up."""

from __future__ import annotations

import gc
import io
import time
from pathlib import Path

import numpy as np
import pytest
from servers import Web

import multifeed as mf
from multifeed.errors import BadValue
from multifeed.remote import ahead
from multifeed.remote.uri import Request

COUNT = 24


@pytest.fixture
def store(web: Web) -> Web:
    """A web server with two arrays a row."""
    for side in ("left", "right"):
        for number in range(COUNT):
            stream = io.BytesIO()
            np.save(stream, np.full(100, number, np.float32))
            web.files[f"/{side}/{number}.npy"] = stream.getvalue()
    return web


def samples(store: Web) -> mf.Dataset:
    """Return samples of two arrays far away, and their row."""
    rows = {side: [f"{side}/{n}.npy" for n in range(COUNT)] for side in ("left", "right")}
    fields = {side: mf.Array(side, (100,)) for side in ("left", "right")}
    return mf.Dataset(
        rows | {"row": np.arange(COUNT)}, inputs={**fields, "row": mf.Array("row")}, root=store.url
    )


def held() -> tuple[int, int, int]:
    """Return what is asked for or held in this process: requests, those under way, bytes."""
    gc.collect()
    here = ahead._of_this_process()
    return len(here._entries), here._running, here._held


def wait_until_nothing_is_held() -> None:
    """Raise if something is held for long."""
    limit = time.monotonic() + 5
    while held() != (0, 0, 0) and time.monotonic() < limit:
        time.sleep(0.01)
    assert held() == (0, 0, 0)


@pytest.mark.parametrize(("batch_size", "processes"), [(2, 0), (16, 0), (2, 1), (16, 2)])
def test_many_requests_are_under_way_and_each_is_made_once(
    store: Web, batch_size: int, processes: int
) -> None:
    """With two threads, however small batches are; the bytes are those of the plain loop."""
    # Of several processes none knows what the others ask for.
    store.least = 20 if processes < 2 else 4
    data = samples(store)
    with mf.Feed(data, batch_size, shuffle=True, seed=3, workers=2, processes=processes) as feed:
        for (batch,) in feed:
            for side in ("left", "right"):
                assert (batch[side] == batch["row"][:, None]).all()
    assert store.opened.is_set()
    asked = [path for path, _ in store.asked]
    assert len(set(asked)) == 2 * COUNT
    again = len(asked) - len(set(asked))
    # A run that wraps begins the next epoch.
    assert again == 0 or set(asked[-again:]) <= set(asked)
    wait_until_nothing_is_held()


def test_what_a_dropped_run_has_asked_for_is_given_up(store: Web) -> None:
    """Closed or dropped: no request stays, and no byte."""
    data = samples(store)
    for end in ("close", "drop"):
        feed = mf.Feed(data, 4, shuffle=True, seed=1, workers=2)
        batches = iter(feed)
        next(batches)
        if end == "close":
            feed.close()
        del feed, batches
        wait_until_nothing_is_held()


def test_bytes_are_bounded(store: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more are held than may be, and still the epoch ends."""
    size = len(store.files["/left/0.npy"])
    monkeypatch.setattr(ahead, "MOST_BYTES", 4 * size)
    most = 0
    with mf.Feed(samples(store), 8, shuffle=True, seed=1, workers=2) as feed:
        for (batch,) in feed:
            assert (batch["left"] == batch["row"][:, None]).all()
            most = max(most, ahead._of_this_process()._held)
    # Those that somebody waits for come in any case: one for each thread.
    assert most <= 8 * size
    wait_until_nothing_is_held()


def test_all_fields_of_one_sample_are_asked_for_at_once(store: Web) -> None:
    """As is what a dataset is checked, cached or mixed from."""
    store.least = 2
    data = samples(store)
    data[3]
    assert store.opened.is_set()
    store.least = 20
    store.opened.clear()
    assert mf.check(data, progress=False).good_rows.tolist() == list(range(COUNT))
    assert store.opened.is_set()


def test_a_cache_is_built_from_many_requests(store: Web, tmp_path: Path) -> None:
    """And then needs none."""
    store.least = 20
    cached = mf.cache(samples(store), tmp_path / "cache", workers=2, progress=False)
    assert store.opened.is_set()
    store.asked.clear()
    for row in (0, 5, 23):
        assert cached[row][0]["left"].tolist() == [row] * 100
    assert store.asked == []
    wait_until_nothing_is_held()


def test_partners_of_a_mix_are_asked_for_too(store: Web) -> None:
    """Which are other rows than those of the batch."""
    store.least = 20
    mix = mf.MixUp(["left", "right"], alpha=1.0)
    with mf.Feed(samples(store), 8, seed=1, workers=1, augment=[mix]) as feed:
        feed.batch(0, 0)
    # Those of the batch are 16; the others are partners.
    assert store.opened.is_set()


def test_claims_share_what_they_ask_for(store: Web) -> None:
    """One request; it is held until the last claim is dropped, or has taken it."""
    request = Request(f"{store.url}/left/1.npy")
    first, second = ahead.begin([request]), ahead.begin([request])
    assert ahead.read(request) == store.files["/left/1.npy"]
    del first
    assert ahead.read(request) == store.files["/left/1.npy"]
    assert len(store.asked) == 1
    del second
    wait_until_nothing_is_held()
    assert ahead.begin([]) is None


def test_an_error_is_for_who_reads(store: Web) -> None:
    """Not for who asks ahead."""
    request = Request(f"{store.url}/none.npy")
    claim = ahead.begin([request])
    with pytest.raises(BadValue, match="does not exist"):
        ahead.read(request)
    del claim
    wait_until_nothing_is_held()
