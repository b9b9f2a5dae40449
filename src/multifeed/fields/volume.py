"""Scans of bodies: NIfTI files, DICOM series and arrays as volumes of one size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from importlib import metadata
from typing import Any, cast

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from multifeed.errors import BadValue, DeclarationError, lines
from multifeed.fields.base import Base, Field, Learned, PerSample, Told
from multifeed.fields.cuts import Axis, Cut, Size, axes_of, cut_out, resized
from multifeed.fields.finished import Finished
from multifeed.fields.headers import agreed
from multifeed.fields.resample import resample
from multifeed.fields.rows import Cells, NDArray, Requests, Source
from multifeed.fields.scans import Loaded, header, load, opened, stored_in
from multifeed.fields.scratch import Scratch
from multifeed.fields.shared import (
    Filled,
    Preprocess,
    apply_preprocess,
    at_least_one,
    checked_dtype,
    column_names,
    fill_value,
    holds_text,
    is_number,
    is_raise,
    missing_value,
    one_column,
    one_of,
    preprocessed_spec,
    store,
    watch_over_preprocess,
    whole_number,
)
from multifeed.fields.voxels import Box, Stored
from multifeed.fields.watch import Watch
from multifeed.files import MAX_FILE_BYTES
from multifeed.folder import Folder
from multifeed.remote.uri import Request
from multifeed.spec import Spec
from multifeed.table import Columns

_PATCH_AT = ("patch_0", "patch_1", "patch_2")
# By letter, the two ends of the three axes of a body.
_ENDS = ({"R", "L"}, {"A", "P"}, {"S", "I"})


@dataclass(frozen=True)
class Volume(Field):
    """A scan as an array ``float32[first, second, third, channels]``.

    Read are NIfTI (``.nii``, ``.nii.gz``), series of DICOM (the name of a folder, or of a file that is
    one slice) and arrays of three or four axes (``.npy``). A fourth axis is that of the channels. Slope
    and intercept are applied, so CT is in Hounsfield units. The slices of a series are ordered by where
    they lie; a series with gaps, doubled slices or of several directions is an error.

    A volume is turned to `orientation`, resampled to `spacing` and brought to `size`, or a `patch` is
    cut out of it. An axis that grows is interpolated linearly; one that shrinks is averaged over what
    each new voxel covers.

    Args:
        column: A column of names, of files or of folders that hold a series.
        size: Voxels of the batch along the three axes; one number for a cube. Without `size` and
            `patch`, the headers of all files are read at declaration, and must agree.
        spacing: Size of a voxel along the three axes in mm, or one number; None to leave it as it is.
        orientation: Where the three axes lead to, a letter each: right or left (R, L), front or back
            (A, P), top or bottom (S, I) of the body, in any order. An oblique volume is turned to the
            nearest one, without interpolation. None to leave it as it is stored, a series of DICOM as
            (slices, rows, columns). Arrays say nothing of it: they are taken to lie so.
        window: (low, high), in units of the file: what is below or above becomes that, and then low
            becomes 0 and high 1 (255 where `dtype` is ``"uint8"``). The window of centre c and width w
            is (c - w / 2, c + w / 2).
        patch: Voxels of a box to be cut out of each volume, in place of `size`. Of files that are not
            packed, little more is read than that.
        dtype: Dtype of the batch: ``"float32"`` by default, and ``"int32"`` for labels. A number that
            the dtype cannot hold is an error; fractions are rounded for one of integers.
        base_size: Size of what augmentation works on; `size` by default. Larger, it leaves room to
            crop.
        channels: Numbers a voxel; 1 by default, or what the headers say where they are asked.
        fit: How a volume is brought to `size`: ``"resize"``, the default, or ``"crop_or_pad"`` around
            its middle, which keeps `spacing`, and is the default with that.
        interpolation: ``"trilinear"``, or ``"nearest"`` for label volumes, whose values then stay as
            they are.
        patch_at: Three columns of integers: the first voxel of the patch along the three axes, as
            oriented and resampled; it may lie outside. By default those of these names, if the row table
            has them; None for the middle of each volume.
        pad_value: What lies outside of a volume, in units of the file: by default the low end of
            `window`, else 0.
        preprocess: A function of one sample's array (after `window` and `dtype`) that returns another;
            also called with zeros at declaration, to learn what it returns.
        missing: ``"raise"``, ``"zero"`` or the value that fills a sample whose column is null.
        max_bytes: A volume that claims to unpack to more is an error, told by its header.

    Raises:
        DeclarationError: If an option is unknown or contradicts another, the column holds no names, or
            headers do not agree.

    Example:
        >>> Volume("ct", size=(96, 96, 64), spacing=(1, 1, 2), window=(-160, 240)).name
        'ct'
    """

    column: str
    size: int | Sequence[int] | None = None
    spacing: float | Sequence[float] | None = None
    orientation: str | None = "RAS"
    window: Sequence[float] | None = None
    patch: int | Sequence[int] | None = None
    dtype: str | None = None
    _: KW_ONLY
    base_size: int | Sequence[int] | None = None
    channels: int | None = None
    fit: str | None = None
    interpolation: str = "trilinear"
    patch_at: Sequence[str] | None = _PATCH_AT
    pad_value: float | None = None
    preprocess: Preprocess | None = None
    missing: Any = "raise"
    max_bytes: int = MAX_FILE_BYTES

    def __post_init__(self) -> None:
        one_column(self, self.column)
        for what in ("size", "patch", "base_size"):
            object.__setattr__(self, what, _checked_size(what, getattr(self, what)))
        object.__setattr__(self, "spacing", _checked_spacing(self.spacing))
        object.__setattr__(self, "window", _checked_window(self.window))
        object.__setattr__(self, "dtype", checked_dtype(self.dtype))
        object.__setattr__(self, "channels", at_least_one("channels", self.channels))
        object.__setattr__(self, "max_bytes", at_least_one("max_bytes", self.max_bytes))
        corner = _checked_columns(self.patch_at)
        object.__setattr__(self, "patch_at", None if self.patch is None else corner)
        _check_orientation(self.orientation)
        one_of("fit", self.fit, (None, "resize", "crop_or_pad"))
        one_of("interpolation", self.interpolation, ("trilinear", "nearest"))
        pad = self.pad_value
        if pad is not None and not (is_number(pad) and np.isfinite(pad)):
            raise DeclarationError(f"pad_value must be a finite number; received {pad!r}.")
        self._check_together()

    def _check_together(self) -> None:
        """Raise if options contradict each other."""
        if self.patch is not None and (self.size, self.base_size, self.fit) != (None, None, None):
            raise DeclarationError(
                lines(
                    "a patch is cut out of a volume, which is brought to no size.",
                    "Pass patch alone, without size, base_size and fit.",
                )
            )
        if self.base_size is not None and self.size is None:
            raise DeclarationError("base_size is the size of what becomes size; pass size as well.")
        if self.spacing is not None and self.fit == "resize":
            raise DeclarationError(
                'fit="resize" gives voxels another size than spacing; leave one of them out.'
            )
        if self.window is not None and (self.is_labels or self._dtype not in _WINDOWED):
            raise DeclarationError(
                f"a window makes numbers from 0 to 1, or to 255 in uint8; dtype is {self._dtype}, "
                f"interpolation {self.interpolation!r}."
            )
        if self.window is None:
            self._check_padding()

    def _check_padding(self) -> None:
        """Raise if the dtype cannot hold what stands outside of a volume."""
        padding = np.array([self._padding])
        try:
            store(padding if self.is_labels else np.rint(padding), np.empty(1, self._dtype))
        except BadValue as error:
            raise DeclarationError(
                f"pad_value is a value that voxels can have; {self._dtype} cannot hold "
                f"{self._padding!r}."
            ) from error

    @property
    def is_labels(self) -> bool:
        """Whether its values are labels, between which there is nothing."""
        return self.interpolation == "nearest"

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.column, *(self.patch_at or ()))

    @property
    def name(self) -> str:
        return self.column

    def settled(self, columns: Columns) -> Volume:
        if self.patch_at == _PATCH_AT and not any(name in columns for name in _PATCH_AT):
            return replace(self, patch_at=None)
        return self

    def measured(self, source: Source) -> Volume:
        if self.size is not None or self.patch is not None:
            return self
        if self.column not in source.columns or not _holds_names(source.columns[self.column]):
            return self  # `check` says so.
        shape = agreed(
            source,
            self.column,
            self._shape_of,
            "Pass size=(…), to which they are brought, or patch=(…), which is cut out of them.",
        )
        if self.channels not in (None, shape[3]):
            raise DeclarationError(
                f"the volumes in {self.column!r} have {shape[3]} channels, where "
                f"channels={self.channels}."
            )
        return replace(self, size=shape[:3], channels=shape[3])

    def check(self, columns: Columns) -> None:
        if not _holds_names(columns[self.column]):
            column = columns[self.column]
            kind = column.dtype if isinstance(column, np.ndarray) else column.type
            raise DeclarationError(
                lines(
                    f"a Volume column holds names of files or folders; {self.column!r} holds {kind}.",
                    f"Declare volumes that are in memory already as mf.Array({self.column!r}).",
                )
            )
        for name in self.patch_at or ():
            _check_corner(name, columns)
        if not is_raise(self.missing):
            fill_value(self.missing, self.spec_of(columns, None))

    def spec_of(self, columns: Columns, learned: Learned | None) -> Spec:
        return preprocessed_spec(self._spec, self.preprocess)

    @property
    def decoding(self) -> dict[str, Any]:
        return {
            "column": self.column,
            "patch_at": self.patch_at,
            "is_patch": self.patch is not None,
            "base": (self._base_spec.shape, self._base_spec.dtype),
            "spacing": self.spacing,
            "orientation": self.orientation,
            "fit": self._fit,
            "interpolation": self.interpolation,
            "padding": self._padding,
            "decoders": _decoders(),
        }

    def bind(self, source: Source, learned: Learned | None) -> PerSample:
        base = self.base(source, learned)
        assert isinstance(base.reader, PerSample)
        is_base = base.finish is None and base.reader.spec == base.spec
        return base.reader if is_base else Finished(base.reader, base)

    def base(self, source: Source, learned: Learned | None) -> Base:
        final = self.spec_of(source.columns, learned)
        reader: PerSample = _VolumeReader(self, source)
        is_null = np.asarray(self.absent(source).any(axis=1))
        if is_null.any():
            if is_raise(self.missing):
                raise missing_value(is_null)
            reader = Filled(reader, is_null, fill_value(self.missing, final))
        spec = Spec((*self._size, self._channels), self._base_spec.dtype)
        is_made = final == spec and self.preprocess is None and self.window is None
        finish = None if is_made else partial(self._finish, watch_over_preprocess())
        return Base(reader, spec, final, finish, _interpolation(self))

    def restore(self, values: NDArray, learned: Learned | None) -> NDArray:
        """Undo the window."""
        if self.window is None:
            return values
        low, high = self.window
        return values * ((high - low) / _WINDOWED[self._dtype]) + low

    def _finish(self, watch: Watch, voxels: NDArray, out: NDArray) -> None:
        """Write a volume, which augmentation may have changed, as the field yields it."""
        if self.preprocess is None:
            self._convert(voxels, out)
            return
        sample = np.empty(voxels.shape, self._dtype)
        self._convert(voxels, sample)
        apply_preprocess(self.preprocess, watch, sample, Spec.of(out), out)

    def _convert(self, voxels: NDArray, out: NDArray) -> None:
        """Write voxels in units of the file within the window, if there is one, and in the dtype."""
        is_rounded = out.dtype.kind in "iu" and voxels.dtype.kind == "f"
        if self.window is None and not is_rounded:
            store(voxels, out)
            return
        # A slice at a time, which stays in the processor's cache.
        for values, target in zip(voxels, out, strict=True):
            found = values if self.window is None else self._windowed(values)
            store(np.rint(found) if is_rounded else found, target)

    def _windowed(self, values: NDArray) -> NDArray:
        assert self.window is not None
        low, high = self.window
        found: NDArray = np.clip(values, np.float32(low), np.float32(high))
        found -= np.float32(low)
        found *= np.float32(_WINDOWED[self._dtype] / (high - low))
        return found

    def _shape_of(self, folder: Folder, name: str) -> tuple[int, int, int, int]:
        """Return the shape of a volume as oriented and resampled, told by its header."""
        stored = header(folder, name)
        first, second, third = (axis.count for axis in self.axes_of(stored))
        return first, second, third, stored.channels

    def axes_of(self, stored: Stored) -> list[Axis]:
        """Return the axes of a volume, as oriented and resampled."""
        return axes_of(stored, self.orientation, _checked_spacing(self.spacing))

    @property
    def _size(self) -> Size:
        size = _checked_size("size", self.size if self.patch is None else self.patch)
        if size is None:
            raise DeclarationError("a Volume has a size: pass size=(…) or patch=(…).")
        return size

    @property
    def _base_size(self) -> Size:
        return _checked_size("base_size", self.base_size) or self._size

    @property
    def _channels(self) -> int:
        return self.channels or 1

    @property
    def _dtype(self) -> str:
        return self.dtype or ("int32" if self.is_labels else "float32")

    @property
    def _fit(self) -> str:
        if self.patch is not None:
            return "crop_or_pad"
        return self.fit or ("resize" if self.spacing is None else "crop_or_pad")

    @property
    def _padding(self) -> float:
        if self.pad_value is not None:
            return self.pad_value
        return 0.0 if self.window is None else self.window[0]

    @property
    def _spec(self) -> Spec:
        return Spec((*self._size, self._channels), self._dtype)

    @property
    def _base_spec(self) -> Spec:
        dtype = self._dtype if self.is_labels else "float32"
        return Spec((*self._base_size, self._channels), dtype)


# What 1 becomes that a window ends with, by the dtypes that it may make.
_WINDOWED = {"float32": 1.0, "float16": 1.0, "uint8": 255.0}


class _VolumeReader(PerSample):
    """Reads what augmentation starts from: in units of the file, and of `base_size`."""

    def __init__(self, field: Volume, source: Source) -> None:
        self.spec = field._base_spec
        self._field = field
        self._size = field._base_size
        self._interpolation = _interpolation(field)
        self._cells: Cells = source.cells(field.column)
        self._folder = source.folder(field.column)
        self._requests = Requests(self._cells, self._folder)
        names = field.patch_at or ()
        self._corners = np.stack([_corners(source, name) for name in names], 1) if names else None
        self._is_cut = field._fit == "crop_or_pad"
        self._scratch = Scratch()

    def file(self, row: int) -> str | None:
        try:
            return self._folder.path(self._cells[row])
        except BadValue:
            return None

    def requests(self, rows: NDArray) -> Iterable[Request]:
        # A series is a folder, which no request is made for.
        return self._requests.heads(rows) if self._is_cut else ()

    @property
    def waits(self) -> bool:
        return self._requests.is_far

    def load(self, row: int) -> Loaded:
        def box_of(stored: Stored) -> Box:
            return self._cut(stored, row).box(self._interpolation)

        name, most_bytes = self._cells[row], self._field.max_bytes
        return load(self._folder, name, most_bytes, box_of if self._is_cut else None)

    def decode(self, row: int, loaded: Loaded, out: NDArray) -> Told:
        voxels = opened(self._cells[row], loaded, self._field.max_bytes)
        stored = voxels.stored
        if stored.channels != self.spec.shape[3]:
            raise BadValue(
                f"has {stored.channels} channels, where {self.spec.shape[3]} are declared",
                f"Pass channels={stored.channels}, or correct the file.",
            )
        cut = self._cut(stored, row)
        values = cut.orient(voxels.read(cut.box(self._interpolation)))
        inside = out[cut.places]
        if inside.shape != out.shape:
            out[...] = self._field._padding
        try:
            if self._field.is_labels:
                self._pick(values, cut, stored, inside)
            else:
                resample(values, cut.spans, inside, "bilinear")
                _scale(inside, stored)
        except FloatingPointError as error:
            raise BadValue(
                "holds a number that float32 cannot hold", "Correct the file, or leave the row out."
            ) from error
        return None

    def describe(self, row: int, loaded: Loaded) -> dict[str, Any]:
        stored = stored_in(self._cells[row], loaded, self._field.max_bytes)
        described: dict[str, Any] = {"size": stored.shape, "dtype": stored.dtype.name}
        if stored.spacing is not None:
            described["spacing in mm"] = tuple(round(each, 3) for each in stored.spacing)
        return described

    def _cut(self, stored: Stored, row: int) -> Cut:
        """Return what of a volume becomes a sample, given what its header says."""
        axes = self._field.axes_of(stored)
        if not self._is_cut:
            return resized(axes, self._size)
        return cut_out(axes, self._size, None if self._corners is None else self._corners[row].tolist())

    def _pick(self, values: NDArray, cut: Cut, stored: Stored, out: NDArray) -> None:
        """Write labels."""
        picked = self._scratch.array("picked", out.shape, values.dtype.newbyteorder("=").str)
        resample(values, cut.spans, picked, "nearest")
        if (stored.slope, stored.intercept) != (1.0, 0.0):
            picked = picked * stored.slope + stored.intercept
        store(picked, out)


def _interpolation(field: Volume) -> str:
    """Return the interpolation as it is called where images are as well."""
    return "nearest" if field.is_labels else "bilinear"


def _scale(values: NDArray, stored: Stored) -> None:
    """Apply slope and intercept, in place."""
    with np.errstate(over="raise"):
        if stored.slope != 1:
            np.multiply(values, np.float32(stored.slope), out=values)
        if stored.intercept != 0:
            np.add(values, np.float32(stored.intercept), out=values)


def _corners(source: Source, name: str) -> NDArray:
    """Return a column of corners, ``int64[n]``; 0 where it is null."""
    values = source.values(name)
    if isinstance(values, np.ndarray):
        return values.astype(np.int64)
    found: NDArray = pc.fill_null(values, 0).to_numpy(zero_copy_only=False).astype(np.int64)
    return found


def _check_corner(name: str, columns: Columns) -> None:
    column = columns[name]
    is_array = isinstance(column, np.ndarray)
    kind = column.dtype if is_array else column.type
    is_whole = column.dtype.kind in "iu" and column.ndim == 1 if is_array else pa.types.is_integer(kind)
    if not is_whole:
        raise DeclarationError(
            lines(
                f"a patch begins at a whole voxel, and {name!r} holds {kind}.",
                "Convert the column, name others in patch_at, or pass patch_at=None.",
            )
        )


def _holds_names(column: Any) -> bool:
    return not isinstance(column, np.ndarray) and holds_text(column.type)


def _decoders() -> dict[str, str | None]:
    """Return the versions of all that makes voxels of files."""
    found: dict[str, str | None] = {"numpy": np.__version__, "opencv": cv2.__version__}
    for name in ("nibabel", "pydicom", "pillow"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def _three(value: object) -> tuple[object, object, object] | None:
    """Return a value three times, or the three that it consists of."""
    if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str):
        return (value[0], value[1], value[2]) if len(value) == 3 else None
    return value, value, value


def _checked_size(what: str, value: object) -> Size | None:
    if value is None:
        return None
    first, second, third = (whole_number(each) or 0 for each in _three(value) or (0, 0, 0))
    if min(first, second, third) < 1:
        raise DeclarationError(
            f"{what} is three numbers of voxels, each at least 1, or one for a cube; received {value!r}."
        )
    return first, second, third


def _checked_spacing(value: object) -> tuple[float, float, float] | None:
    if value is None:
        return None
    three = _three(value) or (0, 0, 0)
    if not all(is_number(each) and 1e-6 < float(cast(float, each)) < 1e6 for each in three):
        raise DeclarationError(
            f"spacing is three sizes in mm, each above 0, or one for a cube; received {value!r}."
        )
    first, second, third = (float(cast(float, each)) for each in three)
    return first, second, third


def _checked_window(value: object) -> tuple[float, float] | None:
    if value is None:
        return None
    pair = tuple(value) if isinstance(value, Sequence | np.ndarray) and len(value) == 2 else ()
    if not pair or not all(is_number(each) and np.isfinite(each) for each in pair) or pair[0] >= pair[1]:
        raise DeclarationError(
            lines(
                f"window is (low, high), two finite numbers, the first one less; received {value!r}.",
                "The window of centre c and width w is (c - w / 2, c + w / 2).",
            )
        )
    return float(pair[0]), float(pair[1])


def _checked_columns(value: object) -> tuple[str, str, str] | None:
    if value is None:
        return None
    names = column_names(cast("Sequence[str]", value))
    if len(names) != 3:
        raise DeclarationError(
            f"patch_at names three columns of corners, or is None; received {value!r}."
        )
    return names[0], names[1], names[2]


def _check_orientation(value: object) -> None:
    if value is None:
        return
    letters = list(value) if isinstance(value, str) else []
    if len(letters) != 3 or not all(len(ends & set(letters)) == 1 for ends in _ENDS):
        raise DeclarationError(
            lines(
                "orientation is three letters, one of R and L, one of A and P, one of S and I, in any "
                f'order, such as "RAS"; received {value!r}.',
                "Pass None to leave volumes as they are stored.",
            )
        )
