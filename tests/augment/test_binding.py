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
