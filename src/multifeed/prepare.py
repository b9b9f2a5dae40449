"""prepare: samples that come one at a time, as to a server, to the inputs of a model."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa

from multifeed.batch import Plan, allocate, bad_sample
from multifeed.dataset import Dataset, _not_adapted
from multifeed.errors import BadValue, DeclarationError, lines, near
from multifeed.fields.base import Field, Link, Reader
from multifeed.fields.category import Category
from multifeed.fields.numeric import is_number
from multifeed.fields.rows import Cells, NDArray, Source
from multifeed.fields.shared import holds_text, store
from multifeed.structure import Structure, flat, pack
from multifeed.table import FOLDER, Column, Columns, is_bytes

Sample = Mapping[str, Any]


def prepare(data: Dataset, sample: Sample | Sequence[Sample]) -> Any:
    """Turn one sample into the inputs of a model: the bytes that a loader yields for such a row.

    For servers: declare the dataset with the fields that it was trained with over a table of one row,
    which tells the types of the columns (its files need not exist, its labels must be known ones),
    `Dataset.load_state` what was learned, and pass what comes in to `prepare`. Safe to call from
    several threads.

    A text in a column of files is the name of a file, which is read by the rules of the dataset: under
    the folder of its table file, or under ``root=``; anywhere if it has neither (where datasets were
    concatenated, by the rules of the first). Where samples come
    from strangers, pass files as bytes, and make sure that they are bytes.

    Args:
        data: The dataset, with what it has learned by now.
        sample: The columns that the inputs read, by name; others are ignored. A value is what the
            dataset's own column has: a number, text, boolean, list or array; for an `Image` the name of
            a file or its content as bytes, whichever the dataset has; None where there is none, and
            the field's ``missing=`` applies. Or a list of such samples.

    Returns:
        One array, or a tuple or dict of arrays, in the structure of the inputs, for ``model.predict``.
        Their first axis is 1, or the length of the list. They are the caller's own.

    Raises:
        SampleError: If a column is missing, or a value cannot be used.
        NotAdaptedError: If an input has to learn first.
        DeclarationError: If `sample` is neither a mapping nor a list of mappings.

    Example:
        >>> import multifeed as mf
        >>> data = mf.Dataset(
        ...     {"age": [40, 60], "smokes": ["no", "yes"], "sick": [0, 1]},
        ...     inputs={
        ...         "age": mf.Numeric("age"),
        ...         "smokes": mf.Category("smokes", vocabulary=["no", "yes"]),
        ...     },
        ...     targets=mf.Category("sick", vocabulary=[0, 1]),
        ... )
        >>> prepare(data, {"age": 51.5, "smokes": "yes"})
        {'age': array([[51.5]], dtype=float32), 'smokes': array([1], dtype=int32)}
    """
    single = isinstance(sample, Mapping)
    samples: Sequence[Sample] = [sample] if isinstance(sample, Mapping) else sample
    is_list = isinstance(samples, Sequence) and len(samples) > 0
    if not is_list or not all(isinstance(each, Mapping) for each in samples):
        raise DeclarationError(
            lines(
                "a sample is a dict of values by column; several are a list of such dicts.",
                f"Received: {type(sample).__name__}.",
                "Pass e.g. dict(row), or table.to_pylist().",
            )
        )
    inputs = _INPUTS.get(data)
    if inputs is None or inputs.learned is not data.family.learned:
        inputs = _INPUTS[data] = _Inputs(data)
    return inputs.of(samples, numbered=not single)


class _Inputs:
    """The inputs of a dataset, ready to be read from rows that come later."""

    def __init__(self, data: Dataset) -> None:
        self.learned = data.family.learned
        self._names = data.structure.inputs
        self._key = data.key
        self._fields = [_Ready(data, name) for name in _needed(data)]

    def of(self, samples: Sequence[Sample], *, numbered: bool) -> Any:
        """Return the inputs of samples; errors tell their numbers if they are `numbered`."""

        def key_of(row: int) -> str | None:
            parts = [samples[row].get(name) for name in self._key]
            return None if not parts or None in parts else "/".join(map(str, parts))

        readers: dict[str, Reader] = {}
        for field in self._fields:
            try:
                readers[field.name] = field.reader(samples)
            except BadValue as error:
                row = error.row or 0
                number = row if numbered else None
                raise bad_sample(error, field.name, number, None, key_of(row)) from error
        plan = Plan(readers, Structure(self._names, None, None), key_of, numbered=numbered)
        buffers = allocate(len(samples), plan.specs)
        plan.fill(np.arange(len(samples)), buffers)
        return pack(self._names, buffers)


class _Ready:
    """A field of a dataset, ready to be read from rows that come later."""

    def __init__(self, data: Dataset, name: str) -> None:
        self.name = name
        self._field = field = data.fields[name]
        self._learned = data.learned(name)
        if field.learns and self._learned is None:
            raise _not_adapted(name, field)
        if isinstance(field, Category):
            # One that was given its vocabulary sets it up once, not whenever it is bound.
            self._field = field = replace(field, vocabulary=data.labels(name))
        self._rows = data.source
        columns = self._rows.columns
        # One that is made from another field reads no column, and is bound to any rows.
        is_made = isinstance(field, Link) and not field.reads
        self._made = data.source.bind(field, self._learned) if is_made else None
        self._spec = field.spec_of(columns, self._learned)
        reads = {each for link in _chain(field) for each in columns.all_matching(link.reads)}
        # In the order of the table, which patterns follow.
        self._columns = {each: columns[each] for each in columns.names if each in reads}
        self._metadata: dict[str, dict[bytes, bytes] | None] = {}
        for each in self._columns:
            folder = columns.folder(each)
            self._metadata[each] = None if folder is None else {FOLDER: os.fsencode(folder)}
        self._late = self._bound_late()

    def reader(self, samples: Sequence[Sample]) -> Reader:
        """Return the reader of samples.

        Raises:
            BadValue: If a column is missing, or a value cannot be used.
        """
        if self._made is not None:
            return self._made
        given = {
            name: [_plain(_value(sample, name, row)) for row, sample in enumerate(samples)]
            for name in self._columns
        }
        if self._late is not None and self._late.takes(given):
            return self._late.reader
        arrow: dict[str, pa.Array] = {}
        arrays: dict[str, NDArray] = {}
        foreign = None
        for name, like in self._columns.items():
            values = given[name]
            column = _like(values, like)
            if column is None:
                foreign, column = name, _natural(values)
                if column is None or not _may_replace(column, like):
                    raise _unfit(values, name, like)
            (arrays if isinstance(column, np.ndarray) else arrow)[name] = column
        source = self._source(arrow, arrays)
        if foreign is not None and not self._accepts(source):
            raise _unfit(given[foreign], foreign, self._columns[foreign])
        return self._field.bind(source, self._learned)

    def _source(self, arrow: dict[str, Any], arrays: dict[str, NDArray]) -> Source:
        """Return columns as rows that are read by the rules of the dataset's."""
        schema = pa.schema([pa.field(n, c.type, metadata=self._metadata[n]) for n, c in arrow.items()])
        table = pa.table(list(arrow.values()), schema=schema)
        return self._rows.like(Columns(table, arrays, list(self._columns)))

    def _bound_late(self) -> _LateReader | None:
        """Return a reader for all samples that come, if the field reads texts or bytes one by one."""
        columns = self._columns
        if not all(_kind_of(column) for column in columns.values()) or not columns:
            return None
        source = self._source({name: column.slice(0, 0) for name, column in columns.items()}, {})
        late = _Late(source.columns, None, source.root, source.allow_outside)
        try:
            reader = self._field.bind(late, self._learned)
        except (_ReadsColumns, BadValue):
            return None
        kinds = {name: _kind_of(column) for name, column in columns.items()}
        return _LateReader(reader, kinds, late.samples)

    def _accepts(self, source: Source) -> bool:
        """Tell whether columns of other types than the dataset's are read to the same end.

        A number with a fraction where the dataset has integers is, and an image as bytes.
        """
        try:
            self._field.check(source.columns)
            return self._field.spec_of(source.columns, self._learned) == self._spec
        except DeclarationError:
            return False


class _ReadsColumns(Exception):
    """A field wants to see whole columns when it is bound."""


@dataclass(frozen=True)
class _Late(Source):
    """Rows that come after fields are bound to them, so that a vocabulary is set up only once."""

    # Of each thread its own: the values of its samples, by column.
    samples: threading.local = dataclass_field(default_factory=threading.local)

    def values(self, name: str) -> Any:
        raise _ReadsColumns

    def pick(self, name: str, rows: NDArray) -> pa.Array:
        raise _ReadsColumns

    def nulls(self, name: str) -> NDArray:
        raise _ReadsColumns

    def cells(self, name: str) -> Cells:
        return _LateCells(name, self.samples)


class _LateCells(Cells):
    def __init__(self, name: str, samples: threading.local) -> None:
        self._name, self._samples = name, samples

    def __getitem__(self, row: int) -> Any:
        return self._samples.values[self._name][row]

    def coded(self) -> None:
        return None

    def first(self) -> None:
        return None

    def is_null(self) -> None:
        return None


class _LateReader(NamedTuple):
    """A reader that was bound to `_Late`, and the type of the values that it takes from each column."""

    reader: Reader
    kinds: dict[str, type | None]
    samples: threading.local

    def takes(self, values: dict[str, list[Any]]) -> bool:
        """Let this thread's samples be what the reader reads, if their types are right."""
        fit = all(type(value) is self.kinds[name] for name in values for value in values[name])
        if fit:
            self.samples.values = values
        return fit


def _kind_of(column: Column) -> type | None:
    """Return what a column of texts or bytes has for Python; None for all other columns."""
    if isinstance(column, np.ndarray):
        return None
    return str if holds_text(column.type) else bytes if is_bytes(column.type) else None


# By dataset, and renewed when it learns something else.
_INPUTS: WeakKeyDictionary[Dataset, _Inputs] = WeakKeyDictionary()


def _needed(data: Dataset) -> list[str]:
    """Return the inputs, and the fields that they are made from."""
    inputs = flat(data.structure.inputs)
    needed = list(inputs)
    # It grows: a mask may be of points, which are those of an image.
    for name in needed:
        field = data.fields[name]
        if isinstance(field, Link) and field.of not in needed:
            needed.append(field.of)
    # What is wrong with a column is told of the field that reads it first.
    return sorted(needed, key=lambda name: len(_chain(data.fields[name])))


def _chain(field: Field) -> list[Field]:
    """Return a field, and those that it is made from."""
    return [field, *_chain(field.other)] if isinstance(field, Link) else [field]


def _value(sample: Sample, name: str, row: int) -> Any:
    if name in sample:
        return sample[name]
    known = [each for each in sample if isinstance(each, str)]
    raise BadValue(
        f"reads column {name!r}, which the sample lacks",
        f"{near(name, known)} Pass None for it if there is no value.",
        row=row,
    )


def _plain(value: Any) -> Any:
    """Return a value as Python or NumPy have it."""
    if value is None or isinstance(value, str | int | float | bytes | list):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, pa.FixedShapeTensorScalar):
        return value.to_numpy() if value.is_valid else None
    if isinstance(value, pa.Scalar):
        return value.as_py()
    if hasattr(value, "__dlpack__"):
        array = np.asarray(value)
        return array if array.ndim else array[()]
    return value


# What PyArrow and NumPy raise where values are not of a kind.
_MISFITS = (pa.ArrowException, ValueError, TypeError, OverflowError, BadValue)


def _like(values: list[Any], like: Column) -> pa.Array | NDArray | None:
    """Return values as a column of the type of another one; None if they do not fit it."""
    try:
        if not isinstance(like, np.ndarray):
            return _as_arrow(values, like.type)
        if not any(value is None for value in values):
            return _as_array(values, like.shape[1:], like.dtype)
        # NumPy has no null.
        kind = pa.from_numpy_dtype(like.dtype.newbyteorder("="))
        return _as_arrow(values, pa.fixed_shape_tensor(kind, like.shape[1:]) if like.ndim > 1 else kind)
    except _MISFITS:
        return None


def _natural(values: list[Any]) -> pa.Array | NDArray | None:
    """Return values as a column of their own type; None if they have none in common."""
    try:
        if any(isinstance(value, np.ndarray) for value in values):
            stacked = np.stack(values)
            return stacked if stacked.dtype.kind in "biuf" else None
        # Arrow makes bytes of texts that stand among bytes.
        are_mixed = {str, bytes} <= {type(value) for value in values}
        return None if are_mixed else pa.array(values)
    except _MISFITS:
        return None


def _as_array(values: list[Any], shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray | None:
    given = np.asarray(values)
    if given.shape[1:] != shape or given.dtype.kind not in "biuf":
        return None
    array = np.empty(given.shape, dtype)
    store(given, array)
    return array


def _as_arrow(values: list[Any], kind: pa.DataType) -> pa.Array | None:
    if all(value is None for value in values):
        return pa.nulls(len(values), kind)
    if isinstance(kind, pa.FixedShapeTensorType):
        return _as_tensors(values, kind)
    # With its type given, Arrow would cut fractions off, and make bytes of text.
    natural = _natural(values)
    if not isinstance(natural, pa.Array) or not _are_kin(natural.type, kind):
        return None
    return natural.cast(kind)


def _as_tensors(values: list[Any], kind: pa.FixedShapeTensorType) -> pa.Array | None:
    lies = tuple(kind.shape)
    axes = kind.permutation or range(len(lies))
    flat_values = np.zeros((len(values), math.prod(lies)), kind.value_type.to_pandas_dtype())
    for value, place in zip(values, flat_values, strict=True):
        if value is None:
            continue
        array = np.asarray(value)
        # A tensor's axes may be meant in another order than they lie in; a list is as it lies.
        if array.shape == tuple(lies[axis] for axis in axes):
            array = array.transpose(np.argsort(axes)).ravel()
        if array.shape != place.shape or array.dtype.kind not in "biuf":
            return None
        store(array, place)
    is_null = pa.array([value is None for value in values])
    items = pa.array(flat_values.ravel())
    lists = pa.FixedSizeListArray.from_arrays(items, type=kind.storage_type, mask=is_null)
    return pa.ExtensionArray.from_storage(kind, lists)


def _are_kin(one: pa.DataType, other: pa.DataType) -> bool:
    """Tell whether values of one Arrow type may stand for those of another."""
    types = pa.types
    if types.is_null(one):
        return True
    if types.is_nested(one) and types.is_nested(other):
        have_items = hasattr(one, "value_type") and hasattr(other, "value_type")
        return have_items and _are_kin(one.value_type, other.value_type)
    if types.is_boolean(one) or types.is_boolean(other):
        return bool(types.is_boolean(one) and types.is_boolean(other))
    for is_kind in (holds_text, is_bytes, is_number):
        if is_kind(one):
            return bool(is_kind(other))
    return False


def _may_replace(column: pa.Array | NDArray, like: Column) -> bool:
    """Tell whether a column of another type than the dataset's can be meant; a 3 is no "3"."""
    if isinstance(column, np.ndarray) or pa.types.is_nested(column.type):
        return True
    if isinstance(like, np.ndarray) or is_number(like.type):
        return is_number(column.type)
    return all(holds_text(kind) or is_bytes(kind) for kind in (column.type, like.type))


def _unfit(values: list[Any], name: str, like: Column) -> BadValue:
    """Return the fact that a value is not of the kind that its column has."""
    row = next((row for row, value in enumerate(values) if _like([value], like) is None), 0)
    return BadValue(
        f"is {_shown(values[row])}, where column {name!r} of the dataset holds {_held(like)}",
        "Pass what the dataset's own rows have there, or None if there is no value.",
        row=row,
    )


def _held(column: Column) -> str:
    if not isinstance(column, np.ndarray):
        return str(column.type)
    shape = f" of shape {column.shape[1:]}" if column.ndim > 1 else ""
    return f"{column.dtype}{shape}"


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    kind = type(value).__name__
    return f"{value!r} ({kind})" if isinstance(value, str | int | float) else f"of type {kind}"
