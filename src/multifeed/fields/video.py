"""Video: frames of a file, evenly over it or by time, in one size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from fractions import Fraction
from numbers import Rational
from typing import Any, Self

import cv2
import numpy as np

from multifeed.errors import BadValue, DeclarationError
from multifeed.fields.base import Field, Learned, PerSample
from multifeed.fields.contents import Contents, Loaded, check_contents, opened
from multifeed.fields.film import MAX_PIXELS, Film, decoders, pixels, turns
from multifeed.fields.resize import resize
from multifeed.fields.rows import NDArray, Source
from multifeed.fields.scratch import Scratch
from multifeed.fields.segments import CORRECT, Bounds, check_bounds, optional
from multifeed.fields.shared import (
    Preprocess,
    at_least,
    checked_size,
    fill_value,
    is_number,
    is_raise,
    one_column,
    preprocessed_spec,
    wrap,
)
from multifeed.remote.uri import Request
from multifeed.spec import Spec
from multifeed.table import Columns


@dataclass(frozen=True)
class Video(Field):
    """Frames of a video file, ``uint8[frames, height, width, 3]``, RGB.

    MP4 (MOV too) and WebM (Matroska too) with H.264, HEVC, VP8, VP9, AV1, MPEG-4 or Motion JPEG are
    decoded by FFmpeg; the content tells the format, not the name. Frames stand upright as the file says
    (turned by quarters, not mirrored) and are resized as those of an `Image`, whatever the aspect ratio.
    A file that is truncated, or damaged where it is read, is an error.

    Without `rate`, the video is divided into `frames` equal parts, and what is shown in the middle of
    each is taken; of a video with fewer frames, some several times. With `rate`, what is shown at the
    beginning and every 1/rate seconds from there on is taken; where the video ends before `frames` are
    found, 0 is filled in, and an `mf.Mask` tells where. "Shown" goes by the times that frames have in
    the file, so frames that last longer than others do so here.

    If the row table has columns called ``start`` and ``stop``, they say in **seconds** which part of
    each file is the sample. A null is the beginning, or the end. A part that reaches beyond the end of
    its file is an error.

    Frames that are passed over are decoded only from the last keyframe on: decoding goes from keyframe
    to keyframe where that is shorter, and what comes out is the same.

    Args:
        column: A column of file names, or of encoded videos as bytes.
        frames: How many frames.
        size: (height, width) of the frames, in pixels; one number for a square.
        rate: Frames a second, by which frames are taken by time, such as ``Fraction(30_000, 1_001)``;
            None to take them evenly.
        start: The column that says where in its file a sample starts. The default is used if the row
            table has such a column; None never.
        stop: The column that says where it stops, likewise.
        preprocess: A function of one sample's array that returns another; also called with zeros at
            declaration, to learn what it returns.
        missing: ``"raise"``, ``"zero"`` or the value that fills a sample whose column is null.
        max_pixels: A video whose frames claim more pixels is an error, told by its header.

    Raises:
        DeclarationError: If a number is below 1 or no number, a column holds something else, or PyAV is
            not installed.

    Example:
        >>> Video("file", frames=16, size=(112, 112)).name
        'file'
    """

    column: str
    frames: int
    size: int | Sequence[int]
    _: KW_ONLY
    rate: float | Rational | None = None
    start: str | None = "start"
    stop: str | None = "stop"
    preprocess: Preprocess | None = None
    missing: Any = "raise"
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        one_column(self, self.column)
        decoders()
        for what in ("frames", "max_pixels"):
            object.__setattr__(self, what, at_least(what, getattr(self, what), 1))
        object.__setattr__(self, "size", checked_size("size", self.size))
        if self.rate is None:
            return
        is_fraction = isinstance(self.rate, Rational) and not isinstance(self.rate, bool)
        if not (is_fraction or is_number(self.rate)) or not 0 < float(self.rate) < np.inf:
            raise DeclarationError(f"rate is frames a second, a number above 0; received {self.rate!r}.")
        if is_fraction and not isinstance(self.rate, int):
            object.__setattr__(self, "rate", Fraction(self.rate))

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.column, *self._bounds)

    @property
    def name(self) -> str:
        return self.column

    @property
    def decoding(self) -> dict[str, Any]:
        return {**super().decoding, "opencv": cv2.__version__, "decoders": decoders()}

    @property
    def pads(self) -> tuple[int, str] | None:
        return None if self.rate is None else (self.frames, "post")

    def settled(self, columns: Columns) -> Self:
        start = None if optional("start", self.start, columns) else self.start
        stop = None if optional("stop", self.stop, columns) else self.stop
        return replace(self, start=start, stop=stop)

    def check(self, columns: Columns) -> None:
        check_contents(self, self.column, columns, "videos")
        check_bounds(self._bounds, columns)
        if not is_raise(self.missing):
            fill_value(self.missing, self.spec_of(columns, None))

    def spec_of(self, columns: Columns, learned: Learned | None) -> Spec:
        return preprocessed_spec(self._spec, self.preprocess)

    def bind(self, source: Source, learned: Learned | None) -> PerSample:
        reader = _VideoReader(self, source)
        is_null = source.cells(self.column).is_null()
        return wrap(reader, missing=self.missing, is_null=is_null, preprocess=self.preprocess)

    def absent(self, source: Source) -> NDArray:
        return source.nulls(self.column)[:, None]

    @property
    def _bounds(self) -> tuple[str, ...]:
        return tuple(name for name in (self.start, self.stop) if name is not None)

    @property
    def _spec(self) -> Spec:
        return Spec((self.frames, *checked_size("size", self.size), 3), "uint8")


class _VideoReader(PerSample):
    def __init__(self, field: Video, source: Source) -> None:
        self.spec = field._spec
        self._field = field
        self._contents = Contents(source, field.column)
        self._bounds = Bounds.of(source, field.start, field.stop)
        self._rate = None if field.rate is None else _as_written(field.rate)
        self._scratch = Scratch()

    def file(self, row: int) -> str | None:
        return self._contents.file(row)

    def requests(self, rows: NDArray) -> Iterable[Request]:
        asked = self._contents.requests
        return asked.heads(rows) if self._bounds else asked(rows)

    @property
    def waits(self) -> bool:
        return bool(self._bounds) and self._contents.requests.is_far

    def load(self, row: int) -> Loaded:
        # Out of memory, FFmpeg reads by calls into Python, for which threads wait for each other.
        return self._contents.load(row, is_part=bool(self._bounds), by_path=True)

    def decode(self, row: int, loaded: Loaded, out: NDArray) -> int | None:
        descriptor = None if isinstance(loaded, bytes) else loaded.descriptor
        with opened(loaded) as stream, Film(stream, self._field.max_pixels, descriptor) as film:
            moments = self._moments(*self._segment(row, film))
            known: Any = None
            for place, frame in enumerate(film.shown(moments)):
                if frame is known:
                    out[place] = out[place - 1]
                else:
                    self._write(frame, out[place])
                known = frame
        if self._rate is None:
            return None
        out[len(moments) :] = 0
        return len(moments)

    def describe(self, row: int, loaded: Loaded) -> dict[str, Any]:
        # A file that was open is closed by now.
        again = loaded if isinstance(loaded, bytes) else self.load(row)
        with opened(again) as stream, Film(stream, self._field.max_pixels) as film:
            rate = round(float(film.rate or 0), 3)
            seconds = round(float(film.seconds), 2)
            return {"size": film.size, "rate": rate, "seconds": seconds, "coding": film.coding}

    def _segment(self, row: int, film: Film) -> tuple[Fraction, Fraction]:
        """Return where a row's part of a video starts and stops, in seconds."""
        seconds = film.seconds
        if not self._bounds:
            return Fraction(0), seconds
        first, last = self._bounds.at(row)
        start, stop = _as_written(first), seconds if last is None else _as_written(last)
        if stop > seconds or start >= stop:
            wanted = f"{first:.12g} to {float(stop):.12g} s"
            raise BadValue(f"ends after {float(seconds):.12g} s, where {wanted} are to be read", CORRECT)
        return start, stop

    def _moments(self, start: Fraction, stop: Fraction) -> list[Fraction]:
        """Return the moments at which frames are taken, in seconds."""
        count = self._field.frames
        if self._rate is None:
            half = (stop - start) / (2 * count)
            return [start + half * (2 * place + 1) for place in range(count)]
        moments = (start + place / self._rate for place in range(count))
        return [moment for moment in moments if moment < stop]

    def _write(self, frame: Any, out: NDArray) -> None:
        """Resize a frame into `out`, ``uint8[height, width, 3]``, and set it upright."""
        quarters = turns(frame)
        if not quarters:
            resize(pixels(frame), out, "bilinear")
            return
        height, width = out.shape[:2] if quarters == 2 else out.shape[1::-1]
        small = self._scratch.array("turned", (height, width, 3))
        resize(pixels(frame), small, "bilinear")
        out[...] = np.rot90(small, quarters)


def _as_written(number: float | Rational) -> Fraction:
    """Return a number as it is written: 0.9 is nine tenths, of which a float is a little more."""
    return Fraction(str(number))
