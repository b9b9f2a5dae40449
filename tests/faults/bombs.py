"""The program that `test_bombs.py` runs: reads bombs in little memory, and prints what came of each.

    python bombs.py FOLDER

Each is read by a process of its own, which is forked before anything has been read. It prints a line of
JSON: what was said, the bytes of memory and the seconds that it took, and how the process ended.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import resource
import signal
import struct
import sys
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import google_crc32c
import h5py
import nibabel
import numpy as np
import pyarrow as pa
import pydicom
import rasterio
import soundfile
import soxr
import yaml
from numcodecs import blosc, lz4
from PIL import Image as PILImage

import multifeed as mf
from multifeed.errors import MultifeedError

# Bytes that the process may map, beyond what it has mapped before it reads; and how long it may take.
ADDRESSES = 2 * 2**30
TIMEOUT_S = 60


def encoded(kind: str, side: int = 64, **options: object) -> bytearray:
    """Return a blank image."""
    stream = io.BytesIO()
    PILImage.fromarray(np.zeros((side, side, 3), np.uint8)).save(stream, kind, **options)
    return bytearray(stream.getvalue())


def patched(content: bytearray, place: int, layout: str, *values: int) -> bytes:
    """Return a file with other numbers at a place."""
    struct.pack_into(layout, content, place, *values)
    return bytes(content)


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(side: int, *chunks: bytes, pixels: bytes | None = None) -> bytes:
    """Return a PNG that claims a size, with some chunks before its pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    data = zlib.compress(bytes((3 * 8 + 1) * 8) if pixels is None else pixels)
    return b"\x89PNG\r\n\x1a\n" + b"".join([header, *chunks, chunk(b"IDAT", data), chunk(b"IEND", b"")])


def tiff(tile: int) -> bytes:
    """Return a TIFF of one pixel, in a tile of many."""
    packer = zlib.compressobj()
    data = b"".join(packer.compress(bytes(tile * 3)) for _ in range(tile)) + packer.flush()
    sizes = 10 + 12 * 10 + 4
    entries = [
        (256, 4, 1, 1), (257, 4, 1, 1), (258, 3, 3, sizes), (259, 3, 1, 8), (262, 3, 1, 2),
        (277, 3, 1, 3), (322, 4, 1, tile), (323, 4, 1, tile), (324, 4, 1, sizes + 6),
        (325, 4, 1, len(data)),
    ]  # fmt: skip
    table = b"".join(struct.pack("<HHII", *each) for each in entries)
    return b"II*\0" + struct.pack("<IH", 8, 10) + table + bytes(4) + struct.pack("<HHH", 8, 8, 8) + data


def layered(tile: int, kind: int) -> bytes:
    """Return a TIFF of 64 x 64 pixels, with a layer of 8 x 8 pixels in a tile of many."""
    packer = zlib.compressobj()
    layer = b"".join(packer.compress(bytes(tile)) for _ in range(tile)) + packer.flush()
    pixels = bytes(64 * 64)
    first = 8 + len(pixels) + len(layer)
    image = [(256, 64), (257, 64), (258, 8), (259, 1), (262, 1), (273, 8), (278, 64), (279, len(pixels))]
    other = [
        (254, kind), (256, 8), (257, 8), (258, 8), (259, 8), (262, 1), (322, tile), (323, tile),
        (324, 8 + len(pixels)), (325, len(layer)),
    ]  # fmt: skip
    second = first + 2 + 12 * len(image) + 4
    return b"".join(
        [
            b"II*\0",
            struct.pack("<I", first),
            pixels,
            layer,
            directory(image, second),
            directory(other, 0),
        ]
    )


def directory(entries: list[tuple[int, int]], behind: int) -> bytes:
    """Return a directory of a TIFF, of numbers, and where the next one is."""
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return struct.pack("<H", len(entries)) + table + struct.pack("<I", behind)


def sparse(side: int, bands: int = 1) -> bytes:
    """Return a GeoTIFF of many pixels, none of which is stored."""
    with rasterio.MemoryFile() as memory:
        form = {"height": side, "width": side, "count": bands, "dtype": "uint8", "tiled": True}
        options = {"blockxsize": 4096, "blockysize": 4096, "SPARSE_OK": True, "compress": "deflate"}
        memory.open(driver="GTiff", **form, **options).close()
        return bytes(memory.read())


def webp(side: int) -> bytes:
    """Return an animated WebP whose canvas claims a size."""
    frame = (
        bytes(6) + (63).to_bytes(3, "little") * 2 + bytes(4) + bytes(encoded("WEBP", lossless=True)[12:])
    )
    size = (side - 1).to_bytes(3, "little")
    parts = [(b"VP8X", b"\x02\0\0\0" + size * 2), (b"ANIM", bytes(6)), (b"ANMF", frame)]
    body = b"WEBP" + b"".join(name + struct.pack("<I", len(data)) + data for name, data in parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def scans(count: int, *, hidden: bool = False, **options: object) -> bytes:
    """Return a JPEG whose last scan is there many times, maybe between segments that hold an end."""
    content = bytes(encoded("JPEG", 1_000, **options))
    last = content[content.rfind(b"\xff\xda") : -2]
    between = b"\xff\xfe\x00\x06\xff\xd9\xff\xd9" if hidden else b""
    return content[:-2] + (between + last) * count + content[-2:]


def npy(header: str, version: int = 1, length: int | None = None) -> bytes:
    """Return a .npy file of a header, and 64 bytes of data."""
    size = len(header) if length is None else length
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", size) + (
        header.encode() + bytes(64)
    )  # fmt: skip


def shaped(shape: str, descr: str = "'<f4'") -> bytes:
    """Return a .npy file that claims a shape and a dtype."""
    return npy(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n")


def npz(packing: int, member: bytes, claim: int | None = None) -> bytes:
    """Return an archive of one member, which may claim another size than it has."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", packing) as archive:
        archive.writestr("x.npy", member)
    content = bytearray(stream.getvalue())
    if claim is not None:
        for signature, place in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
            struct.pack_into("<I", content, content.rfind(signature) + place, claim)
    return bytes(content)


def jpeg_claiming(side: int) -> bytes:
    """Return a JPEG that claims a size."""
    content = encoded("JPEG")
    return patched(content, content.find(b"\xff\xc0") + 5, ">HH", side, side)


def jp2_claiming(side: int) -> bytes:
    """Return a JPEG 2000 whose box says 64 pixels, and whose codestream says more, in one tile."""
    content = encoded("JPEG2000")
    place = content.find(b"\xff\x4f\xff\x51") + 8
    struct.pack_into(">II", content, place, side, side)
    return patched(content, place + 16, ">II", side, side)


def sound(kind: str, **options: object) -> bytearray:
    """Return half a second of silence."""
    stream = io.BytesIO()
    soundfile.write(stream, np.zeros((4_000, 1)), 8_000, format=kind, **options)
    return bytearray(stream.getvalue())


def flac_claiming(frames: int) -> bytes:
    """Return a FLAC that claims a number of frames, which are the last 36 of 64 bits at byte 18."""
    content = sound("FLAC")
    (told,) = struct.unpack_from(">Q", content, 18)
    return patched(content, 18, ">Q", told >> 36 << 36 | frames)


def film(kind: str, coding: str, **options: str) -> bytearray:
    """Return a short grey video."""
    stream = io.BytesIO()
    with av.open(stream, "w", format=kind, options=options) as opened:
        video = opened.add_stream(coding, rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for _ in range(5):
            opened.mux(video.encode(av.VideoFrame(64, 48, "yuv420p")))
        opened.mux(video.encode())
    return bytearray(stream.getvalue())


def mp4_claiming(samples: int, *, size: int = 1) -> bytes:
    """Return an MP4 whose table claims that many samples of one size, or of a size each if it is 0."""
    content = film("mp4", "libx264")
    return patched(content, content.rfind(b"stsz") + 8, ">II", size, samples)


def fragment_claiming(samples: int) -> bytes:
    """Return an MP4 in fragments, the first of which claims samples of which nothing is told."""
    content = film("mp4", "libx264", movflags="frag_keyframe+empty_moov")
    return patched(content, content.find(b"trun") + 4, ">II", 1, samples)


def vp8_claiming(side: int) -> bytes:
    """Return a WebM that says 64 x 48 pixels, and whose first frame says more."""
    content = film("webm", "libvpx")
    return patched(content, content.find(b"\x9d\x01\x2a") + 3, "<HH", side, side)


def word_level(largest: int) -> bytes:
    """Return a tokenizer of three words, one of them with a large id."""
    vocabulary = {"[UNK]": 0, "a": 1, "b": largest}
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"}
    parts = ("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder")
    told = {"version": "1.0", "added_tokens": [], **dict.fromkeys(parts), "model": model}
    return json.dumps(told).encode()


def hdf5(*, packed: bytes | None = None, **options: object) -> bytes:
    """Return an HDF5 file of an array that is never written, or of which one chunk is."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        array = file.create_dataset("x", dtype="f4", **options)
        if packed is not None:
            array.id.write_direct_chunk((0, 0), packed)
    return stream.getvalue()


def store(told: dict[str, object], chunk: bytes = b"") -> bytes:
    """Return a Zarr store of version 2 or 3, whose array consists of one chunk."""
    is_old = "chunks" in told
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("x/.zarray" if is_old else "x/zarr.json", json.dumps(told))
        archive.writestr("x/0.0" if is_old else "x/c/0/0", chunk)
    return stream.getvalue()


def version_2(packer: str | None = None, shape: int = 4, chunk: int = 4) -> dict[str, object]:
    """Return the description of an array of version 2."""
    sizes = {"shape": [shape, 4], "chunks": [chunk, 4]}
    packing = packer and {"id": packer}
    return {"zarr_format": 2, **sizes, "dtype": "<f4", "compressor": packing, "fill_value": 0}


def version_3(packer: str | None = None, *, shards: int | None = None) -> dict[str, object]:
    """Return the description of an array of version 3."""
    codecs: list[dict[str, object]] = [{"name": "bytes", "configuration": {"endian": "little"}}]
    if packer is not None:
        codecs.append({"name": packer, "configuration": {}})
    chunk = [4, 4]
    if shards is not None:
        inner = {"chunk_shape": [1, 1], "codecs": codecs, "index_codecs": codecs}
        codecs, chunk = [{"name": "sharding_indexed", "configuration": inner}], [shards, shards]
    return {
        "zarr_format": 3, "node_type": "array", "shape": [4, 4], "data_type": "float32",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
        "chunk_key_encoding": {"name": "default"}, "fill_value": 0, "codecs": codecs,
    }  # fmt: skip


def mat(shape: tuple[int, int], size: int, *, pack: bool) -> bytes:
    """Return a .mat file of version 5 whose array claims a shape, and has so many bytes of zeros."""

    def element(kind: int, content: bytes) -> bytes:
        return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)

    head = (
        element(6, struct.pack("<II", 6, 0)) + element(5, struct.pack("<ii", *shape)) + element(1, b"x")
    )
    array = element(14, head + element(9, bytes(size)))
    begin = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM"
    packed = zlib.compress(array)
    return begin + (struct.pack("<II", 15, len(packed)) + packed if pack else array)


def nifti(side: int = 4, start: float = 352, behind: int = 0) -> bytes:
    """Return a NIfTI file of 64 voxels, which claims another size, and where its data begin."""
    content = bytearray(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)).to_bytes())
    struct.pack_into("<hhh", content, 42, side, side, side)
    struct.pack_into("<f", content, 108, start)
    return bytes(content) + bytes(behind)


def dicom(name: str, side: int) -> bytes:
    """Return a packaged slice that claims another size."""
    found = pydicom.dcmread(pydicom.data.get_testdata_file(name))
    found.Rows = found.Columns = side
    stream = io.BytesIO()
    found.save_as(stream)
    return stream.getvalue()


def deflated(size: int) -> bytes:
    """Return a DICOM file of which all but the beginning unpacks to zeros."""
    content = Path(pydicom.data.get_testdata_file("image_dfl.dcm")).read_bytes()
    end = 144 + int.from_bytes(content[140:144], "little")
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return content[:end] + packer.compress(bytes(size)) + packer.flush()


HUGE = 60_000
ZEROS = 2**28
BIG_TEXT = zlib.compress(bytes(900_000))
IMAGES: dict[str, Callable[[], bytes]] = {
    "png of 60,000 x 60,000": lambda: png(HUGE),
    "png with a profile that unpacks to 256 MB": lambda: png(
        8, chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(2**28)))
    ),
    "png with texts that unpack to 900 MB": lambda: png(
        8, *(chunk(b"zTXt", b"%d\0\0" % each + BIG_TEXT) for each in range(1_000))
    ),
    "gif of 65,535 x 65,535": lambda: patched(encoded("GIF"), 6, "<HH", 65_535, 65_535),
    "bmp of 60,000 x 60,000": lambda: patched(encoded("BMP"), 18, "<ii", HUGE, HUGE),
    "bmp of a negative height": lambda: patched(encoded("BMP"), 18, "<ii", HUGE, -HUGE),
    "bmp of the least height": lambda: patched(encoded("BMP"), 18, "<ii", 1, -(2**31)),
    "tiff of 60,000 x 60,000": lambda: bytes(encoded("TIFF")).replace(
        struct.pack("<HHII", 256, 4, 1, 64), struct.pack("<HHII", 256, 4, 1, 2**31)
    ),
    "tiff of one pixel in a tile of 10,000 x 10,000": lambda: tiff(10_000),
    "webp of 60,000 x 60,000": lambda: webp(HUGE),
    "avif of 60,000 x 60,000": lambda: patched(
        content := encoded("AVIF", speed=10), content.find(b"ispe") + 8, ">II", HUGE, HUGE
    ),
    "jpeg of 65,000 x 65,000": lambda: jpeg_claiming(65_000),
    "jpeg 2000 of 60,000 x 60,000": lambda: jp2_claiming(HUGE),
    "ppm of 60,000 x 60,000": lambda: b"P6 60000 60000 255\n" + bytes(100),
    "progressive jpeg of 20,000 scans": lambda: scans(20_000, progressive=True, quality=10),
    "the same with ends that are none": lambda: scans(20_000, hidden=True, progressive=True, quality=10),
    "postscript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
}
RASTERS: dict[str, Callable[[], bytes]] = {
    "geotiff of one pixel in a tile of 20,000 x 20,000": lambda: tiff(20_000),
    "geotiff with an overview in a tile of 20,000 x 20,000": lambda: layered(20_000, 1),
    "geotiff with a mask in a tile of 20,000 x 20,000": lambda: layered(20_000, 4),
    "geotiff of 300,000 x 300,000": lambda: sparse(300_000),
    "geotiff whose directories go round": lambda: b"II*\0" + struct.pack("<I", 8) + directory([], 8),
    "geotiff of 2^60 entries": lambda: b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**60),
    "geotiff of a width of 2^32 numbers": lambda: b"II*\0" + struct.pack(
        "<IHHHII", 8, 1, 256, 4, 2**32 - 1, 0
    ),
}  # fmt: skip
ARRAYS: dict[str, Callable[[], bytes]] = {
    "npy of 4 x 10^18 numbers": lambda: shaped("(2000000000, 2000000000)"),
    "npy of a shape that is computed": lambda: shaped("(10**9, 10**9)"),
    "npy of more numbers than there are": lambda: shaped("(9223372036854775807, 9223372036854775807)"),
    "npy of a negative shape": lambda: shaped("(-1, -16)"),
    "npy of no numbers, and a long axis": lambda: shaped("(0, 9223372036854775807)"),
    "npy of many axes": lambda: shaped("(" + "1," * 1_000 + ")"),
    "npy of large records": lambda: shaped("(1,)", "'V2147483647'"),
    "npy of long texts": lambda: shaped("(1,)", "'U500000000'"),
    "npy of arrays of numbers": lambda: shaped("(1,)", "('<f4', (1000000000,))"),
    "npy of deep records": lambda: shaped("(1,)", "[('x', " * 40 + "'<f4'" + ")]" * 40),
    "npy of dates": lambda: shaped("(8,)", "'M8[ns]'"),
    "npy whose header claims 4 GB": lambda: npy("{}", version=2, length=2**32 - 1),
    "npy whose header is deep": lambda: npy("(" * 9_000 + ")" * 9_000, version=2),
    "npy whose header is deep another way": lambda: npy("-" * 9_000 + "1", version=2),
    "npy whose header is a long number": lambda: npy("9" * 9_000, version=2),
}
ARCHIVES: dict[str, Callable[[], bytes]] = {
    "npz that unpacks to 256 MB": lambda: npz(zipfile.ZIP_DEFLATED, bytes(2**28)),
    "npz that claims to unpack to little": lambda: npz(zipfile.ZIP_DEFLATED, bytes(2**28), 100),
    "npz packed by bzip2": lambda: npz(zipfile.ZIP_BZIP2, bytes(2**24), 100),
    "npz packed by lzma": lambda: npz(zipfile.ZIP_LZMA, bytes(2**24), 100),
}
# By name: how the file ends and what follows its name, and what it holds.
STORES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "hdf5 of 4 x 10^12 numbers": (
        ".h5::x", lambda: hdf5(shape=(10**12, 4), chunks=(64, 4)),
    ),
    "hdf5 of a chunk of 1 GiB": (
        ".h5::x", lambda: hdf5(shape=(4, 4), maxshape=(None, 4), chunks=(2**26, 4)),
    ),
    "hdf5 whose chunk unpacks to 256 MB": (
        ".h5::x",
        lambda: hdf5(
            shape=(4, 4), maxshape=(None, 4), chunks=(2**14, 4), compression="gzip",
            packed=zlib.compress(bytes(ZEROS)),
        ),
    ),
    "zarr of 4 x 10^12 numbers": (".zip::x", lambda: store(version_2(shape=10**12))),
    "zarr of a chunk of 1 GiB": (".zip::x", lambda: store(version_2(chunk=2**26))),
    "zarr whose zlib chunk unpacks to 256 MB": (
        ".zip::x", lambda: store(version_2("zlib"), zlib.compress(bytes(ZEROS))),
    ),
    "zarr whose gzip chunk unpacks to 256 MB": (
        ".zip::x", lambda: store(version_3("gzip"), gzip.compress(bytes(ZEROS))),
    ),
    "zarr whose zstd chunk unpacks to 256 MB": (
        ".zip::x", lambda: store(version_3("zstd"), pa.compress(bytes(ZEROS), "zstd", asbytes=True)),
    ),
    "zarr whose blosc chunk unpacks to 256 MB": (
        ".zip::x", lambda: store(version_2("blosc"), blosc.compress(bytes(ZEROS), b"zstd", 5, 1)),
    ),
    "zarr whose lz4 chunk unpacks to 256 MB": (
        ".zip::x", lambda: store(version_2("lz4"), lz4.compress(bytes(ZEROS))),
    ),
    "zarr of a shard of 10^18 chunks": (".zip::x", lambda: store(version_3(shards=10**9))),
    "mat of 4 x 10^9 numbers": (".mat::x", lambda: mat((10**9, 4), 128, pack=True)),
    "mat that unpacks to 256 MB": (".mat::x", lambda: mat((4, 4), ZEROS, pack=True)),
    "csv of a line of 10^6 cells": (".csv", lambda: b"1," * 10**6 + b"1\n"),
}  # fmt: skip
VOLUMES: dict[str, Callable[[], bytes]] = {
    "nii of 32,000 x 32,000 x 32,000": lambda: nifti(32_000),
    "nii.gz of 32,000 x 32,000 x 32,000": lambda: gzip.compress(nifti(32_000)),
    "nii.gz that unpacks to 512 MB": lambda: gzip.compress(nifti(645, behind=2**29), 1),
    "nii.gz whose data begin behind 256 MB": lambda: gzip.compress(nifti(4, 2.0**28, 2**28), 1),
    "npy of 4 x 10^18 voxels": lambda: shaped("(2000000, 2000000, 1000000)"),
    "dicom of 65,535 x 65,535": lambda: dicom("MR_small.dcm", 65_535),
    "dicom in RLE of 8,000 x 8,000": lambda: dicom("MR_small_RLE.dcm", 8_000),
    "dicom in JPEG 2000 of 8,000 x 8,000": lambda: dicom("MR_small_jp2klossless.dcm", 8_000),
    "dicom that unpacks to 256 MB": lambda: deflated(2**28),
}
TABLES: dict[str, Callable[[], bytes]] = {
    "jsonl of deep lists": lambda: b'{"x": ' + b"[" * 10**6 + b"]" * 10**6 + b"}\n",
    "jsonl of deep objects": lambda: b'{"x": ' * 10**6 + b"1" + b"}" * 10**6 + b"\n",
    "jsonl of a null": lambda: b"null\n",
    "jsonl of a null after a mark and a space": lambda: b'\xef\xbb\xbf \r\n null: {"x": 1}\n',
    "jsonl of a null far behind": lambda: (
        b'{"x": 1}\n' * (2**24 // 9) + b'{"x":   1}\n{"x": 1}\n' + b"null\n" * 9
    ),
    "jsonl of lists that never end": lambda: b'{"x": 1}\n{"x": ' + b"[" * 10**7,
}
STATES: dict[str, Callable[[], bytes]] = {
    "state of deep lists": lambda: b"[" * 10**6,
    "state of a long number": lambda: b'{"format": ' + b"9" * 10**6 + b"}",
    "state of a large number": lambda: (
        b'{"format": 1, "fields": {"x": {"kind": "Numeric", "columns": ["x"], "learned": {"mean": [0], '
        b'"deviation": [1' + b"0" * 400 + b"]}}}}"
    ),
    "state of half a character": lambda: b'{"format": 1, "fields": {"x": "\\ud800"}}',
}
TOKENIZERS: dict[str, Callable[[], bytes]] = {
    "tokenizer of a large id": lambda: word_level(2**32 - 2),
    "tokenizer of an id above int32": lambda: word_level(2**31),
    "tokenizer of deep lists": lambda: b"[" * 10**6,
}
# Each as large as may be read, or as large as it takes.
MEGABYTE = 2**20
METADATA: dict[str, tuple[str, Callable[[], bytes]]] = {
    "json of deep lists": ("json", lambda: b'{"x": ' + b"[" * (MEGABYTE - 9)),
    "json of a long number": ("json", lambda: b'{"x": ' + b"9" * (MEGABYTE - 9) + b"}"),
    "json of many lists": ("json", lambda: b'{"x": [' + b"[]," * (MEGABYTE // 3 - 9) + b'[1]], "x": 1}'),
    "json of many numbers": ("json", lambda: b'{"x": [' + b"1," * (MEGABYTE // 2 - 9) + b"{}]}"),
    "json of 2 MB": ("json", lambda: b'{"x": "' + bytes(2 * MEGABYTE) + b'"}'),
    "yaml of billions of laughs": (
        "yaml",
        lambda: (
            b"a: &a [x,x,x,x,x,x,x,x,x]\n"
            + b"".join(
                b"%c: &%c [%s]\n" % (98 + each, 98 + each, b",".join([b"*%c" % (97 + each)] * 9))
                for each in range(12)
            )
        ),
    ),
    "yaml of deep lists": ("yaml", lambda: b"[" * MEGABYTE),
    "yaml of deep blocks": ("yaml", lambda: b"- " * (MEGABYTE // 2)),
    "yaml of many numbers": ("yaml", lambda: b"x: [" + b"1," * (MEGABYTE // 2 - 9) + b"{}]"),
    "yaml of a long number": ("yaml", lambda: b"x: " + b"9" * (MEGABYTE - 9)),
    "yaml of many aliases": ("yaml", lambda: b"x: &x {}\ny: [" + b"*x," * (MEGABYTE // 3 - 9) + b"]"),
    "literal of deep lists": ("literal", lambda: b"{'x': " + b"[" * (MEGABYTE - 9)),
    "literal of many signs": ("literal", lambda: b"{'x': " + b"-" * (MEGABYTE - 9)),
    "literal of a long sum": ("literal", lambda: b"{'x': 1" + b"+1" * (MEGABYTE // 2 - 9) + b"}"),
    "literal of many attributes": ("literal", lambda: b"{'x': 1" + b".a" * (MEGABYTE // 2 - 9) + b"}"),
    "literal of many numbers": ("literal", lambda: b"{'x': [" + b"1," * (MEGABYTE // 2 - 9) + b"{}]}"),
    "literal of half as many": ("literal", lambda: b"{'x': [" + b"1," * (MEGABYTE // 4 - 9) + b"{}]}"),
    "literal of strings without end": ("literal", lambda: b"'" * (MEGABYTE - 1)),
    "literal of a power": ("literal", lambda: b"{'x': 9**9**9**9}"),
    "literal of a long text": ("literal", lambda: b"{'x': 'x' * 10**12}"),
}
SOUNDS: dict[str, Callable[[], bytes]] = {
    "wav of 4 GB": lambda: patched(content := sound("WAV"), content.find(b"data") + 4, "<I", 2**32 - 2),
    "rf64 of 2^63 bytes": lambda: patched(
        content := sound("RF64"), content.find(b"ds64") + 16, "<Q", 2**63
    ),
    "wav of 4,294,967,295 frames a second": lambda: patched(sound("WAV"), 24, "<I", 2**32 - 1),
    "wav of 65,535 channels": lambda: patched(sound("WAV"), 22, "<H", 65_535),
    "wav of 10,000 chunks": lambda: bytes(sound("WAV")[:36]) + b"none\0\0\0\0" * 10_000,
    "flac of 2^36 frames": lambda: flac_claiming(2**36 - 1),
    "aiff": lambda: bytes(sound("AIFF")),
    "mp3": lambda: bytes(sound("MP3")),
}
VIDEOS: dict[str, Callable[[], bytes]] = {
    "mp4 of 2^28 samples of a byte": lambda: mp4_claiming(2**28),
    "mp4 of 2^31 sizes": lambda: mp4_claiming(2**31, size=0),
    "mp4 of a fragment of 2^28 samples": lambda: fragment_claiming(2**28),
    "mp4 of 200,000 boxes": lambda: bytes(film("mp4", "libx264")) + b"\0\0\0\x08free" * 200_000,
    "mp4 of boxes in boxes": lambda: (
        bytes(film("mp4", "libx264")[:32])
        + b"".join(struct.pack(">I4s", 8 * (10_000 - each), b"moov") for each in range(10_000))
    ),
    "webm of 16,383 x 16,383": lambda: vp8_claiming(16_383),
    "playlist": lambda: b"#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    "list of files": lambda: b"ffconcat version 1.0\nfile /etc/passwd\n",
    "avi": lambda: bytes(film("avi", "mpeg4")),
}
# Files with holes: they take no room.
HOLES = {
    "npy of 100 GB": "x.npy", "image of 100 GB": "x.png", "state of 100 GB": "x.json",
    "metadata of 100 GB": "x.meta",
}  # fmt: skip
BOMBS = {
    **{name: make for name, (_, make) in STORES.items()},
    **IMAGES, **RASTERS, **ARRAYS, **ARCHIVES, **VOLUMES, **SOUNDS, **VIDEOS, **TABLES, **STATES,
    **TOKENIZERS,
    **{name: make for name, (_, make) in METADATA.items()},
}  # fmt: skip


def read(name: str, folder: Path) -> object:
    """Read a bomb in the way that its kind is read."""
    if name in HOLES:
        path = folder / HOLES[name]
        with path.open("wb") as file:
            file.truncate(100 * 2**30)
    else:
        end = ".jsonl" if name in TABLES else STORES[name][0] if name in STORES else ".bin"
        suffix, _, member = end.partition("::")
        path = folder / f"bomb{suffix}"
        path.write_bytes(BOMBS[name]())
    limited()
    if name in TABLES:
        return mf.Dataset(path, inputs=mf.Numeric("x"))
    if name in METADATA or path.suffix == ".meta":
        return mf.metadata(path, format=METADATA.get(name, ("json",))[0])
    if name in STATES or path.suffix == ".json":
        return mf.Dataset({"x": [1.0]}, inputs=mf.Numeric("x", normalize=True)).load_state(path)
    if name in TOKENIZERS:
        return mf.Text("x", 4, tokenizer=path)
    if name in IMAGES or path.suffix == ".png":
        return mf.Dataset({"x": [str(path)]}, inputs=mf.Image("x", 8, max_pixels=2**24))[0]
    if name in RASTERS:
        field = mf.Raster("x", 1, size=8, dtype="uint8", nodata=1)
        return mf.Dataset({"x": [str(path)]}, inputs=field)[0]
    if name in STORES:
        field = mf.Array("x", (4, 4), member=member or None)
        return mf.Dataset({"x": [str(path)]}, inputs=field)[0]
    if name in VOLUMES:
        return mf.Dataset({"x": [str(path)]}, inputs=mf.Volume("x", 4, max_bytes=2**28))[0]
    if name in SOUNDS:
        # Its end, so that it does not help that there is a beginning.
        field = mf.Audio("x", rate=8_000, length=100, truncating="pre")
        return mf.Dataset({"x": [str(path)]}, inputs=field)[0]
    if name in VIDEOS:
        return mf.Dataset({"x": [str(path)]}, inputs=mf.Video("x", 3, 16, max_pixels=2**20))[0]
    if name in ARCHIVES:
        return mf.Dataset({"x": [f"{path}::x"]}, inputs=mf.Array("x", (4, 4)))[0]
    return mf.Dataset({"x": [str(path)]}, inputs=mf.Array("x", (None, 4), pad_to=4))[0]


def limited() -> None:
    """Take away all memory but a little."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + ADDRESSES, mapped + ADDRESSES))
    # The highest mark so far includes what it took to make the bomb: from here on it is measured anew.
    Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    """Return the most memory that this process has had."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def child(name: str, folder: Path) -> None:
    """Read a bomb, and print what came of it."""
    warnings.simplefilter("ignore")
    signal.alarm(TIMEOUT_S)
    said, ended, before = None, "read", peak_bytes()
    begin = time.process_time()
    try:
        read(name, folder)
    except MultifeedError as error:
        said, ended = str(error), type(error).__name__
    except BaseException as error:
        said, ended = repr(error), "something else"
    seconds = time.process_time() - begin
    told = {"said": said, "ended": ended, "growth": peak_bytes() - before, "seconds": seconds}
    print(json.dumps({"name": name, **told}), flush=True)


def main(folder: str) -> None:
    """Read all bombs, one after the other."""
    # What is imported when it is first named had better be there before it is measured.
    _ = mf.Array, mf.Audio, mf.Dataset, mf.Image, mf.Numeric, mf.Raster, mf.Text, mf.Video, mf.Volume
    _ = google_crc32c, soxr, yaml
    for name in (*BOMBS, *HOLES):
        number = os.fork()
        if not number:
            child(name, Path(folder))
            os._exit(0)
        _, status = os.waitpid(number, 0)
        if status:
            print(json.dumps({"name": name, "ended": f"status {status}"}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
