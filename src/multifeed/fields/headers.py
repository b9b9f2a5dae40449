"""What the headers of many files say alike, where a declaration leaves it to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from multifeed.errors import BadValue, DeclarationError, lines, one_line
from multifeed.fields.rows import Source
from multifeed.folder import Folder

T = TypeVar("T")

# Files that are asked at once. Each waits for a disk or a network, and has little to be worked out.
_THREADS = 16


def agreed(source: Source, column: str, read: Callable[[Folder, str], T], remedy: str) -> T:
    """Return what the headers of all files in a column say.

    Files that cannot be used are passed over: they are told of when they are read.

    Args:
        source: The rows.
        column: The column of file names.
        read: Returns what the header of a file says: a function of the folder and the name.
        remedy: What to declare instead, as a sentence.

    Raises:
        DeclarationError: If two files disagree, or none can be used.
    """
    folder = source.folder(column)
    names = [name for name in dict.fromkeys(source.arrow(column).to_pylist()) if name is not None]
    first: tuple[str, T] | None = None
    refused = "all are null"
    for name, found in _headers(folder, names, read):
        if isinstance(found, BadValue):
            refused = f"{one_line(name)!r} {found.reason}"
            continue
        if first is None:
            first = name, found
        elif found != first[1]:
            raise DeclarationError(
                lines(
                    f"the files in {column!r} differ, so none of them says what a sample is: "
                    f"{one_line(first[0])!r} has {first[1]}, {one_line(name)!r} has {found}.",
                    remedy,
                )
            )
    if first is None:
        raise DeclarationError(lines(f"no file in {column!r} says what a sample is: {refused}.", remedy))
    return first[1]


def _headers(
    folder: Folder, names: list[str], read: Callable[[Folder, str], T]
) -> Iterator[tuple[str, T | BadValue]]:
    """Yield each name and what its header says, or why that cannot be told."""

    def attempt(name: str) -> T | BadValue:
        try:
            return read(folder, name)
        except BadValue as error:
            return error

    with ThreadPoolExecutor(min(_THREADS, max(1, len(names)))) as pool:
        yield from zip(names, pool.map(attempt, names), strict=True)
