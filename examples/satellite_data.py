"""Write scenes of six bands, the spectrum of the light on each day, and what probes have measured.

There is no satellite behind them: fields of soil and plants are simulated, seen in the light of a day,
and written as real GeoTIFFs, strip by strip, so that no scene is ever in memory as a whole.
"""

from __future__ import annotations

import csv
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

TILE = 128  # pixels, both ways: a block of the file, and what the model sees at once

# Where the satellite looks, and the spectrometer on the ground, in nm.
BANDS = np.array([443, 490, 560, 665, 740, 842])
SPECTRUM = np.arange(400, 900, 25)

# Reflectances at the bands. Water between the grains makes soil darker, in all bands alike.
_DRY_SOIL = np.array([0.12, 0.16, 0.21, 0.28, 0.32, 0.36], np.float32)
_PLANTS = np.array([0.03, 0.04, 0.09, 0.05, 0.28, 0.42], np.float32)
_DARKENING = 1.6
_WETTEST = 0.45  # m³ of water in a m³ of soil
_NOISE = 40  # counts; one of them is 1/10,000 of the full light of a summer noon


def write_scenes(folder: Path, count: int, pixels: int, seed: int = 0) -> None:
    """Write ``scenes/{id}.tif``, ``light.csv`` and ``ground.csv`` into `folder`.

    Args:
        folder: Where to write; what was there before is removed.
        count: Number of scenes, each taken on another day.
        pixels: Height and width of a scene, a multiple of the tile's.
        seed: Decides what stands where, and how the days are.
    """
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "scenes").mkdir(parents=True)
    light, ground = [], []
    for number in range(count):
        day = np.random.default_rng((seed, number))
        sun, haze = day.uniform(0.35, 1.0), day.uniform(0.0, 2.0)
        name = f"day{number:02d}"
        light.append((name, *np.round(_irradiance(SPECTRUM, sun, haze), 4)))
        scene = folder / "scenes" / f"{name}.tif"
        for tile, moisture in write_scene(scene, pixels, _irradiance(BANDS, sun, haze), day):
            ground.append((f"{name}/{tile}", round(moisture, 4)))
    _write_table(folder / "light.csv", ("id", *(f"nm_{each}" for each in SPECTRUM)), light)
    # Not in the order of the tiles: what belongs together is found by key, not by position.
    _write_table(folder / "ground.csv", ("tile", "moisture"), sorted(ground, key=lambda row: row[1]))


def write_scene(
    file: Path, pixels: int, light: np.ndarray, rng: np.random.Generator
) -> list[tuple[str, float]]:
    """Write one scene, and return each tile's place and mean moisture.

    Args:
        file: The GeoTIFF to write: six bands of uint16, not packed, in blocks of a tile.
        pixels: Height and width, a multiple of the tile's.
        light: Irradiance in each band, 1 for the full light of a summer noon: ``float[6]``.
        rng: Decides what stands where.
    """
    waves = [_Waves(rng) for _ in range(2)]
    grain = rng.normal(0, _NOISE, (len(BANDS), TILE, 2 * TILE)).astype(np.float32)
    full = 10_000 * light.astype(np.float32)
    measured = []
    blocks = {"tiled": True, "blockxsize": TILE, "blockysize": TILE, "interleave": "pixel"}
    form = {"driver": "GTiff", "height": pixels, "width": pixels, "transform": rasterio.Affine.scale(10)}
    with rasterio.open(file, "w", count=len(BANDS), dtype="uint16", **form, **blocks) as scene:
        for top, left in product(range(0, pixels, TILE), repeat=2):
            wet, green = (each.at(top, left) for each in waves)
            counts = _reflectance(wet, green) * full[:, None, None]
            start = int(rng.integers(TILE))
            counts = (counts + grain[:, :, start : start + TILE]).clip(0, 65_535).astype(np.uint16)
            scene.write(counts, window=Window(left, top, TILE, TILE))
            measured.append((f"{top}_{left}", _WETTEST * float(wet.mean())))
    return measured


class _Waves:
    """A quantity from 0 to 1 that changes slowly over a scene, by the sum of a few waves."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._phases = rng.uniform(0, 2 * np.pi, 4)
        self._numbers = 2 * np.pi * rng.uniform(-1, 1, (4, 2)) / (2 * TILE)

    def at(self, top: int, left: int) -> np.ndarray:
        """Return a tile of it, ``float32[TILE, TILE]``."""
        # A wave over a plane is the product of one down and one across, of complex numbers.
        across = np.arange(TILE)
        total = np.zeros((TILE, TILE), np.float32)
        for phase, (down, right) in zip(self._phases, self._numbers, strict=True):
            column = np.exp(1j * (phase + down * (top + across)))
            row = np.exp(1j * right * (left + across))
            total += np.outer(column, row).real.astype(np.float32)
        return 1 / (1 + np.exp(-total))


def _reflectance(wet: np.ndarray, green: np.ndarray) -> np.ndarray:
    """Return ``float32[bands, rows, columns]`` of soil that is partly under plants."""
    soil = _DRY_SOIL[:, None, None] * np.exp(-_DARKENING * wet)
    cover = 0.6 * green
    return soil * (1 - cover) + _PLANTS[:, None, None] * cover


def _irradiance(wavelengths: np.ndarray, sun: float, haze: float) -> np.ndarray:
    """Return the light at wavelengths in nm: less with a low sun, and least of blue through haze."""
    return sun * np.exp(-haze / sun * 0.35 * (wavelengths / 500.0) ** -1.3)


def _write_table(file: Path, names: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as opened:
        table = csv.writer(opened)
        table.writerow(names)
        table.writerows(rows)
