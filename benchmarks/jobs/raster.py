"""Windows of a satellite scene: multifeed and two threads that call rasterio."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from job import BATCH_SIZE, WORKERS, Batch, Epoch, Job, Limit

BANDS, TILE, SIDE = 12, 128, 2048
_PLACES = (SIDE // TILE) ** 2


def write(folder: Path, samples: int) -> None:
    """Write scenes of 12 bands of uint16, deflated in tiles, with as many windows as samples."""
    import rasterio

    for number in range(-(-samples // _PLACES)):
        random = np.random.default_rng(number)
        places = np.arange(SIDE) / 40
        smooth = 2000 + 900 * np.sin(places[:, None]) * np.cos(places[None])
        form = {"height": SIDE, "width": SIDE, "count": BANDS, "dtype": "uint16", "compress": "deflate"}
        blocks = {"tiled": True, "blockxsize": TILE, "blockysize": TILE}
        transform = rasterio.Affine.scale(10)
        path = folder / f"scene{number:03}.tif"
        with rasterio.open(path, "w", driver="GTiff", transform=transform, **form, **blocks) as file:
            for band in range(BANDS):
                noise = random.integers(0, 200, (SIDE, SIDE))
                file.write((smooth * (1 + band / 10) + noise).astype(np.uint16), band + 1)


def multifeed(folder: Path, samples: int) -> Epoch:
    """Set up a feed over the tiles of the scenes."""
    import multifeed as mf

    rows = mf.tiles(f"{folder}/{{id}}.tif", TILE).slice(0, samples)
    rows = rows.append_column("number", [np.arange(samples, dtype=np.int32)])
    data = mf.Dataset(
        rows, key="tile", inputs={"scene": mf.Raster("scene"), "number": mf.Array("number")}
    )

    def epoch(number: int) -> Iterator[Batch]:
        with mf.Feed(data, BATCH_SIZE, shuffle=True, seed=number, workers=WORKERS) as feed:
            for (batch,) in feed:
                yield batch["scene"], batch["number"]

    return epoch


def two_threads(folder: Path, samples: int) -> Epoch:
    """Set up the limit: each thread reads windows from scenes that it keeps open, into a batch."""
    import rasterio
    from rasterio.windows import Window

    paths = sorted(folder.glob("*.tif"))
    own = threading.local()

    def fill(out: np.ndarray, row: int) -> None:
        scene, place = divmod(row, _PLACES)
        down, across = (TILE * each for each in divmod(place, SIDE // TILE))
        if not hasattr(own, "scenes"):
            own.scenes = [rasterio.open(path) for path in paths]
        window = Window(across, down, TILE, TILE)
        out[...] = own.scenes[scene].read(window=window).transpose(1, 2, 0)

    def epoch(number: int) -> Iterator[Batch]:
        order = np.random.default_rng(number).permutation(samples)
        with ThreadPoolExecutor(WORKERS) as pool:
            for start in range(0, samples, BATCH_SIZE):
                rows = order[start : start + BATCH_SIZE]
                batch = np.empty((len(rows), TILE, TILE, BANDS), np.uint16)
                list(pool.map(fill, batch, rows.tolist()))
                yield batch, rows

    return epoch


def rows(batch: Batch) -> list[Any]:
    """Return the row numbers."""
    return [np.asarray(batch[1])]


JOB = Job(
    about=f"windows of {TILE} x {TILE} pixels of scenes of {BANDS} bands of uint16, deflated in tiles "
    f"of that size, shuffled, batches of {BATCH_SIZE}",
    samples=1_024,
    quick=64,
    prepare=write,
    contestants={"multifeed": multifeed, "two_threads": two_threads},
    limits=[
        Limit(figure="windows of rasters ÷ two threads of rasterio", over=("two_threads",), least=0.9)
    ],
    rows=rows,
)
