"""Geometry: what is drawn, where it puts things, and which declarations are refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

import multifeed as mf
from multifeed.augment.draws import uniforms
from multifeed.augment.geometry import Geometry
from multifeed.augment.warp import DTYPES
from multifeed.spec import Spec

SQUARE = (200, 200)
WIDE = (120, 200)


def shown(
    transform: Geometry, size: tuple[int, int], place: tuple[float, float], **draws: object
) -> list:
    """Return where a place (x, y) of the output comes from; both in pixels from the centre."""
    neutral = {
        "rotation": [0.0],
        "shear": [0.0],
        "shift": [[0.0, 0.0]],
        "zoom": [[1.0, 1.0]],
        "flip": [[False, False]],
    }
    given = {name: np.array(value) for name, value in {**neutral, **draws}.items()}
    scale = np.array([size[1], size[0], 1.0])
    found = transform.matrices(given, size, size)[0] @ (np.array([*place, 1.0]) / scale) * scale
    return np.round(found[:2], 6).tolist()


@pytest.mark.parametrize("size", [SQUARE, WIDE])
def test_what_the_parameters_of_an_affine_mean(size: tuple[int, int]) -> None:
    """Turned counter-clockwise about the centre, moved down and right, magnified, mirrored."""
    affine = mf.RandomAffine("photo")
    height, width = size
    # After a quarter turn counter-clockwise, what was at the right is at the top (y points down).
    assert shown(affine, size, (0, -10), rotation=[90.0]) == [10, 0]
    assert shown(affine, size, (7, 8), shift=[[0.1, 0.2]]) == [7 - 0.2 * width, 8 - 0.1 * height]
    assert shown(affine, size, (8, 6), zoom=[[2.0, 4.0]]) == [2, 3]
    assert shown(affine, size, (8, 6), flip=[[True, False]]) == [8, -6]
    assert shown(affine, size, (8, 6), flip=[[False, True]]) == [-8, 6]
    tilted = shown(affine, size, (0, 10), shear=[30.0])
    np.testing.assert_allclose(tilted, [-5, 10 * np.cos(np.pi / 6)], atol=1e-5)


def test_transforms_apply_in_the_order_of_their_names() -> None:
    """Rotated first, then shifted: a shift to the right moves to the right, whatever the angle."""
    affine = mf.RandomAffine("photo")
    found = shown(affine, SQUARE, (20, 0), rotation=[90.0], shift=[[0.0, 0.1]], zoom=[[2.0, 2.0]])
    # Undone from the last: unzoomed to (10, 0), moved back to (-10, 0), turned back to (0, -10).
    assert found == [0, -10]


RANGES = {
    "rotation": ((-20, 40), (-20, 40)),
    "shear": (10, (-10, 10)),
    "zoom": (0.25, (0.75, 1.25)),
}


@pytest.mark.parametrize("seed", [0, 1])
def test_draws_of_an_affine_fill_their_ranges_evenly(seed: int) -> None:
    """Kolmogorov-Smirnov for each parameter; each flip comes in half of the slots, independently."""
    affine = mf.RandomAffine(
        "photo",
        shift=(0.1, 0.3),
        flip="horizontal_and_vertical",
        **{name: given for name, (given, _) in RANGES.items()},  # type: ignore[arg-type]
    )
    draws = affine.draw(uniforms(seed, 0, 0, 0, 20_000, affine.count))
    ranges = {name: bounds for name, (_, bounds) in RANGES.items()}
    columns = {**{name: draws[name] for name in ("rotation", "shear")}, "zoom": draws["zoom"][:, 0]}
    columns |= {"down": draws["shift"][:, 0], "right": draws["shift"][:, 1]}
    ranges |= {"down": (-0.1, 0.1), "right": (-0.3, 0.3)}
    for name, values in columns.items():
        low, high = ranges[name]
        assert stats.kstest(values, "uniform", (low, high - low)).pvalue > 1e-3, name
    names = list(columns)
    for one in names:
        for other in names[names.index(one) + 1 :]:
            assert stats.pearsonr(columns[one], columns[other]).pvalue > 1e-3, (one, other)
    counts = np.bincount(draws["flip"] @ [1, 2], minlength=4)
    assert stats.chisquare(counts).pvalue > 1e-3
    np.testing.assert_array_equal(draws["zoom"][:, 0], draws["zoom"][:, 1])


@pytest.mark.parametrize("mode", ["horizontal", "vertical", "horizontal_and_vertical"])
def test_flips_mirror_only_as_their_mode_says(mode: str) -> None:
    """Half of the slots each way that is allowed, none the other way."""
    for draws in (
        mf.RandomFlip("photo", mode=mode).draw(uniforms(3, 0, 0, 0, 4_000, 2)),
        mf.RandomAffine("photo", flip=mode).draw(uniforms(3, 0, 0, 0, 4_000, 7)),
    ):
        vertical, horizontal = draws["flip"].mean(0)
        assert (0.45 < vertical < 0.55) if "vertical" in mode else vertical == 0
        assert (0.45 < horizontal < 0.55) if "horizontal" in mode else horizontal == 0
    assert not mf.RandomAffine("photo").draw(uniforms(3, 0, 0, 0, 99, 7))["flip"].any()


def test_a_random_crop_reaches_every_place_and_nothing_else() -> None:
    """Whole pixels from one corner to the other; places but the outermost are equally likely."""
    crop = mf.RandomCrop("photo")
    draws = crop.draw(uniforms(0, 0, 0, 0, 40_000, crop.count))
    base, size = (40, 64), (32, 64 - 16)
    matrices = crop.matrices(draws, base, size)
    top = (matrices[:, 1, 2] - matrices[:, 1, 1] / 2 + 0.5) * base[0]
    left = (matrices[:, 0, 2] - matrices[:, 0, 0] / 2 + 0.5) * base[1]
    for edges, room in ((top, 8), (left, 16)):
        assert np.abs(edges - np.rint(edges)).max() < 1e-9
        counts = np.bincount(np.rint(edges).astype(int), minlength=room + 1)
        assert len(counts) == room + 1
        expected = np.array([0.5, *[1.0] * (room - 1), 0.5]) / room * 40_000
        assert stats.chisquare(counts, expected).pvalue > 1e-3


def test_crops_of_a_large_and_a_small_image_stay_together() -> None:
    """Windows of an image and of a mask of a quarter of its size differ by less than a mask's pixel."""
    crop = mf.RandomCrop(["photo", "mask"])
    draws = crop.draw(uniforms(0, 0, 0, 0, 5_000, crop.count))
    photo = crop.matrices(draws, (256, 256), (224, 224))
    mask = crop.matrices(draws, (64, 64), (56, 56))
    assert np.abs(photo - mask).max() <= 0.63 / 64


def test_a_centre_crop_is_in_the_middle() -> None:
    """The same amount is cut off on all sides; where that is odd, a pixel less above and left."""
    crop = mf.CenterCrop("photo")
    for base, size in (((40, 64), (32, 48)), ((41, 65), (32, 48))):
        matrix = crop.matrices(crop.draw(np.empty((1, 0))), base, size)[0]
        assert round((matrix[1, 2] - matrix[1, 1] / 2 + 0.5) * base[0], 6) == (base[0] - size[0]) // 2
        assert round((matrix[0, 2] - matrix[0, 0] / 2 + 0.5) * base[1], 6) == (base[1] - size[1]) // 2


def test_windows_of_a_resized_crop() -> None:
    """Areas evenly, log ratios evenly, places evenly; all inside the image."""
    crop = mf.RandomResizedCrop("photo", scale=(0.1, 0.5), ratio=(0.5, 2))
    top, left, height, width = crop.draw(uniforms(0, 0, 0, 0, 20_000, crop.count))["window"].T
    assert min(top.min(), left.min()) >= 0
    assert max((top + height).max(), (left + width).max()) <= 1
    assert stats.kstest(height * width, "uniform", (0.1, 0.4)).pvalue > 1e-3
    logs = np.log(width / height)
    assert stats.kstest(logs, "uniform", (-np.log(2), 2 * np.log(2))).pvalue > 1e-3
    assert stats.kstest(top / (1 - height), "uniform").pvalue > 1e-3
    assert stats.kstest(left / (1 - width), "uniform").pvalue > 1e-3


def test_windows_that_would_not_fit_are_as_large_as_the_image() -> None:
    """With a scale up to 1 and any ratio, windows reach an edge and never go beyond it."""
    crop = mf.RandomResizedCrop("photo", scale=(0.9, 1), ratio=(0.3, 3))
    window = crop.draw(uniforms(0, 0, 0, 0, 2_000, crop.count))["window"]
    assert (window[:, 2:] == 1).any(0).all()
    assert (window[:, :2] + window[:, 2:]).max() <= 1


REFUSED: list[tuple[Callable[[], object], str]] = [
    (
        lambda: mf.RandomAffine("photo", rotation=(20, -20)),
        "rotation is a pair (least, most); received (20, -20).\n  Write (-20, 20).",
    ),
    (
        lambda: mf.RandomAffine("photo", rotation=-20),
        "rotation is a number of 0 or more, or a pair (least, most); received -20.",
    ),
    (
        lambda: mf.RandomAffine("photo", shear=(1, 2, 3)),
        "shear is a number of 0 or more, or a pair (least, most); received (1, 2, 3).",
    ),
    (
        lambda: mf.RandomAffine("photo", zoom=1.5),
        "zoom is a magnification above 0; it reaches -0.5.\n  Write a pair such as zoom=(1, 1.5).",
    ),
    (
        lambda: mf.RandomAffine("photo", shift=-0.1),
        "shift is the fraction of height and width by which the image moves at most, or a pair (of "
        "height, of width); received -0.1.\n  Write e.g. shift=0.1.",
    ),
    (
        lambda: mf.RandomAffine("photo", shift=20),
        "shift is the fraction of height and width by which the image moves at most, or a pair (of "
        "height, of width); received 20.\n  Write e.g. shift=0.1.",
    ),
    (
        lambda: mf.RandomAffine("photo", shift="0.1"),  # type: ignore[arg-type]
        "shift is the fraction of height and width by which the image moves at most, or a pair (of "
        "height, of width); received '0.1'.\n  Write e.g. shift=0.1.",
    ),
    (
        lambda: mf.RandomAffine("photo", flip="both"),
        "flip must be one of 'horizontal', 'vertical', 'horizontal_and_vertical'; received 'both'.",
    ),
    (
        lambda: mf.RandomAffine("photo", fill="mirror"),
        "fill must be one of 'nearest', 'constant', 'reflect', 'wrap'; received 'mirror'.",
    ),
    (
        lambda: mf.RandomAffine("photo", fill_value=(1, 2, 3)),  # type: ignore[arg-type]
        "fill_value is one number; received (1, 2, 3).",
    ),
    (
        lambda: mf.RandomFlip("photo", mode="x"),
        "mode must be one of 'horizontal', 'vertical', 'horizontal_and_vertical'; received 'x'.",
    ),
    (
        lambda: mf.RandomResizedCrop("photo", scale=0.5),  # type: ignore[arg-type]
        "scale is a pair (least, most); received 0.5.\n  Write e.g. scale=(0.5, 1).",
    ),
    (
        lambda: mf.RandomResizedCrop("photo", scale=(0.5, 2)),
        "scale is a share of the image's area, up to 1; received (0.5, 2.0).",
    ),
    (
        lambda: mf.RandomResizedCrop("photo", ratio=(0, 1)),
        "ratio is at least 1e-06; received (0, 1), which reaches 0.",
    ),
    (
        lambda: mf.RandomFlip("x").check("x", Spec((5,), "uint8")),
        "RandomFlip moves the pixels of images, (height, width) or (height, width, channels); field 'x' "
        f"is {Spec((5,), 'uint8')}.\n  Name the fields that are images.",
    ),
    (
        lambda: mf.RandomFlip("x").check("x", Spec((5, 5), "int64")),
        f"RandomFlip moves pixels of {', '.join(DTYPES)}; field 'x' is {Spec((5, 5), 'int64')}.\n"
        '  Declare it with another dtype, e.g. dtype="int32".',
    ),
    (
        lambda: mf.RandomAffine("x", fill="constant", fill_value=300).check("x", Spec((5, 5), "uint8")),
        f"fill_value is a value that pixels can have; 'x' is {Spec((5, 5), 'uint8')}, whole numbers "
        "from 0 to 255, and fill_value is 300.\n  Pass one that suits all fields of the transform.",
    ),
    (
        lambda: mf.RandomAffine("x", fill="constant", fill_value=2).check("x", Spec((5, 5), "bool")),
        f"fill_value is a value that pixels can have; 'x' is {Spec((5, 5), 'bool')}, whole numbers from "
        "0 to 1, and fill_value is 2.\n  Pass one that suits all fields of the transform.",
    ),
]


@pytest.mark.parametrize(("declare", "message"), REFUSED, ids=[message[:30] for _, message in REFUSED])
def test_what_cannot_be_is_refused_at_declaration(declare: Callable[[], object], message: str) -> None:
    """Ranges the wrong way round, unknown options, fields that are no images; in the user's words."""
    with pytest.raises(mf.DeclarationError) as caught:
        declare()
    assert str(caught.value) == message


def test_fill_values_that_pixels_can_have_are_accepted() -> None:
    """At the ends of the range; any number for floats, and where nothing is filled with it."""
    mf.RandomAffine("x", fill="constant", fill_value=255).check("x", Spec((5, 5), "uint8"))
    mf.RandomAffine("x", fill="constant", fill_value=-0.5).check("x", Spec((5, 5), "float32"))
    mf.RandomAffine("x", fill_value=-1).check("x", Spec((5, 5), "uint8"))
