"""Resizing ``uint8`` images. Knows nothing of fields."""

from __future__ import annotations

import cv2

from multifeed.fields.rows import NDArray


def resize(image: NDArray, out: NDArray, interpolation: str, *, antialias: bool = False) -> None:
    """Resize `image` into `out`, both ``uint8[height, width, channels]``.

    ``"nearest"`` takes the pixel under each centre. ``"bilinear"`` is plain where an axis shrinks to
    more than half; axes that shrink further are smoothed or averaged first, so that every source
    pixel counts. `antialias` averages over the area of each pixel wherever an axis shrinks.
    """
    height, width = out.shape[:2]
    if image.shape[:2] == (height, width):
        out[...] = image
    elif interpolation == "nearest":
        _resize_into(image, out, cv2.INTER_NEAREST_EXACT)
    elif antialias:
        # By area first: OpenCV interpolates both axes linearly as soon as one of them grows.
        shrunk = _averaged(image, min(image.shape[0], height), min(image.shape[1], width))
        resize(shrunk, out, interpolation)
    else:
        _resize_into(_reduced(image, height, width), out, cv2.INTER_LINEAR)


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
