"""Encoded sound to ``float32`` samples at a rate. Knows nothing of fields."""

from __future__ import annotations

import math
import struct
import zlib
from contextlib import suppress
from typing import Any, BinaryIO

import numpy as np

from multifeed.errors import BadValue
from multifeed.extras import package
from multifeed.fields.rows import NDArray
from multifeed.fields.shared import first_line
from multifeed.files import REPLACE

# Of one file, as many numbers (frames times channels) are read: 1 GiB as float32.
MAX_NUMBERS = 2**28
# Frames a second that a header may claim: a filter for a factor of millions would take seconds.
_MOST_RATE = 10_000_000

# What libsndfile may take the data for, by their first bytes. It knows more, with parsers that nobody
# needs here.
_MAGIC = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS")
_FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG")
_CODINGS = (
    "PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM",
    "MS_ADPCM", "VORBIS", "OPUS",
)  # fmt: skip

# What libsndfile says of a FLAC that was written to a pipe, whose header could not be corrected.
_UNKNOWN_FRAMES = 2**63 - 1

# How far soxr's filter of high quality reaches to either side, in frames of the lower rate: beyond 96,
# nothing changes but the rounding.
_REACH = 128

# Before the sound of a WAV, chunks are few; and a file of 2 GiB would have room for 2^28 empty ones.
_MOST_CHUNKS = 1_000
# A size that says nothing: the file was written to where nobody could go back to correct it.
_UNKNOWN_SIZE = 2**32 - 1

# A page of an Ogg: the bytes before its sizes, the last of which says how many sizes there are; where
# its flags and its checksum stand; the flag of the last page; and the largest page.
_OGG, _PAGE_BYTES, _FLAGS, _CHECKSUM, _LAST_PAGE = b"OggS", 27, 5, 22, 4
_LARGEST_PAGE = _PAGE_BYTES + 255 + 255 * 255
# Every byte with its bits in reverse: Ogg's checksum is that of zlib on such bytes.
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Sound:
    """A sound file, open.

    Args:
        stream: The file. Of a WAV and an Ogg it is seen first whether all of it is there.
        path: A path to it that is faster for libsndfile than the stream.
        is_part: Whether only a part of it will be read: then not every page of an Ogg is looked at.

    Raises:
        BadValue: If it is no sound file of a known format, damaged or truncated.
    """

    def __init__(self, stream: BinaryIO, path: str | None = None, *, is_part: bool = False) -> None:
        magic = stream.read(4)
        if magic not in _MAGIC:
            raise BadValue(
                f"is no WAV, FLAC or Ogg file, or damaged at its start ({magic!r})",
                "Convert the file, or leave the row out with data.select.",
            )
        if magic == b"OggS":
            _check_ogg(stream, is_part=is_part)
        elif magic != b"fLaC":
            _check_wav(stream)
        stream.seek(0)
        self._stream = _Heard(stream)
        self._file = self._hear(lambda: self._opened(path))
        self.rate: int = self._file.samplerate
        self.channels: int = self._file.channels
        self.frames: int = self._file.frames
        self.coding: str = self._file.subtype
        try:
            self._check()
        except BadValue:
            self.close()
            raise

    def _opened(self, path: str | None) -> Any:
        if path is not None:
            # Where a process may open no more files, it can still read those that it has open.
            with suppress(_soundfile().LibsndfileError):
                return _soundfile().SoundFile(path)
        return _soundfile().SoundFile(self._stream)

    def _check(self) -> None:
        kind = self._file.format
        if kind not in _FORMATS or self.coding not in _CODINGS:
            raise BadValue(
                f"is {kind} with sound coded as {self.coding}, which is not read",
                "Convert it to WAV, FLAC or Ogg.",
            )
        if not 1 <= self.rate <= _MOST_RATE:
            raise BadValue(
                f"claims {self.rate:,} frames a second, where at most {_MOST_RATE:,} are read", REPLACE
            )
        if self.frames < 1:
            raise BadValue("holds no sound (0 frames)", REPLACE)
        if self.frames >= _UNKNOWN_FRAMES:
            raise BadValue("does not say how long it is", "Write it again, e.g. with ffmpeg -i OLD NEW.")

    def read(self, start: int, stop: int) -> NDArray:
        """Return frames, ``float32[stop - start, channels]``; what are integers become -1 to 1.

        Raises:
            BadValue: If they are too many, or the file is damaged there.
        """
        count = stop - start
        if count * self.channels > MAX_NUMBERS:
            raise BadValue(
                f"claims {count:,} frames of {self.channels:,} channels for this sample, where "
                f"{MAX_NUMBERS:,} numbers are the limit",
                "Cut the file, or declare a shorter length.",
            )
        frames = np.empty((count, self.channels), np.float32)

        def read() -> int:
            if start:
                self._file.seek(start)
            return len(self._file.read(out=frames))

        found = self._hear(read)
        if found < count:
            raise BadValue(
                f"is damaged: {found:,} of {count:,} frames can be read from frame {start:,} on", REPLACE
            )
        return frames

    def close(self) -> None:
        """Let the file go."""
        self._file.close()

    def _hear(self, ask: Any) -> Any:
        """Return what libsndfile says, or raise what went wrong."""
        try:
            said = ask()
        except Exception as error:
            if self._stream.error is None:
                # The name in it is that of an object in memory.
                reason = getattr(error, "error_string", None) or first_line(error)
                raise BadValue(f"is a damaged sound file ({reason.rstrip('.')})", REPLACE) from error
        if self._stream.error is not None:
            raise self._stream.error
        return said


class _Heard:
    """A stream that keeps what reading it raises: a callback of libsndfile cannot raise.

    Args:
        stream: The stream.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.tell = stream.tell
        self.error: Exception | None = None

    def seek(self, offset: int, whence: int = 0) -> None:
        # A damaged file may lead before its beginning; where this stays, `tell` says.
        with suppress(OSError, ValueError):
            self._stream.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        try:
            count: int = self._stream.readinto(buffer)  # type: ignore[attr-defined]
        except Exception as error:
            self.error = error
            return 0
        return count


def samples_of(count: int, rate: int, other: int) -> int:
    """Return how many samples `count` frames at a rate become at another one; halves are rounded up."""
    return (2 * count * other + rate) // (2 * rate)


def samples(sound: Sound, rate: int, start: int, stop: int, *, mono: bool) -> NDArray:
    """Return samples of a sound at a rate, ``float32[stop - start, channels]``.

    They are those of the whole sound at that rate: what lies before and behind them counts as it does
    there, so that segments that adjoin each other do so here as well.

    Args:
        sound: The sound.
        rate: The rate, in Hz.
        start: The first sample, counted at that rate.
        stop: The one after the last.
        mono: Whether the channels are averaged.

    Raises:
        BadValue: If the file is damaged there.
    """
    if sound.rate == rate:
        return _mixed(sound.read(start, stop), mono=mono)
    # After `step` frames, and `other` samples, both fall on one moment again.
    common = math.gcd(sound.rate, rate)
    step, other = sound.rate // common, rate // common
    reach = _REACH * max(1, -(-sound.rate // rate))
    first = max(0, start * step // other - reach) // step * step
    last = min(sound.frames, -(-stop * step // other) + reach)
    frames = _mixed(sound.read(first, last), mono=mono)
    found: NDArray = _soxr().resample(frames, sound.rate, rate, "HQ")
    skipped = start - first // step * other
    return found[skipped : skipped + stop - start]


def _mixed(frames: NDArray, *, mono: bool) -> NDArray:
    channels = frames.shape[1]
    if not mono or channels == 1:
        return frames
    # A tenth of the time of `mean` along the short axis.
    total = frames[:, 0] + frames[:, 1]
    for channel in range(2, channels):
        total += frames[:, channel]
    total *= np.float32(1 / channels)
    mixed: NDArray = total[:, None]
    return mixed


def _check_wav(stream: BinaryIO) -> None:
    """Raise if the sound of a WAV is shorter than its header says, which libsndfile takes as it is."""
    stream.seek(0, 2)
    size = stream.tell()
    stream.seek(0)
    order = ">" if stream.read(4) == b"RIFX" else "<"
    place, large = 12, _UNKNOWN_SIZE
    for _ in range(_MOST_CHUNKS):
        stream.seek(place)
        head = stream.read(8)
        if len(head) < 8:
            return  # Without any sound: libsndfile says so.
        name, count = struct.unpack(f"{order}4sI", head)
        if name == b"ds64":
            # The sizes of a file above 4 GiB: of all of it, and of its sound.
            large = int.from_bytes(stream.read(16)[8:], "little")
        if name == b"data":
            count = large if count == _UNKNOWN_SIZE else count
            if count != _UNKNOWN_SIZE and count > size - place - 8:
                found = f"{size - place - 8:,} of {count:,} bytes"
                raise BadValue(f"is truncated: it has {found} of sound that its header claims", REPLACE)
            return
        place += 8 + count + count % 2
    raise BadValue(f"is a damaged sound file (more than {_MOST_CHUNKS:,} chunks)", REPLACE)


def _check_ogg(stream: BinaryIO, *, is_part: bool) -> None:
    """Raise if pages of an Ogg are damaged, or its last one is missing, which libsndfile passes over.

    Args:
        stream: The file.
        is_part: Whether to look at the last page alone: all of them take as long as reading the file.
    """
    size = stream.seek(0, 2)
    place, is_last = _place_of_last_page(stream, size) if is_part else 0, False
    while place < size:
        place, is_last = _next_page(stream, place)
    if not is_last:
        raise _truncated_ogg()


def _place_of_last_page(stream: BinaryIO, size: int) -> int:
    start = max(0, size - _LARGEST_PAGE)
    stream.seek(start)
    # What is no page there is told by its checksum.
    return start + max(0, stream.read().rfind(_OGG))


def _next_page(stream: BinaryIO, place: int) -> tuple[int, bool]:
    """Return where the page of an Ogg ends that begins at a place, and whether it is the last one."""
    stream.seek(place)
    head = stream.read(_PAGE_BYTES)
    sizes = stream.read(head[-1]) if len(head) == _PAGE_BYTES else b""
    body = stream.read(sum(sizes))
    if len(head) < _PAGE_BYTES or len(sizes) < head[-1] or len(body) < sum(sizes):
        raise _truncated_ogg()
    blank = head[:_CHECKSUM] + bytes(4) + head[_CHECKSUM + 4 :] + sizes + body
    checksum = zlib.crc32(blank.translate(_REVERSED), 2**32 - 1) ^ (2**32 - 1)
    if head[_CHECKSUM : _CHECKSUM + 4] != checksum.to_bytes(4).translate(_REVERSED):
        raise BadValue(f"is a damaged Ogg file (in its page at byte {place:,})", REPLACE)
    return place + len(blank), bool(head[_FLAGS] & _LAST_PAGE)


def _truncated_ogg() -> BadValue:
    return BadValue("is truncated: the last page of an Ogg file is missing", REPLACE)


# The packages, imported when they are needed.


def _soundfile() -> Any:
    return package("soundfile", extra="audio", of="mf.Audio")


def _soxr() -> Any:
    return package("soxr", extra="audio", of="mf.Audio")


def decoders() -> dict[str, str]:
    """Return what samples come from: other versions may give others.

    Raises:
        DeclarationError: If a package is not installed.
    """
    soundfile, soxr = _soundfile(), _soxr()
    return {
        "soundfile": soundfile.__version__,
        "libsndfile": soundfile.__libsndfile_version__,
        "soxr": soxr.__version__,
    }
