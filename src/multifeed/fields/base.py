"""What a field must do.

A `Field` is a declaration: frozen, cheap, without data. `bind` turns it, once per dataset, into a
reader in which everything is decided, and which then only executes: a `Columnar` reader gathers many
rows with one NumPy call, a `PerSample` reader writes one row at a time and may be called from many
threads at once. Both write into memory that exists already.

A new kind of field is one new file with a subclass of `Field` that passes `tests/conformance/`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from multifeed.errors import BadValue, DeclarationError, lines
from multifeed.files import Folder
from multifeed.spec import Spec
from multifeed.table import Columns

Array = np.ndarray[Any, Any]
Preprocess = Callable[[Array], Any]
Learned = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """What a field is bound to: the columns, and which of their rows the dataset is made of.

    Args:
        columns: The row table's columns.
        index: ``int64[n]``, the row of `columns` that each row of the dataset is; None for all.
        root: Where relative file names start, or None for the folder of their table file.
        allow_outside: Whether file names may leave that folder.
    """

    columns: Columns
    index: Array | None
    root: str | None = None
    allow_outside: bool = False

    def __len__(self) -> int:
        return self.columns.count if self.index is None else len(self.index)

    def arrow(self, name: str) -> pa.Array:
        """Return the dataset's rows of a column as one Arrow array."""
        column = self.columns[name]
        if isinstance(column, np.ndarray):
            column = pa.chunked_array([pa.array(column)])
        taken = column if self.index is None else column.take(pa.array(self.index))
        return taken.combine_chunks()

    def folder(self, name: str) -> Folder:
        """Return where the file names in a column start, and whether they must stay there."""
        origin = self.columns.folder(name)
        start = self.root if self.root is not None else origin
        confined = start is not None and not self.allow_outside
        return Folder(start, confined=confined)


class Columnar(ABC):
    """Reads many rows at once from memory. `spec` says what one row of it looks like."""

    spec: Spec

    @abstractmethod
    def gather(self, rows: Array, out: Array) -> None:
        """Write the rows of the dataset at `rows`, ``int64[n]``, to `out`, ``[n, *spec.shape]``.

        Must be deterministic and safe to call from several threads.

        Raises:
            BadValue: If a row cannot be used; its `row` says which.
        """


class PerSample(ABC):
    """Reads one row at a time, usually from a file. `spec` says what it looks like."""

    spec: Spec

    @abstractmethod
    def read(self, row: int, out: Array) -> None:
        """Write row `row` of the dataset to `out`, ``[*spec.shape]``, every element of it.

        Must be deterministic and safe to call from several threads.

        Raises:
            BadValue: If the row cannot be used. Any other exception is reported as the user's own.
        """

    def file(self, row: int) -> str | None:
        """Return the file that row `row` is read from, if it is read from one."""
        return None


Reader = Columnar | PerSample


class Field(ABC):
    """A declared input or target: which columns it reads and what it yields."""

    @property
    @abstractmethod
    def reads(self) -> tuple[str, ...]:
        """Names of the columns it reads, or patterns such as ``"pixel*"``."""

    @property
    def learns(self) -> bool:
        """Whether `adapt` must have seen the training rows before it can be read."""
        return False

    @property
    def name(self) -> str:
        """The name it gets where no dict key gives one."""
        return self.reads[0] if len(self.reads) == 1 else type(self).__name__.lower()

    @abstractmethod
    def check(self, columns: Columns) -> None:
        """Raise `DeclarationError` if these columns cannot be read; looks at types, not at values."""

    @abstractmethod
    def spec(self, columns: Columns, learned: Learned | None) -> Spec:
        """Return what one sample looks like, without reading values.

        Raises:
            NotAdaptedError: If that depends on what `adapt` has yet to learn.
        """

    @abstractmethod
    def bind(self, source: Source, learned: Learned | None) -> Reader:
        """Return the reader for a dataset's rows.

        Raises:
            BadValue: If a row in memory cannot be used.
            NotAdaptedError: If `learns` and `learned` is None.
        """

    def learn(self, source: Source) -> Learned | None:
        """Return what the training rows teach, as a dict that JSON can hold."""
        return None

    def restore(self, values: Array, learned: Learned | None) -> Array:
        """Turn values as the model predicts them back into the column's own units."""
        return values


def one_of(what: str, value: object, allowed: tuple[object, ...]) -> None:
    """Raise unless `value` is one of `allowed`."""
    if value not in allowed:
        listed = ", ".join(repr(each) for each in allowed)
        raise DeclarationError(f"{what} must be one of {listed}; received {value!r}.")


def column_names(value: str | Sequence[str]) -> tuple[str, ...]:
    """Return a declaration's columns as a tuple."""
    names = (value,) if isinstance(value, str) else tuple(value)
    if not names or not all(isinstance(name, str) for name in names):
        raise DeclarationError(f"a field reads one or more columns by name; received {value!r}.")
    return names


def wrap(
    reader: PerSample, *, missing: Any, is_null: Array | None, preprocess: Preprocess | None
) -> PerSample:
    """Add what every per-sample field has: `preprocess`, and the filling of missing values.

    Args:
        reader: The field's own reader.
        missing: ``"raise"``, ``"zero"`` or the value that fills a sample whose column is null.
        is_null: ``bool[n]``, True where the column is null; None if it never is.
        preprocess: The user's function of one sample's array, or None.
    """
    if preprocess is not None:
        reader = _Preprocessed(reader, preprocess)
    if is_null is not None and is_null.any():
        reader = _Filled(reader, is_null, missing)
    return reader


def preprocessed_spec(spec: Spec, preprocess: Preprocess | None) -> Spec:
    """Return what `preprocess` makes of a sample, found on a blank one."""
    if preprocess is None:
        return spec
    found = _call_on_blank(spec, preprocess)
    return Spec(found.shape, kept_dtype(found.dtype.name))


def kept_dtype(name: str) -> str:
    """Return the dtype that arrays have in a batch: float32 for floats, int32 for int64."""
    if name.startswith("float"):
        return "float32"
    return {"int64": "int32", "uint64": "int32", "bool": "bool"}.get(name, name)


def _call_on_blank(spec: Spec, preprocess: Preprocess) -> Array:
    try:
        found = np.asarray(preprocess(np.zeros(spec.shape, spec.dtype)))
    except Exception as error:
        raise DeclarationError(
            lines(
                f"preprocess raised {type(error).__name__} on a blank sample of {spec}: {error}.",
                "It is called once at declaration with zeros, to find the shape and dtype it returns.",
            )
        ) from error
    if found.dtype.kind not in "biuf":
        raise DeclarationError(
            f"preprocess must return an array of numbers; it returned dtype {found.dtype} for a "
            f"blank sample of {spec}."
        )
    return found


class _Preprocessed(PerSample):
    def __init__(self, inner: PerSample, preprocess: Preprocess) -> None:
        self.inner = inner
        self.preprocess = preprocess
        found = _call_on_blank(inner.spec, preprocess)
        self._expected = Spec.of(found)
        self.spec = Spec(found.shape, kept_dtype(found.dtype.name))

    def read(self, row: int, out: Array) -> None:
        # A fresh array each time: the user's function may keep what it is given.
        sample = np.empty(self.inner.spec.shape, self.inner.spec.dtype)
        self.inner.read(row, sample)
        result = np.asarray(self.preprocess(sample))
        if Spec.of(result) != self._expected:
            raise BadValue(
                f"preprocess returned {Spec.of(result)} where it returned {self._expected} for a "
                "blank sample",
                "Let preprocess return one shape and dtype for every sample.",
            )
        out[...] = result

    def file(self, row: int) -> str | None:
        return self.inner.file(row)


class _Filled(PerSample):
    def __init__(self, inner: PerSample, is_null: Array, missing: Any) -> None:
        self.inner = inner
        self.spec = inner.spec
        self._is_null = is_null
        self._missing = missing
        self._fill = None if is_raise(missing) else fill_value(missing, inner.spec)

    def read(self, row: int, out: Array) -> None:
        if not self._is_null[row]:
            self.inner.read(row, out)
        elif self._fill is None:
            raise missing_value()
        else:
            out[...] = self._fill

    def file(self, row: int) -> str | None:
        return None if self._is_null[row] else self.inner.file(row)


def is_raise(missing: Any) -> bool:
    """Tell whether `missing` asks for an error. Compared with care: it may be an array."""
    return isinstance(missing, str) and missing == "raise"


def fill_value(missing: Any, spec: Spec) -> Array:
    """Return what fills a missing sample of `spec`, broadcast to its shape."""
    value = 0 if isinstance(missing, str) and missing == "zero" else missing
    try:
        filled = np.broadcast_to(np.asarray(value), spec.shape).astype(spec.dtype)
    except (ValueError, TypeError):
        filled = None
    if filled is None:
        raise DeclarationError(
            f'missing must be "raise", "zero" or a value that fills {spec}; received {missing!r}.'
        )
    return filled


def missing_value(row: int | None = None) -> BadValue:
    """Return the fact that a column is null where nothing says what then."""
    return BadValue(
        "is missing (null)",
        'Fill it in, leave the row out with data.select, or declare the field with missing="zero" or '
        "a value.",
        row=row,
    )
