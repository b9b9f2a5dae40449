"""Resampling volumes: against its rule, written down plainly."""

from __future__ import annotations

import numpy as np
import pytest

from multifeed.fields.resample import Span, resample
from multifeed.fields.resize import resize


def resampled(values: np.ndarray, *sizes: int, interpolation: str = "bilinear") -> np.ndarray:
    """Return a volume, ``[a, b, c, channels]``, brought to a size."""
    out = np.full((*sizes, values.shape[3]), 77, np.float32)
    spans = [Span.whole(*pair) for pair in zip(values.shape[:3], sizes, strict=True)]
    needed = tuple(slice(*span.source(interpolation)) for span in spans)
    resample(values[needed], spans, out, interpolation)
    return out


def volume(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, shape).astype(np.int16)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 0, 3, 2)])
def test_whole_factors_average_blocks_wherever_values_lie(order: tuple[int, ...]) -> None:
    """In any order in memory, mirrored too; each channel by itself."""
    values = volume(6, 8, 12, 2)
    lies = np.ascontiguousarray(values.transpose(order)).transpose(np.argsort(order))
    expected = values.reshape(2, 3, 4, 2, 3, 4, 2).mean((1, 3, 5))
    assert np.allclose(resampled(lies, 2, 4, 3), expected, rtol=1e-6)
    assert np.allclose(resampled(lies[::-1, :, ::-1], 2, 4, 3), expected[::-1, :, ::-1], rtol=1e-6)


def test_fractions_are_averaged_by_what_they_cover() -> None:
    """Of three voxels to two, each has one and a half."""
    values = np.array([3.0, 6, 12]).reshape(1, 3, 1, 1)
    assert resampled(values, 1, 2, 1).ravel().tolist() == [4, 10]


def test_an_axis_that_grows_is_interpolated() -> None:
    """Between centres; beyond the outer ones it stays."""
    values = np.array([0.0, 4]).reshape(1, 1, 2, 1)
    assert resampled(values, 1, 1, 4).ravel().tolist() == [0, 1, 3, 4]
    assert resampled(values[..., :1, :], 3, 1, 2).ravel().tolist() == [0] * 6


def test_axes_may_grow_and_shrink_at_once() -> None:
    """Each in its own way: the order makes no difference but for rounding."""
    values = volume(4, 6, 5, 1).astype(np.float32)
    once = resampled(values, 7, 3, 9)
    twice = resampled(resampled(values, 4, 3, 5), 7, 3, 9)
    assert np.allclose(once, twice, rtol=1e-5)


def test_nearest_takes_values_as_they_are() -> None:
    """The one under each centre, of any dtype."""
    values = volume(4, 6, 5, 2).astype(np.int64)
    found = resampled(values, 8, 2, 5, interpolation="nearest")
    assert np.array_equal(found, values[np.arange(8) // 2][:, [1, 4]])


def test_a_span_is_a_part_of_the_whole() -> None:
    """What is wanted of an axis needs no more of the old one than the weights say."""
    values = volume(9, 9, 9, 1).astype(np.float32)
    for count in (4, 9, 14):
        whole = resampled(values, count, count, count)
        for start, stop in ((0, 2), (1, 4), (count - 1, count)):
            spans = [Span(9, count, 9 / count, start, stop)] * 3
            (first, last), _, _ = (span.source("bilinear") for span in spans)
            part = values[first:last, first:last, first:last]
            out = np.empty((stop - start,) * 3 + (1,), np.float32)
            resample(part, spans, out, "bilinear")
            assert np.array_equal(out, whole[start:stop, start:stop, start:stop])


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_a_base_is_resized_in_its_own_dtype(dtype: str) -> None:
    """Integers are rounded."""
    values = volume(4, 4, 4, 1).astype(dtype)
    out = np.empty((2, 2, 2, 1), dtype)
    resize(values, out, "bilinear")
    expected = values.reshape(2, 2, 2, 2, 2, 2).astype(float).mean((1, 3, 5))
    assert np.abs(out[..., 0] - expected).max() <= (1e-4 if dtype == "float32" else 0.5)
    resize(values, out, "nearest")
    assert np.array_equal(out, values[1::2, 1::2, 1::2])
