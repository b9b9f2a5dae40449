"""NIfTI files, the only place where nibabel reads them; and gzip, in which they mostly are."""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np

from multifeed.errors import BadValue
from multifeed.extras import package
from multifeed.fields.rows import NDArray
from multifeed.fields.shared import first_line
from multifeed.fields.voxels import Lying, Stored, checked_affine
from multifeed.files import REPLACE

_GZIP = b"\x1f\x8b"
# By the length that a header says of itself: of NIfTI-1 and NIfTI-2. Data begin 4 bytes behind it or
# later, after what tells of extensions.
_CLASSES = {348: "Nifti1Header", 540: "Nifti2Header"}
# Extensions stand between the header and the data, which some programs use for notes of their own.
_LAST_START = 2**24
# Of what a header says of units, the bits that are of lengths; and how many millimetres these are: those
# of which nothing is said, as many programs do, are taken for such; metres, millimetres, micrometres.
_UNITS_OF_LENGTH = 0b111
_MM = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}
# Of the header, which voxels a file begins with: enough for both.
HEADER_BYTES = 1_024


def is_packed(data: bytes) -> bool:
    """Tell whether data are packed by gzip."""
    return data[:2] == _GZIP


def unpack(data: bytes, count: int, *, whole: bool = False) -> bytes:
    """Return the first `count` bytes of what gzip has packed, or all if they are fewer.

    Args:
        data: The packed bytes.
        count: How many are wanted: no more are unpacked, whatever there is.
        whole: Whether these should be all that there is, so that the checksum behind them counts.

    Raises:
        BadValue: If the data are damaged.
    """
    pieces: list[bytes] = []
    missing = count
    try:
        while missing > 0 and data:
            # Some programs pack in several streams, one after the other.
            stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
            pieces.append(stream.decompress(data, missing))
            missing -= len(pieces[-1])
            data = stream.unused_data
            if not stream.eof and (missing > 0 or whole):
                stream.decompress(stream.unconsumed_tail, 1)
                if not stream.eof and not stream.unconsumed_tail:
                    raise zlib.error("it ends too early")
    except zlib.error as error:
        raise BadValue(f"is not a readable gzip file ({first_line(error)})", REPLACE) from error
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def is_nifti(head: bytes) -> bool:
    """Tell whether a file begins as a NIfTI file does."""
    return any(int.from_bytes(head[:4], order) in _CLASSES for order in ("little", "big"))


def parse_header(head: bytes) -> Lying:
    """Return what the header of a NIfTI file says.

    Args:
        head: The first `HEADER_BYTES` of the file, unpacked.

    Raises:
        BadValue: If it is damaged, or holds anything but numbers.
    """
    nibabel = package("nibabel", extra="medical", of="mf.Volume")
    size = min(int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big"))
    if len(head) < size:
        raise BadValue("is damaged: it ends within its header", REPLACE)
    try:
        # Unchecked: what its checks find, they write to a log.
        header = getattr(nibabel, _CLASSES[size])(head[:size], check=False)
        kind = bytes(header["magic"])[:3]
        lengths = [int(length) for length in header["dim"]]
        start = float(header["vox_offset"])
        dtype = header.get_data_dtype()
        slope, intercept = header.get_slope_inter()
        affine = header.get_best_affine()
        unit = int(header["xyzt_units"]) & _UNITS_OF_LENGTH
    except Exception as error:
        # Its numbers are believed where they should be looked at: a damaged one fails in any way.
        raise BadValue(f"has a damaged NIfTI header ({first_line(error)})", REPLACE) from error
    if kind not in (b"n+1", b"n+2"):
        raise BadValue(
            "is not a single NIfTI file"
            + (": its voxels are in an .img file" if kind[:2] == b"ni" else ""),
            "Save it as one .nii or .nii.gz file.",
        )
    if not (math.isfinite(start) and size + 4 <= start <= _LAST_START and start == int(start)):
        raise BadValue(f"has a damaged NIfTI header (its data begin at byte {start:g})", REPLACE)
    if unit not in _MM:
        raise BadValue(
            f"has voxels measured in an unknown unit ({unit} in xyzt_units)",
            'Correct the header, e.g. with nibabel\'s header.set_xyzt_units("mm"), and save the file.',
        )
    shape, channels = _shape(lengths)
    scale = 1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)
    affine = np.diag([*[_MM[unit]] * 3, 1.0]) @ affine
    stored = Stored(shape, channels, _number(dtype), checked_affine(affine), *scale)
    return Lying(stored, int(start), (0, 1, 2, 3))


def _shape(lengths: list[int]) -> tuple[tuple[int, int, int], int]:
    """Return the voxels along three axes, and how many numbers one has."""
    count = lengths[0]
    used = lengths[1 : count + 1]
    if not 1 <= count <= 7 or min(used) < 1:
        raise BadValue(f"has a damaged NIfTI header (a shape of {tuple(used)})", REPLACE)
    first, second, third, *further = [*used, 1, 1][: max(count, 3)]
    several = [length for length in further if length > 1]
    if len(several) > 1:
        raise BadValue(
            f"holds an array of shape {tuple(used)}, where a volume has three axes and one of channels",
            "Save each of its volumes as a file.",
        )
    return (first, second, third), math.prod(several)


def _number(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of numbers that are to be read."""
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise BadValue(f"holds {dtype}, not numbers that are read", "Save it as float32 or int16.")
    return dtype


def orientation_of(affine: NDArray, wanted: str) -> list[tuple[int, bool]]:
    """Return for each axis that is wanted the stored axis that is nearest, and whether it runs back.

    Args:
        affine: ``float64[4, 4]``, as in `Stored`.
        wanted: Where the three axes lead to, such as ``"RAS"``.
    """
    package("nibabel", extra="medical", of="mf.Volume")
    orientations = package("nibabel.orientations", extra="medical", of="mf.Volume")
    stored = orientations.io_orientation(affine)
    turned = orientations.ornt_transform(stored, orientations.axcodes2ornt(tuple(wanted)))
    found = [(0, False)] * 3
    for axis, (place, sign) in enumerate(turned):
        found[int(place)] = axis, bool(sign < 0)
    return found
