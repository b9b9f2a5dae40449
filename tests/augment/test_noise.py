"""Noise, blur, compression and erasing against plain formulas; noise by position."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import simplejpeg
from skimage import data as photographs

import multifeed as mf
from multifeed.augment.base import Pointwise
from multifeed.augment.noise import quantiles, whole
from multifeed.augment.pipeline import Numbers, Shot
from multifeed.spec import Spec

PHOTO = np.ascontiguousarray(photographs.astronaut()[100:260, 100:300])
ALPHA = np.dstack([PHOTO, PHOTO[:, ::-1, 0]]).copy()
IMAGES = [PHOTO[:, :, :1].copy(), PHOTO, ALPHA]


def numbers_of(place: int, seed: int = 0) -> Numbers:
    """Return the random numbers of one slot."""
    return Numbers(Shot(seed, 0, 0, 0, [], {}), 0, place, place + 1)


def applied(
    transform: Pointwise, image: np.ndarray, numbers: Any = 0.5, *, place: int = 0, seed: int = 0
) -> np.ndarray:
    """Return an image as a transform of field "a" changes it."""
    changed = image.copy()
    drawn = np.broadcast_to(numbers, (place + 1, transform.count)).astype(np.float64)
    transform.apply({"a": changed}, transform.draw(drawn), place, numbers_of(place, seed))
    return changed


def test_quantiles_are_those_of_the_normal_distribution() -> None:
    """Mean 0, deviation 1, and as many below each point as there should be."""
    table = quantiles().astype(np.float64)
    assert table.mean() == 0
    assert abs(table.std() - 1) < 2e-5
    assert abs((table**4).mean() - 3) < 2e-3
    np.testing.assert_allclose(
        np.interp([-2, -1, 0, 1, 2], table, np.arange(65_536) / 65_535),
        [0.0227501, 0.1586553, 0.5, 0.8413447, 0.9772499],
        atol=1e-5,
    )
    assert not quantiles().flags.writeable


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_noise_in_images_has_the_deviation_that_was_asked_for(channels: int) -> None:
    """Of mean 0 and deviation sigma, without a trace of its neighbours; alpha is kept."""
    image = np.full((300, 400, channels), 128, np.uint8)
    noise = applied(mf.RandomNoise("a", 12), image).astype(np.float64) - 128
    colour = noise[..., :3]
    assert abs(colour.mean()) < 0.15
    # Rounding to levels adds a variance of 1/12.
    assert abs(colour.std() - np.sqrt(144 + 1 / 12)) < 0.15
    assert abs((colour[1:] * colour[:-1]).mean()) < 2
    assert abs((colour[:, 1:] * colour[:, :-1]).mean()) < 2
    assert not noise[..., 3:].any()


def test_noise_is_cut_off_at_black_and_white() -> None:
    """It does not wrap around."""
    black, white = np.zeros((50, 50, 3), np.uint8), np.full((50, 50, 3), 255, np.uint8)
    assert applied(mf.RandomNoise("a", 5), black).max() < 40
    assert applied(mf.RandomNoise("a", 5), white).min() > 215


def test_noise_is_a_function_of_the_position() -> None:
    """The same for a slot each time, another for another slot, seed or field."""
    image = np.full((20, 20, 3), 128, np.uint8)
    noise = mf.RandomNoise(["a", "b"], 20)
    first = applied(noise, image)
    np.testing.assert_array_equal(first, applied(noise, image))
    assert (first != applied(noise, image, place=1)).mean() > 0.9
    assert (first != applied(noise, image, seed=1)).mean() > 0.9
    both = {"a": image.copy(), "b": image.copy()}
    noise.apply(both, noise.draw(np.full((1, 1), 0.5)), 0, numbers_of(0))
    np.testing.assert_array_equal(both["a"], first)
    assert (both["b"] != first).mean() > 0.9
    # What a copy of the second field is given, without the first.
    alone = {"b": image.copy()}
    noise.apply(alone, noise.draw(np.full((1, 1), 0.5)), 0, numbers_of(0))
    np.testing.assert_array_equal(alone["b"], both["b"])


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """Return an image blurred by the formula: a Gaussian cut off at 3 sigma, mirrored edges."""
    radius = (round(6 * sigma + 1) | 1) // 2
    kernel = np.exp(-(np.arange(-radius, radius + 1.0) ** 2) / (2 * sigma**2))
    kernel /= kernel.sum()
    values = image.astype(np.float64)
    for axis in (0, 1):
        margin = [(radius, radius) if each == axis else (0, 0) for each in range(3)]
        padded = np.pad(values, margin, mode="reflect")
        size = image.shape[axis]
        values = sum(
            weight * padded.take(range(start, start + size), axis) for start, weight in enumerate(kernel)
        )
    return values


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.5, 7.0])
def test_blur_is_a_gaussian(image: np.ndarray, sigma: float) -> None:
    """Within a level of the formula, in place; alpha is kept."""
    changed = applied(mf.RandomBlur("a", sigma), image)
    wanted = blurred(image[..., :3], sigma)
    assert np.abs(changed[..., :3] - wanted).max() <= 1
    np.testing.assert_array_equal(changed[..., 3:], image[..., 3:])


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("quality", [1, 40, 95])
def test_jpeg_is_the_image_compressed(image: np.ndarray, quality: int) -> None:
    """It is what encoding and decoding by hand gives; alpha is kept."""
    changed = applied(mf.RandomJPEG("a", quality=quality), image)
    colour = np.ascontiguousarray(image[..., :3])
    space, sampling = ("GRAY", "Gray") if image.shape[2] == 1 else ("RGB", "420")
    wanted = simplejpeg.decode_jpeg(simplejpeg.encode_jpeg(colour, quality, space, sampling), space)
    np.testing.assert_array_equal(changed[..., :3], wanted)
    np.testing.assert_array_equal(changed[..., 3:], image[..., 3:])
    assert (changed[..., :3] != colour).any()


def test_every_quality_is_as_likely() -> None:
    """Both ends are included, and each is drawn about as often."""
    drawn = mf.RandomJPEG("a", quality=(30, 34)).draw(np.random.default_rng(0).random((50_000, 1)))
    found, counts = np.unique(drawn["quality"], return_counts=True)
    assert found.tolist() == [30, 31, 32, 33, 34]
    assert np.abs(counts - 10_000).max() < 500
    assert whole(np.array([0.0, 1 - 2**-53]), 3, 7).tolist() == [3, 7]


@pytest.mark.parametrize(
    "transform",
    [
        mf.RandomNoise("a", 0),
        mf.RandomBlur("a", 0),
        mf.RandomBlur("a", 0.05),
        mf.RandomErasing("a", probability=0),
    ],
)
@pytest.mark.parametrize("image", IMAGES)
def test_what_changes_nothing_keeps_the_bytes(transform: Pointwise, image: np.ndarray) -> None:
    np.testing.assert_array_equal(applied(transform, image), image)


def test_an_erased_rectangle_has_the_share_and_shape_that_were_drawn() -> None:
    """Of 2,000 rectangles all lie inside, their areas and shapes within the bounds, all of them used."""
    erasing = mf.RandomErasing("a", probability=1, scale=(0.1, 0.6), ratio=(0.2, 5))
    numbers = np.random.default_rng(0).random((2_000, 5))
    top, left, height, width = erasing.draw(numbers)["window"].T
    assert min(top.min(), left.min()) >= 0
    assert max((top + height).max(), (left + width).max()) <= 1 + 1e-12
    area, ratio = height * width, width / height
    assert 0.1 <= area.min() + 1e-12 < 0.102
    assert 0.598 < area.max() - 1e-12 <= 0.6
    assert 0.2 <= ratio.min() + 1e-12 < 0.25
    assert 4 < ratio.max() - 1e-12 <= 5
    np.testing.assert_allclose(area, 0.1 + 0.5 * numbers[:, 1])


def test_the_same_part_of_images_of_other_sizes_is_erased() -> None:
    """Of an image, and of a mask at half its size, to the pixel where that divides."""
    erasing = mf.RandomErasing(["a", "b"], probability=1, value=9)
    values = {"a": np.zeros((64, 80, 3), np.uint8), "b": np.zeros((32, 40), np.int32)}
    draws = erasing.draw(np.array([[0.0, 0.8, 0.3, 0.4, 0.7]]))
    erasing.apply(values, draws, 0, numbers_of(0))
    top, left, height, width = draws["window"][0]
    for each, rows, columns in ((values["a"][..., 0], 64, 80), (values["b"], 32, 40)):
        wanted = np.zeros((rows, columns))
        wanted[
            round(top * rows) : round((top + height) * rows),
            round(left * columns) : round((left + width) * columns),
        ] = 9
        np.testing.assert_array_equal(each, wanted)
        assert each.any()


def test_each_channel_may_be_erased_with_a_number_of_its_own() -> None:
    changed = applied(
        mf.RandomErasing("a", probability=1, scale=(1, 1), value=(1, 2, 3)), PHOTO, np.zeros(5)
    )
    assert (changed == [1, 2, 3]).all()


def columns(count: int = 500) -> mf.Dataset:
    values = np.random.default_rng(5).standard_normal((count, 3)).astype(np.float32)
    rows = {"x": values, "a": values[:, 0].copy(), "b": values[:, 1].copy()}
    return mf.Dataset(rows, inputs={"x": mf.Array("x"), "ab": mf.Numeric(["a", "b"])})


def test_noise_of_numbers_has_the_deviation_that_was_asked_for() -> None:
    """Independent in every element, field and slot; sigma in the units that the model sees."""
    data = columns(5_000)
    plain = mf.Feed(data, 5_000).batch(0, 0)[0]
    noisy = mf.Feed(data, 5_000, augment=mf.Noise(["x", "ab"], 0.25)).batch(0, 0)[0]
    noise = np.hstack([noisy[name] - plain[name] for name in ("x", "ab")])
    assert np.abs(noise.mean(0)).max() < 0.015
    assert np.abs(np.cov(noise.T) / 0.25**2 - np.eye(5)).max() < 0.07
    assert np.abs((noise[1:] * noise[:-1]).mean(0)).max() < 0.005


def test_the_deviation_is_drawn_for_each_sample() -> None:
    """From a pair: small for some samples, large for others, and shared by the fields."""
    data = columns(400)
    feed = mf.Feed(data, 400, augment=mf.Noise(["x", "ab"], (0, 2)))
    plain, noisy = mf.Feed(data, 400).batch(0, 0)[0], feed.batch(0, 0)[0]
    sigma = feed.draws(0, 0)[0]["sigma"]
    assert sigma.min() < 0.05
    assert sigma.max() > 1.95
    for name in ("x", "ab"):
        assert (np.abs(noisy[name] - plain[name]) <= 4.4 * sigma[:, None]).all()


@pytest.mark.parametrize("batch_size", [7, 64, 500])
@pytest.mark.parametrize("workers", [1, 3])
def test_columns_and_samples_get_the_same_noise(batch_size: int, workers: int) -> None:
    """All rows at once, or one at a time because a function sees them too: the same bytes."""
    data, noise = columns(), mf.Noise(["x", "ab"], 0.3)
    one_by_one = [noise, mf.RandomFunction(["x", "ab"], lambda values, rng: None)]
    wanted = mf.Feed(data, 500, shuffle=True, seed=4, augment=noise).batch(2, 0)[0]
    for augment in (noise, one_by_one):
        with mf.Feed(data, batch_size, shuffle=True, seed=4, augment=augment, workers=workers) as feed:
            feed.epoch = 2
            batches = [batch[0] for batch in feed]
        for name in ("x", "ab"):
            found = np.concatenate([batch[name] for batch in batches])
            np.testing.assert_array_equal(found, wanted[name])


def test_columns_with_noise_are_still_read_without_threads() -> None:
    """Only what needs samples one by one makes a plan read them so."""
    data = columns()
    assert not data.plan(mf.Noise("x", 1)).reads_samples
    assert data.plan([mf.Noise("x", 1), mf.RandomFunction("x", lambda x, rng: None)]).reads_samples


def test_a_copy_before_noise_is_clean() -> None:
    """Denoising: the target is what the input was, of numbers as of images."""
    rows = {"x": np.linspace(0, 1, 60, dtype=np.float32).reshape(20, 3)}
    data = mf.Dataset(
        rows,
        inputs={"x": mf.Array("x")},
        targets={"clean": mf.Same("x", before="noise"), "same": mf.Same("x")},
    )
    inputs, targets = mf.Feed(data, 20, augment=mf.Noise("x", 1)).batch(0, 0)
    np.testing.assert_array_equal(targets["clean"], rows["x"])
    np.testing.assert_array_equal(targets["same"], inputs["x"])
    assert np.abs(inputs["x"] - rows["x"]).max() > 1


ALL = [
    mf.RandomColor(["left", "right"], brightness=0.5, contrast=0.5, gamma=0.5),
    mf.RandomBlur("left", (0, 3)),
    mf.RandomJPEG("right"),
    mf.RandomNoise(["left", "right"], (0, 20)),
    mf.RandomErasing(["left", "right"]),
    mf.Noise("age", 0.5),
]


def test_a_batch_is_the_same_for_any_batch_size_and_number_of_workers(pairs: mf.Dataset) -> None:
    """All transforms together: threads and batches change when, never what; seeds change what."""
    wanted = mf.Feed(pairs, 23, shuffle=True, seed=1, augment=ALL).batch(1, 0)[0]
    other = mf.Feed(pairs, 23, shuffle=True, seed=2, augment=ALL).batch(1, 0)[0]
    for batch_size, workers in ((1, 1), (5, 2), (23, 4)):
        with mf.Feed(pairs, batch_size, shuffle=True, seed=1, augment=ALL, workers=workers) as feed:
            feed.epoch = 1
            batches = [batch[0] for batch in feed]
        for name in ("left", "right", "age"):
            found = np.concatenate([batch[name] for batch in batches])
            np.testing.assert_array_equal(found, wanted[name])
            assert (found != other[name]).any()


def test_noise_is_absolute_after_normalisation() -> None:
    """A Numeric with normalize=True gets noise in deviations of its column."""
    data = mf.Dataset({"x": np.arange(0.0, 1e6, 1e3)}, inputs={"x": mf.Numeric("x", normalize=True)})
    data.adapt()
    plain = mf.Feed(data, 1_000).batch(0, 0)[0]["x"]
    noisy = mf.Feed(data, 1_000, augment=mf.Noise("x", 0.1)).batch(0, 0)[0]["x"]
    assert abs((noisy - plain).std() - 0.1) < 0.01


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (
            lambda: mf.RandomNoise("a", (9, 3)),
            "sigma is a pair (least, most); received (9, 3).\n  Write (3, 9).",
        ),
        (
            lambda: mf.RandomBlur("a", -1),
            "sigma is a number of 0 or more, or a pair (least, most); received -1.",
        ),
        (
            lambda: mf.Noise("a", "loud"),
            "sigma is a number of 0 or more, or a pair (least, most); received 'loud'.",
        ),
        (
            lambda: mf.RandomJPEG("a", quality=(0, 50)),
            "quality is a whole number from 1 to 100, or a pair (least, most) of them; received (0, "
            "50).\n  Write e.g. quality=(30, 95).",
        ),
        (
            lambda: mf.RandomErasing("a", probability=1.5),
            "probability is a probability, from 0 to 1; received 1.5.",
        ),
        (
            lambda: mf.RandomErasing("a", scale=(0.1, 1.5)),
            "scale is a share of the image's area, up to 1; received (0.1, 1.5).",
        ),
        (
            lambda: mf.RandomErasing("a", ratio=2),
            "ratio is a pair (least, most); received 2.",
        ),
        (
            lambda: mf.Noise("a", 1).check("a", Spec((8, 8, 3), "uint8")),
            "Noise is added to floats; field 'a' is (8, 8, 3) uint8.\n"
            "  mf.RandomNoise changes images of 8 bits.",
        ),
        (
            lambda: mf.Noise("a", 1).check("a", Spec((), "int32")),
            "Noise is added to floats; field 'a' is () int32.\n"
            '  Declare the field with dtype="float32".',
        ),
        (
            lambda: mf.RandomJPEG("a").check("a", Spec((8, 8, 3), "float32")),
            "RandomJPEG changes images, (height, width, channels) uint8 of 1, 3 or 4 channels; field "
            "'a' is (8, 8, 3) float32.\n"
            "  Name the fields that are such images, or write your own as mf.RandomFunction.",
        ),
        (
            lambda: mf.RandomErasing("a").check("a", Spec((8,), "float32")),
            "RandomErasing erases a part of images, (height, width) or (height, width, channels); field "
            "'a' is (8,) float32.\n"
            "  Name the fields that are images.",
        ),
        (
            lambda: mf.RandomErasing("a", value=300).check("a", Spec((8, 8, 3), "uint8")),
            "value is a number that (8, 8, 3) uint8 can hold, or one for each channel of it; field 'a' "
            "cannot be erased with 300.",
        ),
        (
            lambda: mf.RandomErasing("a", value=(1, 2)).check("a", Spec((8, 8, 3), "uint8")),
            "value is a number that (8, 8, 3) uint8 can hold, or one for each channel of it; field 'a' "
            "cannot be erased with (1, 2).",
        ),
    ],
)
def test_what_cannot_be_is_told_at_declaration(declare: Any, message: str) -> None:
    with pytest.raises(mf.DeclarationError, match=f"^{re.escape(message)}$"):
        declare()


def test_noise_is_the_same_on_every_machine_and_in_every_version() -> None:
    """The first numbers are those of the release that froze them."""
    data = mf.Dataset({"x": np.zeros((4, 2), np.float32)}, inputs={"x": mf.Array("x")})
    noise = mf.Feed(data, 4, seed=7, augment=mf.Noise("x", 1)).batch(3, 0)[0]["x"]
    golden = [-0.83975, -0.31866, -0.33978, 1.44578, -1.18765, -0.71745, 0.19131, -0.26842]
    np.testing.assert_allclose(noise.ravel(), golden, atol=1e-5)
