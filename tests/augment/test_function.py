"""The user's own functions: called by one rule, checked, and watched for global random numbers."""

from __future__ import annotations

import random
import re
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import multifeed as mf


def images(photos: Path, **targets: Any) -> mf.Dataset:
    """Return 12 samples of two photographs and a number."""
    names = [f"p{number:02}" for number in range(12)]
    rows = {
        "id": names,
        "left": [f"{photos}/left/{name}.jpg" for name in names],
        "right": [f"{photos}/right/{name}.jpg" for name in names],
        "x": np.arange(12.0),
    }
    return mf.Dataset(
        rows,
        key="id",
        inputs={
            "left": mf.Image("left", (16, 24)),
            "right": mf.Image("right", (16, 24)),
            "x": mf.Numeric("x"),
        },
        targets=targets or None,
    )


def batch_of(data: mf.Dataset, *augment: mf.RandomFunction, workers: int = 1) -> Any:
    with mf.Feed(data, len(data), augment=augment, workers=workers) as feed:
        return next(iter(feed))


def speckle(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.where(rng.random(array.shape) < 0.2, 255, array).astype(np.uint8)


def speckle_in_place(array: np.ndarray, rng: np.random.Generator) -> None:
    array[rng.random(array.shape) < 0.2] = 255


def test_a_function_may_return_an_array_or_change_it_in_place(photos: Path) -> None:
    """Both are the same, and what is returned may be a view of what was given."""
    data = images(photos)
    plain = batch_of(data)[0]["left"]
    returned = batch_of(data, mf.RandomFunction("left", speckle))[0]["left"]
    in_place = batch_of(data, mf.RandomFunction("left", speckle_in_place))[0]["left"]
    np.testing.assert_array_equal(returned, in_place)
    assert 0.1 < (returned != plain).mean() < 0.3
    mirrored = batch_of(data, mf.RandomFunction("left", lambda image, rng: image[:, ::-1]))[0]["left"]
    np.testing.assert_array_equal(mirrored, plain[:, :, ::-1])


def test_a_name_gives_an_array_and_a_list_a_dict(photos: Path) -> None:
    """Also a list of one; the dict is in the order of the declaration."""
    given: list[Any] = []

    def note(value: Any, rng: np.random.Generator) -> None:
        given.append(tuple(value) if isinstance(value, dict) else value.shape)

    data = images(photos)
    for fields, wanted in (
        ("left", (16, 24, 3)),
        (["left"], ("left",)),
        (["x", "right", "left"], ("x", "right", "left")),
    ):
        given.clear()
        mf.Feed(data, 2, augment=mf.RandomFunction(fields, note)).batch(0, 0)
        assert given == [wanted] * 2


def test_a_function_of_several_fields_sees_them_together(photos: Path) -> None:
    """It may move values between them; names that it does not return stay as they are."""

    def swap(values: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {"left": values["right"], "right": values["left"][:, ::-1]}

    def only_left(values: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {"left": 255 - values["right"]}

    data = images(photos)
    plain = batch_of(data)[0]
    swapped = batch_of(data, mf.RandomFunction(["left", "right"], only_left))[0]
    np.testing.assert_array_equal(swapped["left"], 255 - plain["right"])
    np.testing.assert_array_equal(swapped["right"], plain["right"])

    # No field is written over before it is read.
    first = batch_of(data, mf.RandomFunction(["left", "right"], swap))[0]
    np.testing.assert_array_equal(first["left"], plain["right"])
    np.testing.assert_array_equal(first["right"], plain["left"][:, :, ::-1])


def test_per_field_does_the_same_to_each(photos: Path) -> None:
    """The generator is in one state for all fields of a sample."""
    data = images(photos)
    plain = batch_of(data)[0]
    both = batch_of(data, mf.RandomFunction(["left", "right"], speckle, per_field=True))[0]
    untouched = (both["left"] == plain["left"]) | (both["left"] == 255)
    assert untouched.all()
    speckled = both["left"] != plain["left"]
    assert (both["right"][speckled] == 255).all()


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("batch_size", [1, 5, 12])
def test_the_generator_is_the_slots_own(photos: Path, batch_size: int, workers: int) -> None:
    """Whatever the workers and the batch size; another epoch or seed gives others."""
    data, speckling = (
        images(photos),
        mf.RandomFunction(["left"], lambda v, rng: {"left": speckle(v["left"], rng)}),
    )
    wanted = [mf.Feed(data, 12, augment=speckling).batch(epoch, 0)[0]["left"] for epoch in (0, 1)]
    with mf.Feed(data, batch_size, augment=speckling, workers=workers) as feed:
        for each in wanted:
            np.testing.assert_array_equal(np.concatenate([batch[0]["left"] for batch in feed]), each)
    assert (wanted[0] != wanted[1]).any()
    assert (mf.Feed(data, 12, seed=1, augment=speckling).batch(0, 0)[0]["left"] != wanted[0]).any()


def test_a_clean_copy_lacks_the_functions_of_its_kind(photos: Path) -> None:
    """Also those of several fields, which see all of them without that kind."""

    def blend(values: dict[str, np.ndarray], rng: np.random.Generator) -> None:
        values["left"][...] = values["left"] // 2 + values["right"] // 2

    data = images(
        photos,
        no_color=mf.Same("left", dtype="int32", before="color"),
        no_noise=mf.Same("left", dtype="int32", before="noise"),
        neither=mf.Same("left", dtype="int32", before=["color", "noise"]),
    )
    plain = mf.Feed(data, 12).batch(0, 0)[0]
    augment = [
        mf.RandomFunction(
            ["left", "right"], lambda v, rng: {k: 255 - a for k, a in v.items()}, kind="color"
        ),
        mf.RandomFunction(["left", "right"], blend),
    ]
    inputs, targets = mf.Feed(data, 12, augment=augment).batch(0, 0)
    left, right = plain["left"], plain["right"]
    np.testing.assert_array_equal(inputs["left"], (255 - left) // 2 + (255 - right) // 2)
    np.testing.assert_array_equal(targets["no_color"], left // 2 + right // 2)
    np.testing.assert_array_equal(targets["no_noise"], 255 - left)
    np.testing.assert_array_equal(targets["neither"], left)


class Solarise:
    """A transform as albumentations has them: called by keywords, returning a dict."""

    def __init__(self, threshold: int) -> None:
        self.threshold = threshold

    def __call__(self, *, image: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
        return {"image": np.where(image > self.threshold, 255 - image, image), "mask": mask}


class Invert:
    """A transform as torchvision has them: called with one array of (channels, height, width)."""

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return 255 - image


def test_transforms_of_other_libraries_fit_in(photos: Path) -> None:
    """Those that take keywords and return a dict, and those that take channels first."""
    solarise, invert = Solarise(100), Invert()

    def with_mask(values: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        result = solarise(image=values["left"], mask=values["right"])
        return {"left": result["image"], "right": result["mask"]}

    def channels_first(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return invert(image.transpose(2, 0, 1)).transpose(1, 2, 0)

    data = images(photos)
    plain = batch_of(data)[0]
    found = batch_of(
        data, mf.RandomFunction(["left", "right"], with_mask), mf.RandomFunction("right", channels_first)
    )[0]
    wanted = np.where(plain["left"] > 100, 255 - plain["left"], plain["left"])
    np.testing.assert_array_equal(found["left"], wanted)
    np.testing.assert_array_equal(found["right"], 255 - plain["right"])


def returns(value: Any) -> Callable[[Any, np.random.Generator], Any]:
    def broken(given: Any, rng: np.random.Generator) -> Any:
        return value

    return broken


@pytest.mark.parametrize(
    ("fields", "returned", "message"),
    [
        (
            "left",
            np.zeros((8, 8, 3), np.uint8),
            "'left' of sample 'p00' cannot be used: it was (16, 24, 3) uint8 and becomes (8, 8, 3) "
            "uint8 by broken.\n"
            "  Row: 0.\n"
            "  A function in augment= keeps shape and dtype; what changes them belongs into the field's "
            "preprocess=.",
        ),
        (
            ["left", "x"],
            {"x": np.zeros(1)},
            "'x' of sample 'p00' cannot be used: it was (1,) float32 and becomes (1,) float64 by "
            "broken.\n  Row: 0.\n"
            "  A function in augment= keeps shape and dtype; what changes them belongs into the field's "
            "preprocess=.",
        ),
        (
            ["left", "x"],
            np.zeros(3),
            "'left' of sample 'p00' cannot be used: it becomes (3,) float64 by broken, which was given "
            "a dict of arrays.\n"
            "  Row: 0.\n"
            "  Let it return a dict of arrays by field, or change them in place and return None.",
        ),
        (
            ["left", "right"],
            {"rihgt": None},
            "'left' of sample 'p00' cannot be used: it comes with 'rihgt' from broken, which was given "
            "'left', 'right'.\n"
            "  Row: 0.\n"
            "  Did you mean 'right'?",
        ),
    ],
)
def test_what_a_function_must_not_return(photos: Path, fields: Any, returned: Any, message: str) -> None:
    """Another shape or dtype, or another structure: told with the field, the sample and the shapes."""
    feed = mf.Feed(images(photos), 4, augment=mf.RandomFunction(fields, returns(returned)))
    with pytest.raises(mf.SampleError, match=f"^{re.escape(message)}$"):
        feed.batch(0, 0)


def test_an_exception_of_the_function_is_chained(photos: Path) -> None:
    def fails(image: np.ndarray, rng: np.random.Generator) -> None:
        raise KeyError("threshold")

    feed = mf.Feed(images(photos), 4, augment=mf.RandomFunction("right", fails))
    with pytest.raises(mf.SampleError, match="^RandomFunction of 'right' raised KeyError") as caught:
        feed.batch(0, 0)
    assert isinstance(caught.value.__cause__, KeyError)
    assert (caught.value.field, caught.value.key) == ("right", "p00")


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (
            lambda: mf.RandomFunction("a", "speckle"),  # type: ignore[arg-type]
            "RandomFunction takes a function of (array, rng); received 'speckle'.",
        ),
        (
            lambda: mf.RandomFunction("a", speckle, kind="geometry"),
            "kind must be one of 'color', 'noise'; received 'geometry'.",
        ),
        (
            lambda: mf.RandomFunction("a", speckle, per_field=False),
            "with a single name, the function is called with that field's array; received "
            "per_field=False.\n"
            "  For a dict, pass a list of names: ['a'].",
        ),
    ],
)
def test_what_cannot_be_is_told_at_declaration(declare: Any, message: str) -> None:
    with pytest.raises(mf.DeclarationError, match=f"^{re.escape(message)}$"):
        declare()


@pytest.mark.parametrize("draw", [np.random.random, random.random, lambda: np.random.normal()])
def test_global_random_numbers_are_warned_of_once(photos: Path, draw: Callable[[], float]) -> None:
    """Those of numpy.random and of random; batches would no longer be a function of their position."""

    def dim(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return (image * draw()).clip(0, 255).astype(np.uint8)

    message = (
        "dim uses the global random state of numpy.random or random: its batches differ from run to "
        "run, and with the number of workers.\n"
        "  Use its second argument, e.g. rng.random(), which is each slot's own generator."
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with mf.Feed(images(photos), 4, augment=mf.RandomFunction("left", dim), workers=2) as feed:
            for _ in range(3):
                list(feed)
    assert [str(each.message) for each in caught] == [message]
    assert caught[0].category is mf.MultifeedWarning


def test_the_generator_of_the_slot_is_not_warned_of(photos: Path) -> None:
    """Nor one call during which another thread used the global state."""
    calls = iter(range(100))

    def disturbed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if next(calls) == 2:
            elsewhere = threading.Thread(target=np.random.random)
            elsewhere.start()
            elsewhere.join()
        return speckle(image, rng)

    with mf.Feed(images(photos), 4, augment=mf.RandomFunction("left", disturbed)) as feed:
        list(feed)


def test_a_function_may_use_another_feed_with_functions(photos: Path) -> None:
    """The watch over global random numbers waits for nobody."""
    data = images(photos)
    inner = mf.Feed(data, 12, augment=mf.RandomFunction("left", speckle), workers=2)

    def outer(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return next(iter(inner))[0]["left"][0].copy()

    with mf.Feed(data, 4, augment=mf.RandomFunction("left", outer), workers=2) as feed:
        assert len(list(feed)) == 3
    inner.close()


def test_a_missing_field_is_not_in_the_dict(photos: Path) -> None:
    """A sample that lacks a field is filled, and a function of several gets the others."""
    given = []

    def note(values: dict[str, np.ndarray], rng: np.random.Generator) -> None:
        given.append(tuple(values))

    path = f"{photos}/left/p00.jpg"
    rows = {"a": [path, None, None], "b": [path, path, None]}
    data = mf.Dataset(
        rows, inputs={"a": mf.Image("a", 8, missing=7), "b": mf.Image("b", 8, missing="zero")}
    )
    batch = mf.Feed(data, 3, augment=mf.RandomFunction(["a", "b"], note)).batch(0, 0)[0]
    assert given == [("a", "b"), ("b",)]
    assert (batch["a"][1:] == 7).all()
