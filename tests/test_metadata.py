"""Metadata files: one row each, keys to columns, of one type in all files; what does not fit is told."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage
from pyarrow import parquet

import multifeed as mf
from multifeed.errors import AlignError, DeclarationError, SampleError


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(path: str, content: Any) -> str:
    """Write a file: objects as JSON."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict | list):
        content = json.dumps(content)
    Path(path).write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(call: Callable[[], Any]) -> str:
    """Return the message with which something is refused."""
    with pytest.raises(DeclarationError) as error:
        call()
    return str(error.value)


def read(**contents: Any) -> dict[str, Any]:
    """Return the table of metadata files, by their ids."""
    for key, content in contents.items():
        write(f"meta/{key}.json", content)
    return dict(mf.metadata("meta/{id}.json").to_pydict())


# What comes out.


def test_a_file_is_a_row() -> None:
    """Braces and keys are columns; keys of objects in objects are joined by dots; rows go by path."""
    found = read(
        b={"age": 60, "scanner": {"tesla": 3.0, "coil": {"name": "x"}}, "tags": ["p"]},
        a={"tags": ["p", "q"], "age": 41, "scanner": {"coil": {"name": "y"}, "tesla": 1.5}},
    )
    assert found == {
        "id": ["a", "b"],
        "tags": [["p", "q"], ["p"]],
        "age": [41, 60],
        "scanner.coil.name": ["y", "x"],
        "scanner.tesla": [1.5, 3.0],
    }


def test_it_is_a_source_of_align() -> None:
    """Joined by key; a key that has no file is told with the file that was looked for."""
    read(a={"age": 41}, b={"age": 60})
    rows = mf.align("id", scores={"id": ["b", "a"], "n": [1, 2]}, meta=mf.metadata("meta/{id}.json"))
    assert rows.to_pydict() == {"id": ["b", "a"], "n": [1, 2], "age": [60, 41]}
    with pytest.raises(AlignError) as error:
        mf.align("id", scores={"id": ["a", "c"]}, meta=mf.metadata("meta/{id}.json"))
    assert str(error.value) == (
        "every sample needs all of its inputs: 'scores' lacks 1 of 3 keys, 'meta' lacks 1 of 3 keys.\n"
        "  First missing: 'b' (not in the table), 'c' (looked for meta/c.json).\n"
        '  Pass on_missing="drop" to train on the complete samples, or "keep" to fill the gaps.'
    )


def test_the_key_may_stand_in_the_files() -> None:
    """A pattern without the key tells where it was looked for, and where it stands twice."""
    for name, key in (("1", "a"), ("2", "b"), ("3", "b")):
        write(f"meta/{name}.json", {"id": key})
    meta = mf.metadata("meta/*.json")
    with pytest.raises(AlignError, match=r"'c' \(not in meta/\*\.json\)"):
        mf.align("id", scores={"id": ["a", "c"]}, meta=meta.slice(0, 2))
    with pytest.raises(
        AlignError, match=r"First: 'b' \(row 1 in meta/\*\.json, row 2 in meta/\*\.json\)"
    ):
        mf.align("id", meta=meta)


def test_fields_read_what_the_files_say() -> None:
    """Numbers, labels and lists are columns as any."""
    read(a={"age": 41, "kind": "x", "v": [1, 2.5]}, b={"age": 60.5, "kind": "y", "v": [3, 4]})
    data = mf.Dataset(
        mf.metadata("meta/{id}.json"),
        key="id",
        inputs={"age": mf.Numeric("age"), "v": mf.Array("v", (2,))},
        targets=mf.Category("kind", vocabulary=["x", "y"]),
    )
    inputs, target = data[0]
    assert (inputs["age"].tolist(), inputs["v"].tolist(), int(target)) == ([41], [1, 2.5], 0)


def test_every_format_gives_the_same_table() -> None:
    """The suffix tells the format, or the caller does; one pattern may match several."""
    for path, text in {
        "meta/a.json": '{"n": 1, "s": {"t": [1.5]}}',
        "meta/b.yaml": "n: 2\ns:\n  t: [2]\n",
        "meta/c.YML": "{n: 3, s: {t: []}}",
        "other/d.txt": "{'n': 4, 's': {'t': (4,)}}",
    }.items():
        write(path, text)
    assert mf.metadata("meta/{id}.*").to_pydict() == {
        "id": ["a", "b", "c"], "n": [1, 2, 3], "s.t": [[1.5], [2.0], []],
    }  # fmt: skip
    found = mf.metadata("other/{id}.txt", format="literal")
    assert found.to_pydict() == {"id": ["d"], "n": [4], "s.t": [[4]]}


def test_what_a_file_lacks_is_null() -> None:
    """Whether the key is absent or null, in the first files or the last, and of objects too."""
    assert read(a={"x": None, "o": None}, b={"x": 1, "o": {"p": "q"}}, c={}) == {
        "id": ["a", "b", "c"],
        "x": [None, 1, None],
        "o.p": [None, "q", None],
    }
    assert read(a={"x": None}, b={}, c={})["x"] == [None] * 3


def test_types_do_not_depend_on_which_files_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Integers become floats where a later file has floats, in lists too."""
    contents = [{"x": 1, "l": []}, {"x": 2.5, "l": [1]}, {"y": True, "l": []}, {"x": 3, "l": [0.5]}]
    for number, content in enumerate(contents):
        write(f"meta/{number}.json", content)
    whole = mf.metadata("meta/{id}.json")
    assert [str(kind) for kind in whole.schema.types] == [
        "string", "double", "list<item: double>", "bool",
    ]  # fmt: skip
    monkeypatch.setattr(sys.modules["multifeed.metadata"], "_AT_ONCE", 1)
    pieces = mf.metadata("meta/{id}.json")
    assert pieces.schema.equals(whole.schema, check_metadata=True)
    assert pieces.to_pydict() == whole.to_pydict()


def test_special_floats_of_json_are_floats() -> None:
    """Python's json writes them; what becomes of them is for the field to say."""
    found = read(a='{"x": NaN, "y": -Infinity}')
    assert np.isnan(found["x"][0])
    assert found["y"] == [-np.inf]


def test_columns_leaves_keys_out() -> None:
    """By names and patterns; what is left out may be anything."""
    write("meta/a.json", {"x": 1, "s": {"t": 1, "u": [{}]}, "z": 2**70})
    write("meta/b.json", {"x": 2, "s": {"t": 2}, "z": "no"})
    table = mf.metadata("meta/{id}.json", columns=["x", "s.t*"])
    assert table.to_pydict() == {"id": ["a", "b"], "x": [1, 2], "s.t": [1, 2]}
    assert mf.metadata("meta/{id}.json", columns="x").column_names == ["id", "x"]
    assert refused(lambda: mf.metadata("meta/{id}.json", columns=["x", "s.w"])) == (
        "no metadata file has a key 's.w'.\n  Did you mean 's.u' or 's.t'?"
    )


def test_many_files_keep_their_order() -> None:
    """Files are read on threads, and rows stand in the order of paths all the same."""
    for number in range(2_500):
        write(f"meta/{number:05}.json", {"n": number})
    table = mf.metadata("meta/{id}.json")
    assert table["n"].to_pylist() == list(range(2_500))
    assert table["id"][2_499].as_py() == "02499"


def test_a_brace_and_a_key_of_one_name_are_one_column() -> None:
    """If they say the same, as text; a file need not say it."""
    assert read(**{"7": {"id": 7}, "8": {"id": "8"}, "9": {"id": None}}) == {"id": ["7", "8", "9"]}
    assert refused(lambda: read(**{"9": {"id": "007"}})) == (
        "the metadata file 'meta/9.json' cannot be used: it says that 'id' is '007', and its name that "
        "it is '9'.\n  Correct it, or give the brace another name than the key."
    )


# Where file names start.


def test_file_names_start_where_the_pattern_has_its_first_brace(tmp_path: Path) -> None:
    """They are a stranger's words: they stay under that folder, wherever the file itself lies."""
    write("study/p1/meta.json", {"photo": "p1/a.png", "n": 1})
    write("study/p2/meta.json", {"photo": "../outside.png", "n": 1})
    for path, value in (("study/p1/a.png", 9), ("outside.png", 1)):
        PILImage.fromarray(np.full((4, 4, 3), value, np.uint8)).save(path)
    rows = mf.align("id", meta=mf.metadata("study/{id}/meta.json"))
    folders = [field.metadata for field in rows.schema]
    assert folders == [None, {b"multifeed.folder": os.fsencode(tmp_path / "study")}, None]
    data = mf.Dataset(rows, key="id", inputs=mf.Image("photo", 4))
    assert (data[0][0] == 9).all()
    with pytest.raises(SampleError, match="leads out of the folder of its table"):
        data[1]
    assert (mf.Dataset(rows, inputs=mf.Image("photo", 4), allow_outside=True)[1][0] == 1).all()


def test_a_table_file_cannot_say_that_it_is_metadata() -> None:
    """Which files a table was read from is known of what has been read here alone."""
    table = mf.metadata(write("meta/a.json", {"n": 1}).replace("a.", "{id}."))
    parquet.write_table(table, "rows.parquet")
    with pytest.raises(AlignError, match=r"'b' \(not in rows\.parquet\)"):
        mf.align("id", a={"id": ["b"]}, rows="rows.parquet")


# Files that do not fit.


def test_files_that_disagree_are_an_error() -> None:
    """The message names the key, both files, and what each says."""
    remedy = "\n  Write it alike in all files, or pass columns=[...], the keys to read, without it."
    told = {
        "an integer": 1, "a text": "1", "a boolean": True, "an object": {}, "a list (string)": ["x"],
    }  # fmt: skip
    for one, first in told.items():
        for other, second in told.items():
            if one != other:
                message = refused(
                    lambda first=first, second=second: read(a={"k": first}, b={"k": second})
                )
                assert message == (
                    f"metadata files must agree: 'k' is {other} in 'meta/b.json' and {one} in "
                    f"'meta/a.json'.{remedy}"
                )
    message = refused(lambda: read(a={"k": 1}, b={"k": 1.5}, c={"k": [0.5]}))
    assert message.startswith(
        "metadata files must agree: 'k' is a list (double) in 'meta/c.json' and an integer in "
        "'meta/a.json'."
    )


def test_integers_that_no_float_holds_are_an_error() -> None:
    """An id of 17 digits must not lose its last one because another file has a float."""
    message = refused(lambda: read(a={"k": 2**60 + 1}, b={"k": 0.5}))
    assert message.startswith(
        "metadata files have integers and floats for 'k', and no float holds one of the integers: "
    )
    assert message.endswith(
        "\n  Write them as text if they are codes, or pass columns=[...] without it."
    )


MEND = "Mend the file, or narrow the pattern."
WITHOUT = (
    "Pass columns=[...], the keys to read, without it; several objects a sample are a table of "
    "their own."
)


@pytest.mark.parametrize(
    ("content", "reason", "remedy"),
    [
        ({"k": [{"a": 1}]}, "has a list of objects at 'k'", WITHOUT),
        ({"k": [[{}]]}, "has a list of objects at 'k'", WITHOUT),
        (
            {"k": {"l": [1, "x"]}},
            "has a list of several types at 'k.l': an integer, then a text",
            "Write it with one, or pass columns=[...], the keys to read, without it.",
        ),
        ({"k": 2**63}, "has an integer of more than 64 bits at 'k'", "Write it as text."),
        ({"k": [-(2**63) - 1]}, "has an integer of more than 64 bits at 'k'", "Write it as text."),
        ({"a.b": 1, "a": {"b": 2}}, "has two keys that are 'a.b' when joined by dots", "Rename one."),
        ('{"k": "\\ud800"}', "has a text with half a character at 'k'", MEND),
        ("[1]", "holds a value of type list, where an object of keys and values is due",
         "Write one object a file; a list of objects is a table, e.g. a .jsonl file."),
        ("", "is empty (0 bytes)", MEND),
        ('{"k": 1, "k": 1}', "has the key 'k' twice in one object", "Write each key once."),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_an_error(content: Any, reason: str, remedy: str) -> None:
    """The message names the file, the reason and the remedy."""
    assert refused(lambda: read(a={}, b=content)) == (
        f"the metadata file 'meta/b.json' cannot be used: it {reason}.\n  {remedy}"
    )


def test_literals_that_no_table_holds_are_an_error() -> None:
    """Sets have no order, and Arrow no complex numbers."""
    for text, kind in (("{'k': {1}}", "set"), ("{'k': [1j]}", "complex")):
        write("a.txt", text)
        assert refused(lambda: mf.metadata("{id}.txt", format="literal")) == (
            f"the metadata file 'a.txt' cannot be used: it has a value of type {kind} at 'k'.\n"
            "  Write text, numbers, booleans, or lists of these."
        )


@pytest.mark.timeout(10)
def test_only_regular_files_of_little_size_are_read() -> None:
    """A pipe is not waited for, and a large file not read."""
    os.mkdir("meta")
    os.mkfifo("meta/a.json")
    assert refused(read) == (
        "the metadata file 'meta/a.json' cannot be used: it is not a regular file but a named pipe.\n"
        "  Mend the file, or narrow the pattern."
    )
    os.remove("meta/a.json")
    write("meta/a.json", json.dumps({"k": "x" * 2**20}))
    assert refused(read) == (
        "the metadata file 'meta/a.json' cannot be used: it has 1,048,585 bytes, where at most "
        "1,048,576 are read.\n  Mend the file, or narrow the pattern."
    )
    assert mf.metadata("meta/{id}.json", max_bytes=2**21).num_rows == 1


# Declarations that cannot be.


def test_a_pattern_that_matches_nothing_is_an_error(tmp_path: Path) -> None:
    """The message says how far it leads."""
    write("meta/a.json", {})
    assert refused(lambda: mf.metadata("meta/{id}.yaml")) == (
        "the pattern of metadata matches no file: 'meta/{id}.yaml'.\n"
        f"  That is as far as it leads: '{tmp_path}/meta', which holds 'a.json'."
    )
    assert refused(lambda: mf.metadata("{folder}/")) == (
        "the pattern of metadata matches no file: '{folder}/'.\n  Leave out the / at its end."
    )


def test_a_format_that_is_none_is_an_error() -> None:
    """Given, or as a suffix."""
    assert refused(lambda: mf.metadata("x", format="xml")) == (
        "format must be one of 'json', 'yaml', 'literal'; received 'xml'."
    )
    write("a.txt", "{}")
    assert refused(lambda: mf.metadata("{id}.txt")) == (
        "the metadata file 'a.txt' cannot be used: it ends in '.txt', which does not tell its format.\n"
        "  Pass format=, one of 'json', 'yaml', 'literal'."
    )
