"""States of feeds: the same remaining stream from every step on, and a reason for every refusal."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

import multifeed as mf
from multifeed.fields.base import Columnar, Field
from multifeed.fields.weight import Ones
from multifeed.state import FORMAT, declared
from multifeed.table import Columns


def columns(count: int = 50, **options: Any) -> mf.Dataset:
    """Return a dataset that is all in memory."""
    return mf.Dataset(
        {"id": np.arange(count), "x": np.arange(count) * 0.5, "kind": np.arange(count) % 3},
        inputs={"x": mf.Numeric("x")},
        targets={"kind": mf.Category("kind", vocabulary=[0, 1, 2])},
        **{"key": "id", **options},
    )


def in_memory(count: int = 50, **options: Any) -> mf.Feed:
    return mf.Feed(columns(count), 7, **{"shuffle": True, "seed": 4, **options})


def assert_same(one: Any, other: Any) -> None:
    """Raise unless two batches are equal."""
    if isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other, strict=True)
        return
    parts = (one.values(), other.values()) if isinstance(one, dict) else (one, other)
    for left, right in zip(*parts, strict=True):
        assert_same(left, right)


def through_json(state: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(state))
    return found


AUGMENT = [mf.RandomAffine("left", rotation=20, shift=0.1), mf.RandomNoise("left", (0, 9))]


@pytest.mark.parametrize("options", [{}, {"steps_per_epoch": 4}, {"remainder": "pad"}], ids=str)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"workers": 1}, {"workers": 3, "prefetch": 7}),
        ({"workers": 2}, {"processes": 2, "workers": 1}),
        ({"processes": 1, "workers": 2}, {"workers": 1, "prefetch": 1}),
    ],
    ids=["threads", "threads then processes", "processes then threads"],
)
def test_files_go_on_at_the_next_batch_from_every_step_on_any_engine(
    pairs: mf.Dataset, before: dict[str, Any], after: dict[str, Any], options: dict[str, Any]
) -> None:
    """After any batch of two epochs, another feed goes on at the very next one, and so into epoch 3."""
    options = {"shuffle": True, "seed": 7, "augment": AUGMENT, **options}
    with mf.Feed(pairs, 5, **options, **before) as feed, mf.Feed(pairs, 5, **options, **after) as other:
        steps = len(feed)
        for epoch in range(2):
            for step, _ in enumerate(feed):
                other.load_state_dict(through_json(feed.state_dict()))
                expected = epoch * steps + step + 1
                for batch in other:
                    assert_same(batch, feed.batch(*divmod(expected, steps)))
                    expected += 1
                assert expected % steps == 0
                # And then whole epochs.
                assert_same(next(iter(other)), feed.batch(expected // steps, 0))


@pytest.mark.parametrize("count", [50, 49, 6])
@pytest.mark.parametrize("steps_per_epoch", [None, 3])
def test_columns_go_on_at_the_next_batch_from_every_step(
    count: int, steps_per_epoch: int | None
) -> None:
    """The same where batches are gathered from memory, many at once."""
    feed, other = (in_memory(count, steps_per_epoch=steps_per_epoch) for _ in range(2))
    steps = len(feed)
    for epoch in range(3):
        for step, _ in enumerate(feed):
            other.load_state_dict(through_json(feed.state_dict()))
            following = range(epoch * steps + step + 1, -(-(epoch * steps + step + 2) // steps) * steps)
            batches = list(other)
            assert len(batches) == len(following)
            for number, batch in zip(following, batches, strict=True):
                assert_same(batch, feed.batch(*divmod(number, steps)))


def test_a_state_follows_the_last_batch_of_a_pass_that_was_given_up() -> None:
    """After a break, the state stands behind the last batch; a pass without it serves the epoch anew."""
    feed = in_memory()
    assert feed.state_dict()["epoch"] == feed.state_dict()["step"] == 0
    list(itertools.islice(feed, 3))
    state = feed.state_dict()
    assert (state["epoch"], state["step"]) == (0, 3)
    assert len(list(feed)) == len(feed)
    state = feed.state_dict()
    assert (state["epoch"], state["step"], feed.epoch) == (1, 0, 1)
    feed.epoch = 5
    assert feed.state_dict()["epoch"] == 5


def test_a_state_of_the_last_batch_of_an_epoch_begins_the_next_one() -> None:
    """Inside the loop over an epoch, after its last batch, the state is the next epoch's begin."""
    feed = in_memory()
    for _ in feed:
        state = feed.state_dict()
    assert (state["epoch"], state["step"]) == (1, 0)


def test_a_loaded_state_is_the_state_until_a_batch_was_delivered() -> None:
    """Loading and saving changes nothing; setting the epoch begins that one anew."""
    feed = in_memory()
    state = feed.state_dict((4, 5))
    feed.load_state_dict(state)
    assert feed.state_dict() == state
    assert feed.epoch == 4
    feed.epoch = 2
    assert len(list(feed)) == len(feed)
    with pytest.raises(IndexError, match=re.escape("step 8 of an epoch of 8 steps")):
        feed.state_dict((0, 8))


def test_a_pass_from_the_middle_counts_what_it_has_served() -> None:
    """`report` counts the batches and samples of the rest of an epoch, no others."""
    feed = in_memory()
    feed.load_state_dict(feed.state_dict((2, 6)))
    list(feed)
    report = feed.report()
    assert (report.batches, report.samples) == (2, 7 + 1)


def test_a_far_position_costs_nothing() -> None:
    """At step 10^6 of an epoch, going on reads no batch before it."""
    feed = mf.Feed(columns(50), 1, shuffle=True, steps_per_epoch=2_000_000)
    feed.load_state_dict(through_json(feed.state_dict((3, 1_000_000))))
    assert_same(next(iter(feed)), feed.batch(3, 1_000_000))
    assert feed.report().batches <= 1


def many_fields(count: int) -> mf.Dataset:
    names = [f"measurement_{number}" for number in range(count)]
    inputs = {name: mf.Numeric(name, normalize=True) for name in names}
    data = mf.Dataset({name: [1.0, 2.0] for name in names}, inputs=inputs)
    data.adapt()
    return data


@pytest.mark.parametrize("count", [1, 10, 40, 1_000])
def test_a_state_has_less_than_10_kb(count: int) -> None:
    """With any number of fields that have learned something, and a vocabulary of 10,000 words."""
    feed = mf.Feed(many_fields(count), 1, seed=2**64)
    assert len(json.dumps(feed.state_dict((10**6, 1)))) < 10_000
    labels = tuple(f"label {number}" for number in range(10_000))
    data = mf.Dataset({"a": ["label 1"]}, inputs=mf.Category("a", vocabulary=labels))
    assert len(json.dumps(mf.Feed(data, 1).state_dict())) < 10_000


# What is another dataset, and what is not -------------------------------------------------------------


def as_dict(folder: Path) -> Any:
    return {"id": [f"p{n}" for n in range(9)], "n": np.arange(9), "w": np.arange(9.0)}


def as_csv(folder: Path) -> Any:
    lines = ["id,n,w", *(f"p{n},{n},{n}.0" for n in range(9))]
    (folder / "rows.csv").write_text("\n".join(lines))
    return folder / "rows.csv"


def as_parquet(folder: Path) -> Any:
    table = pa.table({
        "id": pa.array([f"p{n}" for n in range(9)]).dictionary_encode(),
        "n": pa.array(range(9), pa.int16()),
        "w": pa.array(map(float, range(9)), pa.float32()),
    })  # fmt: skip
    parquet.write_table(table, folder / "rows.parquet")
    return folder / "rows.parquet"


def as_chunks(folder: Path) -> Any:
    part = pa.table({"id": pa.array([f"p{n}" for n in range(9)], pa.large_string()), "n": range(9),
                     "w": [float(n) for n in range(9)]})  # fmt: skip
    return pa.concat_tables([part.slice(0, 2), part.slice(2, 1), part.slice(3)])


@pytest.mark.parametrize("key", ["id", "n", ("id", "n"), None], ids=str)
@pytest.mark.parametrize("make", [as_csv, as_parquet, as_chunks])
def test_the_same_rows_in_another_table_go_on(
    tmp_path: Path, make: Callable[[Path], Any], key: Any
) -> None:
    """Format, types and chunks of a table do not count, whether keys name its rows or values."""
    # As a key, n is text in a CSV file.
    options = {"inputs": mf.Numeric("w" if key else ["n", "w"]), "key": key}
    state = mf.Feed(mf.Dataset(as_dict(tmp_path), **options), 2).state_dict((3, 1))
    feed = mf.Feed(mf.Dataset(make(tmp_path), **options), 2)
    feed.load_state_dict(state)
    assert feed.state_dict() == state


def test_moved_files_go_on_with_a_key_and_without(photos: Path, tmp_path: Path) -> None:
    """The folder of files does not count; without a key, their names and order do."""
    files = sorted((photos / "left").iterdir())
    moved = [tmp_path / path.name for path in files]
    for one, other in zip(files, moved, strict=True):
        other.write_bytes(one.read_bytes())

    def feed(paths: list[Path], **options: Any) -> mf.Feed:
        rows = {"photo": [str(path) for path in paths], "id": list(range(len(paths)))}
        return mf.Feed(mf.Dataset(rows, inputs=mf.Image("photo", size=20), **options), 4)

    for options in ({}, {"key": "id"}):
        state = feed(files, **options).state_dict((0, 2))
        feed(moved, **options).load_state_dict(state)
    with pytest.raises(mf.StateError, match="the values in its columns are others"):
        feed(moved[::-1]).load_state_dict(feed(files).state_dict())


def test_a_cached_dataset_goes_on_where_it_was_not_cached(pairs: mf.Dataset, tmp_path: Path) -> None:
    """A cache is not part of the state, nor are shared memory and worker processes."""
    cached = mf.cache(pairs, tmp_path, progress=False)
    state = mf.Feed(pairs, 4).state_dict((1, 2))
    assert mf.Feed(cached, 4).state_dict((1, 2)) == state
    with mf.Feed(cached, 4, processes=1) as feed:
        assert feed.state_dict((1, 2)) == state


def test_joined_datasets_go_on_as_one_table() -> None:
    """`concat` of two halves has the state of the whole."""
    whole = columns(20)
    halves = mf.concat([whole.select(slice(0, 8)), whole.select(slice(8, None))])
    assert mf.Feed(halves, 4).state_dict() == mf.Feed(whole, 4).state_dict()


def test_a_state_is_the_same_in_another_process(tmp_path: Path) -> None:
    """With sets, functions and classes in the declaration, whatever the seed of Python's hashes."""
    program = """
import json, numpy as np, multifeed as mf
def double(x): return x * 2
rows = {"a": ["x", "y", "z"], "n": [1.0, 2.0, np.nan], "m": np.ones((3, 2))}
inputs = {"n": mf.Numeric("n", missing=0.0), "m": mf.Array("m", preprocess=double)}
data = mf.Dataset(rows, inputs=inputs, targets=mf.Category("a"))
data.adapt()
feed = mf.Feed(data, 1, class_weight={"a": {"x": 2.0, "y": 1.0}}, augment=mf.Noise("m", 0.1),
               shuffle=True)
print(json.dumps(feed.state_dict()))
"""
    found = set()
    for seed in ("1", "2"):
        ended = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        found.add(ended.stdout)
    assert len(found) == 1


# What is refused ------------------------------------------------------------------------------------


def refused(state: Any, feed: mf.Feed, *message: str) -> None:
    """Raise unless a feed refuses a state with this message, line by line, and stays where it was."""
    before = feed.state_dict()
    with pytest.raises(mf.StateError) as caught:
        feed.load_state_dict(state)
    assert str(caught.value).split("\n  ") == list(message)
    assert feed.state_dict() == before


MADE_AS_THEN = "Make the feed as it was then, or begin an epoch anew: set epoch, load no state."
SAME_ROWS = "Load it into a feed of the same rows, in the same order: a split has to have the same seed."


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"batch_size": 8}, "batch_size=7, now 8"),
        ({"seed": 5}, "seed=4, now 5"),
        ({"shuffle": False}, "shuffle=True, now False"),
        ({"shuffle": "block"}, "shuffle=True, now 'block'"),
        ({"remainder": "drop"}, "remainder='keep', now 'drop'"),
        ({"steps_per_epoch": 3, "seed": 1}, "seed=4, now 1 and steps_per_epoch=None, now 3"),
    ],
    ids=str,
)
def test_another_order_is_refused(options: dict[str, Any], told: str) -> None:
    """Each option that decides which batch stands at a position is named, then and now."""
    options = {"batch_size": 7, "shuffle": True, "seed": 4, **options}
    refused(
        in_memory().state_dict((1, 1)),
        mf.Feed(columns(), **options),
        f"a state counts batches in the order of then; this feed has another one: then {told}.",
        MADE_AS_THEN,
    )


def test_other_samples_are_refused() -> None:
    """More or fewer rows, other rows, or the same in another order."""
    state = in_memory().state_dict()
    refused(
        state,
        in_memory(51),
        "the state belongs to another dataset: that had 50 samples, this one has 51.",
        "Load it into a feed of the same rows, in the same order.",
    )
    for rows in (np.arange(50)[::-1], np.arange(1, 51)):
        refused(
            state,
            mf.Feed(columns(51).select(rows), 7, shuffle=True, seed=4),
            "the state belongs to another dataset: its keys ('id') are others, or stand in another "
            "order.",
            SAME_ROWS,
        )
    without = mf.Feed(columns(51, key=None).select(range(50)), 4)
    refused(
        without.state_dict(),
        mf.Feed(columns(51, key=None).select(range(1, 51)), 4),
        "the state belongs to another dataset: the values in its columns are others, or stand in "
        "another order.",
        SAME_ROWS,
    )


def plain(x: Any) -> Any:
    return x


def other(x: Any) -> Any:
    return x


def pixels(x: mf.Array | None = None, **options: Any) -> mf.Feed:
    """Return a feed of one array and a class, without a key: only what is declared may differ."""
    order = {name: options.pop(name) for name in ("augment", "class_weight") if name in options}
    rows = {"x": np.arange(6 * 8 * 8, dtype=np.uint8).reshape(6, 8, 8, 1), "kind": [0, 1] * 3}
    target = mf.Category("kind", vocabulary=[0, 1])
    declaration = {"inputs": {"x": x or mf.Array("x")}, "targets": target, **options}
    return mf.Feed(mf.Dataset(rows, **declaration), 2, **order)


FIELD = "Array(column='x')"
NOISE = "RandomNoise(fields=('x'), sigma=(0.0, 3.0))"
SPEC = "(8, 8, 1) uint8"


@pytest.mark.parametrize(
    ("before", "after", "part", "then", "now"),
    [
        ({}, {"x": mf.Array("x", dtype="float32")}, "field 'x'", f"{FIELD}, {SPEC}",
         "Array(column='x', dtype='float32'), (8, 8, 1) float32"),
        ({"x": mf.Array("x", preprocess=plain)}, {"x": mf.Array("x", preprocess=other)}, "field 'x'",
         f"Array(column='x', preprocess=plain), {SPEC}",
         f"Array(column='x', preprocess=other), {SPEC}"),
        ({}, {"inputs": {"y": mf.Array("x")}}, "the structure of inputs", "{'x': 'x'}", "{'y': 'y'}"),
        ({}, {"inputs": mf.Array("x")}, "the structure of inputs", "{'x': 'x'}", "'x'"),
        ({}, {"targets": None}, "the structure of targets", "'kind'", "none"),
        ({}, {"augment": mf.RandomNoise("x", (0, 3))}, "augment[0]", "none", NOISE),
        ({"augment": [mf.RandomNoise("x", (0, 3))]}, {"augment": mf.RandomNoise("x", (1, 3))},
         "augment[0]", NOISE, "RandomNoise(fields=('x'), sigma=(1.0, 3.0))"),
        ({"class_weight": {"kind": "balanced"}}, {"class_weight": {"kind": {0: 2.0}}}, "class_weight",
         "{'kind': 'balanced'}", "{'kind': {0: 2.0}}"),
    ],
)  # fmt: skip
def test_another_declaration_is_refused(
    before: dict[str, Any], after: dict[str, Any], part: str, then: str, now: str
) -> None:
    """The part that differs is named, as it was and as it is."""
    refused(
        pixels(**before).state_dict(),
        pixels(**after),
        f"the state belongs to a dataset that is declared otherwise: {part} is not what it was.",
        f"Then: {then}; now: {now}.",
        "Declare it as it was then.",
    )


def test_a_declaration_too_long_to_be_told_is_refused_all_the_same() -> None:
    """Of many fields no options are kept, but what they were made of."""
    data = many_fields(1_000)
    wrong = mf.Dataset(data.rows, inputs={**data.fields, "measurement_7": mf.Numeric("measurement_7")})
    wrong.adapt()
    refused(
        mf.Feed(data, 1).state_dict(),
        mf.Feed(wrong, 1),
        "the state belongs to a dataset that is declared otherwise, or has learned other things.",
        "Declare it as it was then.",
    )


def test_what_makes_no_difference_to_a_model_is_no_other_declaration() -> None:
    """The order of a dict, and whether one transform stands in a list."""
    noise = mf.RandomNoise("x", (0, 3))
    pixels(augment=[noise]).load_state_dict(pixels(augment=noise).state_dict())
    weights = ({"kind": {0: 1.0, 1: 2.0}}, {"kind": {1: 2.0, 0: 1.0}})
    first, second = (pixels(class_weight=each) for each in weights)
    second.load_state_dict(first.state_dict())
    assert declared(partial(plain, 3)) == "partial(plain, (3), {})"
    assert declared({2: {"b", "a"}}) == "{2: {'a', 'b'}}"


def test_what_was_learned_otherwise_is_refused() -> None:
    """A state belongs to the means and vocabularies of then; a later adapt changes no feed."""
    rows = {"id": [0, 1, 2, 3], "x": [1.0, 2.0, 3.0, 9.0]}
    data = mf.Dataset(rows, key="id", inputs=mf.Numeric("x", normalize=True))
    train, rest = data.split(0.5, 0.5)
    train.adapt()
    feed = mf.Feed(rest, 1)
    state = feed.state_dict((2, 1))
    rest.adapt(again=True)
    feed.load_state_dict(state)
    other = mf.Feed(rest, 1)
    with pytest.raises(mf.StateError) as caught:
        other.load_state_dict(state)
    first, _, last = str(caught.value).split("\n  ")
    assert first == (
        "the state belongs to a dataset that is declared otherwise: what field 'x' has learned is not "
        "what it was."
    )
    assert last == "Load what it had learned then, with data.load_state(path)."


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (None, ["a feed loads what state_dict() returned, which JSON can hold; received a NoneType."]),
        ("{}", ["a feed loads what state_dict() returned, which JSON can hold; received a str.",
                "Pass json.loads(text), not the text."]),
        ({}, ["a feed loads what state_dict() returned, which JSON can hold; received a dict without a "
              "format."]),
        ({"format": FORMAT + 1}, [
            f"this version of multifeed loads states of format {FORMAT}; this one is of format "
            f"{FORMAT + 1}.",
            "Load it with the version that saved it, or begin an epoch anew."]),
    ],
)  # fmt: skip
def test_what_is_no_state_is_refused(state: Any, message: list[str]) -> None:
    """Another type, nothing, and another version are told apart."""
    refused(state, in_memory(), *message)


DAMAGED = [
    "the state is damaged, or was edited: its checksum is not that of its content.",
    "Load an older one. To begin with another epoch, set epoch; a state is not to be edited.",
]


@pytest.mark.parametrize("key", ["epoch", "step", "checksum", "order", "samples", "keys", "parts"])
@pytest.mark.parametrize("value", [0, 7, -1, 1.5, "1", None, True, {}, ["x"], np.nan, int], ids=str)
def test_an_edited_state_is_refused(key: str, value: Any) -> None:
    """Whatever part of it is replaced, left out or added."""
    state = in_memory().state_dict((2, 3))
    refused({**state, key: value}, in_memory(), *DAMAGED)
    refused({name: each for name, each in state.items() if name != key}, in_memory(), *DAMAGED)
    refused({**state, "more": value}, in_memory(), *DAMAGED)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_json_is_never_another_position(data: st.DataObject) -> None:
    """A few characters of the text replaced, removed or put in: no JSON, refused, or the same."""
    feed = in_memory()
    state = feed.state_dict((12, 3))
    text = list(json.dumps(state))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text) - 1))
        length = data.draw(st.integers(0, 3))
        text[place : place + length] = data.draw(st.text(st.characters(codec="utf-8"), max_size=2))
    try:
        found = json.loads("".join(text))
    except ValueError:
        return
    try:
        feed.load_state_dict(found)
    except mf.StateError:
        return
    assert feed.state_dict() == state


@pytest.mark.slow
def test_any_json_is_refused_with_a_reason(full_length: bool) -> None:
    """Whatever JSON is given for a state or one of its entries, the answer is a `StateError`."""
    feed = in_memory()
    good = feed.state_dict((1, 1))
    leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    anything = st.recursive(
        leaf, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=9
    )

    @settings(max_examples=2_000 if full_length else 200, deadline=None)
    @given(anything, st.dictionaries(st.sampled_from([*good, "format"]), anything, min_size=1))
    def refuse(value: Any, entries: dict[str, Any]) -> None:
        for state in (value, {**good, **entries}):
            if state != good:
                with pytest.raises(mf.StateError):
                    feed.load_state_dict(state)

    refuse()


@dataclass(frozen=True)
class Anything(Field):
    """Reads no matter what, and yields ones."""

    column: str

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    def check(self, columns: Columns) -> None:
        pass

    def spec_of(self, columns: Columns, learned: Any) -> mf.Spec:
        return mf.Spec((), "float32")

    def bind(self, source: Any, learned: Any) -> Columnar:
        return Ones().bind(source, learned)


def test_columns_of_every_kind_can_stand_without_a_key() -> None:
    """Lists, tensors, bytes, times, booleans, nulls and text that is not UTF-8 are no obstacle."""
    broken = pa.array([b"\xff/a", b"b", None], pa.binary()).view(pa.string())
    rows = {
        "lists": [[1], [1, 2], []],
        "tensors": pa.FixedShapeTensorArray.from_numpy_ndarray(np.ones((3, 2))),
        "flags": [True, None, False],
        "arrays": np.ones((3, 2)),
        "numbers": np.arange(3),
        "text": broken,
        "bytes": [b"a", b"", None],
        "moments": pa.array([1, 2, None], pa.timestamp("s")),
        "spans": pa.array([1, 2, None], pa.duration("s")),
        "sums": [Decimal(1), Decimal(2), None],
    }

    found = set()
    for name in rows:
        data = mf.Dataset(rows, inputs=Anything(name))
        state = mf.Feed(data, 2).state_dict((0, 1))
        mf.Feed(data, 2).load_state_dict(through_json(state))
        found.add(state["keys"])
    assert len(found) == len(rows)
