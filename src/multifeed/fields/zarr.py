"""Arrays in Zarr stores of versions 2 and 3: folders, and zip archives of such.

An array is a description in JSON and a file for each chunk or shard. They are read here, not by the zarr
package, which opens what it likes, makes whatever a description names, and unpacks without limits.
"""

from __future__ import annotations

import json
import math
import re
import struct
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from multifeed.errors import BadValue
from multifeed.extras import package
from multifeed.fields.rows import NDArray
from multifeed.fields.shared import first_line
from multifeed.fields.stored import (
    Chunked,
    Container,
    Known,
    Shape,
    Stored,
    as_chunk,
    inflate,
    unshuffle,
)
from multifeed.files import REPLACE, File
from multifeed.folder import Folder

OF = "mf.Array of Zarr stores"
_AGAIN = "Write the array again with zarr, with its usual codecs."

# What the description of an array is called, in version 3 and in version 2.
DESCRIPTIONS = ("zarr.json", ".zarray")

_MOST_TEXT_BYTES = 2**20
# Where the chunks of a shard are: 16 bytes for each.
_MOST_INDEX_BYTES = 2**24
_NOT_THERE = 2**64 - 1

_DTYPES = {"bool", "float16", "float32", "float64"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}

# Unpacks bytes, to so many as the number says.
_Unpack = Callable[[bytes, int], bytes]


class Files(ABC):
    """The files of a store."""

    @abstractmethod
    def open(self, name: str) -> File | None:
        """Return one of them, open; None if it is not there.

        Raises:
            BadValue: If it cannot be opened.
        """

    def expect(self, names: Iterable[str]) -> object:
        """Note that these will be opened now, as long as what is returned is held."""
        return None

    @abstractmethod
    def stamp(self, name: str) -> object:
        """Return what tells whether a folder of the store has other files by now."""

    @abstractmethod
    def close(self) -> None:
        """Let the store go."""


class FolderFiles(Files):
    """Those of a store that is a folder.

    Args:
        folder: Where its name starts.
        store: Its name.
    """

    def __init__(self, folder: Folder, store: str) -> None:
        self._folder, self._store = folder, store

    def open(self, name: str) -> File | None:
        try:
            return self._folder.open(f"{self._store}/{name}")
        except BadValue as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise BadValue(f"has a file {name!r} that {error.reason}", error.remedy) from error

    def expect(self, names: Iterable[str]) -> object:
        requests = [self._folder.request(f"{self._store}/{name}") for name in names]
        far = [request.head for request in requests if request is not None]
        if not far:
            return None
        from multifeed.remote import ahead

        return ahead.begin(far)

    def stamp(self, name: str) -> object:
        return self._folder.stamp(f"{self._store}/{name}")

    def close(self) -> None:
        return


class ZipFiles(Files):
    """Those of a store that is a zip archive.

    Args:
        file: The archive, which is closed with this.

    Raises:
        BadValue: If it is none.
    """

    def __init__(self, file: File) -> None:
        self._file = file
        try:
            with zipfile.ZipFile(file.stream()) as archive:
                self._members = {info.filename: info for info in archive.infolist()}
        except Exception as error:
            # Damaged directories fail in many ways.
            raise BadValue(f"is not a readable .zip file ({first_line(error)})", REPLACE) from error

    def open(self, name: str) -> File | None:
        info = self._members.get(name)
        if info is None:
            return None
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise BadValue(
                f"has a member {name!r} that is packed once more",
                "Zarr packs chunks itself: make the archive with zip -0, as zarr does.",
            )
        header = self._file.read(info.header_offset, 30)
        names = sum(struct.unpack_from("<HH", header, 26))
        return _Member(self._file, info.header_offset + 30 + names, info)

    def stamp(self, name: str) -> object:
        return None

    def close(self) -> None:
        self._file.close()


class _Member(File):
    """A member of an archive that stays open."""

    def __init__(self, archive: File, start: int, info: zipfile.ZipInfo) -> None:
        super().__init__(info.file_size)
        self._archive, self._start, self._checksum = archive, start, info.CRC

    def read(self, start: int = 0, count: int | None = None) -> bytes:
        count = self.size - start if count is None else count
        if start + count > self.size:
            raise BadValue(f"is damaged: a member has {self.size:,} bytes", REPLACE)
        data = self._archive.read(self._start + start, count)
        if count == self.size and zlib.crc32(data) != self._checksum:
            raise BadValue("is damaged: a member does not have its checksum", REPLACE)
        return data

    def close(self) -> None:
        return


class ZarrStore(Container):
    """A store, open.

    Args:
        files: Its files.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._known = Known()

    def array(self, path: str) -> Stored:
        parts = [part for part in path.split("/") if part]
        if {".", ".."} & set(parts):
            raise BadValue(f"is a store, which {path!r} leads out of", "Name an array in it.")
        path = "/".join(parts)
        return self._known.get(path, self._find, self._files.stamp(path))

    def close(self) -> None:
        self._files.close()

    def _find(self, path: str) -> Stored:
        for name, read in zip(DESCRIPTIONS, (_version_3, _version_2), strict=True):
            place = f"{path}/{name}" if path else name
            file = self._files.open(place)
            if file is None:
                continue
            with file:
                if file.size > _MOST_TEXT_BYTES:
                    raise BadValue(f"has a description {place!r} of {file.size:,} bytes", REPLACE)
                text = file.read()
            try:
                return _Chunks(self._files, path, read(json.loads(text)))
            except BadValue:
                raise
            except Exception as error:
                # It can be any JSON.
                raise BadValue(
                    f"has a description {place!r} that is none of an array ({first_line(error)})", _AGAIN
                ) from error
        named = f"no array {path!r}" if path else "no array by itself, and none of it is named"
        raise BadValue(
            f"has {named}", "Write the store's name as 'store.zarr::path', or pass member='path'."
        )


@dataclass(frozen=True)
class _Coding:
    """What is done to make bytes of a chunk.

    Args:
        chunk: Its shape.
        dtype: Its numbers, as they lie in the bytes.
        order: The order in which its axes lie there.
        unpackers: What undoes the rest, in the order in which it was done; and how many bytes each adds
            where that is known, and does not pack.
    """

    chunk: Shape
    dtype: np.dtype[Any]
    order: Shape
    unpackers: tuple[tuple[_Unpack, int], ...] = ()

    def decode(self, data: bytes) -> NDArray:
        """Return a chunk, ``dtype[*chunk]``."""
        size = math.prod(self.chunk) * self.dtype.itemsize
        for number in reversed(range(len(self.unpackers))):
            data = self.unpackers[number][0](
                data, size + sum(more for _, more in self.unpackers[:number])
            )
        lying = as_chunk(data, tuple(self.chunk[axis] for axis in self.order), self.dtype)
        return lying.transpose(np.argsort(self.order))


@dataclass(frozen=True)
class _Shards:
    """How many chunks share a file, and where it says which is where.

    Args:
        counts: Chunks of a shard along each axis.
        at_end: Whether that stands at its end, and not at its beginning.
        checksum: Bytes of the checksum behind it: 4 or 0.
    """

    counts: Shape
    at_end: bool
    checksum: int

    def find(self, file: File, places: Sequence[Shape]) -> dict[Shape, tuple[int, int]]:
        """Return where each of some chunks begins, and how long it is; without those not there."""
        size = 16 * math.prod(self.counts) + self.checksum
        index = file.read(file.size - size if self.at_end else 0, size)
        if self.checksum:
            index = _crc32c(index, size - 4)
        found = {}
        for place in places:
            inner = [at % count for at, count in zip(place, self.counts, strict=True)]
            number = int(np.ravel_multi_index(inner, self.counts))
            start, count = struct.unpack_from("<QQ", index, 16 * number)
            if not start == count == _NOT_THERE:
                found[place] = start, count
        return found


@dataclass(frozen=True)
class _Description:
    """What is told of an array."""

    shape: Shape
    coding: _Coding
    fill: Any
    name: Callable[[Shape], str]
    shards: _Shards | None = None


class _Chunks(Chunked):
    """The chunks of an array."""

    def __init__(self, files: Files, path: str, told: _Description) -> None:
        super().__init__(told.shape, told.coding.dtype, told.coding.chunk, told.fill)
        self._files, self._told = files, told
        self._start = f"{path}/" if path else ""

    def fetch(self, places: Sequence[Shape]) -> list[Any]:
        in_file: dict[str, list[Shape]] = {}
        for place in places:
            in_file.setdefault(self._file_of(place), []).append(place)
        claim = self._files.expect(in_file)
        found: dict[Shape, bytes] = {}
        try:
            for name, those in in_file.items():
                found |= self._read(name, those)
        finally:
            del claim
        return [found.get(place) for place in places]

    def _read(self, name: str, places: Sequence[Shape]) -> dict[Shape, bytes]:
        """Return those chunks that are there, of some that are in one file."""
        file = self._files.open(name)
        if file is None:
            return {}
        shards = self._told.shards
        with file:
            lies = shards.find(file, places) if shards else dict.fromkeys(places, (0, file.size))
            for _, count in lies.values():
                self.refuse_large(count)
            return dict(zip(lies, file.read_many(list(lies.values())), strict=True))

    def _file_of(self, place: Shape) -> str:
        """Return the name of the file that the chunk at a place is in."""
        shards = self._told.shards
        if shards is not None:
            place = tuple(at // count for at, count in zip(place, shards.counts, strict=True))
        return self._start + self._told.name(place)

    def unpack(self, fetched: bytes) -> NDArray:
        return self._told.coding.decode(fetched)


# Version 2 -----------------------------------------------------------------------------------------


def _version_2(told: Mapping[str, Any]) -> _Description:
    shape, chunk = _sizes(told["shape"]), _sizes(told["chunks"])
    if not re.fullmatch(r"[<>|][biuf]\d{1,2}", told["dtype"]):
        raise BadValue(f"holds {told['dtype']}, not numbers", "Save it as an array of numbers.")
    dtype = _dtype(told["dtype"])
    order = range(len(chunk)) if told.get("order", "C") == "C" else range(len(chunk))[::-1]
    # Filters stand before the compressor, and could be anything, pickles too.
    packers = [*(told.get("filters") or ()), told.get("compressor")]
    unpackers = [_unpacker(each["id"], each) for each in packers if each is not None]
    separator = "/" if told.get("dimension_separator") == "/" else "."
    return _Description(
        shape,
        _Coding(chunk, dtype, tuple(order), _one_packing(unpackers)),
        _fill(told.get("fill_value"), dtype),
        partial(_name, "", separator),
    )


# Version 3 -----------------------------------------------------------------------------------------


def _version_3(told: Mapping[str, Any]) -> _Description:
    if told.get("node_type") != "array":
        raise BadValue(
            "is a group, and no array of it is named",
            "Write the store's name as 'store.zarr::path', or pass member='path'.",
        )
    shape, kind = _sizes(told["shape"]), told["data_type"]
    if kind not in _DTYPES:
        raise BadValue(f"holds {kind}, not numbers", "Save it as an array of numbers.")
    grid, keys = told["chunk_grid"], told["chunk_key_encoding"]
    if grid["name"] != "regular" or told.get("storage_transformers"):
        raise BadValue(f"has a chunk grid {grid['name']!r}, which is not read", _AGAIN)
    chunk = _sizes(grid["configuration"]["chunk_shape"])
    is_default = keys["name"] == "default"
    separator = keys.get("configuration", {}).get("separator", "/" if is_default else ".")
    if separator not in ("/", ".") or keys["name"] not in ("default", "v2"):
        raise BadValue(f"names chunks by {keys['name']!r}, which is not read", _AGAIN)
    dtype = _dtype(kind)
    name = partial(_name, "c" if is_default else "", separator)
    fill, codecs = _fill(told["fill_value"], dtype), told["codecs"]
    if [each["name"] for each in codecs] != ["sharding_indexed"]:
        return _Description(shape, _coding(codecs, chunk, dtype), fill, name)
    sharding = codecs[0]["configuration"]
    inner = _sizes(sharding["chunk_shape"])
    return _Description(
        shape, _coding(sharding["codecs"], inner, dtype), fill, name, _shards(sharding, chunk, inner)
    )


def _shards(told: Mapping[str, Any], outer: Shape, inner: Shape) -> _Shards:
    counts = tuple(large // small for large, small in zip(outer, inner, strict=True))
    codecs = [each["name"] for each in told["index_codecs"]]
    endian = told["index_codecs"][0].get("configuration", {}).get("endian")
    if codecs not in (["bytes"], ["bytes", "crc32c"]) or endian != "little":
        raise BadValue(f"has shards with an index of {codecs}, which is not read", _AGAIN)
    if any(large % small for large, small in zip(outer, inner, strict=True)):
        raise ValueError(f"shards of {outer} do not consist of chunks of {inner}")
    if 16 * math.prod(counts) > _MOST_INDEX_BYTES:
        raise BadValue(
            f"has shards of {math.prod(counts):,} chunks, where at most {_MOST_INDEX_BYTES // 16:,} are "
            "read",
            _AGAIN,
        )
    at_end = told.get("index_location", "end") == "end"
    return _Shards(counts, at_end, 4 * (len(codecs) - 1))


def _coding(codecs: Sequence[Mapping[str, Any]], chunk: Shape, dtype: np.dtype[Any]) -> _Coding:
    coding = _Coding(chunk, dtype, tuple(range(len(chunk))))
    names = [each["name"] for each in codecs]
    unpackers = []
    for codec in codecs:
        name, options = codec["name"], codec.get("configuration", {})
        if name == "transpose" and "bytes" in names[names.index(name) :]:
            order = _sizes(options["order"])
            if sorted(order) != [*range(len(chunk))]:
                raise ValueError(f"axes cannot stand in the order {order}")
            coding = replace(coding, order=tuple(coding.order[axis] for axis in order))
        elif name == "bytes":
            is_big = {"little": False, "big": True}[options.get("endian", "little")]
            coding = replace(coding, dtype=dtype.newbyteorder(">" if is_big else "<"))
        else:
            unpackers.append(_unpacker(name, options))
    if names.count("bytes") != 1:
        raise BadValue(f"is stored by the codecs {names}, which are not read", _AGAIN)
    return replace(coding, unpackers=_one_packing(unpackers))


# Both ----------------------------------------------------------------------------------------------


def _name(start: str, separator: str, place: Shape) -> str:
    """Return the name of a chunk; nothing that a description says but these stands in it."""
    return separator.join([*([start] if start else ()), *map(str, place)]) or "0"


def _sizes(values: Any) -> Shape:
    if not isinstance(values, list) or not all(type(each) is int and each >= 0 for each in values):
        raise ValueError(f"{values!r} are no sizes")
    return tuple(values)


def _dtype(name: str) -> np.dtype[Any]:
    found = np.dtype(name)
    # A byte that is neither 0 nor 1 is no boolean that NumPy could hold.
    return np.dtype(np.uint8) if found.kind == "b" else found


def _fill(value: Any, dtype: np.dtype[Any]) -> Any:
    """Return the number that stands where no chunk is."""
    if isinstance(value, str) and value.startswith("0x"):
        bits = int(value, 16).to_bytes(dtype.itemsize, "little")
        return np.frombuffer(bits, dtype.newbyteorder("<"))[0]
    filled = np.zeros((), dtype)
    if value is not None:
        # "NaN" and "Infinity" are texts in JSON.
        filled[()] = float(value) if isinstance(value, str) else value
    return filled[()]


def _one_packing(unpackers: list[tuple[_Unpack, int]]) -> tuple[tuple[_Unpack, int], ...]:
    """Return what unpacks, if it is told in advance to how much."""
    if sum(more < 0 for _, more in unpackers) > 1:
        raise BadValue("is packed more than once, which is not read", _AGAIN)
    return tuple((unpack, max(0, more)) for unpack, more in unpackers)


def _unpacker(name: Any, options: Mapping[str, Any]) -> tuple[_Unpack, int]:
    """Return what undoes a codec, and how many bytes that adds to what it is given: -1 if it packs."""
    unpack = _UNPACKERS.get(name) if isinstance(name, str) else None
    if unpack is not None:
        return unpack, -1
    if name == "crc32c":
        return _crc32c, 4
    if name == "shuffle":
        width = options["elementsize"]
        if type(width) is not int or not 1 <= width <= 16:
            raise ValueError(f"numbers of {width!r} bytes")
        return lambda data, size: unshuffle(data, width), 0
    raise BadValue(f"is stored by a codec {name!r}, which is not read", _AGAIN)


def _zstd(data: bytes, size: int) -> bytes:
    try:
        # It is an error if it unpacks to more, or to less.
        unpacked: bytes = pa.decompress(data, decompressed_size=size, codec="zstd", asbytes=True)
    except (OSError, pa.ArrowException) as error:
        raise BadValue(f"is damaged ({first_line(error)})", REPLACE) from error
    return unpacked


def _lz4(data: bytes, size: int) -> bytes:
    # Not by Arrow, which returns memory as it was before where this unpacks to less than it claims.
    lz4 = package("numcodecs.lz4", extra="zarr", of=OF)
    _refuse_other(size, int.from_bytes(data[:4], "little"))
    try:
        unpacked: bytes = lz4.decompress(data)
    except (RuntimeError, ValueError) as error:
        raise BadValue(f"is damaged ({first_line(error)})", REPLACE) from error
    return unpacked


def _blosc(data: bytes, size: int) -> bytes:
    blosc = package("numcodecs.blosc", extra="zarr", of=OF)
    claimed, stored = struct.unpack_from("<I4xI", data.ljust(16, b"\0"), 4)
    _refuse_other(size, claimed)
    _refuse_other(stored, len(data))
    out = np.empty(size, np.uint8)
    try:
        blosc.decompress(data, out)
    except (RuntimeError, ValueError) as error:
        raise BadValue(f"is damaged ({first_line(error)})", REPLACE) from error
    return out.tobytes()


def _refuse_other(due: int, claimed: int) -> None:
    if claimed != due:
        raise BadValue(f"is damaged: a chunk claims {claimed:,} bytes, and not {due:,}", REPLACE)


def _crc32c(data: bytes, size: int) -> bytes:
    crc32c = package("google_crc32c", extra="zarr", of=OF)
    content = data[:-4]
    if len(data) < 4 or crc32c.value(content) != int.from_bytes(data[-4:], "little"):
        raise BadValue("is damaged: a chunk does not have its checksum", REPLACE)
    return content


_UNPACKERS: dict[str, _Unpack] = {
    "blosc": _blosc,
    "gzip": partial(inflate, gzip=True),
    "lz4": _lz4,
    "zlib": inflate,
    "zstd": _zstd,
}
