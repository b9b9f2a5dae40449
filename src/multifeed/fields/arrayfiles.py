"""Files of arrays: the suffix of a file's name says how it is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any, cast

import numpy as np

from multifeed.errors import BadValue
from multifeed.extras import package
from multifeed.fields.base import PerSample
from multifeed.fields.delimited import parse_delimited
from multifeed.fields.gather import Padding
from multifeed.fields.handles import Handles
from multifeed.fields.hdf5 import HDF5File
from multifeed.fields.mat import open_mat
from multifeed.fields.npy import MAX_UNPACKED_BYTES, NpyFile, parse_npy, unpack_npz
from multifeed.fields.rows import Cells, NDArray, Requests
from multifeed.fields.shared import store
from multifeed.fields.stored import Container, Shape, Stored, Work
from multifeed.fields.zarr import FolderFiles, ZarrStore, ZipFiles
from multifeed.files import File
from multifeed.folder import Folder, split_member, suffix_of
from multifeed.remote.uri import Request
from multifeed.spec import Spec, fits
from multifeed.spot import Spot

# Stands for the end of an array, wherever that is.
END = 2**63 - 1

# Makes an array of a file's content, given the path inside and how many bytes the array may have.
_Parse = Callable[[bytes, str, int], NDArray]


@dataclass(frozen=True)
class Format:
    """How files of a format are read: whole, in parts, or, where it has both, in parts for some rows.

    Args:
        parse: Reads one whole.
        open: Opens one, to read parts: a function of the folder and its name.
        needs: A package, and the extra that brings it.
    """

    parse: _Parse | None = None
    open: Callable[[Folder, str], Container] | None = None
    needs: tuple[str, str] | None = None


def _alone(parse: Callable[[bytes], NDArray]) -> _Parse:
    """Return what reads files that hold one array, without a name."""

    def checked(data: bytes, path: str, most_bytes: int) -> NDArray:
        if path:
            raise BadValue(f"holds one array, and none at {path!r}", "Leave the path out.")
        return parse(data)

    return checked


def _npz(data: bytes, path: str, most_bytes: int) -> NDArray:
    return parse_npy(unpack_npz(data, path, most_bytes) if path else data)


def _opener(make: Callable[[File], Container]) -> Callable[[Folder, str], Container]:
    """Return what opens files, and closes those again that are of another format."""

    def opened(folder: Folder, name: str) -> Container:
        file = folder.open(name)
        try:
            return make(file)
        except BaseException:
            file.close()
            raise

    return opened


_parse_npy = _alone(parse_npy)
_NPY = Format(parse=_parse_npy, open=_opener(NpyFile))
_NPZ = Format(parse=_npz)
_HDF5 = Format(open=_opener(HDF5File), needs=("h5py", "hdf5"))
_ZARR = Format(open=lambda folder, name: ZarrStore(FolderFiles(folder, name)))
FORMATS = {
    ".npy": _NPY,
    ".npz": _NPZ,
    ".h5": _HDF5,
    ".hdf5": _HDF5,
    ".he5": _HDF5,
    ".mat": Format(open=_opener(open_mat)),
    ".zarr": _ZARR,
    ".zip": Format(open=_opener(lambda file: ZarrStore(ZipFiles(file)))),
    ".csv": Format(parse=_alone(partial(parse_delimited, delimiter=","))),
    ".tsv": Format(parse=_alone(partial(parse_delimited, delimiter="\t"))),
}


def open_container(folder: Folder, name: str) -> Container:
    """Open a file of a format that is read in parts; see `Handles`."""
    opener = named(name, None)[2].open
    if opener is None:
        raise BadValue("is of a format that is read whole", "")
    return opener(folder, name)


def count_rows(folder: Folder, cell: str, member: str | None) -> int:
    """Return how many rows the array has that a cell names, from the file's header where it has one.

    Raises:
        BadValue: If the file cannot be read, or the array is a single number.
        DeclarationError: If a package is needed that is not installed.
    """
    name, path, found = named(cell, member)
    if found.open is not None:
        container = found.open(folder, name)
        try:
            shape = container.array(path).shape
        finally:
            container.close()
    else:
        parse = found.parse or _npz
        shape = parse(folder.read(name), path, MAX_UNPACKED_BYTES).shape
    if not shape:
        raise BadValue("holds a single number, which has no rows", "Correct the path inside the file.")
    return shape[0]


# Windows of one file are many rows of one name.
@lru_cache(maxsize=256)
def named(cell: str, member: str | None) -> tuple[str, str, Format]:
    """Return the name of the file in a cell, the path inside it, or else `member`, and its format."""
    name, own = split_member(cell)
    if suffix_of(name) not in FORMATS and suffix_of(cell) in FORMATS:
        # Two colons may as well stand in the name of a file.
        name, own = cell, ""
    path = own or member or ""
    # A file of any other suffix is one of NumPy's.
    return name, path, FORMATS.get(suffix_of(name), _NPZ if path else _NPY)


def no_rows(what: str, first: int, last: int) -> tuple[str, str]:
    """Return what is wrong where an array lacks some rows, and what to do."""
    return (
        f"has {what}, and no rows {first:,} to {last:,}",
        "Correct start and stop: they count from 0, and stop is behind the last row.",
    )


class ArrayFiles(PerSample):
    """Reads arrays, or some of their rows, from files.

    Args:
        cells: Their names.
        folder: Where those start.
        member: The path inside each file whose name is followed by none.
        shape: The shape of a sample in its file.
        spec: What a sample becomes.
        scale: Multiplied with every value, or None.
        padding: How samples are padded and cut, or None.
        rows: ``int64[n, 2]``, the first row of each sample, and the one behind its last one or `END`;
            None if samples are whole arrays.
    """

    def __init__(
        self,
        cells: Cells,
        folder: Folder,
        member: str | None,
        shape: tuple[int | None, ...],
        spec: Spec,
        scale: float | None,
        padding: Padding | None,
        rows: NDArray | None,
    ) -> None:
        self.spec = spec
        self._cells, self._folder, self._member = cells, folder, member
        self._shape, self._scale, self._padding, self._rows = shape, scale, padding, rows
        self._handles = Handles(open_container)
        self._requests = Requests(cells, folder, self._read_whole)
        self._reads_parts_far_away = Requests(cells, folder, self._read_in_part).is_far
        # Numbers have at most 16 bytes, and headers are short.
        is_known = None not in shape and rows is None
        sizes = (size for size in shape if size is not None)
        self._most_bytes = 16 * math.prod(sizes) + 2**16 if is_known else MAX_UNPACKED_BYTES

    def require(self, row: int) -> None:
        """Raise `DeclarationError` if a package is needed for the format of a row that is not there."""
        needs = named(self._cells[row], self._member)[2].needs
        if needs is not None:
            package(needs[0], extra=needs[1], of="mf.Array")

    def file(self, row: int) -> str | None:
        try:
            name, path, found = named(self._cells[row], self._member)
        except BadValue:
            return None
        if found is _ZARR:
            # A store may have a million arrays, of which this is one folder.
            name = "/".join([name.rstrip("/"), *(part for part in path.split("/") if part)])
        return self._folder.path(name)

    def requests(self, rows: NDArray) -> Iterable[Request]:
        return self._requests(rows)

    @property
    def waits(self) -> bool:
        return self._reads_parts_far_away

    def _read_whole(self, cell: str) -> str | None:
        """Return the name of the file of a cell if all of it is read."""
        name, _, found = named(cell, self._member)
        return name if self._is_read_whole(found) else None

    def _read_in_part(self, cell: str) -> str | None:
        """Return the name of the file of a cell if not all of it is read."""
        name, _, found = named(cell, self._member)
        return None if self._is_read_whole(found) else name

    def _is_read_whole(self, found: Format) -> bool:
        return found.open is None or (found.parse is not None and self._rows is None)

    def read_at_once(self, rows: NDArray, out: NDArray, spot: Spot) -> bool:
        if self._coded is None:
            return False
        cells, codes = self._coded
        places_of: dict[int, list[int]] = {}
        for place, code in enumerate(codes[rows].tolist()):
            places_of.setdefault(code, []).append(place)
        try:
            return all(
                self._read_file(cells[code], rows[places], places, out, spot)
                for code, places in places_of.items()
            )
        except BadValue:
            return False

    @cached_property
    def _coded(self) -> tuple[list[Any], NDArray] | None:
        """The files, and which of them each row is a part of, where several can be read at once."""
        if self._rows is None or self._padding is not None or self._shape != self.spec.shape:
            return None
        return self._cells.coded()

    def _read_file(
        self, cell: str, rows: NDArray, places: Sequence[int], out: NDArray, spot: Spot
    ) -> bool:
        """Write rows that are parts of one file to their places in `out`, as `read_at_once` does."""
        name, path, found = named(cell, self._member)
        if self._is_read_whole(found):
            return False
        # What ends a process is opening a damaged file, which any row of it does.
        spot.place[0] = int(rows[0])
        stored: Stored = self._handles.get(self._folder, name).array(path)
        lies, shape = stored.place, self.spec.shape
        is_of_rows = bool(shape and stored.shape) and stored.shape[1:] == shape[1:]
        if lies is None or lies[0].is_far or not is_of_rows:
            return False
        if self._scale is None and stored.dtype == out.dtype:
            return self._read_rows(*lies, stored, rows, places, out)
        as_stored = np.empty((len(rows), *shape), stored.dtype)
        if not self._read_rows(*lies, stored, rows, range(len(rows)), as_stored):
            return False
        values = np.empty(as_stored.shape, out.dtype)
        store(as_stored, values, scale=self._scale)
        out[places] = values
        return True

    def _read_rows(
        self,
        file: File,
        begin: int,
        stored: Stored,
        rows: NDArray,
        places: Sequence[int],
        out: NDArray,
    ) -> bool:
        """Read what lies in a file from byte `begin` on to places of `out`, which is of its dtype.

        Returns:
            Whether all of the rows are there, each as long as it should be.
        """
        length, memory = self.spec.shape[0], out.data.cast("B")
        row_bytes = math.prod(self.spec.shape[1:]) * stored.dtype.itemsize
        size = length * row_bytes
        spans = cast(NDArray, self._rows)[rows].tolist()
        for place, (first, last) in zip(places, spans, strict=True):
            if first < 0 or last - first != length or last > stored.shape[0]:
                return False
            file.read_into(begin + first * row_bytes, memory[place * size : (place + 1) * size])
        return True

    def load(self, row: int) -> bytes | Work:
        name, path, found = named(self._cells[row], self._member)
        if self._is_read_whole(found):
            data = self._folder.read(name)
            # As bytes it can be compared with other files, which `mf.check` does.
            if found is _NPY and not path:
                return data
            return partial(self._parsed, found.parse or _npz, data, path, row)
        stored = self._handles.get(self._folder, name).array(path)
        work: Work = stored.load(*self._reach(stored.shape, row))
        return work

    def decode(self, row: int, loaded: bytes | Work, out: NDArray) -> int | None:
        array = self._parsed(_parse_npy, loaded, "", row) if isinstance(loaded, bytes) else loaded()
        length = None
        if self._padding is not None:
            length = len(array)
            array = self._padding.apply(array[None])[0]
        store(array, out, scale=self._scale)
        return length

    def _parsed(self, parse: _Parse, data: bytes, path: str, row: int) -> NDArray:
        array = parse(data, path, self._most_bytes)
        start, stop = self._reach(array.shape, row)
        return array[start:stop] if array.ndim else array

    def _reach(self, shape: Shape, row: int) -> tuple[int, int]:
        """Return which rows of an array are read for a row of the dataset: first, and last + 1.

        Raises:
            BadValue: If the array lacks some, or they are of another shape than was declared.
        """
        start, stop = 0, shape[0] if shape else 1
        asked = ""
        if self._rows is not None:
            first, last = self._rows[row].tolist()
            last = stop if last == END else last
            if not shape or not 0 <= first <= last <= stop:
                raise BadValue(*no_rows(f"an array of shape {shape}", first, last))
            start, stop = first, last
            asked = f" in rows {first:,} to {last:,}"
        found = (stop - start, *shape[1:]) if shape else ()
        if not fits(found, self._shape):
            raise BadValue(
                f"holds an array of shape {found}{asked} where the declaration says {self._shape}",
                "Correct the file or the declared shape; None as first size, with pad_to=, allows any "
                "length.",
            )
        if self._padding is not None and stop - start > self._padding.length:
            # What is cut off is not read.
            if self._padding.truncating == "post":
                stop = start + self._padding.length
            else:
                start = stop - self._padding.length
        return start, stop
