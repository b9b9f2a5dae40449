"""Arrays: in memory, in list columns, in many scalar columns, or one file a sample."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from multifeed.errors import BadValue, DeclarationError, lines
from multifeed.fields.base import (
    Array as NDArray,
)
from multifeed.fields.base import (
    Columnar,
    Field,
    Learned,
    PerSample,
    Preprocess,
    Reader,
    Source,
    column_names,
    fill_value,
    is_raise,
    kept_dtype,
    missing_value,
    one_of,
    preprocessed_spec,
    wrap,
)
from multifeed.fields.numeric import is_number
from multifeed.files import Folder
from multifeed.spec import Spec, fits
from multifeed.table import Columns, is_text

_REPLACE = "Restore the file, or leave the row out with data.select."


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
            float32. Required for files unless they hold float32.
        scale: Multiplied with every value, e.g. ``1/255``; the default dtype is then float32.
        pad_to: Length of the first axis: shorter samples are filled with 0, longer ones cut.
        padding: Which end is filled, ``"post"`` or ``"pre"``.
        truncating: Which end is cut, ``"post"`` or ``"pre"``.
        preprocess: A function of one sample's array (of `shape` and `dtype`) that returns another;
            called once on zeros at declaration, to learn what it returns.
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
    preprocess: Preprocess | None = None
    missing: Any = "raise"

    def __post_init__(self) -> None:
        column_names(self.column)
        one_of("padding", self.padding, ("post", "pre"))
        one_of("truncating", self.truncating, ("post", "pre"))
        if self.dtype is not None:
            _check_dtype(self.dtype)
        if self.pad_to is not None and self.pad_to < 1:
            raise DeclarationError(f"pad_to must be at least 1; received {self.pad_to}.")
        shape = self.shape or ()
        if any(size is not None and size < 1 for size in shape) or None in shape[1:]:
            raise DeclarationError(
                f"sizes in shape are at least 1, and only the first may be None; received {shape}."
            )
        if None in shape and self.pad_to is None:
            raise DeclarationError(
                lines(
                    f"samples of unequal length cannot share a batch: shape={tuple(shape)}.",
                    "Pass pad_to=<length>: shorter samples are filled with 0, longer ones cut.",
                )
            )

    @property
    def reads(self) -> tuple[str, ...]:
        return column_names(self.column)

    def check(self, columns: Columns) -> None:
        self._layout(columns)

    def spec(self, columns: Columns, learned: Learned | None) -> Spec:
        return preprocessed_spec(self._layout(columns).spec, self.preprocess)

    def bind(self, source: Source, learned: Learned | None) -> Reader:
        layout = self._layout(source.columns)
        reader, is_null = layout.bind(source)
        if isinstance(reader, Columnar):
            if is_null is not None and is_null.any():
                if is_raise(self.missing):
                    raise missing_value(int(np.flatnonzero(is_null)[0]))
                if self.preprocess is None:
                    return _FilledRows(reader, is_null, fill_value(self.missing, reader.spec))
            if self.preprocess is None:
                return reader
            reader = _OneByOne(reader)
        return wrap(reader, missing=self.missing, is_null=is_null, preprocess=self.preprocess)

    def _layout(self, columns: Columns) -> _Layout:
        """Find out how the columns hold arrays."""
        names = [name for pattern in self.reads for name in columns.matching(pattern)]
        if len(names) > 1 or not isinstance(self.column, str):
            return _Scalars(self, columns, names)
        column = columns[names[0]]
        if isinstance(column, np.ndarray):
            return _Memory(self, names[0], column)
        kind = column.type
        if is_text(kind):
            return _Files(self, names[0])
        if isinstance(kind, pa.FixedShapeTensorType) or pa.types.is_fixed_size_list(kind):
            return _FixedLists(self, names[0], kind)
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            return _Lists(self, names[0], kind)
        if is_number(kind):
            return _Scalars(self, columns, names)
        raise DeclarationError(
            lines(
                f"an Array column holds arrays, lists, numbers or file names; {names[0]!r} holds "
                f"{kind}.",
                "Convert the column, or read it with another field.",
            )
        )

    def kept(self, stored: np.dtype[Any]) -> str:
        """Return the dtype of a batch for values that are stored as `stored`."""
        if self.dtype is not None:
            return self.dtype
        return "float32" if self.scale is not None else kept_dtype(stored.name)

    def declared(self, found: tuple[int, ...], name: str) -> tuple[int, ...]:
        """Return the shape of a sample, given the shape that the column has."""
        if self.shape is None or fits(found, tuple(self.shape)):
            return found if self.pad_to is None else (self.pad_to, *found[1:])
        if None not in self.shape and np.prod(found) == np.prod(np.asarray(self.shape, int)):
            return tuple(size for size in self.shape if size is not None)
        raise DeclarationError(
            lines(
                f"the samples in {name!r} have shape {found}, which is not {tuple(self.shape)} and "
                "cannot be reshaped to it.",
                f"Pass shape={found}, or leave shape out.",
            )
        )


class _Layout:
    """How a column holds arrays: what one sample of it is, and how it is read."""

    spec: Spec

    def bind(self, source: Source) -> tuple[Reader, NDArray | None]:
        """Return the reader, and ``bool[n]`` that is True where the column is null."""
        raise NotImplementedError


class _Memory(_Layout):
    """An N-D NumPy array or memmap, rows first."""

    def __init__(self, field: Array, name: str, values: NDArray) -> None:
        self.field, self.values = field, values
        shape = field.declared(values.shape[1:], name)
        self.spec = Spec(shape, field.kept(values.dtype))

    def bind(self, source: Source) -> tuple[Reader, NDArray | None]:
        return _Gather(self.field, self.values, source.index, self.spec), None


class _Scalars(_Layout):
    """Several scalar columns, the elements of one array."""

    def __init__(self, field: Array, columns: Columns, names: list[str]) -> None:
        self.field, self.names = field, names
        dtypes = [_number_dtype(columns, name) for name in names]
        self.stored = np.result_type(*dtypes)
        self.spec = Spec(field.declared((len(names),), str(field.column)), field.kept(self.stored))

    def bind(self, source: Source) -> tuple[Reader, NDArray | None]:
        stacked = np.empty((len(source), len(self.names)), self.stored)
        is_null = np.zeros(len(source), bool)
        for place, name in enumerate(self.names):
            column = source.columns[name]
            if isinstance(column, np.ndarray):
                stacked[:, place] = column if source.index is None else column[source.index]
                continue
            values = source.arrow(name)
            if values.null_count:
                is_null |= pc.is_null(values).to_numpy(zero_copy_only=False)
                values = pc.fill_null(values, pa.scalar(0, values.type))
            stacked[:, place] = values.to_numpy(zero_copy_only=False)
        return _Gather(self.field, stacked, None, self.spec), is_null


class _FixedLists(_Layout):
    """Arrow lists of one size, or fixed-shape tensors."""

    def __init__(self, field: Array, name: str, kind: Any) -> None:
        self.field, self.name = field, name
        is_tensor = isinstance(kind, pa.FixedShapeTensorType)
        found = tuple(kind.shape) if is_tensor else (kind.list_size,)
        self.stored = _list_dtype(name, kind)
        self.spec = Spec(field.declared(found, name), field.kept(self.stored))
        self.found = found

    def bind(self, source: Source) -> tuple[Reader, NDArray | None]:
        array = source.arrow(self.name)
        is_null = pc.is_null(array).to_numpy(zero_copy_only=False)
        storage = array.storage if isinstance(array, pa.ExtensionArray) else array
        _refuse_null_items(storage.filter(pc.is_valid(storage)).flatten(), self.name)
        # `values` has the items of null rows as well, which `flatten` leaves out.
        size = int(np.prod(self.found))
        values = storage.values.slice(storage.offset * size, len(storage) * size)
        stacked = values.to_numpy(zero_copy_only=False).astype(self.stored, copy=False)
        stacked = stacked.reshape(len(storage), *self.found)
        return _Gather(self.field, stacked, None, self.spec), is_null


class _Lists(_Layout):
    """Arrow lists of any length."""

    def __init__(self, field: Array, name: str, kind: Any) -> None:
        self.field, self.name = field, name
        self.stored = _list_dtype(name, kind)
        if field.pad_to is None:
            if field.shape is None:
                raise DeclarationError(
                    lines(
                        f"samples of unequal length cannot share a batch: {name!r} holds lists of any "
                        "length.",
                        "Pass pad_to=<length> to pad and cut them, or shape=... if all have one shape.",
                    )
                )
            shape = tuple(size for size in field.shape if size is not None)
        else:
            shape = (field.pad_to,)
        self.spec = Spec(shape, field.kept(self.stored))

    def bind(self, source: Source) -> tuple[Reader, NDArray | None]:
        array = source.arrow(self.name)
        is_null = pc.is_null(array).to_numpy(zero_copy_only=False)
        items = array.flatten()
        _refuse_null_items(items, self.name)
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        values = items.to_numpy(zero_copy_only=False).astype(self.stored, copy=False)
        starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)[:-1]])
        if self.field.pad_to is not None:
            return _Padded(self.field, values, starts, lengths, self.spec), is_null
        size = int(np.prod(self.spec.shape))
        wrong = np.flatnonzero((lengths != size) & ~is_null)
        if wrong.size:
            row = int(wrong[0])
            raise BadValue(
                f"has {lengths[row]:,} values where shape={self.spec.shape} needs {size:,}",
                "Correct the row, or pass pad_to=<length> to pad and cut.",
                row=row,
            )
        if is_null.any():
            full = np.zeros((len(lengths), size), self.stored)
            full[~is_null] = values.reshape(-1, size)
            values = full
        return _Gather(self.field, values.reshape(len(lengths), size), None, self.spec), is_null


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
        lengths = field.shape if field.pad_to is None else (field.pad_to, *field.shape[1:])
        shape = tuple(size for size in lengths if size is not None)
        self.spec = Spec(shape, field.dtype or "float32")

    def bind(self, source: Source) -> tuple[Reader, NDArray | None]:
        names = source.arrow(self.name)
        is_null = pc.is_null(names).to_numpy(zero_copy_only=False)
        return _ArrayFiles(self.field, names, source.folder(self.name), self.spec), is_null


class _Gather(Columnar):
    """Gathers rows of an array in memory, converting them where the declaration asks for it."""

    def __init__(self, field: Array, values: NDArray, index: NDArray | None, spec: Spec) -> None:
        self.spec = spec
        self._values, self._index, self._scale = values, index, field.scale
        self._pads = field.pad_to is not None and values.shape[1] != field.pad_to
        self._field = field
        self._plain = (
            not self._pads
            and field.scale is None
            and values.dtype == np.dtype(spec.dtype)
            and values.dtype.isnative
        )

    def gather(self, rows: NDArray, out: NDArray) -> None:
        if self._index is not None:
            rows = self._index[rows]
        if self._plain:
            # mode="clip": see Matrix.
            target = out.reshape(len(rows), *self._values.shape[1:])
            self._values.take(rows, axis=0, out=target, mode="clip")
            return
        taken = self._values.take(rows, axis=0)
        if self._pads:
            taken = _pad_rows(taken, self._field, self.spec.shape[0])
        _convert(taken.reshape(out.shape), out, self._scale)


class _Padded(Columnar):
    """Gathers lists of any length, padded and cut to one."""

    def __init__(
        self, field: Array, values: NDArray, starts: NDArray, lengths: NDArray, spec: Spec
    ) -> None:
        self.spec = spec
        self._field = field
        # One more value, so that an empty list has something to point at.
        self._values = np.append(values, values.dtype.type(0))
        self._starts, self._lengths = starts, lengths

    def gather(self, rows: NDArray, out: NDArray) -> None:
        width = self.spec.shape[0]
        lengths = self._lengths[rows]
        kept = np.minimum(lengths, width)
        starts = self._starts[rows]
        if self._field.truncating == "pre":
            starts = starts + lengths - kept
        place = np.arange(width)
        if self._field.padding == "pre":
            place = place - (width - kept)[:, None]
        valid = (place >= 0) & (place < kept[:, None])
        taken = self._values[np.where(valid, starts[:, None] + place, 0)]
        _convert(taken, out, self._field.scale)
        out[~valid] = 0


class _FilledRows(Columnar):
    def __init__(self, inner: Columnar, is_null: NDArray, fill: NDArray) -> None:
        self.spec = inner.spec
        self._inner, self._is_null, self._fill = inner, is_null, fill

    def gather(self, rows: NDArray, out: NDArray) -> None:
        self._inner.gather(rows, out)
        out[self._is_null[rows]] = self._fill


class _OneByOne(PerSample):
    """Reads rows of a columnar reader one at a time, for a user's function of one sample."""

    def __init__(self, inner: Columnar) -> None:
        self.spec = inner.spec
        self._inner = inner

    def read(self, row: int, out: NDArray) -> None:
        self._inner.gather(np.array([row]), out[None])


class _ArrayFiles(PerSample):
    def __init__(self, field: Array, names: pa.Array, folder: Folder, spec: Spec) -> None:
        self.spec = spec
        self._field, self._names, self._folder = field, names, folder

    def file(self, row: int) -> str | None:
        return self._folder.path(self._names[row].as_py())

    def read(self, row: int, out: NDArray) -> None:
        name, separator, member = self._names[row].as_py().partition("::")
        data = self._folder.read(name)
        if separator:
            data = _npz_member(data, member)
        array = parse_npy(data)
        wanted = tuple(self._field.shape or ())
        if not fits(array.shape, wanted):
            raise BadValue(
                f"holds an array of shape {array.shape} where the declaration says {wanted}",
                "Correct the file or the declared shape; None as first size, with pad_to=, allows any "
                "length.",
            )
        if not np.can_cast(array.dtype, out.dtype, "same_kind") and self._field.scale is None:
            raise BadValue(
                f"holds {array.dtype} where the declaration says {out.dtype}",
                f'Pass dtype="{kept_dtype(array.dtype.name)}" to mf.Array.',
            )
        if self._field.pad_to is not None:
            array = _pad_rows(array[None], self._field, out.shape[0])[0]
        _convert(array, out, self._field.scale)


def parse_npy(data: bytes) -> NDArray:
    """Return the array that a ``.npy`` file holds, without a copy and without unpickling."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read_header(stream)
    except (ValueError, KeyError, EOFError, SyntaxError) as error:
        raise BadValue(f"is not a readable .npy file ({error})", _REPLACE) from error
    if dtype.hasobject:
        raise BadValue(
            "holds Python objects, which are never unpickled", "Save it as an array of numbers."
        )
    count = int(np.prod(shape, dtype=object))
    if len(data) - stream.tell() != count * dtype.itemsize:
        raise BadValue(
            f"ends early or is damaged: {len(data) - stream.tell():,} bytes of data where its header "
            f"says {count * dtype.itemsize:,}",
            _REPLACE,
        )
    flat = np.frombuffer(data, dtype, count, stream.tell())
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def _npz_member(data: bytes, member: str) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            if member not in names:
                raise BadValue(
                    f"has no member {member!r}; it has {names[:8]}", "Correct the name after '::'."
                )
            return archive.read(f"{member}.npy")
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise BadValue(f"is not a readable .npz file ({error})", _REPLACE) from error


def _pad_rows(values: NDArray, field: Array, width: int) -> NDArray:
    """Pad or cut axis 1 of ``[n, length, ...]`` to `width`."""
    length = values.shape[1]
    if length > width:
        return values[:, :width] if field.truncating == "post" else values[:, length - width :]
    padded = np.zeros((len(values), width, *values.shape[2:]), values.dtype)
    start = 0 if field.padding == "post" else width - length
    padded[:, start : start + length] = values
    return padded


def _convert(values: NDArray, out: NDArray, scale: float | None) -> None:
    if scale is not None:
        np.multiply(values, scale, out=out, casting="unsafe")
        return
    np.copyto(out, values, casting="unsafe")
    if values.dtype.kind in "iu" and not np.can_cast(values.dtype, out.dtype):
        lost = np.argwhere(out != values)
        if len(lost):
            place = tuple(lost[0])
            raise BadValue(
                f"holds {values[place]}, which {out.dtype} cannot hold",
                f'Pass dtype="{values.dtype}" to mf.Array.',
            )


def _number_dtype(columns: Columns, name: str) -> np.dtype[Any]:
    column = columns[name]
    if isinstance(column, np.ndarray):
        if column.ndim == 1:
            stored: np.dtype[Any] = column.dtype
            return stored
        kind: object = f"arrays of shape {column.shape[1:]}"
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


def _refuse_null_items(items: pa.Array, name: str) -> None:
    if items.null_count:
        raise BadValue(
            f"has null values inside its lists ({items.null_count:,} in column {name!r})",
            "Fill them in before building the dataset.",
        )


def _check_dtype(dtype: str) -> None:
    try:
        valid = np.dtype(dtype).kind in "biuf"
    except TypeError:
        valid = False
    if not valid:
        raise DeclarationError(f"dtype must be a NumPy number's name; received {dtype!r}.")
