"""Row 26 of the table of faults: data that would run code if they were unpickled or evaluated.

Oracle: the payload would write a file. It is shown that it does when it is unpickled or evaluated, and
that there is no such file after it has come in by any way: then it is refused by an error of ours, or is
text or bytes like any other.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import sqlite3
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import xxhash
import yaml
from pyarrow import feather, parquet

import multifeed as mf
from multifeed.errors import MultifeedError


class Payload:
    """Writes a file named "ran" into the working directory when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("ran",)


PICKLE = pickle.dumps(Payload())
CODE = "__import__('os').mkdir('ran')"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory in which nothing has run."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def has_run() -> bool:
    """Tell whether a payload has run, and forget it."""
    ran = Path("ran").exists()
    shutil.rmtree("ran", ignore_errors=True)
    return ran


def npy(header: str | None = None) -> bytes:
    """Return a .npy file of Python objects, or of another header."""
    stream = io.BytesIO()
    if header is None:
        np.save(stream, np.array([Payload()], object), allow_pickle=True)
        return stream.getvalue()
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(64)


def npz(member: bytes) -> bytes:
    """Return an archive with a member "x"."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("x.npy", member)
    return stream.getvalue()


def schema() -> pa.Schema:
    """Return a schema whose column is of the extension type that PyArrow used to unpickle."""
    names = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": PICKLE}
    pandas = {b"pandas": json.dumps({"columns": [{"metadata": CODE}], "creator": CODE}).encode()}
    return pa.schema([pa.field("x", pa.int64(), metadata=names), pa.field("n", pa.int64())], pandas)


def test_payloads_work() -> None:
    """Unpickled, read by what unpickles, or evaluated, each payload does what it is made for."""
    ways: list[Callable[[], object]] = [
        lambda: pickle.loads(PICKLE),
        lambda: np.load(io.BytesIO(npy()), allow_pickle=True),
        lambda: np.load(io.BytesIO(PICKLE), allow_pickle=True),
        lambda: np.load(io.BytesIO(npz(npy())), allow_pickle=True)["x"],
        lambda: pickle.loads(schema().field("x").metadata[b"ARROW:extension:metadata"]),
        lambda: eval(CODE),
        lambda: yaml.unsafe_load("!!python/object/apply:os.mkdir ['ran']"),
    ]
    for way in ways:
        way()
        assert has_run()


def read_array(content: bytes, member: str = "") -> None:
    """Read an array from a file."""
    Path("file").write_bytes(content)
    mf.Dataset({"x": [f"file{member}"]}, inputs=mf.Array("x", (1,)))[0]


def read_image(content: bytes) -> None:
    """Read an image from a file."""
    Path("file").write_bytes(content)
    mf.Dataset({"x": ["file"]}, inputs=mf.Image("x", 4))[0]


def read_table(suffix: str, content: bytes) -> None:
    """Read a table file in all ways."""
    path = f"table{suffix}"
    Path(path).write_bytes(content)
    mf.align("n", table=path)
    mf.Dataset({"n": [1], "x": [1]}, inputs=mf.Numeric("x"))
    data = mf.Dataset(path, inputs={"n": mf.Numeric("n"), "x": mf.Array("x")}, key="n")
    data.adapt()
    assert data[0]


def arrow(writer: Callable[..., pa.ipc.RecordBatchStreamWriter]) -> bytes:
    """Return an Arrow file or stream of that extension type."""
    stream = pa.BufferOutputStream()
    with writer(stream, schema()) as sink:
        sink.write_batch(pa.record_batch([[1], [2]], schema=schema()))
    return bytes(stream.getvalue())


def parquet_file() -> bytes:
    """Return the same as Parquet, which keeps the Arrow schema in its metadata."""
    stream = pa.BufferOutputStream()
    parquet.write_table(pa.table([[1], [2]], schema=schema()), stream)
    return bytes(stream.getvalue())


def feather_file() -> bytes:
    """Return the same as Feather."""
    stream = io.BytesIO()
    feather.write_feather(pa.table([[1], [2]], schema=schema()), stream)
    return stream.getvalue()


def load_state(content: bytes) -> None:
    """Load a learned state."""
    Path("state").write_bytes(content)
    mf.Dataset({"x": [1.0]}, inputs=mf.Numeric("x", normalize=True)).load_state("state")


def open_tokenizer(content: bytes) -> None:
    """Open a tokenizer."""
    Path("tokenizer.json").write_bytes(content)
    mf.Text("x", 4, tokenizer="tokenizer.json")


def read_cache(content: bytes) -> None:
    """Read a cache whose shard is something else, under the checksum of that."""
    np.save("array.npy", np.ones(3, np.float32))
    data = mf.Dataset({"x": ["array.npy"]}, inputs=mf.Array("x", (3,)))
    mf.cache(data, "cache", progress=False)
    (shard,) = Path("cache").glob("*/*.arrow")
    shard.unlink()
    shard.with_name(f"00000-{xxhash.xxh3_64(content).hexdigest()}.arrow").write_bytes(content)
    found = mf.cache(data, "cache", progress=False)[0][0]
    np.testing.assert_array_equal(found, np.ones(3))


def read_metadata(content: bytes, notation: str) -> None:
    """Read a metadata file."""
    Path("file").write_bytes(content)
    mf.metadata("{id}le", format=notation)


def ask(*statements: str, kind: str) -> None:
    """Ask a database file of some statements for its view."""
    if kind == "duckdb":
        with duckdb.connect("rows.db") as connection:
            for statement in statements:
                connection.execute(statement)
    else:
        connection = sqlite3.connect("rows.db")
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()
    mf.sql("SELECT * FROM v", "rows.db")


def read_values(value: object) -> None:
    """Read text and bytes of a table as whatever can be made of them."""
    rows = pa.table({"x": [value], "n": [1]})
    for field in (
        mf.Text("x", 4),
        mf.Category("x"),
        mf.Image("x", 4),
        mf.Array("x", (1,)),
    ):
        try:
            data = mf.Dataset(rows, inputs=field, key="n")
            data.adapt()
            data[0]
        except MultifeedError:
            continue


EVALUATED = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({CODE} or 1,)}}"
NAMED = "{'descr': [('x', '|O')], 'fortran_order': False, 'shape': (1,)}"

ENTRIES: dict[str, Callable[[], None]] = {
    "npy of objects": lambda: read_array(npy()),
    "npy of records of objects": lambda: read_array(npy(NAMED)),
    "npy with code in its header": lambda: read_array(npy(EVALUATED)),
    "pickle called npy": lambda: read_array(PICKLE),
    "npz of objects": lambda: read_array(npz(npy()), "::x"),
    "npz with code in a header": lambda: read_array(npz(npy(EVALUATED)), "::x"),
    "npz of a pickle": lambda: read_array(npz(PICKLE), "::x"),
    "pickle called npz": lambda: read_array(PICKLE, "::x"),
    "pickle as image": lambda: read_image(PICKLE),
    **{f"pickle called {suffix}": lambda suffix=suffix: read_table(suffix, PICKLE)
       for suffix in (".csv", ".tsv", ".parquet", ".arrow", ".feather", ".jsonl")},
    "Parquet of an extension type": lambda: read_table(".parquet", parquet_file()),
    "Feather of an extension type": lambda: read_table(".feather", feather_file()),
    "Arrow file of an extension type": lambda: read_table(".arrow", arrow(pa.ipc.new_file)),
    "Arrow stream of an extension type": lambda: read_table(".arrow", arrow(pa.ipc.new_stream)),
    "CSV of code": lambda: read_table(".csv", f'n,x\n"{CODE}","{CODE}"\n'.encode()),
    "JSON of code": lambda: read_table(".jsonl", json.dumps({"n": CODE, "x": CODE}).encode()),
    "pickle as learned state": lambda: load_state(PICKLE),
    "code as learned state": lambda: load_state(CODE.encode()),
    "pickle as tokenizer": lambda: open_tokenizer(PICKLE),
    "code as tokenizer": lambda: open_tokenizer(CODE.encode()),
    "pickle as shard": lambda: read_cache(PICKLE),
    "shard of an extension type": lambda: read_cache(arrow(pa.ipc.new_file)),
    **{f"YAML of {tag[:24]}": lambda tag=tag: read_metadata(f"x: {tag}".encode(), "yaml") for tag in
       ("!!python/object/apply:os.mkdir ['ran']", "!!python/object/new:os.mkdir ['ran']",
        "!!python/name:os.mkdir ran", f"!!python/object/apply:eval [\"{CODE}\"]", "!!binary AAEC")},
    "literal of code": lambda: read_metadata(CODE.encode(), "literal"),
    "literal with code in it": lambda: read_metadata(f"{{'x': [{CODE}]}}".encode(), "literal"),
    "f-string as literal": lambda: read_metadata(f"{{'x': f\"{{{CODE}}}\"}}".encode(), "literal"),
    "pickle as literal": lambda: read_metadata(PICKLE, "literal"),
    "pickle as metadata": lambda: read_metadata(PICKLE, "json"),
    "code in metadata": lambda: read_metadata(json.dumps({CODE: CODE}).encode(), "json"),
    "code in YAML": lambda: read_metadata(f"x: {CODE}".encode(), "yaml"),
    "SQLite view that loads code": lambda: ask(
        "CREATE VIEW v AS SELECT load_extension('./file')", kind="sqlite"),
    "DuckDB view that reads a file": lambda: ask(
        "COPY (SELECT 1) TO 'x.csv'", "CREATE VIEW v AS SELECT * FROM 'x.csv'", kind="duckdb"),
    "DuckDB macro that reads a file": lambda: ask(
        "CREATE MACRO m() AS TABLE SELECT * FROM read_text('file')",
        "CREATE VIEW v AS SELECT 1 x", kind="duckdb") or mf.sql("SELECT * FROM m()", "rows.db"),
    "pickles in a table": lambda: read_values(PICKLE),
    "code in a table": lambda: read_values(CODE),
}  # fmt: skip
# What must be read as the plain values that it has, or from its source.
READ = {
    *(name for name in ENTRIES if "of an extension type" in name),
    "pickle as shard", "pickles in a table", "code in a table", "code in metadata", "code in YAML",
}  # fmt: skip


@pytest.mark.parametrize("entry", ENTRIES)
def test_no_payload_runs(entry: str) -> None:
    """Row 26: refused by an error of ours, or read as plain values; the payload does not run."""
    try:
        ENTRIES[entry]()
        is_read = True
    except MultifeedError:
        is_read = False
    assert not has_run()
    assert is_read == (entry in READ)


def test_no_payload_runs_in_worker_processes() -> None:
    """Row 26: what workers hand on is text and numbers; a refused sample is an error here as well."""
    Path("file").write_bytes(npy())
    data = mf.Dataset({"x": ["file"] * 4}, inputs=mf.Array("x", (1,)))
    with mf.Feed(data, 2, processes=1) as feed, pytest.raises(MultifeedError) as caught:
        feed.take(0, 0)
    assert "holds Python objects, which are never unpickled" in str(caught.value)
    assert not has_run()


def test_extension_types_that_others_register_see_no_data() -> None:
    """Row 26: a type that is registered in this process gets metadata, and what it raises is told."""

    class Registered(pa.ExtensionType):
        def __init__(self) -> None:
            super().__init__(pa.int64(), "test.registered")

        def __arrow_ext_serialize__(self) -> bytes:
            return b""

        @classmethod
        def __arrow_ext_deserialize__(cls, storage: pa.DataType, metadata: bytes) -> Registered:
            raise ValueError("not mine")

    names = {b"ARROW:extension:name": b"test.registered", b"ARROW:extension:metadata": b""}
    table = pa.table([[1]], schema=pa.schema([pa.field("x", pa.int64(), metadata=names)]))
    parquet.write_table(table, "table.parquet")
    pa.register_extension_type(Registered())
    try:
        with pytest.raises(MultifeedError):
            mf.Dataset("table.parquet", inputs=mf.Array("x"))
    finally:
        pa.unregister_extension_type("test.registered")


def test_members_of_archives_and_records_are_bytes(folder: Path) -> None:
    """Pickles in tar shards, as WebDataset reads them, stay files that nobody opens by themselves."""
    with tarfile.open("x.tar", "w") as archive:
        for name in ("a.pyd", "a.pickle", "a.pth", "a.cls"):
            member = tarfile.TarInfo(name)
            member.size = len(PICKLE)
            archive.addfile(member, io.BytesIO(PICKLE))
    rows = mf.tar("x.tar", values=(), index="index")
    assert not has_run()
    with pytest.raises(MultifeedError):
        mf.tar("x.tar", values=("pyd",), index="index")
    for ending in ("pyd", "pickle", "pth", "cls"):
        with pytest.raises(MultifeedError):
            mf.Dataset(rows, inputs=mf.Array(ending, (1,)))[0]
    assert not has_run()
