"""What has been found in shards, kept in a folder, so that each is looked through once."""

from __future__ import annotations

import os
import re
import uuid
import warnings
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import platformdirs
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from pyarrow import ipc

from multifeed.errors import BadValue, DeclarationError, MultifeedWarning, lines
from multifeed.files import File, whole_file
from multifeed.folder import Folder, PartName
from multifeed.listing import Pattern
from multifeed.progress import bars_on_terminal
from multifeed.table import is_path

# Another number where what is kept of a shard becomes another.
_VERSION = 2

# Marks the columns that hold where parts lie in the shard, as the end of a `PartName`.
_PART = {b"multifeed.part": b""}

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")

# Finds what a shard holds; each column that is `part_of_shard` lies in it.
Find = Callable[[File], pa.Table]


class Index:
    """What kind of shards there are, and where what is found in them is kept.

    Args:
        kind: What such a shard is called.
        find: Returns what a shard holds; a row for each sample or record.
        options: All that decides what `find` returns, beside the shard.
        folder: Where that is kept; None for a folder of the user's own caches.
    """

    def __init__(
        self, kind: str, find: Find, options: Sequence[str], folder: str | os.PathLike[str] | None
    ) -> None:
        self._kind, self._find, self._options = kind, find, options
        self._folder = platformdirs.user_cache_path("multifeed") / "index"
        if folder is not None:
            self._folder = Path(folder)

    def table(self, shards: Any, progress: bool) -> pa.Table:
        """Return what shards hold one after the other, with the column ``shard``: their names.

        Args:
            shards: What `expand` takes.
            progress: Whether to show on a terminal how far it is.

        Raises:
            DeclarationError: If there are none, one cannot be used, or they do not agree.
        """
        names = expand(shards, self._kind)
        tables = []
        # Of each column, whether it names parts of shards, and where it was first.
        first: dict[str, tuple[bool, str]] = {}
        with bars_on_terminal(progress) as bars:
            for name in bars.track(names, description="indexing"):
                found = self._found_in(name)
                _refuse_mix(found, name, first)
                tables.append(_named(found, name))
        try:
            # A column that a shard does not have is null there.
            return pa.concat_tables(tables, promote_options="permissive")
        except pa.ArrowException as error:
            raise DeclarationError(
                lines(
                    f"shards hold values of one type under one name: {error}.",
                    "Write them alike, or leave that name out of values=.",
                )
            ) from error

    def _found_in(self, name: str) -> pa.Table:
        """Return what a shard holds."""
        try:
            with Folder(None, False).open(name) as file:
                return self._known(name, file)
        except BadValue as error:
            # There is no row to leave out yet.
            is_of_rows = "data.select" in error.remedy
            remedy = "Replace it, or leave it out." if is_of_rows else error.remedy
            raise DeclarationError(
                lines(f"the shard {name!r} cannot be used: it {error.reason}.", remedy)
            ) from error

    def _known(self, name: str, shard: File) -> pa.Table:
        """Return what a shard holds, as it was found before, or is now."""
        if not shard.stamp:
            return self._find(shard)
        place = name if "://" in name else os.path.abspath(name)
        told = repr((_VERSION, self._kind, list(self._options), place, shard.size, shard.stamp))
        path = self._folder / f"{xxhash.xxh3_128_hexdigest(told.encode())}.arrow"
        kept = _read(path)
        if kept is not None:
            return kept
        found = self._find(shard)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(f".{uuid.uuid4().hex}")
            with whole_file(path, temporary) as file, ipc.new_file(file, found.schema) as writer:
                writer.write_table(found)
        except OSError as error:
            warnings.warn(
                lines(
                    f"what shards hold cannot be kept in {os.fspath(self._folder)!r} "
                    f"({error.strerror}): it will be looked for anew each time.",
                    "Pass index=, a folder that can be written to.",
                ),
                MultifeedWarning,
                stacklevel=5,
            )
            return found
        # From there on it is mapped, and takes no memory.
        return _read(path) or found


def _refuse_mix(found: pa.Table, name: str, first: dict[str, tuple[bool, str]]) -> None:
    """Raise if a column names parts of a shard, and holds values in an earlier one, or the other way."""
    for field in found.schema:
        is_part, other = first.setdefault(field.name, (_is_part(field), name))
        if is_part != _is_part(field):
            of_values, of_parts = (name, other) if is_part else (other, name)
            raise DeclarationError(
                lines(
                    f"{field.name!r} holds values in the shard {of_values!r}, and names parts of the "
                    f"shard {of_parts!r}.",
                    "Rename one of them, or leave that name out of values=.",
                )
            )


def _named(found: pa.Table, name: str) -> pa.Table:
    """Return what a shard holds, with names of the parts of it."""
    columns: dict[str, Any] = {"shard": pa.repeat(pa.scalar(name), found.num_rows)}
    for field, column in zip(found.schema, found.columns, strict=True):
        columns[field.name] = (
            pc.binary_join_element_wise(name, column, "") if _is_part(field) else column
        )
    return pa.table(columns)


def _is_part(field: pa.Field) -> bool:
    return field.metadata is not None and set(_PART) <= set(field.metadata)


def _read(path: Path) -> pa.Table | None:
    """Return what is kept of a shard; None if it is not there, or damaged."""
    try:
        with pa.memory_map(os.fspath(path)) as source:
            found = ipc.open_file(source).read_all()
        found.validate(full=True)
    except (OSError, pa.ArrowException):
        return None
    return found


def part_of_shard(column: pa.Array, name: str) -> pa.Field:
    """Return the field of a column of `place` texts."""
    return pa.field(name, column.type, metadata=_PART)


def place(member: str, start: int, size: int, stamp: str) -> str:
    """Return what stands after the name of a shard in the name of a part of it."""
    return str(PartName("", member, start, size, stamp))


def expand(shards: Any, kind: str) -> list[str]:
    """Return the names of shards.

    Args:
        shards: A name or several; ``{000..099}`` stands for each of the numbers, ``*`` for any text.
        kind: What such a shard is called.

    Raises:
        DeclarationError: If there are none.
    """
    given = [shards] if is_path(shards) else list(shards)
    names: list[str] = []
    for each in map(os.fspath, given):
        for name in _numbered(each):
            names += Pattern(name).table("/").column("/").to_pylist() if "*" in name else [name]
    if not names:
        raise DeclarationError(
            lines(f"no {kind} is named by {shards!r}.", "Write e.g. 'shards/{000..099}.tar'.")
        )
    return names


def _numbered(name: str) -> list[str]:
    """Return the names that one with ranges of numbers stands for, in order."""
    pieces = _RANGE.split(name)
    ranges = []
    for first, last in zip(pieces[1::3], pieces[2::3], strict=True):
        count = int(last) - int(first)
        if not 0 <= count < 10**6:
            raise DeclarationError(f"a range goes up, by less than a million: {{{first}..{last}}}.")
        width = len(first) if first.startswith("0") or len(first) == len(last) else 0
        ranges.append([f"{number:0{width}d}" for number in range(int(first), int(last) + 1)])
    texts = pieces[::3]
    return [
        "".join(text + number for text, number in zip(texts, (*numbers, ""), strict=True))
        for numbers in product(*ranges)
    ]
