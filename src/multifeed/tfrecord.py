"""TFRecord files of `tf.train.Example`: listed, and read in place, without TensorFlow."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from multifeed.errors import BadValue
from multifeed.extras import package
from multifeed.files import REPLACE, File
from multifeed.index import Index, part_of_shard, place
from multifeed.protobuf import Feature, parse_example

# A record: its length and that one's checksum; its bytes; their checksum.
_HEAD, _FOOT = struct.Struct("<QI"), struct.Struct("<I")
# What TensorFlow adds to a checksum that stands beside what it is of.
_MASK = 0xA282EAD8

_ARROW = {"bytes": pa.string(), "float": pa.float32(), "int64": pa.int64()}


def tfrecord(
    shards: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    values: Collection[str] = (),
    index: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> pa.Table:
    """List the examples of TFRecord files in a row table; their images are read in place.

    It takes the package `google-crc32c`: ``pip install "multifeed[tfrecord]"``, and no TensorFlow. Each
    file is looked through once, and its checksums are compared. Features of numbers become columns:
    numbers where all examples have at most one, else lists. Those of bytes, such as encoded images,
    become names of parts of the file, which fields read like any file, in any order.

    Args:
        shards: The files: a name or several. In names, ``{00..99}`` stands for each of the numbers,
            ``*`` for any text. Compressed files are refused: no part of one can be read by itself.
        values: Features of bytes, by names or patterns, that are text, UTF-8, and become the value of
            the column: ``["image/format", "*/text"]``.
        index: The folder where what was found is kept; by default one of the user's caches.
        progress: Show on stderr how far it is, if that is a terminal.

    Returns:
        A `pyarrow.Table` with the columns ``shard`` and ``record`` (from 0 in each file), which together
        are a key, and one for each feature, null where an example lacks it.

    Raises:
        DeclarationError: If a file cannot be read, is compressed or damaged, or does not hold examples;
            or a feature has values of several kinds, or several values of bytes.
    """
    crc: Callable[[bytes], int] = package("google_crc32c", extra="tfrecord", of="mf.tfrecord").value
    wanted = sorted({values} if isinstance(values, str) else set(values))
    find = partial(_examples, wanted, crc)
    found = Index("TFRecord file", find, wanted, index).table(shards, progress)
    for number, name in enumerate(found.column_names):
        column = found.column(number)
        if pa.types.is_list(column.type):
            found = found.set_column(number, name, _plain(column))
    return found


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return lists as values, if none has more than one."""
    if (pc.max(pc.list_value_length(column)).as_py() or 0) > 1:
        return column
    arrays = []
    for chunk in column.chunks:
        lengths = pc.fill_null(pc.list_value_length(chunk), 0).to_numpy()
        places = np.where(lengths > 0, np.cumsum(lengths) - 1, -1)
        arrays.append(chunk.flatten().take(pa.array(places, mask=places < 0)))
    return pa.chunked_array(arrays, column.type.value_type)


class _Column:
    """The values of a feature in the records of a file."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.numbers: list[np.ndarray[Any, Any]] = []
        self.texts: list[str] = []
        self.rows: list[int] = []
        self.counts: list[int] = []

    def array(self, count: int) -> pa.Array:
        """Return a list for each of `count` records, or a text."""
        if self.kind == "part":
            found = dict(zip(self.rows, self.texts, strict=True))
            return pa.array([found.get(row) for row in range(count)], pa.string())
        counts, is_null = np.zeros(count, np.int32), np.ones(count, bool)
        counts[self.rows] = self.counts
        is_null[self.rows] = False
        values = self.texts if self.kind == "bytes" else np.concatenate(self.numbers)
        # The start of a null list says so.
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        offsets = pa.array(starts, mask=np.append(is_null, False))
        return pa.ListArray.from_arrays(offsets, pa.array(values, _ARROW[self.kind]))


def _examples(values: Collection[str], crc: Callable[[bytes], int], file: File) -> pa.Table:
    """Return what the examples of a file hold, or where it lies."""
    columns: dict[str, _Column] = {}
    count = 0
    for start, data in _records(file, crc):
        try:
            for name, feature in parse_example(data).items():
                _add(columns, name, feature, values, count, data, start, file.stamp)
        except BadValue as error:
            raise BadValue(f"has a record {count:,} that {error.reason}", error.remedy) from error
        count += 1
    fields = [pa.field("record", pa.int64())]
    arrays = [pa.array(np.arange(count))]
    # Features have no order.
    for name, column in sorted(columns.items()):
        arrays.append(column.array(count))
        is_part = column.kind == "part"
        fields.append(part_of_shard(arrays[-1], name) if is_part else pa.field(name, arrays[-1].type))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _add(
    columns: dict[str, _Column],
    name: str,
    feature: Feature,
    values: Collection[str],
    row: int,
    data: bytes,
    start: int,
    stamp: str,
) -> None:
    """Add what an example has under a name."""
    if not feature.kind:
        return
    if name in ("shard", "record"):
        raise BadValue(f"has a feature {name!r}, the name of another column", "Rename the feature.")
    is_text = any(fnmatchcase(name, pattern) for pattern in values)
    kind = "part" if feature.kind == "bytes" and not is_text else feature.kind
    column = columns.setdefault(name, _Column(kind))
    if column.kind != kind:
        raise BadValue(
            f"has {kind} values of {name!r}, which others have as {column.kind}", "Write them alike."
        )
    if kind == "part" and len(feature.spans) > 1:
        raise BadValue(
            f"has {len(feature.spans):,} values of {name!r}, and one file can be named",
            f"If they are texts, pass values=[{name!r}]; else write a feature for each.",
        )
    if kind == "part":
        texts = [place(name, start + first, stop - first, stamp) for first, stop in feature.spans]
    else:
        texts = [_text(name, data[first:stop]) for first, stop in feature.spans]
    column.texts += texts
    count = len(texts)
    if feature.kind != "bytes":
        column.numbers.append(feature.numbers())
        count = len(column.numbers[-1])
    if count or kind != "part":
        column.rows.append(row)
        column.counts.append(count)


def _text(name: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise BadValue(
            f"has no text in UTF-8 for {name!r} (byte {error.start})",
            "Leave it out of values=: fields then read it as a file.",
        ) from error


def _records(file: File, crc: Callable[[bytes], int]) -> Iterator[tuple[int, bytes]]:
    """Yield where each record begins, and its bytes."""
    at = 0
    while at < file.size:
        head = file.read(at, min(_HEAD.size, file.size - at))
        length, check = _HEAD.unpack(head) if len(head) == _HEAD.size else (0, -1)
        if check != _masked(crc(head[:8])):
            if not at and head[:2] in (b"\x1f\x8b", b"x\x9c"):
                raise BadValue(
                    "is compressed, and no part of it can be read by itself",
                    "Write it again without compression_type; images are compressed already.",
                )
            raise BadValue(f"is no TFRecord file, or damaged at byte {at:,}", REPLACE)
        start = at + _HEAD.size
        at = start + length + _FOOT.size
        if at > file.size:
            raise BadValue(f"ends within a record that begins at byte {start - _HEAD.size:,}", REPLACE)
        data = file.read(start, length)
        if _FOOT.unpack(file.read(start + length, _FOOT.size))[0] != _masked(crc(data)):
            raise BadValue(f"is damaged: the record at byte {start - _HEAD.size:,} has changed", REPLACE)
        yield start, data


def _masked(check: int) -> int:
    return ((check >> 15 | check << 17) + _MASK) & 0xFFFFFFFF
