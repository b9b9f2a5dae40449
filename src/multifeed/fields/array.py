"""Arrays: in memory, in list columns, in many scalar columns, or one file a sample."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from multifeed.errors import BadValue, DeclarationError, lines
from multifeed.fields.base import Base, Columnar, Field, Learned, PerSample, Reader, Remark
from multifeed.fields.examine import outliers
from multifeed.fields.gather import FilledRows, Gather, GatherLists, OneByOne, Padding
from multifeed.fields.npy import MAX_UNPACKED_BYTES, parse_npy, unpack_npz
from multifeed.fields.numeric import is_number, numbers
from multifeed.fields.pieces import bind_pieces
from multifeed.fields.rows import Cells, NDArray, Rows, Source
from multifeed.fields.shared import (
    Preprocess,
    check_scale,
    checked_dtype,
    column_names,
    fill_value,
    holds_text,
    is_raise,
    kept_dtype,
    missing_value,
    one_of,
    preprocessed_spec,
    store,
    whole_number,
    wrap,
)
from multifeed.folder import Folder, split_member
from multifeed.spec import Spec, fits
from multifeed.table import Columns

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Array(Field):
    """Arrays of one shape and dtype.

    Args:
        column: One column that holds arrays: N-D NumPy arrays or memmaps (never copied), Arrow lists or
            fixed-shape tensors, or names of files (``.npy``, or ``.npz::member``). Or several scalar
            columns, or a pattern such as ``"pixel*"`` (in table order), that are the elements of one
            array.
        shape: Shape of one sample. May be left out where the column tells it (N-D arrays, tensors,
            lists of fixed size). A first axis of None is ragged and needs `pad_to`.
        dtype: Dtype of the batch. By default integers stay (int64 becomes int32) and floats become
            float32; for files, which are not looked at in advance, it is float32. A number that the
            dtype cannot hold is an error.
        scale: Multiplied with every value, e.g. ``1/255``; the default dtype is then float32.
        pad_to: Length of the first axis: shorter samples are filled with 0, longer ones cut.
        padding: Which end is filled, ``"post"`` or ``"pre"``.
        truncating: Which end is cut, ``"post"`` or ``"pre"``.
        interpolation: Between pixels, where geometry of augmentation acts on it: ``"bilinear"``, or
            ``"nearest"`` for masks and label maps, whose values then stay as they are.
        preprocess: A function of one sample's array (of `shape` and `dtype`) that returns another;
            also called with zeros at declaration, to learn what it returns.
        missing: ``"raise"``, ``"zero"`` or the value that fills a sample whose column is null.

    Raises:
        DeclarationError: If the column does not exist, cannot hold arrays, or is ragged without
            `pad_to`.

    Example:
        >>> import numpy as np, multifeed as mf
        >>> data = mf.Dataset({"x": np.arange(6).reshape(3, 2)}, inputs=Array("x"))
        >>> data[2]
        (array([4, 5], dtype=int32),)
    """

    column: str | Sequence[str]
    shape: Sequence[int | None] | None = None
    _: KW_ONLY
    dtype: str | None = None
    scale: float | None = None
    pad_to: int | None = None
    padding: str = "post"
    truncating: str = "post"
    interpolation: str = "bilinear"
    preprocess: Preprocess | None = None
    missing: Any = "raise"

    def __post_init__(self) -> None:
        # What is declared may come as any list, and as NumPy's dtypes and integers.
        if not isinstance(self.column, str):
            object.__setattr__(self, "column", column_names(self.column))
        object.__setattr__(self, "shape", _checked_shape(self.shape))
        object.__setattr__(self, "dtype", checked_dtype(self.dtype))
        one_of("padding", self.padding, ("post", "pre"))
        one_of("truncating", self.truncating, ("post", "pre"))
        one_of("interpolation", self.interpolation, ("bilinear", "nearest"))
        check_scale(self.scale, self.dtype or "float32")
        if self.pad_to is None:
            if self.shape and self.shape[0] is None:
                raise _unequal(f"shape={self.shape}")
            return
        length = whole_number(self.pad_to) or 0
        if length < 1 or self.shape == ():
            raise DeclarationError(
                "pad_to is the length of the first axis, at least 1; received "
                f"pad_to={self.pad_to!r}, shape={self.shape}."
            )
        object.__setattr__(self, "pad_to", length)

    @property
    def reads(self) -> tuple[str, ...]:
        return column_names(self.column)

    @property
    def pads(self) -> tuple[int, str] | None:
        return None if self.pad_to is None else (self.pad_to, self.padding)

    def check(self, columns: Columns) -> None:
        self._layout(columns)
        if not is_raise(self.missing):
            fill_value(self.missing, self.spec_of(columns, None))

    def spec_of(self, columns: Columns, learned: Learned | None) -> Spec:
        return preprocessed_spec(self._layout(columns).spec, self.preprocess)

    def bind(self, source: Source, learned: Learned | None) -> Reader:
        names = source.columns.all_matching(self.reads)
        reader, is_null = bind_pieces(self._layout(source.columns).bind, source, names)
        if isinstance(reader, Columnar):
            if self.preprocess is None:
                return _without_nulls(reader, is_null, self.missing)
            reader = OneByOne(reader)
        return wrap(reader, missing=self.missing, is_null=is_null, preprocess=self.preprocess)

    def examine(self, rows: Rows, learned: Learned | None) -> Iterator[Remark]:
        layout = self._layout(rows.columns)
        if isinstance(layout, _Lists):
            yield from layout.examine(rows)
        # Of the pixels of an image, constant ones and rare ones are normal.
        elif isinstance(layout, _Memory | _Scalars) and layout.found == ():
            yield from outliers(self.reads[0], numbers(rows, self.reads[0]))

    def restore(self, values: NDArray, learned: Learned | None) -> NDArray:
        """Undo the scale."""
        return values if self.scale is None else values / self.scale

    def base(self, source: Source, learned: Learned | None) -> Base:
        return replace(super().base(source, learned), interpolation=self.interpolation)

    def _layout(self, columns: Columns) -> _Layout:
        """Find out how the columns hold arrays."""
        names = columns.all_matching(self.reads)
        if names != [self.column]:
            return _Scalars(self, columns, names)
        name = names[0]
        column = columns[name]
        if isinstance(column, np.ndarray):
            return _Memory(self, name, column)
        kind = column.type
        if holds_text(kind):
            return _Files(self, name)
        if isinstance(kind, pa.FixedShapeTensorType) or pa.types.is_fixed_size_list(kind):
            return _FixedLists(self, name, kind)
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            return _Lists(self, name, kind)
        if is_number(kind):
            return _Scalars(self, columns, names)
        raise _no_numbers(name, kind)


class _Layout:
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


class _Memory(_Layout):
    """An N-D NumPy array or memmap, rows first."""

    def __init__(self, field: Array, name: str, values: NDArray) -> None:
        if values.dtype.kind not in "biuf":
            raise _no_numbers(name, values.dtype)
        self.field, self.values = field, values
        self.found = values.shape[1:]
        self.spec = self._spec(self.found, values.dtype, repr(name))

    def bind(self, source: Source) -> tuple[Columnar | PerSample, NDArray | None]:
        return self._gather(self.values, source.index), None


class _Scalars(_Layout):
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


class _FixedLists(_Layout):
    """Arrow lists of one size, or fixed-shape tensors."""

    def __init__(self, field: Array, name: str, kind: Any) -> None:
        self.field, self.name = field, name
        self.stored = _list_dtype(name, kind)
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


class _Lists(_Layout):
    """Arrow lists of any length."""

    def __init__(self, field: Array, name: str, kind: Any) -> None:
        self.field, self.name = field, name
        self.stored = _list_dtype(name, kind)
        if field.pad_to is not None and field.shape not in (None, (None,)):
            raise DeclarationError(
                lines(
                    f"a list that is padded has one axis; {name!r} is declared with "
                    f"shape={field.shape}.",
                    "Leave shape out, or store one .npy file a sample.",
                )
            )
        if field.pad_to is None and field.shape is None:
            raise _unequal(f"{name!r} holds lists of any length", "; or shape=..., if all have one")
        # Without padding, each list has the declared shape, or is an error.
        found = (0,) if field.shape is None or field.pad_to else _sizes(field.shape)
        self.spec = self._spec(found, self.stored, repr(name))

    def bind(self, source: Source) -> tuple[Columnar | PerSample, NDArray | None]:
        array = source.arrow(self.name)
        is_null = _nulls(array)
        lengths = _zero_nulls(pc.list_value_length(array)).to_numpy(zero_copy_only=False)
        starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        items = array.flatten()
        _refuse_null_items(items, starts, is_null)
        values = items.to_numpy(zero_copy_only=False).astype(self.stored, copy=False)
        padding, scale = self._padding, self.field.scale
        if padding is not None:
            return GatherLists(values, starts[:-1], lengths, self.spec, scale, padding), is_null
        return self._equal(values, lengths, is_null), is_null

    def examine(self, rows: Rows) -> Iterator[Remark]:
        """Yield which lists have a wrong length: if the declaration is wrong, those are all."""
        if self._padding is None:
            lengths = pc.list_value_length(rows.arrow(self.name))
            # A null is not equal to any length, nor unequal.
            wrong = np.flatnonzero(pc.not_equal(lengths, self._size).fill_null(False))
            details = [self._wrong(lengths[row].as_py()) for row in wrong]
            yield Remark("unusable value", wrong, details, is_bad=True)

    @property
    def _size(self) -> int:
        return math.prod(self.spec.shape)

    def _wrong(self, length: int) -> str:
        return f"has {length:,} values where shape={self.spec.shape} needs {self._size:,}"

    def _equal(self, values: NDArray, lengths: NDArray, is_null: NDArray) -> Columnar:
        """Return the reader of lists that must have one length."""
        size = self._size
        wrong = np.flatnonzero((lengths != size) & ~is_null)
        if wrong.size:
            row = int(wrong[0])
            raise BadValue(
                self._wrong(lengths[row]),
                "Correct the row, or pass pad_to=<length> to pad and cut.",
                row=row,
            )
        if is_null.any():
            full = np.zeros((len(lengths), size), self.stored)
            full[~is_null] = values.reshape(-1, size)
            values = full
        return self._gather(values.reshape(len(lengths), size))


class _Files(_Layout):
    """Names of ``.npy`` files, or of ``.npz`` archives and a member."""

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
        cells = source.cells(self.name)
        reader = _ArrayFiles(self, cells, source.folder(self.name))
        return reader, cells.is_null()


class _ArrayFiles(PerSample):
    def __init__(self, layout: _Files, cells: Cells, folder: Folder) -> None:
        self.spec = layout.spec
        self._cells, self._folder = cells, folder
        self._scale, self._padding = layout.field.scale, layout._padding
        self._wanted = tuple(layout.field.shape or ())
        # Numbers have at most 16 bytes, and headers are short.
        ragged = None in self._wanted
        self._most_bytes = MAX_UNPACKED_BYTES if ragged else 16 * math.prod(_sizes(self._wanted)) + 2**16

    def file(self, row: int) -> str | None:
        try:
            return self._folder.path(split_member(self._cells[row])[0])
        except BadValue:
            return None

    def load(self, row: int) -> bytes:
        name, member = split_member(self._cells[row])
        data = self._folder.read(name)
        return unpack_npz(data, member, self._most_bytes) if member else data

    def decode(self, row: int, loaded: bytes, out: NDArray) -> int | None:
        array = parse_npy(loaded)
        if not fits(array.shape, self._wanted):
            raise BadValue(
                f"holds an array of shape {array.shape} where the declaration says {self._wanted}",
                "Correct the file or the declared shape; None as first size, with pad_to=, allows any "
                "length.",
            )
        length = None
        if self._padding is not None:
            length = min(len(array), self._padding.length)
            array = self._padding.apply(array[None])[0]
        store(array, out, scale=self._scale)
        return length


def _without_nulls(reader: Columnar, is_null: NDArray | None, missing: Any) -> Columnar:
    if is_null is None or not is_null.any():
        return reader
    if is_raise(missing):
        raise missing_value(is_null)
    return FilledRows(reader, is_null, fill_value(missing, reader.spec))


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


def _list_dtype(name: str, kind: Any) -> np.dtype[Any]:
    items = kind.value_type
    if not is_number(items) or pa.types.is_decimal(items):
        raise DeclarationError(
            lines(
                f"an Array column holds lists of numbers; {name!r} holds lists of {items}.",
                "Flatten the lists, or store one .npy file a sample.",
            )
        )
    return np.dtype(cast(type, items.to_pandas_dtype()))


def _no_numbers(name: str, kind: object) -> DeclarationError:
    return DeclarationError(
        lines(
            f"an Array column holds arrays, lists, numbers or file names; {name!r} holds {kind}.",
            "Convert the column, or read it with another field.",
        )
    )


def _unequal(what: str, otherwise: str = "") -> DeclarationError:
    return DeclarationError(
        lines(
            f"samples of unequal length cannot share a batch: {what}.",
            f"Pass pad_to=<length>: shorter samples are filled with 0, longer ones cut{otherwise}.",
        )
    )


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


def _checked_shape(shape: object) -> tuple[int | None, ...] | None:
    if shape is None:
        return None
    given = tuple(shape) if isinstance(shape, Sequence) and not isinstance(shape, str) else (0,)
    sizes = [None if size is None else whole_number(size) or 0 for size in given]
    if None in sizes[1:] or any(size is not None and size < 1 for size in sizes):
        raise DeclarationError(
            "shape is a tuple of sizes of at least 1, of which only the first may be None; received "
            f"{shape!r}."
        )
    return tuple(sizes)
