"""Queries: three databases give Arrow tables; values are bound, databases read alone, errors told."""

from __future__ import annotations

import datetime
import io
import os
import pwd
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from adbc_driver_postgresql import dbapi
from PIL import Image as PILImage
from pyarrow import parquet

import multifeed as mf
from multifeed.errors import DeclarationError, SampleError


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(call: Callable[[], Any]) -> str:
    """Return the message with which something is refused."""
    with pytest.raises(DeclarationError) as error:
        call()
    return str(error.value)


def png(value: int) -> bytes:
    stream = io.BytesIO()
    PILImage.fromarray(np.full((4, 4, 3), value, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def duckdb_file(*statements: str, name: str = "rows.duckdb") -> str:
    with duckdb.connect(name) as connection:
        for statement in statements:
            connection.execute(statement)
    return name


def sqlite_file(*statements: str, name: str = "rows.db") -> str:
    connection = sqlite3.connect(name)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return name


TABLE = (
    "CREATE TABLE samples (id TEXT, age INTEGER, bmi REAL, image BLOB)",
    "INSERT INTO samples VALUES ('b', 60, 20.5, NULL), ('a', 41, NULL, NULL), ('c', NULL, 30.25, NULL)",
)
PEOPLE = {"id": ["a", "b", "c"], "age": [41, 60, None]}
ORDERED = "SELECT id, age FROM samples ORDER BY id"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URI of a PostgreSQL server of our own, which nobody else can reach, with the table."""
    binaries = [shutil.which("initdb"), *map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb"))]
    initdb = next(filter(None, binaries), None)
    if initdb is None or os.name == "nt":
        pytest.skip("no PostgreSQL server is installed (Debian: apt-get install postgresql)")
    # Paths of sockets are short; and the server refuses to run as root.
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    user = pwd.getpwnam("nobody") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
    os.chown(folder, user.pw_uid, user.pw_gid)
    start: dict[str, Any] = {"user": user.pw_uid} if os.getuid() == 0 else {}
    start |= {"cwd": folder, "env": {"PATH": os.environ["PATH"], "LC_ALL": "C"}}
    start |= {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(
        [initdb, "-D", "data", "-U", "reader", "-A", "trust", "-E", "UTF8", "--no-sync"],
        check=True, timeout=60, **start,
    )  # fmt: skip
    program = str(Path(initdb).resolve().with_name("postgres"))
    run = [program, "-D", "data", "-k", str(folder), "-c", "listen_addresses=", "-c", "fsync=off"]
    process = subprocess.Popen(run, **start)
    uri = f"postgresql://reader@/postgres?host={folder}"
    try:
        with connected(uri, process) as connection, connection.cursor() as cursor:
            for statement in (TABLE[0].replace("BLOB", "BYTEA"), *TABLE[1:]):
                cursor.execute(statement)
            connection.commit()
        yield uri
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        shutil.rmtree(folder)


def connected(uri: str, process: subprocess.Popen[bytes]) -> Any:
    """Return a connection to a server, once it takes some."""
    while True:
        try:
            return dbapi.connect(uri)
        except dbapi.Error:
            assert process.poll() is None, "the server has ended"
            time.sleep(0.05)


@pytest.fixture(params=["duckdb", "sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """Each kind of database, with the table."""
    if request.param == "duckdb":
        return duckdb_file(*TABLE)
    if request.param == "sqlite":
        return sqlite_file(*TABLE)
    return request.getfixturevalue("server")


def placeholder(database: str) -> str:
    return "$1" if database.startswith("postgresql") else "?"


# What comes out.


def test_a_query_is_a_row_table(database: str) -> None:
    """Each database gives the same rows, in the order that the query asks for."""
    table = mf.sql(ORDERED, database)
    assert table.to_pydict() == PEOPLE
    data = mf.Dataset(table, key="id", inputs=mf.Numeric("age", missing="zero"))
    assert [data[row][0].item() for row in range(3)] == [41, 60, 0]


def test_a_query_is_a_source_of_align(database: str) -> None:
    """It is joined by key as any table."""
    rows = mf.align(
        "id", scores={"id": ["c", "a", "b"], "n": [3, 1, 2]}, people=mf.sql(ORDERED, database)
    )
    assert rows.to_pydict() == {"id": ["c", "a", "b"], "n": [3, 1, 2], "age": [None, 41, 60]}


def test_values_are_bound(database: str) -> None:
    """What stands for a placeholder is a value and no part of the query."""
    query = f"SELECT id FROM samples WHERE id = {placeholder(database)}"
    assert mf.sql(query, database, ["b"]).to_pydict() == {"id": ["b"]}
    assert mf.sql(query, database, ("b' OR 'a' = 'a",)).num_rows == 0
    assert mf.sql(ORDERED, database).num_rows == 3


def test_values_are_bound_by_name() -> None:
    """DuckDB and SQLite know placeholders by name."""
    query = "SELECT id FROM samples WHERE age > {}age ORDER BY id"
    for database, sign in ((duckdb_file(*TABLE), "$"), (sqlite_file(*TABLE), ":")):
        assert mf.sql(query.format(sign), database, {"age": 50}).to_pydict() == {"id": ["b"]}


def test_no_rows_are_a_table_of_none(database: str) -> None:
    """Whether that is an error is for a dataset to say."""
    table = mf.sql("SELECT id FROM samples WHERE age > 100", database)
    assert (table.num_rows, table.column_names) == (0, ["id"])
    assert refused(lambda: mf.Dataset(table, inputs=mf.Category("id"))) == (
        "a dataset has at least one sample; this row table has 0 rows."
    )


def test_types_of_duckdb() -> None:
    """Columns have the types of the database: decimals are decimals, and enums categories."""
    query = (
        "SELECT 1::SMALLINT s, sum(x) h, 1.5::DECIMAL(5, 2) d, DATE '2024-01-31' t, [1, 2] l, "
        "'x'::ENUM ('x', 'y') e, true b, uuid() u FROM range(3) r(x)"
    )
    table = mf.sql(query)
    assert [str(kind) for kind in table.schema.types] == [
        "int16", "decimal128(38, 0)", "decimal128(5, 2)", "date32[day]", "list<l: int32>",
        "dictionary<values=string, indices=uint8, ordered=0>", "bool", "string",
    ]  # fmt: skip
    data = mf.Dataset(table, inputs=(mf.Numeric(["s", "h", "d"]), mf.Category("e", vocabulary=["x"])))
    assert data[0][0][0].tolist() == [1, 3, 1.5]


def test_types_of_sqlite() -> None:
    """A column has the type of its values, of which integers and floats make floats."""
    name = sqlite_file(
        "CREATE TABLE t (i, f, x, t, b, n)",
        "INSERT INTO t VALUES (1, 1, 1, 'a', x'00', NULL), (2, 1.5, NULL, NULL, NULL, NULL)",
    )
    table = mf.sql("SELECT * FROM t ORDER BY i", name)
    assert [str(kind) for kind in table.schema.types] == [
        "int64", "double", "int64", "string", "binary", "null",
    ]  # fmt: skip
    assert table.to_pylist()[1] == {"i": 2, "f": 1.5, "x": None, "t": None, "b": None, "n": None}


def test_types_of_sqlite_do_not_depend_on_where_rows_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are fetched some at a time, and a column has one type in all of them."""
    name = sqlite_file("CREATE TABLE t (x, y)", "INSERT INTO t VALUES (1, NULL), (2, 'a'), (2.5, NULL)")
    whole = mf.sql("SELECT * FROM t", name)
    monkeypatch.setattr(sys.modules["multifeed.sql"], "_ROWS", 1)
    assert mf.sql("SELECT * FROM t", name).equals(whole)
    assert [str(kind) for kind in whole.schema.types] == ["double", "string"]


def test_types_of_postgresql(server: str) -> None:
    """Numbers of any precision are decimals with the places that they need; JSON is text."""
    query = (
        "SELECT 1::smallint s, x::numeric d, 'x'::text t, '\\x00ff'::bytea b, ARRAY[1.5::float8] l, "
        "'{\"a\": 1}'::jsonb j, TIMESTAMP '2024-01-31 10:00' w, true o "
        "FROM unnest(ARRAY[1.25, -3, NULL, 0.5]) x"
    )
    table = mf.sql(query, server)
    assert table.to_pylist()[0] == {
        "s": 1, "d": Decimal("1.25"), "t": "x", "b": b"\0\xff", "l": [1.5], "j": '{"a": 1}',
        "w": datetime.datetime(2024, 1, 31, 10), "o": True,
    }  # fmt: skip
    assert table["d"].to_pylist() == [Decimal("1.25"), Decimal("-3.00"), None, Decimal("0.50")]
    assert mf.Dataset(table, inputs=mf.Numeric("d", missing="zero"))[1][0].item() == -3
    said = refused(lambda: mf.sql("SELECT 'NaN'::numeric n", server))
    assert said.startswith(
        "the query cannot be run on PostgreSQL.\n"
        "  It says: column 'n' has a numeric that no decimal of 38 digits can hold ("
    )
    assert said.endswith("; write n::float8 in the query.")


def test_files_are_read_by_a_query() -> None:
    """DuckDB in memory reads what the query names."""
    parquet.write_table(pa.table({"id": ["a", "b"], "n": [1, 2]}), "1.parquet")
    parquet.write_table(pa.table({"id": ["c"], "n": [3]}), "2.parquet")
    table = mf.sql("SELECT id FROM '*.parquet' WHERE n > ? ORDER BY id", params=[1])
    assert table.to_pydict() == {"id": ["b", "c"]}


@pytest.mark.parametrize("kind", ["duckdb", "sqlite", "postgresql"])
def test_images_in_a_database_are_read(kind: str, request: pytest.FixtureRequest) -> None:
    """A column of encoded images is what an Image reads."""
    query = "SELECT id, CAST({} AS {}) AS image FROM samples ORDER BY id"
    if kind == "postgresql":
        database, value = request.getfixturevalue("server"), query.format("$1", "bytea")
    else:
        database = duckdb_file(*TABLE) if kind == "duckdb" else sqlite_file(*TABLE)
        value = query.format("?", "BLOB")
    data = mf.Dataset(mf.sql(value, database, [png(7)]), key="id", inputs=mf.Image("image", 4))
    assert (data[2][0] == 7).all()


# Where file names start.


def test_file_names_start_in_the_folder_of_the_database() -> None:
    """They are a stranger's words, as those of a table file: they stay under it."""
    Path("study").mkdir()
    Path("study/a.png").write_bytes(png(9))
    Path("a.png").write_bytes(png(1))
    make = "CREATE TABLE t AS SELECT 'a.png' AS x UNION ALL SELECT '../a.png'"
    query = "SELECT x FROM t ORDER BY x DESC"
    for name in (duckdb_file(make, name="study/x.duckdb"), sqlite_file(make, name="study/x.db")):
        data = mf.Dataset(mf.sql(query, name), inputs=mf.Image("x", 4))
        assert (data[0][0] == 9).all()
        with pytest.raises(SampleError, match="leads out of the folder of its table"):
            data[1]
        data = mf.Dataset(mf.sql(query, name), inputs=mf.Image("x", 4), allow_outside=True)
        assert (data[1][0] == 1).all()


def test_file_names_of_a_server_start_in_the_working_directory(server: str) -> None:
    """Where there is no database file, they stay under where the program runs, or under root=."""
    Path("a.png").write_bytes(png(1))
    for database in (server, ":memory:"):
        rows = mf.sql("SELECT 'a.png' AS x UNION ALL SELECT '/etc/passwd' ORDER BY 1 DESC", database)
        data = mf.Dataset(rows, inputs=mf.Image("x", 4))
        assert (data[0][0] == 1).all()
        with pytest.raises(SampleError, match="leads out of the folder of its table"):
            data[1]


# What a query may not do.


def test_a_database_is_read_alone(database: str) -> None:
    """A query that would change something is refused, and nothing has changed."""
    for query in (
        "INSERT INTO samples (id) VALUES ('d')",
        "DROP TABLE samples",
        "CREATE TABLE x (y INTEGER)",
    ):
        assert refused(lambda query=query: mf.sql(query, database))
    assert mf.sql(ORDERED, database).to_pydict() == PEOPLE


def test_a_query_is_one_select() -> None:
    """Whatever else a database can do is left to its own client."""
    rule = "a query is one SELECT.\n  Do what else there is to do with the database's own client."
    for query in ("SELECT 1; SELECT 2", "COPY (SELECT 1) TO 'x.csv'", "ATTACH 'x.db'", "-- nothing"):
        assert refused(lambda query=query: mf.sql(query)) == rule
    assert refused(lambda: mf.sql("-- nothing", sqlite_file(*TABLE))) == rule
    assert {path.name for path in Path().iterdir()} == {"rows.db"}


def test_views_of_a_database_file_read_nothing_else() -> None:
    """A view is the word of whoever made the file: it opens no file, though the query might."""
    Path("secret.csv").write_text("x\nsecret\n")
    name = duckdb_file("CREATE VIEW v AS SELECT * FROM 'secret.csv'")
    said = refused(lambda: mf.sql("SELECT * FROM v", name))
    first, second, third = said.split("\n")
    assert first == "the query cannot be run on 'rows.duckdb'."
    assert "secret.csv" in second
    assert third == (
        "  A database file is a stranger's, so its views open no other files. If you trust it, pass on "
        "what DuckDB itself returns: duckdb.connect(file).sql(query) is a table."
    )
    with duckdb.connect(name) as connection:
        assert len(mf.Dataset(connection.sql("SELECT * FROM v"), inputs=mf.Text("x", 2))) == 1


def test_views_of_sqlite_call_nothing_that_acts() -> None:
    """Its views can use functions, but neither load code nor write or attach files."""
    name = sqlite_file(
        "CREATE TABLE t (x)", "INSERT INTO t VALUES (1)",
        "CREATE VIEW loads AS SELECT load_extension('x') FROM t",
        "CREATE VIEW settings AS SELECT * FROM pragma_database_list",
        "CREATE VIEW lengths AS SELECT abs(x) AS x FROM t",
    )  # fmt: skip
    assert mf.sql("SELECT * FROM lengths", name).to_pydict() == {"x": [1]}
    for query in (
        "SELECT * FROM loads",
        "SELECT * FROM settings",
        "ATTACH 'y.db' AS y",
        "PRAGMA user_version",
    ):
        assert "the query cannot be run on 'rows.db'." in refused(
            lambda query=query: mf.sql(query, name)
        )
    assert not Path("y.db").exists()


def test_a_query_sees_no_variables_of_the_program() -> None:
    """DuckDB would take a Python variable for a table: ours are none of the caller's."""
    for name in ("params", "config", "statements", "said"):
        said = refused(lambda name=name: mf.sql(f"SELECT * FROM {name}"))
        assert "does not exist" in said


# Errors.


def test_what_the_database_says_is_told() -> None:
    """The message names the database; the words differ between versions."""
    for database, name in ((duckdb_file(*TABLE), "'rows.duckdb'"), (sqlite_file(*TABLE), "'rows.db'")):
        said = refused(lambda database=database: mf.sql("SELECT x FROM samples WHERE", database))
        first, second = said.split("\n")
        assert first == f"the query cannot be run on {name}."
        assert second.startswith("  It says: ")
        assert "syntax error" in second or "incomplete input" in second
    said = refused(lambda: mf.sql("SELECT * FROM nowhere"))
    assert said.startswith("the query cannot be run on DuckDB.\n  It says: Catalog Error: ")


def test_the_number_of_values_is_the_number_of_placeholders(database: str) -> None:
    """One too many and one too few are errors, with every database."""
    query = f"SELECT id FROM samples WHERE id = {placeholder(database)}"
    for params in ([], ["a", "b"]):
        assert refused(lambda params=params: mf.sql(query, database, params))


def test_the_number_of_values_of_postgresql(server: str) -> None:
    """The driver would leave out what is too many."""
    query = "SELECT id FROM samples WHERE id = $1"
    assert refused(lambda: mf.sql(query, server, ["a", "b"])) == (
        "the query has 1 placeholders, and params 2 values; these must agree."
    )
    assert refused(lambda: mf.sql(query, server, {"id": "a"})) == (
        "params of PostgreSQL stand in the order of $1, $2, …; received a dict.\n  Pass a list or tuple."
    )


def test_columns_of_one_name_are_an_error(database: str) -> None:
    """A name means one column."""
    assert refused(lambda: mf.sql("SELECT id AS x, age AS x FROM samples", database)) == (
        "the result of the query cannot be used as a table: it has 2 columns 'x'.\n"
        "  Name its columns, each another: SELECT a.x AS ax, b.x AS bx."
    )


def test_values_of_several_types_in_a_column_of_sqlite_are_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SQLite lets them stand in one column, a table does not."""
    name = sqlite_file("CREATE TABLE t (x)", "INSERT INTO t VALUES (1), ('a')")
    said = refused(lambda: mf.sql("SELECT x FROM t", name))
    assert said.startswith(
        "the query cannot be run on 'rows.db'.\n  It says: column 'x' has values of several types ("
    )
    assert said.endswith("; CAST it in the query.")
    name = sqlite_file("CREATE TABLE u (x)", "INSERT INTO u VALUES ('a'), (x'ff')")
    both = refused(lambda: mf.sql("SELECT x FROM u", name))
    assert both == (
        "the query cannot be run on 'rows.db'.\n"
        "  It says: column 'x' has values of several types (texts and bytes); CAST it in the query."
    )
    # Rows are fetched some at a time.
    monkeypatch.setattr(sys.modules["multifeed.sql"], "_ROWS", 1)
    assert refused(lambda: mf.sql("SELECT x FROM u", name)) == both


def test_a_missing_or_unknown_database_is_an_error(tmp_path: Path) -> None:
    """No new database is made of a name that is misspelt, and none is guessed."""
    assert refused(lambda: mf.sql(ORDERED, "x.duckdb")) == (
        f"the database 'x.duckdb' does not exist.\n  Relative paths start from '{tmp_path}'."
    )
    os.mkfifo("pipe.db")
    assert refused(lambda: mf.sql(ORDERED, "pipe.db")) == (
        f"the database 'pipe.db' is not a regular file.\n  Relative paths start from '{tmp_path}'."
    )
    Path("x.csv").write_text("id\n1\n")
    assert refused(lambda: mf.sql(ORDERED, "x.csv")) == (
        "the database 'x.csv' is of neither DuckDB nor SQLite, by its first bytes.\n"
        "  A table file is read by mf.Dataset and mf.align, or by SELECT * FROM 'rows.csv'."
    )
    assert refused(lambda: mf.sql(ORDERED, "mysql://me:secret@host/x")) == (
        "a URI of a database begins with 'postgresql://'.\n"
        "  Received: 'mysql'.\n"
        "  Read the table with the database's own client, and pass on what it returns."
    )
    assert refused(lambda: mf.sql(ORDERED, 7)) == "a database is a file's name or a URI; received 7."
    assert not Path("x.duckdb").exists()


def test_arguments_that_are_none_are_an_error() -> None:
    """A query is text, and values come as a list or a dict."""
    assert refused(lambda: mf.sql(" ")) == "a query is the text of one SELECT; received ' '."
    assert refused(lambda: mf.sql("SELECT ?", params="x")) == (
        "params are a list or tuple of values, or a dict of them by name; received 'x'.\n"
        "  A single one is written params=[value]."
    )


@pytest.mark.parametrize(
    "uri", ["postgresql://me:secret@127.0.0.1:1/x", "postgresql://me:secret@[::1/x"]
)
def test_a_password_is_not_told(uri: str) -> None:
    """Neither by the message, nor by an exception that is shown with it."""
    with pytest.raises(DeclarationError) as error:
        mf.sql("SELECT 1", uri)
    assert str(error.value).startswith("the query cannot be run on PostgreSQL.\n  It says: ")
    assert "secret" not in str(error.value)
    assert error.value.__suppress_context__
