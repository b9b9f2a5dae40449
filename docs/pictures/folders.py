"""Draw the pictures of some pages of docs/examples: samples as the model of the script sees them.

``PYTHONPATH=examples python docs/pictures/folders.py`` writes them beside this file.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import class_folders
import images_and_table
import PIL.Image
import two_folders

import multifeed as mf

HERE = Path(__file__).parent.resolve()


def main() -> None:
    """Write the pictures beside this file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        two_folders.write_pairs(folder / "pairs", 40)
        pairs = two_folders.declare(two_folders.from_folders(folder / "pairs"))
        show("two_folders", pairs, 4, two_folders.augmentation())
        images_and_table.write_coins(folder / "coins", 40)
        coins = images_and_table.declare(folder / "coins/coins.csv")
        show("images_and_table", coins, 4, images_and_table.augmentation())
        class_folders.write_tree(folder / "tree", 80)
        show("class_folders", class_folders.declare(folder / "tree"), 4, class_folders.augmentation())


def show(
    name: str, data: mf.Dataset, samples: int, augment: list[mf.RandomAffine | mf.RandomColor]
) -> None:
    """Write a sheet of a few samples, with a palette, which keeps the file small."""
    data.adapt()
    feed = mf.Feed(data, batch_size=samples, shuffle=True, seed=2, augment=augment)
    sheet = mf.show(feed, samples=samples)
    sheet.quantize(96, dither=PIL.Image.Dither.NONE).save(HERE / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
