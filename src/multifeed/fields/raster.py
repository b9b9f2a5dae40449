"""Rasters: GeoTIFF files of any number of bands, whole or window by window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from multifeed.errors import BadValue, DeclarationError, lines
from multifeed.fields.base import Base, Field, Learned, PerSample
from multifeed.fields.frame import Frame, between, resizing
from multifeed.fields.geotiff import Band, Pixels, Scene, Size, Window, versions
from multifeed.fields.handles import Handles
from multifeed.fields.headers import agreed
from multifeed.fields.resize import resize
from multifeed.fields.rows import Cells, NDArray, Requests, Source
from multifeed.fields.scratch import Scratch
from multifeed.fields.shared import (
    Filled,
    Preprocess,
    apply_preprocess,
    at_least,
    check_scale,
    checked_dtype,
    checked_size,
    fill_value,
    holds_text,
    is_number,
    is_raise,
    kept_dtype,
    missing_value,
    one_column,
    one_of,
    preprocessed_spec,
    store,
    watch_over_preprocess,
    whole_number,
    wrap,
)
from multifeed.fields.watch import Watch
from multifeed.folder import Folder
from multifeed.spec import Spec
from multifeed.table import Columns

# What the columns of a window are called: its first row and column, its height and width, in pixels.
WINDOW = ("row_off", "col_off", "height", "width")

MAX_PIXELS = 2**28


@dataclass(frozen=True)
class Raster(Field):
    """A GeoTIFF file, or a window of one, as an array ``[height, width, bands]``.

    Read by rasterio (the extra ``geo``): any number of bands, any dtype but complex ones, tiles or
    strips, packed in any way that its GDAL knows. Values are as stored: palettes are not looked up, and
    scales and offsets of bands are not applied. What lies beside the file is never read.

    Where a sample is brought to another size, GDAL does it, from the nearest overview that suffices:
    where it shrinks, ``"bilinear"`` averages over all pixels that have a value. What that makes of a
    file is the *base image* of `base_size`, which augmentation and caches work on.

    Args:
        column: A column of file names.
        bands: Which bands, in this order: numbers from 1 on, as GDAL counts, or names (descriptions of
            bands). One alone is that band. By default all, if all files have the same number.
        size: (height, width) of the batch, in pixels; one number for a square. By default that of the
            windows, or of the files, which must then all have one.
        window: The four columns that say which part of the file a sample is, in pixels: first row, first
            column, height and width. By default ``row_off``, ``col_off``, ``height`` and ``width``, if
            the row table has all four; False for never. See `tiles`.
        nodata: What stands where the file has no value: where it has its own nodata value, or NaN, or
            where its mask or alpha band is 0. In units of the file (before `scale`). By default all is
            as stored.
        base_size: Size of the base image; `size` by default. Larger, it leaves room to zoom in.
        interpolation: ``"bilinear"``, or ``"nearest"`` for label maps, whose values then stay as they
            are (if those of their overviews are).
        dtype: Dtype of the batch. By default that of the files, which must then all have one; int64
            becomes int32, and floats become float32. A number that it cannot hold is an error.
        scale: Multiplied with every value, e.g. ``1/10000``; the default dtype is then float32.
        preprocess: A function of one sample's array (after `dtype` and `scale`) that returns another;
            also called with zeros at declaration, to learn what it returns.
        missing: ``"raise"``, ``"zero"`` or the value that fills a sample of which a column is null.
        max_pixels: A sample for which more pixels of each band would have to be decoded is an error;
            with overviews, that is fewer than the window has.

    Raises:
        DeclarationError: If an option is unknown or does not fit the others, the column holds no file
            names, or what is left to the files is not the same in all of them.

    Example:
        >>> Raster("scene", bands=[4, 3, 2], size=256, dtype="uint16").bands
        (4, 3, 2)
    """

    column: str
    bands: Band | Sequence[Band] | None = None
    size: int | Sequence[int] | None = None
    window: Sequence[str] | bool | None = None
    nodata: float | None = None
    _: KW_ONLY
    base_size: int | Sequence[int] | None = None
    interpolation: str = "bilinear"
    dtype: str | None = None
    scale: float | None = None
    preprocess: Preprocess | None = None
    missing: Any = "raise"
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        one_column(self, self.column)
        object.__setattr__(self, "bands", _checked_bands(self.bands))
        for what in ("size", "base_size"):
            if getattr(self, what) is not None:
                object.__setattr__(self, what, checked_size(what, getattr(self, what)))
        object.__setattr__(self, "window", _checked_window(self.window))
        if self.nodata is not None and not is_number(self.nodata):
            raise DeclarationError(f"nodata is one number, or None; received {self.nodata!r}.")
        one_of("interpolation", self.interpolation, ("bilinear", "nearest"))
        object.__setattr__(self, "dtype", checked_dtype(self.dtype))
        if self.scale is not None and self.dtype is None:
            object.__setattr__(self, "dtype", "float32")
        check_scale(self.scale, self.dtype or "")
        object.__setattr__(self, "max_pixels", at_least("max_pixels", self.max_pixels, 1))

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.column, *self._windows)

    @property
    def name(self) -> str:
        return self.column

    def settled(self, columns: Columns) -> Raster:
        window = self.window
        if window is None:
            window = all(name in columns for name in WINDOW) and WINDOW
        return replace(self, window=window)

    def measured(self, source: Source) -> Raster:
        self.check(source.columns)
        field = self
        if field.size is None and field._windows:
            field = replace(field, size=_common_size(source, field._windows))
        if field.size is None or field.bands is None or field.dtype is None:
            found = agreed(source, field.column, field._header, field._remedy)
            bands = tuple(range(1, found.count + 1)) if found.count else field.bands
            dtype = kept_dtype(found.dtype) if found.dtype else field.dtype
            field = replace(field, size=field.size or found.size, bands=bands, dtype=dtype)
        field._check_values()
        return field

    def check(self, columns: Columns) -> None:
        column = columns[self.column]
        if isinstance(column, np.ndarray) or not holds_text(column.type):
            raise DeclarationError(
                lines(
                    "a Raster column holds names of GeoTIFF files; "
                    f"{self.column!r} holds {_kind(column)}.",
                    f"Declare rasters that are in memory already as mf.Array({self.column!r}).",
                )
            )
        for name in self._windows:
            if not _holds_whole_numbers(columns[name]):
                raise DeclarationError(
                    lines(
                        "the columns of a window hold one whole number a row; "
                        f"{name!r} holds {_kind(columns[name])}.",
                        f"Convert it, or pass window=False to mf.Raster({self.column!r}).",
                    )
                )

    def spec_of(self, columns: Columns, learned: Learned | None) -> Spec:
        return preprocessed_spec(self._spec, self.preprocess)

    @property
    def canvas(self) -> Size:
        return self._size

    @property
    def decoding(self) -> dict[str, Any]:
        return {
            "column": self.column,
            "window": self.window,
            "bands": self.bands,
            "base_size": self._base_size,
            "nodata": self.nodata,
            "interpolation": self.interpolation,
            "dtype": self.dtype,
            **versions(),
        }

    def bind(self, source: Source, learned: Learned | None) -> PerSample:
        reader = _RasterReader(self, source)
        is_null = self._nulls(source)
        return wrap(reader, missing=self.missing, is_null=is_null, preprocess=self.preprocess)

    def base(self, source: Source, learned: Learned | None) -> Base:
        final = self.spec_of(source.columns, learned)
        reader: PerSample = _BaseReader(self, source)
        is_null = self._nulls(source)
        if is_null.any():
            if is_raise(self.missing):
                raise missing_value(is_null)
            reader = Filled(reader, is_null, fill_value(self.missing, final))
        is_plain = self.scale is None and self.preprocess is None
        finish = None if is_plain else partial(self._finish, watch_over_preprocess())
        return Base(reader, self._spec, final, finish, self.interpolation)

    def restore(self, values: NDArray, learned: Learned | None) -> NDArray:
        """Undo the scale."""
        return values if self.scale is None else values / self.scale

    def _nulls(self, source: Source) -> NDArray:
        return np.asarray(self.absent(source).any(axis=1))

    def _finish(self, watch: Watch, pixels: NDArray, out: NDArray) -> None:
        """Write an augmented image as the field yields it."""
        if self.preprocess is None:
            store(pixels, out, scale=self.scale)
            return
        sample = np.empty(pixels.shape, self.dtype)
        store(pixels, sample, scale=self.scale)
        apply_preprocess(self.preprocess, watch, sample, Spec.of(out), out)

    def _header(self, folder: Folder, name: str) -> _Header:
        """Return what this declaration leaves to the file."""
        scene = Scene(folder, name)
        try:
            return _Header(
                scene.size if self.size is None else None,
                scene.count if self.bands is None else None,
                scene.dtype if self.dtype is None else None,
            )
        finally:
            scene.close()

    @property
    def _remedy(self) -> str:
        left = {"size": "(height, width)", "bands": "[1, 2, 3]", "dtype": '"float32"'}
        said = [f"{what}={each}" for what, each in left.items() if getattr(self, what) is None]
        return f"Say what they shall be, e.g. mf.Raster({self.column!r}, {', '.join(said)})."

    def _check_values(self) -> None:
        """Raise if the numbers that are declared do not fit the samples."""
        if not is_raise(self.missing):
            fill_value(self.missing, preprocessed_spec(self._spec, self.preprocess))
        if self.nodata is not None:
            try:
                store(np.array([self.nodata]), np.empty(1, self.dtype))
            except BadValue as error:
                raise DeclarationError(
                    f"nodata is a value that pixels can have; {self.dtype} cannot hold {self.nodata!r}."
                ) from error

    @property
    def _windows(self) -> tuple[str, ...]:
        return self.window if isinstance(self.window, tuple) else ()

    @property
    def _size(self) -> Size:
        return checked_size("size", self.size)

    @property
    def _base_size(self) -> Size:
        return self._size if self.base_size is None else checked_size("base_size", self.base_size)

    @property
    def _bands(self) -> tuple[Band, ...]:
        return self.bands if isinstance(self.bands, tuple) else ()

    @property
    def _spec(self) -> Spec:
        return Spec((*self._size, len(self._bands)), self.dtype or "")


@dataclass(frozen=True)
class _Header:
    """What a declaration leaves to a file; None where it does not."""

    size: Size | None
    count: int | None
    dtype: str | None

    def __str__(self) -> str:
        said = []
        if self.size is not None:
            said.append("{:,} x {:,} pixels".format(*self.size))
        if self.count is not None:
            said.append(f"{self.count:,} band{'s' if self.count > 1 else ''}")
        if self.dtype is not None:
            said.append(self.dtype)
        return " of ".join(said)


class _RasterReader(PerSample):
    def __init__(self, field: Raster, source: Source) -> None:
        self.spec = field._spec
        self._field = field
        self._bands = field._bands
        self._size, self._base_size = field._size, field._base_size
        self._base_spec = Spec((*self._base_size, len(self._bands)), self.spec.dtype)
        self._cells: Cells = source.cells(field.column)
        self._folder = source.folder(field.column)
        self._requests = Requests(self._cells, self._folder)
        self._windows = _windows(source, field._windows)
        self._scenes = Handles(Scene)
        self._scratch = Scratch()

    def file(self, row: int) -> str | None:
        try:
            return self._folder.path(self._cells[row])
        except BadValue:
            return None

    @property
    def waits(self) -> bool:
        return self._requests.is_far

    def load(self, row: int) -> Pixels:
        scene: Scene = self._scenes.get(self._folder, self._cells[row])
        window = self._window(row, scene.size)
        cost, limit = scene.cost(window, self._base_size), self._field.max_pixels
        if cost > limit:
            raise BadValue(
                f"has too many pixels to be decoded for one sample ({cost:,} where {limit:,} are the "
                "limit)",
                "Read it by windows (see mf.tiles), add overviews to it, or pass a larger max_pixels.",
            )
        return scene.read(
            scene.numbers(self._bands),
            window,
            self._base_size,
            self._field.interpolation,
            marks=self._field.nodata is not None,
        )

    def decode(self, row: int, loaded: Pixels, out: NDArray) -> Frame:
        frame = _frame(loaded, self._base_size)
        if self._base_size != self._size:
            frame = frame.then(resizing(self._base_size, self._size))
        if self._base_size == self._size and self._field.scale is None:
            self._write_base(loaded, out)
            return frame
        pixels = base = self._scratch.array("base", self._base_spec.shape, self.spec.dtype)
        self._write_base(loaded, base)
        if self._base_size != self._size:
            pixels = self._scratch.array("pixels", self.spec.shape, self.spec.dtype)
            resize(base, pixels, self._field.interpolation)
        store(pixels, out, scale=self._field.scale)
        return frame

    def describe(self, row: int, loaded: Pixels) -> dict[str, Any]:
        return {"size": loaded.size, "dtype": loaded.values.dtype.name}

    def _window(self, row: int, size: Size) -> Window:
        """Return what part of a raster of a size a row is."""
        if self._windows is None:
            return Window(0, 0, *size)
        window = Window(*self._windows[row].tolist())
        first = min(window.row, window.column)
        fits = window.row + window.height <= size[0] and window.column + window.width <= size[1]
        if first < 0 or min(window.height, window.width) < 1 or not fits:
            raise BadValue(
                f"has {size[0]:,} x {size[1]:,} pixels (height x width), and not the window of "
                f"{window.height:,} x {window.width:,} from row {window.row:,} and column "
                f"{window.column:,} on",
                "Correct the columns of the window; mf.tiles makes windows that fit.",
            )
        return window

    def _write_base(self, loaded: Pixels, out: NDArray) -> None:
        store(loaded.values, out)
        if loaded.valid is not None:
            out[~loaded.valid] = self._field.nodata


class _BaseReader(_RasterReader):
    """Reads base images."""

    def __init__(self, field: Raster, source: Source) -> None:
        super().__init__(field, source)
        self.spec = self._base_spec

    def decode(self, row: int, loaded: Pixels, out: NDArray) -> Frame:
        self._write_base(loaded, out)
        return _frame(loaded, self._base_size)

    def view(self, row: int, loaded: Pixels) -> tuple[NDArray, Frame] | None:
        if loaded.valid is not None or loaded.values.dtype != self.spec.dtype:
            return None
        return loaded.values, _frame(loaded, self._base_size)


def _holds_whole_numbers(column: Any) -> bool:
    if isinstance(column, np.ndarray):
        return column.ndim == 1 and column.dtype.kind in "iu"
    return bool(pa.types.is_integer(column.type))


def _kind(column: Any) -> object:
    if not isinstance(column, np.ndarray):
        return column.type
    return column.dtype if column.ndim == 1 else f"arrays of shape {column.shape[1:]}"


def _frame(loaded: Pixels, size: Size) -> Frame:
    return Frame(loaded.size, between(loaded.window, (0, 0, *size)))


def _windows(source: Source, names: tuple[str, ...]) -> NDArray | None:
    """Return the windows of all rows, ``int64[n, 4]``; None if there are none. Nulls are 0."""
    if not names:
        return None
    filled = [pc.fill_null(source.arrow(name), 0).cast(pa.int64(), safe=False) for name in names]
    return np.stack([each.to_numpy(zero_copy_only=False) for each in filled], axis=1)


def _common_size(source: Source, names: tuple[str, ...]) -> Size:
    """Return the (height, width) that all windows have."""
    found = []
    for name in names[2:]:
        sizes = pc.unique(source.arrow(name).drop_null()).to_pylist()
        if len(sizes) != 1:
            listed = ", ".join(f"{each:,}" for each in sorted(sizes)[:3])
            raise DeclarationError(
                lines(
                    f"windows of several sizes cannot share a batch: {name!r} holds "
                    f"{listed or 'no numbers'}{', …' if len(sizes) > 3 else ''}.",
                    "Pass size=(height, width), to which each is brought.",
                )
            )
        found.append(sizes[0])
    return checked_size("the size of a window", found)


def _checked_bands(value: object) -> tuple[Band, ...] | None:
    if value is None:
        return None
    if isinstance(value, np.ndarray):
        value = value.tolist()
    is_listed = isinstance(value, Sequence) and not isinstance(value, str)
    given: Sequence[object] = value if is_listed else (value,)  # type: ignore[assignment]
    bands = tuple(each if isinstance(each, str) else whole_number(each) or 0 for each in given)
    if not bands or any(isinstance(each, int) and each < 1 for each in bands):
        raise DeclarationError(
            lines(
                f"bands are numbers from 1 on, as GDAL counts, or names; received {value!r}.",
                "Write e.g. bands=[4, 3, 2].",
            )
        )
    return bands


def _checked_window(value: object) -> tuple[str, ...] | bool | None:
    if value is None or value is False:
        return value
    names = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else ()
    if len(names) != 4 or not all(isinstance(name, str) for name in names):
        raise DeclarationError(
            lines(
                "window is the names of four columns (first row, first column, height and width), None "
                f"or False; received {value!r}.",
                f"Write e.g. window={WINDOW}.",
            )
        )
    return names
