"""Queries to databases as row tables: DuckDB, SQLite, PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from multifeed.errors import DeclarationError, lines
from multifeed.extras import package
from multifeed.table import is_path, settled, with_folder

Params: TypeAlias = Sequence[Any] | Mapping[str, Any]

IN_MEMORY = ":memory:"
_SERVERS = ("postgresql://", "postgres://")


def sql(query: str, database: str | os.PathLike[str] = IN_MEMORY, params: Params = ()) -> pa.Table:
    """Run a query once, and return its result as a row table.

    Without an ORDER BY over columns that name a row, a database returns rows in any order, which may be
    another one tomorrow: then so is what a position of a loader means.

    Args:
        query: One SELECT in the dialect of the database.
        database: A DuckDB or SQLite file, which the content tells; the URI of a PostgreSQL server,
            ``"postgresql://user@host/name"``; or ``":memory:"``, DuckDB without tables of its own, for
            queries of files (``SELECT * FROM 'rows/*.parquet'``). All are opened to be read alone.
        params: What stands for the placeholders of the query, in their order (``?``; ``$1``, ``$2`` for
            PostgreSQL) or, but for PostgreSQL, by name (``$name``; ``:name`` for SQLite). They are
            bound, never made part of the text.

    Returns:
        A `pyarrow.Table` of the types that the database has. File names in it are relative to the
        folder of the database file, else to the working directory, and stay under it: see ``root`` of
        `Dataset`.

    Raises:
        DeclarationError: If the database cannot be opened, or the query not be run; it is no SELECT; or
            two columns have one name.

    Example:
        >>> sql("SELECT x AS id, x * $factor AS age FROM range(2) t(x) ORDER BY x",
        ...     params={"factor": 30}).to_pydict()
        {'id': [0, 1], 'age': [0, 30]}
    """
    _check_arguments(query, params)
    if not is_path(database):
        raise DeclarationError(f"a database is a file's name or a URI; received {database!r}.")
    name = os.fspath(database)
    folder = os.getcwd()
    if name.startswith(_SERVERS):
        table = _ask_postgresql(query, name, params)
    elif name == IN_MEMORY:
        table = _ask_duckdb(query, name, params)
    else:
        ask = _asker(name)
        table = ask(query, name, params)
        folder = os.path.dirname(os.path.abspath(name))
    try:
        return with_folder(settled(table), folder)
    except ValueError as error:
        raise DeclarationError(
            lines(
                f"the result of the query cannot be used as a table: {error}.",
                "Name its columns, each another: SELECT a.x AS ax, b.x AS bx.",
            )
        ) from error


def _check_arguments(query: object, params: object) -> None:
    if not isinstance(query, str) or not query.strip():
        raise DeclarationError(f"a query is the text of one SELECT; received {query!r}.")
    if isinstance(params, str | bytes) or not isinstance(params, Sequence | Mapping):
        raise DeclarationError(
            lines(
                f"params are a list or tuple of values, or a dict of them by name; received {params!r}.",
                "A single one is written params=[value].",
            )
        )


def _asker(path: str) -> Callable[[str, str, Params], pa.Table]:
    """Return what asks the database that a file is."""
    if "://" in path:
        raise DeclarationError(
            lines(
                f"a URI of a database begins with {_SERVERS[0]!r}.",
                f"Received: {path.partition('://')[0]!r}.",
                "Read the table with the database's own client, and pass on what it returns.",
            )
        )
    if not Path(path).is_file():
        state = "is not a regular file" if Path(path).exists() else "does not exist"
        raise DeclarationError(
            lines(f"the database {path!r} {state}.", f"Relative paths start from {os.getcwd()!r}.")
        )
    with Path(path).open("rb") as file:
        head = file.read(16)
    if head == b"SQLite format 3\0":
        return _ask_sqlite
    if head[8:12] == b"DUCK":
        return _ask_duckdb
    raise DeclarationError(
        lines(
            f"the database {path!r} is of neither DuckDB nor SQLite, by its first bytes.",
            "A table file is read by mf.Dataset and mf.align, or by SELECT * FROM 'rows.csv'.",
        )
    )


@contextmanager
def _told(database: str, *errors: type[Exception], secret: str = "") -> Iterator[None]:
    """Tell the user what a database says of a query."""
    try:
        yield
    except errors as error:
        said = " ".join(str(error).split())
        message = lines(
            f"the query cannot be run on {database}.",
            f"It says: {(said.replace(secret, '…') if secret else said).rstrip('.')}.",
        )
        # What the driver says may have the password in it.
        raise DeclarationError(message) from (None if secret else error)


def _refuse_no_select(is_select: bool) -> None:
    if not is_select:
        raise DeclarationError(
            lines(
                "a query is one SELECT.",
                "Do what else there is to do with the database's own client.",
            )
        )


# DuckDB --------------------------------------------------------------------------------------------

# A query sees no Python variables, which would be ours, and loads no code; it is the last to configure.
_CONFIG = {
    "allow_community_extensions": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "lock_configuration": True,
    "python_enable_replacements": False,
}
_VIEWS = (
    "A database file is a stranger's, so its views open no other files. If you trust it, pass on what "
    "DuckDB itself returns: duckdb.connect(file).sql(query) is a table."
)


def _ask_duckdb(query: str, path: str, params: Params) -> pa.Table:
    duckdb = package("duckdb", extra="sql", of="mf.sql")
    is_file = path != IN_MEMORY
    database = repr(path) if is_file else "DuckDB"
    with _told(database, duckdb.Error):
        config = _CONFIG | {"enable_external_access": not is_file}
        with duckdb.connect(path, read_only=is_file, config=config) as connection:
            statements = connection.extract_statements(query)
            _refuse_no_select([each.type for each in statements] == [duckdb.StatementType.SELECT])
            try:
                return connection.sql(query, params=params or None).to_arrow_table()
            except duckdb.PermissionException as error:
                if not is_file:
                    raise
                said = " ".join(str(error).split()).rstrip(".")
                raise DeclarationError(
                    lines(f"the query cannot be run on {database}.", f"It says: {said}.", _VIEWS)
                ) from error


# SQLite --------------------------------------------------------------------------------------------

# Rows at once: as Python objects they take ten times their room.
_ROWS = 16_384


def _ask_sqlite(query: str, path: str, params: Params) -> pa.Table:
    """Ask SQLite by Python's own module: DuckDB would have to download an extension for it."""
    import sqlite3

    reading = {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_RECURSIVE,
    }

    def authorize(action: int, *_: object) -> int:
        return sqlite3.SQLITE_OK if action in reading else sqlite3.SQLITE_DENY

    uri = f"{Path(path).absolute().as_uri()}?mode=ro"
    with (
        _told(repr(path), sqlite3.Error, pa.ArrowException, OverflowError, UnicodeError),
        closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection,
    ):
        # What SQLite advises for files of strangers.
        for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0"):
            connection.execute(f"PRAGMA {pragma}")
        connection.set_authorizer(authorize)
        cursor = connection.execute(query, params)
        _refuse_no_select(cursor.description is not None)
        names = [column[0] for column in cursor.description]
        pieces = [_arrow(names, [])]
        while rows := cursor.fetchmany(_ROWS):
            pieces.append(_arrow(names, rows))
        _refuse_texts_and_bytes(names, pieces)
        return pa.concat_tables(pieces, promote_options="permissive").rename_columns(names)


def _arrow(names: list[str], rows: list[tuple[Any, ...]]) -> pa.Table:
    """Return rows as a table, without names: a column of SQLite holds values of any type, one is due."""
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    arrays = []
    for name, values in zip(names, columns, strict=True):
        try:
            arrays.append(pa.array(values))
        except pa.ArrowException as error:
            raise _several_types(name, str(error)) from error
        if pa.types.is_binary(arrays[-1].type) and str in set(map(type, values)):
            raise _several_types(name, "texts and bytes")
    # Two names may be the same, which is told later.
    return pa.table(arrays, names=[str(number) for number in range(len(names))])


def _refuse_texts_and_bytes(names: list[str], pieces: Sequence[pa.Table]) -> None:
    """Raise if a column holds both, of which Arrow would make bytes."""
    for number, name in enumerate(names):
        if {pa.string(), pa.binary()} <= {piece.schema.field(number).type for piece in pieces}:
            raise _several_types(name, "texts and bytes")


def _several_types(name: str, which: str) -> pa.ArrowInvalid:
    return pa.ArrowInvalid(
        f"column {name!r} has values of several types ({which}); CAST it in the query"
    )


# PostgreSQL ----------------------------------------------------------------------------------------


def _ask_postgresql(query: str, uri: str, params: Params) -> pa.Table:
    postgresql = package("adbc_driver_postgresql.dbapi", extra="sql", of="mf.sql of PostgreSQL")
    if isinstance(params, Mapping):
        raise DeclarationError(
            lines(
                "params of PostgreSQL stand in the order of $1, $2, …; received a dict.",
                "Pass a list or tuple.",
            )
        )
    with (
        _told("PostgreSQL", postgresql.Error, pa.ArrowException, secret=uri),
        postgresql.connect(uri) as connection,
        connection.cursor() as cursor,
    ):
        # Functions of a stranger's views cannot write either.
        cursor.execute("SET TRANSACTION READ ONLY")
        places = cursor.adbc_prepare(query)
        due = 0 if places is None else len(places)
        # The driver would leave out what is too many.
        if due != len(params):
            raise DeclarationError(
                f"the query has {due} placeholders, and params {len(params)} values; these must agree."
            )
        cursor.execute(query, tuple(params) or None)
        return _plain(cursor.fetch_arrow_table())


def _plain(table: pa.Table) -> pa.Table:
    """Return a table with PostgreSQL's numbers of any precision as decimals, and JSON as text."""
    for number, field in enumerate(table.schema):
        if not isinstance(field.type, pa.BaseExtensionType):
            continue
        texts = table.column(number).cast(field.type.storage_type)
        if getattr(field.type, "type_name", None) == "numeric":
            table = table.set_column(number, field.name, _decimals(field.name, texts))
        elif isinstance(field.type, pa.JsonType):
            table = table.set_column(number, field.name, texts)
    return table


def _decimals(name: str, texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return numbers that are written as text as decimals, with as many places as the longest has."""
    behind = pc.struct_field(pc.extract_regex(texts, r"\.(?P<places>\d*)$"), "places")
    places = pc.max(pc.fill_null(pc.utf8_length(behind), 0)).as_py() or 0
    try:
        return texts.cast(pa.decimal128(38, min(places, 38)))
    except pa.ArrowException as error:
        raise pa.ArrowInvalid(
            f"column {name!r} has a numeric that no decimal of 38 digits can hold ({error}); write "
            f"{name}::float8 in the query"
        ) from error
