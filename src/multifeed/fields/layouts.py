"""How columns in memory hold arrays, and file names that lead to some."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from multifeed.errors import BadValue, DeclarationError, lines
from multifeed.fields.arrayfiles import END, ArrayFiles, no_rows
from multifeed.fields.base import Columnar, PerSample, Remark
from multifeed.fields.gather import Gather, GatherLists, Padding
from multifeed.fields.numeric import is_number
from multifeed.fields.rows import NDArray, Rows, Source
from multifeed.fields.shared import kept_dtype
from multifeed.fields.stored import Shape
from multifeed.spec import Spec, fits
from multifeed.table import Columns

if TYPE_CHECKING:
    from multifeed.fields.array import Array


class Layout:
    """How columns hold arrays: what one sample of them is, and how it is read."""

    field: Array
    spec: Spec

    def bind(self, source: Source) -> tuple[Columnar | PerSample, NDArray | None]:
        """Return the reader, and ``bool[n]``, True where a sample is null (None if none ever is)."""
        raise NotImplementedError

    def _spec(self, found: Shape, stored: np.dtype[Any], what: str) -> Spec:
        """Return what a sample becomes that the columns hold in a shape and dtype."""
        field = self.field
        default = "float32" if field.scale is not None else kept_dtype(stored.name)
        return Spec(_declared_shape(field, found, what), field.dtype or default)

    def _gather(self, values: NDArray, index: NDArray | None = None) -> Gather:
        return Gather(values, index, self.spec, self.field.scale, self._padding)

    @property
    def _padding(self) -> Padding | None:
        field = self.field
        if field.pad_to is None:
            return None
        return Padding(field.pad_to, field.padding, field.truncating)


def _declared_shape(field: Array, found: Shape, what: str) -> Shape:
    """Return the shape that a field declares for samples of the shape that columns have."""
    wanted = None if field.shape is None else tuple(field.shape)
    allowed = wanted is None or fits(found, wanted)
    if field.pad_to is not None:
        if not found:
            raise DeclarationError(
                f"pad_to is the length of the first axis; a sample of {what} is a single number."
            )
        if allowed:
            return (field.pad_to, *found[1:])
    elif allowed:
        return found
    elif wanted is not None and math.prod(found) == math.prod(_sizes(wanted)):
        return _sizes(wanted)
    otherwise = "" if field.pad_to else " and cannot be reshaped to it"
    raise DeclarationError(
        lines(
            f"the samples of {what} have shape {found}, which is not {wanted}{otherwise}.",
            f"Pass shape={found}, or leave shape out.",
        )
    )


class Memory(Layout):
    """An N-D NumPy array or memmap, rows first."""

    def __init__(self, field: Array, name: str, values: NDArray) -> None:
        if values.dtype.kind not in "biuf":
            raise no_numbers(name, values.dtype)
        self.field, self.values = field, values
        self.found = values.shape[1:]
        self.spec = self._spec(self.found, values.dtype, repr(name))

    def bind(self, source: Source) -> tuple[Columnar | PerSample, NDArray | None]:
        return self._gather(self.values, source.index), None


class Scalars(Layout):
    """Scalar columns: the elements of one array; or a single one, a number a sample."""

    def __init__(self, field: Array, columns: Columns, names: list[str]) -> None:
        self.field, self.names = field, names
        self.stored = np.result_type(*(_number_dtype(columns, name) for name in names))
        self.found = () if names == [field.column] else (len(names),)
        what = f"{names[0]!r} … {names[-1]!r}" if len(names) > 1 else repr(names[0])
        self.spec = self._spec(self.found, self.stored, what)

    def bind(self, source: Source) -> tuple[Columnar | PerSample, NDArray | None]:
        stacked = np.empty((len(source), len(self.names)), self.stored)
        is_null = np.zeros(len(source), bool)
        for place, name in enumerate(self.names):
            values = source.values(name)
            if not isinstance(values, np.ndarray):
                if values.null_count:
                    is_null |= _nulls(values)
                values = _zero_nulls(values).to_numpy(zero_copy_only=False)
            stacked[:, place] = values
        return self._gather(stacked), is_null


class FixedLists(Layout):
    """Arrow lists of one size, or fixed-shape tensors."""

    def __init__(self, field: Array, name: str, kind: Any) -> None:
        self.field, self.name = field, name
        self.stored = _list_dtype(name, kind.value_type)
        is_tensor = isinstance(kind, pa.FixedShapeTensorType)
        # The shape as it lies in memory; a tensor's axes may be meant in another order.
        self.lies = tuple(kind.shape) if is_tensor else (kind.list_size,)
        self.axes = (is_tensor and kind.permutation) or tuple(range(len(self.lies)))
        found = tuple(self.lies[axis] for axis in self.axes)
        self.spec = self._spec(found, self.stored, repr(name))

    def bind(self, source: Source) -> tuple[Columnar | PerSample, NDArray | None]:
        array = source.arrow(self.name)
        storage = array.storage if isinstance(array, pa.ExtensionArray) else array
        # `values` has the items of null rows as well, which `flatten` leaves out.
        size = math.prod(self.lies)
        items = storage.values.slice(storage.offset * size, len(storage) * size)
        is_null = _nulls(storage)
        starts = np.arange(len(storage) + 1) * size
        _refuse_null_items(items, starts, is_null)
        values = _zero_nulls(items).to_numpy(zero_copy_only=False)
        stacked = values.astype(self.stored, copy=False).reshape(len(storage), *self.lies)
        if is_null.any():
            stacked = stacked.copy()
            stacked[is_null] = 0
        stacked = stacked.transpose(0, *(axis + 1 for axis in self.axes))
        return self._gather(stacked), is_null


class Lists(Layout):
    """Arrow lists of any length, of numbers or of lists; or a few of them that many rows share."""

    def __init__(self, field: Array, name: str, kind: Any) -> None:
        self.field, self.name = field, name
        self._is_shared = pa.types.is_dictionary(kind)
        items = (kind.value_type if self._is_shared else kind).value_type
        inner: list[int | None] = []
        while _is_list(items):
            inner.append(items.list_size if pa.types.is_fixed_size_list(items) else None)
            items = items.value_type
        self.stored = _list_dtype(name, items)
        found = self._found(tuple(inner))
        self.spec = self._spec(found, self.stored, repr(name))
        self._inner = found[1:] if inner else ()
        # Lists of numbers may be reshaped.
        self._length = found[0] if inner else math.prod(found)

    def _found(self, inner: tuple[int | None, ...]) -> Shape:
        """Return the shape of a sample, the first size of which counts for nothing if it is padded."""
        shape, pad_to, name = self.field.shape, self.field.pad_to, self.name
        if pad_to is None and shape is None:
            raise unequal(f"{name!r} holds lists of any length", "; or shape=..., if all have one")
        told = (None, *inner)
        is_told = None not in inner if shape is None else not inner or _agree(told, shape)
        if not is_told:
            raise DeclarationError(
                lines(
                    f"{name!r} holds lists within lists, of shape {told} where None is any size, and is "
                    f"declared with shape={shape}.",
                    f"Pass {len(told)} sizes, the first of them None if pad_to= shall make it one.",
                )
            )
        if pad_to is None:
            # Each list has the declared shape, or is an error.
            return _sizes(shape or ())
        if shape is not None and (shape[0] is not None or len(shape) != len(told)):
            raise DeclarationError(
                lines(
                    f"lists that are padded have any length; {name!r} is declared with shape={shape}.",
                    "Leave shape out, or its first size None.",
                )
            )
        return (0, *_sizes((shape or told)[1:]))

    def bind(self, source: Source) -> tuple[Columnar | PerSample, NDArray | None]:
        array = source.arrow(self.name)
        lists = array.dictionary if self._is_shared else array
        is_null = _nulls(lists)
        lengths = _zero_nulls(pc.list_value_length(lists)).to_numpy(zero_copy_only=False)
        starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        places = np.arange(len(array))
        if self._is_shared:
            places = _zero_nulls(array.indices).to_numpy(zero_copy_only=False)
        values = self._numbers(lists.flatten(), starts, is_null, places)
        if self._is_shared:
            is_null = is_null[places] | _nulls(array.indices)
        starts, lengths = self._cut(source, starts[:-1][places], lengths[places], is_null)
        if self._padding is not None:
            scale = self.field.scale
            return GatherLists(values, starts, lengths, self.spec, scale, self._padding), is_null
        return self._equal(values, starts, lengths, is_null), is_null

    def examine(self, rows: Rows) -> Iterator[Remark]:
        """Yield which lists have a wrong length: if the declaration is wrong, those are all."""
        if self._padding is None and not self._is_shared and not self.field.is_cut:
            lengths = pc.list_value_length(rows.arrow(self.name))
            # A null is not equal to any length, nor unequal.
            wrong = np.flatnonzero(pc.not_equal(lengths, self._length).fill_null(False))
            details = [self._wrong(lengths[row].as_py()) for row in wrong]
            yield Remark("unusable value", wrong, details, is_bad=True)

    def _numbers(self, items: pa.Array, starts: NDArray, is_null: NDArray, places: NDArray) -> NDArray:
        """Return the numbers of all lists, ``[all items, *inner]``.

        Args:
            items: What the lists hold, one after the other.
            starts: ``int64[lists + 1]``, where each begins.
            is_null: ``bool[lists]``, True where one is null.
            places: ``int[n]``, the list of each row.
        """

        def refuse(wrong: NDArray, each: int, reason: str, remedy: str) -> None:
            """Raise for the first of some items, of which each item of a list has made so many."""
            rows = np.searchsorted(starts, wrong // each, side="right") - 1
            rows = np.flatnonzero(np.isin(places, rows[~is_null[rows]]))
            if len(rows):
                raise BadValue(reason, remedy, row=int(rows[0]))

        each = 1
        for size in self._inner:
            found = pc.fill_null(pc.list_value_length(items), -1)
            wrong = np.flatnonzero(pc.not_equal(found, size))
            reason = f"has a list within its list that has not {size:,} values"
            refuse(wrong, each, reason, "Correct the row, or the declared shape.")
            items, each = items.flatten(), each * size
        if items.null_count:
            wrong = np.flatnonzero(_nulls(items))
            held = f"{len(wrong):,} nulls in such lists of the column"
            reason = f"has a null inside its list ({held})"
            refuse(wrong, each, reason, "Fill them in before building the dataset.")
        values: NDArray = _zero_nulls(items).to_numpy(zero_copy_only=False)
        return values.astype(self.stored, copy=False).reshape(-1, *self._inner)

    def _cut(
        self, source: Source, starts: NDArray, lengths: NDArray, is_null: NDArray
    ) -> tuple[NDArray, NDArray]:
        """Return where the rows that each sample is made of begin, and how many they are."""
        cuts = self.field.cuts(source)
        if cuts is None:
            return starts, lengths
        first, last = cuts[:, 0], np.where(cuts[:, 1] == END, lengths, cuts[:, 1])
        wrong = np.flatnonzero(~((first >= 0) & (first <= last) & (last <= lengths)) & ~is_null)
        if wrong.size:
            row = int(wrong[0])
            raise BadValue(*no_rows(f"{lengths[row]:,} values", first[row], last[row]), row=row)
        return starts + first, last - first

    def _wrong(self, length: int) -> str:
        return f"has {length:,} values where shape={self.spec.shape} needs {self._length:,}"

    def _equal(self, values: NDArray, starts: NDArray, lengths: NDArray, is_null: NDArray) -> Columnar:
        """Return the reader of lists that must have one length."""
        size = self._length
        wrong = np.flatnonzero((lengths != size) & ~is_null)
        if wrong.size:
            row = int(wrong[0])
            raise BadValue(
                self._wrong(lengths[row]),
                "Correct the row, or pass pad_to=<length> to pad and cut.",
                row=row,
            )
        if is_null.all():
            return self._gather(np.zeros((len(starts), size, *self._inner), self.stored))
        if len(values) == size * len(starts) and (np.diff(starts) == size).all():
            return self._gather(values.reshape(len(starts), size, *self._inner))
        # Every run of so many rows, of which the samples are some: nothing is copied.
        shape = (len(values) - size + 1, size, *values.shape[1:])
        strides = (values.strides[0], *values.strides)
        runs = np.lib.stride_tricks.as_strided(values, shape, strides, writeable=False)
        return self._gather(runs, np.where(is_null, 0, starts))


class Files(Layout):
    """Names of files, one array in each, or with the path of one inside."""

    def __init__(self, field: Array, name: str) -> None:
        self.field, self.name = field, name
        if field.shape is None:
            raise DeclarationError(
                lines(
                    f"{name!r} holds file names, and no file is read at declaration.",
                    "Pass shape=... of one sample (None as first size, with pad_to=, if it varies), and "
                    "dtype=... if it is not float32.",
                )
            )
        shape = field.shape if field.pad_to is None else (field.pad_to, *field.shape[1:])
        self.spec = Spec(_sizes(shape), field.dtype or "float32")

    def bind(self, source: Source) -> tuple[Columnar | PerSample, NDArray | None]:
        field, cells = self.field, source.cells(self.name)
        is_null = cells.is_null()
        reader = ArrayFiles(
            cells,
            source.folder(self.name),
            field.member,
            tuple(field.shape or ()),
            self.spec,
            field.scale,
            self._padding,
            field.cuts(source),
        )
        there = np.arange(len(source)) if is_null is None else np.flatnonzero(~is_null)
        if len(there):
            # What is wrong with that name is told when it is read.
            with suppress(BadValue):
                reader.require(int(there[0]))
        return reader, is_null


def _number_dtype(columns: Columns, name: str) -> np.dtype[Any]:
    column = columns[name]
    if isinstance(column, np.ndarray):
        if column.ndim == 1 and column.dtype.kind in "biuf":
            stored: np.dtype[Any] = column.dtype
            return stored
        kind: object = f"arrays of shape {column.shape[1:]}" if column.ndim > 1 else column.dtype
    else:
        kind = column.type
        if is_number(column.type) and not pa.types.is_decimal(column.type):
            return np.dtype(cast(type, column.type.to_pandas_dtype()))
    raise DeclarationError(
        f"several columns make one Array if each holds one number a sample; {name!r} holds {kind}."
    )


def _list_dtype(name: str, items: Any) -> np.dtype[Any]:
    if not is_number(items) or pa.types.is_decimal(items):
        raise DeclarationError(
            lines(
                f"an Array column holds lists of numbers; {name!r} holds lists of {items}.",
                "Convert the lists, or read the column with another field.",
            )
        )
    return np.dtype(cast(type, items.to_pandas_dtype()))


def no_numbers(name: str, kind: object) -> DeclarationError:
    """Return what is to be raised for a column that holds no arrays."""
    return DeclarationError(
        lines(
            f"an Array column holds arrays, lists, numbers or file names; {name!r} holds {kind}.",
            "Convert the column, or read it with another field.",
        )
    )


def unequal(what: str, otherwise: str = "") -> DeclarationError:
    """Return what is to be raised where samples may have any length."""
    return DeclarationError(
        lines(
            f"samples of unequal length cannot share a batch: {what}.",
            f"Pass pad_to=<length>: shorter samples are filled with 0, longer ones cut{otherwise}.",
        )
    )


def is_series(kind: pa.DataType) -> bool:
    """Tell whether an Arrow column of this type holds lists of any length."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _is_list(kind: pa.DataType) -> bool:
    return is_series(kind) or bool(pa.types.is_fixed_size_list(kind))


def _agree(told: tuple[int | None, ...], shape: Sequence[int | None]) -> bool:
    """Tell whether a shape names all inner sizes, and those that are told."""
    inner = zip(told[1:], shape[1:], strict=False)
    return len(told) == len(shape) and all(known in (None, size) for known, size in inner)


def _nulls(array: pa.Array) -> NDArray:
    is_null: NDArray = pc.is_null(array).to_numpy(zero_copy_only=False)
    return is_null


def _zero_nulls(array: pa.Array) -> pa.Array:
    return pc.fill_null(array, pa.scalar(0, array.type)) if array.null_count else array


def _refuse_null_items(items: pa.Array, starts: NDArray, is_null: NDArray) -> None:
    """Raise if a list that is not null itself has a null in it; list `i` begins at ``starts[i]``."""
    if not items.null_count:
        return
    rows = np.searchsorted(starts, np.flatnonzero(_nulls(items)), side="right") - 1
    rows = rows[~is_null[rows]]
    if len(rows):
        raise BadValue(
            f"has a null inside its list ({len(rows):,} nulls in such lists of the column)",
            "Fill them in before building the dataset.",
            row=int(rows[0]),
        )


def _sizes(shape: Sequence[int | None]) -> Shape:
    """Return a shape of which every size is known."""
    return tuple(size for size in shape if size is not None)
