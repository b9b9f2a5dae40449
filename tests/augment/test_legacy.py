"""`from_image_data_generator`: what Keras' ImageDataGenerator does, where it does what it says."""

from __future__ import annotations

import os
from typing import Any

import cv2
import numpy as np
import pytest
from scipy import stats
from skimage import data as photographs
from sklearn.datasets import load_sample_images

import multifeed as mf
from multifeed.augment.draws import uniforms
from multifeed.augment.legacy import GeneratorAffine, GeneratorColor
from multifeed.augment.warp import Warp
from multifeed.spec import Spec

# Of Keras, which takes seconds to import.
pytestmark = pytest.mark.xdist_group("legacy")


@pytest.fixture(scope="module")
def generator_class() -> Any:
    """Keras' ImageDataGenerator; it needs no backend but NumPy."""
    # For this import alone: programs that later tests start have a backend of their own.
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "numpy"))
        from keras.src.legacy.preprocessing.image import ImageDataGenerator

    return ImageDataGenerator


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """Six real photographs, at a quarter of a megapixel or more."""
    found = [photographs.astronaut(), photographs.coffee(), photographs.chelsea(), photographs.rocket()]
    return [*found, *load_sample_images().images]


def affine(**arguments: Any) -> GeneratorAffine:
    """Return the geometry of a generator with these arguments."""
    (transform,) = mf.from_image_data_generator("photo", **arguments)
    assert isinstance(transform, GeneratorAffine)
    return transform


def as_keras(draws: Any, place: int, size: tuple[int, int]) -> dict[str, Any]:
    """Return a slot's draws as ``apply_transform`` takes them; its x is along the width."""
    down, right = draws["shift"][place]
    return {
        "theta": draws["rotation"][place],
        "tx": -right * size[1],
        "ty": -down * size[0],
        "shear": draws["shear"][place],
        "zx": 1 / draws["zoom"][place, 1],
        "zy": 1 / draws["zoom"][place, 0],
        "flip_vertical": draws["flip"][place, 0],
        "flip_horizontal": draws["flip"][place, 1],
    }


EVERYTHING: dict[str, Any] = {
    "rotation_range": 40,
    "width_shift_range": 0.2,
    "height_shift_range": 0.2,
    "shear_range": 20,
    "zoom_range": (0.6, 1.6),
    "horizontal_flip": True,
    "vertical_flip": True,
}


@pytest.mark.parametrize("fill_mode", ["nearest", "reflect"])
@pytest.mark.parametrize("kind", ["generator", "affine"])
def test_the_warp_is_that_of_keras(
    generator_class: Any, pictures: list[np.ndarray], fill_mode: str, kind: str
) -> None:
    """Of 200 parameter sets, in float less than 0.05 of 255 off; 1 level at 99.9 % of uint8 pixels."""
    size = (144, 144)
    if kind == "generator":
        transform: mf.RandomAffine = affine(fill_mode=fill_mode, **EVERYTHING)
    else:
        transform = mf.RandomAffine(
            "x", rotation=40, shift=0.2, shear=20, zoom=0.4, flip="vertical", fill=fill_mode
        )
    draws = transform.draw(uniforms(0, 0, 0, 0, 200, transform.count))
    warp = Warp(size, size, fill=fill_mode)
    pixels = warp.pixels(transform.matrices(draws, size, size))
    moves = warp.moves(pixels)
    generator = generator_class(fill_mode=fill_mode, data_format="channels_last")
    floats = np.empty((*size, 3), np.float32)
    integers = np.empty((*size, 3), np.uint8)
    for place in range(200):
        picture = cv2.resize(pictures[place % 6], size[::-1], interpolation=cv2.INTER_AREA)
        expected = generator.apply_transform(picture.astype(np.float32), as_keras(draws, place, size))
        warp.apply(picture.astype(np.float32), moves[place], floats)
        assert np.abs(floats - expected).mean() < 0.05
        warp.apply(picture, moves[place], integers)
        assert (np.abs(integers - np.rint(expected)) <= 1).mean() > 0.999


def test_where_keras_errs_on_images_that_are_not_square(generator_class: Any) -> None:
    """Keras turns about (height / 2, width / 2), and moves widths by the height's range."""
    generator = generator_class(height_shift_range=0.25, data_format="channels_last")
    shifts = [abs(generator.get_random_transform((40, 80, 1))["tx"]) for _ in range(300)]
    image = np.zeros((40, 80, 1), np.float32)
    image[19:21, 39:41] = 1
    moved = generator.apply_transform(image, {"tx": 8})
    # A quarter of the height, along the width.
    assert 9 < max(shifts) <= 10
    assert np.argwhere(moved[..., 0]).mean(0).tolist() == [19.5, 31.5]
    # Half a turn takes the centre out of the frame of an image twice as wide as high.
    turned = generator_class(fill_mode="constant", data_format="channels_last").apply_transform(
        image, {"theta": 180}
    )
    assert not turned.any()

    ours = affine(height_shift_range=0.25, rotation_range=180)
    draws = dict(ours.draw(np.full((1, ours.count), 0.5)))
    assert draws["shift"].tolist() == [[0.0, 0.0]]
    warp = Warp((40, 80), (40, 80), fill="constant")
    out = np.empty_like(image)
    for change, centre in (
        ({"rotation": np.array([180.0])}, [19.5, 39.5]),
        ({"shift": np.array([[0.25, 0.0]])}, [29.5, 39.5]),
    ):
        matrices = ours.matrices({**draws, **change}, (40, 80), (40, 80))
        warp.apply(image, warp.moves(warp.pixels(matrices))[0], out)
        assert np.argwhere(out[..., 0] > 0.5).mean(0).tolist() == centre


SHIFTS: list[Any] = [0.3, 0.0, 1, 3, 2.5, 1.0, [0.1, 0.3], [2, 5, -9], (4,), np.array([1, 2])]


@pytest.mark.parametrize("shift", SHIFTS, ids=str)
def test_shifts_in_their_three_forms_are_drawn_as_keras_draws_them(
    generator_class: Any, shift: Any
) -> None:
    """Fractions, pixels, lists: the same values as often, or one distribution (Kolmogorov-Smirnov)."""
    size = (60, 60)
    generator = generator_class(width_shift_range=shift if np.ndim(shift) == 0 else list(shift))
    np.random.seed(0)
    theirs = -np.array([generator.get_random_transform((*size, 3))["ty"] for _ in range(4_000)])
    transform = affine(width_shift_range=shift, rotation_range=1)
    draws = transform.draw(uniforms(0, 0, 0, 0, 4_000, transform.count))
    matrices = transform.matrices({**draws, "rotation": np.zeros(4_000)}, size, size)
    ours = np.round(-matrices[:, 0, 2] * size[1], 6)
    assert np.abs(matrices[:, 1, 2]).max() < 1e-12
    theirs = np.round(theirs, 6) + 0.0
    if isinstance(shift, float):
        assert stats.ks_2samp(ours, theirs).pvalue > 1e-3
        return
    values, counts = np.unique(ours + 0.0, return_counts=True)
    expected, times = np.unique(theirs, return_counts=True)
    np.testing.assert_allclose(values, expected)
    if len(values) > 1:
        assert stats.chi2_contingency([counts, times]).pvalue > 1e-3


def test_all_else_is_drawn_as_keras_draws_it(generator_class: Any) -> None:
    """Each parameter is of Keras' distribution (Kolmogorov-Smirnov), zooms of both axes apart."""
    arguments = {**EVERYTHING, "channel_shift_range": 30.0, "brightness_range": (0.5, 1.5)}
    generator = generator_class(**arguments)
    np.random.seed(1)
    theirs = [generator.get_random_transform((50, 50, 3)) for _ in range(3_000)]
    geometry, color = mf.from_image_data_generator("photo", **arguments)
    draws = {
        **geometry.draw(uniforms(0, 0, 0, 0, 3_000, geometry.count)),
        **color.draw(uniforms(0, 0, 1, 0, 3_000, color.count)),
    }
    ours = {
        "theta": draws["rotation"],
        "shear": draws["shear"],
        "tx": draws["shift"][:, 0] * 50,
        "ty": draws["shift"][:, 1] * 50,
        "zx": 1 / draws["zoom"][:, 1],
        "zy": 1 / draws["zoom"][:, 0],
        "flip_vertical": draws["flip"][:, 0],
        "flip_horizontal": draws["flip"][:, 1],
        "channel_shift_intensity": draws["channel_shift"],
        "brightness": draws["brightness"],
    }
    for name, values in ours.items():
        expected = np.array([float(each[name]) for each in theirs])
        assert stats.ks_2samp(values.astype(float), expected).pvalue > 1e-3, name
    assert stats.pearsonr(ours["zx"], ours["zy"]).pvalue > 1e-3


@pytest.mark.parametrize("intensity", [-60.0, 0.0, 41.5])
@pytest.mark.parametrize("brightness", [None, 0.4, 1.7])
def test_values_change_as_keras_changes_them(
    generator_class: Any, pictures: list[np.ndarray], intensity: float, brightness: float | None
) -> None:
    """Channel shift between the image's own bounds, then Pillow's brightness: to one level."""
    picture = np.ascontiguousarray(np.clip(pictures[2][:64, :80], 20, 230))
    generator = generator_class(data_format="channels_last")
    expected = generator.apply_transform(
        picture.astype(np.float32), {"channel_shift_intensity": intensity, "brightness": brightness}
    )
    color = GeneratorColor(
        "photo", shift=abs(intensity), brightness=(1.0, 1.0) if brightness is None else (0.1, 2.0)
    )
    draws = {
        "channel_shift": np.array([intensity]),
        "brightness": np.array([1.0 if brightness is None else brightness]),
    }
    changed = picture.copy()
    color.apply({"photo": changed}, draws, 0, None)  # type: ignore[arg-type]
    assert np.abs(changed - expected).max() <= 1
    if intensity == 0.0 and brightness is not None:
        assert (changed == expected).mean() > 0.99


def test_a_preprocessing_function_sees_floats_and_gives_pixels() -> None:
    """It is called with float32 from 0 to 255, field by field, and what it returns is rounded."""
    seen = []

    def invert(image: np.ndarray) -> np.ndarray:
        seen.append(image.dtype)
        return 255.0 - image - 0.3

    pixels = np.arange(4 * 3 * 3 * 1, dtype=np.uint8).reshape(4, 3, 3, 1)
    data = mf.Dataset({"x": pixels}, inputs={"one": mf.Array("x"), "two": mf.Array("x")})
    augment = mf.from_image_data_generator(["one", "two"], preprocessing_function=invert)
    (batch,) = mf.Feed(data, 4, augment=augment).batch(0, 0)
    np.testing.assert_array_equal(batch["one"], 255 - pixels)
    np.testing.assert_array_equal(batch["two"], 255 - pixels)
    assert set(seen) == {np.dtype("float32")}


def test_a_preprocessing_function_that_centres_is_told_where_it_belongs() -> None:
    """Values that pixels cannot have are an error, not cut off."""
    pixels = np.full((2, 3, 3, 1), 7, np.uint8)
    data = mf.Dataset({"x": pixels}, inputs=mf.Array("x"))
    augment = mf.from_image_data_generator("x", preprocessing_function=lambda image: image - 100)
    with pytest.raises(mf.SampleError) as caught:
        mf.Feed(data, 2, augment=augment).batch(0, 0)
    assert str(caught.value) == (
        f"'x' of row 0 cannot be used: it becomes {Spec((3, 3, 1), 'float32')} from -93 to -93 by "
        "preprocessing_function, and a transform keeps its shape and values from 0 to 255.\n"
        "  Row: 0.\n"
        '  Declare the field with mf.Image(..., dtype="float32", preprocess=<your function>) instead: '
        "that comes after all transforms as well."
    )


def test_a_preprocessing_function_of_floats_keeps_them() -> None:
    """Nothing is rounded or bounded but whole numbers; in place is as good."""
    values = np.random.default_rng(0).random((2, 3, 3, 1), np.float32) * 300

    def halve(image: np.ndarray) -> None:
        image /= 2

    data = mf.Dataset({"x": values}, inputs=mf.Array("x"))
    augment = mf.from_image_data_generator("x", preprocessing_function=halve)
    np.testing.assert_array_equal(mf.Feed(data, 2, augment=augment).batch(0, 0)[0], values / 2)


def test_one_call_gives_what_is_asked_for_and_no_more() -> None:
    """Nothing for no arguments or all defaults; geometry, colour and function in Keras' order."""
    assert mf.from_image_data_generator("x") == []
    defaults: dict[str, Any] = {
        "featurewise_center": False, "samplewise_center": False, "zca_epsilon": 1e-6, "rescale": None,
        "data_format": "channels_last", "validation_split": 0.0, "interpolation_order": 1, "dtype": None,
        "zoom_range": [1, 1], "brightness_range": None, "fill_mode": "reflect", "cval": 3.0,
    }  # fmt: skip
    assert mf.from_image_data_generator("x", **defaults) == []
    every = mf.from_image_data_generator(
        ["x", "y"], shear_range=1, channel_shift_range=5, preprocessing_function=abs
    )
    assert [type(each).__name__ for each in every] == [
        "GeneratorAffine",
        "GeneratorColor",
        "RandomFunction",
    ]
    assert all(each.fields == ("x", "y") for each in every)


def test_every_argument_of_keras_is_known(generator_class: Any) -> None:
    """Keras' own signature, argument by argument, at its defaults."""
    import inspect

    for name, parameter in inspect.signature(generator_class).parameters.items():
        assert mf.from_image_data_generator("x", **{name: parameter.default}) == []


NORMALIZATION = "Begin the model with keras.layers.Normalization(), adapted to training images."
REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"rescale": 1 / 255},
        f"rescale={1 / 255!r} is no transform of an image.\n"
        '  Write mf.Image(..., dtype="float32", scale=1/255), or begin the model with '
        "keras.layers.Rescaling(1/255).",
    ),
    (
        {"samplewise_center": True},
        "samplewise_center=True is no transform of an image.\n"
        '  Write mf.Image(..., dtype="float32", preprocess=lambda image: image - image.mean()).',
    ),
    (
        {"samplewise_std_normalization": True},
        "samplewise_std_normalization=True is no transform of an image.\n"
        '  Write mf.Image(..., dtype="float32", preprocess=standardize), where standardize(image) '
        "returns (image - image.mean()) / (image.std() + 1e-6).",
    ),
    (
        {"featurewise_center": True},
        f"featurewise_center=True is no transform of an image.\n  {NORMALIZATION}",
    ),
    (
        {"featurewise_std_normalization": True},
        f"featurewise_std_normalization=True is no transform of an image.\n  {NORMALIZATION}",
    ),
    (
        {"zca_whitening": True},
        "zca_whitening=True is no transform of an image.\n"
        "  Compute the whitening matrix from flattened training images, and begin the model with a "
        "frozen keras.layers.Dense of it; batch normalisation has made it rare.",
    ),
    (
        {"zca_epsilon": 0.1},
        "zca_epsilon=0.1 is no transform of an image.\n"
        "  It belongs to zca_whitening, which is no transform either.",
    ),
    (
        {"validation_split": 0.2},
        "validation_split=0.2 is no transform of an image.\n"
        "  Write train, validation = data.split(0.8, 0.2, seed=0), and augment train alone.",
    ),
    (
        {"data_format": "channels_first"},
        "data_format='channels_first' is no transform of an image.\n"
        "  Images are (height, width, channels) on every backend: drop it; a model that wants channels "
        "first begins with keras.layers.Permute((3, 1, 2)).",
    ),
    (
        {"interpolation_order": 0},
        "interpolation_order=0 is no transform of an image.\n"
        '  The field says how its pixels are interpolated: 0 is mf.Image(..., interpolation="nearest"), '
        "1 the default; higher orders are not offered.",
    ),
    (
        {"dtype": "float32"},
        "dtype='float32' is no transform of an image.\n"
        '  The field says its dtype: mf.Image(..., dtype="float32").',
    ),
    (
        {"rotation": 20},
        "ImageDataGenerator has no argument 'rotation'.\n  Did you mean 'rotation_range'?",
    ),
    (
        {"rotation_range": -20},
        "rotation_range is a number of 0 or more; received -20.",
    ),
    (
        {"zoom_range": 1.5},
        "zoom_range is above 0; received 1.5, which reaches -0.5.",
    ),
    (
        {"zoom_range": (1.2, 0.8)},
        "zoom_range is a pair (least, most); received (1.2, 0.8).\n  Write (0.8, 1.2).",
    ),
    (
        {"brightness_range": 0.2},
        "brightness_range is a pair (least, most) of factors; received 0.2.",
    ),
    (
        {"width_shift_range": "a"},
        "width_shift_range is a number of 0 or more or a list of numbers; received 'a'.\n"
        "  A float below 1 is a fraction, an int is pixels.",
    ),
    (
        {"preprocessing_function": 3},
        "preprocessing_function is a function of one image; received 3.",
    ),
    (
        {"fill_mode": "mirror", "rotation_range": 3},
        "fill must be one of 'nearest', 'constant', 'reflect', 'wrap'; received 'mirror'.",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_is_no_transform_says_what_to_write_instead(arguments: Any, message: str) -> None:
    """Each of Keras' arguments that belongs elsewhere, ranges the wrong way round, unknown names."""
    with pytest.raises(mf.DeclarationError) as caught:
        mf.from_image_data_generator("photo", **arguments)
    assert str(caught.value) == message


def test_masks_of_floats_cannot_share_changes_of_values() -> None:
    """Brightness is for uint8 images; a float field is refused at declaration."""
    data = mf.Dataset({"x": np.zeros((2, 3, 3, 1))}, inputs=mf.Array("x"))
    augment = mf.from_image_data_generator("x", brightness_range=(0.5, 1))
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Feed(data, 2, augment=augment)
    assert str(caught.value) == (
        "brightness_range and channel_shift_range change images uint8[height, width, channels]; field "
        f"'x' is {Spec((3, 3, 1), 'float32')}.\n  Name such fields alone, in a call of its own."
    )
