"""Scenes cut into tiles: a row for each window of a large raster."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from multifeed.errors import BadValue, DeclarationError, lines, near, one_line
from multifeed.fields.geotiff import Scene, Size
from multifeed.fields.raster import WINDOW
from multifeed.fields.rows import NDArray, Source
from multifeed.fields.shared import checked_size, column_names, holds_text, one_of
from multifeed.files import of_table
from multifeed.folder import Folder
from multifeed.listing import Pattern
from multifeed.table import Columns, as_table, is_path, is_table_file

# Headers that are asked for at once: each waits for a disk.
_THREADS = 16

TILE = "tile"


def tiles(
    rows: Any,
    size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    *,
    column: str | Sequence[str] = "scene",
    key: str | None = None,
    edge: str = "shift",
    root: str | os.PathLike[str] | None = None,
    allow_outside: bool = False,
) -> pa.Table:
    """Cut scenes into tiles: one row for each window of each scene.

    Only headers are read, several at a time. The windows are what `Raster` reads by default.

    Args:
        rows: A row table, one row a scene; or a path pattern such as ``"scenes/{id}.tif"``, whose braces
            become columns; or the path of a single scene.
        size: (height, width) of a tile, in pixels; one number for a square.
        stride: (down, across) from one tile to the next, in pixels; `size` by default. Smaller, tiles
            overlap; larger, what lies between them is left out.
        column: The column of names of GeoTIFF files; of a pattern, what it shall be called. Several, if
            a window is to be read from each: the rasters of a row must then have one size.
        key: The column that names a scene; by default the pattern's only brace, else the file's name.
        edge: What becomes of the last tiles, where they would reach beyond the scene: ``"shift"`` moves
            them inside, so that no edge is lost; ``"drop"`` leaves them out.
        root: Folder that relative file names start from, as for `Dataset`.
        allow_outside: Whether file names may leave that folder, as for `Dataset`.

    Returns:
        A `pyarrow.Table`: the columns of `rows`, ``tile`` (text, a name of each, such as ``"a/0_256"``),
        and ``row_off``, ``col_off``, ``height`` and ``width`` (int64). Scenes stand in the order of
        `rows`, tiles row by row.

    Raises:
        DeclarationError: If a file is no GeoTIFF, rasters of a row differ in size, ``"shift"`` has no
            room since a scene is smaller than a tile, or no tile is left.

    Example:
        >>> tiles("scenes/*.tif", 256, edge="fold")
        Traceback (most recent call last):
        ...
        multifeed.errors.DeclarationError: edge must be one of 'shift', 'drop'; received 'fold'.
    """
    tile = checked_size("size", size)
    step = tile if stride is None else checked_size("stride", stride)
    one_of("edge", edge, ("shift", "drop"))
    names = column_names(column)
    table, key = _table(rows, names[0], key)
    _refuse_clash(table)
    source = Source(Columns(table), None, None if root is None else os.path.abspath(root), allow_outside)
    sizes = _sizes(source, names)
    windows = [_windows(scene, tile, step, edge) for scene in sizes]
    for row, found in enumerate(windows):
        if not len(found) and edge == "shift":
            raise DeclarationError(
                lines(
                    f"a tile of {_shown(tile)} does not fit into {_name(table, names[0], row)}, which "
                    f"has {_shown(sizes[row])}.",
                    'Pass a smaller size, or edge="drop" to leave such scenes out.',
                )
            )
    return _cut(table, windows, tile, _scenes(table, names[0], key))


def _table(rows: Any, column: str, key: str | None) -> tuple[pa.Table, str | None]:
    """Return the table of scenes, and the column that names them, if there is one."""
    if is_path(rows) and not is_table_file(rows):
        pattern = Pattern(rows)
        table = pattern.table(column)
        if not table.num_rows:
            raise DeclarationError(
                lines(f"the pattern matches no file: {pattern.text!r}.", pattern.why_empty())
            )
        if key is None and len(pattern.names) == 1:
            key = pattern.names[0]
    else:
        table = as_table(rows, "rows")
    if key is not None and key not in table.column_names:
        raise DeclarationError(
            lines(f"the row table has no key column {key!r}.", near(key, table.column_names))
        )
    return table, key


def _refuse_clash(table: pa.Table) -> None:
    for name in (TILE, *WINDOW):
        if name in table.column_names:
            raise DeclarationError(
                lines(
                    f"tiles have a column {name!r} of their own, and so has the row table.",
                    "Rename that one.",
                )
            )


def _sizes(source: Source, names: tuple[str, ...]) -> list[Size]:
    """Return the size of each scene, which all of its rasters have."""
    found = [_sizes_in(source, name) for name in names]
    for row, sizes in enumerate(zip(*found, strict=True)):
        if len(set(sizes)) > 1:
            said = ", ".join(f"{name!r} {_shown(size)}" for name, size in zip(names, sizes, strict=True))
            raise DeclarationError(
                lines(
                    f"rasters that share windows have one size; in row {row:,} they have: {said}.",
                    "Bring them to one grid first, e.g. with gdalwarp.",
                )
            )
    return found[0]


def _sizes_in(source: Source, name: str) -> list[Size]:
    """Return the size of each raster that a column names."""
    cells = source.columns[name]
    if not holds_text(cells.type):
        raise DeclarationError(f"{name!r} is to hold names of GeoTIFF files; it holds {cells.type}.")
    folder, listed = source.folder(name), cells.to_pylist()
    if None in listed:
        raise DeclarationError(
            lines(
                f"a scene is a file; {name!r} is null in row {listed.index(None):,}.",
                "Leave the row out.",
            )
        )
    files = list(dict.fromkeys(listed))
    with ThreadPoolExecutor(_THREADS) as pool:
        known = dict(zip(files, pool.map(partial(_size, folder), files), strict=True))
    return [known[file] for file in listed]


def _size(folder: Folder, name: str) -> Size:
    try:
        scene = Scene(folder, name)
    except BadValue as error:
        raise DeclarationError(
            lines(f"the file {one_line(folder.path(name))!r} {error.reason}.", of_table(error.remedy))
        ) from error
    try:
        return scene.size
    finally:
        scene.close()


def _windows(scene: Size, tile: Size, step: Size, edge: str) -> NDArray:
    """Return where the tiles of a scene begin, ``int64[n, 2]``: rows and columns."""
    down, across = (
        _starts(length, *each, edge)
        for length, each in zip(scene, zip(tile, step, strict=True), strict=True)
    )
    return np.stack(np.meshgrid(down, across, indexing="ij"), axis=-1).reshape(-1, 2)


def _starts(length: int, tile: int, step: int, edge: str) -> NDArray:
    starts = np.arange(0, length - tile + 1, step, dtype=np.int64)
    if edge == "shift" and len(starts) and starts[-1] + tile < length:
        starts = np.append(starts, length - tile)
    return starts


def _cut(table: pa.Table, windows: list[NDArray], tile: Size, scenes: list[str]) -> pa.Table:
    counts = [len(found) for found in windows]
    if not sum(counts):
        raise DeclarationError(
            lines(
                f"no scene holds a tile of {_shown(tile)}.",
                "Pass a smaller size.",
            )
        )
    row_off, col_off = np.concatenate(windows).T
    index = np.repeat(np.arange(len(table)), counts)
    cut = table.take(pa.array(index))
    corners = [pa.array(each).cast(pa.string()) for each in (row_off, col_off)]
    named = pc.binary_join_element_wise(
        pc.binary_join_element_wise(pa.array(scenes).take(pa.array(index)), corners[0], "/"),
        corners[1],
        "_",
    )
    columns = (named, row_off, col_off, np.full(len(index), tile[0]), np.full(len(index), tile[1]))
    for name, values in zip((TILE, *WINDOW), columns, strict=True):
        cut = cut.append_column(name, pa.array(values))
    return cut


def _scenes(table: pa.Table, column: str, key: str | None) -> list[str]:
    """Return what each scene is called."""
    return [str(each) for each in table.column(column if key is None else key).to_pylist()]


def _name(table: pa.Table, column: str, row: int) -> str:
    return repr(one_line(table.column(column)[row].as_py()))


def _shown(size: Size) -> str:
    return f"{size[0]:,} x {size[1]:,} pixels"
