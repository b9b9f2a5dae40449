"""Documents: three notations are parsed to the same plain values, and nothing else is believed."""

from __future__ import annotations

import ast
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multifeed.documents import DEEPEST, parse
from multifeed.errors import BadValue

DEEP = "has values nested deeper than 100, or never closed"
LITERALS = "holds something besides literals"


def refused(text: str | bytes, notation: str) -> str:
    """Return the reason for which a document is refused."""
    with pytest.raises(BadValue) as error:
        parse(text if isinstance(text, bytes) else text.encode(), notation)
    return error.value.reason


VALUES = {
    "a": 1,
    "b": -2.5,
    "c": "x",
    "d": [1, [2.0, None]],
    "e": {"f": True, "g": {}},
    "h": None,
    "": "",
}
TEXTS = {
    "json": json.dumps(VALUES),
    "literal": repr(VALUES),
    "yaml": "a: 1\nb: -2.5\nc: x\nd: [1, [2.0, ~]]\ne:\n  f: true\n  g: {}\nh:\n'': ''\n",
}


@pytest.mark.parametrize("notation", TEXTS)
def test_every_notation_says_the_same(notation: str) -> None:
    """Values do not depend on how they are written; a byte order mark is none of them."""
    assert parse(TEXTS[notation].encode(), notation) == VALUES
    assert parse(TEXTS[notation].encode("utf-8-sig"), notation) == VALUES


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(scalars, lambda each: st.lists(each) | st.dictionaries(texts, each), max_leaves=9)


@given(st.dictionaries(texts, values))
def test_what_python_writes_is_read(value: dict[str, Any]) -> None:
    """Whatever json.dumps writes, and repr of what is finite, comes back."""
    assert repr(parse(json.dumps(value).encode(), "json")) == repr(value)
    if "inf" not in repr(value) and "nan" not in repr(value):
        assert parse(repr(value).encode(), "literal") == value


# Only what JSON has by both rules, since YAML 1.2 has JSON in it, but not each of its characters.
plain = st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126))


@given(st.dictionaries(plain, st.none() | st.booleans() | st.integers() | plain | st.lists(plain)))
def test_json_is_yaml(value: dict[str, Any]) -> None:
    """What is written as JSON is the same when it is read as YAML."""
    assert parse(json.dumps(value).encode(), "yaml") == value


def test_words_of_yaml() -> None:
    """Those of YAML 1.2: what only looks like a number, a time or a truth is text."""
    words = {
        "1": 1, "-7": -7, "+5": 5, "0": 0, "1.": 1.0, ".5": 0.5, "1e3": 1000.0, "-0.0": -0.0,
        "true": True, "False": False, "null": None, "~": None, "": None,
        "no": "no", "yes": "yes", "on": "on", "007": "007", "0x1f": "0x1f", "1_000": "1_000",
        "1:30": "1:30", "2024-01-31": "2024-01-31", "1.2.3": "1.2.3", "'7'": "7", '"true"': "true",
        "! 7": "7", ".inf": math.inf, "-.INF": -math.inf, "<<": "<<", "=": "=", "١": "١",
    }  # fmt: skip
    for word, value in words.items():
        found = parse(f"x: {word}\n".encode(), "yaml")["x"]
        assert (found, type(found)) == (value, type(value)), word
    assert math.isnan(parse(b"x: .nan", "yaml")["x"])


def test_literals_of_python() -> None:
    """Strings and numbers in all their forms, comments, and brackets in strings."""
    text = (
        "# what follows\n{'a': '[({' \"}\" , # ' and so on\n 'b': '''x\n'y' '''"
        ", 'c': r'\\d', 'd': b'\\x00', 'e': (1, 0x1F, 0b1, 1_000, 1e-3, .5, 5., -1, - 2), 'f': {1,}}"
    )
    assert parse(text.encode(), "literal") == ast.literal_eval(text)


@pytest.mark.parametrize(
    "text",
    [
        "f()", "{'a': f()}", "{'a': 1 + 1}", "{'a': 1 -1}", "{'a': 'x'.y}", "{'a': 'x'[0]}", "{'a': x}",
        "{**{}}", "{'a': f'{x}'}", "{'a': lambda: 1}", "{'a': 1 if 1 else 2}", "{'a': not 1}",
        "{'a': --1}", "{'a': 0xe-1}", "{'a': (1)(2)}", "{'a': 1 .real}", "{'a': `x`}", "{'a': [*x]}",
        "{'a': 'x", "{'a': (x := 1)}", "{'a': '''x}", "a = 1", "{'a': ...}", "set()",
    ],
)  # fmt: skip
def test_what_is_no_literal_is_refused(text: str) -> None:
    """It does not reach Python's parser."""
    assert refused(text, "literal") == LITERALS


@pytest.mark.parametrize(
    ("notation", "text", "reason"),
    [
        ("json", '{"a": 1, "a": 2}', "has the key 'a' twice in one object"),
        ("json", '{"x": {"a": 1, "a": 1}}', "has the key 'a' twice in one object"),
        ("yaml", "a: 1\na: 2", "has the key 'a' twice in one object"),
        ("literal", "{'a': 1, 'a': 2}", "has the key 'a' twice in one object"),
        ("yaml", "1: x", "has the key 1, which is no text"),
        ("yaml", "? [1]\n: x", "has the key [1], which is no text"),
        ("literal", "{1: 2}", "has the key 1, which is no text"),
        ("literal", "{(1,): 2}", "has the key Ellipsis, which is no text"),
        ("json", "[1]", "holds a value of type list, where an object of keys and values is due"),
        ("yaml", "x", "holds a value of type str, where an object of keys and values is due"),
        ("literal", "7", "holds a value of type int, where an object of keys and values is due"),
        ("yaml", "a: 1\n---\na: 2", "holds 2 documents, where one is due"),
        ("yaml", "# nothing", "holds 0 documents, where one is due"),
        ("yaml", "a: &x 1\nb: *x", "repeats a part by the alias *x"),
        ("yaml", "a: &x [*x]", "repeats a part by the alias *x"),
        ("yaml", "a: !!int '1'", "has a value with the tag 'tag:yaml.org,2002:int'"),
        ("yaml", "a: !mine 1", "has a value with the tag '!mine'"),
        ("json", '{"a": ' * 101 + "1" + "}" * 101, DEEP),
        ("yaml", "a: " + "[" * 101 + "]" * 101, DEEP),
        ("yaml", "a:\n" + "- " * 101 + "x", DEEP),
        ("literal", "{'a': " * 101 + "1" + "}" * 101, DEEP),
        ("literal", "{'a': " + "(" * 101 + "1" + ")" * 101 + "}", DEEP),
        ("json", "{", DEEP),
        ("json", '{"\\ud800": 1}', "has the key '\\ud800', which has half a character"),
        ("literal", "[" + "1," * 2**18 + "]", "has more than 524,288 values, commas and brackets"),
    ],
)
def test_what_is_no_plain_object_is_refused(notation: str, text: str, reason: str) -> None:
    """Each for its own reason."""
    assert refused(text, notation) == reason


def test_what_is_as_deep_as_may_be_is_read() -> None:
    """The limit is one for all notations."""
    found: Any = 1
    for _ in range(DEEPEST):
        found = {"a": found}
    for notation in ("json", "literal", "yaml"):
        assert parse(str(found).replace("'", '"').encode(), notation) == found


@pytest.mark.parametrize(
    ("notation", "text", "reason"),
    [
        ("json", "{'a': 1}", "is no JSON (Expecting property name enclosed in double quotes: "),
        ("json", "{}x", "is no JSON (Extra data: "),
        ("json", '{"a": ' + "9" * 5_000 + "}", "is no JSON (Exceeds the limit (4300 digits)"),
        ("yaml", "a: 1\n b: 2", "is no YAML (mapping values are not allowed in this context"),
        ("yaml", "a: \0", "is no YAML (unacceptable character #x0000"),
        ("yaml", "a: " + "9" * 5_000, "is no YAML (Exceeds the limit (4300 digits)"),
        ("literal", "{'a' 1}", "is no Python literal (invalid syntax"),
        (
            "literal",
            "{'a': " + "9" * 5_000 + "}",
            "is no Python literal (Exceeds the limit (4300 digits)",
        ),
        ("literal", "{'a': {1: 2}, 'b': {[]: 1}}", "has the key 1, which is no text"),
        ("literal", "{'a': {[]}}", "is no Python literal (unhashable type: 'list'"),
    ],
)
def test_what_is_damaged_is_refused(notation: str, text: str, reason: str) -> None:
    """By what the parser says."""
    assert refused(text, notation).startswith(reason)


@pytest.mark.parametrize("notation", TEXTS)
def test_text_that_is_not_utf8_is_refused(notation: str) -> None:
    """Latin-1 is not guessed at; the byte is named."""
    assert refused('{"a": "José"}'.encode("latin-1"), notation) == (
        "is no text in UTF-8 (invalid continuation byte b'\\xe9' after 10 bytes)"
    )
