"""Classes from a column of labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from multifeed.errors import BadValue, DeclarationError, NotAdaptedError, lines, some
from multifeed.fields.base import Columnar, Field, Learned
from multifeed.fields.gather import Matrix
from multifeed.fields.rows import NDArray, Rows, Source
from multifeed.fields.shared import is_raise, one_column, such_rows
from multifeed.spec import Spec
from multifeed.table import Columns, is_text


@dataclass(frozen=True)
class Category(Field):
    """A label as the number of its class.

    Args:
        column: A column of text, integers or booleans.
        vocabulary: The labels in the order of their numbers; None to learn them by `Dataset.adapt`
            (sorted; integers, and text that consists of integers, as numbers).
        one_hot: Yield a vector with a 1 at the class instead of its number.
        oov: Give 0 to labels that are not in the vocabulary ("out of vocabulary", as in
            `keras.layers.StringLookup`), and 1, 2, … to those that are. Without it an unseen label is
            an error.
        missing: ``"raise"``, or the label that stands for a null.

    A sample is ``int32[]``, or ``float32[n]`` with ``one_hot=True``, n the number of classes.

    Raises:
        DeclarationError: If the column does not exist, or holds floats or anything nested.

    Example:
        >>> import multifeed as mf
        >>> data = mf.Dataset({"x": [1.0, 2.0], "kind": ["b", "a"]}, inputs=mf.Numeric("x"),
        ...                   targets=Category("kind", vocabulary=["a", "b"]))
        >>> int(data[0][1])
        1
    """

    column: str
    _: KW_ONLY
    vocabulary: Sequence[Any] | None = None
    one_hot: bool = False
    oov: bool = False
    missing: Any = "raise"

    def __post_init__(self) -> None:
        one_column(self, self.column)
        if self.vocabulary is None:
            return
        labels = _checked_labels(self.vocabulary)
        # As it is now: a list of the caller's may change.
        object.__setattr__(self, "vocabulary", labels)
        known = is_raise(self.missing) or self.missing in labels
        if not known and not self.oov:
            raise DeclarationError(
                f"missing is a label of the vocabulary; {self.missing!r} is none of its labels."
            )

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def learns(self) -> bool:
        return self.vocabulary is None

    def check(self, columns: Columns) -> None:
        name = self.column
        kind = _kind(columns, name)
        if kind is None:
            column = columns[name]
            raise DeclarationError(
                lines(
                    f"a Category column holds text, integers or booleans; {name!r} holds "
                    f"{_held(column)}.",
                    "Cast it to integers or text, or declare it as mf.Numeric.",
                )
            )
        labels = [*(self.vocabulary or ()), *([] if is_raise(self.missing) else [self.missing])]
        for label in labels:
            if not isinstance(label, kind) or (kind is int and isinstance(label, bool)):
                raise DeclarationError(
                    f"the labels of {name!r} are {kind.__name__}; received the label {label!r}."
                )

    def spec(self, columns: Columns, learned: Learned | None) -> Spec:
        if not self.one_hot:
            return Spec((), "int32")
        return Spec((len(self.labels(learned)) + self.oov,), "float32")

    def labels(self, learned: Learned | None) -> tuple[Any, ...]:
        """Return the vocabulary, given or learned; class `i` is label `i`, or `i - 1` with `oov`."""
        if self.vocabulary is not None:
            return tuple(self.vocabulary)
        if learned is None:
            raise NotAdaptedError(
                lines(
                    "a Category without vocabulary= learns its labels, and nobody has yet.",
                    "Call train.adapt() on the training part first, or pass vocabulary=[...].",
                )
            )
        return tuple(learned["vocabulary"])

    def learn(self, rows: Rows) -> Learned:
        seen = pc.unique(_plain(rows.arrow(self.column))).drop_null().to_pylist()
        if not is_raise(self.missing) and self.missing not in seen:
            seen.append(self.missing)
        if not seen:
            raise BadValue(
                f"has no label in the training rows of column {self.column!r}",
                "Leave the column out, or adapt on rows that have it.",
            )
        return {"vocabulary": sorted(seen, key=int if _all_integers(seen) else None)}

    def counts(self, rows: Rows) -> NDArray:
        """Return how many rows each class has, ``int64[classes]``; the vocabulary must be known."""
        counts: NDArray = np.bincount(self.codes(rows), minlength=len(self.labels(None)) + self.oov)
        return counts

    def bind(self, source: Source, learned: Learned | None) -> Columnar:
        codes = self.codes(source, learned)
        return _OneHot(codes, len(self.labels(learned)) + self.oov) if self.one_hot else Matrix(codes)

    @cached_property
    def _numbers(self) -> dict[Any, int]:
        return _numbered(self.vocabulary or (), self.oov)

    def codes(self, rows: Rows, learned: Learned | None = None) -> NDArray:
        """Return the class number of each row, ``int32[n]``."""
        labels = self.labels(learned)
        number = self._numbers if self.vocabulary is not None else _numbered(labels, self.oov)
        unseen = 0 if self.oov else -1
        column = _plain(rows.arrow(self.column))
        if column.null_count and is_raise(self.missing):
            raise BadValue(
                f"is missing: column {self.column!r} is null{such_rows(column.null_count)}",
                "Fill it in, or declare the field with missing=<a label>.",
                row=pc.indices_nonzero(pc.is_null(column))[0].as_py(),
            )
        # Each label of the column is looked up once, however many rows have it; null stands last.
        encoded = column.dictionary_encode()
        seen = [*encoded.dictionary.to_pylist(), self.missing]
        found = np.array([number.get(label, unseen) for label in seen], np.int32)
        codes: NDArray = found[encoded.indices.fill_null(len(seen) - 1).to_numpy()]
        unknown = np.flatnonzero(codes < 0)
        if len(unknown):
            raise _unseen(column, unknown, len(labels))
        return codes


def _numbered(labels: Sequence[Any], oov: bool) -> dict[Any, int]:
    """Return the class number of each label."""
    return {label: place for place, label in enumerate(labels, int(oov))}


def _unseen(column: pa.Array, rows: NDArray, count: int) -> BadValue:
    """Return the fact that rows have a label which is not in a vocabulary of `count` labels."""
    labels = pc.unique(column.take(pa.array(rows))).to_pylist()
    also = f" ({some(labels)} in {len(rows):,} rows)" if len(rows) > 1 else ""
    return BadValue(
        f"is {labels[0]!r}, which the vocabulary of {count:,} labels does not have{also}",
        "Split so that every label is in the training part, pass vocabulary=[...] with all labels, "
        "or declare the field with oov=True.",
        row=int(rows[0]),
    )


class _OneHot(Columnar):
    def __init__(self, codes: NDArray, count: int) -> None:
        self._codes = codes
        self.spec = Spec((count,), "float32")

    def gather(self, rows: NDArray, out: NDArray) -> None:
        out.fill(0.0)
        out[np.arange(len(rows)), self._codes[rows]] = 1.0


def _kind(columns: Columns, name: str) -> type | None:
    """Return the Python type of a column's labels, or None if they cannot be labels."""
    column = columns[name]
    if isinstance(column, np.ndarray):
        if column.ndim != 1:
            return None
        return {"b": bool, "i": int, "u": int}.get(column.dtype.kind)
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if is_text(kind):
        return str
    if pa.types.is_boolean(kind):
        return bool
    return int if pa.types.is_integer(kind) else None


def _held(column: Any) -> str:
    if not isinstance(column, np.ndarray):
        return str(column.type)
    return str(column.dtype) if column.ndim == 1 else f"arrays of shape {column.shape[1:]}"


def _checked_labels(vocabulary: object) -> tuple[Any, ...]:
    """Return the labels as Python's own values."""
    if not isinstance(vocabulary, Sequence | np.ndarray) or isinstance(vocabulary, str | bytes):
        raise DeclarationError(
            f"a vocabulary is a list of labels, in the order of their numbers; received {vocabulary!r}."
        )
    labels = tuple(label.item() if isinstance(label, np.generic) else label for label in vocabulary)
    if not labels or len(set(labels)) != len(labels):
        received = some(labels, 8) or "no label"
        raise DeclarationError(f"a vocabulary names each label once; received {received}.")
    return labels


def _plain(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _all_integers(labels: Sequence[Any]) -> bool:
    """Tell whether text labels are all plain decimal integers ("10" stands after "9")."""
    try:
        return all(not isinstance(label, bool) and str(int(label)) == str(label) for label in labels)
    except ValueError:
        return False
