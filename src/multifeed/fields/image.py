"""Photographs, scans, masks: image files as uint8 arrays of one size."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any

import numpy as np

from multifeed.errors import BadValue, DeclarationError, lines
from multifeed.fields.base import Base, Field, Learned, PerSample
from multifeed.fields.decode import CHANNELS, DECODERS, MAX_PIXELS, Size, as_found, decode
from multifeed.fields.frame import Frame, between, resizing
from multifeed.fields.resize import resize
from multifeed.fields.rows import Cells, NDArray, Requests, Source
from multifeed.fields.scratch import Scratch
from multifeed.fields.shared import (
    Filled,
    Preprocess,
    apply_preprocess,
    at_least,
    check_scale,
    checked_size,
    fill_value,
    holds_text,
    is_raise,
    missing_value,
    one_column,
    one_of,
    preprocessed_spec,
    store,
    watch_over_preprocess,
    wrap,
)
from multifeed.fields.watch import Watch
from multifeed.folder import Folder
from multifeed.remote.uri import Request
from multifeed.spec import Spec
from multifeed.table import Columns, is_bytes


@dataclass(frozen=True)
class Image(Field):
    """An image file as an array ``uint8[height, width, channels]``.

    JPEG is decoded by libjpeg-turbo, PNG, TIFF, WebP, AVIF, GIF, BMP, JPEG 2000 and PPM by Pillow (of
    several frames, the first); the content tells the format, not the name. A truncated or damaged file
    is an error. EXIF orientation is applied. Images are brought to `color_mode` by these rules: of 16
    bits the higher 8 are kept; palettes and CMYK are converted to RGB; alpha is dropped where
    `color_mode` has none (not blended) and 255 where the file has none; grey is ITU-R 601 luma. Images
    of 32 bits a channel are refused.

    The file is decoded into a *base image* of `base_size`, which augmentation and caches work on.
    Reductions of less than 2x are plain bilinear; from 2x on the image is first reduced or smoothed
    (JPEG while it is decoded) so that no source pixel is skipped.

    Args:
        column: A column of file names, or of encoded images as bytes.
        size: (height, width) of the batch, in pixels; one number for a square.
        base_size: Size of the base image; `size` by default. Larger, it leaves room to zoom in.
        color_mode: ``"rgb"``, ``"rgba"`` or ``"grayscale"``.
        crop_to_aspect_ratio: Cut the largest centred window of the right aspect ratio out of the image,
            instead of distorting it.
        pad_to_aspect_ratio: Fit the whole image in, centred, between bars of zeros (black; transparent
            in ``"rgba"``).
        interpolation: ``"bilinear"``, or ``"nearest"`` for masks and label maps, whose values then
            stay as they are.
        antialias: Average over the area of each pixel when an image shrinks; slower.
        dtype: Dtype of the batch, ``"uint8"``, ``"float32"`` or ``"float16"``. uint8 is best: the model
            rescales on the device.
        scale: Multiplied with every value where `dtype` is a float, e.g. ``1/255``.
        preprocess: A function of one sample's array (after `dtype` and `scale`) that returns another;
            also called with zeros at declaration, to learn what it returns.
        missing: ``"raise"``, ``"zero"`` or the value that fills a sample whose column is null.
        max_pixels: An image that claims more pixels is an error, told by its header: before it is
            decoded, which takes some 16 bytes a pixel. All but JPEG are held to Pillow's own limit
            too, which is the default.

    Raises:
        DeclarationError: If a size is below 1, an option is unknown, or the column holds neither file
            names nor bytes.

    Example:
        >>> Image("left", size=(224, 224), color_mode="grayscale").name
        'left'
    """

    column: str
    size: int | Sequence[int]
    _: KW_ONLY
    base_size: int | Sequence[int] | None = None
    color_mode: str = "rgb"
    crop_to_aspect_ratio: bool = False
    pad_to_aspect_ratio: bool = False
    interpolation: str = "bilinear"
    antialias: bool = False
    dtype: str = "uint8"
    scale: float | None = None
    preprocess: Preprocess | None = None
    missing: Any = "raise"
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        one_column(self, self.column)
        checked_size("size", self.size)
        if self.base_size is not None:
            checked_size("base_size", self.base_size)
        one_of("color_mode", self.color_mode, tuple(CHANNELS))
        one_of("interpolation", self.interpolation, ("bilinear", "nearest"))
        one_of("dtype", self.dtype, ("uint8", "float32", "float16"))
        check_scale(self.scale, self.dtype)
        object.__setattr__(self, "max_pixels", at_least("max_pixels", self.max_pixels, 1))
        if self.crop_to_aspect_ratio and self.pad_to_aspect_ratio:
            raise DeclarationError(
                "only one of crop_to_aspect_ratio and pad_to_aspect_ratio can be True."
            )
        if self.antialias and self.interpolation == "nearest":
            raise DeclarationError(
                'antialias=True averages pixels, which interpolation="nearest" is there to avoid.'
            )

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    def check(self, columns: Columns) -> None:
        column = columns[self.column]
        kind = column.dtype if isinstance(column, np.ndarray) else column.type
        if isinstance(column, np.ndarray) or not (holds_text(kind) or is_bytes(kind)):
            raise DeclarationError(
                lines(
                    f"an Image column holds file names or encoded images; {self.column!r} holds {kind}.",
                    f"Declare images that are in memory already as mf.Array({self.column!r}).",
                )
            )
        if not is_raise(self.missing):
            fill_value(self.missing, self.spec_of(columns, None))

    def spec_of(self, columns: Columns, learned: Learned | None) -> Spec:
        return preprocessed_spec(self._spec, self.preprocess)

    @property
    def canvas(self) -> Size:
        return self._size

    @property
    def decoding(self) -> dict[str, Any]:
        height, width = self._size
        # Of the final size only the aspect ratio decides, where images are cut or padded to it.
        is_aspect = self.crop_to_aspect_ratio or self.pad_to_aspect_ratio
        return {
            "column": self.column,
            "base_size": self._base_size,
            "aspect": height / width if is_aspect else None,
            "color_mode": self.color_mode,
            "crop": self.crop_to_aspect_ratio,
            "pad": self.pad_to_aspect_ratio,
            "interpolation": self.interpolation,
            "antialias": self.antialias,
            "decoders": DECODERS,
        }

    def bind(self, source: Source, learned: Learned | None) -> PerSample:
        reader = _ImageReader(self, *self._files(source))
        is_null = source.cells(self.column).is_null()
        return wrap(reader, missing=self.missing, is_null=is_null, preprocess=self.preprocess)

    def base(self, source: Source, learned: Learned | None) -> Base:
        final = self.spec_of(source.columns, learned)
        reader: PerSample = _BaseReader(self, *self._files(source))
        is_null = source.cells(self.column).is_null()
        if is_null is not None and is_null.any():
            if is_raise(self.missing):
                raise missing_value(is_null)
            reader = Filled(reader, is_null, fill_value(self.missing, final))
        pixels = Spec((*self._size, CHANNELS[self.color_mode]), "uint8")
        finish = (
            None
            if final == pixels and self.preprocess is None
            else partial(self._finish, watch_over_preprocess())
        )
        return Base(reader, pixels, final, finish, self.interpolation, self.antialias)

    def restore(self, values: NDArray, learned: Learned | None) -> NDArray:
        """Undo the scale."""
        return values if self.scale is None else values / self.scale

    def _files(self, source: Source) -> tuple[Cells, Folder | None]:
        """Return the cells that name or hold the images, and where the names start."""
        is_named = holds_text(source.columns[self.column].type)
        return source.cells(self.column), source.folder(self.column) if is_named else None

    def _finish(self, watch: Watch, pixels: NDArray, out: NDArray) -> None:
        """Write an augmented image as the field yields it."""
        if self.preprocess is None:
            store(pixels, out, scale=self.scale)
            return
        sample = np.empty(pixels.shape, self.dtype)
        store(pixels, sample, scale=self.scale)
        apply_preprocess(self.preprocess, watch, sample, Spec.of(out), out)

    @property
    def _size(self) -> Size:
        return checked_size("size", self.size)

    @property
    def _base_size(self) -> Size:
        return self._size if self.base_size is None else checked_size("base_size", self.base_size)

    @property
    def _spec(self) -> Spec:
        return Spec((*self._size, CHANNELS[self.color_mode]), self.dtype)


class _ImageReader(PerSample):
    def __init__(self, field: Image, cells: Cells, folder: Folder | None) -> None:
        self.spec = field._spec
        self._field, self._cells, self._folder = field, cells, folder
        self._requests = Requests(cells, folder)
        self._size = field._size
        self._base_size = field._base_size
        self._scratch = Scratch()

    def file(self, row: int) -> str | None:
        if self._folder is None:
            return None
        try:
            return self._folder.path(self._cells[row])
        except BadValue:
            return None

    def requests(self, rows: NDArray) -> Iterable[Request]:
        return self._requests(rows)

    def load(self, row: int) -> bytes:
        value = self._cells[row]
        data: bytes = value if self._folder is None else self._folder.read(value)
        return data

    def decode(self, row: int, loaded: bytes, out: NDArray) -> Frame:
        if self._field.dtype == "uint8":
            return self._read_pixels(loaded, out)
        pixels = self._scratch.array("pixels", self.spec.shape)
        frame = self._read_pixels(loaded, pixels)
        store(pixels, out, scale=self._field.scale)
        return frame

    def describe(self, row: int, loaded: bytes) -> dict[str, Any]:
        return as_found(loaded)

    def _read_pixels(self, data: bytes, out: NDArray) -> Frame:
        if self._base_size == self._size:
            return self._read_base(data, out)
        base = self._scratch.array("base", (*self._base_size, self.spec.shape[2]))
        frame = self._read_base(data, base)
        resize(base, out, self._field.interpolation, antialias=self._field.antialias)
        return frame.then(resizing(self._base_size, self._size))

    def _read_base(self, data: bytes, out: NDArray) -> Frame:
        """Decode, orient, crop or pad, and resize to the base image; return how it lies in that."""
        field = self._field
        memory = partial(self._scratch.array, "decoded")
        found: list[Size] = []

        def least_size(height: int, width: int) -> Size:
            found.append((height, width))
            return self._least_size(height, width)

        image = decode(data, field.color_mode, least_size, memory, field.max_pixels)
        kept, filled = self._windows(*image.shape[:2])
        if filled != self._base_size:
            out.fill(0)
        resize(
            _centre(image, kept), _centre(out, filled), field.interpolation, antialias=field.antialias
        )
        # A JPEG that was decoded at a scale is whole as well, but for the rounding of its size: less
        # than half a pixel, and it is never smaller than what it becomes.
        size: Size = image.shape[:2]
        source = found[0] if found else size
        by_rows, by_columns = source[0] / size[0], source[1] / size[1]
        top, left, height, width = _middle(size, kept)
        window = top * by_rows, left * by_columns, height * by_rows, width * by_columns
        return Frame(source, between(window, _middle(self._base_size, filled)))

    def _windows(self, height: int, width: int) -> tuple[Size, Size]:
        """Return the size of what is kept of an image, and of what it fills of the base image."""
        aspect = self._size[0] / self._size[1]
        if self._field.crop_to_aspect_ratio:
            return _largest(height, width, aspect), self._base_size
        if self._field.pad_to_aspect_ratio:
            # The base image may be stretched; upright is what it becomes in the end.
            stretch = self._base_size[0] / self._base_size[1] / aspect
            return (height, width), _largest(*self._base_size, height / width * stretch)
        return (height, width), self._base_size

    def _least_size(self, height: int, width: int) -> Size:
        """Return the least size that an image of this size may be decoded at."""
        if self._field.interpolation == "nearest":
            return height, width
        kept, filled = self._windows(height, width)
        return math.ceil(height * filled[0] / kept[0]), math.ceil(width * filled[1] / kept[1])


class _BaseReader(_ImageReader):
    """Reads base images."""

    def __init__(self, field: Image, cells: Cells, folder: Folder | None) -> None:
        super().__init__(field, cells, folder)
        self.spec = Spec((*self._base_size, CHANNELS[field.color_mode]), "uint8")

    def decode(self, row: int, loaded: bytes, out: NDArray) -> Frame:
        return self._read_base(loaded, out)


def _largest(height: int, width: int, aspect: float) -> Size:
    """Return the size of the largest window with height / width = `aspect`."""
    return (
        min(height, max(1, round(width * aspect))),
        min(width, max(1, round(height / aspect))),
    )


def _centre(image: NDArray, size: Size) -> NDArray:
    """Return the view of the window of a size in the middle of an image."""
    top, left, height, width = _middle((image.shape[0], image.shape[1]), size)
    return image[top : top + height, left : left + width]


def _middle(size: Size, window: Size) -> tuple[int, int, int, int]:
    """Return the window (top, left, height, width) of a size in the middle of an image of another."""
    return (size[0] - window[0]) // 2, (size[1] - window[1]) // 2, *window
