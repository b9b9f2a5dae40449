"""Arrays of numbers in ``.npy`` and ``.npz`` files, which are never unpickled."""

from __future__ import annotations

import io
import math
import re
import zipfile
from typing import Any, TypeAlias

import numpy as np

from multifeed.documents import compiled
from multifeed.errors import BadValue, some
from multifeed.fields.rows import NDArray
from multifeed.fields.shared import first_line
from multifeed.fields.stored import Container, Shape, Stored, Work
from multifeed.files import REPLACE, File

# Shape, whether the first axis is the fastest, dtype, and the byte where numbers begin.
Header: TypeAlias = tuple[Shape, bool, np.dtype[Any], int]

# A member of an archive that claims to unpack to more is refused where its shape is not known.
MAX_UNPACKED_BYTES = 2**31

# The longest header that NumPy reads, and what stands before it.
_HEAD_BYTES = 10_000 + 64

_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

_READ_HEADER = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
# The header of an array of numbers as NumPy itself writes it, after its version and length. NumPy has it
# read by Python's compiler, which takes several times as long, and of which see `compiled`.
_WHOLE = rb"(?:0|[1-9]\d{0,17})"
_USUAL = re.compile(
    rb"\x93NUMPY\x01\x00(?P<length>..)"
    rb"\{'descr': '(?P<dtype>[<>|][biuf]\d{1,2})', 'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>|%b,|%b(?:, %b)+)\), \} *\n" % (_WHOLE, _WHOLE, _WHOLE),
    re.DOTALL,
)


def parse_npy(data: bytes) -> NDArray:
    """Return the array of numbers that a ``.npy`` file holds, without a copy; it is read-only.

    Raises:
        BadValue: If the file is damaged, or holds anything but numbers.
    """
    if data[:4] == b"PK\x03\x04":
        raise BadValue(
            "is an .npz archive, without the name of a member",
            "Write the file's name as 'file.npz::member'.",
        )
    shape, fortran, dtype, start = read_header(data)
    # Python's integers, since a damaged shape overflows others.
    count = math.prod(shape)
    damaged = BadValue(
        f"is damaged: {len(data) - start:,} bytes of data do not make {dtype} of shape {shape}", REPLACE
    )
    if min(shape, default=0) < 0 or len(data) - start != count * dtype.itemsize:
        raise damaged
    try:
        flat = np.frombuffer(data, dtype, count, start) if count else np.empty(0, dtype)
        return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
    except (ValueError, OverflowError) as error:
        # More axes, or longer ones, than NumPy's arrays have.
        raise damaged from error


def read_header(data: bytes) -> Header:
    """Return what the header of a ``.npy`` file says, given its first bytes.

    Returns:
        The shape, whether the first axis is the fastest, the dtype, and the byte where numbers begin.

    Raises:
        BadValue: If it is damaged, or the file holds anything but numbers.
    """
    try:
        shape, fortran, dtype, start = _usual_header(data) or compiled(_other_header, data)
    except Exception as error:
        # The header is a Python literal: a damaged one fails in any way that a parser knows.
        raise BadValue(f"is not a readable .npy file ({first_line(error)})", REPLACE) from error
    if dtype.hasobject:
        raise BadValue(
            "holds Python objects, which are never unpickled", "Save it as an array of numbers."
        )
    if dtype.kind not in "biuf":
        raise BadValue(f"holds {dtype}, not numbers", "Save it as an array of numbers.")
    return shape, fortran, dtype, start


def _usual_header(data: bytes) -> Header | None:
    """Return what a header says that looks as NumPy writes it; None if it does not."""
    found = _USUAL.match(data)
    if found is None or found.end() != 10 + int.from_bytes(found["length"], "little"):
        return None
    shape = tuple(int(length) for length in found["shape"].split(b",") if length)
    return shape, found["fortran"] == b"True", np.dtype(found["dtype"].decode()), found.end()


def _other_header(data: bytes) -> Header:
    """Return what NumPy makes of a header.

    Raises:
        Exception: If it is damaged, of any kind.
    """
    stream = io.BytesIO(data)
    header = _READ_HEADER[np.lib.format.read_magic(stream)](stream)
    return *header, stream.tell()


class NpyFile(Container, Stored):
    """A ``.npy`` file, open, of which rows are read without the rest.

    Args:
        file: The file, which is closed with this.

    Raises:
        BadValue: If it is damaged, or holds anything but numbers.
    """

    def __init__(self, file: File) -> None:
        shape, self._fortran, dtype, self._start = read_header(file.read(0, min(file.size, _HEAD_BYTES)))
        super().__init__(shape, dtype)
        self._file = file
        size = file.size - self._start
        if min(shape, default=0) < 0 or size != math.prod(shape) * dtype.itemsize:
            raise BadValue(
                f"is damaged: {size:,} bytes of data do not make {dtype} of shape {shape}", REPLACE
            )

    def array(self, path: str) -> Stored:
        if path:
            raise BadValue(f"holds one array, and none at {path!r}", "Leave the path out.")
        return self

    @property
    def place(self) -> tuple[File, int] | None:
        return None if self._fortran and len(self.shape) > 1 else (self._file, self._start)

    def load(self, start: int, stop: int) -> Work:
        if self._fortran and len(self.shape) > 1:
            # The rows lie scattered over all of it.
            data = self._file.read()
            return lambda: parse_npy(data)[start:stop]
        shape = (stop - start, *self.shape[1:]) if self.shape else ()
        row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        data = self._file.read(self._start + start * row_bytes, (stop - start) * row_bytes)
        return lambda: np.frombuffer(data, self.dtype).reshape(shape)

    def close(self) -> None:
        self._file.close()


def unpack_npz(data: bytes, member: str, most_bytes: int) -> bytes:
    """Return the ``.npy`` file that is a member of an ``.npz`` archive.

    Raises:
        BadValue: If the archive is damaged, lacks the member, or the member claims more bytes.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            claims = {info.filename: info.file_size for info in archive.infolist()}
            file = f"{member}.npy"
            # What NumPy writes. Of the other packings, one may unpack to any size before it is cut to
            # the claim, and one takes the memory that its header asks for.
            if file in claims and archive.getinfo(file).compress_type not in _PACKINGS:
                raise zipfile.BadZipFile("its member is packed neither as stored nor as deflated")
            if file in claims and claims[file] <= most_bytes:
                # Asked for the claim, it unpacks no more; asked for all, it does, and then cuts.
                with archive.open(file) as stream:
                    return stream.read(claims[file])
    except Exception as error:
        # Damaged, encrypted, packed in an unknown way: each with an exception of its own.
        raise BadValue(f"is not a readable .npz file ({first_line(error)})", REPLACE) from error
    if file not in claims:
        names = [name.removesuffix(".npy") for name in claims if name.endswith(".npy")]
        raise BadValue(
            f"has no member {member!r}; it has {some(names, 8) or 'none'}",
            "Correct the name after '::'.",
        )
    raise BadValue(
        f"has a member {member!r} of {claims[file]:,} bytes, where at most {most_bytes:,} are due",
        "Correct the file or the declared shape.",
    )
