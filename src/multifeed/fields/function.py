"""A function of the user's own: of a row's values, or of the files that they name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, Self

import numpy as np

from multifeed.errors import BadValue, DeclarationError, lines, near
from multifeed.fields.base import Base, Field, Learned, PerSample
from multifeed.fields.rows import NDArray, Requests, Source
from multifeed.fields.shared import (
    Filled,
    column_names,
    fill_value,
    first_line,
    holds_text,
    is_raise,
    kept_spec,
    missing_value,
    one_of,
    store,
)
from multifeed.fields.watch import Watch, name_of
from multifeed.remote.uri import Request
from multifeed.spec import Spec
from multifeed.table import Column, Columns

_REMEDY = (
    "A function of mf.Function must depend on its arguments alone; what is drawn belongs into "
    "augment=mf.RandomFunction(field, function), which is given each slot's own generator."
)


@dataclass(frozen=True)
class Function(Field):
    """What a function of one's own makes of a row's values.

    The function must depend on its arguments alone. It is called from several threads at once; one that
    keeps Python busy is faster in processes (``mf.Loader(processes=...)``). What it raises is told with
    field, key, row and file.

    Args:
        columns: A column or several, or a pattern such as ``"lead*"``. Each is an argument, in this
            order: a number, text, bytes, list or dict of Python, as the cell holds it; of an N-D array
            the row's own array, a copy.
        fn: The function. It returns an array, a number, or what NumPy makes an array of numbers of.
        spec: Shape and dtype of what it returns. By default the function is called once, for the first
            row that has all values, when the dataset is declared; floats are then kept as float32,
            integers of 64 bits as int32.
        files: Those of the columns, or that one, which name files: the function gets their content, as
            bytes. It needs `spec`, since declaring reads no file.
        interpolation: Between pixels, where geometry of augmentation acts on it: ``"bilinear"``, or
            ``"nearest"`` for masks and label maps, whose values then stay as they are.
        missing: Where one of the columns is null: ``"raise"``; ``"zero"`` or the value that fills the
            sample; ``"pass"``: the function is called, with None for it.

    Raises:
        DeclarationError: If a column does not exist, an option is unknown, or `spec` is left out and
            cannot be found.

    Example:
        >>> import multifeed as mf
        >>> rows = {"height": [1.8, 1.6], "weight": [81.0, 64.0]}
        >>> def bmi(height, weight):
        ...     return [weight / height**2]
        >>> data = mf.Dataset(rows, inputs=Function(["height", "weight"], bmi))
        >>> data.spec, data[0]
        (((1,) float32,), (array([25.], dtype=float32),))
    """

    columns: str | Sequence[str]
    fn: Callable[..., Any]
    spec: Spec | None = None
    _: KW_ONLY
    files: str | Sequence[str] = ()
    interpolation: str = "bilinear"
    missing: Any = "raise"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", column_names(self.columns))
        object.__setattr__(self, "files", column_names(self.files) if self.files else ())
        one_of("interpolation", self.interpolation, ("bilinear", "nearest"))
        if not callable(self.fn):
            raise DeclarationError(f"fn is a function of the columns' values; received {self.fn!r}.")
        if not isinstance(self.spec, Spec | None):
            raise DeclarationError(
                lines(
                    f"spec is what the function returns; received {self.spec!r}.",
                    'Write e.g. spec=mf.Spec((128, 3), "float32").',
                )
            )
        if self.files and self.spec is None:
            raise DeclarationError(
                lines(
                    "a function of files needs spec=: declaring reads no file.",
                    'Write e.g. spec=mf.Spec((128, 3), "float32").',
                )
            )

    @property
    def reads(self) -> tuple[str, ...]:
        return column_names(self.columns)

    @property
    def name(self) -> str:
        return self.reads[0] if len(self.reads) == 1 else name_of(self.fn)

    @property
    def _passes(self) -> bool:
        return isinstance(self.missing, str) and self.missing == "pass"

    def settled(self, columns: Columns) -> Self:
        settled = copy(self)
        object.__setattr__(settled, "columns", tuple(columns.all_matching(self.reads)))
        object.__setattr__(settled, "files", tuple(columns.all_matching(self.files)))
        for name in settled.files:
            if name not in settled.columns:
                raise DeclarationError(
                    lines(
                        f"files names columns of the function; {name!r} is none.",
                        near(name, settled.reads),
                    )
                )
        if self.spec is None:
            object.__setattr__(settled, "spec", settled._found(columns))
        return settled

    def _found(self, columns: Columns) -> Spec:
        """Return what the function returns for the first row that has all values."""
        source = Source(columns, None)
        is_null = self._nulls(source)
        row = 0 if is_null is None else int(np.argmin(is_null))
        if is_null is not None and is_null[row] and not self._passes:
            raise DeclarationError(
                lines(
                    f"no row has a value in all of {', '.join(map(repr, self.reads))}, so what "
                    f"{name_of(self.fn)} returns is not known.",
                    "Pass spec=.",
                )
            )
        try:
            found = np.asarray(self.fn(*(_values(source, name)(row) for name in self.reads)))
        except Exception as error:
            raise DeclarationError(
                lines(
                    f"{name_of(self.fn)} raised {type(error).__name__} for row {row}: "
                    f"{first_line(error)}.",
                    "Without spec= it is called at declaration, to find what it returns.",
                )
            ) from error
        if found.dtype.kind not in "biuf":
            raise DeclarationError(
                f"{name_of(self.fn)} must return numbers; for row {row} it returned dtype {found.dtype}."
            )
        return kept_spec(found)

    def check(self, columns: Columns) -> None:
        for name in self.files:
            column = columns[name]
            if isinstance(column, np.ndarray) or not holds_text(column.type):
                kind = column.dtype if isinstance(column, np.ndarray) else column.type
                raise DeclarationError(f"files are columns of file names; {name!r} holds {kind}.")
        if not is_raise(self.missing) and not self._passes:
            fill_value(self.missing, self.spec_of(columns, None))

    def spec_of(self, columns: Columns, learned: Learned | None) -> Spec:
        assert self.spec is not None, "settled"
        return self.spec

    def bind(self, source: Source, learned: Learned | None) -> PerSample:
        reader = _Calls(self, source)
        is_null = None if self._passes else self._nulls(source)
        if is_null is None or not is_null.any():
            return reader
        if is_raise(self.missing):
            raise missing_value(is_null)
        return Filled(reader, is_null, fill_value(self.missing, reader.spec))

    def base(self, source: Source, learned: Learned | None) -> Base:
        return replace(super().base(source, learned), interpolation=self.interpolation)

    def _nulls(self, source: Source) -> NDArray | None:
        """Return ``bool[n]``, True where one of the columns is null; None if none ever is."""
        nulls = [source.nulls(name) for name in self.reads]
        return np.any(nulls, axis=0) if any(each.any() for each in nulls) else None


class _Calls(PerSample):
    def __init__(self, field: Function, source: Source) -> None:
        self.spec = field.spec_of(source.columns, None)
        self._fn, self._given = field.fn, field.spec
        self._values = [_values(source, name) for name in field.reads]
        # By the place of its argument: a column of file names, and where they start.
        self._folders = {
            place: source.folder(name) for place, name in enumerate(field.reads) if name in field.files
        }
        self._requests = [
            Requests(source.cells(field.reads[place]), folder) for place, folder in self._folders.items()
        ]
        self._watch = Watch(_REMEDY)

    def requests(self, rows: NDArray) -> Iterable[Request]:
        return [each for asked in self._requests for each in asked(rows)]

    def file(self, row: int) -> str | None:
        # Of several, none is the one.
        files = self.files(row) if len(self._folders) == 1 else ()
        return files[0] if files else None

    def files(self, row: int) -> tuple[str, ...]:
        found = []
        for place, folder in self._folders.items():
            with suppress(BadValue):
                name = self._values[place](row)
                if name is not None:
                    found.append(folder.path(name))
        return tuple(found)

    def load(self, row: int) -> list[Any]:
        values = [value(row) for value in self._values]
        for place, folder in self._folders.items():
            name = values[place]
            if name is None:
                continue
            try:
                values[place] = folder.read(name)
            except BadValue as error:
                if len(self._folders) == 1:
                    raise
                # Of several files it must be said which one.
                reason = f"names {folder.path(name)!r}, which {error.reason}"
                raise BadValue(reason, error.remedy) from error
        return values

    def decode(self, row: int, loaded: list[Any], out: NDArray) -> None:
        result = np.asarray(self._watch.call(self._fn, *loaded))
        if result.shape != self.spec.shape or result.dtype.kind not in "biuf":
            returned = Spec.of(result)
            raise BadValue(
                f"becomes {returned} by {name_of(self._fn)}, where the declaration says {self.spec}",
                "Let the function return one shape for every sample, or correct spec=.",
            )
        store(result, out, remedy="Let the function return values of that range, or pass another spec=.")


def _values(source: Source, name: str) -> Callable[[int], Any]:
    """Return what gives a column's value in a row, as a value of its own."""
    column: Column = source.columns[name]
    if not isinstance(column, np.ndarray):
        return source.cells(name).__getitem__
    return _OfArray(column, source.index)


class _OfArray:
    """The rows of an array: numbers of Python, or arrays."""

    def __init__(self, values: NDArray, index: NDArray | None) -> None:
        self._values, self._index = values, index

    def __call__(self, row: int) -> Any:
        value = self._values[row if self._index is None else self._index[row]]
        return value.item() if value.ndim == 0 else np.array(value)
