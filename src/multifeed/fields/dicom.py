"""DICOM: the slices of a series put together into a volume; the only place that knows pydicom."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from multifeed.errors import BadValue
from multifeed.extras import package
from multifeed.fields.rows import NDArray
from multifeed.fields.shared import first_line
from multifeed.fields.voxels import Box, Stored, Voxels, checked_affine
from multifeed.files import REPLACE

# After a preamble of that many bytes.
_PREAMBLE, _MARK = 128, b"DICM"
# The tags that are looked at; all others are passed over.
_TAGS = [
    "SeriesInstanceUID", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "PhotometricInterpretation", "PlanarConfiguration",
    "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "SpacingBetweenSlices",
    "SliceThickness", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "PixelData",
]  # fmt: skip
_PLAIN = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"}
_RLE = "1.2.840.10008.1.2.5"
# What Pillow decodes: JPEG of 8 bits, and JPEG 2000.
_PILLOW = {f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 90, 91)}
HEAD_BYTES = _PREAMBLE + len(_MARK)
_INDEX = "1.2.840.10008.1.3.10"
# RLE makes at most 128 bytes of 2.
_MOST_PACKED = 64
# How far slices may lie off their places, as a share of the distance between them.
_TOLERANCE = 0.1


def is_dicom(head: bytes) -> bool:
    """Tell whether a file begins as a DICOM file does."""
    return head[_PREAMBLE : _PREAMBLE + len(_MARK)] == _MARK


@dataclass(frozen=True)
class _Slice:
    """A file of a series: what is to be known of it, looked at.

    Args:
        name: What it is called.
        header: What pydicom has read of it.
        series: Which series it is of.
        size: (rows, columns).
        channels: Numbers a pixel.
        dtype: Of those.
        scale: The slope and the intercept.
        spacing: From row to row, and from column to column, in mm.
        thickness: From this slice to the next, in mm, as far as a single one can tell.
        position: ``float64[3]``, the centre of its first pixel, in mm to the left, back and top.
        axes: ``float64[2, 3]``, where its rows and its columns lead.
    """

    name: str
    header: Any
    series: str
    size: tuple[int, int]
    channels: int
    dtype: np.dtype[Any]
    scale: tuple[float, float]
    spacing: tuple[float, float]
    thickness: float
    position: NDArray
    axes: NDArray

    @property
    def normal(self) -> NDArray:
        """Where slices follow each other, ``float64[3]``."""
        found: NDArray = np.cross(self.axes[0], self.axes[1])
        return found


class Series(Voxels):
    """The slices of a series as a volume of (slices, rows, columns), in the order of their positions.

    Args:
        files: Name and content of each file.
        most_bytes: A volume of more is refused.

    Raises:
        BadValue: If one of them is damaged, or they are not one whole volume.
    """

    def __init__(self, files: Sequence[tuple[str, bytes]], most_bytes: int) -> None:
        slices = [found for name, data in files if (found := _slice(name, data)) is not None]
        if not slices:
            raise BadValue("holds no image of DICOM", "Name a folder of the slices of one series.")
        _refuse_unlike(slices)
        first = slices[0]
        normal = first.normal
        slices.sort(key=lambda each: float(each.position @ normal))
        self._slices = slices
        scales = {each.scale for each in slices}
        # Slices that are scaled each in their own way, as of PET, are numbers only after that.
        self._is_scaled = len(scales) > 1
        slope, intercept = (1.0, 0.0) if self._is_scaled else first.scale
        dtypes = {each.dtype for each in slices}
        dtype = np.dtype(np.float32) if self._is_scaled else np.result_type(*dtypes)
        shape = len(slices), *first.size
        affine = checked_affine(_affine(slices))
        self.stored = Stored(shape, first.channels, dtype, affine, slope, intercept)
        self.stored.refuse_more(most_bytes, self.stored.whole)

    def read(self, box: Box) -> NDArray:
        (begin, end), rows, columns = box
        inside = slice(*rows), slice(*columns)
        found = np.empty(
            (end - begin, rows[1] - rows[0], columns[1] - columns[0], self.stored.channels),
            self.stored.dtype,
        )
        for place, each in enumerate(self._slices[begin:end]):
            pixels = _pixels(each)[inside]
            if self._is_scaled:
                slope, intercept = each.scale
                pixels = pixels * np.float32(slope) + np.float32(intercept)
            found[place] = pixels
        return found


def _slice(name: str, data: bytes) -> _Slice | None:
    """Return a file of a series; None if it is an index of files."""
    pydicom = package("pydicom", extra="medical", of="mf.Volume")
    try:
        syntax = _syntax(pydicom, data)
        if syntax is None:
            return None
        if syntax not in _PLAIN | _PILLOW | {_RLE}:
            raise BadValue(
                f"has a slice {name!r} that is encoded as {pydicom.uid.UID(syntax).name}, which is not "
                "read",
                "Decompress the series (gdcmconv --raw, dcmdjpeg), or convert it to NIfTI (dcm2niix).",
            )
        return _checked(name, pydicom.dcmread(io.BytesIO(data), specific_tags=_TAGS))
    except (BadValue, ImportError):
        raise
    except Exception as error:
        # Values are parsed where they are asked for, and fail in any way that a parser knows.
        raise _damaged(name, error) from error


def _syntax(pydicom: Any, data: bytes) -> str | None:
    """Return how a file is encoded, before anything is unpacked; None if it is an index of files."""
    stream = io.BytesIO(data)
    pydicom.filereader.read_preamble(stream, force=False)
    meta = pydicom.filereader.read_dataset(
        stream, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag.group != 2
    )
    if meta.get("MediaStorageSOPClassUID") == _INDEX:
        return None
    return str(meta.TransferSyntaxUID)


def _checked(name: str, header: Any) -> _Slice:
    if "PixelData" not in header:
        raise BadValue(f"has a slice {name!r} without pixels", "Name a folder of images alone.")
    if int(header.get("NumberOfFrames") or 1) != 1:
        raise BadValue(
            f"has a file {name!r} of {int(header.NumberOfFrames):,} frames, where one is a slice",
            "Convert the series to NIfTI (dcm2niix).",
        )
    if "ModalityLUTSequence" in header:
        raise BadValue(
            f"has a slice {name!r} whose values are found in a table (Modality LUT), which is not read",
            "Convert the series to NIfTI (dcm2niix).",
        )
    lacking = [
        tag
        for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
        if header.get(tag) is None
    ]
    if lacking:
        raise BadValue(
            f"has a slice {name!r} that does not say where it lies ({', '.join(lacking)})",
            "Only slices of a scanner make a volume; read single pictures as files of mf.Image.",
        )
    kind = "i" if header.PixelRepresentation else "u"
    if header.BitsAllocated not in (8, 16, 32) or header.SamplesPerPixel not in (1, 3):
        raise ValueError(f"{header.SamplesPerPixel} channels of {header.BitsAllocated} bits")
    slope, intercept = header.get("RescaleSlope"), header.get("RescaleIntercept")
    thickness = header.get("SpacingBetweenSlices") or header.get("SliceThickness") or 1
    down, across = (float(value) for value in header.PixelSpacing)
    found = _Slice(
        name,
        header,
        str(header.get("SeriesInstanceUID")),
        (int(header.Rows), int(header.Columns)),
        int(header.SamplesPerPixel),
        np.dtype(f"{kind}{header.BitsAllocated // 8}"),
        (1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)),
        (down, across),
        abs(float(thickness)),
        np.array([float(value) for value in header.ImagePositionPatient]).reshape(3),
        np.array([float(value) for value in header.ImageOrientationPatient]).reshape(2, 3),
    )
    # Of a series whose positions are beyond that, no step would be exact.
    numbers = [*found.position, *found.axes.flat, *found.spacing, *found.scale, found.thickness]
    is_square = np.allclose(found.axes @ found.axes.T, np.eye(2), atol=1e-2)
    if not (np.abs(numbers) < 1e9).all() or not is_square or min(found.size) < 1:
        raise ValueError("its numbers do not place an image")
    return found


def _refuse_unlike(slices: Sequence[_Slice]) -> None:
    """Raise if slices are not of one series, size and direction."""
    first = slices[0]
    for each in slices[1:]:
        differences = {
            "series": each.series == first.series,
            "size": each.size == first.size,
            "number of channels": each.channels == first.channels,
            "voxel size": np.allclose(each.spacing, first.spacing, rtol=1e-3),
            "direction": np.allclose(each.axes, first.axes, atol=1e-3),
        }
        what = next((what for what, is_alike in differences.items() if not is_alike), None)
        if what is not None:
            raise BadValue(
                f"holds slices that are no one volume: {first.name!r} and {each.name!r} differ in their "
                f"{what}",
                "Put each series into a folder of its own, without scouts.",
            )


def _affine(slices: Sequence[_Slice]) -> NDArray:
    """Return the affine of slices in their order, ``float64[4, 4]``, as in `Stored`."""
    first = slices[0]
    positions = np.stack([each.position for each in slices])
    step = _step(slices, positions)
    down, across = first.spacing
    affine = np.eye(4)
    affine[:3, 0] = step
    # The columns of a slice run down, from row to row; its rows run across.
    affine[:3, 1] = first.axes[1] * down
    affine[:3, 2] = first.axes[0] * across
    affine[:3, 3] = first.position
    # DICOM measures to the left and to the back, NIfTI to the right and to the front.
    affine[:2] *= -1
    return affine


def _step(slices: Sequence[_Slice], positions: NDArray) -> NDArray:
    """Return what leads from one slice to the next, ``float64[3]`` in mm.

    Raises:
        BadValue: If the slices are not evenly spaced.
    """
    first = slices[0]
    step: NDArray
    if len(slices) == 1:
        step = first.normal * first.thickness
        return step
    distances = np.diff(positions @ first.normal)
    usual = float(np.median(distances))
    close = np.flatnonzero(distances < 1e-3)
    if len(close):
        one, other = slices[close[0]].name, slices[close[0] + 1].name
        raise BadValue(
            f"holds two slices at one place, {one!r} and {other!r} ({len(close)} such pairs)",
            "Put each series, phase or point in time into a folder of its own.",
        )
    off = np.flatnonzero(np.abs(distances - usual) > _TOLERANCE * usual)
    if len(off):
        place = int(off[np.argmax(distances[off])])
        raise BadValue(
            f"lacks slices: between {slices[place].name!r} and {slices[place + 1].name!r} lie "
            f"{distances[place]:.4g} mm, between most others {usual:.4g}",
            "Complete the series, or leave the row out with data.select.",
        )
    step = (positions[-1] - positions[0]) / (len(slices) - 1)
    # With a tilted gantry, slices are moved against each other, each by as much.
    astray = np.abs(positions - positions[0] - np.arange(len(slices))[:, None] * step).max(axis=1)
    if astray.max() > usual / 2:
        name = slices[int(np.argmax(astray))].name
        raise BadValue(f"holds a slice that does not lie in a row with the others, {name!r}", REPLACE)
    return step


def _pixels(found: _Slice) -> NDArray:
    """Return the pixels of a slice, ``[rows, columns, channels]``."""
    pixels = package("pydicom.pixels", extra="medical", of="mf.Volume")
    header, name = found.header, found.name
    try:
        _refuse_more(found)
        decoded: NDArray = pixels.pixel_array(header, allow_excess_frames=False)
    except Exception as error:
        # pydicom and Pillow, on bytes of a stranger.
        raise _damaged(name, error) from error
    shape = *found.size, found.channels
    if decoded.size != math.prod(shape):
        raise _damaged(name, ValueError(f"its pixels are {decoded.shape}, not {found.size}"))
    return decoded.reshape(shape)


def _refuse_more(found: _Slice) -> None:
    """Raise if what is packed claims more pixels than its header, or than can be packed so."""
    header = found.header
    syntax = str(header.file_meta.TransferSyntaxUID)
    data = header.PixelData
    if syntax in _PILLOW:
        from PIL import Image

        encaps = package("pydicom.encaps", extra="medical", of="mf.Volume")
        for frame in encaps.generate_frames(data, number_of_frames=1):
            with Image.open(io.BytesIO(frame), formats=("JPEG", "JPEG2000")) as image:
                if image.size != found.size[::-1]:
                    raise ValueError(f"its pixels are {image.size[::-1]}, not {found.size}")
    elif syntax == _RLE:
        count = math.prod(found.size) * found.channels * found.dtype.itemsize
        if count > _MOST_PACKED * len(data):
            raise ValueError(f"{len(data):,} bytes cannot be unpacked to {count:,}")


def _damaged(name: str, error: Exception) -> BadValue:
    return BadValue(f"has a damaged DICOM file {name!r} ({first_line(error)})", REPLACE)
