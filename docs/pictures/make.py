"""Draw the pictures of the documentation; `python docs/pictures/make.py` writes them beside itself."""

from __future__ import annotations

import io
import os
import re
import tempfile
from pathlib import Path

import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from skimage import data as photographs

import multifeed as mf

HERE = Path(__file__).parent
SIDE, GAP, CAPTION = 150, 14, 22


def main() -> None:
    """Draw all pictures."""
    draw_sizes()
    draw_samples()


def draw_samples() -> None:
    """Run the tutorial up to where it shows some samples, and keep that picture."""
    text, found, _ = (HERE.parent / "tutorial.md").read_text().partition("## The model\n")
    assert found
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for code in re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            exec(code, globals())
        PIL.Image.open("samples.png").quantize(128).save(HERE / "samples.png", optimize=True)
        os.chdir(HERE)


def draw_sizes() -> None:
    """Show what becomes of a photograph, 600 pixels wide and 400 high, in a square."""
    photograph = PIL.Image.fromarray(photographs.coffee())
    panels = [
        ("the file, 600 x 400", photograph.resize((SIDE * 3 // 2, SIDE))),
        ("size alone", read(photograph)),
        ("crop_to_aspect_ratio", read(photograph, crop_to_aspect_ratio=True)),
        ("pad_to_aspect_ratio", read(photograph, pad_to_aspect_ratio=True)),
    ]
    width = sum(panel.width + GAP for _, panel in panels) + GAP
    sheet = PIL.Image.new("RGB", (width, SIDE + CAPTION + 2 * GAP), "white")
    pen, font = PIL.ImageDraw.Draw(sheet), PIL.ImageFont.load_default(13)
    left = GAP
    for caption, panel in panels:
        sheet.paste(panel, (left, GAP))
        pen.text((left, GAP + SIDE + 5), caption, fill="black", font=font)
        left += panel.width + GAP
    # A palette keeps the file small; nobody measures colours here.
    sheet.quantize(128).save(HERE / "resize.png", optimize=True)


def read(photograph: PIL.Image.Image, **options: bool) -> PIL.Image.Image:
    """Return the photograph as a field with these options yields it."""
    file = io.BytesIO()
    photograph.save(file, "png")
    field = mf.Image("photo", size=(SIDE, SIDE), **options)
    dataset = mf.Dataset({"photo": [file.getvalue()]}, inputs=field)
    return PIL.Image.fromarray(dataset[0][0])


if __name__ == "__main__":
    main()
