"""Sounds and videos, decoded every epoch: multifeed and the bare libraries in two threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from data import photograph
from job import WORKERS, Batch, Epoch, Job, Limit

BATCH_SIZE = 16
_CHUNK = 4  # rows that a thread of the bare loop takes at once

SECONDS, FROM_RATE, RATE = 5, 44_100, 16_000
LENGTH = SECONDS * RATE
FRAMES, SIZE = 8, (112, 112)

# Writes what a row becomes to its place.
Fill = Callable[[int, np.ndarray], None]


def bare_loop(samples: int, shape: tuple[int, ...], dtype: str, fill: Fill) -> Epoch:
    """Set up the limit: rows in random order in two threads, with nothing of a loader around them."""

    def fill_some(batch: Batch, rows: np.ndarray, slots: slice) -> None:
        for slot, row in enumerate(rows[slots], start=slots.start):
            fill(int(row), batch[0][slot])
        batch[1][slots] = rows[slots]

    def epoch(number: int) -> Iterator[Batch]:
        order = np.random.default_rng(number).permutation(samples)
        # One batch is filled while the other is looked at, so no thread waits at a batch's end.
        buffers = [(np.empty((BATCH_SIZE, *shape), dtype), np.empty(BATCH_SIZE)) for _ in range(2)]
        pending: deque[tuple[Batch, list[Future[None]]]] = deque()
        with ThreadPoolExecutor(WORKERS) as pool:
            for step, start in enumerate(range(0, samples, BATCH_SIZE)):
                rows = order[start : start + BATCH_SIZE]
                batch = tuple(array[: len(rows)] for array in buffers[step % 2])
                chunks = [slice(at, min(at + _CHUNK, len(rows))) for at in range(0, len(rows), _CHUNK)]
                pending.append((batch, [pool.submit(fill_some, batch, rows, each) for each in chunks]))
                if len(pending) == 2:
                    yield _finished(*pending.popleft())
            while pending:
                yield _finished(*pending.popleft())

    return epoch


def _finished(batch: Batch, chunks: list[Future[None]]) -> Batch:
    for chunk in chunks:
        chunk.result()
    return batch


def _feed(folder: Path, samples: int, ending: str, field: Any) -> Epoch:
    import multifeed as mf

    names = [f"{folder}/{row}.{ending}" for row in range(samples)]
    inputs = {"x": field, "row": mf.Numeric("row")}
    data = mf.Dataset({"x": names, "row": np.arange(samples)}, inputs=inputs)

    def epoch(number: int) -> Iterator[Batch]:
        with mf.Feed(data, BATCH_SIZE, shuffle=True, seed=number, workers=WORKERS) as feed:
            for (batch,) in feed:
                yield batch["x"], batch["row"][:, 0]

    return epoch


def rows(batch: Batch) -> list[Any]:
    """Return the row numbers."""
    return [np.asarray(batch[1])]


# Sound -----------------------------------------------------------------------------------------------


def write_sounds(folder: Path, samples: int) -> None:
    """Write a chord in noise for each row."""
    import soundfile

    time = np.arange(SECONDS * FROM_RATE) / FROM_RATE
    for row in range(samples):
        noise = np.random.default_rng(row).normal(0, 0.02, (len(time), 2))
        chord = [np.sin(2 * np.pi * hertz * time) for hertz in (220 + row, 330 + row)]
        soundfile.write(folder / f"{row}.flac", 0.4 * np.stack(chord, axis=1) + noise, FROM_RATE)


def multifeed_audio(folder: Path, samples: int) -> Epoch:
    """Set up a feed of waves."""
    import multifeed as mf

    return _feed(folder, samples, "flac", mf.Audio("x", RATE, LENGTH))


def multifeed_spectrogram(folder: Path, samples: int) -> Epoch:
    """Set up a feed of their spectrograms."""
    import multifeed as mf

    spectrogram = mf.Spectrogram(n_fft=400, hop=160, mels=64)
    return _feed(folder, samples, "flac", mf.Audio("x", RATE, LENGTH, spectrogram=spectrogram))


def soundfile_soxr(folder: Path, samples: int) -> Epoch:
    """Set up the same samples by soundfile and soxr."""
    import soundfile
    import soxr

    def fill(row: int, out: np.ndarray) -> None:
        sound, rate = soundfile.read(f"{folder}/{row}.flac", dtype="float32")
        wave = soxr.resample((sound[:, 0] + sound[:, 1]) / 2, rate, RATE)
        out[:, 0] = wave[:LENGTH]

    return bare_loop(samples, (LENGTH, 1), "float32", fill)


AUDIO = Job(
    about=f"a stereo FLAC of {SECONDS} s at 44.1 kHz per sample, to mono at 16 kHz, shuffled, batches "
    f"of {BATCH_SIZE}",
    samples=300,
    quick=32,
    prepare=write_sounds,
    batch_size=BATCH_SIZE,
    contestants={
        "multifeed": multifeed_audio,
        "multifeed_spectrogram": multifeed_spectrogram,
        "soundfile_soxr": soundfile_soxr,
    },
    limits=[Limit(figure="audio ÷ soundfile and soxr", over=("soundfile_soxr",), least=0.9)],
    rows=rows,
)


# Video -----------------------------------------------------------------------------------------------


def write_videos(folder: Path, samples: int) -> None:
    """Write three seconds of a photograph over which a window moves, for each row."""
    import av

    for row in range(samples):
        picture = np.asarray(photograph(row, 0).resize((500, 375)))
        with av.open(f"{folder}/{row}.mp4", "w") as film:
            video = film.add_stream("libx264", rate=30, options={"preset": "veryfast"})
            video.width, video.height, video.pix_fmt, video.gop_size = 320, 240, "yuv420p", 30
            for number in range(90):
                window = picture[number : number + 240, number * 2 : number * 2 + 320]
                film.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(window))))
            film.mux(video.encode())


def multifeed_video(folder: Path, samples: int) -> Epoch:
    """Set up a feed of frames, evenly over each video."""
    import multifeed as mf

    return _feed(folder, samples, "mp4", mf.Video("x", FRAMES, SIZE))


def pyav(folder: Path, samples: int) -> Epoch:
    """Set up the same frames by PyAV, which decodes all of them, in one thread of FFmpeg each."""
    import av
    import cv2

    cv2.setNumThreads(1)

    def fill(row: int, out: np.ndarray) -> None:
        with av.open(f"{folder}/{row}.mp4") as film:
            video = film.streams.video[0]
            video.codec_context.thread_count = 1
            wanted = [int(90 * (2 * place + 1) / (2 * FRAMES)) for place in range(FRAMES)]
            for number, frame in enumerate(film.decode(video)):
                if number in wanted:
                    pixels = cv2.GaussianBlur(frame.to_ndarray(format="rgb24", threads=1), (3, 3), 0)
                    cv2.resize(pixels, SIZE, dst=out[wanted.index(number)])
                if number == wanted[-1]:
                    break

    return bare_loop(samples, (FRAMES, *SIZE, 3), "uint8", fill)


VIDEO = Job(
    about=f"{FRAMES} frames of 112x112, evenly out of an MP4 of 3 s (320x240, H.264, a keyframe a "
    f"second) per sample, shuffled, batches of {BATCH_SIZE}",
    samples=100,
    quick=16,
    prepare=write_videos,
    batch_size=BATCH_SIZE,
    contestants={"multifeed": multifeed_video, "pyav": pyav},
    limits=[Limit(figure="video ÷ PyAV", over=("pyav",), least=0.9)],
    rows=rows,
)
