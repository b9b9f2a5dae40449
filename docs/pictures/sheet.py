"""Draw docs/pictures/sheet.png: a contact sheet of real photographs and of every kind of field."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import PIL.Image
from skimage import data as photographs
from skimage.color import rgb2gray
from skimage.filters import gaussian, threshold_multiotsu
from skimage.transform import resize
from sklearn.datasets import load_sample_images

import multifeed as mf

SIDE = 160


def main() -> None:
    """Write the sheet of four samples beside this file."""
    data = samples()
    loader = mf.Feed(data, batch_size=4, shuffle=True, seed=3)
    sheet = mf.show(loader, samples=4)
    # A palette keeps the file small; nobody measures colours here.
    sheet.quantize(160, dither=PIL.Image.Dither.NONE).save(
        Path(__file__).with_suffix(".png"), optimize=True
    )


def samples() -> mf.Dataset:
    """Return photographs with a rough segmentation, a profile, numbers, a class and a weight."""
    china, flower = load_sample_images().images
    pictures = {
        "astronaut": photographs.astronaut(),
        "cat": photographs.chelsea(),
        "coffee": photographs.coffee(),
        "rocket": photographs.rocket(),
        "china": china,
        "flower": flower,
    }
    greys = [rgb2gray(picture) for picture in pictures.values()]
    smooth = [gaussian(grey, 6) for grey in greys]
    maps = [np.digitize(each, threshold_multiotsu(each, 3)).astype(np.uint8) for each in smooth]
    rows = {
        "id": list(pictures),
        "photo": [encoded(picture) for picture in pictures.values()],
        "regions": [encoded(each) for each in maps],
        "profile": np.stack([resize(grey.mean(axis=0), (96,)) for grey in greys]),
        "height": [picture.shape[0] for picture in pictures.values()],
        "width": [picture.shape[1] for picture in pictures.values()],
        "brightness": [grey.mean() for grey in greys],
        "note": [
            "An astronaut before a flag and a model of the shuttle.",
            "A cat, very near.",
            "A cup of coffee and a spoon on a wooden table.",
            "A rocket on its launch pad, in the evening.",
            "A pavilion of the Summer Palace; behind it a lake.",
            "A dahlia in full flower.",
        ],
        "scene": ["indoors", "indoors", "indoors", "outdoors", "outdoors", "outdoors"],
        "weight": [1.0, 1.0, 0.5, 2.0, 1.0, 1.0],
    }
    data = mf.Dataset(
        rows,
        key="id",
        inputs={
            "photo": mf.Image("photo", size=(SIDE, SIDE), crop_to_aspect_ratio=True),
            "note": mf.Text("note", length=16),
            "profile": mf.Array("profile"),
            "numbers": mf.Numeric(["height", "width", "brightness"], normalize=True),
        },
        targets={
            "regions": mf.Image(
                "regions",
                size=(SIDE // 2, SIDE // 2),
                color_mode="grayscale",
                interpolation="nearest",
                crop_to_aspect_ratio=True,
            ),
            "scene": mf.Category("scene"),
        },
        sample_weight={"scene": "weight"},
    )
    data.adapt()
    return data


def encoded(picture: np.ndarray) -> bytes:
    """Return a picture as the content of a PNG file."""
    file = io.BytesIO()
    PIL.Image.fromarray(picture).save(file, "png")
    return file.getvalue()


if __name__ == "__main__":
    main()
