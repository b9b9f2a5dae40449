"""Photographs, scans, masks: image files as uint8 arrays of one size."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import simplejpeg
from PIL import Image as PILImage
from PIL import UnidentifiedImageError

from multifeed.errors import BadValue, DeclarationError, lines
from multifeed.fields.base import (
    Array,
    Field,
    Learned,
    PerSample,
    Preprocess,
    Source,
    fill_value,
    is_raise,
    one_of,
    preprocessed_spec,
    wrap,
)
from multifeed.files import Folder
from multifeed.spec import Spec
from multifeed.table import Columns, is_text

_CHANNELS = {"rgb": 3, "rgba": 4, "grayscale": 1}
_JPEG_SPACE = {"rgb": "RGB", "rgba": "RGBA", "grayscale": "GRAY"}
_PILLOW_MODE = {"rgb": "RGB", "rgba": "RGBA", "grayscale": "L"}
_REPLACE = "Replace the file, or leave the row out with data.select."

# A file that claims more pixels is refused from its header. Pillow's own limit: 0.5 GB as RGB.
MAX_PIXELS = 178_956_970
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Image(Field):
    """An image file as an array ``uint8[height, width, channels]``.

    JPEG is decoded by libjpeg-turbo (strictly: a truncated file is an error), all else by Pillow. EXIF
    orientation is applied. Images are brought to `color_mode` by these rules: 16-bit grey keeps its
    high byte; palettes and CMYK are converted to RGB; alpha is dropped where `color_mode` has none
    (not blended) and 255 where the file has none; grey is ITU-R 601 luma. 32-bit images are refused.

    The file is decoded into a *base image* of `base_size`, which augmentation and caches work on.
    Reductions of less than 2x are plain bilinear; from 2x on the image is first reduced (JPEG while it
    is decoded, others by area) so that no source pixel is skipped.

    Args:
        column: A column of file names, or of encoded images as bytes.
        size: (height, width) of the batch, in pixels; one number for a square.
        base_size: Size of the base image; `size` by default. Larger, it leaves room to zoom in.
        color_mode: ``"rgb"``, ``"rgba"`` or ``"grayscale"``.
        crop_to_aspect_ratio: Cut the largest centred window of the right aspect ratio out of the image,
            instead of distorting it.
        pad_to_aspect_ratio: Fit the whole image in, centred, with black bars.
        interpolation: ``"bilinear"``, or ``"nearest"`` for masks and label maps, whose values then
            stay as they are.
        antialias: Average over all source pixels when an image shrinks (slower; as Pillow does).
        dtype: Dtype of the batch. uint8 is best: the model rescales on the device.
        scale: Multiplied with every value where `dtype` is a float, e.g. ``1/255``.
        preprocess: A function of one sample's array (after `dtype` and `scale`) that returns another;
            called once on zeros at declaration, to learn what it returns.
        missing: ``"raise"``, ``"zero"`` or the value that fills a sample whose column is null.

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

    def __post_init__(self) -> None:
        if not isinstance(self.column, str):
            raise DeclarationError(f"an Image reads one column; received {self.column!r}.")
        _size("size", self.size)
        if self.base_size is not None:
            _size("base_size", self.base_size)
        one_of("color_mode", self.color_mode, tuple(_CHANNELS))
        one_of("interpolation", self.interpolation, ("bilinear", "nearest"))
        one_of("dtype", self.dtype, ("uint8", "float32", "float16"))
        if self.crop_to_aspect_ratio and self.pad_to_aspect_ratio:
            raise DeclarationError(
                "only one of crop_to_aspect_ratio and pad_to_aspect_ratio can be True."
            )
        if self.antialias and self.interpolation == "nearest":
            raise DeclarationError(
                'antialias=True averages pixels, which interpolation="nearest" is there to avoid.'
            )
        if self.scale is not None and self.dtype == "uint8":
            raise DeclarationError(
                lines(
                    f"scale={self.scale} needs a float dtype; dtype is 'uint8'.",
                    'Pass dtype="float32", or better: rescale in the model with '
                    "keras.layers.Rescaling, where it costs nothing.",
                )
            )

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    def check(self, columns: Columns) -> None:
        column = columns[self.column]
        kind = column.dtype if isinstance(column, np.ndarray) else column.type
        if isinstance(column, np.ndarray) or not (is_text(kind) or _is_bytes(kind)):
            raise DeclarationError(
                lines(
                    f"an Image column holds file names or encoded images; {self.column!r} holds {kind}.",
                    f"Declare images that are in memory already as mf.Array({self.column!r}).",
                )
            )
        if not is_raise(self.missing):
            fill_value(self.missing, self.spec(columns, None))

    def spec(self, columns: Columns, learned: Learned | None) -> Spec:
        return preprocessed_spec(self._spec, self.preprocess)

    def bind(self, source: Source, learned: Learned | None) -> PerSample:
        values = source.arrow(self.column)
        is_null = pc.is_null(values).to_numpy(zero_copy_only=False)
        reader = _ImageReader(self, values, source.folder(self.column))
        return wrap(reader, missing=self.missing, is_null=is_null, preprocess=self.preprocess)

    @property
    def _spec(self) -> Spec:
        return Spec((*_size("size", self.size), _CHANNELS[self.color_mode]), self.dtype)


class _ImageReader(PerSample):
    def __init__(self, field: Image, values: pa.Array, folder: Folder) -> None:
        self.spec = field._spec
        self._field, self._values, self._folder = field, values, folder
        self._holds_names = is_text(values.type)
        self._size = _size("size", field.size)
        self._base_size = _size("base_size", field.base_size or field.size)
        self._scratch = _Scratch()

    def file(self, row: int) -> str | None:
        return self._folder.path(self._values[row].as_py()) if self._holds_names else None

    def read(self, row: int, out: Array) -> None:
        value = self._values[row].as_py()
        data = self._folder.read(value) if self._holds_names else value
        if self._field.dtype == "uint8":
            self._read_uint8(data, out)
            return
        image = self._scratch.array("uint8", self.spec.shape)
        self._read_uint8(data, image)
        if self._field.scale is None:
            out[...] = image
        else:
            np.multiply(image, self._field.scale, out=out, casting="unsafe")

    def _read_uint8(self, data: bytes, out: Array) -> None:
        if self._base_size == self._size:
            self._read_base(data, out)
            return
        base = self._scratch.array("base", (*self._base_size, self.spec.shape[2]))
        self._read_base(data, base)
        resize(base, out, self._field.interpolation, antialias=self._field.antialias)

    def _read_base(self, data: bytes, out: Array) -> None:
        """Decode, orient and resize to the base image."""
        field = self._field
        image = decode(data, field.color_mode, self._least_size, self._scratch.array)
        if field.crop_to_aspect_ratio:
            image = _central_crop(image, out.shape[0] / out.shape[1])
        if field.pad_to_aspect_ratio:
            out.fill(0)
            out = _central_window(out, image.shape[0] / image.shape[1])
        resize(image, out, field.interpolation, antialias=field.antialias)

    def _least_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the least size that an image of this size may be decoded at."""
        if self._field.interpolation == "nearest":
            return height, width
        wanted_height, wanted_width = self._base_size
        if self._field.crop_to_aspect_ratio or self._field.pad_to_aspect_ratio:
            factors = (wanted_height / height, wanted_width / width)
            factor = max(factors) if self._field.crop_to_aspect_ratio else min(factors)
            return _at_least_one(height * factor), _at_least_one(width * factor)
        return wanted_height, wanted_width


class _Scratch(threading.local):
    """Memory that a thread decodes into again and again."""

    def __init__(self) -> None:
        self._buffers: dict[str, Array] = {}

    def array(self, use: str, shape: tuple[int, ...]) -> Array:
        size = int(np.prod(shape))
        buffer = self._buffers.get(use)
        if buffer is None or buffer.size < size:
            buffer = self._buffers[use] = np.empty(size, np.uint8)
        return buffer[:size].reshape(shape)


def decode(data: bytes, color_mode: str, least_size: Any, scratch: Any) -> Array:
    """Decode an encoded image to ``uint8[height, width, channels]``, upright.

    Args:
        data: The encoded image.
        color_mode: ``"rgb"``, ``"rgba"`` or ``"grayscale"``.
        least_size: Function of (height, width) that returns the least (height, width) that is needed;
            a JPEG may be decoded at any scale that is not below it.
        scratch: Function of (use, shape) that returns memory to decode into.

    Raises:
        BadValue: If the data are no image, damaged, too large, or of a kind without a rule.
    """
    if data[:2] == b"\xff\xd8":
        image = _decode_jpeg(data, color_mode, least_size, scratch)
        if image is not None:
            return image
    return _decode_other(data, color_mode)


def _decode_jpeg(data: bytes, color_mode: str, least_size: Any, scratch: Any) -> Array | None:
    """Decode a JPEG, or return None if it is one that only Pillow converts (CMYK)."""
    orientation = _jpeg_orientation(data)
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
        if space in ("CMYK", "YCCK"):
            return None
        _refuse_huge(height, width)
        # Orientations from 5 on exchange height and width.
        turned = orientation >= 5
        least = least_size(width, height) if turned else least_size(height, width)
        least_height, least_width = reversed(least) if turned else least
        # A factor below 2 is left to `resize`: decoding at 5/8 costs more than decoding whole.
        scaling = {"min_height": least_height, "min_width": least_width, "min_factor": 2}
        if height < 2 * least_height or width < 2 * least_width:
            scaling = {}
        else:
            height, width, _, _ = simplejpeg.decode_jpeg_header(data, **scaling)
        # The fast transforms save 9 % and stay within 40 dB of the exact ones.
        image = simplejpeg.decode_jpeg(
            data,
            _JPEG_SPACE[color_mode],
            fastdct=True,
            fastupsample=True,
            buffer=scratch("jpeg", (height, width, _CHANNELS[color_mode])),
            **scaling,
        )
    except ValueError as error:
        raise BadValue(f"is a damaged JPEG ({error})", _REPLACE) from error
    return _upright(image, orientation)


def _decode_other(data: bytes, color_mode: str) -> Array:
    try:
        with PILImage.open(io.BytesIO(data)) as image:
            _refuse_huge(image.height, image.width)
            orientation = image.getexif().get(_ORIENTATION, 1)
            array = np.asarray(_to_8_bit(image, color_mode))
    except PILImage.DecompressionBombError as error:
        raise _too_large(str(error)) from error
    except UnidentifiedImageError as error:
        start = data[:8]
        raise BadValue(
            f"is not an image of a known format (it begins with {start!r})", _REPLACE
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise BadValue(f"is a damaged image ({error})", _REPLACE) from error
    return _upright(array if array.ndim == 3 else array[:, :, None], orientation)


def _to_8_bit(image: PILImage.Image, color_mode: str) -> PILImage.Image:
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N"):
        high_bytes = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        image = PILImage.fromarray(high_bytes)
    elif image.mode in ("I", "F"):
        raise BadValue(
            f"is a 32-bit image (mode {image.mode}), which no one rule brings to 8 bits",
            "Convert it to 8 or 16 bits, or save it as .npy and declare it as mf.Array.",
        )
    elif image.mode in ("P", "PA") and color_mode != "rgba":
        # Straight from a palette with transparency to RGB, Pillow warns and may blend.
        image = image.convert("RGBA")
    return image.convert(_PILLOW_MODE[color_mode])


def _refuse_huge(height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise _too_large(f"{height:,} x {width:,}")


def _too_large(claim: str) -> BadValue:
    return BadValue(
        f"claims more pixels than the limit of {MAX_PIXELS:,} ({claim})",
        "Tile or shrink the image, or leave the row out with data.select.",
    )


def _jpeg_orientation(data: bytes) -> int:
    """Return the EXIF orientation, 1 … 8; 1 (upright) where the file does not say."""
    start = data.find(b"Exif\x00\x00", 0, 65536)
    if start < 4:
        return 1
    length = int.from_bytes(data[start - 2 : start], "big")
    exif = PILImage.Exif()
    try:
        exif.load(data[start : start - 2 + length])
        orientation = exif.get(_ORIENTATION, 1)
    except Exception:
        # A damaged EXIF block says nothing about the pixels.
        return 1
    return orientation if orientation in range(1, 9) else 1


# How an image that is stored with an EXIF orientation is set upright (Exif 2.32, tag 0x0112).
_TURNS = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: image.swapaxes(0, 1)[:, ::-1],
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: lambda image: image.swapaxes(0, 1)[::-1],
}


def _upright(image: Array, orientation: int) -> Array:
    turn = _TURNS.get(orientation)
    return image if turn is None else np.ascontiguousarray(turn(image))


def resize(image: Array, out: Array, interpolation: str, *, antialias: bool = False) -> None:
    """Resize `image` into `out`, both ``uint8[height, width, channels]``."""
    height, width = out.shape[:2]
    if image.shape[:2] == (height, width):
        out[...] = image
        return
    if interpolation == "nearest":
        _resize_into(image, out, cv2.INTER_NEAREST_EXACT)
        return
    shrinks = image.shape[0] > height or image.shape[1] > width
    if antialias and shrinks:
        _resize_into(image, out, cv2.INTER_AREA)
        return
    by_rows, by_columns = image.shape[0] // height, image.shape[1] // width
    if by_rows >= 2 or by_columns >= 2:
        reduced = (image.shape[1] // max(by_columns, 1), image.shape[0] // max(by_rows, 1))
        image = cv2.resize(image, reduced, interpolation=cv2.INTER_AREA)
        image = image if image.ndim == 3 else image[:, :, None]
    _resize_into(image, out, cv2.INTER_LINEAR)


def _resize_into(image: Array, out: Array, interpolation: int) -> None:
    # OpenCV knows single-channel images as 2-D only.
    target = out[:, :, 0] if out.shape[2] == 1 else out
    result = cv2.resize(image, (out.shape[1], out.shape[0]), dst=target, interpolation=interpolation)
    if not np.may_share_memory(result, target):
        target[...] = result


def _central_crop(image: Array, aspect: float) -> Array:
    """Return the largest centred window with height / width = `aspect`."""
    height, width = image.shape[:2]
    kept_height = min(height, _at_least_one(width * aspect))
    kept_width = min(width, _at_least_one(height / aspect))
    top, left = (height - kept_height) // 2, (width - kept_width) // 2
    return np.ascontiguousarray(image[top : top + kept_height, left : left + kept_width])


def _central_window(out: Array, aspect: float) -> Array:
    """Return the view of `out` that an image with height / width = `aspect` fills."""
    height, width = out.shape[:2]
    used_height = min(height, _at_least_one(width * aspect))
    used_width = min(width, _at_least_one(height / aspect))
    top, left = (height - used_height) // 2, (width - used_width) // 2
    return out[top : top + used_height, left : left + used_width]


def _at_least_one(pixels: float) -> int:
    return max(1, round(pixels))


def _size(what: str, value: int | Sequence[int]) -> tuple[int, int]:
    """Return (height, width)."""
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or not all(isinstance(pixels, int) and pixels >= 1 for pixels in pair):
        raise DeclarationError(
            f"{what} is (height, width) in pixels, each at least 1; received {value!r}."
        )
    return pair


def _is_bytes(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))
