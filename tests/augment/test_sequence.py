"""Sequences: masked and shifted as plain slices say, each length and place as likely."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import multifeed as mf
from multifeed.augment.base import Columnwise
from multifeed.spec import Spec


def no_numbers() -> np.random.Generator:
    """Stand for the random numbers of a slot where none must be asked for."""
    raise AssertionError("these transforms need no random numbers besides their draw")


def applied(transform: Columnwise, values: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return samples of a field, ``[n, ...]``, as a transform changes them, one by one as well."""
    changed, draws = values.copy(), transform.draw(numbers)
    transform.apply_all({"a": changed}, draws, 0, len(values), no_numbers)  # type: ignore[arg-type]
    for place, each in enumerate(values.copy()):
        transform.apply({"a": each}, draws, place, no_numbers)  # type: ignore[arg-type]
        np.testing.assert_array_equal(each, changed[place])
    return changed


@pytest.mark.parametrize("dtype", ["float32", "int32", "uint8"])
@pytest.mark.parametrize(("kind", "axis"), [(mf.TimeMask, 0), (mf.FrequencyMask, 1)])
@pytest.mark.parametrize("most", [7, 0.31, 1.0])
@pytest.mark.parametrize("shape", [(23, 29), (23, 29, 2)])
def test_a_mask_overwrites_one_window(
    kind: Any, axis: int, most: float, shape: tuple[int, ...], dtype: str
) -> None:
    """As long and where the two numbers say, and nothing else is changed."""
    rng = np.random.default_rng(0)
    values = rng.integers(1, 100, (200, *shape)).astype(dtype)
    numbers = rng.random((200, 2))
    changed = applied(kind("a", most, value=3), values, numbers)
    size = shape[axis]
    limit = most if isinstance(most, int) else int(most * size)
    for (first, second), before, after in zip(numbers, values, changed, strict=True):
        length = int(first * (limit + 1))
        start = int(second * (size - length + 1))
        wanted = before.copy()
        window = (slice(None),) * axis + (slice(start, start + length),)
        wanted[window] = 3
        np.testing.assert_array_equal(after, wanted)


def test_every_length_and_place_of_a_mask_is_as_likely() -> None:
    """None and the most included; windows reach both ends."""
    numbers = np.random.default_rng(1).random((40_000, 2))
    masked = applied_fast(mf.TimeMask("a", 3), np.ones((40_000, 10), np.float32), numbers) == 0
    lengths, counts = np.unique(masked.sum(1), return_counts=True)
    assert lengths.tolist() == [0, 1, 2, 3]
    assert np.abs(counts - 10_000).max() < 400
    first = masked[masked.sum(1) == 3].argmax(1)
    places, counts = np.unique(first, return_counts=True)
    assert places.tolist() == list(range(8))
    assert np.abs(counts - counts.mean()).max() < 200


def applied_fast(transform: Columnwise, values: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    draws = transform.draw(numbers)
    transform.apply_all({"a": values}, draws, 0, len(values), no_numbers)  # type: ignore[arg-type]
    return values


@pytest.mark.parametrize("most", [1, 4, 9, 0.4, 1.0])
@pytest.mark.parametrize("shape", [(9,), (9, 4)])
def test_a_shift_is_numpys_roll(most: float, shape: tuple[int, ...]) -> None:
    """Circular by default; with fill="constant", zeros come in."""
    values = np.random.default_rng(0).random((300, *shape)).astype(np.float32)
    numbers = np.random.default_rng(1).random((300, 1))
    limit = most if isinstance(most, int) else int(most * 9)
    wrapped = applied(mf.RandomShift("a", most), values, numbers)
    filled = applied(mf.RandomShift("a", most, fill="constant"), values, numbers)
    seen = set()
    for place, number in enumerate(numbers[:, 0]):
        steps = int(number * (2 * limit + 1)) - limit
        seen.add(steps)
        wanted = np.roll(values[place], steps, axis=0)
        np.testing.assert_array_equal(wrapped[place], wanted)
        if steps > 0:
            wanted[:steps] = 0
        elif steps < 0:
            wanted[steps:] = 0
        np.testing.assert_array_equal(filled[place], wanted)
    assert seen == set(range(-limit, limit + 1))


def recordings() -> mf.Dataset:
    rng = np.random.default_rng(3)
    rows = {
        "long": rng.random((60, 40, 8)).astype(np.float32) + 1,
        "short": rng.random((60, 20)).astype(np.float32) + 1,
    }
    return mf.Dataset(
        rows,
        inputs={"long": mf.Array("long"), "short": mf.Array("short")},
        targets={"clean": mf.Same("long", before="noise"), "same": mf.Same("long")},
    )


AUGMENT = [
    mf.TimeMask(["long", "short"], 0.5),
    mf.FrequencyMask("long", 3),
    mf.RandomShift(["long", "short"], 0.25, fill="constant"),
]


def test_fields_that_share_a_transform_lose_the_same_share() -> None:
    """Half as many steps are masked at half the place where a field has half as many."""
    feed = mf.Feed(recordings(), 60, augment=mf.TimeMask(["long", "short"], 0.5))
    batch = feed.batch(0, 0)[0]
    long, short = (batch["long"] == 0).all(2).sum(1), (batch["short"] == 0).sum(1)
    assert np.abs(long / 2 - short).max() <= 1
    assert long.max() > 15
    steps = mf.Feed(recordings(), 60, augment=mf.RandomShift(["long", "short"], 5, fill="constant"))
    moved = steps.batch(0, 0)[0]
    np.testing.assert_array_equal((moved["long"] == 0).all(2).sum(1), (moved["short"] == 0).sum(1))


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (7, 3), (60, 2)])
def test_a_batch_is_the_same_for_any_batch_size_and_number_of_workers(
    batch_size: int, workers: int
) -> None:
    """And a copy before noise has none of it."""
    data = recordings()
    wanted = mf.Feed(data, 60, shuffle=True, augment=AUGMENT).batch(0, 0)
    plain = mf.Feed(data, 60, shuffle=True).batch(0, 0)
    with mf.Feed(data, batch_size, shuffle=True, augment=AUGMENT, workers=workers) as feed:
        batches = list(feed)
    for part, name in ((0, "long"), (0, "short"), (1, "clean"), (1, "same")):
        found = np.concatenate([batch[part][name] for batch in batches])
        np.testing.assert_array_equal(found, wanted[part][name])
    np.testing.assert_array_equal(wanted[1]["clean"], plain[1]["clean"])
    np.testing.assert_array_equal(wanted[1]["same"], wanted[0]["long"])


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (
            lambda: mf.TimeMask("a", 0),
            "most is a whole number of steps, at least 1, or a share of all of them as a float, up to "
            "1.0; received 0.\n  Write e.g. most=8, or most=0.1.",
        ),
        (
            lambda: mf.FrequencyMask("a", 1.5),
            "most is a whole number of frequencies, at least 1, or a share of all of them as a float, "
            "up to 1.0; received 1.5.\n  Write e.g. most=8, or most=0.1.",
        ),
        (
            lambda: mf.RandomShift("a", 3, fill="reflect"),
            "fill must be one of 'wrap', 'constant'; received 'reflect'.",
        ),
        (
            lambda: mf.TimeMask("a", 9).check("a", Spec((8, 2), "float32")),
            "TimeMask has most=9; field 'a' has 8 steps.",
        ),
        (
            lambda: mf.RandomShift("a", 1).check("a", Spec((), "float32")),
            "RandomShift acts on arrays, (steps, ...); field 'a' is () float32.",
        ),
        (
            lambda: mf.FrequencyMask("a", 1).check("a", Spec((8,), "float32")),
            "FrequencyMask acts on spectrograms, (time, frequency, ...); field 'a' is (8,) float32.",
        ),
        (
            lambda: mf.TimeMask("a", 1, value=0.5).check("a", Spec((8,), "int32")),
            "value is a number that (8,) int32 can hold; field 'a' cannot be masked with 0.5.",
        ),
    ],
)
def test_what_cannot_be_is_told_at_declaration(declare: Any, message: str) -> None:
    with pytest.raises(mf.DeclarationError, match=f"^{re.escape(message)}$"):
        declare()
