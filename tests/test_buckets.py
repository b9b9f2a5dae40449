"""Buckets: samples of similar length share their batches, each comes once, and nothing is cut off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import multifeed as mf

LENGTHS = [3, 9, 1, 4, 12, 2, 2, 8, 5, 12, 7, 1, 3, 3, 10, 6, 0, 11, 4, 4, 2, 9, 1]


def data_of(lengths: list[int] = LENGTHS, *, padding: str = "post", **options: Any) -> mf.Dataset:
    """Return sequences that carry the number of their row, as often as they are long."""
    items = [np.full(length, row + 1, np.int32) for row, length in enumerate(lengths)]
    rows = {"items": items, "n": lengths, "row": np.arange(len(lengths)), **options}
    return mf.Dataset(
        rows,
        inputs={
            "items": mf.Array("items", pad_to=12, padding=padding),
            "mask": mf.Mask("items"),
            "row": mf.Array("row"),
        },
        targets={"again": mf.Same("items"), "n": mf.Numeric("n")},
    )


def assert_whole(inputs: dict[str, np.ndarray], rows: np.ndarray, lengths: np.ndarray) -> None:
    """Raise unless a batch has all items of its rows, and their masks."""
    for place, row in enumerate(rows):
        own = inputs["items"][place][inputs["mask"][place]]
        assert own.tolist() == [row + 1] * lengths[row]
        assert (inputs["items"][place] != 0).sum() == lengths[row]


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=80),
    buckets=st.one_of(st.integers(1, 9), st.sets(st.integers(1, 11)).map(lambda s: [*sorted(s), 12])),
    batch_size=st.integers(1, 12),
    shuffle=st.booleans(),
    remainder=st.sampled_from(["keep", "drop", "pad"]),
    epoch=st.integers(0, 10**9),
)
def test_each_sample_comes_once_in_its_bucket(
    lengths: list[int], buckets: Any, batch_size: int, shuffle: bool, remainder: str, epoch: int
) -> None:
    """Whatever their lengths; with "drop", all but less than a batch of each bucket."""
    options: dict[str, Any] = {"bucket_by": "items", "buckets": buckets, "shuffle": shuffle}
    data = data_of(lengths)
    boundaries = mf.Feed(data, 1, **options)._recipe.slots.boundaries
    bucket = np.searchsorted(boundaries, lengths)
    if remainder == "drop" and np.bincount(bucket).max() < batch_size:
        with pytest.raises(mf.DeclarationError, match="no bucket has batch_size="):
            mf.Feed(data, batch_size, remainder=remainder, **options)
        return
    feed = mf.Feed(data, batch_size, remainder=remainder, seed=3, **options)
    rows = [feed.rows(epoch, step) for step in range(len(feed))]
    every = np.concatenate(rows)
    assert len(np.unique(every)) == len(every)
    left_out = np.delete(np.arange(len(lengths)), every)
    if remainder == "drop":
        assert all(len(each) == batch_size for each in rows)
        assert (np.bincount(bucket[left_out], minlength=1) < batch_size).all()
    else:
        assert not len(left_out)
    for step, own in enumerate(rows):
        (inputs, targets, *_) = feed.batch(epoch, step)
        assert len(set(bucket[own])) == 1
        assert inputs["items"].shape[1] == inputs["mask"].shape[1] == boundaries[bucket[own[0]]]
        np.testing.assert_array_equal(targets["again"], inputs["items"])
        assert_whole(inputs, own, np.array(lengths))


@pytest.mark.parametrize("padding", ["post", "pre"])
@pytest.mark.parametrize("engine", [{}, {"workers": 2}, {"processes": 1}])
@pytest.mark.parametrize("remainder", ["keep", "drop", "pad"])
def test_every_engine_cuts_alike(padding: str, engine: dict[str, int], remainder: str) -> None:
    """In memory, on threads and in processes: the bytes of the plain loop; passes are proven."""
    data = data_of(padding=padding)
    if engine:
        inputs = {
            "items": mf.Array("items", pad_to=12, padding=padding, preprocess=lambda items: items),
            "mask": mf.Mask("items"),
            "row": mf.Array("row"),
        }
        data = mf.Dataset(data.rows, inputs=inputs, targets=mf.Numeric("n"))
    options: dict[str, Any] = {"bucket_by": "items", "buckets": [4, 8, 12], "shuffle": True}
    plain = mf.Feed(data, 4, remainder=remainder, **options)
    with mf.Feed(data, 4, remainder=remainder, **options, **engine) as feed:
        batches = samples = 0
        for epoch in range(2):
            for step, (inputs, *rest) in enumerate(feed):
                wanted = plain.batch(epoch, step)
                for name, values in inputs.items():
                    np.testing.assert_array_equal(values, wanted[0][name])
                rows = feed.rows(epoch, step)
                assert inputs["row"][: len(rows)].tolist() == rows.tolist()
                assert_whole(inputs, rows, np.array(LENGTHS))
                if remainder == "pad":
                    assert len(inputs["row"]) == 4
                    weights = rest[1] if engine else rest[1]["n"]
                    assert weights.tolist() == [1] * len(rows) + [0] * (4 - len(rows))
                batches, samples = batches + 1, samples + len(rows)
            assert step == len(feed) - 1
        report = feed.report()
        assert (report.passes, report.batches, report.samples) == (2, batches, samples)
        for _ in feed:
            assert feed.report().samples == samples + len(feed.rows(2, 0))
            break


def test_the_order_of_buckets_is_another_in_each_epoch() -> None:
    """And so are the rows of each batch, by seed; without shuffle, all epochs are alike."""
    for shuffle in (False, True):
        feeds = [
            mf.Feed(data_of(), 4, bucket_by="items", shuffle=shuffle, seed=seed) for seed in (1, 1, 2)
        ]
        one, same, other = ([f.rows(0, step).tolist() for step in range(len(f))] for f in feeds)
        later = [feeds[0].rows(1, step).tolist() for step in range(len(feeds[0]))]
        assert one == same
        assert (one != other) == (one != later) == shuffle
        if shuffle:
            assert [len(each) for each in one] != [len(each) for each in later]


def test_lengths_come_from_fields_or_columns(tmp_path: Path) -> None:
    """Of one field, of the longest of several, or of a column; read once for a dataset."""
    lengths = np.array(LENGTHS)
    data = data_of()
    by_field = mf.Feed(data, 4, bucket_by="items", buckets=[4, 8, 12])
    for bucket_by in ("n", {"items": "n"}, ["items"]):
        feed = mf.Feed(data, 4, bucket_by=bucket_by, buckets=[4, 8, 12])
        for step in range(len(feed)):
            np.testing.assert_array_equal(feed.rows(0, step), by_field.rows(0, step))
    words = [" ".join(["word"] * (12 - length)) for length in LENGTHS]
    both = mf.Dataset(
        {"items": data.rows["items"], "words": words},
        inputs={
            "items": mf.Array("items", pad_to=12),
            "words": mf.Text("words", length=12, padding="pre"),
        },
    )
    both.adapt()
    feed = mf.Feed(both, 4, bucket_by=["items", "words"], buckets=[8, 12])
    for step, (inputs,) in enumerate(feed):
        rows = feed.rows(0, step)
        longest = np.maximum(lengths[rows], 12 - lengths[rows]).max()
        assert inputs["items"].shape[1] == inputs["words"].shape[1] == (8 if longest <= 8 else 12)
        assert ((inputs["words"] != 0).sum(1) == 12 - lengths[rows]).all()


def test_files_are_read_once_for_their_lengths(tmp_path: Path) -> None:
    """By the first loader of a dataset; what they hold by then is in a bucket, or an error."""
    for row, length in enumerate(LENGTHS):
        np.save(tmp_path / f"{row}.npy", np.full(length, row + 1, np.int32))
    calls = []

    def counted(values: np.ndarray) -> np.ndarray:
        calls.append(1)
        return values

    rows = {"file": [f"{row}.npy" for row in range(len(LENGTHS))]}
    data = mf.Dataset(
        rows,
        root=tmp_path,
        inputs={"items": mf.Array("file", shape=(None,), dtype="int32", pad_to=12, preprocess=counted)},
    )
    calls.clear()
    feed = mf.Feed(data, 4, bucket_by="items", buckets=[4, 12], workers=2)
    assert len(calls) >= len(LENGTHS)
    calls.clear()
    mf.Feed(data, 3, bucket_by="items", buckets=[4, 12])
    # Declaring calls it with zeros.
    assert len(calls) < 5
    np.save(tmp_path / "2.npy", np.ones(9, np.int32))
    with feed, pytest.raises(mf.SampleError) as caught:
        list(feed)
    assert str(caught.value) == (
        "'items' of row 2 cannot be used: it has 9 items, and is in a bucket of up to 4.\n  Row: 2.\n"
        "  Correct the column of its length. If the file has changed since, make the loader anew."
    )


@pytest.mark.parametrize("on_error", ["raise", "drop", "mask"])
def test_a_length_that_is_wrong_is_a_bad_sample(on_error: str) -> None:
    """What a column says too short would be cut off: it is told, and treated as any bad sample."""
    told = [*LENGTHS]
    told[4] = 3
    data = data_of(n=told)
    feed = mf.Feed(data, 4, bucket_by="n", buckets=[4, 12], on_error=on_error, max_bad=0.1)
    if on_error == "raise":
        with pytest.raises(
            mf.SampleError, match="'items' of row 4 cannot be used: it has 12 items, and"
        ):
            list(feed)
        return
    served = [batch[0]["row"] for batch in feed]
    assert (4 in np.concatenate(served)) is False
    assert [each.row for each in feed.report().bad] == [4]


@pytest.mark.parametrize("on_error", ["drop", "mask"])
def test_samples_that_cannot_be_read_are_in_some_bucket(tmp_path: Path, on_error: str) -> None:
    """They are left out, or masked, as in any order."""
    for row, length in enumerate(LENGTHS):
        np.save(tmp_path / f"{row}.npy", np.full(length, row + 1, np.int32))
    (tmp_path / "5.npy").write_bytes(b"no array")
    rows = {"file": [f"{row}.npy" for row in range(len(LENGTHS))], "row": np.arange(len(LENGTHS))}
    data = mf.Dataset(
        rows,
        root=tmp_path,
        inputs={"items": mf.Array("file", shape=(None,), dtype="int32", pad_to=12)},
        targets=mf.Array("row"),
    )
    feed = mf.Feed(data, 4, bucket_by="items", shuffle=True, on_error=on_error, max_bad=0.1)
    with feed:
        seen = np.concatenate([batch[1] for batch in feed])
    assert set(seen) == set(range(len(LENGTHS))) - {5}
    assert [each.row for each in feed.report().bad] == [5]
    assert feed.report().passes == 1


def test_a_state_goes_on_and_belongs_to_its_buckets() -> None:
    """At every step; other boundaries and other lengths are other batches."""

    def feed_of(lengths: list[int] = LENGTHS, buckets: Any = (4, 12)) -> mf.Feed:
        return mf.Feed(data_of(lengths), 4, bucket_by="n", buckets=buckets, shuffle=True)

    whole = [batch[0]["items"] for batch in feed_of()]
    for step in range(len(whole)):
        again = feed_of()
        again.load_state_dict(json.loads(json.dumps(feed_of().state_dict((0, step)))))
        for batch, wanted in zip(again, whole[step:], strict=True):
            np.testing.assert_array_equal(batch[0]["items"], wanted)
    state = feed_of().state_dict((0, 1))
    for other in (feed_of(buckets=(5, 12)), feed_of(LENGTHS[::-1])):
        with pytest.raises(mf.StateError, match="this feed has another one"):
            other.load_state_dict(state)


def test_steps_per_epoch_go_on_along_one_stream() -> None:
    """As in any order."""
    plain = mf.Feed(data_of(), 4, bucket_by="items", shuffle=True)
    with mf.Feed(data_of(), 4, bucket_by="items", shuffle=True, steps_per_epoch=3) as cut:
        stream = [(epoch, step) for epoch in range(3) for step in range(len(plain))]
        for number in range(12):
            np.testing.assert_array_equal(cut.rows(*divmod(number, 3)), plain.rows(*stream[number]))
        assert sum(len(batch[0]["row"]) for batch in cut) == cut.report().samples


def test_augmented_sequences_are_cut_as_well() -> None:
    """With the draws of their slots, the same in another process."""
    items = [np.full(length, 1.0, np.float32) for length in LENGTHS]
    data = mf.Dataset({"items": items}, inputs={"items": mf.Array("items", pad_to=12)})
    options: dict[str, Any] = {
        "bucket_by": "items",
        "shuffle": True,
        "augment": mf.Noise("items", sigma=0.1),
    }
    plain = mf.Feed(data, 4, **options)
    with mf.Feed(data, 4, **options, processes=1) as feed:
        for step, (inputs,) in enumerate(feed):
            np.testing.assert_array_equal(inputs["items"], plain.batch(0, step)[0]["items"])
    redrawn = plain.redraw(0, 0, 1)[0]["items"]
    assert redrawn.shape == plain.batch(0, 0)[0]["items"].shape


def test_the_report_states_the_accounting() -> None:
    """How many samples and batches each bucket has, and what that saves."""
    report = mf.Feed(data_of(), 4, bucket_by="items", buckets=[4, 8, 12]).report()
    assert report.accounting == (
        "batches by the length of 'items':",
        "  up to 4 items: 13 samples, 4 batches",
        "  up to 8 items: 4 samples, 1 batches",
        "  up to 12 items: 6 samples, 2 batches",
        "  24% of their items are padding; of one length, 57% would be",
    )


def test_show_draws_a_batch() -> None:
    """Of one length, however many samples are asked for."""
    assert mf.show(mf.Feed(data_of(), 4, bucket_by="items", shuffle=True), samples=9).height > 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"bucket_by": "itms"},
            "bucket_by names a padded field, or a column of lengths; there is no 'itms'.\n"
            "  Did you mean 'items'?",
        ),
        (
            {"bucket_by": ["itms"]},
            "bucket_by names no field of the dataset: 'itms'.\n  Did you mean 'items'?",
        ),
        (
            {"bucket_by": ["row"]},
            "bucket_by names fields that pad; 'row' (Array) does not.\n"
            "  Name a Text, or an Array with pad_to=<length>.",
        ),
        (
            {"bucket_by": 3},
            "bucket_by names a padded field, several of them, or the column of each one's lengths.\n"
            '  Received: 3.\n  Write bucket_by="notes", or bucket_by={"notes": "n_words"}.',
        ),
        (
            {"bucket_by": "items", "buckets": [4, 8]},
            "every sample has a bucket: 6 of 23 are longer than the last boundary, 8; the longest has "
            "12 items.\n  Pass buckets=[4, 8, 12], or declare 'items' with a smaller length.",
        ),
        (
            {"bucket_by": "items", "buckets": [4, 13]},
            "a bucket is no longer than its field: 'items' has a length of 12; received buckets=[4, "
            "13].",
        ),
        (
            {"bucket_by": "items", "buckets": [4, 4, 12]},
            "buckets is how many there are, or a list of lengths, from short to long.\n"
            "  Received: [4, 4, 12].\n  Write buckets=4, or e.g. buckets=[3, 12].",
        ),
        (
            {"bucket_by": "items", "buckets": []},
            "buckets is how many there are, or a list of lengths, from short to long.\n"
            "  Received: [].\n  Write buckets=4, or e.g. buckets=[3, 12].",
        ),
        (
            {"buckets": [4, 12]},
            "buckets= are of lengths, and nothing says whose; received buckets=[4, 12].\n"
            "  Pass bucket_by=, the name of a padded field.",
        ),
        (
            {"bucket_by": {"items": "half"}},
            "lengths are whole numbers of 0 or more; 'half' has 0.5 in row 1.",
        ),
        (
            {"bucket_by": "items", "buckets": 4, "remainder": "drop", "batch_size": 20},
            "an epoch has at least one batch: no bucket has batch_size=20 samples, and remainder='drop' "
            "drops the rest of each.\n  Pass a smaller batch_size, fewer buckets, or remainder='keep'.",
        ),
        (
            {"bucket_by": "items", "balance": "n", "shuffle": True},
            "buckets have each sample once an epoch, balance= has some more often.\n"
            '  Pass one of them; class_weight={...: "balanced"} goes with bucket_by=.',
        ),
        (
            {"bucket_by": "items", "shuffle": "block"},
            "a bucket has rows from anywhere, so they are never read in blocks; received "
            "shuffle='block'.\n"
            "  Pass shuffle=True; mf.cache makes rows quick to read in any order.",
        ),
    ],
)
def test_what_cannot_be_is_told(options: dict[str, Any], message: str) -> None:
    """At declaration, with what came and what to do."""
    data = data_of(half=np.arange(23) / 2)
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Feed(data, **{"batch_size": 4, **options})
    assert str(caught.value) == message


def test_what_does_not_go_together_is_told() -> None:
    """A column that may be of several fields, mixtures, shapes of one's own, and pairs."""
    rows = {"a": [[1.0], [2.0, 3.0]], "b": [[1.0], [2.0]], "n": [1, 2], "who": [1, 1]}
    a, b = mf.Array("a", pad_to=2), mf.Array("b", pad_to=2)
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Feed(mf.Dataset(rows, inputs=(a, b)), 2, bucket_by="n")
    assert str(caught.value) == (
        "bucket_by='n' is a column of lengths, and the dataset has 2 fields that pad: 'a', 'b'.\n"
        "  Say whose lengths they are: bucket_by={'a': 'n'}."
    )
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Feed(mf.Dataset(rows, inputs=mf.Numeric("n")), 2, bucket_by={"n": "n"})
    assert str(caught.value).startswith("bucket_by names fields that pad; 'n' (Numeric) does not.")
    one = mf.Dataset(rows, inputs=a)
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Feed(one, 2, bucket_by="a", augment=mf.MixUp("a"))
    assert str(caught.value) == (
        "a batch of a bucket is as long as its samples; 'a' is mixed with others, which may be longer.\n"
        "  Leave bucket_by= out, or do not mix it."
    )
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Feed(mf.Pairs(one, by="who", positive=1), 2, bucket_by="a")
    assert str(caught.value) == (
        "a bucket is of samples of one length; Pairs have one for each of their rows.\n"
        "  Leave bucket_by= out."
    )
    summed = mf.Array("a", pad_to=2, preprocess=lambda values: values.sum(keepdims=True))
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Feed(mf.Dataset(rows, inputs=summed), 2, bucket_by="a")
    assert str(caught.value) == (
        "a bucket cuts padding off, and preprocess makes (1,) of the 2 items of 'a'.\n"
        "  Leave the first axis as it is in preprocess."
    )
