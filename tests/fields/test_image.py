"""`mf.Image`: what becomes of every kind of file, and what is said of those that cannot be used."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import simplejpeg
from PIL import Image as PILImage
from PIL import ImageOps
from skimage import data as photographs

import multifeed as mf
from multifeed.fields.resize import resize

ORIENTATION = 0x0112
REPLACE = "Replace the file, or leave the row out with data.select."


def file(image: PILImage.Image, kind: str, **options: Any) -> bytes:
    """Return an image as the content of a file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def read(content: bytes, size: Any, **options: Any) -> np.ndarray:
    """Return what `mf.Image` makes of a file's content."""
    return mf.Dataset({"image": [content]}, inputs=mf.Image("image", size, **options))[0][0]


def refused(content: bytes, **options: Any) -> str:
    """Return the reason why a file's content is refused."""
    with pytest.raises(mf.SampleError) as caught:
        read(content, 8, **options)
    start, end = "'image' of row 0 cannot be used: it ", ".\n  Row: 0."
    message = str(caught.value)
    assert message.startswith(start)
    assert end in message
    return message[len(start) : message.index(end)]


def photo(mode: str = "RGB") -> PILImage.Image:
    """Return a small photograph that looks different from every side."""
    return PILImage.fromarray(photographs.astronaut()[:90, 100:220]).convert(mode)


def grey(pixels: np.ndarray) -> np.ndarray:
    """Return ITU-R 601 luma."""
    return pixels[..., :3] @ np.array([299, 587, 114]) / 1000


def mean_difference(one: np.ndarray, other: np.ndarray) -> float:
    """Return by how much two images differ, of 255."""
    return float(abs(one.astype(float) - other).mean())


# Orientation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    """Lossless files come out as `PIL.ImageOps.exif_transpose` turns them."""
    exif = PILImage.Exif()
    exif[ORIENTATION] = orientation
    content = file(photo(), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    upright = np.asarray(ImageOps.exif_transpose(PILImage.open(io.BytesIO(content))))
    assert upright.shape == ((90, 120, 3) if orientation < 5 else (120, 90, 3))
    np.testing.assert_array_equal(read(content, upright.shape[:2]), upright)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [None, (20, 35), (9, 60)])
def test_exif_orientation_of_jpeg_is_applied(orientation: int, size: Any) -> None:
    """JPEGs too, also those that are decoded at a smaller scale."""
    exif = PILImage.Exif()
    exif[ORIENTATION] = orientation
    content = file(photo(), "JPEG", exif=exif, quality=95)
    upright = ImageOps.exif_transpose(PILImage.open(io.BytesIO(content)))
    size = size or (upright.height, upright.width)
    expected = np.asarray(upright.resize(size[::-1], PILImage.Resampling.BILINEAR))
    assert mean_difference(read(content, size), expected) < 3
    # Pillow decodes it exactly, but only the right way round is near.
    assert mean_difference(read(content, size)[::-1, ::-1], expected) > 20


def segment(marker: int, content: bytes) -> bytes:
    """Return a JPEG segment."""
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def exif_segment(orientation: int) -> bytes:
    """Return the JPEG segment of an EXIF block."""
    exif = PILImage.Exif()
    exif[ORIENTATION] = orientation
    return segment(0xE1, exif.tobytes())


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize(
    ("segments", "turned"),
    [
        (exif_segment(6), True),
        (segment(0xFE, b"a comment") + b"\xff\xff\xff" + exif_segment(6), True),
        (segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>") + exif_segment(6), True),
        (segment(0xFE, exif_segment(6)), False),  # a comment that holds such a segment
        (exif_segment(9), False),
        (segment(0xE1, b"Exif\0\0" + bytes(40)), False),
        (segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"), False),
        (segment(0xE1, b"Exif\0\0"), False),
        (b"", False),
    ],
)
def test_only_a_sound_exif_block_turns_a_jpeg(segments: bytes, turned: bool) -> None:
    """Wherever it stands among the segments; a damaged one says nothing about the pixels."""
    plain = simplejpeg.encode_jpeg(np.asarray(photo()), quality=95)
    content = plain[:2] + segments + plain[2:]
    expected = read(plain, (90, 120))
    if turned:
        expected = np.rot90(expected, -1)
    np.testing.assert_array_equal(read(content, expected.shape[:2]), expected)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_damaged_exif_block_of_a_png_is_ignored_too() -> None:
    """What is no orientation leaves the image as it is."""
    content = file(photo(), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    np.testing.assert_array_equal(read(content, (90, 120)), np.asarray(photo()))


# Modes ---------------------------------------------------------------------------------------------


def sixteen_bits() -> np.ndarray:
    """Return all the ways in which high and low bytes differ."""
    return np.random.default_rng(0).integers(0, 2**16, (90, 120), np.uint16)


def sixteen_bit_colours() -> np.ndarray:
    """Return 16-bit RGB, which Pillow cannot make."""
    return np.random.default_rng(1).integers(0, 2**16, (90, 120, 3), np.uint16)


def with_alpha(mode: str = "RGBA") -> PILImage.Image:
    """Return a photograph that is half transparent."""
    image = photo(mode[:-1] if mode != "RGBA" else "RGB")
    alpha = PILImage.fromarray((np.arange(90 * 120) % 256).astype(np.uint8).reshape(90, 120))
    image.putalpha(alpha)
    return image


def transparent_palette() -> tuple[bytes, np.ndarray]:
    """Return a palette image whose colours are more or less transparent, and its RGBA pixels."""
    image = photo().quantize(16)
    alphas = np.arange(0, 256, 17, np.uint8)
    content = file(image, "PNG", transparency=alphas.tobytes())
    return content, np.dstack([np.asarray(image.convert("RGB")), alphas[np.asarray(image)]])


def rgb_of(mode: str) -> np.ndarray:
    """Return what Pillow makes of a photograph by way of another mode."""
    return np.asarray(photo(mode).convert("RGB"))


def opaque(pixels: np.ndarray) -> np.ndarray:
    """Return pixels with an alpha of 255."""
    return np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])


def threefold(pixels: np.ndarray) -> np.ndarray:
    """Return grey as RGB."""
    return np.dstack([pixels] * 3)


HIGH = (sixteen_bits() >> 8).astype(np.uint8)
HIGHS = (sixteen_bit_colours() >> 8).astype(np.uint8)
PALETTE, PALETTE_PIXELS = transparent_palette()
TAGGED_GREY = file(photo("L"), "PNG", transparency=int(np.asarray(photo("L"))[0, 0]))
BITS = np.asarray(photo("1")).astype(np.uint8) * 255
LOSSLESS = {
    "rgb": (file(photo(), "PNG"), opaque(np.asarray(photo()))),
    "rgba": (file(with_alpha(), "PNG"), np.asarray(with_alpha())),
    "rgba-webp": (
        file(with_alpha(), "WEBP", lossless=True, exact=True),
        np.asarray(with_alpha()),
    ),
    "grey": (file(photo("L"), "PNG"), opaque(threefold(np.asarray(photo("L"))))),
    "grey-alpha": (
        file(with_alpha("LA"), "PNG"),
        np.dstack([threefold(np.asarray(photo("L"))), np.asarray(with_alpha("LA"))[:, :, 1]]),
    ),
    "bits": (file(photo("1"), "PNG"), opaque(threefold(BITS))),
    "bits-tiff": (file(photo("1"), "TIFF", compression="group4"), opaque(threefold(BITS))),
    "palette": (file(photo().quantize(16), "PNG"), opaque(PALETTE_PIXELS[:, :, :3])),
    "palette-gif": (file(photo().quantize(16), "GIF"), opaque(PALETTE_PIXELS[:, :, :3])),
    "palette-alpha": (PALETTE, PALETTE_PIXELS),
    "16-bit-png": (file(PILImage.fromarray(sixteen_bits()), "PNG"), opaque(threefold(HIGH))),
    "16-bit-tiff": (file(PILImage.fromarray(sixteen_bits()), "TIFF"), opaque(threefold(HIGH))),
    "16-bit-pgm": (cv2.imencode(".pgm", sixteen_bits())[1].tobytes(), opaque(threefold(HIGH))),
    "16-bit-colour": (
        cv2.imencode(".png", sixteen_bit_colours()[:, :, ::-1])[1].tobytes(),
        opaque(HIGHS),
    ),
    "cmyk": (file(photo("CMYK"), "TIFF"), opaque(rgb_of("CMYK"))),
    "lab": (file(photo("LAB"), "TIFF"), opaque(rgb_of("LAB"))),
    "ycbcr": (file(photo("YCbCr"), "TIFF"), opaque(rgb_of("YCbCr"))),
    "bmp": (file(photo(), "BMP"), opaque(np.asarray(photo()))),
    "ppm": (file(photo(), "PPM"), opaque(np.asarray(photo()))),
    "jpeg-2000": (file(photo(), "JPEG2000", irreversible=False), opaque(np.asarray(photo()))),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", LOSSLESS)
@pytest.mark.parametrize("color_mode", ["rgb", "rgba", "grayscale"])
def test_every_kind_of_pixel_comes_to_each_color_mode(kind: str, color_mode: str) -> None:
    """By the rules of the docstring: alpha is dropped or 255, high bytes are kept, grey is luma."""
    content, rgba = LOSSLESS[kind]
    found = read(content, (90, 120), color_mode=color_mode)
    if color_mode == "grayscale":
        assert found.shape == (90, 120, 1)
        assert abs(found[:, :, 0] - grey(rgba.astype(float))).max() <= 1
    else:
        np.testing.assert_array_equal(found, rgba[:, :, : 3 if color_mode == "rgb" else 4])


def test_transparent_grey_is_transparent_in_rgba() -> None:
    """A shade that a PNG calls transparent has alpha 0."""
    shades = np.asarray(photo("L"))
    found = read(TAGGED_GREY, (90, 120), color_mode="rgba")
    np.testing.assert_array_equal(found[:, :, 3], np.where(shades == shades[0, 0], 0, 255))
    np.testing.assert_array_equal(found[:, :, 0], shades)
    np.testing.assert_array_equal(read(TAGGED_GREY, (90, 120)), threefold(shades))


def ycck() -> bytes:
    """Return a CMYK JPEG whose Adobe segment says that it is YCCK."""
    content = bytearray(file(photo("CMYK"), "JPEG", quality=95))
    place = content.index(b"Adobe")
    content[place + 11] = 2
    return bytes(content)


JPEGS = {
    "420": file(photo(), "JPEG", quality=95, subsampling="4:2:0"),
    "444": file(photo(), "JPEG", quality=95, subsampling="4:4:4"),
    "411": file(photo(), "JPEG", quality=95, subsampling="4:1:1"),
    "progressive": file(photo(), "JPEG", quality=95, progressive=True),
    "grey": file(photo("L"), "JPEG", quality=95),
    "rgb": file(photo(), "JPEG", quality=95, keep_rgb=True),
    "cmyk": file(photo("CMYK"), "JPEG", quality=95),
    "ycck": ycck(),
    "two-in-one": file(photo(), "MPO", quality=95, save_all=True, append_images=[photo("L")]),
}


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("color_mode", ["rgb", "rgba", "grayscale"])
def test_every_kind_of_jpeg_comes_to_each_color_mode(kind: str, color_mode: str) -> None:
    """As Pillow converts them, within what the fast transforms cost."""
    expected = np.asarray(PILImage.open(io.BytesIO(JPEGS[kind])).convert("RGB"))
    found = read(JPEGS[kind], (90, 120), color_mode=color_mode)
    if color_mode == "grayscale":
        assert found.shape == (90, 120, 1)
        assert mean_difference(found[:, :, 0], grey(expected.astype(float))) < 3
        return
    assert mean_difference(found[:, :, :3], expected) < 3.5
    if color_mode == "rgba":
        assert (found[:, :, 3] == 255).all()


def oddly_subsampled() -> bytes:
    """Return a grey JPEG of 64 x 96 pixels that has twice as much of its second channel."""
    # Three channels of one value and one code table: the blocks of 64 x 64 pixels may be dealt anew.
    plain = PILImage.new("RGB", (64, 64), (128, 128, 128))
    content = bytearray(file(plain, "JPEG", quality=95, keep_rgb=True))
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", 64, 96)
    content[frame + 14] = 0x21
    return bytes(content)


def test_unusual_subsampling_is_read() -> None:
    """A JPEG that libjpeg-turbo's API has no name for is left to Pillow."""
    content = oddly_subsampled()
    with pytest.raises(ValueError, match="subsampling"):
        simplejpeg.decode_jpeg_header(content)
    assert (read(content, (64, 96)) == 128).all()


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bit_images_are_refused(mode: str) -> None:
    """No one rule brings them to 8 bits, so the user has to."""
    content = file(photo("L").convert(mode), "TIFF")
    with pytest.raises(mf.SampleError) as caught:
        read(content, 8)
    assert str(caught.value) == (
        f"'image' of row 0 cannot be used: it is a 32-bit image (mode {mode}), which no one rule brings "
        "to 8 bits.\n"
        "  Row: 0.\n"
        "  Convert it to 8 or 16 bits, or save it as .npy and declare it as mf.Array."
    )


def test_the_first_of_several_frames_is_read() -> None:
    """Of an animation, or a TIFF of many pages, it is the first."""
    black = PILImage.new("RGB", photo().size)
    for kind in ("GIF", "TIFF", "PNG", "WEBP"):
        content = file(photo(), kind, save_all=True, append_images=[black])
        assert mean_difference(read(content, (90, 120)), np.asarray(photo())) < 10


def test_the_content_tells_the_format_not_the_name(tmp_path: Path) -> None:
    """A PNG that is called .jpg is a PNG."""
    (tmp_path / "x.jpg").write_bytes(file(photo(), "PNG"))
    data = mf.Dataset({"image": ["x.jpg"]}, inputs=mf.Image("image", (90, 120)), root=tmp_path)
    np.testing.assert_array_equal(data[0][0], np.asarray(photo()))


# Geometry ------------------------------------------------------------------------------------------


def ramp(height: int, width: int) -> np.ndarray:
    """Return an image whose channels tell row, column and nothing."""
    rows, columns = np.indices((height, width))
    return np.dstack([255 * rows / (height - 1), 255 * columns / (width - 1), 128 + 0 * rows]).astype(
        np.uint8
    )


@pytest.mark.parametrize(
    ("shape", "size", "window"),
    [
        ((60, 100), (30, 30), np.s_[:, 20:80]),
        ((100, 60), (30, 30), np.s_[20:80]),
        ((60, 100), (30, 60), np.s_[5:55]),
        ((60, 100), (30, 50), np.s_[:]),
        ((60, 100), (90, 90), np.s_[:, 20:80]),
        ((1, 100), (30, 30), np.s_[:, 49:50]),
    ],
)
def test_cropping_takes_the_largest_centred_window(
    shape: tuple[int, int], size: tuple[int, int], window: Any
) -> None:
    """What is kept is resized without distortion."""
    image = ramp(*shape) if min(shape) > 1 else ramp(2, 100)[:1]
    expected = np.empty((*size, 3), np.uint8)
    resize(np.ascontiguousarray(image[window]), expected, "bilinear")
    found = read(file(PILImage.fromarray(image), "PNG"), size, crop_to_aspect_ratio=True)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("shape", "size", "window"),
    [
        ((60, 100), (50, 50), np.s_[10:40]),
        ((100, 60), (50, 50), np.s_[:, 10:40]),
        ((60, 100), (30, 50), np.s_[:]),
        ((60, 100), (100, 200), np.s_[:, 16:183]),
        ((1, 100), (30, 30), np.s_[14:15]),
    ],
)
@pytest.mark.parametrize("color_mode", ["rgb", "rgba", "grayscale"])
def test_padding_fits_the_whole_image_in(
    shape: tuple[int, int], size: tuple[int, int], window: Any, color_mode: str
) -> None:
    """The image is centred between bars of zeros, transparent ones where there is alpha."""
    content = file(PILImage.fromarray(ramp(*shape) if min(shape) > 1 else ramp(2, 100)[:1]), "PNG")
    found = read(content, size, pad_to_aspect_ratio=True, color_mode=color_mode)
    inner = found[window]
    np.testing.assert_array_equal(inner, read(content, inner.shape[:2], color_mode=color_mode))
    inner[...] = 0
    assert not found.any()


def test_a_base_image_is_resized_in_turn() -> None:
    """`base_size` is the size that the file is brought to first."""
    content = file(photo(), "PNG")
    for interpolation in ("bilinear", "nearest"):
        base = read(content, (60, 70), interpolation=interpolation)
        expected = np.empty((20, 50, 3), np.uint8)
        resize(base, expected, interpolation)
        found = read(content, (20, 50), base_size=(60, 70), interpolation=interpolation)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("option", ["crop_to_aspect_ratio", "pad_to_aspect_ratio"])
@pytest.mark.parametrize("base_size", [(80, 80), (100, 60), (60, 120)])
def test_a_base_of_another_aspect_ratio_distorts_nothing_in_the_end(
    option: str, base_size: tuple[int, int]
) -> None:
    """The aspect ratio that counts is that of `size`."""
    content = file(PILImage.fromarray(ramp(90, 150)), "PNG")
    direct = read(content, (40, 40), **{option: True})
    by_base = read(content, (40, 40), base_size=base_size, **{option: True})
    inner = np.s_[12:28] if option == "pad_to_aspect_ratio" else np.s_[:]
    assert abs(direct[inner].astype(int) - by_base[inner]).max() <= 4


@pytest.mark.parametrize("option", ["crop_to_aspect_ratio", "pad_to_aspect_ratio"])
@pytest.mark.parametrize("size", [(60, 60), (30, 120), (120, 30), (99, 99), (36, 93)])
@pytest.mark.parametrize("shape", [(270, 451), (450, 270), (126, 500)])
def test_jpegs_are_decoded_large_enough(
    option: str, size: tuple[int, int], shape: tuple[int, int]
) -> None:
    """A JPEG decoded at a smaller scale is as sharp as any, however it is then cropped."""
    image = PILImage.fromarray(photographs.astronaut()[: shape[0], : shape[1]])
    whole = read(file(image, "PNG"), size, **{option: True}, antialias=True).astype(int)
    scaled = read(file(image, "JPEG", quality=98), size, **{option: True}, antialias=True).astype(int)
    assert mean_difference(whole, scaled) < 12  # half a pixel off at most
    for axis in (0, 1):
        detail = abs(np.diff(scaled, axis=axis)).mean() / abs(np.diff(whole, axis=axis)).mean()
        assert 0.8 < detail < 1.2


def test_a_jpeg_is_not_stretched_by_decoding_it_smaller() -> None:
    """Of 90 rows, an eighth is 11.25: the twelfth would lie outside of the image for the most part."""
    image = PILImage.fromarray(ramp(90, 154))
    expected = read(file(image, "PNG"), (10, 17))
    found = read(file(image, "JPEG", quality=98), (10, 17))
    assert abs(found.astype(int) - expected).max() <= 10


def test_labels_survive_every_size_and_base() -> None:
    """With nearest there is no value that the file does not have; nor is a JPEG decoded smaller."""
    labels = np.random.default_rng(0).choice(np.array([0, 3, 200], np.uint8), (45, 60))
    content = file(PILImage.fromarray(labels), "PNG")
    for options in ({}, {"base_size": (50, 31)}, {"crop_to_aspect_ratio": True}):
        found = read(content, (20, 25), interpolation="nearest", color_mode="grayscale", **options)
        assert set(np.unique(found)) == {0, 3, 200}
    blocks = np.kron(np.array([[0, 255], [255, 0]], np.uint8), np.ones((64, 64), np.uint8))
    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(blocks[:, :, None]), 100, "GRAY", "Gray")
    found = read(jpeg, (16, 16), interpolation="nearest", color_mode="grayscale")
    assert set(np.unique(found)) == {0, 255}


def test_a_fine_pattern_in_a_jpeg_keeps_its_mean() -> None:
    """Scaled decoding averages too: a checkerboard of single pixels becomes grey."""
    board = (255 * (np.indices((256, 320)).sum(0) % 2)).astype(np.uint8)[:, :, None]
    jpeg = simplejpeg.encode_jpeg(board, 100, "GRAY", "Gray")
    for size in ((128, 160), (60, 70), (100, 150), (31, 200), (20, 20)):
        found = read(jpeg, size, color_mode="grayscale")
        assert found.mean() == pytest.approx(127.5, abs=3)
        assert found.std() < 50


# Dtypes and columns --------------------------------------------------------------------------------


def test_floats_are_the_same_pixels_scaled() -> None:
    """`dtype` and `scale` change the numbers, not the picture."""
    content = file(photo(), "PNG")
    pixels = read(content, 30)
    assert pixels.dtype == np.uint8
    for dtype in ("float32", "float16"):
        plain = read(content, 30, dtype=dtype)
        assert plain.dtype == dtype
        np.testing.assert_array_equal(plain, pixels)
        scaled = read(content, 30, dtype=dtype, scale=1 / 255)
        assert scaled.dtype == dtype
        np.testing.assert_allclose(scaled, pixels / 255, rtol=1e-6 if dtype == "float32" else 1e-3)
    assert read(content, 30, dtype="float32", scale=1 / 255).max() <= 1


def test_preprocess_comes_after_dtype_and_scale() -> None:
    """The user's function gets what the batch would have had."""
    content = file(photo(), "PNG")
    seen = []

    def centred(sample: np.ndarray) -> np.ndarray:
        seen.append((sample.shape, sample.dtype.name))
        return sample - 0.5

    found = read(content, (6, 7), dtype="float32", scale=1 / 255, preprocess=centred)
    np.testing.assert_array_equal(found, read(content, (6, 7), dtype="float32", scale=1 / 255) - 0.5)
    assert set(seen) == {((6, 7, 3), "float32")}


CONTENTS = [file(photo(), "PNG"), file(photo("L"), "PNG")]


@pytest.mark.parametrize(
    "rows",
    [
        {"image": CONTENTS},
        {"image": pa.array(CONTENTS, pa.large_binary())},
        {"image": pa.array(CONTENTS, pa.binary_view())},
        {"image": pa.chunked_array([pa.array(CONTENTS[:1]), pa.array(CONTENTS[1:])])},
        pl.DataFrame({"image": CONTENTS}),
    ],
    ids=["list", "large", "view", "chunks", "polars"],
)
def test_images_may_lie_in_the_table(rows: Any) -> None:
    """A column of bytes holds encoded images."""
    data = mf.Dataset(rows, inputs=mf.Image("image", 20)).select([1, 0])
    np.testing.assert_array_equal(data[0][0], read(CONTENTS[1], 20))
    np.testing.assert_array_equal(data[1][0], read(CONTENTS[0], 20))


@pytest.mark.parametrize(
    "convert",
    [
        list,
        lambda names: pa.array(names, pa.large_string()),
        lambda names: pa.array(names, pa.string_view()),
        lambda names: pa.array(names).dictionary_encode(),
        np.array,
    ],
    ids=["list", "large", "view", "categorical", "numpy"],
)
def test_names_may_be_any_text(tmp_path: Path, convert: Callable[[list[str]], Any]) -> None:
    """Every type of text names files."""
    for number, content in enumerate(CONTENTS):
        (tmp_path / f"ü {number}.png").write_bytes(content)
    rows = {"image": convert(["ü 0.png", "ü 1.png"])}
    data = mf.Dataset(rows, inputs=mf.Image("image", 20), root=tmp_path).select([1])
    np.testing.assert_array_equal(data[0][0], read(CONTENTS[1], 20))


def test_a_column_of_more_than_2_gib_is_read_in_place() -> None:
    """The images of a table are neither joined into one array nor copied for a selection."""
    content = CONTENTS[0] + bytes(2**20)
    chunk = pa.array([content])
    column = pa.chunked_array([chunk] * 3000)
    data = mf.Dataset({"image": column}, inputs=mf.Image("image", 20)).select(slice(None, None, -1))
    np.testing.assert_array_equal(data[2998][0], read(CONTENTS[0], 20))


@pytest.mark.parametrize("field", [mf.Image("x", 20), mf.Array("x", (2,))], ids=["image", "array"])
def test_names_that_are_no_text_are_told(field: Any) -> None:
    """Invalid UTF-8 in a column is an error that names the row."""
    broken = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.int32([0, 3])), pa.py_buffer(b"a\xffb")]
    )
    with pytest.raises(mf.SampleError) as caught:
        mf.Dataset({"x": broken}, inputs=field)[0]
    assert str(caught.value) == (
        "'x' of row 0 cannot be used: it is no text in UTF-8 (invalid start byte b'\\xff' after 1 "
        "bytes).\n"
        "  Row: 0.\n"
        "  Write the table again with UTF-8 text."
    )


def test_a_bad_file_is_told_where_another_is_missing(tmp_path: Path) -> None:
    """`missing` fills nulls, not files that cannot be read."""
    rows = {"x": [None, str(tmp_path / "no.png")]}
    data = mf.Dataset(rows, inputs=mf.Image("x", 8, missing="zero"))
    assert not data[0][0].any()
    with pytest.raises(mf.SampleError) as caught:
        data[1]
    assert str(caught.value) == (
        "'x' of row 1 cannot be used: the file does not exist.\n"
        f"  File: {tmp_path}/no.png (row 1).\n"
        f"  {REPLACE}"
    )


# Bad files -----------------------------------------------------------------------------------------


def test_a_truncated_jpeg_is_told(tmp_path: Path) -> None:
    """The error names field, key, file and row, what is wrong and what to do."""
    path = tmp_path / "half.jpg"
    path.write_bytes(JPEGS["420"][: len(JPEGS["420"]) // 2])
    rows = {"id": ["p7"], "scan": [str(path)]}
    with pytest.raises(mf.SampleError) as caught:
        mf.Dataset(rows, inputs={"left": mf.Image("scan", 8)}, key="id")[0]
    assert str(caught.value) == (
        "'left' of sample 'p7' cannot be used: the file is a damaged JPEG (Premature end of JPEG "
        "file).\n"
        f"  File: {path} (row 0).\n"
        f"  {REPLACE}"
    )


def test_a_text_file_named_jpg_is_told(tmp_path: Path) -> None:
    """What the file begins with shows what it is."""
    path = tmp_path / "x.jpg"
    path.write_text("<!DOCTYPE html><title>404</title>")
    with pytest.raises(mf.SampleError) as caught:
        mf.Dataset({"scan": [str(path)]}, inputs=mf.Image("scan", 8))[0]
    assert str(caught.value) == (
        "'scan' of row 0 cannot be used: the file is no image of a known format, or damaged at its "
        "start (b'<!DOCTYP').\n"
        f"  File: {path} (row 0).\n"
        f"  {REPLACE}"
    )


def test_empty_bytes_are_told() -> None:
    """An empty value in a column of images is no image."""
    assert refused(b"") == "is empty (0 bytes)"


def png_header(height: int, width: int) -> bytes:
    """Return a PNG that claims a size, and has next to no data."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000)))


def test_an_image_bomb_is_refused_from_its_header() -> None:
    """A PNG of 60,000 x 60,000 pixels costs no memory."""
    with pytest.raises(mf.SampleError) as caught:
        read(png_header(60_000, 60_000), 8)
    assert str(caught.value) == (
        "'image' of row 0 cannot be used: it claims too many pixels (Image size (3600000000 pixels) "
        "exceeds limit of 178956970 pixels, could be decompression bomb DOS attack.).\n"
        "  Row: 0.\n"
        "  Tile or shrink the image, leave the row out with data.select, or pass a larger max_pixels."
    )


def test_a_jpeg_bomb_is_refused_from_its_header() -> None:
    """So does a JPEG whose header is made to say 65,000 x 65,000."""
    content = bytearray(JPEGS["420"])
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", 65_000, 65_000)
    assert refused(bytes(content)) == (
        "claims too many pixels (65,000 x 65,000 where 178,956,970 in all are the limit)"
    )


def test_our_limit_holds_where_pillow_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lifts Pillow's limit has lifted Pillow's, not ours."""
    monkeypatch.setattr(PILImage, "MAX_IMAGE_PIXELS", None)
    assert refused(png_header(60_000, 60_000)) == (
        "claims too many pixels (60,000 x 60,000 where 178,956,970 in all are the limit)"
    )


def test_postscript_is_not_run() -> None:
    """EPS is a program, which Pillow would have Ghostscript run: it is no image here."""
    content = file(photo(), "EPS")
    assert refused(content) == ("is no image of a known format, or damaged at its start (b'%!PS-Ado')")


def test_pixels_of_one_image_never_show_in_another() -> None:
    """After a large white image, and after a damaged one, a small image is what it was."""
    white = simplejpeg.encode_jpeg(np.full((300, 400, 3), 255, np.uint8))
    small = simplejpeg.encode_jpeg(np.asarray(photo()))
    rows = {"image": [white, small, white[: len(white) // 2], small[:1500]]}
    data = mf.Dataset(rows, inputs=mf.Image("image", 40))
    expected = read(small, 40)
    for spoiler in (0, 2, 3):
        if spoiler:
            with pytest.raises(mf.SampleError):
                data[spoiler]
        else:
            data[spoiler]
        np.testing.assert_array_equal(data[1][0], expected)


# Declarations --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size is (height, width) in pixels, each at least 1; received 0."),
        ({"size": (8, 0)}, "size is (height, width) in pixels, each at least 1; received (8, 0)."),
        ({"size": 2.5}, "size is (height, width) in pixels, each at least 1; received 2.5."),
        ({"size": True}, "size is (height, width) in pixels, each at least 1; received True."),
        ({"size": (8, 8, 3)}, "size is (height, width) in pixels, each at least 1; received (8, 8, 3)."),
        ({"size": "ab"}, "size is (height, width) in pixels, each at least 1; received 'ab'."),
        ({"size": None}, "size is (height, width) in pixels, each at least 1; received None."),
        ({"size": 8, "max_pixels": 0}, "max_pixels must be a whole number of at least 1; received 0."),
        (
            {"size": 8, "base_size": (-1, 4)},
            "base_size is (height, width) in pixels, each at least 1; received (-1, 4).",
        ),
        (
            {"size": 8, "color_mode": "bgr"},
            "color_mode must be one of 'rgb', 'rgba', 'grayscale'; received 'bgr'.",
        ),
        (
            {"size": 8, "interpolation": "bicubic"},
            "interpolation must be one of 'bilinear', 'nearest'; received 'bicubic'.",
        ),
        (
            {"size": 8, "dtype": "int32"},
            "dtype must be one of 'uint8', 'float32', 'float16'; received 'int32'.",
        ),
        (
            {"size": 8, "scale": 0.1},
            "scale=0.1 needs a float dtype; dtype is 'uint8'.\n"
            '  Pass dtype="float32", or better: rescale in the model with keras.layers.Rescaling, where '
            "it costs nothing.",
        ),
        (
            {"size": 8, "dtype": "float32", "scale": float("nan")},
            "scale is a finite number other than 0, e.g. 1/255; received nan.",
        ),
        (
            {"size": 8, "crop_to_aspect_ratio": True, "pad_to_aspect_ratio": True},
            "only one of crop_to_aspect_ratio and pad_to_aspect_ratio can be True.",
        ),
        (
            {"size": 8, "antialias": True, "interpolation": "nearest"},
            'antialias=True averages pixels, which interpolation="nearest" is there to avoid.',
        ),
        (
            {"column": ["a", "b"], "size": 8},
            "mf.Image reads one column, by name; received ['a', 'b'].",
        ),
    ],
)
def test_a_wrong_declaration_is_told_at_once(options: dict[str, Any], message: str) -> None:
    """Options are checked before there is a dataset."""
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Image(**{"column": "image"} | options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            {"image": np.zeros((2, 8, 8, 3), np.uint8)},
            "field 'image': an Image column holds file names or encoded images; 'image' holds uint8.\n"
            "  Declare images that are in memory already as mf.Array('image').",
        ),
        (
            {"image": [1, 2]},
            "field 'image': an Image column holds file names or encoded images; 'image' holds int64.\n"
            "  Declare images that are in memory already as mf.Array('image').",
        ),
        (
            {"images": ["a"], "label": ["b"]},
            "field 'image': the row table has no column 'image'.\n  Did you mean 'images'?",
        ),
    ],
)
def test_a_column_that_holds_no_images_is_told(rows: dict[str, Any], message: str) -> None:
    """The types of the columns are checked when the dataset is declared."""
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Dataset(rows, inputs=mf.Image("image", 8))
    assert str(caught.value) == message


def test_sizes_may_be_lists_and_numpy_integers() -> None:
    """Whatever counts as an integer, in whatever order of two."""
    content = file(photo(), "PNG")
    expected = read(content, (12, 20))
    for size in ([12, 20], (np.int64(12), np.int32(20))):
        np.testing.assert_array_equal(read(content, size), expected)
    assert read(content, np.int64(12)).shape == (12, 12, 3)


@pytest.mark.parametrize(
    ("preprocess", "message"),
    [
        (
            lambda sample: sample.reshape(7, 7),
            "field 'image': preprocess raised ValueError on a blank sample of (8, 8, 3) uint8: cannot "
            "reshape array of size 192 into shape (7,7).\n"
            "  It is called at declaration with zeros, to find the shape and dtype that it returns.",
        ),
        (
            lambda sample: "text",
            "field 'image': preprocess must return an array of numbers; it returned dtype <U4 for a "
            "blank sample of (8, 8, 3) uint8.",
        ),
    ],
)
def test_a_preprocess_that_cannot_work_is_told_at_declaration(
    preprocess: Callable[[np.ndarray], Any], message: str
) -> None:
    """It is tried on zeros, before any file is read."""
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Dataset({"image": ["nowhere.jpg"]}, inputs=mf.Image("image", 8, preprocess=preprocess))
    assert str(caught.value) == message


def test_a_preprocess_that_fails_on_a_sample_is_chained() -> None:
    """The user's own exception is the cause, and the sample has a name."""

    def picky(sample: np.ndarray) -> np.ndarray:
        if sample.any():
            raise KeyError("no such tooth")
        return sample

    rows = {"id": ["p7"], "image": [CONTENTS[0]]}
    with pytest.raises(mf.SampleError) as caught:
        mf.Dataset(rows, inputs=mf.Image("image", 8, preprocess=picky), key="id")[0]
    assert isinstance(caught.value.__cause__, KeyError)
    assert str(caught.value) == (
        "reading 'image' of sample 'p7' raised KeyError: 'no such tooth'.\n"
        "  Row: 0.\n"
        "  The exception above is the original. If it came from a function of yours, that must "
        "accept every sample."
    )
