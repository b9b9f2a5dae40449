"""Joining by key: which rows there are, what stands in them, and what is said where they do not fit."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import multifeed as mf
from multifeed.table import Columns

FILL_OR_DROP = '\n  Pass on_missing="drop" to train on the complete samples, or "keep" to fill the gaps.'
FINER_KEY = (
    "\n  Remove the surplus, or make the key finer (it may be a tuple of columns); what many samples "
    "share is joined with mf.lookup(table, on=...)."
)


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def csv(text: str, name: str = "t.csv") -> str:
    Path(name).write_text(text)
    return name


def refused(kind: type[Exception], key: Any, **arguments: Any) -> str:
    """Return the message with which `align` refuses its arguments."""
    with pytest.raises(kind) as error:
        mf.align(key, **arguments)
    return str(error.value)


def warned(key: Any, **arguments: Any) -> tuple[dict[str, list[Any]], list[str]]:
    """Return the rows as a dict, and the warnings, which must point at the caller's line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rows = mf.align(key, **arguments)
    assert all(each.category is mf.MultifeedWarning for each in caught)
    assert all(each.filename == __file__ for each in caught)
    return rows.to_pydict(), [str(each.message) for each in caught]


# What comes out.


def test_files_and_tables_are_joined_by_key_and_never_by_position() -> None:
    """Two listings and a table in another order: each row holds what has its key."""
    write("left/a.jpg", "left/b.jpg", "left/c.jpg", "right/b.png", "right/a.png", "right/c.png")
    table = csv("age,id\n3,c\n1,a\n2,b\n")
    rows = mf.align("id", left="left/{id}.jpg", right="right/{id}.png", table=table)
    assert rows.to_pydict() == {
        "id": ["a", "b", "c"],
        "left": ["left/a.jpg", "left/b.jpg", "left/c.jpg"],
        "right": ["right/a.png", "right/b.png", "right/c.png"],
        "age": [1, 2, 3],
    }
    assert [str(kind) for kind in rows.schema.types] == ["string", "string", "string", "int64"]


def test_rows_stand_in_the_order_of_the_first_source() -> None:
    """A table first: its order; a pattern first: by path."""
    write("a/1.x", "a/2.x", "a/3.x")
    table = {"id": ["3", "1", "2"]}
    assert mf.align("id", table=table, file="a/{id}.x")["id"].to_pylist() == ["3", "1", "2"]
    assert mf.align("id", file="a/{id}.x", table=table)["id"].to_pylist() == ["1", "2", "3"]


def write_table(name: str) -> str:
    table = pa.table({"id": ["b", "a"], "n": [2, 1]})
    match Path(name).suffix:
        case ".csv":
            csv("id,n\nb,2\na,1\n", name)
        case ".tsv":
            csv("id\tn\nb\t2\na\t1\n", name)
        case ".parquet":
            pyarrow.parquet.write_table(table, name)
        case ".arrow":
            make = pa.ipc.new_stream if "stream" in name else pa.ipc.new_file
            with pa.OSFile(name, "wb") as sink, make(sink, table.schema) as writer:
                writer.write_table(table)
        case ".feather":
            pyarrow.feather.write_feather(table, name)
        case ".jsonl":
            csv('{"id": "b", "n": 2}\n{"id": "a", "n": 1}\n', name)
    return name


ROWS = {"id": ["b", "a"], "n": [2, 1]}


MAKE: dict[str, Callable[[], Any]] = {
    "csv": lambda: write_table("t.csv"),
    "tsv": lambda: write_table("t.tsv"),
    "parquet": lambda: write_table("t.parquet"),
    "arrow-file": lambda: write_table("file.arrow"),
    "arrow-stream": lambda: write_table("stream.arrow"),
    "feather": lambda: write_table("t.feather"),
    "jsonl": lambda: Path(write_table("t.jsonl")),
    "dict": lambda: ROWS,
    "numpy": lambda: {"id": np.array(["b", "a"]), "n": np.array([2, 1])},
    "pyarrow": lambda: pa.table(ROWS),
    "batch": lambda: pa.record_batch(ROWS),
    "reader": lambda: pa.table(ROWS).to_reader(),
    "pandas": lambda: pd.DataFrame(ROWS),
    "pandas-index": lambda: pd.DataFrame(ROWS).set_index("id"),
    "pandas-category": lambda: pd.DataFrame(ROWS).astype({"id": "category"}),
    "polars": lambda: pl.DataFrame(ROWS),
    "polars-category": lambda: pl.DataFrame(ROWS, schema_overrides={"id": pl.Categorical}),
}


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_every_kind_of_table_can_be_a_source(make: Callable[[], Any]) -> None:
    """Whatever a table comes as, its rows are found by key."""
    rows = mf.align("id", first={"id": ["a", "b"]}, table=make())
    assert rows.to_pydict() == {"id": ["a", "b"], "n": [1, 2]}


def test_arrays_of_more_axes_are_joined_row_by_row() -> None:
    """The rows of a 3-D array follow their keys; a missing one is null."""
    images = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    scans = {"id": [1, 2, 3], "image": images}
    rows = mf.align("id", table={"id": [3, 1, 4]}, scans=scans, on_missing="keep")
    assert rows["id"].to_pylist() == ["3", "1", "4", "2"]
    assert rows["image"].is_null().to_pylist() == [False, False, True, False]
    taken = rows["image"].take([0, 1, 3]).combine_chunks()
    assert (taken.to_numpy_ndarray() == images[[2, 0, 1]]).all()


def test_an_array_in_the_order_of_the_rows_is_not_copied() -> None:
    """A memmap of any size can be a source, as long as its rows need not be moved."""
    images = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    rows = mf.align("id", scans={"id": [1, 2, 3], "image": images}, table={"id": [2, 1, 3]})
    assert np.shares_memory(rows["image"].chunk(0).to_numpy_ndarray(), images)


def test_columns_remember_the_folder_of_their_table_file(tmp_path: Path) -> None:
    """File names from a table file start from its folder, the key's too; a pattern's do not."""
    write("left/a.jpg")
    Path("tables").mkdir()
    table = csv("id,photo,n\na,photos/a.jpg,1\n", "tables/t.csv")
    site = csv("n,plan\n1,x.png\n", "site.csv")
    rows = mf.align("id", left="left/{id}.jpg", table=table, site=mf.lookup(site, on="n"))
    columns = Columns(rows)
    assert {name: columns.folder(name) for name in columns.names} == {
        "id": f"{tmp_path}/tables",
        "left": None,
        "photo": f"{tmp_path}/tables",
        "n": f"{tmp_path}/tables",  # text, since the lookup compares it as such
        "plan": str(tmp_path),
    }


# Keys.


def test_keys_keep_their_spelling() -> None:
    """ "007" stays "007" in a CSV, whatever the column looks like; so does what a lookup joins on."""
    write("scans/007.png", "scans/10.png")
    table = csv("id,site,code,n\n007,01,0042,5\n10,1,7,6\n")
    sites = csv("site,city\n1,Bonn\n01,Rome\n", "sites.csv")
    rows = mf.align("id", scan="scans/{id}.png", table=table, sites=mf.lookup(sites, on="site"))
    assert rows.to_pydict() == {
        "id": ["007", "10"],
        "scan": ["scans/007.png", "scans/10.png"],
        "site": ["01", "1"],
        "code": ["0042", "7"],
        "n": [5, 6],
        "city": ["Rome", "Bonn"],
    }


def test_keys_that_look_like_numbers_or_dates_are_compared_as_they_stand() -> None:
    """A CSV's keys are never interpreted, nor are a JSON file's dates."""
    table = csv("id,n\n1e5,1\n2024-01-01,2\ntrue,3\n1.50,4\n")
    more = csv('{"id": "2024-01-01", "m": 2}\n{"id": "2024-02-01", "m": 3}\n', "m.jsonl")
    rows = mf.align("id", table=table, more=more, on_missing="keep")
    assert rows["id"].to_pylist() == ["1e5", "2024-01-01", "true", "1.50", "2024-02-01"]
    assert rows["m"].to_pylist() == [None, 2, None, None, 3]


@pytest.mark.parametrize("kind", ["int8", "uint64", "int64", "str", "object"])
def test_integers_become_decimal_text(kind: str) -> None:
    """An integer key equals its decimal text."""
    ids = np.array([10, 2]).astype(kind)
    rows = mf.align("id", table={"id": ids, "n": [1, 2]}, other={"id": ["2", "10"], "m": [20, 100]})
    assert rows.to_pydict() == {"id": ["10", "2"], "n": [1, 2], "m": [100, 20]}


@pytest.mark.parametrize(
    ("keys", "kind", "remedy"),
    [
        (
            [1.0, 2.0],
            "double",
            "A float has no one text; make them integers, e.g. frame.astype({...: 'Int64'}).",
        ),
        ([True, False], "bool", "Keys are text or integers."),
        ([b"a", b"b"], "binary", "Keys are text or integers."),
        ([None, None], "null", "Keys are text or integers."),
        ([["a"], ["b"]], "list<item: string>", "Keys are text or integers."),
        (pa.array([1.5, 2.5]).dictionary_encode(), "double", None),
    ],
)
def test_what_has_no_one_text_cannot_be_a_key(keys: Any, kind: str, remedy: str | None) -> None:
    """Floats, booleans and the like are refused, with the way out."""
    remedy = remedy or "A float has no one text; make them integers, e.g. frame.astype({...: 'Int64'})."
    assert refused(mf.AlignError, "id", table={"id": keys}) == (
        f"the key 'id' of 'table' cannot be compared as text: it is {kind}.\n  {remedy}"
    )


@pytest.mark.parametrize(
    ("keys", "count", "row"), [(["a", None, "", None], 3, 1), ([1, None, None], 2, 1), ([""], 1, 0)]
)
def test_every_row_needs_a_key(keys: list[Any], count: int, row: int) -> None:
    """Null and empty keys are counted, and the first is named."""
    assert refused(mf.AlignError, "id", table={"id": keys}) == (
        f"every row needs a key: 'id' of 'table' is empty in {count} of {len(keys)} rows.\n"
        f"  First: row {row}.\n"
        "  Fill the key in, or remove the rows."
    )


def test_a_key_may_be_several_columns() -> None:
    """The parts of a composite key are braces of a pattern and columns of a table, in any order."""
    write("p1/left_1.jpg", "p1/left_2.jpg", "p2/left_1.jpg")
    table = {"visit": [1, 1, 2], "patient": ["p2", "p1", "p1"], "age": [50, 40, 41]}
    rows = mf.align(("patient", "visit"), left="{patient}/left_{visit}.jpg", table=table)
    assert rows.to_pydict() == {
        "patient": ["p1", "p1", "p2"],
        "visit": ["1", "2", "1"],
        "left": ["p1/left_1.jpg", "p1/left_2.jpg", "p2/left_1.jpg"],
        "age": [40, 41, 50],
    }
    rows = mf.align(["patient"], table={"patient": ["a"]})
    assert rows.to_pydict() == {"patient": ["a"]}


def test_parts_of_a_composite_key_are_not_run_together() -> None:
    """("a", "bc") and ("ab", "c") are two keys, and nothing in a key can hide the border."""
    one, two = {"x": ["a", "ab"], "y": ["bc", "c"]}, {"x": ["ab", "a"], "y": ["c", "bc"], "n": [2, 1]}
    assert mf.align(("x", "y"), one=one, two=two)["n"].to_pylist() == [1, 2]
    bad = {"x": ["a\x1fb"], "y": ["c"]}
    assert refused(mf.AlignError, ("x", "y"), one=bad) == (
        "the parts of a composite key cannot hold the control character U+001F."
    )
    assert mf.align("x", one=bad)["x"].to_pylist() == ["a\x1fb"]


def test_a_key_stands_for_one_sample() -> None:
    """Repeated keys are counted; the first is shown with its files or rows."""
    write("a/1_x.jpg", "a/1_y.jpg", "a/2_x.jpg", "a/3_x.jpg", "a/3_y.jpg")
    assert refused(mf.AlignError, "id", photo="a/{id}_*.jpg") == (
        "a key names one sample: 'photo' has 2 of 3 keys more than once.\n"
        "  First: '1' (a/1_x.jpg, a/1_y.jpg)." + FINER_KEY
    )
    table = csv("id,n\n7,0\n8,1\n7,2\n7,3\n9,4\n7,5\n")
    assert refused(mf.AlignError, "id", table=table) == (
        "a key names one sample: 'table' has 1 of 3 keys more than once.\n"
        "  First: '7' (row 0 in t.csv, row 2 in t.csv, row 3 in t.csv and 1 more)." + FINER_KEY
    )
    assert refused(mf.AlignError, ("a", "b"), table={"a": [1, 1], "b": [2, 2]}) == (
        "a key names one sample: 'table' has 1 of 1 keys more than once.\n"
        "  First: '1/2' (row 0 in the table, row 1 in the table)." + FINER_KEY
    )


# What a source lacks.


def lacking() -> dict[str, Any]:
    write("left/a.jpg", "left/b.jpg", "left/c.jpg", "left/d.jpg", "right/b.jpg", "right/e.jpg")
    return {
        "left": "left/{id}.jpg",
        "right": "right/{id}.jpg",
        "table": csv("id,n\nb,2\nc,3\ne,5\na,1\n"),
    }


def test_a_key_that_sources_lack_is_an_error() -> None:
    """Each source that lacks keys is named with how many, the first two, and where they would be."""
    assert refused(mf.AlignError, "id", **lacking()) == (
        "every sample needs all of its inputs: 'left' lacks 1 of 5 keys, 'right' lacks 3 of 5 keys, "
        "'table' lacks 1 of 5 keys.\n"
        "  First missing: 'e' (looked for left/e.jpg), 'a' (looked for right/a.jpg), "
        "'c' (looked for right/c.jpg), 'd' (not in t.csv)." + FILL_OR_DROP
    )


def test_one_missing_key_among_many_is_named() -> None:
    """Figures have separators, and a composite key is shown with its pattern filled in."""
    keys = {"x": np.arange(10_000) // 100, "y": np.arange(10_000) % 100}
    short = {name: values[values.size - 9_998 :] for name, values in keys.items()}
    assert refused(mf.AlignError, ("x", "y"), all=keys, short=short) == (
        "every sample needs all of its inputs: 'short' lacks 2 of 10,000 keys.\n"
        "  First missing: '0/0' (not in the table), '0/1' (not in the table)." + FILL_OR_DROP
    )
    write("0/scan_0.png")
    assert refused(
        mf.AlignError, ("x", "y"), scan="{x}/scan_{y}.*", table={"x": [0, 7], "y": [0, 8]}
    ) == (
        "every sample needs all of its inputs: 'scan' lacks 1 of 2 keys.\n"
        "  First missing: '7/8' (looked for 7/scan_8.*)." + FILL_OR_DROP
    )


def test_drop_keeps_the_complete_samples_and_says_what_went() -> None:
    """The rows that stay are complete; one warning has the same facts as the error."""
    rows, messages = warned("id", **lacking(), on_missing="drop")
    assert rows == {"id": ["b"], "left": ["left/b.jpg"], "right": ["right/b.jpg"], "n": [2]}
    assert messages == [
        "align dropped 4 of 5 samples: 'left' lacks 1 of 5 keys, 'right' lacks 3 of 5 keys, "
        "'table' lacks 1 of 5 keys.\n"
        "  First missing: 'e' (looked for left/e.jpg), 'a' (looked for right/a.jpg), "
        "'c' (looked for right/c.jpg), 'd' (not in t.csv)."
    ]


def test_drop_says_nothing_where_nothing_goes() -> None:
    """Complete sources give no warning."""
    assert warned("id", a={"id": [1]}, b={"id": ["1"]}, on_missing="drop") == ({"id": ["1"]}, [])


def test_keep_keeps_all_samples_with_nulls() -> None:
    """Keys of later sources follow those of the first; what a source lacks is null."""
    rows, messages = warned("id", **lacking(), on_missing="keep")
    assert messages == []
    assert rows == {
        "id": ["a", "b", "c", "d", "e"],
        "left": ["left/a.jpg", "left/b.jpg", "left/c.jpg", "left/d.jpg", None],
        "right": [None, "right/b.jpg", None, None, "right/e.jpg"],
        "n": [1, 2, 3, None, 5],
    }


def test_columns_that_are_never_null_may_become_so() -> None:
    """A schema that promises values no longer does after keep, so that the rows can be stored."""
    schema = pa.schema([pa.field("id", pa.string(), False), pa.field("n", pa.int64(), False)])
    strict = pa.table({"id": ["a"], "n": [1]}, schema=schema)
    rows = mf.align("id", all={"id": ["a", "b"]}, strict=strict, on_missing="keep")
    assert rows["n"].to_pylist() == [1, None]
    pyarrow.parquet.write_table(rows, "rows.parquet")


def test_no_sample_left_is_an_error() -> None:
    """Where drop leaves nothing, an example of each source shows how the keys differ."""
    sources: dict[str, Any] = {"a": {"id": ["p1", "p2"]}, "b": {"id": ["P1", "P2"]}}
    expected = (
        "no sample has all of its inputs.\n"
        "  'a' has e.g. 'p1'; 'b' has e.g. 'P1'.\n"
        "  Compare how the sources write the key."
    )
    assert refused(mf.AlignError, "id", **sources, on_missing="drop") == expected
    site = mf.lookup({"id": ["x"]}, on="id")
    assert refused(mf.AlignError, "id", a=sources["a"], site=site, on_missing="drop") == (
        "no sample has all of its inputs.\n"
        "  'a' has e.g. 'p1'; 'site' has e.g. 'x'.\n"
        "  Compare how the sources write the key."
    )


_sources = st.lists(
    st.dictionaries(
        st.text("ab0é'{\x1f/", min_size=1, max_size=3), st.integers(0, 99), min_size=1, max_size=6
    ),
    min_size=1,
    max_size=4,
)


@settings(deadline=None)
@given(_sources, st.randoms(use_true_random=False), st.sampled_from(["drop", "keep", "raise"]))
def test_align_is_the_join_of_plain_dicts(
    sources: list[dict[str, int]], random: Any, policy: Any
) -> None:
    """Shuffled sources: drop is the intersection, keep the union, raise demands that they agree."""
    tables = {}
    for number, source in enumerate(sources):
        items = list(source.items())
        random.shuffle(items)
        sources[number] = dict(items)
        tables[f"s{number}"] = {
            "id": list(sources[number]),
            f"n{number}": list(sources[number].values()),
        }
    union = list(dict.fromkeys(key for source in sources for key in source))
    shared = [key for key in union if all(key in source for source in sources)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if (not shared and policy == "drop") or (shared != union and policy == "raise"):
            with pytest.raises(mf.AlignError):
                mf.align("id", on_missing=policy, **tables)
            assert not caught
            return
        rows = mf.align("id", on_missing=policy, **tables)
    assert len(caught) == (policy == "drop" and shared != union)
    keys = union if policy == "keep" else shared
    expected = {f"n{number}": [source.get(key) for key in keys] for number, source in enumerate(sources)}
    assert rows.to_pydict() == {"id": keys} | expected


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.text("ab1", max_size=2), st.text("ab1", max_size=2)), min_size=1, unique=True),
    st.randoms(use_true_random=False),
)
def test_composite_keys_join_like_tuples(keys: list[tuple[str, str]], random: Any) -> None:
    """A composite key equals another where all of its parts do."""
    keys = [(f"x{first}", f"y{second}") for first, second in keys]
    shuffled = random.sample(keys, len(keys))
    other = {"n": list(range(len(keys))), "b": [b for _, b in shuffled], "a": [a for a, _ in shuffled]}
    rows = mf.align(("a", "b"), one={"a": [a for a, _ in keys], "b": [b for _, b in keys]}, other=other)
    assert list(zip(rows["a"].to_pylist(), rows["b"].to_pylist(), strict=True)) == keys
    assert rows["n"].to_pylist() == [shuffled.index(key) for key in keys]


# Lookups.


def test_a_lookup_serves_many_samples_with_one_row() -> None:
    """Many to one, by a column of a source, of the key, or of a lookup before it."""
    scans = {"id": ["s1", "s2", "s3"], "patient": [7, 7, 8]}
    patients = csv("patient,age,site\n8,67,B\n7,41,A\n9,1,C\n", "patients.csv")
    sites = pl.DataFrame({"site": ["A", "B"], "city": ["Bonn", "Rome"]})
    rows = mf.align(
        "id",
        scans=scans,
        patients=mf.lookup(patients, on="patient"),
        sites=mf.lookup(sites, on="site", prefix="site_"),
        doses=mf.lookup({"id": ["s3", "s2", "s1"], "dose": [3, 2, 1]}, on="id"),
    )
    assert rows.to_pydict() == {
        "id": ["s1", "s2", "s3"],
        "patient": [7, 7, 8],
        "age": [41, 41, 67],
        "site": ["A", "A", "B"],
        "site_city": ["Bonn", "Bonn", "Rome"],
        "dose": [1, 2, 3],
    }


def test_a_lookup_may_join_on_several_columns() -> None:
    """The parts of a composite `on` are compared one by one."""
    write("A/1/x.png", "A/2/y.png", "B/1/z.png")
    scanners = {"room": [1, 1, 2], "site": ["B", "A", "A"], "tesla": [7.0, 1.5, 3.0]}
    rows = mf.align(
        "id", scan="{site}/{room}/{id}.png", scanners=mf.lookup(scanners, on=("site", "room"))
    )
    assert rows["tesla"].to_pylist() == [1.5, 3.0, 7.0]


def test_a_lookup_may_be_a_pattern() -> None:
    """One photograph of a patient for all of his visits."""
    write("faces/p1.jpg", "faces/p2.jpg", "faces/p3.jpg")
    visits = {"visit": [1, 2, 3], "patient": ["p2", "p1", "p2"]}
    rows = mf.align("visit", visits=visits, face=mf.lookup("faces/{patient}.jpg", on="patient"))
    assert rows["face"].to_pylist() == ["faces/p2.jpg", "faces/p1.jpg", "faces/p2.jpg"]


def lookup_that_lacks() -> dict[str, Any]:
    patients = csv("patient,age\na,41\n", "patients.csv")
    return {
        "scans": {"id": [1, 2, 3, 4, 5], "patient": ["b", "a", None, "b", "c"]},
        "patients": mf.lookup(patients, on="patient"),
    }


def test_a_value_that_a_lookup_lacks_is_an_error() -> None:
    """The values and the samples are counted, and the first values named; null is one of them."""
    assert refused(mf.AlignError, "id", **lookup_that_lacks()) == (
        "every sample needs all of its inputs: the lookup 'patients' lacks 3 values of 'patient' that "
        "4 of 5 samples name.\n"
        "  First missing: 'b' (not in patients.csv), None (not in patients.csv)." + FILL_OR_DROP
    )
    faces = mf.lookup("{site}/{patient}.jpg", on=("site", "patient"))
    write("A/p1.jpg")
    scans = {"id": [1, 2], "site": ["A", "B"], "patient": ["p1", "p2"]}
    assert refused(mf.AlignError, "id", scans=scans, face=faces) == (
        "every sample needs all of its inputs: the lookup 'face' lacks 1 value of 'site'/'patient' "
        "that 1 of 2 samples name.\n"
        "  First missing: 'B/p2' (looked for B/p2.jpg)." + FILL_OR_DROP
    )


def test_drop_and_keep_go_for_lookups_as_well() -> None:
    """Samples whose value a lookup lacks go with a warning, or stay with nulls."""
    rows, messages = warned("id", **lookup_that_lacks(), on_missing="drop")
    assert rows == {"id": ["2"], "patient": ["a"], "age": [41]}
    assert messages == [
        "align dropped 4 of 5 samples: the lookup 'patients' lacks 3 values of 'patient' that 4 of 5 "
        "samples name.\n"
        "  First missing: 'b' (not in patients.csv), None (not in patients.csv)."
    ]
    rows, messages = warned("id", **lookup_that_lacks(), on_missing="keep")
    assert messages == []
    assert rows["age"] == [None, 41, None, None, None]


def test_a_lookup_goes_on_where_keep_left_a_gap() -> None:
    """A sample that lacks the source of `on` lacks the lookup too, and no more is said."""
    rows = mf.align(
        "id",
        photos={"id": [1, 2]},
        visits={"id": [2], "patient": ["a"]},
        patients=mf.lookup({"patient": ["a"], "age": [41]}, on="patient"),
        on_missing="keep",
    )
    assert rows.to_pydict() == {"id": ["1", "2"], "patient": [None, "a"], "age": [None, 41]}


def test_a_lookup_has_one_row_for_each_value() -> None:
    """A repeated value in a lookup is an error, not a choice."""
    patients = {"patient": ["a", "b", "a"], "age": [1, 2, 3]}
    scans = {"id": [1], "patient": ["a"]}
    assert refused(mf.AlignError, "id", scans=scans, p=mf.lookup(patients, on="patient")) == (
        "a lookup has one row for each 'patient': 'p' has 1 of 2 keys more than once.\n"
        "  First: 'a' (row 0 in the table, row 2 in the table).\n"
        "  Remove the surplus, or add a column to on=."
    )


def test_a_lookup_joins_on_a_column_that_is_there() -> None:
    """A column that the rows or the lookup lack is an error that names the near ones."""
    scans = {"id": [1], "patients": ["a"]}
    patients = {"patient": ["a"], "age": [1]}
    assert refused(mf.DeclarationError, "id", scans=scans, p=mf.lookup(patients, on="patient")) == (
        "the lookup 'p' joins on 'patient', which no source before it has.\n  Did you mean 'patients'?"
    )
    assert refused(mf.DeclarationError, "id", scans=scans, p=mf.lookup(patients, on="patients")) == (
        "the table of 'p' has no key column 'patients'.\n  Did you mean 'patient'?"
    )
    floats = {"id": [1], "patient": [1.0]}
    assert refused(mf.AlignError, "id", scans=floats, p=mf.lookup(patients, on="patient")) == (
        "the key 'patient' of the rows cannot be compared as text: it is double.\n"
        "  A float has no one text; make them integers, e.g. frame.astype({...: 'Int64'})."
    )


# Columns that two sources have.


def test_two_columns_of_one_name_are_an_error_that_offers_a_prefix() -> None:
    """No column is renamed or overwritten in silence, and the offer works."""
    sources = {"left": {"id": [1], "size": [2]}, "right": {"id": [1], "size": [3]}}
    assert refused(mf.DeclarationError, "id", **sources) == (
        "columns keep their names, and 'size' is in 'right' and in 'left'.\n"
        "  Rename it, or pass prefix={'right': 'right_'} to align (to mf.lookup: prefix='right_')."
    )
    rows = mf.align("id", **sources, prefix={"right": "right_"})
    assert rows.to_pydict() == {"id": ["1"], "size": [2], "right_size": [3]}


def test_a_clash_with_a_lookup_offers_the_prefix_of_the_lookup() -> None:
    """A lookup takes its own prefix; `id` of another table is a column like any other."""
    scans = {"id": [1], "patient": ["a"]}
    patients = {"patient": ["a"], "id": [9]}
    assert refused(mf.DeclarationError, "id", scans=scans, p=mf.lookup(patients, on="patient")) == (
        "columns keep their names, and 'id' is in 'p' and in the key.\n"
        "  Rename it, or pass prefix={'p': 'p_'} to align (to mf.lookup: prefix='p_')."
    )
    rows = mf.align("id", scans=scans, p=mf.lookup(patients, on="patient", prefix="p_"))
    assert rows.to_pydict() == {"id": ["1"], "patient": ["a"], "p_id": [9]}


def test_a_clash_with_a_column_of_paths_offers_to_rename_the_other() -> None:
    """A pattern's paths have the source's own name, which no prefix changes."""
    write("scans/1.png")
    table = {"id": [1], "scan": ["x"]}
    expected = (
        "columns keep their names, and 'scan' is in {} and in {}.\n"
        "  Rename it, or pass prefix={{'table': 'table_'}} to align (to mf.lookup: prefix='table_')."
    )
    pattern = "scans/{id}.png"
    message = refused(mf.DeclarationError, "id", scan=pattern, table=table)
    assert message == expected.format("'table'", "'scan'")
    message = refused(mf.DeclarationError, "id", table=table, scan=pattern)
    assert message == expected.format("'scan'", "'table'")
    rows = mf.align("id", scan=pattern, table=table, prefix={"table": "table_"})
    assert rows.column_names == ["id", "scan", "table_scan"]


def test_a_prefix_goes_before_the_braces_of_a_pattern() -> None:
    """A brace that means something else in each pattern gets two columns."""
    write("left/a/1.png", "right/b/1.png")
    sources = {"left": "left/{shard}/{id}.png", "right": "right/{shard}/{id}.png"}
    rows = mf.align("id", **sources, prefix={"right": "right_"})
    assert rows.to_pydict() == {
        "id": ["1"],
        "left": ["left/a/1.png"],
        "shard": ["a"],
        "right": ["right/b/1.png"],
        "right_shard": ["b"],
    }


def test_a_prefix_never_meets_the_key() -> None:
    """Keys are not renamed, not even where a prefix would make another column one."""
    rows = mf.align("ab", table={"ab": [1], "c": [2]}, prefix={"table": "a"})
    assert rows.to_pydict() == {"ab": ["1"], "ac": [2]}
    assert refused(mf.DeclarationError, "ab", table={"ab": [1], "b": [2]}, prefix={"table": "a"}) == (
        "columns keep their names, and 'ab' is in 'table' and in the key.\n"
        "  Rename it, or pass prefix={'table': 'table_'} to align (to mf.lookup: prefix='table_')."
    )


def test_braces_that_patterns_share_become_one_column() -> None:
    """Patterns that say the same of each key share the column; with keep, one fills the other's gaps."""
    write("left/cat/1.png", "left/dog/2.png", "right/1_cat.png", "right/2_dog.png")
    sources = {"left": "left/{label}/{id}.png", "right": "right/{id}_{label}.png"}
    assert mf.align("id", **sources).to_pydict() == {
        "id": ["1", "2"],
        "left": ["left/cat/1.png", "left/dog/2.png"],
        "label": ["cat", "dog"],
        "right": ["right/1_cat.png", "right/2_dog.png"],
    }
    write("right/3_cow.png", "left/fox/4.png")
    rows = mf.align("id", **sources, on_missing="keep")
    assert rows["id"].to_pylist() == ["1", "2", "4", "3"]
    assert rows["label"].to_pylist() == ["cat", "dog", "fox", "cow"]


def test_braces_that_disagree_are_an_error() -> None:
    """The keys are counted, and the first is shown with what each pattern says of it."""
    write("a/cat/1.png", "a/dog/2.png", "b/cat/1.png", "b/cow/2.png", "b/cow/3.png", "c/pig/3.png")
    sources = {"a": "a/{label}/{id}.png", "b": "b/{label}/{id}.png", "c": "c/{label}/{id}.png"}
    remedy = "\n  Move the files, or give the braces different names."
    two = {name: sources[name] for name in "ab"}
    assert refused(mf.AlignError, "id", **two, on_missing="drop") == (
        "patterns that share {label} must agree: 'b' disagrees on 1 of 2 keys.\n"
        "  First: '2' is 'dog' in 'a' and 'cow' in 'b'." + remedy
    )
    Path("b/cow/2.png").rename("b/2.png")
    assert refused(mf.AlignError, "id", **sources, on_missing="keep") == (
        "patterns that share {label} must agree: 'c' disagrees on 1 of 3 keys.\n"
        "  First: '3' is 'cow' in 'a' or 'b' and 'pig' in 'c'." + remedy
    )


def test_a_lookup_by_pattern_shares_braces_too() -> None:
    """What the folder of a patient's photograph says must fit what his scans say."""
    write("A/p1/1.png", "B/p2/2.png", "A/faces/p1.jpg", "C/faces/p2.jpg")
    face = mf.lookup("{site}/faces/{patient}.jpg", on="patient")
    assert refused(mf.AlignError, "id", scan="{site}/{patient}/{id}.png", face=face) == (
        "patterns that share {site} must agree: 'face' disagrees on 1 of 2 keys.\n"
        "  First: '2' is 'B' in 'scan' and 'C' in 'face'.\n"
        "  Move the files, or give the braces different names."
    )
    Path("C").rename("B2")
    Path("B2/faces").rename("B/faces")
    rows = mf.align("id", scan="{site}/{patient}/{id}.png", face=face)
    assert rows.select(["site", "face"]).to_pydict() == {
        "site": ["A", "B"],
        "face": ["A/faces/p1.jpg", "B/faces/p2.jpg"],
    }


def test_a_brace_and_a_column_of_one_name_are_a_clash() -> None:
    """Only braces are compared; a table's column of that name is another thing."""
    write("a/cat/1.png")
    table = {"id": [1], "label": ["cat"]}
    assert refused(mf.DeclarationError, "id", photo="a/{label}/{id}.png", table=table) == (
        "columns keep their names, and 'label' is in 'table' and in 'photo'.\n"
        "  Rename it, or pass prefix={'table': 'table_'} to align (to mf.lookup: prefix='table_')."
    )


# What cannot be a source.


def test_a_pattern_must_hold_the_key() -> None:
    """The message shows how."""
    assert refused(mf.DeclarationError, "id", scan="scans/{name}.png") == (
        "the pattern of 'scan' must hold the key: 'scans/{name}.png' has no {id}.\n"
        "  Write e.g. scan='folder/{id}.jpg'."
    )
    assert refused(mf.DeclarationError, ("a", "b"), scan="scans/{a}.*") == (
        "the pattern of 'scan' must hold the key: 'scans/{a}.*' has no {b}.\n"
        "  Write e.g. scan='folder/{a}_{b}.jpg'."
    )


def test_a_source_and_its_brace_need_two_names() -> None:
    """Both would be one column."""
    assert refused(mf.DeclarationError, "id", id="scans/{id}.png") == (
        "the source 'id' and the brace {id} of its pattern need different names."
    )


def test_a_pattern_that_matches_nothing_is_an_error(tmp_path: Path) -> None:
    """The message says how far the pattern leads and what is there."""
    write("scans/1.jpeg")
    assert refused(mf.AlignError, "id", scan="scans/{id}.jpg") == (
        "the pattern of 'scan' matches no file: 'scans/{id}.jpg'.\n"
        f"  That is as far as it leads: '{tmp_path}/scans', which holds '1.jpeg'."
    )
    assert refused(mf.AlignError, "id", scan="scan/{id}/") == (
        "the pattern of 'scan' matches no folder: 'scan/{id}/'.\n"
        f"  There is no folder 'scan' in '{tmp_path}', which holds 'scans'."
    )


def test_a_folder_is_no_source() -> None:
    """A folder does not say which part of its names is the key; the message shows how to."""
    write("scans/1.jpg")
    assert refused(mf.DeclarationError, "id", scan="scans") == (
        "the source 'scan' is a folder: 'scans'.\n"
        "  Without Parquet or Arrow files it is no table: write a pattern that says where the key "
        "stands, e.g. scan='scans/{id}.jpg'."
    )
    assert refused(mf.DeclarationError, ("a", "b"), scan=Path("scans")) == (
        "the source 'scan' is a folder: 'scans'.\n"
        "  Without Parquet or Arrow files it is no table: write a pattern that says where the key "
        "stands, e.g. scan='scans/{a}_{b}.jpg'."
    )


def test_a_table_needs_the_key_and_rows() -> None:
    """A table without the column, or without rows, is an error."""
    assert refused(mf.DeclarationError, "id", table=csv("Id,age\n1,2\n")) == (
        "the table of 'table' has no key column 'id'.\n  There are: 'Id', 'age'."
    )
    assert refused(mf.AlignError, "id", table=csv("id,age\n")) == (
        "the table of 'table' has no rows (in t.csv)."
    )
    assert refused(mf.AlignError, "id", table={"id": []}) == (
        "the table of 'table' has no rows (in the table)."
    )


def test_files_that_are_no_tables_are_errors(tmp_path: Path) -> None:
    """Missing, of another kind, empty, and unequal columns: the reader's own words reach the user."""
    assert refused(mf.DeclarationError, "id", table="t.csv") == (
        f"the table file 't.csv' does not exist.\n  Relative paths start from '{tmp_path}'."
    )
    assert refused(mf.DeclarationError, "id", table="t.xlsx") == (
        "a table file ends in one of .csv, .tsv, .parquet, .arrow, .feather, .jsonl.\n"
        "  Received: 't.xlsx'.\n"
        "  Convert the file, or pass the table itself (pyarrow, pandas, polars)."
    )
    assert refused(mf.DeclarationError, "id", table=5) == (
        "the source 'table' must be a table.\n"
        "  Received: int.\n"
        "  Pass a table file (.csv, .tsv, .parquet, .arrow, .feather, .jsonl), a pyarrow, pandas or "
        "polars table, or a dict of arrays."
    )
    assert refused(mf.DeclarationError, "id", table={"id": ["a", "b"], "n": [1]}) == (
        "the columns of a row table must have one length.\n"
        "  Received: 'id' has 2, 'n' has 1.\n"
        "  Give every column one value a sample, or join by key with mf.align."
    )


@pytest.mark.timeout(10)
def test_a_pipe_called_csv_does_not_block(tmp_path: Path) -> None:
    """A pipe is refused before it is opened; one among photographs is only listed."""
    os.mkfifo("t.csv")
    assert refused(mf.DeclarationError, "id", table="t.csv") == (
        f"the table file 't.csv' is not a regular file.\n  Relative paths start from '{tmp_path}'."
    )
    assert mf.align("id", table="{id}.csv").to_pydict() == {"id": ["t"], "table": ["t.csv"]}


# What cannot be said.


@pytest.mark.parametrize("key", ["", (), ("a", ""), ("a", "a"), 5, ("a", 5), None])
def test_a_key_is_a_name_or_names(key: Any) -> None:
    """Anything else is refused, in `align` and in `lookup`."""
    expected = f"{{}} must be a column's name or a tuple of different names; received {key!r}."
    assert refused(mf.DeclarationError, key, table={"a": [1]}) == expected.format("key")
    with pytest.raises(mf.DeclarationError) as error:
        mf.lookup({"a": [1]}, on=key)
    assert str(error.value) == expected.format("on")


def test_options_are_checked_before_anything_is_read() -> None:
    """A wrong option, no source, and a prefix of nothing are errors at once."""
    assert refused(mf.DeclarationError, "id", table="t.csv", on_missing="ignore") == (
        "on_missing must be one of 'raise', 'drop', 'keep'; received 'ignore'."
    )
    expected = "align needs a source that has the key.\n  Pass a path pattern or a table."
    assert refused(mf.DeclarationError, "id") == expected
    assert refused(mf.DeclarationError, "id", p=mf.lookup("t.csv", on="id")) == expected
    patients = mf.lookup("p.csv", on="patient")
    for prefix, near in (
        ({"tables": "t_"}, "Did you mean 'table'?"),
        ({"p": "p_"}, "There are: 'table'."),
    ):
        assert refused(mf.DeclarationError, "id", table="t.csv", p=patients, prefix=prefix) == (
            f"prefix names no source {next(iter(prefix))!r}.\n"
            f"  {near}\n"
            "  A lookup takes its own: mf.lookup(table, on=..., prefix=...)."
        )
