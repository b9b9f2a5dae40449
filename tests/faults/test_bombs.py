"""Rows 25 and 26 of the table of faults: small files that claim, or unpack to, more than there is.

Oracle: each is refused by an error of ours, in a process that may map 2 GiB more than before; it touches
less than a bound of them, and ends in time. `bombs.py` reads them.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import bombs
import numpy as np
import pytest
from PIL import Image as PILImage
from PIL import ImageFile
from tokenizers import Tokenizer

import multifeed as mf
from multifeed.errors import SampleError

# Bytes. What the bombs claim, or unpack to, is more, of which the least is 256 MB.
GROWTH_BYTES = 384 * 2**20


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What came of each bomb, by its name."""
    program = [sys.executable, bombs.__file__, str(tmp_path_factory.mktemp("bombs"))]
    run = subprocess.run(program, capture_output=True, timeout=600, check=True)
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    return {each["name"]: each for each in lines}


KINDS = {
    **dict.fromkeys(
        ("png of 60,000 x 60,000", "gif of 65,535 x 65,535", "tiff of 60,000 x 60,000",
         "bmp of 60,000 x 60,000", "webp of 60,000 x 60,000", "jpeg of 65,000 x 65,000",
         "ppm of 60,000 x 60,000", "bmp of the least height", "bmp of a negative height",
         "tiff of one pixel in a tile of 10,000 x 10,000"),
        "claims too many pixels",
    ),
    "png with a profile that unpacks to 256 MB": "is a damaged image (Decompressed data too large",
    "png with texts that unpack to 900 MB": "is a damaged image (Too much memory used in text chunks",
    "progressive jpeg of 20,000 scans": "is a JPEG of more than 100 scans",
    "the same with ends that are none": "is a JPEG of more than 100 scans",
    "postscript": "is no image of a known format",
    "npy of 4 x 10^18 numbers": "is damaged: 64 bytes of data do not make float32 of shape",
    "npy of a negative shape": "is damaged: 64 bytes of data do not make float32 of shape (-1, -16)",
    "npy of a shape that is computed": "malformed node or string on line 1: <ast.BinOp object>",
    "npz that unpacks to 256 MB": "has a member 'x' of 268,435,456 bytes, where at most 65,792 are due",
    "npz packed by lzma": "its member is packed neither as stored nor as deflated",
    "npz packed by bzip2": "its member is packed neither as stored nor as deflated",
    **dict.fromkeys(bombs.TABLES, "its values are nested deeper than 100, or never closed"),
    **dict.fromkeys((each for each in bombs.TABLES if "null" in each), "a line is null, where each is"),
    "tokenizer of a large id": "are below 16,777,216; the largest is 4,294,967,294",
    **dict.fromkeys(bombs.HOLES, "has 107,374,182,400 bytes, where at most 2,147,483,648 are read"),
}  # fmt: skip


@pytest.mark.timeout(700)
@pytest.mark.xdist_group("bombs")
@pytest.mark.parametrize("name", [*bombs.BOMBS, *bombs.HOLES])
def test_a_bomb_is_refused_before_it_costs_anything(name: str, told: dict[str, dict[str, Any]]) -> None:
    """Row 25: by an error of ours; in little memory; where its header tells it, for that reason."""
    found = told[name]
    assert found["ended"] in ("SampleError", "DeclarationError", "StateError"), found
    assert found["growth"] < GROWTH_BYTES, found
    assert KINDS.get(name, "") in found["said"], found


def test_bombs_would_go_off() -> None:
    """Without the limits, what they claim is unpacked or believed: the faults are real."""
    content = bombs.tiff(2_000)
    assert len(content) < 100_000
    with PILImage.open(io.BytesIO(content)) as image:
        assert image.size == (1, 1)
        image.load()
    # Pillow reads what says that it is a large tile, and decodes all of it.
    assert len(zlib.decompress(content[content.index(b"\x78\x9c") :])) == 2_000 * 2_000 * 3
    archive = bombs.ARCHIVES["npz that claims to unpack to little"]()
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        info = opened.getinfo("x.npy")
        assert info.file_size == 100
        assert len(zlib.decompress(archive[35:], -15)) == 2**28
    assert bombs.scans(150, progressive=True).count(b"\xff\xda") > 150
    words = Tokenizer.from_str(bombs.word_level(10**6).decode())
    assert max(words.get_vocab().values()) == 10**6


def test_many_scans_are_counted_where_they_count() -> None:
    """Row 25: not in an EXIF thumbnail, and not behind the end, where phones put a film."""
    whole = bytes(bombs.encoded("JPEG", progressive=True))
    film = whole + b"\xff\xda\x00\x04\x00\x00" * 1_000
    thumbnail = whole[:2] + b"\xff\xe1\x08\x02" + b"\xff\xda" * 1_024 + whole[2:]
    for content in (whole, film, thumbnail):
        assert (read(content) == read(whole)).all()
    with pytest.raises(SampleError, match="is a JPEG of more than 100 scans"):
        read(bombs.scans(100, progressive=True))
    # A sequential JPEG with all components in its first scan ends with that: it is not gone through.
    with pytest.raises(SampleError, match=r"is a damaged JPEG \(Didn't expect more than one scan\)"):
        read(bombs.scans(200, quality=10))


def read(content: bytes, **options: Any) -> np.ndarray:
    """Return an image that lies in a table."""
    return mf.Dataset({"x": [content]}, inputs=mf.Image("x", 8, **options))[0][0]


def test_of_many_frames_the_first_is_read_alone() -> None:
    """Row 25: an animation of 20,000 frames costs what its first one costs."""
    content = bytes(bombs.encoded("GIF"))
    frame = content[content.rindex(b"\x2c\0\0\0\0") : -1]
    assert (read(content[:-1] + frame * 20_000 + content[-1:]) == read(content)).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "GIF", "BMP", "PPM"])
def test_the_limit_of_pixels_is_a_declaration(kind: str) -> None:
    """Row 25: `max_pixels` is the most that is read, of every format, and says so."""
    content = bytes(bombs.encoded(kind))
    assert read(content, max_pixels=64 * 64).shape == (8, 8, 3)
    with pytest.raises(SampleError) as caught:
        read(content, max_pixels=64 * 64 - 1)
    assert str(caught.value) == (
        "'x' of row 0 cannot be used: it claims too many pixels (64 x 64 where 4,095 in all are the "
        "limit).\n"
        "  Row: 0.\n"
        "  Tile or shrink the image, leave the row out with data.select, or pass a larger max_pixels."
    )


def test_truncated_images_stay_errors_whatever_others_ask_of_pillow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Row 22: LOAD_TRUNCATED_IMAGES makes Pillow fill them up: nothing is read with it."""
    content = bytes(bombs.encoded("PNG"))
    cut = content[: len(content) - 20]
    with pytest.raises(SampleError, match="is a damaged image"):
        read(cut)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with PILImage.open(io.BytesIO(cut)) as image:
        image.load()
    for each in (cut, content):
        with pytest.raises(SampleError) as caught:
            read(each)
        assert str(caught.value) == (
            "'x' of row 0 cannot be used: it is not read while PIL.ImageFile.LOAD_TRUNCATED_IMAGES is "
            "set, with which Pillow makes up what a truncated image lacks.\n"
            "  Row: 0.\n"
            "  Set it to False; to go on without damaged images, leave them out with data.select."
        )


@pytest.mark.parametrize("name", ["gs", "hdf5", "fpx"])
def test_formats_that_run_other_programs_are_not_images(name: str, tmp_path: Path) -> None:
    """Row 26: Pillow knows formats that run programs or have no limits; none of them is tried."""
    from multifeed.fields.decode import _formats

    signatures = {
        "gs": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
        "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(64),
        "fpx": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512),
    }
    assert not {"EPS", "PSD", "WMF", "HDF5", "FPX", "MIC", "FITS", "GRIB", "BUFR", "PDF", "IPTC"} & {
        *_formats()
    }
    (tmp_path / "x").write_bytes(signatures[name])
    data = mf.Dataset({"x": [str(tmp_path / "x")]}, inputs=mf.Image("x", 4))
    with pytest.raises(SampleError, match="is no image of a known format, or damaged at its start"):
        data[0]
