"""Pairs and triplets: balanced as asked, no row with itself, a function of the position alone."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import multifeed as mf

PEOPLE = ["ann", "ann", "bob", "bob", "bob", "cid", "cid"]


def data_of(people: list[Any] = PEOPLE, **options: Any) -> mf.Dataset:
    """Return samples that carry their row number."""
    rows = {"row": np.arange(len(people)), "person": people, "kind": [str(each) for each in people]}
    return mf.Dataset(rows, inputs={"row": mf.Array("row")}, **options)


def drawn(feed: mf.Feed, epoch: int) -> np.ndarray:
    """Return the rows of an epoch, ``int64[n, k]``."""
    return np.concatenate([feed.rows(epoch, step) for step in range(len(feed))])


def people_of(photos: Path) -> mf.Dataset:
    """Return 23 photographs of six people, with a key."""
    files = [str(photos / "left" / f"p{number:02}.jpg") for number in range(23)]
    rows = {
        "id": [f"p{number:02}" for number in range(23)],
        "file": files,
        "person": [number // 4 for number in range(23)],
        "number": np.arange(23),
    }
    inputs = {"photo": mf.Image("file", size=(16, 20)), "number": mf.Array("number")}
    return mf.Dataset(rows, key="id", inputs=inputs)


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(2, 9), min_size=2, max_size=8),
    positive=st.floats(0.01, 1.0),
    seed=st.integers(-(2**70), 2**70),
    epoch=st.integers(0, 10**9),
    shuffle=st.booleans(),
)
def test_pairs_are_what_they_say(
    sizes: list[int], positive: float, seed: int, epoch: int, shuffle: bool
) -> None:
    """Each row first once, its share of positive pairs in every run, no row with itself."""
    people = np.repeat(np.arange(len(sizes)), sizes)
    people = people[np.random.default_rng(0).permutation(len(people))]
    pairs = mf.Pairs(data_of(people.tolist()), by="person", positive=positive)
    feed = mf.Feed(pairs, 5, shuffle=shuffle, seed=seed)
    rows = drawn(feed, epoch)
    assert rows.shape == (len(people), 2)
    assert sorted(rows[:, 0]) == list(range(len(people)))
    assert (rows[:, 0] != rows[:, 1]).all()
    same = people[rows[:, 0]] == people[rows[:, 1]]
    for start in range(len(rows)):
        for stop in range(start + 1, len(rows) + 1):
            assert abs(same[start:stop].sum() - positive * (stop - start)) < 1 + 1e-6
    told = np.concatenate([feed.batch(epoch, step)[1] for step in range(len(feed))])
    assert told.dtype == np.int32
    np.testing.assert_array_equal(told, same)


@settings(deadline=None)
@given(sizes=st.lists(st.integers(2, 9), min_size=2, max_size=8), epoch=st.integers(0, 10**9))
def test_triplets_are_what_they_say(sizes: list[int], epoch: int) -> None:
    """Each row the anchor once, with another row of its group and one of another group."""
    people = np.repeat(np.arange(len(sizes)), sizes)
    triplets = mf.Triplets(data_of(people.tolist()), by="person")
    rows = drawn(mf.Feed(triplets, 5, shuffle=True, seed=1), epoch)
    assert sorted(rows[:, 0]) == list(range(len(people)))
    assert (rows[:, 0] != rows[:, 1]).all()
    groups = people[rows]
    assert (groups[:, 0] == groups[:, 1]).all()
    assert (groups[:, 0] != groups[:, 2]).all()


def test_partners_are_drawn_evenly() -> None:
    """Over many epochs every mate, and every row of another group, is as likely."""
    feed = mf.Feed(mf.Triplets(data_of(), by="person"), 7, shuffle=True)
    rows = np.concatenate([feed.rows(epoch, 0) for epoch in range(3_000)])
    for place in (1, 2):
        of_bob = rows[rows[:, 0] == 2]
        counts = np.bincount(of_bob[:, place], minlength=7)
        others = counts[counts > 0]
        assert len(others) == (2 if place == 1 else 4)
        expected = len(of_bob) / len(others)
        assert (abs(others - expected) < 5 * np.sqrt(expected)).all()


def test_epochs_have_other_pairs_where_they_are_shuffled() -> None:
    """Without, all have the same, so that two evaluations are of the same pairs."""
    for shuffle in (False, True):
        feeds = [
            mf.Feed(mf.Pairs(data_of(), by="person"), 7, shuffle=shuffle, seed=s) for s in (1, 1, 2)
        ]
        first, again, other = (drawn(feed, 3) for feed in feeds)
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()
        assert (first == drawn(feeds[0], 4)).all() == (not shuffle)


@pytest.mark.parametrize("kind", [mf.Pairs, mf.Triplets])
@pytest.mark.parametrize("engine", [{}, {"workers": 3}, {"processes": 2, "workers": 1}])
@pytest.mark.parametrize(
    ("batch_size", "remainder"), [(4, "keep"), (5, "drop"), (6, "pad"), (30, "keep")]
)
def test_every_engine_reads_both_rows_alike(
    photos: Path, kind: Any, engine: dict[str, int], batch_size: int, remainder: str
) -> None:
    """Each branch has what the dataset has for its row; each pass is proven."""
    data = people_of(photos)
    samples = kind(data, by="person")
    options: dict[str, Any] = {"shuffle": True, "seed": 3, "remainder": remainder}
    plain = mf.Feed(samples, batch_size, **options)
    with mf.Feed(samples, batch_size, **options, **engine) as feed:
        for epoch in range(2):
            for step, (inputs, *rest) in enumerate(feed):
                wanted = plain.batch(epoch, step)
                for name, values in inputs.items():
                    np.testing.assert_array_equal(values, wanted[0][name])
                rows = feed.rows(epoch, step)
                assert feed.keys(epoch, step) == [
                    tuple(f"p{row:02}" for row in each) for each in rows.tolist()
                ]
                for branch, own in zip(samples.branches, rows.T, strict=True):
                    assert inputs[f"number_{branch}"][: len(own)].tolist() == own.tolist()
                    for place, row in enumerate(own):
                        photo = inputs[f"photo_{branch}"][place]
                        np.testing.assert_array_equal(photo, data[row][0]["photo"])
                if rest:
                    np.testing.assert_array_equal(rest[0], wanted[1])
                assert len(rest) == (0 if kind is mf.Triplets else 2 if remainder == "pad" else 1)
            assert step == len(feed) - 1
        report = feed.report()
        assert report.passes == 2
        assert set(report.fields) == {"photo", "number"}


def test_columns_are_gathered_many_batches_at_once() -> None:
    """As those of a dataset are, and the same bytes come."""
    people = [number % 50 for number in range(1_000)]
    pairs = mf.Pairs(data_of(people), by="person")
    with mf.Feed(pairs, 8, shuffle=True) as feed:
        for step, (inputs, same) in enumerate(feed):
            rows = feed.rows(0, step)
            np.testing.assert_array_equal(np.stack([inputs["row_a"], inputs["row_b"]], 1), rows)
            np.testing.assert_array_equal(same, rows[:, 0] % 50 == rows[:, 1] % 50)
        assert feed.report().passes == 1


def test_a_lost_partner_is_an_error() -> None:
    """The receipts of all rows are compared with those of the slots."""
    from multifeed.account import Account, Ledger
    from multifeed.receipt import receipt

    recipe = mf.Feed(mf.Pairs(data_of(), by="person"), 4)._recipe
    ledger = Ledger(recipe, Account(7, 0.0))
    rows = [recipe.rows(number) for number in range(2)]
    kinds = recipe.plan.kinds
    ledger.add(0, 1, rows[0], kinds * receipt(rows[0]))
    with pytest.raises(mf.MultifeedError, match="has not served every row exactly once"):
        ledger.add(1, 1, rows[1], kinds * receipt(rows[1][:, :1]))


def test_a_function_that_changes_its_mind_is_told_by_name() -> None:
    """Each side draws its negatives on its own; that they differ is no error of multifeed."""
    people = [number % 7 for number in range(200)]
    rows = {"x": np.arange(200.0)[:, None], "person": people}
    data = mf.Dataset(rows, inputs=mf.Array("x", preprocess=lambda values: values))
    here = os.getpid()

    def moody(rows: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        return -candidates if os.getpid() == here else candidates

    pairs = mf.Pairs(data, by="person", negatives=moody)
    with (
        mf.Feed(pairs, 8, processes=1) as feed,
        pytest.raises(mf.DeclarationError) as caught,
    ):
        list(feed)
    assert str(caught.value) == (
        "your function 'moody', given as negatives=, must be a function of row numbers alone, slot by "
        "slot: in pass 0 it chose other rows for the same slots.\n"
        "  Look up what it needs in a table that stays as it is; draw nothing at random, count no "
        "calls, and compare no slots."
    )


def test_structures() -> None:
    """A name becomes one for each row, in the structure of the inputs."""
    rows = {"x": np.arange(4.0), "y": np.arange(4.0), "who": [1, 1, 2, 2]}
    x, y = mf.Numeric("x"), mf.Numeric("y")

    def of(**options: Any) -> mf.Pairs:
        return mf.Pairs(mf.Dataset(rows, **options), by="who")

    assert of(inputs=x).structure.parts == (("x_a", "x_b"), "same")
    assert of(inputs=(x, y)).structure.parts == (("x_a", "y_a", "x_b", "y_b"), "same")
    named = of(inputs={"one": x})
    assert named.structure.parts == ({"one_a": "one_a", "one_b": "one_b"}, "same")
    assert named.spec == (
        {"one_a": mf.Spec((1,), "float32"), "one_b": mf.Spec((1,), "float32")},
        mf.Spec((), "int32"),
    )
    both = mf.Dataset(rows, inputs=x, targets=y, sample_weight="y")
    inputs, targets, weights = mf.Feed(mf.Pairs(both, by="who"), 4).batch(0, 0)
    assert list(targets) == list(weights) == ["same", "y_a", "y_b"]
    assert targets["y_a"][:, 0].tolist() == weights["y_a"].tolist() == inputs[0][:, 0].tolist()
    assert targets["y_b"][:, 0].tolist() == weights["y_b"].tolist() == inputs[1][:, 0].tolist()
    assert weights["same"].tolist() == [1, 1, 1, 1]
    inputs, targets, _ = mf.Feed(mf.Triplets(both, by="who"), 4).batch(0, 0)
    assert len(inputs) == len(targets) == 3
    assert [each[:, 0].tolist() for each in targets] == [each[:, 0].tolist() for each in inputs]


def test_each_row_is_augmented_by_a_draw_of_its_own(photos: Path) -> None:
    """By the transforms of the dataset's field; what is linked to it follows its own row."""
    data = mf.Dataset(
        people_of(photos).rows,
        inputs={"photo": mf.Image("file", size=16), "copy": mf.Same("photo")},
    )
    augment = [mf.RandomFlip("photo"), mf.RandomColor("photo", brightness=0.3)]
    feeds = [mf.Feed(mf.Pairs(data, by="person"), 23, augment=augment, seed=s) for s in (1, 1, 2)]
    first, again, other = (feed.batch(0, 0)[0] for feed in feeds)
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert (first["photo_a"] != other["photo_a"]).any()
    for branch in "ab":
        np.testing.assert_array_equal(first[f"photo_{branch}"], first[f"copy_{branch}"])
    flips, colors = feeds[0].draws(0, 0)
    assert all(values.shape[:2] == (23, 2) for values in (*flips.values(), *colors.values()))
    assert any((values[:, 0] != values[:, 1]).any() for values in colors.values())
    redrawn = feeds[0].redraw(0, 0, 1)[0]
    assert (redrawn["photo_b"] != first["photo_b"]).any()
    with mf.Feed(mf.Pairs(data, by="person"), 23, augment=augment, seed=1, processes=1) as elsewhere:
        for name, values in elsewhere.take(0, 0)[0].items():
            np.testing.assert_array_equal(values, first[name])


@pytest.mark.parametrize("on_error", ["drop", "mask"])
@pytest.mark.parametrize("engine", [{}, {"processes": 1}])
def test_a_pair_with_a_bad_row_is_bad(
    photos: Path, tmp_path: Path, on_error: str, engine: dict[str, int]
) -> None:
    """Whichever of its rows that is; it is left out, or masked, and the row is reported."""
    files = [str(photos / "left" / f"p{number:02}.jpg") for number in range(23)]
    (tmp_path / "bad.jpg").write_bytes(b"no JPEG")
    files[7] = str(tmp_path / "bad.jpg")
    rows = {"file": files, "person": [number // 4 for number in range(23)], "x": np.arange(23.0)}
    rows["x"][3] = np.nan
    inputs = {"photo": mf.Image("file", size=16), "x": mf.Numeric("x")}
    pairs = mf.Pairs(mf.Dataset(rows, inputs=inputs), by="person")
    with mf.Feed(pairs, 6, shuffle=True, on_error=on_error, max_bad=0.1, **engine) as feed:
        for step, (inputs, same, *weights) in enumerate(feed):
            every = feed.slots(0, step)
            is_bad = np.isin(every, [3, 7]).any(1)
            if on_error == "drop":
                np.testing.assert_array_equal(feed.rows(0, step), every[~is_bad])
                assert len(same) == len(inputs["photo_a"]) == (~is_bad).sum()
                assert inputs["x_b"][:, 0].tolist() == every[~is_bad, 1].tolist()
            else:
                assert ((weights[0] == 0) == is_bad).all()
        report = feed.report()
        assert sorted(each.row for each in report.bad) == [3, 7]
        assert report.passes == 1


def test_what_sits_alone_is_told_or_left_to_the_negatives() -> None:
    """A row without another one in its group has no positive partner."""
    people = [*PEOPLE, "eve", "fay", "gus", "hal"]
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Pairs(data_of(people), by="person")
    assert str(caught.value) == (
        "a positive partner is another row of the same group: 4 of 7 groups of 'person' have a single "
        "row: 'eve', 'fay', 'gus' and 1 more.\n"
        '  Pass singles="negative" to take these as partners of other groups alone, or "drop" to leave '
        "them out."
    )
    for kind in (mf.Pairs, mf.Triplets):
        for singles in ("negative", "drop"):
            samples = kind(data_of(people), by="person", singles=singles)
            assert len(samples) == 7
            feed = mf.Feed(samples, 7, shuffle=True)
            rows = np.concatenate([feed.rows(epoch, 0) for epoch in range(40)])
            assert rows[:, 0].max() == 6
            assert (rows[:, -1].max() > 6) == (singles == "negative")
            if kind is mf.Triplets:
                assert rows[:, 1].max() == 6
            list(feed)
            assert feed.report().passes == 1


def test_hard_negatives_are_the_best_of_the_candidates() -> None:
    """As a function of row numbers says; the anchor's own group is no candidate."""
    table = np.random.default_rng(0).normal(size=(60, 4))
    people = np.repeat(np.arange(12), 5)
    seen = []

    def near(rows: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        seen.append(rows.shape)
        assert (people[rows[:, :1]] != people[candidates]).all()
        away = table[rows[:, :1]] - table[candidates]
        return -np.linalg.norm(away, axis=-1)

    def distance(samples: mf.Pairs | mf.Triplets) -> float:
        rows = mf.Feed(samples, 60, shuffle=True).rows(0, 0)
        negative = rows[people[rows[:, 0]] != people[rows[:, -1]]]
        return float(np.linalg.norm(table[negative[:, 0]] - table[negative[:, -1]], axis=1).mean())

    data = data_of(people.tolist())
    for kind, count in ((mf.Pairs, 1), (mf.Triplets, 2)):
        seen.clear()
        hard = distance(kind(data, by="person", negatives=near, candidates=20))
        assert all(shape[1] == count for shape in seen)
        assert hard < 0.6 * distance(kind(data, by="person"))


def test_hard_negatives_in_worker_processes() -> None:
    """The function goes along; a slot has the same rows there, however many are asked for at once."""
    people = [number % 7 for number in range(50)]
    rows = {"x": np.arange(50.0)[:, None], "person": people}
    data = mf.Dataset(rows, inputs=mf.Array("x", preprocess=lambda values: values))
    pairs = mf.Pairs(data, by="person", negatives=lambda rows, others: -abs(rows - others))
    with mf.Feed(pairs, 8, shuffle=True, processes=1) as feed:
        for step, ((a, b), _) in enumerate(feed):
            np.testing.assert_array_equal(np.concatenate([a, b], 1), feed.rows(0, step))
        assert feed.report().passes == 1


def test_a_state_goes_on_and_belongs_to_its_pairs() -> None:
    """At every step; other options and other groups are other pairs."""

    def feed_of(people: list[Any] = PEOPLE, **options: Any) -> mf.Feed:
        return mf.Feed(mf.Pairs(data_of(people, key="row"), by="person", **options), 3, shuffle=True)

    whole = [batch[0]["row_b"] for batch in feed_of()]
    for step in range(3):
        again = feed_of()
        again.load_state_dict(json.loads(json.dumps(feed_of().state_dict((0, step)))))
        for batch, wanted in zip(again, whole[step:], strict=True):
            np.testing.assert_array_equal(batch[0]["row_b"], wanted)
    state = feed_of().state_dict((0, 1))
    for other in (feed_of(positive=0.4), feed_of([*PEOPLE[1:], PEOPLE[0]])):
        with pytest.raises(mf.StateError, match="this feed has another one"):
            other.load_state_dict(state)
    with pytest.raises(mf.StateError, match="this feed has another one"):
        mf.Feed(data_of(key="row"), 3, shuffle=True).load_state_dict(state)


def test_steps_per_epoch_go_on_along_one_stream() -> None:
    """As with any samples."""
    pairs = mf.Pairs(data_of(), by="person")
    plain = mf.Feed(pairs, 2, shuffle=True)
    stream = [(epoch, step) for epoch in range(3) for step in range(len(plain))]
    with mf.Feed(pairs, 2, shuffle=True, steps_per_epoch=3) as cut:
        for number, position in enumerate(stream[:9]):
            np.testing.assert_array_equal(cut.rows(*divmod(number, 3)), plain.rows(*position))


def test_show_draws_both(photos: Path) -> None:
    """With the keys of both rows, and whether they are the same."""
    pairs = mf.Pairs(people_of(photos), by="person")
    assert mf.show(mf.Feed(pairs, 4), samples=3).height == mf.show(pairs, samples=3).height


def nothing(rows: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    return np.zeros(3)


def nan(rows: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    return np.full(candidates.shape, np.nan)


def fails(rows: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    return np.arange(5.0)[candidates]


def compares(rows: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    return candidates * (1.0 if len(rows) > 2 else -1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "persn"}, "the row table has no column 'persn'.\n  Did you mean 'person'?"),
        (
            {"by": "gap"},
            "every sample needs a value to group by: 'gap' is null in 1 rows, first in row 0.\n"
            "  Fill it in, or leave these rows out with data.select.",
        ),
        (
            {"by": "row"},
            "a positive partner is another row of the same group: 7 of 7 groups of 'row' have a single "
            "row: 0, 1, 2 and 4 more.\n"
            '  Pass singles="negative" to take these as partners of other groups alone, or "drop" to '
            "leave them out.",
        ),
        (
            {"by": "row", "singles": "drop"},
            "a positive partner is another row of the same group; no group of 'row' has two rows.",
        ),
        (
            {"by": "one"},
            "a negative partner is a row of another group; 'one' has a single group with rows to take.",
        ),
        (
            {"by": "person", "positive": 0},
            "positive is a share of the pairs, above 0 and up to 1; received 0.",
        ),
        (
            {"by": "person", "singles": "keep"},
            "singles must be one of 'raise', 'negative', 'drop'; received 'keep'.",
        ),
        (
            {"by": "person", "negatives": "hard"},
            "negatives= is a function of rows and candidates; received 'hard'.",
        ),
        (
            {"by": "person", "negatives": nothing},
            "your function 'nothing', given as negatives=, must return how good each candidate is: "
            "a number for each, of shape (3, 16).\n"
            "  Received: float64 of shape (3,).",
        ),
        (
            {"by": "person", "negatives": nan},
            "your function 'nan', given as negatives=, must return how good each candidate is: "
            "a number for each, of shape (3, 16).\n"
            "  Received: NaN.",
        ),
        (
            {"by": "person", "negatives": fails},
            "your function 'fails', given as negatives=, raised IndexError: index 5 is out of bounds "
            "for axis 0 with size 5.\n"
            "  It was given rows of shape (3, 1) and candidates of shape (3, 16), row numbers up to "
            "6, and must accept all of the dataset.\n"
            "  The exception above is the original.",
        ),
        (
            {"by": "person", "negatives": compares},
            "your function 'compares', given as negatives=, must be a function of row numbers alone, "
            "slot by slot: asked again, for fewer slots at once, it chose other rows in 3 of 7.\n"
            "  Look up what it needs in a table that stays as it is; draw nothing at random, count no "
            "calls, and compare no slots.",
        ),
    ],
)
def test_what_cannot_be_is_told(options: dict[str, Any], message: str) -> None:
    """At declaration, with what came and what to do."""
    rows = {"row": np.arange(7), "person": PEOPLE, "gap": [None, *PEOPLE[1:]], "one": ["x"] * 7}
    data = mf.Dataset(rows, inputs=mf.Array("row"))
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Pairs(data, **options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"shuffle": "block"},
            "Pairs have partners anywhere in the dataset, so their rows are never read in blocks.\n"
            "  Pass shuffle=True; mf.cache makes rows quick to read in any order.",
        ),
        (
            {"balance": "person", "shuffle": True},
            "Pairs say themselves which rows are drawn; balance= says another thing.\n"
            "  Leave balance= out. The share of positive pairs is positive=.",
        ),
        (
            {"augment": mf.MixUp("x")},
            "Pairs are of one group or of two, which a mixture of samples is not.\n"
            "  Leave MixUp and CutMix out.",
        ),
        (
            {"class_weight": {"same": "balanced"}},
            "class weights are of the dataset's own targets, and it has none.\n"
            "  How many pairs are 'same' is said by positive=.",
        ),
        (
            {"remainder": "drop"},
            "an epoch has at least one batch: 7 samples are fewer than batch_size=8, and "
            "remainder='drop' drops them.\n  Pass a smaller batch_size, or remainder='keep'.",
        ),
    ],
)
def test_what_a_feed_refuses(options: dict[str, Any], message: str) -> None:
    """With the reason."""
    rows = {"x": np.arange(7.0), "person": PEOPLE}
    pairs = mf.Pairs(mf.Dataset(rows, inputs=mf.Numeric("x")), by="person")
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Feed(pairs, 8, **options)
    assert str(caught.value) == message


def test_only_datasets_have_pairs() -> None:
    """What else came is told."""
    with pytest.raises(mf.DeclarationError, match=r"^mf\.Pairs takes a dataset; received dict\.$"):
        mf.Pairs({"x": [1]}, by="x")  # type: ignore[arg-type]
