"""Draw slices of a scan; `python docs/pictures/volume.py` writes volume.png beside itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from nibabel.testing import data_path

import multifeed as mf

HERE = Path(__file__).parent
GAP, CAPTION, ZOOM = 14, 22, 1.5


def main() -> None:
    """Show the three middle slices of a head, as it is stored and as a field yields it."""
    stored = read(orientation=None)
    turned = read(spacing=1.5, window=(0, 900))
    panels = [
        ("as stored, coronal", stored[:, stored.shape[1] // 2]),
        ("sagittal", turned[turned.shape[0] // 2]),
        ("coronal", turned[:, turned.shape[1] // 2]),
        ("axial", turned[:, :, turned.shape[2] // 2]),
    ]
    pictures = [(caption, picture(pixels)) for caption, pixels in panels]
    width = sum(each.width + GAP for _, each in pictures) + GAP
    height = max(each.height for _, each in pictures)
    sheet = PIL.Image.new("RGB", (width, height + CAPTION + 2 * GAP), "white")
    pen, font = PIL.ImageDraw.Draw(sheet), PIL.ImageFont.load_default(13)
    left = GAP
    for caption, each in pictures:
        sheet.paste(each, (left, GAP + height - each.height))
        pen.text((left, GAP + height + 5), caption, fill="black", font=font)
        left += each.width + GAP
    sheet.quantize(64).save(HERE / "volume.png", optimize=True)


def read(**options: object) -> np.ndarray:
    """Return the first channel of a scan that comes with nibabel, from 0 to 1."""
    rows = {"scan": ["example4d.nii.gz"]}
    voxels = mf.Dataset(rows, inputs=mf.Volume("scan", **options), root=data_path)[0][0][..., 0]
    return np.clip(voxels / voxels.max(), 0, 1)


def picture(pixels: np.ndarray) -> PIL.Image.Image:
    """Return a slice, its first axis to the right and its second one upwards."""
    upright = np.ascontiguousarray(pixels.T[::-1])
    found = PIL.Image.fromarray((upright * 255).astype(np.uint8))
    return found.resize((round(found.width * ZOOM), round(found.height * ZOOM)))


if __name__ == "__main__":
    main()
