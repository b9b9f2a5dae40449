"""Draw the pictures of docs/fields/audio.md and video.md: sounds with their spectrograms, and videos."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import PIL.Image
import soundfile
from skimage import data as photographs

import multifeed as mf

HERE = Path(__file__).parent.resolve()
RATE, SECONDS = 16_000, 2.0


def main() -> None:
    """Write both pictures beside this file."""
    draw("audio", sounds())
    draw("video", videos())


def draw(name: str, data: mf.Dataset) -> None:
    """Write the sheet of a dataset."""
    # A palette keeps the file small; nobody measures colours here.
    sheet = mf.show(data).quantize(128, dither=PIL.Image.Dither.NONE)
    sheet.save(HERE / f"{name}.png", optimize=True)


def sounds() -> mf.Dataset:
    """Return a scale, a siren, and a drum that is over early, as waves and as spectrograms."""
    time = np.arange(int(RATE * SECONDS)) / RATE
    notes = 262 * 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12]) / 12)
    each = np.minimum((time * 4).astype(int), 7)
    since = time * 4 - each
    scale = sum(np.sin(2 * np.pi * notes[each] * part * time) / part**2 for part in range(1, 7))
    siren = np.sin(2 * np.pi * np.cumsum(900 + 400 * np.sin(2 * np.pi * 1.5 * time)) / RATE)
    beats = time[: int(RATE * 1.2)] % 0.3
    noise = np.random.default_rng(0).normal(size=len(beats))
    drum = np.exp(-25 * beats) * (np.sin(2 * np.pi * 90 * beats) + 0.3 * noise)
    waves = {"scale": 0.5 * scale * np.exp(-3 * since), "siren": 0.6 * siren, "drum": 0.6 * drum}
    contents = []
    for wave in waves.values():
        stream = io.BytesIO()
        soundfile.write(stream, wave, RATE, format="FLAC")
        contents.append(stream.getvalue())
    spectrogram = mf.Spectrogram(n_fft=400, hop=160, mels=64, floor=1e-4)
    length = int(RATE * SECONDS)
    return mf.Dataset(
        {"id": list(waves), "sound": contents},
        key="id",
        inputs={
            "wave": mf.Audio("sound", RATE, length),
            "spectrogram": mf.Audio("sound", RATE, length, spectrogram=spectrogram),
            "own": mf.Mask("wave"),
        },
    )


def videos() -> mf.Dataset:
    """Return photographs over which a window moves, evenly and by time."""
    names = ["coffee", "rocket", "astronaut"]
    contents = []
    for name in names:
        picture = getattr(photographs, name)()
        stream = io.BytesIO()
        with av.open(stream, "w", format="mp4") as film:
            video = film.add_stream("libx264", rate=10)
            video.width, video.height, video.pix_fmt = 240, 200, "yuv420p"
            for number in range(20):
                window = picture[5 * number : 5 * number + 200, 12 * number : 12 * number + 240]
                film.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(window))))
            film.mux(video.encode())
        contents.append(stream.getvalue())
    return mf.Dataset(
        {"id": names, "film": contents},
        key="id",
        inputs={
            "evenly": mf.Video("film", frames=8, size=(100, 120)),
            "by_time": mf.Video("film", frames=4, size=(100, 120), rate=1.5),
        },
    )


if __name__ == "__main__":
    main()
