"""Raster: what rasterio reads, to the last bit; windows, bands, nodata, sizes; what is refused."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tarfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from limits import no_more_files
from rasterio.enums import Resampling

import multifeed as mf
from multifeed.fields.geotiff import Scene, Window
from multifeed.files import File
from multifeed.folder import Folder

Array = np.ndarray[Any, Any]


def scene(bands: int = 12, dtype: str = "uint16", size: tuple[int, int] = (70, 90)) -> Array:
    """Return values that differ everywhere, ``[bands, height, width]``."""
    count = bands * size[0] * size[1]
    return (np.arange(count) * 7919 % 60_013 % 2**15).astype(dtype).reshape(bands, *size)


def write(path: Path, values: Array, mask: Array | None = None, **options: Any) -> Path:
    """Write a GeoTIFF, with an internal mask if there is one."""
    count, height, width = values.shape
    form = {"count": count, "height": height, "width": width, "dtype": values.dtype.name}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", driver="GTiff", transform=rasterio.Affine.scale(10), **form, **options
        ) as file,
    ):
        file.write(values)
        if mask is not None:
            file.write_mask(mask)
    return path


def read(
    path: Path | str, row: int = 0, /, columns: dict[str, Any] | None = None, **field: Any
) -> Array:
    """Return a sample."""
    rows = {"scene": [str(path)] * (row + 1), **(columns or {})}
    values: Array = mf.Dataset(rows, inputs=mf.Raster("scene", **field))[row][0]
    return values


def refused(*arguments: Any, **options: Any) -> str:
    """Return what the error says of a sample that is refused."""
    with pytest.raises(mf.SampleError) as caught:
        read(*arguments, **options)
    return str(caught.value)


FORMS: dict[str, dict[str, Any]] = {
    "striped": {},
    "tiled deflate": {"tiled": True, "blockxsize": 32, "blockysize": 16, "compress": "deflate"},
    "band by band lzw": {"interleave": "band", "compress": "lzw", "predictor": 2},
    "big-endian": {"ENDIANNESS": "BIG"},
    "BigTIFF zstd": {"BIGTIFF": "YES", "compress": "zstd"},
    "COG": {"tiled": True, "blockxsize": 16, "blockysize": 16, "copy_src_overviews": True},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_it_reads_what_rasterio_reads(form: str, dtype: str, tmp_path: Path) -> None:
    """12 bands with nodata, in every way to lay them out: the same values, bands last."""
    values = scene(dtype=dtype)
    path = write(tmp_path / "scene.tif", values, nodata=0, **FORMS[form])
    found = read(path)
    assert (found.dtype, found.shape) == (np.dtype(dtype), (70, 90, 12))
    assert (found == values.transpose(1, 2, 0)).all()
    for bands in ([4, 3, 2], np.array([4, 3, 2]), range(4, 1, -1)):
        assert (read(path, bands=bands) == values[[3, 2, 1]].transpose(1, 2, 0)).all()


@pytest.mark.parametrize(
    ("dtype", "becomes"),
    [("uint8", "uint8"), ("int8", "int8"), ("uint32", "uint32"), ("int32", "int32"),
     ("int64", "int32"), ("uint64", "int32"), ("float64", "float32")],
)  # fmt: skip
def test_dtypes_stay_but_the_widest(dtype: str, becomes: str, tmp_path: Path) -> None:
    """Native dtypes, but int64 becomes int32 and float64 float32, as in other fields."""
    values = scene(2, size=(9, 8)).astype(dtype)
    found = read(write(tmp_path / "scene.tif", values))
    assert found.dtype == becomes
    assert (found == values.transpose(1, 2, 0)).all()


def test_numbers_that_the_dtype_cannot_hold_are_refused(tmp_path: Path) -> None:
    """A declared dtype holds what the file has, or the sample is an error."""
    path = write(tmp_path / "scene.tif", np.full((1, 4, 4), 70_000, "int64"))
    assert read(path, dtype="float64").max() == 70_000
    assert "cannot be used: the file holds 70000, which uint16 cannot hold." in refused(
        path, dtype="uint16"
    )


def test_scale_multiplies_after_everything(tmp_path: Path) -> None:
    """The dtype is then float32; `restore` divides; nodata is in units of the file."""
    values = scene(3)
    path = write(tmp_path / "scene.tif", values, nodata=int(values[0, 0, 0]))
    data = mf.Dataset({"scene": [str(path)]}, inputs=mf.Raster("scene", nodata=10_000, scale=1e-4))
    found = data[0][0]
    assert found.dtype == np.float32
    assert found[0, 0, 0] == np.float32(1)
    expected = values.transpose(1, 2, 0) * np.float32(1e-4)
    assert np.allclose(found[1:], expected[1:], rtol=1e-6)
    assert np.allclose(data.fields["scene"].restore(found, None)[1:], values[:, 1:].transpose(1, 2, 0))


def test_palettes_are_not_looked_up(tmp_path: Path) -> None:
    """A palette is numbers of colours, as in rasterio."""
    path = write(tmp_path / "scene.tif", scene(1, "uint8") % 4)
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {0: (255, 0, 0, 255), 3: (0, 255, 0, 255)})
    assert (read(path)[..., 0] == scene(1, "uint8")[0] % 4).all()


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    """They are no numbers that a model takes; nothing is dropped in silence."""
    path = write(tmp_path / "scene.tif", np.ones((1, 4, 4), "complex64"))
    assert refused(path, bands=1, size=4, dtype="float32") == (
        "'scene' of row 0 cannot be used: the file holds complex64, not numbers of one part.\n"
        f"  File: {path} (row 0).\n"
        "  Write its parts as two bands."
    )


def test_bands_by_name(tmp_path: Path) -> None:
    """Descriptions name bands, whatever their order in each file; one that is lacking is told."""
    values = scene(3)
    for number, names in enumerate([["B02", "B03", "B08"], ["B08", "B02", "B03"]]):
        path = write(tmp_path / f"scene{number}.tif", values)
        with rasterio.open(path, "r+") as file:
            for band, name in enumerate(names):
                file.set_band_description(band + 1, name)
        found = read(path, bands=["B08", "B02"])
        picked = [names.index("B08"), names.index("B02")]
        assert (found == values[picked].transpose(1, 2, 0)).all()
    told = refused(path, bands="B04")
    assert "the file has not one band 'B04'; it has 'B08', 'B02', 'B03'.\n" in told
    plain = write(tmp_path / "plain.tif", values)
    assert "has not one band 'B04'; its bands have no names." in refused(plain, bands="B04")
    assert "the file has 3 bands, and no band 4." in refused(plain, bands=[4])


WINDOW = {"row_off": [0, 13, 38], "col_off": [0, 27, 58], "height": [32] * 3, "width": [32] * 3}


def test_columns_of_windows_are_read_as_windows(tmp_path: Path) -> None:
    """Declared as it is plainest, with all four columns in the table; or by names; or never."""
    values = scene()
    path = write(tmp_path / "scene.tif", values, **FORMS["tiled deflate"])
    rows = {"scene": [str(path)] * 3, **WINDOW}
    data = mf.Dataset(rows, inputs=mf.Raster("scene"))
    assert data.spec == (mf.Spec((32, 32, 12), "uint16"),)
    for row, (down, across) in enumerate(zip(WINDOW["row_off"], WINDOW["col_off"], strict=True)):
        expected = values[:, down : down + 32, across : across + 32]
        assert (data[row][0] == expected.transpose(1, 2, 0)).all()
    whole = read(path, 2, columns=WINDOW, window=False)
    assert whole.shape == (70, 90, 12)
    named = {"r": [5], "c": [6], "h": [7], "w": [8]}
    found = read(path, columns=named, window=["r", "c", "h", "w"])
    assert (found == values[:, 5:12, 6:14].transpose(1, 2, 0)).all()
    # Three of the four are no window, but columns that mean something else.
    assert read(path, columns={"height": [1], "width": [1], "row_off": [1]}).shape == (70, 90, 12)


@pytest.mark.parametrize(
    ("name", "value"), [("row_off", 39), ("col_off", 59), ("row_off", -1), ("height", 0), ("width", -3)]
)
def test_a_window_that_is_not_inside_names_its_row(name: str, value: int, tmp_path: Path) -> None:
    """Nothing is filled in beyond the edge: the row is an error, the others are read."""
    path = write(tmp_path / "scene.tif", scene(1))
    window = {key: list(values) for key, values in WINDOW.items()}
    window[name][2] = value
    top, left, height, width = (each[2] for each in window.values())
    assert refused(path, 2, columns=window, size=32) == (
        "'scene' of row 2 cannot be used: the file has 70 x 90 pixels (height x width), and not the "
        f"window of {height} x {width} from row {top} and column {left} on.\n"
        f"  File: {path} (row 2).\n"
        "  Correct the columns of the window; mf.tiles makes windows that fit."
    )
    assert read(path, 1, columns={key: each[:2] for key, each in window.items()}, size=32).any()


def test_a_window_is_read_without_the_rest(tmp_path: Path) -> None:
    """Bytes are counted: of a large scene, those of its blocks, and the header."""
    noise = np.random.default_rng(0).integers(0, 60_000, (1, 1024, 1024), np.uint16)
    path = write(tmp_path / "scene.tif", noise, tiled=True, blockxsize=128, blockysize=128)
    window = {"row_off": [128], "col_off": [256], "height": [128], "width": [128]}
    rows = {"scene": [str(path)], **window}
    data = mf.Dataset(rows, inputs=mf.Raster("scene"))
    data.plan()
    before = bytes_read()
    assert (data[0][0][..., 0] == noise[0, 128:256, 256:384]).all()
    assert bytes_read() - before < 128 * 128 * 2 + 100_000 < path.stat().st_size / 10


def bytes_read() -> int:
    """Return how many bytes this process has asked files for."""
    told = Path("/proc/self/io").read_text()
    return int(told.partition("rchar: ")[2].split()[0])


def test_overviews_are_used_where_it_shrinks(tmp_path: Path) -> None:
    """Of a scene with overviews, the one that suffices is read, and no pixel of the scene."""
    values = np.full((1, 512, 512), 100, np.uint8)
    path = write(tmp_path / "scene.tif", values, tiled=True, blockxsize=64, blockysize=64)
    assert (read(path, size=128) == 100).all()
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4], Resampling.average)
    with rasterio.open(path, "r+") as file:
        # The overviews stay as they were.
        file.write(np.full((1, 512, 512), 7, np.uint8))
    for size, value in ((512, 7), (300, 7), (256, 100), (128, 100), (40, 100)):
        assert (read(path, size=size) == value).all(), size
    window = {"row_off": [0], "col_off": [100], "height": [256], "width": [256]}
    assert (read(path, columns=window, size=64) == 100).all()
    assert (read(path, columns=window) == 7).all()
    # What has to be decoded is limited; with overviews that is little.
    assert (read(path, size=128, max_pixels=128 * 128) == 100).all()
    assert "has too many pixels to be decoded for one sample (262,144 where 16,384 are the limit)" in (
        refused(path, size=300, max_pixels=128 * 128)
    )


@pytest.mark.parametrize("size", [(35, 45), (23, 31), (10, 60)])
def test_shrinking_averages_over_all_pixels(size: tuple[int, int], tmp_path: Path) -> None:
    """Bilinear is that of Pillow, to the rounding; nearest is the pixel under each centre."""
    from PIL import Image as PILImage

    smooth = (1000 + 900 * np.sin(np.add.outer(np.arange(70) / 5, np.arange(90) / 7))).astype(np.float32)
    path = write(tmp_path / "scene.tif", smooth[None])
    expected = np.asarray(PILImage.fromarray(smooth).resize(size[::-1], PILImage.Resampling.BILINEAR))
    assert np.abs(read(path, size=size)[..., 0] - expected).max() < (1.0 if size[1] <= 45 else 0.5)
    down = ((np.arange(size[0]) + 0.5) * 70 / size[0]).astype(int)
    across = ((np.arange(size[1]) + 0.5) * 90 / size[1]).astype(int)
    labels = read(path, size=size, interpolation="nearest")
    assert (labels[..., 0] == smooth[np.ix_(down, across)]).all()


def test_nodata_is_replaced_or_left(tmp_path: Path) -> None:
    """The file's own nodata value, NaN, its mask and its alpha band: each becomes `nodata`."""
    values = scene(3, "int16") % 1000
    hidden = np.zeros((70, 90), bool)
    hidden[:30, 40:] = True
    marked = np.where(hidden, np.int16(-9999), values)
    path = write(tmp_path / "value.tif", marked, nodata=-9999)
    kept = values.transpose(1, 2, 0)
    assert (read(path) == marked.transpose(1, 2, 0)).all()
    for nodata in (0, -1):
        found = read(path, nodata=nodata)
        assert (found[hidden] == nodata).all()
        assert (found[~hidden] == kept[~hidden]).all()
    found = read(path, nodata=np.nan, dtype="float32")
    assert (np.isnan(found) == hidden[..., None]).all()
    # Only some of the bands.
    partial = values.copy()
    partial[1][hidden] = -9999
    found = read(write(tmp_path / "one.tif", partial, nodata=-9999), nodata=5, bands=[2, 3])
    assert (found[hidden, 0] == 5).all()
    assert (found[..., 1] == values[2]).all()
    masked = write(tmp_path / "mask.tif", values, mask=~hidden)
    found = read(masked, nodata=-1)
    assert (found[hidden] == -1).all()
    assert (found[~hidden] == kept[~hidden]).all()
    alpha = np.concatenate([values, np.where(hidden, 0, 255)[None].astype("int16")]).astype("uint8")
    path = write(tmp_path / "alpha.tif", alpha, photometric="rgb", alpha="yes")
    assert (read(path, nodata=9, bands=[1, 2, 3])[hidden] == 9).all()
    floats = np.where(hidden, np.nan, values).astype("float32")
    for nodata in (None, np.nan):
        path = write(tmp_path / "nan.tif", floats, nodata=nodata)
        assert (np.isnan(read(path)) == hidden[..., None]).all()
        assert (read(path, nodata=0)[hidden] == 0).all()
        assert (read(path, nodata=0)[~hidden] == kept[~hidden]).all()


def test_averages_leave_out_what_has_no_value(tmp_path: Path) -> None:
    """Where it shrinks, -9999 is not mixed with reflectance."""
    values = np.full((1, 64, 64), 100, "int16")
    values[0, ::3, 1::2] = -9999
    values[0, :, 40:] = -9999
    path = write(tmp_path / "scene.tif", values, nodata=-9999)
    found = read(path, size=16, nodata=0)[..., 0]
    assert (found[:, :10] == 100).all()
    assert (found[:, 11:] == 0).all()


def test_what_is_left_to_the_files_must_agree(tmp_path: Path) -> None:
    """Size, number of bands and dtype come from the headers, or the error says what to pass."""
    write(tmp_path / "a.tif", scene(3))
    write(tmp_path / "b.tif", scene(4, size=(60, 90)))
    write(tmp_path / "c.tif", scene(3))
    rows = {"scene": ["a.tif", "c.tif", "a.tif", None]}
    field = mf.Raster("scene", missing="zero")
    assert mf.Dataset(rows, inputs=field, root=tmp_path).spec == (mf.Spec((70, 90, 3), "uint16"),)
    for options, left, said, instead in (
        ({}, "70 x 90 pixels of 3 bands of uint16", "60 x 90 pixels of 4 bands of uint16",
         'size=(height, width), bands=[1, 2, 3], dtype="float32"'),
        ({"size": 8, "dtype": "uint16"}, "3 bands", "4 bands", "bands=[1, 2, 3]"),
        ({"bands": 1}, "70 x 90 pixels of uint16", "60 x 90 pixels of uint16",
         'size=(height, width), dtype="float32"'),
    ):  # fmt: skip
        with pytest.raises(mf.DeclarationError) as caught:
            mf.Dataset(
                {"scene": ["a.tif", "b.tif"]}, inputs=mf.Raster("scene", **options), root=tmp_path
            )
        assert str(caught.value) == (
            "field 'scene': the files in 'scene' differ, so none of them says what a sample is: "
            f"'a.tif' has {left}, 'b.tif' has {said}.\n"
            f"  Say what they shall be, e.g. mf.Raster('scene', {instead})."
        )
    field = mf.Raster("scene", bands=[1, 2], size=8)
    assert mf.Dataset({"scene": ["a.tif", "b.tif"]}, inputs=field, root=tmp_path)[1][0].any()
    with pytest.raises(mf.DeclarationError, match="no file in 'scene' says what a sample is"):
        mf.Dataset({"scene": ["none.tif"]}, inputs=mf.Raster("scene"), root=tmp_path)


def test_declarations_that_cannot_work(tmp_path: Path) -> None:
    """Each is refused when it is made, or when the columns are known, with what to do instead."""
    for options, said in (
        ({"bands": [0]}, "bands are numbers from 1 on, as GDAL counts, or names; received [0].\n"
         "  Write e.g. bands=[4, 3, 2]."),
        ({"bands": []}, "bands are numbers from 1 on, as GDAL counts, or names; received [].\n"
         "  Write e.g. bands=[4, 3, 2]."),
        ({"size": 0}, "size is (height, width) in pixels, each at least 1; received 0."),
        ({"window": "row_off"}, "window is the names of four columns (first row, first column, height "
         "and width), None or False; received 'row_off'.\n"
         "  Write e.g. window=('row_off', 'col_off', 'height', 'width')."),
        ({"nodata": "none"}, "nodata is one number, or None; received 'none'."),
        ({"interpolation": "cubic"},
         "interpolation must be one of 'bilinear', 'nearest'; received 'cubic'."),
        ({"dtype": "complex64"}, "dtype must be a NumPy number's name; received 'complex64'."),
        ({"max_pixels": 0}, "max_pixels must be a whole number of at least 1; received 0."),
    ):  # fmt: skip
        with pytest.raises(mf.DeclarationError) as caught:
            mf.Raster("scene", **options)
        assert str(caught.value) == said
    full = {"bands": 1, "size": 4, "dtype": "uint8"}
    for columns, options, said in (
        ({"scene": np.zeros((2, 4, 4))}, {},
         "a Raster column holds names of GeoTIFF files; 'scene' holds arrays of shape (4, 4).\n"
         "  Declare rasters that are in memory already as mf.Array('scene')."),
        ({"scene": [1, 2]}, {}, "a Raster column holds names of GeoTIFF files; 'scene' holds int64.\n"
         "  Declare rasters that are in memory already as mf.Array('scene')."),
        ({"scene": ["a", "b"], **{name: [1.0, 2.0] for name in WINDOW}}, {},
         "the columns of a window hold one whole number a row; 'row_off' holds double.\n"
         "  Convert it, or pass window=False to mf.Raster('scene')."),
        ({"scene": ["a", "b"]}, {"nodata": 300},
         "nodata is a value that pixels can have; uint8 cannot hold 300."),
        ({"scene": ["a", "b"]}, {"nodata": np.nan},
         "nodata is a value that pixels can have; uint8 cannot hold nan."),
        ({"scene": ["a", "b"], **{name: [8, 9] for name in WINDOW}}, {"size": None},
         "windows of several sizes cannot share a batch: 'height' holds 8, 9.\n"
         "  Pass size=(height, width), to which each is brought."),
    ):  # fmt: skip
        with pytest.raises(mf.DeclarationError) as caught:
            mf.Dataset(columns, inputs=mf.Raster("scene", **{**full, **options}))
        assert str(caught.value) == f"field 'scene': {said}"


def test_a_window_that_is_null_is_missing(tmp_path: Path) -> None:
    """As a file name that is null: filled where `missing` says so."""
    path = write(tmp_path / "scene.tif", scene(1))
    window = {name: [1, None] for name in WINDOW} | {"height": [4, 4], "width": [4, 4]}
    assert (read(path, 1, columns=window, missing=3) == 3).all()
    with pytest.raises(mf.SampleError, match="it is missing: the column is null"):
        read(path, 1, columns=window)


def test_geometry_moves_all_bands_and_their_labels(tmp_path: Path) -> None:
    """12 bands of uint16 and a label map share a draw: a crop is what NumPy cuts, and both the same."""
    values = scene(12, size=(64, 64))
    write(tmp_path / "scene.tif", values)
    write(tmp_path / "labels.tif", (values[:1] % 5).astype("uint8"))
    data = mf.Dataset(
        {"scene": ["scene.tif"] * 4, "labels": ["labels.tif"] * 4},
        inputs={"scene": mf.Raster("scene", size=40, base_size=64)},
        targets={"labels": mf.Raster("labels", size=40, base_size=64, interpolation="nearest")},
        root=tmp_path,
    )
    both = ["scene", "labels"]
    with mf.Feed(data, 4, augment=[mf.RandomCrop(both), mf.RandomFlip(both)]) as feed:
        inputs, targets = feed.batch(0, 0)
    assert inputs["scene"].dtype == np.uint16
    assert (targets["labels"][..., 0] == inputs["scene"][..., 0] % 5).all()
    windows = np.lib.stride_tricks.sliding_window_view(values.transpose(1, 2, 0), (40, 40), (0, 1))
    for crop in inputs["scene"]:
        both_ways = (crop, crop[:, ::-1])
        assert any((windows == each.transpose(2, 0, 1)).all((2, 3, 4)).any() for each in both_ways)
    affine = mf.RandomAffine(both, rotation=40, zoom=0.2, fill="reflect")
    with mf.Feed(data, 4, augment=[affine]) as feed:
        inputs, targets = feed.batch(0, 0)
    assert set(np.unique(targets["labels"])) <= set(range(5))


def test_points_follow_a_window(tmp_path: Path) -> None:
    """Places in the scene are told as places in the tile that is made of its window."""
    path = write(tmp_path / "scene.tif", scene(1))
    window = {"row_off": [10], "col_off": [20], "height": [40], "width": [40]}
    rows = {"scene": [str(path)], "points": np.array([[[30.0, 30.0], [20.0, 10.0]]]), **window}
    inputs = {"scene": mf.Raster("scene", size=20), "at": mf.Points("points", image="scene")}
    assert mf.Dataset(rows, inputs=inputs)[0][0]["at"].tolist() == [[5, 10], [0, 0]]


def test_files_beside_the_named_one_are_never_read(tmp_path: Path) -> None:
    """Overviews, masks and metadata in files of their own: neither found by GDAL, nor opened."""
    path = write(tmp_path / "scene.tif", np.full((1, 64, 64), 100, np.uint8))
    write(tmp_path / "scene.tif.ovr", np.full((1, 32, 32), 7, np.uint8))
    write(tmp_path / "scene.tif.msk", np.zeros((1, 64, 64), np.uint8))
    (tmp_path / "scene.tif.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><NoDataValue>100</NoDataValue></PAMRasterBand></PAMDataset>'
    )
    with rasterio.open(path) as file:
        assert (file.nodata, file.overviews(1)) == (100, [2])
    assert (read(path, size=16, nodata=3) == 100).all()
    # As where an open file has no other path than its name.
    opened = Scene(_Plain(str(tmp_path), True), "scene.tif")
    assert opened.cost(Window(0, 0, 64, 64), (16, 16)) == 64 * 64
    assert opened.size == (64, 64)
    opened.close()


class _Plain(Folder):
    """A folder of files that libraries open under their own names."""

    def open(self, name: str) -> File:
        opened = super().open(name)
        kind = type("Plain", (type(opened),), {"path": self.path(name)})
        opened.__class__ = kind
        return opened


VIRTUAL = (
    '<VRTDataset rasterXSize="20" rasterYSize="20"><VRTRasterBand dataType="Byte" band="1">'
    '<SimpleSource><SourceFilename relativeToVRT="0">{}</SourceFilename></SimpleSource>'
    "</VRTRasterBand></VRTDataset>"
)


def test_only_geotiff_is_read(tmp_path: Path) -> None:
    """A virtual raster, which names other files and addresses, and other formats are refused."""
    secret = write(tmp_path / "secret.tif", np.ones((1, 20, 20), np.uint8))
    path = tmp_path / "scene.tif"
    path.write_text(VIRTUAL.format(secret))
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning), rasterio.open(path) as file:
        assert file.driver == "VRT"
    told = refused(path, bands=1, size=20, dtype="uint8")
    assert "cannot be used: the file is no TIFF file: it begins with b'<VRT'." in told
    for name in ("/vsicurl/http://127.0.0.1:9/x.tif", "GTIFF_DIR:1:x.tif"):
        assert "does not exist" in refused(name, bands=1, size=20, dtype="uint8")


def test_parts_of_files_are_read_in_place(tmp_path: Path) -> None:
    """A member of a tar archive is read through a stream, whole or by windows."""
    values = scene(3)
    path = write(tmp_path / "scene.tif", values, **FORMS["tiled deflate"])
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        archive.add(path, "other.tif")
        archive.add(path, "scene.tif")
    with tarfile.open(tmp_path / "shard.tar") as archive:
        member = archive.getmember("scene.tif")
    name = f"{tmp_path}/shard.tar::scene.tif@{member.offset_data}+{member.size}"
    assert (read(name) == values.transpose(1, 2, 0)).all()
    window = {key: each[2:] for key, each in WINDOW.items()}
    assert (read(name, columns=window) == values[:, 38:, 58:].transpose(1, 2, 0)).all()
    cut = f"{tmp_path}/shard.tar::scene.tif@{member.offset_data}+{member.size // 2}"
    assert "is a damaged GeoTIFF file (" in refused(cut, bands=1, size=8, dtype="uint8")


def test_a_limit_of_open_files_makes_no_scene_a_damaged_one(tmp_path: Path) -> None:
    """Row 12: GDAL opens files once more; where it cannot, scenes that are open make room."""
    names = [str(write(tmp_path / f"{number}.tif", scene(1))) for number in range(3)]
    data = mf.Dataset({"scene": names}, inputs=mf.Raster("scene"))
    with no_more_files() as opened:
        os.close(opened.pop())
        with pytest.raises(mf.SampleError, match=r"cannot be opened \(Too many open files\)"):
            data[0]
        os.close(opened.pop())
        for row in range(3):
            assert (data[row][0][..., 0] == scene(1)[0]).all()


def test_readers_travel_and_share_nothing(tmp_path: Path) -> None:
    """A copy by pickle opens files itself; eight threads that read windows get what one gets."""
    path = write(tmp_path / "scene.tif", scene(), **FORMS["tiled deflate"])
    rows = {"scene": [str(path)] * 3, **WINDOW}
    data = mf.Dataset(rows, inputs=mf.Raster("scene"))
    expected = [data[row][0] for row in range(3)]
    (reader,) = data.plan()._per_sample.values()
    copy = pickle.loads(pickle.dumps(reader))
    found: list[bool] = []

    def work(number: int) -> None:
        out = np.empty((32, 32, 12), np.uint16)
        for turn in range(20):
            row = (turn + number) % 3
            copy.decode(row, copy.load(row), out)
            found.append((out == expected[row]).all())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 160
    assert all(found)


QUIET = """
import sys
import numpy as np
import multifeed as mf

def read(name):
    field = mf.Raster("x", bands=1, size=8, dtype="float32", nodata=0)
    data = mf.Dataset({"x": [name] * 8}, inputs=field)
    with mf.Feed(data, 2, workers=2, on_error="drop", max_bad=1.0) as feed:
        return sum(1 for _ in feed)

print(read(sys.argv[1]), read(sys.argv[2]))
"""


def test_nothing_is_printed(tmp_path: Path) -> None:
    """Neither of files that lie nowhere on earth, nor of damaged ones, in threads either."""
    path = tmp_path / "scene.tif"
    form = {"height": 64, "width": 64, "count": 1, "dtype": "uint16", "compress": "deflate"}
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        file = rasterio.open(path, "w", driver="GTiff", **form)
    with file:
        file.write(scene(1, size=(64, 64)))
    content = bytearray(path.read_bytes())
    content[-400:-300] = bytes(100)
    (tmp_path / "damaged.tif").write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", QUIET, str(path), str(tmp_path / "damaged.tif")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.split()[0] == "4", done.stderr
    assert done.stderr == ""


def test_what_is_found_is_described(tmp_path: Path) -> None:
    """`mf.check` tells of the one raster among many that is of another size or dtype."""
    write(tmp_path / "a.tif", scene(2))
    write(tmp_path / "b.tif", scene(2, "int16", (30, 40)))
    rows = {"id": [f"k{number}" for number in range(40)], "x": ["a.tif"] * 39 + ["b.tif"]}
    field = mf.Raster("x", bands=[1, 2], size=16, dtype="float32")
    report = mf.check(mf.Dataset(rows, key="id", inputs=field, root=tmp_path), progress=False)
    assert "int16" in str(report)
    assert "30" in str(report)
