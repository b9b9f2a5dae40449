"""The rooms: imports run one way, Keras is in one room, heavy packages are asked for late."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import multifeed

SOURCE = Path(multifeed.__file__).parent

# From the bottom up. A room may import the rooms before it, and the files of its own.
ROOMS = [
    "errors", "extras", "progress", "meter", "receipt", "spec", "spot", "policy", "files", "remote",
    "folder", "documents", "parsers", "hugging_face", "table", "sql", "listing", "metadata", "sources",
    "align", "index", "tar", "protobuf", "tfrecord", "fields", "tiles",
    "structure", "augment", "order", "split", "weights", "batch", "branches", "family", "keys",
    "workers", "slots", "dataset", "balance", "buckets", "tuples", "prepare", "buffers", "recipe",
    "account", "windows", "cache", "runs", "report", "state", "feed", "health", "canvas", "sheet",
    "generations",
    "interop", "keras", "__init__",
]  # fmt: skip


def room_of(module: str) -> str:
    """Return the room of 'multifeed.fields.image': 'fields'."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports(path: Path, *, anywhere: bool) -> set[str]:
    """Return the modules that a file imports: at its top, or anywhere in it."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if anywhere else iter(tree.body)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_run_one_way(path: Path) -> None:
    """No room imports one that stands above it."""
    room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    assert room in ROOMS, "a new room needs its place in the order"
    if room == "__init__":
        return
    for module in imports(path, anywhere=True):
        if module.split(".")[0] == "multifeed":
            assert ROOMS.index(room_of(module)) <= ROOMS.index(room), f"{room} imports {module}"


# Which file of interop/ knows which neighbour.
NEIGHBOURS = {"tf_data": "tensorflow", "torch": "torch", "jax": "jax"}


def packages(path: Path) -> set[str]:
    """Return the packages that a file imports, or asks `extras.package` for."""
    asked = {
        str(node.args[0].value)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", getattr(node.func, "attr", "")) == "package"
        and isinstance(node.args[0], ast.Constant)
    }
    return {name.split(".")[0] for name in imports(path, anywhere=True) | asked}


def test_only_one_room_knows_keras() -> None:
    """No file outside of keras/ imports Keras or a backend, but for the one that is its neighbour."""
    hosts = {"keras", *NEIGHBOURS.values()}
    for path in FILES:
        if path.parent.name == "interop":
            neighbour = NEIGHBOURS.get(path.stem)
            assert hosts & packages(path) == ({neighbour} if neighbour else set()), path
        elif path.parent.name != "keras":
            assert not hosts & packages(path), path


def test_no_neighbour_is_loaded_before_it_is_used() -> None:
    """Neither Keras, nor a backend, nor anything else that interop/ knows."""
    hosts = {"keras", *NEIGHBOURS.values()}
    program = f"import sys, multifeed; print(sorted({hosts!r} & set(sys.modules)))"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=True
    )
    assert ended.stdout.strip() == "[]"


def test_workers_know_nothing_of_data() -> None:
    """The engines import nothing of this package but its exceptions, and no PyArrow."""
    for path in (SOURCE / "workers").glob("*.py"):
        names = imports(path, anywhere=True)
        assert {room_of(name) for name in names if name.startswith("multifeed")} <= {"errors", "workers"}
        assert "pyarrow" not in {name.split(".")[0] for name in names}, path
