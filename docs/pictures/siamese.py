"""Draw the picture of pairs; `python docs/pictures/siamese.py` writes it beside itself."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import PIL.Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent / "examples"))

from siamese import declare, loader_of  # noqa: E402
from siamese_data import write_views  # noqa: E402

import multifeed as mf  # noqa: E402


def main() -> None:
    """Write the photographs of the example, and show some pairs."""
    with tempfile.TemporaryDirectory() as folder:
        write_views(Path(folder), spots=60)
        loader = loader_of(mf.Pairs(declare(Path(folder)), by="spot"))
        mf.show(loader, Path(folder) / "pairs.png", samples=4)
        with PIL.Image.open(Path(folder) / "pairs.png") as picture:
            picture.quantize(64).save(HERE / "siamese.png", optimize=True)


if __name__ == "__main__":
    main()
