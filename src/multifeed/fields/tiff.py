"""What the directories of a TIFF file claim, looked at before a library believes them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import BufferedReader
from typing import NamedTuple

from multifeed.errors import BadValue
from multifeed.files import REPLACE

# A block (a tile or a strip) is decoded as a whole, even for the sake of one pixel.
MAX_BLOCK_BYTES = 2**28
# Directories: the image, its overviews and its masks; libraries go through all of them.
_MOST_DIRECTORIES = 1_000
_MOST_ENTRIES = 4_096

_WIDTH, _LENGTH, _BITS, _COMPRESSION, _SAMPLES, _ROWS, _PLANES = 256, 257, 258, 259, 277, 278, 284
_TILE_WIDTH, _TILE_LENGTH = 322, 323
# The types of whole numbers: bytes of each, and its code for `struct`.
_TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 16: "Q", 17: "q"}
_UNPACKED = 1


class _Form(NamedTuple):
    """How a TIFF file is written: its byte order, and how long its places and counts are."""

    order: str
    start: int
    place: str
    entries: str
    entry: str
    inline: int


_FORMS = {
    b"II*\0": _Form("<", 4, "I", "H", "HHI", 4),
    b"MM\0*": _Form(">", 4, "I", "H", "HHI", 4),
    b"II+\0": _Form("<", 8, "Q", "Q", "HHQ", 8),
    b"MM\0+": _Form(">", 8, "Q", "Q", "HHQ", 8),
}


def refuse_large_blocks(stream: BufferedReader) -> None:
    """Raise unless every image, overview and mask of a TIFF file is cut into blocks of fair size.

    Args:
        stream: The file.

    Raises:
        BadValue: If the file is no TIFF, its directories cannot be followed, or a block would take more
            than `MAX_BLOCK_BYTES`.
    """
    signature = stream.read(4)
    form = _FORMS.get(signature)
    if form is None:
        raise BadValue(f"is no TIFF file: it begins with {signature!r}", REPLACE)
    try:
        for tags in _directories(stream, form):
            _refuse_large_block(tags)
    except (struct.error, OSError, ValueError, OverflowError) as error:
        raise BadValue("is a damaged TIFF file: a directory lies beyond its end", REPLACE) from error


def _directories(stream: BufferedReader, form: _Form) -> Iterator[dict[int, int]]:
    """Yield the largest value of each tag that matters, directory by directory."""
    stream.seek(form.start)
    seen: set[int] = set()
    while place := _number(stream, form, form.place):
        if place in seen or len(seen) == _MOST_DIRECTORIES:
            raise BadValue(
                f"is a damaged TIFF file: its directories go round, or are more than "
                f"{_MOST_DIRECTORIES:,}",
                REPLACE,
            )
        seen.add(place)
        stream.seek(place)
        yield _tags(stream, form)


def _tags(stream: BufferedReader, form: _Form) -> dict[int, int]:
    """Return a directory's tags, and stand behind them."""
    count = _number(stream, form, form.entries)
    if count > _MOST_ENTRIES:
        raise BadValue(f"is a damaged TIFF file: a directory of {count:,} entries", REPLACE)
    layout = struct.Struct(f"{form.order}{form.entry}{form.inline}s")
    entries = stream.read(count * layout.size)
    behind = stream.tell()
    tags: dict[int, int] = {}
    for tag, kind, number, value in layout.iter_unpack(entries):
        if tag in _READ:
            # Where a tag is there twice, libraries differ in which they take.
            tags[tag] = max(tags.get(tag, 0), _largest(stream, form, kind, number, value))
    stream.seek(behind)
    return tags


def _largest(stream: BufferedReader, form: _Form, kind: int, number: int, value: bytes) -> int:
    """Return the largest value of an entry."""
    if kind not in _TYPES or not 0 < number <= 2**16:
        raise BadValue(
            f"is a damaged TIFF file: a size is {number:,} values of type {kind}, not a number", REPLACE
        )
    layout = struct.Struct(f"{form.order}{number}{_TYPES[kind]}")
    if layout.size > form.inline:
        stream.seek(struct.unpack(f"{form.order}{form.place}", value)[0])
        value = stream.read(layout.size)
    found: int = max(layout.unpack_from(value))
    return found


def _refuse_large_block(tags: dict[int, int]) -> None:
    width, length = tags.get(_WIDTH, 0), tags.get(_LENGTH, 0)
    is_tiled = _TILE_WIDTH in tags or _TILE_LENGTH in tags
    if is_tiled:
        width, length = tags.get(_TILE_WIDTH, 0), tags.get(_TILE_LENGTH, 0)
    elif tags.get(_COMPRESSION, _UNPACKED) == _UNPACKED:
        # What is not packed is read row by row.
        length = 1
    else:
        length = min(length, tags.get(_ROWS, length))
    samples = 1 if tags.get(_PLANES, 1) == 2 else tags.get(_SAMPLES, 1)
    count = width * length * samples * max(tags.get(_BITS, 1), 8) // 8
    if count > MAX_BLOCK_BYTES:
        what = "tile" if is_tiled else "strip"
        raise BadValue(
            f"has a {what} of {length:,} x {width:,} pixels, {count:,} bytes, where at most "
            f"{MAX_BLOCK_BYTES:,} are decoded at once",
            "Write the file anew in tiles, e.g. with gdal_translate -co TILED=YES.",
        )


_READ = {
    _WIDTH, _LENGTH, _BITS, _COMPRESSION, _SAMPLES, _ROWS, _PLANES, _TILE_WIDTH, _TILE_LENGTH
}  # fmt: skip


def _number(stream: BufferedReader, form: _Form, kind: str) -> int:
    layout = struct.Struct(form.order + kind)
    found: int = layout.unpack(stream.read(layout.size))[0]
    return found
