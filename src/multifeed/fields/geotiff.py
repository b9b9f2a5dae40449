"""GeoTIFF files, read by rasterio: only that format, and never a file beside the one that is named."""

from __future__ import annotations

import errno
import itertools
import os
import re
import warnings
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import copy_context
from functools import cache
from pathlib import PurePath
from typing import Any, NamedTuple, Self

import numpy as np

from multifeed.errors import BadValue, some
from multifeed.extras import package
from multifeed.fields.rows import NDArray
from multifeed.fields.tiff import refuse_large_blocks
from multifeed.files import MORE, REPLACE, File
from multifeed.folder import Folder

Size = tuple[int, int]
# A number, from 1 on, or what the file calls it.
Band = int | str

# Neither overviews, masks and metadata in files beside it, nor a look for them.
_ALONE = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO"}
_numbers = itertools.count()


class Window(NamedTuple):
    """A part of a raster: its first row and column, and how many there are of each, in pixels."""

    row: int
    column: int
    height: int
    width: int


class Pixels(NamedTuple):
    """What was read of a raster.

    Args:
        values: ``[height, width, bands]``, in the dtype of the file.
        valid: ``bool[height, width, bands]``, False where there is no value, and 0 in `values`; None if
            nobody asked, or there is one everywhere.
        size: (height, width) of the whole raster.
        window: What part of it was read.
    """

    values: NDArray
    valid: NDArray | None
    size: Size
    window: Window


@cache
def _rasterio() -> Any:
    """Return rasterio, and let it take files from a store."""
    rasterio = package("rasterio", extra="geo", of="mf.Raster")
    package("rasterio.abc", extra="geo", of="mf.Raster")
    rasterio.abc.MultiByteRangeResourceContainer.register(_Store)
    return rasterio


def _hush() -> None:
    """Let rasterio not warn of each file that lies nowhere on earth."""
    kind = _rasterio().errors.NotGeoreferencedWarning
    # Tests, and whoever resets warnings, take filters away. Behind all others, so that whoever has one
    # of their own keeps it.
    if not any(each[2] is kind for each in warnings.filters):
        warnings.filterwarnings("ignore", category=kind, append=True)


def versions() -> dict[str, str]:
    """Return what decides how pixels are decoded and resampled."""
    rasterio = _rasterio()
    return {"rasterio": rasterio.__version__, "gdal": rasterio.__gdal_version__}


class Scene:
    """A GeoTIFF file, open; for one thread at a time.

    Args:
        folder: Where its name starts.
        name: Its name.

    Raises:
        BadValue: If it is not a GeoTIFF file of numbers, or claims blocks that are too large.
    """

    def __init__(self, folder: Folder, name: str) -> None:
        self._parts: list[Any] = [folder.open(name)]
        # Where rasterio notes which files it has from a store: all it does is done in here, or a thread
        # that closes what another one has opened would not find them.
        self._within = copy_context().run
        # Closed before the interpreter ends, whatever still holds it: GDAL would ask for the file
        # once more when there is nobody left to give it.
        self.close = weakref.finalize(self, self._within, _close, self._parts)
        try:
            self._within(self._open, self._parts[0])
        except BaseException:
            self.close()
            raise

    def _open(self, file: File) -> None:
        with file.stream() as stream:
            refuse_large_blocks(stream)
        # The name under which GDAL has it open.
        self._path = file.path or f"scene-{next(_numbers)}.tif"
        self._store = None if file.path is not None else _Store(file, self._path)
        _hush()
        with self._told(), _alone():
            # As a path object, it is never taken for the address of something far away.
            self._dataset = _rasterio().open(PurePath(self._path), driver="GTiff", opener=self._store)
            self._parts.append(self._dataset)
            self.size: Size = (self._dataset.height, self._dataset.width)
            self.count: int = self._dataset.count
            self.dtype: str = self._dataset.dtypes[0]
        if np.dtype(self.dtype).kind not in "iuf":
            raise BadValue(
                f"holds {self.dtype}, not numbers of one part",
                "Write its parts as two bands.",
            )

    def numbers(self, bands: Sequence[Band]) -> list[int]:
        """Return the numbers, from 1 on, of bands.

        Raises:
            BadValue: If it lacks one.
        """
        return [self._number(band) for band in bands]

    def _number(self, band: Band) -> int:
        if isinstance(band, int):
            if band > self.count:
                raise BadValue(
                    f"has {self.count:,} bands, and no band {band:,}",
                    "Correct the file, or pass bands=.",
                )
            return band
        names = self._dataset.descriptions
        if names.count(band) == 1:
            number: int = names.index(band) + 1
            return number
        known = [name for name in names if name is not None]
        found = f"it has {some(known, 8)}" if known else "its bands have no names"
        raise BadValue(
            f"has not one band {band!r}; {found}", "Correct the file, or pass numbers as bands=."
        )

    def cost(self, window: Window, size: Size) -> int:
        """Return how many pixels of each band must be decoded to read a window at a size."""
        shrinks = min(window.height / size[0], window.width / size[1])
        if shrinks < 2:
            return window.height * window.width
        # GDAL reads the smallest overview that is not smaller than what is wanted.
        factors = [each for each in self._within(self._overviews) if each <= shrinks]
        return window.height * window.width // max(factors, default=1) ** 2

    def _overviews(self) -> list[int]:
        with self._told(), _alone():
            return list(self._dataset.overviews(1))

    def read(
        self, bands: Sequence[int], window: Window, size: Size, interpolation: str, *, marks: bool
    ) -> Pixels:
        """Read a window of some bands, brought to a size.

        Args:
            bands: Their numbers, from 1 on.
            window: What is read; it must lie inside.
            size: (height, width) of what is made of it.
            interpolation: ``"bilinear"``, which averages where it shrinks, or ``"nearest"``.
            marks: Whether to tell where there is no value.

        Raises:
            BadValue: If the file is damaged there.
        """
        values = np.empty((*size, len(bands)), self.dtype)
        valid = self._within(self._read, bands, window, values, interpolation, marks)
        if marks and values.dtype.kind == "f":
            is_number = ~np.isnan(values)
            valid = is_number if valid is None else valid & is_number
        if valid is not None:
            values[~valid] = 0
        return Pixels(values, valid, self.size, window)

    def _read(
        self, bands: Sequence[int], window: Window, out: NDArray, interpolation: str, marks: bool
    ) -> NDArray | None:
        """Write a window to `out`; return where it has values, if they are not everywhere."""
        rasterio = _rasterio()
        how = {
            "window": rasterio.windows.Window(window.column, window.row, window.width, window.height),
            "resampling": rasterio.enums.Resampling[interpolation],
        }
        with self._told():
            self._dataset.read(bands, out=out.transpose(2, 0, 1), **how)
        return self._valid(bands, out.shape[:2], how) if marks else None

    def _valid(self, bands: Sequence[int], size: Size, how: dict[str, Any]) -> NDArray | None:
        with self._told(), _alone():
            flags = self._dataset.mask_flag_enums
            everywhere = _rasterio().enums.MaskFlags.all_valid
            if all(everywhere in flags[band - 1] for band in bands):
                return None
            shown = self._dataset.read_masks(bands, out_shape=(len(bands), *size), **how)
            return np.asarray(shown.transpose(1, 2, 0) != 0)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell what GDAL complains of."""
        try:
            yield
        except Exception as error:
            if self._store is not None and self._store.failures:
                raise self._store.failures.pop() from error
            said = self._cause(error)
            # GDAL opens the file once more, and has but words for what it lacks.
            if os.strerror(errno.EMFILE) in said:
                raise BadValue(f"cannot be opened ({said})", MORE) from OSError(errno.EMFILE, said)
            raise BadValue(f"is a damaged GeoTIFF file ({said})", REPLACE) from error
        if self._store is not None and self._store.failures:
            raise self._store.failures.pop()

    def _cause(self, error: BaseException) -> str:
        """Return what GDAL said first, without the name under which it has the file open."""
        while error.__cause__ is not None:
            error = error.__cause__
        said = str(getattr(error, "errmsg", error)) or type(error).__name__
        path = re.escape(self._path)
        name = re.escape(PurePath(self._path).name)
        return re.sub(f"('?{path}'?|^{name})[:,]? *", "", said).splitlines()[0].rstrip(".")


def _alone() -> Any:
    """Let GDAL look at nothing but its file; a context, which reading goes without: it takes 40 µs."""
    rasterio = _rasterio()
    # Without a session of its own, it would look for credentials of object storage.
    return rasterio.Env(rasterio.session.DummySession(), **_ALONE)


class _Store:
    """What rasterio asks of a place where files are; here is one, which has no path.

    Args:
        file: The file.
        name: What it is called: by nothing else that is open.
    """

    def __init__(self, file: File, name: str) -> None:
        self._file, self._name = file, name
        # What went wrong in reading. It could not be raised through GDAL, only be printed there.
        self.failures: list[BadValue] = []

    def open(self, path: str, mode: str = "rb", **_: object) -> _Quiet:
        if path != self._name:
            raise FileNotFoundError(path)
        return _Quiet(self._file, self.failures)

    def isfile(self, path: str) -> bool:
        return path == self._name

    def isdir(self, path: str) -> bool:
        return False

    def ls(self, path: str) -> list[str]:
        return []

    def mtime(self, path: str) -> int:
        return 0

    def size(self, path: str) -> int:
        return self._file.size


class _Quiet:
    """A stream that ends where it cannot be read, and notes why.

    Args:
        file: The file.
        failures: What went wrong is added here.
    """

    def __init__(self, file: File, failures: list[BadValue]) -> None:
        self._file, self._stream, self._failures = file, file.stream(), failures
        self.seek, self.tell, self.close = self._stream.seek, self._stream.tell, self._stream.close

    def read(self, count: int = -1) -> bytes:
        try:
            return self._stream.read(count)
        except BadValue as error:
            self._failures.append(error)
            return b""

    def get_byte_ranges(self, offsets: list[int], sizes: list[int]) -> list[bytes]:
        """Return several parts at once, as GDAL asks for the blocks of a window."""
        try:
            if max(map(sum, zip(offsets, sizes, strict=True))) > self._file.size:
                raise BadValue("is a damaged GeoTIFF file (a block lies beyond its end)", REPLACE)
            return self._file.read_many(list(zip(offsets, sizes, strict=True)))
        except BadValue as error:
            self._failures.append(error)
            # So many bytes are copied, whatever comes.
            return [bytes(size) for size in sizes]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _close(parts: list[Any]) -> None:
    """Let go of what lies on top first."""
    while parts:
        # Of a damaged file this may fail as well; nothing was written.
        with suppress(Exception):
            parts.pop().close()
