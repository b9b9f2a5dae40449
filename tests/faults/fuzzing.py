"""The program that `test_fuzz.py` runs: reads a format's mutations, each twice, and counts what came.

    python fuzzing.py FORMAT FOLDER COUNT SEED

It ends with an error at the first mutation that is neither read nor refused by an error of ours. What
it reads lies in FOLDER, so the mutation that ends it is the file that is found there.
"""

from __future__ import annotations

import gzip
import io
import json
import resource
import sqlite3
import sys
import warnings
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import duckdb
import h5py
import nibabel
import numpy as np
import pyarrow as pa
import pydicom
import rasterio
import scipy.io
import simplejpeg
import soundfile
import xxhash
import yaml
import zarr
from PIL import Image as PILImage
from pyarrow import csv, feather, parquet
from skimage import data as photographs

import multifeed as mf
from multifeed.errors import DeclarationError, MultifeedError, SampleError, StateError

Random = np.random.Generator
Mutate = Callable[[bytes, bytes, Random], bytes]

# Bytes of memory that reading may take, beyond what it took for the whole files: the images of the
# mutations claim up to MAX_PIXELS, of 16 bytes each.
MAX_PIXELS = 2**20
GROWTH_BYTES = 256 * 2**20
# Beyond what the process maps before it begins.
ADDRESSES = 4 * 2**30
# Where most formats have their header.
HEADER = 96

BOUNDARIES = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1]
WORDS = (
    b'[ ] { } , : " \\ \0 \n \xff \\ud800 1e999 -1e999 NaN Infinity null true -1 0 1.5 \\u0000'.split(
        b" "
    )
    + [b"9" * 400, b"[" * 300, b"__import__('os')", b'""', b"1" * 5_000, b"\xef\xbb\xbf"]
)


# Mutations -----------------------------------------------------------------------------------------


def place_in(content: bytes, random: Random) -> int:
    """Return a place, every second time in the header."""
    end = min(HEADER, len(content)) if random.random() < 0.5 else len(content)
    return int(random.integers(max(end, 1)))


def cut(content: bytes, other: bytes, random: Random) -> bytes:
    """Return the beginning."""
    return content[: random.integers(len(content))]


def flip(content: bytes, other: bytes, random: Random) -> bytes:
    """Flip a few bits."""
    changed = bytearray(content)
    for _ in range(random.integers(1, 9)):
        changed[place_in(content, random)] ^= 1 << int(random.integers(8))
    return bytes(changed)


def fill(content: bytes, other: bytes, random: Random) -> bytes:
    """Overwrite a run with other bytes."""
    place, size = place_in(content, random), int(random.integers(1, 33))
    return content[:place] + random.bytes(size) + content[place + size :]


def number(content: bytes, other: bytes, random: Random) -> bytes:
    """Overwrite what may be a number's field with a value at which a sign or size changes."""
    size = int(random.choice([1, 2, 4, 8]))
    value = int(random.choice(np.array(BOUNDARIES, object))) % 2 ** (8 * size)
    field = value.to_bytes(size, str(random.choice(["little", "big"])))
    place = place_in(content, random)
    return content[:place] + field + content[place + size :]


def remove(content: bytes, other: bytes, random: Random) -> bytes:
    """Leave a piece out."""
    place, size = place_in(content, random), int(random.integers(1, max(2, len(content) // 4)))
    return content[:place] + content[place + size :]


def repeat(content: bytes, other: bytes, random: Random) -> bytes:
    """Let a piece stand there up to 40 times."""
    place, size = place_in(content, random), int(random.integers(1, max(2, len(content) // 8)))
    piece = content[place : place + size] * int(random.integers(2, 41))
    return content[:place] + piece + content[place + size :]


def splice(content: bytes, other: bytes, random: Random) -> bytes:
    """Join the beginning of one file to the end of another."""
    return content[: place_in(content, random)] + other[place_in(other, random) :]


def word(content: bytes, other: bytes, random: Random) -> bytes:
    """Put a word of a text format in, in place of some bytes or none."""
    place, size = place_in(content, random), int(random.integers(0, 9))
    return content[:place] + WORDS[random.integers(len(WORDS))] + content[place + size :]


MUTATIONS: list[Mutate] = [cut, flip, flip, fill, number, number, number, remove, repeat, splice]
TEXT_MUTATIONS: list[Mutate] = [*MUTATIONS, word, word, word, word]


# Formats -------------------------------------------------------------------------------------------


class Format(ABC):
    """A format: whole files of it, and how one is read.

    Args:
        folder: Where files are put.
    """

    mutations = MUTATIONS
    # How many mutations cost as much as one of an image.
    weight = 1

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def whole(self) -> list[bytes]:
        """Return two or more whole files."""

    @abstractmethod
    def read(self, content: bytes) -> str:
        """Return what became of a file: "read", or the name of an error of ours; raise otherwise."""

    def seal(self, content: bytes) -> bytes:
        """Return a file with the checksums of what it has now."""
        return content


class Sample(Format):
    """A file a sample: read after each of two others, into memory that holds each of two values."""

    suffix = ""

    @abstractmethod
    def field(self) -> object:
        """Return the field that reads it."""

    def prepare(self) -> None:
        """Write the whole files."""
        self.path = self.folder / f"mutation{self.suffix}"
        files = [self.folder / f"{each}{self.suffix}" for each in range(2)]
        for file, content in zip(files, self.files(), strict=False):
            file.write_bytes(content)
        names = [str(each) + self.member for each in (*files, self.path)]
        rows = {"id": ["first", "second", "mutation"], "x": names}
        data = mf.Dataset(rows, key="id", inputs={"x": self.field()})
        self.plan = data.plan()
        self.clean = [self.filled(row, 0) for row in range(2)]

    member = ""

    def files(self) -> list[bytes]:
        """Return whole files, where what is changed is but a part of one."""
        return self.whole()

    def filled(self, row: int, value: int) -> bytes:
        """Return what is read of a row into memory that holds a value."""
        spec = self.plan.specs["x"]
        buffers = {"x": np.full((1, *spec.shape), value, spec.dtype)}
        self.plan.fill(np.array([row]), buffers)
        return buffers["x"].tobytes()

    def read(self, content: bytes) -> str:
        self.path.write_bytes(content)
        found: list[bytes | None] = []
        for before, value in ((0, 0), (1, 255)):
            assert self.filled(before, 77) == self.clean[before], "a whole file is read otherwise"
            try:
                found.append(self.filled(2, value))
            except SampleError as error:
                told = (error.field, error.key, error.row, error.file)
                assert told == ("x", "mutation", 2, str(self.path)), told
                assert "cannot be used" in str(error), str(error)
                found.append(None)
        assert found[0] == found[1], "it depends on what was read before, or on what the memory held"
        return "refused" if found[0] is None else "read"


def photo(height: int, width: int) -> np.ndarray:
    """Return a small photograph."""
    picture = PILImage.fromarray(photographs.astronaut()).resize((width, height))
    return np.asarray(picture)


class Picture(Sample):
    """A format of images."""

    def __init__(self, folder: Path, kind: str) -> None:
        super().__init__(folder)
        self.kind = kind
        self.prepare()

    def field(self) -> object:
        return mf.Image("x", size=(20, 24), max_pixels=MAX_PIXELS)

    def whole(self) -> list[bytes]:
        one, other = photo(48, 64), 255 - photo(40, 40)
        if self.kind == "JPEG":
            exif = PILImage.Exif()
            exif[0x0112] = 6
            return [
                simplejpeg.encode_jpeg(np.ascontiguousarray(other), 85),
                self.saved(one, quality=70, exif=exif),
                self.saved(one, quality=90, progressive=True),
                self.saved(one, mode="CMYK"),
                self.saved(one, mode="L", restart_marker_blocks=2),
            ]
        options = {
            "PNG": [{}, {"mode": "P"}, {"mode": "RGBA"}, {"mode": "L", "bits": 4}],
            "GIF": [{}, {"mode": "P", "append_images": [PILImage.fromarray(other)], "save_all": True}],
            "TIFF": [
                {}, {"compression": "tiff_deflate", "mode": "RGBA"}, {"compression": "tiff_lzw"},
                {"compression": "jpeg"}, {"compression": "packbits"},
                {"compression": "group4", "mode": "1"},
            ],
            "WEBP": [{}, {"lossless": True, "mode": "RGBA"}],
            "AVIF": [{"speed": 10}, {"speed": 10, "mode": "RGBA"}],
            "JPEG2000": [{}, {"irreversible": True, "no_jp2": True}],
            "BMP": [{}, {"mode": "P"}, {"mode": "1"}],
            "PPM": [{}, {"mode": "L"}, {"mode": "1"}],
        }  # fmt: skip
        first = self.saved(other, **options[self.kind][0])
        return [first, *(self.saved(one, **each) for each in options[self.kind])]

    def saved(self, pixels: np.ndarray, mode: str = "RGB", **options: object) -> bytes:
        """Return an image as a file."""
        stream = io.BytesIO()
        PILImage.fromarray(pixels).convert(mode).save(stream, self.kind, **options)
        return stream.getvalue()

    def seal(self, content: bytes) -> bytes:
        return sealed_png(content) if self.kind == "PNG" else content


def sealed_png(content: bytes) -> bytes:
    """Return a PNG whose chunks have the checksums that they should, as far as there are chunks."""
    sealed, place = content[:8], 8
    while place + 12 <= len(content):
        end = place + 8 + int.from_bytes(content[place : place + 4])
        body = content[place + 4 : end]
        sealed += content[place : place + 4] + body + zlib.crc32(body).to_bytes(4)
        place = end + 4
    return sealed + content[place:]


class Recording(Sample):
    """A format of sounds."""

    def __init__(self, folder: Path, kind: str) -> None:
        super().__init__(folder)
        self.kind = kind
        self.prepare()

    def field(self) -> object:
        return mf.Audio("x", rate=8_000, length=3_000)

    def whole(self) -> list[bytes]:
        time = np.arange(4_000) / 8_000
        wave = np.sin(2 * np.pi * 440 * time)[:, None] * [0.5, 0.3]
        codings = {
            "WAV": ["PCM_16", "FLOAT", "IMA_ADPCM", "ULAW"],
            "RF64": ["PCM_24", "PCM_16"],
            "FLAC": ["PCM_16", "PCM_24"],
            "OGG": ["VORBIS", "OPUS"],
        }
        return [
            self.saved(wave[:, :channels], rate, coding)
            for coding in codings[self.kind]
            for channels, rate in ((1, 8_000), (2, 16_000))
        ]

    def saved(self, wave: np.ndarray, rate: int, coding: str) -> bytes:
        """Return a sound as a file."""
        stream = io.BytesIO()
        soundfile.write(stream, wave, rate, coding, format=self.kind)
        return stream.getvalue()

    def seal(self, content: bytes) -> bytes:
        return sealed_ogg(content) if self.kind == "OGG" else content


def sealed_ogg(content: bytes) -> bytes:
    """Return an Ogg whose pages have the checksums that they should."""
    pages = content.split(b"OggS")
    sealed = pages[0]
    for each in pages[1:]:
        page = b"OggS" + each[:18] + bytes(4) + each[22:]
        checksum = 0
        for byte in page:
            checksum ^= byte << 24
            for _ in range(8):
                checksum = checksum << 1 ^ (0x104C11DB7 if checksum >> 31 else 0)
        sealed += page[:22] + checksum.to_bytes(4, "little") + page[26:]
    return sealed


class Film(Sample):
    """A format of videos."""

    def __init__(self, folder: Path, kind: str) -> None:
        super().__init__(folder)
        self.kind = kind
        self.prepare()

    def field(self) -> object:
        return mf.Video("x", frames=3, size=16, max_pixels=MAX_PIXELS)

    def whole(self) -> list[bytes]:
        codings = {"mp4": ["libx264", "libx265", "mpeg4"], "webm": ["libvpx", "libvpx-vp9"]}
        return [self.saved(coding) for coding in codings[self.kind]]

    def saved(self, coding: str) -> bytes:
        """Return a short video as a file."""
        stream = io.BytesIO()
        with av.open(stream, "w", format=self.kind) as film:
            video = film.add_stream(coding, rate=10, options={"x265-params": "log-level=none"})
            video.width, video.height, video.pix_fmt, video.gop_size = 64, 48, "yuv420p", 4
            for number in range(9):
                pixels = np.roll(photo(48, 64), 3 * number, axis=1)
                film.mux(video.encode(av.VideoFrame.from_ndarray(pixels)))
            film.mux(video.encode())
        return stream.getvalue()


class Npy(Sample):
    """An array a file."""

    suffix = ".npy"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.prepare()

    def field(self) -> object:
        return mf.Array("x", (None, 5), pad_to=4)

    def whole(self) -> list[bytes]:
        arrays = [np.ones((2, 5), np.float32), np.arange(35.0).reshape(7, 5), np.ones((3, 5), ">i2")]
        return [self.saved(each) for each in (*arrays, np.asfortranarray(arrays[1]))]

    def saved(self, array: np.ndarray) -> bytes:
        """Return an array as a file."""
        stream = io.BytesIO()
        np.save(stream, array)
        return stream.getvalue()


class Npz(Npy):
    """An archive a file."""

    suffix = ".npz"
    member = "::x"

    def saved(self, array: np.ndarray) -> bytes:
        stream = io.BytesIO()
        np.savez_compressed(stream, x=array, y=array)
        return stream.getvalue()

    def seal(self, content: bytes) -> bytes:
        """Return an archive of what may be no array at all."""
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x.npy", content)
        return stream.getvalue()


class GeoTiff(Sample):
    """A raster a file: read in part, at a smaller size, with what its mask or nodata value hides."""

    suffix = ".tif"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.prepare()

    def field(self) -> object:
        return mf.Raster("x", [1, 3], size=(20, 24), dtype="int32", nodata=5, max_pixels=MAX_PIXELS)

    def whole(self) -> list[bytes]:
        options: list[dict[str, object]] = [
            {},
            {"compress": "deflate", "tiled": True, "blockxsize": 16, "blockysize": 16, "nodata": 99},
            {"compress": "lzw", "interleave": "band", "predictor": 2, "ENDIANNESS": "BIG"},
            {"compress": "zstd", "dtype": "int16", "BIGTIFF": "YES"},
            {"compress": "jpeg", "photometric": "ycbcr"},
            {"compress": "lerc", "dtype": "float32"},
        ]
        plain = [self.saved(photo(48, 64), **each) for each in options]
        return [*plain, self.saved(photo(96, 96), layers=True, compress="packbits")]

    def saved(self, pixels: np.ndarray, *, layers: bool = False, **options: object) -> bytes:
        """Return an image as a file, maybe with a mask and overviews."""
        path = self.folder / "saved.tif"
        form = {"height": len(pixels), "width": pixels.shape[1], "count": 3, "dtype": "uint8"}
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            with rasterio.open(path, "w", driver="GTiff", **{**form, **options}) as file:
                file.write(pixels.transpose(2, 0, 1))
                if layers:
                    file.write_mask(pixels[..., 0] > 60)
            if layers:
                with rasterio.open(path, "r+") as file:
                    file.build_overviews([2, 4], rasterio.enums.Resampling.average)
        return path.read_bytes()


class HDF5(Npy):
    """An HDF5 file a sample."""

    suffix = ".h5"
    member = "::group/x"

    def whole(self) -> list[bytes]:
        packed = {"compression": "gzip", "shuffle": True, "fletcher32": True}
        latest = {"libver": "latest"}
        return [
            self.packed({}),
            self.packed({}, chunks=(2, 5), **packed),
            self.packed({}, chunks=(3, 2), maxshape=(None, 5)),
            self.packed(latest, chunks=(3, 5), compression="gzip"),
            self.packed(latest, chunks=(2, 5), maxshape=(None, 5)),
            self.packed(latest, chunks=(2, 5), compression="lzf"),
        ]

    def packed(self, how: dict[str, object], **options: object) -> bytes:
        """Return an array as a file."""
        stream = io.BytesIO()
        with h5py.File(stream, "w", **how) as file:
            file.create_dataset("group/x", data=np.arange(35.0).reshape(7, 5), **options)
        return stream.getvalue()


class ZarrZip(Npy):
    """A Zarr store a sample, as an archive."""

    suffix = ".zip"
    member = "::x"

    def whole(self) -> list[bytes]:
        options: list[dict[str, object]] = [
            {"zarr_format": 3},
            {"zarr_format": 2},
            {"zarr_format": 2, "compressors": None},
            {"zarr_format": 3, "compressors": zarr.codecs.BloscCodec()},
            {"zarr_format": 3, "shards": (4, 10), "compressors": zarr.codecs.GzipCodec()},
        ]
        return [self.stored(number, **each) for number, each in enumerate(options)]

    def stored(self, number: int, zarr_format: int, **options: object) -> bytes:
        """Return an array as an archive."""
        path = self.folder / f"store{number}.zip"
        with zarr.storage.ZipStore(path, mode="w") as store:
            group = zarr.create_group(store, zarr_format=zarr_format)
            array = group.create_array("x", shape=(7, 5), chunks=(2, 5), dtype="f4", **options)
            array[...] = np.arange(35).reshape(7, 5)
        return path.read_bytes()

    def seal(self, content: bytes) -> bytes:
        """Return an archive of the same members with the checksums that they have now."""
        stream = io.BytesIO()
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new:
                for info in old.infolist():
                    start = info.header_offset + 30 + len(info.filename)
                    new.writestr(info.filename, content[start : start + info.file_size])
        except Exception:
            return content
        return stream.getvalue()


class ZarrText(ZarrZip):
    """The description of an array in a Zarr store."""

    mutations = TEXT_MUTATIONS

    def whole(self) -> list[bytes]:
        texts = []
        for content in self.files():
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                (name,) = {"x/zarr.json", "x/.zarray"} & set(archive.namelist())
                texts.append(archive.read(name))
        return texts

    def files(self) -> list[bytes]:
        return super().whole()

    def read(self, content: bytes) -> str:
        name = "x/.zarray" if b'"zarr_format": 2' in content else "x/zarr.json"
        return super().read(self.replaced(name, content))

    def replaced(self, name: str, text: bytes) -> bytes:
        """Return a store with another description."""
        stream = io.BytesIO()
        whole = self.folder / f"store{int(name == 'x/.zarray')}.zip"
        with (
            zipfile.ZipFile(whole) as old,
            zipfile.ZipFile(stream, "w") as new,
        ):
            for each in old.namelist():
                new.writestr(each, text if each == name else old.read(each))
        return stream.getvalue()

    def seal(self, content: bytes) -> bytes:
        return content


class Mat(Npy):
    """A MATLAB file a sample."""

    suffix = ".mat"
    member = "::x"

    def whole(self) -> list[bytes]:
        found = []
        for pack in (False, True):
            stream = io.BytesIO()
            values = {"a": "text", "x": np.arange(35.0).reshape(7, 5), "z": np.ones((2, 2), bool)}
            scipy.io.savemat(stream, values, do_compression=pack)
            found.append(stream.getvalue())
        return found


class Lines(Npy):
    """A text of numbers a sample."""

    suffix = ".csv"
    mutations = TEXT_MUTATIONS

    def whole(self) -> list[bytes]:
        text = b"\n".join(b"1,2.5,-3,4e5,5" for _ in range(7))
        return [text, b"a,b,c,d,e\n" + text]


class Nifti(Sample):
    """A volume a file, of which a box is read, or all of it."""

    def __init__(self, folder: Path, suffix: str) -> None:
        super().__init__(folder)
        self.suffix = suffix
        self.prepare()

    def field(self) -> object:
        if self.suffix == ".nii":
            return mf.Volume("x", patch=4, max_bytes=MAX_PIXELS)
        return mf.Volume("x", (4, 5, 6), spacing=1.5, max_bytes=MAX_PIXELS)

    def whole(self) -> list[bytes]:
        values = np.arange(6 * 7 * 8).reshape(6, 7, 8)
        affine = np.array([[-2, 0.1, 0, 9], [0.1, 1.5, -0.2, -8], [0, 0.2, 3, 1], [0, 0, 0, 1.0]])
        images = [
            nibabel.Nifti1Image(values.astype(np.int16), affine),
            nibabel.Nifti1Image(values.astype(np.float32)[::-1], np.diag([1.0, 2, 3, 1])),
            nibabel.Nifti2Image(values.astype(np.uint8), affine),
            nibabel.Nifti1Image(values.astype(">f8"), affine),
        ]
        contents = [image.to_bytes() for image in images]
        return contents if self.suffix == ".nii" else [gzip.compress(each, mtime=0) for each in contents]

    def seal(self, content: bytes) -> bytes:
        """Return a packed file of what may be no volume at all."""
        return gzip.compress(content, mtime=0) if self.suffix == ".nii.gz" else content


class Dicom(Sample):
    """A slice a file."""

    suffix = ".dcm"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.prepare()

    def field(self) -> object:
        return mf.Volume("x", (1, 6, 7), max_bytes=MAX_PIXELS)

    def whole(self) -> list[bytes]:
        packaged = Path(pydicom.data.get_testdata_file("MR_small.dcm")).parent
        names = ["MR_small", "MR_small_RLE", "MR_small_bigendian", "MR_small_jp2klossless"]
        few = sorted((packaged / "dicomdirtests/98892001/CT5N").iterdir())[:2]
        return [path.read_bytes() for path in (*few, *(packaged / f"{name}.dcm" for name in names))]


class TableFile(Format):
    """A table file."""

    def __init__(self, folder: Path, suffix: str) -> None:
        super().__init__(folder)
        self.suffix = suffix
        self.path = folder / f"mutation{suffix}"
        if suffix in (".csv", ".jsonl"):
            self.mutations = TEXT_MUTATIONS

    def table(self) -> pa.Table:
        """Return a table of many types."""
        return pa.table(
            {
                "id": ["007", "b", "c", "d"],
                "age": [1.5, None, 3.0, -1e9],
                "code": [1, 2, 3, 2**62],
                "note": ["no fever", "", None, "[severe] {pain}"],
                "list": [[1.0, 2.0], [], None, [3.0]],
                "kind": pa.array(["x", "y", "x", None]).dictionary_encode(),
                "raw": [b"\0\1", b"", None, b"\xff"],
                "when": pa.array([0, 1, 2, None], pa.timestamp("us")),
            }
        )

    def whole(self) -> list[bytes]:
        table, plain = self.table(), self.table().drop_columns(["list", "kind", "raw", "when"])
        return [self.saved(each, **options) for each in (table, plain) for options in self.options()]

    def options(self) -> list[dict[str, object]]:
        """Return the ways to write it."""
        if self.suffix == ".parquet":
            return [{"compression": "snappy"}, {"compression": "zstd", "use_dictionary": False}]
        if self.suffix == ".feather":
            return [{"compression": "lz4"}, {"compression": "uncompressed"}]
        return [{}]

    def saved(self, table: pa.Table, **options: object) -> bytes:
        """Return a table as a file."""
        stream = pa.BufferOutputStream()
        if self.suffix == ".parquet":
            parquet.write_table(table, stream, **options)
        elif self.suffix == ".feather":
            feather.write_feather(table, stream, **options)
        elif self.suffix == ".arrow":
            with pa.ipc.new_stream(stream, table.schema) as sink:
                sink.write_table(table)
        elif self.suffix == ".csv":
            csv.write_csv(table.select(["id", "age", "code", "note"]), stream)
        else:
            plain = table.select(["id", "age", "code", "note"]).to_pylist()
            stream.write(
                "".join(json.dumps({**each, "deep": [[each]]}) + "\n" for each in plain).encode()
            )
        return bytes(stream.getvalue())

    def read(self, content: bytes) -> str:
        self.path.write_bytes(content)
        try:
            data = mf.Dataset(self.path, inputs={"x": mf.Numeric("age", missing="zero")}, key="id")
        except DeclarationError as error:
            if "table file" in str(error):
                assert repr(str(self.path)) in str(error), str(error)
            return "refused"
        try:
            mf.align("id", table=self.path)
            data.select([0]).rows.validate(full=True)
            return "read" if data[len(data) - 1] else "empty"
        except MultifeedError as error:
            return type(error).__name__


class MetadataFile(Format):
    """A metadata file, beside a whole one."""

    mutations = TEXT_MUTATIONS

    def __init__(self, folder: Path, notation: str) -> None:
        super().__init__(folder)
        self.notation = notation
        self.path = folder / "1.metadata"
        (folder / "0.metadata").write_bytes(self.whole()[0])

    def whole(self) -> list[bytes]:
        one = {"age": 41, "scanner": {"tesla": 1.5, "on": True}, "tags": ["a", "b"], "note": None}
        other = {"age": 60, "scanner": {"name": "x [y] {z}"}, "affine": [[1, 0.5], [0, 1]], "note": "é"}
        write = {
            "json": json.dumps,
            "yaml": partial(yaml.safe_dump, allow_unicode=True),
            "literal": repr,
        }[self.notation]
        return [write(each).encode() for each in (one, other)]

    def read(self, content: bytes) -> str:
        self.path.write_bytes(content)
        try:
            table = mf.metadata(f"{self.folder}/{{id}}.metadata", format=self.notation)
        except DeclarationError as error:
            assert str(self.path) in str(error) or "integers" in str(error), str(error)
            return "refused"
        table.validate(full=True)
        assert table["id"].to_pylist() == ["0", "1"]
        assert table["age"][0].as_py() == 41
        return "read"


class Database(Format):
    """A database file."""

    def __init__(self, folder: Path, kind: str) -> None:
        super().__init__(folder)
        self.kind = kind
        self.path = folder / "mutation.db"

    def whole(self) -> list[bytes]:
        found = []
        for count in (3, 400):
            path = self.folder / f"{count}.db"
            module = {"sqlite": sqlite3, "duckdb": duckdb}[self.kind]
            connection = module.connect(str(path))
            connection.execute("CREATE TABLE t (id INTEGER, x DOUBLE, name TEXT, raw BLOB)")
            rows = [
                (each, each / 3, "x" * (each % 90), bytes([each % 256] * 9)) for each in range(count)
            ]
            connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", rows)
            connection.execute("CREATE VIEW v AS SELECT id, name FROM t WHERE x > 1")
            connection.commit()
            connection.close()
            found.append(path.read_bytes())
        return found

    def read(self, content: bytes) -> str:
        self.path.write_bytes(content)
        try:
            for query in ("SELECT * FROM t ORDER BY id", "SELECT * FROM v"):
                mf.sql(query, self.path).validate(full=True)
        except DeclarationError as error:
            assert str(self.path) in str(error), str(error)
            return "refused"
        return "read"


class TokenizerFile(Format):
    """A tokenizer, as JSON."""

    mutations = TEXT_MUTATIONS

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path = folder / "mutation.json"

    def whole(self) -> list[bytes]:
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

        words = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "b": 2}, unk_token="[UNK]"))
        words.pre_tokenizer = pre_tokenizers.Whitespace()
        pieces = Tokenizer(models.BPE(unk_token="[UNK]"))
        pieces.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase()])
        pieces.pre_tokenizer = pre_tokenizers.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=60, special_tokens=["[UNK]", "[CLS]"], show_progress=False
        )
        pieces.train_from_iterator(["no fever", "severe pain"], trainer)
        pieces.post_processor = processors.TemplateProcessing(
            single="[CLS] $A", special_tokens=[("[CLS]", 1)]
        )
        return [words.to_str(pretty=True).encode(), pieces.to_str().encode()]

    def read(self, content: bytes) -> str:
        self.path.write_bytes(content)
        try:
            field = mf.Text("x", 6, tokenizer=self.path)
        except DeclarationError as error:
            assert str(self.path) in str(error) or "length" in str(error), str(error)
            return "refused"
        try:
            ids = mf.Dataset({"x": ["a severe b"]}, inputs=field)[0][0]
        except SampleError as error:
            assert error.row == 0
            return "unusable"
        assert (ids >= 0).all()
        assert (ids < field.vocabulary_size).all()
        return "read"


class StateFile(Format):
    """A learned state, as JSON."""

    mutations = TEXT_MUTATIONS

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path = folder / "mutation.json"

    def data(self, scale: float = 1) -> mf.Dataset:
        """Return a dataset that learns."""
        rows = {"a": [scale, 2.0], "b": ["x", "y"], "c": [1, 2], "t": ["no pain", "severe pain"]}
        return mf.Dataset(
            rows,
            inputs={"a": mf.Numeric("a", normalize=True), "t": mf.Text("t", 3)},
            targets={"b": mf.Category("b"), "c": mf.Category("c")},
        )

    def whole(self) -> list[bytes]:
        found = []
        for scale in (1, 3):
            data = self.data(scale)
            data.adapt()
            data.save_state(self.path)
            found.append(self.path.read_bytes())
        return found

    def read(self, content: bytes) -> str:
        self.path.write_bytes(content)
        data = self.data()
        try:
            data.load_state(self.path)
        except StateError as error:
            assert str(self.path) in str(error), str(error)
            return "refused"
        except SampleError as error:
            assert error.field in data.fields
            return "unusable"
        assert data[0]
        return "read"


class Shard(Format):
    """A shard of a cache, under the checksum that it should have or under another one."""

    mutations = MUTATIONS

    def __init__(self, folder: Path, layout: str) -> None:
        super().__init__(folder)
        self.layout = layout
        for name, kind in (("one", 1), ("other", 0)):
            pixels = photo(16, 16) if kind else 255 - photo(16, 16)
            PILImage.fromarray(pixels).save(folder / f"{name}.png")
        np.save(folder / "array.npy", np.ones((2, 3), np.float32))
        # Where packing loses something, what is decoded anew loses it as well.
        self.clean = self.samples(self.cached())
        assert layout == "jpeg" or self.clean == self.samples(self.data())
        (self.path,) = folder.glob("cache/*/*.arrow")
        self.content = self.path.read_bytes()

    def data(self) -> mf.Dataset:
        """Return the dataset without a cache."""
        files = [str(self.folder / each) for each in ("one.png", "other.png")]
        rows = {"id": ["a", "b"], "x": files, "y": [str(self.folder / "array.npy")] * 2}
        image, array = mf.Image("x", 12), mf.Array("y", (None, 3), pad_to=3)
        return mf.Dataset(rows, key="id", inputs={"x": image, "y": array})

    def cached(self) -> mf.Dataset:
        """Return the dataset with its cache."""
        return mf.cache(self.data(), self.folder / "cache", layout=self.layout, progress=False)

    def samples(self, data: mf.Dataset) -> list[bytes]:
        """Return all that is read, into memory that holds something."""
        plan = data.plan()
        specs = plan.specs
        buffers = {name: np.full((2, *specs[name].shape), 77, specs[name].dtype) for name in specs}
        plan.fill(np.arange(2), buffers)
        return [buffers[name].tobytes() for name in specs]

    def whole(self) -> list[bytes]:
        return [self.content, self.content[::-1]]

    def seal(self, content: bytes) -> bytes:
        """Mark a file, to be put under its own checksum."""
        return b"sealed" + content

    def read(self, content: bytes) -> str:
        for each in self.path.parent.glob("*.arrow"):
            each.unlink()
        is_sealed = content.startswith(b"sealed")
        content = content.removeprefix(b"sealed")
        path = self.path.with_name(f"00000-{xxhash.xxh3_64(content).hexdigest()}.arrow")
        (path if is_sealed else self.path).write_bytes(content)
        try:
            found = self.samples(self.cached())
        except SampleError as error:
            assert is_sealed, "what is damaged must not be read"
            assert (error.field in ("x", "y"), error.key in ("a", "b")) == (True, True)
            return "unusable"
        if not is_sealed:
            assert found == self.clean, "a damaged shard was believed"
        return "decoded anew" if found == self.clean else "read"


FORMATS: dict[str, Callable[[Path], Format]] = {
    **{kind: lambda folder, kind=kind: Picture(folder, kind) for kind in
       ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM")},
    **{f"sound, {kind}": lambda folder, kind=kind: Recording(folder, kind) for kind in
       ("WAV", "RF64", "FLAC", "OGG")},
    **{f"video, {kind}": lambda folder, kind=kind: Film(folder, kind) for kind in ("mp4", "webm")},
    "npy": Npy,
    "npz": Npz,
    ".nii": lambda folder: Nifti(folder, ".nii"),
    ".nii.gz": lambda folder: Nifti(folder, ".nii.gz"),
    "dicom": Dicom,
    "geotiff": GeoTiff,
    "hdf5": HDF5,
    "zarr": ZarrZip,
    "zarr, description": ZarrText,
    "mat": Mat,
    "lines": Lines,
    **{suffix: lambda folder, suffix=suffix: TableFile(folder, suffix) for suffix in
       (".parquet", ".feather", ".arrow", ".csv", ".jsonl")},
    **{f"metadata, {name}": lambda folder, name=name: MetadataFile(folder, name) for name in
       ("json", "yaml", "literal")},
    **{kind: lambda folder, kind=kind: Database(folder, kind) for kind in ("sqlite", "duckdb")},
    "tokenizer": TokenizerFile,
    "state": StateFile,
    **{f"shard, {layout}": lambda folder, layout=layout: Shard(folder, layout) for layout in
       ("raw", "zstd", "jpeg")},
}  # fmt: skip


def mutation(whole: list[bytes], mutations: list[Mutate], random: Random) -> bytes:
    """Return one of the whole files, changed once or twice."""
    content = original = whole[random.integers(len(whole))]
    other = whole[random.integers(len(whole))]
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        if content:
            content = mutations[random.integers(len(mutations))](content, other, random)
    return content if content != original else content + b"\0"


def peak_bytes() -> int:
    """Return the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(name: str, folder: str, count: int, seed: int) -> None:
    """Read mutations, and print as JSON what became of how many."""
    warnings.simplefilter("ignore")
    tested = FORMATS[name](Path(folder))
    whole = tested.whole()
    outcomes: Counter[str] = Counter()
    for content in whole[:1]:
        assert tested.read(content) in ("read", "decoded anew")
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + ADDRESSES, mapped + ADDRESSES))
    before = peak_bytes()
    for each in range(count):
        random = np.random.default_rng([seed, each])
        content = mutation(whole, tested.mutations, random)
        if random.random() < 0.5:
            content = tested.seal(content)
        try:
            outcomes[tested.read(content)] += 1
        except BaseException:
            Path(folder, "culprit").write_bytes(content)
            print(f"mutation {each} of {name}, seed {seed}, in {folder}/culprit", file=sys.stderr)
            raise
    print(json.dumps({"outcomes": outcomes, "growth": peak_bytes() - before}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
