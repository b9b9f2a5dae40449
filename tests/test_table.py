"""Tables: every kind is read into the same columns, and what cannot be read says why."""

from __future__ import annotations

import csv as standard
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multifeed.errors import DeclarationError
from multifeed.table import FOLDER, Columns, as_columns, as_table, read_table

SUFFIXES = ".csv, .tsv, .parquet, .arrow, .feather, .jsonl"


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def csv(text: str | bytes, name: str = "t.csv") -> str:
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return name


def refused(call: Callable[[], Any]) -> str:
    """Return the message with which something is refused."""
    with pytest.raises(DeclarationError) as error:
        call()
    return str(error.value)


def unreadable(name: str) -> str:
    """Return what the parser says of a table file; the words differ between versions of PyArrow."""
    with pytest.raises(DeclarationError) as error:
        read_table(name)
    head, said = str(error.value).split("\n")
    assert head == f"the table file {name!r} cannot be read."
    assert said.startswith("  The parser says: ")
    assert said.endswith(".")
    assert not said.endswith("..")
    return said.removeprefix("  The parser says: ")


# Every kind of table file.

ROWS = {
    "id": ["a", "b", "c"],
    "age": [40, None, 60],
    "bmi": [20.5, 30.25, None],
    "file": ["x.jpg", None, ""],
}


def write_table(name: str) -> None:
    table = pa.table(ROWS)
    match name.partition(".")[2]:
        case "csv":
            csv("id,age,bmi,file\na,40,20.5,x.jpg\nb,,30.25,\nc,60,,\n", name)
        case "tsv":
            csv("id\tage\tbmi\tfile\na\t40\t20.5\tx.jpg\nb\t\t30.25\t\nc\t60\t\t\n", name)
        case "parquet":
            pyarrow.parquet.write_table(table, name)
        case "file.arrow":
            with pa.OSFile(name, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)
        case "stream.arrow":
            with pa.OSFile(name, "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)
        case "feather":
            pyarrow.feather.write_feather(table, name, compression="lz4")
        case "jsonl":
            lines = ['{"id": "a", "age": 40, "bmi": 20.5, "file": "x.jpg"}']
            lines += ['{"id": "b", "bmi": 30.25}', '{"id": "c", "age": 60, "bmi": null, "file": ""}']
            csv("\n".join(lines), name)


FILES = ["t.csv", "t.tsv", "t.parquet", "t.file.arrow", "t.stream.arrow", "t.feather", "t.jsonl"]


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_table_file_gives_the_same_columns(name: str) -> None:
    """What a table says does not depend on how it is stored, but for a CSV's empty text."""
    write_table(name)
    table = read_table(name)
    without_empty = ROWS | {"file": ["x.jpg", None, None]}
    assert table.to_pydict() == (without_empty if name in ("t.csv", "t.tsv") else ROWS)
    assert [str(kind) for kind in table.schema.types] == ["string", "int64", "double", "string"]


@pytest.mark.parametrize("name", FILES)
def test_text_columns_remember_the_folder_of_their_file(name: str, tmp_path: Path) -> None:
    """File names in a table start from its folder, whatever is done with the table afterwards."""
    write_table(name)
    columns = as_columns(name, "rows")
    assert [columns.folder(each) for each in columns.names] == [str(tmp_path), None, None, str(tmp_path)]
    taken = Columns(columns.take(np.array([2, 0])))
    assert taken.folder("file") == str(tmp_path)
    assert Columns(read_table(Path(name)).select(["file"]).slice(1)).folder("file") == str(tmp_path)


def test_lists_and_dictionaries_of_texts_remember_the_folder_too(tmp_path: Path) -> None:
    """Text is text however it is encoded."""
    words = pa.array(["x", "y"])
    table = pa.table(
        {"words": words.dictionary_encode(), "lists": [["x"], ["y"]], "numbers": [[1], [2]]}
    )
    pyarrow.parquet.write_table(table, "t.parquet")
    columns = as_columns("t.parquet", "rows")
    folders = {name: columns.folder(name) for name in columns.names}
    assert folders == {"words": str(tmp_path), "lists": str(tmp_path), "numbers": None}


def test_a_table_file_cannot_say_where_its_file_names_start(tmp_path: Path) -> None:
    """A folder that the file's writer put into it is replaced, or left out."""
    kinds = {"file": pa.string(), "raw": pa.binary(), "count": pa.int64()}
    fields = [pa.field(name, kind) for name, kind in kinds.items()]
    schema = pa.schema([field.with_metadata({FOLDER: b"/", b"unit": b"mm"}) for field in fields])
    pyarrow.parquet.write_table(pa.table([["x"], [b"y"], [1]], schema=schema), "t.parquet")
    table = read_table("t.parquet")
    folder = os.fsencode(tmp_path)
    assert table.schema.field("file").metadata == {FOLDER: folder, b"unit": b"mm"}
    # A file's name may stand for bytes, where one sample is prepared.
    assert table.schema.field("raw").metadata == {FOLDER: folder, b"unit": b"mm"}
    assert FOLDER not in table.schema.field("count").metadata


def test_the_folders_above_a_parquet_file_make_no_columns() -> None:
    """`key=value` folders above a Parquet file are not read into it."""
    Path("year=2024").mkdir()
    pyarrow.parquet.write_table(pa.table({"id": ["a"]}), "year=2024/t.parquet")
    assert read_table("year=2024/t.parquet").column_names == ["id"]


# What a CSV does not say of itself.


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["007", "8"], ["007", "8"]),
        (["8", "-01"], ["8", "-01"]),
        ([" 07", "8"], [" 07", "8"]),
        (['"007"', "8"], ["007", "8"]),
        (["001.1", "250.0"], ["001.1", "250.0"]),
        (["12345678901234567890", "1"], ["12345678901234567890", "1"]),
        (["7", "0"], [7, 0]),
        (["0.5", "-0.25"], [0.5, -0.25]),
        (["0", "1e3"], [0.0, 1000.0]),
        (["1700000000000000000", "1"], [1700000000000000000, 1]),
        (["10000000000000000000.0", "0.5"], [1e19, 0.5]),
        (["x1", "007"], ["x1", "007"]),
    ],
)
def test_numbers_that_are_codes_stay_text(cells: list[str], expected: list[Any]) -> None:
    """A column with a leading zero, or with more digits than an integer keeps, is not of numbers."""
    name = csv("\n".join(["id,code", *(f"{row},{cell}" for row, cell in enumerate(cells))]))
    assert read_table(name).to_pydict() == {"id": list(range(len(cells))), "code": expected}


def test_a_code_is_noticed_however_late_it_comes() -> None:
    """The whole column is looked at, not its beginning."""
    name = csv("code\n" + "1\n" * 9_000_000 + "007\n")
    assert read_table(name)["code"].type == pa.string()


def test_columns_asked_for_as_text_are_read_as_they_stand() -> None:
    """A key keeps its spelling, whatever else it could be taken for."""
    cells = ["7", "1e5", "2024-01-01", "true", "nan", "NA", "12:00", " x "]
    name = csv("\n".join(["id,x", *(f"{cell},1" for cell in cells)]))
    assert read_table(name, ["id", "not there"])["id"].to_pylist() == cells
    for number, cell in enumerate(cells):
        name = csv(f"id,x\n{cell},1\n", f"{number}.csv")
        assert read_table(name, ["id"])["id"].to_pylist() == [cell]


def test_dates_in_json_stay_text_where_text_is_asked_for() -> None:
    """Arrow takes texts that look like times for times; a key must not change its spelling."""
    name = csv('{"day": "2024-01-01", "n": 1, "id": "2024-01-01"}\n', "t.jsonl")
    table = read_table(name, ["id", "n", "not there"])
    assert table.column_names == ["day", "n", "id"]
    assert table["id"].to_pylist() == ["2024-01-01"]
    assert table["n"].to_pylist() == [1]
    assert pa.types.is_temporal(table["day"].type)


def test_an_empty_cell_is_null_but_na_in_a_text_is_a_text() -> None:
    """Missing is missing in every column; a name like "NA" (Namibia) is kept."""
    name = csv('country,age,note\nNA,NA,""\n,,x\nFR,3,\n')
    assert read_table(name).to_pydict() == {
        "country": ["NA", None, "FR"],
        "age": [None, None, 3],
        "note": [None, "x", None],
    }


def test_quotes_line_breaks_and_long_rows_are_read() -> None:
    """A cell may hold the delimiter, line breaks, quotes, and more than a megabyte."""
    long = "word " * 500_000
    name = csv(f'id,note\n1,"a, ""b""\nc"\n2,{long}\n')
    assert read_table(name)["note"].to_pylist() == ['a, "b"\nc', long]
    name = csv(f'{{"note": "{long}"}}\n{{"note": "x"}}\n', "t.jsonl")
    assert read_table(name)["note"].to_pylist() == [long, "x"]


def test_a_byte_order_mark_is_not_part_of_the_first_name() -> None:
    """A CSV from a spreadsheet begins with one."""
    assert read_table(csv(b"\xef\xbb\xbfid,x\n1,2\n")).column_names == ["id", "x"]


# Files that cannot be read.


def test_a_missing_table_file_is_an_error(tmp_path: Path) -> None:
    """The message says from where the name was looked for."""
    assert refused(lambda: read_table("t.csv")) == (
        f"the table file 't.csv' does not exist.\n  Relative paths start from '{tmp_path}'."
    )


@pytest.mark.parametrize("name", ["t.xlsx", "t", "folder/t.CSV.gz"])
def test_an_unknown_suffix_is_an_error(name: str) -> None:
    """The message lists the kinds that are read."""
    assert refused(lambda: read_table(name)) == (
        f"a table file ends in one of {SUFFIXES}.\n"
        f"  Received: {name!r}.\n"
        "  Convert the file, or pass the table itself (pyarrow, pandas, polars)."
    )


def test_a_suffix_may_be_in_capitals() -> None:
    """Some cameras and spreadsheets shout."""
    assert read_table(csv("id\nx\n", "T.CSV")).to_pydict() == {"id": ["x"]}


@pytest.mark.timeout(10)
@pytest.mark.parametrize("suffix", SUFFIXES.split(", "))
def test_a_pipe_or_a_device_in_place_of_a_table_file_does_not_block(suffix: str, tmp_path: Path) -> None:
    """Only regular files are opened: a pipe would wait for a writer that never comes."""
    os.mkfifo(f"pipe{suffix}")
    Path(f"endless{suffix}").symlink_to("/dev/zero")
    for name in (f"pipe{suffix}", f"endless{suffix}"):
        assert refused(lambda name=name: read_table(name)) == (
            f"the table file {name!r} is not a regular file.\n  Relative paths start from '{tmp_path}'."
        )


@pytest.mark.parametrize("suffix", SUFFIXES.split(", "))
def test_an_empty_file_or_garbage_is_an_error(suffix: str) -> None:
    """What is no table is refused with what the parser says of it."""
    for content in (b"", b"\x00\x01\x02garbage\xff\xfe" * 20):
        csv(content, f"t{suffix}")
        assert unreadable(f"t{suffix}")


def test_text_that_is_not_utf8_is_an_error() -> None:
    """Latin-1 is not guessed at, in cells, names of columns and keys."""
    csv("id,name\n1,José\n".encode("latin-1"))
    assert unreadable("t.csv") == "column 'name' holds text that is not UTF-8."
    csv("id,größe\n1,2\n".encode("latin-1"))
    assert "utf-8" in unreadable("t.csv")
    csv('{"name": "José"}\n'.encode("latin-1"), "t.jsonl")
    assert "UTF8" in unreadable("t.jsonl")


def test_a_column_that_is_there_twice_is_an_error() -> None:
    """A name means one column."""
    csv("id,x,x\n1,2,3\n")
    assert unreadable("t.csv") == "it has 2 columns 'x'."
    pyarrow.parquet.write_table(pa.table([[1], [2]], names=["x", "x"]), "t.parquet")
    assert unreadable("t.parquet") == "it has 2 columns 'x'."
    table = pa.table([[1], [2]], names=["x", "x"])
    assert refused(lambda: as_table(table, "the source 'a'")) == (
        "the source 'a' cannot be used as a table: it has 2 columns 'x'.\n"
        "  Give its columns different names, and each column values of one kind."
    )


def test_a_damaged_arrow_file_is_an_error_and_not_a_crash() -> None:
    """Positions in an Arrow file are checked before anything is taken from them."""
    write_table("t.file.arrow")
    good = Path("t.file.arrow").read_bytes()
    offsets = np.array([0, 1, 2, 3], np.int32).tobytes()
    assert offsets in good
    csv(good.replace(offsets, np.array([0, 1, 2**30, 3], np.int32).tobytes()), "bad.arrow")
    assert unreadable("bad.arrow")


# Tables in memory.


@pytest.mark.parametrize(
    "make", [pa.table, pd.DataFrame, pl.DataFrame, lambda rows: pa.record_batch(rows)]
)
def test_every_kind_of_table_in_memory_gives_the_same_columns(make: Callable[..., Any]) -> None:
    """Anything that speaks Arrow is a table, and rows can be taken from each of its columns."""
    rows = {"id": ["a", "b"], "n": [1, 2], "x": [0.5, None], "list": [["p"], ["q", "r"]]}
    columns = as_columns(make(rows), "rows")
    assert columns.count == 2
    assert columns.take(np.array([1, 0])).to_pydict() == {
        name: values[::-1] for name, values in rows.items()
    }


def test_nested_polars_text_can_be_taken_from() -> None:
    """polars hands text over in a form that Arrow cannot take rows from; it is converted."""
    frame = pl.DataFrame(
        {
            "bytes": [b"x", b"y"],
            "struct": [{"k": "v"}, {"k": "w"}],
            "lists": [[["v"]], [["w", "u"]]],
            "pairs": pl.Series([["a", "b"], ["c", "d"]], dtype=pl.Array(pl.String, 2)),
            "kind": pl.Series(["u", "v"], dtype=pl.Categorical),
        }
    )
    taken = as_columns(frame, "rows").take(np.array([1]))
    assert taken.to_pylist() == frame[1:].to_dicts()
    assert taken["kind"].combine_chunks().dictionary_decode().to_pylist() == ["v"]


def test_a_pandas_index_is_a_column_only_if_it_has_a_name() -> None:
    """Positions that are left over from a selection say nothing of the samples."""
    frame = pd.DataFrame({"id": ["a", "b", "c"], "n": [1, 2, 3]})
    assert as_table(frame[frame.n != 2], "rows").to_pydict() == {"id": ["a", "c"], "n": [1, 3]}
    assert as_table(frame.set_index("id"), "rows").to_pydict() == {"n": [1, 2, 3], "id": ["a", "b", "c"]}


def test_a_pandas_column_of_several_kinds_is_an_error() -> None:
    """The message names the column."""
    message = refused(lambda: as_table(pd.DataFrame({"id": ["a", 1]}), "the source 'a'"))
    first, *rest = message.split("\n")
    assert first.startswith("the source 'a' cannot be used as a table: ")
    assert first.endswith("Conversion failed for column id with type object.")
    assert rest == ["  Give its columns different names, and each column values of one kind."]


def test_huge_columns_are_of_types_that_rows_can_be_taken_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a column is too large for positions of 32 bits, it gets positions of 64."""
    monkeypatch.setattr("multifeed.table._TAKE_BYTES", 10)
    rows = {"text": ["x" * 20], "raw": [b"x" * 20], "lists": [[["x" * 20]]], "tiny": ["x"]}
    taken = as_columns(rows, "rows").take(np.array([0]))
    kinds = [column.type for column in taken.values()]
    assert kinds == [
        pa.large_string(),
        pa.large_binary(),
        pa.large_list(pa.large_list(pa.large_string())),
        pa.string(),
    ]


@pytest.mark.slow
def test_rows_are_taken_from_text_beyond_two_gigabytes(full_length: bool) -> None:
    """A table of that much text can be selected from."""
    if not full_length:
        pytest.skip("needs 8 GB of memory")
    block = pa.array(["x" * 2**20] * 600)
    columns = as_columns(pa.table({"text": pa.chunked_array([block] * 4)}), "rows")
    assert columns.take(np.array([2399, 0])).num_rows == 2


@pytest.mark.parametrize("source", [5, None, [1, 2], np.zeros(3), object])
def test_what_is_no_table_is_refused(source: Any) -> None:
    """The message says what came, and what can."""
    assert refused(lambda: as_table(source, "the source 'a'")) == (
        "the source 'a' must be a table.\n"
        f"  Received: {type(source).__name__}.\n"
        f"  Pass a table file ({SUFFIXES}), a pyarrow, pandas or polars table, or a dict of arrays."
    )


# A dict of arrays.


def test_arrays_of_numbers_stay_as_they_are() -> None:
    """Arrays and memmaps are the caller's own memory; all else becomes Arrow."""
    np.save("a.npy", np.arange(12.0).reshape(3, 2, 2))
    memmap = np.load("a.npy", mmap_mode="r")
    arrays = {"memmap": memmap, "flags": np.array([True, False, True])}
    arrow = {
        "list": [1, 2, 3],
        "words": np.array(["a", "b", "c"]),
        "objects": np.array(["a", None, "c"], object),
        "days": np.array(["2024-01-01"] * 3, "datetime64[D]"),
        "pandas": pd.Series(["a", "b", "c"], index=[7, 8, 9]),
        "polars": pl.Series(["a", "b", "c"]),
        "arrow": pa.array([1, 2, None]),
        "chunks": pa.chunked_array([[1], [2, 3]]),
        "masked": np.ma.masked_array([1, 2, 3], mask=[False, True, False]),
        "ragged": [[1], [2, 3], []],
    }
    columns = as_columns(arrow | arrays, "rows")
    assert all(columns[name] is array for name, array in arrays.items())
    assert all(isinstance(columns[name], pa.ChunkedArray) for name in arrow)
    assert columns["masked"].to_pylist() == [1, None, 3]
    taken = columns.take(np.array([2, 0]))
    assert isinstance(taken, dict)
    assert taken["polars"].to_pylist() == ["c", "a"]
    assert taken["memmap"].tolist() == memmap[[2, 0]].tolist()
    assert columns.count == 3


def test_a_dict_keeps_the_order_of_its_columns_as_a_table() -> None:
    """Columns stand as they were written, arrays among lists."""
    table = as_table({"n": np.zeros(2), "id": ["a", "b"], "m": np.zeros((2, 3))}, "rows")
    assert table.column_names == ["n", "id", "m"]


def test_arrays_of_more_axes_become_tensors_without_a_copy() -> None:
    """A table of images shares the memory of the array."""
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    column = as_table({"image": images}, "rows")["image"].chunk(0)
    assert np.shares_memory(column.to_numpy_ndarray(), images)
    assert (column.to_numpy_ndarray() == images).all()


def test_bytes_in_the_other_order_are_turned_round() -> None:
    """Numbers as astronomers and radars write them."""
    table = as_table({"a": np.array([1, 2], ">i4"), "b": np.array([[1.5], [2.5]], ">f8")}, "rows")
    assert table["a"].to_pylist() == [1, 2]
    assert table["b"].combine_chunks().to_numpy_ndarray().tolist() == [[1.5], [2.5]]


class Tensor:
    """What torch, JAX and TensorFlow have in common."""

    def __init__(self, values: Any) -> None:
        self._values = np.asarray(values)

    def __dlpack__(self) -> None:
        raise NotImplementedError

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self._values.dtype == object:
            raise TypeError("it is on another device.")
        return self._values


def test_tensors_are_arrays() -> None:
    """A tensor of a backend is read through NumPy, and where that cannot be, says so."""
    columns = as_columns({"x": Tensor([[1, 2], [3, 4]])}, "rows")
    assert columns["x"].tolist() == [[1, 2], [3, 4]]
    assert refused(lambda: as_columns({"x": Tensor([object()])}, "rows")) == (
        "column 'x' cannot be used as it is: it is on another device.\n"
        "  Pass a NumPy array, or a list with one value a sample, all of one kind."
    )


@pytest.mark.parametrize(
    ("value", "fact"),
    [
        ("abc", "it is the single value 'abc'"),
        (b"abc", "it is the single value b'abc'"),
        (np.array(5), "it is the single value array(5)"),
        (Tensor(5), "it is the single value array(5)"),
        (5, "'int' object is not iterable"),
    ],
)
def test_a_column_of_one_value_is_refused(value: Any, fact: str) -> None:
    """A text is not a list of characters; a number is not a column."""
    assert refused(lambda: as_columns({"x": value, "y": [1]}, "rows")) == (
        f"column 'x' cannot be used as it is: {fact}.\n"
        "  Pass a NumPy array, or a list with one value a sample, all of one kind."
    )


def test_arrays_of_several_lengths_are_lists_within_lists() -> None:
    """PyArrow itself takes arrays of one axis alone."""
    values = [np.arange(6.0).reshape(3, 2), np.arange(2.0).reshape(1, 2)]
    column = as_table({"x": values}, "rows")["x"]
    assert column.to_pylist() == [each.tolist() for each in values]
    assert str(column.type) == "large_list<item: fixed_size_list<item: double>[2]>"


@pytest.mark.parametrize(
    "values",
    [
        [1, "a"],
        [np.zeros((2, 2)), np.zeros((2, 3))],
        np.zeros((2, 2), complex),
        np.array([["a", "b"]]),
        [2**70],
    ],
    ids=["mixed", "images of several widths", "complex", "2-D text", "too large"],
)
def test_values_that_arrow_cannot_hold_are_refused(values: Any) -> None:
    """The column is named, in Arrow's words."""
    first, remedy = refused(lambda: as_table({"x": values}, "rows")).split("\n")
    assert first.startswith("column 'x' cannot be used as it is: ")
    assert remedy == "  Pass a NumPy array, or a list with one value a sample, all of one kind."


def test_columns_of_several_lengths_are_an_error() -> None:
    """Rows are never matched by position where the lengths say that they do not belong together."""
    rows = {"id": ["a", "b"], "x": np.zeros((1_000, 2)), "y": [1, 2, 3]}
    assert refused(lambda: as_columns(rows, "rows")) == (
        "the columns of a row table must have one length.\n"
        "  Received: 'id' has 2, 'y' has 3, 'x' has 1,000.\n"
        "  Give every column one value a sample, or join by key with mf.align."
    )


def test_names_of_columns_are_text() -> None:
    """A dict by number is not a table."""
    assert refused(lambda: as_columns({0: [1]}, "rows")) == (
        "rows must have text as names of columns; received 0."
    )


# Columns by name.


def test_a_column_that_does_not_exist_is_an_error_that_names_the_near_ones() -> None:
    """A slip of the pen costs one look."""
    columns = as_columns({"age": [1], "bmi": [2], "site": np.zeros(1)}, "rows")
    assert refused(lambda: columns["agee"]) == (
        "the row table has no column 'agee'.\n  Did you mean 'age'?"
    )
    assert refused(lambda: columns["zzz"]) == (
        "the row table has no column 'zzz'.\n  There are: 'age', 'bmi', 'site'."
    )
    assert "age" in columns
    assert "site" in columns
    assert "zzz" not in columns


def test_a_pattern_stands_for_the_columns_that_match_it() -> None:
    """Stars and brackets choose columns in their order, unless a column is called just so."""
    columns = as_columns({"p10": [1], "p2": [1], "q*": [1], "q1": np.zeros(1)}, "rows")
    assert columns.matching("p*") == ["p10", "p2"]
    assert columns.matching("[pq]1*") == ["p10", "q1"]
    assert columns.matching("q*") == ["q*"]
    assert columns.matching("p2") == ["p2"]
    assert refused(lambda: columns.matching("x*")) == (
        "no column matches 'x*'.\n  There are: 'p10', 'p2', 'q*', 'q1'."
    )
    assert refused(lambda: columns.matching("p100")) == (
        "the row table has no column 'p100'.\n  Did you mean 'p10'?"
    )


def test_an_array_has_no_folder() -> None:
    """Only what came from a table file starts anywhere."""
    columns = as_columns({"x": np.zeros(1), "file": ["x.jpg"]}, "rows")
    assert columns.folder("x") is None
    assert columns.folder("file") is None


def test_a_table_without_columns_has_no_rows() -> None:
    """Nothing in, nothing out."""
    assert as_columns({}, "rows").count == 0
    assert as_columns({"x": np.zeros((0, 3))}, "rows").count == 0


_cells = st.one_of(
    st.none(),
    st.text("ab,\"\n 0é'", min_size=1, max_size=5),
    st.sampled_from(["007", "7", "NA", "nan", "1e5"]),
)


@settings(deadline=None)
@given(st.lists(st.tuples(_cells, _cells), min_size=1, max_size=8))
def test_text_survives_a_csv(rows: list[tuple[str | None, str | None]]) -> None:
    """What was written to a CSV as text is read as the same text, if text is asked for."""
    with tempfile.TemporaryDirectory() as folder:
        with Path(folder, "t.csv").open("w", newline="", encoding="utf-8") as file:
            writer = standard.writer(file, quoting=standard.QUOTE_ALL)
            writer.writerows([("a", "b"), *rows])
        table = read_table(f"{folder}/t.csv", ["a", "b"])
    assert list(zip(table["a"].to_pylist(), table["b"].to_pylist(), strict=True)) == rows


def test_reading_from_several_threads_is_safe() -> None:
    """Nothing is shared between two reads."""
    csv("id,x\n" + "".join(f"{row:05},{row}\n" for row in range(5_000)))
    results: list[pa.Table] = []
    threads = [threading.Thread(target=lambda: results.append(read_table("t.csv"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all(table.equals(results[0]) for table in results)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_damaged_table_files_are_read_or_refused(name: str, full_length: bool) -> None:
    """Whatever bytes a table file has, it gives a table or our error, and never a crash."""
    random = np.random.default_rng(FILES.index(name))
    write_table(name)
    good = np.fromfile(name, np.uint8)
    for number in range(5_000 if full_length else 100):
        bad = good.copy()
        places = random.integers(len(bad), size=1 + number % 3)
        bad[places] = random.integers(256, size=len(places))
        # A new file each time: what was read before may still be mapped into memory.
        damaged = f"{number}.{name}"
        bad[: len(bad) - number % 5].tofile(damaged)
        try:
            table = read_table(damaged)
        except DeclarationError:
            continue
        assert table.take(pa.array(np.arange(table.num_rows))).num_rows == table.num_rows
        Path(damaged).unlink()
