"""Transforms meet a dataset: masks that would be interpolated, and arrays that are label maps."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import multifeed as mf

LABELS = np.random.default_rng(0).choice(np.array([0, 7], np.uint8), (4, 16, 16))
TURN = mf.RandomAffine(["x", "mask"], rotation=30)


def dataset(**options: Any) -> mf.Dataset:
    return mf.Dataset(
        {"x": np.zeros((4, 16, 16, 3), np.uint8), "mask": LABELS},
        inputs={"x": mf.Array("x")},
        targets={"mask": mf.Array("mask", **options)},
    )


def test_a_mask_that_is_interpolated_is_warned_about() -> None:
    """Between two labels there would be a third."""
    with pytest.warns(mf.MultifeedWarning) as caught:
        mf.Feed(dataset(), 4, augment=TURN)
    assert str(caught[0].message) == (
        "the target 'mask', (16, 16) uint8, is interpolated where it is moved: between labels 0 and 2 "
        "appears a 1.\n"
        '  If it is a mask or label map, declare it with interpolation="nearest"; if it is a picture, '
        'with dtype="float32".'
    )


@pytest.mark.parametrize("options", [{"interpolation": "nearest"}, {"dtype": "float32"}])
def test_what_is_declared_otherwise_is_silent(options: dict[str, Any]) -> None:
    """Label maps keep their labels; pictures are floats."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, targets = mf.Feed(dataset(**options), 4, augment=TURN).batch(0, 0)
    if "interpolation" in options:
        assert set(np.unique(targets["mask"])) <= {0, 7}


def test_colours_move_nothing() -> None:
    """A target that no geometry acts on needs no word."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mf.Feed(dataset(), 4, augment=mf.RandomColor("x", brightness=0.2))


def test_an_unknown_interpolation_is_told() -> None:
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Array("x", interpolation="cubic")
    assert str(caught.value) == ("interpolation must be one of 'bilinear', 'nearest'; received 'cubic'.")


@pytest.mark.parametrize(
    "transform",
    [
        mf.RandomColor("mask", brightness=0.2),
        mf.RandomNoise("mask", sigma=3),
        mf.RandomBlur("mask", sigma=1),
        mf.RandomJPEG("mask"),
        mf.from_image_data_generator("mask", brightness_range=(0.5, 1.5)),
    ],
)
def test_label_maps_get_no_colours(transform: Any) -> None:
    """They would be other labels."""
    rows = {"mask": LABELS[..., None]}
    data = mf.Dataset(rows, inputs={"mask": mf.Array("mask", interpolation="nearest")})
    with pytest.raises(mf.DeclarationError, match="'mask' is a label map"):
        mf.Feed(data, 4, augment=transform)


def test_padded_sequences_are_not_shifted() -> None:
    """Where there is a mask: it would say that items are where they are not."""
    rows, inputs = {"s": [[1.0, 2.0], [3.0]]}, {"s": mf.Array("s", pad_to=4)}
    data = mf.Dataset(rows, inputs={**inputs, "own": mf.Mask("s")})
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Feed(data, 2, augment=mf.RandomShift("s", most=1))
    assert str(caught.value) == (
        "RandomShift moves items to where padding stood, and 's' is padded: its mask 'own' would be "
        "wrong.\n  Leave the mask out, or move the items in preprocess= before they are padded."
    )
    assert mf.Feed(mf.Dataset(rows, inputs=inputs), 2, augment=mf.RandomShift("s", most=1))


def test_lists_in_the_list_are_flattened() -> None:
    """As from_image_data_generator returns one."""
    data = mf.Dataset({"x": np.zeros((4, 8, 8, 3), np.uint8)}, inputs={"x": mf.Array("x")})
    migrated = mf.from_image_data_generator("x", rotation_range=5, horizontal_flip=True)
    feed = mf.Feed(data, 2, augment=[migrated, mf.RandomColor("x", brightness=0.1)])
    assert len(feed.draws(0, 0)) == len(migrated) + 1


def test_what_is_no_transform_is_told() -> None:
    """A class in place of its instance, too."""
    data = mf.Dataset({"x": np.zeros((4, 8, 8, 3), np.uint8)}, inputs={"x": mf.Array("x")})
    with pytest.raises(mf.DeclarationError, match="augment holds transforms; received"):
        mf.Feed(data, 2, augment=mf.RandomFlip)  # type: ignore[arg-type]


def test_a_crop_behind_a_crop_is_refused(tmp_path: Any) -> None:
    """There is nothing left that it could cut."""
    rows = {"x": [str(tmp_path / "none.png")]}
    data = mf.Dataset(rows, inputs={"x": mf.Image("x", 8, base_size=12)})
    with pytest.raises(mf.DeclarationError, match="RandomCrop has nothing left to cut"):
        mf.Feed(data, 1, augment=[mf.RandomResizedCrop("x"), mf.RandomCrop("x")])


def test_equal_transforms_are_looked_at_one_by_one(tmp_path: Any) -> None:
    """The second acts on the outcome of a crop, which has another aspect ratio than the base images."""
    turn = mf.RandomAffine(["p", "m"], rotation=60)
    rows = {"p": [str(tmp_path / "p.png")], "m": [str(tmp_path / "m.png")]}
    data = mf.Dataset(
        rows, inputs={"p": mf.Image("p", (64, 32), base_size=64), "m": mf.Image("m", 64, base_size=64)}
    )
    with pytest.raises(mf.DeclarationError, match="images that turn together have one aspect ratio"):
        mf.Feed(data, 1, augment=[turn, mf.RandomResizedCrop(["p", "m"]), turn])


def test_a_resize_beside_colours_averages_as_without_them(tmp_path: Any) -> None:
    """antialias=True holds whatever transforms name the field."""
    from PIL import Image as PILImage

    pixels = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
    PILImage.fromarray(pixels).save(tmp_path / "x.png")
    rows = {"x": [str(tmp_path / "x.png")]}
    data = mf.Dataset(rows, inputs=mf.Image("x", 24, base_size=40, antialias=True))
    plain = mf.Feed(data, 1).batch(0, 0)[0]
    for nothing in (mf.RandomColor("x"), mf.RandomAffine("x")):
        np.testing.assert_array_equal(mf.Feed(data, 1, augment=nothing).batch(0, 0)[0], plain)


def test_a_mask_of_half_its_size_is_the_same_with_and_without_augmentation(tmp_path: Any) -> None:
    """Nothing is moved by a transform that does nothing."""
    from PIL import Image as PILImage

    labels = np.random.default_rng(0).integers(0, 5, (64, 64), np.uint8)
    PILImage.fromarray(labels).save(tmp_path / "m.png")
    mask = mf.Image("m", 32, base_size=64, color_mode="grayscale", interpolation="nearest")
    data = mf.Dataset({"m": [str(tmp_path / "m.png")]}, inputs=mask)
    plain = mf.Feed(data, 1).batch(0, 0)[0]
    np.testing.assert_array_equal(mf.Feed(data, 1, augment=mf.RandomAffine("m")).batch(0, 0)[0], plain)
