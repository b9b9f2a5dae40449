"""Arrays in files, of which any rows are read: what each format gives, and what chunked ones share."""

from __future__ import annotations

import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any

import cv2
import numpy as np

from multifeed.errors import BadValue
from multifeed.fields.rows import NDArray
from multifeed.files import REPLACE, File

Shape = tuple[int, ...]

# Makes an array of what has been loaded for it: the work, after the waiting.
Work = Callable[[], NDArray]

# A chunk that unpacks to more is refused: whoever wants a few of its rows needs all of it in memory.
MAX_CHUNK_BYTES = 2**28


class Stored(ABC):
    """An array of numbers in an open file.

    Args:
        shape: Its shape.
        dtype: What its numbers are.
    """

    def __init__(self, shape: Shape, dtype: np.dtype[Any]) -> None:
        self.shape, self.dtype = shape, dtype

    @property
    def place(self) -> tuple[File, int] | None:
        """The file, and its byte, from which on all numbers lie in C order; None if they do not."""
        return None

    @abstractmethod
    def load(self, start: int, stop: int) -> Work:
        """Wait for what rows `start` to `stop` are made of, which it has; of a single number, 0 and 1.

        Returns:
            What makes them: ``dtype[stop - start, *shape[1:]]``, or ``dtype[]`` of a single number.

        Raises:
            BadValue: If the file is damaged; also when that is called.
        """


class Container(ABC):
    """A file, or a folder of them, that is open and has arrays in it."""

    @abstractmethod
    def array(self, path: str) -> Stored:
        """Return the array at a path in it; empty where none was given.

        Raises:
            BadValue: If there is none, it holds no numbers, or it lies elsewhere.
        """

    @abstractmethod
    def close(self) -> None:
        """Let it go."""


class Known:
    """The arrays of a container by their paths, so that each is looked up once."""

    # One file may hold a million arrays, each of them a sample.
    _MOST = 64

    def __init__(self) -> None:
        self._found: dict[str, tuple[object, Stored]] = {}

    def get(self, path: str, find: Callable[[str], Stored], stamp: object = None) -> Stored:
        """Return the array at a path; it is looked up again once it has another stamp.

        Args:
            path: The path.
            find: Looks it up. It is not kept: a container that is reached from itself would not be
                closed as soon as it is dropped.
            stamp: What is another one once the array may be.
        """
        known, found = self._found.get(path, (None, None))
        if found is None or known != stamp:
            found = find(path)
            if len(self._found) >= self._MOST:
                self._found.clear()
            self._found[path] = stamp, found
        return found


class Chunked(Stored):
    """An array that is stored in chunks, of which only those are read that the rows lie in.

    Args:
        shape: Its shape.
        dtype: What its numbers are.
        chunk: The shape of a chunk; those at the upper ends reach beyond the array.
        fill: The number that chunks consist of which are not there.

    Raises:
        BadValue: If that cannot be, or a chunk is too large.
    """

    def __init__(self, shape: Shape, dtype: np.dtype[Any], chunk: Shape, fill: Any) -> None:
        super().__init__(shape, dtype)
        self.chunk, self.fill = chunk, fill
        self.chunk_bytes = math.prod(chunk) * dtype.itemsize
        if len(chunk) != len(shape) or min(chunk, default=1) < 1 or min(shape, default=0) < 0:
            raise BadValue(f"is damaged: chunks of shape {chunk} do not make {shape}", REPLACE)
        if self.chunk_bytes > MAX_CHUNK_BYTES:
            raise BadValue(
                f"is stored in chunks of {self.chunk_bytes:,} bytes, where at most {MAX_CHUNK_BYTES:,} "
                "are unpacked",
                "Write the array again with smaller chunks.",
            )

    @abstractmethod
    def fetch(self, places: Sequence[Shape]) -> list[Any]:
        """Wait for the chunks at places, counted in chunks along each axis; None if one is not there."""

    @abstractmethod
    def unpack(self, fetched: Any) -> NDArray:
        """Return what was fetched as an array, ``dtype[*chunk]``."""

    def load(self, start: int, stop: int) -> Work:
        spans = [(start, stop), *((0, size) for size in self.shape[1:])] if self.shape else []
        reached = [
            range(first // size, -(-last // size))
            for (first, last), size in zip(spans, self.chunk, strict=True)
        ]
        # Not even `product` would end at once where an axis has no elements and another has many.
        places = list(product(*reached)) if all(map(len, reached)) else []
        return partial(self._join, spans, list(zip(places, self.fetch(places), strict=True)))

    def _join(self, spans: Sequence[tuple[int, int]], found: Sequence[tuple[Shape, Any]]) -> NDArray:
        """Put the chunks together that were found, within `spans`: first and last + 1 on each axis."""
        joined = np.empty([last - first for first, last in spans], self.dtype)
        for place, fetched in found:
            here, there = [], []
            for number, size, (first, last) in zip(place, self.chunk, spans, strict=True):
                begin = number * size
                low, high = max(first, begin), min(last, begin + size)
                here.append(slice(low - first, high - first))
                there.append(slice(low - begin, high - begin))
            joined[tuple(here)] = self.fill if fetched is None else self.unpack(fetched)[tuple(there)]
        return joined

    def refuse_large(self, size: int) -> None:
        """Raise if a chunk takes more bytes as it is stored than any packing makes of it."""
        if size > 2 * self.chunk_bytes + 2**16:
            raise BadValue(
                f"is damaged: {size:,} bytes are stored of a chunk of {self.chunk_bytes:,}", REPLACE
            )


def as_chunk(data: bytes, shape: Shape, dtype: np.dtype[Any]) -> NDArray:
    """Return an unpacked chunk as an array, without a copy.

    Raises:
        BadValue: If it has another size.
    """
    size = math.prod(shape) * dtype.itemsize
    if len(data) != size:
        raise BadValue(f"is damaged: a chunk of {size:,} bytes has {len(data):,}", REPLACE)
    return np.frombuffer(data, dtype).reshape(shape)


def inflate(data: bytes, size: int, *, gzip: bool = False) -> bytes:
    """Return what was deflated, and never more than `size` bytes of it, which it must be.

    Raises:
        BadValue: If it is damaged, or unpacks to another size.
    """
    unpacker = zlib.decompressobj(31 if gzip else 15)
    try:
        # One byte more, so that what is too long shows.
        unpacked = unpacker.decompress(data, size + 1)
    except zlib.error as error:
        raise BadValue(f"is damaged ({error})", REPLACE) from error
    if len(unpacked) != size or not unpacker.eof:
        raise BadValue(f"is damaged: what is packed does not unpack to {size:,} bytes", REPLACE)
    return unpacked


def unshuffle(data: bytes, width: int) -> bytes:
    """Return numbers of `width` bytes of which the first bytes stood first, then the second ones."""
    count = len(data) // width
    if width == 1 or not count:
        return data
    planes = np.frombuffer(data, np.uint8, count * width).reshape(width, count, 1)
    # Planes of colours are put together in the same way: ten times as fast as NumPy turns an array.
    return cv2.merge(list(planes)).tobytes() + data[count * width :]
