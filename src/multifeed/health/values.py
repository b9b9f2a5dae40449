"""What is worth a look in the values that a field yields, and in what was found of its files."""

from __future__ import annotations

from typing import Any

import numpy as np

from multifeed.fields.base import Remark
from multifeed.fields.rows import NDArray

# At most this share of the samples is "few", where nearly all others are alike.
_FEW_SHARE = 0.1
# Values at the start of a sample that are compared before all of them are.
_PEEK = 64


def blank(values: NDArray) -> NDArray:
    """Return ``bool[n]``, True where all pixels of a sample, ``[n, height, width, ...]``, are alike.

    The last of three or more axes is a pixel's channels if it is no longer than 4. Samples of fewer than
    two axes are never blank: that a list holds one number alone is nothing unusual.
    """
    if values.ndim < 3 or not values.size:
        return np.zeros(len(values), bool)
    channels = values.shape[-1] if values.ndim > 3 and values.shape[-1] <= 4 else 1
    pixels = values.reshape(len(values), -1, channels)
    if pixels.shape[1] < 2:
        return np.zeros(len(values), bool)
    # Few samples are blank, and those that are not show it soon.
    found: NDArray = (pixels[:, :_PEEK] == pixels[:, :1]).all(axis=(1, 2))
    for place in np.flatnonzero(found):
        found[place] = (pixels[place] == pixels[place, :1]).all()
    return found


def not_finite(values: NDArray) -> NDArray:
    """Return ``int64[n]``, how many numbers of each sample, ``[n, ...]``, are NaN or infinite."""
    if values.dtype.kind != "f":
        return np.zeros(len(values), np.int64)
    counts: NDArray = (~np.isfinite(values)).reshape(len(values), -1).sum(axis=1)
    return counts


class Tally:
    """Counts what is said of samples in one respect, such as the own size of their files.

    Args:
        count: How many samples there are.
    """

    def __init__(self, count: int) -> None:
        self._codes = np.full(count, -1, np.int32)
        self._code_of: dict[str, int] = {}

    def add(self, row: int, value: Any) -> None:
        """Note what is said of a row."""
        self._codes[row] = self._code_of.setdefault(shown(value), len(self._code_of))

    def counts(self) -> dict[str, int]:
        """Return how many samples have each value, most frequent first."""
        counts = np.bincount(self._codes[self._codes >= 0], minlength=len(self._code_of)).tolist()
        return dict(sorted(zip(self._code_of, counts, strict=True), key=lambda each: -each[1]))

    def strangers(self, kind: str) -> list[Remark]:
        """Return the remark about the samples that are unlike nearly all others, if there are some."""
        counts = self.counts()
        total = sum(counts.values())
        usual, most = next(iter(counts.items()), ("", 0))
        if most < 2 or not 0 < total - most <= max(1, _FEW_SHARE * total):
            return []
        rows = np.flatnonzero((self._codes >= 0) & (self._codes != self._code_of[usual]))
        values = list(self._code_of)
        rest = f"where {most:,} of {total:,} are {usual}"
        return [Remark(kind, rows, [f"is {values[code]}, {rest}" for code in self._codes[rows]])]


def shown(value: Any) -> str:
    """Return what is said of a sample as text: (60, 80) is "60 x 80"."""
    return " x ".join(map(str, value)) if isinstance(value, tuple) else str(value)
