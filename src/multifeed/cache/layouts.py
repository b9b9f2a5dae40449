"""How the values of one row lie in a shard."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import simplejpeg

from multifeed.fields.base import Base
from multifeed.fields.rows import NDArray

LAYOUTS = ("raw", "zstd", "jpeg")
# Of the layout "jpeg": some 40 dB from the original, at a tenth of its bytes.
JPEG_QUALITY = 95
# Higher ones take several times as long to write, for a few percent.
_ZSTD_LEVEL = 1
# That a side of a JPEG can have, as libjpeg has it.
_MOST_PIXELS = 65_500
_COLORS = {1: "GRAY", 3: "RGB"}


class Packing(ABC):
    """Packs the values of a row into bytes, and back. Safe to use from several threads."""

    # Whether the values come back as others.
    is_lossy = False

    @abstractmethod
    def pack(self, values: NDArray) -> Any:
        """Return values, C-contiguous, as bytes."""

    @abstractmethod
    def unpack(self, packed: Any, out: NDArray) -> None:
        """Write the values that were packed to `out`, C-contiguous."""


class Zstd(Packing):
    """Loses nothing; a row is one frame."""

    def pack(self, values: NDArray) -> Any:
        return _zstd().compress(np.ascontiguousarray(values).reshape(-1).view(np.uint8), asbytes=True)

    def unpack(self, packed: Any, out: NDArray) -> None:
        found = _zstd().decompress(packed, out.nbytes)
        out.reshape(-1).view(np.uint8)[:] = np.frombuffer(found, np.uint8)


class Jpeg(Packing):
    """Pixels, ``uint8[height, width, 1 or 3]``; they come back nearly as they were."""

    is_lossy = True

    def pack(self, values: NDArray) -> Any:
        return simplejpeg.encode_jpeg(
            np.ascontiguousarray(values), JPEG_QUALITY, _COLORS[values.shape[2]], "444"
        )

    def unpack(self, packed: Any, out: NDArray) -> None:
        found = simplejpeg.decode_jpeg(packed, _COLORS[out.shape[2]], fastdct=True, buffer=out)
        if found.shape != out.shape:
            # A smaller one leaves in the rest of `out` what some other sample had there.
            raise ValueError(f"the cached JPEG has shape {found.shape}, where {out.shape} is due")


def packing_of(layout: str, base: Base) -> Packing | None:
    """Return how a field is packed in a layout; None if its values lie as they are.

    Args:
        layout: ``"raw"``, ``"zstd"`` or ``"jpeg"``.
        base: What is cached of the field.
    """
    spec = base.reader.spec
    if layout == "zstd":
        return Zstd()
    is_picture = spec.dtype == "uint8" and len(spec.shape) == 3 and spec.shape[2] in _COLORS
    is_picture = is_picture and max(spec.shape) <= _MOST_PIXELS
    # Of a label map, a JPEG makes labels that it never had.
    if layout == "jpeg" and is_picture and base.interpolation != "nearest":
        return Jpeg()
    return None


@cache
def _zstd() -> Any:
    return pa.Codec("zstd", compression_level=_ZSTD_LEVEL)
