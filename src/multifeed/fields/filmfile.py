"""Files of video, MP4 and WebM: whether all of one is there, and its tables are no larger."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from multifeed.errors import BadValue
from multifeed.files import REPLACE

# Samples (frames, and pieces of sound) that the tables of an MP4 may claim: FFmpeg keeps 24 bytes of
# each, and a table of equal sizes takes none in the file. At 60 frames a second, 77 hours.
_MOST_SAMPLES = 2**24
# Boxes of an MP4 that are looked at, those in others included. A film has three for each fragment.
_MOST_BOXES = 2**17

_PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf")
# What a fragment tells of each sample, by its flags: duration, size, flags and offset, 4 bytes each.
_TOLD = (0x100, 0x200, 0x400, 0x800)

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def container_of(stream: BinaryIO) -> str:
    """Return FFmpeg's name of a file's container, ``"mov"`` or ``"matroska"``.

    Raises:
        BadValue: If it is neither, is truncated, or claims more frames than are read.
    """
    head = stream.read(8)
    size = stream.seek(0, 2)
    if head[4:] == b"ftyp":
        _check_mp4(stream, size)
        return "mov"
    if head[:4] == _EBML:
        _check_webm(stream, size)
        return "matroska"
    raise BadValue(
        f"is no MP4 or WebM file, or damaged at its start ({head!r})",
        "Convert the file, or leave the row out with data.select.",
    )


class _Box(NamedTuple):
    """A box of an MP4: its kind, and where its content starts and stops."""

    kind: bytes
    start: int
    stop: int


def _check_mp4(stream: BinaryIO, size: int) -> None:
    samples = 0
    for count, box in enumerate(_boxes(stream, 0, size), start=1):
        samples += _samples(stream, box)
        if count > _MOST_BOXES or samples > _MOST_SAMPLES:
            what = f"{samples:,} samples" if samples > _MOST_SAMPLES else f"{count:,} boxes"
            raise BadValue(
                f"claims too many frames ({what} in its tables, where {_MOST_SAMPLES:,} samples and "
                f"{_MOST_BOXES:,} boxes are the limit)",
                "Cut the file, or leave the row out with data.select.",
            )


def _boxes(stream: BinaryIO, start: int, stop: int) -> Iterator[_Box]:
    """Yield the boxes between two places, each before those in it."""
    # Those that are still to be looked through; a box may lie in one of its own kind, and so on.
    ranges = [(start, stop)]
    while ranges:
        start, stop = ranges.pop()
        if start + 8 > stop:
            continue
        stream.seek(start)
        head = stream.read(16)
        size, kind = struct.unpack(">I4s", head[:8])
        begin = start + 8
        if size == 1:
            size, begin = int.from_bytes(head[8:]), start + 16
        end = start + size if size else stop
        if end > stop:
            raise BadValue(
                f"is truncated, or damaged: its box {kind!r} at byte {start:,} ends at byte {end:,}, "
                f"beyond {stop:,}",
                REPLACE,
            )
        if end < begin:
            raise BadValue(f"is a damaged MP4 (in its box {kind!r} at byte {start:,})", REPLACE)
        ranges.append((end, stop))
        if kind in _PARENTS:
            ranges.append((begin, end))
        yield _Box(kind, begin, end)


def _samples(stream: BinaryIO, box: _Box) -> int:
    """Return how many samples a box claims in a table that may take no room for them."""
    if box.kind not in (b"stsz", b"stz2", b"trun"):
        return 0
    stream.seek(box.start)
    content = stream.read(12).ljust(12, b"\0")
    flags, first, second = (int.from_bytes(content[place : place + 4]) for place in (0, 4, 8))
    if box.kind == b"trun":
        told = sum(bool(flags & flag) for flag in _TOLD)
        count, needed = first, first * 4 * told
    else:
        bits = 32 * (not first) if box.kind == b"stsz" else first & 0xFF
        count, needed = second, second * bits // 8
    if needed > box.stop - box.start:
        raise BadValue(
            f"is a damaged MP4 (its box {box.kind!r} at byte {box.start - 8:,} is too short for "
            f"{count:,} samples)",
            REPLACE,
        )
    return count


def _check_webm(stream: BinaryIO, size: int) -> None:
    """Raise if a WebM ends before its segment does, where that says where it ends."""
    name, place = b"", 0
    # The segment is the second element, or comes after some that are empty.
    for _ in range(8):
        if name == _SEGMENT:
            break
        stream.seek(place)
        head = stream.read(12)
        name = head[: _width(head)]
        data = head[len(name) :]
        width = _width(data)
        number = int.from_bytes(data[:width]) & (1 << 7 * width) - 1
        if number == (1 << 7 * width) - 1:
            return  # Unknown: it goes on to the end of the file.
        place += len(name) + width + number
    if place > size:
        raise BadValue(
            f"is truncated: it has {size:,} of the {place:,} bytes that its header claims", REPLACE
        )


def _width(data: bytes) -> int:
    """Return how many bytes a name or a number of EBML has: the zeros of its first one tell."""
    return 9 - data[0].bit_length() if data and data[0] else 8
