"""Metadata files, one object each, as a table: a row for each file that a pattern matches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import partial
from pathlib import PurePath
from typing import Any

import pyarrow as pa

from multifeed.documents import MEND, NOTATIONS, Object, is_whole, parse
from multifeed.errors import BadValue, DeclarationError, lines, near, some
from multifeed.folder import Folder
from multifeed.listing import Pattern
from multifeed.remote.uri import is_uri
from multifeed.table import FILES, settled, with_folder

_NOTATIONS = {".json": "json", ".yaml": "yaml", ".yml": "yaml"}

# So many files are in memory at once, and so many are read at once: storage is waited for.
_AT_ONCE = 1_024
_THREADS = 16

# Of a file of so many bytes, each of them a value, parsers make some 300 MB.
MAX_BYTES = 2**20


def metadata(
    pattern: str | os.PathLike[str],
    *,
    format: str | None = None,
    columns: Sequence[str] | None = None,
    max_bytes: int = MAX_BYTES,
) -> pa.Table:
    """Read metadata files, one object each, into a row table: a row for each file.

    Each brace of the pattern becomes a column, as text; each key of the files one of its name. Keys of
    objects in objects are joined by dots (``scanner.field_strength``). What a file lacks is null. A key
    holds values of one type in all files (integers and floats make floats); lists stay lists. A key
    with the name of a brace must say the same as that. Rows stand in the order of paths. Nothing is
    evaluated.

    YAML is held to what JSON can say, with the plain words of YAML 1.2: ``no`` is text, as are dates
    and codes such as ``007``; tags and aliases are refused. ``NaN`` and ``Infinity`` are floats.

    Args:
        pattern: A path pattern, as `align` takes it, such as ``"meta/{id}.json"``.
        format: ``"json"``, ``"yaml"`` or ``"literal"`` (a dict as Python writes it); by default the
            suffix of each file tells: ``.json``, ``.yaml``, ``.yml``.
        columns: The keys to be read, by names or patterns such as ``"scanner.*"``; None for all.
        max_bytes: A file of more bytes is an error.

    Returns:
        A `pyarrow.Table`. File names in it are relative to the folder in which the pattern has its
        first brace or star, and stay under it: see ``root`` of `Dataset`.

    Raises:
        DeclarationError: If no file matches; or a file cannot be read, is no object, or does not agree
            with the others.

    Example:
        >>> import json, os, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> with open(os.path.join(folder, "s1.json"), "w") as file:
        ...     json.dump({"age": 41, "scanner": {"tesla": 1.5}}, file)
        >>> metadata(f"{folder}/{{id}}.json").to_pydict()
        {'id': ['s1'], 'age': [41], 'scanner.tesla': [1.5]}
    """
    files = Pattern(pattern)
    if format is not None and format not in NOTATIONS:
        raise DeclarationError(f"format must be one of {some([*NOTATIONS])}; received {format!r}.")
    # No brace can have this name.
    found = files.table("/")
    if files.wants_folders or not found.num_rows:
        raise DeclarationError(
            lines(
                f"the pattern of metadata matches no file: {files.text!r}.",
                "Leave out the / at its end." if files.wants_folders else files.why_empty(),
            )
        )
    braces = found.select(files.names)
    gathered = Gathered(braces, (columns,) if isinstance(columns, str) else columns)
    paths = found.column("/").to_pylist()
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(paths), _AT_ONCE):
            few = paths[start : start + _AT_ONCE]
            # Parsing holds the interpreter's lock: on threads it would take longer.
            for path, data in zip(few, pool.map(partial(_read, max_bytes), few), strict=True):
                with _named(path):
                    gathered.add(path, parse(data, format or _notation(path)))
            gathered.flush()
    folder = files.folder if is_uri(files.folder) else os.path.abspath(files.folder)
    told = with_folder(settled(gathered.table()), folder)
    schema = pa.schema([*braces.schema, *told.schema], {FILES: os.fsencode(files.text)})
    return pa.table([*braces.columns, *told.columns], schema=schema)


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Tell the user which file it is that a fact is about."""
    try:
        yield
    except BadValue as error:
        raise DeclarationError(
            lines(f"the metadata file {path!r} cannot be used: it {error.reason}.", error.remedy)
        ) from error


def _read(max_bytes: int, path: str) -> bytes:
    with _named(path):
        try:
            with Folder(None, False).open(path) as file:
                if file.size > max_bytes:
                    reason = f"has {file.size:,} bytes, where at most {max_bytes:,} are read"
                    raise BadValue(reason, MEND)
                return file.read()
        except BadValue as error:
            raise BadValue(error.reason, MEND) from error


def _notation(path: str) -> str:
    suffix = PurePath(path).suffix.lower()
    if suffix not in _NOTATIONS:
        raise BadValue(
            f"ends in {suffix!r}, which does not tell its format",
            f"Pass format=, one of {some([*NOTATIONS])}.",
        )
    return _NOTATIONS[suffix]


# What stands for an object: its values have columns of their own.
_OBJECT = pa.struct([])
_TYPES: dict[type, pa.DataType] = {
    type(None): pa.null(),
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bytes: pa.binary(),
    dict: _OBJECT,
}
_WORDS = {
    pa.bool_(): "a boolean",
    pa.int64(): "an integer",
    pa.float64(): "a float",
    pa.string(): "a text",
    pa.binary(): "bytes",
    _OBJECT: "an object",
}


class Gathered:
    """What metadata files say, key by key.

    Args:
        braces: What their names say; a row for each file.
        patterns: Names and patterns of the keys to keep; None for all.
    """

    def __init__(self, braces: pa.Table, patterns: Sequence[str] | None) -> None:
        self._braces = braces.to_pydict()
        self._patterns = patterns
        # Whether each key that there is shall be kept.
        self._wanted: dict[str, bool] = {}
        # Of each key that is kept: the type that all files so far have in common, and a file of each.
        self._types: dict[str, pa.DataType] = {}
        self._files: dict[str, dict[pa.DataType, str]] = {}
        self._rows: list[Object] = []
        self._count = 0
        self._pieces: list[tuple[int, dict[str, pa.Array]]] = []

    def add(self, path: str, found: Object) -> None:
        """Add the next file.

        Raises:
            BadValue: If a value cannot stand in a table, or contradicts the file's name.
            DeclarationError: If it contradicts another file.
        """
        row: Object = {}
        for name, value in _flat(found):
            if not self._is_wanted(name):
                continue
            if name in row:
                raise BadValue(f"has two keys that are {name!r} when joined by dots", "Rename one.")
            row[name] = value
            if name in self._braces:
                _agree(name, self._braces[name][self._count], value)
            else:
                self._settle(name, _type_of(name, value), path)
        self._rows.append(row)
        self._count += 1

    def flush(self) -> None:
        """Turn what has been added since the last time into Arrow arrays."""
        arrays = {
            name: self._exact(name, partial(pa.array, [row.get(name) for row in self._rows], kind))
            for name, kind in self._types.items()
            if kind != _OBJECT
        }
        self._pieces.append((len(self._rows), arrays))
        self._rows = []

    def table(self) -> pa.Table:
        """Return what has been flushed, a row for each file.

        Raises:
            DeclarationError: If one of the patterns has found no key.
        """
        for pattern in self._patterns or ():
            if not any(fnmatchcase(name, pattern) for name in self._wanted):
                raise DeclarationError(
                    lines(f"no metadata file has a key {pattern!r}.", near(pattern, self._wanted))
                )
        columns = {}
        for name, kind in self._types.items():
            if kind != _OBJECT:
                arrays = [each.get(name, pa.nulls(count)) for count, each in self._pieces]
                cast = [self._exact(name, partial(each.cast, kind)) for each in arrays]
                columns[name] = pa.chunked_array(cast, kind)
        return pa.table(columns)

    def _is_wanted(self, name: str) -> bool:
        if name not in self._wanted:
            patterns = self._patterns
            self._wanted[name] = patterns is None or any(fnmatchcase(name, each) for each in patterns)
        return self._wanted[name]

    def _settle(self, name: str, kind: pa.DataType, path: str) -> None:
        """Find the type that a key has in all files."""
        known = self._types.setdefault(name, kind)
        files = self._files.setdefault(name, {})
        files.setdefault(kind, path)
        if known is kind:
            return
        common = _common(known, kind)
        if common is None:
            other = next(each for each in files if _common(each, kind) is None)
            raise DeclarationError(
                lines(
                    f"metadata files must agree: {name!r} is {_words(kind)} in {path!r} and "
                    f"{_words(other)} in {files[other]!r}.",
                    "Write it alike in all files, or pass columns=[...], the keys to read, without it.",
                )
            )
        self._types[name] = common

    def _exact(self, name: str, make: Callable[[], pa.Array]) -> pa.Array:
        """Return what is made of a key's values, of which integers may have to become floats."""
        try:
            return make()
        except pa.ArrowInvalid as error:
            raise DeclarationError(
                lines(
                    f"metadata files have integers and floats for {name!r}, and no float holds one of "
                    f"the integers: {str(error).rstrip('.')}.",
                    "Write them as text if they are codes, or pass columns=[...] without it.",
                )
            ) from error


def _flat(found: Object, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all keys, joined by dots, and their values; an object before its own keys."""
    for key, value in found.items():
        yield prefix + key, value
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")


def _agree(name: str, brace: str, value: Any) -> None:
    """Raise if a file says something else than its name; it need not say anything."""
    if value is not None and (not isinstance(value, str | int) or str(value) != brace):
        raise BadValue(
            f"says that {name!r} is {value!r}, and its name that it is {brace!r}",
            "Correct it, or give the brace another name than the key.",
        )


def _type_of(name: str, value: Any) -> pa.DataType:
    """Return the Arrow type of a key's value."""
    kind = _TYPES.get(type(value))
    if isinstance(value, list | tuple):
        return pa.list_(_item_type(name, value))
    if kind is None:
        raise BadValue(
            f"has a value of type {type(value).__name__} at {name!r}",
            "Write text, numbers, booleans, or lists of these.",
        )
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise BadValue(f"has an integer of more than 64 bits at {name!r}", "Write it as text.")
    if isinstance(value, str) and not is_whole(value):
        raise BadValue(f"has a text with half a character at {name!r}", MEND)
    return kind


def _item_type(name: str, values: Sequence[Any]) -> pa.DataType:
    """Return the Arrow type that the items of a list have in common."""
    common = pa.null()
    for value in values:
        kind = _type_of(name, value)
        if kind is _OBJECT:
            raise BadValue(
                f"has a list of objects at {name!r}",
                "Pass columns=[...], the keys to read, without it; several objects a sample are a table "
                "of their own.",
            )
        if kind is common:
            continue
        known, common = common, _common(common, kind)
        if common is None:
            raise BadValue(
                f"has a list of several types at {name!r}: {_words(known)}, then {_words(kind)}",
                "Write it with one, or pass columns=[...], the keys to read, without it.",
            )
    return common


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return the type that holds values of two; None if there is none."""
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if {one, other} == {pa.int64(), pa.float64()}:
        return pa.float64()
    if pa.types.is_list(one) and pa.types.is_list(other):
        item = _common(one.value_type, other.value_type)
        return None if item is None else pa.list_(item)
    return None


def _words(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return "an empty list" if pa.types.is_null(kind.value_type) else f"a list ({kind.value_type})"
    return _WORDS[kind]
