"""Arrays: in memory, in list columns, in many scalar columns, or one file a sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from multifeed.errors import DeclarationError, lines
from multifeed.fields.arrayfiles import END
from multifeed.fields.base import Base, Columnar, Field, Learned, Reader, Remark
from multifeed.fields.examine import outliers
from multifeed.fields.gather import FilledRows, OneByOne
from multifeed.fields.layouts import (
    Files,
    FixedLists,
    Layout,
    Lists,
    Memory,
    Scalars,
    is_series,
    no_numbers,
    unequal,
)
from multifeed.fields.numeric import is_number, numbers
from multifeed.fields.pieces import bind_pieces
from multifeed.fields.rows import NDArray, Rows, Source
from multifeed.fields.shared import (
    Preprocess,
    check_scale,
    checked_dtype,
    column_names,
    fill_value,
    holds_text,
    is_raise,
    missing_value,
    one_of,
    preprocessed_spec,
    whole_number,
    wrap,
)
from multifeed.spec import Spec
from multifeed.table import Columns


@dataclass(frozen=True)
class Array(Field):
    """Arrays of one shape and dtype.

    Args:
        column: One column that holds arrays: N-D NumPy arrays or memmaps (never copied), Arrow lists or
            fixed-shape tensors, or names of files: NumPy (``.npy``, ``.npz::member``), HDF5
            (``.h5::path``), Zarr (``.zarr::path``, a folder or a ``.zip``), MATLAB (``.mat::variable``),
            ``.csv`` and ``.tsv``. Or several scalar columns, or a pattern such as ``"pixel*"`` (in
            table order), that are the elements of one array.
        shape: Shape of one sample. May be left out where the column tells it (N-D arrays, tensors,
            lists of fixed size). A first axis of None is ragged and needs `pad_to`.
        dtype: Dtype of the batch. By default integers stay (int64 becomes int32) and floats become
            float32; for files, which are not looked at in advance, it is float32. A number that the
            dtype cannot hold is an error.
        member: The path inside each file whose name does not say one after ``::``.
        start: A column of whole numbers: the first row, counted along the first axis, that belongs to
            the sample; null for the first of all. It counts for files and for lists of any length, of
            which no more than these rows is read. By default the column ``"start"``, if there is one;
            None for none.
        stop: The same for the row behind the last one; null for the end.
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
    member: str | None = None
    start: str | None = "start"
    stop: str | None = "stop"
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
        for option in ("member", "start", "stop"):
            value = getattr(self, option)
            if value is not None and (not isinstance(value, str) or not value):
                what = "a path inside files" if option == "member" else "the name of a column"
                raise DeclarationError(f"{option} is {what}, or None; received {value!r}.")
        one_of("padding", self.padding, ("post", "pre"))
        one_of("truncating", self.truncating, ("post", "pre"))
        one_of("interpolation", self.interpolation, ("bilinear", "nearest"))
        check_scale(self.scale, self.dtype or "float32")
        if self.pad_to is None:
            if self.shape and self.shape[0] is None:
                raise unequal(f"shape={self.shape}")
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
        cuts = (name for name in (self.start, self.stop) if name is not None)
        return (*column_names(self.column), *cuts)

    @property
    def name(self) -> str:
        return self.column if isinstance(self.column, str) else super().name

    @property
    def pads(self) -> tuple[int, str] | None:
        return None if self.pad_to is None else (self.pad_to, self.padding)

    def settled(self, columns: Columns) -> Array:
        # Under its own name, a column that there is not, or that cannot mean it, is none.
        is_cut = self._is_series(columns)
        start, stop = (
            None if name == option and not (is_cut and name in columns) else name
            for option, name in (("start", self.start), ("stop", self.stop))
        )
        return replace(self, start=start, stop=stop)

    @property
    def is_cut(self) -> bool:
        """Whether a sample is some rows of an array."""
        return self.start is not None or self.stop is not None

    def check(self, columns: Columns) -> None:
        layout = self._layout(columns)
        if self.member is not None and not isinstance(layout, Files):
            raise DeclarationError(
                f"member is a path inside files; {self.column!r} holds no file names."
            )
        if self.is_cut and not isinstance(layout, Files | Lists):
            raise DeclarationError(
                lines(
                    f"start and stop cut arrays in files and lists of any length; {self.column!r} "
                    "holds neither.",
                    "Pass start=None and stop=None, or make windows of it with mf.windows.",
                )
            )
        for option, name in (("start", self.start), ("stop", self.stop)):
            if name is not None and not _holds_integers(columns[name]):
                raise DeclarationError(
                    lines(
                        f"{option} is a column of whole numbers; {name!r} holds {_kind(columns[name])}.",
                        f"Pass {option}=None if that column is about something else.",
                    )
                )
        if not is_raise(self.missing):
            fill_value(self.missing, self.spec_of(columns, None))

    def absent(self, source: Source) -> NDArray:
        names = source.columns.all_matching(column_names(self.column))
        return np.stack([source.nulls(name) for name in names], axis=1)

    def cuts(self, source: Source) -> NDArray | None:
        """Return the first row of each sample and the one behind its last: ``int64[n, 2]``, or None."""
        if not self.is_cut:
            return None
        found = np.empty((len(source), 2), np.int64)
        for place, (name, default) in enumerate(((self.start, 0), (self.stop, END))):
            found[:, place] = default if name is None else _integers(source.values(name), default)
        return found

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
        if isinstance(layout, Lists):
            yield from layout.examine(rows)
        # Of the pixels of an image, constant ones and rare ones are normal.
        elif isinstance(layout, Memory | Scalars) and layout.found == ():
            yield from outliers(self.reads[0], numbers(rows, self.reads[0]))

    def restore(self, values: NDArray, learned: Learned | None) -> NDArray:
        """Undo the scale."""
        return values if self.scale is None else values / self.scale

    def base(self, source: Source, learned: Learned | None) -> Base:
        return replace(super().base(source, learned), interpolation=self.interpolation)

    def _is_series(self, columns: Columns) -> bool:
        if not isinstance(self.column, str) or self.column not in columns:
            return False
        column = columns[self.column]
        return not isinstance(column, np.ndarray) and (holds_text(column.type) or is_series(column.type))

    def _layout(self, columns: Columns) -> Layout:
        """Find out how the columns hold arrays."""
        names = columns.all_matching(column_names(self.column))
        if names != [self.column]:
            return Scalars(self, columns, names)
        name = names[0]
        column = columns[name]
        if isinstance(column, np.ndarray):
            return Memory(self, name, column)
        kind = column.type
        if holds_text(kind):
            return Files(self, name)
        if isinstance(kind, pa.FixedShapeTensorType) or pa.types.is_fixed_size_list(kind):
            return FixedLists(self, name, kind)
        if is_series(kind):
            return Lists(self, name, kind)
        if is_number(kind):
            return Scalars(self, columns, names)
        raise no_numbers(name, kind)


def _kind(column: Any) -> object:
    return column.dtype if isinstance(column, np.ndarray) else column.type


def _holds_integers(column: Any) -> bool:
    if isinstance(column, np.ndarray):
        return column.ndim == 1 and column.dtype.kind in "iu"
    return bool(pa.types.is_integer(column.type))


def _integers(values: Any, default: int) -> NDArray:
    """Return a column of whole numbers, ``int64[n]``."""
    if not isinstance(values, np.ndarray):
        values = pc.fill_null(values.cast(pa.int64()), default).to_numpy(zero_copy_only=False)
    found: NDArray = values.astype(np.int64)
    return found


def _without_nulls(reader: Columnar, is_null: NDArray | None, missing: Any) -> Columnar:
    if is_null is None or not is_null.any():
        return reader
    if is_raise(missing):
        raise missing_value(is_null)
    return FilledRows(reader, is_null, fill_value(missing, reader.spec))


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
