"""check: whatever is wrong or odd is found and told, and nothing that is wrong makes it raise."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image as PILImage
from skimage import data as photographs

import multifeed as mf
from multifeed.fields.base import Columnar, Field, PerSample, Remark
from multifeed.fields.gather import Matrix
from multifeed.fields.rows import Rows
from multifeed.files import File
from multifeed.folder import Folder, PartName
from multifeed.health.reading import blank
from multifeed.spec import Spec

COUNT = 12
KEYS = [f"k{number:02}" for number in range(COUNT)]
ORIENTATION = 0x0112

Finding = tuple[str, str, str, Any, str]


def photo(number: int, mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> PILImage.Image:
    """Return a piece of a photograph, another for each number; size is (width, height)."""
    picture = PILImage.fromarray(photographs.coffee())
    left, top = 9 * number, 5 * number
    return picture.crop((left, top, left + size[0], top + size[1])).convert(mode)


def save(path: Path, image: PILImage.Image, kind: str = "PNG", **options: Any) -> None:
    image.save(path, kind, **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of 12 photographs, p00.png and so on, in which nothing is wrong."""
    for number in range(COUNT):
        save(tmp_path / f"p{number:02}.png", photo(number))
    return tmp_path


def images(folder: Path, **options: Any) -> mf.Dataset:
    rows = {"id": KEYS, "file": [f"p{number:02}.png" for number in range(COUNT)]}
    return mf.Dataset(rows, key="id", root=folder, inputs=mf.Image("file", 16, **options))


def found(report: Any) -> list[Finding]:
    """Return severity, kind, field, key (or row, where there is no key) and detail of all findings."""
    return [
        (each["severity"], each["kind"], each["field"], each["key"] or each["row"], each["detail"])
        for each in report.findings.to_pylist()
    ]


def numbers(values: Iterable[Any], **options: Any) -> mf.Dataset:
    return mf.Dataset({"x": list(values)}, inputs=mf.Numeric("x", **options))


# Files ----------------------------------------------------------------------------------------------


def test_nothing_is_found_where_nothing_is_wrong(folder: Path) -> None:
    """The report says so, lists how the files are, and leaves no row out."""
    report = mf.check(images(folder))
    assert str(report) == (
        "Checked 12 samples of 1 field: nothing found.\n"
        "\n"
        "As found\n"
        "file, size         30 x 40 (12)\n"
        "file, mode         rgb (12)\n"
        "file, orientation  upright (12)"
    )
    assert len(report) == 0
    assert report.bad_rows.tolist() == []
    assert report.good_rows.tolist() == list(range(COUNT))
    assert report.good_rows.dtype == report.bad_rows.dtype == np.int64


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_bad_file_is_named_with_its_reason(folder: Path, workers: int) -> None:
    """Missing, truncated, empty, no image, a folder: each with key, row, file; whatever the threads."""
    (folder / "p02.png").unlink()
    whole = (folder / "p04.png").read_bytes()
    (folder / "p04.png").write_bytes(whole[: len(whole) // 2])
    (folder / "p05.png").write_bytes(b"")
    (folder / "p06.png").write_text("no image")
    (folder / "p07.png").unlink()
    (folder / "p07.png").mkdir()
    data = images(folder)
    report = mf.check(data, workers=workers)
    assert found(report) == [
        ("bad", "missing file", "file", "k02", "does not exist"),
        ("bad", "unreadable file", "file", "k04", "is a damaged image (image file is truncated)"),
        ("bad", "unreadable file", "file", "k05", "is empty (0 bytes)"),
        ("bad", "unreadable file", "file", "k06", "is no image of a known format, or damaged at its "
                                                  "start (b'no image')"),
        ("bad", "unreadable file", "file", "k07", "is not a regular file but a folder"),
    ]  # fmt: skip
    assert report.findings["file"][0].as_py() == f"{folder}/p02.png"
    assert report.findings["row"].to_pylist() == report.bad_rows.tolist() == [2, 4, 5, 6, 7]
    good = data.select(report.good_rows)
    assert found(mf.check(good)) == []
    for row in report.bad_rows:
        with pytest.raises(mf.SampleError):
            data[row]


def test_all_rows_may_be_bad(tmp_path: Path) -> None:
    """No good row is left, and the report says that instead of offering to select them."""
    report = mf.check(images(tmp_path))
    assert len(report) == COUNT
    assert report.good_rows.tolist() == []
    assert "no good one is left: correct what stands above" in str(report)
    assert "data.select" not in str(report)


def test_files_unlike_nearly_all_others_are_odd(folder: Path) -> None:
    """Own size, colour mode and orientation as the header has them, not as they are converted."""
    save(folder / "p03.png", photo(3, size=(30, 30)))
    assert found(mf.check(images(folder))) == [
        ("odd", "unusual size", "file", "k03", "is 30 x 30, where 11 of 12 are 30 x 40"),
    ]
    exif = PILImage.Exif()
    exif[ORIENTATION] = 6
    save(folder / "p03.png", photo(3, size=(30, 40)), exif=exif)
    assert found(mf.check(images(folder))) == [
        ("odd", "unusual orientation", "file", "k03", "is EXIF 6, where 11 of 12 are upright"),
    ]


def deep(channels: int) -> bytes:
    """Return noise of 16 bits a channel as the content of a PNG file."""
    shape = (30, 40, 3) if channels == 3 else (30, 40)
    noise = np.random.default_rng(0).integers(0, 65536, shape, np.uint16)
    encoded: bytes = cv2.imencode(".png", noise)[1].tobytes()
    return encoded


@pytest.mark.parametrize(
    ("mode", "kind", "name"),
    [
        ("L", "PNG", "grayscale"),
        ("LA", "PNG", "grayscale with alpha"),
        ("RGBA", "PNG", "rgba"),
        ("P", "PNG", "palette"),
        ("1", "PNG", "black and white"),
        ("CMYK", "JPEG", "cmyk"),
        ("L", "JPEG", "grayscale"),
    ],
)
def test_colour_modes(folder: Path, mode: str, kind: str, name: str) -> None:
    """Each colour mode among RGB is told by its name."""
    save(folder / "p03.png", photo(3, mode), kind)
    says = f"is {name}, where 11 of 12 are rgb"
    assert found(mf.check(images(folder))) == [("odd", "unusual mode", "file", "k03", says)]


@pytest.mark.parametrize(("channels", "name"), [(1, "grayscale of 16 bits"), (3, "rgb of 16 bits")])
def test_16_bits(folder: Path, channels: int, name: str) -> None:
    """16 bits a channel are told although Pillow opens such RGB as 8 bits."""
    (folder / "p03.png").write_bytes(deep(channels))
    says = f"is {name}, where 11 of 12 are rgb"
    assert found(mf.check(images(folder))) == [("odd", "unusual mode", "file", "k03", says)]


def test_what_many_files_have_is_not_odd(folder: Path) -> None:
    """Of 12 files, 2 of another size are more than a tenth: they are listed, but no finding."""
    for number in (3, 4):
        save(folder / f"p{number:02}.png", photo(number, size=(30, 30)))
    report = mf.check(images(folder))
    assert found(report) == []
    assert report.found["file"]["size"] == {"30 x 40": 10, "30 x 30": 2}


def test_equal_files_are_named_together(folder: Path) -> None:
    """Same bytes under other names; each names the others, of many the first three."""
    for number in (1, 2, 3, 4):
        (folder / f"p{number:02}.png").write_bytes((folder / "p00.png").read_bytes())
    (folder / "p08.png").write_bytes((folder / "p07.png").read_bytes())
    report = mf.check(images(folder))
    more = "and 1 more"
    assert found(report) == [
        ("odd", "duplicate file", "file", "k00", f"has the bytes of 'k01', 'k02', 'k03' {more}"),
        ("odd", "duplicate file", "file", "k01", f"has the bytes of 'k00', 'k02', 'k03' {more}"),
        ("odd", "duplicate file", "file", "k02", f"has the bytes of 'k00', 'k01', 'k03' {more}"),
        ("odd", "duplicate file", "file", "k03", f"has the bytes of 'k00', 'k01', 'k02' {more}"),
        ("odd", "duplicate file", "file", "k04", f"has the bytes of 'k00', 'k01', 'k02' {more}"),
        ("odd", "duplicate file", "file", "k07", "has the bytes of 'k08'"),
        ("odd", "duplicate file", "file", "k08", "has the bytes of 'k07'"),
    ]
    assert report.rows("duplicate file").tolist() == [0, 1, 2, 3, 4, 7, 8]


def test_encoded_images_in_memory_are_checked_as_files_are(folder: Path) -> None:
    """A column of bytes: damaged, repeated and unlike ones are found."""
    content = [(folder / f"p{number:02}.png").read_bytes() for number in range(COUNT)]
    content[5] = content[4]
    content[6] = content[6][:300]
    data = mf.Dataset({"image": content}, inputs=mf.Image("image", 16))
    assert found(mf.check(data)) == [
        ("bad", "unusable value", "image", 6, "is a damaged image (image file is truncated)"),
        ("odd", "duplicate file", "image", 4, "has the bytes of row 5"),
        ("odd", "duplicate file", "image", 5, "has the bytes of row 4"),
    ]


def test_blank_images(folder: Path) -> None:
    """All pixels alike, in whatever colour; one other pixel is enough to be none."""
    save(folder / "p01.png", PILImage.new("RGB", (40, 30), (200, 10, 10)))
    nearly = PILImage.new("RGB", (40, 30), (200, 10, 10))
    nearly.paste((0, 0, 0), (38, 28, 40, 30))
    save(folder / "p02.png", nearly)
    assert found(mf.check(images(folder))) == [
        ("odd", "blank", "file", "k01", "all of its pixels are alike"),
    ]


def test_blank_is_about_pixels() -> None:
    """Stripes are not blank, channels may differ, and numbers and lists never are blank."""
    values = np.zeros((4, 5, 6, 3), np.uint8)
    values[1] = (1, 2, 3)
    values[2, :, 3] = 9
    values[3, 4, 5, 2] = 9
    assert blank(values).tolist() == [True, True, False, False]
    assert blank(values[..., 0]).tolist() == [True, True, False, True]
    assert blank(values[:, 0, 0]).tolist() == [False] * 4
    assert blank(np.zeros((2, 1, 1, 3))).tolist() == [False] * 2
    assert blank(np.zeros((2, 5, 0))).tolist() == [False] * 2


def test_null_file_names_are_bad_or_filled(folder: Path) -> None:
    """Without missing= every null is listed, and the other files are read all the same."""
    rows = {"id": KEYS[:4], "file": ["p00.png", None, "gone.png", None]}
    bare = mf.Dataset(rows, key="id", root=folder, inputs=mf.Image("file", 16))
    assert found(mf.check(bare)) == [
        ("bad", "missing file", "file", "k02", "does not exist"),
        ("bad", "null", "file", "k01", "column 'file' is null"),
        ("bad", "null", "file", "k03", "column 'file' is null"),
    ]
    filled = mf.Dataset(rows, key="id", root=folder, inputs=mf.Image("file", 16, missing="zero"))
    report = mf.check(filled)
    says = "column 'file' is null, and filled by missing='zero'"
    assert found(report) == [
        ("bad", "missing file", "file", "k02", "does not exist"),
        ("odd", "filled", "file", "k01", says),
        ("odd", "filled", "file", "k03", says),
    ]
    assert report.good_rows.tolist() == [0, 1, 3]


def test_array_files(tmp_path: Path) -> None:
    """Wrong shapes, NaN inside, pickles: found in .npy files."""
    arrays = [np.arange(6.0).reshape(2, 3) + number for number in range(4)]
    arrays[1] = arrays[1][:1]
    arrays[2][0, 1:] = np.nan, np.inf
    for number, array in enumerate(arrays):
        np.save(tmp_path / f"{number}.npy", array)
    np.save(tmp_path / "4.npy", np.array([{}], object), allow_pickle=True)
    rows = {"file": [f"{number}.npy" for number in range(5)]}
    report = mf.check(mf.Dataset(rows, root=tmp_path, inputs=mf.Array("file", (2, 3))))
    shape = "holds an array of shape (1, 3) where the declaration says (2, 3)"
    assert found(report) == [
        ("bad", "unreadable file", "file", 1, shape),
        ("bad", "unreadable file", "file", 4, "holds Python objects, which are never unpickled"),
        ("odd", "not finite", "file", 2, "holds 2 NaN or infinite numbers"),
    ]


def test_a_function_of_the_users_that_raises_is_a_finding(folder: Path) -> None:
    """Each sample at which preprocess fails is bad, with what it raised."""

    def fussy(image: np.ndarray) -> np.ndarray:
        if image.any() and image[0, 0, 0] == 255:
            raise ZeroDivisionError("too white")
        return image

    save(folder / "p09.png", PILImage.new("RGB", (40, 30), "white"))
    report = mf.check(images(folder, preprocess=fussy))
    says = "raises ZeroDivisionError: too white"
    assert found(report) == [("bad", "exception", "file", "k09", says)]


def test_copies_are_made_as_well() -> None:
    """A value that a Same cannot hold is a finding about the Same."""
    images = np.zeros((3, 2, 2, 1), np.int32)
    images[:, 0] = [[[1], [2]]]
    images[1, 0, 0] = 300
    data = mf.Dataset(
        {"x": images}, inputs={"x": mf.Array("x")}, targets={"y": mf.Same("x", dtype="uint8")}
    )
    with pytest.raises(mf.SampleError):
        data[1]
    assert found(mf.check(data)) == [
        ("bad", "unusable value", "y", 1, "holds 300, which uint8 cannot hold"),
    ]


# Columns --------------------------------------------------------------------------------------------


def test_every_row_without_a_finite_number_is_listed() -> None:
    """Null, NaN and infinity in many rows and in two columns; not the first one only."""
    rows = {
        "a": pa.array([1.0, None, 3.0, None, 5.0, 6.0]),
        "b": np.array([1.0, 2.0, np.nan, np.inf, np.nan, 6.0]),
    }
    report = mf.check(mf.Dataset(rows, inputs={"v": mf.Numeric(["a", "b"])}))
    assert found(report) == [
        ("bad", "null", "v", 1, "column 'a' is null"),
        ("bad", "null", "v", 3, "column 'a' is null"),
        ("bad", "not finite", "v", 2, "column 'b' is NaN"),
        ("bad", "not finite", "v", 3, "column 'b' is infinite"),
        ("bad", "not finite", "v", 4, "column 'b' is NaN"),
    ]
    assert report.good_rows.tolist() == [0, 5]


def test_filled_numbers_are_odd() -> None:
    """With missing=, what is filled is listed, and nothing is bad."""
    report = mf.check(numbers([1.0, None, float("nan"), 4.0], missing="zero"))
    assert found(report) == [
        ("odd", "filled", "x", 1, "column 'x' is null, and filled by missing='zero'"),
        ("odd", "filled", "x", 2, "column 'x' is NaN, and filled by missing='zero'"),
    ]
    assert report.bad_rows.tolist() == []


def test_what_only_reading_shows_is_found_row_by_row() -> None:
    """Too large for float32, lists of a wrong length, nulls in them, negative weights: each such row."""
    rows = {
        "large": [1.0, 1e300, 2.0, 3.0, -1e300, 1.5],
        "list": [[1, 2], [3], [4, 5], [6, 7, 8], [9, None], [1, 2]],
        "small": [1, 2, 3, 4, 5, 300],
        "weight": [1.0, 1.5, -2.0, 2.0, 1.0, -0.5],
    }
    data = mf.Dataset(
        rows,
        inputs={"large": mf.Numeric("large"), "list": mf.Array("list", shape=(2,))},
        targets={"small": mf.Array("small", dtype="uint8")},
        sample_weight="weight",
    )
    report = mf.check(data)
    bad = [each for each in found(report) if each[0] == "bad"]
    limit = "which float32 cannot hold (column 'large')"
    null = "has a null inside its list (1 nulls in such lists of the column)"
    assert bad == [
        ("bad", "unusable value", "large", 1, f"holds 1e+300, {limit}"),
        ("bad", "unusable value", "large", 4, f"holds -1e+300, {limit}"),
        ("bad", "unusable value", "list", 1, "has 1 values where shape=(2,) needs 2"),
        ("bad", "unusable value", "list", 3, "has 3 values where shape=(2,) needs 2"),
        ("bad", "unusable value", "list", 4, null),
        ("bad", "unusable value", "small", 5, "holds 300, which uint8 cannot hold"),
        ("bad", "unusable value", "sample_weight:small", 2, "is negative: -2.0"),
        ("bad", "unusable value", "sample_weight:small", 5, "is negative: -0.5"),
    ]
    assert report.good_rows.tolist() == [0]
    data.select(report.good_rows)[0]


def test_outliers_lie_beyond_the_outer_fences() -> None:
    """Tukey's rule: quartiles 25 and 75 of 0 … 100 put the fences at -125 and 225."""
    values = [*range(101)] * 10
    inside, outside = [*values, -124.9, 224.9], [*values, -126.0, 226.0]
    assert found(mf.check(numbers(inside))) == []
    assert [each[:4] for each in found(mf.check(numbers(outside)))] == [
        ("odd", "outlier", "x", 1010),
        ("odd", "outlier", "x", 1011),
    ]
    says = [each[4] for each in found(mf.check(numbers([*values, 1000.0])))]
    assert says == ["column 'x' is 1000, outside of -125 … 225"]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_long_tail_is_one_remark(seed: int) -> None:
    """Where more than a hundredth lies outside of the fences, no single number is at fault."""
    values = np.exp(2 * np.random.default_rng(seed).normal(size=2_000))
    (finding,) = found(mf.check(numbers(values)))
    assert finding[:4] == ("odd", "long tail", "x", None)
    assert re.fullmatch(r"\d{3} of 2,000 numbers of column 'x' lie outside of \S+ … \S+", finding[4])


def test_extreme_and_lumpy_numbers_have_no_false_outliers() -> None:
    """Flags that are mostly 0 and numbers near the largest float are neither outliers nor an error."""
    assert found(mf.check(numbers([0] * 95 + [1] * 5))) == []
    assert found(mf.check(numbers([3e38, -3e38, 1e38, -1e38, 0.0]))) == []


def test_constant_columns() -> None:
    """A number or label that every row has; a single row tells nothing."""
    rows = {"x": [2.5] * 3, "kind": ["a"] * 3}
    inputs, targets = mf.Numeric("x"), mf.Category("kind", vocabulary=["a"])
    data = mf.Dataset(rows, inputs=inputs, targets=targets)
    assert found(mf.check(data)) == [
        ("odd", "constant column", "x", None, "column 'x' holds 2.5 in every row"),
        ("odd", "constant column", "kind", None, "column 'kind' holds 'a' in every row"),
    ]
    one = mf.check(data.select([1]))
    assert str(one) == (
        "Checked 1 sample of 2 fields: nothing found.\n\nAs found\nkind, labels  'a' (1)"
    )


def test_classes() -> None:
    """Counts per class; labels that are unseen, alone, empty or without samples."""
    labels = ["a", "b", "a", None, "b", "zebra", "", "c", "zebra"]
    vocabulary = ["a", "b", "c", "", "never"]
    data = mf.Dataset(
        {"kind": labels, "x": list(range(9))},
        inputs=mf.Numeric("x"),
        targets=mf.Category("kind", vocabulary=vocabulary),
    )
    report = mf.check(data)
    unseen = "'zebra' is not among the 5 labels of the vocabulary"
    assert found(report) == [
        ("bad", "null", "kind", 3, "column 'kind' is null"),
        ("bad", "unseen label", "kind", 5, unseen),
        ("bad", "unseen label", "kind", 8, unseen),
        ("odd", "rare class", "kind", 6, "'' is the label of this sample alone"),
        ("odd", "rare class", "kind", 7, "'c' is the label of this sample alone"),
        ("odd", "empty class", "kind", None, "no sample has the label 'never'"),
        ("odd", "empty text", "kind", 6, "the label is ''"),
    ]
    assert report.classes == {"kind": {"a": 2, "b": 2, "zebra": 2, "": 1, "c": 1}}
    tolerant = mf.Category("kind", vocabulary=vocabulary, oov=True, missing="a")
    again = mf.check(mf.Dataset({"kind": labels}, inputs=tolerant))
    assert again.bad_rows.tolist() == []
    assert again.rows("unseen label").tolist() == [5, 8]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a {0}", "b", "b", "c"]),
        pa.array(["a {0}", "b", "b", "c"]).dictionary_encode(),
        pa.DictionaryArray.from_arrays([0, 1, 1, 2], ["a {0}", "b", "c", "unused"]),
    ],
    ids=["text", "dictionary", "dictionary with an unused label"],
)
def test_labels_may_be_encoded_and_hold_braces(column: pa.Array) -> None:
    """A label is quoted as it is, and what a dictionary holds but no row has does not count."""
    report = mf.check(mf.Dataset({"kind": column}, inputs=mf.Category("kind")))
    assert found(report) == [
        ("odd", "rare class", "kind", 0, "'a {0}' is the label of this sample alone"),
        ("odd", "rare class", "kind", 3, "'c' is the label of this sample alone"),
    ]


def test_empty_texts() -> None:
    """A text of nothing or of blanks alone."""
    data = mf.Dataset({"note": ["some words", "", "  \n", "words"]}, inputs=mf.Text("note", 4))
    data.adapt()
    assert found(mf.check(data)) == [
        ("odd", "empty text", "note", 1, "column 'note' is an empty text"),
        ("odd", "empty text", "note", 2, "column 'note' is an empty text"),
    ]


def test_what_has_yet_to_learn_is_checked_as_far_as_that_goes() -> None:
    """Before adapt: nulls, NaN, outliers and counts; the report says that it is not all."""
    rows = {"x": [1.0, float("nan"), 3.0], "kind": ["a", None, "a"], "note": ["one", "", "two"]}
    data = mf.Dataset(
        rows,
        inputs={"x": mf.Numeric("x", normalize=True), "note": mf.Text("note", 4)},
        targets={"kind": mf.Category("kind")},
    )
    report = mf.check(data)
    assert found(report) == [
        ("bad", "null", "kind", 1, "column 'kind' is null"),
        ("bad", "not finite", "x", 1, "column 'x' is NaN"),
        ("odd", "empty text", "note", 1, "column 'note' is an empty text"),
    ]
    assert report.unlearned == ("x", "note", "kind")
    says = "Checked in part, because they have yet to learn: x, note, kind. Check again after adapt()."
    assert str(report).splitlines()[1] == says
    # The rows that are left can be learned from, once nobody holds on to the others.
    data = data.select(report.good_rows)
    data.adapt()
    assert mf.check(data).unlearned == ()


def test_columns_without_any_value() -> None:
    """All rows null, in fields of every kind: each row is listed, and nothing else is."""
    nulls = pa.nulls(2, pa.string())
    rows = {"text": nulls, "x": pa.nulls(2, pa.float64()), "list": pa.nulls(2, pa.list_(pa.int32(), 2))}
    data = mf.Dataset(
        rows,
        inputs=(mf.Image("text", 8), mf.Numeric("x"), mf.Array("list"), mf.Text("text", 3)),
        targets={"kind": mf.Category("text", vocabulary=["a"])},
    )
    report = mf.check(data)
    assert [each[:4] for each in found(report) if each[0] == "bad"] == [
        ("bad", "null", name, row) for name in ("text", "x", "list", "text_1", "kind") for row in (0, 1)
    ]
    assert [each for each in found(report) if each[0] == "odd"] == [
        ("odd", "empty class", "kind", None, "no sample has the label 'a'"),
    ]


def test_arrays_in_memory() -> None:
    """NaN inside and blank samples of N-D arrays; a column of single numbers as numbers are."""
    scans = np.random.default_rng(0).normal(size=(6, 4, 4)).astype(np.float32)
    scans[2, 1, 1] = np.nan
    scans[4] = 7
    rows = {"scan": scans, "target": np.array([1.0, 2.0, 3.0, 4.0, 5.0, 1e6])}
    data = mf.Dataset(rows, inputs=mf.Array("scan"), targets=mf.Array("target"))
    assert found(mf.check(data)) == [
        ("odd", "not finite", "scan", 2, "holds 1 NaN or infinite numbers"),
        ("odd", "blank", "scan", 4, "all of its pixels are alike"),
        ("odd", "outlier", "target", 5, "column 'target' is 1e+06, outside of -5.25 … 12.25"),
    ]


def test_nothing_that_a_field_raises_makes_check_raise() -> None:
    """A fault that is no row's makes every row bad, and the other fields are checked all the same."""

    @dataclass(frozen=True)
    class Broken(Field):
        where: str

        @property
        def reads(self) -> tuple[str, ...]:
            return ("x",)

        def check(self, columns: Any) -> None:
            pass

        def spec_of(self, columns: Any, learned: Any) -> Spec:
            return Spec((), "float32")

        def bind(self, source: Any, learned: Any) -> Columnar | PerSample:
            if self.where == "bind":
                raise RuntimeError("no such device")
            return Matrix(np.zeros(len(source), np.float32))

        def examine(self, rows: Rows, learned: Any) -> Iterable[Remark]:
            if self.where == "examine":
                raise RuntimeError("no such device")
            return ()

    for where in ("bind", "examine"):
        data = mf.Dataset({"x": [1.0, 1e300]}, inputs=(Broken(where), mf.Numeric("x")))
        report = mf.check(data)
        limit = "holds 1e+300, which float32 cannot hold (column 'x')"
        assert found(report) == [
            ("bad", "unusable value", "x_1", 1, limit),
            ("bad", "exception", "x", None, "raises RuntimeError: no such device"),
        ]
        assert report.bad_rows.tolist() == [0, 1]


def test_a_field_says_what_is_odd_in_its_columns() -> None:
    """A kind of field in a file of its own reports by `examine`, under any name."""

    @dataclass(frozen=True)
    class Even(mf.Array):
        def examine(self, rows: Rows, learned: Any) -> Iterable[Remark]:
            odd = np.flatnonzero(rows.values(self.reads[0]) % 2)
            return [Remark("not even", odd, [f"is {value}" for value in odd], is_bad=True)]

    report = mf.check(mf.Dataset({"x": np.arange(4)}, inputs=Even("x")))
    assert ("bad", "not even", "x", 3, "is 3") in found(report)
    assert report.rows("not even").tolist() == [1, 3]


def test_20_000_rows_of_a_table() -> None:
    """Every bad row of a large table is listed, and no other; all rows bad is no worse."""
    count = 20_000
    rng = np.random.default_rng(0)
    values = rng.uniform(size=count)
    holes = rng.choice(count, 500, replace=False)
    values[holes] = np.nan
    rows = {
        "id": np.arange(count),
        "x": values,
        "kind": rng.integers(0, 5, count),
        "length": [[1.0]] * count,
    }
    data = mf.Dataset(
        rows,
        key="id",
        inputs={"x": mf.Numeric("x"), "length": mf.Array("length", shape=(2,))},
        targets=mf.Category("kind", vocabulary=[0, 1, 2, 3]),
    )
    report = mf.check(data)
    assert report.rows("not finite").tolist() == np.sort(holes).tolist()
    assert report.rows("unseen label").tolist() == np.flatnonzero(rows["kind"] == 4).tolist()
    assert report.rows("unusable value").tolist() == list(range(count))
    assert "500" in str(report)
    assert "and 300 more in report.findings" in report.to_html()


# Twice, and on both sides ----------------------------------------------------------------------------


def test_duplicate_keys() -> None:
    """A key that several rows have, also one of two columns."""
    rows = {"id": ["a", "b", "a", "c"], "eye": [1, 1, 1, 1], "x": [1.0, 2.0, 3.0, 4.0]}
    single = mf.check(mf.Dataset(rows, key="id", inputs=mf.Numeric("x")))
    assert single.rows("duplicate key").tolist() == [0, 2]
    both = mf.check(mf.Dataset(rows, key=("id", "eye"), inputs=mf.Numeric("x")).select([0, 1, 2]))
    assert found(both) == [
        ("odd", "duplicate key", "id/eye", "a/1", "the key is also that of row 2"),
        ("odd", "duplicate key", "id/eye", "a/1", "the key is also that of row 0"),
    ]


def test_keys_that_are_no_text(folder: Path) -> None:
    """Keys that are not in UTF-8 are told with their bytes, as any other."""
    content = b"k\xff1k\xff1k2"
    offsets = np.array([0, 3, 6, 8], np.int32)
    keys = pa.Array.from_buffers(pa.string(), 3, [None, pa.py_buffer(offsets), pa.py_buffer(content)])
    rows = {"id": keys, "file": ["p00.png", "p00.png", "p01.png"]}
    data = mf.Dataset(rows, key="id", root=folder, inputs=mf.Image("file", 16))
    report = mf.check(data, by="id", against=data.select([0]))
    assert ("odd", "duplicate key", "id", r"k\xff1", "the key is also that of row 1") in found(report)
    says = r"has the bytes of 'k\\xff1'"
    assert ("odd", "duplicate file", "file", r"k\xff1", says) in found(report)
    assert report.rows("on both sides").tolist() == [0, 1]


def people(folder: Path) -> mf.Dataset:
    rows = {
        "id": KEYS,
        "file": [f"p{number:02}.png" for number in range(COUNT)],
        "patient": [number // 2 for number in range(COUNT)],
    }
    return mf.Dataset(rows, key="id", root=folder, inputs=mf.Image("file", 16))


def patient(key: str) -> int:
    return int(key[1:]) // 2


def test_both_sides_of_a_split(folder: Path) -> None:
    """Groups and equal files that another part of the split has as well, with that part's name."""
    data = people(folder)
    train, val = data.split(0.5, 0.5, seed=0)
    here, there = train.keys(np.arange(6)), val.keys(np.arange(6))
    twin = folder / f"p{there[2][1:]}.png"
    twin.write_bytes((folder / f"p{here[4][1:]}.png").read_bytes())
    leaks = [key for key in here if patient(key) in map(patient, there)]
    assert leaks
    report = mf.check(train, by="patient")
    assert found(report) == [
        *(
            ("odd", "on both sides", "patient", key, f"patient '{patient(key)}' is also in part 2 of 2")
            for key in leaks
        ),
        ("odd", "on both sides", "file", here[4], f"has the bytes of {there[2]!r} in part 2 of 2"),
    ]  # fmt: skip
    back = mf.check(val, by="patient")
    says = f"has the bytes of {here[4]!r} in part 1 of 2"
    assert ("odd", "on both sides", "file", there[2], says) in found(back)
    train, val = data.split(0.5, 0.5, by="patient", seed=0)
    assert "patient" not in mf.check(train, by="patient").findings["field"].to_pylist()
    assert len(val)


def test_only_other_samples_are_another_side(folder: Path) -> None:
    """A part of a part is not compared with the part that it is of, nor a selection with its source."""
    data = people(folder)
    train, val = data.split(0.5, 0.5, by="patient", seed=0)
    first, second = train.split(0.5, 0.5, by="patient", seed=0)
    for part in (train, val, first, second, train.select([0, 1]), data.select([0, 1])):
        assert found(mf.check(part)) == []
    assert found(mf.check(first, by="patient")) == []


def test_against_other_datasets(folder: Path) -> None:
    """Groups, keys and files that another dataset has; several are told apart."""
    data = people(folder)
    mine = data.select([0, 1, 2])
    other, third = data.select([2, 3]), data.select([8])
    assert found(mf.check(mine, by="patient", against=other)) == [
        ("odd", "on both sides", "id", "k02", "the key is also in against="),
        ("odd", "on both sides", "patient", "k02", "patient '1' is also in against="),
        ("odd", "on both sides", "file", "k02", "has the bytes of 'k02' in against="),
    ]
    several = found(mf.check(mine, against=[third, other]))
    assert [each[4] for each in several] == [
        "the key is also in number 2 of against=",
        "has the bytes of 'k02' in number 2 of against=",
    ]


def test_parts_of_a_file_on_both_sides(folder: Path) -> None:
    """Members of an archive are compared as files are."""
    names = []
    for shard, order in (("a.tar", ("p00.png", "p01.png")), ("b.tar", ("p02.png", "p01.png"))):
        content = [(folder / name).read_bytes() for name in order]
        (folder / shard).write_bytes(b"".join(content))
        starts = (0, len(content[0]))
        names += [
            str(PartName(shard, name, start, len(data)))
            for name, start, data in zip(order, starts, content, strict=True)
        ]
    mine, other = (
        mf.Dataset({"file": few}, root=folder, inputs=mf.Image("file", 8))
        for few in (names[:2], names[2:])
    )
    ((*_, row, says),) = found(mf.check(mine, against=other))
    assert (row, says) == (1, "has the bytes of row 1 in against=")


def test_the_other_side_may_be_broken_or_lack_the_field(folder: Path) -> None:
    """What is wrong with the other dataset is no concern of this one's check."""
    data = people(folder)
    rows = {"file": ["gone.png", None, "p01.png"], "n": [1, 2, 3]}
    other = mf.Dataset(rows, root=folder, inputs=mf.Image("file", 8))
    says = "has the bytes of row 2 in against="
    expected = [("odd", "on both sides", "file", "k01", says)]
    assert found(mf.check(data, against=other)) == expected
    assert found(mf.check(data, against=mf.Dataset(rows, inputs=mf.Numeric("n")))) == []


def test_joined_datasets_are_checked_table_by_table(folder: Path) -> None:
    """mf.concat: rows, keys and files are those of the whole, in any order."""
    (folder / "p03.png").unlink()
    (folder / "more").mkdir()
    (folder / "more" / "p00.png").write_bytes((folder / "p05.png").read_bytes())
    first = people(folder)
    extra = mf.Dataset(
        {"id": ["n0", "n1"], "file": ["p00.png", None], "patient": [0, 9]},
        key="id",
        root=folder / "more",
        inputs=mf.Image("file", 16),
    )
    joined = mf.concat([first, extra]).select([13, 5, 3, 12, 0])
    report = mf.check(joined)
    assert found(report) == [
        ("bad", "missing file", "file", "k03", "does not exist"),
        ("bad", "null", "file", "n1", "column 'file' is null"),
        ("odd", "duplicate file", "file", "k05", "has the bytes of 'n0'"),
        ("odd", "duplicate file", "file", "n0", "has the bytes of 'k05'"),
    ]
    assert report.good_rows.tolist() == [1, 3, 4]
    assert found(mf.check(joined.select(report.good_rows), by="patient", against=extra)) != []


# Arguments -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda data: mf.check(mf.Feed(data, 2)),
            "mf.check takes a dataset; received Feed.\n  Of a loader or feed, pass its .data.",
        ),
        (
            lambda data: mf.check(data, by="x"),
            "by='x' looks for groups that two datasets share; this one is part of no split.\n"
            "  Pass against=<the other dataset>, and keep the other parts of a split in a variable.",
        ),
        (
            lambda data: mf.check(data, by="y", against=data),
            "the row table has no column 'y'.\n  There are: 'x'.",
        ),
        (
            lambda data: mf.check(data, against=[3]),
            "against= takes one or more datasets; received 3.",
        ),
        (
            lambda data: mf.check(data, workers=0),
            "workers must be a whole number of at least 1; received 0.",
        ),
        (
            lambda data: mf.check(data).rows("duplicate files"),
            "there is no kind of finding 'duplicate files'.\n  Did you mean 'duplicate file' or "
            "'duplicate key'?",
        ),
    ],
)
def test_a_users_mistake_is_an_error(call: Callable[[mf.Dataset], Any], message: str) -> None:
    """Each says what came and what to do."""
    with pytest.raises(mf.DeclarationError) as caught:
        call(numbers([1.0, 2.0]))
    assert str(caught.value) == message


def test_groups_are_single_values() -> None:
    """A column of lists, or of arrays, has no groups."""
    for column, kind in (
        ([[1]], "holds list<item: int64>"),
        (np.ones((1, 1)), "has shape (1,) a sample"),
    ):
        data = mf.Dataset({"x": column}, inputs=mf.Array("x", (1,)))
        with pytest.raises(mf.DeclarationError) as caught:
            mf.check(data, by="x", against=data)
        rule = "groups are compared by a column with one value a sample; 'x'"
        assert str(caught.value) == f"{rule} {kind}."


def test_a_kind_that_was_not_found_has_no_rows() -> None:
    """All kinds that there are can be asked for."""
    report = mf.check(numbers([1.0, 2.0]))
    for kind in ("missing file", "unusual size", "unusual spacing"):
        assert report.rows(kind).tolist() == []


# The report ------------------------------------------------------------------------------------------


def test_the_table_is_grouped_and_ends_with_what_to_do(folder: Path) -> None:
    """The whole text: what was checked, kinds with the first examples, as found, what to do."""
    (folder / "p02.png").unlink()
    save(folder / "p03.png", photo(3, "L"))
    for number in (8, 9):
        (folder / f"p{number:02}.png").write_bytes((folder / "p07.png").read_bytes())
    rows = {"id": KEYS, "file": [f"p{n:02}.png" for n in range(COUNT)], "x": [1.0] * COUNT}
    data = mf.Dataset(rows, key="id", root=folder, inputs=(mf.Image("file", 16), mf.Numeric("x")))
    text = str(mf.check(data)).replace(str(folder), "F")
    assert text.splitlines()[:4] == [
        "Checked 12 samples of 2 fields: 1 bad (would raise in training), 4 more odd (look at them), "
        "1 remark",
        "on whole columns.",
        "",
        "     kind             field  samples  the first of them",
    ]
    # Paths of any length fold in any place.
    assert re.findall(r"^(bad|odd) +(\w+ \w+) +(\w+) +(\w+) ", text, re.MULTILINE) == [
        ("bad", "missing file", "file", "1"),
        ("odd", "duplicate file", "file", "3"),
        ("odd", "constant column", "x", "all"),
        ("odd", "unusual mode", "file", "1"),
    ]
    assert text[text.index("As found") :] == (
        "As found\n"
        "file, size         30 x 40 (11)\n"
        "file, mode         rgb (10), grayscale (1)\n"
        "file, orientation  upright (11)\n"
        "\n"
        "What to do\n"
        "1 bad sample     correct them, or train on the other 11: data.select(report.good_rows)\n"
        "missing file     see whether root= or the table names the right folder\n"
        "duplicate file   keep one of them, or see whether names were mixed up\n"
        "constant column  it teaches nothing: leave it out\n"
        "unusual mode     see whether these files belong here; they are converted by the field's rules\n"
        "all findings     report.findings, report.rows(kind), report.to_html(path)"
    )  # fmt: skip


NASTY = '</td><script>alert("1")</script>[red]&amp;\x1b[31m\r\n.png'


def nasty(tmp_path: Path) -> Any:
    """Return a report in which names and labels are somebody else's words."""
    rows = {"id": [NASTY, "b"], "file": [NASTY, "<b>.png"], "kind": [NASTY, "<i>"]}
    data = mf.Dataset(
        rows,
        key="id",
        root=tmp_path,
        inputs={"<u>": mf.Image("file", 8)},
        targets={"kind": mf.Category("kind", vocabulary=["<i>"])},
    )
    return mf.check(data)


def test_text_of_others_reaches_no_terminal_unescaped(tmp_path: Path) -> None:
    """Control characters are shown, not sent; brackets are no markup."""
    text = str(nasty(tmp_path))
    assert all(each.isprintable() or each == "\n" for each in text)
    flat = text.replace("\n", "").replace(" ", "")
    assert r"[red]&amp;\x1b[31m\r\n.png" in flat
    assert '</td><script>alert("1")</script>' in flat


class Tags(HTMLParser):
    """Collects the tags of a page, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_escapes_everything_and_needs_nothing(tmp_path: Path) -> None:
    """No tag of a name gets through, all tags are closed, nothing is loaded, and no script can run."""
    report = nasty(tmp_path)
    page = report.to_html()
    parsed = Tags()
    parsed.feed(page)
    assert parsed.open == []
    assert parsed.tags == {
        "html", "head", "meta", "title", "body", "div", "style", "p", "strong", "table", "tr", "th",
        "td", "details", "summary",
    }  # fmt: skip
    assert NASTY.replace("\r", "") in "".join(parsed.text).replace("\r", "")
    assert "http:" not in page
    assert "src=" not in page
    assert "default-src 'none'" in page
    target = tmp_path / "report.html"
    assert report.to_html(target) == page
    assert target.read_bytes().decode() == page
    fragment = report._repr_html_()
    assert fragment in page
    assert "<html" not in fragment


def test_file_names_that_are_no_text(folder: Path) -> None:
    """What a user's function says may hold what UTF-8 cannot; the report holds it escaped."""

    def fussy(image: np.ndarray) -> np.ndarray:
        if image.any():
            raise ValueError("no text: \udcff")
        return image

    report = mf.check(images(folder, preprocess=fussy))
    assert found(report)[0][4] == r"raises ValueError: no text: \udcff"
    str(report).encode()
    report.to_html().encode()


# Threads and terminals -------------------------------------------------------------------------------


SLOW = """
import time
import numpy as np
import multifeed as mf

def slow(sample):
    time.sleep(0.05)
    return sample

rows = {"x": np.zeros((100_000, 2), np.float32)}
data = mf.Dataset(rows, inputs=mf.Array("x", preprocess=slow))
print("ready", flush=True)
mf.check(data, workers=4)
"""


@pytest.mark.parametrize("after_s", [0.0, 0.5])
def test_ctrl_c_ends_it(after_s: float) -> None:
    """An interrupt ends a check that would last twenty minutes, with the usual traceback."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    try:
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode != 0
    assert errors.rstrip().endswith("KeyboardInterrupt")


def all_of(leader: int) -> str:
    """Return all that was written to a pseudo-terminal whose other end is closed.

    The kernel hands it over piece by piece, some of it only after the writer has gone on.
    """
    pieces = []
    with os.fdopen(leader, "rb", buffering=0) as terminal, suppress(OSError):
        while piece := terminal.read(65_536):
            pieces.append(piece)
    return b"".join(pieces).decode()


def test_progress_is_shown_on_a_terminal_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Into a file nothing is written; on a terminal bars are, unless they are not wanted."""
    mf.check(images(folder))
    assert capsys.readouterr() == ("", "")
    written = []
    for wanted in (True, False):
        leader, follower = pty.openpty()
        with os.fdopen(follower, "w") as terminal, monkeypatch.context() as patched:
            patched.setattr(sys, "stderr", terminal)
            patched.setenv("TERM", "xterm")
            mf.check(images(folder), progress=wanted)
        written.append(all_of(leader))
    assert "checking file" in written[0]
    assert "12/12" in written[0]
    assert written[1] == ""


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what will list every file that is opened."""
    reads: list[str] = []
    original = Folder.open

    def counted(folder: Folder, name: str) -> File:
        reads.append(folder.path(name))
        return original(folder, name)

    monkeypatch.setattr(Folder, "open", counted)
    return reads


def test_each_file_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading, hashing, describing and decoding share one read."""
    reads = count_reads(monkeypatch)
    mf.check(images(folder), workers=3)
    assert sorted(reads) == sorted(str(folder / f"p{number:02}.png") for number in range(COUNT))


def test_of_another_side_only_files_of_a_size_that_occurs_here_are_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two datasets whose files differ in size are compared without reading the other one's."""
    data = people(folder)
    here, there = data.select([0, 1]), data.select([2, 3])
    sizes = [(folder / f"p{number:02}.png").stat().st_size for number in range(4)]
    assert not set(sizes[:2]) & set(sizes[2:])
    reads = count_reads(monkeypatch)
    mf.check(here, against=there)
    assert sorted(reads) == [str(folder / "p00.png"), str(folder / "p01.png")]


def test_importing_multifeed_does_not_load_rich() -> None:
    """What prints reports is loaded when a report is printed."""
    code = "import sys, multifeed; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
