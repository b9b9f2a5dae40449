"""Arrays of numbers in ``.mat`` files of version 5, which MATLAB writes by -v6 and -v7; 7.3 is HDF5."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from multifeed.errors import BadValue, some
from multifeed.fields.hdf5 import NUMBERS, HDF5File
from multifeed.fields.npy import MAX_UNPACKED_BYTES
from multifeed.fields.rows import NDArray
from multifeed.fields.stored import Container, Known, Shape, Stored, Work
from multifeed.files import REPLACE, File

# Of a file, and of an array in it, up to the numbers; names have 63 characters at most.
_FILE_HEAD_BYTES = 128
_HEAD_BYTES = 1_024
_MOST_AXES = 32

# Kinds of elements: arrays, arrays that are packed, and numbers.
_ARRAY, _PACKED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
# Kinds of arrays.
_KINDS = {
    6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8",
}  # fmt: skip
_OPAQUE = 17
_OTHERS = {
    1: "a cell array", 2: "a struct", 3: "an object", 4: "text", 5: "a sparse array", 16: "a function",
    _OPAQUE: "an object",
}  # fmt: skip
_IS_LOGICAL, _IS_COMPLEX = 0x02, 0x08


def open_mat(file: File) -> Container:
    """Open a ``.mat`` file, which is closed with what is returned.

    Raises:
        BadValue: If it is none of version 5 or 7.3.
    """
    head = file.read(0, min(file.size, _FILE_HEAD_BYTES))
    if head.startswith((b"MATLAB 7.3", b"\x89HDF")):
        return HDF5File(file, matlab=True)
    order = {b"IM": "<", b"MI": ">"}.get(head[126:128])
    if order is None:
        raise BadValue(
            "is not a .mat file of version 5 or 7.3", "Save it in MATLAB with -v7, or replace the file."
        )
    return _MatFile(file, order)


class _MatFile(Container):
    """A file of version 5.

    Args:
        file: The file.
        order: Of the bytes in its numbers, ``"<"`` or ``">"``.
    """

    def __init__(self, file: File, order: str) -> None:
        self._file, self._order = file, order
        self._known = Known()

    def array(self, path: str) -> Stored:
        return self._known.get(path, self._find)

    def close(self) -> None:
        self._file.close()

    def _find(self, path: str) -> Stored:
        names = []
        for element in self._elements():
            head = element.head()
            if not head.name:
                # What objects consist of, which stands apart from them.
                continue
            if head.name == path:
                return _Array(element, head)
            names.append(head.name)
        held = some(names, 8) or "none"
        raise BadValue(
            f"has no variable {path!r}; it has {held}"
            if path
            else f"is a .mat file, and no variable of it is named; it has {held}",
            "Write the file's name as 'file.mat::variable', or pass member='variable'.",
        )

    def _elements(self) -> Iterator[_Element]:
        at = _FILE_HEAD_BYTES
        while at + 8 <= self._file.size:
            kind, size = struct.unpack(f"{self._order}II", self._file.read(at, 8))
            at += 8
            if at + size > self._file.size:
                raise _damaged(f"an array of {size:,} bytes ends after {self._file.size - at:,}")
            if kind in (_ARRAY, _PACKED):
                yield _Element(self._file, self._order, kind == _PACKED, at, size)
            at += size


@dataclass(frozen=True)
class _Element:
    """An array in a file: `size` bytes from `start` on."""

    file: File
    order: str
    is_packed: bool
    start: int
    size: int

    def head(self) -> _Head:
        """Return what it says of itself."""
        data = self.file.read(self.start, min(self.size, _HEAD_BYTES))
        return _Head(self._unpacked(data, _HEAD_BYTES) if self.is_packed else data, self.order)

    def numbers(self, data: bytes, head: _Head) -> NDArray:
        """Return its numbers, ``dtype[*head.shape]``, given its bytes."""
        if self.is_packed:
            data = self._unpacked(data, head.end + 8 + math.prod(head.shape) * 8 + 8)
        kind, start, size = _part(data, head.end, self.order)
        dtype: np.dtype[Any] = np.dtype(self.order + _NUMBERS.get(kind, "u1"))
        if kind not in _NUMBERS or size != math.prod(head.shape) * dtype.itemsize:
            raise _damaged(f"{size:,} bytes of data do not make an array of shape {head.shape}")
        # Whole numbers are stored in as few bytes as they fit into, whatever they are numbers of.
        values = np.frombuffer(data[start : start + size], dtype).astype(head.dtype, copy=False)
        return values.reshape(head.shape, order="F")

    def _unpacked(self, data: bytes, most: int) -> bytes:
        """Return what is packed, without its own kind and size, and no more than `most` bytes of it."""
        try:
            found = zlib.decompressobj().decompress(data, most + 8)
        except zlib.error as error:
            raise _damaged(str(error)) from error
        if found[:4] != struct.pack(f"{self.order}I", _ARRAY):
            raise _damaged("what is packed is no array")
        return found[8:]


class _Head:
    """What an array says of itself, and where that ends.

    Args:
        data: Its first bytes.
        order: Of the bytes in numbers.
    """

    def __init__(self, data: bytes, order: str) -> None:
        _, flags, _ = _part(data, 0, order)
        (bits,) = struct.unpack_from(f"{order}I", data, flags)
        self.shape: Shape = ()
        at = flags + 8
        # Of an object of a class, tables and texts of MATLAB's too, no shape is told.
        if bits & 0xFF != _OPAQUE:
            self.shape, at = _shape(data, at, order)
        _, name, length = _part(data, at, order)
        self.name = data[name : name + length].decode("latin-1")
        # What is short stands in the same eight bytes as its kind and size.
        self.end = name + (4 if name % 8 else -(-length // 8) * 8)
        self.kind, self.is_complex = bits & 0xFF, bool(bits >> 8 & _IS_COMPLEX)
        self.dtype = np.dtype(_KINDS.get(self.kind, "f8"))
        if bits >> 8 & _IS_LOGICAL:
            self.dtype = np.dtype(np.bool_)


def _shape(data: bytes, at: int, order: str) -> tuple[Shape, int]:
    """Return the shape that begins at a place of an array, and where that ends."""
    _, start, size = _part(data, at, order)
    axes = size // 4
    if size % 4 or not 2 <= axes <= _MOST_AXES:
        raise _damaged("an array without a shape")
    shape: Shape = struct.unpack_from(f"{order}{axes}i", data, start)
    if min(shape) < 0:
        raise _damaged(f"an array of shape {shape}")
    return shape, start + -(-size // 8) * 8


def _part(data: bytes, at: int, order: str) -> tuple[int, int, int]:
    """Return kind, place and size of what begins at a place of an array."""
    if at + 8 > len(data):
        raise _damaged(f"an array ends after {len(data):,} bytes")
    kind, size = struct.unpack_from(f"{order}II", data, at)
    is_short = kind >> 16
    kind, size, start = (kind & 0xFFFF, kind >> 16, at + 4) if is_short else (kind, size, at + 8)
    if start + size > len(data) or (is_short and size > 4):
        raise _damaged(f"an array ends after {len(data):,} bytes")
    return kind, start, size


def _damaged(why: str) -> BadValue:
    return BadValue(f"is a damaged .mat file ({why})", REPLACE)


class _Array(Stored):
    """An array of numbers, which is read whole for any rows."""

    def __init__(self, element: _Element, head: _Head) -> None:
        super().__init__(head.shape, head.dtype)
        self._element, self._head = element, head
        if head.kind not in _KINDS or head.is_complex:
            held = _OTHERS.get(head.kind, "complex numbers" if head.is_complex else "something else")
            raise BadValue(f"holds {held} at {head.name!r}, not numbers", NUMBERS)
        size = math.prod(head.shape) * head.dtype.itemsize
        if size > MAX_UNPACKED_BYTES:
            raise BadValue(
                f"holds an array of {size:,} bytes, where at most {MAX_UNPACKED_BYTES:,} are read",
                "Save it in parts.",
            )

    def load(self, start: int, stop: int) -> Work:
        element, head = self._element, self._head
        data = element.file.read(element.start, element.size)
        return lambda: element.numbers(data, head)[start:stop]
