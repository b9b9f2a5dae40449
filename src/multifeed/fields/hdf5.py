"""Arrays in HDF5 files, also those of MATLAB 7.3.

HDF5 is asked where the numbers of an array lie, and they are read and unpacked here: its library has one
lock for all threads, opens other files where one says so, and crashes on some damaged ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from multifeed.errors import BadValue, some
from multifeed.extras import package
from multifeed.fields.npy import MAX_UNPACKED_BYTES
from multifeed.fields.rows import NDArray
from multifeed.fields.seen import Seen
from multifeed.fields.shared import first_line
from multifeed.fields.stored import (
    Chunked,
    Container,
    Known,
    Shape,
    Stored,
    Work,
    as_chunk,
    inflate,
    unshuffle,
)
from multifeed.files import REPLACE, File

T = TypeVar("T")

NUMBERS = "Save it as an array of numbers."

# Filters by HDF5's own numbers: those that are undone here, and those that h5py undoes. HDF5 has others,
# in which holes are found, and looks for the rest among plug-ins.
_DEFLATE, _SHUFFLE, _FLETCHER32, _LZF = 1, 2, 3, 32_000
_OURS = {_DEFLATE, _SHUFFLE, _FLETCHER32}
_THEIRS = {_SHUFFLE, _FLETCHER32, _LZF}

# Before it, places of chunks were told from where the file's own part begins, not from its first byte.
_TELLS_PLACES = (1, 14, 6)

# The places of so many are listed when an array is opened: ten seconds, and 100 MB.
_MOST_CHUNKS = 2**22

# What MATLAB writes of arrays of numbers. Its texts, cells and structs are numbers for HDF5 as well.
_MATLAB_CLASSES = {
    b"double", b"single", b"logical",
    *(f"{sign}int{bits}".encode() for sign in ("", "u") for bits in (8, 16, 32, 64)),
}  # fmt: skip


class HDF5File(Container):
    """An HDF5 file, open.

    Args:
        file: The file, which is closed with this.
        matlab: Whether MATLAB wrote it, which tells axes in the opposite order.

    Raises:
        BadValue: If it is none.
    """

    def __init__(self, file: File, *, matlab: bool = False) -> None:
        self._h5py = package("h5py", extra="hdf5", of="mf.Array of HDF5 files")
        self._file, self._is_matlab = file, matlab
        self._seen = Seen(file) if file.is_far else None
        try:
            # By a file object: what HDF5 opens by its path it locks, and shares what it knows of it
            # with whoever has that path open, also if the file is another one by now.
            self._opened = self._ask(lambda: self._h5py.File((self._seen or file).stream(), "r"))
        except BadValue:
            raise
        except Exception as error:
            raise BadValue(f"is not a readable HDF5 file ({first_line(error)})", REPLACE) from error
        self._known = Known()

    def array(self, path: str) -> Stored:
        return self._known.get(path, self._find)

    def close(self) -> None:
        try:
            self._opened.close()
        finally:
            self._file.close()

    def _ask(self, ask: Callable[[], T]) -> T:
        """Return what HDF5 says."""
        return ask() if self._seen is None else self._seen.of(ask)

    def _find(self, path: str) -> Stored:
        try:
            stored = self._ask(lambda: self._stored(path, self._follow(path)))
            return _Reversed(stored) if self._is_matlab else stored
        except BadValue:
            raise
        except Exception as error:
            # Of a damaged file, HDF5 says what happened to fail.
            raise BadValue(f"is a damaged HDF5 file ({first_line(error)})", REPLACE) from error

    def _follow(self, path: str) -> Any:
        """Return the dataset at a path, along hard links alone: others may lead out of the file."""
        h5py = self._h5py
        here = h5py.h5g.open(self._opened.id, b"/")
        for name in (part.encode() for part in path.split("/") if part):
            if not isinstance(here, h5py.h5g.GroupID) or not here.links.exists(name):
                raise self._nothing_at(path, here)
            if here.links.get_info(name).type != h5py.h5l.TYPE_HARD:
                raise BadValue(
                    f"has a link at {path!r}, and links are not followed: one can lead to any file",
                    "Name the array by its own path, or write a copy in place of the link.",
                )
            here = h5py.h5o.open(here, name)
        if not isinstance(here, h5py.h5d.DatasetID):
            raise self._nothing_at(path, here)
        return here

    def _nothing_at(self, path: str, here: Any) -> BadValue:
        """Return the fact that a path ends, or begins, at what is no array."""
        named = f"has no array {path!r}" if path else "is an HDF5 file, and no array of it is named"
        names = islice(here, 9) if isinstance(here, self._h5py.h5g.GroupID) else ()
        held = some([name.decode(errors="replace") for name in names], 8)
        return BadValue(
            f"{named}; there is {held}" if held else named,
            "Write the file's name as 'file.h5::path', or pass member='path'.",
        )

    def _stored(self, path: str, dataset: Any) -> Stored:
        h5py, plan, kind = self._h5py, dataset.get_create_plist(), self._numbers(path, dataset)
        layout, shape = plan.get_layout(), dataset.shape
        # HDF5 would open them, whatever they are called.
        if layout == h5py.h5d.VIRTUAL or plan.get_external_count():
            raise BadValue(
                f"has the numbers of {path!r} in other files, which are not opened",
                "Write them into the file itself, as h5py and h5repack do.",
            )
        if self._starts_late() and h5py.version.hdf5_version_tuple < _TELLS_PLACES:
            least = ".".join(map(str, _TELLS_PLACES))
            raise BadValue(
                f"begins with bytes that are not of HDF5, which needs HDF5 {least}",
                "Install a newer h5py, or write the file again without a user block.",
            )
        dtype = kind.dtype
        fill = _fill(h5py, plan, dtype)
        if layout == h5py.h5d.CHUNKED:
            filters = [plan.get_filter(number) for number in range(plan.get_nfilters())]
            chunks = _Chunks(self._file, shape, dtype, plan.get_chunk(), fill, filters)
            chunks.locate(dataset)
            return chunks if chunks.is_known else self._slow(shape, dtype, dataset)
        if layout == h5py.h5d.CONTIGUOUS:
            return _Contiguous(self._file, shape, dtype, dataset.get_offset(), fill)
        return self._slow(shape, dtype, dataset)

    def _slow(self, shape: Shape, dtype: np.dtype[Any], dataset: Any) -> _Slow:
        return _Slow(shape, dtype, self._h5py.Dataset(dataset), self._ask)

    def _numbers(self, path: str, dataset: Any) -> Any:
        """Return the type of an array's numbers, which is one that NumPy has."""
        h5t, kind = self._h5py.h5t, dataset.get_type()
        if kind.get_class() == h5t.ENUM:
            # Such as h5py's booleans.
            kind = kind.get_super()
        is_number = kind.get_class() in (h5t.INTEGER, h5t.FLOAT) and kind.equal(
            h5t.py_create(kind.dtype)
        )
        if self._is_matlab and is_number:
            # What it has no other type for are numbers as well: texts, and places of cells.
            told = self._h5py.Dataset(dataset).attrs.get("MATLAB_class", b"double")
            is_number = told in _MATLAB_CLASSES
        if not is_number or dataset.shape is None:
            raise BadValue(f"holds no numbers at {path!r}", NUMBERS)
        return kind

    def _starts_late(self) -> bool:
        return bool(self._opened.id.get_create_plist().get_userblock())


def _fill(h5py: Any, plan: Any, dtype: np.dtype[Any]) -> Any:
    """Return the number that stands where none was written."""
    fill = np.zeros((), dtype)
    if plan.fill_value_defined() != h5py.h5d.FILL_VALUE_UNDEFINED:
        plan.get_fill_value(fill)
    return fill[()]


class _Contiguous(Stored):
    """Numbers one after the other, in C order."""

    def __init__(
        self, file: File, shape: Shape, dtype: np.dtype[Any], offset: int | None, fill: Any
    ) -> None:
        super().__init__(shape, dtype)
        self._file, self._offset, self._fill = file, offset, fill

    @property
    def place(self) -> tuple[File, int] | None:
        return None if self._offset is None else (self._file, self._offset)

    def load(self, start: int, stop: int) -> Work:
        shape = (stop - start, *self.shape[1:]) if self.shape else ()
        if self._offset is None:
            return lambda: np.full(shape, self._fill, self.dtype)
        row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        data = self._file.read(self._offset + start * row_bytes, (stop - start) * row_bytes)
        return lambda: np.frombuffer(data, self.dtype).reshape(shape)


class _Chunks(Chunked):
    """Numbers in chunks, packed or as they are.

    Args:
        file: The file.
        shape: As for `Chunked`.
        dtype: As for `Chunked`.
        chunk: As for `Chunked`.
        fill: As for `Chunked`.
        filters: What chunks have gone through, in that order, as h5py tells it.
    """

    def __init__(
        self,
        file: File,
        shape: Shape,
        dtype: np.dtype[Any],
        chunk: Shape,
        fill: Any,
        filters: Sequence[tuple[int, int, tuple[int, ...], bytes]],
    ) -> None:
        super().__init__(shape, dtype, chunk, fill)
        self._file, self._filters = file, [number for number, *_ in filters]
        self.is_known = set(self._filters) <= _OURS
        if not self.is_known and not set(self._filters) <= _THEIRS:
            names = [name.decode(errors="replace") or number for number, _, _, name in filters]
            raise BadValue(
                f"is packed in a way that is not read ({some(names)})",
                "Write it again as h5py and h5repack do, packed by gzip alone.",
            )

    def locate(self, dataset: Any) -> None:
        """Find out where the chunks are."""
        found: list[tuple[Any, ...]] = []

        def note(info: Any) -> bool | None:
            found.append((*info.chunk_offset, info.byte_offset, info.size, info.filter_mask))
            # Where chunks are not listed one by one, a file can claim any number of them.
            ends = info.byte_offset + info.size > self._file.size
            return True if ends or len(found) > _MOST_CHUNKS else None

        dataset.chunk_iter(note)
        axes = len(self.shape)
        table = np.array(found, np.uint64).reshape(-1, axes + 3)
        if len(table) > _MOST_CHUNKS:
            raise BadValue(f"has more than {_MOST_CHUNKS:,} chunks", "Write it again in larger chunks.")
        if len(table):
            self.refuse_large(int(table[:, axes + 1].max()))
        places = (table[:, :axes] // np.array(self.chunk, np.uint64)).astype(np.int64)
        self._counts = tuple(-(-size // by) for size, by in zip(self.shape, self.chunk, strict=True))
        numbers = self._number(places.T) if math.prod(self._counts) < 2**63 else places[:, 0]
        order = np.argsort(numbers, kind="stable")
        self._numbers, self._table = numbers[order], table[order, axes:]

    def _number(self, place: Any) -> Any:
        """Return which chunk one is, in C order."""
        number = 0
        for at, count in zip(place, self._counts, strict=True):
            number = number * count + at
        return number

    def fetch(self, places: Sequence[Shape]) -> list[Any]:
        found = [self._place_of(place) for place in places]
        parts = self._file.read_many([(each[0], each[1]) for each in found if each is not None])
        data = iter(parts)
        return [None if each is None else (next(data), each[2]) for each in found]

    def _place_of(self, place: Shape) -> tuple[int, int, int] | None:
        """Return where a chunk lies, its bytes, and which filters it was not put through."""
        number = self._number(place)
        row = int(np.searchsorted(self._numbers, number))
        if row == len(self._numbers) or self._numbers[row] != number:
            return None
        offset, size, mask = self._table[row].tolist()
        return offset, size, mask

    def unpack(self, fetched: tuple[bytes, int]) -> NDArray:
        data, mask = fetched
        passed = [number for place, number in enumerate(self._filters) if not mask >> place & 1]
        while passed:
            number = passed.pop()
            if number == _FLETCHER32:
                data = _checked(data)
            elif number == _SHUFFLE:
                data = unshuffle(data, self.dtype.itemsize)
            else:
                # A checksum that was added before has been packed as well.
                data = inflate(data, self.chunk_bytes + 4 * passed.count(_FLETCHER32))
        return as_chunk(data, self.chunk, self.dtype)


class _Slow(Stored):
    """Numbers that h5py reads: packed by its own LZF, or so few that they stand in the description."""

    def __init__(
        self, shape: Shape, dtype: np.dtype[Any], dataset: Any, ask: Callable[[Callable[[], Any]], Any]
    ) -> None:
        super().__init__(shape, dtype)
        self._dataset, self._ask = dataset, ask

    def load(self, start: int, stop: int) -> Work:
        try:
            found = self._ask(lambda: self._dataset[start:stop] if self.shape else self._dataset[()])
        except BadValue:
            raise
        except Exception as error:
            raise BadValue(f"is a damaged HDF5 file ({first_line(error)})", REPLACE) from error
        return lambda: np.asarray(found)


class _Reversed(Stored):
    """An array whose axes stand in the opposite order, and which is read whole for any rows."""

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored.shape[::-1], stored.dtype)
        self._stored = stored

    def load(self, start: int, stop: int) -> Work:
        size = math.prod(self.shape) * self.dtype.itemsize
        if size > MAX_UNPACKED_BYTES:
            raise BadValue(
                f"holds an array of {size:,} bytes, where at most {MAX_UNPACKED_BYTES:,} are read",
                "Save it in parts.",
            )
        work = self._stored.load(0, self._stored.shape[0] if self.shape else 1)
        return lambda: work().T[start:stop]


def _checked(data: bytes) -> bytes:
    """Return what stands before a Fletcher-32 checksum, as HDF5 makes it, if that is right."""
    content, told = data[:-4], int.from_bytes(data[-4:], "little")
    words = np.frombuffer(content + b"\0" * (len(content) % 2), ">u2").astype(np.uint64)
    weights = np.arange(len(words), 0, -1).astype(np.uint64) % 65_535
    first, second = int(words.sum()), int((words * weights).sum())
    # In the sums modulo 65,535 that HDF5 makes, only nothing but zeros comes to 0.
    first, second = (each and (each - 1) % 65_535 + 1 for each in (first, second))
    if len(data) < 4 or second << 16 | first != told:
        raise BadValue("is damaged: a chunk does not have its checksum", REPLACE)
    return content
