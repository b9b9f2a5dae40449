"""Draw the picture of docs/fields/raster.md: a scene, and tiles of it as a model is fed with them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import rasterio
from skimage import data as photographs

import multifeed as mf

HERE = Path(__file__).parent.resolve()
TILE, GAP = 128, 10


def main() -> None:
    """Write the picture beside this file."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        scene = photographs.retina()[100:1300, 60:1360]
        write(scene.transpose(2, 0, 1))
        tiles = mf.tiles({"scene": ["scene.tif"]}, 400)
        data = mf.Dataset(tiles, key="tile", inputs=mf.Raster("scene", size=TILE))
        with mf.Feed(data, 4, shuffle=True, seed=1) as feed:
            (batch,), shown = feed.batch(0, 0), feed.rows(0, 0)
        os.chdir(HERE)
    scale = (2 * TILE + GAP) / scene.shape[0]
    left = PIL.Image.fromarray(scene).resize((round(scene.shape[1] * scale), 2 * TILE + GAP))
    pen = PIL.ImageDraw.Draw(left)
    for number, row in enumerate(tiles.to_pylist()):
        corner = np.array([row["col_off"], row["row_off"]]) * scale
        colour, width = ("yellow", 3) if number in shown else ("white", 1)
        box = [*corner.round(), *(corner + 400 * scale).round() - 1]
        if number in shown:
            pen.rectangle(box, outline=colour, width=width)
        else:
            pen.rectangle(box, outline=colour)
    sheet = PIL.Image.new("RGB", (left.width + 2 * (TILE + GAP), left.height), "white")
    sheet.paste(left, (0, 0))
    for place, tile in enumerate(batch):
        across, down = left.width + GAP + (TILE + GAP) * (place % 2), (TILE + GAP) * (place // 2)
        sheet.paste(PIL.Image.fromarray(tile), (across, down))
    sheet.save(HERE / "tiles.jpg", quality=85)


def write(bands: np.ndarray) -> None:
    """Write a scene as a GeoTIFF in tiles."""
    count, height, width = bands.shape
    form = {"count": count, "height": height, "width": width, "dtype": "uint8", "tiled": True}
    transform = rasterio.Affine.scale(10)
    with rasterio.open("scene.tif", "w", driver="GTiff", transform=transform, **form) as file:
        file.write(bands)


if __name__ == "__main__":
    main()
