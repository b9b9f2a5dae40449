"""What is worth a look in the columns of each kind of field."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import singledispatch
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from multifeed.errors import NotAdaptedError, some
from multifeed.fields.array import Array
from multifeed.fields.base import Field, Learned, Remark
from multifeed.fields.category import Category
from multifeed.fields.chain import Chain
from multifeed.fields.numeric import Numeric, is_number, numbers
from multifeed.fields.rows import NDArray, Rows, Source
from multifeed.fields.shared import is_raise
from multifeed.fields.text import Text
from multifeed.fields.weight import Weight
from multifeed.table import Columns

# Rows of text that are held in memory at once.
_AT_ONCE = 10_000
# More numbers than this outside of the fences, and a column has a long tail rather than outliers.
_FEW, _FEW_SHARE = 10, 0.01


def examine(field: Field, rows: Rows, learned: Learned | None) -> Iterable[Remark]:
    """Return what is to be said of a field's columns, nulls aside: what the field says itself, or else
    what is said here of fields of its kind.
    """
    if type(field).examine is not Field.examine:
        return field.examine(rows, learned)
    return _by_kind(field, rows, learned)


@singledispatch
def _by_kind(field: Field, rows: Rows, learned: Learned | None) -> Iterable[Remark]:
    return ()


@_by_kind.register
def _numeric(field: Numeric, rows: Rows, learned: Learned | None) -> Iterator[Remark]:
    for name in names_of(field, rows.columns):
        yield from _numbers(name, rows, field)


@_by_kind.register
def _weight(field: Weight, rows: Rows, learned: Learned | None) -> Iterator[Remark]:
    yield from _numbers(field.column, rows, field)


@_by_kind.register
def _array(field: Array, rows: Rows, learned: Learned | None) -> Iterator[Remark]:
    # One number a sample. Of the pixels of an image, constant ones and rare ones are normal.
    names = names_of(field, rows.columns)
    if names == [field.column] and _holds_numbers(rows.columns[names[0]]):
        yield from _unusual(names[0], numbers(rows, names[0]))


@_by_kind.register
def _category(field: Category, rows: Rows, learned: Learned | None) -> Iterator[Remark]:
    column = rows.arrow(field.column).dictionary_encode()
    labels = column.dictionary.to_pylist()
    is_null = np.asarray(column.is_null())
    codes = column.indices.fill_null(0).to_numpy(zero_copy_only=False).astype(np.intp)
    # A dictionary may hold labels that no row has, and one label twice.
    counts = class_counts(field, rows)

    def rows_of(wanted: set[Any]) -> tuple[NDArray, NDArray]:
        """Return the rows that have one of some labels, and the code of each."""
        chosen = np.array([label in wanted for label in labels], bool)
        found = np.flatnonzero(chosen[codes] & ~is_null) if len(labels) else np.empty(0, np.int64)
        return found, codes[found]

    def remark(kind: str, wanted: set[Any], says: str, *, is_bad: bool = False) -> Iterator[Remark]:
        found, their_codes = rows_of(wanted)
        if len(found):
            texts = [says.format(label=repr(label)) for label in labels]
            yield Remark(kind, found, [texts[code] for code in their_codes], is_bad)

    known = _vocabulary(field, learned)
    unseen = set() if known is None else set(counts) - set(known)
    unseen_says = "{label} is not among the " + f"{len(known or ()):,} labels of the vocabulary"
    yield from remark("unseen label", unseen, unseen_says, is_bad=not field.oov)
    empty = {label for label in counts if isinstance(label, str) and not label.strip()}
    yield from remark("empty text", empty, "the label is {label}")
    if len(rows) > 1:
        rare = {label for label, count in counts.items() if count == 1} - unseen
        yield from remark("rare class", rare, "{label} is the label of this sample alone")
        if len(counts) == 1 and not is_null.any():
            says = f"column {field.column!r} holds {next(iter(counts))!r} in every row"
            yield Remark("constant column", None, says)
    absent = [label for label in known or () if label not in counts]
    if absent:
        yield Remark("empty class", None, f"no sample has the label {some(absent, 8)}")


@_by_kind.register
def _text(field: Text, rows: Rows, learned: Learned | None) -> Iterator[Remark]:
    for start in range(0, len(rows), _AT_ONCE):
        texts = rows.pick(field.column, np.arange(start, min(start + _AT_ONCE, len(rows))))
        if pa.types.is_dictionary(texts.type):
            texts = texts.dictionary_decode()
        # By bytes, since a text may be damaged; reading it says so.
        lengths = pc.binary_length(pc.ascii_trim_whitespace(texts))
        empty = np.flatnonzero(pc.equal(lengths, 0).fill_null(False))
        if len(empty):
            yield Remark("empty text", start + empty, f"column {field.column!r} is an empty text")


def class_counts(field: Category, rows: Rows) -> dict[Any, int]:
    """Return how many rows have each label of the column, most frequent first; nulls are not counted."""
    column = rows.arrow(field.column)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    found = column.drop_null().value_counts()
    counts = dict(zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True))
    return dict(sorted(counts.items(), key=lambda each: (-each[1], str(each[0]))))


def _vocabulary(field: Category, learned: Learned | None) -> tuple[Any, ...] | None:
    try:
        return field.labels(learned)
    except NotAdaptedError:
        return None


def _numbers(name: str, rows: Rows, field: Field) -> Iterator[Remark]:
    """Return what is to be said of a column of numbers that are to be finite."""
    values = numbers(rows, name)
    is_null = nulls(rows, name)
    for word, found in (("NaN", np.isnan(values) & ~is_null), ("infinite", np.isinf(values))):
        if found.any():
            yield absent(field, name, np.flatnonzero(found), word, "not finite")
    yield from _unusual(name, values)


def absent(field: Field, name: str, rows: NDArray, word: str, kind: str) -> Remark:
    """Return the remark that rows of a column are null, NaN or infinite: refused, or filled."""
    missing = getattr(field, "missing", "raise")
    if is_raise(missing):
        return Remark(kind, rows, f"column {name!r} is {word}", is_bad=True)
    return Remark("filled", rows, f"column {name!r} is {word}, and filled by missing={missing!r}")


def _unusual(name: str, values: NDArray) -> Iterator[Remark]:
    """Return what is to be said of the finite ones among a column's numbers, ``float64[n]``.

    An outlier lies more than 3 interquartile ranges beyond the quartiles: outside of the *outer fences*
    of Tukey (Exploratory Data Analysis, 1977, chapter 2), where 2 of a million normal numbers lie.
    Where the quartiles are equal, there are no fences.
    """
    rows = np.flatnonzero(np.isfinite(values))
    finite = values[rows]
    if len(finite) < 2:
        return
    if finite.min() == finite.max():
        yield Remark("constant column", None, f"column {name!r} holds {finite[0]:.6g} in every row")
        return
    # Halved, since the range of numbers near the largest float is beyond it.
    low, high = np.quantile(finite, [0.25, 0.75])
    reach = 3 * (high / 2 - low / 2)
    with np.errstate(over="ignore"):
        fences = low - 2 * reach, high + 2 * reach
    far = (finite < fences[0]) | (finite > fences[1])
    count = int(far.sum())
    if not reach or not count:
        return
    within = f"{fences[0]:.4g} … {fences[1]:.4g}"
    if count > max(_FEW, _FEW_SHARE * len(finite)):
        share = f"{count:,} of {len(finite):,} numbers of column {name!r}"
        yield Remark("long tail", None, f"{share} lie outside of {within}")
        return
    details = [f"column {name!r} is {value:.6g}, outside of {within}" for value in finite[far]]
    yield Remark("outlier", rows[far], details)


def names_of(field: Field, columns: Columns) -> list[str]:
    """Return the columns that a field reads."""
    return [name for pattern in field.reads for name in columns.matching(pattern)]


def pieces(rows: Rows) -> Iterator[tuple[Source, NDArray]]:
    """Yield the tables that rows are made of, and ``int64[n]``, where the rows of each stand."""
    if isinstance(rows, Source):
        yield rows, np.arange(len(rows))
    elif isinstance(rows, Chain):
        for part, places in zip(rows._parts, rows._rows_of, strict=True):
            for source, inner in pieces(part):
                yield source, places[inner]


def nulls(rows: Rows, name: str) -> NDArray:
    """Return ``bool[n]``, True where a column is null; the values themselves are not copied."""
    found = np.zeros(len(rows), bool)
    for source, places in pieces(rows):
        if not isinstance(source.columns[name], np.ndarray):
            is_null = source.cells(name).is_null()
            if is_null is not None:
                found[places] = is_null
    return found


def _holds_numbers(column: Any) -> bool:
    if isinstance(column, np.ndarray):
        return column.ndim == 1
    return is_number(column.type)
