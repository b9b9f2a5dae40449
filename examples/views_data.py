"""Write short films of a conveyor belt, what was heard beside it, and a table.

The pebbles on the belt are a photograph, scikit-image's `gravel`; the belt's motion and its sound are
simulated: the hum of a motor, noise, and of a worn bearing knocks that ring.
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import av
import numpy as np
import soundfile
from skimage.data import gravel

SECONDS = 1.0
BELTS = 8

_HEIGHT, _WIDTH = 48, 64  # pixels of a film


def write_films(folder: Path, count: int, seed: int = 0) -> None:
    """Write ``films/{id}.mp4``, ``sounds/{id}.wav`` and ``belts.csv`` into `folder`.

    Films have one of two frame rates, and sounds one of three rates.

    Args:
        folder: Where to write; what was there before is removed.
        count: Number of films.
        seed: Decides what is seen and heard.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for kind in ("films", "sounds"):
        (folder / kind).mkdir(parents=True)
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        name, belt = f"{number:05d}", number % BELTS
        goes_left, is_worn = rng.integers(2, size=2).astype(bool)
        speed = float(rng.uniform(20, 36)) * (1 if goes_left else -1)
        _write_film(folder / "films" / f"{name}.mp4", belt, speed, rng)
        _write_sound(folder / "sounds" / f"{name}.wav", bool(is_worn), rng)
        state = f"{'left' if goes_left else 'right'}, {'worn' if is_worn else 'good'}"
        rows.append((name, f"belt {belt}", state))
    rng.shuffle(rows)
    with (folder / "belts.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("id", "belt", "state"))
        table.writerows(rows)


def _write_film(file: Path, belt: int, speed: float, rng: np.random.Generator) -> None:
    """Write a film of pebbles that move `speed` pixels a second to the left.

    Each belt carries the pebbles of one band of the photograph.
    """
    photograph = gravel()
    band = len(photograph) // BELTS
    top = belt * band + int(rng.integers(band - _HEIGHT + 1))
    pebbles = np.roll(photograph[top : top + _HEIGHT], int(rng.integers(512)), axis=1)
    light = rng.uniform(0.7, 1.2)
    rate = int(rng.choice([16, 24]))
    with av.open(str(file), "w") as film:
        video = film.add_stream("libx264", rate=rate)
        video.width, video.height, video.pix_fmt = _WIDTH, _HEIGHT, "yuv420p"
        for number in range(round(SECONDS * rate)):
            seen = np.roll(pebbles, -round(speed * number / rate), axis=1)[:, :_WIDTH]
            grey = (seen * light + rng.normal(0, 4, seen.shape)).clip(0, 255).astype(np.uint8)
            film.mux(video.encode(av.VideoFrame.from_ndarray(np.stack([grey] * 3, axis=-1))))
        film.mux(video.encode())


def _write_sound(file: Path, is_worn: bool, rng: np.random.Generator) -> None:
    """Write the sound of a motor and, if its bearing is worn, of knocks that ring at some kHz."""
    rate = int(rng.choice([16_000, 22_050, 44_100]))
    time = np.arange(round(SECONDS * rate)) / rate
    hum = sum(np.sin(2 * np.pi * 50 * each * time + rng.uniform(0, 6)) / each for each in (1, 2, 4))
    sound = 0.1 * hum + rng.normal(0, rng.uniform(0.02, 0.05), len(time))
    if is_worn:
        since = (time + rng.uniform(0, 0.1)) % (1 / rng.uniform(9, 14))
        sound += 0.25 * np.exp(-since / 0.01) * np.sin(2 * np.pi * rng.uniform(2_000, 3_500) * since)
    soundfile.write(file, rng.uniform(0.5, 1.0) * sound, rate)
