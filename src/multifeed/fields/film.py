"""Encoded video to single frames. Knows nothing of fields."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from typing import Any, BinaryIO, Self

from multifeed.errors import BadValue
from multifeed.extras import package
from multifeed.fields.filmfile import container_of
from multifeed.fields.rows import NDArray
from multifeed.fields.shared import first_line
from multifeed.files import REPLACE

# Of a frame; that of 8K (7680 x 4320) has 33,177,600. FFmpeg keeps up to some twenty of 1.5 bytes a
# pixel, or of 3 with more than 8 bits.
MAX_PIXELS = 2**25

# The decoders that are tried, by FFmpeg's names. It knows some 500, for formats that nobody needs here.
_DECODERS = ("h264", "hevc", "vp8", "vp9", "libdav1d", "av1", "mpeg4", "mjpeg")
# To enter at a keyframe costs as much as decoding some seven frames: what a decoder keeps back is lost,
# and it gives the first frame after some others.
_WORTH_FRAMES = 12
# Bytes that FFmpeg asks for at once.
_BUFFER_BYTES = 2**16


class Film:
    """A video file, open.

    Args:
        stream: The file.
        max_pixels: A video that claims larger frames is refused.
        descriptor: That of the file, if it has one: FFmpeg reads it faster than the stream.

    Raises:
        BadValue: If it is no MP4 or WebM, damaged or truncated, or has no video that is decoded here.
    """

    def __init__(self, stream: BinaryIO, max_pixels: int, descriptor: int | None = None) -> None:
        container = container_of(stream)
        stream.seek(0)
        # Those that find out what the streams are; the one that decodes is set up below.
        options = {
            "codec_whitelist": ",".join(_DECODERS),
            "max_pixels": _allowed(max_pixels),
            "max_streams": "64",
            "threads": "1",
        }
        # None of the other files is opened that a video may name.
        given: dict[str, Any] = {"file": stream, "options": options, "io_open": _refuse}
        if descriptor is not None and os.name == "posix":
            os.lseek(descriptor, 0, os.SEEK_SET)
            only = {"fd": str(descriptor), "protocol_whitelist": "fd"}
            given = {"file": "fd:", "options": options | only}
        with _told():
            self._container = _av().open(
                mode="r",
                format=container,
                metadata_errors="replace",
                buffer_size=_BUFFER_BYTES,
                **given,
            )
        try:
            self._stream = self._video()
            self._set_up(max_pixels)
        except BaseException:
            self.close()
            raise

    def _video(self) -> Any:
        """Return the first stream that is a video, and no picture of a cover."""
        cover = _av().stream.Disposition.attached_pic
        streams = [each for each in self._container.streams.video if not each.disposition & cover]
        if not streams:
            kinds = sorted({each.type for each in self._container.streams}) or ["nothing"]
            raise BadValue(
                f"has no video, only {', '.join(kinds)}", "Leave the row out with data.select."
            )
        found = streams[0]
        if found.codec_context is None or found.codec_context.codec.name not in _DECODERS:
            coded = "an unknown way" if found.codec_context is None else found.codec_context.codec.name
            raise BadValue(
                f"has video coded as {coded}, which is not read",
                "Convert it to H.264, HEVC, VP8, VP9 or AV1.",
            )
        return found

    def _set_up(self, max_pixels: int) -> None:
        context = self._stream.codec_context
        height, width = self.size
        if height * width > max_pixels:
            raise BadValue(
                f"claims too many pixels ({height:,} x {width:,} where {max_pixels:,} in all are the "
                "limit)",
                "Shrink the video, leave the row out with data.select, or pass a larger max_pixels.",
            )
        # The loader has threads of its own. What FFmpeg would conceal is an error here.
        context.thread_count = 1
        context.options = {"max_pixels": _allowed(max_pixels), "err_detect": "explode"}
        self._tick: Fraction = self._stream.time_base or Fraction(1, 1_000)
        self._start: int = self._stream.start_time or 0

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of its frames in pixels, as they are coded."""
        context = self._stream.codec_context
        return context.height or 0, context.width or 0

    @property
    def coding(self) -> str:
        """FFmpeg's name of what its frames are coded as."""
        name: str = self._stream.codec_context.codec.canonical_name
        return name

    @property
    def seconds(self) -> Fraction:
        """How long it takes.

        Raises:
            BadValue: If it does not say so.
        """
        ticks = self._stream.duration
        whole = self._container.duration
        if ticks is None and whole is not None:
            # Of all streams, from the start of the first one on, in microseconds.
            late = self._start * self._tick - Fraction(self._container.start_time or 0, 1_000_000)
            seconds = Fraction(whole, 1_000_000) - late
        else:
            seconds = (ticks or 0) * self._tick
        if seconds <= 0:
            raise BadValue(
                "does not say how long it is",
                "Write it again, e.g. with ffmpeg -i OLD -c copy NEW.",
            )
        return seconds

    @property
    def rate(self) -> Fraction | None:
        """Its frames a second, on average, as far as it tells."""
        rate: Fraction | None = self._stream.average_rate
        return rate

    def shown(self, moments: Sequence[Fraction]) -> Iterator[Any]:
        """Yield the frame that is shown at each of ascending moments, in seconds from the first one on.

        Raises:
            BadValue: If it cannot be decoded.
        """
        reel = _Reel(self._container, self._stream)
        for moment in moments:
            # Times of frames are rounded to ticks, half of one may be missing. In whole numbers:
            # fractions would take a hundredth of what decoding takes.
            part, whole = (
                moment.numerator * self._tick.denominator,
                moment.denominator * self._tick.numerator,
            )
            yield reel.at(self._start - (whole - 2 * part) // (2 * whole))

    def close(self) -> None:
        """Let the file go."""
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class _Reel:
    """The frames of a video in the order in which they are shown, some of them passed over.

    Where a keyframe lies far enough between what was decoded and what is asked for, decoding goes on
    from there. Some videos cannot be entered at their keyframes without an error (of H.264 with open
    groups of pictures, frames refer to what was before): these are decoded from their beginning.
    """

    def __init__(self, container: Any, stream: Any) -> None:
        self._container, self._stream = container, stream
        self._can_seek = True
        rate = stream.average_rate
        self._worth = round(_WORTH_FRAMES / rate / stream.time_base) if rate and stream.time_base else 0
        self._frames: Iterator[Any] = iter(())
        # The frame that was asked for last, and the next one.
        self._current: Any = None
        self._coming: Any = None

    def at(self, time: int) -> Any:
        """Return the frame that is shown at a time, in ticks, no earlier than the last one asked for.

        It is the last one that begins at the time or before it; the first one, if none does.
        """
        try:
            if self._pays(time):
                self._enter(time)
            return self._advanced(time)
        except BadValue:
            if not self._can_seek:
                raise
        self._can_seek = False
        self._rewind()
        return self._advanced(time)

    def _pays(self, time: int) -> bool:
        """Tell whether a keyframe lies well before a time, or nothing has been decoded yet."""
        if not self._can_seek or self._coming is None:
            return self._can_seek and self._current is None
        index = self._stream.index_entries
        place = index.search_timestamp(time)
        # Of an MP4, the index has the times of decoding, which are no later.
        return bool(place >= 0 and index[place].timestamp > self._coming.pts + self._worth)

    def _enter(self, time: int) -> None:
        """Go to the last keyframe that is shown at a time or before it."""
        packet, packets = self._sought(time)
        # FFmpeg may take the time at which it is decoded for that at which it is shown.
        while None not in (packet.pts, packet.dts) and packet.pts > time:
            earlier, more = self._sought(packet.dts - 1)
            if earlier.dts is None or earlier.dts >= packet.dts:
                # It is the first one.
                self._rewind()
                return
            packet, packets = earlier, more
        # Frames may follow a keyframe in the file, and be shown before it: they lack what they refer to.
        self._begin(packet, packets, packet.pts)

    def _rewind(self) -> None:
        index = self._stream.index_entries
        first = min(self._stream.start_time or 0, index[0].timestamp if len(index) else 0)
        self._begin(*self._sought(first), None)

    def _sought(self, time: int) -> tuple[Any, Iterator[Any]]:
        """Return the first packet of the keyframe before a time, and all others."""
        with _told():
            self._container.seek(time, stream=self._stream)
            packets = self._container.demux(self._stream)
            return next(packets), packets

    def _begin(self, packet: Any, packets: Iterator[Any], least: int | None) -> None:
        self._frames = self._decoded(chain([packet], packets), least)
        self._current, self._coming = None, next(self._frames, None)
        if self._coming is None:
            raise BadValue("has no frame that can be decoded", REPLACE)

    def _advanced(self, time: int) -> Any:
        while self._coming is not None and (self._current is None or self._coming.pts <= time):
            self._current, self._coming = self._coming, next(self._frames, None)
        return self._current

    def _decoded(self, packets: Iterable[Any], least: int | None) -> Iterator[Any]:
        """Yield the frames of packets, but for those that are shown before a time."""
        with _told():
            for frame in chain.from_iterable(packet.decode() for packet in packets):
                if frame.pts is None:
                    raise BadValue("has frames without a time", REPLACE)
                if least is not None and frame.pts < least:
                    continue
                if frame.is_corrupt:
                    raise BadValue(f"is a damaged video (its frame at {frame.time:.3f} s)", REPLACE)
                yield frame


def pixels(frame: Any) -> NDArray:
    """Return a frame as ``uint8[height, width, 3]``, RGB, as it is coded."""
    with _told():
        found: NDArray = frame.to_ndarray(format="rgb24", threads=1)
    return found


def turns(frame: Any) -> int:
    """Return by how many quarters a frame is to be turned counter-clockwise to stand upright."""
    degrees: int = frame.rotation
    return round(degrees / 90) % 4


def _allowed(max_pixels: int) -> str:
    """Return how many pixels FFmpeg may take memory for, to whose rows some are added."""
    return str(min(2 * max_pixels + 2**16, 2**31 - 1))


@contextmanager
def _told() -> Iterator[None]:
    """Let errors of FFmpeg be those of a damaged file."""
    try:
        yield
    except (_av().FFmpegError, ValueError, StopIteration) as error:
        # Its text has the name of an object in memory, or none.
        reason = getattr(error, "strerror", None) or first_line(error)
        raise BadValue(f"is a damaged video ({reason})", REPLACE) from error


def _refuse(url: str, flags: int, options: dict[str, str]) -> Any:
    """Open none of the other files that a video may name."""
    raise BadValue(f"names another file ({url!r}), which is not opened", REPLACE)


def _av() -> Any:
    return package("av", extra="video", of="mf.Video")


def decoders() -> dict[str, Any]:
    """Return what frames come from: other versions may give others.

    Raises:
        DeclarationError: If PyAV is not installed.
    """
    versions = _av().library_versions
    return {"av": _av().__version__, **{name: list(each) for name, each in versions.items()}}
