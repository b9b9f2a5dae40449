"""Write cuts of colour photographs, with captions that fit them or fit another one.

The photographs are scikit-image's and scikit-learn's. The captions are made of phrases, some of few
words and some of many, as captions are.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from PIL import Image
from skimage import data
from sklearn.datasets import load_sample_image

SIZE = 32  # pixels of a cut, both ways
LONGEST = 64  # words

_CUT = 96  # pixels of the photograph that a cut shows, both ways
_NAMES = {
    "astronaut": ["an astronaut", "a smiling woman in a space suit", "somebody from the space shuttle"],
    "chelsea": ["a cat", "the fur of a cat", "a tabby called chelsea"],
    "coffee": ["a cup of coffee", "espresso on a wooden table", "something to drink"],
    "rocket": ["a rocket", "the launch pad at night", "a rocket that waits for its launch"],
    "china": ["a temple", "the roof of a chinese palace", "an old building with tiles"],
    "flower": ["a flower", "the petals of a dahlia", "a blossom in a garden"],
}
_BEFORE = ["", "", "this is", "a photograph of", "here one can see", "a detail , much enlarged , of"]
_AFTER = [
    "from near by",
    "in the light of that day",
    "as it was when the picture was taken",
    "cut out of a larger photograph whose other parts are not shown here",
    "of which nobody has written down where and when and by whom it was taken",
    "sharp enough",
    "in colour",
]


def write_captions(folder: Path, count: int, seed: int = 0) -> None:
    """Write ``cuts/{id}.jpg`` and ``captions.csv`` into `folder`.

    Args:
        folder: Where to write; cuts of an earlier run are removed.
        count: How many cuts; half of the captions are of another subject.
        seed: Decides which.
    """
    shutil.rmtree(folder / "cuts", ignore_errors=True)
    (folder / "cuts").mkdir(parents=True)
    rng = np.random.default_rng(seed)
    photographs = {
        name: load_sample_image(f"{name}.jpg") if name in ("china", "flower") else getattr(data, name)()
        for name in _NAMES
    }
    subjects = list(_NAMES)
    rows = []
    for number in range(count):
        subject, fits = int(rng.integers(len(subjects))), number % 2 == 0
        told = subject if fits else (subject + int(rng.integers(1, len(subjects)))) % len(subjects)
        _cut(photographs[subjects[subject]], rng).save(folder / f"cuts/{number:05d}.jpg", quality=90)
        rows.append(
            {
                "id": f"{number:05d}",
                "caption": _caption(_NAMES[subjects[told]], rng),
                "fits": "yes" if fits else "no",
            }
        )
    pa.csv.write_csv(pa.Table.from_pylist(rows), folder / "captions.csv")


def _cut(photograph: np.ndarray, rng: np.random.Generator) -> Image.Image:
    y, x = (int(rng.integers(length - _CUT)) for length in photograph.shape[:2])
    return Image.fromarray(photograph[y : y + _CUT, x : x + _CUT]).resize((SIZE, SIZE))


def _caption(names: Sequence[str], rng: np.random.Generator) -> str:
    """Return a caption; most are short, few are long."""
    clauses = rng.choice(_AFTER, min(len(_AFTER), int(rng.geometric(0.5)) - 1), replace=False)
    return " ".join([str(rng.choice(_BEFORE)), str(rng.choice(names)), *clauses]).strip()
