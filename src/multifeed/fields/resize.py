"""Resizing images and volumes. Knows nothing of fields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from multifeed.fields.resample import Span, resample
from multifeed.fields.rows import NDArray

# Dtypes that OpenCV resizes and warps, and for others one of these that holds all of their values.
KNOWN = tuple(map(np.dtype, ("uint8", "uint16", "int16", "float32", "float64")))
STAND_INS: dict[Any, np.dtype[Any]] = {
    np.dtype("bool"): np.dtype("uint8"),
    np.dtype("int8"): np.dtype("int16"),
    np.dtype("int32"): np.dtype("float64"),
    np.dtype("uint32"): np.dtype("float64"),
    np.dtype("float16"): np.dtype("float32"),
}
# OpenCV warps and averages up to this many channels at a time.
CHANNELS = 4


def resize(image: NDArray, out: NDArray, interpolation: str, *, antialias: bool = False) -> None:
    """Resize `image` into `out`, both ``[height, width, channels]`` of one dtype of those above.

    Volumes, of one axis more, go another way: see `resample`.

    ``"nearest"`` takes the pixel under each centre. ``"bilinear"`` is plain where an axis shrinks to
    more than half; axes that shrink further are smoothed or averaged first, so that every source
    pixel counts. `antialias` averages over the area of each pixel wherever an axis shrinks.
    """
    height, width = out.shape[:2]
    if image.shape == out.shape:
        out[...] = image
    elif image.ndim == 4:
        spans = [Span.whole(*pair) for pair in zip(image.shape[:3], out.shape[:3], strict=True)]
        needed = tuple(slice(*span.source(interpolation)) for span in spans)
        resample(image[needed], spans, out, interpolation)
    elif out.dtype in STAND_INS:
        resized = np.empty(out.shape, STAND_INS[out.dtype])
        resize(image.astype(resized.dtype), resized, interpolation, antialias=antialias)
        settle(resized, out)
    elif out.shape[2] > CHANNELS:
        for some, part in parts(image):
            resized = np.empty((height, width, part.shape[2]), out.dtype)
            resize(part, resized, interpolation, antialias=antialias)
            out[:, :, some] = resized
    elif interpolation == "nearest":
        _resize_into(image, out, cv2.INTER_NEAREST_EXACT)
    elif antialias:
        # By area first: OpenCV interpolates both axes linearly as soon as one of them grows.
        shrunk = _averaged(image, min(image.shape[0], height), min(image.shape[1], width))
        resize(shrunk, out, interpolation)
    else:
        _resize_into(_reduced(image, height, width), out, cv2.INTER_LINEAR)


def parts(image: NDArray) -> Iterator[tuple[slice, NDArray]]:
    """Yield as many channels of an image as OpenCV takes at a time, and which they are."""
    for first in range(0, image.shape[2], CHANNELS):
        some = slice(first, first + CHANNELS)
        yield some, np.ascontiguousarray(image[:, :, some])


def settle(values: NDArray, out: NDArray) -> None:
    """Write the values of a stand-in."""
    if out.dtype.kind in "iu" and values.dtype.kind == "f":
        np.rint(values, out=values)
    out[...] = values


def _reduced(image: NDArray, height: int, width: int) -> NDArray:
    """Return an image from which ``[height, width]`` can be interpolated without skipping a pixel."""
    by_rows, by_columns = max(image.shape[0] // height, 1), max(image.shape[1] // width, 1)
    if by_rows * by_columns == 1:
        return image
    if by_rows * by_columns < 4:
        # One axis by 2 or 3. With the weights 1 2 1 before it, interpolation reaches 2 pixels to either
        # side, enough below a factor of 4. A tenth of the price of averaging, and nearer to Pillow's
        # antialiased result (at a factor of 2, equal to it).
        kernel = (3, 1) if by_columns > 1 else (1, 3)
        return _with_channels(cv2.GaussianBlur(image, kernel, 0))
    return _averaged(image, image.shape[0] // by_rows, image.shape[1] // by_columns)


def _averaged(image: NDArray, height: int, width: int) -> NDArray:
    if image.shape[:2] == (height, width):
        return image
    return _with_channels(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))


def _resize_into(image: NDArray, out: NDArray, interpolation: int) -> None:
    # OpenCV knows single-channel images as 2-D only.
    target = out[:, :, 0] if out.shape[2] == 1 else out
    cv2.resize(image, (out.shape[1], out.shape[0]), dst=target, interpolation=interpolation)


def _with_channels(image: NDArray) -> NDArray:
    return image if image.ndim == 3 else image[:, :, None]
