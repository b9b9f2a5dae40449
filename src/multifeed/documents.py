"""Documents that are one object each, in JSON, YAML or Python's notation. Nothing is evaluated."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from multifeed.errors import BadValue
from multifeed.extras import package

# Parsers go down into values by recursion: what is nested deeper may be more than the stack holds, which
# kills the process.
DEEPEST = 100

_TEXT_IN_JSON = re.compile(rb'"(?:[^"\\]|\\.)*+"')

Object = dict[str, Any]

MEND = "Mend the file, or narrow the pattern."
_DEEP = f"has values nested deeper than {DEEPEST}, or never closed"


def parse(data: bytes, notation: str) -> Object:
    """Return the object that a document holds.

    Args:
        data: The document.
        notation: One of `NOTATIONS`.

    Returns:
        Text, numbers, booleans, None, lists and such objects by their keys; of Python's notation also
        whatever else is a literal.

    Raises:
        BadValue: If it is damaged, is no object, has a key twice, or asks for more than plain values.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadValue(
            f"is no text in UTF-8 ({error.reason} {error.object[error.start : error.end]!r} after "
            f"{error.start} bytes)",
            "Save it as UTF-8.",
        ) from error
    try:
        found = NOTATIONS[notation](text)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        said = str(error).partition("\n")[0] or type(error).__name__
        raise BadValue(f"is no {_NAMES[notation]} ({said})", MEND) from error
    if not isinstance(found, dict):
        raise BadValue(
            f"holds a value of type {type(found).__name__}, where an object of keys and values is due",
            "Write one object a file; a list of objects is a table, e.g. a .jsonl file.",
        )
    return found


def is_whole(text: str) -> bool:
    """Tell whether a text has no half of a pair of surrogates, which JSON and Python can write."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def is_deep_json(text: bytes) -> bool:
    """Tell whether JSON is nested deeper than `DEEPEST`, or has brackets that are never closed."""
    # Only if brackets are left may it be for those that stand in texts, which is slow to tell.
    return _is_deep(text) and _is_deep(_TEXT_IN_JSON.sub(b"", text))


def _is_deep(text: bytes, pairs: tuple[bytes, ...] = (b"[]", b"{}")) -> bool:
    """Tell whether brackets are left once the innermost ones have been removed often enough."""
    brackets = text.translate(None, bytes(set(range(256)) - set(b"".join(pairs))))
    for _ in range(DEEPEST):
        rest = brackets
        for pair in pairs:
            rest = rest.replace(pair, b"")
        if len(rest) == len(brackets):
            break
        brackets = rest
    return bool(brackets)


def _object(pairs: Iterable[tuple[Any, Any]]) -> Object:
    """Return an object, whose keys are text and differ."""
    found: Object = {}
    for key, value in pairs:
        if not isinstance(key, str):
            raise BadValue(f"has the key {key!r}, which is no text", "Write keys in quotes.")
        if not is_whole(key):
            raise BadValue(f"has the key {key!r}, which has half a character", MEND)
        if key in found:
            raise BadValue(f"has the key {key!r} twice in one object", "Write each key once.")
        found[key] = value
    return found


# JSON ----------------------------------------------------------------------------------------------


def _parse_json(text: str) -> Any:
    if is_deep_json(text.encode()):
        raise BadValue(_DEEP, MEND)
    return json.loads(text, object_pairs_hook=_object)


# YAML ----------------------------------------------------------------------------------------------

# Plain words as YAML 1.2 has them, so that `no` is a text. As in a CSV, 007 is a code and no number.
_INTEGER = re.compile(r"[-+]?(?:0|[1-9]\d*)", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}


def _parse_yaml(text: str) -> Any:
    yaml = package("yaml", extra="yaml", of="mf.metadata of YAML files")
    # That of C is ten times as fast; a PyYAML that was built without it lacks the name.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        documents = _built(yaml, yaml.parse(text, Loader=loader))
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    if len(documents) != 1:
        raise BadValue(f"holds {len(documents)} documents, where one is due", MEND)
    return documents[0]


def _built(yaml: Any, events: Iterator[Any]) -> list[Any]:
    """Return the values that a YAML parser's events tell of.

    Not by PyYAML's own constructor: it goes down by recursion, shares what has an alias, so that a few
    lines become billions of values, and turns `no`, `1:30` and dates into something else.
    """
    under_way: list[list[Any]] = [[]]
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            raise BadValue(
                f"repeats a part by the alias *{event.anchor}",
                "Write the part out: aliases can make billions of values of a few lines.",
            )
        if isinstance(event, yaml.NodeEvent) and event.tag not in (None, "!"):
            raise BadValue(
                f"has a value with the tag {event.tag!r}", "Write plain values, without tags."
            )
        if isinstance(event, yaml.CollectionStartEvent):
            # Told before the parser looks further, which takes it a time that is the square of this.
            if len(under_way) > DEEPEST:
                raise BadValue(_DEEP, MEND)
            under_way.append([])
        elif isinstance(event, yaml.ScalarEvent):
            is_plain = event.implicit[0] and event.tag is None
            under_way[-1].append(_plain(event.value) if is_plain else event.value)
        elif isinstance(event, yaml.CollectionEndEvent):
            values = under_way.pop()
            is_list = isinstance(event, yaml.SequenceEndEvent)
            pairs = zip(values[::2], values[1::2], strict=False)
            under_way[-1].append(values if is_list else _object(pairs))
    return under_way[0]


def _plain(word: str) -> Any:
    """Return what a word without quotes stands for."""
    if word in _WORDS:
        return _WORDS[word]
    if _INTEGER.fullmatch(word):
        return int(word)
    return float(word) if _FLOAT.fullmatch(word) else word


# Python literals -----------------------------------------------------------------------------------

# What is replaced by a 0 before it is looked at what else there is: strings and numbers. Comments go.
_STRINGS_AND_NUMBERS = re.compile(
    r"""
    (?P<comment> \#[^\n]* )
    | [rRuUbB]{0,2} (?: '''(?:[^\\]|\\.)*?''' | \"""(?:[^\\]|\\.)*?\""" )
    | [rRuUbB]{0,2} (?: '(?:[^'\\\n]|\\.)*+' | "(?:[^"\\\n]|\\.)*+" )
    | (?<!\w) (?: 0[xXoObB][\da-fA-F_]+ | (?:\d[\d_]*\.?|\.\d)[\d_]*(?:[eE][-+]?[\d_]+)?[jJ]? )
    """,
    re.DOTALL | re.VERBOSE,
)
# Behind a value stands no sign, which would add, and no bracket, which would call.
_LITERAL = re.compile(
    r"(?: [0,:)\]}] | True | False | None | (?:^|(?<=[,:(\[{])) (?: [(\[{] | [-+](?=0) ) )*+", re.VERBOSE
)
_BRACKETS = (b"[]", b"{}", b"()")
# Python's parser makes half a kilobyte of each.
_MOST_TOKENS = 2**19
# How often Python's compiler is asked.
_ATTEMPTS = 10
_T = TypeVar("_T")
_Made = TypeVar("_Made")


def compiled(function: Callable[[_T], _Made], source: _T) -> _Made:
    """Return what a function makes of a source, which has Python's compiler read it.

    The compiler of some versions loses count of its own depth when other threads compile meanwhile, as
    TensorFlow does: what is well written is then a `SystemError`, and fine when it is asked again
    (github.com/python/cpython/issues/106905).
    """
    for _ in range(_ATTEMPTS - 1):
        with suppress(SystemError):
            return function(source)
    return function(source)


def _parse_literal(text: str) -> Any:
    """Return what a Python literal stands for.

    Only tokens of literals reach Python's parser, in brackets of little depth: of what is deep in other
    ways, such as chains of operators and attributes, some versions of it die.
    """
    bare = _STRINGS_AND_NUMBERS.sub(lambda found: "" if found["comment"] else "0", text)
    bare = "".join(bare.split())
    if not _LITERAL.fullmatch(bare):
        raise BadValue("holds something besides literals", "Write plain values; nothing is evaluated.")
    if _is_deep(bare.encode(), _BRACKETS):
        raise BadValue(_DEEP, MEND)
    if len(bare) > _MOST_TOKENS:
        raise BadValue(
            f"has more than {_MOST_TOKENS:,} values, commas and brackets", "Write it as JSON."
        )
    tree = compiled(partial(ast.parse, mode="eval"), text.lstrip(" \t"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            # Python would take the last of two. A key that is no constant is none of ours either.
            _object((key.value if isinstance(key, ast.Constant) else ..., None) for key in node.keys)
    return ast.literal_eval(tree)


_NAMES = {"json": "JSON", "yaml": "YAML", "literal": "Python literal"}
NOTATIONS: dict[str, Callable[[str], Any]] = {
    "json": _parse_json,
    "yaml": _parse_yaml,
    "literal": _parse_literal,
}
