"""What occurs twice: in one dataset, or on both sides of a split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from multifeed.dataset import Dataset
from multifeed.errors import DeclarationError, lines
from multifeed.fields.base import Remark
from multifeed.fields.rows import NDArray

# Of many samples that are the same, so many are named.
_NAMED = 3

# The datasets that one is compared with, and how each is called.
Others = Sequence[tuple[Dataset, str]]


def other_sides(data: Dataset, against: Dataset | Sequence[Dataset] | None) -> Others:
    """Return what a dataset is compared with.

    Those are the other parts of its split that are still in use and share no row with it, and `against`.
    """
    given = [] if against is None else [against] if isinstance(against, Dataset) else list(against)
    for other in given:
        if not isinstance(other, Dataset):
            raise DeclarationError(f"against= takes one or more datasets; received {other!r}.")
    parts = data.family.parts()
    several = len(given) > 1
    return [
        *((part, title) for part, title in parts if title.startswith("part") and not _share(data, part)),
        *(
            (other, f"number {number} of against=" if several else "against=")
            for number, other in enumerate(given, 1)
        ),
    ]


def _share(one: Dataset, other: Dataset) -> bool:
    """Tell whether two datasets have a row of one table in common."""
    return any(
        mine.columns is theirs.columns
        and (mine.index is None or theirs.index is None or bool(np.isin(mine.index, theirs.index).any()))
        for mine, _ in one.source.pieces()
        for theirs, _ in other.source.pieces()
    )


def same_groups(data: Dataset, by: str, others: Others) -> Iterator[Remark]:
    """Yield the rows whose group another side has as well."""
    if not others:
        raise DeclarationError(
            lines(
                f"by={by!r} looks for groups that two datasets share; this one is part of no split.",
                "Pass against=<the other dataset>, and keep the other parts of a split in a variable.",
            )
        )
    groups = _column(data, by)
    for other, title in others:
        found = _also_in(groups, _column(other, by))
        values = decoded(groups.take(pa.array(found)))
        yield Remark("on both sides", found, [f"{by} {value!r} is also in {title}" for value in values])


def same_keys(data: Dataset, others: Others) -> Iterator[Remark]:
    """Yield the rows whose key is that of another row, here or on another side."""
    if not data.key:
        return
    keys = _keys(data)
    yield _twins("duplicate key", keys, "the key is also that of", _numbered)
    for other, title in others:
        if other.key:
            found = _also_in(keys, _keys(other))
            yield Remark("on both sides", found, f"the key is also in {title}")


def same_bytes(data: Dataset, digests: pa.Array) -> Remark:
    """Return the rows whose file has the same bytes as that of another row."""
    return _twins("duplicate file", digests, "has the bytes of", partial(_names, data))


def same_bytes_in(data: Dataset, digests: pa.Array, title: str, theirs: pa.Array) -> Remark:
    """Return the rows whose file another side, `data`, has as well, in the same or another row."""
    first = pc.index_in(digests, theirs, skip_nulls=True)
    names = _names(data, first.drop_null().to_numpy())
    details = [f"has the bytes of {name} in {title}" for name in names]
    return Remark("on both sides", np.flatnonzero(first.is_valid()), details)


def keys_of(data: Dataset, rows: NDArray) -> list[str]:
    """Return the keys of rows, ``int64[n]``, of a dataset that has keys, whatever they hold."""
    parts = [decoded(data.source.pick(name, rows).cast(pa.string())) for name in data.key]
    return ["/".join(map(str, key)) for key in zip(*parts, strict=True)]


def decoded(texts: pa.Array) -> list[str | None]:
    """Return Arrow's texts as Python's own; bytes that are not UTF-8 are escaped."""
    return [
        None if each is None else each.decode("utf-8", "backslashreplace")
        for each in texts.cast(pa.binary()).to_pylist()
    ]


def _twins(kind: str, values: pa.Array, says: str, name: Callable[[NDArray], list[str]]) -> Remark:
    """Return the rows of each value that two or more rows have; null is no value.

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
    names = name(rows)
    starts = [*np.flatnonzero(np.diff(codes[rows], prepend=-1)).tolist(), len(rows)]
    details = [
        f"{says} {_all_but(place, names, start, stop)}"
        for start, stop in pairwise(starts)
        for place in range(start, stop)
    ]
    return Remark(kind, rows, details)


def _all_but(place: int, names: list[str], start: int, stop: int) -> str:
    """Name the members of a group, ``names[start:stop]``, but one; of many, the first few."""
    few = [names[other] for other in range(start, min(start + _NAMED + 1, stop)) if other != place]
    hidden = stop - start - 1 - len(few[:_NAMED])
    return ", ".join(few[:_NAMED]) + (f" and {hidden:,} more" if hidden else "")


def _also_in(values: pa.Array, others: pa.Array) -> NDArray:
    """Return the rows whose value is among others; null is no value."""
    found: NDArray = np.flatnonzero(pc.is_in(values, others.drop_null()))
    return found


def _numbered(rows: NDArray) -> list[str]:
    return [f"row {row}" for row in rows]


def _names(data: Dataset, rows: NDArray) -> list[str]:
    """Return what rows are called: by key, or by number."""
    return [repr(key) for key in keys_of(data, rows)] if data.key else _numbered(rows)


def _keys(data: Dataset) -> pa.Array:
    """Return the keys as text."""
    return pc.binary_join_element_wise(*(_column(data, name) for name in data.key), "/")


def _column(data: Dataset, name: str) -> pa.Array:
    """Return a column as text, in which two datasets can be compared."""
    column = data.source.columns[name]
    is_single = not isinstance(column, np.ndarray) or column.ndim == 1
    with suppress(pa.ArrowException):
        if is_single:
            return data.source.arrow(name).cast(pa.string())
    kind = f"holds {column.type}" if is_single else f"has shape {column.shape[1:]} a sample"
    raise DeclarationError(f"groups are compared by a column with one value a sample; {name!r} {kind}.")
