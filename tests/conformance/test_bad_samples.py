"""Samples that cannot be used, under each policy: every engine leaves out the same, and no more.

The data are 40 samples with a key, of which three are bad, each in another way: a function raises for
one, one has no number, one has a file that is cut off.
"""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import multifeed as mf
from multifeed.policy import BadSample, Policy

COUNT = 40
RAISES, NAN, CUT = 5, 9, 17
BAD = {RAISES, NAN, CUT}
ENGINES = [{"workers": 1}, {"workers": 3, "prefetch": 5}, {"processes": 2, "workers": 2}]


def odd(values: np.ndarray) -> np.ndarray:
    if values[0] == RAISES:
        raise ValueError("an odd one")
    return values


@pytest.fixture
def files(photos: Path, tmp_path: Path) -> list[str]:
    """The files of 40 photographs."""
    names = []
    for number in range(COUNT):
        content = (photos / "left" / f"p{number % 23:02}.jpg").read_bytes()
        path = tmp_path / f"{number:02}.jpg"
        path.write_bytes(content[: len(content) // 2] if number == CUT else content)
        names.append(str(path))
    return names


def declared(files: list[str], **more: Any) -> mf.Dataset:
    """Return those samples."""
    rows = {
        "id": [f"s{number:02}" for number in range(COUNT)],
        "photo": files,
        "x": np.arange(float(COUNT))[:, None],
        "n": [np.nan if number == NAN else float(number) for number in range(COUNT)],
        "y": np.arange(COUNT) % 3,
        "w": np.full(COUNT, 0.5),
    }
    return mf.Dataset(
        rows,
        key="id",
        inputs={
            "photo": mf.Image("photo", 12),
            "x": mf.Array("x", preprocess=odd),
            "n": mf.Numeric("n"),
        },
        targets=mf.Category("y", vocabulary=[0, 1, 2]),
        **more,
    )


def numbers(batch: Any) -> list[int]:
    """Return which samples a batch holds, by their number; photograph, x and n say the same."""
    x = batch[0]["x"].ravel().astype(int).tolist()
    assert batch[0]["n"].ravel().astype(int).tolist() == x
    return x


def served(feed: mf.Feed, epochs: int = 1) -> Iterator[Any]:
    for _ in range(epochs):
        yield from feed


@pytest.mark.parametrize("engine", ENGINES)
def test_dropped_samples_are_left_out_and_nothing_else(files: list[str], engine: dict) -> None:
    """Batches are smaller by them; each other sample comes once; rows and keys say which came."""
    data = declared(files)
    good = data.select(sorted(set(range(COUNT)) - BAD))
    with mf.Feed(data, 8, shuffle=True, seed=3, on_error="drop", max_bad=0.1, **engine) as feed:
        found = []
        for step, batch in enumerate(feed):
            came = numbers(batch)
            found += came
            assert feed.keys(0, step) == [f"s{number:02}" for number in came]
            assert feed.rows(0, step).tolist() == came
            for place, number in enumerate(came):
                sample = good[sorted(set(range(COUNT)) - BAD).index(number)]
                assert (batch[0]["photo"][place] == sample[0]["photo"]).all()
                assert batch[1][place] == sample[1]
            again = feed.batch(0, step)
            assert all((batch[0][name] == again[0][name]).all() for name in batch[0])
        report = feed.report()
    assert sorted(found) == sorted(set(range(COUNT)) - BAD)
    assert (report.samples, report.dropped, report.masked, report.padded) == (37, 3, 0, 0)
    assert (report.batches, report.passes) == (5, 1)
    assert report.good_rows.tolist() == sorted(found)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("weights", [None, "w"])
def test_masked_samples_keep_the_shape_and_weigh_nothing(
    files: list[str], engine: dict, weights: str | None
) -> None:
    """Their place holds a whole copy of another sample of the batch; the weights add up to the batch."""
    data = declared(files, sample_weight=weights)
    plain = mf.Feed(
        declared(files, sample_weight=weights).select(sorted(set(range(COUNT)) - BAD)), COUNT - 3
    ).batch(0, 0)
    order = sorted(set(range(COUNT)) - BAD)
    with mf.Feed(data, 8, shuffle=True, seed=3, on_error="mask", max_bad=0.1, **engine) as feed:
        found = []
        for step, (inputs, classes, weight) in enumerate(feed):
            rows = feed.rows(0, step)
            is_good = ~np.isin(rows, list(BAD))
            came = numbers((inputs,))
            assert [came[place] for place in np.flatnonzero(is_good)] == rows[is_good].tolist()
            for place, number in enumerate(came):
                assert (inputs["photo"][place] == plain[0]["photo"][order.index(number)]).all()
                assert classes[place] == number % 3
            scale = (0.5 if weights else 1.0) * len(rows) / is_good.sum()
            assert weight == pytest.approx(np.where(is_good, scale, 0.0))
            found += rows[is_good].tolist()
        report = feed.report()
    assert sorted(found) == order
    assert (report.samples, report.dropped, report.masked) == (37, 0, 3)


@pytest.mark.parametrize("policy", ["drop", "mask"])
@pytest.mark.parametrize("engine", ENGINES)
def test_the_report_lists_them_exactly(files: list[str], engine: dict, policy: str) -> None:
    """Key, field, file and reason of each, once however many epochs; counts go on."""
    data = declared(files)
    with mf.Feed(data, 8, on_error=policy, max_bad=0.1, **engine) as feed:
        for _ in served(feed, 3):
            pass
        report = feed.report()
    assert sorted(report.bad, key=lambda each: each.row) == [
        BadSample(RAISES, "s05", "x", None, "raises ValueError: an odd one"),
        BadSample(NAN, "s09", "n", None, "is missing: column 'n' holds no finite number"),
        BadSample(CUT, "s17", "photo", files[CUT], report.bad[-1].reason),
    ]
    assert "truncated" in report.bad[-1].reason.lower() or "end of" in report.bad[-1].reason.lower()
    assert report.dropped + report.masked == 9
    assert report.passes == 3
    assert "3 of 40 samples cannot be used:\n" in str(report)


@pytest.mark.parametrize("engine", ENGINES)
def test_too_many_end_the_run_with_their_list(files: list[str], engine: dict) -> None:
    """At the batch in which the limit is passed, the same one on every engine."""
    with mf.Feed(declared(files), 8, on_error="drop", max_bad=0.05, **engine) as feed:
        batches = []
        with pytest.raises(mf.BadSamplesError) as caught:
            batches.extend(feed)
    assert len(batches) == CUT // 8
    assert [each.row for each in caught.value.samples] == [NAN, RAISES, CUT]
    assert str(caught.value).splitlines()[0] == (
        "3 of 40 samples cannot be used, and max_bad=0.05 allows 2."
    )
    assert "'x' of sample 's05' (row 5): raises ValueError: an odd one" in str(caught.value)


@pytest.mark.parametrize("policy", ["drop", "mask"])
def test_the_limit_is_a_share_of_the_dataset(files: list[str], policy: str) -> None:
    """Three of forty are 0.075, whatever that is to a computer; a little less is too little."""
    with mf.Feed(declared(files), 8, on_error=policy, max_bad=0.075) as feed:
        assert len(list(feed)) == 5
    feed = mf.Feed(declared(files), 8, on_error=policy, max_bad=0.0749)
    with feed, pytest.raises(mf.BadSamplesError):
        list(feed)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("policy", "remainder"), [("drop", "keep"), ("mask", "keep"), ("drop", "pad")])
def test_a_batch_is_never_empty(files: list[str], engine: dict, policy: str, remainder: str) -> None:
    """Of one bad sample alone: there is a copy of the next good one, which weighs nothing."""
    data = declared(files, sample_weight="w")
    options = {"on_error": policy, "remainder": remainder, "max_bad": 0.1}
    with mf.Feed(data, 1, **options, **engine) as feed:
        batches = list(feed)
        report = feed.report()
    assert len(batches) == COUNT
    for number, batch in enumerate(batches):
        assert len(batch[1]) == 1
        if number in BAD:
            assert numbers(batch) == [number + 1]
            assert batch[2].tolist() == [0.0]
        else:
            assert numbers(batch) == [number]
            assert batch[2].tolist() == [0.5]
    assert report.samples == COUNT - 3
    assert report.padded == (3 if policy == "drop" else 0)


@pytest.mark.parametrize("engine", ENGINES)
def test_dropped_batches_are_padded_to_one_shape(files: list[str], engine: dict) -> None:
    """With remainder="pad": every batch has batch_size rows, those added weigh nothing."""
    options = {"on_error": "drop", "remainder": "pad", "max_bad": 0.1, "shuffle": True}
    with mf.Feed(declared(files), 8, **options, **engine) as feed:
        total = 0.0
        for step, (inputs, _, weight) in enumerate(feed):
            assert len(weight) == len(inputs["x"]) == 8
            rows = feed.rows(0, step)
            assert numbers((inputs,))[: len(rows)] == rows.tolist()
            assert weight.tolist() == [1.0] * len(rows) + [0.0] * (8 - len(rows))
            total += weight.sum()
        report = feed.report()
    assert total == COUNT - 3
    assert (report.dropped, report.padded) == (3, 3)


def test_nothing_good_is_an_error() -> None:
    """Whatever share may be bad: there is nothing that a batch could hold."""

    def never(values: np.ndarray) -> np.ndarray:
        if values.any():
            raise ValueError("never")
        return values

    data = mf.Dataset({"x": np.ones((6, 2))}, inputs=mf.Array("x", preprocess=never))
    feed = mf.Feed(data, 2, on_error="drop", max_bad=1.0)
    with feed, pytest.raises(mf.SampleError, match="no sample of this dataset can be used"):
        list(feed)
    data = mf.Dataset({"n": [np.nan, np.nan]}, inputs=mf.Numeric("n"))
    with pytest.raises(mf.BadSamplesError, match="no sample of this dataset can be used"):
        mf.Feed(data, 2, on_error="drop", max_bad=1.0)


def test_what_the_machine_lacks_is_no_fault_of_a_sample() -> None:
    """Memory and descriptors: the error comes through, and no sample is called bad for it."""

    def out_of_memory(values: np.ndarray) -> np.ndarray:
        if values.any():
            raise MemoryError("no more")
        return values

    data = mf.Dataset({"x": np.ones((6, 2))}, inputs=mf.Array("x", preprocess=out_of_memory))
    with mf.Feed(data, 2, on_error="drop", max_bad=1.0) as feed:
        with pytest.raises(mf.SampleError, match="MemoryError"):
            list(feed)
        assert not feed.report().bad


@pytest.mark.parametrize("lack", [errno.EMFILE, errno.ENOMEM])
def test_what_the_machine_lacks_may_be_told_by_another_error(lack: int) -> None:
    """As the fact that a file cannot be opened: what that was raised from counts."""

    def read_file(values: np.ndarray) -> np.ndarray:
        if values.any():
            raise ValueError("cannot be opened") from OSError(lack, "too many")
        return values

    data = mf.Dataset({"x": np.ones((6, 2))}, inputs=mf.Array("x", preprocess=read_file))
    with mf.Feed(data, 2, on_error="drop", max_bad=1.0) as feed:
        with pytest.raises(mf.SampleError, match="cannot be opened"):
            list(feed)
        assert not feed.report().bad


def unlucky(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    if random.random() < 0.5:
        raise ValueError("unlucky")
    return values + random.random()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("is_augmented", [False, True])
def test_a_function_that_calls_exit_is_a_bad_sample(engine: dict, is_augmented: bool) -> None:
    """As one that raises: training must not end without a word, and as if all were well."""

    def leave(values: np.ndarray, random: object = None) -> np.ndarray:
        if values[0] == 5:
            sys.exit(0)
        return values

    field = mf.Array("x") if is_augmented else mf.Array("x", preprocess=leave)
    data = mf.Dataset({"x": np.arange(12.0)[:, None]}, inputs=field)
    augment = [mf.RandomFunction("x", leave)] if is_augmented else []
    feed = mf.Feed(data, 4, augment=augment, **engine)
    with feed, pytest.raises(mf.SampleError, match="raised SystemExit"):
        list(feed)
    with mf.Feed(data, 4, augment=augment, on_error="drop", max_bad=0.1, **engine) as feed:
        assert [len(batch[0]) for batch in feed] == [4, 3, 4]


def test_what_somebody_else_says_is_escaped_and_shortened() -> None:
    """A reason may hold commands to a terminal, or megabytes; an error of yours may name no field."""
    said = {1: ValueError("\x1b[31mred"), 2: ValueError("x" * 10**6), 3: mf.SampleError("mine")}

    def read(values: np.ndarray) -> np.ndarray:
        if values[0] in said:
            raise said[values[0]]
        return values

    data = mf.Dataset({"x": np.arange(8.0)[:, None]}, inputs=mf.Array("x", preprocess=read))
    with mf.Feed(data, 4, on_error="drop", max_bad=0.5) as feed:
        list(feed)
        report = feed.report()
    first, second, third = map(str, report.bad)
    assert first == r"'x' of row 1: raises ValueError: \x1b[31mred"
    assert len(second) < 2_500
    assert third == "row 3: mine"
    assert len(str(report)) < 5_000
    assert "\x1b" not in str(report)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("policy", ["drop", "mask"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_what_depends_on_the_draw_is_bad_there_alone(engine: dict, policy: str, batch_size: int) -> None:
    """In whatever epoch: a batch is the same whatever was found bad before it, an empty one as well."""
    data = mf.Dataset({"x": np.arange(12.0)[:, None]}, inputs=mf.Array("x"), targets=mf.Array("x"))
    options = {"on_error": policy, "max_bad": 1.0, "shuffle": True}
    augment = mf.RandomFunction("x", unlucky)
    with mf.Feed(data, batch_size, augment=augment, **options, **engine) as feed:
        for epoch in range(4):
            for step, batch in enumerate(feed):
                again = feed.batch(epoch, step)
                assert all((one == other).all() for one, other in zip(batch, again, strict=True))


def test_many_empty_batches_in_a_row_read_each_other_once() -> None:
    """What follows them is looked for once: a folder that is gone does not cost its files squared."""
    read: list[int] = []

    def only_last(values: np.ndarray) -> np.ndarray:
        read.append(int(values[0]))
        if 0 < values[0] < 99:
            raise ValueError("gone")
        return values

    data = mf.Dataset({"x": np.arange(100.0)[:, None]}, inputs=mf.Array("x", preprocess=only_last))
    with mf.Feed(data, 1, on_error="drop", max_bad=1.0, workers=1) as feed:
        read.clear()
        assert [batch[0].item() for batch in feed] == [0.0] + [99.0] * 99
    # In the run itself, to look for the first one that is good, and that one again for each.
    assert max(map(read.count, range(1, 99))) <= 3
    assert read.count(99) <= 100


@pytest.mark.parametrize("policy", ["drop", "mask"])
def test_redraws_and_draws_are_of_the_samples_that_are_left(policy: str) -> None:
    """Draw 0 is the batch itself; there are as many parameters as rows."""

    def read(values: np.ndarray) -> np.ndarray:
        if values[0] in (3, 9):
            raise ValueError("no signal")
        return values

    images = np.broadcast_to(np.arange(100, 120, dtype=np.uint8)[:, None, None, None], (20, 4, 4, 1))
    rows = {"x": np.arange(20.0)[:, None], "photo": np.ascontiguousarray(images)}
    inputs = {"x": mf.Array("x", preprocess=read), "photo": mf.Array("photo")}
    augment = [
        mf.RandomFunction("x", lambda values, random: values + random.random()),
        mf.RandomColor("photo", brightness=0.5),
    ]
    data = mf.Dataset(rows, inputs=inputs, targets=mf.Array("x"))
    feed = mf.Feed(data, 8, on_error=policy, max_bad=1.0, augment=augment)
    for step in range(len(feed)):
        batch, again = feed.batch(0, step)[0], feed.redraw(0, step, 0)[0]
        other, few = feed.redraw(0, step, 1)[0], feed.redraw(0, step, 0, count=5)[0]
        for name in batch:
            assert (batch[name] == again[name]).all()
            assert (batch[name][:5] == few[name]).all()
            assert batch[name].shape == other[name].shape
        assert (batch["x"] != other["x"]).all()
        count = len(feed.rows(0, step))
        assert count == len(batch["x"])
        for drawn in feed.draws(0, step):
            assert {len(values) for values in drawn.values()} <= {count}


def test_that_many_are_known_costs_no_batch_anything() -> None:
    """What a batch costs depends on its own samples: half of a million may be bad in memory."""
    known = {row: BadSample(row, None, "x", None, "odd") for row in range(0, 1_000_000, 2)}
    policy, rows = Policy("drop", known), np.arange(64)
    begin = time.process_time()
    for _ in range(100):
        assert len(policy.known_in(rows)) == 32
    assert time.process_time() - begin < 1.0


def test_values_in_memory_may_be_bad_in_many_rows_and_fields() -> None:
    """They are known at declaration, each row once, and are nobody's partner or neighbour by mistake."""
    count = 60
    rows = {
        "a": [np.nan if number % 11 == 3 else float(number) for number in range(count)],
        "b": [np.inf if number % 13 == 5 else float(number) for number in range(count)],
        "c": ["odd" if number % 17 == 7 else "xyz"[number % 3] for number in range(count)],
        "w": [-1.0 if number == 50 else 1.0 for number in range(count)],
    }
    bad = {
        number
        for number in range(count)
        if number % 11 == 3 or number % 13 == 5 or number % 17 == 7 or number == 50
    }
    data = mf.Dataset(
        rows,
        inputs=(mf.Numeric("a"), mf.Numeric("b")),
        targets=mf.Category("c", vocabulary=["x", "y", "z"]),
        sample_weight="w",
    )
    with mf.Feed(data, 7, shuffle=True, on_error="drop", max_bad=0.5) as feed:
        assert {each.row for each in feed.report().bad} == bad
        found = []
        for (a, b), c, w in feed:
            assert (a == b).all()
            assert (c == a.ravel().astype(int) % 3).all()
            assert (w == 1).all()
            found += a.ravel().astype(int).tolist()
    assert sorted(found) == sorted(set(range(count)) - bad)
    with pytest.raises(mf.BadSamplesError) as caught:
        mf.Feed(data, 7, on_error="mask", max_bad=0.1)
    assert "of 60 samples cannot be used, and max_bad=0.1 allows 6." in str(caught.value)
    with pytest.raises(mf.SampleError):
        mf.Feed(data, 7)


def test_balanced_weights_count_the_good_samples_alone() -> None:
    """Rows that stand in for bad ones do not count."""
    rows = {"x": [0.0, np.nan, 2.0, 3.0], "y": [0, 1, 1, 0]}
    data = mf.Dataset(rows, inputs=mf.Numeric("x"), targets=mf.Category("y", vocabulary=[0, 1]))
    feed = mf.Feed(data, 4, class_weight={"y": "balanced"}, on_error="drop", max_bad=0.25)
    assert feed.batch(0, 0)[2].tolist() == pytest.approx([0.75, 1.5, 0.75])


@pytest.mark.parametrize("engine", ENGINES)
def test_an_augmented_sample_may_be_bad(files: list[str], engine: dict) -> None:
    """With linked transforms and mixing; the others have the draws that they have anyway."""
    augment = [mf.RandomAffine("photo", rotation=10), mf.MixUp(["photo", "n"], alpha=0.4, keep="y")]
    data = declared(files)
    feeds = {
        policy: mf.Feed(
            data, 8, shuffle=True, seed=1, augment=augment, on_error=policy, max_bad=0.5, **engine
        )
        for policy in ("drop", "mask")
    }
    with feeds["drop"] as drop, feeds["mask"] as mask:
        for step, (dropped, masked) in enumerate(zip(drop, mask, strict=True)):
            is_good = masked[2] > 0
            assert (masked[0]["photo"][is_good] == dropped[0]["photo"]).all()
            assert is_good.sum() == len(drop.rows(0, step))
        assert {each.row for each in drop.report().bad} == BAD


def test_raise_names_the_sample(files: list[str]) -> None:
    """That is the default: field, key, row and file."""
    good = [number for number in range(COUNT) if number not in (NAN, RAISES)]
    with mf.Feed(declared(files).select(good), 8) as feed, pytest.raises(mf.SampleError) as caught:
        list(feed)
    error = caught.value
    assert (error.field, error.key, error.row, error.file) == ("photo", "s17", 15, files[CUT])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"on_error": "skip"}, "on_error must be one of 'raise', 'drop', 'mask'; received 'skip'."),
        ({"max_bad": 2}, "max_bad is a share of the samples, 0 to 1; received 2."),
        ({"max_bad": True}, "max_bad is a share of the samples, 0 to 1; received True."),
        ({"timeout_s": 0}, "timeout_s is a number of seconds, or None; received 0."),
        ({"timeout_s": "1"}, "timeout_s is a number of seconds, or None; received '1'."),
    ],
)
def test_bad_arguments_are_told(pairs: mf.Dataset, arguments: dict, message: str) -> None:
    """At declaration."""
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Feed(pairs, 4, **arguments)
    assert str(caught.value) == message
