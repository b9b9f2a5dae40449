"""Encoded images to upright ``uint8`` arrays. Knows nothing of fields."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, cast

import cv2
import numpy as np
import PIL
import simplejpeg
from PIL import Image as PILImage
from PIL import ImageFile, UnidentifiedImageError

from multifeed.errors import BadValue
from multifeed.fields.rows import NDArray
from multifeed.fields.shared import first_line
from multifeed.files import REPLACE

# What pixels come from: other versions may give others.
DECODERS = {
    "simplejpeg": simplejpeg.__version__,
    "pillow": PIL.__version__,
    "opencv": cv2.__version__,
    "numpy": np.__version__,
}

CHANNELS = {"rgb": 3, "rgba": 4, "grayscale": 1}

# An image that claims more pixels is refused from its header. Pillow's own limit: 0.5 GB as RGB.
MAX_PIXELS = 178_956_970

# Each scan of a progressive JPEG goes through all pixels, and can take 20 bytes: those of a small file
# would take hours. Usual are 10; libtiff draws the same line for a JPEG in a TIFF.
_MOST_SCANS = 100

# What Pillow may take the data for. It knows more: EPS, for one, is a program that it has Ghostscript
# run, and others (TGA, PCX, DIB) are begun by next to no signature, so that any noise is an image.
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM")

# How `as_found` calls the modes of Pillow; others keep Pillow's name.
_MODES = {
    "1": "black and white",
    "L": "grayscale",
    "LA": "grayscale with alpha",
    "P": "palette",
    "PA": "palette",
    "I": "grayscale of 16 bits",
    "RGB": "rgb",
    "RGBA": "rgba",
    "CMYK": "cmyk",
}
# What the chunks of a PNG that may hold an orientation have in them.
_PNG_EXIF = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")

_JPEG_SPACE = {"rgb": "RGB", "rgba": "RGBA", "grayscale": "GRAY"}
_PILLOW_MODE = {"rgb": "RGB", "rgba": "RGBA", "grayscale": "L"}
# Tags of TIFF, and EXIF.
_ORIENTATION, _TILE_WIDTH, _TILE_HEIGHT = 0x0112, 0x0142, 0x0143

# Markers of JPEG: the end, a scan, and the frames that are not progressive.
_END, _SCAN, _ONE_PASS = 0xD9, 0xDA, (0xC0, 0xC1, 0xC9)
# A byte 0xFF is followed by a 0 within a scan; those that are excluded have no length after them.
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")

# (height, width) in pixels.
Size = tuple[int, int]


def decode(
    data: bytes,
    color_mode: str,
    least_size: Callable[[int, int], Size],
    scratch: Callable[[tuple[int, ...]], NDArray],
    max_pixels: int = MAX_PIXELS,
) -> NDArray:
    """Decode an encoded image to ``uint8[height, width, channels]``, upright.

    Args:
        data: The encoded image.
        color_mode: ``"rgb"``, ``"rgba"`` or ``"grayscale"``.
        least_size: Function of the image's (height, width) that returns the least (height, width) that
            is needed: a JPEG may be decoded at any scale that is not below it.
        scratch: Function of a shape that returns ``uint8`` memory to decode into.
        max_pixels: An image that claims more is refused from its header.

    Returns:
        The image, maybe in that memory, and maybe not writable.

    Raises:
        BadValue: If the data are no image, damaged, too large, or of a kind without a rule.
    """
    if not data:
        raise BadValue("is empty (0 bytes)", REPLACE)
    if data[:2] == b"\xff\xd8":
        image = _decode_jpeg(data, color_mode, least_size, scratch, max_pixels)
        if image is not None:
            return image
    return _decode_other(data, color_mode, max_pixels)


def as_found(data: bytes) -> dict[str, Any]:
    """Return what the header of an encoded image says, without decoding it.

    Returns:
        ``"size"``, (height, width) in pixels once the image is upright; ``"mode"``, its channels and
        bits; ``"orientation"``, how EXIF turns it.
    """
    with PILImage.open(io.BytesIO(data), formats=_formats()) as image:
        # Pillow opens 16 bits a channel as 8; only what it tells its decoder says so.
        is_deep = image.mode.startswith("I;16") or (image.tile and ";16" in str(image.tile[0][3]))
        # To see whether a PNG has EXIF behind its pixels, Pillow would decode them.
        can_turn = image.format != "PNG" or any(mark in data for mark in _PNG_EXIF)
        orientation = _orientation_of(image.getexif) if can_turn else 1
        width, height = image.size
        # Of a TIFF, Pillow gives the size once it is upright.
        if orientation >= 5 and image.format != "TIFF":
            width, height = height, width
        mode = _MODES.get(image.mode, image.mode)
        if is_deep:
            mode = f"{'grayscale' if image.mode.startswith('I') else mode} of 16 bits"
        turned = "upright" if orientation == 1 else f"EXIF {orientation}"
        return {"size": (height, width), "mode": mode, "orientation": turned}


def _decode_jpeg(
    data: bytes,
    color_mode: str,
    least_size: Callable[[int, int], Size],
    scratch: Callable[[tuple[int, ...]], NDArray],
    max_pixels: int,
) -> NDArray | None:
    """Decode a JPEG, or return None if only Pillow can (CMYK, unusual subsampling)."""
    exif, has_scans = _jpeg_segments(data)
    if has_scans:
        _refuse_many_scans(data)
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    if space in ("CMYK", "YCCK"):
        return None
    _refuse_huge(height, width, max_pixels)
    orientation = _jpeg_orientation(exif)
    # Orientations from 5 on exchange height and width.
    if orientation < 5:
        least_height, least_width = least_size(height, width)
    else:
        least_width, least_height = least_size(width, height)
    scaling = {}
    eighths = _eighths(height / least_height, width / least_width)
    if eighths < 8:
        # Scaled sizes are rounded up: most of the last pixel may lie outside of the image.
        kept_height, kept_width = (height * eighths + 4) // 8, (width * eighths + 4) // 8
        height, width = -(-height * eighths // 8), -(-width * eighths // 8)
        scaling = {"min_height": height, "min_width": width, "min_factor": 2}
    try:
        # The fast transforms save 9 % and stay within 40 dB of the exact ones.
        image: NDArray = simplejpeg.decode_jpeg(
            data,
            _JPEG_SPACE[color_mode],
            fastdct=True,
            fastupsample=True,
            buffer=scratch((height, width, CHANNELS[color_mode])),
            **scaling,
        )
    except ValueError as error:
        raise BadValue(f"is a damaged JPEG ({first_line(error)})", REPLACE) from error
    if eighths < 8:
        image = image[:kept_height, :kept_width]
    return _upright(image, orientation)


def _eighths(by_rows: float, by_columns: float) -> int:
    """Return the scale at which to decode a JPEG that may shrink by these factors."""
    factor = min(by_rows, by_columns)
    # A factor below 2 is left to the resize: decoding at 5/8 costs more than decoding whole.
    return math.ceil(8 / factor) if factor >= 2 else 8


def _decode_other(data: bytes, color_mode: str, max_pixels: int) -> NDArray:
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise BadValue(
            "is not read while PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set, with which Pillow makes up "
            "what a truncated image lacks",
            "Set it to False; to go on without damaged images, leave them out with data.select.",
        )
    try:
        with PILImage.open(io.BytesIO(data), formats=_formats()) as image:
            _refuse_huge(image.height, image.width, max_pixels)
            if image.format == "TIFF":
                # A tile is decoded whole, however little of it lies in the image.
                tags = cast(Any, image).tag_v2
                _refuse_huge(tags.get(_TILE_HEIGHT, 1), tags.get(_TILE_WIDTH, 1), max_pixels)
            pixels = np.asarray(_to_8_bit(image, color_mode))
            # After decoding, by which Pillow sets TIFF upright itself and forgets the orientation.
            orientation = _orientation_of(image.getexif)
    except BadValue:
        raise
    except PILImage.DecompressionBombError as error:
        raise _too_large(str(error)) from error
    except UnidentifiedImageError as error:
        raise BadValue(
            f"is no image of a known format, or damaged at its start ({data[:8]!r})", REPLACE
        ) from error
    except Exception as error:
        # Parsers of damaged files trip over anything: struct.error, IndexError, KeyError, ...
        raise BadValue(f"is a damaged image ({first_line(error)})", REPLACE) from error
    return _upright(pixels if pixels.ndim == 3 else pixels[:, :, None], orientation)


@cache
def _formats() -> tuple[str, ...]:
    """Return those of the formats that this build of Pillow has."""
    PILImage.init()
    return tuple(name for name in _FORMATS if name in PILImage.OPEN)


def _to_8_bit(image: PILImage.Image, color_mode: str) -> PILImage.Image:
    mode = image.mode
    # Pillow opens a 16-bit PGM as 32-bit integers.
    if mode.startswith("I;16") or (mode == "I" and image.format == "PPM"):
        return PILImage.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert(
            _PILLOW_MODE[color_mode]
        )
    if mode in ("I", "F"):
        raise BadValue(
            f"is a 32-bit image (mode {mode}), which no one rule brings to 8 bits",
            "Convert it to 8 or 16 bits, or save it as .npy and declare it as mf.Array.",
        )
    if mode not in ("1", "L", "LA", "RGB", "RGBA"):
        # Not every mode has a conversion to every other; and from a palette with transparency to RGB,
        # Pillow may blend.
        image = image.convert({"P": "RGBA", "PA": "RGBA", "RGBa": "RGBA", "La": "LA"}.get(mode, "RGB"))
    return image.convert(_PILLOW_MODE[color_mode])


def _refuse_huge(height: int, width: int, max_pixels: int) -> None:
    if height * width > max_pixels:
        raise _too_large(f"{height:,} x {width:,} where {max_pixels:,} in all are the limit")


def _too_large(claim: str) -> BadValue:
    return BadValue(
        f"claims too many pixels ({claim})",
        "Tile or shrink the image, leave the row out with data.select, or pass a larger max_pixels.",
    )


def _refuse_many_scans(data: bytes) -> None:
    scans, place = 0, 2
    while (match := _MARKER.search(data, place)) is not None:
        marker, place = match[1][0], match.end()
        if marker == _END:
            return
        scans += marker == _SCAN
        if scans > _MOST_SCANS:
            raise BadValue(f"is a JPEG of more than {_MOST_SCANS} scans", REPLACE)
        place += int.from_bytes(data[place : place + 2])


def _jpeg_orientation(block: bytes | None) -> int:
    """Return the orientation that an EXIF segment tells."""
    if block is None:
        return 1

    def load() -> PILImage.Exif:
        exif = PILImage.Exif()
        exif.load(block)
        return exif

    return _orientation_of(load)


def _orientation_of(load: Callable[[], PILImage.Exif]) -> int:
    """Return an EXIF orientation, 1 … 8; 1 (upright) where there is none."""
    try:
        value = load().get(_ORIENTATION)
    except Exception:
        # A damaged EXIF block says nothing about the pixels.
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _jpeg_segments(data: bytes) -> tuple[bytes | None, bool]:
    """Return the first EXIF segment of a JPEG, and whether it may have more scans than one."""
    block, components = None, -1
    for marker, start, end in _segments(data):
        if marker == 0xE1 and block is None and data[start : start + 6] == b"Exif\0\0":
            block = data[start:end]
        elif marker in _ONE_PASS:
            components = data[start + 5]
        elif marker == _SCAN:
            # Where the first scan has all components, a sequential JPEG ends with it.
            return block, data[start] != components
    return block, True


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the marker of each segment before the first scan, and that, and where it lies."""
    place, last = 2, len(data) - 12
    while place < last and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # Any number of these may stand before a marker.
            place += 1
            continue
        end = place + 2 + (data[place + 2] << 8) + data[place + 3]
        yield marker, place + 4, end
        if marker == _SCAN:
            return
        place = end


# How an image that is stored with an EXIF orientation is set upright (Exif 2.32, tag 0x0112).
_TURNS: dict[int, Callable[[NDArray], NDArray]] = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: image.swapaxes(0, 1)[:, ::-1],
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: lambda image: image.swapaxes(0, 1)[::-1],
}


def _upright(image: NDArray, orientation: int) -> NDArray:
    turn = _TURNS.get(orientation)
    return image if turn is None else np.ascontiguousarray(turn(image))
