"""What occurs twice: in one dataset, or on both sides of a split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from multifeed.dataset import Dataset
from multifeed.errors import DeclarationError, lines, near
from multifeed.fields.base import Remark
from multifeed.fields.rows import NDArray
from multifeed.health.columns import pieces

# Of many samples that are the same, so many are named.
_NAMED = 3

Others = Sequence[tuple[Dataset, str]]


def other_sides(data: Dataset, against: Dataset | Sequence[Dataset] | None) -> list[tuple[Dataset, str]]:
    """Return what a dataset is compared with, and how that is called.

    Those are the other parts of its split that are still in use and share no row with it, and `against`.
    """
    mine = _places(data)
    found = [
        (part, title)
        for part, title in data.family.parts()
        if part is not data and title.startswith("part") and not _overlap(mine, _places(part))
    ]
    given = [] if against is None else [against] if isinstance(against, Dataset) else list(against)
    for number, other in enumerate(given, 1):
        if not isinstance(other, Dataset):
            raise DeclarationError(f"against= takes one or more datasets; received {other!r}.")
        name = "against=" if len(given) == 1 else f"number {number} of against="
        found.append((other, name))
    return found


def _places(data: Dataset) -> dict[int, NDArray]:
    """Return which rows of which tables a dataset is made of."""
    found: dict[int, list[NDArray]] = {}
    for source, places in pieces(data.source):
        index = np.arange(len(places)) if source.index is None else source.index
        found.setdefault(id(source.columns), []).append(index)
    return {table: np.concatenate(indices) for table, indices in found.items()}


def _overlap(one: dict[int, NDArray], other: dict[int, NDArray]) -> bool:
    return any(np.isin(one[table], other[table]).any() for table in one.keys() & other.keys())


def same_groups(data: Dataset, by: str | None, others: Others) -> Iterator[Remark]:
    """Yield the rows whose group another side has as well."""
    if by is None:
        return
    if not others:
        raise DeclarationError(
            lines(
                f"by={by!r} looks for groups that two datasets share; this one is part of no split.",
                "Pass against=<the other dataset>, and keep the other parts of a split in a variable.",
            )
        )
    groups = _texts(data, by)
    for other, title in others:
        found = np.flatnonzero(pc.is_in(groups, _texts(other, by).unique().drop_null()))
        if len(found):
            values = groups.take(pa.array(found)).to_pylist()
            details = [f"{by} {value!r} is also in {title}" for value in values]
            yield Remark("on both sides", found, details)


def same_keys(data: Dataset, others: Others) -> Iterator[Remark]:
    """Yield the rows whose key is null, or that of another row, here or on another side."""
    keys = _keys(data)
    if keys is None:
        return
    is_null = np.flatnonzero(keys.is_null())
    if len(is_null):
        yield Remark("null", is_null, "the key is null")
    yield from _twins(
        "duplicate key", keys, "the key is also that of", lambda rows: [f"row {row}" for row in rows]
    )
    for other, title in others:
        theirs = _keys(other)
        found = None if theirs is None else np.flatnonzero(pc.is_in(keys, theirs.drop_null()))
        if found is not None and len(found):
            yield Remark("on both sides", found, f"the key is also in {title}")


def same_bytes(data: Dataset, digests: pa.Array) -> Iterator[Remark]:
    """Yield the rows whose file has the same bytes as that of another row."""
    yield from _twins("duplicate file", digests, "has the bytes of", partial(_names, data))


def same_bytes_in(data: Dataset, digests: pa.Array, title: str, theirs: pa.Array) -> Iterator[Remark]:
    """Yield the rows whose file another side, `data`, has as well, in the same or another row."""
    first = pc.index_in(digests, theirs, skip_nulls=True)
    found = np.flatnonzero(first.is_valid())
    if len(found):
        names = _names(data, first.drop_null().to_numpy())
        yield Remark("on both sides", found, [f"has the bytes of {name} in {title}" for name in names])


def _twins(
    kind: str, values: pa.Array, says: str, name: Callable[[NDArray], list[str]]
) -> Iterator[Remark]:
    """Yield the rows of each value that two or more rows have; null is no value.

    Args:
        kind: What that is.
        values: The values, one a row.
        says: What is said of a row, before the names of the others.
        name: Function of rows that returns what they are called.
    """
    codes = values.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False)
    repeats = np.bincount(codes[codes >= 0], minlength=1) > 1
    # The rows of each such value, one value after the other, in the order in which these appear.
    rows = np.flatnonzero((codes >= 0) & repeats[codes])
    rows = rows[np.argsort(codes[rows], kind="stable")]
    if not len(rows):
        return
    names = name(rows)
    starts = [*np.flatnonzero(np.diff(codes[rows], prepend=-1)).tolist(), len(rows)]
    details = [
        f"{says} {_all_but(place, names, start, stop)}"
        for start, stop in pairwise(starts)
        for place in range(start, stop)
    ]
    yield Remark(kind, rows, details)


def _all_but(place: int, names: list[str], start: int, stop: int) -> str:
    """Name the members of a group, ``names[start:stop]``, but one; of many, the first few."""
    named = [names[other] for other in range(start, min(start + _NAMED + 1, stop)) if other != place]
    named = named[:_NAMED]
    hidden = stop - start - 1 - len(named)
    return ", ".join(named) + (f" and {hidden:,} more" if hidden else "")


def _numbers(rows: NDArray) -> list[str]:
    return [f"row {row}" for row in rows]


def _names(data: Dataset, rows: NDArray) -> list[str]:
    """Return what rows are called: by key, or by number."""
    return [repr(key) if isinstance(key, str) else f"row {key}" for key in data.keys(rows)]


def _keys(data: Dataset) -> pa.Array | None:
    """Return the keys as text, null where a column of them is; None if there is no key."""
    if not data.key:
        return None
    parts = [_texts(data, name) for name in data.key]
    return parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*parts, "/")


def _texts(data: Dataset, name: str) -> pa.Array:
    """Return a column as text, in which two datasets can be compared."""
    columns = data.source.columns
    if name not in columns:
        raise DeclarationError(
            lines(f"the row table has no column {name!r}.", near(name, columns.names))
        )
    column = columns[name]
    if isinstance(column, np.ndarray) and column.ndim != 1:
        raise DeclarationError(
            f"groups are compared by a column with one value a sample; {name!r} has shape "
            f"{column.shape[1:]} a sample."
        )
    try:
        return data.source.arrow(name).cast(pa.string())
    except pa.ArrowException as error:
        raise DeclarationError(
            f"groups are compared by a column with one value a sample; {name!r} holds {column.type}."
        ) from error
