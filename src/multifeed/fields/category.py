"""Classes from a column of labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from multifeed.errors import BadValue, DeclarationError, NotAdaptedError, lines, some
from multifeed.fields.base import Columnar, Field, Learned, Remark, Tally
from multifeed.fields.gather import Matrix
from multifeed.fields.rows import Cells, NDArray, Rows, Source
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

    def spec_of(self, columns: Columns, learned: Learned | None) -> Spec:
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
        seen = _labels_in(_plain(rows.arrow(self.column)).drop_null())
        if not is_raise(self.missing) and self.missing not in seen:
            seen.append(self.missing)
        if not seen:
            raise BadValue(
                f"has no label in the training rows of column {self.column!r}",
                "Leave the column out, or adapt on rows that have it.",
            )
        return {"vocabulary": sorted(seen, key=int if _all_integers(seen) else None)}

    @property
    def options(self) -> dict[str, Any]:
        return {"one_hot": self.one_hot, "oov": self.oov}

    def accepts(self, learned: Any, columns: Columns) -> bool:
        labels = learned.get("vocabulary") if isinstance(learned, dict) else None
        if not isinstance(labels, list) or not labels:
            return False
        kind = _kind(columns, self.column)
        if not all(type(label) is kind for label in labels) or len(set(labels)) < len(labels):
            return False
        # No column has an integer beyond these, and Arrow no place for it.
        return kind is not int or all(-(2**63) <= label < 2**64 for label in labels)

    def counts(self, rows: Rows) -> NDArray:
        """Return how many rows each class has, ``int64[classes]``; the vocabulary must be known."""
        counts: NDArray = np.bincount(self.codes(rows), minlength=len(self.labels(None)) + self.oov)
        return counts

    def bind(self, source: Source, learned: Learned | None) -> Columnar:
        codes = self.codes(source, learned)
        return _OneHot(codes, len(self.labels(learned)) + self.oov) if self.one_hot else Matrix(codes)

    def examine(self, rows: Rows, learned: Learned | None) -> Iterator[Remark | Tally]:
        encoded = _plain(rows.arrow(self.column)).dictionary_encode()
        labels = encoded.dictionary.to_pylist()
        # The number of each row's label; null is -1.
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        counts = dict(zip(labels, np.bincount(codes[codes >= 0]).tolist(), strict=True))

        def of(kind: str, chosen: set[Any], says: str, *, is_bad: bool = False) -> Remark:
            """Return what is said of the rows that have one of some labels."""
            is_chosen = np.array([*(label in chosen for label in labels), False])
            found = np.flatnonzero(is_chosen[codes])
            texts = [says.format(repr(label)) for label in labels]
            return Remark(kind, found, [texts[code] for code in codes[found]], is_bad)

        yield Tally(dict(sorted(counts.items(), key=lambda each: (-each[1], str(each[0])))))
        yield of("empty text", {each for each in counts if not str(each).strip()}, "the label is {}")
        # Before anyone has learned, there is no vocabulary that a label could be missing from.
        known = self.labels(learned) if self.vocabulary is not None or learned is not None else labels
        unseen = counts.keys() - set(known)
        says = "{} is not among the " + f"{len(known):,} labels of the vocabulary"
        yield of("unseen label", unseen, says, is_bad=not self.oov)
        empty = [label for label in known if label not in counts]
        if empty:
            yield Remark("empty class", None, f"no sample has the label {some(empty, 8)}")
        if len(rows) > 1:
            rare = {label for label, count in counts.items() if count == 1} - unseen
            yield of("rare class", rare, "{} is the label of this sample alone")
            if [*counts.values()] == [len(rows)]:
                says = f"column {self.column!r} holds {labels[0]!r} in every row"
                yield Remark("constant column", None, says)

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
        seen = [*_labels_in(encoded.dictionary, column), self.missing]
        found = np.array([number.get(label, unseen) for label in seen], np.int32)
        codes: NDArray = found[encoded.indices.fill_null(len(seen) - 1).to_numpy()]
        unknown = np.flatnonzero(codes < 0)
        if len(unknown):
            raise _unseen(column, unknown, len(labels))
        return codes


def _labels_in(labels: pa.Array, column: pa.Array | None = None) -> list[Any]:
    """Return the different values of `labels`, which are all that `column` holds.

    Raises:
        BadValue: If one is text that is not in UTF-8; it names the row of the column.
    """
    try:
        found: list[Any] = pc.unique(labels).to_pylist()
        return found
    except UnicodeDecodeError as error:
        column = labels if column is None else column
        cells = Cells(pa.chunked_array([column]), None)
        for row in range(len(column)):
            try:
                cells[row]
            except BadValue as bad:
                raise BadValue(bad.reason, bad.remedy, row=row) from error
        raise


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
