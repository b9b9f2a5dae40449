"""Colour: one matrix and one table do what the plain formulas say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import multifeed as mf
from multifeed.augment.color import LUMA, RandomColor, recolor
from multifeed.spec import Spec

RANGES = {
    "brightness": (0.5, 1.6),
    "contrast": (0.0, 1.8),
    "saturation": (0.0, 2.0),
    "hue": (-0.5, 0.5),
    "channel_shift": (-60.0, 60.0),
}


def no_numbers() -> np.random.Generator:
    """Stand for the random numbers of a slot where none must be asked for."""
    raise AssertionError("colour needs no random numbers besides its draw")


def applied(transform: RandomColor, image: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return an image as the transform changes it under nine numbers from 0 to 1."""
    changed = image.copy()
    draws = transform.draw(np.stack([np.full(9, 0.123), numbers]))
    transform.apply({"a": changed}, draws, 1, no_numbers)  # type: ignore[arg-type]
    return changed


def plainly(image: np.ndarray, draws: dict[str, Any]) -> np.ndarray:
    """Return the linear changes one after the other, ``float64``, neither rounded nor cut off."""
    pixels = image[..., :3].astype(np.float64) * draws["brightness"]
    is_grey = pixels.shape[2] == 1
    luma = pixels if is_grey else (pixels @ LUMA)[..., None]
    pixels = luma.mean() + draws["contrast"] * (pixels - luma.mean())
    if is_grey:
        return pixels + draws["channel_shift"][0]
    luma = (pixels @ LUMA)[..., None]
    u, v = 0.492 * (pixels - luma)[..., 2], 0.877 * (pixels - luma)[..., 0]
    angle = 2 * np.pi * draws["hue"]
    u, v = u * np.cos(angle) - v * np.sin(angle), u * np.sin(angle) + v * np.cos(angle)
    red, blue = v / 0.877 + luma[..., 0], u / 0.492 + luma[..., 0]
    green = (luma[..., 0] - LUMA[0] * red - LUMA[2] * blue) / LUMA[1]
    pixels = np.stack([red, green, blue], 2)
    saturation = 0.0 if draws["grayscale"] else draws["saturation"]
    pixels = luma + saturation * (pixels - luma)
    return pixels + draws["channel_shift"]


def levels(values: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(values, 0, 255)).astype(np.int64)


IMAGES = st.tuples(
    st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3, 4]), st.integers(0, 99)
)
NUMBERS = st.lists(st.floats(0, 1, exclude_max=True), min_size=9, max_size=9).map(np.array)


def random_image(shape: tuple[int, int, int, int]) -> np.ndarray:
    return np.random.default_rng(shape[3]).integers(0, 256, shape[:3], dtype=np.uint8)


@settings(max_examples=200, deadline=None)
@given(shape=IMAGES, numbers=NUMBERS)
def test_the_linear_changes_are_what_the_formulas_say(
    shape: tuple[int, int, int, int], numbers: np.ndarray
) -> None:
    """Within a level of the formulas in float64, on images of 1, 3 and 4 channels; alpha is kept."""
    image = random_image(shape)
    transform = RandomColor("a", **RANGES, grayscale=0.2)
    draws = {name: each[0] for name, each in transform.draw(numbers[None]).items()}
    changed = applied(transform, image, numbers)
    wanted = levels(plainly(image, draws))
    assert np.abs(changed[..., :3].astype(np.int64) - wanted).max() <= 1
    np.testing.assert_array_equal(changed[..., 3:], image[..., 3:])


@settings(max_examples=100, deadline=None)
@given(shape=IMAGES, numbers=NUMBERS)
def test_gamma_acts_last(shape: tuple[int, int, int, int], numbers: np.ndarray) -> None:
    """It is the power of what the other changes gave; of one channel, before that is rounded."""
    image = random_image(shape)
    with_gamma = RandomColor("a", **RANGES, gamma=(0.4, 2.5))
    changed = applied(with_gamma, image, numbers).astype(np.int64)
    draws = {name: each[0] for name, each in with_gamma.draw(numbers[None]).items()}
    if image.shape[2] == 1:
        before = np.clip(plainly(image, draws), 0, 255)
    else:
        before = applied(RandomColor("a", **RANGES), image, numbers)[..., :3].astype(np.float64)
    wanted = levels(255 * (before / 255) ** draws["gamma"])
    assert np.abs(changed[..., :3] - wanted).max() <= (image.shape[2] == 1)
    np.testing.assert_array_equal(changed[..., 3:], image[..., 3:])


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    "ranges",
    [
        {},
        {"brightness": (1, 1), "contrast": (1, 1), "saturation": (1, 1), "hue": (0, 0), "gamma": (1, 1)},
        # Whatever may change does not: the middle of each range.
        {
            "brightness": 0.5,
            "contrast": 0.5,
            "saturation": 0.5,
            "hue": 0.5,
            "channel_shift": 9,
            "gamma": 0.5,
        },
    ],
)
def test_what_changes_nothing_keeps_the_bytes(channels: int, ranges: dict[str, Any]) -> None:
    """Factors of 1 and sums of 0 give the same image, on the way through matrix and table as well."""
    image = random_image((64, 50, channels, 3))
    np.testing.assert_array_equal(applied(RandomColor("a", **ranges), image, np.full(9, 0.5)), image)


def test_hue_turns_from_red_towards_green() -> None:
    """A third of a turn makes red a green of the same luma, a whole turn in steps is none."""
    turn = RandomColor("a", hue=(1 / 3, 1 / 3))
    red = np.full((1, 1, 3), (150, 60, 60), np.uint8)
    green = applied(turn, red, np.zeros(9))
    assert green[0, 0].argmax() == 1
    assert abs(float(green[0, 0] @ LUMA) - float(red[0, 0] @ LUMA)) < 1
    blue = applied(turn, green, np.zeros(9))
    assert blue[0, 0].argmax() == 2
    assert np.abs(applied(turn, blue, np.zeros(9)).astype(int) - red).max() <= 2


def test_grey_images_and_grey_pixels_are_changed_alike() -> None:
    """Without shifts of colour, one channel and three equal ones come out as one, within a level."""
    grey = random_image((40, 30, 1, 5))
    transform = RandomColor("a", brightness=0.4, contrast=0.4, saturation=0.9, hue=0.5)
    numbers = np.random.default_rng(1).random(9)
    one, three = applied(transform, grey, numbers), applied(transform, grey.repeat(3, 2), numbers)
    assert np.abs(three.astype(int) - one).max() <= 1


def test_a_number_stands_for_a_range() -> None:
    """Of factors around 1 that do not fall below 0, of sums around 0; pairs are as given."""
    transform = RandomColor("a", brightness=1.5, contrast=0.2, saturation=(0.1, 3), hue=0.1, gamma=0.5)
    assert (transform.brightness, transform.contrast) == ((0.0, 2.5), (0.8, 1.2))
    assert (transform.saturation, transform.hue) == ((0.1, 3.0), (-0.1, 0.1))
    assert (transform.gamma, transform.channel_shift) == ((0.5, 1.5), (0.0, 0.0))


def test_draws_reach_from_end_to_end() -> None:
    """Numbers of 0 and just below 1 give the ends of each range; as many are grey as shall be."""
    transform = RandomColor("a", **RANGES, gamma=(0.5, 2), grayscale=0.25)
    low, high = (transform.draw(np.full((1, 9), each)) for each in (0.0, 1 - 2**-53))
    for name, (least, most) in {**RANGES, "gamma": (0.5, 2)}.items():
        np.testing.assert_allclose(low[name], least, atol=1e-12)
        np.testing.assert_allclose(high[name], most, atol=1e-12)
    drawn = transform.draw(np.random.default_rng(0).random((10_000, 9)))
    assert abs(drawn["grayscale"].mean() - 0.25) < 0.02
    assert drawn["channel_shift"].shape == (10_000, 3)
    assert not RandomColor("a").draw(np.zeros((1, 9)))["grayscale"].any()
    assert RandomColor("a", grayscale=1).draw(np.full((1, 9), 0.999))["grayscale"].all()


def test_source_and_target_of_opencv_may_be_one() -> None:
    """What OpenCV makes in place are the bytes that it makes elsewhere, whatever the size."""
    matrix = np.array([[0.3, 0.5, 0.2, 4], [0.9, -0.2, 0.1, 3], [0.1, 0.1, 0.9, -7]])
    for width in (*range(1, 40), 224, 1_000):
        image = random_image((7, width, 3, width))
        wanted = cv2.transform(image, matrix)
        recolor(image, matrix)
        np.testing.assert_array_equal(image, wanted)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"brightness": (1.2, 0.8)},
            "brightness is a pair (least, most); received (1.2, 0.8).\n  Write (0.8, 1.2).",
        ),
        ({"contrast": (-0.5, 1)}, "contrast is at least 0; received (-0.5, 1.0), which reaches -0.5."),
        (
            {"saturation": "much"},
            "saturation is a number of 0 or more, or a pair (least, most); received 'much'.",
        ),
        ({"gamma": 1}, "gamma is an exponent above 0; it reaches 0."),
        (
            {"hue": 18},
            "hue is at least -0.5; received 18, which reaches -18.",
        ),
        (
            {"hue": (0, 0.7)},
            "hue is in turns, at most half of one either way; it reaches 0.7.\n"
            "  Write e.g. hue=0.1 for 36 degrees.",
        ),
        ({"grayscale": 2}, "grayscale is a probability, from 0 to 1; received 2."),
        (
            {"channel_shift": -5},
            "channel_shift is a number of 0 or more, or a pair (least, most); received -5.",
        ),
    ],
)
def test_a_range_that_cannot_be_is_told_at_declaration(options: dict[str, Any], message: str) -> None:
    with pytest.raises(mf.DeclarationError, match=f"^{re.escape(message)}$"):
        RandomColor("photo", **options)


@pytest.mark.parametrize(
    "spec", [Spec((8, 8, 3), "float32"), Spec((8, 8), "uint8"), Spec((8, 8, 2), "uint8")]
)
def test_a_field_that_is_no_image_is_told(spec: Spec) -> None:
    message = (
        "RandomColor changes images, (height, width, channels) uint8 of 1, 3 or 4 channels; "
        f"field 'x' is {spec}.\n  Name the fields that are such images, or write your own as "
        "mf.RandomFunction."
    )
    with pytest.raises(mf.DeclarationError, match=f"^{re.escape(message)}$"):
        RandomColor("x").check("x", spec)


def test_two_fields_share_the_draw_and_a_clean_copy_has_none(photos: Path) -> None:
    """One file in two fields stays one; Same(before="color") is as without the transform."""
    rows = {"photo": [f"{photos}/left/p{number:02}.jpg" for number in range(7)]}
    data = mf.Dataset(
        rows,
        inputs={"one": mf.Image("photo", 24), "two": mf.Image("photo", 24)},
        targets={
            "clean": mf.Same("one", dtype="float32", before="color"),
            "all": mf.Same("one", dtype="float32", before="noise"),
        },
    )
    augment = RandomColor(["one", "two"], brightness=0.5, contrast=0.5, hue=0.2, gamma=0.3)
    inputs, targets = mf.Feed(data, 7, augment=augment).batch(0, 0)
    plain = mf.Feed(data, 7).batch(0, 0)[0]["one"]
    np.testing.assert_array_equal(inputs["one"], inputs["two"])
    np.testing.assert_array_equal(inputs["one"], targets["all"])
    np.testing.assert_array_equal(targets["clean"], plain)
    assert all((inputs["one"][slot] != plain[slot]).any() for slot in range(7))
