"""Tiles: a row for each window of large scenes, from their headers alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import rasterio

import multifeed as mf


def write(path: Path, height: int, width: int, bands: int = 1) -> np.ndarray:
    """Write a scene in which each pixel has its own number."""
    values = np.arange(bands * height * width, dtype=np.int32).reshape(bands, height, width)
    form = {"height": height, "width": width, "count": bands, "dtype": "int32"}
    transform = rasterio.Affine.scale(10)
    with rasterio.open(path, "w", driver="GTiff", transform=transform, **form) as file:
        file.write(values)
    return values


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """A folder of two scenes, one of which holds a whole number of tiles."""
    write(tmp_path / "a.tif", 8, 12)
    write(tmp_path / "b.tif", 10, 9)
    return tmp_path


def places(table: pa.Table, scene: str) -> list[tuple[int, int]]:
    """Return where the tiles of a scene begin."""
    rows = [row for row in table.to_pylist() if row["id"] == scene]
    assert {(row["height"], row["width"]) for row in rows} <= {(4, 4)}
    assert [row["tile"] for row in rows] == [
        f"{scene}/{row['row_off']}_{row['col_off']}" for row in rows
    ]
    return [(row["row_off"], row["col_off"]) for row in rows]


def test_every_pixel_is_in_a_tile(scenes: Path) -> None:
    """Tiles stand row by row; the last ones are moved inside, or left out if that is asked."""
    table = mf.tiles(f"{scenes}/{{id}}.tif", 4)
    assert places(table, "a") == [(down, across) for down in (0, 4) for across in (0, 4, 8)]
    assert places(table, "b") == [(down, across) for down in (0, 4, 6) for across in (0, 4, 5)]
    assert table.column_names == ["scene", "id", "tile", "row_off", "col_off", "height", "width"]
    dropped = mf.tiles(f"{scenes}/{{id}}.tif", 4, edge="drop")
    assert places(dropped, "b") == [(down, across) for down in (0, 4) for across in (0, 4)]
    one = mf.tiles(scenes / "a.tif", 4)
    assert one["tile"].to_pylist()[1] == f"{scenes}/a.tif/0_4"
    overlapping = mf.tiles(f"{scenes}/{{id}}.tif", 4, (2, 8))
    assert places(overlapping, "a") == [(down, across) for down in (0, 2, 4) for across in (0, 8)]


def test_tiles_are_read_as_they_are(scenes: Path) -> None:
    """Declared as it is plainest, each tile has the pixels of its place, and together all of them."""
    data = mf.Dataset(mf.tiles(f"{scenes}/{{id}}.tif", 4), key="tile", inputs=mf.Raster("scene"))
    assert data.spec == (mf.Spec((4, 4, 1), "int32"),)
    rows = data.rows.to_pylist()
    for scene, width, count in (("a", 12, 96), ("b", 9, 90)):
        found = {
            int(value)
            for row, each in enumerate(rows)
            if each["id"] == scene
            for value in data[row][0].ravel()
        }
        assert found == set(range(count))
        first = next(row for row, each in enumerate(rows) if each["tile"] == f"{scene}/4_4")
        assert data[first][0][0, 0, 0] == 4 * width + 4
    train, val = data.split(0.5, 0.5, by="id")
    assert set(train.rows["id"].to_pylist()) | set(val.rows["id"].to_pylist()) == {"a", "b"}
    assert not set(train.rows["id"].to_pylist()) & set(val.rows["id"].to_pylist())


def test_a_table_keeps_its_columns_and_its_folder(scenes: Path, tmp_path: Path) -> None:
    """File names of a table file stay relative to it, before and after."""
    (scenes / "scenes.csv").write_text("name,file,cloud\nx,a.tif,0.5\ny,b.tif,\n")
    table = mf.tiles(scenes / "scenes.csv", (8, 4), column="file", key="name", edge="drop")
    assert table["tile"].to_pylist() == ["x/0_0", "x/0_4", "x/0_8", "y/0_0", "y/0_4"]
    assert table["cloud"].to_pylist() == [0.5, 0.5, 0.5, None, None]
    assert mf.Dataset(table, key="tile", inputs=mf.Raster("file"))[3][0].shape == (8, 4, 1)
    (scenes / "scenes.csv").write_text("name,file\nx,../a.tif\n")
    with pytest.raises(mf.DeclarationError, match="leads out of the folder of its table"):
        mf.tiles(scenes / "scenes.csv", 4, column="file")


def test_rasters_that_share_windows_have_one_size(scenes: Path) -> None:
    """Image and labels of a row are cut alike, or the error says which row it is."""
    rows = {"id": ["p", "q"], "image": ["a.tif", "b.tif"], "labels": ["a.tif", "b.tif"]}
    table = mf.tiles(rows, 4, column=["image", "labels"], key="id", root=scenes)
    assert table.num_rows == 15
    rows["labels"] = ["a.tif", "a.tif"]
    with pytest.raises(mf.DeclarationError) as caught:
        mf.tiles(rows, 4, column=["image", "labels"], key="id", root=scenes)
    assert str(caught.value) == (
        "rasters that share windows have one size; in row 1 they have: 'image' 10 x 9 pixels, 'labels' "
        "8 x 12 pixels.\n"
        "  Bring them to one grid first, e.g. with gdalwarp."
    )


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        ({"scene": ["a.tif"]}, {"size": 0},
         "size is (height, width) in pixels, each at least 1; received 0."),
        ({"scene": ["a.tif"]}, {"stride": (1, -1)},
         "stride is (height, width) in pixels, each at least 1; received (1, -1)."),
        ({"scene": ["a.tif"]}, {"edge": "pad"},
         "edge must be one of 'shift', 'drop'; received 'pad'."),
        ({"scene": ["a.tif"]}, {"key": "id"},
         "the row table has no key column 'id'.\n  There are: 'scene'."),
        ({"scene": ["a.tif"], "width": [1]}, {},
         "tiles have a column 'width' of their own, and so has the row table.\n  Rename that one."),
        ({"scene": ["a.tif", None]}, {},
         "a scene is a file; 'scene' is null in row 1.\n  Leave the row out."),
        ({"scene": [1]}, {}, "'scene' is to hold names of GeoTIFF files; it holds int64."),
        ({"scene": ["a.tif", "b.tif"]}, {"size": (9, 4)},
         "a tile of 9 x 4 pixels does not fit into 'a.tif', which has 8 x 12 pixels.\n"
         '  Pass a smaller size, or edge="drop" to leave such scenes out.'),
        ({"scene": ["a.tif", "b.tif"]}, {"size": (90, 4), "edge": "drop"},
         "no scene holds a tile of 90 x 4 pixels.\n  Pass a smaller size."),
    ],
)  # fmt: skip
def test_what_cannot_be_cut_is_told(
    scenes: Path, rows: dict[str, Any], options: dict[str, Any], said: str
) -> None:
    """Each error says what is wrong, and what to do."""
    with pytest.raises(mf.DeclarationError) as caught:
        mf.tiles(rows, **{"size": 4, "root": scenes, **options})
    assert str(caught.value) == said


def test_files_that_are_none_are_named(scenes: Path) -> None:
    """A scene that cannot be read is an error here already, as is a pattern that matches nothing."""
    (scenes / "c.tif").write_bytes(b"no scene at all")
    with pytest.raises(mf.DeclarationError) as caught:
        mf.tiles(f"{scenes}/{{id}}.tif", 4)
    assert str(caught.value) == (
        f"the file '{scenes}/c.tif' is no TIFF file: it begins with b'no s'.\n"
        "  Replace the file, or leave its row out of the table."
    )
    with pytest.raises(mf.DeclarationError, match="the pattern matches no file: "):
        mf.tiles(f"{scenes}/{{id}}.jp2", 4)
