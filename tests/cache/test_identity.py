"""Identity: a cache is found again for the same samples, and never for others."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import multifeed as mf
from multifeed.cache.digest import UnknownCodeError, digest, digest_column, new_hash
from multifeed.fields.rows import Source
from multifeed.table import Columns, as_columns

COUNT = 5


@pytest.fixture
def folder(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a few photographs and arrays."""
    monkeypatch.chdir(tmp_path)
    for number in range(COUNT):
        content = (photos / f"left/p{number:02}.jpg").read_bytes()
        (tmp_path / f"p{number}.jpg").write_bytes(content)
        np.save(tmp_path / f"a{number}.npy", np.full(4, number, np.float32))
    return tmp_path


def declared(field: Any, *, name: str = "x", count: int = COUNT, **options: Any) -> mf.Dataset:
    """Return samples of one field."""
    columns = {
        "id": [f"k{number}" for number in range(count)],
        "photo": [f"p{number}.jpg" for number in range(count)],
        "array": [f"a{number}.npy" for number in range(count)],
        "bytes": [(f"p{number}.jpg").encode() for number in range(count)],
        "memory": np.arange(count * 4.0).reshape(count, 4),
        "text": [f"word{number}" for number in range(count)],
    } | options.pop("columns", {})
    data = mf.Dataset(columns, inputs={name: field}, key="id", **options)
    data.adapt()
    return data


def caches(data: mf.Dataset, **options: Any) -> int:
    """Return how many caches there are once this dataset has one."""
    mf.cache(data, "cache", **options)
    return len([path for path in Path("cache").iterdir() if path.is_dir()])


PHOTO = mf.Image("photo", 16)
ARRAY = mf.Array("array", (4,))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (PHOTO, mf.Image("photo", 17)),
        (PHOTO, mf.Image("photo", 16, base_size=18)),
        (PHOTO, mf.Image("photo", 16, color_mode="grayscale")),
        (PHOTO, mf.Image("photo", 16, crop_to_aspect_ratio=True)),
        (PHOTO, mf.Image("photo", 16, pad_to_aspect_ratio=True)),
        (PHOTO, mf.Image("photo", 16, interpolation="nearest")),
        (PHOTO, mf.Image("photo", 16, antialias=True)),
        (mf.Image("photo", (8, 16), base_size=20, crop_to_aspect_ratio=True),
         mf.Image("photo", 16, base_size=20, crop_to_aspect_ratio=True)),
        (ARRAY, mf.Array("array", (4,), dtype="float16")),
        (ARRAY, mf.Array("array", (4,), scale=2)),
        (ARRAY, mf.Array("array", (None,), pad_to=4)),
        (ARRAY, mf.Array("array", (4,), preprocess=np.sqrt)),
        (mf.Array("array", (4,), preprocess=np.log1p), mf.Array("array", (4,), preprocess=np.sqrt)),
        (mf.Text("text", 5), mf.Text("text", 6)),
    ],
)  # fmt: skip
def test_another_declaration_is_another_cache(folder: Path, one: Any, other: Any) -> None:
    """Both are kept, each is found again, and the values are right."""
    for field, count in ((one, 1), (one, 1), (other, 2), (one, 2), (other, 2)):
        data = declared(field)
        assert caches(data) == count
        cached = mf.cache(data, "cache")
        for row in range(COUNT):
            np.testing.assert_array_equal(cached[row][0]["x"], data[row][0]["x"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (PHOTO, mf.Image("photo", 16, dtype="float32", scale=1 / 255)),
        (PHOTO, mf.Image("photo", 16, missing="zero")),
        (PHOTO, mf.Image("photo", (16, 16))),
        (PHOTO, mf.Image("photo", 16, preprocess=np.fliplr)),
        (PHOTO, mf.Image("photo", 8, base_size=16)),
        (ARRAY, mf.Array("array", [4], missing=3)),
    ],
)
def test_what_comes_after_makes_no_other_cache(folder: Path, one: Any, other: Any) -> None:
    """Of an image the base image is kept, so its dtype, scale and preprocess may change."""
    for field in (one, other):
        data = declared(field)
        assert caches(data) == 1
        cached = mf.cache(data, "cache")
        for row in range(COUNT):
            np.testing.assert_array_equal(cached[row][0]["x"], data[row][0]["x"])


def test_everything_else_that_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layout, names, keys, rows and their order, learned words, decoders, the library's own code."""
    data = declared(PHOTO)
    assert caches(data) == 1
    assert caches(data, layout="zstd") == 2
    assert caches(declared(PHOTO, name="other")) == 3
    assert caches(declared(PHOTO, columns={"id": list("abcde")})) == 4
    assert caches(data.select(range(4))) == 5
    assert caches(data.select([1, 0, 2, 3, 4])) == 6
    assert caches(mf.concat([data, data])) == 7
    assert caches(declared(mf.Text("text", 5))) == 8
    text = declared(mf.Text("text", 5))
    text.select(range(2)).adapt(again=True)
    assert caches(text) == 9
    decoders = sys.modules["multifeed.fields.image"].DECODERS
    monkeypatch.setitem(decoders, "opencv", "0.1")
    assert caches(data) == 10
    monkeypatch.setattr(sys.modules["multifeed.cache.build"], "decoding_code", lambda: "other")
    assert caches(data) == 11


def test_the_same_is_found_again(folder: Path) -> None:
    """However the columns lie in memory, whatever else the table has, and by any path."""
    data = declared(PHOTO)
    assert caches(data) == 1
    assert (
        caches(
            declared(
                PHOTO,
                columns={
                    "photo": pa.chunked_array([["p0.jpg"], [], [f"p{n}.jpg" for n in range(1, COUNT)]])
                },
            )
        )
        == 1
    )
    names = pa.array([None, *(f"p{number}.jpg" for number in range(COUNT))]).slice(1)
    for kind in (pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        assert caches(declared(PHOTO, columns={"photo": names.cast(kind)})) == 1
    assert caches(declared(PHOTO, columns={"memory": np.zeros((COUNT, 2))})) == 1
    assert caches(data.select(range(COUNT))) == 1
    assert caches(declared(PHOTO, count=COUNT, root=folder)) == 1
    Path("link").symlink_to(folder)
    assert caches(declared(PHOTO, root="link")) == 1
    assert caches(mf.cache(mf.cache(data, "cache"), "cache")) == 1


def test_other_folders_have_other_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same names, sizes and times elsewhere are not taken for these."""
    data = declared(ARRAY)
    mf.cache(data, folder / "cache")
    other = folder / "other"
    other.mkdir()
    for number in range(COUNT):
        np.save(other / f"a{number}.npy", np.full(4, number + 100, np.float32))
        state = os.stat(f"a{number}.npy")
        os.utime(other / f"a{number}.npy", ns=(state.st_atime_ns, state.st_mtime_ns))
    there = mf.cache(declared(ARRAY, root=other), folder / "cache")
    np.testing.assert_array_equal(there[2][0]["x"], 102)
    monkeypatch.chdir(other)
    there = mf.cache(declared(ARRAY), folder / "cache")
    np.testing.assert_array_equal(there[2][0]["x"], 102)


def test_values_in_memory_count(folder: Path) -> None:
    """Encoded images as bytes, and arrays that are preprocessed: another value, another cache."""
    images = [(folder / f"p{number}.jpg").read_bytes() for number in range(COUNT)]
    field = mf.Image("bytes", 16)
    assert caches(declared(field, columns={"bytes": images})) == 1
    swapped = declared(field, columns={"bytes": [images[1], images[0], *images[2:]]})
    assert caches(swapped) == 2
    np.testing.assert_array_equal(mf.cache(swapped, "cache")[0][0]["x"], swapped[0][0]["x"])
    array = mf.Array("memory", preprocess=np.sqrt)
    assert caches(declared(array)) == 3
    assert caches(declared(array, columns={"memory": np.ones((COUNT, 4))})) == 4
    assert caches(declared(array, columns={"memory": np.ones((COUNT, 4), ">f8")})) == 5


FACTOR = 2.0


def by_factor(sample: np.ndarray) -> np.ndarray:
    return sample * FACTOR


def through(sample: np.ndarray) -> np.ndarray:
    return by_factor(sample) + 1


class Scaler:
    """A function with a state."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, sample: np.ndarray) -> np.ndarray:
        return sample * self.factor


def closed(factor: Any) -> Callable[[np.ndarray], np.ndarray]:
    return lambda sample: sample * factor


PAIRS = [
    (lambda x: x * 2, lambda x: x * 3),
    (lambda x: x * 2, lambda x: x + 2),
    (lambda x: x[:2], lambda x: x[2:]),
    (lambda x, by=1: x * by, lambda x, by=2: x * by),
    (lambda x, *, by=1: x * by, lambda x, *, by=2: x * by),
    (lambda x: [each * 2 for each in x], lambda x: [each * 3 for each in x]),
    (lambda x: np.sqrt(x), lambda x: np.cbrt(x)),
    (closed(1), closed(2)),
    (closed(np.arange(4)), closed(np.arange(4) + 1)),
    (closed(closed(1)), closed(closed(2))),
    (functools.partial(np.multiply, 2), functools.partial(np.multiply, 3)),
    (functools.partial(closed(1)), functools.partial(closed(2))),
    (Scaler(1), Scaler(2)),
    (Scaler(1).__call__, Scaler(2).__call__),
    (np.sqrt, np.cbrt),
    (closed({"a": 1}), closed({"a": 2})),
    (closed({1, 2}), closed({1, 3})),
    (closed("ab"), closed(b"ab")),
    (closed([("a", "bc")]), closed([("ab", "c")])),
    (closed(1), closed(1.0)),
    (closed(True), closed(1)),
    (closed(Scaler), closed(functools.partial)),
    (functools.lru_cache(closed(1)), functools.lru_cache(closed(2))),
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_code_and_what_it_refers_to_count(one: Any, other: Any) -> None:
    """Bytecode, constants, defaults, closures, states; and the same is equal to itself."""
    assert digest(one) == digest(one)
    assert digest(one) != digest(other)
    assert digest(one, "1") == digest(one, "1") != digest(other, "1")
    assert digest((one, 1), "1") != digest((one, 1), "2")


def test_code_compiled_anew_is_the_same_and_changed_code_is_not(tmp_path: Path) -> None:
    """In other processes, under other hash seeds; a helper two calls away, a global, a class count."""
    program = (
        "import sys, os; sys.path.insert(0, os.getcwd())\n"
        "from multifeed.cache.digest import digest\n"
        "import user\n"
        "print(digest([user.prepare, user.Scaler(2), user.scaled]).hex())\n"
    )
    code = (
        "import numpy as np\nimport helper\nNAMES = {'left', 'right', 'above'}\nSCALE = 2\n"
        "def inner(x):\n    '''It is called.'''\n    return x * SCALE if 'left' in NAMES else x\n"
        "def prepare(x):\n    return inner(np.sqrt(x)) + helper.shift(x)\n"
        "class Base:\n    def act(self, x):\n        return x + 1\n"
        "class Scaler(Base):\n    by = 3\n    def __init__(self, n):\n        self.n = n\n"
        "    def __call__(self, x):\n        return super().act(x) * self.n * self.by\n"
        "def scaled(x):\n    return Scaler(3)(x)\n"
    )
    helper = "def shift(x):\n    return x - 1\n"

    def found(code: str, helper: str, seed: int = 0) -> str:
        (tmp_path / "user.py").write_text(code)
        (tmp_path / "helper.py").write_text(helper)
        return subprocess.run(
            [sys.executable, "-B", "-c", program], cwd=tmp_path, capture_output=True, text=True,
            check=True, env={**os.environ, "PYTHONHASHSEED": str(seed)},
        ).stdout  # fmt: skip

    first = found(code, helper)
    assert {found(code, helper, seed) for seed in range(1, 4)} == {first}
    assert found("# A comment moves lines.\n\n" + code, helper) == first
    edits = [
        ("SCALE = 2", "SCALE = 3"),
        ("'above'", "'below'"),
        ("x * SCALE", "x / SCALE"),
        ("np.sqrt", "np.cbrt"),
        ("return x + 1", "return x + 2"),
        ("by = 3", "by = 4"),
        ("Scaler(3)", "Scaler(4)"),
        ("* self.n", "+ self.n"),
    ]
    others = {found(code.replace(old, new), helper) for old, new in edits}
    others.add(found(code, helper.replace("- 1", "- 2")))
    assert len(others | {first}) == len(edits) + 2


# Each with two values of `{}` that make another result.
DIFFER = {
    "dataclass method": ("@dataclass\nclass C:\n  def __call__(s, x): return x + {}\nf = C()", "1", "2"),
    "not compared": (
        "@dataclass\nclass C:\n  k: int = field(default=1, compare=False)\nf = C({})", "1", "2",
    ),
    "other class": ("class C:\n  def __call__(s, x): return x + {}\nf = C()", "1", "2"),
    "slots": ("class C:\n  __slots__ = ('k',)\nf = C()\nf.k = {}", "1", "2"),
    "hidden from pickle": (
        "class C:\n  def __init__(s): s.k = {}\n  def __getstate__(s): return 1\nf = C()", "1", "2",
    ),
    "metaclass": (
        "class M(type):\n  k = property(lambda c: {})\nclass C(metaclass=M): pass\nf = lambda x: C.k",
        "1", "2",
    ),
    "vectorize": ("f = np.vectorize(lambda x: x + {}, otypes=['f4'])", "1", "2"),
    "frompyfunc": ("f = np.frompyfunc(lambda x: x + {}, 1, 1)", "1", "2"),
    "singledispatch": (
        "f = functools.singledispatch(lambda x: x)\nf.register(int, lambda x: {})", "1", "2",
    ),
    "attribute": ("def f(x): return x * f.k\nf.k = {}", "1", "2"),
    "partial attribute": ("f = functools.partial(np.sqrt)\nf.k = {}", "1", "2"),
    "masked": ("m = np.ma.array([1.0, 2], mask=[0, {}])\nf = lambda x: x * m.filled(0)", "0", "1"),
    "structured": ("m = np.zeros(2, {})\nf = lambda x: m['a']", "[('a','f4'),('b','f4')]",
                   "[('b','f4'),('a','f4')]"),
    "objects": ("m = np.array([{}, 'a'], object)\nf = lambda x: m", "1", "1.0"),
    "order in memory": ("m = np.ones((2, 3), order='{}')\nf = lambda x: m.ravel('K')", "C", "F"),
    "try": ("def f(x):\n  try:\n    y = x[0]\n{}  return y",
            "    y = y + x\n  except ValueError:\n    y = 0\n",
            "  except ValueError:\n    y = 0\n  else:\n    y = y + x\n"),
    "arguments": ("def g(x, {}): return x\nf = functools.partial(g, a=5)", "a, b=1", "b, a=1"),
    "int": ("class I(int): pass\nm = I(3)\nm.k = {}\nf = lambda x: x * m.k", "1", "2"),
    "content": ("class I({}): pass\nm = I((3, 4))\nf = lambda x: m", "tuple", "list"),
    "str": ("class S(str): pass\nm = S('{}')\nf = lambda x: m", "a", "b"),
    "enum": ("class E(int, enum.Enum):\n  A = 1\n  def go(s, x): return x + {}\n"
             "m = E.A\nf = lambda x: m.go(x)", "1", "2"),
    "member": ("class E(enum.Enum):\n  A = 1\n  B = 2\nm = E.{}\nf = lambda x: m", "A", "B"),
    "namedtuple": ("C = namedtuple('C', '{}')\nc = C(1, 2)\nf = lambda x: x + c.a", "a b", "b a"),
    "slice": ("s = slice({})\nf = lambda x: x[s]", "1", "2"),
    "scalar": ("s = np.{}(1)\nf = lambda x: x[s]", "float32", "float64"),
    "bound": ("f = (np.arange(3) + {}).__add__", "1", "2"),
    "methodcaller": ("f = operator.methodcaller('clip', 0, {})", "1", "2"),
    "overwritten builtin": ("len = lambda x: {}\nf = lambda x: len(x)", "1", "2"),
}  # fmt: skip
HEAD = (
    "import enum, functools, operator\nimport numpy as np\n"
    "from collections import namedtuple\nfrom dataclasses import dataclass, field\n"
)


def made(code: str) -> Any:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(HEAD + code, names)
    return names["f"]


def told(value: Any) -> bytes | None:
    try:
        return digest(value)
    except UnknownCodeError:
        return None


@pytest.mark.parametrize("case", DIFFER)
def test_what_makes_another_result_differs_or_is_refused(case: str) -> None:
    """And where it is not refused, the same code compiled anew is the same."""
    code, one, other = DIFFER[case]
    first = told(made(code.format(one)))
    assert first is None or first == told(made(code.format(one))) != told(made(code.format(other)))
    assert (first is None) == (case in ("frompyfunc", "singledispatch", "masked"))


@pytest.mark.parametrize(
    "code",
    [
        "def f(x):\n  import helper\n  return helper.shift(x)",
        "def f(x):\n  from helper import shift\n  return shift(x)",
        "def f(x):\n  from .json import shift\n  return shift(x)",
        "import helper\ndef f(x):\n  h = helper\n  return h.shift(x)",
        "import helper\ndef f(x, h=helper): return h.shift(x)",
        "import helper\nf = (lambda h: lambda x: h.shift(x))(helper)",
        "import helper\nclass P:\n  def __init__(s): s.m = helper\nf = P()",
        "import helper\nf = lambda x: getattr(helper, 'shift')(x)",
        "K = 1\nf = lambda x: globals()['K']",
        "K = 1\nf = lambda x: eval('K')",
        "f = lambda x: f.__globals__",
        "import importlib\nf = lambda x: importlib.import_module('helper')",
        "class A(np.ndarray): pass\nm = np.zeros(2).view(A)\nf = lambda x: x + m",
        "m = np.matrix([1])\nf = lambda x: x + m",
        "import sys\nf = lambda x: sys.modules['helper']",
        "import weakref\nclass C: pass\nc = C()\nw = weakref.ref(c)\nf = lambda x: w()",
        "f = (each for each in range(3)).send",
    ],
)
def test_what_cannot_be_looked_at_is_refused(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Modules of one's own as values, names that are looked up, state that only C sees."""
    (tmp_path / "helper.py").write_text("def shift(x):\n    return x - 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "helper", raising=False)
    function = made(code)
    with pytest.raises(UnknownCodeError):
        digest(function)
    assert digest(function, "1") == digest(function, "1") != digest(function, "2")


@pytest.mark.parametrize(
    "code",
    [
        "f = np.sqrt",
        "f = np.linalg.norm",
        "import cv2\nf = functools.partial(cv2.cvtColor, code=cv2.COLOR_BGR2RGB)",
        "import cv2\nf = lambda x: cv2.cvtColor(x, cv2.COLOR_BGR2RGB)",
        "from PIL import Image\nf = Image.Image.resize",
        "from PIL import Image\nf = functools.partial(Image.Image.resize, resample=Image.BOX)",
        "f = np.ndarray.sum",
        "f = functools.lru_cache(lambda x: x)",
        "import re\nP = re.compile('a')\nf = lambda x: P.sub('', x)",
        "def f(x):\n  import numpy.fft as ff\n  from PIL import Image\n  return ff.fft(x)",
        "def g(x): return x\ndef f(x): return g(x) + 1",
        "class C:\n  @functools.cached_property\n  def g(s): return 1\nf = C()",
        "@dataclass(frozen=True, slots=True)\nclass C:\n  k: int = 1\nf = C()",
    ],
)
def test_what_libraries_have_and_plain_code_are_taken(code: str) -> None:
    """Nobody needs a version for these, and they are the same when they are made anew."""
    assert digest(made(code)) == digest(made(code)) == digest(made("other = 1\n" + code))


def test_a_module_of_ones_own_with_the_name_of_a_library(tmp_path: Path) -> None:
    """Its functions are looked at, whatever its name."""
    program = (
        "import sys; sys.path.insert(0, '.')\nfrom multifeed.cache.digest import digest\nimport chunk\n"
    )
    found = set()
    for by in (1, 2):
        (tmp_path / "chunk.py").write_text(f"def f(x): return x + {by}\n")
        done = subprocess.run(
            [sys.executable, "-B", "-c", program + "print(digest(chunk.f).hex())"],
            cwd=tmp_path, capture_output=True, text=True, check=True,
        )  # fmt: skip
        found.add(done.stdout)
    assert len(found) == 2


def test_fields_of_one_version_are_not_merged(folder: Path) -> None:
    """Other functions and other closures have other values; what cannot be told apart is an error."""
    lock, other = threading.Lock(), threading.RLock()

    def locked(by: Any, within: Any = lock) -> Callable[[np.ndarray], np.ndarray]:
        def preprocess(values: np.ndarray) -> np.ndarray:
            with within:
                return values * (by if isinstance(by, int) else 2)

        return preprocess

    def field(function: Any) -> mf.Array:
        return mf.Array("memory", preprocess=function)

    columns = {"memory": np.arange(20.0).reshape(5, 4)}
    data = mf.Dataset(columns, inputs={"a": field(locked(2)), "b": field(locked(3))})
    cached = mf.cache(data, "cache", version="1")
    for name in ("a", "b"):
        np.testing.assert_array_equal(cached[2][0][name], data[2][0][name])
    same = locked(2, other)
    mf.cache(mf.Dataset(columns, inputs={"a": field(same), "b": field(same)}), "cache", version="1")
    unknown = {"a": field(locked(threading.Lock())), "b": field(locked(threading.Lock()))}
    with pytest.raises(mf.DeclarationError, match="'a' and 'b' cannot be told apart"):
        mf.cache(mf.Dataset(columns, inputs=unknown), "cache", version="1")


@pytest.mark.parametrize("layout", ["raw", "zstd"])
def test_relative_names_are_those_of_the_declaration(
    folder: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    """As without a cache, wherever the cache is made and read."""
    other = folder / "other"
    other.mkdir()
    for number in range(COUNT):
        np.save(other / f"a{number}.npy", np.full(4, number + 100, np.float32))
        state = os.stat(f"a{number}.npy")
        os.utime(other / f"a{number}.npy", ns=(state.st_atime_ns, state.st_mtime_ns))
    data, fixed = declared(ARRAY), declared(ARRAY, root=folder)
    cached, kept = (mf.cache(each, folder / "cache", layout=layout) for each in (data, fixed))
    monkeypatch.chdir(other)
    for plain, found in ((data, cached), (fixed, kept)):
        np.testing.assert_array_equal(found[2][0]["x"], plain[2][0]["x"])
        np.testing.assert_array_equal(
            mf.Feed(found, 4).batch(0, 0)[0]["x"], mf.Feed(plain, 4).batch(0, 0)[0]["x"]
        )
    np.testing.assert_array_equal(kept[2][0]["x"], 2)
    # Made here of a dataset that was declared elsewhere, it is none of the files that are here.
    late = mf.cache(data, folder / "late", layout=layout)
    here = mf.cache(declared(ARRAY), folder / "late", layout=layout)
    np.testing.assert_array_equal([late[2][0]["x"], here[2][0]["x"]], [[2] * 4, [102] * 4])
    np.save(folder / "a2.npy", np.full(5, 7, np.float32)[:4] * 2)
    np.testing.assert_array_equal(late[2][0]["x"], 14)


def test_the_shape_of_tensors_counts() -> None:
    """Of equal numbers in a row, which their storage does not tell."""
    kinds = [pa.fixed_shape_tensor(pa.float64(), shape) for shape in ((2, 4), (4, 2))]
    lists = pa.FixedSizeListArray.from_arrays(np.arange(16.0), 8)
    one, other = (column_digest(pa.ExtensionArray.from_storage(kind, lists)) for kind in kinds)
    assert one != other


def test_recursion_ends() -> None:
    """Functions that call each other, and containers that hold themselves."""
    loop: list[Any] = [1]
    loop.append(loop)

    def one(x: int) -> int:
        return two(x - 1) if x else 0

    def two(x: int) -> int:
        return one(x - 1) if x else len(loop)

    assert digest(one) == digest(one) != digest(two)


def test_what_cannot_be_told_asks_for_a_version(folder: Path) -> None:
    """The error says of which field, what it is, and what to pass; with a version it works."""
    lock = threading.Lock()

    def guarded(sample: np.ndarray) -> np.ndarray:
        with lock:
            return sample + 1

    with pytest.raises(UnknownCodeError):
        digest(guarded)
    data = declared(mf.Array("array", (4,), preprocess=guarded))
    with pytest.raises(mf.DeclarationError) as caught:
        mf.cache(data, "cache")
    assert str(caught.value) == (
        "a cache is only good for the code that made it, and what 'x' does cannot be told: one of its "
        "functions uses an object of type _thread.lock.\n"
        '  Pass mf.cache(..., version="1"), and another version whenever that code changes.'
    )
    assert caches(data, version="1") == 1
    assert caches(data, version="1") == 1
    assert caches(data, version="2") == 2
    cached = mf.cache(data, "cache", version="2")
    np.testing.assert_array_equal(cached[3][0]["x"], 4)
    assert "x" in cached.plan()._columnar
    image = declared(mf.Image("photo", 16, preprocess=guarded))
    assert caches(image) == 3


def column_digest(values: Any, index: np.ndarray | None = None) -> str:
    """Return the digest of a column of a table."""
    into = new_hash()
    digest_column(Source(as_columns({"x": values}, "rows"), index), "x", into)
    return str(into.hexdigest())


@pytest.mark.parametrize(
    "values",
    [
        pa.array(["a", "bc", None, "", "d"]),
        pa.array([b"a", b"bc", None, b"", b"d"]),
        pa.array([1, 2, None, 0, 5]),
        pa.array([True, False, None, False, True]),
        pa.array([1.5, 2, None, 0, 5]),
        pa.array([[1, 2], [], None, [3], [4, None]]),
        pa.array([["a"], [], None, ["b", "c"], [None]]),
        pa.array([[1, 2], [3, 4], None, [5, 6], [7, 8]], pa.list_(pa.int64(), 2)),
        pa.array([{"a": 1}, {"a": 2}, None, {"a": 3}, {"a": 4}]),
        np.arange(5),
        np.arange(10.0).reshape(5, 2),
        np.arange(10.0).reshape(2, 5).T,
    ],
    ids=lambda values: str(
        getattr(values, "type", values.dtype if isinstance(values, np.ndarray) else "")
    ),
)
def test_columns_are_what_they_hold(values: Any) -> None:
    """Cut, sliced, selected: equal; any other value, or order: unequal."""
    whole = column_digest(values)
    every = np.arange(5)
    assert column_digest(values, every) == whole
    if isinstance(values, pa.Array):
        assert column_digest(pa.chunked_array([values.slice(0, 2), values.slice(2)])) == whole
        padded = pa.concat_arrays([values.slice(4), values, values.slice(0, 1)])
        assert column_digest(padded.slice(1, 5)) == whole
    twice = [column_digest(values, np.delete(every, row)) for row in range(5)]
    turned = [column_digest(values, np.roll(every, by)) for by in range(1, 5)]
    assert len({whole, *twice, *turned}) == 10


def test_nulls_are_no_values() -> None:
    """What lies below a null does not count, and null is neither empty nor 0."""
    assert column_digest(pa.array([1, None])) != column_digest(pa.array([1, 0]))
    assert column_digest(pa.array(["a", None])) != column_digest(pa.array(["a", ""]))
    below = pa.Array.from_buffers(pa.int64(), 2, [pa.py_buffer(b"\x01"), pa.py_buffer(np.array([1, 9]))])
    assert column_digest(below) == column_digest(pa.array([1, None]))


def test_a_million_names_are_digested_in_a_moment(folder: Path) -> None:
    """So that opening stays instant; measured on a generous bound."""
    import time

    names = pa.array([f"folder/{number:07}.jpg" for number in range(1_000_000)])
    columns = Columns(pa.table({"x": names}))
    begin = time.process_time()
    digest_column(Source(columns, None), "x", new_hash())
    assert time.process_time() - begin < 2
