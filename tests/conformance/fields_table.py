"""Every kind of field, declared in all the ways that read differently: a new field is one more entry."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import av
import h5py
import nibabel
import numpy as np
import pyarrow as pa
import pydicom
import rasterio
import scipy.io
import simplejpeg
import soundfile
import zarr
from PIL import Image as PILImage
from skimage import data as photographs
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import BertProcessing

import multifeed as mf
from multifeed.fields.base import Field
from multifeed.fields.weight import Ones, Weight

COUNT = 7
KEYS = [f"k{number}" for number in range(COUNT)]

Columns = dict[str, Any]


@dataclass(frozen=True)
class Example:
    """A field, and rows that it can read.

    Args:
        name: What tests call it.
        field: The declaration.
        columns: Function of a folder that returns the columns; it may write files to the folder.
        file: The column of file names, where the field reads files.
        nullable: Whether the field reads one column that could have nulls.
        is_plain: Whether any text is such a file, so that one that was cut or exchanged cannot be told.
        is_measured: Whether it is left to the headers of the files what a sample is.
    """

    name: str
    field: Field
    columns: Callable[[Path], Columns]
    file: str | None = None
    nullable: bool = True
    is_plain: bool = False
    is_measured: bool = False

    def dataset(self, folder: Path, **options: Any) -> mf.Dataset:
        """Return a dataset of this field alone, ready to be read."""
        return self.declare(self.columns(folder), folder, **options)

    def declare(self, columns: Columns, folder: Path, **options: Any) -> mf.Dataset:
        """Return a dataset of this field over columns that were built before."""
        inputs = {"x": options.pop("field", self.field)} | options.pop("more", {})
        is_adapted = options.pop("adapt", True)
        options = {"root": folder} | options
        data = mf.Dataset({"id": KEYS, **columns}, inputs=inputs, key="id", **options)
        if is_adapted:
            data.adapt()
        return data


@cache
def patches(mode: str = "RGB") -> list[np.ndarray]:
    """Return small pieces of a photograph, of several sizes."""
    picture = np.asarray(PILImage.fromarray(photographs.coffee()).convert(mode))
    return [
        np.ascontiguousarray(picture[20 * number :, 30 * number :][: 40 + 5 * number, : 60 - 3 * number])
        for number in range(COUNT)
    ]


def encoded(image: np.ndarray, kind: str) -> bytes:
    """Return an image as the content of a file."""
    if kind == "JPEG":
        grey = image.ndim == 2
        pixels = image[:, :, None] if grey else image
        return simplejpeg.encode_jpeg(pixels, quality=95, colorspace="GRAY" if grey else "RGB")
    stream = io.BytesIO()
    PILImage.fromarray(image).save(stream, kind)
    return stream.getvalue()


def image_files(folder: Path, *, kind: str = "JPEG", mode: str = "RGB") -> Columns:
    """Write an image for each row."""
    names = [f"image{number}.{kind.lower()}" for number in range(COUNT)]
    for name, image in zip(names, patches(mode), strict=True):
        (folder / name).write_bytes(encoded(image, kind))
    return {"file": names}


def image_bytes(folder: Path) -> Columns:
    """Return an encoded image for each row."""
    return {"image": [encoded(image, "PNG") for image in patches()]}


def label_maps(folder: Path) -> Columns:
    """Write a map of four labels for each row."""
    names = [f"mask{number}.png" for number in range(COUNT)]
    for number, name in enumerate(names):
        labels = np.random.default_rng(number).integers(0, 4, (40, 60), np.uint8) * 60
        (folder / name).write_bytes(encoded(labels, "PNG"))
    return {"file": names}


def raster_files(
    folder: Path,
    *,
    bands: int = 12,
    dtype: str = "uint16",
    size: tuple[int, int] | None = None,
    mask: bool = False,
    **options: Any,
) -> Columns:
    """Write a GeoTIFF of a piece of a photograph for each row, of several sizes."""
    names = [f"raster{number}.tif" for number in range(COUNT)]
    for number, (name, whole) in enumerate(zip(names, patches("L"), strict=True)):
        height, width = size or whole.shape
        picture = whole[:height, :width]
        values = np.stack([picture * (1 + band) + number for band in range(bands)]).astype(dtype)
        with rasterio.open(
            folder / name, "w", driver="GTiff", height=height, width=width, count=bands, dtype=dtype,
            transform=rasterio.Affine.scale(10), **options,
        ) as file:  # fmt: skip
            file.write(values)
            if mask:
                file.write_mask(picture > 60)
    return {"file": names}


def raster_windows(folder: Path) -> Columns:
    """Write rasters of one size, and say which part of each is a sample: of one, the last pixels."""
    columns = raster_files(folder, bands=3, dtype="int16", size=(40, 42), compress="lzw", blockysize=8)
    corners = [(2 * number, number) for number in range(COUNT)]
    corners[3] = (24, 30)
    down, across = map(list, zip(*corners, strict=True))
    return columns | {"row": down, "column": across, "height": [16] * COUNT, "width": [12] * COUNT}


def npy_files(folder: Path, *, dtype: str = "float32", ragged: bool = False) -> Columns:
    """Write an array for each row."""
    names = [f"array{number}.npy" for number in range(COUNT)]
    for number, name in enumerate(names):
        length = 2 + 2 * number if ragged else 5
        values = np.random.default_rng(number).integers(0, 250, (length, 3)).astype(dtype)
        np.save(folder / name, np.asfortranarray(values) if number % 2 else values)
    return {"file": names}


def npz_files(folder: Path) -> Columns:
    """Write an archive of two arrays for each row."""
    names = [f"array{number}.npz" for number in range(COUNT)]
    for number, name in enumerate(names):
        values = np.random.default_rng(number).random((5, 3), np.float32)
        pack = np.savez_compressed if number % 2 else np.savez
        pack(folder / name, other=np.arange(9), scan=values)
    return {"file": [f"{name}::scan" for name in names]}


def text_files(folder: Path, *, encoding: str = "utf-8") -> Columns:
    """Write a text for each row."""
    names = [f"text{number}.txt" for number in range(COUNT)]
    for name, words in zip(names, TEXTS, strict=True):
        (folder / name).write_bytes(f"{words}\n".encode(encoding))
    return {"file": names}


def array(number: int, length: int = 5) -> np.ndarray:
    """Return a small array, another one for each number."""
    return np.random.default_rng(number).integers(0, 250, (length, 3)).astype(np.float32)


def hdf5_files(folder: Path, *, length: int = 5, **options: Any) -> Columns:
    """Write an HDF5 file for each row."""
    names = [f"array{number}.h5" for number in range(COUNT)]
    for number, name in enumerate(names):
        with h5py.File(folder / name, "w") as file:
            file.create_dataset("group/scan", data=array(number, length), **options)
    return {"file": [f"{name}::group/scan" for name in names]}


def zarr_stores(folder: Path, *, suffix: str = ".zip", **options: Any) -> Columns:
    """Write a Zarr store for each row."""
    names = [f"array{number}{suffix}" for number in range(COUNT)]
    for number, name in enumerate(names):
        path = folder / name
        store = path if suffix == ".zarr" else zarr.storage.ZipStore(path, mode="w")
        stored = zarr.create_group(store, overwrite=suffix == ".zarr", **options).create_array(
            "scan", shape=(5, 3), chunks=(2, 3), dtype="float32"
        )
        stored[...] = array(number)
        if suffix == ".zip":
            store.close()
    return {"file": [f"{name}::scan" for name in names]}


def mat_files(folder: Path) -> Columns:
    """Write a .mat file for each row."""
    names = [f"array{number}.mat" for number in range(COUNT)]
    for number, name in enumerate(names):
        scipy.io.savemat(folder / name, {"scan": array(number)}, do_compression=number % 2 == 0)
    return {"file": [f"{name}::scan" for name in names]}


def csv_files(folder: Path) -> Columns:
    """Write lines of numbers for each row, some below a header."""
    names = [f"array{number}.csv" for number in range(COUNT)]
    for number, name in enumerate(names):
        header = "a,b,c\n" if number % 2 else ""
        text = "".join(",".join(map(str, line)) + "\n" for line in array(number).tolist())
        (folder / name).write_text(header + text.removesuffix("0\n") + "0")
    return {"file": names}


def windows_of(columns: Columns) -> Columns:
    """Return the same arrays, of which rows are read that differ from row to row."""
    return {**columns, "start": range(COUNT), "stop": [number + 4 for number in range(COUNT)]}


def shared_lists(folder: Path) -> Columns:
    """Return windows of two series in memory."""
    series = pa.array([list(range(9)), list(range(20, 32))])
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0, 1, 1, 0, 1], pa.int32()), series)
    return (
        windows_of({"values": column})
        | {"start": [0, 1, 5, 8, 3, 2, 0]}
        | {"stop": [4, 5, 9, 12, 7, 6, 4]}
    )


def nifti_files(
    folder: Path, *, suffix: str = ".nii", dtype: str = "int16", alike: bool = False, axes: int = 3
) -> Columns:
    """Write a volume for each row: oblique, and stored towards the left."""
    names = [f"volume{number}{suffix}" for number in range(COUNT)]
    affine = np.array([[-2, 0.1, 0, 9], [0.1, 1.5, -0.2, -8], [0, 0.2, 3, 1], [0, 0, 0, 1.0]])
    for number, name in enumerate(names):
        longer = 0 if alike else number
        shape = (7 + longer, 9, 5 + longer // 2, 2)[:axes]
        random = np.random.default_rng(number)
        values = random.integers(0, 200, shape).astype(dtype)
        nibabel.save(nibabel.Nifti1Image(values, affine), folder / name)
    return {"file": names}


def volume_arrays(folder: Path) -> Columns:
    """Write a volume for each row, of four axes."""
    names = [f"volume{number}.npy" for number in range(COUNT)]
    for number, name in enumerate(names):
        values = np.random.default_rng(number).random((6, 5 + number, 7, 2), np.float32)
        np.save(folder / name, np.asfortranarray(values) if number % 2 else values)
    return {"file": names}


def patches_of_volumes(folder: Path) -> Columns:
    """Write volumes, and say where a patch of each begins, which may be outside."""
    columns = nifti_files(folder)
    places = [[-1, 0, 2, 1, 3, 5, 2], [0, 2, 4, 6, 8, -2, 3], [0, 1, 2, 3, 4, 1, 0]]
    return columns | {f"patch_{axis}": place for axis, place in enumerate(places)}


def dicom_series(folder: Path) -> Columns:
    """Write a folder of three slices for each row, with a file that is none."""
    packaged = Path(pydicom.data.get_testdata_file("CT_small.dcm")).parent
    slices = sorted((packaged / "dicomdirtests/98892001/CT5N").iterdir())[:3]
    for number in range(COUNT):
        series = folder / f"series{number}"
        series.mkdir(parents=True, exist_ok=True)
        (series / "notes.txt").write_text("a CT")
        for place, each in enumerate(slices):
            found = pydicom.dcmread(each)
            found.PixelData = (found.pixel_array + np.int16(10 * number)).tobytes()
            found.save_as(series / f"{(place + number) % 3}")
    return {"series": [f"series{number}" for number in range(COUNT)]}


@cache
def sounds(kind: str) -> list[bytes]:
    """Return chords of two channels, each of another length and rate, as files."""
    found = []
    for number, rate in zip(range(COUNT), (8_000, 11_025, 16_000, 44_100) * 2, strict=False):
        time = np.arange(int(rate * (0.1 + 0.03 * number))) / rate
        chord = [np.sin(2 * math.pi * hertz * time) for hertz in (440 + 30 * number, 660)]
        stream = io.BytesIO()
        soundfile.write(stream, 0.5 * np.stack(chord, axis=1), rate, format=kind)
        found.append(stream.getvalue())
    return found


@cache
def films(kind: str, coding: str) -> list[bytes]:
    """Return short videos of a photograph that moves, each of another length and size, as files."""
    picture = np.ascontiguousarray(photographs.coffee()[::8, ::8])
    found = []
    for number in range(COUNT):
        stream = io.BytesIO()
        with av.open(stream, "w", format=kind) as film:
            video = film.add_stream(coding, rate=10)
            video.width, video.height, video.gop_size = 72 - 2 * number, 48, 4
            video.pix_fmt, video.codec_context.thread_count = "yuv420p", 1
            for place in range(5 + number):
                pixels = np.roll(picture, 4 * place + number, axis=1)[:48, : video.width]
                film.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels))))
            film.mux(video.encode())
        found.append(stream.getvalue())
    return found


def recordings(folder: Path, contents: Callable[[], list[bytes]], **bounds: Any) -> Columns:
    """Write a recording for each row, and return columns of where its samples start and stop as well."""
    names = [f"recording{number}" for number in range(COUNT)]
    for name, content in zip(names, contents(), strict=True):
        (folder / name).write_bytes(content)
    return {"file": names, **bounds}


def recorded(folder: Path, contents: Callable[[], list[bytes]]) -> Columns:
    """Return a recording for each row as bytes."""
    return {"recording": contents()}


def memory(values: Any) -> Callable[[Path], Columns]:
    """Return a builder of one column that is in memory."""
    return lambda folder: {"values": values}


def memmap(folder: Path, *, order: str = "C") -> Columns:
    """Write one array of all rows, and map it."""
    values = np.random.default_rng(0).integers(0, 256, (COUNT, 4, 5), np.uint8)
    np.save(folder / "all.npy", np.asarray(values, order=order))
    return {"values": np.load(folder / "all.npy", mmap_mode="r")}


def lists(lengths: list[int]) -> pa.Array:
    """Return lists of integers."""
    return pa.array([list(range(10 * row, 10 * row + length)) for row, length in enumerate(lengths)])


def columns_of(**columns: Any) -> Callable[[Path], Columns]:
    """Return a builder of several columns that are in memory."""
    return lambda folder: columns


def halved(sample: np.ndarray) -> np.ndarray:
    """Return every other row, in floats: a preprocess that changes shape and dtype."""
    return sample[::2] / 2


def spread(number: int, row: np.ndarray) -> np.ndarray:
    """Return a row times a number: a function of two columns."""
    return row * number


def doubled(number: float) -> float:
    """Return twice a number: a function of one column."""
    return 2 * number


def tokenizer() -> Tokenizer:
    """Return a tokenizer of words that adds special tokens, as that of BERT does."""
    special = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3}
    words = {word: number for number, word in enumerate(["pain", "fever", "no", "."], len(special))}
    found = Tokenizer(WordLevel(special | words, unk_token="[UNK]"))
    found.normalizer = Lowercase()
    found.pre_tokenizer = BertPreTokenizer()
    found.post_processor = BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    found.add_special_tokens(list(special))
    return found


TEXTS = ["No pain.", "", "Fever, fever and pain; no more.", "pain", "?!", "No fever.", "é 中 ع हिन्दी"]
NUMBERS = np.linspace(-3.0, 7.5, COUNT)
TENSORS = np.arange(COUNT * 6, dtype=np.int64).reshape(COUNT, 2, 3)
RAGGED = lists([3, 0, 5, 9, 1, 4, 2])

EXAMPLES = [
    Example("image", mf.Image("file", size=(24, 32)), image_files, "file"),
    Example(
        "image-float-base-gray",
        mf.Image(
            "file",
            size=(9, 12),
            base_size=(18, 20),
            color_mode="grayscale",
            dtype="float32",
            scale=1 / 255,
        ),
        image_files,
        "file",
    ),
    Example(
        "image-padded-rgba",
        mf.Image("file", size=(16, 40), color_mode="rgba", pad_to_aspect_ratio=True, antialias=True),
        partial(image_files, kind="PNG"),
        "file",
    ),
    Example(
        "image-cropped-webp",
        mf.Image("file", size=15, crop_to_aspect_ratio=True, dtype="float16"),
        partial(image_files, kind="WEBP"),
        "file",
    ),
    Example("image-gif", mf.Image("file", size=20), partial(image_files, kind="GIF", mode="P"), "file"),
    Example(
        "image-tiff-cmyk", mf.Image("file", 20), partial(image_files, kind="TIFF", mode="CMYK"), "file"
    ),
    Example("image-jpeg2000", mf.Image("file", 20), partial(image_files, kind="JPEG2000"), "file"),
    Example("image-bmp", mf.Image("file", 70), partial(image_files, kind="BMP"), "file"),
    Example(
        "image-gray-jpeg", mf.Image("file", 20), partial(image_files, kind="JPEG", mode="L"), "file"
    ),
    Example(
        "image-labels",
        mf.Image("file", size=(25, 7), color_mode="grayscale", interpolation="nearest"),
        label_maps,
        "file",
    ),
    Example("image-preprocessed", mf.Image("file", 20, preprocess=halved), image_files, "file"),
    Example("image-bytes", mf.Image("image", size=16), image_bytes),
    Example(
        "raster",
        mf.Raster("file", bands=range(1, 13), size=(20, 24), dtype="uint16", nodata=9),
        partial(raster_files, nodata=80, compress="deflate", tiled=True, blockxsize=16, blockysize=16),
        "file",
    ),
    Example(
        "raster-labels",
        mf.Raster("file", bands=1, size=31, interpolation="nearest", dtype="uint8"),
        partial(raster_files, bands=1, dtype="uint8", compress="packbits"),
        "file",
    ),
    Example(
        "raster-float-base",
        mf.Raster("file", [2, 1], 12, nodata=-1, base_size=(18, 20), scale=1 / 255),
        partial(raster_files, bands=2, dtype="float32", nodata=70, ENDIANNESS="BIG", interleave="band"),
        "file",
    ),
    Example(
        "raster-masked",
        mf.Raster("file", [1, 5], 16, nodata=0, dtype="int32"),
        partial(raster_files, bands=5, dtype="uint8", mask=True),
        "file",
    ),
    Example(
        "raster-preprocessed",
        mf.Raster("file", 1, 20, dtype="uint8", preprocess=halved),
        partial(raster_files, bands=1, dtype="uint8"),
        "file",
    ),
    Example(
        "raster-windows",
        mf.Raster("file", (1, 2, 3), window=("row", "column", "height", "width"), dtype="int16"),
        raster_windows,
        "file",
        nullable=False,
    ),
    Example("numeric", mf.Numeric("values"), memory(NUMBERS)),
    Example(
        "numeric-normalized",
        mf.Numeric(["a", "b*"], normalize=True, missing="mean"),
        columns_of(a=NUMBERS, b1=[1, None, 3, 4, 5, 6, 7], b2=pa.array([True] * COUNT)),
        nullable=False,
    ),
    Example("category", mf.Category("values"), memory(["b", "a", "c", "a", "b", "c", "a"])),
    Example(
        "category-one-hot", mf.Category("values", one_hot=True, oov=True), memory([3, 1, 2, 3, 1, 2, 3])
    ),
    Example(
        "category-given",
        mf.Category("values", vocabulary=[False, True]),
        memory(np.array([True, False] * 3 + [True])),
    ),
    Example("array", mf.Array("values"), memory(TENSORS), nullable=False),
    Example("array-reshaped", mf.Array("values", (3, 2), scale=0.5), memory(TENSORS), nullable=False),
    Example(
        "array-padded", mf.Array("values", pad_to=5, padding="pre"), memory(TENSORS), nullable=False
    ),
    Example("array-foreign", mf.Array("values"), memory(TENSORS.astype(">f8")), nullable=False),
    Example("array-scalar", mf.Array("values"), memory([1, 2, 3, 4, 5, 6, 7])),
    Example("array-memmap", mf.Array("values"), memmap, nullable=False),
    Example("array-memmap-fortran", mf.Array("values"), partial(memmap, order="F"), nullable=False),
    Example(
        "array-preprocessed", mf.Array("values", preprocess=halved), memory(TENSORS), nullable=False
    ),
    Example(
        "array-columns",
        mf.Array("pixel*", (2, 2), dtype="uint8"),
        columns_of(pixel0=range(7), pixel1=np.arange(7), pixel2=[1, 2, 3] * 2 + [1], pixel3=[9] * 7),
        nullable=False,
    ),
    Example("array-lists", mf.Array("values", (2, 2)), memory(lists([4] * COUNT))),
    Example("array-ragged", mf.Array("values", pad_to=4, truncating="pre"), memory(RAGGED)),
    Example(
        "array-fixed-lists",
        mf.Array("values"),
        memory(pa.FixedSizeListArray.from_arrays(pa.array(np.arange(2.0 * COUNT)), 2)),
    ),
    Example(
        "array-tensors",
        mf.Array("values"),
        memory(pa.FixedShapeTensorArray.from_numpy_ndarray(TENSORS.astype(np.float32))),
    ),
    Example("array-npy", mf.Array("file", (5, 3)), npy_files, "file"),
    Example(
        "array-npy-ragged",
        mf.Array("file", (None, 3), pad_to=6, dtype="int32"),
        partial(npy_files, dtype="int64", ragged=True),
        "file",
    ),
    Example(
        "array-npy-preprocessed",
        mf.Array("file", (5, 3), dtype="uint8", preprocess=halved),
        partial(npy_files, dtype="uint8"),
        "file",
    ),
    Example("array-npz", mf.Array("file", (5, 3)), npz_files, "file"),
    Example("array-hdf5", mf.Array("file", (5, 3)), hdf5_files, "file"),
    Example(
        "array-hdf5-chunks",
        mf.Array("file", (None, 3), pad_to=4, truncating="pre", dtype="uint8"),
        partial(hdf5_files, chunks=(2, 2), compression="gzip", shuffle=True, fletcher32=True),
        "file",
    ),
    Example("array-zarr-zip", mf.Array("file", (5, 3)), zarr_stores, "file"),
    Example("array-zarr-2", mf.Array("file", (5, 3)), partial(zarr_stores, zarr_format=2), "file"),
    Example("array-zarr", mf.Array("file", (5, 3)), partial(zarr_stores, suffix=".zarr")),
    Example("array-mat", mf.Array("file", (5, 3)), mat_files, "file"),
    Example("array-csv", mf.Array("file", (5, 3)), csv_files, "file"),
    Example(
        "array-windows",
        mf.Array("file", (4, 3)),
        lambda folder: windows_of(hdf5_files(folder, length=12)),
        "file",
        nullable=False,
    ),
    Example("array-windows-lists", mf.Array("values", (4,)), shared_lists, nullable=False),
    Example(
        "array-nested-lists",
        mf.Array("values", (None, 2), pad_to=3),
        memory([[[row, item] for item in range(row)] for row in range(COUNT)]),
    ),
    Example(
        "audio-wav-stereo",
        mf.Audio("file", rate=8_000, length=1_500, mono=False, channels=2),
        partial(recordings, contents=partial(sounds, "WAV")),
        "file",
    ),
    Example(
        "audio-flac",
        mf.Audio("file", rate=8_000, length=2_500, preprocess=halved),
        partial(recordings, contents=partial(sounds, "FLAC")),
        "file",
    ),
    Example(
        "audio-ogg-spectrogram",
        mf.Audio("file", 8_000, 1_000, truncating="pre", spectrogram=mf.Spectrogram(n_fft=200, mels=16)),
        partial(recordings, contents=partial(sounds, "OGG")),
        "file",
    ),
    Example(
        "audio-segments",
        mf.Audio("file", rate=16_000, length=1_000),
        partial(
            recordings,
            contents=partial(sounds, "FLAC"),
            start=[0.0, 0.01, 0.05, 0, None, 0.1, 0],
            stop=[0.1, 0.02, None, 0.05, 0.15, None, 0.01],
        ),
        nullable=False,
    ),
    Example(
        "audio-bytes",
        mf.Audio("recording", 8_000, 1_500),
        partial(recorded, contents=partial(sounds, "OGG")),
    ),
    Example(
        "video-mp4",
        mf.Video("file", frames=4, size=(20, 24)),
        partial(recordings, contents=partial(films, "mp4", "libx264")),
        "file",
    ),
    Example(
        "video-webm-rate",
        mf.Video("file", frames=4, size=16, rate=7.5, preprocess=halved),
        partial(recordings, contents=partial(films, "webm", "libvpx-vp9")),
        "file",
    ),
    Example(
        "video-segments",
        mf.Video("file", 2, 16),
        partial(
            recordings,
            contents=partial(films, "mp4", "mpeg4"),
            start=[0.0, 0.2, 0.45, None, 0, 0.1, 0],
            stop=[0.1, 0.3, None, 0.3, 0.5, None, 0.01],
        ),
        nullable=False,
    ),
    Example(
        "video-bytes",
        mf.Video("recording", 3, 16),
        partial(recorded, contents=partial(films, "webm", "libvpx")),
    ),
    Example("text-words", mf.Text("values", 6), memory(TEXTS)),
    Example(
        "text-words-pre",
        mf.Text("values", 3, vocabulary_size=5, padding="pre", truncating="pre"),
        memory(pa.array(TEXTS).dictionary_encode()),
    ),
    Example("text-tokenizer", mf.Text("values", 5, tokenizer()), memory(TEXTS)),
    Example("text-preprocessed", mf.Text("values", 6, preprocess=halved), memory(TEXTS)),
    Example(
        "text-files", mf.Text("file", 6, tokenizer(), files=True), text_files, "file", is_plain=True
    ),
    Example(
        "text-files-utf-16",
        mf.Text("file", 5, tokenizer(), files=True, encoding="UTF-16"),
        partial(text_files, encoding="utf-16"),
        "file",
        is_plain=True,
    ),
    Example(
        "function",
        mf.Function(["number", "row"], spread, mf.Spec((2, 3), "int16"), interpolation="nearest"),
        columns_of(number=range(COUNT), row=TENSORS),
        nullable=False,
    ),
    Example("function-scalar", mf.Function("values", doubled), memory(NUMBERS)),
    Example("volume", mf.Volume("file", (6, 7, 4)), nifti_files, "file"),
    Example(
        "volume-spacing-window",
        mf.Volume("file", (9, 8, 6), (1.7, 2, 2.5), "SPL", (20, 180), dtype="uint8"),
        partial(nifti_files, suffix=".nii.gz"),
        "file",
    ),
    Example(
        "volume-base-float16",
        mf.Volume("file", 4, base_size=(5, 6, 7), channels=2, dtype="float16", missing="raise"),
        volume_arrays,
        "file",
    ),
    Example(
        "volume-labels",
        mf.Volume("file", (6, 12, 4), orientation=None, interpolation="nearest"),
        partial(nifti_files, dtype="uint8"),
        "file",
    ),
    Example(
        "volume-patch",
        mf.Volume("file", patch=(4, 5, 3), spacing=1.5, channels=2),
        partial(nifti_files, axes=4),
        "file",
    ),
    Example("volume-patches", mf.Volume("file", patch=(4, 5, 3)), patches_of_volumes, nullable=False),
    Example(
        "volume-preprocessed",
        mf.Volume("file", (6, 7, 4), dtype="int16", preprocess=halved),
        nifti_files,
        "file",
    ),
    Example(
        "volume-measured",
        mf.Volume("file"),
        partial(nifti_files, alike=True),
        "file",
        nullable=False,
        is_measured=True,
    ),
    Example("volume-dicom", mf.Volume("series", (9, 8, 4)), dicom_series),
    Example("weight", Weight("values"), memory(np.abs(NUMBERS))),
    Example("weight-ones", Ones(), memory(NUMBERS)),
]

FILE_EXAMPLES = [example for example in EXAMPLES if example.file]
