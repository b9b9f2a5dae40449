"""Folders of table files, tables of other libraries, and what of a table stays on disk."""

from __future__ import annotations

import datetime
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pytest
from PIL import Image as PILImage
from pyarrow import feather, parquet

import multifeed as mf
from multifeed.errors import DeclarationError, SampleError
from multifeed.table import as_table, read_table


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(path: str, **columns: Any) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write = parquet.write_table if path.endswith("parquet") else feather.write_feather
    write(pa.table(columns), path)
    return path


def refused(call: Callable[[], Any]) -> str:
    """Return the message with which something is refused."""
    with pytest.raises(DeclarationError) as error:
        call()
    return str(error.value)


# Folders of table files.


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "feather"])
def test_a_folder_is_a_table(suffix: str) -> None:
    """Its files by path, at any depth; what begins with a dot or an underscore is passed over."""
    write(f"rows/b/1.{suffix}", id=["c"], n=[3])
    write(f"rows/a.{suffix}", id=["a", "b"], n=[1, 2])
    write(f"rows/b/2.{suffix}", id=["d"], n=[4])
    for name in (
        f"_hidden.{suffix}",
        f".hidden.{suffix}",
        "_SUCCESS",
        "notes.txt",
        f"_folder/x.{suffix}",
    ):
        Path("rows", name).parent.mkdir(exist_ok=True)
        Path("rows", name).write_text("nothing")
    assert read_table("rows").to_pydict() == {"id": ["a", "b", "c", "d"], "n": [1, 2, 3, 4]}
    data = mf.Dataset("rows/", key="id", inputs=mf.Numeric("n"))
    assert [data[row][0].item() for row in range(4)] == [1, 2, 3, 4]
    rows = mf.align("id", rows="rows", more={"id": ["d", "a"], "m": [1, 2]}, on_missing="keep")
    assert rows["m"].to_pylist() == [2, None, None, 1]


def test_names_of_folders_are_columns() -> None:
    """Whole numbers are numbers, codes and all else text; a value that stands for none is null."""
    table = pa.table({"n": [1, 2, 3], "year": [2023, 2024, 2024], "site": ["01", None, "a b/c"]})
    pa.dataset.write_dataset(
        table, "rows", format="parquet", partitioning=["year", "site"], partitioning_flavor="hive"
    )
    found = read_table("rows")
    assert found.to_pydict() == table.to_pydict()
    assert [str(kind) for kind in found.schema.types] == ["int64", "int64", "string"]
    sites = {"id": ["x"], "site": ["01"]}
    rows = mf.align("id", sites=sites, rows=mf.lookup("rows/year=2023", on="site"))
    assert rows["n"].to_pylist() == [1]


def test_a_key_in_the_names_of_folders_stays_text() -> None:
    """As in a CSV; and a column that the files have themselves is read from them."""
    write("rows/id=7/x.parquet", n=[1])
    write("rows/id=8/x.parquet", n=[2], id=["9"])
    assert read_table("rows", ["id"]).to_pydict() == {"n": [1, 2], "id": ["7", "9"]}


def test_files_of_a_folder_may_lack_columns() -> None:
    """What a file lacks is null, and a column of nulls has the type of the others."""
    write("rows/1.parquet", n=[1], m=pa.nulls(1))
    write("rows/2.parquet", m=["x"])
    assert read_table("rows").to_pydict() == {"n": [1, None], "m": [None, "x"]}


def test_file_names_start_in_the_folder() -> None:
    """Not in that of each file; and stay under it."""
    Path("rows/deep").mkdir(parents=True)
    PILImage.fromarray(np.full((4, 4, 3), 9, np.uint8)).save("rows/a.png")
    write("rows/deep/1.parquet", x=["a.png", "../a.png"])
    data = mf.Dataset("rows", inputs=mf.Image("x", 4))
    assert (data[0][0] == 9).all()
    with pytest.raises(SampleError, match="leads out of the folder of its table"):
        data[1]


def test_folders_that_are_no_table_are_an_error() -> None:
    """Nothing to read, two kinds, other types, a damaged file: each says which."""
    Path("rows").mkdir()
    ends = "\n  They end in .parquet, .arrow, .feather."
    assert refused(lambda: read_table("rows")) == (
        f"a folder that is a table has table files of one kind; 'rows' has none.{ends}"
    )
    write("rows/1.parquet", n=[1])
    write("rows/2.arrow", n=[1])
    assert refused(lambda: mf.Dataset("rows", inputs=mf.Numeric("n"))) == (
        f"a folder that is a table has table files of one kind; 'rows' has .arrow and .parquet.{ends}"
    )
    Path("rows/2.arrow").unlink()
    write("rows/2.parquet", n=["x"])
    message = refused(lambda: read_table("rows"))
    assert message.startswith(
        "the files of a table have columns of the same types: 'rows/2.parquet' has others than the "
        "files before it ("
    )
    assert message.endswith("\n  Write it anew with the types of the others.")
    Path("rows/2.parquet").write_bytes(b"PAR1")
    assert refused(lambda: read_table("rows")).startswith(
        "the table file 'rows/2.parquet' cannot be read."
    )


@pytest.mark.timeout(10)
def test_a_pipe_in_a_folder_does_not_block(tmp_path: Path) -> None:
    """Nor is it passed over."""
    write("rows/1.parquet", n=[1])
    os.mkfifo("rows/2.parquet")
    assert refused(lambda: read_table("rows")) == (
        "the table file 'rows/2.parquet' is not a regular file.\n"
        f"  Relative paths start from '{tmp_path}'."
    )


# Tables of other libraries.


def test_types_of_pandas_are_read() -> None:
    """Categoricals, types with nulls, texts and times; an index without a name is no column."""
    frame = pd.DataFrame(
        {
            "kind": pd.Categorical(["y", None, "x"]),
            "n": pd.array([1, None, 3], "Int64"),
            "f": pd.array([0.5, None, 1.5], "Float64"),
            "ok": pd.array([True, None, False], "boolean"),
            "s": pd.array(["a", None, "b"], "string"),
            "when": pd.to_datetime(["2024-01-31", None, "2024-02-01"]),
        }
    ).iloc[[2, 0, 1]]
    data = mf.Dataset(
        frame,
        inputs={"n": mf.Numeric(["n", "f"], missing="zero")},
        targets={
            "kind": mf.Category("kind", vocabulary=["x", "y"], missing="x"),
            "ok": mf.Category("ok", vocabulary=[False, True], missing=False),
            "s": mf.Category("s", vocabulary=["a", "b"], missing="a"),
        },
    )
    found = [(i["n"].tolist(), *map(int, t.values())) for i, t in (data[row] for row in range(3))]
    assert found == [([3, 1.5], 0, 0, 1), ([1, 0.5], 1, 1, 0), ([0, 0], 0, 0, 0)]
    table = as_table(frame, "rows")
    assert table.column_names == ["kind", "n", "f", "ok", "s", "when"]
    assert table["when"].to_pylist()[1] == datetime.datetime(2024, 1, 31)
    rows = mf.align("s", frame=frame.dropna(), more={"s": ["a", "b"], "m": [1, 2]})
    assert rows["kind"].to_pylist() == ["x", "y"]


def test_a_lazy_frame_says_what_to_pass() -> None:
    """polars has not worked it out yet."""
    lazy = pl.DataFrame({"n": [1]}).lazy()
    if hasattr(lazy, "__arrow_c_stream__"):
        pytest.skip("this polars collects by itself")
    assert refused(lambda: mf.Dataset(lazy, inputs=mf.Numeric("n"))) == (
        "rows must be a table.\n  Received: LazyFrame.\n  Pass what its collect() returns."
    )
    assert len(mf.Dataset(lazy.collect(), inputs=mf.Numeric("n"))) == 1


def test_relations_of_duckdb_are_tables() -> None:
    """Read once, of a dataset and a source."""
    relation = duckdb.sql(
        "SELECT 'k' || x AS id, x AS n, 'u'::ENUM ('u', 'v') AS kind FROM range(3) t(x)"
    )
    data = mf.Dataset(
        relation, key="id", inputs=(mf.Numeric("n"), mf.Category("kind", vocabulary=["u"]))
    )
    assert [data[row][0][0].item() for row in range(3)] == [0, 1, 2]
    rows = mf.align("id", relation=relation, more={"id": ["k1", "k2", "k0"]})
    assert rows["n"].to_pylist() == [0, 1, 2]


# What stays on disk.

MAPPED = """
    import sys
    from pathlib import Path
    import multifeed as mf

    def held():
        # What the system cannot take back: pages of mapped files are not among it.
        status = Path("/proc/self/status").read_text()
        kinds = ("RssAnon:", "RssShmem:")
        return sum(int(status.partition(kind)[2].split()[0]) * 1024 for kind in kinds)

    data = mf.Dataset({"id": [0], "n": [1.0]}, key="id", inputs=mf.Numeric("n"))
    next(iter(mf.Feed(data, 1)))
    before = held()
    (kind, path, processes) = sys.argv[1:]
    fields = {
        "numbers": mf.Array("tensor"),
        "lists": mf.Array("list", pad_to=512),
        "bytes": mf.Image("raw", 8),
    }
    data = mf.Dataset(path, key="id", inputs=fields[kind])
    for part in (data, *data.split(0.5, 0.5)):
        with mf.Feed(part, 4, shuffle=True, seed=1, workers=1, processes=int(processes)) as feed:
            for step in range(3):
                feed.take(0, step)
    print(held() - before)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Arrow files of 3 x 80 MB in 40 batches: one file, one stream, and a folder of the file."""
    folder = tmp_path_factory.mktemp("large")
    (folder / "folder").mkdir()
    rows, width = 1_000, 512
    schema = pa.schema(
        [
            ("id", pa.string()), ("n", pa.int64()), ("raw", pa.binary()),
            ("tensor", pa.list_(pa.float32(), width)), ("list", pa.list_(pa.float32())),
        ]
    )  # fmt: skip
    values = pa.array(np.ones(rows * width, np.float32))
    fixed = pa.FixedSizeListArray.from_arrays(values, width)
    lists = pa.ListArray.from_arrays(np.arange(0, rows * width + 1, width, dtype=np.int32), values)
    with (
        pa.OSFile(str(folder / "file.arrow"), "wb") as file,
        pa.OSFile(str(folder / "stream.arrow"), "wb") as stream,
        pa.ipc.new_file(file, schema) as first,
        pa.ipc.new_stream(stream, schema) as second,
    ):
        for start in range(0, 40 * rows, rows):
            numbers = np.arange(start, start + rows)
            raw = pa.array([b"P6 26 26 255\n" + bytes(26 * 26 * 3)] * rows)
            columns = [pa.array(numbers.astype(str)), pa.array(numbers), raw, fixed, lists]
            batch = pa.record_batch(columns, schema=schema)
            first.write_batch(batch)
            second.write_batch(batch)
    os.link(folder / "file.arrow", folder / "folder" / "0.arrow")
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="what memory is held is told by Linux")
@pytest.mark.parametrize(
    ("name", "processes"), [("file.arrow", 0), ("stream.arrow", 0), ("folder", 0), ("file.arrow", 1)]
)
@pytest.mark.parametrize("kind", ["numbers", "lists", "bytes"])
def test_a_mapped_table_stays_on_disk(name: str, processes: int, kind: str, large: Path) -> None:
    """Declaring it, splitting it and taking batches holds a small part of 80 MB a column in memory."""
    program = [sys.executable, "-c", textwrap.dedent(MAPPED), kind, str(large / name), str(processes)]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert int(ended.stdout) < 30 * 2**20
