"""Shards of samples in tar archives, in the layout of WebDataset: listed, and read in place."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Any, NamedTuple, cast

import pyarrow as pa
import pyarrow.compute as pc

from multifeed.documents import parse
from multifeed.errors import BadValue
from multifeed.files import REPLACE, File
from multifeed.index import Index, part_of_shard, place
from multifeed.metadata import Gathered

# Of what becomes a value, not a name.
MAX_VALUE_BYTES = 2**20

_PACKED = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ\0": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
}


class Member(NamedTuple):
    """A file in an archive: its name, its first byte, and how many they are."""

    name: str
    start: int
    size: int


# A column: its field, and its values.
Named = tuple[pa.Field, pa.Array]

# A header that says more about its member than this is none that somebody wrote.
_MOST_AT_ONCE = 2**20


def tar(
    shards: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    values: Collection[str] = ("cls", "json", "txt"),
    index: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> pa.Table:
    """List the samples of tar archives in a row table; their members are read in place.

    The layout is that of WebDataset: the members of a sample have one name up to the first dot after
    the last slash, which is the sample's key, and each its own ending: ``000017.jpg``,
    ``000017.seg.png`` and ``000017.cls``. Nothing is extracted: each cell of the column ``jpg`` names a
    part of an archive, which fields read like any file, in any order. Each archive is looked through
    once.

    Args:
        shards: The archives: a name or several. In names, ``{000..099}`` stands for each of the numbers,
            ``*`` for any text. Compressed archives are refused: no part of one can be read by itself.
        values: Endings of which the content becomes the value of the column, not its place: ``cls`` and
            others as integers if all are, else as text, which is UTF-8; of ``json`` each key, as
            `metadata` does it, with the ending before it: ``json.caption``.
        index: The folder where what was found is kept; by default one of the user's caches.
        progress: Show on stderr how far it is, if that is a terminal.

    Returns:
        A `pyarrow.Table` with the columns ``shard`` and ``key``, and one for each ending in lower case,
        null where a sample lacks it. Members without an ending, and such as begin with a dot, are left
        out. Keys are unique in a shard; if they are not over all, name samples by ``("shard", "key")``.

    Raises:
        DeclarationError: If an archive cannot be read, is compressed, holds links, or has two members
            of one name.

    Example:
        >>> import io, os, tarfile, tempfile
        >>> name = os.path.join(tempfile.mkdtemp(), "shard-0.tar")
        >>> with tarfile.open(name, "w") as archive:
        ...     for ending, content in {"cls": b"7", "npy": b"..."}.items():
        ...         member = tarfile.TarInfo(f"s1.{ending}")
        ...         member.size = len(content)
        ...         archive.addfile(member, io.BytesIO(content))
        >>> table = tar(name, index=os.path.dirname(name))
        >>> table["key"].to_pylist(), table["cls"].to_pylist()
        (['s1'], [7])
        >>> table["npy"][0].as_py().removeprefix(name).partition("~")[0]
        '::s1.npy@1536+3'
    """
    given = [values] if isinstance(values, str) else values
    wanted = sorted({ending.lower().removeprefix(".") for ending in given})
    found = Index("tar archive", partial(_samples, wanted), wanted, index).table(shards, progress)
    for number, name in enumerate(found.column_names):
        if name in wanted:
            found = found.set_column(number, name, _as_integers(found.column(name)))
    return found


def _as_integers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return texts as integers, if all of them are."""
    are_integers = pc.match_substring_regex(column, r"^-?(0|[1-9][0-9]{0,17})$")
    return column.cast(pa.int64()) if pc.all(are_integers).as_py() else column


def _samples(values: Collection[str], file: File) -> pa.Table:
    """Return the samples of an archive: their keys, and for each ending where the member is, or what."""
    rows: dict[str, int] = {}
    members: dict[str, dict[int, Member]] = {}
    for member in _members(file):
        key, ending = _split(member.name)
        if not ending:
            continue
        if ending in ("key", "shard"):
            raise BadValue(
                f"has a member {member.name!r}, whose ending is the name of another column",
                "Rename it.",
            )
        row = rows.setdefault(key, len(rows))
        column = members.setdefault(ending, {})
        if row in column:
            raise BadValue(f"has two members {member.name!r}", "Give each sample a name of its own.")
        column[row] = member
    columns = [(pa.field("key", pa.string()), pa.array(rows, pa.string()))]
    for ending, found in members.items():
        each = [found.get(row) for row in range(len(rows))]
        if ending not in values:
            columns.append(_places(ending, each, file.stamp))
        elif ending == "json":
            columns += _objects(each, file)
        else:
            texts = [None if member is None else _text(file, member) for member in each]
            columns.append((pa.field(ending, pa.string()), pa.array(texts, pa.string())))
    names = [field.name for field, _ in columns]
    for ending in members:
        # That of a key in JSON, such as `json.caption`.
        if names.count(ending) > 1:
            raise BadValue(
                f"has members that end in {ending!r}, which is a key of members in JSON as well",
                "Pass values= without 'json', or rename one of them.",
            )
    fields, arrays = zip(*columns, strict=True)
    return pa.Table.from_arrays(list(arrays), schema=pa.schema(fields))


def _places(ending: str, members: Sequence[Member | None], stamp: str) -> Named:
    """Return the column that says where members lie."""
    cells = [
        None if member is None else place(member.name, member.start, member.size, stamp)
        for member in members
    ]
    array = pa.array(cells, pa.string())
    return part_of_shard(array, ending), array


def _objects(members: Sequence[Member | None], file: File) -> list[Named]:
    """Return the columns of the keys that members in JSON have."""
    gathered = Gathered(pa.table({}), None)
    for member in members:
        name = "" if member is None else member.name
        try:
            gathered.add(name, {} if member is None else parse(_content(file, member), "json"))
        except BadValue as error:
            raise BadValue(f"has a member {name!r} that {error.reason}", error.remedy) from error
    gathered.flush()
    found = gathered.table()
    return [
        (pa.field(f"json.{field.name}", field.type), column.combine_chunks())
        for field, column in zip(found.schema, found.columns, strict=True)
    ]


def _members(file: File) -> Iterator[Member]:
    """Yield the members of an archive that are files, in their order."""
    _refuse_packed(file)
    end = -1
    try:
        archive: Any = tarfile.TarFile(fileobj=cast(Any, _Careful(file)))
        while (member := archive.next()) is not None:
            # It remembers all that it has seen.
            archive.members.clear()
            if member.size < 0 or member.offset_data <= end:
                raise BadValue("is damaged: its members do not follow each other", REPLACE)
            end = member.offset_data
            if member.isdir():
                continue
            if not member.isreg() or member.issparse():
                raise BadValue(
                    f"has a member {member.name!r} that is no plain file",
                    "Pack it again with the files themselves: tar --dereference --hard-dereference.",
                )
            if not member.name.isprintable():
                # What is no UTF-8 comes as half characters.
                raise BadValue(f"has a member {member.name!r}, whose name is no text", "Rename it.")
            if end + member.size > file.size:
                raise BadValue(f"ends within its member {member.name!r}", REPLACE)
            yield Member(member.name, end, member.size)
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise BadValue(f"is no readable tar archive ({error})", REPLACE) from error
    if end < 0:
        raise BadValue("holds no member", REPLACE)
    _refuse_cut(file, archive.offset)


def _refuse_cut(file: File, end: int) -> None:
    """Raise unless an archive ends where its last member does: `tarfile` is content with less.

    At the end stand at least 1,024 zero bytes, filled up to a multiple of 10,240, says POSIX (pax,
    "ustar Interchange Format").
    """
    rest = file.read(end, min(file.size - end, _MOST_AT_ONCE))
    if len(rest) < tarfile.BLOCKSIZE:
        raise BadValue("was cut short, or never closed: the mark of its end is missing", REPLACE)
    if end + len(rest) < file.size or rest.strip(b"\0"):
        raise BadValue(
            f"is damaged at byte {end:,}, or goes on there with another archive",
            "Replace it, or write one file for each archive.",
        )


class _Careful:
    """A file for `tarfile`, which reads as much at once as a header says."""

    def __init__(self, file: File) -> None:
        self._stream = file.stream()
        self.seek, self.tell = self._stream.seek, self._stream.tell

    def read(self, count: int = -1) -> bytes:
        if not 0 <= count <= _MOST_AT_ONCE:
            raise BadValue("is damaged: a header claims to go on for megabytes", REPLACE)
        return self._stream.read(count)


def _refuse_packed(file: File) -> None:
    start = file.read(0, min(6, file.size))
    for magic, (packing, command) in _PACKED.items():
        if start.startswith(magic):
            raise BadValue(
                f"is compressed ({packing}), and no part of it can be read by itself",
                f"Unpack it once ({command}); images are compressed already.",
            )


def _split(name: str) -> tuple[str, str]:
    """Return the key of a member's sample, and the member's ending."""
    path = PurePosixPath(name)
    stem, _, ending = path.name.partition(".")
    folder = "" if str(path.parent) == "." else f"{path.parent}/"
    return (folder + stem, ending.lower()) if stem else ("", "")


def _content(file: File, member: Member) -> bytes:
    """Return the content of a member that is a value."""
    if member.size > MAX_VALUE_BYTES:
        raise BadValue(
            f"has a member {member.name!r} of {member.size:,} bytes, where a value has at most "
            f"{MAX_VALUE_BYTES:,}",
            _NO_VALUE,
        )
    return file.read(member.start, member.size)


def _text(file: File, member: Member) -> str:
    """Return the text that a member holds."""
    try:
        return _content(file, member).decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise BadValue(
            f"has a member {member.name!r} that is no text in UTF-8 (byte {error.start})", _NO_VALUE
        ) from error


_NO_VALUE = "Leave its ending out of values=: fields then read it as a file."
