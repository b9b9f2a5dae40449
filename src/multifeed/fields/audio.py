"""Sound: recordings at one rate and length, as waves or as spectrograms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import KW_ONLY, asdict, dataclass, replace
from typing import Any, Self

from multifeed.errors import BadValue, DeclarationError, lines
from multifeed.fields.base import Field, Learned, PerSample
from multifeed.fields.contents import Contents, Loaded, check_contents, opened
from multifeed.fields.rows import NDArray, Source
from multifeed.fields.scratch import Scratch
from multifeed.fields.segments import CORRECT, Bounds, are_whole, check_bounds, optional
from multifeed.fields.shared import (
    Preprocess,
    at_least,
    fill_value,
    is_raise,
    one_column,
    one_of,
    preprocessed_spec,
    wrap,
)
from multifeed.fields.sound import Sound, decoders, samples, samples_of
from multifeed.fields.spectrogram import Mels, Spectrogram
from multifeed.files import Whole
from multifeed.remote.uri import Request
from multifeed.spec import Spec
from multifeed.table import Columns


@dataclass(frozen=True)
class Audio(Field):
    """A sound file as a wave ``float32[length, channels]``, or as its spectrogram.

    WAV (WAVEX and RF64 too), FLAC and Ogg (Vorbis, Opus) are decoded by libsndfile; the content tells
    the format, not the name. Integers become floats from -1 to 1; floats stay as they are. What has
    another rate is resampled by soxr, in its high quality. A file that is truncated, or damaged where
    it is read, is an error.

    If the row table has columns called ``start`` and ``stop``, they say which part of each file is the
    sample, and only that is read. **Integers count frames of the file as it is**, as in
    ``soundfile.read(file, start=..., stop=...)``; **floats are seconds**. A null is the beginning, or
    the end. A part that reaches beyond the end of its file is an error.

    Args:
        column: A column of file names, or of encoded sounds as bytes.
        rate: Samples a second, in Hz, to which every file is brought.
        length: How many samples, at `rate`: shorter sounds are filled with 0 at their end, longer ones
            cut.
        mono: Average the channels to one.
        channels: With ``mono=False``, how many channels every file has.
        spectrogram: A `Spectrogram`, which then is what the field yields: ``float32[frames, mels,
            channels]``, ``frames = 1 + length // hop``.
        start: The column that says where in its file a sample starts. The default is used if the row
            table has such a column; None never.
        stop: The column that says where it stops, likewise.
        unit: ``"frames"`` or ``"seconds"``, which `start` and `stop` count; by default as their type
            says.
        truncating: Which end of longer sounds is cut, ``"post"`` or ``"pre"``.
        preprocess: A function of one sample's array that returns another; also called with zeros at
            declaration, to learn what it returns.
        missing: ``"raise"``, ``"zero"`` or the value that fills a sample whose column is null.

    Raises:
        DeclarationError: If a number is below 1, an option is unknown, a column holds something else, or
            soundfile or soxr is not installed.

    Example:
        >>> Audio("file", rate=16_000, length=48_000).name
        'file'
    """

    column: str
    rate: int
    length: int
    _: KW_ONLY
    mono: bool = True
    channels: int | None = None
    spectrogram: Spectrogram | None = None
    start: str | None = "start"
    stop: str | None = "stop"
    unit: str | None = None
    truncating: str = "post"
    preprocess: Preprocess | None = None
    missing: Any = "raise"

    def __post_init__(self) -> None:
        one_column(self, self.column)
        decoders()
        for what in ("rate", "length"):
            object.__setattr__(self, what, at_least(what, getattr(self, what), 1))
        if self.channels is not None or not self.mono:
            self._check_channels()
        one_of("unit", self.unit, (None, "frames", "seconds"))
        one_of("truncating", self.truncating, ("post", "pre"))
        if self.spectrogram is not None:
            if not isinstance(self.spectrogram, Spectrogram):
                raise DeclarationError(
                    f"spectrogram is an mf.Spectrogram or None; received {self.spectrogram!r}."
                )
            self.spectrogram.check(self.rate, self.length)

    def _check_channels(self) -> None:
        if self.mono or self.channels is None:
            raise DeclarationError(
                lines(
                    "channels says how many there are where mono=False keeps them; received "
                    f"mono={self.mono!r}, channels={self.channels!r}.",
                    "Pass e.g. mono=False, channels=2.",
                )
            )
        object.__setattr__(self, "channels", at_least("channels", self.channels, 1))

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.column, *self._bounds)

    @property
    def name(self) -> str:
        return self.column

    @property
    def decoding(self) -> dict[str, Any]:
        declared = super().decoding
        if self.spectrogram is not None:
            declared["spectrogram"] = asdict(self.spectrogram)
        return {**declared, "decoders": decoders()}

    @property
    def pads(self) -> tuple[int, str] | None:
        return self._spec.shape[0], "post"

    def settled(self, columns: Columns) -> Self:
        start = None if optional("start", self.start, columns) else self.start
        stop = None if optional("stop", self.stop, columns) else self.stop
        named = replace(self, start=start, stop=stop)
        check_bounds(named._bounds, columns)
        if self.unit is not None or not named._bounds:
            return named
        return replace(named, unit="frames" if are_whole(named._bounds, columns) else "seconds")

    def check(self, columns: Columns) -> None:
        check_contents(self, self.column, columns, "sounds")
        if not is_raise(self.missing):
            fill_value(self.missing, self.spec_of(columns, None))

    def spec_of(self, columns: Columns, learned: Learned | None) -> Spec:
        return preprocessed_spec(self._spec, self.preprocess)

    def bind(self, source: Source, learned: Learned | None) -> PerSample:
        reader = _AudioReader(self, source)
        is_null = source.cells(self.column).is_null()
        return wrap(reader, missing=self.missing, is_null=is_null, preprocess=self.preprocess)

    def absent(self, source: Source) -> NDArray:
        return source.nulls(self.column)[:, None]

    @property
    def _bounds(self) -> tuple[str, ...]:
        return tuple(name for name in (self.start, self.stop) if name is not None)

    @property
    def _spec(self) -> Spec:
        channels = self.channels or 1
        if self.spectrogram is None:
            return Spec((self.length, channels), "float32")
        frames = self.spectrogram.frames(self.length)
        return Spec((frames, self.spectrogram.mels, channels), "float32")


class _AudioReader(PerSample):
    def __init__(self, field: Audio, source: Source) -> None:
        self.spec = field._spec
        self._field = field
        self._contents = Contents(source, field.column)
        self._bounds = Bounds.of(source, field.start, field.stop)
        self._mels = None if field.spectrogram is None else Mels(field.spectrogram, field.rate)
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
        # From memory, libsndfile reads by calls into Python, for which threads wait for each other.
        return self._contents.load(row, is_part=bool(self._bounds), by_path=True)

    def decode(self, row: int, loaded: Loaded, out: NDArray) -> int:
        wave = self._wave(row, loaded)
        if self._mels is None:
            _pad(wave, out)
            return len(wave)
        sound = self._scratch.array("sound", (self._field.length,), "float32")
        bands = self._scratch.array("bands", out.shape[:2], "float32")
        for channel in range(out.shape[2]):
            _pad(wave[:, channel], sound)
            self._mels.write(sound, bands)
            out[:, :, channel] = bands
        assert self._field.spectrogram is not None
        return self._field.spectrogram.frames(len(wave))

    def describe(self, row: int, loaded: Loaded) -> dict[str, Any]:
        # A file that was open is closed by now.
        with opened(loaded if isinstance(loaded, bytes) else self.load(row)) as stream:
            sound = Sound(stream, is_part=True)
            sound.close()
            seconds = round(sound.frames / sound.rate, 2)
            found = {"rate": sound.rate, "channels": sound.channels, "seconds": seconds}
        return {**found, "coding": sound.coding}

    def _wave(self, row: int, loaded: Loaded) -> NDArray:
        """Return a row's sound at the rate of the field, ``float32[at most length, channels]``."""
        path = None if isinstance(loaded, bytes) else loaded.path
        with opened(loaded) as stream:
            sound = Sound(stream, path, is_part=not isinstance(loaded, bytes | Whole))
            try:
                return self._cut(row, sound)
            finally:
                sound.close()

    def _cut(self, row: int, sound: Sound) -> NDArray:
        field = self._field
        if not field.mono and sound.channels != field.channels:
            raise BadValue(
                f"has {sound.channels:,} channels where channels={field.channels} is declared",
                "Leave the row out with data.select, or pass mono=True, which averages them.",
            )
        first, last = self._frames(row, sound)
        start, stop = (samples_of(each, sound.rate, field.rate) for each in (first, last))
        if start == stop:
            raise BadValue(
                f"is too short: {last - first:,} frames at {sound.rate:,} Hz make no sample at "
                f"{field.rate:,} Hz",
                CORRECT if self._bounds else "Leave the row out with data.select.",
            )
        if field.truncating == "post":
            stop = min(stop, start + field.length)
        else:
            start = max(start, stop - field.length)
        return samples(sound, field.rate, start, stop, mono=field.mono)

    def _frames(self, row: int, sound: Sound) -> tuple[int, int]:
        """Return where a row's sound starts and stops, in frames of its file."""
        if not self._bounds:
            return 0, sound.frames
        start, stop = self._bounds.at(row)
        scale = 1 if self._field.unit == "frames" else sound.rate
        first, last = round(start * scale), sound.frames if stop is None else round(stop * scale)
        if self._field.unit == "frames" and (first != start or last != (stop or last)):
            raise BadValue(f"is to be read from {start} to {stop}, which are no whole frames", CORRECT)
        if last > sound.frames or first >= last:
            end, begins, stops = (f"{each / sound.rate:.12g}" for each in (sound.frames, first, last))
            raise BadValue(
                f"ends after {sound.frames:,} frames ({end} s), where frames {first:,} to {last:,} "
                f"({begins} to {stops} s) are to be read",
                CORRECT,
            )
        return first, last


def _pad(wave: NDArray, out: NDArray) -> None:
    """Write a sound to the beginning of `out`, and 0 to the rest."""
    out[: len(wave)] = wave
    out[len(wave) :] = 0
